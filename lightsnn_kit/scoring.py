"""Training-free scores: record spikes, compare the samples' patterns, take a log-determinant.

``Scorer`` is what a search calls. Its plain engine is one pass of the supernet with hooks on the LIF layers, as the
papers describe it; its fast engine gives the same integers sooner (see ``exact`` for why they are the same).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from torch import Tensor

from .blocks import tell_own
from .checks import check_new, flag, make_plain, not_registered
from .exact import LatticeConv2d, check_exact
from .kernels import SpikeStatistics, log_det
from .networks import SpikingNetwork, reset_state
from .recording import (
    Passes,
    as_network,
    check_mask,
    check_weights,
    own_state,
    record_potentials,
    record_spikes,
    scoring_mode,
    spike_statistics,
)
from .spaces import OpMask

if TYPE_CHECKING:
    from .fast.engine import Engine


def _check_batches(supernet: SpikingNetwork, batches: Sequence[Tensor]) -> None:
    if not len(batches):
        raise ValueError("scoring needs at least one batch; see data.scoring_batches.")
    for batch in batches:
        supernet.check_input(batch)
        if batch.shape[-4] < 2:
            raise ValueError("a score compares samples: a scoring batch needs at least 2, got 1.")
        if not torch.isfinite(batch).all():
            raise ValueError("a scoring batch holds NaN or infinite values; clean the data first.")
        stem = supernet.stem[0]
        if isinstance(stem, LatticeConv2d) and not batch.is_floating_point():  # real values are not claimed exact
            largest = float((batch.amax() - supernet.input_centre.amin()).abs().maximum(supernet.input_centre.amax()))
            check_exact("stem", stem.weight[0].numel(), max_input=largest)


@dataclass(frozen=True, kw_only=True)
class ScoringConfig:
    """All settings of a score; the comments name what the released LightSNN code does instead.

    >>> ScoringConfig(bn="running").num_batches
    2
    """

    proxy: str = "sahd"  # a name of PROXIES
    bn: str = "batch"  # released: 'running', where BN is the identity and activity dies
    feedback: bool = True  # released: False, backward values are counted but never read
    reset: bool = True  # released: False, membranes carry over from candidate to candidate
    engine: str = "auto"  # 'fast' gives the integers of 'plain' (lattice weights) in a fraction of the time
    batch_size: int = 64  # samples that a score compares
    num_batches: int = 2  # a score is the mean over these
    fresh_batches: bool = False  # released: True, every candidate sees other images

    def __post_init__(self) -> None:
        if self.proxy not in PROXIES:
            raise not_registered("proxy", self.proxy, PROXIES, "register_score")
        for name, choices in (("bn", ("batch", "running")), ("engine", ("auto", "plain", "fast"))):
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} must be {' or '.join(map(repr, choices))}, got {getattr(self, name)!r}.")
        make_plain(self, wholes={"batch_size": 2, "num_batches": 1}, reals={})
        for name in ("feedback", "reset", "fresh_batches"):
            object.__setattr__(self, name, flag(name, getattr(self, name)))
        if self.engine == "fast" and not self.reset:
            raise ValueError("the fast engine always starts from reset states; use engine='plain' with reset=False.")


T = TypeVar("T")
TOGETHER = 8  # masks at least whose passes are kept at a time: [B, B] of each layer and step would add up
_ONE_AT_A_TIME = threading.RLock()  # buffers, hooks and states are shared: threads take turns, processes do not


class Scorer:
    """A score with its weights, batches and settings: call it with a mask; every candidate sees the same.

    ``settings`` are fields of ``ScoringConfig``, changes of ``config`` where that is given (its batch sizes are for
    whoever draws the batches). The state is reset for every score unless ``reset=False``, so no score depends on what
    came before it. The fast engine prepares the weights once: build a new ``Scorer`` after changing them.

    >>> from lightsnn_kit.networks import NetworkConfig, build_supernet
    >>> config = NetworkConfig(input_shape=(1, 8, 8), num_classes=2, width=4, hidden=8)
    >>> x = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    >>> score = Scorer(supernet=build_supernet("lightsnn", config), batches=(x,))
    >>> full = score.supernet.design.full_mask()
    >>> score(full) == score(full)
    True
    """

    def __init__(
        self, *, supernet: SpikingNetwork, batches: Sequence[Tensor], config: ScoringConfig | None = None, **settings
    ) -> None:
        self.supernet = supernet = check_weights(as_network(supernet))
        self.batches = tuple(torch.as_tensor(batch).detach() for batch in batches)
        self.config = replace(config or ScoringConfig(), **settings)
        if self.config.engine == "fast":
            from .fast.engine import check_supported

            check_supported(supernet)
        _check_batches(supernet, self.batches)
        self._passes = Passes()

    def __call__(self, mask: OpMask) -> float:
        return PROXIES[self.config.proxy](self, mask)

    @property
    def at_once(self) -> int:
        """How many masks are worth handing to ``many`` together: one for each thread, on a GPU as many as fill it."""
        with _ONE_AT_A_TIME:  # it may have to be built
            return 1 if self._engine is None else self._engine.at_once

    def many(self, masks: Sequence[OpMask]) -> list[float]:
        """The scores of several masks, the same bits as one by one; their passes are computed side by side."""
        kind = self.config.proxy
        with _ONE_AT_A_TIME:
            log_dets = getattr(self._engine, "log_dets", None)
        if log_dets is None or kind not in ("sahd", "hd"):
            return self._side_by_side(self, masks)
        for mask in masks:
            check_mask(self.supernet, mask)
        with _ONE_AT_A_TIME:
            scores = [log_dets(masks, i, feedback=self.config.feedback, kind=kind) for i in range(len(self.batches))]
        return [float(np.mean(each)) for each in zip(*scores, strict=True)]

    def with_synops(self, mask: OpMask) -> tuple[float, float]:
        """The score of a cell's mask and its ``energy.mean_synops``, from the same passes."""
        from .energy import mean_synops

        with self._together((mask,)):
            cell = mask.to_cell() if self.config.feedback else mask.to_cell().forward_part()
            score, passes = self(mask), self.statistics(mask)
            return score, mean_synops(self.supernet.config, cell, [one.firing_rate for one in passes])

    def many_with_synops(self, masks: Sequence[OpMask]) -> list[tuple[float, float]]:
        """``with_synops`` of several masks, their passes side by side."""
        return self._side_by_side(self.with_synops, masks)

    def _side_by_side(self, score: Callable[[OpMask], T], masks: Sequence[OpMask]) -> list[T]:
        found, count = [], max(TOGETHER, self.at_once)
        for start in range(0, len(masks), count):
            now = masks[start : start + count]
            with self._together(now):
                found += map(score, now)
        return found

    @contextmanager
    def _together(self, masks: Sequence[OpMask]) -> Iterator[None]:
        """Inside, the first call of ``statistics`` for one of the masks computes those of all, unless order matters."""
        for mask in masks:
            check_mask(self.supernet, mask)
        with self._passes.of(masks if self.config.reset or len(masks) == 1 else ()):
            yield

    def statistics(self, mask: OpMask, *, patterns: bool = False) -> tuple[SpikeStatistics, ...]:
        """The spike statistics of a mask, one per batch; with ``patterns`` different columns are counted, too."""
        check_mask(self.supernet, mask)
        return self._passes.take(mask, patterns, self._compute)

    def _compute(self, masks: Sequence[OpMask], patterns: bool) -> list[tuple[SpikeStatistics, ...]]:
        options = {"feedback": self.config.feedback, "patterns": patterns}
        with _ONE_AT_A_TIME:
            if self._engine is not None:
                passes = (self._engine.run_many(masks, index, **options) for index in range(len(self.batches)))
                return list(zip(*passes, strict=True))
            options |= {"bn": self.config.bn, "reset": self.config.reset}
            return [tuple(spike_statistics(self.supernet, mask, x, **options) for x in self.batches) for mask in masks]

    def record(self, mask: OpMask, *, samples: int = 16) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Spikes and potentials [T, B, ...] of each of ``spiking_layers``, for the first samples of the first batch.

        Batch statistics are of these samples alone, so spikes may differ a little from those that are scored.
        """
        check_mask(self.supernet, mask)
        batch = self.batches[0].narrow(-4, 0, min(samples, self.batches[0].shape[-4]))
        layers, network = spiking_layers(mask, feedback=self.config.feedback), self.supernet
        with _ONE_AT_A_TIME, own_state(network, grad=False), scoring_mode(network, self.config.bn):
            with record_potentials(network) as potentials, record_spikes(network) as spikes:
                network(batch.to(network.input_centre.device), mask=mask, feedback=self.config.feedback)
            reset_state(network)
        return tuple({name: record[name] for name in layers} for record in (spikes, potentials))

    @property
    def engine_used(self) -> str:
        """Which code scores: 'plain', or the fast engine's back end."""
        return "plain" if self._engine is None else self._engine.name

    @cached_property
    def _engine(self) -> Engine | None:
        """Built at first use; never pickled."""
        if self.config.engine == "plain" or not self.config.reset:
            return None
        tell_own(self.supernet, "the plain engine scores, as the fast one does not know it.")
        from .fast.choice import make_engine

        try:
            return make_engine(self.supernet, self.batches, bn=self.config.bn)
        except ValueError:  # 'fast' has raised it before: this is 'auto'
            return None

    def __getstate__(self) -> dict:
        return {name: value for name, value in self.__dict__.items() if name != "_engine"}


