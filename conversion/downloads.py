"""Weights of other libraries' models on the Hub."""

from pathlib import Path

from huggingface_hub import snapshot_download

_WEIGHTS = ("*.safetensors", "*.bin")  # the first that a repository has


def download_weights(repository: str) -> Path:
    """A folder of a repository's weights and JSON files, in the cache of the Hub.

    Raises:
        OSError: the repository has no weights, or the Hub can't be reached.
    """
    for weights in _WEIGHTS:
        folder = Path(snapshot_download(repository, allow_patterns=["*.json", weights]))
        if any(folder.glob(weights)):
            return folder
    raise OSError(f"`{repository}` on the Hub has no weights: neither {' nor '.join(_WEIGHTS)}.")


__all__ = ["download_weights"]
