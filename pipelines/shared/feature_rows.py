"""Rows of what a model gives for a batch: features of some of its pictures or sounds."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch


def take_rows(features: Any, rows: slice | Sequence[int]) -> Any:
    """Rows of what a model gives: of each tensor of an output, of a tuple, or of a tensor."""
    if features is None:
        return None
    if isinstance(features, torch.Tensor):
        return features[rows]
    if isinstance(features, Mapping):
        return type(features)(**{name: take_rows(value, rows) for name, value in features.items()})
    return tuple(take_rows(value, rows) for value in features)


def join_rows(parts: Sequence[Any]) -> Any:
    """One output whose tensors hold the rows of several."""
    first = parts[0]
    if first is None or len(parts) == 1:
        return first
    if isinstance(first, torch.Tensor):
        return torch.cat(list(parts))
    if isinstance(first, Mapping):
        return type(first)(**{name: join_rows([part[name] for part in parts]) for name in first})
    return tuple(join_rows(values) for values in zip(*parts, strict=True))


__all__ = ["join_rows", "take_rows"]
