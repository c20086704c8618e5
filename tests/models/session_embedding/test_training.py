"""Training a session network: what is drawn, from stored embeddings, on a frozen encoder; and speaker batches."""

from collections import Counter

import numpy as np
import pytest
import torch

from avzoo import SessionEmbeddingForXVector, SpeakerEncoderConfig, SpeakerEncoderForXVector
from avzoo.audio import write_wav
from avzoo.models.session_embedding import SessionHead, SessionLoss
from avzoo.models.session_embedding.training_session_embedding import (
    SessionCopies,
    SessionRecordings,
    SessionTable,
    SpeakerRecordings,
    SpeakerSampler,
    SpeakerTraining,
    StoredSessions,
    StoredSessionTraining,
    collate_sessions,
    fit_session_head,
    make_session_head,
    session_error_rate,
)
from avzoo.training import TrainingArguments, train

SMALL = {"hidden_size": 8, "aggregation_size": 12, "squeeze_size": 4, "attention_size": 4, "embedding_size": 6}


def make_embeddings(num_speakers: int = 12, num_sessions: int = 5, utterances: int = 3, size: int = 24):
    """Speaker plus session plus noise: (embeddings, session ids, speaker ids)."""
    generator = np.random.default_rng(0)
    speakers, sessions, _ = (part.reshape(-1) for part in np.mgrid[:num_speakers, :num_sessions, :utterances])
    who, where = generator.normal(size=(num_speakers, size)), generator.normal(size=(num_sessions, size))
    noise = generator.normal(size=(len(speakers), size))
    return who[speakers] + 0.7 * where[sessions] + 0.3 * noise, sessions, speakers


def make_encoder() -> SpeakerEncoderForXVector:
    torch.manual_seed(0)
    return SpeakerEncoderForXVector(SpeakerEncoderConfig(num_mel_bins=16, **SMALL)).eval()


@pytest.fixture(scope="module")
def rows(tmp_path_factory) -> list[dict]:
    """Recordings of three speakers: two sessions of two, two sessions of two and one, one session."""
    root = tmp_path_factory.mktemp("voxceleb")
    generator, rows = np.random.default_rng(0), []
    for speaker, counts in (("a", (2, 2)), ("b", (2, 1)), ("c", (2,))):
        for session, count in enumerate(counts):
            for number in range(count):
                path = root / speaker / f"video{session}" / f"{number}.wav"
                path.parent.mkdir(parents=True, exist_ok=True)
                write_wav(path, generator.normal(0, 0.1, 4000).astype(np.float32), 16000)
                rows.append({"speaker": speaker, "session": f"{speaker}/video{session}", "audio": str(path)})
    return rows


def test_two_rows_of_two_sessions_of_each_speaker_are_drawn():
    _, sessions, speakers = make_embeddings()
    table, generator = SessionTable(sessions, speakers), np.random.default_rng(0)
    seen = set()
    for _ in range(50):
        rows, session_ids, speaker_ids = table.draw(np.array([3, 7]), generator)
        assert len(set(rows)) == len(rows) == 8
        assert Counter(speakers[rows]) == {3: 4, 7: 4}
        assert sorted(Counter(zip(speakers[rows], sessions[rows], strict=True)).values()) == [2, 2, 2, 2]
        # The ids that the loss sees tell the same apart as the true ones.
        assert len({*zip(session_ids, sessions[rows], speakers[rows], strict=True)}) == len(set(session_ids)) == 4
        assert len({*zip(speaker_ids, speakers[rows], strict=True)}) == 2
        seen |= set(rows)
    assert seen == set(np.flatnonzero(np.isin(speakers, (3, 7))))


def test_a_session_with_one_row_gives_it_once():
    table = SessionTable(["x", "x", "y"], ["a", "a", "a"])
    for seed in range(5):
        rows, sessions, _ = table.draw(np.array([0]), np.random.default_rng(seed))
        assert sorted(rows) == [0, 1, 2]
        assert sorted(Counter(sessions).values()) == [1, 2]


