"""One row per recordable array function: what is computed, on inputs of which kind.

Every function takes the module that stands for NumPy first, so that the same row runs on plain
arrays, on recorded arrays and on autograd's. The laws of `test_laws.py` run over these rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy
import numpy as np
from scipy import special

import ppl.array as A

Shapes = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Case:
    """`fun(np, *inputs)`, inputs of these shapes from these domains."""

    label: str
    fun: Callable
    shapes: Shapes
    domains: tuple[str, ...]
    covers: tuple[Any, ...] = ()
    smooth: bool = True  # has a derivative worth comparing
    autograd: bool = False  # autograd differentiates the same expression

    def __str__(self) -> str:
        return self.label


def draw(domain: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Values of a domain, away from its edges and from ties."""
    if domain == "positive definite":
        x = rng.normal(size=shape)
        return x @ np.swapaxes(x, -1, -2) + shape[-1] * np.eye(shape[-1])
    if domain == "lower":
        return np.tril(rng.normal(size=shape), -1) + (1.0 + rng.random(shape)) * np.eye(shape[-1])
    low, high = {
        "real": (-2, 2),
        "positive": (0.3, 2.5),
        "unit": (0.1, 0.9),
        "above one": (1.2, 3),
        "negative": (-3, -0.3),
    }[domain]
    return np.asarray(rng.uniform(low, high, shape))


def symmetric(x):
    """The symmetric part of a matrix, with distinct eigenvalues."""
    return (x + np.swapaxes(x, -1, -2)) / 2 + 6 * np.diag(np.arange(x.shape[-1]))


CASES: list[Case] = []


def case(label, fun, *shapes, domain: str | tuple[str, ...] = "real", covers=(), smooth=True, autograd=True):
    domains = (domain,) * len(shapes) if isinstance(domain, str) else domain
    CASES.append(Case(label, fun, shapes, domains, tuple(covers), smooth, autograd and smooth))


# -- elementwise, one row per function -------------------------------------------------------------
UNARY = {
    np.exp: "real",
    np.expm1: "real",
    np.log: "positive",
    np.log1p: "positive",
    np.sqrt: "positive",
    np.cbrt: "positive",
    np.reciprocal: "positive",
    np.abs: "real",
    np.sin: "real",
    np.cos: "real",
    np.tan: "unit",
    np.arcsin: "unit",
    np.arccos: "unit",
    np.arctan: "real",
    np.sinh: "real",
    np.cosh: "real",
    np.tanh: "real",
    np.arcsinh: "real",
    np.arccosh: "above one",
    np.arctanh: "unit",
    np.deg2rad: "real",
    np.rad2deg: "real",
    np.square: "real",
    np.positive: "real",
    np.negative: "real",
    np.fabs: "real",
    np.log2: "positive",
    np.log10: "positive",
    np.exp2: "real",
    special.log_expit: "real",
    special.expit: "real",
    special.logit: "unit",
    special.gammaln: "positive",
    special.digamma: "positive",
    special.gamma: "positive",
    special.entr: "positive",
    special.erf: "real",
    special.erfc: "real",
    special.erfcx: "real",
    special.erfinv: "unit",
    special.ndtr: "real",
    special.log_ndtr: "real",
    special.ndtri: "unit",
    special.ndtri_exp: "negative",
    special.i0: "real",
    special.i1: "positive",
    special.i0e: "real",
    special.i1e: "positive",
}
for _f, _domain in UNARY.items():
    case(_f.__name__, lambda np, x, f=_f: f(x), (2, 3), domain=_domain, covers=[_f], autograd=False)
    case(f"{_f.__name__} of a scalar", lambda np, x, f=_f: f(x), (), domain=_domain, autograd=False)

BINARY = {
    np.add: "real",
    np.subtract: "real",
    np.multiply: "real",
    np.true_divide: "positive",
    np.power: "positive",
    np.maximum: "real",
    np.minimum: "real",
    np.logaddexp: "real",
    np.arctan2: "real",
    np.hypot: "positive",
    np.remainder: "positive",
    np.fmod: "positive",
    np.copysign: "real",
    np.float_power: "positive",
    special.betaln: "positive",
    special.beta: "positive",
    special.xlogy: "positive",
    special.xlog1py: "positive",
}
for _f, _domain in BINARY.items():
    for _a, _b in (((2, 3), (2, 3)), ((3,), (2, 1)), ((), (2,)), ((4, 1, 2), (3, 1))):
        case(
            f"{_f.__name__} {_a} {_b}",
            lambda np, x, y, f=_f: f(x, y),
            _a,
            _b,
            domain=_domain,
            covers=[_f],
            autograd=False,
        )
