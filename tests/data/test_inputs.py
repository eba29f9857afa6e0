"""What people hand in that is nearly right: a right result or an error that says what to do; never a wrong result."""

import inspect
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from standins import InMemory, make_tiny_cifar, make_tiny_gesture, make_tiny_nmnist

import lightsnn_kit.data
from lightsnn_kit.data import (
    Split,
    Splits,
    event_splits,
    frames_from_events,
    load,
    offline,
    scoring_batches,
    structured,
)
from lightsnn_kit.data import files as data_files
from lightsnn_kit.data.braille import load_braille
from lightsnn_kit.data.cifar import load_cifar10, load_cifar100
from lightsnn_kit.data.events import EVENT, EventsError, microseconds
from lightsnn_kit.data.gestures import load_gestures
from lightsnn_kit.data.image_folder import load_image_folder
from lightsnn_kit.data.recordings import load_event_folder, load_nmnist
from lightsnn_kit.data.splits import make_rng
from lightsnn_kit.files import read_text

Y = np.arange(60) % 3


@pytest.fixture(autouse=True)
def own_folders(tmp_path, monkeypatch):
    """Nothing of a test is kept in the user's folders."""
    for name in ("LIGHTSNN_DATA", "LIGHTSNN_CACHE"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(name, str(tmp_path / name))


def splits(x, y=Y, **options):
    return Splits.from_tensors(name="mine", train=(x, y), test=(x, y), **options)


def images(*shape, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, 256, shape).astype(dtype)


# --- layout and type of images


WAYS = {
    "Split": lambda x: Split(x, Y),
    "Split of a tensor": lambda x: Split(torch.from_numpy(x), Y),
    "train": lambda x: Splits.from_tensors(name="m", train=(x, Y), test=(x, Y)),
    "val": lambda x: Splits.from_tensors(name="m", train=(images(60, 3, 8, 8), Y), val=(x, Y), test=(x, Y)),
    "test": lambda x: Splits.from_tensors(name="m", train=(images(60, 3, 8, 8), Y), test=(x, Y)),
    "list of images": lambda x: Split(list(x), Y),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("size", [(32, 32), (28, 20), (4, 4), (224, 224)])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.uint16])
def test_channels_that_come_last_are_refused(way, size, channels, dtype):
    if size == (224, 224) and dtype != np.uint8:
        return  # as (32, 32), and slow
    if channels == 4 and size == (4, 4):
        assert len(Split(images(60, 4, 4, 4), Y)) == 60  # either reading is possible
        return
    with pytest.raises(ValueError, match=r"looks like \[n, H, W, C\]; use transpose\(0, 3, 1, 2\), of"):
        way(images(60, *size, channels, dtype=dtype))


def test_frames_whose_polarities_come_last_are_refused():
    with pytest.raises(ValueError, match=r"looks like \[n, T, H, W, C\]; use transpose\(0, 1, 4, 2, 3\)"):
        Split(images(60, 4, 8, 8, 2), Y)


@pytest.mark.parametrize(
    "shape", [(60, 3, 32, 32), (60, 64, 1, 1), (60, 32, 4, 4), (60, 1, 1, 4), (60, 8, 3, 3), (60, 4, 2, 8, 8)]
)
def test_other_shapes_are_taken_as_they_are(shape):
    assert list(Split(images(*shape), Y).x.shape) == list(shape)


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.int64, np.uint32, np.uint64, bool])
@pytest.mark.parametrize("top", [255, 256, 40_000])
def test_advice_on_integers_keeps_every_value(dtype, top):
    x = np.where(np.arange(60) % 2, top, 0).reshape(60, 1, 1, 1).astype(dtype) * np.ones((1, 1, 8, 8), dtype)
    with pytest.raises(ValueError, match="x must be uint8, int16 or floating point, got torch") as caught:
        Split(x, Y)
    advised = np.uint8 if "; uint8 holds these values" in str(caught.value) else np.float32
    assert ("use float32" in str(caught.value)) == (advised is np.float32) == (top > 255 and dtype is not bool)
    assert np.array_equal(Split(x.astype(advised), Y).x.numpy().astype(np.int64), x.astype(np.int64))


