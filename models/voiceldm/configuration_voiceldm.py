"""Configuration of VoiceLDM's content encoder; the pipeline's other networks are diffusers' and transformers' own."""

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

from avzoo.checks import check_fields, check_number, check_whole_number


@strict
class VoiceLDMContentEncoderConfig(PreTrainedConfig):
    """Configuration of [`VoiceLDMContentEncoder`]. Defaults: the released weights, the same for both sizes.

    Sources: glory20h/VoiceLDM@16ebc7a (voiceldm/modules.py); the text encoder is that of microsoft/speecht5_tts.

    Args:
        vocab_size: number of characters and special tokens.
        hidden_size: width of tokens and of frames; a multiple of `num_attention_heads`, and even.
        intermediate_size: width inside the feed-forward part of a layer.
        max_relative_position: largest distance of two tokens, to each side, with an embedding of its own.
        max_text_positions: longest text in tokens.
        max_frames: longest content in frames; later frames are cut off.
        max_log_duration: ln of the longest duration of a token, in frames; the shortest is 1 frame.
        kernel_size: kernel of every convolution over tokens; odd.
        upsampler_feature_size: features of a token that, with its place in time, give its weight for a frame.
        upsampler_num_maps: attention maps: weights of each token for each frame.
        upsampler_num_contexts: values that each map averages beside the tokens themselves.
        upsampler_dropout: dropout of duration predictor and upsampler. The text encoder has none: the authors train
            it in evaluation mode.
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
        sizes = (
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
        )
        check_fields(self, sizes, at_least=1)
        if self.hidden_size % self.num_attention_heads or self.hidden_size % 2:
            raise ValueError(
                f"`hidden_size` ({self.hidden_size}) must be even and a multiple of `num_attention_heads` "
                f"({self.num_attention_heads})."
            )
        if self.kernel_size < 1 or self.kernel_size % 2 == 0:
            raise ValueError(f"`kernel_size` must be odd, got {self.kernel_size}.")
        check_whole_number("pad_token_id", self.pad_token_id, at_least=0, at_most=self.vocab_size - 1)

    def validate_ranges(self):
        check_fields(self, ("layer_norm_eps", "max_log_duration"), above=0)
        check_number("upsampler_dropout", self.upsampler_dropout, at_least=0, below=1)
