"""Closed-form updates against the same updates written by hand in NumPy, and against scikit-learn.

    python -m benchmarks --only closed_forms              every case
    python -m benchmarks.closed_forms "mixture, small"    one

A sweep updates every block once. Both sides run in alternation in one process, in CPU seconds, from the same
responsibilities; that they have one bound is for `tests/conjugacy/test_benchmark.py` to see. scikit-learn is timed
where it is installed, by what more iterations cost. Two measurements are of minibatches: what the bound is after as
much time, and memory and time of 10^7 mapped rows.
"""

from __future__ import annotations

import resource
import statistics
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy import special
from scipy.sparse import csr_matrix

import ppl
import ppl.distributions as dist
from ppl.conjugacy import Ascent, Execution, recognize, record, row_plate

from .harness import cpu, say

TURNS = 7
BLOCK = 8192  # rows that the hand-written updates take at once


# -- models ----------------------------------------------------------------------------------------
def diagonal(x, K):
    pi = ppl.sample("pi", dist.Dirichlet(np.ones(K)))
    with ppl.plate("k", K):
        mu = ppl.sample("mu", dist.Normal(0.0, 10.0).expand([x.shape[1]]).to_event(1))
        tau = ppl.sample("tau", dist.Gamma(2.0, 2.0).expand([x.shape[1]]).to_event(1))
    with ppl.plate("n", len(x)):
        z = ppl.sample("z", dist.Categorical(pi))
        ppl.sample("x", dist.Normal(mu[z], 1 / np.sqrt(tau[z])).to_event(1), obs=x)


def full(x, K):
    d = x.shape[1]
    pi = ppl.sample("pi", dist.Dirichlet(np.ones(K)))
    with ppl.plate("k", K):
        mu = ppl.sample("mu", dist.Normal(0.0, 10.0).expand([d]).to_event(1))
        precision = ppl.sample("precision", dist.Wishart(d + 1.0, np.eye(d)))
    with ppl.plate("n", len(x)):
        z = ppl.sample("z", dist.Categorical(pi))
        ppl.sample("x", dist.MultivariateNormal(mu[z], precision_matrix=precision[z]), obs=x)


def topics(word, doc, V, K):
    with ppl.plate("topics", K):
        phi = ppl.sample("phi", dist.Dirichlet(np.full(V, 0.02)))
    with ppl.plate("docs", int(doc.max()) + 1):
        theta = ppl.sample("theta", dist.Dirichlet(np.full(K, 0.1)))
    with ppl.plate("tokens", len(word)):
        z = ppl.sample("z", dist.Categorical(theta[doc]))
        ppl.sample("w", dist.Categorical(phi[z]), obs=word)


# -- the same by hand: generators of the weights before each local pass ---------------------------------
def by_rows(features: np.ndarray, weights: np.ndarray, sums: np.ndarray) -> tuple[np.ndarray, float]:
    """Responsibilities of all rows, block by block: their sums, and the sum of log normalizers."""
    sums[:], log_z = 0.0, 0.0
    for i in range(0, len(features), BLOCK):
        f = features[i : i + BLOCK]
        r = f @ weights
        top = r.max(1, keepdims=True)
        r -= top
        np.exp(r, out=r)
        s = r.sum(1, keepdims=True)
        log_z += float(np.sum(top) + np.sum(np.log(s)))
        r /= s
        sums += f.T @ r
    return sums, log_z


