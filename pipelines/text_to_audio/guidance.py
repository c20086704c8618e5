"""Guidance by two conditions: the rows of the denoiser's batch, their conditions, and the sum of their noises.

A row is a combination of conditions: the description or its null text, with the content or its null text. The
denoiser computes all rows in one batch: all waveforms of the first row, then all of the second, and so on.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch

Row = tuple[bool, bool]  # whether the row has the description, and whether it has the content


def guidance_rows(
    desc_guidance_scale: float,
    cont_guidance_scale: float,
    guidance_scale: float | None = None,
    content_is_null: bool = False,
) -> dict[Row, float]:
    """Rows that the denoiser must compute, each with its weight in the guided noise.

    Dual: n(d, c) + desc * (n(d, -) - n(-, -)) + cont * (n(-, c) - n(-, -)). The base has both conditions.
    Single: n(-, -) + scale * (n(d, c) - n(-, -)). Rows of weight 0 are left out, and equal rows are merged.
    """
    if guidance_scale is not None:
        terms = {(True, True): guidance_scale, (False, False): 1.0 - guidance_scale}
    else:
        terms = {
            (True, True): 1.0,
            (True, False): desc_guidance_scale,
            (False, True): cont_guidance_scale,
            (False, False): -desc_guidance_scale - cont_guidance_scale,
        }
    rows: dict[Row, float] = {}
    for (description, content), weight in terms.items():
        row = (description, content and not content_is_null)
        rows[row] = rows.get(row, 0.0) + weight
    return {row: weight for row, weight in rows.items() if weight}


def needs_null_description(rows: Mapping[Row, float]) -> bool:
    """Whether any row is without the description."""
    return any(not description for description, _ in rows)


def needs_null_content(rows: Mapping[Row, float]) -> bool:
    """Whether any row is without the content."""
    return any(not content for _, content in rows)


@dataclass(frozen=True)
class GuidedConditions:
    """Conditions of every row and waveform, and the weights of the rows.

    Args:
        description_embeds: (rows * waveforms, size).
        content_embeds: (rows * waveforms, frames, size).
        content_bias: (rows * waveforms, frames), float32, added to the attention logits of the frames.
        weights: (rows, 1, 1, 1, 1).
    """

    description_embeds: torch.Tensor
    content_embeds: torch.Tensor
    content_bias: torch.Tensor
    weights: torch.Tensor

    def combine(self, noise: torch.Tensor) -> torch.Tensor:
        """Sum the weighted noises of all rows: (rows * waveforms, ...) to (waveforms, ...), float32."""
        return (noise.float().unflatten(0, (len(self.weights), -1)) * self.weights).sum(0)


def lay_out_conditions(
    rows: Mapping[Row, float],
    descriptions: Mapping[bool, torch.Tensor | None],
    contents: Mapping[bool, tuple[torch.Tensor | None, torch.Tensor | None]],
    *,
    batch_size: int,
    num_waveforms_per_prompt: int,
    device: torch.device,
    dtype: torch.dtype,
) -> GuidedConditions:
    """Lay out the conditions of every row for the denoiser.

    Args:
        descriptions: the description's embeddings (True) and the null description's (False), (batch or 1, size).
        contents: the content's (True) and the null content's (False) embeddings, (batch or 1, frames, size), and
            bias, (batch or 1, frames); a bias of None is 0.
        batch_size: prompts.
    """

    def repeat(values: torch.Tensor) -> torch.Tensor:
        values = values.to(device)
        values = values.expand(batch_size, *values.shape[1:]) if len(values) == 1 else values
        return values.repeat_interleave(num_waveforms_per_prompt, dim=0)

    num_frames = max(contents[content][0].shape[1] for _, content in rows)
    padded = {content: _pad_frames(*contents[content], num_frames) for _, content in rows}
    return GuidedConditions(
        description_embeds=torch.cat([repeat(descriptions[description]) for description, _ in rows]).to(dtype),
        content_embeds=torch.cat([repeat(padded[content][0]) for _, content in rows]).to(dtype),
        content_bias=torch.cat([repeat(padded[content][1]) for _, content in rows]),
        weights=torch.tensor(list(rows.values()), device=device).view(-1, 1, 1, 1, 1),
    )


def _pad_frames(embeds: torch.Tensor, bias: torch.Tensor | None, num_frames: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Pad frames and their bias to `num_frames`; attention masks the padding."""
    bias = embeds.new_zeros(embeds.shape[:2], dtype=torch.float32) if bias is None else bias.float()
    missing = num_frames - embeds.shape[1]
    pad = torch.nn.functional.pad
    return pad(embeds, (0, 0, 0, missing)), pad(bias, (0, missing), value=-math.inf)


__all__ = [
    "GuidedConditions",
    "Row",
    "guidance_rows",
    "lay_out_conditions",
    "needs_null_content",
    "needs_null_description",
]
