"""Losses that train the session network: two utterances of one recording alike, of two recordings apart.

Paper: "Rethinking Session Variability" (arXiv 2309.14741). Pairs are taken within a speaker alone, so that knowing who
speaks does not help to tell them apart.
"""

from typing import Literal

import torch
from torch import nn

from avzoo.checks import check_choice, check_number


class SessionLoss(nn.Module):
    """Mean loss of the pairs of utterances within each speaker; c is the cosine of their session embeddings.

    | kind | same session | different sessions | mean |
    |---|---|---|---|
    | "cosine" | 1 - c | c | over all pairs |
    | "cosine-balanced" | 1 - c | c | of the means of the two kinds |
    | "margin" | 1 - c | relu(c - margin) | of the means of the two kinds |
    | "logistic" | softplus(-(scale c - shift)) | softplus(scale c - shift) | of the means of the two kinds |

    Lower is better. The plain cosine is also at its minimum where distinct sessions coincide, as long as they cancel
    out over the batch; "margin" and "logistic" are not.

    Args:
        margin: cosine from which on different sessions count.
        scale, shift: of the logistic form; a cosine of shift / scale is undecided.
    """

    def __init__(
        self,
        kind: Literal["logistic", "margin", "cosine", "cosine-balanced"] = "logistic",
        *,
        margin: float = 0.1,
        scale: float = 10.0,
        shift: float = 5.0,
    ):
        super().__init__()
        check_choice("kind", kind, ("logistic", "margin", "cosine", "cosine-balanced"))
        check_number("margin", margin, at_least=-1, below=1)
        check_number("scale", scale, above=0)
        check_number("shift", shift)
        self.kind, self.margin, self.scale, self.shift = kind, margin, scale, shift

    def forward(
        self, session_embeddings: torch.Tensor, session_ids: torch.Tensor, speaker_ids: torch.Tensor
    ) -> torch.Tensor:
        """Scalar loss of a batch.

        Args:
            session_embeddings: (utterances, size); their lengths don't matter.
            session_ids, speaker_ids: (utterances,) whole numbers. A session is one of a speaker: two speakers may use
                the same numbers.

        Raises:
            ValueError: the shapes don't fit together. (A batch without a pair of one kind gives 0 for that kind.)
        """
        if (
            session_embeddings.ndim != 2
            or session_ids.shape != session_embeddings.shape[:1]
            or speaker_ids.shape != session_ids.shape
        ):
            raise ValueError(
                "`session_embeddings` must be (utterances, size), `session_ids` and `speaker_ids` (utterances,); got "
                f"{tuple(session_embeddings.shape)}, {tuple(session_ids.shape)} and {tuple(speaker_ids.shape)}."
            )
        unit = nn.functional.normalize(session_embeddings.float(), dim=-1)
        with torch.autocast(unit.device.type, enabled=False):
            cosine = unit @ unit.mT  # (utterances, utterances)
        pair = torch.ones_like(cosine, dtype=torch.bool).triu(1) & (speaker_ids[:, None] == speaker_ids)
        same_session = session_ids[:, None] == session_ids
        if self.kind == "logistic":
            logits = self.scale * cosine - self.shift
            same_loss, different_loss = nn.functional.softplus(-logits), nn.functional.softplus(logits)
        else:
            same_loss = 1 - cosine
            different_loss = (cosine - self.margin).relu() if self.kind == "margin" else cosine
        same, different = pair & same_session, pair & ~same_session
        if self.kind == "cosine":
            return average_where(torch.where(same_session, same_loss, different_loss), pair)
        return (average_where(same_loss, same) + average_where(different_loss, different)) / 2


def average_where(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Mean of the values where `mask` is true; 0 where there is none."""
    return values.masked_fill(~mask, 0).sum() / mask.sum().clamp(min=1)


__all__ = ["SessionLoss"]
