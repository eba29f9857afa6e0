"""Kills, full disks, races, flipped bits and hostile files where data are read and frames are kept."""

import errno
import os
import pickle
import resource
import shutil
import signal
import struct
import sys
import traceback
from functools import partial

import numpy as np
import pytest
from standins import _pickle_2, make_tiny_cifar

from lightsnn_kit.data import event_sets, event_splits, load
from lightsnn_kit.data.event_sets import _Recordings
from lightsnn_kit.data.frame_store import Frames, kept

pytestmark = [pytest.mark.fault, pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")]
EVENT = np.dtype([("x", "i2"), ("y", "i2"), ("t", "i8"), ("p", "?")])


def in_child(work, *, seconds=60):
    """What became of a function in a process of its own: its exit status, negative for a signal."""
    child = os.fork()
    if not child:
        signal.alarm(seconds)
        try:
            os._exit(work() or 0)
        except BaseException:
            traceback.print_exc()
            os._exit(70)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def frames(seed=0):
    x = np.random.RandomState(seed).randint(0, 9, (20, 4, 2, 8, 8)).astype(np.uint8)
    return Frames(x, np.arange(20) % 2, {"empty": 0, "events": 7})


def same(found):
    return np.array_equal(found.x, frames().x) and np.array_equal(found.y, frames().y) and found.about == frames().about


class OnDisk:
    """Recordings in files, for which frames are kept."""

    sensor_size = (8, 8, 2)

    def __init__(self, folder):
        folder.mkdir(exist_ok=True)
        self.data = [folder / f"{i:02d}.npy" for i in range(20)]
        for i, path in enumerate(self.data):
            rng, events = np.random.RandomState(i), np.zeros(50, EVENT)
            events["t"], events["x"], events["y"] = np.arange(50) * 99, rng.randint(0, 8, 50), rng.randint(0, 8, 50)
            np.save(path, events)

    def __len__(self):
        return 20

    def __getitem__(self, index):
        return np.load(self.data[index]), index % 2


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LIGHTSNN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "frames"


@pytest.fixture
def read(tmp_path):
    dataset = OnDisk(tmp_path / "data")
    return lambda: event_splits(name="m", train=dataset, test=dataset, num_steps=4)


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


# --- flipped bits


def test_a_flipped_bit_is_never_accepted(tmp_path):
    """200 places over all four files of stored frames: each is told, and the frames are made anew, the same."""
    folder = tmp_path / "m-train-0"
    kept(folder, frames, [])
    whole, rng = contents(folder), np.random.RandomState(0)
    assert sorted(map(str, whole)) == ["SHA256SUMS", "about.json", "x.npy", "y.npy"]
    for count in range(200):
        name = sorted(whole)[count % 4]
        content = bytearray(whole[name])
        content[rng.randint(len(content))] ^= 1 << rng.randint(8)
        (folder / name).write_bytes(content)
        troubles = []
        assert same(kept(folder, frames, troubles))
        assert [str(folder) in said and "made anew" in said for said in troubles] == [True]
        assert contents(folder) == whole


DAMAGES = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"\n"),
    "empty": lambda path: path.write_bytes(b""),
    "missing": lambda path: path.unlink(),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("name", ["SHA256SUMS", "about.json", "x.npy", "y.npy"])
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damaged_frames_are_made_anew(tmp_path, damage, name):
    folder, troubles = tmp_path / "m-train-0", []
    kept(folder, frames, [])
    damage(folder / name)
    assert same(kept(folder, frames, troubles))
    assert len(troubles) == 1
    assert same(kept(folder, lambda: pytest.fail("made again"), troubles))


def test_frames_of_another_set_under_this_name_are_made_anew(tmp_path):
    folder, troubles = tmp_path / "m-train-0", []
    kept(tmp_path / "m-train-1", lambda: frames(seed=1), [])
    (tmp_path / "m-train-1").rename(folder)  # its own checksums are right
    assert same(kept(folder, frames, troubles))
    assert "those of another folder" in troubles[0]


# --- kills


def lines_of(work, last=None):
    """Run ``work`` and count its lines of Python; the process ends at line ``last``, as if it were killed."""
    count = 0

    def trace(frame, event, argument):
        nonlocal count
        count += event == "line"
        if count == last:
            os._exit(99)
        return trace

    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(None)
    return count


