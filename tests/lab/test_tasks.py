"""Rows whose scores, epochs and tests other processes compute: the same rows and records, stopped and gone on with."""

from __future__ import annotations

import json
import os
import random
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Executor, Future
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from distributed import Client, LocalCluster

from lightsnn_kit import __main__ as command_line
from lightsnn_kit import data
from lightsnn_kit.data import load, register
from lightsnn_kit.files import RunCancelledError, RunError
from lightsnn_kit.lab import experiments, presets, recorded, tasks
from lightsnn_kit.lab.experiments import Experiment, run_rows
from lightsnn_kit.lab.progress import status
from lightsnn_kit.lab.runs import CANCEL_FILE, listening
from lightsnn_kit.scoring import Scorer

METHODS = ["lightsnn", "lightsnn-cut", "nsga2", "residual"]
TIMES = ("seconds", "search_seconds", "build_seconds", "first_score_seconds", "score_seconds_median")


class Shuffled(Executor):
    """Work done in this process in a random order, when somebody waits; it stops for good after some of it."""

    def __init__(self, seed: int, lives: int = 10**9) -> None:
        self.random, self.lives, self.pending = random.Random(seed), lives, []
        self.most = 0

    def submit(self, call: Callable, /, *args: object) -> Future:
        self.pending.append((future := Future(), call, args))
        self.most = max(self.most, len(self.pending))
        return future

    def map(self, call: Callable, items: object) -> Iterator:
        futures = [self.submit(call, item) for item in items]
        for future in futures:
            while not future.done():
                self.wait()
            yield future.result()

    def wait(self, *_: object, **__: object) -> SimpleNamespace:
        """As ``concurrent.futures.wait``: one more is done, whichever."""
        future, call, args = self.pending.pop(self.random.randrange(len(self.pending)))
        self.lives -= 1
        try:
            if self.lives < 0:
                raise CancelledError
            future.set_result(call(*args))
        except Exception as error:
            future.set_exception(error)
        return SimpleNamespace(done={future})


def elsewhere(monkeypatch: pytest.MonkeyPatch, executor: Shuffled) -> None:
    """Let an executor stand for all workers."""

    @contextmanager
    def score_in(scorer: Scorer, *, workers: object) -> Iterator:
        yield scorer, executor

    @contextmanager
    def processes(workers: object) -> Iterator:
        yield executor, lambda: 2

    monkeypatch.setattr(recorded, "score_in_processes", score_in)
    monkeypatch.setattr(experiments, "worker_processes", processes)
    monkeypatch.setattr(tasks, "wait", executor.wait)


def plain(rows: object) -> list[dict]:
    return [{name: value for name, value in row.items() if name not in TIMES} for row in rows]


def records(folder: Path) -> dict[str, list[dict]]:
    """All scores, rounds and epochs of a run, without what tells time."""
    found = {}
    for path in sorted(folder.glob("*/seed*/**/*.jsonl")):
        lines = map(json.loads, path.read_text().splitlines() if path.stem != "resumed" else ())
        found[str(path.relative_to(folder))] = [
            {name: value for name, value in line.items() if name not in (*TIMES, "waited", "crc32")} for line in lines
        ]
    return {name: lines for name, lines in found.items() if lines}


@pytest.fixture(scope="module")
def tiny() -> presets.Preset:
    return presets.get("digits").quick().adapted(width=4, num_steps=1).changed(train={"epochs": 2})


@pytest.fixture(scope="module")
def serial(tiny: presets.Preset, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict], Path]:
    """The rows of all methods, made in series, and their folder."""
    experiment = Experiment.open(tmp_path_factory.mktemp("serial") / "run", tiny)
    return plain(run_rows(experiment, METHODS, [0])), experiment.folder.path


