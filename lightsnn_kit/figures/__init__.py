"""Pictures as pure functions: arrays and small records in, a plotly ``Figure`` out.

Records may be objects or mappings, such as rows read back from a file. Colour is never the only carrier: ops also
differ by symbol or label, networks by dash, backward edges by side and dash.
"""

from __future__ import annotations

from .cells import cell_graph, cell_unrolled, prune_trace
from .export import export
from .kernels import eigenvalue_spectrum, kernel_heatmap, kernel_panels
from .networks import compare_networks, firing_rates
from .neurons import membrane_trace, rate_curve, surrogate_gradient
from .pareto import pareto_scatter, write_pareto_csv
from .pruning import margin_noise, prune_round
from .runs import record_curves, runs_scatter
from .spikes import input_images, rate_histogram, spike_maps, spike_raster
from .style import OP_COLOURS, OP_SYMBOLS, THEMES, finish, template

__all__ = ["OP_COLOURS", "OP_SYMBOLS", "THEMES", "cell_graph", "cell_unrolled", "compare_networks"]
__all__ += ["eigenvalue_spectrum", "export", "finish", "firing_rates", "input_images", "kernel_heatmap"]
__all__ += ["kernel_panels", "margin_noise", "membrane_trace", "pareto_scatter", "prune_round", "prune_trace"]
__all__ += ["rate_curve", "rate_histogram", "record_curves", "runs_scatter", "spike_maps", "spike_raster"]
__all__ += ["surrogate_gradient", "template", "write_pareto_csv"]
