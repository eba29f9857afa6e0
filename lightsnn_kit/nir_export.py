"""A trained forward network as a graph of NIR, the format that other simulators and neuromorphic chips read.

The graph is written from the cell itself, node by node, not by tracing a run. It needs the package ``nir``
(``pip install -c constraints.txt -e ".[nir]"``). What differs between the kit and NIR (neuroir.org), and how it is met:

- NIR's LIF is an equation in time, τ dv/dt = v_leak − v + r·x, without a step. One step of length dt by Euler is the
  kit's v += (x − v)/tau if τ = tau·dt, r = 1 and v_leak = v_reset = 0. Readers take 0.1 ms unless told otherwise.
- NIR spikes at v > threshold, the kit at v ≥ threshold: written is the largest number below the kit's threshold.
- A node of NIR adds up all that enters it, once per sender. So a skip is a 1×1 convolution with the identity: two skips
  that end in one sum would else be one line.
- A batch normalisation after a convolution is folded into it; one after a sum is a 1×1 convolution of its own.
- The output of each step is that step's logits: votes are averaged in the last layer. The mean over steps is the
  reader's; ``metadata`` says over how many. Dropout is for training and left out.

NIR has no max pooling, and readers delay whole loops by a step or more: such networks are refused.
"""

from __future__ import annotations

import os
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
from spikingjelly.activation_based.neuron import BaseNode
from torch import Tensor, nn

from .cells import Cell, Edge, Op
from .checkpoints import name_weights
from .checks import real
from .files import at_root, replacing
from .layers import LIF
from .networks import SpikingCell, SpikingNetwork
from .recording import as_network, check_weights

if TYPE_CHECKING:
    import nir

STEP_SECONDS = 1e-4  # the time step that readers of NIR assume
OPS = (Op.ZEROIZE, Op.SKIP, Op.AVGPOOL3X3, Op.CONV1X1, Op.CONV3X3)

Sum = tuple[str, ...]
"""A value of the network: the names of the nodes whose outputs add up to it."""


def to_nir(network: SpikingNetwork, *, dt: float = STEP_SECONDS) -> nir.NIRGraph:
    """The graph of a trained network of a forward cell with average pooling; ``dt`` is the length of a step in seconds.

    Its input [C, H, W] is the raw image, the same at every step; its output [num_classes] are the logits of a step,
    whose mean over the steps is what the network answers. Running statistics are used, whatever mode the network is in.
    ``ValueError`` for what NIR or its readers cannot hold, for a network that was never trained, and for weights that
    are not finite; ``ImportError`` without the package ``nir``.

    >>> from lightsnn_kit.networks import NetworkConfig, build_network
    >>> to_nir(build_network("03 00", NetworkConfig(input_shape=(1, 8, 8), num_classes=2, width=4)))
    Traceback (most recent call last):
    ...
    ValueError: NIR has no max pooling, as the network has after its cells; train it with pool="avg" (preset +avg-pool).
    """
    network, dt = as_network(network), real("dt", dt, low=1e-12)
    _refuse(network)
    config, draft = network.config, _Draft(network, dt)
    x = draft.add("input", draft.nir.Input({"input": np.array(config.input_shape)}))
    centre = np.broadcast_to(_exact(network.input_centre).ravel(), config.input_shape[:1])
    if centre.any():  # before the stem, which pads with zeros
        x = draft.pointwise("centre", np.eye(len(centre)), x, bias=-centre)
    x = draft.conv("stem", *network.stem, x, scale=config.input_scale)
    x = draft.cell("cell1", network.cell1, network.design, x)
    norm, lif, conv, conv_norm, pool = network.down
    x = draft.lif("down_lif", lif, draft.norm("down_norm", norm, x))
    x = draft.pool("down_pool", pool, draft.conv("down_conv", conv, conv_norm, x))
    x = draft.cell("cell2", network.cell2, network.design, x)
    norm, lif, pool, _ = network.last
    x = draft.lif("last_lif", lif, draft.norm("last_norm", norm, x))
    x = draft.classifier(network, draft.pool("last_pool", pool, x))
    draft.add("output", draft.nir.Output({"output": np.array([config.num_classes])}), x)
    told = {"num_steps": config.num_steps, "dt": dt, "readout": "mean of the output over num_steps steps"}
    return draft.nir.NIRGraph(draft.nodes, draft.edges, metadata=told | {"cell": str(network.design)})


