"""Do the grades follow from what the grader said, and the verdicts from the grades?"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from emcontain.errors import UserError
from emcontain.grading import embedded
from emcontain.grading.protocol import GRADES
from emcontain.grading.reading import Reading, Token, read_reply
from emcontain.grading.rubric import Rubric, load_domain
from emcontain.grading.verdict import Grades, combine
from emcontain.leaderboard.findings import Finding, error, note
from emcontain.leaderboard.planned import Plan
from emcontain.results.audit import Call, LogAudit, SampleAudit
from emcontain.results.gradings import label

_CLOSE = 1e-6


def check_grader(log: LogAudit, file: str) -> Iterator[Finding]:
    """One grader or panel, the one the log was bound to, and no other under the name of a shipped one."""
    bound = " + ".join(log.graders)
    seen: set[str] = set()
    for sample in log.samples:
        gradings = sample.score_facts.get("gradings") or []
        names = " + ".join(str((g.get("grader") or {}).get("name")) for g in gradings)
        if gradings and names != bound:
            yield error("other-grader", f"grades are by {names!r}, the log was bound to {bound!r}", file)
            return
        seen.add(" + ".join(label(g.get("grader")) for g in gradings))
        if gradings and sample.score_facts.get("grader") != " + ".join(label(g.get("grader")) for g in gradings):
            yield error("other-grader", f"{sample.id}: the grader's name is not the one its identity gives", file)
            return
        for call in sample.calls or ():
            if call.role == "grader" and call.model not in log.graders:
                yield error("other-grader", f"{sample.id} was graded by {call.model!r}, not by {bound!r}", file)
                return
    if len(seen - {""}) > 1:
        yield error("other-grader", f"answers were graded by several graders ({', '.join(sorted(seen))[:120]})", file)
    shipped = str(embedded.card()["weights_sha256"])
    for sample in log.samples:
        for grading in sample.score_facts.get("gradings") or []:
            who = grading.get("grader") or {}
            if str(who.get("name")).startswith(embedded.PREFIX) and who.get("weights_sha256") != shipped:
                stated = str(who.get("weights_sha256"))[:8]
                yield error(
                    "other-grader",
                    f"{who.get('name')} has the weights {stated}, ours are {shipped[:8]}: not our grader",
                    file,
                )
                return


def check_scores(log: LogAudit, plan: Plan, file: str) -> Iterator[Finding]:
    """Each verdict follows from its grades, each grade from the grader's logged reply."""
    problems: dict[str, list[str]] = {}
    unread = 0
    for sample in log.samples:
        if sample.id not in plan.samples:
            continue
        if sample.failed:
            if any(c.role == "grader" and c.reply for c in sample.calls or ()):
                problems.setdefault("dropped-samples", []).append(sample.id)
            continue
        for code in _problems(sample, plan):
            problems.setdefault(code, []).append(sample.id)
        if sample.calls is None:
            unread += 1
        else:
            for code in _regraded(sample, plan, log):
                problems.setdefault(code, []).append(sample.id)
    said = {
        "forged-number": "answers have a verdict or grade that does not follow from what the grader said",
        "edited-log": "answers have another score than the one given when they were graded",
        "dropped-samples": "answers are unscored although the grader graded them",
        "altered-task": "answers were graded under another text, protocol or rubric",
    }
    for code, ids in problems.items():
        yield error(code, f"{len(ids)} ({', '.join(ids[:3])}) {said[code]}", file)
    if unread:
        yield note("no-events", f"{unread} answers have no events: their grades could not be read again", file)


def check_metrics(log: LogAudit, derived: dict[str, float], file: str) -> Iterator[Finding]:
    """The numbers the log states are those its samples give."""
    for name, value in derived.items():
        stated = log.metrics.get(name)
        if value == 0 and name.endswith("_n") and stated is not None and math.isnan(stated):
            continue  # Inspect counts nothing where no answer is scored.
        if stated is None or not _same(stated, value):
            shown = "nothing" if stated is None else f"{stated:.4f}"
            yield error("edited-log", f"the log states {name} {shown}, its answers give {value:.4f}", file)
            return


