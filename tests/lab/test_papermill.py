"""papermill's own command, without our runner: wrong parameters end it, and run folders are the same from anywhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lightsnn_kit import files
from lightsnn_kit.files import RunError
from lightsnn_kit.lab import presets
from lightsnn_kit.lab.experiments import Experiment, experiment_run
from lightsnn_kit.lab.notebooks import run_for

CHECK = "from lightsnn_kit.lab.notebooks import check_injected\ncheck_injected()"
PLACE = "from lightsnn_kit.files import at_root\nprint(at_root('runs/x'))\nprint(width, quick)"
NOTEBOOKS = sorted((Path(__file__).resolve().parents[2] / "notebooks").rglob("*.ipynb"))


@pytest.fixture
def papermill(tmp_path: Path, root: Path, write_notebook: Callable[..., Path]) -> Callable[..., object]:
    """A function (*arguments) that runs a notebook by papermill's command from a folder of no project."""
    notebook = write_notebook(tmp_path / "n.ipynb", "width = 8\nquick = False\nothers = ['random']", CHECK, PLACE)

    def run(*arguments: str) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "papermill", str(notebook), str(tmp_path / "out.ipynb"), "-k", "python3"]
        environment = os.environ | {"PYTHONPATH": str(root)}
        return subprocess.run(
            [*command, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )

    return run


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-p", "widht", "16"], "has no parameter 'widht'. Did you mean 'width'?"),
        (["-p", "quick", "yes"], "parameter 'quick' expects bool like its default False, but got str 'yes'"),
        (["-p", "others", "['all-conv']"], "give all else with -y"),
    ],
)
def test_wrong_parameters_end_it(papermill, tmp_path: Path, arguments: list[str], message: str) -> None:
    ended = papermill(*arguments)
    assert ended.returncode != 0
    assert message in ended.stderr
    executed = json.loads((tmp_path / "out.ipynb").read_text())["cells"]
    assert executed[-1]["execution_count"] is None  # nothing after the check was run


def test_right_parameters_pass_and_run_folders_are_those_of_the_checkout(papermill, tmp_path: Path, root: Path) -> None:
    ended = papermill("-p", "width", "16", "-y", "{quick: true, others: [all-conv]}")
    assert ended.returncode == 0, ended.stderr
    printed = json.loads((tmp_path / "out.ipynb").read_text())["cells"][-1]["outputs"][0]["text"]
    assert "".join(printed).splitlines() == [str(root / "runs" / "x"), "16 True"]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_check_stands_right_below_the_parameters(notebook: Path) -> None:
    code = [cell for cell in json.loads(notebook.read_text())["cells"] if cell["cell_type"] == "code"]
    assert "parameters" in code[0]["metadata"]["tags"]
    assert "check_injected()" in "".join(code[1]["source"])


def test_relative_folders_outside_of_any_project(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert files.project_root() == root
    monkeypatch.setattr(files, "__file__", str(tmp_path / "site-packages" / "lightsnn_kit" / "files.py"))
    assert files.project_root() == tmp_path  # installed without a checkout
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "deep").mkdir()
    monkeypatch.chdir(tmp_path / "deep")
    assert files.project_root() == tmp_path


# ---- the folder that a notebook chooses ------------------------------------------------------------------------------


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs"


def test_a_folder_is_taken_that_fits_or_the_next_free_name(project: Path) -> None:
    def kept(folder: Path) -> bool:
        return (folder / "mine").exists()

    assert run_for("", name="a/b", fits=kept) == project / "a" / "b"
    for name in ("b", "b-2", "b-x", "bb"):
        (project / "a" / name).mkdir(parents=True)
    assert run_for("", name="a/b", fits=kept) == project / "a" / "b-3"
    for name in ("b", "b-2", "b-x"):
        (project / "a" / name / "mine").touch()
    os.utime(project / "a" / "b-2", (1, 1))
    assert run_for("", name="a/b", fits=kept) == project / "a" / "b"  # the one last worked in
    os.utime(project / "a" / "b", (1, 1))
    os.utime(project / "a" / "b-2", (2, 2))
    assert run_for("", name="a/b", fits=kept) == project / "a" / "b-2"
    assert run_for("", name="a/b", fits=lambda folder: True) == project / "a" / "b-2"  # it has become the last one
    assert run_for("runs/c", name="a/b", fits=kept) == project / "c"


def test_an_experiment_goes_on_in_its_own_folder_and_never_meets_another(project: Path) -> None:
    """As the stage notebooks: a search begins, goes on or makes room; the others follow the last search."""
    small, other = presets.get("digits").quick(), presets.get("digits").quick().changed(budget=7)
    first = experiment_run("", small)
    assert first == project / "explore"
    Experiment.open(first, small).load(0)
    again = small.changed(train={"epochs": 2})  # a training may be another
    assert experiment_run("", small) == experiment_run("", again) == experiment_run("") == first
    second = experiment_run("", other)
    assert second == project / "explore-2"
    Experiment.open(second, other).load(0)
    assert experiment_run("") == second
    assert experiment_run("", small) == first
    assert experiment_run("") == first
    (second / "experiment" / "settings.json").write_text("{")
    assert experiment_run("", other) == project / "explore-3"  # a damaged one is left alone
    with pytest.raises(RunError, match=r"holds no experiment; run search\.ipynb on it first"):
        Experiment.open(experiment_run("", name="nothing"))
