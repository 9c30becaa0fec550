"""For everything that can be recorded, a hypothesis strategy that draws a call of it.

A `Call` is a function, the arrays that it gets (their shapes, types and domains; the numbers
follow from a seed, so that one call has as many rows as a batch needs) and all other arguments.
`STRATEGIES` has one for every function, `METHODS_OF_ARRAYS` for every method of ndarray.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import pairwise
from string import ascii_lowercase
from typing import Any

import numpy as np
from hypothesis import reject
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import special

import ppl.array as A
from ppl.array import operations as op
from ppl.array import quantiles, specials
from ppl.array.chains import chain_log_sum, chain_slopes
from ppl.array.recording import METHODS
from ppl.array.rows import Rows, rows_of
from ppl.array.scan import scan_rows

FLOAT, SINGLE, WHOLE, SHORT, TRUTH = (np.dtype(t) for t in (np.float64, np.float32, np.int64, np.int32, np.bool_))
RANGES = {
    "real": (-2.0, 2.0),
    "positive": (0.3, 2.5),
    "unit": (0.1, 0.9),
    "above one": (1.2, 3.0),
    "negative": (-3.0, -0.3),
    "shape": (0.6, 4.0),
}


@dataclass(frozen=True)
class Slot:
    """An array of a call: what it looks like, and whether the derivative in it is known."""

    shape: tuple[int, ...]
    domain: str = "real"
    dtype: np.dtype = FLOAT
    smooth: bool = True

    def values(self, rng: np.random.Generator) -> Any:
        """Numbers of the domain, away from its edges and from ties."""
        shape, kind = self.shape, self.dtype.kind
        if self.domain.startswith("below"):
            size = int(self.domain.split()[1])
            return rng.integers(-size, size, shape).astype(self.dtype)[()]
        if self.domain == "positive definite":
            x = rng.normal(size=shape)
            return (x @ np.swapaxes(x, -1, -2) + (1 + shape[-1]) * np.eye(shape[-1])).astype(self.dtype)
        if self.domain == "lower":
            return (np.tril(rng.normal(size=shape), -1) + (1.0 + rng.random(shape)) * np.eye(shape[-1])).astype(
                self.dtype
            )
        if self.domain == "with zeros":
            return replace(self, domain="real").values(rng) * (rng.random(shape) < 0.6).astype(self.dtype)[()]
        if self.domain == "count":
            return rng.integers(0, 4, shape).astype(self.dtype)[()]
        low, high = RANGES.get(self.domain, (-2.0, 2.0))
        if kind == "b":
            x = rng.random(shape) < (0.6 if self.domain in ("real", "missing") else 1.0)
        elif kind in "iu":
            x = rng.integers(int(np.ceil(low)), max(int(high), int(np.ceil(low))) + 1, shape)
        else:
            x = rng.uniform(low, high, shape)
            if self.domain == "missing":
                x = np.where(rng.random(shape) < 0.3, np.nan, x)
        return np.asarray(x).astype(self.dtype)[()]


def straight(function, arrays, rest, more):
    return function(*arrays, *rest, **more)


def listed(function, arrays, rest, more):
    return function(list(arrays), *rest, **more)


@dataclass(frozen=True)
class Call:
    """`function(*arrays, *rest, **more)`, or as `how` arranges them; the arrays at `known` are constants."""

    function: Callable
    slots: tuple[Slot, ...]
    rest: tuple = ()
    more: dict[str, Any] = field(default_factory=dict)
    how: Callable = straight
    known: frozenset[int] | None = None  # None: whatever is drawn
    smooth: bool = True
    seed: int = 0

    def row(self, i: int) -> list:
        """Row i of the arrays: the constants are those of row 0."""
        rows = [np.random.default_rng((self.seed, j)) for j in (0, i)]
        pairs = [[s.values(rng) for s in self.slots] for rng in rows]
        return [pairs[0 if k in (self.known or ()) else 1][k] for k in range(len(self.slots))]

    def open(self) -> list[int]:
        """Numbers of the arrays that are recorded."""
        return [i for i in range(len(self.slots)) if i not in (self.known or ())]

    def __call__(self, *recorded: Any, function: Callable | None = None) -> list:
        """The results as a list, at values of the recorded arrays."""
        arrays = self.row(0)
        for i, x in zip(self.open(), recorded, strict=True):
            arrays[i] = x
        found = self.how(function or self.function, arrays, self.rest, self.more)
        return list(found) if isinstance(found, tuple | list) else [found]


STRATEGIES: dict[Callable, st.SearchStrategy[Call]] = {}


def draws(*functions):
    """Register `make(draw, function) -> Call` as the strategy of these functions."""

    def register(make):
        for f in functions:
            if f is not None:
                STRATEGIES[f] = _finished(make, f)
        return make

    return register


@st.composite
def _finished(draw, make, function):
    """Draw a call, a seed for its numbers, and which of several arrays are constants."""
    call = make(draw, function)
    n = len(call.slots)
    known = draw(st.sampled_from([frozenset()] * n + [frozenset((i,)) for i in range(n)])) if n > 1 else frozenset()
    return replace(call, known=known if call.known is None else call.known, seed=draw(st.integers(0, 2**16)))


# -- what calls are made of --------------------------------------------------------------------------------
SHAPES = st.one_of(
    hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4), hnp.array_shapes(max_dims=4, max_side=3)
)
DTYPES = st.sampled_from([FLOAT] * 4 + [SINGLE, WHOLE, SHORT, TRUTH])
FLOATS = st.sampled_from([FLOAT] * 3 + [SINGLE])
OFFSETS = st.integers(-3, 3)


def shapes(min_dims=0, max_dims=3, min_side=0, max_side=4):
    return hnp.array_shapes(min_dims=min_dims, max_dims=max_dims, min_side=min_side, max_side=max_side)


def axis_of(ndim: int, none: bool = True, scalars: bool = False):
    """One axis from either end, rarely one that is not there, and None; some functions take a scalar for a vector."""
    valid = [*range(-ndim, ndim)] * 3 or [0] * scalars
    return st.sampled_from([*valid, ndim + (not ndim), *([None] * (ndim + 1) if none else [])])


def axes_of(ndim: int, scalars: bool = False):
    """One axis, several, none of them or all."""
    return st.one_of(axis_of(ndim, scalars=scalars), hnp.valid_tuple_axes(ndim))


def one(draw, domain="real", min_dims=0, dtypes=DTYPES, smooth=True) -> Slot:
    shape = draw(SHAPES.filter(lambda s: len(s) >= min_dims) if min_dims else SHAPES)
    return Slot(shape, domain, draw(dtypes), smooth)


def broadcasting(draw, domains, dtypes=DTYPES, smooth=None) -> tuple[Slot, ...]:
    """Arrays whose shapes broadcast; rarely ones that do not."""
    n = len(domains)
    found = draw(hnp.mutually_broadcastable_shapes(num_shapes=n, max_dims=3, min_side=0, max_side=3)).input_shapes
    if n > 1 and draw(st.integers(0, 15)) == 0:
        found = ((2,), (3,)) + tuple(found[2:])
    smooth = smooth or (True,) * n
    kinds = [draw(FLOATS if d == "unit" else dtypes) for d in domains]  # whole numbers are the edges of the unit
    return tuple(Slot(s, d, k, f) for s, d, k, f in zip(found, domains, kinds, smooth, strict=True))


# -- elementwise -------------------------------------------------------------------------------------------
ELEMENTWISE = {
    ("real",): (
        np.exp, np.expm1, np.abs, np.sin, np.cos, np.arctan, np.sinh, np.cosh, np.tanh, np.arcsinh, np.deg2rad,
        np.rad2deg, np.degrees, np.radians, np.square, np.positive, np.negative, np.fabs, np.exp2, np.sinc,
        np.conjugate,
        np.real, np.imag, np.isreal, np.iscomplex, np.real_if_close, np.modf, special.log_expit, special.expit,
        special.erf, special.erfc, special.erfcx, special.erfi, special.dawsn, special.ndtr, special.log_ndtr,
        special.i0, special.i1, special.i0e, special.i1e, special.j0, special.j1, special.exprel, special.expm1,
        special.cosm1, special.exp2, special.exp10, special.wrightomega, op.softplus,
    ),
    ("positive",): (
        np.log, np.log1p, np.sqrt, np.cbrt, np.reciprocal, np.log2, np.log10, special.gammaln, special.loggamma,
        special.digamma, special.gamma, special.rgamma, special.entr, special.cbrt, special.log1p, special.spence,
        special.exp1, special.expi, special.k0, special.k1, special.k0e, special.k1e, special.y0, special.y1,
        A.binet, A.binet_slope, A.binet_bend,
    ),
    ("unit",): (
        np.tan, np.arcsin, np.arccos, np.arctanh, special.logit, special.erfinv, special.erfcinv, special.ndtri,
    ),
    ("above one",): (np.arccosh,),
    ("negative",): (special.ndtri_exp,),
    ("real", "real"): (
        np.add, np.subtract, np.multiply, np.maximum, np.minimum, np.fmax, np.fmin, np.logaddexp, np.logaddexp2,
        np.arctan2, np.copysign, special.owens_t,
    ),
    ("real", "positive"): (np.true_divide,),
    ("positive", "positive"): (
        np.hypot, np.remainder, np.fmod, np.divmod, special.betaln, special.beta,
        special.xlogy, special.xlog1py, special.rel_entr, special.kl_div, special.poch, special.boxcox,
        special.boxcox1p,
        special.inv_boxcox, special.inv_boxcox1p, special.pseudo_huber, special.gammainc, special.gammaincc,
        A.xlogx_gap, A.gammaln_gap, A.binet_gap,
    ),
    ("above one", "unit"): (special.binom,),
    ("unit", "real"): (specials.tanh_root,),
    ("positive", "real"): (special.huber,),
    ("shape", "unit"): (
        special.gammaincinv, special.gammainccinv, quantiles.log_gamma_quantile, quantiles.log_wald_quantile,
    ),
    ("shape", "positive"): (specials.gammainc_slope,),
    ("shape", "real"): (special.stdtr, quantiles.gamma_shift),
    ("above one", "positive"): (specials.ZETA,),
}  # fmt: skip
ELEMENTWISE[("shape", "unit")] += (special.stdtrit,)
ELEMENTWISE[("shape", "positive")] += (special.iv, special.ive, special.kv, special.kve, special.jv, special.yv)
ELEMENTWISE[("positive", "shape", "unit")] = (
    special.betainc,
    special.betaincc,
    special.betaincinv,
    special.betainccinv,
    quantiles.logit_beta_quantile,
)
ELEMENTWISE[("positive", "shape", "real")] = (quantiles.beta_shift,)
ELEMENTWISE[("real", "shape", "unit")] = (quantiles.von_mises_quantile,)
ELEMENTWISE[("real", "shape", "real")] = (quantiles.von_mises_shift, quantiles.von_mises_cdf)
# Those whose derivative is known in the last argument alone, or in the first.
LAST = {
    specials.ZETA, special.iv, special.ive, special.kv, special.kve, special.jv, special.yv,
}  # fmt: skip
FIRST = {special.inv_boxcox, special.inv_boxcox1p}
for _domains, _functions in ELEMENTWISE.items():

    @draws(*_functions)
    def elementwise(draw, f, domains=_domains):
        n = len(domains)
        smooth = tuple((f not in LAST or i == n - 1) and (f not in FIRST or i == 0) for i in range(n))
        return Call(f, broadcasting(draw, domains, smooth=smooth))


STEPS = {
    1: (
        np.sign, np.floor, np.ceil, np.rint, np.trunc, np.fix, np.isfinite, np.isnan, np.isinf, np.isposinf,
        np.isneginf, np.signbit, np.logical_not, np.invert, special.gammasgn, special.round,
    ),
    2: (
        np.greater, np.greater_equal, np.less, np.less_equal, np.equal, np.not_equal, np.floor_divide, np.heaviside,
        np.logical_and, np.logical_or, np.logical_xor, np.bitwise_and, np.bitwise_or, np.bitwise_xor, np.gcd, np.lcm,
        np.isclose, np.allclose, np.array_equal,
    ),
}  # fmt: skip
for _n, _functions in STEPS.items():

    @draws(*_functions)
    def stepwise(draw, f, n=_n):
        domain = "positive" if f is np.floor_divide else "real"
        return Call(f, broadcasting(draw, (domain,) * n), smooth=False)


@draws(np.power, np.float_power)
def raising(draw, f):
    domains = draw(st.sampled_from([("positive", "positive"), ("with zeros", "count"), ("positive", "count")]))
    known = frozenset((1,)) if domains[0] == "with zeros" else None  # no derivative in an exponent of zero
    return Call(f, broadcasting(draw, domains), known=known)


@draws(op.agreeing)
def choosing_between_formulas(draw, f):
    return Call(f, broadcasting(draw, ("real",) * 3, smooth=(False, True, True)))


@draws(np.left_shift, np.right_shift)
def shifting(draw, f):
    return Call(f, broadcasting(draw, ("positive", "positive"), st.sampled_from([WHOLE, SHORT, FLOAT])), smooth=False)


@draws(np.ldexp)
def scaled_by_power(draw, f):
    a, b = broadcasting(draw, ("real", "real"), FLOATS)
    return Call(f, (a, replace(b, dtype=SHORT)))


@draws(np.where, op.where)
def choosing(draw, f):
    condition, a, b = broadcasting(draw, ("real",) * 3)
    return Call(f, (replace(condition, dtype=TRUTH), a, b))


@draws(np.clip)
def clipping(draw, f):
    x, low, high = broadcasting(draw, ("real", "negative", "positive"))
    left_out = draw(st.sampled_from(["", "low", "high"]))
    slots = {"": (x, low, high), "low": (x, high), "high": (x, low)}[left_out]
    how = {"low": lambda f, v, r, m: f(v[0], None, v[1])}.get(left_out, straight)
    return Call(f, slots, rest=(None,) if left_out == "high" else (), how=how)


@draws(np.nan_to_num)
def numbers_for_missing(draw, f):
    more = draw(st.sampled_from([{}, {"nan": 1.5}, {"posinf": 3.0, "neginf": -2.0}]))
    return Call(f, (one(draw, "missing", dtypes=DTYPES),), more=more)


@draws(np.round, np.around)
def rounding(draw, f):
    return Call(f, (one(draw),), rest=(draw(st.integers(-1, 2)),), smooth=False)


@draws(np.astype, op.cast)
def casting(draw, f):
    to = draw(st.sampled_from([FLOAT, SINGLE, WHOLE, SHORT, TRUTH]))
    return Call(f, (one(draw),), rest=(to,), smooth=to == FLOAT)


@draws(np.select)
def selecting(draw, f):
    slots = broadcasting(draw, ("real",) * 5)
    slots = tuple(replace(s, dtype=TRUTH) for s in slots[:2]) + slots[2:]
    return Call(f, slots, how=lambda f, v, r, m: f(list(v[:2]), list(v[2:4]), v[4]))


@draws(np.zeros_like, np.ones_like, np.empty_like)
def likes(draw, f):
    more = draw(st.sampled_from([{}, {"dtype": np.float32}, {"shape": (2, 0)}, {"shape": 3}]))
    how = straight
    if f is np.empty_like:  # whatever its numbers are

        def how(f, v, r, m):
            found = f(*v, **m)
            return np.zeros(found.shape, found.dtype)

    return Call(f, (one(draw),), more=more, how=how, smooth=False)


@draws(np.full_like)
def filled(draw, f):
    x, fill = broadcasting(draw, ("real", "real"))
    more = draw(st.sampled_from([{}, {"dtype": np.float64}, {"dtype": np.int64}]))
    known = draw(st.sampled_from([frozenset(), frozenset((1,))]))
    return Call(f, (x, replace(fill, shape=x.shape if draw(st.booleans()) else ())), more=more, known=known)


@draws(op.stop_gradient)
def stopping(draw, f):
    return Call(f, (one(draw),), smooth=False)


@draws(op.draw_of)
def marking(draw, f):
    return Call(f, (one(draw),), rest=("z",))


# -- reductions --------------------------------------------------------------------------------------------
@draws(
    np.sum,
    np.mean,
    np.prod,
    np.max,
    np.min,
    np.amax,
    np.amin,
    np.any,
    np.all,
    np.count_nonzero,
    np.ptp,
    np.logaddexp.reduce,
)
def reducing(draw, f):
    x = one(draw)
    more = {"axis": draw(axes_of(len(x.shape), scalars=f is not np.mean))}
    if draw(st.booleans()):
        more["keepdims"] = draw(st.booleans())
    if f == np.logaddexp.reduce and x.dtype == TRUTH:
        x = replace(x, dtype=FLOAT)
    return Call(f, (x,), more=more, smooth=f not in (np.any, np.all, np.count_nonzero))


@draws(np.var, np.std)
def spreading(draw, f):
    x = one(draw)
    more = {"axis": draw(axes_of(len(x.shape))), "ddof": draw(st.sampled_from([0, 0, 1, 0.5]))}
    n = np.prod(
        [
            1,
            *(
                x.shape[a]
                for a in np.atleast_1d(range(len(x.shape)) if more["axis"] is None else more["axis"])
                if -len(x.shape) <= a < len(x.shape)
            ),
        ]
    )
    return Call(f, (x,), more={**more, "keepdims": draw(st.booleans())}, smooth=f is np.var or n > 1)


@draws(np.nansum, np.nanprod, np.nanmean, np.nanmax, np.nanmin, np.nanvar, np.nanstd)
def reducing_what_is_there(draw, f):
    x = one(draw, "missing")
    more = {
        "axis": draw(axes_of(len(x.shape), scalars=f not in (np.nanmean, np.nanvar, np.nanstd))),
        "keepdims": draw(st.booleans()),
    }
    return Call(f, (x,), more=more, smooth=f is not np.nanstd)


@draws(np.argmax, np.argmin, op.position_of_largest)
def positions(draw, f):
    x = one(draw, min_dims=1 if f is op.position_of_largest else 0)
    if f is op.position_of_largest:
        return Call(f, (x,), rest=(draw(st.integers(0, len(x.shape) - 1)),), smooth=False)
    return Call(
        f, (x,), more={"axis": draw(axis_of(len(x.shape), scalars=True)), "keepdims": draw(st.booleans())}, smooth=False
    )


@draws(np.cumsum, np.cumprod, np.nancumsum, np.nancumprod, np.sort, np.argsort)
def along(draw, f):
    x = one(draw, "missing" if f in (np.nancumsum, np.nancumprod) else "real")
    if f is np.argsort:  # equal elements have no order of their own
        x = replace(x, dtype=FLOAT)
    return Call(
        f, (x,), more={"axis": draw(axis_of(len(x.shape), scalars=f is not np.sort))}, smooth=f is not np.argsort
    )


@draws(getattr(np, "cumulative_sum", None), getattr(np, "cumulative_prod", None))
def cumulating(draw, f):
    x = one(draw)
    return Call(
        f, (x,), more={"axis": draw(axis_of(len(x.shape), scalars=True)), "include_initial": draw(st.booleans())}
    )


@draws(np.diff)
def differing(draw, f):
    x = one(draw)
    return Call(f, (x,), more={"n": draw(st.integers(0, 3)), "axis": draw(axis_of(len(x.shape), none=False))})


@draws(np.ediff1d)
def differing_flat(draw, f):
    parts = (one(draw, dtypes=FLOATS), *(Slot(draw(shapes(max_dims=1)), dtype=FLOAT) for _ in range(2)))
    kept = draw(st.integers(1, 3))
    return Call(f, parts[:kept])


@draws(np.average)
def averaging(draw, f):
    x = one(draw)
    axis = draw(axes_of(len(x.shape)))
    if draw(st.booleans()) and 0 not in x.shape:
        return Call(f, (x,), more={"axis": axis, "keepdims": draw(st.booleans())})
    shape = x.shape
    if isinstance(axis, int) and -len(shape) <= axis < len(shape) and draw(st.booleans()):
        shape = (shape[axis],)
    how = lambda f, v, r, m: f(v[0], weights=v[1], **m)
    return Call(f, (x, Slot(shape, "positive", draw(FLOATS))), more={"axis": axis}, how=how)


def with_elements(draw):
    """An array without empty axes: of empty ones NumPy's order statistics refuse some and answer others."""
    return Slot(draw(shapes(min_side=1)), dtype=draw(DTYPES))