def diagonal_by_hand(x: np.ndarray, r: np.ndarray) -> Callable[[], float]:
    n, d = x.shape
    features = np.concatenate([x * x, x, np.ones((n, 1))], 1)
    K = r.shape[1]
    state = [features.T @ r, np.ones((K, d)), 0.0]

    def sweep() -> float:
        sums, tau, log_z = state
        inner = log_z
        count, first, second = sums[-1], sums[d : 2 * d].T, sums[:d].T
        a = 1.0 + count
        log_pi = special.digamma(a) - special.digamma(a.sum())
        v = 1 / (0.01 + count[:, None] * tau)
        m = v * tau * first
        shape = 2 + count[:, None] / 2
        rate = 2 + 0.5 * (second - 2 * m * first + count[:, None] * (m * m + v))
        tau, log_tau = shape / rate, special.digamma(shape) - np.log(rate)
        w = np.concatenate([-0.5 * tau.T, (tau * m).T, np.zeros((1, K))])
        w[-1] = log_pi + 0.5 * np.sum(log_tau - np.log(2 * np.pi) - tau * (m * m + v), 1)
        bound = inner + np.sum(w * sums)  # E[log p(x, z)] now, and the entropy of z as it was found
        bound += special.gammaln(K) - np.sum((a - 1.0) * log_pi)
        bound += special.gammaln(a).sum() - special.gammaln(a.sum())
        bound += 0.5 * np.sum(np.log(v / 100) + 1 - (m * m + v) / 100)
        prior = 2 * np.log(2.0) - special.gammaln(2.0) + log_tau - 2 * tau
        bound += np.sum(prior + shape - np.log(rate) + special.gammaln(shape) + (1 - shape) * special.digamma(shape))
        sums, log_z = by_rows(features, w, sums)
        state[:] = sums, tau, log_z - np.sum(w * sums)
        return float(bound)

    return sweep


def full_by_hand(x: np.ndarray, r: np.ndarray) -> Callable[[], float]:
    n, d = x.shape
    features = np.concatenate([(x[:, :, None] * x[:, None, :]).reshape(n, d * d), x, np.ones((n, 1))], 1)
    K, places = r.shape[1], 0.5 * np.arange(d)
    freedom0 = d + 1.0
    state = [features.T @ r, np.tile(freedom0 * np.eye(d), (K, 1, 1)), 0.0]

    def sweep() -> float:
        sums, precision, entropy = state
        count, first = sums[-1], sums[d * d : -1].T
        second = sums[: d * d].T.reshape(K, d, d)
        a = 1.0 + count
        log_pi = special.digamma(a) - special.digamma(a.sum())
        v = np.linalg.inv(0.01 * np.eye(d) + count[:, None, None] * precision)
        m = np.einsum("kij,kj->ki", v, np.einsum("kij,kj->ki", precision, first))
        cross = first[:, :, None] * m[:, None, :]
        mm = v + m[:, :, None] * m[:, None, :]
        freedom = freedom0 + count
        rate = np.eye(d) + second - cross - np.swapaxes(cross, 1, 2) + count[:, None, None] * mm
        scale = np.linalg.inv(rate)
        log_scale = np.linalg.slogdet(scale)[1]
        precision = freedom[:, None, None] * scale
        log_det = special.digamma(0.5 * freedom[:, None] - places).sum(1) + d * np.log(2.0) + log_scale
        w = np.empty((d * d + d + 1, K))
        w[: d * d] = -0.5 * precision.reshape(K, -1).T
        w[d * d : -1] = np.einsum("kij,kj->ik", precision, m)
        w[-1] = log_pi + 0.5 * (log_det - d * np.log(2 * np.pi) - np.sum(precision * mm, axis=(1, 2)))
        bound = entropy + np.sum(w * sums) + special.gammaln(K) - np.sum((a - 1.0) * log_pi)
        bound += special.gammaln(a).sum() - special.gammaln(a.sum())
        bound += 0.5 * np.sum(np.linalg.slogdet(v / 100)[1] + d - (np.trace(mm, axis1=1, axis2=2)) / 100)
        log_z = lambda f, log_v: (
            0.5 * f * (log_v + d * np.log(2.0)) + special.gammaln(0.5 * np.asarray(f)[..., None] - places).sum(-1)
        )
        bound += np.sum(log_z(freedom, log_scale) - log_z(freedom0, 0.0) - 0.5 * (freedom - freedom0) * log_det)
        bound += 0.5 * np.sum(freedom * d - np.trace(precision, axis1=1, axis2=2))
        sums, found = by_rows(features, w, sums)
        state[:] = sums, precision, found - np.sum(w * sums)
        return float(bound)

    return sweep


