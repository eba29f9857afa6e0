"""The Triton kernels that ``triton_parts`` launches; K candidates side by side, one to a row of the grid.

Every kernel can be run on the CPU with ``TRITON_INTERPRET=1``. Numbers that must be float64 come in tensors: Triton
makes float32 of a number of the host.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def integrate(
    sums, values, table, weights, scale, gain, shift, out, v, spikes, decay, threshold,
    size, channels, terms, convs, candidates,
    STORES: tl.constexpr, FIRES: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One tile of a candidate's [M·C] elements: every term read once, summed, charged, fired."""
    k = tl.program_id(1)
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = at < size
    c = at % channels
    here = k.to(tl.int64) * size + at
    edge = tl.zeros([BLOCK], tl.float32)
    side = tl.zeros([BLOCK], tl.float32)
    value = tl.zeros([BLOCK], tl.float32)
    for i in range(terms):
        weight = tl.load(weights + k * terms + i)
        slot, end = tl.load(table + i), tl.load(table + terms + i)
        if weight != 0.0:
            if slot < convs:
                factor = (slot * candidates + k) * channels + c
                x = tl.load(sums + slot.to(tl.int64) * candidates * size + here, mask=inside, other=0).to(tl.float32)
                x = x * tl.load(scale + slot)
                x = x * tl.load(gain + factor) + tl.load(shift + factor)
            else:
                x = tl.load(values + (slot - convs).to(tl.int64) * candidates * size + here, mask=inside, other=0.0)
            edge += x * weight
        if end > 0:
            side += edge
            edge = tl.zeros([BLOCK], tl.float32)
        if end > 1:
            value += side
            side = tl.zeros([BLOCK], tl.float32)
    if STORES:
        tl.store(out + here, value, mask=inside)
    if FIRES:
        charge = tl.load(v + here, mask=inside, other=0.0)
        charge = charge + (value - charge) * decay
        fired = charge >= threshold
        tl.store(v + here, tl.where(fired, 0.0, charge), mask=inside)
        tl.store(spikes + here, fired.to(tl.int8), mask=inside)


