"""Fit every posterior with every column of options and print one table: `python -m tests.posteriors`."""

from __future__ import annotations

import argparse
import sys

from tests.data_folder import why_absent

from .models import BY_NAME, INFERENCE_GYM, POSTERIORDB
from .table import COLUMNS, lines


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.posteriors", description=__doc__)
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=BY_NAME, default=list(BY_NAME))
    parser.add_argument("--columns", nargs="+", choices=COLUMNS, default=list(COLUMNS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="one table for each seed")
    parser.add_argument("--limit", type=float, default=120.0, metavar="SECONDS", help="CPU time of one fit")
    chosen = parser.parse_args()
    absent = why_absent(POSTERIORDB) or why_absent(INFERENCE_GYM)
    if absent:
        print(absent, file=sys.stderr)
        return 1
    for seed in chosen.seeds:
        if len(chosen.seeds) > 1:
            print(f"\nseed {seed}")
        columns = {name: COLUMNS[name] for name in chosen.columns}
        for line in lines([BY_NAME[name] for name in chosen.only], columns, seed, chosen.limit):
            print(line, flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
