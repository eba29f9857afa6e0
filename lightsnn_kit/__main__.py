"""Command line: ``python -m lightsnn_kit`` with demo, search, train, evaluate, or run NOTEBOOK ... --run runs/NAME.

While it works, ``jobs.status``, ``jobs.cancel`` and the RunMonitor widget can be used on its run folder.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from . import __version__
from .files import RunCancelledError, RunError, at_root, project_root, user_path
from .lab import commands, jobs
from .lab.notebooks import KIT_NOTEBOOKS, ParameterError, as_lists, literal, plan_notebooks, run_notebook, unused_path
from .lab.runs import RunFolder

NOTEBOOKS = KIT_NOTEBOOKS
DEMO_STAGES = ("search", "train", "evaluate", "report")  # in this order: each reads what the ones before it wrote
DEMO_PARAMETERS = {"preset": "digits", "seed": 0, "quick": False}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit status: 0, 2 for an error in one message, 130 if interrupted."""
    options = _parser().parse_args(arguments)
    try:
        _check_processes(options.command)
        if options.command in ("search", "train", "evaluate", "export"):
            _command(options)
        else:
            {"demo": _demo, "run": _run}[options.command](options)
    except RunCancelledError as error:
        print(error, file=sys.stderr)
        return 130
    except RunError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except (OSError, MemoryError) as error:  # the disk is full, too many files are open, ...
        print(f"error: {error or 'out of memory'}; what is recorded is kept: run it again to go on", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; finished stages are kept: `run` with the same --run goes on from them", file=sys.stderr)
        return 130
    return 0


def _check_processes(command: str) -> None:
    if command != "train" and "TORCHELASTIC_RUN_ID" in os.environ and os.environ.get("WORLD_SIZE") != "1":
        raise RunError(
            f"several processes of torchrun share a training, by the command train; start {command} without torchrun."
        )


def _demo(options: argparse.Namespace) -> None:
    wanted = at_root(options.run)
    folder = unused_path(wanted)
    if folder != wanted:
        print(f"{commands.from_here(wanted)} exists and is kept; this run goes to {commands.from_here(folder)}")
    notebooks = [NOTEBOOKS / f"{name}.ipynb" for name in DEMO_STAGES]
    if not all(notebook.is_file() for notebook in notebooks):
        raise RunError(
            f"the demo runs the notebooks of the repository, and there are none in {NOTEBOOKS}: the kit was installed "
            "without them. Clone the repository and install it from there (make setup), or use the commands search, "
            "train and evaluate, which need no notebooks."
        )
    outputs = _execute(notebooks, DEMO_PARAMETERS | _given(options), folder)
    print(f"report:  {commands.from_here(outputs[-1].with_suffix('.html'))}")
    print(f"results: {commands.from_here(folder / 'results.json')}")


def _command(options: argparse.Namespace) -> None:
    try:
        commands.check(options)
        getattr(commands, options.command)(options)
    except (ValueError, OSError, RuntimeError, ImportError) as error:  # torch's, of memory and sizes
        raise RunError(str(error).partition("\n")[0]) from error


def _run(options: argparse.Namespace) -> None:
    _execute([user_path(name) for name in options.notebooks], _given(options), at_root(options.run))


def _given(options: argparse.Namespace) -> dict[str, object]:
    return dict(options.parameters) | ({"scheduler": options.scheduler} if options.scheduler else {})


def _execute(notebooks: Sequence[Path], parameters: dict[str, object], folder: Path) -> list[Path]:
    run_dir = folder.relative_to(project_root()) if folder.is_relative_to(project_root()) else folder
    if "run_dir" in parameters:
        raise ParameterError("run_dir is not given with -p; use --run.")
    steps = plan_notebooks(
        notebooks, as_lists(notebooks, parameters) | {"run_dir": run_dir.as_posix()}, optional=("run_dir",)
    )
    RunFolder.open(folder)
    outputs, start = [], time.perf_counter()
    with jobs.working(folder, notebooks, parameters) as notify:
        for number, (notebook, values) in enumerate(steps, start=1):
            print(f"[{number}/{len(steps)}] {notebook.stem}", flush=True)
            notify(f"notebook {number} of {len(steps)}: {notebook.stem}")
            begun = time.perf_counter()
            outputs.append(run_notebook(notebook, output=folder / notebook.name, parameters=values))
            print(f"      {time.perf_counter() - begun:.0f} s, {commands.from_here(outputs[-1])} and .html", flush=True)
            if number < len(steps):
                jobs.stop_if_cancelled(folder)
    print(f"all done in {time.perf_counter() - start:.0f} s")
    return outputs


def _parameter(text: str) -> tuple[str, object]:
    """Read ``name=value``; the value is a Python literal, or true, false, null, or else text."""
    name, equals, value = text.partition("=")
    if not (name.isidentifier() and equals):
        raise argparse.ArgumentTypeError(f"expected name=value such as width=8, but got {text!r}")
    words = {"true": True, "false": False, "null": None}
    try:
        return name, words[value] if value in words else literal(value)
    except ValueError:
        return name, value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m lightsnn_kit", description="Run notebooks as checked functions.")
    parser.add_argument("--version", action="version", version=f"lightsnn_kit {__version__}")
    parsers = parser.add_subparsers(dest="command", required=True)
    demo = parsers.add_parser("demo", help="search, train, evaluate and report on real 8x8 digits (minutes, CPU)")
    demo.add_argument("--run", default="runs/demo", help="new run folder (default: %(default)s, or the next free name)")
    commands.add_commands(parsers, _parameter)
    run = parsers.add_parser("run", help="run notebooks one after another in one run folder")
    run.add_argument("notebooks", nargs="+", metavar="NOTEBOOK", help="path of an .ipynb file")
    run.add_argument("--run", required=True, help="run folder, passed to the notebooks as run_dir")
    for command in (demo, run):
        commands.add_scheduler(command)
        options = {"dest": "parameters", "action": "append", "type": _parameter, "default": [], "metavar": "NAME=VALUE"}
        command.add_argument(
            "-p", **options, help="a notebook parameter, such as -p width=16 -p quick=true -p others=random,balanced"
        )
    return parser


if __name__ == "__main__":
    sys.exit(main())
