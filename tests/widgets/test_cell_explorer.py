"""CellExplorer and the graph it is made of: edits, history, presets, files, scores of the newest cell only."""

from __future__ import annotations

import asyncio
import errno
import gc
import json
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightsnn_kit.cells import Cell, Edge, Op
from lightsnn_kit.files import RunError, RunExistsError, read_json
from lightsnn_kit.kernels import SpikeStatistics
from lightsnn_kit.lab.cell_measures import measure_cell, parameters_of
from lightsnn_kit.lab.saved_cells import load_cell
from lightsnn_kit.networks import NetworkConfig, build_network, build_supernet
from lightsnn_kit.scoring import Scorer
from lightsnn_kit.spaces import PUBLISHED_CELLS, SPACES, CellSpace, OpMask
from lightsnn_kit.widgets import CellExplorer, CellGraph
from lightsnn_kit.widgets.cell_facts import change, facts, facts_html
from lightsnn_kit.widgets.cell_graph import graph_data

SPACE = SPACES["lightsnn"]
CHAIN = Cell.from_edges({"1<-0": "conv3x3", "2<-1": "conv3x3", "3<-2": "conv3x3", "3<-0": "skip"}, num_nodes=4)
CONFIG = NetworkConfig(input_shape=(1, 8, 8), num_classes=2, width=4, hidden=8, num_steps=3)
cells = st.integers(0, 2**32 - 1).map(lambda seed: SPACE.sample(np.random.default_rng(seed)))


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    x = torch.randint(0, 256, (2, 6, 1, 8, 8), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    return Scorer(supernet=build_supernet(SPACE, CONFIG), batches=tuple(x), engine="plain")


@pytest.fixture
def explorer(tmp_path: Path) -> Iterator[CellExplorer]:
    view = CellExplorer(CHAIN, folder=tmp_path / "cells")
    yield view
    view.close()


class CountingScorer:
    """Two samples that differ in as many spikes as the cell has convolutions; counts what it is asked."""

    def __init__(self) -> None:
        self.asked: list[Cell] = []
        self.go = threading.Event()
        self.go.set()

    def statistics(self, mask: OpMask, **options: bool) -> tuple[SpikeStatistics, ...]:
        assert self.go.wait(10)
        self.asked.append(mask.to_cell())
        n = self.asked[-1].num_convs
        distance = torch.tensor([[[[0, n], [n, 0]]]])  # [L, T, B, B]
        return (SpikeStatistics((("down.1",),), torch.tensor([16]), torch.tensor([[[n, 0]]]), distance),)


def press(explorer: CellExplorer, edge: str, op: str, number: int = 1) -> None:
    """What the page sends for a click, a key or a drop."""
    explorer.graph._handle_custom_msg({"kind": "edit", "edge": edge, "op": op, "number": number}, [])


# ---- the graph -------------------------------------------------------------------------------------------------------


def test_graph_of_a_cell_says_what_is_dead() -> None:
    data = graph_data(CHAIN.replace(Edge(2, 1), "zeroize"))
    edges = {edge["key"]: edge for edge in data["edges"]}
    assert list(edges) == [str(edge) for edge in CHAIN.edges]
    assert data["dead"] == [1, 2]
    assert [key for key, edge in edges.items() if edge["live"]] == ["3<-0"]
    assert edges["1<-0"]["ops"] == [["conv3x3", True]]
    assert (edges["0<-3"]["source"], edges["0<-3"]["target"]) == (3, 0)


def test_graph_of_a_mask_keeps_the_pruned_ops() -> None:
    data = graph_data(SPACE.full_mask().without(Edge(1, 0), Op.SKIP))
    assert data["edges"][0]["ops"] == [["zeroize", True], ["skip", False], ["conv3x3", True]]
    assert data["dead"] == []
    with pytest.raises(ValueError, match="shows a Cell or an OpMask, got 3"):
        graph_data(3)


@given(cell=cells)
def test_graph_agrees_with_the_cell(cell: Cell) -> None:
    data = graph_data(cell)
    assert [edge["ops"][0][0] for edge in data["edges"]] == [str(op) for op in cell.ops]
    assert set(data["dead"]) == cell.dead_nodes
    live = {Edge.parse(edge["key"]) for edge in data["edges"] if edge["live"]}
    assert live <= set(cell.live_edges)
    assert live == {edge for edge in cell.live_edges if edge.source in cell.fed_nodes}


def test_graph_answers_every_edit_with_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    graph, edits, sent = CellGraph(CHAIN, space=SPACE), [], []
    monkeypatch.setattr(graph, "send", sent.append)
    graph.on_edit(lambda edge, op: edits.append((edge, op)))
    graph._handle_custom_msg({"kind": "edit", "edge": "3<-0", "op": "conv3x3", "number": 7}, [])
    assert edits == [(Edge(3, 0), Op.CONV3X3)]
    assert sent == [{"kind": "edited", "edge": "3<-0", "op": "conv3x3", "number": 7}]
    assert [entry["op"] for entry in graph.palette] == ["zeroize", "skip", "conv3x3"]
    assert len({entry["glyph"] for entry in graph.palette}) == 3
    graph.close()
    assert graph._on_edit == []


# ---- edits and history -----------------------------------------------------------------------------------------------


def test_an_edit_on_the_page_changes_the_cell_and_what_is_shown(explorer: CellExplorer) -> None:
    press(explorer, "3<-0", "conv3x3")
    assert explorer.cell == CHAIN.replace(Edge(3, 0), Op.CONV3X3)
    assert explorer.graph.graph == graph_data(explorer.cell)
    assert explorer.text.value == str(explorer.cell)
    assert [button.text for button in explorer.copies] == [str(explorer.cell), "0303 0030 0003 0000"]
    assert ">4</td>" in explorer.facts.value  # convolutions


def test_the_cell_is_a_trait_that_is_set_and_observed(explorer: CellExplorer) -> None:
    seen = []
    explorer.observe(lambda change: seen.append(change["new"]), "cell")
    explorer.cell = "0303 0030 0003 0000"
    explorer.cell = SPACE.uniform("skip")
    assert [cell.num_convs for cell in seen] == [4, 0]
    with pytest.raises(ValueError, match="uses conv1x1; the ops of this space are zeroize, skip, conv3x3"):
        explorer.cell = PUBLISHED_CELLS["snasnet-cifar10"]
    assert explorer.cell == SPACE.uniform("skip")


def test_undo_and_redo(explorer: CellExplorer) -> None:
    explorer.undo()
    assert explorer.cell == CHAIN
    for op in ("conv3x3", "zeroize"):
        press(explorer, "3<-0", op)
    assert not explorer.back.disabled
    assert explorer.forth.disabled
    explorer.back.click()
    explorer.back.click()
    assert explorer.cell == CHAIN
    assert explorer.back.disabled
    explorer.forth.click()
    assert explorer.cell.op(Edge(3, 0)) is Op.CONV3X3
    press(explorer, "1<-0", "skip")  # a new branch: what was undone is gone
    explorer.redo()
    assert (explorer.cell.op(Edge(1, 0)), explorer.cell.op(Edge(3, 0))) == (Op.SKIP, Op.CONV3X3)
    explorer.undo()
    explorer.undo()
    assert explorer.cell == CHAIN


def test_presets_and_random_cells(explorer: CellExplorer) -> None:
    names = [name for name, _ in explorer.preset.options]
    assert names == ["choose a cell …", "all skip", "all conv3x3", "SNASNet, CIFAR10", "SNASNet, CIFAR100"]
    explorer.preset.value = "all conv3x3"
    assert explorer.cell == SPACE.uniform("conv3x3")
    assert explorer.preset.value == ""  # it may be chosen again
    explorer.preset.value = "SNASNet, CIFAR10"
    assert "⚠ this cell uses conv1x1" in explorer.message.value
    assert explorer.cell == SPACE.uniform("conv3x3")
    explorer.draw.click()
    assert explorer.message.value == ""
    drawn = explorer.cell
    explorer.draw.click()
    assert drawn in SPACE
    assert explorer.cell != drawn


def test_published_cells_lie_in_their_space() -> None:
    explorer = CellExplorer(space="snasnet", presets={"mine": "0303 0030 2002 0200"})
    assert explorer.cell == SPACES["snasnet"].uniform("conv3x3")
    for name in ("SNASNet, CIFAR10", "SNASNet, CIFAR100", "mine"):
        explorer.preset.value = name
        assert explorer.message.value == ""
    assert explorer.cell == PUBLISHED_CELLS["snasnet-cifar10"]
    explorer.close()


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("|conv3x3~0|", "nodes"),
        ("0303 0030 0003", "square"),
        ("|conv3x4~0|+|skip~0|skip~1|+|skip~0|skip~1|skip~2|", "Did you mean &#x27;conv3x3&#x27;?"),
        ("0303 0030 2002 0200", "uses conv1x1"),
    ],
)
def test_a_wrong_text_becomes_a_message(explorer: CellExplorer, typed: str, said: str) -> None:
    explorer.text.value = typed
    assert 'role="alert"' in explorer.message.value
    assert said in explorer.message.value
    assert explorer.cell == CHAIN
    explorer.text.value = "0103 0030 0003 0000"
    assert explorer.message.value == ""
    assert str(explorer.cell.op(Edge(1, 0))) == "skip"


