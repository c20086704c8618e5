"""Pictures, recordings and texts to what ACL-SSL sees.

Source: swimmiing/ACL-SSL@57f4a6c (`VGGSS/VGGSS_Dataset.py`, `AVSBench/AVSBench_Dataset.py`). The preprocessing that
CLIPSeg's own folder on the Hub states is another, and wrong here.
"""

import os
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from transformers import AutoTokenizer, BatchFeature, PreTrainedTokenizerBase

from avzoo.audio import read_audio
from avzoo.checks import check_choice, check_number, check_whole_number
from avzoo.models.beats import BEATsFeatureExtractor
from avzoo.models.layers.batches import make_batch
from avzoo.models.layers.processors import (
    ImageSoundProcessorMixin,
    is_single_picture,
    is_single_recording,
    list_items,
    name_items,
)
from avzoo.video import read_picture

from .frozen_parts import LOOKUPS

_PLACEHOLDER = "{}"


class ACLProcessor(ImageSoundProcessorMixin):
    """Pictures to `pixel_values`, recordings to `input_features`, texts to `input_ids`; each alone, too.

        inputs = processor(images="street.jpg", audio="siren.wav")
        inputs.pixel_values, inputs.input_features  # (1, 3, 352, 352), (1, 998, 128)

    Args:
        image_size: side of the square that pictures are squeezed to by Pillow's bicubic filter, pixels.
        image_mean, image_std: of each colour, in [0, 1]; CLIP's.
        clip_seconds: length of sound: longer recordings are cut behind it, shorter ones filled with silence, which the
            network hears.
        channels: how several channels become one: "concatenate" puts the left one before the right one, as the authors
            do; "mean" or "first".
        feature_mean, feature_std: of the log-mel energies, see [`BEATsFeatureExtractor`].
        tokenizer: CLIP's, for texts and other prompts; None: there are none.
        has_tokenizer: the saved processor has a tokenizer beside it. Set by `save_pretrained`.
    """

    model_input_names = ["pixel_values", "input_features", "input_ids"]
    repeats_short_sounds = False  # silence fills a clip

    def __init__(
        self,
        image_size: int = 352,
        image_mean: Sequence[float] = (0.48145466, 0.4578275, 0.40821073),
        image_std: Sequence[float] = (0.26862954, 0.26130258, 0.27577711),
        clip_seconds: float = 10.0,
        channels: Literal["concatenate", "mean", "first"] = "concatenate",
        feature_mean: float = 15.41663,
        feature_std: float = 6.55582,
        tokenizer: PreTrainedTokenizerBase | None = None,
        has_tokenizer: bool = False,
    ):
        check_whole_number("image_size", image_size, at_least=1)
        check_choice("channels", channels, ("concatenate", "mean", "first"))
        check_number("clip_seconds", clip_seconds, at_least=0.2, unit="seconds")
        if len(image_mean) != 3 or len(image_std) != 3 or min(image_std) <= 0:
            raise ValueError(
                "`image_mean` and `image_std` must have three numbers, those of `image_std` above 0; got "
                f"{list(image_mean)} and {list(image_std)}."
            )
        super().__init__()
        self.image_size = image_size
        self.image_mean, self.image_std = list(image_mean), list(image_std)
        self.clip_seconds, self.channels = clip_seconds, channels
        self.feature_mean, self.feature_std = feature_mean, feature_std
        self.tokenizer, self.has_tokenizer = tokenizer, has_tokenizer or tokenizer is not None

    @property
    def sampling_rate(self) -> int:
        """Hz; recordings are resampled to it."""
        return self._features.sampling_rate

    @property
    def clip_samples(self) -> int:
        """Samples of a clip."""
        return int(self.clip_seconds * self.sampling_rate)

    @property
    def max_seconds(self) -> float:
        """Seconds of a recording, of every channel, behind which nothing is heard."""
        return self.clip_seconds

    @property
    def _features(self) -> BEATsFeatureExtractor:
        return BEATsFeatureExtractor(mean=self.feature_mean, std=self.feature_std)

    def __call__(
        self,
        images: Any = None,
        audio: Any = None,
        sampling_rate: int | None = None,
        text: str | Sequence[str] | None = None,
        *,
        cut: bool = True,
        return_tensors: Literal["pt", "np"] | None = "pt",
    ) -> BatchFeature:
        """Batches of pictures, of sounds, of texts; their numbers may differ.

        Args:
            images: a picture or a list of them, each what [`avzoo.video.read_picture`] takes.
            audio: a recording or a list of them, each what [`avzoo.audio.read_audio`] takes.
            sampling_rate: Hz, of recordings given as bare samples.
            text: a text or a list of them, such as "a dog barking".
            cut: bring each recording to `clip_seconds`. False: recordings are clips already, of one length.
            return_tensors: "pt" for torch's tensors (None: the same), "np" for NumPy's arrays.

        Returns:
            pixel_values (images, 3, image_size, image_size) and input_features (sounds, frames, 128), float32;
            input_ids and attention_mask (texts, tokens).

        Raises:
            ValueError: nothing is given, an empty list, clips of several lengths, a text without a tokenizer; what
                reading a file raises.
        """
        if images is None and audio is None and text is None:
            raise ValueError("`images`, `audio` and `text` are all None; at least one is needed.")
        inputs = {}
        if images is not None:
            pictures = list_items("images", images, is_single_picture)
            names = name_items("images", pictures)
            inputs["pixel_values"] = torch.stack(
                [self.prepare_image(picture, name) for picture, name in zip(pictures, names, strict=True)]
            )
        if audio is not None:
            recordings = list_items("audio", audio, is_single_recording)
            names = name_items("audio", recordings)
            clips = [
                self.prepare_audio(recording, sampling_rate, cut=cut, name=name)
                for recording, name in zip(recordings, names, strict=True)
            ]
            lengths = {len(clip) for clip in clips}
            if len(lengths) > 1:
                raise ValueError(
                    f"`audio` has clips of {min(lengths)} to {max(lengths)} samples; with `cut=False` all of a batch "
                    "must have one length."
                )
            inputs["input_features"] = self.compute_features(torch.from_numpy(np.stack(clips)))
        if text is not None:
            texts = list_items("text", text, lambda given: isinstance(given, str))
            inputs |= self.encode_texts(texts)
        return make_batch(inputs, return_tensors)

    def prepare_image(self, image: Any, name: str = "image") -> torch.Tensor:
        """(3, image_size, image_size) float32 of one picture: squeezed, less the mean, over the deviation."""
        picture = Image.fromarray(read_picture(image, name=name))
        picture = picture.resize((self.image_size, self.image_size), Image.Resampling.BICUBIC)
        return self.normalize_pixels(torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 255)

    def prepare_audio(
        self, audio: Any, sampling_rate: int | None = None, *, cut: bool = True, name: str = "audio"
    ) -> np.ndarray:
        """One recording as a clip, (clip_samples,) float32 in [-1, 1]; of its own length with `cut=False`."""
        channels = "all" if self.channels == "concatenate" else self.channels
        samples, _ = read_audio(audio, self.sampling_rate, source_rate=sampling_rate, channels=channels, name=name)
        samples = samples.reshape(-1)  # of several channels one after the other
        return self.cut_clip(samples) if cut else samples

    def cut_clip(self, samples: np.ndarray) -> np.ndarray:
        """The first `clip_seconds`, or all and silence behind it."""
        samples = samples[: self.clip_samples]
        return np.pad(samples, (0, self.clip_samples - len(samples)))

    def compute_features(self, clips: torch.Tensor) -> torch.Tensor:
        """Clips (batch, samples) in [-1, 1] to `input_features`, (batch, frames, 128).

        Raises:
            ValueError: clips of fewer than 16 frames (0.175 s).
        """
        extractor = self._features
        if clips.shape[-1] < extractor.window_length:
            raise ValueError(
                f"`audio` is too short: {clips.shape[-1]} samples at 16 kHz, {extractor.min_frames} frames need "
                f"{extractor.window_length}."
            )
        return extractor.compute_features(clips)

    def encode_texts(self, texts: Sequence[str]) -> dict[str, torch.Tensor]:
        """`input_ids` and `attention_mask` (texts, tokens), padded behind the end.

        Raises:
            ValueError: there is no tokenizer, or a text is longer than its `model_max_length`.
            TypeError: one is no text.
        """
        tokenizer = self._require_tokenizer()
        for name, text in zip(name_items("text", list(texts)), texts, strict=True):
            if not isinstance(text, str):
                raise TypeError(f"`{name}` must be a text, such as 'a dog barking', got {type(text).__name__}.")
        encoded = tokenizer(list(texts), verbose=False)["input_ids"]
        for name, ids in zip(name_items("text", encoded), encoded, strict=True):
            if len(ids) > tokenizer.model_max_length:
                raise ValueError(
                    f"`{name}` has {len(ids)} tokens, start and end included; CLIP reads at most "
                    f"{tokenizer.model_max_length}. Use fewer words."
                )
        padded = tokenizer.pad({"input_ids": encoded}, return_tensors="pt")
        return {"input_ids": padded["input_ids"], "attention_mask": padded["attention_mask"]}

    def encode_prompt(self, template: str) -> tuple[list[int], int]:
        """Token ids of a prompt such as "A photo of {}", without the sound, and the index at which the sound goes.

        Counted in tokens, not in words as the authors do: words that split move the rest.

        Raises:
            ValueError: there is no tokenizer, or not one "{}" in the template.
        """
        if template.count(_PLACEHOLDER) != 1:
            raise ValueError(f"`template` must hold {_PLACEHOLDER} once, where the sound goes; got {template!r}.")
        tokenizer = self._require_tokenizer()
        before, after = (tokenizer(part)["input_ids"][1:-1] for part in template.split(_PLACEHOLDER))
        start, end = tokenizer("")["input_ids"][:2]
        return [start, *before, *after, end], 1 + len(before)

    def _require_tokenizer(self) -> PreTrainedTokenizerBase:
        if self.tokenizer is None:
            raise ValueError(
                "this processor has no tokenizer, so it can't read texts; convert the model again with "
                "--part clipseg=FOLDER of a folder that holds CLIPSeg's tokenizer, or set `processor.tokenizer`."
            )
        return self.tokenizer

    # transformers expects a tokenizer beside every processor that takes one; here it is optional.

    @classmethod
    def get_attributes(cls) -> list[str]:
        return []

    def to_dict(self) -> dict[str, Any]:
        tokenizer, self.tokenizer = self.tokenizer, None
        try:
            fields = super().to_dict()
        finally:
            self.tokenizer = tokenizer
        fields.pop("tokenizer", None)
        return {**fields, "has_tokenizer": tokenizer is not None}

    def save_pretrained(self, save_directory: str | os.PathLike, push_to_hub: bool = False, **kwargs) -> Any:
        if self.tokenizer is not None:  # before what uploads the folder
            self.tokenizer.save_pretrained(save_directory)
        return super().save_pretrained(save_directory, push_to_hub, **kwargs)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike, **kwargs) -> "ACLProcessor":
        processor = super().from_pretrained(pretrained_model_name_or_path, **kwargs)
        if processor.has_tokenizer:
            lookups = {name: kwargs[name] for name in LOOKUPS if name in kwargs}
            processor.tokenizer = AutoTokenizer.from_pretrained(pretrained_model_name_or_path, **lookups)
        return processor


__all__ = ["ACLProcessor"]
