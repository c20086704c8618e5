"""Pictures and recordings to what the two trunks see.

Source: kaistmm/SSLalignment@e7ae3c5 (`datasets_lvs.py`, the loader of the released networks and of LVS; `datasets.py`
for EZ-VSL, SLAVC and FNAC). The presets of those are variants of the method's row in the zoo.
"""

import math
import warnings
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from transformers import BatchFeature

from avzoo.audio import log_power_density, read_audio
from avzoo.checks import check_choice, check_number, check_whole_number
from avzoo.models.layers.batches import make_batch
from avzoo.models.layers.processors import (
    ImageSoundProcessorMixin,
    is_single_picture,
    is_single_recording,
    list_items,
    name_items,
)
from avzoo.video import read_picture

HIGHEST_PEAK = 15.0  # of a clip that is brought to a level: what is louder is taken for integers further on
IMAGE_RESIZES = ("bicubic", "bicubic_antialias", "pil_bicubic", "pil_short_side")


class SSLAlignmentProcessor(ImageSoundProcessorMixin):
    """Pictures to `pixel_values` and recordings to `input_features`; either side alone, too.

        inputs = processor(images="street.jpg", audio="siren.wav")
        inputs.pixel_values, inputs.input_features  # (1, 3, 224, 224), (1, 1, 257, 299)

    Args:
        image_size: side of the square picture, pixels.
        image_resize: how a picture becomes square. "bicubic" squeezes it as a tensor without antialiasing, as the
            torchvision that the authors pinned did; "bicubic_antialias" is the same call in later versions;
            "pil_bicubic" squeezes it with Pillow (EZ-VSL, SLAVC, FNAC); "pil_short_side" keeps the aspect ratio and
            cuts the middle out, the authors' older way.
        image_mean, image_std: of each colour of the training pictures, in [0, 1].
        sampling_rate: Hz; recordings are resampled to it.
        clip_seconds: length of sound the network sees.
        base_seconds: a recording is repeated to this length, or cut to it, before its middle `clip_seconds` are taken:
            10, 5 for AVSBench. None: the middle of the recording, repeated only where it is shorter than a clip.
        channels: of several channels, the "first" or their "mean".
        level: root mean square that a clip is brought to, so that quiet recordings do not lie below the floor; None:
            left as it is, which the released networks expect.
        fft_size, hop_size: of the spectrogram, samples.
        spectrogram_size: (bins, frames) to average densities to; None: (fft_size / 2 + 1, the clip's frames).
        log_floor: added to densities before the logarithm.
        log_mean, log_std: the features are (logarithm - `log_mean`) / `log_std`.
    """

    model_input_names = ["pixel_values", "input_features"]

    def __init__(
        self,
        image_size: int = 224,
        image_resize: Literal["bicubic", "bicubic_antialias", "pil_bicubic", "pil_short_side"] = "bicubic",
        image_mean: Sequence[float] = (0.485, 0.456, 0.406),
        image_std: Sequence[float] = (0.229, 0.224, 0.225),
        sampling_rate: int = 16000,
        clip_seconds: float = 3.0,
        base_seconds: float | None = 10.0,
        channels: Literal["first", "mean"] = "first",
        level: float | None = None,
        fft_size: int = 512,
        hop_size: int = 159,
        spectrogram_size: Sequence[int] | None = None,
        log_floor: float = 1e-7,
        log_mean: float = 0.0,
        log_std: float = 12.0,
    ):
        check_choice("image_resize", image_resize, IMAGE_RESIZES)
        check_choice("channels", channels, ("first", "mean"))
        for name, value in (("image_size", image_size), ("sampling_rate", sampling_rate), ("hop_size", hop_size)):
            check_whole_number(name, value, at_least=1)
        check_whole_number("fft_size", fft_size, at_least=4)
        check_number("clip_seconds", clip_seconds, above=0, unit="seconds")
        if clip_seconds * sampling_rate < fft_size:
            raise ValueError(
                f"`clip_seconds` ({clip_seconds}) is {clip_seconds * sampling_rate:g} samples, less than one frame of "
                f"`fft_size` ({fft_size})."
            )
        if base_seconds is not None:
            check_number("base_seconds", base_seconds, at_least=clip_seconds, unit="seconds")
        if level is not None:
            check_number("level", level, above=0)
        for name, value in (("log_floor", log_floor), ("log_std", log_std)):
            check_number(name, value, above=0)
        check_number("log_mean", log_mean)
        if len(image_mean) != 3 or len(image_std) != 3 or min(image_std) <= 0:
            raise ValueError(
                "`image_mean` and `image_std` must have three numbers, those of `image_std` above 0; got "
                f"{list(image_mean)} and {list(image_std)}."
            )
        if spectrogram_size is not None and (len(spectrogram_size) != 2 or min(spectrogram_size) < 1):
            raise ValueError(f"`spectrogram_size` must be (bins, frames) from 1 on, got {list(spectrogram_size)}.")
        super().__init__()
        self.image_size, self.image_resize = image_size, image_resize
        self.image_mean, self.image_std = list(image_mean), list(image_std)
        self.sampling_rate, self.clip_seconds, self.base_seconds = sampling_rate, clip_seconds, base_seconds
        self.channels, self.level = channels, level
        self.fft_size, self.hop_size = fft_size, hop_size
        self.spectrogram_size = None if spectrogram_size is None else list(spectrogram_size)
        self.log_floor, self.log_mean, self.log_std = log_floor, log_mean, log_std

    @property
    def clip_samples(self) -> int:
        """Samples of a clip."""
        return int(self.clip_seconds * self.sampling_rate)

    def __call__(
        self,
        images: Any = None,
        audio: Any = None,
        sampling_rate: int | None = None,
        *,
        cut: bool = True,
        return_tensors: Literal["pt", "np"] | None = "pt",
    ) -> BatchFeature:
        """Batches of pictures, of sounds, or of both; their numbers may differ.

        Args:
            images: a picture or a list of them, each what [`avzoo.video.read_picture`] takes.
            audio: a recording or a list of them, each what [`avzoo.audio.read_audio`] takes.
            sampling_rate: Hz, of recordings given as bare samples.
            cut: take `clip_seconds` of each recording, as [`cut_clip`] does. False: recordings are clips already, of
                one length of their own, which no other is mixed with.
            return_tensors: "pt" for torch's tensors (None: the same), "np" for NumPy's arrays.

        Returns:
            pixel_values (images, 3, image_size, image_size) and input_features (sounds, 1, bins, frames), float32.

        Raises:
            ValueError: neither is given, an empty list, clips of several lengths; what reading a file raises.
        """
        if images is None and audio is None:
            raise ValueError("`images` and `audio` are both None; at least one is needed.")
        inputs = {}
        if images is not None:
            pictures = list_items("images", images, is_single_picture)
            names = name_items("images", pictures)
            inputs["pixel_values"] = torch.stack(
                [self.prepare_image(picture, name) for picture, name in zip(pictures, names, strict=True)]
            )
        if audio is not None:
            recordings = list_items("audio", audio, is_single_recording)
            clips = []
            for recording, name in zip(recordings, name_items("audio", recordings), strict=True):
                samples, _ = read_audio(
                    recording, self.sampling_rate, source_rate=sampling_rate, channels=self.channels, name=name
                )
                clips.append(self.cut_clip(samples) if cut else np.clip(samples, -1, 1))
                if self.channels == "first" and not clips[-1].any():
                    warn_of_other_channels(recording, sampling_rate, name)
            lengths = {len(clip) for clip in clips}
            if len(lengths) > 1:
                raise ValueError(
                    f"`audio` has clips of {min(lengths)} to {max(lengths)} samples; with `cut=False` all of a batch "
                    "must have one length."
                )
            inputs["input_features"] = self.compute_features(torch.from_numpy(np.stack(clips)))
        return make_batch(inputs, return_tensors)

    def prepare_image(self, image: Any, name: str = "image") -> torch.Tensor:
        """(3, image_size, image_size) float32 of one picture: square, less the mean, over the deviation.

        Bicubic resizing overshoots: values leave the range of pictures a little, and are not cut.
        """
        picture = read_picture(image, name=name)
        size = self.image_size
        if self.image_resize == "pil_bicubic":
            picture = np.asarray(Image.fromarray(picture).resize((size, size), Image.Resampling.BICUBIC))
        elif self.image_resize == "pil_short_side":
            picture = cut_middle(resize_short_side(picture, size), size)
        pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 255
        if self.image_resize in ("bicubic", "bicubic_antialias"):
            antialias = self.image_resize == "bicubic_antialias"
            pixels = torch.nn.functional.interpolate(
                pixels[None], (size, size), mode="bicubic", align_corners=False, antialias=antialias
            )[0]
        return self.normalize_pixels(pixels)

    def cut_clip(self, samples: np.ndarray) -> np.ndarray:
        """The clip of a recording that the network sees, (clip_samples,), in [-1, 1].

        With `base_seconds` the recording is repeated until it is longer than that, and cut to it; the clip is the
        middle of what is left. So of a recording of a minute, 3.5 to 6.5 s are seen.
        """
        count = self.clip_samples
        base = count if self.base_seconds is None else int(self.base_seconds * self.sampling_rate)
        if len(samples) < base:
            samples = np.tile(samples, base // len(samples) + 1)
        if self.base_seconds is not None:
            samples = samples[:base]
        start = math.floor(len(samples) / 2 - count / 2)
        return np.clip(samples[start : start + count], -1, 1)

    def compute_features(self, clips: torch.Tensor) -> torch.Tensor:
        """Clips (batch, samples) in [-1, 1] to `input_features`, (batch, 1, bins, frames) float32.

        Raises:
            ValueError: clips shorter than one frame.
        """
        clips = clips.double()  # until the network: quiet bins of loud frames are small differences
        if self.level is not None:
            power = clips.square().mean(-1, keepdim=True).sqrt()
            peak = clips.abs().amax(-1, keepdim=True)
            gain = torch.minimum(self.level / power.clamp(min=1e-9), HIGHEST_PEAK / peak.clamp(min=1e-9))
            clips = clips * gain
        size = None if self.spectrogram_size is None else tuple(self.spectrogram_size)
        logarithms = log_power_density(
            clips,
            sampling_rate=self.sampling_rate,
            fft_size=self.fft_size,
            hop_size=self.hop_size,
            log_floor=self.log_floor,
            size=size,
        )
        return ((logarithms - self.log_mean) / self.log_std).float()[:, None]


def warn_of_other_channels(recording: Any, sampling_rate: int | None, name: str) -> None:
    """Warn if a recording whose first channel is silent has another that isn't."""
    if hasattr(recording, "read"):
        return  # it was read already
    samples, _ = read_audio(recording, source_rate=sampling_rate, channels="all", name=name)
    if samples[1:].any():
        warnings.warn(
            f"`{name}`: the first of its {len(samples)} channels is silent there, and it alone is heard. Pass "
            'channels="mean" to the processor, or the samples of one channel.',
            stacklevel=3,
        )


def resize_short_side(picture: np.ndarray, size: int) -> np.ndarray:
    """Resize (height, width, 3) with Pillow's bicubic filter so that its shorter side has `size` pixels.

    The longer one has its share cut to a whole number, as torchvision has it.
    """
    height, width = picture.shape[:2]
    if width <= height:
        width, height = size, int(size * height / width)
    else:
        width, height = int(size * width / height), size
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC))


def cut_middle(picture: np.ndarray, size: int) -> np.ndarray:
    """The middle (size, size, 3) of a picture that is no smaller."""
    top, left = (round((length - size) / 2) for length in picture.shape[:2])
    return picture[top : top + size, left : left + size]


__all__ = ["SSLAlignmentProcessor"]
