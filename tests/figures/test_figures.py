"""What the figures show, as numbers: positions, counts, colours, texts and sizes (never pixels)."""

from __future__ import annotations

import re
import subprocess
import sys
from itertools import combinations
from types import SimpleNamespace

import numpy as np
import plotly.graph_objects as go
import plotly.io as pio
import pytest

from lightsnn_kit import figures
from lightsnn_kit.cells import Cell, Edge, Op
from lightsnn_kit.figures.style import DASHES, PALETTE
from lightsnn_kit.search import Decision, prune_search
from lightsnn_kit.spaces import PUBLISHED_CELLS, SPACES, CellSpace

INF = float("inf")
MIXED = Cell.parse("|conv3x3~0|+|skip~0|conv3x3~1|+|zeroize~0|skip~1|conv3x3~2|/|skip~1|zeroize~2|conv3x3~3|+"
                   "|zeroize~2|skip~3|+|zeroize~3|")  # fmt: skip


def arcs(fig: go.Figure) -> dict[str, go.Scatter]:
    """The traces of a cell graph that are ops of edges, by name."""
    return {trace.name: trace for trace in fig.data if "<-" in (trace.name or "")}


def texts(fig: go.Figure) -> list[str]:
    return [note.text for note in fig.layout.annotations]


def heading(fig: go.Figure) -> str:
    """Title and note without markup."""
    return re.sub("<[^>]+>", "", fig.layout.title.text.replace("<br>", " "))


def epochs(val_accuracies: list[float]) -> list[SimpleNamespace]:
    rows = enumerate(val_accuracies, 1)
    return [
        SimpleNamespace(epoch=i, train_loss=1 / i, val_loss=2 / i, train_accuracy=0.9, val_accuracy=a) for i, a in rows
    ]


def row(name: str, **changes: float) -> dict[str, object]:
    figures_of_merit = {"test_accuracy": 0.97, "parameters": 21_450, "synops": 412_000, "energy_pj": 1.2e6}
    return {"name": name} | figures_of_merit | changes


# ---- themes and palette ----------------------------------------------------------------------------------------------


def linear(colour: str) -> np.ndarray:
    """Linear RGB of ``#rrggbb`` (sRGB, IEC 61966-2-1)."""
    rgb = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def contrast(one: str, other: str) -> float:
    """WCAG 2 contrast ratio."""
    low, high = sorted(linear(colour) @ [0.2126, 0.7152, 0.0722] + 0.05 for colour in (one, other))
    return high / low


def lab(rgb: np.ndarray) -> np.ndarray:
    """CIELAB (D65) of linear RGB."""
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = to_xyz @ rgb.clip(0, 1) / [0.95047, 1, 1.08883]
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


VISION = {  # Machado, Oliveira and Fernandes 2009, severity 1
    "normal": np.eye(3),
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}


@pytest.mark.parametrize("vision", VISION)
def test_palette_stays_apart_for_every_vision(vision: str) -> None:
    seen = [lab(np.array(VISION[vision]) @ linear(colour)) for colour in PALETTE]
    assert min(np.linalg.norm(one - other) for one, other in combinations(seen, 2)) > 20


@pytest.mark.parametrize("theme", figures.THEMES)
def test_colours_stand_out_from_the_surface(theme: str) -> None:
    look = figures.THEMES[theme]
    assert min(contrast(colour, look.surface) for colour in PALETTE) >= 3  # WCAG for graphics
    assert min(contrast(colour, look.surface) for colour in (look.ink, look.muted)) >= 4.5  # and for text


def test_ops_and_networks_differ_without_colour() -> None:
    assert set(figures.OP_COLOURS) == set(figures.OP_SYMBOLS) == set(Op)
    assert len(set(figures.OP_COLOURS.values())) == len(set(figures.OP_SYMBOLS.values())) == len(Op)
    assert len(set(DASHES)) == len(DASHES) == len(PALETTE)


def test_templates_are_registered() -> None:
    assert {"lightsnn_light", "lightsnn_dark"} <= set(pio.templates)
    assert pio.templates["lightsnn_dark"].layout.paper_bgcolor == figures.THEMES["dark"].surface


