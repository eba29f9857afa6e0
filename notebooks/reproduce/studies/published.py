"""Published figures that may be quoted, with their sources; nothing else of the papers' tables is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Quote:
    """A published figure: accuracy in per cent, or another claim in words; ``sd`` as published."""

    dataset: str
    method: str
    value: float
    sd: float | None
    source: str
    unit: str = "% test accuracy"

    def __str__(self) -> str:
        value = f"{self.value:.2f} ± {self.sd:.2f}" if self.sd else f"{self.value:g}"
        return f"{value} {self.unit}"


_SNASNET = "arXiv 2201.10355v3, read second-hand"
_ABSTRACT = "abstract of arXiv 2503.21846"
PUBLISHED: tuple[Quote, ...] = (
    Quote("cifar10", "SNASNet forward, T = 5", 93.12, 0.42, _SNASNET),
    Quote("cifar10", "SNASNet with feedback, T = 5", 93.73, 0.32, _SNASNET),
    Quote("cifar100", "SNASNet forward, T = 5", 70.06, 0.45, _SNASNET),
    Quote("cifar100", "SNASNet with feedback, T = 5", 73.04, 0.36, _SNASNET),
    Quote("tiny-imagenet", "SNASNet forward, T = 5", 52.81, 0.56, _SNASNET),
    Quote("tiny-imagenet", "SNASNet with feedback, T = 5", 54.60, 0.48, _SNASNET),
    Quote("any", "LightSNN, search against SNASNet's", 98, None, _ABSTRACT, "times faster"),
    Quote("dvs128-gesture", "LightSNN against SNASNet", 4.49, None, _ABSTRACT, "points of accuracy more"),
    Quote("dvs128-gesture", "LightSNN against SNASNet", 30, None, _ABSTRACT, "% faster"),
)
