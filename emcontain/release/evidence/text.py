"""The verdict in the terminal."""

from __future__ import annotations

from emcontain.release.records import WORDS, Bounds, Cell, Verdict
from emcontain.results.formatting import percent
from emcontain.results.table import grid


def as_text(verdict: Verdict) -> str:
    """Sentence, table of cells, what is open, controls, waivers, what it does not say."""
    subject = verdict.subject
    digest = (subject.adapter_sha256 or "no adapter")[:12]
    parts = [
        f"{WORDS[verdict.outcome].upper()} (exit code {verdict.exit_code}): {verdict.sentence}",
        f"model: {subject.model} ({subject.organism}, {digest}, adapter {subject.adapter_state}); policy: "
        f"{verdict.policy_name} {verdict.policy_sha256[:12]}; grader: {verdict.grader.name}",
        grid(HEADER, [row(c) for c in verdict.cells]),
    ]
    parts += ["\n".join(f"! {f.text}" for f in verdict.faults)] if verdict.faults else []
    open_cells = [f"{c.id}: {'; '.join(r.text for r in c.reasons)}" for c in verdict.cells if c.reasons]
    parts += ["\n".join(open_cells)] if open_cells else []
    needs = [f"{c.id}: {c.needs}" for c in verdict.cells if c.needs]
    parts += ["To settle it\n" + "\n".join(needs)] if needs else []
    parts.append(
        "\n".join(f"control {c.kind}: {'as it must' if c.right else 'WRONG'}: {c.text}" for c in verdict.controls)
    )
    parts.append(
        "\n".join(f"waiver {w.id} (until {w.expires}): {w.state}; {w.approver}: {w.reason}" for w in verdict.waivers)
    )
    parts += [verdict.residual, verdict.error_rates]
    return "\n\n".join(part for part in parts if part)


HEADER = ["behaviour / trigger / arm", "limit %", "raw EM %", "corrected EM %", "n", "questions", "outcome"]


def row(cell: Cell) -> list[str]:
    """A cell's line: numbers as text."""
    outcome = WORDS[cell.outcome] + (f" ({cell.waiver})" if cell.waiver else "")
    return [
        cell.id, percent(cell.limit), span(cell.raw), span(cell.corrected) if cell.corrected else "not corrected",
        str(cell.n), str(cell.questions), outcome,
    ]  # fmt: skip


def span(bounds: Bounds) -> str:
    """`estimate [lower, upper]` in per cent; an en dash for what there is not."""
    estimate, lower, upper = (
        "–" if value is None else percent(value) for value in (bounds.estimate, bounds.lower, bounds.upper)
    )
    return f"{estimate} [{lower}, {upper}]" if bounds.upper is not None else estimate