SCORED = [{"index": 0, "cell": "|skip~0|", "score": 1.0, "synops": 2e3}]
EVERY = {
    "cell": lambda theme: figures.cell_graph(MIXED, theme=theme),
    "kernel": lambda theme: figures.kernel_heatmap(np.eye(4), theme=theme),
    "spectrum": lambda theme: figures.eigenvalue_spectrum(np.eye(4), theme=theme),
    "raster": lambda theme: figures.spike_raster(np.eye(4), theme=theme),
    "rates": lambda theme: figures.firing_rates(["a"], [[0.5]], theme=theme),
    "curves": lambda theme: figures.record_curves({"a": epochs([0.5, 0.6])}, theme=theme),
    "trace": lambda theme: figures.prune_trace([step()], theme=theme),
    "compare": lambda theme: figures.compare_networks([row("a")], theme=theme),
    "pareto": lambda theme: figures.pareto_scatter(SCORED, SCORED, theme=theme),
}


@pytest.mark.parametrize("name", EVERY)
def test_every_figure_has_both_themes_and_a_height(name: str) -> None:
    for theme, look in figures.THEMES.items():
        fig = EVERY[name](theme)
        assert fig.layout.template.layout.paper_bgcolor == look.surface
        assert fig.layout.width is None  # as wide as its place
        assert fig.layout.height - fig.layout.margin.t - fig.layout.margin.b > 50
    with pytest.raises(ValueError, match=r"unknown theme 'sepia'; expected one of light, dark\."):
        EVERY[name]("sepia")


# ---- cell graph ------------------------------------------------------------------------------------------------------


def test_forward_arcs_lie_above_and_backward_arcs_below_dashed() -> None:
    drawn = arcs(figures.cell_graph(SPACES["lightsnn"].uniform("conv3x3")))
    assert len(drawn) == 12
    for name, arc in drawn.items():
        edge = Edge.parse(name.split()[0])
        assert np.sign(arc.y).tolist() == [-1 if edge.is_backward else 1] * len(arc.y)
        assert arc.line.dash == ("dash" if edge.is_backward else "solid")
        assert arc.marker.symbol[-1] == ("triangle-up" if edge.is_backward else "triangle-down")
        assert abs(arc.x[0] - edge.source) < 0.18 > abs(arc.x[-1] - edge.target)  # ends on the boxes of its nodes


