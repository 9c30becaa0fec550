"""What is updated at once, and the products that it stands in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .algebra import ONE, Atom, Factor, Label
from .families import NormalWisharts


@dataclass(frozen=True)
class Block:
    """A latent site (or a learned parameter) with a closed-form update.

    `axes` are the labels of its mean parameters without axes of length one, `shape` is that of its value.
    """

    name: str
    atom: Atom
    family: Any
    shape: tuple[int, ...]
    event_dim: int
    plates: tuple[Any, ...]
    scale: float  # what one of its elements stands for, where plates are subsampled
    is_parameter: bool = False
    discrete: str = ""  # "integer", "boolean" or "one-hot"

    @property
    def axes(self) -> tuple[Label, ...]:
        return tuple(x for x in self.atom.axes if x is not ONE)

    @property
    def sites(self) -> tuple[str, ...]:
        return (self.name,)

    @property
    def full_shape(self) -> tuple[int, ...]:
        """The shape of its value with every plate at its full size."""
        shape = list(self.shape)
        for p in self.plates:
            shape[len(shape) - self.event_dim + p.dim] = p.size
        return tuple(shape)

    def axis_of(self, plate: str) -> Label | None:
        """The label of a plate's axis."""
        frame = next((p for p in self.plates if p.name == plate), None)
        return None if frame is None else self.atom.axes[len(self.shape) - self.event_dim + frame.dim]

    def statistic_axes(self, statistic: str) -> tuple[Label, ...]:
        """The labels of one statistic's mean parameter, the second copy of event axes as labels of its own."""
        if statistic == "logdet":
            return self.axes[:-2]
        if statistic != "xx":
            return self.axes
        return (*self.axes, *(Label(self.axes[i].size) for i in self.family.event))


@dataclass(frozen=True)
class Joint:
    """Two latents that are one block: x given y is a normal whose precision is y (times what is known)."""

    name: str
    x: Block
    y: Block
    family: Any
    plates: tuple[Any, ...] = ()
    scale: float = 1.0
    is_parameter: bool = False
    discrete: str = ""

    @property
    def sites(self) -> tuple[str, ...]:
        return (self.x.name, self.y.name)

    @property
    def axes(self) -> tuple[Label, ...]:
        return self.x.axes

    def axis_of(self, plate: str) -> None:
        """It is never local."""
        return None

    def statistic_axes(self, statistic: str) -> tuple[Label, ...]:
        """The labels of one statistic's mean parameter."""
        matrix = isinstance(self.family, NormalWisharts)
        if statistic == "yx":
            return self.x.axes
        if statistic == "yxx" and not matrix:
            return (*self.x.axes, *(Label(self.x.axes[i].size) for i in self.family.event))
        return self.y.axes[:-2] if matrix and statistic != "power" else self.y.axes


@dataclass(frozen=True)
class Operand:
    """One latent's statistic in a product, with the labels of its axes there."""

    block: str
    statistic: str
    labels: tuple[Label, ...]


@dataclass(frozen=True)
class Product:
    """coefficient x statistics of latents x data, summed over all labels but those in `batch`."""

    site: str
    coefficient: float
    operands: tuple[Operand, ...]
    data: tuple[Factor, ...]
    batch: tuple[Label, ...] = ()
    split: tuple[Label | None, tuple[str, ...]] | None = None  # the sites along a label, or whose products are added up
