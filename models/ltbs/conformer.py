"""Conformer layers with relative positions, as ESPnet has them.

Conformer (arXiv 2005.08100), positions of Transformer-XL (1901.02860). Facts: choijeongsoo/lip2speech-unit@0c96388
(`avhubert/espnet`), YangKangJNU/LTBS@6c977e1.

Shapes: clips; frames; size.
"""

import torch
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from avzoo.models.layers.attention import eager_attention_forward
from avzoo.models.layers.linear_maps import apply_linear, apply_pointwise
from avzoo.models.layers.normed_convolution import NormedConvolution

from .configuration_ltbs import LTBSConfig


def make_relative_positions(frames: int, size: int, like: torch.Tensor) -> torch.Tensor:
    """(2 * frames - 1, size): sines and cosines of the distances from frames - 1 down to 1 - frames."""
    distances = torch.arange(frames - 1, -frames, -1, device=like.device, dtype=torch.float32)
    rates = torch.arange(0, size, 2, device=like.device, dtype=torch.float32) * (-torch.log(torch.tensor(1e4)) / size)
    angles = distances[:, None] * rates.exp()
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)[:, :size].to(like.dtype)


class RelativeAttention(nn.Module):
    """Attention whose scores also depend on the distance of two frames."""

    def __init__(self, config: LTBSConfig):
        super().__init__()
        self.config, size = config, config.hidden_size
        self.num_heads, self.head_size = config.num_attention_heads, size // config.num_attention_heads
        self.scaling, self.is_causal = self.head_size**-0.5, False
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = (nn.Linear(size, size) for _ in range(4))
        self.position_proj = nn.Linear(size, size, bias=False)
        self.content_bias, self.position_bias = (
            nn.Parameter(torch.zeros(self.num_heads, self.head_size)) for _ in range(2)
        )

    def forward(self, hidden_states: torch.Tensor, positions: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """`positions` of [`make_relative_positions`]; `mask` is added to scores, (clips, 1, 1, frames)."""
        query, key, value = (
            apply_linear(project, hidden_states).unflatten(-1, (self.num_heads, self.head_size))
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        distances = apply_linear(self.position_proj, positions)  # (2 * frames - 1, size)
        distances = distances.unflatten(-1, (self.num_heads, self.head_size)).transpose(0, 1)
        by_position = ((query + self.position_bias).transpose(1, 2) * self.scaling) @ distances.mT
        bias = shift_distances(by_position)
        if mask is not None:
            bias = bias + mask
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
        mixed, _ = attend(
            self,
            (query + self.content_bias).transpose(1, 2),
            key.transpose(1, 2),
            value.transpose(1, 2),
            bias,
            scaling=self.scaling,
            dropout=self.config.hidden_dropout if self.training else 0.0,
        )
        return apply_linear(self.o_proj, mixed.flatten(-2))


def shift_distances(scores: torch.Tensor) -> torch.Tensor:
    """(..., frames, 2 * frames - 1), of each query with each distance, to (..., frames, frames), with each key."""
    frames = scores.shape[-2]
    padded = nn.functional.pad(scores, (1, 0)).flatten(-2)  # each row one longer, so that rows move against each other
    return padded[..., frames:].unflatten(-1, (frames, 2 * frames - 1))[..., :frames]


class ConvolutionModule(nn.Module):
    """A gate, a convolution of each channel along time, and a batch norm."""

    def __init__(self, config: LTBSConfig):
        super().__init__()
        size, kernel = config.hidden_size, config.conv_kernel_size
        self.pointwise_conv1 = nn.Conv1d(size, 2 * size, 1)
        depthwise = nn.Conv1d(size, size, kernel, padding=kernel // 2, groups=size)
        self.depthwise_conv = NormedConvolution(depthwise, nn.BatchNorm1d(size))
        self.pointwise_conv2 = nn.Conv1d(size, size, 1)

    def forward(self, hidden_states: torch.Tensor, frame_mask: torch.Tensor | None) -> torch.Tensor:
        hidden_states = nn.functional.glu(apply_pointwise(self.pointwise_conv1, hidden_states), dim=-1)
        if frame_mask is not None:
            hidden_states = hidden_states * frame_mask
        hidden_states = nn.functional.silu(self._convolve(hidden_states.mT))
        return apply_pointwise(self.pointwise_conv2, hidden_states.mT)

    def _convolve(self, hidden_states: torch.Tensor) -> torch.Tensor:
        norm = self.depthwise_conv.norm
        if not norm.training or hidden_states.shape[0] * hidden_states.shape[2] > 1:
            return self.depthwise_conv(hidden_states)
        # A batch of one frame has no variance: the running one is taken, as in evaluation.
        mean, variance = norm.running_mean, norm.running_var
        convolved = self.depthwise_conv.convolution(hidden_states)
        return nn.functional.batch_norm(convolved, mean, variance, norm.weight, norm.bias, eps=norm.eps)


class FeedForward(nn.Module):
    def __init__(self, config: LTBSConfig):
        super().__init__()
        self.linear1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.linear2 = nn.Linear(config.intermediate_size, config.hidden_size)
        self.dropout = nn.Dropout(config.hidden_dropout)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return apply_linear(self.linear2, self.dropout(apply_linear(self.linear1, hidden_states).relu()))


class ConformerLayer(GradientCheckpointingLayer):
    """Half a feed-forward part, attention, a convolution, the other half; each normed before and added to its input.

    Attention is put beside what it was asked with and projected (`concat_after`), not added as it is.
    """

    def __init__(self, config: LTBSConfig):
        super().__init__()
        size, eps = config.hidden_size, config.layer_norm_eps
        self.first_feed_forward_norm, self.attention_norm, self.convolution_norm = (
            nn.LayerNorm(size, eps=eps) for _ in range(3)
        )
        self.feed_forward_norm, self.final_norm = (nn.LayerNorm(size, eps=eps) for _ in range(2))
        self.first_feed_forward, self.feed_forward = FeedForward(config), FeedForward(config)
        self.attention, self.convolution = RelativeAttention(config), ConvolutionModule(config)
        self.concat_proj = nn.Linear(2 * size, size) if config.concat_after else None
        self.dropout = nn.Dropout(config.hidden_dropout)

    def forward(
        self,
        hidden_states: torch.Tensor,
        positions: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        frame_mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """`frame_mask` (clips, frames, 1) is 0 where the convolution is to see nothing."""
        normed = self.first_feed_forward_norm(hidden_states)
        hidden_states = hidden_states + 0.5 * self.dropout(self.first_feed_forward(normed))
        normed = self.attention_norm(hidden_states)
        attended = self.attention(normed, positions, attention_mask)
        if self.concat_proj is None:
            hidden_states = hidden_states + self.dropout(attended)
        else:
            hidden_states = hidden_states + apply_linear(self.concat_proj, torch.cat([normed, attended], dim=-1))
        normed = self.convolution_norm(hidden_states)
        hidden_states = hidden_states + self.dropout(self.convolution(normed, frame_mask))
        normed = self.feed_forward_norm(hidden_states)
        return self.final_norm(hidden_states + 0.5 * self.dropout(self.feed_forward(normed)))


class Conformer(nn.Module):
    """What stands before the layers, and the layers: a projection, a scale, positions."""

    def __init__(self, config: LTBSConfig, num_layers: int):
        super().__init__()
        self.embedding = nn.Linear(config.hidden_size, config.hidden_size)
        self.layers = nn.ModuleList(ConformerLayer(config) for _ in range(num_layers))
        self.dropout = nn.Dropout(config.hidden_dropout)
        self.scale = config.hidden_size**0.5
        self.masks_convolutions = config.mask_convolutions

    def forward(self, hidden_states: torch.Tensor, frame_mask: torch.Tensor | None = None) -> torch.Tensor:
        """(clips, frames, size); `frame_mask` (clips, frames), True where there is a frame."""
        hidden_states = self.dropout(apply_linear(self.embedding, hidden_states) * self.scale)
        positions = make_relative_positions(hidden_states.shape[1], hidden_states.shape[2], hidden_states)
        positions = self.dropout(positions)
        attention_mask = seen = None
        if frame_mask is not None:
            lowest = torch.finfo(hidden_states.dtype).min
            attention_mask = torch.zeros_like(frame_mask, dtype=hidden_states.dtype).masked_fill(~frame_mask, lowest)
            attention_mask = attention_mask[:, None, None]
            seen = frame_mask[..., None].to(hidden_states.dtype) if self.masks_convolutions else None
        for layer in self.layers:
            hidden_states = layer(hidden_states, positions, attention_mask, seen)
        return hidden_states


__all__ = ["Conformer", "ConformerLayer"]
