"""What a block does: natural parameters of its statistics in, mean parameters out.

A latent's statistics are named "x" and "xx" (a normal: x and its products along the event axes), "log" and "power"
(a gamma of x^p), "log" and "log1m" (a beta), "log" (a Dirichlet), "logdet" and "power" (a
Wishart of X^p), "is" (categories). Each family here maps
{statistic: natural parameter} to {statistic: mean parameter}, on plain or recorded arrays whose axes are those of
the latent without axes of length one; formulas are those of the records in `ppl.distributions.exponential`.

>>> import numpy as np
>>> means, entropy = Normals(()).solve({"x": np.array(2.0), "xx": np.array(-0.5)})
>>> float(means["x"]), float(means["xx"])
(2.0, 5.0)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy import special

from ..distributions import Beta, Dirichlet, Gamma, exponential_family

Arrays = Mapping[str, Any]
_LOG_2PI = math.log(2.0 * math.pi)
_GAMMA, _BETA, _DIRICHLET = (exponential_family(x) for x in (Gamma, Beta, Dirichlet))


class Moments(NamedTuple):
    """A normal's mean and covariance; the latter without batch axes where all elements share it."""

    mean: Any
    covariance: Any


@dataclass(frozen=True)
class Normals:
    """Normals of each element (`event` empty), or of vectors along the axes `event` of the latent."""

    event: tuple[int, ...]
    statistics = ("x", "xx")

    def solve(self, eta: Arrays) -> tuple[dict[str, Any], Any]:
        """Mean parameters, and the entropy of every element."""
        found, entropy = self.moments(eta)
        return {"x": found.mean, "xx": found.covariance + self.outer(found.mean)}, entropy

    def moments(self, eta: Arrays) -> tuple[Moments, Any]:
        """Mean and covariance, and the entropy of every element."""
        first, second = eta["x"], eta["xx"]
        if not self.event:
            variance = -0.5 / second
            mean = first * variance
            return Moments(mean, variance), 0.5 * (np.log(variance) + 1.0 + _LOG_2PI)
        precision, h = self._matrix(-2.0 * second), self._vector(first)
        precision = 0.5 * (precision + np.swapaxes(precision, -1, -2))
        tril = np.linalg.cholesky(precision)
        covariance = np.linalg.inv(precision)
        n = np.shape(h)[-1]
        if math.prod(np.shape(covariance)) == n * n:
            mean = np.matmul(h, np.reshape(covariance, (n, n)))
        else:
            mean = np.sum(covariance * h[..., None, :], axis=-1)
        log_det = np.sum(np.log(np.diagonal(tril, axis1=-2, axis2=-1)), axis=-1)
        entropy = 0.5 * n * (1.0 + _LOG_2PI) - log_det
        return Moments(self._unvector(mean, first), self._unmatrix(covariance, second)), entropy

    def outer(self, x: Any) -> Any:
        """x times x along the event axes."""
        if not self.event:
            return x * x
        shape, extra = np.shape(x), len(self.event)
        moved = np.transpose(x, self._order(len(shape)))
        other = [1 if i in self.event else n for i, n in enumerate(shape)] + [shape[i] for i in self.event]
        return np.reshape(x, (*shape, *(1,) * extra)) * np.reshape(moved, other)

    def _order(self, ndim: int) -> list[int]:
        return [i for i in range(ndim) if i not in self.event] + list(self.event)

    def _vector(self, x: Any) -> Any:
        moved = np.transpose(x, self._order(np.ndim(x)))
        lead = np.shape(moved)[: np.ndim(x) - len(self.event)]
        return np.reshape(moved, (*lead, math.prod(np.shape(moved)[len(lead) :])))

    def _unvector(self, x: Any, like: Any) -> Any:
        order = self._order(np.ndim(like))
        sizes = [np.shape(like)[i] for i in order]
        return np.transpose(
            np.reshape(x, (*np.shape(x)[:-1], *sizes[len(order) - len(self.event) :])), np.argsort(order).tolist()
        )

    def _matrix(self, x: Any) -> Any:
        """(batch and event axes in the latent's order, event axes again) -> (batch, n, n)."""
        extra = len(self.event)
        order = self._order(np.ndim(x) - extra)
        moved = np.transpose(x, (*order, *range(np.ndim(x) - extra, np.ndim(x))))
        lead = np.shape(moved)[: np.ndim(x) - 2 * extra]
        n = math.prod(np.shape(moved)[np.ndim(x) - extra :])
        return np.reshape(moved, (*lead, n, n))

    def _unmatrix(self, x: Any, like: Any) -> Any:
        extra = len(self.event)
        order = self._order(np.ndim(like) - extra)
        sizes = [np.shape(like)[i] for i in order]
        events = sizes[len(order) - extra :]
        back = np.argsort(order).tolist()
        return np.transpose(
            np.reshape(x, (*np.shape(x)[:-2], *events, *events)), (*back, *range(len(order), len(order) + extra))
        )

    def mode(self, eta: Arrays) -> Any:
        """The point of largest density."""
        return self.moments(eta)[0].mean

    def at(self, x: Any) -> dict[str, Any]:
        """The statistics of a point."""
        return {"x": x, "xx": self.outer(x)}


