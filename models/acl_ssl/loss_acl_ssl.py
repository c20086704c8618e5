"""The losses of ACL-SSL: masked pictures, masked features and the size of masks (arXiv 2311.04066).

Source: swimmiing/ACL-SSL@57f4a6c (`loss_utils.py`, `modules/models.py`).
"""

import contextlib
from dataclasses import dataclass

import torch
from torch import nn


@dataclass
class ACLTerms:
    """The terms of [`acl_loss`], and their sum.

    Args:
        loss: the sum.
        image: pictures behind their masks against sounds, 0 or more.
        feature: features behind masks against sounds, 0 or more.
        area: how far masks are from the size they should have.
    """

    loss: torch.Tensor
    image: torch.Tensor
    feature: torch.Tensor
    area: torch.Tensor


def sample_mask(logits: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """Draw a mask of 0 and 1 by logits; the gradient is that of the probability.

    Args:
        logits: of any shape.
        uniform: draws from (0, 1) of the same shape; their logits are added.
    """
    soft = torch.sigmoid(logits + torch.log(uniform / (1 - uniform)))
    hard = (soft > 0.5).to(soft.dtype)
    return hard + (soft - soft.detach())  # in this order exactly 0 and 1


def weight_features(
    dense: torch.Tensor, logits: torch.Tensor, threshold: float = 0.5, temperature: float = 0.07
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean of a picture's features in the region of a sound, for every pair.

    A mask is the sigmoid of (map - `threshold`) / `temperature`, each map brought to [0, 1] first, and takes every n-th
    pixel to the grid of the features. The sums are divided by that of all masks of the batch, so that a vector's length
    depends on the batch; its direction does not.

    Args:
        dense: (images, channels, rows, columns).
        logits: (images, sounds, height, width).

    Returns:
        (images, sounds, channels), and the masks (images, sounds, rows, columns).
    """
    logits = logits.float()
    logits = logits - logits.amin((-2, -1), keepdim=True)  # beside large values 1e-7 would be lost, and a flat map NaN
    low, high = logits.amin((-2, -1), keepdim=True) - 1e-7, logits.amax((-2, -1), keepdim=True) + 1e-7
    cells = nn.functional.interpolate(logits, dense.shape[-2:], mode="nearest")
    masks = torch.sigmoid(((cells - low) / (high - low) - threshold) / temperature)
    with without_autocast(dense):
        features = torch.einsum("nchw,nmhw->nmc", dense.float(), masks)
    return features / (masks.sum() + 1e-6), masks


def without_autocast(tensor: torch.Tensor) -> contextlib.AbstractContextManager:
    """Context manager in which operations on the device of `tensor` keep their precision."""
    device = tensor.device.type  # one without values, such as "meta", has no autocast
    return (
        torch.autocast(device, enabled=False) if device in ("cpu", "cuda", "mps", "xpu") else contextlib.nullcontext()
    )


def contrast_both_ways(logits: torch.Tensor) -> torch.Tensor:
    """Mean of the cross entropies of rows and of columns, the right answers on the diagonal."""
    right = torch.arange(logits.shape[0], device=logits.device)
    return (nn.functional.cross_entropy(logits, right) + nn.functional.cross_entropy(logits.T, right)) / 2


def measure_areas(masks: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Share of a picture that masks cover: of right pairs, and of wrong ones.

    The second is the sum over wrong pairs divided by the number of all pairs, as the authors have it.

    Args:
        masks: (batch, batch, height, width), pictures with sounds.
    """
    areas = masks.mean((-2, -1))
    positive = areas.diagonal().mean()
    return positive, areas.mean() - positive / len(areas)


def acl_loss(
    masked_image_embeds: torch.Tensor,
    masked_features: torch.Tensor,
    audio_embeds: torch.Tensor,
    pair_masks: torch.Tensor,
    *,
    scale: float = 1 / 0.07,
    positive_area: float = 0.4,
    negative_area: float = 0.0,
) -> ACLTerms:
    """Sum of the three losses, each with weight 1.

    Args:
        masked_image_embeds: (batch, size), CLIP's embedding of each picture behind the mask of its own sound.
        masked_features: (batch, batch, size), of [`weight_features`]. Picture i behind the mask of sound j is compared
            with sound i, as the authors have it, not with j.
        audio_embeds: (batch, size).
        pair_masks: (batch, batch, height, width), drawn masks of 0 and 1.
        scale: of the cosines before the softmax.
        positive_area, negative_area: shares of a picture that masks of right and wrong sounds are to cover.
    """
    with without_autocast(audio_embeds):  # half precision is too coarse for so large a scale
        sounds = nn.functional.normalize(audio_embeds.float(), dim=-1)
        images = nn.functional.normalize(masked_image_embeds.float(), dim=-1)
        features = nn.functional.normalize(masked_features.float(), dim=-1)
        image = contrast_both_ways(scale * images @ sounds.T)
        feature = contrast_both_ways(scale * torch.einsum("nmc,nc->nm", features, sounds))
    positive, negative = measure_areas(pair_masks)
    area = (positive - positive_area).abs() + (negative - negative_area).abs()
    return ACLTerms(image + feature + area, image, feature, area)


__all__ = ["ACLTerms", "acl_loss", "measure_areas", "sample_mask", "weight_features"]
