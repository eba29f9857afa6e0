"""``Splits`` of event frames from any tonic data set; frames are kept on disk under a hash of what they depend on."""

from __future__ import annotations

import hashlib
import json
import operator
import os
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..files import replacing
from .events import check_recipe, frames_from_events
from .files import data_folder, is_stand_in
from .splits import Splits, make_rng

_FORMAT = 1  # of the stored frames: a new number when they are made in another way


@dataclass(frozen=True, eq=False)
class _Frames:
    """The frames of one part: ``x`` [n, T, 2, H, W], labels ``y`` [n], and the facts for ``Splits.source``."""

    x: np.ndarray
    y: np.ndarray
    about: dict


def event_splits(*, name: str, train: Any, test: Any, num_steps: int, by: str = "number", seed: int = 0) -> Splits:
    """Frames [n, T, 2, H, W] of two data sets of recordings, as tonic's: ``dataset[i]`` is (events, integer label).

    Both need the attribute ``sensor_size`` (W, H, 2), and may have ``classes`` (names). Frames are those of
    ``frames_from_events``: uint8 if no count of either part is over 255, else int16. The order is that of the files'
    names. The validation part is a fifth of each class, or, where ``train.users`` names whose each recording is (5
    users or more), all recordings of a fifth of them: the test users are unknown, too.

    Frames are kept in the folder ``frames`` of ``data_folder()`` under a hash of the files (names, sizes, times of
    change), the data set's settings and transforms, the recipe and tonic's version; those of the test part are
    mapped, not read, until used. A data set that lists no files in ``data``, or whose settings have no repr that tells
    them apart, is read anew each time. ``ValueError`` naming the recording that cannot be read.
    """
    check_recipe(num_steps, by)
    order, test_order, recipe = _order(train), _order(test), (num_steps, by)
    parts = {"train": _frames(f"{name}-train", train, order, recipe)}
    parts |= {"test": _frames(f"{name}-test", test, test_order, recipe)}
    widest = max((frames.x.dtype for frames in parts.values()), key=lambda dtype: dtype.itemsize)
    pairs = {
        part: (torch.from_numpy(f.x.astype(widest, copy=False)), torch.from_numpy(f.y)) for part, f in parts.items()
    }
    held = _held_users(train, order, seed)
    if held is not None:
        x, y = pairs["train"]
        pairs |= {"train": (x[~held], y[~held]), "val": (x[held], y[held])}
    class_names = tuple(map(str, getattr(train, "classes", ())))
    splits = Splits.from_tensors(name=name, **pairs, class_names=class_names, seed=seed)
    facts = [frames.about for frames in parts.values()]
    source = (
        f"{type(train).__name__}: {len(train)} + {len(test)} recordings, {num_steps} frames by {by}, {_said(facts)}"
    )
    return replace(
        splits,
        source=f"{source}, validation by {'class' if held is None else 'user'}",
        stand_in=any(fact["stand_in"] for fact in facts),
    )


def _said(facts: list[dict]) -> str:
    events, dropped, few = (sum(fact[key] for fact in facts) for key in ("events", "dropped", "few"))
    return (
        f"tonic {facts[0]['tonic']}, {dropped:,} of {events:,} events dropped as remainder, recordings of too few "
        f"events: {few}"
    )


def offline(dataset_class: type) -> type:
    """A tonic data set's class, changed so that it reads what is there and never downloads or deletes anything.

    tonic's own check downloads anew when the archive was removed after unpacking, or when there are few files.
    ``FileNotFoundError`` says which folder was looked for, and what would have been downloaded from where.
    """

    def check_exists(self: Any) -> bool:
        folder = Path(self.location_on_system, self.folder_name)
        if not folder.is_dir() or not any(path.is_file() for path in folder.rglob("*")):
            raise FileNotFoundError(
                f"no files in {folder}; get {getattr(self, 'filename', 'the archive')} (md5 "
                f"{getattr(self, 'file_md5', 'unknown')}) from {getattr(self, 'url', 'its authors')} and unpack it in "
                f"{self.location_on_system}."
            )
        return True

    def download(self: Any) -> None:
        raise FileNotFoundError(f"{dataset_class.__name__} in {self.location_on_system} is not complete.")

    # of the same name: it is part of the path that tonic reads
    return type(dataset_class.__name__, (dataset_class,), {"_check_exists": check_exists, "download": download})


def _paths(dataset: Any) -> list[Path] | None:
    """The file of each recording, if the data set says."""
    data = getattr(dataset, "data", None)
    if not isinstance(data, list | tuple) or len(data) != len(dataset) or not data:
        return None
    if not all(isinstance(path, str | Path) and os.path.isfile(path) for path in data):
        return None
    return [Path(path) for path in data]


def _order(dataset: Any) -> list[int]:
    """Indices in the order of the files' names: that in which a folder lists them differs between machines."""
    paths = _paths(dataset)
    return sorted(range(len(dataset)), key=lambda i: (paths[i].parts, i) if paths else i)


