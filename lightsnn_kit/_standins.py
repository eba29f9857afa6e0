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

from ._data_files import STAND_IN

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