case("gammainc in x", lambda np, x: special.gammainc(1.7, x), (3,), domain="positive", autograd=False)
case("gammaincc in x", lambda np, x: special.gammaincc(1.7, x), (3,), domain="positive", autograd=False)
case("zeta in q", lambda np, x: special.zeta(2.5, x), (3,), domain="positive", autograd=False)
case("softplus", lambda np, x: A.softplus(x), (2, 3), autograd=False)

STEPS = (np.sign, np.floor, np.ceil, np.rint, np.trunc, np.isfinite, np.isnan, np.isinf, np.signbit, np.logical_not)
for _f in STEPS:
    case(_f.__name__, lambda np, x, f=_f: f(x) * 1.0, (2, 3), covers=[_f], autograd=False)
COMPARISONS = (
    np.greater,
    np.greater_equal,
    np.less,
    np.less_equal,
    np.equal,
    np.not_equal,
    np.floor_divide,
    np.heaviside,
    np.logical_and,
    np.logical_or,
    np.logical_xor,
)
for _f in COMPARISONS:
    case(_f.__name__, lambda np, x, y, f=_f: f(x, y) * 1.0, (2, 3), (3,), covers=[_f], autograd=False)
for _f in (np.bitwise_and, np.bitwise_or, np.bitwise_xor):
    case(_f.__name__, lambda np, x, y, f=_f: f(x > 0, y > 0) * 1.0, (2, 3), (3,), covers=[_f], autograd=False)
case("invert", lambda np, x: ~(x > 0) * x, (4,), covers=[np.invert], autograd=False)
case(
    "operators",
    lambda np, x, y: (2 - x) * -y / (1 + x**2) + abs(y) ** 1.5 + (+x) - 3 // (1 + y * y) + x % 2,
    (3,),
    (2, 1),
    autograd=False,
)
case("reflected operators", lambda np, x: 2**x + 3 / (x * x + 1) - 1.5 * x + (np.ones(3) - x), (2, 3))

# -- reductions ------------------------------------------------------------------------------------
for _axis in (None, 0, -1, (0, 2), (), (1, -1)):
    for _keep in (False, True):
        _label = f"axis={_axis}" + (", keepdims" if _keep else "")
        for _name in ("sum", "mean", "max", "min", "prod", "var", "std"):
            if _name == "prod" and isinstance(_axis, tuple):
                continue  # NumPy's product over several axes is tested alone
            if _axis == () and _name in ("var", "std"):
                continue  # constant zero
            case(
                f"{_name} {_label}",
                lambda np, x, n=_name, a=_axis, k=_keep: getattr(np, n)(x, axis=a, keepdims=k),
                (2, 3, 4),
                domain="positive",
                covers=[getattr(np, _name)],
                autograd=_axis != () and not (_name in ("var", "std", "prod") and isinstance(_axis, tuple)),
            )
case("prod of two axes", lambda np, x: np.prod(x, axis=(0, 2)), (2, 3, 2), autograd=False)
case("prod with a zero", lambda np, x: np.prod(x * np.array([1.0, 0.0, 2.0])), (3,), autograd=False)
for _axis in (None, 0, 1, (0, 1)):
    case(f"ptp {_axis}", lambda np, x, a=_axis: np.ptp(x, axis=a), (3, 4), covers=[np.ptp], autograd=False)
    case(
        f"norm {_axis}",
        lambda np, x, a=_axis: np.linalg.norm(x, axis=a),
        (3, 4),
        covers=[np.linalg.norm],
        autograd=False,
    )
    case(
        f"any, all {_axis}",
        lambda np, x, a=_axis: np.any(x > 0, axis=a) + 2.0 * np.all(x > 0, axis=a),
        (3, 2),
        covers=[np.any, np.all],
        autograd=False,
    )
for _ord in (1, 2, 3, np.inf):
    case(f"norm ord={_ord}", lambda np, x, o=_ord: np.linalg.norm(x, o, axis=1), (3, 4), autograd=False)
    case(f"norm of a vector ord={_ord}", lambda np, x, o=_ord: np.linalg.norm(x, o), (4,), autograd=False)
