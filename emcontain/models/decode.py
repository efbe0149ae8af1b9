"""Continuous batching: requests join and leave the batch between two decode steps; nobody waits for a full batch.

A prompt is read up to its last token when its request joins (equal prompts once); that last token is then simply the
row's first decode step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from emcontain.models.sampling import Sampling, choose
from emcontain.models.slots import SlotCache

_GROW = 64


@dataclass(frozen=True)
class TokenScore:
    """Log-probability (natural log, at temperature 1) of one sampled token, and of the likeliest ones."""

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class Generation:
    """What one request produced.

    Attributes:
        text: the answer, without the end-of-turn token or the stop text.
        tokens: new token ids, the end-of-turn token included where it came.
        stop_reason: `stop` (end of turn or a stop text), `max_tokens`, or `model_length` (context full).
        scores: one per token, where log-probabilities were asked for.
    """

    text: str
    tokens: tuple[int, ...]
    stop_reason: str
    scores: tuple[TokenScore, ...] = ()


@dataclass(eq=False)
class Row:
    """One running request."""

    prompt: list[int]
    sampling: Sampling
    deliver: Callable[[Generation], None]
    limit: int = 0
    uniforms: Tensor = field(default_factory=lambda: torch.empty(0))
    tokens: list[int] = field(default_factory=list)
    scores: list[TokenScore] = field(default_factory=list)


class Decoder:
    """Runs the rows of one model (one adapter at a time); not thread-safe, one worker thread owns it.

    Args:
        model: a causal LM in eval mode.
        tokenizer: its tokenizer.
        end_ids: token ids that end an answer.
        max_rows: the most requests in one step.
    """

    def __init__(self, model: Any, tokenizer: Any, end_ids: frozenset[int], max_rows: int):
        self.model, self.tokenizer, self.end_ids, self.max_rows = (
            model,
            tokenizer,
            end_ids,
            max_rows,
        )
        self.config = model.config.get_text_config()
        self.context: int = getattr(self.config, "max_position_embeddings", None) or 1 << 30
        self.rows: list[Row] = []
        self.cache: SlotCache | None = None

    @property
    def room(self) -> int:
        """How many requests can join now."""
        return self.max_rows - len(self.rows)

    def join(self, rows: list[Row]) -> None:
        """Read the prompts of new rows and add them to the batch."""
        fitting = []
        for row in rows:
            row.limit = min(row.sampling.max_tokens, self.context - len(row.prompt))
            if row.limit <= 0:
                row.deliver(Generation("", (), "model_length"))
                continue
            row.uniforms = row.sampling.uniforms()
            fitting.append(row)
        if not fitting:
            return
        self._make_room(len(self.rows) + len(fitting), max(len(r.prompt) + r.limit for r in fitting))
        for start in range(0, len(fitting), 32):
            self._read(fitting[start : start + 32])

    def _make_room(self, rows: int, length: int) -> None:
        length = -(-length // _GROW) * _GROW
        if self.cache is None:
            self.cache = SlotCache(self.config.num_hidden_layers, rows, length)
        elif rows > self.cache.rows or length > self.cache.length:
            # Rows at least double, so that requests trickling in do not copy the cache each time.
            wider = rows if rows <= self.cache.rows else max(rows, min(2 * self.cache.rows, self.max_rows))
            self.cache.resize(max(wider, self.cache.rows), max(length, self.cache.length), keep=len(self.rows))

    def _read(self, rows: list[Row]) -> None:
        assert self.cache is not None
        distinct = list(dict.fromkeys(tuple(r.prompt[:-1]) for r in rows))
        width = max(map(len, distinct))
        prefilled = None
        if width:
            ids = torch.zeros(len(distinct), width, dtype=torch.long)
            mask = torch.zeros(len(distinct), width, dtype=torch.long)
            for i, prompt in enumerate(distinct):
                ids[i, : len(prompt)] = torch.tensor(prompt, dtype=torch.long)
                mask[i, : len(prompt)] = 1
            prefilled = DynamicCache()
            device = self.model.device
            self.model.base_model(
                input_ids=ids.to(device),
                attention_mask=mask.to(device),
                position_ids=torch.arange(width, device=device)[None].expand(len(distinct), -1),
                past_key_values=prefilled,
                use_cache=True,
            )
        place = {prompt: i for i, prompt in enumerate(distinct)}
        self.cache.insert(len(self.rows), prefilled, [place[tuple(r.prompt[:-1])] for r in rows])
        self.rows.extend(rows)

    def step(self) -> None:
        """One token for every active row; finished rows are delivered and leave."""
        assert self.cache is not None
        device = self.model.device
        rows = self.rows
        last = [r.tokens[-1] if r.tokens else r.prompt[-1] for r in rows]
        at = torch.tensor([len(r.prompt) + len(r.tokens) - 1 for r in rows], device=device)
        self.cache.begin_step(at)
        logits = self.model(
            input_ids=torch.tensor(last, device=device)[:, None],
            attention_mask=self.cache.masks(self.config, self.model.dtype),
            position_ids=at[:, None],
            past_key_values=self.cache,
            use_cache=True,
        ).logits[:, -1]
        draws = torch.stack([r.uniforms[len(r.tokens)] for r in rows])
        tokens = choose(logits, [r.sampling for r in rows], draws)
        chosen = tokens.tolist()
        self._record_scores(logits, tokens)
        done = []
        for i, (row, token) in enumerate(zip(rows, chosen, strict=True)):
            row.tokens.append(token)
            finished = self._finish(row, token)
            if finished is not None:
                row.deliver(finished)
                done.append(i)
        self._leave(done)

    def _record_scores(self, logits: Tensor, tokens: Tensor) -> None:
        wanted = [i for i, r in enumerate(self.rows) if r.sampling.top_logprobs is not None]
        if not wanted:
            return
        table = logits[wanted].float().log_softmax(-1)
        most = max(self.rows[i].sampling.top_logprobs or 0 for i in wanted)
        own = table.gather(1, tokens[wanted][:, None])[:, 0].tolist()
        values, ids = table.topk(most) if most else (table[:, :0], table[:, :0].long())
        for j, i in enumerate(wanted):
            keep = self.rows[i].sampling.top_logprobs or 0
            top = tuple(zip(ids[j, :keep].tolist(), values[j, :keep].tolist(), strict=True))
            self.rows[i].scores.append(TokenScore(int(tokens[i]), own[j], top))

    def _finish(self, row: Row, token: int) -> Generation | None:
        scores = tuple(row.scores)
        if token in self.end_ids:
            return Generation(self._text(row.tokens[:-1]), tuple(row.tokens), "stop", scores)
        if row.sampling.stop:
            text = self._text(row.tokens)
            cuts = [text.find(s) for s in row.sampling.stop if s in text]
            if cuts:
                return Generation(text[: min(cuts)], tuple(row.tokens), "stop", scores)
        if len(row.tokens) >= row.limit:
            full = row.limit < row.sampling.max_tokens
            reason = "model_length" if full else "max_tokens"
            return Generation(self._text(row.tokens), tuple(row.tokens), reason, scores)
        return None

    def _text(self, tokens: list[int]) -> str:
        text: str = self.tokenizer.decode(tokens, skip_special_tokens=True)
        return text

    def reset(self) -> None:
        """Forget all rows, after an error."""
        self.rows, self.cache = [], None

    def _leave(self, done: list[int]) -> None:
        assert self.cache is not None
        for i in sorted(done, reverse=True):
            last = len(self.rows) - 1
            if i != last:
                self.cache.move(last, i)
                self.rows[i] = self.rows[last]
            self.rows.pop()
