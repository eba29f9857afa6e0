"""Every notebook runs headless in quick mode; the stages run as one chain, resume, and refuse what does not fit."""

from __future__ import annotations

import json
import re
import shutil
import time
from pathlib import Path

import pytest

from lightsnn_kit import __main__ as command_line
from lightsnn_kit.lab import runs

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
STAGES = command_line.DEMO_STAGES
LABELS = ("found", "random_cell", "all_conv")
OTHERS = [path for path in sorted(FOLDER.glob("*.ipynb")) if path.stem not in STAGES]
PLOTLY = "application/vnd.plotly.v1+json"
FIGURES = {"cell", "test_accuracy", "firing_rate", "spikes", "synops", "energy_pj", "parameters", "seconds"}


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
        ("evaluate", {"energy_samples": None}, "'energy_samples' expects int"),
        ("report", {"dataset": "digits"}, "no parameter 'dataset'"),
    ],
)
def test_bad_parameters_fail_before_execution(stage: str, given: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(runs.ParameterError, match=re.escape(message)):
        runs.run_notebook(FOLDER / f"{stage}.ipynb", output=tmp_path / "out.ipynb", parameters=given)
    assert list(tmp_path.iterdir()) == []


def test_the_demo_meets_its_terms() -> None:
    """Parameters are known to some stage, and the network is as large as promised: C >= 8, T >= 4."""
    plan = command_line.plan_notebooks([FOLDER / f"{name}.ipynb" for name in STAGES], command_line.DEMO_PARAMETERS)
    values = {name: value for _, given in plan for name, value in given.items()}
    assert values == command_line.DEMO_PARAMETERS
    assert (values["dataset"], values["space"], values["quick"]) == ("digits", "lightsnn", False)
    assert values["width"] >= 8
    assert values["num_steps"] >= 4


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
    results = runs.read_json(chain / "results.json")
    assert set(results) >= {*FIGURES, "dataset", "seeds", "settings", "provenance", "comparison", "all_conv"}
    assert set(results["seconds"]) == {"warm_up", "search", "train", "evaluate"}
    assert set(results["comparison"]) == set(LABELS[1:])
    for row in (results, *results["comparison"].values()):
        assert set(row) >= FIGURES
        assert row["test_accuracy"] == row["test_correct"] / row["test_samples"]
        assert row["test_samples"] == 89  # every fourth of digits' 355
        assert row["energy_pj"] == pytest.approx(4.6 * row["macs"] + 0.9 * row["synops"])
        assert row["macs"] == 8 * 8 * 4 * 9  # the stem: 8x8 pixels, width 4 in quick mode, 3x3
    assert results["comparison"]["all_conv"]["convs"] == 12
    assert results["comparison"]["random_cell"]["longest_conv_path"] is not None
    assert results["search"]["evaluations"] == 60


@pytest.mark.notebooks
def test_records_of_the_chain(chain: Path) -> None:
    folder = runs.RunFolder.open(chain)
    steps = folder.read("search").records("steps")
    assert [len(step["scores"]) for step in steps] == [36, 24]
    assert {len(ops) for ops in steps[-1]["mask"].values()} == {1}
    for label in LABELS:
        assert [record["epoch"] for record in folder.read(f"train/{label}").records("epochs")] == [1, 2]
        assert folder.read(f"evaluate/{label}").result["energy"]["num_samples"] == 32
    budgets = [folder.read(f"train/{label}").settings["train"] for label in LABELS]
    assert budgets[1:] == budgets[:-1]


@pytest.mark.notebooks
def test_running_again_reads_back(chain: Path) -> None:
    before = {path: path.read_bytes() for path in chain.rglob("*") if path.suffix in (".json", ".jsonl", ".pt")}
    for stage in STAGES:
        given = {"run_dir": str(chain), "quick": True}
        again = runs.run_notebook(
            FOLDER / f"{stage}.ipynb", output=chain / f"{stage}.ipynb", parameters=given, html=False
        )
        assert again == chain / f"{stage}-2.ipynb"
    after = {path: path.read_bytes() for path in chain.rglob("*") if path.suffix in (".json", ".jsonl", ".pt")}
    assert after == before


@pytest.mark.notebooks
def test_an_interrupted_run_goes_on(chain: Path, tmp_path: Path) -> None:
    """Of search the second round is missing, of one training the last record and the result."""
    folder = shutil.copytree(chain, tmp_path / "run")
    for stage, records in (("search", "steps"), ("train/all_conv", "epochs")):
        lines = (folder / stage / f"{records}.jsonl").read_text().splitlines(keepends=True)
        (folder / stage / f"{records}.jsonl").write_text(lines[0])
        (folder / stage / "result.json").unlink()
    for name in ("search", "train"):
        given = {"run_dir": str(folder), "quick": True}
        runs.run_notebook(FOLDER / f"{name}.ipynb", output=tmp_path / f"{name}.ipynb", parameters=given, html=False)
    for stage, records in (("search", "steps"), ("train/all_conv", "epochs")):
        again, before = (runs.RunFolder.open(path).read(stage) for path in (folder, chain))
        assert without_seconds(again.records(records)) == without_seconds(before.records(records))
        assert without_seconds([again.result]) == without_seconds([before.result])


@pytest.mark.notebooks
def test_other_settings_are_refused(chain: Path, tmp_path: Path) -> None:
    given = {"run_dir": str(chain), "quick": True, "seed": 1}
    with pytest.raises(runs.NotebookError, match="seed was 0, now 1"):
        runs.run_notebook(FOLDER / "search.ipynb", output=tmp_path / "search.ipynb", parameters=given, html=False)


@pytest.mark.notebooks
@pytest.mark.parametrize("stage", STAGES[1:])
def test_a_missing_stage_is_told(stage: str, tmp_path: Path) -> None:
    given = {"run_dir": str(tmp_path / "run"), "quick": True}
    with pytest.raises(runs.NotebookError, match=r"no finished stage 'search'; run search.ipynb on it first"):
        runs.run_notebook(FOLDER / f"{stage}.ipynb", output=tmp_path / "out.ipynb", parameters=given, html=False)


@pytest.mark.notebooks
@pytest.mark.parametrize("notebook", OTHERS, ids=lambda path: path.stem)
def test_teaching_notebook_runs(notebook: Path, tmp_path: Path) -> None:
    begun = time.perf_counter()
    executed = runs.run_notebook(notebook, output=tmp_path / notebook.name, parameters={"quick": True})
    check_outputs(executed)
    print(f"{notebook.stem}: {time.perf_counter() - begun:.0f} s")


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_demo_reaches_its_accuracy(seed: int, tmp_path: Path) -> None:
    assert command_line.main(["demo", "--run", str(tmp_path / "run"), "-p", f"seed={seed}"]) == 0
    assert runs.read_json(tmp_path / "run" / "results.json")["test_accuracy"] >= 0.95
