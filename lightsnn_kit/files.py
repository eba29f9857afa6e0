"""Files that a crash never leaves half written: JSON, records line by line, text, folders (standard library only)."""

from __future__ import annotations

import codecs
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import BinaryIO


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


def user_path(path: str | os.PathLike[str]) -> Path:
    """A path as a user gives it, ``~`` being the home folder: every public function that takes one asks here.

    ``RunError`` for what is no path, and for the ``~`` of somebody who has no home folder.
    """
    try:
        return Path(path).expanduser()
    except (TypeError, RuntimeError) as error:
        raise RunError(f"expected a path such as 'runs/mine', got {path!r} ({error}).") from None


def at_root(path: str | os.PathLike[str]) -> Path:
    """A path of a run as a user gives it: a relative one starts at `project_root`, ``~`` is the home folder."""
    return project_root() / user_path(path)


_MARKS = {  # how a text file of a spreadsheet begins -> its encoding; UTF-16's mark is the beginning of UTF-32's
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def read_text(path: str | os.PathLike[str]) -> str:
    """Read a text file as people's programs write it: UTF-8, or what its byte-order mark says; any ends of line.

    ``ValueError`` for bytes that are no text; ``OSError`` as ``open`` raises it.
    """
    content = user_path(path).read_bytes()
    encoding = next((name for mark, name in _MARKS.items() if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding)
    except UnicodeError as error:
        raise ValueError(f"{path} is no {encoding} text ({error.reason}); save it as UTF-8.") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def make_writable(folder: Path) -> None:
    """Make the folder if it is absent; ``RunError`` if nothing can be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):  # permission bits may lie (network drives): try it
            pass
    except OSError as error:
        raise RunError(f"cannot write to the folder {folder}: {error.strerror}; choose another.") from None


def to_json(value: object, *, indent: int | None = None) -> str:
    """A value as JSON text; dataclasses become objects, NumPy and torch values numbers and lists.

    Infinite numbers and NaN are written as Python's ``json`` does, which reads them back. ``RunError`` for other types,
    and for keys that are not text.

    >>> to_json({"score": float("-inf"), "edge": (3, 0)})
    '{"score": -Infinity, "edge": [3, 0]}'
    """
    try:
        return json.dumps(plain(value), indent=indent)
    except TypeError as error:
        raise RunError(f"cannot store {value!r:.200} as JSON ({error}); use numbers, text, lists and dicts.") from None


def plain(value: object) -> object:
    """A value made of dicts, lists, numbers and text alone, as it is read back from JSON."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain({field.name: getattr(value, field.name) for field in fields(value)})
    if isinstance(value, Mapping):
        if wrong := [key for key in value if not isinstance(key, str)]:
            raise RunError(f"JSON keys are text, but got {wrong[0]!r}; write the key as text.")
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, str):
        return str(value)  # also that of an enumeration
    return plain(value.tolist()) if hasattr(value, "tolist") else value  # NumPy and torch, without importing either


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A name beside ``path`` for a file or folder to be made; it becomes ``path`` when the block ends well.

    A reader finds the old one or the new one, never a part; what a failed block has made is removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    making = path.with_name(f".{path.name}.{os.getpid()}")  # same folder: renaming is atomic within one drive
    try:
        yield making
        if making.is_file():
            with making.open("rb") as file:
                os.fsync(file.fileno())
        os.replace(making, path)
    finally:
        if making.is_dir():
            shutil.rmtree(making, ignore_errors=True)
        else:
            making.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically, replacing what was there."""
    with replacing(path) as making:
        making.write_text(text, encoding="utf-8")


def differences(old: object, new: object, *, at: str = "") -> list[str]:
    """Where two nested dicts differ, entry by entry.

    >>> differences({"seed": 0, "train": {"epochs": 4}}, {"seed": 0, "train": {"epochs": 8, "flip": True}})
    ['train.epochs was 4, now 8', "train.flip was 'absent', now True"]
    """
    if not (isinstance(old, Mapping) and isinstance(new, Mapping)):
        same = old == new or (old != old and new != new)  # NaN is as NaN was
        return [] if same else [f"{at} was {old!r}, now {new!r}"]
    names = [(key, f"{at}.{key}".strip(".")) for key in {**old, **new}]
    return [
        line for key, name in names for line in differences(old.get(key, "absent"), new.get(key, "absent"), at=name)
    ]


def write_json(path: str | Path, value: object, *, replace: bool = False) -> None:
    """Write JSON atomically: a reader sees the old file or the new one, never half of one.

    ``RunExistsError`` if the file is there and ``replace`` is False.
    """
    path, text = Path(path), to_json(value, indent=2) + "\n"
    if path.exists() and not replace:
        raise RunExistsError(f"{path} exists; choose another run folder, or pass replace=True to overwrite it.")
    write_text(path, text)


def read_json(path: str | Path) -> object:
    """Read a file of `write_json`; ``RunError`` if it is missing or malformed."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError(f"{path} does not exist; run the stage that writes it first.") from None
    except ValueError as error:
        raise RunError(f"{path} is not JSON ({error}); restore it, or use another run folder.") from None


def append_record(path: Path, record: Mapping[str, object]) -> None:
    """Add one line to a file of records; it is on the disk when this returns."""
    line = to_json(record) + "\n"
    with path.open("a+b") as file:
        _drop_torn_line(file)
        file.write(line.encode())
        file.flush()
        os.fsync(file.fileno())


def read_records(path: Path) -> list[dict[str, object]]:
    """Read all records ([] if there is no file); a last line that a crash tore is left out."""
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    try:
        return [json.loads(line) for line in lines]
    except ValueError as error:
        raise RunError(f"{path} holds a line that is not JSON ({error}); use another run folder.") from None


def _drop_torn_line(file: BinaryIO) -> None:
    if size := file.seek(0, os.SEEK_END):
        file.seek(size - 1)
        if file.read() != b"\n":
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)
