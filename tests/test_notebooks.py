"""Every notebook runs headless in quick mode; the stages run as one chain, resume, and refuse what does not fit."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from lightsnn_kit import __main__ as command_line
from lightsnn_kit.cells import Cell
from lightsnn_kit.files import read_json
from lightsnn_kit.lab import presets, runs
from lightsnn_kit.lab.experiments import Experiment
from lightsnn_kit.lab.notebooks import NotebookError, ParameterError, run_notebook

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
STAGES = command_line.DEMO_STAGES
METHODS = ("lightsnn", "random", "all-conv")
OTHERS = [path for path in sorted(FOLDER.glob("*.ipynb")) if path.stem not in STAGES]
OTHERS += sorted((FOLDER / "guides").glob("*.ipynb"))
PLOTLY = "application/vnd.plotly.v1+json"
FIGURES = {"cell", "test_accuracy", "firing_rate", "spikes", "synops", "energy_pj", "parameters", "seconds", "sahd"}


def outputs(executed: Path) -> list[dict]:
    """All outputs of an executed notebook."""
    cells = json.loads(executed.read_text(encoding="utf-8"))["cells"]
    return [output for cell in cells for output in cell.get("outputs", ())]


def check_outputs(executed: Path) -> None:
    """No error, no warning, and at least one figure."""
    found = outputs(executed)
    assert [output["ename"] for output in found if output["output_type"] == "error"] == []
    assert ["".join(output["text"]) for output in found if output.get("name") == "stderr"] == []
    assert any(PLOTLY in output.get("data", {}) for output in found)


def without_seconds(records: list[dict]) -> list[dict]:
    """Records without what differs between two runs."""
    return [{key: value for key, value in record.items() if "seconds" not in key} for record in records]


# ---- before anything runs --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stage", "given", "message"),
    [
        ("search", {"widht": 8}, "Did you mean 'width'"),
        ("search", {"width": "8"}, "'width' expects int"),
        ("search", {"quick": 1}, "'quick' expects bool"),
        ("train", {"epochs": 2.5}, "'epochs' expects int"),
        ("evaluate", {"raster_samples": None}, "'raster_samples' expects int"),
        ("report", {"dataset": "digits"}, "no parameter 'dataset'"),
    ],
)
def test_bad_parameters_fail_before_execution(stage: str, given: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=re.escape(message)):
        run_notebook(FOLDER / f"{stage}.ipynb", output=tmp_path / "out.ipynb", parameters=given)
    assert list(tmp_path.iterdir()) == []


def test_the_demo_meets_its_terms() -> None:
    """Parameters are known to some stage, and the network is as large as promised: C >= 8, T >= 4."""
    plan = command_line.plan_notebooks([FOLDER / f"{name}.ipynb" for name in STAGES], command_line.DEMO_PARAMETERS)
    values = {name: value for _, given in plan for name, value in given.items()}
    assert values == command_line.DEMO_PARAMETERS == {"preset": "digits", "seed": 0, "quick": False}
    network = presets.get("digits").network
    assert network["width"] >= 8
    assert network["num_steps"] >= 4


# ---- the chain -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of the demo in quick mode."""
    folder = tmp_path_factory.mktemp("chain") / "run"
    assert command_line.main(["demo", "--run", str(folder), "-p", "quick=True"]) == 0
    return folder


@pytest.mark.notebooks
@pytest.mark.parametrize("stage", STAGES)
def test_stage_runs_in_the_chain(chain: Path, stage: str) -> None:
    check_outputs(chain / f"{stage}.ipynb")
    assert (chain / f"{stage}.html").is_file()
    seconds = json.loads((chain / f"{stage}.ipynb").read_text())["metadata"]["papermill"]["duration"]
    print(f"{stage}: {seconds:.0f} s")


