"""`transformers.pipeline("speaker-verification")`: pairs, enrolment, and who speaks when."""

import io
import itertools
import warnings

import numpy as np
import pytest
import soundfile
import torch
import transformers

from avzoo import SpeakerVerificationPipeline
from avzoo.audio import resample, write_wav
from avzoo.pipelines.speaker_verification.decisions import NO_SESSION, NO_THRESHOLD, UNFITTED

RATE = 16000


def similarities(answer):
    return answer["speaker_similarity"], answer["session_similarity"]


def test_a_pair_is_scored_as_the_model_scores_it(load, noises):
    pipe = load()
    answer = pipe(noises[0], noises[1])
    wanted = pipe.model.score(*(torch.from_numpy(noise) for noise in noises[:2]))
    for name in ("speaker_similarity", "session_similarity", "score"):
        assert answer[name] == pytest.approx(float(wanted[name]), abs=1e-5)
    assert answer["same_speaker"] == bool(wanted["same_speaker"])
    assert answer["threshold"] == 0.4
    assert list(answer) == [
        *("speaker_similarity", "session_similarity", "score", "same_speaker", "threshold", "meaning")
    ]


def test_the_folder_alone_tells_the_task(verification_folders, tmp_path):
    for kind in ("session", "encoder"):
        pipe = transformers.pipeline(model=str(verification_folders[kind]))
        assert type(pipe) is SpeakerVerificationPipeline
    pipe.save_pretrained(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        *("config.json", "model.safetensors", "preprocessor_config.json")
    }


@pytest.mark.parametrize("kind", ["session", "encoder", "wavlm"])
def test_a_batch_of_unequal_lengths_gives_what_each_pair_gives_alone(load, noises, kind):
    pipe = load(kind)
    pairs = list(itertools.combinations(noises, 2))
    batch = pipe(pairs, batch_size=4)
    for answer, pair in zip(batch, pairs, strict=True):
        assert answer == pytest.approx(pipe(*pair, batch_size=1), abs=1e-5)
    assert len({answer["score"] for answer in batch}) == len(pairs)


def test_an_x_vector_model_of_transformers_has_its_own_features_and_no_session(load, noises):
    pipe = load("wavlm")
    with torch.no_grad():
        first, second = (
            pipe.model(
                **pipe.feature_extractor(noise, sampling_rate=RATE, return_tensors="pt"), return_dict=True
            ).embeddings
            for noise in noises[:2]
        )
    answer = pipe(noises[0], noises[1], threshold=-1.0)
    assert answer["speaker_similarity"] == pytest.approx(float(torch.cosine_similarity(first, second)), abs=1e-5)
    assert answer["score"] == answer["speaker_similarity"]
    assert answer["session_similarity"] is None
    assert answer["same_speaker"] is True
    assert answer["meaning"] == f"alike enough for one speaker; {NO_SESSION}"


def test_a_bare_encoder_has_no_session(load, noises):
    answer = load("encoder")(noises[0], noises[1])
    assert (answer["session_similarity"], answer["same_speaker"]) == (None, None)
    assert answer["meaning"] == f"{NO_THRESHOLD}; {NO_SESSION}"


def test_what_the_model_lacks_is_warned_of_once(load, noises):
    pipe = load("unfitted")
    with pytest.warns(UserWarning, match="calibrate") as told:
        answers = [pipe(noises[0], noises[1]) for _ in range(2)]
    assert [str(warning.message).lower().rstrip(".") for warning in told] == [UNFITTED.lower(), NO_THRESHOLD.lower()]
    assert all(answer["meaning"] == f"{NO_THRESHOLD}; {UNFITTED}" for answer in answers)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        load("session")(noises[0], noises[1])


def test_every_form_of_a_recording_gives_the_same_answer(load, noises, tmp_path):
    pipe = load()
    wanted = pipe(noises[0], noises[1])
    path = tmp_path / "a.wav"
    write_wav(path, noises[0], RATE)
    forms = [
        *(str(path), path, path.read_bytes(), {"array": noises[0], "sampling_rate": RATE}),
        *(torch.from_numpy(noises[0]), {"path": str(path), "bytes": None}, np.stack([noises[0]] * 2)),
        *pipe.embed([noises[0]]),
    ]
    assert pipe(noises[0].tolist(), noises[1].tolist()) == pytest.approx(wanted, abs=1e-6)
    for form in forms:
        assert pipe(form, noises[1]) == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("rate", [8000, 48000])
