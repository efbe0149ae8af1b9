from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

from emcontain.statistics.contrasts import LinearContrast, contrast, differences, paired_t
from emcontain.statistics.multiplicity import holm
from emcontain.statistics.ratios import Bounded, question_correlation, ratios
from tests.answers import TABLES, Table, answers, counts, drawn, plain


@given(TABLES, TABLES)
def test_contrast_turns_round_with_its_arms(first: Table, second: Table) -> None:
    one, other = contrast(answers(first), answers(second)), contrast(answers(second), answers(first))

    expected = (-other.difference, -other.upper, -other.lower, other.p)
    assert (one.difference, one.lower, one.upper, one.p) == pytest.approx(expected, abs=1e-9, nan_ok=True)
    assert one.questions == other.questions == len(first.keys() & second.keys())


@given(TABLES, TABLES)
def test_contrast_interval_holds_the_difference_and_always_has_a_width(first: Table, second: Table) -> None:
    found = contrast(answers(first), answers(second))

    if found.questions >= 2:
        assert -1 <= found.lower <= found.difference <= found.upper <= 1
        assert found.lower < found.upper
        assert 0 < found.p <= 1


@pytest.mark.parametrize(("hits", "n"), [(1, 2), (7, 10), (20, 30)])
def test_the_same_answers_twice_do_not_show_the_same_rate(hits: int, n: int) -> None:
    row, ones = np.zeros((1, n)), np.ones((1, n))
    row[0, :hits] = 1

    lower, upper = LinearContrast([(row, ones), (row, ones)], (1, -1)).bounds(0.025)

    # At least what one more answer on either side would make of it.
    assert lower[0] < -1 / n and upper[0] > 1 / n


@pytest.mark.parametrize("n", [4, 10])
def test_few_pairs_seldom_exclude_a_drop_that_is_there(n: int) -> None:
    draw = np.random.default_rng(3)
    before, after, ones = (draw.random((2000, n)) < 0.7), (draw.random((2000, n)) < 0.5), np.ones((2000, n))

    lower, _ = LinearContrast([(after * ones, ones), (before * ones, ones)], (1, -1)).bounds(0.025)

    assert np.mean(lower > -0.2) <= 0.025


@given(TABLES, TABLES, st.randoms(use_true_random=False))
def test_order_of_answers_does_not_matter(first: Table, second: Table, shuffle: random.Random) -> None:
    shuffled = answers(first)
    shuffle.shuffle(shuffled)

    one, other = contrast(answers(first), answers(second)), contrast(shuffled, answers(second))

    expected = (other.difference, other.lower, other.upper)
    assert (one.difference, one.lower, one.upper) == pytest.approx(expected, nan_ok=True, abs=1e-9)


@given(st.integers(0, 2**32 - 1))
def test_with_many_differing_questions_it_is_the_paired_t_interval_widened_on_the_long_side(seed: int) -> None:
    rng = np.random.default_rng(seed)
    hits = [drawn(rng, share, 0.3, 60, 6, 1) for share in (0.5, 0.3)]
    values = (hits[0] - hits[1])[0] / 6

    (found,) = differences(counts(hits[0], 6), counts(hits[1], 6))

    mean, lower, upper = paired_t(values)
    theirs = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (lower, upper) == pytest.approx((theirs.low, theirs.high))
    assert found.difference == pytest.approx(mean)
    skewed_up = stats.skew(values) > 0
    assert (found.lower == pytest.approx(lower)) is bool(skewed_up)
    assert (found.upper == pytest.approx(upper)) is not bool(skewed_up)
    assert found.lower <= lower + 1e-12 and found.upper >= upper - 1e-12


@pytest.mark.parametrize(("on", "off"), [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0)])
def test_equal_differences_never_give_an_interval_without_width(on: float, off: float) -> None:
    found = contrast(answers(plain([on] * 56)), answers(plain([off] * 56)))

    assert found.difference == on - off
    assert -1 <= found.lower <= found.difference <= found.upper <= 1
    assert found.upper - found.lower > 0.05


