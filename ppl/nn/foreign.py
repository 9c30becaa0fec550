"""Networks of PyTorch and JAX in models and guides: their weights are ours, their derivatives are asked of them.

    net = nn.from_torch(torch.nn.Sequential(...))        net = nn.from_jax(function, params)
    ppl.module("decoder", net)(z)

A call is one operation of the program; its derivative is another one, which runs the network again. Optional extras
`torch` and `jax`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..array.foreign import Foreign
from ..array.recording import concrete
from .network import Network, Params, Uniform


@dataclass(frozen=True, eq=False, repr=False)
class ForeignNetwork(Network):
    """A network of another library; two are equal only if they are one object.

    `forward(weights, inputs, seed)` gives the outputs, `backward(weights, inputs, seed, slopes)` the derivatives in
    all of them, weights first. `start` are the weights by path. With a `seed` the network is in training, and draws
    what it draws from it.
    """

    text: str
    start: Mapping[str, np.ndarray]
    forward: Callable[..., Sequence[np.ndarray]] = field(repr=False)
    backward: Callable[..., Sequence[np.ndarray]] = field(repr=False)
    draws: bool = False
    _made: dict[bool, Foreign] = field(default_factory=dict, init=False)  # operations: in training, and not

    def init(self, rng: Any = None, dtype: Any = np.float32) -> dict[str, Any]:
        """The weights that the network has: it was started by its own library."""
        tree: dict[str, Any] = {}
        for path, x in self.start.items():
            *way, last = path.split(".")
            inner = tree
            for key in way:
                inner = inner.setdefault(key, {})
            inner[last] = np.array(x, dtype if np.asarray(x).dtype.kind == "f" else None)
        return tree

    @property
    def size(self) -> int:
        return sum(np.size(x) for x in self.start.values())

    def _text(self) -> str:
        return self.text

    def apply(self, params: Params, *inputs: Any, uniform: Uniform = None) -> Any:
        weights = [_at(params, path) for path in self.start]
        seed = (uniform(()),) if uniform is not None and self.draws else ()
        arrays = (*weights, *inputs, *seed)
        looks = self._parts(*map(concrete, arrays), training=bool(seed))
        shapes = [np.shape(y) for y in looks]
        joined = self._operation(bool(seed))(*arrays)
        ends = np.cumsum([int(np.prod(s, dtype=np.int64)) for s in shapes]).tolist()
        outputs = [np.reshape(joined[a:b], s) for a, b, s in zip([0, *ends], ends, shapes)]
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    def _parts(self, *arrays: np.ndarray, training: bool) -> Sequence[np.ndarray]:
        n = len(self.start)
        inputs, seed = (arrays[n:-1], arrays[-1]) if training else (arrays[n:], None)
        return self.forward(_numbers(arrays[:n]), _numbers(inputs), _whole(seed))

    def _operation(self, training: bool) -> Foreign:
        if training not in self._made:
            self._made[training] = Foreign(
                self.text.partition("(")[0].lower() or "network",
                lambda *arrays: np.concatenate([np.ravel(y) for y in self._parts(*arrays, training=training)]),
                lambda g, *arrays: self._slopes(g, *arrays, training=training),
            )
        return self._made[training]

    def _slopes(self, g: np.ndarray, *arrays: np.ndarray, training: bool) -> Sequence[np.ndarray]:
        n = len(self.start)
        inputs, seed = (arrays[n:-1], arrays[-1]) if training else (arrays[n:], None)
        found = list(self.backward(_numbers(arrays[:n]), _numbers(inputs), _whole(seed), g))
        floats = [x for x in arrays if np.asarray(x).dtype.kind == "f"]
        found += [np.zeros(np.shape(seed))] * training
        return [np.asarray(s, dtype=np.result_type(x)) for s, x in zip(found, floats, strict=True)]


def _at(params: Params, path: str) -> Any:
    for key in path.split("."):
        params = params[key]
    return params


def _numbers(inputs: Sequence[Any]) -> list[np.ndarray]:
    return [np.ascontiguousarray(x) for x in inputs]


def _whole(seed: Any) -> int | None:
    """A seed for another library's generator, from a number between 0 and 1."""
    return None if seed is None else int(float(seed) * 2**31)


def from_torch(module: Any) -> ForeignNetwork:
    """A `torch.nn.Module` as a network of a model or guide (extra `torch`).

    Its parameters become ours, by their names in the module; buffers stay as they are. It starts with the weights it
    has. Dropout and the like draw from a seed that is an input of every step, so that runs are repeated and resumed.

    Raises
    ------
    ModelError
        what is no module, or PyTorch is not there.

    >>> import torch                                    # doctest: +SKIP
    >>> net = from_torch(torch.nn.Linear(3, 2))         # doctest: +SKIP
    >>> sorted(net.init())                              # doctest: +SKIP
    ['bias', 'weight']
    """
    from .torch_network import network

    return network(module)


def from_jax(function: Callable, params: Any, *, text: str = "") -> ForeignNetwork:
    """A JAX function `function(params, *inputs)` as a network of a model or guide (extra `jax`).

    `params` is a nested dict of arrays, with which it starts; for a Flax module: `from_jax(module.apply,
    module.init(key, x))`. The function is compiled for every shape of its inputs.

    Raises
    ------
    ModelError
        params that are no nested dict of arrays, or JAX is not there.

    >>> net = from_jax(lambda p, x: x @ p["w"], {"w": np.ones((3, 2))})     # doctest: +SKIP
    >>> net.apply(net.init(), np.ones((1, 3)))                              # doctest: +SKIP
    array([[3., 3.]])
    """
    from .jax_network import network

    return network(function, params, text)
