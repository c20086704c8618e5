"""Clips, networks and scores of LTBS's toy claims, by hand, and all of it at a small size."""

import argparse
import importlib
import math
from pathlib import Path

import pytest
import torch

pytest.importorskip("espeakng_loader")

from avzoo import (
    LTBSForLipToSpeech,
    LTBSProcessor,
    SessionEmbeddingForXVector,
    SpeakerEncoderForXVector,
    SpeakerFeatureExtractor,
    toy_checkpoint,
)
from avzoo.toyworld.spoken_words import WORDS

LOADERS = (SessionEmbeddingForXVector.from_pretrained, SpeakerFeatureExtractor.from_pretrained)
EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def toy(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    return importlib.import_module("toy.ltbs")


@pytest.fixture
def spoken(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    return importlib.import_module("toy.spoken_clips")


@pytest.fixture
def data(spoken):
    """Clips of random numbers: eight of two voices."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(shape, generator=generator)

    clips = {
        "mouths": torch.randint(256, (8, 25, 36, 36), generator=generator, dtype=torch.uint8),
        "mel": 2 * draw(8, 100, 80) - 6,
        "units": torch.randint(50, (8, 25), generator=generator),
        "pitch": draw(8, 25),
        "energy": draw(8, 25),
        "voice_vectors": draw(8, 64),
        "voices": torch.tensor([0, 0, 0, 0, 2, 2, 2, 2]),
        "words": torch.arange(8),
    }
    mel = clips["mel"]
    return spoken.SpokenClips(
        {"train": clips, "strangers": clips}, mel.mean((0, 1)), mel.std((0, 1)), draw(50, 80), (1.0, 2.0)
    )


@pytest.fixture
def network(toy, data):
    return toy.make_network(data, seed=0).eval()


@pytest.fixture
def batch(spoken, data):
    torch.manual_seed(0)
    clips = spoken.TalkingMouths(data.splits["train"])
    return torch.utils.data.default_collate([clips[index] for index in range(4)])


# Clips.


def test_strangers_share_neither_voice_nor_face_with_training(spoken):
    assert not set(spoken.STRANGERS) & set(spoken.KNOWN)
    assert (len(spoken.STRANGERS), len(spoken.KNOWN)) == (12, 24)
    assert not {person % 96 for person in spoken.PEOPLE["strangers"]} & {
        person % 96 for person in spoken.PEOPLE["train"]
    }
    assert set(spoken.PEOPLE["known"]) == set(spoken.PEOPLE["train"])


def test_features_of_units_are_bins_and_twice_their_change(spoken):
    ramp = torch.arange(100.0)[None, :, None].expand(1, 100, 80)
    features = spoken.describe_sound(ramp)
    # Frames 4 to 7 are 5.5 on average and change by 1; the first has half of the change.
    assert features.shape == (1, 25, 80)
    assert features[0, 1, 0].item() == pytest.approx(5.5 + 2)
    assert features[0, 0, 0].item() == pytest.approx(1.5 + 2 * (0.5 + 1 + 1 + 1) / 4)


def test_a_voice_sample_is_of_other_clips_of_the_voice(spoken):
    voices = torch.tensor([5, 7, 5, 7, 5, 9, 5])
    found = spoken.find_others(voices, voices)
    assert found[0].tolist() == [2, 4, 6]
    assert found[4].tolist() == [6, 0, 2]
    assert found[1].tolist() == [3, 1, 3]  # two clips: its own is among them
    assert found[5].tolist() == [5, 5, 5]


def test_a_voice_sample_may_be_of_clips_of_another_set(spoken):
    found = spoken.find_others(torch.tensor([7, 5, 7]), torch.tensor([5, 5, 5, 7, 7, 7]))
    assert found.tolist() == [[4, 5, 3], [1, 2, 0], [5, 3, 4]]


def test_a_voice_is_described_by_the_encoder_that_ships(spoken):
    sounds = torch.randn(2, 8000, generator=torch.Generator().manual_seed(0)) * 0.1
    encoder, extract = (load(toy_checkpoint("session_embedding")) for load in LOADERS)
    inputs = extract([sounds[1].numpy()], sampling_rate=16000, return_tensors="pt")
    with torch.no_grad():
        wanted = encoder(**inputs).embeddings
    torch.testing.assert_close(spoken.describe_voices(sounds)[1:], wanted, rtol=1e-4, atol=1e-4)


def test_training_clips_have_a_voice_of_the_same_person(spoken, data):
    clips = spoken.TalkingMouths(data.splits["train"])
    vectors = data.splits["train"]["voice_vectors"]
    for index in range(8):
        own = clips[index]["speaker_embeddings"]
        row = int((vectors - own).abs().sum(1).argmin())
        assert row // 4 == index // 4
        assert clips[index]["pixel_values"].shape == (25, 32, 32)


def test_what_a_network_is_given_of_a_test_clip_is_what_the_processor_gives(spoken, data):
    clips = data.splits["train"]
    inputs = spoken.get_inputs(clips, slice(0, 2))
    made = data.make_processor()([clips["mouths"][0].numpy(), clips["mouths"][1].numpy()])
    assert torch.equal(inputs["pixel_values"], made.pixel_values)


def test_shares_of_words_and_lip_classes(spoken):
    heard = [WORDS.index(word) for word in ("bat", "mat", "fan", "go")]
    words = torch.tensor([WORDS.index(word) for word in ("bat", "bat", "bat", "go")])
    scores = torch.nn.functional.one_hot(torch.tensor(heard), len(WORDS)).float()
    assert spoken.recognize(lambda mel: scores, None, words) == pytest.approx((2 / 4, 3 / 4, 1 / 3))


# Networks.


def test_a_network_begins_near_the_mean_spectrogram(network, data):
    torch.testing.assert_close(network.ltbs.mel_projection.bias, data.mean)


@torch.no_grad()
def test_the_flow_of_a_new_network_reads_bins_as_if_they_were_normed(toy, network, data):
    torch.manual_seed(0)
    plain = LTBSForLipToSpeech(network.config)
    generator = torch.Generator().manual_seed(1)
    hidden, mel = torch.randn(1, 96, 6, generator=generator), data.splits["train"]["mel"][:1, :6]
    size = network.postnet.squeeze
    seen = network.postnet.condition_projection(size(torch.cat([hidden, mel.mT], dim=1)))
    wanted = plain.postnet.condition_projection(size(torch.cat([hidden, data.normalize(mel).mT], dim=1)))
    torch.testing.assert_close(seen, wanted, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_with_given_conditions_losses_are_the_networks_own(toy, network, batch):
    losses = toy.AcousticTraining(network, uses_conditions=True)(batch, num_given=4)
    wanted = network(**batch, return_dict=True).losses
    for name in ("mel", "units", "pitch", "energy"):
        torch.testing.assert_close(losses[name], wanted[name])
    total = wanted["mel"] + 0.2 * (wanted["units"] + wanted["pitch"] + wanted["energy"])
    torch.testing.assert_close(losses["loss"], total)


@torch.no_grad()
def test_clips_behind_those_given_have_predicted_conditions(toy, network, batch):
    losses = toy.AcousticTraining(network, uses_conditions=True)(batch, num_given=1)
    seen = {name: batch[name] for name in ("pixel_values", "speaker_embeddings")}
    told = {"units": batch["unit_labels"], "pitch": batch["pitch_labels"], "energy": batch["energy_labels"]}
    given = network.ltbs(**seen, **told, return_dict=True).mel_coarse[:1]
    predicted = network.ltbs(**seen, return_dict=True).mel_coarse[1:]
    torch.testing.assert_close(losses["mel"], (torch.cat([given, predicted]) - batch["mel_labels"]).abs().mean())


@torch.no_grad()
def test_without_conditions_the_spectrogram_depends_on_no_target(toy, network, batch):
    training = toy.AcousticTraining(network, uses_conditions=False)
    losses = training(batch, num_given=4)
    other = batch | {"unit_labels": (batch["unit_labels"] + 1) % 50, "pitch_labels": batch["pitch_labels"] + 1}
    assert training(other, num_given=4)["mel"] == losses["mel"] == losses["loss"]


def test_the_post_net_learns_behind_a_frozen_network_in_eval_mode(toy, network, batch):
    training = toy.PostNetTraining(network).train()
    assert not network.ltbs.training
    assert network.postnet.training
    loss = training(batch)
    loss.backward()
    assert all(step.norm.is_initialized for step in network.postnet.steps)
    assert all(parameter.grad is None for parameter in network.ltbs.parameters())
    assert network.postnet.condition_projection.direction.grad is not None


def test_a_shipped_network_fits_into_four_megabytes(toy, network):
    values = [*network.parameters(), *network.buffers()]
    assert 2 * sum(map(torch.numel, values)) < 3.6e6  # beside it lies the encoder of voices, of 0.3 MB


# Scores.


def test_likelihood_of_one_sigma_is_that_of_the_best_normal_distribution(toy):
    residual = torch.tensor([1.0, -1.0]).repeat(50)[None, :, None].expand(1, 100, 80)
    none = torch.zeros(1, 100, dtype=torch.bool)
    assert toy.gaussian_nll(residual, none) == pytest.approx(0.5 * math.log(2 * math.pi * math.e))


def test_two_sigmas_are_of_loud_and_of_quiet_frames(toy):
    residual = torch.tensor([1.0, -1.0]).repeat(50)[None, :, None].repeat(1, 1, 80)
    residual[:, :50] *= math.e
    loud = torch.arange(100)[None] < 50
    assert toy.gaussian_nll(residual, loud) == pytest.approx(0.5 * math.log(2 * math.pi * math.e) + 0.5)


def test_roughness_is_of_the_second_difference_over_bins_in_loud_frames(toy):
    mel = torch.zeros(1, 2, 80)
    mel[0, 0, ::2] = 1.0  # second differences of 2 and -2
    mel[0, 1] = 100 * torch.rand(80, generator=torch.Generator().manual_seed(0))  # quiet: left out
    loud = torch.tensor([[True, False]])
    assert toy.measure_roughness(mel, loud) == pytest.approx(4.0 * 78 / 77)


def test_the_loud_frames_are_above_the_middle(toy):
    mel = torch.full((1, 100, 80), -10.0)
    mel[:, 40:60] = 0.0
    assert toy.find_loud_frames(mel)[0].nonzero()[:, 0].tolist() == list(range(40, 60))


def test_two_spectra_occur_equally_often_and_the_condition_tells_nothing(toy):
    data = toy.TwoSpectra(4000, seed=0)
    assert data.choices.float().mean().item() == pytest.approx(0.5, abs=0.03)
    first, second = (data.conditions[data.choices == choice].mean(0) for choice in (0, 1))
    assert (first - second).abs().max() < 0.15
    assert torch.equal(data[0]["mel"], data.modes[data.choices[0]] + data.noise[0])


def test_a_claim_is_judged_by_the_mean_of_its_seeds(toy):
    claim = toy.Claim("error", lambda values: 0.0, at_least=0.2, at_most=0.4)
    assert claim.judge([0.1, 0.4]).startswith("holds")
    assert claim.judge([0.4, 0.5]).startswith("MISSED")
    assert claim.judge([0.1, 0.2]).startswith("MISSED")


@pytest.mark.slow
def test_the_claim_runs_at_a_small_size(toy, spoken, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(toy, "run_jobs", lambda run, jobs: [(job, run(job)) for job in jobs])  # here, with these sizes
    monkeypatch.setattr(spoken, "JUDGE_STEPS", 2)
    for name, size in {"ACOUSTIC_STEPS": 2, "POSTNET_STEPS": 2, "SPECTRA_STEPS": 2}.items():
        monkeypatch.setattr(toy, name, size)
    monkeypatch.setattr(
        toy, "render_clips", lambda seed: spoken.render_clips(seed, dict.fromkeys(spoken.PEOPLE, 36) | {"train": 96})
    )
    toy.show_claim(argparse.Namespace(output_dir=str(tmp_path), toy_seeds=[0]))
    printed = capsys.readouterr().out
    assert "coarse L1 lower by, conditions given" in printed
    network, processor = LTBSForLipToSpeech.from_pretrained(tmp_path), LTBSProcessor.from_pretrained(tmp_path)
    assert network.dtype == torch.float32
    assert (processor.crop_size, network.config.num_units) == (32, 50)
    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) < 4e6
    encoder = SpeakerEncoderForXVector.from_pretrained(tmp_path / "speaker_encoder")
    assert encoder.config.embedding_size == network.config.speaker_encoder_dim
    assert SpeakerFeatureExtractor.from_pretrained(tmp_path / "speaker_encoder").sampling_rate == 16000
    assert network.ltbs.mean_speaker.any()
    assert (tmp_path / "README.md").exists()
