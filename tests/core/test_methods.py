"""Every way to choose a cell: what it chooses, how often it scores, that a name is one cell, and wrong questions."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch

from lightsnn_kit.cells import Cell, Edge, Op
from lightsnn_kit.methods import METHODS, choose, method_of, num_weights
from lightsnn_kit.networks import NetworkConfig, build_supernet
from lightsnn_kit.scoring import Scorer
from lightsnn_kit.spaces import PUBLISHED_CELLS, SPACES, CellSpace, OpMask

SPACE = SPACES["lightsnn"]


class Counting:
    """A score that counts its calls: the number of convolutions that are left."""

    def __init__(self) -> None:
        self.masks: list[OpMask] = []

    def __call__(self, mask: OpMask) -> float:
        self.masks.append(mask)
        return float(sum(op.is_conv for _, ops in mask.items() for op in ops))


@pytest.mark.parametrize("name", METHODS)
def test_methods_score_only_if_they_say_so(name: str) -> None:
    score = Counting()
    chosen = choose(name, SPACE, score=score, budget=20)
    assert bool(score.masks) == METHODS[name].scores == (chosen.evaluations > 0) == (chosen.score is not None)
    assert choose(name, SPACE, score=Counting(), budget=20).cell == chosen.cell
    assert chosen.seconds >= 0


@pytest.mark.parametrize(
    ("name", "scores", "more"),
    [
        ("lightsnn", 60, 1),
        ("lightsnn-cut", 60, 1),
        ("lightsnn-forward", 30, 1),
        ("swap", 60, 1),
        ("swap-forward", 30, 1),
        ("snasnet-search", 20, 0),
        ("random-search", 20, 0),
    ],
)
def test_number_of_scores(name: str, scores: int, more: int) -> None:
    """12 edges × (3 + 2), 6 edges × (3 + 2), and the budget; pruning takes the chosen cell's own beyond that."""
    score = Counting()
    chosen = choose(name, SPACE, score=score, budget=20)
    assert (chosen.evaluations, len(score.masks)) == (scores, scores + more)
    assert chosen.score == chosen.cell.num_convs if "search" not in name else chosen.score <= 12
    assert score.masks[-1].num_cells == 1


def test_pruning_five_ops() -> None:
    assert choose("lightsnn", "snasnet", score=Counting()).evaluations == 12 * (5 + 4 + 3 + 2)


def test_workers_choose_alike() -> None:
    for name in ("lightsnn", "random-search"):
        with ThreadPoolExecutor(3) as pool:
            shared = choose(name, SPACE, score=Counting(), budget=70, executor=pool)
        alone = choose(name, SPACE, score=Counting(), budget=70)
        assert (shared.cell, shared.score, shared.evaluations) == (alone.cell, alone.score, alone.evaluations)


