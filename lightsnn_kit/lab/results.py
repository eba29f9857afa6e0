"""Rows of finished experiments: gathered from run folders or result files, summarised, set beside published figures.

Intervals are over seeds (Student's t, 95 %): with few seeds they are wide, and that is the truth about few seeds.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..files import RunError, at_root, read_json, write_json
from .runs import Stage

SNASNET_BUDGET = 5000  # random cells that SNASNet's search scores (arXiv 2201.10355)
STAND_IN_NOTE = "synthetic stand-in, not a result"
QUICK_NOTE = "quick run, not a result"
OWN_PROVENANCE = ("started", "load")  # what differs from row to row on one machine

Row = Mapping[str, object]


@dataclass(frozen=True)
class Quote:
    """A published figure: accuracy in per cent, or another claim in words; ``sd`` as published."""

    dataset: str
    method: str
    value: float
    sd: float | None
    source: str
    unit: str = "% test accuracy"


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
"""All published figures that are quoted; nothing else of the papers' tables is."""


@dataclass(frozen=True)
class Estimate:
    """Mean, standard deviation (n − 1) and 95 % interval of a few values; NaN where one value says nothing."""

    n: int
    mean: float
    sd: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Estimate:
        """mean ± t(0.975, n − 1) · sd / √n; ``ValueError`` for no values.

        >>> estimate = Estimate.of([1.0, 2.0, 3.0])
        >>> estimate.mean, estimate.sd, round(estimate.high, 3)  # 2 + 4.3027 / √3
        (2.0, 1.0, 4.484)
        """
        from scipy.stats import t

        if not len(values):
            raise ValueError("an estimate needs at least one value, got none.")
        mean, n = statistics.fmean(values), len(values)
        if n == 1:
            return cls(1, mean, math.nan, math.nan, math.nan)
        sd = statistics.stdev(values)
        half = float(t.ppf(0.975, n - 1)) * sd / math.sqrt(n)
        return cls(n, mean, sd, mean - half, mean + half)

    def told(self, *, factor: float = 1.0, digits: int = 1) -> str:
        """``mean ± sd`` as text, scaled; the mean alone where one value or equal ones have no spread.

        >>> Estimate.of([0.5, 0.7]).told(factor=100), Estimate.of([0.5]).told(factor=100)
        ('60.0 ± 14.1', '50.0')
        """
        mean = f"{factor * self.mean:,.{digits}f}".replace("-", "−")
        return mean if self.n == 1 or not self.sd else f"{mean} ± {factor * self.sd:,.{digits}f}"


def gather(*places: str | Path) -> list[dict[str, object]]:
    """The finished rows of run folders and result files, in the order given; relative paths start at the project.

    ``RunError`` for a place without a finished row, and for two rows of one preset, method and seed.
    """
    rows: dict[tuple, dict[str, object]] = {}
    for place in places:
        path = at_root(place)
        found = read_json(path)["rows"] if path.is_file() else [stage.result for stage in row_stages(path)]
        if not found:
            raise RunError(f"no rows in {path}.")
        for row in found:
            key = (row["preset"], row["method"], row["seed"], row["quick"])
            if key in rows:
                raise RunError(f"{path} holds a second row of {key[1]}, seed {key[2]} of preset {key[0]}.")
            rows[key] = row
    return list(rows.values())


def row_stages(folder: str | Path) -> list[Stage]:
    """The stages of a run folder's finished rows, in the order in which they were begun; ``RunError`` if none is."""
    path = at_root(folder)
    stages = [Stage(found.parent) for found in sorted(path.glob("*/seed*/result.json"))]
    if not stages:
        raise RunError(f"no finished rows in {path}; run notebooks/reproduce/run.ipynb on it first.")
    return sorted(stages, key=lambda stage: (stage.path / "settings.json").stat().st_mtime)


def made_with(stage: Stage) -> list[dict[str, object]]:
    """The provenance of a row: of its beginning, of each time that it was resumed, and of what it took over."""
    return [read_json(stage.path / "settings.json")["provenance"], *stage.records("resumed")]


