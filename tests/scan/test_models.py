"""`ppl.scan` in a model against the same model written out by hand: bounds, gradients, handlers, predictions."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy import stats

import ppl
import ppl.array as A
import ppl.distributions as dist
from ppl import handlers
from ppl.array.scan import flatten, scan_rows
from ppl.distributions import constraints
from ppl.elbo import Objective, choose, derive, problem

T = 6
RNG = np.random.default_rng(1)
Y = RNG.normal(size=T)


def written_out(f, init, xs=None, length=None):
    """A plain loop whose sites have one name for each time."""
    leaves, build = flatten(xs)
    carry, ys = init, []
    for t in range(len(leaves[0]) if leaves else length):
        with Named(t):
            carry, y = f(carry, build([x[t] for x in leaves]))
        ys.append(flatten(y))
    stacked = [np.stack(c) for c in zip(*(p for p, _ in ys), strict=True)]
    return carry, ys[0][1](stacked)


class Named(handlers.Handler):
    """Sites get the time at the end of their names."""

    def __init__(self, t):
        super().__init__()
        self.t = t

    def process(self, site):
        from dataclasses import replace

        return replace(site, name=f"{site.name}_{self.t}") if site.type in ("sample", "deterministic") else site


# -- models with latent sites inside: scan is an argument of its own ---------------------------------
def walk(scan, y):
    tau = ppl.sample("tau", dist.LogNormal(0.0, 0.3))

    def step(z, y_t):
        z = ppl.sample("z", dist.Normal(z, tau))
        ppl.sample("y", dist.Normal(z, 0.5), obs=y_t)
        return z, z**2

    return scan(step, 0.0, y)


def pairs(scan, y):
    """AR(2) with a tuple as carry, a positive site and a deterministic."""
    phi = ppl.sample("phi", dist.Normal(np.array([0.4, -0.2]), 0.1).to_event(1))

    def step(carry, y_t):
        last, before = carry
        h = ppl.sample("h", dist.LogNormal(phi[0] * last + phi[1] * before, 0.5))
        level = ppl.deterministic("level", np.log(h) + last)
        ppl.sample("y", dist.Normal(level, h), obs=y_t)
        return (level, last), level

    return scan(step, (0.0, 0.1), y)


def volatility(scan, y):
    """GARCH(1,1): only observed sites inside."""
    alpha = ppl.sample("alpha", dist.Beta(2.0, 5.0))
    beta = ppl.sample("beta", dist.Beta(5.0, 5.0))

    def step(carry, r):
        variance, before = carry
        variance = 0.2 + alpha * before**2 + beta * variance
        ppl.sample("y", dist.Normal(0.0, np.sqrt(variance)), obs=r)
        return (variance, r), variance

    return scan(step, (1.0, 0.0), y)


def vectors(scan, y):
    """A vector-valued state with a full covariance, and no carry from the sites at the start."""
    w = ppl.sample("w", dist.Normal(np.zeros(2), 1.0).to_event(1))

    def step(z, y_t):
        z = ppl.sample("z", dist.MultivariateNormal(0.8 * z, scale_tril=np.array([[0.5, 0.0], [0.2, 0.4]])))
        ppl.sample("y", dist.Normal(np.sum(z * w), 1.0), obs=y_t)
        return z, None

    return scan(step, np.zeros(2), y)


def crowd(scan, y):
    """A plate inside the step."""
    tau = ppl.sample("tau", dist.LogNormal(0.0, 0.3))

    def step(z, y_t):
        with ppl.plate("series", 3):
            z = ppl.sample("z", dist.Normal(0.9 * z, tau))
            ppl.sample("y", dist.Normal(z, 0.5), obs=y_t + np.arange(3.0))
        return z, np.sum(z)

    return scan(step, np.zeros(3), y)


def around(scan, y):
    """A plate around the scan, with a site of its own outside."""
    with ppl.plate("series", 3):
        phi = ppl.sample("phi", dist.Normal(0.5, 0.2))

        def step(z, y_t):
            z = ppl.sample("z", dist.Normal(phi * z, 0.4))
            ppl.sample("y", dist.Normal(z, 0.5), obs=y_t + np.arange(3.0))
            return z, z

        return scan(step, np.zeros(3), y)


def no_xs(scan, y):
    """A length and no xs; the observations stand outside."""

    def step(z, _):
        z = ppl.sample("z", dist.Normal(np.sin(z), 0.7))
        return z, z

    last, z = scan(step, 0.3, None, length=T)
    ppl.sample("all", dist.Normal(z, 0.5).to_event(1), obs=y)
    return last, z


def discrete_guide(scan, y):
    """Odds for every time, in a scan of its own."""
    ppl.sample("p", dist.Beta(ppl.param("p_a", 2.0), 3.0))
    q = ppl.param("q", np.linspace(0.2, 0.7, T), constraints.unit_interval)
    scan(lambda carry, x: (carry, ppl.sample("s", dist.Bernoulli(x))), 0.0, q)


def discrete(scan, y):
    """A regime that depends on the last one, drawn."""
    p = ppl.sample("p", dist.Beta(2.0, 2.0))

    def step(s, y_t):
        s = ppl.sample("s", dist.Bernoulli(np.where(s == 1, p, 0.3)))
        ppl.sample("y", dist.Normal(2.0 * s, 1.0), obs=y_t)
        return s, s

    return scan(step, 0, y)


MODELS = [walk, pairs, volatility, vectors, crowd, around, no_xs, discrete]
TIMED = {
    walk: ["z"],
    pairs: ["h"],
    volatility: [],
    vectors: ["z"],
    crowd: ["z"],
    around: ["z"],
    no_xs: ["z"],
    discrete: ["s"],
}
GUIDES = {discrete: discrete_guide}
ids = lambda m: getattr(m, "__name__", str(m))


def scanned(model):
    return lambda y: model(ppl.scan, y)


def looped(model):
    return lambda y: model(written_out, y)


def guide_of(model, scan):
    return (lambda y: GUIDES[model](scan, y)) if model in GUIDES else "meanfield"


def objective_of(model, *args, guide="meanfield", **more):
    d = derive(problem(model, args, {}), guide, **more)
    return d, Objective(d, choose(d))


def spread(model, values, times):
    """Values by name with a time axis, as values for each time."""
    out = {}
    for name, x in values.items():
        site = name.split(".")[0]
        if site in times:
            out.update({f"{site}_{t}{name[len(site) :]}": x[t] for t in range(T)})
        else:
            out[name] = x
    return out


@pytest.mark.parametrize("model", MODELS[:-1], ids=ids)
def test_bound_and_gradients_are_those_of_the_model_written_out(model, monkeypatch):
    # A site with a time axis has no closed-form KL: without it on both sides, equal noise means equal numbers.
    monkeypatch.setattr("ppl.elbo.derivation.has_kl", lambda q, p: False)
    d, ours = objective_of(scanned(model), Y, guide=guide_of(model, ppl.scan))
    e, theirs = objective_of(looped(model), Y, guide=guide_of(model, written_out))
    rng, size = np.random.default_rng(0), 5
    noise, more = {}, {}
    for f in d.factors:
        kind = f.noise_kind
        shape = (size, *f.noise_shape)
        noise[f.name] = {
            "normal": lambda shape=shape: rng.standard_normal(shape),
            "uniform": lambda shape=shape: rng.random(shape),
        }.get(kind, lambda shape=shape: rng.integers(0, 2**62, shape))()
        if f.name in TIMED[model]:
            more.update({f"{f.name}_{t}": noise[f.name][:, t] for t in range(T)})
        else:
            more[f.name] = noise[f.name]
    values = {n: x.init + 0.1 * rng.random(x.init.shape) for n, x in d.parameters.items()}
    apart = spread(model, values, TIMED[model])
    assert set(apart) == set(e.parameters)
    bound, terms, weights = ours.evaluate(values, {}, noise, size)
    expected, _, others = theirs.evaluate(apart, {}, more, size)
    np.testing.assert_allclose(bound, expected, rtol=1e-10)
    # Term by term: a site's time axis is the sum of its times.
    found = {}
    for text, kinds in ((d, terms), (e, theirs.evaluate(apart, {}, more, size)[1])):
        for t, column in zip(text.terms, kinds.T, strict=True):
            name = t.site if t.site in {x.site for x in d.terms} else t.site.rpartition("_")[0]
            side = found.setdefault(name, [0.0, 0.0])
            side[text is e] = side[text is e] + column
    for name, (a, b) in found.items():
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-10, err_msg=name)
    if weights or others:
        return  # score weights are centred per factor; the bound and its terms are what can be compared
    slopes = dict(zip(d.parameter_inputs, ours.contributions(values, {}, noise, [], size), strict=True))
    others = dict(zip(e.parameter_inputs, theirs.contributions(apart, {}, more, [], size), strict=True))
    for name, g in slopes.items():
        site = name.split(".")[0]
        if site in TIMED[model]:
            for t in range(T):
                np.testing.assert_allclose(g[:, t], others[f"{site}_{t}{name[len(site) :]}"], rtol=1e-8, atol=1e-10)
        else:
            np.testing.assert_allclose(g, others[name], rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("model", MODELS[:-1], ids=ids)
def test_gradient_with_a_seed_is_within_its_error_of_the_model_written_out(model):
    a = ppl.gradient(scanned(model), Y, guide=guide_of(model, ppl.scan), particles=2000, seed=0)
    b = ppl.gradient(looped(model), Y, guide=guide_of(model, written_out), particles=2000, seed=1)
    for name, g in a.grad.items():
        site = name.split(".")[0]
        names = [f"{site}_{t}{name[len(site) :]}" for t in range(T)] if site in TIMED[model] else [name]
        other = np.stack([b.grad[n] for n in names]) if site in TIMED[model] else b.grad[name]
        variance = np.stack([b.variance[n] for n in names]) if site in TIMED[model] else b.variance[name]
        error = np.sqrt((a.variance[name] + variance) / 2000)
        assert np.all(np.abs(g - other) < 5 * error + 1e-8 * (1 + np.abs(g))), name


@pytest.mark.parametrize("model", MODELS, ids=ids)
def test_run_by_hand_with_a_seed_it_draws_as_the_loop_does(model):
    ours = handlers.trace(handlers.seed(scanned(model), 3)).get_trace(Y)
    theirs = handlers.trace(handlers.seed(looped(model), 3)).get_trace(Y)
    for name, site in ours.items():
        if f"{name}_0" not in theirs:
            if site["type"] != "plate":
                np.testing.assert_array_equal(site["value"], theirs[name]["value"])
            continue
        parts = [theirs[f"{name}_{t}"] for t in range(T)]
        np.testing.assert_array_equal(site["value"], np.stack([p["value"] for p in parts]))
        assert site["type"] == parts[0]["type"] and site["is_observed"] == parts[0]["is_observed"]
        if site["type"] == "sample":
            density = np.stack([p["fn"].log_prob(p["value"]) for p in parts])
            np.testing.assert_allclose(site["fn"].log_prob(site["value"]), density, rtol=1e-12)


def log_joint(trace):
    return sum(np.sum(s["fn"].log_prob(s["value"])) * s["scale"] for s in trace.values() if s["type"] == "sample")


@pytest.mark.parametrize("handler", ["condition", "substitute", "replay"])
@pytest.mark.parametrize("model", [m for m in MODELS if TIMED[m]], ids=ids)
def test_handlers_give_values_with_their_time_axis(model, handler):
    (name,) = TIMED[model]
    first = handlers.trace(handlers.seed(scanned(model), 3)).get_trace(Y)
    value = first[name]["value"]
    wrapped = {
        "condition": lambda: handlers.condition(scanned(model), {name: value}),
        "substitute": lambda: handlers.substitute(scanned(model), {name: value}),
        "replay": lambda: handlers.replay(scanned(model), first),
    }[handler]()
    again = handlers.trace(handlers.seed(wrapped, 3)).get_trace(Y)
    np.testing.assert_array_equal(again[name]["value"], value)
    assert again[name]["is_observed"] == (handler == "condition")
    if handler == "replay":
        assert log_joint(again) == pytest.approx(log_joint(first), rel=1e-12)


def test_a_condition_is_an_observation_of_the_bound():
    """Conditioned on its states, the walk is a model of tau alone: its log density by hand."""
    z = np.cumsum(RNG.normal(size=T))
    at = 1.3
    p = problem(handlers.condition(scanned(walk), {"z": z}), (Y,), {})
    assert set(p.shapes) == {"tau"}
    d, objective = objective_of(handlers.condition(scanned(walk), {"z": z}), Y)
    values = {"tau.loc": np.log(at), "tau.scale": 1e-9}
    _, terms, _ = objective.evaluate(values, {}, {f.name: np.zeros((1, *f.noise_shape)) for f in d.factors}, 1)
    by_site = {t.site: x for t, x in zip(d.terms, terms[0], strict=True) if t.kind == "log p"}
    steps = np.diff(np.concatenate([[0.0], z]))
    assert by_site["z"] == pytest.approx(stats.norm.logpdf(steps, 0, at).sum(), rel=1e-6)
    assert by_site["y"] == pytest.approx(stats.norm.logpdf(Y, z, 0.5).sum(), rel=1e-9)


def test_scale_multiplies_what_is_inside():
    plain_terms = terms_at(scanned(walk))
    scaled = terms_at(handlers.scale(scanned(walk), scale=2.5))
    for site in ("y", "z"):
        assert scaled[site, "log p"] == pytest.approx(2.5 * plain_terms[site, "log p"], rel=1e-12)


def terms_at(model, *args):
    d, objective = objective_of(model, *(args or (Y,)))
    noise = {f.name: np.full((1, *f.noise_shape), 0.3) for f in d.factors}
    _, terms, _ = objective.evaluate({n: x.init for n, x in d.parameters.items()}, {}, noise, 1)
    return {(t.site, t.kind): x for t, x in zip(d.terms, terms[0], strict=True)}


MASK = np.array([True, False, True, True, False, False])


def test_mask_around_a_scan_keeps_what_it_says():
    found = terms_at(handlers.mask(scanned(walk), mask=False))
    assert found["y", "log p"] == 0.0


def test_mask_inside_a_step():
    def step(z, now):
        y_t, seen = now
        z = ppl.sample("z", dist.Normal(z, 1.0))
        with handlers.mask(mask=seen):
            ppl.sample("y", dist.Normal(z, 0.5), obs=y_t)
        return z, z

    def model(y):
        return ppl.scan(step, 0.0, (y, MASK))

    found = terms_at(model)
    d, objective = objective_of(model, Y)
    z = objective.derivation.site_outputs["z"]
    program = A.prune(d.program, (d.program.outputs[z],))
    noise = {f.name: np.full(f.noise_shape, 0.3) for f in d.factors}
    (z,) = A.run(program, *d.inputs({n: x.init for n, x in d.parameters.items()}, {}, noise))
    assert found["y", "log p"] == pytest.approx(stats.norm.logpdf(Y, z, 0.5)[MASK].sum(), rel=1e-10)


def test_block_hides_a_scanned_site():
    trace = handlers.trace(handlers.block(handlers.seed(scanned(walk), 0), hide=["z"])).get_trace(Y)
    assert "z" not in trace and "y" in trace and "tau" in trace


@pytest.mark.parametrize(
    "way",
    [
        "recorded",
        "by hand",
    ],
)
def test_a_condition_replaces_observations_inside(way):
    """As it does outside a scan."""
    other = Y + 1.0
    conditioned = handlers.condition(scanned(walk), {"y": other})
    if way == "recorded":
        assert terms_at(conditioned)["y", "log p"] == pytest.approx(terms_at(scanned(walk), other)["y", "log p"])
    else:
        trace = handlers.trace(handlers.seed(conditioned, 0)).get_trace(Y)
        np.testing.assert_array_equal(trace["y"]["value"], other)


def test_do_around_a_scan_cuts_what_comes_after_or_is_refused():
    forced = np.linspace(0.0, 1.0, T)
    try:
        trace = handlers.trace(handlers.seed(handlers.do(scanned(walk), {"z": forced}), 0)).get_trace(Y)
    except ppl.ModelError as error:
        assert "Scanned" in str(error)
        return
    density = stats.norm.logpdf(Y, forced, 0.5)
    np.testing.assert_allclose(trace["y"]["fn"].log_prob(trace["y"]["value"]), density, rtol=1e-10)


def test_reparameterization_of_a_scanned_site_is_done_or_refused():
    model = handlers.reparam(scanned(walk), config={"z": handlers.LocScaleReparam(0.0)})
    try:
        trace = handlers.trace(handlers.seed(model, 0)).get_trace(Y)
    except ppl.PPLError as error:
        assert "z" in str(error)
        return
    assert any("z" in name and name != "z" for name in trace)


def test_prior_predictive_draws_the_observations_too():
    draws = ppl.prior_predictive(scanned(walk), Y, num_samples=400, seed=0)
    assert draws["z"].shape == draws["y"].shape == (400, T) and draws["tau"].shape == (400,)
    steps = np.diff(draws["z"], prepend=0.0, axis=1)
    ratio = steps / draws["tau"][:, None]
    assert abs(ratio.mean()) < 4 / ratio.size**0.5 and ratio.std() == pytest.approx(1.0, abs=0.06)
    assert (draws["y"] - draws["z"]).std() == pytest.approx(0.5, abs=0.03)


def test_fit_and_predict():
    fit = ppl.infer(scanned(walk), Y, progress=False, algorithm=ppl.BBVI(steps=300))
    draws = fit.predict(num_samples=50)
    assert draws["y"].shape == (50, T)
    assert fit.sample(20)["z"].shape == (20, T)
    assert np.shape(fit["z"].mean) == (T,)


def test_predict_of_a_longer_series_says_what_is_missing_or_draws_it():
    fit = ppl.infer(scanned(volatility), Y, progress=False, algorithm=ppl.BBVI(steps=100))
    longer = fit.predict(np.concatenate([Y, Y]), num_samples=5)
    assert longer["y"].shape == (5, 2 * T)


def test_exact_posterior_of_a_walk():
    """A Gaussian walk with known scales has a Gaussian posterior; fullrank finds its means."""

    def model(y):
        def step(z, y_t):
            z = ppl.sample("z", dist.Normal(z, 0.7))
            ppl.sample("y", dist.Normal(z, 0.5), obs=y_t)
            return z, z

        ppl.scan(step, 0.0, y)

    fit = ppl.infer(model, Y, guide="fullrank", progress=False)
    lower = np.tril(np.ones((T, T)))
    prior = 0.49 * lower @ lower.T
    mean = prior @ np.linalg.solve(prior + 0.25 * np.eye(T), Y)
    np.testing.assert_allclose(fit["z"].mean, mean, atol=0.03)


def test_a_subsampled_plate_around_a_scan():
    data = RNG.normal(size=(T, 8))

    def model(y, size):
        with ppl.plate("series", 8, subsample_size=size) as i:
            level = ppl.sample("level", dist.Normal(0.0, 1.0))

            def step(z, y_t):
                z = 0.5 * z + level
                ppl.sample("y", dist.Normal(z, 1.0), obs=y_t)
                return z, z

            ppl.scan(step, np.zeros(np.shape(level)), y[:, i])

    full, part = (objective_of(model, data, size)[1] for size in (8, 2))
    values = {"level.loc": np.linspace(-1, 1, 8), "level.scale": np.full(8, 0.5)}
    eps = np.random.default_rng(0).standard_normal(8)
    noise = {"level": eps[None]}
    expected, _, _ = full.evaluate(values, {}, noise, 1)
    parts = []
    for rows in np.arange(8).reshape(4, 2):
        got, _, _ = part.evaluate(values, {"series": rows}, {"level": eps[rows][None]}, 1)
        parts.append(got)
    np.testing.assert_allclose(np.mean(parts), expected[0], rtol=1e-10)


def test_steps_do_not_grow_with_the_length():
    for model in (walk, pairs, volatility, vectors, around):
        counts = []
        for y in (RNG.normal(size=5), RNG.normal(size=60)):
            d, objective = objective_of(scanned(model), y)
            counts.append((len(d.program.steps), len(objective.gradient(4).steps)))
        assert counts[0] == counts[1], model.__name__


def test_a_walk_of_drawn_states_needs_no_loop():
    d, _ = objective_of(scanned(walk), Y)
    assert scan_rows.run not in {s.fun for s in d.program.steps}
    d, _ = objective_of(scanned(volatility), Y)
    assert scan_rows.run in {s.fun for s in d.program.steps}


# -- HMM and an ODE as models ------------------------------------------------------------------------
def hmm(y):
    loc = ppl.sample("loc", dist.Normal(np.array([-1.0, 1.0]), 0.5).to_event(1))
    stay = ppl.sample("stay", dist.Beta(5.0, 2.0))
    off = 1.0 - stay
    table = np.log(np.stack([np.stack([stay, off]), np.stack([off, stay])]))
    emit = lambda x: -0.5 * (x - loc) ** 2 - 0.5 * np.log(2 * np.pi)

    def step(forward, x):
        forward = np.logaddexp.reduce(forward[:, None] + table, axis=0) + emit(x)
        return forward, None

    last, _ = ppl.scan(step, np.log(0.5) + emit(y[0]), y[1:])
    ppl.factor("likelihood", np.logaddexp.reduce(last))


def test_hmm_by_enumeration():
    d, objective = objective_of(hmm, Y)
    noise = {f.name: np.full((1, *f.noise_shape), 0.2) for f in d.factors}
    values = {n: x.init for n, x in d.parameters.items()}
    _, terms, _ = objective.evaluate(values, {}, noise, 1)
    found = next(x for t, x in zip(d.terms, terms[0], strict=True) if t.site == "likelihood")
    program = A.prune(d.program, tuple(d.program.outputs[d.site_outputs[s]] for s in ("loc", "stay")))
    loc, stay = A.run(program, *d.inputs(values, {}, {n: e[0] for n, e in noise.items()}))
    total = 0.0
    for path in np.ndindex(*(2,) * T):
        moves = np.prod([stay if a == b else 1 - stay for a, b in pairwise(path)])
        total += 0.5 * moves * np.prod(stats.norm.pdf(Y, loc[list(path)], 1.0))
    assert found == pytest.approx(np.log(total), rel=1e-10)


def predator(y):
    theta = ppl.sample("theta", dist.LogNormal(np.log([0.55, 0.3, 0.8, 0.25]), 0.1).to_event(1))

    def slope(z):
        return np.stack([(theta[0] - theta[1] * z[1]) * z[0], (-theta[2] + theta[3] * z[0]) * z[1]])

    def step(z, y_t):
        k1 = slope(z)
        k2 = slope(z + 0.05 * k1)
        k3 = slope(z + 0.05 * k2)
        k4 = slope(z + 0.1 * k3)
        z = z + 0.1 / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        ppl.sample("y", dist.LogNormal(np.log(z), 0.2).to_event(1), obs=y_t)
        return z, ppl.deterministic("state", z)

    ppl.scan(step, np.array([2.0, 1.5]), y)


def test_an_ode_has_its_deterministic_states():
    from scipy.integrate import solve_ivp

    y = np.exp(RNG.normal(size=(T, 2)))
    draws = ppl.prior_predictive(predator, y, num_samples=2, seed=0)
    assert draws["state"].shape == (2, T, 2)
    a, b, c, e = draws["theta"][0]
    exact = solve_ivp(
        lambda t, z: [(a - b * z[1]) * z[0], (-c + e * z[0]) * z[1]],
        (0, 0.1 * T),
        [2.0, 1.5],
        t_eval=0.1 * np.arange(1, T + 1),
        rtol=1e-10,
        atol=1e-12,
    ).y.T
    np.testing.assert_allclose(draws["state"][0], exact, rtol=1e-6)
    fit = ppl.infer(predator, y, progress=False, algorithm=ppl.BBVI(steps=50))
    assert fit.sample(3)["state"].shape == (3, T, 2)


# -- refusals ------------------------------------------------------------------------------------------
def refusal(step, y=Y, init=0.0, **more):
    def model(y):
        ppl.sample("a", dist.Normal(0, 1))
        ppl.scan(step, init, y, **more)

    with pytest.raises(ppl.PPLError) as caught:
        problem(model, (y,), {})
    return caught.value


def test_refusals_inside_a_scan():
    def factor(z, y):
        ppl.factor("f", z)
        return z, None

    assert "ppl.factor inside ppl.scan" in str(refusal(factor))

    def guided(z, y):
        z = ppl.sample("z", dist.Normal(z, 1.0), guide=dist.Normal(0.0, 1.0))
        return z, None

    assert "guide= inside ppl.scan" in str(refusal(guided))

    def grows(z, y):
        return np.stack([z, z]), ppl.sample("z", dist.Normal(0.0, 1.0))

    assert "carry of shape" in str(refusal(grows))
    assert isinstance(refusal(lambda z, x: (z, None), (np.zeros(3), np.zeros(4))), ppl.ShapeError)


def test_control_flow_inside_a_scan_is_refused_with_and_without_eager():
    def model(y):
        def step(z, y_t):
            z = ppl.sample("z", dist.Normal(z, 1.0))
            if z > 0:
                z = z * 2
            ppl.sample("y", dist.Normal(z, 1.0), obs=y_t)
            return z, z

        ppl.scan(step, 0.0, y)

    for executor in ("auto", "numpy", "eager"):
        with pytest.raises(ppl.ModelError, match=r"np\.where"):
            ppl.infer(model, Y, progress=False, executor=executor)
    with pytest.raises(ppl.ModelError, match=r"np\.where"):
        ppl.gradient(model, Y, guide="meanfield", particles=2)


def test_two_sites_of_one_name_in_a_step_are_refused():
    def step(z, y_t):
        ppl.sample("z", dist.Normal(z, 1.0))
        return ppl.sample("z", dist.Normal(z, 1.0)), None

    assert "names that are used once" in str(refusal(step))


def test_observations_of_a_wrong_length_are_refused():
    with pytest.raises(ppl.PPLError, match="5"):
        problem(handlers.condition(scanned(walk), {"z": np.zeros(5)}), (Y,), {})


def test_a_param_inside_a_scan_is_one_parameter():
    def model(y):
        def step(z, y_t):
            z = z + ppl.param("drift", 0.1)
            ppl.sample("y", dist.Normal(z, ppl.param("sd", 1.0, constraints.positive)), obs=y_t)
            return z, z

        ppl.sample("a", dist.Normal(0, 1))
        ppl.scan(step, 0.0, y)

    record = ppl.gradient(model, Y, guide="meanfield", params={"drift": 0.2, "sd": 1.5}, particles=4)
    t = np.arange(1, T + 1)
    gap = Y - 0.2 * t
    assert record.grad["drift"] == pytest.approx(np.sum(gap * t) / 2.25, rel=1e-9)
    assert record.grad["sd"] == pytest.approx(np.sum(gap**2 / 1.5**3 - 1 / 1.5), rel=1e-9)


def test_a_scan_in_a_scan_of_a_model():
    def model(y):
        a = ppl.sample("a", dist.Normal(0.5, 0.1))

        def outer(z, row):
            inner, _ = ppl.scan(lambda c, x: (np.tanh(a * c + x), None), z, row)
            ppl.sample("y", dist.Normal(inner, 1.0), obs=row[0])
            return inner, inner

        ppl.scan(outer, 0.0, y)

    y = RNG.normal(size=(T, 3))
    found = terms_at(model, y)
    d, _ = objective_of(model, y)
    program = A.prune(d.program, (d.program.outputs[d.site_outputs["a"]],))
    noise = {f.name: np.full(f.noise_shape, 0.3) for f in d.factors}
    (a,) = A.run(program, *d.inputs({n: x.init for n, x in d.parameters.items()}, {}, noise))
    z, total = 0.0, 0.0
    for row in y:
        for x in row:
            z = np.tanh(a * z + x)
        total += stats.norm.logpdf(row[0], z, 1.0)
    assert found["y", "log p"] == pytest.approx(total, rel=1e-10)


def test_sites_in_a_scan_in_a_scan_are_right_or_refused():
    def model(y):
        def outer(z, row):
            def inner(c, x):
                c = ppl.sample("z", dist.Normal(c, 1.0))
                ppl.sample("y", dist.Normal(c, 1.0), obs=x)
                return c, c

            return ppl.scan(inner, z, row)

        ppl.scan(outer, 0.0, y)

    y = RNG.normal(size=(T, 3))
    try:
        found = terms_at(model, y)
    except ppl.PPLError as error:
        assert "scan" in str(error)
        return
    d, _ = objective_of(model, y)
    program = A.prune(d.program, (d.program.outputs[d.site_outputs["z"]],))
    noise = {f.name: np.full(f.noise_shape, 0.3) for f in d.factors}
    (z,) = A.run(program, *d.inputs({n: x.init for n, x in d.parameters.items()}, {}, noise))
    assert z.shape == y.shape
    assert found["y", "log p"] == pytest.approx(stats.norm.logpdf(y, z, 1.0).sum(), rel=1e-10)
    steps = np.diff(z.ravel(), prepend=0.0)
    assert found["z", "log p"] == pytest.approx(stats.norm.logpdf(steps).sum(), rel=1e-10)


def test_a_step_that_does_not_return_a_pair_is_refused():
    for step in (lambda z, y: z, lambda z, y: (z, y, y), lambda z, y: None):
        assert "carry, y" in str(refusal(step))


# -- jumps ---------------------------------------------------------------------------------------------
def jumping(where):
    def model(y):
        a = ppl.sample("a", dist.Normal(0.0, 1.0))

        def step(level, y_t):
            if where == "on what feeds on itself":
                level = 0.8 * level + np.where(level > a, 1.0, -1.0)
            elif where == "on the side":
                level = 0.8 * level + a
                ppl.sample("side", dist.Normal(np.floor(level), 1.0), obs=y_t)
            elif where == "on data alone":
                level = 0.8 * level + a * np.where(y_t > 0, 1.0, 2.0)
            ppl.sample("y", dist.Normal(level, 1.0), obs=y_t)
            return level, level

        ppl.scan(step, 0.0, y)

    return model


@pytest.mark.parametrize("where", ["on what feeds on itself", "on the side", "on data alone"])
def test_a_jump_inside_a_step_takes_the_score(where):
    """No pathwise gradient through a loop whose step jumps; with no jump on a draw, the pathwise one."""
    record = ppl.gradient(jumping(where), Y, guide="meanfield", particles=2)
    assert record.estimators["a"][0] == ("pathwise" if where == "on data alone" else "score")


@pytest.mark.parametrize("where", ["on what feeds on itself", "on the side"])
def test_the_gradient_of_a_jump_inside_a_step_is_unbiased(where):
    at = {"a.loc": 0.2, "a.scale": 0.5}
    record = ppl.gradient(jumping(where), Y, guide="meanfield", params=at, particles=20_000)
    a = np.linspace(-5.0, 5.0, 20_001) + 1e-5 * np.pi
    level, total = np.zeros_like(a), stats.norm.logpdf(a)
    for y in Y:
        level = 0.8 * level + (np.where(level > a, 1.0, -1.0) if where != "on the side" else a)
        total += stats.norm.logpdf(y, level)
        if where == "on the side":
            total += stats.norm.logpdf(y, np.floor(level))

    def bound(loc):
        return np.sum(stats.norm.pdf(a, loc, 0.5) * total) * (a[1] - a[0])

    exact = (bound(0.2 + 1e-4) - bound(0.2 - 1e-4)) / 2e-4
    assert abs(record.grad["a.loc"] - exact) < 4 * np.sqrt(record.variance["a.loc"] / 20_000) + 1e-3


def test_the_eager_executor_scans_too():
    """A branch before the scan, none inside."""

    def model(y):
        a = ppl.sample("a", dist.Normal(0.5, 0.1))
        drift = 1.0 if a > 0.5 else -1.0

        def step(z, y_t):
            z = np.tanh(z * a + drift)
            ppl.sample("y", dist.Normal(z, 1.0), obs=y_t)
            return z, z

        ppl.scan(step, 0.0, y)

    at = {"a.loc": 0.45, "a.scale": 0.2}
    record = ppl.gradient(model, Y, guide="meanfield", params=at, particles=10_000)
    a = np.linspace(-1.0, 2.0, 20_001) + 1e-5 * np.pi
    z, total = np.zeros_like(a), stats.norm.logpdf(a, 0.5, 0.1)
    for y in Y:
        z = np.tanh(z * a + np.where(a > 0.5, 1.0, -1.0))
        total += stats.norm.logpdf(y, z)

    def bound(loc):
        return np.sum(stats.norm.pdf(a, loc, 0.2) * total) * (a[1] - a[0])

    exact = (bound(0.45 + 1e-4) - bound(0.45 - 1e-4)) / 2e-4
    assert abs(record.grad["a.loc"] - exact) < 4 * np.sqrt(record.variance["a.loc"] / 10_000) + 1e-3


def test_a_value_taken_out_of_a_step_is_refused_in_words():
    def model(y):
        kept = []

        def step(z, y_t):
            z = 0.5 * z + y_t * ppl.sample("a", dist.Normal(0.0, 1.0))
            kept.append(z)
            return z, z

        ppl.scan(step, 0.0, y)
        ppl.sample("y", dist.Normal(kept[0], 1.0), obs=1.0)

    with pytest.raises(ppl.ModelError, match="used after the scan") as caught:
        ppl.infer(model, Y, progress=False)
    assert "return carry, z" in str(caught.value)
