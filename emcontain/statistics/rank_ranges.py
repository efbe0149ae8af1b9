"""Which ranks intervals leave open. Harness-free."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def rank_ranges(lower: npt.ArrayLike, upper: npt.ArrayLike) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The ranks that intervals leave open, 1 being the smallest value.

    The best rank of an entry is one more than the number of intervals wholly below its own, the worst the number of
    entries less those wholly above. If the intervals hold all at once with some confidence, so do all ranges (Klein,
    Wright and Wieczorek 2020): give bounds at a tail divided by the number of entries for that.

    Args:
        lower: (n,) lower bounds; NaN is not allowed.
        upper: (n,) upper bounds, likewise.

    Returns:
        Best and worst rank, 1 to n each.

    Raises:
        ValueError: a bound is NaN.
    """
    low, high = np.asarray(lower, dtype=np.float64), np.asarray(upper, dtype=np.float64)
    if np.isnan(low).any() or np.isnan(high).any():
        raise ValueError("a bound is NaN: leave entries without bounds out of the ranking")
    best = 1 + np.searchsorted(np.sort(high), low, side="left")
    worst = np.searchsorted(np.sort(low), high, side="right")
    return best.astype(np.int64), worst.astype(np.int64)
