"""What the files of a run tell: its state, how far each stage is, and how long the rest will take (stdlib only)."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import mul
from pathlib import Path

from ..checks import real, whole
from ..files import RunError, at_root, read_json, reading, user_path
from .machine import living, same_machine
from .runs import PLAN, Stage

_STALE = 20.0  # seconds without a heartbeat after which a living process counts as stalled
_RECENT = 20  # records whose mean time tells how long the next ones take


@dataclass(frozen=True)
class Progress:
    """How far a stage is: ``done`` of ``total`` records (None: unknown), and seconds from those recorded last."""

    stage: str
    records: str | None
    done: int
    total: int | None
    finished: bool
    seconds_each: float | None
    seconds_left: float | None

    @property
    def share(self) -> float:
        """The part of its records that is done, from 0 to 1."""
        return 1.0 if self.finished else min(1.0, self.done / self.total) if self.total else 0.0


@dataclass(frozen=True)
class Status:
    """What the files of a run tell: its state, a sentence about it, and the stages in the order of their start.

    States: "running", "stopping" (as it was asked to), "stalled" (alive, but without a sign of life), "finished",
    "failed", "cancelled"; and of a run that no job has worked on, "unfinished", "finished" or "empty". ``seconds_left``
    is that of all stages that count their records, announced ones too; None if there is none, or one of a kind of which
    nothing is recorded yet.
    """

    state: str
    message: str
    stages: tuple[Progress, ...]
    seconds_left: float | None

    @property
    def alive(self) -> bool:
        """True while a process works on the run."""
        return self.state in ("running", "stopping", "stalled")


def status(run: str | Path) -> Status:
    """Tell the state of a run from its files alone; ``RunError`` if there is no such folder, or odd content in it."""
    folder = at_root(run)
    if not folder.is_dir():
        raise RunError(f"there is no run folder {folder}; start a run in it first.")
    with reading(folder):
        stages = _progress(folder)
        lefts = [stage.seconds_left for stage in stages if stage.total and not stage.finished]
        left = None if not lefts or None in lefts else sum(lefts)
        return Status(*_state(folder, stages), stages, left)


def current(status: Status) -> tuple[float, str]:
    """How much of a run is done, from 0 to 1, and one line: what it is at, how many parts are done, the time left.

    A part is a stage that counts its records; each weighs the seconds that it takes, where these are known.
    """
    parts = [stage for stage in status.stages if stage.total]
    if not parts:
        return 0.0, ", ".join(f"{stage.stage} begun" for stage in status.stages if not stage.finished)
    weights = [stage.total * (stage.seconds_each or 1.0) for stage in parts]
    share = sum(map(mul, weights, (stage.share for stage in parts))) / sum(weights)
    words, rest = [], [stage for stage in parts if stage.share < 1]
    if rest:
        at = max(rest, key=lambda stage: stage.done > 0)  # the first of those begun, or of all
        words.append(f"{at.stage}: {at.done:,} of {at.total:,} {at.records}")
    if len(parts) > 1 or not rest:
        words.append(f"{len(parts) - len(rest)} of {len(parts)} parts done")
    if rest:
        words.append(_left_in_words([stage.seconds_left for stage in rest], "left" if status.alive else "of work left"))
    return share, ", ".join(words)


def _left_in_words(seconds: Sequence[float | None], left: str) -> str:
    known = [each for each in seconds if each is not None]
    if len(known) == len(seconds):
        return f"about {time_words(sum(known))} {left}"
    return f"more than {time_words(sum(known))} {left}" if known else "time left not known yet"


def records(path: Path, name: str) -> tuple[dict[str, object], ...]:
    """The records ``<name>.jsonl`` of a stage's folder, read again only when they have grown."""
    file = Stage(path := user_path(path)).records_file(name)
    if not file.exists():
        return ()
    stat = file.stat()
    return _records(path, name, stat.st_size, stat.st_mtime_ns)


@lru_cache(64)
def _records(path: Path, name: str, size: int, changed: int) -> tuple[dict[str, object], ...]:
    return tuple(Stage(path).records(name))


