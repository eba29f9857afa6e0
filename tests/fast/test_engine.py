"""The fast engine against the plain scorer: the same integers, the same bits, whatever computes them."""

import gc
import itertools
import signal
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lightsnn_kit.cells import Op
from lightsnn_kit.exact import (
    EXACT_LIMIT,
    ExactBatchNorm2d,
    LatticeConv2d,
    check_exact,
    lattice_scale,
    window_matrix_product,
)
from lightsnn_kit.fast import cpu_engine, cpu_parts
from lightsnn_kit.fast.amx import amx_works
from lightsnn_kit.fast.cpu_engine import CpuEngine
from lightsnn_kit.fast.cpu_parts import Group, int8_works
from lightsnn_kit.fast.device import DeviceEngine
from lightsnn_kit.fast.threads import run_all, thread_pool
from lightsnn_kit.kernels import SpikeStatistics, log_det
from lightsnn_kit.networks import NetworkConfig, build_supernet
from lightsnn_kit.recording import record_spikes, scoring_mode
from lightsnn_kit.scoring import PROXIES, Scorer, register_score, spiking_layers
from lightsnn_kit.search import prune_search
from lightsnn_kit.spaces import SPACES, CellSpace, OpMask
from lightsnn_kit.workers import score_in_processes

LIGHTSNN = SPACES["lightsnn"]
NAMES = ("lightsnn", "snasnet", "snasnet-maxpool", "lightsnn-forward")


def random_mask(space: CellSpace, rng: np.random.Generator) -> OpMask:
    """One op per edge, or any number of them."""
    if rng.integers(2):
        return OpMask.from_cell(space.sample(rng), space)
    kept = [tuple(op for op in space.ops if rng.random() < 0.6) for _ in space.edges]
    return OpMask(space, tuple(ops or (space.ops[rng.integers(len(space.ops))],) for ops in kept))


def config(shape: tuple[int, int, int] = (3, 12, 10), **settings) -> NetworkConfig:
    static = {"input_centre": (100.0,), "input_scale": 0.01} if not settings.get("events") else {}
    return NetworkConfig(
        **{"input_shape": shape, "num_classes": 3, "width": 6, "hidden": 32, "num_steps": 3} | static | settings
    )


def batch(settings: NetworkConfig, seed: int = 0, size: int = 7) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    if settings.events:
        return torch.poisson(torch.full((3, size, *settings.input_shape), 0.5), generator=generator)
    return torch.randint(0, 256, (size, *settings.input_shape), generator=generator, dtype=torch.uint8)


def engines(supernet, batches: tuple, bn: str) -> list:
    return [
        CpuEngine(supernet, batches, bn=bn, int8=True) if int8_works() else None,
        CpuEngine(supernet, batches, bn=bn, int8=False),
        DeviceEngine(supernet, batches, bn=bn),
    ]


