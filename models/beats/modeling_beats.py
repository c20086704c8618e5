"""BEATs (arXiv 2212.09058): a transformer over patches of a spectrogram, with gated relative positions.

Source of the facts: microsoft/unilm (`beats/BEATs.py`, `beats/backbone.py`), as copied in swimmiing/ACL-SSL@57f4a6c
(`modules/BEATs`). Attention is computed for some queries at a time, so that memory does not grow with the square of a
sound's length; the result is the same.
"""

import math

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.activations import ACT2FN
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutput, SequenceClassifierOutput
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from avzoo.models.layers.attention import eager_attention_forward
from avzoo.models.layers.classification_loss import classification_loss, infer_problem_type
from avzoo.models.layers.outputs import with_output_options
from avzoo.models.layers.padding import count_frames

from .configuration_beats import BEATsConfig

_SCORES_AT_ONCE = 1 << 24  # scores of queries with keys, 64 MB of float32; more are computed in parts


class BEATsEmbeddings(nn.Module):
    """Spectrogram to tokens: patches, row by row of time, at the layers' width."""

    def __init__(self, config: BEATsConfig):
        super().__init__()
        size = config.patch_size
        self.patch_embedding = nn.Conv2d(1, config.embedding_size, size, size, bias=config.conv_bias)
        self.layernorm = nn.LayerNorm(config.embedding_size, eps=config.layer_norm_eps)
        self.projection = None
        if config.embedding_size != config.hidden_size:
            self.projection = nn.Linear(config.embedding_size, config.hidden_size)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def embed_patches(self, input_values: torch.Tensor) -> torch.Tensor:
        """(batch, frames, num_mel_bins) to (batch, tokens, embedding_size), normed; the mel bins vary fastest."""
        patches = self.patch_embedding(input_values[:, None].to(self.patch_embedding.weight.dtype))
        return self.layernorm(patches.flatten(2).mT)

    def forward(self, input_values: torch.Tensor) -> torch.Tensor:
        hidden_states = self.embed_patches(input_values)
        if self.projection is not None:
            hidden_states = self.projection(hidden_states)
        return self.dropout(hidden_states)


