"""What pipelines of recordings do alike: take what people have, and cut long recordings into windows."""

from collections.abc import Iterator
from typing import Any
from urllib.request import urlopen

import numpy as np
import torch


def cut_windows(blocks: Iterator[np.ndarray], window: int, hop: int) -> Iterator[tuple[int, np.ndarray, bool]]:
    """Cut a stream into overlapping windows: (first sample, samples, is_last).

    Windows begin every `hop` samples. The last one ends at the end of the stream and begins earlier if needed, so all
    windows are full. A stream shorter than a window gives one window of its own length.
    """
    buffer, first = np.zeros(0, dtype=np.float32), 0
    for block in blocks:
        buffer = np.concatenate([buffer, block])
        while len(buffer) >= window + hop:  # there will be a later window
            yield first, buffer[:window], False
            buffer, first = buffer[hop:], first + hop
    if len(buffer) > window:
        yield first, buffer[:window], False
    start = max(0, len(buffer) - window)
    yield first + start, buffer[start:], True


def wrap_recording(recording: Any, sampling_rate: int) -> Any:
    """Add the model's rate to bare samples, as transformers pipelines do, and download URLs; pass on files and rows."""
    if isinstance(recording, str) and recording.startswith(("http://", "https://")):
        with urlopen(recording) as response:
            return response.read()
    if isinstance(recording, np.ndarray | torch.Tensor | list):
        return {"array": recording, "sampling_rate": sampling_rate}
    return recording


def read_once(source: Any) -> Any:
    """The bytes of a file object, which is gone through more than once; anything else as it is."""
    return source.read() if hasattr(source, "read") else source


__all__ = ["cut_windows", "read_once", "wrap_recording"]
