"""A network whose weights have a posterior: it knows where it has not looked.

The same network, tanh with 20 units, twice: with weights that are learned (one curve, as sure of itself between the
data as on them), and with a prior on its weights, whose posterior is a family of curves that fan out where there are
no data.

To learn here:

- `prior=` turns the weights of `ppl.module` from parameters into random sites; nothing else changes;
- `fit.predict(x)` draws new observations at inputs of any number, with all uncertainty in them;
- a verdict is to be read: a Gaussian guide holds one of a network's many equal modes, and says so.

`--full` takes four times as many points, and twice as many units and steps.
"""

import argparse

import numpy as np

import ppl
import ppl.distributions as dist
from ppl import nn

NOISE, GAP = 0.1, (-1.0, 1.5)


def generate(count, seed=0):
    """A sine with no data in the middle."""
    rng = np.random.default_rng(seed)
    x = np.concatenate([rng.uniform(-4, GAP[0], count // 2), rng.uniform(GAP[1], 4, count - count // 2)])[:, None]
    return x, np.sin(x[:, 0]) + NOISE * rng.standard_normal(count)


def standard(path, shape):
    """Weights of variance 1 in, and such out that the sum of all units has variance 4."""
    ins = shape[0] if path == "1.weight" else 4.0
    return dist.Normal(0, 2.0 / np.sqrt(ins)).expand(shape).to_event(len(shape))


def model(x, y=None, units=20, prior=None):
    curve = ppl.module("net", nn.MLP(1, units, 1, activation="tanh"), prior=prior)(x)[:, 0]
    noise = ppl.sample("noise", dist.HalfNormal(0.5))
    ppl.deterministic("curve", curve)
    with ppl.plate("points", len(x)):
        ppl.sample("y", dist.Normal(curve, noise), obs=y)


def main(full=False, plot=None):
    units, count = (40, 320) if full else (20, 80)
    x, y = generate(count)
    grid = np.linspace(-6, 6, 121)[:, None]
    algorithm = ppl.BBVI(steps=12_000 if full else 6_000, dtype=np.float64)
    fits, bands = {}, {}
    for name, prior, guide in (("learned", None, "meanfield"), ("posterior", standard, "fullrank")):
        fit = ppl.infer(model, x, y, units, prior, guide=guide, algorithm=algorithm, progress=False)
        drawn = fit.predict(grid, None, units, prior, num_samples=800)["y"]
        fits[name], bands[name] = fit, (drawn.mean(0), drawn.std(0))
        sd = lambda at, name=name: float(bands[name][1][np.abs(grid[:, 0] - at).argmin()])
        print(f"{name:9} noise {float(fit['noise'].mean):.3f}; sd of a new y at the data {sd(-2.5):.3f}, ", end="")
        print(f"in the gap {sd(0.25):.3f}, outside {sd(6.0):.3f}")
    print(fits["posterior"].verdict)
    if plot:
        draw(x, y, grid, bands, plot)
    return {"fits": fits, "grid": grid, "bands": bands}


def draw(x, y, grid, bands, path):
    """Means and two sds of new observations."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), sharey=True, layout="constrained")
    for axes_of, (name, (mean, sd)) in zip(axes, bands.items(), strict=True):
        axes_of.fill_between(grid[:, 0], mean - 2 * sd, mean + 2 * sd, alpha=0.25, linewidth=0)
        axes_of.plot(grid, mean)
        axes_of.plot(grid, np.sin(grid), "k--", linewidth=1)
        axes_of.plot(x, y, ".", color="k", markersize=3)
        axes_of.axvspan(*GAP, color="0.93", zorder=0)
        axes_of.set(title={"learned": "weights learned", "posterior": "weights with a posterior"}[name], xlabel="x")
    axes[0].set(ylabel="y", ylim=(-2.5, 2.5))
    figure.savefig(path, dpi=80)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="more points, units and steps")
    parser.add_argument("--plot", metavar="FILE", help="save a picture of the two predictions")
    main(**vars(parser.parse_args()))
