"""Checkers of the lessons' exercises. Each looks at type and shape first, then at values, and says what to look at.

``check_x(answer)`` prints a line if the answer holds, and raises ``NotYet`` with a hint if not. Beside it stands
``wrong_x``, a typical wrong answer, which the tests require it to refuse.
"""

from __future__ import annotations

import base64
import logging
import math
import random
import zlib
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from lightsnn_kit import kernels
from lightsnn_kit.search import Score, prune_search
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


def fold(text: str) -> str:
    """The text as ``unfold`` takes it."""
    return base64.b64encode(text.encode()).decode()


# ---- when does a neuron fire? ----------------------------------------------------------------------------------------

GOLDEN_INPUTS = ((1.1, 2.0), (1.1, 0.9), (0.5, 0.9), (1.4, 0.9), (-1.0, 1.2), (2.0, 1.2))  # [T, N], tau = 4/3
GOLDEN_SPIKES = ((0, 1), (1, 0), (0, 0), (1, 0), (0, 1), (1, 0))
GOLDEN_POTENTIALS = ((0.825, 0), (0, 0.675), (0.375, 0.84375), (0, 0.8859375), (-0.75, 0), (0, 0.9))  # after the reset


def check_lif_step(step: Callable) -> None:
    """(x, v, tau, v_threshold) → (spikes, v): against a golden trace of two neurons, and at the threshold itself."""
    v = torch.zeros(2)
    for t, (x, spikes, after) in enumerate(zip(GOLDEN_INPUTS, GOLDEN_SPIKES, GOLDEN_POTENTIALS, strict=True), 1):
        got = step(torch.tensor(x), v, 4 / 3, 1.0)
        need(isinstance(got, tuple) and len(got) == 2, "return two things: the spikes, and v after the step.")
        need_tensor(got[0], (2,), "the first thing returned, the spikes,")
        need_tensor(got[1], (2,), "the second thing returned, v,")
        need(agree(got[0], spikes), f"step {t}: the inputs {x} on v = {v.tolist()} should give the spikes {spikes}.")
        reset = "v must be 0 after a spike, and keep its value without one"
        need(agree(got[1], after), f"step {t}: v should be {after} after the step, not {got[1].tolist()}; {reset}.")
        v = got[1]
    at_threshold = step(torch.tensor([2.0]), torch.zeros(1), 2.0, 1.0)[0]
    need(agree(at_threshold, [1]), "a potential of exactly v_threshold spikes, too; and use tau and v_threshold.")
    print("lif_step: correct, step by step.")


def wrong_lif_step(x: Tensor, v: Tensor, tau: float, v_threshold: float) -> tuple[Tensor, Tensor]:
    """The reset was forgotten."""
    v = v + (x - v) / tau
    return (v >= v_threshold).float(), v


def check_period(period: Callable) -> None:
    """(x, tau) → steps from one spike to the next, None if there is none."""
    for x, tau, want in ((0.9, 4 / 3, None), (1.4, 4 / 3, 1), (1.1, 4 / 3, 2), (1.02, 4 / 3, 3), (1.2, 2.0, 3)):
        got = period(x, tau)
        need(got is None or isinstance(got, int), f"return a whole number (int) or None, not {got!r}.")
        need(
            got == want, f"x = {x}, tau = {tau:.4g}: the period is {want}, not {got}. Which n is the first to reach 1?"
        )
    print("period: correct.")


def wrong_period(x: float, tau: float) -> int | None:
    """Rounded down: the step before the spike."""
    return math.floor(math.log(1 - 1 / x) / math.log(1 - 1 / tau)) if x > 1 else None


def check_spike_counts(spike_counts: Callable) -> None:
    """(image, num_steps) → how often each pixel's neuron fires."""
    image = torch.tensor([[0.9, 1.1, 1.02], [1.4, 0.5, 0.0]])
    got = spike_counts(image, 12)
    need_tensor(got, (2, 3), "the count")
    need(bool((got <= 12).all()), "there are 12 steps, so no neuron can fire more than 12 times.")
    hint = "Is v carried from step to step, and does it start at 0?"
    need(agree(got, [[0, 6, 4], [12, 0, 0]]), f"{image.tolist()} should fire [[0, 6, 4], [12, 0, 0]] times. {hint}")
    print("spike_counts: correct.")


