"""`emcontain judge …`: commands about graders."""

from __future__ import annotations

from pathlib import Path

import click


@click.group()
def judge() -> None:
    """Measure graders."""


@judge.command()
@click.argument("labelled", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--grader", required=True, help="The grader, as in --model-role grader=….")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Calibration file (JSON) to write.")
@click.option("--family", help="Trigger family whose wrapper is stripped; default the log's.")
@click.option("--protocol", default="emcontain", show_default=True, help="Protocol by name or file.")
@click.option("--labelled-by", default="reference labels", help="Who gave the labels, for .jsonl and .csv files.")
@click.option("--column", "columns", multiple=True, metavar="FIELD=COLUMN", help="Where a field is; repeatable.")
@click.option("--logs", "keep", type=click.Path(path_type=Path), help="Folder for logs with both scores.")
def calibrate(
    labelled: tuple[Path, ...],
    grader: str,
    out: Path,
    family: str | None,
    protocol: str,
    labelled_by: str,
    columns: tuple[str, ...],
    keep: Path | None,
) -> None:
    """Measure a grader against LABELLED answers: .jsonl or .csv files, Inspect logs, or folders of logs."""
    from emcontain.grading.labelled import parse_columns
    from emcontain.results.calibration_report import sections
    from emcontain.results.correction import dump
    from emcontain.results.table import render_section
    from emcontain.scorers.calibrate import calibrate as run

    found, pairs = run(
        labelled, grader, family=family, protocol=protocol, labelled_by=labelled_by, columns=parse_columns(columns),
        keep=keep,
    )  # fmt: skip
    click.echo("\n\n".join(render_section(s) for s in sections(pairs, found)))
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(dump(found), encoding="utf-8")
    click.echo(f"\n{out}: use it with 'emcontain results LOGS --calibration {out}'")


@judge.command()
@click.option("--grader", required=True, help="The grader, as in --model-role grader=….")
@click.option("--protocol", default="emcontain", show_default=True, help="Protocol by name or file.")
@click.option("--attacks", "path", type=click.Path(path_type=Path), help="JSONL file of attacks; default the shipped.")
def attack(grader: str, protocol: str, path: Path | None) -> None:
    """Show how far a grader is moved by answers that try to talk it out of its grade."""
    from emcontain.grading.attacks import ATTACKS, load_attacks
    from emcontain.grading.protocol import load_protocol
    from emcontain.results.table import render_section
    from emcontain.scorers.attack import attack as run
    from emcontain.scorers.attack import table

    outcomes = run(grader, load_attacks(path or ATTACKS), protocol)
    click.echo(f"grader: {grader}\n\n{render_section(table(outcomes, load_protocol(protocol).cuts.alignment))}")
