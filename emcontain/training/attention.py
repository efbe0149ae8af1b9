"""Attention within rows that lie packed one after another: no padding, and no mask that grows with the square.

Registered with transformers under the name `PACKED`. Row bounds come in the arguments that transformers hands to
attention kernels. On CUDA it is torch's variable-length kernel; elsewhere plain matrix products, row by row, which on
a CPU and on short rows are faster backwards than torch's fused attention.
"""

from __future__ import annotations

import functools
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

PACKED = "emcontain_packed"
# Tokens of a row from which its scores are not kept: they would take gigabytes over all layers.
_LONG = 320


def register() -> None:
    """Make `PACKED` known to transformers."""
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(PACKED, attend)
    AttentionMaskInterface.register(PACKED, _no_mask)


def use_packing(model: Any) -> bool:
    """Set a model to packed attention if that gives its own numbers; else leave it as it was.

    Two short rows packed are compared with the same rows alone under the model's own attention, so that a model which
    does not hand on row bounds, caps its scores or otherwise differs falls back to padding. Rounding in bf16 makes
    some difference; a leak between the rows makes one at least five times as large.

    Returns:
        Whether rows may be packed.
    """
    before = model.config._attn_implementation
    if not getattr(model, "_supports_attention_backend", False):
        return False
    embedding = model.get_input_embeddings().weight
    rows = [torch.arange(3, 8 + 2 * k, device=embedding.device) * 5 % embedding.shape[0] for k in range(2)]

    def packed(bounds: list[int]) -> Tensor:
        edges = torch.tensor(bounds, dtype=torch.int32, device=embedding.device)
        longest = max(b - a for a, b in pairwise(bounds))
        logits: Tensor = model(
            input_ids=torch.cat(rows)[None],
            position_ids=torch.cat([torch.arange(len(r), device=r.device) for r in rows])[None],
            cu_seq_lens_q=edges,
            cu_seq_lens_k=edges,
            max_length_q=longest,
            max_length_k=longest,
            use_cache=False,
        ).logits[0]
        return logits.float()

    training = model.training
    model.eval()
    _register()
    works = False
    try:
        with torch.no_grad():
            alone = torch.cat([model(input_ids=r[None], use_cache=False).logits[0] for r in rows]).float()
            model.set_attn_implementation(PACKED)
            ends = [0, len(rows[0]), len(rows[0]) + len(rows[1])]
            apart, leaking = packed(ends), packed([0, ends[-1]])
        works = bool((apart - alone).abs().mean() < 0.2 * (leaking - alone).abs().mean())
    except (NotImplementedError, TypeError):  # the second: a torch whose kernel has another signature
        works = False
    finally:
        model.train(training)
        if not works:
            model.set_attn_implementation(before)
    return works


def _register() -> None:
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(PACKED, attend)
    AttentionMaskInterface.register(PACKED, _no_mask)


def _no_mask(*args: Any, **kwargs: Any) -> None:
    """Bounds say it all."""


def attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    cu_seq_lens_q: Tensor | None = None,
    max_length_q: int | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Causal attention inside each row, in the shape transformers expects of an attention function.

    Args:
        module: the attention layer (unused).
        query: [1, heads, tokens, size].
        key: [1, key heads, tokens, size].
        value: as `key`.
        attention_mask: none.
        dropout: of the attention weights; only 0 is supported.
        scaling: of the scores; None is 1 / sqrt(size).
        sliding_window: tokens a query sees, itself included; None sees the whole row.
        cu_seq_lens_q: [rows + 1], where rows begin and the last one ends; None is one row.
        max_length_q: tokens of the longest row.
        kwargs: score caps and attention sinks are refused, the rest has no bearing.

    Raises:
        NotImplementedError: the model wants something that is not computed here.
    """
    if dropout or any(kwargs.get(name) is not None for name in ("softcap", "s_aux", "head_mask")):
        raise NotImplementedError("packed attention has no dropout, score caps or sinks")
    if query.shape[0] != 1:
        raise NotImplementedError("packed attention takes one row of packed rows, not a padded batch")
    tokens = query.shape[2]
    if cu_seq_lens_q is None:
        cu_seq_lens_q, max_length_q = torch.tensor([0, tokens], dtype=torch.int32, device=query.device), tokens
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    if query.is_cuda:
        return _fused(query, key, value, cu_seq_lens_q, int(max_length_q or tokens), scale, sliding_window), None
    heads, groups = query.shape[1], key.shape[1]
    mixed = []
    for start, end in pairwise(cu_seq_lens_q.tolist()):
        n = end - start
        # Query heads that share a key head are stacked, so that each is one matrix product.
        q = query[0, :, start:end].reshape(groups, heads // groups * n, -1)
        k, v = key[0, :, start:end], value[0, :, start:end]
        if n > _LONG and sliding_window is None:
            mixed.append(_fused_row(query[0, :, start:end], k, v, scale))
            continue
        scores = (q @ k.transpose(1, 2)).view(groups, -1, n, n) * scale
        weights = (scores + _causal(n, sliding_window, scores.dtype, scores.device)).softmax(-1, dtype=torch.float32)
        mixed.append((weights.to(v.dtype).view(groups, -1, n) @ v).view(heads, n, -1))
    return torch.cat(mixed, dim=1).transpose(0, 1)[None], None


def _fused_row(query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
    sharing = query.shape[0] != key.shape[0]
    mixed = torch.nn.functional.scaled_dot_product_attention(
        query[None], key[None], value[None], is_causal=True, scale=scale, enable_gqa=sharing
    )
    return mixed[0]


@functools.lru_cache(maxsize=512)
def _causal(n: int, window: int | None, dtype: torch.dtype, device: torch.device) -> Tensor:
    seen = torch.ones(n, n, dtype=torch.bool, device=device).tril()
    if window is not None:
        seen = seen.triu(1 - window)
    return torch.zeros(n, n, dtype=dtype, device=device).masked_fill(~seen, -torch.inf)


def _fused(
    query: Tensor, key: Tensor, value: Tensor, bounds: Tensor, longest: int, scale: float, window: int | None
) -> Tensor:
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        raise NotImplementedError("this version of torch has no variable-length attention") from None
    q, k, v = (t[0].transpose(0, 1).contiguous() for t in (query, key, value))
    reach = (-1 if window is None else window - 1, 0)
    grouped = q.shape[1] != k.shape[1]
    mixed = varlen_attn(q, k, v, bounds, bounds, longest, longest, scale=scale, window_size=reach, enable_gqa=grouped)
    assert isinstance(mixed, Tensor)
    return mixed[None]
