"""Data of your own: any data set of (image, label), npz files, folders of recordings."""

import os
import re
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from loaders import torchvision_datasets
from PIL import Image

from lightsnn_kit.cells import Cell
from lightsnn_kit.data import Splits, event_splits, frames_from_events, load, structured
from lightsnn_kit.data.splits import a_fifth
from lightsnn_kit.networks import NetworkConfig, build_network
from lightsnn_kit.training import TrainConfig, evaluate, fit

RNG = np.random.RandomState(0)
X = RNG.randint(0, 256, (40, 3, 6, 5)).astype(np.uint8)
Y = np.arange(40) % 4


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LIGHTSNN_CACHE", str(tmp_path / "cache"))


# --- any data set


class Items:
    """A data set as torchvision's are: ``[i]``, a length, names of classes."""

    classes = ("a", "b", "c", "d")

    def __init__(self, sample, number=20, label=int):
        self.sample, self.number, self.label = sample, number, label

    def __len__(self):
        return self.number

    def __getitem__(self, index):
        return self.sample(index), self.label(Y[index])


class Columns(Items):
    """A data set as Hugging Face's are: ``[i]`` is a dict, the features tell the names."""

    classes = None
    keys = ("image", "label")

    def __getitem__(self, index):
        return dict(zip(self.keys, super().__getitem__(index), strict=True)) | {"more": None}

    @property
    def features(self):
        return {self.keys[0]: "Image", self.keys[1]: type("ClassLabel", (), {"names": ["a", "b", "c", "d"]})()}


def image(index):
    return Image.fromarray(X[index].transpose(1, 2, 0))


SAMPLES = {
    "Pillow": (image, X),
    "arrays": (lambda i: X[i], X),
    "arrays that cannot be written": (lambda i: np.broadcast_to(X[i], X[i].shape), X),
    "tensors": (lambda i: torch.from_numpy(X[i]), X),
    "floats": (lambda i: torch.from_numpy(X[i]) / 255, X / np.float32(255)),
    "grey Pillow": (lambda i: Image.fromarray(X[i, 0]), X[:, :1]),
    "grey [H, W]": (lambda i: X[i, 0], X[:, :1]),
    "frames": (lambda i: torch.from_numpy(X[i, None].repeat(2, 0)[:, :2]), X[:, None].repeat(2, 1)[:, :, :2]),
}


@pytest.mark.parametrize("kind", [Items, Columns])
@pytest.mark.parametrize(("sample", "wanted"), SAMPLES.values(), ids=SAMPLES)
def test_a_data_set_is_read_as_it_is(kind, sample, wanted):
    splits = Splits.from_dataset(kind(sample), kind(sample, 8), val=kind(sample, 12), name="mine", seed=3)
    for part, number in (("train", 20), ("val", 12), ("test", 8)):
        found = getattr(splits, part)
        assert np.array_equal(found.x.numpy(), wanted[:number])
        assert found.y.tolist() == Y[:number].tolist()
    assert splits.class_names == ("a", "b", "c", "d")
    assert (splits.name, splits.source) == ("mine", f"{kind.__name__}: 20 train + 12 val + 8 test")


@pytest.mark.parametrize("keys", [("img", "fine_label"), ("pixel_values", "labels"), ("x", "y"), ("image", "target")])
def test_other_names_of_columns(keys):
    dataset = type("Other", (Columns,), {"keys": keys})(image)
    splits = Splits.from_dataset(dataset, dataset)
    assert (splits.name, splits.class_names) == ("Other", ("a", "b", "c", "d"))


def test_val_is_carved_and_the_names_of_a_subset_are_its_wholes():
    whole = Items(image, 40)
    train, test = (torch.utils.data.Subset(whole, range(*part)) for part in ((0, 28), (28, 40)))
    splits = Splits.from_dataset(train, test, seed=1)
    assert [len(part) for part in (splits.train, splits.val, splits.test)] == [24, 4, 12]
    assert splits.class_names == ("a", "b", "c", "d")
    few = torch.utils.data.Subset(whole, [i for i in range(40) if Y[i] < 2])  # four names do not fit
    assert Splits.from_dataset(few, few).class_names == ("0", "1")
    for names in (["one", "two"], np.array(["one", "two"])):
        assert Splits.from_dataset(few, few, class_names=names).class_names == ("one", "two")
    with pytest.raises(ValueError, match="class_names must be a list of names in the order of the labels"):
        Splits.from_dataset(few, few, class_names={"one", "two"})


