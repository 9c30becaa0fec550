"""Measurements to Markdown: tables of medians, ratios to the fastest other library, targets, losses."""

from __future__ import annotations

import datetime
import os
import platform
from importlib import metadata
from typing import NamedTuple

from . import closed_forms, flat_and_eager, scaling
from .eight_schools import PEERS
from .harness import median, spread

VERSIONS = ("numpy", "scipy", "autograd", "numpyro", "jax", "pyro-ppl", "torch", "pymc", "pytensor")
Rows = dict[str, list[dict]]


class Verdict(NamedTuple):
    """A figure and its target: at most `limit`, or at least."""

    what: str
    value: float | None
    limit: float
    least: bool = False

    @property
    def word(self) -> str:
        if self.value is None:
            return "not measured"
        return "reached" if (self.value >= self.limit if self.least else self.value <= self.limit) else "not reached"


def results(rows: dict[str, Rows]) -> str:
    """The whole of RESULTS.md."""
    parts = ["# Results", _where()]
    verdicts: list[Verdict] = []
    losses: list[str] = []
    if "eight_schools" in rows:
        parts.append(_eight_schools(rows["eight_schools"], verdicts, losses))
    if "flat_and_eager" in rows:
        parts.append(_flat_and_eager(rows["flat_and_eager"], verdicts))
    if "scaling" in rows:
        parts.append(_scaling(rows["scaling"], verdicts))
    if "closed_forms" in rows:
        parts.append(_closed_forms(rows["closed_forms"], verdicts))
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
        Verdict(
            "one step of `ppl` (24 draws, Adam included), microseconds", None if step is None else 1e6 * step, 60.0
        ),
        Verdict(f"cold to 0.05 nats, against the fastest other library ({who})", _ratio(reached, fastest), 0.2),
        Verdict("cold to the return of `ppl.infer`, against the same", _ratio(returned, fastest), 0.4),
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
    verdicts.append(Verdict("`import ppl` against `import numpyro`, CPU", ratio, 0.5))
    rounds = len(rows["import ppl"])
    return (
        "## Imports\n\n"
        f"Whole processes, interpreter included, bytecode written before; {rounds} rounds in alternation.\n\n"
        + _table(["process", "CPU s", "wall s", "x numpyro"], body)
    )


def _milli(rows: list[dict], key: str) -> str:
    m = median(rows, key)
    if m is None:
        return rows[-1]["status"] if rows else "-"
    return f"{1e3 * m:.3g}"


def _mega(rows: list[dict], key: str) -> str:
    m = median(rows, key)
    return "-" if m is None else f"{m / 1e6:.3g}"


def _between(rows: list[dict], key: str = "ratio") -> str:
    m = median(rows, key)
    return "-" if m is None else f"{m:.3g} [{spread(rows, key)}]"


def _agreement(rows: list[dict]) -> str:
    same, far = median(rows, "same"), median(rows, "difference")
    if same is None:
        return rows[-1]["status"] + ": " + rows[-1].get("note", "") if rows else "-"
    return "the same bits" if same == 1 else f"{far:.1e}"


def _flat_and_eager(rows: Rows, verdicts: list) -> str:
    body, many = [], []
    for name in flat_and_eager.CASES:
        found = rows[name]
        body.append([name, _milli(found, "eager"), _milli(found, "flat"), _between(found), _agreement(found)])
        body[-1] += [_mega(found, "eager peak"), _mega(found, "flat peak")]
        if name in flat_and_eager.TRIAL:
            what = f"{name}: eager autograd to flat, ratio"
            verdicts.append(Verdict(what, median(found, "ratio"), flat_and_eager.TRIAL[name], least=True))
    name = "VAE 784-400-20, batch 128, float32"
    peaks = [median(rows[name], f"{side} peak") for side in ("flat", "eager")]
    verdicts.append(Verdict(f"{name}: peak memory, flat to eager, ratio", _ratio(*peaks), 1.0))
    for name, wanted in flat_and_eager.TRIAL_OF_DRAWS.items():
        found = rows[f"{flat_and_eager.DRAWS} draws, {name}"]
        many.append([name, _milli(found, "calls"), _milli(found, "batched"), _between(found), _agreement(found)])
        what = f"{name}: {flat_and_eager.DRAWS} calls to one batch, ratio"
        verdicts.append(Verdict(what, median(found, "ratio"), wanted, least=True))
    head = ["value and gradient", "eager, ms", "flat, ms", "ratio", "largest difference", "eager, peak MB", "flat"]
    return (
        "## Flat programs against eager autograd\n\n"
        "The same function of NumPy, by `autograd.value_and_grad` at every call, and recorded once, differentiated\n"
        "and compiled by `ppl.array`. Differences are relative to the largest number of an array; the VAE computes\n"
        "in float32. Peak: what a first call allocates, for the flat program with the workspace that it keeps.\n\n"
        + _table(head, body)
        + f"\n\nThe flat program called for {flat_and_eager.DRAWS} draws, one after the other, and batched:\n\n"
        + _table(["values and gradients", "calls, ms", "batch, ms", "ratio", "largest difference"], many)
    )


