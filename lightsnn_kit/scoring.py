"""Training-free scores: record spikes, compare the samples' patterns, take a log-determinant.

``Scorer`` is what a search calls. Its plain engine is one pass of the supernet with hooks on the LIF layers, as the
papers describe it; its fast engine gives the same integers sooner (see ``exact`` for why they are the same).
"""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from .cells import Op
from .checks import unknown
from .exact import LatticeConv2d, check_exact
from .kernels import MAX_NEURONS, SpikeStatistics, log_det, pattern_distances
from .networks import SpikingNetwork, reset_state
from .recording import record_spikes, scoring_mode
from .spaces import OpMask

if TYPE_CHECKING:
    from .fast import Engine


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


def _check_mask(supernet: SpikingNetwork, mask: OpMask) -> None:
    if mask.space != supernet.design:
        raise ValueError(
            f"the mask belongs to {mask.space}, the supernet to {supernet.design}; build one for the other."
        )


@torch.no_grad()
def spike_statistics(
    supernet: SpikingNetwork,
    mask: OpMask,
    batch: Tensor,
    *,
    bn: str = "batch",
    feedback: bool = True,
    reset: bool = True,
) -> SpikeStatistics:
    """Run the supernet once on a batch and count spikes and Hamming distances of every LIF and step.

    The plain, obviously correct scorer. ``bn='running'``, ``feedback=False`` and ``reset=False`` reproduce the
    published code's behaviour.
    """
    _check_mask(supernet, mask)
    neurons: dict[str, int] = {}
    found: dict[str, list[tuple[Tensor, Tensor]]] = {}

    def count(name: str, spikes: Tensor) -> None:
        c = spikes.flatten(1)  # [B, N]
        neurons[name] = c.shape[1]
        found.setdefault(name, []).append((c.sum(1).to(torch.int64), pattern_distances(c)))

    with scoring_mode(supernet, bn), record_spikes(supernet, on_spikes=count):
        supernet(batch.to(supernet.input_centre.device), reset=reset, mask=mask, feedback=feedback)
    if max(neurons.values()) >= MAX_NEURONS:
        raise ValueError(f"a LIF layer has {max(neurons.values())} neurons; counts are exact below 2**24 only.")
    counts, distances = (torch.stack([torch.stack([s[i] for s in steps]) for steps in found.values()]) for i in (0, 1))
    return SpikeStatistics(tuple((name,) for name in found), torch.tensor(list(neurons.values())), counts, distances)


_ONE_AT_A_TIME = threading.RLock()  # buffers, hooks and states are shared: threads take turns, processes do not


@dataclass(frozen=True, kw_only=True)
class Scorer:
    """A score with its weights, batches and settings: call it with a mask; every candidate sees the same.

    The state is reset for every score unless ``reset=False``, so no score depends on what came before it.
    ``engine``: 'fast' gives the same integers as 'plain' (networks with lattice weights) in a fraction of the time;
    'auto' takes it where it can. It prepares the weights once: build a new ``Scorer`` after changing them.

    >>> from lightsnn_kit.networks import NetworkConfig, build_supernet
    >>> from lightsnn_kit.spaces import SPACES
    >>> space, config = SPACES["lightsnn"], NetworkConfig(input_shape=(1, 8, 8), num_classes=2, width=4, hidden=8)
    >>> x = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    >>> score = Scorer(supernet=build_supernet(space, config), batches=(x,))
    >>> score(space.full_mask()) == score(space.full_mask())
    True
    """

    supernet: SpikingNetwork
    batches: tuple[Tensor, ...]
    proxy: str = "sahd"
    bn: str = "batch"  # 'running' reproduces the published code
    feedback: bool = True  # False: backward values are never read, as in the published code
    reset: bool = True  # False: membranes carry over between candidates, as in the published code
    engine: str = "auto"

    def __post_init__(self) -> None:
        if self.proxy not in PROXIES:
            raise unknown("proxy", self.proxy, PROXIES)
        if self.bn not in ("batch", "running"):
            raise ValueError(f"bn must be 'batch' or 'running', got {self.bn!r}.")
        if self.engine not in ("auto", "plain", "fast"):
            raise ValueError(f"engine must be 'auto', 'plain' or 'fast', got {self.engine!r}.")
        if self.engine == "fast" and not self.reset:
            raise ValueError("the fast engine always starts from reset states; use engine='plain' with reset=False.")
        if self.engine == "fast":
            from .fast import check_supported

            check_supported(self.supernet)
        object.__setattr__(self, "batches", tuple(self.batches))
        _check_batches(self.supernet, self.batches)

    def __call__(self, mask: OpMask) -> float:
        return PROXIES[self.proxy](self, mask)

    def statistics(self, mask: OpMask) -> tuple[SpikeStatistics, ...]:
        """The spike statistics of a mask, one per batch."""
        _check_mask(self.supernet, mask)
        settings = {"bn": self.bn, "feedback": self.feedback, "reset": self.reset}
        with _ONE_AT_A_TIME:
            if self._engine is not None:
                return tuple(self._engine.run(mask, i, feedback=self.feedback) for i in range(len(self.batches)))
            return tuple(spike_statistics(self.supernet, mask, batch, **settings) for batch in self.batches)

    @property
    def engine_used(self) -> str:
        """Which code scores: 'plain', or the fast engine's back end."""
        return "plain" if self._engine is None else self._engine.name

    @cached_property
    def _engine(self) -> Engine | None:
        """Built at first use; never pickled."""
        if self.engine == "plain" or not self.reset:
            return None
        from .fast import make_engine

        try:
            return make_engine(self.supernet, self.batches, bn=self.bn)
        except ValueError:  # 'fast' has raised it before: this is 'auto'
            return None

    def __getstate__(self) -> dict:
        return {name: value for name, value in self.__dict__.items() if name != "_engine"}


