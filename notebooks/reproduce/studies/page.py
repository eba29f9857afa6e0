"""The page ``data/results/README.md``: every table of it, made from the files beside it.

``PYTHONPATH=notebooks/reproduce python -m studies.page`` writes it anew; a test holds the committed page to the files.
Verdicts, too, are made by rule: an interval that holds 0 tells nothing apart.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from lightsnn_kit.files import project_root, read_json
from lightsnn_kit.lab.results import Estimate, by_method, estimate, gather
from lightsnn_kit.methods import METHODS
from studies.page_gpu import gpu_blocks
from studies.page_real import differences_table, noise_table, paper_search_table, real_table, recommendation
from studies.tables import interval, number, table

RESULTS = project_root() / "data" / "results"
PRESETS = ("motion-dvs", "fashion-mnist-small")
REAL = ("cifar10-small", "n-mnist", "braille")
SCORES = {
    "longest path": "convolutions on the longest path",
    "shortest path": "convolutions on the shortest path",
    "convolutions": "number of convolutions",
    "hd_batch": "HD, batch statistics",
    "sahd_batch": "SAHD, batch statistics",
    "swap_batch": "different patterns (SWAP), batch statistics",
    "firing_batch": "firing rate, batch statistics",
    "hd_running": "HD, running statistics",
    "sahd_running": "SAHD, running statistics (as published)",
    "swap_running": "different patterns (SWAP), running statistics",
    "firing_running": "firing rate, running statistics",
    "pattern_hd": "HD of whole layers' patterns",
    "effective_rank": "effective rank of the kernel",
    "alignment": "alignment with the labels' kernel",
    "gradient": "gradient norm",
    "snip": "SNIP",
    "zico": "ZiCo",
    "swap_whole": "different patterns of the whole network",
    "swap_middle": "SWAP × size, middle sizes preferred",
    "swap_large": "SWAP × size, large ones preferred",
    "path, then swap": "longest path, among equals different patterns (SWAP)",
    "sahd_ncd": "SAHD with NCD",
    "hd_ncd": "HD with NCD",
    "swap_ncd": "different patterns (SWAP) with NCD",
}


def methods_table(parts: Mapping[str, list]) -> str:
    """Accuracy of every method on every preset, with what its cells cost on the first."""
    groups = {name: by_method(rows) for name, rows in parts.items()}
    lines = []
    for method in dict.fromkeys(method for each in groups.values() for method in each):
        accuracies = [estimate(each[method], "test_accuracy").text(factor=100) for each in groups.values()]
        first = next(iter(groups.values()))[method]
        cost = [estimate(first, key).text(factor=factor) for key, factor in (("convs", 1), ("synops", 1e-3))]
        lines.append([f"`{method}`: {METHODS[method].text}", *accuracies, *cost])
    first = next(iter(parts))
    return table(["method", *(f"`{name}` (%)" for name in parts), f"convolutions (`{first}`)", "SynOps (k)"], lines)


def demo_table(rows: Sequence[Mapping[str, object]]) -> str:
    """The rows of ``make demo`` and of its further seeds: right answers seed by seed, and what an answer costs."""
    lines = []
    for method, group in by_method(rows).items():
        right = ", ".join(str(row["test_correct"]) for row in group)
        cost = [estimate(group, key).text(factor=factor) for key, factor in (("synops", 1e-3), ("energy_pj", 1e-3))]
        rate = estimate(group, "firing_rate").text(factor=100)
        lines.append([f"`{method}`", right, rate, *cost, estimate(group, "convs").text()])
    of, seeds = rows[0]["test_samples"], ", ".join(str(row["seed"]) for row in by_method(rows)["lightsnn"])
    head = ["method", f"right of {of} (seeds {seeds})", "firing rate (%)", "SynOps (k)", "energy (nJ)", "convolutions"]
    return table(head, lines)


def tau_table(rows: Sequence[Mapping[str, object]]) -> str:
    """Kendall's tau of scores with accuracy; its limit, tau-a and pairs ordered right, too, where the file has them."""
    head, more = ["score of an untrained cell", "tau with trained accuracy", "95 % interval"], {}
    limited = all("without_errors" in row for row in rows)
    if all("ordered_right" in row for row in rows):
        more = {"tau_a": "tau-a", "ordered_right": "pairs ordered right, ties half"}
    lines = []
    for row in rows:
        tau, texts = row["kendall_tau"], [_with_interval(row[key]) for key in more]
        limit = [number(row["without_errors"]["kendall_tau"])] if limited else []
        lines.append([_named(row), number(tau["estimate"]), interval(tau["low"], tau["high"]), *limit, *texts])
    return table([*head, *["limit of tau by ties"] * limited, *more.values()], lines)


