"""A small network learns sin(z): where its weights start decides how well.

One hidden layer of 20 units, full batches, Adam at 1e-3, 2,000 steps; noise of variance 0.01 is the floor that no
fit can go below. Five seeds, because starts differ: a unit whose kink begins outside of the data never moves.

To learn here:

- `ppl.module` makes the weights of a network parameters of the model; without latent sites a fit is maximum likelihood;
- a table of all seeds and their median say more than the best run.

`--full` takes 10,000 points instead of 2,000.
"""

import argparse

import numpy as np

import ppl
import ppl.distributions as dist
from ppl import nn

NOISE, STEPS, SHOWN = 0.1, 2000, (100, 1000, 2000)
NET = nn.MLP(1, 20, 1)


def generate(count, seed):
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((count, 1))
    return z, np.sin(z) + NOISE * rng.standard_normal((count, 1))


def model(z, y):
    mean = ppl.module("net", NET)(z)
    with ppl.plate("points", len(z)):
        ppl.sample("y", dist.Normal(mean, NOISE).to_event(1), obs=y)


def losses(fit, count):
    """Mean squared errors at every step, from the log likelihoods."""
    return 2 * NOISE**2 * (-fit.history / count - 0.5 * np.log(2 * np.pi * NOISE**2))


def main(full=False, plot=None):
    count, table, fits = 10_000 if full else 2_000, [], []
    algorithm = ppl.BBVI(steps=STEPS, optimizer=ppl.optim.Adam(1e-3))
    print(f"{NET}, {count:,} points\nseed   " + "  ".join(f"step {step:5,}" for step in SHOWN))
    for seed in range(5):
        fits.append(ppl.infer(model, *generate(count, seed), algorithm=algorithm, seed=seed, progress=False))
        loss = losses(fits[-1], count)
        table.append([loss[step - 1] for step in SHOWN])
        print(f"{seed:4}   " + "  ".join(f"{x:10.5f}" for x in table[-1]))
    median = np.median(table, axis=0)
    print("median " + "  ".join(f"{x:10.5f}" for x in median))
    if plot:
        draw(fits, count, plot)
    return {"fits": fits, "table": np.array(table), "median": median}


def draw(fits, count, path):
    """The curves of five starts, and how their losses fall."""
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    z, y = generate(count, 0)
    grid = np.linspace(-4, 4, 400)[:, None]
    left.plot(z[::10], y[::10], ".", color="0.8", markersize=3, zorder=0)
    left.plot(grid, np.sin(grid), "k--", linewidth=1, label="sin z")
    for seed, fit in enumerate(fits):
        weights = {k: {n: fit.params[f"net.{k}.{n}"] for n in ("weight", "bias")} for k in "01"}
        left.plot(grid, NET.apply(weights, grid), linewidth=1, label=f"seed {seed}")
        right.loglog(1 + np.arange(STEPS), losses(fit, count), linewidth=1)
    right.axhline(NOISE**2, color="k", linestyle="--", linewidth=1)
    left.set(xlabel="z", ylabel="y", title="the network", ylim=(-1.7, 2.3))
    right.set(xlabel="step", ylabel="mean squared error", title="its loss, and the noise")
    left.legend(fontsize=8, ncols=3, loc="upper center")
    figure.savefig(path, dpi=80)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="10,000 points")
    parser.add_argument("--plot", metavar="FILE", help="save a picture of the curves")
    main(**vars(parser.parse_args()))
