"""A variational autoencoder of points on a circle: prior, decoder and amortised posterior in one model function.

    z ~ N(0, 1),  x = (cos z, sin z) + 0.1 noise

The decoder has to bend a line into a circle, the encoder to say where on it a point lies. Most of the circle is seen:
a standard normal wraps around it now and then, and where both ends overlap the posterior has two modes, of which
a Normal holds one.

To learn here:

- `ppl.module` makes a network part of a model, also of the guide that stands in place at its site;
- `epochs=` trains without stages, on rows shuffled by the seed, with the bound of held-out data after every epoch;
- `fit.posterior(new_data)` and `fit.information(new_data)` use the trained network on data never seen.

With --full: 20,000 points, 500 epochs at a step size of 3e-4, five seeds, as in the course; about a minute.
"""

import argparse

import numpy as np

import ppl
import ppl.distributions as dist
from ppl import nn

NOISE = 0.1


def points(size, seed=0):
    """Float32 points around the circle, and their angles."""
    rng = np.random.default_rng(seed)
    angle = rng.normal(size=size)
    x = np.stack([np.cos(angle), np.sin(angle)], -1) + NOISE * rng.normal(size=(size, 2))
    return x.astype(np.float32), angle


def circle(x, batch):
    encoder = nn.MLP(2, 20, 20, (1, 1), heads=("real", "positive"))
    decoder = nn.MLP(1, 20, 20, 2)
    with ppl.plate("points", len(x), subsample_size=batch) as i:
        loc, scale = ppl.module("encoder", encoder)(x[i])
        z = ppl.sample("z", dist.Normal(0, 1).expand([1]).to_event(1), guide=dist.Normal(loc, scale).to_event(1))
        ppl.sample("x", dist.Normal(ppl.module("decoder", decoder)(z), NOISE).to_event(1), obs=x[i])


def decoded(fit, z):
    """Where the decoder of a fit puts some codes."""
    model = ppl.handlers.substitute(circle, {**fit.params, "z": z})
    return ppl.handlers.trace(ppl.handlers.seed(model, 0)).get_trace(np.zeros((len(z), 2)), len(z))["x"]["fn"].mean


def train(seed=0, full=False):
    size, batch, epochs, rate = (20_000, 1000, 500, 3e-4) if full else (4000, 100, 40, 3e-3)
    x, _ = points(size)
    cut = size * 3 // 4
    algorithm = ppl.BBVI(
        epochs=epochs, optimizer=ppl.optim.Adam(rate), held_out=((x[cut:], batch), {}), evaluate_every=10 * cut // batch
    )
    fit = ppl.infer(circle, x[:cut], batch, algorithm=algorithm, seed=seed, progress=False)
    return fit, x[:cut], x[cut:]


def plot(path, fit, test):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.2), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    some = test[:1000]
    fitted = fit.posterior(some, len(some)).guide_of("z")
    left.plot(np.convolve(fit.history / len(fit.problem.args[0]), np.ones(15) / 15, "valid"), lw=0.8)
    left.plot(fit.held_out[:, 0], fit.held_out[:, 1] / len(test), "o", ms=3)
    left.set(ylim=(-5, 0), xlabel="step", ylabel="bound per point", title="training, and held-out points")
    angle = np.arctan2(some[:, 1], some[:, 0])
    middle.errorbar(angle, fitted.mean[:, 0], np.sqrt(fitted.variance[:, 0]), fmt=".", ms=2, lw=0.3)
    middle.set(xlabel="angle of the point", ylabel="code: mean and sd", title="the encoder")
    z = np.linspace(-3, 3, 200)[:, None]
    curve = decoded(fit, z)
    right.plot(some[:, 0], some[:, 1], ".", ms=1.5, color="0.7")
    coloured = right.scatter(curve[:, 0], curve[:, 1], c=z[:, 0], s=6, cmap="viridis")
    figure.colorbar(coloured, ax=right, label="code")
    right.set(aspect="equal", title="the decoder")
    figure.savefig(path, dpi=80)


def main(full=False, seeds=1, path=None):
    rows, fits = [], []
    for seed in range(seeds):
        fit, train_points, test = train(seed, full)
        rows.append((seed, fit.elbo / len(train_points), fit.posterior(test, len(test)).elbo / len(test)))
        fits.append(fit)
        print(f"seed {seed}: bound per point {rows[-1][1]:.4f} in training, {rows[-1][2]:.4f} on held-out points")
    if seeds > 1:
        medians = np.median(rows, axis=0)
        print(f"median of {seeds} seeds: {medians[1]:.4f} in training, {medians[2]:.4f} on held-out points")
    found = fits[0].information(test[:500], 500)
    print(found)
    if path:
        plot(path, fits[0], test)
    return {"fits": fits, "rows": np.array(rows), "test": test, "information": found}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="the course's size, five seeds")
    parser.add_argument("--plot", metavar="FILE")
    options = parser.parse_args()
    main(options.full, 5 if options.full else 1, options.plot)
