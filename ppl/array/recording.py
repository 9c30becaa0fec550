"""Recording arrays: run a function on them once and keep the array operations it performs.

A `Recorded` stands in for an ndarray. It knows its shape and dtype; its concrete example
value is worked out only where somebody asks for it. Every operation on it goes through one
door, `Tape.add`, which shares common subexpressions as it goes.

What cannot be recorded raises a `ModelError` that says what to write instead.
"""

from __future__ import annotations

import gc
import operator
import re
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from functools import lru_cache
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from ..errors import ModelError, PPLError, ShapeError, user_line
from .cures import CURES, cure_of_caller
from .program import NESTED, Input, Program, Ref, Step, run

SHAPES: dict[Callable, Callable] = {}  # operation -> rule(*args, **kwargs) -> (shape, dtype), without values
FUNCTIONS: dict[Callable, Callable] = {}  # NumPy function -> the same in recordable operations (functions.py)
SIMPLIFY: dict[Callable, list[Callable]] = {}  # operation -> rules(*args) -> a simpler equal value, or None (passes.py)


LIKELY = (  # what a line of the user's may have tried, and what to write instead
    (r"np\.(as)?array\(", "np.stack([a, b]) for np.array([a, b])"),
    (r"np\.(?!(as)?array|stack)\w+\(\[", "np.stack([a, b]) around a list of values, or their sum written out"),
    (r"\w\[[^\]]+\]\s*=[^=]", "np.stack or np.concatenate, or np.where, for x[i] = z"),
    (r"\w\[", "the array as an argument of the model for x[i], as an array and not a list"),
)


class BranchOnDraw(ModelError):
    """Python's control flow asked for the truth of a recorded value."""


class NoMethod(ModelError, AttributeError):
    """A method of ndarray that a recorded array has not: `hasattr` answers no."""


