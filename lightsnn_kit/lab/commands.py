"""The commands ``search``, ``train``, ``evaluate`` and ``export``: steps of a row, in words or as one line of JSON.

Torch and the data are imported when a command runs, so that the command line itself stays light.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from ..files import RunError, at_root, to_json
from . import jobs
from .bars import counting
from .names import check_names
from .notebooks import unused_path

if TYPE_CHECKING:
    from ..cells import Cell
    from ..methods import Chosen
    from .presets import Preset
    from .rows import Row


def add_commands(commands: argparse._SubParsersAction, setting: Callable[[str], tuple[str, object]]) -> None:
    """Declare the four commands and their options; ``setting`` reads a text such as ``size=32``."""
    search = commands.add_parser("search", help="choose a cell for a data set (seconds)")
    train = commands.add_parser("train", help="train any cell, or the one that a method chooses (minutes)")
    test = commands.add_parser("evaluate", help="test what was trained in a run folder, and count its operations")
    export = commands.add_parser("export", help="write what was trained in a run folder as files of NIR, to deploy it")
    for command in (search, train):
        add = command.add_argument
        add(
            "--preset", "--dataset", default="digits", help="an experiment, or a data set's name (default: %(default)s)"
        )
        given = {"action": "append", "type": setting, "default": [], "metavar": "NAME=VALUE"}
        add("--data", **given, help="an option of the data set, such as --dataset image-folder --data folder=photos")
        add("--method", default="balanced", help="how to choose the cell (default: %(default)s)")
        add("--space", default="", help="the space to search (default: the preset's)")
        add("--width", type=int, default=0, help="channels of cell 1 (default: the preset's)")
        add("--num-steps", type=int, default=0, help="time steps (default: the preset's)")
        add("--seed", type=int, default=0, help="of weights, batches and draws (default: %(default)s)")
    search.add_argument("--batch-size", type=int, default=0, help="samples that a score compares")
    search.add_argument("--proxy", default="", help="the score, such as sahd, hd or swap (default: the preset's)")
    search.add_argument("--run", default="", help="run folder that keeps the search (default: none)")
    add_scheduler(search)
    train.add_argument("--cell", default="", help="a cell's string or matrix, or the file of a saved cell")
    train.add_argument("--name", default="", help="what the row of your cell is called (default: made of the cell)")
    train.add_argument("--test", action="store_true", help="test it at the end, as the command evaluate does")
    train.add_argument("--epochs", type=int, default=0, help="passes over the training part (default: the preset's)")
    kind = "a further setting of the training, such as --setting recompute=true --setting accumulate=4"
    train.add_argument("--setting", **given, help=kind)
    train.add_argument("--run", default="", help="run folder (default: the next free name of runs/train)")
    ways = ("refuse", "best", "restart")
    train.add_argument("--damaged", default=ways[0], choices=ways, help="if a checkpoint cannot be read: go on from …")
    for command in (test, export):
        command.add_argument("--run", required=True, help="run folder in which cells were trained")
    for command in (search, train, test, export):
        command.add_argument("--json", action="store_true", help="the last line is one JSON object")


def add_scheduler(command: argparse.ArgumentParser) -> None:
    """Declare the option that has other processes work."""
    words = "address of a Dask scheduler whose workers share the work, or a number of processes of this machine"
    command.add_argument("--scheduler", default="", metavar="ADDRESS", help=words)


def from_here(path: Path) -> Path:
    """A path as short as the working directory allows: relative to it, or else whole."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def check(options: argparse.Namespace) -> None:
    """Refuse names and cells that there are none of, before torch is imported; ``ValueError`` or ``RunError``."""
    check_names(**{name: getattr(options, name, "") for name in ("preset", "space", "method", "proxy")})
    if cell := getattr(options, "cell", ""):
        from .saved_cells import read_cell  # with numpy

        read_cell(cell)


def search(options: argparse.Namespace) -> dict[str, object]:
    """Choose a cell as the options say, print it, and return what the JSON line holds."""
    from ..methods import choose
    from ..spaces import OpMask
    from .experiments import Experiment
    from .recorded import RecordedScore
    from .rows import num_scores

    preset = _preset(options, batch_size=options.batch_size, proxy=options.proxy)
    if options.run:
        experiment = Experiment.open(options.run, preset, scheduler=options.scheduler)
        splits, chosen = experiment.load(options.seed)[0], _choose(experiment.row(options.method, options.seed))
    else:
        splits = preset.load(seed=options.seed)
        settings = {"seed": options.seed, "budget": preset.budget, "keep_path": preset.keep_path}
        with counting("search", num_scores(preset, options.method)) as tick:
            score = RecordedScore(preset.scored_for(options.method), splits, options.seed, tell=tick)
            with score.over(options.scheduler) as executor:
                chosen = choose(options.method, preset.cell_space, score=score, executor=executor, **settings)
    value = chosen.score
    if value is None:  # one score says whether the cell is alive
        value = RecordedScore(preset, splits, options.seed)(OpMask.from_cell(chosen.cell))
    found = describe(chosen.cell) | {"score": value, "evaluations": chosen.evaluations}
    found |= {"seconds": round(chosen.seconds, 3), "method": options.method, "preset": preset.name}
    found |= {"dataset": preset.dataset, "seed": options.seed}
    _print(found, _search_words(found), options.json)
    return found


