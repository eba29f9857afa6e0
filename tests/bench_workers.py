"""What more processes bring: ``python -m tests.bench_workers`` prints a table and writes ``runs/bench/workers.json``.

Searches of the preset ``digits`` (60 scores) by one and by two processes of this machine, and of a Dask cluster on it,
each in turn with searches in this process: medians of three by the clock and in processor time, workers warmed before;
the overhead of a task and of an epoch; and, on paper, how long work of such tasks takes with a thousand workers.
"""

from __future__ import annotations

import heapq
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from itertools import pairwise

import psutil
import torch
from distributed import LocalCluster

from lightsnn_kit.files import project_root, write_json
from lightsnn_kit.lab import presets
from lightsnn_kit.lab.experiments import Experiment
from lightsnn_kit.lab.runs import provenance
from lightsnn_kit.lab.tasks import AT_ONCE, Task, train_epoch
from lightsnn_kit.scoring import Scorer
from lightsnn_kit.search import prune_search
from lightsnn_kit.workers import score_in_processes

ROUNDS, EMPTY = 3, 300


def seconds_of(call: Callable[[], object]) -> tuple[float, float]:
    """By the clock, and of processors: of this process and its children, whoever else is at work on the machine."""
    start, busy = time.perf_counter(), processor_seconds()
    call()
    return time.perf_counter() - start, processor_seconds() - busy


def processor_seconds() -> float:
    own = psutil.Process()
    return sum(sum(one.cpu_times()[:2]) for one in (own, *own.children(recursive=True)))


