"""Rank statistics against scipy, definitions written out, and numbers worked by hand, ties included."""

import itertools
import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from studies.ranks import (
    Interval,
    bootstrap,
    bootstrap_difference,
    has_trained,
    kendall_tau,
    kendall_tau_a,
    ordered_right,
    ordered_right_within,
    precision_at_k,
    regret,
    spearman,
    without_errors,
)

few = st.integers(0, 4)  # many ties
columns = st.integers(2, 9).flatmap(lambda n: st.tuples(*[st.lists(few, min_size=n, max_size=n)] * 2))
small_columns = st.integers(2, 5).flatmap(lambda n: st.tuples(*[st.lists(few, min_size=n, max_size=n)] * 2))


def tau_by_pairs(x, y):
    pairs = list(itertools.combinations(range(len(x)), 2))
    products = [np.sign(x[i] - x[j]) * np.sign(y[i] - y[j]) for i, j in pairs]
    untied = [sum(v[i] != v[j] for i, j in pairs) for v in (x, y)]
    return sum(products) / math.sqrt(untied[0] * untied[1]) if all(untied) else math.nan


@given(columns)
def test_tau_is_the_count_of_pairs(pair):
    x, y = pair
    assert kendall_tau(x, y) == pytest.approx(tau_by_pairs(x, y), nan_ok=True)


@given(columns)
def test_tau_a_and_pairs_ordered_right_are_counts_of_pairs(pair):
    x, y = pair
    pairs = list(itertools.combinations(range(len(x)), 2))
    products = [np.sign(x[i] - x[j]) * np.sign(y[i] - y[j]) for i, j in pairs]
    assert kendall_tau_a(x, y) == pytest.approx(sum(products) / len(pairs))
    differ = [product for product, (i, j) in zip(products, pairs, strict=True) if y[i] != y[j]]
    share = np.mean([(product + 1) / 2 for product in differ]) if differ else math.nan
    assert ordered_right(x, y) == pytest.approx(share, nan_ok=True)
    if len(set(x)) > 1 and len(differ) > 0:  # Somers' D with the accuracy as the given side
        assert 2 * ordered_right(x, y) - 1 == pytest.approx(scipy.stats.somersd(y, x).statistic)


def test_ties_are_no_advantage_by_tau_a():
    """Notebook 02's example: a coarse score that is never wrong, and a finer one with half of its ties turned wrong."""
    accuracy, coarse, fine = [80, 81, 86, 87, 88], [0, 0, 1, 2, 2], [0.2, 0.1, 1, 2.2, 2.1]
    assert kendall_tau(coarse, accuracy) == pytest.approx(8 / math.sqrt(80))
    assert kendall_tau_a(coarse, accuracy) == pytest.approx(0.8)  # 8 of 10 pairs are right, 2 tied
    assert kendall_tau_a(fine, accuracy) == pytest.approx(0.6)  # 8 right, 2 wrong
    assert ordered_right(coarse, accuracy) == pytest.approx(0.9)
    assert ordered_right(fine, accuracy) == pytest.approx(0.8)
    assert ordered_right([1, 1, 1], [80, 81, 82]) == 0.5
    assert kendall_tau_a([1, 1, 1], [80, 81, 82]) == 0.0
    assert kendall_tau_a([-math.inf, 1, 2], [80, 81, 82]) == ordered_right([-math.inf, 1, 2], [80, 81, 82]) == 1.0


@given(columns, st.randoms(use_true_random=False))
def test_pairs_within_groups_are_counted_alone(pair, draw):
    x, y = pair
    groups = [draw.randint(0, 1) for _ in x]
    together = [(i, j) for i, j in itertools.combinations(range(len(x)), 2) if groups[i] == groups[j] and y[i] != y[j]]
    right = [(np.sign(x[i] - x[j]) * np.sign(y[i] - y[j]) + 1) / 2 for i, j in together]
    expected = np.mean(right) if right else math.nan
    assert ordered_right_within(x, y, groups) == pytest.approx(expected, nan_ok=True)
    assert ordered_right_within(x, y, [0] * len(x)) == pytest.approx(ordered_right(x, y), nan_ok=True)


@given(small_columns)
def test_no_dealing_of_the_values_has_a_higher_tau_than_the_one_without_errors(pair):
    x, y = pair
    if len(set(x)) > 1 and len(set(y)) > 1:
        for statistic in (kendall_tau, ordered_right):
            best = max(statistic(list(dealt), y) for dealt in itertools.permutations(x))
            assert without_errors(statistic, x, y) == pytest.approx(best)


def test_the_limit_of_a_count_is_that_of_its_ties():
    accuracy = np.arange(322) + 80.0  # sizes of the classes of longest path in the committed study
    depth = np.repeat([1, 0, 3, 2], [155, 67, 9, 91])
    untied = 1 - sum(math.comb(n, 2) for n in (67, 155, 91, 9)) / math.comb(322, 2)
    assert (
        without_errors(kendall_tau, depth, accuracy)
        == pytest.approx(math.sqrt(untied))
        == pytest.approx(0.803, abs=1e-3)
    )


@given(columns)
def test_spearman_is_scipys(pair):
    x, y = pair
    if len(set(x)) > 1 and len(set(y)) > 1:
        assert spearman(x, y) == pytest.approx(scipy.stats.spearmanr(x, y).statistic)
    else:
        assert math.isnan(spearman(x, y))