@pytest.mark.notebooks
def test_results_of_the_chain(chain: Path) -> None:
    results = read_json(chain / "results.json")
    assert set(results) == {"preset", "provenance", "rows"}
    assert [row["method"] for row in results["rows"]] == list(METHODS)
    for row in results["rows"]:
        assert set(row) >= FIGURES
        assert (row["seed"], row["quick"], row["stand_in"]) == (0, True, False)
        assert row["test_accuracy"] == row["test_correct"] / row["test_samples"]
        assert row["test_samples"] == 20  # quick: two of each class
        assert row["energy_pj"] == pytest.approx(4.6 * row["macs"] + 0.9 * row["synops"])
        assert row["macs"] == 8 * 8 * 4 * 9  # the stem: 8x8 pixels, width 4 in quick mode, 3x3
        assert set(row["seconds"]) >= {"load", "search", "train", "evaluate"}
    found, random, all_conv = results["rows"]
    assert (found["evaluations"], random["evaluations"], all_conv["evaluations"]) == (60, 0, 0)
    assert (all_conv["convs"], all_conv["feedback_edges"], all_conv["longest_conv_path"]) == (12, 6, 3)
    assert random["longest_conv_path"] is not None


@pytest.mark.notebooks
def test_records_of_the_chain(chain: Path) -> None:
    folder = runs.RunFolder.open(chain)
    steps = folder.read("lightsnn/seed0").records("steps")
    assert [len(step["scores"]) for step in steps] == [36, 24]
    assert {len(ops) for ops in steps[-1]["mask"].values()} == {1}
    for method in METHODS:
        epochs = folder.read(f"{method}/seed0/train").records("epochs")
        assert [record["epoch"] for record in epochs] == list(range(1, 1 + len(epochs)))
        with np.load(chain / method / "seed0" / "spikes.npz") as kept:
            assert set(np.unique(kept["spikes"])) <= {0, 1}
    budgets = [folder.read(f"{method}/seed0/train").settings["train"] for method in METHODS]
    assert budgets[1:] == budgets[:-1]


@pytest.mark.notebooks
def test_running_again_reads_back(chain: Path) -> None:
    before = {path: path.read_bytes() for path in chain.rglob("*") if path.suffix in (".json", ".jsonl", ".pt")}
    for stage in STAGES:
        given = {"run_dir": str(chain), "quick": True}
        again = run_notebook(FOLDER / f"{stage}.ipynb", output=chain / f"{stage}.ipynb", parameters=given, html=False)
        assert again == chain / f"{stage}-2.ipynb"
    after = {path: path.read_bytes() for path in chain.rglob("*") if path.suffix in (".json", ".jsonl", ".pt")}
    assert after == before


@pytest.mark.notebooks
def test_an_interrupted_run_goes_on(chain: Path, tmp_path: Path) -> None:
    """Of the search the second round is missing, of one training its result, of both rows what follows."""
    folder = shutil.copytree(chain, tmp_path / "run")
    row, other = folder / "lightsnn" / "seed0", folder / "all-conv" / "seed0"
    scores = (row / "scores.jsonl").read_text().splitlines(keepends=True)
    (row / "scores.jsonl").write_text("".join(scores[:40]))  # in the second round
    (row / "steps.jsonl").write_text((row / "steps.jsonl").read_text().splitlines(keepends=True)[0])
    for missing in (row / "chosen.json", row / "measured.json", row / "result.json"):
        missing.unlink()
    for missing in (other / "train" / "result.json", other / "train" / "epochs.jsonl", other / "result.json"):
        missing.unlink()
    for name in STAGES[:3]:
        given = {"run_dir": str(folder), "quick": True}
        run_notebook(FOLDER / f"{name}.ipynb", output=tmp_path / f"{name}.ipynb", parameters=given, html=False)
    for stage, records in (
        ("lightsnn/seed0", "scores"),
        ("lightsnn/seed0", "steps"),
        ("all-conv/seed0/train", "epochs"),
    ):
        again, before = (runs.RunFolder.open(path).read(stage) for path in (folder, chain))
        assert without_seconds(again.records(records)) == without_seconds(before.records(records))
        assert without_seconds([again.result]) == without_seconds([before.result])


