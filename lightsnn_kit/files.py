"""Strict JSON and records on disk, written so that a crash never leaves half a file (stdlib only)."""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import BinaryIO

_FLOATS = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}  # strict JSON has no words for these


class RunError(Exception):
    """A run folder, parameter or notebook that cannot be used; the message says what to do."""


class RunExistsError(RunError):
    """Something recorded would be overwritten."""


class RunCancelledError(RunError):
    """A background job was asked to stop; what is recorded stays, and the same run goes on from there."""


def project_root() -> Path:
    """Return the nearest folder at or above the working directory that holds a ``pyproject.toml``, else that directory.

    Relative run folders start here, so ``runs/x`` is one place for a terminal and for notebooks in ``notebooks/``.
    """
    here = Path.cwd()
    return next((folder for folder in (here, *here.parents) if (folder / "pyproject.toml").is_file()), here)


def at_root(path: str | Path) -> Path:
    """A path as users give it: a relative one starts at `project_root`, ``~`` is the home folder."""
    return project_root() / Path(path).expanduser()


def make_writable(folder: Path) -> None:
    """Make the folder if it is absent; ``RunError`` if nothing can be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):  # permission bits may lie (network drives): try it
            pass
    except OSError as error:
        raise RunError(f"cannot write to the folder {folder}: {error.strerror}; choose another.") from None


def to_strict(value: object) -> object:
    """Turn a value into strict JSON: floats that are not finite become text, tuples and arrays become lists.

    Dataclasses become dicts. ``RunError`` for other types, for keys that are not text, and for the texts
    ``'inf'``, ``'-inf'`` and ``'nan'``, which `from_strict` would read as numbers.

    >>> to_strict({"score": float("-inf"), "edge": (3, 0)})
    {'score': '-inf', 'edge': [3, 0]}
    """
    if is_dataclass(value) and not isinstance(value, type):
        return to_strict({field.name: getattr(value, field.name) for field in fields(value)})
    if isinstance(value, Mapping):
        if wrong := [key for key in value if not isinstance(key, str)]:
            raise RunError(f"JSON keys are text, but got {wrong[0]!r}; write the key as text.")
        return {str(key): to_strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_strict(item) for item in value]
    if hasattr(value, "tolist"):  # numpy and torch scalars and arrays, without importing either
        return to_strict(value.tolist())
    return _strict_scalar(value)


def _strict_scalar(value: object) -> object:
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, str) and value not in _FLOATS:
        return str(value)
    if isinstance(value, str):
        raise RunError(f"the text {value!r} stands for a number in these files; store another text.")
    raise RunError(f"cannot store {value!r} ({type(value).__name__}) as JSON; use numbers, text, lists and dicts.")


def from_strict(value: object) -> object:
    """Turn what `to_strict` wrote back into floats.

    >>> from_strict({"score": "-inf", "edge": [3, 0]})
    {'score': -inf, 'edge': [3, 0]}
    """
    if isinstance(value, dict):
        return {key: from_strict(item) for key, item in value.items()}
    if isinstance(value, list):
        return [from_strict(item) for item in value]
    return _FLOATS.get(value, value) if isinstance(value, str) else value


def write_json(path: str | Path, value: object, *, replace: bool = False) -> None:
    """Write strict JSON atomically: a reader sees the old file or the new one, never half of one.

    ``RunExistsError`` if the file is there and ``replace`` is False.
    """
    path, text = Path(path), json.dumps(to_strict(value), indent=2, allow_nan=False) + "\n"
    if path.exists() and not replace:
        raise RunExistsError(f"{path} exists; choose another run folder, or pass replace=True to overwrite it.")
    write_text(path, text)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically, replacing what was there."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")  # same folder: replacing is atomic within one drive
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read_json(path: str | Path) -> object:
    """Read a file of `write_json`; ``RunError`` if it is missing or malformed."""
    try:
        return from_strict(json.loads(Path(path).read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise RunError(f"{path} does not exist; run the stage that writes it first.") from None
    except ValueError as error:
        raise RunError(f"{path} is not JSON ({error}); restore it, or use another run folder.") from None


def append_record(path: Path, record: Mapping[str, object]) -> None:
    """Add one line to a file of records; it is on the disk when this returns."""
    line = json.dumps(to_strict(record), allow_nan=False) + "\n"
    with path.open("a+b") as file:
        _drop_torn_line(file)
        file.write(line.encode())
        file.flush()
        os.fsync(file.fileno())


def read_records(path: Path) -> list[dict[str, object]]:
    """Read all records ([] if there is no file); a last line that a crash tore is left out."""
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    try:
        return [from_strict(json.loads(line)) for line in lines]
    except ValueError as error:
        raise RunError(f"{path} holds a line that is not JSON ({error}); use another run folder.") from None


def _drop_torn_line(file: BinaryIO) -> None:
    if size := file.seek(0, os.SEEK_END):
        file.seek(size - 1)
        if file.read() != b"\n":
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)
