"""Notebooks as functions: parameters checked by name and type, an executed copy, an HTML report (see `runs`)."""

from __future__ import annotations

import ast
import contextlib
import itertools
import json
import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..checks import listed, nearest
from ..files import UNREADABLE, RunError, at_root, make_writable, project_root, reading, user_path, write_text
from .bars import watching
from .names import check_names

if TYPE_CHECKING:
    from papermill import PapermillExecutionError

KIT_NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"


class ParameterError(RunError):
    """A notebook parameter is misspelt or has the wrong type."""


class NotebookError(RunError):
    """A notebook stopped with an exception."""


def notebook_parameters(notebook: str | Path) -> dict[str, object]:
    """Return names and default values of the cell tagged ``parameters`` ({} without one).

    The cell is parsed here because ``papermill.inspect_notebook`` 2.7 loses a line whose comment has a ``=`` and cuts
    text at a ``#``. ``ParameterError`` if the cell holds anything but ``name = literal``.
    """
    notebook = user_path(notebook)
    try:
        with reading(notebook):
            cells = json.loads(notebook.read_bytes())["cells"]
            tagged = ("".join(cell["source"]) for cell in cells if "parameters" in cell["metadata"].get("tags", ()))
            source = next(tagged, "")
    except (OSError, RunError) as error:
        raise RunError(f"cannot read the notebook {notebook} ({error}); expected the path of an .ipynb file.") from None
    try:
        return dict(_literal(statement) for statement in ast.parse(source).body)
    except (SyntaxError, TypeError, *UNREADABLE) as error:
        raise ParameterError(f"{notebook}: the parameters cell takes only lines 'name = literal' ({error}).") from None


def check_parameters(notebook: str | Path, given: Mapping[str, object]) -> dict[str, object]:
    """Return the given parameters as they will be passed; ``ParameterError`` for unknown names and wrong types.

    The type of a default counts: an int may be given for a float, a bool is no int, None only replaces None.
    """
    declared = notebook_parameters(notebook)
    _refuse_misfits(str(notebook), given, declared)
    return {name: float(value) if isinstance(declared[name], float) else value for name, value in given.items()}


def check_injected() -> None:
    """Check, in the cell below the parameters, those that papermill has put between the two.

    papermill's own command only warns of a misspelt name, and passes values of any type. ``ParameterError`` ends the
    notebook before any work. Nothing is checked where nothing was injected, as in JupyterLab.
    """
    from IPython import get_ipython

    shell = get_ipython()
    cells = shell.user_ns["In"][:-1] if shell else []  # what ran before this cell
    if len(cells) < 2 or not cells[-1].startswith("# Parameters\n"):
        return
    how = "\npapermill's -p takes True, 8 or text; give all else with -y, as in -y 'others: [random]'."
    with contextlib.suppress(SyntaxError, *UNREADABLE):  # cells that somebody runs by hand, in another order
        given = {name: shell.user_ns[name] for name, _ in map(_assigned, ast.parse(cells[-1]).body)}
        declared = dict(map(_literal, ast.parse(cells[-2]).body))
        _refuse_misfits("this notebook", given, declared, more=how)


def _refuse_misfits(where: str, given: Mapping[str, object], declared: Mapping[str, object], *, more: str = "") -> None:
    for name, value in given.items():
        if name not in declared:
            raise ParameterError(f"{where} has no parameter {_hint(name, declared)}")
        if not _fits(value, declared[name]):
            default = declared[name]
            raise ParameterError(
                f"{where}: parameter {name!r} expects {_kind(default)} like its default {default!r}, "
                f"but got {_kind(value)} {value!r:.200}.{more}"
            )