@pytest.fixture
def use_threads() -> Iterator[Callable[[int], None]]:
    """Sets torch's number of threads, until the test ends."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


CASES = list(itertools.product(NAMES, (False, True), ("batch", "running"), (True, False), ("max", "avg")))


@pytest.mark.parametrize(("name", "events", "bn", "feedback", "pool"), CASES)
def test_same_integers_per_layer_and_step(name, events, bn, feedback, pool, monkeypatch, use_threads):
    """64 settings with four masks each: 256 masks through int8, float32 and the device back end."""
    space, case = SPACES[name], CASES.index((name, events, bn, feedback, pool))
    if case % 2:  # oneDNN's convolutions also where there are tiles
        monkeypatch.setattr(cpu_parts, "amx_works", lambda: False)
    if case % 5 == 0:  # several workers, a block for every sample
        monkeypatch.setattr(cpu_engine, "SHARE", 1)
        monkeypatch.setattr(cpu_engine, "BLOCK", 1)
        use_threads(2)
    settings = config((2, 12, 8) if events else (3, 8, 6), events=events, pool=pool, width=(3, 6, 16)[case % 3])
    x, rng = batch(settings, size=5), np.random.default_rng(case)
    supernet = build_supernet(space, settings, seed=case)
    plain = Scorer(supernet=supernet, batches=(x,), bn=bn, feedback=feedback, engine="plain")
    backends = [engine for engine in engines(supernet, (x,), bn) if engine is not None]
    for _ in range(4):
        mask = random_mask(space, rng)
        expected = plain.statistics(mask, patterns=True)[0]
        layers = expected.by_layer()
        for engine in backends:
            statistics = engine.run(mask, 0, feedback=feedback, patterns=True)
            got = statistics.by_layer()
            assert got.keys() == layers.keys()
            for layer, (counts, distance) in layers.items():
                assert torch.equal(got[layer][0], counts), (engine.name, layer)
                assert torch.equal(got[layer][1], distance), (engine.name, layer)
            assert log_det(statistics.kernel()) == log_det(expected.kernel())
            assert log_det(statistics.kernel("hd")) == log_det(expected.kernel("hd"))
            assert patterns_by_layer(statistics) == patterns_by_layer(expected)


def patterns_by_layer(statistics: SpikeStatistics) -> dict[str, list[int]]:
    rows = zip(statistics.layers, statistics.patterns.tolist(), strict=True)
    return {name: steps for names, steps in rows for name in names}


@pytest.mark.parametrize("size", [63, 64, 65, 130])
@pytest.mark.parametrize("bn", ["batch", "running"])
def test_patterns_of_more_samples_than_a_word_has_bits(size, bn):
    """The same counts in every back end, in any order of samples."""
    settings = config((3, 8, 6), num_steps=2)
    supernet, x = build_supernet(LIGHTSNN, settings, seed=2), batch(settings, size=size)
    mask, order = random_mask(LIGHTSNN, np.random.default_rng(size)), np.random.default_rng(0).permutation(size)
    [expected] = Scorer(supernet=supernet, batches=(x,), bn=bn, engine="plain").statistics(mask, patterns=True)
    for batches in ((x,), (x[order],)):
        for engine in filter(None, engines(supernet, batches, bn)):
            found = engine.run(mask, 0, feedback=True, patterns=True)
            assert patterns_by_layer(found) == patterns_by_layer(expected), engine.name
        plain = Scorer(supernet=supernet, batches=batches, bn=bn, engine="plain", proxy="swap")
        assert plain(mask) == expected.distinct_columns(spiking_layers(mask))
    assert engines(supernet, (x,), bn)[1].run(mask, 0, feedback=True).patterns is None  # only where they are asked for


def test_event_counts_past_the_bound_are_refused():
    """18 inputs · 127 · 7340 is the first product past 2**24."""
    settings = config((2, 12, 8), events=True)
    supernet, x = build_supernet(LIGHTSNN, settings), torch.zeros(3, 4, 2, 12, 8, dtype=torch.int16)
    x[0, 0, 0, 0, 0] = 7339
    assert 18 * 127 * 7339 < EXACT_LIMIT <= 18 * 127 * 7340
    Scorer(supernet=supernet, batches=(x,))
    x[0, 0, 0, 0, 0] = 7340
    with pytest.raises(ValueError, match="stem: 18 inputs of at most 7340"):
        Scorer(supernet=supernet, batches=(x,))


@pytest.mark.parametrize("tiles", [False, True])
@pytest.mark.parametrize("fill", [None, 127.0])
def test_wide_layers_leave_int16_and_stay_exact(tiles, fill, monkeypatch, use_threads):
    """Where sums are looked at (by tiles) int16 goes on until one is too large: 9 · 80 · 127 = 91,440 > 32,767."""
    if tiles and not amx_works():
        pytest.skip("needs a processor with AMX")
    monkeypatch.setattr(cpu_parts, "amx_works", lambda: tiles)
    settings = config((3, 8, 8), width=80, num_steps=2, v_threshold=0.05)
    supernet, x = build_supernet(LIGHTSNN, settings), batch(settings, size=4)
    if fill:
        for module in supernet.cell1.modules():
            if isinstance(module, LatticeConv2d):
                module.weight.data[:40] = fill
    fast = Scorer(supernet=supernet, batches=(x,), engine="fast")
    plain = Scorer(supernet=supernet, batches=(x,), engine="plain")
    masks = [LIGHTSNN.full_mask(), OpMask.from_cell(LIGHTSNN.uniform("conv3x3"), LIGHTSNN)]
    expected = [plain(mask) for mask in masks]
    assert [fast(mask) for mask in masks] == expected
    kinds = [buffers.conv.dtype for buffers in fast._engine.cell_buffers]
    monkeypatch.setattr(cpu_engine, "SHARE", 1)
    use_threads(3)  # one of several workers may find it, and each lane by itself
    for scores in (lambda again: [again(mask) for mask in masks], lambda again: again.many(masks)):
        assert scores(Scorer(supernet=supernet, batches=(x,), engine="fast")) == expected
    if not int8_works():
        return
    if tiles:
        assert kinds == ([np.float32, np.float32] if fill else [np.int16, np.int16])
    else:
        assert kinds == [np.float32 if fill else np.int16, np.float32]


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    settings = config()
    supernet = build_supernet(LIGHTSNN, settings)
    return Scorer(supernet=supernet, batches=(batch(settings, 0, 9), batch(settings, 1, 9)), engine="fast")


@pytest.mark.parametrize("proxy", ["sahd", "swap"])
def test_search_decides_alike_with_either_engine(scorer, proxy):
    fast, plain = (
        Scorer(supernet=scorer.supernet, batches=scorer.batches, engine=engine, proxy=proxy)
        for engine in ("fast", "plain")
    )
    assert list(prune_search(LIGHTSNN, fast)) == list(prune_search(LIGHTSNN, plain))


def test_same_bits_for_any_number_of_threads(scorer, monkeypatch, use_threads):
    monkeypatch.setattr(cpu_engine, "SHARE", 1)  # hand over even this little work
    masks = [random_mask(LIGHTSNN, np.random.default_rng(seed)) for seed in range(6)]
    found = []
    for count in (1, 2, 3):
        use_threads(count)
        again = Scorer(supernet=scorer.supernet, batches=scorer.batches, engine="fast")
        found.append([again(mask) for mask in masks])
        assert torch.get_num_threads() == count  # the engine's threads leave the caller's setting alone
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("proxy", ["sahd", "swap", "firing_rate", "params"])
def test_same_bits_side_by_side(scorer, proxy, monkeypatch, use_threads):
    """Masks on threads of their own, each with buffers of its own; without memory for them one after the other."""
    masks = [random_mask(LIGHTSNN, np.random.default_rng(seed)) for seed in range(7)]
    again = Scorer(supernet=scorer.supernet, batches=scorer.batches, engine="fast", proxy=proxy)
    use_threads(1)
    found = [again(mask) for mask in masks]
    assert (again.at_once, again.many(masks)) == (1, found)
    for count in (2, 3):
        use_threads(count)
        assert (again.at_once, again.many(masks), again.many([])) == (count, found, [])
        assert len(again._engine.lanes) == (0 if proxy == "params" else count - 1)  # which needs no pass
    assert [again(mask) for mask in masks] == found
    cells = [OpMask.from_cell(LIGHTSNN.sample(np.random.default_rng(seed)), LIGHTSNN) for seed in range(4)]
    assert again.many_with_synops(cells) == [again.with_synops(cell) for cell in cells]
    monkeypatch.setattr(cpu_engine.psutil, "virtual_memory", lambda: SimpleNamespace(available=10**6))
    poor = Scorer(supernet=scorer.supernet, batches=scorer.batches, engine="fast", proxy=proxy)
    assert (poor.at_once, poor.many(masks)) == (1, found)


def test_memory_that_lanes_hold_is_not_asked_for_again(scorer, monkeypatch, use_threads):
    use_threads(2)
    again = Scorer(supernet=scorer.supernet, batches=scorer.batches, engine="fast")
    needed, memory = again._engine._pass_bytes(), SimpleNamespace()
    monkeypatch.setattr(cpu_engine.psutil, "virtual_memory", lambda: memory)
    memory.available = 4 * needed
    assert again.at_once == 1
    memory.available += 2
    assert again.at_once == 2
    again.many([LIGHTSNN.full_mask()] * 2)
    memory.available -= 2 * needed  # it is theirs now
    assert again.at_once == 2


def test_an_engine_ends_with_its_scorer(scorer):
    """Buffers may be gigabytes: none waits for the collector of circles."""
    again = Scorer(supernet=scorer.supernet, batches=scorer.batches, engine="fast")
    again(LIGHTSNN.full_mask())
    buffers = weakref.ref(again._engine.cell_buffers[0])
    gc.disable()
    try:
        del again
        assert buffers() is None
    finally:
        gc.enable()


def test_buffers_are_all_there_or_none(scorer, monkeypatch):
    """Where memory runs out in between, a pass with other sizes begins anew: nobody checks what loops write to."""
    again = Scorer(supernet=scorer.supernet, batches=(scorer.batches[0], scorer.batches[1][:5]), engine="fast")
    mask = LIGHTSNN.full_mask()
    expected = again(mask)  # ends with the smaller batch
    for fails in range(3):
        kinds, kind = iter([False] * fails + [True]), cpu_parts.sum_type

        def short_of_memory(*args, kinds=kinds, kind=kind, **options):
            if next(kinds, False):
                raise MemoryError
            return kind(*args, **options)

        monkeypatch.setattr(cpu_engine, "sum_type", short_of_memory)
        with pytest.raises(MemoryError):
            again(mask)
        monkeypatch.undo()
        sizes = [b.floats for b in again._engine.cell_buffers or ()]
        assert not sizes or sizes == [5 * 12 * 10 * 6, 5 * 6 * 5 * 12]
        assert again(mask) == expected


def test_what_side_by_side_takes_is_known(scorer):
    """Of the passes' buffers no more is ever touched: values and membranes of 4 nodes, sums of 12 convolutions."""
    scorer(LIGHTSNN.full_mask())
    engine = scorer._engine
    floats = sum(buffers.floats for buffers in engine.cell_buffers)
    assert floats == 9 * (12 * 10 * 6 + 6 * 5 * 12) == 3 * engine.drives[0][0].numel() // 2
    assert engine._pass_bytes() == floats * (4 * 5 + 4 * 5 + 4 * 12 + 8)


