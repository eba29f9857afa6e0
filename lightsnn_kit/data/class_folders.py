"""Files in folders of their classes: ``train|test/CLASS/FILE``, or ``CLASS/FILE`` with a fifth held out for testing."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..files import user_path
from .files import is_hidden
from .splits import a_fifth

PARTS = {"train": "train", "test": "test", "val": "val", "valid": "val", "validation": "val"}
"""Names of folders and arrays that tell a part."""
_LAYOUT = "expected CLASS/FILE, or train/CLASS/FILE and test/CLASS/FILE"


@dataclass(frozen=True, eq=False)
class ClassFiles:
    """The files below ``root`` with label and part of each; every part is "" where the folders name none."""

    root: Path
    paths: tuple[Path, ...]
    labels: np.ndarray  # int64: the place in ``classes``
    parts: np.ndarray
    classes: tuple[str, ...]

    def masks(self, split_seed: int) -> dict[str, np.ndarray]:
        """Which files belong to train, to test and, where there is one, to val.

        Where the folders name no parts, a fifth of each class is the test part, drawn with ``split_seed``:
        ``ValueError`` for a class of fewer than 6 files.
        """
        if self.parts[0]:
            return {part: self.parts == part for part in ("train", "val", "test") if part in self.parts}
        counts = np.bincount(self.labels)
        if counts.min() < 6:  # 1 of 6 for testing, 1 of the 5 left for validation
            raise ValueError(
                f"{self.root / self.classes[counts.argmin()]} holds {counts.min()} files; a fifth of each class is "
                f"held out for testing, and then for validation: give 6 or more, or make train/CLASS and test/CLASS."
            )
        held = a_fifth(self.labels, split_seed)
        return {"train": ~held, "test": held}


def class_files(name: str, folder: str | Path, endings: Collection[str]) -> ClassFiles:
    """All files of these endings (in capitals, too) below ``folder``, by class and name; hidden ones are left out.

    Classes are in the order of their names, or of their numbers where all names are numbers. A warning counts files of
    other endings. ``FileNotFoundError`` for a missing folder, ``ValueError`` for a class without files, fewer than two
    classes, files too deep or beside the class folders, and a missing part.
    """
    root = user_path(folder)
    if not root.is_dir():
        raise FileNotFoundError(f"{name}: no folder {root}; {_LAYOUT} in it.")
    found, other = {}, Counter()
    for part, place in _part_folders(name, root).items():
        found[part] = {one.name: _files_of(name, one, endings, other) for one in _entries(place) if one.is_dir()}
        if beside := [path for path in _entries(place) if path.is_file() and path.suffix.lower() in endings]:
            raise ValueError(f"{name}: {beside[0]} lies in no folder of a class; {_LAYOUT}.")
        if len(found[part]) < 2 and part in ("", "train"):
            held = f"only the class {next(iter(found[part]))!r}" if found[part] else "no folders of classes"
            raise ValueError(f"{name}: {place} holds {held}; two classes or more are needed, {_LAYOUT}.")
    train = found.get("train") or found[""]
    classes = sorted(train, key=(lambda one: (int(one), one)) if all(map(_is_number, train)) else None)
    for part, by_class in found.items():
        if more := sorted(set(by_class) - set(classes)):
            raise ValueError(f"{name}: {part} has the class {more[0]!r}, which train has not; train has {classes}.")
    rows = [(path, classes.index(one), part) for part, of in found.items() for one in of for path in of[one]]
    if other:
        counts = ", ".join(f"{ending or 'no ending'}: {count}" for ending, count in sorted(other.items()))
        read = ", ".join(sorted(endings))
        warnings.warn(f"{name}: left out files of other endings than {read} ({counts}).", stacklevel=4)
    paths, labels, parts = zip(*rows, strict=True)
    return ClassFiles(root, paths, np.array(labels, np.int64), np.array(parts), tuple(classes))


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdigit()


def _entries(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not is_hidden(path, folder))


def _part_folders(name: str, root: Path) -> dict[str, Path]:
    """The folders train, test and perhaps val; or the folder itself, as the part ""."""
    folders = [path for path in _entries(root) if path.is_dir()]
    parts = {PARTS[low]: path for path in folders if (low := path.name.lower()) in PARTS}
    if not parts or (len(parts) < len(folders) and not {"train", "test"} <= set(parts)):  # a class may be named train
        return {"": root}
    if len(parts) < len(folders):
        other = next(path for path in folders if path not in parts.values())
        raise ValueError(f"{name}: {root} holds train and test, and beside them {other.name}; move it away.")
    if missing := {"train", "test"} - set(parts):
        raise ValueError(
            f"{name}: {root} has no folder {min(missing)}, only {', '.join(path.name for path in folders)}. Make it, "
            f"with folders of classes in it; or put all folders of classes right into one folder, of which a fifth is "
            f"then held out for testing."
        )
    return parts


def _files_of(name: str, folder: Path, endings: Collection[str], other: Counter) -> list[Path]:
    """The files of a class; ``other`` counts those of other endings."""
    entries = _entries(folder)
    if inner := [path for path in entries if path.is_dir()]:
        raise ValueError(
            f"{name}: {inner[0]} is a folder within a class's: one level too deep. Give as folder= the one that holds "
            f"the folders of classes; {_LAYOUT}."
        )
    files = [path for path in entries if path.suffix.lower() in endings]
    if not files:
        held = f"files of other endings, such as {entries[0].name}" if entries else "nothing"
        raise ValueError(
            f"{name}: the class folder {folder} holds {held}; put files of {', '.join(sorted(endings))} in it, or "
            f"remove it."
        )
    other.update(path.suffix.lower() for path in entries if path not in files)
    return files
