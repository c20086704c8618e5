"""VoiceLDM's content encoder: characters to the frames that the denoiser attends to.

Paper: "VoiceLDM: Text-to-Speech with Environmental Context" (arXiv 2309.13664, ICASSP 2024). Facts about the released
weights come from glory20h/VoiceLDM@16ebc7a; the text encoder is SpeechT5's (arXiv 2110.07205), duration predictor and
upsampler are those of NaturalSpeech (arXiv 2205.04421).

A transformer encodes the characters, a predictor gives the duration of each in frames, and in the upsampler every frame
attends to the tokens by their place in time. Durations are learned from the denoiser's loss alone, so frames have no
fixed rate.

Shapes: batch = texts; tokens = characters, padded; frames, at most `max_frames`.
"""

from dataclasses import dataclass

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.activations import ACT2FN
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.utils import ModelOutput

from avzoo.models.layers.attention import eager_attention_forward
from avzoo.models.layers.outputs import with_output_options

from .configuration_voiceldm import VoiceLDMContentEncoderConfig

# Bounds of memory: queries and frames whose weights for all tokens are computed at a time.
QUERY_CHUNK_SIZE = 128
FRAME_CHUNK_SIZE = 128


@dataclass
class VoiceLDMContentEncoderOutput(ModelOutput):
    """Texts as frames.

    Args:
        frames: (batch, frames, hidden_size). All frames after a text's end are the same vector, which is not zero.
        frame_lengths: (batch,), frames of each text.
        durations: (batch, tokens), frames of each token, at least 1; 0 for padding.
        text_hidden_states: (batch, tokens, hidden_size), output of the text encoder.
    """

    frames: torch.FloatTensor | None = None
    frame_lengths: torch.LongTensor | None = None
    durations: torch.FloatTensor | None = None
    text_hidden_states: torch.FloatTensor | None = None


def sinusoid_positions(num_positions: int, size: int) -> torch.Tensor:
    """Table (num_positions, size) of alternating sines and cosines, from 1 radian per token down to 1e-4."""
    frequencies = torch.exp(torch.arange(0, size, 2) * (-torch.log(torch.tensor(10000.0)) / size))
    angles = torch.arange(num_positions)[:, None] * frequencies
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)


class VoiceLDMTextAttention(nn.Module):
    """Self-attention with relative position embeddings that are multiplied by the query.

    logit(i, j) = q_i (k_j + r(i - j)) / sqrt(head_dim). The table r is shared by all heads and layers. q_i r is
    computed once for each distance and then gathered, which takes a fraction of the memory of gathering r.
    """

    def __init__(self, config: VoiceLDMContentEncoderConfig):
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
        self, hidden_states: torch.Tensor, key_bias: torch.Tensor, distance_table: torch.Tensor
    ) -> torch.Tensor:
        """
        Args:
            hidden_states: (batch, tokens, hidden_size).
            key_bias: (batch, 1, 1, tokens), 0 for tokens and very negative for padding.
            distance_table: (2 * max_relative_position, head_dim); row 0 is distance -max_relative_position.
        """
        batch, tokens, _ = hidden_states.shape
        query, key, value = (
            projection(hidden_states).view(batch, tokens, -1, self.head_dim).transpose(1, 2)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )  # (batch, heads, tokens, head_dim)
        attention = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
        reach = len(distance_table) // 2
        positions = torch.arange(tokens, device=query.device)
        outputs = []
        chunks = zip(query.split(QUERY_CHUNK_SIZE, dim=2), positions.split(QUERY_CHUNK_SIZE), strict=True)
        for chunk, chunk_positions in chunks:
            rows = (chunk_positions[:, None] - positions).clamp(-reach, reach - 1) + reach  # (queries, tokens)
            by_distance = chunk * self.scaling @ distance_table.T  # (batch, heads, queries, 2 * reach)
            bias = by_distance.gather(-1, rows.expand(*by_distance.shape[:2], -1, -1)).add_(key_bias)
            outputs.append(attention(self, chunk, key, value, bias, scaling=self.scaling, dropout=0.0)[0])
        return self.o_proj(torch.cat(outputs, dim=1).reshape(batch, tokens, -1))


class VoiceLDMTextLayer(GradientCheckpointingLayer):
    """A transformer layer with post-norm."""

    def __init__(self, config: VoiceLDMContentEncoderConfig):
        super().__init__()
        self.attention = VoiceLDMTextAttention(config)
        self.attention_norm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.fc1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.activation = ACT2FN[config.hidden_act]
        self.fc2 = nn.Linear(config.intermediate_size, config.hidden_size)
        self.feed_forward_norm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)

    def forward(
        self, hidden_states: torch.Tensor, key_bias: torch.Tensor, distance_table: torch.Tensor
    ) -> torch.Tensor:
        hidden_states = hidden_states + self.attention(hidden_states, key_bias, distance_table)
        hidden_states = self.attention_norm(hidden_states)
        hidden_states = hidden_states + self.fc2(self.activation(self.fc1(hidden_states)))
        return self.feed_forward_norm(hidden_states)


