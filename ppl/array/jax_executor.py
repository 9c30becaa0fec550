"""The JAX executor: a program handed to `jax.jit`, and steps of a loop to `jax.lax.scan`.

    compile_with_jax(program)     inputs -> outputs, as the NumPy executor's
    Loop(program, ...)            many steps of  state, noise, xs -> state, ys  in one call

Programs are differentiated before they come here, so this file says only what each operation is called in
JAX. An operation that JAX has no name for runs as the NumPy function that it is, called from the compiled
program: slower, and the same numbers. Constants are arguments of what is compiled, so programs that
differ in constants alone share one compiled function. No other executor imports JAX; networks of JAX do (`ppl/nn`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np
from scipy import special

from ..errors import ModelError
from . import operations as op
from .chains import chain_log_sum, chain_slopes
from .gaps import _NODES, _series, binet, binet_bend, binet_gap, binet_slope, gammaln_gap, xlogx_gap
from .program import NESTED, Program, Ref
from .scan import Body, scan_rows
from .specials import ZETA

SHARED = 1024  # rows from which an array is shared out among several devices
INSTALL = "pip install 'ppl[jax]'"


def require_jax() -> Any:
    """JAX, or an error that says how to get it."""
    try:
        import jax
    except ImportError:
        raise ModelError("executor='jax' without JAX", "JAX installed", f"{INSTALL}, or executor='numpy'") from None
    return jax


def compile_with_jax(program: Program) -> Callable[..., tuple]:
    """A compiled function of the inputs that returns the outputs as NumPy arrays.

    Whole numbers and floats keep the widths that the program gives them.
    """
    jax = require_jax()
    constants, run = lowered(program)
    compiled = jax.jit(run)

    def call(*inputs: Any) -> tuple:
        with jax.enable_x64(True):
            return tuple(np.asarray(x) for x in compiled(constants, *inputs))

    return call


def lowered(program: Program) -> tuple[list[np.ndarray], Callable]:
    """The arrays that stand in a program, and its function of these and the inputs, in JAX's operations."""
    constants: list[np.ndarray] = []
    run = _lowered(program, constants)
    return constants, run


def _lowered(program: Program, constants: list[np.ndarray]) -> Callable:
    """`lowered`, with the constants of several programs in one list."""
    steps = [_Lowered.of(_narrow_first(program, step), constants) for step in program.steps]
    outputs = _placed(tuple(program.outputs), constants)

    def run(given: Sequence[Any], *inputs: Any) -> tuple:
        values = list(inputs)
        for s in steps:
            values.append(s.run(given, values))
        return _filled(outputs, given, values)

    return run


PORTION = 128  # float32 numbers that are added up as such


def _narrow_first(program: Program, step: Any) -> Any:
    """A sum of all float32 numbers of an array in float64: portions of them in float32, these in float64.

    What is lost is that of adding up so few; a conversion of every number would cost more than the sum.
    """
    x = step.args[0] if step.fun is op.total.run else None
    source = program.steps[x.index - len(program.inputs)] if type(x) is Ref and x.index >= len(program.inputs) else None
    if source is None or source.fun is not op.cast.run or source.dtype != np.float64 or step.shape:
        return step
    inner = source.args[0]
    if type(inner) is not Ref or program.signature(inner)[1] != np.float32:
        return step
    return step._replace(fun=_sum_in_portions, args=(inner,))


def _sum_in_portions(x: Any) -> Any:
    import jax.numpy as jnp

    flat = jnp.ravel(x)
    whole = flat.size // PORTION * PORTION
    parts = jnp.sum(jnp.reshape(flat[:whole], (-1, PORTION)), axis=1)
    return jnp.sum(parts.astype(np.float64)) + jnp.sum(flat[whole:].astype(np.float64))


class _Constant(int):
    """The place of an array among the constants."""


def _placed(x: Any, constants: list[np.ndarray]) -> Any:
    """An argument with its floating arrays named by their place among the constants."""
    if type(x) in (tuple, list):
        return type(x)(_placed(y, constants) for y in x)
    if _is_lifted(x):
        constants.append(np.asarray(x))
        return _Constant(len(constants) - 1)
    return x


def _is_lifted(x: Any) -> bool:
    """Is a constant an argument of what is compiled? Not a file that is read row by row."""
    if not isinstance(x, np.ndarray | np.floating) or isinstance(x, np.memmap):
        return False
    return x.dtype.kind == "f" or (x.dtype.kind in "iu" and x.size > 1)