@dataclass(frozen=True)
class Measures:
    """What one pass per batch tells of a mask.

    ``sahd``, ``hd``: log|det K|, mean over the batches; ``kernels``: K [B, B] of the first batch by kind, float64;
    ``firing_rate``: spikes per neuron and step [T] by LIF layer, mean over samples and batches; ``swap``: mean over
    the batches, None if patterns were not asked for.
    """

    sahd: float
    hd: float
    kernels: dict[str, Tensor]
    firing_rate: dict[str, Tensor]
    swap: float | None = None

    @property
    def mean_firing_rate(self) -> float:
        """Mean over the counted LIF layers and the steps."""
        return float(torch.stack([rate.mean() for rate in self.firing_rate.values()]).mean())


def measure(scorer: Scorer, mask: OpMask, *, patterns: bool = False) -> Measures:
    """The scores of spikes, the kernels and the firing rates of a mask, from the passes that one score takes."""
    passes = scorer.statistics(mask, patterns=patterns)
    kernels = {kind: [one.kernel(kind) for one in passes] for kind in ("sahd", "hd")}
    scores = {kind: float(np.mean([log_det(kernel) for kernel in each])) for kind, each in kernels.items()}
    scores["swap"] = _mean_swap(passes, scorer, mask) if patterns else None
    rates = {name: sum(one.firing_rate[name] for one in passes) / len(passes) for name in passes[0].firing_rate}
    return Measures(**scores, kernels={kind: each[0] for kind, each in kernels.items()}, firing_rate=rates)


