"""The notebooks and their widgets, as a reader meets them in JupyterLab."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from .lab import ROOT, Lab, bare_lab
from .notebook import PICTURES

pytestmark = pytest.mark.browser
NOTEBOOKS = ROOT / "notebooks"


def test_start_here(lab: Lab) -> None:
    with lab.notebook(NOTEBOOKS / "00_start_here.ipynb", quick=True) as notebook:
        notebook.run_all()
        notebook.check_plots(at_least=5)
        assert notebook.python("found.num_convs") > 0


STATIC = """import numpy as np
import plotly.graph_objects as go
from lightsnn_kit import figures
figures.spike_raster(np.eye(8))"""
PHOTO = "go.Figure(go.Image(z=np.full((4, 4, 3), (200, 40, 40))), layout=figures.template().layout)"


def test_static_figures_follow_the_theme(lab: Lab, write_notebook) -> None:
    """Without a reload; a photograph keeps its colours."""
    path = write_notebook(lab.folder / "static.ipynb", "", STATIC, PHOTO)
    with lab.notebook(path) as notebook:
        notebook.run_all()
        notebook.check_plots(at_least=2)
        for theme, low, high in (("dark", 0, 60), ("light", 200, 255), ("dark", 0, 60)):
            notebook.show_theme(theme)
            for number in (0, 1):
                drawn = notebook.panel.locator(".jp-RenderedPlotly").nth(number)
                drawn.scroll_into_view_if_needed()
                lab.page.mouse.move(2, 500)
                file = PICTURES / f"static-{number}-{theme}.png"

                def corner(drawn=drawn, file=file) -> float:
                    """The brightness of the background."""
                    lab.page.screenshot(path=file, clip=drawn.bounding_box())
                    return np.asarray(Image.open(file).convert("L")).astype(int)[3:9, 3:9].mean()

                notebook.until(lambda look=corner, low=low, high=high: low <= look() <= high, seconds=20)
                pixels = np.asarray(Image.open(file).convert("RGB")).astype(int)
                assert abs(pixels.mean() - pixels[3:9, 3:9].mean()) > 1  # something is drawn on it
            assert not lab.page.evaluate("() => document.body.matches('.lightsnn-saves')")
            red, green, blue = pixels[pixels.shape[0] // 2, pixels.shape[1] // 2]
            assert red > 150, theme
            assert max(green, blue) < 90, theme


BARE = """from lightsnn_kit.widgets import CellExplorer
CellExplorer('0303 0030 0003 0000')"""


def test_a_lab_without_our_settings(lab: Lab, write_notebook) -> None:
    """Static figures, a widget that is edited, and no request to elsewhere."""
    path = write_notebook(lab.folder / "bare.ipynb", "", STATIC, BARE)
    with bare_lab(lab.folder, lab) as bare, bare.notebook(path) as notebook:
        notebook.run_all()
        notebook.check_plots(at_least=1)
        cell = f"str({notebook.widget('CellExplorer')}.cell)"
        edge = notebook.panel.locator('.lightsnn-cell-explorer-graph [data-key="3<-0"]')
        edge.scroll_into_view_if_needed()
        edge.focus()
        after = notebook.changes(lambda: notebook.python(cell), lambda: notebook.page.keyboard.press("ArrowDown"))
        assert "|" in after


def test_a_report_opens_without_its_code(lab: Lab) -> None:
    with lab.notebook(NOTEBOOKS / "report.ipynb") as notebook:
        cells = notebook.panel.locator(".jp-CodeCell")
        assert cells.count() > 20
        assert cells.locator(".jp-InputArea-editor:visible").count() == 0