def test_a_cell_is_taken_into_a_space() -> None:
    forward = SPACES["lightsnn-forward"]
    assert forward.read("0303 0030 0003 0000") in forward  # a matrix always has backward edges: empty ones are dropped
    with pytest.raises(ValueError, match="uses 0<-3, which the space does not have"):
        forward.read("0303 0030 0003 3000")
    with pytest.raises(ValueError, match=r"a SNASNet matrix is square and of integers, .* got 3\."):
        forward.read(3)
    with pytest.raises(ValueError, match="unknown space 'lightsn'"):
        CellExplorer(space="lightsn")


# ---- files -----------------------------------------------------------------------------------------------------------


def test_cells_are_saved_and_never_overwritten_silently(explorer: CellExplorer) -> None:
    explorer.file.value = "chain"
    explorer.save_button.click()
    path = explorer.folder / "chain.json"
    assert read_json(path) == {"cell": str(CHAIN), "matrix": "0301 0030 0003 0000"}
    assert explorer.file.options == ("chain",)
    assert f"saved as {path}" in explorer.message.value
    press(explorer, "3<-0", "zeroize")
    before = path.read_bytes()
    explorer.save_button.click()
    assert "exists; type another name" in explorer.message.value
    assert path.read_bytes() == before
    explorer.overwrite.value = True
    explorer.save_button.click()
    assert json.loads(path.read_text())["matrix"] == "0300 0030 0003 0000"
    with pytest.raises(RunExistsError):
        explorer.save("chain")