def test_a_method_with_its_own_score_refuses_another_scorer() -> None:
    config = NetworkConfig(input_shape=(1, 8, 8), num_classes=2, width=4, hidden=8, num_steps=2)
    x = torch.rand(8, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    score = Scorer(supernet=build_supernet("lightsnn", config), batches=(x,), proxy="sahd")
    with pytest.raises(ValueError, match="'swap-forward' chooses by the score 'swap', got a Scorer of 'sahd'"):
        choose("swap-forward", SPACE, score=score)
    small = CellSpace(("zeroize", "skip", "conv3x3"), 3)
    score = Scorer(supernet=build_supernet(small, config), batches=(x,), proxy="swap")
    assert choose("swap", small, score=score).cell == choose("lightsnn", small, score=score).cell


def test_each_round_is_handed_on() -> None:
    rounds = []
    chosen = choose("lightsnn-cut", SPACE, score=Counting(), on_step=rounds.append)
    assert [step.round for step in rounds] == [1, 2]
    assert rounds[-1].mask.to_cell().forward_part() == chosen.cell


def test_uniform_cells() -> None:
    assert choose("all-conv", SPACE).cell.ops == (Op.CONV3X3,) * 12
    assert choose("all-skip", SPACES["lightsnn-forward"]).cell.ops == (Op.SKIP,) * 6


def test_balanced_is_three_convolutions_with_the_shortest_ways_around_them() -> None:
    forward = {"1<-0": "conv3x3", "2<-0": "skip", "2<-1": "conv3x3", "3<-0": "skip", "3<-2": "conv3x3"}
    for backward in (False, True):
        cell = choose("balanced", replace(SPACE, backward=backward)).cell
        assert cell == Cell.from_edges(forward, num_nodes=4, backward=backward)
    for name in ("lightsnn", "lightsnn-forward", "snasnet"):  # with five operations the 3x3 ones are preferred
        fed_back = choose("balanced-recurrent", name).cell
        assert fed_back == Cell.from_edges(forward | {"0<-3": "skip"}, num_nodes=4)


def test_a_score_that_likes_convolutions_finds_all_of_them() -> None:
    assert choose("lightsnn", SPACE, score=Counting()).cell == SPACE.uniform("conv3x3")
    assert choose("lightsnn-cut", SPACE, score=Counting()).cell == SPACES["lightsnn-forward"].uniform("conv3x3")
    assert choose("lightsnn-forward", SPACE, score=Counting()).cell.backward is False


def test_random_search_takes_the_best() -> None:
    score = Counting()
    cell = choose("random-search", SPACE, score=score, budget=50).cell
    convs = [sum(op.is_conv for op in mask.to_cell().ops) for mask in score.masks]
    assert sum(op.is_conv for op in cell.ops) == max(convs)
    assert cell == score.masks[convs.index(max(convs))].to_cell()  # the first of equals


def test_of_equals_random_search_takes_the_first() -> None:
    first = SPACES["lightsnn"].sample(np.random.default_rng((0, 5)))
    assert choose("random-search", "lightsnn", score=lambda mask: 0.0, budget=4, seed=0).cell == first


def test_snasnet_search_keeps_its_rules() -> None:
    """An edge pair is forward or backward, never both; input to output is direct; nothing dangles."""
    score = Counting()
    choose("snasnet-search", SPACES["snasnet"], score=score, budget=100)
    for cell in (mask.to_cell() for mask in score.masks):
        used = [edge for edge, op in cell.edge_ops.items() if op is not Op.ZEROIZE]
        assert Edge(3, 0) in used
        assert not any(Edge(edge.source, edge.target) in used for edge in used)
        assert cell == cell.without_dangling()


def test_random_cells_have_a_path() -> None:
    cells = [choose("random", SPACE, seed=seed).cell for seed in range(30)]
    assert all(cell.conv_path_lengths() is not None for cell in cells)
    assert len(set(cells)) == 30


def test_most_parameters_by_hand() -> None:
    """9 C² for a 3x3 and C² for a 1x1 convolution on a live edge; the largest of the same cells random search draws."""
    assert num_weights(OpMask.from_cell(Cell.parse("0303 0030 2002 0200"))) == 9 * 3 + 1 * 3
    assert num_weights(OpMask.from_cell(Cell.parse("0300 0000 0000 0000"))) == 0  # its target reaches nothing
    drawn = Counting()
    choose("random-search", SPACE, score=drawn, budget=40)
    largest = choose("most-parameters", SPACE, budget=40).cell
    assert num_weights(OpMask.from_cell(largest)) == max(map(num_weights, drawn.masks))


def test_published_cells() -> None:
    for name, matrix in (("snasnet-cifar10", "0303 0030 2002 0200"), ("snasnet-cifar100", "0302 0030 3003 0000")):
        assert choose(name, SPACE).cell == Cell.parse(matrix) == PUBLISHED_CELLS[name]


def test_residual_cells() -> None:
    plain, fed_back = (choose(name, SPACE).cell for name in ("residual", "residual-feedback"))
    assert fed_back.forward_part() == plain
    assert [str(edge) for edge, op in fed_back.edge_ops.items() if edge.is_backward and op is not Op.ZEROIZE] == [
        "0<-3"
    ]
    assert (plain.num_convs, plain.conv_path_lengths()) == (2, (0, 2))
    assert plain.dead_nodes == frozenset()


def test_path_rule_can_be_off() -> None:
    """A score that wants every edge cut: with the rule a path stays, without it none."""

    def score(mask: OpMask) -> float:
        return float(sum(Op.ZEROIZE in ops for _, ops in mask.items())) - 0.001 * sum(map(len, mask.alive))

    assert choose("lightsnn", SPACE, score=score).cell.conv_path_lengths() is not None
    assert choose("lightsnn", SPACE, score=score, keep_path=False).cell.conv_path_lengths() is None


def test_errors_teach() -> None:
    with pytest.raises(ValueError, match=r"unknown method 'all-cnv'; .* Did you mean 'all-conv'"):
        choose("all-cnv", SPACE)
    with pytest.raises(ValueError, match="unknown space 'lightsn'"):
        choose("all-conv", "lightsn")
    with pytest.raises(ValueError, match="'lightsnn' scores networks; pass score="):
        choose("lightsnn", SPACE)
    with pytest.raises(ValueError, match="budget must be a whole number of 1 or more"):
        choose("random-search", SPACE, score=Counting(), budget=0)
    with pytest.raises(ValueError, match="zeroize alone"):
        choose("random", CellSpace(("zeroize",)))
    assert method_of("random").text


def test_a_dead_cell_has_a_score_too() -> None:
    assert choose("lightsnn", SPACE, score=lambda mask: -math.inf).score == -math.inf
