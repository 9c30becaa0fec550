"""Networks: frozen records of sizes, with their parameters outside.

    net = nn.MLP(784, 400, (20, 20), heads=("real", "positive"))
    params = net.init(rng)                      nested dict of float32 arrays
    loc, scale = net.apply(params, images)      plain NumPy, recorded like any other code of a model

In a model, `ppl.module("encoder", net)` makes the parameters learned ones.

>>> import numpy as np
>>> net = Sequential(Linear(2, 8), "relu", Residual(Linear(8, 8)), Linear(8, 1))
>>> net.size
105
>>> net.apply(net.init(0), np.zeros((4, 2))).shape
(4, 1)
"""

from .activations import elu, gelu, identity, leaky_relu, relu, sigmoid, silu, softmax, softplus, tanh
from .autoregressive import MADE, Autoregressive, PixelCNN, WaveNet
from .convolutions import Conv1d, Conv2d, ConvTranspose2d, MaskedConv1d, MaskedConv2d
from .dense import MLP, Dropout, Embedding, LayerNorm, Linear, MaskedLinear
from .flows import Coupling, Flow, InverseAutoregressive, Planar
from .masked import MaskedMLP
from .network import Network, Residual, Sequential
from .recurrent import GRU, LSTM

__all__ = [
    "GRU",
    "LSTM",
    "MADE",
    "MLP",
    "Autoregressive",
    "Conv1d",
    "Conv2d",
    "ConvTranspose2d",
    "Coupling",
    "Dropout",
    "Embedding",
    "Flow",
    "InverseAutoregressive",
    "LayerNorm",
    "Linear",
    "MaskedConv1d",
    "MaskedConv2d",
    "MaskedLinear",
    "MaskedMLP",
    "Network",
    "PixelCNN",
    "Planar",
    "Residual",
    "Sequential",
    "WaveNet",
    "elu",
    "gelu",
    "identity",
    "leaky_relu",
    "relu",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "tanh",
]
