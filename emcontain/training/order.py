"""Which rows meet in which forward pass, settled for the whole run before it starts.

Each role has permutations of its own, drawn from the recipe's seed, so the order depends neither on global random state
nor on the number of processes, and a run that was interrupted meets the same rows again.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence

from emcontain.training.objective import Role

# Row numbers of each role.
Pass = dict[Role, list[int]]
# Updates whose rows are sorted by length together: enough to save most padding, few enough to keep updates mixed.
_WINDOW = 8


def passes_of_run(
    lengths: Mapping[Role, Sequence[int]],
    per_update: Mapping[Role, int],
    passes: int,
    epochs: float,
    seed: int,
    grouped: bool,
) -> list[Pass]:
    """All forward passes of a run in order, `passes` of them per update.

    Args:
        lengths: tokens of each row, by role; the first role is the one epochs are counted in.
        per_update: rows of each role in an update; the last update of an epoch has what is left.
        passes: passes that an update is cut into, over all processes.
        epochs: how often the rows of the first role are met; a broken epoch is cut at a whole update.
        seed: of the permutations.
        grouped: rows of like length share an update (less padding) instead of any.

    Returns:
        Updates times `passes` entries. An entry has no rows of a role where the update has fewer than passes.
    """
    first, *others = lengths
    size = per_update[first]
    wanted = updates_of_run(len(lengths[first]), size, epochs)
    updates: list[dict[Role, list[int]]] = []
    for epoch in range(math.ceil(epochs)):
        generator = random.Random(f"{seed}/{first}/{epoch}")
        updates += [{first: rows} for rows in _epoch(lengths[first], size, generator, grouped)]
    del updates[wanted:]
    for role in others:
        need = wanted * per_update[role]
        drawn: list[int] = []
        while len(drawn) < need:
            generator = random.Random(f"{seed}/{role}/{len(drawn) // len(lengths[role])}")
            drawn += generator.sample(range(len(lengths[role])), len(lengths[role]))
        for number, update in enumerate(updates):
            update[role] = drawn[number * per_update[role] : (number + 1) * per_update[role]]
    return [one for update in updates for one in _cut(update, lengths, passes)]


def updates_of_run(rows: int, per_update: int, epochs: float) -> int:
    """Updates of a run over so many rows of its first role."""
    return math.ceil(epochs * math.ceil(rows / per_update))


def _epoch(lengths: Sequence[int], size: int, generator: random.Random, grouped: bool) -> list[list[int]]:
    order = generator.sample(range(len(lengths)), len(lengths))
    if not grouped:
        return [order[i : i + size] for i in range(0, len(order), size)]
    updates: list[list[int]] = []
    for start in range(0, len(order), size * _WINDOW):
        window = sorted(order[start : start + size * _WINDOW], key=lambda i: -lengths[i])
        updates += [window[i : i + size] for i in range(0, len(window), size)]
    generator.shuffle(updates)
    return updates


def _cut(update: Mapping[Role, list[int]], lengths: Mapping[Role, Sequence[int]], passes: int) -> list[Pass]:
    cut: list[Pass] = [{} for _ in range(passes)]
    for role, rows in update.items():
        by_length = sorted(rows, key=lambda i: -lengths[role][i])
        per_pass = math.ceil(len(rows) / passes)
        for number, one in enumerate(cut):
            one[role] = by_length[number * per_pass : (number + 1) * per_pass]
    return cut
