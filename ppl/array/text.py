"""Programs as a person would write them: infix arithmetic, names where there are some, few lines.

    mu = mu.loc + mu.scale * mu.noise
    v7 = log(mu.scale)
    return 0.5 * (mu.scale**2 + mu.loc**2 - 1) - v7, ...

A value that is used once stands where it is used; one that is used often, or grows too long, has a
line of its own. Draws are named `u_<factor>`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from .program import Program, Ref, Step, refs

WIDTH = 72  # characters up to which a value that is used once stays where it is used
SIGNS = {  # operation -> (sign, how tightly it binds)
    "less": ("<", 1),
    "less_equal": ("<=", 1),
    "greater": (">", 1),
    "greater_equal": (">=", 1),
    "equal": ("==", 1),
    "not_equal": ("!=", 1),
    "add": ("+", 2),
    "subtract": ("-", 2),
    "multiply": ("*", 3),
    "divide": ("/", 3),
    "matmul": ("@", 3),
    "power": ("**", 5),
}
NEGATIVE, ATOM = 4, 6
WORDS = {
    "total": "sum",
    "largest": "max",
    "log_total_exp": "logsumexp",
    "running_sum": "cumsum",
    "in_order": "sort",
    "absolute": "abs",
}
SILENT = ("stop_gradient", "draw_of")  # what only marks a value


class Text(NamedTuple):
    """An expression and how tightly its outermost sign binds."""

    text: str
    binds: int = ATOM


class Written(NamedTuple):
    """A program in text: one line for every value with a name, and the outputs."""

    lines: tuple[tuple[str, str, str], ...]  # name, expression, type and shape
    outputs: tuple[str, ...]


def written(
    program: Program,
    names: Mapping[int, str] | None = None,
    constant: Callable[[np.ndarray], str | None] = lambda x: None,
) -> Written:
    """The program's values as text.

    `names` are those of some of its values, by number; `constant(x)` is that of an array, if it has one.
    """
    return _Writer(program, names or {}, constant).written()


def kind(x: Any) -> str:
    """Type and shape of an input or a step."""
    return f"{x.dtype}{list(x.shape)}"


def _wrapped(x: Text, binds: int) -> str:
    return x.text if x.binds >= binds else f"({x.text})"


class _Writer:
    """Walks a program once, with the text of every value so far."""

    def __init__(self, program: Program, names: Mapping[int, str], constant: Callable[[np.ndarray], str | None]):
        self.program, self.constant = program, constant
        self.names = {**{i: x.name for i, x in enumerate(program.inputs)}, **names}
        self.texts = {i: Text(name) for i, name in self.names.items()}

    def written(self) -> Written:
        n, lines = len(self.program.inputs), []
        used = Counter(i for s in self.program.steps for i in set(refs((s.args, s.kwargs))))
        used.update(refs(self.program.outputs))
        for i, step in enumerate(self.program.steps, n):
            text = self.step(step)
            name = self.names.get(i) or (f"u_{step.args[1]}" if step.fun.__name__ == "draw_of" else "")
            often = used[i] > 1 and (text.binds < ATOM or "(" in text.text)
            if name != text.text and (name or often or len(text.text) > WIDTH):
                lines.append((name or f"v{i}", text.text, kind(step)))
                text = Text(name or f"v{i}")
            self.texts[i] = text
        return Written(tuple(lines), tuple(map(self.argument, self.program.outputs)))

    def step(self, step: Step) -> Text:
        name = step.fun.__name__
        operands = [self.operand(a) for a in step.args]
        if name in SILENT:
            return operands[0]
        if name == "index":
            return Text(f"{_wrapped(operands[0], ATOM)}[{self.key(step.args[1])}]")
        if name == "negative":
            return Text(f"-{_wrapped(operands[0], NEGATIVE)}", NEGATIVE)
        if name == "multiply" and type(step.args[0]) is Ref and step.args[0] == step.args[1]:
            return Text(f"{_wrapped(operands[0], ATOM)}**2", SIGNS["power"][1])
        if name in SIGNS:
            sign, binds = SIGNS[name]
            power = name == "power"
            # a - (b - c), a / (b * c) and (a**b)**c keep their brackets; a + (b + c) needs none.
            chains = binds == 1  # a < b == c means another thing in Python
            left = _wrapped(operands[0], binds + (power or chains))
            right = _wrapped(operands[1], binds + (name != "add"))
            return Text(f"{left}{sign}{right}" if power else f"{left} {sign} {right}", binds)
        if name == "total" and not step.shape:
            return Text(f"sum({operands[0].text})")
        listed = [o.text for o in operands] + [f"{k}={self.argument(v)}" for k, v in step.kwargs.items()]
        return Text(f"{WORDS.get(name, name)}({', '.join(listed)})")

    def operand(self, x: Any) -> Text:
        if type(x) is Ref:
            return self.texts[x.index]
        text = self.argument(x)
        return Text(text, NEGATIVE if text.startswith("-") else ATOM)

    def key(self, x: Any) -> str:
        if isinstance(x, tuple) and type(x) is not Ref:
            return ", ".join(map(self.key, x)) or "()"
        if isinstance(x, slice):
            ends = ["" if e is None else self.argument(e) for e in (x.start, x.stop, x.step)]
            return ":".join(ends if x.step is not None else ends[:2])
        return "..." if x is Ellipsis else self.argument(x)

    def argument(self, x: Any) -> str:
        if type(x) is Ref:
            return self.texts[x.index].text
        if isinstance(x, tuple | list):
            inner = ", ".join(map(self.argument, x))
            return f"({inner},)" if isinstance(x, tuple) and len(x) == 1 else f"({inner})"
        if isinstance(x, np.ndarray) and x.ndim:
            return self.constant(x) or f"array{list(x.shape)}"
        if isinstance(x, np.ndarray | np.generic):
            x = x.item()
        return f"{x:.6g}" if isinstance(x, float) else getattr(x, "__name__", None) or repr(x)
