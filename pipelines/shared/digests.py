"""Digests by which stored embeddings are held against the model that made them."""

import hashlib

import torch


def digest_weights(model: torch.nn.Module) -> str:
    """SHA-256 of a model's weights, whatever its config says."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


__all__ = ["digest_weights"]