def test_arrays_of_any_order_are_taken_and_plain_ones_shared():
    x = images(60, 1, 8, 8)
    view = images(60, 8, 8, 3).transpose(0, 3, 1, 2)
    assert np.shares_memory(Split(view, Y).x.numpy(), view)
    for other in (x[:, :, ::-1], np.asfortranarray(x), x.astype(">i2"), list(x), [torch.from_numpy(one) for one in x]):
        assert np.array_equal(Split(other, Y).x, np.asarray(other))
    assert Split(x.astype(np.longdouble), Y).x.dtype == torch.float64
    shared = Split(x, Y)
    x[0] = 7
    assert shared.x[0].unique().tolist() == [7]
    assert not Split(torch.ones(60, 1, 8, 8, requires_grad=True), Y).x.requires_grad


@pytest.mark.parametrize("factor", [1e-40, 1e40, 1e300])
def test_values_of_no_usual_size_are_named(factor):
    x = images(60, 1, 8, 8, dtype=float) * factor
    with pytest.raises(
        ValueError, match=r"mine: the values of train spread by .*; bring them to a range such as 0\.\.1"
    ):
        splits(x)


BAD_LABELS = {
    "texts": (np.array(list("abc"))[Y], r"y must be numbers, got texts such as 'a'.*np\.unique\(labels, return_inv"),
    "texts of digits": ([str(value) for value in Y], r"y must be numbers, got texts such as '0'"),
    "objects": (np.array(list("abc"), object)[Y], r"got texts such as 'a'"),
    "floats": (Y.astype(float), r"got shape \[60\], torch.float64; for whole numbers use y\.astype\(np\.int64\)"),
    "one-hot": (np.eye(3)[Y], r"got shape \[60, 3\], torch\.float64; for one-hot rows use y\.argmax\(1\)"),
    "a column": (Y[:, None], r"got shape \[60, 1\], torch\.int64; use y\.ravel\(\)"),
    "nothing": (None, r"y must be one array of numbers, got NoneType"),
    "ragged": ([[0], [0, 1]], r"y must be one array of numbers, got list"),
    "one class": (Y * 0, r"every sample of train has the label 0, .* give samples of at least 2 classes"),
    "from 1": (Y + 1, r"train has label 3, but train holds 3 classes, .*np\.unique\(y, return_inverse=True\)"),
}


@pytest.mark.parametrize(("y", "message"), BAD_LABELS.values(), ids=BAD_LABELS)
def test_labels_of_other_kinds_say_what_to_do(y, message):
    with pytest.raises(ValueError, match=message):
        splits(images(60, 1, 8, 8), y)


# --- numbers of any type


@pytest.mark.parametrize("kind", [np.int64, np.uint8, np.array, torch.tensor])
def test_numbers_of_any_type_are_taken(kind):
    x = images(60, 1, 8, 8)
    plain = splits(x, seed=7, class_names=np.array(["a", "b", "c"]))
    assert plain.class_names == ("a", "b", "c")
    assert splits(x, seed=kind(7)).val.x.equal(plain.val.x)
    assert scoring_batches(plain.train, batch_size=kind(4), num_batches=kind(1), seed=kind(3))[0].shape == (4, 1, 8, 8)
    given = (plain.train, plain.val, plain.test, kind(3), ["a", "b", "c"], [kind(2)], np.float32(0.5))
    settings = Splits("mine", *given).network_settings()
    assert [type(settings[name]) for name in ("num_classes", "input_scale")] == [int, float]
    assert [type(value) for value in settings["input_centre"]] == [int]
    size = tuple(kind(value) for value in (5, 3, 2))
    assert frames_from_events(events(range(100)), sensor_size=size, num_steps=kind(4)).shape == (4, 2, 3, 5)
    assert load("dvs128-gesture", stand_in=True, num_steps=kind(2)).train.x.shape[1] == 2
    recordings = InMemory([(events(range(100)), kind(i % 2)) for i in range(10)], size)
    assert event_splits(name="m", train=recordings, test=recordings, num_steps=kind(4)).test.y.tolist() == [0, 1] * 5