class VoiceLDMTextEncoder(nn.Module):
    """SpeechT5's text encoder: characters with positions through a transformer. No dropout: see the config."""

    def __init__(self, config: VoiceLDMContentEncoderConfig):
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size, config.pad_token_id)
        self.position_scale = nn.Parameter(torch.ones(()))
        self.position_shape = (config.max_text_positions, config.hidden_size)
        self.make_positions()
        self.norm = nn.LayerNorm(config.hidden_size, config.layer_norm_eps)
        self.distances = nn.Embedding(
            2 * config.max_relative_position, config.hidden_size // config.num_attention_heads
        )
        self.layers = nn.ModuleList(VoiceLDMTextLayer(config) for _ in range(config.num_hidden_layers))

    def make_positions(self) -> None:
        """Compute the table of positions, which is not in a checkpoint."""
        self.register_buffer("positions", sinusoid_positions(*self.position_shape), persistent=False)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        hidden_states = self.embed_tokens(input_ids)  # (batch, tokens, hidden_size)
        hidden_states = hidden_states + self.position_scale * self.positions[: input_ids.shape[1]]
        hidden_states = self.norm(hidden_states)
        # Half of the lowest number, so that adding the distances to it can't overflow.
        lowest = torch.finfo(hidden_states.dtype).min / 2
        key_bias = lowest * (1 - attention_mask[:, None, None].to(hidden_states.dtype))
        distance_table = self.distances(torch.arange(self.distances.num_embeddings, device=input_ids.device))
        for layer in self.layers:
            hidden_states = layer(hidden_states, key_bias, distance_table)
        return hidden_states


