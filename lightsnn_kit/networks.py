"""The networks, top to bottom: LIF layers, a cell's time step, the macro network, supernet and discrete network.

Definitions are LightSNN's (arXiv 2503.21846) with the cell semantics of SNASNet (arXiv 2201.10355). Layouts: static
images ``[N, C, H, W]``, event frames ``[T, N, C, H, W]``; logits ``[N, num_classes]``.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from spikingjelly.activation_based import functional, layer
from torch import Tensor, nn

from .blocks import check_neuron, make_neuron, make_op
from .cells import Cell, Edge, Op, as_cell
from .checks import flag, listed, make_plain, real, whole
from .exact import make_exact
from .layers import BatchNorm, init_weights, linear_spread, seeded
from .recompute import recomputed
from .spaces import CellSpace, OpMask, as_space

# spikingjelly 2.0 registers Triton kernels when its first LIF layer runs; on a CPU-only torch 2.13 each one warns.
logging.getLogger("torch._library.triton").setLevel(logging.ERROR)

FedBack = Sequence[Tensor | None] | None


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """Sizes and neuron settings of the macro network; ``ValueError`` if they cannot be built.

    >>> NetworkConfig(input_shape=(1, 8, 8), num_classes=10, width=8).features
    64
    """

    input_shape: tuple[int, int, int]  # channels, height, width of one frame
    num_classes: int
    width: int = 16  # C: channels of cell 1; the paper has 256 (CIFAR10) and 128
    num_steps: int = 5  # T for static images; event data bring one frame per step
    hidden: int = 1024  # H: neurons of the hidden layer
    votes: int = 10  # V: outputs averaged per class (CIFAR100: 5)
    pool: str = "max"  # LightSNN; SNASNet pools by averaging ("avg")
    last_pool: int = 2  # p: pooling after cell 2
    dropout: float = 0.5  # one mask per sample for all steps
    linear_std: float | None = None  # None: 0.01 at the paper's width, more below (linear_spread); the paper has 0.01
    tau: float = 4 / 3  # membrane time constant in steps
    v_threshold: float = 1.0
    neuron: str = "lif"  # a name of blocks.NEURONS; yours by register_neuron
    input_centre: tuple[float, ...] = (0.0,)  # subtracted from the raw input, per channel or one for all
    input_scale: float = 1.0  # then multiplied: data stay in their stored form everywhere else
    events: bool = False  # input is [T, N, C, H, W]; adds a max pool after the stem

    def __post_init__(self) -> None:
        numbers = ("dropout", "tau", "v_threshold", "input_scale", *["linear_std"] * (self.linear_std is not None))
        wholes = ("num_classes", "width", "num_steps", "hidden", "votes", "last_pool")
        make_plain(self, wholes=dict.fromkeys(wholes, 1), reals=dict.fromkeys(numbers, (-math.inf, math.inf)))
        shape = tuple(whole("input_shape", size) for size in listed(self.input_shape))
        centre = tuple(real("input_centre", value) for value in listed(self.input_centre))
        for name, value in (("input_shape", shape), ("input_centre", centre), ("events", flag("events", self.events))):
            object.__setattr__(self, name, value)
        if len(self.input_shape) != 3 or len(self.input_centre) not in (1, self.input_shape[0]):
            raise ValueError(f"input_shape is (C, H, W), 1 or C centres; got {self.input_shape}, {self.input_centre}.")
        check_neuron(self.neuron)
        if self.pool not in ("max", "avg"):
            raise ValueError(f"pool must be 'max' (LightSNN) or 'avg' (SNASNet), got {self.pool!r}.")
        if not (self.tau > 1 and self.v_threshold > 0 and 0 <= self.dropout < 1 and self.input_scale > 0):
            raise ValueError(f"need tau > 1, v_threshold > 0, 0 <= dropout < 1, input_scale > 0; got {self}.")
        if min(self.final_size) < 1:
            before = min(self.input_shape[1:]) // (4 if self.events else 2)  # the last pooling
            advice = "lower last_pool" if before else "use larger images"
            if self.input_shape[2] <= 4 < min(self.input_shape[:2]):
                advice = "it looks like (H, W, C): give images as [n, C, H, W], by x.transpose(0, 3, 1, 2)"
            raise ValueError(f"input {self.input_shape} is too small: pooling leaves {self.final_size}; {advice}.")

    @property
    def final_size(self) -> tuple[int, int]:
        """Height and width in front of the classifier."""
        shrink = (2 if self.events else 1, 2, self.last_pool)
        height, width = self.input_shape[1:]
        for factor in shrink:
            height, width = height // factor, width // factor
        return height, width

    @property
    def features(self) -> int:
        """Inputs of the hidden layer: 2C · height · width after the last pooling."""
        return 2 * self.width * self.final_size[0] * self.final_size[1]


def reset_state(network: nn.Module) -> None:
    """Set every membrane potential and dropout mask of the network back to its start."""
    functional.reset_net(network)


class CellModule(nn.Module):
    """One time step of a cell (abstract): with feedback f (None stands for zeros) and z_j = x_j + f_j,

    x_0 = input, x_i = Σ_{j<i} op_ij(z_j), next f_i = Σ_{j>i} op_ij(z_j); returns (x_last, all f).
    Subclasses say what edges read from a node (``read``) and how an edge adds its value (``add_edge``).
    """

    skips_last_feedback = False  # a supernet's LIF layers are counted at every step, also those nobody reads
    joins_feedback = False  # scores have one order of summation: x first, then f

    def __init__(self, num_nodes: int, edges: Sequence[Edge], nodes: Sequence[int]) -> None:
        super().__init__()
        self.num_nodes, self.nodes = num_nodes, frozenset(nodes)
        self.forward_edges = [[e for e in edges if e.target == i and not e.is_backward] for i in range(num_nodes)]
        self.backward_edges = [[e for e in edges if e.target == i and e.is_backward] for i in range(num_nodes)]

    def read(self, node: int, value: Tensor) -> object:
        """What the edges out of a node read, given z of that node."""
        raise NotImplementedError

    def add_edge(self, total: Tensor | None, edge: Edge, source: object, **options) -> Tensor | None:
        """A sum of values plus the value of an edge, either None for zero."""
        raise NotImplementedError

    def forward(self, x: Tensor, fed_back: FedBack, *, last_step: bool = False, **options) -> tuple[Tensor, FedBack]:
        """Run one step (``last_step``: nobody will read the feedback)."""

        def total(edges: Sequence[Edge], start: Tensor | None = None) -> Tensor | None:
            return reduce(lambda t, edge: self.add_edge(t, edge, sources[edge.source], **options), edges, start)

        sources: dict[int, object] = {}
        output = x
        for node in sorted(self.nodes):
            f = fed_back[node] if fed_back else None
            joined = f if self.joins_feedback and 0 < node < self.num_nodes - 1 else None
            value = x if node == 0 else total(self.forward_edges[node], joined)
            output = torch.zeros_like(x) if value is None else value
            sources[node] = self.read(node, output if f is None or f is joined else output + f)
        if last_step and self.skips_last_feedback and not self.training:
            return output, None
        return output, [total(edges) for edges in self.backward_edges]


class SpikingCell(CellModule):
    """A discrete cell: only what reaches the output exists, with one LIF layer per node that feeds convolutions.

    An edge's batch normalisation also adds the sum so far: to watch a cell, hook LIF layers or convolutions.
    """

    skips_last_feedback = True  # in evaluation mode; in training each BN sees every step
    joins_feedback = True  # one pass less: the sum of a node in the middle begins with what was fed back

    def __init__(self, cell: Cell, channels: int, config: NetworkConfig) -> None:
        super().__init__(cell.num_nodes, cell.live_edges, cell.reaching_nodes)
        # All LIF layers fed by one node are the same layer: they have no learnable parameters, or share them.
        spiking = sorted({edge.source for edge in cell.live_edges if cell.op(edge).is_conv})
        self.lif = nn.ModuleDict({str(node): make_neuron(config) for node in spiking})
        self.ops = nn.ModuleDict({str(edge): make_op(cell.op(edge), channels) for edge in cell.live_edges})
        self.reads_spikes = frozenset(edge for edge in cell.live_edges if cell.op(edge).is_conv)

    def read(self, node: int, value: Tensor) -> tuple[Tensor, Tensor | None]:
        return value, self.lif[str(node)](value) if str(node) in self.lif else None

    def add_edge(self, total: Tensor | None, edge: Edge, source: tuple[Tensor, Tensor | None]) -> Tensor:
        op, value = self.ops[str(edge)], source[edge in self.reads_spikes]
        if isinstance(op, nn.Sequential):  # convolution and normalisation
            return op[1](op[0](value), total)
        return op(value) if total is None else total + op(value)


class SuperCell(CellModule):
    """Every op of a space on every edge, averaged over those alive in a mask; a LIF layer before each convolution."""

    def __init__(self, space: CellSpace, channels: int, config: NetworkConfig) -> None:
        super().__init__(space.num_nodes, space.edges, range(space.num_nodes))
        self.ops = nn.ModuleDict()
        for edge in space.edges:
            for op in space.ops:
                if op is not Op.ZEROIZE:
                    body = make_op(op, channels)
                    parts = body if isinstance(body, nn.Sequential) else (body,)
                    self.ops[f"{edge}:{op}"] = nn.Sequential(make_neuron(config), *parts) if op.is_conv else body

    def read(self, node: int, value: Tensor) -> Tensor:
        return value

    def add_edge(
        self, total: Tensor | None, edge: Edge, source: Tensor, mask: OpMask | None = None, feedback: bool = True
    ) -> Tensor | None:
        if mask is None:
            raise TypeError("a supernet is called with mask=, e.g. mask=space.full_mask().")
        alive = mask.alive_on(edge)
        values = [self.ops[f"{edge}:{op}"](source) for op in alive if op is not Op.ZEROIZE]
        if not values or (edge.is_backward and not feedback):  # feedback=False: computed, counted, never read
            return total
        if len(alive) > 1:
            values = [value * (1 / len(alive)) for value in values]
        value = sum(values[1:], start=values[0])
        return value if total is None else total + value


class SpikingNetwork(nn.Module):
    """The macro network around two cells (LightSNN, section III); logits are the mean over steps and votes.

    ``first_weights`` says where its weights come from: a seed, or a checkpoint.

    ``forward`` resets the state on entry unless ``reset=False``; further options go to the cells (a supernet
    needs ``mask=``). Build it with ``build_network`` or ``build_supernet``.
    """

    first_weights = "unknown"

    def __init__(self, config: NetworkConfig, make_cell: Callable[[int], CellModule], design: Cell | CellSpace) -> None:
        super().__init__()
        c, pool = config.width, nn.MaxPool2d if config.pool == "max" else nn.AvgPool2d
        self.config, self.design = config, design
        self.register_buffer(
            "input_centre", torch.tensor(config.input_centre).view(-1, 1, 1), persistent=False
        )  # [C, 1, 1]
        self.stem = nn.Sequential(nn.Conv2d(config.input_shape[0], c, 3, padding=1, bias=False), BatchNorm(c))
        if config.events:
            self.stem.append(nn.MaxPool2d(2))
        self.cell1 = make_cell(c)
        down_conv = nn.Conv2d(c, 2 * c, 3, padding=1, bias=False)
        self.down = nn.Sequential(BatchNorm(c), make_neuron(config), down_conv, BatchNorm(2 * c), pool(2))
        self.cell2 = make_cell(2 * c)
        self.last = nn.Sequential(BatchNorm(2 * c), make_neuron(config), pool(config.last_pool), nn.Flatten())
        self.classifier = nn.Sequential(
            layer.Dropout(config.dropout),
            nn.Linear(config.features, config.hidden, bias=False),
            make_neuron(config),
            nn.Linear(config.hidden, config.num_classes * config.votes),
        )

    def forward(self, x: Tensor, *, reset: bool = True, recompute: bool = False, **options) -> Tensor:
        """Logits [N, num_classes] for raw inputs [N, C, H, W] or event frames [T, N, C, H, W].

        ``recompute``: steps keep no activations, and are taken once more for the gradients (see ``recompute``).
        """
        self.check_input(x)
        if reset:
            reset_state(self)
        step = recomputed(self.step, self) if recompute and torch.is_grad_enabled() else self.step
        drive = None if self.config.events else self.drive(x)
        num_steps = len(x) if self.config.events else self.config.num_steps
        fed_back, features, logits = (None, None), [], 0
        for t in range(num_steps):
            last_step = t == num_steps - 1
            y, fed_back = step(x[t] if drive is None else drive, fed_back, last_step=last_step, **options)
            features.append(y)
            if last_step or not self.training:  # in training: one product for the gradient of a linear layer, not T
                logits, features = logits + self.classify(features), []
        return logits / num_steps

    def step(self, x: Tensor, fed_back: tuple[FedBack, FedBack], **options) -> tuple[Tensor, tuple[FedBack, FedBack]]:
        """One time step for a frame or a still image's drive: features [N, F], and what the two cells feed back."""
        y = self.drive(x) if self.config.events else x  # [N, C, H, W]
        y, fed_back1 = self.cell1(y, fed_back[0], **options)
        y, fed_back2 = self.cell2(self.down(y), fed_back[1], **options)
        return self.last(y), (fed_back1, fed_back2)

    def classify(self, features: Sequence[Tensor]) -> Tensor:
        """Sum over steps of the logits [N, num_classes], from the features [N, F] of each."""
        dropout, hidden, lif, output = self.classifier
        currents = hidden(torch.cat([dropout(f) for f in features])).chunk(len(features))  # T times [N, hidden]
        votes = output(torch.cat([lif(current) for current in currents]))  # [T * N, num_classes * V]
        votes = votes.view(len(features), -1, self.config.num_classes, self.config.votes)  # [T, N, classes, V]
        return votes.mean(3).sum(0)

    def drive(self, frame: Tensor) -> Tensor:
        """The stem's output for raw input, centred first and scaled after the convolution: integers stay integers."""
        centred = frame.to(self.input_centre.dtype) - self.input_centre
        return self.stem[1:](self.stem[0](centred) * self.config.input_scale)

    def check_input(self, x: Tensor) -> None:
        """``ValueError`` if x is not a batch of raw inputs for this network."""
        layout = "[T, N, C, H, W]" if self.config.events else "[N, C, H, W]"
        if x.dim() != 4 + self.config.events or tuple(x.shape[-3:]) != self.config.input_shape or 0 in x.shape:
            last = (*x.shape[-1:], *x.shape[-3:-1]) == self.config.input_shape
            hint = "; the channels come last there: use x.movedim(-1, -3)" if last else ""
            raise ValueError(
                f"expected {layout} with (C, H, W) = {self.config.input_shape}, got {tuple(x.shape)}{hint}."
            )

    @property
    def num_parameters(self) -> int:
        """Number of learnable parameters."""
        return sum(parameter.numel() for parameter in self.parameters())


