"""Small functions on numbers, arrays and recorded arrays alike, shared by the families."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import special

from ppl.array import agreeing, is_recorded
from ppl.errors import ModelError

Array = Any  # a number, an ndarray or a recording array
Shape = tuple[int, ...]

LARGEST = 2.0**62  # the largest count, and the largest rate of counts


def as_array(value: Any) -> Any:
    """Lists, tuples of numbers and pandas columns as arrays; everything else as it is."""
    if is_recorded(value) or isinstance(value, float):
        return value
    if isinstance(value, list):
        return np.asarray(value)
    if isinstance(value, tuple) and value and not any(hasattr(part, "tree_flatten") for part in value):
        return np.asarray(value)
    value = value.to_numpy() if hasattr(value, "to_numpy") else value
    dtype = getattr(value, "dtype", None)
    small = dtype is not None and dtype.kind in "iu" and dtype.itemsize < 8
    return value.astype(np.int64) if small else value  # sums and squares of a few bits wrap around


def as_numbers(value: Any, what: str) -> Any:
    """`as_array`, for real numbers only; `what` says in an error whose they are."""
    if isinstance(value, float) or is_recorded(value):
        return value
    try:
        value = as_array(value)
        numbers = isinstance(value, int) or np.asarray(value).dtype.kind in "fiub"
    except ValueError:  # lists of different lengths
        numbers = False
    if not numbers:
        raise ModelError(
            got=f"{what} {value!r:.80}",
            expected="real numbers: one, or an array of them",
            hint="np.asarray(..., float), with np.nan for what is missing, and rows of one length",
        )
    return value


def as_shape(shape: Sequence[int] | int) -> Shape:
    """A shape from a tuple, a list or one length."""
    return (shape,) if isinstance(shape, (int, np.integer)) else tuple(shape)


def broadcast(x: Array, shape: Shape) -> Array:
    """`x` at `shape`; no operation when it is there already."""
    return x if np.shape(x) == shape else np.broadcast_to(x, shape)


def append_axes(x: Array, n: int) -> Array:
    """`x` with `n` axes of length 1 on the right."""
    return x if n == 0 else np.reshape(x, np.shape(x) + (1,) * n)


def sum_last(x: Array, n: int) -> Array:
    """The sum of `x` over its last `n` axes."""
    return x if n == 0 else np.sum(x, axis=tuple(range(-n, 0)))


def as_integer(x: Array) -> Array:
    """`x` as int64, for draws and indices; a count too large for one is refused."""
    if not is_recorded(x) and np.any(np.abs(x) > LARGEST):
        raise ModelError(
            got=f"a count of about {np.max(np.abs(x)):.3g}",
            expected="counts up to 2^62, which an integer can hold",
            hint="parameters of a smaller mean, or a continuous family",
        )
    if isinstance(x, (int, float)):
        return np.int64(x)
    return x if x.dtype == np.int64 else x.astype(np.int64)


def as_float(x: Array, kind: np.dtype) -> Array:
    """Whole numbers as floating ones of a type; anything else as it is."""
    x = as_array(x)
    if isinstance(x, (int, float)):
        return float(x)
    return x.astype(kind) if x.dtype.kind in "iu" else x


def float_type(x: Array) -> np.dtype:
    """The floating type of `x`, for constants that meet it: float32 stays float32."""
    dtype = getattr(x, "dtype", None)
    return np.dtype(float) if dtype is None or dtype.kind != "f" else dtype


def quiet() -> np.errstate:
    """Overflow on the way to a density or a probability of zero is no event worth a warning."""
    return np.errstate(over="ignore", under="ignore", divide="ignore", invalid="ignore")


def first_offender(constraint: Any, valid: Array, value: Array) -> tuple[str, str, str]:
    """Of a value outside a set: where the first offending element is, in words, what stands there, and a remark.

    `valid` says which batch elements are inside. Where no element alone is at fault, it is the whole event.
    """
    index = tuple(int(i) for i in np.argwhere(~np.asarray(valid))[0])
    event_dim = constraint.event_dim
    bad = np.broadcast_to(value, np.shape(valid) + np.shape(value)[np.ndim(value) - event_dim :])[index]
    place, why = constraint.fault(bad) if event_dim else ((), "")
    bad, index = bad[place], index + place
    text = str(bad) if np.ndim(bad) == 0 else np.array2string(bad, threshold=8, precision=4).replace("\n", "")
    return (f" at index {index}" if index else ""), text, f": {why}" if why else ""


def above(x: Array, limit: float, value, otherwise: float) -> Array:
    """`value(x)` where x is above the limit, `otherwise` elsewhere; `value` is never asked elsewhere."""
    above = x > limit
    return np.where(above, value(np.where(above, x, limit + 1.0)), otherwise)


def beta_cdf_at_odds(a: Array, b: Array, odds: Array) -> Array:
    """`betainc(a, b, x)` at `odds = x / (1 - x)`, from x or from 1 - x, whichever is the smaller."""
    x, rest = 1.0 / (1.0 + 1.0 / np.minimum(odds, 1.0)), 1.0 / (1.0 + np.maximum(odds, 1.0))
    return agreeing(odds - 1.0, special.betaincc(b, a, rest), special.betainc(a, b, x))


def log_beta_half(x: Array) -> Array:
    """`log B(x, 1 / 2)`, in the floating type of x (a ufunc of SciPy takes a plain 0.5 for double)."""
    return special.betaln(x, float_type(x).type(0.5))


def is_infinite(bound: Array | None, infinity: float) -> bool:
    """Is this no bound: None, or the infinity on its side?"""
    return bound is None or (not is_recorded(bound) and np.ndim(bound) == 0 and bound == infinity)


def cotangent(angle: Array) -> Array:
    """`1 / tan(angle)` between 0 and pi, in functions that are smooth everywhere."""
    return -np.sinh(np.log(np.sin(0.5 * angle)) - np.log(np.cos(0.5 * angle)))


def within_unit(x: Array) -> Array:
    """`x` kept between the smallest normal number and the largest below 1 of its floating type.

    For draws that lie inside the unit interval, and round to its ends.
    """
    kind = float_type(x)
    return np.minimum(np.maximum(x, np.finfo(kind).tiny), kind.type(1.0) - np.finfo(kind).epsneg)


def exp_within(x: Array) -> Array:
    """`exp(x)`, kept between the smallest normal and the largest number of its floating type.

    For positive draws: those of a tiny shape lie outside of what a float can hold.
    """
    kind = np.finfo(float_type(x))
    return np.exp(np.minimum(np.maximum(x, _ends(kind)[0]), _ends(kind)[1]))


def within_range(x: Array) -> Array:
    """`x` kept a factor of 2 away from the largest numbers of its floating type."""
    most = 0.5 * float(np.finfo(float_type(x)).max)
    return np.minimum(np.maximum(x, -most), most)


def within_positive(x: Array) -> Array:
    """`x` kept between the smallest normal and the largest number of its floating type."""
    kind = np.finfo(float_type(x))
    return np.minimum(np.maximum(x, float(kind.tiny)), float(kind.max))


def draw_log_gamma(rng: np.random.Generator, shape: np.ndarray) -> np.ndarray:
    """Logarithms of gamma draws of rate 1, also of those too small for a double.

    `G_a = G_(a + 1) U^(1 / a)` in law (Devroye 1986, section IX.3.6).
    """
    return np.log(rng.standard_gamma(shape + 1.0)) - rng.standard_exponential(np.shape(shape)) / shape


def draw_student(rng: np.random.Generator, df: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Signs of Student's t draws, and the logarithms of their sizes."""
    z = rng.standard_normal(np.shape(df))
    return np.sign(z), np.log(np.abs(z)) + 0.5 * (np.log(0.5 * df) - draw_log_gamma(rng, 0.5 * df))


def _ends(kind: np.finfo) -> tuple[float, float]:
    """Logarithms whose exponentials are normal numbers, rounding included."""
    few = 4.0 * float(kind.eps)
    low, high = np.log(float(kind.tiny)), np.log(float(kind.max))
    return float(low * (1.0 - few)), float(high * (1.0 - few))


def scaled_exp1(x: Array) -> Array:
    """`exp(x) E_1(x)` for x > 0, without overflow; beyond 40 by its continued fraction (DLMF 6.9.1)."""
    far = x > 40.0
    large, fraction = np.where(far, x, 40.0), 0.0
    for k in range(12, 0, -1):
        fraction = k / (1.0 + k / (large + fraction))
    small = np.where(far, 1.0, x)
    return np.where(far, 1.0 / (large + fraction), np.exp(small) * special.exp1(small))
