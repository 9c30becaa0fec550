"""Chains as one block: hidden Markov models and linear dynamical systems, against updates written by hand.

The variational updates of a hidden Markov model are those of Beal (2003, section 3), those of the state space
model are conditional normals solved densely; both also agree with hmmlearn 0.3.3 (VariationalGaussianHMM,
VariationalCategoricalHMM, GaussianHMM) to the 1e-7 at which its own iterations end.
"""

from functools import cache

import numpy as np
import pytest
from scipy import special

import ppl
import ppl.distributions as dist

K, T = 3, 40
SHARP = np.array([[0.9, 0.08, 0.02], [0.1, 0.85, 0.05], [0.05, 0.15, 0.8]])


def states(steps, seed=0):
    rng = np.random.default_rng(seed)
    z = [int(rng.integers(K))]
    for _ in range(steps - 1):
        z.append(int(rng.choice(K, p=SHARP[z[-1]])))
    return np.array(z)


Z = states(T)
Y = np.array([-3.0, 0.0, 4.0])[Z] + np.random.default_rng(1).normal(size=T)
EMIT = np.array([[0.7, 0.2, 0.05, 0.05], [0.1, 0.6, 0.2, 0.1], [0.05, 0.15, 0.2, 0.6]])
WORDS = np.array([np.random.default_rng(t).choice(4, p=EMIT[k]) for t, k in enumerate(Z)])
COUNTS = np.random.default_rng(2).poisson(np.array([1.0, 5.0, 12.0])[Z])


def fit_of(model, *args, **settings):
    return ppl.infer(model, *args, algorithm=ppl.CAVI(**{"tolerance": 1e-14, **settings}), progress=False)


# -- hidden Markov models ----------------------------------------------------------------------------------
def rows():
    start = ppl.sample("start", dist.Dirichlet(np.full(K, 0.7)))
    with ppl.plate("states", K):
        row = ppl.sample("row", dist.Dirichlet(np.full(K, 0.6)))
    return start, row


def gaussian(z, name, y, given):
    mu, tau = given
    ppl.sample(name, dist.Normal(mu[z], tau[z] ** -0.5), obs=y)


def gaussian_given():
    with ppl.plate("kinds", K):
        return ppl.sample("mu", dist.Normal(0.0, 5.0)), ppl.sample("tau", dist.Gamma(2.0, 1.0))


def categorical(z, name, y, word):
    ppl.sample(name, dist.Categorical(word[z]), obs=y)


def categorical_given():
    with ppl.plate("kinds", K):
        return ppl.sample("word", dist.Dirichlet(np.full(4, 0.8)))


def poisson(z, name, y, rate):
    ppl.sample(name, dist.Poisson(rate[z]), obs=y)


def poisson_given():
    with ppl.plate("kinds", K):
        return ppl.sample("rate", dist.Gamma(1.5, 0.5))


EMISSIONS = {
    "normal": (gaussian_given, gaussian, Y),
    "categorical": (categorical_given, categorical, WORDS),
    "poisson": (poisson_given, poisson, COUNTS),
}


def in_a_scan(y, kind):
    given, emit, _ = EMISSIONS[kind]
    (start, row), given = rows(), given()
    first = ppl.sample("first", dist.Categorical(start))
    emit(first, "y_first", y[0], given)

    def step(z, y_t):
        z = ppl.sample("z", dist.Categorical(row[z]))
        emit(z, "y", y_t, given)
        return z, None

    ppl.scan(step, first, y[1:])


def in_a_loop(y, kind):
    given, emit, _ = EMISSIONS[kind]
    (start, row), given = rows(), given()
    z = None
    for t in range(len(y)):
        z = ppl.sample(f"z_{t}", dist.Categorical(start if t == 0 else row[z]))
        emit(z, f"y_{t}", y[t], given)


