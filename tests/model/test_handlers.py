"""Handlers in both forms: around a function, and as a context inside a model."""

from __future__ import annotations

import numpy as np
import pytest

import ppl
import ppl.distributions as dist
from ppl import handlers
from ppl.model.reparam import LocScaleReparam, TransformReparam


def model(x=None):
    a = ppl.sample("a", dist.Normal(0, 1))
    b = ppl.sample("b", dist.Normal(a, 1))
    ppl.sample("x", dist.Normal(a + b, 1), obs=x)
    return a, b


def sites_of(fn, *args, seed=0, **kwargs):
    return handlers.trace(handlers.seed(fn, seed)).get_trace(*args, **kwargs)


def log_joint(sites):
    """What a run contributes: every random site at its value, with its scale."""
    return sum(float(np.sum(s.fn.log_prob(s.value))) * s.plate_scale for s in sites.values() if s.type == "sample")


def both_forms(make):
    """A run of the model under `make(fn)`, and one under `with make(None)`."""
    with handlers.trace() as inside, handlers.seed(rng_seed=0), make(None):
        model(1.0)
    return sites_of(make(model), 1.0), inside


# -- each handler ----------------------------------------------------------------------------------
def test_seed_gives_the_same_draws_again():
    assert handlers.seed(model, 0)() == handlers.seed(model, 0)() != handlers.seed(model, 1)()
    with handlers.seed(rng_seed=0):
        first = model()
    assert first == handlers.seed(model, 0)()
    runs = handlers.seed(model, rng_seed=0)
    assert runs() == runs()
    rng = np.random.default_rng(0)
    assert handlers.seed(model, rng)() != handlers.seed(model, rng)()


def test_the_inner_seed_wins():
    with handlers.seed(rng_seed=1):
        assert handlers.seed(model, 0)() == handlers.seed(model, 0)()


def test_seed_needs_a_seed():
    with pytest.raises(ppl.ModelError, match="rng_seed"):
        handlers.seed(model)


def test_trace_keeps_sites_in_order_and_gives_a_new_dict_each_time():
    runs = handlers.trace(handlers.seed(model, 0))
    first, second = runs.get_trace(1.0), runs.get_trace(2.0)
    assert list(first) == ["a", "b", "x"]
    assert first["x"]["value"] == 1.0 and second["x"]["value"] == 2.0


def test_condition_observes():
    for sites in both_forms(lambda fn: handlers.condition(fn, data={"b": 0.7})):
        assert sites["b"].is_observed and sites["b"].value == 0.7
        assert not sites["a"].is_observed
    chosen = handlers.condition(model, condition_fn=lambda s: 3.0 if s.name == "a" else None)
    assert sites_of(chosen)["a"].value == 3.0


def test_condition_is_the_same_as_obs_for_inference():
    fit = ppl.infer(handlers.condition(model, data={"b": 0.7}), 1.0, progress=False)
    # a | b = 0.7, x = 1: precision 3, mean (0.7 + 0.3) / 3
    assert float(fit["a"].mean) == pytest.approx(1 / 3, abs=0.02)
    assert "b" not in fit.sample(2)


def test_substitute_gives_values_without_observing():
    for sites in both_forms(lambda fn: handlers.substitute(fn, data={"b": 0.7, "x": 5.0})):
        assert not sites["b"].is_observed and sites["b"].value == 0.7
        assert sites["x"].value == 1.0  # an observation stays
    assert handlers.substitute(lambda: ppl.param("p", 1.0), data={"p": 4.0})() == 4.0
    chosen = handlers.substitute(model, substitute_fn=lambda s: 3.0 if s.name == "a" else None)
    assert sites_of(chosen)["a"].value == 3.0


def test_replay_repeats_a_trace():
    before = sites_of(model, seed=5)
    for sites in both_forms(lambda fn: handlers.replay(fn, trace=before)):
        assert sites["a"].value == before["a"].value and sites["b"].value == before["b"].value
        assert sites["x"].value == 1.0 and not sites["a"].is_observed


