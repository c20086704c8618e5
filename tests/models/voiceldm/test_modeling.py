"""VoiceLDM's content encoder: sizes, durations, frames, padding, gradients, memory; its training loss and sound."""

import math

import numpy as np
import pytest
import torch
from contract.tiny import tiny_model
from diffusers import DDIMScheduler
from torch import nn
from transformers import SpeechT5Config
from transformers.models.speecht5.modeling_speecht5 import SpeechT5EncoderWithTextPrenet

from avzoo import VoiceLDMContentEncoder, VoiceLDMContentEncoderConfig, zoo
from avzoo.conversion.convert_voiceldm import CONTENT_KEYMAP
from avzoo.models.voiceldm import modeling_voiceldm
from avzoo.models.voiceldm.spectrograms import log_mel_spectrogram
from avzoo.models.voiceldm.training_voiceldm import denoising_loss

ROW = zoo.find_row("voiceldm")
SILENCE = math.log(1e-5)


def encoder(**overrides) -> VoiceLDMContentEncoder:
    return tiny_model(ROW, **overrides)


def texts(*lengths: int, seed: int = 0) -> dict[str, torch.Tensor]:
    """A padded batch of random characters."""
    generator = torch.Generator().manual_seed(seed)
    rows = [torch.randint(3, 20, (n,), generator=generator) for n in lengths]
    return {
        "input_ids": nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=1),
        "attention_mask": torch.tensor([[1] * n + [0] * (max(lengths) - n) for n in lengths]),
    }


class SetDurations(nn.Module):
    """In place of the predictor: durations that are given."""

    def __init__(self, durations: torch.Tensor):
        super().__init__()
        self.durations = durations

    def forward(self, hidden_states: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        return self.durations


def parameters_of(*modules: nn.Module) -> int:
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


# --- sizes ------------------------------------------------------------------------------------------------------------


def test_the_defaults_have_the_parameters_of_the_released_networks():
    """SpeechT5's text encoder has 85,138,689; duration predictor and upsampler together 6,540,487."""
    with torch.device("meta"):
        model = VoiceLDMContentEncoder(VoiceLDMContentEncoderConfig())
    assert parameters_of(model.text_encoder) == 85_138_689
    assert parameters_of(model.duration_predictor, model.upsampler) == 6_540_487
    assert parameters_of(model) == 85_138_689 + 6_540_487


@torch.no_grad()
@pytest.mark.parametrize("lengths", [(1,), (64,), (3, 1, 9)])
def test_texts_of_any_length_become_frames(lengths):
    outputs = encoder()(**texts(*lengths))
    batch, tokens = len(lengths), max(lengths)
    assert outputs.text_hidden_states.shape == (batch, tokens, 16)
    assert outputs.durations.shape == (batch, tokens)
    assert outputs.frames.shape == (batch, outputs.frame_lengths.max(), 16)
    assert outputs.frames.isfinite().all()


# --- the text encoder is SpeechT5's -----------------------------------------------------------------------------------


@torch.no_grad()
def test_the_text_encoder_computes_what_speecht5_does():
    """Longer than the distances it tells apart, and padded; told apart by every weight being drawn anew."""
    config = SpeechT5Config(
        vocab_size=20,
        hidden_size=16,
        encoder_layers=2,
        encoder_attention_heads=2,
        encoder_ffn_dim=24,
        encoder_max_relative_position=4,
        max_text_positions=64,
    )
    theirs, ours = SpeechT5EncoderWithTextPrenet(config).eval(), encoder()
    generator = torch.Generator().manual_seed(1)
    for name, parameter in theirs.named_parameters():
        drawn = torch.randn(parameter.shape, generator=generator)
        parameter.copy_(1 + 0.3 * drawn if name.endswith(("alpha", "norm.weight")) else 0.3 * drawn)
    weights = {f"text_encoder.encoder.{key}": value for key, value in theirs.state_dict().items()}
    wanted = {name: value.shape for name, value in ours.state_dict().items() if name.startswith("text_encoder.")}
    ours.load_state_dict(CONTENT_KEYMAP.apply(weights, wanted), strict=False)
    batch = texts(40, 3, 17)
    expected = theirs(batch["input_ids"], batch["attention_mask"]).last_hidden_state
    actual = ours.text_encoder(**batch)
    assert actual.std() > 0.3
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=2e-5)


@torch.no_grad()
def test_two_ways_to_attend_agree():
    batch, by_sdpa = texts(40, 3, 17), encoder()
    assert by_sdpa.config._attn_implementation == "sdpa"
    by_hand = encoder(attn_implementation="eager")
    by_hand.set_attn_implementation("eager")
    assert by_hand.config._attn_implementation == "eager"
    torch.testing.assert_close(by_hand(**batch).frames, by_sdpa(**batch).frames, rtol=1e-4, atol=1e-5)


