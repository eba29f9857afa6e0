"""CellInTime and CellSettings: records of the newest cell, and settings that are built while the page stays free."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import ClassVar

import numpy as np
import pytest
import torch

from lightsnn_kit.cells import as_cell
from lightsnn_kit.files import RunError
from lightsnn_kit.networks import NetworkConfig, build_supernet
from lightsnn_kit.scoring import Scorer
from lightsnn_kit.spaces import SPACES, OpMask
from lightsnn_kit.widgets.cell_settings import CellSettings
from lightsnn_kit.widgets.cell_time import CellInTime

SPACE = SPACES["lightsnn"]
CHAIN, LOOP = as_cell("0301 0030 0003 0000"), as_cell("0301 0030 0003 0100")
CONFIG = NetworkConfig(input_shape=(1, 8, 8), num_classes=2, width=2, hidden=8, num_steps=3)


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    x = torch.randint(0, 256, (6, 1, 8, 8), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    return Scorer(supernet=build_supernet(SPACE, CONFIG), batches=(x,), engine="plain")


# ---- time ------------------------------------------------------------------------------------------------------------


def test_spikes_are_where_the_potential_passes_the_threshold(scorer: Scorer) -> None:
    mask = OpMask.from_cell(LOOP, SPACE)
    spikes, potentials = scorer.record(mask)
    assert list(spikes) == list(potentials)
    rates = scorer.statistics(mask)[0].firing_rate
    for name, values in spikes.items():
        assert torch.equal(values.bool(), potentials[name] >= 1.0)  # v_threshold
        assert torch.allclose(values.double().flatten(2).mean((1, 2)), rates[name].double())
    few, _ = scorer.record(mask, samples=2)
    assert {values.shape[1] for values in few.values()} == {2}


def test_a_cell_is_shown_in_time(scorer: Scorer) -> None:
    view = CellInTime(CHAIN, SPACE, scorer, labels=np.arange(6))
    layers = list(view.spikes.spikes)
    assert layers[:2] == ["cell 1, node 0", "cell 1, node 1"]
    assert layers[-3:] == ["between the cells", "after cell 2", "hidden layer"]
    first, drawn = view.spikes, view.unrolled.spec
    first.layer.value, first.step.value, first.sample.value = "hidden layer", 2, 3
    view.show(LOOP)
    assert first.comm is None  # closed, and another one is there with the same choices
    chosen = (view.spikes.layer.value, view.spikes.step.value, view.spikes.sample.value)
    assert chosen == ("hidden layer", 2, 3)
    assert view.unrolled.spec != drawn
    view.show(LOOP)
    second = view.spikes
    assert view.spikes is second  # recorded once
    view.close()
    assert second.comm is None


def test_the_newest_cell_is_recorded(scorer: Scorer) -> None:
    asked, cells = [], [SPACE.sample(np.random.default_rng(seed)) for seed in range(8)]

    class Slow:
        supernet, batches = scorer.supernet, scorer.batches

        def record(self, mask: OpMask, **options: int) -> tuple:
            asked.append(mask.to_cell())
            return scorer.record(mask, **options)

    async def scene() -> CellInTime:
        view = CellInTime(CHAIN, SPACE, Slow())
        for cell in cells:
            view.show(cell)
        while view._running:
            await asyncio.sleep(0.01)
        return view

    view = asyncio.run(scene())
    assert len(asked) <= 2
    assert view._recorded == asked[-1] == cells[-1]
    view.close()


# ---- settings --------------------------------------------------------------------------------------------------------


class Workshop:
    """Width 13 cannot be built, width 0 cannot be asked for; what is built waits for ``go``."""

    go = threading.Event()
    choices: ClassVar = {"preset": ("digits", "mine"), "proxy": ("sahd", "hd")}
    built: ClassVar[list[int]] = []

    def __init__(self, **settings: object) -> None:
        own = {"preset": "digits", "proxy": "sahd", "width": 8, "num_steps": 4, "batch_size": 16}
        self.settings = own | settings
        self.title = f"width {self.settings['width']}"

    def changed(self, **settings: object) -> Workshop:
        if settings.get("width") == 0:
            raise ValueError("width must be 1 or more")
        return Workshop(**{**self.settings, **settings})

    def prepare(self) -> Workshop:
        assert self.go.wait(10)
        self.built.append(self.settings["width"])
        if self.settings["width"] == 13:
            raise RunError("no memory for that")
        return self


@pytest.fixture
def settings() -> Iterator[CellSettings]:
    Workshop.go.set()
    Workshop.built.clear()
    view = CellSettings(Workshop(), lambda workshop: view.accepted.append(workshop.settings))
    view.accepted = []
    yield view
    view.close()


def test_a_setting_is_built_and_handed_on(settings: CellSettings) -> None:
    settings.controls["width"].value = 32
    settings.say("")
    settings.controls["preset"].value = "mine"
    assert [found["width"] for found in settings.accepted] == [32, 32]
    assert settings.workshop.settings == {**Workshop().settings, "width": 32, "preset": "mine"}
    assert "ready: width 32" in settings.message.value


@pytest.mark.parametrize(("width", "said"), [(0, "width must be 1 or more"), (13, "no memory for that")])
def test_what_cannot_be_built_leaves_all_as_it_was(settings: CellSettings, width: int, said: str) -> None:
    settings.controls["width"].value = width
    assert f"⚠ {said}" in settings.message.value
    assert (settings.accepted, settings.controls["width"].value) == ([], 8)
    settings.accept = lambda workshop: (_ for _ in ()).throw(ValueError("of another space"))
    settings.controls["width"].value = 16
    assert "⚠ of another space" in settings.message.value
    assert (settings.workshop.settings["width"], settings.controls["width"].value) == (8, 8)


def test_the_page_stays_free_and_the_newest_counts(settings: CellSettings) -> None:
    async def scene() -> None:
        Workshop.go.clear()
        for width in (9, 10, 11):
            settings.controls["width"].value = width
            await asyncio.sleep(0.02)  # the loop runs on
        await asyncio.sleep(0.6)
        assert "building … " in settings.message.value
        assert settings.accepted == []
        Workshop.go.set()
        while settings._running:
            await asyncio.sleep(0.01)

    asyncio.run(scene())
    assert Workshop.built[-1] == 11
    assert len(Workshop.built) <= 2
    assert [found["width"] for found in settings.accepted] == [11]
