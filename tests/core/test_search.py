"""Pruning on toy scores with known answers: counts, ties, the path rule, resuming, executors."""

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lightsnn_kit.cells import Cell, Edge, Op
from lightsnn_kit.search import Decision, Settle, prune_search, random_search
from lightsnn_kit.spaces import SPACES, CellSpace, OpMask

LIGHTSNN = SPACES["lightsnn"]
FORWARD3 = CellSpace(("zeroize", "skip", "conv3x3"), 3, backward=False)


class Target:
    """Score = number of edges on which the op of a target cell is still alive; counts its calls."""

    def __init__(self, cell: Cell) -> None:
        self.cell, self.calls = cell, 0

    def __call__(self, mask: OpMask) -> float:
        self.calls += 1
        return float(sum(self.cell.op(edge) in ops for edge, ops in mask.items()))


class Table:
    """Score = sum of weights of alive ops, by (edge, op)."""

    def __init__(self, weights: dict[tuple[str, str], float]) -> None:
        self.weights = weights

    def __call__(self, mask: OpMask) -> float:
        return sum(self.weights.get((str(edge), str(op)), 0.0) for edge, ops in mask.items() for op in ops)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=25)
def test_pruning_finds_the_target(seed):
    cell = LIGHTSNN.sample(np.random.default_rng(seed))
    *_, last = prune_search(LIGHTSNN, Target(cell), keep_path=False)
    assert last.mask.to_cell() == cell


@pytest.mark.parametrize(
    ("space", "evaluations", "rounds"), [("lightsnn", 36 + 24, 2), ("snasnet", 60 + 48 + 36 + 24, 4)]
)
def test_number_of_evaluations(space, evaluations, rounds):
    score = Target(SPACES[space].uniform("conv3x3"))
    steps = list(prune_search(SPACES[space], score))
    assert score.calls == sum(len(step.scores) for step in steps) == evaluations
    assert [step.round for step in steps] == list(range(1, rounds + 1))
    assert all(len(step.pruned) == 12 for step in steps)


def test_every_candidate_is_reported_with_its_score():
    score = Target(LIGHTSNN.uniform("skip"))
    step = next(prune_search(LIGHTSNN, score))
    full = LIGHTSNN.full_mask()
    assert [(edge, op) for edge, op, _ in step.scores] == list(full.candidates())
    assert all(value == score(full.without(edge, op)) for edge, op, value in step.scores)
    assert {d.margin for d in step.pruned} == {0.0}  # zeroize and conv3x3 tie: neither is the target's op
    assert {d.op for d in step.pruned} == {Op.ZEROIZE}


def test_margins_and_decisions_by_hand():
    # 1<-0: without zeroize 5, without skip 6, without conv 3 (of 7) -> prune skip, margin 1; then zeroize, margin 2
    table = Table({("1<-0", "zeroize"): 2, ("1<-0", "skip"): 1, ("1<-0", "conv3x3"): 4})
    space = CellSpace(("zeroize", "skip", "conv3x3"), 2, backward=False)
    first, second = prune_search(space, table)
    assert first.pruned == (Decision(Edge(1, 0), Op.SKIP, 1.0),)
    assert second.pruned == (Decision(Edge(1, 0), Op.ZEROIZE, 2.0),)
    assert str(second.mask.to_cell()) == "|conv3x3~0|"


def test_tie_order():
    space = CellSpace(tuple(reversed(Op)), 2, backward=False)
    order = [step.pruned[0].op for step in prune_search(space, lambda mask: 0.0)]
    assert order == [Op.ZEROIZE, Op.AVGPOOL3X3, Op.MAXPOOL3X3, Op.CONV1X1, Op.CONV3X3]  # skip stays


def test_path_rule_undoes_the_smallest_margin():
    # The score loves zeroize everywhere, least on 2<-1: cutting all of 1<-0, 2<-0 and 2<-1 would leave no path.
    love = {"1<-0": 5.0, "2<-0": 3.0, "2<-1": 2.0}
    table = Table({**{(e, "zeroize"): w for e, w in love.items()}, **{(e, "skip"): 0.5 for e in love}})
    steps = list(prune_search(FORWARD3, table))
    assert [d.op for d in steps[0].pruned] == [Op.CONV3X3] * 3
    decided = {str(d.edge): d for d in steps[1].pruned}
    # margins 4.5, 2.5, 1.5: undoing 2<-1 alone gives no path (1<-0 is cut), so 2<-0 is undone too
    assert decided["2<-1"] == Decision(Edge(2, 1), Op.ZEROIZE, -1.5, undone=Op.SKIP)
    assert decided["2<-0"] == Decision(Edge(2, 0), Op.ZEROIZE, -2.5, undone=Op.SKIP)
    assert decided["1<-0"] == Decision(Edge(1, 0), Op.SKIP, 4.5)
    assert steps[-1].mask.to_cell().conv_path_lengths() == (0, 0)
    *_, published = prune_search(FORWARD3, table, keep_path=False)
    assert published.mask.to_cell() == FORWARD3.uniform("zeroize")


