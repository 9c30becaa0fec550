"""Bounds of several samples, weights on terms, and the pilot's choice."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.special import logsumexp

import ppl
import ppl.distributions as dist
from ppl.distributions import constraints
from ppl.elbo import Objective, choose, derive, objective_of, problem
from ppl.elbo.measure import measured

from .zoo import ROWS_OF_COINS, bernoulli, normal

DRAWS = 100_000


def value(log_weights, alpha, axis=0):
    """The bound by its formula."""
    s = 1.0 - alpha
    return (logsumexp(s * log_weights, axis=axis) - np.log(np.shape(log_weights)[axis])) / s


def slopes(f, at):
    """Central differences."""
    out = {}
    for name, x in at.items():
        x = np.asarray(x, dtype=float)
        g = np.zeros(x.shape)
        for k in np.ndindex(x.shape):
            ends = []
            for h in (1e-5, -1e-5):
                moved = x.copy()
                moved[k] += h
                ends.append(f({**at, name: moved}))
            g[k] = (ends[0] - ends[1]) / 2e-5
        out[name] = g
    return out


# -- a coin, enumerated -------------------------------------------------------------------------------
def coin():
    z = ppl.sample("z", dist.Bernoulli(0.3))
    ppl.sample("x", dist.Normal(2 * z + ppl.param("t", 0.2), 1), obs=1.4)


def coin_guide():
    ppl.sample("z", dist.Bernoulli(ppl.param("p", 0.5, constraints.unit_interval)))


def exact_coin(at, k, alpha, x=1.4):
    total = 0.0
    for z in itertools.product((0, 1), repeat=k):
        z = np.array(z)
        log_q = bernoulli(z, at["p"])
        log_w = bernoulli(z, 0.3) + normal(x, 2 * z + at["t"]) - log_q
        total += np.exp(log_q.sum()) * value(log_w, alpha)
    return total


def coins():
    with ppl.plate("rows", 4, subsample_size=2) as i:
        z = ppl.sample("z", dist.Bernoulli(0.3))
        data = (i[:, None] == np.arange(4)) @ ROWS_OF_COINS
        ppl.sample("x", dist.Normal(2 * z + ppl.param("shift", np.full(4, 0.2)), 1), obs=data)


def coins_guide():
    with ppl.plate("rows", 4, subsample_size=2):
        ppl.sample("z", dist.Bernoulli(ppl.param("p", np.full(4, 0.5), constraints.unit_interval)))


def exact_coins(at, k, alpha):
    parts = zip(at["p"], at["shift"], ROWS_OF_COINS, strict=True)
    return sum(exact_coin({"p": p, "t": t}, k, alpha, x) for p, t, x in parts)


def two_coins():
    """Latents in no plate, so one bound for all rows."""
    z, t = ppl.sample("z", dist.Bernoulli(0.3)), ppl.param("t", 0.2)
    with ppl.plate("rows", 2):
        ppl.sample("x", dist.Normal(2 * z + t, 1), obs=np.array([1.4, 0.3]))


def exact_two(at, k, alpha):
    total = 0.0
    for z in itertools.product((0, 1), repeat=k):
        z = np.array(z)
        log_q = bernoulli(z, at["p"])
        log_w = bernoulli(z, 0.3) + normal(1.4, 2 * z + at["t"]) + normal(0.3, 2 * z + at["t"]) - log_q
        total += np.exp(log_q.sum()) * value(log_w, alpha)
    return total


COINS_AT = {"p": np.array([0.4, 0.7, 0.2, 0.5]), "shift": np.array([0.2, 0.0, -0.3, 0.1])}
CASES = {
    "a coin": (coin, coin_guide, exact_coin, {"p": 0.4, "t": 0.2}),
    "a minibatch, each with its bound": (coins, coins_guide, exact_coins, COINS_AT),
    "one bound for all rows": (two_coins, coin_guide, exact_two, {"p": 0.4, "t": 0.2}),
}
BOUNDS = [ppl.IWAE(1), ppl.IWAE(3), ppl.Renyi(0.5, 3), ppl.Renyi(-0.5, 2)]


def close(record, exact, draws=DRAWS):
    for name, g in exact.items():
        error = np.sqrt(record.variance[name] / draws)
        assert np.all(np.abs(record.grad[name] - g) < 4 * error + 1e-5 * (1 + np.abs(g))), name


@pytest.mark.parametrize("bound", BOUNDS, ids=str)
@pytest.mark.parametrize("label", CASES)
def test_scores_are_unbiased_for_bounds_of_several_samples(label, bound):
    model, guide, f, at = CASES[label]
    alpha = bound.alpha
    for name in ("vimco", "none", "auto"):
        record = ppl.gradient(model, guide=guide, params=at, estimators=name, particles=DRAWS // 2, bound=bound, seed=2)
        exact = f(at, bound.k, alpha)
        assert record.elbo == pytest.approx(exact, abs=0.04)
        close(record, slopes(lambda a: f(a, bound.k, alpha), at), DRAWS // 2)
    assert "VIMCO" not in record.estimators["z"][1].why and record.estimators["z"][0] == "vimco"


def line():
    z = ppl.sample("z", dist.Normal(0, ppl.param("s", 1.2, constraints.positive)))
    ppl.sample("x", dist.Normal(np.sin(z) + z, 1), obs=1.0)


def line_guide():
    ppl.sample("z", dist.Normal(ppl.param("loc", 0.3), ppl.param("scale", 0.7, constraints.positive)))


LINE_AT = {"s": 1.2, "loc": 0.3, "scale": 0.7}


def exact_line(at, alpha):
    """Two samples: quadrature over both."""
    e, w = np.polynomial.hermite_e.hermegauss(120)
    w = w / w.sum()
    z = at["loc"] + at["scale"] * e
    log_w = normal(z, 0, at["s"]) + normal(1.0, np.sin(z) + z) - normal(z, at["loc"], at["scale"])
    both = np.stack(np.broadcast_arrays(log_w[:, None], log_w[None]))
    return np.sum(w[:, None] * w * value(both, alpha))


@pytest.mark.parametrize("alpha", [0.0, 0.5])
def test_paths_are_unbiased_for_bounds_of_several_samples(alpha):
    bound = ppl.Renyi(alpha, 2) if alpha else ppl.IWAE(2)
    exact = slopes(lambda a: exact_line(a, alpha), LINE_AT)
    for name in ("pathwise", "dreg", "score"):
        record = ppl.gradient(line, guide=line_guide, params=LINE_AT, estimators=name, particles=DRAWS, bound=bound)
        assert record.elbo == pytest.approx(exact_line(LINE_AT, alpha), abs=0.02)
        close(record, exact)


def test_the_check_sees_the_wrong_share(monkeypatch):
    """DReG with the plain share in the place of its square is caught."""
    from ppl.elbo import multisample

    plain = multisample.MultipleObjective.combine

    def wrong(self, signals, particles, states=()):
        slots, kept = plain(self, signals, particles, states)
        return [slots[0], slots[0]], kept

    monkeypatch.setattr(multisample.MultipleObjective, "combine", wrong)
    record = ppl.gradient(line, guide=line_guide, params=LINE_AT, estimators="dreg", particles=DRAWS, bound=ppl.IWAE(2))
    exact = slopes(lambda a: exact_line(a, 0.0), LINE_AT)
    assert abs(record.grad["loc"] - exact["loc"]) > 10 * np.sqrt(record.variance["loc"] / DRAWS)


def test_signal_to_noise():
    """Of the plain gradient it falls as k grows, of the doubly reparameterized one it rises (Rainforth et al. 2018)."""

    def model():
        with ppl.plate("rows", 5):
            z = ppl.sample("z", dist.Normal(0, 1))
            ppl.sample("x", dist.Normal(z, 1), obs=np.array([0.5, -1.0, 2.0, 0.1, 1.0]))

    at = {"z.loc": np.array([0.3, -0.4, 0.9, 0.1, 0.6]), "z.scale": np.full(5, 0.75)}
    ratios = {}
    for name in ("pathwise", "dreg"):
        for k in (1, 8, 64):
            r = ppl.gradient(
                model, guide="meanfield", params=at, estimators=name, particles=20_000, bound=ppl.IWAE(k), seed=3
            )
            ratios[name, k] = float(np.mean(np.abs(r.grad["z.loc"]) / np.sqrt(r.variance["z.loc"])))
    assert ratios["pathwise", 1] > 1.5 * ratios["pathwise", 8] > 2.0 * ratios["pathwise", 64]
    assert ratios["dreg", 64] > 1.5 * ratios["dreg", 8] > 1.5 * ratios["dreg", 1]


def test_the_bound_rises_with_k_to_the_evidence():
    evidence = float(np.log(0.7 * np.exp(normal(1.4, 0.2)) + 0.3 * np.exp(normal(1.4, 2.2))))
    at = {"p": 0.4, "t": 0.2}
    bounds = [exact_coin(at, k, 0.0) for k in (1, 2, 4, 8)]
    assert bounds == sorted(bounds) and bounds[-1] < evidence
    many = ppl.gradient(coin, guide=coin_guide, params=at, particles=20_000, bound=ppl.IWAE(200)).elbo
    assert bounds[-1] < many and many == pytest.approx(evidence, abs=2e-3)


@pytest.mark.parametrize("alpha", [0.0, 0.6, -1.0])
def test_the_bound_without_a_sample(alpha):
    """Against the formula, one sample after the other; also where one weight is all there is."""
    rng = np.random.default_rng(0)
    for scale in (1.0, 30.0, 300.0):
        x = scale * rng.standard_normal((3, 6, 2))
        found = (ppl.Renyi(alpha, 6) if alpha else ppl.IWAE(6)).without(x)
        for k in range(6):
            changed = x.copy()
            changed[:, k] = np.delete(x, k, axis=1).mean(1)
            np.testing.assert_allclose(found[:, k], value(changed, alpha, 1), rtol=1e-10)


def test_renyi_of_order_near_one_is_the_elbo():
    at = {"p": 0.4, "t": 0.2}
    near = ppl.gradient(coin, guide=coin_guide, params=at, particles=20_000, bound=ppl.Renyi(0.9999, 4), seed=1)
    elbo = ppl.gradient(coin, guide=coin_guide, params=at, particles=80_000)
    assert near.elbo == pytest.approx(elbo.elbo, abs=0.02)


def test_minibatches_of_what_shares_a_latent_are_refused():
    def model():
        mu = ppl.sample("mu", dist.Normal(0, 1))
        with ppl.plate("rows", 4, subsample_size=2):
            ppl.sample("z", dist.Normal(mu, 1))

    with pytest.raises(ppl.GuideError, match="minibatch of plate 'rows'"):
        ppl.gradient(model, guide="meanfield", bound=ppl.IWAE(3))


def test_wrong_bounds_are_refused():
    for make in (lambda: ppl.IWAE(0), lambda: ppl.IWAE(2.5), lambda: ppl.Renyi(1.0), lambda: ppl.Renyi(0.5, k=0)):
        with pytest.raises(ppl.ModelError):
            make()
    with pytest.raises(ppl.ModelError, match="a bound"):
        ppl.gradient(coin, guide=coin_guide, bound="iwae")
    with pytest.raises(ppl.GuideError, match="several samples"):
        ppl.gradient(coin, guide=coin_guide, bound=ppl.IWAE(2), estimators="disarm")
    with pytest.raises(ppl.GuideError, match="all draws pathwise"):
        ppl.gradient(mixed, guide="meanfield", bound=ppl.IWAE(2), estimators={"z": "dreg"})


def mixed(y=1.3):
    z = ppl.sample("z", dist.Normal(0, 1))
    b = ppl.sample("b", dist.Bernoulli(0.4), estimator="score")
    ppl.sample("y", dist.Normal(z + 2 * b, 1), obs=y)


def test_fits_by_other_bounds():
    """With many samples a guide that cannot fit covers the posterior more; `fit.elbo` stays the ELBO."""
    y = np.array([2.0, 1.5])

    def model(y):
        a = ppl.sample("a", dist.Normal(0, 1))
        b = ppl.sample("b", dist.Normal(0, 1))
        with ppl.plate("rows", len(y)):
            ppl.sample("y", dist.Normal(a + b, 0.3), obs=y)

    fits = {
        k: ppl.infer(model, y, guide="meanfield", algorithm=ppl.BBVI(bound=b, steps=4000), progress=False)
        for k, b in {1: ppl.ELBO(), 20: ppl.IWAE(20)}.items()
    }
    assert fits[20].params["a.scale"] > 1.5 * fits[1].params["a.scale"]
    assert fits[20].elbo < fits[1].elbo + 0.02
    assert "climbed IWAE(k=20)" in fits[20].explain()
    more = fits[20].resume(steps=50, progress=False)
    assert len(more.history) == len(fits[20].history) + 50


# -- weights on terms ---------------------------------------------------------------------------------
def weighted_bound(at, weights):
    """The bound of `mixed` with weights on the sites' KL."""
    kl_z = 0.5 * (at["z.scale"] ** 2 + at["z.loc"] ** 2 - 1) - np.log(at["z.scale"])
    p = at["b.probs"]
    kl_b = p * np.log(p / 0.4) + (1 - p) * np.log((1 - p) / 0.6)
    means = np.array([at["z.loc"], at["z.loc"] + 2])
    data = np.array([1 - p, p]) @ (normal(1.3, means) - 0.5 * at["z.scale"] ** 2)
    return data - weights.get("z", 1.0) * kl_z - weights.get("b", 1.0) * kl_b


