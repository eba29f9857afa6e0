"""What ``make gpu`` found on a card: tables of ``page``."""

from __future__ import annotations

from collections.abc import Mapping

from studies.tables import number, table

TRAINED = {
    "per_edge_float32": "spikingjelly's cells, float32",
    "per_edge_bfloat16": "spikingjelly's cells, bfloat16",
    "ours_float32": "here, float32",
    "ours_float32_channels_last": "here, float32, channels last",
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
    made = found["machine"]

    def value(name: str, digits: int = 2) -> str:
        return number(rows[name]["value"], digits)

    widths = [int(name.removeprefix("plain_ms_C")) for name in rows if name.startswith("plain_ms_C")]
    names = ("plain_ms", "alone_ms", "together_ms", "speedup_plain", "search60", "search60_paper", "round_peak")
    waits = [(width, 100 * rows[f"round_waits_C{width}"]["value"]) for width in (16, 128)]
    scoring = [
        [str(width), *(value(f"{name}_C{width}", 1 if "ms" in name else 2) for name in names)] for width in widths
    ]
    shares = [(name.split(" ", 1), row) for name, row in rows.items() if name.startswith("share_C")]
    shares = [(at.removeprefix("share_"), name, 100 * row["value"]) for (at, name), row in shares]
    kernels = [[at, f"`{name}`", number(share, 0)] for at, name, share in shares if share >= 2]
    peaks = [(name, row) for name, row in rows.items() if name.startswith("train_peak_")]
    exact = [row for name, row in rows.items() if "_that_differ_" in name]
    head = ["C", "plain scorer (ms)", "a mask alone (ms)", "in a round (ms)", "speed-up", "60 scores (s)"]
    return {
        "gpu-machine": f"{made['gpu']}, {made['processors']} processors, torch {made['packages']['torch']}, "
        f"CUDA {made['cuda']}",
        "gpu-ceilings": f"{value('copy_rate', 0)} GB/s and {value('product_rate', 0)}·10¹² int8 operations a second",
        "gpu-scoring": table([*head, "on paper (s)", "peak (GiB)"], scoring),
        "gpu-differ": str(sum(int(row["value"]) for row in exact)),
        "gpu-waits": ", ".join(f"{number(share, 0)} % at C = {width}" for width, share in waits),
        "gpu-paper": "\n".join(found["paper"]),
        "gpu-kernels": table(["width", "kernel", "of the card's time (%)"], kernels),
        "gpu-training": table(
            ["step of SNASNet's CIFAR10 cell, C = 256, batch 64", "images/s"],
            [[text, value(f"train_{name}", 0)] for name, text in TRAINED.items() if f"train_{name}" in rows],
        ),
        "gpu-memory": table(
            ["preset", "peak of a training step", "images/s"],
            [
                [f"`{name.removeprefix('train_peak_')}`", f"{number(row['value'], 1)} {row['unit']}",
                 value(name.replace("train_peak_", "train_"), 0)]
                for name, row in peaks
            ],
        ),
    }  # fmt: skip
