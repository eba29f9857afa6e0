"""Run folders survive crashes and refuse to overwrite; notebooks run as checked functions."""

from __future__ import annotations

import json
import math
import os
import re
import socket
import tomllib
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import nbformat
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightsnn_kit import __main__ as command_line
from lightsnn_kit import __version__, files
from lightsnn_kit.files import RunError, RunExistsError
from lightsnn_kit.lab import notebooks, report, runs, server
from lightsnn_kit.lab.notebooks import NotebookError, ParameterError
from lightsnn_kit.lab.runs import RunFolder

SETTINGS = {"width": 8, "seed": 0, "train": {"lr": 0.1, "nesterov": False}}


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder.open(tmp_path / "run")


@dataclass(frozen=True)
class Point:
    x: int
    y: tuple[float, ...]


# ---- JSON ------------------------------------------------------------------------------------------------------------

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


@given(VALUES)
def test_json_round_trip(value: object) -> None:
    assert json.loads(files.to_json(value)) == value == files.plain(value)


def test_plain_values_by_hand() -> None:
    value = {"a": (1, -math.inf), "b": np.float32(0.5), "c": np.array([[1, 2]]), "d": Point(3, (math.inf,))}
    assert files.plain(value) == {"a": [1, -math.inf], "b": 0.5, "c": [[1, 2]], "d": {"x": 3, "y": [math.inf]}}
    assert files.to_json({"score": -math.inf}) == '{"score": -Infinity}'
    assert files.differences({"a": math.nan}, {"a": math.nan}) == []


@pytest.mark.parametrize(
    ("value", "message"), [({1: 2}, "keys are text, but got 1"), ({"a": {2, 3}}, r"as JSON \(.*set.*use numbers")]
)
def test_what_is_no_json_is_refused(value: object, message: str) -> None:
    with pytest.raises(RunError, match=message):
        files.to_json(value)


# ---- run folders -----------------------------------------------------------------------------------------------------


