"""Several training seeds of one recipe: what would another training run, asked questions like these, give?

Seeds and questions are crossed random effects (Brennan 2001): every seed answers the same questions. With the mean
squares of seeds, questions and their interaction, the variance of the overall mean is (MS_seed + MS_question - MS_rest)
/ (S Q), never taken below MS_seed / (S Q) or MS_question / (S Q); degrees of freedom by Satterthwaite (1946).
The t interval over the seeds' values, S - 1 degrees of freedom, is used where it is wider; alone it would take the
questions for the only ones there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from emcontain.statistics.counts import Floats
from emcontain.statistics.rates import NAN

MINIMUM_SEEDS = 3


@dataclass(frozen=True)
class OverSeeds:
    """A rate or difference over training seeds.

    Attributes:
        mean: over seeds and over the questions that all seeds answered; NaN without any.
        lower, upper: two-sided interval for seeds like these and questions like these; NaN below three seeds or two
            questions, and where no value differs from another: no spread is not no uncertainty.
        per_seed: seed → its value on those questions.
        seed_sd: standard deviation between seeds, noise of questions and answers taken out; 0 where it does not show,
            NaN below two seeds.
        questions: questions that all seeds answered.
    """

    mean: float
    lower: float
    upper: float
    per_seed: dict[int, float]
    seed_sd: float
    questions: int


def over_seeds(
    values: Floats,
    seeds: Sequence[int],
    confidence: float = 0.95,
    lowest: float = 0.0,
    highest: float = 1.0,
    pooled: tuple[float, float] | None = None,
) -> OverSeeds:
    """Combine seeds.

    Args:
        values: (S, Q) value per seed and question (a rate or a difference); NaN where not answered.
        seeds: S seed numbers.
        confidence: of the interval.
        lowest: the interval is cut there (0 for rates, -1 for differences).
        highest: likewise.
        pooled: interval of all seeds' answers put together, as if of one seed; ours is never narrower. It knows what
            rare hits leave open, which mean squares do not.
    """
    common = np.isfinite(values).all(axis=0)
    kept = values[:, common]
    count, questions = kept.shape
    if not questions or not count:
        return OverSeeds(NAN, NAN, NAN, dict.fromkeys(seeds, NAN), NAN, 0)
    by_seed, by_question, mean = kept.mean(axis=1), kept.mean(axis=0), float(kept.mean())
    per_seed = {seed: float(v) for seed, v in zip(seeds, by_seed, strict=True)}
    if count < 2 or questions < 2:
        return OverSeeds(mean, NAN, NAN, per_seed, NAN, questions)
    df = np.array([count - 1, questions - 1, (count - 1) * (questions - 1)], dtype=np.float64)
    rest = kept - by_seed[:, None] - by_question[None, :] + mean
    squares = np.array(
        [questions * ((by_seed - mean) ** 2).sum(), count * ((by_question - mean) ** 2).sum(), (rest**2).sum()]
    )
    of_seeds, of_questions, of_rest = squares / df
    seed_sd = float(np.sqrt(max(0.0, (of_seeds - of_rest) / questions)))
    spread = max(of_seeds + of_questions - of_rest, of_seeds, of_questions)
    if count < MINIMUM_SEEDS or spread < 1e-20:
        return OverSeeds(mean, NAN, NAN, per_seed, seed_sd, questions)
    degrees = spread**2 / float(((squares / df) ** 2 / df).sum())
    tail = (1 - confidence) / 2
    half = max(
        -special.stdtrit(max(degrees, 1.0), tail) * np.sqrt(spread / (count * questions)),
        -special.stdtrit(count - 1, tail) * np.sqrt(of_seeds / (count * questions)),
    )
    lower, upper = max(lowest, float(mean - half)), min(highest, float(mean + half))
    if pooled is not None:
        lower, upper = min(lower, pooled[0]), max(upper, pooled[1])
    return OverSeeds(mean, lower, upper, per_seed, seed_sd, questions)
