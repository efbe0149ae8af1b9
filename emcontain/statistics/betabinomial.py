"""Posterior of a mean rate under beta-binomial answers: each question has its own rate, its answers are drawn from it.

Model (Williams 1975): rates of questions like these are Beta(mean * s, (1 - mean) * s) with s = 1/ICC - 1. The
intra-question correlation (ICC) is averaged over a Beta(1.5, 3) prior, whose middle 90 % (0.05-0.70) holds what was
measured on published answers (0.05-0.48). The mean's prior is the one under which single answers give the exact bounds
of Clopper and Pearson: proportional to 1 / (1 - mean) for an upper bound, to 1 / mean for a lower one. All on a grid;
no sampling.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

from emcontain.statistics.counts import Floats, Ints

ICC_PRIOR = (1.5, 3.0)
_ICC_NODES = 20
_COARSE = 64
_FINE = 160
_EDGE = 16.0  # logits; means from 1e-7 to 1 - 1e-7
_NEGLIGIBLE = 20.0  # in log-likelihood


@dataclass(frozen=True)
class MeanPosterior:
    """Posteriors of the mean rate of U units.

    Attributes:
        logit: (U, G) grid, in logits of the mean.
        for_upper, for_lower: (U, G) distribution functions under the two priors.
    """

    logit: Floats
    for_upper: Floats
    for_lower: Floats

    def bounds(self, tail: Floats) -> tuple[Floats, Floats]:
        """Lower and upper bound per unit with probability `tail` (U,) outside on each side."""
        lower = _quantile(self.logit, self.for_lower, tail)
        upper = _quantile(self.logit, self.for_upper, 1 - tail)
        return special.expit(lower), special.expit(upper)


def mean_posterior(hits: Floats, answers: Floats) -> MeanPosterior:
    """Posterior from counts.

    Args:
        hits: (U, Q) hits per unit and question, 0 to `answers`.
        answers: (U, Q) answers; questions with none do not count.
    """
    kinds, copies = _distinct(hits, answers)
    hits, answers = hits[kinds], answers[kinds]
    units = len(hits)
    icc = (np.arange(_ICC_NODES) + 0.5) / _ICC_NODES
    strength = 1 / icc - 1
    weight = (ICC_PRIOR[0] - 1) * np.log(icc) + (ICC_PRIOR[1] - 1) * np.log1p(-icc)
    coarse = np.linspace(-_EDGE, _EDGE, _COARSE)
    seen = special.logsumexp(_log_likelihood(hits, answers, coarse, strength, weight), axis=2)
    near = seen > seen.max(axis=1, keepdims=True) - _NEGLIGIBLE
    first = np.maximum(near.argmax(axis=1) - 1, 0)
    last = np.minimum(_COARSE - near[:, ::-1].argmax(axis=1), _COARSE - 1)
    logit, for_upper, for_lower = (np.empty((units, _FINE)) for _ in range(3))
    # Units with the same range share a grid, and so its table of logarithms.
    for low, high in {(int(a), int(b)) for a, b in zip(first, last, strict=True)}:
        same = np.flatnonzero((first == low) & (last == high))
        grid = np.linspace(coarse[low], coarse[high], _FINE)
        likelihood = _log_likelihood(hits[same], answers[same], grid, strength, weight)
        density = np.exp(likelihood - likelihood.max(axis=(1, 2), keepdims=True)).sum(axis=2)
        mean = special.expit(grid)
        logit[same] = grid
        # d mean = mean (1 - mean) d logit, times the prior.
        for_upper[same] = _cumulative(density * mean)
        for_lower[same] = _cumulative(density * (1 - mean))
    return MeanPosterior(logit[copies], for_upper[copies], for_lower[copies])


def _distinct(hits: Floats, answers: Floats) -> tuple[Ints, Ints]:
    """Rows that differ, and for every row which of them it equals: an arm takes part in many contrasts."""
    found: dict[tuple[bytes, bytes], int] = {}
    copies = [found.setdefault((h.tobytes(), a.tobytes()), len(found)) for h, a in zip(hits, answers, strict=True)]
    _, kinds = np.unique(copies, return_index=True)
    return kinds.astype(np.int64), np.array(copies, dtype=np.int64)


def _log_likelihood(hits: Floats, answers: Floats, logit: Floats, strength: Floats, weight: Floats) -> Floats:
    """(U, G, ICCs): log-likelihood plus the ICC's log-prior, up to a constant per unit."""
    mean = special.expit(logit)
    a, b = np.outer(mean, strength), np.outer(1 - mean, strength)
    total = (
        _rising(hits, answers, a.ravel())
        + _rising(answers - hits, answers, b.ravel())
        - np.tile(_rising(answers, answers, strength), len(logit))
    )
    weighted: Floats = total.reshape(len(hits), len(logit), len(strength)) + weight
    return weighted


def _rising(counts: Floats, answers: Floats, start: Floats) -> Floats:
    """(U, len(start)): sum over questions of log(start (start + 1) … (start + count - 1))."""
    whole = np.where(answers > 0, counts, 0).astype(np.int64)
    present = np.bincount(whole.ravel()) > 0
    values, place = np.flatnonzero(present), np.cumsum(present) - 1
    units = len(counts)
    cell = np.arange(units)[:, None] * len(values) + place[whole]
    often = np.bincount(cell.ravel(), minlength=units * len(values)).reshape(units, len(values)).astype(np.float64)
    table = special.gammaln(start[None, :] + values[:, None]) - special.gammaln(start)[None, :]
    # No BLAS: its last digits depend on the number of threads.
    summed: Floats = np.einsum("uv,vg->ug", often, table)
    return summed


def _cumulative(density: Floats) -> Floats:
    """Distribution function on an even grid, by trapezoids."""
    sums = np.cumsum((density[:, 1:] + density[:, :-1]) / 2, axis=1)
    return np.concatenate([np.zeros((len(density), 1)), sums / sums[:, -1:]], axis=1)


def _quantile(grid: Floats, distribution: Floats, level: Floats) -> Floats:
    """Per row, the grid point at which the distribution function reaches the level (linear between points)."""
    rows = np.arange(len(grid))
    right = np.clip((distribution < level[:, None]).sum(axis=1), 1, grid.shape[1] - 1)
    below, above = distribution[rows, right - 1], distribution[rows, right]
    part = np.clip((level - below) / np.maximum(above - below, 1e-300), 0, 1)
    found: Floats = grid[rows, right - 1] + part * (grid[rows, right] - grid[rows, right - 1])
    return found
