"""The updates of an epoch: batches in random order, each in parts or by several ranks where wanted; their settings.

All randomness is a function of seed, epoch and place in the batch, so neither parts nor ranks change what is drawn.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import own_parts
from .checks import flag, make_plain
from .data import Split
from .data.augmentation import augment
from .networks import SpikingNetwork, reset_state
from .ranks import Ranks
from .recording import kept_modes, lost_weight, own_state

LOSSES = ("cross_entropy", "mse")
_CHOICES = {"loss": LOSSES, "amp": ("auto", "fast", "on", "off"), "channels_last": ("auto", "on", "off")}


class TrainingDivergedError(RuntimeError):
    """The loss or a weight became NaN or infinite; the checkpoints of earlier epochs are kept."""


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Settings of a training, by default LightSNN's (arXiv 2503.21846); ``ValueError`` if one is out of range.

    >>> TrainConfig(epochs=2, learning_rate=0.1).learning_rate_at(1)
    0.0505
    """

    epochs: int = 300
    batch_size: int = 64
    learning_rate: float = 0.1
    momentum: float = 0.9
    dampening: float = 0.0  # released code: 5e-4 here and no weight decay
    weight_decay: float = 5e-4  # on all parameters
    final_lr_fraction: float = 0.01  # the cosine schedule ends at this share of learning_rate
    loss: str = "cross_entropy"  # or "mse" to one-hot labels (gestures)
    crop: int = 0  # random shift by up to this many pixels (CIFAR: 4)
    flip: bool = False  # random mirror image; never where left and right are classes
    # bfloat16 autocast. auto: on a GPU that has it. fast: on a processor with AMX, too, where a step takes 0.5 (width
    # 64, one core) to 0.8 (width 16, two cores) of the time. By default such a processor trains as all others do: which
    # of them a worker or a colleague has would else decide how a cell is trained.
    amp: str = "auto"
    # auto: on. On 2 CPU cores a step of SNASNet's CIFAR10 cell takes 0.8 of the contiguous time (width 16).
    channels_last: str = "auto"
    # Last epochs in which batch normalisations keep their running statistics (paper: 0). In training each step has its
    # own, at test time one average serves all, and with feedback the steps differ: see the curves in train.ipynb.
    frozen_norm_epochs: int = 0
    # Parts in which a batch is gone through before its one update: less memory, the gradient of the whole batch. Only
    # batch normalisation sees a difference: its statistics are those of a part, and the running ones move with each.
    accumulate: int = 1
    recompute: bool = False  # each time step is taken once more for its gradients: same bits, less memory, more time
    seed: int = 0  # of data order, augmentation and dropout; the first weights have their own

    def __post_init__(self) -> None:
        wholes = {"epochs": 1, "batch_size": 2, "crop": 0, "accumulate": 1, "frozen_norm_epochs": 0, "seed": 0}
        reals = {"learning_rate": (0, math.inf), "weight_decay": (0, math.inf), "momentum": (0, 1), "dampening": (0, 1)}
        make_plain(self, wholes=wholes, reals=reals | {"final_lr_fraction": (0, 1)})
        for name in ("flip", "recompute"):
            object.__setattr__(self, name, flag(name, getattr(self, name)))
        if 2 * self.accumulate > self.batch_size:
            raise ValueError(
                f"accumulate must leave parts of 2 samples or more, for batch normalisation; got {self.accumulate} "
                f"parts of a batch of {self.batch_size}."
            )
        if self.frozen_norm_epochs >= self.epochs:
            raise ValueError(
                f"frozen_norm_epochs must leave an epoch in which batch normalisations learn their statistics, got "
                f"{self.frozen_norm_epochs} of {self.epochs} epochs."
            )
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be one of {', '.join(choices)}, got {getattr(self, name)!r}.")

    def learning_rate_at(self, epoch: int) -> float:
        """The rate after ``epoch`` of E epochs: η·(f + (1 − f)·(1 + cos(π·epoch/E))/2), f = final_lr_fraction."""
        f = self.final_lr_fraction
        return self.learning_rate * (f + (1 - f) * (1 + math.cos(math.pi * epoch / self.epochs)) / 2)


