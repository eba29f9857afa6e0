"""The notebooks of studies run headless in quick mode, offline and without the benchmark."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lightsnn_kit.files import RunError, read_json
from lightsnn_kit.lab.notebooks import NotebookError, run_notebook

FOLDER = Path(__file__).resolve().parents[2] / "notebooks" / "reproduce"
STUDIES = ("correlations", "searches", "stability", "feedback", "trained_cells", "noise")
PLOTLY = "application/vnd.plotly.v1+json"


def check_outputs(executed: Path) -> None:
    """No error, no warning, and at least one figure."""
    cells = json.loads(executed.read_text(encoding="utf-8"))["cells"]
    outputs = [output for cell in cells for output in cell.get("outputs", ())]
    assert [output["ename"] for output in outputs if output["output_type"] == "error"] == []
    assert ["".join(output["text"]) for output in outputs if output.get("name") == "stderr"] == []
    assert any(PLOTLY in output.get("data", {}) for output in outputs)


@pytest.mark.notebooks
@pytest.mark.parametrize("study", STUDIES)
def test_every_study_can_be_rehearsed(study: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LIGHTSNN_EXTRA_DATA", raising=False)
    output = tmp_path / "score.json"
    given = {"run_dir": str(tmp_path / "run"), "study": study, "output": str(output), "quick": True}
    check_outputs(run_notebook(FOLDER / "scores.ipynb", output=tmp_path / "scores.ipynb", parameters=given))
    record = read_json(output)
    assert list(record)[:4] == ["command", "seconds", "provenance", "note"]
    assert f"-p study={study}" in record["command"]
    assert "quick run, not a result" in record["note"]
    if study == "noise":
        kept = {"command", "seconds", "provenance", "preset", "cell", "rows", "seeds", "orders"}
    else:
        kept = read_json(FOLDER.parents[1] / "data" / "results" / f"score_{study}.json")
    assert set(record) - {"note"} == set(kept)


@pytest.mark.notebooks
def test_other_settings_and_unknown_studies_are_refused(tmp_path: Path) -> None:
    given = {"run_dir": str(tmp_path / "run"), "study": "correlations", "quick": True}
    scores, copy = FOLDER / "scores.ipynb", tmp_path / "scores.ipynb"
    run_notebook(scores, output=copy, parameters=given, html=False)
    with pytest.raises(NotebookError, match="seeds was 5, now 4"):
        run_notebook(scores, output=copy, parameters=given | {"seeds": 4}, html=False)
    with pytest.raises(RunError, match="Did you mean 'stability'"):
        run_notebook(scores, output=copy, parameters=given | {"study": "stabilty"}, html=False)


@pytest.mark.notebooks
def test_images_that_are_not_there_are_named_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIGHTSNN_DATA", str(tmp_path))
    given = {"run_dir": str(tmp_path / "run"), "study": "correlations"}
    with pytest.raises(NotebookError, match=r"cifar10: no data_batch_1.*cifar-10-python\.tar\.gz"):
        run_notebook(FOLDER / "scores.ipynb", output=tmp_path / "scores.ipynb", parameters=given, html=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.notebooks
def test_memory_is_worked_out_and_measured(tmp_path: Path) -> None:
    given = {"quick": True, "batch_sizes": [2, 4]}
    check_outputs(run_notebook(FOLDER / "memory.ipynb", output=tmp_path / "memory.ipynb", parameters=given))


@pytest.mark.notebooks
def test_the_papers_search_can_be_rehearsed_and_is_recorded(tmp_path: Path) -> None:
    output = tmp_path / "found.json"
    given = {"run_dir": str(tmp_path / "run"), "output": str(output), "quick": True, "random_scores": 3}
    check_outputs(run_notebook(FOLDER / "paper_search.ipynb", output=tmp_path / "out.ipynb", parameters=given))
    record = read_json(output)
    assert [row["evaluations"] for row in record["pruning"] + record["random"]] == [60, 60, 3, 3]
    assert [len(row["decisions"]) for row in record["pruning"]] == [24, 24]  # 12 edges, from 3 operations to 1
    assert all(decision["margin"] >= 0 for row in record["pruning"] for decision in row["decisions"])
    [agreement] = record["agreement"]
    first, second = (row["cell"].replace("/", "+").replace("+", "").split("|") for row in record["pruning"])
    same = [a == b for a, b in zip(first, second, strict=True) if a]
    assert len(same) == 12
    assert agreement == {"seeds": [0, 1], "same_edges": sum(same) / 12}