def _held_users(dataset: Any, order: list[int], seed: int) -> torch.Tensor | None:
    """Which recordings, in ``order``, are of the users held out for validation; None to hold out by class."""
    users = list(getattr(dataset, "users", ()))
    if len(users) != len(order) or len(distinct := sorted(set(users))) < 5:
        return None
    held = {distinct[i] for i in make_rng(seed).permutation(len(distinct))[: len(distinct) // 5]}
    return torch.tensor([users[i] in held for i in order])


def _frames(name: str, dataset: Any, order: list[int], recipe: tuple[int, str]) -> _Frames:
    """The frames of a part, from the disk if they are there."""
    if getattr(dataset, "sensor_size", None) is None:
        raise ValueError(f"{name}: {dataset!r} has no sensor_size; set its attribute sensor_size = (W, H, 2).")
    if not order:
        raise ValueError(f"{name}: {dataset!r} has no recordings.")
    identity = _identity(dataset, recipe)
    if identity is None:
        frames = _make(name, dataset, order, recipe)
    else:
        key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
        folder = data_folder() / "frames" / f"{name}-{key}"
        frames = _read(folder) if folder.is_dir() else _write(folder, _make(name, dataset, order, recipe))
    if frames.about["few"]:
        warnings.warn(
            f"{name}: {frames.about['few']} of {len(order)} recordings have too few events for {recipe[0]} frames by "
            f"{recipe[1]}; all their frames are 0. The first: {frames.about['first_few']}.",
            stacklevel=3,
        )
    return frames


def _make(name: str, dataset: Any, order: list[int], recipe: tuple[int, str]) -> _Frames:
    import tonic

    width, height, _ = dataset.sensor_size
    num_steps, by = recipe
    x, y = np.zeros((len(order), num_steps, 2, height, width), np.uint8), np.zeros(len(order), np.int64)
    paths, few, counts = _paths(dataset), [], np.zeros(2, np.int64)  # events, events in frames
    for row, index in enumerate(order):
        where = str(paths[index]) if paths else f"recording {index}"
        try:
            events, label = dataset[index]
            frames = frames_from_events(events, sensor_size=dataset.sensor_size, num_steps=num_steps, by=by)
            y[row] = operator.index(label)
        except Exception as error:  # a reader can fail in any way on a damaged file
            raise ValueError(
                f"{name}: {where}: {type(error).__name__}: {error} Restore or remove this file."
            ) from error
        x = x if frames.dtype == np.uint8 else x.astype(np.int16, copy=False)
        x[row] = frames
        counts += len(events), frames.sum(dtype=np.int64)
        few += [where] if not frames.any() else []
    stand_in = bool(paths) and any(map(is_stand_in, {place for path in paths for place in path.parents[:3]}))
    facts = {"events": int(counts[0]), "dropped": int(counts[0] - counts[1]), "few": len(few)}
    return _Frames(x, y, facts | {"first_few": few[:1], "tonic": tonic.__version__, "stand_in": stand_in})


def _identity(dataset: Any, recipe: tuple[int, str]) -> dict | None:
    """What frames depend on, or None where the data set does not say it."""
    import tonic

    paths = _paths(dataset)
    if paths is None:
        return None
    options = {
        key: value for key, value in vars(type(dataset)).items() if not key.startswith("__") and _is_plain(value)
    }
    options |= {key: value for key, value in vars(dataset).items() if key not in ("data", "location_on_system")}
    settings = {key: _repr(value) for key, value in options.items()}
    if None in settings.values():
        return None
    root, stats = Path(os.path.commonpath([path.parent for path in paths])), [path.stat() for path in paths]
    files = [[str(path.relative_to(root)), s.st_size, s.st_mtime_ns] for path, s in zip(paths, stats, strict=True)]
    made_by = {"format": _FORMAT, "tonic": tonic.__version__, "recipe": recipe}
    made_by["class"] = f"{type(dataset).__module__}.{type(dataset).__qualname__}"
    return made_by | {"sensor_size": list(dataset.sensor_size), "root": root.name, "files": files, "settings": settings}


def _is_plain(value: object) -> bool:
    """True for values that a class may keep as settings, not for its functions and properties."""
    return isinstance(value, str | int | float | tuple | list | dict | set | np.ndarray | np.dtype | None)


def _repr(value: Any) -> str | None:
    """A text that tells a value apart from others, or None: an address or an abridged array does not."""
    if isinstance(value, np.ndarray) and value.dtype != object:
        return f"{value.dtype}{value.shape}{hashlib.sha256(np.ascontiguousarray(value)).hexdigest()}"
    text = repr(value)
    return None if " at 0x" in text or "..." in text else text


def _write(folder: Path, frames: _Frames) -> _Frames:
    """Store frames under ``folder``, which gets its name when it is complete, and read them back as a map."""
    try:
        with replacing(folder) as making:
            making.mkdir()
            np.save(making / "x.npy", frames.x)
            np.save(making / "y.npy", frames.y)
            (making / "about.json").write_text(json.dumps(frames.about))
    except OSError:
        if not folder.is_dir():  # else another process was faster, and its frames are the same
            raise
    return _read(folder)


def _read(folder: Path) -> _Frames:
    try:
        x = np.load(folder / "x.npy", mmap_mode="c")  # copy on write: torch wants writable memory
        return _Frames(x, np.load(folder / "y.npy"), json.loads((folder / "about.json").read_text()))
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(
            f"stored frames in {folder} are damaged ({error}); remove that folder to make them anew."
        ) from error