case("average", lambda np, x: np.average(x, axis=1), (2, 3), covers=[np.average], autograd=False)
case(
    "average with weights",
    lambda np, x, w: np.average(x, axis=1, weights=w),
    (2, 3),
    (2, 3),
    domain="positive",
    autograd=False,
)
case(
    "average, weights of one axis",
    lambda np, x, w: np.average(x, axis=0, weights=w),
    (2, 3),
    (2,),
    domain="positive",
    autograd=False,
)
case(
    "average of all, weighted", lambda np, x, w: np.average(x, weights=w), (5,), (5,), domain="positive", autograd=False
)
case("var ddof", lambda np, x: np.var(x, axis=0, ddof=1) + np.std(x, ddof=1), (4, 3))
case("sum of booleans", lambda np, x: np.sum(x > 0, axis=1) * x[:, 0], (3, 4), autograd=False)
case("mean of booleans", lambda np, x: np.mean(x > 0) * x, (3,), autograd=False)
case("sum where", lambda np, x: np.sum(x, axis=0, where=np.array([[True], [False]])), (2, 3), autograd=False)
case("builtin sum", lambda np, x: sum(x), (3, 2))
for _axis in (0, -1, 1):
    case(f"cumsum {_axis}", lambda np, x, a=_axis: np.cumsum(x, axis=a), (2, 3), covers=[np.cumsum])
    case(f"cumprod {_axis}", lambda np, x, a=_axis: np.cumprod(x, axis=a), (2, 3), covers=[np.cumprod], autograd=False)
    case(f"diff {_axis}", lambda np, x, a=_axis: np.diff(x, axis=a), (3, 4), covers=[np.diff])
    case(f"sort {_axis}", lambda np, x, a=_axis: np.sort(x, axis=a), (4, 3), covers=[np.sort], autograd=False)
    case(
        f"argmax {_axis}", lambda np, x, a=_axis: np.argmax(x, axis=a) * 1.0, (3, 4), covers=[np.argmax], autograd=False
    )
    case(
        f"argmin {_axis}", lambda np, x, a=_axis: np.argmin(x, axis=a) * 1.0, (3, 4), covers=[np.argmin], autograd=False
    )
    case(
        f"logaddexp.reduce {_axis}",
        lambda np, x, a=_axis: numpy.logaddexp.reduce(x, axis=a),
        (3, 4),
        covers=[np.logaddexp.reduce],
        autograd=False,
    )
    case(f"logsumexp {_axis}", lambda np, x, a=_axis: A.logsumexp(x, a), (3, 4), autograd=False)
for _axis in (0, -1):
    case(
        f"argsort {_axis}",
        lambda np, x, a=_axis: np.argsort(x, axis=a) * 1.0,
        (3, 4),
        covers=[np.argsort],
        autograd=False,
    )
case("sort flat", lambda np, x: np.sort(x, axis=None), (2, 3), autograd=False)
case(
    "argmax kept",
    lambda np, x: np.argmax(x, axis=1, keepdims=True) + np.argmin(x, axis=0, keepdims=True) + x,
    (2, 3),
    autograd=False,
)
case("cumsum flat", lambda np, x: np.cumsum(x), (2, 3))
case("cumprod flat", lambda np, x: np.cumprod(x), (2, 3), autograd=False)
case("second difference", lambda np, x: np.diff(x, n=2), (5,))
case("argmax flat", lambda np, x: np.argmax(x) + x, (2, 3), autograd=False)
case(
    "ufunc methods",
    lambda np, x: np.add.reduce(x) + np.maximum.reduce(x, axis=0) + np.add.accumulate(x)[0],
    (3, 2),
    autograd=False,
)
case("ufunc outer", lambda np, x, y: np.multiply.outer(x, y), (2,), (3, 2), autograd=False)
case(
    "multiply.reduce, minimum.reduce",
    lambda np, x: np.multiply.reduce(x) - np.minimum.reduce(x, axis=1, keepdims=True),
    (3, 3),
    autograd=False,
)

