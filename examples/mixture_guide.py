"""A posterior with two modes, and a guide that can hold both.

We observe x = z^2 + noise. The sign of z is lost, so the posterior of z has a mode on either side of
zero. A mean-field guide is one Normal bump: it stays on the side where it started and is certain of it. A
guide function may as well draw z from a mixture with learned weights, locations and scales: that covers both.

To learn here:

- a guide is a function with the model's arguments; `ppl.param` makes its learned numbers;
- the bound tells the guides apart: missing one of two equal modes costs log 2 = 0.69 nats;
- who estimates the gradient is decided term by term, and `fit.explain()` gives the reason. A draw from a
  mixture picks a component, and the pick jumps where the weights change. A gradient through such a draw
  would miss that, silently; so where no smooth path is known, the score function is used.
"""

import argparse

import numpy as np

import ppl
import ppl.distributions as dist
from ppl.distributions import constraints

X = 4.0


def square(x):
    z = ppl.sample("z", dist.Normal(0, 3))
    ppl.sample("x", dist.Normal(z**2, 1), obs=x)


def one_bump(x):
    loc = ppl.param("loc", 1.0)
    scale = ppl.param("scale", 0.5, constraint=constraints.positive)
    ppl.sample("z", dist.Normal(loc, scale))


def two_bumps(x):
    weights = ppl.param("weights", np.array([0.5, 0.5]), constraint=constraints.simplex)
    locs = ppl.param("locs", np.array([-1.0, 1.5]))
    scales = ppl.param("scales", np.array([0.5, 0.5]), constraint=constraints.positive)
    ppl.sample("z", dist.MixtureSameFamily(dist.Categorical(probs=weights), dist.Normal(locs, scales)))


def exact(x, points=200_001):
    """Log evidence, and the posterior density of z on a grid."""
    z = np.linspace(-15.0, 15.0, points)
    log_joint = dist.Normal(0, 3).log_prob(z) + dist.Normal(z**2, 1).log_prob(x)
    evidence = np.exp(log_joint).sum() * (z[1] - z[0])
    return np.log(evidence), z, np.exp(log_joint) / evidence


def sketch(values, weights=None):
    """A histogram from -3 to 3, drawn with characters."""
    counts = np.histogram(values, np.linspace(-3.0, 3.0, 61), weights=weights)[0]
    return "".join(" .:-=+*#%@"[int(np.ceil(9 * c / counts.max()))] for c in counts)


def main(plot=None):
    log_evidence, z, density = exact(X)
    fits = {"mean-field": ppl.infer(square, X, guide=one_bump), "mixture": ppl.infer(square, X, guide=two_bumps)}

    print(f"{'guide':12}{'ELBO':>9}{'gap to the evidence':>22}{'P(z > 0)':>11}")
    for name, fit in fits.items():
        right = np.mean(fit.sample(4000)["z"] > 0)
        print(f"{name:12}{fit.elbo:9.3f}{log_evidence - fit.elbo:22.3f}{right:11.2f}")
    print(f"{'exact':12}{log_evidence:9.3f}{0.0:22.3f}{0.5:11.2f}")
    print()
    for name, fit in fits.items():
        print(f"{name:12}|{sketch(fit.sample(4000)['z'])}|")
    print(f"{'exact':12}|{sketch(z, density)}|")
    print(f"{'':13}-3{'z':^56}+3")
    print()
    print("What the mixture guide learned, and how")
    print()
    for name, value in fits["mixture"].params.items():
        print(f"  {name:8} {np.array2string(value, precision=3)}")
    print()
    print(fits["mixture"].explain())
    if plot:
        fits["mixture"].plot().savefig(plot)
    return {"fits": fits, "log_evidence": log_evidence}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--plot", metavar="FILE", help="save a picture of the fit")
    main(**vars(parser.parse_args()))
