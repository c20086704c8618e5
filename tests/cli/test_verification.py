"""`avzoo run speaker-verification` and `avzoo calibrate`."""

import csv
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import transformers
from refusals import refused

from avzoo.audio import write_wav
from avzoo.data.trial_lists import read_trials
from avzoo.metrics import score_trials
from avzoo.metrics.score_normalization import cohort_statistics, normalize_scores
from avzoo.metrics.trial_scoring import cut_crops
from avzoo.metrics.verification import calibrate, equal_error_rate
from avzoo.models.session_embedding import fit_compensation
from avzoo.pipelines.speaker_verification.decisions import DecisionRule
from avzoo.pipelines.speaker_verification.pipeline import SpeakerVerificationPipeline

sys.path.insert(0, str(Path(__file__).parents[1] / "pipelines" / "speaker_verification"))
from tiny_verification import LINEAR, write_encoder, write_session_model, write_wavlm

NAMES = [f"p{person}/r{number}.wav" for person in range(3) for number in range(3)]
PAIRS = [(first, second) for index, first in enumerate(NAMES) for second in NAMES[:index]]
LABELS = [int(first[:2] == second[:2]) for first, second in PAIRS]


@pytest.fixture(scope="module")
def wavs(tmp_path_factory):
    """Three voices of coloured noise, three recordings each."""
    root, draw = tmp_path_factory.mktemp("wavs"), np.random.default_rng(0)
    for person in range(3):
        (root / f"p{person}").mkdir()
        colour = draw.standard_normal(24)
        for number in range(3):
            samples = np.convolve(draw.standard_normal(6400), colour + 0.5 * draw.standard_normal(24), mode="same")
            write_wav(root / f"p{person}/r{number}.wav", (samples / np.abs(samples).max()).astype(np.float32), 16000)
    return root


@pytest.fixture
def folder(tmp_path):
    """A session model that is calibrated; each test may change its own."""
    return write_session_model(tmp_path / "model", compensation=LINEAR, threshold=0.4)


def write_list(path: Path, form: str = "voxceleb", pairs=PAIRS, labels=LABELS) -> Path:
    lines = {
        "voxceleb": [f"{label} {first} {second}" for (first, second), label in zip(pairs, labels, strict=True)],
        "kaldi": [
            f"{first} {second} {'target' if label else 'nontarget'}"
            for (first, second), label in zip(pairs, labels, strict=True)
        ],
        "voxsrc": [f"{first} {second}" for first, second in pairs],
    }
    path.write_text("\n".join(lines[form]) + "\n")
    return path


@pytest.fixture
def trials(tmp_path):
    return write_list(tmp_path / "trials.txt")


@pytest.fixture
def verify(avzoo_command, folder):
    return lambda *options: avzoo_command("run", "speaker-verification", "--model", folder, "--device", "cpu", *options)


@pytest.fixture
def embedded(monkeypatch):
    """How many recordings each call of `embed` read."""
    counts, embed = [], SpeakerVerificationPipeline.embed

    def count(self, recordings, *arguments, **options):
        recordings = list(recordings)
        counts.append(len(recordings))
        return embed(self, recordings, *arguments, **options)

    monkeypatch.setattr(SpeakerVerificationPipeline, "embed", count)
    return counts


def embed(folder, wavs, names=NAMES, **options):
    pipe = transformers.pipeline("speaker-verification", model=str(folder), device="cpu")
    return list(pipe.embed([str(wavs / name) for name in names], **options))


def similarities(folder, wavs, trials):
    """(speaker, session), (trials,) each, computed apart from the command."""
    rows = embed(folder, wavs, trials.recordings)
    return [
        score_trials(np.stack([getattr(row, part) for row in rows]), trials.pairs, "full")
        for part in ("speaker", "session")
    ]


