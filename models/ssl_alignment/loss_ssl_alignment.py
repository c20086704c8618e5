"""Losses of pictures and sounds that belong together, without labels (arXiv 2309.10724).

A batch of n pictures and n sounds gives matrices of similarities, rows = pictures, columns = sounds, the matching pairs
on the diagonal. Sources: kaistmm/ssl_kccv@7e178e6 (`Alignment/train.py`, `Alignment/model.py`) and, for LVS,
kaistmm/SSLalignment@e7ae3c5 (`model_lvs.py`).
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


@dataclass
class AlignmentView:
    """The features of one view of a batch: pictures or sounds as they are, augmented, or similar ones.

    Args:
        image_map: (batch, channels, rows, columns), unit length over channels.
        audio_vector: (batch, channels), unit length.
        image_embeds, audio_embeds: (batch, projection_dim), unit length; None without projections.
    """

    image_map: torch.Tensor
    audio_vector: torch.Tensor
    image_embeds: torch.Tensor | None = None
    audio_embeds: torch.Tensor | None = None


@dataclass
class AlignmentTerms:
    """The terms of [`alignment_loss`], and their sum.

    Args:
        loss: the sum of all terms; not below 0, and `log(batch)` a term where nothing is learnt.
        localization: (pairs,), on the similarity maps; pictures vary slowest: (original, original), (original,
            augmented), ...
        alignment: (pairs,), on the projections; empty without them.
        intra_modal: (terms,), pictures with pictures and sounds with sounds; empty unless asked for.
    """

    loss: torch.Tensor
    localization: torch.Tensor
    alignment: torch.Tensor
    intra_modal: torch.Tensor


def compare_all(image_map: torch.Tensor, audio_vectors: torch.Tensor) -> torch.Tensor:
    """Cosine maps of every picture with every sound: (images, channels, rows, columns) and (sounds, channels) to
    (images, sounds, rows, columns)."""
    return torch.einsum("nchw,mc->nmhw", image_map, audio_vectors)


def soft_threshold(maps: torch.Tensor, threshold: float = 0.65, temperature: float = 0.03) -> torch.Tensor:
    """Weight of each cell in [0, 1], sigmoid((similarity - threshold) / temperature); in float32."""
    return torch.sigmoid((maps.float() - threshold) / temperature)


def average_map(maps: torch.Tensor, threshold: float | None = 0.65, temperature: float = 0.03) -> torch.Tensor:
    """One similarity for each map, (..., rows, columns) to (...): the mean weighted by [`soft_threshold`].

    Far below the threshold the weights are a softmax of temperature `temperature`, so the mean is nearly the maximum.
    The gradient goes through the weights.

    Args:
        threshold: None: the plain mean.
    """
    maps = maps.float()  # both sums are tiny where all similarities are small
    if threshold is None:
        return maps.mean((-2, -1))
    scores = (maps - threshold) / temperature
    # The logarithm of the weights, less its maximum, which cancels: no sum is ever 0.
    weights = nn.functional.logsigmoid(scores).flatten(-2).softmax(-1)
    return (weights * maps.flatten(-2)).sum(-1)


def average_all(
    image_map: torch.Tensor,
    audio_vectors: torch.Tensor,
    threshold: float | None = 0.65,
    temperature: float = 0.03,
    chunk_size: int | None = None,
) -> torch.Tensor:
    """[`average_map`] of every picture with every sound: (images, sounds).

    Args:
        image_map, audio_vectors: as for [`compare_all`].
        threshold, temperature: as for [`average_map`].
        chunk_size: pictures whose maps are in memory at a time; the backward pass computes them again. None: all.
    """

    def average(part: torch.Tensor) -> torch.Tensor:
        return average_map(compare_all(part, audio_vectors), threshold, temperature)

    if chunk_size is None or chunk_size >= len(image_map):
        return average(image_map)
    return torch.cat([checkpoint(average, part, use_reentrant=False) for part in image_map.split(chunk_size)])


def contrast(logits: torch.Tensor) -> torch.Tensor:
    """Mean over rows of -log softmax at the diagonal: each picture is to find its own sound among all."""
    return nn.functional.cross_entropy(logits.float(), torch.arange(logits.shape[0], device=logits.device))


def alignment_loss(
    images: Sequence[AlignmentView],
    sounds: Sequence[AlignmentView] | None = None,
    *,
    temperature: float = 0.07,
    mask_threshold: float | None = 0.65,
    mask_temperature: float = 0.03,
    use_localization: bool = True,
    use_alignment: bool = True,
    intra_modal: Sequence[tuple[int, int]] = (),
    chunk_size: int | None = None,
) -> AlignmentTerms:
    """Sum over all pairs of views of -log softmax s_L / tau, and of -log softmax s_A / tau.

    With the three views original, augmented and similar these are the 9 + 9 terms of the released recipe. There are no
    weights, and nothing divides by the number of pairs.

    Args:
        images: the views whose pictures are used.
        sounds: the views whose sounds are used; None: the same.
        temperature: tau.
        mask_threshold, mask_temperature: of [`average_map`]; None: the paper's plain mean.
        use_localization: the terms on the maps.
        use_alignment: the terms on the projections, where the views have them.
        intra_modal: pairs of views (indices) whose pictures are also compared with each other, and whose sounds, by
            their projections; off in the released recipe.
        chunk_size: as for [`average_all`]: less memory for large batches, whose maps grow with their square.

    Raises:
        ValueError: no term is left, or projections are to be compared that the views don't have.
    """
    sounds = images if sounds is None else sounds
    if intra_modal and any(view.image_embeds is None or view.audio_embeds is None for view in (*images, *sounds)):
        raise ValueError("`intra_modal` compares projections, and the views have none.")
    localization, alignment, within = [], [], []
    for image, sound in itertools.product(images, sounds):
        if use_localization:
            mask = (mask_threshold, mask_temperature)
            similarities = average_all(image.image_map, sound.audio_vector, *mask, chunk_size)
            localization.append(contrast(similarities / temperature))
        if use_alignment and image.image_embeds is not None:
            alignment.append(contrast(image.image_embeds @ sound.audio_embeds.T / temperature))
    for first, second in intra_modal:
        within.append(contrast(images[first].image_embeds @ images[second].image_embeds.T / temperature))
        within.append(contrast(sounds[first].audio_embeds @ sounds[second].audio_embeds.T / temperature))
    if not localization and not alignment:
        raise ValueError("no term is left: the views have no projections, and `use_localization` is False.")
    device = images[0].image_map.device
    stacked = [
        torch.stack(terms) if terms else torch.zeros(0, device=device) for terms in (localization, alignment, within)
    ]
    return AlignmentTerms(sum(terms.sum() for terms in stacked), *stacked)


def lvs_logits(
    maps: torch.Tensor,
    *,
    mask_threshold: float = 0.65,
    negative_threshold: float = 0.4,
    mask_temperature: float = 0.03,
    temperature: float = 0.07,
) -> torch.Tensor:
    """Logits of LVS's loss, (batch, batch + 2) of all-pairs maps (batch, batch, rows, columns); the first is right.

    Each row: the picture's own sound, all sounds, the own one times -99 (so that it does not count twice), and the
    background of its own map.
    """
    similarities = average_map(maps, mask_threshold, mask_temperature)
    own_maps = maps.diagonal().permute(2, 0, 1).float()
    background = 1 - soft_threshold(own_maps, negative_threshold, mask_temperature)
    negative = (background * own_maps).sum((-2, -1)) / background.sum((-2, -1)).clamp(min=1e-12)
    own = similarities.diagonal()
    others = torch.where(torch.eye(len(maps), dtype=torch.bool, device=maps.device), -99 * similarities, similarities)
    return torch.cat([own[:, None], others, negative[:, None]], dim=1) / temperature


def make_view(outputs: Mapping[str, torch.Tensor | None]) -> AlignmentView:
    """The view that an output of [`SSLAlignmentForSoundLocalization`] is."""
    names = ("image_map", "audio_vector", "image_embeds", "audio_embeds")
    return AlignmentView(**{name: outputs.get(name) for name in names})


__all__ = [
    "AlignmentTerms",
    "AlignmentView",
    "alignment_loss",
    "average_all",
    "average_map",
    "compare_all",
    "contrast",
    "lvs_logits",
    "make_view",
    "soft_threshold",
]
