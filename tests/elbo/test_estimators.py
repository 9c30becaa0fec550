"""Every estimator of the menu is unbiased: against exact gradients, with many draws and with few.

|estimate - exact| <= 4 standard errors, at 10^5 draws, for every estimator that fits a model
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special

import ppl
import ppl.distributions as dist
from ppl.algorithms import noise
from ppl.array import compile_program
from ppl.elbo import Objective, choose, derive, minibatches, problem
from ppl.elbo.estimators import ESTIMATORS, Control, Estimator
from ppl.elbo.estimators.relaxed import pair

from .zoo import HERE, ZOO, normal_guide, square

ROWS = {row.label: row for row in ZOO}
DRAWS = 100_000
BIASED = {n for n, e in ESTIMATORS.items() if e.biased}
SCORES = tuple(n for n, e in ESTIMATORS.items() if e.kind == "score" and not e.multiple)
MODELS = {
    "coin": {*SCORES},
    "coin, with if": {"score", "none", "leave-one-out"},
    "two coins, one guide after the other": {*SCORES},
    "a latent count": {*SCORES} - {"disarm", "rebar", "relax"},
    "heavy tails": {*SCORES, "pathwise", "stl"} - {"disarm", "rebar", "relax"},
    "a mixture as guide": {*SCORES} - {"disarm", "rebar", "relax", "coefficient"},
    "parameters that two sites share": {*SCORES, "pathwise", "stl"} - {"disarm", "rebar", "relax"},
    "jump: where": {*SCORES} - {"disarm", "rebar", "relax"},
    "a jump in another site's prior": {*SCORES, "pathwise", "stl"} - {"disarm", "rebar", "relax"},
    "a support that moves with a draw": {*SCORES} - {"disarm", "rebar", "relax"},
    "discrete above continuous": {*SCORES, "stl"},
    "discrete below continuous": {*SCORES, "stl"} - {"disarm"},
    "clusters: mu[z]": {*SCORES, "stl"} - {"disarm", "rebar"},
    "a hierarchy in a plate": {*SCORES, "pathwise", "stl"} - {"disarm", "rebar", "relax"},
    "plate: cumsum": {*SCORES},
    "plate: where over the whole": {*SCORES} - {"rebar"},
    "vectors in a plate": {*SCORES},
    "a factor over neighbours": {*SCORES},
    "a minibatch of a plate": {*SCORES},
    "one-hot categories in a plate": {*SCORES} - {"disarm"},
    "scale, mask and factor": {*SCORES},
}


def distance(row, record, draws) -> float:
    """The largest distance from the exact gradient, in standard errors."""
    worst = 0.0
    for name, exact in row.gradient().items():
        if row.label.startswith("clusters") and np.ndim(exact) == 2:
            exact = exact - exact.mean(-1, keepdims=True)  # along the simplex
        error = np.sqrt(record.variance[name] / draws)
        gap = np.abs(record.grad[name] - exact)
        worst = max(worst, float(np.max(gap / (error + 1e-5 * (1 + np.abs(exact))))))
    return worst


@pytest.mark.parametrize("label", MODELS)
def test_every_estimator_that_fits_is_unbiased(label):
    row, draws = ROWS[label], DRAWS // 10 if label == "a latent count" else DRAWS  # a draw by rejection takes long
    found = ppl.gradient(row.model, guide=row.guide, params=row.at, estimators="all", particles=draws, seed=5)
    assert MODELS[label] <= set(found), MODELS[label] - set(found)
    far = {n: distance(row, r, draws) for n, r in found.items() if n not in BIASED}
    assert max(far.values()) < 4.0, {n: x for n, x in far.items() if x >= 4.0}


@pytest.mark.parametrize("label", ["coin", "plate: cumsum", "one-hot categories in a plate"])
def test_relaxations_are_biased_and_say_so(label):
    """The same check catches them, and both the reason and the plan name the bias."""
    row = ROWS[label]
    for name in sorted(BIASED):
        record = ppl.gradient(row.model, guide=row.guide, params=row.at, estimators=name, particles=DRAWS, seed=5)
        assert distance(row, record, DRAWS) > 8.0, name
        estimator, reason = next(iter(record.estimators.values()))
        assert estimator == name and "biased" in reason.why


def test_the_check_catches_a_planted_bias(monkeypatch):
    """A baseline that knows the particle's own draw."""

    def knowing(signals, state, particles):
        return [signals[0] - 0.1 * signals[0] ** 2], []

    monkeypatch.setitem(ESTIMATORS, "planted", Estimator("planted", "score", "wrong", control=Control(knowing)))
    for label in ("coin", "heavy tails", "plate: cumsum"):
        row = ROWS[label]
        wrong = ppl.gradient(row.model, guide=row.guide, params=row.at, estimators="planted", particles=DRAWS)
        assert distance(row, wrong, DRAWS) > 10


