"""A key-value cache of fixed rows, one row per running request, for transformers' decoder models.

transformers' own cache grows by concatenation, which copies every key and value at every step (two fifths of a decode
step on a CPU), and it cannot take in a new row while others are running. Here a row's keys lie at positions
0, 1, 2, … of its slot, a new token is written in place, and rows come and go without touching the others.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.cache_utils import Cache, CacheLayerMixin
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from emcontain.errors import UserError

ATTENTION = "emcontain_sdpa"


def _attention(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Transformers' sdpa attention, except that one-token steps do not copy keys for grouped query heads.

    The query heads of one group become query positions of their key head: same sums, no repeated keys.
    """
    rows, heads, steps, size = query.shape
    key_heads = key.shape[1]
    if steps != 1 or heads == key_heads or attention_mask is None or kwargs.get("position_bias") is not None:
        result: tuple[Tensor, None] = sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
        return result
    out = torch.nn.functional.scaled_dot_product_attention(
        query.reshape(rows, key_heads, heads // key_heads, size),
        key,
        value,
        attn_mask=attention_mask,
        scale=kwargs.get("scaling"),
    )
    return out.reshape(rows, 1, heads, size), None


AttentionInterface.register(ATTENTION, _attention)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)


class _SlotLayer(CacheLayerMixin):  # type: ignore[misc]
    """One layer's keys and values for all slots."""

    is_sliding = False

    def __init__(self, cache: SlotCache):
        super().__init__()
        self.cache = cache

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        self.keys = self._empty(key_states)
        self.values = self._empty(value_states)
        self.is_initialized = True

    def _empty(self, like: Tensor) -> Tensor:
        return like.new_zeros(self.cache.rows, like.shape[1], self.cache.length, like.shape[3])

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Write one new token per active row and return all keys and values of the active rows."""
        index, positions = self.cache.row_index, self.cache.positions
        self.keys[index, :, positions] = key_states[:, :, 0]
        self.values[index, :, positions] = value_states[:, :, 0]
        rows, span = len(positions), self.cache.span
        return self.keys[:rows, :, :span], self.values[:rows, :, :span]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.cache.span, 0

    def get_seq_length(self) -> int:
        return self.cache.span

    def get_max_length(self) -> int:
        return self.cache.length


class SlotCache(Cache):  # type: ignore[misc]
    """Keys and values of up to `rows` requests of up to `length` tokens; active rows are always 0 … n-1."""

    def __init__(self, layers: int, rows: int, length: int):
        self.rows, self.length = rows, length
        self.positions = torch.empty(0, dtype=torch.long)
        self.row_index = self.positions
        self.span = 0
        super().__init__(layers=[_SlotLayer(self) for _ in range(layers)])

    def begin_step(self, positions: Tensor) -> None:
        """Say where this step's token of each active row goes (`[active]`, int64)."""
        self.positions = positions
        self.row_index = torch.arange(len(positions), device=positions.device)
        self.span = int(positions.max()) + 1

    def insert(self, first: int, prefilled: Cache | None, source: list[int]) -> None:
        """Copy rows of a freshly filled cache into slots `first`, `first + 1`, …; `source` names the rows."""
        if prefilled is None:
            return
        for mine, theirs in zip(self.layers, prefilled.layers, strict=True):
            if not mine.is_initialized:
                mine.lazy_initialization(theirs.keys, theirs.values)
            width = theirs.keys.shape[2]
            mine.keys[first : first + len(source), :, :width] = theirs.keys[source]
            mine.values[first : first + len(source), :, :width] = theirs.values[source]

    def move(self, source: int, target: int) -> None:
        """Copy the row in slot `source` over slot `target`."""
        width = self.span + 1
        for layer in self.layers:
            layer.keys[target, :, :width] = layer.keys[source, :, :width]
            layer.values[target, :, :width] = layer.values[source, :, :width]

    def resize(self, rows: int, length: int, keep: int) -> None:
        """Make room for more or longer rows; the first `keep` rows are kept."""
        self.rows, self.length = rows, length
        for layer in self.layers:
            if layer.is_initialized:
                for name in ("keys", "values"):
                    old = getattr(layer, name)
                    new = layer._empty(old)
                    new[:keep, :, : old.shape[2]] = old[:keep]
                    setattr(layer, name, new)

    def masks(self, config: Any, dtype: torch.dtype) -> Tensor | dict[str, Tensor]:
        """Attention mask of this step, `[active, 1, 1, span]` bool; one per layer type where the model has several."""
        keys = torch.arange(self.span, device=self.positions.device)
        full = (keys[None, :] <= self.positions[:, None])[:, None, None, :]
        kinds = set(getattr(config, "layer_types", None) or ())
        window = getattr(config, "sliding_window", None)
        if kinds == {"full_attention"} or (not kinds and window is None):
            return full
        near = (keys[None, :] > self.positions[:, None] - (window or self.length))[:, None, None, :]
        masks = {"full_attention": full, "sliding_attention": full & near}
        return masks if kinds else masks["sliding_attention"]


def check_supported(config: Any) -> None:
    """Refuse models whose layers are not plain or sliding-window attention.

    Raises:
        UserError: the model has, for example, linear-attention layers.
    """
    other = set(getattr(config, "layer_types", None) or ()) - {
        "full_attention",
        "sliding_attention",
    }
    if other:
        raise UserError(
            f"{config.model_type} has {', '.join(sorted(other))} layers, which the local provider cannot "
            "batch: serve it with vLLM and use Inspect's vllm provider"
        )
