"""Configuration of AVDiffuSS's visual encoder. The spectrogram networks keep theirs as diffusers does."""

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig


@strict
class AVDiffuSSVisualEncoderConfig(PreTrainedConfig):
    """Configuration of [`AVDiffuSSVisualEncoder`]. Defaults: the released weights.

    Source: kaistmm/AVDiffuSS@86d8203 (sgmse/backbones/ncsnpp.py, visualFrontend).

    Args:
        hidden_size: width of a frame's features; the trunk begins as wide and ends twice as wide.
        num_temporal_layers: residual convolutions over time.
        frame_size: side of the grey face pictures, pixels. Others of the same number of steps of 32 work too: 97 to
            128 for 112.
        pixel_mean, pixel_std: of grey levels in [0, 1].
        batch_norm_eps: of the norms in the trunk. Those over time have 1e-5, the whole clip's norm 1e-8.
    """

    model_type = "avdiffuss_visual_encoder"

    hidden_size: int = 64
    num_temporal_layers: int = 5
    frame_size: int = 112
    pixel_mean: float | int = 0.4161
    pixel_std: float | int = 0.1688
    batch_norm_eps: float | int = 1e-3

    def validate_sizes(self):
        for name in ("hidden_size", "num_temporal_layers", "frame_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1, got {getattr(self, name)}.")

    def validate_ranges(self):
        for name in ("pixel_std", "batch_norm_eps"):
            if getattr(self, name) <= 0:
                raise ValueError(f"`{name}` must be above 0, got {getattr(self, name)}.")


__all__ = ["AVDiffuSSVisualEncoderConfig"]
