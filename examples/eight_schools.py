"""Eight schools: from a model function to a posterior, and how good it is.

Eight schools coached their pupils for a test. Each reports an estimated effect and its standard
error. How large is the effect in each school, and how much do the schools differ?

To learn here:

- the main job: write the model, call `ppl.infer`, print the fit;
- `fit.explain()` shows the bound that was derived, and who estimates each term of it;
- the bound can be judged: in this model `mu` and `theta` integrate out by hand, so the log evidence
  and the exact posterior of `mu` and `tau` are one sum over a grid. The gap between evidence and
  bound is KL(guide || posterior), in nats.

The data are those of Rubin (1981), "Estimation in parallel randomized experiments".
"""

import argparse

import numpy as np

import ppl
import ppl.distributions as dist

EFFECT = np.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
ERROR = np.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])


def eight_schools(sigma, y=None):
    mu = ppl.sample("mu", dist.Normal(0, 5))
    tau = ppl.sample("tau", dist.HalfCauchy(5))
    with ppl.plate("schools", len(sigma)):
        theta = ppl.sample("theta", dist.Normal(mu, tau))
        ppl.sample("y", dist.Normal(theta, sigma), obs=y)


def exact(sigma, y, points=20_000):
    """Log evidence, and mean and sd of mu and tau, by a sum over a grid of tau.

    Given tau, y is Gaussian with covariance diag(sigma^2 + tau^2) + 5^2, and mu given y and tau is
    Gaussian too. With tau = 5 tan(angle) the half-Cauchy prior is uniform in the angle.
    """
    angle = (np.arange(points) + 0.5) / points * np.pi / 2
    tau = 5.0 * np.tan(angle)
    precision = 1.0 / (sigma**2 + tau[:, None] ** 2)
    variance = 1.0 / (precision.sum(1) + 1 / 25)
    mean = variance * (precision * y).sum(1)
    log_lik = 0.5 * (
        np.log(precision / (2 * np.pi)).sum(1) - (precision * y**2).sum(1) + mean**2 / variance + np.log(variance / 25)
    )
    top = log_lik.max()
    weight = np.exp(log_lik - top)
    log_evidence = top + np.log(weight.mean())
    weight /= weight.sum()
    moments = {}
    for name, m, extra in (("mu", mean, variance), ("tau", tau, 0.0)):
        centre = weight @ m
        moments[name] = (centre, np.sqrt(weight @ ((m - centre) ** 2 + extra)))
    return log_evidence, moments


def main(plot=None):
    fit = ppl.infer(eight_schools, ERROR, y=EFFECT)
    print(fit)
    print()
    print(fit.explain())

    log_evidence, moments = exact(ERROR, EFFECT)
    print()
    print("Against the exact answer")
    print()
    print(f"  log evidence {log_evidence:8.2f}")
    print(f"  ELBO         {fit.elbo:8.2f}    so KL(guide || posterior) = {log_evidence - fit.elbo:.2f} nats")
    print()
    print(f"  {'':4}{'exact mean':>12}{'fit':>8}{'exact sd':>12}{'fit':>8}")
    for name, (mean, sd) in moments.items():
        print(f"  {name:4}{mean:12.2f}{float(fit[name].mean):8.2f}{sd:12.2f}{float(fit[name].sd):8.2f}")
    if plot:
        fit.plot().savefig(plot)
    return {"fit": fit, "log_evidence": log_evidence, "moments": moments}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--plot", metavar="FILE", help="save a picture of the fit")
    main(**vars(parser.parse_args()))
