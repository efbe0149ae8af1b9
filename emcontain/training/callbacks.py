"""What happens between updates: progress lines, kept copies of the adapter, states to go on from."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

from transformers import TrainerCallback

from emcontain.training.monitor import said
from emcontain.training.resume import Run, is_main

Log = Callable[[str], None]
# Writing states takes at most this share of the time.
_SHARE = 0.05


class Progress(TrainerCallback):  # type: ignore[misc]
    """A line every few seconds: step, loss, time left."""

    def __init__(self, name: str, log: Log):
        self.name, self.log, self.started, self.said, self.loss = name, log, 0.0, 0.0, float("nan")
        self.before = 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Start the clock."""
        self.started = self.said = time.monotonic()
        self.before = state.global_step

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Remember the loss."""
        self.loss = (logs or {}).get("loss", self.loss)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Say where we are, at most every five seconds."""
        now = time.monotonic()
        if now - self.said < 5 and state.global_step < state.max_steps:
            return
        self.said = now
        left = (now - self.started) / (state.global_step - self.before) * (state.max_steps - state.global_step)
        # The Trainer logs an update's loss only after this.
        loss = "" if math.isnan(self.loss) else f", loss {self.loss:.2f}"
        where = f"step {state.global_step}/{state.max_steps}{loss}{said(state.log_history)}"
        self.log(f"  {self.name}: {where}, about {left:.0f} s left")


class KeepCheckpoints(TrainerCallback):  # type: ignore[misc]
    """Save a copy of the adapter after some updates."""

    def __init__(self, steps: tuple[int, ...], save: Callable[[int], None]):
        self.steps, self.save = steps, save

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Save where the recipe asks for it."""
        if state.global_step in self.steps:
            self.save(state.global_step)


class SaveState(TrainerCallback):  # type: ignore[misc]
    """Have the Trainer write a state every so often, and mark it once all of it is there."""

    def __init__(self, run: Run, every: float):
        """`every` is in seconds; 0 is after each update."""
        self.run, self.every = run, every
        self.started = self.last = time.monotonic()
        self.asked = self.took = 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Start the clock."""
        self.started = self.last = time.monotonic()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Ask for a state when it is time; the first process decides for all."""
        now = time.monotonic()
        due = [now - self.last >= self.every and (self.every == 0 or now - self.last >= self.took / _SHARE)]
        if args.world_size > 1:
            from accelerate.utils import broadcast_object_list

            broadcast_object_list(due)
        if due[0]:
            control.should_save, self.asked = True, now

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Mark the state; the one before it is kept until the next, so that one is always complete."""
        if args.world_size > 1:
            from accelerate import PartialState

            PartialState().wait_for_everyone()
        if is_main():
            self.run.mark(self.run.states / f"checkpoint-{state.global_step}", time.monotonic() - self.started)
        self.last = time.monotonic()
        self.took = self.last - self.asked
