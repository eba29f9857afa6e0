"""What all checkers use: hints instead of tracebacks, comparisons, answers that unfold after a prediction."""

from __future__ import annotations

import base64
import logging

import torch
from torch import Tensor

logging.getLogger("torch._library.triton").setLevel(logging.ERROR)  # spikingjelly: a warning per kernel without CUDA


class NotYet(Exception):
    """An answer does not hold yet; the text says what to look at. Notebooks show it without a traceback."""

    def _render_traceback_(self) -> list[str]:
        return [f"Not yet: {self}"]


def need(holds: bool, hint: str) -> None:
    """``NotYet`` with the hint unless it holds."""
    if not holds:
        raise NotYet(hint)


def need_tensor(got: object, shape: tuple[int, ...], name: str) -> None:
    """``NotYet`` unless it is a tensor of this shape."""
    need(isinstance(got, Tensor), f"{name} should be a torch tensor, but is a {type(got).__name__}.")
    need(tuple(got.shape) == shape, f"{name} should have the shape {list(shape)}, but has {list(got.shape)}.")


def agree(got: Tensor, want: object, tolerance: float = 1e-5) -> bool:
    """True if all numbers agree."""
    want = torch.as_tensor(want, dtype=torch.float64)
    return torch.allclose(got.detach().double(), want, rtol=tolerance, atol=tolerance)


def unfold(prediction: object, answer: str) -> None:
    """Show the answer (a text in base64) once a prediction was typed; asks for one before.

    >>> unfold(None, fold("It is 2."))
    Type your prediction in the cell above and run it; then run this cell again.
    """
    if prediction is None:
        print("Type your prediction in the cell above and run it; then run this cell again.")
        return
    from IPython.display import Markdown, display

    display(Markdown(f"**You said:** {prediction}\n\n{base64.b64decode(answer).decode()}"))


def fold(text: str) -> str:
    """The text as ``unfold`` takes it."""
    return base64.b64encode(text.encode()).decode()
