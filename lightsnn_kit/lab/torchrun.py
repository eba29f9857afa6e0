"""Trainings of a run by several processes: rank 0 has the run folder and leads, the others train what it tells them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import torch

from ..data import Splits
from ..networks import SpikingNetwork
from ..ranks import Ranks
from ..training import EpochRecord, TrainConfig, TrainingDivergedError, fit


def lead(
    fabric: object, network: SpikingNetwork, splits: Splits, config: TrainConfig, **options: object
) -> Iterator[EpochRecord]:
    """``fit``, with the ranks that `follow`; they get network and data from here, and need no files."""
    if fabric is not None:
        Ranks(fabric).told((network.cpu(), splits, config))  # each moves its own to its device
    yield from fit(network, splits, config, fabric=fabric, **options)


def follow(fabric: object) -> int:
    """Train with rank 0 until it says that this was all; returns how many trainings that were."""
    count = 0
    while (task := Ranks(fabric).told(None)) is not None:
        with suppress(TrainingDivergedError):  # rank 0 tells it, and goes on
            for _ in fit(*task, fabric=fabric):
                pass
        count += 1
    torch.distributed.destroy_process_group()
    return count


def dismiss(fabric: object) -> None:
    """Tell the ranks that `follow` that this was all."""
    if fabric is not None:
        Ranks(fabric).told(None)
        torch.distributed.destroy_process_group()
