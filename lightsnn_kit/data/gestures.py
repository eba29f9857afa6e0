"""DVS128-Gesture from the layouts in which it is found: tonic's, the authors' recordings, and spikingjelly's cut ones.

The authors' AEDAT 3.1 recordings hold all gestures of a user in one light; a table gives each gesture's class (1..11)
and time. tonic's version is cut already, in milliseconds, and has fewer samples. Labels here are class - 1, from
the files, never from a folder's place in the alphabet (where "10" comes before "2").
"""

from __future__ import annotations

import os
import re
import struct
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from ..files import read_text
from .event_sets import event_splits
from .events import EventsError, read_columns, structured
from .files import is_stand_in, set_folder, visible
from .splits import Splits

CLASSES = (
    "Hand clapping",
    "Right hand wave",
    "Left hand wave",
    "Right arm clockwise",
    "Right arm counter-clockwise",
    "Left arm clockwise",
    "Left arm counter-clockwise",
    "Arm roll",
    "Air drums",
    "Air guitar",
    "Other gestures",
)
SENSOR = (128, 128, 2)
_PUBLISHED = {"tonic": (1077, 264), "aedat": (1176, 288), "spikingjelly": (1176, 288)}  # recordings in train, test
_TONIC_MD5 = {"Train": "3a8f0d4120a166bac7591f77409cb105", "Test": "56070e45dadaa85fff82e0fbfbc06de5"}


def load_gestures(
    seed: int,
    *,
    folder: str | Path | None = None,
    num_steps: int = 16,
    by: str = "number",
    layout: str | None = None,
) -> Splits:
    """DVS128-Gesture as frames [n, T, 2, 128, 128], by equal numbers of events or by time (see ``event_splits``).

    ``folder`` (default: ``dvs128-gesture`` in ``data_folder()``) holds one of the layouts ``tonic``
    (``DVSGesture/ibmGestureTrain/user*/*.npy``), ``aedat`` (``DvsGesture/*.aedat``) or ``spikingjelly``
    (``events_np/train/*/*.npz``); ``layout`` chooses where there are several. ``Splits.source`` says which was read.
    Hidden files and folders are left out in each.
    """
    root = set_folder("dvs128-gesture", folder)
    layout, place = _find(root, layout)
    train, test = (_READERS[layout](place, part) for part in ("train", "test"))
    try:
        splits = event_splits(name="dvs128-gesture", train=train, test=test, num_steps=num_steps, by=by, seed=seed)
    finally:
        _read_aedat.cache_clear()  # a recording can have 100 MB
    sizes = (len(train), len(test))
    other = "" if sizes == _PUBLISHED[layout] else f", not the published {' + '.join(map(str, _PUBLISHED[layout]))}"
    source = f"layout {layout}{other}; {splits.source}"
    return replace(splits, source=source, stand_in=bool(other) or splits.stand_in or is_stand_in(place))


def _find(root: Path, layout: str | None) -> tuple[str, Path]:
    """The layout and its folder below ``root``, by what the folders hold (some systems ignore their case)."""
    if layout is not None and layout not in _PUBLISHED:
        raise ValueError(f"layout must be one of {', '.join(_PUBLISHED)}, got {layout!r}.")
    found = {}
    for place in (root, root / "DVSGesture"):
        if (place / "ibmGestureTrain").is_dir() or (place / "ibmGestureTest").is_dir():
            found["tonic"] = place
    for place in (root, root / "extract" / "DvsGesture", root / "DvsGesture"):
        if (place / "trials_to_train.txt").is_file():
            found["aedat"] = place
    if (root / "events_np").is_dir():
        found["spikingjelly"] = root / "events_np"
    if layout is None and len(found) == 2 and "tonic" not in found:
        found.pop("aedat")  # spikingjelly's were cut from these: the same samples
    if layout is None and len(found) > 1:
        raise ValueError(f"{root} holds several layouts: {', '.join(found)}; their samples differ, so pass layout=.")
    if found and layout in (None, *found):
        return layout or next(iter(found)), found[layout or next(iter(found))]
    raise FileNotFoundError(_missing(root, layout))


