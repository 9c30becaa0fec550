"""What a user writes: `sample`, `param`, `plate`, `deterministic`, `factor`, and the handlers.

    statement -> frozen Site -> handlers, innermost first -> value

Knows distributions; does not know graphs, guides or inference.
"""

from . import handlers, reparam
from .context import current
from .handlers import Handler
from .primitives import deterministic, factor, full_parameter, param, parameter_rows, plate, sample
from .scan import scan
from .site import PlateFrame, Site, plate_shape

__all__ = [
    "Handler",
    "PlateFrame",
    "Site",
    "current",
    "deterministic",
    "factor",
    "full_parameter",
    "handlers",
    "param",
    "parameter_rows",
    "plate",
    "plate_shape",
    "reparam",
    "sample",
    "scan",
]
