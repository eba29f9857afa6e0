"""What ``make gpu`` measures, part by part; each runs in a process of its own, takes a ``Place`` and returns rows."""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from lightsnn_kit.fast.device import DeviceEngine
from lightsnn_kit.files import project_root
from lightsnn_kit.kernels import log_det
from lightsnn_kit.lab import presets
from lightsnn_kit.networks import NetworkConfig, build_network, build_supernet
from lightsnn_kit.scoring import Scorer
from lightsnn_kit.search import prune_search
from lightsnn_kit.spaces import PUBLISHED_CELLS, SPACES, OpMask
from tests.bench import row
from tests.bench_training import make_step
from tests.gpu.multi_step import MultiStepNetwork
from tests.gpu.roofline import Ceilings, predicted_seconds, search_work
from tests.per_edge import PerEdgeNetwork

SPACE = SPACES["lightsnn"]
CELL = "snasnet-cifar10"
FORWARD = "|conv3x3~0|+|skip~0|conv3x3~1|+|skip~0|skip~1|conv3x3~2|"


@dataclass(frozen=True)
class Place:
    """Where it is measured: a card with the paper's sizes, or the CPU with tiny ones, to rehearse."""

    rehearsal: bool

    @property
    def device(self) -> torch.device:
        return torch.device("cpu" if self.rehearsal else "cuda")

    def size(self, real: int, small: int) -> int:
        return small if self.rehearsal else real

    def synchronise(self) -> None:
        if not self.rehearsal:
            torch.cuda.synchronize()

    def seconds(self, call: Callable[[], object], *, rounds: int = 5) -> float:
        """The median time of a call, everything it launched included; the first call is not counted."""
        times = []
        for _ in range(1 + (1 if self.rehearsal else rounds)):
            self.synchronise()
            start = time.perf_counter()
            call()
            self.synchronise()
            times.append(time.perf_counter() - start)
        return statistics.median(times[1:])

    @contextmanager
    def peak(self, found: list[float]) -> Iterator[None]:
        """Append the GiB that tensors took at most while the block ran (0 in a rehearsal)."""
        if not self.rehearsal:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        yield
        found.append(0.0 if self.rehearsal else torch.cuda.max_memory_allocated() / 2**30)


def images(batch: int, size: int, *, seed: int = 0) -> torch.Tensor:
    """Noise: the work does not depend on what is seen."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (batch, 3, size, size), generator=generator, dtype=torch.uint8)


def make_scorer(
    place: Place, width: int, batch: int, engine: str, *, init: str = "lattice", batches: int = 2
) -> Scorer:
    """All ops alive on 12 edges, T = 5, 32×32 images; 'device' is the engine of GPUs, also on the CPU."""
    size = place.size(32, 8)
    settings = NetworkConfig(
        input_shape=(3, size, size), num_classes=10, width=width, input_centre=(127.0,), input_scale=1 / 64
    )
    place_of = torch.device("cpu") if engine == "fast" else place.device
    supernet = build_supernet(SPACE, settings, init=init).to(place_of)
    x = tuple(images(batch, size, seed=seed).to(place_of) for seed in range(batches))
    scorer = Scorer(supernet=supernet, batches=x, engine="plain" if engine == "plain" else "fast")
    if engine == "device" and place.rehearsal:
        scorer._engine = DeviceEngine(supernet, x, bn="batch")  # the CPU's own engine would be taken
    return scorer


# ---- parts -----------------------------------------------------------------------------------------------------------


def gpu_tests(place: Place) -> list[dict]:
    """The tests marked ``gpu``."""
    if place.rehearsal:
        return []
    files = sorted((project_root() / "tests").rglob("test_*.py"))
    marked = [file for file in files if "mark.gpu" in file.read_text(encoding="utf-8")]  # the others import more
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", *map(str, marked)]
    done = subprocess.run(command, cwd=project_root(), capture_output=True, text=True)
    print(done.stdout[-3000:])
    counts = {word: int(number) for number, word in re.findall(r"(\d+) (passed|failed|skipped|error)", done.stdout)}
    if done.returncode not in (0, 1):  # neither all passed nor some failed: there were none, or pytest itself broke
        raise RuntimeError(f"pytest ended with {done.returncode}: {(done.stdout + done.stderr)[-300:]}")
    passed = row("tests_passed", counts.get("passed", 0), "tests", 1)
    return [passed, *(row(f"tests_{w}", counts.get(w, 0), "tests", 0, at_least=False) for w in ("failed", "error"))]


def exactness(place: Place) -> list[dict]:
    """Integers and scores beside the CPU's, with TF32 on and off, candidates together and alone."""
    rows = []
    for width, batch in ((16, 64), (64, 8), (256, 4)) if not place.rehearsal else ((6, 4),):
        near, far = (make_scorer(place, width, batch, engine, batches=1) for engine in ("fast", "device"))
        rng, full = np.random.default_rng(width), SPACE.full_mask()
        masks = [full.without(edge, op) for edge, op in full.candidates()[:: place.size(9, 18)]]
        masks += [OpMask.from_cell(SPACE.sample(rng), SPACE) for _ in range(4)]
        expected = [near.statistics(mask, patterns=True)[0] for mask in masks]
        scores = [log_det(one.kernel()) for one in expected]
        for tf32 in (False, True):
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
            got = far._engine.run_many(masks, 0, feedback=True, patterns=True)
            pairs = [(one.by_layer(), other.by_layer()) for one, other in zip(got, expected, strict=True)]
            differ = sum(
                int((mine[layer][part].cpu() != theirs[layer][part]).sum())
                for mine, theirs in pairs for layer in theirs for part in (0, 1)
            )  # fmt: skip
            differ += sum(int((g.patterns.cpu() != e.patterns).sum()) for g, e in zip(got, expected, strict=True))
            wrong = sum(a != b for a, b in zip(far.many(masks), scores, strict=True))
            wrong += sum(log_det(g.kernel()) != score for g, score in zip(got, scores, strict=True))
            name = f"C{width}_tf32_{'on' if tf32 else 'off'}"
            rows += [row(f"integers_that_differ_{name}", differ, f"of {len(masks)} masks", 0, at_least=False)]
            rows += [row(f"scores_that_differ_{name}", wrong, f"of {2 * len(masks)}", 0, at_least=False)]
    return rows


