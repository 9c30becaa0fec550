"""Networks in models that are fitted: bounds against those by hand, and what is learned against what is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special

import ppl
import ppl.distributions as dist
from ppl import nn

RNG = np.random.default_rng(0)


def weights_of(name, net, seed=3, size=0.3):
    """Parameters away from the start, nested and by their names in a model."""
    rng = np.random.default_rng(seed)
    spread = lambda tree: {
        k: spread(x) if isinstance(x, dict) else x + size * rng.normal(size=x.shape) for k, x in tree.items()
    }
    params, flat = spread(net.init(seed, float)), {}

    def visit(path, tree):
        for k, x in tree.items():
            visit(f"{path}.{k}", x) if isinstance(x, dict) else flat.update({f"{path}.{k}": x})

    visit(name, params)
    return params, flat


# -- an amortised flow in a minibatch --------------------------------------------------------------------------
X = RNG.normal(size=(40, 3))
ENCODER, DECODER = nn.MLP(3, 8, 4, activation="tanh"), nn.MLP(2, 8, 3, activation="tanh")
FLOW = nn.Flow(nn.InverseAutoregressive(2, 8, context=4), nn.Planar(2, context=4), nn.Coupling(2, 8, reverse=True))


def with_a_flow(x):
    encoder, decoder = ppl.module("encoder", ENCODER), ppl.module("decoder", DECODER)
    flow = ppl.module("flow", FLOW)
    with ppl.plate("rows", len(x), subsample_size=10) as i:
        base = dist.Normal(np.zeros(2), 1.0).to_event(1)
        q = dist.TransformedDistribution(base, flow(encoder(x[i])))
        z = ppl.sample("z", dist.Normal(np.zeros(2), 1.0).to_event(1), guide=q)
        ppl.sample("x", dist.Normal(decoder(z), 0.5).to_event(1), obs=x[i])


def test_the_bound_of_an_amortised_flow_is_that_by_hand():
    """Draws by hand, and their densities by way of the inverse: the engine goes forward alone."""
    nested, flat = {}, {}
    for name, net in (("encoder", ENCODER), ("decoder", DECODER), ("flow", FLOW)):
        nested[name], own = weights_of(name, net)
        flat |= own
    t = FLOW.apply(nested["flow"], ENCODER.apply(nested["encoder"], X))
    q = dist.TransformedDistribution(dist.Normal(np.zeros(2), 1.0).to_event(1), t)
    z = q.sample(0, (4000,))
    log_x = dist.Normal(DECODER.apply(nested["decoder"], z), 0.5).to_event(1).log_prob(X)
    bounds = (log_x + dist.Normal(np.zeros(2), 1.0).to_event(1).log_prob(z) - q.log_prob(z)).sum(1)
    record = [ppl.gradient(with_a_flow, X, params=flat, particles=300, seed=s).elbo for s in range(6)]
    # A minibatch of ten of forty rows, times four, in every particle: its own spread is that of the six runs.
    errors = np.array([bounds.std() / len(bounds) ** 0.5, np.std(record, ddof=1) / len(record) ** 0.5])
    assert abs(np.mean(record) - bounds.mean()) < 6 * np.hypot(*errors)  # of six runs: Student's t, as 4 of many


def test_an_amortised_flow_learns():
    fit = ppl.infer(with_a_flow, X, algorithm=ppl.BBVI(steps=300, optimizer=ppl.optim.Adam(0.01)), progress=False)
    assert fit.elbo > np.mean(fit.history[:10]) + 50


# -- a decoder that reads in order ---------------------------------------------------------------------------------
def test_a_pixel_decoder_of_a_latent_vector_is_the_density_by_hand():
    images = (RNG.random((6, 4, 4, 1)) < 0.5).astype(float)
    net = nn.PixelCNN((4, 4, 1), 6, layers=1, first=3, context=2)
    params, flat = weights_of("pixels", net)

    def model(x):
        pixels = ppl.module("pixels", net)
        with ppl.plate("images", len(x)):
            z = ppl.sample(
                "z", dist.Normal(np.zeros(2), 1.0).to_event(1), guide=dist.Delta(0.3 * np.ones(2), event_dim=1)
            )
            ppl.sample("x", pixels(z), obs=x)

    by_hand = net.apply(params, np.full((6, 2), 0.3)).log_prob(images).sum()
    by_hand += 6 * dist.Normal(np.zeros(2), 1.0).to_event(1).log_prob(np.full(2, 0.3))
    assert ppl.gradient(model, images, params=flat, particles=2).elbo == pytest.approx(by_hand, rel=1e-5)


# -- sequences -----------------------------------------------------------------------------------------------------
def test_a_recurrent_network_learns_to_count():
    """Sequences that go up by one, from a start of their own: after the first letter nothing is left to chance."""
    starts = RNG.integers(0, 5, 200)
    words = (starts[:, None] + np.arange(6)) % 5
    net = nn.Sequential(nn.Embedding(6, 8), nn.GRU(8, 16), nn.Linear(16, 5))

    def model(words):
        letters = ppl.module("letters", net)
        with ppl.plate("words", len(words), subsample_size=50) as i:
            begun = np.concatenate([np.full((len(i), 1), 5), words[i][:, :-1]], 1)
            ppl.sample("w", dist.Categorical(logits=letters(begun)).to_event(1), obs=words[i])

    fit = ppl.infer(model, words, algorithm=ppl.BBVI(steps=300, optimizer=ppl.optim.Adam(0.02)), progress=False)
    first = np.bincount(starts, minlength=5)
    assert -fit.elbo / 200 == pytest.approx(special.entr(first / 200).sum(), abs=0.05)


# -- convolutions ----------------------------------------------------------------------------------------------------
def test_convolutions_tell_where_an_edge_is_from_few_images():
    """Vertical bars against horizontal ones, anywhere: a convolution and a mean over the image suffice."""
    kinds, places = RNG.integers(0, 2, 120), RNG.integers(0, 6, 120)
    images = np.zeros((120, 6, 6, 1))
    for image, kind, place in zip(images, kinds, places, strict=True):
        image[(place, slice(None)) if kind else (slice(None), place)] = 1.0
    body = nn.Sequential(nn.Conv2d(1, 4, 3, padding="same"), "relu", nn.Conv2d(4, 4, 2, stride=2), "relu")

    def model(images, kinds=None):
        features = np.mean(ppl.module("body", body)(images), axis=(1, 2))
        logits = ppl.module("last", nn.Linear(4, 1))(features)[:, 0]
        with ppl.plate("images", len(images)):
            ppl.sample("kind", dist.Bernoulli(logits=logits), obs=kinds)

    algorithm = ppl.BBVI(steps=250, optimizer=ppl.optim.Adam(0.02))
    fit = ppl.infer(model, images[:60], kinds[:60], algorithm=algorithm, progress=False)
    found = fit.predict(images[60:], num_samples=40)["kind"].mean(0)
    assert np.mean((found > 0.5) == kinds[60:]) > 0.95