def test_seeds_of_any_size():
    seeds = (0, 2**32 - 1, 2**32, 2**64, 2**64 + 1, 10**30)
    drawn = [make_rng(seed).randint(2**31) for seed in seeds]
    assert len(set(drawn)) == len(seeds)
    assert drawn[:2] == [np.random.RandomState(seed).randint(2**31) for seed in seeds[:2]]  # as ever


# --- times of events


def events(t, x=1, y=1, p=1):
    t = np.asarray(t)
    made = np.zeros(len(t), [("x", "i2"), ("y", "i2"), ("t", t.dtype), ("p", "?")])
    made["t"], made["x"], made["y"], made["p"] = t, x, y, p
    return made


def counts(t, by="time", num_steps=4):
    return frames_from_events(events(t), sensor_size=(8, 8, 2), num_steps=num_steps, by=by).sum((1, 2, 3)).tolist()


EVEN = np.arange(0, 4_000_000, 10_000)  # 400 events
RIGHT_TIMES = {
    "whole floats": EVEN.astype(float),
    "whole float32": EVEN.astype(np.float32),
    "big-endian": EVEN.astype(">i4"),
    "unsigned": EVEN.astype(np.uint64),
    "over 2**63": EVEN.astype(np.uint64) + np.uint64(2**63),
    "negative": EVEN - 10**9,
    "a uint32 counter that wraps": (EVEN + 2**32 - 2_000_000).astype(np.uint32),
    "an int32 counter that wraps": (EVEN + 2**31 - 2_000_000).astype(np.uint32).view(np.int32),
    "a uint64 counter that wraps": EVEN.astype(np.uint64) - np.uint64(2_000_000),
    "an int64 counter that wraps": (EVEN.astype(np.uint64) + np.uint64(2**63 - 2_000_000)).view(np.int64),
    "a uint16 counter that wraps often": EVEN.astype(np.uint16),
    "out of order": np.random.RandomState(0).permutation(EVEN),
}


@pytest.mark.parametrize("t", RIGHT_TIMES.values(), ids=RIGHT_TIMES)
@pytest.mark.parametrize("by", ["number", "time"])
def test_times_that_can_be_read_are_read_right(t, by):
    assert counts(t, by) == counts(EVEN, by)
    assert sum(counts(t, by)) >= 396


SECONDS = np.linspace(0, 1, 400, endpoint=False)
WRONG_TIMES = {
    "a second": (SECONDS, r"whole microseconds, got .*np\.round\(t \* 1e6\)"),
    "3 seconds": (SECONDS * 3, r"whole microseconds, got .*np\.round\(t \* 1e6\)"),
    "7 seconds": (SECONDS * 7, r"whole microseconds, got .*np\.round\(t \* 1e6\)"),
    "milliseconds": (SECONDS * 333, r"whole microseconds, got .*milliseconds by t \* 1e3"),
    "NaN": (np.r_[EVEN[:-1], np.nan], r"whole microseconds, got nan \(float64; 1 of 400 are none\)"),
    "infinity": (np.r_[EVEN[:-1], np.inf], r"whole microseconds, got inf"),
    "texts": (EVEN.astype("U9"), "t must be whole microseconds, got <U"),
    "dates": (EVEN.astype("m8[ms]"), r"t must be whole microseconds, got timedelta64.*astype\('m8\[us\]'\)"),
    "booleans": (EVEN > 5, "t must be whole microseconds, got bool"),
    "too long": (np.r_[EVEN, 2**62].astype(np.uint64), r"t must be microseconds, got 0\.\.4611686018427387904"),
    "a 32-bit counter in 64": ((EVEN + 2**32 - 2_000_000) % 2**32, r"t falls from 42949\d+ to .* at ev"),
    "a 31-bit counter in 64": ((EVEN + 2**31 - 2_000_000) % 2**31, r"t falls from .* a counter that wrap"),
}


