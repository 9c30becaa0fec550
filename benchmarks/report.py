"""Measurements to Markdown: tables of medians, ratios to the fastest other library, targets, losses."""

from __future__ import annotations

import datetime
import os
import platform
from importlib import metadata

from .eight_schools import PEERS
from .harness import median, spread

VERSIONS = ("numpy", "scipy", "autograd", "numpyro", "jax", "pyro-ppl", "torch", "pymc", "pytensor")
Rows = dict[str, list[dict]]


def results(rows: dict[str, Rows]) -> str:
    """The whole of RESULTS.md."""
    parts = ["# Results", _where()]
    verdicts: list[tuple[str, float | None, float]] = []
    losses: list[str] = []
    if "eight_schools" in rows:
        parts.append(_eight_schools(rows["eight_schools"], verdicts, losses))
    if "imports" in rows:
        parts.append(_imports(rows["imports"], verdicts))
    parts.append(_targets(verdicts))
    if losses:
        parts.append("## Where another library is faster\n\n" + "\n".join(f"- {x}" for x in losses))
    return "\n\n".join(parts) + "\n"


def _where() -> str:
    import ppl

    found = [f"Python {platform.python_version()}", f"ppl {ppl.__version__}"]
    for name in VERSIONS:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            found.append(f"{name} absent")
    return (
        f"Written by `python -m benchmarks` on {datetime.date.today():%d %B %Y}, on a shared machine with "
        f"{os.cpu_count()} cores ({_processor()}).\n{', '.join(found)}.\n\n"
        "CPU seconds of one pinned core with one BLAS thread, each measurement in a fresh process, the\n"
        "libraries in alternation; medians, with smallest and largest in brackets. Compare ratios: absolute\n"
        "times are this machine's."
    )


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.machine()


def _table(head: list[str], body: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _seconds(rows: list[dict], key: str) -> str:
    m = median(rows, key)
    if m is None and rows and rows[-1]["status"] != "ok":
        return rows[-1]["status"]
    return "-" if m is None else f"{m:.3g} [{spread(rows, key)}]"


def _micro(rows: list[dict], key: str) -> str:
    m = median(rows, key)
    return "-" if m is None else f"{1e6 * m:.3g}"


def _ratio(a: float | None, b: float | None) -> float | None:
    return None if a is None or not b else a / b


def _say(x: float | None, digits: str = ".2f") -> str:
    return "-" if x is None else format(x, digits)


def _fastest(rows: Rows, key: str) -> tuple[float | None, str]:
    found = [(median(rows[p], key), p) for p in PEERS if p in rows]
    return min(((m, p) for m, p in found if m is not None), default=(None, "none"))


def _eight_schools(rows: Rows, verdicts: list, losses: list) -> str:
    fastest, who = _fastest(rows, "reached")
    merged = {"ppl": [*rows["ppl watched"], *rows["ppl steps"]]}
    one_draw = {"ppl, one draw a step": rows["ppl steps, one draw"]}
    shown = {**merged, **one_draw, **{k: v for k, v in rows.items() if not k.startswith("ppl")}}
    body = []
    for name, found in shown.items():
        if all(r["status"] != "ok" for r in found):
            note = found[-1].get("note", "")
            body.append([name, found[-1]["status"] + (f": {note}" if note else ""), *["-"] * 5])
            continue
        back = rows["ppl"] if name == "ppl" else found
        body.append(
            [
                name,
                _micro(found, "step"),
                _seconds(found, "reached"),
                _say(median(found, "reached_at"), ".0f"),
                _seconds(back, "returned"),
                _say(_ratio(median(found, "reached"), fastest)),
                _say(median(back, "final"), ".3f"),
            ]
        )
    reached, returned = median(rows["ppl watched"], "reached"), median(rows["ppl"], "returned")
    step, one = median(rows["ppl steps"], "step"), median(rows["ppl steps, one draw"], "step")
    eager = median(rows["autograd by hand"], "step")
    verdicts += [
        ("one step of `ppl` (24 draws, Adam included), microseconds", None if step is None else 1e6 * step, 60.0),
        (f"cold to 0.05 nats, against the fastest other library ({who})", _ratio(reached, fastest), 0.2),
        ("cold to the return of `ppl.infer`, against the same", _ratio(returned, fastest), 0.4),
    ]
    quickest, quick = _fastest(rows, "step")
    if step is not None and quickest is not None and quickest < step:
        losses.append(
            f"One step on eight schools: {quick} takes {1e6 * quickest:.3g} microseconds with one draw, `ppl` "
            f"{1e6 * step:.3g} with 24 draws and {_micro(rows['ppl steps, one draw'], 'step')} with one. The faster "
            f"step makes up for the longer compiling after {_even(rows, quick, step, quickest)} steps."
        )
    head = ["library", "step, us", "cold to 0.05 nats, s", "at step", "cold to return, s", "x fastest other", "bound"]
    eager_line = (
        f"One step of `ppl` takes {_say(_ratio(step, eager))} of a step of the same bound and Adam on eager autograd\n"
        f"with one draw ({_say(_ratio(one, eager))} with one draw, too).\n"
        "`x fastest other` compares the times to 0.05 nats."
    )
    return (
        "## Eight schools, non-centred, factorised Gaussian\n\n"
        "Cold: since the process began, imports and compiling included. `0.05 nats`: the first noted\n"
        "parameters whose bound is within 0.05 nats of the best of the family, -31.58, by one function and the\n"
        "same 20,000 draws for all; the time of noting and of this evaluation is not counted. Others run 5,000\n"
        "steps of Adam at falling step sizes and return then; `ppl.infer` stops by itself, and returns the bound\n"
        "with its error, too. Its parameters are noted every 20 steps, theirs every 100; it draws 24 particles a\n"
        "step where they draw one, and begins where a quasi-Newton method with fixed draws ended, which is counted.\n"
        "The definitions are in `eight_schools.py`.\n\n" + _table(head, body) + "\n\n" + eager_line
    )


def _even(rows: Rows, quick: str, step: float, quickest: float) -> str:
    """After how many steps the other library's faster steps have made up for its later start."""
    returned, mine = median(rows[quick], "returned"), median(rows["ppl"], "returned")
    if returned is None or mine is None:
        return "some"
    start = returned - 5000 * quickest
    begun = mine - step * (median(rows["ppl"], "steps") or 0)
    return f"about {round(max(start - begun, 0) / (step - quickest), -3):,.0f}"


def _imports(rows: Rows, verdicts: list) -> str:
    base = median(rows["import numpyro"], "cpu")
    body = [
        [f"`{name}`" if name != "pass" else "the interpreter alone", _seconds(found, "cpu"), _seconds(found, "wall")]
        + [_say(_ratio(median(found, "cpu"), base))]
        for name, found in rows.items()
    ]
    ratio = _ratio(median(rows["import ppl"], "cpu"), base)
    verdicts.append(("`import ppl` against `import numpyro`, CPU", ratio, 0.5))
    rounds = len(rows["import ppl"])
    return (
        "## Imports\n\n"
        f"Whole processes, interpreter included, bytecode written before; {rounds} rounds in alternation.\n\n"
        + _table(["process", "CPU s", "wall s", "x numpyro"], body)
    )


def _targets(verdicts: list) -> str:
    body = []
    for what, value, limit in verdicts:
        word = "not measured" if value is None else "reached" if value <= limit else "not reached"
        body.append([what, _say(value, ".3g"), f"at most {limit:g}", word])
    return "## Targets\n\n" + _table(["what", "measured", "target", ""], body)