class Tape:
    """The operations recorded so far, in order.

    `eager=True` lets `if z > 0` answer from the example value; the nodes whose truth was
    asked for stand in `branches`, since every later term depends on them.

    `dtype` is the working dtype. With float32, inputs are float32, and whatever meets a float32
    value in arithmetic is cast to it: constants, integers, rows gathered from wider data.
    """

    def __init__(self, eager: bool = False, dtype: Any = np.float64):
        self.dtype = np.dtype(dtype)
        self.narrow = self.dtype == np.float32
        self.nodes: list[Recorded] = []
        self.inputs: list[Recorded] = []
        self.branches: list[Recorded] = []
        self.eager = eager
        self._seen: dict[Any, Recorded] = {}
        self._copies: dict[Any, np.ndarray] = {}  # of arrays that could change after their use
        self._kept: list[Any] = []  # arrays whose id stands in a key must stay alive

    def input(self, example: Any, name: str = "") -> Recorded:
        """A new input that looks like `example`."""
        example = np.asarray(example)
        if self.narrow and example.dtype == np.float64:
            example = example.astype(np.float32)
        node = Recorded(self, None, (), {}, example.shape, example.dtype, name or f"input {len(self.inputs)}")
        node._value = example[()] if example.ndim == 0 else example
        self.inputs.append(node)
        return node

    def add(self, fun: Callable, args: tuple, kwargs: dict[str, Any] | None = None) -> Any:
        """The value of `fun(*args, **kwargs)`, recorded once however often it is asked for."""
        kwargs = kwargs or {}
        if self.narrow:
            args = self._narrowed(fun, args)
        if not PLAIN.issuperset(map(type, args)):
            args = self._owned(args)
        if not kwargs:
            for simplify in SIMPLIFY.get(fun, ()):
                simpler = simplify(*args)
                if simpler is not None:
                    return simpler
        key = (fun, self._key(args), self._key(tuple(kwargs.items())) if kwargs else None)
        node = self._seen.get(key)
        if node is None:
            shape, dtype, value = self._signature(fun, args, kwargs)
            node = self._seen[key] = Recorded(self, fun, args, kwargs, shape, dtype, "")
            node._value = value
            self.nodes.append(node)
        return node

    def _narrowed(self, fun: Callable, args: tuple) -> tuple:
        """Arguments of an arithmetic operation with wider numbers and integers cast to float32."""
        mixing = isinstance(fun, np.ufunc) or fun in MIXING
        if not mixing or not any(x.dtype == np.float32 for x in _mentioned([], args, ())):
            return args
        return tuple([self._narrow(x) for x in args])

    def _narrow(self, x: Any) -> Any:
        t = type(x)
        if t is tuple or t is list:
            return t([self._narrow(y) for y in x])
        if t is Recorded:
            return FUNCTIONS[np.astype](x, self.dtype) if x.dtype.kind in "iu" or x.dtype == np.float64 else x
        if isinstance(x, np.ndarray | np.generic) and (x.dtype.kind in "iu" or x.dtype == np.float64):
            return x.astype(np.float32)
        return x

    def _signature(self, fun, args, kwargs):
        rule = SHAPES.get(fun)
        if rule is not None:
            return (*rule(*args, **kwargs), None)
        if isinstance(fun, np.ufunc) and fun.nout == 1 and fun.signature is None and not kwargs:
            return (*elementwise_signature(fun, *args), None)
        value = fun(*map(concrete, args), **{k: concrete(v) for k, v in kwargs.items()})
        if isinstance(value, tuple | list):
            raise ModelError(
                f"np.{fun.__name__} with several results",
                "an operation with one array as result",
                "its parts, one by one",
            )
        return np.shape(value), np.result_type(value), value

    def _key(self, x: Any) -> Any:
        t = type(x)
        if t is Recorded:
            return id(x)  # no other key is a bare number
        if t is Ref:
            return x
        if t is tuple or t is list:
            return (t, *[id(y) if type(y) is Recorded else self._key(y) for y in x])  # x[0, 1] is not x[[0, 1]]
        if t is float or t is int or t is bool:
            return (t, x) if x else (t, repr(x))  # -0.0 is not 0.0
        if t is str or x is None or x is Ellipsis:
            return (t, x)
        if t is slice:
            return ("s", self._key((x.start, x.stop, x.step)))
        if isinstance(x, np.generic) or (isinstance(x, np.ndarray) and x.size <= 16):
            return (x.dtype.str, x.shape, x.tobytes())
        self._kept.append(x)
        return ("id", id(x))

    def _owned(self, x: Any) -> Any:
        """An argument whose arrays nobody can change any more: a program keeps the values it was recorded with.

        Equal arrays share one copy. Model arguments are read-only, and taken as they are: they may be large.
        """
        t = type(x)
        if t is tuple or t is list:
            return t([self._owned(y) for y in x])
        if isinstance(x, np.ndarray) and _may_change(x):
            digest = (x.dtype.str, x.shape, blake2b(np.ascontiguousarray(x)).digest())
            if digest not in self._copies:
                self._copies[digest] = np.array(x)
                self._copies[digest].flags.writeable = False
            return self._copies[digest]
        return x.view(np.ndarray) if isinstance(x, Argument) else x


def _arithmetic(name: str, fun: np.ufunc) -> tuple[Callable, Callable]:
    """`x + y` and its reflection."""
    left, right = (getattr(NDArrayOperatorsMixin, f"__{side}{name}__") for side in ("", "r"))

    def forward(x, y):
        return x.tape.add(fun, (x, y)) if type(y) in DIRECT else left(x, y)

    def reflected(x, y):
        return x.tape.add(fun, (y, x)) if type(y) in DIRECT else right(x, y)

    return forward, reflected


