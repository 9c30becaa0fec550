"""Variance of gradient estimators at equal counted cost: the tables of one command.

    python -m benchmarks.estimators            all tables
    python -m benchmarks.estimators --quick    fewer repetitions

Three tables. A sigmoid belief net of ten units, on minibatches, against the gradient by enumeration of all
1,024 states; the Gamma-Normal time series of Ranganath, Gerrish and Blei (2014), with what Rao-Blackwellization and the
control variate do to the variance; signal to noise of gradients of the importance-weighted bound as k grows.
"""

from __future__ import annotations

import argparse
import itertools
from dataclasses import dataclass

import numpy as np
from scipy import special

import ppl
import ppl.distributions as dist
from ppl.algorithms import noise
from ppl.array import compile_program
from ppl.distributions import constraints
from ppl.elbo import Choice, Objective, Plan, choose, derive, minibatches, problem
from ppl.errors import Reason

UNITS, PIXELS, DATA, BATCH = 10, 16, 240, 20
ESTIMATORS = (
    "none",
    "leave-one-out",
    "vargrad",
    "coefficient",
    "decaying-average",
    "nvil",
    "disarm",
    "rebar",
    "relax",
)
SETTINGS = {"at the start": 0, "after 300 steps": 300, "after 5,000 steps": 5_000}


# -- a sigmoid belief net -----------------------------------------------------------------------------
def patterns(seed: int = 0) -> np.ndarray:
    """Binary data with structure: noisy unions of a few shapes."""
    rng = np.random.default_rng(seed)
    shapes = rng.random((6, PIXELS)) < 0.3
    used = rng.random((DATA, 6)) < 0.35
    clean = (used[:, :, None] & shapes).any(1)
    return (clean ^ (rng.random(clean.shape) < 0.05)).astype(float)


def belief_net(x: np.ndarray) -> None:
    """One layer of binary latents, linear both ways: a logistic model and a logistic guide."""
    rng = np.random.default_rng(1)
    w = ppl.param("w", 0.1 * rng.standard_normal((UNITS, PIXELS)))
    prior, shift = ppl.param("prior", np.zeros(UNITS)), ppl.param("shift", np.zeros(PIXELS))
    v, bias = ppl.param("v", 0.1 * rng.standard_normal((PIXELS, UNITS))), ppl.param("bias", np.zeros(UNITS))
    with ppl.plate("data", DATA, subsample_size=BATCH) as i:
        rows = x[i]
        q = dist.Bernoulli(logits=(rows - 0.5) @ v + bias).to_event(1)
        z = ppl.sample("z", dist.Bernoulli(logits=prior).expand([BATCH, UNITS]).to_event(1), guide=q)
        ppl.sample("x", dist.Bernoulli(logits=z @ w + shift).to_event(1), obs=rows)


STATES = np.array(list(itertools.product((0.0, 1.0), repeat=UNITS)))


def enumerated(values: dict, x: np.ndarray) -> dict[str, np.ndarray]:
    """The exact gradient of a minibatch's bound in the guide's parameters, over all states."""
    logits = (x - 0.5) @ values["v"] + values["bias"]
    log_q = logits @ STATES.T - np.sum(np.logaddexp(0, logits), 1)[:, None]
    prior = STATES @ values["prior"] - np.sum(np.logaddexp(0, values["prior"]))
    means = STATES @ values["w"] + values["shift"]
    log_p = prior + x @ means.T - np.sum(np.logaddexp(0, means), 1)
    q = np.exp(log_q)
    f = q * (log_p - log_q)
    slope = f @ STATES - f.sum(1)[:, None] * special.expit(logits)
    scale = DATA / len(x)
    return {"v": scale * (x - 0.5).T @ slope, "bias": scale * slope.sum(0)}


@dataclass(frozen=True)
class Step:
    """A run's gradient program under one estimator, and how it is fed."""

    objective: Objective
    particles: int = 2

    @classmethod
    def of(cls, model, args, name: str, starts: dict | None = None, particles: int = 2) -> Step:
        """The step of a model in which every site takes this estimator."""
        p = problem(model, args, {})
        d = derive(p, None, starts=starts, estimators=name)
        return cls(Objective(d, choose(d, dict.fromkeys((f.name for f in d.factors), name))), particles)

    def __post_init__(self):
        object.__setattr__(self, "run", compile_program(self.objective.gradient(self.particles)))

    def noise(self, rng, count: int) -> dict[str, np.ndarray]:
        """Noise of so many steps."""
        o = self.objective
        return noise.draw(rng, o.derivation.factors, count, self.particles, o.independent, o.mirrored)

    def with_bound(self, values: dict, rows: dict, eps: dict, states) -> tuple[float, dict[str, np.ndarray], tuple]:
        """The bound's estimate, its gradient, and the next states of the control variate."""
        d = self.objective.derivation
        own = [d.narrowed(d.rows_of(n, np.asarray(values[n]), rows)) for n in d.parameter_inputs]
        out = self.run(*own, *d.other_inputs(rows, eps), *states)
        grads = dict(zip(d.parameter_inputs, out[2 : 2 + len(own)], strict=True))
        kept = tuple(np.array(s) for s in out[2 + len(own) :])
        return float(out[1]), {n: np.array(g) for n, g in grads.items()}, kept

    def __call__(self, values: dict, rows: dict, eps: dict, states) -> tuple[dict[str, np.ndarray], tuple]:
        return self.with_bound(values, rows, eps, states)[1:]