# -- shapes ----------------------------------------------------------------------------------------
case("reshape", lambda np, x: np.reshape(x, (3, -1)), (2, 3, 2), covers=[np.reshape])
case("ravel", lambda np, x: np.ravel(x), (2, 3), covers=[np.ravel])
case("squeeze", lambda np, x: np.squeeze(x), (1, 3, 1), covers=[np.squeeze])
case("squeeze axis", lambda np, x: np.squeeze(x, axis=-1), (1, 3, 1))
case("expand_dims", lambda np, x: np.expand_dims(x, -2), (2, 3), covers=[np.expand_dims])
case("expand_dims twice", lambda np, x: np.expand_dims(x, (0, -1)), (2, 3), autograd=False)
case(
    "atleast",
    lambda np, x: np.atleast_1d(x) + np.atleast_2d(x),
    (),
    covers=[np.atleast_1d, np.atleast_2d],
    autograd=False,
)
case("transpose", lambda np, x: np.transpose(x), (2, 3, 4), covers=[np.transpose])
case("transpose axes", lambda np, x: np.transpose(x, (1, -1, 0)), (2, 3, 4), autograd=False)
case("permute_dims", lambda np, x: np.permute_dims(x, (2, 0, 1)), (2, 3, 4), covers=[np.permute_dims], autograd=False)
case(
    "matrix_transpose",
    lambda np, x: np.matrix_transpose(x) + x.mT,
    (2, 3, 4),
    covers=[np.matrix_transpose],
    autograd=False,
)
case("swapaxes", lambda np, x: np.swapaxes(x, 0, -1), (2, 3, 4), covers=[np.swapaxes])
case("moveaxis", lambda np, x: np.moveaxis(x, 0, -1), (2, 3, 4), covers=[np.moveaxis])
case("moveaxis several", lambda np, x: np.moveaxis(x, (0, 1), (-1, 0)), (2, 3, 4), autograd=False)
case("broadcast_to", lambda np, x: np.broadcast_to(x, (2, 3, 4)), (3, 1), covers=[np.broadcast_to], autograd=False)
case(
    "broadcast_arrays",
    lambda np, x, y: np.broadcast_arrays(x, y)[0] * np.broadcast_arrays(x, y)[1],
    (3, 1),
    (2,),
    covers=[np.broadcast_arrays],
    autograd=False,
)
case(
    "likes",
    lambda np, x: x * np.ones_like(x) + np.zeros_like(x) + np.full_like(x, 2.0) * x,
    (2, 3),
    covers=[np.ones_like, np.zeros_like, np.full_like, np.empty_like],
    autograd=False,
)
case("concatenate", lambda np, x, y: np.concatenate([x, y, x * y[:1]], axis=0), (2, 3), (4, 3), covers=[np.concatenate])
case("concatenate last", lambda np, x, y: np.concatenate((x, np.ones((2, 1)), y), axis=-1), (2, 3), (2, 1))
case("concatenate flat", lambda np, x, y: np.concatenate([x, y], axis=None), (2, 3), (2,), autograd=False)
case("stack", lambda np, x, y: np.stack([x, y, 2 * x]), (2, 3), (2, 3), covers=[np.stack])
case("stack last", lambda np, x, y: np.stack([x, y], axis=-1), (2, 3), (2, 3))
case("stack of scalars", lambda np, x, y: np.stack([x, y, 3.0]), (), (), autograd=False)
case("hstack", lambda np, x, y: np.hstack([x, y]), (2, 1), (2, 3), covers=[np.hstack])
case("hstack vectors", lambda np, x, y: np.hstack([x, y, 1.0]), (2,), (3,), autograd=False)
case("vstack", lambda np, x, y: np.vstack([x, y]), (3,), (2, 3), covers=[np.vstack])
case("column_stack", lambda np, x, y: np.column_stack([x, y]), (3,), (3, 2), covers=[np.column_stack])
case("append", lambda np, x, y: np.append(x, y), (2, 2), (3,), covers=[np.append], autograd=False)
case("append axis", lambda np, x, y: np.append(x, y, axis=1), (2, 2), (2, 3), autograd=False)
for _axis in (None, 0, 1, (0, 1)):
    case(f"flip {_axis}", lambda np, x, a=_axis: np.flip(x, a), (2, 3), covers=[np.flip], autograd=False)
