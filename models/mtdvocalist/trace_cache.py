"""A teacher's targets on disk, so that it runs once per window and not once per window and epoch."""

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from avzoo.files import written_whole

from .loss_mtd import ENCODERS, CrossModalTrace


class TraceCache:
    """Traces of numbered windows in one file of float16 numbers, 35 kB for a window of the released teacher.

    For windows that are the same in every epoch. Attention scores, value relations and logits are kept; masked places
    (-inf) survive. The processes of one run may share a cache: each writes the windows it needs.

        cache = TraceCache(folder, num_windows=len(dataset))
        trace = cache.get(indices, lambda: teacher_trace(teacher, pixel_values, input_features))

    Args:
        folder: made if it is not there; what an earlier run left is used.
        num_windows: how many windows there are.

    Raises:
        ValueError: the folder holds traces of another number of windows.
    """

    def __init__(self, folder: str | os.PathLike, num_windows: int):
        self.folder, self.num_windows = Path(folder), num_windows
        self.folder.mkdir(parents=True, exist_ok=True)
        self._layout: list[tuple[str, str, list[int]]] = []  # kind, encoder, shape of one window's part
        self._values: np.memmap | None = None
        self._filled: np.memmap | None = None
        if (self.folder / "layout.json").is_file():
            self._open(json.loads((self.folder / "layout.json").read_text(encoding="utf-8")))

    def get(self, indices: Sequence[int], compute: Callable[[], CrossModalTrace]) -> CrossModalTrace:
        """The traces of some windows: read if all of them are there, else computed and kept.

        Args:
            indices: (batch,), numbers of the windows. compute: gives their trace, in the same order.
        """
        indices = np.asarray(indices, dtype=np.int64)
        if self._filled is None or not self._filled[indices].all():
            trace = compute()
            self._write(indices, trace)
            return trace
        rows, start, parts = torch.from_numpy(self._values[indices].copy()).float(), 0, {}
        for kind, encoder, shape in self._layout:
            stop = start + int(np.prod(shape))
            part = rows[:, start:stop].reshape(len(indices), *shape)
            parts[kind, encoder] = part if kind == "logits" else part.transpose(0, 1)  # layers first
            start = stop
        scores, relations = ({name: parts[kind, name] for name in ENCODERS} for kind in ("scores", "relations"))
        return CrossModalTrace(scores, relations, parts["logits", ""])

    def _write(self, indices: np.ndarray, trace: CrossModalTrace) -> None:
        named = [("scores", name, trace.scores[name].transpose(0, 1)) for name in ENCODERS]
        named += [("relations", name, trace.relations[name].transpose(0, 1)) for name in ENCODERS]
        named.append(("logits", "", trace.logits))
        layout = [(kind, name, list(part.shape[1:])) for kind, name, part in named]
        if self._values is None:
            header = {"num_windows": self.num_windows, "layout": layout}
            with written_whole(self.folder / "layout.json") as unfinished:
                unfinished.write_text(json.dumps(header), encoding="utf-8")
            self._open(header)
        if layout != self._layout:
            raise ValueError(
                f"`{self.folder}` holds traces of another teacher or of other windows; name another folder."
            )
        flat = torch.cat([part.detach().reshape(len(indices), -1).half().cpu() for _, _, part in named], dim=1)
        self._values[indices] = flat.numpy()
        self._filled[indices] = True

    def _open(self, header: dict) -> None:
        if header["num_windows"] != self.num_windows:
            raise ValueError(
                f"`{self.folder}` holds traces of {header['num_windows']} windows, these are {self.num_windows}; name "
                "another folder."
            )
        self._layout = [(kind, name, list(shape)) for kind, name, shape in header["layout"]]
        width = sum(int(np.prod(shape)) for _, _, shape in self._layout)
        self._values = _mapped(self.folder / "traces.f16", np.float16, (self.num_windows, width))
        self._filled = _mapped(self.folder / "filled.u8", np.bool_, (self.num_windows,))


def _mapped(path: Path, dtype: type, shape: tuple[int, ...]) -> np.memmap:
    """An array in a file; zeros (which take no space on disk) where there is none yet."""
    with path.open("ab") as file:  # another process may be at the same place: nothing that it wrote is cut
        file.truncate(int(np.prod(shape)) * np.dtype(dtype).itemsize)
    return np.memmap(path, dtype, mode="r+", shape=shape)


__all__ = ["TraceCache"]
