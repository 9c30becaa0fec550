"""Fit every posterior with every guide and print one table: `python -m tests.posteriors`."""

from __future__ import annotations

import argparse
import sys

from tests.data_folder import why_absent

from .compare import GUIDES, compare, table
from .models import FOLDER, POSTERIORS


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.posteriors", description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="one table for each seed")
    seeds = parser.parse_args().seeds
    absent = why_absent(FOLDER)
    if absent:
        print(absent, file=sys.stderr)
        return 1
    for seed in seeds:
        if len(seeds) > 1:
            print(f"\nseed {seed}")
        print(table([compare(p, guide, seed=seed).row() for p in POSTERIORS for guide in GUIDES]), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