class Recorded(NDArrayOperatorsMixin):
    """An array that remembers how it was made."""

    __slots__ = ("_value", "args", "dtype", "fun", "kwargs", "name", "shape", "tape")
    __array_priority__ = 2000  # above pandas' own, so that `series * z` comes to us
    __pandas_priority__ = 5000

    def __init__(self, tape, fun, args, kwargs, shape, dtype, name):
        self.tape, self.fun, self.args, self.kwargs = tape, fun, args, kwargs
        self.shape, self.dtype, self.name, self._value = tuple(shape), dtype, name, None

    @property
    def value(self) -> Any:
        """The concrete example, worked out on demand (iteratively: programs are deep)."""
        todo = [self]
        while self._value is None:
            node = todo[-1]
            missing = [p for p in parents(node) if p._value is None]
            if missing:
                todo += missing
            else:
                if node._value is None:
                    with np.errstate(all="ignore"):
                        node._value = node.fun(*map(concrete, node.args), **concrete(node.kwargs))
                todo.pop()
        return self._value

    ndim = property(lambda self: len(self.shape))
    size = property(lambda self: int(np.prod(self.shape, dtype=np.int64)))
    T = property(lambda self: np.transpose(self))
    mT = property(lambda self: np.swapaxes(self, -1, -2))
    real = property(lambda self: self)
    imag = property(lambda self: np.imag(self))
    itemsize = property(lambda self: self.dtype.itemsize)
    nbytes = property(lambda self: self.size * self.dtype.itemsize)
    device = "cpu"

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of a recorded scalar")
        return self.shape[0]

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __getitem__(self, key):
        return _called("x[...]", FUNCTIONS[operator.getitem], (self, key), {})

    def __format__(self, spec):
        return repr(self)  # a number is there when the program runs, and not before

    def __round__(self, ndigits=0):
        return np.round(self, ndigits)

    def __trunc__(self):
        return np.trunc(self)

    def __floor__(self):
        return np.floor(self)

    def __ceil__(self):
        return np.ceil(self)

    def __repr__(self) -> str:
        return f"<recorded {self.dtype}{list(self.shape)}{f' {self.name}' if self.name else ''}>"

    __hash__ = object.__hash__

    # -- NumPy's doors -------------------------------------------------------------------
    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **kwargs):
        if out is not None:
            raise ModelError(
                f"an in-place np.{ufunc.__name__} with a recorded value", "a new array", "x = x + z, not x += z"
            )
        if method == "reduce" and ufunc in REDUCTIONS:
            kwargs.setdefault("axis", 0)
            return FUNCTIONS[REDUCTIONS[ufunc]](*inputs, **kwargs)
        if method == "accumulate" and ufunc in ACCUMULATIONS:
            kwargs.setdefault("axis", 0)
            return ACCUMULATIONS[ufunc](*inputs, **kwargs)
        name = f"np.{ufunc.__name__}"
        if method not in ("__call__", "outer"):
            raise ModelError(
                f"{name}.{method} of a recorded value", "an operation that can be recorded", f"{name}(a, b)"
            )
        if _of_objects(ufunc):
            hint = "the formula in NumPy's own functions"
            raise ModelError(
                "a ufunc made of a Python function, of a recorded value", "NumPy's or SciPy's ufuncs", hint
            )
        if kwargs.pop("where", True) is not True:
            raise ModelError(f"{name}(..., where=)", "a call without it", "np.where(condition, a, b)")
        if kwargs.pop("dtype", None) is not None:
            raise ModelError(f"{name}(..., dtype=)", "the type as it comes", ".astype(...)")
        if kwargs and not (ufunc.signature and ufunc in FUNCTIONS):
            raise ModelError(
                f"{name}(..., {', '.join(kwargs)}=) of a recorded value",
                "a call without it",
                "a further operation on the result",
            )
        if method == "outer":
            a, b = inputs
            return ufunc(np.reshape(a, np.shape(a) + (1,) * np.ndim(b)), b)
        if ufunc in FUNCTIONS:
            return self._typed_as(ufunc, inputs, _called(name, FUNCTIONS[ufunc], inputs, kwargs))
        if ufunc.nout != 1 or ufunc.signature is not None:
            raise ModelError(f"{name} of a recorded value", "an operation with one result", "see ppl.array.supported()")
        try:
            result = tape_of(inputs).add(ufunc, tuple(_plain(x) for x in inputs))
        except TypeError as error:
            kinds = ", ".join(str(_dtype(x)) for x in inputs)
            raise ModelError(f"{name} of {kinds}", "types for which NumPy has it", ".astype(float)") from error
        if result.dtype.kind not in "biuf":
            raise ModelError(
                f"numbers of type {result.dtype} from {name}", "real numbers", "their real and imaginary parts, by hand"
            )
        return result

    def _typed_as(self, ufunc, inputs, result):
        """The result of a composed ufunc in the type that NumPy's own has."""
        if ufunc.nout != 1 or ufunc.signature is not None or self.tape.narrow:
            return result
        kind = elementwise_signature(ufunc, *map(_plain, inputs))[1]
        return result if result.dtype == kind else FUNCTIONS[np.astype](result, kind)

    def __array_function__(self, fun, types, args, kwargs):
        if fun is np.shape and args:
            return args[0].shape
        if fun is np.ndim and args:
            return len(args[0].shape)
        if fun in ANSWERED:
            return fun(*map(_stand_in, args), **{k: _stand_in(v) for k, v in kwargs.items()})
        name = f"np.{getattr(fun, '__name__', fun)}"
        if kwargs.get("out") is not None:
            raise ModelError(f"{name}(..., out=) of a recorded value", "a new array", f"x = {name}(...)")
        if kwargs.get("dtype") is not None and fun not in HEEDS_DTYPE:
            raise ModelError(f"{name}(..., dtype=) of a recorded value", "the type as it comes", ".astype(...)")
        handler = FUNCTIONS.get(fun)
        if handler is None:
            raise ModelError(
                f"{name} of a recorded value (a draw, a parameter or a minibatch index)",
                "a NumPy function that can be differentiated",
                CURES.get(fun.__name__)
                or "an equivalent from ppl.array.supported(), or apply it to the data before the model",
            )
        return _called(name, handler, args, kwargs)

    # -- refusals ------------------------------------------------------------------------
    def __array__(self, *_, **__):
        line, cure = user_line(), cure_of_caller()
        if cure:
            hint = cure
        elif said := [words for pattern, words in LIKELY if re.search(pattern, line)]:
            hint = "; ".join(said)
        else:
            hint = (
                "NumPy's own functions, scipy.special's ufuncs, np.linalg.solve for triangular solves, "
                "np.logaddexp.reduce for logsumexp; data as arguments of the model"
            )
        raise ModelError(
            "a recorded value (a draw, a parameter or a minibatch index) where a plain array is needed",
            "operations that can be recorded",
            hint,
        )

    def _scalar(self, what):
        hint = (
            "np.log(z) for math.log(z)"
            if "math." in user_line()
            else "the value as it is, z for float(z); np.stack([a, b]) to fill an array"
        )
        raise ModelError(f"{what} of a recorded value", "NumPy arithmetic, which can be recorded", hint)

    def __float__(self):
        self._scalar("float()")

    def __int__(self):
        self._scalar("int()")

    def __complex__(self):
        self._scalar("complex()")

    def __index__(self):
        raise ModelError(
            "a recorded value as an index of a plain array, as a shape or as a range",
            "an index of an argument of the model, or of a recorded array",
            "pass the array or list as an argument of the model, as an array: then x[i] works",
        )

    def __bool__(self):
        if self.tape.eager:
            self.tape.branches.append(self)
            return bool(self.value)
        raise BranchOnDraw("the truth of a recorded value", "np.where(condition, a, b)", "executor='eager'")

    def __setitem__(self, key, value):
        raise ModelError("x[...] = value on a recorded array", "a new array", "np.where or np.concatenate")

    # Arithmetic with what needs no looking at goes straight to the tape; NumPy's door is for the rest.
    __add__, __radd__ = _arithmetic("add", np.add)
    __sub__, __rsub__ = _arithmetic("sub", np.subtract)
    __mul__, __rmul__ = _arithmetic("mul", np.multiply)
    __truediv__, __rtruediv__ = _arithmetic("truediv", np.true_divide)

    def __neg__(self):
        return self.tape.add(np.negative, (self,))

    # A scalar is never changed in place, so `total += z` is `total = total + z`, as for NumPy's own.
    def __iadd__(self, other):
        return self + other if self._is_scalar(other) else self._in_place("+")

    def __isub__(self, other):
        return self - other if self._is_scalar(other) else self._in_place("-")

    def __imul__(self, other):
        return self * other if self._is_scalar(other) else self._in_place("*")

    def __itruediv__(self, other):
        return self / other if self._is_scalar(other) else self._in_place("/")

    def __ifloordiv__(self, other):
        return self // other if self._is_scalar(other) else self._in_place("//")

    def __imod__(self, other):
        return self % other if self._is_scalar(other) else self._in_place("%")

    def __ipow__(self, other):
        return self**other if self._is_scalar(other) else self._in_place("**")

    def __imatmul__(self, other):
        return self._in_place("@")

    def _is_scalar(self, other):
        return not self.shape and not isinstance(other, list)

    def _in_place(self, sign):
        raise ModelError(f"x {sign}= y on a recorded array", "a new array", cure_of_caller() or f"x = x {sign} y")

    # -- the methods of ndarray ------------------------------------------------------------
    def __getattr__(self, name):
        fun = METHODS.get(name)
        if fun is None:
            if name in REFUSED_METHODS:
                raise NoMethod(f".{name} of a recorded array", "what can be recorded", REFUSED_METHODS[name])
            raise AttributeError(f"a recorded array has no '{name}'")
        return lambda *args, **kwargs: fun(self, *args, **kwargs)


