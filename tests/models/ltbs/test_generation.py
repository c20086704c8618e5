"""What LTBS generates: long clips in windows, sound of clips of several lengths, and who is heard."""

import pytest
import torch
from contract.tiny.ltbs import FOR_SPEECH, make_inputs

from avzoo import LTBSConfig, LTBSForLipToSpeech
from avzoo.models.layers.griffin_lim_vocoder import GriffinLimVocoder, GriffinLimVocoderConfig
from avzoo.models.ltbs.windows_ltbs import join_windows, lay_windows


def make_model(**fields) -> LTBSForLipToSpeech:
    torch.manual_seed(0)
    model = LTBSForLipToSpeech(LTBSConfig(**FOR_SPEECH.config | fields)).eval()
    with torch.no_grad():  # a flow begins as the identity
        for step in model.postnet.steps:
            torch.nn.init.normal_(step.coupling.end.weight, std=0.1)
    return model


@pytest.fixture(scope="module")
def model() -> LTBSForLipToSpeech:
    return make_model()


@pytest.mark.parametrize(
    ("frames", "starts"), [(10, [0]), (11, [0, 1]), (17, [0, 7]), (18, [0, 4, 8]), (24, [0, 7, 14])]
)
def test_windows_of_ten_frames_share_three_at_least(frames, starts):
    assert lay_windows(frames, 10, 3) == starts


def test_where_windows_share_frames_one_fades_into_the_next():
    first, second = torch.zeros(1, 4, 1), torch.full((1, 4, 1), 3.0)
    joined = join_windows([first, second], [0, 2], overlap=2)
    torch.testing.assert_close(joined[0, :, 0], torch.tensor([0.0, 0.0, 1.0, 2.0, 3.0, 3.0]))


def test_windows_of_equal_values_join_to_them_wherever_they_lie():
    pieces = [torch.ones(2, 10, 3)] * 4
    torch.testing.assert_close(join_windows(pieces, [0, 6, 9, 15], overlap=3), torch.ones(2, 25, 3))


def test_a_clip_as_long_as_a_window_is_made_as_a_whole(model):
    inputs = make_inputs([9])
    whole = model.generate(**inputs, noise_scale=0, window_frames=None)
    windowed = model.generate(**inputs, noise_scale=0, window_frames=9, overlap_frames=2)
    assert torch.equal(whole.mel, windowed.mel)


def test_far_from_their_edges_windows_hear_the_same_noise_as_the_whole_clip(model):
    """Flow alone: with its condition and its mean the same, a window's inside depends on the noise there."""
    inputs, noise = make_inputs([40]), torch.randn(1, 160, 8, generator=torch.Generator().manual_seed(1))
    options = {"noise": noise, "noise_scale": 1.0}
    whole = model.generate(**inputs, **options, window_frames=None).mel
    windowed = model.generate(**inputs, **options, window_frames=24, overlap_frames=8).mel
    other = model.generate(**inputs, noise=noise.roll(4, dims=1), noise_scale=1.0, window_frames=None).mel
    assert windowed.shape == whole.shape
    assert (windowed - whole).abs().mean() < 0.1 * (other - whole).abs().mean()


def test_in_windows_a_clip_gets_in_a_batch_what_it_gets_alone(model):
    options = {"noise_scale": 0, "window_frames": 6, "overlap_frames": 2}
    together = model.generate(**make_inputs([15, 9]), **options)
    alone = model.generate(**make_inputs([9], first=1), **options)
    torch.testing.assert_close(together.mel[1, :36], alone.mel[0])
    torch.testing.assert_close(together.units[1, :9], alone.units[0])
    assert (together.units[1, 9:] == -100).all()
    assert (together.mel[1, 36:] == 0).all()