def _named(row: Mapping[str, object]) -> str:
    return SCORES.get(row["score"], f"`{row['score']}`")


def _with_interval(one: Mapping[str, float] | None) -> str:
    return "–" if one is None else f"{number(one['estimate'])} ({number(one['low'])} to {number(one['high'])})"


def within_table(study: Mapping[str, object]) -> str:
    """Order among cells of one longest path: tau-b by depth, pairs ordered right of all depths.

    ● marks shares whose interval holds no one half.
    """
    rows = [row for row in study["trained_cells"] if "within_depth" in row]
    if not rows:
        return "(not in this file)"
    rows = sorted(rows, key=lambda row: -row["right_within_depth"]["estimate"])
    groups, lines = study["accuracy_by_longest_path"], []
    for row in rows:
        right = row["right_within_depth"]
        share = _with_interval(right) + " ●" * (not right["low"] <= 0.5 <= right["high"])
        lines.append([_named(row), share, *(_with_interval(row["within_depth"].get(depth)) for depth in groups)])
    head = [f"tau, depth {depth} ({group['cells']} cells)" for depth, group in groups.items()]
    return table(["score of an untrained cell", "pairs of equal depth ordered right, ties half", *head], lines)


def limit_by_ties(study: Mapping[str, object], name: str = "longest path") -> str:
    """The highest tau-b that a score with as many ties can have on these accuracies; a dash in older files."""
    row = next(row for row in study["trained_cells"] if row["score"] == name)
    return number(row.get("without_errors", {}).get("kendall_tau"))


def searches_table(rows: Sequence[Mapping[str, object]]) -> str:
    """What each search chose: convolutions, scores taken, accuracy where it is known, and of siblings."""
    lines = []
    for row in rows:
        known = row["accuracy_mean"] is not None
        accuracy = f"{number(row['accuracy_mean'])}, {number(row['accuracy_min'])}" if known else "–"
        middle = [number(row["convs_mean"], 1), number(row["evaluations"], 0), accuracy, f"{row['known']:.0%}"]
        lines.append([row["search"], *middle, number(row["siblings_mean"])])
    head = ["search", "convolutions", "scores", "accuracy % (mean, lowest)", "known", "siblings %"]
    return table(head, lines)


def feedback_table(rows: Sequence[Mapping[str, object]]) -> str:
    """Cells that differ in feedback alone."""
    lines = [[row["feedback"], Estimate.of(row["test_accuracy"]).text(factor=100), str(row["convs"])] for row in rows]
    return table(["fed back", "test accuracy (%)", "convolutions"], lines)


