"""Background jobs: notebooks that run in a process of their own, and what the files of their run tell about them.

The process outlives the kernel and the tab that started it. All it is known by lies in the run folder: ``job/job.json``
(what was started), ``job/lock`` (held as long as the process lives, however it ends), ``job/heartbeat``, ``job/cancel``
(asks it to stop), ``job/end.json`` (how it ended), ``job/log.txt``; and the records of the stages. POSIX only.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from ..files import RunCancelledError, RunError, at_root, plain, project_root, read_json, write_json
from .machine import living, process_identity
from .notebooks import plan_notebooks
from .progress import Progress, Status, current, records, status, time_words
from .runs import CANCEL_FILE, RunFolder
from .writers import acquire, sign
from .writers import now as _now

__all__ = ["Progress", "Status", "cancel", "current", "log", "notebooks", "records", "start", "start_command", "status"]
__all__ += ["stop_if_cancelled", "time_words", "wait", "working"]

_BEAT = 1.0  # seconds between two heartbeats
_PATIENCE = 15.0  # seconds that an interrupted job may take to end
_RESERVE = 1 << 13  # bytes kept for the last word of a job, should the disk be full then; and open files, likewise
_RESERVED_FILES = 8
_NEEDED_FILES = 64  # at the start: libzmq aborts the process where it gets none for a kernel's sockets
_CANCELLED = "stopped when it was asked to; start it again to go on"


def start(
    notebooks: Sequence[str | Path], *, run: str | Path, parameters: Mapping[str, object] | None = None
) -> Status:
    """Run notebooks one after another in a process of their own, as ``python -m lightsnn_kit run`` does.

    Relative paths start at the project's root. A run that was cancelled or killed goes on where it stopped. If the same
    job works on the run already, it is left to it, and its status is returned.
    ``RunError`` for wrong parameters, or if another job works on this run.
    """
    notebooks = [notebooks] if isinstance(notebooks, str | os.PathLike) else notebooks
    paths = [at_root(notebook) for notebook in notebooks]
    folder = RunFolder.open(run).path
    given = dict(parameters or {})
    if not paths or "run_dir" in given:
        raise RunError("start needs at least one notebook, and no parameter run_dir: the folder is given by run=.")
    plan_notebooks(paths, given | {"run_dir": str(folder)}, optional=("run_dir",))
    try:
        if not _at_work(folder, paths, given):
            _launch(folder, paths, given)
    except RunError:  # somebody else was faster: with the same job?
        if not _at_work(folder, paths, given):
            raise
    return status(run)


def notebooks(run: str | Path) -> tuple[str, ...]:
    """The names of the notebooks that the job at work on a run goes through, () if there is no such job."""
    job = at_root(run) / "job" / "job.json"
    return tuple(read_json(job)["notebooks"]) if job.exists() and status(run).alive else ()


def _at_work(folder: Path, paths: Sequence[Path], given: Mapping[str, object]) -> bool:
    """True if a job with the same notebooks and parameters works on the run, and was not asked to stop."""
    if status(folder).state not in ("running", "stalled"):
        return False
    job = read_json(folder / "job" / "job.json")
    return (job["notebooks"], job.get("parameters")) == ([path.stem for path in paths], plain(given))


def _launch(folder: Path, paths: Sequence[Path], given: Mapping[str, object]) -> None:
    options = [text for name, value in given.items() for text in ("-p", f"{name}={value!r}")]
    command = ["run", *map(str, paths), "--run", str(folder), *options]
    start_command(command, run=folder, steps=[path.stem for path in paths], parameters=given)


def start_command(
    arguments: Sequence[str], *, run: str | Path, steps: Sequence[str], parameters: Mapping[str, object] | None = None
) -> Status:
    """Run ``python -m lightsnn_kit`` with these arguments in a process of its own; it must be one that is `working`.

    ``steps`` name what it does, with which ``parameters``. ``RunError`` if a job works on this run already.
    """
    folder = RunFolder.open(run).path
    with _lock(folder) as lock, (_prepare(folder) / "log.txt").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "lightsnn_kit", *arguments],
            cwd=project_root(),
            env=os.environ | {CANCEL_FILE: str(folder / "job" / "cancel")},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # no signal of this terminal or kernel reaches it
            pass_fds=(lock,),  # the process holds the lock from its first moment to its last
        )
        sign(lock, process.pid)
        _write_job(folder, steps, parameters or {}, pid=process.pid)
    threading.Thread(target=process.wait, daemon=True).start()  # collects it when it ends: no zombie
    return status(folder)


@contextlib.contextmanager
def working(
    run: Path, notebooks: Sequence[str | Path], parameters: Mapping[str, object] | None = None
) -> Iterator[Callable[[str], None]]:
    """Mark a run as being worked on by this process, and write at the end how it ended; yields ``notify(what)``.

    ``RunError`` if another process works on it. ``RunCancelledError`` instead of what a cancelled notebook raises.
    """
    cancel = (run := at_root(run)) / "job" / "cancel"
    inherited = os.environ.get(CANCEL_FILE) == str(cancel)  # `start` holds the lock for us
    with contextlib.nullcontext() if inherited else _lock(run):
        if not inherited:
            _prepare(run)
            _write_job(run, notebooks, parameters or {}, pid=os.getpid())
        before = os.environ.get(CANCEL_FILE)
        os.environ[CANCEL_FILE] = str(cancel)
        try:
            with _heartbeat(run) as notify, _ending(run):
                yield notify
        finally:
            os.environ.pop(CANCEL_FILE) if before is None else os.environ.update({CANCEL_FILE: before})


def stop_if_cancelled(run: Path) -> None:
    """Raise ``RunCancelledError`` if the job was asked to stop: between two notebooks."""
    if (at_root(run) / "job" / "cancel").exists():
        raise RunCancelledError(f"cancelled; run it again with --run {run} to go on.")


def cancel(run: str | Path, *, now: bool = False) -> None:
    """Ask the job to stop after the record it is working on; ``now`` interrupts it, and that record is lost.

    A job that does not end within 15 s of an interrupt ends itself. All records before are kept, and the run can be
    started again. ``RunError`` if no job works on the run.
    """
    folder, found = at_root(run), status(run)
    if not found.alive:
        raise RunError(f"no job works on {folder} (it is {found.state}), so there is nothing to cancel.")
    (folder / "job" / "cancel").write_text("now" if now else "", encoding="utf-8")
    # No other process that has got its number since, and none of another machine or container: there the job reads the
    # file, and ends itself.
    if now and (process := living(read_json(folder / "job" / "job.json"))):
        process.send_signal(signal.SIGINT)


def wait(run: str | Path, *, timeout: float | None = None) -> Status:
    """Wait until no process works on the run; ``RunError`` if one still does after ``timeout`` seconds."""
    end = None if timeout is None else time.monotonic() + timeout
    while (found := status(run)).alive:
        if end is not None and time.monotonic() > end:
            raise RunError(f"{run} is still {found.state} after {timeout:g} s: {found.message}")
        time.sleep(0.1)
    return found


def log(run: str | Path, *, lines: int = 20) -> str:
    """The last lines that the job has printed, "" if there are none."""
    path = at_root(run) / "job" / "log.txt"
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    return "\n".join(text.replace("\r", "\n").splitlines()[-lines:])


# ---- the process -----------------------------------------------------------------------------------------------------


def _prepare(folder: Path) -> Path:
    for name in ("cancel", "end.json", "heartbeat"):  # of an earlier job on this run
        (folder / "job" / name).unlink(missing_ok=True)
    (folder / "job" / "reserve").write_bytes(bytes(_RESERVE))
    return folder / "job"


def _write_job(folder: Path, steps: Sequence[str | Path], parameters: Mapping[str, object], *, pid: int) -> None:
    job = {"notebooks": [Path(step).stem for step in steps], "parameters": plain(parameters), "started": _now()}
    job |= process_identity(pid)
    write_json(folder / "job" / "job.json", job, replace=True)


@contextlib.contextmanager
def _lock(folder: Path, *, patience: float = 3.0) -> Iterator[int]:
    """Hold the run's lock; the operating system lets go of it when the last process that has it open ends."""
    (folder / "job").mkdir(parents=True, exist_ok=True)
    what = f"a job works on {folder} already, started"
    file = acquire(folder / "job" / "lock", what=what, patience=patience)  # a job that is just ending may still have it
    try:
        yield file
    finally:
        os.close(file)