MIXED_AT = {"z.loc": 0.4, "z.scale": 0.6, "b.probs": 0.3}


@pytest.mark.parametrize("estimators", [None, "vargrad", "coefficient"])
def test_weighted_terms(estimators):
    weights = {"z": 0.3, "b": 2.5}
    p = problem(mixed, (), {})
    wanted = {"b": estimators} if estimators else {}
    d = derive(p, "meanfield", starts=MIXED_AT, estimators=wanted)
    objective = objective_of(d, None, wanted, weights)

    from ppl.algorithms import noise
    from ppl.array import compile_program

    run = compile_program(objective.gradient(4))
    rng = noise.generator(0, 0, noise.Stream.STEPS)
    eps = noise.draw(rng, d.factors, 4000, 4, objective.independent)
    found = []
    for i in range(4000):
        rest = d.other_inputs({}, {n: e[i] for n, e in eps.items()})
        found.append(run(*map(np.asarray, MIXED_AT.values()), *rest, *weights.values())[2:])
    found = np.array(found, dtype=float)
    assert list(d.parameter_inputs) == list(MIXED_AT)
    exact = [float(g) for g in slopes(lambda a: weighted_bound(a, weights), MIXED_AT).values()]
    error = found.std(0) / len(found) ** 0.5
    assert np.all(np.abs(found.mean(0) - exact) < 4 * error + 1e-4)
    plain = [float(g) for g in slopes(lambda a: weighted_bound(a, {}), MIXED_AT).values()]
    assert np.any(np.abs(found.mean(0) - plain) > 10 * error + 1e-3)


