"""What cannot be recorded is refused in words: got, expected, try, and the user's own line."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import linalg, special, stats

import ppl
import ppl.array as A
from ppl.array.cures import CURES
from ppl.array.recording import Tape

TABLE = np.arange(5.0)


def in_place_ufunc(z):
    out = np.zeros(3)
    np.add(z, 1.0, out=out)


def grow(z):
    x = np.zeros(3)
    x += z


def grow_recorded(z):
    z += 1.0


def shrink_recorded(z):
    z -= 1.0


def double_recorded(z):
    z *= 2.0


def halve_recorded(z):
    z /= 2.0


def store(z):
    z[0] = 1.0


def store_in_plain(z):
    x = np.zeros(3)
    x[0] = z[0]


def branch(z):
    return 1.0 if z[0] > 0 else 2.0


def chained(z):
    return 0 < z[0] < 1


def loop(z):
    while z[0] > 0:
        return z


REFUSED = {
    "float(z)": lambda z: float(z[0]),
    "int(z)": lambda z: int(z[0]),
    "complex(z)": lambda z: complex(z[0]),
    "math.log(z)": lambda z: math.log(z[0]),
    "np.array([a, b])": lambda z: np.array([z[0], z[1]]),
    "np.array(z)": lambda z: np.array(z),
    "np.asarray(z)": lambda z: np.asarray(z),
    "plain_array[z]": lambda z: TABLE[z.astype(int)],
    "plain_list[z]": lambda z: [1, 2, 3][z[0].astype(int)],
    "a recorded mask": lambda z: z[z > 0],
    "a float index": lambda z: z[z],
    "x[0] = z": store_in_plain,
    "z[0] = x": store,
    "x += z": grow,
    "z += x": grow_recorded,
    "z -= x": shrink_recorded,
    "z *= x": double_recorded,
    "z /= x": halve_recorded,
    "np.add(z, 1, out=x)": in_place_ufunc,
    "z as a shape": lambda z: np.zeros(z[0].astype(int)),
    "range(z)": lambda z: range(z[0].astype(int)),
    "if z > 0": branch,
    "0 < z < 1": chained,
    "while z > 0": loop,
    "z in list": lambda z: z[0] in [1.0, 2.0],
    "np.unique": lambda z: np.unique(z),
    "np.fft": lambda z: np.fft.fft(z),
    "np.add.at": lambda z: np.add.at(np.zeros(3), [0], z[0]),
    "ufunc with where": lambda z: np.exp(z, where=np.array([True, False, True])),
    "x.sort()": lambda z: z.sort(),
    "item": lambda z: z[0].item(),
    "Fortran order": lambda z: np.reshape(np.outer(z, z), 9, order="F"),
    "Fortran order, method": lambda z: np.outer(z, z).reshape(9, order="F"),
    "ravel in Fortran order": lambda z: np.outer(z, z).ravel(order="F"),
    "flatten in Fortran order": lambda z: np.outer(z, z).flatten(order="F"),
    "max with initial": lambda z: np.max(z, initial=0.0),
    "mean with where": lambda z: np.mean(z, where=np.array([True, False, True])),
    "prod with initial": lambda z: np.prod(z, initial=2.0),
    "any with where": lambda z: np.any(z > 0, where=np.array([True, False, True])),
    "diff with prepend": lambda z: np.diff(z, prepend=0.0),
    "take with wrap": lambda z: np.take(z, [5], mode="wrap"),
    "matrix norm": lambda z: np.linalg.norm(np.outer(z, z), 2),
    "nuclear norm": lambda z: np.linalg.norm(np.outer(z, z), "nuc"),
    "where with one argument": lambda z: np.where(z > 0),
    "nonzero": lambda z: np.nonzero(z),
    "np.interp of recorded knots": lambda z: np.interp(0.5, z, [0.0, 1.0, 2.0]),
    "np.searchsorted in recorded numbers": lambda z: np.searchsorted(z, 0.5),
    "np.pad by means": lambda z: np.pad(z, 1, "mean"),
    "np.quantile at a draw": lambda z: np.quantile(z, z[0]),
    "np.quantile by another method": lambda z: np.quantile(z, 0.5, method="nearest"),
    "np.cross of two numbers": lambda z: np.cross(z[:2], z[:2]),
    "axes of a product": lambda z: np.matmul(np.outer(z, z), np.outer(z, z), axes=[(0, 1), (0, 1), (0, 1)]),
    "casting": lambda z: np.add(z, 1.0, casting="unsafe"),
    "accumulated maxima": lambda z: np.maximum.accumulate(z),
    "sums between places": lambda z: np.add.reduceat(z, [0, 2]),
    "a derivative in the order of zeta": lambda z: slope(lambda x: np.sum(special.zeta(x + 2.0, 1.0)), z),
}


def slope(fun, z):
    A.gradient(A.record(lambda x: (fun(x),), [np.ones(z.shape)]), [0])


def refusal(what):
    """The error that a refused operation raises; NumPy wraps one in a ValueError of its own."""
    with pytest.raises((ppl.ModelError, ValueError)) as caught:
        REFUSED[what](Tape().input(np.array([0.5, 1.5, 2.5]), "z"))
    error = caught.value
    return error if isinstance(error, ppl.ModelError) else error.__cause__


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_recorded_is_refused_in_words(what):
    error = refusal(what)
    assert isinstance(error, ppl.ModelError)
    text = str(error)
    assert text.startswith("got ") and "\n  expected " in text
    assert error.expected
    assert "test_refusals.py:" in text.splitlines()[-1]


TRY = {
    "math.log(z)": "np.log(z)",
    "np.array([a, b])": "np.stack([a, b])",
    "plain_array[z]": "argument",
    "x[0] = z": "NumPy arithmetic",
    "x += z": "x = x + z",
    "z += x": "x = x + y",
    "if z > 0": "np.where",
    "z as a shape": "shape",
    "a recorded mask": "np.where",
    "x.sort()": "np.sort",
}


@pytest.mark.parametrize("what", TRY)
def test_a_refusal_names_the_cure(what):
    assert TRY[what] in str(refusal(what))


# -- the cures -----------------------------------------------------------------------------------------
Z, SQUARE, OTHER = np.array([0.5, 1.5, 2.5]), np.array([[2.0, 0, 0], [0.3, 3, 0], [0.1, 0.2, 4]]), 2.0 * np.eye(3)
SPREAD = SQUARE @ SQUARE.T
CURED = {
    "logsumexp": lambda z, a: special.logsumexp(z, axis=-1),
    "softmax": lambda z, a: special.softmax(z, axis=-1),
    "log_softmax": lambda z, a: special.log_softmax(z, axis=-1),
    "polygamma": lambda z, a: special.polygamma(2, z),
    "multigammaln": lambda z, a: special.multigammaln(z + 3.0, 2),
    "factorial": lambda z, a: special.factorial(z),
    "comb": lambda z, a: special.comb(z + 3.0, 1.0),
    "perm": lambda z, a: special.perm(z + 3.0, 1.0),
    "kvp": lambda z, a: special.kvp(1.0, z),
    "ivp": lambda z, a: special.ivp(1.0, z),
    "jvp": lambda z, a: special.jvp(1.0, z),
    "solve_triangular": lambda z, a: linalg.solve_triangular(a, z, lower=True),
    "cho_solve": lambda z, a: linalg.cho_solve((a, True), z),
    "cho_factor": lambda z, a: linalg.cho_factor(a, lower=True)[0],
    "cholesky": lambda z, a: linalg.cholesky(a, lower=True),
    "solve": lambda z, a: linalg.solve(a, z),
    "inv": lambda z, a: linalg.inv(a),
    "det": lambda z, a: linalg.det(a),
    "expm": lambda z, a: linalg.expm(a),
    "toeplitz": lambda z, a: linalg.toeplitz(z),
    "block_diag": lambda z, a: linalg.block_diag(a, OTHER),
    "logpdf": lambda z, a: stats.norm.logpdf(z),
    "pdf": lambda z, a: stats.norm.pdf(z),
    "pinv": lambda z, a: np.linalg.pinv(a),
    "lstsq": lambda z, a: np.linalg.lstsq(a, z)[0],
    "svdvals": lambda z, a: np.linalg.svdvals(a)[::-1],
    "geomspace": lambda z, a: np.geomspace(z, z + 1.0, 2),
    "logspace": lambda z, a: np.logspace(z, z + 1.0, 2),
    "piecewise": lambda z, a: np.piecewise(z, [z > 1.0, (z > 0.0) & (z <= 1.0)], [0.0, 0.0]),
    "choose": lambda z, a: np.choose(np.array([0, 1, 0]), [z, z]),
}
DIFFERENT = {"piecewise", "choose"}  # the cure is a form of its own: that it can be recorded is enough
DEFINITE = {"cholesky", "cho_factor"}


def cured(name, z, a):
    """The cure as the user would write it, in the user's own values."""
    shift = 3.0 if name in ("multigammaln", "comb", "perm") else 0.0
    names = {
        "np": np,
        "special": special,
        "dist": ppl.distributions,
        "z": z + shift,
        "a": a,
        "b": OTHER,
        "k": 1.0,
        "n": 2,
    }
    return eval(CURES[name].partition(", with ")[0], names)


