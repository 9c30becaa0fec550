"""Linear and generalised linear models."""

from __future__ import annotations

import numpy as np

import ppl
import ppl.distributions as dist

from .posterior import INFERENCE_GYM, Posterior, flat, flat_positive


def child_scores(x, y):
    beta = ppl.sample("beta", flat(x.shape[1]))
    sigma = ppl.sample("sigma", dist.HalfCauchy(2.5))
    with ppl.plate("children", len(y)):
        ppl.sample("y", dist.Normal(x @ beta, sigma), obs=y)


def flat_regression(x, y):
    beta = ppl.sample("beta", flat(x.shape[1]))
    sigma = ppl.sample("sigma", flat_positive())
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Normal(x @ beta, sigma), obs=y)


def proper_regression(x, y):
    beta = ppl.sample("beta", dist.Normal(0, 10).expand([x.shape[1]]).to_event(1))
    sigma = ppl.sample("sigma", dist.HalfNormal(10))
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Normal(x @ beta, sigma), obs=y)


def diamonds(x, y):
    x = x - x.mean(0)
    b = ppl.sample("b", dist.Normal(0, 1).expand([x.shape[1]]).to_event(1))
    intercept = ppl.sample("Intercept", dist.StudentT(3, 8, 10))
    sigma = ppl.sample("sigma", flat_positive())
    ppl.factor("sigma_prior", dist.StudentT(3, 0, 10).log_prob(sigma))
    with ppl.plate("diamonds", len(y)):
        ppl.sample("y", dist.Normal(intercept + x @ b, sigma), obs=y)


def wells(distance, switched):
    beta = ppl.sample("beta", flat(2))
    with ppl.plate("households", len(switched)):
        ppl.sample("switched", dist.Bernoulli(logits=beta[0] + beta[1] * distance), obs=switched)


def dogs(y):
    """Each dog learns from the shocks it avoided and the shocks it got in the trials before."""
    before = np.arange(y.shape[1])
    shocks = np.cumsum(y, axis=1) - y
    beta = ppl.sample("beta", dist.Normal(0, 100).expand([3]).to_event(1))
    with ppl.plate("dogs", len(y), dim=-2), ppl.plate("trials", y.shape[1], dim=-1):
        logits = beta[0] + beta[1] * (before - shocks) + beta[2] * shocks
        ppl.sample("y", dist.Bernoulli(logits=logits), obs=y)


def falcons(year, count):
    alpha = ppl.sample("alpha", dist.Uniform(-20, 20))
    beta1 = ppl.sample("beta1", dist.Uniform(-10, 10))
    beta2 = ppl.sample("beta2", dist.Uniform(-10, 10))
    beta3 = ppl.sample("beta3", dist.Uniform(-10, 10))
    with ppl.plate("years", len(year)):
        rate = np.exp(alpha + beta1 * year + beta2 * year**2 + beta3 * year**3)
        ppl.sample("count", dist.Poisson(rate), obs=count)


def german_credit(x, y):
    x = np.column_stack([(x - x.mean(0)) / x.std(0), np.ones(len(x))])
    w = ppl.sample("value", dist.Normal(0, 1).expand([x.shape[1]]).to_event(1))
    with ppl.plate("customers", len(y)):
        ppl.sample("y", dist.Bernoulli(logits=x @ w), obs=y)


def columns(*xs) -> np.ndarray:
    """A design matrix with an intercept."""
    return np.column_stack([np.ones(len(xs[0])), *xs]).astype(float)


def _voters(d):
    ages = [d["age_discrete"] == k for k in (2, 3, 4)]
    return columns(d["real_ideo"], d["race_adj"], *ages, d["educ1"], d["gender"], d["income"])


def _mesquite(d):
    names = ("diam1", "diam2", "canopy_height", "total_height", "density", "group")
    return columns(*(d[name] for name in names))


REGRESSIONS = (
    Posterior("diamonds", "diamonds-diamonds", diamonds, lambda d: (d["X"][:, 1:], d["Y"])),
    Posterior("dogs", "dogs-dogs", dogs, lambda d: (d["y"],)),
    Posterior(
        "earn_height",
        "earnings-earn_height",
        flat_regression,
        lambda d: (columns(d["height"]), d["earn"].astype(float)),
    ),
    Posterior(
        "logearn_interaction",
        "earnings-logearn_interaction",
        flat_regression,
        lambda d: (columns(d["height"], d["male"], d["height"] * d["male"]), np.log(d["earn"])),
    ),
    Posterior(
        "german_credit_logistic",
        "german_credit_logistic",
        german_credit,
        lambda d: (d["X_raw"], d["y"]),
        collection=INFERENCE_GYM,
    ),
    Posterior("GLM_Poisson", "GLM_Poisson_Data-GLM_Poisson_model", falcons, lambda d: (d["year"], d["C"])),
    Posterior(
        "kidscore_interaction",
        "kidiq-kidscore_interaction",
        child_scores,
        lambda d: (columns(d["mom_hs"], d["mom_iq"], d["mom_hs"] * d["mom_iq"]), d["kid_score"]),
    ),
    Posterior(
        "kidscore_momhsiq",
        "kidiq-kidscore_momhsiq",
        child_scores,
        lambda d: (columns(d["mom_hs"], d["mom_iq"]), d["kid_score"]),
    ),
    Posterior("mesquite", "mesquite-mesquite", flat_regression, lambda d: (_mesquite(d), d["weight"])),
    Posterior("nes1972", "nes1972-nes", flat_regression, lambda d: (_voters(d), d["partyid7"])),
    Posterior("blr", "sblrc-blr", proper_regression, lambda d: (d["X"], d["y"])),
    Posterior("wells_dist", "wells_data-wells_dist", wells, lambda d: (d["dist"], d["switched"])),
)
