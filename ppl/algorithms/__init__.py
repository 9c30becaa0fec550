"""Algorithms: one file each; a frozen record of settings, with `init_state` and a step on frozen states.

set_up (form of the model, guide) -> good_start -> BBVI.run -> Solution
"""

from ..errors import in_words
from .bbvi import BBVI
from .cavi import CAVI
from .closed_form import has_closed_forms
from .dadvi import DADVI
from .em import EM
from .laplace import Laplace
from .maximum import MAP
from .nuts import NUTS
from .pathfinder import Pathfinder
from .progress import Bar
from .setup import Setup, matching, may_try_others, rewritten, set_up, without_guides
from .stages import Info, Keep, Run, Solution, State
from .svi import SVI

ALGORITHMS = {
    "bbvi": BBVI,
    "cavi": CAVI,
    "dadvi": DADVI,
    "em": EM,
    "laplace": Laplace,
    "map": MAP,
    "nuts": NUTS,
    "pathfinder": Pathfinder,
    "svi": SVI,
}
for _kind in ALGORITHMS.values():  # a setting of another name is refused in words
    _kind.__init__ = in_words(_kind.__init__, f"ppl.{_kind.__name__}", f"ppl.{_kind.__name__}()")

__all__ = [
    "ALGORITHMS",
    "BBVI",
    "CAVI",
    "DADVI",
    "EM",
    "MAP",
    "NUTS",
    "SVI",
    "Bar",
    "Info",
    "Keep",
    "Laplace",
    "Pathfinder",
    "Run",
    "Setup",
    "Solution",
    "State",
    "has_closed_forms",
    "matching",
    "may_try_others",
    "rewritten",
    "set_up",
    "without_guides",
]