def test_a_record_of_a_weighted_objective_has_weights_of_one():
    p = problem(mixed, (), {})
    d = derive(p, "meanfield", starts=MIXED_AT)
    found = measured(objective_of(d, None, None, {"z": 0.3}), 20_000, 0)
    plain = measured(Objective(d, choose(d)), 20_000, 0)
    assert found.elbo == pytest.approx(plain.elbo) and found.grad["z.loc"] == pytest.approx(plain.grad["z.loc"])


def test_annealed_and_free():
    """A weight that rises to one ends where the plain fit does; free bits leave the KL where it costs nothing."""
    fits = {
        name: ppl.infer(mixed, guide="meanfield", algorithm=ppl.BBVI(weights=w, steps=4000), progress=False)
        for name, w in {
            "plain": None,
            "annealed": {"z": lambda step: min(1.0, step / 300)},
            "heavy": {"z": 8.0},
            "free": {"z": ppl.FreeBits(5.0)},
        }.items()
    }
    sd = {n: float(f.params["z.scale"]) for n, f in fits.items()}
    assert sd["annealed"] == pytest.approx(sd["plain"], rel=0.1)
    assert abs(float(fits["heavy"].params["z.loc"])) < 0.5 * abs(float(fits["plain"].params["z.loc"]))
    assert fits["plain"].elbo > fits["heavy"].elbo
    loc, scale = float(fits["free"].params["z.loc"]), sd["free"]
    kl = 0.5 * (scale**2 + loc**2 - 1) - np.log(scale)
    assert kl > 2.0 > 0.5 * (sd["plain"] ** 2 + float(fits["plain"].params["z.loc"]) ** 2 - 1) - np.log(sd["plain"])


