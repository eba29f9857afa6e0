"""Convolutions of spikes by the processor's tile registers (AMX), sorted and summed while their results are in a cache.

In a padded image whose channels lie side by side, the window of an output pixel is ``kernel`` runs of kernel·C bytes,
and that of the next pixel begins C bytes later: runs are cut into pieces of 64 bytes, and sixteen pixels are a tile
whose rows overlap in memory, so nothing is copied. A tile of weights holds a piece of sixteen output channels.
oneDNN computes the same sums, but hands them over as float32 in memory, to be read, converted and summed again.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
from llvmlite import ir
from numba import types
from numba.core.registry import cpu_target
from numba.extending import intrinsic
from torch import Tensor
from torch.nn import functional as F

from .compiled import compiled
from .vectors import as_int16, as_int32, as_int64, copy, loader, pairs, store, zeros

ROWS, PIECE = 32, 64  # pixels worked on together; bytes of a row of a tile
TILE = 1024  # bytes of a tile: 16 rows
PIXELS = 1024  # at least, for which the weights are read once: the sums of 32 channels stay in the second cache
NEEDED = {"+amx-int8", "+amx-tile", "+avx512f"}  # of what LLVM knows
AT_ONCE = 18  # pieces whose weights (2 KiB each) stay in the first cache
load8, load16, no_sums, no_squares = loader(8), loader(16), zeros("int32", 16), zeros("int64", 8)


# ---- instructions: 0 to 3 are tiles of sums, 4 and 5 of spikes, 6 and 7 of weights


def _emit(builder, name: str, tiles: Sequence[int], operands: Sequence[ir.Value] = ()) -> None:
    kinds = [ir.IntType(8)] * len(tiles) + [operand.type for operand in operands]
    instruction = f"llvm.x86.{name}"
    function = builder.module.globals.get(instruction) or ir.Function(
        builder.module, ir.FunctionType(ir.VoidType(), kinds), instruction
    )
    builder.call(function, [ir.IntType(8)(tile) for tile in tiles] + list(operands))


def _pointer(builder, address: ir.Value, offset: int | ir.Value = 0) -> ir.Value:
    offset = ir.IntType(64)(offset) if isinstance(offset, int) else offset
    return builder.inttoptr(builder.add(address, offset), ir.IntType(8).as_pointer())


@intrinsic
def exchange_settings(typing_context, old, new):
    """Keep the tiles' settings in ``old``, then take those in ``new``, uint8 [64] each.

    Arrays, not their addresses: numba may free an array of a function's own before a call that gets its address alone.
    """

    def generate(context, builder, signature, args):
        for name, array in zip(("sttilecfg", "ldtilecfg"), args, strict=True):
            _emit(builder, name, (), [context.make_array(old)(context, builder, array).data])
        return context.get_dummy_value()

    return types.void(old, new), generate


@intrinsic
def begin_sums(typing_context):
    """Set the four tiles of sums to 0."""

    def generate(context, builder, signature, args):
        for tile in range(4):
            _emit(builder, "tilezero", [tile])
        return context.get_dummy_value()

    return types.void(), generate


def _sums_of(name: str):
    @intrinsic
    def move(typing_context, address):
        def generate(context, builder, signature, args):
            for tile in range(4):
                place = _pointer(builder, args[0], tile // 2 * 16 * 4 * ROWS + tile % 2 * 64)
                _emit(builder, name, [tile], [place, ir.IntType(64)(4 * ROWS)])
            return context.get_dummy_value()

        return types.void(types.int64), generate

    return move


read_sums, write_sums = _sums_of("tileloadd64"), _sums_of("tilestored64")


@intrinsic
def add_products(typing_context, spikes, step, weights):
    """Add the products of two tiles of spikes, rows ``step`` bytes apart, with two of weights to the four of sums."""

    def generate(context, builder, signature, args):
        spikes, step, weights = args
        apart, row = builder.mul(step, ir.IntType(64)(16)), ir.IntType(64)(64)
        _emit(builder, "tileloadd64", [4], [_pointer(builder, spikes), step])
        _emit(builder, "tileloadd64", [6], [_pointer(builder, weights), row])
        _emit(builder, "tdpbusd", [0, 4, 6])
        _emit(builder, "tileloadd64", [7], [_pointer(builder, weights, TILE), row])
        _emit(builder, "tdpbusd", [1, 4, 7])
        _emit(builder, "tileloadd64", [5], [_pointer(builder, spikes, apart), step])
        _emit(builder, "tdpbusd", [2, 5, 6])
        _emit(builder, "tdpbusd", [3, 5, 7])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), generate


# ---- the convolution


def aligned(shape: tuple[int, ...], dtype: type) -> np.ndarray:
    """Zeros from the beginning of a line of the cache on: a row of a tile is one line then, not parts of two."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    memory = np.zeros(size + 63, np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + size].view(dtype).reshape(shape)


