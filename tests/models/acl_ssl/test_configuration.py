"""What the config of ACL-SSL refuses, and what the messages say."""

import pytest
from huggingface_hub.errors import StrictDataclassError
from transformers import CLIPSegConfig

from avzoo import ACLConfig, BEATsConfig


def test_nested_configs_come_back_from_json(tmp_path):
    config = ACLConfig(audio_config={"layerdrop": 0.1}, grounder_config={"reduce_dim": 32}, audio_layers=[2, 4])
    config.save_pretrained(tmp_path)
    loaded = ACLConfig.from_pretrained(tmp_path)
    assert isinstance(loaded.audio_config, BEATsConfig)
    assert isinstance(loaded.grounder_config, CLIPSegConfig)
    assert (loaded.audio_config.layerdrop, loaded.grounder_config.reduce_dim, loaded.audio_layers) == (0.1, 32, (2, 4))


def test_the_default_prompt_is_a_photo_of():
    config = ACLConfig()
    assert (config.prompt_ids, config.prompt_position) == ((49406, 320, 1125, 539, 49407), 4)
    assert (config.patch_size, tuple(config.grounder_config.extract_layers)) == (16, (3, 6, 9))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"audio_layers": (4, 13)}, r"`audio_layers` must be numbers from 1 to 12, got \(4, 13\)"),
        ({"audio_layers": ()}, r"`audio_layers` must be numbers from 1 to 12, got \(\)"),
        ({"prompt_ids": (49406, 49408)}, "`prompt_ids` must be two or more token ids below 49408"),
        ({"prompt_ids": (1,) * 77}, "`prompt_ids` has 77 tokens; with the sound's at most 77 fit"),
        (
            {"grounder_config": {"use_complex_transposed_convolution": True, "vision_config": {"patch_size": 8}}},
            "a cell becomes 4 pixels wide, so `patch_size` must be 16, got 8",
        ),
        ({"prompt_position": 5}, "`prompt_position` must be from 1 to 4, between start and end; got 5"),
        ({"mask_init_scale": 0}, "`mask_init_scale` must be above 0, got 0"),
        ({"positive_area": 1.5}, "`positive_area` must be at least 0 and at most 1, got 1.5"),
        ({"confidence_threshold": 2}, "`confidence_threshold` must be at least -1 and at most 1, got 2"),
    ],
)
def test_impossible_fields_are_named(fields, message):
    with pytest.raises(StrictDataclassError, match=message):
        ACLConfig(**fields)