@draws(np.median)
def middle(draw, f):
    x = with_elements(draw)
    return Call(
        f, (x,), more={"axis": draw(axes_of(len(x.shape)).filter(lambda a: a != ())), "keepdims": draw(st.booleans())}
    )


@draws(np.quantile, np.percentile)
def quantiles(draw, f):
    x = with_elements(draw)
    q = draw(st.sampled_from([0.0, 1.0, 0.5, 0.3, np.float64(0.4), [0.1, 0.9], [[0.25], [1.0]]]))
    more = {"axis": draw(axes_of(len(x.shape)).filter(lambda a: a != ())), "keepdims": draw(st.booleans())}
    return Call(
        f,
        (x,),
        rest=(q if f is np.quantile else q * 10 if type(q) is float else np.multiply(q, 100),),
        more=more,
    )


@draws(op.total, op.largest, op.log_total_exp)
def own_reducing(draw, f):
    x = one(draw, dtypes=FLOATS)
    axes = draw(st.sets(st.integers(0, len(x.shape) - 1)).map(sorted).map(tuple)) if x.shape else ()
    return Call(f, (x,), rest=(axes,))


@draws(op.running_sum, op.in_order, op.order_of, op.rank_of)
def own_along(draw, f):
    x = one(draw, min_dims=1, dtypes=FLOATS)
    return Call(f, (x,), rest=(draw(st.integers(0, len(x.shape) - 1)),), smooth=f in (op.running_sum, op.in_order))


