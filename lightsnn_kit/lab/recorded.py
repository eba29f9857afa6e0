"""A score that is written down value by value, and read back where an interrupted search goes on."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import torch

from ..data import Splits, scoring_batches
from ..files import RunError, reading
from ..networks import build_supernet
from ..records import mask_key
from ..scoring import Scorer
from ..spaces import CellSpace, OpMask
from .presets import Preset
from .runs import Stage


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
    ) -> None:
        self.preset, self.splits, self.seed, self.stage, self.device = preset, splits, seed, stage, device
        self.config = preset.scoring  # as a Scorer has it: a method with a score of its own looks at it
        self.earlier = stage.records("scores") if stage else []
        self.index = 0
        self._replayed: list[OpMask] = []  # read back, in case membranes must be brought to where they were
        self._scorer: Scorer | None = None

    def __call__(self, mask: OpMask) -> float:
        """The score, recorded or read back."""
        return self._take(mask, ("score",))[0]

    @property
    def at_once(self) -> int:
        """How many masks are worth handing to ``many``: 1 on the CPU, and where each depends on those before it."""
        alike = self.config.reset and not self.config.fresh_batches
        return 64 if alike and torch.device(self.device).type != "cpu" else 1

    def many(self, masks: Sequence[OpMask]) -> list[float]:
        """The scores of several masks; on a GPU as many side by side, and then written down, as its scorer takes."""
        values, masks = [], list(masks)
        while masks:
            if self.at_once == 1 or self.index < len(self.earlier):
                values.append(self(masks.pop(0)))
                continue
            started = time.perf_counter()
            scorer = self.scorer(masks[0].space)
            now, masks = masks[: scorer.at_once], masks[scorer.at_once :]
            values += self._together(scorer, now, time.perf_counter() - started)
        return values

    def _together(self, scorer: Scorer, masks: Sequence[OpMask], build_seconds: float) -> list[float]:
        """The scores of these masks, recorded one by one; the seconds of each are their mean."""
        started = time.perf_counter()
        values = scorer.many(masks)
        seconds = (time.perf_counter() - started) / len(masks)
        for mask, value in zip(masks, values, strict=True):
            if self.stage:
                found = {"index": self.index, "mask": mask_key(mask), "score": value}
                self.stage.append("scores", found | {"build_seconds": build_seconds, "seconds": seconds})
            self.index, build_seconds = self.index + 1, 0.0
        return values

    def with_synops(self, mask: OpMask) -> tuple[float, float]:
        """As `Scorer.with_synops`: both stand in one record."""
        return self._take(mask, ("score", "synops"))

    def _take(self, mask: OpMask, names: tuple[str, ...]) -> tuple[float, ...]:
        index, self.index = self.index, self.index + 1
        if index < len(self.earlier):
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
        self._restore_membranes()
        started = time.perf_counter()
        scorer = self.scorer(mask.space, index)
        built = time.perf_counter()
        values = scorer.with_synops(mask) if "synops" in names else (scorer(mask),)
        seconds = {"build_seconds": built - started, "seconds": time.perf_counter() - built}
        if self.stage:
            found = dict(zip(names, values, strict=True))
            self.stage.append("scores", {"index": index, "mask": mask_key(mask)} | found | seconds)
        return values

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