def test_a_full_disk_is_told_and_takes_nothing(explorer: CellExplorer, monkeypatch: pytest.MonkeyPatch) -> None:
    explorer.save("chain")
    before = (explorer.folder / "chain.json").read_bytes()

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    press(explorer, "3<-0", "zeroize")
    changed = explorer.cell
    explorer.file.value, explorer.overwrite.value = "chain", True
    for button in (explorer.save_button, explorer.pin_button):
        explorer.say("")
        button.click()
        assert "No space left on device" in explorer.message.value
        assert "make room" in explorer.message.value
    assert (explorer.cell, explorer.other) == (changed, None)
    assert (explorer.folder / "chain.json").read_bytes() == before


def test_cells_are_loaded(explorer: CellExplorer) -> None:
    explorer.save("chain")
    explorer.cell = SPACE.uniform("skip")
    explorer.file.value = "chain"
    explorer.load_button.click()
    assert explorer.cell == CHAIN
    assert "loaded chain" in explorer.message.value
    for name, said in (("nothing", "there are: chain"), ("../chain", "no name for a file"), ("", "no name")):
        explorer.file.value = name
        explorer.load_button.click()
        assert said in explorer.message.value
    (explorer.folder / "other.json").write_text('{"score": 3}')
    with pytest.raises(RunError, match="holds no cell"):
        explorer.load("other")
    assert explorer.cell == CHAIN


def test_what_was_edited_and_not_saved_outlives_its_kernel(explorer: CellExplorer) -> None:
    press(explorer, "3<-0", "zeroize")
    one = explorer.cell
    press(explorer, "3<-0", "conv3x3", 2)
    explorer.undo()  # goes to a cell that was noted
    later = CellExplorer(CHAIN, folder=explorer.folder)
    assert [option for option, _ in later.preset.options][-2:] == ["edited last", "edited last but 1"]
    later.preset.value = "edited last but 1"
    assert later.cell == one
    (explorer.folder / ".edited").write_bytes(b"\xff no cell\n" + b"|skip~0|\n" * 9000)  # longer than is read
    small = CellExplorer(space=CellSpace(("zeroize", "skip"), 2, backward=False), folder=explorer.folder)
    assert [option for option, _ in small.preset.options][-1] == "edited last"
    assert "edited last" not in dict(CellExplorer(CHAIN, folder=explorer.folder).preset.options)  # of another space
    (explorer.folder / "file").touch()
    blocked = CellExplorer(CHAIN, folder=explorer.folder / "file" / "x")  # as a disk that takes nothing
    press(blocked, "3<-0", "zeroize")
    assert blocked.cell == one
    assert "edits will not outlive this kernel" in blocked.message.value
    press(blocked, "3<-0", "skip", 2)
    assert blocked.message.value == ""  # told once
    for view in (later, small, blocked):
        view.close()