@draws(op.windows)
def windowing(draw, f):
    lead, sizes, strides, dilations, places, features = _window(draw)
    space = tuple((p - 1) * s + d * (k - 1) + 1 for p, s, d, k in zip(places, strides, dilations, sizes, strict=True))
    space = tuple(n + draw(st.integers(0, s - 1)) for n, s in zip(space, strides, strict=True))
    return Call(f, (Slot((*lead, *space, features), dtype=draw(FLOATS)),), rest=(sizes, strides, dilations))


@draws(op.overlaid)
def overlaying(draw, f):
    lead, sizes, strides, dilations, places, features = _window(draw)
    space = tuple((p - 1) * s + d * (k - 1) + 1 for p, s, d, k in zip(places, strides, dilations, sizes, strict=True))
    x = Slot((*lead, *places, *sizes, features), dtype=draw(FLOATS))
    return Call(f, (x,), rest=(space, strides, dilations))


def _window(draw):
    """Axes in front, sizes, strides and dilations of windows on one or two axes, how many, and features."""
    few = lambda most: tuple(draw(st.integers(1, most)) for _ in range(n))
    n = draw(st.integers(1, 2))
    lead = draw(st.sampled_from([(), (2,), (1, 3)]))
    return lead, few(3), few(3), few(2), few(3), draw(st.integers(1, 2))


