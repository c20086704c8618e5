"""Atomic writing of files."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def write_atomically(path: str | os.PathLike) -> Iterator[Path]:
    """Context manager that yields a temporary path and renames it to `path` at the end, unless an error is raised.

        with write_atomically("labels.json") as unfinished:
            unfinished.write_text(text)

    Raises:
        OSError: the folder is missing or can't be written, or `path` is a folder.
    """
    path = Path(path)
    # In the same folder, since a rename is atomic only within one file system. The suffix stays, for
    # writers that choose their format by it.
    unfinished = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:8]}.part{path.suffix}")
    try:
        yield unfinished
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