def test_order_is_kept_where_scores_depend_on_those_before(scorer):
    """With membranes that carry over a mask scores otherwise the second time, also among several."""
    masks = [LIGHTSNN.full_mask()] * 3

    def carried() -> Scorer:
        supernet = build_supernet(LIGHTSNN, config())
        return Scorer(supernet=supernet, batches=scorer.batches[:1], reset=False)

    one_by_one = carried()
    expected = [one_by_one(mask) for mask in masks]
    assert len(set(expected)) == 3
    assert carried().many(masks) == expected


def test_only_so_many_passes_are_kept(scorer, monkeypatch):
    """A pass takes [B, B] numbers of every layer and step: those of a thousand masks do not lie in memory together."""
    most, masks = [], [random_mask(LIGHTSNN, np.random.default_rng(seed)) for seed in range(20)]
    again = Scorer(supernet=scorer.supernet, batches=scorer.batches[:1], engine="fast", proxy="firing_rate")
    run_many = CpuEngine.run_many
    monkeypatch.setattr(CpuEngine, "run_many", lambda *a, **o: most.append(len(a[1])) or run_many(*a, **o))
    found = again.many(masks)
    assert most == [8, 8, 4]
    most.clear()
    again.many_with_synops([OpMask.from_cell(LIGHTSNN.sample(np.random.default_rng(n)), LIGHTSNN) for n in range(4)])
    assert most == [4]  # with_synops of each takes what is known
    assert found == [again(mask) for mask in masks]


