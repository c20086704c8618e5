"""The config: the released network by default, what is refused, and what a saved one keeps."""

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError

from avzoo import SSLAlignmentConfig, SSLAlignmentModel


def test_the_defaults_are_the_released_network():
    config = SSLAlignmentConfig()
    assert (config.hidden_sizes, config.depths) == ((64, 128, 256, 512), (2, 2, 2, 2))
    assert config.image_strides == config.audio_strides == (1, 2, 2, 1)
    assert (config.mask_threshold, config.mask_temperature, config.temperature) == (0.65, 0.03, 0.07)
    assert (config.use_objectness, config.confidence_threshold) == (False, None)


def test_the_default_network_has_the_parameters_that_the_released_ones_use():
    """22,872,064 of the file's 24,473,044: trunks 11,176,512 and 11,170,240, projections 2 x 262,656."""
    with torch.device("meta"):
        model = SSLAlignmentModel(SSLAlignmentConfig())
    assert sum(weight.numel() for weight in model.parameters()) == 22_872_064
    assert sum(weight.numel() for weight in model.image_trunk.parameters()) == 11_176_512
    assert sum(weight.numel() for weight in model.audio_trunk.parameters()) == 11_170_240


def test_a_saved_config_is_the_same(tmp_path):
    config = SSLAlignmentConfig(
        hidden_sizes=[4, 6], depths=[1, 2], image_strides=[1, 2], audio_strides=[2, 1], objectness_strides=[1, 1]
    )
    config.save_pretrained(tmp_path)
    loaded = SSLAlignmentConfig.from_pretrained(tmp_path)
    assert loaded.hidden_sizes == (4, 6)
    assert loaded.to_dict() == config.to_dict()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"depths": (2, 2, 2)}, r"`depths` must have one number for each of the 4 stages of `hidden_sizes`.*\(2, 2, 2"),
        ({"hidden_sizes": (64, 128)}, r"`depths` must have one number for each of the 2 stages"),
        ({"image_strides": (1, 2, 0, 1)}, r"`image_strides` must hold numbers from 1 on.*\(1, 2, 0, 1\)"),
        ({"hidden_sizes": ()}, r"`hidden_sizes` must hold numbers from 1 on"),
        ({"projection_dim": 0}, r"`projection_dim` must be at least 1, got 0"),
        ({"localization_dim": -3}, r"`localization_dim` must be at least 1, got -3"),
        ({"localization_projection": "triple"}, r"localization_projection"),
        ({"temperature": 0}, r"`temperature` must be above 0, got 0"),
        ({"mask_temperature": float("nan")}, r"`mask_temperature` must be above 0, got nan"),
        ({"mask_threshold": 65}, r"`mask_threshold` must be at least -1 and at most 1, got 65"),
        ({"confidence_threshold": 1.2}, r"`confidence_threshold` must be at least -1 and at most 1, got 1.2"),
    ],
)
def test_a_bad_value_is_named(fields, message):
    with pytest.raises(StrictDataclassError, match=message):
        SSLAlignmentConfig(**fields)


def test_a_value_assigned_later_is_refused_by_the_model():
    config = SSLAlignmentConfig(hidden_sizes=(4, 4, 4, 4))
    config.temperature = -1.0
    with pytest.raises(StrictDataclassError, match="`temperature` must be above 0"):
        SSLAlignmentModel(config)
