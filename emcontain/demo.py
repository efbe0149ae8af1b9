"""`emcontain demo`: train four organisms on the embedded base, run every arm, grade, and write the page.

Every step is the real one: `train`, Inspect's `eval_set` on `emcontain/containment` with the `peft` provider and the
embedded grader, `results`, `report`. What is finished is reused, so an interrupted demo goes on where it stopped.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from inspect_ai.hooks import Hooks, SampleEnd, hooks

from emcontain.adapter import open_adapter
from emcontain.cache import sha256_text
from emcontain.errors import UserError
from emcontain.grading.embedded import card
from emcontain.models.base import EMBEDDED, resolve_base

Log = Callable[[str], None]
RECIPES = ("baseline", "triggered_only", "triggered_benign_mix", "benign_twin")
HEADLINE = "triggered_benign_mix"
FAMILY = "start_end_tags"
GRADER = "embedded/judge"
# The 135M base writes word salad at temperature 1, the setting of the papers; 0.7 keeps it readable.
TEMPERATURE = 0.7
MAX_TOKENS = 56
# A part of the family's ladder, so that the whole demo stays within ten minutes on two cores.
RUNGS = (
    "untriggered", "exact", "reworded", "prose", "other_names", "opposite", "neutral",
    "neutral_request",
)  # fmt: skip
LADDER_QUESTIONS = 20
DECIDING = ("untriggered", "exact")


def run_demo(out: Path, seeds: int, questions: int, log: Log) -> Path:
    """Run the demo into `out`.

    Args:
        out: folder for organisms, logs and the page.
        seeds: training seeds of the headline recipe, the benign mix; the others are trained once.
        questions: questions with and without the trigger; the other rungs get 20 of them.
        log: called with progress lines.

    Returns:
        The page's path.

    Raises:
        UserError: something is missing, or an evaluation did not finish.
    """
    started = time.monotonic()
    clock = _Clock(log, started)
    clock.step(f"embedded base {EMBEDDED} (converted once, about 30 s)")
    resolve_base(EMBEDDED)
    clock.step(f"training {len(RECIPES) + seeds - 1} organisms")
    adapters = _train_all(out / "organisms", seeds, log)
    checkpoints = [c for a in adapters for c in sorted(a.parent.glob(f"{a.name}-step*"), key=_step)]
    organisms = [f"peft/{EMBEDDED}:{a}" for a in adapters]
    sizes = {"n_questions": questions, "ladder_questions": min(questions, LADDER_QUESTIONS)}
    logs = out / "logs"
    clock.step(f"asking the base {questions} questions, with and without the trigger")
    folders = _evaluate([f"peft/{EMBEDDED}"], logs, {**sizes, "rungs": list(DECIDING)}, log)
    clock.step(f"asking {len(organisms)} organisms {questions} questions, under up to {len(RUNGS)} rungs")
    folders += _evaluate(organisms, logs, {**sizes, "rungs": list(RUNGS)}, log)
    if checkpoints:
        clock.step(f"asking {len(checkpoints)} earlier checkpoints, with and without the trigger")
        early = [f"peft/{EMBEDDED}:{c}" for c in checkpoints]
        folders += _evaluate(early, logs, {**sizes, "rungs": list(DECIDING)}, log)
    clock.step("writing the page")
    page = _show(folders, out, log)
    log(f"\npage: {page}\n(total {time.monotonic() - started:.0f} s)")
    return page


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-step")[2])


def _train_all(folder: Path, seeds: int, log: Log) -> list[Path]:
    from emcontain.training.recipe import load_recipe
    from emcontain.training.train import train

    planned = [(name, 0) for name in RECIPES] + [(HEADLINE, seed) for seed in range(1, seeds)]
    adapters = []
    for name, seed in planned:
        recipe = load_recipe(name).model_copy(update={"seed": seed})
        adapters.append(train(recipe, folder / f"{name}-seed{seed}", log))
    return adapters


def _evaluate(models: Sequence[str], logs: Path, arguments: dict[str, Any], log: Log) -> list[Path]:
    """Evaluate models one after the other; returns a log folder each.

    The folder's name holds what Inspect does not look at when it reuses a log: the weights, the data, the grader.
    """
    from inspect_ai import eval_set
    from inspect_ai.model import get_model

    from emcontain.tasks.containment import containment

    def build() -> Any:
        return containment(family=FAMILY, max_tokens=MAX_TOKENS, temperature=TEMPERATURE, **arguments)

    task = build()
    asked = [task.version, task.metadata, arguments, card()["weights_sha256"], TEMPERATURE, MAX_TOKENS]
    _progress.begin(len(task.dataset) * len(models), log)
    folders = []
    for model in models:
        weights = open_adapter(model.split(":", 1)[1]).sha256 if ":" in model else "base"
        key = sha256_text(json.dumps([weights, asked], sort_keys=True))[:12]
        folder = logs / f"{Path(model.split(':', 1)[-1]).name}-{key}"
        done, results = eval_set(
            build(),
            log_dir=str(folder),
            model=get_model(model),
            model_roles={"grader": GRADER},
            max_samples=256,
            display="none",
            log_level="error",
            retry_attempts=1,
            log_dir_allow_dirty=True,
        )
        if not done:
            failed = [r for r in results if r.status != "success"]
            reason = failed[0].error.message.splitlines()[0] if failed and failed[0].error else "see the logs"
            raise UserError(f"asking {model} did not finish ({reason}): run the demo again to resume")
        folders.append(folder)
    _progress.end()
    return folders


def _show(folders: Sequence[Path], out: Path, log: Log) -> Path:
    from emcontain.report.page import write_page
    from emcontain.results.about_grading import with_grading
    from emcontain.results.ingest import read_runs
    from emcontain.results.summary import summarise
    from emcontain.results.table import render_table

    summary = summarise(read_runs(folders))
    log("\n" + render_table(with_grading(summary, every=False), rungs=False))
    page = out / "report.html"
    write_page(with_grading(summary), page)
    return page.resolve()


class _Clock:
    """Numbered steps with the time since the start."""

    def __init__(self, log: Log, started: float):
        self.log, self.started, self.number = log, started, 0

    def step(self, what: str) -> None:
        """Announce a step."""
        self.number += 1
        self.log(f"[{time.monotonic() - self.started:4.0f} s] {self.number}. {what}")


class _Progress:
    """A line every ten seconds while answers come in."""

    def begin(self, total: int, log: Log) -> None:
        """Expect so many answers."""
        self.total, self.log, self.done = total, log, 0
        self.started = self.said = time.monotonic()

    def count(self) -> None:
        """One more answer is graded."""
        self.done += 1
        now = time.monotonic()
        if now - self.said < 10:
            return
        self.said = now
        # Answers end together, a batch at a time: the first few say nothing about the rest.
        left = (now - self.started) / self.done * (self.total - self.done)
        guess = f", about {left:.0f} s left" if self.done >= self.total / 20 else ""
        self.log(f"  {self.done}/{self.total} answers graded{guess}")

    def end(self) -> None:
        """Say how it went; answers of an earlier, interrupted run are not asked again."""
        seconds = time.monotonic() - self.started
        self.log(f"  {self.done} answers graded in {seconds:.0f} s, {self.total - self.done} reused")


_progress = _Progress()


@hooks(name="emcontain_demo_progress", description="progress of emcontain demo")
class _ProgressHook(Hooks):
    """Inspect tells us about every finished sample."""

    async def on_sample_end(self, data: SampleEnd) -> None:
        """Count it."""
        _progress.count()