# ---- numbers ---------------------------------------------------------------------------------------------------------


def test_measures_are_those_of_the_scorer(scorer: Scorer) -> None:
    found, mask = measure_cell(CHAIN, SPACE, scorer), OpMask.from_cell(CHAIN, SPACE)
    assert found.sahd == scorer(mask)
    assert found.hd == Scorer(supernet=scorer.supernet, batches=scorer.batches, proxy="hd", engine="plain")(mask)
    assert np.array_equal(found.kernels["sahd"], scorer.statistics(mask)[0].kernel().numpy())
    rows = [f"cell {cell}, node {node} (1 conv)" for cell in (1, 2) for node in range(3)]
    assert list(found.rates) == [*rows[:3], "between the cells", *rows[3:], "after cell 2", "hidden layer"]
    both = [scorer.statistics(mask)[i].firing_rate["down.1"].numpy() for i in (0, 1)]
    assert np.allclose(found.rates["between the cells"], np.mean(both, axis=0), rtol=1e-12)


def test_equal_layers_are_one_row(scorer: Scorer) -> None:
    rates = measure_cell(SPACE.uniform("conv3x3"), SPACE, scorer).rates
    assert len(rates) == 11  # 27 LIF layers: four sources in each cell, and three more
    assert "cell 1, node 3 (3 convs)" in rates


@given(cell=cells)
def test_parameters_are_those_of_the_built_network(cell: Cell) -> None:
    supernet = build_supernet(SPACE, CONFIG, init="stock")
    scorer = Scorer(supernet=supernet, batches=(torch.zeros(2, 1, 8, 8),), engine="plain")
    assert parameters_of(cell, SPACE, scorer) == build_network(cell, CONFIG).num_parameters


def test_a_dead_cell_scores_minus_infinity(scorer: Scorer) -> None:
    explorer = CellExplorer(SPACE.uniform("zeroize"), scorer=scorer)
    assert explorer.measures().sahd == -np.inf
    assert ">−∞</td>" in explorer.facts.value
    assert "no path!" in explorer.facts.value
    assert "SAHD −∞" in explorer.figure().layout.title.text
    assert explorer._repr_mimebundle_()["text/plain"] == f"CellExplorer: {explorer.cell}"
    explorer.close()


def test_facts_by_hand() -> None:
    cut = CHAIN.replace(Edge(2, 1), "zeroize").replace(Edge(0, 3), "conv3x3")
    rows = facts(measure_cell(cut, SPACE, None), row={"test_accuracy": 0.9625})
    assert rows["Convolutions"] == ("3", "1 reach nothing, 1 get no input")
    assert rows["Longest conv path"] == ("0", "forward edges")
    assert rows["SAHD score"] == ("–", "no scorer")
    assert rows["Test accuracy"] == ("96.2%", "after training")
    assert change(1.004, 1.0) == "= 0.00"
    assert cut.matrix_text() == "0301 0000 0003 3000"
    pool = CellSpace(("zeroize", "maxpool3x3"), 2, backward=False).uniform("maxpool3x3")
    assert pool.matrix_text() == ""
    assert "No matrix form: maxpool3x3" in facts_html(facts(measure_cell(pool, SPACE, None)), pool)


def test_figures_without_a_scorer(explorer: CellExplorer) -> None:
    assert "Cell:" in explorer.figure().layout.title.text
    with pytest.raises(ValueError, match="no scorer was given"):
        explorer.kernel_figure()
    with pytest.raises(ValueError, match="no scorer was given"):
        explorer.rates_figure()


