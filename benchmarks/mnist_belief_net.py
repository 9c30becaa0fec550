"""A sigmoid belief net of 200 units on MNIST: the training bound against steps, for five estimators.

    PPL_DATA=... python -m benchmarks.mnist_belief_net --minutes 4 --plot belief_net.png

One layer of binary latents, linear both ways, batches of 128, Adam 1e-3, float32; images binarised by
sampling, once. Each estimator has the same processor time; draws a step are those of the table. Published bounds at
convergence are about -112.5 (NVIL) and -111.6 (REBAR); a few minutes stay far from these.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import numpy as np

import ppl
import ppl.distributions as dist
from ppl.elbo import minibatches

from .estimators import Step

UNITS, PIXELS, BATCH = 200, 784, 128
DRAWS = {"decaying-average": 1, "nvil": 1, "leave-one-out": 4, "disarm": 2, "rebar": 1}
RATE, WINDOW = 1e-3, 100
LOOKED_AT = -160, -115  # bounds of the picture


def images(folder: str | Path, count: int = 60_000, seed: int = 0) -> np.ndarray:
    """Binary images, one for a row."""
    with np.load(Path(folder) / "images" / "mnist.npz") as data:
        x = data["x_train"][:count].reshape(-1, PIXELS)
    return (np.random.default_rng(seed).integers(0, 255, x.shape) < x).astype(np.uint8)


def belief_net(x: np.ndarray) -> None:
    """Prior logits, a linear decoder, and a linear encoder as the guide."""
    rng = np.random.default_rng(0)

    def uniform(rows, columns):
        return (rng.uniform(-1, 1, (rows, columns)) / rows**0.5).astype(np.float32)

    zeros = lambda n: np.zeros(n, np.float32)
    v, bias = ppl.param("v", uniform(PIXELS, UNITS)), ppl.param("bias", zeros(UNITS))
    w, shift = ppl.param("w", uniform(UNITS, PIXELS)), ppl.param("shift", zeros(PIXELS))
    prior = ppl.param("prior", zeros(UNITS))
    with ppl.plate("images", len(x), subsample_size=BATCH) as i:
        rows = x[i].astype(np.float32)
        q = dist.Bernoulli(logits=rows @ v + bias).to_event(1)
        z = ppl.sample("z", dist.Bernoulli(logits=prior).expand([BATCH, UNITS]).to_event(1), guide=q)
        ppl.sample("x", dist.Bernoulli(logits=z @ w + shift).to_event(1), obs=rows)


def run(name: str, x: np.ndarray, seconds: float, steps: int = 10**9, seed: int = 1) -> dict:
    """Train for so many seconds of this process; the bound per image, averaged over windows of steps."""
    step = Step.of(belief_net, (x,), name, particles=DRAWS[name])
    d, states = step.objective.derivation, step.objective.start
    values = {n: np.asarray(p.init, np.float32) for n, p in d.parameters.items()}
    adam, rng = ppl.optim.Adam(RATE), np.random.default_rng(seed)
    moments = {n: adam.init(v) for n, v in values.items()}
    history, began, taken = [], time.process_time(), 0
    while taken < steps and (not taken or time.process_time() - began < seconds):
        rows = {n: minibatches(rng, d.plates[n], 1)[0] for n in d.index_inputs}
        bound, grads, states = step.with_bound(values, rows, {n: e[0] for n, e in step.noise(rng, 1).items()}, states)
        for n, g in grads.items():
            values[n], moments[n] = adam.update(-g / np.float32(len(x)), moments[n], values[n], RATE)
        history.append(float(bound) / len(x))
        taken += 1
    used = time.process_time() - began
    full = np.array(history[: taken // WINDOW * WINDOW]).reshape(-1, WINDOW).mean(1)
    last = float(np.mean(history[-WINDOW:]))
    return {"bound": full, "last": last, "steps": taken, "ms": 1e3 * used / taken, "cost": step.objective.cost}


def main(minutes: float = 1.0, plot: str | None = None, count: int = 60_000) -> dict[str, dict]:
    """Print the table, and draw it."""
    x = images(os.environ.get("PPL_DATA", "data"), count)
    rows = {name: run(name, x, 60.0 * minutes) for name in DRAWS}
    print(f"{len(x):,} images, {minutes:g} minutes of processor time each\n")
    head = f"at step {_common(rows)}"
    print(f"{'':20}{'draws':>6}{'steps':>8}{'ms a step':>11}{'bound, last steps':>19}{head:>16}")
    for name, r in sorted(rows.items(), key=lambda item: -item[1]["last"]):
        common = r["bound"][_common(rows) // WINDOW - 1] if _common(rows) else np.nan
        print(f"{name:20}{DRAWS[name]:6d}{r['steps']:8d}{r['ms']:11.2f}{r['last']:19.2f}{common:16.2f}")
    if plot:
        import matplotlib.pyplot as plt

        figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
        for name, r in rows.items():
            axes.plot(
                WINDOW * np.arange(1, len(r["bound"]) + 1),
                r["bound"],
                label=f"{name}, {DRAWS[name]} draw" + "s" * (DRAWS[name] > 1),
            )
        axes.set(
            xlabel="step",
            ylabel="training bound per image",
            title="Sigmoid belief net of 200 units, MNIST",
            ylim=LOOKED_AT,
        )
        axes.legend()
        figure.savefig(plot, dpi=80)
    return rows


def _common(rows: dict[str, dict]) -> int:
    """The last window that all have."""
    return WINDOW * min(len(r["bound"]) for r in rows.values())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=1.0, help="processor time for each estimator")
    parser.add_argument("--plot", metavar="FILE", help="save the curves as a picture")
    parser.add_argument("--count", type=int, default=60_000, help="images")
    main(**vars(parser.parse_args()))
