"""The session network on a frozen encoder: what training leaves alone, sources, encoders of transformers."""

import copy
import pickle

import pytest
import torch
from contract.tiny.session_embedding import ENCODER
from huggingface_hub.errors import StrictDataclassError
from transformers import Wav2Vec2Config, Wav2Vec2ForXVector, WavLMConfig, WavLMForXVector

from avzoo import (
    SessionEmbeddingConfig,
    SessionEmbeddingForXVector,
    SpeakerEncoderConfig,
    SpeakerEncoderForXVector,
)

SAME = {"rtol": 0, "atol": 0}
IDS = {"speaker_ids": torch.tensor([0, 0, 0, 0]), "session_ids": torch.tensor([0, 0, 1, 1])}
SMALL_HEAD = {"session_hidden_size": 12, "session_embedding_size": 7}


def make_encoder(**fields) -> SpeakerEncoderForXVector:
    torch.manual_seed(0)
    return SpeakerEncoderForXVector(SpeakerEncoderConfig(**{**ENCODER, "classification_head": "none", **fields})).eval()


def make_model(**fields) -> SessionEmbeddingForXVector:
    return SessionEmbeddingForXVector.from_encoder(make_encoder(), **{**SMALL_HEAD, **fields})


def make_batch(samples: int = 4000, count: int = 4) -> torch.Tensor:
    return 0.1 * torch.randn(count, samples, generator=torch.Generator().manual_seed(0))


