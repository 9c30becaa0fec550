"""Importance-weighted autoencoders: the same networks trained by bounds of one and of several samples.

    L_k = E[log mean of k weights p(x, z) / q(z | x)],  L_1 <= L_5 <= L_50 <= log p(x)

The bound of several samples asks less of the guide: it need not fit the posterior everywhere, only reach it now and
then (Burda, Grosse and Salakhutdinov 2016). The models are compared by one yardstick, the log likelihood of held-out
images by many samples.

To learn here:

- `bound=ppl.IWAE(k)` is what is climbed; k = 1 is the ELBO;
- `fit.log_likelihood(images, samples=...)` with its error; `fit.information(images).active` counts units in use.

With --full: MNIST, two layers of 200 tanh units, 50 codes, 20 epochs; pixels are drawn from their grey values once. The
published figures, 86.76, 85.54 and 84.78 nats, are those of 3,280 epochs.
"""

import argparse
import os
from pathlib import Path

import numpy as np

import ppl
import ppl.distributions as dist
from ppl import nn


def images(train, test, seed=0):
    """Binary images as rows: MNIST's, else strokes that are made here."""
    rng = np.random.default_rng(seed)
    path = Path(os.environ.get("PPL_DATA", ".")) / "images" / "mnist.npz"
    if path.exists():
        with np.load(path) as data:
            grey = [data[k][:n].reshape(-1, 784) / 255 for k, n in (("x_train", train), ("x_test", test))]
    else:
        row, column = np.mgrid[:28, :28][:, None] - rng.uniform(9, 18, (2, train + test, 1, 1))
        angle = rng.uniform(0, np.pi, (train + test, 1, 1))
        stroke = np.exp(-0.3 * (row * np.cos(angle) + column * np.sin(angle)) ** 2) * (np.hypot(row, column) < 9)
        grey = np.split(stroke.reshape(-1, 784), [train])
    return [(rng.random(g.shape) < g).astype(np.float32) for g in grey]


def vae(x, latent, hidden, batch=100):
    layers = (hidden, hidden)
    encoder = nn.MLP(784, *layers, (latent, latent), activation="tanh", heads=("real", "positive"))
    decoder = nn.MLP(latent, *layers, 784, activation="tanh")
    with ppl.plate("images", len(x), subsample_size=batch) as i:
        loc, scale = ppl.module("encoder", encoder)(x[i])
        z = ppl.sample("z", dist.Normal(0, 1).expand([latent]).to_event(1), guide=dist.Normal(loc, scale).to_event(1))
        ppl.sample("x", dist.Bernoulli(logits=ppl.module("decoder", decoder)(z)).to_event(1), obs=x[i])


def plot(path, ks, found):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3), layout="constrained")
    left, right = figure.subplots(1, 2)
    values = [[-x.per_datum for x in row] for row in found["likelihoods"]]
    for k, row in zip(ks, values):
        left.plot(found["samples"], row, "o-", ms=3, label=f"trained with k = {k}")
    top = max(row[1] for row in values)  # where the guide is wide, one sample says little
    left.set_ylim(min(map(min, values)) - 1, top + 0.3 * (top - min(map(min, values))) + 1)
    left.set(xscale="log", xlabel="samples of the bound", ylabel="minus the bound, nats an image")
    left.legend(fontsize=7)
    right.bar([str(k) for k in ks], [x.active for x in found["information"]])
    right.set(xlabel="k in training", ylabel="active units")
    figure.savefig(path, dpi=80)


def main(full=False, path=None, epochs=None):
    ks, samples = ((1, 5, 50), (1, 5, 50, 1000)) if full else ((1, 5, 20), (1, 5, 20, 100))
    x, test = images(60_000, 500) if full else images(800, 100)
    size = {"latent": 50, "hidden": 200} if full else {"latent": 8, "hidden": 40}
    epochs = epochs or (20 if full else 40)
    rate = ppl.optim.CosineDecay(1e-3 if full else 3e-3, epochs * len(x) // 100, 1e-4)
    found = {"samples": samples, "likelihoods": [], "information": [], "fits": []}
    print("nats an image, of", len(test), "held-out images after", epochs, "epochs")
    print("trained with   " + "".join(f"{'L_' + str(k):>10s}" for k in samples) + "   active units")
    for k in ks:
        bound = ppl.ELBO() if k == 1 else ppl.IWAE(k)
        algorithm = ppl.BBVI(epochs=epochs, optimizer=ppl.optim.Adam(rate), bound=bound)
        fit = ppl.infer(vae, x, algorithm=algorithm, progress=False, **size)
        row = [fit.log_likelihood(test, samples=s, **size) for s in samples]
        found["likelihoods"].append(row)
        found["information"].append(fit.information(test, **size))
        found["fits"].append(fit)
        text = "".join(f"{r.per_datum:10.2f}" for r in row)
        print(f"{'k = ' + str(k):15s}{text}   {found['information'][-1].active}")
    if path:
        plot(path, ks, found)
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="MNIST, the published sizes, 20 epochs")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--plot", metavar="FILE")
    options = parser.parse_args()
    main(options.full, options.plot, options.epochs)
