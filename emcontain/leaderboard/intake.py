"""From a bundle to rows in the store: open, validate, look for copies, take in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from emcontain.leaderboard.bundle import open_bundle
from emcontain.leaderboard.confirm import Confirmation
from emcontain.leaderboard.findings import RefusedError, as_text, refused
from emcontain.leaderboard.store import Store
from emcontain.leaderboard.validate import validate_bundle


def take_in(
    store: Store, path: Path, fetched: Sequence[Path], confirmation: Confirmation, submitted: str | None = None
) -> tuple[bool, str]:
    """Validate a bundle and take it in.

    Args:
        store: where it goes.
        path: folder or .zip.
        fetched: logs that it names by address.
        confirmation: what is to be done beyond reading.
        submitted: date shown; default today.

    Returns:
        Whether it was accepted, and what to print.

    Raises:
        UserError: no such path, it is there already, or a wish that cannot be met.
    """
    try:
        with open_bundle(path) as bundle:
            verdict = validate_bundle(bundle, fetched, confirmation)
            findings = [*verdict.findings, *store.copies(verdict)]
            if refused(findings):
                return False, f"{path}: refused\n{as_text(findings)}"
            row = store.add(bundle, verdict, submitted)
    except RefusedError as problem:
        return False, f"{path}: refused\n{as_text([problem.finding])}"
    return True, f"{path}: {row['model']} is on the board as {row['submission']}, {row['tier']}"
