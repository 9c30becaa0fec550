"""Rows stay apart: an engine that follows a plate's axis through a network finds it in the output.

Only then may scores be weighed, and finite sites be summed out, row by row.
"""

from __future__ import annotations

import numpy as np
import pytest

import ppl.array as A
from ppl import nn
from ppl.array.operations import draw_of
from ppl.elbo.flow import MIXED, separable_axis

NETS = {
    "mlp": (nn.MLP(3, 4, 2), (3,)),
    "joined": (nn.MLP(5, 4, 2), (3,)),
    "layer norm": (nn.LayerNorm(3), (3,)),
    "residual": (nn.Residual(nn.MaskedLinear((1, 2, 3), (1, 2, 3))), (3,)),
    "linear over time": (nn.Linear(3, 2), (4, 3)),
    "conv1d": (nn.Conv1d(3, 2, 2, stride=2), (7, 3)),
    "causal": (nn.MaskedConv1d(3, 2, 2, dilation=2), (7, 3)),
    "conv2d": (nn.Conv2d(3, 2, 3, padding="same"), (5, 4, 3)),
    "transposed": (nn.ConvTranspose2d(3, 2, 3, stride=2), (5, 4, 3)),
    "pixels": (nn.MaskedConv2d(3, 2, 3, strict=True), (5, 4, 3)),
}


def followed(net, shape, axis):
    """Where an axis of the draw is in the output."""
    x, params = np.zeros((6, *shape)), net.init(0, float)
    more = [np.ones((6, 2))] if getattr(net, "sizes", (0,))[0] == 5 else []
    program = A.record(lambda z: (net.apply(params, draw_of(z, "z"), *more),), [x])
    (out,) = program.outputs
    return separable_axis(program, "z", axis, {out.index})[out.index], len(program.signature(out)[0])


@pytest.mark.parametrize("name", NETS)
def test_the_rows_of_a_batch_stay_apart(name):
    net, shape = NETS[name]
    axis, ndim = followed(net, shape, -len(shape) - 1)
    assert axis == -ndim
    assert followed(net, shape, -1)[0] == MIXED