def test_stage_is_created_resumed_and_finished(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = run.stage("train/found", SETTINGS)
    assert stage.path == run.path / "train" / "found"
    assert (stage.settings, stage.started, stage.finished) == (SETTINGS, True, False)
    stage.append("epochs", {"epoch": 0, "loss": math.inf})
    assert run.stage("train/found", SETTINGS).records("resumed") == []  # opened again by the same process
    monkeypatch.setattr(runs, "_opened_here", set())  # as another process
    again = RunFolder.open(run.path).stage("train/found", SETTINGS)
    assert again.records("epochs") == [{"epoch": 0, "loss": math.inf}]
    assert len(again.records("resumed")) == 1
    again.finish({"score": -math.inf})
    done = run.stage("train/found", SETTINGS)
    assert done.finished
    assert done.result == {"score": -math.inf}
    assert len(done.records("resumed")) == 1
    assert run.read("train/found") == done


def test_other_settings_are_refused_by_name(run: RunFolder) -> None:
    run.stage("train", SETTINGS)
    other = {"width": 16, "seed": 0, "train": {"lr": 0.2, "nesterov": False}, "quick": True}
    expected = "width was 8, now 16; train.lr was 0.1, now 0.2; quick was 'absent', now True"
    with pytest.raises(RunExistsError, match=rf"'train'.*{re.escape(expected)}.*another run folder"):
        run.stage("train", other)
    assert run.read("train").settings == SETTINGS


def test_settings_may_hold_tuples_and_nan(run: RunFolder) -> None:
    settings = {"shape": (1, 8, 8), "limit": math.nan}
    assert run.stage("a", settings).path == run.stage("a", settings).path


def test_a_finished_stage_is_read_only(run: RunFolder) -> None:
    stage = run.stage("search", {})
    stage.finish({"cell": "x"})
    for change in (lambda: stage.finish({}), lambda: stage.append("a", {}), lambda: stage.write_json("b", 1)):
        with pytest.raises(RunExistsError, match="is finished"):
            change()
    assert stage.result == {"cell": "x"}


def test_a_folder_with_records_but_no_settings_is_not_taken_over(run: RunFolder) -> None:
    (run.path / "search").mkdir()
    (run.path / "search" / "result.json").write_text("{}")
    with pytest.raises(RunExistsError, match=r"no settings\.json"):
        run.stage("search", {})


def test_torn_last_line_is_ignored_then_repaired(run: RunFolder) -> None:
    stage = run.stage("search", {})
    stage.append("scores", {"score": 1.5})
    with (stage.path / "scores.jsonl").open("a") as file:
        file.write('{"score": 2.')
    assert stage.records("scores") == [{"score": 1.5}]
    stage.append("scores", {"score": 3.5})
    assert stage.records("scores") == [{"score": 1.5}, {"score": 3.5}]
    assert (stage.path / "scores.jsonl").read_text().count("\n") == 2
    (stage.path / "first.jsonl").write_text('{"n": 1')
    stage.append("first", {"n": 1})
    assert stage.records("first") == [{"n": 1}]


def test_a_broken_line_in_the_middle_is_an_error(run: RunFolder) -> None:
    stage = run.stage("search", {})
    for n in (1, 2, 3):
        stage.append("scores", {"n": n})
    lines = (stage.path / "scores.jsonl").read_text().splitlines(keepends=True)
    (stage.path / "scores.jsonl").write_text(lines[0] + "oops\n" + lines[2])
    with pytest.raises(RunError, match=r"line 2 of .*scores\.jsonl is not JSON .* Remove the lines from 2 on"):
        stage.records("scores")


def test_json_files_are_replaced_whole(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = run.stage("search", {})
    stage.write_json("state", {"round": 1})
    stage.write_json("state", {"round": 2})

    def crash(*_: object) -> None:
        raise OSError("power cut")

    monkeypatch.setattr(os, "replace", crash)
    with pytest.raises(OSError, match="power cut"):
        stage.write_json("state", {"round": 3})
    assert stage.read_json("state") == {"round": 2}
    assert sorted(entry.name for entry in stage.path.iterdir()) == [".lock", "settings.json", "state.json"]


def test_write_json_overwrites_only_when_asked(tmp_path: Path) -> None:
    files.write_json(tmp_path / "results.json", {"a": 1})
    with pytest.raises(RunExistsError, match="pass replace=True"):
        files.write_json(tmp_path / "results.json", {"a": 2})
    files.write_json(tmp_path / "results.json", {"a": 3}, replace=True)
    assert files.read_json(tmp_path / "results.json") == {"a": 3}


def test_missing_and_malformed_files_are_named(run: RunFolder) -> None:
    stage = run.stage("search", {})
    with pytest.raises(RunError, match=r"result\.json does not exist; run the stage"):
        _ = stage.result
    (stage.path / "state.json").write_text("{")
    with pytest.raises(RunError, match=r"state\.json is not JSON"):
        stage.read_json("state")
    with pytest.raises(RunError, match=r"no stage 'train' in .* \(stages: search\); run it first"):
        run.read("train")


@pytest.mark.parametrize("name", ["", "../up", "a//b", "/etc", ".hidden", "a b", "a/", "a" * 201])
def test_names_stay_inside_the_folder(run: RunFolder, name: str) -> None:
    with pytest.raises(RunError, match="as a name; expected letters"):
        run.stage(name, {})


def test_own_files_of_a_stage_are_reserved(run: RunFolder) -> None:
    with pytest.raises(RunError, match=r"settings\.json is the stage's own file"):
        run.stage("a", {}).write_json("settings", {})


def test_unwritable_run_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"cannot write to the folder .*file.run: Not a directory; choose another"):
        RunFolder.open(tmp_path / "file" / "run")

    def refuse(**_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    with pytest.raises(RunError, match="Permission denied; choose another"):
        RunFolder.open(tmp_path / "run")


def test_relative_folders_start_at_the_project_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pyproject.toml").write_text("")
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    assert RunFolder.open("runs/a").path == tmp_path / "runs" / "a"


def test_provenance_names_versions_and_nothing_private() -> None:
    record = runs.provenance()
    assert record["packages"]["numpy"] == np.__version__
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", record["started"])
    assert record["processor"]
    assert record["memory"].endswith(" GiB")
    assert record["git"] is None or re.fullmatch("[0-9a-f]{40}", record["git"]["commit"])
    text = json.dumps(record)
    assert str(Path.home()) not in text
    assert str(Path(__file__).parents[1]) not in text
    assert socket.gethostname() not in text


def test_provenance_outside_a_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    state = runs.provenance()["git"]
    monkeypatch.setenv("PATH", "")  # no git
    assert runs.provenance()["git"] == state  # of the code that this process has loaded
    runs._git_state.cache_clear()
    assert runs.provenance()["git"] is None
    runs._git_state.cache_clear()


# ---- notebook parameters ---------------------------------------------------------------------------------------------

PARAMETERS = """
dataset = "a#b"  # text, with a comment = sign
width = 8  # channels = C
lr: float = 0.1
quick = False
ops = ["skip",
       "conv3x3"]
limit = None
shift = -3
"""


@pytest.fixture
def notebook(tmp_path: Path, write_notebook) -> Path:
    return write_notebook(tmp_path / "n.ipynb", PARAMETERS)


def test_parameters_are_read_exactly(notebook: Path) -> None:
    assert notebooks.notebook_parameters(notebook) == {
        "dataset": "a#b",
        "width": 8,
        "lr": 0.1,
        "quick": False,
        "ops": ["skip", "conv3x3"],
        "limit": None,
        "shift": -3,
    }


def test_good_parameters_pass(notebook: Path) -> None:
    given = {"lr": 1, "quick": True, "ops": [], "limit": 7, "dataset": "digits"}
    checked = notebooks.check_parameters(notebook, given)
    assert checked == given
    assert isinstance(checked["lr"], float)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"widht": 8}, "no parameter 'widht'. Did you mean 'width'? It has: dataset, width, lr, quick"),
        ({"zzz": 8}, "no parameter 'zzz'. It has: dataset"),
        ({"width": "8"}, "parameter 'width' expects int like its default 8, but got str '8'"),
        ({"width": True}, "expects int like its default 8, but got bool True"),
        ({"width": 8.0}, "but got float 8.0"),
        ({"width": None}, "but got NoneType None"),
        ({"lr": True}, "expects float like its default 0.1, but got bool True"),
        ({"quick": "true"}, "expects bool like its default False, but got str 'true'"),
        ({"quick": 1}, "but got int 1"),
        ({"ops": ("skip",)}, "expects list of str"),
        ({"ops": [1]}, "but got list of int [1]"),
        ({"limit": {1, 2}}, "expects NoneType like its default None, but got set {1, 2}"),
    ],
)
def test_bad_parameters_are_told(notebook: Path, given: dict, message: str) -> None:
    with pytest.raises(ParameterError, match=re.escape(message)):
        notebooks.check_parameters(notebook, given)


