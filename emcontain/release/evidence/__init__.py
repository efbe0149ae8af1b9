"""One verdict in the formats that other tools read; one small writer each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from emcontain.release.evidence.cyclonedx import ml_bom
from emcontain.release.evidence.html import page
from emcontain.release.evidence.in_toto import statement
from emcontain.release.evidence.json_file import schema_json, verdict_json
from emcontain.release.evidence.junit import junit_xml
from emcontain.release.evidence.markdown import summary
from emcontain.release.evidence.model_card import card, eval_results
from emcontain.release.evidence.sarif import sarif
from emcontain.release.records import Verdict

WRITERS: dict[str, Callable[[Verdict], str]] = {
    "verdict.json": verdict_json,
    "verdict.schema.json": schema_json,
    "verdict.html": page,
    "junit.xml": junit_xml,
    "summary.md": summary,
    "verdict.sarif": sarif,
    "model_card.md": card,
    ".eval_results/emcontain.yaml": eval_results,
    "ml-bom.cdx.json": ml_bom,
    "test-result.intoto.json": statement,
}


def write_evidence(verdict: Verdict, folder: Path, sign_key: Path | None = None) -> list[Path]:
    """Write every evidence file.

    Args:
        verdict: what was decided.
        folder: made if missing; files of an earlier verdict are overwritten.
        sign_key: private key to sign the folder with, or None.

    Returns:
        The files' paths.

    Raises:
        UserError: signing is not installed, or the key cannot be used.
    """
    written = []
    for name, write in WRITERS.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(write(verdict), encoding="utf-8")
        written.append(path)
    if sign_key is not None:
        from emcontain.release.evidence.signing import sign

        written.append(sign(folder, sign_key))
    return written
