"""The published CIFAR10, restored bit for bit; skipped where LIGHTSNN_EXTRA_DATA names no folder that holds it."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from loaders import torchvision_datasets

from lightsnn_kit.cells import Cell
from lightsnn_kit.data import Split, Splits, load, scoring_batches
from lightsnn_kit.networks import NetworkConfig, build_network, build_supernet
from lightsnn_kit.scoring import Scorer, ScoringConfig
from lightsnn_kit.spaces import SPACES, OpMask
from lightsnn_kit.training import TrainConfig, evaluate, fit


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the published files, each checked against its md5 by what restores it."""
    restore = Path(os.environ.get("LIGHTSNN_EXTRA_DATA") or "/none", "cifar10", "restore.py")
    if not restore.is_file():
        pytest.skip("LIGHTSNN_EXTRA_DATA names no folder with cifar10/restore.py")
    place = tmp_path_factory.mktemp("cifar10")
    subprocess.run([sys.executable, restore, place], check=True, capture_output=True)
    yield place
    for path in (place / "cifar-10-batches-py").iterdir():  # 177 MB
        path.unlink()


@pytest.fixture(scope="module")
def splits(folder):
    return load("cifar10", folder=folder)  # with its md5 check


def test_counts_classes_and_provenance(splits):
    assert [len(part) for part in (splits.train, splits.val, splits.test)] == [40_000, 10_000, 10_000]
    for part, each in (("train", 4000), ("val", 1000), ("test", 1000)):
        assert getattr(splits, part).y.bincount().tolist() == [each] * 10
    names = "airplane automobile bird cat deer dog frog horse ship truck"
    assert splits.class_names == tuple(names.split())
    assert (splits.source, splits.stand_in) == ("cifar-10-batches-py: the published files (md5)", False)


def test_channel_means_to_six_digits(splits):
    """Exact sums of all 50,000 training images; the means are those that papers normalise by."""
    total = sum(part.x.sum((0, 2, 3), dtype=torch.int64) for part in (splits.train, splits.val))
    means = total.double() / (50_000 * 32 * 32 * 255)
    assert [round(mean, 6) for mean in means.tolist()] == [0.491400, 0.482158, 0.446531]
    assert splits.centre == (125, 123, 114)  # of 0..255, of train


def test_first_labels_and_images(folder, splits):
    """The published order: the first training images are a frog, two trucks and a deer, the first test image a cat."""
    files = [folder / "cifar-10-batches-py" / name for name in ("data_batch_1", "test_batch")]
    first = [np.frombuffer(path.read_bytes(), np.uint8) for path in files]
    assert [len(content) for content in first] == [31_035_704, 31_035_526]
    assert splits.test.y[:10].tolist() == [3, 8, 8, 0, 6, 6, 1, 6, 3, 1]
    known = [6, 9, 9, 4, 1, 1, 2, 7, 8, 3]  # of train and validation together
    rest = iter(known)
    assert all(label in rest for label in splits.train.y[:5].tolist())  # a subsequence: a fifth went to validation
    assert splits.test.x[0, :, 0, 0].tolist() == [158, 112, 49]
    assert any(image[:, 0, 0].tolist() == [59, 62, 63] for image in (*splits.train.x[:1], *splits.val.x[:1]))


@pytest.mark.loaders
def test_torchvision_reads_the_same(folder, splits):
    sets = torchvision_datasets()
    theirs = sets.CIFAR10(folder, train=False)
    assert np.array_equal(theirs.data.transpose(0, 3, 1, 2), splits.test.x)
    assert theirs.targets == splits.test.y.tolist()
    assert Splits.from_dataset(theirs, theirs).test.x.equal(splits.test.x)
    theirs = sets.CIFAR10(folder, train=True)  # ours are parted, and keep the order in each part
    images = theirs.data.transpose(0, 3, 1, 2)
    known = sorted((image.tobytes(), label) for image, label in zip(images, theirs.targets, strict=True))
    parts = ((part.x.numpy(), part.y.tolist()) for part in (splits.train, splits.val))
    ours = sorted((image.tobytes(), label) for x, y in parts for image, label in zip(x, y, strict=True))
    assert ours == known


# --- a score


def scorer(splits, engine):
    config = NetworkConfig(width=8, hidden=64, num_steps=3, **splits.network_settings())
    batches = scoring_batches(splits.train, batch_size=16, num_batches=2, seed=0)
    supernet = build_supernet(SPACES["lightsnn"], config, seed=0)
    return Scorer(supernet=supernet, batches=batches, config=ScoringConfig(engine=engine))


def scores(splits, engine):
    """In hexadecimal, so that each bit counts: of the whole supernet, and of a cell."""
    cell = Cell.parse("0301 0030 1003 0300")
    masks = SPACES["lightsnn"].full_mask(), OpMask.from_cell(cell, SPACES["lightsnn"])
    return [scorer(splits, engine)(mask).hex() for mask in masks]


ELSEWHERE = """
import sys
from lightsnn_kit.data import load
from tests.data.test_real_cifar import scores
print(*scores(load("cifar10", folder=sys.argv[1]), "fast"))
"""


def test_a_score_has_the_same_bits_in_both_engines_and_in_another_process(folder, splits):
    plain, fast = scores(splits, "plain"), scores(splits, "fast")
    assert plain == fast
    assert all(np.isfinite(float.fromhex(score)) for score in plain)
    assert len(set(plain)) == 2
    root = Path(__file__).resolve().parents[2]
    paths = map(str, (root, root / "tests"))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    said = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, folder], cwd=root, env=environment, capture_output=True, text=True, check=True
    )
    assert said.stdout.split() == plain


# --- a training


def test_a_short_training_beats_chance(splits):
    """1,000 images, 5 epochs of a small cell: far from the published figures, well above one in ten."""
    parts = {"train": 1000, "val": 200, "test": 500}
    few = {name: (getattr(splits, name).x[:number], getattr(splits, name).y[:number]) for name, number in parts.items()}
    small = Splits.from_tensors(name="cifar10", **few, class_names=splits.class_names)
    config = NetworkConfig(width=8, hidden=128, votes=2, num_steps=2, linear_std=None, **small.network_settings())
    network = build_network(Cell.parse("03 00"), config, seed=0)
    train = TrainConfig(epochs=5, batch_size=20, learning_rate=0.1, flip=True, frozen_norm_epochs=2)
    list(fit(network, small, train))
    accuracy = evaluate(network, Split(*few["test"])).accuracy
    print(f"accuracy {accuracy}")
    assert accuracy > 0.2