@pytest.mark.parametrize("cell", ["a = b", "a = b = 1", "import os", "'text'", "a += 1", "a ="])
def test_parameter_cells_hold_literals_only(tmp_path: Path, write_notebook, cell: str) -> None:
    with pytest.raises(ParameterError, match="takes only lines 'name = literal'"):
        notebooks.notebook_parameters(write_notebook(tmp_path / "n.ipynb", cell))


def test_unreadable_notebooks(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"cannot read the notebook .*none\.ipynb"):
        notebooks.notebook_parameters(tmp_path / "none.ipynb")
    (tmp_path / "bad.ipynb").write_text("not json")
    with pytest.raises(RunError, match=r"expected the path of an \.ipynb file"):
        notebooks.notebook_parameters(tmp_path / "bad.ipynb")


def test_plan_gives_each_notebook_its_own(tmp_path: Path, write_notebook) -> None:
    first, second = write_notebook(tmp_path / "a.ipynb", "x = 1\ny = 2"), write_notebook(tmp_path / "b.ipynb", "y = 3")
    assert notebooks.plan_notebooks([first, second], {"x": 5, "y": 6}) == [
        (first, {"x": 5, "y": 6}),
        (second, {"y": 6}),
    ]
    with pytest.raises(ParameterError, match=r"no notebook of this run has a parameter 'xx'. Did you mean 'x'\?"):
        notebooks.plan_notebooks([first, second], {"xx": 5})


