"""The table of operations is up to date, and whatever is not in it is refused, never computed wrongly."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

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


# -- the rest of NumPy -------------------------------------------------------------------------------
X = np.array([0.5, 1.5, 2.5])
M = np.array([[2.0, 0.3, 0.1], [0.3, 3.0, 0.2], [0.1, 0.2, 4.0]])
KNOWN = {*FUNCTIONS, *PARTIALS, *PULLS, *STEPWISE, *ANSWERED}

# What takes no array, or answers without looking at one.
NO_ARRAY = set(
    """arange array2string array_repr array_str bartlett base_repr binary_repr blackman bmat broadcast_shapes
    busday_count busday_offset busdaycalendar common_type datetime_as_string datetime_data dtype empty errstate eye
    finfo format_float_positional format_float_scientific format_parser from_dlpack frombuffer fromfile fromfunction
    fromiter frompyfunc fromregex fromstring full genfromtxt geomspace get_include get_printoptions getbufsize geterr
    geterrcall hamming hanning identity iinfo indices info is_busday isdtype isfortran isnat isscalar issubdtype
    iterable kaiser linspace load loadtxt logspace mask_indices may_share_memory memmap min_scalar_type mintypecode
    nested_iters ones poly1d printoptions promote_types require row_stack save savetxt savez savez_compressed
    set_printoptions setbufsize seterr seterrcall shares_memory show_config show_runtime test tri tril_indices
    triu_indices typename unravel_index vectorize zeros asmatrix matrix tril_indices_from triu_indices_from
    diag_indices diag_indices_from unpackbits packbits put place putmask copyto fill_diagonal put_along_axis
    fftfreq rfftfreq""".split()
)
# What makes or fills a plain array is called by hand further down.
ARGUMENTS = {
    "apply_along_axis": lambda x: (np.sum, 0, x),
    "apply_over_axes": lambda x: (np.sum, x, [0]),
    "choose": lambda x: (np.array([0, 1, 0]), [x, x]),
    "compress": lambda x: ([True, False, True], x),
    "convolve": lambda x: (x, x),
    "extract": lambda x: ([True, False, True], x),
    "histogram2d": lambda x: (x, x),
    "insert": lambda x: (x, 1, 2.0),
    "delete": lambda x: (x, 1),
    "interp": lambda x: (x, X, X),
    "lexsort": lambda x: ((x, x),),
    "piecewise": lambda x: (x, [X > 1, X <= 1], [1.0, 2.0]),
    "polyfit": lambda x: (X, x, 1),
    "polyval": lambda x: (x, 2.0),
    "polyint": lambda x: (x,),
    "ravel_multi_index": lambda x: ((x.astype(int), np.arange(3)), (9, 9)),
    "bincount": lambda x: (x.astype(int), x),
    "tensorinv": lambda x: (x[:1, None], 1),
    "select": lambda x: ([X > 1, X <= 1], [x, x]),
    "einsum_path": lambda x: ("i,i", x, x),
    "block": lambda x: ([x, x],),
    "array_split": lambda x: (x, 3),
    "split": lambda x: (x, 3),
    "hsplit": lambda x: (x, 3),
    "vsplit": lambda x: (x, 3),
    "dsplit": lambda x: (x[None, None], 3),
    "resize": lambda x: (x, (2, 2)),
    "pad": lambda x: (x, 1),
    "partition": lambda x: (x, 1),
    "argpartition": lambda x: (x, 1),
    "quantile": lambda x: (x, 0.5),
    "percentile": lambda x: (x, 50),
    "nanquantile": lambda x: (x, 0.5),
    "nanpercentile": lambda x: (x, 50),
    "rollaxis": lambda x: (x, 0),
    "digitize": lambda x: (x, X),
    "searchsorted": lambda x: (X, x),
    "rot90": lambda x: (x,),
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
    lambda x, m: ([m, m],),
    lambda x, m: (x.astype(int),),
    lambda x, m: (x.astype(int), 2),
]


def public():
    """(name, function) of what NumPy offers and the tables do not have."""
    for home, prefix in ((np, ""), (np.linalg, "linalg."), (np.fft, "fft.")):
        for name in sorted(home.__all__):
            fun = getattr(home, name, None)
            if callable(fun) and not inspect.isclass(fun) and name not in NO_ARRAY and not _known(fun):
                yield pytest.param(name, fun, id=prefix + name)


def _known(fun):
    try:
        return fun in KNOWN
    except TypeError:
        return False


def arguments(name, fun):
    """Arguments on which NumPy's own works, as a function of a vector and a matrix."""
    if name in ARGUMENTS:
        yield lambda x, m: ARGUMENTS[name](m if name in ("vsplit", "block") else x)
        return
    for make in TRIES:
        try:
            with np.errstate(all="ignore"):
                fun(*make(X, M))
        except Exception:
            continue
        yield make


