"""Cost against size: sites, steps of time, particles, rows of data.

- sites: n scalar sites written in a Python loop, z_i ~ Normal(mu, 1), y_i ~ Normal(z_i, 1), mu ~ Normal(0, 1);
- scan: the local level z_t ~ Normal(z_{t-1}, 0.3), y_t ~ Normal(z_t, 1) by `ppl.scan`, whose carry is a draw, so
  that all times are computed at once; "recurrence" is the same with z_t = 0.9 z_{t-1} + 0.3 e_t, e_t ~ Normal(0, 1),
  whose carry feeds on itself, so that there is a loop at run time; "loop" is the local level as a Python loop;
- particles: one gradient of the bound as one batched program against as many calls of the program of one particle;
- rows: linear regression by minibatches on a file of 10^7 rows, mapped into memory.

Set-up is what happens before the first step of `BBVI`: recording the model, deriving the bound, choosing
estimators, differentiating, compiling. A step is one of `BBVI` with one draw: noise, gradient, Adam. Each size is
measured in a process of its own, in CPU seconds.
"""

from __future__ import annotations

import resource
import statistics
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

from . import eight_schools
from .flat_and_eager import alternate, radon_like
from .harness import cpu, median, say

SITES = (10, 100, 1_000, 10_000)
TIMES = (100, 1_000, 10_000, 100_000)
LOOPS = (10, 30, 100, 300, 1_000)
PARTICLES = (1, 3, 10, 30, 100, 300, 1_000)
ROWS, BATCH = 10_000_000, 1_000
SIZES = {
    "sites": SITES,
    "scan": TIMES,
    "recurrence": TIMES,
    "loop": LOOPS,
    "particles, eight schools": PARTICLES,
    "particles, hierarchy": PARTICLES,
    "rows": (ROWS,),
}
TRIAL = {"eight schools": 10, "hierarchy": 3.3}  # what a first trial of this design reached at 30 particles
FITTED = {"sites": 100, "scan": 1_000, "recurrence": 1_000, "loop": 100}  # slopes are fitted from this size on
ONCE = 10_000  # sizes from which on one round is enough


# -- models -------------------------------------------------------------------------------------------
def many_sites(n: int):
    """A model of n scalar sites, one statement each, and its data."""
    import numpy as np

    import ppl

    dist = ppl.distributions

    def model(y):
        mu = ppl.sample("mu", dist.Normal(0, 1))
        for i in range(n):
            z = ppl.sample(f"z{i}", dist.Normal(mu, 1))
            ppl.sample(f"y{i}", dist.Normal(z, 1), obs=y[i])

    return model, (np.random.default_rng(0).standard_normal(n),)


def local_level(length: int, how: str = "scan"):
    """A random walk seen through noise: by `ppl.scan`, as a "recurrence", or as a Python "loop"."""
    import numpy as np

    import ppl

    dist = ppl.distributions

    def centred(z, y):
        z = ppl.sample("z", dist.Normal(z, 0.3))
        ppl.sample("y", dist.Normal(z, 1), obs=y)
        return z, None

    def fed_back(z, y):
        z = 0.9 * z + 0.3 * ppl.sample("e", dist.Normal(0, 1))
        ppl.sample("y", dist.Normal(z, 1), obs=y)
        return z, None

    def scanned(y):
        ppl.scan(centred if how == "scan" else fed_back, 0.0, y)

    def looped(y):
        z = 0.0
        for t in range(length):
            z = ppl.sample(f"z{t}", dist.Normal(z, 0.3))
            ppl.sample(f"y{t}", dist.Normal(z, 1), obs=y[t])

    rng = np.random.default_rng(0)
    y = np.cumsum(0.3 * rng.standard_normal(length)) + rng.standard_normal(length)
    return looped if how == "loop" else scanned, (y,)


def varying_intercepts():
    """The hierarchy of `flat_and_eager` as a model."""
    import ppl

    dist = ppl.distributions

    def model(y, group, floor, uranium):
        mu, gamma, beta = (ppl.sample(name, dist.Normal(0, 10)) for name in ("mu", "gamma", "beta"))
        between, within = (ppl.sample(name, dist.HalfCauchy(5)) for name in ("between", "within"))
        with ppl.plate("groups", len(uranium)):
            alpha = ppl.sample("alpha", dist.Normal(mu + gamma * uranium, between))
        with ppl.plate("rows", len(y)):
            ppl.sample("y", dist.Normal(alpha[group] + beta * floor, within), obs=y)

    return model, radon_like()


