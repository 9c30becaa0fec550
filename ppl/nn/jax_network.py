"""The one file of networks that knows JAX."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import ModelError
from .foreign import ForeignNetwork


def network(function: Callable, params: Any, text: str) -> ForeignNetwork:
    """A function as a network."""
    try:
        import jax
    except ImportError:
        raise ModelError("from_jax where JAX is not there", "the package jax", "pip install ppl[jax]") from None
    leaves, tree = jax.tree_util.tree_flatten_with_path(params)
    paths = [".".join(str(getattr(k, "key", None)) for k in path) for path, _ in leaves]
    if not leaves or not isinstance(params, Mapping) or any("None" in p.split(".") for p in paths):
        got = f"params of type {type(params).__name__}"
        raise ModelError(got, "a nested dict of arrays", 'nn.from_jax(function, {"weight": w})')
    start = {p: np.asarray(x) for p, (_, x) in zip(paths, leaves, strict=True)}
    n = len(paths)

    def flat(arrays: Sequence[Any]) -> Any:
        found = function(jax.tree_util.tree_unflatten(tree, arrays[:n]), *arrays[n:])
        return tuple(found) if isinstance(found, tuple | list) else (found,)

    call = jax.jit(lambda *arrays: flat(arrays))

    @jax.jit
    def pull(g: Any, *arrays: Any) -> Any:
        floats = [i for i, x in enumerate(arrays) if jax.numpy.issubdtype(x.dtype, jax.numpy.floating)]

        def of_floats(*xs: Any) -> Any:
            own = list(arrays)
            for i, x in zip(floats, xs, strict=True):
                own[i] = x
            return jax.numpy.concatenate([jax.numpy.ravel(y) for y in flat(own)])

        joined, back = jax.vjp(of_floats, *(arrays[i] for i in floats))
        return back(g.astype(joined.dtype))

    def forward(weights: Sequence[np.ndarray], inputs: Sequence[np.ndarray], seed: int | None) -> list[np.ndarray]:
        return [np.asarray(y) for y in call(*weights, *inputs)]

    def backward(
        weights: Sequence[np.ndarray], inputs: Sequence[np.ndarray], seed: int | None, g: np.ndarray
    ) -> list[np.ndarray]:
        return [np.asarray(s) for s in pull(g, *weights, *inputs)]

    return ForeignNetwork(text or f"from_jax({getattr(function, '__name__', 'function')})", start, forward, backward)
