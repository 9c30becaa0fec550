"""Gradients of networks against the same by hand in NumPy, and against PyTorch where it is installed.

    python -m benchmarks.networks

Each case is a pair of calls that return (value, gradients...) of equal numbers: one runs the recorded program of a
network of `ppl.nn`, the other is written out with buffers and in-place operations as one would by hand. They run in
alternation in one process; the figure is the median of their ratio. PyTorch runs the same network in its own layers,
with numbers of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from .flat_and_eager import alternate

SINGLE = np.float32


# -- the bound of a variational autoencoder ------------------------------------------------------------------------
def vae(pixels: int = 784, hidden: int = 400, latent: int = 20, batch: int = 128, rows: int = 1280):
    """(recorded, by hand): one draw of the bound of a minibatch and its gradient, ReLU, in float32."""
    import ppl
    import ppl.distributions as dist
    from ppl import nn
    from ppl.algorithms.bbvi import _gradient_program
    from ppl.algorithms.coordinates import Coordinates
    from ppl.array import compile_program
    from ppl.elbo import Objective, choose, derive, problem

    rng = np.random.default_rng(0)
    images = (rng.random((rows, pixels)) < 0.3).astype(SINGLE)

    def model(images):
        encoder = ppl.module("encoder", nn.MLP(pixels, hidden, (latent, latent), heads=("real", "positive")))
        decoder = ppl.module("decoder", nn.MLP(latent, hidden, pixels))
        with ppl.plate("images", len(images), subsample_size=batch) as i:
            x = images[i]
            loc, scale = encoder(x)
            q = dist.Normal(loc, scale).to_event(1)
            z = ppl.sample("z", dist.Normal(0, 1).expand([latent]).to_event(1), guide=q)
            ppl.sample("x", dist.Bernoulli(logits=decoder(z)).to_event(1), obs=x)

    d = derive(problem(model, (images,), {}), None)
    where = Coordinates.at(d, tables=True)
    run = compile_program(_gradient_program(Objective(d, choose(d)), 1, where))
    start, picked = np.zeros(where.size, SINGLE), np.arange(batch)
    noise = rng.standard_normal((1, batch, latent)).astype(SINGLE)
    names = ("0.weight", "0.bias", "1.0.weight", "1.0.bias", "1.1.weight", "1.1.bias")
    keys = [*(f"encoder.{n}" for n in names), *(f"decoder.{k}.{n}" for k in "01" for n in ("weight", "bias"))]
    assert list(d.parameters) == keys
    hand = _vae_by_hand([d.parameters[k].init.astype(SINGLE) for k in keys], noise[0], rows / batch)

    def recorded() -> tuple:
        _, bound, g = run(start, picked, noise)
        return bound, *where.split(g)

    return recorded, lambda: hand(images[picked])


def _vae_by_hand(weights: Sequence[np.ndarray], eps: np.ndarray, times: float) -> Callable:
    w1, b1, wm, bm, ws, bs, w3, b3, w4, b4 = weights
    times = SINGLE(times)
    logits, e, s = (np.empty((len(eps), len(b4)), SINGLE) for _ in range(3))
    grads = [np.empty_like(w) for w in weights]
    g1, c1, gm, cm, gs, cs, g3, c3, g4, c4 = grads

    def call(x: np.ndarray) -> tuple:
        h = x @ w1
        h += b1
        np.maximum(h, 0, out=h)
        mean, log_sd = h @ wm + bm, h @ ws + bs
        sd = np.exp(log_sd)
        z = mean + sd * eps
        k = z @ w3
        k += b3
        np.maximum(k, 0, out=k)
        np.matmul(k, w4, out=logits)
        np.add(logits, b4, out=logits)
        np.abs(logits, out=e)
        np.negative(e, out=e)
        np.exp(e, out=e)
        np.log1p(e, out=e)
        np.maximum(logits, 0, out=s)
        np.add(e, s, out=s)
        kl = SINGLE(0.5) * (mean * mean + sd * sd - SINGLE(1)) - log_sd
        bound = float(times) * (float(np.vdot(logits, x)) - float(s.sum()) - float(kl.sum()))
        np.multiply(logits, SINGLE(0.5), out=s)  # the sigmoid by tanh
        np.tanh(s, out=s)
        np.multiply(s, SINGLE(-0.5), out=s)
        np.subtract(s, SINGLE(0.5), out=s)
        np.add(s, x, out=s)
        np.multiply(s, times, out=s)
        np.matmul(k.T, s, out=g4)
        s.sum(0, out=c4)
        dk = s @ w4.T
        dk *= k > 0
        np.matmul(z.T, dk, out=g3)
        dk.sum(0, out=c3)
        dz = dk @ w3.T
        dm = dz - times * mean
        ds = dz * eps * sd - times * (sd * sd - SINGLE(1))
        np.matmul(h.T, dm, out=gm)
        dm.sum(0, out=cm)
        np.matmul(h.T, ds, out=gs)
        ds.sum(0, out=cs)
        dh = dm @ wm.T
        dh += ds @ ws.T
        dh *= h > 0
        np.matmul(x.T, dh, out=g1)
        dh.sum(0, out=c1)
        return bound, *grads

    return call


# -- a recurrent network ---------------------------------------------------------------------------------------------
def gru(batch: int = 32, time: int = 40, ins: int = 64, features: int = 128):
    """(recorded, by hand): the sum of squares of all states of a GRU, and its gradient in the weights, in float32."""
    from ppl import nn

    net = nn.GRU(ins, features)
    x = np.random.default_rng(1).standard_normal((batch, time, ins)).astype(SINGLE)
    params = net.init(0)
    return _recorded(net, params, x), lambda: _gru_by_hand(params, x)


def _gru_by_hand(params: Mapping, x: np.ndarray) -> tuple:
    (w, b), (u, c) = ((params[k]["weight"], params[k]["bias"]) for k in ("input", "state"))
    n, (batch, time, _) = len(u), x.shape
    first = np.ascontiguousarray(np.swapaxes(x, 0, 1))
    given = first @ w + b
    h = np.zeros((time + 1, batch, n), SINGLE)
    gates, rest, candidate = (np.empty((time, batch, k * n), SINGLE) for k in (2, 1, 1))
    for t in range(time):
        own = h[t] @ u
        g = np.add(given[t, :, : 2 * n], own[:, : 2 * n], out=gates[t])
        np.multiply(g, SINGLE(0.5), out=g)
        np.tanh(g, out=g)
        np.multiply(g, SINGLE(0.5), out=g)
        np.add(g, SINGLE(0.5), out=g)
        np.add(own[:, 2 * n :], c, out=rest[t])
        np.tanh(given[t, :, 2 * n :] + g[:, :n] * rest[t], out=candidate[t])
        np.add(candidate[t], g[:, n:] * (h[t] - candidate[t]), out=h[t + 1])
    value = float(np.vdot(h[1:], h[1:]))
    slopes, states = np.empty((time, batch, 3 * n), SINGLE), np.empty((time, batch, 3 * n), SINGLE)
    back = np.zeros((batch, n), SINGLE)
    for t in reversed(range(time)):
        back += 2 * h[t + 1]
        reset, update = gates[t, :, :n], gates[t, :, n:]
        to = back * (1 - update) * (1 - candidate[t] ** 2)
        s = slopes[t]
        s[:, 2 * n :] = to
        s[:, :n] = to * rest[t] * reset * (1 - reset)
        s[:, n : 2 * n] = back * (h[t] - candidate[t]) * update * (1 - update)
        states[t] = s
        states[t, :, 2 * n :] *= reset
        back = back * update + states[t] @ u.T
    flat = lambda a: a.reshape(-1, a.shape[-1])
    given_g, state_g = flat(slopes), flat(states)
    return value, flat(first).T @ given_g, given_g.sum(0), flat(h[:-1]).T @ state_g, state_g[:, 2 * n :].sum(0)


# -- convolutions ----------------------------------------------------------------------------------------------------
def convolutions(batch: int = 64, side: int = 28):
    """(recorded, None): an encoder and a decoder of convolutions, and the gradient of a sum of squares, in float32."""
    from ppl import nn

    down = (nn.Conv2d(1, 32, 4, 2, "same"), "relu", nn.Conv2d(32, 64, 4, 2, "same"), "relu")
    up = (nn.ConvTranspose2d(64, 32, 4, 2, "same"), "relu", nn.ConvTranspose2d(32, 1, 4, 2, "same"))
    net = nn.Sequential(*down, nn.Conv2d(64, 64, 3, padding="same"), "relu", *up)
    x = np.random.default_rng(1).standard_normal((batch, side, side, 1)).astype(SINGLE)
    return _recorded(net, net.init(0), x), None


def _recorded(net, params: Mapping, x: np.ndarray) -> Callable:
    """The sum of squares of a network's output and its gradient in all weights, as a fit in float32 runs it."""
    from ppl.array import Tape, compile_program, gradient, program_of
    from ppl.distributions.constraints import flatten

    leaves, rebuild = flatten(params)
    tape = Tape(dtype=SINGLE)
    inputs = [tape.input(w) for w in leaves]
    y = net.apply(rebuild(inputs), x)
    run = compile_program(gradient(program_of(tape, [np.sum(y * y)]), range(len(leaves))))
    return lambda: run(*leaves)


