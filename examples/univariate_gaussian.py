"""A Gaussian with unknown mean and variance: the true posterior, three approximations, and maximum likelihood.

The normal-gamma prior is conjugate, so that the posterior and the evidence are known exactly. Beside them stand

- coordinate ascent with q(mu) q(tau), each in closed form: what factorising costs can be read off the bound;
- the same with q(mu, tau) as one block, which is the exact posterior;
- a Gamma for the *variance*, which is not conjugate: stochastic gradients through Gamma draws;
- maximum likelihood by `ppl.EM`, a point without any spread.

To learn here: the same model under four algorithms, and how far a bound may be from the evidence although the
marginals look right.
"""

import argparse

import numpy as np
from scipy import special

import ppl
import ppl.distributions as dist
from ppl.distributions import constraints

PRIOR = {"loc": 0.0, "count": 0.1, "concentration": 2.0, "rate": 2.0}  # m | t ~ Normal(loc, (count t)^-1/2), t ~ Gamma


def generate(n=7, seed=1):
    return np.random.default_rng(seed).normal(1.5, 1.3, n)


def by_precision(y):
    tau = ppl.sample("tau", dist.Gamma(PRIOR["concentration"], PRIOR["rate"]))
    mu = ppl.sample("mu", dist.Normal(PRIOR["loc"], (PRIOR["count"] * tau) ** -0.5))
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Normal(mu, tau**-0.5), obs=y)


def by_variance(y):
    """The same, written by the variance."""
    v = ppl.sample("v", dist.InverseGamma(PRIOR["concentration"], PRIOR["rate"]))
    mu = ppl.sample("mu", dist.Normal(PRIOR["loc"], np.sqrt(v / PRIOR["count"])))
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Normal(mu, np.sqrt(v)), obs=y)


def gamma_guide(y):
    """q(mu) a Normal, q(v) a Gamma: no family of the posterior's."""
    shape = ppl.param("shape", 4.0, constraint=constraints.positive)
    rate = ppl.param("rate", 2.0, constraint=constraints.positive)
    ppl.sample("v", dist.Gamma(shape, rate))
    scale = ppl.param("scale", 1.0, constraint=constraints.positive)
    ppl.sample("mu", dist.Normal(ppl.param("loc", 0.0), scale))


def points(y):
    mu = ppl.param("mu", 0.0)
    sigma = ppl.param("sigma", 1.0, constraint=constraints.positive)
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Normal(mu, sigma), obs=y)


def exact(y):
    """The normal-gamma posterior, and the log evidence (Bernardo and Smith, 1994, section 5.2)."""
    n, m0, k0, a0, b0 = len(y), *PRIOR.values()
    k, a = k0 + n, a0 + n / 2
    loc = (k0 * m0 + y.sum()) / k
    b = b0 + 0.5 * np.sum((y - y.mean()) ** 2) + 0.5 * k0 * n * (y.mean() - m0) ** 2 / k
    evidence = special.gammaln(a) - special.gammaln(a0) + a0 * np.log(b0) - a * np.log(b)
    evidence += 0.5 * np.log(k0 / k) - 0.5 * n * np.log(2 * np.pi)
    return {"loc": loc, "count": k, "concentration": a, "rate": b}, float(evidence)


def main(plot=None):
    y = generate()
    posterior, evidence = exact(y)
    apart = ppl.infer(by_precision, y, algorithm="cavi", progress=False)
    block = ppl.infer(by_precision, y, algorithm=ppl.CAVI(blocks=[("mu", "tau")]), progress=False)
    gamma = ppl.infer(by_variance, y, guide=gamma_guide, progress=False)
    best = ppl.infer(points, y, algorithm="em", progress=False).params
    print(f"log evidence                   {evidence:9.4f}")
    print(f"q(mu) q(tau), closed form      {apart.elbo:9.4f}   after {len(apart.history)} sweeps")
    print(f"q(mu, tau), one block          {block.elbo:9.4f}   the exact posterior")
    print(f"q(mu) q(v), v a Gamma          {gamma.elbo:9.4f}   s.e. {gamma.elbo_se:.4f}, {len(gamma.history)} steps")
    print(f"maximum likelihood: mean {best['mu']:.3f}, sd {best['sigma']:.3f}; posterior mean {posterior['loc']:.3f}")
    if plot:
        draw(y, posterior, evidence, apart, gamma, best, plot)
    return {"posterior": posterior, "evidence": evidence, "apart": apart, "block": block, "gamma": gamma, "best": best}


def draw(y, posterior, evidence, apart, gamma, best, path):
    """The densities of both posteriors over (mean, variance), and the bound against sweeps."""
    import matplotlib.pyplot as plt

    middle = posterior["rate"] / posterior["concentration"]  # of the variance
    far = 3.5 * np.sqrt(middle / posterior["count"])
    means = np.linspace(posterior["loc"] - far, posterior["loc"] + far, 200)
    mu, v = np.meshgrid(means, np.linspace(0.2 * middle, 3.0 * middle, 200))
    true = dist.NormalGamma(*(posterior[k] for k in ("loc", "count", "concentration", "rate")))
    log_true = true.log_prob(np.stack([mu, 1 / v], -1)) - 2 * np.log(v)
    q = apart.params
    log_apart = dist.Normal(q["mu.loc"], q["mu.scale"]).log_prob(mu)
    log_apart = log_apart + dist.InverseGamma(q["tau.concentration"], q["tau.rate"]).log_prob(v)
    p = gamma.params
    log_gamma = dist.Normal(p["loc"], p["scale"]).log_prob(mu) + dist.Gamma(p["shape"], p["rate"]).log_prob(v)
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4))
    left.contourf(mu, v, np.exp(log_true), 12, cmap="Greys")
    for name, values, colour in (("q(mu) q(tau)", log_apart, "C0"), ("q(mu) q(v), Gamma", log_gamma, "C1")):
        levels = np.exp(values).max() * np.array([0.05, 0.3, 0.7])
        left.contour(mu, v, np.exp(values), levels, colors=colour, linewidths=1)
        left.plot([], [], color=colour, label=name)
    left.plot(best["mu"], best["sigma"] ** 2, "r*", ms=10, label="maximum likelihood")
    left.set(xlabel="mean", ylabel="variance", title="true posterior in grey")
    left.legend(fontsize=8, loc="upper left")
    right.plot(np.arange(1, len(apart.history) + 1), evidence - apart.history, ".-", label="q(mu) q(tau)")
    right.axhline(evidence - apart.elbo, color="grey", lw=0.5)
    right.set(xlabel="sweep", ylabel="evidence - bound (nats)", title="the bound rises in every sweep")
    right.set_yscale("log")
    right.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=80)
    plt.close(figure)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--plot", metavar="FILE", help="save a picture of the posteriors and of the bound")
    main(**vars(parser.parse_args()))
