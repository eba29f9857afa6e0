"""The project keeps its own rules: one place for versions, the import table, small modules, clean notebooks."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from lightsnn_kit import runs

ROOT = Path(__file__).resolve().parents[1]
KIT = ROOT / "lightsnn_kit"
MODULES = {".".join(path.relative_to(KIT).with_suffix("").parts): path for path in sorted(KIT.rglob("*.py"))}
NOTEBOOKS = sorted(
    path for path in (ROOT / "notebooks").rglob("*.ipynb") if not {"runs", ".ipynb_checkpoints"} & set(path.parts)
)

notebook_test = pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)


# ---- one place for versions ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_environment_agrees_with_pyproject(project: dict) -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    python, pip, pip_lines = environment["dependencies"]
    assert environment["name"] == project["project"]["name"]
    assert python.split(",")[0] == f"python{project['project']['requires-python']}"
    assert pip == "pip"
    assert pip_lines == {"pip": ["-c constraints.txt", "-e .[test]"]}
    assert "test" in project["project"]["optional-dependencies"]


def test_every_install_command_is_the_same() -> None:
    command = 'pip install {}-c constraints.txt -e ".[test]"'
    assert command.format("--disable-pip-version-check ") in (ROOT / "Makefile").read_text()
    assert command.format("") in (ROOT / "constraints.txt").read_text()


def test_constraints_lie_within_the_bounds(project: dict) -> None:
    pins = dict(re.findall(r"^(\w+)==([\d.]+)$", (ROOT / "constraints.txt").read_text(), flags=re.MULTILINE))
    low, high = re.search(r"torch>=([\d.]+),<([\d.]+)", " ".join(project["project"]["dependencies"])).groups()
    numbers = [tuple(map(int, version.split("."))) for version in (low, pins["torch"], high)]
    assert numbers == sorted(numbers)
    assert set(pins) == {"torch", "torchvision", "torchaudio"}


def test_each_dependency_has_a_reason() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    lists = re.findall(r"^(?:dependencies|test) = \[\n(.*?)^\]", text, flags=re.MULTILINE | re.DOTALL)
    lines = "".join(lists).splitlines()
    assert len(lines) > 10
    assert [line for line in lines if not re.fullmatch(r' +"[^"]+", +# \S.+', line)] == []


def test_pre_commit_uses_the_same_ruff(project: dict) -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    wanted = [need for need in project["project"]["optional-dependencies"]["test"] if need.startswith("ruff")]
    assert [hook["additional_dependencies"] for hook in hooks if hook["id"].startswith("ruff")] == [wanted, wanted]
    assert "nbstripout" in [hook["entry"] for hook in hooks]


def test_make_help_lists_every_target() -> None:
    phony = re.search(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)[1].split()
    said = subprocess.run(["make", "-s"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert [line.split()[1] for line in said.splitlines()] == phony
    assert all(len(line.split()) > 4 for line in said.splitlines())


def test_ci_is_executable_and_runs_the_test_command() -> None:
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111
    last = ["make lint", "make test", "LIGHTSNN_REQUIRE_BROWSER=1 make test-browser"]  # 1: none is skipped for its lack
    assert script.read_text().splitlines()[-3:] == last


# ---- the import table ------------------------------------------------------------------------------------------------

# Module -> (modules of the kit it may import, packages it may import at its top, packages inside functions only).
# typing.TYPE_CHECKING blocks are free. A new module needs a line here, which is a decision about the architecture.
TABLE = {
    "__init__": ("", "", ""),
    "score_study.__main__": ("score_study.study", "", ""),
    "__main__": ("jobs runs _runs.search_command", "", ""),
    "_names": ("", "", ""),
    "cells": ("", "numpy", "networkx"),
    "spaces": ("cells", "numpy", ""),
    "search": ("cells spaces", "numpy", "scipy"),
    "stats": ("", "numpy scipy", ""),
    "spikenas_bench": ("cells", "", ""),
    "criteria": ("cells spaces search", "", ""),
    "score_study.measures": ("cells kernels lattice networks scoring spaces", "numpy torch", ""),
    "score_study.searches": (
        "score_study cells criteria data networks presets scoring search spaces spikenas_bench training",
        "numpy",
        "",
    ),
    "score_study.trained_cells": (
        "presets score_study baselines cells data networks runs scoring spaces stats study",
        "numpy",
        "",
    ),
    "score_study.study": (
        "_runs.files score_study cells criteria data networks runs scoring spaces spikenas_bench stats",
        "numpy torch",
        "",
    ),
    "_runs.search_command": ("criteria runs spaces data networks scoring", "", ""),
    "_datasets.simulated_events": ("_datasets.events _datasets.splits", "numpy", "sklearn"),
    "baselines": ("cells criteria search spaces", "numpy", ""),
    "presets": ("data networks spaces training", "torch", ""),
    "study": (
        "_datasets.standins baselines cells data energy networks presets records results runs scoring spaces training",
        "numpy torch",
        "",
    ),
    "results": ("runs", "", "scipy"),
    "_runs.evidence": ("results runs", "", ""),
    "checklist": ("_runs.evidence baselines cells results spaces", "", ""),
    "result_figures": ("_figures.style results", "plotly", ""),
    "data": ("_datasets", "numpy torch", "sklearn"),
    "_datasets.cifar": ("_datasets.splits _datasets.data_files", "numpy torch", ""),
    "_datasets.standins": ("_datasets.data_files", "numpy", ""),
    "_datasets.splits": ("", "numpy torch", ""),
    "_datasets.data_files": ("", "", ""),
    "_datasets.events": ("", "numpy", "tonic"),
    "_datasets.event_sets": ("_datasets", "numpy torch", "tonic"),
    "_datasets.gestures": ("_datasets", "numpy", "tonic"),
    "_layers.loops": ("_layers.training_kernels", "numpy torch", ""),
    "_layers.lif": ("_layers.loops", "torch spikingjelly", ""),
    "_layers.norm": ("_layers.loops", "numpy torch", ""),
    "_layers.training_kernels": ("", "numpy numba", ""),
    "lattice": ("_layers.lif _layers.modes _layers.norm", "torch spikingjelly", ""),
    "kernels": ("", "numpy torch", ""),
    "_datasets.augmentation": ("", "torch", ""),
    "_layers.init": ("", "torch", ""),
    "_layers.modes": ("", "torch", ""),
    "networks": ("cells spaces lattice _layers", "torch spikingjelly", ""),
    "scoring": ("cells spaces kernels lattice networks recording _engine.engine", "numpy torch spikingjelly", ""),
    "_engine.plan": ("cells spaces", "", ""),
    "_engine.engine": (
        "cells spaces kernels lattice networks _engine.plan _engine.cpu_engine",
        "numpy torch spikingjelly",
        "",
    ),
    "_engine.cpu_kernels": ("", "numpy numba llvmlite", ""),
    "_engine.cpu_parts": ("cells lattice _engine", "numpy torch", ""),
    "_engine.cpu_engine": ("cells lattice _engine", "numpy torch", ""),
    "training": (
        "networks data _datasets.augmentation _layers.modes _runs.checkpoints",
        "numpy torch spikingjelly",
        "",
    ),
    "_runs.checkpoints": ("networks", "numpy torch safetensors", ""),
    "memory": ("cells networks", "torch", ""),
    "energy": ("networks scoring _layers.modes", "numpy torch spikingjelly", ""),
    "figures": ("cells spaces _figures", "numpy plotly", ""),
    "_figures.kernel_figures": ("_figures.style", "numpy plotly", ""),
    "_figures.neuron_figures": ("_figures.style _figures.spike_figures", "numpy plotly", ""),
    "_figures.spike_figures": ("_figures.style", "numpy plotly", ""),
    "recording": ("", "torch spikingjelly", ""),
    "neurons": ("recording", "numpy", "torch spikingjelly"),
    "_views.widget_parts": ("", "ipywidgets numpy", ""),
    "_views.spike_explorer": ("_views.widget_base _views.widget_parts figures", "ipywidgets numpy plotly", ""),
    "_views.kernel_explorer": ("_views.widget_base _views.widget_parts figures", "ipywidgets numpy plotly", ""),
    "_views.lif_playground": ("_views.widget_base _views.widget_parts figures neurons", "ipywidgets numpy plotly", ""),
    "_figures.cell_figures": ("cells spaces _figures.style", "numpy plotly", ""),
    "_figures.prune_figures": ("cells _figures.style _figures.cell_figures", "numpy plotly", ""),
    "_figures.run_figures": ("_figures.style", "numpy plotly", ""),
    "_views.prune_stepper": ("cells spaces search records _views _figures.prune_figures", "ipywidgets plotly", ""),
    "records": ("cells spaces search", "", ""),
    "_views.run_monitor": (
        "jobs runs _figures.run_figures _views.widget_base _views.widget_parts",
        "ipywidgets plotly",
        "",
    ),
    "_views.compare_runs": ("cells spaces results runs _views _figures", "ipywidgets plotly", ""),
    "_figures.style": ("cells", "numpy plotly", ""),
    "widgets": ("_views", "", ""),
    "_views.cell_explorer": ("cells spaces figures _views _runs.files", "ipywidgets numpy plotly traitlets", ""),
    "_views.cell_graph": ("cells spaces _figures.style", "anywidget traitlets", ""),
    "_views.cell_measures": ("cells spaces kernels _figures.style", "numpy", ""),
    "_views.cell_files": ("cells _views.cell_measures _runs.files", "", ""),
    "_views.plot_view": ("", "anywidget plotly traitlets", ""),
    "_views.widget_base": ("_views.plot_view _figures.style runs", "anywidget ipywidgets plotly traitlets", ""),
    "runs": ("_runs", "", ""),
    "_runs.machine": ("", "", ""),
    "jobs": ("runs _runs.progress", "", ""),
    "_runs.progress": ("runs", "", ""),
    "_runs.notebooks": ("_runs.files _runs.report", "", "papermill nbclient"),
    "_runs.report": ("", "nbconvert plotly", ""),
    "_runs.files": ("", "", ""),
}


def imports(tree: ast.AST, folder: str = "", *, at_top: bool = True) -> Iterator[tuple[str, bool]]:
    """Yield (name, at the top of the module?) for each import of a module in a folder of the kit.

    A module of the kit is given with a dot and its folder: ``.cells``, ``._figures.style``.
    """
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, at_top) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level:
            parts = [*([folder] if folder and node.level == 1 else []), *([node.module] if node.module else [])]
            for alias in node.names:
                whole = ".".join([*parts, alias.name])
                yield "." + (whole if whole in MODULES else ".".join(parts)), at_top
        elif isinstance(node, ast.ImportFrom):
            yield node.module, at_top
        elif not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)):
            yield from imports(
                node, folder, at_top=at_top and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            )


def test_imports_are_told_apart() -> None:
    text = "import a.b\nfrom .c import d\nfrom . import cells\nclass K:\n    import f\ndef g():\n    from h.i import j"
    found = [("a.b", True), (".c", True), (".cells", True), ("f", True), ("h.i", False)]
    assert list(imports(ast.parse(text))) == found
    text = "from .lif import LIF\nfrom ..cells import Cell\nfrom .._figures import style\nfrom . import norm"
    found = [("._layers.lif", True), (".cells", True), ("._figures.style", True), ("._layers.norm", True)]
    assert list(imports(ast.parse(text), "_layers")) == found
    assert list(imports(ast.parse("if TYPE_CHECKING:\n    import torch"))) == []


@pytest.mark.parametrize("module", MODULES)
def test_imports_follow_the_table(module: str) -> None:
    kit, top, inside = (set(names.split()) for names in TABLE.get(module, ("", "", "")))
    kit, wrong = kit | {"_names"}, []  # words of errors, which all may use
    for name, at_top in imports(ast.parse(MODULES[module].read_text()), module.rpartition(".")[0]):
        package = name.split(".")[0]
        if package == "lightsnn_kit":
            wrong.append(f"{name}: write it as a relative import")
        elif name.startswith("."):
            wrong += [] if kit & {name[1:], name[1:].rpartition(".")[0]} else [name]
        elif package not in sys.stdlib_module_names:
            wrong += [] if package in top or (package in inside and not at_top) else [name]
    assert wrong == []


def test_the_table_keeps_the_layers() -> None:
    """What the table itself must never allow, whatever is added to it."""
    kit = {name: set(row[0].split()) for name, row in TABLE.items()}
    packages = {name: {*row[1].split(), *row[2].split()} for name, row in TABLE.items()}
    for name in ("cells", "spaces", "search", "_engine.plan", "figures", "_figures.style", "runs", "__main__"):
        assert not packages[name] & {"torch", "spikingjelly", "tonic"}
        assert not kit[name] & {"networks", "scoring", "_engine.engine", "training", "energy", "data"}
    assert not any({"torchvision", "torchaudio"} & names for names in packages.values())
    assert not packages["runs"] | packages["__main__"] | packages["_runs.files"]


def loaded_after(code: str) -> set[str]:
    program = f"import sys\n{code}\nprint(*sys.modules)"
    said = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(said.stdout.split())


def test_importing_the_package_stays_light() -> None:
    heavy = {"torch", "plotly", "ipywidgets", "numpy", "papermill", "tonic", "spikingjelly"}
    assert loaded_after("import lightsnn_kit, lightsnn_kit.runs, lightsnn_kit.__main__") & heavy == set()


def test_no_module_loads_what_a_cpu_only_torch_breaks() -> None:
    names = [name for name in MODULES if not name.endswith("__")] + ["__main__"]
    loaded = loaded_after("\n".join(f"import lightsnn_kit.{name}" for name in names))
    assert loaded >= {f"lightsnn_kit.{name}" for name in names}
    assert loaded & {"torchvision", "torchaudio", "spikingjelly.datasets", "tonic", "sklearn"} == set()


def test_only_background_jobs_need_posix() -> None:
    loaded = loaded_after("sys.modules['fcntl'] = None\nimport lightsnn_kit.widgets, lightsnn_kit.__main__")
    assert {"lightsnn_kit.jobs", "lightsnn_kit._views.run_monitor"} <= loaded


# ---- sizes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", MODULES)
def test_modules_and_functions_stay_small(module: str) -> None:
    text = MODULES[module].read_text()
    assert len(text.splitlines()) <= 320
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    assert [node.name for node in functions if node.end_lineno - node.lineno + 1 > 40] == []
    most = (
        10 if module in ("_engine.cpu_kernels", "_layers.training_kernels") else 6
    )  # compiled inner loops are handed arrays one by one
    assert [node.name for node in functions if parameter_count(node.args) > most] == []


def parameter_count(arguments: ast.arguments) -> int:
    names = [argument.arg for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    return len([name for name in names if name not in ("self", "cls")])


# ---- notebooks -------------------------------------------------------------------------------------------------------


@notebook_test
def test_notebooks_are_stored_without_outputs(notebook: Path) -> None:
    content = json.loads(notebook.read_text(encoding="utf-8"))
    code = [cell for cell in content["cells"] if cell["cell_type"] == "code"]
    assert [cell["id"] for cell in code if cell["outputs"] or cell["execution_count"]] == []
    assert "widgets" not in content["metadata"]


@notebook_test
def test_notebooks_open_with_a_text_and_their_parameters(notebook: Path) -> None:
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    first_code = next(cell for cell in cells if cell["cell_type"] == "code")
    assert cells[0]["cell_type"] == "markdown"
    assert "parameters" in first_code["metadata"].get("tags", [])
    names = runs.notebook_parameters(notebook)  # refuses anything but literals
    assert names["quick"] in (True, False)
    assert isinstance(names["seed"], int)
    assert len(names) <= 12
