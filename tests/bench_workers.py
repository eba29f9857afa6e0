"""What more processes bring: ``python -m tests.bench_workers`` prints a table and writes ``runs/bench/workers.json``.

Searches of the preset ``digits`` (60 scores) by one and by two processes of this machine and of a Dask cluster on it,
in turn, medians of three by the clock, workers started and warmed before; the overhead of a task; and, on paper, how
long work of such tasks takes with a thousand workers.
"""

from __future__ import annotations

import heapq
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack

import torch
from distributed import LocalCluster

from lightsnn_kit.files import project_root, write_json
from lightsnn_kit.lab import presets
from lightsnn_kit.lab.experiments import Experiment
from lightsnn_kit.lab.runs import provenance
from lightsnn_kit.lab.tasks import train_epoch
from lightsnn_kit.scoring import Scorer
from lightsnn_kit.search import prune_search
from lightsnn_kit.workers import score_in_processes

ROUNDS, EMPTY = 3, 300


def seconds_of(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def simulated(rounds: Sequence[int], seconds: float, overhead: float, workers: int) -> float:
    """Seconds for rounds of so many equal tasks each; one process hands them out, ``overhead`` seconds each.

    A round begins when the one before has ended. A task starts when it has been handed out and a worker is free.

    >>> simulated([4, 4], 1.0, 0.0, 2), simulated([10], 1.0, 0.5, 1000), simulated([1] * 3, 1.0, 0.5, 1000)
    (4.0, 6.0, 4.5)
    """
    now = 0.0
    for tasks in rounds:
        free, end = [now] * min(workers, tasks), now
        for number in range(1, tasks + 1):
            end = max(now + number * overhead, heapq.heappop(free)) + seconds
            heapq.heappush(free, end)
        now = end
    return now


def measure_search(scorer: Scorer) -> tuple[dict[str, float], dict[str, float]]:
    """Seconds of a search by who scores, medians; and seconds of a task that does next to nothing."""
    space = scorer.supernet.design
    empty = Scorer(supernet=scorer.supernet, batches=scorer.batches, proxy="convs")
    with ExitStack() as stack:
        settings = {"threads_per_worker": 1, "dashboard_address": None, "silence_logs": 50}
        clusters = [stack.enter_context(LocalCluster(n_workers=count, **settings)) for count in (1, 2)]
        places = {"1 process": 1, "2 processes": 2}
        places |= {f"Dask, {n} workers": one.scheduler_address for n, one in enumerate(clusters, 1)}
        enter = lambda one, workers: stack.enter_context(score_in_processes(one, workers=workers))  # noqa: E731
        who = {"this process": (scorer, None)} | {name: enter(scorer, place) for name, place in places.items()}
        idle = {name: enter(empty, place) for name, place in places.items()}
        search = {
            name: lambda s=score, e=executor: list(prune_search(space, s, executor=e))
            for name, (score, executor) in who.items()
        }
        found = [call() for call in search.values()]  # compiles, builds engines
        assert all(steps == found[0] for steps in found)
        times = {name: [] for name in search}
        for _ in range(ROUNDS):
            for name, call in search.items():
                times[name].append(seconds_of(call))
        masks = [space.full_mask()] * EMPTY
        for score, executor in idle.values():
            list(executor.map(score, masks[:4]))
        empties = {n: seconds_of(lambda s=s, e=e: list(e.map(s, masks))) / EMPTY for n, (s, e) in idle.items()}
    return {name: statistics.median(each) for name, each in times.items()}, empties


def measure_epoch(preset: presets.Preset) -> dict[str, float]:
    """Seconds of an epoch that a task trains, and of all that comes with it: checkpoints, data, building."""
    with tempfile.TemporaryDirectory() as place:
        row = Experiment.open(f"{place}/run", preset, device="cpu").row("residual", 0)
        next(row.train())
        checkpoints = row.training.path / "checkpoints"
        files = {path.name: path.read_bytes() for path in checkpoints.glob("*.pt")}
        task = row.experiment.task(0, row.cell)
        train_epoch(task, 1, files)
        whole, inside = [], []
        for _ in range(ROUNDS):
            start = time.perf_counter()
            inside.append(train_epoch(task, 1, files)[0].seconds)
            whole.append(time.perf_counter() - start)
    sizes = sum(map(len, files.values()))
    return {"epoch": statistics.median(inside), "task": statistics.median(whole), "checkpoint_bytes": sizes}


def main() -> None:
    torch.set_num_threads(1)
    preset, found = presets.get("digits"), provenance()
    print(f"{found['processor']}, {found['processors']} processors, load {found['load']}; one thread a process")
    scorer = Experiment.open(tempfile.mkdtemp(), preset, device="cpu").row("lightsnn", 0).scorer()
    search, empty = measure_search(scorer)
    epoch = measure_epoch(preset)
    for name, seconds in search.items():
        print(f"search, {name:18} {seconds:7.2f} s   {search['1 process'] / seconds:5.2f} × one process")
    for name, seconds in empty.items():
        print(f"a task of nothing, {name:18} {1000 * seconds:6.2f} ms")
    print(f"an epoch of {epoch['epoch']:.2f} s is a task of {epoch['task']:.2f} s, {epoch['checkpoint_bytes']:,} bytes")
    overhead, score = empty["Dask, 2 workers"], search["this process"] / 60
    paper = on_paper(score, epoch["task"], overhead)
    for words, seconds in paper.items():
        print(f"{words:70} " + "  ".join(f"{workers}: {one:9.0f} s" for workers, one in seconds.items()))
    path = project_root() / "runs" / "bench" / "workers.json"
    rows = {"search_seconds": search, "empty_task_seconds": empty, "epoch": epoch, "on_paper": paper}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"provenance": provenance(), **rows}, replace=True)
    print(f"written to {path.relative_to(project_root())}")


def on_paper(score: float, epoch: float, overhead: float) -> dict[str, dict[int, float]]:
    """Seconds of whole pieces of work by the number of workers, from seconds of a score, an epoch and a task."""
    work = {
        "LightSNN's search, digits (60 scores)": ([36, 24], score),
        "LightSNN's search, the paper's size (60 scores of 17 s)": ([36, 24], 17.0),
        "SNASNet's random search, the paper's size (5,000 scores of 17 s)": ([64] * 78 + [8], 17.0),
        "24 trainings of 15 epochs, digits": ([24] * 15, epoch),
        "95 trainings of 300 epochs of 10 minutes": ([95] * 300, 600.0),
    }
    return {
        words: {workers: simulated(rounds, seconds, overhead, workers) for workers in (1, 2, 16, 64, 1000)}
        for words, (rounds, seconds) in work.items()
    }


if __name__ == "__main__":
    main()
