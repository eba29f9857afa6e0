"""Vectors in compiled loops, and convolutions by tiles: against NumPy's and torch's arithmetic, number by number."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from lightsnn_kit.fast import amx
from lightsnn_kit.fast.amx import TileConvs, amx_works
from lightsnn_kit.fast.compiled import compiled
from lightsnn_kit.fast.cpu_loops import Target, integrate
from lightsnn_kit.fast.cpu_parts import int8_works, make_terms
from lightsnn_kit.fast.plan import EDGE, INSIDE, SIDE
from lightsnn_kit.fast.vectors import as_float, as_int16, as_int32, as_int64, copy, loader, pairs, store, where, zeros

needs_tiles = pytest.mark.skipif(not amx_works(), reason="needs a processor with AMX")
load, none = loader(16), zeros("float32", 16)


@compiled
def floats(x, y, number, out, flags):
    a, b = load(x, 0), load(y, 0)
    store(out, 0, a + b)
    store(out, 16, a - b)
    store(out, 32, a * b)
    store(out, 48, a * number + b)
    store(out, 64, where(a >= b, a, none()))
    store(flags, 0, a >= number)


@compiled
def integers(x, y, out, short, wide):
    a, b = load(x, 0), load(y, 0)
    store(out, 0, a + b)
    store(out, 16, a - b)
    store(out, 32, a * b)
    store(out, 48, a | b)
    store(out, 64, a ^ b)
    store(out, 80, as_int32(as_int16(a)))
    store(short, 0, a)
    store(wide, 0, as_int64(a))
    two = pairs(a)
    store(wide, 16, (two << 32) >> 32)
    store(wide, 24, two >> 32)


@compiled
def reals(short, out):
    store(out, 0, as_float(load(short, 0)))


@compiled
def moved(to, at, array, index, count):
    copy(to, at, array, index, count)


FLOATS = st.lists(st.floats(width=32, allow_nan=False), min_size=16, max_size=16).map(lambda x: np.array(x, np.float32))
WORDS = st.lists(st.integers(-(2**31), 2**31 - 1), min_size=16, max_size=16).map(lambda x: np.array(x, np.int32))


@settings(max_examples=200, deadline=None)
@given(FLOATS, FLOATS, st.floats(width=32, allow_nan=False))
def test_floats_round_once_in_each_operation(x, y, number):
    out, flags, number = np.empty(80, np.float32), np.empty(16, np.uint8), np.float32(number)
    floats(x, y, number, out, flags)
    with np.errstate(all="ignore"):
        expected = [x + y, x - y, x * y, x * number + y, np.where(x >= y, x, np.float32(0))]
    np.testing.assert_array_equal(out, np.concatenate(expected))
    np.testing.assert_array_equal(flags, x >= number)


@settings(max_examples=200, deadline=None)
@given(WORDS, WORDS)
def test_integers_wrap_as_numpys(x, y):
    out, short, wide, real = np.empty(96, np.int32), np.empty(16, np.int16), np.empty(32, np.int64), np.empty(16, "f4")
    integers(x, y, out, short, wide)
    with np.errstate(all="ignore"):
        expected = [x + y, x - y, x * y, x | y, x ^ y, x.astype(np.int16).astype(np.int32)]
    np.testing.assert_array_equal(out, np.concatenate(expected))
    np.testing.assert_array_equal(short, x.astype(np.int16))
    np.testing.assert_array_equal(wide, np.concatenate([x, x[::2], x[1::2]]).astype(np.int64))
    reals(short, real)
    np.testing.assert_array_equal(real, short.astype(np.float32))


def test_numbers_are_copied_where_they_were_asked_for():
    found = np.zeros(12, np.uint8)
    moved(found, 3, np.arange(20, dtype=np.uint8), 7, 5)
    assert found.tolist() == [0, 0, 0, 7, 8, 9, 10, 11, 0, 0, 0, 0]


def test_what_does_not_fit_is_not_compiled():
    from numba import TypingError

    @compiled
    def mixed(x, y):
        store(x, 0, load(x, 0) + load(y, 0))

    with pytest.raises(TypingError):
        mixed(np.zeros(16, np.float32), np.zeros(16, np.int32))


ENDS = (SIDE, INSIDE, EDGE, INSIDE, INSIDE, SIDE, INSIDE, SIDE)  # the drive; edges of two terms, of three; fed back


@pytest.mark.parametrize("channels", [3, 16, 20])
def test_terms_are_summed_in_their_order(channels):
    """Each operation rounds once, and which come first shows in the last bit: terms of an edge, edges, sides."""
    rng, count = np.random.default_rng(channels), 40 * channels
    planes, v = (rng.normal(size=shape).astype(np.float32) for shape in ((3, count + 32), count + 32))
    sums = rng.integers(-9999, 9999, planes.shape).astype(np.int16)
    gains, shifts = rng.normal(size=(2, len(ENDS), channels)).astype(np.float32)
    rows = [((n % 2, n % 2, end), 1 / (n + 3), (1 / (n + 7), gains[n], shifts[n])) for n, end in enumerate(ENDS)]
    value, side, edge = np.zeros((3, count), np.float32)
    for (of_conv, index, end), weight, (scale, gain, shift) in rows:
        x = planes[index, :count]
        if of_conv:
            x = sums[index, :count].astype(np.float32) * np.float32(scale) * np.tile(gain, 40) + np.tile(shift, 40)
        edge = edge + x * np.float32(weight)
        side, edge = (side, edge) if end == INSIDE else (side + edge, 0 * edge)
        value, side = (value + side, 0 * side) if end == SIDE else (value, side)
    charged = v[:count] + (value - v[:count]) * np.float32(0.7)
    fired, spikes = charged >= np.float32(0.5), np.zeros(count + 32, np.uint8)
    terms, target = make_terms(rows, channels), Target(2, True, False, v, spikes, 0.7, 0.5)
    for lo, hi in ((0, 64), (64, count)):
        integrate(lo, hi, terms, sums, planes, target)
    np.testing.assert_array_equal(planes[2, :count], value)
    np.testing.assert_array_equal(spikes[:count], fired)
    np.testing.assert_array_equal(v[:count], np.where(fired, 0, charged))


# ---- tiles


def by_torch(spikes: np.ndarray, weights: list[torch.Tensor]) -> tuple[np.ndarray, np.ndarray]:
    """Sums [convolutions, B·H·W·K] and their totals [2, ΣK], in float64."""
    kernel, x = weights[0].shape[2], torch.from_numpy(spikes).permute(0, 3, 1, 2).double()
    outs = [F.conv2d(x, weight.double(), padding=kernel // 2).permute(0, 2, 3, 1) for weight in weights]
    every = torch.cat([out.flatten(0, 2) for out in outs], 1)  # [M, ΣK]
    return np.stack([out.flatten().numpy() for out in outs]), np.stack([every.sum(0), (every**2).sum(0)])


@needs_tiles
@settings(max_examples=60, deadline=None)
@given(
    st.tuples(st.integers(1, 40), st.integers(1, 9), st.integers(1, 35)),  # B, H, W
    st.integers(1, 70),
    st.sampled_from([(16, 1), (16, 3), (32, 2), (48, 1)]),
    st.sampled_from([1, 3]),
    st.integers(0, 2**32 - 1),
)
def test_tiles_give_the_integers_of_a_convolution(shape, inputs, out, kernel, seed):
    """Any size of images and number of channels in; the results of image n lie where those of ``first`` + n belong."""
    (channels, count), rng, first = out, np.random.default_rng(seed), 2
    spikes = (rng.random((*shape, inputs)) < rng.random()).astype(np.uint8)
    drawn = rng.integers(-127, 128, (count, channels, inputs, kernel, kernel))
    drawn[0, 0], drawn[0, 1] = 127, -127
    weights, image = [torch.from_numpy(w) for w in drawn], shape[1] * shape[2] * channels
    convs, slots = TileConvs(weights), rng.permutation(count + 1)[:count]
    memory = convs.memory(spikes.shape)
    sums, expected = by_torch(spikes, weights)
    fits = np.array_equal(sums.astype(np.int16), sums)
    np.testing.assert_array_equal(convs.sums(spikes).reshape(count, -1), sums)
    for kind in (np.float32, np.int16) if fits else (np.float32,):
        conv = np.full((count + 1, (shape[0] + first) * image + 5), 7, kind)
        for _ in range(2):  # what the first call leaves in the memory does not matter
            totals = np.ones((2, count * channels), np.int64)
            assert convs(spikes, memory, first, slots, conv, totals) == fits
        np.testing.assert_array_equal(conv[slots, first * image : -5], sums)
        np.testing.assert_array_equal(totals, 1 + expected)
        conv[slots, first * image : -5] = 7
        assert (conv == 7).all()  # nothing else was written


@needs_tiles
@pytest.mark.parametrize(("spike", "fits"), [(258, True), (259, False)])
def test_a_sum_past_int16_is_told(spike, fits):
    """127 · 258 = 32,766 is kept, 127 · 259 = 32,893 is not; alike below 0."""
    for sign in (127, -127):
        weights = torch.full((16, 300, 1, 1), sign)
        spikes = np.zeros((1, 3, 3, 300), np.uint8)
        spikes[0, 2, 1, :spike] = 1
        convs, conv, totals = TileConvs([weights]), np.zeros((1, 9 * 16), np.int16), np.zeros((2, 16), np.int64)
        assert convs(spikes, convs.memory(spikes.shape), 0, np.array([0]), conv, totals) == fits
        assert (totals == [[sign * spike], [(sign * spike) ** 2]]).all()  # exact in any case


@needs_tiles
def test_squares_past_32_bits_are_exact():
    """1,024 channels · 9 · 127 = 1,170,432, squared 1.4·10¹², for each of 36 pixels but those at borders."""
    weights, spikes = torch.full((16, 1024, 3, 3), -127), np.ones((1, 6, 6, 1024), np.uint8)
    convs, conv, totals = TileConvs([weights]), np.zeros((1, 36 * 16), np.float32), np.zeros((2, 16), np.int64)
    convs(spikes, convs.memory(spikes.shape), 0, np.array([0]), conv, totals)
    sums, expected = by_torch(spikes, [weights])
    np.testing.assert_array_equal(conv, sums)
    np.testing.assert_array_equal(totals, expected)
    assert sums.min() == -1170432


@needs_tiles
def test_threads_and_onednn_do_not_disturb_each_other():
    """Both set the tiles of their thread; oneDNN's product of bytes by AMX goes on between ours."""
    rng = np.random.default_rng(0)
    weights = [torch.from_numpy(rng.integers(-127, 128, (32, 32, 3, 3)))]
    spikes = (rng.random((8, 16, 16, 32)) < 0.4).astype(np.uint8)
    a, b = torch.randint(-127, 128, (64, 256), dtype=torch.int8), torch.randint(-127, 128, (256, 64), dtype=torch.int8)
    (sums, totals), product = by_torch(spikes, weights), a.long() @ b.long()
    convs = TileConvs(weights)

    def work(_: int) -> bool:
        right, memory = True, convs.memory(spikes.shape)
        for _ in range(20):
            conv, found = np.zeros(sums.shape, np.int16), np.zeros((2, 32), np.int64)
            convs(spikes, memory, 0, np.array([0]), conv, found)
            right &= np.array_equal(conv, sums) and np.array_equal(found, totals)
            right &= not int8_works() or torch.equal(torch._int_mm(a, b).long(), product)
        return right

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(8)))


