"""Dask's workers: the same bits for any number of them, and whoever cannot work is told before work begins."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from distributed import Client, LocalCluster

from lightsnn_kit import cluster
from lightsnn_kit.evolution import evolve
from lightsnn_kit.files import RunError
from lightsnn_kit.search import prune_search
from lightsnn_kit.spaces import CellSpace
from lightsnn_kit.workers import score_in_processes, worker_processes
from tests.core.test_workers import make_scorer

SPACE = CellSpace(("zeroize", "skip", "conv3x3"), 3)  # two rounds, of 18 and 12 scores
KIT = Path(cluster.__file__).parent
NOBODY = "tcp://127.0.0.1:9"


@contextmanager
def workers(count: int, *, processes: bool = False, threads: int = 1) -> Iterator[LocalCluster]:
    """A scheduler and workers on this machine, in processes of their own or as threads of this one."""
    settings = {"n_workers": count, "threads_per_worker": threads, "processes": processes, "dashboard_address": ":0"}
    with LocalCluster(**settings, protocol="tcp", silence_logs=50) as found:
        yield found


@pytest.mark.parametrize("count", [1, 4])
def test_any_number_of_workers_decides_alike(count: int) -> None:
    scorer = make_scorer(SPACE)
    with workers(count) as found, score_in_processes(scorer, workers=found.scheduler_address) as (score, executor):
        assert list(prune_search(SPACE, score, executor=executor)) == list(prune_search(SPACE, scorer))
        assert executor.submit(score.with_synops, SPACE.full_mask()).exception() is not None  # no cell
        with worker_processes(found.scheduler_address) as (_, size):
            assert size() == count


@pytest.mark.parametrize("address", [NOBODY, "nonsense", "http://127.0.0.1:8786", "tcp://no.such.host.invalid:8786"])
def test_a_wrong_address_is_told(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "_PATIENCE", 0.3)
    with (
        pytest.raises(RunError, match=r"no Dask scheduler answers at .*expected an address such as tcp://node7:8786"),
        score_in_processes(make_scorer(SPACE), workers=address),
    ):
        pass


def test_dask_that_is_not_installed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with (
        pytest.raises(RunError, match=r"needs Dask, which is not installed; install it: pip .*\[cluster\]"),
        worker_processes(NOBODY),
    ):
        pass


def test_workers_that_are_none_or_too_wide_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "_PATIENCE", 0.3)
    with workers(0) as found, pytest.raises(RunError, match=r"has no workers; start some: dask worker tcp://127"):
        worker_processes(found.scheduler_address).__enter__()
    with (
        workers(1, threads=2) as found,
        pytest.raises(RunError, match=r"1 of 1 workers .* several threads .*nthreads 1"),
    ):
        worker_processes(found.scheduler_address).__enter__()


def test_versions_follow_the_source(tmp_path: Path) -> None:
    here = cluster.versions()
    assert list(here) == ["python", "lightsnn_kit", "torch", "spikingjelly", "numpy"]
    assert not any("+" in version for version in here.values())
    assert cluster.misfit(dict(here), here) == ""
    assert cluster.misfit({}, here).startswith("python None there, 3.")
    assert cluster.misfit(ModuleNotFoundError("No module"), here) == "lightsnn_kit cannot be loaded there (No module)"


# ---- real processes: starting one takes seconds ----------------------------------------------------------------------


@pytest.mark.fault
def test_workers_without_the_kit_or_with_another_are_told(tmp_path: Path) -> None:
    (tmp_path / "lightsnn_kit").mkdir()
    for name in ("__init__", "cluster", "files", "locks"):
        shutil.copy(KIT / f"{name}.py", tmp_path / "lightsnn_kit")
    start = "from distributed.cli.dask_worker import main; main()"
    without = f"import sys; sys.modules['lightsnn_kit'] = None; {start}"
    options = ["--no-nanny", "--no-dashboard", "--nthreads", "1"]
    with workers(0) as found, Client(found.scheduler_address) as client:
        for code, path, said in (
            (without, os.environ.get("PYTHONPATH", ""), "lightsnn_kit cannot be loaded there"),
            (start, str(tmp_path), r"lightsnn_kit 0\.1\.0 \(source \w{12}\) there, 0\.1\.0 \(source \w{12}\) here"),
        ):
            command = [sys.executable, "-c", code, found.scheduler_address, *options]
            process = subprocess.Popen(
                command, env=os.environ | {"PYTHONPATH": path}, cwd=tmp_path, stderr=subprocess.DEVNULL
            )
            try:
                client.wait_for_workers(1, timeout=120)
                with pytest.raises(RunError, match=rf"1 of 1 workers of tcp:.*{said}.*Install the same versions there"):
                    worker_processes(found.scheduler_address).__enter__()
            finally:
                process.kill()
                process.wait()
            while client.nthreads():
                time.sleep(0.1)


@pytest.mark.fault
def test_a_worker_killed_in_mid_round_and_a_lost_scheduler_lose_no_decision() -> None:
    scorer = make_scorer(SPACE)
    expected, points = list(prune_search(SPACE, scorer)), list(evolve(SPACE, scorer, budget=6, rng=a_generator()))
    with workers(2, processes=True) as found:
        with score_in_processes(scorer, workers=found.scheduler_address) as (score, executor):
            values = executor.map(score, [SPACE.full_mask()] * 40)
            assert next(values) == scorer(SPACE.full_mask())
            with Client(found.scheduler_address) as client:
                os.kill(next(iter(client.run(os.getpid).values())), signal.SIGKILL)
            assert list(values) == [scorer(SPACE.full_mask())] * 39
            assert list(evolve(SPACE, score, budget=6, rng=a_generator(), executor=executor)) == points
            steps = prune_search(SPACE, score, executor=executor)
            kept = next(steps)
        lost = pytest.raises(RunError, match=r"lost the scheduler at tcp://.*What is recorded is kept: run again")
        with lost, score_in_processes(scorer, workers=found.scheduler_address) as (score, executor):
            found.close()
            list(executor.map(score, [SPACE.full_mask()]))
    with (
        workers(4, processes=True) as again,
        score_in_processes(scorer, workers=again.scheduler_address) as (score, ex),
    ):
        assert [kept, *prune_search(SPACE, score, mask=kept.mask, executor=ex)] == expected


@pytest.mark.fault
def test_any_number_of_processes_decides_alike() -> None:
    scorer = make_scorer(SPACE)
    expected = list(prune_search(SPACE, scorer))
    for count in (1, 4):
        with score_in_processes(scorer, workers=count) as (score, executor):
            assert list(prune_search(SPACE, score, executor=executor)) == expected


def a_generator() -> np.random.Generator:
    return np.random.default_rng(0)