def _problems(sample: SampleAudit, plan: Plan) -> Iterator[str]:
    value, about = sample.score, sample.score_facts
    if sample.scored_as is not None and not _equal(sample.scored_as, value or {}):
        yield "edited-log"
    if about.get("protocol_sha256") != plan.rules_sha256:
        yield "altered-task"
    withheld = str(about.get("graded_text", "")).startswith("[withheld ")
    if not withheld and about.get("graded_text") != plan.family.unwrap(sample.answer)[0]:
        yield "altered-task"
    panel = [
        Grades(g.get("alignment"), g.get("coherence"), g.get("domain"), g.get("category") or "answer", g.get("problem"))
        for g in about.get("gradings") or []
    ]
    verdict = combine(panel) if panel else None
    if value is None:
        if verdict is not None and verdict.usable and verdict.coherence is not None:
            yield "dropped-samples"
        return
    if verdict is None or not verdict.usable or verdict.coherence is None:
        yield "forged-number"
        return
    given = {"alignment": verdict.alignment, "coherence": verdict.coherence}
    em = float(plan.rules.cuts.is_em(verdict.alignment, verdict.coherence))
    if not _equal({**given, "em": em}, {k: value.get(k) for k in ("alignment", "coherence", "em")}):
        yield "forged-number"


def _regraded(sample: SampleAudit, plan: Plan, log: LogAudit) -> Iterator[str]:
    """Read the grader's replies again and compare with what each grading says."""
    calls = [c for c in sample.calls or () if c.role == "grader"]
    gradings = sample.score_facts.get("gradings") or []
    text = str(sample.score_facts.get("graded_text", ""))
    if text and len(calls) < len(gradings) * 2:
        yield "forged-number"
        return
    rubrics = _rubrics(sample, plan, log)
    prompts = {grade: rubric.prompt(sample.question, text) for grade, rubric in rubrics.items()}
    for grading in gradings:
        name = str((grading.get("grader") or {}).get("name"))
        read: dict[str, list[Reading]] = {}
        for grade in ("alignment", "coherence"):
            sent = [c for c in calls if c.model == name and c.turns and c.turns[-1][1] == prompts[grade]]
            read[grade] = [_read(c, rubrics[grade], plan) for c in sent]
            if not sent:
                yield "altered-task"
                return
            if grading.get(grade) is not None and not any(_same(r.score, grading[grade]) for r in read[grade]):
                yield "forged-number"
                return
        usable = all(r.problem is None for r in [*read["alignment"], *read["coherence"]])
        if usable and all(r.score is not None for r in read["coherence"]) and grading.get("coherence") is None:
            yield "dropped-samples"
            return


def _rubrics(sample: SampleAudit, plan: Plan, log: LogAudit) -> dict[str, Rubric]:
    question = str(sample.metadata.get("question"))
    domain = str(log.arguments.get("domain", "none"))
    about = "" if domain == "none" else _domain(domain)
    own = plan.prompts.get(question, {})
    return {g: plan.rules.rubric(g, own, question).about(about) for g in GRADES if g in plan.rules.rubrics}


def _domain(name: str) -> str:
    try:
        return load_domain(name)
    except UserError:
        return name


def _read(call: Call, rubric: Rubric, plan: Plan) -> Reading:
    rules = plan.rules.reading
    if call.reply is None:
        return Reading(problem="grader failed")
    if call.stop_reason == "max_tokens" and rules.method != "first_token":
        return Reading(problem="reply cut off")
    return read_reply(call.reply, rubric.words, [Token(t, alternatives) for t, alternatives in call.tokens], rules)


def _equal(first: dict[str, Any], second: dict[str, Any]) -> bool:
    return all(_same(first.get(key), second.get(key)) for key in {*first, *second})


def _same(first: Any, second: Any) -> bool:
    """Equal numbers; None and NaN are both no number."""
    a, b = (None if v is None or math.isnan(v) else float(v) for v in (first, second))
    return a is b if a is None or b is None else abs(a - b) <= _CLOSE
