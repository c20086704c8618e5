"""An Audio Spectrogram Transformer that is trained in phases, from coarse spectrograms to fine ones.

Paper: "From Coarse to Fine: Efficient Training for Audio Spectrogram Transformers" (arXiv 2401.08415, ICASSP 2024). Its
code is not public; facts come from the abstract and summaries of it, and from the same authors'
JiuFengSC/ElasticAST@da75493 and JiuFengSC/FlexiAST_INTERSPEECH23@74a6ee8.

Network and shapes are FlexiAST's. [`set_phase`] is added: it carries the weights of one phase over to another.
`avzoo.models.coarse_to_fine_ast.phases` has the schedule.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from transformers.modeling_outputs import SequenceClassifierOutput

from avzoo.models.flexiast import FlexiASTConfig, FlexiASTForAudioClassification
from avzoo.models.flexiast.adapting_flexiast import copy_model, refuse_adapters
from avzoo.models.flexiast.modeling_flexiast import check_input_values, count_valid_frames
from avzoo.models.flexiast.patch_geometry import PatchGeometry, PatchSize
from avzoo.models.flexiast.resizing import resize_patch_kernel, resize_position_embeddings

from .compression import Pooling, TemporalCompression, compress_frames, compress_num_frames, parse_factor
from .configuration_coarse_to_fine_ast import CoarseToFineASTConfig

# Config fields of the phase; all others belong to the plain AST.
PHASE_FIELDS = ("temporal_compression", "pooling", "compression_factor", "max_length")


class CoarseToFineASTForAudioClassification(FlexiASTForAudioClassification):
    """An AST with a classification head and the phase of its training; at `compression_factor` 1 an ordinary AST."""

    config: CoarseToFineASTConfig
    config_class = CoarseToFineASTConfig

    def forward(
        self,
        input_values: torch.Tensor,
        patch_size: PatchSize = None,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        *,
        full_resolution: bool = False,
        generator: torch.Generator | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        return_dict: bool | None = None,
    ) -> SequenceClassifierOutput | tuple[torch.Tensor, ...]:
        """Spectrogram to class logits; arguments beside `full_resolution` are those of FlexiAST's forward.

        Args:
            input_values: (batch, frames, num_mel_bins), at the resolution of the phase.
            full_resolution: `input_values` and `attention_mask` have 100 frames per second in every phase, and are
                compressed here, so one set of stored features and one data loader serve all phases. Without a mask,
                pooling may mix the last frame of a padded clip with padding; the feature extractor does not.
        """
        if full_resolution:
            input_values, attention_mask = self.compress(input_values, attention_mask)
        return super().forward(
            input_values,
            patch_size,
            attention_mask,
            labels,
            generator=generator,
            output_hidden_states=output_hidden_states,
            output_attentions=output_attentions,
            return_dict=return_dict,
        )

    def compress(
        self, input_values: torch.Tensor, attention_mask: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Compress full-resolution features (batch, frames, num_mel_bins) and their mask to this phase."""
        config = self.config
        check_input_values(input_values, config.num_mel_bins)
        method, factor = config.temporal_compression, config.compression_factor
        short = compress_frames(input_values, method, factor, config.pooling)
        if input_values.shape[1] <= config.max_length:
            short = short[:, : config.num_frames]  # whole patches, as the feature extractor cuts them
        if attention_mask is None:
            return short, None
        ends = compress_num_frames(count_valid_frames(attention_mask, input_values), method, factor)
        positions = torch.arange(short.shape[1], device=short.device)
        return short, (positions < ends[:, None]).to(attention_mask.dtype)

    @torch.no_grad()
    def set_phase(
        self,
        compression_factor: float,
        temporal_compression: TemporalCompression | None = None,
        pooling: Pooling | None = None,
    ) -> None:
        """Carry the weights over to another phase, in place.

        The position grid is resampled to the phase's (bilinear, half-pixel: coarse column j lies over the fine columns
        it covers); prefix rows are unchanged. For "patchify" the patch kernel is resized by `resize_method`. All other
        weights, including the head, are unchanged. Several small steps give other weights than one large step.

        Parameters stay the same objects, so an optimizer still holds them, but its state has the old shapes. Reset it,
        as [`PhaseRun`] does.

        Args:
            compression_factor: of the new phase; 1 is full resolution.
            temporal_compression, pooling: None: unchanged.

        Raises:
            ValueError: the method cannot compress by this factor, leaves no patch, or a gradient is left.
        """
        target = self.config.at_phase(compression_factor, temporal_compression, pooling)
        target.validate()
        embeddings, config = self.flexiast.embeddings, self.config
        resized = {
            embeddings.patch_embeddings.weight: resize_patch_kernel(
                embeddings.patch_embeddings.weight, target.patch_size, config.resize_method
            ),
            embeddings.position_embeddings: resize_position_embeddings(
                embeddings.position_embeddings, config.position_grid, target.position_grid, config.num_prefix_tokens
            ),
        }
        self._check_no_gradients()
        for parameter, value in resized.items():
            if value.shape != parameter.shape:
                _replace_data(parameter, value)
        embeddings.patch_embeddings.kernel_size = target.patch_size
        for name in (*PHASE_FIELDS, "patch_size", "stride", "position_grid"):
            setattr(config, name, getattr(target, name))
        if getattr(config, "avzoo_source", None):  # what a converter noted for the feature extractor
            own = {name: getattr(config, name) for name in PHASE_FIELDS}
            config.avzoo_source = {**config.avzoo_source, "processor": {**config.avzoo_source["processor"], **own}}

    def relative_cost(
        self,
        compression_factor: float,
        temporal_compression: TemporalCompression | None = None,
        pooling: Pooling | None = None,
    ) -> float:
        """Multiply-accumulates of the layers for a clip in a phase, divided by those at full resolution."""
        phases = (self.config.at_phase(compression_factor, temporal_compression, pooling), self.config.at_phase(1))
        coarse, fine = (
            self.layer_multiply_accumulates(self.config.num_prefix_tokens + math.prod(phase.position_grid))
            for phase in phases
        )
        return coarse / fine

    def _check_no_gradients(self) -> None:
        for name, parameter in self.named_parameters():
            if parameter.grad is not None:
                raise ValueError(
                    f"the phase cannot change during a step: `{name}` holds a gradient of the old phase. Call "
                    "optimizer.step() and optimizer.zero_grad(set_to_none=True) first."
                )

    @classmethod
    def from_flexiast(
        cls, model: FlexiASTForAudioClassification, **phase: Any
    ) -> "CoarseToFineASTForAudioClassification":
        """Make a model for coarse-to-fine training of an AST or FlexiAST; the weights are copied.

        Args:
            phase: phase of the AST, as fields of [`CoarseToFineASTConfig`]. Default: full resolution. The default
                `max_length` is the length of its base grid, rounded up to whole patches.
        """
        refuse_adapters(model)
        return copy_model(model, cls, build_phase_config(model.config, phase), model.state_dict())

    def to_flexiast(self) -> FlexiASTForAudioClassification:
        """Return the trained AST without phases as [`FlexiASTForAudioClassification`]; the weights are copied.

        Raises:
            ValueError: the model still needs compressed features; call set_phase(1) first. Or it holds adapters.
        """
        config = self.config
        if config.compression_factor != 1 and config.temporal_compression != "patchify":
            raise ValueError(
                f"the model is in a phase of `compression_factor` {config.compression_factor} by "
                f"{config.temporal_compression}, so it needs compressed inputs. Call set_phase(1) first."
            )
        known = FlexiASTConfig().to_dict().keys() | {"problem_type", "id2label", "label2id"}
        fields = {name: value for name, value in config.to_dict().items() if name in known and name != "model_type"}
        refuse_adapters(self)
        return copy_model(self, FlexiASTForAudioClassification, FlexiASTConfig(**fields), self.state_dict())

    def fold(self, patch_size: PatchSize = None, num_frames: int | None = None) -> FlexiASTForAudioClassification:
        """Apply FlexiAST's `fold` to the trained AST; the copy has no phases."""
        return self.to_flexiast().fold(patch_size, num_frames)

    def to_transformers_ast(self, patch_size: int | None = None, num_frames: int | None = None):
        """Apply FlexiAST's `to_transformers_ast` to the trained AST."""
        return self.to_flexiast().to_transformers_ast(patch_size, num_frames)