# -- few particles, and states that go on from step to step ------------------------------------------
FEW = ("coin", "two coins, one guide after the other", "discrete above continuous", "clusters: mu[z]")
FEW += ("vectors in a plate", "a factor over neighbours", "a minibatch of a plate", "one-hot categories in a plate")
STEPS = 3000


def followed(row, name, particles, steps=STEPS, seed=1):
    """Gradients of a run that stays where it is, with the noise and the states of a run."""
    p = problem(row.model, (), {})
    d = derive(p, row.guide, starts=row.at)
    fits = [f.name for f in d.factors if applies(p, row, f.name, name)]
    if not fits:
        pytest.skip(f"{name} does not fit")
    wanted = dict.fromkeys(fits, name)
    d = derive(p, row.guide, starts=row.at, estimators=wanted)
    objective = Objective(d, choose(d, wanted))
    run = compile_program(objective.gradient(particles))
    rng = noise.generator(seed, 0, noise.Stream.STEPS)
    eps = noise.draw(rng, d.factors, steps, particles, objective.independent, objective.mirrored)
    rows = {n: minibatches(rng, d.plates[n], steps) for n in d.index_inputs}
    values = {n: np.asarray(x.init, dtype=float) for n, x in d.parameters.items()}
    states = objective.start
    for i in range(steps):
        here = {n: r[i] for n, r in rows.items()}
        own = [d.rows_of(n, v, here) for n, v in values.items()]
        out = run(*own, *d.other_inputs(here, {n: e[i] for n, e in eps.items()}), *states)
        grads, states = out[2 : 2 + len(own)], out[2 + len(own) :]
        yield {n: d.all_rows(n, np.asarray(g)[None], here)[0] for n, g in zip(values, grads, strict=True)}


def applies(p, row, factor, name) -> bool:
    try:
        d = derive(p, row.guide, starts=row.at, estimators={factor: name})
        Objective(d, choose(d, {factor: name})).values  # noqa: B018
    except ppl.GuideError:
        return False
    return True


def off(row, gradients) -> float:
    worst, gradients = 0.0, list(gradients)
    for name, exact in row.gradient().items():
        x = np.array([g[name] for g in gradients], dtype=float)
        if row.label.startswith("clusters") and np.ndim(exact) == 2:
            exact, x = (v - v.mean(-1, keepdims=True) for v in (exact, x))
        error = x.std(0, ddof=1) / len(x) ** 0.5
        worst = max(worst, float(np.max(np.abs(x.mean(0) - exact) / (error + 1e-4 * (1 + np.abs(exact))))))
    return worst


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("label", FEW)
def test_a_run_with_two_particles_is_unbiased(label, name):
    assert off(ROWS[label], followed(ROWS[label], name, 2)) < 4.5


@pytest.mark.parametrize("name", [n for n in SCORES if n not in ("disarm", "coefficient")])
def test_a_run_with_one_particle_is_unbiased(name):
    assert off(ROWS["vectors in a plate"], followed(ROWS["vectors in a plate"], name, 1)) < 4.5


def test_a_coefficient_that_knows_its_own_particle_is_caught(monkeypatch):
    """With two particles a baseline over both is biased, and the check of few particles sees it."""

    def knowing(signals, state, particles):
        return [signals[0] - np.mean(signals[0], axis=0)], []

    monkeypatch.setitem(ESTIMATORS, "planted", Estimator("planted", "score", "wrong", control=Control(knowing)))
    assert off(ROWS["coin"], followed(ROWS["coin"], "planted", 2)) > 8


