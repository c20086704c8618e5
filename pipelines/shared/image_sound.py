"""What task pipelines do alike that compare pictures with sounds: reading, encoding in batches, parts of features.

A model serves them by `get_image_features(pixel_values)` and `get_audio_features(input_features)`, whose outputs hold
tensors with a row for each picture or sound. Its processor makes both inputs, and tells `sampling_rate`,
`clip_seconds`, and by `cut_clip` what of a recording the model hears. It may tell that nothing behind `base_seconds` or
`max_seconds` of a recording is heard, and by `channels` what becomes of several: "mean", "first" or "concatenate".
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from transformers import AutoModel
from transformers.pipelines.base import Pipeline

from avzoo.audio.reading import iter_audio
from avzoo.checks import check_whole_number
from avzoo.models.layers.processors import is_single_recording
from avzoo.pipelines.shared.recordings import wrap_recording

SHORTEST_SECONDS = 0.1  # of a sound; a shorter one, repeated, is a tone of its own length
_BATCH_SIZE = 8


class Clip(NamedTuple):
    """What a model hears of a recording.

    Args:
        samples: (clip,) float32 at the model's rate.
        seconds: length of the recording as far as it was read.
        is_silent: all samples are equal: digital silence.
    """

    samples: np.ndarray
    seconds: float
    is_silent: bool


class ImageSoundPipeline(Pipeline):
    """Base of the task pipelines; a subclass says what it makes of the features.

    Class attributes of a subclass:
        task_name: in `transformers.pipeline`.
        needed_methods: of the model.
    """

    task_name: ClassVar[str]
    needed_methods: ClassVar[tuple[str, ...]] = ("get_image_features", "get_audio_features")

    _load_processor = True
    _load_image_processor = False
    _load_video_processor = False
    _load_feature_extractor = False
    _load_tokenizer = False

    @classmethod
    def register(cls, registry) -> None:
        """Serve this task in `registry`, a transformers `PipelineRegistry`."""
        # Not by register_pipeline: what it enters saves its module beside the weights, as if it was installed nowhere.
        task = {"impl": cls, "pt": (AutoModel,), "type": "multimodal"}
        registry.supported_tasks.setdefault(cls.task_name, task)

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        missing = [name for name in self.needed_methods if not hasattr(self.model, name)]
        if missing:
            raise ValueError(
                f"`model`: a {type(self.model).__name__} cannot serve {self.task_name}; it has no {', '.join(missing)}."
            )
        if self.processor is None or not hasattr(self.processor, "clip_seconds"):
            raise ValueError(
                f"`processor`: {self.task_name} needs the model's own, which reads pictures and sounds; got "
                f"{type(self.processor).__name__}. Load a folder with its processor_config.json."
            )
        self.model.eval()

    def save_pretrained(self, save_directory: str | os.PathLike, **kwargs: Any) -> None:
        """Save the model and its processor, which transformers' own method leaves out."""
        super().save_pretrained(save_directory, **kwargs)
        self.processor.save_pretrained(save_directory, **kwargs)

    @property
    def rate(self) -> int:
        """Sampling rate of the model, Hz."""
        return self.processor.sampling_rate

    @property
    def clip_samples(self) -> int:
        """Samples that the model hears."""
        return int(self.processor.clip_seconds * self.processor.sampling_rate)

    def read_clip(self, recording: Any, sampling_rate: int | None = None, name: str = "audio") -> Clip:
        """What the model hears of a recording; a file is read only as far as needed.

        Args:
            recording: a path or URL, the bytes of a file, samples, or a row {"array", "sampling_rate"}.
            sampling_rate: Hz, of bare samples. None: the model's.
            name: what errors call it.

        Raises:
            ValueError: shorter than 0.1 s; what reading raises.
        """
        source = wrap_recording(recording, sampling_rate or self.rate)
        wanted = getattr(self.processor, "base_seconds", None)  # the clip is cut from this beginning
        wanted = getattr(self.processor, "max_seconds", None) if wanted is None else wanted
        channels = getattr(self.processor, "channels", "mean")
        is_joined = channels == "concatenate"  # one channel behind the other
        wanted = None if wanted is None else int(wanted * self.rate)
        blocks, length = [], 0
        for block in iter_audio(source, self.rate, channels="all" if is_joined else channels, name=name):
            blocks.append(block)
            length += block.shape[-1]
            if wanted is not None and length >= wanted:
                break
        samples = np.concatenate(blocks, axis=-1)[..., :wanted]
        seconds = samples.shape[-1] / self.rate
        if samples.shape[-1] < SHORTEST_SECONDS * self.rate:
            raise ValueError(
                f"{label_source(source, name)} is too short: {seconds:.3f} s, at least {SHORTEST_SECONDS} s are needed."
            )
        clip = self.processor.cut_clip(samples.reshape(-1))
        is_silent = is_digital_silence(clip)
        if is_silent and not hasattr(source, "read"):
            self.processor(audio=[source], sampling_rate=self.rate)  # warns if another channel is not silent
        return Clip(clip, seconds, is_silent)

    def encode_images(self, pictures: Sequence[Any]) -> Any:
        """Features of a batch of pictures."""
        return self.run_model("get_image_features", **self.processor(images=list(pictures)))

    def encode_clips(self, clips: Sequence[np.ndarray]) -> Any:
        """Features of a batch of clips, each of `clip_samples`."""
        return self.run_model(
            "get_audio_features", **self.processor(audio=list(clips), sampling_rate=self.rate, cut=False)
        )

    @torch.no_grad()
    def run_model(self, method: str, **inputs: torch.Tensor) -> Any:
        """One of the model's methods, on its device."""
        with self.device_placement():
            return getattr(self.model, method)(**{name: value.to(self.device) for name, value in inputs.items()})

    def choose_batch_size(self, batch_size: int | None) -> int:
        """Of a call, else of the pipeline, else 8.

        Raises:
            TypeError, ValueError: no whole number, or less than 1.
        """
        if batch_size is None:
            batch_size = _BATCH_SIZE if self._batch_size is None else self._batch_size
        check_whole_number("batch_size", batch_size, at_least=1)
        return batch_size

    # The steps of a transformers pipeline; the tasks call the methods above instead.

    def preprocess(self, inputs: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        return dict(self.processor(**inputs))

    def _forward(self, model_inputs: dict[str, torch.Tensor]) -> Any:
        return self.model(**model_inputs)

    def postprocess(self, model_outputs: Any) -> Any:
        return model_outputs


def is_digital_silence(samples: np.ndarray) -> bool:
    """Whether all samples are equal."""
    return bool(np.ptp(samples) == 0)


def are_several(recordings: Any) -> bool:
    """Whether it is a list of recordings, and no list of samples."""
    return not is_single_recording(recordings)


def label_source(source: Any, name: str) -> str:
    """What a message calls a source: the argument, and the file's name if it has one."""
    return f"`{name}` ({os.path.basename(source)})" if isinstance(source, str | os.PathLike) else f"`{name}`"


__all__ = [
    "SHORTEST_SECONDS",
    "Clip",
    "ImageSoundPipeline",
    "are_several",
    "is_digital_silence",
    "label_source",
]