def test_a_list_of_pairs_and_each_kind_of_label():
    for label in (int, np.uint8, torch.tensor, lambda y: torch.tensor([y])[0]):
        pairs = [(X[i], label(Y[i])) for i in range(20)]
        assert Splits.from_dataset(pairs, pairs[:4]).test.y.tolist() == [0, 1, 2, 3]


@pytest.mark.loaders
@pytest.mark.parametrize("kind", ["CIFAR10", "FakeData", "ImageFolder"])
def test_torchvisions_own(tmp_path, kind):
    from standins import make_tiny_cifar

    sets = torchvision_datasets()
    if kind == "CIFAR10":
        make_tiny_cifar(tmp_path)
        sets.CIFAR10._check_integrity = sets.CIFAR10._load_meta = lambda self: True
        train, test = (sets.CIFAR10(tmp_path, train=part) for part in (True, False))
        splits = Splits.from_dataset(train, test)
        ours = load("cifar10", folder=tmp_path, check=False)
        assert splits.train.x.equal(ours.train.x)
        assert splits.test.y.equal(ours.test.y)
    elif kind == "FakeData":
        fake = sets.FakeData(40, (3, 8, 8), 2)
        assert Splits.from_dataset(fake, fake).test.x.shape == (40, 3, 8, 8)
    else:
        for index in range(40):
            path = tmp_path / "images" / "abcd"[Y[index]] / f"{index:02d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(X[index].transpose(1, 2, 0).repeat(2, 0)[:5]).save(path)
        theirs = Splits.from_dataset(*[sets.ImageFolder(tmp_path / "images")] * 2)
        ours = load("image-folder", folder=tmp_path / "images", size=5)
        assert theirs.class_names == ours.class_names
        whole = torch.cat([ours.train.x, ours.val.x, ours.test.x]).flatten(1).tolist()
        assert sorted(theirs.test.x.flatten(1).tolist()) == sorted(whole)


def stream():
    yield from ((X[i], Y[i]) for i in range(4))


def third(usual, odd):
    return lambda i: usual(i) if i != 3 else odd


BAD_SETS = {
    "channels": (
        Items(third(image, image(3).convert("L"))),
        r"train: item 3 is uint8 \[1, 6, 5\], but the first is",
    ),
    "size": (Items(third(image, Image.new("RGB", (9, 9)))), r"item 3 is uint8 \[3, 9, 9\], .*resize\(\(32, 32\)\)"),
    "type": (
        Items(third(lambda i: X[i], X[3] / 2)),
        r"item 3 is float64 \[3, 6, 5\], but",
    ),
    "texts": (
        Items(image, label="abcd".__getitem__),
        r"train: item 0: the label must be .* got 'a'. Number",
    ),
    "floats": (Items(image, label=float), r"item 0: the label must be a whole number from 0 .*target_transform=int"),
    "negative": (Items(image, label=lambda y: y - 1), r"item 0: the label must be a whole number from 0"),
    "channels last": (
        Items(lambda i: X[i].transpose(1, 2, 0)),
        r"train: the first item: x \[1, 6, 5, 3\] looks",
    ),
    "whole numbers": (Items(lambda i: X[i].astype(np.int64)), "the first item: x must be uint8, int16 or floating"),
    "no image": (
        Items(lambda i: "cat.png"),
        r"train: item 0: the image is 'cat\.png'; expected a Pillow image, a tensor",
    ),
    "nothing": (Items(image, 0), "train has no items"),
    "stream": (stream(), r"train must have a length and items, dataset\[i\], got .*list\(stream\)"),
    "loader": (
        torch.utils.data.DataLoader(Items(image)),
        r"train must .*of a DataLoader pass its \.dataset",
    ),
    "three": ([(X[0], 0, 1)] * 8, r"item 0 must be \(image, label\), or a dict of both"),
    "no column": (
        type("C", (Columns,), {"keys": ("photo", "label")})(image),
        "has the keys photo, label, more; exp",
    ),
    "parts": ({"train": Items(image)}, r"train must have a length .*of a dict one of its parts"),
    "broken": (Items(lambda i: image(i) if i < 5 else 1 / 0), "train: item 5: ZeroDivisionError"),
    "one class": (Items(image, label=lambda y: 0), "every sample of train has the label 0"),
}


