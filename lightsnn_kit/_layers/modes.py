"""Training and evaluation modes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def kept_modes(network: nn.Module) -> Iterator[None]:
    """After the ``with`` block every module is in training or evaluation mode as it was before."""
    modes = [(module, module.training) for module in network.modules()]
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