@pytest.mark.skipif(not amx.compiled_for() >= amx.NEEDED, reason="needs a processor with AMX")
def test_tiles_work_where_the_processor_has_them():
    """Else wrong sums would be noticed by nobody: those of the other way are right."""
    assert amx_works() == (torch.cpu._is_amx_tile_supported() and torch.cpu._init_amx())


@pytest.mark.parametrize("setting", [{"NUMBA_CPU_NAME": "generic"}, {"NUMBA_CPU_FEATURES": "+sse4.2,+avx2"}])
def test_code_for_other_processors_has_no_tiles(setting):
    """Whose cache of compiled loops serves several machines: LLVM would end the process at the first tile."""
    ask = "from lightsnn_kit.fast.amx import amx_works; print(amx_works())"
    done = subprocess.run([sys.executable, "-c", ask], env=os.environ | setting, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "False")


@pytest.mark.parametrize("lacking", ["numba", "system", "permission", "integers"])
def test_tiles_are_left_alone_where_something_lacks(lacking, monkeypatch):
    has = {"+avx2"} if lacking == "numba" else amx.NEEDED
    monkeypatch.setattr(amx, "compiled_for", lambda: has)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: lacking != "system")
    monkeypatch.setattr(torch.cpu, "_init_amx", lambda: lacking != "permission")
    monkeypatch.setattr(amx, "convolve", lambda *args: True)  # and writes nothing
    amx_works.cache_clear()
    try:
        assert not amx_works()
    finally:
        amx_works.cache_clear()
