"""Cross-modal transformer encoders of VocaLiST: the tokens of one stream attend to those of the other."""

import math

import torch
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from avzoo.models.layers.attention import eager_attention_forward

from .configuration_vocalist import VocaLiSTConfig


def sinusoidal_positions(num_positions: int, hidden_size: int, device: torch.device) -> torch.Tensor:
    """(num_positions, hidden_size) float32: [all sines | all cosines] of positions 1, 2, ..., fairseq's layout."""
    half = hidden_size // 2
    frequencies = torch.exp(torch.arange(half, device=device) * (-math.log(10000.0) / (half - 1)))
    angles = torch.arange(1, num_positions + 1, device=device)[:, None] * frequencies
    table = torch.cat([angles.sin(), angles.cos()], dim=1)
    return nn.functional.pad(table, (0, hidden_size % 2))


class VocaLiSTEmbeddings(nn.Module):
    """Input tokens of a cross-modal encoder: scaled by sqrt(hidden_size), positions added."""

    def __init__(self, config: VocaLiSTConfig):
        super().__init__()
        self.skip_position_at_zero = config.skip_position_at_zero

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(batch, tokens, hidden_size) to the same shape."""
        _, tokens, hidden_size = features.shape
        positions = sinusoidal_positions(tokens, hidden_size, features.device).to(features.dtype)
        if self.skip_position_at_zero:
            # The ReLU at the end of the encoders makes exact zeros. Later tokens keep their positions.
            positions = positions * (features[..., :1] != 0)
        return math.sqrt(hidden_size) * features + positions


def look_ahead_mask(num_queries: int, num_keys: int, like: torch.Tensor) -> torch.Tensor | None:
    """Mask to add to scores, (1, 1, queries, keys): -inf where key j > query i + |num_queries - num_keys|, else 0.

    None where every query may attend to every key, unless a graph is made, which may be run with other lengths. With 5
    frames and 16 columns, only the last columns are masked, for the first frames.
    """
    reach = abs(num_queries - num_keys)
    if not torch.compiler.is_compiling() and num_keys <= 1 + reach:
        return None
    blocked = torch.ones(num_queries, num_keys, dtype=torch.bool, device=like.device).triu(1 + reach)
    return torch.zeros(blocked.shape, dtype=like.dtype, device=like.device).masked_fill(blocked, -math.inf)[None, None]


def attention_scores(
    query: torch.Tensor, key: torch.Tensor, attention_mask: torch.Tensor | None, scaling: float
) -> torch.Tensor:
    """Q K^T * scaling + mask, (batch, heads, queries, keys): what distillation compares, before the softmax."""
    scores = query @ key.transpose(2, 3) * scaling
    return scores if attention_mask is None else scores + attention_mask


class VocaLiSTAttention(nn.Module):
    def __init__(self, config: VocaLiSTConfig):
        super().__init__()
        self.config = config
        self.head_dim = config.hidden_size // config.num_attention_heads
        self.scaling = self.head_dim**-0.5
        self.is_causal = False
        self.q_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.k_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.v_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.o_proj = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(
        self,
        queries: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        attention_mask: torch.Tensor | None,
        output_trace: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        """Attention output (batch, queries, hidden_size); with `output_trace` also scores and projected values."""
        batch, tokens, _ = queries.shape
        query, key, value = (
            projection(states).view(batch, states.shape[1], -1, self.head_dim).transpose(1, 2)
            for projection, states in ((self.q_proj, queries), (self.k_proj, keys), (self.v_proj, values))
        )  # (batch, heads, tokens, head_dim)
        attention = eager_attention_forward
        # On a CPU, with so few and short keys, fused kernels take twice as long as eager attention.
        if not output_trace and query.device.type != "cpu":
            attention = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, attention)
        mixed, _ = attention(
            self,
            query,
            key,
            value,
            attention_mask,
            scaling=self.scaling,
            dropout=self.config.attention_dropout if self.training else 0.0,
        )  # (batch, queries, heads, head_dim)
        mixed = self.o_proj(mixed.reshape(batch, tokens, -1))
        if not output_trace:
            return mixed, None, None
        return mixed, attention_scores(query, key, attention_mask, self.scaling), value


class VocaLiSTLayer(GradientCheckpointingLayer):
    """Pre-norm layer: attention to the other stream, then feed-forward. Queries, keys and values share one norm."""

    def __init__(self, config: VocaLiSTConfig):
        super().__init__()
        width = config.hidden_size
        self.attention_norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.attention = VocaLiSTAttention(config)
        self.feed_forward_norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.fc1 = nn.Linear(width, config.ffn_ratio * width)
        self.fc2 = nn.Linear(config.ffn_ratio * width, width)
        self.dropout = nn.Dropout(config.hidden_dropout)

    def forward(
        self,
        hidden_states: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        attention_mask: torch.Tensor | None,
        output_trace: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        normed_keys = self.attention_norm(keys)
        normed_values = normed_keys if values is keys else self.attention_norm(values)
        mixed, *trace = self.attention(
            self.attention_norm(hidden_states), normed_keys, normed_values, attention_mask, output_trace
        )
        hidden_states = hidden_states + self.dropout(mixed)
        update = self.dropout(nn.functional.relu(self.fc1(self.feed_forward_norm(hidden_states))))
        return (hidden_states + self.dropout(self.fc2(update)), *trace)


class VocaLiSTCrossModalEncoder(nn.Module):
    """Layers in which one stream attends to another; the other stream enters every layer unchanged."""

    def __init__(self, config: VocaLiSTConfig):
        super().__init__()
        self.embeddings = VocaLiSTEmbeddings(config)
        self.dropout = nn.Dropout(config.embedding_dropout)
        self.layers = nn.ModuleList([VocaLiSTLayer(config) for _ in range(config.num_hidden_layers)])
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(
        self, query: torch.Tensor, key_value: torch.Tensor, output_trace: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        """(batch, queries, hidden_size) and (batch, keys, hidden_size) to (batch, queries, hidden_size).

        Returns:
            Hidden states; with `output_trace` also scores (layers, batch, heads, queries, keys) and values (layers,
            batch, heads, keys, head_dim), else None.
        """
        attention_mask = look_ahead_mask(query.shape[1], key_value.shape[1], query)
        hidden_states = self.dropout(self.embeddings(query))
        key_value = self.embeddings(key_value)
        keys = self.dropout(key_value)
        values = self.dropout(key_value) if self.training else keys  # the authors draw their dropout independently
        scores, projected = [], []
        for layer in self.layers:
            hidden_states, *trace = layer(hidden_states, keys, values, attention_mask, output_trace)
            if output_trace:
                scores.append(trace[0])
                projected.append(trace[1])
        hidden_states = self.norm(hidden_states)
        if not output_trace:
            return hidden_states, None, None
        return hidden_states, torch.stack(scores), torch.stack(projected)
