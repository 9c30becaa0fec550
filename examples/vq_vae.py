"""Images as a few words of a learned dictionary: VQ-VAE with one level of codes, and with two.

    encoder(x) -> vectors -> the nearest entries of a codebook -> decoder -> pixels

The nearest entry is found by comparing, which has no slope: on the way back the decoder's gradient is handed to the
encoder as if nothing had happened between (straight through). The codebook has no gradient at all: its entries are
moving averages of the vectors that chose them (van den Oord, Vinyals and Kavukcuoglu 2017, appendix A.1). With two
levels a coarse code is found first, and the fine one knows it (Razavi, van den Oord and Vinyals 2019).

To learn here:

- `ppl.state` keeps moving averages through training, minibatches, files and resumed runs;
- `x + ppl.stop_gradient(y - x)` has the value of y and the slope of x; `ppl.factor` adds a term to the objective.

With --full: MNIST, 20 epochs. Else 1,000 images, of MNIST where $PPL_DATA has them, and strokes where not.
"""

import argparse
import os
from pathlib import Path

import numpy as np

import ppl
import ppl.distributions as dist
from ppl import nn

ENTRIES, SIZE = 32, 8  # of a codebook
DECAY, COMMITMENT = 0.95, 0.25


def images(train, test, seed=0):
    """Binary images as rows of 784 pixels."""
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


def quantized(name, vectors):
    """Vectors (rows, codes, size) through the codebook of this name; what it costs to be far from it, by row."""
    counts = ppl.state(f"{name}.counts", np.ones(ENTRIES))
    sums = ppl.state(f"{name}.sums", np.random.default_rng(0).normal(size=(ENTRIES, SIZE)))
    book = sums.value / counts.value[:, None]
    far = np.sum(book**2, 1) - 2 * vectors @ book.T  # squared distances, but for what is the same for all entries
    chosen = np.argmin(far, -1)
    here = np.where(chosen[..., None] == np.arange(ENTRIES), 1.0, 0.0)
    used, total = np.sum(here, (0, 1)), np.einsum("nck,ncs->ks", here, ppl.stop_gradient(vectors))
    counts.update(DECAY * counts.value + (1 - DECAY) * used)
    sums.update(DECAY * sums.value + (1 - DECAY) * total)
    nearest = ppl.stop_gradient(book[chosen])
    ppl.deterministic(f"{name}.codes", chosen)
    return vectors + ppl.stop_gradient(nearest - vectors), np.sum((vectors - nearest) ** 2, (1, 2))


def model(x, levels=1, codes=(12, 4), hidden=200, batch=100):
    with ppl.plate("images", len(x), subsample_size=batch) as i:
        x, n = x[i], len(x[i])
        parts, cost = [], 0.0
        for level in reversed(range(levels)):  # the coarse one first
            seen = np.concatenate([x, *parts], -1)
            net = nn.MLP(seen.shape[-1], hidden, codes[level] * SIZE)
            vectors = np.reshape(ppl.module(f"encoder {level}", net)(seen), (n, codes[level], SIZE))
            z, far = quantized(f"level {level}", vectors)
            parts, cost = [*parts, np.reshape(z, (n, -1))], cost + far
        z = np.concatenate(parts, -1)
        logits = ppl.module("decoder", nn.MLP(z.shape[-1], hidden, 784))(z)
        ppl.sample("x", dist.Bernoulli(logits=logits).to_event(1), obs=x)
        ppl.factor("commitment", -COMMITMENT * cost)


def seen(fit, x, levels):
    """Codes of images by level, and the pixels' probabilities that the decoder makes of them."""
    fixed = ppl.handlers.substitute(model, fit.params)
    sites = ppl.handlers.trace(ppl.handlers.seed(fixed, 0)).get_trace(x, levels, batch=len(x))
    codes = [sites[f"level {k}.codes"]["value"] for k in range(levels)]
    return codes, 1 / (1 + np.exp(-sites["x"]["fn"].base_dist.logits))


def perplexity(codes):
    """How many entries are in use, those used more often counting more."""
    share = np.bincount(codes.ravel(), minlength=ENTRIES) / codes.size
    return float(np.exp(-np.sum(share[share > 0] * np.log(share[share > 0]))))


def plot(path, x, rows):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 2.2), layout="constrained")
    axes = figure.subplots()
    picture = np.stack([x[:14], *(r[:14] for r in rows)]).reshape(-1, 14, 28, 28).transpose(0, 2, 1, 3)
    axes.imshow(picture.reshape(-1, 14 * 28), cmap="gray")
    axes.set_title("held-out images; by one level of codes; by two")
    axes.axis("off")
    figure.savefig(path, dpi=80)


def main(full=False, path=None):
    x, test = images(60_000, 2000) if full else images(1000, 200)
    found = {"test": test, "fits": [], "perplexity": [], "lost": []}
    pictures = []
    mean = np.clip(x.mean(0), 0.01, 0.99)
    found["blind"] = float(-np.mean(np.sum(test * np.log(mean) + (1 - test) * np.log(1 - mean), 1)))
    print(f"pixels by their means alone: {found['blind']:.1f} nats lost for each held-out image")
    for levels in (1, 2):
        algorithm = ppl.BBVI(epochs=20 if full else 40, optimizer=ppl.optim.Adam(1e-3 if full else 2e-3))
        fit = ppl.infer(model, x, levels, algorithm=algorithm, progress=False)
        codes, p = seen(fit, test, levels)
        pictures.append(p)
        found["lost"].append(float(-np.mean(np.sum(np.log(np.where(test > 0.5, p, 1 - p)), 1))))
        found["perplexity"].append([perplexity(c) for c in codes])
        found["fits"].append(fit)
        in_use = ", ".join(f"{p:.1f} of {ENTRIES}" for p in found["perplexity"][-1])
        print(f"{levels} level{'s' * (levels > 1)}: {found['lost'][-1]:.1f} nats lost, entries in use: {in_use}")
    if path:
        plot(path, test, pictures)
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="all of MNIST, 20 epochs")
    parser.add_argument("--plot", metavar="FILE")
    options = parser.parse_args()
    main(options.full, options.plot)
