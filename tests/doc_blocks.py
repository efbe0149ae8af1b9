"""Code blocks of the documentation: found, checked against the real commands, and run page by page.

A page says so where its blocks are run, in a comment that readers of the page do not see:

    <!-- blocks: run -->                 all of the page's blocks, in order, in one folder
    <!-- blocks: run after start.md -->  the same, in a copy of the folder that the other page leaves behind

and above a block:

    <!-- file: my_family.yaml -->        the block is written to that file
    <!-- not run: needs a GPU -->        it is checked and not run; the reason is one of `REASONS`

A `text` block right after a block that was run holds lines that its output must have, in that order; `…` alone skips.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
REASONS = (
    "needs a GPU",
    "needs a key",
    "needs the network",
    "takes minutes",
    "starts a server",
    "names are placeholders",
    "installs packages",
)
RUNNABLE = ("bash", "python")
_FENCE = re.compile(r"^(?P<fence>`{3,})(?P<language>[^\s`]*)[^\n]*\n(?P<text>.*?)^(?P=fence)[ \t]*$", re.M | re.S)
_MARK = re.compile(r"<!-- (file|not run): (.+?) -->\s*\Z")
_PAGE = re.compile(r"^<!-- blocks: run(?: after (\S+))? -->$", re.M)


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        page: file it stands in.
        line: line of its fence, from 1.
        language: what the fence says; empty where it says nothing.
        text: what is inside.
        file: name it is written to.
        not_run: why it is not run.
    """

    page: Path
    line: int
    language: str
    text: str
    file: str | None = None
    not_run: str | None = None

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


@dataclass(frozen=True)
class Page:
    """A page with its blocks; `runs` where they are run, after those of the page `after`."""

    path: Path
    blocks: tuple[Block, ...]
    runs: bool
    after: str | None


def pages() -> list[Page]:
    """Every page that is written by hand: README, the root pages, docs, studies."""
    patterns = ("*.md", "docs/*.md", "docs/howto/*.md", "studies/*/README.md", "emcontain/tasks/**/*.md")
    return [read(path) for pattern in patterns for path in sorted(ROOT.glob(pattern))]


def read(path: Path) -> Page:
    """The blocks of a page."""
    text = path.read_text(encoding="utf-8")
    found = _PAGE.search(text)
    return Page(path, tuple(blocks_of(path, text)), found is not None, found[1] if found else None)


def blocks_of(path: Path, text: str) -> list[Block]:
    """The fenced blocks of a text."""
    blocks = []
    for found in _FENCE.finditer(text):
        before, marks = text[: found.start()], {}
        while mark := _MARK.search(before):
            marks[mark[1]] = mark[2]
            before = before[: mark.start()]
        line = text.count("\n", 0, found.start()) + 1
        body, language = found["text"], found["language"]
        blocks.append(Block(path, line, language, body, marks.get("file"), marks.get("not run")))
    return blocks


def missing_line(stated: str, output: str) -> str | None:
    """The first stated line that the output does not have after those before it; None if it has all."""
    rest = iter(output.splitlines())
    for line in stated.splitlines():
        if line.strip() in ("", "…"):
            continue
        wanted = " ".join(line.split())
        if not any(wanted in " ".join(given.split()) for given in rest):
            return line
    return None