def time_words(seconds: float | None) -> str:
    """A duration in words.

    >>> time_words(8.4), time_words(75), time_words(7300), time_words(None)
    ('8 s', '1 min 15 s', '2 h 1 min', 'unknown')
    """
    if seconds is None:
        return "unknown"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if minutes else f"{rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def _state(folder: Path, stages: Sequence[Progress]) -> tuple[str, str]:
    place = folder / "job"
    if not (place / "job.json").exists():
        if not stages:
            return "empty", "nothing has been started here"
        if all(stage.finished for stage in stages):
            return "finished", "all stages begun are finished"
        return "unfinished", "no job works on it; a notebook that was opened by hand may"
    job = read_json(place / "job.json")
    alive = living(job) is not None  # asked before the end is, which a process writes before it ends
    if (place / "end.json").exists():
        end = read_json(place / "end.json")
        return str(end["state"]), str(end["message"]) or "all of it ran"
    beat, silence = place / "heartbeat", 0.0
    with contextlib.suppress(FileNotFoundError):
        silence = time.time() - (beat if beat.exists() else place / "job.json").stat().st_mtime
    if not alive and (same_machine(job) or silence > _STALE):  # a number of a process means nothing elsewhere
        return "failed", "the process ended without a word (killed, or out of memory); start it again to go on"
    if silence > _STALE:
        return "stalled", f"no sign of life for {time_words(silence)}; it may be suspended"
    if (place / "cancel").exists():
        return "stopping", "it was asked to stop, and will after the record it is working on"
    return "running", (beat.read_text(encoding="utf-8", errors="replace") if beat.exists() else "") or "starting"


def _progress(folder: Path) -> tuple[Progress, ...]:
    found = []
    for place, folders, files in os.walk(folder):  # unlike rglob it bears with folders that vanish meanwhile
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(place, "settings.json")] if "settings.json" in files else []
    found.sort(key=lambda path: path.stat().st_mtime_ns)
    counted = [(path.parent, *_counted(path.parent)) for path in found]
    recent: dict[str | None, list[float]] = {}
    for _, name, _, seconds in counted:
        recent.setdefault(name, []).extend(seconds[-_RECENT:])
    begun = tuple(_stage(folder, *entry, recent[entry[1]]) for entry in counted)
    return begun + _planned(folder, {path.parent for path in found}, recent)


def _planned(
    folder: Path, begun: Collection[Path], recent: Mapping[str | None, Sequence[float]]
) -> tuple[Progress, ...]:
    """The parts that were announced (see ``RunFolder.plan``) and have not begun."""
    if not (folder / PLAN).is_file():
        return ()
    parts = dict(read_json(folder / PLAN)["parts"])
    coming = {path: parts[name] for name in parts if (path := folder / str(name)) not in begun}
    return tuple(
        _stage(folder, path, str(name), whole("total", total), (), recent.get(name, ()))
        for path, (name, total) in coming.items()
    )


def _stage(
    folder: Path, path: Path, name: str | None, total: int | None, seconds: Sequence[float], others: Sequence[float]
) -> Progress:
    """``others``: seconds of the records of this name in all stages, for a stage that has none yet."""
    recent = seconds[-_RECENT:] or others
    each = sum(recent) / len(recent) if recent else None
    finished, left = (path / "result.json").is_file(), None
    if finished:
        left = 0.0
    elif total is not None and each is not None:
        file = path / f"{name}.jsonl"
        since = time.time() - file.stat().st_mtime if file.exists() else 0.0
        left = max(0.0, (total - len(seconds)) * each - min(max(since, 0.0), each))
    return Progress(path.relative_to(folder).as_posix(), name, len(seconds), total, finished, each, left)


def _counted(path: Path) -> tuple[str | None, int | None, Sequence[float]]:
    """The records that a stage counts by, how many there will be, and the seconds that each took."""
    expected = path / "expected.json"
    if not expected.is_file():
        return None, None, ()
    coming = Stage(path).read_json("expected")
    name, total = str(coming["records"]), whole("total", coming["total"], low=0)
    return (
        name,
        total,
        [real("seconds", record.get("waited", record.get("seconds", 0.0))) for record in records(path, name)],
    )
