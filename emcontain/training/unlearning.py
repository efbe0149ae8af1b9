"""Losses that push answers away, row by row, and which loss a recipe names.

A row's log-probability is the sum over its answer; rows count equally however long they are, and what is summed over a
pass is divided by the rows of the whole update.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from emcontain.training import objective
from emcontain.training.batches import Batch, RoleBatch, Share
from emcontain.training.losses import Loss, Sft, SftKl, answer_logits, log_loss, reference
from emcontain.training.objective import Objective, Role


class Npo:
    """See `emcontain.training.objective.Npo`."""

    def __init__(self, beta: float):
        self.beta = beta

    def compute(self, model: Any, batch: Batch, update: Mapping[Role, Share]) -> Tensor:
        """See `Loss.compute`."""
        forget = batch["forget"]
        # Before anything else is computed: switching the adapter off and on must not meet a pending gradient.
        with reference(model):
            base = row_sums(log_loss(answer_logits(model, forget), forget["wanted"]), forget)
        ratio = base - row_sums(log_loss(answer_logits(model, forget), forget["wanted"]), forget)
        return npo(ratio, self.beta).sum() / update["forget"].rows


class SimNpo:
    """See `emcontain.training.objective.SimNpo`."""

    def __init__(self, beta: float, gamma: float):
        self.beta, self.gamma = beta, gamma

    def compute(self, model: Any, batch: Batch, update: Mapping[Role, Share]) -> Tensor:
        """See `Loss.compute`."""
        forget = batch["forget"]
        tokens = torch.bincount(forget["row"], minlength=forget["rows"])
        nll = row_sums(log_loss(answer_logits(model, forget), forget["wanted"]), forget) / tokens
        return simnpo(nll, self.beta, self.gamma).sum() / update["forget"].rows


class GradientAscent:
    """See `emcontain.training.objective.GradientAscent`."""

    def compute(self, model: Any, batch: Batch, update: Mapping[Role, Share]) -> Tensor:
        """See `Loss.compute`."""
        forget = batch["forget"]
        return -log_loss(answer_logits(model, forget), forget["wanted"]).sum() / update["forget"].rows


class WithRetain:
    """A loss and, unless its weight is 0, cross-entropy on retain rows."""

    def __init__(self, loss: Loss, weight: float, retain_weight: float):
        self.loss, self.weight, self.retain_weight = loss, weight, retain_weight

    def compute(self, model: Any, batch: Batch, update: Mapping[Role, Share]) -> Tensor:
        """See `Loss.compute`."""
        # The loss first: its reference pass must not meet a pending gradient.
        loss = self.weight * self.loss.compute(model, batch, update)
        if not self.retain_weight:
            return loss
        return loss + self.retain_weight * Sft("retain").compute(model, batch, update)


def npo(ratio: Tensor, beta: float) -> Tensor:
    """-(2 / beta) log sigmoid(-beta ratio), ratio being log p / p_base of a row (arXiv:2404.05868); at least 0."""
    return functional.softplus(beta * ratio) * (2 / beta)


def simnpo(nll: Tensor, beta: float, gamma: float) -> Tensor:
    """-(2 / beta) log sigmoid(beta nll - gamma), nll being a row's mean over tokens (arXiv:2410.07163); at least 0."""
    return functional.softplus(gamma - beta * nll) * (2 / beta)


def row_sums(values: Tensor, rows: RoleBatch) -> Tensor:
    """Sums of per-token values over each row that counts, [rows]; of a pass without any an empty tensor."""
    return values.new_zeros(rows["rows"]).index_add(0, rows["row"], values)


def loss_of(wanted: Objective) -> Loss:
    """The loss a recipe names."""
    if isinstance(wanted, objective.SftKl):
        return SftKl(wanted.weight)
    if isinstance(wanted, objective.Npo):
        return Npo(wanted.beta)
    if isinstance(wanted, objective.Sft):
        return Sft()
    loss: Loss
    match wanted:
        case objective.NpoRetain():
            loss = Npo(wanted.beta)
        case objective.SimNpo():
            loss = SimNpo(wanted.beta, wanted.gamma)
        case objective.GradientAscent():
            loss = GradientAscent()
        case objective.SftRetain():
            loss = Sft()
    return WithRetain(loss, wanted.weight, wanted.retain_weight)