# -- shapes ------------------------------------------------------------------------------------------------
@st.composite
def shape_of_size(draw, size):
    """A shape of so many elements, with at most one side left open."""
    sides = []
    if size == 0:
        return draw(st.sampled_from([(0,), (2, 0), (0, 3), (0, -1, 2)]))
    while size > 1 and draw(st.booleans()):
        side = draw(st.sampled_from([k for k in range(1, size + 1) if size % k == 0]))
        sides.append(side)
        size //= side
    sides.insert(draw(st.integers(0, len(sides))), draw(st.sampled_from([size, -1, size])))
    return tuple(sides)


@draws(np.reshape)
def reshaping(draw, f):
    x = one(draw)
    new = draw(shape_of_size(int(np.prod(x.shape, dtype=int))))
    return Call(f, (x,), rest=(draw(st.sampled_from([new, new, -1, (7, 5)])),))


@draws(op.reshape)
def own_reshaping(draw, f):
    x = one(draw)
    return Call(f, (x,), rest=((1, int(np.prod(x.shape, dtype=int)), 1),))


@draws(np.ravel, np.copy, np.i0, np.transpose, np.permute_dims, np.matrix_transpose, np.linalg.matrix_transpose)
def as_it_is(draw, f):
    return Call(f, (one(draw),))


@draws(np.atleast_1d, np.atleast_2d, np.atleast_3d)
def lifting(draw, f):
    return Call(f, tuple(one(draw) for _ in range(draw(st.integers(1, 2)))))


@draws(np.squeeze)
def squeezing(draw, f):
    shape = draw(st.lists(st.sampled_from([1, 1, 2, 0]), max_size=4).map(tuple))
    valid = [a for a, n in enumerate(shape) if n == 1]
    axes = st.one_of(st.none(), st.sampled_from(valid), st.just(tuple(valid))) if valid else st.none()
    return Call(f, (Slot(shape, dtype=draw(DTYPES)),), rest=(draw(st.one_of(axes, axis_of(len(shape)))),))


@draws(np.expand_dims)
def expanding(draw, f):
    x = one(draw)
    n = len(x.shape)
    axis = st.one_of(
        st.integers(-n - 1, n + 1), st.lists(st.integers(-n - 2, n + 1), min_size=1, max_size=2).map(tuple)
    )
    return Call(f, (x,), rest=(draw(axis),))


@st.composite
def some_order(draw, n):
    order = draw(st.permutations(range(n)))
    return tuple(a - n if draw(st.booleans()) else a for a in order)


@draws(op.transpose)
def own_transposing(draw, f):
    x = one(draw)
    return Call(f, (x,), rest=(tuple(draw(st.permutations(range(len(x.shape))))),))


def transposing(draw, f):
    x = one(draw)
    return Call(f, (x,), rest=(draw(st.one_of(st.none(), some_order(len(x.shape)))),))


for _f in (np.transpose, np.permute_dims):
    STRATEGIES[_f] = _finished(transposing, _f)


@draws(np.swapaxes)
def swapping(draw, f):
    x = one(draw, min_dims=1)
    return Call(f, (x,), rest=tuple(draw(axis_of(len(x.shape), none=False)) for _ in range(2)))


@draws(np.moveaxis)
def moving(draw, f):
    x = one(draw, min_dims=1)
    n = len(x.shape)
    if draw(st.booleans()):
        return Call(f, (x,), rest=tuple(draw(axis_of(n, none=False)) for _ in range(2)))
    k = draw(st.integers(0, n))
    return Call(f, (x,), rest=tuple(draw(some_order(n))[:k] for _ in range(2)))


@draws(np.rollaxis)
def rolling_axis(draw, f):
    x = one(draw, min_dims=1)
    n = len(x.shape)
    return Call(f, (x,), rest=(draw(axis_of(n, none=False)), draw(st.integers(-n, n + 1))))


@draws(np.broadcast_to, op.broadcast)
def repeating_axes(draw, f):
    (shape,), result = draw(
        hnp.mutually_broadcastable_shapes(num_shapes=1, base_shape=draw(shapes()), max_dims=3, min_side=0)
    )
    if f is np.broadcast_to and draw(st.integers(0, 9)) == 0:
        result = (*result, 5)
    return Call(f, (Slot(shape, dtype=draw(DTYPES)),), rest=(result,))


@draws(np.broadcast_arrays)
def repeating_together(draw, f):
    return Call(f, broadcasting(draw, ("real",) * draw(st.integers(1, 3))))


@st.composite
def joinable(draw, axis_only=False):
    """Shapes that differ along one axis, and that axis."""
    shape = list(draw(shapes(min_dims=1)))
    axis = draw(st.integers(0, len(shape) - 1))
    sides = draw(st.lists(st.integers(0, 3), min_size=1, max_size=3))
    return [tuple(shape[:axis] + [n] + shape[axis + 1 :]) for n in sides], axis - draw(st.sampled_from([0, len(shape)]))


@draws(np.concatenate, op.concatenate)
def joining(draw, f):
    found, axis = draw(joinable())
    slots = tuple(Slot(s, dtype=draw(DTYPES)) for s in found)
    if f is op.concatenate:
        return Call(f, slots, rest=(axis % len(found[0]),), how=lambda f, v, r, m: f(tuple(v), *r))
    return Call(f, slots, more={"axis": draw(st.sampled_from([axis, axis, axis, None, 7]))}, how=listed)


@draws(np.append)
def appending(draw, f):
    found, axis = draw(joinable())
    return Call(
        f,
        tuple(Slot(s, dtype=draw(DTYPES)) for s in (found[0], found[-1])),
        more={"axis": draw(st.sampled_from([axis, None]))},
    )


