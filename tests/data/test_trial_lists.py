from pathlib import Path

import numpy as np
import pytest

from avzoo.data.kaldi_lists import kaldi_utterances, read_utt2spk, read_wav_scp
from avzoo.data.trial_lists import Trials, read_trials

A, B, C = "id10270/x6uYqmx31kE/00001.wav", "id10270/8jEAjG6SegY/00008.wav", "id10300/ize_eiCFEg0/00003.wav"


@pytest.fixture
def write(tmp_path):
    def write_lines(*lines: str, name: str = "veri_test.txt") -> Path:
        path = tmp_path / name
        path.write_text("".join(f"{line}\n" for line in lines))
        return path

    return write_lines


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


@pytest.mark.parametrize(
    "lines",
    [(f"1 {A} {B}", "", f"0 {A} {C}"), (f"{A} {B} target", f"{A} {C} nontarget")],
    ids=["voxceleb", "kaldi"],
)
def test_labelled_formats_give_the_same_trials(write, lines):
    trials = read_trials(write(*lines))
    assert trials.name == "veri_test.txt"
    assert trials.recordings == (A, B, C)
    assert trials.pairs.tolist() == [[0, 1], [0, 2]]
    assert trials.require_labels().tolist() == [1, 0]
    assert len(trials) == 2


def test_a_list_without_labels_is_read_and_has_no_error_rate(write):
    trials = read_trials(write(f"{A} {B}", f"{C} {B}"))
    assert trials.pairs.tolist() == [[0, 1], [2, 1]]
    with pytest.raises(ValueError, match=r"veri_test\.txt has no labels: .* no error rate can be computed"):
        trials.require_labels()


def test_a_list_can_be_made_of_names(write):
    made, read = Trials.from_names("mine", [(A, B), (A, C)], [1, 0]), read_trials(write(f"1 {A} {B}", f"0 {A} {C}"))
    assert (made.name, made.recordings, made.sha256) == ("mine", read.recordings, read.sha256)
    assert made.pairs.tolist() == read.pairs.tolist()
    with pytest.raises(ValueError, match=r"`labels` must be 0 or 1 for each of the 2 trials, got \(2,\)"):
        Trials.from_names("mine", [(A, B), (A, C)], [1, 2])
    with pytest.raises(ValueError, match="mine holds no trials"):
        Trials.from_names("mine", [])


def test_the_digest_is_that_of_the_pairs(write):
    digest = read_trials(write(f"1 {A} {B}", f"0 {A} {C}")).sha256
    assert len(digest) == 64
    assert read_trials(write(f"{C} {A}", f"{A} {B}")).sha256 == digest  # other order, format and sides
    assert read_trials(write(f"1 {A} {B}", f"0 {B} {C}")).sha256 != digest


def test_trials_of_a_recording_against_itself_are_counted(write):
    assert read_trials(write(f"1 {A} {A}", f"0 {A} {C}", f"1 {A} {A}")).num_self_trials == 2


def test_recordings_are_found_once_each(write, tmp_path):
    trials = read_trials(write(f"1 {A} {B}", f"0 {B} {C}"))
    touch(tmp_path, A, B, C)
    assert trials.locate(tmp_path) == [tmp_path / name for name in (A, B, C)]
    (tmp_path / B).unlink()
    (tmp_path / C).unlink()
    with pytest.raises(FileNotFoundError, match=rf"2 of the 3 recordings named by veri_test\.txt .* first is .*{B}"):
        trials.locate(tmp_path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (f"2 {A} {B}", r"veri_test\.txt, line 3: the label must be 0 or 1, got '2'"),
        (f"{A} {B} target", rf"line 3: the label must be 0 or 1, got '{A}'"),
        (f"{A} {B}", "line 3: expected a label and two names"),
        (f"1 {A} {B} {C}", "line 3: expected a label and two names"),
        (f"1 ../secret.wav {B}", r"line 3: '\.\./secret\.wav' leads out of the root"),
        (f"1 /etc/passwd {B}", "line 3: '/etc/passwd' leads out of the root"),
        (f"1 a//b.wav {B}", "leads out of the root or is no path"),
        (f"0 {B} {A}", "line 3: .* had another label in an earlier line"),
    ],
)
def test_a_line_unlike_the_first_is_refused_with_its_number(write, line, message):
    with pytest.raises(ValueError, match=message):
        read_trials(write(f"1 {A} {B}", "", line))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ((f"{A} {B} target", f"{A} {C} other"), "line 2: the label must be target or nontarget, got 'other'"),
        ((f"{A} {B}", f"1 {A} {C}"), "line 2: expected two names, as in the lines before"),
        ((f"same {A} {B}",), "line 1: the label must be 0 or 1, got 'same'"),
        ((A,), "line 1: expected a label and two names"),
        ((), r"veri_test\.txt holds no trials"),
    ],
)
def test_other_lists_are_refused(write, lines, message):
    with pytest.raises(ValueError, match=message):
        read_trials(write(*lines))


