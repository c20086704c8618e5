"""Predictors of what the lips do not tell, units, pitch and energy; and the quantised adaptor of FastSpeech 2.

Facts: YangKangJNU/LTBS@6c977e1, ming024/FastSpeech2@d4e79eb (`model/modules.py`).

Shapes: clips; frames; size. Masks are (clips, frames), True where there is a frame.
"""

from dataclasses import dataclass

import torch
from torch import nn


class VariancePredictor(nn.Module):
    """Convolutions along time, each followed by ReLU, a norm and dropout; then a projection."""

    def __init__(
        self, in_channels: int, size: int, kernel_size: int, num_layers: int, out_channels: int, dropout: float
    ):
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Conv1d(in_channels if index == 0 else size, size, kernel_size, padding=kernel_size // 2)
            for index in range(num_layers)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(size) for _ in range(num_layers))
        self.projection = nn.Linear(size, out_channels)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, hidden_states: torch.Tensor, mask: torch.Tensor | None = None, mask_convolutions: bool = True
    ) -> torch.Tensor:
        """(clips, frames, in_channels) to (clips, frames, out_channels), 0 where there is no frame.

        `mask_convolutions`: convolutions see zeros there.
        """
        seen = None if mask is None or not mask_convolutions else mask[..., None].to(hidden_states.dtype)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            if seen is not None:
                hidden_states = hidden_states * seen
            hidden_states = self.dropout(norm(convolution(hidden_states.mT).relu().mT))
        values = self.projection(hidden_states)
        return values if mask is None else values.masked_fill(~mask[..., None], 0.0)


@dataclass
class AdaptedFrames:
    """What [`QuantizedVarianceAdaptor`] gives.

    Args:
        hidden_states: (clips, frames, size), with the embeddings of pitch and energy.
        expanded: (clips, frames, size), without.
        log_duration: (clips, positions), of the frames of each position, plus one.
        pitch, energy: (clips, frames), as embedded, with their factors. Energy is predicted with pitch embedded.
        lengths: (clips,), frames.
    """

    hidden_states: torch.Tensor
    expanded: torch.Tensor
    log_duration: torch.Tensor
    pitch: torch.Tensor
    energy: torch.Tensor
    lengths: torch.Tensor


class QuantizedVarianceAdaptor(nn.Module):
    """FastSpeech 2's: positions become frames, and pitch and energy of each frame one of some embeddings.

    Args:
        size: of the hidden states.
        predictor_size: of the predictors.
        num_bins: embeddings of pitch, and of energy.
    """

    def __init__(
        self,
        size: int,
        predictor_size: int,
        num_bins: int,
        kernel_size: int = 3,
        num_layers: int = 2,
        dropout: float = 0.5,
    ):
        super().__init__()
        self.duration_predictor, self.pitch_predictor, self.energy_predictor = (
            VariancePredictor(size, predictor_size, kernel_size, num_layers, 1, dropout) for _ in range(3)
        )
        self.pitch_embedding, self.energy_embedding = (nn.Embedding(num_bins, size) for _ in range(2))
        # Where a bin ends; parameters in the public implementation, too, that are not trained.
        self.pitch_bins, self.energy_bins = (
            nn.Parameter(torch.linspace(-3, 3, num_bins - 1), requires_grad=False) for _ in range(2)
        )

    def forward(
        self,
        hidden_states: torch.Tensor,
        mask: torch.Tensor | None = None,
        durations: torch.Tensor | None = None,
        *,
        pitch_control: float = 1.0,
        energy_control: float = 1.0,
        duration_control: float = 1.0,
    ) -> AdaptedFrames:
        """Lay out positions as frames.

        Args:
            hidden_states: (clips, positions, size).
            mask: (clips, positions), True where there is one.
            durations: (clips, positions), whole numbers of frames. None: as predicted.
            pitch_control, energy_control, duration_control: factors on what is predicted. (The public implementation
                multiplies energy by the factor of pitch.)
        """
        log_duration = self.duration_predictor(hidden_states, mask, mask_convolutions=False)[..., 0]
        if durations is None:
            durations = ((log_duration.exp() - 1).round() * duration_control).clamp(min=0).long()
            durations = durations if mask is None else durations * mask
        expanded, lengths = regulate_length(hidden_states, durations)
        frame_mask = torch.arange(expanded.shape[1], device=expanded.device) < lengths[:, None]
        pitch = self.pitch_predictor(expanded, frame_mask, mask_convolutions=False)[..., 0] * pitch_control
        embedded = expanded + self.pitch_embedding(torch.bucketize(pitch, self.pitch_bins))
        energy = self.energy_predictor(embedded, frame_mask, mask_convolutions=False)[..., 0] * energy_control
        embedded = embedded + self.energy_embedding(torch.bucketize(energy, self.energy_bins))
        return AdaptedFrames(embedded, expanded, log_duration, pitch, energy, lengths)


def regulate_length(hidden_states: torch.Tensor, durations: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Repeat each position for its frames: (clips, frames, size), 0 behind a clip's end, and (clips,) lengths."""
    ends = durations.cumsum(1)
    lengths = ends[:, -1]
    frames = torch.arange(int(lengths.max()), device=durations.device)
    positions = torch.searchsorted(ends, frames.expand(len(ends), -1).contiguous(), right=True)
    positions = positions.clamp(max=durations.shape[1] - 1)
    expanded = hidden_states.gather(1, positions[..., None].expand(-1, -1, hidden_states.shape[2]))
    return expanded * (frames < lengths[:, None])[..., None], lengths


__all__ = ["AdaptedFrames", "QuantizedVarianceAdaptor", "VariancePredictor", "regulate_length"]
