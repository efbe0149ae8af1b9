"""Many comparisons at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p-values (Holm 1979): family-wise error at most alpha under any dependence.

    NaN (not testable) stays NaN and does not count as a comparison.
    """
    p = np.asarray(p_values, dtype=np.float64)
    adjusted = np.full(p.shape, np.nan)
    order = np.argsort(p)  # NaN last
    tested = order[: int((~np.isnan(p)).sum())]
    steps = p[tested] * np.arange(len(tested), 0, -1)
    adjusted[tested] = np.minimum(np.maximum.accumulate(steps), 1.0) if len(tested) else steps
    return [float(a) for a in adjusted]
