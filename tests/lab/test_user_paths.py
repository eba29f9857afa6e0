"""Every public parameter that takes a path understands ``~``; they are found by inspection, so none is forgotten."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from pathlib import Path

import plotly.graph_objects as go
import pytest
import torch

import lightsnn_kit
from lightsnn_kit import __main__ as command_line
from lightsnn_kit import checkpoints, data, figures, files, nir_export, training, widgets
from lightsnn_kit.cells import Cell
from lightsnn_kit.data import load
from lightsnn_kit.data.class_folders import class_files
from lightsnn_kit.files import RunError
from lightsnn_kit.lab import jobs, notebooks, progress, results, saved_cells
from lightsnn_kit.lab.experiments import Experiment, experiment_run
from lightsnn_kit.lab.runs import RunFolder
from lightsnn_kit.lab.workshop import Workshop
from lightsnn_kit.networks import NetworkConfig, build_network
from lightsnn_kit.pareto import Point

CELL = Cell.parse("03 00")
# Takes a `Path` alone: handed one by the kit, of a folder that a function above has made of what the user gave.
INTERNAL = {
    "locks.",
    "lab.bars.watching.",
    "lab.commands.from_here.",
    "lab.writers.",
    "lab.runs.RunFolder.path",
    "lab.runs.Stage.path",
    "data.files.",
}
INTERNAL |= {
    "data.events.read_columns.",
    "data.class_folders.ClassFiles.",
    "data.gestures.Recordings.",
    "data.recordings.Recordings.",
    "data.frame_store.",
    "data.pickles.",
    "checkpoints.network_of.",
}
INTERNAL |= {"checkpoints.resume_from.", "lab.results.row_settings.", "lab.results.experiment_id."}
INTERNAL |= {"lab.tasks.train_epochs."}


def public() -> Iterator[tuple[str, Callable]]:
    """All public functions, classes and methods of the package, by their names."""
    for found in pkgutil.walk_packages(lightsnn_kit.__path__, "lightsnn_kit."):
        if "triton" in found.name:  # the package is there beside a torch with CUDA
            continue
        module = importlib.import_module(found.name)
        for name, value in vars(module).items():
            if not name.startswith("_") and callable(value) and getattr(value, "__module__", "") == found.name:
                whole = f"{found.name}.{name}".removeprefix("lightsnn_kit.")
                yield whole, value
                if inspect.isclass(value):
                    methods = {key: getattr(method, "__func__", method) for key, method in vars(value).items()}
                    yield from (
                        (f"{whole}.{key}", method)
                        for key, method in methods.items()
                        if key[0] != "_" and inspect.isfunction(method)
                    )


def taking_paths() -> set[str]:
    found = set()
    for name, value in public():
        try:
            parameters = inspect.signature(value).parameters.values()
        except (TypeError, ValueError):
            continue
        found |= {f"{name}.{one.name}" for one in parameters if "Path" in str(one.annotation)}
    return {name for name in found if not any(name.startswith(own) for own in INTERNAL)}


def a_training(folder: str) -> object:
    splits = load("digits")
    network = build_network(CELL, NetworkConfig(width=4, hidden=8, num_steps=1, **splits.network_settings()))
    return next(training.fit(network, splits, training.TrainConfig(epochs=1), folder=f"{folder}/of/mine")).epoch


def as_if_trained() -> torch.nn.Module:
    """A forward network whose weights are no longer those of its seed."""
    sizes = {"input_shape": (1, 8, 8), "num_classes": 2, "width": 4, "hidden": 8, "num_steps": 1}
    network = build_network(CELL, NetworkConfig(**sizes, pool="avg"))
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.01)
    return network


def entered(block: Callable) -> Callable[[str], str]:
    def enter(path: str) -> str:
        with block(path):
            return ""

    return enter


def closed(view: Callable) -> Callable[[str], str]:
    def call(path: str) -> str:
        made = view(path)
        made.close()
        return getattr(made.message, "value", "")

    return call


NONE = "none.ipynb"
POINT = Point(0, Cell.parse("03 00"), 1.0, 2.0, 9.0)
CALLS: dict[str, Callable[[str], object]] = {
    "checkpoints.write_checkpoint.path": lambda path: checkpoints.write_checkpoint(f"{path}.pt", {}),
    "checkpoints.read_checkpoint.path": checkpoints.read_checkpoint,
    "checkpoints.load_network.path": checkpoints.load_network,
    "training.fit.folder": a_training,
    "figures.pareto.write_pareto_csv.path": lambda path: figures.write_pareto_csv(f"{path}.csv", [POINT], [POINT]),
    "figures.export.export.path": lambda path: figures.export(go.Figure(), f"{path}.csv"),
    "data.cifar.load_cifar10.folder": lambda path: data.load("cifar10", folder=path),
    "data.cifar.load_cifar100.folder": lambda path: data.load("cifar100", folder=path),
    "data.gestures.load_gestures.folder": lambda path: data.load("dvs128-gesture", folder=path),
    "data.braille.load_braille.folder": lambda path: data.load("braille", folder=path),
    "data.recordings.load_nmnist.folder": lambda path: data.load("n-mnist", folder=path),
    "data.recordings.load_event_folder.folder": lambda path: data.load("event-folder", folder=path),
    "data.image_folder.load_image_folder.folder": lambda path: data.load("image-folder", folder=path),
    "data.class_folders.class_files.folder": lambda path: class_files("x", path, {".png"}),
    "data.arrays.load_npz.file": lambda path: data.load("npz", file=path),
    "files.user_path.path": files.user_path,
    "files.at_root.path": files.at_root,
    "files.make_writable.folder": lambda path: files.make_writable(Path(path)),
    "files.replacing.path": lambda path: files.write_text(Path(path) / "new.txt", "text"),
    "files.read_text.path": files.read_text,
    "files.write_text.path": lambda path: files.write_text(Path(path) / "new.txt", "text"),
    "files.write_json.path": lambda path: files.write_json(path, {}),
    "files.read_json.path": files.read_json,
    "files.append_record.path": lambda path: files.append_record(Path(path), {}),
    "files.read_records.path": lambda path: files.read_records(Path(path) / "a" / "seed0" / "scores.jsonl"),
    "lab.experiments.Experiment.open.run": Experiment.open,
    "lab.experiments.Experiment.begun.run": Experiment.begun,
    "lab.experiments.experiment_run.run_dir": experiment_run,
    "lab.jobs.start.notebooks": lambda path: jobs.start([path], run="runs/x"),
    "lab.jobs.start.run": lambda path: jobs.start([NONE], run=path),
    "lab.jobs.start_command.run": lambda path: (
        jobs.start_command(["no-command"], run=path, steps=[]).alive,
        jobs.wait(path).state,
    ),
    "lab.workshop.Workshop.folder": lambda path: str(Workshop("digits", folder=path).path),
    "lab.jobs.notebooks.run": jobs.notebooks,
    "lab.jobs.working.run": entered(lambda path: jobs.working(Path(path), [])),
    "lab.jobs.working.notebooks": entered(lambda path: jobs.working(Path("runs/x"), [Path(path)])),
    "lab.jobs.stop_if_cancelled.run": lambda path: jobs.stop_if_cancelled(Path(path)),
    "lab.jobs.cancel.run": jobs.cancel,
    "lab.jobs.wait.run": lambda path: jobs.wait(path, timeout=0).state,
    "lab.jobs.log.run": jobs.log,
    "lab.notebooks.notebook_parameters.notebook": notebooks.notebook_parameters,
    "lab.notebooks.check_parameters.notebook": lambda path: notebooks.check_parameters(path, {"a": 1}),
    "lab.notebooks.plan_notebooks.notebooks": lambda path: notebooks.plan_notebooks([path], {}),
    "lab.notebooks.run_notebook.notebook": lambda path: notebooks.run_notebook(path, output="out.ipynb"),
    "lab.notebooks.run_notebook.output": lambda path: notebooks.run_notebook("n.ipynb", output=f"{path}/file/out"),
    "lab.notebooks.as_lists.notebooks": lambda path: notebooks.as_lists([path], {}),
    "lab.notebooks.run_for.run_dir": lambda path: notebooks.run_for(path, name="x", fits=bool),
    "lab.notebooks.unused_path.path": lambda path: notebooks.unused_path(Path(path)),
    "lab.progress.status.run": lambda path: progress.status(path).state,
    "lab.progress.records.path": lambda path: progress.records(Path(path) / "a" / "seed0", "scores"),
    "lab.results.gather.places": results.gather,
    "lab.results.read_runs.places": results.read_runs,
    "lab.results.row_stages.folder": results.row_stages,
    "lab.results.export.folder": lambda path: results.export(path, "out.json"),
    "lab.results.export.path": lambda path: results.export("../home/x", f"{path}.json"),
    "lab.runs.RunFolder.open.path": RunFolder.open,
    "lab.saved_cells.saved_cells.folder": lambda path: saved_cells.saved_cells(Path(path) / "a" / "seed0"),
    "lab.saved_cells.save_cell.folder": lambda path: saved_cells.save_cell(CELL, path, "mine"),
    "lab.saved_cells.load_cell.folder": lambda path: saved_cells.load_cell(path, "mine"),
    "lab.saved_cells.remember.folder": lambda path: saved_cells.remember(CELL, path),
    "lab.saved_cells.remembered.folder": lambda path: saved_cells.remembered(path),
    "nir_export.write_nir.path": lambda path: nir_export.write_nir(as_if_trained(), f"{path}.nir"),
    "widgets.cell_editor.CellEditor.folder": closed(lambda path: widgets.CellExplorer(CELL, folder=path)),
    "widgets.cell_explorer.CellExplorer.folder": closed(lambda path: widgets.CellExplorer(CELL, folder=path)),
    "widgets.compare_runs.CompareRuns.runs": closed(widgets.CompareRuns),
    "widgets.run_monitor.RunMonitor.run": closed(widgets.RunMonitor),
    "the command run --run": lambda path: command_line.main(["run", NONE, f"--run={path}"]),
    "the command run NOTEBOOK": lambda path: command_line.main(["run", path, "--run=x"]),
    "the command evaluate --run": lambda path: command_line.main(["evaluate", f"--run={path}"]),
    "the command train --data": lambda path: command_line.main(
        ["train", "--dataset=image-folder", f"--data=folder={path}", "--run=runs/x"]
    ),
    "the command train --cell": lambda path: command_line.main(["train", f"--cell={path}.json"]),
    "LIGHTSNN_DATA": lambda path: in_data_folder(path),
}


def in_data_folder(path: str) -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LIGHTSNN_DATA", path)
        return load("fashion-mnist-small")


def test_every_public_path_is_tried() -> None:
    assert {name for name in CALLS if name[0].islower() and " " not in name} == taking_paths()


def outcome(call: Callable[[str], object], text: str, place: Path, write_notebook, capsys) -> list[str]:
    """What a call gives or says, and the files that are there then; the home folder holds a run and a notebook."""
    home, work = place / "home", place / "work"
    (home / "work").mkdir(parents=True)
    work.mkdir()
    (work / "pyproject.toml").touch()
    write_notebook(work / "n.ipynb", "a = 1")
    run = RunFolder.open(home / "x")
    for name in ("experiment", "a/seed0/train", "a/seed0"):
        stage = run.stage(name, {"method": "a", "seed": 0, "preset": {}, "train": {}})
        stage.append("scores", {"score": 1.0})
        stage.finish({"score": 1.0, "train": {}})
    (home / "x" / "job").mkdir()
    (home / "x" / "job" / "log.txt").write_text("said")
    (home / "x" / "file").touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        patch.chdir(work)
        try:
            found = repr(call(text.replace("HOME", str(home))))
        except (RunError, ValueError, OSError) as error:
            found = f"{type(error).__name__}: {error}"
    printed = "".join(capsys.readouterr())
    tree = sorted(path.relative_to(place).as_posix() for path in place.rglob("*") if not path.name.startswith("tmp"))
    return [found.replace(str(place), ""), printed.replace(str(place), ""), *tree]


@pytest.mark.parametrize("name", CALLS)
def test_the_home_folder_is_meant(name: str, tmp_path: Path, write_notebook, capsys) -> None:
    """``~/x`` does, says and leaves what the whole path does; no folder of that name comes to be."""
    meant = outcome(CALLS[name], "HOME/x", tmp_path / "whole", write_notebook, capsys)
    short = outcome(CALLS[name], "~/x", tmp_path / "short", write_notebook, capsys)
    assert short == meant
    assert not any("~" in text.replace("/~kriz/", "") for text in short)  # that of CIFAR's address