@lru_cache(maxsize=1024)
def _of_objects(ufunc: np.ufunc) -> bool:
    """Was this ufunc made of a Python function?"""
    return all(set(kinds) <= set("O->") for kinds in ufunc.types)


DIRECT = frozenset((Recorded, float, int))  # the other side of arithmetic that is recorded as it stands
PLAIN = frozenset((Recorded, float, int, bool, str, type(None)))  # arguments that nobody can change


def _reshape(x, *shape, order="C"):
    return np.reshape(x, shape[0] if len(shape) == 1 else shape, order)


def _transpose(x, *axes):
    return np.transpose(x, axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else axes or None)


SAME_NAME = (
    *("sum", "mean", "var", "std", "prod", "max", "min", "argmax", "argmin", "cumsum", "cumprod", "dot", "ravel"),
    *("squeeze", "swapaxes", "take", "clip", "repeat", "diagonal", "trace", "round", "all", "any", "astype"),
)
METHODS: dict[str, Callable] = {
    "reshape": _reshape,
    "transpose": _transpose,
    "flatten": lambda x, order="C": np.reshape(x, -1, order),
    "argsort": lambda x, axis=-1, **_: np.argsort(x, axis),
    "copy": lambda x, order="C": x,
    "conj": lambda x: x,
    "conjugate": lambda x: x,
    "compress": lambda x, condition, axis=None: np.compress(condition, x, axis),
    **{name: getattr(np, name) for name in SAME_NAME},
}
# Methods of ndarray that are missing: what to write instead.
_STACK, _ASK = "np.stack to build an array, np.where to choose", "the value itself in NumPy's functions"
REFUSED_METHODS: dict[str, str] = {
    "sort": "x = np.sort(x)",
    "item": "z as it is, for z.item()",
    "searchsorted": "np.searchsorted(known, z)",
    **dict.fromkeys(("nonzero", "choose"), "np.where(condition, a, b)"),
    **dict.fromkeys(("partition", "argpartition"), "np.sort(x), np.argsort(x)"),
    **dict.fromkeys(("fill", "put", "itemset", "setfield", "setflags", "resize"), _STACK),
    **dict.fromkeys(("tolist", "tobytes", "tofile", "dump", "dumps", "flat"), _ASK),
    **dict.fromkeys(("view", "getfield", "byteswap", "newbyteorder"), "z.astype(...)"),
    **dict.fromkeys(("data", "base", "ctypes", "flags", "strides", "to_device"), _ASK),
}
ANSWERED = {
    np.shape,
    np.ndim,
    np.size,
    np.result_type,
    np.iscomplexobj,
    np.isrealobj,
    np.can_cast,
    np.min_scalar_type,
    np.common_type,
    np.tril_indices_from,
    np.triu_indices_from,
    np.diag_indices_from,
}  # from the shape alone
HEEDS_DTYPE = {np.sum, np.prod, np.zeros_like, np.ones_like, np.empty_like, np.full_like, np.astype}
REDUCTIONS: dict[np.ufunc, Callable] = {
    np.add: np.sum,
    np.multiply: np.prod,
    np.maximum: np.max,
    np.minimum: np.min,
    np.logical_or: np.any,
    np.logical_and: np.all,
    np.logaddexp: np.logaddexp.reduce,
}


