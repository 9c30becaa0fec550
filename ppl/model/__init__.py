"""What a user writes: `sample`, `param`, `plate`, `deterministic`, `factor`, and the handlers.

    statement -> frozen Site -> handlers, innermost first -> value

Knows distributions; does not know graphs, guides or inference.
"""

from . import handlers, reparam
from .context import current
from .handlers import Handler
from .module import Module, module, training
from .primitives import deterministic, factor, full_parameter, param, parameter_axes, parameter_rows, plate, sample
from .scan import scan
from .site import PlateFrame, RowAxes, RowNumbers, RowTable, Site, plate_shape, row_axes, rows_in_use, rows_key
from .state import state

__all__ = [
    "Handler",
    "Module",
    "PlateFrame",
    "RowAxes",
    "RowNumbers",
    "RowTable",
    "Site",
    "current",
    "deterministic",
    "factor",
    "full_parameter",
    "handlers",
    "module",
    "param",
    "parameter_axes",
    "parameter_rows",
    "plate",
    "plate_shape",
    "reparam",
    "row_axes",
    "rows_in_use",
    "rows_key",
    "sample",
    "scan",
    "state",
    "training",
]