def _filled(x: Any, given: Sequence[Any], values: Sequence[Any]) -> Any:
    """The argument with constants and values in it."""
    t = type(x)
    if t is Ref:
        return values[x.index]
    if t is _Constant:
        return given[x]
    if t is tuple or t is list:
        return t([_filled(y, given, values) for y in x])
    if t is slice:
        return slice(*(_filled(y, given, values) for y in (x.start, x.stop, x.step)))
    if t is dict:
        return {k: _filled(y, given, values) for k, y in x.items()}
    return x


@dataclass(frozen=True)
class _Lowered:
    """A step: its operation in JAX, and its arguments with the places of values and constants."""

    call: Callable
    args: tuple
    kwargs: dict[str, Any]
    dtype: np.dtype
    key: Any  # what it is, beside the values of its constants

    @classmethod
    def of(cls, step: Any, constants: list[np.ndarray]) -> _Lowered:
        if step.fun is scan_rows.run:
            inner = _lowered(step.args[0].program, body_constants := [])
            first = len(constants)
            constants += body_constants
            call = partial(_scan, step.args[0], inner, slice(first, first + len(body_constants)))
            return cls(call, _placed(tuple(step.args[1:]), constants), {}, step.dtype, step.fun)
        call = None if any(isinstance(a, np.memmap) for a in step.args) else _call_of(step.fun)
        if call is None:
            return cls(partial(_called_back, step), _placed(tuple(step.args), constants), step.kwargs, step.dtype, step)
        return cls(call, _placed(tuple(step.args), constants), step.kwargs, step.dtype, step.fun)

    def run(self, given: Sequence[Any], values: Sequence[Any]) -> Any:
        args, kwargs = _filled(self.args, given, values), _filled(self.kwargs, given, values)
        if isinstance(self.call, partial) and self.call.func is _scan:
            return self.call(given, *args)
        out = self.call(*args, **kwargs)
        return out if getattr(out, "dtype", None) == self.dtype else _cast(out, self.dtype)


# -- operations ------------------------------------------------------------------------------------
# Functions of scipy.special that jax.scipy.special has, as accurate.
SPECIAL = (
    "betaln", "digamma", "entr", "erf", "erfc", "erfinv", "expit", "gammainc", "gammaincc", "gammaln", "i0", "i0e",
    "i1", "i1e", "log_ndtr", "logit", "ndtr", "ndtri", "xlog1py", "xlogy",
)  # fmt: skip
# Ufuncs of NumPy under another name, or that JAX has not.
RENAMED = {"true_divide": "divide"}
ABSENT = ("ldexp", "frexp", "spacing", "nextafter", "modf", "divmod", "float_power")


def _call_of(fun: Callable) -> Callable | None:
    """An operation in JAX, if it has one."""
    import jax.numpy as jnp
    from jax.scipy import special as jspecial

    if fun is _sum_in_portions:
        return fun
    if fun in _OWN:
        return _OWN[fun]
    name = getattr(fun, "__name__", "")
    if isinstance(fun, np.ufunc):
        if getattr(special, name, None) is fun:
            return getattr(jspecial, name) if name in SPECIAL else None
        if getattr(np, name, None) is fun and name not in ABSENT:
            return getattr(jnp, RENAMED.get(name, name), None)
        return None
    return getattr(jnp, name) if fun in (np.einsum, np.sinc) else None


