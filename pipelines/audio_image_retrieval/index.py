"""Features of many pictures and sounds by name, and the folder that keeps them.

A folder holds `index.json` (names, digests of what made the features, name of the file that holds them) and that file,
`features-<digest>.safetensors`, with a tensor for each kind. The table names the file, so that a write which breaks off
leaves the folder as it was.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from avzoo.files import write_atomically

IMAGE, AUDIO = KINDS = ("image", "audio")
INDEX_FILE = "index.json"
_VERSION = 1


class FeatureIndex:
    """Unit vectors of pictures and sounds.

    Args:
        model: digest of the weights that made them, see [`avzoo.pipelines.shared.digests`].
        processor: digest of what the processor does.
    """

    def __init__(self, model: str, processor: str):
        self.model, self.processor = model, processor
        self._places: dict[str, dict[str, int]] = {kind: {} for kind in KINDS}  # name -> row
        self._rows: dict[str, list[np.ndarray]] = {kind: [] for kind in KINDS}
        self._stacked: dict[str, np.ndarray] = {}

    def __len__(self) -> int:
        return sum(map(len, self._places.values()))

    def names(self, kind: str) -> list[str]:
        """Of the pictures or the sounds, in the order in which they were added."""
        return list(self._places[kind])

    def has(self, kind: str, name: str) -> bool:
        return name in self._places[kind]

    def add(self, kind: str, names: Sequence[str], features: np.ndarray) -> None:
        """Add rows, or put them in place of those of the same names.

        Args:
            features: (names, size); scaled to unit length.
        """
        features = np.asarray(features, np.float32)
        features = features / np.linalg.norm(features, axis=1, keepdims=True)
        places, rows = self._places[kind], self._rows[kind]
        for name, row in zip(names, features, strict=True):
            if name in places:
                rows[places[name]] = row
            else:
                places[name] = len(rows)
                rows.append(row)
        self._stacked.pop(kind, None)

    def remove(self, kind: str, names: Iterable[str]) -> int:
        """Take out the items of these names, and return how many were there."""
        leaving = self._places[kind].keys() & set(names)
        if leaving:
            kept = {name: place for name, place in self._places[kind].items() if name not in leaving}
            self._rows[kind] = [self._rows[kind][place] for place in kept.values()]
            self._places[kind] = {name: place for place, name in enumerate(kept)}
            self._stacked.pop(kind, None)
        return len(leaving)

    def add_missing(self, other: "FeatureIndex") -> None:
        """Add the items of another index whose names aren't here."""
        for kind in KINDS:
            names = [name for name in other.names(kind) if not self.has(kind, name)]
            if names:
                self.add(kind, names, other.features(kind)[[other._places[kind][name] for name in names]])

    def features(self, kind: str) -> np.ndarray:
        """(items, size) float32, in the order of [`names`]."""
        if kind not in self._stacked:
            rows = self._rows[kind]
            self._stacked[kind] = np.stack(rows) if rows else np.zeros((0, 0), np.float32)
            self._rows[kind] = list(self._stacked[kind])  # views of it: the memory is held once
        return self._stacked[kind]

    def search(self, kind: str, query: np.ndarray, top_k: int) -> list[tuple[str, float]]:
        """(name, cosine) of the items that are most like a query, best first; of equal ones the first that was added.

        Args:
            query: (size,), of any length.
        """
        query = np.asarray(query, np.float32)
        scores = self.features(kind) @ (query / np.linalg.norm(query))
        order = np.argsort(-scores, kind="stable")[:top_k]
        names = self.names(kind)
        return [(names[place], float(scores[place])) for place in order]

    def save(self, folder: str | os.PathLike) -> Path:
        """Write the index into a folder, which is made if it isn't there; one in it is replaced.

        Raises:
            OSError: the folder can't be written.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        content = save({kind: self.features(kind) for kind in KINDS if self._places[kind]})
        file = f"features-{hashlib.sha256(content).hexdigest()[:16]}.safetensors"
        with write_atomically(folder / file) as unfinished:
            unfinished.write_bytes(content)
        table = {
            "version": _VERSION,
            "model": self.model,
            "processor": self.processor,
            "features": file,
            **{kind: self.names(kind) for kind in KINDS},
        }
        with write_atomically(folder / INDEX_FILE) as unfinished:
            unfinished.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")  # ASCII: names may be no UTF-8
        for old in folder.glob("features-*.safetensors"):
            if old.name != file:
                old.unlink(missing_ok=True)
        return folder

    @classmethod
    def load(cls, folder: str | os.PathLike) -> "FeatureIndex":
        """Read what [`save`] wrote.

        Raises:
            FileNotFoundError: no index is there. ValueError: it is damaged.
        """
        folder = Path(folder)
        path = folder / INDEX_FILE
        if not path.is_file():
            raise FileNotFoundError(f"`{folder}` holds no {INDEX_FILE}; index pictures or sounds first.")
        try:
            table = json.loads(path.read_text(encoding="utf-8"))
            index = cls(*_read_texts(table, "model", "processor"))
            (file,) = _read_texts(table, "features")
            if Path(file).name != file:
                raise ValueError(f"{file[:100]!r} is no file in its folder")
            tensors = load_file(folder / file)
            for kind in KINDS:
                index._fill(kind, table[kind], tensors.get(kind, np.zeros((0, 0), np.float32)))
        except (ValueError, TypeError, KeyError, RecursionError, SafetensorError) as error:
            raise ValueError(f"`{folder}` holds no index that can be read, it is damaged: {error}.") from error
        return index

    def _fill(self, kind: str, names: Any, features: np.ndarray) -> None:
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError(f"{kind!r} is no list of names")
        if len(set(names)) != len(names) or features.ndim != 2 or len(features) != len(names):
            raise ValueError(f"{len(names)} names of kind {kind!r} for features of the shape {features.shape}")
        if features.dtype != np.float32 or not np.isfinite(features).all():
            raise ValueError(f"features of kind {kind!r} are no finite float32 numbers")
        self._places[kind] = {name: place for place, name in enumerate(names)}
        self._rows[kind] = list(features)


def _read_texts(table: Any, *names: str) -> list[str]:
    if not isinstance(table, dict) or table.get("version") != _VERSION:
        raise ValueError(f"expected an object of version {_VERSION}")
    for name in names:
        if not isinstance(table.get(name), str):
            raise ValueError(f"{name!r} is no text")
    return [table[name] for name in names]


__all__ = ["AUDIO", "IMAGE", "INDEX_FILE", "KINDS", "FeatureIndex"]
