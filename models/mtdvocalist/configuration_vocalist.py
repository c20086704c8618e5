"""Configurations of VocaLiST and of its distilled student, MTDVocaLiST."""

from collections.abc import Sequence
from typing import Any, Literal

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

from avzoo.checks import check_fields, check_number
from avzoo.models.layers.labels import LabelNamesMixin

from .loss_mtd import MTDLoss

_SEQUENCES = ("conv_channels", "visual_stages", "audio_stages", "image_size")


@strict
class VocaLiSTConfig(LabelNamesMixin, PreTrainedConfig):
    """Configuration of [`VocaLiSTForSequenceClassification`]. Defaults: the released teacher, 80.1 M parameters.

    Both encoders are lists of stages. A stage is one convolution that may change width and size, followed by residual
    convolutions that keep both. Stage i is `conv_channels[i]` wide; stages beyond that list have its last width.
    The stages must reduce the image (rows, columns) and the mel axis to size 1; the length in time stays.
    Sources: vskadandale/vocalist@c265b59 (models/model.py), xjchenGit/MTDVocaLiST@5795416
    (models/student_thin_200_all.py).

    Args:
        hidden_size: width of a frame and of a mel column after the encoders; a multiple of `num_attention_heads`.
        num_hidden_layers: layers of each of the three cross-modal encoders.
        ffn_ratio: width inside the feed-forward part of a layer, in units of `hidden_size`.
        conv_channels: widths of the stages of both encoders; the last is `hidden_size`.
        visual_stages: (kernel, row stride, column stride, padding, residual convolutions) of each stage. Along time
            the kernel has the same size, the stride is 1, and the padding keeps the length.
        audio_stages: (kernel, mel stride, mel padding, residual convolutions) of each stage.
        image_size: (rows, columns) of a mouth image, pixels.
        num_mel_bins: mel bands.
        context_frames: video frames, 25 per second, of the windows that the weights were trained with; their sound has
            3.2 mel columns per frame. The network itself runs on any length.
        skip_position_at_zero: add no position to a token whose first channel is exactly 0. The authors' code treats
            such a token as padding; it is common, as encoders end in a ReLU, and the released weights expect it. Set
            it to False to train your own.
        pooling: of the fusion encoder's tokens over time: maximum (released) or mean.
        min_confidence: confidence (highest mean logit over shifts minus the median) from which an offset estimated by
            these weights counts as reliable; 0: always. None has been published for the released weights.
        embedding_dropout: of the input tokens of a cross-modal encoder.
        hidden_dropout: after attention, and inside and after the feed-forward part.
        attention_dropout: of attention weights.
    """

    model_type = "vocalist"
    # transformers' Trainer gathers what it evaluates: the logits.
    keys_to_ignore_at_inference = [
        *("classification_loss", "distillation_loss", "pooler_output", "attention_scores", "attention_values"),
    ]

    hidden_size: int = 512
    num_hidden_layers: int = 4
    num_attention_heads: int = 8
    ffn_ratio: int = 4

    conv_channels: list[int] | tuple[int, ...] = (32, 64, 128, 256, 512)
    visual_stages: list[list[int] | tuple[int, ...]] | tuple[tuple[int, ...], ...] = (
        (7, 1, 1, 3, 0),
        (5, 1, 2, 1, 2),
        (3, 2, 2, 1, 3),
        (3, 2, 2, 1, 2),
        (3, 2, 2, 1, 2),
        (3, 2, 2, 1, 0),
        (3, 1, 1, 0, 0),
        (1, 1, 1, 0, 0),
    )
    audio_stages: list[list[int] | tuple[int, ...]] | tuple[tuple[int, ...], ...] = (
        (3, 1, 1, 2),
        (3, 3, 1, 2),
        (3, 3, 1, 2),
        (3, 3, 1, 2),
        (3, 1, 0, 0),
        (1, 1, 0, 0),
    )
    image_size: list[int] | tuple[int, int] = (48, 96)
    num_mel_bins: int = 80
    context_frames: int = 5

    skip_position_at_zero: bool = True
    pooling: Literal["max", "mean"] = "max"
    min_confidence: float | int = 0.0

    embedding_dropout: float | int = 0.25
    hidden_dropout: float | int = 0.1
    attention_dropout: float | int = 0.0
    layer_norm_eps: float = 1e-5

    def __setattr__(self, name, value):
        # JSON has no tuples.
        if name in _SEQUENCES and isinstance(value, list | tuple):
            value = tuple(tuple(part) if isinstance(part, list) else part for part in value)
        super().__setattr__(name, value)

    def __post_init__(self, **kwargs):
        if self.id2label is None and self.label2id is None:
            self.id2label = {0: "in_sync"}
        super().__post_init__(**kwargs)

    @property
    def context_columns(self) -> int:
        """Mel columns of `context_frames` video frames: 80 and 25 per second."""
        return mel_columns(self.context_frames)

    def stage_channels(self, stage: int) -> int:
        """Width of a stage of either encoder."""
        return self.conv_channels[min(stage, len(self.conv_channels) - 1)]

    def validate_sizes(self):
        check_fields(self, ("num_hidden_layers", "num_attention_heads", "ffn_ratio"), at_least=1)
        check_fields(self, ("num_mel_bins", "context_frames"), at_least=1)
        check_number("hidden_size", self.hidden_size, at_least=4)  # positions have two frequencies
        check_number("layer_norm_eps", self.layer_norm_eps, above=0)
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"`hidden_size` ({self.hidden_size}) must be a multiple of "
                f"`num_attention_heads` ({self.num_attention_heads})."
            )

    def validate_one_logit(self):
        if self.num_labels != 1:
            raise ValueError(f"`num_labels` must be 1, the logit of being in sync; got {self.num_labels}.")

    def validate_stages(self):
        if not self.conv_channels or min(self.conv_channels) < 1 or self.conv_channels[-1] != self.hidden_size:
            raise ValueError(
                f"`conv_channels` {self.conv_channels} must be widths of which the last is `hidden_size` "
                f"({self.hidden_size})."
            )
        image = {"`image_size` rows": (self.image_size[0], 1), "`image_size` columns": (self.image_size[1], 2)}
        mel = {"`num_mel_bins`": (self.num_mel_bins, 1)}
        _check_stages("visual_stages", self.visual_stages, 5, len(self.conv_channels), image)
        _check_stages("audio_stages", self.audio_stages, 4, len(self.conv_channels), mel)

    def validate_dropout(self):
        check_fields(self, ("embedding_dropout", "hidden_dropout", "attention_dropout"), at_least=0, below=1)