@pytest.mark.parametrize(("dataset", "message"), BAD_SETS.values(), ids=BAD_SETS)
def test_bad_data_sets_are_named(dataset, message):
    with pytest.raises(ValueError, match=f"(?s){message}"):
        Splits.from_dataset(dataset, Items(image), name="mine")


def test_a_data_set_larger_than_the_memory(monkeypatch):
    import psutil

    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"available": 10**9})())
    read = []
    large = Items(lambda i: read.append(i) or torch.zeros(3, 1, 1).expand(3, 512, 512), number=1000)
    with pytest.raises(ValueError, match=r"train: its 1,000 items need 6\.3 GB of memory, and 1\.0 GB are"):
        Splits.from_dataset(large, large)
    assert read == [0]


# --- npz

PLAIN = {"x_train": X[:30], "y_train": Y[:30], "x_test": X[30:], "y_test": Y[30:]}
FILES = {
    "Keras": (PLAIN, X),
    "own names": ({f"{key[2:]}_{key[0]}": value for key, value in PLAIN.items()}, X),
    "MedMNIST": (
        {
            "train_images": X[:30].transpose(0, 2, 3, 1),
            "train_labels": Y[:30, None],
            "test_images": X[30:].transpose(0, 2, 3, 1),
            "test_labels": Y[30:, None].astype(np.uint8),
        },
        X,
    ),
    "grey": (PLAIN | {"x_train": X[:30, 0], "x_test": X[30:, 0]}, X[:, :1]),
    "3 pixels wide": (PLAIN | {"x_train": X[:30, ..., :3], "x_test": X[30:, ..., :3]}, X[..., :3]),
    "frames": (
        PLAIN | {"x_train": X[:30, None, :2], "x_test": X[30:, None, :2]},
        X[:, None, :2],
    ),
    "more": (PLAIN | {"note": np.array("of a lab"), "class_names": np.array(list("abcd"))}, X),
}


def npz(folder, **arrays):
    np.savez(folder / "a.npz", **arrays)
    return folder / "a.npz"


@pytest.mark.parametrize(("arrays", "x"), FILES.values(), ids=FILES)
def test_npz_files(tmp_path, arrays, x):
    splits = load("npz", file=npz(tmp_path, **arrays), seed=2)
    assert [len(part) for part in (splits.train, splits.val, splits.test)] == [26, 4, 10]
    assert np.array_equal(splits.test.x, x[30:])
    assert splits.test.y.tolist() == Y[30:].tolist()
    held = a_fifth(Y[:30], 2)
    assert np.array_equal(splits.val.x, x[:30][held])
    assert np.array_equal(splits.train.x, x[:30][~held])
    assert splits.class_names == (tuple("abcd") if "class_names" in arrays else tuple("0123"))
    assert splits.source.startswith("a.npz, sha256 ")


def test_npz_with_val_and_without_parts(tmp_path):
    own = load("npz", file=npz(tmp_path, **PLAIN, x_val=X[:8], y_val=Y[:8]))
    assert np.array_equal(own.val.x, X[:8])
    assert len(own.train) == 30
    whole = npz(tmp_path, images=X, labels=Y)
    splits, other = load("npz", file=whole), load("npz", file=whole, seed=4)
    assert [len(part) for part in (splits.train, splits.val, splits.test)] == [28, 4, 8]
    assert splits.test.y.bincount().tolist() == [2] * 4
    assert other.test.x.equal(splits.test.x)
    assert not load("npz", file=whole, split_seed=1).test.x.equal(splits.test.x)


def without(name):
    return {key: value for key, value in PLAIN.items() if key != name}


