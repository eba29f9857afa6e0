"""What the pictures of one round and of runs show, as numbers: lengths of bars, marks, means, error bars, notes."""

from __future__ import annotations

import re
from types import SimpleNamespace

import plotly.graph_objects as go
import pytest

from lightsnn_kit import figures
from lightsnn_kit.cells import Edge, Op
from lightsnn_kit.search import Decision

INF = float("inf")


def heading(fig: go.Figure) -> str:
    return re.sub("<[^>]+>", "", fig.layout.title.text.replace("<br>", " "))


def named(fig: go.Figure, name: str) -> go.Scatter:
    return next(trace for trace in fig.data if trace.name == name)


# ---- one round -------------------------------------------------------------------------------------------------------


def a_round(**changes: object) -> SimpleNamespace:
    """Margins 2, 0.3 and ∞ on three edges: a quarter of the median of the finite ones is 0.2875."""
    scores = ((Edge(1, 0), Op.SKIP, -10.0), (Edge(1, 0), Op.CONV3X3, -12.0), (Edge(1, 0), Op.ZEROIZE, -15.0))
    scores += ((Edge(2, 0), Op.SKIP, -9.0), (Edge(2, 0), Op.CONV3X3, -9.3))
    scores += ((Edge(0, 1), Op.SKIP, -INF), (Edge(0, 1), Op.CONV3X3, -30.0))
    pruned = (Decision(Edge(1, 0), Op.SKIP, 2.0), Decision(Edge(2, 0), Op.SKIP, 0.3))
    pruned += (Decision(Edge(0, 1), Op.CONV3X3, INF),)
    return SimpleNamespace(**({"round": 1, "scores": scores, "pruned": pruned} | changes))


def test_candidates_stand_above_the_lowest_of_their_edge() -> None:
    fig = figures.prune_round(a_round(), edge="1<-0")
    bars = named(fig, "candidates")
    assert list(bars.x) == [5, 3, 0]  # −10, −12, −15 above −15: the longest minus the next is the margin, 2
    assert list(bars.y) == ["<b>skip, pruned</b>", "conv3x3", "zeroize"]
    assert list(bars.text) == ["<b>−10</b>", "−12", "−15"]
    assert list(bars.marker.line.width) == [2.5, 0, 0]
    assert list(bars.customdata) == ["skip", "conv3x3", "zeroize"]


def test_margins_near_zero_are_hatched_and_marked() -> None:
    fig = figures.prune_round(a_round(), noise=0.5)
    margins = named(fig, "margins")
    assert list(margins.text) == ["skip +2", "≈ skip +0.3", "conv3x3 +∞"]
    assert list(margins.marker.pattern.shape) == ["", "/", ""]
    assert list(margins.customdata) == ["1<-0", "2<-0", "0<-1"]
    assert "within 0.5 of 0 (1 of 3), uncertain" in heading(fig)
    assert "Round 1, edge 2←0" in heading(fig)  # the least certain one is shown from near
    assert list(fig.layout.yaxis2.ticktext) == ["1←0", "<b>▸ 2←0</b>", "0←1 (t+1)"]
    band = next(shape for shape in fig.layout.shapes if shape.type == "rect")
    assert (band.x0, band.x1) == pytest.approx((-0.2, 0.3))  # the highest is 0.3 above the lowest


def test_the_default_noise_is_a_quarter_of_the_median_margin() -> None:
    assert figures.margin_noise(a_round()) == pytest.approx(0.25 * 1.15)
    assert figures.margin_noise({"pruned": [{"margin": 0.0}, {"margin": INF}]}) == 0.0
    assert "(0 of 3)" in heading(figures.prune_round(a_round()))


def test_ties_are_uncertain_without_any_noise() -> None:
    scores = [("1<-0", "skip", -INF), ("1<-0", "conv3x3", -INF)]
    tie = {"round": 2, "scores": scores, "pruned": [{"edge": "1<-0", "op": "conv3x3", "margin": 0.0, "undone": None}]}
    fig = figures.prune_round(tie)
    assert list(named(fig, "margins").text) == ["≈ conv3x3, a tie"]
    assert list(named(fig, "candidates").text) == ["−∞", "<b>−∞</b>"]
    assert "exact ties (1 of 1)" in heading(fig)


def test_choices_that_the_path_rule_undid_are_named() -> None:
    pruned = (Decision(Edge(1, 0), Op.CONV3X3, -2.0, undone=Op.SKIP),)
    margins = named(figures.prune_round(a_round(pruned=pruned), noise=0.1), "margins")
    assert (list(margins.x), list(margins.text)) == ([-2], ["conv3x3 −2 (path)"])


def test_what_a_round_cannot_show_is_refused() -> None:
    with pytest.raises(ValueError, match=r"pruned nothing on edge 3<-0; edges it pruned: 1<-0, 2<-0, 0<-1\."):
        figures.prune_round(a_round(), edge="3<-0")
    with pytest.raises(ValueError, match="noise must be a finite margin of at least 0, got -1"):
        figures.prune_round(a_round(), noise=-1)
    with pytest.raises(ValueError, match="edges it pruned: none"):
        figures.prune_round(a_round(pruned=()))


# ---- live curves -----------------------------------------------------------------------------------------------------


def epoch(number: int, **changes: float) -> dict[str, float]:
    record = {"epoch": number, "train_loss": 2 / number, "val_loss": 3 / number}
    return record | {"train_accuracy": 0.5, "val_accuracy": 0.4} | changes


