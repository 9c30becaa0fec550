"""How much a code should say: the weight of the KL term, its annealing, and free bits.

    beta-VAE climbs  -D - beta R,   R = KL(q(z | x) || p(z)): what the code costs,  D = -log p(x | z): what is lost

Each beta ends at another point of the curve between rate and distortion; a large one ends where the code says nothing.
A weight that rises from 0 to 1 (annealing) and free bits, a KL up to which the code is free, end near beta = 1, by
other ways. The bound of the fit stays that without weights.

To learn here:

- `weights={"z": ...}`: a number, a function of the step, or `ppl.FreeBits(nats)` of all data together;
- `fit.information(data)` gives rate and distortion with their errors, and how many units are in use.

With --full: MNIST, 10 epochs for every point of the curve.
"""

import argparse
import os
from pathlib import Path

import numpy as np

import ppl
import ppl.distributions as dist
from ppl import nn

BETAS = (0.1, 0.3, 1.0, 3.0, 10.0)


def data(full, seed=0):
    """Rows of 784 binary pixels of MNIST, or of numbers that eight hidden causes move; and half as many held out."""
    rng = np.random.default_rng(seed)
    path = Path(os.environ.get("PPL_DATA", ".")) / "images" / "mnist.npz"
    if full and path.exists():
        with np.load(path) as held:
            grey = [held[k].reshape(-1, 784) / 255 for k in ("x_train", "x_test")]
        return [(rng.random(g.shape) < g).astype(np.float32) for g in grey]
    causes, mix = rng.normal(size=(3000, 8)), rng.normal(size=(8, 40)) * np.geomspace(2.0, 0.2, 8)[:, None]
    probability = 1 / (1 + np.exp(-causes @ mix))
    x = (rng.random(probability.shape) < probability).astype(np.float32)
    return x[:2000], x[2000:]


def vae(x, latent, hidden, batch=100):
    width = x.shape[1]
    with ppl.plate("rows", len(x), subsample_size=batch) as i:
        encoder = nn.MLP(width, hidden, (latent, latent), heads=("real", "positive"))
        loc, scale = ppl.module("encoder", encoder)(x[i])
        z = ppl.sample("z", dist.Normal(0, 1).expand([latent]).to_event(1), guide=dist.Normal(loc, scale).to_event(1))
        logits = ppl.module("decoder", nn.MLP(latent, hidden, width))(z)
        ppl.sample("x", dist.Bernoulli(logits=logits).to_event(1), obs=x[i])


def plot(path, points):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3.6), layout="constrained")
    axes = figure.subplots()
    curve = [points[f"beta {b:g}"] for b in BETAS]
    axes.plot([p.rate.value for p in curve], [p.distortion.value for p in curve], "o-", label="beta")
    for b, p in zip(BETAS, curve):
        axes.annotate(f"{b:g}", (p.rate.value, p.distortion.value), xytext=(4, 3), textcoords="offset points")
    for name, mark in (("annealed", "s"), ("free bits", "^")):
        axes.plot(points[name].rate.value, points[name].distortion.value, mark, label=name)
    axes.set(xlabel="rate, nats", ylabel="distortion, nats", title="held-out data")
    axes.legend()
    figure.savefig(path, dpi=80)


def main(full=False, path=None):
    x, test = data(full)
    size = {"latent": 20, "hidden": 400} if full else {"latent": 8, "hidden": 50}
    epochs = 10 if full else 30
    steps = epochs * len(x) // 100
    ways = {f"beta {b:g}": b for b in BETAS}
    ways |= {"annealed": lambda step: min(1.0, 2 * step / steps), "free bits": ppl.FreeBits(5.0 * len(x))}
    points = {}
    print(f"{'nats per datum':15s}{'rate':>9s}{'distortion':>12s}{'bound':>9s}   active units")
    for name, weight in ways.items():
        algorithm = ppl.BBVI(epochs=epochs, optimizer=ppl.optim.Adam(1e-3 if full else 3e-3), weights={"z": weight})
        fit = ppl.infer(vae, x, algorithm=algorithm, progress=False, **size)
        p = points[name] = fit.information(test, **size)
        print(f"{name:15s}{p.rate.value:9.2f}{p.distortion.value:12.2f}{p.elbo:9.2f}   {p.active}")
    if path:
        plot(path, points)
    return points


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="MNIST, 10 epochs for each point")
    parser.add_argument("--plot", metavar="FILE")
    options = parser.parse_args()
    main(options.full, options.plot)
