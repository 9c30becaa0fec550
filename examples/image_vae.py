"""A variational autoencoder of images: samples, reconstructions, the manifold of two codes, a walk between images.

    z ~ N(0, 1)^20,  pixels ~ Bernoulli(logits = decoder(z)),  guide N(encoder(x))

Auto-encoding variational Bayes (Kingma and Welling 2014) as one model function: a 784-400-20-400-784 network with ReLU,
minibatches of 128, one draw of the code for each image, Adam at 1e-3.

To learn here:

- float32 images (or networks) make the whole program work in float32;
- `fit.posterior(images)` encodes images never seen, and `fit.information(images)` says what the code costs and keeps;
- `fit.log_likelihood(images, samples=...)` is the importance-weighted log likelihood;
- new images are drawn by the model itself, with the learned parameters: `ppl.handlers.substitute(vae, fit.params)`.

The images are MNIST's where the folder $PPL_DATA has them, else rings and strokes that are made here. With --full: all
of MNIST for 20 epochs.
"""

import argparse
import os
from pathlib import Path

import numpy as np

import ppl
import ppl.distributions as dist
from ppl import nn


def images(train=2000, test=500, seed=0):
    """Float32 images between 0 and 1 as rows of 784 pixels, for training and held out; and their labels."""
    path = Path(os.environ.get("PPL_DATA", ".")) / "images" / "mnist.npz"
    if path.exists():
        with np.load(path) as data:
            parts = [data[k] for k in ("x_train", "x_test", "y_train", "y_test")]
        x, y = (p[:n].reshape(-1, 784).astype(np.float32) / 255 for p, n in zip(parts[:2], (train, test)))
        return x, y, parts[2][:train], parts[3][:test]
    rng = np.random.default_rng(seed)
    n = train + test
    row, column = np.mgrid[:28, :28][:, None].astype(float)
    centre, size, kind = rng.uniform(11, 17, (2, n, 1, 1)), rng.uniform(4, 9, (n, 1, 1)), rng.integers(2, size=n)
    angle = rng.uniform(0, np.pi, (n, 1, 1))
    across = (row - centre[0]) * np.cos(angle) + (column - centre[1]) * np.sin(angle)
    ring = np.hypot(row - centre[0], column - centre[1]) - size
    ink = np.exp(-0.5 * (np.where(kind[:, None, None], ring, across) / 1.2) ** 2)
    ink = (ink * (np.hypot(row - 14, column - 14) < 13)).reshape(n, 784).astype(np.float32)
    return ink[:train], ink[train:], kind[:train], kind[train:]


def vae(x, latent=20, hidden=400, batch=128):
    encoder = nn.MLP(784, hidden, (latent, latent), heads=("real", "positive"))
    with ppl.plate("images", len(x), subsample_size=batch) as i:
        loc, scale = ppl.module("encoder", encoder)(x[i])
        z = ppl.sample("z", dist.Normal(0, 1).expand([latent]).to_event(1), guide=dist.Normal(loc, scale).to_event(1))
        logits = ppl.module("decoder", nn.MLP(latent, hidden, 784))(z)
        ppl.sample("x", dist.Bernoulli(logits=logits).to_event(1), obs=x[i])


def binary(x, seed=0):
    """Pixels drawn from their grey values, once: Bernoulli data."""
    return (np.random.default_rng(seed).random(x.shape) < x).astype(np.float32)


def decoded(fit, z, **how):
    """The images that a fit's decoder makes of codes (rows, latent): probabilities of the pixels."""
    model = ppl.handlers.substitute(vae, {**fit.params, "z": z})
    blank = np.zeros((len(z), 784), np.float32)
    sites = ppl.handlers.trace(ppl.handlers.seed(model, 0)).get_trace(blank, batch=len(z), **how)
    return 1.0 / (1.0 + np.exp(-sites["x"]["fn"].base_dist.logits))


def train(x, test, epochs, seed=0, latent=20):
    algorithm = ppl.BBVI(epochs=epochs, optimizer=ppl.optim.Adam(1e-3), held_out=((test,), {"latent": latent}))
    return ppl.infer(vae, x, latent=latent, algorithm=algorithm, seed=seed, progress=False)


def grid(rows):
    """Images (rows, columns, 784) as one picture."""
    rows = np.asarray(rows).reshape(len(rows), -1, 28, 28)
    return rows.transpose(0, 2, 1, 3).reshape(len(rows) * 28, -1)


def plot(path, fit, plane, test):
    from matplotlib.figure import Figure
    from scipy.special import ndtri

    figure = Figure(figsize=(10, 5.6), layout="constrained")
    panels = figure.subplots(2, 2).ravel()
    rng = np.random.default_rng(0)
    codes = fit.posterior(test[:12]).guide_of("z").mean
    sampled = decoded(fit, rng.normal(size=(60, codes.shape[1])))
    panels[0].imshow(grid(sampled.reshape(5, 12, 784)), cmap="gray")
    panels[0].set_title("drawn from the prior")
    panels[1].imshow(grid([test[:12], decoded(fit, codes)]), cmap="gray")
    panels[1].set_title("held-out images, and their reconstructions")
    at = ndtri((np.arange(12) + 0.5) / 12)
    square = np.stack(np.meshgrid(at, -at), -1).reshape(-1, 2)
    panels[2].imshow(grid(decoded(plane, square, latent=2).reshape(12, 12, 784)), cmap="gray")
    panels[2].set_title("the manifold of two codes")
    steps = np.linspace(0, 1, 12)[:, None]
    walks = [decoded(fit, (1 - steps) * codes[a] + steps * codes[b]) for a, b in ((0, 1), (2, 3), (4, 5))]
    panels[3].imshow(grid(walks), cmap="gray")
    panels[3].set_title("from one image to another, in the codes")
    for panel in panels:
        panel.axis("off")
    figure.savefig(path, dpi=60)


def main(full=False, path=None):
    x, test, *_ = images(60_000, 10_000) if full else images()
    x, test = binary(x), binary(test, 1)
    fit = train(x, test, 20 if full else 25)
    for step, bound in fit.held_out[:: max(len(fit.held_out) // 6, 1)]:
        print(f"step {step:6.0f}: bound of a held-out image {bound / len(test):.2f}")
    found = fit.information(test)
    print(found)
    likelihood = fit.log_likelihood(test[:500], samples=100)
    print(likelihood)
    plane = train(x, test, 20 if full else 40, latent=2)
    if path:
        plot(path, fit, plane, test)
    return {"fit": fit, "plane": plane, "test": test, "information": found, "likelihood": likelihood}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="all of MNIST, 20 epochs")
    parser.add_argument("--plot", metavar="FILE")
    options = parser.parse_args()
    main(options.full, options.plot)