def test_any_order_of_completion_gives_the_rows_and_records_of_a_series(
    tiny: presets.Preset, serial: tuple, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere(monkeypatch, Shuffled(0))
    experiment = Experiment.open(tmp_path / "run", tiny, scheduler="2")
    assert plain(run_rows(experiment, METHODS, [0])) == serial[0]
    assert records(tmp_path / "run") == records(serial[1])
    assert status(tmp_path / "run").state == "finished"
    again = Experiment.open(tmp_path / "run", tiny, scheduler="tcp://127.0.0.1:9")  # nobody is asked
    assert plain(run_rows(again, METHODS, [0])) == serial[0]


@pytest.mark.parametrize("lives", [20, 40, 44])  # in a search; in the first epochs; later
def test_a_run_that_loses_its_workers_goes_on_to_the_same_rows(
    lives: int, tiny: presets.Preset, serial: tuple, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere(monkeypatch, Shuffled(1, lives))
    with pytest.raises(CancelledError):
        list(run_rows(Experiment.open(tmp_path / "run", tiny, scheduler="2"), METHODS, [0]))
    kept = records(tmp_path / "run")
    assert 0 < sum(map(len, kept.values())) < sum(map(len, records(serial[1]).values()))
    assert plain(run_rows(Experiment.open(tmp_path / "run", tiny), METHODS, [0])) == serial[0]  # here, in series
    assert records(tmp_path / "run") == records(serial[1])


@pytest.mark.parametrize("records_before", [3, 30])  # in a search; in the trainings
def test_a_run_that_is_cancelled_stops_after_a_record_and_goes_on(
    records_before: int, tiny: presets.Preset, serial: tuple, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere(monkeypatch, Shuffled(4))
    monkeypatch.setenv(CANCEL_FILE, str(cancel := tmp_path / "cancel"))
    seen = []
    experiment = Experiment.open(tmp_path / "run", tiny, scheduler="2")
    with (
        listening(lambda file: (seen.append(file), cancel.touch() if len(seen) >= records_before else None)),
        pytest.raises(RunCancelledError),
    ):
        list(run_rows(experiment, METHODS, [0]))
    assert len(seen) == records_before
    cancel.unlink()
    assert plain(run_rows(experiment, METHODS, [0])) == serial[0]
    assert records(tmp_path / "run") == records(serial[1])


def test_jobs_go_on_when_what_they_wait_for_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    executor, ended = Shuffled(2), []
    monkeypatch.setattr(tasks, "wait", executor.wait)

    def job(number: int) -> Iterator[Future]:
        for step in range(3):
            yield (future := executor.submit(lambda step=step: step))
            assert future.result() == step
        ended.append(number)

    assert len(list(tasks.interleave(map(job, range(6)), lambda: 2))) == 6
    assert sorted(ended) == list(range(6))
    assert executor.most <= 3
    assert list(tasks.interleave([], lambda: 0)) == []
    closed = []

    def failing() -> Iterator[Future]:
        try:
            yield (future := executor.submit(int, "no number"))
            future.result()
        finally:
            closed.append(True)

    with pytest.raises(ValueError, match="no number"):
        list(tasks.interleave([failing(), failing()], lambda: 2))
    assert closed == [True, True]


def test_data_and_machines_that_workers_do_not_share_are_told(
    tiny: presets.Preset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = Experiment.open(tmp_path / "run", tiny, scheduler="2").row("residual", 0)
    training = row.train(submit=(executor := Shuffled(3)).submit)
    assert isinstance(next(training), Future)
    with row.training as stage:
        made = stage.begun["provenance"]
        for each in (made, made | {"load": 9.0, "started": "later"}, made | {"platform": "another"}) * 2:
            row._note(stage, each)
        assert [one["platform"] for one in stage.records("resumed")] == ["another"]
    checkpoint = {"last.pt": (row.training.path / "checkpoints" / "last.pt").read_bytes()}
    task = Experiment.open(tmp_path / "run", tiny).task(0, row.cell)
    other = tasks.Task(**{**vars(task), "data_seed": 1})
    with pytest.raises(RunError, match=r"are its data files others\? .*data\.sha256 was"):
        tasks.train_epoch(other, 0, checkpoint)
    with pytest.raises(RunError, match=r"joined later cannot give the same bits: torch .* there, 1\.0 here"):
        tasks.train_epoch(tasks.Task(**{**vars(task), "versions": {"torch": "1.0"}}), 0, checkpoint)
    assert executor.most == 1


def test_your_own_data_set_does_not_travel(
    tiny: presets.Preset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data, "_LOADERS", dict(data._LOADERS))
    register("mine", lambda seed=0: load("digits", seed=seed))
    mine = tiny.changed(dataset="mine", data={})
    with pytest.raises(RunError, match="do not know your data set 'mine'; keep it as an npz file"):
        list(run_rows(Experiment.open(tmp_path / "run", mine, scheduler="2"), ["residual"], [0]))


def test_the_command_line_tells_a_wrong_address(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("lightsnn_kit.cluster._PATIENCE", 0.3)
    search = ["search", "--method", "lightsnn", "--width", "4", "--num-steps", "1", "--scheduler", "tcp://127.0.0.1:9"]
    assert command_line.main(search) == 2
    assert "no Dask scheduler answers at 'tcp://127.0.0.1:9'" in capsys.readouterr().err
    notebook = ["run", "notebooks/train.ipynb", "--run", str(tmp_path / "run"), "--scheduler", "2"]
    assert command_line.main(notebook) == 2
    assert "no notebook of this run has a parameter 'scheduler'" in capsys.readouterr().err


# ---- real processes --------------------------------------------------------------------------------------------------


@pytest.mark.fault
def test_processes_of_this_machine_and_of_a_cluster_give_the_same_rows(
    tiny: presets.Preset, serial: tuple, tmp_path: Path
) -> None:
    pooled = Experiment.open(tmp_path / "pool", tiny, scheduler="2")
    assert plain(run_rows(pooled, METHODS, [0])) == serial[0]
    assert records(tmp_path / "pool") == records(serial[1])
    settings = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": ":0", "silence_logs": 50}
    with LocalCluster(**settings) as cluster, Client(cluster.scheduler_address) as client:
        killed = False
        experiment = Experiment.open(tmp_path / "dask", tiny, scheduler=cluster.scheduler_address)
        row = experiment.row("residual", 0)
        for step in row.train(submit=client.get_executor(pure=False).submit):
            if isinstance(step, Future) and not killed:
                killed = True
                os.kill(next(iter(client.run(os.getpid).values())), signal.SIGKILL)  # in the midst of an epoch, or idle
        assert plain(run_rows(experiment, METHODS, [0])) == serial[0]
    assert records(tmp_path / "dask") == records(serial[1])