def test_other_rates_are_resampled(load, noises, rate):
    pipe = load()
    other = resample(noises[0], RATE, rate)
    wanted = pipe(resample(other, rate, RATE), noises[1])
    stereo = io.BytesIO()
    soundfile.write(stereo, np.stack([other, other], axis=1), rate, format="WAV", subtype="FLOAT")
    for answer in (
        pipe({"array": other, "sampling_rate": rate}, noises[1]),
        pipe(stereo.getvalue(), noises[1]),
    ):
        assert answer == pytest.approx(wanted, abs=1e-4)
    both = pipe(other, other[::-1].copy(), sampling_rate=rate)
    rows = ({"array": part, "sampling_rate": rate} for part in (other, other[::-1].copy()))
    assert both == pytest.approx(pipe(*rows), abs=1e-6)


def test_one_recording_given_twice_is_said(load, noises, tmp_path):
    pipe = load()
    write_wav(tmp_path / "a.wav", noises[0], RATE)
    for twin in (noises[0], noises[0].copy(), tmp_path / "a.wav"):
        answer = pipe(noises[0], twin)
        assert answer["meaning"].startswith("the same recording")
        assert similarities(answer) == pytest.approx((1, 1))
    assert not pipe(noises[0], noises[0][:-1])["meaning"].startswith("the same recording")


def test_pairs_come_as_lists_mappings_and_streams(load, noises):
    pipe = load()
    wanted = [pipe(noises[0], noises[1]), pipe(noises[2], noises[1])]
    pairs = [(noises[0], noises[1]), {"first": noises[2], "second": noises[1]}]
    assert pipe(pairs) == [pytest.approx(answer, abs=1e-5) for answer in wanted]
    assert pipe([noises[0], noises[2]], [noises[1], noises[1]]) == pipe(pairs)
    assert pipe(pairs[1]) == wanted[1]
    stream = pipe(itertools.chain(pairs, iter(lambda: pairs[0], None)))  # without an end
    assert list(itertools.islice(stream, 2)) == [pytest.approx(answer, abs=1e-5) for answer in wanted]


def test_rows_of_a_dataset_are_pairs(load, noises):
    import datasets

    rows = [{"first": noise.tolist(), "second": noises[3].tolist()} for noise in noises[:2]]
    pipe = load()
    answers = list(pipe(datasets.Dataset.from_list(rows)))
    assert answers == [pytest.approx(pipe(noise, noises[3]), abs=1e-5) for noise in noises[:2]]


def test_a_recording_of_several_pairs_is_embedded_once(load, noises, monkeypatch, tmp_path):
    for index, noise in enumerate(noises):
        write_wav(tmp_path / f"{index}.wav", noise, RATE)
    pipe, sizes = load(), []
    preprocess = pipe.preprocess
    monkeypatch.setattr(pipe, "preprocess", lambda waves: [sizes.append(len(waves)), preprocess(waves)][1])
    pipe([(str(tmp_path / f"{a}.wav"), str(tmp_path / f"{b}.wav")) for a, b in itertools.combinations(range(4), 2)])
    assert sum(sizes) == 4


def test_a_long_recording_is_the_mean_of_its_windows_in_bounded_memory(load, noises, monkeypatch):
    pipe, sizes = load(), []
    preprocess = pipe.preprocess

    def watch(waveforms):
        sizes.append((len(waveforms), max(map(len, waveforms))))
        return preprocess(waveforms)

    monkeypatch.setattr(pipe, "preprocess", watch)
    long = np.tile(noises[0], 6)[: 2 * RATE + 1600]  # 2.1 s
    (found,) = pipe.embed([long], max_seconds=1.0)
    assert max(length for _, length in sizes) == RATE
    windows = [long[:RATE], long[RATE : 2 * RATE], long[-RATE:]]
    rows = [next(pipe.embed([window])) for window in windows]
    for name in ("speaker", "session"):
        unit = [getattr(row, name)[0] / np.linalg.norm(getattr(row, name)[0]) for row in rows]
        np.testing.assert_allclose(getattr(found, name)[0], np.mean(unit, axis=0), atol=1e-5)
    assert found.seconds == 2.1
    assert found.sha256 == next(pipe.embed([long])).sha256

    silence = np.zeros(RATE, np.float32)  # tells nothing of the voice
    (padded,) = pipe.embed([np.concatenate([silence, long[:RATE]])], max_seconds=1.0)
    np.testing.assert_allclose(padded.speaker, rows[0].speaker, atol=1e-6)

    sizes.clear()  # a batch is no larger than the longest recording that is embedded as a whole
    monkeypatch.setattr(type(pipe), "max_seconds", 1.0)
    list(pipe.embed([noises[0]] * 5, batch_size=5))
    assert [count for count, _ in sizes] == [2, 2, 1]


