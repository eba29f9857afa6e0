"""A score that is written down value by value, and read back where an interrupted search goes on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from contextlib import ExitStack, contextmanager
from functools import partial

import numpy as np
import torch

from ..data import Splits, scoring_batches
from ..files import RunError, reading
from ..networks import build_supernet
from ..records import mask_key
from ..scoring import Scorer
from ..spaces import CellSpace, OpMask
from ..workers import score_in_processes, workers_of
from .presets import Preset
from .runs import Stage

Timed = tuple[tuple[float, ...], dict[str, float]]  # values, and the seconds that they took
Compute = Callable[[list[OpMask], tuple[str, ...]], Iterator[Timed]]


def timed(score: Scorer, names: tuple[str, ...], *masks: OpMask) -> tuple[list[tuple[float, ...]], float]:
    """What a score says of masks, wherever that is, and the seconds that each took."""
    started, several = time.perf_counter(), len(masks) > 1
    if "synops" in names:
        found = list(score.many_with_synops(masks) if several else map(score.with_synops, masks))
    else:
        found = [(value,) for value in (score.many(masks) if several else map(score, masks))]
    return found, (time.perf_counter() - started) / len(masks)


class RecordedScore:
    """The score of a preset: each value goes to ``scores.jsonl`` of a stage; what is there is read, not computed again.

    The supernet is built when the first value is needed, for the first mask's space: pruning without backward edges
    scores masks of another space than the preset's. Without a stage nothing is written.
    """

    def __init__(
        self,
        preset: Preset,
        splits: Splits,
        seed: int,
        stage: Stage | None = None,
        *,
        device: str | torch.device = "cpu",
        tell: Callable[[], object] = lambda: None,
    ) -> None:
        self.preset, self.splits, self.seed, self.stage, self.device = preset, splits, seed, stage, device
        self.tell = tell  # is called after each value
        self.config = preset.scoring  # as a Scorer has it: a method with a score of its own looks at it
        self.earlier = stage.records("scores") if stage else []
        self.index = 0
        self._replayed: list[OpMask] = []  # read back, in case membranes must be brought to where they were
        self._scorer: Scorer | None = None

    def __call__(self, mask: OpMask) -> float:
        """The score, recorded or read back."""
        return next(self._take([mask], ("score",)))[0]

    @property
    def at_once(self) -> int:
        """How many masks are worth handing to ``many``: 1 where each depends on those before it."""
        if not self.config.reset or self.config.fresh_batches:
            return 1
        return torch.get_num_threads() if torch.device(self.device).type == "cpu" else 64

    def many(self, masks: Sequence[OpMask]) -> list[float]:
        """The scores of several masks; of those side by side the seconds that are recorded are their mean."""
        return [values[0] for values in self._take(masks, ("score",))]

    def with_synops(self, mask: OpMask) -> tuple[float, float]:
        """As `Scorer.with_synops`: both stand in one record."""
        return next(self._take([mask], ("score", "synops")))

    def many_with_synops(self, masks: Sequence[OpMask]) -> list[tuple[float, float]]:
        """``with_synops`` of several masks, as ``many``."""
        return list(self._take(masks, ("score", "synops")))

    @contextmanager
    def over(self, workers: int | str) -> Iterator[Executor | None]:
        """An executor whose ``map`` has other processes score (see ``workers.worker_processes``) and records here.

        They are asked for when the first value is needed. None without workers, and where a score depends on those
        before it or has images of its own (``reset=False``, ``fresh_batches``): such scores are taken here, one by one.
        """
        scoring = self.preset.scoring
        if not workers_of(workers) or scoring.fresh_batches or not scoring.reset:
            yield None
            return
        with ExitStack() as stack:
            yield _Elsewhere(self, workers, stack)

    def _take(
        self, masks: Iterable[OpMask], names: tuple[str, ...], compute: Compute | None = None
    ) -> Iterator[tuple[float, ...]]:
        """Values of masks in their order, each read back, or else computed and recorded before it is handed on."""
        masks = list(masks)
        for number, mask in enumerate(masks):
            if self.index >= len(self.earlier):
                yield from self._computed(masks[number:], names, compute or self._compute)
                return
            self.index += 1
            yield self._read_back(self.index - 1, mask, names)

    def _read_back(self, index: int, mask: OpMask, names: tuple[str, ...]) -> tuple[float, ...]:
        earlier = self.earlier[index]
        if (earlier.get("index", index), earlier.get("mask")) != (index, mask_key(mask)):
            raise RunError(
                f"score {index} in {self.stage.path} is of the mask {earlier.get('mask')!r:.80}, but the search "
                f"now asks for {mask_key(mask)!r}: code or file has changed since. Choose another run folder."
            )
        if not self.preset.scoring.reset:
            self._replayed.append(mask)
        with reading(f"score {index} in {self.stage.path}"):
            return tuple(float(earlier[name]) for name in names)

    def _computed(self, masks: list[OpMask], names: tuple[str, ...], compute: Compute) -> Iterator[tuple[float, ...]]:
        self._restore_membranes()
        for mask, (values, seconds) in zip(masks, compute(masks, names), strict=True):
            if self.stage:
                found = dict(zip(names, values, strict=True))
                self.stage.append("scores", {"index": self.index, "mask": mask_key(mask)} | found | seconds)
            self.index += 1
            self.tell()
            yield values

    def _compute(self, masks: list[OpMask], names: tuple[str, ...]) -> Iterator[Timed]:
        """The values here, as many side by side as the scorer takes, with the seconds of building and scoring each."""
        while masks:
            started = time.perf_counter()
            scorer = self.scorer(masks[0].space, self.index)
            count = 1 if self.config.fresh_batches else scorer.at_once
            (now, masks), built = (masks[:count], masks[count:]), time.perf_counter()
            values, seconds = timed(scorer, names, *now)
            for each in values:
                yield each, {"build_seconds": (built - started) / len(now), "seconds": seconds}

    def _restore_membranes(self) -> None:
        """Score again what was read back: without reset a score depends on all that came before it.

        The seconds that this takes are not those of a score, and not recorded.
        """
        for index, mask in enumerate(self._replayed):
            value, earlier = self.scorer(mask.space, index)(mask), self.earlier[index]["score"]
            if value != earlier:
                raise RunError(
                    f"score {index} in {self.stage.path} is {earlier}, computed again it is {value}: another machine "
                    "or other code. Choose another run folder."
                )
        self._replayed = []

    def scorer(self, space: CellSpace, index: int = 0) -> Scorer:
        """The scorer, built once; with ``fresh_batches`` it gets other images for every candidate."""
        scoring = self.preset.scoring
        if self._scorer is None:
            supernet = build_supernet(space, self.preset.network_config(self.splits), seed=self.seed).to(self.device)
            self._scorer = Scorer(supernet=supernet, batches=self._batches(self.seed), config=scoring)
        if scoring.fresh_batches and index:
            own = int(np.random.SeedSequence((self.seed, index)).generate_state(1)[0])
            return Scorer(supernet=self._scorer.supernet, batches=self._batches(own), config=scoring)
        return self._scorer

    def _batches(self, seed: int) -> tuple[torch.Tensor, ...]:
        sizes = {name: getattr(self.preset.scoring, name) for name in ("batch_size", "num_batches")}
        return tuple(batch.to(self.device) for batch in scoring_batches(self.splits.train, **sizes, seed=seed))


class _Elsewhere(Executor):
    """Maps a recorded score over workers: they compute, and each value is recorded here, in the order asked for."""

    def __init__(self, score: RecordedScore, workers: int | str, stack: ExitStack) -> None:
        self.score, self.workers, self.stack = score, workers, stack
        self._found: tuple[Callable, Executor] | None = None

    def map(self, score: Callable, masks: Iterable[OpMask]) -> Iterator:
        """As the recorded score, or its ``with_synops``, would say one by one."""
        if score == self.score.with_synops:
            return self.score._take(masks, ("score", "synops"), self._compute)
        return (values[0] for values in self.score._take(masks, ("score",), self._compute))

    def submit(self, score: Callable, mask: OpMask) -> Future:
        """One score more, taken at once."""
        future = Future()
        future.set_result(next(iter(self.map(score, [mask]))))
        return future

    def _compute(self, masks: list[OpMask], names: tuple[str, ...]) -> Iterator[Timed]:
        before = time.perf_counter()
        if self._found is None:
            scorer = self.score.scorer(masks[0].space)
            self._found = self.stack.enter_context(score_in_processes(scorer, workers=self.workers))
        (score, executor), built = self._found, time.perf_counter() - before
        for (values,), seconds in executor.map(partial(timed, score, names), masks):
            now = time.perf_counter()  # what was waited for tells the time left; the seconds are those of the worker
            yield values, {"build_seconds": built, "seconds": seconds, "waited": now - before}
            before, built = now, 0.0
