"""Tiny made-up samples in the real formats of data sets, to exercise every byte of their readers without the data.

Each folder is marked by a file, from which ``Splits.stand_in`` follows: nothing measured on it is a result. Classes
differ (gratings, circling dots, digits that move), so that a training can be seen to learn.
"""

from __future__ import annotations

import io
import pickle
import struct
import types
from pathlib import Path

import numpy as np

from lightsnn_kit.data.files import STAND_IN

_CIFAR10_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def mark(folder: Path) -> None:
    """Leave the file that says what a folder holds."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / STAND_IN).write_text(
        "Made-up samples in the format of a real data set: synthetic stand-in, not a result.\n"
    )


def make_tiny_cifar(folder: str | Path, kind: str = "cifar10", *, seed: int = 0, per_class: int = 10) -> Path:
    """Write ``cifar-10-batches-py`` or ``cifar-100-python`` into ``folder`` and return that path.

    ``per_class`` images of each class in train (a multiple of 5), a fifth of that in test (at least 1): coloured
    gratings whose direction and colour tell the class. The bytes are those of the published files' kind (pickles of
    Python 2). ``FileExistsError`` if there is something already.
    """
    if kind not in ("cifar10", "cifar100") or per_class < 5 or per_class % 5:
        raise ValueError(f"kind must be cifar10 or cifar100, per_class a multiple of 5; got {kind!r}, {per_class!r}.")
    few, rng = kind == "cifar10", np.random.RandomState(seed)
    root = Path(folder) / ("cifar-10-batches-py" if few else "cifar-100-python")
    root.mkdir(parents=True)
    mark(root)
    num_classes = 10 if few else 100
    files = {f"data_batch_{i}" if few else "train": per_class // (5 if few else 1) for i in range(1, 6 if few else 2)}
    files["test_batch" if few else "test"] = max(1, per_class // 5)
    for name, count in files.items():
        y = rng.permutation(np.repeat(np.arange(num_classes), count))
        content = {
            "batch_label": name,
            "data": _gratings(y, num_classes, rng),
            "labels" if few else "fine_labels": y.tolist(),
        }
        if not few:
            content["coarse_labels"] = (y // 5).tolist()
        content["filenames"] = [f"made_up_{number:06d}.png" for number in range(len(y))]
        (root / name).write_bytes(_pickle_2(content))
    if few:
        meta = {"num_cases_per_batch": 10 * files["data_batch_1"], "label_names": list(_CIFAR10_NAMES), "num_vis": 3072}
    else:
        meta = {
            "fine_label_names": [f"fine{i}" for i in range(100)],
            "coarse_label_names": [f"coarse{i}" for i in range(20)],
        }
    (root / ("batches.meta" if few else "meta")).write_bytes(_pickle_2(meta))
    return root


def _gratings(y: np.ndarray, num_classes: int, rng: np.random.RandomState) -> np.ndarray:
    """Images uint8 [n, 3072]: waves of a class's direction in a class's colour, of random phase, under noise."""
    angle = np.pi * (y % 10) / 10
    rows, columns = np.mgrid[:32, :32]
    phase = rng.uniform(0, 2 * np.pi, len(y))[:, None, None]
    across = np.cos(angle)[:, None, None] * columns + np.sin(angle)[:, None, None] * rows
    wave = np.sin(0.6 * across + phase)[:, None]  # [n, 1, 32, 32]
    hue = 2 * np.pi * y[:, None] / num_classes + np.array([0, 2, 4]) * np.pi / 3
    x = 128 + 45 * wave + 45 * np.cos(hue)[:, :, None, None] + rng.normal(0, 12, (len(y), 3, 32, 32))
    return x.clip(0, 255).astype(np.uint8).reshape(len(y), -1)


class _Python2(pickle._Pickler):
    """A pickler that writes as Python 2 did: all texts and bytes as byte strings, NumPy under its old name."""

    dispatch = dict(pickle._Pickler.dispatch)  # noqa: RUF012

    def save_string(self, value: str | bytes) -> None:
        data = value.encode("latin1") if isinstance(value, str) else value
        short = len(data) < 256
        self.write((b"U" + bytes([len(data)]) if short else b"T" + struct.pack("<i", len(data))) + data)
        self.memoize(value)

    def save_global(self, value: object, name: str | None = None) -> None:
        if getattr(value, "__name__", "") == "_reconstruct":
            self.write(b"cnumpy.core.multiarray\n_reconstruct\n")
            self.memoize(value)
        else:
            super().save_global(value, name)

    def save_function(self, value: object) -> None:
        self.save_global(value)

    dispatch[str] = dispatch[bytes] = save_string
    dispatch[types.FunctionType] = dispatch[types.BuiltinFunctionType] = save_function


def _pickle_2(content: dict) -> bytes:
    stream = io.BytesIO()
    _Python2(stream, protocol=2).dump(content)
    return stream.getvalue()


def make_tiny_gesture(
    folder: str | Path, layout: str = "tonic", *, seed: int = 0, users: tuple[int, int] = (5, 2), num_events: int = 800
) -> Path:
    """Write DVS128-Gesture recordings in a layout of ``data.load("dvs128-gesture", layout=…)`` and return their place.

    11 recordings of each of ``users`` (of train, of test) people, each of 0.5 s: dots that circle, and the class
    tells where and which way round. In ``aedat`` one file holds all gestures of a person, arm roll twice, as it does
    in the published ones. ``FileExistsError`` if there is something already.
    """
    names = {"tonic": "DVSGesture", "aedat": "DvsGesture", "spikingjelly": "events_np"}
    if layout not in names or min(users) < 1 or num_events < 0:
        raise ValueError(f"layout must be one of {', '.join(names)}, users >= 1; got {layout!r}, {users!r}.")
    place, number = Path(folder) / names[layout], 0
    place.mkdir(parents=True)
    mark(place)
    write = {"tonic": _write_npy, "aedat": _write_aedat, "spikingjelly": _write_npz}[layout]
    for part, count in zip(("train", "test"), users, strict=True):
        for _ in range(count):
            number += 1
            labels = [*range(11), 7] if layout != "tonic" else range(11)
            rng = np.random.RandomState((seed * 1000 + number) % 2**32)
            write(place, part, number, [(label, _circling(label, num_events, rng)) for label in labels])
    return place


def _circling(label: int, num_events: int, rng: np.random.RandomState) -> np.ndarray:
    """Events [N, 4] of x, y, p, t (microseconds): a dot goes round twice in half a second."""
    t = np.sort(rng.randint(0, 500_000, num_events))
    turn = 4 * np.pi * t / 500_000 * (1 if label % 2 else -1)
    where = 2 * np.pi * (label // 2) / 6
    x = 64 + 34 * np.cos(where) + 14 * np.cos(turn) + rng.normal(0, 2, num_events)
    y = 64 + 34 * np.sin(where) + 14 * np.sin(turn) + rng.normal(0, 2, num_events)
    return np.stack([x.round().clip(0, 127), y.round().clip(0, 127), rng.randint(0, 2, num_events), t], 1).astype(
        np.int64
    )


_Gestures = list[tuple[int, np.ndarray]]  # label, events


def _write_npy(place: Path, part: str, user: int, gestures: _Gestures) -> None:
    """tonic's layout: a file for each label, with times in milliseconds."""
    folder = place / f"ibmGesture{part.capitalize()}" / f"user{user:02d}_fluorescent"
    folder.mkdir(parents=True)
    for label, events in gestures:
        np.save(folder / f"{label}.npy", (events // [1, 1, 1, 1000]).astype(np.float64))


def _write_npz(place: Path, part: str, user: int, gestures: _Gestures) -> None:
    """spikingjelly's layout: a folder for each label, files numbered within a recording and label."""
    seen = [0] * 11
    for label, events in gestures:
        (place / part / str(label)).mkdir(parents=True, exist_ok=True)
        x, y, p, t = events.T
        np.savez(place / part / str(label) / f"user{user:02d}_fluorescent_{seen[label]}.npz", t=t, x=x, y=y, p=p)
        seen[label] += 1


def _write_aedat(place: Path, part: str, user: int, gestures: _Gestures) -> None:
    """The authors' layout: a recording of all gestures, one after the other, and the table of their times."""
    name, start, table, parts = f"user{user:02d}_fluorescent", 1_000_000, ["class,startTime_usec,endTime_usec"], []
    for label, events in gestures:
        table.append(f"{label + 1},{start},{start + 500_000}")
        parts.append(events + np.array([0, 0, 0, start]))
        start += 700_000
    (place / f"{name}.aedat").write_bytes(aedat_31(np.concatenate(parts)))
    (place / f"{name}_labels.csv").write_text("\n".join(table) + "\n")
    with (place / f"trials_to_{part}.txt").open("a") as trials:
        trials.write(f"{name}.aedat\n")


def aedat_31(events: np.ndarray, packet: int = 1000) -> bytes:
    """The bytes of an AEDAT 3.1 file of events [N, 4] of x, y, p, t (microseconds, sorted)."""
    out = [b"#!AER-DAT3.1\r\n#Format: RAW\r\n#Source 1: DVS128\r\n#!END-HEADER\r\n"]
    for overflow in np.unique(events[:, 3] >> 31).tolist():  # a packet's times share their bits from 31 on
        group = events[events[:, 3] >> 31 == overflow]
        for x, y, p, t in (group[i : i + packet].T for i in range(0, len(group), packet)):
            words = np.stack([x << 17 | y << 2 | p << 1 | 1, t & 0x7FFFFFFF], 1).astype("<u4")
            out += [struct.pack("<HHIIIIII", 1, 1, 8, 4, overflow, len(t), len(t), len(t)), words.tobytes()]
    return b"".join(out)


def make_tiny_nmnist(folder: str | Path, *, seed: int = 0, per_class: tuple[int, int] = (5, 2)) -> Path:
    """Write N-MNIST's ``NMNIST/Train/DIGIT/*.bin`` and ``Test`` and return that place: bars that move, a class's way.

    ``per_class`` recordings in train and test. ``FileExistsError`` if there is something already.
    """
    place, rng = Path(folder) / "NMNIST", np.random.RandomState(seed)
    place.mkdir(parents=True)
    mark(place)
    for part, count in zip(("Train", "Test"), per_class, strict=True):
        for label in range(10):
            (place / part / str(label)).mkdir(parents=True)
            for number in range(count):
                t = np.sort(rng.randint(0, 300_000, 400))
                way, along = 2 * np.pi * label / 10, rng.uniform(-5, 5, 400)
                far = 12 * t / 300_000 - 6
                x = 17 + far * np.cos(way) - along * np.sin(way)
                y = 17 + far * np.sin(way) + along * np.cos(way)
                events = np.stack([x.round(), y.round(), rng.randint(0, 2, 400), t], 1).astype(np.int64)
                (place / part / str(label) / f"{number + 1:05d}.bin").write_bytes(atis_bin(events))
    return place


def atis_bin(events: np.ndarray) -> bytes:
    """The bytes of N-MNIST's format, 40 bits an event: x, y, then p and a time of 23 bits, big-endian."""
    x, y, p, t = events.T
    return np.stack([x, y, p << 7 | t >> 16, t >> 8 & 255, t & 255], 1).astype(np.uint8).tobytes()


class InMemory:
    """The least that a data set of events must be."""

    def __init__(self, samples, sensor_size=(8, 8, 2)):
        self.samples, self.sensor_size = samples, sensor_size

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        return self.samples[index]