@pytest.mark.parametrize(
    ("first", "message"),
    [
        (np.zeros(RATE, np.float32), r"`first` is silent: all its samples are equal"),
        (np.full(RATE, 0.25, np.float32), r"`first` is silent"),
        (np.ones(1600, np.float32), r"`first` is too short: 0\.100 s, the model needs 0\.105 s"),
        (np.ones(0, np.float32), "`first` holds no samples"),
        (np.array([0.1, np.nan] * RATE, np.float32), r"`first`: 16000 samples are NaN or infinite"),
        (np.ones(RATE, np.int16), "`first` holds integers"),
    ],
    ids=["silence", "constant", "0.1 s", "no samples", "NaN", "integers"],
)
def test_what_is_no_voice_is_refused(load, noises, first, message):
    pipe = load()
    with pytest.raises((ValueError, TypeError), match=message):
        pipe(first, noises[0])
    with pytest.raises((ValueError, TypeError), match=message.replace("first", r"first\[0\]")):
        pipe([(first, noises[0]), (noises[1], noises[0])])
    with pytest.raises((ValueError, TypeError), match=message.replace("first", "anna")):
        pipe.enroll({"anna": first})
    assert len(pipe.enrolled) == 0


def test_a_recording_that_is_too_short_for_a_wavlm_is_refused(load, noises):
    with pytest.raises(ValueError, match=r"`second` is too short: 0\.300 s, the model needs 0\.325 s"):
        load("wavlm")(noises[0], noises[1][:4800])
    assert np.isfinite(load("wavlm")(noises[0], noises[1][:5200])["score"])


def test_a_file_is_named_in_what_is_wrong_with_it(load, noises, tmp_path):
    write_wav(tmp_path / "short.wav", noises[0][:1000], RATE)
    with pytest.raises(ValueError, match=r"`second` \(short\.wav\) is too short"):
        load()(noises[0], tmp_path / "short.wav")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("a.wav",), "`second` is missing"),
        ((["a.wav", "b.wav"],), "must be pairs"),
        (([("a.wav", "b.wav", "c.wav")],), "must be pairs"),
        (([],), "`first` holds no pairs"),
        ((["a.wav"], ["b.wav", "c.wav"]), "must be as many, got 1 and 2"),
        ((3,), "`second` is missing"),
    ],
)
def test_what_is_no_pair_is_refused(load, arguments, message):
    with pytest.raises((TypeError, ValueError), match=message):
        load()(*arguments)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"treshold": 0.5}, "speaker-verification has no parameter 'treshold'"),
        ({"threshold": np.nan}, "`threshold` must be finite"),
        ({"max_seconds": 0.5}, "`max_seconds` must be at least 1"),
        ({"sampling_rate": 0}, "`sampling_rate` must be at least 1"),
        ({"batch_size": 0}, "`batch_size` must be at least 1"),
    ],
)
def test_parameters_that_cannot_work_are_refused(load, noises, parameters, message):
    with pytest.raises((TypeError, ValueError), match=message):
        load()(noises[0], noises[1], **parameters)


def test_a_threshold_of_the_pipeline_and_of_a_call(verification_folders, noises):
    pipe = transformers.pipeline("speaker-verification", model=str(verification_folders["session"]), threshold=3.0)
    assert pipe(noises[0], noises[1])["same_speaker"] is False
    assert pipe(noises[0], noises[1], threshold=-3.0)["same_speaker"] is True


# Enrolment.


def test_identify_says_who_speaks_when(load, noises):
    pipe = load()
    pipe.enroll({"anna": [noises[0], noises[1]], "ben": noises[2]})
    assert pipe.enrolled.names == ["anna", "ben"]
    meeting = np.concatenate([noises[2], noises[0]])  # 0.6 s of ben, 0.4 s of anna
    records = pipe.identify(meeting, window=0.6, hop=0.3, threshold=-3.0)
    assert [(record["start"], record["end"]) for record in records] == [(0, 0.6), (0.3, 0.9), (0.4, 1.0)]
    assert records[0]["label"] == records[0]["best"] == "ben"
    assert similarities(records[0]) == pytest.approx((1, 1), abs=1e-5)
    for record in records:
        part = next(pipe.embed([meeting[round(record["start"] * RATE) : round(record["end"] * RATE)]]))
        rule = pipe.find_rule()
        compared = pipe.enrolled.compare(part.speaker, part.session, rule)
        row = pipe.enrolled.names.index(record["best"])
        assert record["score"] == pytest.approx(compared.score.max(), abs=1e-5)
        assert similarities(record) == pytest.approx(
            (compared.speaker_similarity[row, 0], compared.session_similarity[row, 0]), abs=1e-5
        )