@pytest.mark.parametrize(("t", "message"), WRONG_TIMES.values(), ids=WRONG_TIMES)
@pytest.mark.parametrize("by", ["number", "time"])
def test_other_times_are_refused_with_their_unit(t, message, by):
    with pytest.raises(ValueError, match=message):
        counts(t, by)


@pytest.mark.parametrize("seconds", [1, 3, 7, 15])
def test_seconds_as_integers_are_too_close_by_time(seconds):
    t = (SECONDS * seconds).astype(np.int64)
    with pytest.raises(ValueError, match=r"400 events span \d+ microseconds, too few for 4 frames by time"):
        counts(t)
    assert counts(t, "number") == [100] * 4  # which needs no unit


def test_event_frames_count():
    x = np.ones((20, 4, 2, 8, 8), np.int16)
    x[3, 0, 1, 2, 2] = -1
    with pytest.raises(ValueError, match="event frames counts events, got -1"):
        Splits.from_tensors(name="mine", train=(x, np.arange(20) % 2), test=(x, np.arange(20) % 2))


def test_times_that_start_over_are_refused():
    """A counter of 24 bits in a wider integer, two recordings in one; events that are out of order are sorted."""
    wrapped = np.r_[np.arange(2**24 - 200, 2**24), np.arange(200)]
    for t in (wrapped, np.r_[np.arange(1000), np.arange(1000)]):
        with pytest.raises(EventsError, match=r"t falls from .* Add its range"):
            microseconds(t)
    mixed = np.random.default_rng(0).permutation(400)
    assert microseconds(mixed).tolist() == mixed.tolist()
    swapped = np.arange(400)
    swapped[[100, 101]] = swapped[[101, 100]]
    assert microseconds(swapped).tolist() == swapped.tolist()


def test_rounded_times_are_refused():
    with pytest.raises(EventsError, match=r"whole microseconds, got .*float32"):
        microseconds((np.arange(4000) + 1e9).astype(np.float32))


def test_no_frames_of_0_where_there_were_events():
    for n in range(1, 9):
        for by in ("number", "time"):
            assert sum(counts(np.arange(n) * 1000, by, 8)) >= max(1, n - 1)
    assert counts([5, 5], "number") == [1, 1, 0, 0]
    with pytest.raises(ValueError, match="2 events span 0 microseconds"):
        counts([5, 5], "time")


def test_times_keep_their_values_where_nothing_is_wrong():
    assert microseconds(np.array([5, 7, 6])).tolist() == [5, 7, 6]
    assert microseconds(np.zeros(0)).tolist() == []


BAD_COLUMNS = {
    "polarities -1 and 1": ({"p": [-1, 1]}, r"p has values that do not fit bool\. For polarities -1 and 1 use p > 0"),
    "texts": ({"x": ["1", "2"]}, "x has values that do not fit int16"),
    "fractions": ({"y": [0.5, 1]}, "y has values that do not fit int16"),
    "two axes": ({"x": [[1], [2]]}, r"as long as each other, \[N\] values each, got x \[2, 1\], y \[2\]"),
    "a number": ({"t": 3}, r"as long as each other.*, t \[\]"),
    "seconds": ({"t": [0.5, 1.5]}, "t must be whole microseconds, got 0.5"),
}


