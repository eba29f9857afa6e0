"""CellTraining: what is shown of the files of a run folder before, while and after a cell is trained."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from lightsnn_kit.cells import Cell, as_cell
from lightsnn_kit.files import RunError, write_json
from lightsnn_kit.lab.results import newest_row
from lightsnn_kit.lab.runs import RunFolder
from lightsnn_kit.widgets import CellExplorer, CellTraining

CHAIN, SKIP = as_cell("0301 0030 0003 0000"), as_cell("0101 0010 0001 0000")
ROW = {"method": "cell-1", "seed": 0, "cell": str(SKIP), "convs": 0, "test_accuracy": 0.5, "firing_rate": 0.125}
ROW |= {"synops": 2_000.0, "energy_pj": 1_000.0, "parameters": 1234, "seconds": {"train": 1.25}}


class Trainer:
    """A run folder without processes: whoever starts a training here finds it begun by a job of this very process."""

    def __init__(self, path: Path) -> None:
        self.run, self.path, self.settings = "runs/x", path, {"epochs": 4}
        self.found: list[dict] = []
        self.asked: list[tuple[Cell, int]] = []

    def start(self, cell: Cell, epochs: int) -> None:
        if not any(cell.edge_ops.values()):
            raise RunError("nothing to train")
        self.asked.append((cell, epochs))
        stage = RunFolder.open(self.path).stage("cell-2/seed0/train", {"seed": 0})
        stage.expect("epochs", epochs)
        job = {"pid": os.getpid(), "notebooks": ["train"], "started": ""}
        (self.path / "job").mkdir(exist_ok=True)
        (self.path / "job" / "end.json").unlink(missing_ok=True)
        from lightsnn_kit.lab.machine import process_identity

        write_json(self.path / "job" / "job.json", job | process_identity(os.getpid()), replace=True)

    def end(self, state: str = "finished") -> None:
        write_json(self.path / "job" / "end.json", {"state": state, "message": "", "ended": ""})

    def command(self, cell: Cell, epochs: int) -> str:
        return f"train --cell '{cell}' --epochs {epochs}"

    def row_name(self, cell: Cell, epochs: int) -> str:
        return "cell-2"

    def rows(self) -> list[dict]:
        return self.found

    def statistics(self, mask: object, **_: object) -> None:
        raise AssertionError("nothing is scored here")


@pytest.fixture
def trainer(tmp_path: Path) -> Trainer:
    return Trainer(tmp_path / "run")


@pytest.fixture
def view(trainer: Trainer) -> Iterator[CellTraining]:
    opened = CellTraining(trainer, CHAIN)
    yield opened
    opened.close()


def test_before_anything_is_trained(view: CellTraining, trainer: Trainer) -> None:
    assert view.monitor is None
    assert view.table.value == ""
    assert view.copy.text == f"train --cell '{CHAIN}' --epochs 4"
    assert "conv3x3~0" in view.command.value
    view.show(SKIP)
    view.epochs.value = 7
    assert view.copy.text == f"train --cell '{SKIP}' --epochs 7"
    assert not trainer.path.exists()  # looking makes no folder
    assert "Nothing is recorded yet" in view.figure().layout.title.text


def test_from_the_button_to_a_row(view: CellTraining, trainer: Trainer) -> None:
    seen = []
    view.observe(lambda change: seen.append(len(change["new"])), "rows")
    view.button.click()
    assert trainer.asked == [(CHAIN, 4)]
    assert "cell-2 is being trained. It goes on if you close this page." in view.message.value
    assert "▶ <b>running</b>" in view.monitor.state.value
    assert view.button.disabled  # one at a time
    assert not view.monitor.cancel.disabled
    stage = RunFolder.open(trainer.path).read("cell-2/seed0/train")
    stage.append("epochs", {"epoch": 1, "val_accuracy": 0.25, "train_accuracy": 0.2, "val_loss": 1.0}
                 | {"train_loss": 1.0, "learning_rate": 0.1, "seconds": 2.0})  # fmt: skip
    view.monitor.check()
    assert "1 of 4 epochs" in view.monitor.stages.value
    assert seen == []
    trainer.found = [ROW | {"cell": str(CHAIN)}]
    stage.finish({})
    trainer.end()
    view.monitor.check()
    assert seen == [1]
    assert "cell-1: 50.0% of the test samples are right." in view.message.value
    assert not view.button.disabled
    assert newest_row(view.rows, CHAIN)["test_accuracy"] == 0.5
    assert newest_row(view.rows, SKIP) is None


def test_the_table_by_hand(view: CellTraining, trainer: Trainer) -> None:
    trainer.found = [ROW, ROW | {"method": "<b>", "cell": str(CHAIN)}]
    view.refresh()
    first, second = view.table.value.split("<tr>")[2:]
    for text in ("cell-1", ">0<", "50.0%", "12.5%", "2 k", "1 nJ", "1,234", "1.2 s"):
        assert text in first
    assert "&lt;b&gt;" in second
    assert ("bold" in first, "bold" in second) == (False, True)  # the cell shown
    view.show(SKIP)
    first, second = view.table.value.split("<tr>")[2:]
    assert ("bold" in first, "bold" in second) == (True, False)


def test_made_again_it_attaches(view: CellTraining, trainer: Trainer) -> None:
    """As after a closed page, or a new kernel."""
    view.button.click()
    again = CellTraining(trainer, SKIP)
    assert "▶ <b>running</b>" in again.monitor.state.value
    assert again.button.disabled
    assert json.loads(again.monitor.curves.spec) == json.loads(view.monitor.curves.spec)
    trainer.found = [ROW]
    trainer.end("cancelled")
    again.monitor.check()
    assert "■ <b>cancelled</b>" in again.monitor.state.value
    assert not again.button.disabled  # goes on where it stopped
    late = CellTraining(trainer, CHAIN)
    assert late.rows == (ROW,)
    assert late.message.value == ""  # nothing new to tell
    again.close()
    late.close()


def test_what_cannot_be_trained_is_told(view: CellTraining, trainer: Trainer) -> None:
    for epochs in (0, -3):
        view.epochs.value = epochs
        assert f"epochs must be a whole number of 1 or more, got {epochs}" in view.message.value
        assert view.epochs.value == 4
    assert trainer.asked == []
    assert view.copy.text.endswith("--epochs 4")  # the last good one
    view.epochs.value = 5
    assert view.message.value == ""
    trainer.start = lambda cell, epochs: (_ for _ in ()).throw(RunError("the disk is full"))
    view.button.click()
    assert "⚠ the disk is full" in view.message.value
    trainer.rows = lambda: (_ for _ in ()).throw(RunError("odd files"))
    late = CellTraining(trainer, CHAIN)
    assert "odd files" in late.message.value
    late.close()


def test_the_explorer_hands_its_cell_on(trainer: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lightsnn_kit.lab import cell_measures
    from lightsnn_kit.lab.cell_measures import CellMeasures

    kernels, rates = {kind: np.eye(2) for kind in ("sahd", "hd")}, {"hidden layer": np.zeros(2)}
    monkeypatch.setattr(cell_measures, "measure_cell", lambda cell, *_: CellMeasures(cell, 1.0, 1.0, kernels, rates))
    explorer = CellExplorer(CHAIN, scorer=trainer, folder=tmp_path / "cells")
    assert explorer.pane.options == ("Scores", "Train", "Settings")  # it cannot record, so there is no time to watch
    assert list(explorer.made) == ["Scores"]  # others are made when they are asked for
    explorer.pane.value = "Train"
    explorer.made["Train"].epochs.value = -3  # refused, and no edit after it suffers
    explorer.cell = SKIP
    assert explorer._shown.cell == SKIP
    explorer.made["Train"].button.click()
    assert trainer.asked == [(SKIP, 4)]
    explorer.pane.value = "Scores"
    explorer.cell = CHAIN
    explorer.pane.value = "Train"
    assert str(CHAIN) in explorer.made["Train"].copy.text
    explorer.close()
    assert explorer.made["Train"].monitor.comm is None  # closed with it, hidden or not