def _mean_log_det(scorer: Scorer, mask: OpMask, kind: str) -> float:
    return float(np.mean([log_det(s.kernel(kind)) for s in scorer.statistics(mask)]))


def _firing_rate(scorer: Scorer, mask: OpMask) -> float:
    """Spikes per neuron and step, averaged over the counted LIF layers, the steps and the batches."""
    rates = [rate.mean() for s in scorer.statistics(mask) for rate in s.firing_rate.values()]
    return float(torch.stack(rates).mean())


def _num_parameters(scorer: Scorer, mask: OpMask) -> float:
    """Learnable parameters of the network with the mask's alive ops, on dead edges too."""
    _check_mask(scorer.supernet, mask)
    pruned = 0
    for cell in (scorer.supernet.cell1, scorer.supernet.cell2):
        for edge, alive in mask.items():
            gone = [f"{edge}:{op}" for op in mask.space.ops if op not in alive and op is not Op.ZEROIZE]
            pruned += sum(p.numel() for key in gone for p in cell.ops[key].parameters())
    return float(scorer.supernet.num_parameters - pruned)


def _num_convs(scorer: Scorer, mask: OpMask) -> float:
    """Convolutions alive in the mask (in one cell), on dead edges too."""
    return float(sum(op.is_conv for _, alive in mask.items() for op in alive))


PROXIES: dict[str, Callable[[Scorer, OpMask], float]] = {
    "sahd": lambda scorer, mask: _mean_log_det(scorer, mask, "sahd"),
    "hd": lambda scorer, mask: _mean_log_det(scorer, mask, "hd"),
    "params": _num_parameters,
    "convs": _num_convs,
    "firing_rate": _firing_rate,
}
"""Training-free scores by name, for ``Scorer(proxy=name)``."""


def sahd_score(supernet: SpikingNetwork, mask: OpMask, batches: Sequence[Tensor], **settings) -> float:
    """log|det K| of the supernet restricted to a mask, averaged over the batches; larger is better, −inf if dead.

    K is the SAHD kernel averaged over every LIF of an alive convolution, the downsampling, the last activation and
    the hidden layer, and over steps. ``settings`` go to ``Scorer``. Scores of different batch sizes or depths do not
    compare.

    >>> from lightsnn_kit.networks import NetworkConfig, build_supernet
    >>> from lightsnn_kit.spaces import SPACES
    >>> space, config = SPACES["lightsnn"], NetworkConfig(input_shape=(1, 8, 8), num_classes=2, width=4, hidden=8)
    >>> x = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    >>> sahd_score(build_supernet(space, config), space.full_mask(), [x], engine="plain") < 10
    True
    """
    return Scorer(supernet=supernet, batches=tuple(batches), **settings)(mask)


_worker_scorer: Scorer | None = None  # one per worker process


def _start_worker(scorer: Scorer, threads: int) -> None:
    global _worker_scorer
    torch.set_num_threads(threads)
    _worker_scorer = scorer


def _worker_score(mask: OpMask) -> float:
    return _worker_scorer(mask)


@contextmanager
def score_in_processes(scorer: Scorer, *, workers: int) -> Iterator[tuple[Callable[[OpMask], float], Executor]]:
    """A (score, executor) pair for ``prune_search`` that scores in worker processes, with the same bits.

    The weights travel once per worker. The processor's threads are shared out among the workers. ``ValueError`` with
    ``reset=False``: each worker would have membranes of its own.
    """
    if not scorer.reset:
        raise ValueError("workers give the same bits only if states are reset; with reset=False score in one process.")
    if not isinstance(workers, int) or workers < 1:
        raise ValueError(f"workers must be a positive integer, got {workers!r}.")
    reset_state(scorer.supernet)  # what an earlier pass left does not travel
    threads = max(1, torch.get_num_threads() // workers)
    context = multiprocessing.get_context("spawn")  # a forked torch may hang on its threads
    with ProcessPoolExecutor(workers, context, _start_worker, (scorer, threads)) as executor:
        yield _worker_score, executor