@given(st.integers(2, 30), st.integers(1, 4), st.floats(0.01, 0.9), st.floats(0.01, 0.9), st.integers(0, 99))
def test_p_value_and_interval_say_the_same(questions: int, epochs: int, one: float, two: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = (counts(drawn(rng, r, 0.3, questions, epochs, 1), epochs) for r in (one, two))
    (found,) = differences(first, second)

    at_p = 1 - found.p

    if 1e-6 < found.p < 1 - 1e-6:
        (slightly_wider,) = differences(first, second, at_p + 0.01 * found.p)
        (slightly_narrower,) = differences(first, second, at_p - 0.01 * found.p)
        assert slightly_wider.lower <= 0 <= slightly_wider.upper
        assert slightly_narrower.lower > 0 or slightly_narrower.upper < 0


def test_contrast_uses_questions_scored_in_both_arms_only() -> None:
    first: Table = {"a": [1.0, 1.0], "b": [1.0], "c": [None], "d": [1.0]}
    second: Table = {"a": [0.0, 1.0], "b": [0.0], "c": [0.0], "e": [1.0]}

    found = contrast(answers(first), answers(second))

    assert (found.difference, found.questions) == (0.75, 2)


def test_without_common_questions_it_is_nan() -> None:
    found = contrast(answers({"a": [1.0]}), answers({"b": [0.0]}))

    assert found.questions == 0
    assert all(map(math.isnan, (found.difference, found.lower, found.upper, found.p)))


def test_one_question_has_a_difference_but_no_interval() -> None:
    found = contrast(answers({"a": [1.0, 1.0]}), answers({"a": [0.0, 1.0]}))

    assert (found.difference, found.questions) == (0.5, 1)
    assert all(map(math.isnan, (found.lower, found.upper, found.p)))


def test_wider_confidence_gives_a_wider_interval() -> None:
    table = answers({f"q{i}": [float(i % 3 == 0), float(i % 4 == 0)] for i in range(30)})
    nothing = answers({f"q{i}": [0.0] for i in range(30)})

    usual, wide = contrast(table, nothing), contrast(table, nothing, confidence=0.99)

    assert wide.lower < usual.lower and wide.upper > usual.upper


@pytest.mark.parametrize(("on", "off", "epochs"), [(0.2, 0.01, 7), (0.01, 0.002, 7), (0.2, 0.2, 1)])
def test_contrasts_cover_what_they_say_where_t_alone_may_not(on: float, off: float, epochs: int) -> None:
    rng = np.random.default_rng(8)
    parts = []
    for share in (on, off):
        hits = drawn(rng, share, 0.4, 56, epochs, 800)
        parts.append((hits, np.full(hits.shape, float(epochs))))

    lower, upper = LinearContrast(parts, (1, -1)).bounds(0.025)

    assert np.mean((lower <= on - off) & (on - off <= upper)) >= 0.93


@given(st.lists(st.one_of(st.floats(1e-6, 1), st.just(math.nan)), max_size=12))
def test_holm_is_that_of_statsmodels_and_leaves_the_untestable_out(p_values: list[float]) -> None:
    found = holm(p_values)

    known = [p for p in p_values if not math.isnan(p)]
    theirs = iter(multipletests(known, method="holm")[1] if known else [])
    assert found == pytest.approx([math.nan if math.isnan(p) else next(theirs) for p in p_values], nan_ok=True)


@given(st.integers(0, 2**32 - 1))
def test_ratio_of_symmetric_intervals_is_fiellers(seed: int) -> None:
    rng = np.random.default_rng(seed)
    y = rng.normal(2, 1, 25)
    x = 0.5 * y + rng.normal(0, 1, 25)
    t = stats.t.ppf(0.975, 24)
    (a, b), v = (x.mean(), y.mean()), np.cov(x, y) / 25
    g = t**2 * v[1, 1] / b**2
    assert g < 1
    spread = (
        t
        / b
        * math.sqrt(v[0, 0] - 2 * a / b * v[0, 1] + (a / b) ** 2 * v[1, 1] - g * (v[0, 0] - v[0, 1] ** 2 / v[1, 1]))
    )
    fieller = [(a / b - g * v[0, 1] / v[1, 1] + side * spread) / (1 - g) for side in (-1, 1)]

    halves = t * np.sqrt(np.diag(v))
    found = ratios(
        Bounded(*(np.array([n]) for n in (a, a - halves[0], a + halves[0]))),
        Bounded(*(np.array([n]) for n in (b, b - halves[1], b + halves[1]))),
        question_correlation(x[None, :], y[None, :]),
    )

    assert (found.lower[0], found.upper[0]) == pytest.approx(fieller, rel=1e-6)


def test_no_ratio_over_what_may_be_nothing() -> None:
    one = Bounded(np.array([0.2]), np.array([0.1]), np.array([0.3]))
    perhaps_nothing = Bounded(np.array([0.2]), np.array([0.0]), np.array([0.4]))

    assert math.isnan(ratios(one, perhaps_nothing, np.zeros(1)).estimate[0])
    assert math.isfinite(ratios(one, one, np.zeros(1)).upper[0])
