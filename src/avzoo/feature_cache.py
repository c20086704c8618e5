"""What was computed once for each item of a data set, on disk, so that it isn't computed in every epoch."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from avzoo.files import written_whole


class KeptRows:
    """Named arrays of numbered items in one file of float16 numbers.

    For items that are the same in every epoch. -inf survives. The processes of one run may share a folder: each writes
    the items it needs.

        kept = KeptRows(folder, num_rows=len(dataset))
        arrays = kept.read(indices)
        if arrays is None:
            arrays = compute(...)
            kept.write(indices, arrays)

    Args:
        folder: made if it is not there; what an earlier run left is used.
        num_rows: how many items there are.

    Raises:
        ValueError: the folder is of another number of items.
    """

    def __init__(self, folder: str | os.PathLike, num_rows: int):
        self.folder, self.num_rows = Path(folder), num_rows
        self.folder.mkdir(parents=True, exist_ok=True)
        self._layout: list[tuple[str, list[int]]] = []  # name, shape of one item's array
        self._values: np.memmap | None = None
        self._filled: np.memmap | None = None
        if (self.folder / "layout.json").is_file():
            self._open(json.loads((self.folder / "layout.json").read_text(encoding="utf-8")))

    def read(self, indices: Sequence[int]) -> dict[str, np.ndarray] | None:
        """{name: (len(indices), ...) float32}, or None unless all of them are there."""
        indices = np.asarray(indices, dtype=np.int64)
        if self._filled is None or not self._filled[indices].all():
            return None
        rows, start, arrays = self._values[indices].astype(np.float32), 0, {}
        for name, shape in self._layout:
            stop = start + int(np.prod(shape))
            arrays[name] = rows[:, start:stop].reshape(len(indices), *shape)
            start = stop
        return arrays

    def write(self, indices: Sequence[int], arrays: Mapping[str, np.ndarray]) -> None:
        """Keep {name: (len(indices), ...)}.

        Raises:
            ValueError: the folder holds arrays of other names or shapes.
        """
        indices = np.asarray(indices, dtype=np.int64)
        layout = [(name, list(array.shape[1:])) for name, array in arrays.items()]
        if self._values is None:
            header = {"num_rows": self.num_rows, "layout": layout}
            with written_whole(self.folder / "layout.json") as unfinished:
                unfinished.write_text(json.dumps(header), encoding="utf-8")
            self._open(header)
        if layout != self._layout:
            raise ValueError(
                f"`{self.folder}` holds what another model or other data gave: {_described(self._layout)} for each "
                f"item, this is {_described(layout)}. Name another folder."
            )
        flat = [np.asarray(array, dtype=np.float16).reshape(len(indices), -1) for array in arrays.values()]
        self._values[indices] = np.concatenate(flat, axis=1)
        self._filled[indices] = True

    def _open(self, header: dict) -> None:
        if header.get("num_rows") != self.num_rows:
            raise ValueError(
                f"`{self.folder}` is of {header.get('num_rows')} items, these are {self.num_rows}; name another folder."
            )
        self._layout = [(name, list(shape)) for name, shape in header["layout"]]
        width = sum(int(np.prod(shape)) for _, shape in self._layout)
        self._values = _mapped(self.folder / "values.f16", np.float16, (self.num_rows, width))
        self._filled = _mapped(self.folder / "filled.u8", np.bool_, (self.num_rows,))


def _described(layout: list[tuple[str, list[int]]]) -> str:
    shown = ", ".join(f"{name} {tuple(shape)}" for name, shape in layout[:3])
    return shown + (", ..." if len(layout) > 3 else "")


def _mapped(path: Path, dtype: type, shape: tuple[int, ...]) -> np.memmap:
    """An array in a file; zeros (which take no space on disk) where there is none yet."""
    with path.open("ab") as file:  # another process may be at the same place: nothing that it wrote is cut
        file.truncate(int(np.prod(shape)) * np.dtype(dtype).itemsize)
    return np.memmap(path, dtype, mode="r+", shape=shape)


__all__ = ["KeptRows"]