# --- durations --------------------------------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize(("bias", "frames"), [(-100.0, 1.0), (-0.5, 1.0), (1.0, math.e), (100.0, math.exp(3.5))])
def test_a_token_lasts_from_1_to_33_frames_and_padding_none(bias, frames):
    model = encoder()
    model.duration_predictor.projection.weight.zero_()
    model.duration_predictor.projection.bias.fill_(bias)
    durations = model(**texts(4, 2)).durations
    expected = torch.tensor([[1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 0.0, 0.0]]) * frames
    torch.testing.assert_close(durations, expected)
    assert math.exp(3.5) == pytest.approx(33.115, abs=1e-3)


@torch.no_grad()
@pytest.mark.parametrize(
    ("durations", "frames"),
    [([1.0, 1.5], 2), ([1.0, 2.5], 4), ([2.0, 2.5], 4), ([1.0, 1.49], 2), ([1.0, 1.51], 3), ([30.0, 49.5], 80),
     ([30.0, 51.0], 80), ([30.0, 33.0], 63)],
)  # fmt: skip
def test_frames_are_rounded_half_to_even_and_cut(durations, frames):
    model = encoder()
    assert model.config.max_frames == 80
    model.duration_predictor = SetDurations(torch.tensor([durations]))
    outputs = model(**texts(2))
    assert outputs.frame_lengths.tolist() == [frames]
    assert outputs.frames.shape[1] == frames


@torch.no_grad()
def test_cutting_leaves_the_first_frames_as_they_are():
    durations = torch.full((1, 40), 3.0)
    model, longer = encoder(), encoder(max_frames=200)
    model.duration_predictor = longer.duration_predictor = SetDurations(durations)
    cut, whole = model(**texts(40)), longer(**texts(40))
    assert (cut.frames.shape[1], whole.frames.shape[1]) == (80, 120)
    torch.testing.assert_close(cut.frames, whole.frames[:, :80])


# --- frames and padding -----------------------------------------------------------------------------------------------


@torch.no_grad()
def test_after_a_text_comes_the_bias_of_the_last_layer():
    model = encoder()
    outputs = model(**texts(30, 3))
    length = int(outputs.frame_lengths[1])
    assert length < outputs.frames.shape[1]
    rest = outputs.frames[1, length:]
    torch.testing.assert_close(rest, model.upsampler.output_projection.bias.expand_as(rest))
    assert (outputs.frames[1, :length] - rest[0]).abs().amax(1).min() > 1e-3


@torch.no_grad()
def test_more_frames_can_be_asked_for_or_fewer():
    model, batch = encoder(), texts(20, 5)
    outputs = model(**batch)
    more, fewer = model(**batch, num_frames=80), model(**batch, num_frames=7)
    own = outputs.frames.shape[1]
    torch.testing.assert_close(more.frames[:, :own], outputs.frames)
    torch.testing.assert_close(fewer.frames, outputs.frames[:, :7])
    assert torch.equal(more.frame_lengths, outputs.frame_lengths)
    assert torch.equal(fewer.frame_lengths, outputs.frame_lengths)


@torch.no_grad()
def test_the_last_token_sees_the_padding_unless_told_otherwise():
    model, batch = encoder(), texts(12, 5)
    alone = model(batch["input_ids"][1:, :5])
    frames = int(alone.frame_lengths)
    as_alone = model(**batch, padded_lengths=torch.tensor([12, 5]))
    torch.testing.assert_close(as_alone.frames[1:, :frames], alone.frames, rtol=1e-4, atol=1e-5)
    as_padded = model(**batch)
    torch.testing.assert_close(as_padded.durations, as_alone.durations)  # durations never see it
    assert (as_padded.frames[1, :frames] - alone.frames[0]).abs().max() > 3e-4


@torch.no_grad()
def test_a_text_beside_longer_ones_can_be_what_it_is_beside_another():
    """As in a pair of content and null content; one more token of padding changes it, further ones do not."""
    model, three = encoder(), texts(25, 9, 4)
    pair = {name: value[1:, :9] for name, value in three.items()}
    expected = model(**pair)
    actual = model(**three, padded_lengths=torch.tensor([25, 9, 9]))
    width = expected.frames.shape[1]
    torch.testing.assert_close(actual.frames[1:, :width], expected.frames, rtol=1e-4, atol=1e-5)
    assert torch.equal(actual.frame_lengths[1:], expected.frame_lengths)


