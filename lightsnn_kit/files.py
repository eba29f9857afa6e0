"""Files that a crash never leaves half written: JSON, records line by line, text, folders (standard library only).

What is written as JSON bears a checksum, which covers whose file it is (``of``): a flipped bit, a line that is doubled
or lost and a file of another stage are refused when it is read. Files of earlier versions have none, and are read.
"""

from __future__ import annotations

import codecs
import json
import os
import re
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import BinaryIO

from .locks import remove_left_over, scratch, sync

_SUM = re.compile(rb'(?:, )?"crc32": "([0-9a-f]{8})"\}')  # at the end of an object
_GO_ON = "Restore it from a copy, or remove it to have it made again; a file edited by hand is read without 'crc32'."


UNREADABLE = (ValueError, RecursionError, MemoryError)  # what parsers raise, the last two for what is nested deeply


class RunError(Exception):
    """A run folder, parameter or notebook that cannot be used; the message says what to do."""


class RunExistsError(RunError):
    """Something recorded would be overwritten."""


class RunCancelledError(RunError):
    """A background job was asked to stop; what is recorded stays, and the same run goes on from there."""


def project_root() -> Path:
    """Return the nearest folder at or above the working directory that holds a ``pyproject.toml``.

    Outside of any project it is the checkout that the kit lies in, and the working directory where it lies in none.
    Relative run folders start here, so ``runs/x`` is one place for a terminal, for notebooks in ``notebooks/``, and for
    papermill wherever it is called.
    """
    here, checkout = Path.cwd(), Path(__file__).resolve().parents[1]
    places = (here, *here.parents, checkout)
    return next((folder for folder in places if (folder / "pyproject.toml").is_file()), here)


def user_path(path: str | os.PathLike[str]) -> Path:
    """A path as a user gives it, ``~`` being the home folder: every public function that takes one asks here.

    ``RunError`` for what is no path, and for the ``~`` of somebody who has no home folder.
    """
    try:
        if not os.fspath(path):
            raise TypeError("an empty one, such as of a variable that is not set, would be the working directory")
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
    folder = user_path(folder)
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
def reading(what: object) -> Iterator[None]:
    """Make a ``RunError`` of whatever odd content raises in the block; it names ``what`` was read.

    >>> with reading("'x' in row 3"):  # doctest: +ELLIPSIS
    ...     len(None)
    Traceback (most recent call last):
    lightsnn_kit.files.RunError: cannot use what 'x' in row 3 holds: TypeError: ...
    """
    try:
        yield
    except (*UNREADABLE, ArithmeticError, AttributeError, LookupError, TypeError) as error:
        why = f"{type(error).__name__}: {error}"[:300]
        raise RunError(f"cannot use what {what} holds: {why}. Restore it from a copy, or leave it out.") from None


@contextmanager
def replacing(path: Path, *, replace: bool = True) -> Iterator[Path]:
    """A name for a file or folder to be made; it becomes ``path`` when the block ends well.

    A reader finds the old one or the new one, never a part. What a failed block has made is removed; what a killed one
    has made, the next block in that folder removes. ``RunExistsError`` if it is there and ``replace`` is False.
    """
    path = user_path(path)
    if path.exists() and not replace:
        raise RunExistsError(f"{path} exists; choose another name, or pass replace=True to overwrite it.")
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_left_over(path.parent)
    with scratch(path) as folder:
        making = folder / "new"
        yield making
        if making.is_file():
            sync(making)
        os.replace(making, path)
        sync(path.parent)  # the name, too, is on the disk


def write_text(path: Path, text: str, *, replace: bool = True) -> None:
    """Write a text file atomically, replacing what was there unless ``replace`` is False (``RunExistsError``)."""
    with replacing(path, replace=replace) as making:
        making.write_text(text, encoding="utf-8")


def differences(old: object, new: object, *, at: str = "", defaults: Mapping[str, object] | None = None) -> list[str]:
    """Where two nested dicts differ, entry by entry; what is absent in one counts as its default, if it has one.

    >>> differences({"seed": 0, "train": {"epochs": 4}}, {"seed": 0, "train": {"epochs": 8, "flip": True}})
    ['train.epochs was 4, now 8', "train.flip was 'absent', now True"]
    >>> differences({"train": {}}, {"train": {"flip": False}}, defaults={"train": {"flip": False}})
    []
    """
    if not (isinstance(old, Mapping) and isinstance(new, Mapping)):
        return [] if _same(old, new) else [f"{at} was {old!r}, now {new!r}"]
    lines = []
    for key in {**old, **new}:
        default = (defaults or {}).get(key, "absent")
        inner = {"at": f"{at}.{key}".strip("."), "defaults": default if isinstance(default, Mapping) else None}
        lines += differences(old.get(key, default), new.get(key, default), **inner)
    return lines


def _same(old: object, new: object) -> bool:
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return all(map(_same, old, new))
    return old == new or (old != old and new != new)  # NaN is as NaN was


def defaults_of(settings: type) -> dict[str, object]:
    """The defaults of a dataclass as plain values: what a record that lacks an entry was made with.

    >>> from dataclasses import dataclass
    >>> @dataclass
    ... class Point:
    ...     x: int
    ...     shape: tuple = (0, 0)
    >>> defaults_of(Point)
    {'shape': [0, 0]}
    """
    values = {f.name: f.default if f.default_factory is MISSING else f.default_factory() for f in fields(settings)}
    return {name: plain(value) for name, value in values.items() if value is not MISSING}


