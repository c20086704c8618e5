"""AVDiffuSS's networks: what they see and how, shapes, masks, gradients, folders, precision, what is refused."""

import itertools
import math

import numpy as np
import pytest
import torch
from contract.tiny import tiny_model
from contract.tiny.avdiffuss import NETWORK_SIZES
from contract.tiny.entry import fill_weights

from avzoo import AVDiffuSSModel, AVDiffuSSVisualEncoder, zoo
from avzoo.models.avdiffuss.fir_resampling import fir_downsample, fir_upsample
from avzoo.models.avdiffuss.modeling_avdiffuss import AVDiffuSSTimeEmbedding

ROW = zoo.find_row("avdiffuss")
CLOSE = {"rtol": 1e-4, "atol": 1e-5}
TIMES = {"num_spectrograms": 2, "time_conditioned": True}


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def network(**changes) -> AVDiffuSSModel:
    torch.manual_seed(0)
    model = AVDiffuSSModel(**{**NETWORK_SIZES, **changes}).eval()
    fill_weights(model)
    return model


def spectrograms(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.complex64, generator=seeded(seed))


def seen(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=seeded(100 + seed))


def clips(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(256, shape, dtype=torch.uint8, generator=seeded(seed))


# --- resampling -------------------------------------------------------------------------------------------------------


def by_hand(image: np.ndarray, up: bool) -> np.ndarray:
    """The formula, one output pixel after another. Zeros stand beyond the borders."""
    taps = np.array([1, 3, 3, 1]) / 8
    rows, columns = image.shape
    if up:  # zeros between the pixels, four times the weight
        spread = np.zeros((2 * rows, 2 * columns))
        spread[::2, ::2] = 4 * image
        padded, step = np.pad(spread, ((2, 1), (2, 1))), 1
        result = np.zeros((2 * rows, 2 * columns))
    else:
        padded, step = np.pad(image, 1), 2
        result = np.zeros((rows // 2, columns // 2))
    for row, column in np.ndindex(result.shape):
        for i, j in itertools.product(range(4), range(4)):
            result[row, column] += taps[i] * taps[j] * padded[step * row + i, step * column + j]
    return result


@pytest.mark.parametrize("up", [False, True])
def test_resampling_is_the_formula_channel_by_channel(up):
    images = torch.randn(2, 3, 6, 10, generator=seeded(0))
    actual = (fir_upsample if up else fir_downsample)(images)
    for item, channel in np.ndindex(2, 3):
        expected = by_hand(images[item, channel].double().numpy(), up)
        np.testing.assert_allclose(actual[item, channel], expected, rtol=1e-5, atol=1e-6)


def test_a_flat_picture_stays_flat_except_at_its_borders():
    for resample in (fir_upsample, fir_downsample):
        inside = resample(torch.ones(1, 1, 16, 16))[..., 2:-2, 2:-2]
        torch.testing.assert_close(inside, torch.ones_like(inside))


@pytest.mark.parametrize("resample", [fir_upsample, fir_downsample])
def test_resampling_keeps_its_precision_and_its_gradients(resample):
    images = torch.randn(1, 2, 4, 4, dtype=torch.float64, generator=seeded(0), requires_grad=True)
    if resample is fir_downsample:
        assert torch.autograd.gradcheck(resample, images)
    half = resample(images.detach().bfloat16())
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.double(), resample(images.detach()).double(), rtol=0.03, atol=0.03)


# --- the visual encoder -----------------------------------------------------------------------------------------------


@torch.no_grad()
def test_every_clip_is_encoded_by_itself():
    model, faces = tiny_model(ROW), clips(3, 7, 32, 32)
    together = model(faces).last_hidden_state
    assert together.shape == (3, 7, 8)
    for index in range(3):
        torch.testing.assert_close(
            together[index : index + 1], model(faces[index : index + 1]).last_hidden_state, **CLOSE
        )
    other = torch.cat([faces[:1], clips(2, 7, 32, 32, seed=1)])
    torch.testing.assert_close(model(other).last_hidden_state[0], together[0], **CLOSE)
    assert (together[1] - together[0]).abs().max() > 0.01


@torch.no_grad()
@pytest.mark.parametrize("frames", [1, 2, 5])
def test_what_stands_in_the_padding_changes_nothing(frames):
    model, faces = tiny_model(ROW), clips(1, 9, 32, 32)
    alone = model(faces[:, :frames]).last_hidden_state
    mask = torch.tensor([[1] * frames + [0] * (9 - frames)])
    for pictures in (faces, torch.cat([faces[:, :frames], torch.zeros_like(faces[:, frames:])], dim=1)):
        padded = model(pictures, mask).last_hidden_state
        torch.testing.assert_close(padded[:, :frames], alone, **CLOSE)
    if frames > 1:
        assert (model(faces).last_hidden_state[:, :frames] - alone).abs().max() > 0.01


@torch.no_grad()
def test_a_mask_of_ones_is_none():
    model, faces = tiny_model(ROW), clips(2, 5, 32, 32)
    expected = model(faces).last_hidden_state
    for mask in (torch.ones(2, 5), torch.ones(2, 5, dtype=torch.long), torch.ones(2, 5, dtype=torch.bool)):
        assert torch.equal(model(faces, mask).last_hidden_state, expected)


@torch.no_grad()
def test_pictures_of_bytes_and_of_numbers_are_the_same():
    model, faces = tiny_model(ROW), clips(1, 3, 32, 32)
    assert torch.equal(model(faces).last_hidden_state, model(faces.float()).last_hidden_state)


@torch.no_grad()
@pytest.mark.parametrize("side", [97, 112, 120, 128])
def test_pictures_of_as_many_steps_are_taken(side):
    model = tiny_model(ROW, frame_size=112)
    assert model(clips(1, 2, side, side)).last_hidden_state.shape == (1, 2, 8)


@torch.no_grad()
@pytest.mark.parametrize(
    "shape",
    [(1, 2, 96, 96), (1, 2, 129, 129), (1, 2, 112, 129), (1, 0, 112, 112), (0, 2, 112, 112), (2, 112, 112), (112,)],
)
def test_pictures_that_do_not_fit_are_named(shape):
    model = tiny_model(ROW, frame_size=112)
    with pytest.raises(
        ValueError,
        match=r"`pixel_values` must be \(batch, frames, 112, 112\) with at least one frame \(97 to 128 pixels work too",
    ):
        model(torch.zeros(shape))


@torch.no_grad()
def test_the_encoder_sees_the_order_of_frames():
    model, faces = tiny_model(ROW), clips(1, 9, 32, 32)
    backwards = model(faces.flip(1)).last_hidden_state.flip(1)
    assert (backwards - model(faces).last_hidden_state).abs().max() > 0.01


def test_the_encoder_has_the_authors_constants():
    model = tiny_model(ROW)
    assert (model.stem_norm.eps, model.stages[3].norm4.eps, model.temporal_layers[0].norm.eps) == (1e-3, 1e-3, 1e-5)
    assert (model.temporal_layers[0].clip_norm.eps, model.output_norm.eps) == (1e-8, 1e-5)
    assert (
        AVDiffuSSVisualEncoder.config_class().to_dict().items()
        >= {
            "hidden_size": 64,
            "num_temporal_layers": 5,
            "frame_size": 112,
            "pixel_mean": 0.4161,
            "pixel_std": 0.1688,
        }.items()
    )


# --- the spectrogram networks -----------------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("times", [False, True])
def test_one_spectrogram_comes_out_whatever_goes_in(count, times):
    model = network(num_spectrograms=count, time_conditioned=times)
    arguments = (spectrograms(2, count, 8, 6), 0.5 if times else None, seen(2, 5, 8))
    output = model(*arguments)
    assert output.sample.shape == (2, 1, 8, 6)
    assert output.sample.dtype == torch.complex64
    assert torch.equal(model(*arguments, return_dict=False)[0], output.sample)


@torch.no_grad()
def test_a_masked_frame_of_the_face_is_as_one_cut_off():
    model, sample, face = network(), spectrograms(2, 1, 8, 6), seen(2, 7, 8)
    mask = torch.tensor([[1] * 4 + [0] * 3, [1] * 7])
    masked = model(sample, None, face, mask).sample
    torch.testing.assert_close(masked[:1], model(sample[:1], None, face[:1, :4]).sample, **CLOSE)
    torch.testing.assert_close(masked[1:], model(sample[1:], None, face[1:]).sample, **CLOSE)
    assert torch.equal(model(sample, None, face, mask.bool()).sample, masked)
    assert (masked[0] - model(sample, None, face).sample[0]).abs().max() > 1e-3


@torch.no_grad()
def test_the_order_of_what_is_seen_says_nothing():
    """Frames carry no positions; time is what the visual encoder knows."""
    model, sample, face = network(), spectrograms(1, 1, 8, 6), seen(1, 7, 8)
    torch.testing.assert_close(model(sample, None, face.flip(1)).sample, model(sample, None, face).sample, **CLOSE)
    assert (model(sample, None, seen(1, 7, 8, seed=1)).sample - model(sample, None, face).sample).abs().max() > 1e-3


@torch.no_grad()
@pytest.mark.parametrize("sizes", [(0, 0), ()])
def test_a_network_without_a_face_needs_none(sizes):
    model, sample = network(cross_attention_sizes=sizes), spectrograms(1, 1, 8, 6)
    assert not any("fusion" in name for name, _ in model.named_parameters())
    expected = model(sample).sample
    assert expected.shape == (1, 1, 8, 6)
    assert torch.equal(model(sample, None, seen(1, 5, 8)).sample, expected)


@torch.no_grad()
@pytest.mark.parametrize(
    "changes",
    [
        {"layers_per_block": 2},
        {"num_fusion_layers": 2},
        {"channel_multipliers": (1, 4, 8), "cross_attention_sizes": (0, 16, 24)},
        {"channel_multipliers": (1, 4, 8), "cross_attention_sizes": (0, 0, 24), "layers_per_block": 3},
        {"channel_multipliers": (4,), "cross_attention_sizes": (8,)},
        {"base_channels": 4, "channel_multipliers": (1, 8)},
        {"channel_multipliers": [1, 4], "cross_attention_sizes": [0, 16]},
    ],
)
def test_networks_of_other_sizes_compute(changes):
    model = network(**changes, **TIMES)
    assert model(spectrograms(1, 2, 8, 12), 0.5, seen(1, 3, 8)).sample.isfinite().all()


def test_more_blocks_and_layers_are_there():
    model = network(layers_per_block=2, num_fusion_layers=3)
    assert [len(block.resnets) for block in model.down_blocks] == [2, 2]
    assert [len(block.resnets) for block in model.up_blocks] == [3, 3]
    assert [len(fusion.layers) for fusion in model.down_blocks[1].fusions] == [3, 3]


@torch.no_grad()
def test_the_output_is_divided_by_the_time_before_the_last_map():
    """With a network that does not feel the time otherwise."""
    model = network(**TIMES)
    model.time_embedding.linear2.weight.zero_()
    model.final_projection.bias.zero_()
    sample, face = spectrograms(1, 2, 8, 6), seen(1, 3, 8)
    torch.testing.assert_close(model(sample, 0.25, face).sample, 4 * model(sample, 1.0, face).sample, **CLOSE)
    model.final_projection.bias.fill_(1.0)
    at_quarter, at_one = (model(sample, time, face).sample - (1 + 1j) for time in (0.25, 1.0))
    torch.testing.assert_close(at_quarter, 4 * at_one, **CLOSE)


@torch.no_grad()
def test_a_time_for_all_is_one_for_each():
    model, sample, face = network(**TIMES), spectrograms(2, 2, 8, 6), seen(2, 3, 8)
    expected = model(sample, torch.tensor([0.3, 0.3]), face).sample
    for time in (0.3, torch.tensor(0.3), torch.tensor([0.3]), torch.tensor(0.3, dtype=torch.float64)):
        assert torch.equal(model(sample, time, face).sample, expected)


@torch.no_grad()
def test_waves_of_times_are_those_of_their_logarithm():
    embedding = network(**TIMES).time_embedding
    embedding.linear1.weight.copy_(torch.eye(32, 16))
    embedding.linear1.bias.zero_()
    kept = []
    embedding.linear2.register_forward_pre_hook(lambda module, args: kept.append(args[0]))
    embedding(torch.tensor([0.4]))
    angles = 2 * math.pi * math.log(0.4) * embedding.frequencies
    waves = torch.cat([angles.sin(), angles.cos()])
    torch.testing.assert_close(kept[0][0, :16], torch.nn.functional.silu(waves), rtol=1e-4, atol=1e-4)


# --- gradients --------------------------------------------------------------------------------------------------------


def gradients(model: AVDiffuSSModel) -> dict[str, torch.Tensor | None]:
    model.train().zero_grad()
    times = torch.tensor([0.2, 0.9]) if model.config.time_conditioned else None
    output = model(spectrograms(2, model.config.num_spectrograms, 8, 6), times, seen(2, 5, 8)).sample
    (output - spectrograms(2, 1, 8, 6, seed=1)).abs().square().sum().backward()
    return {name: parameter.grad for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("changes", [{}, {**TIMES, "layers_per_block": 2, "num_fusion_layers": 2}])
def test_every_parameter_gets_a_gradient(changes):
    for name, gradient in gradients(network(**changes)).items():
        assert gradient is not None, name
        assert gradient.isfinite().all(), name
        assert gradient.any(), name


def test_frequencies_are_drawn_once_and_never_learned():
    model = network(**TIMES, fourier_scale=16.0)
    assert "time_embedding.frequencies" in model.state_dict()
    assert "time_embedding.frequencies" not in dict(model.named_parameters())
    torch.manual_seed(0)
    assert float(AVDiffuSSTimeEmbedding(512, 16.0).frequencies.std()) == pytest.approx(16, rel=0.1)


def test_dropout_is_felt_in_training_only():
    model, sample, face = network(dropout=0.5), spectrograms(1, 1, 8, 6), seen(1, 3, 8)
    assert torch.equal(model(sample, None, face).sample, network()(sample, None, face).sample)
    torch.manual_seed(0)
    assert not torch.equal(model.train()(sample, None, face).sample, network()(sample, None, face).sample)


@torch.no_grad()
def test_a_new_network_begins_at_nearly_nothing():
    """So that training starts from silence: only the last bias is heard."""
    torch.manual_seed(0)
    model = AVDiffuSSModel(**NETWORK_SIZES)
    output = torch.view_as_real(model(spectrograms(1, 1, 8, 6), None, seen(1, 3, 8)).sample)
    torch.testing.assert_close(output, model.final_projection.bias.expand_as(output), rtol=0, atol=1e-2)


# --- folders and precision --------------------------------------------------------------------------------------------


@torch.no_grad()
def test_frequencies_stay_as_they_are_in_half_precision(tmp_path):
    model = network(**TIMES)
    frequencies = model.time_embedding.frequencies.clone()
    model.save_pretrained(tmp_path)
    half = AVDiffuSSModel.from_pretrained(tmp_path, torch_dtype=torch.bfloat16)
    for changed in (network(**TIMES).to(torch.bfloat16), network(**TIMES).half(), network(**TIMES).double(), half):
        assert changed.time_embedding.frequencies.dtype == torch.float32
        assert torch.equal(changed.time_embedding.frequencies, frequencies)
    assert (half.dtype, half.input_projection.weight.dtype) == (torch.bfloat16, torch.bfloat16)
    assert half.time_embedding.linear1.weight.dtype == half.final_projection.weight.dtype == torch.float32


@torch.no_grad()
@pytest.mark.parametrize("way", ["to", "from_pretrained"])
@pytest.mark.parametrize("changes", [{}, TIMES])
def test_half_precision_stays_finite_and_near(changes, way, tmp_path):
    model = network(**changes)
    arguments = (spectrograms(1, model.config.num_spectrograms, 8, 6), 0.4 if changes else None, seen(1, 3, 8))
    exact = model(*arguments).sample
    model.save_pretrained(tmp_path)
    loaded = AVDiffuSSModel.from_pretrained(tmp_path, torch_dtype=torch.bfloat16)
    half = (model.to(torch.bfloat16) if way == "to" else loaded)(*arguments).sample
    assert half.dtype == torch.complex64
    # 8 bits through twenty layers
    assert torch.linalg.vector_norm(half - exact) < 0.05 * torch.linalg.vector_norm(exact)


def test_a_network_without_storage_can_be_given_some():
    """What tools do that load weights piece by piece."""
    with torch.device("meta"):
        model = AVDiffuSSModel(**NETWORK_SIZES, **TIMES)
    model.to_empty(device="cpu")
    assert not any(tensor.is_meta for tensor in [*model.parameters(), *model.buffers()])


# --- what cannot work -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 2, 8, 6), r"must be \(batch, 1, bins, frames\), bins and frames multiples of 2; got \(1, 2, 8, 6\)"),
        ((1, 1, 7, 6), r"multiples of 2; got \(1, 1, 7, 6\). Append frames of zeros"),
        ((1, 1, 8, 5), r"multiples of 2; got \(1, 1, 8, 5\)"),
        ((1, 8, 6), r"got \(1, 8, 6\)"),
        ((1, 1, 8, 0), r"got \(1, 1, 8, 0\)"),
        ((0, 1, 8, 6), r"got \(0, 1, 8, 6\)"),
    ],
)
def test_spectrograms_that_do_not_fit_are_named(shape, message):
    with pytest.raises(ValueError, match=message):
        network()(spectrograms(*shape), None, seen(max(shape[0], 1), 3, 8))


def test_the_least_multiple_is_that_of_the_levels():
    model = network(channel_multipliers=(1, 4, 4, 4), cross_attention_sizes=(0, 16, 16, 16))
    with pytest.raises(ValueError, match="multiples of 8; got"):
        model(spectrograms(1, 1, 16, 12), None, seen(1, 3, 8))


def test_spectrograms_must_be_complex():
    with pytest.raises(TypeError, match=r"`sample` must be complex spectrograms, got torch.float32"):
        network()(torch.zeros(1, 1, 8, 6), None, seen(1, 3, 8))


@pytest.mark.parametrize(
    ("face", "got"),
    [(None, "None"), (seen(1, 3, 9), r"\(1, 3, 9\)"), (seen(2, 3, 8), r"\(2, 3, 8\)"), (seen(3, 8), r"\(3, 8\)")],
)
def test_a_face_that_does_not_fit_is_named(face, got):
    with pytest.raises(ValueError, match=rf"`encoder_hidden_states` must be \(1, visual frames, 8\) .* got {got}"):
        network()(spectrograms(1, 1, 8, 6), None, face)


def test_a_face_without_a_frame_is_refused():
    """There is nothing to attend to."""
    with pytest.raises(ValueError, match=r"`encoder_hidden_states` must be .* at least one frame, got \(1, 0, 8\)"):
        network()(spectrograms(1, 1, 8, 6), None, seen(1, 0, 8))


def test_a_mask_that_does_not_fit_is_named():
    with pytest.raises(ValueError, match=r"`encoder_attention_mask`"):
        network()(spectrograms(1, 1, 8, 6), None, seen(1, 3, 8), torch.ones(1, 4))


def test_times_are_needed_or_refused():
    with pytest.raises(ValueError, match=r"this network takes no `timestep`, got 0.5"):
        network()(spectrograms(1, 1, 8, 6), 0.5, seen(1, 3, 8))
    with pytest.raises(ValueError, match=r"this network needs `timestep`, got None"):
        network(**TIMES)(spectrograms(1, 2, 8, 6), None, seen(1, 3, 8))


def test_times_of_another_number_are_named():
    with pytest.raises(ValueError, match=r"`timestep`"):
        network(**TIMES)(spectrograms(1, 2, 8, 6), torch.tensor([0.1, 0.2, 0.3]), seen(1, 3, 8))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_spectrograms": 0}, r"`num_spectrograms` must be at least 1, got 0"),
        ({"base_channels": 0}, r"`base_channels` must be at least 1, got 0"),
        ({"layers_per_block": 0}, r"`layers_per_block` must be at least 1, got 0"),
        ({"num_fusion_layers": 0}, r"`num_fusion_layers` must be at least 1, got 0"),
        ({"channel_multipliers": ()}, r"`base_channels` times `channel_multipliers`.*got \[\]"),
        ({"base_channels": 6}, r"`base_channels` times `channel_multipliers` must be multiples of 4.*got \[6, 24\]"),
        ({"base_channels": 36}, r"above 128 of 32; got \[36, 144\]"),
        ({"cross_attention_sizes": (0, 16, 16)}, r"`cross_attention_sizes` must have 2 sizes, one for each level"),
        (
            {"cross_attention_sizes": (8, 16)},
            r"`cross_attention_sizes` must be 0 where.*no multiple of 32; a level has 8",
        ),
        ({"num_attention_heads": 0}, r"`num_attention_heads`"),
        ({"attention_head_dim": 0}, r"`attention_head_dim`"),
        ({"cross_attention_dim": 0}, r"`cross_attention_dim`"),
        ({"channel_multipliers": (1, 0), "cross_attention_sizes": (0, 0)}, r"`channel_multipliers`"),
        ({"cross_attention_sizes": (0, -16)}, r"`cross_attention_sizes`"),
        ({"dropout": 1.5}, r"dropout"),
    ],
)
def test_sizes_that_cannot_work_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        AVDiffuSSModel(**{**NETWORK_SIZES, **changes})