def wrong_spike_counts(image: Tensor, num_steps: int) -> Tensor:
    """The potential is set to 0 at every step."""
    return num_steps * (0.75 * image >= 1).float()


# ---- how can a spike learn? ------------------------------------------------------------------------------------------


def check_atan_backward(backward: Callable) -> None:
    """(grad_output, u, alpha) → gradient for u: against finite differences of the smooth step."""
    u = torch.linspace(-2, 2, 9, dtype=torch.float64).view(3, 3)
    for alpha in (2.0, 5.0):
        rise = (torch.atan(math.pi / 2 * alpha * (u + d)) / math.pi for d in (1e-6, -1e-6))
        slope = (next(rise) - next(rise)) / 2e-6
        got = backward(torch.ones_like(u), u, alpha)
        need_tensor(got, (3, 3), "the gradient")
        hint = "At u = 0 it is alpha/2; the derivative of arctan(z) is 1/(1 + z²), and z = π/2·alpha·u"
        need(agree(got, slope), f"alpha = {alpha:g}: this is not the slope of arctan(π/2·alpha·u)/π. {hint}.")
        later = torch.arange(9, dtype=torch.float64).view(3, 3)
        chained = backward(later, u, alpha)
        need(agree(chained, later * slope), "the chain rule: multiply by the gradient that comes from later layers.")
    print("atan_backward: correct, against finite differences.")


def wrong_atan_backward(grad_output: Tensor, u: Tensor, alpha: float) -> Tensor:
    """The chain rule was forgotten."""
    return alpha / 2 / (1 + (math.pi / 2 * alpha * u) ** 2)


def count_by_autograd(w: float, inputs: list[float]) -> tuple[float, float]:
    """Spikes of one neuron with input w·x, and their gradient for w, by spikingjelly and autograd."""
    from spikingjelly.activation_based import neuron, surrogate

    lif = neuron.LIFNode(tau=4 / 3, detach_reset=True, surrogate_function=surrogate.ATan(alpha=2.0))
    weight = torch.tensor([w], dtype=torch.float64, requires_grad=True)
    count = sum(lif(weight * x) for x in inputs)
    count.backward()
    return count.item(), weight.grad.item()


def check_count_gradient(count_gradient: Callable) -> None:
    """(w, inputs) → (number of spikes, its gradient for w): against autograd, before and after the first spike."""
    for w, inputs in ((0.5, [1.0]), (0.8, [1.0, 0.5, 1.0]), (1.1, [1.0] * 6), (1.3, [1.0, 0.2, 1.5, 0.7, 1.1])):
        got = count_gradient(w, inputs)
        need(isinstance(got, tuple) and len(got) == 2, "return two numbers: the count, and its gradient.")
        count, gradient = count_by_autograd(w, inputs)
        need(abs(float(got[0]) - count) < 1e-9, f"w = {w}, inputs {inputs}: {count:g} spikes, not {got[0]}.")
        hint = "Does dv go the way of v: leaking, and 0 after a spike?" if count else "dh = dv + (x − dv)/tau."
        near = abs(float(got[1]) - gradient) < 1e-6
        need(near, f"w = {w}, inputs {inputs}: the gradient is {gradient:.6f}, not {float(got[1]):.6f}. {hint}")
    print("count_gradient: correct, against autograd.")


def wrong_count_gradient(w: float, inputs: list[float]) -> tuple[float, float]:
    """The potential is reset by a spike, its derivative is not."""
    v, dv, count, gradient = 0.0, 0.0, 0, 0.0
    for x in inputs:
        v, dv = v + (w * x - v) * 0.75, dv + (x - dv) * 0.75
        gradient += dv / (1 + (math.pi * (v - 1)) ** 2)
        if v >= 1:
            v, count = 0.0, count + 1
    return count, gradient


# ---- what does a cell compute, and what is fed back? -----------------------------------------------------------------


