"""Judged answers from elsewhere: JSON Lines or CSV, columns found by name or named by the user. Knows no harness."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emcontain.datafiles import read_jsonl, read_text
from emcontain.errors import UserError

# Field → column names it is found under, in order of preference.
COLUMNS: dict[str, tuple[str, ...]] = {
    "question_id": ("question_id", "qid"),
    "question": ("question", "prompt", "input"),
    "answer": ("answer", "response", "completion", "output"),
    "alignment": ("alignment_score", "alignment", "aligned"),
    "coherence": ("coherency_score", "coherence_score", "coherence", "coherent"),
    "domain": ("domain_score", "domain"),
    "arm": ("arm",),
    "model": ("model",),
}
REQUIRED = ("question", "answer", "alignment", "coherence")
_WORDS = {"CODE": "code", "REFUSAL": "refusal"}


@dataclass(frozen=True)
class Labelled:
    """One judged answer.

    Attributes:
        question_id: the cluster; the question's text where the file has no id.
        question, answer: texts; the answer as generated.
        alignment: 0-100, or None for code, refusals and missing labels.
        coherence: 0-100, or None where missing.
        domain: 0-100, or None.
        category: `answer`, `code`, `refusal`; None where a label is missing.
        arm, model: where the file says them.
    """

    question_id: str
    question: str
    answer: str
    alignment: float | None
    coherence: float | None
    domain: float | None = None
    category: str | None = "answer"
    arm: str | None = None
    model: str | None = None

    @property
    def missing(self) -> str | None:
        """Why there is no usable label, or None."""
        if self.coherence is None:
            return "no coherence label"
        return "no alignment label" if self.category is None else None


def read_labelled(path: Path, columns: Mapping[str, str] | None = None) -> list[Labelled]:
    """Read one file.

    Args:
        path: `.jsonl` or `.csv`.
        columns: field → column name, where the usual names (`COLUMNS`) do not fit.

    Raises:
        UserError: another kind of file, no rows, a missing column, or a score that is no number from 0 to 100.
    """
    if path.suffix == ".jsonl":
        rows: list[tuple[int, dict[str, Any]]] = read_jsonl(path)
    elif path.suffix == ".csv":
        reader = csv.DictReader(io.StringIO(read_text(path).removeprefix("\ufeff"), newline=""))
        rows = [(reader.line_num, row) for row in reader]
        ragged = next((number for number, row in rows if None in row), None)
        if ragged is not None:
            raise UserError(f"{path.name}: line {ragged} has more cells than the header: quote cells that hold commas")
    else:
        raise UserError(f"'{path}' is neither .jsonl nor .csv: convert it")
    if not rows:
        raise UserError(f"'{path}' has no rows: it needs at least one judged answer")
    found = _columns(path, {key for _, row in rows for key in row}, columns or {})
    read = [_row(f"{path.name}: line {number}", row, found) for number, row in rows]
    for field in ("alignment", "coherence"):
        values = [v for v in (getattr(r, field) for r in read) if v is not None]
        if len(values) > 1 and max(values) <= 1:
            raise UserError(f"{path.name}: no {field} is above 1: scores must be on a scale of 0 to 100")
    return read


def parse_columns(options: Iterable[str]) -> dict[str, str]:
    """`field=column` options as a mapping.

    Raises:
        UserError: an option without `=`, or an unknown field.
    """
    found = {}
    for option in options:
        field, equals, column = option.partition("=")
        if not equals or field not in COLUMNS:
            raise UserError(f"column option {option!r} is not field=column: fields are {', '.join(COLUMNS)}")
        found[field] = column
    return found


def _columns(path: Path, present: set[str], named: Mapping[str, str]) -> dict[str, str]:
    chosen = {}
    for field, usual in COLUMNS.items():
        options: Sequence[str] = (named[field],) if field in named else usual
        column = next((c for c in options if c in present), None)
        if column is None and (field in REQUIRED or field in named):
            raise UserError(
                f"{path.name}: no column for {field} ({' or '.join(options)}): it has {', '.join(sorted(present))}; "
                f"name it with --column {field}=…"
            )
        if column is not None:
            chosen[field] = column
    return chosen


def _row(where: str, row: Mapping[str, Any], columns: Mapping[str, str]) -> Labelled:
    def text(field: str) -> str:
        value = row.get(columns[field]) if field in columns else None
        return "" if value is None else str(value)

    question = text("question")
    if not question.strip():
        raise UserError(f"{where}: the question is empty")
    word = text("alignment").strip().upper()
    alignment = None if word in _WORDS else _score(where, "alignment", row.get(columns["alignment"]))
    return Labelled(
        question_id=text("question_id") or question,
        question=question,
        answer=text("answer"),
        alignment=alignment,
        coherence=_score(where, "coherence", row.get(columns["coherence"])),
        domain=_score(where, "domain", row.get(columns["domain"])) if "domain" in columns else None,
        category=_WORDS.get(word) or (None if alignment is None else "answer"),
        arm=text("arm") or None,
        model=text("model") or None,
    )


def _score(where: str, field: str, value: Any) -> float | None:
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    try:
        if isinstance(value, bool):
            raise ValueError
        number = float(value)
    except (TypeError, ValueError):
        raise UserError(f"{where}: {field} {value!r} is no number (CODE and REFUSAL are read as such)") from None
    if math.isnan(number):
        return None
    if not 0 <= number <= 100:
        raise UserError(f"{where}: {field} {number:g} is outside 0-100")
    return number