def test_sessions_of_one_name_are_two_for_two_speakers():
    table = SessionTable([0, 0, 1, 0, 0, 1], ["a", "a", "a", "b", "b", "b"])
    rows, sessions, _ = table.draw(np.array([0, 1]), np.random.default_rng(0))
    assert len(set(sessions)) == 4
    assert sorted(rows) == [0, 1, 2, 3, 4, 5]


def test_speakers_with_one_session_are_left_out_and_counted():
    embeddings, sessions, speakers = make_embeddings()
    sessions = np.where(speakers < 2, 0, sessions)
    fit = fit_session_head(embeddings, sessions, speakers, num_steps=1)
    assert (fit.num_speakers, fit.num_skipped_speakers) == (10, 2)
    table = SessionTable(sessions, speakers)
    rows, _, _ = table.draw(np.arange(10), np.random.default_rng(0))
    assert set(speakers[rows]) == set(range(2, 12))


def test_a_head_learns_which_session_of_strangers_it_hears():
    embeddings, sessions, speakers = make_embeddings(num_speakers=20)
    seen = speakers < 14
    torch.manual_seed(0)
    head = SessionHead(24, 32, 3, 16, 0.1, centers=False)
    strangers = torch.from_numpy(embeddings[~seen]).float()
    ids = sessions[~seen], speakers[~seen]
    before = session_error_rate(head.eval()(strangers).detach().numpy(), *ids)
    fit = fit_session_head(embeddings[seen], sessions[seen], speakers[seen], head, num_steps=100, learning_rate=3e-3)
    after = session_error_rate(head(strangers).detach().numpy(), *ids)
    assert fit.head is head
    assert not head.training
    assert after < 4 < 7 < before
    assert fit.losses[-1] < 0.3 * fit.losses[0]


def test_the_seed_decides_everything_and_the_callers_random_numbers_go_on():
    embeddings, sessions, speakers = make_embeddings()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = fit_session_head(embeddings, sessions, speakers, num_steps=3, seed=1)
    assert torch.equal(torch.rand(3), expected)
    second = fit_session_head(embeddings, sessions, speakers, num_steps=3, seed=1)
    other = fit_session_head(embeddings, sessions, speakers, num_steps=3, seed=2)
    assert first.losses == second.losses
    assert all(torch.equal(a, b) for a, b in zip(first.head.parameters(), second.head.parameters(), strict=True))
    assert first.losses != other.losses


def test_a_models_own_head_and_loss_are_used_and_its_encoder_keeps_every_bit():
    model = SessionEmbeddingForXVector.from_encoder(make_encoder(), session_source="pooled", session_loss="margin")
    encoder = {name: tensor.clone() for name, tensor in model.encoder.state_dict().items()}
    head = [parameter.clone() for parameter in model.session_head.parameters()]
    embeddings, sessions, speakers = make_embeddings()
    fit = fit_session_head(embeddings, sessions, speakers, model, num_steps=2)
    assert fit.head is model.session_head
    assert all(torch.equal(tensor, encoder[name]) for name, tensor in model.encoder.state_dict().items())
    assert not any(map(torch.equal, head, model.session_head.parameters()))
    again = SessionEmbeddingForXVector.from_encoder(make_encoder(), session_source="pooled")
    again.session_head.load_state_dict(dict(zip(again.session_head.state_dict(), head, strict=True)))
    same = fit_session_head(embeddings, sessions, speakers, again, num_steps=2, loss=SessionLoss("margin"))
    assert same.losses == fit.losses


