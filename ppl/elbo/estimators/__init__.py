"""Gradient estimators, one file each: when it fits, why, and what it adds to the objective."""

from . import (
    coefficient,
    concrete,
    decaying_average,
    disarm,
    dreg,
    enumerated,
    exact,
    none,
    nvil,
    pathwise,
    rebar,
    relax,
    score,
    stl,
    straight_through,
    vargrad,
    vimco,
)
from .record import Control, Estimator, Scored, Setting

ESTIMATORS: dict[str, Estimator] = {
    e.name: e
    for e in (
        exact.ESTIMATOR,
        enumerated.ESTIMATOR,
        pathwise.ESTIMATOR,
        stl.ESTIMATOR,
        dreg.ESTIMATOR,
        score.ESTIMATOR,
        none.ESTIMATOR,
        score.LEAVE_ONE_OUT,
        vargrad.ESTIMATOR,
        coefficient.ESTIMATOR,
        decaying_average.ESTIMATOR,
        nvil.ESTIMATOR,
        vimco.ESTIMATOR,
        disarm.ESTIMATOR,
        rebar.ESTIMATOR,
        relax.ESTIMATOR,
        concrete.ESTIMATOR,
        straight_through.ESTIMATOR,
    )
}

__all__ = ["ESTIMATORS", "Control", "Estimator", "Scored", "Setting", "enumerated", "exact", "pathwise", "score"]
