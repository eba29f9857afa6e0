"""PruneStepper: walk through a pruning search, decision by decision."""

from __future__ import annotations

from collections.abc import Iterable

import ipywidgets
import plotly.graph_objects as go

from ..checks import real, whole
from ..figures.pruning import is_uncertain, margin_noise, prune_round
from ..figures.style import number
from ..records import read_steps
from ..search import Decision, PruneStep
from ..spaces import CellSpace, OpMask
from .base import View
from .cell_graph import CellGraph
from .parts import flow


class PruneStepper(View):
    """The decisions of a search one by one: the graph of what is left, the candidates' scores, all margins.

    ``steps``: of ``search.prune_search``, or the rows ``steps.jsonl`` of a run; ``space`` as in ``records.read_steps``.
    ``noise``: margin up to which a decision is uncertain (default: a quarter of its round's median margin; decisions
    that the search tested itself need none). The state is ``position.value``: how many decisions have been taken.

    >>> from lightsnn_kit.search import prune_search
    >>> space = CellSpace(("zeroize", "skip"), 2)
    >>> stepper = PruneStepper(prune_search(space, lambda mask: 1.0 - mask.num_cells))
    >>> stepper.position.value = 2
    >>> stepper.mask.num_cells, stepper.describe()
    (1, 'PruneStepper: decision 2 of 2, round 1: zeroize pruned from 0<-1, a tie')
    >>> stepper.close()
    """

    name = "prune-stepper"

    def __init__(
        self, steps: Iterable[object], *, space: CellSpace | None = None, noise: float | None = None, theme="light"
    ) -> None:
        super().__init__(theme=theme)
        self.steps = read_steps(steps, space=space)
        self._taken: list[tuple[PruneStep, Decision]] = [(step, d) for step in self.steps for d in step.pruned]
        self._masks: list[OpMask] = [step.mask_before for step in self.steps[:1]]  # by how many decisions are taken
        for step in self.steps:
            mask = step.mask_before
            for decision in step.pruned:
                mask = mask.without(decision.edge, decision.op)
                self._masks.append(mask)
        if not self._taken:
            raise ValueError("PruneStepper needs at least one round with a decision; the search has recorded none.")
        self.noise = None if noise is None else real("noise", noise, low=0)
        self._build()
        self.redraw()

    def _build(self) -> None:
        wide = ipywidgets.Layout(flex="1 1 260px", width="auto")
        slider = ipywidgets.IntSlider(description="Decisions", max=len(self._taken), layout=wide)
        self.position = self.part(slider, "position")
        moves = {
            "back": ("‹ Back", lambda: self.move(-1)),
            "next": ("Next ›", lambda: self.move(1)),
            "round": ("Next round »", self.next_round),
            "doubt": ("Next uncertain ≈", self.next_uncertain),
        }
        self.buttons = {name: self.add_button(name, *move) for name, move in moves.items()}
        self.words = self.part(ipywidgets.HTML(), "words")
        self.graph = self.part(CellGraph(self.mask, space=self.steps[0].mask.space, editable=False), "graph")
        self.graph.layout.max_width = "640px"
        self.bars = self.plot("bars", "Scores of the candidates of one edge, and the margins of the round")
        self.watch(self.position, lambda _: self.redraw())
        self.watch(self.graph, self.show_edge, names="selected")
        self.watch(self.bars, self._clicked)
        self.arrange(flow(*self.buttons.values(), self.position), self.words, flow(self.graph, self.bars, width=480))

    # ---- the state

    @property
    def current(self) -> tuple[PruneStep, Decision]:
        """The round and decision last taken; the first ones before any is."""
        return self._taken[max(0, self.position.value - 1)]

    @property
    def mask(self) -> OpMask:
        """The ops alive after the decisions taken."""
        return self._masks[self.position.value]

    def noise_of(self, step: PruneStep) -> float:
        """The margin up to which decisions of a round are uncertain."""
        return margin_noise(step) if self.noise is None else self.noise

    # ---- moves

    def move(self, by: int) -> None:
        """Take or take back decisions; at an end it stays there."""
        at = self.position.value + whole("by", by, low=-len(self._taken))
        self.position.value = min(max(0, at), len(self._taken))

    def next_round(self) -> None:
        """Take all decisions of the round begun, or of the next one."""
        at = self.position.value
        if at < len(self._taken):
            step = self._taken[at][0]
            self.position.value = 1 + max(index for index, (of, _) in enumerate(self._taken) if of is step)

    def next_uncertain(self) -> None:
        """Go on to the next decision that is uncertain; a message says if there is none."""
        for index in range(self.position.value, len(self._taken)):
            step, decision = self._taken[index]
            if is_uncertain(decision, self.noise_of(step)):
                self.position.value = index + 1
                return
        self.say("No uncertain decision comes after this one.")

    def show_edge(self, edge: str) -> None:
        """Go to this round's decision on an edge; ``ValueError`` if it has none."""
        step, decision = self.current
        if not edge or str(decision.edge) == edge:
            return
        found = [i for i, (of, taken) in enumerate(self._taken) if of is step and str(taken.edge) == edge]
        if not found:
            raise ValueError(f"round {step.round} pruned nothing on edge {edge}: it had one op left, or is no edge.")
        self.position.value = found[0] + 1

    def _clicked(self, point: dict) -> None:
        edge = str(point.get("customdata") or "")
        if "<-" in edge:  # a margin; the other bars are ops
            self.show_edge(edge)

    # ---- pictures

    def figure(self) -> go.Figure:
        """The candidates of the decision last taken, and its round's margins."""
        step, decision = self.current
        return prune_round(step, edge=decision.edge, noise=self.noise_of(step), theme=self.theme)

    def redraw(self) -> None:
        """Draw the graph and the bars anew."""
        mask, (step, decision) = self.mask, self.current
        self.graph.show(mask)
        self.graph.selected = str(decision.edge)
        self.bars.show(self.figure())
        doubt = ""
        if is_uncertain(decision, self.noise_of(step)):
            doubt = " <b>≈ uncertain</b>: other weights or images may decide otherwise."
        self.words.value = f"<p style='margin:0 10px'>{self._words()}; {mask.num_cells:,} cells left.{doubt}</p>"

    def _words(self) -> str:
        step, decision = self.current
        at = f"decision {self.position.value} of {len(self._taken)}, round {step.round}"
        if not self.position.value:
            return f"{at}: nothing is pruned yet"
        how = f"margin {number(decision.margin, '.3g')}" if decision.margin else "a tie"
        how += f" (instead of {decision.undone}, which would have cut the last path)" * bool(decision.undone)
        return f"{at}: {decision.op} pruned from {decision.edge}, {how}"

    def describe(self) -> str:
        """The decision last taken, in a line."""
        return f"PruneStepper: {self._words()}"
