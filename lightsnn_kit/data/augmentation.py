"""Random shifts and mirror images of a batch, on its device."""

from __future__ import annotations

import torch
from torch import Tensor


def augment(x: Tensor, *, crop: int, flip: bool, fill: tuple[float, ...], generator: torch.Generator) -> Tensor:
    """Shift each sample by up to ``crop`` pixels and mirror it with probability 1/2 (``flip``).

    ``x`` [N, C, H, W] or [T, N, C, H, W] of any type; the frames of a sample move together. ``fill`` is the value of
    the border, per channel or one for all (rounded for integers).

    >>> x = torch.arange(4).view(1, 1, 1, 4)
    >>> augment(x, crop=0, flip=True, fill=(0.0,), generator=torch.Generator().manual_seed(0)).flatten().tolist()
    [3, 2, 1, 0]
    """
    if not crop and not flip:
        return x
    n, c, h, w = x.shape[-4:]
    border = torch.tensor(fill) if x.is_floating_point() else torch.tensor(fill).round()
    frame = border.to(x).view(-1, 1, 1).expand(c, h + 2 * crop, w + 2 * crop)  # [C, H + 2·crop, W + 2·crop]
    padded = frame.repeat(*x.shape[:-3], 1, 1, 1)  # [(T,) N, C, H + 2·crop, W + 2·crop]
    padded[..., crop : crop + h, crop : crop + w] = x
    top, left = torch.randint(2 * crop + 1, (2, n, 1), generator=generator)
    mirrored = torch.rand(n, 1, generator=generator) < 0.5 * flip
    rows = (top + torch.arange(h))[:, :, None]  # [N, H, 1]
    columns = (left + torch.arange(w).where(~mirrored, torch.arange(w).flip(0)))[:, None]  # [N, 1, W]
    moved = padded[..., torch.arange(n)[:, None, None], :, rows, columns]  # [N, H, W, (T,) C]: indexed axes come first
    return moved.movedim((0, 1, 2), (-4, -2, -1))  # [(T,) N, C, H, W]