# -- measurements ---------------------------------------------------------------------------------------
def derived(model: Callable, data: tuple):
    """The objective of a factorised Gaussian guide, and where it starts."""
    from ppl.algorithms.coordinates import Coordinates
    from ppl.elbo import Objective, choose, derive, problem

    found = derive(problem(model, data, {}), "meanfield")
    objective = Objective(found, choose(found))
    return objective, Coordinates.at(found, {name: x.init for name, x in found.parameters.items()})


def setup_and_step(model: Callable, data: tuple) -> dict:
    """CPU seconds until the first step, and of a step."""
    import ppl

    begun = cpu()
    objective, where = derived(model, data)
    algorithm = ppl.BBVI(particles=1, optimizer=ppl.optim.Adam(0.05))
    step = algorithm._step(objective, 0, where)
    setup = cpu() - begun
    state = algorithm.init_state(where, objective.derivation)
    state, _ = step(state)  # draws the noise of the first block of steps
    chunks, spent = [], 0.0
    while len(chunks) < 5 or (spent < 0.3 and len(chunks) < 200):
        begun = cpu()
        state, _ = step(state)
        chunks.append(cpu() - begun)
        spent += chunks[-1]
    return {"setup": setup, "step": sum(chunks) / len(chunks)}


def gradients(model: Callable, data: tuple, particles: int) -> dict:
    """One gradient of the bound: a batched program against so many calls of the program of one."""
    import numpy as np

    from ppl.array import compile_program

    objective, _ = derived(model, data)
    d = objective.derivation
    one, many = (compile_program(objective.gradient(n)) for n in (1, particles))
    values = [x.init for x in d.parameters.values()]
    rng = np.random.default_rng(0)
    noise = {f.name: rng.standard_normal((particles, *f.noise_shape)) for f in d.factors}
    rest = objective.rest_of({}, noise)
    singles = [objective.rest_of({}, {k: e[i : i + 1] for k, e in noise.items()}) for i in range(particles)]
    whole, parts = many(*values, *rest), [one(*values, *single) for single in singles]
    for joint, single in zip(whole, zip(*parts, strict=True), strict=True):
        assert np.allclose(joint, np.mean(single, axis=0), rtol=1e-8, atol=1e-8), "the gradients differ"
    return alternate(
        {"batched": lambda: many(*values, *rest), "calls": lambda: [one(*values, *single) for single in singles]}
    )


def regression_file(folder: str, rows: int = ROWS):
    """Columns x and y of a linear regression in two files, and the exact posterior mean and sd of its two weights."""
    import numpy as np

    rng = np.random.default_rng(0)
    precision, moment = np.eye(2) / 100.0, np.zeros(2)
    paths = Path(folder, "x.f64"), Path(folder, "y.f64")
    with open(paths[0], "wb") as first, open(paths[1], "wb") as second:
        for start in range(0, rows, 100_000):
            x = rng.standard_normal(min(100_000, rows - start))
            y = 0.5 - 1.5 * x + rng.standard_normal(len(x))
            design = np.stack([np.ones(len(x)), x])
            precision += design @ design.T
            moment += design @ y
            x.tofile(first)
            y.tofile(second)
    covariance = np.linalg.inv(precision)
    return paths, covariance @ moment, np.sqrt(np.diag(covariance))


def regression(folder: str, rows: int = ROWS, batch: int = BATCH) -> dict:
    """A fit by minibatches on mapped files: peak memory of the process, CPU seconds, distance from the closed form."""
    import numpy as np

    import ppl

    dist = ppl.distributions

    def model(x, y):
        a, b = ppl.sample("a", dist.Normal(0, 10)), ppl.sample("b", dist.Normal(0, 10))
        with ppl.plate("rows", rows, subsample_size=batch) as i:
            ppl.sample("y", dist.Normal(a + b * x[i], 1), obs=y[i])

    paths, mean, sd = regression_file(folder, rows)
    x, y = (np.memmap(path, dtype=np.float64, mode="r", shape=(rows,)) for path in paths)
    begun = cpu()
    fit = ppl.infer(model, x, y, guide="meanfield", progress=False)
    spent = cpu() - begun
    away = [abs(float(fit[name].mean) - m) for name, m in zip("ab", mean, strict=True)]
    return {
        "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0,
        "seconds": spent,
        "away": max(away),
        "away in sds": max(e / s for e, s in zip(away, sd, strict=True)),
        "steps": len(fit.history),
        "verdict": fit.verdict.word,
    }