def scoring(place: Place) -> list[dict]:
    """Scores and the search of 60 scores, two batches of 64, beside the plain scorer on the card and the roofline."""
    ceilings = ceilings_of(place)
    rows = [row("copy_rate", ceilings.bytes_per_second / 1e9, "GB/s")]
    rows += [row("product_rate", ceilings.operations_per_second / 1e12, "10¹² operations/s, int8 into int32")]
    for width in (16, 64, 128, 256) if not place.rehearsal else (4,):
        rows += scoring_at(place, width, place.size(64, 4), ceilings)
    return rows


def scoring_at(place: Place, width: int, batch: int, ceilings: Ceilings) -> list[dict]:
    peaks, mask, scorer = [], SPACE.full_mask(), make_scorer(place, width, batch, "device")
    candidates = [mask.without(edge, op) for edge, op in mask.candidates()]
    with place.peak(peaks):
        together = place.seconds(lambda: scorer.many(candidates), rounds=3) / len(candidates)
    alone = place.seconds(lambda: scorer(mask))
    search = place.seconds(lambda: list(prune_search(SPACE, scorer)), rounds=1)
    stock = make_scorer(place, width, batch, "plain", init="stock")
    plain = place.seconds(lambda: stock(mask), rounds=3)
    paper = predicted_seconds(search_work(width, batch=batch, size=place.size(32, 8)), ceilings)
    return [
        row(f"speedup_plain_C{width}", plain / together, "×"),
        row(f"plain_ms_C{width}", 1000 * plain, "ms per score"),
        row(f"alone_ms_C{width}", 1000 * alone, "ms per score"),
        row(f"together_ms_C{width}", 1000 * together, "ms per score"),
        row(f"search60_C{width}", search, "s"),
        row(f"search60_paper_C{width}", paper, "s, by the roofline"),
        row(f"search60_over_paper_C{width}", search / paper, "×"),
        row(f"round_peak_C{width}", peaks[0], "GiB"),
    ]


def ceilings_of(place: Place) -> Ceilings:
    """What the card does at best here: a large copy (bytes read and written), a large int8 product."""
    x = torch.empty(place.size(2**30, 2**20), dtype=torch.uint8, device=place.device)
    y = torch.empty_like(x)
    copy = place.seconds(lambda: y.copy_(x))
    side = place.size(8192, 64)
    a = torch.randint(-127, 128, (side, side), device=place.device, dtype=torch.int8)
    product = place.seconds(lambda: torch._int_mm(a, a.T))
    return Ceilings(2 * x.numel() / copy, 2 * side**3 / product)


