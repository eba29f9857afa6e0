"""The page ``data/results/README.md``: every table of it, made from the files beside it.

``python notebooks/reproduce/studies/page.py`` writes it anew; a test holds the committed page to the files. Verdicts,
too, are made by rule: an interval that holds 0 tells nothing apart.
"""

from __future__ import annotations

import math
import statistics
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from lightsnn_kit.files import project_root, read_json
from lightsnn_kit.lab.comparisons import Comparison, compare
from lightsnn_kit.lab.results import Estimate, by_method, estimate, gather
from lightsnn_kit.methods import METHODS

RESULTS = project_root() / "data" / "results"
PRESETS = ("motion-dvs", "fashion-mnist-small")
REAL = ("cifar10-small", "n-mnist", "braille")
ALONE = (("lightsnn", "lightsnn-cut"), ("residual-feedback", "residual"), ("balanced-recurrent", "balanced"))
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


def number(value: float | None, digits: int = 2, *, sign: bool = False) -> str:
    """A number with a real minus sign; a dash where there is none.

    >>> number(-0.5), number(None), number(0.25, 1, sign=True)
    ('−0.50', '–', '+0.2')
    """
    return "–" if value is None else f"{value:{'+' if sign else ''},.{digits}f}".replace("-", "−")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table: the first column to the left, the others to the right.

    >>> print(table(["a", "b"], [["x", "1"]]))
    | a | b |
    |---|--:|
    | x | 1 |
    """
    lines = [head, ["---"] + ["--:"] * (len(head) - 1), *rows]
    return (
        "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
        .replace("| --- |", "|---|", 1)
        .replace(" --: |", "--:|")
    )


def interval(low: float, high: float, digits: int = 2) -> str:
    """An interval, and a mark if it holds no 0; a dash where there is none."""
    if math.isnan(low):
        return "–"
    return f"{number(low, digits)} to {number(high, digits)}" + " ●" * (not low <= 0 <= high)


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


def planned(rows: Sequence[Mapping[str, object]]) -> list[Comparison]:
    """The comparisons made: pairs that differ in feedback alone, and LightSNN's search with every other way."""
    others = [("lightsnn", other) for other in by_method(rows) if other not in ("lightsnn", "lightsnn-cut")]
    return compare(rows, (*ALONE, *others))


def differences_table(parts: Mapping[str, list]) -> str:
    """The planned comparisons; p is corrected within each preset."""
    lines = []
    for name, rows in parts.items():
        for one in planned(rows):
            span = interval(100 * one.low, 100 * one.high, 1)
            figures = [f"{one.seeds}, {one.images or '–'}", number(100 * one.mean, 1, sign=True), span]
            p = "< 0.001" if one.corrected < 0.001 else number(one.corrected, 3)
            lines.append([f"`{name}`", f"{one.first} − {one.second}", *figures, f"**{p}**" if one.decided else p])
    head = ["preset", "difference", "seeds, images", "points of accuracy", "95 % interval", "p, corrected"]
    return table(head, lines)


def behind_best(rows: Sequence[Mapping[str, object]]) -> dict[str, Comparison]:
    """For each method the best mean minus its own, with a single interval."""
    groups = by_method(rows)
    best = max(groups, key=lambda method: estimate(groups[method], "test_accuracy").mean)
    return {method: compare(rows, [(best, method)])[0] for method in groups if method != best}


def better_than_search(rows: Sequence[Mapping[str, object]]) -> list[str]:
    """Methods told to be better than LightSNN's search."""
    return [one.second for one in planned(rows) if one.first == "lightsnn" and one.decided and one.mean < 0]


def no_worse(rows: Sequence[Mapping[str, object]]) -> list[str]:
    """Methods not told from the best mean (a single interval), with no more SynOps than LightSNN's search."""
    groups, behind = by_method(rows), behind_best(rows)
    dear = estimate(groups["lightsnn"], "synops").mean
    cheap = [method for method, group in groups.items() if estimate(group, "synops").mean <= dear]
    return [method for method in cheap if method != "lightsnn" and (method not in behind or not behind[method].low > 0)]


def real_table(rows: Sequence[Mapping[str, object]]) -> str:
    """Accuracy and cost of every method on one preset, the best mean first, and how far behind it the others are."""
    behind, lines = behind_best(rows), []
    groups = sorted(by_method(rows).items(), key=lambda item: -estimate(item[1], "test_accuracy").mean)
    for method, group in groups:
        cost = [estimate(group, key).text(factor=f) for key, f in (("convs", 1), ("synops", 1e-3), ("energy_pj", 1e-3))]
        one = behind.get(method)
        gap = f"{number(100 * one.mean, 1)} ({interval(100 * one.low, 100 * one.high, 1)})" if one else "–"
        lines.append([f"`{method}`", estimate(group, "test_accuracy").text(factor=100), *cost, gap])
    head = ["method", "test accuracy (%)", "convolutions", "SynOps (k)", "energy (nJ)", "points behind the best mean"]
    return table(head, lines)


