"""What a training starts from: the seed of its weights, or the weights themselves if they were changed before."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from lightsnn_kit.data import Splits
from lightsnn_kit.networks import SpikingNetwork
from lightsnn_kit.training import EpochRecord, TrainConfig, fit
from tests.core.core_kills import tiny_network, tiny_splits

CONFIG = TrainConfig(epochs=2, batch_size=20)


@pytest.fixture(scope="module")
def splits() -> Splits:
    return tiny_splits()


def trained_before(splits: Splits) -> SpikingNetwork:
    network = tiny_network(splits)
    list(fit(network, splits, replace(CONFIG, epochs=1)))
    return network


def untimed(records: list[EpochRecord]) -> list[EpochRecord]:
    return [replace(record, seconds=0.0) for record in records]


def test_weights_that_were_changed_have_no_seed(splits: Splits, tmp_path: Path) -> None:
    """A fresh network does not go on with the training of one that was trained before; that one does, made again."""
    records = list(fit(trained_before(splits), splits, CONFIG, folder=tmp_path))
    with pytest.raises(ValueError, match=r"another training: first_weights was 'weights \w+', now 'seed 0'"):
        fit(tiny_network(splits), splits, CONFIG, folder=tmp_path)
    assert list(fit(trained_before(splits), splits, CONFIG, folder=tmp_path)) == records


def test_a_partly_trained_network_goes_on(splits: Splits, tmp_path: Path) -> None:
    network = tiny_network(splits)
    first = next(fit(network, splits, CONFIG, folder=tmp_path / "a"))
    both = list(fit(network, splits, CONFIG, folder=tmp_path / "a"))
    assert both[0] == first
    assert untimed(both) == untimed(list(fit(tiny_network(splits), splits, CONFIG, folder=tmp_path / "b")))


def test_other_things_than_splits_and_settings(splits: Splits) -> None:
    for given in ((splits.train, CONFIG), (splits, {"epochs": 1})):
        with pytest.raises(ValueError, match="fit takes Splits and a TrainConfig, got"):
            fit(tiny_network(splits), *given)
    with pytest.raises(ValueError, match="crop shifts images by up to 100 pixels, but they have 8"):
        fit(tiny_network(splits), splits, replace(CONFIG, crop=100))
