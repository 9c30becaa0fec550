"""Discrete latents: a straight line through data of which some points are wrong.

Each point has a hidden switch, `wrong`: a Bernoulli site in a plate. If it is on, the point says almost
nothing about the line. Ordinary least squares cannot look away; here the posterior of each switch
says which points to distrust.

To learn here:

- a discrete latent is a `ppl.sample` like any other;
- no gradient runs through a switch, so the engine sums both of its states out of the model, for all points side by
  side; `fit.explain()` says so, and `fit["wrong"]` has the probabilities (with `estimator="score"` at the site it
  would be sampled, from a guide of its own family);
- the exact answer for comparison: given the line, the points are independent and a switch has two
  states to sum over; the line itself has two numbers, summed over a grid.
"""

import argparse

import numpy as np

import ppl
import ppl.distributions as dist

NOISE, WILD, RATE = 1.0, 10.0, 0.15
WRONG = (3, 9, 14)


def generate(seed=1):
    """Twenty points on the line 1 + 2 x; three of them are spoilt."""
    rng = np.random.default_rng(seed)
    x = np.linspace(-3.0, 3.0, 20)
    y = 1.0 + 2.0 * x + NOISE * rng.standard_normal(20)
    y[list(WRONG)] += np.array([9.0, -7.0, 4.0])
    return x, y


def robust_line(x, y=None):
    a = ppl.sample("a", dist.Normal(0, 10))
    b = ppl.sample("b", dist.Normal(0, 10))
    with ppl.plate("points", len(x)):
        wrong = ppl.sample("wrong", dist.Bernoulli(probs=RATE))
        ppl.sample("y", dist.Normal(a + b * x, np.where(wrong == 1, WILD, NOISE)), obs=y)


def exact(x, y, points=401):
    """P(wrong | y) for each point, mean and sd of a and b, and the log evidence."""
    a, b = np.meshgrid(np.linspace(-4, 6, points), np.linspace(-3, 7, points), indexing="ij")
    line = a[..., None] + b[..., None] * x
    good = np.log(1 - RATE) + dist.Normal(line, NOISE).log_prob(y)
    bad = np.log(RATE) + dist.Normal(line, WILD).log_prob(y)
    either = np.logaddexp(good, bad)
    log_joint = either.sum(-1) + dist.Normal(0, 10).log_prob(a) + dist.Normal(0, 10).log_prob(b)
    top = log_joint.max()
    weight = np.exp(log_joint - top)
    log_evidence = top + np.log(weight.sum() * (10 / (points - 1)) ** 2)
    weight /= weight.sum()
    probability = np.einsum("ab,abn->n", weight, np.exp(bad - either))
    moments = {}
    for name, value in (("a", a), ("b", b)):
        mean = np.sum(weight * value)
        moments[name] = (mean, np.sqrt(np.sum(weight * (value - mean) ** 2)))
    return probability, moments, log_evidence


def main(plot=None):
    x, y = generate()
    probability, moments, log_evidence = exact(x, y)
    fit = ppl.infer(robust_line, x, y=y, guide="meanfield")
    found = fit["wrong"].mean

    print(fit.verdict)
    print()
    print(f"{'point':>5}{'x':>8}{'y':>8}{'P(wrong)':>11}{'exact':>8}")
    for j in range(len(x)):
        mark = "  <- spoilt" if j in WRONG else ""
        print(f"{j:5d}{x[j]:8.2f}{y[j]:8.2f}{found[j]:11.3f}{probability[j]:8.3f}{mark}")
    print()
    slope, intercept = np.polyfit(x, y, 1)
    print(f"{'':10}{'truth':>8}{'least squares':>15}{'exact':>16}{'fit':>16}")
    for name, truth, plain in (("a", 1.0, intercept), ("b", 2.0, slope)):
        (mean, sd), m = moments[name], fit[name]
        print(f"{name:10}{truth:8.2f}{plain:15.2f}{mean:10.2f} ±{sd:4.2f}{float(m.mean):10.2f} ±{float(m.sd):4.2f}")
    print()
    print(f"ELBO {fit.elbo:.2f}, log evidence {log_evidence:.2f}")
    print()
    print(fit.explain())
    if plot:
        fit.plot().savefig(plot)
    return {"fit": fit, "probability": probability, "moments": moments, "log_evidence": log_evidence}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--plot", metavar="FILE", help="save a picture of the fit")
    main(**vars(parser.parse_args()))