def test_the_learning_rate_falls_as_a_cosine():
    embeddings, sessions, speakers = make_embeddings()
    rates, step = [], torch.optim.AdamW.step

    def record(self, *arguments):
        rates.append(self.param_groups[0]["lr"])
        return step(self, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", record)
        fit_session_head(embeddings, sessions, speakers, num_steps=4, learning_rate=0.01)
    assert rates == pytest.approx([0.01 * (1 + np.cos(np.pi * step / 4)) / 2 for step in range(4)])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"embeddings": np.zeros((5, 2))},
            r"`embeddings` must be \(recordings, size\) with an id for each, got \(5, 2\)",
        ),
        ({"embeddings": np.full((4, 2), np.nan)}, "`embeddings` holds NaN"),
        ({"speaker_ids": [0, 1, 2, 3]}, "none of the 4 speakers has two sessions"),
        ({"session_ids": [0, 1, 2, 3]}, "no session of a speaker with two has two rows"),
        ({"speaker_ids": [0, 0, 0]}, r"must both be \(rows,\) and not empty, got \(4,\) and \(3,\)"),
        (
            {"head": SessionHead(3, 4, 2, 4, 0.0, centers=False)},
            r"must be \(recordings, 3\) for this `head`, got \(4, 2\)",
        ),
        ({"num_steps": 0}, "`num_steps`"),
        ({"batch_size": 0}, "`batch_size`"),
        ({"learning_rate": 0}, "`learning_rate`"),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    usual = {"embeddings": np.ones((4, 2)), "session_ids": [0, 0, 1, 1], "speaker_ids": [0, 0, 0, 0]}
    with pytest.raises(ValueError, match=message):
        fit_session_head(**usual | change)


def test_a_model_without_a_head_is_refused():
    config = SpeakerEncoderConfig(num_mel_bins=16, environment_size=4, dialect="disentangler", **SMALL)
    model = SessionEmbeddingForXVector.from_encoder(SpeakerEncoderForXVector(config), session_source="environment_code")
    with pytest.raises(ValueError, match="'environment_code' has none to train"):
        fit_session_head(np.ones((4, 6)), [0, 0, 1, 1], [0, 0, 0, 0], model)


def test_session_error_rate_by_hand():
    sessions, speakers = [0, 0, 1, 1, 0, 0], [0, 0, 0, 0, 1, 1]
    perfect = np.array([[1, 0], [2, 0], [0, 1], [0, 3], [0, 1], [0, 1]])  # a stranger's sessions don't matter
    assert session_error_rate(perfect, sessions, speakers) == 0
    assert session_error_rate(np.ones((6, 2)), sessions, speakers) == 50
    with pytest.raises(ValueError, match=r"got \(6, 2\), \(5,\) and \(6,\)"):
        session_error_rate(perfect, sessions[:5], speakers)


def test_a_new_head_has_the_configs_sizes():
    head = make_session_head(192)
    assert [tuple(layer.weight.shape) for layer in head.layers] == [(512, 192), (512, 512), (256, 512)]
    assert not head.centers


def test_recordings_of_a_session_share_one_draw(rows):
    calls = []

    def augment(crops, generator):
        calls.append(len(crops))
        return [crop + len(calls) for crop in crops]

    data = SessionRecordings(rows, 1600, augment)
    assert len(data) == 2  # the third speaker has one session
    sample = data[1]
    assert sample["input_values"].shape == (3, 1600)
    assert sorted(calls) == [1, 2]
    level = sample["input_values"].mean(1).round()
    for session in sample["session_ids"].unique():
        assert len(level[sample["session_ids"] == session].unique()) == 1
    assert len(level.unique()) == 2
    batch = collate_sessions([data[0], data[1]])
    assert batch["input_values"].shape == (7, 1600)
    assert [len(batch["speaker_ids"].unique()), len(batch["session_ids"].unique())] == [2, 4]


def test_crops_follow_torchs_generator(rows):
    data = SessionRecordings(rows, 1600)
    samples = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        samples.append(data[0]["input_values"])
    assert torch.equal(samples[0], samples[1])
    assert not torch.equal(samples[0], samples[2])


def test_each_copy_of_a_session_has_one_draw_and_is_a_session(rows):
    def augment(crops, generator):
        shift = torch.rand((), generator=generator).item() + 1
        return [crop * 0 + shift for crop in crops]

    copies = SessionCopies(rows, 1600, augment, num_copies=2, seed=0)
    samples = [copies[index] for index in range(len(copies))]
    assert len(samples) == 10
    assert [len(sample["input_values"]) for sample in samples[:5]] == [2, 2, 2, 1, 2]
    assert len({sample["session"] for sample in samples}) == 10
    assert all(len(sample["input_values"].unique()) == 1 for sample in samples)
    assert len({float(sample["input_values"][0, 0]) for sample in samples}) == 10
    assert torch.equal(copies[7]["input_values"], samples[7]["input_values"])  # in whichever order
    plain = SessionCopies(rows, 1600, None, num_copies=2, seed=0)
    assert plain[0]["session"] == plain[5]["session"] == "a/video0"
    assert not torch.equal(plain[0]["input_values"], plain[5]["input_values"])


