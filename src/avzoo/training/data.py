"""Batches as a function of (seed, epoch, position): the base of repeatable and resumable training.

The global random generators are re-seeded before every sample, from the sample's place in the run. So a random crop
inside a dataset doesn't depend on how many workers load it, nor on whether the run was interrupted before it, and
there is no random state to save.
"""

import itertools
import random
import zlib
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset, Sampler, get_worker_info


def derive_seed(purpose: str, *place: int) -> int:
    """A well-spread 63-bit seed for one purpose ("order", "sample", ...) at one place of the run."""
    entropy = (zlib.crc32(purpose.encode()), len(place), *place)
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0]) >> 1


def seed_generators(seed: int) -> None:
    """Seed the global generators of Python, numpy and torch's CPU; cheap enough for every sample."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.default_generator.manual_seed(seed)


class _SeededSamples(Dataset):
    """Reads a sample after seeding by its key, (seed, epoch, position in the epoch)."""

    def __init__(self, dataset):
        self.dataset = dataset

    def __getitem__(self, key_and_index: tuple[tuple[int, ...], int]):
        key, index = key_and_index
        seed_generators(derive_seed("sample", *key))
        return self.dataset[index]


class _SeededStream(IterableDataset):
    """One process's share of a stream: each reads all of it, and keeps its part of every global batch."""

    def __init__(self, dataset, key: tuple[int, ...], share: Callable[[list], list], global_batch: int):
        self.dataset, self.key, self.share, self.global_batch = dataset, key, share, global_batch

    def __iter__(self):
        worker = get_worker_info()
        key = (*self.key, worker.id if worker else 0)
        samples = self._iter_seeded(iter(self.dataset), key)
        while chunk := list(itertools.islice(samples, self.global_batch)):
            yield from self.share(chunk)

    def _iter_seeded(self, samples: Iterator, key: tuple[int, ...]) -> Iterator:
        for position in itertools.count():
            seed_generators(derive_seed("sample", *key, position))
            try:
                yield next(samples)
            except StopIteration:
                return


class TrainingData:
    """Deterministic batches of one process.

    Samples are cut into global batches of `batch_size * num_processes`, and each process takes its slice: N processes
    see what one process with N times the batch size sees. What is left at an epoch's end is a smaller batch; if it
    can't be split evenly, some of its samples are seen twice, since every process has to take part in every step.

    Args:
        dataset: with `__getitem__` and `__len__`, or iterable (torch's or datasets'). `set_epoch(epoch)` is called if
            there is one. A plain iterable is read in full by every process and, if it doesn't ask
            `torch.utils.data.get_worker_info()`, by every worker.
        sampler: indices of an epoch, instead of all of them shuffled. The same on every process; drawn anew each
            epoch, after `set_epoch(epoch)` if it has that.
    """

    def __init__(
        self,
        dataset: Any,
        *,
        batch_size: int,
        seed: int,
        shuffle: bool = True,
        drop_last: bool = False,
        num_workers: int = 0,
        data_collator: Callable | None = None,
        sampler: Sampler | Iterable[int] | None = None,
        process_index: int = 0,
        num_processes: int = 1,
        pin_memory: bool = False,
    ):
        self.dataset, self.sampler, self.seed = dataset, sampler, seed
        self.batch_size, self.shuffle, self.drop_last = batch_size, shuffle, drop_last
        self.process_index, self.num_processes = process_index, num_processes
        self.loader_options = {"num_workers": num_workers, "collate_fn": data_collator, "pin_memory": pin_memory}
        self.is_stream = isinstance(dataset, IterableDataset) or not hasattr(dataset, "__getitem__")
        if self.is_stream and sampler is not None:
            raise ValueError("`sampler`: a stream has no indices to sample; shuffle or weight the stream itself.")
        source = dataset if sampler is None else sampler
        self.num_samples = len(source) if isinstance(source, Sized) else None
        if self.num_samples is None and not self.is_stream:
            raise ValueError(f"`{'train_dataset' if sampler is None else 'sampler'}` needs a length.")
        if self.num_samples == 0:
            raise ValueError("`train_dataset` is empty." if sampler is None else "`sampler` gives no index.")
        if self.num_batches == 0:
            raise ValueError(
                f"`drop_last`: {self.num_samples} samples don't fill one batch of {self.global_batch} "
                "(`batch_size` times processes), so every epoch is empty."
            )

    @property
    def global_batch(self) -> int:
        return self.batch_size * self.num_processes

    @property
    def num_batches(self) -> int | None:
        """Batches of an epoch, the same on every process; None for a stream of unknown length."""
        if self.num_samples is None:
            return None
        return self.num_samples // self.global_batch if self.drop_last else -(-self.num_samples // self.global_batch)

    def epoch(self, epoch: int, first_batch: int = 0) -> Iterator[Any]:
        """The batches of an epoch, from `first_batch` on. A stream is read from its start and the first thrown away."""
        for part in (self.dataset, self.sampler):
            if hasattr(part, "set_epoch"):
                part.set_epoch(epoch)
        key = (self.seed, epoch)
        workers = torch.Generator().manual_seed(derive_seed("workers", *key))
        if self.is_stream:
            stream = _SeededStream(self.dataset, key, self._take_share, self.global_batch)
            loader = DataLoader(stream, batch_size=self.batch_size, generator=workers, **self.loader_options)
            return itertools.islice(loader, first_batch, None)
        samples = [((*key, position), index) for position, index in enumerate(self._draw_order(epoch))]
        shares = [
            self._take_share(samples[i : i + self.global_batch]) for i in range(0, len(samples), self.global_batch)
        ]
        batches = [share for share in shares if share][first_batch:]
        return iter(
            DataLoader(_SeededSamples(self.dataset), batch_sampler=batches, generator=workers, **self.loader_options)
        )

    def _draw_order(self, epoch: int) -> list[int]:
        seed = derive_seed("order", self.seed, epoch)
        if self.sampler is None:
            if not self.shuffle:
                return list(range(self.num_samples))
            return torch.randperm(self.num_samples, generator=torch.Generator().manual_seed(seed)).tolist()
        seed_generators(seed)  # torch's samplers draw from the global generator ...
        if isinstance(getattr(self.sampler, "generator", None), torch.Generator):
            self.sampler.generator.manual_seed(seed)  # ... unless they were given one
        return [int(index) for index in self.sampler]

    def _take_share(self, chunk: list) -> list:
        """This process's part of a global batch; of 5 samples with 2 processes: [0, 1, 2] and [3, 4, 0]."""
        if self.drop_last and len(chunk) < self.global_batch:
            return []
        missing = -len(chunk) % self.num_processes
        chunk = chunk + list(itertools.islice(itertools.cycle(chunk), missing))
        size = len(chunk) // self.num_processes
        return chunk[self.process_index * size : (self.process_index + 1) * size]
