"""Benchmark of scoring and training: ``make bench`` prints a table and writes ``runs/bench/scoring.json``.

Every ratio is measured in one process, its sides in turn, medians of at least five, in processor time of one thread:
a shared machine's cores come and go, and OpenMP's waiting threads then slow the plain scorer down several times.
Searches are timed by the clock, on one thread, on all, and by two processes. The yardstick is the plain scorer in
torch's and spikingjelly's own layers (``init='stock'``): one LIF layer, one convolution and two B×N products per
convolution of every edge. The time of its convolutions alone is taken inside the same passes.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import torch
from torch import nn

from lightsnn_kit import kernels, scoring
from lightsnn_kit.fast import amx, cpu_engine, cpu_parts
from lightsnn_kit.fast import cpu_loops as cpu_kernels
from lightsnn_kit.files import project_root, write_json
from lightsnn_kit.lab.runs import provenance
from lightsnn_kit.networks import NetworkConfig, build_supernet
from lightsnn_kit.scoring import Scorer
from lightsnn_kit.search import prune_search
from lightsnn_kit.spaces import SPACES
from lightsnn_kit.workers import score_in_processes
from tests.bench_training import training

SPACE = SPACES["lightsnn"]
ROUNDS = 5
# width: batch, speed-up, share of conv time; the first three for processors with AMX
TARGETS = {16: (64, 12.0, 0.8), 64: (16, 14.0, 0.45), 256: (16, 16.0, 0.3)}


def make_scorer(width: int, batch: int, engine: str, *, batches: int = 1) -> Scorer:
    """All ops alive on 12 edges, T = 5, 32×32 noise images (the work does not depend on them), batch statistics."""
    settings = NetworkConfig(
        input_shape=(3, 32, 32), num_classes=10, width=width, num_steps=5, input_centre=(127.0,), input_scale=1 / 64
    )
    generator = torch.Generator().manual_seed(0)
    images = [torch.randint(0, 256, (batch, 3, 32, 32), generator=generator, dtype=torch.uint8) for _ in range(batches)]
    supernet = build_supernet(SPACE, settings, init="lattice" if engine == "fast" else "stock")
    return Scorer(supernet=supernet, batches=tuple(images), engine=engine)


@contextmanager
def clocked(owner: object, name: str, clock, seconds: dict[str, float], part: str):
    """Add the time spent in a function to ``seconds[part]`` while the block runs."""
    function, stored = getattr(owner, name), vars(owner)[name]

    def wrapper(*args, **kwargs):
        start = clock()
        try:
            return function(*args, **kwargs)
        finally:
            seconds[part] = seconds.get(part, 0.0) + clock() - start

    setattr(owner, name, staticmethod(wrapper) if isinstance(stored, staticmethod) else wrapper)
    try:
        yield
    finally:
        setattr(owner, name, stored)


def seconds_of(call, clock=time.perf_counter) -> float:
    start = clock()
    call()
    return clock() - start


@contextmanager
def parts_clocked(parts: dict[str, float]):
    """Add the processor time that goes into the parts of a score while the block runs."""
    cpu = cpu_engine.CpuEngine
    places = [
        ("convolution", (cpu_parts.Group, "__call__"), (amx.TileConvs, "__call__")),
        ("neuron", *((cpu_kernels, name) for name in ("integrate", "pool_pairs"))),
        ("statistics", *((cpu_kernels, name) for name in ("collect", "largest", "sum_plane")), (cpu, "_normalise")),
        ("kernel", (cpu_kernels, "shared_spikes"), (cpu_engine, "pack_rows")),
        ("kernel", (kernels.SpikeStatistics, "kernel"), (scoring, "log_det")),
    ]
    with ExitStack() as stack:
        for part, *functions in places:
            for owner, name in functions:
                stack.enter_context(clocked(owner, name, time.thread_time, parts, part))
        yield


def compare(width: int) -> list[dict]:
    """Speed-up over the plain scorer, and the engine's time in units of the plain scorer's convolutions."""
    batch, speedup, share = TARGETS[width]
    mask, fast, plain = SPACE.full_mask(), make_scorer(width, batch, "fast"), make_scorer(width, batch, "plain")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    fast(mask), plain(mask)
    times: dict[str, list[float]] = {"fast": [], "plain": [], "conv": []}
    for _ in range(ROUNDS):
        conv: dict[str, float] = {}
        times["fast"].append(seconds_of(lambda: fast(mask), time.thread_time))
        with clocked(nn.Conv2d, "forward", time.thread_time, conv, "conv"):
            times["plain"].append(seconds_of(lambda: plain(mask), time.thread_time))
        times["conv"].append(conv["conv"])
    profile = profile_score(fast, width)
    torch.set_num_threads(threads)
    median = {name: statistics.median(values) for name, values in times.items()}
    print(f"  C={width}, B={batch}: " + ", ".join(f"{k} {1000 * v:.0f} ms" for k, v in median.items()), flush=True)
    return [
        row(f"speedup_plain_C{width}", median["plain"] / median["fast"], "×", speedup, at_least=True),
        row(f"ratio_conv_C{width}", median["fast"] / median["conv"], "×", share, at_least=False),
        *(row(f"{name}_ms_C{width}", 1000 * value, "ms") for name, value in median.items()),
        *profile,
    ]


def profile_score(scorer: Scorer, width: int) -> list[dict]:
    """Where the time of a score goes, and how near its convolutions come to the fastest that oneDNN does here."""
    parts: dict[str, float] = {}
    macs, calls = [0], {one: one.__call__ for one in (cpu_parts.Group, amx.TileConvs)}

    def counted(self, spikes, *args):
        channels = self.channels if isinstance(self, cpu_parts.Group) else 32 * len(self.tiles)  # those filled up count
        macs[0] += spikes.size * channels * self.kernel**2
        return calls[type(self)](self, spikes, *args)

    for one in calls:
        one.__call__ = counted
    try:
        with parts_clocked(parts):
            total = seconds_of(lambda: [scorer(SPACE.full_mask()) for _ in range(ROUNDS)], time.thread_time)
    finally:
        for one, call in calls.items():
            one.__call__ = call
    parts["rest"] = total - sum(parts.values())
    return [
        *(row(f"{name}_ms_C{width}", 1000 * value / ROUNDS, "ms") for name, value in parts.items()),
        row(f"int8_rate_C{width}", macs[0] / parts["convolution"] / 1e9, "GMAC/s"),
    ]


def best_int8_rate() -> list[dict]:
    """The rate of oneDNN's large convolution (512 to 512 channels at 16×16), which fills the int8 units best."""
    weight, spikes = torch.randint(-127, 128, (512, 512, 3, 3)), torch.randint(0, 2, (16, 512, 16, 16)).to(torch.uint8)
    spikes = spikes.contiguous(memory_format=torch.channels_last)
    if not cpu_parts.int8_works():
        return []
    packed, threads = cpu_parts._packed_weight(weight), torch.get_num_threads()
    torch.set_num_threads(1)
    call = lambda: cpu_parts._int8_conv(spikes, packed, 512, 3)  # noqa: E731
    seconds = statistics.median(seconds_of(call, time.thread_time) for _ in range(2 * ROUNDS))
    torch.set_num_threads(threads)
    return [row("int8_rate_best", spikes.numel() * 512 * 9 / seconds / 1e9, "GMAC/s")]


