"""The way from layers to compiled training loops, which load when first needed: most users of networks never train."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import torch
from torch import Tensor


def kernels() -> ModuleType:
    """The module of compiled loops; numba takes a second to import."""
    from . import training_kernels

    return training_kernels


def run_loop(name: str, arrays: tuple[np.ndarray, ...], constants: object) -> None:
    """Run a loop by name on arrays that share their first axis, on torch's number of threads."""
    kernels().in_shares(getattr(kernels(), name), arrays, constants, torch.get_num_threads())


def laid_out(tensor: Tensor, like: Tensor) -> Tensor:
    """The tensor in the memory layout of another of its shape."""
    return tensor if tensor.stride() == like.stride() else torch.empty_like(like).copy_(tensor)