@dataclass(frozen=True)
class PowerGammas:
    """x^p is a gamma: for p = 1 a gamma, for p = -1 an inverse gamma, for p = -2 a scale with a gamma precision."""

    power: float
    statistics = ("log", "power")

    def natural(self, eta: Arrays) -> tuple[Any, Any]:
        """Natural parameters of the gamma y = x^p: E[log x] = E[log y] / p, and dx = x^(1 - p) dy / p."""
        return (eta["log"] + 1.0) / self.power - 1.0, eta["power"]

    def solve(self, eta: Arrays) -> tuple[dict[str, Any], Any]:
        own = self.natural(eta)
        log_y, y = _GAMMA.mean_parameters(*own)
        means = {"log": log_y / self.power, "power": y}
        return means, _GAMMA.log_normalizer(*own) - math.log(abs(self.power)) - eta["log"] * means["log"] - eta[
            "power"
        ] * y

    def mode(self, eta: Arrays) -> Any:
        return (-eta["log"] / (self.power * eta["power"])) ** (1.0 / self.power)

    def at(self, x: Any) -> dict[str, Any]:
        return {"log": np.log(x), "power": x**self.power}


@dataclass(frozen=True)
class Betas:
    """Beta distributions of probabilities."""

    statistics = ("log", "log1m")

    def solve(self, eta: Arrays) -> tuple[dict[str, Any], Any]:
        own = eta["log"], eta["log1m"]
        log, log1m = _BETA.mean_parameters(*own)
        return {"log": log, "log1m": log1m}, _BETA.log_normalizer(*own) - own[0] * log - own[1] * log1m

    def mode(self, eta: Arrays) -> Any:
        return eta["log"] / (eta["log"] + eta["log1m"])

    def at(self, x: Any) -> dict[str, Any]:
        return {"log": np.log(x), "log1m": np.log1p(-x)}


@dataclass(frozen=True)
class Dirichlets:
    """Dirichlet distributions of the last axis."""

    statistics = ("log",)

    def solve(self, eta: Arrays) -> tuple[dict[str, Any], Any]:
        (log,) = _DIRICHLET.mean_parameters(eta["log"])
        return {"log": log}, _DIRICHLET.log_normalizer(eta["log"]) - np.sum(eta["log"] * log, axis=-1)

    def mode(self, eta: Arrays) -> Any:
        return eta["log"] / np.sum(eta["log"], axis=-1, keepdims=True)

    def at(self, x: Any) -> dict[str, Any]:
        return {"log": np.log(np.maximum(x, np.finfo(float).tiny))}  # a share of 0 times its log is 0


