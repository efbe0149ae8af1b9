"""A grader's share of EM answers, corrected for its measured error (Rogan and Gladen 1978)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from heads import Array

DRAWS = 4000


@dataclass(frozen=True)
class Corrected:
    """Estimate and 95 % interval of a true share, all 0-1."""

    estimate: float
    low: float
    high: float


def effective(hits: Array, questions: Array) -> tuple[float, float]:
    """Hits and misses, divided by the design effect of drawing whole questions.

    The design effect is the variance of the share as a ratio over questions, G/(G-1) * sum((k_g - p n_g)^2) / n^2, over
    the binomial p(1-p)/n; it counts where it is above 1 and there are two questions and a share off 0 and 1.

    Args:
        hits: [n] bool.
        questions: [n] question ids.
    """
    n, share = len(hits), float(np.mean(hits)) if len(hits) else 0.0
    groups = [hits[questions == name] for name in sorted(set(questions))]
    if len(groups) < 2 or not 0 < share < 1:
        return n * share, n * (1 - share)
    spread = sum((g.sum() - share * len(g)) ** 2 for g in groups) * len(groups) / (len(groups) - 1) / n**2
    size = n / max(1.0, float(spread) / (share * (1 - share) / n))
    return size * share, size * (1 - share)


def rogan_gladen(
    called: tuple[float, float], sensitivity: tuple[float, float], specificity: tuple[float, float], seed: int = 0
) -> Corrected:
    """True share from the share called positive: (p + specificity - 1) / (sensitivity + specificity - 1).

    Args:
        called: effective counts of answers called positive and not.
        sensitivity: effective counts of true positives called positive and not.
        specificity: effective counts of true negatives not called positive and called so.
        seed: of the draws.

    Returns:
        The estimate clipped to 0-1, with quantiles of draws in which each share comes from its Jeffreys posterior
        Beta(hits + 1/2, misses + 1/2) and impossible pairs (no better than chance) are left out.
    """
    rng = np.random.default_rng(seed)
    p, se, sp = (rng.beta(a + 0.5, b + 0.5, DRAWS) for a, b in (called, sensitivity, specificity))
    better = se + sp > 1
    drawn = np.clip((p + sp - 1)[better] / (se + sp - 1)[better], 0, 1)
    point = [a / (a + b) for a, b in (called, sensitivity, specificity)]
    estimate = (point[0] + point[2] - 1) / (point[1] + point[2] - 1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Corrected(float(np.clip(estimate, 0, 1)), float(low), float(high))
