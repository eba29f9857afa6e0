"""What a training step needs of memory: worked out without doing it (torch's meta device), and measured by doing it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import psutil
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from lightsnn_kit.cells import Cell
from lightsnn_kit.networks import NetworkConfig, build_network, reset_state


@dataclass(frozen=True)
class TrainingMemory:
    """Bytes of one training step in float32 with SGD and momentum: what must be held at once.

    In bfloat16 (``TrainConfig.amp``) it is about half. With ``recompute`` activations are the states between steps and
    what one step keeps; with ``accumulate`` those of a part of the batch. Gradients on their way and workspaces come on
    top, the less the larger the data (``measured_memory``: 2 % for gestures at width 8, with ``recompute`` 15 % at
    width 16), and what an allocator keeps: with glibc's settings as they are a process may hold twice as much.
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


def saved_bytes(network: nn.Module, x: Tensor, *, recompute: bool = False) -> int:
    """Bytes of the different storages that a forward pass in training mode keeps for its backward pass.

    Weights among them are not counted. With ``recompute`` it is what passes between steps, and what one step keeps when
    it is taken again. Not the network itself is run, but a copy of it; its state is reset.
    """
    reset_state(network)  # what an earlier pass left cannot be copied
    network = deepcopy(network).train()
    own = {tensor.untyped_storage()._cdata for tensor in (*network.parameters(), *network.buffers())}
    kept: dict[int, torch.UntypedStorage] = {}  # held until the end, so that no address is used twice

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage
        return tensor

    options = {"recompute": True} if recompute else {}
    with saved_tensors_hooks(pack, lambda tensor: tensor):
        logits = network(x, **options)
        F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long, device=logits.device))
        if recompute:
            network.step(x[-1] if network.config.events else network.drive(x), (None, None))
    return sum(storage.nbytes() for key, storage in kept.items() if key not in own)


def training_memory(
    cell: Cell | str, config: NetworkConfig, *, batch_size: int, recompute: bool = False
) -> TrainingMemory:
    """The memory of a training step of a cell's network, ``config.num_steps`` steps for events as for still images.

    Nothing of that size is allocated. ``ValueError`` for a batch of less than one sample.

    >>> config = NetworkConfig(input_shape=(1, 8, 8), num_classes=10, width=8, hidden=32, num_steps=4)
    >>> one, two = (training_memory("0303 0030 2002 0200", config, batch_size=size) for size in (8, 16))
    >>> one.gradients == two.gradients, round(two.activations / one.activations, 1)
    (True, 2.0)
    """
    _check_batch(batch_size)
    with torch.device("meta"):
        network = build_network(cell, config)
    shape = (batch_size, *config.input_shape)
    x = torch.zeros((config.num_steps, *shape) if config.events else shape, device="meta")
    parameters = sum(parameter.numel() * parameter.element_size() for parameter in network.parameters())
    buffers = sum(buffer.numel() * buffer.element_size() for buffer in network.buffers())
    return TrainingMemory(saved_bytes(network, x, recompute=recompute), parameters + buffers, parameters, parameters)


def measured_memory(cell: Cell | str, config: NetworkConfig, *, batch_size: int, recompute: bool = False) -> int:
    """Bytes by which two training steps raise the memory of a process at its peak, measured by running them.

    In float32. On a GPU what torch's allocator held; else the resident memory of a new process, with everything
    loaded before and freed blocks given back at once (Linux: ``/proc``). The steps first use up some 10 MB that loading
    left free, so smaller needs are not measured well. ``ValueError`` for a batch of less than one sample,
    ``RuntimeError`` if the steps do not end well, such as for want of memory.
    """
    _check_batch(batch_size)
    options = {"batch_size": batch_size, "recompute": recompute}
    settings = json.dumps({"cell": str(cell), "config": asdict(config)} | options)
    # glibc keeps freed blocks below its threshold, which it raises up to 32 MiB by itself unless it is set.
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}
    command = [sys.executable, __file__, settings]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"killed by signal {-done.returncode}"])[-1]
        raise RuntimeError(f"the step at batch_size {batch_size} did not end well: {last}")
    return int(done.stdout.split()[-1])


def _check_batch(batch_size: int) -> None:
    if not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size < 1:
        raise ValueError(f"batch_size must be a positive integer, got {batch_size!r}.")


def _grown(text: str) -> int:
    settings = json.loads(text)
    config, size = NetworkConfig(**settings["config"]), settings["batch_size"]
    take = partial(_two_steps, settings["cell"], recompute=settings["recompute"])
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    small = replace(config, width=1, hidden=1)
    take(small, min(size, 2), device)  # loads and compiles what is needed
    if device.type == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        take(config, size, device)
        return torch.cuda.max_memory_allocated() - before
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before = psutil.Process().memory_info().rss
    take(config, size, device)
    return _peak() - before


def _peak() -> int:
    """The largest resident memory of this process, in bytes; psutil tells none that can be reset."""
    return next(1024 * int(line.split()[1]) for line in Path("/proc/self/status").open() if line.startswith("VmHWM"))


def _two_steps(cell: str, config: NetworkConfig, batch_size: int, device: torch.device, *, recompute: bool) -> None:
    network = build_network(cell, config).to(device).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, fused=True)  # as ``fit`` does it
    shape = (batch_size, *config.input_shape)
    x = torch.ones((config.num_steps, *shape) if config.events else shape, device=device)
    for _ in range(2):
        loss = F.cross_entropy(
            network(x, recompute=recompute), torch.zeros(batch_size, dtype=torch.long, device=device)
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


if __name__ == "__main__":  # the new process of ``measured_memory``
    print(_grown(sys.argv[1]))
