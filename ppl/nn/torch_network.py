"""The one file that knows PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import ModelError
from .foreign import ForeignNetwork


def network(module: Any) -> ForeignNetwork:
    """A module as a network."""
    try:
        import torch
    except ImportError:
        raise ModelError(
            "from_torch where PyTorch is not there", "the package torch", "pip install ppl[torch]"
        ) from None
    if not isinstance(module, torch.nn.Module):
        what = (
            f"{type(module).__name__} for a module" if not isinstance(module, type) else f"the class {module.__name__}"
        )
        raise ModelError(what, "a torch.nn.Module", "nn.from_torch(torch.nn.Linear(784, 20))")
    names = [n for n, _ in module.named_parameters()]
    start = {n: x.detach().cpu().numpy().copy() for n, x in module.named_parameters()}
    draws = any(isinstance(m, torch.nn.modules.dropout._DropoutNd | torch.nn.RReLU) for m in module.modules())

    def outputs(weights: Sequence[Any], inputs: Sequence[Any], seed: int | None) -> list:
        module.train(seed is not None)
        values = dict(zip(names, weights, strict=True))
        with torch.random.fork_rng(devices=[], enabled=seed is not None):
            if seed is not None:
                torch.manual_seed(seed)
            found = torch.func.functional_call(module, values, tuple(inputs))
        return list(found) if isinstance(found, tuple | list) else [found]

    def tensors(arrays: Sequence[np.ndarray], dtype: Any) -> list:
        found = [torch.from_numpy(np.array(x)) for x in arrays]
        return [x.to(dtype) if x.is_floating_point() else x for x in found]

    def dtype_of(weights: Sequence[np.ndarray], inputs: Sequence[np.ndarray]) -> Any:
        floats = [x.dtype for x in (*weights, *inputs) if x.dtype.kind == "f"]
        return torch.float32 if np.dtype(np.float32) in floats else torch.float64

    def forward(weights: Sequence[np.ndarray], inputs: Sequence[np.ndarray], seed: int | None) -> list[np.ndarray]:
        dtype = dtype_of(weights, inputs)
        with torch.no_grad():
            return [y.numpy() for y in outputs(tensors(weights, dtype), tensors(inputs, dtype), seed)]

    def backward(
        weights: Sequence[np.ndarray], inputs: Sequence[np.ndarray], seed: int | None, g: np.ndarray
    ) -> list[np.ndarray]:
        dtype = dtype_of(weights, inputs)
        ws, xs = tensors(weights, dtype), tensors(inputs, dtype)
        floats = [x.requires_grad_() for x in (*ws, *xs) if x.is_floating_point()]
        joined = torch.cat([y.reshape(-1) for y in outputs(ws, xs, seed)])
        slopes = torch.autograd.grad(joined, floats, torch.from_numpy(np.array(g)).to(joined.dtype), allow_unused=True)
        return [np.zeros(tuple(x.shape)) if s is None else s.numpy() for s, x in zip(slopes, floats, strict=True)]

    text = f"from_torch({type(module).__name__})"
    return ForeignNetwork(text, start, forward, backward, draws)
