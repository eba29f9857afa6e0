"""Experiments: a preset in a run folder, and its rows.

A run folder holds one experiment: the stage ``experiment`` (its preset and data), and for each row a stage
``<method>/seed<n>`` with ``scores.jsonl`` and ``steps.jsonl`` of the search, ``chosen.json``, a stage ``train`` inside
it, and ``result.json`` at the end: the row. The stage notebooks, the command line and ``run_rows`` all go this way.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import torch

from ..blocks import own_parts
from ..cells import Cell
from ..checks import whole
from ..cluster import versions
from ..data import Splits, registered
from ..files import RunError, at_root, defaults_of, differences, plain, reading
from ..methods import METHODS, method_of
from ..networks import NetworkConfig
from ..scoring import ScoringConfig
from ..workers import worker_processes, workers_of
from .notebooks import run_for
from .presets import Preset
from .results import row_settings
from .rows import Row, num_scores
from .runs import RunFolder, Stage
from .saved_cells import name_of, read_cell
from .tasks import Task, interleave

_PARTS = {"scoring": defaults_of(ScoringConfig), "network": defaults_of(NetworkConfig)}
_DEFAULTS = {"preset": defaults_of(Preset) | _PARTS}  # of settings that runs of earlier versions lack


class Experiment:
    """One preset in one run folder; ``row`` gives what is done for a method, or a cell of yours, and a seed.

    ``data`` goes to the data set's loader, such as ``{"folder": ...}``. ``device``: "auto" takes CUDA where torch has
    it. ``scheduler``: the address of a Dask scheduler whose workers score and train, or a number of processes of this
    machine, as ``workers.worker_processes`` takes it; "": this process does.
    """

    def __init__(
        self,
        folder: RunFolder,
        preset: Preset,
        *,
        data: Mapping[str, object] | None = None,
        device: str = "auto",
        scheduler: int | str = "",
    ) -> None:
        self.folder, self.preset, self.options, self.scheduler = folder, preset, dict(data or {}), workers_of(scheduler)
        self.device = torch.device(device if device != "auto" else "cuda" if torch.cuda.is_available() else "cpu")
        self._loaded: tuple[int, Splits, float] | None = None

    @classmethod
    def open(cls, run: str | Path, preset: Preset | None = None, **options) -> Experiment:
        """The experiment of a run folder, to be begun with this preset, or as it was begun where none is given.

        ``RunError`` if there is neither.
        """
        if preset is None and not cls.begun(run):  # before the folder is made
            raise RunError(
                f"{at_root(run)} holds no experiment; run search.ipynb on it first, or train.ipynb with a cell."
            )
        folder = RunFolder.open(run)
        if preset is None:
            begun = folder.read("experiment")
            with reading(begun.path):
                preset = Preset.from_dict(begun.settings["preset"] | {"train": begun.result["train"]})
        return cls(folder, preset, **options)

    @staticmethod
    def begun(run: str | Path) -> bool:
        """True if an experiment was begun in that folder."""
        return Stage(at_root(run) / "experiment").finished

    def load(self, seed: int) -> tuple[Splits, float]:
        """The data, kept for the next row of this seed, and the seconds they took.

        ``RunExistsError`` if the folder was begun with another preset, or with other data of that name.
        """
        if self._loaded is None or self._loaded[0] != self.data_seed(seed):
            started = time.perf_counter()
            splits = self.preset.load(seed=self.data_seed(seed), **self.options)
            self._loaded = self.data_seed(seed), splits, time.perf_counter() - started
            settings = self.preset.to_dict()
            train = settings.pop("train")  # may be another for each row: a cell can be trained again, in another row
            begun_with = {"preset": settings, "source": splits.source, "stand_in": splits.stand_in}
            with self.folder.stage("experiment", begun_with, defaults=_DEFAULTS) as stage:
                if not stage.finished:
                    stage.finish({"train": train})
        return self._loaded[1:]

    def data_seed(self, seed: int) -> int:
        """The seed of the data that the rows of a seed see: the same."""
        return seed

    def task(self, seed: int, cell: Cell) -> Task:
        """What a worker must know to train or test a cell as the rows of a seed do."""
        settings = self.preset.changed(train={"seed": seed}).to_dict()
        return Task(settings, self.options, self.data_seed(seed), seed, str(cell), str(self.device), versions())

    def row(self, method: str = "", seed: int = 0, *, cell: object = "") -> Row:
        """The row of a method and a seed; with ``cell`` (anything `read_cell` reads) that of a cell of yours.

        Such a row bears ``method`` as its name, or that of the cell's file, or one made of the cell itself.
        """
        if isinstance(cell, str) and not cell:
            method_of(method)
            return Row(self, method, seed)
        found, name = read_cell(cell)
        name = method or name or name_of(found)
        if name in METHODS:
            raise RunError(f"{name!r} is a method, which chooses its own cell; give yours another name.")
        return Row(self, name, seed, given=found)

    def rows(self, seed: int | None = None) -> list[Row]:
        """All rows begun in the folder (of a seed), in the order of their beginning."""
        found = sorted(self.folder.path.glob("*/seed*/settings.json"), key=lambda path: path.stat().st_mtime_ns)
        rows = []
        for stage in (Stage(path.parent) for path in found):
            with reading(stage.path):
                row = row_settings(stage, self.folder.path)
                given = Cell.parse(row["cell"]) if "cell" in row else None
                rows.append(Row(self, str(row["method"]), whole("seed", row["seed"], low=0), given=given))
        return [row for row in rows if seed in (None, row.seed)]

    def announce(self, rows: Iterable[Row], *, train: bool = True) -> None:
        """Write down the scores and epochs that rows are going to take, so that the time left counts all of them."""
        parts = {}
        for row in rows:
            if scores := 0 if row.given else num_scores(self.preset, row.method):
                parts[row.name] = ("scores", scores)
            if train:
                parts[f"{row.name}/train"] = ("epochs", self.preset.train.epochs)
        self.folder.plan(parts)


def experiment_run(run_dir: str | Path, preset: Preset | None = None, *, name: str = "explore") -> Path:
    """The run folder of a notebook, given or chosen (``notebooks.run_for``): with a preset one begun with it or new.

    Without a preset it is the experiment of that name that was last worked in.
    """

    def fits(folder: Path) -> bool:
        with suppress(RunError):  # a damaged folder is none to go on in, and is left as it is
            begun = Experiment.begun(folder) and Stage(folder / "experiment").settings["preset"]
            return bool(begun) and (preset is None or not differences(begun, settings, defaults=_DEFAULTS["preset"]))
        return False

    settings = plain(preset.to_dict()) if preset else {}
    settings.pop("train", None)  # may be another for each row
    return run_for(run_dir, name=name, fits=fits)


def run_rows(experiment: Experiment, methods: Sequence[str], seeds: Sequence[int]) -> Iterator[dict[str, object]]:
    """Run or go on with the rows of all methods and seeds, seed by seed, and yield each, as `run_each` does."""
    for method in methods:
        method_of(method)  # an unknown name is refused before any work
    yield from run_each(experiment, [experiment.row(method, seed) for seed in seeds for method in methods])


def run_each(experiment: Experiment, rows: Sequence[Row]) -> Iterator[dict[str, object]]:
    """Run or go on with rows of an experiment, and yield the result of each, in their order.

    A finished row is read back, one with other settings or data refused (``RunExistsError``). Data are loaded once per
    seed; each row counts their seconds as if alone. No network is trained twice. With a scheduler the rows' cells are
    chosen one after another, each search by all workers, and then trainings go on together, with the same results.
    """
    if unfinished := [row for row in rows if not row.stage.finished]:  # where all is done, nothing is written
        experiment.announce(unfinished)
    if unfinished and experiment.scheduler:
        yield from _run_elsewhere(experiment, rows)
    else:
        for row in rows:
            yield row.run()


def _run_elsewhere(experiment: Experiment, rows: Sequence[Row]) -> Iterator[dict[str, object]]:
    if experiment.preset.dataset in registered():
        raise RunError(
            f"workers read the data themselves and do not know your data set {experiment.preset.dataset!r}; keep it as "
            "an npz file that all of them can read, or train without a scheduler."
        )
    with worker_processes(experiment.scheduler) as (executor, size):  # before the searches: it may not be there
        for row in rows:
            row.choose()
            if own := [op.value for op in row.cell.ops if op.is_own]:
                raise RunError(f"workers do not know your op {own[0]!r}, in {row.name}'s cell; train in this process.")
        if own := own_parts(rows[0].untrained()):
            raise RunError(f"workers do not know {own}; train in this process.")
        first = {(row.seed, str(row.cell)): row for row in reversed(rows)}.values()  # others take over what they learn
        done = 0
        for wave in ([row for row in rows if row in first], [row for row in rows if row not in first]):
            for _ in interleave([row.steps(executor.submit) for row in wave], size):
                while done < len(rows) and rows[done].stage.finished:
                    yield rows[done].stage.result
                    done += 1