def test_control_variates_lower_the_variance():
    """At a point where weights have a mean far from zero; what a run of two particles sees."""
    row = ROWS["vectors in a plate"]
    spread = {
        n: float(np.sum(np.var([g["p"] for g in followed(row, n, 2, steps=1500)], axis=0)))
        for n in ("none", "leave-one-out", "decaying-average", "disarm", "relax")
    }
    assert all(x < 0.75 * spread["none"] for n, x in spread.items() if n != "none"), spread
    assert spread["disarm"] < spread["leave-one-out"]


# -- sticking the landing ----------------------------------------------------------------------------
def test_stl_has_no_gradient_at_the_posterior():
    def model():
        z = ppl.sample("z", dist.Normal(0, 1))
        ppl.sample("y", dist.Normal(z, 1), obs=2.0)

    at = {"z.loc": 1.0, "z.scale": 0.5**0.5}
    kinds = {
        n: ppl.gradient(model, guide="meanfield", params=at, estimators=n, particles=50) for n in ("stl", "pathwise")
    }
    assert max(np.abs(g) for g in kinds["stl"].grad.values()) < 1e-12
    assert max(kinds["stl"].variance.values()) < 1e-24
    assert kinds["pathwise"].variance["z.scale"] > 0.1


def test_stl_of_a_joint_guide_and_through_bijections():
    """LogNormal prior and likelihood: on the log axis the posterior is a Gaussian, of full rank."""

    def model():
        a = ppl.sample("a", dist.LogNormal(0, 1))
        b = ppl.sample("b", dist.LogNormal(np.log(a), 1))
        ppl.sample("y", dist.Normal(np.log(b), 1), obs=2.0)

    precision = np.array([[2.0, -1.0], [-1.0, 2.0]])
    cov = np.linalg.inv(precision)
    at = {"_joint.loc": cov @ np.array([0.0, 2.0]), "_joint.scale_tril": np.linalg.cholesky(cov)}
    record = ppl.gradient(model, guide="fullrank", params=at, estimators="stl", particles=50)
    assert max(np.max(np.abs(g)) for g in record.grad.values()) < 1e-12
    off_it = ppl.gradient(model, guide="fullrank", params={**at, "_joint.loc": np.zeros(2)}, estimators="stl")
    assert max(np.max(np.abs(g)) for g in off_it.grad.values()) > 0.1


def test_vargrad_has_no_gradient_at_the_posterior():
    def model():
        z = ppl.sample("z", dist.Bernoulli(0.3))
        ppl.sample("y", dist.Normal(2 * z, 1), obs=1.4)

    ratio = 0.3 * np.exp(-0.5 * 0.6**2) / (0.7 * np.exp(-0.5 * 1.4**2))
    at = {"z.probs": ratio / (1 + ratio)}
    for name, largest in (("vargrad", 1e-12), ("leave-one-out", None)):
        record = ppl.gradient(model, guide="meanfield", params=at, estimators=name, particles=8)
        assert (abs(record.grad["z.probs"]) < 1e-12) == (largest is not None)


# -- refusals ----------------------------------------------------------------------------------------
def test_what_does_not_fit_is_refused_by_name():
    cases = [
        ("disarm", "heavy tails", "Bernoulli"),
        ("disarm", "two coins, one guide after the other", "depend on another draw"),
        ("rebar", "clusters: mu[z]", "whole number"),
        ("rebar", "plate: where over the whole", "jumps"),
        ("concrete", "a latent count", "no relaxation"),
        ("stl", "jump: where", "greater"),
        ("vimco", "coin", "several samples"),
        ("dreg", "heavy tails", "several samples"),
        ("coefficient", "a mixture as guide", "simplex"),
        ("relax", "coin, with if", "control flow"),
    ]
    for name, label, word in cases:
        row = ROWS[label]
        with pytest.raises(ppl.GuideError, match=word) as caught:
            ppl.gradient(row.model, guide=row.guide, params=row.at, estimators=name)
        assert f"'{name}'" in str(caught.value)


def test_every_entry_says_why_and_from_where():
    for name, e in ESTIMATORS.items():
        assert e.name == name and e.why and (e.paper or name in ("exact", "enumerate"))
        assert (e.control is not None) == (e.kind == "score" and not e.multiple)


