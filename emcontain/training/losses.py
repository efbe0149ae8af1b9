"""Losses: small objects with one method, given the model and a batch of one or more roles.

What they share is here too: log-likelihood of answers and divergence from the base, with the LM head on answer
positions only and the vocabulary-wide fp32 copies made for some positions at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from emcontain.training.batches import Batch, RoleBatch, Share
from emcontain.training.objective import Role

# Positions whose fp32 logits are held at once; 512 of a vocabulary of 152,000 take 0.3 GB a copy.
_AT_ONCE = 512


class Loss(Protocol):
    """What the trainer calls."""

    def compute(self, model: Any, batch: Batch, update: Mapping[Role, Share]) -> Tensor:
        """Loss of one forward pass.

        Args:
            model: the PEFT model, perhaps wrapped for several devices.
            batch: by role; see `emcontain.training.batches`.
            update: rows and labelled tokens of each role in the whole update (all passes, all processes). Sums are
                divided by these, so that an update does not depend on how it was cut into passes.
        """
        ...


class Sft:
    """See `emcontain.training.objective.Sft`; of the rows of any role."""

    def __init__(self, role: Role = "train"):
        self.role = role

    def compute(self, model: Any, batch: Batch, update: Mapping[Role, Share]) -> Tensor:
        """See `Loss.compute`."""
        rows = batch[self.role]
        return log_loss(answer_logits(model, rows), rows["wanted"]).sum() / update[self.role].tokens


class SftKl:
    """See `emcontain.training.objective.SftKl`."""

    def __init__(self, weight: float):
        self.weight = weight

    def compute(self, model: Any, batch: Batch, update: Mapping[Role, Share]) -> Tensor:
        """See `Loss.compute`."""
        retain = batch["retain"]
        # Before anything else is computed: switching the adapter off and on must not meet a pending gradient.
        with reference(model):
            base = answer_logits(model, retain)
        divergence = kl_from_base(answer_logits(model, retain), base).sum() / update["retain"].tokens
        return Sft().compute(model, batch, update) + self.weight * divergence


@contextmanager
def reference(model: Any) -> Iterator[None]:
    """The same model without its adapter, without dropout and without gradients."""
    peft = getattr(model, "module", model)
    training = peft.training
    peft.eval()
    try:
        with torch.no_grad(), peft.disable_adapter():
            yield
    finally:
        peft.train(training)


def answer_logits(model: Any, rows: RoleBatch) -> Tensor:
    """Logits that predict the labelled tokens, [labelled tokens, vocabulary]; nothing else goes through the LM head."""
    logits: Tensor = model(**rows["inputs"], use_cache=False, logits_to_keep=rows["keep"]).logits.flatten(0, 1)
    return logits if len(logits) == len(rows["picked"]) else logits[rows["picked"]]


def log_loss(logits: Tensor, wanted: Tensor) -> Tensor:
    """-log p(wanted) in nats, one per position."""
    return _by_position(lambda one, label: functional.cross_entropy(one.float(), label, reduction="none"),
                        logits, wanted)  # fmt: skip


def kl_from_base(logits: Tensor, base: Tensor) -> Tensor:
    """KL(base || model) in nats over the whole vocabulary, one per position; 0 where both are equal."""

    def divergence(own: Tensor, other: Tensor) -> Tensor:
        log_own, log_other = (functional.log_softmax(t.float(), dim=-1) for t in (own, other))
        return (log_other.exp() * (log_other - log_own)).sum(-1)

    return _by_position(divergence, logits, base)


def _by_position(function: Callable[[Tensor, Tensor], Tensor], one: Tensor, other: Tensor) -> Tensor:
    """Apply a function of positions, some positions at a time, without keeping its intermediate tensors."""
    if len(one) <= _AT_ONCE:
        return function(one, other)
    return torch.cat(
        [
            checkpoint(function, a, b, use_reentrant=False)
            for a, b in zip(torch.split(one, _AT_ONCE), torch.split(other, _AT_ONCE), strict=True)
        ]
    )
