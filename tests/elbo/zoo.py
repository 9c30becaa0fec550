"""Small models whose bound is known exactly, by quadrature, enumeration or a formula.

Each row gives model and guide as a user writes them, a point, and the bound at that point
computed by other means. Its gradient is then a central difference.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special, stats

import ppl
import ppl.distributions as dist
from ppl.distributions import constraints, transforms


@dataclass(frozen=True)
class Exact:
    """A model, its guide, where to look, and the exact bound there as a function of the parameters."""

    label: str
    model: Callable
    guide: Any
    at: dict[str, Any]
    bound: Callable[[dict[str, Any]], float]
    particles: int = 20_000

    def __str__(self) -> str:
        return self.label

    def gradient(self) -> dict[str, np.ndarray]:
        """Central differences of the exact bound."""
        found = {}
        for name, value in self.at.items():
            value = np.asarray(value, dtype=float)
            out = np.zeros(value.shape)
            for k in np.ndindex(value.shape):
                ends = []
                for step in (1e-4, -1e-4):
                    moved = value.copy()
                    moved[k] += step
                    ends.append(self.bound({**self.at, name: moved}))
                out[k] = (ends[0] - ends[1]) / 2e-4
            found[name] = out
        return found


def normal(x, loc=0.0, scale=1.0):
    """Log density of a normal."""
    return -0.5 * ((x - loc) / scale) ** 2 - np.log(scale) - 0.5 * np.log(2 * np.pi)


def bernoulli(b, p):
    """Log mass of a Bernoulli."""
    return np.where(b == 1, np.log(p), np.log1p(-p))


def grid(loc, scale, count=200_001):
    """Points and weights for an expectation under a normal of a function that jumps.

    The points stay where they are, so that only the smooth weights move with the parameters.
    """
    z = np.linspace(-10.0, 10.0, count) + 1e-5 * np.pi
    return z, np.exp(normal(z, loc, scale)) * (z[1] - z[0])


def smooth(loc, scale, count=80):
    """Gauss-Hermite points and weights for an expectation of a smooth function."""
    x, w = np.polynomial.hermite_e.hermegauss(count)
    return loc + scale * x, w / w.sum()


def states(n):
    """All binary vectors of length n."""
    return np.array(list(itertools.product((0, 1), repeat=n)))


def loc(start=0.3):
    return ppl.param("loc", start)


def scale(start=0.7):
    return ppl.param("scale", start, constraints.positive)


def prob(start=0.5):
    return ppl.param("p", start, constraints.unit_interval)


ZOO: list[Exact] = []


# -- discrete --------------------------------------------------------------------------------------
def coin(x=1.4):
    z = ppl.sample("z", dist.Bernoulli(0.3))
    ppl.sample("x", dist.Normal(2 * z, 1), obs=x)


def coin_guide():
    ppl.sample("z", dist.Bernoulli(prob()))


def coin_bound(at):
    z = np.array([0, 1])
    q = np.array([1 - at["p"], at["p"]])
    return np.sum(q * (bernoulli(z, 0.3) + normal(1.4, 2 * z) - np.log(q)))


ZOO.append(Exact("coin", coin, coin_guide, {"p": 0.5}, coin_bound))


def coin_if():
    z = ppl.sample("z", dist.Bernoulli(0.3))
    ppl.sample("x", dist.Normal(2.0 if z == 1 else 0.0, 1), obs=1.4)


ZOO.append(Exact("coin, with if", coin_if, coin_guide, {"p": 0.4}, coin_bound))


def two_coins():
    a = ppl.sample("a", dist.Bernoulli(0.3))
    b = ppl.sample("b", dist.Bernoulli(np.where(a == 1, 0.8, 0.1)))
    ppl.sample("x", dist.Normal(a + 2 * b, 1), obs=1.4)


def two_coins_guide():
    p = ppl.param("p", np.array([0.4, 0.3, 0.6]), constraints.unit_interval)
    a = ppl.sample("a", dist.Bernoulli(p[0]))
    ppl.sample("b", dist.Bernoulli(np.where(a == 1, p[2], p[1])))


def two_coins_bound(at):
    p, total = at["p"], 0.0
    for a, b in states(2):
        q_b = p[2] if a else p[1]
        log_q = bernoulli(a, p[0]) + bernoulli(b, q_b)
        log_p = bernoulli(a, 0.3) + bernoulli(b, 0.8 if a else 0.1) + normal(1.4, a + 2 * b)
        total += np.exp(log_q) * (log_p - log_q)
    return total


ZOO.append(
    Exact(
        "two coins, one guide after the other",
        two_coins,
        two_coins_guide,
        {"p": np.array([0.4, 0.3, 0.6])},
        two_coins_bound,
    )
)


def counts():
    z = ppl.sample("z", dist.Poisson(3.0))
    ppl.sample("x", dist.Normal(np.sqrt(z), 0.5), obs=1.9)


def counts_guide():
    ppl.sample("z", dist.Poisson(ppl.param("rate", 2.5, constraints.positive)))


def counts_bound(at):
    z = np.arange(80)
    log_q, log_p = stats.poisson(at["rate"]).logpmf(z), stats.poisson(3.0).logpmf(z) + normal(1.9, np.sqrt(z), 0.5)
    return np.sum(np.exp(log_q) * (log_p - log_q))


ZOO.append(Exact("a latent count", counts, counts_guide, {"rate": 2.5}, counts_bound))


# -- continuous ------------------------------------------------------------------------------------
def line():
    z = ppl.sample("z", dist.Normal(0, 2))
    ppl.sample("x", dist.StudentT(3.0, np.sin(z) + z, 1.0), obs=1.0)


def normal_guide():
    ppl.sample("z", dist.Normal(loc(), scale()))


def one_normal(log_joint, points=grid):
    def bound(at):
        z, w = points(at["loc"], at["scale"])
        return np.sum(w * log_joint(z)) + np.log(at["scale"]) + 0.5 * np.log(2 * np.pi * np.e)

    return bound


HERE = {"loc": 0.3, "scale": 0.7}
ZOO.append(
    Exact(
        "heavy tails",
        line,
        normal_guide,
        HERE,
        one_normal(lambda z: normal(z, 0, 2) + stats.t(3).logpdf(1.0 - np.sin(z) - z), smooth),
    )
)


def rate():
    z = ppl.sample("z", dist.Gamma(2.0, 1.0))
    ppl.sample("x", dist.Normal(np.log(z), 0.5), obs=0.2)


def rate_guide():
    a, b = (ppl.param(n, v, constraints.positive) for n, v in (("a", 2.5), ("b", 1.7)))
    ppl.sample("z", dist.Gamma(a, b))


def rate_bound(at):
    q = stats.gamma(at["a"], scale=1 / at["b"])
    u, du = np.linspace(-16, 5, 200_001, retstep=True)
    z = np.exp(u)
    return np.sum(q.pdf(z) * z * du * (stats.gamma(2.0).logpdf(z) + normal(0.2, u, 0.5) - q.logpdf(z)))


ZOO.append(Exact("a Gamma guide", rate, rate_guide, {"a": 2.5, "b": 1.7}, rate_bound))


def square():
    z = ppl.sample("z", dist.Normal(0, 3))
    ppl.sample("x", dist.Normal(z**2, 1), obs=4.0)


def mixture_guide():
    w = ppl.param("w", 0.3, constraints.unit_interval)
    parts = dist.Normal(np.array([-2.0, 1.5]), 0.4)
    ppl.sample("z", dist.MixtureSameFamily(dist.Categorical(probs=np.stack([w, 1 - w])), parts))


def mixture_bound(at):
    z = np.linspace(-8, 8, 100_001)
    q = at["w"] * np.exp(normal(z, -2, 0.4)) + (1 - at["w"]) * np.exp(normal(z, 1.5, 0.4))
    return np.sum(q * (normal(z, 0, 3) + normal(4.0, z**2) - np.log(q + 1e-300))) * (z[1] - z[0])


ZOO.append(Exact("a mixture as guide", square, mixture_guide, {"w": 0.3}, mixture_bound))


def pair():
    a = ppl.sample("a", dist.Normal(0, 1))
    b = ppl.sample("b", dist.LogNormal(a, 0.5))
    ppl.sample("x", dist.Normal(a * b, 1), obs=1.0)


def shared_guide():
    a = ppl.sample("a", dist.Normal(loc(), scale()))
    ppl.sample("b", dist.LogNormal(loc() ** 2 + 0.5 * a, scale()))


def shared_bound(at):
    m, s = at["loc"], at["scale"]
    a, wa = smooth(m, s)
    c, wc = smooth(0.0, 1.0)
    log_b = m**2 + 0.5 * a[:, None] + s * c
    log_p = normal(a, 0, 1)[:, None] + normal(log_b, a[:, None], 0.5) - log_b + normal(1.0, a[:, None] * np.exp(log_b))
    log_q = normal(a, m, s)[:, None] + normal(log_b, m**2 + 0.5 * a[:, None], s) - log_b
    return np.sum(wa[:, None] * wc * (log_p - log_q))


ZOO.append(Exact("parameters that two sites share", pair, shared_guide, HERE, shared_bound))


# -- jumps -----------------------------------------------------------------------------------------
def jump_model(f):
    def model():
        z = ppl.sample("z", dist.Normal(0, 1))
        ppl.sample("x", dist.Normal(f(z), 1), obs=2.0)

    return model


def sign_if(z):
    return 1.0 if z > 0 else -1.0


def staircase_if(z):
    if z > 0.5:
        return z * 2
    return 0.3 if z < -0.5 else z


JUMPS = {
    "where": (lambda z: np.where(z > 0, 1.0, -1.0),) * 2,
    "if": (sign_if, np.sign),
    "sign": (np.sign,) * 2,
    "nested if": (staircase_if, np.vectorize(staircase_if)),
    "floor": (np.floor,) * 2,
    "ceil": (np.ceil,) * 2,
    "round": (np.round,) * 2,
    "astype(int)": (lambda z: (3 * z).astype(int) / 2,) * 2,
    "floor division": (lambda z: z // 0.8,) * 2,
    "remainder": (lambda z: z % 0.8,) * 2,
    "fmod": (lambda z: np.fmod(z, 0.8),) * 2,
    "heaviside": (lambda z: np.heaviside(z, 0.5),) * 2,
    "comparison as a number": (lambda z: 2.0 * (z > 0.2) + z,) * 2,
    "clip after a jump": (lambda z: np.clip(np.floor(3 * z), -1, 1),) * 2,
    "index by a draw": (
        lambda z: np.stack([z, 2 * z, -z])[np.clip(np.floor(z) + 1, 0, 2).astype(int)],
        lambda z: np.choose(np.clip(np.floor(z) + 1, 0, 2).astype(int), [z, 2 * z, -z]),
    ),
    "argmax": (
        lambda z: np.array([1.0, -1.0, 0.5])[0] * (np.argmax(np.stack([z, 0 * z + 0.2, -z])) - 1.0),
        lambda z: np.argmax(np.stack([z, 0 * z + 0.2, -z]), axis=0) - 1.0,
    ),
    "sort order": (
        lambda z: np.argsort(np.stack([z, 0 * z + 0.2, -z]))[0] * 1.0,
        lambda z: np.argsort(np.stack([z, 0 * z + 0.2, -z]), axis=0)[0] * 1.0,
    ),
    "isclose": (lambda z: np.isclose(z, 0.4, atol=0.3) * 1.0,) * 2,
    "any": (lambda z: np.any(np.stack([z > 1, z < -0.2])) * 1.0, lambda z: (z > 1) | (z < -0.2)),
    "copysign": (lambda z: np.copysign(1.0, z),) * 2,
    "max, which is continuous": (lambda z: np.maximum(z, 0.1) + np.abs(z),) * 2,
    "where with equal ends": (lambda z: np.where(z > 0, z, 2 * z),) * 2,
}
for _name, (_f, _g) in JUMPS.items():
    ZOO.append(
        Exact(
            f"jump: {_name}",
            jump_model(_f),
            normal_guide,
            HERE,
            one_normal(lambda z, g=_g: normal(z) + normal(2.0, g(z))),
        )
    )


def upstream_jump():
    a = ppl.sample("a", dist.Normal(0, 1))
    b = ppl.sample("b", dist.Normal(np.where(a > 0, 1.0, -1.0), 0.5))
    ppl.sample("x", dist.Normal(b, 1), obs=2.0)


def upstream_guide():
    ppl.sample("a", dist.Normal(loc(), 1))
    ppl.sample("b", dist.Normal(ppl.param("m", 0.2), scale()))


def upstream_bound(at):
    a, w = grid(at["loc"], 1.0)
    b, v = smooth(at["m"], at["scale"])
    right = np.sum(w[a > 0])
    prior_b = right * normal(b, 1.0, 0.5) + (1 - right) * normal(b, -1.0, 0.5)
    entropy = np.log(at["scale"]) + np.log(2 * np.pi * np.e)
    return np.sum(w * normal(a)) + np.sum(v * (prior_b + normal(2.0, b))) + entropy


ZOO.append(
    Exact(
        "a jump in another site's prior",
        upstream_jump,
        upstream_guide,
        {"loc": 0.3, "m": 0.2, "scale": 0.7},
        upstream_bound,
    )
)


def guide_jump_guide():
    a = ppl.sample("a", dist.Normal(loc(), 1))
    ppl.sample("b", dist.Normal(np.where(a > 0.1, ppl.param("m", 0.2), -0.4), scale()))


def guide_jump_bound(at):
    a, w = grid(at["loc"], 1.0)
    total = np.sum(w * normal(a)) + np.log(at["scale"]) + np.log(2 * np.pi * np.e)
    for side, m in ((a > 0.1, at["m"]), (a <= 0.1, -0.4)):
        b, v = smooth(m, at["scale"])
        for prior, part in ((1.0, side & (a > 0)), (-1.0, side & (a <= 0))):
            total += np.sum(w[part]) * np.sum(v * (normal(b, prior, 0.5) + normal(2.0, b)))
    return total


ZOO.append(
    Exact(
        "a jump inside the guide",
        upstream_jump,
        guide_jump_guide,
        {"loc": 0.3, "m": 0.2, "scale": 0.7},
        guide_jump_bound,
    )
)


# -- supports that move ----------------------------------------------------------------------------
def limit():
    z = ppl.sample("z", dist.LogNormal(0.5, 1.0))
    ppl.sample("x", dist.Uniform(0, z), obs=1.2)


def limit_guide():
    onto = [transforms.ExpTransform(), transforms.AffineTransform(1.2, 1.0)]
    ppl.sample("z", dist.TransformedDistribution(dist.Normal(loc(), scale()), onto))


def limit_bound(at):
    u, w = smooth(at["loc"], at["scale"])
    z = 1.2 + np.exp(u)
    return np.sum(w * (normal(np.log(z), 0.5) - np.log(z) - np.log(z) - normal(u, at["loc"], at["scale"]) + u))


ZOO.append(Exact("a support that moves with a draw", limit, limit_guide, HERE, limit_bound))


def inside():
    z = ppl.sample("z", dist.LogNormal(0.5, 1.0))
    u = ppl.sample("u", dist.Uniform(0, z))
    ppl.sample("x", dist.Normal(u, 1), obs=1.2)


def inside_guide():
    z = ppl.sample("z", dist.LogNormal(loc(), scale()))
    ppl.sample("u", dist.Uniform(0, z))


def inside_bound(at):
    m, s = at["loc"], at["scale"]
    t, w = smooth(m, s)
    x, v = np.polynomial.legendre.leggauss(60)
    u = np.exp(t)[:, None] * (x + 1) / 2
    data = np.sum(w[:, None] * v / 2 * normal(1.2, u))
    return data + np.sum(w * (normal(t, 0.5, 1.0) - normal(t, m, s)))


ZOO.append(Exact("a latent value in a support that moves", inside, inside_guide, HERE, inside_bound))


# -- mixed -----------------------------------------------------------------------------------------
def above():
    b = ppl.sample("b", dist.Bernoulli(0.4))
    z = ppl.sample("z", dist.Normal(2 * b - 1, 1))
    ppl.sample("x", dist.Normal(z, 1), obs=1.5)


def above_guide():
    b = ppl.sample("b", dist.Bernoulli(prob()))
    ppl.sample("z", dist.Normal(loc() + 0.8 * b, scale()))


def above_bound(at):
    total = 0.0
    for b, q in ((0, 1 - at["p"]), (1, at["p"])):
        z, w = smooth(at["loc"] + 0.8 * b, at["scale"])
        total += q * (bernoulli(b, 0.4) - np.log(q) + np.sum(w * (normal(z, 2 * b - 1) + normal(1.5, z))))
    return total + np.log(at["scale"]) + 0.5 * np.log(2 * np.pi * np.e)


ZOO.append(Exact("discrete above continuous", above, above_guide, {"p": 0.6, **HERE}, above_bound))


def below():
    z = ppl.sample("z", dist.Normal(0, 1))
    b = ppl.sample("b", dist.Bernoulli(logits=2 * z))
    ppl.sample("x", dist.Normal(3 * b, 1), obs=2.0)


def below_guide():
    z = ppl.sample("z", dist.Normal(loc(), scale()))
    ppl.sample("b", dist.Bernoulli(logits=ppl.param("m", 0.2) + 1.5 * z))


def below_bound(at):
    z, w = smooth(at["loc"], at["scale"])
    p, q, total = special.expit(2 * z), special.expit(at["m"] + 1.5 * z), normal(z)
    for b, prior, weight in ((0, 1 - p, 1 - q), (1, p, q)):
        total = total + weight * (np.log(prior) - np.log(weight) + normal(2.0, 3 * b))
    return np.sum(w * total) + np.log(at["scale"]) + 0.5 * np.log(2 * np.pi * np.e)


ZOO.append(Exact("discrete below continuous", below, below_guide, {"m": 0.2, **HERE}, below_bound))


def clusters():
    mu = ppl.sample("mu", dist.Normal(0, 2).expand([2]).to_event(1))
    with ppl.plate("rows", 3):
        z = ppl.sample("z", dist.Categorical(probs=np.array([0.4, 0.6])))
        ppl.sample("x", dist.Normal(mu[z], 1), obs=np.array([-1.0, 0.5, 2.0]))


def clusters_guide():
    m = ppl.param("m", np.array([-0.5, 1.0]))
    ppl.sample("mu", dist.Normal(m, scale()).to_event(1))
    with ppl.plate("rows", 3):
        ppl.sample("z", dist.Categorical(probs=ppl.param("p", np.full((3, 2), 0.5), constraints.simplex)))


def clusters_bound(at):
    m, s, p = at["m"], at["scale"], at["p"]
    total = np.sum(normal(m, 0, 2) - 0.5 * s**2 / 4) + 2 * (np.log(s) + 0.5 * np.log(2 * np.pi * np.e))
    for row, x in zip(p, (-1.0, 0.5, 2.0), strict=True):
        total += np.sum(row * (np.log([0.4, 0.6]) - np.log(row) + normal(x, m) - 0.5 * s**2))
    return total


CLUSTERS_AT = {"m": np.array([-0.5, 1.0]), "scale": 0.7, "p": np.array([[0.7, 0.3], [0.4, 0.6], [0.2, 0.8]])}
ZOO.append(Exact("clusters: mu[z]", clusters, clusters_guide, CLUSTERS_AT, clusters_bound))


# -- plates ----------------------------------------------------------------------------------------
DATA = np.array([0.5, -1.0, 2.0])


def schools():
    mu = ppl.sample("mu", dist.Normal(0, 1))
    with ppl.plate("rows", 3):
        theta = ppl.sample("theta", dist.Normal(mu, 1.0))
        ppl.sample("x", dist.Normal(theta, 0.5), obs=DATA)


def schools_guide():
    ppl.sample("mu", dist.Normal(loc(), scale()))
    with ppl.plate("rows", 3):
        ppl.sample("theta", dist.Normal(ppl.param("m", DATA / 2), 0.6))


def schools_bound(at):
    m, s, t = at["loc"], at["scale"], at["m"]
    prior = normal(m) - 0.5 * s**2 + np.sum(normal(t, m) - 0.5 * (s**2 + 0.36))
    data = np.sum(normal(DATA, t, 0.5) - 0.5 * 0.36 / 0.25)
    return prior + data + np.log(s) + 3 * np.log(0.6) + 4 * 0.5 * np.log(2 * np.pi * np.e)


ZOO.append(
    Exact(
        "a hierarchy in a plate",
        schools,
        schools_guide,
        {"loc": 0.3, "scale": 0.7, "m": np.array([0.1, -0.4, 1.2])},
        schools_bound,
    )
)

MATRIX = np.array([[1.0, 0.5, -1.0], [0.0, 2.0, 0.3], [-0.4, 0.1, 1.0]])
MIXERS = {
    "apart": lambda b: 2.0 * b,
    "sum": lambda b: np.sum(b) + 0.0 * b,
    "mean taken off": lambda b: b - np.mean(b),
    "cumsum": lambda b: np.cumsum(b),
    "flip": lambda b: np.flip(b) * np.array([1.0, 2.0, 3.0]),
    "negative step": lambda b: b[::-1] * 1.5,
    "permutation": lambda b: b[np.array([2, 0, 1])],
    "gather, with repeats": lambda b: b[np.array([0, 0, 2])] * 1.0,
    "roll": lambda b: np.roll(b, 1) - b,
    "matmul": lambda b: MATRIX @ b,
    "matmul from the right": lambda b: b @ MATRIX,
    "inner product": lambda b: (b @ b) * np.ones(3),
    "outer product": lambda b: np.sum(np.outer(b, b) * MATRIX, 0),
    "outer product, other axis": lambda b: np.sum(np.outer(b, b) * MATRIX, 1),
    "einsum": lambda b: np.einsum("i,ij->j", b, MATRIX),
    "max": lambda b: np.max(b) * np.array([1.0, 2.0, 3.0]),
    "sort": lambda b: np.sort(b) * np.array([1.0, 2.0, 3.0]),
    "concatenate": lambda b: np.concatenate([b[1:], b[:1]]) * 1.0,
    "stack of elements": lambda b: np.stack([b[2], b[1], b[0]]) * 1.5,
    "diff": lambda b: np.concatenate([np.zeros(1), np.diff(b)]),
    "reshape": lambda b: np.reshape(np.reshape(b, (3, 1)).T, 3) + 0.0,
    "row and column": lambda b: np.sum(b[:, None] * b[None, :] * MATRIX, axis=-1),
    "row and column, transposed": lambda b: np.sum((b[:, None] * MATRIX).T, axis=-1),
    "diagonal": lambda b: np.diagonal(np.broadcast_to(b, (3, 3))) + np.diag(b)[0],
    "neighbour product": lambda b: b * np.take(b, [1, 2, 0]),
    "first element for all": lambda b: b[0] * np.ones(3),
    "where over the whole": lambda b: np.where(np.sum(b) > 1, 1.0, b),
    "logaddexp.reduce": lambda b: b + np.logaddexp.reduce(b * 1.0),
    "norm": lambda b: b / np.sqrt(1.0 + np.sum(b * b)),
}


def plated(f):
    def model():
        with ppl.plate("rows", 3):
            b = ppl.sample("b", dist.Bernoulli(np.array([0.3, 0.5, 0.6])))
            ppl.sample("x", dist.Normal(f(b), 0.7), obs=DATA)

    return model


def plated_guide():
    with ppl.plate("rows", 3):
        ppl.sample("b", dist.Bernoulli(ppl.param("p", np.full(3, 0.5), constraints.unit_interval)))


def plated_bound(f):
    def bound(at):
        total = 0.0
        for b in states(3):
            log_q = np.sum(bernoulli(b, at["p"]))
            log_p = np.sum(bernoulli(b, np.array([0.3, 0.5, 0.6]))) + np.sum(normal(DATA, f(b), 0.7))
            total += np.exp(log_q) * (log_p - log_q)
        return total

    return bound


PLATE_AT = {"p": np.array([0.4, 0.7, 0.2])}
for _name, _f in MIXERS.items():
    ZOO.append(Exact(f"plate: {_name}", plated(_f), plated_guide, PLATE_AT, plated_bound(_f)))

ROWS_OF_COINS = np.array([1.4, 0.3, -0.5, 2.2])
MANY_DATA = np.array([0.5, -1.0, 2.0, 0.3, 1.4, -0.2])


def minibatch():
    t = ppl.param("t", 0.4)
    with ppl.plate("rows", 6, subsample_size=2) as i:
        b = ppl.sample("b", dist.Bernoulli(0.4))
        ppl.sample("x", dist.Normal(t + 2 * b, 0.7), obs=(i[:, None] == np.arange(6)) @ MANY_DATA)


def minibatch_guide():
    with ppl.plate("rows", 6, subsample_size=2):
        ppl.sample("b", dist.Bernoulli(ppl.param("p", np.full(6, 0.5), constraints.unit_interval)))


def minibatch_bound(at):
    total = 0.0
    for b, q in ((0, 1 - at["p"]), (1, at["p"])):
        total += np.sum(q * (bernoulli(b, 0.4) - np.log(q) + normal(MANY_DATA, at["t"] + 2 * b, 0.7)))
    return total


ZOO.append(
    Exact(
        "a minibatch of a plate",
        minibatch,
        minibatch_guide,
        {"t": 0.4, "p": np.array([0.4, 0.7, 0.2, 0.5, 0.6, 0.3])},
        minibatch_bound,
    )
)


def one_hot():
    with ppl.plate("rows", 3):
        c = ppl.sample("c", dist.OneHotCategorical(probs=np.array([0.2, 0.3, 0.5])))
        ppl.sample("x", dist.Normal(c @ np.array([-1.0, 0.5, 2.0]), 0.8), obs=DATA)


def one_hot_guide():
    with ppl.plate("rows", 3):
        ppl.sample("c", dist.OneHotCategorical(logits=ppl.param("a", np.zeros((3, 3)), event_dim=1)))


def one_hot_bound(at):
    log_q = at["a"] - special.logsumexp(at["a"], axis=-1, keepdims=True)
    log_p = np.log([0.2, 0.3, 0.5]) + normal(DATA[:, None], np.array([-1.0, 0.5, 2.0]), 0.8)
    return np.sum(np.exp(log_q) * (log_p - log_q))


ONE_HOT_AT = {"a": np.array([[0.3, -0.4, 0.2], [1.0, 0.1, -0.5], [0.0, 0.2, 0.7]])}
ZOO.append(Exact("one-hot categories in a plate", one_hot, one_hot_guide, ONE_HOT_AT, one_hot_bound))

SQUARE = np.array([[0.5, -1.0], [2.0, 0.3]])
SQUARE_MIXERS = {
    "apart": lambda b: 2.0 * b,
    "transpose": lambda b: b.T * 1.5,
    "swapaxes": lambda b: np.swapaxes(b, 0, 1) * SQUARE,
    "sum of rows": lambda b: np.sum(b, axis=0) * SQUARE,
    "sum of columns, kept": lambda b: np.sum(b, axis=1, keepdims=True) * SQUARE,
    "sum of columns, not kept": lambda b: np.sum(b, axis=1) * SQUARE,
    "cumsum down": lambda b: np.cumsum(b, axis=0) * 1.0,
    "cumsum across": lambda b: np.cumsum(b, axis=1) * 1.0,
    "matmul left": lambda b: SQUARE @ b,
    "matmul right": lambda b: b @ SQUARE,
    "square": lambda b: b @ b,
    "with its transpose": lambda b: b + b.T * SQUARE,
    "a row for all": lambda b: b[0] * SQUARE,
    "a column for all": lambda b: b[:, :1] * SQUARE,
    "a column as a row": lambda b: b[:, 0] * SQUARE,
    "diagonal for rows": lambda b: np.diagonal(b) * SQUARE,
    "flipped rows": lambda b: b[::-1] * SQUARE,
    "flattened": lambda b: np.reshape(b.T, -1).reshape(2, 2) * 1.0,
    "tensordot": lambda b: np.tensordot(b, SQUARE, (0, 0)),
    "outer by broadcasting": lambda b: np.sum(b[:, :, None] * SQUARE, axis=1),
    "einsum": lambda b: np.einsum("ij,kj->ik", b, SQUARE),
    "moveaxis and product": lambda b: np.moveaxis(b, 0, 1) * b,
}


def nested(f):
    def model():
        with ppl.plate("columns", 2, dim=-1), ppl.plate("rows", 2, dim=-2):
            b = ppl.sample("b", dist.Bernoulli(0.4))
            ppl.sample("x", dist.Normal(f(b), 0.7), obs=SQUARE)

    return model


def nested_guide():
    with ppl.plate("columns", 2, dim=-1), ppl.plate("rows", 2, dim=-2):
        ppl.sample("b", dist.Bernoulli(ppl.param("p", np.full((2, 2), 0.5), constraints.unit_interval)))


def nested_bound(f):
    def bound(at):
        total = 0.0
        for b in states(4).reshape(-1, 2, 2):
            log_q = np.sum(bernoulli(b, at["p"]))
            total += np.exp(log_q) * (np.sum(bernoulli(b, 0.4)) + np.sum(normal(SQUARE, f(b), 0.7)) - log_q)
        return total

    return bound


NESTED_AT = {"p": np.array([[0.4, 0.7], [0.2, 0.6]])}
for _name, _f in SQUARE_MIXERS.items():
    ZOO.append(Exact(f"plates: {_name}", nested(_f), nested_guide, NESTED_AT, nested_bound(_f)))


def outer_latent():
    with ppl.plate("columns", 2):
        a = ppl.sample("a", dist.Bernoulli(0.4))
        with ppl.plate("rows", 2):
            b = ppl.sample("b", dist.Bernoulli(0.2 + 0.5 * a))
            ppl.sample("x", dist.Normal(b + 2 * a, 0.7), obs=SQUARE)


def outer_latent_guide():
    p = ppl.param("p", np.full((3, 2), 0.5), constraints.unit_interval)
    with ppl.plate("columns", 2):
        ppl.sample("a", dist.Bernoulli(p[0]))
        with ppl.plate("rows", 2):
            ppl.sample("b", dist.Bernoulli(p[1:]))


def outer_latent_bound(at):
    total = 0.0
    for s in states(6).reshape(-1, 3, 2):
        a, b = s[0], s[1:]
        log_q = np.sum(bernoulli(s, at["p"]))
        log_p = np.sum(bernoulli(a, 0.4)) + np.sum(bernoulli(b, 0.2 + 0.5 * a)) + np.sum(normal(SQUARE, b + 2 * a, 0.7))
        total += np.exp(log_q) * (log_p - log_q)
    return total


ZOO.append(
    Exact(
        "a plate in a plate",
        outer_latent,
        outer_latent_guide,
        {"p": np.array([[0.3, 0.6], [0.5, 0.2], [0.7, 0.4]])},
        outer_latent_bound,
    )
)


def events():
    with ppl.plate("rows", 3):
        b = ppl.sample("b", dist.Bernoulli(np.array([0.3, 0.6])).expand([3, 2]).to_event(1))
        ppl.sample("x", dist.Normal(b @ np.array([1.0, 2.0]), 0.7), obs=DATA)


def events_guide():
    p = ppl.param("p", np.full((3, 2), 0.5), constraints.unit_interval, event_dim=1)
    with ppl.plate("rows", 3):
        ppl.sample("b", dist.Bernoulli(p).to_event(1))


def events_bound(at):
    total = 0.0
    for b in states(6).reshape(-1, 3, 2):
        log_q = np.sum(bernoulli(b, at["p"]))
        log_p = np.sum(bernoulli(b, np.array([0.3, 0.6]))) + np.sum(normal(DATA, b @ np.array([1.0, 2.0]), 0.7))
        total += np.exp(log_q) * (log_p - log_q)
    return total


ZOO.append(
    Exact(
        "vectors in a plate", events, events_guide, {"p": np.array([[0.3, 0.6], [0.5, 0.2], [0.7, 0.4]])}, events_bound
    )
)


def weighted():
    z = ppl.sample("z", dist.Bernoulli(0.3))
    with ppl.handlers.scale(scale=2.5):
        ppl.sample("x", dist.Normal(2 * z, 1), obs=1.4)
    with ppl.handlers.mask(mask=np.array([True, False])), ppl.plate("rows", 2):
        ppl.sample("y", dist.Normal(z, 1), obs=np.array([0.3, 5.0]))
    ppl.factor("extra", -0.7 * z)


def weighted_bound(at):
    z = np.array([0, 1])
    q = np.array([1 - at["p"], at["p"]])
    return np.sum(q * (bernoulli(z, 0.3) + 2.5 * normal(1.4, 2 * z) + normal(0.3, z) - 0.7 * z - np.log(q)))


ZOO.append(Exact("scale, mask and factor", weighted, coin_guide, {"p": 0.5}, weighted_bound))


def learned():
    sd = ppl.param("sd", 0.8, constraints.positive)
    z = ppl.sample("z", dist.Normal(0, sd))
    ppl.sample("x", dist.Normal(np.where(z > 0, sd, -1.0), 1), obs=2.0)


def learned_bound(at):
    z, w = grid(at["loc"], at["scale"])
    log_p = normal(z, 0, at["sd"]) + normal(2.0, np.where(z > 0, at["sd"], -1.0))
    return np.sum(w * log_p) + np.log(at["scale"]) + 0.5 * np.log(2 * np.pi * np.e)


ZOO.append(Exact("a parameter of the model", learned, normal_guide, {"sd": 0.8, **HERE}, learned_bound))


# -- the guide's order and plates are not the model's ----------------------------------------------
def chain():
    a = ppl.sample("a", dist.Normal(0, 1))
    b = ppl.sample("b", dist.Normal(a, 1))
    ppl.sample("x", dist.Normal(b, 1), obs=3.0)


def backwards_guide():
    b = ppl.sample("b", dist.Normal(loc(), scale()))
    ppl.sample("a", dist.Normal(ppl.param("m", 0.4) * b, 0.6))


def backwards_bound(at):
    b, w = smooth(at["loc"], at["scale"])
    e, v = smooth(0.0, 0.6)
    a = at["m"] * b[:, None] + e
    log_p = normal(a) + normal(b[:, None], a) + normal(3.0, b[:, None])
    log_q = normal(b, at["loc"], at["scale"])[:, None] + normal(e, 0.0, 0.6)
    return np.sum(w[:, None] * v * (log_p - log_q))


ZOO.append(Exact("a guide in the other order", chain, backwards_guide, {"m": 0.4, **HERE}, backwards_bound))


def backwards_coins_guide():
    p = ppl.param("p", np.array([0.4, 0.3, 0.6]), constraints.unit_interval)
    b = ppl.sample("b", dist.Bernoulli(p[0]))
    ppl.sample("a", dist.Bernoulli(np.where(b == 1, p[2], p[1])))


def backwards_coins_bound(at):
    p, total = at["p"], 0.0
    for a, b in states(2):
        log_q = bernoulli(b, p[0]) + bernoulli(a, p[2] if b else p[1])
        log_p = bernoulli(a, 0.3) + bernoulli(b, 0.8 if a else 0.1) + normal(1.4, a + 2 * b)
        total += np.exp(log_q) * (log_p - log_q)
    return total


ZOO.append(
    Exact(
        "coins in the other order",
        two_coins,
        backwards_coins_guide,
        {"p": np.array([0.4, 0.3, 0.6])},
        backwards_coins_bound,
    )
)


def event_guide():
    p = ppl.param("p", np.full(3, 0.5), constraints.unit_interval)
    ppl.sample("b", dist.Bernoulli(p).to_event(1))


for _name in ("apart", "cumsum", "matmul"):
    ZOO.append(
        Exact(
            f"a guide without the plate: {_name}",
            plated(MIXERS[_name]),
            event_guide,
            PLATE_AT,
            plated_bound(MIXERS[_name]),
        )
    )


def unplated():
    b = ppl.sample("b", dist.Bernoulli(np.array([0.3, 0.5, 0.6])).to_event(1))
    ppl.sample("x", dist.Normal(np.cumsum(b), 0.7).to_event(1), obs=DATA)


ZOO.append(Exact("a guide with a plate of its own", unplated, plated_guide, PLATE_AT, plated_bound(np.cumsum)))


def neighbours():
    """A chain along the plate, and a weight that looks at neighbours, outside the plate."""
    with ppl.plate("rows", 3):
        b = ppl.sample("b", dist.Bernoulli(np.array([0.3, 0.5, 0.6])))
        ppl.sample("x", dist.Normal(2.0 * b, 0.7), obs=DATA)
    ppl.factor("smooth", -0.8 * np.sum((b[1:] - b[:-1]) ** 2))


def neighbours_bound(at):
    total = 0.0
    for b in states(3):
        log_q = np.sum(bernoulli(b, at["p"]))
        log_p = np.sum(bernoulli(b, np.array([0.3, 0.5, 0.6]))) + np.sum(normal(DATA, 2.0 * b, 0.7))
        total += np.exp(log_q) * (log_p - 0.8 * np.sum((b[1:] - b[:-1]) ** 2) - log_q)
    return total


ZOO.append(Exact("a factor over neighbours", neighbours, plated_guide, PLATE_AT, neighbours_bound))


def sometimes():
    """One site that is drawn only on one side of a branch."""
    z = ppl.sample("z", dist.Normal(0, 1))
    if z > 0:
        w = ppl.sample("w", dist.Normal(z, 1))
        ppl.sample("x", dist.Normal(w, 1), obs=2.0)
    else:
        ppl.sample("x", dist.Normal(-1, 1), obs=2.0)


def sometimes_bound(at):
    z, w = grid(at["z.loc"], at["z.scale"])
    up, m, s = z > 0, at["w.loc"], at["w.scale"]
    site = normal(m, z) - 0.5 * s**2 + np.log(s) + 0.5 * np.log(2 * np.pi * np.e)
    side = np.where(up, site + normal(2.0, m) - 0.5 * s**2, normal(2.0, -1.0))
    return np.sum(w * (normal(z) + side)) + np.log(at["z.scale"]) + 0.5 * np.log(2 * np.pi * np.e)


ZOO.append(
    Exact(
        "a site on one side of a branch",
        sometimes,
        "meanfield",
        {"z.loc": 0.3, "z.scale": 0.7, "w.loc": 0.5, "w.scale": 0.8},
        sometimes_bound,
    )
)


def loop_until():
    """A loop whose length a draw decides."""
    z = ppl.sample("z", dist.Normal(0, 1))
    total, k = 0.0, 0
    while total < z and k < 5:
        total, k = total + 0.5, k + 1
    ppl.sample("x", dist.Normal(total, 1), obs=2.0)


def steps_taken(z):
    return np.clip(np.ceil(z / 0.5), 0, 5) * 0.5


ZOO.append(
    Exact(
        "a loop that a draw ends",
        loop_until,
        normal_guide,
        HERE,
        one_normal(lambda z: normal(z) + normal(2.0, steps_taken(z))),
    )
)


THREE = np.array([2.0, -1.0, 0.5])


def one_for_all():
    """One element of a plate decides a branch, and all elements are behind it."""
    w = ppl.sample("w", dist.Normal(0, 1))
    with ppl.plate("rows", 3):
        z = ppl.sample("z", dist.Normal(0, 1))
        ppl.sample("x", dist.Normal(w + 1.0 if z[0] > 0 else w - 1.0, 1), obs=THREE)


def one_for_all_bound(at):
    m, s, c = at["z.loc"], at["z.scale"], at["w.scale"]
    up = special.ndtr(m[0] / s[0])
    found = -np.sum(0.5 * (m**2 + s**2 - 1) - np.log(s)) - 0.5 * (at["w.loc"] ** 2 + c**2 - 1) + np.log(c)
    for p, shift in ((up, 1.0), (1.0 - up, -1.0)):
        found += p * np.sum(normal(THREE, at["w.loc"] + shift) - 0.5 * c**2)
    return found


ZOO.append(
    Exact(
        "an element of a plate decides a branch",
        one_for_all,
        "meanfield",
        {"z.loc": np.array([0.3, 0.1, -0.2]), "z.scale": np.array([0.7, 1.0, 0.5]), "w.loc": 0.2, "w.scale": 0.5},
        one_for_all_bound,
    )
)


def branch_and_minibatch():
    z = ppl.sample("z", dist.Normal(0, 1))
    with ppl.plate("rows", 6, subsample_size=2) as i:
        ppl.sample("x", dist.Normal(1.0 if z > 0 else -1.0, 1), obs=(i[:, None] == np.arange(6)) @ (3.0 * MANY_DATA))


def branch_and_minibatch_bound(at):
    up, m, s = special.ndtr(at["z.loc"] / at["z.scale"]), at["z.loc"], at["z.scale"]
    data = [np.sum(normal(3.0 * MANY_DATA, shift)) for shift in (1.0, -1.0)]
    return -0.5 * (m**2 + s**2 - 1) + np.log(s) + up * data[0] + (1.0 - up) * data[1]


ZOO.append(
    Exact(
        "a branch over a minibatch",
        branch_and_minibatch,
        "meanfield",
        {"z.loc": 0.3, "z.scale": 0.7},
        branch_and_minibatch_bound,
    )
)