@pytest.mark.parametrize(("changes", "message"), BAD_COLUMNS.values(), ids=BAD_COLUMNS)
def test_columns_are_checked(changes, message):
    with pytest.raises(ValueError, match=message):
        structured(**{"x": [1, 2], "y": [1, 2], "p": [0, 1], "t": [5, 6]} | changes)
    assert structured([1.0, 2], [1, 2], [0, 1], [5.0, 6]).tolist() == [(1, 1, False, 5), (2, 2, True, 6)]


# --- data sets of events


class OnDisk(InMemory):
    """One file for each recording, which is read by ``read``, then changed by ``transform``."""

    def __init__(self, folder, read=np.load, transform=None):
        super().__init__([None] * 20)
        folder.mkdir(exist_ok=True)
        self.data, self.transform, self.read = [folder / f"{i:02d}.npy" for i in range(20)], transform, read
        for path in self.data:
            np.save(path, events(EVEN))

    def __getitem__(self, index):
        loaded = self.read(self.data[index])
        return (self.transform(loaded) if self.transform else loaded), index % 2


def failing(*args):
    raise KeyError("mine")


def unpack(sample):
    return InMemory([(*sample, 0)[:3]] * 10)


BAD_SETS = {
    "text label": (InMemory([(events(EVEN), "a")]), r"got 'a'\. Number the classes: target_transform=names\.index"),
    "float label": (InMemory([(events(EVEN), 0.0)]), r"got 0\.0\. .*target_transform=int for floats"),
    "frames": (InMemory([(np.zeros((4, 2, 8, 8)), 0)]), r"already: take ToFrame out"),
    "rows": (InMemory([(np.zeros((9, 4)), 0)]), r"make it with lightsnn_kit\.data\.structured\(x, y, p, t\)"),
    "one polarity": (
        InMemory([(events(EVEN), 0)], (8, 8, 1)),
        r"of one polarity give \(W, H, 2\), too, and set p of all",
    ),
    "two sizes": (InMemory([(events(EVEN), 0)], (8, 8)), r"sensor_size must be \(W, H, 2\): .* got \(8, 8\)"),
    "a number as size": (InMemory([(events(EVEN), 0)], 8), r"sensor_size must be \(W, H, 2\): .* got 8"),
    "three things": (InMemory([(events(EVEN), 0, 1)]), r"dataset\[0\] must be \(events, label\), got <class 'tuple'>"),
    "events alone": (InMemory([events(EVEN)]), r"dataset\[0\] must be \(events, label\), got <class 'numpy\.ndarray'>"),
    "seconds": (InMemory([(events(SECONDS), 0)]), r"recording 0: t must be whole microseconds"),
    "one class": (InMemory([(events(EVEN), 0)] * 10), r"every sample of train has the label 0"),
}


@pytest.mark.parametrize(("dataset", "message"), BAD_SETS.values(), ids=BAD_SETS)
def test_only_files_that_cannot_be_read_are_to_be_restored(dataset, message):
    with pytest.raises(ValueError, match=message) as caught:
        event_splits(name="m", train=dataset, test=dataset, num_steps=4)
    assert "estore" not in str(caught.value)


def test_whose_fault_it_is_that_a_recording_cannot_be_read(tmp_path):
    for options, message in (
        ({"transform": failing}, r"00\.npy: KeyError: 'mine' The recording can be read without .* transforms: mend th"),
        ({"read": failing}, r"00\.npy: KeyError: 'mine' Restore or remove this file\."),
    ):
        dataset = OnDisk(tmp_path / "set", **options)
        with pytest.raises(ValueError, match=message):
            event_splits(name="m", train=dataset, test=dataset, num_steps=4)
    InMemory.__getitem__, kept = failing, InMemory.__getitem__
    try:
        with pytest.raises(ValueError, match=r"recording 0: KeyError: 'mine' Read it by dataset\[\.\.\.\]"):
            event_splits(name="m", train=unpack((1, 2)), test=unpack((1, 2)), num_steps=4)
    finally:
        InMemory.__getitem__ = kept


# --- copies that programs hide


