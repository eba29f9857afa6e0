"""One experiment from the choice of a cell to a row of figures, the same for every method, and resumable.

A row is one (preset, method, seed): choose a cell (every score is recorded, with its seconds), train it, test it once
with the weights of the epoch that was best on validation, count its operations. Rows are stages of a run folder.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from ..baselines import choose, forward_part, get
from ..cells import Cell
from ..data import Splits, scoring_batches
from ..data.standins import make_tiny_cifar, make_tiny_gesture
from ..energy import measure_energy
from ..files import RunError
from ..networks import SpikingNetwork, build_network, build_supernet
from ..records import mask_key
from ..scoring import Scorer
from ..spaces import CellSpace, OpMask
from ..training import TrainingDivergedError, evaluate, fit, load_network
from .presets import Preset
from .results import made_with
from .runs import RunFolder, Stage

ENERGY_SAMPLES = 256  # test samples on which spikes and operations are counted
COUNTED = ("firing_rate", "spikes", "synops", "macs", "energy_pj", "spikingjelly_energy_pj", "assumptions")
TRAINED = ("test_accuracy", "test_correct", "test_samples", "parameters", *COUNTED)
TRAINED += ("diverged", "epoch", "val_accuracy", "seconds")  # all that a trained network adds to a row


@dataclass
class RecordedScore:
    """A score that writes each value to a stage, and reads back those that an earlier, interrupted run has written.

    The supernet is built when the first value is needed. Pruning in a space without backward edges scores masks of
    another space than the preset's: the supernet is built for the first mask's.
    """

    preset: Preset
    splits: Splits
    seed: int
    stage: Stage
    index: int = 0
    _scorer: Scorer | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        self.earlier = self.stage.records("scores")
        self.replayed: list[OpMask] = []

    def __call__(self, mask: OpMask) -> float:
        index, self.index = self.index, self.index + 1
        if index < len(self.earlier):
            earlier = self.earlier[index]
            if earlier["mask"] != mask_key(mask):
                raise RunError(
                    f"score {index} in {self.stage.path} is of the mask {earlier['mask']!r}, but the search now asks "
                    f"for {mask_key(mask)!r}: the code has changed since. Choose another run folder."
                )
            self.replayed.append(mask)
            return float(earlier["score"])
        if self.replayed and not self.preset.scoring.reset:
            self._restore_membranes()
        started = time.perf_counter()
        scorer = self._prepared(mask.space, index)
        built = time.perf_counter()
        value = scorer(mask)
        seconds = {"build_seconds": built - started, "seconds": time.perf_counter() - built}
        self.stage.append("scores", {"index": index, "mask": mask_key(mask), "score": value, **seconds})
        return value

    def _restore_membranes(self) -> None:
        """Score again what was read back: without reset a score depends on all that came before it.

        The seconds that this takes are not those of a score, and not recorded.
        """
        for index, mask in enumerate(self.replayed):
            value, earlier = self._prepared(mask.space, index)(mask), self.earlier[index]["score"]
            if value != earlier:
                raise RunError(
                    f"score {index} in {self.stage.path} is {earlier}, computed again it is {value}: another machine "
                    "or other code. Choose another run folder."
                )
        self.replayed = []

    def _prepared(self, space: CellSpace, index: int) -> Scorer:
        """The scorer, built once; with ``fresh_batches`` it gets other images for every candidate."""
        scoring = self.preset.scoring
        if self._scorer is None:
            supernet = build_supernet(space, self.preset.network_config(self.splits), seed=self.seed).to(_device())
            options = {name: getattr(scoring, name) for name in ("proxy", "bn", "feedback", "reset")}
            self._scorer = Scorer(supernet=supernet, batches=self._batches(self.seed), **options)
        if scoring.fresh_batches and index:
            own = np.random.SeedSequence((self.seed, index))
            return replace(self._scorer, batches=self._batches(int(own.generate_state(1)[0])))
        return self._scorer

    def _batches(self, seed: int) -> tuple[torch.Tensor, ...]:
        sizes = {"batch_size": self.preset.scoring.batch_size, "num_batches": self.preset.scoring.num_batches}
        return tuple(batch.to(_device()) for batch in scoring_batches(self.splits.train, **sizes, seed=seed))


def stand_in_data(dataset: str, folder: str | Path) -> dict[str, object]:
    """Options with which ``data.load`` reads tiny made-up files of that set's real format, written on first use.

    For sets that are embedded there is nothing to make: {}. What is measured on made-up files is no result.
    """
    make = {
        "cifar10": lambda place: make_tiny_cifar(place, "cifar10", per_class=10),
        "cifar100": lambda place: make_tiny_cifar(place, "cifar100", per_class=5),
        "dvs128-gesture": make_tiny_gesture,
    }.get(dataset)
    if make is None:
        return {}
    place = Path(folder) / dataset
    if not place.is_dir():
        making = place.with_name(f".making-{dataset}-{os.getpid()}")
        make(making)
        making.rename(place)  # under its name when it is complete
    return {"folder": place} | ({"check": False} if dataset.startswith("cifar") else {})


def row_name(method: str, seed: int) -> str:
    """The stage of a row: ``lightsnn/seed0``."""
    return f"{method}/seed{seed}"


def run_rows(
    folder: RunFolder,
    preset: Preset,
    *,
    methods: Sequence[str],
    seeds: Sequence[int],
    data: Mapping[str, object] | None = None,
) -> Iterator[dict[str, object]]:
    """Run or go on with the rows of all methods and seeds, seed by seed, and yield each.

    A finished row is read back, one with other settings or data refused (``RunExistsError``). ``data`` goes to the
    loader, such as ``{"folder": ...}``. Data are loaded once per seed; each row counts the seconds as if alone.
    """
    for method in methods:
        get(method)  # an unknown name is told before any work
    for seed in seeds:
        loaded: tuple[Splits, float] | None = None
        for method in methods:
            settings = {"preset": preset.to_dict(), "method": method, "seed": seed}
            stage = folder.stage(row_name(method, seed), settings)
            if not stage.finished:
                loaded = loaded or _timed_load(preset, seed, data or {}, folder)
                stage.finish(_row(preset, method, seed, loaded, stage))
            yield stage.result


def _timed_load(preset: Preset, seed: int, data: Mapping[str, object], folder: RunFolder) -> tuple[Splits, float]:
    """The data and the seconds they took; ``RunExistsError`` if the folder has rows of others of that name."""
    started = time.perf_counter()
    splits = preset.load(seed=seed, **data)
    seconds = time.perf_counter() - started
    source = {"dataset": preset.dataset, "source": splits.source, "stand_in": splits.stand_in}
    if not (kept := folder.stage("data", source)).finished:
        kept.finish(source)
    return splits, seconds


def _row(preset: Preset, method: str, seed: int, loaded: tuple[Splits, float], stage: Stage) -> dict[str, object]:
    splits, load_seconds = loaded
    _take_over_scores(stage, method, seed)
    score, rng = RecordedScore(preset, splits, seed, stage), np.random.default_rng((seed, 5))
    options = {"budget": preset.budget, "keep_path": preset.scoring.keep_path}
    cell = choose(method, preset.cell_space, rng=rng, score=score, **options)
    search, trained = search_figures(stage), cell
    if (
        not preset.scoring.feedback
    ):  # released: never read, in training neither; what computing them costs is not counted
        trained = forward_part(cell)
    row = {"preset": preset.name, "dataset": preset.dataset, "method": method, "seed": seed, "cell": str(trained)}
    row |= {"chosen_cell": str(cell)} if trained != cell else {}
    row |= {"stand_in": splits.stand_in, "source": splits.source, "quick": preset.per_class is not None}
    row |= search | cell_figures(trained)
    row |= _taken_over(stage, trained) or train_and_test(preset, trained, splits, seed=seed, stage=stage)
    row["seconds"] = row["seconds"] | {"load": load_seconds, "search": search["search_seconds"]}
    return row


def _take_over_scores(stage: Stage, method: str, seed: int) -> None:
    """Copy the scores (with their seconds) of a finished row whose search is the same: none is computed twice."""
    twin = Stage(stage.path.parents[1] / row_name(get(method).same_scores_as or method, seed))
    if twin == stage or stage.records("scores") or not twin.finished:
        return
    if twin.settings["preset"] == stage.settings["preset"]:
        for record in twin.records("scores"):
            stage.append("scores", record)


def _taken_over(stage: Stage, cell: Cell) -> dict[str, object]:
    """What training and testing gave for a finished row of the same cell, preset and seed; {} if there is none.

    Its training would be repeated update by update. The row says whose it is, and has its seconds and its provenance
    (with its own). A stage with a training of its own goes on with that.
    """
    if stage.records("epochs"):
        return {}
    for path in sorted(stage.path.parents[1].glob(f"*/{stage.path.name}/result.json")):
        twin = Stage(path.parent)
        if twin.result["cell"] == str(cell) and twin.settings["preset"] == stage.settings["preset"]:
            for name, records in (("epochs", twin.records("epochs")), ("resumed", made_with(twin))):
                for record in records:
                    stage.append(name, record)
            told = {name: twin.result[name] for name in TRAINED if name in twin.result}
            return told | {"same_network_as": twin.result.get("same_network_as", twin.result["method"])}
    return {}


def search_figures(stage: Stage) -> dict[str, object]:
    """Number of scores, seconds of all of them with what was built for them, and the median of one."""
    scores = stage.records("scores")
    taken = [record["seconds"] for record in scores]
    return {
        "evaluations": len(scores),
        "search_seconds": sum(record["seconds"] + record["build_seconds"] for record in scores),
        "build_seconds": sum(record["build_seconds"] for record in scores),
        "first_score_seconds": taken[0] if taken else None,
        "score_seconds_median": statistics.median(taken) if taken else None,
    }


def cell_figures(cell: Cell) -> dict[str, object]:
    """What the cell itself tells: live convolutions and feedback edges, and its longest convolution path."""
    paths, live = cell.conv_path_lengths(), cell.live_edges
    return {
        "convs": cell.num_convs,
        "feedback_edges": sum(edge.is_backward for edge in live),
        "longest_conv_path": paths[1] if paths else None,
    }


def train_and_test(preset: Preset, cell: Cell, splits: Splits, *, seed: int, stage: Stage) -> dict[str, object]:
    """Train any cell under a preset, and test it: figures of a row. Goes on where an earlier run stopped.

    A training that diverges keeps its best epoch so far, and says so; without one it counts as untrained.
    """
    started, folder = time.perf_counter(), stage.path / "checkpoints"
    network = build_network(cell, preset.network_config(splits), seed=seed).to(_device())
    config, diverged = replace(preset.train, seed=seed), False
    try:
        for record in _new_epochs(fit(network, splits, config, folder=folder), stage):
            stage.append("epochs", asdict(record))
    except TrainingDivergedError:
        diverged = True
    epochs = stage.records("epochs")
    best = max(epochs, key=lambda epoch: epoch["val_accuracy"], default=None)
    if best:
        network = load_network(folder / "best.pt").to(_device())
    elif diverged:
        network = build_network(cell, preset.network_config(splits), seed=seed).to(_device())
    trained = time.perf_counter()
    figures = _test_figures(network, splits, preset) | {"diverged": diverged}
    figures |= {"epoch": best["epoch"], "val_accuracy": best["val_accuracy"]} if best else {}
    seconds = {"train": sum(epoch["seconds"] for epoch in epochs), "evaluate": time.perf_counter() - trained}
    seconds["train_and_checkpoints"] = trained - started
    return figures | {"seconds": seconds}


def _new_epochs(records: Iterator, stage: Stage) -> Iterator:
    """The epochs that the stage has not recorded: a resumed training yields the earlier ones again."""
    have = len(stage.records("epochs"))
    return (record for record in records if record.epoch > have)


def _test_figures(network: SpikingNetwork, splits: Splits, preset: Preset) -> dict[str, object]:
    """Accuracy on the whole test part, and counts on the first samples of a fixed shuffle of it."""
    answer = evaluate(network, splits.test, batch_size=preset.train.batch_size * 4, loss=preset.train.loss)
    chosen = np.random.default_rng(0).permutation(len(splits.test))[:ENERGY_SAMPLES]
    x = splits.test.batch(torch.from_numpy(chosen))[0]
    energy = measure_energy(network, x, batch_size=preset.train.batch_size).to_dict()
    counts = {"test_accuracy": answer.accuracy, "test_correct": answer.num_correct, "test_samples": answer.num_samples}
    return counts | {"parameters": network.num_parameters} | {name: energy[name] for name in COUNTED}


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
