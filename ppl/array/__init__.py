"""The array program: record array functions once, then differentiate, batch and run them.

    record(fun, examples) -> Program -> gradient / batch -> Program -> compile_program -> function

>>> import numpy as np
>>> program = record(lambda x: (np.sum(np.exp(x) ** 2),), [np.zeros(3)])
>>> value, slope = compile_program(gradient(program, [0]))(np.array([0.0, 1.0, 2.0]))
>>> print(np.round(slope, 3))
[  2.     14.778 109.196]
"""

from . import functions, gaps, passes, quantiles, specials, statistics
from .batching import batch, unrolled
from .derivatives import discontinuous, gradient, pull_through, supported
from .forward import hessian_product, pushforward
from .gaps import binet, binet_bend, binet_gap, binet_slope, gammaln_gap, xlogx_gap
from .numpy_executor import compile_program, source
from .operations import agreeing, logsumexp, softplus, stop_gradient, triangular_solve
from .program import Program, Ref, Step, compose, needed, prune, reachable, refs, run, substitute
from .quantiles import log_gamma_quantile, log_wald_quantile, logit_beta_quantile, von_mises_cdf, von_mises_quantile
from .recording import (
    Argument,
    BranchOnDraw,
    Recorded,
    Tape,
    is_recorded,
    operation,
    paused_collector,
    program_of,
    record,
    replay,
)
from .rolling import pack, packs_of, roll, units
from .scan import scan
from .text import written

__all__ = [
    "Argument",
    "BranchOnDraw",
    "Program",
    "Recorded",
    "Ref",
    "Step",
    "Tape",
    "agreeing",
    "batch",
    "binet",
    "binet_bend",
    "binet_gap",
    "binet_slope",
    "compile_program",
    "compose",
    "discontinuous",
    "functions",
    "gammaln_gap",
    "gradient",
    "hessian_product",
    "is_recorded",
    "log_gamma_quantile",
    "log_wald_quantile",
    "logit_beta_quantile",
    "logsumexp",
    "needed",
    "operation",
    "pack",
    "packs_of",
    "passes",
    "paused_collector",
    "program_of",
    "prune",
    "pull_through",
    "pushforward",
    "reachable",
    "record",
    "refs",
    "replay",
    "roll",
    "run",
    "scan",
    "softplus",
    "source",
    "stop_gradient",
    "substitute",
    "supported",
    "triangular_solve",
    "units",
    "unrolled",
    "von_mises_cdf",
    "von_mises_quantile",
    "written",
    "xlogx_gap",
]
