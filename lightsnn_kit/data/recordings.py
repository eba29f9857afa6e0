"""Event recordings by name: folders of your own files of x, y, t, p, and N-MNIST."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..checks import whole
from .class_folders import ClassFiles, class_files
from .event_sets import event_splits, offline
from .events import check_sensor, read_columns
from .files import set_folder
from .splits import Splits

_NMNIST = (60_000, 10_000)  # recordings that are published


def load_event_folder(
    seed: int,
    *,
    folder: str | Path,
    sensor_size: tuple[int, int, int] | None = None,
    num_steps: int = 16,
    by: str = "number",
    split_seed: int = 0,
) -> Splits:
    """Frames of the recordings in ``train|test/CLASS/FILE`` or ``CLASS/FILE``, each a file npz or npy of x, y, t, p.

    An npz holds four arrays, an npy one structured array; ``t`` is in microseconds, ``p`` 0 or 1. ``sensor_size`` is
    (W, H, 2). For parts, classes and ``split_seed`` see `ClassFiles`, for the frames and where they are kept
    ``event_splits``. ``ValueError`` naming the recording that does not fit.
    """
    found = class_files("event-folder", folder, {".npy", ".npz"})
    masks = found.masks(split_seed)
    if "val" in masks:
        raise ValueError(f"event-folder: {found.root} has a part val; put it into train, of which val is then drawn.")
    if sensor_size is None:
        first = read_columns(found.paths[0])
        largest = [int(first[axis].max(initial=0)) for axis in "xy"]
        raise ValueError(
            f"event-folder: pass sensor_size=(W, H, 2), the camera's width and height; the largest x and y of "
            f"{found.paths[0].name} are {largest[0]} and {largest[1]}."
        )
    size = check_sensor(sensor_size)
    parts = {part: Recordings.of(found, mask, size) for part, mask in masks.items()}
    splits = event_splits(name="event-folder", **parts, num_steps=whole("num_steps", num_steps), by=by, seed=seed)
    cut = "folders" if found.parts[0] else f"split_seed {split_seed}"
    return replace(splits, source=f"{found.root.name}: {splits.source}, test by {cut}")


def load_nmnist(seed: int, *, folder: str | Path | None = None, num_steps: int = 10, by: str = "number") -> Splits:
    """N-MNIST (G. Orchard et al., 2015) as frames [n, T, 2, 34, 34], read by tonic; nothing is downloaded.

    ``folder`` (default: ``n-mnist`` in ``data_folder()``) holds ``NMNIST/Train/DIGIT/*.bin`` and ``NMNIST/Test``.
    ``Splits.source`` says if these are fewer recordings than the published.
    """
    from tonic.datasets import NMNIST

    place = str(set_folder("n-mnist", folder))
    train, test = (offline(NMNIST)(place, train=part) for part in (True, False))
    splits = event_splits(name="n-mnist", train=train, test=test, num_steps=num_steps, by=by, seed=seed)
    other = "" if (len(train), len(test)) == _NMNIST else f"of the published {_NMNIST[0]} + {_NMNIST[1]} recordings "
    return replace(splits, source=f"{other}{splits.source}")


@dataclass(frozen=True, eq=False)
class Recordings:
    """Recordings as tonic's data sets give them: ``[i]`` is (events, label)."""

    data: tuple[Path, ...]
    targets: tuple[int, ...]
    classes: tuple[str, ...]
    sensor_size: tuple[int, int, int]

    @classmethod
    def of(cls, found: ClassFiles, mask: np.ndarray, size: tuple[int, int, int]) -> Recordings:
        rows = np.flatnonzero(mask)
        return cls(tuple(found.paths[i] for i in rows), tuple(map(int, found.labels[rows])), found.classes, size)

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        return read_columns(self.data[index]), self.targets[index]
