"""Algorithms: one file each; a frozen record of settings, with `init_state` and a step on frozen states.

set_up (form of the model, guide) -> good_start -> BBVI.run -> Solution
"""

from .bbvi import BBVI
from .setup import Setup, can_widen, matching, set_up
from .stages import Info, Solution, State

ALGORITHMS = {"bbvi": BBVI}

__all__ = ["ALGORITHMS", "BBVI", "Info", "Setup", "Solution", "State", "can_widen", "matching", "set_up"]
