"""Attention written out, for models that let transformers choose another implementation."""

import torch
from torch import nn


def eager_attention_forward(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    **kwargs,
) -> tuple[torch.Tensor, torch.Tensor]:
    """softmax(Q K^T * scaling + mask) V written out: the reference, and the one that returns its weights."""
    scores = query @ key.transpose(2, 3) * scaling  # (batch, heads, tokens, tokens)
    if attention_mask is not None:
        scores = scores + attention_mask
    # In float32 at least: gradient checks in float64 keep their precision.
    weights = scores.softmax(dim=-1, dtype=torch.promote_types(scores.dtype, torch.float32)).to(query.dtype)
    weights = nn.functional.dropout(weights, p=dropout, training=module.training)
    return (weights @ value).transpose(1, 2), weights
