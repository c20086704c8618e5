"""What LTBS refuses, and odd inputs that it takes: rows, factors and values that don't exist, one frame, half of it."""

import pytest
import torch
from contract.tiny.ltbs import FOR_SPEECH, make_inputs

from avzoo import LTBSConfig, LTBSForLipToSpeech
from avzoo.models.ltbs import FlowPostNet
from avzoo.models.ltbs.conformer import ConvolutionModule
from avzoo.models.ltbs.loss_ltbs import LTBSTargets, acoustic_losses
from avzoo.models.ltbs.modeling_ltbs import LTBSOutput


@pytest.fixture(scope="module")
def model() -> LTBSForLipToSpeech:
    torch.manual_seed(0)
    return LTBSForLipToSpeech(LTBSConfig(**FOR_SPEECH.config)).eval()


@pytest.mark.parametrize("row", [3, -1])
def test_a_row_that_the_table_does_not_have_is_refused(model, row):
    with pytest.raises(ValueError, match=rf"`speaker_ids` must be from 0 to 2, got {row}"):
        model(make_inputs([2])["pixel_values"], speaker_ids=torch.tensor([row]))


def test_rows_that_are_no_whole_numbers_are_refused(model):
    with pytest.raises(TypeError, match=r"`speaker_ids` must be whole numbers, rows of the table, got torch\.float32"):
        model(make_inputs([2])["pixel_values"], speaker_ids=torch.tensor([1.0]))


def test_a_unit_that_does_not_exist_is_refused_by_the_name_that_it_was_given(model):
    inputs, units = make_inputs([2]), torch.tensor([[0, 5]])
    with pytest.raises(ValueError, match=r"`units` must be class indices in \[0, 5\), or -100, got 5"):
        model.ltbs(**inputs, units=units)
    with pytest.raises(ValueError, match=r"`unit_labels` must be class indices in \[0, 5\), or -100, got 5"):
        model(**inputs, unit_labels=units)


@pytest.mark.parametrize("name", ["pitch_labels", "energy_labels"])
def test_prosody_that_is_no_number_is_refused(model, name):
    with pytest.raises(ValueError, match=f"`{name}` has values that are NaN or infinite"):
        model(**make_inputs([2]), **{name: torch.tensor([[0.0, torch.nan]])})


def test_embeddings_that_are_no_numbers_are_refused(model):
    with pytest.raises(ValueError, match="`speaker_embeddings` has values that are NaN or infinite"):
        model.generate(make_inputs([2])["pixel_values"], speaker_embeddings=torch.full((1, 4), torch.inf))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"noise_scale": -1.0}, "`noise_scale` must be at least 0, got -1"),
        ({"noise_scale": torch.nan}, "`noise_scale` must be at least 0, got nan"),
        ({"pitch_control": torch.nan}, "`pitch_control` must be finite, got nan"),
        ({"window_frames": 0}, "`window_frames` must be at least 1, got 0"),
    ],
)
def test_factors_and_windows_that_make_no_sense_are_refused(model, options, message):
    with pytest.raises(ValueError, match=message):
        model.generate(**make_inputs([2]), **options)


@pytest.mark.parametrize("shape", [(2, 3), (0, 4, 32, 32), (1, 0, 32, 32)])
def test_pixels_of_another_shape_are_refused_before_anything_is_drawn(model, shape):
    with pytest.raises(ValueError, match=r"`pixel_values` must be \(clips, frames, rows, columns\), got"):
        model.generate(torch.zeros(shape), speaker_ids=torch.zeros(shape[0], dtype=torch.long), window_frames=2)


def test_a_factor_may_be_a_tensor_where_a_clip_goes_in_windows(model):
    windows = {"noise_scale": 0, "window_frames": 3, "overlap_frames": 1}
    made = model.generate(**make_inputs([5]), **windows, pitch_control=torch.tensor(0.5))
    torch.testing.assert_close(made.mel, model.generate(**make_inputs([5]), **windows, pitch_control=0.5).mel)


def test_sound_has_the_length_that_is_told_where_a_vocoder_makes_fewer_samples(model):
    waveforms, lengths = model.generate(**make_inputs([2]), vocoder=lambda mel: torch.ones(1, 160 * mel.shape[1] - 3))
    assert (waveforms.shape, lengths.tolist()) == ((1, 1280), [1280])
    assert (waveforms[0, :1277] == 1).all()
    assert (waveforms[0, 1277:] == 0).all()


def test_a_vocoder_that_makes_something_else_is_refused(model):
    with pytest.raises(ValueError, match=r"`vocoder` must make \(clips, samples\) of \(1, 8, 8\), got \(1, 1, 1280\)"):
        model.generate(**make_inputs([2]), vocoder=lambda mel: torch.zeros(1, 1, 1280))


def test_frames_that_none_of_the_units_is_known_of_cost_nothing():
    logits, silence = torch.randn(1, 2, 5, requires_grad=True), torch.zeros(1, 2)
    output = LTBSOutput(mel_coarse=torch.zeros(1, 8, 8), unit_logits=logits, pitch=silence, energy=silence)
    targets = LTBSTargets(torch.full((1, 2), -100), silence, silence, torch.zeros(1, 8, 8))
    assert acoustic_losses(output, targets, LTBSConfig(**FOR_SPEECH.config))["units"] == 0


def test_a_batch_of_one_frame_is_trained_with_the_running_variance():
    torch.manual_seed(0)
    module, frame = ConvolutionModule(LTBSConfig(**FOR_SPEECH.config)), torch.randn(1, 1, 8)
    expected = module.eval()(frame, None)
    torch.testing.assert_close(module.train()(frame, None), expected)


# The flow by itself.


def make_flow(**options) -> FlowPostNet:
    torch.manual_seed(0)
    flow = FlowPostNet(4, 3, hidden_size=4, num_steps=2, num_layers=1, **options).eval()
    for step in flow.steps:
        torch.nn.init.normal_(step.coupling.end.weight)
    return flow


def test_a_frame_that_lacks_its_other_is_dropped_also_where_it_is_the_only_one():
    latent, log_determinant = make_flow()(torch.randn(2, 4, 1), torch.ones(2, 1, 1), torch.randn(2, 3, 1))
    assert torch.equal(latent, torch.zeros(2, 4, 1))
    assert torch.equal(log_determinant, torch.zeros(2))


def test_a_frame_that_lacks_its_other_is_kept_where_clips_are_padded():
    flow, mask, condition = make_flow(odd_length="pad"), torch.ones(1, 1, 4), torch.randn(1, 3, 4)
    mel = torch.randn(1, 4, 4)
    mel[..., 3], condition[..., 3] = 0, 0
    whole = flow(mel, mask, condition)
    odd = flow(mel[..., :3], mask[..., :3], condition[..., :3])
    torch.testing.assert_close(odd[0], whole[0][..., :3])
    torch.testing.assert_close(odd[1], whole[1])


def test_the_flow_is_computed_as_its_weights_are_under_autocast():
    flow, mask, condition = make_flow(), torch.ones(1, 1, 6), torch.randn(1, 3, 6)
    latent, log_determinant = flow(mel := torch.randn(1, 4, 6), mask, condition)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = flow(mel, mask, condition)
    assert torch.equal(found[0], latent)
    assert torch.equal(found[1], log_determinant)


def test_frames_that_the_flow_would_drop_are_refused_by_the_config():
    with pytest.raises(Exception, match=r"`upsample_factor` \(4\) must be a multiple of `postnet_squeeze` \(3\)"):
        LTBSConfig(**FOR_SPEECH.config | {"postnet_squeeze": 3})
