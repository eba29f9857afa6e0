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
    total = max(ms_seed + ms_image - ms_rest, ms_seed, ms_image)
    se, df = standard_error(table)
    assert se == pytest.approx(math.sqrt(total / 12))
    assert df == 2


@pytest.mark.parametrize(("seed_sd", "image_sd"), [(0.0, 1.0), (0.3, 1.0), (1.0, 0.1)])
def test_intervals_hold_the_true_difference_as_often_as_they_say(seed_sd, image_sd):
    """Three seeds, 100 images, no true difference, whatever varies; small p, too, which a correction asks for."""
    rng, tries, p = np.random.default_rng(1), 2000, []
    for _ in range(tries):
        table = seed_sd * rng.standard_normal((3, 1)) + image_sd * rng.standard_normal((1, 100))
        table = table + rng.standard_normal((3, 100))
        se, df = standard_error(table)
        p.append(2 * scipy.stats.t.sf(abs(table.mean()) / se, df))
    for level in (0.05, 0.01, 0.002):
        allowed = scipy.stats.binom.ppf(0.999, tries, level) / tries
        assert np.mean(np.array(p) < level) <= allowed, level


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
    assert (one.mean, one.p, one.decided) == (1, 0.125, False)  # four images: 2 / 2^4
    assert math.isnan(one.low)
    counts = [row(m, s, "1" * n + "0" * (8 - n)) for m, s, n in (("a", 0, 6), ("a", 1, 4), ("b", 0, 4), ("b", 1, 2))]
    [one] = compare([{k: v for k, v in each.items() if k != "right"} for each in counts], [("a", "b")])
    assert (one.mean, one.p, one.decided) == (0.25, 1.0, False)  # two equal differences say little


def test_one_seed_decides_nothing():
    rng = np.random.default_rng(5)
    [one] = compare([row("a", 0, rng.random(2000) < 0.6), row("b", 0, rng.random(2000) < 0.5)], [("a", "b")])
    assert one.p < 1e-6
    assert not one.decided


@pytest.mark.parametrize("key", ["test_sha256", "quick", "stand_in", "test_samples"])
def test_rows_of_other_test_parts_are_refused(key):
    rows = [row("a", 0, "10") | {key: 1}, row("b", 0, "11") | {key: 2}]
    with pytest.raises(ValueError, match=f"a, seed 0 and b, seed 0 were not tested alike: {key} is 1 and 2"):
        compare(rows, [("a", "b")])


def test_two_rows_of_a_method_and_seed_are_refused():
    with pytest.raises(ValueError, match="one row of each method and seed"):
        compare([row("a", 0, "10"), row("a", 0, "11"), row("b", 0, "11")], [("a", "b")])


def test_equal_methods_are_hardly_ever_told_apart():
    """Nine equal methods whose seeds vary, three seeds, all 36 pairs: 5 of 100 families may decide something."""
    rng, families = np.random.default_rng(7), 0
    for _ in range(60):
        shares = 0.5 + 0.07 * rng.standard_normal((9, 3))
        easy = 0.2 * rng.standard_normal(60)
        rows = [row(str(m), s, rng.random(60) < shares[m, s] + easy) for m in range(9) for s in range(3)]
        pairs = [(str(a), str(b)) for a in range(9) for b in range(a)]
        families += any(one.decided for one in compare(rows, pairs))
    assert families <= 8  # of 60, if 5 % is true: 99.9 % of the time


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_keeps_the_order_and_never_lowers_a_p(values):
    corrected = holm(values)
    assert all(p <= c <= 1 for p, c in zip(values, corrected, strict=True))
    assert all((a <= b) == (c <= d) or c == d for a, c in zip(values, corrected) for b, d in zip(values, corrected))  # noqa: B905
    assert right_of({}) is None
