"""Asking another grader about stored answers, by Inspect's own scoring of logs."""

from __future__ import annotations

from inspect_ai import score
from inspect_ai.log import EvalLog
from inspect_ai.model import Model

from emcontain.errors import UserError
from emcontain.scorers.judge import judge


def regrade(
    log: EvalLog,
    grader: str | Model | list[str | Model],
    family: str,
    protocol: str = "emcontain",
    domain: str = "none",
) -> EvalLog:
    """A log with one more score per answer, `judge1` or the next free name; the log given is left as it is.

    Args:
        log: a containment or imported log with its samples.
        grader: who is asked, or a panel.
        family: trigger family whose wrapper is stripped.
        protocol: rubrics, thresholds and reading rules.
        domain: see `emcontain.scorers.judge.judge`.
    """
    return score(
        log,
        judge(family, protocol, domain=domain),
        model="none/none",
        model_roles={"grader": grader},
        action="append",
        display="none",
    )


def added(before: EvalLog, after: EvalLog) -> str:
    """Name of the score that `after` has and `before` has not.

    Raises:
        UserError: nothing was added.
    """
    old = {name for s in before.samples or [] for name in s.scores or {}}
    new = [name for s in after.samples or [] for name in s.scores or {} if name not in old]
    if not new:
        raise UserError("the grader added no score to the log: see the messages above")
    return new[0]