def in_torch(name: str) -> Callable | None:
    """The same network in PyTorch's layers; None where it is not installed, and for the autoencoder."""
    try:
        import torch
    except ImportError:
        return None
    torch.set_num_threads(1)
    nn = torch.nn
    if name == "GRU 64-128, 40 steps, batch 32":
        net, x = nn.GRU(64, 128, batch_first=True), torch.randn(32, 40, 64)
        outputs = lambda: net(x)[0]
    elif name == "convolutions of 28 x 28, batch 64":
        down = [nn.Conv2d(1, 32, 4, 2, 1), nn.ReLU(), nn.Conv2d(32, 64, 4, 2, 1), nn.ReLU()]
        up = [nn.ConvTranspose2d(64, 32, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(32, 1, 4, 2, 1)]
        net, x = nn.Sequential(*down, nn.Conv2d(64, 64, 3, 1, 1), nn.ReLU(), *up), torch.randn(64, 1, 28, 28)
        outputs = lambda: net(x)
    else:
        return None

    def call() -> None:
        net.zero_grad()
        (outputs() ** 2).sum().backward()

    return call


CASES: dict[str, Callable] = {
    "VAE 784-400-20, batch 128": vae,
    "GRU 64-128, 40 steps, batch 32": gru,
    "convolutions of 28 x 28, batch 64": convolutions,
}


def main() -> None:
    print("value and gradient in float32: CPU time of ppl, of the other, and the median ratio of turns")
    for name, make in CASES.items():
        recorded, by_hand = make()
        for label, other in (("by hand", by_hand), ("PyTorch", in_torch(name))):
            if other is not None:
                found = alternate({label: other, "ppl": recorded})
                times = f"{1e3 * found['ppl']:7.2f} ms {1e3 * found[label]:7.2f} ms"
                print(f"{name:36} against {label}: {times}  ratio {found['ratio']:.2f}", flush=True)


if __name__ == "__main__":
    main()