BAD_FILES = {
    "no labels": (without("y_train"), r"a\.npz has no y for one of its parts; expected x_train, y_train, x_test"),
    "no test": ({"x_train": X, "y_train": Y}, r"a\.npz has the parts train; expected x_train"),
    "other arrays": ({"weights": X}, r"a\.npz: it holds weights; expected x_train"),
    "nothing": ({}, r"a\.npz: it holds nothing; expected"),
    "texts": (
        PLAIN | {"y_train": np.array(list("abcdef") * 5)},
        "npz: train: y must be numbers, got texts such as",
    ),
    "texts alone": (
        {"x": X, "y": np.array(list("abcd") * 10)},
        r"a\.npz: y must be numbers, got texts such as",
    ),
    "lengths": ({"x": X, "y": Y[:7]}, r"a\.npz: y must be one integer label for each of the 40 samples"),
    "floats": ({"x": X, "y": Y / 2}, r"a\.npz: y must be one integer label"),
    "objects": (
        PLAIN | {"y_train": np.array([None] * 30)},
        r"a\.npz: Object arrays cannot be loaded .*expected x_train",
    ),
    "channels": (PLAIN | {"x_test": X[30:, :1]}, r"npz: all parts need samples like train's"),
    "one class": ({"x": X, "y": 0 * Y}, "npz: every sample of train has the label 0"),
    "few": ({"x": X, "y": np.arange(40)}, r"a\.npz has no class of 5 samples, of which one"),
}


@pytest.mark.parametrize(("arrays", "message"), BAD_FILES.values(), ids=BAD_FILES)
def test_bad_npz_files_are_named(tmp_path, arrays, message):
    with pytest.raises(ValueError, match=message):
        load("npz", file=npz(tmp_path, **arrays))


def test_damaged_missing_and_large_npz_files(tmp_path, monkeypatch):
    import psutil

    with pytest.raises(FileNotFoundError, match=r"npz: no file .*/a\.npz; expected x_train, y_train"):
        load("npz", file=tmp_path / "a.npz")
    path = npz(tmp_path, **PLAIN)
    content = path.read_bytes()
    for damaged in (content[:500], b"", b"hello", content[:200] + b"\0\1\2" + content[203:]):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"npz: .*/a\.npz: .* \(\w+\); expected x_train"):
            load("npz", file=path)
    np.save(tmp_path / "a.npy", X)
    with pytest.raises(ValueError, match=r"npz: .*/a\.npy: File is not a zip file"):
        load("npz", file=tmp_path / "a.npy")
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"available": 10**8})())
    with zipfile.ZipFile(tmp_path / "b.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", bytes(3 * 10**8))
    with pytest.raises(ValueError, match=r"b\.npz: its arrays need 0\.6 GB of memory, and 0\.1 GB are available"):
        load("npz", file=tmp_path / "b.npz")


# --- recordings


def events(label, number, count=60):
    rng = np.random.RandomState(100 * label + number)
    t = np.sort(rng.randint(0, 10**6, count))
    return structured(rng.randint(0, 6, count) + 2 * label, rng.randint(0, 7, count), rng.rand(count) < 0.5, t)


def recordings(folder, classes=("left", "right"), per_class=10):
    for label, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for number in range(per_class):
            one, path = events(label, number), folder / name / f"{number:02d}"
            if number % 2:
                np.save(path.with_suffix(".npy"), one)
            else:
                np.savez(path.with_suffix(".npz"), **{column: one[column] for column in "xypt"})
    return folder


def own(folder, **options):
    return load("event-folder", folder=folder, **{"sensor_size": (8, 7, 2), "num_steps": 4, **options})


def test_recordings_of_both_kinds_become_frames(tmp_path):
    folder = recordings(tmp_path / "e")
    (folder / "left" / "01.npy").rename(folder / "left" / "01.NPY")
    splits = own(folder)
    assert [len(part) for part in (splits.train, splits.val, splits.test)] == [14, 2, 4]
    assert splits.train.x.shape[1:] == (4, 2, 7, 8)
    assert splits.class_names == ("left", "right")
    found = {
        one.numpy().tobytes(): int(y)
        for part in ("train", "val", "test")
        for one, y in zip(*pair(splits, part), strict=True)
    }
    for label in range(2):
        for number in range(10):
            wanted = frames_from_events(events(label, number), sensor_size=(8, 7, 2), num_steps=4)
            assert found[wanted.tobytes()] == label
    assert splits.source.startswith("e: Recordings: 16 + 4 recordings, 4 frames by number, tonic 1.7")
    assert splits.source.endswith("test by split_seed 0")


