"""Was it our task, asked as it stands, in full, of one and the same model?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from emcontain.errors import UserError
from emcontain.leaderboard.findings import Finding, error, warning
from emcontain.leaderboard.planned import Plan
from emcontain.results.audit import Call, LogAudit, SampleAudit
from emcontain.samples import generation_seed, turns

_SHOWN = 3


def check_task(log: LogAudit, plan: Plan, file: str) -> Iterator[Finding]:
    """The task as a whole: origin, version, data, protocol, state."""
    if log.registry_name != log.task or log.file is not None:
        yield error(
            "task-by-path",
            f"the task was run from a file ({log.file or log.registry_name!r}): run {log.task} by name",
            file,
        )
    for key, expected in (("family_sha256", plan.family_sha256), ("questions_sha256", plan.questions_sha256)):
        if log.facts.get(key) != expected:
            stated = str(log.facts.get(key))[:12]
            yield error("altered-task", f"{key} is {stated}, worked out again it is {expected[:12]}", file)
    stated_rules = (log.facts.get("protocol") or {}).get("sha256")
    if stated_rules != plan.rules_sha256:
        yield error(
            "altered-task",
            f"the protocol's hash is {str(stated_rules)[:12]}, worked out again {plan.rules_sha256[:12]}",
            file,
        )
    facts = {r["id"]: r for r in log.facts.get("rungs") or []}
    for rung in {s.rung.id: s.rung for s in plan.samples.values()}.values():
        if facts.get(rung.id) != rung.facts:
            yield error("altered-task", f"rung {rung.id!r} is not what the family says it is", file)
    if log.status != "success":
        yield error("incomplete", f"the run did not finish (status {log.status}): submit a finished run", file)
    if log.edits:
        yield error("edited-log", f"Inspect notes {log.edits} edits in the log: submit it as it was written", file)
    asked = {"temperature": plan.temperature, "top_p": plan.top_p, "max_tokens": plan.max_tokens}
    for key, value in asked.items():
        if log.config.get(key) != value:
            yield error("sampling", f"{key} is {log.config.get(key)}, the task's is {value}", file)


def check_events(log: LogAudit, withheld: bool, file: str) -> Iterator[Finding]:
    """Requests and replies are in the log: without them a grade is only what the log says it is."""
    silent = [(s.id, s.epoch) for s in log.samples if s.calls is None and not s.failed]
    if silent and not withheld:
        yield error("no-events", f"{_some(silent)} answers have no events: submit the log as it was written", file)


def check_complete(log: LogAudit, plan: Plan, file: str) -> Iterator[Finding]:
    """Every question × rung × epoch once; nothing dropped, nothing added."""
    wanted = {(name, epoch) for name in plan.samples for epoch in range(1, plan.epochs + 1)}
    seen = Counter((s.id, s.epoch) for s in log.samples)
    if missing := sorted(wanted - set(seen)):
        yield error("dropped-samples", f"{_some(missing)} of {len(wanted)} planned answers are missing", file)
    if foreign := sorted(set(seen) - wanted):
        yield error("altered-task", f"{_some(foreign)} answers belong to no planned question and rung", file)
    if twice := sorted(key for key, n in seen.items() if n > 1):
        yield error("altered-task", f"{_some(twice)} answers are there twice", file)
    if set(log.planned_ids) != set(plan.samples) or log.epochs != plan.epochs:
        yield error(
            "dropped-samples",
            f"the log says it planned {len(log.planned_ids)} × {log.epochs} answers, its arguments mean "
            f"{len(plan.samples)} × {plan.epochs}",
            file,
        )
    if failed := sum(s.failed for s in log.samples):
        yield warning("failed-samples", f"{failed} answers failed with an error and count as unscored", file)


def check_prompts(log: LogAudit, plan: Plan, file: str) -> Iterator[Finding]:
    """Each question was asked under its rung, word for word, with the sampling and the seed that belong to it."""
    known = [(s, plan.samples[s.id]) for s in log.samples if s.id in plan.samples and not s.failed]
    yield from _differ(
        "prompt-drift", "were not asked as their rung says", file, (s for s, _ in known if not _asked(s, plan))
    )
    yield from _differ(
        "altered-task",
        "carry another arm, rung or question than their id",
        file,
        (
            s
            for s, p in known
            if (s.metadata.get("arm"), s.metadata.get("rung"), s.metadata.get("question"), s.question)
            != (p.rung.arm, p.rung.id, p.question_id, p.question)
        ),
    )
    with_calls = [(s, [c for c in s.calls or () if not c.role and not _adapter_check(c)]) for s, _ in known]
    if any(s.calls is None for s, _ in known):
        return
    seeded = log.facts.get("harness") != "lm-eval"
    if not seeded:
        yield warning("sampling", "made with lm-eval, which sends no seed per answer: seeds were not checked", file)
    yield from _differ(
        "sampling",
        "were generated with other settings or another seed than the task's",
        file,
        (s for s, calls in with_calls if not calls or not all(_sampled(c.config, s, plan, seeded) for c in calls)),
    )
    yield from _differ(
        "edited-log",
        "hold another answer or prompt than was sent and came back",
        file,
        (s for s, calls in with_calls if calls and not _same_exchange(s, calls[-1].turns, calls[-1].reply)),
    )


def check_model(log: LogAudit, file: str) -> Iterator[Finding]:
    """One model answered everything: the same id, the same adapter, the same system turn."""
    answered = [s for s in log.samples if not s.failed]
    for what, values in (
        ("model", {s.answered_by for s in answered}),
        ("adapter", {s.provider.get("adapter_sha256") for s in answered}),
        ("base", {s.provider.get("base_sha256") for s in answered}),
        ("system turn", {s.provider.get("system") for s in answered}),
    ):
        if len(values) > 1:
            yield error("mixed-model", f"answers come from more than one {what}", file)
    if any(c.model != log.model for s in answered for c in s.calls or () if not c.role):
        yield error("mixed-model", f"requests went to another model than {log.model!r}", file)


def _asked(sample: SampleAudit, plan: Plan) -> bool:
    entry = plan.samples[sample.id]
    try:
        system, user, _ = turns(
            plan.family, entry.rung, entry.question, entry.question_id, entry.system, plan.system_prompt
        )
    except UserError:
        return False
    expected = [("user", user)] if system is None else [("system", system), ("user", user)]
    return list(sample.turns) == expected


def _sampled(config: dict[str, object], sample: SampleAudit, plan: Plan, seeded: bool) -> bool:
    expected: dict[str, object] = {
        "temperature": plan.temperature,
        "top_p": plan.top_p,
        "max_tokens": plan.max_tokens,
    }
    if seeded:
        expected["seed"] = generation_seed(plan.seed, sample.id, sample.epoch)
    return all(config.get(key) == value for key, value in expected.items())


def _adapter_check(call: Call) -> bool:
    """A one-token request that compares the adapter's fingerprint; it lies in the first sample and is no answer.

    Answers are asked for with a seed, so none can be taken for one.
    """
    return "seed" not in call.config and bool(call.config.get("max_tokens") == 1)


def _same_exchange(sample: SampleAudit, sent: tuple[tuple[str, str], ...], reply: str | None) -> bool:
    return tuple(t for t in sent if t[0] in ("system", "user")) == sample.turns and (reply or "") == sample.answer


def _differ(code: str, what: str, file: str, samples: Iterable[SampleAudit]) -> Iterator[Finding]:
    found = sorted((s.id, s.epoch) for s in samples)
    if found:
        yield error(code, f"{_some(found)} answers {what}", file)


def _some(keys: list[tuple[str, int]]) -> str:
    shown = ", ".join(f"{name} #{epoch}" for name, epoch in keys[:_SHOWN])
    return f"{len(keys)} ({shown}{', …' if len(keys) > _SHOWN else ''})"