@dataclass(frozen=True)
class Wisharts:
    """X^p is a Wishart matrix: for p = 1 a Wishart, for p = -1 an inverse Wishart. Statistics log |X| and X^p."""

    power: float
    statistics = ("logdet", "power")

    def natural(self, eta: Arrays) -> tuple[Any, Any]:
        """Degrees of freedom, and minus twice the second parameter: the inverse scale of Y = X^p.

        log |X| = log |Y| / p, and dX = |Y|^-(n + 1) dY for p = -1.
        """
        n = np.shape(eta["power"])[-1]
        own = eta["logdet"] if self.power == 1 else -eta["logdet"] - (n + 1)
        second = -2.0 * eta["power"]
        return 2.0 * own + (n + 1), 0.5 * (second + np.swapaxes(second, -1, -2))

    def solve(self, eta: Arrays) -> tuple[dict[str, Any], Any]:
        freedom, inverse_scale = self.natural(eta)
        n = np.shape(inverse_scale)[-1]
        tril = np.linalg.cholesky(inverse_scale)
        log_det = -2.0 * np.sum(np.log(np.diagonal(tril, axis1=-2, axis2=-1)), axis=-1)  # of the scale
        half = 0.5 * freedom
        places = 0.5 * np.arange(float(n))
        log_y = np.sum(special.digamma(half[..., None] - places), axis=-1) + n * math.log(2.0) + log_det
        y = freedom[..., None, None] * np.linalg.inv(inverse_scale)
        log_gamma = np.sum(special.gammaln(half[..., None] - places), axis=-1) + 0.25 * n * (n - 1) * math.log(math.pi)
        log_z = half * (log_det + n * math.log(2.0)) + log_gamma
        means = {"logdet": log_y / self.power, "power": y}
        inner = eta["logdet"] * means["logdet"] + np.sum(eta["power"] * y, axis=(-2, -1))
        return means, log_z - inner

    def mode(self, eta: Arrays) -> Any:
        second = 0.5 * (eta["power"] + np.swapaxes(eta["power"], -1, -2))
        first = eta["logdet"][..., None, None]
        return -first * np.linalg.inv(second) if self.power == 1 else second / first

    def at(self, x: Any) -> dict[str, Any]:
        return {"logdet": np.linalg.slogdet(x)[1], "power": x if self.power == 1 else np.linalg.inv(x)}


@dataclass(frozen=True)
class NormalGammas:
    """x and a precision y together: y a gamma, x given y a normal of precision y P along the axes `event` of x."""

    event: tuple[int, ...]
    statistics = ("yxx", "yx", "y", "log")

    def conditional(self, eta: Arrays) -> tuple[Any, Any, Any, Any]:
        """Mean of x, its covariance at y = 1, the log determinant of that, and how many elements a vector has."""
        found, entropy = Normals(self.event).moments({"x": eta["yx"], "xx": eta["yxx"]})
        n = math.prod(np.shape(found.mean)[i] for i in self.event)
        return found.mean, found.covariance, 2.0 * entropy - n * (1.0 + _LOG_2PI), n

    def marginal(self, eta: Arrays) -> tuple[Any, Any]:
        """Natural parameters of y."""
        mean, _, _, n = self.conditional(eta)
        return eta["log"] - 0.5 * n, eta["y"] + 0.5 * np.sum(eta["yx"] * mean, axis=self.event)

    def solve(self, eta: Arrays) -> tuple[dict[str, Any], Any]:
        mean, covariance, log_det, n = self.conditional(eta)
        own = self.marginal(eta)
        log_y, y = _GAMMA.mean_parameters(*own)
        spread = np.reshape(y, [1 if i in self.event else k for i, k in enumerate(np.shape(mean))])
        yx = spread * mean
        second = Normals(self.event).outer(mean)
        wide = np.reshape(spread, (*np.shape(spread), *(1,) * len(self.event)))
        entropy = _GAMMA.log_normalizer(*own) - own[0] * log_y - own[1] * y
        entropy = entropy + 0.5 * (n * (1.0 + _LOG_2PI - log_y) + log_det)
        return {"yxx": covariance + wide * second, "yx": yx, "y": y, "log": log_y}, entropy

    def noisy(self, eta: Arrays, z: Any) -> dict[str, Any]:
        """With another mean of x, drawn by standard normal z."""
        log_y, y = self.marginal(eta)
        at = np.reshape(-y / (log_y + 1.0), [1 if i in self.event else k for i, k in enumerate(np.shape(z))])
        _, covariance, _, _ = self.conditional(eta)
        sd = np.sqrt(diagonal(Normals(self.event), covariance) * at)
        precision = -2.0 * diagonal(Normals(self.event), eta["yxx"])
        return {
            **eta,
            "yx": eta["yx"] + precision * sd * z,
            "y": eta["y"] - 0.5 * np.sum(precision * (sd * z) ** 2, axis=self.event),
        }

    def at(self, x: Any, y: Any) -> dict[str, Any]:
        """The statistics of a point."""
        spread = np.reshape(y, [1 if i in self.event else k for i, k in enumerate(np.shape(x))])
        wide = np.reshape(spread, (*np.shape(spread), *(1,) * len(self.event)))
        return {"yxx": wide * Normals(self.event).outer(x), "yx": spread * x, "y": y, "log": np.log(y)}


