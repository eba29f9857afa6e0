"""``Splits`` of event frames from any tonic data set of recordings."""

from __future__ import annotations

import copy
import os
import warnings
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .events import EventsError, check_recipe, check_sensor, frames_from_events
from .files import check_memory, is_hidden, is_stand_in, visible
from .frame_store import Frames, folder_of, kept
from .items import label_of
from .splits import Splits, make_rng


def event_splits(*, name: str, train: Any, test: Any, num_steps: int, by: str = "number", seed: int = 0) -> Splits:
    """Frames [n, T, 2, H, W] of two data sets of recordings, as tonic's: ``dataset[i]`` is (events, integer label).

    Both need the attribute ``sensor_size`` (W, H, 2), and may have ``classes`` (names). Frames are those of
    ``frames_from_events``: uint8 if no count of either part is over 255, else int16. The order is that of the files'
    names. The validation part is a fifth of each class, or, where ``train.users`` names whose each recording is (5
    users or more), all recordings of a fifth of them: the test users are unknown, too.

    Frames are kept in the user's cache folder (or the one that LIGHTSNN_CACHE names) under a hash of the files (names,
    sizes, times of change), the data set's settings and transforms, the recipe and tonic's version, with checksums;
    those of the test part are mapped, not read, until used. A data set that lists no files in ``data``, or whose
    settings have no repr that tells them apart, is read anew each time; hidden files are left out. ``ValueError``
    naming the recording that cannot be read or used, and for frames that the machine has no memory for.
    """
    recipe, troubles = (check_recipe(num_steps, by), by), []
    given = {"train": train, "test": test}
    sets = {part: _Recordings.of(f"{name}-{part}", one, recipe, troubles) for part, one in given.items()}
    needed = sum(one.size for part, one in sets.items() if part == "train" or not (one.folder and one.folder.is_dir()))
    check_memory(f"{name}: {num_steps:,} frames of each recording", needed, "take fewer frames or recordings")
    parts = {part: _frames(one, troubles) for part, one in sets.items()}
    if troubles:
        warnings.warn(f"{name}: {'; '.join(dict.fromkeys(troubles))}.", stacklevel=2)
    widest = max((frames.x.dtype for frames in parts.values()), key=lambda dtype: dtype.itemsize)
    pairs = {
        part: (torch.from_numpy(f.x.astype(widest, copy=False)), torch.from_numpy(f.y)) for part, f in parts.items()
    }
    held = _held_users(train, sets["train"].order, seed)
    if held is not None:
        x, y = pairs["train"]
        pairs |= {"train": (x[~held], y[~held]), "val": (x[held], y[held])}
    class_names = tuple(map(str, getattr(train, "classes", ())))
    splits = Splits.from_tensors(name=name, **pairs, class_names=class_names, seed=seed)
    facts = [frames.about for frames in parts.values()]
    counts = " + ".join(str(len(one.order)) for one in sets.values())
    source = f"{type(train).__name__}: {counts} recordings, {recipe[0]} frames by {by}, {_said(facts)}"
    return replace(
        splits,
        source=f"{source}, validation by {'class' if held is None else 'user'}",
        stand_in=any(fact["stand_in"] for fact in facts),
    )


def _said(facts: list[dict]) -> str:
    events, dropped, empty = (sum(fact[key] for fact in facts) for key in ("events", "dropped", "empty"))
    return (
        f"tonic {facts[0]['tonic']}, {dropped:,} of {events:,} events dropped as remainder, recordings without "
        f"events: {empty}"
    )


def offline(dataset_class: type) -> type:
    """A tonic data set's class, changed so that it reads what is there and never downloads or deletes anything.

    tonic's own check downloads anew when the archive was removed after unpacking, or when there are few files.
    ``FileNotFoundError`` says which folder was looked for, and what would have been downloaded from where;
    ``ValueError`` which hidden copies it cannot read.
    """

    def init(self: Any, *arguments: Any, **options: Any) -> None:
        try:
            dataset_class.__init__(self, *arguments, **options)
        except (ValueError, LookupError) as error:  # it takes labels from the names of files and folders
            folder = Path(self.location_on_system, self.folder_name)
            hidden = [str(path) for path in folder.rglob("*") if is_hidden(path, folder)]
            advice = f"remove the hidden copies, {hidden[0]} and others" if hidden else "see the names of its files"
            raise ValueError(f"{dataset_class.__name__} cannot read {folder}: {error}; {advice}.") from error

    def check_exists(self: Any) -> bool:
        folder = Path(self.location_on_system, self.folder_name)
        if not visible(folder, ""):
            raise FileNotFoundError(
                f"no files in {folder}; get {getattr(self, 'filename', 'the archive')} (md5 "
                f"{getattr(self, 'file_md5', 'unknown')}) from {getattr(self, 'url', 'its authors')} and unpack it in "
                f"{self.location_on_system}."
            )
        return True

    def download(self: Any) -> None:
        raise FileNotFoundError(f"{dataset_class.__name__} in {self.location_on_system} is not complete.")

    made = {"__init__": init, "_check_exists": check_exists, "download": download}
    # of the same name: it is part of the path that tonic reads
    return type(dataset_class.__name__, (dataset_class,), made)


