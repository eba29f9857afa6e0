"""Event frames: their definition, three layouts of DVS128-Gesture, any tonic data set, stored frames, damaged files."""

import os
import re
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loaders import spikingjelly_datasets
from standins import InMemory, aedat_31, atis_bin, make_tiny_gesture, make_tiny_nmnist
from test_cifar import contents  # every file with its bytes

from lightsnn_kit import data
from lightsnn_kit.data import (
    Splits,
    event_sets,
    event_splits,
    frames_from_events,
    gestures,
    load,
    offline,
    scoring_batches,
)
from lightsnn_kit.data.events import EVENT

LAYOUTS = ("tonic", "aedat", "spikingjelly")


def make_events(x, y, t, p):
    events = np.zeros(len(t), EVENT)
    events["x"], events["y"], events["t"], events["p"] = x, y, t, p
    return events


SENSOR = (5, 3, 2)  # that all events here fit


def random_events(num_events, *, size=(5, 3), seed=0):
    rng = np.random.RandomState(seed)
    t = np.sort(rng.randint(0, 1000, num_events))
    return make_events(
        rng.randint(0, size[0], num_events), rng.randint(0, size[1], num_events), t, rng.randint(0, 2, num_events)
    )


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """One folder for each layout."""
    folders = {layout: tmp_path_factory.mktemp(layout) for layout in LAYOUTS}
    for layout, folder in folders.items():
        make_tiny_gesture(folder, layout, seed=2, num_events=403)
    return folders


@pytest.fixture(autouse=True)
def own_data_folder(tmp_path, monkeypatch):
    """Stored frames of a test go to its own folder; no test may reach a network through tonic."""
    (tmp_path / "stored").mkdir()
    monkeypatch.setenv("LIGHTSNN_DATA", str(tmp_path / "stored"))
    monkeypatch.setenv("LIGHTSNN_CACHE", str(tmp_path / "stored"))
    monkeypatch.setattr("tonic.dataset.download_and_extract_archive", lambda *a, **k: pytest.fail("tonic downloads"))
    return tmp_path / "stored"


# --- frames


def by_hand(events, num_steps, by, size):
    """The definition of frames, one event at a time."""
    frames, events = np.zeros((num_steps, 2, size[1], size[0]), int), events[np.argsort(events["t"], kind="stable")]
    span = (int(events["t"][-1]) - int(events["t"][0])) // num_steps if len(events) > 1 else 1  # one: in frame 0
    for i, event in enumerate(events):
        late = int(event["t"]) - int(events["t"][0])
        step = i // max(1, len(events) // num_steps) if by == "number" else (late // span if span else num_steps)
        if step < num_steps:
            frames[step, int(event["p"]), event["y"], event["x"]] += 1
    return frames


