"""Rows of finished experiments: gathered from run folders and result files, grouped, compared, and exported."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import scipy.stats

from ..cells import Cell
from ..checks import flag, real, whole
from ..files import RunError, at_root, defaults_of, differences, read_json, reading, write_json
from .runs import Stage

if TYPE_CHECKING:
    from IPython.display import Markdown

SNASNET_BUDGET = 5000  # random cells that SNASNet's search scores (arXiv 2201.10355)
STAND_IN_NOTE = "synthetic stand-in, not a result"
QUICK_NOTE = "quick run, not a result"
OWN_PROVENANCE = ("started", "load")  # what differs from row to row on one machine

Row = Mapping[str, object]
_SHARES, _COUNTS = ("test_accuracy", "val_accuracy", "firing_rate"), ("synops", "macs", "energy_pj", "parameters")
_LIMITS = dict.fromkeys(_SHARES, (0, 1)) | dict.fromkeys(_COUNTS, (0, math.inf))


@dataclass(frozen=True)
class Estimate:
    """Mean, standard deviation (n − 1) and 95 % interval (Student's t) of a few values; NaN where one says nothing.

    With few seeds intervals are wide, and that is the truth about few seeds.
    """

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
        if not len(values):
            raise ValueError("an estimate needs at least one value, got none.")
        mean, n = statistics.fmean(values), len(values)
        if n == 1:
            return cls(1, mean, math.nan, math.nan, math.nan)
        sd = statistics.stdev(values)
        half = float(scipy.stats.t.ppf(0.975, n - 1)) * sd / math.sqrt(n)
        return cls(n, mean, sd, mean - half, mean + half)

    def text(self, *, factor: float = 1.0, digits: int = 1) -> str:
        """``mean ± sd``, scaled; the mean alone where one value or equal ones have no spread.

        >>> Estimate.of([0.5, 0.7]).text(factor=100), Estimate.of([0.5]).text(factor=100)
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
        with reading(path):
            found = read_json(path)["rows"] if path.is_file() else [stage.result for stage in row_stages(path)]
            found = list(map(checked_row, found))
        if not found:
            raise RunError(f"no rows in {path}.")
        for row in found:
            key = (row["preset"], row["method"], row["seed"], row["quick"])
            if key in rows:
                raise RunError(f"{path} holds a second row of {key[1]}, seed {key[2]} of preset {key[0]}.")
            rows[key] = row
    return list(rows.values())


def read_runs(*places: str | Path) -> list[dict[str, object]]:
    """Rows of run folders and result files, their ``name`` being the method; ``RunError`` for a place without one.

    Rows of several places differ by the place's name, unless they differ in their seeds alone.
    """
    by_place = {at_root(place): gather(place) for place in places}
    rows = [row for found in by_place.values() for row in found]
    apart = len({(row["preset"], row["method"], row["seed"]) for row in rows}) < len(rows)
    apart = apart or len({row["preset"] for row in rows}) > 1
    return [
        {**row, "name": f"{path.stem}: " * apart + str(row["method"])}
        for path, found in by_place.items()
        for row in found
    ]


def checked_row(row: Row) -> dict[str, object]:
    """The row, if it tells what it is of, and what others compute with is in range; ``ValueError`` else."""
    for name, (low, high) in _LIMITS.items():
        if name in row:
            real(name, row[name], low=low, high=high)
    if wrong := [name for name in ("preset", "method") if not isinstance(row[name], str)]:
        raise ValueError(f"{wrong[0]} must be a text, got {row[wrong[0]]!r:.80}.")
    if "cell" in row:
        Cell.parse(row["cell"])
    flag("quick", row["quick"])
    flag("stand_in", row.get("stand_in", False))
    most = {"test_correct": row.get("test_samples", math.inf)}
    for name, low in (("evaluations", 0), ("test_samples", 1), ("test_correct", 0)):
        if name in row:
            whole(name, row[name], low=low, high=most.get(name, math.inf))
    right, told = str(row.get("right")), (row.get("test_samples"), row.get("test_correct"))
    if "right" in row and ((len(right), right.count("1")) != told or set(right) - {"0", "1"}):
        raise ValueError(f"right must be {told[0]} digits 0 and 1, {told[1]} of them 1, got {row['right']!r:.80}.")
    return dict(row) | {"seed": whole("seed", row["seed"], low=0)}


def markdown(text: str) -> Markdown:
    """Markdown to show, in which no tag, link or picture is live: values in it may come from foreign files.

    >>> markdown("- made on <b>my</b> machine, ![](x)").data
    '- made on &lt;b>my&lt;/b> machine, !&#91;](x)'
    """
    from IPython.display import Markdown

    return Markdown(text.replace("<", "&lt;").replace("[", "&#91;"))


def row_stages(folder: str | Path) -> list[Stage]:
    """The stages of a run folder's finished rows, in the order in which they were begun; ``RunError`` if none is."""
    path = at_root(folder)
    stages = [Stage(found.parent) for found in sorted(path.glob("*/seed*/result.json"))]
    if not stages:
        raise RunError(f"no finished rows in {path}; run notebooks/reproduce/run.ipynb or evaluate.ipynb on it first.")
    for stage in stages:
        row_settings(stage, path)
    return sorted(stages, key=lambda stage: (stage.path / "settings.json").stat().st_mtime)


def experiment_id(folder: Path) -> str:
    """What tells the experiment in a run folder from all others ("": none, or one of an earlier version)."""
    stage = Stage(folder / "experiment")
    return str(stage.begun.get("id", "")) if stage.started else ""


def row_settings(stage: Stage, folder: Path) -> dict[str, object]:
    """The settings of a row; ``RunError`` for the row of another run, whose folder was copied into this one."""
    settings, own = stage.settings, experiment_id(folder)
    if settings.get("experiment", own) != own:
        raise RunError(f"{stage.path} was made in another run. Move it back to its run folder, or remove it.")
    return settings


def provenance_of(stage: Stage) -> list[dict[str, object]]:
    """The provenance of a row: of its beginning, of its training, of each time either was gone on with."""
    parts = [part for part in (stage, Stage(stage.path / "train")) if part.started]
    return [record for part in parts for record in (part.begun["provenance"], *part.records("resumed"))]


def export(folder: str | Path, path: str | Path, *, replace: bool = False) -> Path:
    """Write the finished rows of a run folder to a JSON file, with settings and the provenance of each.

    The file is new, unless ``replace``. A row's ``provenance`` are the places of its records in the list beside the
    rows; ``started`` and ``load`` of each record are its own. ``RunError`` for rows trained in different ways.
    """
    stages, trainings = row_stages(folder), []
    for stage in stages:
        settings = Stage(stage.path / "train").settings["train"]
        trainings += [{name: value for name, value in settings.items() if name != "seed"}]
    defaults = _training_defaults()
    if any(differences(training, trainings[0], defaults=defaults) for training in trainings):
        raise RunError(f"the rows of {folder} were trained with different settings; export one experiment at a time.")
    begun = Stage(at_root(folder) / "experiment")
    preset = begun.settings["preset"] | {"train": begun.result["train"] | trainings[0]}
    provenance: list[dict[str, object]] = []
    rows = []
    for stage in stages:
        records = provenance_of(stage)
        own = {name: [record.pop(name, None) for record in records] for name in OWN_PROVENANCE}
        provenance += [record for i, record in enumerate(records) if record not in provenance + records[:i]]
        rows.append(stage.result | own | {"provenance": [provenance.index(record) for record in records]})
    target = at_root(path)
    write_json(target, {"preset": preset, "provenance": provenance, "rows": rows}, replace=replace)
    return target


def _training_defaults() -> dict[str, object]:
    from ..training import TrainConfig  # with torch: figures read rows without it

    return defaults_of(TrainConfig)


def by_method(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Rows grouped by method, in the order of their first appearance.

    >>> by_method([{"method": "b", "seed": 0}, {"method": "a", "seed": 0}, {"method": "b", "seed": 1}]).keys()
    dict_keys(['b', 'a'])
    """
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(str(row["method"]), []).append(row)
    return groups


def newest_row(rows: Sequence[Row], cell: Cell) -> Row | None:
    """The last row of a cell, if there is one."""
    return next((row for row in reversed(rows) if row["cell"] == str(cell)), None)


def estimate(rows: Iterable[Row], key: str | Callable[[Row], float]) -> Estimate:
    """The estimate of an entry of the rows, or of a function of each row.

    >>> rows = [{"synops": 1e6, "test_accuracy": 0.5}, {"synops": 3e6, "test_accuracy": 0.75}]
    >>> estimate(rows, "test_accuracy").mean, estimate(rows, lambda row: row["synops"] / 1e6).text()
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
