"""Every speaker encoder: batches, masks, half precision, gradients, graphs, what is refused."""

import copy
import pickle

import pytest
import torch
from contract.tiny.entry import fill_weights
from huggingface_hub.errors import StrictDataclassError

from avzoo import SpeakerEncoderConfig, SpeakerEncoderForXVector

ECAPA = {"architecture": "ecapa_tdnn", "hidden_size": 16, "aggregation_size": 24, "squeeze_size": 4}
RESNET = {"stage_channels": (8, 8, 16, 16), "stage_depths": (1, 2, 1, 1)}
RAWNET = {"architecture": "rawnet3", "dialect": "voxceleb_trainer", "hidden_size": 16, "aggregation_size": 24}
SMALL = {"num_mel_bins": 24, "attention_size": 6, "embedding_size": 8, "num_sinc_filters": 16}
ENCODERS = {
    "ecapa speechbrain": {**ECAPA, "dialect": "speechbrain"},
    "ecapa wespeaker": {**ECAPA, "dialect": "wespeaker"},
    "ecapa wespeaker without context": {**ECAPA, "dialect": "wespeaker", "use_global_context": False},
    "ecapa disentangler": {**ECAPA, "dialect": "disentangler", "environment_size": 5},
    "rawnet3": RAWNET,
    "rawnet3 ASP": {**RAWNET, "attention_per_channel": False, "sinc_stride": 16},
    "resnetse34l": {
        **RESNET,
        "architecture": "resnetse34l",
        "dialect": "voxceleb_trainer",
        "pooling": "self_attention",
    },
    "resnetse34l ASP": {**RESNET, "architecture": "resnetse34l", "dialect": "voxceleb_trainer"},
    "resnetse34v2": {**RESNET, "architecture": "resnetse34v2", "dialect": "voxceleb_trainer"},
    "resnetse34v2 SAP": {
        **RESNET,
        "architecture": "resnetse34v2",
        "dialect": "voxceleb_trainer",
        "pooling": "self_attention",
        "use_log": False,
    },
    "resnetse34v2 disentangler": {
        **RESNET,
        "architecture": "resnetse34v2",
        "dialect": "disentangler",
        "environment_size": 5,
    },
    "resnet34": {**RESNET, "architecture": "resnet34", "dialect": "wespeaker", "pooling": "statistics"},
}
EVERY = pytest.mark.parametrize("name", list(ENCODERS))
ARCHITECTURES = pytest.mark.parametrize(
    "name", ["ecapa wespeaker", "ecapa disentangler", "rawnet3", "resnetse34l", "resnetse34v2", "resnet34"]
)


def make_encoder(name: str, **fields) -> SpeakerEncoderForXVector:
    """A small encoder whose every weight, bias and running statistic matters."""
    torch.manual_seed(0)
    model = SpeakerEncoderForXVector(SpeakerEncoderConfig(**{**SMALL, **ENCODERS[name], **fields}))
    frequencies = {key: value.clone() for key, value in model.named_parameters() if key.endswith("_hz")}
    fill_weights(model)
    with torch.no_grad():
        for key, value in model.named_parameters():
            if key in frequencies:
                value.copy_(frequencies[key])
        for key, value in model.named_buffers():
            if key.endswith("running_mean"):
                value.normal_(std=0.1)
            elif key.endswith("running_var"):
                value.uniform_(0.5, 1.5)
    return model.eval()