# ---- running ---------------------------------------------------------------------------------------------------------

FIGURE = "import plotly.graph_objects as go\ngo.Figure(go.Bar(y=[width])).update_layout(title='bar of %d' % width)"


def test_run_notebook_and_its_offline_report(tmp_path: Path, write_notebook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLOTLY_RENDERER", "browser")
    source = write_notebook(tmp_path / "show.ipynb", "width = 8", FIGURE, FIGURE, "print(width * 111)")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "show.ipynb").write_text("precious")
    output = notebooks.run_notebook(source, output=tmp_path / "out" / "show.ipynb", parameters={"width": 5})
    assert output == tmp_path / "out" / "show-2.ipynb"
    assert (tmp_path / "out" / "show.ipynb").read_text() == "precious"
    assert os.environ["PLOTLY_RENDERER"] == "browser"
    executed = json.loads(output.read_text())
    assert "555" in "".join(executed["cells"][-1]["outputs"][0]["text"])
    assert "widgets" not in executed["metadata"]
    assert output.stat().st_size < 100_000
    check_report(output.with_suffix(".html").read_text())


def check_report(html: str) -> None:
    assert html.count("bar of 5") == 2
    assert html.count("Plotly.newPlot(") >= 2
    assert len(re.findall(r"plotly\.js v\d", html)) == 1
    without_scripts = re.sub(r"<script\b.*?</script>", "", html, flags=re.DOTALL)
    assert re.findall(r"""(?:src|href)=["']?(?:https?:)?//""", without_scripts) == []
    assert re.findall(r"<script[^>]*\bsrc=", html) == []
    assert re.findall(r"url\(['\"]?https?:|@import|import\(['\"]https?:", without_scripts) == []


WIDGETS = """import ipywidgets
import plotly.graph_objects as go
from lightsnn_kit.widgets.base import View
class Bars(View):
    def __init__(self):
        super().__init__()
        self.bars = self.plot("bars", label="Bars")
        self.arrange(self.bars)
        self.redraw()
    def figure(self):
        return go.Figure(go.Bar(y=[1, 2]), layout_title_text="two <b>bars</b>")
    def redraw(self):
        self.bars.show(self.figure())
Bars()"""


def bundles(notebook: dict) -> list[dict]:
    return [output["data"] for cell in notebook["cells"] for output in cell.get("outputs", ()) if "data" in output]


@pytest.mark.parametrize("fails", [False, True])
def test_widgets_are_left_as_pictures(tmp_path: Path, write_notebook, fails: bool) -> None:
    sources = ["", WIDGETS, "ipywidgets.IntSlider(description='a slider')", *(["1 / 0"] if fails else [])]
    source = write_notebook(tmp_path / "n.ipynb", *sources)
    output = tmp_path / "out.ipynb"
    if fails:
        with pytest.raises(NotebookError, match="ZeroDivisionError"):
            notebooks.run_notebook(source, output=output)
    else:
        notebooks.run_notebook(source, output=output)
        html = output.with_suffix(".html").read_text()
        assert html.count("Plotly.newPlot(") >= 1
        assert "widget-view" not in re.sub(r"<script\b.*?</script>|<style\b.*?</style>", "", html, flags=re.DOTALL)
    executed = json.loads(output.read_text())
    bars, slider = bundles(executed)
    assert set(bars) == {"application/vnd.plotly.v1+json", "text/plain"}
    assert set(slider) == {"text/plain"}
    assert "a slider" in "".join(slider["text/plain"])
    assert "widgets" not in executed["metadata"]


WIDGET = {"application/vnd.jupyter.widget-view+json": {"model_id": "7", "version_major": 2, "version_minor": 0}}
PICTURE = {"application/vnd.plotly.v1+json": {"data": [], "layout": {"title": {"text": "<b>Rates</b> of 5"}}}}