def _own() -> dict[Callable, Callable]:
    """Our own operations in JAX's."""

    def jnp():
        import jax.numpy

        return jax.numpy

    def jspecial():
        import jax.scipy.special

        return jax.scipy.special

    def lax_linalg():
        import jax.scipy.linalg

        return jax.scipy.linalg

    def expanded(solve: Callable) -> Callable:
        """A triangular solve whose arguments have the same leading axes."""

        def call(lower: Any, b: Any) -> Any:
            lead = np.broadcast_shapes(lower.shape[:-2], b.shape[:-2])
            return solve(jnp().broadcast_to(lower, lead + lower.shape[-2:]), jnp().broadcast_to(b, lead + b.shape[-2:]))

        return call

    def log_total_exp(x: Any, axes: tuple) -> Any:
        return jspecial().logsumexp(x, axis=axes) if axes else x

    def softplus(x: Any) -> Any:
        return jnp().logaddexp(x, 0.0)

    def scatter(g: Any, key: Any, shape: tuple) -> Any:
        zeros = jnp().zeros(shape, g.dtype)
        return zeros.at[key].set(g) if op._is_basic(key) else zeros.at[key].add(g)

    def places(counts: Sequence, sizes: Sequence, strides: Sequence, dilations: Sequence) -> tuple:
        """Where in space the elements of windows stand: a key with an array for each axis of space."""
        n, found = len(sizes), []
        for a, (count, k, s, d) in enumerate(zip(counts, sizes, strides, dilations, strict=True)):
            at = s * np.arange(count)[:, None] + d * np.arange(k)
            found.append(at.reshape([count if i == a else k if i == n + a else 1 for i in range(2 * n)]))
        return (Ellipsis, *found, slice(None))

    def windows(x: Any, sizes: tuple, strides: tuple, dilations: tuple) -> Any:
        (*shape,), n = op.windows.run(np.broadcast_to(0.0, np.shape(x)), sizes, strides, dilations).shape, len(sizes)
        return jnp().asarray(x)[places(shape[-2 * n - 1 : -n - 1], sizes, strides, dilations)]

    def overlaid(x: Any, space: tuple, strides: tuple, dilations: tuple) -> Any:
        shape, n = np.shape(x), len(space)
        key = places(shape[-2 * n - 1 : -n - 1], shape[-n - 1 : -1], strides, dilations)
        return jnp().zeros((*shape[: -2 * n - 1], *space, shape[-1]), x.dtype).at[key].add(x)

    def near_and_far(x: Any, y: Any) -> Any:
        away = x - y
        close = jnp().abs(away) < 0.5 * y
        inner = x * jnp().log1p(jnp().where(close, away / y, 0.0)) - away
        return jnp().where(close, inner, jspecial().kl_div(x, y))

    def rest_of_stirling(order: int, near: Callable) -> Callable:
        def lowered(x: Any) -> Any:
            x = _cast(x, jnp().float64)
            return jnp().where(x < 16.0, near(jnp().minimum(x, 16.0)), _series(jnp().maximum(x, 16.0), order))

        return lowered

    rest = rest_of_stirling(
        0, lambda x: jspecial().gammaln(x) - (x - 0.5) * jnp().log(x) + x - 0.5 * math.log(2.0 * math.pi)
    )
    rest_slope = rest_of_stirling(1, lambda x: jspecial().digamma(x) - jnp().log(x) + 0.5 / x)
    rest_bend = rest_of_stirling(2, lambda x: jspecial().zeta(2.0, x) - (1.0 + 0.5 / x) / x)

    def rest_gap(x: Any, y: Any) -> Any:
        x, y = _cast(x, jnp().float64), _cast(y, jnp().float64)
        away, slope = x - y, rest_slope(y)
        below, middle, above = (rest_slope(y + node * away) - slope for node in _NODES)
        near = away * (5.0 * (below + above) + 8.0 * middle) / 18.0
        return jnp().where(jnp().abs(away) <= 0.02 * y, near, rest(x) - rest(y) - slope * away)

    def gamma_gap(x: Any, y: Any) -> Any:
        x, y = _cast(x, jnp().float64), _cast(y, jnp().float64)
        return near_and_far(x, y) + 0.5 * near_and_far(y, x) / y + rest_gap(x, y)

    def solved(lower: Any, b: Any, trans: int) -> Any:
        return lax_linalg().solve_triangular(lower, b, trans=trans, lower=True)

    def chain_sum(nodes: Any, pairs: Any) -> Any:
        import jax

        def step(b: Any, x: tuple) -> tuple[Any, None]:
            return jspecial().logsumexp(x[1] + (x[0] + b)[..., None, :], axis=-1), None

        lead = np.broadcast_shapes(nodes.shape[:-2], pairs.shape[:-3])
        n = jnp().moveaxis(jnp().broadcast_to(nodes, (*lead, *nodes.shape[-2:])), -2, 0)
        p = jnp().moveaxis(jnp().broadcast_to(pairs, (*lead, len(n), *pairs.shape[-2:])), -3, 0)
        return jax.lax.scan(step, jnp().zeros(n.shape[1:], n.dtype), (n, p), reverse=True)[0]

    def chain_slope(nodes: Any, pairs: Any, weights: Any) -> Any:
        import jax

        lead = weights.shape[:-1]
        whole = [jnp().broadcast_to(x, (*lead, *x.shape[-own:])) for x, own in ((nodes, 2), (pairs, 3))]
        slopes = jax.vjp(chain_sum, *whole)[1](weights)
        return jnp().concatenate([x.reshape(*lead, -1) for x in slopes], -1)

    return {
        chain_log_sum.run: chain_sum,
        chain_slopes.run: chain_slope,
        op.total.run: lambda x, axes: jnp().sum(x, axis=axes),
        op.largest.run: lambda x, axes: jnp().max(x, axis=axes),
        op.log_total_exp.run: log_total_exp,
        op.reshape.run: lambda x, shape: jnp().reshape(x, shape),
        op.broadcast.run: lambda x, shape: jnp().broadcast_to(x, shape),
        op.transpose.run: lambda x, axes: jnp().transpose(x, axes),
        op.running_sum.run: lambda x, axis: jnp().cumsum(x, axis),
        op.concatenate.run: lambda parts, axis: jnp().concatenate([jnp().asarray(p) for p in parts], axis),
        op.where.run: lambda c, a, b: jnp().where(c, a, b),
        op.agreeing.run: lambda x, a, b: jnp().where(x > 0, a, b),
        op.cast.run: lambda x, dtype: jnp().asarray(x).astype(dtype),
        op.index.run: lambda x, key: jnp().asarray(x)[key],
        op.scatter.run: scatter,
        op.windows.run: windows,
        op.overlaid.run: overlaid,
        op.softplus.run: softplus,
        op.stop_gradient.run: lambda x: x,
        op.draw_of.run: lambda x, name: x,
        op.cholesky.run: lambda x: jnp().linalg.cholesky(x),
        op.log_abs_det.run: lambda x: jnp().linalg.slogdet(x)[1],
        op.sign_det.run: lambda x: jnp().linalg.slogdet(x)[0],
        op.eigenvalues.run: lambda x: jnp().linalg.eigvalsh(x),
        op.eigenvectors.run: lambda x: jnp().linalg.eigh(x)[1],
        op.position_of_largest.run: lambda x, axis: jnp().argmax(x, axis),
        op.in_order.run: lambda x, axis: jnp().sort(x, axis),
        op.order_of.run: lambda x, axis: jnp().argsort(x, axis, stable=True),
        op.rank_of.run: lambda x, axis: jnp().argsort(jnp().argsort(x, axis, stable=True), axis, stable=True),
        op.place_among.run: lambda x, knots, side: jnp().searchsorted(knots, x, side=side),
        op.triangular_solve.run: expanded(lambda lower, b: solved(lower, b, 0)),
        op.triangular_solve_transposed.run: expanded(lambda lower, b: solved(lower, b, 1)),
        xlogx_gap.run: near_and_far,
        gammaln_gap.run: gamma_gap,
        binet.run: rest,
        binet_slope.run: rest_slope,
        binet_bend.run: rest_bend,
        binet_gap.run: rest_gap,
        ZETA: lambda s, q: jspecial().zeta(s, q),
        np.matmul: lambda a, b: jnp().matmul(a, b),
        np.linalg.solve: lambda a, b: jnp().linalg.solve(a, b),
        np.linalg.inv: lambda a: jnp().linalg.inv(a),
        np.linalg.det: lambda a: jnp().linalg.det(a),
    }