def test_path_rule_leaves_edges_off_every_path_alone():
    # 1<-0 is already zeroized, so 2<-1 lies on no path and its cut is not the one to undo, whatever its margin
    mask = OpMask(FORWARD3, ((Op.ZEROIZE,), (Op.ZEROIZE, Op.SKIP), (Op.ZEROIZE, Op.SKIP)))
    table = Table({("2<-0", "zeroize"): 3.0, ("2<-1", "zeroize"): 1.0})
    (step,) = prune_search(FORWARD3, table, mask=mask)
    assert {str(d.edge): d.undone for d in step.pruned} == {"2<-0": Op.SKIP, "2<-1": None}


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=40)
def test_path_rule_always_leaves_a_path(seed):
    rng = np.random.default_rng(seed)
    weights = {
        (str(e), str(op)): float(rng.normal(3 * (op == "zeroize"))) for e in LIGHTSNN.edges for op in LIGHTSNN.ops
    }
    *_, last = prune_search(LIGHTSNN, Table(weights))
    assert last.mask.to_cell().conv_path_lengths() is not None


def test_minus_infinity_is_a_score_and_nan_is_not():
    steps = list(prune_search(LIGHTSNN, lambda mask: -math.inf))
    assert all(d.margin == 0.0 for step in steps for d in step.pruned)
    assert steps[-1].mask.to_cell() == LIGHTSNN.uniform("skip")
    dead_without_conv = lambda mask: 0.0 if all("conv3x3" in ops for _, ops in mask.items()) else -math.inf  # noqa: E731
    assert next(prune_search(LIGHTSNN, dead_without_conv)).pruned[0] == Decision(Edge(1, 0), Op.ZEROIZE, 0.0)
    with pytest.raises(ValueError, match="the score returned NaN"):
        next(prune_search(LIGHTSNN, lambda mask: math.nan))


def test_resuming_from_a_mask_and_executors_change_nothing():
    rng = np.random.default_rng(0)
    weights = {(str(e), str(op)): float(rng.normal()) for e in LIGHTSNN.edges for op in LIGHTSNN.ops}
    whole = list(prune_search(LIGHTSNN, Table(weights)))
    assert list(prune_search(LIGHTSNN, Table(weights), mask=whole[0].mask)) == whole[1:]
    with ThreadPoolExecutor(2) as executor:
        assert list(prune_search(LIGHTSNN, Table(weights), executor=executor)) == whole
    assert list(prune_search(LIGHTSNN, Table(weights))) == whole


def test_random_search_is_seeded_and_keeps_its_budget():
    score = Target(LIGHTSNN.uniform("skip"))
    found = list(random_search(LIGHTSNN, score, budget=100, rng=np.random.default_rng(1)))
    assert score.calls == len(found) == 100
    assert found == list(random_search(LIGHTSNN, score, budget=100, rng=np.random.default_rng(1)))
    assert found != list(random_search(LIGHTSNN, score, budget=100, rng=np.random.default_rng(2)))
    with ThreadPoolExecutor(2) as executor:
        parallel = random_search(LIGHTSNN, score, budget=100, rng=np.random.default_rng(1), executor=executor)
        assert list(parallel) == found
    assert all(e.score == score(OpMask.from_cell(e.cell, LIGHTSNN)) for e in found)


def test_random_search_by_snasnet_rules():
    found = random_search(LIGHTSNN, lambda mask: 0.0, budget=30, rng=np.random.default_rng(1), snasnet_rules=True)
    assert all(e.cell.op(Edge(3, 0)) is not Op.ZEROIZE for e in found)


@pytest.mark.parametrize("budget", [0, -3, 2.5, True])
def test_bad_budget(budget):
    with pytest.raises(ValueError, match="budget must be a whole number of 1 or more"):
        next(random_search(LIGHTSNN, lambda mask: 0.0, budget=budget, rng=np.random.default_rng(1)))


# ---- several seeds ---------------------------------------------------------------------------------------------------


