"""Files of a row that were damaged, changed or copied from another: refused, with the way to go on."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from lightsnn_kit.files import RunError, append_record, write_json
from lightsnn_kit.lab import presets
from lightsnn_kit.lab.experiments import Experiment
from lightsnn_kit.lab.rows import Row
from tests.core.core_kills import spoil


@pytest.fixture(scope="module")
def tiny() -> presets.Preset:
    preset = presets.get("digits").quick().adapted(width=4, num_steps=1)
    return replace(preset, train=replace(preset.train, epochs=3, frozen_norm_epochs=0))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny: presets.Preset) -> Path:
    """A run folder with a row of two seeds, trained and not yet tested."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    for seed in (0, 1):
        list(Experiment.open(folder, tiny).row("residual", seed).train())
    return folder


@pytest.fixture
def row(trained: Path, tmp_path: Path) -> Row:
    shutil.copytree(trained, tmp_path / "run")
    return Experiment.open(tmp_path / "run").row("residual", 0)


def checkpoints(row: Row) -> Path:
    return row.training.path / "checkpoints"


def unfinished(row: Row) -> Row:
    """As if the training had been stopped after its last checkpoint."""
    (row.training.path / "result.json").unlink()
    return row


def without_seconds(epochs: list[dict]) -> list[dict]:
    return [epoch | {"seconds": 0} for epoch in epochs]


@pytest.mark.parametrize("source", ["seed1", "last.pt", "damaged", "gone"])
def test_the_best_weights_are_the_rows_own(row: Row, source: str) -> None:
    best = checkpoints(row) / "best.pt"
    said = {"seed1": r"of another training: .*train_config\.seed was 1, now 0; first_weights was 'seed 1', now"}
    if source == "seed1":
        shutil.copy(row.training.path.parents[1] / "seed1" / "train" / "checkpoints" / "best.pt", best)
    elif source == "last.pt":
        epochs = row.training.records("epochs")
        epochs[-1]["val_accuracy"] = 0.123
        result, of = row.training.result | {"epoch": 3}, row.training.begun["id"]
        write_epochs(row, epochs)
        write_json(row.training.path / "result.json", result, of=of, replace=True)
        shutil.copy(checkpoints(row) / "last.pt", best)
        said[source] = "is not the best epoch that was recorded: epoch 3.val_accuracy was 0.123"
    elif source == "damaged":
        spoil(best)
    else:
        best.unlink()
    with pytest.raises(RunError, match=said.get(source, r"damaged or no checkpoint|no checkpoint")) as error:
        row.test()
    assert f"remove the folder {row.training.path} and train again" in str(error.value)
    shutil.rmtree(row.training.path)  # as the message says
    assert row.run()["test_samples"] > 0


def test_a_row_that_is_untouched_is_tested(row: Row) -> None:
    assert row.test()["epoch"] in (1, 2, 3)


@pytest.mark.parametrize("way", ["best", "restart"])
def test_a_training_with_a_damaged_checkpoint_goes_on(row: Row, way: str) -> None:
    expected = without_seconds(row.training.records("epochs"))
    spoil(checkpoints(unfinished(row)) / "last.pt")
    with pytest.raises(ValueError, match=r"last\.pt is damaged .* damaged='restart'"):
        list(row.train())
    list(row.train(damaged=way))
    assert without_seconds(row.training.records("epochs")) == expected
    assert row.test()["test_samples"] > 0


def write_epochs(row: Row, epochs: list[dict]) -> None:
    """Records with checksums that fit, as another training in this place would leave."""
    (file := row.training.path / "epochs.jsonl").unlink()
    for epoch in epochs:
        append_record(file, epoch, of=row.training.begun["id"])


def test_epochs_that_are_no_records(row: Row) -> None:
    epochs = row.training.records("epochs")
    file = unfinished(row).training.path / "epochs.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join([lines[0], "null\n", lines[2]]))
    with pytest.raises(RunError, match=r"line 2 of .*epochs\.jsonl is no record .* Remove the lines from it on"):
        list(row.train())
    file.write_text(lines[0])  # as the message says
    list(row.train())
    assert row.training.records("epochs") == epochs


@pytest.mark.parametrize("what", ["a figure", "twice", "twice at the end", "no figures"])
def test_epochs_that_are_not_those_of_the_checkpoint(row: Row, what: str) -> None:
    epochs = row.training.records("epochs")
    changes = {
        "a figure": [*epochs[:1], epochs[1] | {"val_accuracy": 0.99}, epochs[2]],
        "twice": [epochs[0], *epochs],
        "twice at the end": [*epochs, epochs[2]],
        "no figures": [epochs[0], {}, epochs[2]],
    }
    write_epochs(unfinished(row), changes[what])
    with pytest.raises(RunError, match=r"epochs\.jsonl are not those of the checkpoints: .*epoch.* damaged='best'"):
        list(row.train())
    list(row.train(damaged="best"))
    assert row.training.records("epochs") == epochs