@draws(np.stack)
def stacking(draw, f):
    shape, n = draw(shapes()), draw(st.integers(1, 3))
    slots = tuple(Slot(shape, dtype=draw(DTYPES)) for _ in range(n))
    return Call(f, slots, more={"axis": draw(st.integers(-len(shape) - 1, len(shape) + 1))}, how=listed)


@draws(np.hstack, np.vstack, np.dstack, np.column_stack)
def stacking_by_name(draw, f):
    found = draw(
        st.one_of(
            joinable().map(lambda j: j[0]), shapes(max_dims=1).map(lambda s: [s, s]), shapes().map(lambda s: [s] * 2)
        )
    )
    return Call(f, tuple(Slot(s, dtype=draw(DTYPES)) for s in found), how=listed)


@draws(np.block)
def blocks(draw, f):
    a, b, c, d = (draw(st.integers(0, 2)) for _ in range(4))
    lead = draw(st.sampled_from([(), (), (2,)]))
    slots = tuple(Slot((*lead, m, n), dtype=draw(DTYPES)) for m, n in ((a, c), (a, d), (b, c), (b, d)))
    rows = lambda f, v, r, m: f([v[0], v[1]])
    table = lambda f, v, r, m: f([[v[0], v[1]], [v[2], v[3]]])
    return draw(st.sampled_from([Call(f, slots[:2], how=rows), Call(f, slots, how=table)]))


@draws(np.array_split, np.split)
def splitting(draw, f):
    x = one(draw, min_dims=1)
    parts = draw(st.one_of(st.integers(1, 4), st.lists(st.integers(-2, 4), max_size=3).map(sorted)))
    return Call(f, (x,), rest=(parts, draw(axis_of(len(x.shape), none=False))))


@draws(np.hsplit, np.vsplit, np.dsplit)
def splitting_by_name(draw, f):
    return Call(f, (one(draw),), rest=(draw(st.sampled_from([1, 2, [1], [0, 2]])),))


@draws(getattr(np, "unstack", None))
def unstacking(draw, f):
    x = one(draw)
    return Call(f, (x,), more={"axis": draw(axis_of(len(x.shape), none=False))})


@draws(np.flip)
def flipping(draw, f):
    x = one(draw)
    return Call(f, (x,), more={"axis": draw(axes_of(len(x.shape)))})


@draws(np.flipud, np.fliplr)
def flipping_by_name(draw, f):
    return Call(f, (one(draw),))


@draws(np.rot90)
def turning(draw, f):
    x = one(draw, min_dims=2)
    return Call(f, (x,), more={"k": draw(st.integers(-2, 5)), "axes": draw(some_order(len(x.shape)))[:2]})


@draws(np.roll)
def rolling(draw, f):
    x = one(draw)
    axis = draw(axes_of(len(x.shape)).filter(lambda a: a != ()))
    shift = st.integers(-5, 5)
    if isinstance(axis, tuple):
        shift = st.one_of(shift, st.lists(shift, min_size=len(axis), max_size=len(axis)).map(tuple))
    return Call(f, (x,), rest=(draw(shift), axis))


@draws(np.repeat)
def repeating(draw, f):
    x = one(draw)
    axis = draw(axis_of(len(x.shape), scalars=True))
    n = int(np.prod(x.shape, dtype=int)) if axis is None or axis == len(x.shape) else x.shape[axis] if x.shape else 1
    repeats = st.one_of(st.integers(0, 3), st.lists(st.integers(0, 2), min_size=n, max_size=n))
    return Call(f, (x,), rest=(draw(repeats), axis))


@draws(np.tile)
def tiling(draw, f):
    reps = draw(st.one_of(st.integers(0, 3), st.lists(st.integers(0, 2), max_size=4).map(tuple)))
    return Call(f, (Slot(draw(shapes(max_side=3)), dtype=draw(DTYPES)),), rest=(reps,))


@draws(np.resize)
def resizing(draw, f):
    return Call(f, (one(draw),), rest=(draw(st.one_of(shapes(max_dims=2), st.integers(0, 5))),))


@st.composite
def places(draw, n, many=True):
    """Positions along an axis of n: a number, several, a slice, a mask."""
    if n == 0:
        return draw(st.sampled_from([[], slice(None)]))
    position = st.integers(-n, n - 1)
    several = st.one_of(st.lists(position, max_size=3), st.slices(n), hnp.arrays(bool, n))
    return draw(st.one_of(position, several) if many else position)


@draws(np.delete)
def deleting(draw, f):
    x = one(draw, min_dims=1)
    axis = draw(axis_of(len(x.shape)).filter(lambda a: a is None or a < len(x.shape)))
    n = int(np.prod(x.shape, dtype=int)) if axis is None else x.shape[axis]
    return Call(f, (x,), rest=(draw(places(n)), axis))


@draws(np.insert)
def inserting(draw, f):
    x = one(draw, min_dims=1)
    axis = draw(axis_of(len(x.shape)).filter(lambda a: a is None or a < len(x.shape)))
    n = int(np.prod(x.shape, dtype=int)) if axis is None else x.shape[axis]
    where = draw(st.one_of(st.integers(-n, n), st.lists(st.integers(0, n), min_size=1, max_size=2)))
    how = lambda f, v, r, m: f(v[0], r[0], v[1], axis=r[1])
    return Call(f, (x, Slot((), dtype=draw(DTYPES))), rest=(where, axis), how=how)


@draws(np.compress)
def compressing(draw, f):
    x = one(draw)
    axis = draw(axis_of(len(x.shape)))
    n = int(np.prod(x.shape, dtype=int)) if axis is None or axis >= len(x.shape) else x.shape[axis]
    keep = draw(st.lists(st.booleans(), max_size=min(4, n)))
    return Call(f, (x,), more={"axis": axis}, how=lambda f, v, r, m: f(keep, v[0], **m))


@draws(np.pad)
def padding(draw, f):
    x = one(draw, min_dims=1)
    n = len(x.shape)
    width = st.one_of(st.integers(0, 2), st.lists(st.tuples(*[st.integers(0, 2)] * 2), min_size=n, max_size=n))
    mode = draw(st.sampled_from(["constant", "edge", "wrap", "reflect", "symmetric"]))
    more = {"constant_values": draw(st.sampled_from([0, 2, 1.5]))} if mode == "constant" and draw(st.booleans()) else {}
    return Call(f, (x,), rest=(draw(width), mode), more=more)


@draws(np.take)
def taking(draw, f):
    x = one(draw)
    axis = draw(axis_of(len(x.shape), scalars=True))
    n = int(np.prod(x.shape, dtype=int)) if axis is None or axis == len(x.shape) else x.shape[axis] if x.shape else 1
    at = Slot(draw(shapes(max_dims=2)) if n else (0,), f"below {n}", WHOLE)
    return Call(f, (x, at), more={"axis": axis}, known=draw(st.sampled_from([frozenset(), frozenset((1,))])))