def write_json(path: str | Path, value: object, *, replace: bool = False, of: str = "") -> None:
    """Write JSON atomically: a reader sees the old file or the new one, never half of one.

    ``of`` says whose file it is, and must be given to read it. ``RunExistsError`` if the file is there and ``replace``
    is False.
    """
    plainly = isinstance(value, Mapping) and value.keys() != {"value"}  # `read_json` takes a lone value out again
    text = to_json(_without_sum(value) if plainly else {"value": value}, indent=2)
    write_text(path, _summed(text.encode(), of.encode()).decode() + "\n", replace=replace)


def read_json(path: str | Path, *, of: str = "") -> object:
    """Read a file of `write_json`; ``RunError`` if it is missing, malformed or changed since, or not ``of`` its place.

    A file without a checksum is of an earlier version, or written by hand: it is read as it is.
    """
    path = user_path(path)
    try:
        text = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise RunError(f"{path} does not exist; run the stage that writes it first.") from None
    value, summed = _parsed(text.rstrip(), of.encode(), str(path))
    return value["value"] if summed and isinstance(value, dict) and value.keys() == {"value"} else value


def append_record(path: Path, record: Mapping[str, object], *, of: str = "") -> None:
    """Add one line to a file of records; it is on the disk when this returns, or the file is as it was."""
    path = user_path(path)
    new, text = not path.exists(), to_json(_without_sum(record)).encode()
    with path.open("a+b", buffering=0) as file:  # a buffer would be written again when it is closed
        before = _drop_torn_line(file)
        size = file.seek(0, os.SEEK_END)
        try:
            rest = _summed(text, before or of.encode()) + b"\n"
            while rest:
                rest = rest[file.write(rest) :]
            os.fsync(file.fileno())
        except OSError:  # the disk is full: no part of a line stays
            with suppress(OSError):
                os.ftruncate(file.fileno(), size)
            raise
    if new:
        sync(path.parent)


def read_records(path: Path, *, of: str = "", whole: bool = False) -> list[dict[str, object]]:
    """Read all records ([] if there is no file); a last line that a crash tore is left out, unless all must be there.

    ``RunError`` for a line that is damaged, doubled, moved, or of another file: each line's checksum covers the line
    before it.
    """
    path = user_path(path)
    *lines, torn = path.read_bytes().split(b"\n") if path.exists() else [b""]
    found, before, summed = [], of.encode(), bool(of)
    end = _SUM.search(torn)
    if (whole and torn) or (end and end.end() < len(torn)):  # a torn line has no end, or no more than it
        raise RunError(f"the last line of {path} is damaged. {_GO_ON}")
    for number, line in enumerate(lines, start=1):
        where = f"line {number} of {path}"
        go_on = f"Remove the lines from {number} on, and the run goes on there."
        record, has_sum = _parsed(line, before, where, go_on)
        if (summed and not has_sum) or not isinstance(record, dict):  # older lines come before those with a checksum
            raise RunError(
                f"{where} is no record of this file. Remove the lines from it on, and the run goes on there."
            )
        found.append(record)
        before, summed = line, summed or has_sum
    return found


def _without_sum(record: object) -> object:
    """The record, if one line can hold it as it is; ``RunError`` for what is no dict, or has an entry of our own."""
    if not isinstance(record, Mapping) or "crc32" in record:
        found = "an entry 'crc32', the name of the checksum" if isinstance(record, Mapping) else f"{record!r:.200}"
        raise RunError(f"a record is a dict of values by name, without an entry 'crc32'; got {found}.")
    return record


def _summed(text: bytes, before: bytes) -> bytes:
    """The text of an object with its checksum as the last entry; it starts from what came before."""
    body = text.removesuffix(b"}").rstrip()
    comma = b"" if body.endswith(b"{") else b", "
    return body + comma + b'"crc32": "%08x"}' % zlib.crc32(body, zlib.crc32(before))


def _parsed(text: bytes, before: bytes, where: str, go_on: str = _GO_ON) -> tuple[object, bool]:
    """A value of JSON without its checksum, and whether it had one; ``RunError`` if it is not the one written."""
    found = _SUM.search(text, max(0, len(text) - 24))
    if found and int(found[1], 16) != zlib.crc32(text[: found.start()], zlib.crc32(before)):
        raise RunError(f"{where} was changed since it was written, or belongs to another stage (checksum). {go_on}")
    try:
        value = json.loads(text)
    except UNREADABLE as error:
        raise RunError(f"{where} is not JSON ({error or type(error).__name__}). {go_on}") from None
    summed = isinstance(value, dict) and value.pop("crc32", None) is not None
    *_, last = value if isinstance(value, dict) and value else [""]
    like = len(last) == 5 and sum(a == b for a, b in zip(last, "crc32", strict=True)) == 4
    if not found and (summed or like):
        raise RunError(f"{where} was changed since it was written (checksum). {go_on}")
    return value, summed


def _drop_torn_line(file: BinaryIO) -> bytes:
    """Cut off what stands after the last whole line, and return that line (b"" if there is none)."""
    size, step = file.seek(0, os.SEEK_END), 4096
    while size:
        start = max(0, size - step)
        file.seek(start)
        *lines, torn = file.read().split(b"\n")
        if len(lines) > 1 or start == 0:  # the last line is whole in what was read
            if torn:
                file.truncate(size - len(torn))
            return lines[-1] if lines else b""
        step *= 16
    return b""