def test_disarm_wants_pairs():
    row = ROWS["coin"]
    with pytest.raises(ppl.GuideError, match="even"):
        ppl.gradient(row.model, guide=row.guide, estimators="disarm", particles=3)


def test_a_site_and_a_call_may_ask():
    def model():
        z = ppl.sample("z", dist.Normal(0, 1), estimator="stl")
        b = ppl.sample("b", dist.Bernoulli(0.4), estimator="disarm")
        ppl.sample("x", dist.Normal(z + b, 1), obs=1.0)

    record = ppl.gradient(model, guide="meanfield", particles=4)
    assert {n: e[0] for n, e in record.estimators.items()} == {"z": "stl", "b": "disarm"}
    other = ppl.gradient(model, guide="meanfield", particles=4, estimators={"b": "relax"})
    assert {n: e[0] for n, e in other.estimators.items()} == {"z": "stl", "b": "relax"}


def test_costs_are_counted():
    """The same whatever the seed; more where more is done."""
    row = ROWS["vectors in a plate"]
    found = [
        ppl.gradient(row.model, guide=row.guide, params=row.at, estimators="all", particles=4, seed=s) for s in (0, 1)
    ]
    costs = [{n: r.cost for n, r in f.items()} for f in found]
    assert costs[0] == costs[1]
    assert costs[0]["none"] < costs[0]["leave-one-out"] < costs[0]["rebar"]


def test_the_rows_of_the_zoo_are_as_they_say():
    """The exact gradient of the new rows by another way: the reported bound, at common draws."""
    for label in ("a minibatch of a plate", "one-hot categories in a plate"):
        row = ROWS[label]
        record = ppl.gradient(row.model, guide=row.guide, params=row.at, particles=50_000)
        assert record.elbo == pytest.approx(row.bound(row.at), abs=0.1)


def test_normal_guide_takes_all_of_its_class():
    found = ppl.gradient(square, guide=normal_guide, estimators="all", params=HERE, particles=2000)
    assert {"auto", "pathwise", "stl", "score", "none", "leave-one-out", "coefficient"} <= set(found)
    assert found["stl"].estimators["z"][0] == "stl" and not {"disarm", "concrete"} & set(found)


def test_the_relaxation_given_a_draw_has_its_law():
    """z given b, by inverse cdf from u between 0 and 1 - p (b = 0) or between 1 - p and 1 (b = 1)."""
    rng = np.random.default_rng(0)
    a, noise = rng.normal(0, 2, 50), rng.random((2, 50))
    b, p = (noise[0] > 1 - special.expit(a)) * 1.0, special.expit(a)
    _, given = pair(a, b, noise, dist.Bernoulli(logits=a))
    u = np.where(b == 1, 1 - p + noise[1] * p, noise[1] * (1 - p))
    np.testing.assert_allclose(given, a + special.logit(u), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_relaxations_are_finite_at_the_ends(dtype):
    """Logits far out and noise at the ends of its range: the sign is the draw's, and nothing is infinite."""
    tip = np.finfo(dtype)
    a = np.array([-80, -30, 0, 30, 80], dtype)[:, None, None]
    v = np.array([tip.tiny, 0.5, 1 - tip.epsneg], dtype)[:, None]
    b = np.array([0, 1], dtype)
    noise = np.broadcast_to(v, (2, 5, 3, 2))
    _, given = pair(a, b, noise, dist.Bernoulli(logits=a))
    assert given.dtype == dtype and np.all(np.isfinite(given))
    assert np.all(np.where(b == 1, given >= 0, given <= 0))
    logits = np.array([[0, -80, 3], [200, 0, -200]], dtype)
    chosen = np.array([[0, 1, 0], [0, 0, 1]], dtype)
    for high in (tip.tiny, 1 - tip.epsneg):
        noise = np.full((7, 2), high, dtype)
        _, z = pair(
            logits - special.logsumexp(logits, -1, keepdims=True), chosen, noise, dist.OneHotCategorical(logits=logits)
        )
        assert np.all(np.isfinite(z)) and np.all(np.argmax(z + 1e-3 * chosen, -1) == np.argmax(chosen, -1))