@draws(np.take_along_axis)
def taking_along(draw, f):
    x = one(draw, min_dims=1)
    axis = draw(axis_of(len(x.shape), none=False).filter(lambda a: a < len(x.shape)))
    n = list(x.shape)
    size, n[axis] = n[axis], draw(st.integers(0, 3)) if n[axis] else 0
    at = Slot(tuple(n), f"below {size}", WHOLE)
    return Call(f, (x, at), more={"axis": axis}, known=draw(st.sampled_from([frozenset(), frozenset((1,))])))


@draws(np.diag)
def diagonals(draw, f):
    return Call(f, (Slot(draw(shapes(min_dims=0, max_dims=3)), dtype=draw(DTYPES)),), rest=(draw(OFFSETS),))


STRATEGIES[np.diagflat] = _finished(diagonals, np.diagflat)


@draws(np.diagonal, np.trace)
def diagonals_of_axes(draw, f):
    x = one(draw, min_dims=2)
    axes = draw(some_order(len(x.shape)))[:2]
    return Call(f, (x,), rest=draw(st.sampled_from([(), (draw(OFFSETS), *axes)])))


@draws(np.linalg.diagonal, np.linalg.trace)
def diagonals_of_matrices(draw, f):
    return Call(f, (one(draw, min_dims=2),), more={"offset": draw(OFFSETS)})


@draws(np.tril, np.triu)
def triangles(draw, f):
    return Call(f, (one(draw),), rest=(draw(OFFSETS),))


# -- indexing ----------------------------------------------------------------------------------------------
@st.composite
def keys(draw, shape):
    """Integers, slices (also backwards), None, Ellipsis, integer and boolean arrays, mixed."""
    basic = hnp.basic_indices(shape, allow_newaxis=True, allow_ellipsis=True)
    if draw(st.booleans()) or not shape:
        return draw(basic)
    if 0 not in shape and draw(st.booleans()):
        return draw(hnp.integer_array_indices(shape, result_shape=shapes(max_dims=2, max_side=3)))
    if draw(st.integers(0, 3)) == 0:
        return draw(hnp.arrays(bool, shape[: draw(st.integers(1, len(shape)))]))
    key = []
    for n in shape[: draw(st.integers(1, len(shape)))]:
        position = st.integers(-n, n - 1)
        array = st.lists(position, min_size=2, max_size=2) if n else st.just([])
        parts = [st.slices(n), st.just(slice(None)), array, array.map(np.array).map(lambda a: a.astype(int))]
        key.append(draw(st.one_of(*parts, position) if n else st.one_of(*parts[:2])))
    for extra in draw(st.sampled_from([(), (), (None,), (Ellipsis,), (None, Ellipsis)])):
        key.insert(draw(st.integers(0, len(key))), extra)
    return tuple(key)


@draws(operator.getitem, op.index)
def indexing(draw, f):
    x = one(draw)
    return Call(operator.getitem, (x,), rest=(draw(keys(x.shape)),))


@draws(op.scatter)
def scattering(draw, f):
    shape = draw(shapes(min_dims=1, min_side=1))
    key = draw(keys(shape))
    try:
        picked = np.zeros(shape)[key].shape
    except IndexError:
        reject()
    return Call(f, (Slot(picked, dtype=draw(FLOATS)),), rest=(key, shape))


@draws(rows_of)
def reading(draw, f):
    shape = draw(shapes(min_dims=1, min_side=1))
    table = Rows(np.arange(float(np.prod(shape)) + 1.0)[:-1].reshape(shape))
    at = Slot(draw(shapes(max_dims=2)), f"below {shape[0]}", WHOLE)
    return Call(f, (at,), how=lambda f, v, r, m: f(table, v[0]), smooth=False)


# -- order and curves --------------------------------------------------------------------------------------
KNOTS = st.lists(st.sampled_from([-1.5, -0.7, 0.1, 0.9, 1.3]), min_size=1, max_size=5).map(sorted).map(np.array)


@draws(np.searchsorted)
def placing(draw, f):
    knots, side = draw(KNOTS), draw(st.sampled_from(["left", "right"]))
    return Call(f, (one(draw),), how=lambda f, v, r, m: f(knots, v[0], side), smooth=False)


@draws(op.place_among)
def own_placing(draw, f):
    return Call(f, (one(draw),), rest=(draw(KNOTS), draw(st.sampled_from(["left", "right"]))), smooth=False)


@draws(np.digitize)
def binning(draw, f):
    bins = draw(st.one_of(KNOTS, KNOTS.map(lambda k: k[::-1])))
    return Call(f, (one(draw, dtypes=FLOATS),), rest=(bins, draw(st.booleans())), smooth=False)


@draws(np.interp)
def interpolating(draw, f):
    knots = np.unique(draw(KNOTS))
    x, heights = one(draw), Slot(knots.shape)
    more = draw(st.sampled_from([{}, {"left": 5.0}, {"right": -1.0}]))
    return Call(f, (x, heights), more=more, how=lambda f, v, r, m: f(v[0], knots, v[1], **m))


@draws(np.trapezoid if hasattr(np, "trapezoid") else None)
def area(draw, f):
    y = one(draw, min_dims=1)
    axis = draw(axis_of(len(y.shape), none=False).filter(lambda a: a < len(y.shape)))
    if draw(st.booleans()):
        return Call(f, (y,), more={"axis": axis, "dx": draw(st.sampled_from([1.0, 0.5]))})
    x = Slot(draw(st.sampled_from([y.shape, (y.shape[axis],)])), dtype=draw(FLOATS))
    return Call(f, (y, x), more={"axis": axis})


@draws(np.gradient)
def sloping(draw, f):
    x = one(draw, min_dims=1)
    axes = draw(hnp.valid_tuple_axes(len(x.shape), min_size=1))
    inside = [x.shape[a] for a in axes]
    step = lambda n: st.sampled_from([0.5, 2.0, np.cumsum(np.linspace(0.5, 1.0, n))])
    spacing = draw(st.sampled_from([(), (0.5,), tuple(draw(step(n)) for n in inside)]))
    return Call(f, (x,), rest=spacing, more={"axis": axes, "edge_order": draw(st.integers(1, 2))})


@draws(np.convolve, np.correlate)
def folding(draw, f):
    a, b = (Slot(draw(shapes(min_dims=1, max_dims=1)), dtype=draw(DTYPES)) for _ in range(2))
    return Call(f, (a, b), rest=draw(st.sampled_from([(), ("full",), ("same",), ("valid",)])))


@draws(np.vander)
def powers_of_a_vector(draw, f):
    x = Slot(draw(shapes(min_dims=1, max_dims=1)), dtype=draw(DTYPES))
    return Call(f, (x,), more={"N": draw(st.sampled_from([None, 0, 1, 4])), "increasing": draw(st.booleans())})


@draws(np.linspace)
def between(draw, f):
    slots = broadcasting(draw, ("real", "real"), FLOATS)
    return Call(f, slots, rest=(draw(st.integers(0, 4)),), more={"endpoint": draw(st.booleans())})


@draws(np.meshgrid)
def grids(draw, f):
    slots = tuple(Slot(draw(shapes(max_dims=1)), dtype=draw(DTYPES)) for _ in range(draw(st.integers(1, 3))))
    return Call(f, slots, more={"indexing": draw(st.sampled_from(["xy", "ij"])), "sparse": draw(st.booleans())})


