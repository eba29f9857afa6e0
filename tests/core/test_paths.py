"""Path figures on cells worked by hand, and the order of ``balanced`` on whole spaces."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightsnn_kit.cells import Cell, Edge, Op, cell_edges
from lightsnn_kit.paths import CellPaths, balance, cell_paths, rank_cells
from lightsnn_kit.spaces import SPACES, CellSpace

FORWARD = SPACES["lightsnn-forward"]
RESIDUAL = Cell.parse("|conv3x3~0|+|skip~0|conv3x3~1|+|skip~0|zeroize~1|conv3x3~2|")
forward_cells = st.tuples(*[st.sampled_from(FORWARD.ops)] * 6).map(lambda ops: Cell(4, ops))


@pytest.mark.parametrize(
    ("cell", "figures"),
    [
        # a chain: nodes 1, 2, 3 are 1, 2, 3 convolutions away
        ("|conv3x3~0|+|zeroize~0|conv3x3~1|+|zeroize~0|zeroize~1|conv3x3~2|", CellPaths(3, 3, 6, 3, 3)),
        # skips from the input to nodes 2 and 3 bring them to 0; node 1 has one edge only
        ("|conv3x3~0|+|skip~0|conv3x3~1|+|skip~0|zeroize~1|conv3x3~2|", CellPaths(3, 3, 1, 3, 5)),
        ("|conv3x3~0|+|conv3x3~0|conv3x3~1|+|conv3x3~0|conv3x3~1|conv3x3~2|", CellPaths(3, 6, 3, 6, 6)),
        ("|skip~0|+|skip~0|skip~1|+|skip~0|skip~1|skip~2|", CellPaths(0, 0, 0, 0, 6)),
        # a 1x1 convolution is depth, not field; a pool is neither, but no undisturbed way: 1, then 1 + 1
        ("|conv1x1~0|+|zeroize~0|avgpool3x3~1|+|zeroize~0|zeroize~1|skip~2|", CellPaths(1, 1, 1 + 2 + 2, 0, 3)),
        # node 2 leads nowhere: its convolution is not computed and its distance does not count
        ("|conv3x3~0|+|zeroize~0|conv3x3~1|+|zeroize~0|conv3x3~1|zeroize~2|", CellPaths(2, 2, 1 + 2, 2, 2)),
    ],
)
def test_path_figures_by_hand(cell, figures):
    assert cell_paths(Cell.parse(cell)) == figures


def test_cells_without_a_path():
    cell = Cell.parse("|conv3x3~0|+|zeroize~0|conv3x3~1|+|zeroize~0|zeroize~1|zeroize~2|")
    assert cell_paths(cell) is None
    assert balance(cell) == -math.inf


def test_feedback_costs_but_adds_no_depth():
    edges = {str(edge): op for edge, op in RESIDUAL.edge_ops.items()}
    cell = Cell.from_edges(edges | {"0<-3": "conv3x3"}, num_nodes=4)
    assert cell_paths(cell) == CellPaths(3, 4, 1, 4, 6)
    assert balance(Cell.from_edges(edges, num_nodes=4)) == balance(RESIDUAL)


@given(forward_cells, forward_cells)
def test_the_number_orders_as_the_key(a, b):
    pa, pb = cell_paths(a), cell_paths(b)
    if pa and pb:
        assert (balance(a) > balance(b)) == (pa.key > pb.key)
        assert pa.depth <= balance(a) < pa.depth + 1
    assert (cell_paths(a) is None) == (balance(a) == -math.inf)


def test_the_first_cells_of_the_forward_space():
    ranked = rank_cells(FORWARD)
    assert ranked[0] == RESIDUAL
    assert len(ranked) == 662  # of 729, those with a path
    best = max((cell for cell in FORWARD if cell_paths(cell)), key=lambda cell: cell_paths(cell).key)
    assert best == RESIDUAL
    assert {cell_paths(cell).convs for cell in ranked[:8]} == {3}
    assert ranked[-1].num_convs > 0  # one convolution deep in five places beats nothing: depth 0 comes last
    assert cell_paths(ranked[-1]).depth == 0


def test_no_convolution_can_go_and_no_skip_can_come():
    """What 'balanced' means: removing any edge, or replacing any op, makes the found cell worse."""
    others = [RESIDUAL.replace(edge, op) for edge, op in itertools.product(FORWARD.edges, FORWARD.ops)]
    assert all(balance(cell) < balance(RESIDUAL) for cell in others if cell != RESIDUAL)


@pytest.mark.parametrize("name", SPACES)
def test_published_spaces_agree(name):
    cell = rank_cells(SPACES[name])[0]
    assert cell in SPACES[name]
    assert {str(edge): cell.op(edge) for edge in cell_edges(4, False)} == {
        str(edge): op for edge, op in RESIDUAL.edge_ops.items()
    }
    assert all(cell.op(edge) is Op.ZEROIZE for edge in cell.edges if edge.is_backward)


def test_more_nodes_give_a_longer_chain():
    cell = rank_cells(CellSpace(FORWARD.ops, 5, backward=False))[0]
    assert cell_paths(cell) == CellPaths(4, 4, 1, 4, 4 + 3)
    with pytest.raises(ValueError, match="at most 200,000; this space has 14,348,907"):
        rank_cells(CellSpace(FORWARD.ops, 6))
    with pytest.raises(ValueError, match="needs zeroize on backward edges"):
        rank_cells(CellSpace(("skip", "conv3x3")))


def test_recurrent_feeds_the_output_back_by_a_skip():
    plain, looped = (rank_cells(SPACES["lightsnn"], recurrent=flag) for flag in (False, True))
    assert len(plain) == len(looped)
    assert {e: op for e, op in looped[0].edge_ops.items() if op is not plain[0].op(e)} == {Edge(0, 3): Op.SKIP}
    with pytest.raises(ValueError, match="needs a space with backward edges"):
        rank_cells(FORWARD, recurrent=True)