@torch.no_grad()
def test_what_padding_is_made_of_does_not_matter_to_durations():
    model, batch = encoder(), texts(12, 5)
    other = batch["input_ids"].where(batch["attention_mask"].bool(), 7)
    torch.testing.assert_close(model(other, batch["attention_mask"]).durations, model(**batch).durations)


@torch.no_grad()
def test_without_a_mask_every_token_counts():
    model, batch = encoder(), texts(12)
    assert torch.equal(model(batch["input_ids"]).frames, model(**batch).frames)


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "chunk_size"),
    [("QUERY_CHUNK_SIZE", 1), ("QUERY_CHUNK_SIZE", 7), ("FRAME_CHUNK_SIZE", 1), ("FRAME_CHUNK_SIZE", 9)],
)
def test_how_much_is_held_at_a_time_changes_no_number(monkeypatch, name, chunk_size):
    model, batch = encoder(), texts(40, 23)
    expected = model(**batch)
    assert expected.frames.shape[1] > 9
    monkeypatch.setattr(modeling_voiceldm, name, chunk_size)
    torch.testing.assert_close(model(**batch).to_tuple(), expected.to_tuple(), rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_half_precision_keeps_the_length_of_a_long_text():
    model = encoder(max_text_positions=400, max_frames=2000)
    batch = texts(400, 250)
    expected = model(**batch)
    halves = model.to(torch.bfloat16)(**batch)
    assert halves.durations.dtype == torch.float32
    assert halves.frames.dtype == torch.bfloat16
    assert expected.frame_lengths.min() > 250  # not all at the lower bound
    torch.testing.assert_close(halves.durations.sum(1), expected.durations.sum(1), rtol=0.01, atol=0)


# --- gradients --------------------------------------------------------------------------------------------------------


def test_durations_do_not_shape_the_text_encoder():
    model = encoder()
    model(**texts(12, 5)).durations.sum().backward()
    assert all(parameter.grad is None for parameter in model.text_encoder.parameters())
    assert all(parameter.grad.any() for parameter in model.duration_predictor.parameters())


def test_frames_teach_durations_and_text_by_separate_ways():
    """The text encoder's gradients are those that fixed durations give."""
    model, fixed, batch = encoder(), encoder(), texts(12, 5)
    outputs = model(**batch)
    fixed.duration_predictor = SetDurations(outputs.durations.detach())
    weights = torch.randn(outputs.frames.shape, generator=torch.Generator().manual_seed(0))
    (outputs.frames * weights).sum().backward()
    (fixed(**batch).frames * weights).sum().backward()
    assert all(parameter.grad.any() for parameter in model.duration_predictor.parameters())
    expected = {name: parameter.grad for name, parameter in fixed.text_encoder.named_parameters()}
    for name, parameter in model.text_encoder.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-4, atol=1e-5)
    assert any(gradient.any() for gradient in expected.values())


def test_the_text_encoder_has_no_dropout_and_the_rest_has():
    model, batch = encoder(upsampler_dropout=0.5), texts(12)
    model.train()
    first, second = model(**batch), model(**batch)
    assert torch.equal(first.text_hidden_states, second.text_hidden_states)
    assert not torch.equal(first.durations, second.durations)
    model.eval()
    assert torch.equal(model(**batch).frames, model(**batch).frames)


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            {"input_ids": torch.ones(5, dtype=torch.long)},
            r"`input_ids` must be \(batch, tokens\), not empty, .* got \(5,\)",
        ),
        ({"input_ids": torch.ones(1, 0, dtype=torch.long)}, r"with 1 to 64 tokens, got \(1, 0\)"),
        ({"input_ids": torch.ones(1, 65, dtype=torch.long)}, r"with 1 to 64 tokens, got \(1, 65\)"),
        (
            {"input_ids": torch.ones(2, 5, dtype=torch.long), "attention_mask": torch.ones(2, 4)},
            r"`attention_mask` must have the shape of `input_ids`, \(2, 5\), got \(2, 4\)",
        ),
    ],
)
def test_texts_of_a_wrong_shape_are_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        encoder()(**wrong)


# --- the training loss ------------------------------------------------------------------------------------------------


def scheduler(**changes) -> DDIMScheduler:
    return DDIMScheduler(beta_start=0.0015, beta_end=0.0195, beta_schedule="scaled_linear", **changes)


def alpha_bars() -> np.ndarray:
    return np.cumprod(1 - np.linspace(0.0015**0.5, 0.0195**0.5, 1000) ** 2)


