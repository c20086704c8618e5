"""Sign language recognition: a video of signing in, its glosses out, each with its time."""

import itertools
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCTC
from transformers.pipelines.base import Pipeline

from avzoo.checks import check_number, check_whole_number
from avzoo.models.slowfast_cslr.processing_slowfast_cslr import is_single_video
from avzoo.pipelines.sign_language_recognition.answers import describe_hypothesis, make_language_model
from avzoo.pipelines.sign_language_recognition.features import MAX_FRAMES, compute_steps, recognize_steps
from avzoo.pipelines.sign_language_recognition.streaming import StreamedGloss, StreamingSignRecognizer
from avzoo.video.video import Video

_BLOCK_FRAMES = 32
_NAMES = {
    "num_beams",
    "n_best",
    "language_model",
    "lm_weight",
    "insertion_bonus",
    "source_fps",
    "max_frames",
    "return_logits",
    "return_features",
}


def check_parameters(parameters: Mapping[str, Any]) -> None:
    """Raise a ValueError or TypeError that names the parameter out of range."""
    unknown = parameters.keys() - _NAMES
    if unknown:
        raise TypeError(f"sign-language-recognition has no parameter {min(unknown)!r}.")
    for name in ("num_beams", "n_best", "max_frames"):
        if name in parameters:
            check_whole_number(name, parameters[name], at_least=1)
    num_beams, n_best = parameters.get("num_beams", 10), parameters.get("n_best", 1)
    if n_best > num_beams:
        raise ValueError(f"`n_best` ({n_best}) must be at most `num_beams` ({num_beams}).")
    if parameters.get("source_fps") is not None:
        check_number("source_fps", parameters["source_fps"], above=0, unit="frames per second")
    if "lm_weight" in parameters:
        check_number("lm_weight", parameters["lm_weight"], at_least=0)
    if "insertion_bonus" in parameters:
        check_number("insertion_bonus", parameters["insertion_bonus"])
    model = parameters.get("language_model")
    if model is not None and not callable(model):
        raise TypeError(f"`language_model` must be a function of previous glosses and a gloss, got {model!r}.")
    if model is not None and num_beams == 1:
        raise ValueError("`language_model` needs a beam search: pass `num_beams` above 1.")


