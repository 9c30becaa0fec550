"""Steps compiled by JAX: the JAX executor beside NumPyro's scanned loop and the same loop written by hand.

    python -m benchmarks.compiled            every workload, in alternation
    python -m benchmarks.compiled vae        one

A step is one draw from a factorised Gaussian (or an encoder), the gradient, and Adam. All libraries take the same
number of steps in one `lax.scan`, with noise from JAX's keys; the first call compiles too, the median of
five more is the step. CPU seconds of one process with one thread; the NumPy executor's step stands beside them.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable

os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

from .harness import ROOT, Workplace, measure, say

PORTIONS = {"eight schools": 1000, "logistic 10,000": 100, "logistic 100,000": 20, "vae": 26}
LIBRARIES = ("ppl jax", "ppl numpy", "numpyro", "jax by hand")
EFFECT = np.array([28.0, 8, -3, 7, -1, 1, 18, 12], np.float32)
ERROR = np.array([15.0, 10, 16, 11, 9, 11, 10, 18], np.float32)
IMAGES, BATCH, HIDDEN, LATENT, PIXELS = 10_000, 128, 400, 20, 784


def regression(n: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 50)).astype(np.float32)
    return x, (rng.random(n) < 1 / (1 + np.exp(-x @ rng.normal(0, 0.3, 50)))).astype(np.float32)


def pictures() -> np.ndarray:
    return (np.random.default_rng(0).random((IMAGES, PIXELS)) < 0.3).astype(np.float32)


# -- ppl -------------------------------------------------------------------------------------------
def ours(workload: str, executor: str) -> Callable[[int], None]:
    """A function that takes so many steps."""
    import ppl
    import ppl.distributions as dist
    from ppl import nn

    def schools(y, s):
        mu, tau = ppl.sample("mu", dist.Normal(0, 5)), ppl.sample("tau", dist.HalfCauchy(5))
        with ppl.plate("schools", 8):
            t = ppl.sample("t", dist.Normal(0, 1))
            ppl.sample("y", dist.Normal(mu + tau * t, s), obs=y)

    def logistic(x, y):
        w = ppl.sample("w", dist.Normal(0, 1).expand([x.shape[1]]).to_event(1))
        with ppl.plate("rows", len(x)):
            ppl.sample("y", dist.Bernoulli(logits=x @ w), obs=y)

    def vae(x):
        with ppl.plate("images", len(x), subsample_size=BATCH) as i:
            b = x[i]
            encoder = ppl.module("encoder", nn.MLP(PIXELS, HIDDEN, (LATENT, LATENT), heads=("real", "positive")))
            loc, scale = encoder(b)
            q = dist.Normal(loc, scale).to_event(1)
            z = ppl.sample("z", dist.Normal(0, 1).expand([LATENT]).to_event(1), guide=q)
            logits = ppl.module("decoder", nn.MLP(LATENT, HIDDEN, PIXELS))(z)
            ppl.sample("x", dist.Bernoulli(logits=logits).to_event(1), obs=b)

    model, args = {
        "eight schools": (schools, (EFFECT, ERROR)),
        "logistic 10,000": (logistic, regression(10_000)),
        "logistic 100,000": (logistic, regression(100_000)),
        "vae": (vae, (pictures(),)) if workload == "vae" else (None, ()),
    }[workload]
    from ppl.algorithms.compiled import CompiledSteps
    from ppl.algorithms.coordinates import Coordinates
    from ppl.algorithms.training import training_step
    from ppl.elbo import Objective, choose, derive, problem

    p = problem(model, args, {})
    d = derive(p, "meanfield")
    objective, algorithm = Objective(d, choose(d)), ppl.BBVI(particles=1, optimizer=ppl.optim.Adam(1e-3))
    trains = algorithm.trains(d)
    where = Coordinates.at(d, tables=executor == "numpy", absolute=trains)
    held = [algorithm.init_state(where, d)]
    if executor == "jax":
        steps = CompiledSteps(algorithm, objective, 0, trains)(where)

        def run(count: int) -> None:
            held[0] = steps.several(held[0], count)[0]
    else:
        step = training_step(algorithm, objective, 0, where) if trains else algorithm._step(objective, 0, where)

        def run(count: int) -> None:
            for _ in range(count):
                held[0], _ = step(held[0])

    return run


# -- peers -----------------------------------------------------------------------------------------
def numpyro_loop(workload: str) -> Callable[[int], None]:
    import jax
    import jax.numpy as jnp
    import numpyro
    import numpyro.distributions as dist
    from numpyro.infer import SVI, Trace_ELBO
    from numpyro.infer.autoguide import AutoNormal

    def schools(y, s):
        mu, tau = numpyro.sample("mu", dist.Normal(0, 5)), numpyro.sample("tau", dist.HalfCauchy(5))
        with numpyro.plate("schools", 8):
            t = numpyro.sample("t", dist.Normal(0, 1))
            numpyro.sample("y", dist.Normal(mu + tau * t, s), obs=y)

    def logistic(x, y):
        w = numpyro.sample("w", dist.Normal(0, 1).expand([x.shape[1]]).to_event(1))
        with numpyro.plate("rows", len(x)):
            numpyro.sample("y", dist.Bernoulli(logits=x @ w), obs=y)

    first = _weights()

    def vae(x):
        decoder = numpyro.param("decoder", [jnp.asarray(w) for w in first[4:]])
        with numpyro.plate("images", IMAGES, BATCH):
            z = numpyro.sample("z", dist.Normal(jnp.zeros((BATCH, LATENT)), 1.0).to_event(1))
            numpyro.sample("x", dist.Bernoulli(logits=_mlp(jnp, decoder, z)).to_event(1), obs=x)

    def encoder(x):
        weights = numpyro.param("encoder", [jnp.asarray(w) for w in first[:4]])
        with numpyro.plate("images", IMAGES, BATCH):
            loc, log_scale = jnp.split(_mlp(jnp, weights, x), 2, 1)
            numpyro.sample("z", dist.Normal(loc, jnp.exp(log_scale)).to_event(1))

    if workload == "vae":
        svi, args = SVI(vae, encoder, numpyro.optim.Adam(1e-3), Trace_ELBO()), None
    else:
        model = schools if workload == "eight schools" else logistic
        svi = SVI(model, AutoNormal(model), numpyro.optim.Adam(1e-3), Trace_ELBO())
        args = [jnp.asarray(a) for a in _data(workload)]
    x = jnp.asarray(pictures()) if workload == "vae" else None
    state = [svi.init(jax.random.PRNGKey(0), *(args or [x[:BATCH]]))]

    def scanned(s, rows, args, x):
        step = lambda s, r: svi.update(s, *(args if args is not None else [x[r]]))
        return jax.lax.scan(step, s, rows)

    compiled, rng = jax.jit(scanned), np.random.default_rng(0)

    def run(count: int) -> None:
        rows = _rows(rng, count)
        state[0], losses = compiled(state[0], rows, args, x)
        jax.block_until_ready(losses)

    return run


def by_hand(workload: str) -> Callable[[int], None]:
    """Value and gradient by JAX, Adam written out, one `lax.scan`."""
    import jax
    import jax.numpy as jnp

    def normal(x, loc, scale):
        return -0.5 * ((x - loc) / scale) ** 2 - jnp.log(scale)

    def schools(p, key, y, s):
        e = jax.random.normal(key, (10,))
        u = p[0] + jnp.exp(p[1]) * e
        tau = jnp.exp(u[1])
        log_p = normal(u[0], 0.0, 5.0) - jnp.log1p((tau / 5.0) ** 2) + u[1] + jnp.sum(normal(u[2:], 0.0, 1.0))
        return -(log_p + jnp.sum(normal(y, u[0] + tau * u[2:], s)) + jnp.sum(p[1]))

    def logistic(p, key, x, y):
        w = p[0] + jnp.exp(p[1]) * jax.random.normal(key, (50,))
        logits = x @ w
        kl = 0.5 * jnp.sum(p[0] ** 2 + jnp.exp(2 * p[1]) - 2 * p[1])
        return kl - jnp.sum(y * logits - jax.nn.softplus(logits))

    def vae(p, key, x):
        loc, log_scale = jnp.split(_mlp(jnp, p[:4], x), 2, 1)
        z = loc + jnp.exp(log_scale) * jax.random.normal(key, loc.shape)
        logits = _mlp(jnp, p[4:], z)
        kl = 0.5 * jnp.sum(loc**2 + jnp.exp(2 * log_scale) - 2 * log_scale)
        return kl - jnp.sum(x * logits - jax.nn.softplus(logits))

    loss = {"eight schools": schools, "vae": vae}.get(workload, logistic)
    size = 10 if workload == "eight schools" else 50
    p = _weights() if workload == "vae" else [np.zeros(size, np.float32), np.full(size, -2.0, np.float32)]
    data = [jnp.asarray(a) for a in (_data(workload) if workload != "vae" else [pictures()])]
    zeros = [np.zeros_like(w) for w in p]
    state, rng = [(jax.random.PRNGKey(0), [jnp.asarray(w) for w in p], zeros, zeros, 0)], np.random.default_rng(0)

    def step(state, rows, data):
        key, p, m, v, t = state
        key, own = jax.random.split(key)
        value, g = jax.value_and_grad(loss)(p, own, *([data[0][rows]] if workload == "vae" else data))
        t = t + 1
        m = [0.9 * a + 0.1 * b for a, b in zip(m, g, strict=True)]
        v = [0.999 * a + 0.001 * b * b for a, b in zip(v, g, strict=True)]
        size = 1e-3 * jnp.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        p = [a - size * b / (jnp.sqrt(c) + 1e-8) for a, b, c in zip(p, m, v, strict=True)]
        return (key, p, m, v, t), value

    compiled = jax.jit(lambda s, rows, data: jax.lax.scan(lambda s, r: step(s, r, data), s, rows))

    def run(count: int) -> None:
        state[0], losses = compiled(state[0], _rows(rng, count), data)
        jax.block_until_ready(losses)

    return run


def _data(workload: str) -> tuple[np.ndarray, np.ndarray]:
    if workload == "eight schools":
        return EFFECT, ERROR
    return regression(int(workload.split()[1].replace(",", "")))


def _rows(rng: np.random.Generator, count: int) -> np.ndarray:
    """Rows of a minibatch for every step."""
    return np.stack([rng.choice(IMAGES, BATCH, replace=False) for _ in range(count)])


def _weights() -> list[np.ndarray]:
    rng, sizes = np.random.default_rng(0), ((PIXELS, HIDDEN), (HIDDEN, 2 * LATENT), (LATENT, HIDDEN), (HIDDEN, PIXELS))
    pairs = [(rng.uniform(-1, 1, s) / s[0] ** 0.5, np.zeros(s[1])) for s in sizes]
    return [w.astype(np.float32) for pair in pairs for w in pair]


def _mlp(jnp, p, x):
    return jnp.maximum(x @ p[0] + p[1], 0.0) @ p[2] + p[3]


# -- the table -------------------------------------------------------------------------------------
def one(workload: str, library: str) -> None:
    """Measure a library here, and say the figures."""
    count = PORTIONS[workload]
    if library.startswith("ppl"):
        import jax  # noqa: F401, its import is not compiling

        run = ours(workload, library.split()[1])
    else:
        run = {"numpyro": numpyro_loop, "jax by hand": by_hand}[library](workload)
    times = []
    for _ in range(6):
        begun = time.process_time()
        run(count)
        times.append(time.process_time() - begun)
    step = statistics.median(times[1:]) / count
    say(first=times[0] - step * count, step=1e3 * step)


def table(workloads: list[str], rounds: int = 3) -> list[str]:
    """Rows of the table, medians over rounds in alternation."""
    place, lines = Workplace(), [f"{'':18}{'':14}{'compile, s':>12}{'step, ms':>12}{'ratio':>8}"]
    for workload in workloads:
        rows: dict[str, list[dict]] = {name: [] for name in LIBRARIES}
        for _ in range(rounds):
            for name in LIBRARIES:
                rows[name].append(measure(place, "compiled", f"{workload}/{name}"))
        steps = {}
        for name, found in rows.items():
            ok = [r for r in found if r["status"] == "ok"]
            if not ok:
                lines.append(f"{workload:18}{name:14}{found[-1].get('note', found[-1]['status'])}")
                continue
            steps[name] = statistics.median(r["step"] for r in ok)
            first = statistics.median(r["first"] for r in ok)
            ratio = steps["ppl jax"] / steps[name] if "ppl jax" in steps else float("nan")
            lines.append(f"{workload:18}{name:14}{first:12.2f}{steps[name]:12.4f}{ratio:8.2f}")
    place.close()
    return lines


if __name__ == "__main__":
    asked = " ".join(sys.argv[1:])
    if "/" in asked:
        sys.path.insert(0, str(ROOT))
        one(*asked.split("/"))
    else:
        print("\n".join(table([asked] if asked else list(PORTIONS))))