@draws(np.isin)
def belonging(draw, f):
    how = lambda f, v, r, m: f(np.round(v[0]), [[0, 1], [-1, 1]], **m)
    return Call(f, (one(draw, dtypes=FLOATS),), more={"invert": draw(st.booleans())}, how=how, smooth=False)


@draws(np.polyval)
def horner(draw, f):
    return Call(f, (Slot(draw(shapes(min_dims=1, max_dims=1)), dtype=draw(DTYPES)), one(draw)))


@draws(np.bincount)
def counting(draw, f):
    n = draw(st.integers(0, 5))
    groups = np.array(draw(st.lists(st.integers(0, 3), min_size=n, max_size=n)), int)
    more = {"minlength": draw(st.integers(0, 5))}
    return Call(f, (Slot((n,), dtype=draw(DTYPES)),), more=more, how=lambda f, v, r, m: f(groups, v[0], **m))


@draws(np.cov, np.corrcoef)
def covariances(draw, f):
    shape = draw(shapes(min_dims=1, max_dims=2, min_side=2))
    more = {"rowvar": draw(st.booleans())}
    if f is np.cov:
        more |= {"bias": draw(st.booleans()), "ddof": draw(st.sampled_from([None, 0, 1]))}
    slots = (Slot(shape, dtype=draw(DTYPES)),) * draw(st.integers(1, 2))
    known = f is np.corrcoef and slots[0].dtype.kind != "f"  # a constant row has no correlation
    return Call(f, tuple(replace(s, dtype=FLOAT) for s in slots) if known else slots, more=more, smooth=len(slots) == 1)


# -- products ----------------------------------------------------------------------------------------------
@st.composite
def matrices(draw):
    """Shapes of two arguments of a matrix product, also of vectors, with leading axes that broadcast."""
    n, k, m = (draw(st.integers(0, 3)) for _ in range(3))
    lead = draw(hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=2, min_side=0, max_side=2)).input_shapes
    left = draw(st.sampled_from([(*lead[0], n, k), (*lead[0], n, k), (k,)]))
    right = draw(st.sampled_from([(*lead[1], k, m), (*lead[1], k, m), (k,)]))
    return draw(st.sampled_from([(left, right)] * 9 + [((2, 3), (2, 3))]))


@draws(np.matmul, np.linalg.matmul)
def multiplying(draw, f):
    return Call(f, tuple(Slot(s, dtype=draw(DTYPES)) for s in draw(matrices())))


@draws(np.dot, np.inner)
def dotting(draw, f):
    k = draw(st.integers(0, 3))
    a, b = (draw(shapes(max_dims=2, max_side=3)) for _ in range(2))
    pair = ((*a, k), (*b, k) if f is np.inner else draw(st.sampled_from([(k,), (*b, k, 2)])))
    return Call(f, tuple(Slot(s, dtype=draw(DTYPES)) for s in draw(st.sampled_from([pair] * 4 + [((), b), (a, ())]))))


@draws(np.vdot)
def dotting_flat(draw, f):
    a, b = draw(st.sampled_from([((2, 3), (3, 2)), ((4,), (4,)), ((), ()), ((0,), (0, 3)), ((2,), (3,))]))
    return Call(f, (Slot(a, dtype=draw(DTYPES)), Slot(b, dtype=draw(DTYPES))))


@draws(np.linalg.vecdot, getattr(np, "vecdot", None), getattr(np, "matvec", None), getattr(np, "vecmat", None))
def vectors(draw, f):
    lead = draw(hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=2, min_side=0, max_side=2)).input_shapes
    n, k = (draw(st.integers(0, 3)) for _ in range(2))
    core = {"matvec": ((n, k), (k,)), "vecmat": ((n,), (n, k))}.get(f.__name__, ((n,), (n,)))
    return Call(f, tuple(Slot((*a, *b), dtype=draw(DTYPES)) for a, b in zip(lead, core, strict=True)))


@draws(np.outer, np.linalg.outer, np.kron)
def crossing(draw, f):
    small = shapes(max_dims=2, max_side=3)
    return Call(f, tuple(Slot(draw(small), dtype=draw(DTYPES)) for _ in range(2)))


@draws(np.cross, np.linalg.cross)
def vectors_of_three(draw, f):
    lead = draw(hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=2, min_side=0, max_side=2)).input_shapes
    if draw(st.booleans()):
        return Call(f, tuple(Slot((*s, 3), dtype=draw(DTYPES)) for s in lead))
    if f is np.linalg.cross or draw(st.booleans()):
        return Call(f, tuple(Slot((*s, 3, 1), dtype=FLOAT) for s in lead), more={"axis": -2})
    more = {"axisa": -2, "axisb": -1, "axisc": draw(st.integers(-1, 0))}
    return Call(f, (Slot((*lead[0], 3, 2)), Slot((*lead[1], 2, 3))), more=more)


@draws(np.tensordot, np.linalg.tensordot)
def contracting(draw, f):
    k = draw(shapes(max_dims=2, max_side=3))
    a, b = (draw(shapes(max_dims=2, max_side=2)) for _ in range(2))
    if draw(st.booleans()):
        return Call(f, (Slot((*a, *k)), Slot((*k, *b))), more={"axes": len(k)})
    order = draw(st.permutations(range(len(k))))
    left = [len(a) + i for i in order]
    axes = (left, [i - len(k) - len(b) for i in order])
    return Call(f, (Slot((*a, *k), dtype=draw(DTYPES)), Slot((*k, *b), dtype=draw(DTYPES))), more={"axes": axes})


@draws(np.einsum)
def summing(draw, f):
    """Subscripts of up to three operands: repeated letters, '...', the result left out, index lists."""
    sizes = {c: draw(st.integers(0, 3)) for c in "ijkl"}
    terms = draw(st.lists(st.text("ijkl", max_size=3), min_size=1, max_size=3))
    lead = draw(st.sampled_from([None, None, None, (2,), (2, 3), ()]))
    slots = []
    for term in terms:
        own = [sizes[c] if len(terms) == 1 or draw(st.integers(0, 7)) else 1 for c in term]
        shape = tuple(own) if lead is None else (*lead[draw(st.integers(0, len(lead))) :], *own)
        slots.append(Slot(shape, dtype=draw(st.sampled_from([FLOAT] * 4 + [SINGLE, WHOLE]))))
    dots = "" if lead is None else "..."
    letters = sorted(set("".join(terms)))
    right = dots + "".join(draw(st.permutations(letters))[: draw(st.integers(0, len(letters)))])
    left = ",".join(dots + t for t in terms)
    if draw(st.integers(0, 3)) == 0:
        lists = [[Ellipsis] * bool(dots) + [ascii_lowercase.index(c) for c in t] for t in terms]
        out = [Ellipsis] * bool(dots) + [ascii_lowercase.index(c) for c in right.replace("...", "")]
        how = lambda f, v, r, m: f(*(y for pair in zip(v, lists, strict=True) for y in pair), out)
        return Call(f, tuple(slots), how=how)
    subscripts = draw(st.sampled_from([f"{left}->{right}", f"{left} -> {right}", left]))
    return Call(f, tuple(slots), rest=(subscripts,), how=lambda f, v, r, m: f(r[0], *v))