class SignLanguageRecognitionPipeline(Pipeline):
    """`transformers.pipeline("sign-language-recognition")`: which glosses does this person sign, and when?

        read_signs = pipeline("sign-language-recognition", model=folder)
        read_signs("weather.mp4")["text"]  # "MORGEN REGEN NORD"

    It gives glosses, words for signs in their order; it does not translate. Whoever is in the picture is taken to sign:
    where nobody does, the answer may be empty, but it may also hold glosses, some of high score.

    A video is a path or the bytes of a file (any size, rate, orientation; a variable rate is followed by its time
    stamps), a folder of frames (in the order of their names, numbers by value), uint8 frames, an `avzoo.video.Video`,
    or a row of `datasets`. Frames of another shape than those of training are cut in their middle, see the processor.
    One frame is enough for an answer. A list gives a list; a generator, dataset or another stream gives an iterator.

    Memory does not grow with the length of a video but for 4 kB per step of four frames: frames go through the network
    in chunks that overlap by all that a frame's features depend on, so that the answer is that of the whole video.
    With the released network, 312 frames at once need 2.4 GB, weights included.

    Parameters, at construction or at each call:
        num_beams: sequences that the search keeps at each step; default 10. 1: greedy decoding.
        n_best: answers, at most `num_beams`; default 1.
        language_model: (previous glosses, gloss) -> natural log probability, such as
            `avzoo.models.slowfast_cslr.load_kenlm(path)`; with `lm_weight` (0.5) and
            `insertion_bonus` (0) for each gloss.
        source_fps: of frames in memory and folders of frames. None: the processor's `frame_rate`, 25.
        max_frames: that go through the network at once; default 312. Fewer take less memory and more time.
        return_logits: the answer has `logits` and `conv_logits`, (steps, vocab_size) float32 arrays.
        return_features: and `frame_features`, (frames, channels), which grow with the video.
        batch_size: videos, of `max_frames` at most, that go through the network together; default 1. With the model's
            `isolate_clips`, which is on unless its config says otherwise, each gets what it gets alone.

    Returns, per video, a dict:
        text: the glosses, parted by blanks; adjacent equal ones are one, as in the authors' protocol.
        glosses: [{label, start, end, score}, ...], seconds: the frames that the gloss is read from, up to half way to
            its neighbours (see `locate_glosses`); score: its probability where it is largest, in [0, 1].
        score: natural logarithm of the probability of this sequence; with a language model, with its share.
        n_best: the `n_best` most probable sequences, as dicts of these three, best first; fewer if fewer differ.

    Raises:
        ValueError: a model or processor of another kind, or that do not belong together; what reading a video raises.
    """

    _load_processor = True
    _load_image_processor = False
    _load_video_processor = False
    _load_feature_extractor = False
    _load_tokenizer = False

    @classmethod
    def register(cls, registry) -> None:
        """Serve this task in `registry`, a transformers `PipelineRegistry`."""
        # Not by register_pipeline: what it enters saves its module beside the weights, as if it was installed nowhere.
        task = {"impl": cls, "pt": (AutoModelForCTC,), "type": "multimodal"}
        registry.supported_tasks.setdefault("sign-language-recognition", task)

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        if not hasattr(self.model, "get_frame_features"):
            raise ValueError(
                f"`model`: a {type(self.model).__name__} cannot serve sign-language-recognition; it has no "
                "get_frame_features."
            )
        if not hasattr(self.processor, "iter_frames"):
            raise ValueError(
                "`processor`: sign-language-recognition needs the model's own, which reads videos; got "
                f"{type(self.processor).__name__}. Load a folder with its processor_config.json."
            )
        classes = self.processor.num_classes
        if classes not in (None, self.model.config.vocab_size):
            raise ValueError(
                f"`processor` has {classes - 1} glosses, the model reads {self.model.config.vocab_size - 1}: they do "
                "not belong together."
            )
        for name in ("edge_frames", "step_frames", "alpha"):
            given, needed = getattr(self.processor, name), getattr(self.model.config, name)
            if given != needed:
                raise ValueError(
                    f"`processor` has {name} {given}, the model needs {needed}: they do not belong together."
                )
        self.model.eval()

    def save_pretrained(self, save_directory: str | os.PathLike, **kwargs: Any) -> None:
        """Save the model and its processor, which transformers' own method leaves out."""
        super().save_pretrained(save_directory, **kwargs)
        self.processor.save_pretrained(save_directory, **kwargs)

    def __call__(self, videos: Any, batch_size: int | None = None, **parameters: Any) -> Any:
        """Recognise one video, or each of a list or stream of them; see the class."""
        batch_size = self._batch_size or 1 if batch_size is None else batch_size
        check_whole_number("batch_size", batch_size, at_least=1)
        settings = {**self._forward_params, **self._sanitize_parameters(**parameters)[1]}
        check_parameters(settings)
        if getattr(videos, "ndim", 0) == 5:
            videos = list(videos)
        if isinstance(videos, list | tuple) and not is_single_video(videos):
            if not videos:
                raise ValueError("`videos` is an empty list.")
            names = [f"videos[{index}]" for index in range(len(videos))]
            return list(self._recognize_all(zip(videos, names, strict=True), batch_size, settings))
        if is_stream(videos):
            named = ((video, f"videos[{index}]") for index, video in enumerate(videos))
            return self._recognize_all(named, batch_size, settings)
        return next(self._recognize_all(iter([(videos, "video")]), 1, settings))

    def stream(self, video: Any, hop: int = 32, source_fps: float | None = None) -> Iterator[StreamedGloss]:
        """Glosses of a video as soon as they are known from what was read so far; see [`StreamingSignRecognizer`].

        Args:
            video: as above, or an iterator of blocks of frames, (frames, height, width, 3) uint8, 25 per second, such
                as a camera gives.
            hop: see [`StreamingSignRecognizer`].
        """
        recognizer = StreamingSignRecognizer(self.model, self.processor, hop)
        if isinstance(video, Iterator):
            add, blocks = recognizer.add, video
        else:
            add, blocks = recognizer.add_prepared, self.processor.iter_frames(video, source_fps, block_frames=hop)
        for block in blocks:
            yield from add(block)
        yield from recognizer.finish()

    def _sanitize_parameters(self, **parameters) -> tuple[dict, dict, dict]:
        check_parameters(parameters)
        return {}, parameters, {}

    def preprocess(self, video: Any) -> dict[str, Any]:
        return {"video": video}

    def _forward(self, model_inputs: dict[str, Any], **settings: Any) -> dict[str, Any]:
        return self._read_alone(model_inputs["video"], "video", settings)

    def postprocess(self, model_outputs: dict[str, Any]) -> dict[str, Any]:
        return model_outputs

    def _recognize_all(
        self, videos: Iterable[tuple[Any, str]], batch_size: int, settings: Mapping[str, Any]
    ) -> Iterator[dict[str, Any]]:
        videos = iter(videos)
        while some := list(itertools.islice(videos, batch_size)):
            with self.device_placement(), torch.no_grad():
                answers = [self._read_alone(*some[0], settings)] if len(some) == 1 else self._read_batch(some, settings)
            yield from answers

    def _read_alone(self, video: Any, name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to one video, chunk by chunk."""
        blocks = self._iter_blocks(video, name, settings)
        return self._answer_blocks(blocks, settings)

    def _read_batch(self, videos: list[tuple[Any, str]], settings: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Answers to several videos; the short ones of them go through the network together."""
        longest = settings.get("max_frames", MAX_FRAMES)
        answers: list[dict[str, Any] | None] = []
        clips: dict[int, np.ndarray] = {}
        for place, (video, name) in enumerate(videos):
            blocks = self._iter_blocks(video, name, settings)
            held, count = [], 0
            for block in blocks:
                held.append(block)
                count += len(block)
                if self.processor.count_padded(count) > longest:
                    break
            if self.processor.count_padded(count) > longest:
                answers.append(self._answer_blocks(itertools.chain(held, blocks), settings))
            else:
                answers.append(None)
                clips[place] = np.concatenate(held)
        if clips:
            inputs = {name: value.to(self.device) for name, value in self.processor.pad(list(clips.values())).items()}
            output = self.model(**inputs)
            for row, (place, clip) in enumerate(clips.items()):
                steps = int(output.lengths[row])
                logits, conv_logits = (
                    values[row, :steps].float().cpu() for values in (output.logits, output.conv_logits)
                )
                features = output.frame_features[row].float().cpu()
                answers[place] = self._answer(logits, conv_logits, features, len(clip), settings)
        return answers

    def _iter_blocks(self, video: Any, name: str, settings: Mapping[str, Any]) -> Iterator[np.ndarray]:
        if hasattr(video, "read"):
            video = video.read()
        return self.processor.iter_frames(video, settings.get("source_fps"), block_frames=_BLOCK_FRAMES, name=name)

    def _answer_blocks(self, blocks: Iterator[np.ndarray], settings: Mapping[str, Any]) -> dict[str, Any]:
        features: list[torch.Tensor] = []
        steps, num_frames = compute_steps(
            self.model,
            self.processor,
            blocks,
            settings.get("max_frames", MAX_FRAMES),
            keep_features=features.append if settings.get("return_features") else None,
        )
        logits, conv_logits = recognize_steps(self.model, steps)
        known = torch.cat(features) if features else torch.zeros(0)
        return self._answer(logits, conv_logits, known, num_frames, settings)

    def _answer(
        self,
        logits: torch.Tensor,
        conv_logits: torch.Tensor,
        frame_features: torch.Tensor,
        num_frames: int,
        settings: Mapping[str, Any],
    ) -> dict[str, Any]:
        """Args: logits of the clip's steps; features of its frames with those of the padding."""
        if not logits.isfinite().all():
            raise ValueError(f"`model`: its logits are NaN or infinite; its weights are {self.dtype}, try float32.")
        language_model = make_language_model(
            settings.get("language_model"),
            self.processor,
            logits.shape[1],
            settings.get("lm_weight", 0.5),
            settings.get("insertion_bonus", 0.0),
        )
        hypotheses = self.processor.decode(
            logits,
            num_beams=settings.get("num_beams", 10),
            n_best=settings.get("n_best", 1),
            language_model=language_model,
        )
        described = [describe_hypothesis(hypothesis, self.processor, num_frames) for hypothesis in hypotheses]
        answer = {**described[0], "n_best": described}
        if settings.get("return_logits"):
            answer |= {"logits": logits.numpy(), "conv_logits": conv_logits.numpy()}
        if settings.get("return_features"):
            edge = self.processor.edge_frames
            answer["frame_features"] = frame_features[edge : edge + num_frames].float().numpy()
        return answer


def is_stream(videos: Any) -> bool:
    """Whether it is a data set or a generator of videos, and no video."""
    one = (
        str | bytes | bytearray | memoryview | os.PathLike | Mapping | np.ndarray | torch.Tensor | Video | list | tuple
    )
    if isinstance(videos, one) or hasattr(videos, "read") or hasattr(videos, "get_frame_at"):
        return False
    return hasattr(videos, "__iter__") or hasattr(videos, "__getitem__")


__all__ = ["SignLanguageRecognitionPipeline", "check_parameters", "is_stream"]
