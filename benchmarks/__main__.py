"""Measure in alternation, print the tables and write RESULTS.md.

Run it with a Python that has the other libraries; those that are missing are reported as absent.

    python -m benchmarks --rounds 5              everything
    python -m benchmarks --only imports          one workload, printed and not written

The figure of `scaling` is drawn whenever it is measured, if matplotlib is there.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from . import closed_forms, flat_and_eager, report, scaling
from .eight_schools import PEERS
from .harness import Workplace, import_seconds, measure

HERE = Path(__file__).parent
EIGHT_SCHOOLS = ("ppl", "ppl watched", "ppl steps", "ppl steps, one draw", "autograd by hand", *PEERS)
IMPORTS = ("pass", "import numpy", "import ppl", "import numpyro")
FRESH = "pymc, nothing compiled"
IMPORT_ROUNDS = 9  # at least


def eight_schools(place: Workplace, rounds: int) -> dict[str, list[dict]]:
    """Rows by name. A first round, not counted, fills the caches of compiled code."""
    rows: dict[str, list[dict]] = {name: [] for name in EIGHT_SCHOOLS}
    for number in range(-1, rounds):
        for name in EIGHT_SCHOOLS:
            if rows[name] and rows[name][-1]["status"] == "absent":
                continue
            row = measure(place, "eight_schools", name)
            _progress("eight schools", number, name, row)
            if number >= 0 or row["status"] == "absent":
                rows[name].append(row)
    if rows["pymc"][-1]["status"] == "ok":
        rows[FRESH] = [measure(place, "eight_schools", "pymc", fresh=True)]
        _progress("eight schools", rounds, FRESH, rows[FRESH][0])
    return rows


def imports(place: Workplace, rounds: int) -> dict[str, list[dict]]:
    """Rows by statement; a first round, not counted, writes the bytecode."""
    rows: dict[str, list[dict]] = {name: [] for name in IMPORTS}
    for number in range(-1, max(rounds, IMPORT_ROUNDS)):
        for name in IMPORTS:
            row = import_seconds(place, name)
            _progress("imports", number, name, row)
            if number >= 0:
                rows[name].append(row)
    return rows


def flat(place: Workplace, rounds: int) -> dict[str, list[dict]]:
    """Rows by case."""
    return _in_turns(place, "flat_and_eager", dict.fromkeys(flat_and_eager.MEASUREMENTS, rounds))


def sizes(place: Workplace, rounds: int) -> dict[str, list[dict]]:
    """Rows by experiment and size; the largest sizes are measured once."""
    few = {
        f"{name} {size}": 1 if size >= scaling.ONCE else min(rounds, 3)
        for name, found in scaling.SIZES.items()
        for size in found
    }
    return _in_turns(place, "scaling", few)


def sweeps(place: Workplace, rounds: int) -> dict[str, list[dict]]:
    """Rows by case of closed-form updates; what alternates within a measurement is measured once."""
    return _in_turns(place, "closed_forms", dict.fromkeys(closed_forms.NAMES, 1))


def _in_turns(place: Workplace, module: str, rounds: dict[str, int]) -> dict[str, list[dict]]:
    """Rows by measurement, in alternation."""
    rows: dict[str, list[dict]] = {name: [] for name in rounds}
    for number in range(max(rounds.values())):
        for name in rounds:
            if number < rounds[name]:
                rows[name].append(measure(place, module, name))
                _progress(module, number, name, rows[name][-1])
    return rows


WORKLOADS = {
    "eight_schools": eight_schools,
    "flat_and_eager": flat,
    "scaling": sizes,
    "closed_forms": sweeps,
    "imports": imports,
}


def _progress(workload: str, number: int, name: str, row: dict) -> None:
    figures = ", ".join(f"{k} {v:.4g}" for k, v in row.items() if isinstance(v, float))
    print(f"{workload} round {number + 1}: {name}: {row['status']} {figures}", file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=sorted(WORKLOADS), help="one workload; RESULTS.md is left as it is")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=Path, help="also write every measurement to this file, as JSON")
    options = parser.parse_args()
    place = Workplace()
    try:
        names = [options.only] if options.only else list(WORKLOADS)
        rows = {name: WORKLOADS[name](place, options.rounds) for name in names}
    finally:
        place.close()
    if options.rows:
        options.rows.write_text(json.dumps(rows, indent=1))
    text = report.results(rows)
    print(text)
    if not options.only:
        (HERE / "RESULTS.md").write_text(text)
    if "scaling" in rows:
        scaling.plot(rows["scaling"], HERE / "scaling.png")
    if "closed_forms" in rows:
        closed_forms.plot(rows["closed_forms"], HERE / "closed_forms.png")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
