"""What the README says holds: its names, links, commands and claims; and its page of results is made from the files."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from studies import page, page_real

import lightsnn_kit
from lightsnn_kit.cells import Cell
from lightsnn_kit.files import read_json
from lightsnn_kit.lab import results
from lightsnn_kit.lab.comparisons import compare
from lightsnn_kit.methods import METHODS


@pytest.fixture(scope="module")
def text(root: Path) -> str:
    return (root / "README.md").read_text(encoding="utf-8")


def test_the_page_of_results_is_made_from_the_files(root: Path) -> None:
    assert (root / "data" / "results" / "README.md").read_text(encoding="utf-8") == page.page()


def test_every_file_of_results_comes_from_a_clean_commit(root: Path) -> None:
    for path in (root / "data" / "results").glob("*.json"):
        found = re.findall(r'"commit": *"([0-9a-f]{40})", *"dirty": *(true|false)', " ".join(path.read_text().split()))
        assert found, path.name
        assert {dirty for _, dirty in found} == {"false"}, path.name


def test_the_page_by_hand(root: Path) -> None:
    """A few cells of it, from the files by another way."""
    text = page.page()
    rows = json.loads((root / "data" / "results" / "motion-dvs.json").read_text())["rows"]
    mine = [100 * row["test_accuracy"] for row in rows if row["method"] == "residual-feedback"]
    assert f"| `residual-feedback`: {METHODS['residual-feedback'].text} | {sum(mine) / len(mine):.1f} ±" in text
    known = json.loads((root / "data" / "results" / "score_correlations.json").read_text())["trained_cells"]
    tau = {row["score"]: row["kendall_tau"] for row in known}["sahd_batch"]
    low, high = tau["low"], tau["high"]
    assert f"| SAHD, batch statistics | {tau['estimate']:.2f} | {low:.2f} to {high:.2f} ● |" in text
    assert not re.search(r"<\w+>", text)  # every place of the text is filled


def test_the_table_of_names(text: str) -> None:
    part = text[text.index("| names of `lightsnn_kit`") : text.index("Behind them")]
    names = [
        name for line in part.splitlines()[2:] if "|" in line for name in re.findall(r"`(\w+)`", line.split("|")[1])
    ]
    assert sorted(names) == sorted(lightsnn_kit.__all__)
    assert 20 <= len(names) <= 30


def test_links_and_notebooks_exist(root: Path, text: str) -> None:
    links = [link for link in re.findall(r"\]\(([^)]+)\)", text) if not link.startswith("http")]
    assert len(links) >= 4
    assert [link for link in links if not (root / link).exists()] == []
    part = text[text.index("| notebook |") : text.index("Any of them runs headless")]
    named = set(re.findall(r"`(\w+)`", part)) - {"reproduce", "guides"}
    assert {path.stem for path in (root / "notebooks").glob("*.ipynb")} <= named
    for folder in ("reproduce", "guides"):
        assert {path.stem for path in (root / "notebooks" / folder).glob("*.ipynb")} <= named


def test_the_example_runs(text: str, capsys: pytest.CaptureFixture) -> None:
    (code,) = re.findall(r"```python\n(.+?)```", text, flags=re.DOTALL)
    exec(compile(code, "README.md", "exec"), {})
    assert Cell.parse(capsys.readouterr().out.strip()).num_convs > 0


def test_what_was_measured_in_short(root: Path, text: str) -> None:
    """Each clause of the README's summary, by the rule that an interval which holds 0 tells nothing apart."""
    assert "In short: on small data" in text
    folder = root / "data" / "results"
    motion, fashion = (results.gather(folder / f"{name}.json") for name in page.PRESETS)
    for rows in (motion, fashion):
        random, feedback = (results.paired(rows, "lightsnn", other) for other in ("random", "lightsnn-cut"))
        assert random.low <= 0 <= random.high
        assert feedback.low <= 0
    assert results.paired(motion, "residual-feedback", "residual").low > 0
    recordings = results.gather(folder / "n-mnist.json")
    [fed_back] = compare(recordings, [("residual-feedback", "residual")])
    assert [round(100 * value) for value in (fed_back.mean, fed_back.low, fed_back.high)] == [8, 3, 14]
    planned = {(one.first, one.second): one for one in page_real.planned(recordings)}
    assert round(planned["residual-feedback", "residual"].corrected, 2) == 0.06
    assert len(planned) == 9
    [touched] = compare(results.gather(folder / "braille.json"), [("residual-feedback", "residual")])
    assert [round(100 * value) for value in (touched.mean, touched.low, touched.high)] == [-8, -17, 1]
    worse = {
        one.second for one in page_real.planned(recordings) if one.first == "lightsnn" and one.decided and one.mean < 0
    }
    assert worse >= {"residual", "residual-feedback", "balanced", "balanced-recurrent"}
    paper = read_json(folder / "paper_search.json")
    assert round(paper["extrapolated"]["pruning_seconds"] / 60) == 17
    assert round(paper["extrapolated"]["seconds"]) == 26
    assert {row["longest_conv_path"] for row in paper["pruning"]} == {1}
    found = read_json(folder / "score_correlations.json")["trained_cells"]
    tau = {row["score"]: row["kendall_tau"]["estimate"] for row in found}
    counts = {"longest path", "shortest path", "convolutions", "parameters", "balanced", "random"}
    assert set(tau) > counts
    assert all(tau["longest path"] > value for score, value in tau.items() if score not in counts)
    swap = {row["score"]: row for row in found}["swap_batch"]
    assert swap["tau_minus_longest_path"]["high"] < 0 < swap["right_minus_longest_path"]["low"]
    found = read_json(folder / "score_correlations_fashion.json")["trained_cells"]
    fashion = {row["score"]: row for row in found}["swap_batch"]["right_minus_longest_path"]
    assert fashion["low"] <= 0 <= fashion["high"]