def count_parameters(supernet: SpikingNetwork, mask: OpMask) -> int:
    """Learnable parameters of the network with the mask's alive ops, on edges that reach nothing, too.

    Of ``OpMask.from_cell(cell.live(), space)`` it is what ``build_network`` builds, which leaves those edges out.
    """
    supernet = as_network(supernet)
    check_mask(supernet, mask)
    pruned = [f"{edge}:{op}" for edge, alive in mask.items() for op in mask.space.ops if op not in alive]
    convs = [(edge, op) for edge, alive in mask.items() for op in alive if op.is_conv]
    first = {edge.source: (edge, op) for edge, op in reversed(convs)}  # neurons that learn are one layer per node
    again = [f"{edge}:{op}" for edge, op in convs if first[edge.source] != (edge, op)]
    cells = (supernet.cell1, supernet.cell2)
    gone = [cell.ops[key] for cell in cells for key in pruned if key in cell.ops]
    gone += [cell.ops[key][0] for cell in cells for key in again]
    return supernet.num_parameters - sum(p.numel() for op in gone for p in op.parameters())


def spiking_layers(mask: OpMask, *, feedback: bool = True) -> tuple[str, ...]:
    """The LIF layers of what a mask leaves, each once, as in a network of ``build_network``.

    LIF layers fed by one node show the same spikes, so the first of them stands for all; those whose convolution
    reaches nothing (with ``feedback=False``: those of backward edges) are left out.

    >>> from lightsnn_kit.cells import Cell
    >>> spiking_layers(OpMask.from_cell(Cell.parse("|conv3x3~0|+|conv3x3~0|conv3x3~1|")))[:2]
    ('cell1.ops.1<-0:conv3x3.0', 'cell1.ops.2<-1:conv3x3.0')
    """
    skeleton = mask.skeleton()
    live = set((skeleton if feedback else skeleton.forward_part()).live_edges)
    convs = [(edge, op) for edge, ops in mask.items() for op in ops if op.is_conv and edge in live]
    first = {edge.source: f"{edge}:{op}" for edge, op in reversed(convs)}
    inner = [f"cell{cell}.ops.{first[node]}.0" for cell in (1, 2) for node in sorted(first)]
    return (*inner, "down.1", "last.1", "classifier.2")


