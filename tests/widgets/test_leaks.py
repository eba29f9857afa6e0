"""Every widget, used and closed: no widget, callback or task of it is left, whether a loop runs or not."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from lightsnn_kit import widgets
from lightsnn_kit.lab.runs import RunFolder
from lightsnn_kit.search import prune_search
from lightsnn_kit.spaces import CellSpace
from lightsnn_kit.widgets.base import View

CELL = "0303 0030 2002 0200"
STEPS = tuple(prune_search(CellSpace(("zeroize", "skip"), 3), lambda mask: 1.0 - mask.num_cells))
SPIKES = np.random.default_rng(0).integers(0, 2, (2, 3, 5))  # [T, B, N]
KERNEL = SimpleNamespace(
    layers=(("lif",),), num_neurons=np.array([5]), counts=np.ones((1, 2, 3)), hamming=np.ones((1, 2, 3, 3))
)
ROW = {"name": "a", "cell": CELL, "test_accuracy": 0.5, "synops": 1.0, "energy_pj": 1.0, "parameters": 1}


def cells(folder: Path) -> View:
    view = widgets.CellExplorer(CELL, space="snasnet", folder=folder / "cells")
    view.cell = view.cell.replace((3, 0), "skip")
    return view


def training(folder: Path) -> View:
    trainer = SimpleNamespace(run="runs/x", path=folder, settings={"epochs": 3}, rows=list)
    trainer.command = trainer.row_name = lambda cell, epochs: "train"
    (folder / "job").mkdir(exist_ok=True)
    view = widgets.CellTraining(trainer, CELL)
    view.epochs.value = 0
    return view


def kernels(folder: Path) -> View:
    view = widgets.KernelExplorer(KERNEL, images=np.zeros((3, 1, 2, 2)))
    view.step.value, view.first.value = 1, 9
    return view


def neuron(folder: Path) -> View:
    view = widgets.LIFPlayground(num_steps=5)
    view.tau.value = 0.5
    return view


def monitor(folder: Path) -> View:
    RunFolder.open(folder)
    view = widgets.RunMonitor(folder, every=0.01)
    view.refresh()
    return view


def runs(folder: Path) -> View:
    view = widgets.CompareRuns([ROW, ROW | {"name": "b"}])
    view.cost.value = "parameters"
    return view


def spikes(folder: Path) -> View:
    view = widgets.SpikeExplorer({"lif": SPIKES}, potentials={"lif": SPIKES * 1.0}, images=np.zeros((3, 1, 4, 4)))
    view.step.value, view.sample.value, view.play.playing = 1, 9, True
    return view


def stepper(folder: Path) -> View:
    view = widgets.PruneStepper(STEPS)
    view.next_round()
    return view


USED = {"CellExplorer": cells, "CellTraining": training, "CompareRuns": runs, "KernelExplorer": kernels}
USED |= {"LIFPlayground": neuron, "PruneStepper": stepper, "RunMonitor": monitor, "SpikeExplorer": spikes}


def test_every_widget_is_here() -> None:
    views = {name for name in widgets.__all__ if issubclass(getattr(widgets, name), View)}
    assert views - {"View"} == set(USED)


@pytest.mark.parametrize("name", USED)
def test_opening_and_closing_leaves_nothing(name: str, tmp_path: Path, leaves_nothing: Callable) -> None:
    def view() -> object:
        opened = USED[name](tmp_path)
        opened.close()
        opened.close()  # twice is once
        return opened

    leaves_nothing(view)


@pytest.mark.parametrize("name", USED)
def test_closing_under_way_ends_all_tasks(name: str, tmp_path: Path) -> None:
    """In a running loop, as in a notebook: timers and tasks are under way when the widget is closed."""
    ghosts = []

    async def scene() -> None:
        for pause in (0, 0.04, 0):
            opened = USED[name](tmp_path)
            ghosts.append(weakref.ref(opened))
            await asyncio.sleep(pause)
            opened.close()
            del opened
        await asyncio.sleep(0.05)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(scene())
    gc.collect()
    assert [ghost() for ghost in ghosts if ghost()] == []