def test_given_units_pitch_and_energy_are_cut_with_their_windows(model):
    inputs, draw = make_inputs([15]), torch.Generator().manual_seed(2)
    given = {"units": torch.arange(15)[None] % 5, "pitch": torch.randn(1, 15, generator=draw)}
    options = {"noise_scale": 0, "window_frames": 15, "overlap_frames": 0}
    made = model.generate(**inputs, **given, **options | {"window_frames": 8})
    assert torch.equal(made.units, given["units"])
    second = make_inputs([15])["pixel_values"][:, 7:]
    speaker = {"speaker_ids": inputs["speaker_ids"]}
    last = model.generate(second, **speaker, **{name: value[:, 7:] for name, value in given.items()}, **options)
    torch.testing.assert_close(made.mel[:, 4 * 8 :], last.mel[:, 4:])


@pytest.mark.parametrize("overlap", [-1, 8])
def test_an_overlap_that_a_window_does_not_have_is_refused(model, overlap):
    with pytest.raises(ValueError, match=r"`overlap_frames` must be from 0 to less than `window_frames` \(8\)"):
        model.generate(**make_inputs([9]), window_frames=8, overlap_frames=overlap)


@pytest.mark.parametrize("name", ["noise", "pitch", "energy"])
def test_values_that_are_no_numbers_are_refused(model, name):
    shape = (1, 36, 8) if name == "noise" else (1, 9)
    with pytest.raises(ValueError, match=f"`{name}` has values that are NaN or infinite"):
        model.generate(**make_inputs([9]), **{name: torch.full(shape, torch.nan)})


def test_a_shorter_clip_sounds_in_a_batch_as_it_does_alone(model):
    config = GriffinLimVocoderConfig(model_in_dim=8, num_iterations=2, mel_type="hifigan", high_frequency=7500.0)
    vocoder = GriffinLimVocoder(config)
    options = {"noise_scale": 0, "vocoder": vocoder}
    together, lengths = model.generate(**make_inputs([9, 5]), **options)
    alone, _ = model.generate(**make_inputs([5], first=1), **options)
    assert together.shape == (2, 9 * 640)
    assert lengths.tolist() == [9 * 640, 5 * 640]
    torch.testing.assert_close(together[1, : 5 * 640], alone[0], atol=1e-4, rtol=1e-4)
    assert (together[1, 5 * 640 :] == 0).all()


# Speakers.

EMBEDDED = {"speaker_conditioning": "embedding", "speaker_encoder_dim": 6}


def test_vectors_of_another_width_are_projected():
    model, inputs = make_model(**EMBEDDED), make_inputs([5])
    del inputs["speaker_ids"]
    draw = torch.Generator().manual_seed(0)
    first, second = (model(**inputs, speaker_embeddings=torch.randn(1, 6, generator=draw)).mel for _ in range(2))
    assert not torch.allclose(first, second)
    with pytest.raises(ValueError, match=r"`speaker_embeddings` must be \(1, 6\), got \(1, 4\)"):
        model(**inputs, speaker_embeddings=torch.zeros(1, 4))


def test_how_long_a_speakers_vector_is_does_not_matter():
    model, inputs = make_model(**EMBEDDED), make_inputs([5])
    del inputs["speaker_ids"]
    vector = torch.randn(1, 6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        model(**inputs, speaker_embeddings=vector).mel, model(**inputs, speaker_embeddings=7 * vector).mel
    )


def test_without_a_speaker_the_mean_one_of_training_is_heard(tmp_path):
    model, inputs = make_model(**EMBEDDED), make_inputs([5])
    del inputs["speaker_ids"]
    with pytest.raises(ValueError, match="this network keeps no mean speaker of its training"):
        model(**inputs)
    model.ltbs.mean_speaker.copy_(torch.arange(6.0))
    model.save_pretrained(tmp_path)
    loaded = LTBSForLipToSpeech.from_pretrained(tmp_path).eval()
    given = model(**inputs, speaker_embeddings=torch.arange(6.0)[None]).mel
    torch.testing.assert_close(loaded(**inputs).mel, given)


def test_a_network_with_a_table_asks_for_a_row_of_it(model):
    inputs = make_inputs([5])
    del inputs["speaker_ids"]
    with pytest.raises(ValueError, match="Give `speaker_ids`, rows of this network's table"):
        model(**inputs)
