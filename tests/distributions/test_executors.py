"""Every row of the registry in a model: its bound is the same numbers by every executor, and those of plain NumPy."""

from __future__ import annotations

import numpy as np
import pytest

import ppl
import ppl.array as A
import ppl.distributions as dist
from ppl.elbo import EagerObjective, Objective, choose, derive, problem

from .registry import ALL_ROWS, Row

PARTICLES = 3
DRAWN = [row for row in ALL_ROWS if row.d.has("sample") and 0 not in row.d.shape()]


def observed(row: Row):
    """A model whose observation is the row's, with recorded parameters that stay at the row's numbers."""
    leaves, rebuild = row.d.tree_flatten()
    y = row.d.sample(5)

    def model(y):
        z = ppl.sample("z", dist.Normal(0.3, 1.2))
        one = np.exp(0.0 * z)
        d = rebuild([leaf * one if np.asarray(leaf).dtype.kind == "f" else leaf for leaf in leaves])
        ppl.sample("y", d.to_event(), obs=y)

    return model, y


def by_all_executors(model, *args):
    """The bounds of each particle: batched, compiled, interpreted, eager. The derivation, its terms and the bounds."""
    p = problem(model, args, {})
    d = derive(p, "meanfield")
    values, rng = {n: x.init for n, x in d.parameters.items()}, np.random.default_rng(3)
    noise = {f.name: rng.standard_normal((PARTICLES, *f.noise_shape)) for f in d.factors}
    objective = Objective(d, choose(d))
    with np.errstate(all="ignore"):
        batched, terms, _ = objective.evaluate(values, {}, noise, PARTICLES)
        compiled, found = A.compile_program(objective.values), []
        for k in range(PARTICLES):
            inputs = d.inputs(values, {}, {n: e[k] for n, e in noise.items()})
            found.append((compiled(*inputs)[:2], A.run(objective.values, *inputs)[:2]))
        eager, _ = EagerObjective(p, "meanfield", values).contributions(values, {}, noise, PARTICLES)
    for k, ((bound, parts), (again, parts_again)) in enumerate(found):
        np.testing.assert_allclose([bound, again, eager[k]], batched[k], rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(parts, parts_again, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(terms[k], parts, rtol=1e-9, atol=1e-9)
    return d, terms, batched


@pytest.mark.parametrize("row", DRAWN, ids=str)
def test_an_observation_counts_the_same_by_every_executor(row: Row):
    model, y = observed(row)
    d, terms, _ = by_all_executors(model, y)
    expected = np.sum(row.d.log_prob(y))
    at = [i for i, term in enumerate(d.terms) if term.site == "y"]
    assert len(at) == 1
    np.testing.assert_allclose(terms[:, at[0]], expected, rtol=1e-9, atol=1e-9)


# No density on the reals, or no bijection from there onto a union of supports.
NO_LATENT = {"Delta-0", "MixtureGeneral-continuous", "MixtureSameFamily-apart"}
LATENT = [row for row in DRAWN if not row.d.is_discrete and row.scalar and row.label not in NO_LATENT]


@pytest.mark.parametrize("row", LATENT, ids=str)
def test_a_latent_site_counts_the_same_by_every_executor(row: Row):
    def model(y):
        x = ppl.sample("x", row.d)
        ppl.sample("y", dist.Normal(np.tanh(x), 0.7), obs=y)

    _, _, bounds = by_all_executors(model, 0.4)
    assert np.all(np.isfinite(bounds))
