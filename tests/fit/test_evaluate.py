"""The bound for the full data, walked through in chunks, against the same bound in one piece."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

import ppl
import ppl.distributions as dist
from ppl.elbo import Objective, choose, derive, problem
from ppl.fit import evaluate

evaluating = importlib.import_module("ppl.algorithms.evaluate")

MANY = 20_000
LOCAL = {"mu.loc": 0.2, "mu.scale": 0.1, "z.loc": None, "z.scale": None}


def normal(x, loc, scale):
    return -0.5 * ((x - loc) / scale) ** 2 - np.log(scale) - 0.5 * np.log(2 * np.pi)


def local(y, size=None):
    mu = ppl.sample("mu", dist.Normal(0, 1))
    with ppl.plate("rows", len(y), subsample_size=size) as i:
        z = ppl.sample("z", dist.Normal(mu, 1))
        ppl.sample("y", dist.StudentT(4.0, z, 1.0), obs=y[i])


def local_guide(y, size=None):
    ppl.sample("mu", dist.Normal(0.2, 0.1))
    with ppl.plate("rows", len(y), subsample_size=size) as i:
        ppl.sample("z", dist.Normal(0.5 * y[i], 0.6))


def crossed(y, rows=None, columns=None):
    m, n = y.shape
    mu = ppl.sample("mu", dist.Normal(0, 1))
    with ppl.plate("columns", n, subsample_size=columns, dim=-1) as j:
        b = ppl.sample("b", dist.Normal(mu, 1))
        with ppl.plate("rows", m, subsample_size=rows, dim=-2) as i:
            ppl.sample("y", dist.StudentT(4.0, b, 1.0), obs=y[i[:, None], j])


def crossed_guide(y, rows=None, columns=None):
    ppl.sample("mu", dist.Normal(0.2, 0.1))
    with ppl.plate("columns", y.shape[1], subsample_size=columns, dim=-1) as j:
        ppl.sample("b", dist.Normal(0.5 * y[0][j], 0.6))


def bound(model, guide, *args, seed=0):
    p = problem(model, args, {})
    d = derive(p, guide)
    at = Objective(d, choose(d))
    return evaluate(p, guide, at, {n: x.init for n, x in d.parameters.items()}, executor="numpy", seed=seed)


def agree(a, b):
    return abs(a.elbo - b.elbo) < 4 * (a.se**2 + b.se**2) ** 0.5


DATA = np.random.default_rng(0).normal(0.3, 1.5, MANY)
TABLE = np.random.default_rng(1).normal(0.3, 1.5, (60, 50))


def test_more_rows_than_a_chunk_holds():
    assert MANY > 2 * evaluating.ROWS
    chunks, whole = bound(local, local_guide, DATA, 100), bound(local, local_guide, DATA)
    assert agree(chunks, whole) and chunks.se > 0
    assert 0.4 < chunks.se / whole.se < 2.5
    assert set(chunks.terms) == set(whole.terms)
    for text, (mean, se) in chunks.terms.items():
        other, other_se = whole.terms[text]
        assert abs(mean - other) < 4 * (se**2 + other_se**2) ** 0.5 + 1e-6 * abs(other), text


@pytest.mark.parametrize("rows", [7, 20, 64])
def test_crossing_plates_in_chunks(rows, monkeypatch):
    monkeypatch.setattr(evaluating, "ROWS", rows)
    whole = bound(crossed, crossed_guide, TABLE)
    for sizes in ((10, 10), (10, None), (None, 10)):
        assert agree(bound(crossed, crossed_guide, TABLE, *sizes), whole), sizes


def test_a_term_counted_in_every_chunk_would_be_caught(monkeypatch):
    monkeypatch.setattr(evaluating, "ROWS", 20)
    whole = bound(crossed, crossed_guide, TABLE)

    def counts(term, plates, combination, sizes):
        inside = {q.name for q in term.plates}
        return float(np.prod([sizes[q.name] / q.size for q in plates if q.name in inside]))

    monkeypatch.setattr(evaluating, "_counts", counts)
    wrong = bound(crossed, crossed_guide, TABLE, 10, 10)
    assert abs(wrong.elbo - whole.elbo) > 10 * (wrong.se**2 + whole.se**2) ** 0.5


def test_local_noise_of_two_chunks_differs(monkeypatch):
    """With rows alike, noise that all chunks share would add up instead of averaging out."""
    y = np.full(1000, 1.0)
    whole = bound(local, local_guide, y)
    monkeypatch.setattr(evaluating, "ROWS", 50)  # 20 chunks
    chunks = bound(local, local_guide, y, 10)
    # A standard deviation from 100 groups is known to 7 percent.
    assert agree(chunks, whole) and chunks.se < whole.se * (1 + 4 * 0.1)
    own = evaluating._noise
    monkeypatch.setattr(evaluating, "_noise", lambda d, draws, seed, number: own(d, draws, seed, min(number, 1)))
    assert bound(local, local_guide, y, 10).se > 2 * chunks.se


def test_the_error_of_the_bound_is_its_spread_over_seeds():
    y = DATA[:300]
    found = [bound(local, local_guide, y, 10, seed=s) for s in range(40)]
    spread = np.std([b.elbo for b in found], ddof=1)
    # A standard deviation from 40 numbers is known to 1 / sqrt(78).
    assert spread == pytest.approx(np.mean([b.se for b in found]), rel=4 / 78**0.5)


def test_the_fit_of_a_subsampled_plate_reports_the_full_bound():
    """End to end, with as many rows as need several chunks; the exact bound of the guide by its formulas."""

    def model(y):
        mu = ppl.sample("mu", dist.Normal(0, 1))
        with ppl.plate("rows", len(y), subsample_size=200) as i:
            z = ppl.sample("z", dist.Normal(mu, 1))
            ppl.sample("y", dist.Normal(z, 1), obs=y[i])

    def guide(y):
        ppl.sample("mu", dist.Normal(ppl.param("m", 0.0), 0.1))
        with ppl.plate("rows", len(y), subsample_size=200) as i:
            ppl.sample("z", dist.Normal(0.5 * (y[i] + 0.3), 0.7))

    fit = ppl.infer(model, DATA, guide=guide, algorithm=ppl.BBVI(steps=100), progress=False)
    m = fit.params["m"]
    z, half = 0.5 * (DATA + 0.3), 0.5 * np.log(2 * np.pi * np.e)
    exact = normal(m, 0, 1) - 0.5 * 0.1**2 + np.log(0.1) + half
    exact += np.sum(normal(z, m, 1) - 0.5 * (0.7**2 + 0.1**2) + np.log(0.7) + half + normal(DATA, z, 1) - 0.5 * 0.7**2)
    assert fit.elbo_se > 0 and abs(fit.elbo - exact) < 4 * fit.elbo_se
