"""Value and gradient of one function: recorded once and run flat, against eager autograd; and many draws as one batch.

Each case is a density written once, `fun(np, *parameters)`, with its data in a closure. Eager:
`autograd.value_and_grad` with autograd's NumPy, at every call. Flat: `record`, `gradient`,
`compile_program` with plain NumPy, called. Batched: `batch` of the flat program for 30 draws
against 30 calls of it. Both sides run in alternation in one process, a few hundredths of a second each
time, and must agree before any clock starts.

Memory is what a first call allocates at its peak beyond what it was given, by `tracemalloc`: for the flat
program with the workspace that it keeps.
"""

from __future__ import annotations

import statistics
import sys
import tracemalloc
import warnings
from collections.abc import Callable, Sequence
from itertools import cycle, islice

from .eight_schools import SIGMA, Y
from .harness import cpu, say

DRAWS = 30
TURNS, TURN = 15, 0.04  # alternations, and CPU seconds of each side in one


# -- the densities ----------------------------------------------------------------------------------
def schools():
    """Eight schools, non-centred, one argument for each site."""
    import numpy

    y, sigma = numpy.array(Y), numpy.array(SIGMA)

    def log_joint(np, mu, log_tau, eta):
        tau = np.exp(log_tau)
        prior = -0.5 * (mu / 5) ** 2 - np.log1p((tau / 5) ** 2) + log_tau - 0.5 * np.sum(eta**2)
        return prior - 0.5 * np.sum(((y - mu - tau * eta) / sigma) ** 2)

    rng = numpy.random.default_rng(1)
    return log_joint, [numpy.float64(4.0), numpy.float64(0.5), rng.standard_normal(8)]


def logistic(rows: int, columns: int):
    """Logistic regression with a Gaussian prior."""
    import numpy

    rng = numpy.random.default_rng(2)
    x = rng.standard_normal((rows, columns))
    y = (rng.random(rows) < 0.5).astype(float)

    def log_joint(np, w):
        logits = x @ w
        return np.sum(y * logits - np.logaddexp(0.0, logits)) - 0.5 * np.sum(w**2)

    return log_joint, [0.1 * rng.standard_normal(columns)]


def hierarchy(rows: int = 919, groups: int = 85):
    """Varying intercepts with a predictor of the group and one of the row, in the shape of the radon survey."""
    import numpy

    y, group, floor, uranium = radon_like(rows, groups)

    def log_joint(np, mu, gamma, beta, log_a, log_y, alpha):
        prior = -0.5 * ((mu / 10) ** 2 + (gamma / 10) ** 2 + (beta / 10) ** 2)
        prior = prior - np.log1p((np.exp(log_a) / 5) ** 2) + log_a - np.log1p((np.exp(log_y) / 5) ** 2) + log_y
        between = (alpha - mu - gamma * uranium) * np.exp(-log_a)
        within = (y - alpha[group] - beta * floor) * np.exp(-log_y)
        return prior - 0.5 * np.sum(between**2) - groups * log_a - 0.5 * np.sum(within**2) - rows * log_y

    rng = numpy.random.default_rng(4)
    scalars = [numpy.float64(v) for v in (1.4, 0.7, -0.6, -1.5, -0.3)]
    return log_joint, [*scalars, 1.3 + 0.2 * rng.standard_normal(groups)]


def radon_like(rows: int = 919, groups: int = 85):
    """(y, group of each row, floor of each row, uranium of each group), drawn from the model."""
    import numpy as np

    rng = np.random.default_rng(3)
    group = np.sort(rng.integers(0, groups, rows))
    floor, uranium = (rng.random(rows) < 0.17).astype(float), 0.4 * rng.standard_normal(groups)
    alpha = 1.4 + 0.7 * uranium + 0.2 * rng.standard_normal(groups)
    return alpha[group] - 0.6 * floor + 0.75 * rng.standard_normal(rows), group, floor, uranium


def vae(batch: int = 128, pixels: int = 784, hidden: int = 400, latent: int = 20):
    """Negative bound of a variational autoencoder in float32, with fixed noise."""
    import numpy

    rng = numpy.random.default_rng(5)
    single = numpy.float32
    x = (rng.random((batch, pixels)) < 0.3).astype(single)
    noise = rng.standard_normal((batch, latent)).astype(single)
    weights = []
    for m, n in ((pixels, hidden), (hidden, latent), (hidden, latent), (latent, hidden), (hidden, pixels)):
        weights += [(0.05 * rng.standard_normal((m, n))).astype(single), numpy.zeros(n, single)]

    def negative_bound(np, w1, b1, w_loc, b_loc, w_scale, b_scale, w3, b3, w4, b4):
        h = np.tanh(x @ w1 + b1)
        loc, log_scale = h @ w_loc + b_loc, h @ w_scale + b_scale
        scale = np.exp(log_scale)
        logits = np.tanh((loc + scale * noise) @ w3 + b3) @ w4 + b4
        log_p = np.sum(x * logits - np.logaddexp(single(0), logits))
        kl = np.sum(single(0.5) * (loc**2 + scale**2 - single(1)) - log_scale)
        return (kl - log_p) / single(batch)

    return negative_bound, weights