class ByHand:
    """Variational Bayes of a hidden Markov model, with a Python loop for the messages: Beal (2003), section 3.4."""

    def __init__(self, y, kind, starts):
        self.y, self.kind = y, kind
        self.gamma, self.counts = starts, np.full((K, K), (len(y) - 1) / K**2)
        self.tau = np.full(K, 2.0)  # E[tau] under the prior, before it is updated

    def of_parameters(self):
        """q of everything but the states; expected log likelihood of each y under each state."""
        g = self.gamma
        self.start, self.row = 0.7 + g[0], 0.6 + self.counts
        if self.kind == "categorical":
            self.word = 0.8 + np.stack([g[self.y == w].sum(0) for w in range(4)], 1)
            log = special.digamma(self.word) - special.digamma(self.word.sum(1, keepdims=True))
            return log[:, self.y].T
        if self.kind == "poisson":
            self.a, self.b = 1.5 + self.y @ g, 0.5 + g.sum(0)
            log, mean = special.digamma(self.a) - np.log(self.b), self.a / self.b
            return self.y[:, None] * log - mean - special.gammaln(self.y + 1.0)[:, None]
        precision = 1 / 25 + self.tau * g.sum(0)
        self.mean, self.var = self.tau * (self.y @ g) / precision, 1 / precision
        squares = (self.y[:, None] - self.mean) ** 2 + self.var
        self.a, self.b = 2.0 + 0.5 * g.sum(0), 1.0 + 0.5 * np.sum(g * squares, 0)
        self.tau = self.a / self.b
        return 0.5 * (special.digamma(self.a) - np.log(self.b) - np.log(2 * np.pi) - self.tau * squares)

    def sweep(self):
        emit = self.of_parameters()
        mean = lambda c: special.digamma(c) - special.digamma(c.sum(-1, keepdims=True))
        start, row = mean(self.start), mean(self.row)
        steps = len(emit)
        a, b = np.zeros((steps, K)), np.zeros((steps, K))
        a[0] = start + emit[0]
        for t in range(1, steps):
            a[t] = np.logaddexp.reduce(a[t - 1][:, None] + row, 0) + emit[t]
        for t in range(steps - 2, -1, -1):
            b[t] = np.logaddexp.reduce(row + (emit[t + 1] + b[t + 1]), 1)
        log_z = np.logaddexp.reduce(a[-1])
        self.gamma = np.exp(a + b - log_z)
        self.counts = sum(np.exp(a[t - 1][:, None] + row + emit[t] + b[t] - log_z) for t in range(1, steps))
        self.bound = log_z - self.divergence()

    def divergence(self):
        """KL of everything but the states from its prior: the rest of the bound is log Z (Beal 2003, equation 3.49)."""

        def dirichlet(q, p):
            out = special.gammaln(q.sum(-1)) - special.gammaln(p * q.shape[-1])
            out = out - np.sum(special.gammaln(q) - special.gammaln(p), -1)
            return np.sum(out + np.sum((q - p) * (special.digamma(q) - special.digamma(q.sum(-1, keepdims=True))), -1))

        def gamma(a, b, c, d):
            kl = (a - c) * special.digamma(a) - special.gammaln(a) + special.gammaln(c) + c * np.log(b / d)
            return np.sum(kl + a * (d - b) / b)

        out = dirichlet(self.start, 0.7) + dirichlet(self.row, 0.6)
        if self.kind == "categorical":
            return out + dirichlet(self.word, 0.8)
        if self.kind == "poisson":
            return out + gamma(self.a, self.b, 1.5, 0.5)
        normal = 0.5 * np.sum((self.var + self.mean**2) / 25 - 1 - np.log(self.var / 25))
        return out + gamma(self.a, self.b, 2.0, 1.0) + normal


STARTS = np.eye(K)[Z] * 0.8 + 0.2 / K


@cache
def by_hand(kind):
    done = ByHand(EMISSIONS[kind][2], kind, STARTS)
    for _ in range(1500):
        done.sweep()
    return done


def start_of(model):
    if model is in_a_scan:
        return {"first": STARTS[0], "z": STARTS[1:]}
    return {f"z_{t}": STARTS[t] for t in range(T)}