def test_a_score_may_ask_in_threads_of_its_own(scorer):
    """It would wait for ever for a lock that is held while several masks are scored."""
    other = Scorer(supernet=scorer.supernet, batches=scorer.batches, engine="fast")
    masks = [random_mask(LIGHTSNN, np.random.default_rng(seed)) for seed in range(3)]

    def both(scorer: Scorer, mask: OpMask) -> float:
        with ThreadPoolExecutor(2) as pool:
            asked = [pool.submit(other, mask), pool.submit(scorer.statistics, mask)]
            assert len(asked[1].result(60)) == 2
            return asked[0].result(60)

    register_score("both", both)
    try:
        again = Scorer(supernet=scorer.supernet, batches=scorer.batches, engine="fast", proxy="both")
        assert again.many(masks) == [other(mask) for mask in masks]
    finally:
        PROXIES.pop("both")


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="needs POSIX")
@pytest.mark.parametrize("interrupts", [1, 2])
def test_interrupts_wait_for_what_runs(interrupts):
    """Who presses Ctrl-C once more because nothing happens must not meet work that still writes to the buffers."""
    seen, running = [], threading.Event()

    def work(number: int) -> None:
        running.set()
        time.sleep(0.5)
        seen.append(number)

    def press() -> None:
        running.wait(10)
        for _ in range(interrupts):
            time.sleep(0.1)
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    thread = threading.Thread(target=press)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        run_all(work, range(5), 2)
    thread.join()
    done = len(seen)
    time.sleep(0.7)
    assert len(seen) == done == 2


def test_none_runs_on_when_one_fails():
    """Whoever comes next has the buffers alone."""
    running, seen = threading.Event(), []

    def work(number: int) -> None:
        if number == 0:
            running.wait(10)
            raise KeyboardInterrupt
        running.set()
        time.sleep(0.2)
        seen.append(number)

    with pytest.raises(KeyboardInterrupt):
        run_all(work, range(2), 2)
    assert seen == [1]


