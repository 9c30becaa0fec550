"""One family of errors, and the reason that a decision keeps.

Every message says what was got, what was expected and what to try, and names the
site, the plate and the line of the user's own file from which it came.

>>> print(ShapeError(got="3 rows", expected="4 rows", hint="y[i]", site="y"))
site 'y':
  got 3 rows
  expected 4 rows
  try y[i]
"""

from __future__ import annotations

import inspect
import linecache
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import wraps
from traceback import walk_stack, walk_tb
from typing import Any

_LIBRARIES = tuple(
    os.path.join(folder, "")
    for folder in (
        os.path.dirname(os.path.abspath(__file__)),
        os.path.join(sys.prefix, "lib"),
        os.path.dirname(os.__file__),
    )
)


def user_line(problem: BaseException | None = None) -> str:
    """`file.py:12: source text` of the innermost caller outside the library, or ''.

    Walks the stack, so that an error names the user's line and not ours; or, where a `problem` was
    caught, the way that it has come.
    """
    places = walk_stack(sys._getframe(1)) if problem is None else reversed([*walk_tb(problem.__traceback__)])
    for frame, number in places:
        path = frame.f_code.co_filename
        if not os.path.abspath(path).startswith(_LIBRARIES) and not path.startswith("<"):
            source = linecache.getline(path, number).strip()
            place = f"{os.path.basename(path)}:{number}"
            return f"{place}: {source}" if source else place
    return ""


class PPLError(Exception):
    """Base of all errors of the library: got, expected, hint, and where: the user's line, unless it is given."""

    def __init__(self, got: str, expected: str = "", hint: str = "", *, site=None, plate=None, where=None):
        self.got, self.expected, self.hint = got, expected, hint
        self.site, self.plate, self.where = site, plate, user_line() if where is None else where
        super().__init__(got, expected, hint)

    def __str__(self) -> str:
        names = [f"{kind} '{name}'" for kind, name in (("site", self.site), ("plate", self.plate)) if name]
        parts = [f"{', '.join(names)}:"] if names else []
        for word, text in (("got", self.got), ("expected", self.expected), ("try", self.hint), ("at", self.where)):
            if text:
                parts.append(f"{word} {text}")
        return "\n  ".join(parts)


class ModelError(PPLError):
    """The model function does what cannot be recorded, or asks for what makes no sense."""


class ShapeError(PPLError):
    """Shapes of a site, its observation and its plates do not fit together."""


class SupportError(PPLError):
    """A parameter is outside its constraint, or a value outside its support."""


class GuideError(PPLError):
    """A guide misses a site, invents one, or cannot stand for it."""


class ConjugacyError(PPLError):
    """A closed-form update was asked for where there is none."""


class DataError(PPLError):
    """The data cannot be used: empty, of the wrong type, or not what the plates say."""


class NumericalError(PPLError):
    """A value stopped being finite. `state` is the last good state, `history` what led to it."""

    def __init__(self, *args, state=None, history=None, **kwargs):
        super().__init__(*args, **kwargs)
        self.state, self.history = state, history


def misfit(
    function: Callable, called: str, args: tuple, kwargs: Mapping[str, Any], example: str, also: Mapping[str, str] = {}
) -> ModelError | None:
    """What is wrong with the arguments of a call, in words; None where they fit the signature.

    `example` is a call that fits; `also` gives the names that arguments have elsewhere.

    >>> def normal(loc, scale): ...
    >>> print(misfit(normal, "normal", (0,), {"sigma": 1}, "normal(0, 1)", {"sigma": "scale"}))
    got a call of normal that does not fit: missing a required argument: 'scale'
      expected normal(loc, scale)
      try scale= for sigma=
    """
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return None
    try:
        signature.bind(*args, **kwargs)
        return None
    except TypeError as problem:
        said = str(problem)
    empty = inspect.Parameter.empty
    known = [p.replace(annotation=empty) for p in signature.parameters.values() if p.name != "self"]
    text = signature.replace(parameters=known, return_annotation=empty)
    unknown = next((k for k in kwargs if k not in signature.parameters), None)
    close = "" if unknown is None else nearest(unknown, [p.name for p in known], also)
    hint = example if unknown is None else f"{close}= for {unknown}=" if close else f"the call without {unknown}="
    name = getattr(function, "__name__", called)
    shown = called if name == "__init__" else name
    return ModelError(f"a call of {called} that does not fit: {said}", f"{shown}{text}", hint)


def nearest(name: str, known: Sequence[str], also: Mapping[str, str] = {}) -> str:
    """The name that was meant, or ''."""
    starts = [k for k in known if name.startswith(k) or k.startswith(name)]
    close = [k for k in (also.get(name),) if k in known] or starts or get_close_matches(name, known, 1)
    return close[0] if close else ""


def in_words(function: Callable, called: str, example: str = "", also: Mapping[str, str] = {}) -> Callable:
    """The function, which refuses arguments that do not fit its signature with a `ModelError`."""

    @wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except TypeError:
            problem = misfit(function, called, args, kwargs, example, also)
            if problem is None:
                raise
            raise problem from None

    return checked


@dataclass(frozen=True)
class Reason:
    """Why a decision was taken about a site: kept beside the decision, printed by `explain()`."""

    site: str
    why: str
    hint: str = field(default="")
    factor: str = field(default="")  # the part of the site's density that decided it

    def __str__(self) -> str:
        return f"{self.site}: {self.why}" + (f" ({self.hint})" if self.hint else "")
