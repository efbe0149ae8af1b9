"""Writes the generated reference pages below docs/reference."""

from __future__ import annotations

from pathlib import Path

from sitegen.api_pages import api_pages, task_page
from sitegen.command_pages import command_page
from sitegen.data_pages import PAGES

REFERENCE = Path(__file__).parents[1] / "reference"


def pages() -> dict[str, str]:
    """File name below docs/reference → Markdown."""
    found = {f"{name}.md": write() for name, write in PAGES.items()}
    found |= {"commands.md": command_page(), "tasks.md": task_page()}
    return found | {f"api/{name}.md": text for name, text in api_pages().items()}


def write_pages(folder: Path = REFERENCE) -> list[Path]:
    """Write the pages that changed, remove those that are no more, and return all of them."""
    wanted = {folder / name: text for name, text in pages().items()}
    for stale in set(folder.rglob("*.md")) - set(wanted) - {folder / "index.md"}:
        stale.unlink()
    for path, text in wanted.items():
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    return sorted(wanted)
