"""Configuration of ACL-SSL: BEATs, CLIPSeg, and what is trained between them."""

from collections.abc import Sequence
from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import CLIPSegConfig, PreTrainedConfig

from avzoo.checks import check_fields, check_number
from avzoo.models.beats import BEATsConfig


@strict
class ACLConfig(PreTrainedConfig):
    """Configuration of [`ACLForSoundLocalization`]. Defaults: the released `ACL_ViT16`.

    Args:
        audio_config: of BEATs.
        grounder_config: of CLIPSeg; its text model is as wide as the audio token.
        audio_layers: layers of BEATs whose outputs are joined, counted from 1.
        embedder_dropout: in the audio embedder, in training.
        prompt_ids: token ids of the prompt without the sound, start and end included: "A photo of ".
        prompt_position: index in the prompt at which the audio token is put.
        mask_init_scale, mask_init_shift: first values of the two trained numbers that make a mask of logits.
        feature_mask_threshold, feature_mask_temperature: of the mask that weights dense features.
        contrast_scale: similarities are multiplied by it before the softmax of the losses.
        positive_area, negative_area: shares of a picture that a mask of the right sound, of a wrong one is to cover.
        confidence_threshold: least similarity of a masked region and the sound that means "this sounds in the
            picture"; it belongs to the weights. None: not known, and no such decision is made.
        frozen_parts: where the frozen networks are kept, by name ("audio_encoder", "grounder"), for a folder that
            holds the trained weights alone: a name on the Hub or a folder, and a revision. None: all is in the folder.
    """

    model_type = "acl_ssl"
    sub_configs = {"audio_config": BEATsConfig, "grounder_config": CLIPSegConfig}
    keys_to_ignore_at_inference = ["logits", "image_embeds", "audio_token"]  # the Trainer gathers the rest

    audio_config: dict[str, Any] | PreTrainedConfig | None = None
    grounder_config: dict[str, Any] | PreTrainedConfig | None = None
    audio_layers: list[int] | tuple[int, ...] = (4, 8, 12)
    embedder_dropout: float | int = 0.5
    prompt_ids: list[int] | tuple[int, ...] = (49406, 320, 1125, 539, 49407)
    prompt_position: int = 4
    mask_init_scale: float | int = 10.0
    mask_init_shift: float | int = 14.0
    feature_mask_threshold: float | int = 0.5
    feature_mask_temperature: float | int = 0.07
    contrast_scale: float | int = 1 / 0.07
    positive_area: float | int = 0.4
    negative_area: float | int = 0.0
    confidence_threshold: float | int | None = None
    frozen_parts: dict[str, Any] | None = None

    def __post_init__(self, **kwargs):
        if self.audio_config is None:
            self.audio_config = BEATsConfig()
        elif isinstance(self.audio_config, dict):
            self.audio_config = BEATsConfig(**_drop_model_type(self.audio_config))
        if self.grounder_config is None:
            self.grounder_config = CLIPSegConfig(
                use_complex_transposed_convolution=True, vision_config={"patch_size": 16}
            )
        elif isinstance(self.grounder_config, dict):
            self.grounder_config = CLIPSegConfig(**_drop_model_type(self.grounder_config))
        self.audio_layers, self.prompt_ids = tuple(self.audio_layers), tuple(self.prompt_ids)  # JSON has no tuples
        super().__post_init__(**kwargs)

    def validate_audio_layers(self):
        count = self.audio_config.num_hidden_layers
        if not self.audio_layers or min(self.audio_layers) < 1 or max(self.audio_layers) > count:
            raise ValueError(f"`audio_layers` must be numbers from 1 to {count}, got {self.audio_layers}.")

    def validate_patch_size(self):
        factor = (self.patch_size // 4) ** 2  # of CLIPSeg's two transposed convolutions
        if self.grounder_config.use_complex_transposed_convolution and factor != self.patch_size:
            raise ValueError(
                f"`grounder_config`: with `use_complex_transposed_convolution` a cell becomes {factor} pixels wide, so "
                f"`patch_size` must be 16, got {self.patch_size}. Set it to False for other patches."
            )

    def validate_prompt(self):
        check_prompt(self.prompt_ids, self.prompt_position, self.grounder_config.text_config)

    def validate_numbers(self):
        check_number("embedder_dropout", self.embedder_dropout, at_least=0, below=1)
        check_number("mask_init_scale", self.mask_init_scale, above=0)
        check_fields(self, ("mask_init_shift",))
        check_fields(self, ("feature_mask_temperature", "contrast_scale"), above=0)
        check_fields(self, ("feature_mask_threshold", "positive_area", "negative_area"), at_least=0, at_most=1)
        if self.confidence_threshold is not None:
            check_number("confidence_threshold", self.confidence_threshold, at_least=-1, at_most=1)

    @property
    def patch_size(self) -> int:
        """Side of the grounder's patches, pixels."""
        return self.grounder_config.vision_config.patch_size


def check_prompt(prompt_ids: Sequence[int], prompt_position: int, text_config: PreTrainedConfig) -> None:
    """Raise a ValueError unless the text model can read the prompt with one more token at the position."""
    if len(prompt_ids) < 2 or not all(0 <= token < text_config.vocab_size for token in prompt_ids):
        raise ValueError(
            f"`prompt_ids` must be two or more token ids below {text_config.vocab_size}, got {tuple(prompt_ids)}."
        )
    if len(prompt_ids) >= text_config.max_position_embeddings:
        raise ValueError(
            f"`prompt_ids` has {len(prompt_ids)} tokens; with the sound's at most "
            f"{text_config.max_position_embeddings} fit."
        )
    if not 1 <= prompt_position < len(prompt_ids):
        raise ValueError(
            f"`prompt_position` must be from 1 to {len(prompt_ids) - 1}, between start and end; got {prompt_position}."
        )


def _drop_model_type(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name != "model_type"}


__all__ = ["ACLConfig", "check_prompt"]
