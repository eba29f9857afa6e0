"""What the study of notebook 02 measures on a cell: the kit's scores, and candidates that did not become options.

Each candidate is one line of reasoning about what a good untrained cell should look like; the notebook says how they
did. They read one batch with its labels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..cells import Cell
from ..kernels import log_det, pattern_distances
from ..networks import NetworkConfig, build_network
from ..recording import record_spikes, scoring_mode
from ..scoring import Scorer
from ..spaces import OpMask


def kit_scores(scorers: Sequence[Scorer], mask: OpMask) -> dict[str, float]:
    """SAHD, HD and firing rate from one pass per scorer, named with the scorer's kind of batch normalisation."""
    found = {}
    for scorer in scorers:
        (stats,) = scorer.statistics(mask)
        rates = [rate.mean() for rate in stats.firing_rate.values()]
        found[f"sahd_{scorer.bn}"] = log_det(stats.kernel("sahd"))
        found[f"hd_{scorer.bn}"] = log_det(stats.kernel("hd"))
        found[f"firing_{scorer.bn}"] = float(torch.stack(rates).mean())
    return found


def candidate_scores(cell: Cell, config: NetworkConfig, x: Tensor, y: Tensor, *, seed: int) -> dict[str, float]:
    """Scores of the discrete network of a cell, from one forward and one backward pass with batch statistics.

    ``alignment``: centred alignment (Cortes et al. 2012) of the spike-count kernel behind cell 2 with the labels'
    kernel; ``effective_rank``: exp of the entropy of that kernel's spectrum; ``pattern_hd``: log det of the mean
    normalised Hamming kernel behind cell 1, + 1e-3 on the diagonal; ``gradient``: norm of the cross-entropy's gradient
    in the cells' weights, through the surrogate; ``snip``: Σ |weight · gradient| of all layers (Lee et al. 2019).
    """
    network = build_network(cell, config, seed=seed)
    with scoring_mode(network, "batch"), record_spikes(network) as spikes:
        F.cross_entropy(network(x), y).backward()
    counts = spikes["last.1"].sum(0, dtype=torch.float64).flatten(1)  # [B, N]
    kernel = _centred(counts @ counts.T)
    weights = [(name, p) for name, p in network.named_parameters() if p.dim() > 1 and p.grad is not None]
    in_cells = [p.grad.square().sum() for name, p in weights if name.startswith("cell")]
    return {
        "alignment": alignment(kernel, _centred((y[:, None] == y).double())),
        "effective_rank": effective_rank(kernel),
        "pattern_hd": _pattern_hd(spikes["down.1"]),
        "gradient": float(torch.stack(in_cells).sum().sqrt()) if in_cells else 0.0,
        "snip": float(sum((p.grad * p).abs().sum() for _, p in weights).detach()),
    }


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