ACCUMULATIONS: dict[np.ufunc, Callable] = {np.add: np.cumsum, np.multiply: np.cumprod}


class Argument(np.ndarray):
    """A model argument while the model is recorded: an ndarray that may be indexed by a minibatch.

    Everything that depends on arguments alone stays concrete, so `int(x.max())`,
    `np.unique(x)` and any function of SciPy work. What is derived from it stays an
    `Argument`, so that `((x - x.mean()) / x.std())[i]` is recorded as a gather.
    """

    def __getitem__(self, key):
        if tape_of((key,)) is not None:
            return FUNCTIONS[operator.getitem](self, key)
        return super().__getitem__(key)

    def __array_function__(self, fun, types, args, kwargs):
        found = super().__array_function__(fun, types, args, kwargs)
        return found.view(Argument) if type(found) is np.ndarray and found.dtype != object else found


def _called(name, handler, args, kwargs):
    """The recordable form of a function; what it does not take is refused in words."""
    try:
        return handler(*args, **kwargs)
    except PPLError:
        raise
    except (ValueError, IndexError, np.linalg.LinAlgError) as error:
        shapes = ", ".join(str(x.shape) for x in _mentioned([], args, ()))
        raise ShapeError(
            f"{name} of shape {shapes}: {error}", "arguments that fit, as NumPy takes them", "z.shape, to see"
        ) from error
    except TypeError as error:
        if "unexpected keyword" not in str(error):
            raise
        unknown = [k for k in kwargs if f"'{k}'" in str(error)]
        raise ModelError(
            f"{name}(..., {', '.join(unknown)}=) of a recorded value",
            "a call without it",
            "a further operation on the result",
        ) from error


