"""The widgets: pictures that answer to clicks, sliders and keys, for JupyterLab and teaching.

Each is shown by its plain class call in a cell, and gives a static picture by ``.figure()``. Networks, scorers and
runs are handed in; a viewer of stored data needs no torch.
"""

from __future__ import annotations

from ._cell_explorer import CellExplorer
from ._cell_graph import CellGraph
from ._compare_runs import CompareRuns
from ._kernel_explorer import KernelExplorer
from ._lif_playground import LIFPlayground
from ._plot_view import PlotView
from ._prune_stepper import PruneStepper
from ._run_monitor import RunMonitor
from ._spike_explorer import SpikeExplorer
from ._widget_base import View

__all__ = ["CellExplorer", "CellGraph", "CompareRuns", "KernelExplorer", "LIFPlayground", "PlotView", "PruneStepper"]
__all__ += ["RunMonitor", "SpikeExplorer", "View"]
