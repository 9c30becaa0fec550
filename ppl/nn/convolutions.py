"""Convolutions, plain, transposed and masked: matrix products of strided windows.

Arrays have their features last: sequences (..., time, features), images (..., height, width, features). A
window onto an image is a view of it, and all windows times the kernel are one matrix product; the
transposed convolution is the product first, whose windows are then added up where they stand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from ..array import operations as op
from ..distributions._arrays import Array
from ..errors import ModelError
from .initial import Fans, check_start, weight_and_bias
from .network import Network, Params, Uniform, check_features

Sizes = tuple[int, ...]
Pads = Sequence[tuple[int, int]]  # before and after, for every axis of space


def convolve(x: Array, weight: Array, strides: Sizes, pads: Pads, dilations: Sizes) -> Array:
    """`y[p, o] = sum over k and i of x[p stride + k dilation - pad, i] weight[k, i, o]`.

    x is (..., *space, ins), the weight (*kernel, ins, outs); what lies outside of x counts as 0.
    """
    kernel, (ins, outs) = np.shape(weight)[:-2], np.shape(weight)[-2:]
    if any(a or b for a, b in pads):
        x = np.pad(x, [*[(0, 0)] * (np.ndim(x) - len(pads) - 1), *pads, (0, 0)])
    if prod(kernel) * prod(strides) > 1:
        x = op.windows(x, kernel, strides, dilations)
        x = np.reshape(x, (*np.shape(x)[: -len(kernel) - 1], prod(kernel) * ins))
    return x @ np.reshape(weight, (-1, outs))


def each_axis(n: int | Sequence[int], axes: int, what: str, least: int = 1) -> Sizes:
    """A setting for every axis of space, from one number or one for each."""
    found = (int(n),) * axes if isinstance(n, int | np.integer) else tuple(map(int, n))
    if len(found) != axes or min(found) < least:
        raise ModelError(f"{what}={n!r}", f"a whole number from {least} on, or {axes} of them", f"{what}={least}")
    return found


class _Convolution(Network):
    """What convolutions over one and two axes share."""

    axes: int  # of space

    def __post_init__(self) -> None:
        check_start(self.start)
        for name in ("kernel", "stride", "dilation"):
            each_axis(getattr(self, name), self.axes, name)
        if self.padding != "same":
            each_axis(self.padding, self.axes, "padding", 0)

    def weights(self) -> dict[str, Any]:
        kernel = each_axis(self.kernel, self.axes, "kernel")
        fans = Fans(prod(kernel) * self.ins, prod(kernel) * self.outs)
        return weight_and_bias((*kernel, self.ins, self.outs), fans, self.start, self.outs)

    def apply(self, params: Params, x: Array, *, uniform: Uniform = None) -> Array:
        check_features(self, x, self.ins, self.axes + 1)
        strides, dilations = (each_axis(getattr(self, n), self.axes, n) for n in ("stride", "dilation"))
        pads = self._pads(np.shape(x)[-self.axes - 1 : -1], strides, dilations)
        return convolve(x, params["weight"], strides, pads, dilations) + params["bias"]

    def _pads(self, space: Sizes, strides: Sizes, dilations: Sizes) -> Pads:
        if self.padding != "same":
            return [(p, p) for p in each_axis(self.padding, self.axes, "padding", 0)]
        spans = [d * (k - 1) + 1 for k, d in zip(each_axis(self.kernel, self.axes, "kernel"), dilations, strict=True)]
        lacking = [max(-(-n // s) * s - s + span - n, 0) for n, s, span in zip(space, strides, spans, strict=True)]
        return [(n // 2, n - n // 2) for n in lacking]


@dataclass(frozen=True, repr=False)
class Conv1d(_Convolution):
    """A convolution along time: (..., time, ins) to (..., time', outs).

    `y[t, o] = b[o] + sum over k and i of x[t stride + k dilation - padding, i] w[k, i, o]`. `padding` is what is
    added at both ends, or "same": as many outputs as inputs, divided by the stride and rounded up.

    >>> net = Conv1d(1, 1, 2)
    >>> params = {"weight": np.array([[[-1.0]], [[1.0]]]), "bias": np.zeros(1)}
    >>> net.apply(params, np.array([1.0, 4.0, 9.0])[:, None])[:, 0]
    array([3., 5.])
    """

    ins: int
    outs: int
    kernel: int
    stride: int = 1
    padding: int | str = 0
    dilation: int = 1
    start: str = "uniform"

    axes = 1


@dataclass(frozen=True, repr=False)
class Conv2d(_Convolution):
    """A convolution over images: (..., height, width, ins) to (..., height', width', outs).

    `y[p, q, o] = b[o] + sum over k, l and i of x[p stride + k dilation - padding, ..., i] w[k, l, i, o]`. Settings
    are one number for both axes or one for each; `padding` is what is added at all sides, or "same": as many
    outputs as inputs, divided by the stride and rounded up.

    >>> net = Conv2d(3, 16, 3, stride=2, padding="same")
    >>> net
    Conv2d(3, 16, 3, stride=2, padding='same'): 448 parameters
    >>> net.apply(net.init(0), np.zeros((5, 28, 28, 3))).shape
    (5, 14, 14, 16)
    """

    ins: int
    outs: int
    kernel: int | Sizes
    stride: int | Sizes = 1
    padding: int | Sizes | str = 0
    dilation: int | Sizes = 1
    start: str = "uniform"

    axes = 2


@dataclass(frozen=True, repr=False)
class ConvTranspose2d(Network):
    """The transpose of a convolution, which makes images larger: (..., height, width, ins) to (..., more, more, outs).

    Every input puts the kernel, times itself, `stride` places after that of its neighbour, and what overlaps is
    added up: `height' = (height - 1) stride + kernel - 2 padding + more`. `padding` cuts all sides, `more`
    adds rows and columns at the far ends; padding="same" cuts and adds so that `height' = height stride`.

    >>> net = ConvTranspose2d(16, 1, 4, stride=2, padding="same")
    >>> net.apply(net.init(0), np.zeros((5, 14, 14, 16))).shape
    (5, 28, 28, 1)
    """

    ins: int
    outs: int
    kernel: int | Sizes
    stride: int | Sizes = 1
    padding: int | Sizes | str = 0
    more: int | Sizes = 0
    start: str = "uniform"

    axes = 2

    def __post_init__(self) -> None:
        check_start(self.start)
        self._cuts()

    def weights(self) -> dict[str, Any]:
        kernel, stride = (each_axis(getattr(self, n), self.axes, n) for n in ("kernel", "stride"))
        overlap = max(prod(kernel) // prod(stride), 1)  # how many inputs meet in one output
        return weight_and_bias(
            (*kernel, self.ins, self.outs), Fans(overlap * self.ins, prod(kernel) * self.outs), self.start, self.outs
        )

    def apply(self, params: Params, x: Array, *, uniform: Uniform = None) -> Array:
        check_features(self, x, self.ins, self.axes + 1)
        kernel, stride = (each_axis(getattr(self, n), self.axes, n) for n in ("kernel", "stride"))
        space = np.shape(x)[-self.axes - 1 : -1]
        weight = np.reshape(np.moveaxis(params["weight"], -2, 0), (self.ins, prod(kernel) * self.outs))
        found = np.reshape(x @ weight, (*np.shape(x)[:-1], *kernel, self.outs))
        whole = [(n - 1) * s + k for n, s, k in zip(space, stride, kernel, strict=True)]
        cuts = self._cuts()
        longer = tuple(max(n, n - b) for n, (_, b) in zip(whole, cuts, strict=True))
        y = op.overlaid(found, longer, stride, (1,) * self.axes)
        kept = [slice(a, n - b) for n, (a, b) in zip(whole, cuts, strict=True)]
        return y[(Ellipsis, *kept, slice(None))] + params["bias"]

    def _cuts(self) -> Pads:
        """What goes at the near and at the far end of each axis; a negative number is added there."""
        kernel, stride = (each_axis(getattr(self, n), self.axes, n) for n in ("kernel", "stride"))
        if self.padding == "same":
            extra = [k - s for k, s in zip(kernel, stride, strict=True)]
            return [(max(n, 0) // 2, n - max(n, 0) // 2) for n in extra]
        more = each_axis(self.more, self.axes, "more", 0)
        return [(p, p - m) for p, m in zip(each_axis(self.padding, self.axes, "padding", 0), more, strict=True)]


@dataclass(frozen=True, repr=False)
class MaskedConv1d(Network):
    """A causal convolution: what comes out at time t has seen no input after t, or none from t on where `strict`.

    As many outputs as inputs. `dilation` is the distance between the inputs that one output sees; layers
    whose dilation doubles see far back with few weights (WaveNet: van den Oord et al. 2016, section 2.1).

    >>> net = MaskedConv1d(1, 1, 2, dilation=2)
    >>> params = {"weight": np.ones((2, 1, 1)), "bias": np.zeros(1)}
    >>> net.apply(params, np.array([1.0, 2.0, 4.0, 8.0])[:, None])[:, 0]
    array([ 1.,  2.,  5., 10.])
    """

    ins: int
    outs: int
    kernel: int
    dilation: int = 1
    strict: bool = False
    start: str = "uniform"

    def __post_init__(self) -> None:
        check_start(self.start)
        for name in ("kernel", "dilation"):
            each_axis(getattr(self, name), 1, name)

    @property
    def reach(self) -> int:
        """How many steps back the earliest input lies that an output sees."""
        return (self.kernel - 1) * self.dilation + self.strict

    def weights(self) -> dict[str, Any]:
        fans = Fans(self.kernel * self.ins, self.kernel * self.outs)
        return weight_and_bias((self.kernel, self.ins, self.outs), fans, self.start, self.outs)

    def apply(self, params: Params, x: Array, *, uniform: Uniform = None) -> Array:
        check_features(self, x, self.ins, 2)
        before = x[..., :-1, :] if self.strict else x
        return convolve(before, params["weight"], (1,), [(self.reach, 0)], (self.dilation,)) + params["bias"]


@dataclass(frozen=True, repr=False)
class MaskedConv2d(Network):
    """A convolution that sees the pixels above and to the left, and, unless `strict`, the pixel itself (PixelCNN).

    As many outputs as inputs; the order is that of reading, row by row (van den Oord, Kalchbrenner and
    Kavukcuoglu 2016, figure 2: mask A is strict, mask B is not). With several `colours` the features stand in as
    many blocks, one for each colour, and in the pixel itself a block sees those of earlier colours, and its own
    unless `strict`. The kernel is odd; the rows of it that would see what comes after do not exist.

    Errors: ModelError for an even kernel, and for features that do not divide into colours.

    >>> net = MaskedConv2d(1, 1, 3)
    >>> params = {"weight": np.ones((2, 3, 1, 1)), "bias": np.zeros(1)}
    >>> net.apply(params, np.arange(9.0).reshape(3, 3, 1))[..., 0]
    array([[ 0.,  1.,  3.],
           [ 4., 10., 12.],
           [13., 25., 24.]])
    """

    ins: int
    outs: int
    kernel: int
    strict: bool = False
    colours: int = 1
    start: str = "uniform"

    def __post_init__(self) -> None:
        check_start(self.start)
        if self.kernel % 2 == 0 or self.kernel < 1:
            raise ModelError(f"kernel={self.kernel}", "an odd number, with the pixel itself in the middle", "kernel=3")
        if self.ins % self.colours or self.outs % self.colours:
            raise ModelError(
                f"{self.ins} and {self.outs} features for {self.colours} colours",
                "as many features for each colour",
                f"a multiple of {self.colours}",
            )

    @property
    def mask(self) -> np.ndarray:
        """Which weights are there: (kernel // 2 + 1, kernel, ins, outs)."""
        return _mask(self)

    def weights(self) -> dict[str, Any]:
        seen = np.sum(self.mask, axis=(0, 1, 2)).max()
        shape = self.mask.shape
        return weight_and_bias(shape, Fans(int(seen), shape[0] * shape[1] * self.outs), self.start, self.outs)

    def apply(self, params: Params, x: Array, *, uniform: Uniform = None) -> Array:
        check_features(self, x, self.ins, 3)
        half = self.kernel // 2
        return convolve(x, params["weight"] * self.mask, (1, 1), [(half, 0), (half, half)], (1, 1)) + params["bias"]


@lru_cache(maxsize=64)
def _mask(net: MaskedConv2d) -> np.ndarray:
    half = net.kernel // 2
    mask = np.ones((half + 1, net.kernel, net.ins, net.outs), bool)
    mask[half, half:] = False
    colour_in, colour_out = (np.arange(n) * net.colours // n for n in (net.ins, net.outs))
    compare = np.greater if net.strict else np.greater_equal
    mask[half, half] = compare(colour_out, colour_in[:, None])
    mask.flags.writeable = False
    return mask
