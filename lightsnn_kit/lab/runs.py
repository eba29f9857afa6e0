"""Run folders and provenance: what a run did, kept in plain files; a stage with other settings is refused."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from ..files import (
    RunCancelledError,
    RunError,
    RunExistsError,
    append_record,
    at_root,
    differences,
    make_writable,
    plain,
    read_json,
    read_records,
    write_json,
)
from .machine import machine

_opened_here: set[Path] = set()  # stages that this process has begun or gone on with
CANCEL_FILE = "LIGHTSNN_CANCEL_FILE"  # variable that names the file by which a background job is asked to stop
_PACKAGES = ("lightsnn_kit", "torch", "spikingjelly", "tonic", "numpy", "scikit-learn", "plotly", "papermill")


def provenance() -> dict[str, object]:
    """Return versions, machine, git state and time (UTC), for the record of a run.

    ``git`` is the state when a process first asks, of the code it has loaded; None if the kit does not lie in a
    checkout that tracks it. Host, user and paths are left out.
    """
    return {
        "packages": {name: _version(name) for name in _PACKAGES},
        "python": platform.python_version(),
        **machine(),
        "git": _git_state(),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


@cache
def _git_state() -> dict[str, object] | None:
    commit = _git("ls-files", "--error-unmatch", "__init__.py") and _git("rev-parse", "HEAD")
    return {"commit": commit, "dirty": bool(_git("status", "--porcelain"))} if commit else None


@dataclass(frozen=True)
class RunFolder:
    """A folder that holds the stages of one run; open it with `RunFolder.open`."""

    path: Path

    @classmethod
    def open(cls, path: str | Path) -> RunFolder:
        """Open a run folder, made if absent; a relative path starts at `project_root`. ``RunError`` if unwritable."""
        folder = at_root(path)
        make_writable(folder)
        return cls(folder)

    def stage(self, name: str, settings: Mapping[str, object]) -> Stage:
        """Start a stage, or open it again if it was started with equal settings (to resume it, or to read it).

        ``name`` may be nested (``'train/found'``). ``RunExistsError`` names the settings that differ.
        """
        stage = Stage(self.path / _checked_name(name))
        if not stage.started:
            if any(entry.is_file() for entry in stage.path.glob("*.json*")):
                raise RunExistsError(f"{stage.path} holds records but no settings.json; choose another run folder.")
            stage.path.mkdir(parents=True, exist_ok=True)
            write_json(stage.path / "settings.json", {"settings": settings, "provenance": provenance()})
        elif changed := differences(stage.settings, plain(settings)):
            raise RunExistsError(
                f"stage {name!r} of {self.path} was made with other settings: {'; '.join(changed)}. "
                "Choose another run folder, or give the earlier settings to go on with this one."
            )
        elif not stage.finished and stage.path not in _opened_here:
            stage.append("resumed", provenance())  # another version or machine may compute other bits
        _opened_here.add(stage.path)
        return stage

    def read(self, name: str) -> Stage:
        """Open a stage that was started, whatever its settings; ``RunError`` if there is none."""
        stage = Stage(self.path / _checked_name(name))
        if not stage.started:
            found = sorted(file.parent.relative_to(self.path).as_posix() for file in self.path.rglob("settings.json"))
            raise RunError(f"no stage {name!r} in {self.path} (stages: {', '.join(found) or 'none'}); run it first.")
        return stage


@dataclass(frozen=True)
class Stage:
    """One step of a run: its settings, records that grow line by line, state, and a result at the end."""

    path: Path

    @property
    def started(self) -> bool:
        """True once the settings are written."""
        return (self.path / "settings.json").is_file()

    @property
    def finished(self) -> bool:
        """True once the result is written."""
        return (self.path / "result.json").is_file()

    @property
    def settings(self) -> dict[str, object]:
        """The settings that the stage was started with."""
        return read_json(self.path / "settings.json")["settings"]

    @property
    def result(self) -> dict[str, object]:
        """What `finish` was given; ``RunError`` before."""
        return read_json(self.path / "result.json")

    def finish(self, result: Mapping[str, object]) -> None:
        """Write the result, once: the stage is read-only from here on."""
        write_json(self._open_file("result.json"), result)

    def append(self, name: str, record: Mapping[str, object]) -> None:
        """Add a record to ``<name>.jsonl``; it is on the disk when this returns.

        In a background job that was cancelled, ``RunCancelledError`` is raised once it is there: a good place to stop.
        """
        append_record(self._open_file(f"{name}.jsonl"), record)
        if os.environ.get(CANCEL_FILE) and os.path.exists(os.environ[CANCEL_FILE]):
            raise RunCancelledError(f"cancelled after a record of {self.path}; run it again to go on from there.")

    def expect(self, name: str, total: int) -> None:
        """Note how many records ``<name>.jsonl`` will have at the end, so that progress can be told from the files."""
        if not self.finished:
            self.write_json("expected", {"records": name, "total": total})

    def records(self, name: str) -> list[dict[str, object]]:
        """Read the records of ``<name>.jsonl``, [] if there are none; a last line torn by a crash is left out."""
        return read_records(self.path / f"{_checked_name(name)}.jsonl")

    def has(self, name: str) -> bool:
        """True if there is a ``<name>.json``."""
        return (self.path / f"{_checked_name(name)}.json").is_file()

    def write_json(self, name: str, value: object) -> None:
        """Write or replace ``<name>.json`` atomically: for state that changes while the stage runs."""
        if name in ("settings", "result"):
            raise RunError(f"{name}.json is the stage's own file; choose another name.")
        write_json(self._open_file(f"{name}.json"), value, replace=True)

    def read_json(self, name: str) -> object:
        """Read ``<name>.json``; ``RunError`` if there is none."""
        return read_json(self.path / f"{_checked_name(name)}.json")

    def _open_file(self, name: str) -> Path:
        if self.finished:
            raise RunExistsError(f"stage {self.path} is finished; read its result, or use another run folder.")
        return self.path / _checked_name(name)


def _git(*arguments: str) -> str | None:
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _checked_name(name: str) -> str:
    if not re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)*", name):
        raise RunError(f"cannot use {name!r} as a name; expected letters, digits, '_', '-', '.' such as 'train/found'.")
    return name
