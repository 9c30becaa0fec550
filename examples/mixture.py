"""A mixture without marginalising by hand: which of two groups does each point come from?

Each point has a hidden label, a Bernoulli site in a plate, and the label picks the mean by indexing. No sum over
labels is written anywhere.

To learn here:

- a finite site is summed out of the model by the engine, for all points side by side; `fit.explain()` says so;
- so the bound is that of the marginal density, smooth in what is left: there is no noise from the labels;
- the labels come back: `fit["label"].probs` has the probability of each state, averaged over the guide's draws,
  and `fit.sample()` draws labels jointly with everything else;
- the exact answer for comparison: three numbers (the share and two means), summed over a grid.
"""

import argparse

import numpy as np

import ppl
import ppl.distributions as dist

SHARE, MEANS = 0.35, np.array([-1.5, 1.5])
PRIOR_MEANS, PRIOR_SD = np.array([-2.0, 2.0]), 1.0


def generate(seed=3, size=40):
    """Points of two groups that overlap."""
    rng = np.random.default_rng(seed)
    label = rng.random(size) < SHARE
    return np.sort(MEANS[label.astype(int)] + rng.standard_normal(size))


def mixture(y):
    share = ppl.sample("share", dist.Beta(2, 2))
    means = ppl.sample("means", dist.Normal(PRIOR_MEANS, PRIOR_SD).to_event(1))
    with ppl.plate("points", len(y)):
        label = ppl.sample("label", dist.Bernoulli(share))
        ppl.sample("y", dist.Normal(means[label], 1.0), obs=y)


def exact(y, points=81):
    """P(label = 1 | y) of each point, mean and sd of the three numbers, and the log evidence."""
    share = (np.arange(points) + 0.5) / points
    first, second = (m + np.linspace(-4, 4, points) for m in PRIOR_MEANS)
    share, first, second = np.meshgrid(share, first, second, indexing="ij", sparse=True)
    prior = dist.Beta(2, 2).log_prob(share)
    prior = prior + dist.Normal(PRIOR_MEANS[0], PRIOR_SD).log_prob(first)
    log_joint = prior + dist.Normal(PRIOR_MEANS[1], PRIOR_SD).log_prob(second)
    odds = []
    for x in y:
        one = np.log(share) + dist.Normal(second, 1).log_prob(x)
        either = np.logaddexp(np.log1p(-share) + dist.Normal(first, 1).log_prob(x), one)
        log_joint = log_joint + either
        odds.append(one - either)
    top = log_joint.max()
    weight = np.exp(log_joint - top)
    log_evidence = top + np.log(weight.sum() / points * (8 / (points - 1)) ** 2)
    weight /= weight.sum()
    probability = np.array([np.sum(weight * np.exp(x)) for x in odds])
    moments = {}
    for name, value in (("share", share), ("means[0]", first), ("means[1]", second)):
        mean = np.sum(weight * value)
        moments[name] = (mean, np.sqrt(np.sum(weight * (value - mean) ** 2)))
    return probability, moments, log_evidence


def main(plot=None):
    y = generate()
    probability, moments, log_evidence = exact(y)
    fit = ppl.infer(mixture, y)
    found = fit["label"].probs[:, 1]

    print(fit.verdict)
    print()
    print(f"{'point':>8}{'P(label 1)':>13}{'exact':>8}")
    for value, p, q in zip(y[::4], found[::4], probability[::4], strict=True):
        print(f"{value:8.2f}{p:13.3f}{q:8.3f}")
    print()
    print(f"{'':10}{'exact':>16}{'fit':>16}")
    summary = fit.summary()
    for name, (mean, sd) in moments.items():
        print(f"{name:10}{mean:10.2f} ±{sd:4.2f}{summary[name]['mean']:10.2f} ±{summary[name]['sd']:4.2f}")
    print()
    print(f"ELBO {fit.elbo:.2f}, log evidence {log_evidence:.2f}")
    together = fit.sample(4000)["label"].sum(1)
    print(f"points of group 1: {together.mean():.1f} ± {together.std():.1f}, from joint draws")
    print()
    print(fit.explain())
    if plot:
        fit.plot(["share", "means"]).savefig(plot)
    return {"fit": fit, "probability": probability, "moments": moments, "log_evidence": log_evidence}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--plot", metavar="FILE", help="save a picture of the fit")
    main(**vars(parser.parse_args()))
