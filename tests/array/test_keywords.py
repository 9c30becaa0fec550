"""A keyword that would change the result is heeded or refused, never ignored."""

from __future__ import annotations

import numpy as np
import pytest

import ppl
from ppl.array.recording import METHODS, Recorded, Tape

X = np.array([[2.0, 0.3, -0.1], [0.3, 3.0, 0.2], [-0.1, 0.2, 4.0]])
MASK = np.array([[True, False, True], [False, True, True], [True, True, True]])

REFUSED = {
    **{
        f"{f.__name__}, out": lambda x, f=f: f(x, out=np.zeros(()))
        for f in (np.sum, np.mean, np.var, np.std, np.prod, np.max, np.min, np.any, np.all, np.argmax, np.argmin)
    },
    "cumsum, out": lambda x: np.cumsum(x, out=np.zeros(9)),
    "concatenate, out": lambda x: np.concatenate([x, x], out=np.zeros((6, 3))),
    "stack, out": lambda x: np.stack([x, x], out=np.zeros((2, 3, 3))),
    "dot, out": lambda x: np.dot(x, x, out=np.zeros((3, 3))),
    "clip, out": lambda x: np.clip(x, 0.0, 1.0, out=np.zeros((3, 3))),
    "take, out": lambda x: np.take(x, [0], out=np.zeros(1)),
    "round, out": lambda x: np.round(x, out=np.zeros((3, 3))),
    "einsum, out": lambda x: np.einsum("ij,jk->ik", x, x, out=np.zeros((3, 3))),
    "exp, dtype": lambda x: np.exp(x, dtype=np.float32),
    "log2, dtype": lambda x: np.log2(x, dtype=np.float32),
    "mean, dtype": lambda x: np.mean(x, dtype=np.float32),
    "cumsum, dtype": lambda x: np.cumsum(x, dtype=np.float32),
    "concatenate, dtype": lambda x: np.concatenate([x, x], dtype=np.float32),
    "var, where": lambda x: np.var(x, where=MASK),
    "std, where": lambda x: np.std(x, where=MASK),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_keyword_that_would_change_the_result_is_refused(what):
    with pytest.raises((ppl.ModelError, ValueError)) as caught:
        REFUSED[what](Tape().input(X))
    error = caught.value
    assert isinstance(error if isinstance(error, ppl.ModelError) else error.__cause__, ppl.ModelError)


HEEDED = {
    "sum, dtype": lambda x: np.sum(x, dtype=np.float32),
    "prod, dtype": lambda x: np.prod(x, dtype=np.float32),
    "full_like": lambda x: np.full_like(x, 2),
    "full_like, dtype": lambda x: np.full_like(x, 1.5, dtype=np.int64),
    "full_like of whole numbers": lambda x: np.full_like(x.astype(np.int64), 1.5),
    "any of fractions": lambda x: np.any(x * 0.1, axis=0),
    "all of fractions": lambda x: np.all(x * 0.1, axis=1),
    "any of negative numbers": lambda x: np.any(-x * x),
    "all of negative numbers": lambda x: np.all(-x * x - 0.5),
    "var, ddof": lambda x: np.var(x, axis=0, ddof=1, keepdims=True),
    "var, correction": lambda x: np.var(x, correction=1),
    "sum, where": lambda x: np.sum(x, where=MASK, initial=2.0),
}


@pytest.mark.parametrize("what", HEEDED)
def test_a_keyword_means_what_it_means_to_numpy(what):
    expected = HEEDED[what](X)
    found = HEEDED[what](Tape().input(X))
    found = found.value if isinstance(found, Recorded) else found
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert np.shape(found) == np.shape(expected) and np.asarray(found).dtype == np.asarray(expected).dtype


@pytest.mark.parametrize("name", sorted(set(METHODS) - {"reshape", "transpose", "astype", "copy", "argsort"}))
def test_a_buffer_for_a_method_is_refused(name):
    x = Tape().input(X)
    before = {"dot": (x,), "take": ([0],), "repeat": (2,), "clip": (0.0, 1.0), "swapaxes": (0, 1)}.get(name, ())
    with pytest.raises((ppl.ModelError, TypeError)):
        getattr(x, name)(*before, out=np.zeros((3, 3)))