@pytest.mark.notebooks
def test_other_settings_are_refused(chain: Path, tmp_path: Path) -> None:
    given = {"run_dir": str(chain), "quick": True, "width": 8}
    with pytest.raises(NotebookError, match=r"preset.name was 'digits', now 'digits, width 8'"):
        run_notebook(FOLDER / "search.ipynb", output=tmp_path / "search.ipynb", parameters=given, html=False)


@pytest.mark.notebooks
@pytest.mark.parametrize(
    ("stage", "message"),
    [
        ("train", r"no cell is chosen in .* for seed 0; run search.ipynb on it first, or give cell="),
        ("evaluate", r"holds no experiment; run search.ipynb on it first"),
        ("report", r"holds no experiment; run search.ipynb on it first"),
    ],
)
def test_a_missing_stage_has_a_remedy(stage: str, message: str, tmp_path: Path) -> None:
    given = {"run_dir": str(tmp_path / "run"), "quick": True}
    with pytest.raises(NotebookError, match=message):
        run_notebook(FOLDER / f"{stage}.ipynb", output=tmp_path / "out.ipynb", parameters=given, html=False)


@pytest.mark.notebooks
def test_runs_without_a_folder_make_room_for_each_other(tmp_path: Path) -> None:
    """By papermill's own command, as a reader of its pages types it: two searches, and a training of the second."""
    (tmp_path / "pyproject.toml").touch()
    environment = os.environ | {"PYTHONPATH": str(FOLDER.parent)}
    for stage, *given in (("search",), ("search", "-p", "num_steps", "3"), ("train",)):
        command = [sys.executable, "-m", "papermill", FOLDER / f"{stage}.ipynb", "out.ipynb", "-k", "python3", *given]
        subprocess.run(
            [*command, "-p", "quick", "True"], cwd=tmp_path, env=environment, capture_output=True, check=True
        )
    texts = ["".join(output.get("text", "")) for output in outputs(tmp_path / "out.ipynb")]
    assert f"run folder: {tmp_path / 'runs' / 'explore-2'}" in "".join(texts)
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["explore", "explore-2"]
    assert len(list(tmp_path.glob("runs/explore-2/*/seed0/train/result.json"))) == len(METHODS)
    assert not list(tmp_path.glob("runs/explore/*/seed0/train"))


@pytest.mark.notebooks
def test_any_cell_is_trained_and_tested(tmp_path: Path) -> None:
    """A matrix, in a folder of its own: its row stands beside those of methods, with the same keys."""
    given = {"run_dir": str(tmp_path / "run"), "cell": "0303 0030 2002 0200", "quick": True}
    for name in ("train", "evaluate"):
        executed = run_notebook(
            FOLDER / f"{name}.ipynb", output=tmp_path / f"{name}.ipynb", parameters=given, html=False
        )
        check_outputs(executed)
    (row,) = (row.stage.result for row in Experiment.open(tmp_path / "run").rows(0))
    assert Cell.parse(row["cell"]) == Cell.parse("0303 0030 2002 0200")
    assert set(row) >= FIGURES - {"sahd"}
    assert row["method"].startswith("cell-")
    assert row["test_samples"] == 20


@pytest.mark.notebooks
@pytest.mark.parametrize("notebook", OTHERS, ids=lambda path: path.stem)
def test_teaching_notebook_runs(notebook: Path, tmp_path: Path) -> None:
    begun = time.perf_counter()
    executed = run_notebook(notebook, output=tmp_path / notebook.name, parameters={"quick": True})
    check_outputs(executed)
    print(f"{notebook.stem}: {time.perf_counter() - begun:.0f} s")


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_demo_reaches_its_accuracy(seed: int, tmp_path: Path) -> None:
    assert command_line.main(["demo", "--run", str(tmp_path / "run"), "-p", f"seed={seed}"]) == 0
    assert read_json(tmp_path / "run" / "results.json")["rows"][0]["test_accuracy"] >= 0.95
