"""One writer per folder: it holds a lock of the operating system, which ends with its process, however that ends."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from ..files import RunError, reading, to_json
from ..locks import locked
from .machine import process_identity, same_machine

_held: dict[Path, list[int]] = {}  # folder -> number of its open lock file, how often it was taken
_one_thread = threading.RLock()  # the operating system's lock does not tell threads of one process apart
_PATIENCE = 1.0  # seconds: a writer that is just ending, or writing one file, is over in a moment
_WAIT = (
    "Wait until it has ended, or stop it; the kernel of a notebook that is open but idle may have it, too: restart or "
    "close that kernel. Or choose another run folder."
)


def now() -> str:
    """The time, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def take(folder: Path) -> None:
    """Make this process the one writer of a folder, until it lets go as often as it took it, or ends.

    ``RunError`` tells which other process is.
    """
    folder = folder.resolve()
    if folder in _held and not _is_open(_held[folder][0], folder / ".lock"):
        release(folder, wholly=True)  # the folder was removed and made anew
    if folder not in _held:
        _held[folder] = [acquire(folder / ".lock", what=f"{folder} is being written"), 0]
    _held[folder][1] += 1


def release(folder: Path, *, wholly: bool = False) -> None:
    """Let go of a folder once, or ``wholly``; nothing happens if this process does not hold it."""
    held = _held.get(folder := folder.resolve(), [0, 0])
    held[1] -= 1
    if folder in _held and (wholly or held[1] <= 0):
        os.close(_held.pop(folder)[0])


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Be the one writer of a folder in the block: `take` and `release`; other threads wait."""
    with _one_thread:
        take(folder)
        try:
            yield
        finally:
            release(folder)


def acquire(path: Path, *, what: str, patience: float | None = None) -> int:
    """Lock a file, made if absent, and note in it who has it; returns its number, to be closed.

    ``RunError`` if another process keeps it for longer than ``patience`` seconds.
    """
    end = time.monotonic() + (_PATIENCE if patience is None else patience)
    while (file := locked(path, os.O_RDWR | os.O_CREAT)) is None:
        if time.monotonic() > end:
            raise RunError(f"{what} by {_holder(path)}. {_WAIT}")
        time.sleep(0.02)
    try:
        sign(file)
    except BaseException:
        os.close(file)
        raise
    return file


def sign(file: int, pid: int | None = None) -> None:
    """Note in a lock file which process has it (this one)."""
    text = to_json(process_identity(pid) | {"since": now()}).encode()
    os.ftruncate(file, 0)
    os.lseek(file, 0, os.SEEK_SET)
    os.write(file, text)


def _holder(path: Path) -> str:
    try:
        with reading(path):
            kept: Mapping = json.loads(path.read_text(encoding="utf-8"))
            place = "this machine" if same_machine(kept) else f"another machine or container ({kept['host']})"
            return f"process {int(kept['pid'])} on {place}, since {kept['since']}"
    except (OSError, RunError):  # it is just being written
        return "another process"


def _is_open(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except OSError:
        return False


def _forget() -> None:
    """A forked process holds nothing: its parent writes."""
    global _one_thread
    _one_thread = threading.RLock()  # another thread may have had it at that moment
    while _held:
        os.close(_held.popitem()[1][0])


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
