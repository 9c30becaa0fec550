"""Algorithms: one file each; a frozen record of settings, with `init_state` and a step on frozen states."""

from .bbvi import BBVI, Info, Solution, State

ALGORITHMS = {"bbvi": BBVI}

__all__ = ["ALGORITHMS", "BBVI", "Info", "Solution", "State"]
