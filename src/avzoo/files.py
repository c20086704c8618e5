"""Writing files so that nobody ever sees half of one."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def write_atomically(path: str | os.PathLike) -> Iterator[Path]:
    """Gives a place to write to; what lies there at the end becomes `path` in one step, unless an error came first.

        with write_atomically("labels.json") as unfinished:
            unfinished.write_text(text)

    Raises:
        OSError: the folder is missing or can't be written, or `path` is a folder.
    """
    path = Path(path)
    # In the same folder, since only within one file system a file can take another's place in one step. The ending
    # stays, for writers that choose their format by it.
    unfinished = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:8]}.part{path.suffix}")
    try:
        yield unfinished
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