def _mean_swap(passes: Sequence[SpikeStatistics], scorer: Scorer, mask: OpMask) -> float:
    layers = spiking_layers(mask, feedback=scorer.config.feedback)
    return float(np.mean([one.distinct_columns(layers) for one in passes]))


def _firing_rate(scorer: Scorer, mask: OpMask) -> float:
    """Spikes per neuron and step, averaged over the counted LIF layers, the steps and the batches."""
    rates = [rate.mean() for s in scorer.statistics(mask) for rate in s.firing_rate.values()]
    return float(torch.stack(rates).mean())


PROXIES: dict[str, Callable[[Scorer, OpMask], float]] = {
    "sahd": lambda scorer, mask: float(np.mean([log_det(one.kernel()) for one in scorer.statistics(mask)])),
    "hd": lambda scorer, mask: float(np.mean([log_det(one.kernel("hd")) for one in scorer.statistics(mask)])),
    "swap": lambda scorer, mask: _mean_swap(scorer.statistics(mask, patterns=True), scorer, mask),
    "params": lambda scorer, mask: float(count_parameters(scorer.supernet, mask)),
    "convs": lambda scorer, mask: float(mask.num_conv_ops),
    "firing_rate": _firing_rate,
}
"""Training-free scores by name, for ``ScoringConfig(proxy=name)``; larger is better, −inf for a dead cell.

SAHD and HD: log|det K| of the supernet restricted to a mask, K averaged over every LIF of an alive convolution, the
downsampling, the last activation and the hidden layer, and over steps; then the mean over the batches. Scores of
different batch sizes or depths do not compare.

SWAP (Peng et al., ICLR 2024, arXiv 2403.04161; here of spikes): Σ_l Σ_t |{(c_1n, …, c_Bn) : n = 1 … N_l}|, how many
different patterns the neurons of a LIF layer l show across the batch at step t; mean over the batches. Unlike above,
each neuron of the network that would be built counts, and counts once (``spiking_layers``). The pattern of silence is
one, too: a dead cell has a small count, not −inf.
"""
_KIT = tuple(PROXIES)


def register_score(name: str, score: Callable[[Scorer, OpMask], float], *, replace: bool = False) -> None:
    """Make a score of your own known by a name, in this process, for ``ScoringConfig(proxy=name)``; larger is better.

    ``score(scorer, mask)`` may use ``statistics(mask)``, ``supernet``, ``batches`` and ``config`` of the scorer. A
    search takes any callable ``OpMask -> float``; one with a name stands in settings, run folders and records, too.
    ``ValueError`` for a name that is taken or malformed.

    >>> register_score("silence", lambda scorer, mask: -PROXIES["firing_rate"](scorer, mask))
    >>> ScoringConfig(proxy="silence").proxy, PROXIES.pop("silence") is not None
    ('silence', True)
    """
    check_new("score", name, score, known=PROXIES, kept=_KIT, replace=replace)
    PROXIES[name] = score
