"""Every parser of data meets what is nearly right, half there or nothing of the kind: a value, or the documented error.

300 inputs each here, 10,000 each night: ``HYPOTHESIS_PROFILE=nightly pytest -k test_fuzz_``. Found cases stay as
``@example``.
"""

import bz2
import gzip
import hashlib
import io
import lzma
import pickle
import shutil
import tarfile

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from standins import _pickle_2, aedat_31, atis_bin, make_tiny_gesture, make_tiny_nmnist

from lightsnn_kit.data import Split, Splits, frame_store, frames_from_events, gestures, image_folder, offline
from lightsnn_kit.data import files as data_files
from lightsnn_kit.data.arrays import load_npz
from lightsnn_kit.data.cifar import _CIFAR10, _read_images, _read_names
from lightsnn_kit.data.event_sets import _Recordings
from lightsnn_kit.data.events import microseconds, num_dropped
from lightsnn_kit.data.pickles import read_pickle
from lightsnn_kit.data.recordings import Recordings
from lightsnn_kit.files import read_text

fuzz = settings(
    max_examples=max(300, settings().max_examples),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
EVENTS = np.array([[1, 2, 1, 5], [33, 0, 0, 70_000], [9, 33, 1, 300_000], [9, 3, 0, 300_001]])


def outcome(parser, *arguments, errors=ValueError, **options):
    """What a parser returns and "", or None and what its documented error says, which is short."""
    try:
        return parser(*arguments, **options), ""
    except errors as error:
        said = str(error)
    assert 0 < len(said) < 600
    return None, said


def saved(save, *args, **options):
    stream = io.BytesIO()
    save(stream, *args, **options)
    return stream.getvalue()


@st.composite
def damaged(draw, *valid):
    """One of some files with a few bytes changed, cut out, doubled or put in, or any bytes at all."""
    content = bytearray(draw(st.sampled_from(valid)))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(content)))
        what = draw(st.sampled_from(["flip", "set", "cut", "insert", "double"]))
        if what == "flip" and at < len(content):
            content[at] ^= 1 << draw(st.integers(0, 7))
        elif what == "set":
            new = draw(st.binary(min_size=1, max_size=8))
            content[at : at + len(new)] = new
        elif what == "cut":
            del content[at : at + draw(st.integers(1, 40))]
        elif what == "insert":
            content[at:at] = draw(st.binary(max_size=8))
        elif what == "double":
            content[at:at] = content[at : at + 30]
    return bytes(content) if draw(st.integers(0, 9)) else draw(st.binary(max_size=300))


# --- recordings


@pytest.fixture(scope="module")
def nmnist(tmp_path_factory):
    from tonic.datasets import NMNIST

    folder = tmp_path_factory.mktemp("nmnist")
    make_tiny_nmnist(folder, per_class=(1, 1))
    return _Recordings.of("fuzz", offline(NMNIST)(str(folder), train=True), (2, "number"), [])


@pytest.fixture
def recording(tmp_path):
    """A function that reads one recording of a suffix and its bytes, by number or by time, as a data set does."""

    def read(suffix, content, by):
        path = tmp_path / f"user01_x{suffix}"
        path.write_bytes(content)
        gestures._read_aedat.cache_clear()
        spans = ((0, 2**40),) if suffix == ".aedat" else ()
        dataset = gestures.Recordings((path,), (3,), (1,), spans)
        check_frames(_Recordings("fuzz", dataset, (2, by), (128, 128, 2), [0], [path], None), by)

    return read


def check_frames(recordings, by):
    read, error = outcome(recordings.read, 0)
    if error:
        assert str(recordings.paths[0]) in error  # named
        return
    frames, num_events, label = read
    assert (frames.shape[0], frames.dtype.kind, type(label)) == (2, frames.dtype.kind, int)
    assert (num_events == 0) == (not frames.any()) or by == "time"
    assert 0 <= int(frames.sum(dtype=int)) <= num_events
    assert by == "time" or int(frames.sum(dtype=int)) >= num_events - 1


ROWS = EVENTS.astype(float) / [1, 1, 1, 1000]
NPY = [saved(np.save, array) for array in (ROWS, ROWS.astype("f4"), EVENTS, EVENTS.astype("u1"), ROWS[:0])]
COLUMNS = dict(zip("xypt", EVENTS.T, strict=True))
NPZ = [saved(save, **COLUMNS) for save in (np.savez, np.savez_compressed)]


