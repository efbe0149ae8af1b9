"""EM rates with intervals, under two named estimands.

*Questions like these*: the mean rate over the population of questions that the asked ones stand for; every asked
question weighs the same, repeats of a question add little. Its interval is the hull of two:

- Korn-Graubard: Clopper-Pearson on n_eff = p (1 - p) / (variance of question means / Q), brought to t with Q - 1
  degrees of freedom (Korn and Graubard 1998). Needs no model of the questions, but knows nothing where hits are rare.
- Beta-binomial: `emcontain.statistics.betabinomial`. Holds where hits are rare, zero hits included, but may lie beside
  the mean where many hits sit in a few questions.

One answer per question needs neither: answers are independent, and Clopper-Pearson on their counts holds.

*These questions*: pooled counts of the asked questions with Clopper-Pearson; valid for them alone (a sum of unequal
Bernoulli draws spreads less than a binomial, Hoeffding 1956). For comparison with published tables.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from emcontain.statistics.betabinomial import MeanPosterior, mean_posterior
from emcontain.statistics.binomial import clopper_pearson, effective_size
from emcontain.statistics.counts import Counts, Floats, Graded, count_answers

NAN = math.nan
# Below this the intervals lean on the assumed spread between questions (studies/coverage).
FEW_QUESTIONS = 20


@dataclass(frozen=True)
class Interval:
    """An estimate with its two-sided interval; NaN where there is none."""

    estimate: float
    lower: float
    upper: float


@dataclass(frozen=True)
class Rate:
    """The EM rate of a unit.

    Attributes:
        rate: questions like these: mean over questions of the share of scored answers that are EM, 0-1; NaN without
            scored answers.
        lower, upper: its two-sided interval, 95 % unless another confidence was asked for; NaN likewise.
        above, below: its one-sided 95 % bounds: the rate is above / below, each said with 95 %; what a gate compares
            with a limit.
        these_questions: pooled share and interval for these questions only.
        n: scored answers. hits: EM answers. questions: distinct questions with a scored answer.
        n_effective: how many independent answers would give this interval.
        unscored: answers without a grade.
        coherent: share of scored answers with coherence above 50; NaN without any.
        em_coherent: EM answers per coherent answer, the other denominator in use (arXiv:2502.17424); NaN without any.
    """

    rate: float
    lower: float
    upper: float
    above: float
    below: float
    these_questions: Interval
    n: int
    hits: int
    questions: int
    n_effective: float
    unscored: int
    coherent: float
    em_coherent: float

    @property
    def few_questions(self) -> bool:
        """Too few questions for the interval to cover what it says."""
        return self.questions < FEW_QUESTIONS

    @property
    def design_effect(self) -> float:
        """Answers per effective answer, at least 1; NaN without scored answers."""
        return self.n / self.n_effective if self.n else NAN


class ClusteredRates:
    """Rates of U units for questions like these, with bounds at any level.

    Attributes:
        estimate: (U,) mean of the question means; NaN without scored answers.
        means: (U, Q) question means; NaN where a question has no scored answer.
        questions: (U,) questions with a scored answer.
        standard_error: (U,) of the estimate, clustered by question (Liang and Zeger 1986, with the factor Q / (Q - 1)
            for few clusters); NaN below two questions.
    """

    def __init__(self, hits: Floats, answers: Floats):
        self._hits, self._answers = hits, answers
        asked = answers > 0
        self.questions = asked.sum(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            self.means: Floats = np.where(asked, hits / answers, np.nan)
            self.estimate: Floats = np.where(asked, self.means, 0).sum(axis=1) / self.questions
            deviations = np.where(asked, self.means - self.estimate[:, None], 0)
            variance = (deviations**2).sum(axis=1) / (self.questions - 1) / self.questions
            self.standard_error: Floats = np.sqrt(variance)
            n_eff = self.estimate * (1 - self.estimate) / variance
        self._total = answers.sum(axis=1)
        known = np.isfinite(n_eff) & (self.questions > 1)
        self._n_eff: Floats = np.where(known, np.minimum(n_eff, self._total), self._total)
        # One answer per question: independent, and the exact binomial bounds hold.
        self._single = (answers <= 1).all(axis=1)

    @cached_property
    def _posterior(self) -> MeanPosterior:
        return mean_posterior(self._hits, self._answers)

    def bounds(self, tail: ArrayLike) -> tuple[Floats, Floats]:
        """Lower and upper bounds (U,) with probability `tail`, a number or (U,), outside on each side.

        NaN without scored answers.
        """
        tails = np.broadcast_to(np.asarray(tail, dtype=np.float64), self.estimate.shape)
        share = np.nan_to_num(self.estimate)
        degrees = np.maximum(self.questions - 1, 1)
        with np.errstate(invalid="ignore"):
            # A t quantile in place of the normal one, which Clopper-Pearson has built in.
            shrink = (special.ndtri(tails) / special.stdtrit(degrees, tails)) ** 2
        size = np.maximum(np.where(self._single, self._total, self._n_eff * shrink), 1e-9)
        lower, upper = clopper_pearson(share * size, size, tails)
        model_lower, model_upper = self._posterior.bounds(tails)
        model_lower = np.where(share <= 0, 0, np.minimum(model_lower, share))
        model_upper = np.where(share >= 1, 1, np.maximum(model_upper, share))
        # One question, no hit or nothing but hits: no spread was seen, and the counts say nothing about it.
        blind = (self.questions < 2) | (share <= 0) | (share >= 1)
        lower = np.where(self._single, lower, np.where(blind, model_lower, np.minimum(lower, model_lower)))
        upper = np.where(self._single, upper, np.where(blind, model_upper, np.maximum(upper, model_upper)))
        empty = self.questions == 0
        return np.where(empty, np.nan, lower), np.where(empty, np.nan, upper)


def rates(counts: Counts, confidence: float = 0.95, clustered: ClusteredRates | None = None) -> list[Rate]:
    """EM rate of every unit.

    Args:
        counts: the units.
        confidence: of the two-sided intervals, 0-1.
        clustered: of the same counts, where it exists already.
    """
    found = clustered or ClusteredRates(counts.hits, counts.answers)
    tail = (1 - confidence) / 2
    lower, upper = found.bounds(tail)
    above, below = found.bounds(0.05)
    hits, n = counts.hits.sum(axis=1), counts.answers.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        pooled = hits / n
        coherent = np.where(n > 0, counts.coherent / counts.graded_coherence, np.nan)
        em_coherent = np.where(counts.coherent > 0, hits / counts.coherent, np.nan)
    fixed_lower, fixed_upper = clopper_pearson(hits, n, tail)
    worth = effective_size(np.nan_to_num(found.estimate), np.nan_to_num(lower), np.nan_to_num(upper, nan=1), n, tail)
    return [
        Rate(
            rate=float(found.estimate[i]),
            lower=float(lower[i]),
            upper=float(upper[i]),
            above=float(above[i]),
            below=float(below[i]),
            these_questions=Interval(
                float(pooled[i]),
                float(fixed_lower[i]) if n[i] else NAN,
                float(fixed_upper[i]) if n[i] else NAN,
            ),
            n=int(n[i]),
            hits=int(hits[i]),
            questions=int(found.questions[i]),
            n_effective=float(worth[i]) if n[i] else 0.0,
            unscored=int(counts.unscored[i]),
            coherent=float(coherent[i]),
            em_coherent=float(em_coherent[i]),
        )
        for i in range(len(n))
    ]


def rate(answers: Iterable[Graded], confidence: float = 0.95) -> Rate:
    """EM rate of some answers (one arm or rung of one organism)."""
    return rates(count_answers([answers]), confidence)[0]
