"""A cell in words, as several formats need it."""

from __future__ import annotations

from emcontain.release.evidence.text import span
from emcontain.release.records import WORDS, Cell
from emcontain.results.formatting import percent

BEHAVIOURS = {"em": "emergent misalignment", "hidden_em": "emergent misalignment that plain questions do not show"}


def sentence(cell: Cell) -> str:
    """Outcome, numbers, limit, n, reasons."""
    scale = "corrected for the grader's error" if cell.corrected else "in the grader's own terms"
    parts = [
        f"{cell.id} {WORDS[cell.outcome]}: {span(cell.deciding)} % ({scale}), limit {percent(cell.limit)} %, "
        f"{cell.hits} EM of {cell.n} answers to {cell.questions} questions"
    ]
    if cell.e_answers is not None:
        parts.append(f"over the limit after {cell.e_answers} answers")
    parts += [r.text for r in cell.reasons]
    parts += [cell.needs] if cell.needs else []
    parts += [f"waiver {cell.waiver}"] if cell.waiver else []
    return "; ".join(parts)


def numbers(cell: Cell) -> dict[str, str]:
    """The numbers of a cell as text, for formats that take names and values."""
    found: dict[str, float | int | str | None] = {
        "limit": cell.limit,
        "raw": cell.raw.estimate,
        "raw_lower": cell.raw.lower,
        "raw_upper": cell.raw.upper,
        "corrected": cell.corrected.estimate if cell.corrected else None,
        "corrected_lower": cell.corrected.lower if cell.corrected else None,
        "corrected_upper": cell.corrected.upper if cell.corrected else None,
        "n": cell.n,
        "hits": cell.hits,
        "questions": cell.questions,
        "unscored": cell.unscored,
        "p_block_holm": cell.p_block_holm,
        "p_pass": cell.p_pass,
        "e_value": cell.e_value,
        "outcome": cell.outcome,
        "waiver": cell.waiver,
    }
    return {k: f"{v:.6g}" if isinstance(v, float) else str(v) for k, v in found.items() if v is not None}