def pair(splits, part):
    return getattr(splits, part).x, getattr(splits, part).y


def test_recordings_in_parts_and_by_time(tmp_path):
    for number, part in enumerate(("train", "test")):
        recordings(tmp_path / "e" / part, per_class=10 - 4 * number)
    splits = own(tmp_path / "e", by="time")
    assert [len(part) for part in (splits.train, splits.val, splits.test)] == [16, 4, 12]
    wanted = frames_from_events(events(0, 0), sensor_size=(8, 7, 2), num_steps=4, by="time")
    assert np.array_equal(splits.test.x[0], wanted)
    assert own(tmp_path / "e", by="time", seed=1).test.x.equal(splits.test.x)


def test_recordings_are_cut_once(tmp_path, monkeypatch):
    from lightsnn_kit.data import recordings as module

    folder = recordings(tmp_path / "e")
    wanted = own(folder)
    monkeypatch.setattr(module, "read_columns", lambda path: pytest.fail("recordings were read again"))
    assert own(folder).train.x.equal(wanted.train.x)


def rewrite(path, **columns):
    path = path.with_suffix(".npz")
    one = events(0, 0)
    np.savez(path, **{**{name: one[name] for name in "xypt"}, **columns})


def only(path, *columns):
    np.savez(path, **{name: np.arange(9) for name in columns})


SECONDS = np.linspace(0, 1, 60)
BAD_RECORDINGS = {
    "seconds": (
        lambda p: rewrite(p, t=SECONDS),
        r"left/00\.npz: t must be whole microseconds, got .*np\.round",
    ),
    "off the sensor": (lambda p: rewrite(p, x=np.full(60, 8)), r"left/00\.npz: x of events must be integers 0\.\.7"),
    "polarity": (lambda p: rewrite(p, p=np.full(60, -1)), r"left/00\.npz: p has values that do not fit .*use p > 0"),
    "lengths": (lambda p: rewrite(p, y=np.arange(7)), r"left/00\.npz: x, y, p and t must be as long as each other"),
    "columns": (
        lambda p: only(p, "x", "y", "t"),
        r"left/00\.npz: it must hold .* p is missing",
    ),
    "plain npy": (
        lambda p: np.save(p.with_name("01.npy"), np.zeros((9, 4))),
        r"left/01\.npy: .* p, t, x, y is missing",
    ),
    "cut": (lambda p: p.write_bytes(p.read_bytes()[:99]), r"left/00\.npz: BadZipFile.* Restore or remove"),
    "pickle": (
        lambda p: np.save(p.with_name("01.npy"), np.array([None])),
        r"left/01\.npy: .*Restore or remove",
    ),
}


@pytest.mark.parametrize(("change", "message"), BAD_RECORDINGS.values(), ids=BAD_RECORDINGS)
def test_bad_recordings_are_named(tmp_path, change, message):
    for part in ("train", "test"):
        recordings(tmp_path / "e" / part)
    change(tmp_path / "e" / "train" / "left" / "00.npz")
    with pytest.raises(ValueError, match=f"(?s){message}"):
        own(tmp_path / "e")


def test_whole_seconds_by_time_are_refused(tmp_path):
    folder = recordings(tmp_path / "e")
    for path in folder.rglob("*.np?"):
        rewrite(path, t=np.sort(np.random.RandomState(0).randint(0, 6, 60)))
        path.unlink() if path.suffix == ".npy" else None
    with pytest.raises(ValueError, match=r"span 5 microseconds, too few for 8 frames by time.*If t is in seconds"):
        own(folder, by="time", num_steps=8)


def test_bad_event_folders(tmp_path):
    folder = recordings(tmp_path / "e")
    with pytest.raises(ValueError, match=r"pass sensor_size=\(W, H, 2\), .*largest x and y of 00\.npz are 5 and 6"):
        own(folder, sensor_size=None)
    with pytest.raises(ValueError, match=r"sensor_size must be \(W, H, 2\): .*got \(8, 7\)"):
        own(folder, sensor_size=(8, 7))
    with pytest.raises(ValueError, match="num_steps must be a whole number of 1 or more, got 0"):
        own(folder, num_steps=0)
    with pytest.raises(ValueError, match="by must be one of number, time"):
        own(folder, by="seconds")
    for part in ("train", "val", "test"):
        recordings(tmp_path / "parts" / part)
    with pytest.raises(ValueError, match="has a part val; put it into train"):
        own(tmp_path / "parts")
    shutil.rmtree(folder / "right")
    with pytest.raises(ValueError, match=r"event-folder: .* holds only the class 'left'"):
        own(folder)


