"""Configuration of VoiceLDM's content encoder. The other networks of the pipeline are stock ones with their own."""

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig


@strict
class VoiceLDMContentEncoderConfig(PreTrainedConfig):
    """Configuration of [`VoiceLDMContentEncoder`]. Defaults: the released weights, the same for both sizes.

    Sources: glory20h/VoiceLDM@16ebc7a (voiceldm/modules.py); the text encoder is that of microsoft/speecht5_tts.

    Args:
        vocab_size: characters and special tokens.
        hidden_size: width of tokens and of frames; a multiple of `num_attention_heads`, and even.
        intermediate_size: width inside the feed-forward part of a layer.
        max_relative_position: distances between tokens that are told apart, to each side.
        max_text_positions: longest text in tokens.
        max_frames: longest content in frames; what comes later is cut off.
        max_log_duration: ln of the longest duration of a token, in frames; the shortest is 1 frame.
        kernel_size: of every convolution over tokens; odd.
        upsampler_feature_size: features of a token that decide, with its place in time, how a frame weighs it.
        upsampler_num_maps: weights that each frame has for each token.
        upsampler_num_contexts: values beside a token's own that each weight brings.
        upsampler_dropout: of duration predictor and upsampler, in training. The text encoder has none: the authors
            train it in evaluation mode.
    """

    model_type = "voiceldm_content_encoder"

    vocab_size: int = 81
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-5
    max_relative_position: int = 160
    max_text_positions: int = 1000
    pad_token_id: int | None = 1
    eos_token_id: int | list[int] | None = 2

    max_frames: int = 1000
    max_log_duration: float | int = 3.5
    kernel_size: int = 3
    upsampler_feature_size: int = 8
    upsampler_num_maps: int = 4
    upsampler_num_contexts: int = 2
    upsampler_dropout: float | int = 0.5

    initializer_range: float = 0.02

    def validate_sizes(self):
        for name in (
            "vocab_size",
            "hidden_size",
            "num_hidden_layers",
            "num_attention_heads",
            "intermediate_size",
            "max_relative_position",
            "max_text_positions",
            "max_frames",
            "upsampler_feature_size",
            "upsampler_num_maps",
            "upsampler_num_contexts",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1, got {getattr(self, name)}.")
        if self.hidden_size % self.num_attention_heads or self.hidden_size % 2:
            raise ValueError(
                f"`hidden_size` ({self.hidden_size}) must be even and a multiple of `num_attention_heads` "
                f"({self.num_attention_heads})."
            )
        if self.kernel_size < 1 or self.kernel_size % 2 == 0:
            raise ValueError(f"`kernel_size` must be odd, got {self.kernel_size}.")
        if self.pad_token_id is None or not 0 <= self.pad_token_id < self.vocab_size:
            raise ValueError(f"`pad_token_id` must be from 0 to {self.vocab_size - 1}, got {self.pad_token_id}.")

    def validate_ranges(self):
        if self.layer_norm_eps <= 0:
            raise ValueError(f"`layer_norm_eps` must be above 0, got {self.layer_norm_eps}.")
        if self.max_log_duration <= 0:
            raise ValueError(f"`max_log_duration` must be above 0, got {self.max_log_duration}.")
        if not 0 <= self.upsampler_dropout < 1:
            raise ValueError(f"`upsampler_dropout` must be in [0, 1), got {self.upsampler_dropout}.")
