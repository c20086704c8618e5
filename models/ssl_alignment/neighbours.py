"""Clips that are similar to a clip, in the picture and in the sound: lists, their files, and draws from them.

    similar = SimilarClips(read_neighbours("neighbours.safetensors"), training_ids)
    image_id, audio_id = similar.draw(clip_id, generator)      # independent of each other: they are no pair

The lists are made by [`find_neighbours`], from the features of an encoder for pictures and one for sound.

Two forms of files:

- ours, one file: safetensors with `image` and `audio`, (clips, k) whole numbers, nearest first, that count the clips of
  "ids" in the file's metadata. It is read row by row, so loading processes share its memory.
- the authors', two files (kaistmm/ssl_kccv@7e178e675f1b, `Alignment/datasets/dataloader_vggss.py`): each a list whose
  first item is {"<clip>.npy": [whole numbers]}. **The numbers of both files count the keys of the AUDIO file**, in the
  order in which they stand there. A list for pictures says nothing without the other file.

Source of training on such lists: arXiv 2309.10724; 1000 neighbours of each clip.
"""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from avzoo.checks import check_whole_number
from avzoo.data.draws import draw_whole_number
from avzoo.files import write_atomically

_SUFFIX = ".npy"  # of the authors' keys
_FORMAT = "avzoo neighbours 1"
_BLOCK = 1 << 20  # characters that are read of a JSON file at a time
_LONGEST = 16 << 20  # characters of a list of neighbours


class StoredTable:
    """(clips, k) whole numbers of a safetensors file, read row by row: `table[row]`, `table[first:last]`."""

    def __init__(self, path: str | os.PathLike, name: str):
        self.path, self.name = os.fspath(path), name
        self._slice: Any = None
        shape = self._open().get_shape()
        if len(shape) != 2 or self._open().get_dtype() != "I32":
            raise ValueError(
                f"{self.path}: `{name}` must be (clips, neighbours) of int32, got {tuple(shape)} of "
                f"{self._open().get_dtype()}."
            )
        self.shape = tuple(shape)

    def _open(self):
        if self._slice is None:
            self._slice = safe_open(self.path, framework="np").get_slice(self.name)
        return self._slice

    def __getitem__(self, rows: int | slice) -> np.ndarray:
        if isinstance(rows, slice):  # safetensors takes no end beyond the last row
            start, stop, step = rows.indices(len(self))
            rows = slice(start, stop, step)
        return self._open()[rows]

    def __len__(self) -> int:
        return self.shape[0]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_slice": None}  # an open file doesn't travel to another process


@dataclass(frozen=True)
class NeighbourLists:
    """The neighbours of clips.

    Args:
        ids: name of each clip, none twice.
        image, audio: (clips, k), arrays or [`StoredTable`]: row i holds the numbers of the clips whose picture, or
            sound, is most like that of clip i, the most similar first.

    Raises:
        ValueError: the sizes differ, or a name comes twice.
    """

    ids: Sequence[str]
    image: np.ndarray | StoredTable
    audio: np.ndarray | StoredTable

    def __post_init__(self):
        for name in ("image", "audio"):
            shape = getattr(self, name).shape
            if len(shape) != 2 or shape[0] != len(self.ids) or not shape[1]:
                raise ValueError(
                    f"`{name}` must be (clips, neighbours) with a row for each of the {len(self.ids)} ids and at least "
                    f"one neighbour, got {tuple(shape)}."
                )
        twice = [name for name, count in Counter(self.ids).items() if count > 1]
        if twice:
            raise ValueError(f"`ids` names {twice[0]!r} more than once.")


# ---------------------------------------------------------------------------------------------------------------- draws


