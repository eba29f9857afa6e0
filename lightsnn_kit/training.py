"""Training a discrete network: ``fit`` yields one record per epoch and resumes exactly; ``evaluate`` tests.

A checkpoint holds all that an epoch depends on: weights, optimizer, records so far and both configurations. The
schedule and all randomness are functions of configuration and epoch, so a resumed training computes the same bits
as an uninterrupted one (same machine, same number of threads).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

from .blocks import tell_own
from .checkpoints import DAMAGED, digest, name_weights, resume_from, write_checkpoint
from .checks import unknown, whole
from .data import Split, Splits
from .files import plain, user_path
from .networks import SpikingCell, SpikingNetwork, reset_state
from .ranks import Ranks
from .recording import as_network, check_weights, own_state
from .updates import LOSSES, TrainConfig, TrainingDivergedError, Updates, in_mode, loss_of


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
    precision: str = ""  # of products and activations: "float32" or "bfloat16"; "" where it was not written down


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
    fabric: object = None,
) -> Iterator[EpochRecord]:
    """Train a network in place on ``splits.train``, one record per epoch; ``splits.test`` is never read.

    With ``folder``, ``last.pt`` and ``best.pt`` (best validation accuracy, the earliest of equals) are written there
    after each epoch. If ``last.pt`` exists, its weights are loaded, the stored records come first and training goes
    on after them; a finished training only yields them. Where one of the two cannot be read, ``damaged`` says what to
    do: "refuse" it, go on from the "best" one, or "restart" with this network's weights as they are.

    With ``fabric``, a launched ``lightning_fabric.Fabric``, each process calls this with the same network, data and
    settings, and takes its share of every batch: the training is that of one process but for the order of sums (see
    `ranks`). Rank 0 alone reads and writes ``folder``.

    Checks come before any work: ``ValueError`` for data that do not fit, a damaged checkpoint or a folder of another
    training, ``OSError`` for an unwritable one. Raises ``TrainingDivergedError`` and ``RankLostError``.

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
    ranks = Ranks(fabric)
    _check_training(network, splits, config, ranks)
    with torch.inference_mode(False):
        training = _Training(network, splits, config, None if folder is None else user_path(folder), ranks)
        training.restore_or_start(damaged)
    return training.records()