@fuzz
@given(damaged(*NPY), st.sampled_from(["number", "time"]))
@example(saved(np.save, np.array([["a"] * 4])), "number")
@example(saved(np.save, np.array([[None] * 4]), allow_pickle=True), "number")
@example(saved(np.save, ROWS).replace(b"(4, 4), }" + b" " * 9, b"(9999999999, 4), }"), "time")
def test_fuzz_recordings_of_tonics_layout(recording, content, by):
    recording(".npy", content, by)


@fuzz
@given(damaged(*NPZ), st.sampled_from(["number", "time"]))
@example(saved(np.savez, **dict.fromkeys("xypt", np.zeros((2, 2)))), "number")
@example(saved(np.savez, **dict.fromkeys("xypt", np.zeros(2, complex))), "number")
@example(saved(np.savez, x=[1]), "number")
@example(b"", "number")
def test_fuzz_recordings_of_spikingjellys_layout(recording, content, by):
    recording(".npz", content, by)


@fuzz
@given(damaged(aedat_31(EVENTS), aedat_31(EVENTS, packet=1)), st.sampled_from(["number", "time"]))
def test_fuzz_recordings_of_the_authors_layout(recording, content, by):
    recording(".aedat", content, by)


@fuzz
@given(damaged(atis_bin(EVENTS)), st.sampled_from(["number", "time"]))
@example(b"\0" * 3, "number")
def test_fuzz_recordings_of_tonics_data_sets(nmnist, content, by):
    nmnist.paths[0].write_bytes(content)
    check_frames(_Recordings("fuzz", nmnist.dataset, (2, by), (34, 34, 2), nmnist.order, nmnist.paths, None), by)


# --- tables


FIELDS = st.one_of(
    st.integers(-3, 2**70).map(str),
    st.sampled_from(["", "1", '"2"', " 3 ", "class", "1e6", "NaN", "1.5", "٣", "²", "_1"]),
)
TABLES = st.one_of(
    st.text(max_size=60),
    st.lists(st.lists(FIELDS, max_size=5).map(",".join), max_size=5).map("\n".join),
)


@fuzz
@given(TABLES, st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]), st.binary(max_size=3))
@example("1,1,2", "utf-8", b"")
@example("1,²,3", "utf-8", b"")
@example("h\n1,1," + "9" * 5000, "utf-8", b"")
def test_fuzz_tables_of_gestures(tmp_path, text, encoding, more):
    path = tmp_path / "user01_x_labels.csv"
    path.write_bytes(text.encode(encoding, "replace") + more)
    rows, error = outcome(gestures._read_table, path)
    if error:
        assert str(path) in error
        return
    assert all(0 <= label <= 10 and 0 <= start < end < 10**18 for label, start, end in rows)
    filled = [line for line in read_text(path).split("\n") if line.strip(' ,;\t"')]
    assert len(filled) - 1 <= len(rows) <= len(filled)  # only a header is no row


@fuzz
@given(st.lists(st.one_of(st.text(max_size=30), st.sampled_from(["user01_fluorescent.aedat", "..", "."])), max_size=4))
@example(["a" * 5000])
@example(["\0"])
@example(["/etc/hostname"])
def test_fuzz_lists_of_recordings(listed, lines):
    (listed / "trials_to_train.txt").write_bytes("\n".join(lines).encode("utf-8", "replace"))
    recordings, error = outcome(gestures._aedat, listed, "train", errors=(ValueError, FileNotFoundError))
    assert error or len(recordings) == 12


@pytest.fixture(scope="module")
def listed(tmp_path_factory):
    return make_tiny_gesture(tmp_path_factory.mktemp("listed"), "aedat", users=(1, 1), num_events=9)


@fuzz
@given(damaged("größe\r\n".encode("utf-16"), "größe\r".encode("utf-8-sig"), b"x\n"))
def test_fuzz_texts(tmp_path, content):
    path = tmp_path / "a.txt"
    path.write_bytes(content)
    text, error = outcome(read_text, path)
    if error:
        assert "save it as UTF-8" in error
        return
    assert "\r" not in text
    assert not text.startswith("\ufeff") or content.count(b"\xef\xbb\xbf") + content.count(b"\xff\xfe") > 1


# --- pickles