@given(
    n=st.integers(0, 60), num_steps=st.integers(1, 9), by=st.sampled_from(["number", "time"]), seed=st.integers(0, 99)
)
@settings(max_examples=150, deadline=None)
def test_frames_are_their_definition(n, num_steps, by, seed):
    events = random_events(n, seed=seed)
    wanted, span = by_hand(events, num_steps, by, (5, 3)), int(np.ptp(events["t"])) if n else 0
    too_close = by == "time" and n > 1 and span < 16 * num_steps and n - wanted.sum() > 1 + n / 8
    if too_close or (by == "time" and n > 1 and span < num_steps):
        with pytest.raises(ValueError, match=rf"{n} events span {span} microseconds, too few for {num_steps} frames"):
            frames_from_events(events, sensor_size=(5, 3, 2), num_steps=num_steps, by=by)
        return
    frames = frames_from_events(events, sensor_size=(5, 3, 2), num_steps=num_steps, by=by)
    assert frames.dtype == np.uint8
    assert np.array_equal(frames, wanted)
    if by == "number":
        each = [n // num_steps] * num_steps if n >= num_steps else [1] * n + [0] * (num_steps - n)
        assert frames.sum(axis=(1, 2, 3)).tolist() == each


@pytest.mark.parametrize("by", ["number", "time"])
def test_frames_are_tonics(by):
    from tonic.transforms import ToFrame

    events = random_events(1000)
    theirs = ToFrame(sensor_size=(5, 3, 2), **{f"n_{'event' if by == 'number' else 'time'}_bins": 16})(events)
    assert np.array_equal(frames_from_events(events, sensor_size=(5, 3, 2), num_steps=16, by=by), theirs)


@pytest.mark.loaders
@pytest.mark.parametrize("by", ["number", "time"])
@pytest.mark.parametrize("num_events", [160, 1003])
def test_frames_are_spikingjellys_up_to_the_remainder(by, num_events):
    """spikingjelly adds what is left over to its last frame; all else is equal."""
    utils = spikingjelly_datasets().utils
    events = random_events(num_events)
    theirs = utils.integrate_events_by_fixed_frames_number({key: events[key] for key in "txyp"}, by, 16, 3, 5)
    ours = frames_from_events(events, sensor_size=(5, 3, 2), num_steps=16, by=by)
    left = num_events - int(ours.sum())
    assert left == (
        num_events % 16
        if by == "number"
        else int((events["t"] >= events["t"][0] + np.ptp(events["t"]) // 16 * 16).sum())
    )
    rest = np.zeros((16, 2, 3, 5))
    np.add.at(
        rest[-1],
        (
            events["p"][num_events - left :].astype(int),
            events["y"][num_events - left :],
            events["x"][num_events - left :],
        ),
        1,
    )
    assert np.array_equal(theirs, ours + rest)


def test_events_out_of_order_are_put_in_order_and_left_alone():
    events = random_events(100)
    shuffled = events[np.random.RandomState(1).permutation(100)]
    before = shuffled.copy()
    for by in ("number", "time"):
        frames = [
            frames_from_events(e, sensor_size=(5, 3, 2), num_steps=1 if by == "number" else 7, by=by)
            for e in (events, shuffled)
        ]
        assert np.array_equal(*frames)
    assert np.array_equal(shuffled, before)
    late = make_events([0, 1, 2], [0, 0, 0], [30, 10, 20], [0, 0, 0])
    assert frames_from_events(late, sensor_size=(3, 1, 2), num_steps=3)[:, 0, 0].tolist() == [
        [0, 1, 0],
        [0, 0, 1],
        [1, 0, 0],
    ]


def test_only_no_events_give_frames_of_0():
    for n, by in ((0, "number"), (0, "time"), (3, "number"), (1, "time")):
        frames = frames_from_events(random_events(n), sensor_size=(5, 3, 2), num_steps=4, by=by)
        assert (frames.shape, frames.dtype, int(frames.sum())) == ((4, 2, 3, 5), np.uint8, n)


def test_counts_are_exact_or_an_error():
    hot = make_events(0, 0, np.arange(70_000), 1)
    one = {"sensor_size": (2, 1, 2)}
    assert frames_from_events(hot[:255], num_steps=1, **one).dtype == np.uint8
    frames = frames_from_events(hot[:256], num_steps=1, **one)
    assert (frames.dtype, int(frames[0, 1, 0, 0])) == (np.int16, 256)
    assert frames_from_events(hot, num_steps=4, **one)[:, 1, 0, 0].tolist() == [17_500] * 4
    with pytest.raises(ValueError, match=r"a pixel has over 32767 events in one of 1 frames; take more frames"):
        frames_from_events(hot, num_steps=1, **one)  # 70,000 - 65,536: tonic's int16 has wrapped to a positive count


BAD_EVENTS = {
    "off the sensor": (make_events([5], [0], [0], [0]), {}, r"x of events must be integers 0\.\.4 .*, got 5\.\.5"),
    "negative": (make_events([0], [-1], [0], [0]), {}, r"y of events must be integers 0\.\.2 .*, got -1\.\.-1"),
    "a plain array": (np.zeros((9, 4)), {}, r"structured array \[N\] of x, y, t, p; got fields \(\)"),
    "no times": (np.zeros(9, [("x", int), ("y", int), ("p", int)]), {}, r"got fields \('x', 'y', 'p'\)"),
    "one polarity": (random_events(9), {"sensor_size": (5, 3, 1)}, r"sensor_size must be \(W, H, 2\)"),
    "polarity 2": (np.array([(0, 0, 0, 2)], [(name, int) for name in "xytp"]), {}, r"p of events must be .*got 2\.\.2"),
    "fractions": (np.zeros(2, [(name, float) for name in "xytp"]), {}, r"got 0\.0\.\.0\.0 of float64"),
    "no steps": (random_events(9), {"num_steps": 0}, r"num_steps must be a whole number of 1 or more, got 0"),
    "by frames": (random_events(9), {"by": "frames"}, r"by must be one of number, time; got 'frames'"),
}


@pytest.mark.parametrize(("events", "changes", "message"), BAD_EVENTS.values(), ids=BAD_EVENTS)
def test_bad_events_are_named(events, changes, message):
    with pytest.raises(ValueError, match=message):
        frames_from_events(events, **{"sensor_size": (5, 3, 2), "num_steps": 4} | changes)


# --- DVS128-Gesture


@pytest.mark.parametrize(
    ("layout", "sizes"), list(zip(LAYOUTS, [(44, 11, 22), (48, 12, 24), (48, 12, 24)], strict=True))
)
def test_each_layout_is_read_and_recorded(tiny, layout, sizes):
    before = contents(tiny[layout])
    splits = load("dvs128-gesture", folder=tiny[layout], num_steps=16)
    assert tuple(map(len, (splits.train, splits.val, splits.test))) == sizes
    assert (splits.train.x.dtype, tuple(splits.train.x.shape[1:])) == (torch.uint8, (16, 2, 128, 128))
    assert splits.train.x.sum((2, 3, 4)).unique().tolist() == [403 // 16]
    assert splits.network_settings()["events"]
    assert (splits.num_classes, splits.class_names[10]) == (11, "Other gestures")
    assert splits.stand_in
    total = 403 * sum(sizes)
    assert re.match(rf"layout {layout}, not the published \d+ \+ \d+; ", splits.source)
    assert f"16 frames by number, tonic 1.7.0, {3 * sum(sizes)} of {total:,} events dropped as rem" in splits.source
    assert splits.source.endswith(", recordings without events: 0, validation by user")
    (batch,) = scoring_batches(splits.train, batch_size=4, num_batches=1, seed=0)
    assert batch.shape == (16, 4, 2, 128, 128)
    assert contents(tiny[layout]) == before


def as_set(*parts):
    """Samples with their labels, whatever their order."""
    return sorted(
        (label, x.numpy().tobytes()) for part in parts for x, label in zip(part.x, part.y.tolist(), strict=True)
    )


def test_the_cut_recordings_are_the_same_samples(tiny):
    whole, cut = (load("dvs128-gesture", folder=tiny[layout], num_steps=4) for layout in ("aedat", "spikingjelly"))
    assert as_set(whole.train, whole.val) == as_set(cut.train, cut.val)
    assert as_set(whole.test) == as_set(cut.test)


@pytest.mark.parametrize("by", ["number", "time"])
def test_tonics_loader_reads_the_same(tmp_path, monkeypatch, by):
    """Its own class, which wants 100 files and the archives' names, against ours, sample by sample."""
    from tonic.datasets import DVSGesture
    from tonic.transforms import ToFrame

    place = make_tiny_gesture(tmp_path, "tonic", users=(10, 10), num_events=99)
    for part in ("Train", "Test"):
        (place / f"ibmGesture{part}.tar.gz").touch()
    to_frames = ToFrame(sensor_size=(128, 128, 2), **{f"n_{'event' if by == 'number' else 'time'}_bins": 4})
    theirs = {part: DVSGesture(tmp_path, train=part == "train", transform=to_frames) for part in ("train", "test")}
    ours = load("dvs128-gesture", folder=tmp_path, num_steps=4, by=by)
    for part, mine in (("train", (ours.train, ours.val)), ("test", (ours.test,))):
        samples = sorted((label, frames.astype(np.uint8).tobytes()) for frames, label in theirs[part])
        assert len(samples) == 110
        assert as_set(*mine) == samples
    in_order = sorted(range(110), key=lambda i: Path(theirs["test"].data[i]).parts)
    assert [theirs["test"].targets[i] for i in in_order] == ours.test.y.tolist()
    assert set(ours.test.y.tolist()) == set(range(11))


@pytest.mark.loaders
def test_spikingjellys_loader_reads_the_same(tiny, tmp_path):
    """From the archive of the same recordings; its targets are places in the alphabet, where 10 comes before 2."""
    module = spikingjelly_datasets().dvs128_gesture
    root = tmp_path / "sj"
    (root / "download").mkdir(parents=True)
    with tarfile.open(root / "download" / "DvsGesture.tar.gz", "w:gz") as tar:
        tar.add(tiny["aedat"] / "DvsGesture", "DvsGesture")
    files = [("DvsGesture.tar.gz", "", _gestures_md5(root / "download" / "DvsGesture.tar.gz"))]

    class Tiny(module.DVS128Gesture):
        @classmethod
        def resource_url_md5(cls):
            return files

    ours = {part: gestures._aedat(tiny["aedat"] / "DvsGesture", part) for part in ("train", "test")}
    for part in ("train", "test"):
        theirs = Tiny(root, train=part == "train")
        assert theirs.classes[2] == "10"
        wanted = sorted(
            (int(theirs.classes[target]), *(np.asarray(e[k], np.int64).tobytes() for k in "txyp"))
            for e, target in theirs
        )
        mine = sorted(
            (label, *(e[k].astype(np.int64).tobytes() for k in "txyp"))
            for e, label in map(ours[part].__getitem__, range(len(ours[part])))
        )
        assert mine == wanted
        assert len(mine) == {"train": 60, "test": 24}[part]
    cut = load("dvs128-gesture", folder=root, num_steps=4)  # what spikingjelly made is our third layout
    whole = load("dvs128-gesture", folder=tiny["aedat"], num_steps=4)
    assert cut.source.startswith("layout spikingjelly")
    assert as_set(cut.train, cut.val) == as_set(whole.train, whole.val)
    frames = Tiny(root, train=False, data_type="frame", frames_number=16, split_by="number")
    for (x, target), path in zip(frames, [sample[0] for sample in frames.samples], strict=True):
        with np.load(str(path).replace("frames_number_16_split_by_number", "events_np")) as e:
            mine = frames_from_events(
                gestures.structured(e["x"], e["y"], e["p"], e["t"]), sensor_size=(128, 128, 2), num_steps=16
            )
        assert np.array_equal(x[:-1], mine[:-1])
        assert (x[-1] >= mine[-1]).all()
        assert int((x[-1] - mine[-1]).sum()) == 403 % 16
        assert 0 <= target < 11


def _gestures_md5(path):
    from lightsnn_kit.data.files import md5_of

    return md5_of(path)


def test_whole_users_are_held_out(tiny):
    place = tiny["tonic"] / "DVSGesture"
    read = {}
    for path in sorted((place / "ibmGestureTrain").rglob("*.npy")):
        events = np.load(path)
        events[:, 3] *= 1000
        frames = frames_from_events(make_events(*events[:, [0, 1, 3, 2]].T), sensor_size=(128, 128, 2), num_steps=2)
        read[frames.tobytes()] = path.parent.name
    held = []
    for seed in range(4):
        splits = load("dvs128-gesture", folder=tiny["tonic"], num_steps=2, seed=seed)
        users = [{read[x.numpy().tobytes()] for x in part.x} for part in (splits.train, splits.val)]
        assert (len(users[0]), len(users[1]), users[0] & users[1]) == (4, 1, set())
        held.append(*users[1])
    assert len(set(held)) > 1


def test_missing_data_says_what_was_looked_for(tmp_path, own_data_folder):
    with pytest.raises(
        FileNotFoundError,
        match=r"nothing in the layout tonic or aedat or spikingjelly in .*/stored/dvs128-gesture\. Looked for .*3a8f0d4"
        r".*api\.figshare\.com/v2/file/download/38022171.*8a5c71fb.*ibm\.ent\.box\.com",
    ):
        load("dvs128-gesture")
    with pytest.raises(ValueError, match="layout must be one of tonic, aedat, spikingjelly, got 'npy'"):
        load("dvs128-gesture", layout="npy")
    assert list(own_data_folder.iterdir()) == []


def test_layouts_side_by_side_are_chosen_by_name(tmp_path):
    for layout in LAYOUTS:
        make_tiny_gesture(tmp_path / ("extract" if layout == "aedat" else "."), layout, num_events=64)
    with pytest.raises(ValueError, match=r"holds several layouts: tonic, aedat, spikingjelly; .* pass layout="):
        load("dvs128-gesture", folder=tmp_path)
    for layout in LAYOUTS:
        source = load("dvs128-gesture", folder=tmp_path, layout=layout, num_steps=2).source
        assert source.startswith(f"layout {layout}")
    (tmp_path / "DVSGesture").rename(tmp_path / "elsewhere")
    assert load("dvs128-gesture", folder=tmp_path, num_steps=2).source.startswith("layout spikingjelly")
    assert load("dvs128-gesture", folder=tmp_path / "elsewhere", num_steps=2).source.startswith("layout tonic")
    (tmp_path / "events_np.building").touch()
    with pytest.raises(ValueError, match="spikingjelly did not finish cutting the recordings"):
        load("dvs128-gesture", folder=tmp_path, num_steps=2)


# --- damaged recordings: a clear error or a defined result, and no file changes


def cut_short(path, keep):
    path.write_bytes(path.read_bytes()[:keep])


AEDAT, CSV = "user01_fluorescent.aedat", "user01_fluorescent_labels.csv"


def set_one(path: Path, column: int, value: float) -> None:
    """Change one number of a recording in tonic's layout."""
    rows = np.load(path).astype(float)
    rows[0, column] = value
    np.save(path, rows)


BAD_FILES = {
    "aedat without header": (
        "aedat",
        AEDAT,
        lambda p: p.write_bytes(b"\0" * 99),
        r"user01_f.*\.aedat: .*no AEDAT 3\.1 file",
    ),
    "aedat cut in events": (
        "aedat",
        AEDAT,
        lambda p: cut_short(p, 2000),
        r"user01_fluor.*the packet at byte 61 of 2000 tells of",
    ),
    "aedat cut in a head": (
        "aedat",
        AEDAT,
        lambda p: cut_short(p, 80),
        r"ends within the head of a packet, at byte 61 of 80",
    ),
    "aedat of nothing": ("aedat", AEDAT, lambda p: p.write_bytes(b""), r"this is no AEDAT 3\.1 file"),
    "aedat missing": ("aedat", AEDAT, Path.unlink, r"no .*user01_fluorescent\.aedat, which trials_to_train\.txt names"),
    "table missing": ("aedat", CSV, Path.unlink, r"no .*user01_fluorescent_labels\.csv, the classes and times"),
    "class 12": (
        "aedat",
        CSV,
        lambda p: p.write_text("h\n\n12,1,2\n"),
        r"_labels\.csv, line 3: '12,1,2' should be CLASS",
    ),
    "class 0": ("aedat", CSV, lambda p: p.write_text("h\n0,1,2\n"), r"line 2: '0,1,2' should be .* a class 1\.\.11"),
    "end before start": (
        "aedat",
        CSV,
        lambda p: p.write_text("h\n1,2,2\n"),
        r"line 2: '1,2,2' should be .*START < END",
    ),
    "no numbers": ("aedat", CSV, lambda p: p.write_text("h\na,b\n"), r"line 2: 'a,b' should be CLASS,START,END"),
    "list missing": (
        "aedat",
        "trials_to_test.txt",
        Path.unlink,
        r"no .*trials_to_test\.txt, which names the recordings",
    ),
    "list empty": (
        "aedat",
        "trials_to_test.txt",
        lambda p: p.write_text("\n"),
        r"trials_to_test\.txt names no recordings",
    ),
    "npy cut": (
        "tonic",
        "ibmGestureTrain/user02_fluorescent/4.npy",
        lambda p: cut_short(p, 500),
        r"user02_fluorescent/4\.npy: ValueError",
    ),
    "npy of 3 columns": (
        "tonic",
        "ibmGestureTest/user06_fluorescent/0.npy",
        lambda p: np.save(p, np.zeros((5, 3))),
        r"test: .*/0\.npy: the array must be \[events, 4\] .* got float64 \(5, 3\)",
    ),
    "npy off the sensor": (
        "tonic",
        "ibmGestureTest/user06_fluorescent/0.npy",
        lambda p: np.save(p, np.array([[128.0, 1, 1, 1]] * 5)),
        r"/0\.npy: .*x of events must be",
    ),
    **{
        f"npy with {name} {value}": (
            "tonic",
            "ibmGestureTest/user06_fluorescent/0.npy",
            lambda p, column=column, value=value: set_one(p, column, value),
            rf"/0\.npy: .*{name} has values that",
        )
        for column, name, value in ((0, "x", 65539), (0, "x", 3.9), (0, "x", np.nan), (2, "p", -1), (3, "t", np.nan))
    },
    "npy with a wrong label": (
        "tonic",
        "ibmGestureTrain/user02_fluorescent/4.npy",
        lambda p: p.rename(p.with_name("11.npy")),
        r"11\.npy should be named userNN_LIGHT/LABEL\.npy",
    ),
    "npy with no label": (
        "tonic",
        "ibmGestureTrain/user02_fluorescent/4.npy",
        lambda p: p.rename(p.with_name("4 (1).npy")),
        r"4 \(1\)\.npy should be named",
    ),
    "no test part": (
        "tonic",
        "ibmGestureTest",
        lambda p: p.rename(p.with_name("x")),
        r"no files in .*ibmGestureTest; get ibmGestureTest\.tar\.gz \(md5 5607",
    ),
    "npz cut": (
        "spikingjelly",
        "train/3/user01_fluorescent_0.npz",
        lambda p: cut_short(p, 700),
        r"train/3/user01_fluorescent_0\.npz: BadZipFile",
    ),
    "npz of unequal columns": (
        "spikingjelly",
        "train/3/user01_fluorescent_0.npz",
        lambda p: np.savez(p, t=[1], x=[1], y=[1], p=[]),
        r"as long as each other.*got x \[1\], y \[1\], p \[0\], t \[1\]",
    ),
    "npz of fractions": (
        "spikingjelly",
        "train/3/user01_fluorescent_0.npz",
        lambda p: np.savez(p, t=[1], x=[0.5], y=[1], p=[1]),
        r"x has values that do not fit int16",
    ),
    "npz of no user": (
        "spikingjelly",
        "train/3/user01_fluorescent_0.npz",
        lambda p: p.rename(p.with_name("a.npz")),
        r"a\.npz should be named userNN",
    ),
    "npz in a folder 11": (
        "spikingjelly",
        "train/3",
        lambda p: p.rename(p.with_name("11")),
        r"train/11/.* should be an \.npz file in a folder 0\.\.10",
    ),
    "no npz": ("spikingjelly", "test", lambda p: p.rename(p.with_name("x")), r"no files .*test/LABEL/\*\.npz"),
}


@pytest.mark.parametrize(("layout", "name", "damage", "message"), BAD_FILES.values(), ids=BAD_FILES)
def test_damaged_recordings_are_named(tmp_path, own_data_folder, layout, name, damage, message):
    place = make_tiny_gesture(tmp_path / "data", layout, num_events=200)
    damage(place / name)
    before = contents(tmp_path / "data")
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        load("dvs128-gesture", folder=tmp_path / "data", num_steps=2)
    assert contents(tmp_path / "data") == before
    assert not [path for path in own_data_folder.rglob("*") if path.name.startswith(".making")]


def test_an_empty_recording_is_kept_and_counted(tmp_path):
    place = make_tiny_gesture(tmp_path, "tonic", num_events=200)
    np.save(place / "ibmGestureTrain" / "user01_fluorescent" / "5.npy", np.zeros((0, 4)))
    for _ in range(2):  # told again when the frames come from the disk
        with pytest.warns(UserWarning, match=r"gesture-train: 1 of 55 recordings have no events; .*5\.npy"):
            splits = load("dvs128-gesture", folder=tmp_path, num_steps=2)
        assert ", recordings without events: 1, " in splits.source
        empty = [
            (x, y) for part in (splits.train, splits.val) for x, y in zip(part.x, part.y, strict=True) if not x.any()
        ]
        assert [int(y) for _, y in empty] == [5]


def write_aedat(path, events):
    path.write_bytes(aedat_31(events))
    return gestures._read_aedat(path, path.stat().st_mtime_ns)


def test_aedat_times_pass_31_bits_and_keep_their_order(tmp_path):
    t = np.array([5, 2**31 - 1, 2**31, 2**32 + 7])
    events = write_aedat(tmp_path / "a.aedat", np.stack([[0, 1, 127, 3], [9, 127, 0, 2], [0, 1, 1, 0], t], 1))
    assert events["t"].tolist() == t.tolist()
    assert (events["x"].tolist(), events["y"].tolist()) == ([0, 1, 127, 3], [9, 127, 0, 2])
    assert events["p"].tolist() == [False, True, True, False]


def test_invalid_and_other_events_of_an_aedat_file_are_left_out(tmp_path):
    content = bytearray(aedat_31(np.array([[1, 2, 1, 10], [3, 4, 0, 20]])))
    head = content.index(b"HEADER\r\n") + 8
    special = (0).to_bytes(2, "little") + bytes(content[head + 2 :])  # the same packet, of type 0
    content[head + 28] &= 0xFE  # the first event's valid bit
    path = tmp_path / "a.aedat"
    path.write_bytes(bytes(content) + special)
    events = gestures._read_aedat(path, 0)
    assert events[["x", "y", "t"]].tolist() == [(3, 4, 20)]
    path.write_bytes(bytes(content[:head]))
    assert len(gestures._read_aedat(path, 1)) == 0


def test_spans_may_overlap_and_lie_outside(tmp_path):
    place = make_tiny_gesture(tmp_path, "aedat", num_events=200)
    rows = ["class,startTime_usec,endTime_usec", "11,1000000,1500000", "11,1000000,1500000", "2,900000000,900000001"]
    (place / "user01_fluorescent_labels.csv").write_text("\n".join(rows) + "\n\n")
    recordings = gestures._aedat(place, "train")
    first, second, outside = (recordings[i] for i in range(3))
    assert (first[1], outside[1]) == (10, 1)
    assert np.array_equal(first[0], second[0])
    assert (len(first[0]), len(outside[0])) == (200, 0)


# --- stored frames


def stored(folder):
    return sorted(path.name for path in (folder / "frames").iterdir())


def test_frames_are_stored_once_and_read_again(tiny, own_data_folder, monkeypatch):
    first = load("dvs128-gesture", folder=tiny["tonic"], num_steps=2)
    before = contents(own_data_folder)
    assert len(stored(own_data_folder)) == 2
    monkeypatch.setattr(event_sets, "_make", lambda *args: pytest.fail("frames were made again"))
    again = load("dvs128-gesture", folder=tiny["tonic"], num_steps=2)
    assert again.train.x.equal(first.train.x)
    assert (again.source, again.stand_in) == (first.source, True)
    again.test.x[:] = 7  # maps are private: the files stay as they are
    assert contents(own_data_folder) == before


def test_whatever_matters_makes_other_frames(tmp_path, own_data_folder):
    place = make_tiny_gesture(tmp_path / "data", "tonic", num_events=200)
    path = place / "ibmGestureTest" / "user06_fluorescent" / "0.npy"

    def number_of_stored(**options):
        load("dvs128-gesture", folder=tmp_path / "data", **{"num_steps": 2} | options)
        return len(stored(own_data_folder))

    assert number_of_stored() == 2
    assert number_of_stored(seed=9) == 2  # the seed only draws the validation part
    assert number_of_stored(num_steps=3) == 4
    assert number_of_stored(by="time") == 6
    old = path.stat()
    np.save(path, np.load(path)[::-1])  # as many bytes
    os.utime(path, ns=(old.st_atime_ns, old.st_mtime_ns + 1))
    assert number_of_stored() == 7
    path.rename(path.with_name("10.npy"))  # another label for the same bytes
    assert number_of_stored() == 8
    (tmp_path / "data").rename(tmp_path / "moved")
    assert "moved" in str(load("dvs128-gesture", folder=tmp_path / "moved", num_steps=2) and tmp_path / "moved")
    assert len(stored(own_data_folder)) == 8


def nmnist(folder, *, train, **options):
    from tonic.datasets import NMNIST

    return offline(NMNIST)(str(folder), train=train, **options)


def nmnist_splits(folder, seed=0, **options):
    parts = {part: nmnist(folder, train=part == "train", **options) for part in ("train", "test")}
    return event_splits(name="n-mnist", **parts, num_steps=10, seed=seed)


def test_settings_and_transforms_are_part_of_the_name(tmp_path, own_data_folder):
    from tonic.transforms import Downsample, RefractoryPeriod

    make_tiny_nmnist(tmp_path)
    nmnist_splits(tmp_path)
    nmnist_splits(tmp_path, first_saccade_only=True)
    assert len(stored(own_data_folder)) == 4
    few, fewer = (nmnist_splits(tmp_path, transform=RefractoryPeriod(delta)) for delta in (1_000, 10_000))
    assert len(stored(own_data_folder)) == 8
    assert int(few.test.x.sum()) > int(fewer.test.x.sum())
    plain = nmnist_splits(tmp_path, transform=lambda events: events[:100])  # a function without a name of its own
    assert plain.test.x.sum((1, 2, 3, 4)).tolist() == [100] * 20
    assert len(stored(own_data_folder)) == 8
    assert Downsample(spatial_factor=0.5) != RefractoryPeriod(1)


def test_frames_stored_by_another_process_meanwhile_are_taken(tiny, own_data_folder, monkeypatch):
    make, elsewhere = event_sets._make, []

    def slow(recordings):
        if recordings.name not in elsewhere:  # while we make them, another process stores the same
            elsewhere.append(recordings.name)
            load("dvs128-gesture", folder=tiny["tonic"], num_steps=2)
        return make(recordings)

    monkeypatch.setattr(event_sets, "_make", slow)
    assert len(load("dvs128-gesture", folder=tiny["tonic"], num_steps=2).test) == 22
    assert len(stored(own_data_folder)) == 2


def test_damaged_stored_frames_are_told_and_made_anew(tiny, own_data_folder):
    wanted = load("dvs128-gesture", folder=tiny["tonic"], num_steps=2).test.x.clone()  # a map of a cut file ends us
    before = contents(own_data_folder)
    x = own_data_folder / "frames" / stored(own_data_folder)[0] / "x.npy"
    cut_short(x, 5000)
    with pytest.warns(UserWarning, match=r"stored frames in .*dvs128-gesture-test-\w{16} were damaged .* made anew\.$"):
        again = load("dvs128-gesture", folder=tiny["tonic"], num_steps=2)
    assert again.test.x.equal(wanted)
    assert contents(own_data_folder) == before


# --- any tonic data set


def test_nmnist_as_documented(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "_LOADERS", {})
    make_tiny_nmnist(tmp_path)
    text = (Path(data.__file__).parents[2] / "data" / "README.md").read_text()
    (block,) = (block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "NMNIST" in block)
    monkeypatch.chdir(tmp_path)
    scope = {}
    exec(block.replace('"/data/tonic"', '"."'), scope)
    splits = scope["splits"]
    assert [len(part) for part in (splits.train, splits.val, splits.test)] == [40, 10, 20]
    assert splits.train.x.shape[1:] == (10, 2, 34, 34)
    assert splits.class_names[3] == "3 - three"
    assert splits.stand_in
    assert splits.source.startswith("NMNIST: 50 + 20 recordings, 10 frames by number, ")


def test_tonics_own_nmnist_reads_the_same(tmp_path, monkeypatch):
    from tonic.datasets import NMNIST
    from tonic.transforms import ToFrame

    place = make_tiny_nmnist(tmp_path)
    (place / "test.zip").touch()
    monkeypatch.setattr(NMNIST, "_folder_contains_at_least_n_files_of_type", lambda *args: True)  # it wants 10,000
    theirs = NMNIST(str(tmp_path), train=False, transform=ToFrame(sensor_size=(34, 34, 2), n_event_bins=10))
    ours = nmnist_splits(tmp_path).test
    assert [label for _, label in theirs] == ours.y.tolist() == sorted([*range(10)] * 2)
    assert np.array_equal(np.stack([frames for frames, _ in theirs]), ours.x)


def test_nmnist_files_golden_and_cut(tmp_path):
    events = np.array([[1, 2, 1, 5], [33, 0, 0, 70_000], [9, 33, 1, 300_000]])
    assert atis_bin(events[1:2]).hex() == "2100011170"  # x 33, y 0, p 0 with time 1·65536 + 0x11·256 + 0x70
    place = make_tiny_nmnist(tmp_path)
    path = place / "Test" / "4" / "00001.bin"
    path.write_bytes(atis_bin(events))
    dataset = nmnist(tmp_path, train=False)
    read, label = dataset[8]
    assert (label, [tuple(map(int, e)) for e in read[["x", "y", "p", "t"]]]) == (4, [tuple(e) for e in events.tolist()])
    cut_short(path, 13)
    before = contents(tmp_path)
    with pytest.raises(ValueError, match=r"n-mnist-test: .*Test/4/00001\.bin: .* Restore or remove this file"):
        nmnist_splits(tmp_path)
    assert contents(tmp_path).items() >= before.items()


def test_missing_tonic_data_is_never_fetched(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"no files in .*NMNIST/Train; get train\.zip \(md5 20959b8e.*\) from https"
    ):
        nmnist(tmp_path, train=True)
    assert list(tmp_path.iterdir()) == [tmp_path / "stored"]


def test_a_data_set_in_memory_keeps_its_order_and_is_not_stored(own_data_folder):
    samples = [(random_events(20, seed=i), np.int64(i % 2)) for i in range(10)]
    splits = event_splits(name="mine", train=InMemory(samples, SENSOR), test=InMemory(samples[:3], SENSOR), num_steps=4)
    assert (len(splits.train), len(splits.val), splits.test.y.tolist()) == (8, 2, [0, 1, 0])
    wanted = [frames_from_events(e, sensor_size=(5, 3, 2), num_steps=4) for e, _ in samples[:3]]
    assert np.array_equal(splits.test.x, wanted)
    assert not splits.stand_in
    assert list(own_data_folder.iterdir()) == []


def test_one_count_over_255_widens_both_parts():
    hot = make_events(0, 0, np.arange(1000), 1)
    samples = [(random_events(20, seed=i), i % 2) for i in range(10)]
    splits = event_splits(
        name="hot", train=InMemory(samples, SENSOR), test=InMemory([*samples[:1], (hot, 1)], SENSOR), num_steps=2
    )
    assert {part.x.dtype for part in (splits.train, splits.val, splits.test)} == {torch.int16}
    assert splits.test.x[1, :, 1, 0, 0].tolist() == [500, 500]
    assert np.array_equal(splits.test.x[0], frames_from_events(samples[0][0], sensor_size=(5, 3, 2), num_steps=2))


BAD_SETS = {
    "no sensor size": (
        lambda d: setattr(d, "sensor_size", None),
        r"bad-train: .* has no sensor_size; set its attribute",
    ),
    "no recordings": (lambda d: d.samples.clear(), r"bad-train: .* has no recordings"),
    "a text label": (
        lambda d: d.samples.append((random_events(9), "cat")),
        r"bad-train: recording 10: the label must be .*got 'cat'\. Number the classes: target_transform=names",
    ),
    "a float label": (
        lambda d: d.samples.append((random_events(9), 1.0)),
        r"recording 10: the label .*got 1\.0\. .*=int for floats",
    ),
    "a negative label": (
        lambda d: d.samples.append((random_events(9), -1)),
        r"bad-train: recording 10: the label must be a whole number from 0 to 2147483647, got -1",
    ),
    "frames already": (
        lambda d: d.samples.append((np.zeros((4, 2, 3, 5)), 1)),
        r"recording 10: events must be .*take ToFrame out of the transform",
    ),
}


@pytest.mark.parametrize(("damage", "message"), BAD_SETS.values(), ids=BAD_SETS)
def test_bad_data_sets_are_named(damage, message):
    train = InMemory([(random_events(20, seed=i), i % 2) for i in range(10)], SENSOR)
    damage(train)
    test = InMemory([(random_events(20), 0)], SENSOR)
    with pytest.raises(ValueError, match=message):
        event_splits(name="bad", train=train, test=test, num_steps=4)


# --- the stand-ins can be learned


def test_gestures_of_a_new_user_are_told_apart_by_their_nearest_mean(tiny):
    splits = load("dvs128-gesture", folder=tiny["tonic"], num_steps=8)
    coarse = [
        part.x.float().reshape(len(part), 16, 8, 16, 8, 16).sum((3, 5)).flatten(1)
        for part in (splits.train, splits.test)
    ]
    means = torch.stack([coarse[0][splits.train.y == label].mean(0) for label in range(11)])
    correct = torch.cdist(coarse[1], means).argmin(1) == splits.test.y
    assert correct.float().mean() >= 0.9  # 1 / 11 by chance
    summed = [x.reshape(len(x), 8, 2, 64).sum(1).flatten(1) for x in coarse]  # over time: no way round
    means = torch.stack([summed[0][splits.train.y == label].mean(0) for label in range(11)])
    assert (torch.cdist(summed[1], means).argmin(1) == splits.test.y).float().mean() < correct.float().mean()


def test_gestures_train_and_evaluate_at_full_size(tiny):
    """128 x 128, T = 16: forward, loss, backward and evaluation of a narrow network on one recording a class."""
    from lightsnn_kit.cells import Cell
    from lightsnn_kit.networks import NetworkConfig, build_network
    from lightsnn_kit.training import TrainConfig, evaluate, fit

    splits = load("dvs128-gesture", folder=tiny["tonic"])
    one = Splits.from_tensors(
        name="one of each",
        **{part: one_of_each(getattr(splits, part)) for part in ("train", "val", "test")},
    )
    cell = Cell.parse("|conv3x3~0|+|skip~0|conv3x3~1|/|skip~1|conv3x3~2|+|zeroize~2|")
    network = build_network(cell, NetworkConfig(width=2, hidden=16, votes=1, **one.network_settings()), seed=0)
    before = [value.clone() for value in network.parameters()]
    (record,) = fit(network, one, TrainConfig(epochs=1, batch_size=11, loss="mse"))
    assert record.train_loss == pytest.approx(1 / 11, rel=0.5)  # of zeros against one-hot labels: exactly 1 / 11
    assert sum(not value.equal(old) for value, old in zip(network.parameters(), before, strict=True)) == len(before)
    assert evaluate(network, one.test, loss="mse").num_samples == 11


def one_of_each(split):
    first = torch.stack([(split.y == label).nonzero()[0, 0] for label in range(11)])
    return split.x[first], split.y[first]


# --- real recordings


@pytest.fixture(scope="module")
def recordings():
    """The ten real recordings of 0.4 s as arrays [N, 4] of x, y, p, t."""
    folder = os.environ.get("LIGHTSNN_EXTRA_DATA")
    path = Path(folder or "/none", "events", "gesture_recordings_0.4s.npz")
    if not path.is_file():
        pytest.skip("LIGHTSNN_EXTRA_DATA names no folder with events/gesture_recordings_0.4s.npz")
    with np.load(path) as stored_events:
        ends = stored_events["n"].cumsum()[:-1]
        parts = [np.split(stored_events[name].astype(np.int64), ends) for name in ("xp", "y", "dt")]
    return [np.stack([xp // 2, y, xp % 2, dt.cumsum()], 1) for xp, y, dt in zip(*parts, strict=True)]


def test_real_recordings_through_the_aedat_format_and_frames(recordings, tmp_path):
    assert sum(map(len, recordings)) == 339_180
    for columns in recordings:
        events = write_aedat(tmp_path / "real.aedat", columns)
        assert np.array_equal(np.stack([events[name].astype(np.int64) for name in "xypt"], 1), columns)
        frames = frames_from_events(events, sensor_size=(128, 128, 2), num_steps=16)
        assert frames.sum((1, 2, 3)).tolist() == [len(events) // 16] * 16
        timed = frames_from_events(events, sensor_size=(128, 128, 2), num_steps=16, by="time")
        span = int(events["t"][-1] - events["t"][0]) // 16
        late = (events["t"] - events["t"][0]) // span
        assert timed.sum((1, 2, 3)).tolist() == [int((late == step).sum()) for step in range(16)]


@pytest.mark.loaders
@pytest.mark.parametrize("by", ["number", "time"])
def test_real_recordings_integrate_as_spikingjellys(recordings, by):
    utils = spikingjelly_datasets().utils
    for columns in recordings:
        events = gestures.structured(*columns.T)
        theirs = utils.integrate_events_by_fixed_frames_number({k: events[k] for k in "txyp"}, by, 16, 128, 128)
        ours = frames_from_events(events, sensor_size=(128, 128, 2), num_steps=16, by=by)
        assert np.array_equal(theirs[:-1], ours[:-1])
        assert int((theirs[-1] - ours[-1]).sum()) == len(events) - int(ours.sum())
        assert (theirs[-1] >= ours[-1]).all()
