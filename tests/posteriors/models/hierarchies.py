"""Groups that share what they learn."""

from __future__ import annotations

import ppl
import ppl.distributions as dist

from .posterior import Posterior, flat_positive


def eight_schools_centred(y, sigma):
    mu = ppl.sample("mu", dist.Normal(0, 5))
    tau = ppl.sample("tau", dist.HalfCauchy(5))
    with ppl.plate("schools", len(y)):
        theta = ppl.sample("theta", dist.Normal(mu, tau))
        ppl.sample("y", dist.Normal(theta, sigma), obs=y)


def eight_schools_noncentred(y, sigma):
    mu = ppl.sample("mu", dist.Normal(0, 5))
    tau = ppl.sample("tau", dist.HalfCauchy(5))
    with ppl.plate("schools", len(y)):
        z = ppl.sample("z", dist.Normal(0, 1))
        theta = ppl.deterministic("theta", mu + tau * z)
        ppl.sample("y", dist.Normal(theta, sigma), obs=y)


def radon_noncentred(y, county, uranium, floor, counties):
    mu = ppl.sample("mu_alpha", dist.Normal(0, 10))
    spread = ppl.sample("sigma_alpha", dist.HalfNormal(1))
    noise = ppl.sample("sigma_y", dist.HalfNormal(1))
    beta = ppl.sample("beta", dist.Normal(0, 10).expand((2,)).to_event(1))
    with ppl.plate("counties", counties):
        z = ppl.sample("z", dist.Normal(0, 1))
        alpha = ppl.deterministic("alpha", mu + spread * z)
    with ppl.plate("houses", len(y)):
        ppl.sample("y", dist.Normal(alpha[county] + beta[0] * uranium + beta[1] * floor, noise), obs=y)


def rats(rat, age, weight, rats):
    mu_alpha = ppl.sample("mu_alpha", dist.Normal(0, 100))
    mu_beta = ppl.sample("mu_beta", dist.Normal(0, 100))
    sigma_y = ppl.sample("sigma_y", flat_positive())
    sigma_alpha = ppl.sample("sigma_alpha", flat_positive())
    sigma_beta = ppl.sample("sigma_beta", flat_positive())
    with ppl.plate("rats", rats):
        alpha = ppl.sample("alpha", dist.Normal(mu_alpha, sigma_alpha))
        beta = ppl.sample("beta", dist.Normal(mu_beta, sigma_beta))
    with ppl.plate("weighings", len(weight)):
        ppl.sample("weight", dist.Normal(alpha[rat] + beta[rat] * age, sigma_y), obs=weight)


def seeds(x1, x2, germinated, sown):
    alpha0 = ppl.sample("alpha0", dist.Normal(0, 1))
    alpha1 = ppl.sample("alpha1", dist.Normal(0, 1))
    alpha2 = ppl.sample("alpha2", dist.Normal(0, 1))
    alpha12 = ppl.sample("alpha12", dist.Normal(0, 1))
    sigma = ppl.sample("sigma", dist.HalfCauchy(1))
    with ppl.plate("dishes", len(sown)):
        b = ppl.sample("b", dist.Normal(0, sigma))
        logits = alpha0 + alpha1 * x1 + alpha2 * x2 + alpha12 * x1 * x2 + b
        ppl.sample("germinated", dist.Binomial(sown, logits=logits), obs=germinated)


def item_response(y):
    """Two parameters per item: how hard it is (b), and how well it tells persons apart (a)."""
    items = ppl.plate("items", y.shape[0], dim=-2)
    persons = ppl.plate("persons", y.shape[1], dim=-1)
    sigma_theta = ppl.sample("sigma_theta", dist.HalfCauchy(2))
    sigma_a = ppl.sample("sigma_a", dist.HalfCauchy(2))
    mu_b = ppl.sample("mu_b", dist.Normal(0, 5))
    sigma_b = ppl.sample("sigma_b", dist.HalfCauchy(2))
    with persons:
        theta = ppl.sample("theta", dist.Normal(0, sigma_theta))
    with items:
        a = ppl.sample("a", dist.LogNormal(0, sigma_a))
        b = ppl.sample("b", dist.Normal(mu_b, sigma_b))
    with items, persons:
        ppl.sample("y", dist.Bernoulli(logits=a * (theta - b)), obs=y)


def _schools_standardised(x):
    return {"mu": x["mu"], "tau": x["tau"], "z": (x["theta"] - x["mu"][:, None]) / x["tau"][:, None]}


def _counties_standardised(x):
    z = (x["alpha"] - x["mu_alpha"][:, None]) / x["sigma_alpha"][:, None]
    return {**{k: v for k, v in x.items() if k != "alpha"}, "z": z}


HIERARCHIES = (
    Posterior(
        "eight schools, centred",
        "eight_schools-eight_schools_noncentered",
        eight_schools_centred,
        lambda d: (d["y"], d["sigma"]),
    ),
    Posterior(
        "eight schools, non-centred",
        "eight_schools-eight_schools_noncentered",
        eight_schools_noncentred,
        lambda d: (d["y"], d["sigma"]),
        _schools_standardised,
    ),
    Posterior(
        "radon_hierarchical_intercept",
        "radon_mn-radon_hierarchical_intercept_noncentered",
        radon_noncentred,
        lambda d: (d["log_radon"], d["county_idx"] - 1, d["log_uppm"], d["floor_measure"], d["J"]),
        _counties_standardised,
    ),
    Posterior("rats", "rats_data-rats_model", rats, lambda d: (d["rat"] - 1, d["x"] - d["xbar"], d["y"], d["N"])),
    Posterior("seeds", "seeds_data-seeds_stanified_model", seeds, lambda d: (d["x1"], d["x2"], d["n"], d["N"])),
    Posterior("irt_2pl", "irt_2pl-irt_2pl", item_response, lambda d: (d["y"],)),
)