CONTENT = {"data": np.arange(2 * 3072, dtype=np.uint8).reshape(2, -1), "labels": [3, 9]}
NAMES = {"label_names": [f"n{i}" for i in range(10)]}
PICKLES = [
    _pickle_2(CONTENT),
    _pickle_2(NAMES),
    *(pickle.dumps(CONTENT | NAMES, protocol) for protocol in (2, 3, 4, 5)),
]
SMALL = [content[:60] + content[-900:] for content in PICKLES]
NAMED = [b"cnumpy\nndarray\n", b"cnumpy\ndtype\n", b"cnumpy.core.multiarray\n_reconstruct\n", b"U\x02u1", b"U\x04data"]
STEPS = [b"K\x05", b"h\x00", b"q\x00", *(bytes([code]) for code in b"}](tRbsuae0.")]
CODES = st.lists(st.one_of(st.binary(min_size=1, max_size=1), st.sampled_from(NAMED + STEPS)), max_size=40).map(
    b"".join
)


@fuzz
@given(st.one_of(damaged(*PICKLES), damaged(*SMALL), CODES, CODES.map(lambda codes: b"\x80\x02}" + codes + b".")))
@example(b"\x80\x02}U\x04datacnumpy\nndarray\n)Rs.")
@example(b"}(U\x01aU\x01bK\x01u.")
def test_fuzz_pickles(tmp_path, content):
    path = tmp_path / "data_batch_1"
    path.write_bytes(content)
    read, error = outcome(read_pickle, path, ("data", "labels", "label_names"))
    assert str(path) in error if error else list(read) == ["data", "labels", "label_names"]
    images, error = outcome(_read_images, _CIFAR10, tmp_path, (path.name,))
    if not error:
        assert images[0].shape == (len(images[1]), 3, 32, 32)
        assert 0 <= images[1].min() <= images[1].max() < 10
    names, error = outcome(_read_names, _CIFAR10, path)
    assert error or [type(name) for name in names] == [str] * 10


# --- files of your own

STRUCTURED = np.zeros(4, [("x", "i2"), ("y", "u1"), ("t", "i8"), ("p", "?")])
OWN_NPY = [saved(np.save, array) for array in (STRUCTURED, STRUCTURED[:0], ROWS)]


@fuzz
@given(damaged(*OWN_NPY))
@example(saved(np.save, STRUCTURED[["x", "y", "t"]]))
@example(saved(np.save, STRUCTURED.astype(object), allow_pickle=True))
def test_fuzz_recordings_of_ones_own(tmp_path, content):
    path = tmp_path / "a.npy"
    path.write_bytes(content)
    dataset = Recordings((path,), (0,), ("a", "b"), (4, 4, 2))
    check_frames(_Recordings("fuzz", dataset, (2, "number"), (4, 4, 2), [0], [path], None), "number")


PICTURE = Image.fromarray(np.random.RandomState(0).randint(0, 256, (12, 9, 3)).astype(np.uint8))
PICTURES = {kind: saved(PICTURE.save, format=kind) for kind in ("PNG", "JPEG", "WEBP", "BMP", "TIFF")}
PICTURES |= {"palette": saved(PICTURE.convert("P").save, format="PNG"), "grey": saved(PICTURE.convert("L").save, "PNG")}


@fuzz
@given(damaged(*PICTURES.values()), st.sampled_from(["png", "tiff"]))
@example(PICTURES["JPEG"], "png")
@example(b"", "png")
def test_fuzz_images(tmp_path, content, ending):
    """The content tells the kind of file, not the ending."""
    path = tmp_path / f"a.{ending}"
    path.write_bytes(content)
    x, error = outcome(image_folder._read, (path,), 8)
    if error:
        assert str(path) in error
    else:
        assert (x.shape, x.dtype) in [((1, channels, 8, 8), np.uint8) for channels in (1, 3)]


TWENTY = {"x": np.arange(320, dtype=np.uint8).reshape(20, 1, 4, 4), "y": np.arange(20) % 2}
OWN_NPZ = [saved(np.savez, **TWENTY), saved(np.savez_compressed, **TWENTY)]
OWN_NPZ += [saved(np.savez, x_train=TWENTY["x"], y_train=TWENTY["y"], x_test=TWENTY["x"], y_test=TWENTY["y"])]


@fuzz
@given(damaged(*OWN_NPZ))
@example(saved(np.savez, x=np.array(1), y=np.array(1)))
@example(saved(np.savez, x=TWENTY["x"], y=np.arange(20).reshape(4, 5)))
@example(saved(np.savez, x=TWENTY["x"].astype("U3"), y=TWENTY["y"]))
@example(saved(np.savez, x_train=TWENTY["x"], y=TWENTY["y"]))
@example(saved(np.savez, **TWENTY, class_names=np.array(["a"])))
def test_fuzz_npz_of_ones_own(tmp_path, content):
    path = tmp_path / "a.npz"
    path.write_bytes(content)
    splits, error = outcome(load_npz, 0, file=path)
    assert error.startswith("npz: ") if error else (splits.num_classes, len(splits.test) % 4) == (2, 0)


