"""CompareRuns: finished runs in a table, against what they cost, and their cells side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import ipywidgets
import plotly.graph_objects as go

from ..cells import Cell
from ..figures.runs import runs_scatter
from ..figures.style import field, has_field, with_unit
from ..files import RunError, reading
from ..lab.results import Estimate, gather, read_runs
from ..spaces import CellSpace
from .base import View
from .cell_graph import CellGraph
from .parts import flow, table_html

_COSTS = {"SynOps": "synops", "energy": "energy_pj", "parameters": "parameters"}
_NEEDED = ("cell", "test_accuracy", *_COSTS.values())
_COLUMNS: dict[str, tuple[str, Callable[[float], str]]] = {  # heading: field of a row, how its mean is written
    "SynOps per sample": ("synops", lambda value: with_unit(value, "")),
    "energy per sample": ("energy_pj", lambda value: with_unit(1e-12 * value, "J")),
    "parameters": ("parameters", lambda value: with_unit(value, "")),
    "firing rate": ("firing_rate", lambda value: f"{100 * value:.1f} %"),
}


class CompareRuns(View):
    """A table of finished runs, accuracy against SynOps, energy or parameters, and two cells side by side.

    ``runs``: rows (mappings or objects) with ``name``, ``cell``, ``test_accuracy`` (0..1), ``synops``, ``energy_pj``
    and ``parameters``, or paths as `read_runs` takes them. Rows of one name are runs with other seeds: the picture
    shows their mean with one standard deviation. Choose cells by the two lists, or by a click on a point. A place that
    cannot be read is left out, and the message line says so, unless there is no other.
    """

    name = "compare-runs"

    def __init__(self, runs: Iterable[object] | str | Path, *, theme: str = "light") -> None:
        runs = [runs] if isinstance(runs, str | Path) else list(runs)
        paths, problems = [], []
        for path in [run for run in runs if isinstance(run, str | Path)]:
            try:
                with reading(path):
                    [row[name] for row in gather(path) for name in _NEEDED]
                paths.append(path)
            except RunError as error:
                problems.append(error)
        self.rows: list[object] = read_runs(*paths) + [run for run in runs if not isinstance(run, str | Path)]
        if problems and not self.rows:
            raise problems[0]
        if not self.rows:
            raise ValueError("CompareRuns needs at least one finished run, got none.")
        self.cells = [Cell.parse(str(field(row, "cell"))) for row in self.rows]
        runs_scatter(self.rows)  # wrong rows fail before a widget is made
        super().__init__(theme=theme)
        self._next = 1  # which list the next click fills
        self._build()
        self.redraw()
        if problems:
            self.say(f"Left out: {' '.join(map(str, problems))}", kind="error")

    def _build(self) -> None:
        by = {"accuracy": "test_accuracy", **_COSTS, "name": "name"}
        add, costs, by = self.add_control, list(_COSTS.items()), list(by.items())
        self.cost = add("cost", ipywidgets.Dropdown, "synops", "Against", self.redraw, options=costs)
        self.sort = add("sort", ipywidgets.Dropdown, "test_accuracy", "Sort by", self._write_table, options=by)
        self.table = self.part(ipywidgets.HTML(layout={"width": "100%"}), "table")
        self.scatter = self.plot("scatter", "Test accuracy of the runs against what they cost")
        options = [(self._label(index), index) for index in range(len(self.rows))]
        second = min(1, len(self.rows) - 1)
        self.chosen = tuple(
            add(part, ipywidgets.Dropdown, at, name, options=options, layout={"width": "auto"})
            for at, name, part in ((0, "Left cell", "left"), (second, "Right cell", "right"))
        )
        self.graphs = tuple(
            self.part(CellGraph(self.cells[widget.value], space=_space(self.cells), editable=False), part)
            for widget, part in zip(self.chosen, ("left-graph", "right-graph"), strict=True)
        )
        sides = map(list, zip(self.chosen, self.graphs, strict=True))
        self.arrange(flow(self.cost, self.sort), self.table, self.scatter, flow(*sides, width=380))
        self.watch(self.scatter, self._pick)
        for widget, graph in zip(self.chosen, self.graphs, strict=True):
            self.watch(widget, lambda index, graph=graph: graph.show(self.cells[index]))

    # ---- what is shown

    def figure(self) -> go.Figure:
        """Accuracy against the chosen cost."""
        return runs_scatter(self.rows, cost=self.cost.value, theme=self.theme)

    def redraw(self) -> None:
        """Draw picture and table anew."""
        self.scatter.show(self.figure())
        self._write_table()

    def groups(self) -> dict[str, list[object]]:
        """Rows by name, in the order of the table."""
        found: dict[str, list[object]] = {}
        for row in self.rows:
            found.setdefault(str(field(row, "name")), []).append(row)
        key = self.sort.value
        if key == "name":
            return dict(sorted(found.items()))
        mean = {name: Estimate.of([float(field(row, key)) for row in rows]).mean for name, rows in found.items()}
        return dict(sorted(found.items(), key=lambda item: mean[item[0]], reverse=key == "test_accuracy"))

    def _write_table(self) -> None:
        columns = {head: of for head, of in _COLUMNS.items() if all(has_field(row, of[0]) for row in self.rows)}
        body = []
        for name, rows in self.groups().items():
            accuracy = Estimate.of([float(field(row, "test_accuracy")) for row in rows]).text(factor=100) + " %"
            costs = [say(Estimate.of([float(field(row, key)) for row in rows]).mean) for key, say in columns.values()]
            body.append((name, len(rows), accuracy, *costs))
        heads = ("run", "runs", "test accuracy", *columns)
        caption = "Means over the runs of a name; ± one standard deviation."
        self.table.value = table_html(heads, body, caption=caption, label="Runs")

    def _label(self, index: int) -> str:
        row = self.rows[index]
        seed = f", seed {field(row, 'seed')}" if has_field(row, "seed") else ""
        return f"{field(row, 'name')}{seed}: {100 * float(field(row, 'test_accuracy')):.1f} %"

    def _pick(self, point: dict) -> None:
        index = point.get("customdata")
        index = index[0] if isinstance(index, list) else index
        if isinstance(index, int) and 0 <= index < len(self.rows):
            self.chosen[self._next].value, self._next = index, 1 - self._next

    def describe(self) -> str:
        """How many runs there are, and the best of them."""
        best = max(range(len(self.rows)), key=lambda index: float(field(self.rows[index], "test_accuracy")))
        return f"CompareRuns: {len(self.rows)} runs, best {self._label(best)}"


def _space(cells: list[Cell]) -> CellSpace:
    """A space with the ops of all cells: a graph can draw those alone."""
    return CellSpace(tuple(dict.fromkeys(op for cell in cells for op in cell.ops)), cells[0].num_nodes)