def trained(x: np.ndarray, steps: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Parameters after so many steps of Adam."""
    step = Step.of(belief_net, (x,), "disarm")
    d = step.objective.derivation
    values = {n: np.asarray(p.init, float) for n, p in d.parameters.items()}
    adam, rng = ppl.optim.Adam(0.01), np.random.default_rng(seed)
    moments = {n: adam.init(v) for n, v in values.items()}
    eps = step.noise(rng, max(steps, 1))
    for i in range(steps):
        rows = {n: minibatches(rng, d.plates[n], 1)[0] for n in d.index_inputs}
        grads, _ = step(values, rows, {n: e[i] for n, e in eps.items()}, ())
        for n, g in grads.items():
            values[n], moments[n] = adam.update(-g, moments[n], values[n], 0.01)
    return values


def spread(name: str, x: np.ndarray, values: dict, batches: int, repeats: int, warm: int, seed: int = 0) -> dict:
    """Variance of a step's gradient given its minibatch, summed over the guide's parameters, and its error."""
    step = Step.of(belief_net, (x,), name)
    d, rng, states = step.objective.derivation, np.random.default_rng(seed), step.objective.start
    plate = d.plates["data"]
    if states:
        eps, rows = step.noise(rng, warm), minibatches(rng, plate, warm)
        for i in range(warm):
            _, states = step(values, {"data": rows[i]}, {n: e[i] for n, e in eps.items()}, states)
    variances, gaps, errors = [], [], []
    for rows in minibatches(np.random.default_rng(seed + 1), plate, batches):
        eps = step.noise(rng, repeats)
        found = []
        for i in range(repeats):
            grads, _ = step(values, {"data": rows}, {n: e[i] for n, e in eps.items()}, states)
            found.append(np.concatenate([grads["v"].ravel(), grads["bias"]]))
        exact = enumerated(values, x[rows])
        found, exact = np.array(found), np.concatenate([exact["v"].ravel(), exact["bias"]])
        each = found.var(0, ddof=1)
        variances.append(each.sum())
        gaps.append(np.sum(found.mean(0) - exact))
        errors.append(np.sum(found, 1).var(ddof=1) / repeats)
    z = np.sum(gaps) / max(np.sqrt(np.sum(errors)), 1e-300)
    cost = step.objective.cost
    return {
        "variance": float(np.mean(variances)),
        "error": float(np.std(variances, ddof=1) / batches**0.5),
        "cost": cost,
        "z": float(z),
    }


def belief_net_table(batches: int = 30, repeats: int = 60, warm: int = 1500) -> dict[str, dict[str, dict]]:
    """Rows by setting and estimator; `relative` is variance times cost over that of none."""
    x, table = patterns(), {}
    for setting, steps in SETTINGS.items():
        values = trained(x, steps)
        rows = {name: spread(name, x, values, batches, repeats, warm) for name in ESTIMATORS}
        base = rows["none"]["variance"] * rows["none"]["cost"]
        for row in rows.values():
            row["relative"] = row["variance"] * row["cost"] / base
            row["relative error"] = row["error"] * row["cost"] / base
        table[setting] = rows
    return table


# -- the Gamma-Normal time series ---------------------------------------------------------------------
TIMES = 10
STEP_VARIANCE, NOISE = 0.1, 0.5


def by_mean(mean, variance):
    """A Gamma of this mean and variance."""
    return dist.Gamma(mean * mean / variance, mean / variance)


def series(seed: int = 0) -> np.ndarray:
    """Observations of a chain of Gamma variables under a Gaussian weight."""
    rng = np.random.default_rng(seed)
    z, out = 2.0, []
    for _ in range(TIMES):
        z = rng.gamma(z * z / STEP_VARIANCE, STEP_VARIANCE / z)
        out.append(1.2 * z + NOISE * rng.standard_normal())
    return np.array(out)


def gamma_normal(x: np.ndarray) -> None:
    """Ranganath, Gerrish and Blei 2014, section 5: a chain of Gammas by mean and variance, seen through a weight."""
    weight = ppl.sample("weight", dist.Normal(0, 1))
    z = 2.0
    for t in range(len(x)):
        z = ppl.sample(f"z{t}", by_mean(z, STEP_VARIANCE))
        ppl.sample(f"x{t}", dist.Normal(weight * z, NOISE), obs=x[t])


def gamma_normal_guide(x: np.ndarray) -> None:
    """Gaussian and Gammas, all independent."""
    scale = ppl.param("weight.scale", 0.3, constraints.positive)
    ppl.sample("weight", dist.Normal(ppl.param("weight.loc", 1.0), scale))
    for t in range(len(x)):
        mean = ppl.param(f"z{t}.mean", 2.0, constraints.positive)
        ppl.sample(f"z{t}", by_mean(mean, ppl.param(f"z{t}.variance", 0.4, constraints.positive)))


def everything(d, member: str) -> Plan:
    """The plan without Rao-Blackwellization: every term in the weight of every draw."""
    choices = {f.name: Choice("score", Reason(f.name, "all terms in its weight"), member) for f in d.factors}
    return Plan(tuple((t, choices) for t in d.terms), {})


def time_series_table(steps: int = 4000, particles: int = 10) -> dict[str, dict]:
    """The variance of a step's gradient, summed over parameters relative to the plain estimator's each."""
    x = series()
    p = problem(gamma_normal, (x,), {})
    rows = {}
    for label, member, blackwell in (
        ("basic", "none", False),
        ("Rao-Blackwellized", "none", True),
        ("control variate", "coefficient", False),
        ("both", "coefficient", True),
    ):
        d = derive(p, gamma_normal_guide, estimators=member)
        plan = choose(d, dict.fromkeys((f.name for f in d.factors), member)) if blackwell else everything(d, member)
        step = Step(Objective(d, plan), particles)
        values = {n: np.asarray(q.init, float) for n, q in d.parameters.items()}
        eps = step.noise(np.random.default_rng(0), steps)
        found = []
        for i in range(steps):
            grads, _ = step(values, {}, {n: e[i] for n, e in eps.items()}, ())
            found.append(np.array([float(g) for g in grads.values()]))
        found = np.array(found)
        rows[label] = {"variance": found.var(0, ddof=1), "cost": step.objective.cost, "mean": found.mean(0)}
    for row in rows.values():
        ratio = rows["basic"]["variance"] / row["variance"]
        row["factor"] = float(np.exp(np.mean(np.log(ratio))))
        row["at equal cost"] = row["factor"] * rows["basic"]["cost"] / row["cost"]
    return rows


# -- importance-weighted bounds -----------------------------------------------------------------------
def signal_table(draws: int = 20_000, ks=(1, 4, 16, 64)) -> dict[str, dict[int, float]]:
    """Mean over sd of the gradient in the guide's means, by estimator and number of samples."""

    def model():
        with ppl.plate("rows", 5):
            z = ppl.sample("z", dist.Normal(0, 1))
            ppl.sample("x", dist.Normal(z, 1), obs=np.array([0.5, -1.0, 2.0, 0.1, 1.0]))

    at = {"z.loc": np.array([0.3, -0.4, 0.9, 0.1, 0.6]), "z.scale": np.full(5, 0.75)}
    out: dict[str, dict[int, float]] = {}
    for name, k in itertools.product(("pathwise", "dreg"), ks):
        r = ppl.gradient(model, guide="meanfield", params=at, estimators=name, particles=draws, bound=ppl.IWAE(k))
        out.setdefault(name, {})[k] = float(np.mean(np.abs(r.grad["z.loc"]) / np.sqrt(r.variance["z.loc"])))
    return out


def main(quick: bool = False) -> None:
    """Print the tables."""
    few = {"batches": 8, "repeats": 20, "warm": 300} if quick else {}
    print(f"A sigmoid belief net of {UNITS} units, minibatches of {BATCH} of {DATA} data, two draws a step.")
    print("Variance given the minibatch, summed over the guide's parameters, times counted cost, over that of `none`;")
    print("z: the mean less the gradient by enumeration (whose variance is 0), in standard errors.\n")
    for setting, rows in belief_net_table(**few).items():
        print(f"{setting}\n{'':20}{'variance':>12}{'cost':>10}{'at equal cost':>18}{'s.e.':>9}{'z':>7}")
        print(f"{'enumeration':20}{0:12.3g}{'':10}{0:18.3g}")
        for name, r in sorted(rows.items(), key=lambda item: item[1]["relative"]):
            print(f"{name:20}{r['variance']:12.4g}{r['cost']:10d}{r['relative']:18.3g}", end="")
            print(f"{r['relative error']:9.2g}{r['z']:7.1f}")
        print()
    print(f"The Gamma-Normal time series, {TIMES} times, ten draws a step: factors by which the variance falls")
    print("(geometric mean over parameters), and at equal cost.\n")
    for label, r in time_series_table(400 if quick else 4000).items():
        print(f"{label:20}{r['factor']:10.3g}{r['at equal cost']:10.3g}")
    print("\nSignal to noise of the gradient of IWAE(k) in the guide's means.\n")
    table = signal_table(2000 if quick else 20_000)
    print(f"{'k':20}" + "".join(f"{k:>9d}" for k in table["dreg"]))
    for name, row in table.items():
        print(f"{name:20}" + "".join(f"{x:9.3g}" for x in row.values()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer repetitions")
    main(**vars(parser.parse_args()))