class SimilarClips:
    """Draws clips that are similar to a clip of the training list and are in that list themselves.

    The authors draw again until they find such a clip; what is drawn here is distributed the same.

    Args:
        neighbours: lists of at least the clips of `training_ids`.
        training_ids: clips that are trained on.

    Raises:
        ValueError: a clip has no list, none of its neighbours is in the training list, or a list counts clips that
            aren't there; with the number of clips and the first one.
    """

    def __init__(self, neighbours: NeighbourLists, training_ids: Sequence[str]):
        self.ids = neighbours.ids
        self.tables = {"image": neighbours.image, "audio": neighbours.audio}
        self.rows = {name: row for row, name in enumerate(self.ids)}
        missing = [name for name in training_ids if name not in self.rows]
        if missing:
            raise ValueError(
                f"`neighbours` has no list for {len(missing)} of the {len(training_ids)} training clips, the first is "
                f"{missing[0]!r}; mine neighbours of these clips, or leave them out."
            )
        self.is_training = np.zeros(len(self.ids), bool)
        rows = np.array([self.rows[name] for name in training_ids], np.int64)
        self.is_training[rows] = True
        for kind in self.tables:
            self._check(kind, rows)

    def _check(self, kind: str, rows: np.ndarray, block: int = 4096) -> None:
        lonely: list[int] = []
        for start in range(0, len(self.ids), block):
            numbers = np.asarray(self.tables[kind][start : start + block])
            if numbers.min(initial=0) < 0 or numbers.max(initial=0) >= len(self.ids):
                raise ValueError(
                    f"`neighbours`: the {kind} lists count clips from {numbers.min()} to {numbers.max()}, there are "
                    f"{len(self.ids)}."
                )
            without = ~self.is_training[numbers].any(axis=1) & self.is_training[start : start + block]
            lonely += (start + np.flatnonzero(without)).tolist()
        if lonely:
            raise ValueError(
                f"`neighbours`: {len(lonely)} of the {len(rows)} training clips have no {kind} neighbour in the "
                f"training list, the first is {self.ids[lonely[0]]!r}; use longer lists, or mine them from the "
                "training clips."
            )

    def describe(self) -> str:
        """Sizes of the lists, and a digest of the clips and of some of their rows."""
        digest = hashlib.sha256(json.dumps(list(self.ids)).encode())
        for table in self.tables.values():
            for row in range(0, len(self.ids), len(self.ids) // 100 + 1):
                digest.update(np.ascontiguousarray(table[row], np.int32).tobytes())
        sizes = " and ".join(str(table.shape[1]) for table in self.tables.values())
        return f"{len(self.ids)} clips, {sizes} neighbours, digest {digest.hexdigest()[:8]}"

    def draw(self, clip: str, generator: torch.Generator) -> tuple[str, str]:
        """One clip with a similar picture and, independently, one with a similar sound: their ids."""
        return self._draw("image", clip, generator), self._draw("audio", clip, generator)

    def _draw(self, kind: str, clip: str, generator: torch.Generator) -> str:
        numbers = np.asarray(self.tables[kind][self.rows[clip]])
        numbers = numbers[self.is_training[numbers]]
        return self.ids[int(numbers[draw_whole_number(len(numbers), generator)])]


# --------------------------------------------------------------------------------------------------------------- mining


def find_neighbours(
    features: np.ndarray,
    k: int = 1000,
    *,
    row_block: int = 512,
    column_block: int = 16_384,
    device: str | torch.device = "cpu",
    on_rows: Callable[[int], None] | None = None,
) -> np.ndarray:
    """The k most similar other items of each item by cosine, exactly, in memory bounded by the blocks.

    Items of one similarity come in the order of their numbers. An item is not its own neighbour.

    Args:
        features: (items, size), none of them zero; an array or a memory map.
        k: at most items - 1.
        row_block, column_block: items compared at a time.
        device: where similarities are computed, in float32.
        on_rows: called with the number of rows done after each block.

    Returns:
        (items, k) int32, the most similar first.

    Raises:
        ValueError: the shape is another, k is out of range, or a feature is zero, NaN or infinite.
    """
    if features.ndim != 2 or len(features) < 2:
        raise ValueError(f"`features` must be (items, size) of at least two items, got {features.shape}.")
    check_whole_number("k", k, at_least=1, at_most=len(features) - 1)
    found = np.empty((len(features), k), np.int32)
    for start in range(0, len(features), row_block):
        rows = _normalize(features[start : start + row_block], start, device)
        best, numbers = None, None
        for first in range(0, len(features), column_block):
            columns = _normalize(features[first : first + column_block], first, device)
            similarity = rows @ columns.T
            own = torch.arange(start, start + len(rows), device=similarity.device)
            here = (own >= first) & (own < first + len(columns))
            similarity[here.nonzero()[:, 0], own[here] - first] = -torch.inf
            places = torch.arange(first, first + len(columns), device=similarity.device).expand(similarity.shape)
            if best is not None:  # earlier items stand first, so that they win ties
                similarity, places = torch.cat([best, similarity], dim=1), torch.cat([numbers, places], dim=1)
            order = _order_largest(similarity, min(k, similarity.shape[1]))
            best, numbers = similarity.gather(1, order), places.gather(1, order)
        found[start : start + row_block] = numbers[:, :k].to(torch.int32).cpu().numpy()
        if on_rows is not None:
            on_rows(start + len(rows))
    return found


def _normalize(block: np.ndarray, first: int, device: str | torch.device) -> torch.Tensor:
    vectors = torch.from_numpy(np.array(block, np.float32)).to(device)
    lengths = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
    bad = (~(lengths > 0) | ~lengths.isfinite()).nonzero()
    if len(bad):
        raise ValueError(f"`features`: item {first + int(bad[0, 0])} is zero, NaN or infinite, so it has no direction.")
    return vectors / lengths


def _order_largest(values: torch.Tensor, k: int) -> torch.Tensor:
    """Places of the k largest of each row, in descending order, equal ones in the order of their places."""
    largest, places = values.topk(k, dim=1)
    # `topk` may take any of the values that equal the smallest one taken; only rows where it had a choice are sorted.
    has_choice = (values >= largest[:, -1:]).sum(dim=1) > k
    if has_choice.any():
        places[has_choice] = values[has_choice].sort(dim=1, descending=True, stable=True).indices[:, :k]
    places = places.sort(dim=1).values
    return places.gather(1, values.gather(1, places).sort(dim=1, descending=True, stable=True).indices)


# ---------------------------------------------------------------------------------------------------------------- files


def save_neighbours(neighbours: NeighbourLists, path: str | os.PathLike) -> None:
    """Write the lists in our form, atomically.

    Raises:
        OSError: the folder is missing or can't be written.
    """
    tables = {name: np.ascontiguousarray(getattr(neighbours, name)[:], np.int32) for name in ("image", "audio")}
    metadata = {"format": _FORMAT, "ids": json.dumps(list(neighbours.ids))}
    with write_atomically(path) as unfinished:
        save_file(tables, unfinished, metadata=metadata)


def read_neighbours(path: str | os.PathLike, audio_path: str | os.PathLike | None = None) -> NeighbourLists:
    """Read lists in our form, or (with `audio_path`) in the authors'.

    Args:
        path: our file, or the authors' file for pictures.
        audio_path: the authors' file for sound.

    Raises:
        OSError: a file is missing or can't be opened.
        ValueError: a file is of another form; the message says which.
    """
    if audio_path is not None:
        return read_released_neighbours(path, audio_path)
    if not Path(path).is_file():
        raise FileNotFoundError(f"`neighbours` ({path}) is no file.")
    try:
        with safe_open(path, framework="np") as file:
            metadata, names = file.metadata() or {}, set(file.keys())
    except SafetensorError as error:
        raise ValueError(
            f"`neighbours` ({path}) is no safetensors file ({error}); of the authors' JSON files both are needed, for "
            "pictures and for sound."
        ) from error
    if metadata.get("format") != _FORMAT or not {"image", "audio"} <= names:
        raise ValueError(f"`neighbours` ({path}) holds no neighbour lists: it has {', '.join(sorted(names))}.")
    return NeighbourLists(tuple(json.loads(metadata["ids"])), StoredTable(path, "image"), StoredTable(path, "audio"))


def read_released_neighbours(image_path: str | os.PathLike, audio_path: str | os.PathLike) -> NeighbourLists:
    """Read the authors' two files; the image file is put into the order of the audio file's clips.

    Clips that the image file doesn't have are refused, since every clip is drawn for in both.

    Raises:
        OSError: a file is missing. ValueError: another layout, lists of different lengths, a number without a clip.
    """
    audio = dict(_iter_released(audio_path))
    image = dict(_iter_released(image_path))
    names = list(audio)  # what the numbers of BOTH files count
    missing = [name for name in names if name not in image]
    if missing:
        raise ValueError(
            f"{image_path} has no list for {len(missing)} of the {len(names)} clips of {audio_path}, the first is "
            f"{missing[0]!r}."
        )
    tables = {}
    for kind, lists, path in (("image", image, image_path), ("audio", audio, audio_path)):
        table = np.stack([lists[name] for name in names])
        if table.min() < 0 or table.max() >= len(names):
            raise ValueError(
                f"{path}: the lists count clips from {table.min()} to {table.max()}, but {audio_path} has {len(names)}."
            )
        tables[kind] = table
    return NeighbourLists(tuple(name.removesuffix(_SUFFIX) for name in names), **tables)


def write_released_neighbours(
    neighbours: NeighbourLists, image_path: str | os.PathLike, audio_path: str | os.PathLike
) -> None:
    """Write the lists in the authors' form, each file atomically; both have the clips in one order.

    Raises:
        OSError: a folder is missing or can't be written.
    """
    for table, path in ((neighbours.image, image_path), (neighbours.audio, audio_path)):
        with write_atomically(path) as unfinished, open(unfinished, "w", encoding="utf-8") as file:
            file.write("[{")
            for row, name in enumerate(neighbours.ids):
                numbers = json.dumps(np.asarray(table[row]).tolist())
                file.write(f"{', ' if row else ''}{json.dumps(name + _SUFFIX)}: {numbers}")
            file.write("}]")


def _iter_released(path: str | os.PathLike) -> Iterator[tuple[str, np.ndarray]]:
    """(key, int32 numbers) of one of the authors' files, in its order.

    A file of 144,000 clips holds a gigabyte of text, whose Python numbers would need several times as much: it is
    decoded entry by entry.
    """
    length = None
    with open(path, encoding="utf-8") as file:
        text = _JsonText(file, path)
        text.take("[")
        text.take("{")
        while text.peek() != "}":
            if length is not None:
                text.take(",")
            key = text.decode()
            text.take(":")
            numbers = text.decode()
            is_list = isinstance(numbers, list) and numbers and all(type(number) is int for number in numbers)
            if not isinstance(key, str) or not is_list or max(numbers) >= 2**31:
                raise _other_layout(path, f"{key!r} has no list of whole numbers")
            if length not in (None, len(numbers)):
                raise _other_layout(path, f"{key!r} has {len(numbers)} neighbours, clips before it {length}")
            length = len(numbers)
            yield key, np.array(numbers, np.int32)
        if length is None:
            raise _other_layout(path, "it holds no clip")


class _JsonText:
    """Decodes JSON value by value, holding little more of the file than one of them."""

    def __init__(self, file: TextIO, path: str | os.PathLike):
        self.file, self.path, self.decoder = file, path, json.JSONDecoder()
        self.text, self.place = "", 0

    def peek(self) -> str:
        """The next character that isn't white space; empty at the end."""
        while True:
            while self.place < len(self.text) and self.text[self.place].isspace():
                self.place += 1
            if self.place < len(self.text) or not self._read_on():
                return self.text[self.place : self.place + 1]

    def take(self, character: str) -> None:
        if self.peek() != character:
            raise _other_layout(self.path, f"expected {character!r}, got {self.text[self.place :][:20]!r}")
        self.place += 1

    def decode(self) -> Any:
        """The next string or list."""
        self.peek()
        while True:
            try:
                value, self.place = self.decoder.raw_decode(self.text, self.place)
                return value
            except json.JSONDecodeError as error:  # unless more text completes it
                if len(self.text) - self.place > _LONGEST or not self._read_on():
                    raise _other_layout(self.path, f"{error.msg} at {self.text[self.place :][:20]!r}") from error

    def _read_on(self) -> bool:
        more = self.file.read(_BLOCK)
        self.text, self.place = self.text[self.place :] + more, 0
        return bool(more)


def _other_layout(path: str | os.PathLike, reason: str) -> ValueError:
    return ValueError(f'{path} is no list [{{"<clip>.npy": [numbers, ...], ...}}]: {reason}.')


__all__ = [
    "NeighbourLists",
    "SimilarClips",
    "StoredTable",
    "find_neighbours",
    "read_neighbours",
    "read_released_neighbours",
    "save_neighbours",
    "write_released_neighbours",
]
