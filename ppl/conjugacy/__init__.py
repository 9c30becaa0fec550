"""Conjugacy read off the recorded model: closed-form updates, and what blocks them.

recorded log densities --rewrite--> sums of products --recognize--> blocks --Execution--> array programs of updates
"""

from .ascent import Ascent, State
from .blocks import Block, Joint
from .chains import Chain, StateChains, has_states, sorted_values
from .execution import Execution, row_plate
from .heldout import NoClosedForm, log_predictive
from .recognition import Recognized, recognize, record
from .shards import Shard, Shards

__all__ = [
    "Ascent",
    "Block",
    "Chain",
    "Execution",
    "Joint",
    "NoClosedForm",
    "Recognized",
    "Shard",
    "Shards",
    "State",
    "StateChains",
    "has_states",
    "log_predictive",
    "recognize",
    "record",
    "row_plate",
    "sorted_values",
]