def recommendation(parts: Mapping[str, list]) -> str:
    """By rule: what is no worse than any other way on every set, and better than LightSNN's search on one or more."""
    lines = []
    for name, rows in parts.items():
        better = f"better than `lightsnn`: {_listed(better_than_search(rows))}"
        lines.append(
            f"- `{name}`: not told from the best and no dearer than `lightsnn`: {_listed(no_worse(rows))}; {better}."
        )
    events = {name: rows for name, rows in parts.items() if rows[0]["dataset"] != "cifar10"}
    for what, chosen in (("all event recordings", events), ("all of these sets", parts)):
        good = set.intersection(*(set(no_worse(rows)) for rows in chosen.values()))
        better = {method for rows in chosen.values() for method in better_than_search(rows)}
        lines.append(f"- **So, for {what}:** {_listed(sorted(good & better))}.")
    return "\n".join(lines)


def _listed(methods: Iterable[str]) -> str:
    return ", ".join(f"`{method}`" for method in methods) or "none"


def paper_search_table(study: Mapping[str, object]) -> str:
    """What LightSNN's search takes and chooses at the paper's size, and single scores of the random search."""
    lines = []
    for row in (*study["pruning"], *study["random"]):
        seconds = [number(row["search_seconds"], 0), number(row["score_seconds_median"], 1)]
        counts = [str(row[name]) for name in ("convs", "feedback_edges", "longest_conv_path")]
        margins = [decision["margin"] for decision in row.get("decisions", ())]
        middle = number(statistics.median(margins)) if margins else "–"
        lines.append([f"`{row['method']}`", str(row["seed"]), str(row["evaluations"]), *seconds, *counts, middle])
    head = ["search", "seed", "scores", "all (s)", "one score (s)", "convolutions", "fed back", "longest path"]
    return table([*head, "median margin"], lines)


def noise_table(studies: Mapping[str, Mapping]) -> str:
    """How far one cell's trainings spread, over seeds and over orders of summation."""
    lines = []
    for name, study in studies.items():
        for what in ("seeds", "orders"):
            one = study[what]
            kept = "order" if what == "orders" else "seed"
            count = len({row[kept] for row in study["rows"]})
            figures = [number(100 * one[key], 1) for key in ("sd", "range", "answers_changed")]
            lines.append([f"`{name}`", f"{count} {what}", *figures, f"{one['told_apart']} of {count - 1}"])
    head = [
        "preset",
        "trainings",
        "sd (points)",
        "range (points)",
        "answers changed (%)",
        "told apart by McNemar's test",
    ]
    return table(head, lines)


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
    for width, batch, threads in ((16, 32, 2), (16, 32, 1), (32, 16, 2), (32, 16, 1)):
        end = f"C{width}" + f"_{threads}_threads" * (threads > 1)
        speeds = values((f"train_{side}_{end}" for side in ("plain", "ours")), 1)
        training.append([f"{width}, {batch}", str(threads), *speeds, aimed(f"train_speedup_{end}")])
    rest = ("memory_ratio", "memory_ratio_C256", "first_use_cold_seconds", "first_use_warm_seconds")
    rest += ("search60_seconds_C16", "int8_rate_C64", "int8_rate_best", "train_products_C32", "train_bound_C32")
    others = [[f"`{name}`", aimed(name), rows[name]["unit"]] for name in rest]
    head = ["width, batch", "plain scorer (ms)", "its convolutions (ms)", "engine (ms)", "speed-up (aim)"]
    return (
        table([*head, "engine / convolutions (aim)"], scoring),
        table(["width, batch", "threads", "spikingjelly's cells (images/s)", "here", "speed-up (aim)"], training),
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
        **dict(zip(("scoring", "training", "others"), bench, strict=True)),
    }
    text = Path(__file__).with_suffix(".md").read_text(encoding="utf-8")
    for name, block in blocks.items():
        text = text.replace(f"<{name}>", block)
    return text


if __name__ == "__main__":
    sys.stdout.write(f"{RESULTS / 'README.md'}\n")
    (RESULTS / "README.md").write_text(page(), encoding="utf-8")