def _missing(root: Path, layout: str | None) -> str:
    return (
        f"dvs128-gesture: nothing in the layout {layout or ' or '.join(_PUBLISHED)} in {root}. Looked for "
        f"DVSGesture/ibmGestureTrain, DvsGesture/trials_to_train.txt and events_np. Get either tonic's version, "
        f"ibmGestureTrain.tar.gz (md5 {_TONIC_MD5['Train']}) and ibmGestureTest.tar.gz (md5 {_TONIC_MD5['Test']}), "
        f"from https://figshare.com/ndownloader/files/38022171 and .../38020584 (where that is blocked: "
        f"https://api.figshare.com/v2/file/download/38022171 and .../38020584), and unpack both in "
        f"{root / 'DVSGesture'}; or the authors' DvsGesture.tar.gz (md5 8a5c71fb11e24e5ca5b11866ca6c00a1) from "
        f"https://ibm.ent.box.com/s/3hiq58ww1pbbjrinh367ykfdf60xsfm8, and unpack it in {root}."
    )


# --- recordings of each layout


@dataclass(frozen=True)
class Recordings:
    """Gestures as tonic's data sets give them: ``[i]`` is (events, label)."""

    data: tuple[Path, ...]
    targets: tuple[int, ...]
    users: tuple[int, ...]
    spans: tuple[tuple[int, int], ...] = ()  # of time in microseconds, end excluded; of AEDAT files

    sensor_size = SENSOR
    classes = CLASSES

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        path, label = self.data[index], self.targets[index]
        if not self.spans:
            return {".npy": _read_npy, ".npz": read_columns}[path.suffix](path), label
        events = _read_aedat(path, path.stat().st_mtime_ns)
        start, end = self.spans[index]
        return events[(events["t"] >= start) & (events["t"] < end)], label


def _tonic(place: Path, part: str) -> Recordings:
    folder = place / f"ibmGesture{part.capitalize()}"
    paths, labels = visible(folder, ".npy"), []
    for path in paths:
        match = re.fullmatch(r"user\d+_[^/]+/(\d{1,9})\.npy", path.relative_to(folder).as_posix())
        if not match or int(match[1]) >= len(CLASSES):
            raise ValueError(f"{path} should be named userNN_LIGHT/LABEL.npy with a label 0..10; rename or remove it.")
        labels.append(int(match[1]))
    if not paths:
        name = f"{folder.name}.tar.gz (md5 {_TONIC_MD5[part.capitalize()]})"
        raise FileNotFoundError(f"no files in {folder}; get {name} from figshare and unpack it in {place}.")
    return Recordings(tuple(paths), tuple(labels), tuple(_user(path.parent) for path in paths))


def _spikingjelly(place: Path, part: str) -> Recordings:
    if (marker := place.with_name(f"{place.name}.building")).exists():
        raise ValueError(f"{marker} says that spikingjelly did not finish cutting the recordings; let it do so first.")
    paths, labels = [*visible(place / part, ".npz"), *visible(place / part, ".npy")], []
    for path in paths:
        name = path.relative_to(place / part).parts[0]
        if not re.fullmatch(r"\d{1,9}", name) or int(name) >= len(CLASSES) or path.suffix != ".npz":
            raise ValueError(f"{path} should be an .npz file in a folder 0..10, its label; move or remove it.")
        labels.append(int(name))
    if not paths:
        raise FileNotFoundError(f"no files {place / part}/LABEL/*.npz.")
    return Recordings(tuple(paths), tuple(labels), tuple(map(_user, paths)))


def _aedat(place: Path, part: str) -> Recordings:
    listed = place / f"trials_to_{part}.txt"
    if not listed.is_file():
        raise FileNotFoundError(f"no {listed}, which names the recordings for {part}.")
    names = [name for line in read_text(listed).split("\n") if (name := line.strip(' \t;,"'))]
    names = [name for name in names if not Path(name).name.startswith(".")]
    if doubled := next((name for name in names if names.count(name) > 1), None):
        raise ValueError(f"{listed} names {doubled} twice; remove one of the lines, else it counts twice.")
    rows = []  # path, label, start, end
    for path in (place / name for name in names):
        if not os.path.isfile(path):  # False for names that no file can have, too
            raise FileNotFoundError(f"no {str(path)[:300]}, which {listed.name} names; unpack DvsGesture.tar.gz again.")
        rows += [(path, *row) for row in _read_table(path.with_name(f"{path.stem}_labels.csv"))]
    if not rows:
        raise ValueError(f"{listed} names no recordings with gestures.")
    paths, labels, starts, ends = zip(*rows, strict=True)
    return Recordings(paths, labels, tuple(map(_user, paths)), tuple(zip(starts, ends, strict=True)))


