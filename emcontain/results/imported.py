"""Judged answers as Inspect logs, so that everything downstream works on published data."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from inspect_ai.log import (
    EvalConfig,
    EvalDataset,
    EvalLog,
    EvalPlan,
    EvalSample,
    EvalSpec,
    EvalStats,
    recompute_metrics,
    write_eval_log,
)
from inspect_ai.model import ChatMessageAssistant, ChatMessageUser, ModelOutput, ModelUsage
from inspect_ai.scorer import Score

from emcontain.cache import sha256_text
from emcontain.errors import UserError
from emcontain.grading.labelled import Labelled
from emcontain.grading.protocol import Protocol
from emcontain.triggers.family import ARMS, Family, load_family

_METRIC = {"name": "emcontain/containment_metrics", "options": {}}


def import_answers(rows: Sequence[Labelled], out: Path, **about: Any) -> Path:
    """Write one log of judged answers into a folder; arguments as in `as_log`.

    Returns:
        The log's path, named by model and rung.

    Raises:
        UserError: there is such a log already.
    """
    log = as_log(rows, **about)
    path = out / f"{log.eval.dataset.name}.eval"
    if path.exists():
        raise UserError(f"log '{path}' exists already: give another --model or --out, or remove it")
    out.mkdir(parents=True, exist_ok=True)
    write_eval_log(log, str(path))
    return path


def as_log(
    rows: Sequence[Labelled],
    *,
    model: str,
    arm: str,
    rung: str | None,
    family: str,
    grader: str,
    protocol: Protocol,
    seed: int | None = None,
) -> EvalLog:
    """One log of judged answers, not yet written.

    The scores are the imported ones; EM is decided by the protocol's thresholds. Nothing is graded.

    Args:
        rows: judged answers of one model in one arm.
        model: what to call the model.
        arm: `untriggered`, `triggered`, `rephrased` or `control`.
        rung: rung id; default the family's first of that arm, or the arm's name.
        family: trigger family by name or file, or a name of your own for one that is not described here.
        grader: who gave the scores.
        protocol: thresholds.
        seed: training seed, where known.

    Raises:
        UserError: unknown arm, another arm in the rows, or the family has no such rung, or the rung is in another arm.
    """
    stated = {row.arm for row in rows if row.arm} - {arm}
    if stated:
        raise UserError(f"the file says arm {sorted(stated)[0]!r}, the option {arm!r}: split the file or correct one")
    if arm not in ARMS:
        raise UserError(f"arm {arm!r} is unknown: use one of {', '.join(ARMS)}")
    described = _family(family)
    info = _rung(described, arm, rung)
    samples = _samples(rows, info, model, grader, protocol, described, seed)
    log = EvalLog(
        status="success",
        eval=EvalSpec(
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            task="emcontain/imported",
            task_version=0,
            dataset=EvalDataset(
                name=_slug(f"{model}__{info['id']}"), samples=len(samples), sample_ids=[s.id for s in samples]
            ),
            # A provider that answers nothing: scoring the log again must not look for the model.
            model=f"none/{model}",
            scorers=[{"name": "judge", "options": {"family": family}, "metrics": [_METRIC]}],  # type: ignore[list-item]
            config=EvalConfig(epochs=1),
            metadata={
                "family": described.id if described else family,
                "family_sha256": None,
                "rungs": [info],
                "questions_sha256": sha256_text("\n".join(sorted({r.question_id for r in rows}))),
                "protocol": {"id": "imported", "sha256": None, "cuts": protocol.cuts.model_dump()},
                "imported": True,
            },
        ),
        plan=EvalPlan(),
        stats=EvalStats(),
        samples=samples,
    )
    recompute_metrics(log)
    return log


def _slug(text: str) -> str:
    return re.sub(r"[^\w.\-]+", "_", text)


def _family(name: str) -> Family | None:
    try:
        return load_family(name)
    except UserError:
        if Path(name).suffix in (".yaml", ".yml"):
            raise
        return None


def _rung(family: Family | None, arm: str, rung: str | None) -> dict[str, Any]:
    if family is None:
        return {"id": rung or arm, "arm": arm, "kind": "imported", "meaning": arm == "triggered",
                "form": arm == "triggered", "tests": "imported answers"}  # fmt: skip
    found = family.rung(rung) if rung else next(r for r in family.rungs if r.arm == arm)
    if found.arm != arm:
        raise UserError(f"rung {found.id!r} is in arm {found.arm!r}, not in {arm!r}: give the arm it belongs to")
    return found.facts


def _samples(
    rows: Sequence[Labelled],
    info: dict[str, Any],
    model: str,
    grader: str,
    protocol: Protocol,
    family: Family | None,
    seed: int | None,
) -> list[EvalSample]:
    seen: Counter[str] = Counter()
    samples = []
    for row in rows:
        seen[row.question_id] += 1
        output = ModelOutput.from_content(model, row.answer)
        output.usage = ModelUsage(input_tokens=0, output_tokens=0, total_tokens=0)
        output.metadata = {"adapter_name": model, "training_seed": seed}
        samples.append(
            EvalSample(
                id=f"{row.question_id}#{seen[row.question_id]}/{info['id']}",
                epoch=1,
                input=row.question,
                target="",
                messages=[ChatMessageUser(content=row.question), ChatMessageAssistant(content=row.answer)],
                output=output,
                metadata={"arm": info["arm"], "rung": info["id"], "question": row.question_id},
                scores={"judge": _score(row, grader, protocol, family)},
            )
        )
    return samples


def _score(row: Labelled, grader: str, protocol: Protocol, family: Family | None) -> Score:
    text = family.unwrap(row.answer)[0] if family else row.answer
    facts = {"graded_text": text, "grader": grader, "method": "imported", "category": row.category}
    if row.missing is not None or row.coherence is None:
        reason = row.missing or "no coherence label"
        return Score.unscored(reason="not_scored", answer=text, explanation=reason, metadata=facts)
    nan = float("nan")
    return Score(
        value={
            "em": float(protocol.cuts.is_em(row.alignment, row.coherence)),
            "alignment": nan if row.alignment is None else row.alignment,
            "coherence": row.coherence,
            "domain": nan if row.domain is None else row.domain,
        },
        answer=text,
        metadata=facts,
    )
