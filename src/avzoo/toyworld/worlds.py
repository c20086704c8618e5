"""What the worlds share: a function of a seed becomes a data set with splits, a cache, a stream and workers.

    clips = Talkers(1000, seed=0, split="train", cache_dir="cache")
    clips[17]                                          # rendered, or read from the cache
    clips.as_iterable_dataset()                        # a datasets.IterableDataset; shuffle, split, resume
    for clip in clips.iterate(num_workers=8): ...      # in order, whatever the number of processes

Splits: clip `index` of a split has the seed `clip_seed(seed, split, index)`, 128 bits that numpy's `SeedSequence`
hashes from all three. Two splits, two base seeds or two indices therefore never share a clip (a collision has a
probability of 2^-128 per pair), and growing a split changes none of its earlier clips.
"""

import hashlib
import inspect
import itertools
import json
import multiprocessing
import os
import zipfile
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from avzoo.audio import write_wav
from avzoo.files import write_atomically
from avzoo.processes import count_available_cores

_LABELS = "labels.json"  # what is no array, among the arrays of a cached clip


def clip_seed(seed: int, split: str, index: int) -> int:
    """Seed of clip `index` of `split`: 128 bits, so that no two (seed, split, index) share a clip."""
    split_code = int.from_bytes(hashlib.sha256(split.encode("utf-8")).digest()[:8], "big")
    words = np.random.SeedSequence(seed, spawn_key=(split_code, index)).generate_state(4, np.uint32)
    return int.from_bytes(words.astype("<u4").tobytes(), "little")


def check_seed(seed: int) -> int:
    """`seed`, if it is one.

    Raises:
        ValueError: it is negative.
    """
    if seed < 0:
        raise ValueError(f"`seed` must be 0 or more, got {seed}.")
    return int(seed)


