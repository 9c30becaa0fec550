"""Never silently biased: estimated gradients of the bound against exact ones, over the zoo.

|estimate - exact| <= 4 standard errors, for the estimator chosen and for the score function
"""

from __future__ import annotations

import importlib

import numpy as np
import pytest

import ppl
import ppl.distributions as dist
from ppl.distributions import constraints
from ppl.elbo import flow

from .zoo import HERE, JUMPS, ZOO, Exact, coin, coin_guide, jump_model, mixture_guide, normal, normal_guide, square

NAMES = {row.label: row for row in ZOO}


def distance(row: Exact, estimators, seed: int = 0) -> float:
    """The largest distance from the exact gradient, in standard errors."""
    record = ppl.gradient(
        row.model, guide=row.guide, params=row.at, estimators=estimators, particles=row.particles, seed=seed
    )
    assert set(record.grad) == set(row.at)
    worst = 0.0
    for name, exact in row.gradient().items():
        if name == "p" and np.ndim(exact) == 2 and row.label.startswith("clusters"):
            exact = exact - exact.mean(-1, keepdims=True)  # along the simplex
        error = np.sqrt(record.variance[name] / row.particles)
        assert np.shape(record.grad[name]) == np.shape(exact)
        gap = np.abs(record.grad[name] - exact)
        worst = max(worst, np.max(gap / (error + 1e-4 * (1 + np.abs(exact)))))
    return float(worst)


@pytest.mark.parametrize("estimators", ["auto", "score"])
@pytest.mark.parametrize("row", ZOO, ids=str)
def test_gradient_is_exact_within_its_error(row, estimators):
    assert distance(row, estimators) < 4.0


def test_the_check_catches_a_planted_bias(monkeypatch):
    """Without the knowledge of jumps, the pathwise estimator goes wrong, and the check says so."""
    monkeypatch.setattr(flow, "discontinuous", lambda fun, args: False)
    for name in ("where", "floor", "round"):
        assert distance(NAMES[f"jump: {name}"], "auto") > 10


def test_the_check_catches_weights_kept_apart(monkeypatch):
    """With score weights per element where elements are mixed, the check fails too."""
    choose = importlib.import_module("ppl.elbo.choose")
    monkeypatch.setattr(choose, "separable_axis", lambda program, factor, axis, targets: dict.fromkeys(targets, axis))
    for name in ("sum", "cumsum", "matmul", "flip"):
        assert distance(NAMES[f"plate: {name}"], "score") > 10


def test_numbers_of_the_specification():
    assert NAMES["coin"].gradient()["p"] == pytest.approx(-0.0473, abs=1e-4)
    assert abs(NAMES["a mixture as guide"].gradient()["w"]) == pytest.approx(1.441, abs=1e-3)

    def likelihood(loc):
        z, w = np.linspace(-12, 12, 2_000_001, retstep=True)
        return np.sum(np.exp(normal(z, loc)) * normal(2.0, np.where(z > 0, 1.0, -1.0))) * w

    exact = (likelihood(1e-3) - likelihood(-1e-3)) / 2e-3
    assert exact == pytest.approx(1.596, abs=1e-3)
    at = {"loc": 0.0, "scale": 1.0}
    for f in (JUMPS["where"][0], JUMPS["if"][0]):
        record = ppl.gradient(jump_model(f), guide=normal_guide, params=at, particles=40_000, seed=1)
        # E[log p(z)] - E[log q(z)] is flat at loc = 0: the whole gradient is the likelihood's.
        assert abs(record.grad["loc"] - exact) < 4 * np.sqrt(record.variance["loc"] / 40_000)
        assert record.estimators["z"][0] == "score"


def test_reasons_name_the_jump():
    for name, word in (
        ("where", "greater"),
        ("floor", "floor"),
        ("round", "rint"),
        ("sign", "sign"),
        ("astype(int)", "cast"),
    ):
        record = ppl.gradient(jump_model(JUMPS[name][0]), guide=normal_guide, particles=2)
        estimator, reason = record.estimators["z"]
        assert estimator == "score" and word in reason.why, (name, reason)
    record = ppl.gradient(jump_model(JUMPS["if"][0]), guide=normal_guide, particles=2)
    assert "control flow" in record.estimators["z"][1].why
    for name in ("max, which is continuous",):
        assert (
            ppl.gradient(jump_model(JUMPS[name][0]), guide=normal_guide, particles=2).estimators["z"][0] == "pathwise"
        )


