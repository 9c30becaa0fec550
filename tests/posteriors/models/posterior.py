"""A posterior with a reference: a model function, its arguments from the data file, and where to find both."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

import ppl.distributions as dist
from ppl.distributions import constraints
from tests.data_folder import data_folder

POSTERIORDB, INFERENCE_GYM = "posteriordb", "inference_gym"
Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Posterior:
    """A model, its data and its reference.

    `sites`: the latent sites' values from the reference draws, where the model's sites are others
    than the reference's parameters (the standard draws of a non-centred form, say).
    """

    name: str
    folder: str
    model: Callable
    arguments: Callable[[Mapping[str, Any]], tuple]
    sites: Callable[[Arrays], Arrays] | None = None
    collection: str = POSTERIORDB

    @property
    def path(self):
        return data_folder() / self.collection / self.folder

    def data(self) -> dict[str, Any]:
        """The data file; a missing number is NaN."""
        raw = json.loads((self.path / "data.json").read_text())
        return {k: _array(v) if isinstance(v, list) else v for k, v in raw.items()}

    def reference(self) -> dict[str, tuple[float, float]]:
        """Mean and sd of every scalar: `tau`, or `beta[2]` counted from one."""
        found = json.loads((self.path / "reference.json").read_text())["parameters"]
        out = {}
        for name, x in found.items():
            if isinstance(x["mean"], list):
                out |= {f"{name}[{i}]": pair for i, pair in enumerate(zip(x["mean"], x["sd"], strict=True), 1)}
            else:
                out[name] = (x["mean"], x["sd"])
        return out

    @property
    def has_draws(self) -> bool:
        return self.collection == POSTERIORDB

    def draws(self) -> Arrays:
        """Reference draws by parameter, one per row."""
        with np.load(self.path / "draws.npz") as file:
            return {name: file[name] for name in file.files}

    def site_draws(self) -> Arrays:
        """Reference draws by latent site."""
        draws = self.draws()
        return self.sites(draws) if self.sites else draws


def _array(x: list) -> np.ndarray:
    array = np.array(x)
    return array.astype(float) if array.dtype == object else array


def flat(*shape: int) -> dist.Distribution:
    """The improper prior that is constant on all vectors."""
    return dist.ImproperUniform(constraints.real, (), shape)


def flat_positive() -> dist.Distribution:
    """The improper prior that is constant on the positive numbers."""
    return dist.ImproperUniform(constraints.positive, (), ())