def plan_notebooks(
    notebooks: Sequence[Path], given: Mapping[str, object], *, optional: Sequence[str] = ()
) -> list[tuple[Path, dict[str, object]]]:
    """Pair each notebook with those of the given parameters that it declares, all checked before any of them runs.

    ``ParameterError`` for a wrong type, for a name that no notebook declares unless it is ``optional``, and in the
    kit's own notebooks for a preset, space or method that there is not.
    """
    declared = [notebook_parameters(notebook) for notebook in notebooks]
    known = {name: None for names in declared for name in names}
    for name in given:
        if name not in known and name not in optional:
            raise ParameterError(f"no notebook of this run has a parameter {_hint(name, known)}")
    chosen = [{name: value for name, value in given.items() if name in names} for names in declared]
    plan = [(notebook, check_parameters(notebook, own)) for notebook, own in zip(notebooks, chosen, strict=True)]
    for notebook, values in plan:
        if user_path(notebook).resolve().is_relative_to(KIT_NOTEBOOKS):  # what others call a preset is their own
            try:
                check_names(**values)
            except ValueError as error:
                raise ParameterError(f"{notebook}: {error}") from None
    return plan


def as_lists(notebooks: Sequence[Path], given: Mapping[str, object]) -> dict[str, object]:
    """Given parameters of a command line, in which ``others=random,balanced`` is a list where a notebook wants one."""
    declared = {name: value for notebook in notebooks for name, value in notebook_parameters(notebook).items()}
    return {name: _as_list(value) if isinstance(declared.get(name), list) else value for name, value in given.items()}


def _as_list(value: object) -> object:
    """Commas part a text, whose parts are literals where they can be; a single value is a list of one."""
    if not isinstance(value, str):
        return listed(value)
    found = []
    for part in filter(None, map(str.strip, value.split(","))):
        try:
            found.append(literal(part))
        except ValueError:
            found.append(part)
    return found


def run_notebook(
    notebook: str | Path, *, output: str | Path, parameters: Mapping[str, object] | None = None, html: bool = True
) -> Path:
    """Run a notebook with checked parameters and return the executed copy, with an HTML report beside it.

    The working directory is `project_root`. If ``output`` exists, the next free name is used (``x-2.ipynb``). The
    report needs no network: figures are drawn by one copy of plotly.js inside it; TeX formulas stay TeX. Widgets are
    left as their pictures in both.
    ``NotebookError`` names the cell that failed; the executed copy is kept.
    """
    notebook, values = user_path(notebook).resolve(), check_parameters(notebook, parameters or {})
    output = unused_path(at_root(output).with_suffix(".ipynb"))
    make_writable(output.parent)
    import papermill

    try:
        executed = _executed(notebook, output, values)
    except papermill.PapermillExecutionError as error:
        raise NotebookError(
            f"{notebook.name} failed in {_failed_line(error)}, with {error.ename}: {error.evalue}\n"
            f"The executed copy with the traceback is {output}"
        ) from None
    except RuntimeError as error:  # nbclient's DeadKernelError, and jupyter_client's for a kernel that does not start
        why = f"the kernel died, perhaps out of memory or of files that may be open ({error})"
        raise NotebookError(f"{notebook.name}: {why}; see {output}") from None
    finally:
        _keep_pictures(output)
    if html:
        from .report import html_report

        write_text(output.with_suffix(".html"), html_report(executed, title=notebook.stem))
    return output


def _failed_line(error: PapermillExecutionError) -> str:
    """Cell, number and text of the line that failed: the innermost one of the notebook, not of a module it calls."""
    lines = re.sub(r"\x1b\[[\d;]*m", "", "\n".join(error.traceback)).splitlines()
    found = [(at, re.match(r"\s*Cell In\[(\d+)\], line (\d+)", line)) for at, line in enumerate(lines)]
    if not (found := [(at, place) for at, place in found if place]):
        return f"cell [{error.exec_count}], {error.source.strip().splitlines()[0]!r}"
    at, place = found[-1]
    marked = (re.match(rf"-+> {place[2]} ?(.*)", line) for line in lines[at:])
    text = next((line[1] for line in marked if line), lines[at + 1] if at + 1 < len(lines) else "")
    return f"cell [{place[1]}], line {place[2]}, {text.strip()!r}"