def in_rounds(rounds: Sequence[int], seconds: float, overhead: float, workers: int) -> float:
    """Seconds for rounds of so many equal tasks each; one process hands them out, ``overhead`` seconds each.

    A round begins when the one before has ended. A task starts when it has been handed out and a worker is free.

    >>> in_rounds([4, 4], 1.0, 0.0, 2), in_rounds([10], 1.0, 0.5, 1000), in_rounds([1] * 3, 1.0, 0.5, 1000)
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


def in_chains(jobs: int, length: int, seconds: float, overhead: float, workers: int) -> float:
    """Seconds for jobs of ``length`` tasks one after another each, as many jobs together as there are workers.

    >>> in_chains(4, 2, 1.0, 0.0, 2), in_chains(2, 3, 1.0, 0.5, 1000), in_chains(9, 9, 1.0, 0.5, 1000)
    (4.0, 5.0, 41.5)
    """
    first = min(jobs, workers)
    waiting, asking, parent, end = jobs - first, [(0.0, 0)] * first, 0.0, 0.0
    while asking:
        since, done = heapq.heappop(asking)
        parent = max(parent, since) + overhead  # one process hands out and records
        end = max(end, parent + seconds)
        if done + 1 < length:
            heapq.heappush(asking, (parent + seconds, done + 1))
        elif waiting:
            waiting -= 1
            heapq.heappush(asking, (parent + seconds, 0))
    return end


def measure_search(scorer: Scorer, workers: int | str) -> dict[str, float]:
    """Medians of searches here and by workers, in turn, with only these alive; and of a task that does nothing."""
    space = scorer.supernet.design
    empty = Scorer(supernet=scorer.supernet, batches=scorer.batches, proxy="convs")
    masks, times = [space.full_mask()] * EMPTY, {"here": [], "workers": []}
    with score_in_processes(scorer, workers=workers) as (score, executor):
        calls = {"here": lambda: list(prune_search(space, scorer))}
        calls["workers"] = lambda: list(prune_search(space, score, executor=executor))
        assert calls["here"]() == calls["workers"]()  # compiles, builds engines
        for _ in range(ROUNDS):
            for name, call in calls.items():
                times[name].append(seconds_of(call))
    with score_in_processes(empty, workers=workers) as (score, executor):
        list(executor.map(score, masks[:8]))
        task = seconds_of(lambda: list(executor.map(score, masks)))[0] / EMPTY
    found = {name: [statistics.median(each) for each in zip(*pairs, strict=True)] for name, pairs in times.items()}
    ((here, here_busy), (seconds, busy)) = found.values()
    return {"here": here, "seconds": seconds, "here_processor": here_busy, "processor": busy, "task": task}


def measure_epoch(preset: presets.Preset) -> dict[str, float]:
    """Seconds of an epoch, of the task that trains it, and of what the process that keeps the records does for it."""
    with tempfile.TemporaryDirectory() as place:
        row = Experiment.open(f"{place}/run", preset, device="cpu").row("residual", 0)
        next(training := row.train())
        training.close()
        files = {path.name: path.read_bytes() for path in (row.training.path / "checkpoints").glob("*.pt")}
        task = row.experiment.task(0, row.cell)
        found = [(train_epoch(task, 1, files), time.perf_counter()) for _ in range(ROUNDS + 1)]  # the first reads data
        (record, changed, made), _ = found[-1]

        def submit(call: Callable, task: Task, epoch: int, files: dict) -> Future:
            future = Future()
            future.set_result((replace(record, epoch=epoch + 1), changed, made))
            return future

        kept = seconds_of(lambda: list(row.train(submit=submit)))[0] / (preset.train.epochs - 1)
    whole = [after - before for (_, before), (_, after) in pairwise(found)]
    inside = statistics.median(record.seconds for (record, *_), _ in found[1:])
    sizes = {"checkpoints_bytes": sum(map(len, files.values()))}
    return {"epoch": inside, "task": statistics.median(whole), "records": kept} | sizes


def main() -> None:
    torch.set_num_threads(1)
    preset, found = presets.get("digits"), provenance()
    print(f"{found['processor']}, {found['processors']} processors, load {found['load']}; one thread a process")
    scorer = Experiment.open(tempfile.mkdtemp(), preset, device="cpu").row("lightsnn", 0).scorer()
    search = {}
    for count in (1, 2):
        search[f"processes, {count}"] = measure_search(scorer, count)
        with LocalCluster(n_workers=count, threads_per_worker=1, dashboard_address=":0", silence_logs=50) as cluster:
            search[f"Dask, {count}"] = measure_search(scorer, cluster.scheduler_address)
    epoch = measure_epoch(preset)
    for name, one in search.items():
        ratios = one["here"] / one["seconds"], one["here_processor"] / one["processor"]
        words = f"search, {name:13} {one['seconds']:6.2f} s, here {one['here']:6.2f} s: {ratios[0]:5.2f} × by the clock"
        words += f"; {one['processor']:5.2f} s of processors, {ratios[1]:5.2f} ×"
        print(f"{words}; an empty task {1000 * one['task']:.2f} ms")
    for kind in ("processes", "Dask"):
        one, two = search[f"{kind}, 1"], search[f"{kind}, 2"]
        gain = two["here"] / two["seconds"] * one["seconds"] / one["here"]
        print(f"{kind}: two to one {gain:.2f} ×; {2 * one['processor'] / two['processor']:.2f} × by processor time")
    words = "an epoch of {epoch:.2f} s is a task of {task:.2f} s and {records:.3f} s here, {checkpoints_bytes:,} bytes"
    print(words.format(**epoch))
    task = search["Dask, 2"]["task"]
    paper = on_paper(search["processes, 1"]["here_processor"] / 60, epoch["task"], task, task + epoch["records"])
    for words, seconds in paper.items():
        print(f"{words:52} " + "  ".join(f"{workers}: {one:.0f} s" for workers, one in seconds.items()))
    path = project_root() / "runs" / "bench" / "workers.json"
    rows = {"search": search, "epoch": epoch, "on_paper": paper}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"provenance": provenance(), **rows}, replace=True)
    print(f"written to {path.relative_to(project_root())}")


def on_paper(score: float, epoch: float, task: float, records: float) -> dict[str, dict[str, float]]:
    """Seconds of whole pieces of work by the number of workers, from seconds of a score and of an epoch.

    ``task``, ``records``: what a score's task and an epoch's cost the one process that hands them out.
    """
    pruning, drawn = [36, 24], [64] * 78 + [8]  # 12 edges of 3, then of 2 operations; as random_search draws its cells
    work = {
        "LightSNN's search, digits": lambda n: in_rounds(pruning, score, task, n),
        "LightSNN's search, the paper's size, 17 s a score": lambda n: in_rounds(
            pruning, 17.0, task, n
        ),  # data/results
        "5,000 random cells of 17 s, 64 at a time": lambda n: in_rounds(drawn, 17.0, task, n),
        "24 trainings of 15 epochs, digits": lambda n: in_chains(24, 15, epoch, records, n),
        "95 trainings of 6 epochs of 4.2 s": lambda n: in_chains(95, 6, 4.2, records, n),  # fashion-mnist-small
        "1,000 trainings of 300 epochs of 60 s": lambda n: in_chains(
            1000, 300, 60.0, records, min(n, AT_ONCE)
        ),  # assumed
    }
    return {words: {str(n): seconds(n) for n in (1, 2, 16, 64, 1000)} for words, seconds in work.items()}


if __name__ == "__main__":
    main()