def test_many_trials_share_few_recordings(write):
    names = [f"id{index:05d}/video/00001.wav" for index in range(50)]
    drawn = np.random.default_rng(0).integers(0, 50, (3000, 2))
    trials = read_trials(write(*(f"{names[first]} {names[second]}" for first, second in drawn)))
    assert [tuple(trials.recordings[index] for index in pair) for pair in trials.pairs] == [
        (names[first], names[second]) for first, second in drawn
    ]


# Kaldi's lists.


def test_a_kaldi_list_is_located_by_its_wav_scp(write, tmp_path):
    trials = read_trials(write("spk1-a spk1-b target", "spk1-a spk2-a nontarget"))
    inside = tmp_path / "wav" / "my file.wav"
    scp = write("spk1-a wav/a.wav", "spk1-b wav/b.wav", f"spk2-a {inside}", name="wav.scp")
    paths = read_wav_scp(scp, tmp_path)
    touch(tmp_path, "wav/a.wav", "wav/b.wav", "wav/my file.wav")
    assert trials.locate(paths) == [tmp_path / "wav/a.wav", tmp_path / "wav/b.wav", inside]
    del paths["spk2-a"]
    with pytest.raises(ValueError, match=r"1 recordings of veri_test\.txt have no path, the first is 'spk2-a'"):
        trials.locate(paths)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("b", r"wav\.scp, line 2: expected an utterance and a path, got 'b'"),
        ("b sox x.wav -t wav - |", "line 2: .* is a command"),
        ("b ../x.wav", "line 2: '../x.wav' lies outside of `root`"),
        ("b /etc/passwd", "lies outside of `root`"),
        ("b .", "lies outside of `root`"),
        ("a c.wav", "line 2: 'a' is there twice"),
    ],
)
def test_a_line_of_a_wav_scp_that_is_no_path_is_refused(write, tmp_path, line, message):
    with pytest.raises(ValueError, match=message):
        read_wav_scp(write("a a.wav", line, name="wav.scp"), tmp_path)


def test_utterances_of_a_kaldi_folder(write, tmp_path):
    write("b b.wav", "a a.wav", name="wav.scp")
    write("a alice", "b bob", name="utt2spk")
    touch(tmp_path, "a.wav", "b.wav")
    assert kaldi_utterances(tmp_path, tmp_path) == [
        {"id": "b", "speaker": "bob", "audio": str(tmp_path / "b.wav")},
        {"id": "a", "speaker": "alice", "audio": str(tmp_path / "a.wav")},
    ]
    (tmp_path / "b.wav").unlink()
    with pytest.raises(FileNotFoundError, match=r"1 of the 2 recordings .*wav\.scp .* first is .*b\.wav.*skip_missing"):
        kaldi_utterances(tmp_path, tmp_path)
    assert [row["id"] for row in kaldi_utterances(tmp_path, tmp_path, skip_missing=True)] == ["a"]
    write("a alice", name="utt2spk")
    with pytest.raises(ValueError, match=r"1 utterances are in one .* only, the first is 'b' in wav\.scp"):
        kaldi_utterances(tmp_path, tmp_path)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (("a alice", "a bob"), "line 2: 'a' is there twice"),
        (("a alice x",), "line 1: expected an utterance and a speaker"),
        ((), "utt2spk holds no utterances"),
    ],
)
def test_an_utt2spk_of_another_form_is_refused(write, lines, message):
    with pytest.raises(ValueError, match=message):
        read_utt2spk(write(*lines, name="utt2spk"))
