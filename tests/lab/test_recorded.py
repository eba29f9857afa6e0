"""Scores that are recorded several at a time, as on a GPU: the engine is made to take seven candidates together."""

from pathlib import Path

import numpy as np
import pytest

from lightsnn_kit.fast import choice, device
from lightsnn_kit.fast.device import DeviceEngine
from lightsnn_kit.lab import presets
from lightsnn_kit.lab.recorded import RecordedScore
from lightsnn_kit.lab.runs import RunFolder, Stage
from lightsnn_kit.methods import choose
from lightsnn_kit.search import prune_search

TOGETHER = 7


@pytest.fixture(scope="module")
def tiny() -> presets.Preset:
    return presets.get("digits").quick()


@pytest.fixture
def together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores go to the engine of GPUs, and to it several at a time."""
    monkeypatch.setattr(choice, "make_engine", lambda supernet, batches, *, bn: DeviceEngine(supernet, batches, bn=bn))
    monkeypatch.setattr(device, "CANDIDATES", TOGETHER)
    monkeypatch.setattr(RecordedScore, "at_once", 64)


def recorded(stage: Stage) -> list[tuple]:
    return [(record["index"], record["mask"], record["score"]) for record in stage.records("scores")]


@pytest.mark.parametrize("written", [10, 14], ids=["in a pass", "between two"])
def test_a_search_goes_on_in_the_middle_of_a_round(
    tiny: presets.Preset, tmp_path: Path, written: int, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever of a round was written down when it stopped: the same values, decisions and records as on the CPU."""
    splits, folder = tiny.load(), RunFolder.open(tmp_path)
    one_by_one = folder.stage("alone", {})
    expected = list(prune_search(tiny.cell_space, RecordedScore(tiny, splits, 0, one_by_one)))
    request.getfixturevalue("together")
    stage, append = folder.stage("together", {}), Stage.append

    def stops(self: Stage, *record: object) -> None:
        if len(self.records("scores")) == written:
            raise KeyboardInterrupt
        append(self, *record)

    with monkeypatch.context() as patched:
        patched.setattr(Stage, "append", stops)
        with pytest.raises(KeyboardInterrupt):
            list(prune_search(tiny.cell_space, RecordedScore(tiny, splits, 0, stage)))
    assert recorded(stage) == recorded(one_by_one)[:written]
    assert list(prune_search(tiny.cell_space, RecordedScore(tiny, splits, 0, stage))) == expected
    assert recorded(stage) == recorded(one_by_one)
    built = [record["index"] for record in stage.records("scores") if record["build_seconds"] > 0.001]
    assert built == [0, written]  # each time with the first score that was computed


@pytest.mark.parametrize("name", ["lightsnn-forward", "random-search", "evolution"])
def test_methods_choose_as_on_the_cpu(
    tiny: presets.Preset, name: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one that searches another space than the preset's, whose supernet must be built for that one."""
    splits, passes, many = tiny.load(), [], DeviceEngine.log_dets

    def counted(self: DeviceEngine, masks: list, *place: object, **options: object) -> list[float]:
        passes.append(len(masks))
        return many(self, masks, *place, **options)

    monkeypatch.setattr(DeviceEngine, "log_dets", counted)
    results = []
    for _ in range(2):
        score = RecordedScore(tiny, splits, 0)
        chosen = choose(name, tiny.cell_space, score=score, budget=20)
        results.append((chosen.cell, chosen.score, chosen.evaluations))
        request.getfixturevalue("together")
    assert results[0] == results[1]
    assert max(passes) == (4 if name == "evolution" else TOGETHER)  # as many as are bred at a time
    assert np.isfinite(results[0][1])