def search_time() -> list[dict]:
    """The whole 60-score search (two batches) at C = 16: on one thread, on all of them, by two processes, in turn."""
    scorer, threads = make_scorer(16, 64, "fast", batches=2), torch.get_num_threads()
    walls: dict[str, list[float]] = {"one_thread": [], "threads": [], "two_processes": []}
    with score_in_processes(scorer, workers=2) as (score, executor):
        list(executor.map(score, [SPACE.full_mask()] * 4))  # compiles, builds engines
        for _ in range(3):
            for name, count in (("one_thread", 1), ("threads", threads)):
                torch.set_num_threads(count)
                walls[name].append(seconds_of(lambda: list(prune_search(SPACE, scorer))))
            call = lambda: list(prune_search(SPACE, score, executor=executor))  # noqa: E731
            walls["two_processes"].append(seconds_of(call))
    one, several, two = map(statistics.median, walls.values())
    parts: dict[str, float] = {}
    torch.set_num_threads(1)
    with parts_clocked(parts):
        total = seconds_of(lambda: list(prune_search(SPACE, scorer)), time.process_time)
    torch.set_num_threads(threads)
    parts["rest"] = total - sum(parts.values())
    return [
        row("search60_seconds_C16_one_thread", one, "s"),
        row("search60_seconds_C16", several, "s", 10.0, at_least=False),
        row(f"search60_{threads}_threads", one / several, "×"),
        row("search60_two_processes", one / two, "×", 1.8),
        *(row(f"search60_share_{name}", value / total, "of processor time") for name, value in parts.items()),
    ]


