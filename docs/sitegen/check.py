"""Checks the finished site: every link and anchor leads somewhere in it, and no page loads anything from elsewhere.

python docs/sitegen/check.py site
"""

from __future__ import annotations

import sys
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADS = {("script", "src"), ("img", "src"), ("link", "href"), ("iframe", "src"), ("source", "src"), ("object", "data")}
"""Tag and attribute of what a browser fetches by itself."""


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[tuple[str, str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.ids |= {v for k, v in given.items() if k in ("id", "name") and v}
        self.links += [(tag, k, given[k] or "") for k in ("href", "src", "data") if k in given]


@cache
def _read(path: Path) -> _Page:
    page = _Page()
    page.feed(path.read_text(encoding="utf-8"))
    return page


def problems(site: Path) -> list[str]:
    """One line per link that leads nowhere or thing that is loaded from elsewhere.

    Args:
        site: the folder that was built.
    """
    found = []
    for path in sorted(site.rglob("*.html")):
        where = path.relative_to(site)
        for tag, attribute, target in _read(path).links:
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:
                if (tag, attribute) in LOADS and parts.scheme != "data":
                    found.append(f"{where}: loads {target}")
                continue
            aim = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            aim = aim / "index.html" if aim.is_dir() else aim
            if not aim.is_file():
                found.append(f"{where}: {target} is not there")
            elif parts.fragment and aim.suffix == ".html" and unquote(parts.fragment) not in _read(aim).ids | {""}:
                found.append(f"{where}: {target} has no such anchor")
    for path in sorted(site.rglob("*.css")):
        text = path.read_text(encoding="utf-8")
        found += [f"{path.relative_to(site)}: loads {u}" for u in ("url(http", "url(//", '@import "http') if u in text]
    return found


def main() -> int:
    """Print the problems; 1 where there are any."""
    site = Path(sys.argv[1])
    found = problems(site)
    print(*found, sep="\n", file=sys.stderr)
    print(f"{site}: {len(list(site.rglob('*.html')))} pages, {len(found)} broken links")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
