"""The fewest bytes and operations of a search, counted from its plans, and the time that a card needs for them.

A score moves, per cell, step and element of a node's value [M, C] (4 bytes; spikes 1; sums 2 up to 100 channels, else
4): a convolution's sums once out and once in; a node's value once out, and in for each reader; membranes in and out;
spikes out, once in for the convolutions (their windows overlap in the cache) and once in for the products of samples.
Its operations are the products of spikes and weights, of samples, and of the hidden layer.
"""

from __future__ import annotations

from dataclasses import dataclass

from lightsnn_kit.fast.plan import plan_cell
from lightsnn_kit.spaces import SPACES

REAL, SPIKE = 4, 1  # bytes
PER_STEP, PER_PASS = 150, 90  # kernels that a pass launches for each step, and for the whole


@dataclass(frozen=True)
class Ceilings:
    """What a card does at best."""

    bytes_per_second: float
    operations_per_second: float


# By datasheets, dense int8 products. The second is assumed: what a laptop's GeForce RTX 4060 may keep up.
H100 = Ceilings(3.35e12, 1979e12)
LAPTOP = Ceilings(256e9, 90e12)


@dataclass(frozen=True)
class Work:
    """What a search must do."""

    bytes: float
    operations: float
    launches: int


def search_work(width: int, *, batch: int, size: int = 32, num_steps: int = 5, hidden: int = 1024) -> Work:
    """Both rounds of LightSNN's search, two batches: 36 and 24 candidates with all, then two thirds of the ops."""
    space, moved, operations, launches = SPACES["lightsnn"], 0.0, 0.0, 0
    full = space.full_mask()
    second = full
    for edge in space.edges:
        second = second.without(edge, space.ops[0])  # whichever op goes, two stay; here all convolutions do
    at_once = max(1, 2**26 // (batch * size * size * width))
    for mask in (full, second):
        plan, candidates = plan_cell(mask, feedback=True), 2 * len(mask.candidates())  # two batches
        launches += 2 * -(-candidates // 2 // at_once) * (num_steps * PER_STEP + PER_PASS)
        for t in range(num_steps):
            per_step = [_cell(plan, first=t == 0, last=t == num_steps - 1, width=w, pixels=p, samples=batch)
                        for w, p in ((width, size * size), (2 * width, size * size // 4))]  # fmt: skip
            per_step.append(_between(width, size, hidden, batch))
            moved += candidates * sum(step[0] for step in per_step)
            operations += candidates * sum(step[1] for step in per_step)
    return Work(moved, operations, launches)


def _cell(plan, *, first: bool, last: bool, width: int, pixels: int, samples: int) -> tuple[float, float]:
    elements, nodes = samples * pixels * width, len(plan.nodes)
    convs = sum(len(plan.convs(node, last_step=last)) for node in plan.nodes)
    sides = (plan.forward,) if first else (plan.forward, plan.backward)
    terms = [term for side in sides for edges in side.values() for each in edges for term in each]
    read = sum(term.op.is_conv for term in terms)  # sums, the others are values
    per_element = (2 if width <= 100 else 4) * (convs + read)
    per_element += REAL * (1 + len(terms) - read + nodes + 2 * nodes) + SPIKE * 3 * nodes
    products = 2 * 9 * width * convs + 2 * samples * nodes  # per element
    return elements * per_element, elements * products


def _between(width: int, size: int, hidden: int, samples: int) -> tuple[float, float]:
    one, two = samples * size * size * width, samples * size * size // 4 * 2 * width  # outputs of the two cells
    moved = (one + two) * (5 * REAL + 2 * SPIKE) + one * (SPIKE + 2 * 2 * REAL) + two * (2 * REAL + SPIKE)
    features = 2 * width * (size // 4) ** 2
    operations = one * 2 * 9 * 2 * width + 2 * samples * features * hidden + 2 * samples * (one + two)
    return moved, operations


def predicted_seconds(work: Work, ceilings: Ceilings) -> float:
    """Bytes and operations one after the other: a kernel that sums is over before one that charges begins."""
    return work.bytes / ceilings.bytes_per_second + work.operations / ceilings.operations_per_second


def on_paper() -> list[str]:
    """The rows of a table: what a search must do, and how long a card would take at its datasheet's best."""
    rows = ["| C | GB moved | 10¹² operations | kernels | H100 (s) | laptop (s) |", "|--:|--:|--:|--:|--:|--:|"]
    for width in (16, 64, 128, 256):
        work = search_work(width, batch=64)
        seconds = " | ".join(f"{predicted_seconds(work, card):.2f}" for card in (H100, LAPTOP))
        rows.append(
            f"| {width} | {work.bytes / 1e9:,.0f} | {work.operations / 1e12:,.0f} | {work.launches:,} | {seconds} |"
        )
    return rows
