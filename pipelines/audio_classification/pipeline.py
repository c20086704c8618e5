"""Audio tagging: recordings of any length to labels with scores."""

import inspect
import os
from collections.abc import Callable, Iterator
from typing import Any, Literal

import torch
from transformers import AudioClassificationPipeline as StockAudioClassificationPipeline
from transformers.pipelines.base import ChunkPipeline

from avzoo.audio import iter_audio
from avzoo.checks import check_choice, check_number, check_whole_number
from avzoo.pipelines.shared.recordings import cut_windows, wrap_recording


class AudioClassificationPipeline(ChunkPipeline):
    """`transformers.pipeline("audio-classification")` for the models of the zoo.

    Takes a path or URL, the bytes of a file, samples at the model's rate, or a row {"array", "sampling_rate"}; any
    container, rate and channel count, without an ffmpeg binary. Recordings longer than the model's input are
    read in blocks and cut into overlapping windows, so memory does not grow with their length. Models outside the zoo,
    whose feature extractors tell no length of a window, get transformers' own pipeline.

    Parameters, at construction or at each call:
        top_k: number of labels returned, most likely first. None: all.
        function_to_apply: "sigmoid", "softmax" or "none". None: sigmoid for multi-label models, "none" for
            regression, else softmax.
        patch_size: a number or (mel bins, frames); larger is faster and less accurate. None: the base size, the only
            one of models that are no FlexiAST.
        window_seconds: length of a window. None: the length of the model's input.
        overlap: fraction of a window shared with the next one, in [0, 1).
        pooling: how the scores of the windows are pooled: "mean" or "max".
        return_windows: return one record per window and label, {"start", "end", "label", "score"} with times in
            seconds, in place of the pooled [{"label", "score"}].
        return_times: the pooled records have "start" and "end", too: 0 and the length of the recording in seconds.
        batch_size: windows per forward pass.
    """

    _load_processor = False
    _load_image_processor = False
    _load_feature_extractor = True
    _load_tokenizer = False

    def __new__(cls, model=None, *args, **kwargs):
        extractor = kwargs.get("feature_extractor")
        if extractor is not None and not hasattr(extractor, "window_length"):
            return StockAudioClassificationPipeline(model, *args, **kwargs)
        return super().__new__(cls)

    @classmethod
    def register(cls, registry) -> None:
        """Serve this task in `registry`, a transformers `PipelineRegistry`."""
        # register_pipeline would warn that the task exists and drop its default model.
        registry.supported_tasks["audio-classification"]["impl"] = cls

    def __init__(self, *args, **kwargs):
        kwargs.setdefault("top_k", 5)
        super().__init__(*args, **kwargs)

    def _sanitize_parameters(self, **parameters) -> tuple[dict, dict, dict]:
        check_parameters(parameters)
        steps = (
            ("window_seconds", "overlap"),
            ("patch_size",),
            ("top_k", "function_to_apply", "pooling", "return_windows", "return_times"),
        )
        unknown = parameters.keys() - {name for names in steps for name in names}
        if unknown:
            raise TypeError(f"audio-classification has no parameter {sorted(unknown)[0]!r}.")
        if parameters.get("patch_size") is None:
            parameters.pop("patch_size", None)
        elif not takes_argument(self.model.forward, "patch_size"):
            raise ValueError(
                f"`patch_size` is {parameters['patch_size']}, but {type(self.model).__name__} runs at one patch size; "
                "leave it out."
            )
        return tuple({name: parameters[name] for name in names if name in parameters} for names in steps)

    def preprocess(
        self, recording, window_seconds: float | None = None, overlap: float = 0.5
    ) -> Iterator[dict[str, Any]]:
        extractor = self.feature_extractor
        rate, shortest, longest = extractor.sampling_rate, extractor.window_length, extractor.max_samples
        window = longest if window_seconds is None else round(window_seconds * rate)
        # Rounded to samples first: the length that fills the model's input passes however it is written.
        check_number("window_seconds", window / rate, at_least=shortest / rate, at_most=longest / rate, unit="seconds")
        # Inputs that are as long as their window are padded in a batch; those of one length have no mask.
        options = {"return_attention_mask": True} if "attention_mask" in extractor.model_input_names else {}
        blocks = iter_audio(wrap_recording(recording, rate), rate, channels=extractor.channels)
        for start, samples, is_last in cut_windows(blocks, window, hop=max(1, round(window * (1 - overlap)))):
            if len(samples) < shortest:  # only possible for a recording of one window
                file = f" ({os.path.basename(recording)})" if isinstance(recording, str | os.PathLike) else ""
                raise ValueError(
                    f"`audio`{file} is too short: {len(samples)} samples at {rate} Hz, the model needs {shortest}."
                )
            features = extractor(samples, sampling_rate=rate, return_tensors="pt", **options)
            # In samples: whole numbers survive every device, 64-bit floats do not.
            yield {"is_last": is_last, "span": torch.tensor([[start, start + len(samples)]]), **features}

    def _forward(self, model_inputs: dict[str, Any], **parameters) -> dict[str, Any]:
        is_last, span = model_inputs.pop("is_last"), model_inputs.pop("span")
        logits = self.model(**model_inputs, **parameters, return_dict=True).logits
        return {"is_last": is_last, "span": span, "logits": logits.float()}

    def postprocess(
        self,
        windows: list[dict[str, Any]],
        top_k: int | None = 5,
        function_to_apply: Literal["sigmoid", "softmax", "none"] | None = None,
        pooling: Literal["mean", "max"] = "mean",
        return_windows: bool = False,
        return_times: bool = False,
    ) -> list[dict[str, Any]]:
        config = self.model.config
        logits = torch.cat([window["logits"] for window in windows])  # (windows, classes)
        if function_to_apply is None:
            functions = {"multi_label_classification": "sigmoid", "regression": "none"}
            function_to_apply = functions.get(config.problem_type, "softmax")
        scores = {"sigmoid": logits.sigmoid(), "softmax": logits.softmax(-1), "none": logits}[function_to_apply]
        top_k = min(top_k or config.num_labels, config.num_labels)
        rate = self.feature_extractor.sampling_rate
        spans = [(start / rate, end / rate) for window in windows for start, end in window["span"].tolist()]
        if not return_windows:
            pooled = rank_labels(scores.mean(0) if pooling == "mean" else scores.amax(0), top_k, config.id2label)
            return [{"start": 0.0, "end": spans[-1][1], **answer} for answer in pooled] if return_times else pooled
        return [
            {"start": start, "end": end, **answer}
            for (start, end), window_scores in zip(spans, scores, strict=True)
            for answer in rank_labels(window_scores, top_k, config.id2label)
        ]


def takes_argument(function: Callable, name: str) -> bool:
    """Whether a function has a parameter of that name, or takes any."""
    parameters = inspect.signature(function).parameters
    return name in parameters or any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values())


def rank_labels(scores: torch.Tensor, top_k: int, id2label: dict[int, str]) -> list[dict[str, Any]]:
    """Return the `top_k` highest of (classes,) scores with their labels, highest first."""
    values, indices = scores.topk(top_k)
    return [
        {"score": score, "label": id2label[index]}
        for score, index in zip(values.tolist(), indices.tolist(), strict=True)
    ]


def check_parameters(parameters: dict[str, Any]) -> None:
    """Raise a ValueError or TypeError that names an invalid parameter."""
    check_choice("pooling", parameters.get("pooling", "mean"), ("mean", "max"))
    check_choice("function_to_apply", parameters.get("function_to_apply"), (None, "sigmoid", "softmax", "none"))
    check_number("overlap", parameters.get("overlap", 0), at_least=0, below=1)
    if parameters.get("top_k") is not None:
        check_whole_number("top_k", parameters["top_k"], at_least=1)
    if parameters.get("window_seconds") is not None:
        check_number("window_seconds", parameters["window_seconds"])


__all__ = ["AudioClassificationPipeline"]
