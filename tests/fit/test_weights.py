"""Importance ratios with every plate element averaged out: against closed forms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from scipy import special, stats

import ppl
import ppl.distributions as dist
from ppl.algorithms.wide import with_wide
from ppl.elbo import derive, problem
from ppl.fit.elements import groups
from ppl.fit.psis import smooth
from ppl.fit.weights import log_evidence, pointwise, ratios

RNG = np.random.default_rng(0)
N = 200
Y = RNG.normal(1.0, 1.3, N)
COUNTY = RNG.integers(0, 30, N)
AT = {"mu.loc": np.array(0.9), "mu.scale": np.array(0.12), "tau.loc": np.array(0.1), "tau.scale": np.array(0.15)}


def exchangeable(y):
    mu = ppl.sample("mu", dist.Normal(0.0, 5.0))
    tau = ppl.sample("tau", dist.LogNormal(0.0, 1.0))
    with ppl.plate("rows", len(y)):
        z = ppl.sample("z", dist.Normal(mu, tau))
        ppl.sample("y", dist.Normal(z, 0.5), obs=y)


def gathered(county, y):
    mu = ppl.sample("mu", dist.Normal(0.0, 5.0))
    tau = ppl.sample("tau", dist.LogNormal(0.0, 1.0))
    with ppl.plate("counties", 30):
        z = ppl.sample("z", dist.Normal(mu, tau))
    with ppl.plate("rows", len(y)):
        ppl.sample("y", dist.Normal(z[county], 0.5), obs=y)


def local_posterior(values, names=("z",)):
    """Starting values with the exact posterior of the elements at the middle of the global guide."""
    mu, tau = AT["mu.loc"], np.exp(AT["tau.loc"])
    county = COUNTY if values == "gathered" else np.arange(N)
    size = county.max() + 1
    count = np.bincount(county, minlength=size)
    precision = 1 / tau**2 + count / 0.25
    mean = (mu / tau**2 + np.bincount(county, Y, size) / 0.25) / precision
    return {**AT, "z.loc": mean, "z.scale": precision**-0.5}


def exact_log_weights(found, county, at=AT):
    """log p(theta, y) - log q(theta) of the guide's draws of (mu, log tau), the elements integrated in closed form."""
    e_mu, e_tau = (found.noise[n][: len(found.log_ratios)] for n in ("mu", "tau"))
    mu = at["mu.loc"] + at["mu.scale"] * e_mu
    u = at["tau.loc"] + at["tau.scale"] * e_tau
    total = stats.norm.logpdf(mu, 0, 5) + stats.norm.logpdf(u, 0, 1)
    total -= stats.norm.logpdf(e_mu) - np.log(at["mu.scale"])
    total -= stats.norm.logpdf(e_tau) - np.log(at["tau.scale"])
    for n in np.unique(county):
        rows = Y[county == n]
        m = len(rows)
        covariance = lambda t, m=m: t**2 * np.ones((m, m)) + 0.25 * np.eye(m)
        total += [
            stats.multivariate_normal(np.full(m, a), covariance(t)).logpdf(rows)
            for a, t in zip(mu, np.exp(u), strict=True)
        ]
    return total


@pytest.mark.parametrize("name", ["exchangeable", "gathered"])
def test_the_global_ratios_have_the_elements_integrated_out(name):
    model, args = (exchangeable, (Y,)) if name == "exchangeable" else (gathered, (COUNTY, Y))
    values = local_posterior(name)
    d = derive(problem(model, args, {}), "meanfield", pointwise=True)
    found = ratios(d, values, seed=0, draws=300)
    county = COUNTY if name == "gathered" else np.arange(N)
    exact = exact_log_weights(found, county)
    gap = found.log_ratios - exact
    # 32 evenly spread nodes for each of 200 elements leave an sd of about 0.05; four of them, over several nats.
    assert np.abs(gap).max() < 0.2 and exact.std() > 1.0
    # Where the guide's elements are far too narrow the nodes are placed by themselves.
    narrow = ratios(d, {**values, "z.scale": 0.3 * values["z.scale"]}, seed=0, draws=300)
    assert np.abs(narrow.log_ratios - exact).max() < 0.2
    one = ratios(derive(problem(model, args, {}), "meanfield", pointwise=True), {**values, **AT}, seed=0, draws=300)
    np.testing.assert_array_equal(one.log_ratios, found.log_ratios)


