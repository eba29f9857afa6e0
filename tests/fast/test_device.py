"""Candidates side by side: the rounds of the device engine against the plain scorer, in torch and in Triton."""

import math
import os
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightsnn_kit.cells import Op
from lightsnn_kit.exact import LatticeConv2d
from lightsnn_kit.fast import choice, device
from lightsnn_kit.fast.device import CellState, DeviceEngine, join
from lightsnn_kit.fast.parts import Slots, Terms, TorchParts
from lightsnn_kit.fast.plan import EDGE, INSIDE, SIDE, plan_cell
from lightsnn_kit.files import project_root
from lightsnn_kit.kernels import log_det, log_dets, sahd_kernel
from lightsnn_kit.networks import build_supernet
from lightsnn_kit.scoring import Scorer
from lightsnn_kit.search import Settle, prune_search, random_search
from lightsnn_kit.spaces import SPACES, OpMask
from tests.fast.test_engine import CASES, LIGHTSNN, NAMES, batch, config, patterns_by_layer, random_mask


def check_round(case: int, parts: type[TorchParts], *, width: int, masks: int = 5) -> None:
    """Several masks at once have the plain scorer's integers, distances, patterns and scores, all to the bit."""
    name, events, bn, feedback, pool = CASES[case]
    settings_ = config((2, 12, 8) if events else (3, 8, 6), events=events, pool=pool, width=width)
    x, rng = batch(settings_, size=5), np.random.default_rng(case)
    supernet = build_supernet(SPACES[name], settings_, seed=case)
    plain = Scorer(supernet=supernet, batches=(x,), bn=bn, feedback=feedback, engine="plain")
    engine = DeviceEngine(supernet, (x,), bn=bn, parts=parts)
    chosen = [random_mask(SPACES[name], rng) for _ in range(masks)]
    expected = [plain.statistics(mask, patterns=True)[0] for mask in chosen]
    for got, one in zip(engine.run_many(chosen, 0, feedback=feedback, patterns=True), expected, strict=True):
        mine, theirs = got.by_layer(), one.by_layer()
        assert mine.keys() == theirs.keys()
        for layer, (counts, distance) in theirs.items():
            assert torch.equal(mine[layer][0], counts), layer
            assert torch.equal(mine[layer][1], distance), layer
        assert patterns_by_layer(got) == patterns_by_layer(one)
    for kind in ("sahd", "hd"):
        scores = engine.log_dets(chosen, 0, feedback=feedback, kind=kind)
        assert scores == [log_det(one.kernel(kind)) for one in expected]


@pytest.mark.parametrize("case", range(0, len(CASES), 3))
def test_a_round_gives_the_bits_of_scores_one_by_one(case, monkeypatch):
    if case % 2:
        monkeypatch.setattr(device, "AT_ONCE", 1)  # a pass for every mask
    check_round(case, TorchParts, width=(3, 6, 16)[case % 3])


MISSING = find_spec("triton") is None and "LIGHTSNN_REQUIRE_TRITON" not in os.environ
TRITON = pytest.mark.skipif(MISSING, reason="needs the package triton: make test-triton")


@TRITON
@pytest.mark.parametrize(("case", "width"), [(0, 3), (37, 6), (42, 32)])
def test_triton_kernels_give_the_same_bits(case, width):
    """Run by Triton's interpreter on the CPU, in a process of its own: it is chosen when triton is imported."""
    interpreted(f"check_round({case}, TritonParts, width={width}, masks=2)")


@TRITON
def test_triton_kernels_round_as_torch_where_it_shows():
    interpreted("check_parts(TritonParts)")


def interpreted(call: str) -> None:
    code = (
        "from lightsnn_kit.fast.triton_parts import TritonParts; "
        f"from tests.fast.test_device import check_parts, check_round; {call}"
    )
    environment = os.environ | {"TRITON_INTERPRET": "1", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, cwd=project_root()
    )
    assert done.returncode == 0, done.stderr[-2000:]


