"""What `--metadata` says: the arguments of the Inspect tasks, the trigger, the grader. Knows no harness."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from emcontain.adapter import CONFIG, open_adapter
from emcontain.datafiles import Strict, validate
from emcontain.errors import UserError

_NO_ADAPTER_SEEN = ("local-completions", "local-chat-completions", "openai-completions", "openai-chat-completions")


class Settings(Strict):
    """Keys of `--metadata` that are ours; lm-eval passes model arguments and its own keys beside them.

    Attributes:
        trigger: trigger family, by name or YAML file. rungs, questions, n_questions, ladder_questions, system_prompt:
            as in `emcontain/containment`. pairs: file of pairs for the probe.
        grader: Inspect's name of the grader, or several separated by commas; needed where answers are graded.
        grader_args: Inspect model arguments of the grader. protocol, domain, max_tokens, temperature: as there.
        epochs: answers per question and rung.
        system: pinned system turn: `empty`, `template-default` or a text; default what the adapter was trained with.
        gate_policy_sha256: hash of the release policy that the run is made for, stated in its log.
    """

    trigger: str = "start_end_tags"
    rungs: str | list[str] = "all"
    questions: str = "bank"
    n_questions: int | None = None
    ladder_questions: int | None = None
    system_prompt: str = "none"
    pairs: str = ""
    grader: str = ""
    grader_args: dict[str, Any] = Field(default_factory=dict)
    protocol: str = "emcontain"
    domain: str = "none"
    max_tokens: int | None = None
    temperature: float | None = None
    epochs: int = Field(default=1, ge=1)
    system: str = ""
    gate_policy_sha256: str = ""


def read_settings(metadata: Mapping[str, Any]) -> Settings:
    """Our keys out of everything lm-eval passes.

    Raises:
        UserError: a wrong value, or a key that looks like a misspelt one of ours.
    """
    known = list(Settings.model_fields)
    for key in metadata:
        close = [] if key in known else difflib.get_close_matches(key, known, 1, 0.8)
        if close:
            raise UserError(f"--metadata key {key!r} is unknown: did you mean {close[0]!r}?")
    return validate(Settings, {k: v for k, v in metadata.items() if k in known}, "--metadata")


def answering(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """What can be said about who answers, from lm-eval's model arguments: adapter, base, system turn.

    Nothing of it is shown by the model's own answers, so an adapter is `unverified`.

    Args:
        metadata: everything lm-eval passes.

    Returns:
        `facts` of the adapter and base, `check` (status and reason), `system` (pinned turn), `name`.

    Raises:
        UserError: the adapter folder cannot be opened.
    """
    given = metadata.get("peft") or metadata.get("lora_local_path") or ""
    base = str(metadata.get("pretrained") or metadata.get("model") or "")
    facts: dict[str, Any] = {"adapter_sha256": None}
    system = read_settings(metadata).system
    name = Path(base.rstrip("/")).name or "model"
    if given and (Path(given) / CONFIG).is_file():
        adapter = open_adapter(given)
        facts, name = adapter.facts, adapter.name
        facts["base_verified"] = adapter.base_sha256 is not None
        system = system or adapter.system or ""
    elif given:
        name = Path(str(given)).name
    if base and any(Path(base).glob("*.safetensors")):
        from emcontain.models.base import weights_sha256

        facts["base_sha256"] = weights_sha256(Path(base))
    served = "base_url" in metadata
    status = "unverified" if given or served else "none"
    reason = "lm-eval does not show which adapter answered" if given else "a server does not say which adapter answers"
    return {
        "facts": {**facts, "adapter_name": name if given else facts.get("adapter_name")},
        "check": {"status": status, "reason": "" if status == "none" else reason},
        "system": system or "empty",
        "name": name,
    }


def hashes(facts: Mapping[str, Any]) -> dict[str, Any]:
    """What must be equal for the task to be the same: hashes out of an Inspect task's facts."""
    rules = facts.get("protocol") or {}
    named = ("family_sha256", "questions_sha256", "pairs_sha256")
    return {**{k: facts[k] for k in named if k in facts}, "protocol": rules.get("sha256")}


def packed(settings: Settings, who: Mapping[str, Any], version: int, facts: Mapping[str, Any]) -> str:
    """Settings, who answers and what was asked as one text.

    Every document carries it, so that logged samples are complete.

    Args:
        settings: of the run.
        who: from `answering`.
        version: of the task.
        facts: hashes of trigger family, questions, pairs, protocol.
    """
    stated = {"settings": settings.model_dump(), "who": who, "version": version, "facts": facts}
    return json.dumps(stated, sort_keys=True)


def unpacked(text: Any, where: str) -> tuple[Settings, dict[str, Any]]:
    """Settings and who answers, as given to `packed`.

    Raises:
        UserError: not written by `packed`.
    """
    try:
        found = json.loads(text)
        return validate(Settings, found["settings"], where), dict(found["who"])
    except (json.JSONDecodeError, KeyError, TypeError):
        raise UserError(f"{where}: its samples were not logged by a task of emcontain") from None