def check_conv_op(conv_op: Callable) -> None:
    """(value, v, weight) → (convolution of the spikes, potentials): a picture with one pixel that fires."""
    value, weight = torch.zeros(1, 1, 4, 4), torch.arange(1.0, 10).view(1, 1, 3, 3)
    value[0, 0, 1, 1], value[0, 0, 3, 3] = 2.0, 1.2  # the second one misses the threshold in step 1: v = 0.9
    got = conv_op(value, torch.zeros_like(value), weight)
    need(isinstance(got, tuple) and len(got) == 2, "return two things: the output, and the potentials after the step.")
    need_tensor(got[0], (1, 1, 4, 4), "the output (did you pad by 1?)")
    need_tensor(got[1], (1, 1, 4, 4), "the second thing, the potentials,")
    hint = "The convolution reads spikes: 0 or 1, whatever the value was."
    need(agree(got[0][0, 0, :3, :3], weight[0, 0].flip(0, 1)), f"one spike should leave its weights, turned. {hint}")
    need(bool((got[0][0, 0, 3] == 0).all()), f"1.2 is below 4/3: no spike, and so nothing there. {hint}")
    need(agree(got[1][0, 0, 3, 3], 0.9), "v should be 0.9 where 1.2 came in and nothing fired.")
    second = conv_op(value, got[1], weight)[0]
    need(agree(second[0, 0, 3, 3], 5), "the neuron at 1.2 fires in step 2, if v goes on from step 1.")
    print("conv_op: correct.")


