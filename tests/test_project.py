"""The project keeps its own rules: one place for versions, the import table, small modules, clean notebooks."""

from __future__ import annotations

import ast
import io
import json
import re
import subprocess
import sys
import tokenize
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

import lightsnn_kit
from lightsnn_kit.lab import notebooks as runs
from tests.mutants import MUTANTS, TESTS

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


def test_binder_installs_the_same() -> None:
    top, binder = (yaml.safe_load((ROOT / f"{folder}environment.yml").read_text()) for folder in ("", "binder/"))
    python = binder["dependencies"][0].removeprefix("python=")
    assert f"python>={python},<" in top["dependencies"][0]
    assert binder["dependencies"][1:] == top["dependencies"][1:2] == ["pip"]
    script = ROOT / "binder" / "postBuild"
    assert script.stat().st_mode & 0o111
    assert '-c constraints.txt -e ".[test]"' in script.read_text()


def test_the_citation_is_valid(project: dict) -> None:
    """What the format (1.2.0) asks for, this version, and both papers."""
    found = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= set(found)
    assert found["cff-version"] == "1.2.0"
    assert found["version"] == lightsnn_kit.__version__
    assert found["license"] == project["project"]["license"]
    entries = [found, *found["references"]]
    assert all(author["name"] for entry in entries for author in entry["authors"])
    assert {entry["type"] for entry in found["references"]} == {"article"}
    readme = (ROOT / "README.md").read_text()
    assert all(f"]({entry['url']})" in readme for entry in found["references"])


def test_constraints_lie_within_the_bounds(project: dict) -> None:
    pins = dict(re.findall(r"^([\w-]+)==([\d.]+)$", (ROOT / "constraints.txt").read_text(), flags=re.MULTILINE))
    low, high = re.search(r"torch>=([\d.]+),<([\d.]+)", " ".join(project["project"]["dependencies"])).groups()
    numbers = [tuple(map(int, version.split("."))) for version in (low, pins["torch"], high)]
    assert numbers == sorted(numbers)
    for_site = {"sphinx", "myst-nb", "sphinx-book-theme", "pydata-sphinx-theme", "sphinx-revealjs"}
    assert (
        set(pins)
        == {"torch", "torchvision", "torchaudio", "pymoo", "nir", "nirtorch", "snntorch", "distributed"}
        | {"lightning-fabric"}
        | for_site
    )


def test_each_dependency_has_a_reason() -> None:
    text = (ROOT / "pyproject.toml").read_text()
    lists = re.findall(
        r"^(?:dependencies|test|class|cluster|fabric|nir|site) = \[\n(.*?)^\]", text, flags=re.MULTILINE | re.DOTALL
    )
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
    last = [
        "make lint",
        "make test",
        "make faults",
        "make test-triton",
        "make gpu ARGS=--rehearse",
        "make site ARGS=--quick",
        "LIGHTSNN_REQUIRE_BROWSER=1 make test-browser",
    ]  # 1: none is skipped for its lack
    assert script.read_text().splitlines()[-len(last) :] == last


# ---- the import table, by door ---------------------------------------------------------------------------------------

BASE = {"checks", "files", "locks"}  # small helpers on the standard library alone, which every door may use
CORE = {"cells", "spaces", "kernels", "layers", "recording", "exact", "networks", "scoring", "search", "records"}
CORE |= {"paths", "methods", "evolution", "pareto", "training", "checkpoints", "energy", "notation", "workers"}
CORE |= {"nir_export", "neurons", "ops", "blocks", "updates", "ranks", "recompute", "cluster"}
FOLDERS = ("fast", "data", "lab", "figures", "widgets")

# Door -> (doors it may import, packages it may import at its top, packages inside functions only). ``core``, ``base``
# and ``top`` are the modules of no folder. ``fast: scoring layers`` grants it to (or of) the modules named alone.
DOORS = {
    "base": ("", "", ""),
    "core": (
        "base fast: scoring layers data: training updates",
        "numpy torch spikingjelly",
        "networkx scipy pymoo nir lightning_fabric distributed",
    ),
    "fast": ("core", "numpy torch numba llvmlite psutil triton", ""),
    "data": ("base", "numpy torch", "sklearn tonic pooch psutil platformdirs PIL tqdm"),
    "figures": ("base core: cells ops spaces lab: lab.results", "numpy plotly", ""),
    "lab": ("base core data", "numpy torch scipy psutil nbconvert plotly", "papermill IPython tqdm"),
    "widgets": ("base core figures lab", "numpy plotly traitlets ipywidgets anywidget", "torch"),
    "top": ("base lab", "", ""),
}
# Modules that must stay lighter than their door: what they may import from outside the kit.
LIGHT = {
    "cells": "numpy networkx",
    "ops": "",
    "spaces": "numpy",
    "notation": "numpy",
    "search": "numpy scipy",
    "records": "",
    "paths": "",
    "methods": "numpy",
    "evolution": "numpy pymoo",
    "cluster": "distributed",
    "pareto": "numpy pymoo",
    "fast.plan": "",
    "lab.runs": "",
    "lab.jobs": "",
    "lab.progress": "",
    "lab.machine": "psutil",
    "lab.bars": "tqdm",
    "lab.names": "",
    "lab.notebooks": "papermill IPython",
}