def squares_by_hand() -> tuple[dict[str, torch.Tensor], list[float]]:
    """Two clips of one latent channel whose predictions are off by 1, -1, 1, -1 and by 3, 3, 0, 0."""
    noise = torch.randn(2, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    errors = torch.tensor([[[[1.0, -1.0], [1.0, -1.0]]], [[[3.0, 3.0], [0.0, 0.0]]]])
    latents = torch.randn(2, 1, 2, 2, generator=torch.Generator().manual_seed(1))
    return {"prediction": noise + errors, "latents": latents, "noise": noise, "timesteps": torch.tensor([20, 900])}, [
        1.0,
        4.5,
    ]


def test_the_loss_is_the_mean_square_of_the_noise_that_is_missed():
    inputs, squares = squares_by_hand()
    assert denoising_loss(**inputs, scheduler=scheduler()).item() == pytest.approx(sum(squares) / 2)


def test_less_is_asked_of_nearly_clean_latents():
    inputs, squares = squares_by_hand()
    snr = [alpha_bars()[t] / (1 - alpha_bars()[t]) for t in (20, 900)]
    assert snr[0] > 5 > snr[1]  # the first is held back, the second not
    expected = (squares[0] * 5 / snr[0] + squares[1]) / 2
    loss = denoising_loss(**inputs, scheduler=scheduler(), snr_gamma=5.0)
    assert loss.item() == pytest.approx(expected, rel=1e-4)


def test_the_velocity_is_asked_for_where_the_scheduler_predicts_it():
    inputs, squares = squares_by_hand()
    errors = inputs["prediction"] - inputs["noise"]
    bars = torch.tensor(alpha_bars()[[20, 900]], dtype=torch.float32).view(2, 1, 1, 1)
    velocity = bars.sqrt() * inputs["noise"] - (1 - bars).sqrt() * inputs["latents"]
    inputs["prediction"] = velocity + errors
    settings = {"scheduler": scheduler(prediction_type="v_prediction")}
    assert denoising_loss(**inputs, **settings).item() == pytest.approx(sum(squares) / 2, rel=1e-4)
    snr = [alpha_bars()[t] / (1 - alpha_bars()[t]) for t in (20, 900)]
    expected = (squares[0] * 5 / (snr[0] + 1) + squares[1] * snr[1] / (snr[1] + 1)) / 2
    loss = denoising_loss(**inputs, **settings, snr_gamma=5.0)
    assert loss.item() == pytest.approx(expected, rel=1e-4)


def test_half_precision_predictions_are_compared_in_single():
    inputs, squares = squares_by_hand()
    inputs["prediction"] = inputs["prediction"].to(torch.bfloat16)
    loss = denoising_loss(**inputs, scheduler=scheduler())
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(sum(squares) / 2, rel=0.02)


def test_a_scheduler_that_predicts_something_else_is_named():
    inputs, _ = squares_by_hand()
    with pytest.raises(ValueError, match=r"`prediction_type` must be one of epsilon, v_prediction, got 'sample'"):
        denoising_loss(**inputs, scheduler=scheduler(prediction_type="sample"))


# --- sound ------------------------------------------------------------------------------------------------------------


def tone(samples: int) -> torch.Tensor:
    return 0.5 * torch.sin(2 * math.pi * 1000 / 16000 * torch.arange(samples))


def test_a_short_recording_is_filled_up_with_silence():
    """The authors' 0 would be as loud as a tone of full scale."""
    spectrogram = log_mel_spectrogram(tone(3200), num_frames=50)
    assert spectrogram.shape == (50, 64)
    torch.testing.assert_close(spectrogram[:21], log_mel_spectrogram(tone(3200)))
    torch.testing.assert_close(spectrogram[21:], torch.full((29, 64), SILENCE))
    torch.testing.assert_close(log_mel_spectrogram(torch.zeros(3200)), torch.full((21, 64), SILENCE))


def test_a_long_recording_is_cut():
    whole = log_mel_spectrogram(tone(16000))
    assert whole.shape == (101, 64)
    assert torch.equal(log_mel_spectrogram(tone(16000), num_frames=100), whole[:100])


def test_recordings_of_a_batch_are_heard_each_by_itself():
    batch = torch.stack([tone(3200), torch.zeros(3200)])
    spectrograms = log_mel_spectrogram(batch, num_frames=30, num_mel_bins=32)
    assert spectrograms.shape == (2, 30, 32)
    for waveform, spectrogram in zip(batch, spectrograms, strict=True):
        torch.testing.assert_close(spectrogram, log_mel_spectrogram(waveform, 30, 32))


def test_what_is_louder_than_full_scale_is_clipped():
    loud = 10 * tone(3200)
    torch.testing.assert_close(log_mel_spectrogram(loud), log_mel_spectrogram(loud.clamp(-1, 1)))
    assert not torch.allclose(log_mel_spectrogram(loud), log_mel_spectrogram(tone(3200)) + math.log(10))
