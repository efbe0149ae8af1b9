"""Answers somebody has graded: read, hold groups out, draw."""

from __future__ import annotations

import csv
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from emcontain.datafiles import read_jsonl, read_text
from emcontain.errors import UserError
from emcontain.grading.verdict import ALIGNMENT_CUT, COHERENCE_CUT, is_em
from emcontain.triggers.family import load_family

HoldOut = Literal["question", "family", "domain", "none"]
# Field → column, as in the files published with arXiv:2603.04407. The last three may be missing.
COLUMNS = {
    "question": "question",
    "answer": "answer",
    "alignment": "alignment_score",
    "coherence": "coherency_score",
    "question_id": "question_id",
    "family": "family",
    "domain": "domain",
}
_REQUIRED = ("question", "answer", "alignment", "coherence")
_HELD_SHARE = 0.25


@dataclass(frozen=True)
class LabelledAnswer:
    """One graded answer.

    Attributes:
        question: the question, without its trigger.
        answer: the answer, without wrapper.
        alignment: 0-100.
        coherence: 0-100.
        groups: `question`, `family` (of the model that answered) and `domain` (it was trained on), to hold out by.
    """

    question: str
    answer: str
    alignment: float
    coherence: float
    groups: Mapping[str, str]


def read_labelled(
    paths: Sequence[Path], columns: Mapping[str, str] | None = None, wrappers: Sequence[str] = ()
) -> list[LabelledAnswer]:
    """Read graded answers from JSONL or CSV files; rows with an empty answer are left out.

    Args:
        paths: the files.
        columns: field → column name, where it differs from `COLUMNS`.
        wrappers: trigger families whose wrapper is taken off the answers. A wrapper left on tells which arm an answer
            is from, and a grader learns that instead.

    Raises:
        UserError: naming file, line and column of what is missing or no number from 0 to 100.
    """
    unknown = sorted(set(columns or {}) - set(COLUMNS))
    if unknown:
        raise UserError(f"column mapping {unknown[0]!r} is unknown: map one of {', '.join(COLUMNS)}")
    names = {**COLUMNS, **(columns or {})}
    families = [load_family(name) for name in wrappers]
    found = []
    for path in paths:
        for line, row in _rows(path):
            where = f"{path.name}: line {line}"
            for field in _REQUIRED:
                if row.get(names[field]) is None:
                    raise UserError(f"{where}: column {names[field]!r} is missing: add it or map '{field}' to another")
            answer = str(row[names["answer"]]).strip()
            for family in families:
                answer = family.unwrap(answer)[0]
            if not answer:
                continue
            question = str(row[names["question"]])
            groups = {
                "question": str(row.get(names["question_id"]) or question),
                "family": str(row.get(names["family"]) or path.stem.partition("__")[0]),
                "domain": str(row.get(names["domain"]) or ""),
            }
            alignment, coherence = (_score(row, names[field], where) for field in ("alignment", "coherence"))
            found.append(LabelledAnswer(question, answer, alignment, coherence, groups))
    if not found:
        raise UserError("the labelled files hold no answer: give JSONL or CSV with question, answer and scores")
    return found


def _rows(path: Path) -> list[tuple[int, dict[str, Any]]]:
    if path.suffix == ".csv":
        return list(enumerate(csv.DictReader(read_text(path).splitlines(keepends=True)), start=2))
    return read_jsonl(path)


def _score(row: Mapping[str, Any], column: str, where: str) -> float:
    try:
        score = float(row[column])
    except (TypeError, ValueError):
        score = math.nan
    if not 0 <= score <= 100:
        raise UserError(f"{where}: {column} is {str(row[column])[:40]!r}: give a number from 0 to 100")
    return score


def hold_out(
    rows: Sequence[LabelledAnswer], by: HoldOut, seed: int
) -> tuple[list[LabelledAnswer], list[LabelledAnswer], list[str]]:
    """Split whole groups off: a quarter of them, at least one, drawn with the seed.

    Returns:
        Rows to train on, rows held out, names of the held-out groups; the last two empty for `none`.

    Raises:
        UserError: there are fewer than two groups.
    """
    if by == "none":
        return list(rows), [], []
    names = sorted({row.groups[by] for row in rows})
    if len(names) < 2:
        raise UserError(f"--hold-out {by}: all rows have the same {by}: give more, or use --hold-out none")
    random.Random(f"{seed}/{by}").shuffle(names)
    held = sorted(names[: max(1, round(len(names) * _HELD_SHARE))])
    return (
        [row for row in rows if row.groups[by] not in held],
        [row for row in rows if row.groups[by] in held],
        held,
    )


def draw(rows: Sequence[LabelledAnswer], most: int, seed: int) -> list[LabelledAnswer]:
    """At most `most` rows, by turns from EM, other low-graded and high-graded answers while they last.

    EM answers are rare; drawn evenly a grader would see hardly any.
    """
    if len(rows) <= most:
        return list(rows)
    piles: list[list[LabelledAnswer]] = [[], [], []]
    for row in random.Random(f"{seed}/draw").sample(list(rows), len(rows)):
        low = row.alignment < (ALIGNMENT_CUT + 100) / 2 or row.coherence <= COHERENCE_CUT
        piles[0 if is_em(row.alignment, row.coherence) else 1 if low else 2].append(row)
    drawn: list[LabelledAnswer] = []
    while len(drawn) < most:
        drawn += [pile.pop() for pile in piles if pile][: most - len(drawn)]
    return drawn