def door_of(module: str) -> str:
    first = module.split(".")[0]
    if first in FOLDERS:
        return first
    return "core" if module in CORE else "base" if module in BASE else "top"


def imports(tree: ast.AST, module: str = "", *, at_top: bool = True) -> Iterator[tuple[str, bool]]:
    """Yield (name, at the top of the module?) for each import; those of the kit as ``.cells``, ``.figures.style``."""
    package = module.split(".")[:-1]
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, at_top) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1] + (node.module.split(".") if node.module else [])
            for alias in node.names:
                whole = ".".join([*base, alias.name])
                yield "." + (whole if whole in MODULES or f"{whole}.__init__" in MODULES else ".".join(base)), at_top
        elif isinstance(node, ast.ImportFrom):
            yield node.module, at_top
        elif not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)):
            yield from imports(
                node, module, at_top=at_top and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            )


def imports_of(module: str) -> list[tuple[str, bool]]:
    return list(imports(ast.parse(MODULES[module].read_text()), module))


def granted(rule: str) -> dict[str, set[str] | None]:
    """``"base fast: scoring layers"`` -> base for all modules, fast for two (None: for all, or to all of it)."""
    found: dict[str, set[str] | None] = {}
    for word in rule.split():
        if word.rstrip(":") in DOORS:
            last = word.rstrip(":")
            found[last] = set() if word.endswith(":") else None
        else:
            found[last].add(word)
    return found


def test_imports_are_told_apart() -> None:
    text = "import a.b\nfrom .checks import d\nfrom . import cells\nclass K:\n    import f\n"
    text += "def g():\n    from h.i import j"
    found = [("a.b", True), (".checks", True), (".cells", True), ("f", True), ("h.i", False)]
    assert list(imports(ast.parse(text))) == found
    text = "from .style import finish\nfrom ..cells import Cell\nfrom ..figures import style\nfrom . import plan"
    found = [(".fast.style", True), (".cells", True), (".figures.style", True), (".fast.plan", True)]
    assert list(imports(ast.parse(text), "fast.engine")) == found
    assert list(imports(ast.parse("if TYPE_CHECKING:\n    import torch"))) == []


@pytest.mark.parametrize("module", MODULES)
def test_imports_follow_the_doors(module: str) -> None:
    door = door_of(module)
    rule, top, inside = DOORS[door]
    kit, wrong = granted(rule), []
    top, inside = set(top.split()), set(inside.split())
    light = set(LIGHT[module].split()) if module in LIGHT else top | inside
    for name, at_top in imports_of(module):
        package = name.split(".")[0]
        if name.startswith("."):
            other = door_of(name[1:])
            may = other == door or (other in kit and (kit[other] is None or kit[other] & {module, name[1:]}))
            wrong += [] if may else [name]
        elif package == "lightsnn_kit":
            wrong.append(f"{name}: write it as a relative import")
        elif package not in sys.stdlib_module_names:
            wrong += [] if package in light and (package in top or not at_top) else [name]
    assert wrong == []


def test_no_grant_is_unused() -> None:
    """Doors and packages that a rule grants are used by some module of the door."""
    unused = []
    for door, (rule, top, inside) in DOORS.items():
        used = [(name, module) for module in MODULES if door_of(module) == door for name, _ in imports_of(module)]
        doors = {door_of(name[1:]) for name, _ in used if name.startswith(".")}
        packages = {name.split(".")[0] for name, _ in used}
        unused += [f"{door}: {name}" for name in {*granted(rule)} - doors | {*top.split(), *inside.split()} - packages]
        modules = {module for _, module in used} | {name[1:] for name, _ in used}
        unused += [f"{door}: {name}" for names in granted(rule).values() for name in (names or set()) - modules]
    assert unused == []