_OWN = _own()


def _cast(x: Any, dtype: np.dtype) -> Any:
    import jax.numpy as jnp

    return jnp.asarray(x).astype(dtype)


def _scan(body: Body, inner: Callable, own: slice, given: Sequence[Any], carries, xs, constants) -> Any:
    """All rows of a loop, by `jax.lax.scan`."""
    import jax
    import jax.numpy as jnp

    inputs, n = body.program.inputs, body.carries

    def step(carry, x):
        out = inner(given[own], *carry, *x, *constants)
        new = tuple(_cast(c, inputs[i].dtype) for i, c in enumerate(out[:n]))
        ys = [jnp.ravel(_cast(y, body.dtype)) for y in (*carry, *out[n:])]
        return new, jnp.concatenate(ys) if ys else jnp.zeros(0, body.dtype)

    start = tuple(_cast(c, inputs[i].dtype) for i, c in enumerate(carries))
    end, rows = jax.lax.scan(step, start, tuple(jnp.asarray(x) for x in xs), length=body.length)
    last = [jnp.ravel(_cast(c, body.dtype)) for c in end]
    width = sum(s.stop - s.start for s in body.slices[:n])
    last.append(jnp.zeros(body.width - width, body.dtype))
    return jnp.concatenate([rows, jnp.concatenate(last)[None]], 0)


