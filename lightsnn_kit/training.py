"""Training a discrete network: ``fit`` yields one record per epoch and resumes exactly; ``evaluate`` tests.

A checkpoint holds all that an epoch depends on: weights, optimizer, records so far and both configurations. The
schedule and all randomness are functions of configuration and epoch, so a resumed training computes the same bits
as an uninterrupted one (same machine, same number of threads).
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import tell_own
from .checkpoints import DAMAGED, digest, name_weights, resume_from, write_checkpoint
from .checks import flag, make_plain, unknown, whole
from .data import Split, Splits
from .data.augmentation import augment
from .files import plain, user_path
from .networks import SpikingCell, SpikingNetwork, reset_state
from .recording import as_network, check_weights, kept_modes, lost_weight, own_state

_LOSSES = ("cross_entropy", "mse")
_CHOICES = {"loss": _LOSSES, "amp": ("auto", "on", "off"), "channels_last": ("auto", "on", "off")}


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
    amp: str = "auto"  # bfloat16 autocast; auto: on a GPU that has it
    # auto: on. On 2 CPU cores a step of SNASNet's CIFAR10 cell takes 0.8 of the contiguous time (width 16).
    channels_last: str = "auto"
    # Last epochs in which batch normalisations keep their running statistics (paper: 0). In training each step has its
    # own, at test time one average serves all, and with feedback the steps differ: see the curves in train.ipynb.
    frozen_norm_epochs: int = 0
    seed: int = 0  # of data order, augmentation and dropout; the first weights have their own

    def __post_init__(self) -> None:
        wholes = {"epochs": 1, "batch_size": 2, "crop": 0, "frozen_norm_epochs": 0, "seed": 0}
        reals = {"learning_rate": (0, math.inf), "weight_decay": (0, math.inf), "momentum": (0, 1), "dampening": (0, 1)}
        make_plain(self, wholes=wholes, reals=reals | {"final_lr_fraction": (0, 1)})
        object.__setattr__(self, "flip", flag("flip", self.flip))
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


@dataclass(frozen=True)
class EpochRecord:
    """What one epoch did: ``epoch`` counts from 1, accuracies are shares, training figures those of training mode."""

    epoch: int
    train_loss: float
    train_accuracy: float
    val_loss: float
    val_accuracy: float
    learning_rate: float
    seconds: float


@dataclass(frozen=True)
class Evaluation:
    """Accuracy (a share) and mean loss of a network on a split, and the class it ``predicted`` for each sample."""

    accuracy: float
    loss: float
    num_correct: int
    num_samples: int
    predicted: tuple[int, ...] = field(default=(), repr=False)


def fit(
    network: SpikingNetwork,
    splits: Splits,
    config: TrainConfig,
    *,
    folder: str | Path | None = None,
    damaged: str = DAMAGED[0],
) -> Iterator[EpochRecord]:
    """Train a network in place on ``splits.train``, one record per epoch; ``splits.test`` is never read.

    With ``folder``, ``last.pt`` and ``best.pt`` (best validation accuracy, the earliest of equals) are written there
    after each epoch. If ``last.pt`` exists, its weights are loaded, the stored records come first and training goes
    on after them; a finished training only yields them. Where one of the two cannot be read, ``damaged`` says what to
    do: "refuse" it, go on from the "best" one, or "restart" with this network's weights as they are.

    Checks come before any work: ``ValueError`` for data that do not fit, a damaged checkpoint or a folder of another
    training, ``OSError`` for an unwritable one. Raises ``TrainingDivergedError``.

    >>> from lightsnn_kit.data import load
    >>> from lightsnn_kit.networks import NetworkConfig, build_network
    >>> splits = load("digits")
    >>> network = build_network("03 00", NetworkConfig(width=4, hidden=16, num_steps=2, **splits.network_settings()))
    >>> [record] = fit(network, splits, TrainConfig(epochs=1))
    >>> record.val_accuracy == evaluate(network, splits.val).accuracy
    True
    """
    network = as_network(network)
    if not isinstance(splits, Splits) or not isinstance(config, TrainConfig):
        raise ValueError(f"fit takes Splits and a TrainConfig, got {type(splits).__name__}, {type(config).__name__}.")
    _check_training(network, splits, config)
    with torch.inference_mode(False):
        training = _Training(network, splits, config, None if folder is None else user_path(folder))
        training.restore_or_start(damaged)
    return training.records()


def _check_training(network: SpikingNetwork, splits: Splits, config: TrainConfig) -> None:
    if not isinstance(network.cell1, SpikingCell):
        raise ValueError("fit trains the discrete network of a cell, got a supernet; use build_network(cell, config).")
    if not any(p.requires_grad and not p.is_inference() for p in network.parameters()):
        raise ValueError(
            "no weight of the network can learn: it was frozen (network.requires_grad_(True) undoes that) or moved "
            "inside torch.inference_mode() (build it outside)."
        )
    for split in (splits.train, splits.val):
        _check_fits(network, split, splits.num_classes)
    if config.crop > (size := min(splits.train.x.shape[-2:])):
        raise ValueError(f"crop shifts images by up to {config.crop} pixels, but they have {size}; choose less.")
    if config.batch_size > len(splits.train):
        raise ValueError(f"batch_size {config.batch_size} is larger than the {len(splits.train)} training samples.")
    tell_own(network, "in training it is computed as you built it, without compiled loops.")


def identity_of(network: SpikingNetwork, splits: Splits, config: TrainConfig) -> dict[str, object]:
    """What makes a training the one it is: its checkpoints bear it, and are refused where it is another."""
    network = as_network(network)
    return {
        "cell": str(network.design),
        "network_config": network.config,
        "train_config": config,
        "first_weights": network.first_weights,
        # Of other splits, the resumed training would have seen samples that are now held out.
        "data": {"name": splits.name, "sha256": digest([(s.x, s.y) for s in (splits.train, splits.val)])},
    }


class _Training:
    """One training; ``history`` is what is done, and no epoch needs more than the checkpoint holds."""

    def __init__(self, network: SpikingNetwork, splits: Splits, config: TrainConfig, folder: Path | None) -> None:
        self.network, self.val, self.config, self.folder = network, splits.val, config, folder
        self.device = network.input_centre.device
        self.train = Split(splits.train.x.detach().to(self.device), splits.train.y.to(self.device))
        self.history: list[EpochRecord] = []
        auto = config.amp == "auto" and self.device.type == "cuda"
        self.amp = config.amp == "on" or (auto and torch.cuda.is_bf16_supported(including_emulation=False))
        if config.channels_last != "off":
            network.to(memory_format=torch.channels_last)  # convolutions hand the format on to their outputs
        # By keyword: the published code passes the weight decay by position, where it is the dampening.
        settings = {name: getattr(config, name) for name in ("momentum", "dampening", "weight_decay")}
        self.optimizer = torch.optim.SGD(network.parameters(), lr=config.learning_rate, fused=True, **settings)
        self.identity = identity_of(network, splits, config) if folder else {}

    def records(self) -> Iterator[EpochRecord]:
        yield from tuple(self.history)
        for epoch in range(len(self.history) + 1, self.config.epochs + 1):
            record = self._run_epoch(epoch)
            self.history.append(record)
            if max(self.history, key=lambda r: r.val_accuracy) is record:  # max: the first of equals
                self._save("best.pt")  # before last.pt: stopped between the two, this epoch is repeated
            self._save("last.pt")
            yield record

    def _run_epoch(self, epoch: int) -> EpochRecord:
        start, rate = time.perf_counter(), self.config.learning_rate_at(epoch - 1)
        self.optimizer.param_groups[0]["lr"] = rate
        frozen, results = epoch > self.config.epochs - self.config.frozen_norm_epochs, []
        mode = _mode(self.network, training=True, frozen_norms=frozen)
        with own_state(self.network, grad=True), mode, _randomness(self.config.seed, epoch, self.device) as generator:
            batches = torch.randperm(len(self.train), generator=generator).split(self.config.batch_size)
            batches = batches[:-1] if len(batches[-1]) == 1 else batches  # batch normalisation needs 2 samples
            for number, index in enumerate(batches, start=1):
                results.append(self._step(index, generator, f"epoch {epoch}, batch {number} of {len(batches)}"))
        if lost_weight(self.network):
            raise self._diverged("a weight", f"epoch {epoch}")  # LIF layers turn NaN into silence: the loss may hide it
        loss, correct, seen = (sum(column) for column in zip(*results, strict=True))
        val, seconds = evaluate(self.network, self.val, loss=self.config.loss), time.perf_counter() - start
        return EpochRecord(epoch, loss / seen, correct / seen, val.loss, val.accuracy, rate, seconds)

    def _step(self, index: Tensor, generator: torch.Generator, where: str) -> tuple[float, int, int]:
        """One update; returns summed loss, correct and seen samples."""
        x, y = self.train.batch(index.to(self.device))
        config, fill = self.config, self.network.config.input_centre
        x = augment(x, crop=config.crop, flip=config.flip, fill=fill, generator=generator)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.amp):
            logits = self.network(x).float()
        loss = _loss(logits, y, config.loss)
        value = loss.item()
        if not math.isfinite(value):
            raise self._diverged(f"the loss ({value})", where)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return value * len(y), int((logits.argmax(1) == y).sum()), len(y)

    def _diverged(self, what: str, where: str) -> TrainingDivergedError:
        kept = self.folder and f"that of epoch {len(self.history)} in {self.folder / 'last.pt'}"
        return TrainingDivergedError(
            f"{what} is not finite in {where}, learning rate {self.optimizer.param_groups[0]['lr']:g}. Last good "
            f"checkpoint kept: {kept or 'none, without folder='}. Try a lower learning_rate, in a new folder."
        )

    def restore_or_start(self, damaged: str) -> None:
        stored, mended = self._restored(damaged) if self.folder else (None, False)
        if stored is None:
            check_weights(self.network)
            if self.folder:
                self._bear(name_weights(self.network))
                if (best := self.folder / "best.pt").exists():  # of an earlier start: it is not this one's
                    best.unlink()
                self._save("last.pt")  # epoch 0: a training stopped in its first epoch resumes exactly, too
            return
        self.network.load_state_dict(stored["network"])
        self.optimizer.load_state_dict(stored["optimizer"])
        self.history = [EpochRecord(**record) for record in stored["history"]]
        for name in ("best.pt", "last.pt") if mended else ():
            self._save(name)

    def _restored(self, damaged: str) -> tuple[dict | None, bool]:
        try:
            return resume_from(self.folder, self.identity, damaged=damaged)
        except ValueError as error:  # weights that were trained before this training have no seed
            own = {"first_weights": name_weights(self.network)}
            with suppress(ValueError):
                found = resume_from(self.folder, self.identity | own, damaged=damaged)
                self._bear(own["first_weights"])
                return found
            raise error from None

    def _bear(self, first_weights: str) -> None:
        self.network.first_weights = self.identity["first_weights"] = first_weights

    def _save(self, name: str) -> None:
        if self.folder is None:
            return
        history = [asdict(record) for record in self.history]
        state = {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict()}
        write_checkpoint(self.folder / name, plain(self.identity) | {"epoch": len(history), "history": history} | state)


def evaluate(network: SpikingNetwork, split: Split, *, batch_size: int = 256, loss: str = _LOSSES[0]) -> Evaluation:
    """Accuracy and mean loss on a split, in evaluation mode and full precision; modes and weights stay as they were.

    Raises ``ValueError`` for wrong options or a split that does not fit the network.
    """
    network, batch_size = check_weights(as_network(network)), whole("batch_size", batch_size)
    if loss not in _LOSSES:
        raise unknown("loss", loss, _LOSSES)
    _check_fits(network, split, max(network.config.num_classes, int(split.y.max()) + 1))  # a split may miss classes
    device, total, predicted = network.input_centre.device, 0.0, []
    with own_state(network, grad=False), _mode(network, training=False):
        for start in range(0, len(split), batch_size):
            x, y = (tensor.to(device) for tensor in split.batch(slice(start, start + batch_size)))
            logits = network(x)
            total += _loss(logits, y, loss).item() * len(y)
            predicted += logits.argmax(1).tolist()
    reset_state(network)  # the last batch's membranes need no memory
    correct, n = int((torch.tensor(predicted) == split.y.cpu()).sum()), len(split)
    return Evaluation(correct / n, total / n, correct, n, tuple(predicted))


def _loss(logits: Tensor, y: Tensor, kind: str) -> Tensor:
    if kind == "mse":
        return F.mse_loss(logits, F.one_hot(y, logits.shape[1]).to(logits.dtype))
    return F.cross_entropy(logits, y)


@contextmanager
def _mode(network: nn.Module, *, training: bool, frozen_norms: bool = False) -> Iterator[None]:
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


def _check_fits(network: SpikingNetwork, split: Split, num_classes: int) -> None:
    config = network.config
    wanted = (config.input_shape, config.events, config.num_classes)
    given = (tuple(split.x.shape[-3:]), split.events, num_classes)
    if wanted != given:
        raise ValueError(
            f"the network is for data of ((C, H, W), events, classes) = {wanted}, the data have {given}; build it "
            f"with NetworkConfig(**splits.network_settings())."
        )
