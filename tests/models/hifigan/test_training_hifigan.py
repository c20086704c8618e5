"""HiFi-GAN's training network and its segments."""

import pytest
import torch
from safetensors.torch import save_file
from torch.nn.utils.parametrize import is_parametrized
from transformers import SpeechT5HifiGan

from avzoo.audio import MelSettings
from avzoo.models.hifigan import Discriminators
from avzoo.models.hifigan.training_hifigan import (
    VocoderSegments,
    VocoderTraining,
    cut_spectrogram,
    load_discriminators,
    measure_vocoder,
)
from avzoo.models.layers.vocoding import load_vocoder, make_hifigan_config

MEL = MelSettings(num_mel_bins=12)


def make_network(seed: int = 0) -> VocoderTraining:
    torch.manual_seed(seed)
    config = make_hifigan_config(MEL, "v2")
    config.upsample_initial_channel, config.initializer_range = 16, 0.3
    return VocoderTraining(SpeechT5HifiGan(config), Discriminators((2, 3), 2, divisor=64))


def make_batch(clips: int = 2, frames: int = 8) -> dict[str, torch.Tensor]:
    waveform = 0.3 * torch.randn(clips, frames * 160, generator=torch.Generator().manual_seed(0))
    return {"mel": MEL.compute(waveform), "waveform": waveform}


def list_gradients(module: torch.nn.Module) -> list[bool]:
    return [weight.grad is not None and bool(weight.grad.any()) for weight in module.parameters()]


def test_each_network_learns_from_its_own_loss_alone():
    network, batch = make_network(), make_batch()
    losses = network(**batch)
    losses["discriminator"].backward(retain_graph=True)
    assert not any(list_gradients(network.generator))
    assert all(list_gradients(network.discriminators))
    network.zero_grad()
    (losses["adversarial"] + losses["features"] + losses["mel"]).backward()
    assert all(list_gradients(network.generator))
    assert not any(list_gradients(network.discriminators))
    assert all(weight.requires_grad for weight in network.parameters())


def test_the_loss_is_the_weighted_sum():
    losses = make_network()(**make_batch())
    expected = losses["discriminator"] + losses["adversarial"] + 2 * losses["features"] + 45 * losses["mel"]
    torch.testing.assert_close(losses["loss"], expected)


def test_spectrograms_are_compared_up_to_half_the_rate():
    """A hiss above the generator's highest frequency counts."""
    network = make_network()
    silence = torch.zeros(1, 1600)
    hiss = 0.1 * torch.sin(2 * torch.pi * 7800 / 16000 * torch.arange(1600))[None]
    highest = (network.loss_mel.compute(hiss) - network.loss_mel.compute(silence)).abs().mean(1)[0].argmax()
    assert float(network.measure_mel_distance(hiss, silence)) > 0.1
    assert int(highest) == MEL.num_mel_bins - 1


@torch.no_grad()
def test_a_saved_vocoder_gives_what_the_trained_one_gave(tmp_path):
    network = make_network().eval()
    for weight in network.generator.parameters():  # the norms are none of the first weights any more
        weight.mul_(1 + 0.1 * torch.randn_like(weight))
    network.save_pretrained(tmp_path)
    vocoder, mel = load_vocoder(tmp_path, MEL), make_batch()["mel"]
    assert not any(is_parametrized(module) for module in vocoder.modules())
    expected = network.generator(mel)
    assert float(expected.std()) > 1e-3
    torch.testing.assert_close(vocoder(mel), expected, rtol=0, atol=1e-5)


def test_saved_discriminators_are_taken_up_again(tmp_path):
    network, other = make_network(), make_network(1)
    network.save_pretrained(tmp_path)
    assert load_discriminators(tmp_path, other.discriminators)
    for name, tensor in network.discriminators.state_dict().items():
        assert torch.equal(other.discriminators.state_dict()[name], tensor), name
    assert not load_discriminators(tmp_path / "discriminators", other.discriminators)
    with pytest.raises(ValueError, match="holds no discriminators of these sizes"):
        load_discriminators(tmp_path, Discriminators((2, 3), 2, divisor=32))


