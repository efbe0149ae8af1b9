"""A Markdown summary for step summaries and comments."""

from __future__ import annotations

from emcontain.release.evidence.text import HEADER, row
from emcontain.release.records import WORDS, Verdict

_MARKS = {"pass": "✅", "block": "⛔", "inconclusive": "❓", "waived": "⚠️"}


def summary(verdict: Verdict) -> str:
    """Verdict, table, what is open, controls, waivers, what it does not say."""
    subject = verdict.subject
    lines = [
        f"## {_MARKS[verdict.outcome]} emcontain gate: {WORDS[verdict.outcome]}",
        "",
        cell_text(verdict.sentence),
        "",
        f"Model `{_code(subject.model)}`, adapter `{(subject.adapter_sha256 or 'none')[:12]}` "
        f"({subject.adapter_state}); policy {cell_text(verdict.policy_name)} `{verdict.policy_sha256[:12]}`; grader "
        f"`{_code(verdict.grader.name)}`; {verdict.created}",
        "",
        *table(verdict),
    ]
    sections = {
        "Faults of the measurement": [f.text for f in verdict.faults],
        "Open": [f"{c.id}: {'; '.join(r.text for r in c.reasons)}" for c in verdict.cells if c.reasons],
        "To settle it": [f"{c.id}: {c.needs}" for c in verdict.cells if c.needs],
        "Controls": [f"{c.kind}: {'as it must' if c.right else 'WRONG'}: {c.text}" for c in verdict.controls],
        "Waivers": [f"{w.id} until {w.expires}, {w.approver}: {w.reason} ({w.state})" for w in verdict.waivers],
    }
    for title, items in sections.items():
        if items:
            lines += ["", f"### {title}", "", *(f"- {cell_text(item)}" for item in items)]
    lines += ["", cell_text(verdict.residual), "", cell_text(verdict.error_rates)]
    return "\n".join(lines) + "\n"


def table(verdict: Verdict) -> list[str]:
    """The cells as a Markdown table."""
    rows = [[cell_text(value) for value in row(cell)] for cell in verdict.cells]
    return [f"| {' | '.join(line)} |" for line in (HEADER, ["---"] * len(HEADER), *rows)]


def cell_text(text: str) -> str:
    """Text that cannot leave its place in Markdown: names and reasons come from files."""
    for mark in ("\\", "|", "<", ">", "`", "*", "_", "[", "]", "@"):
        text = text.replace(mark, f"\\{mark}" if mark not in "<>@" else {"<": "&lt;", ">": "&gt;", "@": "&#64;"}[mark])
    return " ".join(text.split())


def _code(text: str) -> str:
    return " ".join(text.replace("`", "'").split())