def _check_training(network: SpikingNetwork, splits: Splits, config: TrainConfig, ranks: Ranks) -> None:
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
    if min(config.batch_size, len(splits.val)) < ranks.count:
        raise ValueError(
            f"each of the {ranks.count} ranks needs a sample of every batch and of the validation part, and they have "
            f"{config.batch_size} and {len(splits.val)} in all; start fewer."
        )
    alone = ", and normalises the samples of each rank by themselves" if ranks.count > 1 else ""
    tell_own(network, f"in training it is computed as you built it, without compiled loops{alone}.")


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

    def __init__(
        self, network: SpikingNetwork, splits: Splits, config: TrainConfig, folder: Path | None, ranks: Ranks
    ) -> None:
        self.network, self.val, self.config, self.folder, self.ranks = network, splits.val, config, folder, ranks
        self.history: list[EpochRecord] = []
        together = ranks.count > 1
        self.identity = identity_of(network, splits, config) if folder or together else {}
        if together:
            ranks.agree(plain(self.identity), "cell, first weights, data or settings")
        if ranks.fabric is not None:
            network.to(ranks.fabric.device)
        self.updates = Updates(network, splits.train, config, ranks)

    def records(self) -> Iterator[EpochRecord]:
        yield from tuple(self.history)
        for epoch in range(len(self.history) + 1, self.config.epochs + 1):
            record = self._run_epoch(epoch)
            self.history.append(record)
            self.ranks.once(self._keep)
            yield record

    def _keep(self) -> None:
        if max(self.history, key=lambda r: r.val_accuracy) is self.history[-1]:  # max: the first of equals
            self._save("best.pt")  # before last.pt: stopped between the two, this epoch is repeated
        self._save("last.pt")

    def _run_epoch(self, epoch: int) -> EpochRecord:
        start, rate = time.perf_counter(), self.config.learning_rate_at(epoch - 1)
        try:
            loss, correct, seen = self.updates.epoch(epoch)
        except TrainingDivergedError as error:
            kept = self.folder and f"that of epoch {len(self.history)} in {self.folder / 'last.pt'}"
            raise TrainingDivergedError(
                f"{error} Last good checkpoint kept: {kept or 'none, without folder='}. Try a lower learning_rate, in "
                f"a new folder."
            ) from None
        val_loss, val_accuracy = self._validated()
        seconds = time.perf_counter() - start
        found = (loss / seen, correct / seen, val_loss, val_accuracy, rate, seconds)
        return EpochRecord(epoch, *found, self.updates.precision)

    def _validated(self) -> tuple[float, float]:
        """Loss and accuracy on the validation part, of which each rank takes its share."""
        own = self.ranks.share(0, len(self.val))
        part = self.val if self.ranks.count == 1 else Split(self.val.x[own], self.val.y[own])
        found = evaluate(self.network, part, loss=self.config.loss)
        if self.ranks.count == 1:
            return found.loss, found.accuracy
        loss, correct, seen = self.ranks.totals(found.loss * len(part), found.num_correct, len(part))
        return loss / seen, correct / seen

    def restore_or_start(self, damaged: str) -> None:
        stored, mended = self.ranks.once(lambda: self._restored(damaged))
        if stored is None:
            check_weights(self.network)
            self.ranks.once(self._begin)
            return
        self.network.load_state_dict(stored["network"])
        self.updates.optimizer.load_state_dict(stored["optimizer"])
        self.history = [EpochRecord(**record) for record in stored["history"]]
        if self.config.amp == "fast" and self.history:  # as it began, wherever that was
            self.updates.amp = self.history[-1].precision == "bfloat16"
        self.ranks.once(lambda: [self._save(name) for name in ("best.pt", "last.pt") if mended])

    def _begin(self) -> None:
        if self.folder:
            self._bear(name_weights(self.network))
            if (best := self.folder / "best.pt").exists():  # of an earlier start: it is not this one's
                best.unlink()
            self._save("last.pt")  # epoch 0: a training stopped in its first epoch resumes exactly, too

    def _restored(self, damaged: str) -> tuple[dict | None, bool]:
        if self.folder is None:
            return None, False
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
        state = {"network": self.network.state_dict(), "optimizer": self.updates.optimizer.state_dict()}
        write_checkpoint(self.folder / name, plain(self.identity) | {"epoch": len(history), "history": history} | state)


def evaluate(network: SpikingNetwork, split: Split, *, batch_size: int = 256, loss: str = LOSSES[0]) -> Evaluation:
    """Accuracy and mean loss on a split, in evaluation mode and full precision; modes and weights stay as they were.

    Raises ``ValueError`` for wrong options or a split that does not fit the network.
    """
    network, batch_size = check_weights(as_network(network)), whole("batch_size", batch_size)
    if loss not in LOSSES:
        raise unknown("loss", loss, LOSSES)
    _check_fits(network, split, max(network.config.num_classes, int(split.y.max()) + 1))  # a split may miss classes
    device, total, predicted = network.input_centre.device, 0.0, []
    with own_state(network, grad=False), in_mode(network, training=False):
        for start in range(0, len(split), batch_size):
            x, y = (tensor.to(device) for tensor in split.batch(slice(start, start + batch_size)))
            logits = network(x)
            total += loss_of(logits, y, loss).item() * len(y)
            predicted += logits.argmax(1).tolist()
    reset_state(network)  # the last batch's membranes need no memory
    correct, n = int((torch.tensor(predicted) == split.y.cpu()).sum()), len(split)
    return Evaluation(correct / n, total / n, correct, n, tuple(predicted))


def _check_fits(network: SpikingNetwork, split: Split, num_classes: int) -> None:
    config = network.config
    wanted = (config.input_shape, config.events, config.num_classes)
    given = (tuple(split.x.shape[-3:]), split.events, num_classes)
    if wanted != given:
        raise ValueError(
            f"the network is for data of ((C, H, W), events, classes) = {wanted}, the data have {given}; build it "
            f"with NetworkConfig(**splits.network_settings())."
        )
