"""A workshop scores like the searches of its experiment, and trains a cell by the command it shows."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from lightsnn_kit import data
from lightsnn_kit.__main__ import _parser
from lightsnn_kit.cells import as_cell
from lightsnn_kit.data import Splits
from lightsnn_kit.files import RunError
from lightsnn_kit.lab import jobs, presets, results
from lightsnn_kit.lab.experiments import Experiment
from lightsnn_kit.lab.workshop import Workshop
from lightsnn_kit.scoring import Scorer
from lightsnn_kit.spaces import SPACES, OpMask

CHAIN = as_cell("0301 0030 0003 0000")


@pytest.fixture
def tiny() -> Iterator[str]:
    """A data set that this process alone knows: 240 images of 4x4, two classes that differ."""
    x, y = np.zeros((240, 1, 4, 4), np.uint8), np.arange(240) % 2
    x[y == 1] = 200
    x[:, 0, 0, 0] = np.arange(240)
    parts = {"train": (x[:200], y[:200]), "test": (x[200:], y[200:])}
    name = "tiny-workshop"
    make = lambda seed: Splits.from_tensors(name=name, **parts, class_names=("dark", "light"), seed=seed)  # noqa: E731
    data.register(name, make, replace=True)
    yield name
    data._LOADERS.pop(name)


def until(reached, seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_it_scores_like_the_searches_of_the_experiment(tmp_path: Path) -> None:
    workshop = Workshop("digits", width=4, num_steps=2, batch_size=16, folder=tmp_path).prepare()
    preset = presets.get("digits").adapted(width=4, num_steps=2, batch_size=16)
    mask = OpMask.from_cell(CHAIN, SPACES["lightsnn"])
    assert workshop.scorer(mask) == Experiment.open(tmp_path / "run", preset).row("lightsnn").scorer()(mask)
    splits = preset.load(seed=0)
    where = [int((splits.train.x == image).flatten(1).all(1).nonzero()[0, 0]) for image in workshop.batches[0]]
    assert workshop.labels.tolist() == splits.train.y[where].tolist()  # the classes of these very images
    assert (workshop.space, workshop.statistics(mask)[0].counts.shape[-1]) == (SPACES["lightsnn"], 16)


def test_settings_are_chosen_by_name() -> None:
    workshop = Workshop("digits", width=8, epochs=3)
    assert workshop.sizes == {"epochs": 3}  # 8 is the preset's own
    assert (workshop.run, workshop.preset.train.epochs) == ("runs/explorer/digits", 3)
    wide = workshop.changed(width=16, batch_size=32)
    sizes = {"width": 16, "num_steps": 4, "batch_size": 32, "epochs": 3}
    assert wide.settings == {"preset": "digits", "space": "lightsnn", "proxy": "sahd"} | sizes
    assert wide.run == "runs/explorer/digits-width-16"  # a batch of scores is of no matter there
    events = wide.changed(preset="digits-dvs", num_steps=4)
    assert events.settings["width"] == 8  # another data set has sizes of its own
    assert events.preset.data == {"num_steps": 4}
    assert {"digits", "digits-dvs"} <= set(workshop.choices["preset"])
    assert not {"npz", "image-folder"} & set(workshop.choices["preset"])  # these need a file or folder
    with pytest.raises(ValueError, match="no 'with'; choose among width"):
        Workshop("digits", **{"with": 3})
    with pytest.raises(ValueError, match="unknown preset 'digit'"):
        workshop.changed(preset="digit")
    with pytest.raises(ValueError, match="width must be a whole number of 1 or more, got -3"):
        workshop.changed(width=-3).prepare()
    with pytest.raises(RunError, match="cifar10: no data_batch_1"):
        Workshop("cifar10", data={"folder": "/nowhere"}).prepare()


def test_a_scorer_that_was_made_already_is_taken(tmp_path: Path) -> None:
    space = SPACES["snasnet"]
    made = Workshop("digits", width=4, num_steps=2, batch_size=8).prepare()
    from lightsnn_kit.networks import build_supernet

    scorer = Scorer(supernet=build_supernet(space, made.supernet.config), batches=made.batches)
    workshop = Workshop("digits", width=4, num_steps=2, scorer=scorer, labels=torch.arange(8))
    assert (workshop.scorer, workshop.space, workshop.labels.tolist()) == (scorer, space, list(range(8)))


def test_the_command_is_what_the_command_line_reads(tmp_path: Path) -> None:
    workshop = Workshop("motion-dvs", width=4, num_steps=4, data={"by": "number"}, seed=3, folder=tmp_path / "a b")
    words = shlex.split(workshop.command(CHAIN, 5))
    assert words[:4] == ["python", "-m", "lightsnn_kit", "train"]
    options = _parser().parse_args(words[3:])
    assert (options.preset, options.width, options.num_steps, options.seed) == ("motion-dvs", 4, 4, 3)
    assert (as_cell(options.cell), options.epochs, options.test) == (CHAIN, 5, True)
    assert (options.data, options.run) == ([("by", "number")], workshop.run)
    assert options.name == workshop.row_name(CHAIN, 5) != workshop.row_name(CHAIN)
    other = CHAIN.replace((3, 0), "zeroize")
    assert workshop.row_name(other) != workshop.row_name(CHAIN)
    assert "'0301 0030 0003 0000'" in workshop.command(CHAIN)  # as short as it can be told
    forward = SPACES["lightsnn-forward"].uniform("skip")
    assert shlex.quote(str(forward)) in workshop.command(forward)  # a matrix would have backward edges, too


def test_a_training_is_cancelled_gone_on_with_and_told_as_a_row(tiny: str, tmp_path: Path) -> None:
    workshop = Workshop(tiny, width=4, num_steps=2, folder=tmp_path / "trained")
    assert workshop.rows() == []
    workshop.start(CHAIN, 2)
    with pytest.raises(RunError, match="a training runs in"):
        workshop.start(CHAIN, 3)
    jobs.cancel(workshop.path)
    assert jobs.wait(workshop.path, timeout=90).state == "cancelled"
    assert workshop.rows() == []
    workshop.start(CHAIN, 2)
    until(lambda: any(stage.total == 2 for stage in jobs.status(workshop.path).stages))
    assert jobs.wait(workshop.path, timeout=90).state == "finished", jobs.log(workshop.path)
    [row] = workshop.rows()
    assert row == results.gather(workshop.path)[0]
    assert (row["cell"], row["method"], row["test_samples"]) == (str(CHAIN), workshop.row_name(CHAIN, 2), 40)
    assert row["seconds"]["train"] > 0
    assert f"{row['test_accuracy']:.1%}" in jobs.log(workshop.path)
    with pytest.raises(RunError, match=f"its row is {row['method']}"):
        workshop.start(CHAIN, 2)
    kept = data.load("npz", file=tmp_path / "trained" / workshop.path.name / f"{tiny}.npz")
    for part in ("train", "val", "test"):  # the very parts that are scored
        assert torch.equal(getattr(kept, part).x, getattr(workshop.splits, part).x)
        assert torch.equal(getattr(kept, part).y, getattr(workshop.splits, part).y)
    assert kept.class_names == ("dark", "light")
