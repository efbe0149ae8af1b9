"""How well a score ranks: harness-free, shared by calibration, grader training and the grader study."""

from __future__ import annotations

import math
from typing import Any

import numpy.typing as npt
from scipy.stats import rankdata


def auc(scores: npt.NDArray[Any], positive: npt.NDArray[Any]) -> float:
    """Area under the ROC curve, ties counted half; NaN unless there are positives and negatives.

    Args:
        scores: [n], larger means more likely positive.
        positive: [n] bool.
    """
    ones = int(positive.sum())
    zeros = len(positive) - ones
    if not ones or not zeros:
        return math.nan
    ranks = rankdata(scores)
    return float((ranks[positive].sum() - ones * (ones + 1) / 2) / (ones * zeros))