def test_do_cuts_what_depends_on_a_site():
    done = handlers.do(model, data={"a": 10.0})
    sites = sites_of(done)
    assert sites["b"].fn.loc == 10.0 and not sites["b"].is_observed
    assert sites["a"].value != 10.0  # the site itself keeps its own law
    a, b = handlers.seed(done, 0)()
    assert a == 10.0 and abs(b - 10.0) < 6
    graph = ppl.graph(done, 1.0)
    assert "a" not in graph.nodes["b"].parents and "a" not in graph.nodes["x"].parents
    assert float(ppl.infer(done, 21.0, progress=False)["b"].mean) == pytest.approx(10.5, abs=0.03)


def test_block_hides():
    hidden = {
        "all": (handlers.block(model), []),
        "by name": (handlers.block(model, hide=["a"]), ["b", "x"]),
        "all but some": (handlers.block(model, expose=["a"]), ["a"]),
        "by a function": (handlers.block(model, hide_fn=lambda s: s.name == "x"), ["a", "b"]),
    }
    for what, (fn, seen) in hidden.items():
        sites = handlers.trace(fn_seeded(fn)).get_trace(1.0)
        assert list(sites) == seen, what


def fn_seeded(blocked):
    """The seed must stand inside a block, which hides sites from what is outside."""
    return type(blocked)(handlers.seed(blocked.fn, 0), hide_fn=blocked.hide_fn)


def test_scale_and_mask_change_log_densities():
    plain = log_joint(sites_of(model, 1.0))
    for sites in both_forms(lambda fn: handlers.scale(fn, scale=3.0)):
        assert log_joint(sites) == pytest.approx(3 * plain)
    for sites in both_forms(lambda fn: handlers.mask(fn, mask=False)):
        assert log_joint(sites) == 0.0
    for sites in both_forms(
        lambda fn: (
            handlers.scale(handlers.scale(fn or (lambda *a: None), scale=2.0), scale=3.0)
            if fn
            else handlers.scale(scale=6.0)
        )
    ):
        assert log_joint(sites) == pytest.approx(6 * plain)


def test_mask_of_rows():
    def rows():
        with ppl.plate("rows", 3), handlers.mask(mask=np.array([True, False, True])):
            ppl.sample("x", dist.Normal(0, 1), obs=np.array([1.0, 1e6, -1.0]))

    assert log_joint(sites_of(rows)) == pytest.approx(2 * (-0.5 - 0.5 * np.log(2 * np.pi)))


def test_scale_must_be_positive():
    with pytest.raises(ppl.ModelError, match="positive"):
        handlers.scale(model, scale=0.0)


def hierarchical(y=None):
    mu = ppl.sample("mu", dist.Normal(0, 2))
    with ppl.plate("rows", 3):
        theta = ppl.sample("theta", dist.Normal(mu, 0.5))
        ppl.sample("y", dist.Normal(theta, 1), obs=y)


@pytest.mark.parametrize("centered", [0, 0.0, 0.3, 1, None])
def test_locscale_reparam_keeps_the_law(centered):
    config = {"theta": LocScaleReparam(centered)}
    rewritten = handlers.reparam(hierarchical, config=config)
    sites = sites_of(rewritten)
    if centered != 1:
        assert sites["theta"].type == "deterministic" and "theta_decentered" in sites
    draws = [ppl.prior_predictive(m, num_samples=1500, seed=1)["theta"] for m in (hierarchical, rewritten)]
    for a, b in zip(*([d.mean(0), d.std(0), np.cov(d.T)[0, 1]] for d in draws), strict=True):
        np.testing.assert_allclose(a, b, atol=0.3)


@pytest.mark.parametrize("centered", [0, 0.5, None])
def test_locscale_reparam_keeps_the_posterior(centered):
    y = np.array([1.0, 2.0, 0.0])
    plain = ppl.infer(hierarchical, y, guide="fullrank", progress=False)
    rewritten = ppl.infer(
        handlers.reparam(hierarchical, config={"theta": LocScaleReparam(centered)}), y, guide="fullrank", progress=False
    )
    np.testing.assert_allclose(rewritten["theta"].mean, plain["theta"].mean, atol=0.06)
    np.testing.assert_allclose(rewritten["theta"].sd, plain["theta"].sd, rtol=0.1)
    assert rewritten.elbo == pytest.approx(plain.elbo, abs=0.05)