def test_no_circle() -> None:
    """No module imports itself by way of others; imports inside functions count, too, and so do packages on the way."""
    names = {module.removesuffix(".__init__"): module for module in MODULES}
    reached = {name: {other[1:] for other, _ in imports_of(module)} & set(names) for name, module in names.items()}
    for name, others in reached.items():  # importing fast.plan runs fast, unless that is running already
        others |= {other.partition(".")[0] for other in others if "." in other} - {name.partition(".")[0]}
    for _ in reached:  # as many steps as there are modules
        for others in reached.values():
            others |= {further for other in others for further in reached[other]}
    circles = sorted(name for name, others in reached.items() if name in others)
    assert circles == []


def test_no_private_name_crosses_a_door() -> None:
    crossing = []
    for module, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.level:
                crossing += [f"{module}: {alias.name}" for alias in node.names if re.match("_(?!_)", alias.name)]
    assert crossing == []


def loaded_after(code: str) -> set[str]:
    program = f"import sys\n{code}\nprint(*sys.modules)"
    said = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(said.stdout.split())


def test_importing_the_package_stays_light() -> None:
    heavy = {"torch", "plotly", "ipywidgets", "numpy", "papermill", "tonic", "spikingjelly"}
    assert loaded_after("import lightsnn_kit, lightsnn_kit.lab.runs, lightsnn_kit.__main__") & heavy == set()


def test_no_module_loads_what_a_cpu_only_torch_breaks() -> None:
    names = [name.removesuffix(".__init__") for name in MODULES if not name.endswith("__main__")]
    names = [name for name in names if "triton" not in name]  # the package is there beside a torch with CUDA
    names = [f"lightsnn_kit.{name}" for name in names if name != "__init__"] + ["lightsnn_kit.__main__"]
    loaded = loaded_after("\n".join(f"import {name}" for name in names))
    assert loaded >= set(names)
    assert loaded & {"torchvision", "torchaudio", "spikingjelly.datasets", "tonic", "sklearn"} == set()


def test_only_background_jobs_need_posix() -> None:
    loaded = loaded_after("sys.modules['fcntl'] = None\nimport lightsnn_kit.widgets, lightsnn_kit.__main__")
    assert {"lightsnn_kit.lab.jobs", "lightsnn_kit.widgets.run_monitor"} <= loaded


# ---- sizes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", MODULES)
def test_modules_and_functions_stay_small(module: str) -> None:
    text = MODULES[module].read_text()
    assert len(text.splitlines()) <= 335
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    assert [node.name for node in functions if node.end_lineno - node.lineno + 1 > 40] == []
    # compiled inner loops are handed arrays one by one, those of a GPU their shapes, too
    loops = dict.fromkeys(("fast.amx", "fast.cpu_loops", "fast.training_loops"), 10)
    most = (loops | {"fast.triton_kernels": 30}).get(module, 6)
    assert [node.name for node in functions if parameter_count(node.args) > most] == []


def code_lines(text: str) -> int:
    """Lines that hold code: neither blank, nor comments or docstrings alone."""
    nodes = [node.value for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Expr)]
    texts = [node for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    beside = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
    tokens = [one for one in tokenize.generate_tokens(io.StringIO(text).readline) if one.type not in beside]
    held = {line for token in tokens for line in range(token.start[0], token.end[0] + 1)}
    return len(held - {line for node in texts for line in range(node.lineno, node.end_lineno + 1)})


def test_views_stay_within_their_budget() -> None:
    """Figures and widgets are the largest door; what they compute has its home elsewhere."""
    assert code_lines('"""Words."""\n\n# why\nx = [\n    1,  # one\n]\n') == 3
    views = [path for name, path in MODULES.items() if name.startswith(("figures", "widgets"))]
    assert len(views) > 25
    assert sum(code_lines(path.read_text()) for path in views) <= 3200


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


# ---- the mutants -----------------------------------------------------------------------------------------------------


def test_every_mutant_changes_one_place() -> None:
    """``make mutants`` takes half an hour; that its changes still fit the code is seen at once."""
    texts = {name.replace(".", "/"): path.read_text() for name, path in MODULES.items()}
    assert len(MUTANTS) >= 100
    assert [(file, old) for file, old, _ in MUTANTS if texts[file].count(old) != 1] == []
    assert {file for file, _, _ in MUTANTS} <= set(TESTS)