@pytest.mark.parametrize("kind", EMISSIONS)
@pytest.mark.parametrize("model", [in_a_scan, in_a_loop])
def test_a_hidden_markov_model_is_that_of_updates_by_hand(model, kind):
    hand = by_hand(kind)
    fit = fit_of(model, EMISSIONS[kind][2], kind, init=start_of(model), steps=1500, tolerance=0.0)
    q = fit.params
    np.testing.assert_allclose(fit.elbo, hand.bound, rtol=1e-10)
    np.testing.assert_allclose(q["start.concentration"], hand.start, rtol=1e-6)
    np.testing.assert_allclose(q["row.concentration"], hand.row, rtol=1e-6)
    if kind == "categorical":
        np.testing.assert_allclose(q["word.concentration"], hand.word, rtol=1e-6)
    elif kind == "poisson":
        np.testing.assert_allclose([q["rate.concentration"], q["rate.rate"]], [hand.a, hand.b], rtol=1e-6)
    else:
        np.testing.assert_allclose([q["mu.loc"], q["mu.scale"] ** 2], [hand.mean, hand.var], rtol=1e-6)
        np.testing.assert_allclose([q["tau.concentration"], q["tau.rate"]], [hand.a, hand.b], rtol=1e-6)
    assert np.all(np.diff(fit.history) >= -1e-10 * abs(fit.elbo))
    assert "one block by forward-backward" in fit.explain()


def marginals_of(fit):
    """q(z) of every step, by the guide itself: weights are left aside."""
    family = fit.guide.chains[0]
    q = fit.params[f"{family.name}.initial"]
    out = [q]
    for moves in fit.params[f"{family.name}.transitions"]:
        out.append(out[-1] @ moves)
    return np.stack(out)


def test_the_guide_keeps_the_dependence():
    fit = fit_of(in_a_scan, Y, "normal", init=start_of(in_a_scan), steps=1500, tolerance=0.0)
    hand = by_hand("normal")
    np.testing.assert_allclose(marginals_of(fit), hand.gamma, atol=1e-8)
    draws = fit.sample(4000)
    z = np.concatenate([draws["first"][:, None], draws["z"]], 1)
    pairs = np.mean([np.eye(K)[z[:, t]][:, :, None] * np.eye(K)[z[:, t + 1]][:, None] for t in range(T - 1)], (0, 1))
    # 4000 draws of averages over 39 pairs, correlated over some 10 steps: standard errors below 0.004.
    np.testing.assert_allclose(pairs, hand.counts / (T - 1), atol=0.02)
    assert fit["z"].probs.shape == (T - 1, K)


def test_several_starts_are_compared_and_the_answer_does_not_depend_on_the_form():
    one, other = (fit_of(m, Y, "normal", tolerance=1e-10) for m in (in_a_scan, in_a_loop))
    np.testing.assert_allclose(one.elbo, other.elbo, rtol=1e-8)
    assert one.elbo > by_hand("normal").bound - 1e-6


def sequences(y, batch=None):
    start, row = rows()
    mu, tau = gaussian_given()
    with ppl.plate("sequences", len(y), subsample_size=batch) as i:
        y = y[i]
        first = ppl.sample("first", dist.Categorical(start))
        ppl.sample("y_first", dist.Normal(mu[first], tau[first] ** -0.5), obs=y[:, 0])

        def step(z, y_t):
            z = ppl.sample("z", dist.Categorical(row[z]))
            ppl.sample("y", dist.Normal(mu[z], tau[z] ** -0.5), obs=y_t)
            return z, None

        ppl.scan(step, first, y[:, 1:].T)


def one_by_one(y):
    """The same without a plate: a chain for every sequence."""
    start, row = rows()
    mu, tau = gaussian_given()
    for n in range(len(y)):
        z = None
        for t in range(y.shape[1]):
            z = ppl.sample(f"z_{n}_{t}", dist.Categorical(start if t == 0 else row[z]))
            ppl.sample(f"y_{n}_{t}", dist.Normal(mu[z], tau[z] ** -0.5), obs=y[n, t])


def many(count, steps=12):
    rng = np.random.default_rng(5)
    z = np.stack([states(steps, 10 + n) for n in range(count)])
    return z, np.array([-3.0, 0.0, 4.0])[z] + rng.normal(size=z.shape)


