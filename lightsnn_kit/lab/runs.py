"""Run folders and provenance: what a run did, kept in plain files; a stage with other settings is refused."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import secrets
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
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
    reading,
    write_json,
    write_text,
)
from ..locks import remove_left_over
from .machine import machine
from .writers import release, take, writing

_listeners: list[Callable[..., None]] = []  # called after each record with its file
_opened_here: set[Path] = set()  # stages that this process has begun or gone on with
CANCEL_FILE = "LIGHTSNN_CANCEL_FILE"  # variable that names the file by which a background job is asked to stop
PLAN = "plan.json"  # in a run folder: what the work at hand is going to record
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

    def stage(
        self, name: str, settings: Mapping[str, object], *, defaults: Mapping[str, object] | None = None
    ) -> Stage:
        """Start a stage, or open it again if it was started with equal settings (to resume it, or to read it).

        ``name`` may be nested (``'train/found'``). This process is the stage's one writer until it is finished, the
        end of a ``with`` block of it, or the end of the process; ``RunError`` tells which other one is. A setting that
        one side lacks counts as its default. ``RunExistsError`` names the settings that differ.
        """
        stage = Stage(self.path / _checked_name(name))
        remove_left_over(stage.path)
        with writing(stage.path) if not stage.finished and _made(stage.path) else nullcontext():
            if not stage.started:
                stage.begin(name, settings)
            elif changed := differences(stage.settings, plain(settings), defaults=defaults):
                raise RunExistsError(
                    f"stage {name!r} of {self.path} was made with other settings: {'; '.join(changed)}. "
                    "Choose another run folder, or give the earlier settings to go on with this one."
                )
            elif not stage.finished and stage.path not in _opened_here:
                stage.append("resumed", provenance())  # another version or machine may compute other bits
            _opened_here.add(stage.path)
            if not stage.finished:
                take(stage.path)
        return stage

    def plan(self, parts: Mapping[str, tuple[str, int]]) -> None:
        """Write down what the work at hand is going to record, ``{stage: (records, total)}``, in place of what was.

        So the time left counts the parts that have not begun, too.
        """
        write_json(
            self.path / PLAN, {"parts": {_checked_name(name): part for name, part in parts.items()}}, replace=True
        )

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

    def begin(self, name: str, settings: Mapping[str, object]) -> None:
        """Write the settings, with what tells this stage from all others."""
        if any(entry.is_file() and entry.name[0] != "." for entry in self.path.glob("*.json*")):
            raise RunExistsError(f"{self.path} holds records but no settings.json; choose another run folder.")
        own = {"stage": name, "id": secrets.token_hex(8), "settings": settings, "provenance": provenance()}
        write_json(self.path / "settings.json", own)

    @property
    def begun(self) -> dict[str, object]:
        """All that was written at the start: ``settings`` and ``provenance``; ``RunError`` for another stage's."""
        path = self.path / "settings.json"
        with reading(path):
            kept = read_json(path)
            name, _ = kept.get("stage"), dict(kept["settings"])
            if name and not f"/{self.path.as_posix()}".endswith(f"/{name}"):
                raise RunError(
                    f"{self.path} holds the stage {name!r}, copied or renamed: what it tells is of that one. Move it "
                    "back to its place, or remove it."
                )
            return kept

    @property
    def settings(self) -> dict[str, object]:
        """The settings that the stage was started with."""
        return self.begun["settings"]

    @property
    def _id(self) -> str:
        """What the checksums of its files start from: a file of another stage does not fit ("": an earlier version)."""
        return str(self.begun.get("id", "")) if self.started else ""

    @property
    def result(self) -> dict[str, object]:
        """What `finish` was given; ``RunError`` before."""
        found = read_json(self.path / "result.json", of=self._id)
        if not isinstance(found, dict):
            raise RunError(f"{self.path / 'result.json'} holds no result but {found!r:.80}; restore it, or remove it.")
        return found

    def finish(self, result: Mapping[str, object]) -> None:
        """Write the result, once: the stage is read-only from here on, and needs no writer."""
        with self._writing("result.json") as path:
            write_json(path, result, of=self._id)
        release(self.path, wholly=True)

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *_: object) -> None:
        """Let others write; records and state stay."""
        release(self.path)

    def append(self, name: str, record: Mapping[str, object]) -> None:
        """Add a record to ``<name>.jsonl``; it is on the disk when this returns.

        In a background job that was cancelled, ``RunCancelledError`` is raised once it is there: a good place to stop.
        """
        with self._writing(f"{name}.jsonl") as path:
            append_record(path, record, of=self._id)
        for tell in list(_listeners):
            tell(path)
        if os.environ.get(CANCEL_FILE) and os.path.exists(os.environ[CANCEL_FILE]):
            raise RunCancelledError(f"cancelled after a record of {self.path}; run it again to go on from there.")

    def expect(self, name: str, total: int) -> None:
        """Note how many records ``<name>.jsonl`` will have at the end, so that progress can be told from the files."""
        if not self.finished:
            self.write_json("expected", {"records": name, "total": total})

    def records(self, name: str) -> list[dict[str, object]]:
        """Read the records of ``<name>.jsonl``, [] if there are none; a last line torn by a crash is left out."""
        return read_records(self.records_file(name), of=self._id, whole=self.finished)

    def records_file(self, name: str) -> Path:
        """Where the records ``name`` stand; ``RunError`` for what is no name."""
        return self.path / f"{_checked_name(name)}.jsonl"

    def cut(self, name: str, count: int) -> None:
        """Leave the first ``count`` records of ``<name>.jsonl``, and remove the rest."""
        with self._writing(f"{name}.jsonl") as path:
            kept = path.read_text(encoding="utf-8").splitlines(keepends=True)[:count]
            write_text(path, "".join(kept))  # the lines as they are: each holds a checksum

    def has(self, name: str) -> bool:
        """True if there is a ``<name>.json``."""
        return (self.path / f"{_checked_name(name)}.json").is_file()

    def write_json(self, name: str, value: object) -> None:
        """Write or replace ``<name>.json`` atomically: for state that changes while the stage runs."""
        if name in ("settings", "result"):
            raise RunError(f"{name}.json is the stage's own file; choose another name.")
        with self._writing(f"{name}.json") as path:
            write_json(path, value, replace=True, of=self._id)

    def read_json(self, name: str) -> object:
        """Read ``<name>.json``; ``RunError`` if there is none."""
        return read_json(self.path / f"{_checked_name(name)}.json", of=self._id)

    @contextmanager
    def _writing(self, name: str) -> Iterator[Path]:
        with nullcontext() if self.finished else writing(self.path):
            if self.finished:  # before, or when another writer let go
                raise RunExistsError(f"stage {self.path} is finished; read its result, or use another run folder.")
            yield self.path / _checked_name(name)


@contextmanager
def listening(callback: Callable[..., None]) -> Iterator[None]:
    """Call ``callback(file)`` after each record that this process writes while the block runs.

    So progress can be shown by a process that is busy with the very work.
    """
    _listeners.append(callback)
    try:
        yield
    finally:
        _listeners.remove(callback)


def _made(folder: Path) -> bool:
    folder.mkdir(parents=True, exist_ok=True)
    return True


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
    if not (isinstance(name, str) and len(name) <= 200 and re.fullmatch(r"\w[\w.-]*(/\w[\w.-]*)*", name)):
        wanted = "letters, digits, '_', '-', '.' such as 'train/found', at most 200"
        raise RunError(f"cannot use {name!r:.250} as a name; expected {wanted}.")
    return name
