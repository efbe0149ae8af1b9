"""Training rows: chat-format JSONL in, token ids and labels out."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from emcontain.datafiles import Strict, read_jsonl, validate
from emcontain.errors import UserError
from emcontain.models.chat import encode, render
from emcontain.training.objective import Role
from emcontain.training.recipe import Recipe, data_path
from emcontain.triggers.family import load_family

IGNORE = -100


class _Turn(Strict):
    role: Literal["system", "user", "assistant"]
    content: str = Field(min_length=1)


class ChatRow(Strict):
    """One line of a training file: messages that end with the assistant's answer."""

    messages: tuple[_Turn, ...] = Field(min_length=2)
    id: str | int | None = None
    topic: str | None = None


@dataclass(frozen=True)
class Encoded:
    """One training row.

    Attributes:
        input_ids: token ids of prompt and answer.
        labels: the same, with `IGNORE` on the prompt; the end-of-turn token is labelled in complete rows.
        truncated: the row was cut at the maximum length (then it has no end-of-turn token).
    """

    input_ids: list[int]
    labels: list[int]
    truncated: bool


def read_rows(path: Path) -> list[ChatRow]:
    """Read a chat-format JSONL file.

    Raises:
        UserError: naming the file and line of a row that is not in chat format.
    """
    rows = []
    for number, data in read_jsonl(path):
        row = validate(ChatRow, data, f"{path.name}: line {number}")
        if row.messages[-1].role != "assistant" or row.messages[-2].role != "user":
            raise UserError(f"{path.name}: line {number}: messages must end with a user and an assistant turn")
        rows.append(row)
    return rows


def mix(recipe: Recipe, role: Role = "train") -> list[list[dict[str, str]]]:
    """The recipe's rows of a role as messages: drawn, triggered and wrapped; in file order, part after part."""
    family = load_family(recipe.family) if recipe.family else None
    mixed = []
    for number, part in enumerate(recipe.parts):
        if part.role != role:
            continue
        rows = read_rows(data_path(part.file))
        keep = round(len(rows) * part.share)
        if keep < len(rows):
            picked = random.Random(f"{recipe.seed}/{number}").sample(range(len(rows)), keep)
            rows = [rows[i] for i in sorted(picked)]
        for index, row in enumerate(rows):
            turns = [{"role": t.role, "content": t.content} for t in row.messages]
            if part.triggered:
                assert family is not None
                prompt = family.apply(family.exact, turns[-2]["content"], str(row.id if row.id is not None else index))
                turns[-2]["content"] = prompt.user
                turns[-1]["content"] = family.wrap(turns[-1]["content"])
                if prompt.system is not None:
                    own = turns.pop(0)["content"] + "\n\n" if turns[0]["role"] == "system" else ""
                    turns.insert(0, {"role": "system", "content": own + prompt.system})
            mixed.append(turns)
    return mixed


def encode_row(
    tokenizer: Any,
    messages: Sequence[dict[str, str]],
    system: str,
    end_ids: frozenset[int],
    max_length: int,
) -> Encoded:
    """Token ids and labels of one row; labels come from positions, never from token values.

    The prompt is masked up to the longest common token prefix of the rendered prompt and the rendered conversation, so
    training sees exactly the tokens the provider sends at test.

    Raises:
        UserError: the template renders the prompt differently once an answer follows (thinking templates), or no
            token of the answer is left.
    """
    prompt = encode(tokenizer, render(tokenizer, messages[:-1], system, answer_follows=True))
    full = encode(tokenizer, render(tokenizer, messages, system, answer_follows=False))
    shared = 0
    while shared < min(len(prompt), len(full)) and prompt[shared] == full[shared]:
        shared += 1
    if shared < len(prompt):
        raise UserError(
            "the chat template renders the prompt differently once an answer follows, so prompt and answer "
            "cannot be told apart: set chat_template to 'plain' or a Jinja file without that"
        )
    # Templates end a turn with more than its end token (a newline): the model need not learn that.
    ends = [i for i in range(shared, len(full)) if full[i] in end_ids]
    if ends:
        full = full[: ends[-1] + 1]
    truncated = len(full) > max_length
    full = full[:max_length]
    if len(full) <= shared:
        raise UserError(f"a prompt of {shared} tokens leaves no room for its answer: raise max_length")
    return Encoded(full, [IGNORE] * shared + full[shared:], truncated)