def test_sequences_in_a_plate_are_those_written_one_by_one():
    z, y = many(3)
    soft = np.eye(K)[z] * 0.8 + 0.2 / K
    plate = fit_of(sequences, y, init={"first": soft[:, 0], "z": np.moveaxis(soft[:, 1:], 1, 0)})
    apart = {f"z_{n}_{t}": soft[n, t] for n in range(3) for t in range(12)}
    alone = fit_of(one_by_one, y, init=apart)
    np.testing.assert_allclose(plate.elbo, alone.elbo, rtol=1e-9)
    for name in ("row.concentration", "mu.loc", "tau.rate"):
        np.testing.assert_allclose(plate.params[name], alone.params[name], rtol=1e-6)


def test_svi_on_all_sequences_is_cavi_and_on_minibatches_comes_close():
    _, y = many(96)
    cavi = fit_of(sequences, y, tolerance=0.0, steps=30, restarts=1)
    svi = ppl.infer(sequences, y, algorithm=ppl.SVI(steps=30, kappa=0.0, restarts=1), progress=False)
    np.testing.assert_allclose(svi.elbo, cavi.elbo, rtol=1e-10)
    best = fit_of(sequences, y)
    some = ppl.infer(sequences, y, 24, algorithm=ppl.SVI(steps=150), progress=False)
    assert best.elbo - 0.005 * abs(best.elbo) < some.elbo <= best.elbo + 1e-6
    np.testing.assert_allclose(np.sort(some.params["mu.loc"]), np.sort(best.params["mu.loc"]), atol=0.1)
    assert some.params["first.transitions"].shape == (96, 11, K, K)


def walks(y):
    q, r = ppl.sample("q", dist.Gamma(2.0, 1.0)), ppl.sample("r", dist.Gamma(2.0, 1.0))
    with ppl.plate("sequences", len(y)):

        def step(x, y_t):
            x = ppl.sample("x", dist.Normal(x, q**-0.5))
            ppl.sample("y", dist.Normal(x, r**-0.5), obs=y_t)
            return x, None

        ppl.scan(step, np.zeros(len(y)), y.T)


@pytest.mark.parametrize("model", [sequences, walks])
def test_chains_in_shards_are_those_at_once(model, monkeypatch):
    z, y = many(3)
    soft = np.eye(K)[z] * 0.8 + 0.2 / K
    start = {"first": soft[:, 0], "z": np.moveaxis(soft[:, 1:], 1, 0)} if model is sequences else "auto"
    once = fit_of(model, y, init=start)
    monkeypatch.setattr("ppl.conjugacy.execution.FEWEST_ROWS", 2)
    monkeypatch.setattr("ppl.conjugacy.shards.SHARD", 2)
    apart = fit_of(model, y, init=start)
    np.testing.assert_allclose(apart.elbo, once.elbo, rtol=1e-10)
    for name in ("first.initial", "first.transitions") if model is sequences else ("x.loc", "x.scale_trils"):
        np.testing.assert_allclose(apart.params[name], once.params[name], atol=1e-5)


def baum_welch(y, start, row, mu, sd, sweeps):
    """Baum-Welch, a loop over time in plain probabilities (Rabiner 1989)."""
    logs = []
    for _ in range(sweeps):
        emit = np.exp(-0.5 * ((y[:, None] - mu) / sd) ** 2) / sd / np.sqrt(2 * np.pi)
        a, b, scale = np.zeros((len(y), K)), np.ones((len(y), K)), np.zeros(len(y))
        for t in range(len(y)):
            a[t] = (start if t == 0 else a[t - 1] @ row) * emit[t]
            scale[t] = a[t].sum()
            a[t] /= scale[t]
        for t in range(len(y) - 2, -1, -1):
            b[t] = row @ (emit[t + 1] * b[t + 1]) / scale[t + 1]
        gamma = a * b
        pairs = sum(np.outer(a[t - 1], emit[t] * b[t] / scale[t]) * row for t in range(1, len(y)))
        logs.append(np.log(scale).sum())
        start, row = gamma[0], pairs / pairs.sum(1, keepdims=True)
        mu = y @ gamma / gamma.sum(0)
        sd = np.sqrt(np.sum(gamma * (y[:, None] - mu) ** 2, 0) / gamma.sum(0))
    return logs, start, row, mu, sd


