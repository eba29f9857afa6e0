"""Several processes that train one network: each takes its share of every batch, and all have the same weights.

Lightning Fabric finds devices and connects the processes, torch's DistributedDataParallel takes the mean of their
gradients. Order of data, augmentation, dropout and the statistics of batch normalisation are those of the whole batch,
so any number of ranks does what one process does, but for the order in which float32 gradients are summed: weights
agree to their last bits, until a membrane that near to the threshold spikes in one training and not in the other. The
same number of ranks gives the same bits.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from datetime import timedelta

import torch
from torch import Tensor, nn

from .files import RunError
from .layers import BatchNorm

PATIENCE = timedelta(minutes=30)  # that ranks wait for rank 0 while it loads data, chooses a cell or writes
_STRATEGIES = ("DDPStrategy", "SingleDeviceStrategy")
_NUMBERS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_PORT")


class RankLostError(RuntimeError):
    """Another process of a training has ended, or cannot be reached; what was recorded is kept."""


class Ranks:
    """The processes of a training, ``rank`` from 0 to ``count`` − 1; without a Fabric this process alone.

    ``ValueError`` for what is no Fabric, was not launched, or does not train in the way that checkpoints need.

    >>> alone = Ranks()
    >>> alone.count, alone.share(0, 5), alone.once(lambda: "done")
    (1, slice(0, 5, None), 'done')
    """

    def __init__(self, fabric: object = None) -> None:
        self.fabric, self.rank, self.count = fabric, 0, 1
        if fabric is not None:
            _check_fabric(fabric)
            self.rank, self.count = fabric.global_rank, fabric.world_size

    def share(self, low: int, high: int) -> slice:
        """This rank's share of the samples from ``low`` to ``high``: shares differ by one sample at most."""
        ends = (low + (high - low) * rank // self.count for rank in (self.rank, self.rank + 1))
        return slice(*ends)

    def add_up(self, values: Tensor) -> Tensor:
        """The sum of a tensor over all ranks, the same bits on each."""
        with self.talking():
            return self.fabric.all_reduce(values, reduce_op="sum") if self.count > 1 else values

    def totals(self, *values: float) -> tuple[float, ...]:
        """The sums of numbers over all ranks."""
        if self.count == 1:
            return values
        return tuple(self.add_up(torch.tensor(values, dtype=torch.float64, device=self.fabric.device)).tolist())

    def told(self, value: object) -> object:
        """What rank 0 says, on every rank."""
        with self.talking():
            return self.fabric.broadcast(value)

    def once(self, work: Callable[[], object]) -> object:
        """Do something on rank 0 alone; every rank gets what it returns, or raises what it raises."""
        if self.count == 1:
            return work()
        told = None
        if self.rank == 0:
            try:
                told = work(), None
            except Exception as error:
                told = None, error
        value, error = self.told(told)
        if error is not None:
            raise error
        return value

    def agree(self, value: object, what: str) -> None:
        """``ValueError`` on every rank unless all have the same value."""
        same = self.once(lambda: value) == value
        if self.totals(same)[0] < self.count:
            found = f"{what} of rank {self.rank} are {'' if same else 'not '}those of rank 0"
            raise ValueError(
                f"the ranks do not train the same: {found}. Give each the same network, data and settings; fit itself "
                f"takes each rank's share."
            )

    def wrapped(self, network: nn.Module, *, idle_weights: bool) -> nn.Module:
        """The network with gradients that are the mean over ranks; ``idle_weights``: some may get none."""
        if self.count == 1:
            return network
        devices = [self.fabric.device] if self.fabric.device.type == "cuda" else None
        with self.talking():
            # Not by Fabric's own setup: there it is for whoever made the Fabric to know of idle weights.
            return nn.parallel.DistributedDataParallel(network, device_ids=devices, find_unused_parameters=idle_weights)

    @contextmanager
    def part_of(self, model: nn.Module, *, last: bool) -> Iterator[None]:
        """Forward and backward pass of a part of a batch: gradients are exchanged with the last alone."""
        with self.talking(), model.no_sync() if self.count > 1 and not last else nullcontext():
            yield

    @contextmanager
    def sharing(self, network: nn.Module) -> Iterator[None]:
        """In the block batch normalisation takes its statistics from the samples of all ranks."""
        norms = [module for module in network.modules() if isinstance(module, BatchNorm)] if self.count > 1 else []
        for norm in norms:
            norm.add_up = self.add_up
        try:
            with warnings.catch_warnings():  # where a weight has one channel, its memory layout has two names
                warnings.filterwarnings("ignore", message="Grad strides do not match bucket view strides")
                yield
        finally:
            for norm in norms:
                del norm.add_up

    @contextmanager
    def talking(self) -> Iterator[None]:
        """Make a ``RankLostError`` of what torch raises in the block where another rank does not answer."""
        try:
            yield
        except RuntimeError as error:
            text = str(error).partition("\n")[0]
            gone = isinstance(error, torch.distributed.DistError) or "gloo" in text  # gloo has no type of its own
            if self.count == 1 or not gone or isinstance(error, RankLostError):
                raise
            raise RankLostError(
                f"rank {self.rank} of {self.count} has lost another: it ended, or the network between them did. All "
                f"finished epochs are kept: start the same command again, and it goes on from there. ({text[:200]})"
            ) from error


def _check_fabric(fabric: object) -> None:
    if not all(hasattr(fabric, name) for name in ("world_size", "global_rank", "strategy", "all_reduce", "broadcast")):
        raise ValueError(f"fabric must be a lightning_fabric.Fabric, got {fabric!r:.100}.")
    strategy, precision = type(fabric.strategy).__name__, fabric.strategy.precision.precision
    if strategy not in _STRATEGIES:
        raise ValueError(f"fit trains by DDP, every rank with the whole network; use strategy='ddp', got {strategy}.")
    if precision != "32-true":
        raise ValueError(
            f"precision is a setting of the training, so that checkpoints tell it: give Fabric none (got "
            f"{precision!r}), and TrainConfig(amp='on') for bfloat16."
        )
    if fabric.world_size > 1 and not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        raise ValueError(f"the {fabric.world_size} processes of this Fabric are not connected; call fabric.launch().")


def of_torchrun() -> object:
    """The Fabric, launched, of the processes that ``torchrun`` has started; None if this process was started alone.

    GPUs are used where torch finds them, else the processor. ``RunError`` before anything is computed, if the
    environment is not torchrun's, Fabric is not installed, a GPU or NCCL is missing, or the others cannot be reached.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ or os.environ.get("WORLD_SIZE", "").strip() == "1":
        return None
    facts = _facts(os.environ)
    gpus = _devices(facts)
    try:
        from lightning_fabric import Fabric
        from lightning_fabric.strategies import DDPStrategy
    except ImportError as error:
        way = "pip install 'lightsnn_kit[fabric]'"
        raise RunError(f"several processes need Lightning Fabric, and it is not here ({error}): {way}.") from None
    here = facts["LOCAL_WORLD_SIZE"]
    place = {"accelerator": "cuda" if gpus else "cpu", "devices": here, "num_nodes": facts["WORLD_SIZE"] // here}
    fabric = Fabric(strategy=DDPStrategy(timeout=PATIENCE), **place)
    try:
        _connect("nccl" if gpus else "gloo", alone=facts["WORLD_SIZE"] == here)
        fabric.launch()
    except RuntimeError as error:
        where, why = f"{os.environ['MASTER_ADDR']}:{facts['MASTER_PORT']}", str(error).partition("\n")[0]
        raise RunError(f"rank {facts['RANK']} cannot reach the others at {where}: {why}") from error
    return fabric


def _connect(backend: str, *, alone: bool) -> None:
    """Connect the processes before Fabric would; ``alone``: all are on this machine, and torchrun may restart them."""
    store, rank, count = next(torch.distributed.rendezvous("env://", timeout=PATIENCE))
    if alone:  # torchrun keeps its store: without a name of their own, restarted processes find addresses of dead ones
        store = torch.distributed.PrefixStore(f"start {os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)
    torch.distributed.init_process_group(backend, store=store, rank=rank, world_size=count, timeout=PATIENCE)


def _facts(environment: Mapping[str, str]) -> dict[str, int]:
    """What torchrun tells each process; ``RunError`` for what it would not tell."""
    facts = {name: environment.get(name, "").strip() for name in _NUMBERS}
    odd = [f"{name}={value!r}" for name, value in facts.items() if not value.isdecimal()]
    odd += [] if environment.get("MASTER_ADDR", "").strip() else ["MASTER_ADDR=''"]
    if not odd:
        facts = {name: int(value) for name, value in facts.items()}
        rank, world, local, here, port = facts.values()
        fits = rank < world and local < here <= world and world % here == 0 and 0 < port < 2**16
        odd = [] if fits else [f"{name}={value}" for name, value in facts.items()]
    if odd:
        raise RunError(
            f"TORCHELASTIC_RUN_ID says that torchrun has started this process, but {', '.join(odd)} is not what it "
            f"sets (every machine needs the same --nproc_per_node). Start it by torchrun --nproc_per_node=2 -m -- "
            f"lightsnn_kit train …, or unset TORCHELASTIC_RUN_ID for a training by one process."
        )
    return facts


def _devices(facts: Mapping[str, int]) -> int:
    """How many GPUs this machine has; ``RunError`` if they are too few, or cannot talk to each other."""
    here, gpus = facts["LOCAL_WORLD_SIZE"], torch.cuda.device_count() if torch.cuda.is_available() else 0
    if 0 < gpus < here:
        raise RunError(
            f"torchrun has started {here} processes on this machine, which has {gpus} GPUs; start one for each, "
            f"--nproc_per_node={gpus}, or hide the GPUs from all by CUDA_VISIBLE_DEVICES= to train on the processor."
        )
    name, found = ("NCCL", "is_nccl_available") if gpus else ("gloo", "is_gloo_available")
    if not (torch.distributed.is_available() and getattr(torch.distributed, found)()):
        way = "; or hide the GPUs by CUDA_VISIBLE_DEVICES= to train on the processor" if gpus else ""
        raise RunError(
            f"this torch ({torch.__version__}) was built without {name}, by which processes talk to each other; "
            f"install one of pytorch.org that has it{way}."
        )
    return gpus