def notebook_of(*data: dict) -> dict:
    outputs = [{"output_type": "display_data", "data": bundle, "metadata": {}} for bundle in data]
    cells = [{"cell_type": "markdown", "source": ""}, {"cell_type": "code", "outputs": outputs}]
    return {"cells": cells, "metadata": {"widgets": {"state": {}}, "kernelspec": {}}}


def luminance(colour: str) -> float:
    """The relative luminance of #rgb or #rrggbb (WCAG 2)."""
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_code_in_reports_stands_out() -> None:
    """Every colour of code has the contrast that WCAG asks of text (AA), on the grey of a cell and on white."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("for x in (1, 'a'):  # why\n    print(x)")])
    page = report.html_report(notebook, title="x")
    rules = re.findall(r"^\.highlight \.(\w+) \{ color: ([^;}]+?) ?[;}]", page, flags=re.MULTILINE)
    assert len(rules) > 20
    for name, colour in rules:
        if name not in ("w", "err"):  # white space, and what no code of ours has
            assert 0.96 > luminance("#f5f5f5") > 0.9
            assert (luminance("#f5f5f5") + 0.05) / (luminance(colour) + 0.05) >= 4.5, (name, colour)


def test_saving_by_hand_keeps_pictures() -> None:
    model = {"type": "notebook", "content": notebook_of(WIDGET | PICTURE, WIDGET, {"text/plain": "1"})}
    shown = model["content"]
    report.before_saving(model=model, path="x.ipynb", contents_manager=None)
    outputs = [output["data"] for output in model["content"]["cells"][1]["outputs"]]
    text = {"text/plain": "A widget; run the cell to see it."}
    assert outputs == [PICTURE | {"text/plain": "Figure: Rates of 5"}, text, {"text/plain": "1"}]
    assert model["content"]["metadata"] == {"kernelspec": {}}
    assert shown == notebook_of(WIDGET | PICTURE, WIDGET, {"text/plain": "1"})  # what is open stays as it is
    for other in ({"type": "notebook", "content": None}, {"type": "file", "content": "text"}):
        before = dict(other)
        report.before_saving(model=other)
        assert other == before


def test_plain_jupyter_saves_pictures(root: Path) -> None:
    """The server extension, and the file that enables it where the package is installed."""
    files = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["data-files"]
    (enabled,) = files["etc/jupyter/jupyter_server_config.d"]
    assert json.loads((root / enabled).read_text()) == {"ServerApp": {"jpserver_extensions": {server.__name__: True}}}
    assert server._jupyter_server_extension_points() == [{"module": server.__name__}]
    hooks = []
    manager = SimpleNamespace(register_pre_save_hook=hooks.append)
    server._load_jupyter_server_extension(SimpleNamespace(contents_manager=manager))
    model = {"type": "notebook", "content": notebook_of(WIDGET | PICTURE)}
    hooks[0](model=model, path="x.ipynb", contents_manager=manager)
    assert model["content"]["cells"][1]["outputs"][0]["data"] == PICTURE | {"text/plain": "Figure: Rates of 5"}
    assert all((root / source).is_file() for sources in files.values() for source in sources)
    lab = json.loads((root / files["share/jupyter/labextensions/lightsnn-kit"][0]).read_text())
    assert lab["version"] == __version__
    assert lab["jupyterlab"]["_build"]["load"] == "static/remoteEntry.js"


@pytest.mark.parametrize("name", ["report.ipynb", "reproduce/report.ipynb"])
def test_reports_hide_their_code(name: str, root: Path) -> None:
    """In HTML by a tag, in JupyterLab by its own entry."""
    cells = json.loads((root / "notebooks" / name).read_text())["cells"]
    code = [cell["metadata"] for cell in cells if cell["cell_type"] == "code"]
    assert all("hide-input" in cell["tags"] and cell["jupyter"]["source_hidden"] for cell in code)


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (
            ["print('before')", "# why\nraise KeyError('gone')"],
            r"cell \[3\], line 2, \"raise KeyError\('gone'\)\", with KeyError",
        ),
        (
            ["print('before')\ndef f():\n    x = 1\n    return {}[x]", "# why\nf()"],
            r"cell \[2\], line 4, 'return {}\[x\]', with KeyError: 1",
        ),
        (
            ["print('before')", "import json\n\njson.loads('{')"],
            r"cell \[3\], line 3, \"json.loads\('{'\)\", with JSON",
        ),
        (["print('before')", "x = 1\ny = (\n"], r"cell \[3\], line 2, 'y = \(', with .*SyntaxError"),
    ],
)
def test_a_failing_notebook_names_the_line_and_the_exception(
    cells: list[str], message: str, tmp_path: Path, write_notebook
) -> None:
    source = write_notebook(tmp_path / "bad.ipynb", "width = 8", *cells)
    with pytest.raises(NotebookError, match=f"bad.ipynb failed in {message}"):
        notebooks.run_notebook(source, output=tmp_path / "out" / "bad.ipynb")
    kept = (tmp_path / "out" / "bad.ipynb").read_text()
    assert "before" in kept
    assert "Error" in kept
    assert not (tmp_path / "out" / "bad.html").exists()


# ---- command line ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [("a=1", 1), ("a=1e-3", 1e-3), ("a=true", True), ("a=True", True), ("a=null", None), ("a=[1, 2]", [1, 2])],
)
def test_command_line_literals(text: str, value: object) -> None:
    assert command_line._parameter(text) == ("a", value)


def test_command_line_text() -> None:
    assert command_line._parameter("a=fashion-mnist-small") == ("a", "fashion-mnist-small")
    assert command_line._parameter("a='true'") == ("a", "true")


@pytest.fixture
def demo(tmp_path: Path, root: Path, write_notebook, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of two stages in a temporary folder, which is made the working directory."""
    monkeypatch.setenv("PYTHONPATH", str(root))  # kernels start in the temporary folder
    (tmp_path / "pyproject.toml").write_text("")
    use = "from lightsnn_kit.files import write_json\nfrom lightsnn_kit.lab.runs import RunFolder\n"
    use += "run = RunFolder.open(run_dir)\n"
    first = use + "run.stage('search', {'width': width}).finish({'twice': 2 * width})"
    last = (
        use
        + "from lightsnn_kit.files import write_json\nwrite_json(run.path / 'results.json', run.read('search').result)"
    )
    write_notebook(tmp_path / "notebooks" / "search.ipynb", "run_dir = 'runs/x'\nwidth = 8", first)
    write_notebook(tmp_path / "notebooks" / "report.ipynb", "run_dir = 'runs/x'", last)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command_line, "NOTEBOOKS", tmp_path / "notebooks")
    monkeypatch.setattr(command_line, "DEMO_STAGES", ("search", "report"))
    monkeypatch.setattr(command_line, "DEMO_PARAMETERS", {"width": 3})
    return tmp_path