def _plain(x):
    return np.asarray(x) if not isinstance(x, Recorded | Argument | int | float | bool | np.generic) else x


def _stand_in(x):
    """Something with the shape and dtype of x that NumPy may ask questions of."""
    if isinstance(x, Recorded):
        return np.broadcast_to(np.zeros((), x.dtype), x.shape)
    return type(x)(map(_stand_in, x)) if isinstance(x, list | tuple) else x


def _may_change(x: np.ndarray) -> bool:
    """Can somebody write to this array, or to the one that it is a view of?  (To a model's argument nobody can.)"""
    if x.flags.writeable:
        return True
    return not isinstance(x, Argument) and isinstance(x.base, np.ndarray) and x.base.flags.writeable


def is_recorded(x: Any) -> bool:
    """Is this a recording array?"""
    return isinstance(x, Recorded)


def concrete(x: Any) -> Any:
    """The example value of a recorded array; other things as they are."""
    if isinstance(x, Recorded):
        return x.value
    t = type(x)
    if t is list or t is tuple:
        return t(map(concrete, x))
    if t is slice:
        return slice(concrete(x.start), concrete(x.stop), concrete(x.step))
    if t is dict:
        return {k: concrete(v) for k, v in x.items()}
    return x


def value_at(x: Recorded, inputs: dict[int, Any]) -> Any:
    """What `x` is at other values of the inputs (by `id`); None where it depends on an input without one."""
    known, todo = dict(inputs), [x]
    while id(x) not in known:
        node = todo[-1]
        if node.fun is None and id(node) not in known:
            return None
        missing = [p for p in parents(node) if id(p) not in known]
        if missing:
            todo += missing
            continue
        if id(node) not in known:
            args, kwargs = substitute_nodes((node.args, node.kwargs), known)
            known[id(node)] = node.fun(*args, **kwargs)
        todo.pop()
    return known[id(x)]