def _scaling(rows: Rows, verdicts: list) -> str:
    def at(name: str, size: int, key: str) -> float | None:
        return median(rows[f"{name} {size}"], key)

    def each(name: str, size: int, key: str) -> str:
        m = at(name, size, key)
        return "-" if m is None else f"{1e6 * m / size:.3g}"

    def fitted(name: str, key: str) -> float | None:
        return scaling.slope(rows, name, key)

    last = scaling.SITES[-1]
    for key, limit in (("setup", 1.0), ("step", 0.02)):
        word, m = key.replace("setup", "set-up"), at("sites", last, key)
        value = None if m is None else 1e3 * m / last
        verdicts.append(Verdict(f"{last:,} scalar sites: {word}, ms a site", value, limit))
        verdicts.append(Verdict(f"scalar sites: {word}, slope", fitted("sites", key), 1.1))
    for name in ("scan", "recurrence"):
        for key in ("setup", "step"):
            word = key.replace("setup", "set-up")
            verdicts.append(Verdict(f"{name} over time: {word}, slope", fitted(name, key), 1.1))
    for case, wanted in scaling.TRIAL.items():
        what = f"one gradient of 30 particles, {case}: calls to one batch, ratio"
        verdicts.append(Verdict(what, at(f"particles, {case}", 30, "ratio"), wanted, least=True))
    sizes = []
    for name in ("sites", "scan", "recurrence", "loop"):
        for size in scaling.SIZES[name]:
            found = rows[f"{name} {size}"]
            line = [name, f"{size:,}", _milli(found, "setup"), _milli(found, "step")]
            sizes.append([*line, each(name, size, "setup"), each(name, size, "step")])
        slopes = [_say(fitted(name, key)) for key in ("setup", "step")]
        sizes.append([f"{name}, slope from {scaling.FITTED[name]:,}", "", *slopes, "", ""])
    compared = []
    for size in sorted({*scaling.LOOPS} & {*scaling.TIMES}):
        ratios = [_say(_ratio(at("loop", size, key), at("scan", size, key)), ".3g") for key in ("setup", "step")]
        compared.append(f"{ratios[0]} (set-up) and {ratios[1]} (step) at {size:,} steps")
    particles = []
    for size in scaling.PARTICLES:
        found = [rows[f"particles, {case} {size}"] for case in scaling.TRIAL]
        particles.append(
            [f"{size:,}", *(x for f in found for x in (_milli(f, "calls"), _milli(f, "batched"), _between(f)))]
        )
    return (
        "## Cost against size\n\n"
        "Set-up: recording, deriving, choosing, differentiating and compiling. Step: one of `BBVI` with one draw,\n"
        "Adam included. Sizes from 10,000 on are measured once. Slopes by least squares on logarithms, from the size\n"
        "given on. The models stand in `scaling.py`.\n\n"
        + _table(["", "size", "set-up, ms", "step, ms", "set-up, us each", "step, us each"], sizes)
        + f"\n\nThe Python loop against `ppl.scan` of the same model: {'; '.join(compared)}.\n\n"
        + "One gradient of the bound, as so many calls of the program of one particle and as one batch:\n\n"
        + _table(
            ["particles", *(f"{c}: {x}" for c in scaling.TRIAL for x in ("calls, ms", "batch, ms", "ratio"))], particles
        )
        + "\n\n"
        + _rows_of_a_file(rows[f"rows {scaling.ROWS}"], verdicts)
        + "\n\n![cost against size](scaling.png)"
    )