def measurement(name: str, size: int) -> dict:
    if name == "sites":
        return setup_and_step(*many_sites(size))
    if name == "particles, eight schools":
        import ppl

        model, *data = eight_schools.our_model(ppl)
        return gradients(model, tuple(data), size)
    if name == "particles, hierarchy":
        return gradients(*varying_intercepts(), size)
    if name == "rows":
        with tempfile.TemporaryDirectory(prefix="ppl-benchmarks-") as folder:
            return regression(folder, size)
    return setup_and_step(*local_level(size, name))


# -- laws and a picture -----------------------------------------------------------------------------------
def series(rows: dict[str, list[dict]], name: str, key: str) -> tuple[list[int], list[float]]:
    """Sizes and medians of a figure."""
    found = [(size, median(rows.get(f"{name} {size}", []), key)) for size in SIZES[name]]
    return [s for s, m in found if m is not None], [m for _, m in found if m is not None]


def slope(rows: dict[str, list[dict]], name: str, key: str) -> float | None:
    """Least squares of log cost on log size, over the sizes from `FITTED` on."""
    points = [(s, m) for s, m in zip(*series(rows, name, key), strict=True) if s >= FITTED[name]]
    if len(points) < 2:
        return None
    import math

    return statistics.linear_regression(*zip(*((math.log(s), math.log(m)) for s, m in points), strict=True)).slope


def plot(rows: dict[str, list[dict]], path: Path) -> bool:
    """One panel for each experiment, cost against size; False where matplotlib is missing."""
    try:
        import matplotlib
    except ModuleNotFoundError:
        return False
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(2, 3, figsize=(12, 6.8), layout="constrained")
    panels = panels.ravel()

    def draw(panel, name, key, label, unit=1e3, style="o-"):
        sizes, costs = series(rows, name, key)
        panel.loglog(sizes, [unit * c for c in costs], style, label=label, markersize=4)

    def fitted(name, *keys):
        found = [slope(rows, name, key) for key in keys]
        return ", ".join("-" if s is None else f"{s:.2f}" for s in found)

    draw(panels[0], "sites", "setup", "set-up")
    draw(panels[0], "sites", "step", "step")
    panels[0].loglog(SITES, SITES, "k--", linewidth=0.8, label="1 and 0.02 ms a site")
    panels[0].loglog(SITES, [0.02 * n for n in SITES], "k--", linewidth=0.8)
    panels[0].set(title=f"scalar sites: slopes {fitted('sites', 'setup', 'step')}", xlabel="sites")
    for panel, name in ((panels[1], "scan"), (panels[2], "recurrence")):
        draw(panel, name, "setup", "set-up")
        draw(panel, name, "step", "step")
        sizes, costs = series(rows, name, "step")
        if costs:
            panel.loglog(
                sizes, [1e3 * costs[-1] * (s / sizes[-1]) ** 1.1 for s in sizes], "k--", lw=0.8, label="slope 1.1"
            )
        panel.set(title=f"{name}: slopes {fitted(name, 'setup', 'step')}", xlabel="steps of time")
    draw(panels[3], "loop", "setup", "loop, set-up")
    draw(panels[3], "loop", "step", "loop, step")
    draw(panels[3], "scan", "setup", "scan, set-up", style="s:")
    draw(panels[3], "scan", "step", "scan, step", style="s:")
    panels[3].set(title=f"a Python loop: slopes {fitted('loop', 'setup', 'step')}", xlabel="steps of time")
    for panel, (case, wanted) in zip(panels[4:], TRIAL.items(), strict=True):
        name = f"particles, {case}"
        draw(panel, name, "calls", "calls")
        draw(panel, name, "batched", "one batch")
        sizes, costs = series(rows, name, "calls")
        panel.loglog(sizes, [1e3 * c / wanted for c in costs], "k--", linewidth=0.8, label=f"calls / {wanted:g}")
        panel.set(title=name, xlabel="particles")
    for panel in panels:
        panel.set_ylabel("CPU ms")
        panel.legend(fontsize=7)
        panel.grid(True, which="major", alpha=0.3)
    figure.savefig(path, dpi=90)
    plt.close(figure)
    return True


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    name, size = sys.argv[1].rsplit(" ", 1)
    say(**measurement(name, int(size)))
