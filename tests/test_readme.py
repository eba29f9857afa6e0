"""The README's measured figures are those of the files in data/results."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from lightsnn_kit import results

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
        told = [results.estimate(by[method], "test_accuracy").told(factor=100) for by in rows.values() if method in by]
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
    assert "it costs accuracy: {} points ({} to {})".format(*values) in text


def test_what_is_told_apart(root: Path, text: str) -> None:
    """Which intervals of lightsnn minus another hold 0, and the figures of those that do not."""
    words = text[text.index("- On `motion-dvs` LightSNN's search") : text.index("- **Scores do not predict")]
    sets = {name: results.gather(root / "data" / "results" / f"{name}.json") for name in ("motion-dvs", FASHION)}
    seeds = [f"{100 * row['test_accuracy']:.0f}" for row in sets["motion-dvs"] if row["method"] == "snasnet-search"]
    assert f"({', '.join(seeds)} % for the five seeds)" in words
    for name, rows in sets.items():
        for other in ("random", "random-search", "snasnet-search", "all-conv", "balanced"):
            gap = results.paired(rows, "lightsnn", other)
            decided = not gap.low <= 0 <= gap.high
            assert decided == (name == FASHION and other in ("all-conv", "balanced")), (name, other)
            if decided:
                mean, low, high = (f"{100 * value:.1f}".replace("-", "−") for value in (gap.mean, gap.low, gap.high))
                assert f"{mean} points, {low} to {high}" in words or f"({mean}, {low} to {high})" in words


def test_correlations_and_choices(root: Path, text: str) -> None:
    found = {
        row["score"]: row["kendall_tau"]["estimate"] for row in stored(root, "score_correlations.json")["trained_cells"]
    }
    names = ("longest path", "convolutions", "parameters", "hd_batch", "sahd_batch", "sahd_running")
    taus = [f"{found[name]:.2f}".replace("-", "−") for name in names]
    words = text[text.index("Kendall's tau") : text.index("- On 40 random cells")]
    assert re.findall(r"−?0\.\d\d", words) == taus
    searches = {row["search"]: row for row in stored(root, "score_searches.json")["searches"]}
    words = text[text.index("`balanced` chooses") : text.index("(`_score_study searches")]
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
    assert re.findall(r"0\.\d\d", words) == [f"{value:.2f}" for value in (*values, fashion["noise"]["reliability"])]
    assert f"on the {40 - motion['looked_at']} cells" in words


def test_the_tables_of_scores_and_searches(root: Path, text: str) -> None:
    rows = stored(root, "score_correlations.json")["trained_cells"]
    ends = [row["kendall_tau"][end] for row in rows for end in ("estimate", "low", "high")]
    taus = {f"{value:.2f}".replace("-", "−") for value in ends}
    shown = re.findall(r"^\| .+ \| (−?0\.\d\d) \| (−?0\.\d\d) to (−?0\.\d\d) \|$", text, flags=re.MULTILINE)
    assert len(shown) == 11
    assert {value for row in shown for value in row} <= taus
    searches = {row["search"]: row for row in stored(root, "score_searches.json")["searches"]}
    lines = re.findall(
        r"^\| (.+) \| (\d\.\d) \| ([\d.]+), ([\d.]+) \((\d+)%\) \| ([\d.]+) \|$", text, flags=re.MULTILINE
    )
    assert len(lines) == 8
    for name, *values in lines:
        row = searches[name]
        told = [row["convs_mean"], row["accuracy_mean"], row["accuracy_min"], 100 * row["known"], row["siblings_mean"]]
        assert [float(value) for value in values] == pytest.approx(told, abs=0.0501), name