@pytest.mark.parametrize("proxy", ["sahd", "swap"])
def test_same_bits_in_worker_processes(scorer, proxy):
    masks = [random_mask(LIGHTSNN, np.random.default_rng(seed)) for seed in range(4)]
    scorer = Scorer(supernet=scorer.supernet, batches=scorer.batches, engine="fast", proxy=proxy)
    with score_in_processes(scorer, workers=2) as (score, executor):
        assert list(executor.map(score, masks)) == [scorer(mask) for mask in masks]


def test_workers_need_no_state_of_the_caller(scorer):
    """What a pass with gradients left behind does not travel; membranes that carry over cannot be shared."""
    scorer.supernet(scorer.batches[0], mask=LIGHTSNN.full_mask())
    with score_in_processes(scorer, workers=1) as (score, executor):
        assert list(executor.map(score, [LIGHTSNN.full_mask()])) == [scorer(LIGHTSNN.full_mask())]
    carried = Scorer(supernet=scorer.supernet, batches=scorer.batches, reset=False)
    with pytest.raises(ValueError, match="only if states are reset"), score_in_processes(carried, workers=1):
        pass


def test_same_bits_for_any_memory_format(scorer):
    last = tuple(x.contiguous(memory_format=torch.channels_last) for x in scorer.batches)
    again = Scorer(supernet=scorer.supernet, batches=last, engine="fast")
    assert again(LIGHTSNN.full_mask()) == scorer(LIGHTSNN.full_mask())


def test_first_and_hundredth_call_agree(scorer):
    fresh = Scorer(supernet=scorer.supernet, batches=scorer.batches, engine="fast")
    masks = [random_mask(LIGHTSNN, np.random.default_rng(seed)) for seed in range(100)]
    first = [fresh(mask) for mask in masks]
    assert [fresh(mask) for mask in reversed(masks)] == first[::-1]
    for name in ("planes", "conv", "v"):  # what earlier candidates left in the buffers is never read
        for buffers in fresh._engine.cell_buffers:
            getattr(buffers, name)[...] = 99
    assert fresh(masks[0]) == first[0]


def test_silent_and_dead_networks(scorer):
    dead = OpMask.from_cell(LIGHTSNN.uniform("zeroize"), LIGHTSNN)
    plain = Scorer(supernet=scorer.supernet, batches=scorer.batches, engine="plain")
    assert scorer(dead) == plain(dead) == -np.inf
    settings = config(input_scale=1e-9)  # with BN on running statistics nothing ever fires
    supernet = build_supernet(LIGHTSNN, settings)
    for engine in ("fast", "plain"):
        silent = Scorer(supernet=supernet, batches=(batch(settings),), bn="running", engine=engine)
        assert silent.statistics(LIGHTSNN.full_mask())[0].counts.sum() == 0
        assert silent(LIGHTSNN.full_mask()) == -np.inf


