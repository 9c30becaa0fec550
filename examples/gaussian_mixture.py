"""A Gaussian mixture with more components than there are clusters: what is not needed empties itself.

Six components are offered to data from three clusters. The weights have a Dirichlet prior with small
concentration, under which an empty component costs less than a second one in the same cluster.

To learn here:

- a discrete latent site, `z`, that selects: `mu[z]`, `tau[z]`;
- nothing is said about conjugacy. Every update has a closed form, and that is found from the model;
- the updates begin in several places, since clusters can be told apart in several ways: the best goes on.

The data are generated with a fixed seed, so the clusters are known.
"""

import argparse

import numpy as np

import ppl
import ppl.distributions as dist

CENTRES = np.array([[0.0, 0.0], [5.0, 1.0], [-3.0, 5.0]])
SPREAD = np.array([0.7, 1.0, 1.3])
SIZES = (60, 90, 150)


def generate(seed=0):
    """Points, and the cluster of each."""
    rng = np.random.default_rng(seed)
    of = np.repeat(np.arange(3), SIZES)
    return CENTRES[of] + SPREAD[of, None] * rng.standard_normal((len(of), 2)), of


def mixture(x, components=6):
    weight = ppl.sample("weight", dist.Dirichlet(np.full(components, 0.05)))
    with ppl.plate("components", components):
        mu = ppl.sample("mu", dist.Normal(0, 10).expand([2]).to_event(1))
        tau = ppl.sample("tau", dist.Gamma(2, 2).expand([2]).to_event(1))
    with ppl.plate("points", len(x)):
        z = ppl.sample("z", dist.Categorical(weight))
        ppl.sample("x", dist.Normal(mu[z], 1 / np.sqrt(tau[z])).to_event(1), obs=x)


def main(plot=None):
    x, of = generate()
    fit = ppl.infer(mixture, x, algorithm="cavi", progress=False)
    weight, mu = fit["weight"].mean, fit.params["mu.loc"]
    probs = fit.params["z.probs"]
    used = [k for k in np.argsort(-weight) if weight[k] > 0.01]
    print(fit.verdict)
    print()
    print(f"bound {fit.elbo:.2f} after {fit.solution.steps} sweeps")
    print(f"{len(used)} of {len(weight)} components are in use")
    print(f"{'weight':>8}{'mu[0]':>9}{'mu[1]':>9}{'sd[0]':>8}{'sd[1]':>8}")
    for k in used:
        sd = np.sqrt(fit.params["tau.rate"][k] / fit.params["tau.concentration"][k])
        print(f"{weight[k]:8.2f}{mu[k, 0]:9.2f}{mu[k, 1]:9.2f}{sd[0]:8.2f}{sd[1]:8.2f}")
    agree = max(np.mean(np.array(order)[probs[:, used].argmax(1)] == of) for order in _orders(len(used)))
    print(f"{agree:.0%} of the points are in their own cluster")
    if plot:
        import matplotlib.pyplot as plt

        colours = probs[:, used[:3]]
        plt.scatter(*x.T, c=colours / colours.sum(1, keepdims=True), s=12)
        plt.xlabel("first coordinate")
        plt.ylabel("second coordinate")
        plt.title("responsibilities of three components, as shares of red, green and blue")
        plt.savefig(plot)
    return {"fit": fit, "used": used, "agree": agree}


def _orders(n):
    from itertools import permutations

    return permutations(range(n))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--plot", metavar="FILE", help="save a picture of the responsibilities")
    main(**vars(parser.parse_args()))