for _axis in (None, 0, -1):
    case(f"roll {_axis}", lambda np, x, a=_axis: np.roll(x, 2, a), (3, 4), covers=[np.roll], autograd=False)
    case(f"repeat {_axis}", lambda np, x, a=_axis: np.repeat(x, 2, axis=a), (2, 3), covers=[np.repeat], autograd=False)
    case(
        f"take {_axis}",
        lambda np, x, a=_axis: np.take(x, [0, 2, 0, -1], axis=a),
        (3, 4),
        covers=[np.take],
        autograd=False,
    )
case("roll two axes", lambda np, x: np.roll(x, (1, 2), (0, 1)), (3, 4), autograd=False)
case("repeat unequally", lambda np, x: np.repeat(x, [1, 0, 3], axis=1), (2, 3), autograd=False)
case("tile", lambda np, x: np.tile(x, (2, 1, 3)), (2, 3), covers=[np.tile], autograd=False)
case(
    "take_along_axis",
    lambda np, x: np.take_along_axis(x, numpy.array([[0, 1], [2, 2]]), axis=1),
    (2, 3),
    covers=[np.take_along_axis],
    autograd=False,
)
for _k in (-1, 0, 2):
    case(f"diag {_k}", lambda np, x, k=_k: np.diag(x, k), (3,), covers=[np.diag], autograd=False)
    case(f"diag of a matrix {_k}", lambda np, x, k=_k: np.diag(x, k), (3, 4), autograd=False)
    case(f"diagonal {_k}", lambda np, x, k=_k: np.diagonal(x, k), (3, 4, 2), covers=[np.diagonal], autograd=False)
    case(f"trace {_k}", lambda np, x, k=_k: np.trace(x, k), (3, 4), covers=[np.trace], autograd=False)
    case(
        f"tril, triu {_k}",
        lambda np, x, k=_k: np.tril(x, k) - 2 * np.triu(x, k),
        (2, 3, 4),
        covers=[np.tril, np.triu],
        autograd=False,
    )
case(
    "diagonal of other axes",
    lambda np, x: np.diagonal(x, axis1=1, axis2=2) + np.trace(x, axis1=-2, axis2=-1)[:, None],
    (2, 3, 3),
    autograd=False,
)

# -- choices ---------------------------------------------------------------------------------------
case("where", lambda np, x, y: np.where(x > 0, x * y, np.exp(y)), (2, 3), (3,), covers=[np.where], autograd=False)
case("where with numbers", lambda np, x: np.where(x > 0, x, 0), (4,))
case("where, recorded condition only", lambda np, x: np.where(x > 0, 1, -1) * x, (4,), autograd=False)
for _limits in ((-1, 1), (None, 0.5), (-0.5, None)):
    case(f"clip {_limits}", lambda np, x, lim=_limits: np.clip(x, *lim), (3, 4), covers=[np.clip], autograd=False)
case("clip by arrays", lambda np, x, y: np.clip(x, -np.abs(y), np.abs(y) + 1), (3,), (3,), autograd=False)
case("isclose", lambda np, x: np.isclose(x, x) * x, (3,), covers=[np.isclose], autograd=False)
case("nan_to_num", lambda np, x: np.nan_to_num(x), (3,), covers=[np.nan_to_num], autograd=False)
case(
    "astype float32", lambda np, x: np.astype(x, np.float64) + x.astype(float), (3,), covers=[np.astype], autograd=False
)
case("astype int", lambda np, x: x.astype(int) * 1.0 + x, (5,), autograd=False)
case("round", lambda np, x: np.round(x) + np.around(x, 1), (5,), covers=[np.round, np.around], autograd=False)

# -- products and linear algebra -------------------------------------------------------------------
MATMULS = [
    ((3,), (3,)),
    ((2, 3), (3,)),
    ((3,), (3, 2)),
    ((2, 3), (3, 4)),
    ((5, 2, 3), (3, 4)),
    ((2, 3), (5, 3, 4)),
    ((5, 2, 3), (5, 3, 4)),
    ((5, 1, 2, 3), (4, 3, 2)),
    ((5, 1, 2, 3), (3,)),
    ((3,), (5, 2, 3, 4)),
    ((5, 2, 3), (3,)),
    ((3,), (5, 3, 4)),
    ((2, 1), (1, 3)),
]
for _a, _b in MATMULS:
    case(f"matmul {_a} {_b}", lambda np, x, y: x @ y, _a, _b, covers=[np.matmul], autograd=False)
    case(
        f"matmul by a constant {_a} {_b}",
        lambda np, x, s=_b: x @ draw("real", s, numpy.random.default_rng(1)),
        _a,
        autograd=False,
    )
    case(
        f"matmul of a constant {_a} {_b}",
        lambda np, y, s=_a: draw("real", s, numpy.random.default_rng(1)) @ y,
        _b,
        autograd=False,
    )