HIDDEN = (".ipynb_checkpoints/{}", "._{}", ".{}.swp", ".Trash/3/{}")


@pytest.mark.parametrize("hidden", HIDDEN)
@pytest.mark.parametrize("layout", ["tonic", "aedat", "spikingjelly", "n-mnist"])
def test_hidden_copies_are_no_recordings(tmp_path, layout, hidden):
    if layout == "n-mnist":
        from tonic.datasets import NMNIST

        def read():
            train, test = (offline(NMNIST)(str(tmp_path / ".mine"), train=part) for part in (True, False))
            return event_splits(name="m", train=train, test=test, num_steps=4)

        place, name = make_tiny_nmnist(tmp_path / ".mine") / "Test", "4/00001.bin"  # a hidden place holds them all
    else:
        place = make_tiny_gesture(tmp_path / ".mine", layout, num_events=100)

        def read():
            return load("dvs128-gesture", folder=tmp_path / ".mine", num_steps=4)

        name = {
            "tonic": "ibmGestureTest/user06_fluorescent/4.npy",
            "aedat": "user06_fluorescent.aedat",
            "spikingjelly": "test/3/user06_fluorescent_0.npz",
        }[layout]
    first, path = read(), place / name
    copy = path.parent / hidden.format(path.name)
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(path, copy)
    if layout == "n-mnist" and hidden.startswith(".ipynb"):  # tonic itself reads labels from the names of folders
        with pytest.raises(
            ValueError, match=r"NMNIST cannot read .*Test: .*; remove the hidden copies, .*\.ipynb_check"
        ):
            read()
        return
    if layout == "aedat":
        with (place / "trials_to_test.txt").open("a") as listed:
            listed.write(f"{copy.relative_to(place)}\n" if copy.name.startswith(".") else "\n")
    again = read()
    assert again.test.x.equal(first.test.x)
    assert again.source == first.source


# --- paths