def test_which_rows_belong_to_which_element():
    d = derive(problem(gathered, (COUNTY, Y), {}), "meanfield", pointwise=True)
    (group,) = groups(d, local_posterior("gathered"), {}, 0)
    assert group.plate == "counties" and group.size == 30
    sites = [d.terms[i].site for i in group.terms]
    np.testing.assert_array_equal(group.units[sites.index("y")], COUNTY)
    for unit in (u for s, u in zip(sites, group.units, strict=True) if s == "z"):
        np.testing.assert_array_equal(unit, np.arange(30))


def chain(y):
    with ppl.plate("time", len(y)):
        z = ppl.sample("z", dist.Normal(0.0, 1.0))
        ppl.sample("y", dist.Normal(np.cumsum(z), 0.5), obs=y)


def crossed(y):
    with ppl.plate("rows", 8, dim=-2):
        a = ppl.sample("a", dist.Normal(0.0, 1.0))
    with ppl.plate("columns", 6, dim=-1):
        b = ppl.sample("b", dist.Normal(0.0, 1.0))
    with ppl.plate("r", 8, dim=-2), ppl.plate("c", 6, dim=-1):
        ppl.sample("y", dist.Normal(a + b, 0.5), obs=y)


def nested(y):
    with ppl.plate("outer", 5, dim=-2):
        a = ppl.sample("a", dist.Normal(0.0, 1.0))
        with ppl.plate("inner", 4, dim=-1):
            b = ppl.sample("b", dist.Normal(a, 1.0))
            ppl.sample("y", dist.Normal(b, 0.5), obs=y)


@pytest.mark.parametrize(
    ("model", "shape", "plates"), [(chain, (9,), []), (crossed, (8, 6), ["rows"]), (nested, (5, 4), ["outer"])]
)
def test_only_independent_elements_are_averaged_out(model, shape, plates):
    """A cumulative sum ties all elements; of two crossed plates the longer is averaged; nested ones go together."""
    p = problem(model, (RNG.normal(size=shape),), {})
    d = derive(p, "meanfield", pointwise=True)
    values = {n: x.init for n, x in d.parameters.items()}
    assert [g.plate for g in groups(d, values, {}, 0)] == plates


@pytest.mark.slow
def test_a_thousand_elements_do_not_spoil_the_global_k_hat():
    """The joint ratio has a heavy tail although every part is fitted; the control is that joint ratio."""
    values = local_posterior("exchangeable")
    values["z.scale"] = 0.8 * values["z.scale"]
    values |= {"mu.loc": np.array(Y.mean()), "mu.scale": np.array(0.09)}
    values |= {"tau.loc": np.array(0.5 * np.log(Y.var() - 0.25)), "tau.scale": np.array(0.06)}
    d = derive(problem(exchangeable, (Y,), {}), "meanfield", pointwise=True)
    found = ratios(d, values, seed=0)
    # The k-hat of the exact ratios of the same draws; that itself varies by 0.1 over seeds, around 0.35.
    exact = smooth(exact_log_weights(found, np.arange(N), values)).k_hat
    assert found.smoothed.k_hat == pytest.approx(exact, abs=0.1) and found.mixture.k_hat < 0.5
    # Guides of 0.8 of the right sd have tails of shape 1 - 0.8^2, estimated with an sd of about 0.15.
    assert np.median(found.element_k_hats["rows"]) == pytest.approx(0.36, abs=0.1)
    flat = derive(problem(exchangeable_without_plate, (Y,), {}), "meanfield", pointwise=True)
    joint = ratios(flat, values, seed=0)
    assert not joint.elements and joint.smoothed.k_hat > 0.7


def exchangeable_without_plate(y):
    mu = ppl.sample("mu", dist.Normal(0.0, 5.0))
    tau = ppl.sample("tau", dist.LogNormal(0.0, 1.0))
    z = ppl.sample("z", dist.Normal(mu, tau).expand([len(y)]).to_event(1))
    ppl.sample("y", dist.Normal(z, 0.5).to_event(1), obs=y)


def test_a_badly_fitted_element_has_a_large_k_hat_of_its_own():
    values = local_posterior("exchangeable")
    values["z.scale"] = values["z.scale"].copy()
    values["z.scale"][17] *= 0.3
    d = derive(problem(exchangeable, (Y,), {}), "meanfield", pointwise=True)
    k_hats = ratios(d, values, seed=0).element_k_hats["rows"]
    assert np.argmax(k_hats) == 17 and k_hats[17] > 0.6 and np.median(k_hats) < 0.3


