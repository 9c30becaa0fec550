"""Gradient estimators, one file each: when it fits, and what it adds to the objective."""

from . import enumerated, exact, pathwise, score

ESTIMATORS = {"exact": exact, "enumerate": enumerated, "pathwise": pathwise, "score": score}
NAMES = {**{name: name for name in ESTIMATORS}, "leave-one-out": "score"}

__all__ = ["ESTIMATORS", "NAMES", "enumerated", "exact", "pathwise", "score"]