CASES: dict[str, Callable] = {
    "eight schools": schools,
    "logistic regression, 100 x 10": lambda: logistic(100, 10),
    "logistic regression, 10,000 x 50": lambda: logistic(10_000, 50),
    "hierarchy, 919 rows, 85 groups": hierarchy,
    "VAE 784-400-20, batch 128, float32": vae,
}
# What a first trial of this design reached: ratios of times, eager to flat and calls to batch.
TRIAL = {
    "eight schools": 17,
    "logistic regression, 100 x 10": 8,
    "logistic regression, 10,000 x 50": 2,
    "VAE 784-400-20, batch 128, float32": 1.2,
}
TRIAL_OF_DRAWS = {
    "eight schools": 10,
    "hierarchy, 919 rows, 85 groups": 3.3,
    "logistic regression, 10,000 x 50": 1.6,
}


# -- the ways to run them -----------------------------------------------------------------------------
def flat(fun: Callable, parameters: Sequence) -> Callable:
    """`f(*parameters) -> (value, gradient...)`, recorded once."""
    return _compiled(_slopes(fun, parameters))


def eager(fun: Callable) -> Callable:
    """The same by autograd, which records anew at every call."""
    import autograd.numpy as anp
    from autograd import value_and_grad

    both = value_and_grad(lambda parameters: fun(anp, *parameters))

    def call(*parameters):
        value, slopes = both(parameters)
        return (value, *slopes)

    return call


def batched(fun: Callable, parameters: Sequence, size: int) -> Callable:
    """The flat program for many draws at once: every parameter has them along its first axis."""
    from ppl.array import batch

    return _compiled(batch(_slopes(fun, parameters), [True] * len(parameters), size))


def _slopes(fun, parameters):
    import numpy

    from ppl.array import gradient, record

    return gradient(record(lambda *p: (fun(numpy, *p),), parameters), range(len(parameters)))


def _compiled(program):
    from ppl.array import compile_program

    return compile_program(program)


def spread_out(parameters: Sequence, size: int) -> list:
    """Draws around the parameters, along a new first axis."""
    import numpy as np

    rng = np.random.default_rng(6)
    return [p + 0.1 * rng.standard_normal((size, *np.shape(p))).astype(np.result_type(p)) for p in parameters]


def agreement(a: Sequence, b: Sequence) -> dict:
    """Share of numbers with the same bits, and the largest difference relative to the largest number of its array."""
    import numpy as np

    pairs = [(np.asarray(x), np.asarray(y)) for x, y in zip(a, b, strict=True)]
    same = sum(int(np.sum(x == y)) for x, y in pairs) / sum(x.size for x, _ in pairs)
    far = max(float(np.max(np.abs(x - y)) / np.max(np.abs(x))) for x, y in pairs)
    narrow = all(x.dtype == np.float32 for x, _ in pairs[1:])
    assert all(x.shape == y.shape for x, y in pairs), "results of different shapes"
    assert far < (1e-4 if narrow else 1e-10), f"results differ by {far:.1e}"
    return {"same": same, "difference": far}


# -- clocks -------------------------------------------------------------------------------------------
def alternate(sides: dict[str, Callable]) -> dict:
    """CPU seconds of one call of each, run in turns: the median over the turns, and that of the ratio."""
    counts = {}
    for name, f in sides.items():
        f()
        begun, calls = cpu(), 0
        while calls < 3 or cpu() - begun < TURN:
            f()
            calls += 1
        counts[name] = max(1, round(calls * TURN / (cpu() - begun)))
    found: dict[str, list[float]] = {name: [] for name in sides}
    for name in islice(cycle(sides), TURNS * len(sides)):
        f, begun = sides[name], cpu()
        for _ in range(counts[name]):
            f()
        found[name].append((cpu() - begun) / counts[name])
    first, second = found.values()
    ratio = statistics.median(b / a for a, b in zip(first, second, strict=True))
    return {**{name: statistics.median(t) for name, t in found.items()}, "ratio": ratio}


def peak(f: Callable) -> float:
    """Bytes that this call allocates at its peak."""
    tracemalloc.start()
    f()
    found = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return float(found)


def against_eager(name: str) -> dict:
    fun, parameters = CASES[name]()
    one, other = flat(fun, parameters), eager(fun)
    sides = {"flat": lambda: one(*parameters), "eager": lambda: other(*parameters)}
    agreed = agreement(sides["eager"](), flat(fun, parameters)(*parameters))
    peaks = {f"{side} peak": peak(f) for side, f in sides.items()}
    return {**agreed, **peaks, **alternate(sides)}


def draws(name: str) -> dict:
    import numpy as np

    fun, parameters = CASES[name]()
    one, many = flat(fun, parameters), batched(fun, parameters, DRAWS)
    rows = spread_out(parameters, DRAWS)
    single = list(zip(*rows, strict=True))
    agreed = agreement([np.stack(x) for x in zip(*(one(*p) for p in single), strict=True)], many(*rows))
    return {**agreed, **alternate({"batched": lambda: many(*rows), "calls": lambda: [one(*p) for p in single]})}


MEASUREMENTS = {name: lambda name=name: against_eager(name) for name in CASES} | {
    f"{DRAWS} draws, {name}": lambda name=name: draws(name) for name in TRIAL_OF_DRAWS
}


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    say(**MEASUREMENTS[sys.argv[1]]())