# --- archives and stored frames


def tar_of(content):
    stream, info = io.BytesIO(), tarfile.TarInfo("d/a")
    info.size = len(content)
    with tarfile.open(fileobj=stream, mode="w") as tar:
        tar.addfile(info, io.BytesIO(content))
    return stream.getvalue()


CHECKED = b"content" * 30
TAR = tar_of(CHECKED)
ARCHIVES = [TAR, gzip.compress(TAR, mtime=0), bz2.compress(TAR), lzma.compress(TAR)]


@fuzz
@given(damaged(*ARCHIVES))
@example(ARCHIVES[1][:-8] + bytes(8))  # another checksum
@example(ARCHIVES[2][:40] + bytes(8) + ARCHIVES[2][48:])
@example(ARCHIVES[3][:-8] + bytes(8))
def test_fuzz_archives(tmp_path, content):
    archive, folder = tmp_path / "a.tar", tmp_path / "to"
    shutil.rmtree(folder, ignore_errors=True)
    archive.write_bytes(content)
    _, error = outcome(data_files.unpack, archive, folder, {"d/a": hashlib.md5(CHECKED).hexdigest()})
    unpacked = folder / "d" / "a"
    assert not unpacked.exists() if error else unpacked.read_bytes() == CHECKED


@fuzz
@given(st.data())
def test_fuzz_stored_frames(tmp_path, data):
    folder = tmp_path / "m-train-0"
    shutil.rmtree(folder, ignore_errors=True)
    frames = frame_store.Frames(np.arange(16, dtype=np.uint8).reshape(2, 2, 2, 2, 1), np.array([0, 1]), {"empty": 0})
    frame_store._write(folder, frames)
    path = folder / data.draw(st.sampled_from(sorted(one.name for one in folder.iterdir())))
    before = path.read_bytes()
    path.write_bytes(data.draw(damaged(before)))
    read, error = outcome(frame_store._read, folder)
    assert bool(error) == (path.read_bytes() != before)
    assert error or np.array_equal(read.x, frames.x)


# --- arrays


TYPES = st.sampled_from(["i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", ">i4", "?", "M8[s]", "U3"])


@fuzz
@given(st.data(), st.integers(1, 5), st.sampled_from(["number", "time"]))
def test_fuzz_events(data, num_steps, by):
    n = data.draw(st.integers(0, 20))
    columns = {"t": data.draw(hnp.arrays(data.draw(TYPES), n))}
    for name in "xyp":
        odd = data.draw(st.integers(0, 9)) == 0
        elements = None if odd else st.integers(0, 1)
        columns[name] = data.draw(hnp.arrays(data.draw(TYPES) if odd else "i8", n, elements=elements))
    events = np.zeros(n, [(name, values.dtype) for name, values in columns.items()])
    for name, values in columns.items():
        events[name] = values
    frames, error = outcome(frames_from_events, events, sensor_size=(4, 4, 2), num_steps=num_steps, by=by)
    if error:
        return
    assert frames.shape == (num_steps, 2, 4, 4)
    times = np.sort(microseconds(columns["t"]))
    assert int(frames.sum()) == n - num_dropped(times, num_steps, by)
    assert frames.any() == (n > 0)
    assert times.dtype == np.int64


TEXTS = st.lists(st.text(max_size=2), max_size=3)


def make_splits(x, y):
    return Splits.from_tensors(name="m", train=(x, y), test=(x, y))


@fuzz
@given(st.data())
def test_fuzz_samples_and_labels(data):
    shape = data.draw(st.lists(st.integers(0, 7), min_size=0, max_size=5))
    x = data.draw(st.one_of(hnp.arrays(data.draw(TYPES), shape), st.none(), TEXTS))
    y = data.draw(
        st.one_of(hnp.arrays(data.draw(TYPES), shape[:1]), st.lists(st.integers(0, 2), max_size=7), st.none())
    )
    split, error = outcome(Split, x, y)
    if error:
        return
    assert np.array_equal(split.x.numpy(), np.asarray(x))
    assert np.array_equal(split.y.numpy(), np.asarray(y))
    assert split.x.ndim in (4, 5)
    splits, error = outcome(make_splits, x, y)
    assert error.startswith("m: ") if error else splits.num_classes == len(set(np.asarray(y).tolist())) >= 2
