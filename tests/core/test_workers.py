"""Worker processes that are killed: the round is kept; and none outlives the process that started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import psutil
import pytest
import torch

from lightsnn_kit.files import RunError
from lightsnn_kit.networks import NetworkConfig, build_supernet
from lightsnn_kit.scoring import Scorer
from lightsnn_kit.search import prune_search
from lightsnn_kit.spaces import CellSpace
from lightsnn_kit.workers import score_in_processes

ROOT = Path(__file__).resolve().parents[2]
SPACE = CellSpace(("zeroize", "skip"), 2)


def make_scorer(space: CellSpace = SPACE) -> Scorer:
    config = NetworkConfig(input_shape=(1, 8, 8), num_classes=2, width=4, hidden=8, num_steps=2)
    batch = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    return Scorer(supernet=build_supernet(space, config, seed=0), batches=(batch,))


@pytest.mark.fault
def test_what_a_killed_worker_had_is_scored_again() -> None:
    scorer = make_scorer()
    expected = list(prune_search(SPACE, scorer))
    with score_in_processes(scorer, workers=2) as (score, executor):
        assert list(executor.map(score, [SPACE.full_mask()])) == [scorer(SPACE.full_mask())]
        for pid in list(executor._pool._processes):
            os.kill(pid, signal.SIGKILL)
        assert list(prune_search(SPACE, score, executor=executor)) == expected


class Broken:
    """A pool whose workers are killed as soon as they have work."""

    started = 0

    def __init__(self) -> None:
        Broken.started += 1

    def submit(self, *_: object) -> None:
        raise BrokenProcessPool

    def shutdown(self, *_: object, **__: object) -> None:
        pass


def test_workers_that_die_again_and_again_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightsnn_kit.workers.ProcessPoolExecutor", lambda *_: Broken())
    with (
        score_in_processes(make_scorer(), workers=1) as (score, executor),
        pytest.raises(RunError, match=r"killed three times in one round.*fewer workers"),
    ):
        list(executor.map(score, [SPACE.full_mask()]))
    assert Broken.started == 3


ORPHANS = """
import os, signal
from lightsnn_kit.workers import score_in_processes
from tests.core.test_workers import SPACE, make_scorer

if __name__ == "__main__":
    with score_in_processes(make_scorer(), workers=2) as (score, executor):
        list(executor.map(score, [SPACE.full_mask()] * 4))
        print(*executor._pool._processes, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.fault
def test_workers_of_a_killed_process_end(tmp_path: Path) -> None:
    (tmp_path / "orphans.py").write_text(ORPHANS)
    command = [sys.executable, str(tmp_path / "orphans.py")]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == -signal.SIGKILL
    workers = list(map(int, done.stdout.split()))
    assert len(workers) >= 1
    end = time.monotonic() + 60
    while time.monotonic() < end and any(map(psutil.pid_exists, workers)):
        time.sleep(0.1)
    assert not any(map(psutil.pid_exists, workers))
