"""What a code knows of the data: rate, distortion, mutual information, active units, log likelihood.

For a model whose latents z stand in one plate, with data x_1 ... x_N there and a guide q(z | x):

    rate       R = mean_n E[log q(z | x_n) - log p(z)]          what the code costs, in nats
    distortion D = mean_n E[-log p(x_n | z)]                    what it loses;  ELBO / N = -(R + D)
    information I = mean_n E[log q(z | x_n) - log q(z)]         q(z): the mean of q(z | x) over the data

I <= R, with equality where q(z) = p(z); and a decoder that ignores z has R = I = 0. Alemi, Poole, Fischer, Dillon,
Saurous and Murphy 2018, "Fixing a broken ELBO".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy import special

from ..algorithms.noise import Stream, draw, generator
from ..array import batch, compile_program, prune
from ..elbo import Derivation, Term, derive
from ..errors import ModelError

if TYPE_CHECKING:
    from .fit import Fit

ROWS = 500  # of a subsampled plate that are looked at together
WORK = 20_000_000  # counted cost of one batched run
MOST = 2000  # draws that mutual information is estimated from
PAIRS = 500_000_000  # numbers of all pairs of draws and data, that this may cost
BLOCK = 1_000_000  # of these at once
ACTIVE = 0.01  # variance of a unit's mean over the data from which on it is in use


class Estimate(NamedTuple):
    """A number, and its standard error."""

    value: float
    se: float

    def __repr__(self) -> str:
        return f"{self.value:.5g} (s.e. {self.se:.2g})"


class LogLikelihood(NamedTuple):
    """An estimate of log p(x) for all data together, its standard error by the draws, and each datum's part.

    `per_datum` is the mean over the data, `spread` the standard error that it has as that of other data.
    """

    value: float
    se: float
    samples: int
    each: np.ndarray

    @property
    def per_datum(self) -> float:
        return float(self.each.mean())

    @property
    def spread(self) -> float:
        return float(self.each.std(ddof=1) / len(self.each) ** 0.5) if len(self.each) > 1 else float("nan")

    def __repr__(self) -> str:
        return (
            f"log likelihood {self.value:.6g} (s.e. {self.se:.2g}), {self.per_datum:.5g} per datum, "
            f"by {self.samples} samples"
        )


@dataclass(frozen=True)
class Information:
    """What a fit's code knows of some data, in nats per datum.

    `rate` and `distortion` add up to minus the bound. `mutual_information` lies between `at_least` and `at_most`,
    in expectation: the first is InfoNCE, at most log N; the second leaves each datum out of the mean that stands for
    q(z), and is `rate` where that is smaller (Poole, Ozair, van den Oord, Alemi and Tucker 2019, eq. 9 to 12).
    `units` is the variance over the data of each latent number's mean given x, and `active` how many exceed 0.01
    (Burda, Grosse and Salakhutdinov 2016, section 5).
    """

    data: int
    rate: Estimate
    distortion: Estimate
    at_least: Estimate
    at_most: Estimate
    units: np.ndarray = field(repr=False)

    @property
    def elbo(self) -> float:
        """The bound per datum."""
        return -(self.rate.value + self.distortion.value)

    @property
    def active(self) -> int:
        """How many latent numbers are in use."""
        return int(np.sum(self.units > ACTIVE))

    def __str__(self) -> str:
        return "\n".join(
            [
                f"of {self.data} data, in nats per datum",
                f"  rate                {self.rate}",
                f"  distortion          {self.distortion}",
                f"  mutual information  from {self.at_least} to {self.at_most}",
                f"  active units        {self.active} of {self.units.size}",
            ]
        )


def log_likelihood(fit: Fit, samples: int, seed: int) -> LogLikelihood:
    """log p(x_n) by `samples` importance weights for each datum: log of their mean, a lower bound in expectation.

    Its error is by the delta method: the sd of a datum's weights over their mean and the root of their number.
    """
    parts, errors = [], []
    for terms in _chunks(fit, samples, seed):
        log_w = terms.total
        top = log_w.max(0)
        w = np.exp(log_w - top)
        mean = w.mean(0)
        parts.append(top + np.log(mean))
        errors.append(w.var(0, ddof=1) / mean**2 / samples if samples > 1 else np.full(mean.shape, np.nan))
    each = np.concatenate(parts)
    return LogLikelihood(float(each.sum()), float(np.concatenate(errors).sum() ** 0.5), samples, each)


def information(fit: Fit, draws: int, seed: int) -> Information:
    """Rate, distortion, mutual information and active units of the data of a fit."""
    rate, distortion = [], []
    for terms in _chunks(fit, draws, seed):
        rate.append(-terms.of_latents)
        distortion.append(-terms.of_data)
    rates, distortions = np.concatenate(rate, axis=1), np.concatenate(distortion, axis=1)
    least, most, units = _mutual(fit, seed)
    r = _estimate(rates)
    return Information(rates.shape[1], r, _estimate(distortions), least, most if most.value < r.value else r, units)


def _estimate(x: np.ndarray) -> Estimate:
    """Mean over draws (first axis) and data; the error is that of the draws."""
    each = x.var(0, ddof=1) / len(x) if len(x) > 1 else np.full(x.shape[1], np.nan)
    return Estimate(float(x.mean()), float(each.sum() ** 0.5 / x.shape[1]))


class _Terms(NamedTuple):
    """log p - log q of each draw and datum, (draws, rows): of what is observed, and of latents and guide."""

    of_data: np.ndarray
    of_latents: np.ndarray

    @property
    def total(self) -> np.ndarray:
        return self.of_data + self.of_latents


def _plate(fit: Fit, d: Derivation) -> str:
    """The plate that holds every latent and every term."""
    names = [{q.name for q in t.plates} for t in d.terms] + [{q.name for q in f.plates} for f in d.factors]
    common = set.intersection(*names) if names else set()
    if not common:
        outside = next((f.name for f in d.factors if not f.plates), next(iter(d.terms)).site)
        raise ModelError(
            f"'{outside}' outside the plate of the data: a datum has no log likelihood of its own then",
            "a model whose latents and observations all stand in one plate",
            f"ppl.handlers.substitute(model, {{'{outside}': ...}}) if it is a latent that could be fixed",
            site=outside,
        )
    return next(n for n in d.plates if n in common)


def _chunks(fit: Fit, draws: int, seed: int) -> Iterator[_Terms]:
    """Terms of some rows at a time, at so many draws of the guide."""
    p, whole = fit.problem, fit.solution.derivation
    if fit.executor == "eager":
        raise ModelError("a model whose control flow depends on a draw", "one that can be recorded", "np.where")
    plate = _plate(fit, whole)
    frame = whole.plates[plate]
    size = min(ROWS, frame.size) if plate in whole.index_inputs else frame.size
    made: dict[int, tuple[Derivation, Any, dict[int, Any]]] = {}
    for number, start in enumerate(range(0, frame.size, size)):
        rows = np.arange(start, min(start + size, frame.size))
        if len(rows) not in made:
            sizes = {q.name: q.size for q in whole.plates.values() if q.subsampled} | {plate: len(rows)}
            sizes = {n: k for n, k in sizes.items() if n in whole.index_inputs}
            d = derive(p, fit.guide, plate_sizes=sizes, pointwise=True, seed=fit.seed)
            made[len(rows)] = d, prune(d.program, tuple(d.program.outputs[t.output] for t in d.terms)), {}
        d, program, runs = made[len(rows)]
        indices = {n: rows if n == plate else np.arange(d.plates[n].size) for n in d.index_inputs}
        eps = draw(generator(seed, number, Stream.WEIGHTS), d.factors, 1, draws, {f.name for f in d.factors})
        flags = [i in {f.noise_input for f in d.factors} for i in range(len(program.inputs))]
        parts = []
        each = int(np.clip(WORK // max(program.work, 1), 1, draws))
        for a in range(0, draws, each):
            count = min(each, draws - a)
            if count not in runs:
                runs[count] = compile_program(batch(program, flags, count))
            inputs = d.inputs(fit.params, indices, {n: e[0, a : a + count] for n, e in eps.items()})
            with np.errstate(all="ignore"):
                outputs = runs[count](*inputs)
            columns = [
                _by_row(x, t, d, program.outputs[i], program, count, plate, len(rows))
                for i, (x, t) in enumerate(zip(outputs, d.terms, strict=True))
            ]
            seen = [_is_of_data(t, p) for t in d.terms]
            zero = np.zeros((count, len(rows)))
            parts.append(
                (
                    sum((c for c, s in zip(columns, seen, strict=True) if s), zero),
                    sum((c for c, s in zip(columns, seen, strict=True) if not s), zero),
                )
            )
        yield _Terms(*(np.concatenate(x) for x in zip(*parts, strict=True)))


def _by_row(
    x: Any, term: Term, d: Derivation, output: Any, program: Any, count: int, plate: str, rows: int
) -> np.ndarray:
    """The values of a term as (draws, rows): what is beside the plate's axis is added up."""
    x = np.asarray(x, dtype=float)
    ndim = len(program.signature(output)[0]) if hasattr(output, "index") else np.ndim(output)
    if x.ndim == ndim:  # the same for every draw
        x = np.broadcast_to(x, (count, *x.shape))
    axis = next(q.dim for q in term.plates if q.name == plate)
    own = x.ndim + axis
    x = np.moveaxis(x, own, -1) if own >= 1 else x[..., None]
    inside = [q for q in term.plates if q.name != plate]
    scale = term.scale / float(np.prod([q.scale for q in term.plates])) * float(np.prod([q.scale for q in inside]))
    return np.broadcast_to(x.reshape(count, -1, x.shape[-1]).sum(1) * scale, (count, rows))