FREE = 1.0


def switched():
    """The KL of z depends on b, which enters by its score: it is above the free nats for b = 1 only."""
    b = ppl.sample("b", dist.Bernoulli(0.4))
    with ppl.plate("rows", 2):
        z = ppl.sample("z", dist.Normal(2.0 * b, 1))
        ppl.sample("y", dist.Normal(z, 1), obs=np.array([1.0, 0.5]))


def switched_guide():
    ppl.sample("b", dist.Bernoulli(ppl.param("p", 0.5, constraints.unit_interval)))
    with ppl.plate("rows", 2):
        ppl.sample("z", dist.Normal(ppl.param("m", 0.3), ppl.param("s", 0.8, constraints.positive)))


def switched_bound(at):
    p, m, s = at["p"], at["m"], at["s"]
    found = -p * np.log(p / 0.4) - (1 - p) * np.log((1 - p) / 0.6) + normal(1.0, m) + normal(0.5, m) - s**2
    for q, loc in ((1 - p, 0.0), (p, 2.0)):
        kl = 2 * (-np.log(s) + 0.5 * (s**2 + (m - loc) ** 2 - 1))
        found -= q * max(kl, FREE)
    return found


@pytest.mark.parametrize("names", [None, {"b": "disarm"}, {"b": "relax"}, {"b": "rebar"}, {"b": "score", "z": "score"}])
def test_free_bits_are_a_bound_of_their_own(names):
    """max(KL, nats), whoever estimates the gradient through it."""
    at = {"p": 0.5, "m": 0.3, "s": 0.8}
    p = problem(switched, (), {})
    d = derive(p, switched_guide, starts=at, estimators=names, sampled={"b"})
    record = measured(objective_of(d, None, names, {"z": ppl.FreeBits(FREE)}), 20_000, 0)
    for n, exact in slopes(switched_bound, at).items():
        error = np.sqrt(record.variance[n] / 20_000)
        assert abs(record.grad[n] - exact) < 4 * error + 1e-4, n
    # Control: as a weight of 0 or 1 the step of the KL at its nats would be missed.
    assert abs(record.grad["p"] - (slopes(switched_bound, at)["p"] - FREE)) > 0.5


