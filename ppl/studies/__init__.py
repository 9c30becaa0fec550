"""What is done with several fits, or many: comparison of algorithms, calibration."""

from .calibration import Calibration, vsbc
from .comparison import Comparison, compare

__all__ = ["Calibration", "Comparison", "compare", "vsbc"]