def _is_of_data(term: Term, p: Any) -> bool:
    """Is it the density of what is observed (in a sum over states: also)?"""
    site = p.sites.get(term.site)
    if not term.summed:
        return site is not None and site.is_observed
    observed = [n for n, s in p.sites.items() if s.type == "sample" and s.is_observed]
    return any(f"p({n} |" in term.text or f"p({n})" in term.text for n in observed)


def _mutual(fit: Fit, seed: int) -> tuple[Estimate, Estimate, np.ndarray]:
    """Bounds on the mutual information by one draw for each of some data, q(z) over all; and the units' variances."""
    d = fit._full
    plate = _plate(fit, d)
    size = d.plates[plate].size
    rng = generator(seed, 1, Stream.ROWS)
    guides = []
    for f in d.factors:
        q = fit.guide_of(f.sites[0]) if len(f.sites) == 1 else None
        if q is None or len(f.plates) > 1:
            raise ModelError(
                f"a guide of '{f.name}' that depends on other draws, or is of several plates",
                "q(z | x) of latents in one plate, each by itself",
                "fit.log_likelihood(...), which asks for no more than draws",
                site=f.name,
            )
        guides.append(q)
    numbers = size * sum(int(np.prod(q.event_shape, dtype=np.int64)) for q in guides)
    rows = np.sort(rng.permutation(size)[: int(np.clip(PAIRS // max(numbers, 1), 50, MOST))])
    n = len(rows)
    log_q = np.zeros((n, size))  # log q(z_i | x_j)
    at_once = max(BLOCK // max(numbers, 1), 1)
    for q in guides:
        z = q.sample(rng)[rows, None]
        for a in range(0, n, at_once):
            log_q[a : a + at_once] += q.log_prob(z[a : a + at_once])
    own = log_q[np.arange(n), rows]
    least = own - (special.logsumexp(log_q, axis=1) - np.log(size))
    log_q[np.arange(n), rows] = -np.inf
    most = own - (special.logsumexp(log_q, axis=1) - np.log(size - 1)) if size > 1 else np.full(n, np.inf)
    found = (Estimate(float(x.mean()), float(x.std(ddof=1) / n**0.5) if n > 1 else np.nan) for x in (least, most))
    units = [np.var(np.asarray(q.mean, dtype=float).reshape(size, -1), axis=0) for q in guides]
    return (*found, np.concatenate(units) if units else np.zeros(0))
