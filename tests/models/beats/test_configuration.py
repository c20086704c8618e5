"""What the config of BEATs refuses, and what the messages say."""

import pytest
from huggingface_hub.errors import StrictDataclassError

from avzoo import BEATsConfig


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"hidden_size": 770}, r"`hidden_size` \(770\) must be a multiple of `num_attention_heads` \(12\)"),
        (
            {"hidden_size": 780, "conv_pos_groups": 16},
            r"`hidden_size` \(780\) must be a multiple of `conv_pos_groups` \(16\)",
        ),
        ({"num_mel_bins": 100}, r"`num_mel_bins` \(100\) must be a multiple of `patch_size` \(16\)"),
        ({"num_buckets": 7}, "`num_buckets` must be even and at least 4, got 7"),
        ({"max_distance": 80}, r"`max_distance` \(80\) must be above a quarter of `num_buckets` \(320\)"),
        ({"layerdrop": 1.0}, "`layerdrop` must be at least 0 and below 1, got 1.0"),
        ({"hidden_act": "glu"}, "`hidden_act` must be one of .*gelu.*, got 'glu'"),
        ({"token_mask": "frames"}, "token_mask"),
    ],
)
def test_impossible_fields_are_named(fields, message):
    with pytest.raises(StrictDataclassError, match=message):
        BEATsConfig(**fields)
