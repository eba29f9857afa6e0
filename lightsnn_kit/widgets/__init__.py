"""The widgets: pictures that answer to clicks, sliders and keys, for JupyterLab and teaching.

Each is shown by its plain class call in a cell, and gives a static picture by ``.figure()``. Networks, scorers and
runs are handed in; a viewer of stored data needs no torch.
"""

from __future__ import annotations

from .base import View
from .cell_explorer import CellExplorer
from .cell_graph import CellGraph
from .cell_training import CellTraining
from .compare_runs import CompareRuns
from .kernel_explorer import KernelExplorer
from .lif_playground import LIFPlayground
from .plot_view import PlotView
from .prune_stepper import PruneStepper
from .run_monitor import RunMonitor
from .spike_explorer import SpikeExplorer

__all__ = ["CellExplorer", "CellGraph", "CellTraining", "CompareRuns", "KernelExplorer", "LIFPlayground", "PlotView"]
__all__ += ["PruneStepper", "RunMonitor", "SpikeExplorer", "View"]
