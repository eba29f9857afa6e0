"""The one decorator of compiled loops; their machine code is kept in a folder that can be written, or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
import warnings
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import numba
from numba.core.caching import FunctionCache

_SOURCES = sha256(b"".join(file.read_bytes() for file in sorted(Path(__file__).parent.glob("*.py")))).hexdigest()


class _LoopCache(FunctionCache):
    """numba's cache on disk; one that cannot be read or written costs seconds, and never a score or a training.

    Loops are made of other files' vectors, numbers and loops, too: what was kept is good for all of this folder as it
    is, not for the loop's own file.
    """

    def __init__(self, function: Callable) -> None:
        super().__init__(function)
        self._cache_file._source_stamp = _SOURCES

    def load_overload(self, sig, target_context):
        try:
            return super().load_overload(sig, target_context)
        except Exception:  # a damaged file fails in unpickling, with any type of error
            with contextlib.suppress(OSError):
                self.flush()  # else it is read again when the code is kept
            return None

    def save_overload(self, sig, data):
        try:
            super().save_overload(sig, data)
        except Exception as error:  # disk full, folder gone, an index that cannot be read
            _warn_once(f"cannot be written ({error})")


def compiled(function: Callable, *, parallel: bool = False) -> Callable:
    """A loop for numba: without the interpreter lock, divisions as NumPy's, kept on disk where that is possible.

    ``parallel``: iterations of ``prange`` are shared among numba's threads.
    """
    loop = numba.njit(nogil=True, error_model="numpy", parallel=parallel)(function)
    for folder in (None, _own_folder):  # numba's own choices first: beside the module, or in the user's cache folder
        before, numba.config.CACHE_DIR = numba.config.CACHE_DIR, folder() if folder else numba.config.CACHE_DIR
        try:
            loop._cache = _LoopCache(function)  # what njit(cache=True) does, with numba's class
            return loop
        except (RuntimeError, OSError):  # no locator available for file
            continue
        finally:
            numba.config.CACHE_DIR = before
    _warn_once("has no folder that can be written; set NUMBA_CACHE_DIR to one")
    return loop


def _own_folder() -> str:
    """A folder for temporary files that only this user can write: code is loaded from it. '' if there is none."""
    user = os.getuid() if hasattr(os, "getuid") else ""  # no such number on Windows, where the folder is the user's
    folder = Path(tempfile.gettempdir()) / f"lightsnn_kit-{user}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        facts = folder.lstat()
    except OSError:
        return ""
    ours = not hasattr(os, "getuid") or (facts.st_uid == user and not facts.st_mode & 0o022)
    return str(folder) if ours and folder.is_dir() and not folder.is_symlink() else ""


def _warn_once(what: str) -> None:
    if not _warned:
        message = f"the cache of compiled loops {what}: they are compiled again in every process, which takes seconds."
        warnings.warn(message, RuntimeWarning, stacklevel=2)
    _warned.add(what)


_warned: set[str] = set()