def read_csv(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_two_recordings_give_one_record(verify, wavs, folder):
    files = wavs / NAMES[0], wavs / NAMES[4]
    status, out, _ = verify(*files)
    assert status == 0
    answer = json.loads(out)
    (record,) = answer.pop("records")
    assert answer.pop("model") == str(folder)
    assert answer == {
        "schema_version": 1,
        "task": "speaker-verification",
        "source": "r0.wav and r1.wav",
        "score": "cosine",
        "device": "cpu",
        "dtype": "float32",
    }
    pipe = transformers.pipeline("speaker-verification", model=str(folder), device="cpu")
    wanted = pipe(*map(str, files))
    label = "same speaker" if wanted["same_speaker"] else "different speakers"
    assert record == {"first": str(files[0]), "second": str(files[1]), "label": label, **wanted}


@pytest.mark.parametrize("form", ["voxceleb", "kaldi", "voxsrc"])
def test_a_list_in_each_format_is_scored_and_each_recording_embedded_once(
    verify, wavs, folder, tmp_path, embedded, form
):
    path = write_list(tmp_path / "list.txt", form)
    status, out, err = verify("--trials", path, "--root", wavs, "-o", tmp_path / "scores.csv")
    assert (status, err) == (0, f"{tmp_path / 'scores.csv'}\n")
    assert embedded == [len(NAMES)]
    rows = read_csv(tmp_path / "scores.csv")
    assert [(row["first"], row["second"]) for row in rows] == PAIRS
    speaker, session = similarities(folder, wavs, read_trials(path))
    scores = [float(row["score"]) for row in rows]
    assert scores == pytest.approx(speaker - 0.3 * session, abs=1e-6)
    assert [float(row["session_similarity"]) for row in rows] == pytest.approx(session, abs=1e-6)
    wanted = ["same speaker" if score >= 0.4 else "different speakers" for score in scores]
    assert [row["label"] for row in rows] == wanted
    assert out.startswith("list.txt: 36 trials, 9 recordings, protocol full\n")
    if form == "voxsrc":
        assert "target" not in rows[0]
        assert "no labels" in out
        assert "EER" not in out
    else:
        assert [int(row["target"]) for row in rows] == LABELS
        line = next(line for line in out.splitlines() if line.startswith("EER (interpolated), %"))
        rates = [equal_error_rate(values, LABELS) for values in (speaker, speaker - 0.3 * session)]
        assert [float(word) for word in line.split()[-2:]] == pytest.approx(rates, abs=1e-3)
        assert "minDCF (normalised, p 0.01)" in out
        assert "at threshold 0.4000: " in out


def test_without_an_output_records_are_on_stdout_and_the_report_is_not(verify, wavs, trials):
    _, out, err = verify("--trials", trials, "--root", wavs)
    assert len(json.loads(out)["records"]) == len(PAIRS)
    assert "EER" in err


def test_stored_embeddings_take_the_place_of_recordings(verify, wavs, trials, tmp_path, embedded):
    keep = "--embeddings", tmp_path / "kept.npz"
    first = verify("--trials", trials, "--root", wavs, *keep)
    assert embedded == [len(NAMES)]
    again = verify("--trials", trials, *keep)  # no folder of recordings
    assert again == first
    assert embedded == [len(NAMES)]
    with np.load(tmp_path / "kept.npz") as kept:
        assert kept["names"].tolist() == list(read_trials(trials).recordings)
        assert kept["speaker"].shape == (9, 1, 8)
        assert kept["session"].shape == (9, 1, 7)


def test_stored_embeddings_are_completed(verify, wavs, trials, tmp_path, embedded):
    keep = "--root", wavs, "--embeddings", tmp_path / "kept.npz"
    few = write_list(tmp_path / "few.txt", pairs=PAIRS[:3], labels=LABELS[:3])
    assert verify("--trials", few, *keep)[0] == 0
    complete = verify("--trials", trials, *keep)
    assert embedded == [3, 6]
    at_once = verify("--trials", trials, "--root", wavs)
    for found, wanted in zip(*(json.loads(answer[1])["records"] for answer in (complete, at_once)), strict=True):
        assert found == pytest.approx(wanted, abs=1e-6)  # batches of other sizes round otherwise


def test_stored_embeddings_of_another_model_or_protocol_are_refused(verify, wavs, trials, tmp_path, avzoo_command):
    keep = "--trials", trials, "--root", wavs, "--embeddings", tmp_path / "kept.npz"
    assert verify(*keep)[0] == 0
    refused(verify(*keep, "--protocol", "crops-cosine"), "kept.npz` holds embeddings of another protocol")
    other = write_wavlm(tmp_path / "other")
    answer = avzoo_command("run", "speaker-verification", "--model", other, "--device", "cpu", *keep)
    refused(answer, "kept.npz` holds embeddings of another model")
    (tmp_path / "kept.npz").write_bytes(b"PK\x03\x04 cut short")
    refused(verify(*keep), "kept.npz` holds no embeddings")


@pytest.mark.parametrize("protocol", ["crops-cosine", "crops-distance"])
def test_a_protocol_of_crops_scores_as_the_metrics_do(verify, wavs, folder, trials, tmp_path, protocol):
    _, out, _ = verify("--trials", trials, "--root", wavs, "-o", tmp_path / "s.csv", "--protocol", protocol)
    listed = read_trials(trials)
    rows = embed(folder, wavs, listed.recordings, protocol=protocol)
    assert rows[0].speaker.shape[0] == len(cut_crops(np.zeros(6400))) == 10
    wanted = score_trials(np.stack([row.speaker for row in rows]), listed.pairs, protocol)
    found = read_csv(tmp_path / "s.csv")
    assert [float(row["score"]) for row in found] == pytest.approx(wanted, abs=1e-6)
    assert {row["label"] for row in found} == {"not decided"}
    assert f"note: with protocol {protocol}, the model's compensation and threshold are not used" in out


def test_a_cohort_normalises_the_speaker_similarity(verify, wavs, folder, tmp_path):
    pairs, labels = PAIRS[:3], [0, 1, 0]
    path = write_list(tmp_path / "t.txt", pairs=pairs, labels=labels)
    members = NAMES[3:]
    (tmp_path / "cohort.txt").write_text("".join(f"{name[:2] + name[4]} {name}\n" for name in members))
    (tmp_path / "speakers.txt").write_text("".join(f"{name[:2]} {name}\n" for name in members))
    listed = read_trials(path)
    rows = np.stack([row.speaker[0] for row in embed(folder, wavs, listed.recordings)])
    cohort = np.stack([row.speaker[0] for row in embed(folder, wavs, members)])
    cohort /= np.linalg.norm(cohort, axis=1, keepdims=True)
    means = np.stack([cohort[:3].mean(0), cohort[3:].mean(0)])
    raw = score_trials(rows, listed.pairs, "full")
    for name, vectors in (("cohort.txt", cohort), ("speakers.txt", means)):
        options = "--root", wavs, "--cohort", tmp_path / name
        status, out, err = verify("--trials", path, *options, "-o", tmp_path / "s.json")
        assert status == 0, err
        answer = json.loads((tmp_path / "s.json").read_text())
        wanted = normalize_scores(raw, listed.pairs, *cohort_statistics(rows, vectors))
        assert [record["score"] for record in answer["records"]] == pytest.approx(wanted, rel=1e-4)
        assert [record["speaker_similarity"] for record in answer["records"]] == pytest.approx(raw, abs=1e-6)
        assert answer["score"] == "deviation"
        assert f"AS-norm with the {len(vectors)} most similar of a cohort of {len(vectors)}" in out
        assert "compensation and threshold are not used" in out


def test_kaldis_names_are_found_by_their_table(verify, wavs, tmp_path):
    (tmp_path / "wav.scp").write_text("one p0/r0.wav\ntwo p1/r1.wav\n")
    (tmp_path / "list").write_text("one two nontarget\n")
    status, out, err = verify("--trials", tmp_path / "list", "--root", wavs, "--wav-scp", tmp_path / "wav.scp")
    assert status == 0, err
    assert json.loads(out)["records"][0]["second"] == "two"
    assert "all labels are equal, so there are no error rates" in err


def test_a_picture_of_the_trade_off(verify, wavs, trials, tmp_path):
    picture = tmp_path / "det.png"
    assert verify("--trials", trials, "--root", wavs, "--det", picture)[0] == 0
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_what_the_model_lacks_and_what_the_list_holds_is_noted(avzoo_command, wavs, tmp_path):
    folder = write_session_model(tmp_path / "unfitted")
    path = write_list(tmp_path / "t.txt", pairs=[*PAIRS, (NAMES[0], NAMES[0])], labels=[*LABELS, 1])
    run = "run", "speaker-verification", "--model", folder, "--device", "cpu"
    _, out, _ = avzoo_command(*run, "--trials", path, "--root", wavs, "-o", tmp_path / "s.csv")
    for note in ("1 trials compare a recording with itself", "its compensation is not fitted", "no threshold"):
        assert f"{note}" in out
    _, out, _ = avzoo_command(*run, wavs / NAMES[0], wavs / NAMES[1])
    assert "not fitted" in json.loads(out)["records"][0]["meaning"]


def test_folders_of_people_and_of_recordings_give_a_matrix(verify, wavs, folder, tmp_path):
    known, heard = tmp_path / "known", tmp_path / "heard"
    shutil.copytree(wavs / "p0", known / "anna")
    shutil.copy(wavs / "p1/r0.wav", known / "ben.wav")
    shutil.copytree(wavs / "p2", heard)
    status, out, err = verify("--enroll", known, "--test", heard)
    assert (status, err) == (0, "")
    table = list(csv.reader(out.splitlines()))
    assert table[0] == ["", "r0.wav", "r1.wav", "r2.wav"]
    assert [row[0] for row in table[1:]] == ["anna", "ben"]
    pipe = transformers.pipeline("speaker-verification", model=str(folder), device="cpu")
    pipe.enroll({"anna": [str(wavs / name) for name in NAMES[:3]], "ben": str(wavs / NAMES[3])})
    heard_rows = embed(folder, wavs, NAMES[6:])
    wanted = pipe.enrolled.compare(
        np.concatenate([row.speaker for row in heard_rows]),
        np.concatenate([row.session for row in heard_rows]),
        DecisionRule.from_config(pipe.model.config),
    )
    np.testing.assert_allclose(np.array(table)[1:, 1:].astype(float), wanted.score, atol=1e-5)

    keep = "--embeddings", tmp_path / "kept.npz"
    assert verify("--enroll", known, "--test", heard, "-o", tmp_path / "m.npz", *keep)[0] == 0
    with np.load(tmp_path / "m.npz") as matrix:
        assert matrix["enrolled"].tolist() == ["anna", "ben"]
        assert matrix["test"].tolist() == ["r0.wav", "r1.wav", "r2.wav"]
        for name in ("score", "speaker_similarity", "session_similarity"):
            np.testing.assert_allclose(matrix[name], getattr(wanted, name), atol=1e-5)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ([], "give two recordings, --trials, or --enroll with --test; got none"),
        (["a.wav"], "two recordings are compared, without --embeddings; got 1"),
        (["a.wav", "b.wav", "--trials", "t"], "got two recordings and --trials"),
        (["a.wav", "b.wav"], "`a.wav` does not exist"),
        (["a.wav", "b.wav", "--det", "d.png"], "--det belongs to --trials"),
        (["a.wav", "b.wav", "--protocol", "crops-cosine"], "--protocol belongs to --trials"),
        (["a.wav", "b.wav", "--format", "rttm"], "--format must be one of json, csv, got 'rttm'"),
        (["--enroll", "d"], "--enroll and --test belong together"),
        (["--trials", "t", "--cohort", "c", "--protocol", "crops-cosine"], "--cohort needs --protocol full"),
        (["--trials", "t", "--embeddings", "e.txt"], "--embeddings must end in .npz"),
        (["--trials", "t", "--batch-size", "0"], "--batch-size must be at least 1"),
        (["--trials", "t"], "No such file"),
        (["--trials", "t", "-o", "none/s.csv"], "`none/s.csv` cannot be written"),
        (["--enroll", "d", "--test", "e"], "`d` holds no recordings; there is no such folder"),
    ],
)
def test_options_that_cannot_work_are_refused(verify, options, reason, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused(verify(*options), reason)


def test_recordings_that_cannot_be_read_are_refused(verify, wavs, trials, tmp_path):
    refused(verify("--trials", trials), "--root is missing: 9 recordings of trials.txt have to be read")
    refused(verify("--trials", trials, "--root", tmp_path), "9 of the 9 recordings named by trials.txt are missing")
    write_wav(tmp_path / "silent.wav", np.zeros(16000, np.float32), 16000)
    refused(verify(tmp_path / "silent.wav", wavs / NAMES[0]), "`first` (silent.wav) is silent")
    unlabelled = write_list(tmp_path / "u.txt", "voxsrc")
    refused(verify("--trials", unlabelled, "--root", wavs, "--det", tmp_path / "d.png"), "u.txt has no labels")


# avzoo calibrate


@pytest.mark.parametrize("kind", ["linear", "q_stack", "none"])
def test_calibrate_writes_compensation_and_threshold_into_the_config(
    avzoo_command, wavs, trials, tmp_path, embedded, kind
):
    folder = write_session_model(tmp_path / "model")
    before = json.loads((folder / "config.json").read_text())
    untouched = {path: path.read_bytes() for path in folder.iterdir() if path.name != "config.json"}
    options = "--trials", trials, "--root", wavs, "--compensation", kind, "--device", "cpu"
    status, out, err = avzoo_command("calibrate", folder, *options)
    assert (status, err) == (0, f"{folder / 'config.json'}\n")
    assert embedded == [len(NAMES)]
    listed = read_trials(trials)
    speaker, session = similarities(folder, wavs, listed)
    fitted = None if kind == "none" else fit_compensation(listed, speaker, session, kind)
    scores = speaker if fitted is None else fitted(speaker, session)
    wanted = calibrate(scores, LABELS)
    after = json.loads((folder / "config.json").read_text())
    assert after.pop("calibration") == {
        "name": "trials.txt",
        "sha256": listed.sha256,
        "trials": 36,
        "target": "eer",
        "false_accepts": wanted.false_accepts,
        "false_rejects": wanted.false_rejects,
    }
    assert after.pop("threshold") == pytest.approx(wanted.threshold, abs=1e-6)
    found = after.pop("compensation")
    if fitted is None:
        assert found is None
    else:
        assert found.pop("development") == {"name": "trials.txt", "sha256": listed.sha256, "trials": 36}
        assert found.pop("type") == kind
        assert set(found) == set(fitted.to_config()) - {"type", "development"}
        for name, value in found.items():
            assert value == pytest.approx(getattr(fitted, name), rel=1e-3, abs=1e-5)
    assert after == {name: value for name, value in before.items() if name not in ("threshold", "compensation")}
    assert {path: path.read_bytes() for path in untouched} == untouched
    assert sorted(path.name for path in folder.iterdir()) == sorted(["config.json", *(p.name for p in untouched)])
    rates = {line.split()[0]: line.split()[1:] for line in out.splitlines() if line.startswith(("before", "after"))}
    assert float(rates["before"][0]) == pytest.approx(equal_error_rate(speaker, LABELS), abs=1e-3)
    assert rates["before"][1:] == ["-", "-", "-"]
    assert [float(word) for word in rates["after"]] == pytest.approx(
        [equal_error_rate(scores, LABELS), wanted.threshold, wanted.false_accepts, wanted.false_rejects], abs=1e-3
    )
    pipe = transformers.pipeline("speaker-verification", model=str(folder), device="cpu")
    assert pipe.find_rule().threshold == pytest.approx(wanted.threshold, abs=1e-6)
    _, out, _ = avzoo_command(
        "run", "speaker-verification", "--model", folder, *options[:4], "-o", tmp_path / "s.csv", "--device", "cpu"
    )
    assert ("fitted on these very trials" in out) == (fitted is not None)


@pytest.mark.parametrize(
    ("target", "aim", "write"),
    [
        ("0.1", {"false_accept_rate": 10.0}, write_wavlm),
        ("cost", {"p_target": 0.01}, write_encoder),
        ("eer", {}, write_encoder),
    ],
    ids=["wavlm-0.1", "encoder-cost", "encoder-eer"],
)
def test_calibrate_sets_the_threshold_of_a_model_without_session_part(
    avzoo_command, wavs, trials, tmp_path, target, aim, write
):
    folder = write(tmp_path / "model")
    options = "--trials", trials, "--root", wavs, "--device", "cpu"
    for _ in range(2):
        status, out, err = avzoo_command("calibrate", folder, *options, "--target-far", target)
        assert status == 0, err
    listed = read_trials(trials)
    rows = embed(folder, wavs, listed.recordings)
    scores = score_trials(np.stack([row.speaker for row in rows]), listed.pairs, "full")
    wanted = calibrate(scores, LABELS, **aim)
    config = json.loads((folder / "config.json").read_text())
    assert config["threshold"] == pytest.approx(wanted.threshold, abs=1e-6)
    assert "compensation" not in config
    rates = [line.split()[1:] for line in out.splitlines() if line.startswith(("before", "after"))]
    assert rates[0] == rates[1]  # the second run finds what the first one left
    assert [float(word) for word in rates[0][2:]] == pytest.approx(
        [wanted.false_accepts, wanted.false_rejects], abs=1e-3
    )


def test_calibrate_refuses_what_cannot_be_fitted_and_leaves_the_config(
    avzoo_command, wavs, folder, trials, tmp_path, embedded
):
    before = (folder / "config.json").read_bytes()
    options = "--root", wavs, "--device", "cpu"
    unlabelled = write_list(tmp_path / "u.txt", "voxsrc")
    refused(avzoo_command("calibrate", folder, "--trials", unlabelled, *options), "u.txt has no labels")
    targets = write_list(tmp_path / "t.txt", labels=[1] * len(PAIRS))
    refused(avzoo_command("calibrate", folder, "--trials", targets, *options), "t.txt", "all 36 are 1")
    some = "--trials", trials, *options
    refused(avzoo_command("calibrate", folder, *some, "--target-far", "many"), "`target_far` must be one of", "'many'")
    refused(
        avzoo_command("calibrate", folder, *some, "--target-far", "1"), "`target_far` must be at least 0 and below 1"
    )
    refused(avzoo_command("calibrate", tmp_path / "none", *some), "config.json` does not exist; name the folder")
    wavlm = write_wavlm(tmp_path / "wavlm")
    answer = avzoo_command("calibrate", wavlm, *some, "--compensation", "linear")
    refused(answer, "the model has no session part; only a threshold can be fitted")
    assert embedded == []
    assert (folder / "config.json").read_bytes() == before
