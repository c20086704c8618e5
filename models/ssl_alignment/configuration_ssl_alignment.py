"""Configuration of the networks that point at what is heard in a picture."""

from typing import Literal

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

from avzoo.checks import check_fields, check_number


@strict
class SSLAlignmentConfig(PreTrainedConfig):
    """Configuration of [`SSLAlignmentModel`]. Defaults: the six released checkpoints, which differ in weights alone.

    Args:
        hidden_sizes, depths: channels and residual blocks of the four stages of both trunks.
        image_strides, audio_strides: stride of each stage; the stem before them has 4. The released trunks keep the
            third stage's cells in the fourth: a map of 14 x 14 for a picture of 224 x 224.
        projection_dim: size of the vectors for retrieval; None: the network has no such projections (LVS, EZ-VSL).
        localization_projection: what stands between the trunks and the similarity map. None: nothing; "single": a
            linear map on each side (EZ-VSL, FNAC); "dual": two, whose similarities are averaged (SLAVC).
        localization_dim: size of the vectors that these maps give; None: the last of `hidden_sizes`.
        soft_mask: the similarity of a picture and a sound is the mean over their map weighted by the sigmoid of
            (similarity - `mask_threshold`) / `mask_temperature`, as the authors' code has it. False: the plain mean of
            the paper's formula.
        mask_threshold, mask_temperature: of that weight.
        negative_threshold: similarities below are background in the loss of LVS.
        temperature: all similarities are divided by it before the softmax of the loss.
        use_objectness: the model also holds a network for pictures alone, whose map can be mixed in ("OGL").
        objectness_strides: stride of each of its stages.
        confidence_threshold: least maximum of a similarity map that means "this sounds in the picture"; it belongs to
            the weights. None: not known, and no such decision is made.
    """

    model_type = "ssl_alignment"
    keys_to_ignore_at_inference = [  # the Trainer gathers the rest
        "localization_logits",
        "alignment_logits",
        "image_map",
        "audio_vector",
        "all_pairs_map",
    ]

    hidden_sizes: list[int] | tuple[int, ...] = (64, 128, 256, 512)
    depths: list[int] | tuple[int, ...] = (2, 2, 2, 2)
    image_strides: list[int] | tuple[int, ...] = (1, 2, 2, 1)
    audio_strides: list[int] | tuple[int, ...] = (1, 2, 2, 1)
    projection_dim: int | None = 512
    localization_projection: Literal["single", "dual"] | None = None
    localization_dim: int | None = None
    soft_mask: bool = True
    mask_threshold: float | int = 0.65
    mask_temperature: float | int = 0.03
    negative_threshold: float | int = 0.4
    temperature: float | int = 0.07
    use_objectness: bool = False
    objectness_strides: list[int] | tuple[int, ...] = (1, 2, 2, 2)
    confidence_threshold: float | int | None = None

    def __post_init__(self, **kwargs):
        for name in ("hidden_sizes", "depths", "image_strides", "audio_strides", "objectness_strides"):
            setattr(self, name, tuple(getattr(self, name)))  # JSON has no tuples
        super().__post_init__(**kwargs)

    def validate_stages(self):
        for name in ("hidden_sizes", "depths", "image_strides", "audio_strides", "objectness_strides"):
            values = getattr(self, name)
            if not values or min(values) < 1:
                raise ValueError(f"`{name}` must hold numbers from 1 on, one for each stage; got {values}.")
            if len(values) != len(self.hidden_sizes):
                raise ValueError(
                    f"`{name}` must have one number for each of the {len(self.hidden_sizes)} stages of `hidden_sizes`, "
                    f"got {values}."
                )

    def validate_sizes(self):
        for name in ("projection_dim", "localization_dim"):
            if getattr(self, name) is not None:
                check_number(name, getattr(self, name), at_least=1)

    def validate_temperatures(self):
        check_fields(self, ("mask_temperature", "temperature"), above=0)
        check_fields(self, ("mask_threshold", "negative_threshold"), at_least=-1, at_most=1)
        if self.confidence_threshold is not None:
            check_number("confidence_threshold", self.confidence_threshold, at_least=-1, at_most=1)


__all__ = ["SSLAlignmentConfig"]
