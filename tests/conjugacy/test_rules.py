"""Every rewriting rule, checked on random inputs: the sum of products has the value of the recorded operations."""

from types import SimpleNamespace

import numpy as np
import pytest

from ppl.array import Tape
from ppl.conjugacy.algebra import Algebra, evaluate
from ppl.conjugacy.rules import EXAMPLE, RULES, rewritten


def draw(rng, support, shape, categories):
    if support == "integer":
        return rng.integers(categories, size=shape)
    if support == "simplex":
        return rng.dirichlet(np.ones(shape[-1]), shape[:-1])
    if support == "matrix":
        root = rng.normal(size=shape)
        return root @ np.swapaxes(root, -1, -2) + np.eye(shape[-1])
    return {"real": rng.normal, "positive": lambda size: rng.gamma(2.0, size=size), "unit": rng.random}[support](
        size=shape
    )


def rewrite(function, seed=0):
    rng, tape, algebra = np.random.default_rng(seed), Tape(), Algebra()
    values, roots, point = SimpleNamespace(), {}, {}
    for name, (support, shape, categories) in EXAMPLE.items():
        x = draw(rng, support, shape, categories)
        node = tape.input(x, name)
        setattr(values, name, node)
        atom, roots[node] = algebra.latent(name, shape, support, categories)
        point[atom] = x
    out = function(values)
    (poly,) = rewritten(algebra, roots, [out])
    return np.asarray(out.value), poly, point


@pytest.mark.parametrize("rule", RULES, ids=lambda r: r.operations[0].__name__)
@pytest.mark.parametrize("seed", [0, 1])
def test_a_rule_keeps_the_value_of_its_example(rule, seed):
    value, poly, point = rewrite(rule.example, seed)
    assert "opaque" not in {f.atom.kind for _, fs in poly.terms for f in fs}, str(poly)
    np.testing.assert_allclose(evaluate(poly, point), value, rtol=1e-9, atol=1e-9)
