"""On-disk cache of a teacher's targets, so that it runs once per window instead of once per window and epoch."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from avzoo.feature_cache import FeatureCache

from .loss_mtd import ENCODERS, CrossModalTrace


class TraceCache:
    """Traces of numbered windows in a [`FeatureCache`], 35 kB for a window of the released teacher.

    Stores attention scores (masked places, -inf, survive), value relations and logits.

        cache = TraceCache(folder, num_windows=len(dataset))
        trace = cache.get(indices, lambda: teacher_trace(teacher, pixel_values, input_features))

    Args:
        folder: created if it does not exist; the content of an earlier run is reused.
        num_windows: number of windows.
        contents: see [`FeatureCache`].

    Raises:
        ValueError: the folder holds traces of another number of windows, or of another teacher.
    """

    def __init__(self, folder: str | os.PathLike, num_windows: int, contents: Mapping[str, Any] | None = None):
        self.cache = FeatureCache(folder, num_windows, contents)

    def get(self, indices: Sequence[int], compute: Callable[[], CrossModalTrace]) -> CrossModalTrace:
        """Read the traces of some windows; compute and store all of them if one is missing.

        Args:
            indices: (batch,), numbers of the windows.
            compute: returns their trace, in the same order.
        """
        cached = self.cache.read(indices)
        if cached is None:
            trace = compute()
            parts = {f"scores.{name}": trace.scores[name].transpose(0, 1) for name in ENCODERS}
            parts |= {f"relations.{name}": trace.relations[name].transpose(0, 1) for name in ENCODERS}
            parts["logits"] = trace.logits
            self.cache.write(indices, {name: part.detach().float().cpu().numpy() for name, part in parts.items()})
            return trace
        parts = {name: torch.from_numpy(part) for name, part in cached.items()}
        scores, relations = (
            {name: parts[f"{kind}.{name}"].transpose(0, 1) for name in ENCODERS}  # layers first
            for kind in ("scores", "relations")
        )
        return CrossModalTrace(scores, relations, parts["logits"])


__all__ = ["TraceCache"]