def _closed_forms(rows: Rows, verdicts: list) -> str:
    body = []
    for name in closed_forms.CASES:
        found = rows[name]
        ours, peer = median(found, "ours"), median(found, "scikit-learn")
        body.append([name, _milli(found, "ours"), _milli(found, "by hand"), _say(median(found, "ratio"))])
        body[-1] += [_milli(found, "scikit-learn"), _say(_ratio(peer, ours), ".3g")]
        if name in closed_forms.TARGETS:
            what = f"a sweep of the {name}, against NumPy by hand, ratio"
            verdicts.append(Verdict(what, median(found, "ratio"), closed_forms.TARGETS[name]))
        else:
            verdicts.append(Verdict(f"a pass of {name}, against scikit-learn's, ratio", _ratio(ours, peer), 1.0))
    topics, curves = rows["topics"], rows[closed_forms.CURVES]
    figures = [
        median(topics, f"predictive{x}") for x in ("", " seconds", " of scikit-learn", " of scikit-learn seconds")
    ]
    words = ""
    if None not in figures:
        words = (
            "\n\nThe mean log predictive of a token, by point estimates, is {:.3f} after a start ({:.2g} s: ten\n"
            "passes in which the documents settle), and {:.3f} after 15 passes of scikit-learn's ({:.2g} s)."
        ).format(*figures)
        verdicts.append(Verdict("log predictive of a token, below scikit-learn's by", figures[2] - figures[0], 0.05))
    sweep, one = median(curves, "after one sweep"), median(curves, "after one pass")
    if sweep is not None and one is not None:
        words += (
            f"\n\nA mixture of 10 on 200,000 rows, from the same means: after one pass of minibatches "
            f"({median(curves, 'one pass'):.2g} s)\nthe bound is {one:.3f} nats a row, after one sweep over everything "
            f"({median(curves, 'one sweep'):.2g} s) {sweep:.3f}.\n\n![the bound against time](closed_forms.png)"
        )
        verdicts.append(Verdict("one pass of minibatches against one sweep, nats a row", one - sweep, 0.0, least=True))
    mapped = []
    for name, size in closed_forms.MAPPED.items():
        found = rows[name]
        memory = median(found, "memory")
        mapped.append([f"{size:,}", _say(memory and memory / 2**20, ".0f"), _seconds(found, "seconds")])
    largest = median(rows[name], "memory")
    verdicts.append(Verdict(f"a mixture on {size:,} mapped rows: peak, GiB", largest and largest / 2**30, 2.0))
    return (
        "## Closed-form updates\n\n"
        "CPU milliseconds of a sweep, medians of turns in alternation: what the engine found, the same by hand in\n"
        "NumPy, and an iteration of scikit-learn's. Small: 2,000 x 2, 5 components; large: 100,000 x 10, 20;\n"
        "topics: 2,000 documents of about 100 tokens, 5,000 words, 20 topics.\n\n"
        + _table(["case", "ours", "by hand", "ratio", "scikit-learn", "it takes x ours"], body)
        + words
        + "\n\nA mixture of 3 on rows of a mapped file, by 1,000 minibatches of 1,000, and a last pass:\n\n"
        + _table(["rows", "peak of the process, MiB", "CPU s"], mapped)
    )


def _rows_of_a_file(found: list[dict], verdicts: list) -> str:
    memory, away = median(found, "memory"), median(found, "away in sds")
    verdicts.append(Verdict("10^7 mapped rows: peak memory, GiB", None if memory is None else memory / 2**30, 1.0))
    verdicts.append(Verdict("10^7 mapped rows: posterior means from the closed form, posterior sds", away, 3.0))
    if memory is None:
        return f"Linear regression on 10^7 mapped rows: {found[-1]['status']} {found[-1].get('note', '')}."
    steps, seconds, error = (median(found, key) for key in ("steps", "seconds", "away"))
    passes, verdict = steps * scaling.BATCH / scaling.ROWS, found[-1]["verdict"]
    return (
        f"Linear regression on 10^7 rows of two mapped files (160 MB) by minibatches of {scaling.BATCH:,}:\n"
        f"{memory / 2**20:.0f} MiB at the peak of the process, {seconds:.3g} CPU seconds for {steps:,.0f} steps;\n"
        f'the verdict is "{verdict}". The means are within {error:.1e} of the closed form, that is {away:.2g}\n'
        f"posterior standard deviations; minibatches that amount to {passes:.2g} passes over the data leave about\n"
        f"{passes**-0.5:.2g} of these by chance."
    )


def _targets(verdicts: list[Verdict]) -> str:
    body = []
    for v in verdicts:
        bound = f"{'at least' if v.least else 'at most'} {v.limit:g}"
        body.append([v.what, _say(v.value, ".3g"), bound, v.word])
    return "## Targets\n\n" + _table(["what", "measured", "target", ""], body)