for _a, _b in (((3,), (3,)), ((2, 3), (3,)), ((2, 3), (3, 2)), ((), (2, 3)), ((2, 3), (4, 3, 2))):
    case(f"dot {_a} {_b}", lambda np, x, y: np.dot(x, y), _a, _b, covers=[np.dot], autograd=False)
for _a, _b in (((3,), (3,)), ((2, 3), (3,)), ((2, 3), (4, 3)), ((), (2, 3))):
    case(f"inner {_a} {_b}", lambda np, x, y: np.inner(x, y), _a, _b, covers=[np.inner], autograd=False)
case("vdot", lambda np, x, y: np.vdot(x, y), (2, 3), (3, 2), covers=[np.vdot], autograd=False)
case("outer", lambda np, x, y: np.outer(x, y), (2,), (2, 2), covers=[np.outer], autograd=False)
case("kron", lambda np, x, y: np.kron(x, y), (2, 3), (3, 2), covers=[np.kron])
case("kron of vectors", lambda np, x, y: np.kron(x, y), (2,), (3,), autograd=False)
for _axes in (1, 2, ((1, 0), (0, 1)), ([0, 1], [1, 0])):
    case(
        f"tensordot {_axes}",
        lambda np, x, y, a=_axes: np.tensordot(x, y, a),
        (3, 3),
        (3, 3),
        covers=[np.tensordot],
        autograd=False,
    )
for _sum, *_shapes in (
    ("ij,jk->ik", (2, 3), (3, 2)),
    ("bi,bi->b", (4, 3), (4, 3)),
    ("ii->i", (3, 3)),
    ("ij,j,i->", (2, 3), (3,), (2,)),
):
    case(f"einsum {_sum}", lambda np, *x, s=_sum: np.einsum(s, *x), *_shapes, covers=[np.einsum], autograd=False)
_pd = "positive definite"
for _shape in ((3, 3), (2, 3, 3)):
    case(
        f"cholesky {_shape}",
        lambda np, x: np.linalg.cholesky((x + np.swapaxes(x, -1, -2)) / 2),
        _shape,
        domain=_pd,
        covers=[np.linalg.cholesky],
        autograd=False,
    )
    case(
        f"slogdet {_shape}",
        lambda np, x: np.linalg.slogdet(x)[1] * np.linalg.slogdet(x)[0],
        _shape,
        domain=_pd,
        covers=[np.linalg.slogdet],
        autograd=False,
    )
    case(f"inv {_shape}", lambda np, x: np.linalg.inv(x), _shape, domain=_pd, covers=[np.linalg.inv])
    case(f"det {_shape}", lambda np, x: np.linalg.det(x), _shape, domain=_pd, covers=[np.linalg.det])
    case(
        f"solve {_shape}",
        lambda np, a, b: np.linalg.solve(a, b),
        _shape,
        (*_shape[:-1], 2),
        domain=(_pd, "real"),
        covers=[np.linalg.solve],
    )
    case(
        f"triangular_solve {_shape}",
        lambda np, a, b: A.triangular_solve(np.tril(a), b),
        _shape,
        (*_shape[:-1], 2),
        domain=("lower", "real"),
        autograd=False,
    )
case(
    "triangular_solve of one matrix",
    lambda np, a, b: A.triangular_solve(np.tril(a), b),
    (3, 3),
    (4, 3, 2),
    domain=("lower", "real"),
    autograd=False,
)
case("solve a vector", lambda np, a, b: np.linalg.solve(a, b), (3, 3), (3,), domain=(_pd, "real"))
case("upper cholesky", lambda np, x: np.linalg.cholesky((x + x.T) / 2, upper=True), (3, 3), domain=_pd, autograd=False)
for _shape in ((3, 3), (2, 3, 3)):
    case(
        f"eigh {_shape}",
        lambda np, x: np.linalg.eigh(symmetric(x)).eigenvalues[..., None, :] * np.linalg.eigh(symmetric(x))[1] ** 2,
        _shape,
        covers=[np.linalg.eigh],
        autograd=False,
    )
