"""What a log says about its own making, sample by sample, for checking that its numbers follow from it.

`emcontain.results.ingest` reads what a log claims; this reads what Inspect wrote down while it happened: the requests
that were sent, the replies that came back, the score when it was given. Plain data out; knows no rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from inspect_ai.event import ModelEvent, ScoreEvent
from inspect_ai.log import EvalLog, EvalSample
from inspect_ai.model import ChatMessage

from emcontain.results.gradings import facts, own_score

_ATTACHED = "attachment://"


@dataclass(frozen=True)
class Call:
    """One request to a model and what came back.

    Attributes:
        model: Inspect's model string. role: `grader`, or empty for the model under test.
        turns: what was sent, as (role, text). reply: the text that came back; None where the call failed.
        stop_reason: why it stopped.
        tokens: the reply's tokens with their likeliest alternatives, as (token, ((token, log-probability), …)).
        config: the sampling settings that were sent.
    """

    model: str
    role: str
    turns: tuple[tuple[str, str], ...]
    reply: str | None
    stop_reason: str
    tokens: tuple[tuple[str, tuple[tuple[str, float], ...]], ...]
    config: dict[str, Any]


@dataclass(frozen=True)
class SampleAudit:
    """One sample.

    Attributes:
        id, epoch: the sample. metadata: arm, rung, question.
        question: the plain question, as the grader sees it.
        turns: system and user turns, as (role, text). answer: what the model said.
        failed: the sample ended with an error.
        score: the value that counts, or None where unscored. score_facts: what the scorer wrote beside it.
        score_names: every score the sample has.
        scored_as: the value the scorer gave at the time; None where the log keeps no events.
        calls: requests in order; None where the log keeps no events.
        answered_by: model id of the output. provider: what the provider wrote beside it.
    """

    id: str
    epoch: int
    metadata: dict[str, Any]
    question: str
    turns: tuple[tuple[str, str], ...]
    answer: str
    failed: bool
    score: dict[str, Any] | None
    score_facts: dict[str, Any]
    score_names: tuple[str, ...]
    scored_as: dict[str, Any] | None
    calls: tuple[Call, ...] | None
    answered_by: str
    provider: dict[str, Any]


@dataclass(frozen=True)
class LogAudit:
    """A log.

    Attributes:
        task, registry_name, file: what was run, what it is registered as, and the file it was run from, if any.
        task_version: the task's version. arguments: the task's arguments, defaults included.
        packages: versions of the packages that ran. created: ISO time.
        status: Inspect's. model: Inspect's model string. graders: the models bound to the role `grader`.
        planned_ids: sample ids of the data set. epochs: answers per sample.
        metrics: the numbers the log itself states. config: sampling settings of the plan.
        facts: the task's metadata. scorer: arguments of the scorer the rates come from.
        edits: number of edits that Inspect recorded in the log.
        samples: all of them.
    """

    task: str
    registry_name: str
    file: str | None
    task_version: int | str
    arguments: dict[str, Any]
    packages: dict[str, str]
    created: str
    status: str
    model: str
    graders: tuple[str, ...]
    planned_ids: tuple[str, ...]
    epochs: int
    metrics: dict[str, float]
    config: dict[str, Any]
    facts: dict[str, Any]
    scorer: dict[str, Any]
    edits: int
    samples: tuple[SampleAudit, ...]


def audit(log: EvalLog) -> LogAudit:
    """Everything checkable in a log that was read with its samples."""
    spec = log.eval
    scores = log.results.scores if log.results else []
    own = next((s for s in scores if s.scorer == "judge"), None)
    return LogAudit(
        task=spec.task,
        registry_name=spec.task_registry_name or "",
        file=spec.task_file,
        task_version=spec.task_version,
        arguments=dict(spec.task_args),
        packages=dict(spec.packages),
        created=str(spec.created),
        status=log.status,
        model=spec.model,
        graders=_graders(spec.model_roles),
        planned_ids=tuple(str(i) for i in spec.dataset.sample_ids or ()),
        epochs=spec.config.epochs or 1,
        metrics={name: float(m.value) for name, m in own.metrics.items()} if own else {},
        config=log.plan.config.model_dump(exclude_none=True),
        facts=dict(spec.metadata or {}),
        scorer=dict(own.params) if own else {},
        edits=len(log.log_updates or []),
        samples=tuple(_sample(s) for s in log.samples or []),
    )


def _graders(roles: dict[str, Any] | None) -> tuple[str, ...]:
    bound = (roles or {}).get("grader")
    listed = bound if isinstance(bound, list) else [bound]
    return tuple(str(getattr(g, "model", g)) for g in listed if g is not None)


def _sample(sample: EvalSample) -> SampleAudit:
    score = own_score(sample)
    about = facts(score)
    events = sample.events or []
    given = [e.score for e in events if isinstance(e, ScoreEvent) and not e.intermediate and e.scorer == "judge"]
    calls = tuple(_call(e, sample.attachments) for e in events if isinstance(e, ModelEvent))
    return SampleAudit(
        id=str(sample.id),
        epoch=sample.epoch,
        metadata=dict(sample.metadata),
        question=sample.input if isinstance(sample.input, str) else "",
        turns=tuple((m.role, m.text) for m in sample.messages if m.role in ("system", "user")),
        answer=sample.output.completion,
        failed=sample.error is not None,
        score=dict(score.value) if score is not None and isinstance(score.value, dict) else None,
        score_facts=about,
        score_names=tuple(sample.scores or {}),
        scored_as=next((dict(s.value) if isinstance(s.value, dict) else {} for s in given), None),
        calls=calls if events else None,
        answered_by=sample.output.model,
        provider=dict(sample.output.metadata or about.get("provider") or {}),
    )


def _call(event: ModelEvent, attachments: dict[str, str]) -> Call:
    output = event.output
    choice = output.choices[0] if output.choices else None
    logprobs = choice.logprobs.content if choice is not None and choice.logprobs is not None else []
    failed = bool(event.error or output.error)
    return Call(
        model=event.model,
        role=event.role or "",
        turns=_turns(event.input, attachments),
        reply=None if failed or choice is None else _attached(output.completion, attachments),
        stop_reason=str(output.stop_reason) if choice is not None else "",
        tokens=tuple((t.token, tuple((a.token, a.logprob) for a in t.top_logprobs or ())) for t in logprobs),
        config=event.config.model_dump(exclude_none=True),
    )


def _turns(messages: Sequence[ChatMessage], attachments: dict[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple((m.role, _attached(m.text, attachments)) for m in messages)


def _attached(text: str, attachments: dict[str, str]) -> str:
    return attachments.get(text.removeprefix(_ATTACHED), text) if text.startswith(_ATTACHED) else text
