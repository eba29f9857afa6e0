"""Background jobs by real processes: finished, cancelled, killed, suspended; and progress told from files alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lightsnn_kit.files import RunError, read_json
from lightsnn_kit.lab import jobs, notebooks, runs
from lightsnn_kit.lab import progress as _progress
from lightsnn_kit.lab.runs import RunFolder

PARAMETERS = "run_dir = 'runs/x'\ntotal = 3\npause = 0.0\nbad = False"
COUNTS = """
import time
from lightsnn_kit.lab.runs import RunFolder
stage = RunFolder.open(run_dir).stage("count", {"total": total})
stage.expect("items", total)
for item in range(len(stage.records("items")), total):
    time.sleep(pause)
    stage.append("items", {"item": item, "seconds": pause})
    assert not bad, "a bad item"
if not stage.finished:
    stage.finish({"total": total})
"""


@pytest.fixture
def notebook(tmp_path: Path, write_notebook: Callable[..., Path]) -> Path:
    return write_notebook(tmp_path / "count.ipynb", PARAMETERS, COUNTS)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Path]:
    """A run folder; whatever still works on it at the end of the test is stopped."""
    folder = tmp_path / "run"
    yield folder
    if folder.is_dir() and jobs.status(folder).alive:
        os.killpg(read_json(folder / "job" / "job.json")["pid"], signal.SIGKILL)


def until(folder: Path, reached: Callable[[jobs.Status], bool]) -> jobs.Status:
    """Wait for something that is sure to come soon."""
    for _ in range(1200):
        if reached(found := jobs.status(folder)):
            return found
        time.sleep(0.05)
    raise AssertionError(f"{found}\n{jobs.log(folder)}")


def items(folder: Path) -> list[int]:
    return [record["item"] for record in runs.Stage(folder / "count").records("items")]


def done(status: jobs.Status) -> int:
    return sum(stage.done for stage in status.stages)


# ---- real processes --------------------------------------------------------------------------------------------------


def test_a_job_runs_to_its_end_and_refuses_company(notebook: Path, run: Path) -> None:
    assert jobs.start([notebook], run=run, parameters={"total": 2, "pause": 0.5}).state == "running"
    pid = read_json(run / "job" / "job.json")["pid"]
    assert jobs.notebooks(run) == ("count",)
    assert jobs.start([notebook], run=run, parameters={"total": 2, "pause": 0.5}).state == "running"
    assert read_json(run / "job" / "job.json")["pid"] == pid  # the same job: attached to, not started
    with pytest.raises(RunError, match=r"a job works on .* already"):
        jobs.start([notebook], run=run, parameters={"total": 3, "pause": 0.5})
    ended = jobs.wait(run, timeout=60)
    assert (ended.state, ended.message, ended.seconds_left) == ("finished", "all of it ran", None)
    assert [(stage.stage, stage.done, stage.total, stage.finished) for stage in ended.stages] == [("count", 2, 2, True)]
    assert items(run) == [0, 1]
    assert "[1/1] count" in jobs.log(run)
    assert (run / "count.html").exists()
    assert jobs.notebooks(run) == ()
    with pytest.raises(RunError, match="it is finished"):
        jobs.cancel(run)


def test_a_cancelled_job_stops_after_a_record_and_goes_on_later(notebook: Path, run: Path) -> None:
    parameters = {"total": 12, "pause": 0.25}
    jobs.start([notebook], run=run, parameters=parameters)
    until(run, lambda status: done(status) >= 2)
    jobs.cancel(run)
    assert (found := jobs.status(run)).state == "stopping" or not found.alive
    ended = jobs.wait(run, timeout=60)
    assert ended.state == "cancelled"
    before = items(run)
    assert 2 <= len(before) < 12
    assert ended.seconds_left == pytest.approx((12 - len(before)) * 0.25, abs=0.25)
    jobs.start([notebook], run=run, parameters=parameters)
    assert jobs.wait(run, timeout=60).state == "finished"
    assert items(run) == list(range(12))  # each once: none lost, none repeated


def test_a_killed_job_is_told_and_goes_on_later(notebook: Path, run: Path) -> None:
    jobs.start([notebook], run=run, parameters={"total": 6, "pause": 0.3})
    until(run, lambda status: done(status) >= 1)
    os.kill(read_json(run / "job" / "job.json")["pid"], signal.SIGKILL)
    ended = until(run, lambda status: not status.alive)
    assert (ended.state, ended.message[:31]) == ("failed", "the process ended without a wor")
    time.sleep(3)  # the kernel sees that its parent is gone
    assert len(items(run)) < 6
    jobs.start([notebook], run=run, parameters={"total": 6, "pause": 0.3})
    assert jobs.wait(run, timeout=60).state == "finished"
    assert items(run) == list(range(6))


def test_a_suspended_job_is_stalled_and_can_be_interrupted(
    notebook: Path, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs.start([notebook], run=run, parameters={"total": 3, "pause": 120.0})
    until(run, lambda status: len(status.stages) == 1)
    pid = read_json(run / "job" / "job.json")["pid"]
    monkeypatch.setattr(_progress, "_STALE", 2.0)
    os.kill(pid, signal.SIGSTOP)
    stalled = until(run, lambda status: status.state == "stalled")
    assert stalled.alive
    assert "it may be suspended" in stalled.message
    os.kill(pid, signal.SIGCONT)
    until(run, lambda status: status.state == "running")
    jobs.cancel(run, now=True)
    assert jobs.wait(run, timeout=90).state == "cancelled"  # the record would take two minutes
    assert items(run) == []


DEAF = """import signal, sys, time
from pathlib import Path
from lightsnn_kit.lab import jobs
signal.signal(signal.SIGINT, signal.SIG_IGN)
jobs._PATIENCE = 1.0
with jobs.working(Path(sys.argv[1]), [Path("deaf.ipynb")]):
    time.sleep(300)"""


def test_a_job_that_hears_no_interrupt_ends_itself(run: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", DEAF, str(runs.RunFolder.open(run).path)])
    until(run, lambda status: status.state == "running")
    jobs.cancel(run, now=True)
    ended = jobs.wait(run, timeout=60)
    assert (ended.state, ended.message[:7], process.wait(timeout=60)) == ("cancelled", "stopped", 130)


def test_a_notebook_that_fails_is_told_with_its_message(notebook: Path, run: Path) -> None:
    jobs.start([notebook], run=run, parameters={"bad": True})
    ended = jobs.wait(run, timeout=60)
    assert ended.state == "failed"
    assert "a bad item" in ended.message
    assert "a bad item" in jobs.log(run)


# ---- before anything starts ------------------------------------------------------------------------------------------


def test_wrong_calls_start_nothing(notebook: Path, run: Path) -> None:
    with pytest.raises(notebooks.ParameterError, match="Did you mean 'pause'"):
        jobs.start([notebook], run=run, parameters={"pausse": 1.0})
    with pytest.raises(RunError, match="folder is given by run="):
        jobs.start([notebook], run=run, parameters={"run_dir": "x"})
    with pytest.raises(RunError, match="at least one notebook"):
        jobs.start([], run=run)
    assert jobs.status(run) == jobs.Status("empty", "nothing has been started here", (), None)
    with pytest.raises(RunError, match="there is no run folder"):
        jobs.status(run / "nowhere")
    with pytest.raises(RunError, match="so there is nothing to cancel"):
        jobs.cancel(run)


# ---- progress from files ---------------------------------------------------------------------------------------------


def test_time_left_is_that_of_all_stages_begun(tmp_path: Path) -> None:
    """Three stages of ten records: 4 records of 2 and 4 s done, none, all."""
    folder = RunFolder.open(tmp_path)
    stages = {name: folder.stage(name, {"name": name}) for name in ("train/a", "train/b", "train/c")}
    for stage in stages.values():
        stage.expect("epochs", 10)
    for seconds in (2.0, 4.0, 2.0, 4.0):
        stages["train/a"].append("epochs", {"seconds": seconds})
    ahead = time.time() + 100
    os.utime(stages["train/a"].path / "epochs.jsonl", (ahead, ahead))  # the time since the last record: none
    stages["train/c"].finish({})
    status = jobs.status(tmp_path)
    assert status.state == "unfinished"
    progress = {
        stage.stage: (stage.done, stage.total, stage.seconds_each, stage.seconds_left) for stage in status.stages
    }
    assert progress["train/a"] == (4, 10, 3.0, 18.0)  # mean of 2 and 4, six to go
    assert progress["train/b"] == (0, 10, 3.0, 30.0)  # as long as the records of its name elsewhere
    assert progress["train/c"] == (0, 10, 3.0, 0.0)
    assert status.seconds_left == 48.0


def test_what_is_announced_counts_before_it_begins(tmp_path: Path) -> None:
    """4 scores of 1 s, two trainings of 10 epochs of 3 s each, and a row that counts nothing."""
    folder = RunFolder.open(tmp_path)
    folder.plan({"a": ("scores", 4), "a/train": ("epochs", 10), "b/train": ("epochs", 10)})
    assert [stage.stage for stage in jobs.status(tmp_path).stages] == ["a", "a/train", "b/train"]
    stage = folder.stage("a", {})
    stage.expect("scores", 4)
    folder.stage("b", {})
    for _ in range(2):
        stage.append("scores", {"seconds": 1.0})
    ahead = time.time() + 100
    os.utime(stage.path / "scores.jsonl", (ahead, ahead))
    status = jobs.status(tmp_path)
    assert (status.state, status.seconds_left) == ("unfinished", None)  # no epoch was timed yet
    assert jobs.current(status)[1] == "a: 2 of 4 scores, 0 of 3 parts done, more than 2 s of work left"
    training = folder.stage("a/train", {})
    training.expect("epochs", 10)
    training.append("epochs", {"seconds": 3.0})
    os.utime(training.path / "epochs.jsonl", (ahead, ahead))
    assert jobs.status(tmp_path).seconds_left == 2 * 1.0 + 9 * 3.0 + 10 * 3.0
    folder.plan({})
    assert jobs.status(tmp_path).seconds_left == 2 * 1.0 + 9 * 3.0
    with pytest.raises(RunError, match="as a name"):
        folder.plan({"../a": ("scores", 1)})
    (tmp_path / "plan.json").write_text('{"parts": {"a/../../b": 1}}')
    with pytest.raises(RunError):
        jobs.status(tmp_path)


def test_a_stage_that_does_not_tell_leaves_the_time_unknown(tmp_path: Path) -> None:
    stage = RunFolder.open(tmp_path).stage("evaluate", {})
    assert jobs.status(tmp_path).seconds_left is None
    assert jobs.status(tmp_path).stages[0].total is None
    stage.finish({})
    assert (jobs.status(tmp_path).state, jobs.status(tmp_path).seconds_left) == ("finished", None)
    stage.expect("epochs", 3)  # a finished stage stays as it is
    assert not (stage.path / "expected.json").exists()


def test_records_are_read_again_when_they_grow(tmp_path: Path) -> None:
    stage = RunFolder.open(tmp_path).stage("search", {})
    assert jobs.records(stage.path, "scores") == ()
    stage.append("scores", {"score": 1.0})
    first = jobs.records(stage.path, "scores")
    assert jobs.records(stage.path, "scores") is first
    stage.append("scores", {"score": 2.0})
    assert jobs.records(stage.path, "scores") == ({"score": 1.0}, {"score": 2.0})


def test_appending_stops_only_a_job_that_was_cancelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = RunFolder.open(tmp_path).stage("search", {})
    monkeypatch.setenv(runs.CANCEL_FILE, str(tmp_path / "cancel"))
    stage.append("scores", {"score": 1.0})
    (tmp_path / "cancel").touch()
    with pytest.raises(runs.RunCancelledError, match="cancelled after a record"):
        stage.append("scores", {"score": 2.0})
    assert len(stage.records("scores")) == 2  # the record is there before the stop
    monkeypatch.delenv(runs.CANCEL_FILE)
    stage.append("scores", {"score": 3.0})


def test_a_job_of_this_process_is_marked_as_well(tmp_path: Path) -> None:
    with jobs.working(tmp_path, [Path("search.ipynb")]) as notify:
        notify("notebook 1 of 1: search")
        assert jobs.status(tmp_path).state == "running"
        assert os.environ[runs.CANCEL_FILE] == str(tmp_path / "job" / "cancel")
    assert runs.CANCEL_FILE not in os.environ
    assert jobs.status(tmp_path).state == "finished"
    with pytest.raises(ZeroDivisionError), jobs.working(tmp_path, []):
        raise ZeroDivisionError
    assert (jobs.status(tmp_path).state, jobs.status(tmp_path).message) == ("failed", "ZeroDivisionError")
