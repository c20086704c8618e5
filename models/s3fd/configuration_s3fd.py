"""Configuration of the S3FD face detector."""

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

from avzoo.checks import check_fields
from avzoo.models.layers.labels import LabelNamesMixin

_SEQUENCES = (
    "stage_channels",
    "stage_depths",
    "extra_channels",
    "norm_scales",
    "prior_sizes",
    "prior_strides",
    "box_variances",
    "pixel_mean",
)


@strict
class S3FDConfig(LabelNamesMixin, PreTrainedConfig):
    """Configuration of [`S3FDForFaceDetection`].

    Defaults: the network of `sfd_face.pth` (S3FD, arXiv 1708.05237; TaoRuijie/TalkNet-ASD@6d68214,
    model/faceDetector/s3fd).

    Args:
        stage_channels: width of each of the five VGG stages; each but the first begins by halving the image.
        stage_depths: convolutions of each stage.
        fc_channels: width of the two convolutions that replace VGG's fully connected layers.
        extra_channels: widths of the two convolution pairs after them; the second of each pair halves the image.
        norm_scales: initial L2 norm of the features of stages three, four and five.
        norm_eps: added to the length of a feature vector before dividing by it.
        num_background_maps: background scores of the finest level; the maximum is used ("max-out").
        prior_sizes: side of the square priors of each of the six levels, pixels.
        prior_strides: step between the priors of each level, pixels.
        box_variances: unit of the regressed centre and of the regressed log size.
        pixel_mean: subtracted from red, green and blue of 0..255.
    """

    model_type = "s3fd"
    # transformers' Trainer gathers what it evaluates: the logits and the boxes.
    keys_to_ignore_at_inference = ["scores", "box_offsets", "priors"]

    stage_channels: list[int] | tuple[int, ...] = (64, 128, 256, 512, 512)
    stage_depths: list[int] | tuple[int, ...] = (2, 2, 3, 3, 3)
    fc_channels: int = 1024
    extra_channels: list[int] | tuple[int, ...] = (256, 512, 128, 256)
    norm_scales: list[float | int] | tuple[float | int, ...] = (10.0, 8.0, 5.0)
    norm_eps: float = 1e-10
    num_background_maps: int = 3

    prior_sizes: list[float | int] | tuple[float | int, ...] = (16, 32, 64, 128, 256, 512)
    prior_strides: list[float | int] | tuple[float | int, ...] = (4, 8, 16, 32, 64, 128)
    box_variances: list[float | int] | tuple[float | int, ...] = (0.1, 0.2)
    pixel_mean: list[float | int] | tuple[float | int, ...] = (123.0, 117.0, 104.0)

    def __setattr__(self, name, value):
        # JSON has no tuples.
        super().__setattr__(name, tuple(value) if name in _SEQUENCES and isinstance(value, list) else value)

    def validate_two_classes(self):
        if self.num_labels != 2:
            raise ValueError(f"`num_labels` must be 2, background and face; got {self.num_labels}.")

    def validate_lengths(self):
        for name, length in {
            "stage_channels": 5,
            "stage_depths": 5,
            "extra_channels": 4,
            "norm_scales": 3,
            "prior_sizes": 6,
            "prior_strides": 6,
            "box_variances": 2,
            "pixel_mean": 3,
        }.items():
            if len(getattr(self, name)) != length:
                raise ValueError(f"`{name}` must be {length} numbers, got {getattr(self, name)}.")

    def validate_sizes(self):
        check_fields(self, ("fc_channels", "num_background_maps", "norm_eps"), above=0)
        for name in _SEQUENCES[:-1]:
            if min(getattr(self, name)) <= 0:
                raise ValueError(f"`{name}` must all be above 0, got {getattr(self, name)}.")


__all__ = ["S3FDConfig"]
