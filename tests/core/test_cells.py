"""Cells, spaces and masks: sizes, strings, matrices, path analysis, sampling; numbers worked out by hand."""

import networkx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightsnn_kit.cells import Cell, Edge, Op, cell_edges
from lightsnn_kit.spaces import PUBLISHED_CELLS, SPACES, CellSpace, OpMask

ALL_OPS = CellSpace(tuple(Op))
LIGHTSNN = SPACES["lightsnn"]


def cells(space: CellSpace) -> st.SearchStrategy:
    return st.tuples(*[st.sampled_from(space.ops)] * len(space.edges)).map(lambda ops: Cell(space.num_nodes, ops))


@pytest.mark.parametrize(
    ("name", "size"), [("lightsnn", 3**12), ("lightsnn-forward", 729), ("snasnet", 5**12), ("snasnet-forward", 15625)]
)
def test_space_sizes(name, size):
    assert SPACES[name].size == size


@pytest.mark.parametrize(("nodes", "edges"), [(2, 2), (3, 6), (4, 12), (6, 30)])
def test_edges_of_any_number_of_nodes(nodes, edges):
    assert len(cell_edges(nodes)) == len(set(cell_edges(nodes))) == edges
    assert sum(not edge.is_backward for edge in cell_edges(nodes)) == edges // 2


def test_space_enumerates_itself_once():
    space = CellSpace(("zeroize", "skip"), 3, backward=False)
    assert len(set(space)) == space.size == 8
    assert all(cell in space for cell in space)


@given(cells(ALL_OPS))
def test_string_round_trip(cell):
    assert Cell.parse(str(cell)) == cell
    assert "\n" not in str(cell)


@given(cells(SPACES["snasnet"]))
def test_matrix_round_trip(cell):
    assert Cell.from_matrix(cell.to_matrix()) == cell


@given(st.integers(2, 6), st.booleans(), st.integers(0, 2**32 - 1))
def test_string_round_trip_of_any_size(nodes, backward, seed):
    cell = CellSpace(tuple(Op), nodes, backward).sample(np.random.default_rng(seed))
    assert Cell.parse(str(cell)) == cell


def test_published_cell_edge_by_edge():
    cell = PUBLISHED_CELLS["snasnet-cifar10"]  # 0303 0030 2002 0200, row = from, column = to
    used = {str(edge): str(op) for edge, op in cell.edge_ops.items() if op is not Op.ZEROIZE}
    assert used == {
        "1<-0": "conv3x3",
        "3<-0": "conv3x3",
        "2<-1": "conv3x3",
        "0<-2": "conv1x1",
        "3<-2": "conv1x1",
        "1<-3": "conv1x1",
    }
    assert not cell.dead_nodes
    assert cell.num_convs == 6
    assert cell.conv_path_lengths() == (1, 3)


def test_string_form_is_stable():
    cell = Cell.from_edges({"1<-0": "conv3x3", "0<-2": "skip"}, num_nodes=3)
    assert str(cell) == "|conv3x3~0|+|zeroize~0|zeroize~1|/|zeroize~1|skip~2|+|zeroize~2|"


def test_node_that_only_feedback_reaches_is_alive():
    # 0 -> 3 -> (back) 1 -> 3: node 1 gets its value one step later and is on a path to the output.
    cell = Cell.from_edges({"3<-0": "skip", "1<-3": "conv3x3", "3<-1": "skip"}, num_nodes=4)
    assert cell.dead_nodes == {2}
    assert set(map(str, cell.live_edges)) == {"3<-0", "1<-3", "3<-1"}


def test_unfed_node_is_dead_but_computed():
    cell = Cell.from_edges({"3<-0": "skip", "3<-2": "conv3x3"}, num_nodes=4)  # node 2 has no input, its BN bias counts
    assert 2 in cell.dead_nodes
    assert 2 in cell.reaching_nodes
    assert Edge(3, 2) in cell.live_edges


def test_edges_that_cannot_reach_the_output_are_not_live():
    cell = Cell.from_edges({"3<-0": "skip", "1<-0": "conv3x3", "2<-1": "conv3x3", "1<-2": "skip"}, num_nodes=4)
    assert set(map(str, cell.live_edges)) == {"3<-0"}
    assert cell.num_convs == 0
    assert cell.dead_nodes == {1, 2}


def test_all_zeroize_cell_has_no_path():
    cell = LIGHTSNN.uniform("zeroize")
    assert cell.conv_path_lengths() is None
    assert cell.live_edges == ()
    assert cell.dead_nodes == {0, 1, 2, 3}


def test_path_lengths_of_the_chain_with_a_skip_around():
    chain = Cell.from_edges(
        {"1<-0": "conv3x3", "2<-1": "conv3x3", "3<-2": "conv3x3", "3<-0": "skip"}, num_nodes=4, backward=False
    )
    assert chain.conv_path_lengths() == (0, 3)