def test_wrong_bounds_and_free_bits_are_refused():
    for make in (lambda: ppl.FreeBits(-1.0), lambda: ppl.FreeBits("a"), lambda: ppl.Renyi("a")):
        with pytest.raises(ppl.ModelError, match="expected a"):
            make()


def test_wrong_weights_are_refused():
    for weights, word in (({"zz": 0.5}, "zz"), ({"z": -1.0}, "at least 0"), ({"z": "half"}, "number")):
        with pytest.raises(ppl.ModelError, match=word):
            ppl.infer(mixed, guide="meanfield", algorithm=ppl.BBVI(weights=weights, steps=50), progress=False)
    with pytest.raises(ppl.GuideError, match="several samples"):
        ppl.infer(mixed, guide="meanfield", algorithm=ppl.BBVI(weights={"z": 0.5}, bound=ppl.IWAE(2)), progress=False)


# -- the pilot ----------------------------------------------------------------------------------------
def switches(y):
    with ppl.plate("rows", len(y)):
        b = ppl.sample("b", dist.Bernoulli(0.3))
        ppl.sample("y", dist.Normal(3 * b, 1), obs=y)


def switches_guide(y):
    with ppl.plate("rows", len(y)):
        ppl.sample("b", dist.Bernoulli(ppl.param("p", np.full(len(y), 0.5), constraints.unit_interval)))