def write_nir(
    network: SpikingNetwork, path: str | os.PathLike[str], *, dt: float = STEP_SECONDS, replace: bool = False
) -> Path:
    """Write ``to_nir(network, dt=dt)`` as a file for ``nir.read``; returns where it is.

    A relative path starts at the project. ``RunExistsError`` if the file is there and ``replace`` is False.
    """
    path = at_root(path)
    graph = to_nir(network, dt=dt)
    with replacing(path, replace=replace) as making:
        _library().write(making, graph)
    return path


def _library() -> ModuleType:
    try:
        import nir
    except ImportError:
        command = 'pip install -c constraints.txt -e ".[nir]"'
        raise ImportError(f"writing NIR needs the package nir, which is not installed: {command}") from None
    return nir


def _refuse(network: SpikingNetwork) -> None:
    """``ValueError`` for what the graph could not hold, saying why and what to do."""
    cell, config = network.design, network.config
    if not isinstance(cell, Cell):
        raise ValueError(
            "a supernet mixes all ops on every edge; choose a cell, train it (build_network), and write that."
        )
    ops = {cell.op(edge) for edge in cell.live_edges}
    if own := sorted(str(op) for op in ops.difference(OPS, [Op.MAXPOOL3X3])):
        raise ValueError(f"nothing is known of {own[0]} in NIR; train a cell of {', '.join(OPS)}.")
    if Op.MAXPOOL3X3 in ops:
        raise ValueError("NIR has no max pooling, which the cell has; put avgpool3x3 in its place and train it again.")
    if config.events:
        raise ValueError(
            "NIR has no max pooling, which networks of event data have after their stem; write one of images."
        )
    if config.pool != "avg":
        raise ValueError(
            'NIR has no max pooling, as the network has after its cells; train it with pool="avg" (preset +avg-pool).'
        )
    if loops := [str(edge) for edge in cell.live_edges if edge.is_backward]:
        raise ValueError(
            f"the cell feeds back over {', '.join(loops)}: readers of NIR delay whole loops, so that outputs would be "
            f"others. Train cell.forward_part() and write that."
        )
    for module in network.modules():
        if isinstance(module, BaseNode) and type(module) is not LIF:
            raise ValueError(f"only the kit's LIF layers are known in NIR, and this is a {type(module).__name__}.")
    if name_weights(network).startswith("seed "):
        raise ValueError("the network was never trained: it has the weights of its seed. Train it (fit) first.")
    check_weights(network)


