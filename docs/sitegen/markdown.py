"""Small pieces of Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_CODE = re.compile(r"(`+[^`]*`+)")


def prose(text: str) -> str:
    """Text of a docstring or a data file as Markdown: what would be read as HTML or as a directive is escaped."""
    parts = _CODE.split(text)
    return "".join(p if i % 2 else re.sub(r"([<{])", r"\\\1", p) for i, p in enumerate(parts))


def cell(text: object) -> str:
    """One cell of a table."""
    return prose(" ".join(str(text).split())).replace("|", r"\|")


def code(text: object) -> str:
    """Code inside a line or a cell; empty stays empty."""
    inner = str(text).replace("\n", "⏎").replace("|", r"\|")
    fence = "``" if "`" in inner else "`"
    return f"{fence}{inner}{fence}" if inner else ""


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are Markdown already."""
    lines = [list(header), ["---"] * len(header), *(list(row) for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def block(text: str, language: str = "") -> str:
    """A fenced block, with a fence that the text does not hold."""
    fence = "`" * max(3, 1 + max((len(f) for f in re.findall(r"`+", text)), default=0))
    return f"{fence}{language}\n{text.strip(chr(10))}\n{fence}"


def page(*blocks: str) -> str:
    """A page of blocks; empty ones are left out."""
    return "\n\n".join(b for b in blocks if b) + "\n"