@contextlib.contextmanager
def _heartbeat(run: Path) -> Iterator[Callable[[str], None]]:
    """Write what is being done into a file each second, from a thread of its own.

    It also ends a process that an interrupt has not ended. That was seen once, on a busy machine; nbclient 0.11 handles
    the signal itself while a cell runs.
    """
    done, doing = threading.Event(), ["starting"]

    def beat() -> None:
        while True:
            with contextlib.suppress(OSError):  # a full disk: the records will say so
                (run / "job" / "heartbeat").write_text(doing[0], encoding="utf-8")
            if done.wait(_BEAT):
                return
            if _overdue(run / "job" / "cancel"):
                _end(run, "cancelled", _CANCELLED)
                os._exit(130)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield lambda what: doing.__setitem__(0, what)
    finally:
        done.set()
        thread.join()


def _overdue(cancel: Path) -> bool:
    """True if the job was told to stop now, and has had the time to."""
    try:
        return cancel.read_text(encoding="utf-8") == "now" and time.time() - cancel.stat().st_mtime > _PATIENCE
    except OSError:  # it was not, or at this very moment
        return False


def _end(run: Path, state: str, message: str) -> None:
    (run / "job" / "reserve").unlink(missing_ok=True)
    write_json(run / "job" / "end.json", {"state": state, "message": message, "ended": _now()}, replace=True)


@contextlib.contextmanager
def _ending(run: Path) -> Iterator[None]:
    state, message = "failed", ""
    reserve: list[int] = []
    try:
        while len(reserve) < _NEEDED_FILES:
            reserve.append(os.open(os.devnull, os.O_RDONLY))
        while len(reserve) > _RESERVED_FILES:
            os.close(reserve.pop())
        yield
        state = "finished"
    except BaseException as error:
        message = str(error) or type(error).__name__
        if isinstance(error, KeyboardInterrupt) or (run / "job" / "cancel").exists():
            state, message = "cancelled", _CANCELLED
            raise RunCancelledError(f"cancelled; run it again with --run {run} to go on.") from None
        raise
    finally:
        for file in reserve:
            os.close(file)
        _end(run, state, message)