def is_refused(name, fun, make):
    """Refused by us, or recorded with the right value and no wrong derivative."""
    tape = Tape()
    x, m = tape.input(X), tape.input(M)
    try:
        found = fun(*make(x, m))
    except ppl.ModelError as error:
        assert error.got and error.expected
        return True
    except Exception as error:
        assert isinstance(error.__cause__, ppl.ModelError), (name, error)
        return True
    plain = fun(*make(X, M))
    if isinstance(found, tuple | list):
        return all(same(a, b) for a, b in zip(found, plain, strict=True))
    return same(found, plain) and no_wrong_slope(found, x)


def same(found, plain):
    if isinstance(found, Recorded):
        np.testing.assert_allclose(found.value, plain)
        return True
    return not isinstance(plain, np.ndarray) and found == plain  # answered from the shape


def no_wrong_slope(found, x):
    if not isinstance(found, Recorded):
        return True
    program = A.program_of(x.tape, [np.sum(found * 1.0)])
    try:
        slopes = A.compile_program(A.gradient(program, [0]))(X, M)[1]
    except ppl.ModelError:
        return True
    ends = [A.compile_program(program)(X + s * 1e-6, M)[0] for s in (1, -1)]
    return np.isclose(np.sum(slopes), (ends[0] - ends[1]) / 2e-6, atol=1e-5)


@pytest.mark.parametrize(("name", "fun"), public())
def test_every_other_function_of_numpy_is_refused_or_right(name, fun):
    tried = list(arguments(name, fun))
    assert tried, "no arguments known on which NumPy's own works"
    for make in tried:
        assert is_refused(name, fun, make), name


FILLED = {
    "put": lambda z: np.put(np.zeros(3), [0], z[0]),
    "place": lambda z: np.place(np.zeros(3), [True, False, True], z),
    "putmask": lambda z: np.putmask(np.zeros(3), [True, False, True], z),
    "copyto": lambda z: np.copyto(np.zeros(3), z),
    "fill_diagonal": lambda z: np.fill_diagonal(np.zeros((3, 3)), z),
    "put_along_axis": lambda z: np.put_along_axis(np.zeros(3), np.array([0]), z[:1], 0),
    "put into z": lambda z: np.put(z, [0], 1.0),
    "copyto z": lambda z: np.copyto(z, 1.0),
    "full": lambda z: np.full(3, z[0]),
    "linspace": lambda z: np.linspace(0.0, z[0], 3),
    "arange": lambda z: np.arange(z[0]),
    "geomspace": lambda z: np.geomspace(1.0, z[0], 3),
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
    "unravel_index": lambda z: np.unravel_index(z.astype(int), (3, 3)),
    "ndenumerate": lambda z: list(np.ndenumerate(z)),
    "random": lambda z: np.random.default_rng(0).normal(z),
    "bincount": lambda z: np.bincount(np.array([0, 1, 2]), z),
    "savetxt": lambda z: np.save("/nowhere/at/all", z),
    "ma": lambda z: np.ma.masked_array(z),
    "polynomial": lambda z: np.polynomial.Polynomial(z),
}


@pytest.mark.parametrize("name", FILLED)
def test_what_makes_or_fills_a_plain_array_is_refused(name):
    z = Tape().input(X)
    with pytest.raises((ppl.ModelError, TypeError, ValueError)) as caught:
        FILLED[name](z)
    error = caught.value
    assert isinstance(error, ppl.ModelError) or isinstance(error.__cause__, ppl.ModelError), repr(error)
