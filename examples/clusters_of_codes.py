"""A variational autoencoder whose prior is a mixture: which group a datum is of is summed out inside.

    group ~ Categorical(share),  z ~ N(centre of the group, its sd),  x ~ N(decoder(z), noise),  guide N(encoder(x))

With a standard normal prior codes of different kinds are pressed together. A mixture with learned shares, centres and
widths lets them lie apart, and the groups come back from the fit: p(group | z), exactly. (Jiang, Zheng, Tan, Tang and
Zhou 2017, "Variational deep embedding".)

To learn here:

- a finite site in a plate is summed out between a guide's draw and the density that reads it, without being asked;
- `ppl.param` beside networks: shares on the simplex, positive widths.

With --full: ten times the data and the epochs.
"""

import argparse

import numpy as np

import ppl
import ppl.distributions as dist
from ppl import nn
from ppl.distributions import constraints

GROUPS, LATENT, WIDTH = 4, 2, 10


def data(size, seed=0):
    """Four groups of different sizes on a bent surface in ten dimensions, float32, and which group each is of."""
    rng = np.random.default_rng(seed)
    group = rng.choice(GROUPS, p=[0.4, 0.3, 0.2, 0.1], size=size)
    centres = 2.5 * np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]])
    z = centres[group] + 0.6 * rng.normal(size=(size, 2))
    bend = np.random.default_rng(1).normal(size=(2, WIDTH))
    x = np.tanh(0.5 * z @ bend) + 0.1 * rng.normal(size=(size, WIDTH))
    return x.astype(np.float32), group


def model(x, groups=GROUPS, hidden=40, batch=100):
    share = ppl.param("share", np.full(groups, 1 / groups), constraint=constraints.simplex)
    angle = 2 * np.pi * np.arange(groups) / groups
    centre = ppl.param("centre", np.stack([np.cos(angle), np.sin(angle)], -1) * 2 * (groups > 1))
    width = ppl.param("width", np.full((groups, LATENT), 1.0 if groups == 1 else 0.5), constraint=constraints.positive)
    encoder = nn.MLP(WIDTH, hidden, (LATENT, LATENT), heads=("real", "positive"))
    with ppl.plate("rows", len(x), subsample_size=batch) as i:
        group = ppl.sample("group", dist.Categorical(share))
        loc, scale = ppl.module("encoder", encoder)(x[i])
        guide = dist.Normal(loc, scale).to_event(1)
        z = ppl.sample("z", dist.Normal(centre[group], width[group]).to_event(1), guide=guide)
        mean = ppl.module("decoder", nn.MLP(LATENT, hidden, WIDTH))(z)
        ppl.sample("x", dist.Normal(mean, 0.1).to_event(1), obs=x[i])


def agreement(found, group):
    """The share of data whose group is the most frequent one among those that were found with them."""
    table = np.array([[np.sum((found == k) & (group == g)) for g in range(GROUPS)] for k in range(GROUPS)])
    return table.max(1).sum() / len(group)


def plot(path, fits, x, group):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 3.4), layout="constrained")
    for axes, (name, fit) in zip(figure.subplots(1, 2), fits.items()):
        z = fit.posterior(x, fit.params["centre"].shape[0]).guide_of("z").mean
        axes.scatter(z[:, 0], z[:, 1], c=group, s=4, cmap="tab10")
        axes.plot(*fit.params["centre"].T, "k+", ms=12)
        axes.set(title=name, xlabel="first code", ylabel="second code")
    figure.savefig(path, dpi=80)


def main(full=False, path=None):
    size, epochs = (20_000, 300) if full else (2000, 120)
    x, _ = data(size)
    test, of_test = data(500, 2)
    fits = {}
    for name, groups in (("one Normal", 1), ("a mixture", GROUPS)):
        algorithm = ppl.BBVI(epochs=epochs, optimizer=ppl.optim.Adam(3e-3))
        fit = fits[name] = ppl.infer(model, x, groups, algorithm=algorithm, progress=False)
        likelihood = fit.log_likelihood(test, groups, samples=100)
        print(f"prior of {name}: held-out log likelihood {likelihood.per_datum:.3f} (s.e. {likelihood.se / 500:.3f})")
    drawn = fits["a mixture"].posterior(test, GROUPS).sample(50)["group"]
    found = np.argmax(np.sum(drawn[..., None] == np.arange(GROUPS), 0), -1)
    right = agreement(found, of_test)
    print("shares:", np.sort(fit.params["share"])[::-1].round(2), f" groups that agree: {right:.1%}")
    if path:
        plot(path, fits, test, of_test)
    return {"fits": fits, "right": right, "share": np.sort(fit.params["share"])}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="ten times the data and the epochs")
    parser.add_argument("--plot", metavar="FILE")
    options = parser.parse_args()
    main(options.full, options.plot)