def test_the_log_evidence():
    """z ~ N(0, 1), y ~ N(z, 1): p(y) = N(y; 0, 2), with a guide that is off."""

    def model(y):
        z = ppl.sample("z", dist.Normal(0.0, 1.0))
        ppl.sample("y", dist.Normal(z, 1.0), obs=y)

    d = derive(problem(model, (1.3,), {}), "meanfield", pointwise=True)
    found = ratios(d, {"z.loc": np.array(0.4), "z.scale": np.array(0.9)}, seed=0)
    value, error = found.log_evidence()
    exact = stats.norm.logpdf(1.3, 0.0, 2**0.5)
    assert abs(value - exact) < 4 * error and error < 0.03
    assert smooth(found.log_ratios).k_hat < 0.3


@pytest.mark.slow
def test_the_evidence_of_a_hierarchy_knows_its_own_error():
    """Node noise is the same for all draws of a block; the blocks' spread shows it, as that over seeds does."""
    values = local_posterior("exchangeable")
    values["z.scale"] = 0.6 * values["z.scale"]

    def closed_form(mu, u):
        covariance = np.exp(2 * u) + 0.25
        return (
            stats.norm.logpdf(Y, mu, covariance**0.5).sum() + stats.norm.logpdf(mu, 0, 5) + stats.norm.logpdf(u, 0, 1)
        )

    mu, u = np.meshgrid(np.linspace(0.2, 1.8, 161), np.linspace(-0.4, 0.8, 121))
    table = np.vectorize(closed_form)(mu, u)
    exact = special.logsumexp(table) + np.log(0.01 * 0.01)
    p = problem(exchangeable, (Y,), {})
    solution = Solved(derive(p, "meanfield"), values)
    found = [log_evidence(p, "meanfield", solution, seed, 800) for seed in range(6)]
    value, error = np.array(found).T
    assert abs(value.mean() - exact) < 4 * value.std(ddof=1) / 6**0.5 + 0.01
    # Both are known to a third or so (8 blocks, 6 seeds): a factor of four is beyond chance, hundreds were not.
    assert 0.25 < np.mean(error) / value.std(ddof=1) < 4.0


@dataclass(frozen=True)
class Solved:
    """What is weighed: a derivation at some values."""

    derivation: Any
    values: Any
    executor: str = "numpy"


# -- wide draws, and what they show ----------------------------------------------------------------------
@pytest.mark.parametrize("size", [0, 1, 3, 40])
def test_the_mixture_of_wide_noise_has_the_density_that_it_says(size):
    """E_mixture[phi / mixture] = 1, and E_mixture[phi / mixture * e^2] = 1."""
    rng = np.random.default_rng(1)
    e, log_mixture = with_wide(rng, rng.standard_normal((20_000, size)))
    w = np.exp(-log_mixture)
    assert abs(w.mean() - 1.0) < 4 * w.std() / len(w) ** 0.5 + 1e-12
    for j in range(min(size, 2)):
        x = w * e[:, j] ** 2
        assert abs(x.mean() - 1.0) < 4 * x.std() / len(w) ** 0.5


def of_one(target, loc, scale, seed=0):
    """The weighed draws of the guide Normal(loc, scale) for the density exp(target)."""

    def model():
        z = ppl.sample("z", dist.ImproperUniform(dist.constraints.real, (), ()))
        ppl.factor("target", target(z))

    p = problem(model, (), {})
    return ratios(
        derive(p, "meanfield", pointwise=True), {"z.loc": np.array(loc), "z.scale": np.array(scale)}, seed=seed
    )


def normal(z):
    return -0.5 * z**2


def two_modes(z):
    return np.logaddexp(-0.5 * ((z - 3) / 0.3) ** 2, -0.5 * ((z + 3) / 0.3) ** 2)


CASES = [
    (normal, 0.0, 1.0, False),
    (normal, 0.0, 0.9, False),
    (normal, 0.6, 1.0, True),  # off by more than half an sd, at a cost of 0.2 nats
    (normal, 0.0, 2.5, True),  # far too wide: its k-hat is below zero
    (normal, 0.0, 0.6, True),
    (two_modes, 3.0, 0.3, True),
]


