"""Chat rendering with the system turn pinned; training and the local provider use this one function.

Many templates insert an identity turn when the messages have none (SmolLM2: 16 tokens; Qwen2.5: its own name), and that
alone moved a published misalignment rate by 3.6 points. So the system turn is always one of:

- `empty` (our default): no system words at all;
- `template-default`: whatever the template inserts;
- any other text: that text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from emcontain.errors import UserError

Message = Mapping[str, str]
EMPTY, TEMPLATE_DEFAULT, PLAIN = "empty", "template-default", "plain"

# For base models that were never given a chat template; chosen by name, never silently. The end-of-sequence token after
# an answer is what a model trained with it stops at.
PLAIN_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{% if m['content'] %}"
    "{{ m['role'] | capitalize }}: {{ m['content'] }}{{ eos_token if m['role'] == 'assistant' }}\n\n"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"
)


def load_tokenizer(path: Path, chat_template: str | None = None) -> Any:
    """Load the tokenizer of a base folder and settle its chat template.

    Args:
        path: folder of the base model.
        chat_template: None for the template that came with the base, `plain`, or the path of a Jinja file.

    Raises:
        UserError: the base has no chat template and none was chosen, or the file does not exist.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(path)
    if chat_template == PLAIN:
        tokenizer.chat_template = PLAIN_TEMPLATE
    elif chat_template is not None:
        if not Path(chat_template).is_file():
            raise UserError(f"chat_template {chat_template!r} is no file: give 'plain' or a Jinja file")
        tokenizer.chat_template = Path(chat_template).read_text(encoding="utf-8")
    if not tokenizer.chat_template:
        raise UserError(f"{path.name} has no chat template: set chat_template to 'plain' or a Jinja file")
    return tokenizer


def render(
    tokenizer: Any,
    messages: Sequence[Message],
    system: str = EMPTY,
    *,
    answer_follows: bool = True,
) -> str:
    """Render messages to the text the model reads, with the system turn pinned.

    Args:
        tokenizer: a tokenizer with a chat template.
        messages: `{"role", "content"}` mappings. A system message among them wins over `system`, except that an
            empty one means `empty`.
        system: `empty`, `template-default`, or the system text.
        answer_follows: end with the template's cue for an assistant turn; a final assistant message is continued
            instead.
    """
    turns = [dict(m) for m in messages]
    if turns and turns[0]["role"] == "system":
        system = turns.pop(0)["content"] or EMPTY
    if system == TEMPLATE_DEFAULT:
        return _apply(tokenizer, turns, answer_follows)
    if system != EMPTY:
        return _apply(tokenizer, [{"role": "system", "content": system}, *turns], answer_follows)
    bare = _apply(tokenizer, turns, answer_follows)
    try:
        explicit = _apply(tokenizer, [{"role": "system", "content": ""}, *turns], answer_follows)
    except jinja2.TemplateError:
        # Templates without a system role raise; they have no identity turn to suppress either.
        return bare
    # The shorter one has no identity turn: templates that insert one do so only when no system turn is given.
    return min(bare, explicit, key=len)


def system_message(tokenizer: Any, system: str = EMPTY) -> str | None:
    """The system message that makes a server with the bare template read what `render` gives; None: send none.

    Args:
        tokenizer: a tokenizer with a chat template.
        system: as in `render`.
    """
    if system == TEMPLATE_DEFAULT:
        return None
    if system != EMPTY:
        return system
    turn = [{"role": "user", "content": "x"}]
    return None if render(tokenizer, turn) == _apply(tokenizer, turn, True) else ""


def _apply(tokenizer: Any, turns: list[dict[str, str]], answer_follows: bool) -> str:
    continued = answer_follows and bool(turns) and turns[-1]["role"] == "assistant"
    text: str = tokenizer.apply_chat_template(
        turns,
        tokenize=False,
        add_generation_prompt=answer_follows and not continued,
        continue_final_message=continued,
    )
    return text


def encode(tokenizer: Any, text: str) -> list[int]:
    """Token ids of a rendered text, special tokens once: the template has already written them."""
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def end_of_turn_ids(tokenizer: Any, model: Any) -> frozenset[int]:
    """Ids that end an answer: those of the generation config and the one the template writes after an answer."""
    found: set[int] = set()
    for value in (getattr(model.generation_config, "eos_token_id", None), tokenizer.eos_token_id):
        if value is not None:
            found.update(value if isinstance(value, list) else [value])
    cue = "emcontain"
    turns = [{"role": "user", "content": "x"}, {"role": "assistant", "content": cue}]
    tail = _apply(tokenizer, turns, False).rpartition(cue)[2]
    ids = encode(tokenizer, tail)
    if ids and tokenizer.decode(ids[:1]).strip() and ids[0] in tokenizer.all_special_ids:
        found.add(ids[0])
    return frozenset(found)