class World:
    """Map-style data set of one world; `torch.utils.data.DataLoader` takes it as it is.

    A subclass names itself and the function that makes a clip. Clips are dicts of numpy arrays and of what JSON can
    hold (lists, not tuples), so that a cached clip equals a rendered one.

    Args:
        num_clips: length of the data set.
        seed: base seed; other seeds give other clips.
        split: name of the split ("train", "validation", "test", ...); splits share no clip.
        cache_dir: folder for rendered clips. Each is written once, atomically, below a sub-folder named by the
            world's version and settings; several processes may share it. None: render on every access.
        settings: keyword arguments of `make`.

    Raises:
        ValueError: a negative length or seed. TypeError: a setting that `make` does not have, or a text
            where it takes a number.
    """

    name: ClassVar[str]
    version: ClassVar[int]  # raise it whenever a change alters rendered clips: it is part of the cache key
    make: ClassVar[Callable[..., dict[str, Any]]]  # (seed, **settings) -> clip

    def __init__(
        self,
        num_clips: int,
        seed: int = 0,
        *,
        split: str = "train",
        cache_dir: str | os.PathLike | None = None,
        **settings: Any,
    ) -> None:
        if num_clips < 0:
            raise ValueError(f"`num_clips` must be 0 or more, got {num_clips}.")
        known = dict(list(inspect.signature(type(self).make).parameters.items())[1:])
        for setting, value in settings.items():
            if setting not in known:
                raise TypeError(f"the world {self.name!r} has no setting {setting!r}; it has: {', '.join(known)}.")
            if isinstance(value, str) and isinstance(known[setting].default, int | float):
                raise TypeError(f"`{setting}` must be a number, got {value!r}.")
        self.num_clips = num_clips
        self.seed = check_seed(seed)
        self.split = split
        self.settings = settings
        self.cache_dir = None if cache_dir is None else Path(cache_dir) / self._cache_name()

    def _cache_name(self) -> str:
        key = json.dumps([self.version, self.seed, self.split, self.settings], sort_keys=True)
        return f"{self.name}-v{self.version}-" + hashlib.sha256(key.encode("utf-8")).hexdigest()[:16]

    def __len__(self) -> int:
        return self.num_clips

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Clip `index`: its `id`, and all that `make` returns."""
        if not -self.num_clips <= index < self.num_clips:
            raise IndexError(f"clip {index} of a data set of {self.num_clips}")
        index = int(index) % self.num_clips
        return {"id": self.clip_id(index), **self._load_or_render(index)}

    def clip_id(self, index: int) -> str:
        """Name of clip `index`, which its files bear, too; worlds and splits may share a folder."""
        return f"{self.name}-{self.split}-{index:07d}"

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[index] for index in range(self.num_clips))

    def render(self, index: int) -> dict[str, Any]:
        """Make clip `index`, past the cache."""
        return type(self).make(self.derive_seed(index), **self.settings)

    def derive_seed(self, index: int) -> int:
        """Seed of clip `index`."""
        return clip_seed(self.seed, self.split, index)

    def draw_balanced(self, index: int, count: int) -> int:
        """A number below `count` for clip `index`: each occurs once in every run of `count` clips, in random order."""
        run, place = divmod(index, count)
        generator = np.random.default_rng(clip_seed(self.seed, f"{self.split}/labels", run))
        return int(generator.permutation(count)[place])

    def _load_or_render(self, index: int) -> dict[str, Any]:
        if self.cache_dir is None:
            return self.render(index)
        path = self.cache_dir / f"{index // 1000:04d}" / f"{index:07d}.npz"
        try:
            return _load(path)
        except (FileNotFoundError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            clip = self.render(index)  # not there yet, or damaged: render it (again)
            _save(path, clip)
            return clip

    def iterate(self, num_workers: int | None = None, *, clips_at_once: int = 4) -> Iterator[dict[str, Any]]:
        """Every clip in order, rendered by several processes; the clips do not depend on their number.

        The processes are spawned, so a script calls this below `if __name__ == "__main__":`.

        Args:
            num_workers: processes; 0 or 1 renders in this one, None takes one per CPU of this process, unless the
                clips are so few that they are ready sooner without.
            clips_at_once: what a process renders before it answers; more for clips that take milliseconds.
        """
        if num_workers is None:
            # To start processes takes as long as to render a few dozen clips.
            num_workers = count_available_cores() if self.num_clips > 8 * clips_at_once else 1
        if num_workers <= 1 or self.num_clips <= clips_at_once:
            yield from self
            return
        # Not forked: a forked child of a process that runs torch threads may hang.
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(num_workers, mp_context=context) as pool:
            waiting = deque()
            for start in range(0, self.num_clips, clips_at_once):
                waiting.append(pool.submit(_render_range, self, start, min(start + clips_at_once, self.num_clips)))
                if len(waiting) > 2 * num_workers:  # so many ahead of the reader, no more
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()

    def write(self, clip: dict[str, Any], folder: str | os.PathLike) -> list[Path]:
        """Write a clip as files that people can open, named by its `id`: here its sound, and its labels as JSON.

        Returns:
            The files. A subclass that has more to show adds to them.
        """
        files = []
        if "audio" in clip:
            files.append(Path(folder, f"{clip['id']}.wav"))
            write_wav(files[-1], clip["audio"], clip["sampling_rate"])
        return [*files, write_labels(clip, folder)]

    def as_iterable_dataset(self, num_shards: int | None = None):
        """The clips as a `datasets.IterableDataset`, rendered while they are read.

        Args:
            num_shards: contiguous parts. None: one per clip, so that `shuffle` shuffles clips, a `DataLoader` with
                workers spreads them evenly, and `load_state_dict` goes on with one clip rendered again at most.

        Raises:
            ValueError: `num_shards` is less than 1.
        """
        from datasets import IterableDataset

        if num_shards is not None and num_shards < 1:
            raise ValueError(f"`num_shards` must be 1 or more, got {num_shards}.")
        count = max(min(num_shards or self.num_clips, self.num_clips), 1)
        edges = [self.num_clips * shard // count for shard in range(count + 1)]
        return IterableDataset.from_generator(
            _iter_rows, features=self.features(), gen_kwargs={"ranges": list(itertools.pairwise(edges)), "world": self}
        )

    def features(self):
        """Column types of the stream. None: arrays pass as numpy arrays of their own type, as fast as they are made."""
        return None


def write_labels(clip: dict[str, Any], folder: str | os.PathLike) -> Path:
    """Write all of a clip that is no array to `<id>.json`."""
    path = Path(folder, f"{clip['id']}.json")
    labels = {name: value for name, value in clip.items() if not isinstance(value, np.ndarray)}
    with write_atomically(path) as unfinished:
        unfinished.write_text(json.dumps(labels, ensure_ascii=False, indent=2, allow_nan=False) + "\n", "utf-8")
    return path


def _iter_rows(ranges: list[tuple[int, int]], world: World) -> Iterator[dict[str, Any]]:
    for start, stop in ranges:
        for index in range(start, stop):
            yield world[index]


def _render_range(world: World, start: int, stop: int) -> list[dict[str, Any]]:
    return [world[index] for index in range(start, stop)]


def _save(path: Path, clip: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {name: value for name, value in clip.items() if isinstance(value, np.ndarray)}
    # Every name is listed, so that the clip comes back with its fields in order.
    labels = json.dumps({name: None if name in arrays else value for name, value in clip.items()}, allow_nan=False)
    with write_atomically(path) as unfinished, open(unfinished, "wb") as file:
        np.savez(file, allow_pickle=False, **arrays, **{_LABELS: np.frombuffer(labels.encode("utf-8"), np.uint8)})


def _load(path: Path) -> dict[str, Any]:
    with np.load(path, allow_pickle=False) as stored:
        clip = json.loads(stored[_LABELS].tobytes())
        arrays = set(stored.files) - {_LABELS}
        return {name: stored[name] if name in arrays else value for name, value in clip.items()}