_READERS = {"tonic": _tonic, "aedat": _aedat, "spikingjelly": _spikingjelly}


def _user(path: Path) -> int:
    if not (match := re.match(r"user(\d{1,9})_", path.name)):
        raise ValueError(f"{path} should be named userNN_...; rename it, its number tells users apart.")
    return int(match[1])


def _read_table(path: Path) -> list[tuple[int, int, int]]:
    """Label (class - 1), start and end in microseconds of each gesture of a recording; names of columns may lack."""
    if not os.path.isfile(path):
        raise FileNotFoundError(f"no {path}, the classes and times of a recording; unpack DvsGesture.tar.gz again.")
    rows = []
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        fields = [field.strip(' "') for field in re.split("[,;\t]", line)]
        if not any(fields) or (number == 1 and not any(re.search(r"^\s*[-+]?\d", field) for field in fields)):
            continue  # an empty line; the names of the columns
        values = [int(field) for field in fields if re.fullmatch(r"[0-9]{1,18}", field)]
        if len(values) != 3 or len(fields) != 3 or not (1 <= values[0] <= len(CLASSES) and values[1] < values[2]):
            raise ValueError(
                f"{path}, line {number}: {line[:80]!r} should be CLASS,START,END with a class 1..11, START < END."
            )
        rows.append((values[0] - 1, values[1], values[2]))
    return rows


def _read_npy(path: Path) -> np.ndarray:
    """Rows of x, y, p and the time in milliseconds, of which tonic keeps whole microseconds."""
    rows = np.load(path)
    if rows.ndim != 2 or rows.shape[1] != 4 or rows.dtype.kind not in "iuf":
        raise EventsError(f"the array must be [events, 4] numbers (x, y, p, t in ms), got {rows.dtype} {rows.shape}.")
    with np.errstate(over="ignore"):  # infinite: refused below
        t = (
            rows[:, 3] * 1000.0 if rows.dtype.kind == "f" else rows[:, 3].astype(np.float64) * 1000
        )  # small integers wrap
    if not (np.isfinite(t) & (abs(t.astype(np.float64)) < 2**53)).all():
        raise EventsError("t has values that are no times in milliseconds.")
    return structured(rows[:, 0], rows[:, 1], rows[:, 2], np.trunc(t))


@lru_cache(maxsize=1)
def _read_aedat(path: Path, changed: int) -> np.ndarray:
    """The valid polarity events of an AEDAT 3.1 file; ``changed`` is its time of change, for the cache.

    After a header of text lines come packets: type, source, size of an event, offset of its time, overflows of the
    31-bit time, capacity, number and number of valid ones, then the events: x, y, polarity and validity in the bits
    17.., 2.., 1 and 0 of one word, the time in microseconds in the next, little-endian.
    """
    content, mark = path.read_bytes(), b"#!END-HEADER\r\n"
    at = content.find(mark) + len(mark)
    if not content.startswith(b"#!AER-DAT3.1") or at < len(mark):
        raise ValueError("this is no AEDAT 3.1 file: its header must begin with #!AER-DAT3.1, end with #!END-HEADER.")
    words = []
    while at < len(content):
        if at + 28 > len(content):
            raise ValueError(f"the file ends within the head of a packet, at byte {at} of {len(content)}.")
        kind, _, size, _, overflow, capacity, number, _ = struct.unpack_from("<HHIIIIII", content, at)
        at += 28
        if at + size * capacity > len(content) or number > capacity or (kind == 1 and size != 8):
            raise ValueError(
                f"the packet at byte {at - 28} of {len(content)} tells of {number} of {capacity} events of {size} "
                f"bytes, which do not fit the file: it is cut off or damaged."
            )
        if kind == 1:  # others are not polarity events
            packet = np.frombuffer(content, "<u4", 2 * number, at).reshape(-1, 2)
            packet = packet[packet[:, 0] & 1 == 1].astype(np.int64)
            words.append(np.stack([packet[:, 0], packet[:, 1] | overflow << 31]))
        at += size * capacity
    data, t = np.concatenate(words, axis=1) if words else np.zeros((2, 0), np.int64)
    return structured(data >> 17, data >> 2 & 0x7FFF, data >> 1 & 1, t)