def test_every_path_may_start_at_home(tmp_path, monkeypatch):
    """Every public function of the door that takes a folder, and both variables."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    make_tiny_cifar(tmp_path / "c")
    make_tiny_cifar(tmp_path / "c", "cifar100", per_class=5)
    make_tiny_gesture(tmp_path / "g", "tonic", num_events=64)
    make_tiny_nmnist(tmp_path / "n")
    (tmp_path / "d").mkdir()
    monkeypatch.setenv("LIGHTSNN_DATA", "~/d")
    monkeypatch.setenv("LIGHTSNN_CACHE", "~/cache")
    takers = {load_cifar10: "c", load_cifar100: "c", load_gestures: "g", load_nmnist: "n"}
    own = {load_image_folder, load_event_folder, load_braille}  # they are tried in tests/lab/test_user_paths.py
    door = inspect.getmembers(lightsnn_kit.data, inspect.isfunction)
    loaders = {one for one in lightsnn_kit.data._LOADERS.values() if "folder" in inspect.signature(one).parameters}
    named = {"folder", "path", "root"}
    assert loaders == set(takers) | own
    assert [
        name for name, one in door if named & {*inspect.signature(one).parameters} and one not in {*takers, *own}
    ] == []
    for loader, place in takers.items():
        options = {"check": False} if place == "c" else {}
        read = [loader(0, folder=folder, **options).train.x for folder in (f"~/{place}", tmp_path / place)]
        assert read[0].equal(read[1])
    from tonic.datasets import NMNIST

    assert len(offline(NMNIST)("~/n", train=True)) == 50
    assert lightsnn_kit.data.data_folder() == tmp_path / "d"
    assert [path.name for path in (tmp_path / "cache" / "frames").iterdir()] != []
    (tmp_path / "text").write_text("x")
    assert read_text("~/text") == "x"
    assert not (tmp_path / "~").exists()


def test_a_folder_that_is_none_is_named():
    with pytest.raises(Exception, match=r"expected a path such as 'runs/mine', got 3"):
        load("cifar10", folder=3)


# --- texts of spreadsheets


ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32")
MARKS = {"utf-16-le": b"\xff\xfe", "utf-16-be": b"\xfe\xff"}


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("separator", [",", ";", "\t", " , "])
@pytest.mark.parametrize("header", [True, False])
def test_tables_of_spreadsheets_are_read(tmp_path, encoding, end, separator, header):
    place = tmp_path / "DvsGesture"
    wanted = read_aedat(make_tiny_gesture(tmp_path, "aedat", users=(1, 1), num_events=9))
    for path in [*place.glob("*.csv"), *place.glob("*.txt")]:
        lines = path.read_text().splitlines()
        lines = lines[1:] if path.suffix == ".csv" and not header else lines
        text = end.join(line.replace(",", separator) for line in lines) + end
        path.write_bytes(MARKS.get(encoding, b"") + text.encode(encoding))
    assert read_aedat(place) == wanted
    assert len(wanted[0].spans) == 12


def read_aedat(place):
    from lightsnn_kit.data.gestures import _aedat

    return [_aedat(place, part) for part in ("train", "test")]


BAD_TABLES = {
    "a damaged first row": ("x,1000000,1500000\n2,1,2\n", r"line 1: 'x,1000000,1500000' should be CLASS,START,END"),
    "a short row": ("1,5\n", r"line 1: '1,5' should be"),
    "a long row": ("a,b,c\n1,5,6,7\n", r"line 2: '1,5,6,7' should be"),
    "decimals": ("1,8,05E+07\n", "line 1: .* should be"),
    "negative": ("1,-5,6\n", "line 1: .* should be"),
    "nothing": ("a,b,c\n\n\n", "names no recordings with gestures"),
    "bytes": (b"\xff\xff\x00", r"_labels\.csv is no utf-8 text \(invalid start byte\); save it as UTF-8"),
    "half of UTF-16": (b"\xff\xfe1", r"_labels\.csv is no utf-16 text"),
}


@pytest.mark.parametrize(("text", "message"), BAD_TABLES.values(), ids=BAD_TABLES)
def test_tables_that_cannot_be_read_say_where(tmp_path, text, message):
    place = make_tiny_gesture(tmp_path, "aedat", users=(1, 1), num_events=9)
    (place / "user01_fluorescent_labels.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=message):
        read_aedat(place)


def test_a_recording_that_is_listed_twice_is_refused(tmp_path):
    place = make_tiny_gesture(tmp_path, "aedat", users=(1, 1), num_events=9)
    with (place / "trials_to_train.txt").open("a") as listed:
        listed.write('"user01_fluorescent.aedat";\n')
    with pytest.raises(ValueError, match=r"trials_to_train\.txt names user01_fluorescent\.aedat twice"):
        read_aedat(place)


def test_integers_of_tonics_layout_do_not_wrap(tmp_path):
    place = make_tiny_gesture(tmp_path, "tonic", num_events=100)
    wanted = load("dvs128-gesture", folder=tmp_path, num_steps=4, by="time")
    for path in place.rglob("*.npy"):
        np.save(path, np.load(path).astype(np.int16))  # 500 ms are 500,000 microseconds
    assert load("dvs128-gesture", folder=tmp_path, num_steps=4, by="time").test.x.equal(wanted.test.x)


# --- memory


def recorded(**options):
    dataset = InMemory([(events(EVEN), i % 2) for i in range(20)], (128, 128, 2))
    return event_splits(name="m", train=dataset, test=dataset, **options)


HEAVY = {
    "event_splits": lambda: recorded(num_steps=10**9),
    "frames_from_events": lambda: frames_from_events(events(EVEN), sensor_size=(128, 128, 2), num_steps=10**10),
    "a stand-in": lambda: load("dvs128-gesture", stand_in=True, num_steps=10**9),
    "digits-dvs": lambda: load("digits-dvs", num_steps=10**9),
    "motion-dvs": lambda: load("motion-dvs", num_steps=10**9),
    "time": lambda: recorded(num_steps=10**9, by="time"),
}


@pytest.mark.parametrize("take", HEAVY.values(), ids=HEAVY)
def test_memory_is_said_before_it_is_taken(take):
    message = r"need [\d,]+\.\d GB of memory, and [\d,]+\.\d GB are available; take fewer"
    with pytest.raises(ValueError, match=message):
        take()


def test_much_memory_is_said_once(monkeypatch):
    free = type("Memory", (), {"available": 5 * 10**8})
    monkeypatch.setattr("psutil.virtual_memory", lambda: free)
    with pytest.warns(UserWarning, match=r"m: 220 frames of each recording need 0\.3 GB of mem") as told:
        recorded(num_steps=220)
    assert len(told) == 1
    with pytest.raises(ValueError, match=r"need 0\.5 GB of memory, and 0\.5 GB are available"):
        recorded(num_steps=400)


@pytest.mark.fault
def test_a_small_archive_of_very_much_is_refused(tmp_path, monkeypatch):
    place = make_tiny_gesture(tmp_path, "spikingjelly", num_events=100)
    path = next((place / "test").rglob("*.npz"))
    np.savez_compressed(path, **dict.fromkeys("xypt", np.zeros(10**8, np.int8)))
    free = type("Memory", (), {"available": 3 * 10**8})
    assert path.stat().st_size < 10**6
    monkeypatch.setattr("psutil.virtual_memory", lambda: free)
    with pytest.raises(ValueError, match=r"columns of .*\.npz need 0\.4 GB of memory, and 0\.3 GB are available"):
        load("dvs128-gesture", folder=tmp_path, num_steps=4)


# --- installed by pip, outside a repository


@pytest.mark.fault
def test_own_event_sets_need_no_repository(tmp_path):
    """The kit's files alone, as pip leaves them, beside a stray folder data of somebody else."""
    kit = Path(lightsnn_kit.data.__file__).parents[1]
    shutil.copytree(kit, tmp_path / "site" / kit.name, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "site" / "data").mkdir()
    (tmp_path / "here").mkdir()
    program = """
import numpy as np
from lightsnn_kit.data import event_splits, load
class Set:
    sensor_size, data = (8, 8, 2), ["/etc/hostname"] * 20
    def __len__(self): return 20
    def __getitem__(self, i):
        e = np.zeros(50, [("x", "i2"), ("y", "i2"), ("t", "i8"), ("p", "?")]); e["t"] = range(50); return e, i % 2
print(event_splits(name="mine", train=Set(), test=Set(), num_steps=4).train)
print(len(load("digits").test))
try: load("fashion-mnist-small")
except FileNotFoundError as error: print(error)
"""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("LIGHTSNN")}
    environment |= {"PYTHONPATH": str(tmp_path / "site"), "HOME": str(tmp_path / "here"), "XDG_CACHE_HOME": ""}
    said = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=tmp_path / "here",
        env=environment,
        capture_output=True,
        text=True,
    )
    assert said.returncode == 0, said.stderr
    assert said.stdout.splitlines()[:2] == ["Split(x=uint8[16, 4, 2, 8, 8], y=int64[16])", "355"]
    assert "set LIGHTSNN_DATA to the folder data/ of the repository, or to a folder of yours" in said.stdout
    assert len(list((tmp_path / "here").rglob("frames/mine-t*"))) == 2
    assert list((tmp_path / "site" / "data").iterdir()) == []


def test_hidden_is_what_lies_below():
    root = Path("/x/.data")
    assert [data_files.is_hidden(root / name, root) for name in ("a/b", ".a/b", "a/.b", "a/b.c")] == [
        False,
        True,
        True,
        False,
    ]
    assert EVENT.names == ("x", "y", "p", "t")
