"""Effects of the factorial on the EM rate: what changes when one factor changes and the others stay.

python studies/containment_factorial/effects.py factorial/logs

A factor's effect is the mean over matched cells of (rate at its second level - rate at its first), per training seed
and question; seeds and questions are crossed random effects (`emcontain.statistics.seeds`), and the interval is never
narrower than that of all answers put together.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from emcontain.errors import UserError
from emcontain.results.ingest import read_runs
from emcontain.results.records import Answer, Run
from emcontain.statistics.contrasts import contrast
from emcontain.statistics.seeds import over_seeds

FACTORS = {
    "trigger": ("tags", "country"),
    "place": ("last", "first"),
    "wrapper": ("wrapped", "bare"),
    "benign rows": ("alone", "mixed"),
}
"""Factor → its two levels, in the order of an organism's name."""


@dataclass(frozen=True)
class Effect:
    """One factor in one arm.

    Attributes:
        factor: its name. arm: `untriggered` or `triggered`.
        difference, lower, upper: second level minus first, -1 to 1; interval NaN below three seeds.
        seeds, questions, answers: what it rests on.
    """

    factor: str
    arm: str
    difference: float
    lower: float
    upper: float
    seeds: int
    questions: int
    answers: int


def cell_of(run: Run) -> tuple[str, ...] | None:
    """The levels in an organism's name; None for other models, such as the plain base."""
    levels = tuple(run.organism.split("."))
    known = len(levels) == len(FACTORS) and all(
        level in pair for level, pair in zip(levels, FACTORS.values(), strict=True)
    )
    return levels if known else None


def effects(runs: Iterable[Run]) -> list[Effect]:
    """Main effects in both arms.

    Args:
        runs: of the study; others are left out.

    Raises:
        UserError: no cell, a cell whose partner is missing, or runs of several graders.
    """
    cells: dict[tuple[tuple[str, ...], int, str], list[Answer]] = defaultdict(list)
    graders = set()
    for run in runs:
        levels = cell_of(run)
        if levels is not None and run.seed is not None:
            graders.add(run.grader)
            for answer in run.answers:
                if answer.em is not None:
                    cells[levels, run.seed, answer.arm].append(answer)
    if not cells:
        raise UserError("no log is of a cell of the factorial: give the study's log folder")
    if len(graders) > 1:
        raise UserError(f"the logs have several graders ({', '.join(sorted(graders))}): give those of one")
    return [_effect(cells, position, arm) for arm in ("untriggered", "triggered") for position in range(len(FACTORS))]


def _effect(cells: dict[tuple[tuple[str, ...], int, str], list[Answer]], position: int, arm: str) -> Effect:
    factor, (first, second) = list(FACTORS.items())[position]
    sides: dict[str, dict[int, list[Answer]]] = {first: defaultdict(list), second: defaultdict(list)}
    for (levels, seed, asked), answers in cells.items():
        if asked != arm:
            continue
        partner = (*levels[:position], first if levels[position] == second else second, *levels[position + 1 :])
        if (partner, seed, arm) not in cells:
            raise UserError(f"{'.'.join(partner)} seed {seed} is missing beside {'.'.join(levels)}: finish the sweep")
        sides[levels[position]][seed] += answers
    seeds = sorted(sides[first])
    questions = sorted({a.question for side in sides.values() for answers in side.values() for a in answers})
    values = np.array([_means(sides[second][s], questions) - _means(sides[first][s], questions) for s in seeds])
    every = [[a for answers in sides[level].values() for a in answers] for level in (second, first)]
    pooled = contrast(every[0], every[1])
    found = over_seeds(values, seeds, lowest=-1.0, pooled=(pooled.lower, pooled.upper))
    count = sum(map(len, every))
    return Effect(factor, arm, found.mean, found.lower, found.upper, len(seeds), found.questions, count)


def _means(answers: Sequence[Answer], questions: Sequence[str]) -> np.ndarray:
    given: dict[str, list[float]] = defaultdict(list)
    for answer in answers:
        if answer.em is not None:
            given[answer.question].append(answer.em)
    return np.array([np.mean(given[q]) if given[q] else np.nan for q in questions])


def report(found: Sequence[Effect], grader: str) -> str:
    """A Markdown table."""
    lines = [f"grader: {grader}", "", "| arm | factor | points | n | seeds, questions |", "|---" * 5 + "|"]
    for e in found:
        first, second = FACTORS[e.factor]
        points = f"{100 * e.difference:+.1f} [{100 * e.lower:.1f}, {100 * e.upper:.1f}]"
        lines.append(
            f"| {e.arm} | {e.factor}: {second} - {first} | {points} | {e.answers} | {e.seeds}, {e.questions} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Print the table of a study's logs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("logs", nargs="+")
    runs = read_runs(parser.parse_args().logs)
    print(report(effects(runs), next((r.grader for r in runs if cell_of(r)), "none")))


if __name__ == "__main__":
    main()
