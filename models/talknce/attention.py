"""The attention layer of both detectors: torch's transformer layer with its norms after the sums."""

import torch
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from avzoo.models.layers.attention import eager_attention_forward

from .configuration_talknce import ActiveSpeakerConfig


class FrameAttention(nn.Module):
    """Multi-head attention over frames."""

    def __init__(self, config: ActiveSpeakerConfig, hidden_size: int):
        super().__init__()
        self.config = config
        self.head_dim = hidden_size // config.num_attention_heads
        self.scaling = self.head_dim**-0.5
        self.is_causal = False
        self.q_proj = nn.Linear(hidden_size, hidden_size)
        self.k_proj = nn.Linear(hidden_size, hidden_size)
        self.v_proj = nn.Linear(hidden_size, hidden_size)
        self.o_proj = nn.Linear(hidden_size, hidden_size)

    def forward(
        self, query_states: torch.Tensor, key_value_states: torch.Tensor, attention_mask: torch.Tensor | None
    ) -> torch.Tensor:
        batch, frames, _ = query_states.shape
        query = self.q_proj(query_states).view(batch, frames, -1, self.head_dim).transpose(1, 2)
        key, value = (
            projection(key_value_states).view(batch, frames, -1, self.head_dim).transpose(1, 2)
            for projection in (self.k_proj, self.v_proj)
        )  # (batch, heads, frames, head_dim)
        attention = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
        mixed, _ = attention(
            self,
            query,
            key,
            value,
            attention_mask,
            scaling=self.scaling,
            dropout=self.config.dropout if self.training else 0.0,
        )
        return self.o_proj(mixed.reshape(batch, frames, -1))


class AttentionLayer(GradientCheckpointingLayer):
    """`hidden_states` plus what attention found, normed, plus a feed-forward part, normed: (batch, frames,
    hidden_size)."""

    def __init__(self, config: ActiveSpeakerConfig, hidden_size: int):
        super().__init__()
        self.attention = FrameAttention(config, hidden_size)
        self.norm1 = nn.LayerNorm(hidden_size)
        self.linear1 = nn.Linear(hidden_size, config.feed_forward_ratio * hidden_size)
        self.linear2 = nn.Linear(config.feed_forward_ratio * hidden_size, hidden_size)
        self.norm2 = nn.LayerNorm(hidden_size)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self,
        hidden_states: torch.Tensor,
        query_states: torch.Tensor,
        key_value_states: torch.Tensor,
        attention_mask: torch.Tensor | None,
    ) -> torch.Tensor:
        """Self-attention has one tensor three times; cross attention has the other modality as one of the last two."""
        residual = hidden_states
        mixed = self.attention(query_states, key_value_states, attention_mask)
        hidden_states = self.norm1(residual + self.dropout(mixed))
        residual = hidden_states
        hidden_states = self.linear2(self.dropout(self.linear1(hidden_states).relu()))
        return self.norm2(residual + self.dropout(hidden_states))