def make_recordings(*lengths: int) -> list[torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    return [0.1 * torch.randn(1, length, generator=draw) * torch.linspace(0.1, 1, length) for length in lengths]


def pad(recordings: list[torch.Tensor], value: float = 0.0) -> dict[str, torch.Tensor]:
    longest = max(recording.shape[1] for recording in recordings)
    rows = [
        torch.nn.functional.pad(recording, (0, longest - recording.shape[1]), value=value) for recording in recordings
    ]
    mask = torch.zeros(len(rows), longest, dtype=torch.long)
    for row, recording in zip(mask, recordings, strict=True):
        row[: recording.shape[1]] = 1
    return {"input_values": torch.cat(rows), "attention_mask": mask}


def distance(actual: torch.Tensor, expected: torch.Tensor) -> float:
    return float((actual - expected).norm() / expected.norm())


# --- batches ----------------------------------------------------------------------------------------------------------


@EVERY
@pytest.mark.parametrize("padding", [0.0, 3.0, torch.nan], ids=["zeros", "threes", "nan"])
@torch.no_grad()
def test_a_padded_batch_is_its_recordings(name, padding):
    """From the shortest length on, and for lengths around the edge of a frame; whatever stands in the padding."""
    model = make_encoder(name)
    shortest = model.config.shortest_samples
    recordings = make_recordings(8000, shortest, shortest + 1, 3999, 4000, 4001, 2560, 7999)
    batch = model(**pad(recordings, padding))
    for index, recording in enumerate(recordings):
        alone = model(recording)
        for field in ("embeddings", "pooled", "environment_codes"):
            if getattr(alone, field) is not None:
                # Of rounding alone: some processors sum a batch in another order than a single, which gives 2e-5.
                assert distance(batch[field][index], alone[field][0]) < 5e-5, (field, recording.shape)


@EVERY
@torch.no_grad()
def test_a_mask_of_ones_is_no_mask(name):
    model = make_encoder(name)
    recording = make_recordings(5000)[0]
    mask = torch.ones_like(recording)  # of floats, too
    torch.testing.assert_close(model(recording, mask).embeddings, model(recording).embeddings, rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_speechbrains_padding_reaches_the_convolutions_if_it_is_wanted():
    model = make_encoder("ecapa speechbrain", mask_padding=False)
    recordings = make_recordings(8000, 4000)
    batch = model(**pad(recordings)).embeddings
    assert distance(batch[0], model(recordings[0]).embeddings[0]) < 1e-5
    assert distance(batch[1], model(recordings[1]).embeddings[0]) > 1e-3
    model.config.mask_padding = True
    assert distance(model(**pad(recordings)).embeddings[1], model(recordings[1]).embeddings[0]) < 1e-5


# --- what is refused --------------------------------------------------------------------------------------------------


@ARCHITECTURES
def test_recordings_that_are_too_short_are_refused(name):
    model = make_encoder(name)
    shortest = model.config.shortest_samples
    with pytest.raises(ValueError, match=rf"`input_values` must be \(batch, samples\) of at least {shortest} samples"):
        model(torch.zeros(2, shortest - 1))
    mask = torch.ones(2, 4000)
    mask[1, shortest - 1 :] = 0
    with pytest.raises(ValueError, match=rf"has a recording of {shortest - 1} samples; at least {shortest}"):
        model(torch.zeros(2, 4000), mask)


@pytest.mark.parametrize("shape", [(4000,), (1, 1, 4000), (1, 80, 200)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match=r"`input_values` must be \(batch, samples\)"):
        make_encoder("resnetse34l")(torch.zeros(shape))


def test_a_mask_of_another_shape_or_with_holes_is_refused():
    model = make_encoder("resnetse34l")
    with pytest.raises(ValueError, match=r"`attention_mask` must be \(1, 4000\) as `input_values`, got \(1, 3999\)"):
        model(torch.zeros(1, 4000), torch.ones(1, 3999))
    mask = torch.ones(1, 4000)
    mask[0, 100] = 0
    with pytest.raises(ValueError, match="`attention_mask` must mark padding only at the end"):
        model(torch.zeros(1, 4000), mask)


def test_labels_without_a_head_are_refused():
    with pytest.raises(ValueError, match="`labels` need a classification head"):
        make_encoder("resnetse34l")(torch.zeros(1, 4000), labels=torch.tensor([0]))


@pytest.mark.parametrize("architecture", ["rawnet3", "resnetse34l", "resnet34"])
def test_a_dialect_that_an_architecture_has_none_of_is_refused(architecture):
    with pytest.raises(StrictDataclassError, match=f"`dialect` of {architecture} must be one of"):
        SpeakerEncoderConfig(architecture=architecture, dialect="speechbrain")


# --- silence, loudness ------------------------------------------------------------------------------------------------


@EVERY
@torch.no_grad()
def test_silence_has_a_finite_embedding(name):
    model = make_encoder(name)
    assert model(torch.zeros(1, model.config.shortest_samples)).embeddings.isfinite().all()


@EVERY
def test_gradients_of_silence_and_of_a_constant_are_finite(name):
    model = make_encoder(name)
    for value in (0.0, 0.25):
        recording = torch.full((1, 4000), value, requires_grad=True)
        model(recording).embeddings.sum().backward()
        assert recording.grad.isfinite().all()
        assert all(weight.grad.isfinite().all() for weight in model.parameters() if weight.grad is not None)
        model.zero_grad()


@EVERY
def test_gradients_of_silence_are_finite_in_float16(name):
    """All frames are alike, and floors of 1e-12 under their deviations are 0 in float16."""
    model = make_encoder(name)
    with torch.autocast("cpu", torch.float16):
        embeddings = model(torch.zeros(1, 4000)).embeddings
    embeddings.float().sum().backward()
    assert embeddings.isfinite().all()
    assert all(weight.grad.isfinite().all() for weight in model.parameters() if weight.grad is not None)


# --- precision --------------------------------------------------------------------------------------------------------


@EVERY
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bfloat16", "float16"])
@torch.no_grad()
def test_half_precision_is_near(name, dtype):
    """Also of weights that were made in it, and under autocast."""
    model = make_encoder(name)
    batch = pad(make_recordings(6000, 4000))
    expected = model(**batch).embeddings
    tolerance = 0.05 if dtype == torch.bfloat16 else 0.01
    with torch.autocast("cpu", dtype):
        assert distance(model(**batch).embeddings.float(), expected) < tolerance
    half = model.to(dtype)(**batch).embeddings
    assert half.dtype == dtype
    assert distance(half.float(), expected) < tolerance


@EVERY
@torch.no_grad()
def test_features_are_in_float32_under_autocast_and_in_half_precision(name):
    model, recording = make_encoder(name), make_recordings(4000)[0]
    expected, _ = model.compute_features(recording, None)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(model.compute_features(recording, None)[0], expected)
    if "rawnet3" not in name:  # two numbers that its features are made with are weights
        assert torch.equal(model.bfloat16().compute_features(recording, None)[0], expected)


@torch.no_grad()
def test_frequencies_of_rawnet3_stay_in_float32(tmp_path):
    """In bfloat16 a filter at 4000 Hz could only be moved by 16 Hz."""
    model = make_encoder("rawnet3")
    model.save_pretrained(tmp_path)
    for dtype in (torch.bfloat16, torch.float16):
        loaded = SpeakerEncoderForXVector.from_pretrained(tmp_path, dtype=dtype)
        for half in (loaded, copy.deepcopy(model).to(dtype), copy.deepcopy(model).type(dtype)):
            assert half.embedding.weight.dtype == dtype
            assert torch.equal(half.trunk.stem.low_hz, model.trunk.stem.low_hz)
            assert torch.equal(half.trunk.stem.band_hz, model.trunk.stem.band_hz)
        half.save_pretrained(tmp_path / str(dtype))
        again = SpeakerEncoderForXVector.from_pretrained(tmp_path / str(dtype))
        assert again.embedding.weight.dtype == dtype
        assert torch.equal(again.trunk.stem.low_hz, model.trunk.stem.low_hz)
    assert copy.deepcopy(model).double().trunk.stem.low_hz.dtype == torch.float64


# --- copies -----------------------------------------------------------------------------------------------------------


@ARCHITECTURES
@torch.no_grad()
def test_copies_compute_the_same(name, tmp_path):
    model, batch = make_encoder(name), pad(make_recordings(6000, 4000))
    expected = model(**batch).embeddings
    model.save_pretrained(tmp_path)
    loaded, report = SpeakerEncoderForXVector.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values()), report
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), loaded):
        torch.testing.assert_close(other(**batch).embeddings, expected, rtol=1e-5, atol=1e-6)