class BEATsPositionalConvolution(nn.Module):
    """What the neighbours of a token tell of its position: a convolution whose weights have one length per tap."""

    def __init__(self, config: BEATsConfig):
        super().__init__()
        size, taps, self.groups = config.hidden_size, config.conv_pos_kernel_size, config.conv_pos_groups
        self.weight_length = nn.Parameter(torch.ones(1, 1, taps))
        self.weight_direction = nn.Parameter(torch.empty(size, size // self.groups, taps))
        self.bias = nn.Parameter(torch.zeros(size))

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """(batch, tokens, hidden_size), of the same shape."""
        direction, taps = self.weight_direction, self.weight_direction.shape[-1]
        weight = self.weight_length * direction / torch.linalg.vector_norm(direction, dim=(0, 1), keepdim=True)
        mixed = nn.functional.conv1d(hidden_states.mT, weight, self.bias, padding=taps // 2, groups=self.groups)
        return nn.functional.gelu(mixed[..., : hidden_states.shape[1]]).mT  # an even kernel gives one too many


class BEATsRelativePositions(nn.Module):
    """One bias for each head and distance of query and key; all layers share it."""

    def __init__(self, config: BEATsConfig):
        super().__init__()
        self.num_buckets, self.max_distance = config.num_buckets, config.max_distance
        self.embedding = nn.Embedding(config.num_buckets, config.num_attention_heads)

    def forward(self, tokens: int, device: torch.device) -> torch.Tensor:
        """(heads, 2 * tokens - 1): of keys that lie tokens - 1 before the query, ..., tokens - 1 behind it."""
        distances = torch.arange(1 - tokens, tokens, device=device)
        return self.embedding(self.find_buckets(distances)).T

    def find_buckets(self, distances: torch.Tensor) -> torch.Tensor:
        """Index of the bias of each distance, key less query; far ones share buckets by their logarithm."""
        half = self.num_buckets // 2
        exact = half // 2
        lengths = distances.abs()
        # In float32, as the weights were trained: the last bit decides at the edges of buckets.
        logarithm = torch.log(lengths.clamp(min=1).float() / exact) / math.log(self.max_distance / exact)
        far = (exact + (logarithm * (half - exact)).long()).clamp(max=half - 1)
        return half * (distances > 0) + torch.where(lengths < exact, lengths, far)


class BEATsAttention(nn.Module):
    """Attention with a bias for relative positions, which each query scales by a gate."""

    def __init__(self, config: BEATsConfig):
        super().__init__()
        self.config = config
        self.head_dim = config.hidden_size // config.num_attention_heads
        self.scaling = self.head_dim**-0.5
        self.is_causal = False
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            self.add_module(name, nn.Linear(config.hidden_size, config.hidden_size))
        self.gate = self.gate_scale = None
        if config.gated_position_bias:
            self.gate = nn.Linear(self.head_dim, 8)
            self.gate_scale = nn.Parameter(torch.ones(1, config.num_attention_heads, 1, 1))

    def forward(
        self, hidden_states: torch.Tensor, positions: torch.Tensor, mask: torch.Tensor | None, keep_weights: bool
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Mix tokens.

        Args:
            positions: (heads, 2 * tokens - 1), of [`BEATsRelativePositions`].
            mask: (batch, 1, 1, tokens), 0 = token, lowest number = padding.
            keep_weights: also return the weights, (batch, heads, tokens, tokens).
        """
        batch, tokens, _ = hidden_states.shape
        query, key, value = (
            projection(hidden_states).view(batch, tokens, -1, self.head_dim).transpose(1, 2)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )  # (batch, heads, tokens, head_dim)
        gates = self.compute_gates(query)
        query = query * self.scaling  # before the products, which float16 could not hold
        positions = positions.to(query.dtype)
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
        mixed, weights = [], []
        for start, end in self.split_queries(batch, tokens):
            bias = spread_positions(positions, tokens, start, end)[None]  # (1, heads, queries, keys)
            bias = bias if gates is None else bias * gates[:, :, start:end]
            bias = bias.expand(batch, -1, -1, -1) if mask is None else bias + mask
            part, part_weights = attend(
                self,
                query[:, :, start:end],
                key,
                value,
                bias,
                scaling=1.0,
                dropout=self.config.attention_probs_dropout_prob if self.training else 0.0,
            )
            mixed.append(part.reshape(batch, end - start, -1))
            weights.append(part_weights)
        output = self.o_proj(mixed[0] if len(mixed) == 1 else torch.cat(mixed, dim=1))
        return output, torch.cat(weights, dim=2) if keep_weights else None

    def compute_gates(self, query: torch.Tensor) -> torch.Tensor | None:
        """How much positions count for each query, (batch, heads, tokens, 1), about 1 to 3."""
        if self.gate is None:
            return None
        gates = self.gate(query).unflatten(-1, (2, 4)).sum(-1).sigmoid()  # (batch, heads, tokens, 2)
        first, second = gates[..., :1], gates[..., 1:]
        return first * (second * self.gate_scale - 1) + 2

    def split_queries(self, batch: int, tokens: int) -> list[tuple[int, int]]:
        """Spans of queries whose scores fit into a bounded memory; one span in graphs that are recorded."""
        if torch.compiler.is_compiling() or self.training:
            return [(0, tokens)]
        count = max(1, _SCORES_AT_ONCE // (batch * self.config.num_attention_heads * tokens))
        return [(start, min(tokens, start + count)) for start in range(0, tokens, count)]


def spread_positions(positions: torch.Tensor, tokens: int, start: int, end: int) -> torch.Tensor:
    """Biases of distances as those of queries `start` to `end` with all keys, (heads, end - start, tokens)."""
    if torch.compiler.is_compiling():  # a view with as many rows as tokens would fix their number
        order = torch.arange(tokens, device=positions.device)
        return positions[:, order - order[start:end, None] + tokens - 1]
    # Row q of the view holds the biases of query tokens - 1 - q; only the rows asked for are copied.
    return positions.unfold(-1, tokens, 1)[:, tokens - end : tokens - start].flip(1)


class BEATsLayer(GradientCheckpointingLayer):
    """Attention and feed-forward; norms stand behind the sums, or before their parts."""

    def __init__(self, config: BEATsConfig):
        super().__init__()
        self.norm_first = config.layer_norm_first
        self.residual_scale = (2 * config.num_hidden_layers) ** 0.25 if config.deep_norm else 1.0
        self.attention = BEATsAttention(config)
        self.attention_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.fc1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.activation = ACT2FN[config.hidden_act]
        self.fc2 = nn.Linear(config.intermediate_size, config.hidden_size)
        self.feed_forward_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.activation_dropout = nn.Dropout(config.activation_dropout)

    def forward(
        self, hidden_states: torch.Tensor, positions: torch.Tensor, mask: torch.Tensor | None, keep_weights: bool
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        if self.norm_first:
            mixed, weights = self.attention(self.attention_norm(hidden_states), positions, mask, keep_weights)
            hidden_states = hidden_states + self.dropout(mixed)
            return hidden_states + self.feed_forward(self.feed_forward_norm(hidden_states)), weights
        mixed, weights = self.attention(hidden_states, positions, mask, keep_weights)
        hidden_states = self.attention_norm(hidden_states * self.residual_scale + self.dropout(mixed))
        mixed = self.feed_forward(hidden_states)
        return self.feed_forward_norm(hidden_states * self.residual_scale + mixed), weights

    def feed_forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return self.dropout(self.fc2(self.activation_dropout(self.activation(self.fc1(hidden_states)))))


class BEATsPreTrainedModel(PreTrainedModel):
    """Base of both classes: config class and random weights."""

    config_class = BEATsConfig
    base_model_prefix = "beats"
    main_input_name = "input_values"
    input_modalities = ("audio",)
    supports_gradient_checkpointing = True
    _no_split_modules = ["BEATsLayer"]
    _supports_sdpa = True
    _supports_attention_backend = True

    def __init__(self, config: BEATsConfig, *args, **kwargs):
        config.validate()  # values that were assigned after the config was made
        super().__init__(config, *args, **kwargs)

    @torch.no_grad()
    def _init_weights(self, module):
        if isinstance(module, nn.Linear):
            init.normal_(module.weight, std=self.config.initializer_range)
            init.zeros_(module.bias)
        elif isinstance(module, nn.Conv2d):
            init.xavier_uniform_(module.weight)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            init.normal_(module.weight, std=self.config.initializer_range)
        elif isinstance(module, nn.LayerNorm):
            init.ones_(module.weight)
            init.zeros_(module.bias)
        elif isinstance(module, BEATsAttention) and module.gate_scale is not None:
            init.ones_(module.gate_scale)
        elif isinstance(module, BEATsPositionalConvolution):
            init.normal_(module.weight_direction, std=1.0)
            size, taps = self.config.hidden_size, self.config.conv_pos_kernel_size
            # A convolution whose entries have the deviation (4 / (taps * size)) ** 0.5.
            entries = module.weight_direction[..., 0].numel()
            init.constant_(module.weight_length, (entries * 4 / (taps * size)) ** 0.5)
            init.zeros_(module.bias)


class BEATsModel(BEATsPreTrainedModel):
    """Spectrogram to tokens."""

    def __init__(self, config: BEATsConfig):
        super().__init__(config)
        self.embeddings = BEATsEmbeddings(config)
        self.positional_convolution = BEATsPositionalConvolution(config)
        self.relative_positions = BEATsRelativePositions(config)
        self.layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.layers = nn.ModuleList(BEATsLayer(config) for _ in range(config.num_hidden_layers))
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.embeddings.patch_embedding

    @with_output_options
    def forward(
        self,
        input_values: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        *,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
    ) -> BaseModelOutput:
        """Spectrogram to tokens.

        Args:
            input_values: (batch, frames, num_mel_bins) of [`BEATsFeatureExtractor`], at least `patch_size` frames.
            attention_mask: (batch, frames), 1 = frame, 0 = padding behind the end. None: every frame counts.
            output_hidden_states: also return the tokens that enter each layer and leave the last. None: as the config
                says.
            output_attentions: also return attention weights; needs `attn_implementation="eager"`. None: as the config
                says.

        Returns:
            last_hidden_state (batch, tokens, hidden_size): token t * (num_mel_bins / patch_size) + f is patch f from
            below at time t.

        Raises:
            ValueError: a shape or the mask does not fit, a clip shorter than a patch. A mask on a GPU is not read.
        """
        self.check_inputs(input_values, attention_mask)
        if output_attentions and self.config._attn_implementation != "eager":
            raise ValueError(
                f"`output_attentions` needs the eager attention, not {self.config._attn_implementation!r}. "
                'Call model.set_attn_implementation("eager") first.'
            )
        hidden_states = self.embeddings(input_values)
        token_mask = self.make_token_mask(attention_mask, hidden_states.shape[1])
        mask = None
        if token_mask is not None:
            hidden_states = hidden_states.masked_fill(~token_mask[..., None], 0.0)
            lowest = torch.finfo(hidden_states.dtype).min
            mask = torch.zeros_like(hidden_states[..., 0]).masked_fill(~token_mask, lowest)[:, None, None]
        hidden_states = hidden_states + self.positional_convolution(hidden_states)
        if not self.config.layer_norm_first:
            hidden_states = self.layernorm(hidden_states)
        hidden_states = self.dropout(hidden_states)
        positions = self.relative_positions(hidden_states.shape[1], hidden_states.device)
        all_hidden_states, all_attentions = [hidden_states], []
        for layer in self.layers:
            if self.training and self.config.layerdrop and torch.rand(()) < self.config.layerdrop:
                all_hidden_states.append(hidden_states)
                continue
            hidden_states, weights = layer(hidden_states, positions, mask, bool(output_attentions))
            all_hidden_states.append(hidden_states)
            all_attentions.append(weights)
        if self.config.layer_norm_first:
            hidden_states = self.layernorm(hidden_states)
        return BaseModelOutput(
            last_hidden_state=hidden_states,
            hidden_states=tuple(all_hidden_states) if output_hidden_states else None,
            attentions=tuple(all_attentions) if output_attentions else None,
        )

    def check_inputs(self, input_values: torch.Tensor, attention_mask: torch.Tensor | None) -> None:
        """Raise a ValueError if a shape or the mask does not fit, or a clip is shorter than a patch."""
        config = self.config
        if input_values.ndim != 3 or input_values.shape[-1] != config.num_mel_bins or not input_values.shape[0]:
            raise ValueError(
                f"`input_values` must be (batch, frames, {config.num_mel_bins}) features, got "
                f"{tuple(input_values.shape)}. Compute them with the feature extractor, of one clip or more."
            )
        shortest, mask_shape = input_values.shape[1], tuple(input_values.shape[:2])
        if attention_mask is not None:
            if tuple(attention_mask.shape) != mask_shape:
                raise ValueError(
                    f"`attention_mask` must be (batch, frames) = {mask_shape}, got {tuple(attention_mask.shape)}."
                )
            if attention_mask.device.type == "cpu" and not torch.compiler.is_compiling():
                shortest = int(count_frames(attention_mask).min())
        if shortest < config.patch_size:
            raise ValueError(
                f"`input_values` has a clip of {shortest} frames, a patch has {config.patch_size}: the recording is "
                "too short."
            )

    def make_token_mask(self, attention_mask: torch.Tensor | None, tokens: int) -> torch.Tensor | None:
        """(batch, tokens), True where a token counts, by `config.token_mask`; None without a mask.

        Args:
            attention_mask: (batch, frames), 1 = frame, 0 = padding behind the end.
            tokens: of a whole clip.
        """
        if attention_mask is None:
            return None
        config, lengths = self.config, count_frames(attention_mask)
        order = torch.arange(tokens, device=lengths.device)
        if config.token_mask == "official":
            span = attention_mask.shape[1] // tokens  # frames that decide on a token, whatever its patch holds
            return order * span < lengths[:, None]
        rows = config.num_mel_bins // config.patch_size
        return order // rows < (lengths // config.patch_size)[:, None]


class BEATsForAudioClassification(BEATsPreTrainedModel):
    """BEATs with the authors' head: class logits of every token, averaged over a clip."""

    def __init__(self, config: BEATsConfig):
        super().__init__(config)
        self.beats = BEATsModel(config)
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.beats.get_input_embeddings()

    @with_output_options
    def forward(
        self,
        input_values: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        *,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
    ) -> SequenceClassifierOutput:
        """Spectrogram to class logits; arguments beside `labels` are those of [`BEATsModel.forward`].

        Args:
            labels: class indices (batch,), or one value per class (batch, num_labels). Adds `loss`, which
                `config.problem_type` chooses; if that is None, the labels choose it, and the config keeps the choice.

        Returns:
            logits (batch, num_labels); AudioSet's probabilities are their sigmoid.
        """
        outputs = self.beats(
            input_values,
            attention_mask,
            output_hidden_states=output_hidden_states,
            output_attentions=output_attentions,
            return_dict=True,
        )
        logits = self.classifier(self.dropout(outputs.last_hidden_state))  # (batch, tokens, num_labels)
        token_mask = self.beats.make_token_mask(attention_mask, logits.shape[1])
        if token_mask is None:
            logits = logits.mean(1)
        else:
            weights = token_mask.to(logits.dtype)
            logits = (logits * weights[..., None]).sum(1) / weights.sum(1, keepdim=True)
        loss = None
        if labels is not None:
            if self.config.problem_type is None and not torch.compiler.is_compiling():
                self.config.problem_type = infer_problem_type(logits, labels)
            loss = classification_loss(logits, labels, self.config.problem_type)
        return SequenceClassifierOutput(
            loss=loss, logits=logits, hidden_states=outputs.hidden_states, attentions=outputs.attentions
        )


__all__ = ["BEATsForAudioClassification", "BEATsModel"]
