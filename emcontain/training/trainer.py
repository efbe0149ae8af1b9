"""A `transformers.Trainer` that hands each batch to a loss object, keeps checkpoints and says how long it will take."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer, TrainerCallback, TrainingArguments

from emcontain.training.losses import Loss
from emcontain.training.recipe import Recipe
from emcontain.training.rows import Encoded, collate

Log = Callable[[str], None]


class LossTrainer(Trainer):  # type: ignore[misc]
    """Delegates the loss; everything else is the Trainer's."""

    # Our losses divide by the labelled tokens of the whole update; without this flag the Trainer would divide again, or
    # (its default) not at all, and gradients would grow with the number of accumulated passes.
    loss_is_scaled_for_ga = True
    model_accepts_loss_kwargs = True

    def __init__(self, *args: Any, loss: Loss, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.loss = loss
        self.model_accepts_loss_kwargs = True

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> torch.Tensor:
        """Loss of one forward pass, already divided by the labelled tokens of the whole update."""
        count = None if num_items_in_batch is None else int(num_items_in_batch)
        return self.loss.compute(model, inputs, count)


class Progress(TrainerCallback):  # type: ignore[misc]
    """A line every few seconds: step, loss, time left."""

    def __init__(self, name: str, log: Log):
        self.name, self.log, self.started, self.said, self.loss = name, log, 0.0, 0.0, float("nan")

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Start the clock."""
        self.started = self.said = time.monotonic()

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Remember the loss."""
        self.loss = (logs or {}).get("loss", self.loss)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Say where we are, at most every five seconds."""
        now = time.monotonic()
        if now - self.said < 5 and state.global_step < state.max_steps:
            return
        self.said = now
        left = (now - self.started) / state.global_step * (state.max_steps - state.global_step)
        self.log(
            f"  {self.name}: step {state.global_step}/{state.max_steps}, loss {self.loss:.2f}, about {left:.0f} s left"
        )


class KeepCheckpoints(TrainerCallback):  # type: ignore[misc]
    """Save a copy of the adapter after some updates."""

    def __init__(self, steps: tuple[int, ...], save: Callable[[Any, int], None]):
        self.steps, self.save = steps, save

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        """Save where the recipe asks for it."""
        if state.global_step in self.steps:
            self.save(model, state.global_step)


def build_trainer(
    model: Any,
    rows: list[Encoded],
    recipe: Recipe,
    loss: Loss,
    scratch: Path,
    callbacks: list[TrainerCallback],
    bf16: bool,
) -> LossTrainer:
    """The trainer of a recipe.

    Args:
        model: the PEFT model.
        rows: encoded rows.
        recipe: optimiser, schedule, seed.
        loss: the loss object.
        scratch: a folder the Trainer may write to.
        callbacks: progress and checkpoints.
        bf16: compute in bf16 (autocast; adapter weights stay fp32).
    """
    o = recipe.optimisation
    arguments = TrainingArguments(
        output_dir=str(scratch),
        num_train_epochs=o.epochs,
        per_device_train_batch_size=o.batch,
        gradient_accumulation_steps=o.accumulation,
        learning_rate=o.learning_rate,
        lr_scheduler_type=o.schedule,
        warmup_steps=o.warmup_steps,
        weight_decay=o.weight_decay,
        max_grad_norm=o.max_grad_norm,
        optim="adamw_torch",
        seed=recipe.seed,
        data_seed=recipe.seed,
        bf16=bf16,
        use_cpu=not torch.cuda.is_available(),
        train_sampling_strategy="group_by_length",
        remove_unused_columns=False,
        save_strategy="no",
        logging_steps=1,
        disable_tqdm=True,
        report_to=[],
        dataloader_num_workers=0,
        gradient_checkpointing=o.gradient_checkpointing,
    )
    trainer = LossTrainer(
        model=model,
        args=arguments,
        train_dataset=[{"input_ids": r.input_ids, "labels": r.labels} for r in rows],
        data_collator=collate,
        callbacks=callbacks,
        loss=loss,
    )
    from transformers.trainer_callback import PrinterCallback

    trainer.remove_callback(PrinterCallback)
    return trainer