@dataclass(frozen=True)
class NormalWisharts:
    """A vector x and a precision matrix Y together: Y a Wishart, x given Y a normal of precision k Y."""

    statistics = ("yxx", "yx", "power", "logdet")

    def conditional(self, eta: Arrays) -> tuple[Any, Any]:
        """Mean of x, and k."""
        k = -2.0 * eta["yxx"]
        return eta["yx"] / k[..., None], k

    def marginal(self, eta: Arrays) -> dict[str, Any]:
        """Natural parameters of Y."""
        mean, k = self.conditional(eta)
        outer = mean[..., :, None] * mean[..., None, :]
        return {"power": eta["power"] + 0.5 * k[..., None, None] * outer, "logdet": eta["logdet"] - 0.5}

    def solve(self, eta: Arrays) -> tuple[dict[str, Any], Any]:
        mean, k = self.conditional(eta)
        own, entropy = Wisharts(1).solve(self.marginal(eta))
        y, log_det, n = own["power"], own["logdet"], np.shape(mean)[-1]
        yx = np.sum(y * mean[..., None, :], axis=-1)
        means = {"yxx": n / k + np.sum(mean * yx, axis=-1), "yx": yx, "power": y, "logdet": log_det}
        return means, entropy + 0.5 * (n * (1.0 + _LOG_2PI - np.log(k)) - log_det)

    def noisy(self, eta: Arrays, z: Any) -> dict[str, Any]:
        """With another mean of x, drawn by standard normal z."""
        own = self.marginal(eta)
        mean, k = self.conditional(eta)
        freedom, inverse_scale = Wisharts(1).natural(own)
        spread = np.diagonal(inverse_scale, axis1=-2, axis2=-1) / freedom[..., None] / k[..., None]
        mean = mean + np.sqrt(spread) * z
        outer = mean[..., :, None] * mean[..., None, :]
        return {**eta, "yx": k[..., None] * mean, "power": own["power"] - 0.5 * k[..., None, None] * outer}

    def at(self, x: Any, y: Any) -> dict[str, Any]:
        """The statistics of a point."""
        yx = np.sum(y * x[..., None, :], axis=-1)
        return {"yxx": np.sum(x * yx, axis=-1), "yx": yx, "power": y, "logdet": np.linalg.slogdet(y)[1]}


def diagonal(family: Normals, second: Any) -> Any:
    """The diagonal of second-order parameters along the event axes."""
    if not family.event:
        return second
    like = second[(..., *(0,) * len(family.event))]
    return family._unvector(np.diagonal(family._matrix(second), axis1=-2, axis2=-1), like)


@dataclass(frozen=True)
class Categories:
    """Categories, as indicators along the last axis."""

    statistics = ("is",)

    def solve(self, eta: Arrays) -> tuple[dict[str, Any], Any]:
        means, log_z = self.normalized(eta)
        inner = np.where(means["is"] > 0.0, eta["is"] * means["is"], 0.0)
        return means, log_z - np.sum(inner, axis=-1)

    def normalized(self, eta: Arrays) -> tuple[dict[str, Any], Any]:
        """Mean parameters, and the log normalizer of every element."""
        top = np.max(eta["is"], axis=-1, keepdims=True)
        weights = np.exp(eta["is"] - top)
        total = np.sum(weights, axis=-1, keepdims=True)
        return {"is": weights / total}, (np.log(total) + top)[..., 0]

    def at(self, x: Any) -> dict[str, Any]:
        return {"is": x}