def remember(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def is_unchanged(module: torch.nn.Module, before: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def train(model: SessionEmbeddingForXVector, steps: int = 3) -> None:
    """A few steps of an optimiser that is handed everything, with weight decay."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.1)
    for _ in range(steps):
        model.train()
        optimizer.zero_grad()
        model(make_batch(), **IDS).loss.backward()
        optimizer.step()


# --- the encoder stays as it is ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["embedding", "pooled"])
def test_training_leaves_every_tensor_of_the_encoder_as_it_was(source):
    """Running statistics and counters of batch norms, too."""
    model = make_model(session_source=source)
    encoder, head = remember(model.encoder), remember(model.session_head)
    train(model)
    assert is_unchanged(model.encoder, encoder)
    assert not is_unchanged(model.session_head, head)
    assert model.training
    assert not any(module.training for module in model.encoder.modules())
    assert all(weight.grad is None for weight in model.encoder.parameters())


def test_copies_and_loaded_models_leave_it_alone_too(tmp_path):
    model = make_model()
    model.save_pretrained(tmp_path)
    loaded, _ = SessionEmbeddingForXVector.from_pretrained(tmp_path, output_loading_info=True)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), loaded):
        before = remember(other.encoder)
        assert is_unchanged(model.encoder, before)
        train(other, steps=1)
        assert is_unchanged(other.encoder, before)
        assert not any(module.training for module in other.encoder.modules())


def test_the_optimiser_is_offered_the_session_network_alone():
    trained = {name for name, weight in make_model().named_parameters() if weight.requires_grad}
    assert trained == {f"session_head.layers.{i}.{leaf}" for i in range(3) for leaf in ("weight", "bias")}


def test_an_encoder_that_is_not_frozen_is_trained(tmp_path):
    model = make_model(encoder_frozen=False)
    before = remember(model.encoder)
    train(model, steps=1)
    assert not is_unchanged(model.encoder, before)
    assert model.encoder.training
    model.save_pretrained(tmp_path)
    loaded = SessionEmbeddingForXVector.from_pretrained(tmp_path)
    assert all(weight.requires_grad for weight in loaded.parameters())


def test_dropout_of_the_session_network_is_on_in_training_alone():
    model = make_model(session_dropout=0.5)
    batch = make_batch()
    first, second = (model.train()(batch).session_embeddings for _ in range(2))
    assert not torch.equal(first, second)
    first, second = (model.eval()(batch).session_embeddings for _ in range(2))
    assert torch.equal(first, second)


def test_frequencies_of_a_rawnet3_stay_in_float32_inside_a_session_model(tmp_path):
    encoder = make_encoder(architecture="rawnet3", dialect="voxceleb_trainer")
    SessionEmbeddingForXVector.from_encoder(encoder, **SMALL_HEAD).save_pretrained(tmp_path)
    loaded = SessionEmbeddingForXVector.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert loaded.session_head.layers[0].weight.dtype == torch.bfloat16
    assert torch.equal(loaded.encoder.trunk.stem.low_hz, encoder.trunk.stem.low_hz)


# --- what the session network sees ------------------------------------------------------------------------------------


@torch.no_grad()
def test_the_session_network_is_the_one_described():
    """Any length of the vector, GELU with the error function, nothing behind the last layer."""
    model = make_model(session_source="pooled").eval()
    output, batch = model.encoder(make_batch()), make_batch()
    vectors = output.pooled.double() - output.pooled.double().mean(-1, keepdim=True)
    vectors = vectors / vectors.norm(dim=-1, keepdim=True) * vectors.shape[-1] ** 0.5
    for index, layer in enumerate(model.session_head.layers):
        vectors = vectors @ layer.weight.double().T + layer.bias.double()
        if index < 2:
            vectors = vectors * 0.5 * (1 + torch.erf(vectors / 2**0.5))
    torch.testing.assert_close(model(batch).session_embeddings.double(), vectors, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("size", "parameters"), [(192, 492_800), (256, 525_568), (512, 656_640)])
def test_the_session_network_has_the_known_number_of_parameters(size, parameters):
    with torch.device("meta"):
        encoder = SpeakerEncoderConfig(**{**ENCODER, "embedding_size": size})
        model = SessionEmbeddingForXVector(SessionEmbeddingConfig(encoder_config=encoder))
    assert sum(weight.numel() for weight in model.session_head.parameters()) == parameters


@torch.no_grad()
def test_the_pooled_source_is_what_stands_before_the_last_layer():
    encoder = make_encoder()
    output = encoder(make_batch())
    torch.testing.assert_close(encoder.embedding(output.pooled), output.embeddings, rtol=1e-5, atol=1e-6)


@torch.no_grad()
def test_an_environment_code_needs_no_network():
    encoder = make_encoder(dialect="disentangler", environment_size=5)
    model = SessionEmbeddingForXVector.from_encoder(encoder, session_source="environment_code")
    assert model.session_head is None
    output = model(make_batch())
    assert torch.equal(output.session_embeddings, encoder(make_batch()).environment_codes)
    assert model.score(output, output)["session_similarity"].tolist() == pytest.approx([1.0] * 4)


def test_an_environment_code_that_an_encoder_has_none_of_is_refused():
    with pytest.raises(StrictDataclassError, match=r"'environment_code', which this encoder has none of"):
        make_model(session_source="environment_code")


def test_ids_of_one_kind_alone_are_refused():
    with pytest.raises(ValueError, match="`session_ids` and `speaker_ids` belong together"):
        make_model()(make_batch(), session_ids=IDS["session_ids"])


# --- encoders of transformers -----------------------------------------------------------------------------------------

TRANSFORMERS = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "conv_dim": (8,) * 7,
    "tdnn_dim": (8, 8, 8, 8, 12),
    "xvector_output_dim": 6,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
}


@pytest.mark.parametrize(
    ("model_class", "config_class"), [(WavLMForXVector, WavLMConfig), (Wav2Vec2ForXVector, Wav2Vec2Config)]
)
def test_an_x_vector_model_of_transformers_serves_as_encoder(model_class, config_class, tmp_path):
    torch.manual_seed(0)
    encoder = model_class(config_class(**TRANSFORMERS)).eval()
    model = SessionEmbeddingForXVector.from_encoder(encoder, **SMALL_HEAD)
    batch = make_batch(samples=8000)
    expected = encoder(batch).embeddings
    output = model.eval()(batch)
    torch.testing.assert_close(output.embeddings, expected, rtol=1e-5, atol=1e-6)
    assert output.session_embeddings.shape == (4, 7)
    before = remember(model.encoder)
    model.train()(batch, **IDS).loss.backward()
    assert is_unchanged(model.encoder, before)
    assert all(weight.grad is None for weight in model.encoder.parameters())
    model.eval().save_pretrained(tmp_path)
    loaded, report = SessionEmbeddingForXVector.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values()), report
    torch.testing.assert_close(loaded(batch).session_embeddings, output.session_embeddings, rtol=1e-5, atol=1e-6)


def test_statistics_that_an_encoder_of_transformers_does_not_give_are_refused():
    encoder = WavLMForXVector(WavLMConfig(**TRANSFORMERS))
    with pytest.raises(StrictDataclassError, match="'pooled', which a WavLMConfig does not give; use 'embedding'"):
        SessionEmbeddingForXVector.from_encoder(encoder, session_source="pooled")


# --- scores -----------------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_scores_of_waveforms_outputs_and_matrices_agree():
    model = make_model(compensation={"type": "linear", "weight": 0.25}, threshold=0.1).eval()
    first, second = make_batch(count=3), make_batch(5000, count=3)
    of_waveforms = model.score(first, second)
    outputs = model(first), model(second)
    of_outputs, matrix = model.score(*outputs), model.score_matrix(*outputs)
    cosine = torch.nn.functional.cosine_similarity
    expected = cosine(outputs[0].embeddings, outputs[1].embeddings) - 0.25 * cosine(
        outputs[0].session_embeddings, outputs[1].session_embeddings
    )
    for scores in (of_waveforms["score"], of_outputs["score"], matrix["score"].diagonal()):
        torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-5)
    assert matrix["score"].shape == (3, 3)
    assert torch.equal(matrix["same_speaker"], matrix["score"] >= 0.1)


@torch.no_grad()
def test_one_recording_is_compared_with_all_others():
    model = make_model().eval()
    batch = make_batch(count=3)
    assert model.score(batch[0], batch)["score"].shape == (3,)
    assert "same_speaker" not in model.score(batch[0], batch)