def test_killed_writers_leave_nothing_that_is_accepted(tmp_path):
    """80 writers, each killed at another line between its first and its last: the next one finds no part of a set."""
    kept(tmp_path / "first" / "m", frames, [])  # what is done once in a process is not counted
    total, survived, statuses = lines_of(partial(kept, tmp_path / "whole" / "m", frames, [])), 0, []
    for number, last in enumerate(np.linspace(1, total, 80).astype(int).tolist()):
        folder, troubles = tmp_path / str(number) / "m", []
        statuses.append(in_child(partial(lines_of, partial(kept, folder, frames, []), last)))
        survived += folder.is_dir()
        assert same(kept(folder, frames, troubles))
        assert troubles == []
        assert same(kept(folder, lambda: pytest.fail("made again"), troubles))
    assert statuses.count(99) >= 70
    assert 0 < survived < 70  # some were killed after the last step


def test_what_killed_writers_leave_is_removed(tmp_path):
    kept(tmp_path / "first" / "m", frames, [])
    total = lines_of(partial(kept, tmp_path / "whole" / "m", frames, []))
    for last in np.linspace(total // 3, total - 9, 20).astype(int).tolist():
        assert in_child(partial(lines_of, partial(kept, tmp_path / "all" / f"m-{last}", frames, []), last)) == 99
    kept(tmp_path / "all" / "m", frames, [])
    assert [path.name for path in (tmp_path / "all").iterdir() if path.name.startswith(".")] == []


def test_a_killed_load_is_done_again(tmp_path, cache, read):
    """60 kills from the first recording of a data set on; then it is read as if nothing had been."""
    part = _Recordings.of("m-train", OnDisk(tmp_path / "data"), (4, "number"), [])
    wanted = event_sets._frames(part, []).x.copy()
    shutil.rmtree(cache)
    total = lines_of(lambda: event_sets._frames(part, []))
    for last in np.linspace(total // 60, total - 9, 60).astype(int).tolist():
        shutil.rmtree(cache, ignore_errors=True)
        assert in_child(partial(lines_of, lambda: event_sets._frames(part, []), last)) == 99
        troubles = []
        assert np.array_equal(event_sets._frames(part, troubles).x, wanted)
        assert troubles == []
    assert np.array_equal(read().test.x, wanted)


# --- two writers


def test_writers_that_race_all_get_their_frames(tmp_path):
    for number in range(60):
        folder, gate = tmp_path / str(number) / "m", os.pipe()

        def work(folder=folder, gate=gate):
            os.read(gate[0], 1)  # all start at once
            troubles = []
            return 0 if same(kept(folder, frames, troubles)) and not troubles else 1

        children = []
        for _ in range(3):
            child = os.fork()
            if not child:
                status = 70
                try:
                    signal.alarm(60)
                    status = work()
                finally:
                    os._exit(status)
            children.append(child)
        os.write(gate[1], b"goo")
        assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0, 0]
        os.close(gate[0])
        os.close(gate[1])
        assert same(kept(folder, lambda: pytest.fail("made again"), []))


# --- nowhere to write


def told(read, match):
    with pytest.warns(UserWarning, match=match) as found:
        splits = read()
    assert len(found) == 1
    assert len(splits.train) == 16
    return splits


def test_a_cache_that_cannot_be_written_is_told_once(cache, read, monkeypatch):
    wanted = read()
    cache.parent.rename(cache.parent.with_name("moved"))
    cache.parent.write_text("a file")
    reads, getitem = [], OnDisk.__getitem__
    monkeypatch.setattr(OnDisk, "__getitem__", lambda self, index: reads.append(index) or getitem(self, index))
    match = r"^m: cannot write to the folder .*/cache/frames: Not a directory.* frames stay in memory .*LIGHTSNN_CACHE"
    splits = told(read, match)
    assert len(reads) == 40  # once each
    assert splits.train.x.equal(wanted.train.x)
    assert (splits.source, cache.parent.read_text()) == (wanted.source, "a file")


def test_somebody_without_a_home_is_told_once(read, monkeypatch):
    monkeypatch.delenv("LIGHTSNN_CACHE", raising=False)
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: "~nobody-of-this-name/.cache")
    told(read, r"^m: expected a path .*home.* frames stay in memory")


