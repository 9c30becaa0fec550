"""Flows: round trips, Jacobians by numerical determinants, densities that integrate to one, a banana."""

from __future__ import annotations

import numpy as np
import pytest

import ppl
import ppl.array as A
import ppl.distributions as dist
from ppl import nn

from .laws import check_gradient, leaves_of, rebuilt

CONTEXT = np.random.default_rng(5).normal(size=(4, 3))


def scrambled(net, size=0.7, seed=1):
    """Parameters away from the start, where many flows are the identity."""
    rng = np.random.default_rng(seed)
    params = net.init(0, float)
    return rebuilt(params, [x + size * rng.normal(size=x.shape) for x in leaves_of(params)])


FLOWS = {
    "planar": (nn.Planar(3), False),
    "planar of a context": (nn.Planar(2, context=3), True),
    "coupling": (nn.Coupling(3, 8), False),
    "coupling, reversed": (nn.Coupling(3, 8, reverse=True), False),
    "coupling of a context": (nn.Coupling(2, 8, 8, context=3), True),
    "iaf": (nn.InverseAutoregressive(3, 8), False),
    "iaf, reversed": (nn.InverseAutoregressive(4, 8, 8, reverse=True), False),
    "iaf of a context": (nn.InverseAutoregressive(2, 8, context=3), True),
    "composed": (
        nn.Flow(nn.Planar(3), nn.Coupling(3, 8), nn.InverseAutoregressive(3, 8), nn.Coupling(3, 8, reverse=True)),
        False,
    ),
    "composed, of a context": (nn.Flow(nn.Planar(2, context=3), nn.InverseAutoregressive(2, 8), nn.Planar(2)), True),
}


def made(name):
    """A flow's transform, and as many inputs as it has rows of context."""
    net, conditional = FLOWS[name]
    t = net.apply(scrambled(net), *((CONTEXT,) if conditional else ()))
    features = (net.parts[0] if isinstance(net, nn.Flow) else net).features
    return t, np.random.default_rng(2).normal(size=(4, features))


@pytest.mark.parametrize("name", FLOWS)
def test_the_inverse_undoes_it(name):
    t, x = made(name)
    np.testing.assert_allclose(t.inverse(t(x)), x, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(t.inv(x), t.inverse(x))
    assert t.forward_shape(x.shape) == t(x).shape == x.shape


@pytest.mark.parametrize("name", FLOWS)
def test_the_jacobian_is_the_determinant(name):
    t, x = made(name)
    features, step = x.shape[-1], 1e-6
    moves = [(t(x + step * e) - t(x - step * e)) / (2 * step) for e in np.eye(features)]
    sign, expected = np.linalg.slogdet(np.stack(moves, -1))
    np.testing.assert_allclose(t.log_abs_det_jacobian(x, t(x)), expected, rtol=1e-6, atol=1e-7)
    assert np.all(sign > 0)
    np.testing.assert_allclose(t.inv.log_abs_det_jacobian(t(x), x), -expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", FLOWS)
def test_gradients_of_values_jacobians_and_inverses(name):
    net, conditional = FLOWS[name]
    params, (_, x) = scrambled(net), made(name)
    own = leaves_of(params)

    def fun(*given):
        rest = given[len(own) :]
        t = net.apply(rebuilt(params, given[: len(own)]), *rest[1:])
        y = t(rest[0])
        return y, t.log_abs_det_jacobian(rest[0], y), t.inverse(rest[0])

    arguments = [*own, x, *([CONTEXT] if conditional else [])]
    check_gradient(fun, arguments, fun(*arguments), np.random.default_rng(3))


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(
    "name", ["planar of a context", "coupling of a context", "iaf of a context", "composed, of a context"]
)
def test_densities_integrate_to_one(name, turned):
    t, _ = made(name)
    d = dist.TransformedDistribution(dist.Normal(np.zeros(2), 1.0).to_event(1), t.inv if turned else t)
    assert d.batch_shape == (4,) and d.event_shape == (2,)
    draws = d.sample(0, (2000,))
    low, high = draws.min((0, 1)) - 6.0, draws.max((0, 1)) + 6.0
    axes = [np.linspace(a, b, 420) for a, b in zip(low, high, strict=True)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1)[:, :, None]
    cell = np.prod([a[1] - a[0] for a in axes])
    np.testing.assert_allclose(np.exp(d.log_prob(grid)).sum((0, 1)) * cell, 1.0, rtol=0.01)


def test_affine_flows_start_as_the_identity():
    x = np.random.default_rng(0).normal(size=(5, 3))
    for net in (nn.Coupling(3, 8), nn.InverseAutoregressive(3, 8)):
        t = net.apply(net.init(0, float))
        np.testing.assert_array_equal(t(x), x)
        np.testing.assert_array_equal(t.log_abs_det_jacobian(x, x), 0.0)


def test_planar_flows_are_one_to_one_whatever_u_is():
    """Where w u is far below -1 the raw map would fold; the one used rises along w."""
    t = nn.Planar(2).apply({"u": np.array([-30.0, 4.0]), "w": np.array([2.0, 1.0]), "b": np.array(0.3)})
    x = np.linspace(-3, 3, 101)[:, None] * np.array([2.0, 1.0])
    assert np.all(np.diff(t(x) @ np.array([2.0, 1.0])) > 0)
    np.testing.assert_allclose(t.inverse(t(x)), x, atol=1e-6)


@pytest.mark.parametrize("reverse", [False, True])
def test_a_masked_perceptron_reads_in_order(reverse):
    net = nn.MaskedMLP(4, 12, 12, outs=2, context=2, activation="tanh", reverse=reverse)
    params, x, c = net.init(0, float), np.ones(4), np.ones(2)
    fun = lambda x, c, i, j: (net.apply(params, x, c)[i, j],)
    for i, j in np.ndindex(4, 2):
        slopes = A.compile_program(A.gradient(A.record(lambda *a, i=i, j=j: fun(*a, i, j), [x, c]), [0, 1]))(x, c)[1:]
        assert np.array_equal(slopes[0] != 0, np.arange(4) > i if reverse else np.arange(4) < i)
        assert np.all(slopes[1] != 0)


def test_transforms_are_flattened_and_rebuilt():
    t, x = made("composed")
    leaves, rebuild = t.tree_flatten()
    assert len(leaves) == len(leaves_of(scrambled(FLOWS["composed"][0])))
    np.testing.assert_array_equal(rebuild(leaves)(x), t(x))
    assert t == rebuild(leaves) and t != rebuild([y + 1.0 for y in leaves])


def test_single_precision_stays():
    for name, (net, conditional) in FLOWS.items():
        params = net.init(0)
        t = net.apply(params, *((CONTEXT.astype(np.float32),) if conditional else ()))
        x = made(name)[1].astype(np.float32)
        for y in (t(x), t.inverse(x), t.log_abs_det_jacobian(x, x)):
            assert y.dtype == np.float32, name


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: nn.Coupling(1, 8), "two features"),
        (lambda: nn.MaskedMLP(3), "hidden"),
        (lambda: nn.Planar(2, context=3).apply(nn.Planar(2, context=3).init(0)), "without its context"),
        (lambda: nn.Coupling(2, 8, context=3).apply({}, np.zeros(2)), r"\(\.\.\., 3\)"),
    ],
)
def test_refusals(make, words):
    with pytest.raises(ppl.PPLError, match=words):
        make()