Y = np.array([0.1, 2.9, 3.3, -0.4, 1.6])


def test_the_pilot_chooses_and_keeps_its_figures(tmp_path):
    algorithm = ppl.BBVI(steps=60)
    fit, again = (ppl.infer(switches, Y, guide=switches_guide, algorithm=algorithm, progress=False) for _ in range(2))
    choice = fit.solution.plan.choice_of("b")
    assert choice == again.solution.plan.choice_of("b") and choice.member in ("disarm", "decaying-average")
    text = fit.explain()
    assert f"{choice.member}, " in text and "variance x cost: leave-one-out 1" in text
    np.testing.assert_array_equal(fit.params["p"], again.params["p"])
    whole = ppl.infer(switches, Y, guide=switches_guide, algorithm=ppl.BBVI(steps=150), progress=False)
    fit.save(tmp_path / "fit.npz")
    loaded = ppl.load(tmp_path / "fit.npz", switches, guide=switches_guide)
    assert loaded.solution.plan.choice_of("b") == choice
    for more in (fit, loaded):
        np.testing.assert_array_equal(more.resume(steps=90, progress=False).params["p"], whole.params["p"])


def test_who_asks_gets_no_pilot():
    def model(y):
        with ppl.plate("rows", len(y)):
            b = ppl.sample("b", dist.Bernoulli(0.3), estimator="leave-one-out")
            ppl.sample("y", dist.Normal(3 * b, 1), obs=y)

    fit = ppl.infer(model, Y, guide="meanfield", algorithm=ppl.BBVI(steps=60), progress=False)
    assert fit.solution.plan.choice_of("b").member == "leave-one-out" and "pilot" not in fit.explain()


@pytest.mark.parametrize("name", ["nvil", "decaying-average", "relax", "rebar", "coefficient", "vargrad", "disarm"])
def test_every_control_variate_fits(name, tmp_path):
    """The exact posterior of independent switches; and a run with states goes on to the bit."""

    def model(y):
        with ppl.plate("rows", len(y)):
            b = ppl.sample("b", dist.Bernoulli(0.3), estimator=name)
            ppl.sample("y", dist.Normal(3 * b, 1), obs=y)

    odds = np.log(0.3 / 0.7) + normal(Y, 3) - normal(Y, 0)
    fit = ppl.infer(model, Y, guide="meanfield", algorithm=ppl.BBVI(steps=3000), progress=False)
    np.testing.assert_allclose(fit.params["b.probs"], 1 / (1 + np.exp(-odds)), atol=0.03)
    path = tmp_path / "run.npz"
    short = ppl.infer(model, Y, guide="meanfield", algorithm=ppl.BBVI(steps=70), progress=False)
    short.save(path)
    whole = ppl.infer(model, Y, guide="meanfield", algorithm=ppl.BBVI(steps=100), progress=False)
    gone_on = ppl.load(path, model).resume(steps=30, progress=False)
    np.testing.assert_array_equal(gone_on.params["b.probs"], whole.params["b.probs"])


def test_a_relaxed_fit_warns_and_is_judged_by_the_model_itself():
    def model(y):
        with ppl.plate("rows", len(y)):
            b = ppl.sample("b", dist.Bernoulli(0.3), estimator="concrete")
            ppl.sample("y", dist.Normal(3 * b, 1), obs=y)

    fit = ppl.infer(model, Y, guide="meanfield", algorithm=ppl.BBVI(steps=500), progress=False)
    assert any("biased" in w for w in fit.verdict.warnings) and fit.verdict.word != "trusted"
    assert set(np.unique(fit.sample(200)["b"])) <= {0, 1}
    p = fit.params["b.probs"]
    kl = np.sum(p * np.log(p / 0.3) + (1 - p) * np.log((1 - p) / 0.7))
    data = np.sum(p * normal(Y, 3) + (1 - p) * normal(Y, 0))
    assert fit.elbo == pytest.approx(data - kl, abs=0.2)
