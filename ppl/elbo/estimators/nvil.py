"""NVIL: the baseline is a network that sees the data, trained to predict f.

    b = c + s net(x),   net <- one step of least squares on (f - c) / s,   c and s running mean and sd of f

x are the observations in the factor's plates; without any the network is a constant. It sees data but no draw of
this step, and its own step comes after it was used: it is unbiased.

Mnih and Gregor 2014, "Neural variational inference and learning in belief networks", sections 2.3 and 2.4.
"""

from __future__ import annotations

import numpy as np

from ...array import stop_gradient
from .record import Control, Estimator, Scored

DECAY = 0.9
HIDDEN = 32
RATE = 0.01
MOMENTS = 0.9, 0.999  # of the network's own Adam


def _signals(seen: Scored) -> list:
    lead = np.shape(seen.weight)
    parts = []
    for x in seen.data:
        x = np.asarray(x) if isinstance(x, np.ndarray | float | int) else x
        n = len(lead)
        if n == 0 or np.shape(x)[:n] != lead or np.prod(lead) == 1:
            continue
        parts.append(np.reshape(x, (*lead, -1)) * 1.0)
    features = np.concatenate(parts, axis=-1) if parts else np.ones((*lead, 1))
    return [seen.weight, stop_gradient(features) if parts else features]


def _start(shapes):
    width = shapes[1][-1]
    rng = np.random.default_rng(0)  # where a network starts is no part of the run's randomness
    first = rng.standard_normal((width, HIDDEN)) / np.sqrt(width)
    network = [first, np.zeros(HIDDEN), np.zeros(HIDDEN)]
    zeros = [np.zeros_like(x) for x in (*network, *network)]
    return [*network, *zeros, np.zeros(()), np.zeros(()), np.zeros(())]


def _coefficients(signals, state, particles):
    f, x = signals
    network, first, second, (mean, square, mass) = state[:3], state[3:6], state[6:9], state[9:]
    # Data are the same for all particles of a step.
    x = x[0]
    w, v, out = network
    hidden = np.tanh(x @ w + v)
    net = hidden @ out
    at = 1.0 / np.maximum(mass, 1e-9)
    centre = mean * at
    sd = np.where(mass > 0.0, np.sqrt(np.maximum(square * at - centre * centre, 1e-12)), 1.0)
    scale = np.maximum(sd, 1e-6)
    b = np.where(mass > 0.0, centre + scale * net, 0.0)
    kept = [np.mean(f), np.mean(f * f), np.ones(())]
    moments = [DECAY * old + (1.0 - DECAY) * new for old, new in zip((mean, square, mass), kept, strict=True)]
    now = moments[0] / moments[2]
    spread = np.sqrt(np.maximum(moments[1] / moments[2] - now * now, 1e-12))
    error = np.clip((np.mean(f, axis=0) - now) / spread - net, -10.0, 10.0) / max(int(np.prod(np.shape(net))), 1)
    back = (error[..., None] * out) * (1.0 - hidden * hidden)
    flat = (int(np.prod(np.shape(x)[:-1])), np.shape(x)[-1])
    rows, hiddens, backs = np.reshape(x, flat), np.reshape(hidden, (flat[0], -1)), np.reshape(back, (flat[0], -1))
    slopes = [rows.T @ backs, np.sum(backs, axis=0), np.reshape(error, (1, -1)) @ hiddens]
    slopes[2] = np.reshape(slopes[2], (HIDDEN,))
    first = [MOMENTS[0] * m + (1.0 - MOMENTS[0]) * g for m, g in zip(first, slopes, strict=True)]
    second = [MOMENTS[1] * s + (1.0 - MOMENTS[1]) * g * g for s, g in zip(second, slopes, strict=True)]
    moved = [p + RATE * m / (np.sqrt(s) + 1e-8) for p, m, s in zip(network, first, second, strict=True)]
    return [f - b], [*moved, *first, *second, *moments]


WHY = "score function with a learned baseline that sees the data"
ESTIMATOR = Estimator(
    "nvil", "score", WHY, "Mnih and Gregor 2014", control=Control(_coefficients, _signals, start=_start)
)