def test_tau_by_hand():
    # pairs: 12 tied in x; 13 +, 14 +, 23 +, 24 -, 34 - -> (3 - 2) / sqrt(5 * 6)
    assert kendall_tau([1, 1, 2, 3], [1, 5, 9, 4]) == pytest.approx(1 / math.sqrt(30))


def test_a_dead_cell_ranks_last():
    assert kendall_tau([-math.inf, 1, 2], [80, 81, 82]) == 1.0
    assert spearman([-math.inf, -math.inf, 2], [80, 80, 82]) == pytest.approx(1.0)


def enumerated(score, accuracy, k, value):
    """Mean of ``value(order of x, order of y)`` over all ways to break ties."""
    n = len(score)
    orders = [[p for p in itertools.permutations(range(n)) if ranked(v, p)] for v in (score, accuracy)]
    return np.mean([value(set(p[:k]), set(q[:k])) for p in orders[0] for q in orders[1]])


def ranked(values, order):
    return all(values[a] >= values[b] for a, b in itertools.pairwise(order))


small = st.integers(2, 5).flatmap(
    lambda n: st.tuples(*[st.lists(st.integers(0, 2), min_size=n, max_size=n)] * 2, st.integers(1, n))
)


@given(small)
def test_precision_and_regret_are_means_over_broken_ties(case):
    x, y, k = case
    assert precision_at_k(x, y, k=k) == pytest.approx(enumerated(x, y, k, lambda p, q: len(p & q) / k))
    assert regret(x, y, k=k) == pytest.approx(enumerated(x, y, k, lambda p, _: max(y) - max(y[i] for i in p)))


def test_precision_and_regret_by_hand():
    accuracy = [88.7, 88.0, 87.0, 81.0]
    assert precision_at_k([4, 3, 2, 1], accuracy, k=2) == 1.0
    assert precision_at_k([1, 2, 3, 4], accuracy, k=2) == 0.0
    assert precision_at_k([0, 0, 0, 0], accuracy, k=2) == 0.5  # chance
    assert regret([4, 3, 2, 1], accuracy) == 0.0
    assert regret([0, 5, 5, 1], accuracy) == pytest.approx(88.7 - 87.5)
    assert regret([0, 5, 5, 1], accuracy, k=2) == pytest.approx(0.7)


def test_bootstrap_of_a_known_case():
    rng = np.random.default_rng(0)
    x = rng.normal(size=400)
    y = 0.6 * x + 0.8 * rng.normal(size=400)  # correlation 0.6, so tau is about 2/pi * asin(0.6) = 0.41
    interval = bootstrap(kendall_tau, x, y, resamples=200)
    assert interval.low < 2 / math.pi * math.asin(0.6) < interval.high
    assert interval.high - interval.low < 0.15
    assert interval.low > 0
    assert interval == bootstrap(kendall_tau, x, y, resamples=200)
    assert interval != bootstrap(kendall_tau, x, y, resamples=200, seed=1)


def test_groups_are_drawn_with_their_cells():
    score, accuracy, groups = [1, 2, 2, 1] * 10, [80, 81, 88, 87] * 10, [0, 0, 1, 1] * 10
    interval = bootstrap(ordered_right_within, score, accuracy, groups=groups, resamples=50)
    assert (interval.estimate, interval.low, interval.high) == (1.0, 1.0, 1.0)  # right within groups, if not between
    assert bootstrap(ordered_right, score, accuracy, resamples=50).high < 1


@pytest.mark.filterwarnings("error")
def test_an_interval_of_nothing_is_none_and_no_warning():
    interval = bootstrap(ordered_right_within, [1, 2, 3], [80, 81, 82], groups=[0, 1, 2], resamples=20)
    assert all(math.isnan(value) for value in (interval.estimate, interval.low, interval.high))


def test_a_paired_difference_is_tighter_than_its_parts():
    rng = np.random.default_rng(0)
    y = rng.normal(size=200)
    a = y + rng.normal(size=200)
    b = a + 0.1 * rng.normal(size=200)
    both = bootstrap_difference(kendall_tau, (a, b), y, resamples=200)
    alone = bootstrap(kendall_tau, a, y, resamples=200)
    assert both.high - both.low < (alone.high - alone.low) / 2
    assert both.estimate == pytest.approx(kendall_tau(a, y) - kendall_tau(b, y))
    assert bootstrap_difference(kendall_tau, (a, a), y, resamples=20) == Interval(0.0, 0.0, 0.0)


def test_collapsed_cells():
    assert has_trained([10, 14.9, 15.1, 88], chance=10).tolist() == [False, False, True, True]


@pytest.mark.parametrize("bad", [([1, 2], [1, 2, 3]), ([1], [1]), ([math.nan, 1], [1, 2]), ([1, 2], [1, -math.inf])])
def test_bad_columns(bad):
    for statistic in (kendall_tau, kendall_tau_a, ordered_right):
        with pytest.raises(ValueError, match=r"expected one score|NaN"):
            statistic(*bad)


@pytest.mark.parametrize("k", [0, 4, 1.0, True])
def test_bad_k(k):
    with pytest.raises(ValueError, match="k must be an integer from 1 to the number of cells"):
        precision_at_k([1, 2, 3], [1, 2, 3], k=k)
