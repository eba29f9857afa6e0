"""The README's measured figures are those of the files in data/results."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from lightsnn_kit.lab import results

FASHION = "fashion-mnist-small"


@pytest.fixture(scope="module")
def text(root: Path) -> str:
    return (root / "README.md").read_text(encoding="utf-8")


def stored(root: Path, name: str) -> dict:
    return json.loads((root / "data" / "results" / name).read_text(encoding="utf-8"))


def test_the_table_of_methods(root: Path, text: str) -> None:
    rows = {
        name: results.by_method(results.gather(root / "data" / "results" / f"{name}.json"))
        for name in ("motion-dvs", "fashion-mnist-small")
    }
    shown = {method: cells.split(" | ") for method, cells in re.findall(r"\(`([\w-]+)`\) \| (.+) \|", text)}
    assert set(shown) == set(rows["motion-dvs"])
    for method, cells in shown.items():
        told = [results.estimate(by[method], "test_accuracy").text(factor=100) for by in rows.values() if method in by]
        assert cells[: len(told)] == told, method


def test_what_feedback_does(root: Path, text: str) -> None:
    rows = results.gather(root / "data" / "results" / "motion-dvs.json")
    by_hand = results.paired(rows, "residual-feedback", "residual")
    searched = results.paired(rows, "lightsnn", "lightsnn-cut")
    values = [f"{100 * value:.1f}" for value in (by_hand.mean, by_hand.low, by_hand.high)]
    assert "(+{} points, 95 % interval {} to {})".format(*values) in text
    values = [
        f"{100 * value:.{digits}f}".replace("-", "−") for value, digits in ((searched.mean, 1), (searched.low, 0))
    ]
    assert f"{values[0]} points against the same\n  cell without it ({values[1]} to {100 * searched.high:.0f})" in text
    still = results.paired(results.gather(root / "data" / "results" / f"{FASHION}.json"), "lightsnn", "lightsnn-cut")
    values = [f"{100 * value:.1f}".replace("-", "−") for value in (still.mean, still.low, still.high)]
    assert "and on still images {} points ({} to {})".format(*values) in text
    assert "no gain is seen" in text
    assert searched.low <= 0 <= searched.high
    assert still.low <= 0 <= still.high


def test_what_is_told_apart(root: Path, text: str) -> None:
    """Of the intervals of lightsnn minus another method, those that hold no 0 are named with figures, and no others."""
    words = text[text.index("- On `motion-dvs` LightSNN's search") : text.index("- **Scores do not predict")]
    for name, part in zip(("motion-dvs", FASHION), words.split(f"- On `{FASHION}`"), strict=True):
        rows = results.gather(root / "data" / "results" / f"{name}.json")
        cells = {(row["method"], row["seed"]): row["cell"] for row in rows}
        same = [cells["lightsnn-cut", seed] == cells["lightsnn-forward", seed] for seed in range(5)]
        assert all(same) == (name == "motion-dvs")
        told = 0
        for other in set(results.by_method(rows)) - {"lightsnn", "lightsnn-cut", "all-skip"}:
            gap = results.paired(rows, "lightsnn", other)
            if not gap.low <= 0 <= gap.high:
                mean, low, high = (f"{100 * value:.1f}".replace("-", "−") for value in (gap.mean, gap.low, gap.high))
                assert re.search(rf"\(\+?{mean}(?: points)?, {low} to {high}\)", part), (name, other)
                told += 1
        assert told == len(re.findall(r"\([+−].* to [−\d.]+\)", part.replace(")", ")\n")))
    drawn = results.by_method(results.gather(root / "data" / "results" / "motion-dvs.json"))["random"]
    accuracies = sorted(100 * row["test_accuracy"] for row in drawn)
    assert f"(random cells {', '.join(f'{value:.0f}' for value in accuracies)} %)" in words


def test_correlations_and_choices(root: Path, text: str) -> None:
    found = {
        row["score"]: row["kendall_tau"]["estimate"] for row in stored(root, "score_correlations.json")["trained_cells"]
    }
    names = ("longest path", "convolutions", "parameters", "hd_batch", "sahd_batch", "sahd_running")
    taus = [f"{found[name]:.2f}".replace("-", "−") for name in names]
    words = text[text.index("Kendall's tau") : text.index("All 17 scores")]
    assert re.findall(r"−?0\.\d\d", words) == taus
    searches = {row["search"]: row for row in stored(root, "score_searches.json")["searches"]}
    words = text[text.index("`balanced` chooses") : text.index("```bash\npython -m lightsnn_kit search")]
    balanced, sahd = searches["balanced"], searches["pruning by SAHD"]
    told = [balanced["accuracy_mean"], sahd["accuracy_mean"], balanced["siblings_mean"], sahd["siblings_mean"]]
    assert re.findall(r"(\d\d\.\d\d) %", words) == [f"{value:.2f}" for value in told]
    assert (balanced["convs_mean"], balanced["accuracy_min"], round(10 * sahd["known"])) == (
        3,
        balanced["accuracy_mean"],
        3,
    )


def test_cells_trained_here(root: Path, text: str) -> None:
    sets = stored(root, "score_trained_cells.json")["sets"]
    motion, fashion = sets["motion-dvs"], sets["fashion-mnist-small+forward"]
    tau = {row["score"]: row["kendall_tau"]["estimate"] for row in motion["all_cells"]}
    later = next(row["kendall_tau"] for row in motion["later_cells"] if row["score"] == "identity loops")
    values = [
        tau["sahd_batch"],
        tau["longest path"],
        tau["identity loops"],
        later["estimate"],
        later["low"],
        later["high"],
    ]
    words = text[text.index("- On 40 random cells") : text.index("- `balanced` chooses")]
    still = {row["score"]: row["kendall_tau"] for row in fashion["all_cells"]}
    wrong = ("sahd_batch", "balanced", "shortest path")
    assert {name for name, found in still.items() if not found["low"] <= 0 <= found["high"]} == set(wrong)
    values += [fashion["noise"]["reliability"], *(still[name]["estimate"] for name in wrong)]
    assert re.findall(r"−?0\.\d\d", words) == [f"{value:.2f}".replace("-", "−") for value in values]
    assert f"on the {40 - motion['looked_at']} cells" in words


def test_the_page_of_results_shows_every_score_and_search(root: Path) -> None:
    page = (root / "data" / "results" / "README.md").read_text(encoding="utf-8")
    rows = stored(root, "score_correlations.json")["trained_cells"]
    shown = re.findall(r"^\| .+ \| (−?\d\.\d\d) \| (−?\d\.\d\d) to (−?\d\.\d\d) \|$", page, flags=re.MULTILINE)
    taus = [[row["kendall_tau"][end] for end in ("estimate", "low", "high")] for row in rows]
    assert [list(row) for row in shown] == [[f"{value:.2f}".replace("-", "−") for value in row] for row in taus]
    searches = stored(root, "score_searches.json")["searches"]
    lines = re.findall(r"^\| (.+) \| (\d\.\d) \| (\d+) \| (.+) \| (\d+) % \| ([\d.]+) \|$", page, flags=re.MULTILINE)
    assert [line[0] for line in lines] == [row["search"] for row in searches]
    for (_, convs, scores, accuracy, known, siblings), row in zip(lines, searches, strict=True):
        told = [
            f"{row[key]:.{digits}f}" for key, digits in (("convs_mean", 1), ("evaluations", 0), ("siblings_mean", 2))
        ]
        assert [convs, scores, siblings] == told
        assert int(known) == round(100 * row["known"])
        if row["accuracy_mean"] is not None:
            assert accuracy == f"{row['accuracy_mean']:.2f}, {row['accuracy_min']:.2f}"


def test_the_benchmark(root: Path, text: str) -> None:
    """Speeds of scoring and training, from one run of ``make bench``, and which aims were missed."""
    rows = {row["name"]: row for row in stored(root, "bench.json")["rows"]}
    value = {name: row["value"] for name, row in rows.items()}

    def told(name: str, shown: str) -> str:
        return shown + (": missed" if rows[name]["holds"] is False else "")

    for width, batch in ((16, 64), (64, 16), (256, 16)):
        speedup, share = f"speedup_plain_C{width}", f"ratio_conv_C{width}"
        aims = [told(name, f"{rows[name]['target']:g}") for name in (speedup, share)]
        wanted = (
            rf"\| {width}, {batch} \| .* \| {value[speedup]:.1f}× \({aims[0]}\) \| {value[share]:.2f} \({aims[1]}\) \|"
        )
        assert re.search(wanted, text), width
    for width, batch in ((16, 32), (32, 16)):
        for threads, name in ((2, f"C{width}_2_threads"), (1, f"C{width}")):
            speeds = [f"{value[f'train_{side}_{name}']:.1f}" for side in ("plain", "ours")]
            missed = " (missed)" if rows[f"train_speedup_{name}"]["holds"] is False else ""
            ends = f"{' | '.join(speeds)} | {value[f'train_speedup_{name}']:.2f}×{missed} |"
            assert f"| {width}, {batch} | {threads} | {ends}" in text
    words = text[text.index("What binds at width 64") : text.index("## Training on a CPU")]
    names = ("convolution_ms_C64", "fast_ms_C64", "int8_rate_C64", "int8_rate_best", "search60_seconds_C16")
    figures = [f"{value[name]:.0f}" for name in names] + [
        f"{value[n]:.2f}" for n in ("memory_ratio", "memory_ratio_C256")
    ]
    assert all(re.search(rf"(?<![\d.]){figure}(?![\d.])", words) for figure in figures)
