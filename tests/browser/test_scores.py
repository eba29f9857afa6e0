"""SpikeExplorer, KernelExplorer and LIFPlayground in their notebook: what keys and clicks change, seen and held."""

from __future__ import annotations

import pytest

from .lab import ROOT, Lab, Notebook

pytestmark = pytest.mark.browser
SPIKES, KERNELS, LIF = ".lightsnn-spikes", ".lightsnn-kernels", ".lightsnn-lif"


def test_explore_scores(lab: Lab) -> None:
    with lab.notebook(ROOT / "notebooks" / "explore_scores.ipynb", quick=True) as notebook:
        notebook.run_all()
        assert len(notebook.check_plots(SPIKES, at_least=5)) == 5
        assert len(notebook.check_plots(KERNELS, at_least=3)) == 3
        assert len(notebook.check_plots(LIF, at_least=3)) == 3
        check_spikes(notebook)
        check_kernels(notebook)
        check_lif(notebook)
        for name, root in {"spike_explorer": SPIKES, "kernel_explorer": KERNELS, "lif_playground": LIF}.items():
            notebook.pictures(name, root)


def type_into(notebook: Notebook, part: str, text: str) -> None:
    field = notebook.panel.locator(f"{part} input").first
    field.fill(text)
    field.press("Enter")


def title(notebook: Notebook, part: str) -> str:
    return notebook.panel.locator(f"{part} .gtitle").first.text_content()


def check_spikes(notebook: Notebook) -> None:
    """The step by key, the sample by number, the neuron by a click; a sample that does not exist is told."""
    view = notebook.widget("SpikeExplorer")
    step = notebook.panel.locator(f"{SPIKES}-step .noUi-handle").first
    step.focus()
    assert "step 1 of" in notebook.changes(lambda: title(notebook, f"{SPIKES}-maps"), lambda: step.press("ArrowRight"))
    assert notebook.python(f"{view}.step.value") == 1
    changed = notebook.changes(
        lambda: title(notebook, f"{SPIKES}-raster"), lambda: type_into(notebook, f"{SPIKES}-sample", "3")
    )
    assert "sample 3 (class" in changed
    maps = notebook.panel.locator(f"{SPIKES}-maps .nsewdrag").first
    box = maps.bounding_box()
    place = {"x": 0.45 * box["width"], "y": 0.45 * box["height"]}
    chosen = notebook.changes(lambda: notebook.python(f"{view}.neuron.value"), lambda: maps.click(position=place))
    notebook.until(lambda: f"neuron {chosen}" in title(notebook, f"{SPIKES}-membrane"))
    message = notebook.panel.locator(f"{SPIKES}-message").first
    notebook.changes(message.text_content, lambda: type_into(notebook, f"{SPIKES}-sample", "99"))
    assert "sample must be a whole number from 0 to 11, got 99." in message.text_content()
    notebook.changes(message.text_content, lambda: type_into(notebook, f"{SPIKES}-sample", "3"))


def check_kernels(notebook: Notebook) -> None:
    """A layer by key, a pair by click."""
    view = notebook.widget("KernelExplorer")
    layer = notebook.panel.locator(f"{KERNELS}-layer select").first
    total = notebook.changes(lambda: title(notebook, f"{KERNELS}-spectrum"), lambda: layer.select_option(index=1))
    assert notebook.python(f"{view}.layer.value") != "all"
    assert "log|det K| = Σ log|λ| = " in total
    heat = notebook.panel.locator(f"{KERNELS}-panels .nsewdrag").first
    box = heat.bounding_box()
    pair = notebook.panel.locator(f"{KERNELS}-pair").first
    place = {"x": 0.9 * box["width"], "y": 0.1 * box["height"]}
    said = notebook.changes(pair.text_content, lambda: heat.click(position=place))
    rest = {"x": 0.9 * box["width"], "y": 0.5 * box["height"]}
    assert said != notebook.changes(pair.text_content, lambda: heat.hover(position=rest))
    said = pair.text_content()
    assert f"sample {notebook.python(f'{view}.first.value')} (class" in said


def check_lif(notebook: Notebook) -> None:
    """The current by key; a time constant that is none is told."""
    view = notebook.widget("LIFPlayground")
    current = notebook.panel.locator(f"{LIF}-amplitude .noUi-handle").first
    current.focus()
    notebook.changes(lambda: notebook.draws(f"{LIF}-traces"), lambda: current.press("ArrowRight"))
    assert notebook.python(f"{view}.amplitude.value") == pytest.approx(1.15)
    message = notebook.panel.locator(f"{LIF}-message").first
    notebook.changes(message.text_content, lambda: type_into(notebook, f"{LIF}-tau", "0.5"))
    assert "tau must be above 1 step" in message.text_content()
    notebook.changes(message.text_content, lambda: type_into(notebook, f"{LIF}-tau", "2"))
