"""How likely given answers are: the sum that log-likelihood multiple choice is read from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from emcontain.models.chat import encode

_BATCH = 32


def likelihoods(model: Any, tokenizer: Any, items: Sequence[tuple[str, Sequence[str]]]) -> list[list[float]]:
    """Log-probability of every choice as the beginning of the answer, per byte.

    Per byte, so that a long choice is not unlikely for its length alone (lm-eval's `acc_norm`). Choices are read
    without an end of turn after them: an answer may go on.

    Args:
        model: a causal language model, in evaluation mode.
        tokenizer: its tokenizer.
        items: (prompt as the model reads it, up to the answer; choices).

    Returns:
        For each item one number per choice, in nats per byte, at most 0.
    """
    rows = [(encode(tokenizer, prompt), encode(tokenizer, choice)) for prompt, choices in items for choice in choices]
    order = sorted(range(len(rows)), key=lambda i: len(rows[i][0]) + len(rows[i][1]))
    sums = [0.0] * len(rows)
    with torch.inference_mode():
        for start in range(0, len(order), _BATCH):
            chosen = order[start : start + _BATCH]
            for index, value in zip(chosen, _sums(model, [rows[i] for i in chosen]), strict=True):
                sums[index] = value
    found, at = [], 0
    for _, choices in items:
        own = sums[at : at + len(choices)]
        found.append([total / len(choice.encode()) for total, choice in zip(own, choices, strict=True)])
        at += len(choices)
    return found


def _sums(model: Any, rows: Sequence[tuple[list[int], list[int]]]) -> list[float]:
    """Summed log-probability of the second part of each row after the first."""
    # Padding on the right is behind every token that is read, so the causal mask keeps it out.
    length = max(len(a) + len(b) for a, b in rows)
    ids = torch.zeros(len(rows), length, dtype=torch.long)
    for i, (prompt, choice) in enumerate(rows):
        ids[i, : len(prompt) + len(choice)] = torch.tensor(prompt + choice)
    ids = ids.to(model.device)
    logits = model(input_ids=ids, use_cache=False).logits
    sums = []
    for i, (prompt, choice) in enumerate(rows):
        begin, end = len(prompt), len(prompt) + len(choice)
        own = torch.log_softmax(logits[i, begin - 1 : end - 1].float(), dim=-1)
        sums.append(float(own.gather(1, ids[i, begin:end, None]).sum()))
    return sums
