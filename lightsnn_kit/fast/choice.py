"""Which engine scores a supernet: one way in for ``Scorer``."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

import torch
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
    if device == "cuda" and isinstance(supernet.down[2], LatticeConv2d) and runs_triton(supernet.input_centre.device):
        from .triton_parts import TritonParts

        parts["parts"] = TritonParts
    return DeviceEngine(supernet, batches, bn=bn, **parts)


def runs_triton(card: torch.device) -> bool:
    """True where Triton is installed and compiles for this card: those before Ampere (T4, V100) get torch's operations.

    Older ones also have less memory of their own per multiprocessor than the kernels' tiles take.
    """
    return find_spec("triton") is not None and torch.cuda.get_device_capability(card) >= (8, 0)
