"""Gradient estimators, one file each: when it fits, and what it adds to the objective."""

from . import exact, pathwise, score

ESTIMATORS = {"exact": exact, "pathwise": pathwise, "score": score}
NAMES = {"exact": "exact", "pathwise": "pathwise", "score": "score", "leave-one-out": "score"}

__all__ = ["ESTIMATORS", "NAMES", "exact", "pathwise", "score"]
