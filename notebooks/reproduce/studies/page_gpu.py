"""What ``make gpu`` found on a card: tables of ``page``."""

from __future__ import annotations

from collections.abc import Mapping

from studies.tables import number, table

TRAINED = {
    "per_edge_float32": "spikingjelly's cells, float32 (TF32)",
    "per_edge_bfloat16": "spikingjelly's cells, bfloat16",
    "ours_float32": "here, float32 (TF32)",
    "ours_float32_channels_last": "here, float32 (TF32), channels last",
    "ours_bfloat16": "here, bfloat16",
    "ours_bfloat16_channels_last": "here, bfloat16, channels last (what `fit` takes)",
    "ours_bfloat16_channels_last_compiled": "the same, `torch.compile`",
    "ours_bfloat16_channels_last_graph": "the same, one CUDA graph",
    "forward_multi_step_bfloat16": "no feedback, spikingjelly's multi-step mode, bfloat16",
    "forward_ours_bfloat16_channels_last": "no feedback, here, bfloat16, channels last",
}


def gpu_blocks(found: Mapping[str, object]) -> dict[str, str]:
    """The parts of the page's section, by name."""
    rows = {row["name"]: row for part in found["parts"] for row in part["rows"]}
    made, tests = found["machine"], next(part for part in found["parts"] if part["name"] == "tests")
    waits = [f"{number(100 * rows[f'round_waits_C{width}']['value'], 0)} % at C = {width}" for width in (16, 128)]
    rates = [number(rows[name]["value"], 0) for name in ("copy_rate", "product_rate")]
    return {
        "gpu-machine": f"{made['gpu']}, {made['processors']} processors, torch {made['packages']['torch']}, "
        f"CUDA {made['cuda']}",
        "gpu-tests": "passed" if tests["status"] == "done" else tests["reason"],
        "gpu-ceilings": f"{rates[0]} GB/s and {rates[1]}·10¹² int8 operations a second",
        "gpu-scoring": _scoring(rows),
        "gpu-differ": str(sum(int(row["value"]) for name, row in rows.items() if "_that_differ_" in name)),
        "gpu-waits": ", ".join(waits),
        "gpu-paper": "\n".join(found["paper"]),
        "gpu-kernels": _kernels(rows),
        "gpu-training": table(
            ["step of SNASNet's CIFAR10 cell, C = 256, batch 64", "images/s"],
            [[text, number(rows[f"train_{name}"]["value"], 0)] for name, text in TRAINED.items()
             if f"train_{name}" in rows],
        ),
        "gpu-memory": _memory(rows),
    }  # fmt: skip


def _scoring(rows: Mapping[str, Mapping[str, object]]) -> str:
    widths = [int(name.removeprefix("plain_ms_C")) for name in rows if name.startswith("plain_ms_C")]
    names = ("plain_ms", "alone_ms", "together_ms", "speedup_plain", "search60", "search60_paper", "round_peak")
    head = ["C", "plain scorer (ms)", "a mask alone (ms)", "in a round (ms)", "speed-up", "60 scores (s)"]
    lines = [
        [str(width), *(number(rows[f"{name}_C{width}"]["value"], 1 if "ms" in name else 2) for name in names)]
        for width in widths
    ]
    return table([*head, "on paper (s)", "peak (GiB)"], lines)


def _kernels(rows: Mapping[str, Mapping[str, object]]) -> str:
    shares = [(*name.split(" ", 1), 100 * row["value"]) for name, row in rows.items() if name.startswith("share_C")]
    lines = [[at.removeprefix("share_"), f"`{name}`", number(share, 0)] for at, name, share in shares if share >= 2]
    return table(["width", "kernel", "of the card's time (%)"], lines)


def _memory(rows: Mapping[str, Mapping[str, object]]) -> str:
    lines = [
        [f"`{name.removeprefix('train_peak_')}`", f"{number(row['value'], 1)} {row['unit']}",
         number(rows[name.replace("train_peak_", "train_")]["value"], 0)]
        for name, row in rows.items() if name.startswith("train_peak_")
    ]  # fmt: skip
    return table(["preset", "peak of a training step", "images/s"], lines)
