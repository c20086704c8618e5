"""Pictures and sounds encoded once each, however many pairs they are in."""

import copy
import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from avzoo.data.localization_samples import Sample

_READ_AT_ONCE = 1 << 20


def digest_file(path: str) -> str:
    """SHA-256 of a file: the pictures of IS3 lie there twice, under two names.

    Raises:
        OSError: it can't be read.
    """
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_READ_AT_ONCE):
            digest.update(block)
    return digest.hexdigest()


def use_base_seconds(processor: Any, samples: Sequence[Sample]) -> Any:
    """The processor, or a copy of it that repeats and cuts recordings to the length that the test set's authors take.

    A processor without `base_seconds`, or with None there, has a rule of its own and is left alone.
    """
    lengths = {sample["base_seconds"] for sample in samples}
    if getattr(processor, "base_seconds", None) is None or len(lengths) != 1 or processor.base_seconds in lengths:
        return processor
    processor = copy.copy(processor)
    processor.base_seconds = lengths.pop()
    return processor


def encode_batches(
    items: Iterable[tuple[Any, str]],
    prepare: Callable[[str], torch.Tensor],
    batch_size: int,
    report_damage: Callable[[Any, Exception], None],
) -> Iterator[tuple[list[Any], torch.Tensor]]:
    """Yield (keys, inputs of the network) of `batch_size` files at a time, the last batch may be smaller.

    Args:
        items: (key, path) of each file.
        prepare: path -> (1, ...) input of the network.
        report_damage: is given the key and the error of a file that can't be read, and may raise.
    """
    keys: list[Any] = []
    inputs: list[torch.Tensor] = []
    for key, path in items:
        try:
            prepared = prepare(path)
        except (OSError, ValueError) as error:
            report_damage(key, error)
            continue
        keys.append(key)
        inputs.append(prepared)
        if len(keys) == batch_size:
            yield keys, torch.cat(inputs)
            keys, inputs = [], []
    if keys:
        yield keys, torch.cat(inputs)


@contextmanager
def evaluation_mode(model: Any) -> Iterator[None]:
    """Inside, the model is in evaluation mode."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


__all__ = ["digest_file", "encode_batches", "evaluation_mode", "use_base_seconds"]
