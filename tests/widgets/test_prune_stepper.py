"""PruneStepper and the records it reads: rounds made by hand, moves, doubts, wrong edges, nothing left behind."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from lightsnn_kit.cells import Edge, Op
from lightsnn_kit.figures.pruning import is_uncertain
from lightsnn_kit.records import read_steps, step_record
from lightsnn_kit.search import Decision, prune_search
from lightsnn_kit.spaces import SPACES, CellSpace, OpMask
from lightsnn_kit.widgets import PlotView, PruneStepper

SPACE = CellSpace(("zeroize", "skip", "conv3x3"), 2)  # two edges: 1<-0 and 0<-1
WORTH = {Op.ZEROIZE: 0.0, Op.SKIP: 1.0, Op.CONV3X3: 3.0}


def score(mask: OpMask) -> float:
    """What is left is worth the sum of its ops; on the backward edge a tenth of that."""
    return sum(WORTH[op] * (0.1 if edge.is_backward else 1.0) for edge, ops in mask.items() for op in ops)


@pytest.fixture
def stepper() -> PruneStepper:
    view = PruneStepper(prune_search(SPACE, score))
    yield view
    view.close()


def title(view: PlotView) -> str:
    return json.loads(view.spec)["layout"]["title"]["text"]


def test_decisions_one_by_one(stepper: PruneStepper) -> None:
    """Of 4 + 0.4: without zeroize 4.4, without skip 3.4 or 4.3: margins 1 and 0.1; then 3 − 1 = 2 and 0.2."""
    assert stepper.mask == SPACE.full_mask()
    assert stepper.describe() == "PruneStepper: decision 0 of 4, round 1: nothing is pruned yet"
    words, left = [], []
    for _ in range(4):
        stepper.move(1)
        words.append(stepper.describe().partition(": ")[2])
        left.append(stepper.mask.num_cells)
    assert left == [6, 4, 2, 1]
    assert words == [
        "decision 1 of 4, round 1: zeroize pruned from 1<-0, margin 1",
        "decision 2 of 4, round 1: zeroize pruned from 0<-1, margin 0.1",
        "decision 3 of 4, round 2: skip pruned from 1<-0, margin 2",
        "decision 4 of 4, round 2: skip pruned from 0<-1, margin 0.2",
    ]
    stepper.move(1)  # at the end it stays there
    assert stepper.mask.to_cell() == SPACE.uniform("conv3x3")
    assert "1 cells left" in stepper.words.value


def test_buttons_and_slider_drive_one_state(stepper: PruneStepper) -> None:
    stepper.buttons["round"].click()
    assert stepper.position.value == 2
    assert stepper.graph.selected == "0<-1"
    stepper.buttons["round"].click()
    stepper.buttons["round"].click()
    assert stepper.position.value == 4
    stepper.buttons["back"].click()
    assert stepper.position.value == 3
    stepper.position.value = 0
    assert "Round 1, edge 1←0" in title(stepper.bars)
    stepper.buttons["next"].click()
    assert stepper.position.value == 1


def test_the_graph_and_the_margins_choose_an_edge(stepper: PruneStepper) -> None:
    stepper.position.value = 3
    stepper.graph.selected = "0<-1"
    assert stepper.position.value == 4
    stepper.bars._handle_custom_msg({"kind": "click", "curve": 1, "point": 0, "x": 2, "y": 0, "customdata": "1<-0"}, [])
    assert stepper.position.value == 3
    stepper.bars._handle_custom_msg({"kind": "click", "curve": 0, "point": 0, "customdata": "skip"}, [])  # an op
    assert stepper.position.value == 3


def test_uncertain_decisions_are_found_and_named(stepper: PruneStepper) -> None:
    """Round 1: a quarter of the median margin 0.55 is 0.1375, so 0.1 is uncertain; in round 2 0.275 > 0.2."""
    stepper.buttons["doubt"].click()
    assert stepper.position.value == 2
    assert "≈ uncertain" in stepper.words.value
    stepper.buttons["doubt"].click()
    assert stepper.position.value == 4
    stepper.buttons["doubt"].click()
    assert "No uncertain decision" in stepper.message.value
    sure = PruneStepper(stepper.steps, noise=0.05)
    sure.next_uncertain()
    assert sure.position.value == 0
    sure.close()


def test_a_search_that_tested_itself_is_believed() -> None:
    decision = Decision(Edge(1, 0), Op.SKIP, margin=0.001, seeds=5, settled=True)
    assert not is_uncertain(decision, noise=1.0)
    assert is_uncertain(replace(decision, margin=100.0, settled=False), noise=1.0)
    assert is_uncertain(replace(decision, settled=None), noise=1.0)


def test_wrong_edges_and_searches_are_told(stepper: PruneStepper) -> None:
    stepper.graph.selected = "3<-0"
    assert "round 1 pruned nothing on edge 3&lt;-0" in stepper.message.value
    assert stepper.position.value == 0
    with pytest.raises(ValueError, match="at least one round"):
        PruneStepper([])
    with pytest.raises(ValueError, match="expected steps of a search"):
        PruneStepper([{"round": 1}])


def test_masks_before_rounds_follow_each_other() -> None:
    space, rng = SPACES["lightsnn"], np.random.default_rng(0)
    values: dict[OpMask, float] = {}
    steps = list(prune_search(space, lambda mask: values.setdefault(mask, float(rng.normal()))))
    assert [step.mask_before for step in steps] == [space.full_mask(), steps[0].mask]


def test_records_bring_the_same_search_back() -> None:
    values: dict[OpMask, float] = {}
    rng = np.random.default_rng(1)
    steps = tuple(prune_search(SPACES["snasnet"], lambda mask: values.setdefault(mask, float(rng.normal()))))
    rows = json.loads(json.dumps([step_record(step) for step in steps]))
    assert read_steps(rows, space=SPACES["snasnet"]) == steps
    assert read_steps(steps) == steps
    made = read_steps(rows)  # without a space: its ops in the order of ties
    assert set(made[0].mask.space.ops) == set(SPACES["snasnet"].ops)
    assert [str(step.mask.to_cell()) for step in made[-1:]] == [str(steps[-1].mask.to_cell())]