def training(place: Place) -> list[dict]:
    """Images per second of SNASNet's CIFAR10 cell at the paper's width, batch 64, beside spikingjelly's cells."""
    width, batch, size = place.size(256, 4), place.size(64, 4), place.size(32, 8)
    config = NetworkConfig(input_shape=(3, size, size), num_classes=10, width=width, num_steps=5, pool="avg")
    x = torch.rand(batch, 3, size, size, generator=torch.Generator().manual_seed(0)).to(place.device)
    y = torch.arange(batch, device=place.device) % 10
    cell, rows = PUBLISHED_CELLS[CELL], []
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True

    def measure(name: str, network, *, amp: bool, last: bool, graph: bool = False, compiled: bool = False) -> None:
        network = network.train().to(place.device)
        network = network.to(memory_format=torch.channels_last) if last else network
        try:
            step = make_step(torch.compile(network) if compiled else network, x, y, amp=amp)
            call = captured(step) if graph else step
            rows.append(row(f"train_{name}", batch / place.seconds(call), "images/s"))
        except Exception as error:  # what a compiler or a capture refuses is a finding
            print(f"{name}: {type(error).__name__}: {error}"[:1500], flush=True)
            rows.append(row(f"train_{name}_refused", 1, type(error).__name__))

    ours = lambda: build_network(cell, config)  # noqa: E731
    measure("per_edge_float32", PerEdgeNetwork(cell, config), amp=False, last=False)
    measure("per_edge_bfloat16", PerEdgeNetwork(cell, config), amp=True, last=False)
    measure("ours_float32", ours(), amp=False, last=False)
    measure("ours_float32_channels_last", ours(), amp=False, last=True)
    measure("ours_bfloat16", ours(), amp=True, last=False)
    measure("ours_bfloat16_channels_last", ours(), amp=True, last=True)
    measure("forward_multi_step_bfloat16", MultiStepNetwork(FORWARD, config), amp=True, last=False)
    measure("forward_ours_bfloat16_channels_last", build_network(FORWARD, config), amp=True, last=True)
    if not place.rehearsal:
        measure("ours_bfloat16_channels_last_graph", ours(), amp=True, last=True, graph=True)
        measure("ours_bfloat16_channels_last_compiled", ours(), amp=True, last=True, compiled=True)
    return rows


def captured(step: Callable[[], None]) -> Callable[[], None]:
    """The step as a CUDA graph: its launches are recorded once and played back."""
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def memory(place: Place) -> list[dict]:
    """Peak memory of a training step of the paper's three presets, in bfloat16 as ``fit`` takes it on a card."""
    rows = []
    shapes = {"cifar10": (3, 32, 32), "cifar100": (3, 32, 32), "dvs128-gesture": (2, 128, 128)}
    for name, shape in shapes.items():
        preset, peaks = presets.get(name), []
        events, batch = name == "dvs128-gesture", place.size(16 if name == "dvs128-gesture" else 64, 2)
        shape = shape if not place.rehearsal else (shape[0], 16, 16)
        network = dict(preset.network) | ({} if not place.rehearsal else {"width": 4, "hidden": 8})
        config = NetworkConfig(input_shape=shape, num_classes=10, events=events, **network)
        x = torch.rand(*((16,) if events else ()), batch, *shape, device=place.device)
        net = build_network(PUBLISHED_CELLS[CELL], config).train().to(place.device, memory_format=torch.channels_last)
        with place.peak(peaks):
            step = make_step(net, x, torch.arange(batch, device=place.device) % 10, amp=True)
            seconds = place.seconds(step, rounds=3)
        rows.append(row(f"train_peak_{name}", peaks[0], f"GiB, batch {batch}"))
        rows.append(row(f"train_{name}", batch / seconds, "images/s"))
        del net, step
    return rows


def profile(place: Place) -> list[dict]:
    """Where the time of a round goes: kernels by name, launches, and the share in which the card waits."""
    rows = []
    for width in (16, 128) if not place.rehearsal else (4,):
        scorer, mask = make_scorer(place, width, place.size(64, 4), "device"), SPACE.full_mask()
        candidates = [mask.without(edge, op) for edge, op in mask.candidates()]
        wall = place.seconds(lambda: scorer.many(candidates), rounds=3)  # noqa: B023
        kinds = [torch.profiler.ProfilerActivity.CPU]
        kinds += [] if place.rehearsal else [torch.profiler.ProfilerActivity.CUDA]
        with torch.profiler.profile(activities=kinds) as found:
            scorer.many(candidates)
            place.synchronise()
        kind = "CPU" if place.rehearsal else "CUDA"  # what the host calls has the same device time again
        events = [e for e in found.key_averages() if str(e.device_type).endswith(kind)]
        times = {e.key: (e.self_cpu_time_total if place.rehearsal else e.self_device_time_total) for e in events}
        busy = sum(times.values()) / 1e6
        rows += [row(f"round_wall_C{width}", 1000 * wall, "ms"), row(f"round_busy_C{width}", 1000 * busy, "ms")]
        rows.append(row(f"round_waits_C{width}", max(0.0, 1 - busy / wall), "of the wall time"))
        rows.append(row(f"round_launches_C{width}", sum(e.count for e in events), "kernels"))
        for name in sorted(times, key=times.get, reverse=True)[:8]:
            short = name.replace("|", "/").split("<")[0].split("(")[0][-60:].strip()
            rows.append(row(f"share_C{width} {short}", times[name] / 1e6 / busy, "of the busy time"))
    return rows


PARTS: dict[str, tuple[Callable[[Place], list[dict]], int]] = {
    "tests": (gpu_tests, 120),
    "exactness": (exactness, 90),
    "scoring": (scoring, 120),
    "profile": (profile, 60),
    "training": (training, 110),
    "memory": (memory, 60),
}
"""Each part and how many seconds it may take."""
