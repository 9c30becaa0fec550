"""Recurrent layers over sequences (..., time, features): one loop whatever the length.

What the inputs alone decide is one product for all times, before the loop.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..array.recording import tape_of
from ..array.scan import scan
from ..distributions._arrays import Array
from ..errors import ShapeError
from .initial import Fans, check_start, weight_and_bias
from .network import Network, Params, Uniform, check_features


class _Recurrent(Network):
    """What recurrent layers share: gates of the input and of the state before, and a step that uses them."""

    gates: int  # blocks of `features` numbers, each from the input and from the state
    start: str

    def __post_init__(self) -> None:
        check_start(self.start)

    def _weights(self, state_bias: int | None) -> dict[str, Any]:
        outs = self.gates * self.features
        return {
            "input": weight_and_bias((self.ins, outs), Fans(self.features, outs), self.start, outs),
            "state": weight_and_bias((self.features, outs), Fans(self.features, outs), self.start, state_bias),
        }

    def apply(self, params: Params, x: Array, first: Any = None, *, uniform: Uniform = None) -> Array:
        """The state after every step, (..., time, features), from the inputs and the state before the first step."""
        check_features(self, x, self.ins, 2)
        time_first = np.moveaxis(self._from_input(params, x), -2, 0)
        state = self.zero(np.shape(x)[:-2], np.result_type(x)) if first is None else first
        self._check_state(state)

        def step(state: Any, gates: Array) -> tuple:
            after = self._after(params, state, gates)
            return after, self.output(after)

        tape = tape_of((x, first, *(y for part in params.values() for y in part.values())))
        return np.moveaxis(scan(step, state, time_first, tape=tape)[1], 0, -2)

    def step(self, params: Params, state: Any, x: Array) -> Any:
        """The state after one input (..., ins), for sequences that are made step by step."""
        check_features(self, x, self.ins)
        self._check_state(state)
        return self._after(params, state, self._from_input(params, x))

    def zero(self, batch: tuple[int, ...] = (), dtype: Any = np.float32) -> Any:
        """The state before the first step, unless another one is given."""
        return np.zeros((*batch, self.features), dtype)

    def output(self, state: Any) -> Array:
        """What is read off a state."""
        return state

    def _from_input(self, params: Params, x: Array) -> Array:
        return x @ params["input"]["weight"] + params["input"]["bias"]

    def _check_state(self, state: Any) -> None:
        if np.shape(self.output(state))[-1:] != (self.features,):
            got = f"a state of shape {np.shape(self.output(state))} for {self._text()}"
            raise ShapeError(got, f"shape (..., {self.features})", "net.zero(batch)")

    def _block(self, x: Array, first: int, last: int | None = None) -> Array:
        """Blocks of gates, from one to another."""
        return x[..., first * self.features : ((first if last is None else last) + 1) * self.features]


def _sigmoid(x: Array) -> Array:
    return 0.5 + 0.5 * np.tanh(0.5 * x)  # an eighth of the time of expit, and as exact where gates need it


@dataclass(frozen=True, repr=False)
class GRU(_Recurrent):
    """Gated recurrent units: (..., time, ins) to their states (..., time, features).

    With gates r and z, sigmoids of linear functions of x_t and h_{t-1}, the candidate is
    `n = tanh(x_t W + b + r * (h_{t-1} U + c))`, and `h_t = (1 - z) n + z h_{t-1}` (Cho et al. 2014, with the
    reset after the product, as in PyTorch). `apply(params, x, first)` takes the state before the first step, 0
    if there is none; the last state is `states[..., -1, :]`. `step` makes one step.

    >>> net = GRU(3, 8)
    >>> params = net.init(0)
    >>> states = net.apply(params, np.ones((5, 7, 3)))
    >>> states.shape
    (5, 7, 8)
    >>> one = net.step(params, net.zero((5,)), np.ones((5, 3)))
    >>> bool(np.allclose(one, states[:, 0], atol=1e-6))
    True
    """

    ins: int
    features: int
    start: str = "uniform"

    gates = 3

    def weights(self) -> dict[str, Any]:
        return self._weights(self.features)

    def _after(self, params: Params, h: Array, gates: Array) -> Array:
        own = h @ params["state"]["weight"]
        reset_and_update = _sigmoid(self._block(gates, 0, 1) + self._block(own, 0, 1))
        update = self._block(reset_and_update, 1)
        again = self._block(reset_and_update, 0) * (self._block(own, 2) + params["state"]["bias"])
        candidate = np.tanh(self._block(gates, 2) + again)
        return candidate + update * (h - candidate)


@dataclass(frozen=True, repr=False)
class LSTM(_Recurrent):
    """Long short-term memory: (..., time, ins) to its outputs (..., time, features).

    A state is a pair (h, c). With sigmoid gates i, f and o and a candidate g = tanh, all of linear functions of
    x_t and h_{t-1}: `c_t = f c_{t-1} + i g`, `h_t = o tanh(c_t)` (Hochreiter and Schmidhuber 1997, with the forget
    gate of Gers, Schmidhuber and Cummins 2000). `apply` returns all h; `step` returns the next pair.

    >>> net = LSTM(3, 8)
    >>> net
    LSTM(3, 8): 384 parameters
    >>> net.apply(net.init(0), np.ones((5, 7, 3))).shape
    (5, 7, 8)
    """

    ins: int
    features: int
    start: str = "uniform"

    gates = 4

    def weights(self) -> dict[str, Any]:
        return self._weights(None)

    def zero(self, batch: tuple[int, ...] = (), dtype: Any = np.float32) -> tuple[np.ndarray, np.ndarray]:
        empty = np.zeros((*batch, self.features), dtype)
        return empty, empty

    def output(self, state: tuple[Array, Array]) -> Array:
        return state[0]

    def _after(self, params: Params, state: tuple[Array, Array], gates: Array) -> tuple[Array, Array]:
        h, c = state
        all_gates = gates + h @ params["state"]["weight"]
        opened = _sigmoid(self._block(all_gates, 0, 2))
        candidate = np.tanh(self._block(all_gates, 3))
        c = self._block(opened, 1) * c + self._block(opened, 0) * candidate
        return self._block(opened, 2) * np.tanh(c), c
