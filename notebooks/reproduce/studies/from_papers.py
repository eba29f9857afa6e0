"""Scores of other papers on training-free search, written from their definitions and carried over to spikes.

Options of the kit they are not; notebook 02 says how they did. SWAP's count by layer and step is: ``proxy="swap"``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from lightsnn_kit.exact import ExactBatchNorm2d, LatticeConv2d
from lightsnn_kit.kernels import column_words, count_distinct
from lightsnn_kit.scoring import Scorer, measure
from lightsnn_kit.spaces import OpMask

KEPT = 0.05  # 1 − α: α = 0.95 is reported as the best of the paper's own sweep on NAS-Bench-201
SIZES = {"middle": 1 / 3, "large": 1.0}
"""SWAP's μ = σ as a share of the parameters of the largest cell: three ops, so a third is the mean of the space."""


class SampleNorm(ExactBatchNorm2d):
    """Layer normalisation: each sample by its own mean and variance, over channels and pixels; integer sums."""

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> the same; samples stand where a batch normalisation has its channels."""
        return super().forward(x.flatten(1, 2)[None]).view_as(x)  # [1, B, C·H, W]


class MaskedConv2d(LatticeConv2d):
    """A convolution of a fixed random part of its input: y = Σ W ⊙ M ⊙ X with M ∈ {0, 1}^(C × H × W)."""

    draw: tuple[int, ...] = ()
    kept = KEPT
    mask: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.mask is None:  # its size is known now
            drawn = np.random.default_rng(self.draw).random(tuple(x.shape[1:])) < self.kept
            self.mask = torch.from_numpy(drawn).to(x)
        return super().forward(x * self.mask)


def apply_ncd(scorer: Scorer, *, seed: int, kept: float = KEPT) -> Scorer:
    """NCD (Kang et al., ICCV 2025) for the scores of a fresh plain scorer with batch statistics; changes its supernet.

    Two steps against scores that fall as convolutions grow in number. Stochastic activation masking: a convolution
    sees M ⊙ X, M ~ Bernoulli(1 − α) = Bernoulli(``kept``), here one mask per convolution for all samples and steps, so
    that equal samples stay equal; the stem, which reads the image, is left alone. Non-linear rescaling: layer in place
    of batch normalisation. Both are exact. The paper's text was not at hand: this follows a summary of its equation 4
    and of its algorithm 1.
    """
    network = scorer.supernet
    if scorer.config.engine != "plain" or scorer.config.bn != "batch":
        raise ValueError(f"NCD needs engine='plain' and bn='batch', got {scorer.config.engine}, {scorer.config.bn}.")
    convolutions = (m for name, m in network.named_modules() if isinstance(m, LatticeConv2d) and name != "stem.0")
    for number, module in enumerate(convolutions):
        module.__class__, module.draw, module.kept = MaskedConv2d, (seed, number), kept
    for module in network.modules():
        if isinstance(module, ExactBatchNorm2d):
            module.__class__ = SampleNorm
            module.weight, module.bias = (torch.nn.Parameter(torch.full((1,), value)) for value in (1.0, 0.0))
    return scorer


def ncd_scores(scorer: Scorer, mask: OpMask) -> dict[str, float]:
    """HD, SAHD and SWAP by a scorer from ``apply_ncd``."""
    passes = measure(scorer, mask, patterns=True)
    return {"sahd_ncd": passes.sahd, "hd_ncd": passes.hd, "swap_ncd": passes.swap}


def zico(gradients: Sequence[Mapping[str, Tensor]]) -> float:
    """ZiCo (Li et al., ICLR 2023, arXiv 2301.11300): Σ_l log Σ_w E|g_w| / √Var g_w, over the batches' gradients.

    Weights whose gradient is the same for all batches are left out, and layers without any other.

    >>> a, b = {"w": torch.tensor([1.0, 2.0])}, {"w": torch.tensor([3.0, 2.0])}  # mean |g| 2, deviation 1; and 2, 0
    >>> round(zico([a, b]), 6)  # log 2
    0.693147
    """
    total = 0.0
    for name in gradients[0]:
        each = torch.stack([gradient[name].double().flatten() for gradient in gradients])  # [batches, weights]
        deviation, size = each.std(0, correction=0), each.abs().mean(0)
        varies = deviation > 0
        ratio = float((size[varies] / deviation[varies]).sum())
        total += np.log(ratio) if ratio > 0 else 0.0
    return float(total)


def whole_patterns(spikes: Iterable[Tensor]) -> int:
    """SWAP's own set: different columns among all neurons of the network at all steps, from layers [T, B, ...].

    >>> layer = torch.tensor([[[1, 0], [1, 1]]])  # one step, two samples, two neurons: columns 11 and 01
    >>> whole_patterns([layer, layer])  # by layer and step there would be 4
    2
    """
    words = [column_words(step.flatten(1)) for layer in spikes for step in layer]  # each int64 [W, N]
    return int(count_distinct(torch.cat(words, 1)))


def regularised(swap: np.ndarray, parameters: np.ndarray, largest: int) -> dict[str, np.ndarray]:
    """SWAP's regularised forms (Peng et al., ICLR 2024): Ψ·exp(−((θ − μ)/σ)²), μ = σ, of scores [cells, seeds].

    θ: ``parameters`` [cells] in any unit, of a cell at most ``largest``. μ and σ are free there; two choices that need
    no accuracy: ``SIZES``.

    >>> {name: v.tolist() for name, v in regularised(np.array([[100.0]]), np.array([6.0]), 6).items()}["swap_large"]
    [[100.0]]
    """
    sizes = {f"swap_{name}": share * largest for name, share in SIZES.items()}
    return {name: swap * np.exp(-((((parameters - mu) / mu) ** 2)[:, None])) for name, mu in sizes.items()}