@strict
class MTDVocaLiSTConfig(VocaLiSTConfig):
    """Configuration of [`MTDVocaLiSTForSequenceClassification`]: VocaLiST's fields with the released student's widths.

    13.28 M parameters (MTDVocaLiST, arXiv 2210.15563; `pure_MTDVocaLiST.pth` of xjchenGit/MTDVocaLiST@5795416).

    Args:
        distillation: arguments of [`MTDLoss`], to train with a teacher; the loss's weights are then parameters of the
            model and saved with it. None: no distillation, and no such parameters.
    """

    model_type = "mtdvocalist"

    hidden_size: int = 200
    conv_channels: list[int] | tuple[int, ...] = (16, 32, 64, 128, 200)
    distillation: dict[str, Any] | None = None

    def validate_distillation(self):
        if self.distillation is not None:
            try:
                MTDLoss(num_layers=max(1, self.num_hidden_layers), **self.distillation)
            except (TypeError, ValueError) as error:
                raise ValueError(f"`distillation` {self.distillation} is not what MTDLoss takes: {error}") from error


def mel_columns(frames: int) -> int:
    """Number of mel columns that begin within `frames` video frames: 80 and 25 per second, rounded down."""
    return frames * 16 // 5


def _check_stages(
    name: str, stages: Sequence[Sequence[int]], num_fields: int, num_widths: int, sides: dict[str, tuple[int, int]]
) -> None:
    """Raise unless every stage is well-formed and reduces each side, {name: (length, index of its stride)}, to 1."""
    if len(stages) < num_widths:
        raise ValueError(f"`{name}` has {len(stages)} stages for {num_widths} `conv_channels`; it needs one for each.")
    for index, stage in enumerate(stages):
        if len(stage) != num_fields:
            raise ValueError(f"`{name}[{index}]` must be {num_fields} numbers, got {stage}.")
        kernel, *strides, padding, depth = stage
        if kernel < 1 or kernel % 2 == 0 or min(strides) < 1 or padding < 0 or depth < 0:
            raise ValueError(
                f"`{name}[{index}]` {stage} must have an odd kernel, strides of at least 1, and padding and depth of "
                "at least 0."
            )
    for side, (length, stride_index) in sides.items():
        size = length
        for stage in stages:
            size = (size + 2 * stage[-2] - stage[0]) // stage[stride_index] + 1
            if size < 1:
                break
        if size != 1:
            raise ValueError(f"{side} ({length}) must become 1 through `{name}`, it becomes {max(size, 0)}.")


__all__ = ["MTDVocaLiSTConfig", "VocaLiSTConfig", "mel_columns"]
