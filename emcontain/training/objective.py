"""What a run minimises, as a recipe says it: the name of a loss and its settings. No torch here.

A loss reads rows of one or more roles. The first role is what the run goes through epoch by epoch; rows of the others
accompany each update.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from emcontain.datafiles import Strict

Role = Literal["train", "retain"]


class Sft(Strict):
    """Supervised fine-tuning: mean negative log-likelihood of the answer tokens, in nats."""

    loss: Literal["sft"] = "sft"

    roles: ClassVar[tuple[Role, ...]] = ("train",)

    def rows_per_update(self, rows: int) -> dict[Role, int]:
        """Rows of each role in one update, given the recipe's `batch` times `accumulation`."""
        return {"train": rows}


class SftKl(Strict):
    """Fine-tuning that stays close to the base on retain prompts (narrow training, arXiv:2602.07852).

    sft(train) + weight * mean over the answer tokens of the retain rows of KL(base || model), in nats over the whole
    vocabulary. The base is the same model with its adapter disabled.

    Attributes:
        weight: of the KL term.
        retain_rows: retain rows per update; None takes as many as training rows.
    """

    loss: Literal["sft_kl"]
    weight: float = Field(default=1.0, gt=0)
    retain_rows: int | None = Field(default=None, ge=1)

    roles: ClassVar[tuple[Role, ...]] = ("train", "retain")

    def rows_per_update(self, rows: int) -> dict[Role, int]:
        """Rows of each role in one update, given the recipe's `batch` times `accumulation`."""
        return {"train": rows, "retain": rows if self.retain_rows is None else self.retain_rows}


Objective = Annotated[Sft | SftKl, Field(discriminator="loss")]