@pytest.mark.parametrize("step", ["x.npy", "y.npy", "about.json", "SHA256SUMS", "rename"])
def test_a_full_disk_is_told_once_and_leaves_nothing(cache, read, monkeypatch, step):
    wanted = read()
    for path in cache.iterdir():
        shutil.rmtree(path)

    def full(*args, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def unless(do, name_of):
        return lambda *args, **options: full() if name_of(*args) == step else do(*args, **options)

    monkeypatch.setattr(np, "save", unless(np.save, lambda path, x: os.path.basename(path)))
    path_class = type(cache)
    monkeypatch.setattr(path_class, "write_text", unless(path_class.write_text, lambda path, *_: path.name))
    monkeypatch.setattr(os, "replace", unless(os.replace, lambda *args: "rename"))
    splits = told(read, r"^m: cannot store frames in .* \(.*No space left on device.*\): frames stay in memory")
    assert splits.test.x.equal(wanted.test.x)
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("limit", [0, 60, 128, 129, 300, 700, 10_000])
def test_files_that_may_not_grow(tmp_path, limit):
    """The operating system's own limit on the size of a file, at each of the files of a set."""
    folder = tmp_path / "m"

    def work():
        troubles = []
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        found = kept(folder, frames, troubles)
        told = len(troubles) == 1 and troubles[0].startswith("cannot ") and "stay in memory" in troubles[0]
        return 0 if same(found) and told and not list(tmp_path.iterdir()) else 1

    assert in_child(work) == 0
    assert list(tmp_path.iterdir()) == []


def test_no_file_descriptors_left(tmp_path):
    folder = tmp_path / "m"
    kept(folder, frames, [])

    def work():
        used = len(os.listdir("/proc/self/fd")) - 1
        highest = max(map(int, os.listdir("/proc/self/fd")[:-1]))
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest, highest))
        opened = []
        while len(opened) < 500 + used:
            try:
                opened.append(os.open("/dev/null", os.O_RDONLY))
            except OSError:
                break
        troubles = []
        return 0 if same(kept(folder, frames, troubles)) and "stay in memory" in troubles[0] else 1

    assert in_child(work) == 0
    assert same(kept(folder, lambda: pytest.fail("stored frames were removed"), []))


# --- hostile pickles


NDARRAY, DTYPE, RECONSTRUCT = b"cnumpy\nndarray\n", b"cnumpy\ndtype\n", b"cnumpy.core.multiarray\n_reconstruct\n"
U1 = DTYPE + b"(U\x02u1K\x00K\x01tR(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"


def array(shape, dtype, data):
    """The instructions for an array: its shape, its type, its bytes."""
    return RECONSTRUCT + b"(" + NDARRAY + b"K\x00\x85U\x01btR(K\x01" + shape + dtype + b"\x89" + data + b"tb"


def text(data):
    return b"T" + struct.pack("<i", len(data)) + data


TWO = text(b"x" * 6144)  # the bytes of two images


def as_data(value):
    return b"\x80\x02}U\x04data" + value + b"sU\x06labels](" + b"K\x01" * 2 + b"es."


def as_labels(value):
    return b"\x80\x02}U\x04data" + array(b"K\x02M\x00\x0c\x86", U1, TWO) + b"sU\x06labels" + value + b"s."