def test_below_the_threshold_a_speaker_is_unknown(load, noises):
    pipe = load()
    pipe.enroll({"anna": noises[0]})
    (record,) = pipe.identify(noises[1], threshold=3.0)
    assert (record["label"], record["best"], record["end"]) == ("unknown", "anna", 0.5)
    (record,) = pipe.identify(noises[1], threshold=-3.0)
    assert record["label"] == "anna"


def test_without_a_threshold_the_best_is_named_and_a_warning_told(load, noises):
    pipe = load("encoder")
    pipe.enroll({"anna": noises[0]})
    with pytest.warns(UserWarning, match="No decision"):
        (record,) = pipe.identify(noises[1])
    assert (record["label"], record["session_similarity"]) == ("anna", None)


def test_windows_of_silence_are_left_out(load, noises):
    pipe = load()
    pipe.enroll({"anna": noises[0]})
    quiet = np.concatenate([np.zeros(RATE, np.float32), noises[0], np.zeros(RATE, np.float32)])
    spans = [(record["start"], record["end"]) for record in pipe.identify(quiet, window=0.4, hop=0.4)]
    assert spans == [(0.8, 1.2), (1.2, 1.6)]
    assert pipe.identify(quiet[:RATE], window=0.4, hop=0.4) == []


def test_a_name_enrolled_twice_is_refused_unless_it_replaces(load, noises):
    pipe = load()
    pipe.enroll({"anna": noises[0]})
    with pytest.raises(ValueError, match=r"'anna' is enrolled already; pass replace=True"):
        pipe.enroll({"ben": noises[1], "anna": noises[2]})
    assert pipe.enrolled.names == ["anna"]
    pipe.enroll({"anna": noises[2]}, replace=True)
    (record,) = pipe.identify(noises[2])
    assert record["speaker_similarity"] == pytest.approx(1)


@pytest.mark.parametrize(
    ("people", "message"),
    [
        ({}, "`people` names nobody"),
        (["a.wav"], "`people` must be {name: recordings}, got list"),
        ({"anna": []}, "'anna' needs a recording"),
        ({"unknown": "a.wav"}, "a name must be text other than 'unknown'"),
        ({3: "a.wav"}, "a name must be text"),
    ],
)
def test_an_enrolment_of_nobody_is_refused(load, people, message):
    with pytest.raises((TypeError, ValueError), match=message):
        load().enroll(people)


def test_identify_before_enroll_is_refused(load, noises):
    with pytest.raises(ValueError, match=r"nobody is enrolled; call `enroll\("):
        load().identify(noises[0])


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"window": 0.1}, r"`window` must be at least 0\.105"),
        ({"window": 1000.0}, r"`window` must be .* at most 150\.0 seconds"),
        ({"hop": 0}, "`hop` must be above 0"),
        ({"hop": 5.0}, "`hop` must be .* at most 3.0"),
    ],
)
def test_windows_that_cannot_work_are_refused(load, noises, parameters, message):
    pipe = load()
    pipe.enroll({"anna": noises[0]})
    with pytest.raises(ValueError, match=message):
        pipe.identify(noises[0], **parameters)


def test_a_model_without_a_feature_extractor_is_refused(load, verification_folders):
    model = load().model
    with pytest.raises(ValueError, match=r"`model`: a SessionEmbeddingForXVector with no feature extractor"):
        SpeakerVerificationPipeline(model=model)


def test_a_model_whose_embeddings_are_no_numbers_is_told(load, noises):
    pipe = load()
    with torch.no_grad():
        pipe.model.encoder.embedding.bias[0] = torch.nan
    with pytest.raises(ValueError, match=r"`model`: its embeddings are NaN or infinite; .* torch\.float32"):
        pipe(noises[0], noises[1])


@pytest.mark.parametrize("kind", ["session", "encoder", "wavlm"])
def test_half_precision_gives_nearly_the_same_score(verification_folders, load, noises, kind):
    folder = str(verification_folders[kind])
    half = transformers.pipeline("speaker-verification", model=folder, dtype=torch.bfloat16, device="cpu")
    answer = half(noises[0], noises[1], threshold=0.0)
    assert answer["score"] == pytest.approx(load(kind)(noises[0], noises[1], threshold=0.0)["score"], abs=0.02)
