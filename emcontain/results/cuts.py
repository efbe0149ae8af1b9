"""The thresholds a run was graded with."""

from __future__ import annotations

from emcontain.grading.verdict import Cuts
from emcontain.results.records import Run


def cuts_of(run: Run) -> Cuts:
    """The thresholds a run was graded with; the default ones where the log does not say."""
    stated = (run.protocol.get("protocol") or {}).get("cuts")
    return Cuts(**stated) if stated else Cuts()