def train(options: argparse.Namespace) -> dict[str, object]:
    """Train a cell as the options say, print each epoch, and return the row's name and what training gave.

    Of several processes that ``torchrun`` has started rank 0 does so, and the others train with it.
    """
    from ..ranks import of_torchrun
    from .experiments import Experiment
    from .torchrun import dismiss, follow

    preset = _preset(options, epochs=options.epochs).changed(train=dict(options.setting))
    fabric = of_torchrun()
    if fabric is not None and fabric.global_rank > 0:
        return {"rank": fabric.global_rank, "trainings": follow(fabric)}
    folder = at_root(options.run) if options.run else unused_path(at_root("runs") / "train")
    if os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0":  # torchrun has not seen that it was cancelled
        jobs.stop_if_cancelled(folder)
    experiment = Experiment.open(folder, preset, device=str(fabric.device) if fabric else "auto")
    run = str(from_here(folder))
    row = experiment.row(options.name if options.cell else options.method, options.seed, cell=options.cell)
    epochs, best = experiment.preset.train.epochs, "no epoch was finished"
    with jobs.working(experiment.folder.path, ["train"]) as notify:
        notify(f"{row.name}: loading the data")
        print(f"{row.name} in {run}: {_choose(row).cell}", flush=True)
        notify(f"training {row.name}")
        with counting("train", epochs) as tick:
            for record in row.train(damaged=options.damaged, fabric=fabric):
                accuracy = f"train {record.train_accuracy:.1%}, validation {record.val_accuracy:.1%}"
                tick(f"epoch {record.epoch} of {epochs}: {accuracy}, {record.seconds:.1f} s")
        dismiss(fabric)
        notify(f"testing {row.name}")
        tested = row.test() if options.test else None
    trained = row.training.result
    if "epoch" in trained:
        best = f"best on validation: {trained['val_accuracy']:.1%} in epoch {trained['epoch']}"
    result = {"run": run, "row": row.name, "cell": str(row.cell)} | (tested or trained)
    words = _row_words(tested) if tested else f"{best}\ntest it with: python -m lightsnn_kit evaluate --run {run}"
    _print(result, words, options.json)
    return result


def _choose(row: Row) -> Chosen:
    """The row's cell, with a bar over the scores that its search takes."""
    from .rows import num_scores
    from .runs import listening

    count = 0 if row.given else num_scores(row.preset, row.method)
    with counting("search", count) as tick, listening(lambda file: tick() if file.stem == "scores" else None):
        return row.choose()


def evaluate(options: argparse.Namespace) -> list[dict[str, object]]:
    """Test every trained row of a run folder that was not tested yet, print all rows, and return them."""
    rows = [row.test() for row in _trained(options.run)]
    _print({"rows": rows}, "\n".join(map(_row_words, rows)), options.json)
    return rows


def export(options: argparse.Namespace) -> dict[str, str]:
    """Write every trained row of a run folder as a file of NIR; return what became of each, the file or the reason."""
    from ..nir_export import write_nir

    files, refused = {}, {}
    for row in _trained(options.run):
        name = row.name
        try:
            files[name] = str(from_here(write_nir(row.trained(), row.stage.path / "network.nir", replace=True)))
        except ValueError as error:
            refused[name] = f"not written: {error}"
    if not files:
        raise RunError("; ".join(f"{name}: {why}" for name, why in refused.items()))
    words = "\n".join(f"{name}: {told}" for name, told in (files | refused).items())
    _print({"files": files, "refused": refused}, words, options.json)
    return files | refused


def _trained(run: str) -> list[Row]:
    from .experiments import Experiment

    experiment = Experiment.open(run)
    if trained := [row for row in experiment.rows() if row.training.finished]:
        return trained
    raise RunError(f"nothing was trained in {experiment.folder.path}; train a cell there first.")


def _row_words(row: Mapping[str, object]) -> str:
    return (
        f"{row['method']}, seed {row['seed']}: {row['test_accuracy']:.1%} ({row['test_correct']} of "
        f"{row['test_samples']}), {row['parameters']:,} parameters, firing rate {row['firing_rate']:.1%}, "
        f"{row['synops'] / 1e3:,.0f} k SynOps, {row['energy_pj'] / 1e3:,.0f} nJ\n    {row['cell']}"
    )


def describe(cell: Cell) -> dict[str, object]:
    """What a cell itself tells, in plain values: its string, op by edge, path figures."""
    from ..paths import cell_paths

    paths = cell_paths(cell)
    edges = {str(edge): str(op) for edge, op in cell.edge_ops.items()}
    return {"cell": str(cell), "edges": edges, "paths": asdict(paths) if paths else None}


def _preset(options: argparse.Namespace, **more: object) -> Preset:
    from . import presets

    wanted = {"space": options.space, "width": options.width, "num_steps": options.num_steps}
    return presets.get(options.preset).adapted(**wanted, **more).with_data(**dict(options.data))


def _print(found: dict[str, object], words: str, as_json: bool) -> None:
    print(to_json(found) if as_json else words)


def _search_words(found: dict[str, object]) -> str:
    from ..methods import METHODS

    paths = found["paths"]
    shape = (
        f"{paths['depth']} convolutions deep, {paths['convs']} in all, {paths['edges']} edges" if paths else "no path"
    )
    dead = " (dead: two samples are alike in every spike)" if found["score"] == float("-inf") else ""
    return (
        f"{found['cell']}\n{shape}\n{found['method']}: {METHODS[found['method']].text}\n"
        f"score {found['score']:.4f}{dead}, {found['evaluations']} scores to choose it, {found['seconds']:.1f} s"
    )