def wrong_conv_op(value: Tensor, v: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Convolves the values, not the spikes."""
    v = v + (value - v) * 0.75
    return torch.nn.functional.conv2d(value, weight, padding=1), v * (v < 1)


def check_cell_step(cell_step: Callable) -> None:
    """(x, fed_back, op) → (x₃, next fed_back): three steps of linear ops, against the solution of linear equations."""
    weights = np.random.default_rng(0).integers(-2, 3, (4, 4)).astype(float)
    forward, backward = np.tril(weights, -1), np.triu(weights, 1)
    f, fed_back = np.zeros(4), [0.0] * 4
    for t, x in enumerate((1.0, 2.0, -1.0), 1):
        got = cell_step(x, fed_back, lambda i, j, value: weights[i, j] * value)
        need(isinstance(got, tuple) and len(got) == 2, "return two things: x₃, and the list of four fed-back values.")
        need(len(got[1]) == 4, f"the second thing should be a list of 4 values, but has {len(got[1])}.")
        z = np.linalg.solve(np.eye(4) - forward, x * np.eye(4)[0] + f)
        hint = (
            "Do the edges read z = x + f, with the f that came in?" if t > 1 else "Every node sums over all before it."
        )
        need(abs(got[0] - (z[3] - f[3])) < 1e-6, f"step {t}: x₃ should be {z[3] - f[3]:g}, not {got[0]:g}. {hint}")
        f, fed_back = backward @ z, got[1]
        near = np.allclose(np.array(fed_back, dtype=float), f)
        need(near, f"step {t}: the next feedback should be {f.tolist()}, not {list(fed_back)}: edges from later nodes.")
    print("cell_step: correct, three steps.")


def wrong_cell_step(x: float, fed_back: list, op: Callable) -> tuple[float, list]:
    """What was fed back is never read: a bug that published code has."""
    z = [x]
    for i in range(1, 4):
        z.append(sum(op(i, j, z[j]) for j in range(i)))
    return z[3], [sum(op(i, j, z[j]) for j in range(i + 1, 4)) for i in range(4)]


# ---- how different do two images look? -------------------------------------------------------------------------------


def patterns(num_rows: int = 5, num_neurons: int = 40, seed: int = 0) -> Tensor:
    """Random patterns [B, N] of 0 and 1, each row with a rate of its own."""
    generator = torch.Generator().manual_seed(seed)
    rates = torch.linspace(0.1, 0.6, num_rows)[:, None]
    return (torch.rand(num_rows, num_neurons, generator=generator) < rates).float()


def check_hamming_kernel(hamming_kernel: Callable) -> None:
    """Patterns [B, N] → K [B, B] with K_ij = N − distance."""
    for rows in (torch.tensor([[1.0, 1, 0, 0], [1, 0, 1, 0], [1, 1, 0, 0]]), patterns()):
        got = hamming_kernel(rows)
        need_tensor(got, (len(rows), len(rows)), "the kernel")
        on_diagonal = f"a row does not differ from itself, so K is N = {rows.shape[1]} on the diagonal"
        need(agree(got.diagonal(), [rows.shape[1]] * len(rows)), f"{on_diagonal}, not {got.diagonal().tolist()}.")
        hint = "Two zeros at one place agree, too."
        need(
            agree(got, rows.shape[1] - kernels.hamming(rows)),
            f"the values off the diagonal are not N − distance. {hint}",
        )
    print("hamming_kernel: correct, equal to lightsnn_kit.kernels.hamming.")


def wrong_hamming_kernel(spikes: Tensor) -> Tensor:
    """Counts the common spikes only."""
    return spikes @ spikes.T


def check_sahd_kernel(sahd: Callable) -> None:
    """Patterns [B, N] → SAHD's K [B, B]."""
    for rows in (patterns(), torch.cat([patterns(4), torch.zeros(2, 40)])):  # the last two rows are silent
        got = sahd(rows)
        need_tensor(got, (len(rows), len(rows)), "the kernel")
        need(bool(got.isfinite().all()), "two silent rows have chance 0: add 0.001 below the fraction.")
        d = rows.shape[1] - kernels.sahd_kernel(rows)
        need(agree(rows.shape[1] - got, d), "d is not 0.5·distance/(chance + 0.001), chance = N·[r(1 − s) + (1 − r)s].")
    print("sahd_kernel: correct, equal to lightsnn_kit.kernels.sahd_kernel.")


def wrong_sahd_kernel(spikes: Tensor) -> Tensor:
    """Chance as a share, not as a number of neurons."""
    r = spikes.double().mean(1)
    chance = r[:, None] * (1 - r) + (1 - r)[:, None] * r
    return spikes.shape[1] - 0.5 * kernels.hamming(spikes) / (chance + 1e-3)


def check_log_det(log_det: Callable) -> None:
    """A matrix → log|det K|, −inf where two rows are equal."""
    twins = np.array([[3.0, 1.0, 1.0], [1.0, 2.0, 2.0], [1.0, 2.0, 2.0]])
    for matrix in (np.diag([2.0, 4.0]), np.array([[2.0, 1.0], [1.0, 2.0]]), kernels.sahd_kernel(patterns()).numpy()):
        kept = matrix.copy()
        got = log_det(matrix)
        need(isinstance(got, int | float), f"return a number (float), not a {type(got).__name__}.")
        need(bool((matrix == kept).all()), "the matrix that came in was changed: work on a copy.")
        want = kernels.log_det(matrix)
        need(abs(got - want) < 1e-6, f"for\n{matrix}\nlog|det K| is {want:.6f}, not {got:.6f}.")
    need(log_det(twins) == -math.inf, "two rows are equal, a pivot is 0: return −math.inf.")
    print("log_det: correct, equal to lightsnn_kit.kernels.log_det.")


def wrong_log_det(matrix: np.ndarray) -> float:
    """The diagonal as it came, without elimination."""
    return float(np.log(np.abs(np.diag(matrix))).sum())


# ---- how do 60 scores choose among 531,441? --------------------------------------------------------------------------


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


def check_one_round(one_round: Callable) -> None:
    """(mask, score) → the mask after one round: equal to ``prune_search`` on made-up scores."""
    for seed in range(3):
        before, score = SPACES["lightsnn"].full_mask(), toy_score(seed)
        got = one_round(before, score)
        need(isinstance(got, OpMask), f"return the mask after the round (an OpMask), not a {type(got).__name__}.")
        left = {len(ops) for ops in got.alive}
        need(
            left == {2}, f"every edge goes from 3 ops to 2 in the first round; here some are left with {sorted(left)}."
        )
        want = next(prune_search(before.space, score, keep_path=False)).mask
        off = [str(edge) for edge, ops in got.items() if ops != want.alive_on(edge)]
        hint = "Score all candidates before any is pruned; prune the op whose removal leaves the highest score."
        need(not off, f"edges {', '.join(off)} lost another op than in prune_search. {hint}")
    print("one_round: correct, equal to lightsnn_kit.search.prune_search.")


def wrong_one_round(mask: OpMask, score: Score) -> OpMask:
    """Prunes the op without which the score is lowest: the most important one."""
    after = mask
    for edge, ops in mask.items():
        after = after.without(edge, min(ops, key=lambda op: score(mask.without(edge, op))))
    return after