def test_scores_come_with_the_best_so_far_and_what_is_left() -> None:
    rows = [{"score": value} for value in (-5.0, -INF, -7.0, -1.0)]
    fig = figures.record_curves({"search": rows}, totals={"search": 60})
    assert list(named(fig, "search, best so far").y) == [-5, -5, -5, -1]
    assert list(named(fig, "search, scores").x) == [1, 3, 4]
    dead = named(fig, "−∞ (dead)")
    assert (list(dead.x), list(dead.y)) == ([2], [pytest.approx(-7 - 0.12 * 6)])
    assert fig.layout.xaxis.range[1] > 60


def test_nothing_but_dead_candidates_can_be_drawn() -> None:
    fig = figures.record_curves({"search": [{"score": -INF}] * 2})
    assert list(named(fig, "search, best so far").y) == [None, None]


def test_epochs_have_a_panel_of_losses_and_one_of_accuracies() -> None:
    fig = figures.record_curves({"found": [epoch(1), epoch(2, val_accuracy=0.9)], "random": []}, totals={"random": 15})
    assert [list(trace.y) for trace in fig.data] == [[3, 1.5], [2, 1], [40, 90], [50, 50]]
    assert "Waiting for the first record: random." in heading(fig)
    assert [trace.showlegend for trace in fig.data] == [True, False, False, False]


def test_scores_and_epochs_have_axes_of_their_own() -> None:
    """60 scores reach to 60.5 + 2 % of 60; 15 epochs expected to 15.5 + 2 % of 15, in both panels of the training."""
    records = {"search": [{"score": float(i)} for i in range(60)], "found": [epoch(1)]}
    layout = figures.record_curves(records, totals={"found": 15}).layout
    axes = (layout.xaxis, layout.xaxis2, layout.xaxis3)
    assert [axis.range[1] for axis in axes] == pytest.approx([61.7, 15.8, 15.8])
    assert [axis.title.text for axis in axes] == ["candidate scored", "epoch", "epoch"]


def test_long_series_are_thinned_with_a_note() -> None:
    fig = figures.record_curves({"random": [{"score": float(i)} for i in range(50_000)]})
    assert "2000 of 50,000 scores, evenly spaced" in heading(fig)
    assert len(fig.to_json()) < 300_000


def test_no_records_are_no_error() -> None:
    assert "Nothing is recorded yet." in heading(figures.record_curves({}))
    assert "Waiting for the first record: search" in heading(figures.record_curves({"search": []}))


# ---- accuracy against cost -------------------------------------------------------------------------------------------


def run(name: str, accuracy: float, cost: float) -> dict[str, object]:
    return {"name": name, "test_accuracy": accuracy, "synops": cost, "energy_pj": cost, "parameters": 21_000}


def test_seeds_become_a_mean_with_error_bars() -> None:
    rows = [run("found", 0.96, 4e5), run("random", 0.9, 3e5), run("found", 0.98, 6e5)]
    fig = figures.runs_scatter(rows)
    faint, mean, _, single = fig.data
    assert (list(faint.x), list(faint.y), list(faint.customdata)) == ([400, 600], [96, 98], [0, 2])
    assert (mean.x[0], mean.y[0]) == (500, 97)
    assert mean.error_y.array[0] == pytest.approx(2**0.5)  # √(((−1)² + 1²) / (2 − 1))
    assert mean.error_x.array[0] == pytest.approx(100 * 2**0.5)
    assert (list(mean.text), list(single.text)) == (["found (n = 2)"], ["random"])
    assert single.error_y.array is None
    assert {mean.marker.symbol, single.marker.symbol} == {"circle", "square"}
    assert fig.layout.xaxis.title.text == "SynOps per sample (k)"


def test_many_names_go_into_a_legend_and_no_two_look_alike() -> None:
    fig = figures.runs_scatter([run(f"method {i}", 0.5, 1e5 + i) for i in range(13)])
    means = fig.data[1::2]
    assert [mean.name for mean in means] == [f"method {i}" for i in range(13)]
    assert {(mean.mode, mean.showlegend) for mean in means} == {("markers", True)}
    assert len({(mean.marker.symbol, mean.marker.color) for mean in means}) == 13


def test_the_cost_can_be_chosen_and_one_run_each_is_said() -> None:
    fig = figures.runs_scatter([run("found", 0.96, 4e5)], cost="energy_pj")
    assert fig.layout.xaxis.title.text == "energy per sample (nJ)"
    assert "One run each" in heading(fig)


def test_a_scatter_refuses_what_it_cannot_draw() -> None:
    with pytest.raises(ValueError, match="unknown cost 'time'; expected one of synops, energy_pj, parameters"):
        figures.runs_scatter([run("found", 0.9, 1)], cost="time")
    with pytest.raises(ValueError, match="at least one row"):
        figures.runs_scatter([])
    with pytest.raises(ValueError, match=r"shares within 0\.\.1"):
        figures.runs_scatter([run("found", 97, 1)])


@pytest.mark.parametrize("theme", figures.THEMES)
def test_every_figure_has_both_themes(theme: str) -> None:
    surface = figures.THEMES[theme].surface
    for fig in (
        figures.prune_round(a_round(), theme=theme),
        figures.record_curves({"found": [epoch(1)]}, theme=theme),
        figures.runs_scatter([run("found", 0.9, 1)], theme=theme),
    ):
        assert fig.layout.template.layout.paper_bgcolor == surface
        assert fig.layout.width is None