def threshold():
    """A parameter decides where the jump is: no estimator of ours sees that."""
    z = ppl.sample("z", dist.Normal(0, 1))
    ppl.sample("x", dist.Normal(np.where(z > ppl.param("t", 0.3), 1.0, -1.0), 1), obs=2.0)


def threshold_if():
    z = ppl.sample("z", dist.Normal(0, 1))
    ppl.sample("x", dist.Normal(1.0 if z > ppl.param("t", 0.3) else -1.0, 1), obs=2.0)


LEARNED_PLACES = {
    "comparison": lambda z, t: np.where(z > t, 1.0, -1.0),
    "floor": lambda z, t: np.floor(z + t),
    "integer": lambda z, t: (3 * (z - t)).astype(int) / 2.0,
    "sign of a product": lambda z, t: np.sign(z * t - 0.1),
    "beside a smooth way": lambda z, t: np.where(z > t, 1.0, -1.0) + t * z,
    "remainder": lambda z, t: np.remainder(z - t, 1.0),
}


@pytest.mark.parametrize("model", [threshold, threshold_if, *LEARNED_PLACES], ids=lambda m: getattr(m, "__name__", m))
def test_a_jump_whose_place_is_learned_is_right_or_refused(model):
    f = LEARNED_PLACES.get(model, LEARNED_PLACES["comparison"])

    def bound(t):
        # A midpoint rule on a grid so fine that the jump moves over many points.
        z, dz = np.linspace(-9, 9, 2_000_001, retstep=True)
        return np.sum(np.exp(normal(z, 0.3, 0.7)) * normal(2.0, f(z, t))) * dz

    def learned_place():
        z = ppl.sample("z", dist.Normal(0, 1))
        ppl.sample("x", dist.Normal(f(z, ppl.param("t", 0.3)), 1), obs=2.0)

    exact = (bound(0.31) - bound(0.29)) / 2e-2
    here = {**HERE, "t": 0.3}
    try:
        record = ppl.gradient(
            learned_place if isinstance(model, str) else model, guide=normal_guide, params=here, particles=20_000
        )
    except ppl.PPLError as error:
        assert "t" in str(error) and "expected" in str(error)
        return
    assert abs(record.grad["t"] - exact) < 4 * np.sqrt(record.variance["t"] / 20_000) + 1e-2


def test_a_learned_jump_in_the_guide_is_right_or_refused():
    def model():
        a = ppl.sample("a", dist.Normal(0, 1))
        b = ppl.sample("b", dist.Normal(a, 1))
        ppl.sample("x", dist.Normal(b, 1), obs=1.0)

    def guide():
        a = ppl.sample("a", dist.Normal(0, 1))
        ppl.sample("b", dist.Normal(np.where(a > ppl.param("t", 0.2), 1.0, -1.0), 1))

    a = np.random.default_rng(0).normal(size=2_000_000)
    b = [np.where(a > t, 1.0, -1.0) for t in (0.25, 0.15)]
    ends = [np.mean(normal(m, a) + normal(1.0, m)) for m in b]
    try:
        record = ppl.gradient(model, guide=guide, particles=20_000)
    except ppl.PPLError as error:
        assert "t" in str(error)
        return
    assert record.grad["t"] == pytest.approx((ends[0] - ends[1]) / 0.1, abs=0.1)


def test_pathwise_through_a_jump_is_refused_by_name():
    for estimators in ("pathwise", {"z": "pathwise"}):
        with pytest.raises(ppl.GuideError, match="greater") as caught:
            ppl.gradient(jump_model(JUMPS["where"][0]), guide=normal_guide, estimators=estimators)
        assert caught.value.site == "z" and "score" in caught.value.hint


