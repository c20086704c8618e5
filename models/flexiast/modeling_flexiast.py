"""FlexiAST: an Audio Spectrogram Transformer whose one set of weights works at many patch sizes.

Paper: "FlexiAST: Flexibility is What AST Needs" (arXiv 2307.09286, Interspeech 2023). Facts about the released weights
are from JiuFengSC/FlexiAST_INTERSPEECH23@74a6ee8 and YuanGongND/ast@31088be.

Shapes: batch, frames (100 per second), num_mel_bins; a patch is (mel bins, frames); a grid is (rows along mel, columns
along time); tokens = num_prefix_tokens + rows * columns, frequency-major: all times of the lowest row first.
"""

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.activations import ACT2FN
from transformers.masking_utils import create_bidirectional_mask
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutputWithPooling, SequenceClassifierOutput
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from avzoo.models.layers.attention import eager_attention_forward
from avzoo.models.layers.classification_loss import classification_loss, infer_problem_type
from avzoo.models.layers.outputs import with_output_options
from avzoo.models.layers.padding import count_frames

from .adapting_flexiast import ClassifierAdaptationMixin, PatchAdaptationMixin
from .configuration_flexiast import FlexiASTConfig
from .patch_geometry import PatchGeometry, PatchSize, draw_patch_size
from .resizing import Grid, resize_clip_positions, resize_patch_kernel, resize_position_embeddings


class FlexiASTPatchEmbeddings(nn.Conv2d):
    """Spectrogram to patch tokens; the kernel is resized to the requested patch size."""

    def __init__(self, config: FlexiASTConfig):
        super().__init__(1, config.hidden_size, kernel_size=config.patch_size)
        self.num_mel_bins, self.resize_method = config.num_mel_bins, config.resize_method

    def forward(self, input_values: torch.Tensor, geometry: PatchGeometry) -> torch.Tensor:
        """(batch, frames, num_mel_bins) to (batch, rows * columns, hidden_size)."""
        kernel = resize_patch_kernel(self.weight, geometry.size, self.resize_method)
        if geometry.stride != geometry.size:
            image = input_values.transpose(1, 2).unsqueeze(1)  # mel is the height: (batch, 1, num_mel_bins, frames)
            return nn.functional.conv2d(image, kernel, self.bias, stride=geometry.stride).flatten(2).transpose(1, 2)
        # Patches that do not overlap are a reshape and one matrix product, up to twice as fast as the convolution.
        batch, frames, _ = input_values.shape
        rows, columns = geometry.grid(self.num_mel_bins, frames)
        mel_side, time_side = geometry.size
        # Not a slice and a reshape: a graph would remember whether the slice cut anything off.
        patches = input_values.unfold(1, time_side, time_side).unfold(2, mel_side, mel_side)
        patches = patches.permute(0, 2, 1, 4, 3)  # (batch, rows, columns, mel side, time side)
        return nn.functional.linear(patches.reshape(batch, rows * columns, -1), kernel.flatten(1), self.bias)


