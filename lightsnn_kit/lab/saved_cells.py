"""Saved cells: one small JSON file each, never overwritten unless told so; and whatever else stands for a cell."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
from pathlib import Path

from ..cells import Cell, as_cell
from ..files import RunError, RunExistsError, at_root, make_writable, read_json, reading, write_json

_EDITED = ".edited"  # cells that were edited, one a line, the newest last
_READ = 2**16  # bytes of its end that are looked at


def saved_cells(folder: Path) -> tuple[str, ...]:
    """The names of the cells saved in a folder, sorted."""
    return tuple(sorted(path.stem for path in at_root(folder).glob("[!.]*.json")))


def save_cell(cell: Cell, folder: Path, name: str, *, replace: bool = False) -> Path:
    """Write ``<folder>/<name>.json``; ``RunExistsError`` if it is there and ``replace`` is False."""
    path = _path(folder, name)
    make_writable(path.parent)
    try:
        write_json(path, {"cell": str(cell), "matrix": cell.matrix_text()}, replace=replace)
    except RunExistsError:
        raise RunExistsError(f"{path} exists; type another name, or tick “replace an older file”.") from None
    return path


def load_cell(folder: Path, name: str) -> Cell:
    """Read what ``save_cell`` wrote; ``RunError`` or ``ValueError`` if it is missing or holds something else."""
    path = _path(folder, name)
    if not path.is_file():
        raise RunError(
            f"no cell {name!r} is saved in {path.parent}; there are: {', '.join(saved_cells(folder)) or 'none'}."
        )
    return _read(path)


def remember(cell: Cell, folder: Path) -> None:
    """Note a cell that was edited and not saved, so that it outlives its kernel.

    One line appended to ``<folder>/.edited``, with no wait for the disk: an edit must not be slower for it. ``OSError``
    if the folder cannot hold it.
    """
    folder = at_root(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _EDITED).open("a", encoding="utf-8") as notes:
        notes.write(f"{cell}\n")


def remembered(folder: Path, count: int = 5) -> tuple[Cell, ...]:
    """The last different cells that were edited here, the newest first; lines that are no cell are left out.

    >>> remembered(Path("no/such/folder"))
    ()
    """
    try:
        with (at_root(folder) / _EDITED).open("rb") as notes:
            notes.seek(max(0, notes.seek(0, os.SEEK_END) - _READ))
            lines = notes.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return ()
    found: dict[Cell, None] = {}
    for line in dict.fromkeys(reversed(lines)):
        with contextlib.suppress(ValueError):
            found[Cell.parse(line)] = None
        if len(found) == count:
            break
    return tuple(found)


def name_of(cell: Cell) -> str:
    """A short name that a cell always gets, for one that has none.

    >>> name_of(Cell.parse("|conv3x3~0|"))
    'cell-a332ec09'
    """
    return f"cell-{hashlib.sha256(str(cell).encode()).hexdigest()[:8]}"


def read_cell(value: object) -> tuple[Cell, str]:
    """A cell and its name, from a ``Cell``, its string, a SNASNet matrix, or the file of a saved cell.

    The name is that of the file, '' otherwise. ``ValueError`` or ``RunError`` for anything else.

    >>> [read_cell(value)[0].num_convs for value in ("0303 0030 2002 0200", [[0, 3], [0, 0]])]
    [6, 1]
    """
    if isinstance(value, Cell):
        return value, ""
    if isinstance(value, Path) or (isinstance(value, str) and value.strip().endswith(".json")):
        path = at_root(value)
        if not path.is_file():
            raise RunError(f"no saved cell {path}; give the file of one, a cell's string or its matrix.")
        return _read(path), re.sub(r"[^\w.-]+", "-", path.stem)
    return as_cell(value), ""


def _read(path: Path) -> Cell:
    record = read_json(path)
    if not isinstance(record, dict) or not isinstance(record.get("cell"), str):
        raise RunError(f"{path} holds no cell; a saved cell has an entry 'cell'.")
    with reading(path):
        return Cell.parse(record["cell"])


def _path(folder: Path, name: str) -> Path:
    if not re.fullmatch(r"\w[\w. -]*", name):
        raise RunError(f"{name!r} is no name for a file; use letters, digits, '-' and '_'.")
    return at_root(folder) / f"{name.removesuffix('.json')}.json"
