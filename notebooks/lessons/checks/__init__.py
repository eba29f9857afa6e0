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
from .memory import (
    check_came_first,
    check_remember,
    check_shuffled,
    wrong_came_first,
    wrong_remember,
    wrong_shuffled,
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
from .prediction import (
    LEAST_TAU,
    SHOWN,
    check_ceiling,
    check_kendall_tau,
    check_my_score,
    trained_cells,
    wrong_ceiling,
    wrong_kendall_tau,
    wrong_my_score,
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
from .worth import check_break_even, check_mcnemar, check_synops, wrong_break_even, wrong_mcnemar, wrong_synops

__all__ = [
    "GOLDEN_INPUTS",
    "GOLDEN_POTENTIALS",
    "GOLDEN_SPIKES",
    "LEAST_TAU",
    "SHOWN",
    "NotYet",
    "check_atan_backward",
    "check_break_even",
    "check_came_first",
    "check_ceiling",
    "check_cell_step",
    "check_conv_op",
    "check_count_gradient",
    "check_edge_value",
    "check_hamming_kernel",
    "check_kendall_tau",
    "check_lif_step",
    "check_log_det",
    "check_mcnemar",
    "check_my_score",
    "check_num_scores",
    "check_one_round",
    "check_period",
    "check_remember",
    "check_sahd_kernel",
    "check_shuffled",
    "check_spike_counts",
    "check_synops",
    "fold",
    "need",
    "need_tensor",
    "trained_cells",
    "unfold",
    "wrong_atan_backward",
    "wrong_break_even",
    "wrong_came_first",
    "wrong_ceiling",
    "wrong_cell_step",
    "wrong_conv_op",
    "wrong_count_gradient",
    "wrong_edge_value",
    "wrong_hamming_kernel",
    "wrong_kendall_tau",
    "wrong_lif_step",
    "wrong_log_det",
    "wrong_mcnemar",
    "wrong_my_score",
    "wrong_num_scores",
    "wrong_one_round",
    "wrong_period",
    "wrong_remember",
    "wrong_sahd_kernel",
    "wrong_shuffled",
    "wrong_spike_counts",
    "wrong_synops",
]