def _exact(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().double().numpy()


def _affine(norm: nn.BatchNorm2d) -> tuple[np.ndarray, np.ndarray]:
    """A batch normalisation in evaluation as y = a·x + b, per channel: a = γ/√(var + ε), b = β − a·mean."""
    a = _exact(norm.weight) / np.sqrt(_exact(norm.running_var) + norm.eps)
    return a, _exact(norm.bias) - a * _exact(norm.running_mean)


class _Draft:
    """A graph in the making: each method adds a node that reads a sum, and returns the sum that it puts out."""

    def __init__(self, network: SpikingNetwork, dt: float) -> None:
        self.nir, self.dt = _library(), dt
        self.dtype = np.dtype(str(network.classifier[1].weight.dtype).removeprefix("torch."))
        self.shape = network.config.input_shape  # (C, H, W) of what flows
        self.nodes: dict[str, object] = {}
        self.edges: list[tuple[str, str]] = []

    def add(self, name: str, node: object, x: Sum = ()) -> Sum:
        """Any node."""
        self.nodes[name] = node
        self.edges += [(source, name) for source in x]
        return (name,)

    def convolution(self, name: str, weight: np.ndarray, bias: np.ndarray, x: Sum, *, padding: int) -> Sum:
        """A convolution of stride 1, in the precision of the network; what is folded was so in double precision."""
        weight, bias, ones = weight.astype(self.dtype), bias.astype(self.dtype), (1, 1)
        node = self.nir.Conv2d(self.shape[1:], weight, ones, (padding, padding), ones, 1, bias)
        self.shape = (len(weight), *self.shape[1:])
        return self.add(name, node, x)

    def conv(self, name: str, conv: nn.Conv2d, norm: nn.BatchNorm2d, x: Sum, *, scale: float = 1.0) -> Sum:
        """A convolution whose output is scaled, with the normalisation after it folded in."""
        a, b = _affine(norm)
        weight = _exact(conv.weight) * (scale * a)[:, None, None, None]
        return self.convolution(name, weight, b, x, padding=conv.padding[0])

    def pointwise(self, name: str, matrix: np.ndarray, x: Sum, bias: np.ndarray | float = 0.0) -> Sum:
        """A 1×1 convolution: a matrix [out, in] on the channels of every pixel."""
        return self.convolution(name, matrix[:, :, None, None], np.broadcast_to(bias, len(matrix)), x, padding=0)

    def norm(self, name: str, norm: nn.BatchNorm2d, x: Sum) -> Sum:
        """A batch normalisation of a sum, which no convolution can take in."""
        a, b = _affine(norm)
        return self.pointwise(name, np.diag(a), x, bias=b)

    def lif(self, name: str, lif: LIF, x: Sum) -> Sum:
        """LIF neurons, one per number of what flows."""
        threshold = np.nextafter(self.dtype.type(lif.v_threshold), self.dtype.type(-np.inf))  # v ≥ θ is v > this
        tau, r, v_leak, v_threshold, v_reset = (
            np.full(self.shape, float(value)) for value in (lif.tau * self.dt, 1, 0, threshold, 0)
        )
        return self.add(name, self.nir.LIF(tau, r, v_leak, v_threshold, v_reset), x)

    def pool(self, name: str, pool: nn.AvgPool2d, x: Sum) -> Sum:
        """Average pooling, in which padding counts."""
        kernel, stride, padding = pool.kernel_size, pool.stride, pool.padding
        node = self.nir.AvgPool2d(*(np.array([value, value]) for value in (kernel, stride, padding)))
        self.shape = (self.shape[0], *((size + 2 * padding - kernel) // stride + 1 for size in self.shape[1:]))
        return self.add(name, node, x)

    def cell(self, name: str, module: SpikingCell, cell: Cell, x: Sum) -> Sum:
        """A forward cell: x_0 = x, x_i = Σ_{j<i} op_ij(x_j); the sum that is its last node."""
        values, spikes = {0: x}, {}
        for node in sorted(cell.reaching_nodes - {0}):
            edges = [edge for edge in cell.live_edges if edge.target == node]
            for source in {edge.source for edge in edges if cell.op(edge).is_conv} - set(spikes):
                spikes[source] = self.lif(f"{name}_lif_{source}", module.lif[str(source)], values[source])
            parts = [self.op(name, module, cell, edge, (values, spikes)) for edge in edges]
            values[node] = sum(parts, ()) or self.pointwise(f"{name}_zero_{node}", np.zeros((self.shape[0],) * 2), x)
        return values[cell.num_nodes - 1]

    def op(self, name: str, module: SpikingCell, cell: Cell, edge: Edge, read: tuple[dict, dict]) -> Sum:
        """What an edge adds to its target."""
        op, (values, spikes) = cell.op(edge), read
        place = f"{name}_{op}_{edge.target}_{edge.source}"
        if op.is_conv:
            return self.conv(place, *module.ops[str(edge)], spikes[edge.source])
        if op is Op.AVGPOOL3X3:
            return self.pool(place, module.ops[str(edge)], values[edge.source])
        return self.pointwise(place, np.eye(self.shape[0]), values[edge.source])

    def classifier(self, network: SpikingNetwork, x: Sum) -> Sum:
        """Hidden layer, its neurons, and the last layer with the votes of each class averaged."""
        config, (_, hidden, lif, output) = network.config, network.classifier
        x = self.add("flatten", self.nir.Flatten({"input": np.array(self.shape)}, start_dim=0, end_dim=-1), x)
        x = self.add("hidden", self.nir.Linear(_exact(hidden.weight).astype(self.dtype)), x)
        self.shape = (config.hidden,)
        x = self.lif("hidden_lif", lif, x)
        votes = (config.num_classes, config.votes, config.hidden)
        weight, bias = _exact(output.weight).reshape(votes).mean(1), _exact(output.bias).reshape(votes[:2]).mean(1)
        return self.add("classes", self.nir.Affine(weight.astype(self.dtype), bias.astype(self.dtype)), x)
