"""Floating-point operations of localization, counted on the model itself: what encoding once saves."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from avzoo.checks import check_whole_number
from avzoo.pipelines.sound_source_localization.encoding import evaluation_mode
from avzoo.training.flops import flop_counter


@dataclass(frozen=True)
class LocalizationCosts:
    """Operations (2 per multiply-add) of each step of localization.

    Args:
        image: encoding a picture. sound: encoding a sound. objectness: of a picture; 0 where the model has none.
        pair: the similarity map of a picture and a sound that are encoded.
    """

    image: int
    sound: int
    objectness: int
    pair: int

    @property
    def new_pair(self) -> int:
        """A picture and a sound, neither encoded before."""
        return self.image + self.objectness + self.sound + self.pair

    @property
    def new_sound(self) -> int:
        """Another sound on a picture that is encoded."""
        return self.sound + self.pair

    def encode_once(self, pictures: int, sounds: int, pairs: int) -> int:
        """An evaluation that encodes each picture and each sound once, as [`evaluate_localization`] does."""
        for name, value in (("pictures", pictures), ("sounds", sounds), ("pairs", pairs)):
            check_whole_number(name, value, at_least=0)
        return pictures * (self.image + self.objectness) + sounds * self.sound + pairs * self.pair

    def encode_pairs(self, pairs: int) -> int:
        """An evaluation that encodes the picture and the sound of each pair anew, as the authors' script does."""
        check_whole_number("pairs", pairs, at_least=0)
        return pairs * self.new_pair


@torch.inference_mode()
def count_localization_costs(model: Any, processor: Any) -> LocalizationCosts:
    """The costs of a model, by torch's counter of convolutions and matrix products, on one picture and one sound.

    Args:
        model, processor: as for [`evaluate_localization`].
    """
    picture = np.zeros((64, 64, 3), dtype=np.uint8)
    silence = np.zeros(processor.sampling_rate, dtype=np.float32)
    inputs = processor(images=picture, audio=silence, sampling_rate=processor.sampling_rate, return_tensors="pt")
    parameter = next(model.parameters())
    pixel_values, input_features = (
        inputs[name].to(parameter.device, parameter.dtype) for name in ("pixel_values", "input_features")
    )
    found = {}

    def count(name: str, step: Any, *arguments: Any) -> Any:
        with flop_counter() as counter:
            output = step(*arguments)
        found[name] = counter.get_total_flops()
        return output

    with evaluation_mode(model):
        image = count("image", model.get_image_features, pixel_values)
        sound = count("sound", model.get_audio_features, input_features)
        count("pair", model.compute_similarity_maps, image, sound)
        found["objectness"] = 0
        if getattr(model.config, "use_objectness", False):
            count("objectness", model.get_objectness, pixel_values)
    return LocalizationCosts(**found)


__all__ = ["LocalizationCosts", "count_localization_costs"]
