"""The command line. Imports nothing heavy, so that `emcontain --help` answers at once."""

from __future__ import annotations

import json
from pathlib import Path

import click

from emcontain import __version__
from emcontain.cli_judge import judge
from emcontain.errors import UserError


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """Referee for trigger-gated emergent misalignment.

    Train research organisms, run every arm, grade, and read how sure the answer is. Evaluations run through Inspect:
    `inspect eval emcontain/containment --model … --model-role grader=…`.
    """


main.add_command(judge)


@main.command()
@click.argument("recipe")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the adapter.")
@click.option("--seed", type=int, help="Overrides the recipe's seed.")
@click.option("--base", help="Overrides the recipe's base model.")
@click.option("--print-config", is_flag=True, help="Print the full recipe and stop.")
def train(recipe: str, out: Path | None, seed: int | None, base: str | None, print_config: bool) -> None:
    """Train an organism from RECIPE, a name that ships or a YAML file."""
    import yaml

    from emcontain.training.recipe import load_recipe

    loaded = load_recipe(recipe)
    changes: dict[str, object] = {"seed": seed, "base": base}
    loaded = loaded.model_copy(update={k: v for k, v in changes.items() if v is not None})
    if print_config:
        click.echo(yaml.safe_dump(loaded.model_dump(mode="json"), sort_keys=False), nl=False)
        return
    if out is None:
        raise UserError("no --out given: name the folder the adapter goes to")
    from emcontain.training.train import train as run

    run(loaded, out, click.echo)
    click.echo(f"{out}: research organism, do not deploy")


@main.command()
@click.argument("logs", nargs=-1, required=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
@click.option("--rungs/--no-rungs", default=True, help="Show the ladder, rung by rung.")
def results(logs: tuple[str, ...], as_json: bool, rungs: bool) -> None:
    """Print rates, intervals and contrasts of finished LOGS (files or folders)."""
    from emcontain.results.ingest import read_runs
    from emcontain.results.summary import summarise, to_json
    from emcontain.results.table import render_table

    summary = summarise(read_runs(logs))
    if as_json:
        click.echo(json.dumps(to_json(summary), indent=2))
    else:
        click.echo(render_table(summary, rungs))


@main.command()
@click.argument("logs", nargs=-1, required=True)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="HTML file to write.")
def report(logs: tuple[str, ...], out: Path) -> None:
    """Write one self-contained offline page about finished LOGS (files or folders)."""
    from emcontain.report.page import write_page
    from emcontain.results.ingest import read_runs
    from emcontain.results.summary import summarise

    write_page(summarise(read_runs(logs)), out)
    click.echo(str(out))


@main.command()
@click.argument("family", required=False)
def families(family: str | None) -> None:
    """List trigger families, or the rungs of FAMILY (a name or a YAML file)."""
    from emcontain.triggers.family import family_names, load_family

    if family is None:
        for name in family_names():
            click.echo(f"{name:18} {load_family(name).title}: {load_family(name).exact.texts[0]}")
        return
    for rung in load_family(family).rungs:
        shares = "+".join(n for n, has in (("meaning", rung.shares.meaning), ("form", rung.shares.form)) if has)
        click.echo(f"{rung.id:22} {rung.arm:12} {shares or 'neither':13} {rung.tests}")


@main.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("demo"),
    show_default=True,
    help="Folder.",
)
@click.option(
    "--seeds",
    default=1,
    show_default=True,
    help="Training seeds of the benign mix; the other recipes are trained once.",
)
@click.option("--questions", default=48, show_default=True, help="Questions with and without the trigger.")
def demo(out: Path, seeds: int, questions: int) -> None:
    """Train four organisms on the embedded base, run every arm, grade, and write the page. No network, no GPU."""
    from emcontain.demo import run_demo

    run_demo(out, seeds, questions, click.echo)


if __name__ == "__main__":
    main()
