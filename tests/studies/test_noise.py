"""The study of chance in trainings: what differs, what stays, and that it goes on where it stopped."""

from __future__ import annotations

from pathlib import Path

import pytest
from studies import noise

from lightsnn_kit.lab import presets
from lightsnn_kit.lab.runs import RunFolder
from lightsnn_kit.methods import choose


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, Path]:
    folder = tmp_path_factory.mktemp("noise")
    stage = RunFolder.open(folder).stage("noise", {})
    preset = presets.get("digits").quick().changed(per_class=20, train={"epochs": 2})
    cell = choose("residual", "lightsnn").cell
    return noise.study_noise(preset, cell, seeds=[0, 1], stage=stage, data={}), folder


def test_every_seed_and_every_order_is_a_row(found: tuple[dict, Path]) -> None:
    rows = found[0]["rows"]
    orders = [("as usual", 0), ("as usual", 1), ("contiguous", 0), ("without oneDNN", 0)]
    assert [(row["order"], row["seed"]) for row in rows] == orders
    assert {row["test_samples"] for row in rows} == {200}
    accuracies = [row["test_accuracy"] for row in rows]
    assert found[0]["seeds"]["range"] == pytest.approx(abs(accuracies[0] - accuracies[1]))
    same = [accuracies[0], *accuracies[2:]]
    assert found[0]["orders"]["range"] == pytest.approx(max(same) - min(same))


def test_orders_round_otherwise_and_data_stay(found: tuple[dict, Path]) -> None:
    """The losses of the second epoch are near each other, and not all the same bits."""
    losses, data = [], set()
    for order in ("as-usual", "contiguous", "without-oneDNN"):
        stage = RunFolder.open(found[1] / "noise" / order).read("one-cell/seed0")
        data.add(str(stage.read_json("predictions")["labels"]))
        [_, second] = RunFolder.open(found[1] / "noise" / order).read("one-cell/seed0/train").records("epochs")
        losses.append(second["train_loss"])
    assert losses == pytest.approx([losses[0]] * 3, rel=0.1)
    assert len(set(losses)) > 1
    assert len(data) == 1
