"""What all checkers use: hints, not tracebacks; comparisons; answers that unfold after a prediction; trained cells."""

from __future__ import annotations

import base64
import json
import logging

import numpy as np
import torch
from torch import Tensor

from lightsnn_kit.cells import Cell
from lightsnn_kit.files import project_root, read_json
from lightsnn_kit.spaces import SPACES, OpMask

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


def show(outputs: str) -> None:
    """Show folded outputs (a JSON list of MIME bundles), such as the picture that an exercise leads to."""
    from IPython.display import display

    for bundle in json.loads(base64.b64decode(outputs)):
        display(bundle, raw=True)


def fold(text: str) -> str:
    """The text as ``unfold`` and ``show`` take it."""
    return base64.b64encode(text.encode()).decode()


def trained_set(name: str) -> tuple[list[OpMask], np.ndarray, dict[str, np.ndarray]]:
    """The cells trained on a set, each once: masks, test accuracies [n], and scores of the untrained cells by name.

    ``ValueError`` for a set of which ``data/results`` has no trained cells.

    >>> masks, accuracies, _ = trained_set("motion-dvs")
    >>> len(masks), accuracies.shape
    (40, (40,))
    """
    sets = read_json(project_root() / "data" / "results" / "score_trained_cells.json")["sets"]
    if name not in sets:
        raise ValueError(f"no cells were trained on {name!r}; expected one of {', '.join(sets)}.")
    found = sets[name]
    space, rows = SPACES[found["preset"]["space"]], [row for row in found["rows"] if row["seed"] == 0]
    masks = [OpMask.from_cell(Cell.parse(row["cell"]), space) for row in rows]
    scores = {
        score: np.array(values, float).reshape(len(rows), -1).mean(1) for score, values in found["scores"].items()
    }
    return masks, np.array([row["test_accuracy"] for row in rows]), scores