def _executed(notebook: Path, output: Path, values: Mapping[str, object]) -> Mapping:
    """The notebook, run by papermill; on a terminal one bar tells what the run's files do."""
    import papermill

    logging.getLogger("papermill").setLevel(logging.ERROR)  # its own parameter check warns about names it cannot read
    options = {"kernel_name": "python3", "store_widget_state": False, "progress_bar": False}
    options |= {"cwd": project_root(), "extra_arguments": ["--log-level=ERROR"]}
    run = values.get("run_dir")
    # The renderer keeps plotly's 5 MB script out of the executed copy.
    with watching(at_root(run) if run else None, notebook.stem), _environment(PLOTLY_RENDERER="plotly_mimetype"):
        return papermill.execute_notebook(notebook, output, values, **options)


def unused_path(path: Path) -> Path:
    """Return the path, or the first of ``<stem>-2``, ``<stem>-3``, ... that is free, with its HTML report."""
    path = user_path(path)
    names = itertools.chain([path], (path.with_stem(f"{path.stem}-{number}") for number in itertools.count(2)))
    return next(name for name in names if not (name.exists() or name.with_suffix(".html").exists()))


def run_for(run_dir: str | Path, *, name: str, fits: Callable[..., bool]) -> Path:
    """The run folder that a notebook works in: the one given, or its own choice where that is "".

    The choice is the one last worked in of ``runs/<name>``, ``runs/<name>-2``, ... that ``fits(folder)``: the
    same parameters go on there. If none does it is the next free name, so that no earlier run is in the way.
    """
    if run_dir:
        return at_root(run_dir)
    first = at_root("runs") / name
    numbered = re.compile(re.escape(first.name) + r"(-\d+)?")
    found = first.parent.iterdir() if first.parent.is_dir() else ()
    series = [path for path in found if path.is_dir() and numbered.fullmatch(path.name)]
    for folder in sorted(series, key=lambda path: path.stat().st_mtime_ns, reverse=True):
        if fits(folder):
            folder.touch()  # the notebooks that follow find it as the last one
            return folder
    return unused_path(first)


def _keep_pictures(executed: Path) -> None:
    """Rewrite an executed copy without views of widgets, of which nothing is left when its kernel is gone."""
    from .report import without_widgets

    if executed.is_file():  # absent if papermill could not begin
        with contextlib.suppress(ValueError, RunError):  # half written, as the disk is full: that error is on its way
            kept = without_widgets(json.loads(executed.read_bytes()))
            write_text(executed, json.dumps(kept, ensure_ascii=False, indent=1) + "\n")


def literal(text: str) -> object:
    """The value of a Python literal; ``ValueError`` for anything else, however deep it is.

    >>> literal("[1, None]")
    [1, None]
    """
    try:
        return ast.literal_eval(text)
    except (SyntaxError, TypeError, *UNREADABLE) as error:
        raise ValueError(f"expected a literal such as 8, True or 'text', got {text!r:.80} ({error})") from None


def _literal(statement: ast.stmt) -> tuple[str, object]:
    name, value = _assigned(statement)
    return name, ast.literal_eval(value)


def _assigned(statement: ast.stmt) -> tuple[str, ast.expr]:
    match statement:
        case (
            ast.Assign(targets=[ast.Name(id=name)], value=value) | ast.AnnAssign(target=ast.Name(id=name), value=value)
        ):
            return name, value
    raise ValueError(f"line {statement.lineno}: {ast.unparse(statement)}")


def _fits(value: object, default: object) -> bool:
    if default is None:
        return value is None or isinstance(value, bool | int | float | str | list | dict)
    if isinstance(default, float):
        return isinstance(value, int | float) and not isinstance(value, bool)
    if isinstance(default, list) and default and isinstance(value, list):
        return all(_fits(item, default[0]) for item in value)
    return type(value) is type(default)


def _kind(value: object) -> str:
    inner = f" of {_kind(value[0])}" if isinstance(value, list) and value else ""
    return type(value).__name__ + inner


def _hint(name: str, declared: Mapping[str, object]) -> str:
    return f"{name!r}.{nearest(name, declared)} It has: {', '.join(declared) or 'none'}."


@contextlib.contextmanager
def _environment(**variables: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
