"""What counts as one recording, and how several are read."""

import numpy as np
import pytest
import torch

from avzoo import BEATsFeatureExtractor, SpeakerFeatureExtractor
from avzoo.models.layers.processors import is_single_recording

SOUND = np.random.default_rng(0).uniform(-0.5, 0.5, 4000).astype(np.float32)


@pytest.mark.parametrize("kind", [float, np.float32, np.float64])
def test_a_list_of_numbers_of_any_kind_is_one_recording(kind):
    assert is_single_recording([kind(0.1), kind(0.2)])


def test_a_list_of_arrays_is_no_single_recording():
    assert not is_single_recording([SOUND, SOUND])


@pytest.mark.parametrize(
    "extractor", [BEATsFeatureExtractor(), SpeakerFeatureExtractor()], ids=lambda e: type(e).__name__
)
def test_a_list_of_samples_is_what_their_array_is(extractor):
    expected = extractor(SOUND, 16000).input_values
    assert torch.equal(extractor(list(SOUND), 16000).input_values, expected)


@pytest.mark.parametrize(
    "extractor", [BEATsFeatureExtractor(), SpeakerFeatureExtractor()], ids=lambda e: type(e).__name__
)
def test_an_array_of_two_dimensions_is_a_batch(extractor):
    batch = extractor(np.stack([SOUND, -SOUND]), 16000).input_values
    assert torch.equal(batch, torch.cat([extractor(SOUND, 16000).input_values, extractor(-SOUND, 16000).input_values]))
