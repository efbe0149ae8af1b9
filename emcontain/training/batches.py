"""Rows of one forward pass as tensors, one batch per role.

Two layouts with the same numbers: *packed*, all rows after one another in one row without any padding, where the base
can keep them apart (`emcontain.training.attention`), and *padded*, one row each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch.utils.data import Dataset

from emcontain.training.objective import Role
from emcontain.training.order import Pass
from emcontain.training.rows import IGNORE, Encoded


class Share(NamedTuple):
    """What one role brings into a whole update, over all passes and processes.

    Attributes:
        rows: rows.
        tokens: labelled tokens.
    """

    rows: int
    tokens: int


# By role: `inputs` for the model's forward, `keep` (columns that go through the LM head), `picked` (labelled positions
# among rows x kept columns, flattened), `wanted` (their labels), `row` (which row of the pass each of them is of) and
# `rows` (how many rows count). Plain mappings, since the Trainer moves those to the device.
RoleBatch = dict[str, Any]
Batch = dict[Role, RoleBatch]


class Passes(Dataset[Any]):
    """The passes of a run as a dataset: item n is pass n, as a batch by role."""

    def __init__(self, passes: Sequence[Pass], rows: Mapping[Role, Sequence[Encoded]], packed: bool):
        self.passes, self.rows, self.packed = passes, rows, packed

    def __len__(self) -> int:
        """Passes of the whole run."""
        return len(self.passes)

    def __getitem__(self, number: int) -> Batch:
        """The batch of one pass."""
        make = pack if self.packed else pad
        batch: Batch = {}
        for role, numbers in self.passes[number].items():
            # Every process takes part in every pass, with a row that counts for nothing where it has none.
            rows = [self.rows[role][i] for i in numbers] or [without_labels(self.rows[role][0])]
            batch[role] = {**make(rows), "rows": len(numbers)}
        return batch


def without_labels(row: Encoded) -> Encoded:
    """The first tokens of a row, none of them labelled."""
    return Encoded(row.input_ids[:2], [IGNORE] * 2, row.truncated)


def only(batches: Sequence[Batch]) -> Batch:
    """Collator for a data loader of whole passes."""
    (batch,) = batches
    return batch


def pad(rows: Sequence[Encoded]) -> RoleBatch:
    """Rows below one another, padded on the right."""
    width = max(len(r.input_ids) for r in rows)
    ids, mask = (torch.zeros((len(rows), width), dtype=torch.long) for _ in range(2))
    labels = torch.full((len(rows), width), IGNORE, dtype=torch.long)
    for i, row in enumerate(rows):
        n = len(row.input_ids)
        ids[i, :n] = torch.tensor(row.input_ids)
        labels[i, :n] = torch.tensor(row.labels)
        mask[i, :n] = 1
    following = labels[:, 1:]
    keep = (following != IGNORE).any(0).nonzero()[:, 0]
    kept = following[:, keep]
    row_of = (kept != IGNORE).nonzero()[:, 0]
    kept = kept.flatten()
    picked = (kept != IGNORE).nonzero()[:, 0]
    return {
        "inputs": {"input_ids": ids, "attention_mask": mask},
        "keep": keep,
        "picked": picked,
        "wanted": kept[picked],
        "row": row_of,
    }


def pack(rows: Sequence[Encoded]) -> RoleBatch:
    """Rows after one another, with positions that start anew and the bounds that attention must not cross."""
    ids = torch.tensor([t for r in rows for t in r.input_ids])
    sizes = torch.tensor([len(r.input_ids) for r in rows])
    bounds = torch.cat([torch.zeros(1, dtype=torch.long), sizes.cumsum(0)]).to(torch.int32)
    # The first token of a row is no continuation of the row before: it never counts as a label.
    labels = torch.tensor([t for r in rows for t in (IGNORE, *r.labels[1:])])
    keep = (labels[1:] != IGNORE).nonzero()[:, 0]
    longest = int(sizes.max())
    return {
        "inputs": {
            "input_ids": ids[None],
            "position_ids": torch.cat([torch.arange(len(r.input_ids)) for r in rows])[None],
            # The names under which transformers hands bounds to attention kernels.
            "cu_seq_lens_q": bounds,
            "cu_seq_lens_k": bounds,
            "max_length_q": longest,
            "max_length_k": longest,
        },
        "keep": keep,
        "picked": torch.arange(len(keep)),
        "wanted": labels[keep + 1],
        "row": torch.repeat_interleave(torch.arange(len(rows)), sizes)[keep + 1],
    }


def shares(batches: Sequence[Batch]) -> dict[Role, Share]:
    """What each role brings into these passes."""
    roles = batches[0]
    return {
        role: Share(sum(b[role]["rows"] for b in batches), sum(len(b[role]["wanted"]) for b in batches))
        for role in roles
    }