@dataclass(frozen=True, eq=False)
class _Recordings:
    """A data set's recordings in the order of their files' names, and where their frames are kept."""

    name: str
    dataset: Any
    recipe: tuple[int, str]
    sensor_size: tuple[int, int, int]
    order: list[int]  # a folder lists its files in another order on each machine; those that are hidden are left out
    paths: list[Path] | None  # of each recording of ``order``, where the data set says them
    folder: Path | None

    @classmethod
    def of(cls, name: str, dataset: Any, recipe: tuple[int, str], troubles: list[str]) -> _Recordings:
        if getattr(dataset, "sensor_size", None) is None:
            raise ValueError(f"{name}: {dataset!r} has no sensor_size; set its attribute sensor_size = (W, H, 2).")
        try:
            size = check_sensor(dataset.sensor_size)
        except EventsError as error:
            raise ValueError(f"{name}: {error}") from None
        paths, order = _paths(dataset), list(range(len(dataset)))
        if paths:
            root = Path(os.path.commonpath([path.parent for path in paths]))
            order = sorted((i for i in order if not is_hidden(paths[i], root)), key=lambda i: (paths[i].parts, i))
            paths = [paths[i] for i in order]
        if not order:
            raise ValueError(f"{name}: {dataset!r} has no recordings.")
        return cls(name, dataset, recipe, size, order, paths, folder_of(name, dataset, paths, recipe, troubles))

    @property
    def size(self) -> int:
        """Bytes of all frames."""
        return len(self.order) * self.recipe[0] * int(np.prod(self.sensor_size))

    def read(self, row: int) -> tuple[np.ndarray, int, int]:
        """Frames, number of events and label of a recording; ``ValueError`` naming it, and what is to be done."""
        index, where = self.order[row], self.where(row)
        try:
            sample = self.dataset[index]
        except EventsError as error:
            raise ValueError(f"{self.name}: {where}: {error}") from error
        except Exception as error:  # a reader can fail in any way on a damaged file
            raise ValueError(
                f"{self.name}: {where}: {type(error).__name__}: {str(error)[:200]} {self.advice(index)}"
            ) from error
        if not isinstance(sample, tuple | list) or len(sample) != 2:
            raise ValueError(f"{self.name}: {where}: dataset[{index}] must be (events, label), got {type(sample)}.")
        events, label = sample
        try:
            label = label_of(label)
            num_steps, by = self.recipe
            frames = frames_from_events(events, sensor_size=self.sensor_size, num_steps=num_steps, by=by)
        except ValueError as error:
            raise ValueError(f"{self.name}: {where}: {error}") from error
        return frames, len(events), label

    def where(self, row: int) -> str:
        return str(self.paths[row]) if self.paths else f"recording {self.order[row]}"

    def advice(self, index: int) -> str:
        """Whose fault it is that a recording cannot be read: the file's only where it fails without transforms, too."""
        try:
            plain = copy.copy(self.dataset)
            for name in ("transform", "target_transform", "transforms"):
                if getattr(plain, name, None) is not None:
                    setattr(plain, name, None)
            plain[index]
        except Exception:
            return "Restore or remove this file." if self.paths else "Read it by dataset[...] to see where it fails."
        return "The recording can be read without the data set's transforms: mend these."


def _paths(dataset: Any) -> list[Path] | None:
    """The file of each recording, if the data set says."""
    data = getattr(dataset, "data", None)
    if not isinstance(data, list | tuple) or len(data) != len(dataset) or not data:
        return None
    if not all(isinstance(path, str | Path) and os.path.isfile(path) for path in data):
        return None
    return [Path(path) for path in data]


def _held_users(dataset: Any, order: list[int], seed: int) -> torch.Tensor | None:
    """Which recordings, in ``order``, are of the users held out for validation; None to hold out by class."""
    users = list(getattr(dataset, "users", ()))
    if len(users) != len(dataset) or len(distinct := sorted({users[i] for i in order})) < 5:
        return None
    held = {distinct[i] for i in make_rng(seed).permutation(len(distinct))[: len(distinct) // 5]}
    return torch.tensor([users[i] in held for i in order])


def _frames(recordings: _Recordings, troubles: list[str]) -> Frames:
    """The frames of a part, from the disk if they are there."""
    make = partial(_make, recordings)
    frames = make() if recordings.folder is None else kept(recordings.folder, make, troubles)
    if frames.about["empty"]:
        warnings.warn(
            f"{recordings.name}: {frames.about['empty']} of {len(recordings.order)} recordings have no events; all "
            f"their frames are 0. The first: {frames.about['first_empty'][0]}.",
            stacklevel=3,
        )
    return frames


def _make(recordings: _Recordings) -> Frames:
    import tonic

    n, num_steps, (width, height, _) = len(recordings.order), recordings.recipe[0], recordings.sensor_size
    x, y = np.zeros((n, num_steps, 2, height, width), np.uint8), np.zeros(n, np.int64)
    empty, counts = [], np.zeros(2, np.int64)  # events, events in frames
    for row in range(n):
        frames, num_events, y[row] = recordings.read(row)
        x = x if frames.dtype == np.uint8 else x.astype(np.int16, copy=False)
        x[row] = frames
        counts += num_events, frames.sum(dtype=np.int64)
        empty += [] if num_events else [recordings.where(row)]
    paths = recordings.paths or []
    stand_in = any(map(is_stand_in, {place for path in paths for place in path.parents[:3]}))
    facts = {"events": int(counts[0]), "dropped": int(counts[0] - counts[1]), "empty": len(empty)}
    return Frames(x, y, facts | {"first_empty": empty[:1], "tonic": tonic.__version__, "stand_in": stand_in})