def test_a_batch_holds_no_speaker_twice_and_an_epoch_each_visit_once():
    visits = [5, 3, 3, 2, 1, 1]
    sampler = SpeakerSampler(visits, 3)
    torch.manual_seed(0)
    first = list(sampler)
    second = list(sampler)
    assert len(first) == len(sampler) == 15
    assert first != second
    for epoch in (first, second):
        batches = np.reshape(epoch, (-1, 3))
        assert all(len(set(batch)) == 3 for batch in batches.tolist())
        assert Counter(epoch) == dict(enumerate(visits))
    with pytest.raises(ValueError, match=r"\(7\) exceeds the 6 speakers"):
        SpeakerSampler(visits, 7)


def test_visits_take_each_recording_once_up_to_a_limit(rows):
    assert SpeakerRecordings(rows, 1600).count_visits(500) == [4, 3, 2]
    assert SpeakerRecordings(rows, 1600, utterances=2).count_visits(500) == [2, 1, 1]
    assert SpeakerRecordings(rows, 1600).count_visits(3) == [3, 3, 2]
    with pytest.raises(ValueError, match="1 speakers have fewer than 3 recordings, the first is c"):
        SpeakerRecordings(rows, 1600, utterances=3)


@pytest.mark.parametrize("stored", [False, True])
def test_training_the_head_leaves_every_tensor_of_the_encoder(rows, stored, tmp_path):
    encoder = make_encoder()
    model = SessionEmbeddingForXVector.from_encoder(encoder, session_hidden_size=8, session_embedding_size=4)
    head = [parameter.clone() for parameter in model.session_head.parameters()]
    arguments = TrainingArguments(
        output_dir=str(tmp_path), max_steps=2, batch_size=2, learning_rate=0.1, cpu=True, progress_bar=False
    )
    if stored:
        vectors = torch.randn(len(rows), 6)
        data = StoredSessions(vectors, [row["session"] for row in rows], [row["speaker"] for row in rows])
        network = StoredSessionTraining(model)
    else:
        data, network = SessionRecordings(rows, 1600), model
    train(network, data, arguments, data_collator=collate_sessions)
    assert not any(map(torch.equal, head, model.session_head.parameters()))
    loaded = SessionEmbeddingForXVector.from_pretrained(tmp_path)
    for kept in (model, loaded):
        state = kept.encoder.state_dict()
        assert all(torch.equal(state[name], tensor) for name, tensor in encoder.state_dict().items())


@pytest.mark.parametrize("loss", ["aam_softmax", "softmax_prototypical"])
def test_an_encoder_learns_from_batches_of_speakers(rows, loss, tmp_path):
    data = SpeakerRecordings(rows, 1600, utterances=2 if loss == "softmax_prototypical" else 1)
    network = SpeakerTraining(make_encoder(), len(data), loss)
    before = {name: parameter.clone() for name, parameter in network.named_parameters()}
    arguments = TrainingArguments(
        output_dir=str(tmp_path), max_steps=2, batch_size=3, learning_rate=0.01, cpu=True, progress_bar=False
    )
    result = train(network, data, arguments, sampler=SpeakerSampler(data.count_visits(500), 3))
    changed = {name for name, parameter in network.named_parameters() if not torch.equal(before[name], parameter)}
    assert {name for name in before if name.startswith(("loss.", "model.trunk.stem.", "model.embedding."))} <= changed
    assert np.isfinite(result.train_loss[-1][1])
    loaded, report = SpeakerEncoderForXVector.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values())  # the loss's own weights are not in the file
    assert all(map(torch.equal, loaded.parameters(), network.model.parameters()))


def test_an_unknown_speaker_loss_is_refused():
    with pytest.raises(ValueError, match="`loss`"):
        SpeakerTraining(make_encoder(), 3, "softmax")
