"""Frames and images kept in the user's cache folder: under a hash of what they depend on, with checksums."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..files import RunError, make_writable, replacing
from .files import cache_folder

_FORMAT = 2  # of the stored frames: a new number when they are made in another way
_FILES, _SUMS = ("about.json", "x.npy", "y.npy"), "SHA256SUMS"


@dataclass(frozen=True, eq=False)
class Frames:
    """Frames ``x`` [n, T, 2, H, W] or images [n, C, H, W], labels ``y`` [n], and the facts for ``Splits.source``."""

    x: np.ndarray
    y: np.ndarray
    about: dict


_TOLD = "stay in memory and are made anew each time; LIGHTSNN_CACHE names another folder for them"


def folder_of(
    name: str, dataset: Any, paths: list[Path] | None, recipe: tuple[int, str], troubles: list[str]
) -> Path | None:
    """Where the frames of a data set are kept; None where it does not say what they depend on, or there is no place.

    ``troubles`` gets what is to be told.
    """
    identity = _identity(dataset, paths, recipe)
    return None if identity is None else place_of("frames", name, identity, troubles)


def place_of(kind: str, name: str, identity: Mapping[str, object], troubles: list[str]) -> Path | None:
    """The folder below ``kind`` of the cache for what depends on ``identity`` alone; None where there is no cache."""
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
    try:
        return cache_folder() / kind / f"{re.sub(r'[^a-zA-Z0-9_.-]', '_', name)[:80]}-{key}"
    except RunError as error:
        troubles.append(f"{error} Until then {kind} {_TOLD}")
        return None


def kept(folder: Path, make: Callable[[], Frames], troubles: list[str]) -> Frames:
    """The frames in ``folder``, made and stored if they are absent or damaged; ``troubles`` gets what is to be told.

    Where nothing can be written they stay in memory.
    """
    kind = folder.parent.name  # "frames" or "images"
    if folder.is_dir():
        try:
            return _read(folder)
        except ValueError as error:
            troubles.append(f"the stored {kind} in {folder} were damaged ({error}), and were made anew")
            shutil.rmtree(folder, ignore_errors=True)
        except OSError:  # of this moment, such as no file handle: no reason to remove them
            pass
    try:
        make_writable(folder.parent)  # before the work, which may take an hour
    except RunError as error:
        troubles.append(f"{error} Until then {kind} {_TOLD}")
        return make()
    frames = make()
    try:
        return _write(folder, frames)
    except (OSError, ValueError) as error:  # the disk may have become full
        troubles.append(f"cannot store {kind} in {folder} ({error}): {kind} {_TOLD}")
        return frames


def _write(folder: Path, frames: Frames) -> Frames:
    """Store frames under ``folder``, which gets its name when it is complete, and read them back as a map."""
    try:
        with replacing(folder) as making:
            making.mkdir()
            for name, values in (("x.npy", frames.x), ("y.npy", frames.y)):
                np.save(making / name, values)
                np.load(making / name, mmap_mode="r")  # NumPy may not tell that the disk was full: too short for a map
            (making / "about.json").write_text(json.dumps(frames.about | {"stored_as": folder.name}))
            (making / _SUMS).write_text(_sums(making))
    except OSError:
        if not folder.is_dir():  # else another process was faster, and its frames are the same
            raise
    return _read(folder)


def _sums(folder: Path) -> str:
    """The checksums of a folder's files as ``sha256sum`` writes them."""
    lines = []
    for name in _FILES:
        with (folder / name).open("rb") as file:
            lines.append(f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {name}\n")
    return "".join(lines)


def _read(folder: Path) -> Frames:
    """Stored frames, mapped; ``ValueError`` where a file is missing, or is not what was written for this folder."""
    try:
        if (folder / _SUMS).read_bytes() != _sums(folder).encode():
            raise ValueError("a checksum is wrong")
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise ValueError(f"{error.filename} is missing") from None
    about = json.loads((folder / "about.json").read_text())
    if about.pop("stored_as") != folder.name:
        raise ValueError("they are those of another folder")
    x = np.load(folder / "x.npy", mmap_mode="c")  # copy on write: torch wants writable memory
    return Frames(x, np.load(folder / "y.npy"), about)


def _identity(dataset: Any, paths: list[Path] | None, recipe: tuple[int, str]) -> dict | None:
    """What frames depend on, or None where the data set does not say it."""
    import tonic

    if not paths:
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
    size = list(map(int, dataset.sensor_size))
    return made_by | {"sensor_size": size, "root": root.name, "files": files, "settings": settings}


def _is_plain(value: object) -> bool:
    """True for values that a class may keep as settings, not for its functions and properties."""
    return isinstance(value, str | int | float | tuple | list | dict | set | np.ndarray | np.dtype | None)


def _repr(value: Any) -> str | None:
    """A text that tells a value apart from others, or None: an address or an abridged array does not."""
    if isinstance(value, np.ndarray) and value.dtype != object:
        return f"{value.dtype}{value.shape}{hashlib.sha256(np.ascontiguousarray(value)).hexdigest()}"
    text = repr(value)
    return None if " at 0x" in text or "..." in text else text