def bench_tables(bench: Mapping[str, object]) -> tuple[str, str, str]:
    """Speed of scoring, of training, and what else the benchmark holds an aim for."""
    rows = {row["name"]: row for row in bench["rows"]}

    def aimed(name: str, digits: int = 2) -> str:
        row = rows[name]
        aim = "" if row["target"] is None else f" ({row['target']:g}{': missed' * (row['holds'] is False)})"
        return number(row["value"], digits) + aim

    def values(names: Iterable[str], digits: int) -> list[str]:
        return [number(rows[name]["value"], digits) for name in names]

    scoring, training = [], []
    for width, batch in ((16, 64), (64, 16), (256, 16)):
        times = values((f"{side}_ms_C{width}" for side in ("plain", "conv", "fast")), 0)
        aims = [aimed(f"speedup_plain_C{width}"), aimed(f"ratio_conv_C{width}")]
        scoring.append([f"{width}, {batch}", *times, *aims])
    for width, batch, threads in ((w, b, t) for w, b in ((16, 32), (32, 16), (64, 8)) for t in (2, 1)):
        end = f"C{width}" + f"_{threads}_threads" * (threads > 1)
        line = [f"{width}, {batch}", str(threads), *values([f"train_plain_{end}"], 1)]
        for side, kind in (("ours", ""), ("bfloat16", "bfloat16_")):
            line += [*values([f"train_{side}_{end}"], 1), aimed(f"train_{kind}speedup_{end}")]
        training.append(line)
    rest = ("memory_ratio", "memory_ratio_C256", "first_use_cold_seconds", "first_use_warm_seconds")
    rest += ("int8_rate_C64", "int8_rate_best", "train_products_C32", "train_bound_C32")
    searches = [name for name in rows if name.startswith("search60") and "share" not in name]
    others = [[f"`{name}`", aimed(name), rows[name]["unit"]] for name in (*searches, *rest)]
    sides = ["width, batch", "threads", "spikingjelly's cells (images/s)"]
    head = ["width, batch", "plain scorer (ms)", "its convolutions (ms)", "engine (ms)", "speed-up (aim)"]
    return (
        table([*head, "engine / convolutions (aim)"], scoring),
        table([*sides, "here", "speed-up (aim)", "in bfloat16", "speed-up (aim)"], training),
        table(["row", "value (aim)", "unit"], others),
    )


def _machine(made: Mapping[str, object]) -> str:
    return f"{made['processor']}, {made['processors']} cores, {made['memory']}"


def page() -> str:
    """The whole page."""
    stored = {path.stem.removeprefix("score_"): read_json(path) for path in RESULTS.glob("*.json")}
    parts = {name: gather(RESULTS / f"{name}.json") for name in PRESETS}
    real = {name: gather(RESULTS / f"{name}.json") for name in REAL if name in stored}
    noise = {name: stored[f"noise_{name}"] for name in (*REAL, *PRESETS) if f"noise_{name}" in stored}
    paper = stored["paper_search"]
    sets, bench = stored["trained_cells"]["sets"], bench_tables(stored["bench"])
    machine = stored["bench"]["machine"]["provenance"]
    blocks = {
        "methods": methods_table(parts),
        "differences": differences_table(parts),
        "real": "\n\n".join(f"### `{name}`\n\n{real_table(rows)}" for name, rows in real.items()),
        "real-differences": differences_table(real),
        "recommendation": recommendation(real),
        "noise": noise_table(noise) if noise else "Not measured yet.",
        "paper-search": paper_search_table(paper),
        "paper-agreement": ", ".join(f"{one['same_edges']:.0%}" for one in paper["agreement"]),
        "paper-machine": _machine(paper["provenance"]),
        "paper-times": number(paper["extrapolated"]["seconds"], 0),
        "demo": demo_table(gather(*sorted(RESULTS.glob("demo*.json"), key=lambda path: path.stem))),
        "correlations": tau_table(stored["correlations"]["trained_cells"]),
        "limit": limit_by_ties(stored["correlations"]),
        "within": within_table(stored["correlations"]),
        "images": tau_table(stored["correlations_fashion"]["trained_cells"]),
        "images_within": within_table(stored["correlations_fashion"]),
        "searches": searches_table(stored["searches"]["searches"]),
        "motion": tau_table(sets["motion-dvs"]["all_cells"]),
        "later": tau_table(sets["motion-dvs"]["later_cells"][:1]),
        "fashion": tau_table(sets["fashion-mnist-small+forward"]["all_cells"]),
        "reliability": number(sets["fashion-mnist-small+forward"]["noise"]["reliability"]),
        "feedback": feedback_table(stored["feedback"]["rows"]),
        "machine": _machine(machine),
        **gpu_blocks(stored["gpu"]),
        **dict(zip(("scoring", "training", "others"), bench, strict=True)),
    }
    text = Path(__file__).with_suffix(".md").read_text(encoding="utf-8")
    for name, block in blocks.items():
        text = text.replace(f"<{name}>", block)
    return text


if __name__ == "__main__":
    sys.stdout.write(f"{RESULTS / 'README.md'}\n")
    (RESULTS / "README.md").write_text(page(), encoding="utf-8")