def parts(size: int, *, accumulate: int, ranks: int = 1) -> list[tuple[int, int]]:
    """Where the parts of a batch begin and end: ``accumulate``, or fewer where one had not 2 samples, and one a rank.

    >>> parts(9, accumulate=2), parts(9, accumulate=4, ranks=3), parts(3, accumulate=4)
    ([(0, 4), (4, 9)], [(0, 3), (3, 6), (6, 9)], [(0, 3)])
    """
    count = max(1, min(accumulate, size // max(2, ranks)))
    ends = [size * number // count for number in range(count + 1)]
    return list(pairwise(ends))


def takes_bfloat16(amp: str, device: torch.device) -> bool:
    """Whether ``TrainConfig(amp=amp)`` means bfloat16 on a device.

    >>> [takes_bfloat16(amp, torch.device("cpu")) for amp in ("auto", "on", "off")]
    [False, True, False]
    """
    if amp not in ("auto", "fast"):
        return amp == "on"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return amp == "fast" and device.type == "cpu" and bool(torch.cpu.get_capabilities().get("amx_bf16"))


class Updates:
    """What the epochs of a training do to its network, in place; between two of them only the ``optimizer`` is kept."""

    def __init__(self, network: SpikingNetwork, train: Split, config: TrainConfig, ranks: Ranks) -> None:
        self.network, self.config, self.ranks = network, config, ranks
        self.device = network.input_centre.device
        self.train = Split(train.x.detach().to(self.device), train.y.to(self.device))
        self.amp = ranks.once(lambda: takes_bfloat16(config.amp, self.device))
        if config.channels_last != "off":
            network.to(memory_format=torch.channels_last)  # convolutions hand the format on to their outputs
        # By keyword: the published code passes the weight decay by position, where it is the dampening.
        settings = {name: getattr(config, name) for name in ("momentum", "dampening", "weight_decay")}
        self.optimizer = torch.optim.SGD(network.parameters(), lr=config.learning_rate, fused=True, **settings)

    @property
    def precision(self) -> str:
        """The type of products and activations; weights, statistics and potentials are float32."""
        return "bfloat16" if self.amp else "float32"

    @cached_property
    def model(self) -> nn.Module:
        """The network, wrapped where several ranks train it."""
        steps = self.train.x.shape[1] if self.train.events else self.network.config.num_steps
        idle = steps == 1 or own_parts(self.network)  # in one step nobody reads what backward edges say
        return self.ranks.wrapped(self.network, idle_weights=bool(idle))

    def epoch(self, number: int) -> tuple[float, float, float]:
        """Go through all training samples; returns the summed loss, and how many were right and were seen.

        Raises ``TrainingDivergedError``.
        """
        config = self.config
        self.optimizer.param_groups[0]["lr"] = config.learning_rate_at(number - 1)
        mode = in_mode(self.network, training=True, frozen_norms=number > config.epochs - config.frozen_norm_epochs)
        with own_state(self.network, grad=True), mode, _randomness(config.seed, number, self.device) as generator:
            batches = torch.randperm(len(self.train), generator=generator).split(config.batch_size)
            if len(batches[-1]) < max(2, self.ranks.count):  # batch normalisation needs 2 samples, and each rank one
                batches = batches[:-1]
            with self.ranks.sharing(self.network):
                places = (f"epoch {number}, batch {place} of {len(batches)}" for place in range(1, len(batches) + 1))
                results = [self._update(*each, generator) for each in zip(batches, places, strict=True)]
        if lost_weight(self.network):
            raise self._diverged("a weight", f"epoch {number}")  # LIF layers make silence of NaN: the loss may hide it
        return _summed(results)

    def _update(self, index: Tensor, where: str, generator: torch.Generator) -> tuple[float, float, float]:
        """One update; returns summed loss, correct and seen samples."""
        x, y = self.train.batch(index.to(self.device))
        config, fill, results = self.config, self.network.config.input_centre, []
        x = augment(x, crop=config.crop, flip=config.flip, fill=fill, generator=generator)
        cuts = parts(len(y), accumulate=config.accumulate, ranks=self.ranks.count)
        mask = self._mask(len(y)) if len(cuts) * self.ranks.count > 1 else None  # else the network draws the same
        self.optimizer.zero_grad()
        for low, high in cuts:
            own = self.ranks.share(low, high)
            with self.ranks.part_of(self.model, last=high == len(y)):
                reset_state(self.network)
                if mask is not None:
                    self.network.classifier[0].mask = mask[own]
                results.append(self._add_gradient(x[..., own, :, :, :], y[own], len(y), where))
        self.optimizer.step()
        return _summed(results)

    def _add_gradient(self, x: Tensor, y: Tensor, size: int, where: str) -> tuple[float, float, float]:
        """Add the gradient of a part of a batch of ``size``; returns loss, correct and seen samples of all ranks."""
        torch.clear_autocast_cache()  # of rounded weights: ``own_state`` around the epoch would keep it for all updates
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.amp):
            logits = self.model(x, reset=False, recompute=self.config.recompute).float()
        loss = loss_of(logits, y, self.config.loss)
        right = int((logits.argmax(1) == y).sum())
        found = self.ranks.totals(loss.item() * len(y), right, len(y))
        if not math.isfinite(found[0]):
            raise self._diverged(f"the loss ({found[0]})", where)
        (loss * (len(y) * self.ranks.count / size)).backward()  # ranks take the mean of their gradients
        return found

    def _mask(self, size: int) -> Tensor:
        """The dropout of a whole batch [N, F], as the network draws it for a batch that is in one part."""
        features = torch.ones(size, self.network.config.features, device=self.device)
        features = features.to(torch.bfloat16) if self.amp else features
        return F.dropout(features, self.network.config.dropout, training=True)

    def _diverged(self, what: str, where: str) -> TrainingDivergedError:
        rate = self.optimizer.param_groups[0]["lr"]
        return TrainingDivergedError(f"{what} is not finite in {where}, learning rate {rate:g}.")


def _summed(results: list[tuple[float, float, float]]) -> tuple[float, float, float]:
    return tuple(sum(column) for column in zip(*results, strict=True))


def loss_of(logits: Tensor, y: Tensor, kind: str) -> Tensor:
    """The mean loss of logits [N, K] for labels [N]: "cross_entropy", or "mse" to one-hot labels."""
    if kind == "mse":
        return F.mse_loss(logits, F.one_hot(y, logits.shape[1]).to(logits.dtype))
    return F.cross_entropy(logits, y)


@contextmanager
def in_mode(network: nn.Module, *, training: bool, frozen_norms: bool = False) -> Iterator[None]:
    """In the block the network trains, or is evaluated, as its normalisations always are with ``frozen_norms``."""
    with kept_modes(network):
        network.train(training)
        for module in network.modules():
            module.training &= not (frozen_norms and isinstance(module, nn.BatchNorm2d))
        yield


@contextmanager
def _randomness(seed: int, epoch: int, device: torch.device) -> Iterator[torch.Generator]:
    """Seed torch from (seed, epoch), for dropout, and yield a generator; the caller's RNG comes back unchanged."""
    number = int(np.random.SeedSequence((seed, epoch)).generate_state(1)[0])
    gpus = [device.index] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=gpus):  # no torch.manual_seed: it would reseed every GPU of the caller
        torch.default_generator.manual_seed(number)
        for index in gpus:
            torch.cuda.default_generators[index].manual_seed(number)
        yield torch.Generator().manual_seed(number)