def test_plots_follow_cell_kind_and_theme(scorer: Scorer) -> None:
    explorer = CellExplorer(CHAIN, scorer=scorer, labels=[0, 1, 0, 1, 2, 2])
    scores = explorer.made["Scores"]
    before = (scores.kernel.spec, scores.rates.spec)
    press(explorer, "3<-0", "conv3x3")
    assert scores.kernel.spec != before[0]
    assert scores.rates.spec != before[1]
    scores.kind.value = "hd"
    assert "HD kernel, first batch" in scores.kernel.spec
    explorer._page.theme = "dark"
    assert "#111111" in scores.kernel.spec
    assert explorer.figure().layout.paper_bgcolor is None
    assert max(scores.kernel.payload, scores.rates.payload) < 100_000
    assert "▲" in explorer.facts.value or "▼" in explorer.facts.value
    explorer.close()


# ---- the other cell --------------------------------------------------------------------------------------------------


def test_a_pinned_cell_is_kept_and_compared(scorer: Scorer, tmp_path: Path) -> None:
    explorer = CellExplorer(CHAIN, scorer=scorer, folder=tmp_path)
    alone = explorer.facts.value
    assert explorer.take_button.disabled
    explorer.pin_button.click()
    assert "pinned as pinned-1" in explorer.message.value
    assert load_cell(tmp_path, "pinned-1") == CHAIN  # a file: it outlives the kernel
    assert explorer.other == ("pinned-1", CHAIN)
    assert explorer.top.children == (explorer.graph, explorer.other_graph, explorer.facts)
    press(explorer, "3<-0", "conv3x3")
    for graph in (explorer.graph, explorer.other_graph):
        assert [edge["key"] for edge in graph.graph["edges"] if edge["marked"]] == ["3<-0"]
    assert explorer.other_graph.graph["edges"][3]["ops"] == [["skip", True]]
    for name in ("SAHD score", "Parameters", "Convolutions", "Longest conv path", "Firing rate", "SynOps"):
        [line] = [line for line in explorer.facts.value.split("<tr>") if f">{name}<" in line]
        values = [measure_cell(cell, SPACE, scorer) for cell in (explorer.cell, CHAIN)]
        assert [facts(found)[name][0] in line for found in values] == [True, True]
    assert '<th scope="col">pinned-1</th>' in explorer.facts.value
    scores = explorer.made["Scores"]
    assert scores.plots.children == (scores.kernel, scores.other_kernel, scores.rates, scores.other_rates)
    assert ", pinned-1" in scores.other_kernel.spec
    assert scores.other_rates.spec != scores.rates.spec
    explorer.take_button.click()
    assert explorer.cell == CHAIN
    explorer.compare.value = ""
    assert scores.plots.children == (scores.kernel, scores.rates)
    assert explorer.facts.value.count("<td") == alone.count("<td")
    assert explorer.pin() == "pinned-1"  # it is there already
    explorer.cell = SPACE.uniform("skip")
    assert explorer.pin() == "pinned-2"
    explorer.close()


def test_what_it_can_be_compared_with(explorer: CellExplorer) -> None:
    presets = ["all skip", "all conv3x3", "SNASNet, CIFAR10", "SNASNet, CIFAR100"]
    assert [name for name, _ in explorer.compare.options] == ["nothing", *(f"preset: {name}" for name in presets)]
    explorer.save("mine")
    explorer._take_rows(({"method": "cell-1", "cell": str(SPACE.uniform("skip")), "test_accuracy": 0.75},))
    assert [name for name, _ in explorer.compare.options][1:3] == ["saved: mine", "trained: cell-1"]
    explorer.compare.value = "trained: cell-1"
    assert explorer.other[1] == SPACE.uniform("skip")
    assert "75.0%" in explorer.facts.value
    explorer.compare.value = "preset: SNASNet, CIFAR10"
    assert "⚠ this cell uses conv1x1" in explorer.message.value
    assert (explorer.other, explorer.compare.value) == (None, "")
    explorer.compare.value = "saved: mine"
    (explorer.folder / "mine.json").unlink()
    explorer.save("other")  # the list is made anew
    assert (explorer.other, explorer.compare.value) == (None, "")
    explorer.folder = explorer.folder / "other.json"
    explorer.pin_button.click()
    assert "cannot write to the folder" in explorer.message.value


def test_an_edit_scores_its_cell_before_the_other() -> None:
    scorer = CountingScorer()
    explorer = CellExplorer(CHAIN, scorer=scorer)

    async def scene() -> None:
        explorer.cell = SPACE.uniform("conv3x3")
        explorer.compare.value = "preset: all skip"
        while explorer._running:
            await asyncio.sleep(0.01)

    asyncio.run(scene())
    assert scorer.asked[1:] == [SPACE.uniform("conv3x3"), SPACE.uniform("skip")]
    explorer.close()


