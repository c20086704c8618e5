"""Configuration of BEATs, the audio encoder that nobody else packages."""

from typing import Literal

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig
from transformers.activations import ACT2FN

from avzoo.checks import check_choice, check_fields, check_number
from avzoo.models.layers.labels import PROBLEM_TYPES, LabelNamesMixin


@strict
class BEATsConfig(LabelNamesMixin, PreTrainedConfig):
    """Configuration of [`BEATsModel`] and [`BEATsForAudioClassification`].

    Defaults: BEATs_iter3_plus, fine-tuned on AudioSet-2M (arXiv 2212.09058; microsoft/unilm, `beats/BEATs.py`).

    Args:
        num_mel_bins: height of the spectrogram; a multiple of `patch_size`.
        patch_size: side of a patch, frames and mel bins; patches do not overlap, and a remainder of frames is dropped.
        embedding_size: width of a patch's embedding, before the layers' width.
        hidden_size: width of a token in the layers; a multiple of `num_attention_heads` and of `conv_pos_groups`.
        intermediate_size: width inside the feed-forward part of a layer.
        hidden_act: activation between, a name that transformers knows.
        conv_bias: the patches' convolution has a bias.
        conv_pos_kernel_size, conv_pos_groups: of the convolution over tokens that tells positions.
        num_buckets, max_distance: of the relative positions that attention sees, in tokens; buckets are even.
        gated_position_bias: a query decides how much its positions count (`gru_rel_pos`).
        deep_norm: residuals are scaled by (2 * `num_hidden_layers`) ** 0.25.
        layer_norm_first: norms stand before attention and feed-forward, and one more behind the last layer.
        layerdrop: chance that a layer is left out in training.
        token_mask: which tokens of a padded clip count. "patches": those of patches that hold no padding, so that the
            batch equals the single; "official": the authors' rule, which cuts the mask by numbers of tokens and so
            splits patches.
    """

    model_type = "beats"
    problem_types = PROBLEM_TYPES

    num_mel_bins: int = 128
    patch_size: int = 16
    embedding_size: int = 512
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    conv_bias: bool = False
    conv_pos_kernel_size: int = 128
    conv_pos_groups: int = 16
    num_buckets: int = 320
    max_distance: int = 800
    gated_position_bias: bool = True
    deep_norm: bool = True
    layer_norm_first: bool = False
    layer_norm_eps: float = 1e-5
    hidden_dropout_prob: float | int = 0.0
    attention_probs_dropout_prob: float | int = 0.0
    activation_dropout: float | int = 0.0
    classifier_dropout: float | int = 0.0
    layerdrop: float | int = 0.05
    initializer_range: float = 0.02
    token_mask: Literal["patches", "official"] = "patches"

    def validate_sizes(self):
        sizes = ("num_mel_bins", "patch_size", "embedding_size", "hidden_size", "num_hidden_layers")
        sizes += ("num_attention_heads", "intermediate_size", "conv_pos_kernel_size", "conv_pos_groups")
        check_fields(self, sizes, at_least=1)
        for name in ("num_attention_heads", "conv_pos_groups"):
            if self.hidden_size % getattr(self, name):
                raise ValueError(
                    f"`hidden_size` ({self.hidden_size}) must be a multiple of `{name}` ({getattr(self, name)})."
                )
        if self.num_mel_bins % self.patch_size:
            raise ValueError(
                f"`num_mel_bins` ({self.num_mel_bins}) must be a multiple of `patch_size` ({self.patch_size})."
            )

    def validate_positions(self):
        # Half of the buckets is for either direction, and half of those for single distances.
        if self.num_buckets < 4 or self.num_buckets % 2:
            raise ValueError(f"`num_buckets` must be even and at least 4, got {self.num_buckets}.")
        if self.max_distance <= self.num_buckets // 4:
            raise ValueError(
                f"`max_distance` ({self.max_distance}) must be above a quarter of `num_buckets` ({self.num_buckets})."
            )

    def validate_hidden_act(self):
        check_choice("hidden_act", self.hidden_act, tuple(ACT2FN))

    def validate_chances(self):
        names = ("hidden_dropout_prob", "attention_probs_dropout_prob", "activation_dropout", "classifier_dropout")
        check_fields(self, (*names, "layerdrop"), at_least=0, below=1)
        check_number("layer_norm_eps", self.layer_norm_eps, above=0)
        check_number("initializer_range", self.initializer_range, above=0)


__all__ = ["BEATsConfig"]
