"""The base of all widgets: static twin, messages, theme, and that closing leaves nothing behind."""

from __future__ import annotations

import asyncio
import json
import weakref
from collections.abc import Callable
from pathlib import Path

import ipywidgets
import plotly.graph_objects as go
import pytest

from lightsnn_kit import widgets
from lightsnn_kit.figures import spike_raster
from lightsnn_kit.files import RunError
from lightsnn_kit.widgets import PlotView, View

KIT = Path(widgets.__file__).parent


class Squares(View):
    """n² as a bar, from a slider; 13 is refused."""

    name = "squares"

    def __init__(self, *, theme: str = "light") -> None:
        super().__init__(theme=theme)
        self.number = self.part(ipywidgets.IntSlider(3, 1, 20, description="n"), "number")
        self.twice = self.part(ipywidgets.Button(description="Double"), "twice")
        self.bar = self.plot("bar", "n squared")
        self.arrange(ipywidgets.HBox([self.number, self.twice]), self.bar)
        self.clicks: list[dict] = []
        self.calls = 0
        self.watch(self.number, lambda _: self.redraw())
        self.watch(self.twice, lambda _: self.number.set_trait("value", 2 * self.number.value))
        self.watch(self.bar, self.clicks.append)
        self.redraw()

    def figure(self) -> go.Figure:
        if self.number.value == 13:
            raise ValueError("13 is <unlucky>; choose another number.")
        return go.Figure(go.Bar(y=[self.number.value**2]), {"template": f"lightsnn_{self.theme}"})

    def redraw(self) -> None:
        self.calls += 1
        self.bar.show(self.figure())


def drawn(view: PlotView) -> dict:
    return json.loads(view.spec)


@pytest.fixture
def squares() -> Squares:
    view = Squares()
    yield view
    view.close()


# ---- the static twin -------------------------------------------------------------------------------------------------


def test_the_output_holds_the_widget_and_its_picture(squares: Squares) -> None:
    bundle = squares._repr_mimebundle_()
    assert bundle["application/vnd.jupyter.widget-view+json"]["model_id"] == squares.model_id
    assert bundle["application/vnd.plotly.v1+json"]["data"][0]["y"] == [9]
    assert bundle["text/plain"].startswith("Squares")
    squares.number.value = 5
    assert squares._repr_mimebundle_()["application/vnd.plotly.v1+json"]["data"][0]["y"] == [25]


def test_parts_carry_names_for_tests_and_styles(squares: Squares) -> None:
    assert {"lightsnn", "lightsnn-squares"} <= set(squares._dom_classes)
    assert "lightsnn-squares-number" in squares.number._dom_classes
    assert "lightsnn-squares-bar" in squares.bar._dom_classes
    assert squares.bar.label == "n squared"
    assert squares.children[-1] is squares.message


# ---- controls, messages, theme ---------------------------------------------------------------------------------------


def test_controls_and_clicks_reach_their_callbacks(squares: Squares) -> None:
    squares.number.value = 4
    assert drawn(squares.bar)["data"][0]["y"] == [16]
    squares.twice.click()
    assert drawn(squares.bar)["data"][0]["y"] == [64]
    point = {"curve": 0, "point": 0, "x": 0, "y": 64, "customdata": None}
    squares.bar._handle_custom_msg({"kind": "click", **point}, [])
    assert squares.clicks == [point]


def test_wrong_input_becomes_a_message_and_keeps_the_last_view(squares: Squares) -> None:
    squares.number.value = 13
    assert 'role="alert"' in squares.message.value
    assert "⚠ 13 is &lt;unlucky&gt;; choose another number." in squares.message.value
    assert drawn(squares.bar)["data"][0]["y"] == [9]
    assert "application/vnd.plotly.v1+json" not in squares._repr_mimebundle_()
    squares.number.value = 2
    assert squares.message.value == ""
    assert drawn(squares.bar)["data"][0]["y"] == [4]


def test_guarded_knows_wrong_input_from_bugs(squares: Squares) -> None:
    with squares.guarded():
        raise RunError("no such run")
    assert "no such run" in squares.message.value
    with squares.guarded():
        squares.say("saved")
    assert 'role="status"' in squares.message.value
    assert "ℹ saved" in squares.message.value
    with pytest.raises(ZeroDivisionError), squares.guarded():
        _ = 1 / 0
    squares.say("")
    assert squares.message.value == ""


def test_the_theme_of_the_page_redraws(squares: Squares) -> None:
    light = squares.bar.spec
    squares._page.theme = "dark"
    assert squares.theme == "dark"
    assert drawn(squares.bar)["layout"]["template"]["layout"]["paper_bgcolor"] == "#111111"
    squares._page.theme = "light"
    assert squares.bar.spec == light


# ---- the event loop --------------------------------------------------------------------------------------------------


def test_a_burst_of_edits_leads_to_one_call(squares: Squares) -> None:
    squares.calls = 0
    squares.soon(squares.redraw)
    assert squares.calls == 1  # without a loop: at once

    async def burst() -> None:
        for _ in range(50):
            squares.soon(squares.redraw, delay=0.01)
        assert squares.calls == 1
        await asyncio.sleep(0.1)

    asyncio.run(burst())
    assert squares.calls == 2


def test_nothing_is_called_after_closing() -> None:
    view, ended = Squares(), []

    async def forever() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(True)

    async def scene() -> None:
        task = view.spawn(forever())
        view.soon(view.redraw, delay=0.01)
        await asyncio.sleep(0)
        view.close()
        await asyncio.sleep(0.05)
        assert task.cancelled()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(scene())
    assert ended == [True]
    assert view.calls == 1
    assert Squares().spawn(forever()) is None  # no loop, no warning about a coroutine that never ran
    view.close()  # a second time does nothing


def test_opening_and_closing_leaves_nothing(leaves_nothing: Callable) -> None:
    bars = []

    def view() -> object:
        opened = Squares()
        opened.theme = "dark"
        opened.number.value = 13
        bars.append(weakref.ref(opened.bar))
        opened.close()
        assert (opened._tasks, opened._due, opened.bar._listeners["click"].callbacks) == (set(), {}, [])
        return opened

    leaves_nothing(view)
    assert [ghost() for ghost in bars if ghost()] == []


# ---- the plot view ---------------------------------------------------------------------------------------------------


def test_plotly_js_is_sent_on_request_and_never_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    view, sent = PlotView(spike_raster([[0, 1]]), label="spikes"), []
    monkeypatch.setattr(view, "send", lambda content, buffers=None: sent.append((content, buffers)))
    assert len(json.dumps(view.get_state(drop_defaults=True), default=str)) < 30_000
    view._handle_custom_msg({"kind": "plotly.js"}, [])
    [(content, [script])] = sent
    assert content == {"kind": "plotly.js"}
    assert b"plotly.js v" in script[:100]
    view.close()


def test_an_equal_figure_sends_nothing() -> None:
    view, changes = PlotView(label="spikes"), []
    view.observe(changes.append, "spec")
    view.show(spike_raster([[0, 1]]))
    view.show(spike_raster([[0, 1]]))
    assert len(changes) == 1
    assert view.payload == len(view.spec) > 100
    view.close()


def test_scripts_need_no_network() -> None:
    scripts = list(KIT.rglob("*.js"))
    assert len(scripts) > 1
    for script in scripts:
        text = script.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert "http" not in text
        assert "import " not in text
