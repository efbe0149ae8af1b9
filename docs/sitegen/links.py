"""Links to data files lead to their files on GitHub, and on the site to the reference page that shows them."""

from __future__ import annotations

import posixpath
import re
from typing import Any

SHOWN = {
    "emcontain/grading/protocols": "docs/reference/grading.md",
    "emcontain/grading/rubrics": "docs/reference/grading.md",
    "emcontain/release/policies": "docs/reference/policies.md",
    "emcontain/training/recipes": "docs/reference/recipes.md",
    "emcontain/triggers/families": "docs/reference/families.md",
}
"""Folder of data files → page that shows them."""

_LINK = re.compile(r"\]\(([^)#:\s]+)\)")


def on_site(text: str, document: str) -> str:
    """The Markdown of a page with such links changed.

    Args:
        text: the page.
        document: its path in the repository, without the ending.
    """
    folder = posixpath.dirname(document)

    def changed(found: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(folder, found[1]))
        for files, shown in SHOWN.items():
            if target == files or target.startswith(files + "/"):
                return f"]({posixpath.relpath(shown, folder or '.')})"
        return found[0]

    return _LINK.sub(changed, text)


def source_read(app: Any, document: str, source: list[str]) -> None:
    """What Sphinx calls for every page."""
    source[0] = on_site(source[0], document)