class FlexiASTEmbeddings(nn.Module):
    """Prefix tokens and patch tokens, position embeddings added."""

    def __init__(self, config: FlexiASTConfig):
        super().__init__()
        self.config = config
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.hidden_size))
        if config.num_prefix_tokens == 2:
            self.distillation_token = nn.Parameter(torch.zeros(1, 1, config.hidden_size))
        rows, columns = config.position_grid
        num_positions = config.num_prefix_tokens + rows * columns
        self.position_embeddings = nn.Parameter(torch.zeros(1, num_positions, config.hidden_size))
        self.patch_embeddings = FlexiASTPatchEmbeddings(config)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(
        self, input_values: torch.Tensor, geometry: PatchGeometry, num_frames: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Tokens entering the first layer, and the mask of valid tokens.

        Args:
            input_values: (batch, frames, num_mel_bins).
            num_frames: (batch,), frames of each clip before padding. None: no clip is padded.

        Returns:
            hidden_states (batch, tokens, hidden_size) and token_mask (batch, tokens) or None.
        """
        batch, frames, _ = input_values.shape
        grid = geometry.grid(self.config.num_mel_bins, frames)
        patches = self.patch_embeddings(input_values, geometry)
        if num_frames is None:
            positions, token_mask = self.resize_positions(grid).expand(batch, -1, -1), None
        else:
            positions, token_mask = self.resize_padded_positions(grid, geometry.count_columns(num_frames))
        prefix = [self.cls_token]
        if self.config.num_prefix_tokens == 2:
            prefix.append(self.distillation_token)
        prefix = torch.cat(prefix, dim=1).expand(batch, -1, -1)
        return self.dropout(torch.cat([prefix, patches], dim=1) + positions), token_mask

    def resize_positions(self, grid: Grid) -> torch.Tensor:
        """Resize the stored position embeddings to another grid: (1, tokens, hidden_size)."""
        config = self.config
        return resize_position_embeddings(
            self.position_embeddings, config.position_grid, grid, config.num_prefix_tokens
        )

    def resize_padded_positions(self, grid: Grid, columns: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Position embeddings (batch, tokens, hidden_size) of padded clips, and the (batch, tokens) mask of valid ones.

        Each clip gets the position grid it would have alone, of `columns` (batch,); further columns, up to those of
        `grid`, are padding.
        """
        config = self.config
        positions = resize_clip_positions(
            self.position_embeddings, config.position_grid, grid, columns, config.num_prefix_tokens
        )
        valid = torch.arange(grid[1], device=columns.device) < columns[:, None]  # (batch, columns)
        valid = valid[:, None].expand(-1, grid[0], -1).flatten(1)
        return positions, nn.functional.pad(valid, (config.num_prefix_tokens, 0), value=True)


class FlexiASTAttention(nn.Module):
    def __init__(self, config: FlexiASTConfig):
        super().__init__()
        self.config = config
        self.head_dim = config.hidden_size // config.num_attention_heads
        self.scaling = self.head_dim**-0.5
        self.is_causal = False
        self.q_proj = nn.Linear(config.hidden_size, config.hidden_size, bias=config.qkv_bias)
        self.k_proj = nn.Linear(config.hidden_size, config.hidden_size, bias=config.qkv_bias)
        self.v_proj = nn.Linear(config.hidden_size, config.hidden_size, bias=config.qkv_bias)
        self.o_proj = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(
        self, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        batch, tokens, _ = hidden_states.shape
        query, key, value = (
            projection(hidden_states).view(batch, tokens, -1, self.head_dim).transpose(1, 2)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )  # (batch, heads, tokens, head_dim)
        attention = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
        mixed, weights = attention(
            self,
            query,
            key,
            value,
            attention_mask,
            scaling=self.scaling,
            dropout=self.config.attention_probs_dropout_prob if self.training else 0.0,
        )
        return self.o_proj(mixed.reshape(batch, tokens, -1)), weights


class FlexiASTMLP(nn.Module):
    def __init__(self, config: FlexiASTConfig):
        super().__init__()
        self.fc1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.activation = ACT2FN[config.hidden_act]
        self.fc2 = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return self.fc2(self.activation(self.fc1(hidden_states)))


class FlexiASTLayer(GradientCheckpointingLayer):
    def __init__(self, config: FlexiASTConfig):
        super().__init__()
        self.layernorm_before = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.attention = FlexiASTAttention(config)
        self.layernorm_after = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = FlexiASTMLP(config)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(
        self, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        residual = hidden_states
        # Reusing the name frees the attention's output before the MLP allocates its far larger one.
        hidden_states, weights = self.attention(self.layernorm_before(hidden_states), attention_mask)
        hidden_states = residual + self.dropout(hidden_states)
        residual = hidden_states
        hidden_states = residual + self.dropout(self.mlp(self.layernorm_after(hidden_states)))
        return hidden_states, weights


class FlexiASTPreTrainedModel(PatchAdaptationMixin, PreTrainedModel):
    config: FlexiASTConfig
    config_class = FlexiASTConfig
    base_model_prefix = "flexiast"
    main_input_name = "input_values"
    input_modalities = ("audio",)
    supports_gradient_checkpointing = True
    _no_split_modules = ["FlexiASTEmbeddings", "FlexiASTLayer"]
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _can_compile_fullgraph = True

    def __init__(self, config: FlexiASTConfig, *args, **kwargs):
        config.validate()  # overrides given to from_pretrained have not been checked yet
        super().__init__(config, *args, **kwargs)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module):
        super()._init_weights(module)
        if isinstance(module, FlexiASTEmbeddings):
            for parameter in module.parameters(recurse=False):  # tokens and positions
                init.trunc_normal_(parameter, std=self.config.initializer_range)

    def num_tokens(self, num_frames: int, patch_size: PatchSize = None) -> int:
        """Number of tokens of a clip of `num_frames` frames at `patch_size`, including prefix tokens."""
        rows, columns = PatchGeometry.of(self.config, patch_size).grid(self.config.num_mel_bins, num_frames)
        return self.config.num_prefix_tokens + rows * columns

    def multiply_accumulates(self, num_frames: int, patch_size: PatchSize = None) -> int:
        """Multiply-accumulate operations of the transformer layers for one clip (norms and softmax not counted)."""
        return self.layer_multiply_accumulates(self.num_tokens(num_frames, patch_size))

    def layer_multiply_accumulates(self, tokens: int) -> int:
        """Multiply-accumulate operations of the transformer layers for `tokens` tokens, including prefix tokens."""
        config = self.config
        linear = tokens * config.hidden_size * (4 * config.hidden_size + 2 * config.intermediate_size)
        attention = 2 * tokens**2 * config.hidden_size
        return config.num_hidden_layers * (linear + attention)


class FlexiASTModel(FlexiASTPreTrainedModel):
    """The transformer without a head: spectrogram to tokens and one pooled vector."""

    def __init__(self, config: FlexiASTConfig):
        super().__init__(config)
        self.embeddings = FlexiASTEmbeddings(config)
        self.layers = nn.ModuleList([FlexiASTLayer(config) for _ in range(config.num_hidden_layers)])
        self.layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.embeddings.patch_embeddings

    @with_output_options
    def forward(
        self,
        input_values: torch.Tensor,
        patch_size: PatchSize = None,
        attention_mask: torch.Tensor | None = None,
        *,
        generator: torch.Generator | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
    ) -> BaseModelOutputWithPooling:
        """Spectrogram to tokens.

        Args:
            input_values: (batch, frames, num_mel_bins), log-mel energies normalised by the feature extractor; at
                least as many frames as one patch.
            patch_size: whole number (a square) or (mel bins, frames). None: the base size, also in training.
            attention_mask: (batch, frames), 1 = frame, 0 = padding at the end. A clip in a padded batch then gets
                the same output as alone. None: every frame is valid, as in the authors' code.
            generator: draws the size from `config.patch_sizes` when `patch_size` is None and the model is in training
                mode. Ignored in evaluation mode.
            output_hidden_states: also return the tokens entering each layer and leaving the last. None: as the config
                says.
            output_attentions: also return attention weights; needs `attn_implementation="eager"`. None: as the config
                says.

        Returns:
            last_hidden_state (batch, tokens, hidden_size) after the final norm; pooler_output (batch, hidden_size), the
            mean of the prefix tokens.

        Raises:
            ValueError: a shape, the patch size or the mask does not fit. A mask on a GPU is not checked; a clip that is
                shorter than a patch counts as one patch there.
        """
        check_input_values(input_values, self.config.num_mel_bins)
        if output_attentions and self.config._attn_implementation != "eager":
            raise ValueError(
                f"`output_attentions` needs the eager attention, not {self.config._attn_implementation!r}. "
                'Call model.set_attn_implementation("eager") first.'
            )
        if patch_size is None and generator is not None and self.training:
            patch_size = draw_patch_size(self.config, generator)
        geometry = PatchGeometry.of(self.config, patch_size)
        num_frames = None if attention_mask is None else count_valid_frames(attention_mask, input_values)

        hidden_states, token_mask = self.embeddings(
            input_values.to(self.embeddings.cls_token.dtype), geometry, num_frames
        )
        if token_mask is not None:
            token_mask = create_bidirectional_mask(
                config=self.config, inputs_embeds=hidden_states, attention_mask=token_mask
            )
        all_hidden_states, all_attentions = [hidden_states], []
        for layer in self.layers:
            hidden_states, attention = layer(hidden_states, token_mask)
            # Kept only on request: reusing the memory is also faster.
            if output_hidden_states:
                all_hidden_states.append(hidden_states)
            if output_attentions:
                all_attentions.append(attention)
        hidden_states = self.layernorm(hidden_states)
        return BaseModelOutputWithPooling(
            last_hidden_state=hidden_states,
            pooler_output=hidden_states[:, : self.config.num_prefix_tokens].mean(dim=1),
            hidden_states=tuple(all_hidden_states) if output_hidden_states else None,
            attentions=tuple(all_attentions) if output_attentions else None,
        )


class FlexiASTClassifier(nn.Module):
    def __init__(self, config: FlexiASTConfig):
        super().__init__()
        self.layernorm = nn.LayerNorm(config.hidden_size, eps=config.classifier_layer_norm_eps)
        self.dense = nn.Linear(config.hidden_size, config.num_labels)

    def forward(self, pooled: torch.Tensor) -> torch.Tensor:
        return self.dense(self.layernorm(pooled))


class FlexiASTForAudioClassification(ClassifierAdaptationMixin, FlexiASTPreTrainedModel):
    """FlexiAST with the authors' classification head: a norm and a linear layer on the pooled prefix tokens."""

    def __init__(self, config: FlexiASTConfig):
        super().__init__(config)
        self.flexiast = FlexiASTModel(config)
        self.classifier = FlexiASTClassifier(config)
        self.post_init()

    @with_output_options
    def forward(
        self,
        input_values: torch.Tensor,
        patch_size: PatchSize = None,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        *,
        generator: torch.Generator | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
    ) -> SequenceClassifierOutput:
        """Spectrogram to class logits. Arguments beside `labels` are those of [`FlexiASTModel.forward`].

        Args:
            labels: class indices (batch,), or one value per class (batch, num_labels). Adds `loss`, which
                `config.problem_type` chooses, see [`classification_loss`]. If that is None, the labels choose it, and
                the config keeps the choice, as with transformers' AST: a saved model tells pipelines how its logits
                are to be read.

        Returns:
            logits (batch, num_labels), not yet through sigmoid (multi-label) or softmax.

        Raises:
            TypeError, ValueError: what [`FlexiASTModel.forward`] and [`classification_loss`] raise.
        """
        outputs = self.flexiast(
            input_values,
            patch_size,
            attention_mask,
            generator=generator,
            output_hidden_states=output_hidden_states,
            output_attentions=output_attentions,
            return_dict=True,
        )
        logits = self.classifier(outputs.pooler_output)
        loss = None
        if labels is not None:
            if self.config.problem_type is None and not torch.compiler.is_compiling():
                self.config.problem_type = infer_problem_type(logits, labels)
            loss = classification_loss(logits, labels, self.config.problem_type)
        return SequenceClassifierOutput(
            loss=loss, logits=logits, hidden_states=outputs.hidden_states, attentions=outputs.attentions
        )


def check_input_values(input_values: torch.Tensor, num_mel_bins: int) -> None:
    """Raise unless `input_values` are floating-point features of shape (batch, frames, num_mel_bins)."""
    if input_values.ndim != 3 or input_values.shape[-1] != num_mel_bins or not input_values.shape[0]:
        raise ValueError(
            f"`input_values` must be (batch, frames, {num_mel_bins}) features, got {tuple(input_values.shape)}. "
            "Compute them with the feature extractor."
        )
    if not input_values.is_floating_point():
        raise TypeError(f"`input_values` must be floating point, got {input_values.dtype}.")


def count_valid_frames(attention_mask: torch.Tensor, input_values: torch.Tensor) -> torch.Tensor:
    """Count the frames of each clip, (batch,); a ValueError unless the mask has an entry for each frame."""
    batch, frames, _ = input_values.shape
    if attention_mask.shape != (batch, frames):
        raise ValueError(
            f"`attention_mask` must be (batch, frames) = {(batch, frames)}, got {tuple(attention_mask.shape)}."
        )
    return count_frames(attention_mask)


__all__ = ["FlexiASTForAudioClassification", "FlexiASTModel", "FlexiASTPreTrainedModel"]