# -- linear algebra ----------------------------------------------------------------------------------------
@st.composite
def square(draw, domain="positive definite", smallest=0):
    n, lead = draw(st.integers(smallest, 3)), draw(shapes(max_dims=2, max_side=2))
    return Slot((*lead, n, n), domain, draw(st.sampled_from([FLOAT] * 4 + [SINGLE])))


def symmetric_first(function, arrays, rest, more):
    x = arrays[0]
    x = (x + np.swapaxes(x, -1, -2)) / 2 + 6.0 * np.diag(np.arange(float(np.shape(x)[-1]))).astype(x.dtype)
    return function(x, *rest, **more)


@draws(np.linalg.inv, np.linalg.det, np.linalg.slogdet, op.log_abs_det, op.sign_det)
def of_a_matrix(draw, f):
    return Call(f, (draw(square()),), smooth=f is not op.sign_det)


@draws(np.linalg.cholesky, op.cholesky)
def factoring(draw, f):
    more = {"upper": draw(st.booleans())} if f is np.linalg.cholesky else {}
    half = lambda f, v, r, m: f((v[0] + np.swapaxes(v[0], -1, -2)) / 2, **m)
    return Call(f, (draw(square()),), more=more, how=half)


@draws(np.linalg.eigvalsh, op.eigenvalues)
def spectra(draw, f):
    return Call(f, (draw(square(smallest=1)),), how=symmetric_first)


@draws(np.linalg.eigh, op.eigenvectors)
def eigenvectors(draw, f):
    def how(f, v, r, m):
        found = symmetric_first(f, v, r, m)
        return (found[0], found[1] ** 2) if isinstance(found, tuple) else found**2  # whatever their signs are

    return Call(f, (draw(square(smallest=1)),), how=how)


@draws(np.linalg.solve)
def solving(draw, f):
    a = draw(square())
    n = a.shape[-1]
    b = draw(st.sampled_from([(n,), (*a.shape[:-1], 2), (n, 1), (2, 1, n, 2)]))
    return Call(f, (a, Slot(b, dtype=a.dtype)))


@draws(op.triangular_solve, op.triangular_solve_transposed)
def solving_triangles(draw, f):
    a = draw(square("lower", smallest=1))
    lead = draw(st.sampled_from([a.shape[:-2], (), (2, *a.shape[:-2])]))
    b = Slot((*lead, a.shape[-1], draw(st.integers(0, 2))), dtype=a.dtype)
    return Call(f, (a, b), how=lambda f, v, r, m: f(np.tril(v[0]), v[1]))


@draws(np.linalg.matrix_power)
def powers(draw, f):
    return Call(f, (draw(square()),), rest=(draw(st.integers(-3, 5)),))


@draws(np.linalg.multi_dot)
def chains(draw, f):
    sides = [draw(st.integers(1, 3)) for _ in range(draw(st.integers(3, 5)))]
    found = list(pairwise(sides))
    found[0] = draw(st.sampled_from([found[0], found[0][1:]]))
    found[-1] = draw(st.sampled_from([found[-1], found[-1][:1]]))
    return Call(f, tuple(Slot(s) for s in found), how=listed)


ORDERS = st.sampled_from([None, None, 1, 2, 3, np.inf])


@draws(np.linalg.norm)
def norms(draw, f):
    x = one(draw, min_dims=1)
    axis = draw(axis_of(len(x.shape)))
    order = draw(ORDERS) if isinstance(axis, int) or len(x.shape) == 1 else None
    return Call(f, (x,), rest=(order,), more={"axis": axis, "keepdims": draw(st.booleans())})


@draws(np.linalg.vector_norm)
def vector_norms(draw, f):
    x = one(draw, min_dims=1)
    more = {
        "axis": draw(axes_of(len(x.shape)).filter(lambda a: a != ())),
        "keepdims": draw(st.booleans()),
        "ord": draw(st.sampled_from([1, 2, 3, np.inf])),
    }
    return Call(f, (x,), more=more)


@draws(np.linalg.matrix_norm)
def matrix_norms(draw, f):
    return Call(f, (one(draw, min_dims=2),), more={"keepdims": draw(st.booleans())})


# -- draws and loops ---------------------------------------------------------------------------------------
class Sampler:
    """A draw that is no array program."""

    shape, dtype = (2,), FLOAT

    def __call__(self, generator, parameters):
        return generator.normal(size=2) * np.sum(parameters[0])


@draws(op.sampled)
def sampling(draw, f):
    sampler, seed = Sampler(), Slot((), "positive", WHOLE)
    return Call(f, (seed, one(draw)), how=lambda f, v, r, m: f(v[0], sampler, v[1]), smooth=False)


@draws(op.sampled_rows)
def sampling_rows(draw, f):
    n, sampler = draw(st.integers(1, 3)), Sampler()
    seeds, x = Slot((n,), "positive", WHOLE), Slot((n, 2))
    return Call(f, (seeds, x), how=lambda f, v, r, m: f(v[0], sampler, (True,), v[1]), smooth=False)


@draws(scan_rows)
def looping(draw, f):
    length, carry = draw(st.integers(0, 4)), draw(shapes(max_dims=1, max_side=2))
    backwards = draw(st.booleans())

    def how(f, v, r, m):
        start, x, w = v
        step = lambda c, y: (np.tanh(w * c + y), c * y)
        last, ys = (A.scan if f is scan_rows else f)(step, start, x[::-1] if backwards else x)
        return last, ys

    return Call(f, (Slot(carry), Slot((length, *carry)), Slot(())), how=how)


@draws(chain_log_sum, chain_slopes)
def chains_of_states(draw, f):
    steps, k, lead = draw(st.integers(1, 4)), draw(st.integers(1, 3)), draw(shapes(max_dims=1, max_side=2))
    nodes, pairs = Slot((*lead, steps, k)), Slot((draw(st.sampled_from((1, steps))), k, k))
    return Call(f, (nodes, pairs) if f is chain_log_sum else (nodes, pairs, Slot((*lead, k))))


# -- the methods of ndarray --------------------------------------------------------------------------------
def method(name: str) -> Callable:
    """The method as a function of the array."""

    def call(x, *args, **kwargs):
        return getattr(x if A.is_recorded(x) else np.asarray(x), name)(*args, **kwargs)

    call.__name__ = name
    return call


SAME = {name: getattr(np, name) for name in METHODS if hasattr(np, name) and getattr(np, name) in STRATEGIES}
METHODS_OF_ARRAYS = {
    name: STRATEGIES[f].map(
        lambda call, n=name: replace(call, function=method(n), known=(call.known or frozenset()) - {0})
    )
    for name, f in SAME.items()
    if name not in ("compress", "conj")
}


def transposing_by_arguments(draw, f):
    x = one(draw)
    order = draw(some_order(len(x.shape)))
    return Call(f, (x,), rest=draw(st.sampled_from([(), (order,), order])))


def compressing_itself(draw, f):
    x = one(draw, min_dims=1)
    keep = draw(st.lists(st.booleans(), max_size=x.shape[0]))
    return Call(f, (x,), rest=(keep,), more={"axis": 0})


OF_THEIR_OWN = {
    **dict.fromkeys(("flatten", "copy", "conj"), as_it_is),
    "transpose": transposing_by_arguments,
    "compress": compressing_itself,
}
METHODS_OF_ARRAYS |= {name: _finished(make, method(name)) for name, make in OF_THEIR_OWN.items()}
