"""Locks of the operating system on files and folders: a process that ends lets go of its own, however it ends."""

from __future__ import annotations

import errno
import os
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
        return None if sure else os.open(os.devnull, os.O_RDWR)
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