def _replace_data(parameter: torch.nn.Parameter, value: torch.Tensor) -> None:
    """Give a parameter values of another shape.

    While the last loss is alive, autograd remembers the old shape and refuses the next gradient. Changing the dtype in
    between clears it.
    """
    other = torch.float32 if value.dtype != torch.float32 else torch.float64
    parameter.data = value.new_empty(0, dtype=other)
    parameter.data = value.contiguous()


def build_phase_config(config: FlexiASTConfig, phase: Mapping[str, Any]) -> CoarseToFineASTConfig:
    """Build the config of an AST that is in a phase.

    Raises:
        ValueError: an unknown field, or the AST's grid is not that of the phase.
    """
    unknown = sorted(phase.keys() - set(PHASE_FIELDS))
    if unknown:
        raise ValueError(f"`phase` has no field {unknown[0]!r}; it has: {', '.join(PHASE_FIELDS)}.")
    method = phase.get("temporal_compression", CoarseToFineASTConfig.temporal_compression)
    factor = parse_factor(method, phase.get("compression_factor", 1))
    fields = config.to_dict() | dict(phase) | {"compression_factor": factor}
    for name in ("model_type", "architectures", "avzoo_source"):  # they belong to the other model
        fields.pop(name, None)
    if "max_length" not in phase:
        fields["max_length"] = round(round_up_to_patches(config) * (1 if method == "patchify" else factor))
    return CoarseToFineASTConfig(**fields)


def round_up_to_patches(config: FlexiASTConfig) -> int:
    """Frames that the base grid covers, up to the next multiple of a patch if it has as many columns target.

    The grid of an overlapping AST stops short of the 1024 frames it was made for.
    """
    geometry = PatchGeometry.of(config)
    covered, side = geometry.num_frames(config.position_grid[1]), config.patch_size[1]
    rounded = -(-covered // side) * side
    fits = geometry.grid(config.num_mel_bins, rounded)[1] == config.position_grid[1]
    return rounded if fits else covered


__all__ = ["CoarseToFineASTForAudioClassification"]