def _called_back(step: Any, *args: Any, **kwargs: Any) -> Any:
    """An operation without a name in JAX: the NumPy function itself."""
    import jax

    leaves, build = jax.tree.flatten((args, kwargs), is_leaf=lambda x: x is None)
    moving = [i for i, x in enumerate(leaves) if isinstance(x, jax.Array)]

    def call(*found: Any) -> np.ndarray:
        now = list(leaves)
        for i, x in zip(moving, found, strict=True):
            now[i] = np.asarray(x)[()]
        a, k = jax.tree.unflatten(build, now)
        with np.errstate(all="ignore"):
            return np.asarray(step.fun(*a, **k), step.dtype)

    shape = jax.ShapeDtypeStruct(step.shape, step.dtype)
    return jax.pure_callback(call, shape, *(leaves[i] for i in moving), vmap_method="sequential")


# -- loops -----------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Noise:
    """What a factor draws at a step: standard normal or uniform numbers, (particles, *shape).

    Normal noise comes in antithetic, stratified pairs unless it is `independent`; of `mirrored` uniform
    noise every second particle has one minus that of the one before.
    """

    kind: str
    particles: int
    shape: tuple[int, ...]
    independent: bool = False
    mirrored: bool = False

    def draw(self, key: Any, dtype: np.dtype) -> Any:
        """The numbers of one step."""
        import jax
        import jax.numpy as jnp

        shape = (self.particles, *self.shape)
        if self.kind == "normal":
            if self.independent or self.particles < 2:
                return jax.random.normal(key, shape, dtype)
            return _stratified(key, shape, dtype)
        info = jnp.finfo(dtype)
        u = jnp.clip(jax.random.uniform(key, shape, dtype), info.tiny, 1.0 - info.epsneg)
        if self.mirrored:
            pairs = self.particles // 2 * 2
            u = u.at[1::2].set(1.0 - u[:pairs:2])
        return u


def _stratified(key: Any, shape: tuple[int, ...], dtype: np.dtype) -> Any:
    """Standard normal noise in antithetic pairs, its absolute values stratified over the pairs."""
    import jax
    import jax.numpy as jnp

    particles, *rest = shape
    pairs = particles // 2
    ranks, inside, signs, odd = jax.random.split(key, 4)
    places = jnp.argsort(jax.random.uniform(ranks, (pairs, *rest), dtype), axis=0) if pairs > 1 else 0.0
    u = (places + jax.random.uniform(inside, (pairs, *rest), dtype)) / pairs
    tip = jnp.finfo(dtype).epsneg
    half = jax.scipy.special.ndtri(0.5 + 0.5 * jnp.clip(u, tip, 1.0 - 2.0 * tip))
    half = half * jax.random.rademacher(signs, (pairs, *rest), dtype)
    parts = [half, -half]
    if particles % 2:
        parts.append(jax.random.normal(odd, (1, *rest), dtype))
    return jnp.concatenate(parts, 0).astype(dtype)


@dataclass(frozen=True)
class Loop:
    """Many steps in one call.

    The program's inputs are the state, then the noise of a step, then its own xs; its outputs are the new state, then
    what each step leaves. The noise of step t is drawn from the seed and t alone, so the same steps in other portions
    are the same. `sums` are outputs (by place among the ys) of which only the sum over the steps is kept.
    """

    program: Program
    states: int
    noise: tuple[Noise, ...]
    sums: tuple[int, ...] = ()
    compiled: dict = field(default_factory=dict, compare=False)  # by the form of the program

    @cached_property
    def _lowered(self) -> tuple[list[np.ndarray], Callable]:
        return lowered(self.program)

    def run(self, state: Sequence[Any], seed: int, start: int, xs: Sequence[Any], length: int) -> tuple[list, list]:
        """The state after `length` steps from step `start`, and what these left, stacked or summed."""
        jax = require_jax()
        with jax.enable_x64(True):
            call = self._compiled(length)
            state, ys = call(self._placed, tuple(state), seed, start, tuple(xs))
        return [np.asarray(x) for x in state], [np.asarray(y) for y in ys]

    @cached_property
    def _placed(self) -> list[Any]:
        """The constants on the devices."""
        return [_shared_out(x) for x in self._lowered[0]]

    def _compiled(self, length: int) -> Callable:
        key = (length, self.form)
        if key not in self.compiled:
            call, everywhere = partial(_looped, self, self._lowered[1], length), _everywhere()
            self.compiled[key] = require_jax().jit(call, **({"out_shardings": everywhere} if everywhere else {}))
        return self.compiled[key]

    @cached_property
    def form(self) -> tuple:
        """All that a compiled function depends on: two programs of one form differ in constants alone."""
        return _form(self.program), self.states, self.noise, self.sums


