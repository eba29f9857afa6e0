"""Checkers of the lessons' exercises. Each looks at type and shape first, then at values, and says what to look at.

``check_x(answer)`` prints a line if the answer holds, and raises ``NotYet`` with a hint if not. Beside it stands
``wrong_x``, a typical wrong answer, which the tests require it to refuse.
"""

from .cell import check_cell_step, check_conv_op, wrong_cell_step, wrong_conv_op
from .distances import (
    check_hamming_kernel,
    check_log_det,
    check_sahd_kernel,
    wrong_hamming_kernel,
    wrong_log_det,
    wrong_sahd_kernel,
)
from .gradient import check_atan_backward, check_count_gradient, wrong_atan_backward, wrong_count_gradient
from .league import (
    LEAGUE_SETS,
    check_entry,
    check_pairs_right,
    league_cells,
    league_table,
    read_entries,
    wrong_entry,
    wrong_pairs_right,
)
from .neuron import (
    GOLDEN_INPUTS,
    GOLDEN_POTENTIALS,
    GOLDEN_SPIKES,
    check_lif_step,
    check_period,
    check_spike_counts,
    wrong_lif_step,
    wrong_period,
    wrong_spike_counts,
)
from .pruning import (
    check_edge_value,
    check_num_scores,
    check_one_round,
    wrong_edge_value,
    wrong_num_scores,
    wrong_one_round,
)
from .tools import NotYet, fold, need, need_tensor, unfold

__all__ = [
    "GOLDEN_INPUTS",
    "GOLDEN_POTENTIALS",
    "GOLDEN_SPIKES",
    "LEAGUE_SETS",
    "NotYet",
    "check_atan_backward",
    "check_cell_step",
    "check_conv_op",
    "check_count_gradient",
    "check_edge_value",
    "check_entry",
    "check_hamming_kernel",
    "check_lif_step",
    "check_log_det",
    "check_num_scores",
    "check_one_round",
    "check_pairs_right",
    "check_period",
    "check_sahd_kernel",
    "check_spike_counts",
    "fold",
    "league_cells",
    "league_table",
    "need",
    "need_tensor",
    "read_entries",
    "unfold",
    "wrong_atan_backward",
    "wrong_cell_step",
    "wrong_conv_op",
    "wrong_count_gradient",
    "wrong_edge_value",
    "wrong_entry",
    "wrong_hamming_kernel",
    "wrong_lif_step",
    "wrong_log_det",
    "wrong_num_scores",
    "wrong_one_round",
    "wrong_pairs_right",
    "wrong_period",
    "wrong_sahd_kernel",
    "wrong_spike_counts",
]