class TileConvs:
    """Convolutions of one kernel size that read the same spikes, their weights in tiles.

    ``weights``: of each convolution integers [K, C, k, k] within ±127, all of one shape, K a multiple of 16.
    """

    def __init__(self, weights: Sequence[Tensor]) -> None:
        self.channels, inputs, self.kernel, _ = weights[0].shape
        self.count = len(weights)
        pieces = -(-self.kernel * inputs // PIECE)
        runs = torch.cat(list(weights)).permute(0, 2, 3, 1).flatten(2).numpy()  # [ΣK, k, k·C]
        rows = np.zeros((-(-len(runs) // 32) * 32, self.kernel, pieces * PIECE), np.int8)  # blocks come in pairs
        rows[: len(runs), :, : self.kernel * inputs] = runs
        tiles = rows.reshape(-1, 2, 16, self.kernel * pieces, 16, 4).transpose(0, 3, 1, 4, 2, 5)
        self.tiles = aligned((len(tiles), self.kernel * pieces, 2, TILE), np.int8)
        self.tiles[:] = tiles.reshape(self.tiles.shape)  # [pairs, pieces, 2, 16·16·4]

    def memory(self, shape: tuple[int, int, int, int]) -> tuple[np.ndarray, np.ndarray]:
        """What a thread works in for spikes [B, H, W, C]: images with borders between, and sums of 32 channels."""
        (images, height, width, inputs), border = shape, self.kernel // 2
        rows = min(images, max(1, PIXELS // (height * width))) * (height + border) + border
        padded = (rows * (width + 2 * border) + 2 * ROWS) * inputs + 2 * PIECE  # tiles read behind the last row
        groups = -(-(rows - border) * (width + 2 * border) // ROWS)
        return aligned((padded,), np.uint8), aligned((groups, ROWS, ROWS), np.int32)

    def __call__(
        self, spikes: np.ndarray, memory: tuple, first: int, slots: np.ndarray, conv: np.ndarray, totals: np.ndarray
    ) -> bool:
        """Convolve spikes uint8 [B, H, W, C]; results go to the slots of ``conv``, from image ``first`` on.

        Sums and sums of squares are added to ``totals`` int64 [2, ΣK]. False if a result was too large for an int16.
        """
        shape = (*spikes.shape[1:], self.channels, self.kernel, first)
        return convolve(spikes.reshape(len(spikes), -1), memory, self.tiles, shape, slots, conv, totals)

    def sums(self, spikes: np.ndarray) -> np.ndarray:
        """The sums alone, of any size: float32 [convolutions, B·H·W, K] of spikes uint8 [B, H, W, C]."""
        pixels = math.prod(spikes.shape[:3])
        conv = np.empty((self.count, pixels * self.channels), np.float32)
        totals = np.zeros((2, self.count * self.channels), np.int64)
        self(spikes, self.memory(spikes.shape), 0, np.arange(self.count), conv, totals)
        return conv.reshape(self.count, pixels, self.channels)


@compiled
def convolve(spikes, memory, tiles, shape, slots, conv, totals):
    """What ``TileConvs`` does; ``shape``: height, width, channels in and out, kernel, first image."""
    height, width, inputs, channels, kernel, first = shape
    padded, scratch = memory
    border, together, blocks = kernel // 2, max(1, PIXELS // (height * width)), len(slots) * channels // 16
    across, run = width + 2 * border, width * inputs
    sums, large = np.zeros((blocks, 2, 16), np.int64), np.zeros(16, np.int32)
    old, new = np.zeros(64, np.uint8), np.zeros(64, np.uint8)
    new[0], new[16:32:2], new[48:56] = 1, 64, 16  # palette; eight tiles with rows of 64 bytes; 16 rows
    exchange_settings(old, new)
    for n in range(0, len(spikes), together):
        images = min(together, len(spikes) - n)
        for i in range(images):
            for y in range(height):
                start = ((i * (height + border) + y + border) * across + border) * inputs
                copy(padded, start, spikes, ((n + i) * height + y) * run, run)
        groups = -(-(images * (height + border) - border) * across // ROWS)
        for block in range(blocks):
            if block % 2 == 0:
                _multiply(padded.ctypes.data, tiles[block // 2], (inputs, across * inputs, kernel), scratch[:groups])
            slot, channel = divmod(16 * block, channels)
            place = slots[slot] * conv.shape[1] + (first + n) * height * width * channels + channel
            _sort(scratch, block % 2, (images, height, width, border, channels), conv, place, sums[block], large)
    exchange_settings(new, old)
    for block in range(blocks):
        for c in range(16):
            totals[0, 16 * block + c] += sums[block, 0, c]
            totals[1, 16 * block + c] += sums[block, 1, c % 2 * 8 + c // 2]  # even channels first
    return not large.any()


@compiled
def _multiply(padded, tiles, steps, scratch):
    """Sums of 32 channels for all positions of padded images, those at borders included."""
    inputs, row, kernel = steps
    in_row = len(tiles) // kernel
    for begin in range(0, len(tiles), AT_ONCE):
        for p in range(len(scratch)):
            if begin:
                read_sums(scratch[p].ctypes.data)
            else:
                begin_sums()
            start = padded + p * ROWS * inputs
            for k in range(begin, min(begin + AT_ONCE, len(tiles))):
                add_products(start + k // in_row * row + k % in_row * PIECE, inputs, tiles[k].ctypes.data)
            write_sums(scratch[p].ctypes.data)


@compiled
def _sort(scratch, half, shape, conv, place, sums, large):
    """Copy the sums of sixteen channels to their slot, without those at borders; add up them and their squares.

    ``large`` gets bits where an int16 would lose some.
    """
    images, height, width, border, channels = shape
    even, odd, lost = no_squares(), no_squares(), no_sums()
    for i in range(images):
        for y in range(i * (height + border), i * (height + border) + height):
            total, row = no_sums(), y * (width + 2 * border) * ROWS + 16 * half
            for x in range(width):
                q = load16(scratch, row + x * ROWS)
                store(conv, place, q)
                place += channels
                total = total + q
                two = pairs(q)
                low, high = (two << 32) >> 32, two >> 32
                even, odd = even + low * low, odd + high * high
                lost = lost | (q ^ as_int32(as_int16(q)))
            store(sums, 0, load16(sums, 0) + as_int64(total))
    store(sums, 16, load8(sums, 16) + even)
    store(sums, 24, load8(sums, 24) + odd)
    store(large, 0, load16(large, 0) | lost)


def compiled_for() -> set[str]:
    """What numba compiles for: the processor's features, or fewer (NUMBA_CPU_NAME, NUMBA_CPU_FEATURES)."""
    return set(cpu_target.target_context.codegen().magic_tuple()[2].split(","))


@cache
def amx_works() -> bool:
    """True where the processor has tiles of bytes, the system and numba let us use them, and the sums are right."""
    # first, as LLVM ends the process where tiles lack
    if not compiled_for() >= NEEDED or not torch.cpu._is_amx_tile_supported() or not torch.cpu._init_amx():
        return False
    generator = torch.Generator().manual_seed(0)
    spikes = torch.randint(0, 2, (35, 5, 6, 40), generator=generator, dtype=torch.uint8)
    for kernel in (1, 3):
        weights = torch.randint(-127, 128, (3, 16, 40, kernel, kernel), generator=generator)
        expected = F.conv2d(spikes.permute(0, 3, 1, 2).double(), weights.flatten(0, 1).double(), padding=kernel // 2)
        convs, found, totals = TileConvs(list(weights)), np.zeros((3, 35 * 30 * 16), np.float32), np.zeros((2, 48), int)
        convs(spikes.numpy(), convs.memory(spikes.shape), 0, np.arange(3), found, totals)
        q = expected.unflatten(1, (3, 16)).permute(1, 0, 3, 4, 2)  # [convolution, B, H, W, K]
        right = q.flatten(1).numpy(), np.stack([(expected**n).sum((0, 2, 3)).numpy() for n in (1, 2)])
        if not np.array_equal(found, right[0]) or not np.array_equal(totals, right[1]):
            return False
    return True
