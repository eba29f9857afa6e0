"""Which engine scores a supernet: one way in for ``Scorer``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from .engine import Engine

if TYPE_CHECKING:
    from ..networks import SpikingNetwork


def make_engine(supernet: SpikingNetwork, batches: tuple[Tensor, ...], *, bn: str) -> Engine:
    """The engine for the supernet's device; ``ValueError`` if it cannot score this supernet exactly."""
    if supernet.input_centre.device.type != "cpu":
        from .device import TorchEngine as Chosen
    else:
        from .cpu_engine import CpuEngine as Chosen  # numba takes a second to import
    return Chosen(supernet, batches, bn=bn)