def test_demo_chains_stages_and_never_overwrites(demo: Path, capsys: pytest.CaptureFixture) -> None:
    (demo / "runs" / "demo").mkdir(parents=True)
    assert command_line.main(["demo", "-p", "width=21"]) == 0
    said = capsys.readouterr().out
    assert "runs/demo exists and is kept; this run goes to runs/demo-2" in said
    assert "[1/2] search" in said
    assert "[2/2] report" in said
    assert "report:  runs/demo-2/report.html" in said
    assert files.read_json(demo / "runs" / "demo-2" / "results.json") == {"twice": 42}
    assert list((demo / "runs" / "demo").iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-p", "widht=8"], "error: no notebook of this run has a parameter 'widht'. Did you mean 'width'?"),
        (["-p", "width=yes"], "parameter 'width' expects int like its default 8, but got str 'yes'"),
        (["-p", "run_dir=x"], "run_dir is not given with -p; use --run"),
    ],
)
def test_bad_command_lines_fail_before_any_work(
    demo: Path, capsys: pytest.CaptureFixture, arguments: list[str], message: str
) -> None:
    assert command_line.main(["run", "notebooks/search.ipynb", "--run", "runs/x", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not (demo / "runs").exists()


def test_malformed_assignment_exits_with_2(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit, match="2"):
        command_line.main(["run", "n.ipynb", "--run", "runs/x", "-p", "width"])
    assert "expected name=value such as width=8, but got 'width'" in capsys.readouterr().err
