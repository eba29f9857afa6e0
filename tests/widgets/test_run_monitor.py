"""RunMonitor: what the files tell, redrawn as they grow; cancelling a real job; folders that are wrong or vanish."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from lightsnn_kit.files import RunError, write_json
from lightsnn_kit.lab import jobs
from lightsnn_kit.lab.runs import RunFolder
from lightsnn_kit.widgets import RunMonitor

COUNTS = """
import time
from lightsnn_kit.lab.runs import RunFolder
stage = RunFolder.open(run_dir).stage("search", {"total": total})
stage.expect("scores", total)
for item in range(len(stage.records("scores")), total):
    time.sleep(pause)
    stage.append("scores", {"mask": "012", "score": float(item), "seconds": pause})
stage.finish({"total": total})
"""


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """Three of ten scores, 2 s each; a training that has not begun to record."""
    folder = RunFolder.open(tmp_path / "run")
    search = folder.stage("search", {"seed": 0})
    search.expect("scores", 10)
    for score in (-3.0, float("-inf"), -2.0):
        search.append("scores", {"mask": "012", "score": score, "seconds": 2.0})
    folder.stage("train/found", {"seed": 0}).expect("epochs", 4)
    os.utime(search.path / "scores.jsonl", (2e9, 2e9))  # written in the future: no time has passed since
    return folder


@pytest.fixture
def monitor(run: RunFolder) -> RunMonitor:
    view = RunMonitor(run.path)
    yield view
    view.close()


def drawn(view: RunMonitor) -> dict:
    return json.loads(view.curves.spec)


def test_progress_is_told_from_the_files(monitor: RunMonitor) -> None:
    assert "○ <b>unfinished</b>" in monitor.state.value
    assert "search: 3 of 10 scores, 0 of 2 parts done, more than 14 s of work left" in monitor.stages.value
    assert monitor.stages.value.count("<progress") == 1
    share = 3 * 2.0 / (10 * 2.0 + 4 * 1.0)  # an epoch, of which nothing is known, counts for a second
    assert f"value='{share:.4f}' aria-label='progress of the run'" in monitor.stages.value
    assert "it goes on from there" in monitor.hint.value
    assert "1: score −3, seconds 2<br>2: score −∞, seconds 2" in monitor.last.value
    assert monitor.printed.value == ""
    assert "012" not in monitor.last.value
    assert monitor.cancel.disabled
    assert drawn(monitor)["data"][0]["y"] == [-3.0, -3.0, -2.0]
    assert "Waiting for the first record: train/found." in monitor.figure().layout.title.text.replace("<br>", " ")


def test_only_new_records_are_drawn(monitor: RunMonitor, run: RunFolder) -> None:
    before = monitor.curves.spec
    monitor.refresh()
    assert monitor.curves.spec is before
    run.read("search").append("scores", {"mask": "0", "score": -1.0, "seconds": 2.0})
    monitor.refresh()
    assert drawn(monitor)["data"][0]["y"] == [-3.0, -3.0, -2.0, -1.0]
    run.read("search").finish({})
    monitor.refresh()
    assert "train/found: 0 of 4 epochs, 1 of 2 parts done, time left not known yet" in monitor.stages.value


def test_it_looks_by_itself_while_a_loop_runs(run: RunFolder) -> None:
    async def scene() -> int:
        view = RunMonitor(run.path, every=0.01)
        view.status = jobs.Status("running", "", (), None)  # as if a job worked on it: looks are frequent
        run.read("search").append("scores", {"mask": "0", "score": -1.0, "seconds": 2.0})
        for _ in range(300):
            await asyncio.sleep(0.01)
            if "4 of 10" in view.stages.value:
                break
        text = view.stages.value
        view.close()
        await asyncio.sleep(0.05)
        assert "4 of 10" in text
        return len(asyncio.all_tasks())

    assert asyncio.run(scene()) == 1  # this one


def test_it_follows_a_busy_kernel(run: RunFolder) -> None:
    """A cell that works and writes keeps the loop from turning: the record itself makes the monitor look."""
    view = RunMonitor(run.path, every=1e-6)
    other = RunMonitor(run.path, every=1e6)
    search = run.read("search")
    search.append("scores", {"mask": "0", "score": -1.0, "seconds": 2.0})
    view._took = 0.0
    search.append("scores", {"mask": "0", "score": -1.0, "seconds": 2.0})
    assert "5 of 10" in view.stages.value
    assert "3 of 10" in other.stages.value  # it was asked to look more rarely
    view.close()
    other.close()
    search.append("scores", {"mask": "0", "score": -1.0, "seconds": 2.0})
    assert "5 of 10" in view.stages.value


def test_wrong_folders_are_told(monitor: RunMonitor, run: RunFolder, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="there is no run folder"):
        RunMonitor(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="every must be a positive number"):
        RunMonitor(run.path, every=0)
    monitor.cancel.disabled = False
    monitor.cancel.click()
    assert "no job works on" in monitor.message.value
    shutil.rmtree(run.path)
    with monitor.guarded():
        monitor.refresh()
    assert "there is no run folder" in monitor.message.value
    assert drawn(monitor)["data"]  # the last good view stays


def test_a_folder_may_vanish_and_come_back(
    monitor: RunMonitor, run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = run.path.with_name("away")
    run.path.rename(away)
    monitor.check()
    monitor.check()
    assert "there is no run folder" in monitor.message.value
    away.rename(run.path)
    monitor.check()
    assert monitor.message.value == ""
    with monkeypatch.context() as patch:  # taken away between two reads
        patch.setattr(jobs, "status", lambda run: (run / "gone" / "settings.json").stat())
        monitor.check()
    assert "cannot read the run" in monitor.message.value
    monitor.say("of another")  # a message that is not about the folder stays
    monitor._lost = False
    monitor.check()
    assert "of another" in monitor.message.value


def test_runs_that_ended_are_told(run: RunFolder, tmp_path: Path) -> None:
    (run.path / "job").mkdir()
    write_json(run.path / "job" / "job.json", {"pid": 0, "notebooks": ["search"], "started": ""})
    killed = RunMonitor(run.path)
    assert "✖ <b>failed</b>: the process ended without a word" in killed.state.value
    assert killed.cancel.disabled
    killed.close()
    write_json(run.path / "job" / "end.json", {"state": "failed", "message": "search: 1 < 0", "ended": ""})
    (run.path / "job" / "log.txt").write_text("1 < 0\n" * 9)
    failed = RunMonitor(run.path)
    assert failed.printed.value.count("1 &lt; 0") == 6  # the last lines
    assert "✖ <b>failed</b>: search: 1 &lt; 0" in failed.state.value
    assert "3 of 10 scores" in failed.stages.value
    assert "start the job, once more" in failed.hint.value
    failed.close()
    for name in ("search", "train/found"):
        run.read(name).finish({})
    write_json(run.path / "job" / "end.json", {"state": "finished", "message": "", "ended": ""}, replace=True)
    finished = RunMonitor(run.path)
    assert "✔ <b>finished</b>: all of it ran" in finished.state.value
    assert "left" not in finished.state.value + finished.stages.value
    finished.close()
    (tmp_path / "empty").mkdir()
    empty = RunMonitor(tmp_path / "empty")
    assert "○ <b>empty</b>" in empty.state.value
    assert "Nothing is recorded yet." in empty.figure().layout.title.text
    empty.close()


def test_a_job_is_watched_and_cancelled(tmp_path: Path, write_notebook: Callable[..., Path]) -> None:
    parameters = "run_dir = 'runs/x'\ntotal = 400\npause = 0.3"
    notebook = write_notebook(tmp_path / "count.ipynb", parameters, COUNTS)
    folder = tmp_path / "run"
    jobs.start([notebook], run=folder)
    view = RunMonitor(folder)
    try:
        for _ in range(1200):
            if view.status.stages and view.status.stages[0].done >= 2:
                break
            asyncio.run(asyncio.sleep(0.05))
            view.refresh()
        assert "▶ <b>running</b>" in view.state.value
        assert not view.cancel.disabled
        assert f"RunMonitor({str(folder)!r})".replace("'", "&#x27;") in view.hint.value
        view.cancel.click()
        assert "Stopping" in view.message.value
        assert "◼ <b>stopping</b>" in view.state.value or not view.status.alive
        assert jobs.wait(folder, timeout=60).state == "cancelled"
        view.refresh()
        assert "■ <b>cancelled</b>" in view.state.value
        again = RunMonitor(folder)  # as after a restart of the kernel
        assert again.status.stages == view.status.stages
        again.close()
    finally:
        if jobs.status(folder).alive:
            jobs.cancel(folder, now=True)
            jobs.wait(folder, timeout=60)
        view.close()