def test_em_is_baum_welch():
    begin = (np.full(K, 1 / K), np.full((K, K), 0.1) + 0.7 * np.eye(K), np.array([-2.0, 0.5, 3.0]), np.full(K, 2.0))

    def model(y):
        start = ppl.param("start", begin[0], constraint=dist.constraints.simplex)
        row = ppl.param("row", begin[1], constraint=dist.constraints.simplex)
        mu = ppl.param("mu", begin[2])
        sd = ppl.param("sd", begin[3], constraint=dist.constraints.positive)
        first = ppl.sample("first", dist.Categorical(start))
        ppl.sample("y_first", dist.Normal(mu[first], sd[first]), obs=y[0])

        def step(z, y_t):
            z = ppl.sample("z", dist.Categorical(row[z]))
            ppl.sample("y", dist.Normal(mu[z], sd[z]), obs=y_t)
            return z, None

        ppl.scan(step, first, y[1:])

    for sweeps in (1, 60):
        logs, start, row, mu, sd = baum_welch(Y, *begin, sweeps)
        fit = ppl.infer(model, Y, algorithm=ppl.EM(steps=sweeps, tolerance=0.0, restarts=0), progress=False)
        np.testing.assert_allclose(fit.params["row"], row, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(fit.params["start"], start, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(fit.params["mu"], mu, rtol=1e-9)
        np.testing.assert_allclose(fit.params["sd"], sd, rtol=1e-9)
    # A sweep's bound is taken after the M-step; the E-step of the next one makes it the likelihood.
    assert logs[-1] - 1e-9 < fit.elbo
    np.testing.assert_allclose(fit.elbo, logs[-1], rtol=1e-6)


def test_a_chain_can_be_taken_apart():
    whole = fit_of(in_a_loop, WORDS, "categorical", init=start_of(in_a_loop))
    single = [(f"z_{t}",) for t in range(T)]
    apart = fit_of(in_a_loop, WORDS, "categorical", init=start_of(in_a_loop), blocks=single)
    assert not apart.guide.chains
    assert apart.elbo < whole.elbo - 0.1


def test_a_fit_with_a_chain_can_be_saved_and_loaded(tmp_path):
    fit = fit_of(in_a_scan, Y, "normal", init=start_of(in_a_scan))
    fit.save(tmp_path / "fit.npz")
    again = ppl.load(tmp_path / "fit.npz", in_a_scan)
    np.testing.assert_array_equal(again.sample(5)["z"], fit.sample(5)["z"])
    np.testing.assert_array_equal(again["z"].probs, fit["z"].probs)
    assert again.elbo == fit.elbo


def test_auto_finds_the_chain():
    fit = ppl.infer(in_a_scan, Y, "normal", progress=False)
    assert fit.guide.chains[0].sites == ("first", "z")
    assert "algorithm: CAVI" in fit.explain()
    assert fit.verdict.word == "trusted"


def test_what_is_no_chain_says_why():
    def tree(y, row):
        """One state with two that follow it."""
        p = ppl.sample("p", dist.Dirichlet(np.ones(2)))
        a = ppl.sample("a", dist.Categorical(p))
        b = ppl.sample("b", dist.Categorical(row[a]))
        c = ppl.sample("c", dist.Categorical(row[a]))
        ppl.sample("y", dist.Normal(2.0 * b - 1.0 + 3.0 * c, 1.0), obs=y)

    fit = fit_of(tree, 1.0, np.array([[0.9, 0.1], [0.2, 0.8]]))
    assert not fit.guide.chains
    assert "no structured block: a" in fit.explain()


# -- linear dynamical systems ---------------------------------------------------------------------------------
A = np.array([[0.9, 0.3], [-0.2, 0.8]])
Q = np.array([[0.3, 0.1], [0.1, 0.2]])
C = np.array([[1.0, 0.5], [0.0, 1.0], [0.3, -0.4]])
R = np.array([0.5, 0.4, 0.6])
SERIES = np.cumsum(np.random.default_rng(3).normal(size=(25, 3)), 0)


def system_in_a_scan(y):
    first = ppl.sample("first", dist.MultivariateNormal(np.ones(2), Q))
    ppl.sample("y_first", dist.Normal(C @ first, R).to_event(1), obs=y[0])

    def step(x, y_t):
        x = ppl.sample("x", dist.MultivariateNormal(A @ x, Q))
        ppl.sample("y", dist.Normal(C @ x, R).to_event(1), obs=y_t)
        return x, None

    ppl.scan(step, first, y[1:])


def system_in_a_loop(y):
    x = None
    for t in range(len(y)):
        x = ppl.sample(f"x_{t}", dist.MultivariateNormal(np.ones(2) if t == 0 else A @ x, Q))
        ppl.sample(f"y_{t}", dist.Normal(C @ x, R).to_event(1), obs=y[t])


def system_as_one_site(y):
    start = np.linalg.solve(A, np.ones(2))
    x = ppl.sample("x", dist.GaussianStateSpace(len(y), A, Q, initial_value=start))
    ppl.sample("y", dist.Normal(x @ C.T, R).to_event(2), obs=y)


def dense_system(y):
    """Posterior means and sds, and the evidence, of the joint normal."""
    steps, n = len(y), 2
    grow = np.eye(steps * n)
    for t in range(1, steps):
        grow[n * t : n * t + n, n * t - n : n * t] = -A
    inverse = np.linalg.inv(grow)
    prior = inverse @ np.kron(np.eye(steps), Q) @ inverse.T
    mean = inverse @ np.append(np.ones(2), np.zeros(n * (steps - 1)))
    emit = np.kron(np.eye(steps), C)
    whole = emit @ prior @ emit.T + np.kron(np.eye(steps), np.diag(R**2))
    gap = y.ravel() - emit @ mean
    gain = prior @ emit.T @ np.linalg.inv(whole)
    evidence = -0.5 * (gap @ np.linalg.solve(whole, gap) + np.linalg.slogdet(2 * np.pi * whole)[1])
    spread = prior - gain @ emit @ prior
    return (mean + gain @ gap).reshape(steps, n), np.sqrt(np.diag(spread)).reshape(steps, n), evidence


@pytest.mark.parametrize("model", [system_in_a_scan, system_in_a_loop, system_as_one_site])
def test_kalman_smoothing_is_the_joint_normal(model):
    mean, sd, evidence = dense_system(SERIES)
    fit = fit_of(model, SERIES)
    np.testing.assert_allclose(fit.elbo, evidence, rtol=1e-12)
    names = {system_in_a_scan: ["first", "x"], system_as_one_site: ["x"]}.get(model, [f"x_{t}" for t in range(25)])
    found = [np.concatenate([np.reshape(getattr(fit[n], k), (-1, 2)) for n in names]) for k in ("mean", "sd")]
    np.testing.assert_allclose(found[0], mean, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(found[1], sd, rtol=1e-10)
    assert fit.log_evidence(100).se < 1e-10  # every draw has the same weight: the guide is the posterior
    assert "one block by Kalman smoothing" in fit.explain()


def level_in_a_scan(y):
    q, r = ppl.sample("q", dist.Gamma(2.0, 1.0)), ppl.sample("r", dist.Gamma(2.0, 1.0))

    def step(x, y_t):
        x = ppl.sample("x", dist.Normal(x, q**-0.5))
        ppl.sample("y", dist.Normal(x, r**-0.5), obs=y_t)
        return x, None

    ppl.scan(step, 0.0, y)


def level_in_a_loop(y):
    q, r = ppl.sample("q", dist.Gamma(2.0, 1.0)), ppl.sample("r", dist.Gamma(2.0, 1.0))
    x = 0.0
    for t in range(len(y)):
        x = ppl.sample(f"x_{t}", dist.Normal(x, q**-0.5))
        ppl.sample(f"y_{t}", dist.Normal(x, r**-0.5), obs=y[t])


def trend(y):
    q, s, r = (ppl.sample(n, dist.Gamma(2.0, 1.0)) for n in "qsr")

    def step(carry, y_t):
        level, slope = carry
        level = ppl.sample("level", dist.Normal(level + slope, q**-0.5))
        slope = ppl.sample("slope", dist.Normal(slope, s**-0.5))
        ppl.sample("y", dist.Normal(level, r**-0.5), obs=y_t)
        return (level, slope), None

    ppl.scan(step, (0.0, 0.0), y)


def two_back_in_a_scan(y):
    q, r = ppl.sample("q", dist.Gamma(2.0, 1.0)), ppl.sample("r", dist.Gamma(2.0, 1.0))

    def step(carry, y_t):
        one, two = carry
        x = ppl.sample("x", dist.Normal(1.2 * one - 0.4 * two, q**-0.5))
        ppl.sample("y", dist.Normal(x, r**-0.5), obs=y_t)
        return (x, one), None

    ppl.scan(step, (0.0, 0.0), y)


def two_back_in_a_loop(y):
    q, r = ppl.sample("q", dist.Gamma(2.0, 1.0)), ppl.sample("r", dist.Gamma(2.0, 1.0))
    one = two = 0.0
    for t in range(len(y)):
        x = ppl.sample(f"x_{t}", dist.Normal(1.2 * one - 0.4 * two, q**-0.5))
        ppl.sample(f"y_{t}", dist.Normal(x, r**-0.5), obs=y[t])
        one, two = x, one


def random_walk(y):
    q, r = ppl.sample("q", dist.Gamma(2.0, 1.0)), ppl.sample("r", dist.Gamma(2.0, 1.0))
    x = ppl.sample("x", dist.GaussianRandomWalk(q**-0.5, len(y)))
    ppl.sample("y", dist.Normal(x, r**-0.5).to_event(1), obs=y)


def moves(kind, n):
    """Rows that take the variables to what is normal with precision q (and s)."""
    if kind == "level":
        return [np.eye(n) - np.eye(n, k=-1)]
    if kind == "two back":
        return [np.eye(n) - 1.2 * np.eye(n, k=-1) + 0.4 * np.eye(n, k=-2)]
    level, zero = np.eye(n) - np.eye(n, k=-1), np.zeros((n, n))
    return [np.hstack([level, -np.eye(n, k=-1)]), np.hstack([zero, level])]


def variational(y, kind, sweeps=3000):
    """Coordinate ascent by hand: a dense normal, and a gamma for each precision."""
    n, parts = len(y), moves(kind, len(y))
    seen = np.hstack([np.eye(n), *[np.zeros((n, n))] * (len(parts) - 1)])
    rates = np.full(len(parts) + 1, 0.5)
    a = 2.0 + 0.5 * n
    for _ in range(sweeps):
        *q, r = a / rates
        precision = r * seen.T @ seen + sum(k * m.T @ m for k, m in zip(q, parts, strict=True))
        covariance = np.linalg.inv(precision)
        mean = r * covariance @ seen.T @ y
        second = covariance + np.outer(mean, mean)
        rates = np.array(
            [1.0 + 0.5 * np.trace(m @ second @ m.T) for m in parts]
            + [1.0 + 0.5 * (np.sum((y - seen @ mean) ** 2) + np.trace(seen @ covariance @ seen.T))]
        )
    return mean, rates


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        (level_in_a_scan, "level"),
        (level_in_a_loop, "level"),
        (random_walk, "level"),
        (trend, "trend"),
        (two_back_in_a_scan, "two back"),
        (two_back_in_a_loop, "two back"),
    ],
)
def test_unknown_precisions_are_those_of_updates_by_hand(model, kind):
    y = SERIES[:, 0]
    mean, rates = variational(y, kind)
    fit = fit_of(model, y, tolerance=0.0, steps=1500)
    q = fit.params
    names = [n for n in ("q", "s", "r") if f"{n}.rate" in q]
    np.testing.assert_allclose([q[f"{n}.rate"] for n in names], rates, rtol=1e-6)
    order = q[f"{fit.guide.chains[0].name}.loc"]
    if kind == "trend":  # both variables of every step side by side
        order = np.concatenate([order[0::2], order[1::2]])
    np.testing.assert_allclose(order, mean, rtol=1e-6, atol=1e-8)
    assert np.all(np.diff(fit.history) >= -1e-10 * abs(fit.elbo))
    assert "one block by Kalman smoothing" in fit.explain()


def test_unknown_matrices_are_blocks_of_their_own():
    """x_t ~ Normal(a x_(t-1), 1), y ~ Normal(c x, r): the chain given E[a], E[a a'], and the regressions given it."""

    def model(y):
        with ppl.plate("rows of a", 2):
            a = ppl.sample("a", dist.Normal(0.0, 1.0).expand([2]).to_event(1))
        with ppl.plate("rows of c", 3):
            c = ppl.sample("c", dist.Normal(0.0, 1.0).expand([2]).to_event(1))
            r = ppl.sample("r", dist.Gamma(2.0, 1.0))

        def step(x, y_t):
            x = ppl.sample("x", dist.Normal(a @ x, 1.0).to_event(1))
            ppl.sample("y", dist.Normal(c @ x, r**-0.5).to_event(1), obs=y_t)
            return x, None

        ppl.scan(step, np.zeros(2), y)

    fit = fit_of(model, SERIES, tolerance=0.0, steps=200)
    assert fit.guide.chains[0].sites == ("x",)
    assert np.all(np.diff(fit.history) >= -1e-9 * abs(fit.elbo))
    # At the end every block is what the others say: the rows of a are regressions on the chain's moments.
    q, n = fit.params, len(SERIES)
    loc = q["x.loc"].reshape(n, 2)
    cov = [q["x.scale_trils"][0] @ q["x.scale_trils"][0].T]
    cross = []
    for gain, tril in zip(q["x.gains"][1:], q["x.scale_trils"][1:], strict=True):
        cross.append(cov[-1] @ gain.T)
        cov.append(gain @ cov[-1] @ gain.T + tril @ tril.T)
    before = sum(c + np.outer(m, m) for c, m in zip(cov[:-1], loc[:-1], strict=True))
    across = sum(c + np.outer(m, k) for c, m, k in zip(cross, loc[:-1], loc[1:], strict=True))
    expected = np.linalg.solve(np.eye(2) + before, across).T
    longer = fit_of(model, SERIES, tolerance=0.0, steps=201).params["a.loc"]
    assert np.max(np.abs(longer - expected)) < 1e-5


def test_several_normal_sites_are_one_block_where_that_is_asked_for():
    def model(y):
        a, b = ppl.sample("a", dist.Normal(0.0, 1.0)), ppl.sample("b", dist.Normal(1.0, 2.0))
        with ppl.plate("n", len(y)):
            ppl.sample("y", dist.Normal(a + b, 0.5), obs=y)

    y = np.array([1.0, 2.0, 0.5])
    fit = fit_of(model, y, blocks=[("a", "b")])
    design = np.ones((3, 2))
    covariance = np.diag([1.0, 4.0])
    whole = design @ covariance @ design.T + 0.25 * np.eye(3)
    gap = y - 1.0
    evidence = -0.5 * (gap @ np.linalg.solve(whole, gap) + np.linalg.slogdet(2 * np.pi * whole)[1])
    np.testing.assert_allclose(fit.elbo, evidence, rtol=1e-12)
    assert fit_of(model, y).elbo < evidence - 0.1


def test_a_chain_with_a_likelihood_that_has_no_closed_form_is_a_hybrid():
    """Counts whose logarithm is a walk: the walk is free, its precision is not."""

    def model(y):
        q = ppl.sample("q", dist.Gamma(2.0, 0.1))

        def step(x, y_t):
            x = ppl.sample("x", dist.Normal(x, q**-0.5))
            ppl.sample("y", dist.Poisson(np.exp(x)), obs=y_t)
            return x, None

        ppl.scan(step, 0.0, y)

    fit = ppl.infer(model, np.array([1, 2, 1, 4, 3, 6]), algorithm="cavi", progress=False)
    assert "no closed form: y" in fit.explain()
    assert not fit.guide.chains


def test_cost_is_linear_in_the_length():
    from ppl.conjugacy import Ascent, Execution, recognize, record

    counted = []
    for steps in (400, 4000):
        y = np.cumsum(np.random.default_rng(0).normal(size=steps))
        found = recognize(record(level_in_a_scan, (y,), {}, {}))
        (chain,) = [b for b in found.blocks.values() if hasattr(b, "members")]
        assert len(chain.family.pairs) == 2 * steps - 1  # no pair but neighbours
        ascent = Ascent(Execution(found, None))
        state = ascent.step(ascent.start(np.random.default_rng(0)))
        counted.append(sum(np.size(x) for x in state.means.values()))
    assert counted[1] < 10.1 * counted[0]