@pytest.mark.parametrize(("target", "loc", "scale", "wrong"), CASES)
@pytest.mark.parametrize("seed", range(3))
def test_moments_that_the_weights_move(target, loc, scale, wrong, seed):
    found = of_one(target, loc, scale, seed)
    assert (not found.sound or "z" in found.moved) is wrong
    if target is two_modes:  # its own draws know nothing of the other mode, and few of the wide ones reach it
        assert found.smoothed.k_hat < 0.5 and not found.sound
    elif found.sound:
        weights, z = np.exp(found.mixture.log_weights), found.draws["z"]
        n = found.mixture.effective_draws
        assert abs(weights @ z) < 4 / n**0.5 and abs(weights @ z**2 - 1) < 4 * 2**0.5 / n**0.5


def test_rows_under_a_mask_belong_to_no_element():
    def model(y, keep):
        mu = ppl.sample("mu", dist.Normal(0.0, 5.0))
        with ppl.plate("rows", len(y)):
            z = ppl.sample("z", dist.Normal(mu, 1.0))
            ppl.sample("y", dist.Normal(z, 0.5).mask(keep), obs=y)

    keep = np.arange(N) % 5 > 0
    d = derive(problem(model, (Y, keep), {}), "meanfield", pointwise=True)
    values = {n: x.init for n, x in d.parameters.items()}
    (group,) = groups(d, values, {}, 0)
    unit = group.units[[d.terms[i].site for i in group.terms].index("y")]
    np.testing.assert_array_equal(unit[keep], np.arange(N)[keep])


def correlated_hierarchy(y):
    mu = ppl.sample("mu", dist.Normal(0.0, 1.0))
    with ppl.plate("rows", len(y)):
        z = ppl.sample("z", dist.Normal(mu, 1.0).expand([len(y)]))
        ppl.sample("y", dist.Normal(z, 0.5), obs=y)


@pytest.mark.parametrize("guide", ["fullrank", "lowrank"])
def test_the_globals_of_a_joint_guide_are_weighed_with_the_elements_averaged_out(guide):
    """mu, z_n given y are jointly normal: at the exact posterior every ratio is log p(y)."""
    y = Y[:6]
    fit = ppl.infer(correlated_hierarchy, y, guide="fullrank", progress=False)
    precision = np.zeros((7, 7))
    precision[0, 0], precision[0, 1:], precision[1:, 0] = 7.0, -1.0, -1.0
    precision[1:, 1:] = np.diag(np.full(6, 5.0))
    covariance = np.linalg.inv(precision)
    loc = covariance @ np.concatenate([[0.0], 4.0 * y])
    joint = next(f for f in fit.solution.derivation.factors if f.name == "_joint")
    assert joint.sites == ("mu", "z")
    if guide == "fullrank":
        values = {"_joint.loc": loc, "_joint.scale_tril": np.linalg.cholesky(covariance)}
    else:
        value, vector = np.linalg.eigh(covariance)
        values = {
            "_joint.loc": loc,
            "_joint.cov_factor": vector * np.sqrt(value - 0.9 * value[0]),
            "_joint.scale": np.full(7, np.sqrt(0.9 * value[0])),
        }
    p = problem(correlated_hierarchy, (y,), {})
    solution = Solved(fit.solution.derivation, values)
    d, at, correlated = pointwise(p, guide, solution, 0)
    found = ratios(d, at, correlated, seed=0)
    exact = stats.multivariate_normal(np.zeros(6), np.ones((6, 6)) + 1.25 * np.eye(6)).logpdf(y)
    np.testing.assert_allclose(found.log_ratios, exact, atol=0.02)  # what 256 nodes leave
    np.testing.assert_allclose(found.elements["rows"], 0.0, atol=0.02)
    assert not found.moved
    weights = np.exp(found.mixture.log_weights)
    n = found.mixture.effective_draws
    for site, places in (("mu", slice(0, 1)), ("z", slice(1, 7))):
        x = found.draws[site].reshape(len(weights), -1)
        sd = np.sqrt(np.diag(covariance)[places])
        assert np.all(np.abs(weights @ x - loc[places]) < 4.5 * sd / n**0.5)
        assert np.all(np.abs(weights @ (x - loc[places]) ** 2 / sd**2 - 1) < 4.5 * 2**0.5 / n**0.5)
    # The control: locals that are twice as narrow given the globals change the elements and not the globals.
    tril = np.linalg.cholesky(covariance)
    tril[1:, 1:] *= 0.5
    narrow = pointwise(p, "fullrank", Solved(solution.derivation, {"_joint.loc": loc, "_joint.scale_tril": tril}), 0)
    off = ratios(*narrow, seed=0)
    np.testing.assert_allclose(off.log_ratios, exact, atol=0.02)
    assert np.median(off.element_k_hats["rows"]) > 0.5 and off.moved.keys() == {"z"}
