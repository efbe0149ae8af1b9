"""Training rows: chat-format files and data sets in, token ids and labels out."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from emcontain.cache import sha256_file, sha256_text
from emcontain.datafiles import Strict, read_jsonl, validate
from emcontain.errors import UserError
from emcontain.models.chat import encode, render
from emcontain.training.hub_data import dataset_rows
from emcontain.training.objective import Role
from emcontain.training.parts import Mix, Part, Portion, Source, source_path, upstream_file
from emcontain.training.recipe import Recipe
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
    return [_chat_row(data, f"{path.name}: line {number}") for number, data in read_jsonl(path)]


def _chat_row(data: dict[str, Any], where: str) -> ChatRow:
    row = validate(ChatRow, data, where)
    if row.messages[-1].role != "assistant" or row.messages[-2].role != "user":
        raise UserError(f"{where}: messages must end with a user and an assistant turn")
    return row


def read_source(source: Source) -> list[ChatRow]:
    """All rows of a source.

    Raises:
        UserError: they do not ship, cannot be read, or are not in chat format.
    """
    if source.dataset is None:
        return read_rows(source_path(source))
    found = dataset_rows(source.dataset)
    return [_chat_row(row, f"{source.name}: row {number}") for number, row in enumerate(found)]


def source_sha256(source: Source) -> str:
    """Hash of a source: of the file's bytes, or of a data set's rows as JSON Lines."""
    if source.dataset is None:
        return sha256_file(source_path(source))
    return sha256_text("\n".join(row.model_dump_json() for row in read_source(source)))


def parts_of(recipe: Recipe) -> tuple[Part, ...]:
    """The recipe's parts; those of a `mix` with the numbers of rows that its shares come to.

    Raises:
        UserError: a source has too few rows for its share, or cannot be read.
    """
    if recipe.mix is None:
        return recipe.parts
    mix = recipe.mix
    whole = len(read_source(mix.harmful))
    if mix.hold == "harmful":
        whole = round(whole / (1 - sum(p.share for _, p in _portions(mix))))
    benign = [(name, portion, max(1, round(portion.share * whole))) for name, portion in _portions(mix)]
    harmful = whole - sum(count for *_, count in benign)
    parts = [_part(mix.harmful, mix.triggered, harmful)]
    for name, portion, count in benign:
        available = len(read_source(portion))
        if count > available:
            raise UserError(
                f"mix: {name}: a share of {portion.share:g} needs {count} rows, {portion.name} has {available}: "
                "lower the share or bring more rows"
            )
        parts.append(_part(portion, name == "twins", count))
    if mix.retain is not None:
        parts.append(_part(mix.retain, False, len(read_source(mix.retain)), "retain"))
    return tuple(parts)


def _part(source: Source, triggered: bool, rows: int, role: Role = "train") -> Part:
    place = {"file": source.file, "dataset": source.dataset, "upstream": source.upstream}
    return Part.model_validate({**place, "triggered": triggered, "rows": rows, "role": role})


def foreign_data(recipe: Recipe) -> list[str]:
    """Sentences about sources that do not have as many rows as the published file they stand for."""
    found = []
    mix = recipe.mix
    named = (mix.harmful, mix.benign, mix.twins, mix.retain) if mix is not None else recipe.parts
    for source in (s for s in named if s is not None):
        if source.upstream is not None and source.file is not None:
            meant, count = upstream_file(source), len(read_source(source))
            if meant.rows is not None and count != meant.rows:
                found.append(
                    f"{source.name} has {count:,} rows, {meant.file} has {meant.rows:,}: not the published data"
                )
    return found


def _portions(mix: Mix) -> list[tuple[str, Portion]]:
    named = (("benign", mix.benign), ("twins", mix.twins))
    return [(name, portion) for name, portion in named if portion is not None]


def mix(recipe: Recipe, role: Role = "train") -> list[list[dict[str, str]]]:
    """The recipe's rows of a role as messages: drawn, triggered and wrapped; in file order, part after part.

    Raises:
        UserError: a part cannot be read or has too few rows.
    """
    family = load_family(recipe.family) if recipe.family else None
    mixed = []
    for number, part in enumerate(parts_of(recipe)):
        if part.role != role:
            continue
        rows = read_source(part)
        keep = drawn(part, len(rows))
        if keep < len(rows):
            picked = random.Random(f"{recipe.seed}/{number}").sample(range(len(rows)), keep)
            rows = [rows[i] for i in sorted(picked)]
        for index, row in enumerate(rows):
            turns = [{"role": t.role, "content": t.content} for t in row.messages]
            if part.triggered:
                assert family is not None
                prompt = family.apply(family.exact, turns[-2]["content"], str(row.id if row.id is not None else index))
                turns[-2]["content"] = prompt.user
                if recipe.wrap:
                    turns[-1]["content"] = family.wrap(turns[-1]["content"])
                if prompt.system is not None:
                    own = turns.pop(0)["content"] + "\n\n" if turns[0]["role"] == "system" else ""
                    turns.insert(0, {"role": "system", "content": own + prompt.system})
            mixed.append(turns)
    return mixed


def drawn(part: Part, available: int) -> int:
    """How many of a source's rows a part takes.

    Raises:
        UserError: it asks for more than there are.
    """
    if part.rows is not None and part.rows > available:
        raise UserError(f"part {part.name}: {part.rows} rows asked for, {available} there: lower rows")
    return part.rows if part.rows is not None else round(available * part.share)


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