def topics_by_hand(word: np.ndarray, doc: np.ndarray, V: int, r: np.ndarray) -> Callable[[], float]:
    n = len(r)
    M = int(doc.max()) + 1
    of_doc = csr_matrix((np.ones(n), (doc, np.arange(n))), (M, n))
    of_word = csr_matrix((np.ones(n), (word, np.arange(n))), (V, n))
    state = [of_doc @ r, of_word @ r]

    def sweep() -> float:
        a, b = 0.1 + state[0], 0.02 + state[1].T
        log_theta = special.digamma(a) - special.digamma(a.sum(1, keepdims=True))
        log_phi = special.digamma(b) - special.digamma(b.sum(1, keepdims=True))
        score = log_theta[doc] + log_phi.T[word]
        score -= score.max(1, keepdims=True)
        np.exp(score, out=score)
        score /= score.sum(1, keepdims=True)
        state[:] = of_doc @ score, of_word @ score
        return float("nan")

    return sweep


# -- cases -------------------------------------------------------------------------------------------
def clusters(n: int, d: int, K: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(K, d)) * 4
    return centres[rng.integers(K, size=n)] + rng.normal(size=(n, d)) * rng.uniform(0.5, 1.5, size=d)


def documents(M: int, V: int, K: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    phi = rng.dirichlet(np.full(V, 0.02), size=K)
    words = [rng.choice(V, rng.poisson(length), p=rng.dirichlet(np.full(K, 0.1)) @ phi) for _ in range(M)]
    return np.concatenate(words), np.repeat(np.arange(M), [len(w) for w in words])


def ours(model: Callable, args: tuple, r: np.ndarray) -> Callable[[], float]:
    """A sweep of the updates that were found, from responsibilities r."""
    found = recognize(record(model, args, {}))
    ascent = Ascent(Execution(found, row_plate(found)))
    state = [ascent.start(np.random.default_rng(0), {"z": r})]
    rest = [None]

    def sweep() -> float:
        state[0] = ascent.step(state[0])
        return state[0].bound

    sweep.ascent, sweep.state, sweep.rest = ascent, state, rest
    return sweep


def _mixture(model: Callable, by_hand: Callable, n: int, d: int, K: int) -> tuple[Callable, Callable]:
    x = clusters(n, d, K)
    r = np.random.default_rng(1).dirichlet(np.ones(K), size=n)
    return ours(model, (x, K), r), by_hand(x, r)


CORPUS = 2000, 5000, 20, 100  # documents, words, topics, tokens of a document


def _topics() -> tuple[Callable, Callable]:
    M, V, K, length = CORPUS
    word, doc = documents(M, V, K, length)
    r = np.random.default_rng(1).dirichlet(np.ones(K), size=len(word))
    return ours(topics, (word, doc, V, K), r), topics_by_hand(word, doc, V, r)


SIZES = {"mixture, small": (2_000, 2, 5), "mixture, large": (100_000, 10, 20)}
CASES: dict[str, Callable[[], tuple[Callable, Callable]]] = {
    "mixture, small": lambda: _mixture(diagonal, diagonal_by_hand, *SIZES["mixture, small"]),
    "mixture, large": lambda: _mixture(diagonal, diagonal_by_hand, *SIZES["mixture, large"]),
    "full mixture, small": lambda: _mixture(full, full_by_hand, *SIZES["mixture, small"]),
    "full mixture, large": lambda: _mixture(full, full_by_hand, *SIZES["mixture, large"]),
    "topics": _topics,
}
TARGETS = {"mixture, small": 2.0, "full mixture, small": 2.0, "mixture, large": 1.2, "full mixture, large": 1.2}


def agree(sides: tuple[Callable, Callable], sweeps: int = 300) -> None:
    """Both sides have one bound where they stop (they begin with other global means)."""
    a, b = (max(side() for _ in range(sweeps)) for side in sides)
    if not np.isnan(b) and abs(a - b) > 1e-6 * abs(b):
        raise AssertionError(f"bounds {a} and {b}")


def timed(side: Callable, count: int) -> float:
    begun = cpu()
    for _ in range(count):
        side()
    return (cpu() - begun) / count


def measure(name: str) -> dict:
    """Medians of CPU seconds for a sweep, and of their ratio turn by turn."""
    sides = CASES[name]()
    for side in sides:
        side()
    count = max(1, int(0.2 / timed(sides[1], 3)))
    rows = [[timed(side, count) for side in sides] for _ in range(TURNS)]
    found, hand = (statistics.median(column) for column in zip(*rows, strict=True))
    ratio = statistics.median(a / b for a, b in rows)
    return {"case": name, "ours": found, "by hand": hand, "ratio": ratio, **peer(name)}


# -- scikit-learn ------------------------------------------------------------------------------------------
def peer(name: str) -> dict[str, float]:
    """An iteration of scikit-learn's, where it is there and has the model."""
    try:
        from sklearn.decomposition import LatentDirichletAllocation
        from sklearn.mixture import BayesianGaussianMixture
    except ModuleNotFoundError:
        return {}
    warnings.simplefilter("ignore")
    if name == "topics":
        word, doc = documents(*CORPUS)
        counts = csr_matrix((np.ones(len(word)), (doc, word)))
        settings = {"doc_topic_prior": 0.1, "topic_word_prior": 0.02, "learning_method": "batch", "random_state": 0}
        few, many = (LatentDirichletAllocation(CORPUS[2], max_iter=n, **settings) for n in (1, 5))
        return {"scikit-learn": _difference(few, many, counts, 4), **_predictive(word, doc, many, counts)}
    n, d, K = SIZES[name.removeprefix("full ")]
    x = clusters(n, d, K)
    kind = "full" if name.startswith("full") else "diag"
    more = 200 if n < 10_000 else 5
    few, many = (
        BayesianGaussianMixture(
            n_components=K, covariance_type=kind, max_iter=m, tol=0.0, init_params="random", random_state=0
        )
        for m in (1, 1 + more)
    )
    return {"scikit-learn": _difference(few, many, x, more)}


def _difference(few, many, x, iterations: int) -> float:
    few.fit(x)  # what is imported late
    begun = cpu()
    few.fit(x)
    between = cpu()
    many.fit(x)
    return (cpu() - between - (between - begun)) / iterations


def _predictive(word: np.ndarray, doc: np.ndarray, peer, counts) -> dict[str, float]:
    """log(theta . phi) of a token by point estimates, and the time it took: ours from a start, theirs in 15 passes."""
    found = recognize(record(topics, (word, doc, *CORPUS[1:3]), {}))
    ascent = Ascent(Execution(found, row_plate(found)))
    begun = cpu()
    state = ascent.warmed(ascent.start(np.random.default_rng(0), few=False))
    ours = cpu() - begun
    theta, phi = (np.asarray(state.eta[n, "log"]) + 1.0 for n in ("theta", "phi"))
    peer.set_params(max_iter=15)
    begun = cpu()
    theirs = peer.fit(counts)
    spent = cpu() - begun
    return {
        "predictive": predictive(word, doc, theta, phi),
        "predictive seconds": ours,
        "predictive of scikit-learn": predictive(word, doc, theirs.transform(counts), theirs.components_),
        "predictive of scikit-learn seconds": spent,
    }


def predictive(word: np.ndarray, doc: np.ndarray, theta: np.ndarray, phi: np.ndarray) -> float:
    """Mean over tokens of the log probability of the word, by normalised weights."""
    theta, phi = (a / a.sum(1, keepdims=True) for a in (theta, phi))
    return float(np.mean(np.log(np.einsum("nk,nk->n", theta[doc], phi[:, word].T))))


# -- minibatches -------------------------------------------------------------------------------------------
def subsampled(x, K, size=None):
    pi = ppl.sample("pi", dist.Dirichlet(np.ones(K)))
    with ppl.plate("k", K):
        mu = ppl.sample("mu", dist.Normal(0.0, 10.0).expand([x.shape[1]]).to_event(1))
        tau = ppl.sample("tau", dist.Gamma(2.0, 2.0).expand([x.shape[1]]).to_event(1))
    with ppl.plate("n", len(x), subsample_size=size) as i:
        z = ppl.sample("z", dist.Categorical(pi))
        ppl.sample("x", dist.Normal(mu[z], 1 / np.sqrt(tau[z])).to_event(1), obs=x[i])


def one_pass(n: int = 200_000, d: int = 5, K: int = 10, size: int = 1000, passes: int = 3, sweeps: int = 12) -> dict:
    """The bound on all rows against time: sweeps over everything, and steps on minibatches, from the same means."""
    x = np.random.default_rng(1).permutation(clusters(n, d, K))
    init = {"mu": x[np.random.default_rng(2).integers(n, size=K)]}
    whole, parts = (recognize(record(subsampled, (x, K), {"size": m}, {})) for m in (None, size))
    all_rows, few_rows = (Ascent(Execution(found, row_plate(found))) for found in (whole, parts))

    def bound(state) -> float:
        """With every responsibility at its optimum; not counted in the times."""
        e = all_rows.execution
        done = all_rows.shards.over(all_rows.batches(None)(), e.weights(state.means))
        means = {k: np.asarray(v) for k, v in state.means.items()}
        terms = sum(float(t) for t in e.terms(means, done.sums).values())
        return terms + sum(state.entropy[b] for b in e.globals) + sum(done.entropy.values())

    sweep, step = all_rows.start(np.random.default_rng(0), init), few_rows.start(np.random.default_rng(0), init)
    all_rows.step(sweep)  # what is compiled late is no part of a sweep
    curves: dict[str, list] = {"sweeps": [], "minibatches": []}
    spent = 0.0
    for _ in range(sweeps):
        begun = cpu()
        sweep = all_rows.step(sweep)
        spent += cpu() - begun
        curves["sweeps"].append((spent, bound(sweep)))
    rng, spent, done = np.random.default_rng(3), 0.0, 0
    for _ in range(passes):
        for rows in rng.permutation(n).reshape(-1, size):
            begun = cpu()
            tables = few_rows.shards.tables_of({"n": rows})
            rate = 1.0 if done == 0 else (done + 1.0) ** -0.7
            step = replace(few_rows.step(step, tables, rate), local=step.local)
            spent, done = spent + cpu() - begun, done + 1
            if done % (n // size // 5) == 0:
                curves["minibatches"].append((spent, bound(step)))
    return {
        "curves": curves,
        "after one sweep": curves["sweeps"][0][1] / n,
        "after one pass": curves["minibatches"][4][1] / n,
        "one sweep": curves["sweeps"][0][0],
        "one pass": curves["minibatches"][4][0],
    }


def mapped(n: int, d: int = 2, K: int = 3, size: int = 1000) -> dict:
    """A mixture on rows of a mapped file: the process's peak memory, CPU seconds of 1,000 steps and a last pass."""
    centres = np.random.default_rng(0).normal(size=(K, d)) * 5
    with tempfile.TemporaryDirectory() as folder:
        path, rng = Path(folder) / "rows", np.random.default_rng(0)
        with open(path, "wb") as file:
            for start in range(0, n, 100_000):
                count = min(100_000, n - start)
                file.write((centres[rng.integers(K, size=count)] + rng.standard_normal((count, d))).tobytes())
        x = np.memmap(path, dtype=float, mode="r", shape=(n, d))
        begun = cpu()
        fit = ppl.infer(subsampled, x, K, size=size, algorithm=ppl.SVI(steps=1000), progress=False)
        fit["mu"].mean, str(fit)
        spent = cpu() - begun
    return {"memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0, "seconds": spent, "rows": n}


CURVES = "one pass"
MAPPED = {f"mapped rows, {n:,}": n for n in (100_000, 1_000_000, 10_000_000)}
NAMES = (*CASES, CURVES, *MAPPED)


def plot(rows: dict[str, list[dict]], path: Path) -> bool:
    """The bound against time; False where there is nothing to draw, or nothing to draw with."""
    found = [r for r in rows.get(CURVES, ()) if "curves" in r]
    if not found:
        return False
    try:
        import matplotlib.pyplot as plt
    except ModuleNotFoundError:
        return False
    figure, panel = plt.subplots(figsize=(6.5, 4), layout="constrained")
    for name, label in (("sweeps", "CAVI, a point each sweep"), ("minibatches", "SVI, five points each pass")):
        seconds, bounds = zip(*found[-1]["curves"][name], strict=True)
        panel.plot(seconds, np.array(bounds) / 200_000, "o-", markersize=3, label=label)
    panel.set(xlabel="CPU seconds", ylabel="bound on all rows, nats a row", title="a mixture of 10 on 200,000 rows")
    panel.legend()
    panel.grid(True, alpha=0.3)
    figure.savefig(path, dpi=90)
    plt.close(figure)
    return True


def run(name: str) -> dict:
    """One measurement."""
    if name == CURVES:
        return one_pass()
    return mapped(MAPPED[name]) if name in MAPPED else measure(name)


if __name__ == "__main__":
    for name in sys.argv[1:] or NAMES:
        say(**run(name))
