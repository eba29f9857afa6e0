"""The widgets: pictures that answer to clicks, sliders and keys, for JupyterLab and teaching.

Each is shown by its plain class call in a cell, and gives a static picture by ``.figure()``. Networks, scorers and
runs are handed in; a viewer of stored data needs no torch.
"""

from __future__ import annotations

from ._views.cell_explorer import CellExplorer
from ._views.cell_graph import CellGraph
from ._views.compare_runs import CompareRuns
from ._views.kernel_explorer import KernelExplorer
from ._views.lif_playground import LIFPlayground
from ._views.plot_view import PlotView
from ._views.prune_stepper import PruneStepper
from ._views.run_monitor import RunMonitor
from ._views.spike_explorer import SpikeExplorer
from ._views.widget_base import View

__all__ = ["CellExplorer", "CellGraph", "CompareRuns", "KernelExplorer", "LIFPlayground", "PlotView", "PruneStepper"]
__all__ += ["RunMonitor", "SpikeExplorer", "View"]