def _everywhere() -> Any:
    """The whole of an array on every device; None where there is one."""
    import jax
    from jax.sharding import NamedSharding, PartitionSpec

    devices = jax.devices()
    return NamedSharding(_mesh(devices), PartitionSpec()) if len(devices) > 1 else None


def _mesh(devices: Sequence[Any]) -> Any:
    from jax.sharding import Mesh

    return Mesh(np.array(devices), ("shards",))


def _shared_out(x: np.ndarray) -> Any:
    """An array on the devices: a long one, such as a plate's data, in shards of its longest axis.

    What is computed from shards stays in shards, and sums over them are added up between the devices, also those
    of other processes (`jax.distributed.initialize`), which hold the same data.
    """
    import jax
    from jax.sharding import NamedSharding, PartitionSpec

    devices = jax.devices()
    if len(devices) == 1:
        return jax.device_put(x)
    axis = int(np.argmax(x.shape)) if x.ndim else 0
    divides = x.ndim > 0 and x.shape[axis] >= SHARED and x.shape[axis] % len(devices) == 0
    names = [None] * x.ndim
    if divides:
        names[axis] = "shards"
    sharding = NamedSharding(_mesh(devices), PartitionSpec(*names))
    return jax.make_array_from_callback(x.shape, sharding, lambda key: x[key])


def _looped(loop: Loop, run: Callable, length: int, constants, state, seed, start, xs) -> tuple:
    import jax
    import jax.numpy as jnp

    inputs, n = loop.program.inputs, loop.states
    base = jax.random.key(seed)
    kinds = [x.dtype for x in inputs[n : n + len(loop.noise)]]

    def step(carry, x):
        number, state, totals = carry
        key = jax.random.fold_in(base, number)
        drawn = [
            kind.draw(jax.random.fold_in(key, i), dtype)
            for i, (kind, dtype) in enumerate(zip(loop.noise, kinds, strict=True))
        ]
        out = run(constants, *state, *drawn, *x)
        new = tuple(_cast(v, inputs[i].dtype) for i, v in enumerate(out[:n]))
        left = out[n:]
        totals = tuple(t + left[i] for t, i in zip(totals, loop.sums, strict=True))
        return (number + 1, new, totals), tuple(y for i, y in enumerate(left) if i not in loop.sums)

    shapes = [loop.program.outputs[n + i] for i in loop.sums]
    total = tuple(jnp.zeros(*loop.program.signature(o)) if type(o) is Ref else jnp.zeros(np.shape(o)) for o in shapes)
    state = tuple(jnp.asarray(v, inputs[i].dtype) for i, v in enumerate(state))
    (_, state, totals), ys = jax.lax.scan(step, (start, state, total), xs, length=length)
    ys, totals = iter(ys), dict(zip(loop.sums, totals, strict=True))
    every = range(len(loop.program.outputs) - n)
    return state, tuple(totals[i] if i in totals else next(ys) for i in every)


def _form(program: Program) -> tuple:
    """What a program is but for the values of its floating constants, hashable."""
    inputs = tuple((x.shape, x.dtype.str) for x in program.inputs)
    steps = tuple((s.fun, _form_of(s.args), _form_of(s.kwargs), s.shape, s.dtype.str) for s in program.steps)
    return inputs, steps, _form_of(tuple(program.outputs))


def _form_of(x: Any) -> Any:
    if isinstance(x, Body):
        return _form(x.program), x.carries, x.xs, x.length
    if type(x) is Ref:
        return x
    if isinstance(x, np.ndarray | np.generic):
        if isinstance(x, np.memmap):
            return id(x)
        shown = (x.shape, x.dtype.str)
        return shown if _is_lifted(x) else (*shown, x.tobytes())
    if isinstance(x, Mapping):
        return tuple((k, _form_of(v)) for k, v in x.items())
    if type(x) is slice:
        return "slice", _form_of(x.start), _form_of(x.stop), _form_of(x.step)
    if type(x) in NESTED:
        return type(x).__name__, *map(_form_of, x)
    return x if getattr(x, "__hash__", None) else id(x)