def export(folder: str | Path, path: str | Path) -> Path:
    """Write the finished rows of a run folder to a new JSON file, with settings and the provenance of each.

    A row's ``made_with`` are the places of its provenance among those of all, more than one if it was resumed;
    ``started`` and ``load`` are its own.
    """
    stages = row_stages(folder)
    presets = [stage.settings["preset"] for stage in stages]
    if any(preset != presets[0] for preset in presets):
        raise RunError(f"the rows of {folder} were made with different settings; export one preset at a time.")
    provenance: list[dict[str, object]] = []
    rows = []
    for stage in stages:
        records = made_with(stage)
        own = {name: [record.pop(name, None) for record in records] for name in OWN_PROVENANCE}
        provenance += [record for i, record in enumerate(records) if record not in provenance + records[:i]]
        rows.append(stage.result | own | {"made_with": [provenance.index(record) for record in records]})
    target = at_root(path)
    write_json(target, {"preset": presets[0], "provenance": provenance, "rows": rows})
    return target


def by_method(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Rows grouped by method, in the order of their first appearance.

    >>> by_method([{"method": "b", "seed": 0}, {"method": "a", "seed": 0}, {"method": "b", "seed": 1}]).keys()
    dict_keys(['b', 'a'])
    """
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(str(row["method"]), []).append(row)
    return groups


def estimate(rows: Iterable[Row], key: str | Callable[[Row], float]) -> Estimate:
    """The estimate of an entry of the rows, or of a function of each row.

    >>> rows = [{"synops": 1e6, "test_accuracy": 0.5}, {"synops": 3e6, "test_accuracy": 0.75}]
    >>> estimate(rows, "test_accuracy").mean, estimate(rows, lambda row: row["synops"] / 1e6).told()
    (0.625, '2.0 ± 1.4')
    """
    return Estimate.of([float(key(row) if callable(key) else row[key]) for row in rows])


def paired(rows: Iterable[Row], first: str, second: str, *, key: str = "test_accuracy") -> Estimate | None:
    """The estimate of ``first − second`` over the seeds that both methods have; None if there is none.

    ``ValueError`` for rows of more than one preset: their seeds are no pairs.

    >>> rows = [{"preset": "p", "method": m, "seed": s, "test_accuracy": a} for m, s, a in
    ...         [("a", 0, 0.75), ("a", 1, 0.5), ("b", 0, 0.5), ("b", 1, 0.25), ("b", 2, 0.0)]]
    >>> paired(rows, "a", "b").mean
    0.25
    """
    rows = list(rows)
    if len(presets := sorted({str(row["preset"]) for row in rows})) > 1:
        raise ValueError(f"expected rows of one preset, got {', '.join(presets)}; compare each alone.")
    values = {(row["method"], row["seed"]): float(row[key]) for row in rows}
    seeds = [seed for method, seed in values if method == first and (second, seed) in values]
    return Estimate.of([values[first, seed] - values[second, seed] for seed in seeds]) if seeds else None


def search_seconds(row: Row) -> float:
    """All that a search takes: loading the data, building supernet and engine, and every score."""
    return float(row["seconds"]["load"]) + float(row["search_seconds"])


def extrapolated_seconds(row: Row, budget: int = SNASNET_BUDGET) -> float:
    """The seconds of a random search with another budget: measured load and build, and the measured median score.

    Extrapolated, not measured; NaN for a row that scored nothing.
    """
    if not row["evaluations"]:
        return math.nan
    fixed = float(row["seconds"]["load"]) + float(row["build_seconds"]) + float(row["first_score_seconds"])
    return fixed + (budget - 1) * float(row["score_seconds_median"])


def caveat(rows: Iterable[Row]) -> str:
    """What disqualifies rows as results, or an empty text.

    >>> caveat([{"stand_in": True, "quick": True}]), caveat([{"stand_in": False, "quick": False}])
    ('synthetic stand-in, not a result', '')
    """
    rows = list(rows)
    if any(row["stand_in"] for row in rows):
        return STAND_IN_NOTE
    return QUICK_NOTE if any(row["quick"] for row in rows) else ""
