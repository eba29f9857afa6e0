"""Where and what the studies of scores measure: a small network, the kit's scores, candidates that became no option.

Each candidate is one line of reasoning about what a good untrained cell should look like; notebook 02 says how they
did. They read one batch with its labels.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lightsnn_kit.cells import Cell
from lightsnn_kit.data import Splits, load, scoring_batches
from lightsnn_kit.kernels import pattern_distances
from lightsnn_kit.lab.runs import Stage
from lightsnn_kit.networks import NetworkConfig, SpikingNetwork, build_network, build_supernet
from lightsnn_kit.recording import record_spikes, scoring_mode
from lightsnn_kit.scoring import Scorer, measure
from lightsnn_kit.spaces import CellSpace, OpMask
from studies.from_papers import whole_patterns, zico

Values = dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """The small network and the batch on which scores are taken."""

    dataset: str = "cifar10"  # as the benchmark's accuracies
    width: int = 8
    batch_size: int = 32
    num_steps: int = 5
    pool: str = "avg"  # as the benchmark's networks
    hidden: int = 64
    split_seed: int = 0

    @cached_property
    def splits(self) -> Splits:
        """The data, loaded once."""
        return load(self.dataset, seed=self.split_seed)

    @cached_property
    def config(self) -> NetworkConfig:
        """The network for these data."""
        sizes = {"width": self.width, "num_steps": self.num_steps, "pool": self.pool, "hidden": self.hidden}
        return NetworkConfig(**sizes, **self.splits.network_settings())

    def scorer(
        self, space: CellSpace, seed: int, *, images: int | None = None, num_batches: int = 1, **settings
    ) -> Scorer:
        """A scorer whose weights and batches are drawn with the seed, the batches with the seed ``images`` if given."""
        sizes = {"batch_size": self.batch_size, "num_batches": num_batches}
        batches = scoring_batches(self.splits.train, **sizes, seed=seed if images is None else images)
        return Scorer(supernet=build_supernet(space, self.config, seed=seed), batches=batches, **settings)

    def labelled_batches(self, seed: int, count: int = 2) -> list[tuple[Tensor, Tensor]]:
        """Batches of samples [B, C, H, W] and labels [B] drawn with the seed, no sample twice."""
        order = np.random.RandomState(seed).permutation(len(self.splits.train))[: count * self.batch_size]
        return [self.splits.train.batch(part) for part in torch.from_numpy(order).chunk(count)]


def score_records(
    cells: Sequence[Cell],
    seeds: Sequence[int],
    scores: Callable[[int], Callable[[Cell], Values]],
    *,
    stage: Stage | None = None,
) -> list[dict[str, object]]:
    """One record per cell and seed: what ``scores(seed)`` says of the cell, and the seconds that took.

    With ``stage`` each goes to its ``scores.jsonl``, and what is there is read, not computed again.

    >>> cell = Cell.parse("|conv3x3~0|")
    >>> [record["values"] for record in score_records([cell], [3], lambda seed: lambda cell: {"seed": seed})]
    [{'seed': 3}]
    """
    known = {(record["cell"], record["seed"]): record for record in (stage.records("scores") if stage else ())}
    for seed in seeds:
        scores_of = None  # drawing weights takes time: only where something is missing
        for cell in (cell for cell in cells if (str(cell), seed) not in known):
            scores_of, started = scores_of or scores(seed), time.perf_counter()
            record = {"cell": str(cell), "seed": seed, "values": scores_of(cell)}
            record["seconds"] = time.perf_counter() - started
            known[str(cell), seed] = record
            if stage:
                stage.append("scores", record)
    return [known[str(cell), seed] for seed in seeds for cell in cells]


def kit_scores(scorers: Sequence[Scorer], mask: OpMask) -> Values:
    """SAHD, HD, SWAP and firing rate from one pass per scorer, named with its kind of batch normalisation."""
    found = {}
    for scorer in scorers:
        passes, bn = measure(scorer, mask, patterns=True), scorer.config.bn
        values = {"sahd": passes.sahd, "hd": passes.hd, "swap": passes.swap, "firing": passes.mean_firing_rate}
        found |= {f"{name}_{bn}": value for name, value in values.items()}
    return found


def candidate_scores(
    cell: Cell, config: NetworkConfig, batches: Sequence[tuple[Tensor, Tensor]], *, seed: int
) -> Values:
    """Scores of the discrete network of a cell, from one forward and one backward pass with batch statistics.

    ``alignment``: centred alignment (Cortes et al. 2012) of the spike-count kernel behind cell 2 with the labels'
    kernel; ``effective_rank``: exp of the entropy of that kernel's spectrum; ``pattern_hd``: log det of the mean
    normalised Hamming kernel behind cell 1, + 1e-3 on the diagonal; ``gradient``: norm of the cross-entropy's gradient
    in the cells' weights, through the surrogate; ``snip``: Σ |weight · gradient| of all layers (Lee et al. 2019);
    ``swap_whole``: different patterns of the whole network. With more batches than one also ``zico``, from all.
    """
    network = build_network(cell, config, seed=seed)
    with scoring_mode(network, "batch"):
        with record_spikes(network) as spikes:
            gradients = [_gradients(network, *batches[0])]
        gradients += [_gradients(network, *batch) for batch in batches[1:]]
    counts = spikes["last.1"].sum(0, dtype=torch.float64).flatten(1)  # [B, N]
    kernel, labels = _centred(counts @ counts.T), batches[0][1]
    first, weights = gradients[0], dict(network.named_parameters())
    in_cells = [gradient.square().sum() for name, gradient in first.items() if name.startswith("cell")]
    found = {
        "alignment": alignment(kernel, _centred((labels[:, None] == labels).double())),
        "effective_rank": effective_rank(kernel),
        "pattern_hd": _pattern_hd(spikes["down.1"]),
        "gradient": float(torch.stack(in_cells).sum().sqrt()) if in_cells else 0.0,
        "snip": float(sum((gradient * weights[name]).abs().sum() for name, gradient in first.items()).detach()),
        "swap_whole": whole_patterns(spikes.values()),
    }
    return found | ({"zico": zico(gradients)} if len(gradients) > 1 else {})


def _gradients(network: SpikingNetwork, x: Tensor, y: Tensor) -> dict[str, Tensor]:
    """The cross-entropy's gradient in every weight of a convolution or linear layer, through the surrogate."""
    network.zero_grad(set_to_none=True)
    F.cross_entropy(network(x), y).backward()
    return {name: p.grad for name, p in network.named_parameters() if p.dim() > 1 and p.grad is not None}


