"""Which engine scores a supernet: one way in for ``Scorer``."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from torch import Tensor

from ..exact import LatticeConv2d
from .engine import Engine

if TYPE_CHECKING:
    from ..networks import SpikingNetwork


def make_engine(supernet: SpikingNetwork, batches: tuple[Tensor, ...], *, bn: str) -> Engine:
    """The engine for the supernet's device; ``ValueError`` if it cannot score this supernet exactly."""
    device = supernet.input_centre.device.type
    if device == "cpu":
        from .cpu_engine import CpuEngine  # numba takes a second to import

        return CpuEngine(supernet, batches, bn=bn)
    from .device import DeviceEngine

    parts = {}
    if device == "cuda" and find_spec("triton") and isinstance(supernet.down[2], LatticeConv2d):
        from .triton_parts import TritonParts

        parts["parts"] = TritonParts
    return DeviceEngine(supernet, batches, bn=bn, **parts)
