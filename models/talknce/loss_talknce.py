"""TalkNCE: a contrastive loss between what a face does and what is heard, on the frames where the face speaks.

Paper: "TalkNCE: Improving Active Speaker Detection with Talk-Aware Contrastive Learning" (arXiv 2309.12306). The
formula is that of kaistmm/TalkNCE@8666642, loconet.py.
"""

from typing import Literal

import torch
from torch import nn

from avzoo.checks import check_choice, check_number, check_whole_number


class TalkNCELoss(nn.Module):
    """Mean over speaking frames i of a clip of -log softmax_j(<v_i, a_j> / temperature) at j = i, over its speaking
    frames j.

    Lower is better; 0 is perfect, log(frames) is chance. v and a are normed to length 1. Negatives come from the same
    clip alone. A clip with one such frame gives 0; one with fewer than `min_frames` is left out, and the loss is the
    mean over the clips that are left, 0 if there are none. Works with every model that has an audio and a visual
    embedding per frame:

        loss = TalkNCELoss()(audio_embeddings, visual_embeddings, speaking)

    Args:
        temperature: of the softmax; the released weights were trained with 0.07.
        nce_frames: "speaking", or "all": every frame that is not padding, for comparison.
        direction: "visual_to_audio": each picture picks its sound, as the authors have it; "audio_to_visual"; or
            "both", their mean.
        min_frames: clips with fewer frames are left out.
    """

    def __init__(
        self,
        temperature: float = 0.07,
        nce_frames: Literal["speaking", "all"] = "speaking",
        direction: Literal["visual_to_audio", "audio_to_visual", "both"] = "visual_to_audio",
        min_frames: int = 1,
    ):
        super().__init__()
        check_number("temperature", temperature, above=0)
        check_choice("nce_frames", nce_frames, ("speaking", "all"))
        check_choice("direction", direction, ("visual_to_audio", "audio_to_visual", "both"))
        check_whole_number("min_frames", min_frames, at_least=1)
        self.temperature, self.nce_frames = temperature, nce_frames
        self.direction, self.min_frames = direction, min_frames

    def forward(
        self,
        audio_embeddings: torch.Tensor,
        visual_embeddings: torch.Tensor,
        speaking: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Scalar loss of a batch of clips, or of one.

        Args:
            audio_embeddings, visual_embeddings: (clips, frames, size), or (frames, size) of one clip, of one length.
            speaking: (clips, frames) or (frames,), 1 where the face on screen is heard.
            attention_mask: shaped as `speaking`, 1 = frame, 0 = padding.

        Raises:
            ValueError: the shapes don't fit together.
        """
        if audio_embeddings.ndim == 2 and speaking.ndim == 1:
            audio_embeddings, visual_embeddings, speaking = (
                audio_embeddings[None],
                visual_embeddings[None],
                speaking[None],
            )
            attention_mask = None if attention_mask is None else attention_mask[None]
        if (
            audio_embeddings.ndim != 3
            or audio_embeddings.shape != visual_embeddings.shape
            or speaking.shape != audio_embeddings.shape[:2]
            or (attention_mask is not None and attention_mask.shape != speaking.shape)
        ):
            raise ValueError(
                "`audio_embeddings` and `visual_embeddings` must both be (clips, frames, size), `speaking` and "
                f"`attention_mask` (clips, frames); got {tuple(audio_embeddings.shape)}, "
                f"{tuple(visual_embeddings.shape)}, {tuple(speaking.shape)} and "
                f"{None if attention_mask is None else tuple(attention_mask.shape)}."
            )
        valid_mask = speaking > 0 if self.nce_frames == "speaking" else torch.ones_like(speaking, dtype=torch.bool)
        if attention_mask is not None:
            valid_mask = valid_mask & attention_mask.bool()
        audio, visual = (
            nn.functional.normalize(embeddings.float(), dim=-1) for embeddings in (audio_embeddings, visual_embeddings)
        )
        with torch.autocast(audio.device.type, enabled=False):  # half precision is too coarse for so low a temperature
            similarity = visual @ audio.mT / self.temperature  # (clips, frames of video, frames of audio)
        if self.direction == "visual_to_audio":
            losses = compute_contrast(similarity, valid_mask)
        elif self.direction == "audio_to_visual":
            losses = compute_contrast(similarity.mT, valid_mask)
        else:
            losses = (compute_contrast(similarity, valid_mask) + compute_contrast(similarity.mT, valid_mask)) / 2
        frames = valid_mask.sum(1)
        used = frames >= self.min_frames
        per_clip = losses.sum(1) / frames.clamp(min=1)
        return (per_clip * used).sum() / used.sum().clamp(min=1)


def compute_contrast(similarity: torch.Tensor, valid_mask: torch.Tensor) -> torch.Tensor:
    """-log of the probability of its own column for every row that counts, over the columns that do: (clips, rows)."""
    blocked = similarity.masked_fill(~valid_mask[:, None, :], torch.finfo(similarity.dtype).min)
    own = similarity.diagonal(dim1=1, dim2=2)
    return torch.where(valid_mask, blocked.logsumexp(-1) - own, torch.zeros_like(own))


__all__ = ["TalkNCELoss"]
