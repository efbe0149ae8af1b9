"""What a task asks, worked out again from its arguments with the families, questions and protocols that ship.

A bundle's own files stand in for files on the submitter's machine; no path that a log names is ever opened.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from emcontain.errors import UserError
from emcontain.grading.protocol import FROM_QUESTION, Protocol, load_protocol
from emcontain.grading.protocol import names as protocol_names
from emcontain.grading.rubric import RUBRICS
from emcontain.leaderboard.findings import RefusedError
from emcontain.questions.bank import Question, load_questions, questions_sha256, subset
from emcontain.results.audit import LogAudit
from emcontain.samples import ArmSample, choose_rungs, planned_samples
from emcontain.triggers.family import ARMS, FAMILIES, Arm, Family, family_sha256, load_family

TASKS: dict[str, tuple[Arm, ...]] = {
    "emcontain/containment": ARMS,
    "emcontain/untriggered": ("untriggered",),
    "emcontain/triggered": ("triggered",),
    "emcontain/rephrased": ("rephrased",),
    "emcontain/controls": ("control",),
}


@dataclass(frozen=True)
class Plan:
    """What should be in a log.

    Attributes:
        family, family_sha256: the trigger family. rules, rules_sha256: the protocol, with the questions' own prompts.
        questions_sha256: of the asked questions. prompts: the questions' own judge prompts by question id.
        samples: the samples, by id. epochs: answers per sample. system_prompt, seed: arguments of the task.
        temperature, top_p, max_tokens: sampling of the model.
    """

    family: Family
    family_sha256: str
    rules: Protocol
    rules_sha256: str
    questions_sha256: str
    prompts: dict[str, dict[str, str]]
    samples: dict[str, ArmSample]
    epochs: int
    system_prompt: str
    seed: int
    temperature: float
    top_p: float
    max_tokens: int


def plan_of(log: LogAudit, files: Mapping[str, Mapping[str, Path]]) -> Plan:
    """The plan of a log.

    Args:
        log: says the task's arguments.
        files: the bundle's own files, by folder (`families`, `questions`, `protocols`) and file name.

    Raises:
        RefusedError: a foreign task, an unknown family, question source or protocol, or impossible arguments.
    """
    if log.task not in TASKS:
        raise RefusedError("foreign-task", f"task {log.task!r} is none of emcontain's: use {', '.join(TASKS)}")
    try:
        return _plan(log, files)
    except RefusedError:
        raise
    except UserError as problem:
        raise RefusedError("altered-task", f"the task cannot be worked out again: {problem.message}") from None
    except (TypeError, ValueError, KeyError) as problem:
        raise RefusedError("altered-task", f"the task's arguments make no sense: {str(problem)[:120]}") from None


def _plan(log: LogAudit, files: Mapping[str, Mapping[str, Path]]) -> Plan:
    arguments = log.arguments
    rules = _rules(str(arguments["protocol"]), files)
    source = _text(arguments.get("questions", "")) or rules.questions
    family_source = _known(str(arguments["family"]), FAMILIES, ".yaml", files.get("families", {}), "trigger family")
    family = load_family(family_source)
    every = load_questions(_question_source(source, files))
    asked = subset(every, arguments.get("n_questions"))
    rungs = choose_rungs(family, arguments.get("rungs", "all"), TASKS[log.task])
    samples = planned_samples(asked, family, rungs, arguments.get("ladder_questions"))
    prompts = _prompts(rules, every)
    temperature, max_tokens = arguments.get("temperature"), arguments.get("max_tokens")
    return Plan(
        family=family,
        family_sha256=family_sha256(family_source),
        rules=rules,
        rules_sha256=rules.hash_with(prompts),
        questions_sha256=questions_sha256(asked),
        prompts=prompts,
        samples={s.id: s for s in samples},
        epochs=int(arguments["epochs"]),
        system_prompt=_text(arguments.get("system_prompt", "none")),
        seed=int(arguments.get("seed", 0)),
        temperature=float(rules.sampling.temperature if temperature is None else temperature),
        top_p=float(rules.sampling.top_p),
        max_tokens=int(max_tokens or rules.sampling.max_tokens),
    )


def _prompts(rules: Protocol, questions: list[Question]) -> dict[str, dict[str, str]]:
    return {q.id: q.judge_prompts for q in questions}


def _rules(name: str, files: Mapping[str, Mapping[str, Path]]) -> Protocol:
    if name in protocol_names():
        return load_protocol(name)
    basename = PurePosixPath(name).name
    own = {**files.get("protocols", {}), **files.get("questions", {})}.get(basename)
    if own is None:
        known = ", ".join(protocol_names())
        raise RefusedError(
            "altered-task", f"protocol {basename!r} is unknown: use {known}, or add protocols/{basename}"
        )
    rules = load_protocol(str(own))
    shipped = {p.stem for p in RUBRICS.glob("*.md")}
    for rubric in rules.rubrics.values():
        if not rubric.startswith(FROM_QUESTION) and rubric not in shipped:
            raise RefusedError(
                "altered-task", f"protocol {basename!r} names the rubric {rubric!r}, which does not ship"
            )
    return rules


def _known(name: str, shipped: Path, suffix: str, own: Mapping[str, Path], what: str) -> str:
    """A shipped name, or the bundle's own file of that name."""
    if name in {p.stem for p in shipped.glob(f"*{suffix}")}:
        return name
    basename = PurePosixPath(name).name
    if basename not in own:
        raise RefusedError("altered-task", f"{what} {basename!r} does not ship: add it as families/{basename}")
    return str(own[basename])


def _question_source(source: str, files: Mapping[str, Mapping[str, Path]]) -> str:
    if source == "bank" or source.startswith("bank:"):
        return source
    basename = PurePosixPath(source.partition("#")[0]).name
    if basename not in files.get("questions", {}):
        raise RefusedError("altered-task", f"questions {basename!r} do not ship: add them as questions/{basename}")
    return str(files["questions"][basename])


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ",".join(value)
