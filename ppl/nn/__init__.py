"""Networks: frozen records of sizes, with their parameters outside.

    net = nn.MLP(784, 400, (20, 20), heads=("real", "positive"))
    params = net.init(rng)                      nested dict of float32 arrays
    loc, scale = net.apply(params, images)      plain NumPy, recorded like any other code of a model

In a model, `ppl.module("encoder", net)` makes the parameters learned ones. Most networks give arrays; a flow gives
a transform, and MADE, WaveNet and PixelCNN give a distribution.

>>> import numpy as np
>>> from ppl import nn
>>> net = nn.Sequential(nn.Linear(2, 8), "relu", nn.Residual(nn.Linear(8, 8)), nn.Linear(8, 1))
>>> net.size
105
>>> net.apply(net.init(0), np.zeros((4, 2))).shape
(4, 1)
"""

from importlib import import_module
from typing import Any

# Read when first asked for: a model without networks need not wait for them.
_HOMES = {
    "activations": "elu gelu identity leaky_relu relu sigmoid silu softmax softplus tanh",
    "autoregressive": "Autoregressive MADE PixelCNN WaveNet",
    "convolutions": "Conv1d Conv2d ConvTranspose2d MaskedConv1d MaskedConv2d",
    "dense": "Dropout Embedding LayerNorm Linear MLP MaskedLinear",
    "flows": "Coupling Flow InverseAutoregressive Planar",
    "masked": "MaskedMLP",
    "network": "Network Residual Sequential",
    "recurrent": "GRU LSTM",
}
_HOME = {name: home for home, names in _HOMES.items() for name in names.split()}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)