EURO = b"X" + struct.pack("<I", 6144) + "€".encode() * 2048
RECORD = DTYPE + b"(U\x03V16K\x00K\x01tR(K\x03U\x01|NU\x01a}K\x10K\x01tb"
BUFFER = b"cnumpy._core.numeric\n_frombuffer\n"
BIG = 1_000_000
MANY = b"q\x01" + b"h\x01" * 200_000 + b"e"  # the last thing, again and again
DOUBLE = b"".join(b"]q" + bytes([i + 1]) + b"(" + (b"h" + bytes([i])) * 9 + b"e" for i in range(60))
TEXT = b"X" + struct.pack("<I", BIG) + b"x" * BIG
HOSTILE = {
    "shape of gigabytes": as_data(array(b"J\x00\x00\x00\x40M\x00\x0c\x86", U1, TWO)),
    "shape that wraps": as_data(array(b"\x8a\x09" + b"\xff" * 8 + b"\x00K\x02\x86", U1, TWO)),
    "negative shape": as_data(array(b"J\xff\xff\xff\xffJ\x00\xf4\xff\xff\x86", U1, text(b"x" * 3072))),
    "shape of texts": as_data(array(b"U\x01aU\x01b\x86", U1, TWO)),
    "shape of no end": as_data(array(b"(" + b"K\x01" * 100_000 + b"t", U1, text(b"x"))),
    "shape that is a list": as_data(array(b"](K\x02M\x00\x0ce", U1, TWO)),
    "objects at any address": as_data(array(b"K\x02\x85", U1.replace(b"u1", b"O8"), text(b"\x41" * 16))),
    "records of objects": as_data(array(b"K\x02\x85", RECORD, text(b"x" * 32))),
    "type of a type": as_data(array(b"K\x02\x85", DTYPE + b"(" + U1 + b"tR", text(b"x" * 2))),
    "type without arguments": as_data(array(b"K\x02\x85", DTYPE + b")R", text(b"x" * 2))),
    "state of one thing": as_data(RECONSTRUCT + b"(" + NDARRAY + b"K\x00\x85U\x01btRK\x01b"),
    "no state": as_data(RECONSTRUCT + b"(" + NDARRAY + b"K\x00\x85U\x01btR"),
    "an array made directly": as_data(NDARRAY + b"J\x00\x00\x00\x40J\x00\x00\x00\x40\x86\x85R"),
    "a buffer of nothing": as_data(BUFFER + b"(NNNNtR"),
    "a buffer of another length": as_data(BUFFER + b"(U\x01x" + U1 + b"M\x00\x0cM\x00\x0c\x86U\x01CtR"),
    "state of a name": as_data(NDARRAY + b"(K\x01tb"),
    "state of a dictionary": as_data(b"}(K\x01tb"),
    "a call of a text": as_data(b"U\x01a)R"),
    "a call with a list": as_data(NDARRAY + b"]R"),
    "bytearray of a terabyte": as_data(b"\x96" + struct.pack("<Q", 2**40)),
    "bytes of exabytes": as_data(b"\x8e" + struct.pack("<Q", 2**62)),
    "bytes over the end": as_data(b"B" + struct.pack("<I", 2**32 - 1)),
    "text of 2 GB": as_data(b"T" + struct.pack("<i", 2**31 - 1)),
    "text of negative length": as_data(b"T" + struct.pack("<i", -5)),
    "long text": as_data(b"X" + struct.pack("<I", 2**32 - 1)),
    "longer text": as_data(b"\x8d" + struct.pack("<Q", 2**63)),
    "frame of exabytes": b"\x80\x04\x95" + struct.pack("<Q", 2**62) + b"}.",
    "frame over the end": b"\x80\x04\x95" + struct.pack("<Q", 2**40) + b"}.",
    "integer of gigabytes": as_data(b"\x8b" + struct.pack("<i", 2**31 - 1)),
    "integer of a million digits": as_data(b"I" + b"9" * BIG + b"\n"),
    "long of a million digits": as_data(b"L" + b"9" * BIG + b"L\n"),
    "memo far away": as_data(b"Nr\xff\xff\xff\xff0"),
    "memo further away": as_data(b"Np999999999999999999\n0"),
    "memo never made": as_data(b"h\x05"),
    "lists without end": b"\x80\x02" + b"]" * 5_000_000 + b".",
    "marks without end": b"\x80\x02" + b"(" * 5_000_000 + b".",
    "memos without end": b"\x80\x04N" + b"\x94" * 5_000_000 + b".",
    "tuples in tuples": as_labels(b"]N" + b"\x85" * 900_000 + b"a"),
    "tuples in tuples as data": as_data(b"N" + b"\x85" * 900_000),
    "tuples in tuples as a key": b"\x80\x02}N" + b"\x85" * 900_000 + b"Ns.",
    "tuples in tuples in a set": b"\x80\x04\x8f(N" + b"\x85" * 900_000 + b"\x90.",
    "calls in calls": as_data(DTYPE + b"N\x85R" + (b"\x85q\x010" + DTYPE + b"h\x01R") * 90_000),
    "lists in lists": as_labels(b"]" * 2 + b"]" * 300_000 + b"a" * 300_000 + b"a"),
    "a list in itself": as_labels(b"]q\x01h\x01a"),
    "lists that double": as_labels(b"]q\x00" + DOUBLE),
    "a long text as each label": as_labels(b"](" + TEXT + MANY),
    "a long text in bytes as each label": as_labels(
        b"](c_codecs\nencode\n(" + TEXT + b"U\x06latin1tRq\x01" + b"h\x01" * 200_000 + b"e"
    ),
    "a long text as each scalar": as_labels(
        b"](cnumpy.core.multiarray\nscalar\n(" + U1 + TEXT + b"tRq\x01" + b"h\x01" * 200_000 + b"e"
    ),
    "an array as each label": as_labels(b"](" + array(b"M\x00\x0c\x85", U1, text(b"x" * 3072)) + MANY),
    "a text for bytes that is none": as_data(array(b"K\x01M\x00\x0c\x86", U1, EURO)),
    "odd items": b"\x80\x02}(U\x01aNU\x01bu.",
    "items of a list": b"\x80\x02](U\x01aNu.",
    "an append to nothing": b"\x80\x02NNa.",
    "a stop of nothing": b"\x80\x02.",
    "no stop": b"\x80\x02}",
    "a protocol to come": b"\x80\xff}.",
    "another name": as_data(b"cos\nsystem\n(U\x07touch xtR"),
    "a name by texts": as_data(b"\x8c\x02os\x8c\x06system\x93(U\x07touch xtR"),
    "a name by numbers": as_data(b"K\x01K\x02\x93"),
    "numpy's loader": as_data(b"cnumpy\nload\n(U\x01xtR"),
    "a dotted name": as_data(b"\x8c\x05numpy\x8c\x0edtype.__init__\x93)R"),
    "an instance": as_data(b"(ios\nsystem\n"),
    "an object": as_data(b"(" + NDARRAY + b"K\x01o"),
    "a new object": as_data(NDARRAY + b"K\x01\x85\x81"),
    "a new object by names": as_data(NDARRAY + b"K\x01\x85}\x92"),
    "an extension": as_data(b"\x82\x01"),
    "a persistent name": as_data(b"Pa\n"),
    "a persistent number": as_data(b"K\x01Q"),
    "a buffer from outside": as_data(b"\x97\x98"),
    "dup and pop": as_data(b"N20"),
    "dictionary by marks": b"(U\x04dataNd.",
    "labels without end": as_labels(b"](" + b"K\x01" * 900_000 + b"e"),
    "labels that are texts": as_labels(text(b"x" * BIG)),
    "labels of huge numbers": as_labels(b"](" + (b"\x8a\xff" + b"\x7f" * 255) * 2 + b"e"),
    "labels that are booleans": as_labels(b"](\x88\x88e"),
    "labels that are floats": as_labels(b"](G" + struct.pack(">d", 1.0) + b"NNe"),
    "data that is a list": as_data(b"](K\x01K\x02e"),
    "nothing of the kind": b"\x93NUMPY" * 99,
    "not even that": b"",
}


