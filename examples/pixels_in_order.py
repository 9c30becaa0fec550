"""Images read pixel by pixel: MADE and PixelCNN as exact densities, and what they draw.

Every image holds one full rectangle, all 1,296 of them alike; so the best average log density there is is
-log(1296), and a drawn image is right if it is a rectangle. PixelCNN's convolutions know that images look alike
everywhere; MADE has to learn every pixel by itself.

To learn here:

- a network may give a distribution: `ppl.module("pixels", net)()` stands in `ppl.sample` like any family;
- its density is exact, so that a model of images can be judged in nats, and not by eye alone.

`--full` fits MNIST (28 x 28, binarised) from the folder that $PPL_DATA names.
"""

import argparse
import os
from pathlib import Path

import numpy as np

import ppl
from ppl import nn

SIDE, ENTROPY = 8, np.log(1296.0)


def rectangles(count, seed=0):
    """Images of one full rectangle, drawn uniformly of all."""
    rng = np.random.default_rng(seed)
    pairs = np.array([(a, b) for a in range(SIDE) for b in range(a, SIDE)])
    rows, columns = pairs[rng.integers(0, len(pairs), count)], pairs[rng.integers(0, len(pairs), count)]
    inside = lambda ends: (np.arange(SIDE) >= ends[:, :1]) & (np.arange(SIDE) <= ends[:, 1:])
    return (inside(rows)[:, :, None] & inside(columns)[:, None, :]).astype(np.float32)


def are_rectangles(images):
    """Is what is on in an image all of the rows times all of the columns that have something on?"""
    on = images > 0
    full = on.any(2)[:, :, None] & on.any(1)[:, None, :]
    gaps = [np.abs(np.diff(np.pad(on.any(a), [(0, 0), (1, 1)]).astype(int))).sum(1) for a in (1, 2)]
    return on.any((1, 2)) & np.all(on == full, (1, 2)) & (gaps[0] == 2) & (gaps[1] == 2)


def mnist(count):
    with np.load(Path(os.environ.get("PPL_DATA", "../shared/data")) / "images" / "mnist.npz") as data:
        train, test = (data[k].reshape(-1, 28, 28) for k in ("x_train", "x_test"))
    return tuple((x > 127).astype(np.float32) for x in (train[:count], test[:2000]))


def model(x, name, net, batch=100):
    law = ppl.module(name, net)()
    with ppl.plate("images", len(x), subsample_size=batch) as i:
        ppl.sample("x", law, obs=x[i])


def main(full=False, plot=None):
    train, test = mnist(10_000) if full else (rectangles(4000), rectangles(1000, seed=1))
    pixels = train[0].size
    nets = {
        "MADE": (nn.MADE(pixels, 500 if full else 300), 4000 if full else 1500),
        "PixelCNN": (nn.PixelCNN((*train[0].shape, 1), *((32, 5) if full else (16, 3))), 800 if full else 600),
    }
    fits, nats, drawn = {}, {}, {}
    for name, (net, steps) in nets.items():
        algorithm = ppl.BBVI(steps=steps, optimizer=ppl.optim.Adam(2e-3 if full else 5e-3))
        as_read = lambda x, net=net: x.reshape(len(x), *net.shape)
        fit = fits[name] = ppl.infer(model, as_read(train), name, net, algorithm=algorithm, progress=False)
        law = ppl.handlers.substitute(lambda name=name, net=net: ppl.module(name, net)(), fit.params)()
        nats[name] = -float(np.mean([law.log_prob(x).mean() for x in np.split(as_read(test), 10)]))
        drawn[name] = law.sample(0, (16 if full else 200,)).reshape(-1, *train[0].shape)
        print(f"{name:9} {nats[name]:8.3f} nats an image that it has not seen")
    right = {}
    if not full:
        right = {name: float(are_rectangles(images).mean()) for name, images in drawn.items()}
        print(f"{'the best':9} {ENTROPY:8.3f} nats, the entropy of rectangles")
        print("draws that are rectangles: " + ", ".join(f"{name} {share:.0%}" for name, share in right.items()))
    if plot:
        draw({"data": test, **drawn}, plot)
    return {"fits": fits, "nats": nats, "right": right}


def draw(images, path):
    """Sixteen images of each kind."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(images), figsize=(3 * len(images), 3.2), layout="constrained")
    for axes_of, (name, x) in zip(axes, images.items(), strict=True):
        sheet = np.pad(x[:16].astype(float), [(0, 0), (1, 0), (1, 0)], constant_values=0.5)
        rows, columns = sheet.shape[1:]
        sheet = sheet.reshape(4, 4, rows, columns).transpose(0, 2, 1, 3).reshape(4 * rows, 4 * columns)
        axes_of.imshow(np.pad(sheet, [(0, 1), (0, 1)], constant_values=0.5), cmap="gray_r", vmin=0, vmax=1)
        axes_of.set(title=name, xticks=[], yticks=[])
    figure.savefig(path, dpi=80)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="MNIST from the data folder")
    parser.add_argument("--plot", metavar="FILE", help="save a picture of data and draws")
    main(**vars(parser.parse_args()))
