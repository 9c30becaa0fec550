"""Conjugacy read off the recorded model: closed-form updates, and what blocks them.

recorded log densities --rewrite--> sums of products --recognize--> blocks --Execution--> array programs of updates
"""

from .ascent import Ascent, State
from .execution import Execution, row_plate
from .heldout import NoClosedForm, log_predictive
from .recognition import Block, Joint, Recognized, recognize, record
from .shards import Shard, Shards

__all__ = [
    "Ascent",
    "Block",
    "Execution",
    "Joint",
    "NoClosedForm",
    "Recognized",
    "Shard",
    "Shards",
    "State",
    "log_predictive",
    "recognize",
    "record",
    "row_plate",
]
