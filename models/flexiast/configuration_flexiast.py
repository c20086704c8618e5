"""Configuration of FlexiAST and of the original Audio Spectrogram Transformers."""

from typing import Any, Literal

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

from avzoo.checks import check_fields, check_number
from avzoo.models.layers.labels import PROBLEM_TYPES, LabelNamesMixin


@strict
class FlexiASTConfig(LabelNamesMixin, PreTrainedConfig):
    """Configuration of [`FlexiASTModel`] and [`FlexiASTForAudioClassification`].

    Defaults: the network of the released VGGSound and VoxCeleb files (FlexiAST, arXiv 2307.09286;
    JiuFengSC/FlexiAST_INTERSPEECH23@74a6ee8). The AudioSet file differs by `num_prefix_tokens=2`.

    Args:
        hidden_size: width of a token; a multiple of `num_attention_heads`.
        intermediate_size: width inside the feed-forward part of a layer.
        layer_norm_eps: epsilon of the norms in the backbone. The authors use 1e-6, transformers' AST 1e-12.
        classifier_layer_norm_eps: epsilon of the norm before the classifier.
        num_mel_bins: height of the spectrogram.
        patch_size: base patch, (mel bins, frames) or one number for a square: the size of the stored kernel, and the
            default of `forward`.
        position_grid: (rows, columns) of the stored position grid: patches along mel, patches along time.
        num_prefix_tokens: 1 (class token, ViT) or 2 (class and distillation token, DeiT and every original AST).
            The classifier reads their mean.
        resize_method: how the patch kernel is resized. "pi": pseudo-inverse of bilinear interpolation (all
            released weights); "bilinear": antialiased interpolation of the kernel's values.
        stride: step between patches of the base size, (mel bins, frames) or one number. None: patches do not
            overlap. An original AST has 10. At other patch sizes the stride is scaled in proportion.
        patch_sizes: sizes to draw from in training. `forward` draws only in training mode and only when given a
            generator.
        problem_type: "regression", "single_label_classification" or "multi_label_classification"; decides on the loss,
            see [`classification_loss`]. None: the first labels that `forward` is given decide.
    """

    model_type = "flexiast"
    problem_types = PROBLEM_TYPES

    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    qkv_bias: bool = True
    layer_norm_eps: float = 1e-6
    classifier_layer_norm_eps: float = 1e-5

    num_mel_bins: int = 128
    patch_size: int | list[int] | tuple[int, int] = 16
    position_grid: list[int] | tuple[int, int] = (8, 64)
    num_prefix_tokens: Literal[1, 2] = 1
    resize_method: Literal["pi", "bilinear"] = "pi"
    stride: int | list[int] | tuple[int, int] | None = None

    patch_sizes: list[int | list[int] | tuple[int, int]] | None = None
    hidden_dropout_prob: float | int = 0.0
    attention_probs_dropout_prob: float | int = 0.0
    initializer_range: float = 0.02

    def __setattr__(self, name, value):
        # Sizes are stored as pairs, whether given as one number, a list from JSON or an override in from_pretrained.
        if name in ("patch_size", "stride", "position_grid"):
            value = as_pair(value)
        elif name == "patch_sizes" and isinstance(value, list):
            value = [as_pair(size) for size in value]
        super().__setattr__(name, value)

    def validate_sizes(self):
        sizes = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "num_mel_bins")
        check_fields(self, sizes, at_least=1)
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"`hidden_size` ({self.hidden_size}) must be a multiple of "
                f"`num_attention_heads` ({self.num_attention_heads})."
            )

    def validate_pairs(self):
        pairs = {"patch_size": self.patch_size, "position_grid": self.position_grid}
        if self.stride is not None:
            pairs["stride"] = self.stride
        pairs.update({f"patch_sizes[{index}]": size for index, size in enumerate(self.patch_sizes or [])})
        for name, pair in pairs.items():
            if len(pair) != 2:
                raise ValueError(f"`{name}` must be one number or two, got {pair}.")
            check_number(name, min(pair), at_least=1)
            if name.startswith("patch_size") and pair[0] > self.num_mel_bins:
                raise ValueError(f"`{name}` {pair} is taller than `num_mel_bins` ({self.num_mel_bins}).")
        if self.patch_sizes is not None and not self.patch_sizes:
            raise ValueError("`patch_sizes` must not be empty; set None to train at the base size only.")

    def validate_epsilons_and_dropout(self):
        check_fields(self, ("layer_norm_eps", "classifier_layer_norm_eps"), above=0)
        check_fields(self, ("hidden_dropout_prob", "attention_probs_dropout_prob"), at_least=0, below=1)


def as_pair(size: Any) -> Any:
    """Convert one number to a square and a list to a tuple; the type check reports anything else."""
    if isinstance(size, int):
        return (size, size)
    return tuple(size) if isinstance(size, list) else size


__all__ = ["FlexiASTConfig"]