def test_all_gives_every_estimator_that_applies():
    found = ppl.gradient(square, guide=normal_guide, estimators="all", params=HERE, particles=500)
    assert {"auto", "pathwise", "score"} <= set(found)
    assert found["pathwise"].variance["loc"] < found["score"].variance["loc"]
    assert "pathwise" not in ppl.gradient(coin, guide=coin_guide, estimators="all")


def test_an_unknown_estimator_is_an_error_with_a_suggestion():
    with pytest.raises(ppl.GuideError) as caught:
        ppl.gradient(coin, guide=coin_guide, estimators="scor")
    assert "'score'" in str(caught.value) and "got" in str(caught.value) and "expected" in str(caught.value)


def test_an_estimator_for_a_site_that_is_not_there_is_an_error():
    with pytest.raises(ppl.PPLError) as caught:
        ppl.gradient(coin, guide=coin_guide, estimators={"q": "score"})
    assert "q" in str(caught.value)


def test_record_fields():
    record = ppl.gradient(square, guide=normal_guide, params=HERE, particles=1000, seed=3)
    again = ppl.gradient(square, guide=normal_guide, params=HERE, particles=1000, seed=3)
    other = ppl.gradient(square, guide=normal_guide, params=HERE, particles=1000, seed=4)
    assert record.grad == again.grad and record.elbo == again.elbo and record.grad != other.grad
    assert record.cost > 0
    # d/d log scale = scale * d/d scale
    inner = record.grad_unconstrained["scale"] / record.grad["scale"]
    assert 0 < inner < 2
    assert record.grad_unconstrained["loc"] == record.grad["loc"]


def test_params_give_the_point_and_unknown_ones_are_refused():
    with pytest.raises(ppl.ModelError) as caught:
        ppl.gradient(coin, guide=coin_guide, params={"prob": 0.3})
    assert "prob" in str(caught.value) and "'p'" in str(caught.value)
    with pytest.raises(ppl.PPLError):
        ppl.gradient(coin, guide=coin_guide, params={"p": 1.3})


def test_an_exact_gradient_has_no_variance():
    def model():
        ppl.sample("z", dist.Normal(0, 2))

    record = ppl.gradient(model, guide=normal_guide, params=HERE, particles=10)
    assert record.variance == {"loc": 0.0, "scale": 0.0}
    assert record.grad["loc"] == pytest.approx(-0.3 / 4)
    assert record.grad["scale"] == pytest.approx(1 / 0.7 - 0.7 / 4)
    assert record.estimators["z"][0] == "exact"


def test_score_of_two_particles_is_unbiased():
    """The leave-one-out baseline with the fewest particles, averaged over seeds."""
    exact = NAMES["coin"].gradient()["p"]
    found = np.array(
        [ppl.gradient(coin, guide=coin_guide, params={"p": 0.5}, particles=2, seed=s).grad["p"] for s in range(300)]
    )
    assert abs(found.mean() - exact) < 4 * found.std() / len(found) ** 0.5


def test_gradient_of_a_simplex_is_its_tangent_part():
    def model():
        z = ppl.sample("z", dist.Categorical(probs=np.array([0.2, 0.3, 0.5])))
        ppl.sample("x", dist.Normal(z, 1), obs=1.4)

    def guide():
        ppl.sample("z", dist.Categorical(probs=ppl.param("p", np.array([0.3, 0.3, 0.4]), constraints.simplex)))

    record = ppl.gradient(model, guide=guide, particles=20_000)
    assert record.grad["p"].sum() == pytest.approx(0, abs=1e-9)
    p, z = np.array([0.3, 0.3, 0.4]), np.arange(3)
    free = np.log([0.2, 0.3, 0.5]) + normal(1.4, z) - np.log(p) - 1
    tangent = free - free.mean()
    assert np.all(np.abs(record.grad["p"] - tangent) < 4 * np.sqrt(record.variance["p"] / 20_000) + 1e-6)


