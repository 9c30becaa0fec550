"""A variational autoencoder that is Bayesian throughout: its decoder's weights have a prior and a posterior.

    weights ~ N(0, 1),  z ~ N(0, 1),  x ~ N(decoder(z), noise)

With few data a decoder of learned weights fits them too well. Given `prior=` the same network's weights are random
sites like any others, with a guide of their own, in the same call of `ppl.infer`; predictions average over them.

To learn here:

- `ppl.module(name, net, prior=...)`: the prior is a distribution, or a function of a weight's path and shape;
- sites of plates and sites outside are drawn by guides of different kinds, here a network and a mean field.
"""

import argparse

import numpy as np

import ppl
import ppl.distributions as dist
from ppl import nn

WIDTH, NOISE = 6, 0.2


def data(size, seed=0):
    """Points on a bent line in six dimensions, float32."""
    rng = np.random.default_rng(seed)
    t = rng.normal(size=(size, 1))
    way = np.random.default_rng(1).normal(size=(2, WIDTH))
    return (np.concatenate([t, np.sin(2 * t)], 1) @ way + NOISE * rng.normal(size=(size, WIDTH))).astype(np.float32)


def prior(path, shape):
    """Wide for biases; for weights by how many numbers come in."""
    return dist.Normal(0.0, 1.0 if path.endswith("bias") else 2.0 * shape[0] ** -0.5)


def model(x, random=False, hidden=20):
    decoder = nn.MLP(1, hidden, WIDTH, activation="tanh")
    encoder = nn.MLP(WIDTH, 20, (1, 1), heads=("real", "positive"))
    with ppl.plate("rows", len(x)):
        loc, scale = ppl.module("encoder", encoder)(x)
        z = ppl.sample("z", dist.Normal(0, 1).expand([1]).to_event(1), guide=dist.Normal(loc, scale).to_event(1))
        mean = ppl.module("decoder", decoder, prior if random else None)(z)
        ppl.sample("x", dist.Normal(mean, NOISE).to_event(1), obs=x)


def held_out(fit, x, random, draws=50):
    """log p(x) of held-out data, averaged over draws of the decoder's weights."""
    weights = {n: v for n, v in fit.sample(draws).items() if n.startswith("decoder.")}
    parts = []
    for k in range(draws if random else 1):
        fixed = ppl.handlers.substitute(model, {**fit.params, **{n: v[k] for n, v in weights.items()}})
        encode = ppl.handlers.trace(ppl.handlers.seed(fixed, k)).get_trace(x, random)
        z = encode["z"]["guide"].sample(np.random.default_rng(k), (100,))
        mean = nn.MLP(1, 20, WIDTH, activation="tanh").apply(tree(encode), z)
        log_w = dist.Normal(mean, NOISE).log_prob(x).sum(-1) + dist.Normal(0, 1).log_prob(z).sum(-1)
        log_w = log_w - encode["z"]["guide"].log_prob(z)
        parts.append(np.logaddexp.reduce(log_w, 0) - np.log(len(z)))
    return float(np.mean(np.logaddexp.reduce(parts, 0) - np.log(len(parts))))


def tree(sites):
    """The decoder's weights in a trace, nested as the network wants them."""
    return {k: {n: sites[f"decoder.{k}.{n}"]["value"] for n in ("weight", "bias")} for k in ("0", "1")}


def plot(path, fits, x, test):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.2), layout="constrained")
    z = np.linspace(-2.5, 2.5, 100)[:, None]
    for axes, (name, fit) in zip(figure.subplots(1, 2), fits.items()):
        drawn = fit.sample(20)
        for k in range(20 if name == "random" else 1):
            held = {**fit.params, **{n: v[k] for n, v in drawn.items() if n.startswith("decoder.")}}
            weights = {a: {b: held[f"decoder.{a}.{b}"] for b in ("weight", "bias")} for a in ("0", "1")}
            curve = nn.MLP(1, 20, WIDTH, activation="tanh").apply(weights, z)
            axes.plot(curve[:, 0], curve[:, 1], lw=0.7, alpha=0.7)
        axes.plot(test[:, 0], test[:, 1], ".", ms=2, color="0.7")
        axes.plot(x[:, 0], x[:, 1], "ko", ms=3)
        axes.set(title=f"{name} weights of the decoder", xlabel="x[0]", ylabel="x[1]")
    figure.savefig(path, dpi=80)


def main(full=False, path=None):
    x, test = data(25), data(500, 7)
    fits, found = {}, {}
    for name in ("learned", "random"):
        steps = 20_000 if full else 4000
        algorithm = ppl.BBVI(epochs=steps, particles=4, optimizer=ppl.optim.Adam(ppl.optim.CosineDecay(5e-3, steps)))
        fits[name] = ppl.infer(model, x, name == "random", algorithm=algorithm, progress=False)
        found[name] = held_out(fits[name], test, name == "random")
        print(f"decoder of {name} weights: log likelihood of a held-out datum {found[name]:.2f}")
    if path:
        plot(path, fits, x, test)
    return {"fits": fits, "found": found}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="five times the steps")
    parser.add_argument("--plot", metavar="FILE")
    options = parser.parse_args()
    main(options.full, options.plot)