class VoiceLDMDurationPredictor(nn.Module):
    """Durations of tokens in frames: (batch, tokens, hidden_size) to (batch, tokens), 0 for padding."""

    def __init__(self, config: VoiceLDMContentEncoderConfig):
        super().__init__()
        width, kernel = config.hidden_size, config.kernel_size
        self.max_log_duration = config.max_log_duration
        self.conv1 = nn.Conv1d(width, width, kernel, padding=kernel // 2)
        self.norm1 = nn.LayerNorm(width)
        self.conv2 = nn.Conv1d(width, width, kernel, padding=kernel // 2)
        self.norm2 = nn.LayerNorm(width)
        self.projection = nn.Linear(width, 1)
        self.dropout = nn.Dropout(config.upsampler_dropout)

    def forward(self, hidden_states: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        mask = attention_mask[..., None].to(hidden_states.dtype)
        # Durations give the text encoder no gradient.
        hidden_states = hidden_states.detach()
        for convolution, norm in ((self.conv1, self.norm1), (self.conv2, self.norm2)):
            hidden_states = convolution((hidden_states * mask).mT).mT
            hidden_states = self.dropout(norm(hidden_states.relu()))
        # In float32: the sum of the durations reaches a thousand frames, too many for half precision.
        log_durations = self.projection(hidden_states * mask)[..., 0].float()
        return log_durations.clamp(max=self.max_log_duration).exp().clamp(min=1.0) * mask[..., 0].float()


class VoiceLDMTokenFeatures(nn.Module):
    """Convolution over tokens: (batch, tokens, hidden_size) to (batch, tokens, upsampler_feature_size)."""

    def __init__(self, config: VoiceLDMContentEncoderConfig):
        super().__init__()
        size, kernel = config.upsampler_feature_size, config.kernel_size
        self.convolution = nn.Conv1d(config.hidden_size, size, kernel, padding=kernel // 2)
        self.batch_norm = nn.BatchNorm1d(size)
        self.dropout = nn.Dropout(config.upsampler_dropout)
        self.norm = nn.LayerNorm(size)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        features = nn.functional.silu(self.batch_norm(self.convolution(hidden_states.mT)))
        return self.norm(self.dropout(features).mT)


class VoiceLDMPlaceMLP(nn.Module):
    """MLP for each pair of frame and token: input are the frame's distances to the token's start and end, and features.

    The first layer is linear in all three, so each is mapped alone and the sum is broadcast: memory holds (batch,
    frames, tokens, size), never the concatenated inputs.
    """

    def __init__(self, feature_size: int, size: int):
        super().__init__()
        self.fc1_start = nn.Linear(1, size, bias=False)
        self.fc1_end = nn.Linear(1, size, bias=False)
        self.fc1_features = nn.Linear(feature_size, size)
        self.fc2 = nn.Linear(size, size)
        self.fc3 = nn.Linear(size, size)

    def forward(self, since_start: torch.Tensor, until_end: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        """
        Args:
            since_start, until_end: (batch, frames, tokens), in frames.
            features: (batch, tokens, feature_size).

        Returns:
            (batch, frames, tokens, size).
        """
        hidden_states = self.fc1_start(since_start[..., None].to(features.dtype))
        hidden_states = hidden_states + self.fc1_end(until_end[..., None].to(features.dtype))
        hidden_states = hidden_states + self.fc1_features(features)[:, None]
        return self.fc3(nn.functional.silu(self.fc2(nn.functional.silu(hidden_states))))


class VoiceLDMUpsampler(nn.Module):
    """Tokens and durations to frames (NaturalSpeech, arXiv 2205.04421, section 3.3)."""

    def __init__(self, config: VoiceLDMContentEncoderConfig):
        super().__init__()
        width, maps, contexts = config.hidden_size, config.upsampler_num_maps, config.upsampler_num_contexts
        self.map_features = VoiceLDMTokenFeatures(config)
        self.map_mlp = VoiceLDMPlaceMLP(config.upsampler_feature_size, maps)
        self.context_features = VoiceLDMTokenFeatures(config)
        self.context_mlp = VoiceLDMPlaceMLP(config.upsampler_feature_size, contexts)
        # One projection of tokens for each map; the sum over maps has one bias.
        self.token_projection = nn.Linear(width, maps * width, bias=False)
        self.token_bias = nn.Parameter(torch.zeros(width))
        self.context_projection = nn.Linear(maps * contexts, width)
        self.norm = nn.LayerNorm(width)
        self.output_projection = nn.Linear(width, width)

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor,
        padded_lengths: torch.Tensor,
        durations: torch.Tensor,
        frame_lengths: torch.Tensor,
        num_frames: int,
    ) -> torch.Tensor:
        """
        Args:
            hidden_states: (batch, tokens, hidden_size).
            attention_mask: (batch, tokens), 1 = token.
            padded_lengths: (batch,), tokens and padding that the convolutions see.
            durations: (batch, tokens), frames.
            frame_lengths: (batch,), frames of each text.
            num_frames: frames to compute.

        Returns:
            (batch, num_frames, hidden_size).
        """
        ends = durations.cumsum(1)
        starts = ends - durations
        positions = torch.arange(hidden_states.shape[1], device=hidden_states.device)
        visible = hidden_states * (positions < padded_lengths[:, None])[..., None]
        map_features, context_features = self.map_features(visible), self.context_features(visible)
        # Tokens are projected before the weighted sum, because they are fewer than frames.
        width = hidden_states.shape[-1]
        values = self.token_projection(hidden_states).unflatten(-1, (-1, width))  # (batch, tokens, maps, hidden_size)
        values = values.transpose(1, 2).flatten(1, 2)  # (batch, maps * tokens, hidden_size)
        padding = ~attention_mask.bool()[:, None, :, None]
        frames = []
        for times in torch.arange(1, num_frames + 1, device=hidden_states.device).split(FRAME_CHUNK_SIZE):
            since_start, until_end = times[:, None] - starts[:, None], ends[:, None] - times[:, None]
            logits = self.map_mlp(since_start, until_end, map_features)  # (batch, frames, tokens, maps)
            logits = logits.masked_fill(padding, torch.finfo(logits.dtype).min)
            weights = logits.softmax(dim=2).mT  # (batch, frames, maps, tokens)
            contexts = weights @ self.context_mlp(since_start, until_end, context_features)
            chunk = weights.flatten(2) @ values + self.token_bias + self.context_projection(contexts.flatten(2))
            valid_mask = (times <= frame_lengths[:, None])[..., None]
            # Frames after a text's end are the bias of the last projection, and the denoiser attends to them: the
            # authors set them to zero one layer too early, and the released weights expect that.
            frames.append(self.output_projection(self.norm(chunk) * valid_mask))
        return torch.cat(frames, dim=1)


class VoiceLDMPreTrainedModel(PreTrainedModel):
    config_class = VoiceLDMContentEncoderConfig
    base_model_prefix = "content_encoder"
    main_input_name = "input_ids"
    supports_gradient_checkpointing = True
    _supports_sdpa = True  # no other: the kernel must take a bias for each pair of tokens
    _no_split_modules = ["VoiceLDMTextLayer", "VoiceLDMDurationPredictor", "VoiceLDMUpsampler"]

    @torch.no_grad()
    def _init_weights(self, module: nn.Module):
        """Initialize as SpeechT5 (text encoder) and torch (the rest) do; norms as identity."""
        if isinstance(module, nn.Embedding):
            init.normal_(module.weight, std=self.config.initializer_range)
            if module.padding_idx is not None:
                init.zeros_(module.weight[module.padding_idx])
        elif isinstance(module, nn.Linear | nn.Conv1d):
            bound = module.weight[0].numel() ** -0.5
            init.uniform_(module.weight, -bound, bound)
            if module.bias is not None:
                init.uniform_(module.bias, -bound, bound)
        elif isinstance(module, nn.LayerNorm | nn.BatchNorm1d):
            init.ones_(module.weight)
            init.zeros_(module.bias)
            if isinstance(module, nn.BatchNorm1d):
                init.zeros_(module.running_mean)
                init.ones_(module.running_var)
                init.zeros_(module.num_batches_tracked)
        elif isinstance(module, VoiceLDMPlaceMLP):  # one layer in three parts
            bound = (2 + module.fc1_features.in_features) ** -0.5
            for part in (module.fc1_start, module.fc1_end, module.fc1_features):
                init.uniform_(part.weight, -bound, bound)
        elif isinstance(module, VoiceLDMUpsampler):  # maps * hidden_size inputs of one layer
            bound = module.token_projection.out_features**-0.5
            init.uniform_(module.token_projection.weight, -bound, bound)
            init.uniform_(module.token_bias, -bound, bound)
        elif isinstance(module, VoiceLDMTextEncoder):
            init.ones_(module.position_scale)
            init.copy_(module.positions, sinusoid_positions(*module.position_shape))


class VoiceLDMContentEncoder(VoiceLDMPreTrainedModel):
    """VoiceLDM's content encoder: the spoken text as the frames that the denoiser attends to."""

    def __init__(self, config: VoiceLDMContentEncoderConfig):
        config.validate()
        super().__init__(config)
        self.text_encoder = VoiceLDMTextEncoder(config)
        self.duration_predictor = VoiceLDMDurationPredictor(config)
        self.upsampler = VoiceLDMUpsampler(config)
        self.post_init()

    def get_input_embeddings(self) -> nn.Embedding:
        return self.text_encoder.embed_tokens

    def set_input_embeddings(self, value: nn.Embedding):
        self.text_encoder.embed_tokens = value

    @with_output_options
    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        padded_lengths: torch.Tensor | None = None,
        num_frames: int | None = None,
    ) -> VoiceLDMContentEncoderOutput:
        """
        Args:
            input_ids: (batch, tokens), character ids of SpeechT5's tokenizer, 2 at the end of each text.
            attention_mask: (batch, tokens), 1 = token, 0 = padding. None: every token counts.
            padded_lengths: (batch,), tokens and padding that the upsampler's convolutions see of each text; later
                positions are zero. Padding changes a text's last token. A pair of texts gives the same result in a
                larger batch if both get the longer one's length here. None: the whole width, as in the authors' code.
            num_frames: frames to return. None: the longest text's. Passing it avoids a synchronization with the
                device and fixes the output's shape.

        Raises:
            ValueError: a wrong shape, or more than `max_text_positions` tokens.
        """
        if input_ids.ndim != 2 or 0 in input_ids.shape or input_ids.shape[1] > self.config.max_text_positions:
            raise ValueError(
                f"`input_ids` must be (batch, tokens), not empty, with 1 to {self.config.max_text_positions} tokens, "
                f"got {tuple(input_ids.shape)}."
            )
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        if attention_mask.shape != input_ids.shape:
            raise ValueError(
                f"`attention_mask` must have the shape of `input_ids`, {tuple(input_ids.shape)}, got "
                f"{tuple(attention_mask.shape)}."
            )
        if padded_lengths is not None and padded_lengths.shape != input_ids.shape[:1]:
            raise ValueError(
                f"`padded_lengths` must have one number for each of {input_ids.shape[0]} texts, got "
                f"{tuple(padded_lengths.shape)}."
            )
        if padded_lengths is None:
            padded_lengths = input_ids.new_full(input_ids.shape[:1], input_ids.shape[1])
        hidden_states = self.text_encoder(input_ids, attention_mask)
        durations = self.duration_predictor(hidden_states, attention_mask)
        frame_lengths = durations.sum(1).round().long().clamp(max=self.config.max_frames)
        if num_frames is None:
            num_frames = int(frame_lengths.max())
        frames = self.upsampler(hidden_states, attention_mask, padded_lengths, durations, frame_lengths, num_frames)
        return VoiceLDMContentEncoderOutput(
            frames=frames, frame_lengths=frame_lengths, durations=durations, text_hidden_states=hidden_states
        )


__all__ = ["VoiceLDMContentEncoder", "VoiceLDMContentEncoderOutput", "VoiceLDMPreTrainedModel"]
