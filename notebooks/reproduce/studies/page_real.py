"""What real data say: tables of ``page``, comparisons, and a recommendation that follows from rows by a stated rule."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence

from lightsnn_kit.lab.comparisons import Comparison, compare
from lightsnn_kit.lab.results import by_method, estimate
from studies.tables import interval, number, table

ALONE = (("lightsnn", "lightsnn-cut"), ("residual-feedback", "residual"), ("balanced-recurrent", "balanced"))


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
    near = {name: no_worse(rows) for name, rows in parts.items()}
    better = {name: better_than_search(rows) for name, rows in parts.items()}
    told = "not told from the best and no dearer than `lightsnn`"
    lines = [f"- `{n}`: {told}: {_listed(near[n])}; better than `lightsnn`: {_listed(better[n])}." for n in parts]
    events = [name for name, rows in parts.items() if rows[0]["dataset"] != "cifar10"]
    for what, names in (("all event recordings", events), ("all of these sets", list(parts))):
        good = set.intersection(*(set(near[name]) for name in names))
        somewhere = {method for name in names for method in better[name]}
        lines.append(f"- **So, for {what}:** {_listed(sorted(good & somewhere))}.")
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
