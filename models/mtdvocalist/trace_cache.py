"""A teacher's targets on disk, so that it runs once per window and not once per window and epoch."""

import os
from collections.abc import Callable, Sequence

import torch

from avzoo.feature_cache import KeptRows

from .loss_mtd import ENCODERS, CrossModalTrace


class TraceCache:
    """Traces of numbered windows, 35 kB for a window of the released teacher; see [`KeptRows`].

    Attention scores, value relations and logits are kept; masked places (-inf) survive.

        cache = TraceCache(folder, num_windows=len(dataset))
        trace = cache.get(indices, lambda: teacher_trace(teacher, pixel_values, input_features))

    Args:
        folder: made if it is not there; what an earlier run left is used.
        num_windows: how many windows there are.

    Raises:
        ValueError: the folder holds traces of another number of windows, or of another teacher.
    """

    def __init__(self, folder: str | os.PathLike, num_windows: int):
        self.rows = KeptRows(folder, num_windows)

    def get(self, indices: Sequence[int], compute: Callable[[], CrossModalTrace]) -> CrossModalTrace:
        """The traces of some windows: read if all of them are there, else computed and kept.

        Args:
            indices: (batch,), numbers of the windows. compute: gives their trace, in the same order.
        """
        kept = self.rows.read(indices)
        if kept is None:
            trace = compute()
            parts = {f"scores.{name}": trace.scores[name].transpose(0, 1) for name in ENCODERS}
            parts |= {f"relations.{name}": trace.relations[name].transpose(0, 1) for name in ENCODERS}
            parts["logits"] = trace.logits
            self.rows.write(indices, {name: part.detach().float().cpu().numpy() for name, part in parts.items()})
            return trace
        parts = {name: torch.from_numpy(part) for name, part in kept.items()}
        scores, relations = (
            {name: parts[f"{kind}.{name}"].transpose(0, 1) for name in ENCODERS}  # layers first
            for kind in ("scores", "relations")
        )
        return CrossModalTrace(scores, relations, parts["logits"])


__all__ = ["TraceCache"]