# --- real recordings


def extra(*names):
    path = Path(os.environ.get("LIGHTSNN_EXTRA_DATA") or "/none", *names)
    return path if path.exists() else pytest.skip(f"LIGHTSNN_EXTRA_DATA names no folder with {'/'.join(names)}")


@pytest.fixture(scope="module")
def nmnist(tmp_path_factory):
    """A folder with 1,100 real recordings of N-MNIST."""
    archive, folder = extra("events", "n-mnist-small.zip"), tmp_path_factory.mktemp("n-mnist")
    with zipfile.ZipFile(archive) as content:
        content.extractall(folder)
    return folder


def test_real_nmnist_by_name(nmnist):
    from tonic.transforms import ToFrame

    splits = load("n-mnist", folder=nmnist, seed=7)
    assert len(splits.train) + len(splits.val) == 885
    assert len(splits.test) == 215
    whole = torch.cat([splits.train.y, splits.val.y, splits.test.y])
    assert 89 <= whole.bincount().min() <= whole.bincount().max() <= 132
    assert not splits.stand_in
    assert splits.source.startswith(
        "of the published 60000 + 10000 recordings NMNIST: 885 + 215 recordings, 10 frames by"
    )
    assert splits.train.x.shape[1:] == (10, 2, 34, 34)
    path = sorted((nmnist / "NMNIST" / "Test" / "3").iterdir())[0]
    theirs = ToFrame(sensor_size=(34, 34, 2), n_event_bins=10)(read_atis(path))
    assert np.array_equal(splits.test.x[int((splits.test.y == 3).nonzero()[0])], theirs)
    by_time = load("n-mnist", folder=nmnist, num_steps=4, by="time").test
    theirs = ToFrame(sensor_size=(34, 34, 2), n_time_bins=4)(read_atis(path))
    assert np.array_equal(by_time.x[int((by_time.y == 3).nonzero()[0])], theirs)


def read_atis(path):
    from tonic.io import read_mnist_file

    return read_mnist_file(str(path), dtype=np.dtype([("x", int), ("y", int), ("t", int), ("p", int)]))


def test_real_recordings_as_an_event_folder(nmnist, tmp_path):
    """Ten of three digits, stored as npz and npy: the same frames as by name."""
    paths = [path for digit in "037" for path in sorted((nmnist / "NMNIST" / "Train" / digit).iterdir())[:10]]
    for number, path in enumerate(paths):
        place, one = tmp_path / "e" / path.parent.name / path.stem, read_atis(path)
        place.parent.mkdir(parents=True, exist_ok=True)
        if number % 2:
            np.save(place, one)
        else:
            np.savez(place, **{name: one[name] for name in "xypt"})
    splits = load("event-folder", folder=tmp_path / "e", sensor_size=(34, 34, 2), num_steps=10)
    assert splits.class_names == ("0", "3", "7")
    wanted = [frames_from_events(read_atis(path), sensor_size=(34, 34, 2), num_steps=10).sum() for path in paths]
    found = torch.cat([part.x for part in (splits.train, splits.val, splits.test)])
    assert sorted(found.sum((1, 2, 3, 4)).tolist()) == sorted(wanted)


def short_training(splits, epochs):
    """Test accuracy of a small cell after a few epochs."""
    settings = splits.network_settings() | {"num_steps": len(splits.train.x[0])}
    config = NetworkConfig(width=4, hidden=64, votes=2, linear_std=None, **settings)
    network = build_network(Cell.parse("03 00"), config, seed=0)
    list(fit(network, splits, TrainConfig(epochs=epochs, batch_size=16, learning_rate=0.2, frozen_norm_epochs=1)))
    return evaluate(network, splits.test).accuracy


