"""The table of operations is up to date, and whatever is not in it is refused, never computed wrongly.

The rest of NumPy, of numpy.linalg, of numpy.fft and of scipy.special is tried, function by
function, with recorded values at every argument on which its own works.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special

import ppl
import ppl.array as A
from ppl.array import document
from ppl.array.derivatives import PARTIALS, PULLS, STEPWISE
from ppl.array.recording import ANSWERED, FUNCTIONS, Recorded, Tape


def test_the_table_is_up_to_date():
    assert document.PLACE.read_text() == document.table(), "run python -m ppl.array.document"


def test_the_table_names_every_function():
    names = {line.split(" | ")[0].removeprefix("| ") for line in document.table().splitlines()}
    assert set(A.supported()) - {"special.digamma", "special.sinc"} <= names  # under other names
    rows = [line for line in document.table().splitlines() if line.startswith("| ")]
    assert len(rows) == len({line.split(" | ")[0] for line in rows})


# -- the rest of NumPy and SciPy ---------------------------------------------------------------------
X = np.array([0.5, 1.5, 2.5])
M = np.array([[2.0, 0.3, 0.1], [0.3, 3.0, 0.2], [0.1, 0.2, 4.0]])
KNOWN = {*FUNCTIONS, *PARTIALS, *PULLS, *STEPWISE, *ANSWERED}

# Calls of those for which no arguments are found among TRIES.
ARGUMENTS = {
    "apply_along_axis": lambda x, m: (np.sum, 0, x),
    "apply_over_axes": lambda x, m: (np.sum, m, [0]),
    "choose": lambda x, m: (np.array([0, 1, 0]), [x, x]),
    "compress": lambda x, m: ([True, False, True], x),
    "copyto": lambda x, m: (np.zeros(3), x),
    "extract": lambda x, m: ([True, False, True], x),
    "fill_diagonal": lambda x, m: (np.zeros((3, 3)), x),
    "lexsort": lambda x, m: ((x, x),),
    "piecewise": lambda x, m: (x, [X > 1, X <= 1], [1.0, 2.0]),
    "place": lambda x, m: (np.zeros(3), [True, False, True], x),
    "polyfit": lambda x, m: (X, x, 1),
    "put": lambda x, m: (np.zeros(3), [0], x),
    "put_along_axis": lambda x, m: (np.zeros(3), np.array([0]), x[:1], 0),
    "putmask": lambda x, m: (np.zeros(3), [True, False, True], x),
    "ravel_multi_index": lambda x, m: ((x.astype(int), np.arange(3)), (9, 9)),
    "save": lambda x, m: ("/nowhere/at/all", x),
    "savetxt": lambda x, m: ("/nowhere/at/all", x),
    "savez": lambda x, m: ("/nowhere/at/all", x),
    "savez_compressed": lambda x, m: ("/nowhere/at/all", x),
    "tensorinv": lambda x, m: (m, 1),
    "unravel_index": lambda x, m: (x.astype(int), (9, 9)),
    "packbits": lambda x, m: (x > 1,),
    "einsum_path": lambda x, m: ("i,i", x, x),
}
TRIES = [
    lambda x, m: (x,),
    lambda x, m: (x, x),
    lambda x, m: (m,),
    lambda x, m: (m, x),
    lambda x, m: (m, m),
    lambda x, m: ([x, x],),
    lambda x, m: (x, 1),
    lambda x, m: (m, 2),
    lambda x, m: (x, 0.5),
    lambda x, m: (x, x, x),
    lambda x, m: (x, x, x, x),
    lambda x, m: (x, x, x, x, x),
    lambda x, m: (x, x, x, x, x, x),
    lambda x, m: (x.astype(int),),
    lambda x, m: (x.astype(int), 2),
]
# What takes no numbers that could be recorded: dates, bytes and things of one's own.
NO_NUMBERS = {"busday_count", "busday_offset", "datetime_as_string", "is_busday", "isnat", "unpackbits"}


def public():
    """(name, function) of all that dispatches on arrays and stands in no table."""
    for home, prefix in ((np, ""), (np.linalg, "linalg."), (np.fft, "fft."), (special, "special.")):
        for name in sorted(vars(home)):
            fun = getattr(home, name)
            dispatches = isinstance(fun, np.ufunc) or hasattr(fun, "_implementation")
            if not name.startswith("_") and dispatches and fun not in KNOWN and name not in NO_NUMBERS:
                yield pytest.param(name, fun, id=prefix + name)


def arguments(name, fun):
    """Arguments on which NumPy's own works, as a function of a vector and a matrix."""
    if name in ARGUMENTS:
        yield ARGUMENTS[name]
        return
    if getattr(special, name, None) is fun:
        yield lambda x, m: (x,) * fun.nin
        return
    for make in TRIES:
        try:
            with np.errstate(all="ignore"):
                fun(*make(X, M))
        except Exception:
            continue
        yield make