def noisy(seed: int, noise: float, gap: float = 1.0):
    """A score in which keeping conv3x3 is worth ``gap`` more than keeping skip, and every mask has noise of its own."""

    def score(mask: OpMask) -> float:
        worth = sum({"skip": 1.0, "conv3x3": 1.0 + gap}.get(op, 0.0) for _, ops in mask.items() for op in ops)
        return worth + noise * np.random.default_rng([seed, *str(mask).encode()]).normal()

    return score


def test_clear_decisions_stop_at_the_first_seeds():
    scores = [noisy(seed, 0.01) for seed in range(10)]
    steps = list(prune_search(FORWARD3, scores, settle=Settle(first=3)))
    assert [step.evaluations for step in steps] == [3 * 9, 3 * 6]
    assert all((d.seeds, d.settled) == (3, True) for step in steps for d in step.pruned)
    assert steps[-1].undecided == ()
    assert steps[-1].mask.to_cell() == FORWARD3.uniform("conv3x3")


def test_seeds_go_where_decisions_are_open():
    scores = [noisy(seed, 1.0) for seed in range(12)]
    first = next(prune_search(FORWARD3, scores, settle=Settle(first=3)))
    seeds = [d.seeds for d in first.pruned]
    assert min(seeds) >= 3 < max(seeds) <= 12
    assert first.evaluations == 3 * sum(seeds)  # three ops on each edge
    assert all(d.seeds == 12 for d in first.undecided)
    for decision in first.pruned:  # margins are those of the means over the seeds each edge was given
        means = {op: value for edge, op, value in first.scores if edge == decision.edge}
        best, second = sorted(means.values(), reverse=True)[:2]
        assert decision.margin == pytest.approx(best - second)


def test_what_is_settled_by_hand():
    """Differences 1, 2, 3: mean 2, sd 1 (n - 1), t = 2√3 = 3.464; t(0.95, 2) = 2.920 and t(0.975, 2) = 4.303."""
    assert Settle(level=0.1, first=3).critical(3, 3) == pytest.approx(2.920, abs=1e-3)
    assert Settle(level=0.1, first=3).critical(3, 4) == pytest.approx(4.303, abs=1e-3)  # two looks
    assert Settle(level=0.1, first=3).settled([1, 2, 3], 3)
    assert not Settle(level=0.1, first=3).settled([1, 2, 3], 4)
    assert not Settle(level=0.06, first=3).settled([1, 2, 3], 3)  # t(0.97, 2) = 3.896


def test_several_seeds_are_averaged():
    """Every seed scores conv3x3 by another weight: 1, 2 and 6 have the mean 3."""
    scores = [lambda mask, w=w: w * sum(op == "conv3x3" for ops in mask.alive for op in ops) for w in (1, 2, 6)]
    step = next(prune_search(FORWARD3, scores, settle=Settle(first=3)))
    assert {op: value for edge, op, value in step.scores if edge == Edge(1, 0)} == {
        "zeroize": 9.0, "skip": 9.0, "conv3x3": 6.0
    }  # fmt: skip
    assert all(decision.margin == 0 and decision.op == "zeroize" for decision in step.pruned)


def test_exact_ties_are_reported_and_cost_no_further_seeds():
    step = next(prune_search(FORWARD3, [lambda mask: 0.0] * 8, settle=Settle(first=3)))
    assert step.evaluations == 3 * 9
    assert step.undecided == step.pruned
    assert {d.op for d in step.undecided} == {Op.ZEROIZE}
    dead = next(prune_search(FORWARD3, [lambda mask: -math.inf] * 8, settle=Settle(first=3)))
    assert dead.undecided == dead.pruned


def test_the_test_errs_as_rarely_as_it_says():
    """Differences without a mean: the share ever called settled stays near or below the level, over all looks."""
    rng, rule, available = np.random.default_rng(0), Settle(level=0.1, first=3), 10
    wrong = sum(
        any(rule.settled(d[:n], available) for n in range(3, available + 1)) for d in rng.normal(size=(400, available))
    )
    assert wrong / 400 <= 0.1


def test_scores_and_settle_belong_together():
    with pytest.raises(TypeError, match="without settle="):
        next(prune_search(FORWARD3, [lambda mask: 0.0]))
    for bad in (lambda mask: 0.0, [lambda mask: 0.0] * 2):
        with pytest.raises(ValueError, match="a sequence of at least 3 scores"):
            next(prune_search(FORWARD3, bad, settle=Settle(first=3)))
    for wrong in ({"level": 0}, {"level": 1.0}, {"first": 1}, {"first": 2.5}):
        with pytest.raises(ValueError, match=r"need 0 < level < 1|first must be a whole number of 2 or more"):
            Settle(**wrong)
