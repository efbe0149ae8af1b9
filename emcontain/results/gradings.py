"""Scores of one logged sample as gradings: of the log's own graders, and of those asked or brought in later."""

from __future__ import annotations

import math
import re
from typing import Any

from inspect_ai.log import EvalSample
from inspect_ai.scorer import Score

from emcontain.results.records import Grading

# The score a log began with.
OWN = "judge"
_NAMES = re.compile(r"(judge|human_grades)(\d*)")


def own_score(sample: EvalSample) -> Score | None:
    """The score a log began with: what its rates are made of."""
    return (sample.scores or {}).get(OWN)


def facts(score: Score | None) -> dict[str, Any]:
    """What the scorer wrote beside the numbers."""
    return (score.metadata or {}) if score is not None else {}


def gradings(sample: EvalSample) -> tuple[Grading, ...]:
    """Every grading of one sample, the log's own first."""
    found: list[Grading] = []
    for name, score in (sample.scores or {}).items():
        matched = _NAMES.fullmatch(name)
        if matched is None:
            continue
        second = name != OWN
        single = facts(score).get("gradings") or []
        found += [_of_grader(g, second) for g in single] or [_of_score(score, matched[1], second)]
    return tuple(found)


def _of_grader(record: dict[str, Any], second: bool) -> Grading:
    reading = (record.get("readings") or {}).get("alignment") or {}
    return Grading(
        grader=label(record.get("grader")),
        em=number(record.get("em")),
        alignment=number(record.get("alignment")),
        coherence=number(record.get("coherence")),
        domain=number(record.get("domain")),
        category=record.get("category"),
        method=reading.get("method"),
        problem=record.get("problem"),
        second=second,
    )


def verdict(score: Score) -> Grading:
    """A whole score as one grading: the panel's verdict where a panel graded."""
    return _of_score(score, "judge", True)


def _of_score(score: Score, kind: str, second: bool) -> Grading:
    value = score.value if isinstance(score.value, dict) else {}
    about = facts(score)
    em = number(value.get("em"))
    return Grading(
        grader=str(about.get("grader") or ("human" if kind == "human_grades" else "unknown")),
        em=em,
        alignment=number(value.get("alignment")),
        coherence=number(value.get("coherence")),
        domain=number(value.get("domain")),
        category=about.get("category") if em is not None else None,
        method=about.get("method"),
        problem=None if em is not None else str(score.reason or "unscored"),
        second=second,
    )


def label(identity: Any) -> str:
    """A grader's name, told apart by its weights where they are known."""
    if not isinstance(identity, dict):
        return str(identity or "unknown")
    weights = identity.get("weights_sha256")
    return str(identity.get("name")) + (f"@{weights[:8]}" if weights else "")


def number(value: Any) -> float | None:
    """A float, or None for anything that is no number."""
    if not isinstance(value, int | float) or math.isnan(value):
        return None
    return float(value)
