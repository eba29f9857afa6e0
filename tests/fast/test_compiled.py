"""Where the machine code of compiled loops is kept: a folder that cannot be used costs seconds, never a result."""

from __future__ import annotations

import errno
import importlib
import os
import subprocess
import sys
import warnings
from pathlib import Path

import numba
import numpy as np
import pytest
from numba.core import caching

from lightsnn_kit.fast import compiled as home
from lightsnn_kit.fast import cpu_loops, training_loops
from lightsnn_kit.fast.compiled import compiled


def add(x, y):
    return x + y


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(home, "_warned", set())
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def without_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the module's folder nor the user's cache can be written."""
    monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [caching.UserProvidedCacheLocator])


def test_another_folder_is_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    without_folders(monkeypatch)
    before = numba.config.CACHE_DIR
    with warnings.catch_warnings(action="error"):
        loop = compiled(add)
        assert loop(1, 2) == 3
    [folder] = tmp_path.iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700  # code is loaded from it: nobody else may write there
    assert [*folder.rglob("*.nbi")]
    assert before == numba.config.CACHE_DIR


def test_code_is_kept_for_the_sources_that_it_was_made_of(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A loop takes vectors and constants of other files: one that they have changed is not read back."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "kit_loops.py").write_text("from kit_number import NUMBER\ndef loop(x):\n    return x + NUMBER\n")
    found = []
    for number, sources in ((1, "a"), (1, "a"), (2, "b")):
        (tmp_path / "kit_number.py").write_text(f"NUMBER = {number}\n")
        monkeypatch.setattr(home, "_SOURCES", sources)
        for name in ("kit_number", "kit_loops"):
            sys.modules.pop(name, None)
        importlib.invalidate_caches()
        loop = compiled(importlib.import_module("kit_loops").loop)
        found.append((loop(10), sum(loop.stats.cache_hits.values())))
    assert found == [(11, 0), (11, 1), (12, 0)]


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="folders of others are told by their owner")
@pytest.mark.parametrize("theirs", ["writable", "link", "file"])
def test_folders_that_others_can_write_are_not_trusted(monkeypatch, tmp_path: Path, theirs: str) -> None:
    without_folders(monkeypatch)
    folder = tmp_path / f"lightsnn_kit-{os.getuid()}"
    if theirs == "writable":
        folder.mkdir()
        folder.chmod(0o777)
    elif theirs == "link":
        (tmp_path / "elsewhere").mkdir()
        folder.symlink_to(tmp_path / "elsewhere")
    else:
        folder.write_text("in the way")
    with pytest.warns(RuntimeWarning, match="no folder that can be written; set NUMBA_CACHE_DIR"):
        assert compiled(add)(1, 2) == 3
    with warnings.catch_warnings(action="error"):  # one warning is enough
        assert compiled(add)(1.5, 2) == 3.5
    assert [*tmp_path.rglob("*.nbi")] == []


def test_a_full_disk_while_code_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_space(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(caching.IndexDataCacheFile, "save", no_space)
    loop = compiled(add)
    with pytest.warns(RuntimeWarning, match="cannot be written .*No space left"):
        assert loop(np.float32(1), np.float32(2)) == 3


@pytest.mark.parametrize("harm", [b"", b"\x80", b"torn"])
def test_damaged_files_are_compiled_anew(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, harm: bytes) -> None:
    without_folders(monkeypatch)
    assert compiled(add)(1, 2) == 3
    for file in tmp_path.rglob("*.nb?"):
        file.write_bytes(harm)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        assert compiled(add)(1, 2) == 3


@pytest.mark.parametrize("module", [cpu_loops, training_loops])
def test_every_loop_is_decorated_here(module: object) -> None:
    loops = [value for value in vars(module).values() if isinstance(value, numba.core.dispatcher.Dispatcher)]
    assert len(loops) > 5
    assert all(isinstance(loop._cache, home._LoopCache) for loop in loops)
    assert "njit" not in Path(module.__file__).read_text()


FORKED = """
import os
import numpy as np
from lightsnn_kit.fast import training_loops as loops

def spikes():
    x, v, charged, spikes, after = (np.full(2**20, 3, np.float32) for _ in range(5))
    loops.in_shares(loops.charge, (x, v, charged, spikes, after), (np.float32(2), np.float32(1)), 2)
    return int(spikes.sum())

assert spikes() == 2**20
child = os.fork()
if child == 0:
    os._exit(spikes() != 2**20)
assert os.waitpid(child, 0)[1] == 0
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_process_goes_on() -> None:
    """GNU's OpenMP, one of numba's ways to make threads, ends a process that was forked from one which used it."""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", FORKED], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