def test_work_that_no_counted_layer_sees_is_left_out(scorer, monkeypatch, use_threads):
    """One convolution per source node and step; none in the last step for feedback; none towards unread nodes."""
    calls = []
    call = Group.__call__
    monkeypatch.setattr(Group, "__call__", lambda self, s: calls.append(len(self.keys)) or call(self, s))
    monkeypatch.setattr(cpu_engine, "BLOCK", 2**30)
    use_threads(1)
    one_batch = Scorer(supernet=scorer.supernet, batches=scorer.batches[:1], engine="fast")
    one_batch(LIGHTSNN.full_mask())
    steps = 3
    # sources 0, 1, 2 in every step and 3 (feedback only) in all but the last; two cells; the downsampling
    assert len(calls) == 2 * (3 * steps + (steps - 1)) + steps
    assert sum(calls) == 2 * (6 * steps + 6 * (steps - 1)) + steps
    calls.clear()
    cell = LIGHTSNN.uniform("zeroize").replace(LIGHTSNN.edges[0], "conv3x3")  # 1<-0: counted, its result unread
    assert one_batch.statistics(OpMask.from_cell(cell, LIGHTSNN))[0].by_layer().keys() >= {"cell1.ops.1<-0:conv3x3.0"}
    assert len(calls) == steps


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("tiles", [True, False])
def test_worst_case_sums_do_not_overflow(kernel, tiles, monkeypatch):
    """All inputs spike and all weights are ±127, at four times the paper's width."""
    monkeypatch.setattr(cpu_parts, "amx_works", lambda: tiles and amx_works())
    channels = 1024
    check_exact("test", channels * kernel**2)
    weight = torch.full((32, channels, kernel, kernel), 127.0)
    weight[1] = -127
    spikes = np.ones((1, 4, 4, channels), np.uint8)
    top = 127 * channels * kernel**2
    conv = nn.Conv2d(channels, 32, kernel, padding=kernel // 2, bias=False)
    conv.weight.data = weight
    for int8 in {int8_works(), False}:
        got = Group(("x",), [conv], [ExactBatchNorm2d(32)], int8)(spikes).reshape(4, 4, 32)
        assert (got[1, 1, 0], got[1, 1, 1]) == (top, -top)
    product = window_matrix_product(torch.ones(16, channels), weight, (4, 4)).view(4, 4, 32)
    assert (product[1, 1, 0], product[1, 1, 1]) == (top, -top)


def test_beyond_the_bound_the_engine_refuses():
    limit = (EXACT_LIMIT - 1) // 127
    check_exact("layer", limit)
    with pytest.raises(
        ValueError, match=r"layer: 132105 inputs .* exact below 16777216 only.*smaller network or init='kaiming'"
    ):
        check_exact("layer", limit + 1)
    check_exact("averages over 4 pixels", limit // 4, steps_per_unit=4)
    with pytest.raises(ValueError, match=r"33027 inputs of at most 1 give sums up to 1\.67777e\+07 grid steps"):
        check_exact("averages over 4 pixels", limit // 4 + 1, steps_per_unit=4)
    settings = config((1, 300, 300), width=6, last_pool=1)  # 2 * 6 * 150 * 150 = 270,000 inputs of the hidden layer
    supernet = build_supernet(LIGHTSNN, settings)
    with pytest.raises(ValueError, match=r"hidden layer \(max pooling\): 270000 inputs"):
        Scorer(supernet=supernet, batches=(batch(settings, size=2),), engine="fast")
    assert Scorer(supernet=supernet, batches=(batch(settings, size=2),), engine="auto").engine_used == "plain"


def test_engine_choices():
    settings = config()
    stock = build_supernet(LIGHTSNN, settings, init="stock")
    with pytest.raises(ValueError, match="init='lattice' or 'kaiming'; use engine='plain'"):
        Scorer(supernet=stock, batches=(batch(settings),), engine="fast")
    with pytest.raises(ValueError, match="reset states; use engine='plain'"):
        Scorer(supernet=build_supernet(LIGHTSNN, settings), batches=(batch(settings),), engine="fast", reset=False)
    with pytest.raises(ValueError, match="engine must be 'auto' or 'plain' or 'fast', got 'quick'"):
        Scorer(supernet=stock, batches=(batch(settings),), engine="quick")
    assert Scorer(supernet=stock, batches=(batch(settings),)).engine_used == "plain"
    lattice = Scorer(supernet=build_supernet(LIGHTSNN, settings), batches=(batch(settings),))
    assert lattice.engine_used == ("fast (int8)" if int8_works() else "fast (float32)")
    kaiming = Scorer(supernet=build_supernet(LIGHTSNN, settings, init="kaiming"), batches=(batch(settings),))
    assert kaiming.engine_used == "fast (float32)"


def test_missing_int8_falls_back_silently(monkeypatch, scorer):
    def broken(*args):
        raise NotImplementedError("no int8 here")

    expected = scorer(LIGHTSNN.full_mask())
    int8_works.cache_clear()
    monkeypatch.setattr(cpu_parts, "_int8_conv", broken)
    again = Scorer(supernet=scorer.supernet, batches=scorer.batches)
    assert again(LIGHTSNN.full_mask()) == expected
    assert again.engine_used == "fast (float32)"
    int8_works.cache_clear()
    monkeypatch.setattr(cpu_parts, "_int8_conv", lambda *args: torch.zeros(1))  # wrong integers
    assert not int8_works()
    monkeypatch.undo()
    int8_works.cache_clear()


def test_kaiming_weights_agree_up_to_rounding():
    settings = config(width=8)
    supernet, x = build_supernet(LIGHTSNN, settings, init="kaiming"), batch(settings, size=16)
    fast, plain = (
        Scorer(supernet=supernet, batches=(x,), engine=engine).statistics(LIGHTSNN.full_mask())[0]
        for engine in ("fast", "plain")
    )
    differing = (fast.kernel() - plain.kernel()).abs().max() / plain.kernel().max()
    assert differing < 1e-3


def test_lattice_weights_have_kaimings_variance():
    supernet = build_supernet(LIGHTSNN, config(width=32), seed=3)
    for name, module in supernet.named_modules():
        if isinstance(module, LatticeConv2d):
            weight = module.weight.detach()
            fan_in = weight[0].numel()
            assert torch.equal(weight, weight.round())
            assert weight.abs().max() == 127
            variance = 6 / (5 * fan_in) / 3  # of U(-b, b) with b^2 = 6 / ((1 + a^2) fan_in), a = 2
            assert (weight * module.scale).var().item() == pytest.approx(variance, rel=0.1), name
            assert module.scale == lattice_scale(fan_in)
    hidden = supernet.classifier[1]
    spread = 0.01 * (32768 / hidden.in_features) ** 0.5
    assert (hidden.weight * hidden.scale).std().item() == pytest.approx(spread, rel=0.01)
    paper = build_supernet(LIGHTSNN, config(width=32, linear_std=0.01), seed=3).classifier[1]
    assert (paper.weight * paper.scale).std().item() == pytest.approx(0.01, rel=0.01)


@pytest.mark.parametrize("training", [True, False])
def test_exact_batch_norm_is_batch_norm(training):
    """Same normalisation as torch's up to rounding, from sums that no order of addition can change."""
    generator = torch.Generator().manual_seed(0)
    acc = torch.randint(-4000, 4000, (8, 6, 5, 7), generator=generator).float()
    ours, theirs = ExactBatchNorm2d(6), nn.BatchNorm2d(6)
    ours.grid = 0.013
    ours.train(training), theirs.train(training)
    with torch.no_grad():
        got, expected = ours(acc * 0.013), theirs(acc * 0.013)
        order = torch.randperm(8, generator=generator)
        assert torch.equal(ours(acc[order] * 0.013), got[order])
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)


def test_disagreement_with_stock_layers_is_rare():
    """Spikes of the exact layers against torch's and spikingjelly's own, same weights: rounding at the threshold."""
    settings = config((3, 16, 16), width=8, num_steps=5)
    exact, stock = build_supernet(LIGHTSNN, settings), build_supernet(LIGHTSNN, settings, init="stock")
    for mine, theirs in zip(exact.modules(), stock.modules(), strict=True):
        if isinstance(theirs, nn.Conv2d) or (isinstance(theirs, nn.Linear) and theirs.bias is None):
            theirs.weight.data.copy_(mine.weight.data * mine.scale)
    recorded, x = [], batch(settings, size=32)
    for supernet in (exact, stock):
        with torch.no_grad(), scoring_mode(supernet, "batch"), record_spikes(supernet) as spikes:
            supernet(x, mask=LIGHTSNN.full_mask())
        recorded.append(spikes)
    share = np.mean([(recorded[0][k] != recorded[1][k]).float().mean() for k in recorded[0]])
    assert share < 2e-3


def test_window_matrix_product_is_a_convolution():
    generator = torch.Generator().manual_seed(0)
    spikes = torch.randint(0, 2, (3, 5, 4, 6), generator=generator).float()  # [B, C, H, W]
    for kernel in (1, 3):
        weight = torch.randint(-127, 128, (7, 5, kernel, kernel), generator=generator).float()
        matrix = spikes.permute(0, 2, 3, 1).reshape(-1, 5)
        expected = F.conv2d(spikes, weight, padding=kernel // 2).permute(0, 2, 3, 1).reshape(-1, 7)
        assert torch.equal(window_matrix_product(matrix, weight, (4, 6)), expected)


@pytest.mark.gpu
@pytest.mark.parametrize("name", NAMES)
def test_cuda_gives_the_bits_of_the_cpu(name):
    space, settings = SPACES[name], config(width=16)
    x = batch(settings, size=16)
    on_cpu = Scorer(supernet=build_supernet(space, settings), batches=(x,), engine="fast")
    on_gpu = Scorer(supernet=build_supernet(space, settings).cuda(), batches=(x.cuda(),), engine="fast")
    rng = np.random.default_rng(0)
    for mask in [space.full_mask(), *(random_mask(space, rng) for _ in range(8))]:
        expected, got = on_cpu.statistics(mask)[0].by_layer(), on_gpu.statistics(mask)[0].by_layer()
        assert all(torch.equal(got[layer][1].cpu(), expected[layer][1]) for layer in expected)
        assert on_gpu(mask) == on_cpu(mask)
        both = [one.statistics(mask, patterns=True)[0] for one in (on_cpu, on_gpu)]
        assert patterns_by_layer(both[0]) == patterns_by_layer(both[1])


def test_unknown_op_order_does_not_matter():
    """A space lists its ops in any order; the sums follow the space's order in both engines."""
    space, settings = CellSpace((Op.CONV3X3, Op.SKIP, Op.ZEROIZE)), config()
    supernet, x = build_supernet(space, settings), batch(settings)
    fast, plain = (Scorer(supernet=supernet, batches=(x,), engine=engine) for engine in ("fast", "plain"))
    assert fast(space.full_mask()) == plain(space.full_mask())


def test_values_that_grow_step_by_step_keep_their_statistics():
    """All-skip with feedback multiplies its values every step: past any fixed grid, yet BN follows."""
    settings = config((3, 8, 8), num_steps=16, width=4)
    mask, x = OpMask.from_cell(LIGHTSNN.uniform("skip"), LIGHTSNN), batch(settings, size=6)
    supernet = build_supernet(LIGHTSNN, settings)
    fast, plain = (Scorer(supernet=supernet, batches=(x,), engine=e).statistics(mask)[0] for e in ("fast", "plain"))
    assert torch.equal(fast.hamming, plain.hamming)
    rates = fast.firing_rate["down.1"]
    assert rates.min() > 0.05
    assert rates.max() < 0.5
    with torch.no_grad():
        value, fed_back = torch.ones(1, 4, 8, 8), None
        for _ in range(16):
            out, fed_back = supernet.cell1(value, fed_back, mask=mask)
    assert out.max() > 1e6  # what the statistics had to follow


@pytest.mark.parametrize("area", [1, 64])
def test_worst_case_of_the_hidden_layer(area, monkeypatch):
    """The largest fan-in that passes the check, all inputs at their top and all weights ±127."""
    fan_in = (EXACT_LIMIT - 1) // 127 // area // 8 * 8
    check_exact("hidden layer", fan_in, steps_per_unit=area)
    linear = nn.Linear(fan_in, 32)
    linear.weight.data[:], linear.weight.data[1] = 127, -127
    for int8, tiles in {(int8_works(), amx_works()), (int8_works(), False), (False, False)}:
        monkeypatch.setattr(cpu_parts, "amx_works", lambda tiles=tiles: tiles)
        layer = cpu_parts.HiddenLayer(linear, (1, 1), lattice=True, int8=int8)
        got = layer(np.full((32, 1, 1, fan_in), area, np.int8), area)
        assert (got[0, 0], got[31, 1]) == (127 * fan_in, -127 * fan_in)


def test_averages_that_are_not_exact_are_refused():
    for last_pool in (3, 16):
        settings = config((3, 96, 96), pool="avg", last_pool=last_pool, width=2)
        with pytest.raises(ValueError, match="pixels are not exact here; use engine='plain'"):
            Scorer(supernet=build_supernet(LIGHTSNN, settings), batches=(batch(settings, size=2),), engine="fast")


def test_threads_take_turns(scorer):
    masks = [random_mask(LIGHTSNN, np.random.default_rng(seed)) for seed in range(8)]
    expected = [scorer(mask) for mask in masks]
    for engine in ("fast", "plain"):
        again = Scorer(supernet=scorer.supernet, batches=scorer.batches, engine=engine)
        with ThreadPoolExecutor(3) as executor:
            assert list(executor.map(again, masks)) == expected


def test_workers_run_on_one_thread_each(use_threads):
    use_threads(2)
    pool = thread_pool(2)
    assert list(pool.map(lambda _: torch.get_num_threads(), range(8))) == [1] * 8


def test_real_valued_input_is_normalised_whatever_its_unit():
    """The stem's statistics follow the values: a data set in other units scores alike."""
    x, scores = torch.rand(8, 3, 8, 8, generator=torch.Generator().manual_seed(0)), []
    for unit in (1.0, 2.0**-6, 2.0**-12):
        settings = config((3, 8, 8), input_centre=(0.0,), input_scale=1 / unit)
        supernet = build_supernet(LIGHTSNN, settings)
        scores.append(Scorer(supernet=supernet, batches=(x * unit,))(LIGHTSNN.full_mask()))
    assert scores[0] == scores[1] == scores[2]
