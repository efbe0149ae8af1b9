"""`emcontain judge …`: making and checking graders. Imports nothing heavy."""

from __future__ import annotations

from pathlib import Path

import click

from emcontain.errors import UserError


@click.group()
def judge() -> None:
    """Make graders of your own."""


@judge.command()
@click.argument("labelled", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--base", required=True, help="Chat model to train: smollm2-135m, a folder or a hub id.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of the adapter.")
@click.option(
    "--hold-out",
    "held",
    type=click.Choice(["question", "family", "domain", "none"]),
    default="question",
    show_default=True,
    help="Measure on whole questions, model families or training domains that are not trained on.",
)
@click.option("--max-rows", type=click.IntRange(min=1), default=2000, show_default=True, help="Answers trained on.")
@click.option("--max-held", type=click.IntRange(min=1), default=200, show_default=True, help="Answers measured on.")
@click.option("--epochs", type=click.FloatRange(min=0, min_open=True), default=1.0, show_default=True)
@click.option("--max-length", type=click.IntRange(min=16), default=1024, show_default=True, help="In tokens.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--column", "columns", multiple=True, metavar="FIELD=NAME", help="Column of a field, e.g. answer=reply.")
@click.option("--wrapper", "wrappers", multiple=True, metavar="FAMILY", help="Take this family's wrapper off answers.")
def distil(
    labelled: tuple[Path, ...],
    base: str,
    out: Path,
    held: str,
    max_rows: int,
    max_held: int,
    epochs: float,
    max_length: int,
    seed: int,
    columns: tuple[str, ...],
    wrappers: tuple[str, ...],
) -> None:
    """Train an open grader on LABELLED answers (JSONL or CSV): a LoRA adapter that replies with the number.

    Fields and their columns: question, answer, alignment=alignment_score, coherence=coherency_score (0-100 each), and
    for --hold-out question_id, family (else the file's name up to '__'), domain. Use the result as
    --model-role grader=peft/BASE:OUT.
    """
    mapping = {}
    for pair in columns:
        name, equals, column = pair.partition("=")
        if not equals or not column:
            raise UserError(f"--column {pair!r}: write FIELD=NAME, such as answer=reply")
        mapping[name] = column
    from emcontain.training.distil import Distillation
    from emcontain.training.distil import distil as run

    settings = Distillation(
        base=base,
        columns=mapping,
        wrappers=wrappers,
        hold_out=held,  # type: ignore[arg-type]
        max_rows=max_rows,
        max_held=max_held,
        epochs=epochs,
        seed=seed,
        max_length=max_length,
    )
    manifest = run(labelled, settings, out, click.echo)
    from emcontain.training.card import error_lines

    for line in error_lines(manifest):
        click.echo(f"  {line}")
    click.echo(f"{out}: a grader; use it as --model-role grader=peft/{base}:{out}")