# --- training and graphs ----------------------------------------------------------------------------------------------


@ARCHITECTURES
def test_every_parameter_gets_a_gradient(name):
    model = make_encoder(name, classification_head="aam_softmax", num_labels=3).train()
    output = model(**pad(make_recordings(6000, 4000, 5000)), labels=torch.tensor([0, 1, 2]))
    (output.loss + (0 if output.environment_codes is None else output.environment_codes.sum())).backward()
    assert [key for key, weight in model.named_parameters() if weight.grad is None] == []
    missing = {key for key, weight in model.named_parameters() if not weight.grad.any()}
    # A softmax over frames does not see what is added to all scores; behind ReLU, one unit of two may be silent.
    assert {key for key in missing if "squeeze_excitation" not in key} <= {"pooling.score_conv2.bias"}


@pytest.mark.slow
@EVERY
@torch.no_grad()
def test_an_encoder_becomes_one_graph_with_a_mask(name):
    torch.compiler.reset()
    model, batch = make_encoder(name), pad(make_recordings(6000, 4000))
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    tolerance = {"rtol": 1e-3, "atol": 1e-4} if "rawnet" in name else {"rtol": 1e-4, "atol": 1e-5}
    torch.testing.assert_close(compiled(**batch).embeddings, model(**batch).embeddings, **tolerance)


@pytest.mark.slow
@EVERY
@torch.no_grad()
def test_an_exported_encoder_takes_other_batches_and_lengths(name):
    model, batch = make_encoder(name), pad(make_recordings(6000, 4000))
    axes = {0: torch.export.Dim.AUTO, 1: torch.export.Dim.AUTO}
    shapes = {"input_values": axes, "attention_mask": axes}
    program = torch.export.export(model, args=(), kwargs=batch, dynamic_shapes=shapes).module()
    tolerance = {"rtol": 1e-3, "atol": 1e-4} if "rawnet" in name else {"rtol": 1e-4, "atol": 1e-5}
    for other in (batch, pad(make_recordings(9001, 3000, 5555)), pad(make_recordings(2000, 1700))):
        torch.testing.assert_close(program(**other).embeddings, model(**other).embeddings, **tolerance)