def check_parts(parts: type[TorchParts]) -> None:
    """Numbers that tell orders of addition, roundings, pivots and types apart, which few networks' spikes do."""
    mine, theirs = (kind(tau=4 / 3, v_threshold=1.0) for kind in (parts, TorchParts))
    small = 2.0**-24  # half of what float32 can add to 1
    both = [1.0, 1.0]
    rows = [(0, EDGE, both), (1, INSIDE, both), (1, SIDE, both)]  # 1 + (s + s)
    rows += [(1, EDGE, both), (2, INSIDE, [1.0, 0.0]), (1, EDGE, both), (1, SIDE, both)]  # + (s + (s + s) + s)
    terms = Terms.tables({"node": rows}, 2, torch.device("cpu"))["node"]
    values = (
        torch.tensor([1.0, small, math.inf]).view(3, 1, 1, 1).repeat(1, 2, 1, 1)
    )  # infinity where nobody has the op
    values[2, 0] = small
    found = torch.empty(2, 2, 1, 1)
    for one, out in zip((mine, theirs), found, strict=True):
        one.integrate(Slots.of(values[:0], values, []), terms, out=out, v=None)
    assert found.flatten(1).tolist() == [[1 + 3 * 2**-23, 1 + 2**-22]] * 2
    halves = (torch.arange(-9, 9) / 2).view(1, -1, 1)
    halves = torch.cat([halves, torch.full((1, 1, 1), 2.0**19)], 1)  # whose grid is 1: halves are rounded to even
    for got, expected in zip(mine.add_columns(halves, None), theirs.add_columns(halves, None), strict=True):
        assert torch.equal(got.flatten(), expected.flatten())
    g = torch.Generator().manual_seed(0)
    for size in (2, 3, 4, 5):
        kernels = torch.randint(-2, 3, (30, size, size), generator=g).double()
        kernels[::3] += torch.rand(10, size, size, generator=g, dtype=torch.float64)
        assert mine.log_dets(kernels) == theirs.log_dets(kernels)
    for samples in (3, 130):
        spikes = (torch.rand(2, samples, 300, generator=g) < 0.8).to(mine.dtype)
        shared = torch.zeros(2, samples, samples, dtype=torch.int32)
        mine.share(spikes, shared)
        assert torch.equal(shared, (spikes.float() @ spikes.float().mT).int())
    conv = LatticeConv2d(259, 1, 1, bias=False)  # 258·127 + 1 = 2¹⁵ − 1
    for last, kind in ((1, torch.int16), (2, torch.float32), (-127, torch.int16)):
        conv.weight.data.fill_(127.0)[0, -1] = last
        assert mine.sum_type([conv]) is kind
        conv.weight.data.neg_()
        assert mine.sum_type([conv]) is kind


def test_zero_times_infinity_is_nothing():
    """A candidate without an op is not touched by what the op gives others, not even by infinity."""
    values = torch.tensor([[[[1.0]], [[math.inf]]]])  # one slot of two candidates
    terms = Terms.tables({"node": [(0, SIDE, [1.0, 0.0])]}, 2, torch.device("cpu"))["node"]
    slots, out = Slots.of(values[:0], values, []), torch.empty(2, 1, 1)
    TorchParts(tau=2.0, v_threshold=1.0).integrate(slots, terms, out=out, v=None)
    assert out.flatten().tolist() == [1.0, 0.0]


def test_terms_lie_in_tables_as_they_are_listed():
    """The table is what Triton's kernels read; torch reads the lists."""
    rows = {"a": [(3, EDGE, [1.0, 0.5]), (5, SIDE, [0.25, 0.0])], "none": [], "b": [(7, INSIDE, [0.125, 2.0])]}
    tables = Terms.tables(rows, 2, torch.device("cpu"))
    for name, slots, ends, weights in (
        ("a", (3, 5), (EDGE, SIDE), [[1.0, 0.25], [0.5, 0.0]]),
        ("none", (), (), [[], []]),
        ("b", (7,), (INSIDE,), [[0.125], [2.0]]),
    ):
        one = tables[name]
        assert (one.slots, one.ends, one.weights.tolist()) == (slots, ends, weights)
        assert one.table.tolist() == [list(slots), list(ends)]


def test_feedback_is_summed_before_it_meets_the_input():
    """Node 0 is x + (f1 + f2 + f3): three halves of float32's last place of 1 count together, one by one none would."""
    mask = OpMask.from_cell(LIGHTSNN.uniform("skip"), LIGHTSNN)
    engine, plan = device_scorer()[0]._engine, plan_cell(mask, feedback=True)
    state = CellState(plan, engine.cells[0], (1, 1, 1), torch.device("cpu"), torch.float32)
    state.plane("input").fill_(1.0)
    for node in (1, 2, 3):
        state.plane((node, Op.SKIP)).fill_(2**-24)
    for first, expected in ((True, 1.0), (False, 1 + 2**-22)):
        rows, out = {"node": state.rows(plan, 0, [mask], first=first)}, torch.empty(1, 1, 1)
        terms = Terms.tables(rows, 1, torch.device("cpu"))["node"]
        engine.parts.integrate(state.slots, terms, out=out, v=None)
        assert out.item() == expected


def test_joined_masks_have_what_one_of_them_has():
    masks = [LIGHTSNN.full_mask().without(edge, op) for edge, op in LIGHTSNN.full_mask().candidates()[:3]]
    assert join(masks) == LIGHTSNN.full_mask()
    assert join(masks[:1]) == masks[0]


@given(st.integers(0, 2**32 - 1), st.integers(2, 9), st.sampled_from(["real", "small", "patterns"]))
@settings(max_examples=60)
def test_determinants_side_by_side_are_those_one_by_one(seed, size, kind):
    """The same bits for any matrices: with equal pivots, zero pivots, equal rows."""
    g = torch.Generator().manual_seed(seed)
    if kind == "real":
        kernels = torch.randn(4, size, size, generator=g, dtype=torch.float64)
    elif kind == "small":
        kernels = torch.randint(-1, 2, (4, size, size), generator=g).double()
    else:
        kernels = torch.stack([sahd_kernel((torch.rand(size, 7, generator=g) < 0.4).float()) for _ in range(4)])
    assert log_dets(kernels) == [log_det(kernel) for kernel in kernels]
    assert log_dets(kernels[:1]) == [log_det(kernels[0])]


