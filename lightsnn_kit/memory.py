"""How much memory a training step needs, worked out without doing it: tensors without data (torch's meta device)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from .cells import Cell
from .networks import NetworkConfig, build_network


@dataclass(frozen=True)
class TrainingMemory:
    """Bytes of one training step in float32 with SGD and momentum: what must be held at once.

    A lower bound. Gradients on their way, workspaces and what an allocator keeps come on top: at width 16, 128×128,
    T = 16, batch 4 the resident memory of a process may grow by twice this on a CPU.
    """

    activations: int  # kept by the forward pass of all T steps for the backward pass
    weights: int  # parameters and buffers
    gradients: int
    momentum: int

    @property
    def total(self) -> int:
        """The sum of all, in bytes."""
        return self.activations + self.weights + self.gradients + self.momentum

    def __str__(self) -> str:
        return (
            f"{self.total / 2**30:.2f} GiB, of which {self.activations / 2**30:.2f} GiB are kept for the backward pass"
        )


def saved_bytes(network: nn.Module, x: Tensor) -> int:
    """Bytes of the different storages that a forward pass in training mode keeps for its backward pass.

    Weights among them are not counted. The network's mode and states stay as they were.
    """
    own = {tensor.untyped_storage()._cdata for tensor in (*network.parameters(), *network.buffers())}
    kept: dict[int, torch.UntypedStorage] = {}  # held until the end, so that no address is used twice

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage
        return tensor

    training = network.training
    network.train()
    try:
        with saved_tensors_hooks(pack, lambda tensor: tensor):
            logits = network(x)
            F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long, device=logits.device))
    finally:
        network.train(training)
    return sum(storage.nbytes() for key, storage in kept.items() if key not in own)


def training_memory(cell: Cell | str, config: NetworkConfig, *, batch_size: int) -> TrainingMemory:
    """The memory of a training step of a cell's network, ``config.num_steps`` steps for events as for still images.

    Nothing of that size is allocated. ``ValueError`` for a batch of less than one sample.

    >>> config = NetworkConfig(input_shape=(1, 8, 8), num_classes=10, width=8, hidden=32, num_steps=4)
    >>> one, two = (training_memory("0303 0030 2002 0200", config, batch_size=size) for size in (8, 16))
    >>> one.gradients == two.gradients, round(two.activations / one.activations, 1)
    (True, 2.0)
    """
    if not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size < 1:
        raise ValueError(f"batch_size must be a positive integer, got {batch_size!r}.")
    network = build_network(cell, config).to("meta")
    shape = (batch_size, *config.input_shape)
    x = torch.zeros((config.num_steps, *shape) if config.events else shape, device="meta")
    parameters = sum(parameter.numel() * parameter.element_size() for parameter in network.parameters())
    buffers = sum(buffer.numel() * buffer.element_size() for buffer in network.buffers())
    return TrainingMemory(saved_bytes(network, x), parameters + buffers, parameters, parameters)
