"""One verdict in the formats that other tools read; one small writer each."""

from __future__ import annotations

from pathlib import Path

from emcontain.release.evidence.json_file import verdict_json
from emcontain.release.records import Verdict


def write_evidence(verdict: Verdict, folder: Path, sign_key: Path | None = None) -> list[Path]:
    """Write every evidence file.

    Args:
        verdict: what was decided.
        folder: made if missing; files of an earlier verdict are overwritten.
        sign_key: private key to sign the folder with, or None.

    Returns:
        The files' paths.
    """
    folder.mkdir(parents=True, exist_ok=True)
    texts = {"verdict.json": verdict_json(verdict)}
    written = []
    for name, text in texts.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        written.append(path)
    return written