def test_a_short_training_on_real_recordings_beats_chance(nmnist):
    assert short_training(load("n-mnist", folder=nmnist, num_steps=4), epochs=4) > 0.4  # chance: 0.13


def braille():
    """The function that data/README.md shows, and its last line's name."""
    text = (Path(__file__).resolve().parents[2] / "data" / "README.md").read_text()
    (block,) = (block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "braille" in block)
    scope = {}
    exec(block[: block.index("\n\n\nregister(")], scope)
    return scope["load_braille"]


def test_the_braille_example_by_hand(tmp_path):
    x, y = np.random.RandomState(0).randint(0, 2, (70, 256, 12)).astype(np.uint8), np.arange(70) % 7
    np.savez(tmp_path / "a.npz", x=x, y=y.astype(np.uint8))
    splits = braille()(0, file=tmp_path / "a.npz", num_steps=32)
    assert [len(part) for part in (splits.train, splits.val, splits.test)] == [49, 7, 14]
    assert splits.test.x.shape[1:] == (32, 2, 12, 16)
    touch, held = splits.test.x[0], np.flatnonzero(a_fifth(y, 0))[0]
    for step, taxel in ((0, 0), (5, 7), (31, 11)):
        row, column = 4 * (taxel // 4), 4 * (taxel % 4)
        block = touch[step, 0, row : row + 4, column : column + 4]
        assert (block == int(x[held, 8 * step : 8 * step + 8, taxel].sum())).all()
    assert not touch[:, 1].any()


def test_braille_by_name_is_what_the_example_makes(tmp_path):
    x, y = np.random.RandomState(0).randint(0, 2, (70, 256, 12)).astype(np.uint8), np.arange(70) % 7
    path = tmp_path / "braille-letters.npz"
    np.savez(path, x=x, y=y.astype(np.uint8))
    ours, example = load("braille", folder=tmp_path, num_steps=8, seed=3), braille()(3, file=path, num_steps=8)
    for part in ("train", "val", "test"):
        assert torch.equal(getattr(ours, part).x, getattr(example, part).x)
        assert torch.equal(getattr(ours, part).y, getattr(example, part).y)
    assert ours.source.startswith("braille-letters.npz, sha256 ")
    with pytest.raises(ValueError, match="num_steps must divide the 256 steps of a touch, such as 16 or 32, got 10"):
        load("braille", folder=tmp_path, num_steps=10)
    np.savez(path, x=x[:, :128], y=y)
    with pytest.raises(ValueError, match=r"expected \[n, 256, 12\] of 0 and 1"):
        load("braille", folder=tmp_path)
    wrong = {"y": y[:5], "labels": y + 0.5, "half": 0.5 * x, "none": x[:0]}
    for x_kept, y_kept in ((x, wrong["y"]), (x, wrong["labels"]), (wrong["half"], y), (wrong["none"], y[:0])):
        np.savez(path, x=x_kept, y=y_kept)
        with pytest.raises(ValueError, match=r"braille-letters\.npz cannot be used: (x is|the labels y must be whole)"):
            load("braille", folder=tmp_path)
    np.savez(path, x=np.ones_like(x), y=y)
    assert load("braille", folder=tmp_path, num_steps=1).train.x.max() == 256
    path.write_bytes(b"PK")
    with pytest.raises(ValueError, match=r"braille-letters\.npz cannot be used"):
        load("braille", folder=tmp_path)
    path.unlink()
    with pytest.raises(FileNotFoundError, match="make it from Zenodo 7050094"):
        load("braille", folder=tmp_path)


def test_a_short_training_on_real_braille_beats_chance():
    splits = load("braille", folder=extra("events", "braille-letters.npz").parent)
    assert len(splits.train) + len(splits.val) + len(splits.test) == 1158
    assert splits.num_classes == 7
    assert short_training(splits, epochs=3) > 0.35  # chance: 0.14


def test_event_splits_takes_any_of_these(tmp_path):
    """What the folder's loader hands over is a data set as any other."""
    items = [(events(i % 2, i), i % 2) for i in range(12)]
    dataset = type("Mine", (list,), {"sensor_size": (8, 7, 2)})(items)
    assert len(event_splits(name="mine", train=dataset, test=dataset, num_steps=4).test) == 12
