"""What the processors of several methods share."""

import numbers
import os
from collections.abc import Callable
from typing import Any

import torch
from transformers import ProcessorMixin

from avzoo.audio import read_audio


class SavedProcessorMixin(ProcessorMixin):
    """A processor whose settings belong to weights, so that a folder without them is refused.

    transformers' own takes the defaults there, which suit other weights: nothing would say so.
    """

    @classmethod
    def get_processor_dict(
        cls, pretrained_model_name_or_path: str | os.PathLike, **kwargs: Any
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """The settings of a folder or of a name on the Hub, and the arguments that are left.

        Raises:
            OSError: there is no processor_config.json.
        """
        settings, kwargs = super().get_processor_dict(pretrained_model_name_or_path, **kwargs)
        if not settings:
            raise OSError(
                f"`{pretrained_model_name_or_path}` holds no processor_config.json, which says how inputs are prepared "
                "for its weights; save it there by the processor's `save_pretrained`."
            )
        return settings, kwargs


class ImageSoundProcessorMixin(SavedProcessorMixin):
    """A processor of pictures and sounds that holds `image_mean` and `image_std`, of each colour in [0, 1]."""

    def normalize_pixels(self, pixels: torch.Tensor) -> torch.Tensor:
        """(..., 3, rows, columns) in [0, 1] to what the network sees."""
        mean = torch.tensor(self.image_mean, dtype=pixels.dtype, device=pixels.device)[:, None, None]
        return (pixels - mean) / torch.tensor(self.image_std, dtype=pixels.dtype, device=pixels.device)[:, None, None]


def list_items(name: str, items: Any, is_single: Callable[[Any], bool]) -> list[Any]:
    """One item or several as a list.

    Raises:
        ValueError: there is none; `name` is the argument.
    """
    listed = [items] if is_single(items) else list(items)
    if not listed:
        raise ValueError(f"`{name}` is an empty list.")
    return listed


def name_items(name: str, items: list[Any]) -> list[str]:
    """What messages call each item."""
    return [name] if len(items) == 1 else [f"{name}[{index}]" for index in range(len(items))]


def is_single_picture(images: Any) -> bool:
    """Whether `images` is one picture and not a list or a batch of them."""
    return not isinstance(images, list | tuple) and getattr(images, "ndim", 3) != 4


def is_single_recording(audio: Any) -> bool:
    """Whether `audio` is one recording and not a list of them; a flat list of numbers is a recording."""
    return not isinstance(audio, list | tuple) or (len(audio) > 0 and isinstance(audio[0], numbers.Real))


def read_recordings(
    audio: Any, sampling_rate: int, *, source_rate: int | None, channels: str, shortest: int, need: str
) -> list[torch.Tensor]:
    """Waveforms of one recording or of several, each (samples,) float32, for extractors of features.

    Args:
        audio: what [`avzoo.audio.read_audio`] takes, or a list of that. An array of two dimensions is a batch.
        sampling_rate: Hz, of the result. source_rate: Hz, of recordings given as bare samples.
        channels: how several channels become one, see [`avzoo.audio.read_audio`].
        shortest: samples that a recording needs.
        need: what the message of a shorter one adds: "at least 0.1 s are needed".

    Raises:
        ValueError: an empty list, a recording that is too short; what reading a file raises.
    """
    recordings = list_items("audio", audio, lambda given: is_single_recording(given) and getattr(given, "ndim", 1) != 2)
    waveforms = []
    for name, recording in zip(name_items("audio", recordings), recordings, strict=True):
        samples, _ = read_audio(recording, sampling_rate, source_rate=source_rate, channels=channels, name=name)
        if len(samples) < shortest:
            file = f" ({os.path.basename(recording)})" if isinstance(recording, str | os.PathLike) else ""
            raise ValueError(
                f"`{name}`{file} is too short: {len(samples) / sampling_rate:.3f} s ({len(samples)} samples at "
                f"{sampling_rate} Hz), {need}."
            )
        waveforms.append(torch.from_numpy(samples))
    return waveforms


__all__ = [
    "ImageSoundProcessorMixin",
    "SavedProcessorMixin",
    "is_single_picture",
    "is_single_recording",
    "list_items",
    "name_items",
    "read_recordings",
]