@pytest.mark.parametrize("mel_type", ["hifigan", "centered"])
@pytest.mark.parametrize("start", [0, 1, 17, 80, 92])
def test_a_cut_spectrogram_is_that_of_the_whole(mel_type, start):
    mel = MelSettings(mel_type=mel_type)
    waveform = 0.3 * torch.randn(16000 + 70, generator=torch.Generator().manual_seed(0))
    whole = mel.compute(waveform)[start : start + 8]
    torch.testing.assert_close(cut_spectrogram(waveform, mel, start, 8), whole, rtol=0, atol=1e-5)


def test_segments_are_cut_from_anywhere_and_short_recordings_filled():
    lengths = {"long": 16000, "short": 500}
    waveforms = {name: torch.linspace(-0.9, 0.9, length) for name, length in lengths.items()}
    rows = [{"name": name} for name in lengths]
    segments = VocoderSegments(rows, lambda row: waveforms[row["name"]], MEL, segment_frames=10)
    torch.manual_seed(0)
    starts = set()
    for _ in range(20):
        sample = segments[0]
        place = int((waveforms["long"] - sample["waveform"][0]).abs().argmin())
        assert torch.equal(sample["waveform"], waveforms["long"][place : place + 1600])
        assert place % 160 == 0
        starts.add(place // 160)
        whole = MEL.compute(waveforms["long"])[place // 160 : place // 160 + 10]
        torch.testing.assert_close(sample["mel"], whole, rtol=0, atol=1e-4)
    assert len(starts) > 10
    short = segments[1]
    assert (short["mel"].shape, short["waveform"].shape) == ((10, 12), (1600,))
    assert torch.equal(short["waveform"][:500], waveforms["short"])
    assert not short["waveform"][500:].any()


def test_given_spectrograms_are_cut_at_the_same_place(tmp_path):
    waveform = torch.linspace(-0.9, 0.9, 16000)
    save_file({"mel": torch.arange(98.0)[:, None].expand(98, 12).contiguous()}, tmp_path / "a.safetensors")
    rows = [{"name": "a", "mel": tmp_path / "a.safetensors"}]
    segments = VocoderSegments(rows, lambda row: waveform, MEL, segment_frames=10)
    for seed in range(10):
        torch.manual_seed(seed)
        sample = segments[0]
        start = int(sample["mel"][0, 0])
        assert torch.equal(sample["waveform"], waveform[160 * start : 160 * start + 1600])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"mel": torch.zeros(9, 11)}, r"must hold `mel` of \(frames, 12\), got \(9, 11\)"),
        ({"other": torch.zeros(9, 12)}, r"must hold `mel` of \(frames, 12\), got none"),
        ({"mel": torch.full((9, 12), torch.nan)}, "its `mel` has values that are NaN or infinite"),
    ],
)
def test_a_file_without_a_fitting_spectrogram_is_refused(content, message, tmp_path):
    save_file(content, tmp_path / "a.safetensors")
    rows = [{"name": "a", "mel": tmp_path / "a.safetensors"}]
    with pytest.raises(ValueError, match=message):
        VocoderSegments(rows, lambda row: torch.zeros(16000), MEL, segment_frames=10)[0]


def test_segments_that_are_too_short_are_refused():
    with pytest.raises(ValueError, match="`segment_frames` must be at least 4, got 3"):
        VocoderSegments([{"name": "a"}], lambda row: torch.zeros(1), MEL, segment_frames=3)


def test_what_is_measured_is_the_distance_of_whole_recordings():
    network = make_network().eval()
    waveform = 0.3 * torch.randn(4000, generator=torch.Generator().manual_seed(0))
    total, count = measure_vocoder(network, [{"name": "a"}, {"name": "b"}], lambda row: waveform)
    with torch.no_grad():
        made = network.generator(MEL.compute(waveform)[None])
        expected = (network.loss_mel.compute(made[0]) - network.loss_mel.compute(waveform[:4000])).abs().mean()
    assert (total / count, count) == (pytest.approx(float(expected), abs=1e-5), 2)
