"""Settings of spectrograms as data: they compute what they say, survive JSON, and are told apart."""

import json

import pytest
import torch

from avzoo.audio import MelSettings, hifigan_log_mel, tacotron_log_mel

SOUND = 0.1 * torch.randn(8000, generator=torch.Generator().manual_seed(0))


def test_the_type_chooses_the_function_and_fields_are_its_arguments():
    fields = {"num_mel_bins": 40, "window_size": 800, "hop_size": 200, "high_frequency": 7000.0}
    torch.testing.assert_close(MelSettings(**fields).compute(SOUND), hifigan_log_mel(SOUND, **fields), rtol=0, atol=0)
    centered = MelSettings("centered", **fields).compute(SOUND)
    torch.testing.assert_close(centered, tacotron_log_mel(SOUND, low_frequency=55.0, **fields), rtol=0, atol=0)


def test_a_mel_of_the_hifigan_type_has_a_frame_for_each_hop():
    assert [len(MelSettings(name).compute(SOUND)) for name in ("hifigan", "centered")] == [50, 51]


def test_settings_survive_json():
    settings = MelSettings(hop_size=256, sampling_rate=22050, high_frequency=8000.0)
    assert MelSettings.from_dict(json.loads(json.dumps(settings.to_dict()))) == settings


def test_differences_name_the_setting_and_both_values():
    assert MelSettings().list_differences(MelSettings(hop_size=200, window_size=800)) == [
        "window_size: 640, 800",
        "hop_size: 160, 200",
    ]
    assert MelSettings().list_differences(MelSettings()) == []


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"hop": 160}, ValueError, "`mel` has no setting 'hop'; there are: mel_type, sampling_rate"),
        ("hifigan", TypeError, "`mel` must be a dict of mel settings, got str"),
        ({"mel_type": "htk"}, ValueError, "`mel_type` must be one of hifigan, centered, got 'htk'"),
        ({"window_size": 2048}, ValueError, "`window_size` must be at least 1 and at most 1024, got 2048"),
        ({"high_frequency": 9000.0}, ValueError, "`high_frequency` must be .* at most 8000.0 Hz, got 9000.0"),
        ({"num_mel_bins": 80.0}, TypeError, "`num_mel_bins` must be a whole number, got 80.0"),
        ({"log_floor": 0}, ValueError, "`log_floor` must be above 0, got 0"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, error, message):
    with pytest.raises(error, match=message):
        MelSettings.from_dict(settings)
