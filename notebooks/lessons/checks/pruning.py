"""Checkers of the lesson "How do 60 scores choose among 531,441?"."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable

import torch
from torch import Tensor

from lightsnn_kit.search import Score, prune_search
from lightsnn_kit.spaces import SPACES, OpMask

from .tools import NotYet, agree, need, need_tensor


def check_edge_value(edge_value: Callable) -> None:
    """(values by op, alive ops) → the mixture with equal weights."""
    values = {"zeroize": torch.zeros(2, 2), "skip": torch.full((2, 2), 6.0), "conv3x3": torch.eye(2) * 12}
    for alive, want in (
        (("zeroize", "skip", "conv3x3"), [[6, 2], [2, 6]]),
        (("skip", "conv3x3"), [[9, 3], [3, 9]]),
        (("zeroize", "conv3x3"), [[6, 0], [0, 6]]),
        (("skip",), [[6, 6], [6, 6]]),
    ):
        got = edge_value(values, alive)
        need_tensor(got, (2, 2), "the value of the edge")
        hint = "Equal weights that add up to 1, over the ops alive; zeroize counts among them."
        need(agree(got, want), f"alive {alive}: expected {want}, got {got.tolist()}. {hint}")
    print("edge_value: correct.")


def wrong_edge_value(values: dict[str, Tensor], alive: tuple[str, ...]) -> Tensor:
    """The weights stay at 1/3."""
    return sum(values[op] for op in alive) / 3


def check_num_scores(num_scores: Callable) -> None:
    """(edges, ops) → scores of a whole search."""
    for edges, ops, want in ((1, 2, 2), (12, 3, 60), (12, 5, 168), (6, 3, 30)):
        got = num_scores(edges, ops)
        need(isinstance(got, int), f"return a whole number (int), not {got!r}.")
        hint = "Each round, every edge loses one op; an edge with one op left needs no score."
        need(got == want, f"{edges} edges, {ops} ops: {want} scores, not {got}. {hint}")
    print("num_scores: correct.")


def wrong_num_scores(edges: int, ops: int) -> int:
    """As if every round had all ops."""
    return edges * ops * (ops - 1)


def toy_score(seed: int) -> Score:
    """A made-up score without ties, in which what one edge loses changes what the others are worth."""
    return lambda mask: random.Random(zlib.crc32(repr((seed, mask.alive)).encode())).random()


def half_pruned() -> OpMask:
    """A mask in the middle of a search: edges with three, two and one op take turns."""
    mask = SPACES["lightsnn"].full_mask()
    for number, (edge, ops) in enumerate(mask.items()):
        for op in ops[: number % 3]:
            mask = mask.without(edge, op)
    return mask


def check_one_round(one_round: Callable) -> None:
    """(mask, score) → the mask after one round: equal to ``prune_search`` on made-up scores, first and later."""
    full, later = SPACES["lightsnn"].full_mask(), half_pruned()
    for seed, before in enumerate((full, full, full, later, later)):
        score = toy_score(seed)
        try:
            got = one_round(before, score)
        except ValueError as error:
            raise NotYet(f"{error} An edge with one op left has nothing to lose: it should stay as it is.") from None
        need(isinstance(got, OpMask), f"return the mask after the round (an OpMask), not a {type(got).__name__}.")
        wrong = [str(edge) for edge, ops in before.items() if len(got.alive_on(edge)) != max(1, len(ops) - 1)]
        need(not wrong, f"every edge with more than one op should lose one, all others none; look at {wrong}.")
        want = next(prune_search(before.space, score, mask=before, keep_path=False)).mask
        off = [str(edge) for edge, ops in got.items() if ops != want.alive_on(edge)]
        hint = "Score all candidates before any is pruned; prune the op whose removal leaves the highest score."
        need(not off, f"edges {', '.join(off)} lost another op than in prune_search. {hint}")
    print("one_round: correct, equal to lightsnn_kit.search.prune_search, in later rounds, too.")


def wrong_one_round(mask: OpMask, score: Score) -> OpMask:
    """Prunes the op without which the score is lowest: the most important one."""
    after = mask
    for edge, ops in mask.items():
        after = after.without(edge, min(ops, key=lambda op: score(mask.without(edge, op))))
    return after