def test_transform_reparam_draws_the_base():
    def log_normal():
        z = ppl.sample("z", dist.TransformedDistribution(dist.Normal(0.5, 0.3), [dist.transforms.ExpTransform()]))
        ppl.sample("x", dist.Normal(z, 1), obs=2.0)

    sites = sites_of(handlers.reparam(log_normal, config={"z": TransformReparam()}))
    assert sites["z"].type == "deterministic" and sites["z"].value == pytest.approx(np.exp(sites["z_base"].value))


def test_reparam_inside_a_model_and_by_a_function():
    def inside(y=None):
        with handlers.reparam(config={"theta": LocScaleReparam(0)}):
            hierarchical(y)

    assert "theta_decentered" in sites_of(inside)
    by_function = handlers.reparam(hierarchical, config=lambda s: LocScaleReparam(0) if s.name == "theta" else None)
    assert "theta_decentered" in sites_of(by_function)


def test_reparam_of_the_wrong_site_is_an_error():
    with pytest.raises(ppl.ModelError, match=r"(?s)y.*latent"):
        sites_of(handlers.reparam(hierarchical, config={"y": LocScaleReparam(0)}), np.zeros(3))
    with pytest.raises(ppl.ModelError, match="TransformedDistribution"):
        sites_of(handlers.reparam(hierarchical, config={"mu": TransformReparam()}))
    with pytest.raises(ppl.ModelError, match="loc and scale"):
        sites_of(handlers.reparam(lambda: ppl.sample("g", dist.Gamma(1.0, 1.0)), config={"g": LocScaleReparam(0)}))


# -- inside a model, under inference ---------------------------------------------------------------
def test_handlers_inside_a_model():
    def tempered(x):
        z = ppl.sample("z", dist.Normal(0, 1))
        with handlers.scale(scale=3.0):
            ppl.sample("x", dist.Normal(z, 1), obs=x)
        with handlers.block():
            pass

    assert float(ppl.infer(tempered, 2.0, progress=False)["z"].mean) == pytest.approx(6 / 4, abs=0.02)
    assert float(ppl.infer(tempered, 2.0, progress=False)["z"].sd) == pytest.approx(0.5, rel=0.03)


def test_of_two_substitutes_the_outer_one_has_the_last_word():
    fn = handlers.substitute(handlers.substitute(model, data={"a": 1.0}), data={"a": 2.0, "b": 3.0})
    a, b = handlers.seed(fn, 0)()
    assert (a, b) == (2.0, 3.0)


def test_a_handler_without_a_function_says_so():
    with pytest.raises(ppl.ModelError, match="without a function"):
        handlers.condition(data={"a": 1.0})()
    with pytest.raises(ppl.ModelError, match="first argument"):
        handlers.condition({"a": 1.0})


def test_an_error_inside_leaves_no_handler_behind():
    def broken():
        with ppl.plate("rows", 3):
            raise KeyError("mine")

    for _ in range(2):
        with pytest.raises(KeyError, match="mine"):
            handlers.trace(handlers.seed(broken, 0)).get_trace()
    assert ppl.model.current().handlers == () and ppl.model.current().plates == ()
    with pytest.raises(ppl.ModelError, match="randomness"):
        ppl.sample("z", dist.Normal(0, 1))


def test_threads_do_not_see_each_others_handlers():
    from concurrent.futures import ThreadPoolExecutor

    def work(seed):
        return [handlers.seed(model, seed)()[0] for _ in range(20)]

    with ThreadPoolExecutor(4) as pool:
        for seed, got in enumerate(pool.map(work, range(8))):
            assert set(got) == {handlers.seed(model, seed)()[0]}