# -- as guides and priors ------------------------------------------------------------------------------------------
def banana():
    z = ppl.sample("z", dist.Normal(np.zeros(2), 2.0).to_event(1))
    ppl.sample("y", dist.Normal(z[1] - 0.5 * z[0] ** 2, 0.3), obs=-1.0)


def guided_by(flow):
    def guide():
        loc = ppl.param("loc", np.zeros(2))
        scale = ppl.param("scale", np.ones(2), dist.constraints.positive)
        base = dist.Normal(loc, scale).to_event(1)
        ppl.sample("z", dist.TransformedDistribution(base, ppl.module("flow", flow)()))

    return guide


COUPLING = nn.Flow(*[nn.Coupling(2, 16, reverse=k % 2 == 1) for k in range(4)])
AUTOREGRESSIVE = nn.Flow(nn.InverseAutoregressive(2, 16), nn.InverseAutoregressive(2, 16, reverse=True))


def test_flow_guides_fit_a_banana_where_a_gaussian_cannot():
    axis = np.linspace(-12, 12, 1201)
    z = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1)
    joint = dist.Normal(np.zeros(2), 2.0).to_event(1).log_prob(z)
    joint = joint + dist.Normal(z[..., 1] - 0.5 * z[..., 0] ** 2, 0.3).log_prob(-1.0)
    evidence = np.log(np.exp(joint).sum() * (axis[1] - axis[0]) ** 2)
    gaussian = ppl.infer(banana, guide="fullrank", progress=False)
    assert evidence - gaussian.elbo > 0.7
    for flow, gap in ((COUPLING, 0.2), (AUTOREGRESSIVE, 0.35)):
        algorithm = ppl.BBVI(steps=2000, particles=16, optimizer=ppl.optim.Adam(0.01))
        fit = ppl.infer(banana, guide=guided_by(flow), algorithm=algorithm, progress=False)
        error = 4 * fit.elbo_se
        assert -error < evidence - fit.elbo < gap + error
        value, se = fit.log_evidence(num_samples=4000)
        assert abs(value - evidence) < 4 * se + 0.05  # weights of a guide that misses tails vary more than they show


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(
    "flow",
    [nn.Planar(2), COUPLING, AUTOREGRESSIVE],
    ids=lambda f: type(f.parts[0] if hasattr(f, "parts") else f).__name__,
)
def test_the_bound_is_exact_where_prior_and_guide_are_one_flow(flow, turned):
    params = scrambled(flow, 0.3)

    def law(centre):
        t = flow.apply(params)
        return dist.TransformedDistribution(dist.Normal(centre * np.ones(2), 1.0).to_event(1), t.inv if turned else t)

    def model():
        z = ppl.sample("z", law(0.5), guide=law(ppl.param("centre", 0.5)))
        ppl.sample("y", dist.Normal(0.0 * z[0], 1.0), obs=1.0)

    record = ppl.gradient(model, particles=4)
    assert record.elbo == pytest.approx(dist.Normal(0, 1).log_prob(1.0), abs=1e-6)
