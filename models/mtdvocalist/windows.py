"""Shape checks of the network's inputs."""

import torch

from .configuration_vocalist import VocaLiSTConfig


def check_video_windows(pixel_values: torch.Tensor, config: VocaLiSTConfig, name: str = "pixel_values") -> None:
    """Raise a ValueError unless these are (batch, frames, 3, rows, columns) mouth images of the config's size."""
    rows, columns = config.image_size
    if pixel_values.ndim != 5 or pixel_values.shape[2:] != (3, rows, columns) or not pixel_values.shape[1]:
        raise ValueError(
            f"`{name}` must be (batch, frames, 3, {rows}, {columns}) mouth images, got {tuple(pixel_values.shape)}. "
            "The processor makes them from a face."
        )


def check_audio_windows(input_features: torch.Tensor, config: VocaLiSTConfig, name: str = "input_features") -> None:
    """Raise a ValueError unless these are (batch, 1, num_mel_bins, columns) log-mel."""
    if input_features.ndim != 4 or input_features.shape[1:3] != (1, config.num_mel_bins) or not input_features.shape[3]:
        raise ValueError(
            f"`{name}` must be (batch, 1, {config.num_mel_bins}, columns) log-mel, got {tuple(input_features.shape)}. "
            "The processor makes them from sound."
        )


def check_pairs(pixel_values: torch.Tensor, input_features: torch.Tensor, pairs: torch.Tensor | None) -> None:
    """Raise a ValueError unless `pairs` are (pairs, 2) indices, or None with as many video as audio windows."""
    if pairs is None and pixel_values.shape[0] != input_features.shape[0]:
        raise ValueError(
            f"`pixel_values` and `input_features` must have the same number of windows, got {pixel_values.shape[0]} "
            f"and {input_features.shape[0]}. Otherwise pass `pairs`."
        )
    if pairs is not None and (pairs.ndim != 2 or pairs.shape[1] != 2 or pairs.is_floating_point()):
        raise ValueError(
            f"`pairs` must be (pairs, 2) integer indices of windows, got {tuple(pairs.shape)} {pairs.dtype}."
        )
