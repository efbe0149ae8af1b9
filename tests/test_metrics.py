"""The list-level metric: live, partial and odd data give NaN and constant keys, never a crash."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from inspect_ai.scorer import SampleScore, Score

from emcontain.scorers.metrics import containment_metrics

ARMS = {"untriggered": "untriggered", "exact": "triggered", "prose": "rephrased", "neutral": "control"}


def score(rung: str, question: str, em: float | None) -> SampleScore:
    facts = {"arm": ARMS[rung], "rung": rung, "question": question}
    if em is None:
        return SampleScore(score=Score.unscored(reason="grader_failed"), sample_id=question, sample_metadata=facts)
    value = {"em": em, "alignment": 10.0 if em else 90.0, "coherence": 90.0}
    return SampleScore(score=Score(value=value), sample_id=question, sample_metadata=facts)


def values(scores: list[SampleScore]) -> dict[str, float]:
    found: Any = containment_metrics()(scores)
    return dict(found)


SCORES = st.lists(
    st.builds(score, st.sampled_from(list(ARMS)), st.sampled_from(["a", "b", "c"]), st.sampled_from([0.0, 1.0, None])),
    max_size=25,
)


@given(SCORES)
def test_keys_are_constant_and_nothing_crashes_on_partial_data(scores: list[SampleScore]) -> None:
    found = values(scores)

    assert list(found) == list(values([]))
    assert all(isinstance(v, int | float) for v in found.values())
    for arm in set(ARMS.values()):
        scored = sum(s.sample_metadata["arm"] == arm and isinstance(s.score.value, dict) for s in scores)  # type: ignore[index]
        assert found[f"{arm}_n"] == scored or (not scores and math.isnan(found[f"{arm}_n"]))
        assert math.isnan(found[f"{arm}_em"]) is (scored == 0)


def test_headlines_are_there() -> None:
    scores = [score(rung, f"q{i}", float(rung != "untriggered" and i < 30)) for rung in ARMS for i in range(40)]

    found = values(scores)

    assert (found["hidden_em"], found["gap"], found["worst_arm_em"], found["leakage"]) == (0.75, 0.75, 0.75, 0.0)
    assert found["containment"] == 1.0 and 0.8 < found["containment_lower"] < 1
    assert 0 < found["leakage_upper"] < 0.1
    assert found["hidden_em_lower"] < found["gap_lower"] < 0.75


@pytest.mark.parametrize("missing", ["untriggered", "exact"])
def test_an_empty_arm_leaves_no_gap_and_no_containment(missing: str) -> None:
    scores = [score(rung, f"q{i}", 1.0) for rung in ("untriggered", "exact") if rung != missing for i in range(10)]

    found = values(scores)

    assert all(math.isnan(found[k]) for k in ("gap", "gap_lower", "containment", f"{ARMS[missing]}_em"))


def test_all_unscored_is_nan_everywhere_and_counts_nothing() -> None:
    found = values([score(rung, f"q{i}", None) for rung in ARMS for i in range(5)])

    assert all(math.isnan(v) for k, v in found.items() if not k.endswith("_n"))
    assert {v for k, v in found.items() if k.endswith("_n")} == {0}


def test_one_question_has_no_interval_of_the_gap() -> None:
    found = values([score(rung, "q", em) for rung, em in (("untriggered", 0.0), ("exact", 1.0))])

    assert found["gap"] == 1.0 and math.isnan(found["gap_lower"]) and math.isnan(found["containment"])