def test_another_workshop_brings_other_scores_and_keeps_the_cell() -> None:
    first, second = CountingScorer(), CountingScorer()
    explorer = CellExplorer(CHAIN, scorer=first)
    press(explorer, "3<-0", "conv3x3")
    second.space, second.labels, second.rows = SPACE, np.arange(2), list
    explorer._move_to(second)
    explorer._show_pane()  # those of before are closed, and made again when they are asked for
    assert (first.asked[-1], second.asked) == (explorer.cell, [explorer.cell])
    assert explorer.made["Scores"].labels.tolist() == [0, 1]
    assert "▲" not in explorer.facts.value  # scores of before do not compare
    explorer.undo()
    assert second.asked == [CHAIN.replace(Edge(3, 0), Op.CONV3X3), CHAIN]
    second.space = SPACES["snasnet"]
    with pytest.raises(ValueError, match="this explorer shows cells of"):
        explorer._move_to(second)
    explorer.close()


# ---- rapid edits -----------------------------------------------------------------------------------------------------


def test_of_rapid_edits_only_the_newest_is_scored() -> None:
    scorer = CountingScorer()
    explorer = CellExplorer(SPACE.uniform("zeroize"), scorer=scorer)
    cells = [SPACE.sample(np.random.default_rng(seed)) for seed in range(40)]

    async def scene() -> None:
        scorer.go.clear()
        for cell in cells[:20]:
            explorer.cell = cell
        assert "scoring …" in explorer.facts.value  # the graph is there at once, the scores are not
        assert explorer.graph.graph == graph_data(cells[19])
        await asyncio.sleep(0.1)  # now cell 19 is being scored
        for cell in cells[20:]:
            explorer.cell = cell
            await asyncio.sleep(0)
        await asyncio.sleep(0.1)
        scorer.go.set()
        for _ in range(200):
            await asyncio.sleep(0.01)
            if not explorer._running:
                break

    asyncio.run(scene())
    assert scorer.asked[1:] == [cells[19], cells[39]]
    explorer.cell = cells[19]  # scored before
    assert (explorer._shown.cell, len(scorer.asked)) == (cells[19], 3)
    explorer.cell = cells[39]
    assert explorer._shown.cell == cells[39]
    assert "scoring …" not in explorer.facts.value
    explorer.close()


def test_python_sees_the_score_of_its_cell_at_once() -> None:
    scorer = CountingScorer()
    explorer = CellExplorer(CHAIN, scorer=scorer)

    async def scene() -> float:
        explorer.cell = SPACE.uniform("conv3x3")
        return explorer.measures().hd

    # two samples that differ in 12 of 16: K = [[16, 4], [4, 16]]
    assert asyncio.run(scene()) == pytest.approx(np.log(16**2 - 4**2))
    assert len(scorer.asked) == 2
    explorer.close()


def test_a_scorer_that_refuses_leaves_the_last_view() -> None:
    scorer = CountingScorer()
    explorer = CellExplorer(CHAIN, scorer=scorer)
    kernel = explorer.made["Scores"].kernel
    spec = kernel.spec

    def refuse(mask: OpMask, **options: bool) -> None:
        raise ValueError("the mask belongs to another space")

    async def scene() -> None:
        scorer.statistics = refuse
        explorer.cell = SPACE.uniform("skip")
        await asyncio.sleep(0.2)

    asyncio.run(scene())
    assert "the mask belongs to another space" in explorer.message.value
    assert kernel.spec == spec
    explorer.close()


def test_closing_while_it_scores_leaves_nothing() -> None:
    from ipywidgets.widgets.widget import _instances

    scorer = CountingScorer()
    CellExplorer(CHAIN, scorer=scorer).close()
    before, ghosts = len(_instances), []

    async def scene() -> None:
        for number in range(20):
            explorer = CellExplorer(CHAIN, scorer=scorer)
            ghosts.append(weakref.ref(explorer))
            press(explorer, "3<-0", "conv3x3")
            await asyncio.sleep(0.05 * (number % 3 == 0))  # some are closed while they score
            explorer.close()
        await asyncio.sleep(0.05)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(scene())
    gc.collect()
    assert len(_instances) == before
    assert [ghost() for ghost in ghosts if ghost()] == []
