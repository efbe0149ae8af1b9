"""A titled table: one structure for terminal, page and JSON."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Section:
    """A titled table.

    Attributes:
        title: heading. note: what the columns mean, in a sentence or two.
        header: column names. rows: cells, one list per row.
    """

    title: str
    note: str
    header: list[str]
    rows: list[list[str]]