def test_arcs_peak_by_their_span_and_share_no_port() -> None:
    drawn = arcs(figures.cell_graph(SPACES["lightsnn"].uniform("skip")))
    peaks = {name.split()[0]: arc.y[len(arc.y) // 2] for name, arc in drawn.items()}
    assert peaks["1<-0"] == pytest.approx(1 / 3)
    assert peaks["3<-1"] == pytest.approx(2 / 3)
    assert peaks["0<-3"] == pytest.approx(-1)
    above = [end for arc in drawn.values() if arc.y[0] > 0 for end in (arc.x[0], arc.x[-1])]
    assert len(np.unique(np.round(above, 9))) == 12


def test_each_op_has_its_colour_and_its_name() -> None:
    fig = figures.cell_graph(MIXED)
    assert {arc.line.color for name, arc in arcs(fig).items() if "conv3x3" in name} == {figures.OP_COLOURS[Op.CONV3X3]}
    assert {arc.line.color for name, arc in arcs(fig).items() if "skip" in name} == {figures.OP_COLOURS[Op.SKIP]}
    assert sorted(set(texts(fig))) == ["<b>0</b> input", "<b>1</b>", "<b>2</b>", "<b>3</b> output", "conv3x3", "skip"]
    assert texts(fig).count("conv3x3") == 4
    assert "Cell: 4 conv3x3, 4 skip, 4 zeroize" in heading(fig)
    assert not fig.layout.showlegend


def test_zeroized_edges_are_faint_or_absent() -> None:
    faint = [arc for name, arc in arcs(figures.cell_graph(MIXED)).items() if "zeroize" in name]
    assert [(arc.line.dash, arc.line.width, arc.opacity, arc.marker.size[-1]) for arc in faint] == [
        ("dot", 1, 0.6, 0)
    ] * 4
    assert len(arcs(figures.cell_graph(MIXED, zeroize=False))) == 8


def test_dead_nodes_and_their_edges_are_grey_with_a_note() -> None:
    dead = Cell.parse("|zeroize~0|+|conv3x3~0|skip~1|+|zeroize~0|zeroize~1|conv3x3~2|")
    fig = figures.cell_graph(dead)
    assert arcs(fig)["2<-1 skip"].line.color == figures.THEMES["light"].muted
    assert arcs(fig)["3<-2 conv3x3"].line.color == figures.OP_COLOURS[Op.CONV3X3]
    assert [shape.line.dash for shape in fig.layout.shapes] == ["solid", "dot", "solid", "solid"]
    assert "<b>1</b> dead" in texts(fig)
    assert "Grey: dead node 1, off every path" in heading(fig)
    assert "no path leads from input" in heading(figures.cell_graph(SPACES["lightsnn"].uniform("zeroize")))


def test_a_mask_shows_each_alive_op_and_thins_out() -> None:
    mask = SPACES["lightsnn"].full_mask()
    fig = figures.cell_graph(mask)
    assert len(arcs(fig)) == 36
    assert "531,441 cells left" in heading(fig)
    assert [trace.name for trace in fig.data if trace.showlegend is not False] == ["zeroize", "skip", "conv3x3"]
    assert sum(size > 0 for size in arcs(fig)["1<-0 skip"].marker.size) == 2  # the op's symbol and the arrowhead
    assert arcs(fig)["1<-0 skip"].marker.symbol[16] == "triangle-up"
    thinner = figures.cell_graph(mask.without(Edge(1, 0), Op.SKIP).without(Edge(1, 0), Op.ZEROIZE))
    assert len(arcs(thinner)) == 34
    assert texts(thinner).count("conv3x3") == 1


@pytest.mark.parametrize("num_nodes", [2, 3, 8])
def test_cells_of_other_sizes_fit_the_axes(num_nodes: int) -> None:
    fig = figures.cell_graph(CellSpace(("skip", "conv1x1", "maxpool3x3"), num_nodes=num_nodes).full_mask())
    assert len(arcs(fig)) == 3 * num_nodes * (num_nodes - 1)
    x, y = (np.concatenate([arc[axis] for arc in arcs(fig).values()]) for axis in "xy")
    assert fig.layout.xaxis.range[0] < x.min() < x.max() < fig.layout.xaxis.range[1]
    assert fig.layout.yaxis.range[0] < y.min() < y.max() < fig.layout.yaxis.range[1]


def test_published_cells_can_be_drawn_and_other_things_cannot() -> None:
    assert [len(arcs(figures.cell_graph(cell, zeroize=False))) for cell in PUBLISHED_CELLS.values()] == [6, 5]
    with pytest.raises(ValueError, match="draws a Cell or an OpMask, got '0303'"):
        figures.cell_graph("0303")


# ---- kernels ---------------------------------------------------------------------------------------------------------


def test_kernel_is_sorted_by_label_and_coloured_by_what_is_off_the_diagonal() -> None:
    kernel = np.array([[9.0, 1, 2], [1, 9, 3], [2, 3, 9]])
    heat = figures.kernel_heatmap(kernel, labels=["b", "a", "b"]).data[0]
    assert heat.z.tolist() == [[9, 1, 3], [1, 9, 2], [3, 2, 9]]  # samples 1, 0, 2
    assert heat.customdata[0, 2].tolist() == [2, 1]
    assert (heat.zmin, heat.zmax) == (1, 3)
    axis = figures.kernel_heatmap(kernel, labels=["b", "a", "b"]).layout.xaxis
    assert (list(axis.tickvals), list(axis.ticktext)) == ([0, 1.5], ["a", "b"])
    assert figures.kernel_heatmap(kernel).data[0].z.tolist() == kernel.tolist()


def test_kernel_says_its_unit() -> None:
    titles = {
        kind: figures.kernel_heatmap(np.eye(2), kind=kind).data[0].colorbar.title.text for kind in ("K", "hamming", "d")
    }
    assert "N − d" in titles["K"]
    assert "spikes" in titles["hamming"]
    assert "no unit" in titles["d"]
    assert "mine" in heading(figures.kernel_heatmap(np.eye(2), title="mine"))


def test_large_kernels_are_thinned_with_a_note() -> None:
    fig = figures.kernel_heatmap(np.eye(600), labels=np.arange(600) % 7)
    assert fig.data[0].z.shape == (200, 200)
    assert "200 of 600 samples, evenly spaced" in heading(fig)
    assert len(fig.to_json()) < 1e6


def test_spectrum_sums_to_the_log_determinant() -> None:
    kernel = np.array([[2.0, 1], [1, 2]])  # eigenvalues 3 and 1
    fig = figures.eigenvalue_spectrum(kernel)
    assert list(fig.data[0].y) == pytest.approx([3, 1])
    assert f"= {np.log(3):.4g} " in heading(fig)
    assert fig.layout.yaxis.type == "log"


def test_singular_and_indefinite_kernels_are_told_apart() -> None:
    fig = figures.eigenvalue_spectrum(np.diag([100.0, -4, 0]))
    assert [trace.name for trace in fig.data] == ["λ > 0", "λ < 0", "λ = 0 (within rounding)"]
    assert [list(trace.x) for trace in fig.data] == [[1], [2], [3]]
    assert "= −∞ " in heading(fig)
    assert 10 ** fig.layout.yaxis.range[0] < fig.data[2].y[0] < 4
    assert figures.eigenvalue_spectrum(np.ones((3, 3))).data[1].name == "λ = 0 (within rounding)"
    assert figures.eigenvalue_spectrum(np.zeros((2, 2))).data[0].y.size == 2


# ---- spikes ----------------------------------------------------------------------------------------------------------


def test_raster_shows_neurons_by_step_and_the_rate_of_all() -> None:
    bars, heat = figures.spike_raster([[1, 0, 0, 1], [0, 0, 0, 1]]).data
    assert heat.z.tolist() == [[1, 0], [0, 0], [0, 0], [1, 1]]
    assert list(bars.y) == [50, 25]


def test_raster_of_ten_thousand_neurons_is_thinned_with_a_note() -> None:
    spikes = np.zeros((16, 10_000), bool)
    spikes[:, 1:5001] = True  # half of all, and neither the first nor the last
    fig = figures.spike_raster(spikes, max_neurons=300)
    assert fig.data[1].z.shape == (300, 16)
    assert (fig.data[1].y[0], fig.data[1].y[-1]) == (0, 9999)
    assert list(fig.data[0].y) == [50] * 16  # of all neurons, not of those shown
    assert "300 of 10,000 neurons, evenly spaced" in heading(fig)
    assert len(fig.to_json()) < 50_000


def test_rates_show_steps_means_and_silence() -> None:
    fig = figures.firing_rates(["stem", "dead"], [[0.1, 0.3], [0, 0]])
    heat, written, bars = fig.data
    assert heat.z == pytest.approx(np.array([[10, 30], [0, 0]]))
    assert list(written.text) == ["10.0", "30.0", "0.0", "0.0"]
    assert (list(bars.x), list(bars.text)) == ([pytest.approx(20), 0], ["20.0 %", "silent"])
    assert list(fig.layout.yaxis.ticktext) == ["stem", "<b>dead (silent)</b>"]
    assert "Silent layers: 1 of 2" in heading(fig)
    assert figures.firing_rates(["long"], np.full((1, 40), 0.1)).data[0].showscale


# ---- searches --------------------------------------------------------------------------------------------------------


def step(**changes: object) -> SimpleNamespace:
    """A round on two edges: 1<-0 by 2, and 2<-1 where one candidate is dead."""
    scores = ((Edge(1, 0), Op.SKIP, -10.0), (Edge(1, 0), Op.CONV3X3, -12.0))
    scores += ((Edge(2, 1), Op.SKIP, -INF), (Edge(2, 1), Op.CONV3X3, -30.0))
    pruned = (Decision(Edge(1, 0), Op.SKIP, 2.0), Decision(Edge(2, 1), Op.CONV3X3, INF))
    return SimpleNamespace(**({"round": 1, "scores": scores, "pruned": pruned} | changes))


def by_name(fig: go.Figure) -> dict[str, list[go.Scatter]]:
    return {name: [trace for trace in fig.data if trace.name == name] for name in {trace.name for trace in fig.data}}


def test_trace_shows_scores_choices_and_margins() -> None:
    traces = by_name(fig := figures.prune_trace([step()]))
    assert list(traces["conv3x3"][0].x) == [-12, -30]
    assert list(traces["conv3x3"][0].y) == [0, 1]
    assert (list(traces["pruned"][0].x), list(traces["pruned"][0].y)) == ([-10, -30], [0, 1])
    assert list(traces["margin"][0].x) == [-12, -10]
    assert {"skip +2", "conv3x3 +∞", "<b>Round 1</b>: 4 candidates"} <= set(texts(fig))
    assert traces["skip"][0].marker.symbol == figures.OP_SYMBOLS[Op.SKIP]
    assert list(fig.layout.yaxis.ticktext) == ["1←0", "2←1"]


def test_minus_infinity_stands_left_on_its_own_tick() -> None:
    fig = figures.prune_trace([step()])
    foot = by_name(fig)["skip"][0].x[1]
    assert foot == pytest.approx(-30 - 0.18 * 20)  # 18 % of the finite range below the lowest finite score
    assert (fig.layout.xaxis.tickvals[0], fig.layout.xaxis.ticktext[0]) == (foot, "−∞")
    assert fig.layout.xaxis.range[0] < foot < fig.layout.shapes[0].x0 < -30
    assert by_name(fig)["skip"][0].hovertext[1] == "2<-1 without skip: -inf"


def test_a_round_of_nothing_but_minus_infinity_is_drawn_as_ties() -> None:
    scores = tuple((edge, op, -INF) for edge, op, _ in step().scores)
    pruned = (Decision(Edge(1, 0), Op.SKIP, 0.0),)
    fig = figures.prune_trace([step(scores=scores, pruned=pruned)])
    assert list(fig.layout.xaxis.ticktext) == ["−∞"]
    assert "skip, a tie" in texts(fig)
    lanes = [by_name(fig)[name][0].y[0] for name in ("skip", "conv3x3")]
    assert lanes == pytest.approx([-0.3, 0.3])  # equal scores do not hide each other


def test_trace_names_what_the_path_rule_undid() -> None:
    pruned = (Decision(Edge(1, 0), Op.CONV3X3, -2.0, undone=Op.SKIP),)
    fig = figures.prune_trace([step(pruned=pruned)])
    assert "conv3x3 −2 (path)" in texts(fig)
    assert "(path): the highest would have cut the last path" in heading(fig)
    assert "(path)" not in heading(figures.prune_trace([step()]))


def test_trace_of_a_real_search_has_a_panel_per_round() -> None:
    steps = list(prune_search(SPACES["snasnet"], lambda mask: float(sum(len(str(ops)) for ops in mask.alive))))
    traces = by_name(fig := figures.prune_trace(steps))
    shown = [[len(trace.x) for op in Op if op in traces for trace in traces[op] if trace.yaxis == axis]
             for axis in ("y", "y2", "y3", "y4")]  # fmt: skip
    assert [sum(counts) for counts in shown] == [60, 48, 36, 24]
    assert len(traces["margin"]) == 48
    assert [trace.showlegend for trace in traces["pruned"]] == [True, False, False, False]
    assert len(fig.to_json()) < 100_000


def test_trace_reads_rows_from_a_file() -> None:
    scores = [["1<-0", "skip", -10.0], [[1, 0], "conv3x3", -12.0]]
    pruned = [{"edge": "1<-0", "op": "skip", "margin": 2.0, "undone": None}]
    assert "skip +2" in texts(figures.prune_trace([{"round": 1, "scores": scores, "pruned": pruned}]))


# ---- runs ------------------------------------------------------------------------------------------------------------


def test_curves_show_validation_strong_and_training_faint() -> None:
    fig = figures.record_curves({"found": epochs([0.5, 0.8, 0.7]), "random": epochs([0.4, 0.5])})
    assert len(fig.data) == 8
    strong, faint = fig.data[:2]
    assert (strong.line.width, strong.opacity, faint.line.width, faint.opacity) == (2.5, 1, 1.2, 0.5)
    assert [trace.name for trace in fig.data if trace.showlegend] == ["found (80.0 %)", "random (50.0 %)"]
    assert list(fig.data[2].y) == [50, 80, 70]
    assert {trace.line.dash for trace in fig.data[4:]} == {DASHES[1]}
    one = figures.record_curves({"one": epochs([0.5])})
    assert one.data[0].mode == "lines+markers"  # a line of one point is nothing


def test_networks_are_compared_in_units() -> None:
    fig = figures.compare_networks([row("found"), SimpleNamespace(**row("all-conv", synops=1.32e6))], note="45 nm")
    assert texts(fig) == ["test accuracy (%)", "parameters (k)", "SynOps per sample (M)", "energy per sample (µJ)"]
    assert [list(bars.text) for bars in fig.data] == [
        ["97 %", "97 %"],
        ["21.45 k", "21.45 k"],
        ["412 k", "1.32 M"],
        ["1.2 µJ", "1.2 µJ"],
    ]
    assert list(fig.data[2].x) == pytest.approx([0.412, 1.32])
    assert fig.data[0].marker.color == PALETTE[:2]
    assert "45 nm" in heading(fig)


# ---- what is refused -------------------------------------------------------------------------------------------------

REFUSED = {
    r"kernel must be a non-empty \[B, B\] array, got shape \(3,\)": lambda: figures.kernel_heatmap(np.ones(3)),
    r"kernel must be a symmetric \[B, B\] matrix, got shape \(2, 3\)": lambda: figures.kernel_heatmap(np.ones((2, 3))),
    r"symmetric": lambda: figures.eigenvalue_spectrum([[1, 2], [0, 1]]),
    r"kernel must hold numbers without NaN": lambda: figures.kernel_heatmap([[np.nan]]),
    r"unknown kind 'sahd'; expected one of K, hamming, d": lambda: figures.kernel_heatmap(np.eye(2), kind="sahd"),
    r"labels must be one per sample, shape \(2,\); got \(3,\)": lambda: figures.kernel_heatmap(
        np.eye(2), labels=[1, 2, 3]
    ),
    r"spikes must be a non-empty \[T, N\] array, got shape \(2, 1, 3\)": lambda: figures.spike_raster(
        np.ones((2, 1, 3))
    ),
    r"spikes must be a non-empty .* got shape \(0, 3\)": lambda: figures.spike_raster(np.ones((0, 3))),
    r"spikes must be 0 or 1, got values from 0.0 to 0.5": lambda: figures.spike_raster([[0, 0.5]]),
    r"at least one of the neurons must be shown, got .* 0": lambda: figures.spike_raster([[0, 1]], max_neurons=0),
    r"rates need one row per name; got 1 names and 2 rows": lambda: figures.firing_rates(["a"], [[0.1], [0.2]]),
    r"rates must be shares within 0..1, got values from 12 to 30": lambda: figures.firing_rates(["a"], [[12, 30]]),
    r"val_accuracy must be shares within 0..1": lambda: figures.record_curves({"a": epochs([97.0])}),
    r"this record has no 'train_accuracy'": lambda: figures.record_curves({"a": [{"epoch": 1, "val_accuracy": 0.5}]}),
    r"prune_trace needs steps with scores": lambda: figures.prune_trace([]),
    r"none of them NaN": lambda: figures.prune_trace([step(scores=((Edge(1, 0), Op.SKIP, float("nan")),))]),
    r"conv1x1 was pruned from edge 1<-0, but": lambda: figures.prune_trace(
        [step(pruned=(Decision(Edge(1, 0), Op.CONV1X1, 1.0),))]
    ),
    r"unknown op 'conv33x3'": lambda: figures.prune_trace([step(scores=((Edge(1, 0), "conv33x3", 1.0),))]),
    r"at least one row, got none": lambda: figures.compare_networks([]),
    r"test_accuracy must be shares": lambda: figures.compare_networks([row("a", test_accuracy=97)]),
    r"this record has no 'synops'": lambda: figures.compare_networks([{**EMPTY}]),
}
EMPTY = {"name": "a", "test_accuracy": 0.5, "parameters": 1}


@pytest.mark.parametrize("message", REFUSED)
def test_bad_input_is_refused_with_a_reason(message: str) -> None:
    with pytest.raises(ValueError, match=message):
        REFUSED[message]()


def test_figures_need_no_torch() -> None:
    code = "import sys, lightsnn_kit.figures; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


# ---- the cell unrolled -----------------------------------------------------------------------------------------------


def test_a_backward_edge_leads_to_the_next_step() -> None:
    cell = Cell.from_edges({"1<-0": "conv3x3", "2<-1": "skip", "0<-2": "conv3x3", "1<-2": "zeroize"}, num_nodes=3)
    fig = figures.cell_unrolled(cell, steps=3)
    ends = {trace.name: ((trace.x[0], trace.y[0]), (trace.x[-1], trace.y[-1])) for trace in fig.data}
    assert [name for name in ends if name.startswith("0<-2")] == [
        "0<-2 conv3x3, step t to t + 1",
        "0<-2 conv3x3, step t + 1 to t + 2",
    ]  # what the last step hands on is not drawn
    (x0, y0), (x1, y1) = ends["0<-2 conv3x3, step t to t + 1"]
    assert (round(y0), round(y1), round((x0 + 0.5) / 3), round((x1 - 0.5) / 3)) == (-2, 0, 0, 1)  # node 2 to node 0
    assert len([name for name in ends if name.startswith("1<-0")]) == 3
    assert not any("zeroize" in name for name in ends)
    assert {trace.line.dash for trace in fig.data if "<-2" in trace.name} == {"dash"}
    assert "handed" in fig.layout.title.text or "hands" in fig.layout.title.text
    alone = figures.cell_unrolled(Cell.parse("|skip~0|"))
    assert "every step is computed alone" in alone.layout.title.text