def tape_of(args: Sequence) -> Tape | None:
    """The tape of the first recorded value among the arguments."""
    for a in args:
        if type(a) is Recorded:
            return a.tape
        if (type(a) is tuple or type(a) is list) and (found := tape_of(a)) is not None:
            return found
        if type(a) is slice and (found := tape_of((a.start, a.stop, a.step))) is not None:
            return found
    return None


def parents(x: Any, inside: bool = False) -> list[Recorded]:
    """Recorded values that a node is made from; with `inside`, those that an argument consists of."""
    if type(x) is Recorded:
        if inside:
            return [x]
        return _mentioned([], x.args, x.kwargs.values() if x.kwargs else ())
    return _mentioned([], (x,), ())


def _mentioned(found, args, more):
    for a in (*args, *more) if more else args:
        t = type(a)
        if t is Recorded:
            found.append(a)
        elif t is tuple or t is list:
            _mentioned(found, a, ())
        elif t is slice:
            _mentioned(found, (a.start, a.stop, a.step), ())
    return found


def elementwise_signature(fun: np.ufunc, *args) -> tuple[tuple[int, ...], np.dtype]:
    """Shape by broadcasting, dtype by the ufunc's own rule."""
    shape, others, kinds = (), False, []
    for a in args:
        t = type(a)
        if t is int or t is float or t is bool:
            kinds.append(t)
        else:
            kinds.append(a.dtype if t is Recorded else _dtype(a))
            own = a.shape if t is Recorded else np.shape(a)
            others |= own != () and shape != () and own != shape
            shape = shape or own
    if others:
        try:
            shape = np.broadcast_shapes(*map(np.shape, args))
        except ValueError:
            shown = " and ".join(str(np.shape(a)) for a in args)
            raise ShapeError(
                f"np.{fun.__name__} of shapes {shown}", "shapes that broadcast", "x[:, None], or x @ w"
            ) from None
    return shape, _ufunc_dtype(fun, tuple(kinds))


@lru_cache(maxsize=4096)
def _ufunc_dtype(fun, dtypes):
    types = tuple(np.dtype(bool) if d is bool else d for d in dtypes)
    if all(t in (int, float) for t in types):
        types = tuple(map(np.dtype, types))
    return fun.resolve_dtypes((*types, None))[-1]


def _dtype(x):
    return x.dtype if isinstance(x, Recorded | np.ndarray | np.generic) else np.asarray(x).dtype


def operation(fun: Callable) -> Callable:
    """An array operation of ours: runs on arrays, and is recorded where an argument is."""

    def call(*args):
        tape = tape_of(args)
        return fun(*args) if tape is None else tape.add(fun, args)

    call.__name__, call.__doc__, call.run = fun.__name__, fun.__doc__, fun
    RECORDS[fun] = call
    return call


RECORDS: dict[Callable, Callable] = {}  # raw operation -> its recording form


