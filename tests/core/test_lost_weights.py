"""A network whose weights are lost gives no figures: spikes turn NaN into silence, so no figure would show it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lightsnn_kit.data import Splits
from lightsnn_kit.energy import measure_energy
from lightsnn_kit.networks import NetworkConfig, SpikingNetwork, build_network, build_supernet
from lightsnn_kit.scoring import Scorer, ScoringConfig
from lightsnn_kit.training import TrainConfig, evaluate, fit

X, Y = torch.rand(40, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 2
SPLITS = Splits.from_tensors(name="tiny", train=(X, Y), test=(X, Y))
CONFIG = NetworkConfig(width=4, hidden=8, num_steps=2, **SPLITS.network_settings())
ONCE = TrainConfig(epochs=1, batch_size=16)
DOORS = {
    "fit": lambda network: fit(network, SPLITS, ONCE),
    "evaluate": lambda network: evaluate(network, SPLITS.val),
    "energy": lambda network: measure_energy(network, X[:4]),
}


def lose(network: SpikingNetwork, value: float) -> SpikingNetwork:
    with torch.no_grad():
        next(network.parameters()).view(-1)[0] = value
    return network


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("door", DOORS.values(), ids=DOORS)
def test_no_door_takes_lost_weights(door: Callable[[SpikingNetwork], object], value: float) -> None:
    with pytest.raises(ValueError, match=r"holds NaN or infinity.*Build it anew"):
        door(lose(build_network("03 00", CONFIG), value))


def test_no_score_of_lost_weights() -> None:
    with pytest.raises(ValueError, match="holds NaN or infinity"):
        Scorer(supernet=lose(build_supernet("lightsnn", CONFIG), float("nan")), batches=(X[:4],))


def test_a_training_goes_on_from_its_checkpoint_whatever_the_network_holds(tmp_path: Path) -> None:
    [done] = fit(build_network("03 00", CONFIG), SPLITS, ONCE, folder=tmp_path)
    network = lose(build_network("03 00", CONFIG), float("nan"))
    assert list(fit(network, SPLITS, ONCE, folder=tmp_path)) == [done]
    assert evaluate(network, SPLITS.val).accuracy == done.val_accuracy


@pytest.mark.parametrize("name", ["feedback", "reset", "fresh_batches"])
def test_settings_of_a_score_are_yes_or_no(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be True or False"):
        ScoringConfig(**{name: "no"})
