"""Every posterior under every column of options, in one table; each fit is a process of its own with a time limit."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .compare import compare
from .models import POSTERIORS, Posterior

# Options of `ppl.infer` by the name of their column. Another algorithm is one more line.
COLUMNS: dict[str, Mapping[str, Any]] = {
    "auto": {},
    "mean-field": {"guide": "meanfield"},
    "full-rank": {"guide": "fullrank"},
    "low-rank": {"guide": "lowrank"},
    "dadvi": {"algorithm": "dadvi"},
    "laplace": {"algorithm": "laplace"},
    "pathfinder": {"algorithm": "pathfinder"},
    "nuts": {"algorithm": "nuts"},
}
FOLDERS = sorted({p.folder for p in POSTERIORS}, key=str.lower)
HALVES = {"first half": frozenset(FOLDERS[:13]), "second half": frozenset(FOLDERS[13:])}  # of 26, alphabetically
GRADES = ("good", "right", "wrong", "failed")
WIDTH = 51


@dataclass(frozen=True)
class Cell:
    """What one fit came to, or why it did not: then `grade` is "failed" and `error` the first line."""

    grade: str
    worst: float = float("nan")  # mean error in reference sds
    at: str = ""
    low: float = float("nan")  # of the sd ratios
    high: float = float("nan")
    k_hat: float | None = None
    word: str = ""
    seconds: float = float("nan")  # CPU
    gradients: int = 0
    error: str = ""

    @property
    def silent(self) -> bool:
        """Wrong, and called trusted."""
        return self.grade == "wrong" and self.word == "trusted"

    def __str__(self) -> str:
        if self.error:
            return self.error[:WIDTH]
        k = "  - " if self.k_hat is None else f"{self.k_hat:4.2f}"
        word = "SILENT" if self.silent else {"not trusted": "not tr."}.get(self.word, self.word)
        spread, cost = f"{self.low:.2f}..{self.high:.2f}", f"{self.seconds:6.1f} {_thousands(self.gradients):>6}"
        return f"{self.grade:5} {self.worst:6.2f} {spread:>11} {k} {word:7} {cost}"


HEAD = f"{'grade':5} {'error':>6} {'sd ratios':>11} {'k':>4} {'word':7} {'CPU s':>6} {'grad.':>6}"


def _thousands(count: int) -> str:
    return str(count) if count < 10_000 else f"{count / 1000:.0f}k" if count < 10_000_000 else f"{count / 1e6:.0f}M"


def cell(posterior: Posterior, options: Mapping[str, Any], seed: int) -> Cell:
    """One fit, here."""
    c = compare(posterior, options, seed=seed)
    verdict = c.fit.verdict
    low, high = float(c.ratios.min()), float(c.ratios.max())
    return Cell(c.grade, c.worst, c.at, low, high, verdict.k_hat, verdict.word, c.seconds, c.fit.solution.gradients)


def limited(posterior: Posterior, options: Mapping[str, Any], seed: int, seconds: float) -> Cell:
    """One fit in a process of its own, which may use so many CPU seconds."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(theirs, posterior, options, seed, seconds), daemon=True)
    process.start()
    theirs.close()
    try:
        # A busy machine gives a process a share of its time; one that sleeps is ended all the same.
        return ours.recv() if ours.poll(10 * seconds) else Cell("failed", error=f"not back after {10 * seconds:.0f} s")
    except EOFError:
        return Cell("failed", error="the process ended without an answer")
    finally:
        process.kill()
        process.join()


class _OutOfTime(Exception):
    pass


def _out_of_time(*_) -> None:
    raise _OutOfTime


def _child(pipe, posterior: Posterior, options: Mapping[str, Any], seed: int, seconds: float) -> None:
    signal.signal(signal.SIGPROF, _out_of_time)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        pipe.send(cell(posterior, options, seed))
    except _OutOfTime:
        pipe.send(Cell("failed", error=f"more than {seconds:.0f} s"))
    except Exception as error:  # whatever a fit raises belongs into its cell
        text = f"{type(error).__name__}: {error}".splitlines()
        pipe.send(Cell("failed", error=text[0]))


def lines(
    posteriors: Sequence[Posterior], columns: Mapping[str, Mapping[str, Any]], seed: int, seconds: float
) -> Iterable[str]:
    """The table line by line, as fits come in; then the summary, and what failed in full."""
    wide = max(len(p.name) for p in posteriors)
    yield "  ".join([" " * wide, *(f"{name:{WIDTH}}" for name in columns)]).rstrip()
    yield "  ".join(["posterior".ljust(wide), *(f"{HEAD:{WIDTH}}" for _ in columns)]).rstrip()
    yield "-" * (wide + len(columns) * (WIDTH + 2))
    found: dict[tuple[str, str], Cell] = {}
    for p in posteriors:
        for name, options in columns.items():
            found[p.name, name] = limited(p, options, seed, seconds)
        yield "  ".join([p.name.ljust(wide), *(f"{found[p.name, name]!s:{WIDTH}}" for name in columns)]).rstrip()
    yield ""
    yield from summary(posteriors, columns, found)
    failed = [f"{name}, {column}: {c.error}" for (name, column), c in found.items() if c.error]
    yield from ["", *failed] if failed else ()


def summary(
    posteriors: Sequence[Posterior], columns: Iterable[str], found: Mapping[tuple[str, str], Cell]
) -> list[str]:
    """Counts by column and alphabetical half. Right here is right and not good; silent is part of wrong."""
    wide = max(map(len, columns))
    head = f"{'column'.ljust(wide)}  {'':11}  models   good  right  wrong  failed  silent"
    out = [f"{head}  of the good, trusted"]
    for column in columns:
        for half, folders in {"all": frozenset(FOLDERS), **HALVES}.items():
            cells = [found[p.name, column] for p in posteriors if p.folder in folders]
            good, right, wrong, failed = (sum(c.grade == g for c in cells) for g in GRADES)
            counts = f"{len(cells):6}  {good:5}  {right:5}  {wrong:5}  {failed:6}  {sum(c.silent for c in cells):6}"
            counts += f"  {sum(c.grade == 'good' and c.word == 'trusted' for c in cells):6}"
            out.append(f"{column.ljust(wide)}  {half:11}  {counts}")
    return out