def call_recording(fun: Callable, args: tuple, kwargs: dict) -> Any:
    """Call an operation of a program on values of which some may be recorded."""
    tape = tape_of(args) or (tape_of(tuple(kwargs.values())) if kwargs else None)
    return fun(*args, **kwargs) if tape is None else tape.add(fun, args, kwargs)


def replay(program: Program, *inputs: Any) -> tuple:
    """A program recorded again, on the tape of its (recorded) inputs."""
    return run(program, *inputs, call=call_recording)


@contextmanager
def paused_collector():
    """Recording makes many small objects that all live: the garbage collector would only look at them."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def record(fun: Callable[..., Sequence], examples: Sequence, names: Sequence[str] = ()) -> Program:
    """Run `fun(*recorded)` -> sequence of arrays, and return the program of its outputs."""
    tape = Tape()
    roots = [tape.input(x, name) for x, name in zip(examples, names or [""] * len(examples), strict=True)]
    return program_of(tape, fun(*roots))


def substitute_nodes(x: Any, numbers: dict[int, Any]) -> Any:
    """An argument with each recorded value replaced by what `numbers` has for it, by `id`."""
    t = type(x)
    if t is Recorded:
        return numbers[id(x)]
    if t is tuple or t is list:
        return t(
            [
                numbers[id(y)] if type(y) is Recorded else substitute_nodes(y, numbers) if type(y) in NESTED else y
                for y in x
            ]
        )
    if t is slice:
        return slice(*(substitute_nodes(y, numbers) for y in (x.start, x.stop, x.step)))
    if t is dict:
        return {k: substitute_nodes(y, numbers) for k, y in x.items()}
    return x


def program_of(tape: Tape, outputs: Sequence, transparent: frozenset = frozenset()) -> Program:
    """What the outputs need, in order: dead code goes.

    `transparent`: operations that are replaced by their first argument (equal subexpressions
    that this brings together are merged).
    """
    live, todo = set(), list(parents(list(outputs)))
    while todo:
        node = todo.pop()
        if id(node) not in live:
            live.add(id(node))
            todo += parents(node)
    kept = [node for node in tape.nodes if id(node) in live]
    if any(node.tape is not tape for node in parents(list(outputs))) or any(
        x.tape is not tape for node in kept for x in parents(node)
    ):
        raise ModelError(
            "a draw or parameter of an earlier run of the model, in this one",
            "values of this run alone",
            "no recorded values in globals, closures or attributes",
        )
    if len(kept) + sum(id(x) in live for x in tape.inputs) < len(live):
        raise ModelError(
            "a value from inside a step of ppl.scan, used after the scan",
            "what the step returns: it is stacked over time",
            "return carry, z",
        )
    merge = bool(transparent) and any(node.fun in transparent for node in kept)
    number = {id(x): Ref(i) for i, x in enumerate(tape.inputs)}
    steps: list[Step] = []
    seen: dict[Any, Ref] = {}

    for node in kept:
        args = substitute_nodes(node.args, number)
        if node.fun in transparent:
            number[id(node)] = args[0]
            continue
        kwargs = substitute_nodes(node.kwargs, number) if node.kwargs else node.kwargs
        if not merge:
            ref = Ref(len(tape.inputs) + len(steps))
        else:
            key = (node.fun, tape._key(args), tape._key(tuple(kwargs.items())))
            ref = seen.setdefault(key, Ref(len(tape.inputs) + len(steps)))
        number[id(node)] = ref
        if ref.index == len(tape.inputs) + len(steps):
            steps.append(Step(node.fun, args, kwargs, node.shape, node.dtype))
    inputs = tuple(Input(x.name, x.shape, x.dtype) for x in tape.inputs)
    return Program(inputs, tuple(steps), tuple(substitute_nodes(list(outputs), number)))


MIXING: set[Callable] = set()  # operations of ours in which numbers of several arguments meet (operations.py)