def _build(
    config: NetworkConfig, make_cell: Callable[[int], CellModule], design: Cell | CellSpace, seed: int
) -> SpikingNetwork:
    generator = seeded(seed)
    with torch.inference_mode(False):  # weights made in it could never be trained
        with torch.random.fork_rng(devices=[]):  # torch's layers draw weights when made; keep the caller's RNG
            torch.default_generator.manual_seed(generator.initial_seed())  # for what ops of your own draw
            network = SpikingNetwork(config, make_cell, design)
        init_weights(network, config.linear_std, generator)
    network.first_weights = f"seed {whole('seed', seed, low=0)}"
    return network


def build_network(cell: Cell | str | object, config: NetworkConfig, *, seed: int = 0) -> SpikingNetwork:
    """The discrete network of a cell: a ``Cell``, its string, or a SNASNet matrix as ``as_cell`` reads it.

    >>> config = NetworkConfig(input_shape=(1, 8, 8), num_classes=10, width=8, hidden=32)
    >>> network = build_network("0303 0030 2002 0200", config)
    >>> network(torch.zeros(5, 1, 8, 8)).shape
    torch.Size([5, 10])
    """
    cell = as_cell(cell)
    return _build(config, lambda channels: SpikingCell(cell, channels, config), cell, seed)


def build_supernet(
    space: CellSpace | str, config: NetworkConfig, *, seed: int = 0, init: str = "lattice"
) -> SpikingNetwork:
    """The network with every op of a space (or its name) on every edge; call it with ``mask=`` (``feedback=False``).

    ``init='lattice'``: integer weights, scores with the same bits everywhere (see ``exact``);
    ``'kaiming'``: real weights, exact statistics; ``'stock'``: real weights in torch's and spikingjelly's own layers.

    >>> config = NetworkConfig(input_shape=(1, 8, 8), num_classes=10, width=8, hidden=32)
    >>> supernet = build_supernet("lightsnn", config)
    >>> supernet(torch.zeros(5, 1, 8, 8), mask=supernet.design.full_mask()).shape
    torch.Size([5, 10])
    """
    if init not in ("lattice", "kaiming", "stock"):
        raise ValueError(f"init must be 'lattice', 'kaiming' or 'stock', got {init!r}.")
    space = as_space(space)
    network = _build(config, lambda channels: SuperCell(space, channels, config), space, seed)
    if init != "stock":
        std = linear_spread(config.linear_std, config.features)
        make_exact(network, seeded(seed), init=init, linear_std=std)
    return network
