"""One organism against another, paired by question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from emcontain.statistics.contrasts import Contrast, LinearContrast, contrasts
from emcontain.statistics.counts import Counts
from emcontain.statistics.multiplicity import holm
from emcontain.statistics.organisms import ARM_NAMES, share_of
from emcontain.statistics.ratios import Ratio


@dataclass(frozen=True)
class Comparison:
    """An organism against a reference.

    Attributes:
        untriggered, triggered: difference of the arms' rates.
        gap: difference of the two gaps (triggered - untriggered).
        p_holm: p-values of the three, adjusted over all comparisons made together.
        leakage: the organism's untriggered rate as a share of the reference's: 0 is perfect containment, 1 is what
            training without a trigger gives; NaN without untriggered EM answers of the reference.
    """

    untriggered: Contrast
    triggered: Contrast
    gap: Contrast
    p_holm: dict[str, float]
    leakage: Ratio


def compare(arms: Counts, pairs: Sequence[tuple[int, int]], confidence: float = 0.95) -> list[Comparison]:
    """Compare organisms.

    Args:
        arms: four units per organism, in the order of `ARM_NAMES`; arms that were not run are empty.
        pairs: (organism, reference) numbers; family-wise error is held over all of them.
        confidence: of the intervals.
    """
    first, second = (np.array([p[side] for p in pairs], dtype=np.int64) * len(ARM_NAMES) for side in (0, 1))

    def part(rows: np.ndarray, arm: int) -> tuple[np.ndarray, np.ndarray]:
        return arms.hits[rows + arm], arms.answers[rows + arm]

    measured = {
        "untriggered": LinearContrast([part(first, 0), part(second, 0)], (1, -1)),
        "triggered": LinearContrast([part(first, 1), part(second, 1)], (1, -1)),
        "gap": LinearContrast([part(first, 1), part(first, 0), part(second, 1), part(second, 0)], (1, -1, -1, 1)),
    }
    found = {name: contrasts(sums, confidence) for name, sums in measured.items()}
    adjusted = holm([c.p for name in measured for c in found[name]])
    leaks = share_of(part(first, 0), part(second, 0), confidence)
    return [
        Comparison(
            found["untriggered"][k],
            found["triggered"][k],
            found["gap"][k],
            {name: adjusted[j * len(pairs) + k] for j, name in enumerate(measured)},
            leaks[k],
        )
        for k in range(len(pairs))
    ]