@given(cells(CellSpace(("zeroize", "skip"))))
def test_liveness_agrees_with_networkx(cell):
    graph = networkx.DiGraph([(e.source, e.target) for e, op in cell.edge_ops.items() if op is not Op.ZEROIZE])
    graph.add_nodes_from(range(4))
    assert cell.reaching_nodes == networkx.ancestors(graph, 3) | {3}
    assert cell.fed_nodes == networkx.descendants(graph, 0) | {0}
    assert cell.to_networkx().number_of_edges() == graph.number_of_edges()


def test_sampling_is_seeded_and_uniform():
    rng = np.random.default_rng(0)
    drawn = [LIGHTSNN.sample(rng) for _ in range(2000)]
    again = np.random.default_rng(0)
    assert drawn[:5] == [LIGHTSNN.sample(again) for _ in range(5)]
    share = np.mean([[op is Op.SKIP for op in cell.ops] for cell in drawn], axis=0)
    assert abs(share - 1 / 3).max() < 0.05  # five standard errors of 2000 draws


@given(st.integers(0, 2**32 - 1))
def test_snasnet_rules(seed):
    cell = SPACES["snasnet"].sample_snasnet(np.random.default_rng(seed))
    used = {edge for edge, op in cell.edge_ops.items() if op is not Op.ZEROIZE}
    assert Edge(3, 0) in used
    assert not {Edge(e.source, e.target) for e in used} & used  # a pair is forward or backward, never both
    for node in (1, 2):  # inner nodes have both an input and an output, or nothing
        assert any(e.target == node for e in used) == any(e.source == node for e in used)


def test_snasnet_rules_reach_both_directions():
    rng = np.random.default_rng(1)
    drawn = [SPACES["snasnet"].sample_snasnet(rng) for _ in range(300)]
    assert any(cell.op(Edge(0, 2)) is not Op.ZEROIZE for cell in drawn)
    forward = [SPACES["snasnet-forward"].sample_snasnet(rng) for _ in range(20)]
    assert not any(cell.backward for cell in forward)


def test_masks():
    mask = LIGHTSNN.full_mask()
    assert len(mask.candidates()) == 36
    smaller = mask.without(Edge(3, 0), Op.CONV3X3)
    assert smaller.num_cells == 2 * 3**11
    assert len(smaller.candidates()) == 35
    cell = LIGHTSNN.sample(np.random.default_rng(3))
    assert OpMask.from_cell(cell, LIGHTSNN).to_cell() == cell
    assert OpMask.from_cell(cell).to_cell() == cell
    with pytest.raises(ValueError, match="several ops on 1<-0"):
        mask.to_cell()
    with pytest.raises(ValueError, match="cannot prune"):
        OpMask.from_cell(cell, LIGHTSNN).without(Edge(3, 0), cell.op(Edge(3, 0)))


def test_path_edges_of_a_mask():
    cell = Cell.from_edges({"1<-0": "skip", "2<-1": "skip", "3<-1": "skip"}, num_nodes=4)
    assert set(map(str, OpMask.from_cell(cell, LIGHTSNN).path_edges())) == {"1<-0", "3<-1"}
    assert len(LIGHTSNN.full_mask().path_edges()) == 6


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Op("conv33"), "unknown op 'conv33'.*expected one of zeroize.*Did you mean 'conv3x3'"),
        (lambda: Edge.parse("3-0"), "malformed edge '3-0'; expected 'target<-source'"),
        (lambda: Cell.parse(""), "a cell string is text"),
        (lambda: Cell.parse("|skip~0|+|skip~0|"), r"malformed group '\|skip~0\|' of node 2; expected"),
        (lambda: Cell.parse("|skip~1|"), "malformed entry 'skip~1'"),
        (lambda: Cell.parse("|skip~0|/|skip~1|+|skip~2|"), "2 nodes need 2 groups, got 3"),
        (lambda: Cell.parse("|sip~0|"), "unknown op 'sip'.*Did you mean 'skip'"),
        (lambda: Cell.parse("0303 0030 2002 020"), "square and of integers"),
        (lambda: Cell.parse("0303 0030 2002 0209"), "codes 0..4 and a zero diagonal"),
        (lambda: Cell.from_matrix([[0.5, 1], [0, 0]]), "square and of integers"),
        (lambda: Cell.from_edges({"4<-0": "skip"}, num_nodes=4), "no edge '4<-0' here"),
        (lambda: Cell(4, ("skip",) * 5), "6 .forward only. or 12 ops, got 5"),
        (lambda: ALL_OPS.uniform("maxpool3x3").to_matrix(), "no SNASNet code"),
        (lambda: LIGHTSNN.uniform("conv1x1"), "conv1x1 is not an op of this space"),
        (lambda: CellSpace(()), "at least one op"),
        (lambda: CellSpace(("skip", "skip")), "must differ"),
        (lambda: CellSpace(("skip",), num_nodes=1), "num_nodes must be a whole number from 2 to 100, got 1"),
        (lambda: CellSpace(("skip",)).sample_snasnet(np.random.default_rng(0)), "need zeroize"),
        (lambda: OpMask(LIGHTSNN, ((Op.SKIP,),)), "ops for 12 edges, got 1"),
    ],
)
def test_errors_teach(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_sampling_wants_a_generator():
    with pytest.raises(TypeError, match=r"np\.random\.default_rng\(7\), got 7"):
        LIGHTSNN.sample(7)
