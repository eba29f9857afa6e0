"""Locks of the operating system: a process that ends lets go of its own, however it ends; and what it was making."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: nothing is locked there, and nothing counts as left over
    fcntl = None

_CANNOT = (errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.ENOSYS, errno.EBADF, errno.EINVAL)


def locked(path: Path, flags: int = os.O_RDONLY, *, sure: bool = False) -> int | None:
    """Open a file or folder and lock it for this process alone; closing the number returned lets go of it.

    None if another process has it, or if it is gone. A drive that knows no locks counts as locked, unless the caller
    must be ``sure``.
    """
    if fcntl is None:
        return None if sure else os.open(os.devnull if path.is_dir() else path, flags)
    try:
        file = os.open(path, flags, 0o644)
    except FileNotFoundError:
        return None
    try:
        if _lock(file, sure) and os.path.samestat(os.fstat(file), os.stat(path)):  # else replaced since it was opened
            return file
    except FileNotFoundError:
        pass
    except BaseException:
        os.close(file)
        raise
    os.close(file)
    return None


def _lock(file: int, sure: bool) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _CANNOT:  # some network drives
            return not sure
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        raise
    return True


@contextmanager
def scratch(path: Path) -> Iterator[Path]:
    """A folder beside ``path`` (renaming is atomic within one drive), locked as long as this process works in it."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=f".{path.name[:100]}.", suffix=".making", dir=path.parent))
        lock = locked(folder)
        if lock is not None:  # else it was taken for left over before it had its lock
            break
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def remove_left_over(folder: Path) -> None:
    """Remove what writers have left that were killed: the operating system let go of their locks, on any machine."""
    for left in folder.glob(".*.making"):
        lock = locked(left, sure=True)
        if lock is not None:
            shutil.rmtree(left, ignore_errors=True)
            os.close(lock)


def sync(path: Path) -> None:
    """Bring a file, or the names in a folder, to the disk."""
    folder = path.is_dir()
    try:
        file = os.open(path, os.O_RDONLY if folder else os.O_RDWR)  # Windows syncs no file that is open to read alone
        try:
            os.fsync(file)
        finally:
            os.close(file)
    except OSError as error:  # Windows opens no folder, and some network drives sync none
        if not (folder and error.errno in (*_CANNOT, errno.EACCES, errno.EPERM)):
            raise