def paper_search_time() -> list[dict]:
    """The search at the paper's size, 60 scores of two batches of 64 at C = 256, once; minutes only where AMX is."""
    if not amx.amx_works():
        return []
    scorer = make_scorer(256, 64, "fast", batches=2)
    seconds = seconds_of(lambda: list(prune_search(SPACE, scorer)))
    return [row("search60_minutes_C256_B64", seconds / 60, "min", 6.0, at_least=False)]


def peak_mebibytes(engine: str, width: int, batch: int) -> float:
    """Growth of the resident peak during one score, everything loaded before (Linux: /proc)."""

    make_scorer(4, 4, engine)(SPACE.full_mask())
    scorer = make_scorer(width, batch, engine)
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before = psutil.Process().memory_info().rss
    scorer(SPACE.full_mask())
    peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]  # psutil 7 knows no peak here
    return (1024 * int(peak) - before) / 2**20


def in_new_process(expression: str, **environment: str) -> float:
    """The value of an expression of this module, in a fresh interpreter."""
    code = f"from tests import bench; print(bench.{expression})"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
        cwd=project_root(),
    )
    return float(done.stdout.split()[-1])


def memory() -> list[dict]:
    rows = []
    for width, batch in ((16, 64), (256, 16)):
        peaks = {
            engine: statistics.median(in_new_process(f"peak_mebibytes('{engine}', {width}, {batch})") for _ in range(3))
            for engine in ("fast", "plain")
        }
        ratio, name = peaks["fast"] / peaks["plain"], "memory_ratio" if width == 16 else f"memory_ratio_C{width}"
        rows.append(row(name, ratio, "×", 0.6, at_least=False))
        rows += [row(f"memory_{engine}_C{width}", value, "MiB") for engine, value in peaks.items()]
    return rows


def first_use_seconds() -> float:
    """What the first score costs beyond the second: compilation or loading of the compiled loops, verification.

    Processor time: on an idle machine the clock shows the same, since compiling uses one core.
    """
    scorer = make_scorer(16, 8, "fast")
    first = seconds_of(lambda: scorer(SPACE.full_mask()), time.process_time)
    return first - seconds_of(lambda: scorer(SPACE.full_mask()), time.process_time)


def first_use() -> list[dict]:
    with tempfile.TemporaryDirectory() as cache:
        cold = in_new_process("first_use_seconds()", NUMBA_CACHE_DIR=cache)
        warm = statistics.median(in_new_process("first_use_seconds()", NUMBA_CACHE_DIR=cache) for _ in range(3))
    return [
        row("first_use_cold_seconds", cold, "s", 10.0, at_least=False),
        row("first_use_warm_seconds", warm, "s", 1.0, at_least=False),
    ]


def row(name: str, value: float, unit: str, target: float | None = None, *, at_least: bool = True) -> dict:
    """One line of the table; ``holds`` is None without a target."""
    holds = None if target is None else value >= target if at_least else value <= target
    return {"name": name, "value": round(value, 4), "unit": unit, "target": target, "holds": holds}


def machine() -> dict:
    return {"int8": cpu_parts.int8_works(), "amx": amx.amx_works(), "provenance": provenance()}


def main() -> None:
    found, rows = machine(), []
    made = found["provenance"]
    print(
        f"{made['processor']}, {made['threads']} threads, int8 {found['int8']}, AMX {found['amx']}, load {made['load']}"
    )
    for title, measure in [
        *((f"speed at C = {width}", lambda width=width: compare(width)) for width in TARGETS),
        ("int8 convolution", best_int8_rate),
        ("search", search_time),
        ("search at the paper's size", paper_search_time),
        ("memory", memory),
        ("first use", first_use),
        ("training", training),
    ]:
        print(title, flush=True)
        rows += measure()
    for r in rows:
        target = "" if r["target"] is None else f"target {r['target']:g}: {'holds' if r['holds'] else 'MISSED'}"
        print(f"{r['name']:28s} {r['value']:10.3f} {r['unit']:18s} {target}")
    path = project_root() / "runs" / "bench" / "scoring.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"machine": found, "rows": rows}, replace=True)
    missed = [r["name"] for r in rows if r["holds"] is False]
    print(f"written to {path.relative_to(project_root())}; targets missed: {', '.join(missed) or 'none'}")


if __name__ == "__main__":
    main()