case("eigvalsh", lambda np, x: np.linalg.eigvalsh(symmetric(x)), (3, 3), covers=[np.linalg.eigvalsh], autograd=False)
case("sinc", lambda np, x: np.sinc(x), (3,), covers=[np.sinc])
case("cross", lambda np, x, y: np.cross(x, y), (2, 3), (2, 3), covers=[np.cross], autograd=False)


# -- loops over time -------------------------------------------------------------------------------
def decay(np, carry, x):
    return 0.5 * carry + np.tanh(x), carry * x


def swap_pair(np, pair, x):
    a, b = pair
    return (b, np.where(x > 0, a * x, b - a)), (a + b, np.exp(-x) * b)


case("scan: stacked", lambda np, c, x: A.scan(lambda s, v: decay(np, s, v), c, x)[1], (), (5,), autograd=False)
case("scan: last carry", lambda np, c, x: A.scan(lambda s, v: decay(np, s, v), c, x)[0], (2,), (5, 2), autograd=False)
case("scan: constant start", lambda np, x: np.stack(A.scan(lambda s, v: (s * v, s), 1.5, x)[1]), (4,), autograd=False)
case(
    "scan: pairs",
    lambda np, c, x: A.scan(lambda s, v: swap_pair(np, s, v), (c, 2 * c), x)[1][1],
    (),
    (5,),
    autograd=False,
)
case(
    "scan: what stands outside",
    lambda np, c, x, w: A.scan(lambda s, v: (np.tanh(w @ s + v), w[0] @ s), c, x)[1],
    (3,),
    (4, 3),
    (3, 3),
    autograd=False,
)
case("scan: length alone", lambda np, c: A.scan(lambda s, v: (s * c, s + c), c, None, length=4)[1], (), autograd=False)
case(
    "scan: both ends used",
    lambda np, c, x: (
        A.scan(lambda s, v: (s + np.sin(v) * s, s * s), c, x)[0] * A.scan(lambda s, v: decay(np, s, v), c, x)[1]
    ),
    (),
    (3,),
    autograd=False,
)

# -- methods of an array ---------------------------------------------------------------------------
METHOD_CALLS = {
    "reshape": lambda x: x.reshape(3, 2) + x.reshape((3, -1)),
    "transpose": lambda x: x.transpose() + x.transpose(1, 0) + x.transpose((1, 0)) + x.T,
    "flatten": lambda x: x.flatten(),
    "copy": lambda x: x.copy(),
    "sum": lambda x: x.sum(axis=0) + x.sum(-1, keepdims=True),
    "mean": lambda x: x.mean(1),
    "var": lambda x: x.var(ddof=1),
    "std": lambda x: x.std(axis=0),
    "prod": lambda x: x.prod(),
    "max": lambda x: x.max(axis=1) * x.max(),
    "min": lambda x: x.min(),
    "argmax": lambda x: x.argmax() + x,
    "argmin": lambda x: x.argmin(axis=0) + x,
    "cumsum": lambda x: x.cumsum(axis=1) + x.cumsum().sum(),
    "cumprod": lambda x: x.cumprod(axis=0),
    "dot": lambda x: x.dot(x.T),
    "ravel": lambda x: x.ravel(),
    "squeeze": lambda x: x[None].squeeze(0),
    "swapaxes": lambda x: x.swapaxes(0, 1),
    "take": lambda x: x.take([1, 0], axis=1),
    "clip": lambda x: x.clip(-0.5, 0.5),
    "repeat": lambda x: x.repeat(2, axis=0),
    "diagonal": lambda x: x.diagonal(),
    "trace": lambda x: x.trace(),
    "round": lambda x: x.round() + x,
    "all": lambda x: (x > -9).all(axis=0) * x,
    "any": lambda x: (x > 0).any() * x,
    "astype": lambda x: x.astype(float),
    "argsort": lambda x: x.argsort(axis=0) + x,
}
for _name, _call in METHOD_CALLS.items():
    case(f"method {_name}", lambda np, x, f=_call: f(x), (2, 3), autograd=False)
case(
    "iteration and length",
    lambda np, x: sum(row * len(x) for row in x) + x.size + x.ndim + x.shape[0],
    (3, 2),
    autograd=False,
)