def _centred(kernel: Tensor) -> Tensor:
    return kernel - kernel.mean(0) - kernel.mean(1, keepdim=True) + kernel.mean()


def alignment(kernel: Tensor, labels: Tensor) -> float:
    """⟨K, L⟩ / (‖K‖·‖L‖) of two centred kernels; 0 if one vanishes.

    >>> alignment(torch.eye(2), torch.eye(2)), alignment(torch.zeros(2, 2), torch.eye(2))
    (1.0, 0.0)
    """
    size = float(kernel.norm() * labels.norm())
    return round(float((kernel * labels).sum()) / size, 6) if size > 0 else 0.0


def effective_rank(kernel: Tensor) -> float:
    """exp(−Σ p·log p) of the eigenvalues' shares p; 0 for a vanishing kernel.

    >>> round(effective_rank(torch.eye(3)), 6)
    3.0
    """
    values = torch.linalg.eigvalsh(kernel.double()).clamp_min(0).numpy()
    if values.sum() <= 0:
        return 0.0
    p = values / values.sum()
    p = p[p > 1e-12]
    return float(np.exp(-(p * np.log(p)).sum()))


def _pattern_hd(spikes: Tensor) -> float:
    patterns = spikes.flatten(2).float()  # [T, B, N]
    distance = sum(pattern_distances(step) for step in patterns).double() / (len(patterns) * patterns.shape[2])
    return float(torch.linalg.slogdet(1 - distance + 1e-3 * torch.eye(len(distance))).logabsdet)
