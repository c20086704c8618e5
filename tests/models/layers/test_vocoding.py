"""Vocoders that are plugged in: chunks equal the whole, and one of other spectrograms is refused."""

import pytest
import torch
from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

from avzoo.audio import MelSettings
from avzoo.models.layers.griffin_lim_vocoder import GriffinLimVocoder, GriffinLimVocoderConfig
from avzoo.models.layers.vocoding import (
    check_vocoder,
    load_vocoder,
    make_hifigan_config,
    read_mel_settings,
    vocode,
    vocoder_context,
    vocoder_samples,
)

V1_16KHZ = {"upsample_rates": [5, 4, 4, 2], "upsample_kernel_sizes": [11, 8, 8, 4], "normalize_before": False}


def config(**changes) -> SpeechT5HifiGanConfig:
    fields = {"upsample_initial_channel": 32, "mel_settings": MelSettings().to_dict(), **V1_16KHZ}
    return SpeechT5HifiGanConfig(**{**fields, **changes})


@torch.no_grad()
def test_chunks_of_the_16_khz_vocoder_equal_the_whole():
    torch.manual_seed(0)
    vocoder = SpeechT5HifiGan(config()).eval()
    for weight in vocoder.parameters():
        weight.normal_(std=weight[0].numel() ** -0.5 if weight.ndim > 1 else 0.1)
    spectrogram = torch.randn(2, 100, 80)
    whole = vocoder(spectrogram)
    assert whole.shape == (2, 16000) == (2, vocoder_samples(vocoder.config, 100))
    assert whole.std() > 0.01
    for chunk_length in (1, 33, 99, 100):
        torch.testing.assert_close(vocode(vocoder, spectrogram, chunk_length), whole, rtol=0, atol=1e-5)


def test_a_sample_depends_on_some_twenty_frames_to_each_side():
    assert 18 <= vocoder_context(config()) <= 24


def test_a_vocoder_of_the_same_spectrograms_is_taken():
    check_vocoder(config(), MelSettings())
    own = {"model_in_dim": 80, "window_size": 640, "low_frequency": 55, "high_frequency": 7500, "mel_type": "hifigan"}
    check_vocoder(GriffinLimVocoderConfig(**own), MelSettings())


def test_a_vocoder_of_another_rate_is_refused_by_its_settings():
    universal = MelSettings(
        sampling_rate=22050, window_size=1024, hop_size=256, low_frequency=0.0, high_frequency=8000.0
    )
    other = config(
        upsample_rates=[8, 8, 2, 2],
        upsample_kernel_sizes=[16, 16, 4, 4],
        sampling_rate=22050,
        mel_settings=universal.to_dict(),
    )
    message = r"`vocoder` was trained on other spectrograms .*sampling_rate: 22050, 16000; .*hop_size: 256, 160"
    with pytest.raises(ValueError, match=message):
        check_vocoder(other, MelSettings())


def test_a_vocoder_of_the_same_rate_and_another_mel_is_refused():
    message = r"other spectrograms .*\(mel_type: hifigan, centered; the vocoder's first\)"
    with pytest.raises(ValueError, match=message):
        check_vocoder(config(), MelSettings("centered"))


def test_a_vocoder_that_does_not_tell_its_spectrograms_is_refused():
    with pytest.raises(
        ValueError, match=r"`my`: .*does not tell which spectrograms.*set `vocoder.config.mel_settings`"
    ):
        check_vocoder(SpeechT5HifiGanConfig(**V1_16KHZ), MelSettings(), name="my")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sampling_rate": 24000}, "its network has `sampling_rate` 24000, its `mel_settings` say 16000"),
        ({"model_in_dim": 64}, "`num_mel_bins` 64, its `mel_settings` say 80"),
        ({"upsample_rates": [5, 4, 4, 4]}, "`hop_size` 320, its `mel_settings` say 160"),
    ],
)
def test_a_config_that_contradicts_itself_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        read_mel_settings(config(**changes))


def count_weights(size: str) -> int:
    """With weight norm."""
    config = make_hifigan_config(MelSettings(), size)
    check_vocoder(config, MelSettings())
    with torch.device("meta"):
        vocoder = SpeechT5HifiGan(config)
        vocoder.apply_weight_norm()
    return sum(weight.numel() for weight in vocoder.parameters())


def test_a_config_for_the_16_khz_mel_has_the_sizes_of_the_generator():
    assert count_weights("v1") == 13_051_394
    assert 14 < count_weights("v1") / count_weights("v2") < 16  # but for the first convolution and lengths, 16


def test_a_config_for_the_authors_mel_has_their_rates():
    mel = MelSettings(sampling_rate=22050, window_size=1024, hop_size=256, low_frequency=0.0, high_frequency=8000.0)
    assert make_hifigan_config(mel).upsample_rates == [8, 8, 2, 2]
    with pytest.raises(ValueError, match="`mel` has 200 samples a frame, rates are known for 256, 160"):
        make_hifigan_config(MelSettings(hop_size=200))
    with pytest.raises(ValueError, match="`size` must be one of v1, v2, got 'v3'"):
        make_hifigan_config(mel, "v3")


@pytest.mark.parametrize(
    "vocoder",
    [
        lambda: SpeechT5HifiGan(config()),
        lambda: GriffinLimVocoder(
            GriffinLimVocoderConfig(
                model_in_dim=80, window_size=640, low_frequency=55, high_frequency=7500, mel_type="hifigan"
            )
        ),
    ],
    ids=["hifigan", "griffin_lim"],
)
def test_a_saved_vocoder_is_loaded_by_its_kind_and_checked(vocoder, tmp_path):
    saved = vocoder()
    saved.save_pretrained(tmp_path)
    loaded = load_vocoder(tmp_path, MelSettings())
    assert type(loaded) is type(saved)
    assert not loaded.training
    torch.testing.assert_close(dict(loaded.state_dict()), dict(saved.state_dict()), rtol=0, atol=0)
    with pytest.raises(ValueError, match=r"was trained on other spectrograms .*mel_type: hifigan, centered"):
        load_vocoder(tmp_path, MelSettings("centered"))


def test_folders_that_hold_no_whole_vocoder_are_refused(tmp_path):
    weights = {name: value for name, value in SpeechT5HifiGan(config()).state_dict().items() if "conv_pre" not in name}
    SpeechT5HifiGan(config()).save_pretrained(tmp_path / "half", state_dict=weights)
    with pytest.raises(ValueError, match=r"lacks 2 weights of a vocoder, the first is conv_pre.bias"):
        load_vocoder(tmp_path / "half")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text('{"model_type": "hubert"}')
    with pytest.raises(
        ValueError, match=r"holds no vocoder: the `model_type` of its config.json is 'hubert', expected"
    ):
        load_vocoder(tmp_path / "other")
    (tmp_path / "empty").mkdir()
    with pytest.raises(OSError, match=r"empty` holds no vocoder: it has no config.json"):
        load_vocoder(tmp_path / "empty")
    with pytest.raises(OSError, match="nowhere"):
        load_vocoder(tmp_path / "nowhere")
