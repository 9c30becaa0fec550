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

import linecache
import os
import sys
from dataclasses import dataclass, field

_LIBRARIES = tuple(
    os.path.join(folder, "")
    for folder in (
        os.path.dirname(os.path.abspath(__file__)),
        os.path.join(sys.prefix, "lib"),
        os.path.dirname(os.__file__),
    )
)


def user_line() -> str:
    """`file.py:12: source text` of the innermost caller outside the library, or ''.

    Walks the stack, so that an error names the user's line and not ours.
    """
    frame = sys._getframe(1)
    while frame is not None:
        path = frame.f_code.co_filename
        if not os.path.abspath(path).startswith(_LIBRARIES) and not path.startswith("<"):
            source = linecache.getline(path, frame.f_lineno).strip()
            place = f"{os.path.basename(path)}:{frame.f_lineno}"
            return f"{place}: {source}" if source else place
        frame = frame.f_back
    return ""


class PPLError(Exception):
    """Base of all errors of the library: got, expected, hint, and where."""

    def __init__(self, got: str, expected: str = "", hint: str = "", *, site=None, plate=None):
        self.got, self.expected, self.hint = got, expected, hint
        self.site, self.plate, self.where = site, plate, user_line()
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


@dataclass(frozen=True)
class Reason:
    """Why a decision was taken about a site: kept beside the decision, printed by `explain()`."""

    site: str
    why: str
    hint: str = field(default="")
    factor: str = field(default="")  # the part of the site's density that decided it

    def __str__(self) -> str:
        return f"{self.site}: {self.why}" + (f" ({self.hint})" if self.hint else "")