def test_determinants_of_numbers_only():
    with pytest.raises(ValueError, match="square matrices"):
        log_dets(torch.full((1, 2, 2), math.nan))
    with pytest.raises(ValueError, match=r"got shape \(2, 2\)"):
        log_dets(torch.eye(2))


def device_scorer(**options) -> tuple[Scorer, Scorer]:
    """A scorer whose engine is the one of GPUs, and the CPU's."""
    settings_ = config((3, 8, 6))
    x = batch(settings_, size=6), batch(settings_, size=6, seed=1)
    supernet = build_supernet(LIGHTSNN, settings_)
    mine, theirs = (Scorer(supernet=supernet, batches=x, engine="fast", **options) for _ in range(2))
    mine._engine = DeviceEngine(supernet, x, bn="batch")
    return mine, theirs


def test_how_many_candidates_go_together(monkeypatch):
    """As many as fill the device by their values or by their distances, at most so many, and of real weights one."""
    settings_ = config((3, 8, 6), num_steps=3)  # width 6: 6·8·6·6 values for 6 samples, 11 layers of 3 steps
    supernet, real = build_supernet(LIGHTSNN, settings_), build_supernet(LIGHTSNN, settings_, init="kaiming")
    few, many = batch(settings_, size=6), batch(settings_, size=40)
    monkeypatch.setattr(device, "AT_ONCE", 100_000)
    assert DeviceEngine(supernet, (few,), bn="batch").at_once == 100_000 // (6 * 8 * 6 * 6)
    assert DeviceEngine(supernet, (few, many), bn="batch").at_once == 100_000 // (11 * 3 * 40 * 40)
    assert DeviceEngine(real, (few,), bn="batch").at_once == 1
    monkeypatch.setattr(device, "AT_ONCE", 2**26)
    assert DeviceEngine(supernet, (few,), bn="batch").at_once == device.CANDIDATES


def test_an_error_in_a_pass_leaves_nothing_behind(monkeypatch):
    mine, theirs = device_scorer()
    masks = [LIGHTSNN.full_mask(), OpMask.from_cell(LIGHTSNN.uniform("conv3x3"), LIGHTSNN)]
    with monkeypatch.context() as patched:
        patched.setattr(DeviceEngine, "classify", lambda self, *, step: None)  # a TypeError, in the midst of a step
        with pytest.raises(TypeError, match="first"):
            mine.many(masks)
    assert mine._engine.states == []  # their memory is free for another try
    assert mine.many(masks) == theirs.many(masks)


def test_no_masks_have_no_scores():
    assert [score.many([]) for score in device_scorer()] == [[], []]


def test_settled_searches_ask_for_no_more():
    """Once every edge is settled, the seeds that are left score nothing."""
    pairs = [device_scorer() for _ in range(3)]
    options = {"settle": Settle(level=0.999, first=2)}
    found = [list(prune_search(LIGHTSNN, [pair[i] for pair in pairs], **options)) for i in (0, 1)]
    assert found[0] == found[1]
    assert [step.evaluations for step in found[0]] == [72, 48]  # the seeds are alike, so are their differences


@pytest.mark.parametrize(("capability", "fused"), [((7, 5), False), ((8, 0), True), ((9, 0), True)])
def test_old_cards_get_torch_operations(monkeypatch, capability, fused):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda card: capability)
    monkeypatch.setattr(choice, "find_spec", lambda name: object())
    assert choice.runs_triton(torch.device("cuda")) is fused
    monkeypatch.setattr(choice, "find_spec", lambda name: None)
    assert not choice.runs_triton(torch.device("cuda"))


def test_searches_hand_over_a_round_at_once():
    mine, theirs = device_scorer()
    assert list(prune_search(LIGHTSNN, mine)) == list(prune_search(LIGHTSNN, theirs))
    found = [list(random_search(LIGHTSNN, score, budget=7, rng=np.random.default_rng(0))) for score in (mine, theirs)]
    assert found[0] == found[1]


@pytest.mark.parametrize("proxy", ["hd", "swap", "firing_rate"])
def test_many_is_one_by_one_for_any_score(proxy):
    mine, theirs = device_scorer(proxy=proxy)
    masks = [LIGHTSNN.full_mask(), OpMask.from_cell(LIGHTSNN.uniform("conv3x3"), LIGHTSNN)]
    assert mine.many(masks) == theirs.many(masks) == [theirs(mask) for mask in masks]


@pytest.mark.gpu
@pytest.mark.parametrize("name", NAMES)
def test_cuda_decides_as_the_cpu(name):
    space, settings_ = SPACES[name], config(width=6, num_steps=2)
    x = batch(settings_, size=6)
    near = Scorer(supernet=build_supernet(space, settings_), batches=(x,), engine="fast")
    far = Scorer(supernet=build_supernet(space, settings_).cuda(), batches=(x.cuda(),), engine="fast")
    assert far.at_once > 36
    assert far.engine_used == "fast (triton)"
    assert list(prune_search(space, far)) == list(prune_search(space, near))
