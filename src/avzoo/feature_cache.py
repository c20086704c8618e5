"""On-disk cache of features, so that what is the same in every epoch is computed once."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from avzoo.files import explain_write_errors, write_atomically


class FeatureCache:
    """Named arrays of numbered items, stored as float16 in one memory-mapped file.

    Infinite values survive. The processes of one training run may share a folder; each writes the items it computes.

        cache = FeatureCache(folder, num_items=len(dataset))
        features = cache.read(indices)
        if features is None:
            features = compute(...)
            cache.write(indices, features)

    Args:
        folder: created if it does not exist; the content of an earlier run is reused.
        num_items: number of items.
        contents: what the features depend on, as JSON can hold it; a folder of other contents is refused.

    Raises:
        ValueError: the folder was written for another number of items, or for other contents.
    """

    def __init__(self, folder: str | os.PathLike, num_items: int, contents: Mapping[str, Any] | None = None):
        self.folder, self.num_items = Path(folder), num_items
        self.folder.mkdir(parents=True, exist_ok=True)
        if contents is not None:
            self._check_contents(json.loads(json.dumps(contents)))
        self._layout: list[tuple[str, list[int]]] = []  # name, shape of one item's array
        self._values: np.memmap | None = None
        self._is_written: np.memmap | None = None
        if (self.folder / "layout.json").is_file():
            self._open(json.loads((self.folder / "layout.json").read_text(encoding="utf-8")))

    def _check_contents(self, contents: dict[str, Any]) -> None:
        file = self.folder / "contents.json"
        if not file.is_file():
            with write_atomically(file) as unfinished:
                unfinished.write_text(json.dumps(contents), encoding="utf-8")
            return
        stored = json.loads(file.read_text(encoding="utf-8"))
        for name in {**stored, **contents}:
            if stored.get(name) != contents.get(name):
                raise ValueError(
                    f"the cache {self.folder} was written with `{name}` {stored.get(name)!r}, this run has "
                    f"{contents.get(name)!r}; choose another folder."
                )

    def read(self, indices: Sequence[int]) -> dict[str, np.ndarray] | None:
        """Return {name: (len(indices), ...) float32}, or None if an item is missing."""
        indices = np.asarray(indices, dtype=np.int64)
        if self._is_written is None or not self._is_written[indices].all():
            return None
        rows, start, arrays = self._values[indices].astype(np.float32), 0, {}
        for name, shape in self._layout:
            stop = start + int(np.prod(shape))
            arrays[name] = rows[:, start:stop].reshape(len(indices), *shape)
            start = stop
        return arrays

    def write(self, indices: Sequence[int], arrays: Mapping[str, np.ndarray]) -> None:
        """Store {name: (len(indices), ...)}.

        Raises:
            ValueError: the folder holds arrays of other names or shapes.
        """
        indices = np.asarray(indices, dtype=np.int64)
        layout = [(name, list(array.shape[1:])) for name, array in arrays.items()]
        if self._values is None:
            header = {"num_rows": self.num_items, "layout": layout}
            with write_atomically(self.folder / "layout.json") as unfinished:
                unfinished.write_text(json.dumps(header), encoding="utf-8")
            self._open(header)
        if layout != self._layout:
            raise ValueError(
                f"`folder` ({self.folder}) holds features of another model or data set: "
                f"{_describe_layout(self._layout)} per item, got {_describe_layout(layout)}. Name another folder."
            )
        flat = [np.asarray(array, dtype=np.float16).reshape(len(indices), -1) for array in arrays.values()]
        self._values[indices] = np.concatenate(flat, axis=1)
        self._is_written[indices] = True

    def _open(self, header: dict) -> None:
        if header.get("num_rows") != self.num_items:
            raise ValueError(
                f"`folder` ({self.folder}) holds features of {header.get('num_rows')} items, got {self.num_items}. "
                "Name another folder."
            )
        self._layout = [(name, list(shape)) for name, shape in header["layout"]]
        width = sum(int(np.prod(shape)) for _, shape in self._layout)
        self._values = _map_file(self.folder / "values.f16", np.float16, (self.num_items, width))
        self._is_written = _map_file(self.folder / "filled.u8", np.bool_, (self.num_items,))


def _describe_layout(layout: list[tuple[str, list[int]]]) -> str:
    shown = ", ".join(f"{name} {tuple(shape)}" for name, shape in layout[:3])
    return shown + (", ..." if len(layout) > 3 else "")


def _map_file(path: Path, dtype: type, shape: tuple[int, ...]) -> np.memmap:
    """Memory-map a file, created full of zeros if it does not exist."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    with explain_write_errors(path), path.open("ab") as file:  # another process may create it at the same time:
        is_new = os.fstat(file.fileno()).st_size < size  # append mode keeps its content
        if is_new and hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)  # a full disk shows now; later it would kill the process
        file.truncate(size)
    return np.memmap(path, dtype, mode="r+", shape=shape)


__all__ = ["FeatureCache"]
