"""What windows must be before they go through the network."""

import torch

from .configuration_vocalist import VocaLiSTConfig


def check_video_windows(pixel_values: torch.Tensor, config: VocaLiSTConfig, name: str = "pixel_values") -> None:
    """Raise a ValueError that says what windows of video must be, if they aren't that."""
    rows, columns = config.image_size
    if pixel_values.ndim != 5 or pixel_values.shape[2:] != (3, rows, columns) or not pixel_values.shape[1]:
        raise ValueError(
            f"`{name}` must be (batch, frames, 3, {rows}, {columns}) mouth images, got {tuple(pixel_values.shape)}. "
            "The processor makes them from a face."
        )


def check_audio_windows(input_features: torch.Tensor, config: VocaLiSTConfig, name: str = "input_features") -> None:
    """Raise a ValueError that says what windows of sound must be, if they aren't that."""
    if input_features.ndim != 4 or input_features.shape[1:3] != (1, config.num_mel_bins) or not input_features.shape[3]:
        raise ValueError(
            f"`{name}` must be (batch, 1, {config.num_mel_bins}, columns) log-mel, got {tuple(input_features.shape)}. "
            "The processor makes them from sound."
        )
