"""One row of an experiment: choose a cell, train it, test it. Every step is recorded, and goes on where it stopped."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from dataclasses import asdict, replace
from functools import cache, partial
from typing import Protocol

from ..cells import Cell
from ..checkpoints import DAMAGED, network_of, read_checkpoint
from ..checks import shown
from ..data import Splits
from ..files import RunError, defaults_of, differences, reading
from ..methods import Chosen, choose, method_of
from ..networks import SpikingNetwork, build_network
from ..records import step_record
from ..scoring import Measures, Scorer, measure
from ..spaces import CellSpace, OpMask
from ..training import EpochRecord, TrainConfig, TrainingDivergedError, fit, identity_of
from .presets import Preset
from .recorded import RecordedScore
from .results import OWN_PROVENANCE, experiment_id, provenance_of
from .row_figures import SEARCHED, cell_figures, search_figures
from .runs import RunFolder, Stage
from .tasks import Submit, Task, Tested, test_network, tested, train_epochs
from .torchrun import lead

_DEFAULTS = {"train": defaults_of(TrainConfig)}  # of settings that runs of earlier versions lack


class Rows(Protocol):
    """What a row needs of the ``experiments.Experiment`` that it is one of."""

    preset: Preset
    folder: RunFolder
    device: str
    scheduler: str

    def load(self, seed: int) -> tuple[Splits, float]: ...
    def task(self, seed: int, cell: Cell) -> Task: ...
    def rows(self) -> Iterable[Row]: ...


class Row:
    """One row of an experiment: ``choose``, ``train`` and ``test``, each recorded, read back and gone on with."""

    def __init__(self, experiment: Rows, method: str, seed: int, *, given: Cell | None = None) -> None:
        self.experiment, self.preset, self.method, self.seed = experiment, experiment.preset, method, seed
        self.given, self.name = given, f"{method}/seed{seed}"

    # ---- the records

    def open(self) -> Stage:
        """The row's stage, begun now or before; ``RunExistsError`` if it is of another cell or experiment."""
        self.splits  # noqa: B018  (the experiment's own stage comes first)
        settings = {"method": self.method, "seed": self.seed} | ({"cell": str(self.given)} if self.given else {})
        return self._begin(self.name, settings)

    def _begin(self, name: str, settings: dict[str, object]) -> Stage:
        """A stage that bears the name of this experiment: that of another, copied into this run, is refused."""
        folder = self.experiment.folder
        own = {"experiment": experiment_id(folder.path)}
        return folder.stage(name, settings | own, defaults=_DEFAULTS | own)

    @property
    def stage(self) -> Stage:
        """The row's records, whether it was begun or not."""
        return Stage(self.experiment.folder.path / self.name)

    @property
    def training(self) -> Stage:
        """The records of its training."""
        return Stage(self.stage.path / "train")

    @property
    def splits(self) -> Splits:
        """The data of the row's seed."""
        return self.experiment.load(self.seed)[0]

    @property
    def cell(self) -> Cell:
        """The cell that is trained; ``RunError`` before `choose`.

        With ``feedback=False`` that is the chosen one without its backward edges: they are never read, in training
        neither, and what computing them would cost is not counted.
        """
        with reading(self.stage.path / "chosen.json"):
            chosen = Cell.parse(self.stage.read_json("chosen")["cell"])
        return chosen if self.preset.scoring.feedback else chosen.forward_part()

    # ---- the steps

    def choose(self) -> Chosen:
        """Choose the cell, score by score; what earlier runs have scored is read back."""
        with self.open() as stage:
            if not stage.has("chosen"):
                chosen = self._choose(stage)
                figures = {name: getattr(chosen, name) for name in ("score", "evaluations", "seconds")}
                stage.write_json("chosen", {"cell": str(chosen.cell)} | figures | search_figures(stage))
            kept = stage.read_json("chosen")
            with reading(stage.path / "chosen.json"):
                return Chosen(Cell.parse(kept["cell"]), kept["score"], kept["evaluations"], kept["seconds"])

    def _choose(self, stage: Stage) -> Chosen:
        if self.given is not None:
            return Chosen(self.given, None, 0, 0.0)
        if stage.finished:
            raise RunError(f"{stage.path} is finished but tells no chosen cell: it was made by an earlier version.")
        preset = self.preset.scored_for(self.method)
        space, budget = preset.cell_space, preset.budget
        if count := num_scores(preset, self.method):
            stage.expect("scores", count)
            self._take_over_scores(stage)
        rounds = len(stage.records("steps"))

        def keep(step) -> None:
            if step.round > rounds:
                stage.append("steps", step_record(step))

        score = RecordedScore(preset, self.splits, self.seed, stage, device=self.experiment.device)
        options = {"budget": budget, "keep_path": preset.keep_path, "on_step": keep}
        with score.over(self.experiment.scheduler) as executor:
            return choose(self.method, space, score=score, seed=self.seed, executor=executor, **options)

    def _take_over_scores(self, stage: Stage) -> None:
        """Copy the scores (with their seconds) of another row whose search is the same: none is computed twice."""
        twin = Row(self.experiment, method_of(self.method).same_scores_as or self.method, self.seed)
        if twin.name != self.name and twin.stage.has("chosen") and not stage.records("scores"):
            for record in twin.stage.records("scores")[: twin.stage.read_json("chosen")["evaluations"]]:
                stage.append("scores", record)

    def scorer(self, space: CellSpace | None = None) -> Scorer:
        """The scorer of the row's search, with its weights and its first batches (of another space if given)."""
        preset = self.preset.scored_for(self.method)
        score = RecordedScore(preset, self.splits, self.seed, device=self.experiment.device)
        return score.scorer(space or preset.cell_space)

    def measure(self) -> Measures:
        """What the scorer tells of the chosen cell before training: scores, kernels, rates; the row keeps the scores.

        A cell that the preset's space does not hold is measured in the smallest space that does.
        """
        cell, space = self.choose().cell, self.preset.cell_space
        inside = set(cell.ops) <= set(space.ops) and (space.backward or not any(e.is_backward for e in cell.live_edges))
        mask = OpMask.from_cell(cell, space if inside else None)
        found = measure(self.scorer(mask.space), mask)
        if not self.stage.finished and not self.stage.has("measured"):
            self.stage.write_json("measured", {"sahd": found.sahd, "hd": found.hd})
        return found

    def train(
        self, *, damaged: str = DAMAGED[0], fabric: object = None, submit: Submit | None = None
    ) -> Iterator[EpochRecord | Future]:
        """Train the chosen cell, epoch by epoch; epochs done before come first, a finished training only tells them.

        A training that diverges keeps its best epoch so far, and says so. ``damaged`` as in ``training.fit``; the
        ranks of a ``fabric`` that follow (``torchrun.follow``) train with this one. With ``submit`` (an executor's)
        each epoch is a task, whose future is yielded before it is waited for.
        """
        self.choose()
        config = replace(self.preset.train, seed=self.seed)
        settings = {"cell": str(self.cell), "train": asdict(config)}
        with self._begin(f"{self.name}/train", settings) as stage:
            stage.expect("epochs", config.epochs)
            if self._take_over_training(stage):
                with reading(stage.path / "epochs.jsonl"):
                    yield from (EpochRecord(**record) for record in stage.records("epochs"))
            else:
                yield from self._train(stage, config, damaged, fabric, submit)

    def _train(
        self, stage: Stage, config: TrainConfig, damaged: str, fabric: object, submit: Submit | None
    ) -> Iterator[EpochRecord | Future]:
        started, done, diverged, folder = time.perf_counter(), 0, False, stage.path / "checkpoints"
        try:
            task = (self.untrained().to(self.experiment.device), self.splits, config)
            options = {"folder": folder, "damaged": damaged}
            records = fit(*task, **options) if submit else lead(fabric, *task, **options)
            del task  # as many rows wait as there are workers
            if submit:
                records = train_epochs(records, self._task, folder, submit, partial(self._note, stage))
            for record in records:
                if isinstance(record, EpochRecord):
                    self._keep(stage, asdict(record), damaged)
                    done += 1
                yield record
        except TrainingDivergedError:
            diverged = True
        if not stage.finished:
            if extra := stage.records("epochs")[done:]:
                self._cut(stage, done, [f"there is one more, {shown(extra[0])}"], damaged)
            epochs = stage.records("epochs")
            best = max(epochs, key=lambda epoch: epoch["val_accuracy"], default={})
            seconds = {"train": sum(epoch["seconds"] for epoch in epochs)}
            seconds["train_and_checkpoints"] = seconds["train"] if submit else time.perf_counter() - started
            chosen = {name: best[name] for name in ("epoch", "val_accuracy") if best}
            stage.finish(chosen | {"diverged": diverged, "seconds": seconds})

    @property
    def _task(self) -> Task:
        return self.experiment.task(self.seed, self.cell)

    def _note(self, stage: Stage, made: dict[str, object]) -> None:
        """Write down with what a worker has computed, unless that is known: it may be another machine."""
        own, known = dict.fromkeys(OWN_PROVENANCE), (stage.begun["provenance"], *stage.records("resumed"))
        if (made | own) not in [one | own for one in known]:
            stage.append("resumed", made)

    def _keep(self, stage: Stage, record: dict[str, object], damaged: str) -> None:
        """Write an epoch down; one that was written before must be the same, or gives way in a mended training."""
        epochs, index = stage.records("epochs"), record["epoch"] - 1
        if index < len(epochs):
            if not (other := differences(untimed(epochs[index]), untimed(record), at=f"epoch {index + 1}")):
                return
            self._cut(stage, index, other, damaged)
        stage.append("epochs", record)

    def _cut(self, stage: Stage, index: int, other: list[str], damaged: str) -> None:
        """Leave out the records from ``index`` on, which are not those of the checkpoints; refused unless told to."""
        file = stage.path / "epochs.jsonl"
        if damaged == DAMAGED[0]:
            raise RunError(
                f"the epochs in {file} are not those of the checkpoints: {'; '.join(other)}. Restore the file, or pass "
                f"damaged='best' to write it anew from there on."
            )
        stage.cut("epochs", index)

    def _take_over_training(self, stage: Stage) -> bool:
        """Copy the epochs of a finished row of the same cell, training and seed: they would be repeated bit for bit."""
        if stage.finished or stage.records("epochs"):
            return False
        for row in self.experiment.rows():
            twin = row.training
            same = twin.finished and row.stage.finished and row.seed == self.seed and row.name != self.name
            if same and not differences(twin.settings, stage.settings, defaults=_DEFAULTS):
                for name, records in (("epochs", twin.records("epochs")), ("resumed", provenance_of(row.stage))):
                    for record in records:
                        stage.append(name, record)
                whose = row.stage.result.get("same_network_as", row.method)
                stage.finish(twin.result | {"same_network_as": whose})
                return True
        return stage.finished

    def untrained(self) -> SpikingNetwork:
        """The cell's network with the row's first weights."""
        return build_network(self.cell, self.preset.network_config(self.splits), seed=self.seed)

    def trained(self) -> SpikingNetwork:
        """The network with the weights of the epoch that was best on validation; the first ones if none was finished.

        ``RunError`` before the training has ended.
        """
        if not self.training.finished:
            raise RunError(f"the training in {self.training.path} has not ended; go on with it first.")
        whose = self.training.result.get("same_network_as", self.method)
        best = self.experiment.folder.path / whose / f"seed{self.seed}" / "train" / "checkpoints" / "best.pt"
        if "epoch" not in (result := self.training.result):
            return self.untrained().to(self.experiment.device)
        config, epochs = TrainConfig(**self.training.settings["train"]), self.training.records("epochs")
        recorded = {f"epoch {number}": untimed(one) for number, one in enumerate(epochs[: result["epoch"]], 1)}
        try:
            stored = read_checkpoint(best, identity=identity_of(self.untrained(), self.splits, config))
            trained = {f"epoch {number}": untimed(one) for number, one in enumerate(stored["history"], 1)}
            if other := differences(recorded, trained):
                raise ValueError(f"{best} is not the best epoch that was recorded: {'; '.join(other)}.")
            return network_of(stored, best).to(self.experiment.device)
        except (ValueError, FileNotFoundError) as error:
            again = f"remove the folder {best.parent.parent} and train again: it repeats the same epochs"
            raise RunError(f"{error} Restore {best.name} from a copy, or {again}.") from None

    def test(self) -> dict[str, object]:
        """Test the trained network once, count its spikes and operations, and finish the row, which is returned."""
        with self.open() as stage:
            if not stage.finished:
                self._finish(stage, tested(self.trained(), self.splits, self.preset))
            return stage.result

    def _finish(self, stage: Stage, found: Tested) -> None:
        (figures, layers, predicted, took), trained = found, self.training.result
        stage.write_json("layers", layers)
        stage.write_json("predictions", {"predicted": predicted, "labels": self.splits.test.y.tolist()})
        seconds = trained["seconds"] | {"evaluate": took} | self._seconds()
        stage.finish(self._figures() | figures | trained | {"seconds": seconds})

    def run(self) -> dict[str, object]:
        """All steps, and the row."""
        list(self.train())
        return self.test()

    def steps(self, submit: Submit) -> Iterator[Future]:
        """As `run`, but epochs and test are tasks handed to ``submit``; yields each future that it then waits for."""
        yield from (step for step in self.train(submit=submit) if isinstance(step, Future))
        with self.open() as stage:
            if not stage.finished:
                yield (future := submit(test_network, self._task, self.trained()))
                self._finish(stage, future.result())

    # ---- figures

    def _figures(self) -> dict[str, object]:
        chosen, cell = self.stage.read_json("chosen"), self.cell
        row = {"preset": self.preset.name, "dataset": self.preset.dataset, "method": self.method, "seed": self.seed}
        row |= {"cell": str(cell)} | ({"chosen_cell": chosen["cell"]} if chosen["cell"] != str(cell) else {})
        row |= {"stand_in": self.splits.stand_in, "source": self.splits.source, "quick": self.preset.is_quick}
        row |= {"proxy": self.preset.scored_for(self.method).scoring.proxy}  # whose value ``score`` is
        row |= {name: chosen[name] for name in ("evaluations", "score", *SEARCHED)}
        return row | cell_figures(cell) | (self.stage.read_json("measured") if self.stage.has("measured") else {})

    def _seconds(self) -> dict[str, float]:
        return {"load": self.experiment.load(self.seed)[1], "search": self.stage.read_json("chosen")["search_seconds"]}


def num_scores(preset: Preset, method: str) -> int:
    """How many scores a method's search takes, the found cell's own among them: that does not depend on their values.

    >>> from .presets import get
    >>> num_scores(get("digits"), "lightsnn"), num_scores(get("digits"), "balanced")
    (61, 0)
    """
    if not method_of(method).scores:
        return 0
    return _num_scores(method, preset.cell_space, preset.budget, preset.keep_path)


@cache  # a search of thousands of cells takes seconds to count, and every seed of a run asks
def _num_scores(method: str, space: CellSpace, budget: int, keep_path: bool) -> int:
    return 1 + choose(method, space, score=lambda mask: 0.0, budget=budget, keep_path=keep_path).evaluations


def untimed(epoch: object) -> object:
    """A record of an epoch to compare: a training that goes on from an earlier checkpoint repeats it in other times."""
    return epoch | {"seconds": 0} if isinstance(epoch, dict) else epoch