@pytest.mark.parametrize("name", CURES)
def test_every_cure_can_be_recorded_and_does_the_same(name):
    plain = SPREAD if name in DEFINITE else SQUARE
    tape = Tape()
    found = cured(name, tape.input(Z), tape.input(plain))
    found = found[0] if isinstance(found, tuple) else found
    value = found.value if A.is_recorded(found) else found
    if name in CURED and name not in DIFFERENT:
        expected = CURED[name](Z, plain)
        expected = np.tril(expected) if name == "cho_factor" else expected
        np.testing.assert_allclose(value, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", CURED)
def test_a_function_that_cannot_be_recorded_names_its_cure(name):
    tape = Tape()
    with pytest.raises(ppl.ModelError) as caught:
        CURED[name](tape.input(Z), tape.input(SPREAD))
    assert caught.value.hint == CURES[name] and caught.value.expected


# -- methods -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", sorted(n for n in dir(np.ndarray) if not n.startswith("_")))
def test_every_method_of_ndarray_is_there_or_refused(name):
    """What is missing is an attribute error with a cure: `hasattr` says no, and a model says why."""
    z = Tape().input(np.ones((3, 3)))
    if hasattr(z, name):
        getattr(z, name)
        return
    with pytest.raises(ppl.ModelError) as caught:
        getattr(z, name)
    assert isinstance(caught.value, AttributeError)
    assert caught.value.got and caught.value.expected and caught.value.hint


def test_an_unknown_attribute_is_an_ordinary_attribute_error():
    z = Tape().input(np.ones(3))
    with pytest.raises(AttributeError, match="no 'colour'"):
        getattr(z, "col" + "our")
    assert not hasattr(z, "tobytes") and not hasattr(z, "__array_interface__") and not hasattr(z, "__deepcopy__")


def test_a_recorded_scalar_has_no_length():
    with pytest.raises(TypeError, match="scalar"):
        len(Tape().input(1.0))


@pytest.mark.parametrize("start", [0.0, np.float64(0.0)])
def test_sums_of_scalars_may_be_written_with_plus_equals(start):
    def fun(z):
        total = start
        for t in range(3):
            total += z[t] * t
            total -= 0.5
        total *= 2.0
        total /= 3.0
        return total

    z = np.array([1.0, 2.0, 4.0])
    (got,) = A.compile_program(A.record(lambda z: (fun(z),), [z]))(z)
    assert got == pytest.approx(fun(z))


def test_known_values_stay_known():
    """An argument of a model is concrete wherever no recorded value meets it."""
    x = np.array([3.0, 1.0, 2.0]).view(A.Argument)
    assert int(x.max()) == 3 and np.zeros(int(x[1])).shape == (1,) and len(np.unique(x)) == 3
    assert not A.is_recorded(np.sort(x) * 2)
    i = Tape().input(np.array([0, 2]), "i")
    for derived in (x, (x - x.mean()) / x.std(), np.sort(x), np.log(x), x[::-1], x * 2):
        assert A.is_recorded(derived[i])
        np.testing.assert_array_equal(derived[i].value, np.asarray(derived)[[0, 2]])


def test_an_eager_tape_answers_and_keeps_what_was_asked():
    tape = Tape(eager=True)
    z = tape.input(0.5)
    assert bool(z > 0) and not bool(z > 1)
    assert len(tape.branches) == 2
