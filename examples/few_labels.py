"""Few labels, many images: a semi-supervised variational autoencoder.

    class ~ Categorical(1/10),  z ~ N(0, 1),  pixels ~ Bernoulli(decoder(z, class)),  guide N(encoder(x))

Only some of the images have a label; `obs_mask=` says which. Where it is missing the class is summed out, exactly, in
every minibatch: the decoder is run at all ten classes, and those that explain the image better are learned from more.
The same model then says what class a new image has. (Kingma, Rezende, Mohamed and Welling 2014, their model M2, whose
guide of the class is a network of its own; here it is the exact conditional, given z.) Images with a label are so few
that they are shown several times in an epoch: else the classes would be groups of images of the model's own making.

To learn here:

- `obs_mask=known[i]` in a subsampled plate, and what `explain()` says of it;
- `fit.posterior(...)` on images without labels gives draws of the class.

With --full: 20,000 images of MNIST, 100 of them labelled, 20 epochs. Else 1,500, and where $PPL_DATA has none, strokes.
"""

import argparse
import os
from pathlib import Path

import numpy as np

import ppl
import ppl.distributions as dist
from ppl import nn

CLASSES = 10


def images(train, test, seed=0):
    """Binary images as rows, and their classes: MNIST's digits, else strokes of ten directions."""
    rng = np.random.default_rng(seed)
    path = Path(os.environ.get("PPL_DATA", ".")) / "images" / "mnist.npz"
    if path.exists():
        with np.load(path) as data:
            grey = [data[k][:n].reshape(-1, 784) / 255 for k, n in (("x_train", train), ("x_test", test))]
            y = [data["y_train"][:train].astype(int), data["y_test"][:test].astype(int)]
    else:
        kind = rng.integers(CLASSES, size=train + test)
        row, column = np.mgrid[:28, :28][:, None] - rng.uniform(11, 16, (2, train + test, 1, 1))
        angle = np.pi * kind[:, None, None] / CLASSES
        stroke = np.exp(-0.3 * (row * np.cos(angle) + column * np.sin(angle)) ** 2) * (np.hypot(row, column) < 10)
        grey, y = np.split(stroke.reshape(-1, 784), [train]), np.split(kind, [train])
    return *[(rng.random(g.shape) < g).astype(np.float32) for g in grey], *y


def model(x, y, known, latent=4, hidden=150, batch=100):
    encoder = nn.MLP(784, hidden, (latent, latent), heads=("real", "positive"))
    decoder = nn.MLP(latent + CLASSES, hidden, 784)
    with ppl.plate("images", len(x), subsample_size=batch) as i:
        kind = ppl.sample("class", dist.Categorical(np.full(CLASSES, 1 / CLASSES)), obs=y[i], obs_mask=known[i])
        loc, scale = ppl.module("encoder", encoder)(x[i])
        z = ppl.sample("z", dist.Normal(0, 1).expand([latent]).to_event(1), guide=dist.Normal(loc, scale).to_event(1))
        of_class = np.where(kind[..., None] == np.arange(CLASSES), 1.0, 0.0)
        ppl.sample("x", dist.Bernoulli(logits=ppl.module("decoder", decoder)(z, of_class)).to_event(1), obs=x[i])


def classes(fit, x, draws=20):
    """The most frequent class among draws, for images without labels."""
    nothing = np.zeros(len(x), int), np.zeros(len(x), bool)
    drawn = fit.posterior(x, *nothing).sample(draws)["class"]
    return np.argmax(np.sum(drawn[..., None] == np.arange(CLASSES), 0), -1)


def nearest(x, y, test):
    """The class of the nearest labelled image: what the labels alone can do."""
    return y[np.argmin(np.sum(x**2, 1) - 2 * test @ x.T, 1)]


def plot(path, fit, test):
    """Rows: held-out images; columns: the image, then all ten classes in its style."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.5, 3.2), layout="constrained")
    axes = figure.subplots()
    some = test[:6]
    nothing = np.zeros(6, int), np.zeros(6, bool)
    code = fit.posterior(some, *nothing).guide_of("z").mean
    rows = [some]
    for k in range(CLASSES):
        fixed = ppl.handlers.substitute(model, {**fit.params, "z": code})
        told = np.full(6, k), np.ones(6, bool)
        sites = ppl.handlers.trace(ppl.handlers.seed(fixed, 0)).get_trace(some, *told, batch=6)
        rows.append(1 / (1 + np.exp(-sites["x"]["fn"].base_dist.logits)))
    picture = np.stack(rows, 1).reshape(6, CLASSES + 1, 28, 28).transpose(0, 2, 1, 3)
    axes.imshow(picture.reshape(6 * 28, -1), cmap="gray")
    axes.set_title("a held-out image, and every class in its style")
    axes.axis("off")
    figure.savefig(path, dpi=80)


def main(full=False, path=None):
    x, test, y, of_test = images(20_000, 1000) if full else images(1500, 300)
    labels = 100 if full else 150
    often = len(x) // labels - 1
    shown = np.concatenate([np.tile(np.arange(labels), often), np.arange(labels, len(x))])
    known = np.arange(len(shown)) < often * labels
    epochs = 20 if full else 30
    algorithm = ppl.BBVI(epochs=epochs, optimizer=ppl.optim.Adam(1e-3 if full else 3e-3))
    fit = ppl.infer(model, x[shown], np.where(known, y[shown], 0), known, algorithm=algorithm, progress=False)
    print(next(line.strip() for line in fit.explain().splitlines() if "enumerate:" in line))
    found = float(np.mean(classes(fit, test) == of_test))
    alone = float(np.mean(nearest(x[:labels], y[:labels], test) == of_test))
    print(f"{labels} labels of {len(x)} images: {found:.1%} of {len(test)} held-out ones right")
    print(f"nearest of the labelled images alone: {alone:.1%}")
    if path:
        plot(path, fit, test)
    return {"fit": fit, "right": found, "nearest": alone}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="20,000 images of MNIST, 100 labels")
    parser.add_argument("--plot", metavar="FILE")
    options = parser.parse_args()
    main(options.full, options.plot)