@pytest.mark.parametrize("estimator", ["score", "pathwise"])
def test_the_site_may_ask_for_an_estimator(estimator):
    def model():
        z = ppl.sample("z", dist.Normal(0, 1), estimator=estimator)
        ppl.sample("x", dist.Normal(z, 1), obs=1.0)

    assert ppl.gradient(model, guide="meanfield", particles=4).estimators["z"][0] == estimator


def test_mixture_guide_takes_the_score():
    assert ppl.gradient(square, guide=mixture_guide, particles=2).estimators["z"][0] == "score"


def test_a_point_has_the_shapes_of_the_parameters():
    """Of another shape it would be another model; one number stands for all elements."""

    def model():
        ppl.sample(
            "y", dist.Normal(ppl.sample("z", dist.Normal(np.zeros(3), 1).to_event(1)), 1).to_event(1), obs=np.ones(3)
        )

    wide = ppl.gradient(model, guide="meanfield", params={"z.loc": 0.5}, particles=4)
    whole = ppl.gradient(model, guide="meanfield", params={"z.loc": np.full(3, 0.5)}, particles=4)
    np.testing.assert_array_equal(wide.grad["z.loc"], whole.grad["z.loc"])
    with pytest.raises(ppl.ShapeError, match=r"expected shape \(3,\)"):
        ppl.gradient(model, guide="meanfield", params={"z.loc": np.zeros(2)})


def test_all_where_the_guide_leaves_a_finite_site_out():
    """It is summed out, whatever the other sites' estimator."""

    def model():
        z = ppl.sample("z", dist.Normal(0, 1))
        b = ppl.sample("b", dist.Bernoulli(0.4))
        ppl.sample("x", dist.Normal(z + b, 1), obs=1.0)

    found = ppl.gradient(model, guide=normal_guide, params=HERE, estimators="all", particles=4)
    assert {"auto", "pathwise", "stl", "score", "none", "leave-one-out", "coefficient"} <= set(found)
    assert all(r.estimators["b"][0] == "enumerate" for r in found.values())


def test_the_coefficient_is_measured_beside_a_simplex():
    """Where one site has parameters on a simplex, the others still can take it."""

    def model():
        c = ppl.sample("c", dist.Multinomial(2, np.full(3, 1 / 3)))
        b = ppl.sample("b", dist.Bernoulli(0.3))
        ppl.sample("x", dist.Normal(c @ np.arange(3.0) + b, 1), obs=1.0)

    def guide():
        ppl.sample("c", dist.Multinomial(2, ppl.param("w", np.full(3, 1 / 3), constraints.simplex)))
        ppl.sample("b", dist.Bernoulli(ppl.param("p", 0.4, constraints.unit_interval)))

    found = ppl.gradient(model, guide=guide, estimators="all", particles=4)
    assert found["coefficient"].estimators["b"][0] == "coefficient"
    with pytest.raises(ppl.GuideError, match="site 'c'"):
        ppl.gradient(model, guide=guide, estimators="coefficient", particles=4)


def test_the_gradient_of_a_triangle_has_none_above_it():
    """Above the diagonal there is no parameter, whatever the program does there."""

    def model():
        z = ppl.sample("z", dist.MultivariateNormal(np.zeros(2), np.eye(2)))
        ppl.factor("f", np.sin(z[0]) * z[1])

    def guide():
        tril = ppl.param("tril", np.array([[0.5, 0.0], [0.2, 0.8]]), constraints.lower_cholesky)
        ppl.sample("z", dist.MultivariateNormal(np.zeros(2), scale_tril=tril))

    record = ppl.gradient(model, guide=guide, estimators="pathwise", particles=50)
    assert record.grad["tril"][0, 1] == 0.0 == record.variance["tril"][0, 1]
    assert np.all(record.variance["tril"][np.tril_indices(2)] > 0)


def test_a_branch_under_a_bound_of_several_samples_is_refused():
    def model():
        z = ppl.sample("z", dist.Normal(0, 1))
        ppl.sample("x", dist.Normal(1.0 if z > 0 else -1.0, 1), obs=2.0)

    with pytest.raises(ppl.GuideError, match=r"np\.where"):
        ppl.gradient(model, guide=normal_guide, bound=ppl.IWAE(3))
