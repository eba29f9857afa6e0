"""Comparisons of methods: worked-out values, equality with scipy, and intervals that hold what they promise."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from lightsnn_kit.lab.comparisons import compare, holm, mcnemar, right_of, standard_error


def row(method: str, seed: int, right: np.ndarray | str, preset: str = "p") -> dict[str, object]:
    text = right if isinstance(right, str) else "".join(str(int(one)) for one in right)
    return {
        "preset": preset,
        "method": method,
        "seed": seed,
        "right": text,
        "test_accuracy": text.count("1") / len(text),
    }


def test_mcnemar_is_the_exact_binomial_test():
    a, b = row("a", 0, "1" * 8 + "0" * 2 + "1" * 5), row("b", 0, "0" * 8 + "1" * 2 + "1" * 5)
    assert mcnemar(a, b) == mcnemar(b, a) == pytest.approx(2 * (1 + 10 + 45) / 2**10)  # 2 or fewer of 10
    assert mcnemar(a, a) == 1.0
    with pytest.raises(ValueError, match="same test images"):
        mcnemar(a, row("b", 0, "10"))
    with pytest.raises(ValueError, match="tell what was right"):
        mcnemar(a, {"method": "old"})


def test_one_seed_is_a_paired_t_test_over_images_and_one_image_over_seeds():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 2, (2, 50))
    [one] = compare([row("a", 0, a), row("b", 0, b)], [("a", "b")])
    wanted = scipy.stats.ttest_rel(a, b)
    assert one.p == pytest.approx(wanted.pvalue)
    assert (one.low, one.high) == pytest.approx(tuple(wanted.confidence_interval()))
    old = [row("a", s, "1" * n + "0" * (20 - n)) for s, n in enumerate((12, 15, 13))]
    old += [row("b", s, "1" * n + "0" * (20 - n)) for s, n in enumerate((10, 11, 12))]
    for one in old:
        del one["right"]  # rows of earlier versions
    [one] = compare(old, [("a", "b")])
    wanted = scipy.stats.ttest_1samp([0.1, 0.2, 0.05], 0)
    assert (one.images, one.seeds, one.p) == (0, 3, pytest.approx(wanted.pvalue))


def test_the_standard_error_is_that_of_the_mean_squares():
    table = np.array([[1, 0, 1, 0], [1, 0, 0, -1], [1, 1, 1, 0]], float)
    grand = table.mean()
    ms_seed = 4 * ((table.mean(1) - grand) ** 2).sum() / 2
    ms_image = 3 * ((table.mean(0) - grand) ** 2).sum() / 3
    rest = table - table.mean(1, keepdims=True) - table.mean(0, keepdims=True) + grand
    ms_rest = (rest**2).sum() / 6
    total = ms_seed + ms_image - ms_rest
    se, df = standard_error(table)
    assert se == pytest.approx(math.sqrt(total / 12))
    assert df == pytest.approx(total**2 / (ms_seed**2 / 2 + ms_image**2 / 3 + ms_rest**2 / 6))


@pytest.mark.parametrize(("seed_sd", "image_sd"), [(0.0, 1.0), (0.3, 1.0), (1.0, 0.1)])
def test_intervals_hold_the_true_difference_as_often_as_they_say(seed_sd, image_sd):
    """Three seeds, 100 images, no true difference: at least 92 of 100 intervals hold 0, whatever varies."""
    rng, held, tries = np.random.default_rng(1), 0, 600
    for _ in range(tries):
        table = seed_sd * rng.standard_normal((3, 1)) + image_sd * rng.standard_normal((1, 100))
        table = table + rng.standard_normal((3, 100))
        se, df = standard_error(table)
        held += abs(table.mean()) <= scipy.stats.t.ppf(0.975, df) * se
    assert held / tries >= 0.92


def test_comparisons_made_together_are_corrected():
    rng = np.random.default_rng(3)
    rows = [row(m, s, rng.random(200) < share) for m, share in (("a", 0.9), ("b", 0.5), ("c", 0.88)) for s in range(3)]
    alone = [compare(rows, [("a", other)])[0] for other in ("b", "c")]
    together = compare(rows, [("a", "b"), ("a", "c"), ("a", "missing")])
    assert [one.p for one in alone] == [one.p for one in together]
    assert [one.corrected for one in together] == holm([one.p for one in alone])
    assert (together[0].decided, together[1].decided) == (True, False)
    with pytest.raises(ValueError, match="one preset, got p, q"):
        compare([*rows, row("a", 9, "11", "q")], [("a", "b")])


def test_equal_answers_are_no_difference():
    rows = [row(m, s, "1100") for m in "ab" for s in range(3)]
    [one] = compare(rows, [("a", "b")])
    assert (one.mean, one.low, one.high, one.p, one.decided) == (0, 0, 0, 1, False)
    always = [row("a", s, "1111") for s in range(3)] + [row("b", s, "0000") for s in range(3)]
    [one] = compare(always, [("a", "b")])
    assert (one.mean, one.low, one.high, one.p, one.decided) == (1, 1, 1, 0, True)


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_keeps_the_order_and_never_lowers_a_p(values):
    corrected = holm(values)
    assert all(p <= c <= 1 for p, c in zip(values, corrected, strict=True))
    assert all((a <= b) == (c <= d) or c == d for a, c in zip(values, corrected) for b, d in zip(values, corrected))  # noqa: B905
    assert right_of({}) is None