@pytest.fixture(scope="module")
def cifar(tmp_path_factory):
    return make_tiny_cifar(tmp_path_factory.mktemp("cifar"))


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pickles_are_refused_quickly_and_in_small_memory(cifar, name, monkeypatch, capfd):
    (cifar / "data_batch_1").write_bytes(HOSTILE[name])

    def work():
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        try:
            load("cifar10", folder=cifar, check=False)
        except ValueError as error:
            print(str(error)[:800])
            more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
            return 0 if str(cifar / "data_batch_1") in str(error) and len(str(error)) < 800 and more < 400 else 1

    assert in_child(work, seconds=20) == 0, capfd.readouterr()
    assert not os.path.exists("x")


def test_every_one_of_them_differs_from_what_is_read(cifar):
    """The frame around the hostile parts is right: with an array and labels in it a file is read."""
    good = as_labels(b"](K\x01K\x02e")
    assert good == as_data(array(b"K\x02M\x00\x0c\x86", U1, TWO)).replace(b"K\x01K\x01es", b"K\x01K\x02es")
    (cifar / "data_batch_1").write_bytes(good)
    assert len(load("cifar10", folder=cifar, check=False).train) + 2 > 60
    assert good not in HOSTILE.values()
    assert pickle.loads(_pickle_2({"a": 1})) == {"a": 1}
