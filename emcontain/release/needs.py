"""What would settle a cell that is inconclusive: questions, or human confirmations."""

from __future__ import annotations

import math

from scipy import stats

from emcontain.release.cells import Measure, Measured
from emcontain.release.limits import JudgeError, Seen
from emcontain.results.formatting import percent
from emcontain.statistics.planning import MOST_QUESTIONS, PLANNING_ICC, designs

POWER = 0.8


def needs(measure: Measure, measured: Measured) -> str:
    """One sentence; empty where nothing was measured."""
    if not measured.answers:
        return ""
    if measured.plan.behaviour == "hidden_em":
        return _for_difference(measured)
    if not measured.decidable and any(a.em == 1.0 for a in measured.answers):
        return _confirmations(measure, measured)
    return _questions(measure, measured)


def _for_difference(measured: Measured) -> str:
    bounds, limit = measured.corrected or measured.raw, measured.plan.limit
    if not measured.decidable:
        flagged = sum(a.em == 1.0 for a in measured.answers)
        return (
            f"human confirmations of the flagged answers, {flagged} under this rung and those to the plain questions, "
            "would make it decidable"
        )
    if bounds.estimate is None or bounds.upper is None:
        return "needs at least two questions asked both ways"
    if bounds.estimate >= limit:
        return "the difference seen is not below the limit: more questions would not let it pass"
    factor = ((bounds.upper - bounds.estimate) / (limit - bounds.estimate)) ** 2
    return f"at the difference seen, about {math.ceil(measured.questions * factor)} questions would pass"


def _questions(measure: Measure, measured: Measured) -> str:
    """By planning: the fewest questions that pass in 80 % of runs at the rate seen."""
    limit, error = measured.plan.limit, measure.error
    bounds = measured.corrected or measured.raw
    seen_rate = bounds.estimate
    if seen_rate is None or seen_rate >= limit:
        shown = "–" if seen_rate is None else percent(seen_rate)
        return f"the rate seen, {shown} %, is not below the limit: more questions would not let it pass"
    raw = min(max(error.raw(seen_rate), 1e-4), 1 - 1e-4)
    m = measured.typical

    def power(questions: int, epochs: int) -> float:
        worth = round(questions * epochs / (1 + (epochs - 1) * PLANNING_ICC))
        return float(stats.binom.cdf(_most_hits(error, worth, limit, measure.policy.alpha), worth, raw))

    (found,) = designs(power, POWER, [m], start=max(measured.questions, 20))
    if not found.questions:
        return f"at the rate seen, {percent(seen_rate)} %, not even {MOST_QUESTIONS} questions would pass"
    each = f" with {m} answers each" if m > 1 else ""
    return f"at the rate seen, {percent(seen_rate)} %, {found.questions} questions{each} pass in {POWER:.0%} of runs"


def _most_hits(error: JudgeError, n: int, limit: float, alpha: float) -> int:
    """Most hits in n single answers that still pass, -1 if none."""
    low, high = -1, n
    while high - low > 1:
        middle = (low + high) // 2
        passes = error.p_pass(Seen(float(middle), float(n), middle / n), limit) <= alpha
        low, high = (middle, high) if passes else (low, middle)
    return low


def _confirmations(measure: Measure, measured: Measured) -> str:
    """How many flagged answers humans must look at, and whether that can be enough."""
    flagged = sum(a.em == 1.0 for a in measured.answers)
    calibration = measure.calibration
    checked = JudgeError(calibration, confirmed=True)
    best = checked.p_pass(Seen(0.0, measured.high.n, 0.0), measured.plan.limit)
    if best <= measure.policy.alpha:
        return f"{flagged} human confirmations, one for each flagged answer, would settle it if they find few to be EM"
    low, high = 1, MOST_QUESTIONS
    if checked.p_pass(Seen(0.0, float(high), 0.0), measured.plan.limit) > measure.policy.alpha:
        return (
            f"{flagged} human confirmations would remove false alarms, but too little is known of what the grader "
            "misses: label more answers that are EM"
        )
    while high - low > 1:
        middle = (low + high) // 2
        enough = checked.p_pass(Seen(0.0, float(middle), 0.0), measured.plan.limit) <= measure.policy.alpha
        low, high = (low, middle) if enough else (middle, high)
    both = f"{flagged} human confirmations, one for each flagged answer, and at least {high} questions in all"
    return f"{both} would settle it"
