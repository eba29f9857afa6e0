"""Training throughput: steps of SNASNet's published CIFAR10 cell, ours against spikingjelly's zoo cells.

Same weights, noise images (the work does not depend on them), batch, T = 5, SGD with momentum and weight decay; ours as
``fit`` sets it up, and in bfloat16 as it does with ``amp="fast"`` on a processor with AMX (elsewhere that is slow). All
sides in turn in one process, medians of seven steps, in processor time of one thread, where a shared machine tells the
truth; then by the clock on all threads, as users train (the targets). ``train_products`` is the share of our step that
goes into convolutions and matrix products, which all sides hand to oneDNN and MKL: no arrangement of the same cell
leaves them out, so in float32 no speed-up of one thread passes ``train_bound``.
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightsnn_kit.data import Split
from lightsnn_kit.networks import NetworkConfig, build_network
from lightsnn_kit.ranks import Ranks
from lightsnn_kit.spaces import PUBLISHED_CELLS
from lightsnn_kit.training import TrainConfig
from lightsnn_kit.updates import Updates
from tests.per_edge import twins

CELL = "snasnet-cifar10"
SIZES = {16: 32, 32: 16, 64: 8}  # width: batch
ROUNDS = 7
TARGETS = {"": 2.0, "bfloat16_": 3.0}  # of float32, and of bfloat16 on a processor with AMX
PRODUCTS = ("mkldnn_convolution", "convolution_backward", "mm", "addmm")


def make_step(network: nn.Module, x: Tensor, y: Tensor, *, amp: bool = False) -> Callable[[], None]:
    """One update, as ``fit`` does it; with ``amp`` in bfloat16."""
    settings = TrainConfig()
    optimizer = torch.optim.SGD(
        network.parameters(), lr=0.01, momentum=settings.momentum, weight_decay=settings.weight_decay, fused=True
    )

    def step() -> None:
        with torch.autocast(x.device.type, torch.bfloat16, enabled=amp):
            logits = network(x).float()
        loss = F.cross_entropy(logits, y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def product_share(step) -> float:
    """Share of the convolutions and matrix products in a step, forward and backward."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        step()
    times = {event.key.removeprefix("aten::"): event.self_cpu_time_total for event in profile.key_averages()}
    return sum(times.get(name, 0.0) for name in PRODUCTS) / sum(times.values())


def has_amx() -> bool:
    return bool(torch.cpu.get_capabilities().get("amx_bf16"))


def make_sides(width: int) -> dict[str, Callable[[], None]]:
    """A step of spikingjelly's cells in float32, and of ours in float32 and in bfloat16: same weights, same images."""
    batch = SIZES[width]
    config = NetworkConfig(input_shape=(3, 32, 32), num_classes=10, width=width, num_steps=5, pool="avg")
    x, y = torch.rand(batch, 3, 32, 32, generator=torch.Generator().manual_seed(0)), torch.arange(batch) % 10
    plain, ours = twins(PUBLISHED_CELLS[CELL], config)
    sides = {"plain": make_step(plain, x, y)}
    for name, amp in (("ours", False), ("bfloat16", True)):
        network = copy.deepcopy(ours).to(memory_format=torch.channels_last)
        sides[name] = make_step(network, x, y, amp=amp)
    return sides


def compare_training(width: int) -> list[dict]:
    """Speed-ups over the per-edge network, images per second of all sides, and the time that all must spend."""
    from tests.bench import row, seconds_of

    sides, threads, rows = make_sides(width), torch.get_num_threads(), []
    for count, clock in ((1, time.process_time), (threads, time.perf_counter)):
        torch.set_num_threads(count)
        times: dict[str, list[float]] = {name: [] for name in sides}
        for turn in range(ROUNDS + 1):
            for name, step in sides.items():
                seconds = seconds_of(step, clock)
                times[name] += [seconds] if turn else []
        median = {name: statistics.median(values) for name, values in times.items()}
        suffix = f"C{width}" if count == 1 else f"C{width}_{count}_threads"
        for name, side in (("", "ours"), ("bfloat16_", "bfloat16")):
            aim = TARGETS[name] if count == threads and (side == "ours" or has_amx()) else None
            rows.append(row(f"train_{name}speedup_{suffix}", median["plain"] / median[side], "×", aim))
        rows += [row(f"train_{name}_{suffix}", SIZES[width] / value, "images/s") for name, value in median.items()]
        if count == 1:
            for name, side in (("", "ours"), ("bfloat16_", "bfloat16")):
                share = statistics.median(product_share(sides[side]) for _ in range(3))
                rows.append(row(f"train_{name}products_C{width}", share, "of our step"))
            rows.append(row(f"train_bound_C{width}", rows[0]["value"] / rows[-2]["value"], "×"))
        if threads == 1:
            break
    torch.set_num_threads(threads)
    return rows


def saving_memory() -> list[dict]:
    """What less memory costs: processor time of an update of 64 images in parts, with steps taken again, and both."""
    from tests.bench import row, seconds_of

    config = NetworkConfig(input_shape=(3, 32, 32), num_classes=10, width=16, num_steps=5)
    generator = torch.Generator().manual_seed(0)
    split = Split(torch.randint(0, 256, (64, 3, 32, 32), generator=generator, dtype=torch.uint8), torch.arange(64) % 10)
    changes = {"plain": {}, "accumulate": {"accumulate": 4}, "recompute": {"recompute": True}}
    changes["both"] = changes["accumulate"] | changes["recompute"]
    updates, times = {}, {name: [] for name in changes}
    for name, settings in changes.items():
        network = build_network(PUBLISHED_CELLS[CELL], config)
        updates[name] = Updates(network, split, TrainConfig(batch_size=64, **settings), Ranks())
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for turn in range(1, ROUNDS + 2):
        for name, each in updates.items():
            times[name].append(seconds_of(lambda each=each, turn=turn: each.epoch(turn), time.process_time))
    torch.set_num_threads(threads)
    plain, *others = (statistics.median(each[1:]) for each in times.values())
    return [row(f"train_cost_{name}", other / plain, "×") for name, other in zip([*times][1:], others, strict=True)]


def training() -> list[dict]:
    """All rows of the training benchmark."""
    return [line for width in SIZES for line in compare_training(width)] + saving_memory()


if __name__ == "__main__":
    for line in training():
        print(line)