def is_refused(name, fun, make):
    """Refused by us, or recorded with the right value and a derivative that is refused."""
    tape = Tape()
    x, m = tape.input(X), tape.input(M)
    try:
        found = fun(*make(x, m))
    except ppl.ModelError as error:
        assert error.got and error.expected
        return True
    with np.errstate(all="ignore"):
        plain = fun(*make(X, M))
    if not isinstance(found, Recorded):  # answered from the shape
        return not isinstance(plain, np.ndarray) and found == plain
    np.testing.assert_allclose(found.value, plain)
    assert found.shape == np.shape(plain) and found.dtype == np.asarray(plain).dtype
    try:
        slopes = A.compile_program(A.gradient(A.program_of(tape, [np.sum(found * 1.0)]), [0]))(X, M)[1]
    except ppl.ModelError as error:
        return "a derivative of" in error.got
    return not slopes.any()  # of numbers that were rounded first


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "fun"), public())
def test_the_rest_of_numpy_and_scipy_is_refused_or_right(name, fun):
    tried = list(arguments(name, fun))
    assert tried, "no arguments known on which NumPy's own works"
    for make in tried:
        assert is_refused(name, fun, make), name


ANSWERS = {
    "shape": lambda z: np.shape(z),
    "ndim": lambda z: np.ndim(z),
    "size": lambda z: np.size(z),
    "size of an axis": lambda z: np.size(z, 1),
    "result_type": lambda z: np.result_type(z, np.float32),
    "can_cast": lambda z: np.can_cast(z, np.float32),
    "min_scalar_type": lambda z: np.min_scalar_type(z),
    "common_type": lambda z: np.common_type(z),
    "iscomplexobj": lambda z: np.iscomplexobj(z),
    "isrealobj": lambda z: np.isrealobj(z),
    "triu_indices_from": lambda z: [i.tolist() for i in np.triu_indices_from(z)],
    "tril_indices_from": lambda z: [i.tolist() for i in np.tril_indices_from(z)],
    "diag_indices_from": lambda z: [i.tolist() for i in np.diag_indices_from(z)],
    "properties": lambda z: (z.shape, z.ndim, z.size, z.dtype, z.itemsize, z.nbytes, z.device, len(z)),
}


@pytest.mark.parametrize("what", ANSWERS)
def test_questions_about_shapes_and_types_are_answered(what):
    assert ANSWERS[what](Tape().input(M)) == ANSWERS[what](M)


FILLED = {
    "put into z": lambda z: np.put(z, [0], 1.0),
    "copyto z": lambda z: np.copyto(z, 1.0),
    "full": lambda z: np.full(3, z[0]),
    "arange": lambda z: np.arange(z[0]),
    "fromiter": lambda z: np.fromiter(z, float),
    "vectorize": lambda z: np.vectorize(lambda x: x * 2)(z),
    "frompyfunc": lambda z: np.frompyfunc(lambda x: x * 2, 1, 1)(z) * 1.0,
    "r_": lambda z: np.r_[z, 1.0],
    "c_": lambda z: np.c_[z, z],
    "poly1d": lambda z: np.poly1d(z),
    "asarray": lambda z: np.asarray(z),
    "asanyarray": lambda z: np.asanyarray(z),
    "ascontiguousarray": lambda z: np.ascontiguousarray(z),
    "require": lambda z: np.require(z),
    "ndenumerate": lambda z: list(np.ndenumerate(z)),
    "random": lambda z: np.random.default_rng(0).normal(z),
    "bincount": lambda z: np.bincount(z.astype(int)),
    "ma": lambda z: np.ma.masked_array(z),
    "polynomial": lambda z: np.polynomial.Polynomial(z),
    "complex numbers": lambda z: z * 1j,
    "lambertw": lambda z: special.lambertw(z),
}


@pytest.mark.parametrize("name", FILLED)
def test_what_makes_or_fills_a_plain_array_is_refused(name):
    z = Tape().input(X)
    with pytest.raises((ppl.ModelError, TypeError, ValueError)) as caught:
        FILLED[name](z)
    error = caught.value
    assert isinstance(error, ppl.ModelError) or isinstance(error.__cause__, ppl.ModelError), repr(error)
