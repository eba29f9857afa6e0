"""A workshop for cells: what an explorer needs of an experiment, its scorer and trainings as background jobs."""

from __future__ import annotations

import inspect
import re
import shlex
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import numpy as np
from torch import Tensor

from ..cells import Cell, as_cell
from ..data import Split, Splits, names, options_of, registered, scoring_batches
from ..files import RunError, at_root, make_writable, replacing
from ..kernels import SpikeStatistics
from ..networks import SpikingNetwork
from ..scoring import Scorer
from ..spaces import SPACES, CellSpace, OpMask
from . import jobs, presets
from .recorded import RecordedScore
from .results import gather
from .saved_cells import name_of

SIZES = ("width", "num_steps", "batch_size", "proxy", "epochs", "space")
"""What can be chosen beside the data set."""
_SCORES = ("sahd", "hd", "swap")  # the other proxies are plain counts, which are shown anyway
_OF_TRAINING = ("width", "num_steps")  # what a run folder's name tells; a row's name tells the epochs


class Workshop:
    """One experiment to explore cells in: it scores a cell like its searches do, and trains any cell as a job.

    ``preset``: a preset's name, or a data set's, your registered ones too; ``data``: options of that set. ``sizes``
    change it: ``width``, ``num_steps``, ``batch_size``, ``proxy``, ``epochs``, ``space``; 0 and "" stand for its own.
    ``scorer`` and ``labels`` of its first batch, if they have been made already. A training goes to a run folder below
    ``folder``, one for each preset: the very folder of the command ``train``, which `command` shows.

    >>> workshop = Workshop("digits", width=4, num_steps=2)
    >>> workshop.run, workshop.settings["epochs"]
    ('runs/explorer/digits-width-4-num-steps-2', 15)
    """

    def __init__(
        self,
        preset: str = "digits",
        *,
        seed: int = 0,
        data: Mapping[str, object] | None = None,
        folder: str | Path = "runs/explorer",
        scorer: Scorer | None = None,
        labels: object = None,
        **sizes: object,
    ) -> None:
        if wrong := [name for name in sizes if name not in SIZES]:
            raise ValueError(f"a workshop has no {wrong[0]!r}; choose among {', '.join(SIZES)}.")
        self.name, self.seed, self.data, self.folder = preset, seed, dict(data or {}), folder
        self._base = presets.get(preset)
        if scorer is not None:
            sizes.setdefault("space", next((name for name, of in SPACES.items() if of == scorer.supernet.design), ""))
        own = _values(self._base)
        self.sizes = {name: value for name, value in sizes.items() if value not in (0, "", None, own[name])}
        self.preset = self._base.adapted(**self.sizes).with_data(**self.data)  # of the scores
        self._made = None if scorer is None else (scorer, None if labels is None else np.asarray(labels))

    # ---- what is chosen

    @property
    def settings(self) -> dict[str, object]:
        """The data set's or preset's name, and all sizes."""
        return {"preset": self.name} | _values(self.preset)

    @property
    def title(self) -> str:
        """What it is, in a few words."""
        return self.preset.name

    @property
    def choices(self) -> dict[str, tuple[str, ...]]:
        """What ``preset`` and ``proxy`` can be: presets and all data sets that need no further option."""
        complete = [name for name in names() if inspect.Parameter.empty not in options_of(name).values()]
        sets = [name for name in complete if name not in presets.PRESETS]
        return {"preset": (*presets.PRESETS, *sets), "proxy": _SCORES}

    def changed(self, **settings: object) -> Workshop:
        """A workshop with other settings; nothing is built yet. ``ValueError`` for a setting that is none."""
        preset = settings.pop("preset", self.name)
        kept = {"space": self.sizes.get("space")}  # another data set has sizes and options of its own
        if preset == self.name:
            kept = {"data": self.data, **self.sizes}
        return Workshop(preset, seed=self.seed, folder=self.folder, **{**kept, **settings})

    # ---- scores

    def prepare(self) -> Workshop:
        """Load the data and build the scorer: seconds. ``ValueError`` or ``RunError`` if they cannot be."""
        try:
            self.scorer  # noqa: B018
        except (OSError, RuntimeError, TypeError) as error:  # files that are not there; torch's, of memory and sizes
            raise RunError(f"{self.name}: {str(error).partition(chr(10))[0]}") from error
        return self

    @cached_property
    def splits(self) -> Splits:
        """The data of this seed."""
        return self.preset.load(seed=self.seed)

    @cached_property
    def _built(self) -> tuple[Scorer, np.ndarray | None]:
        if self._made:
            return self._made
        scoring, train = self.preset.scoring, self.splits.train
        scorer = RecordedScore(self.preset, self.splits, self.seed).scorer(self.space)
        sizes = {name: getattr(scoring, name) for name in ("batch_size", "num_batches")}
        numbered = Split(train.y.double().view(-1, 1, 1, 1), train.y)  # the same draw, of labels in the place of images
        return scorer, scoring_batches(numbered, **sizes, seed=self.seed)[0].flatten().long().numpy()

    @property
    def scorer(self) -> Scorer:
        """The scorer, with the weights and batches of the experiment's searches."""
        return self._built[0]

    @property
    def labels(self) -> np.ndarray | None:
        """Classes [B] of the first batch."""
        return self._built[1]

    @property
    def space(self) -> CellSpace:
        """The space of its cells."""
        return self._made[0].supernet.design if self._made else self.preset.cell_space

    @property
    def supernet(self) -> SpikingNetwork:
        """The network that is scored."""
        return self.scorer.supernet

    @property
    def batches(self) -> tuple[Tensor, ...]:
        """The batches that are scored."""
        return self.scorer.batches

    @property
    def config(self) -> object:
        """The settings of the score."""
        return self.scorer.config

    def statistics(self, mask: OpMask, **options: bool) -> tuple[SpikeStatistics, ...]:
        """As ``Scorer.statistics``."""
        return self.scorer.statistics(mask, **options)

    def record(self, mask: OpMask, **options: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """As ``Scorer.record``."""
        return self.scorer.record(mask, **options)

    # ---- trainings

    @property
    def run(self) -> str:
        """The run folder of its trainings, relative to the project: one for each preset."""
        return (Path(self.folder) / re.sub(r"[^\w.-]+", "-", self._trained().name)).as_posix()

    @property
    def path(self) -> Path:
        """The same folder in full."""
        return at_root(self.run)

    def row_name(self, cell: Cell, epochs: int = 0) -> str:
        """What the row of a cell is called: another name for another number of epochs."""
        own = self._base.train.epochs
        return name_of(cell) + (f"-{epochs}-epochs" if epochs not in (0, own) else "")

    def command(self, cell: Cell, epochs: int = 0) -> str:
        """The command line that does what `start` does."""
        return f"python -m lightsnn_kit {shlex.join(self._arguments(cell, epochs))}"

    def start(self, cell: Cell, epochs: int = 0) -> None:
        """Train and test a cell in a process of its own; it goes on where an earlier training of it was stopped.

        ``RunError`` while another training runs in this folder, and for a cell that was trained with these epochs.
        """
        if any(row["method"] == self.row_name(cell, epochs) for row in self.rows()):
            raise RunError(f"this cell was trained with these settings; its row is {self.row_name(cell, epochs)}.")
        if self.path.is_dir() and jobs.status(self.path).alive:
            raise RunError(f"a training runs in {self.run} already; wait until it has ended, or cancel it.")
        if own := [op.value for op in cell.ops if op.is_own]:
            raise RunError(f"a job is a process of its own, which does not know your op {own[0]!r}; train it by fit().")
        if self._base.dataset in registered():
            self._keep_data()
        jobs.start_command(self._arguments(cell, epochs), run=self.path, steps=["train"])

    def rows(self) -> list[dict[str, object]]:
        """The finished rows of the run folder, in the order in which they were begun."""
        return gather(self.path) if any(self.path.glob("*/seed*/result.json")) else []

    def _trained(self) -> presets.Preset:
        return self._base.adapted(**self._sizes_of_training()).with_data(**self.data)

    def _sizes_of_training(self) -> dict[str, object]:
        return {name: value for name, value in self.sizes.items() if name in _OF_TRAINING}

    def _arguments(self, cell: Cell, epochs: int) -> list[str]:
        epochs = epochs or self.settings["epochs"]
        preset, data = self.name, self.data
        if self._base.dataset in registered():
            preset, data = "npz", {"file": self._data_file}
        wanted = {"preset": preset, "seed": self.seed} | self._sizes_of_training()
        wanted |= {"cell": _spelt(cell), "name": self.row_name(cell, epochs), "epochs": epochs, "run": self.run}
        given = [word for name, value in wanted.items() for word in (f"--{name.replace('_', '-')}", str(value))]
        options = [word for name, value in data.items() for word in ("--data", f"{name}={value}")]
        return ["train", *given, *options, "--test"]

    @property
    def _data_file(self) -> Path:
        return self.path / f"{self._base.dataset}.npz"

    def _keep_data(self) -> None:
        """Save a data set that only this kernel knows as a file, which the job's process can read."""
        if not self._data_file.exists():
            make_writable(self.path)
            parts = {name: getattr(self.splits, name) for name in ("train", "val", "test")}
            arrays = {f"{axis}_{name}": getattr(part, axis).numpy() for name, part in parts.items() for axis in "xy"}
            if self.splits.class_names:
                arrays["class_names"] = np.array(self.splits.class_names)
            with replacing(self._data_file) as path, path.open("wb") as file:
                np.savez(file, **arrays)


def _spelt(cell: Cell) -> str:
    """The shortest text that is read as this very cell."""
    matrix = cell.matrix_text()
    return matrix if matrix and as_cell(matrix) == cell else str(cell)


def _values(preset: presets.Preset) -> dict[str, object]:
    """The sizes of a preset by the names in `SIZES`."""
    return {
        "width": preset.network["width"],
        "num_steps": (options_of(preset.dataset) | dict(preset.data)).get("num_steps", preset.network.get("num_steps")),
        "batch_size": preset.scoring.batch_size,
        "proxy": preset.scoring.proxy,
        "epochs": preset.train.epochs,
        "space": preset.space,
    }