@triton.jit
def _window(step, m, k, pixels, height, width, channels, TAPS: tl.constexpr, FLAT: tl.constexpr, BK: tl.constexpr):
    """Where the spikes lie that a step's numbers of a weight's row meet at pixels ``m``, and which are in the image.

    With ``FLAT`` a step takes BK numbers of a row wherever taps begin, else one tap's, whose place is then one for all.
    """
    at = step * BK + tl.arange(0, BK)
    tap = at // channels if FLAT else step * BK // channels
    dy = 0 if TAPS == 1 else tap // 3 - 1
    dx = 0 if TAPS == 1 else tap % 3 - 1
    x, y = m % width, (m // width) % height
    if FLAT:
        right, down = x[:, None] + dx, y[:, None] + dy
        place = (k * pixels + m)[:, None] * channels + ((dy * width + dx) * channels + at - tap * channels)[None, :]
        seen = (m < pixels)[:, None] & (at < TAPS * channels)[None, :]
    else:
        right, down = (x + dx)[:, None], (y + dy)[:, None]
        place = (k * pixels + m + dy * width + dx)[:, None] * channels + (at - tap * channels)[None, :]
        seen = (m < pixels)[:, None]
    return at, place, seen & (right >= 0) & (right < width) & (down >= 0) & (down < height)


@triton.jit
def convolve(
    spikes, rows, out, slots, totals,
    pixels, height, width, channels, columns, out_channels, candidates,
    TAPS: tl.constexpr, FLAT: tl.constexpr, COUNT: tl.constexpr,
    BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr,
):  # fmt: skip
    """A tile of a candidate's windows times the weights' rows [taps·C], and its column sums while it is at hand."""
    n = tl.program_id(0) * BN + tl.arange(0, BN)
    m = tl.program_id(1) * BM + tl.arange(0, BM)
    k = tl.program_id(2).to(tl.int64)
    length = TAPS * channels
    total = tl.zeros([BM, BN], tl.int32)
    for step in range(tl.cdiv(length, BK)):
        at, place, seen = _window(step, m, k, pixels, height, width, channels, TAPS, FLAT, BK)
        held = (n < columns)[:, None] & (at < length)[None, :]
        a = tl.load(spikes + place, mask=seen, other=0)
        b = tl.load(rows + n[:, None] * length + at[None, :], mask=held, other=0)
        total = tl.dot(a, tl.trans(b), total, out_dtype=tl.int32)
    slot = tl.load(slots + n // out_channels, mask=n < columns, other=0).to(tl.int64)
    plane = slot * candidates * pixels * out_channels + n % out_channels
    here = out + plane[None, :] + ((k * pixels + m) * out_channels)[:, None]
    tl.store(here, total.to(out.dtype.element_ty), mask=(m < pixels)[:, None] & (n < columns)[None, :])
    if COUNT:
        q = total.to(tl.int64)  # rows past the end are 0
        found = totals + k * columns + n
        tl.atomic_add(found, tl.sum(q, 0), mask=n < columns)
        tl.atomic_add(found + candidates * columns, tl.sum(q * q, 0), mask=n < columns)


@triton.jit
def add_columns(values, per_unit, totals, pixels, channels, candidates, BM: tl.constexpr, BC: tl.constexpr):
    """Integer sums of a tile's columns, in steps of a power of two: value·per_unit is exact, then rounded to even."""
    c = tl.program_id(0) * BC + tl.arange(0, BC)
    m = tl.program_id(1) * BM + tl.arange(0, BM)
    k = tl.program_id(2).to(tl.int64)
    inside = (m < pixels)[:, None] & (c < channels)[None, :]
    x = tl.load(values + (k * pixels + m)[:, None] * channels + c[None, :], mask=inside, other=0.0)
    steps = x * tl.load(per_unit + k)
    q = ((steps + 12582912.0) - 12582912.0).to(tl.int32).to(tl.int64)  # 1.5·2²³: float32 holds no fractions there
    found = totals + k * channels + c
    tl.atomic_add(found, tl.sum(q, 0), mask=c < channels)
    tl.atomic_add(found + candidates * channels, tl.sum(q * q, 0), mask=c < channels)


@triton.jit
def settle(
    total, squares, weight, bias, grid, eps, slots, gain, shift, count, columns, channels, candidates,
    OWN: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """``exact.grid_affine`` for a candidate's columns, written where their slots are."""
    k = tl.program_id(1)
    n = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = n < columns
    unit = tl.load(grid + (k if OWN else 0)).to(tl.float64)
    number = count.to(tl.float64)
    sums = tl.load(total + k * columns + n, mask=inside, other=0).to(tl.float64)
    mean = sums / number
    variance = (tl.load(squares + k * columns + n, mask=inside, other=0).to(tl.float64) - sums * mean) / number
    variance = tl.where(variance > 0, variance, 0) * (unit * unit)
    factor = tl.load(weight + n, mask=inside, other=0).to(tl.float64) / tl.sqrt(variance + tl.load(eps))
    offset = tl.load(bias + n, mask=inside, other=0).to(tl.float64) - (mean * unit) * factor
    slot = tl.load(slots + n // channels, mask=inside, other=0)
    here = (slot * candidates + k) * channels + n % channels
    tl.store(gain + here, factor.to(tl.float32), mask=inside)
    tl.store(shift + here, offset.to(tl.float32), mask=inside)


@triton.jit
def share(spikes, shared, samples, size, B: tl.constexpr, BLOCK: tl.constexpr, TILES: tl.constexpr):
    """Products of every pair of a candidate's samples over some tiles of neurons, added to its [B, B] integers."""
    k = tl.program_id(1).to(tl.int64)
    b = tl.arange(0, B)
    row = (k * samples + b)[:, None] * size
    total = tl.zeros([B, B], tl.int32)
    for step in range(TILES):
        n = (tl.program_id(0) * TILES + step) * BLOCK + tl.arange(0, BLOCK)
        x = tl.load(spikes + row + n[None, :], mask=(b < samples)[:, None] & (n < size)[None, :], other=0)
        total = tl.dot(x, tl.trans(x), total, out_dtype=tl.int32)
    inside = (b < samples)[:, None] & (b < samples)[None, :]
    tl.atomic_add(shared + (k * samples + b)[:, None] * samples + b[None, :], total, mask=inside)


@triton.jit
def pool_pairs(
    sums, scale, gain, shift, out, height, width, images, channels, pooled,
    AVERAGE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """2x2 windows of a candidate's normalised sums; ``pooled`` is the number of its results."""
    k = tl.program_id(1).to(tl.int64)
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = at < pooled
    c, place = at % channels, at // channels
    half_width, half_height = width // 2, height // 2
    x, y, image = place % half_width, (place // half_width) % half_height, place // (half_width * half_height)
    first = (((k * images + image) * height + 2 * y) * width + 2 * x) * channels + c
    factor, unit, result = k * channels + c, tl.load(scale), tl.zeros([BLOCK], tl.float32)
    for i in tl.static_range(4):
        value = tl.load(sums + first + ((i // 2) * width + i % 2) * channels, mask=inside, other=0).to(tl.float32)
        value = value * unit
        value = value * tl.load(gain + factor) + tl.load(shift + factor)
        if i == 0:
            result = value
        elif AVERAGE:
            result += value
        else:
            result = tl.maximum(result, value)
    tl.store(out + k * pooled + at, result * 0.25 if AVERAGE else result, mask=inside)


@triton.jit
def mean_kernels(
    counts, hamming, neurons, order, alive, epsilon, out, layers, steps, candidates, samples,
    SPARSITY: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """A tile of a candidate's mean kernel: ``kernels`` of every layer and step it counts, added in their order."""
    k = tl.program_id(1)
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = at < samples * samples
    i, j = at // samples, at % samples
    total = tl.zeros([BLOCK], tl.float64)
    terms = 0
    for number in range(layers):
        if tl.load(alive + number * candidates + k) != 0:
            layer = tl.load(order + number)
            n = tl.load(neurons + layer).to(tl.float64)
            for t in range(steps):
                row = (layer * candidates + k) * steps + t
                distance = tl.load(hamming + row.to(tl.int64) * samples * samples + at, mask=inside, other=0)
                distance = distance.to(tl.float64)
                if SPARSITY:
                    one = tl.load(counts + row * samples + i, mask=inside, other=0).to(tl.float64) / n
                    two = tl.load(counts + row * samples + j, mask=inside, other=0).to(tl.float64) / n
                    chance = n * (one * (1 - two) + (1 - one) * two)
                    distance = (distance * 0.5) / (chance + tl.load(epsilon))
                total += n - distance
                terms += 1
    tl.store(out + k * samples * samples + at, total / terms.to(tl.float64), mask=inside)


@triton.jit
def eliminate(kernels, pivots, samples, B: tl.constexpr):
    """``kernels.log_det`` of one matrix up to its logarithms: the pivots, and behind them the determinant's sign."""
    r, c = tl.arange(0, B)[:, None], tl.arange(0, B)[None, :]
    base = kernels + tl.program_id(0) * samples * samples
    a = tl.load(base + r * samples + c, mask=(r < samples) & (c < samples), other=0.0)
    out = pivots + tl.program_id(0) * (samples + 1)
    rows = tl.arange(0, B)
    sign = 1.0
    for k in range(samples):
        column = tl.sum(tl.where(c == k, a, 0.0), 1)  # one number and zeros: exact
        size = tl.where((rows >= k) & (rows < samples), tl.abs(column), -1.0)
        largest = tl.min(tl.where(size == tl.max(size, 0), rows, B - 1), 0)  # the first of equal ones
        moved = tl.sum(tl.where(r == largest, a, 0.0), 0)
        other = tl.sum(tl.where(r == k, a, 0.0), 0)
        a = tl.where(r == largest, other[None, :], a)
        a = tl.where(r == k, moved[None, :], a)
        pivot = tl.sum(tl.where(rows == k, moved, 0.0), 0)
        tl.store(out + k, pivot)
        sign = tl.where(pivot == 0, 0.0, tl.where((pivot < 0) != (largest != k), -sign, sign))
        factor = tl.sum(tl.where(c == k, a, 0.0), 1) / pivot
        a = tl.where((r > k) & (c > k), a - factor[:, None] * moved[None, :], a)
    tl.store(out + samples, sign.to(tl.float64))
