"""Weights of other libraries' models on the Hub."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download

_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_FILE_SUFFIXES = (".pth", ".pt", ".bin", ".safetensors")
_WEIGHTS = ("*.safetensors", "*.bin")  # the first that a repository has


def is_hub_name(source: Any) -> bool:
    """Whether it can only be a name on the Hub: it has the form owner/name, and no such file or folder exists."""
    if not isinstance(source, str | Path) or Path(source).exists():
        return False
    return bool(_HUB_NAME.fullmatch(str(source))) and not str(source).endswith(_FILE_SUFFIXES)


def download_weights(repository: str, further: Sequence[str] = ()) -> Path:
    """A folder of a repository's weights and JSON files, in the cache of the Hub.

    Args:
        further: patterns of other files that are taken.

    Raises:
        OSError: the repository has no weights, or the Hub can't be reached.
    """
    for weights in _WEIGHTS:
        folder = Path(snapshot_download(repository, allow_patterns=["*.json", *further, weights]))
        if any(folder.glob(weights)):
            return folder
    raise OSError(f"`{repository}` on the Hub has no weights: neither {' nor '.join(_WEIGHTS)}.")


__all__ = ["download_weights", "is_hub_name"]
