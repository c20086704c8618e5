import csv
import importlib.util
import json
import math
import re
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import transformers

from avzoo.audio import estimate_pitch
from avzoo.metrics import estoi, pitch_moments
from avzoo.pipelines.lip_to_speech import evaluation
from avzoo.pipelines.lip_to_speech.evaluation import RATE, SpeechClip, load_recognizer, score_speech, wrap_recognizer


def make_voice(seed: int = 0, seconds: float = 1.0, pitch_hz: float = 120.0) -> np.ndarray:
    """A buzz in syllables whose pitch rises."""
    generator = np.random.default_rng(seed)
    time = np.arange(round(seconds * RATE)) / RATE
    phase = 2 * np.pi * np.cumsum(pitch_hz * (1 + 0.3 * time)) / RATE
    buzz = sum(np.sin(number * phase) / number for number in range(1, 20))
    levels = np.repeat(generator.uniform(0.1, 1, math.ceil(seconds * 8)), RATE // 8)[: len(time)]
    return (0.2 * buzz * levels + 0.001 * generator.standard_normal(len(time))).astype(np.float32)


def make_clip(name: str = "a", seed: int = 0, **fields) -> SpeechClip:
    real = make_voice(seed)
    return SpeechClip(name, real, fields.pop("made", {"made": real}), **fields)


def listen(**answers):
    """A recogniser that answers by the number of samples, n16000."""
    return wrap_recognizer(lambda sound: {"text": answers[f"n{len(sound['raw'])}"]}, "parrot")


def test_the_real_sound_itself_has_perfect_scores():
    (clip,) = score_speech([make_clip()]).clips
    assert clip.scores["stoi"] == pytest.approx(1)
    assert clip.scores["estoi"] == pytest.approx(1)
    assert [clip.scores[name] for name in ("pitch_dtw_hz", "energy_error", "mel_l1", "lag_seconds")] == [0, 0, 0, 0]
    assert [clip.scores[name] for name in ("variance_ratio", "detail_ratio")] == pytest.approx([1, 1])


@pytest.mark.skipif(importlib.util.find_spec("pesq") is None, reason="pesq is not installed; it needs a C compiler")
def test_the_real_sound_itself_has_the_best_quality():
    (clip,) = score_speech([make_clip()]).clips
    assert clip.scores["pesq_wb"] == pytest.approx(4.64, abs=0.01)


def test_the_level_of_a_sound_does_not_matter():
    real = make_voice()
    (clip,) = score_speech([SpeechClip("a", real, {"made": 0.1 * real})]).clips
    assert clip.scores["energy_error"] == pytest.approx(0, abs=1e-3)
    assert clip.scores["mel_l1"] == pytest.approx(0, abs=1e-3)


def test_both_sounds_are_cut_to_the_shorter_one_and_the_report_says_so():
    real, made = make_voice(), make_voice(1)
    longer = np.concatenate([made, np.full(4000, 0.5, np.float32)])
    report = score_speech([SpeechClip("a", real, {"made": longer})])
    (clip,) = report.clips
    assert (clip.seconds, clip.cut_seconds) == (1.0, 0.25)
    assert clip.scores["estoi"] == pytest.approx(float(estoi(made, real, RATE)))
    assert any("by 0.25 s at most (a, made)" in note for note in report.notes)


def test_silence_is_counted_and_left_out_of_the_mean():
    silent = SpeechClip("b", make_voice(1), {"made": np.zeros(RATE, np.float32)})
    report = score_speech([make_clip("a"), silent])
    mean = report.means["made"]["estoi"]
    assert (mean["mean"], mean["clips"], mean["undefined"]) == (pytest.approx(1), 1, 1)
    assert report.clips[1].scores["estoi"] is None
    assert "silent" in report.clips[1].undefined["estoi"]
    assert any(
        note.startswith("ESTOI is undefined for 1 of 2 clips of made, the first is b: `estimate` is silent")
        for note in report.notes
    )


def test_a_silent_recording_has_no_scores():
    (clip,) = score_speech([SpeechClip("a", np.zeros(RATE, np.float32), {"made": make_voice()})]).clips
    assert set(clip.scores.values()) == {None}
    assert "the real sound is silent" in clip.undefined["energy_error"]


def test_noise_of_the_last_bit_is_not_made_loud():
    real = make_voice()
    bit = (np.random.default_rng(0).integers(-1, 2, RATE) / 32768).astype(np.float32)
    still, hiss = score_speech(
        [SpeechClip("still", real, {"made": 0 * real}), SpeechClip("hiss", real, {"made": bit})]
    ).clips
    assert hiss.scores["energy_error"] == pytest.approx(still.scores["energy_error"], rel=0.01)


def test_a_sound_too_short_for_a_spectrogram_is_counted_and_left_out_of_the_mean():
    report = score_speech([make_clip("a"), SpeechClip("b", make_voice(1), {"made": make_voice(1)[:100]})])
    assert report.means["made"]["mel_l1"] == {"mean": 0, "clips": 1, "undefined": 1}
    assert any("log-mel of the sound, L1 is undefined for 1 of 2 clips of made" in note for note in report.notes)


def test_scores_that_no_clip_has_are_a_dash():
    report = score_speech([SpeechClip("b", make_voice(1), {"made": np.zeros(RATE, np.float32)})])
    assert report.means["made"]["estoi"]["mean"] is None
    (line,) = [line for line in report.describe().splitlines() if line.startswith("ESTOI  ")]
    assert line.split() == ["ESTOI", "-"]


def test_moments_of_pitch_are_of_all_voiced_frames_of_the_set():
    clips = [make_clip("a"), SpeechClip("b", make_voice(1, pitch_hz=200), {"made": make_voice(1, pitch_hz=90)})]
    found = score_speech(clips).pitch
    real = np.concatenate([estimate_pitch(torch.from_numpy(clip.real)).numpy() for clip in clips])
    assert found["real"].std == pytest.approx(pitch_moments(real).std, rel=1e-3)
    assert found["made"].mean < found["real"].mean - 30


def test_rates_are_of_the_set_and_named_after_the_recogniser():
    clips = [
        SpeechClip("a", make_voice(0, 1.0), {"made": make_voice(0, 0.9)}, "Bin blue at F two"),
        SpeechClip("b", make_voice(1, 1.1), {"made": make_voice(1, 0.8)}, "now"),
    ]
    heard = listen(n16000="bin blue at f 2", n14400="bin blew at f two", n17600="now", n12800="no wait")
    report = score_speech(clips, recognizer=heard)
    made, real = report.rates["made"]["word"], report.rates["real"]["word"]
    assert (made.errors, made.total, made.value) == (3, 6, 50.0)
    assert real.value == 0
    assert report.options["recognizer"] == "parrot"
    assert [clip.transcript for clip in report.clips] == ["bin blew at f two", "no wait"]
    text = report.describe()
    assert "recognizer: parrot" in text
    assert "text normalization: NFKC" in text
    (line,) = [line for line in text.splitlines() if line.startswith("WER")]
    assert line.split() == ["WER,", "%", "50.00", "0.00"]


def test_clips_without_a_text_are_left_out_of_the_rates_and_counted():
    clips = [make_clip("a", text="one"), make_clip("b", 1), make_clip("c", 2, text="...")]
    report = score_speech(clips, recognizer=listen(n16000="one"))
    assert report.rates["made"]["word"].total == 1
    assert "Error rates are of the 1 of 3 clips with a text." in report.notes


def test_a_recogniser_without_any_text_is_refused():
    with pytest.raises(ValueError, match="`clips` have no text"):
        score_speech([make_clip()], recognizer=listen(n16000="one"))


def test_a_recogniser_without_a_name_is_refused():
    with pytest.raises(ValueError, match="`name` is empty"):
        wrap_recognizer(lambda sound: {"text": ""}, "")


def test_the_language_is_part_of_a_recognisers_name_and_given_to_it():
    asked = []

    def answer(sound, **options):
        asked.append(options)
        return {"text": "one"}

    recognizer = wrap_recognizer(answer, "whisper", language="en")
    assert recognizer.transcribe(np.zeros(10, np.float32)) == "one"
    assert recognizer.name == "whisper (en)"
    assert asked == [{"generate_kwargs": {"language": "en", "task": "transcribe"}}]


def test_the_commit_of_a_repository_is_part_of_a_recognisers_name(monkeypatch):
    config = SimpleNamespace(_commit_hash="0123456789abcdef")
    pipe = SimpleNamespace(model=SimpleNamespace(config=config))
    assert transformers.pipeline  # with its first use the package takes another object for itself
    monkeypatch.setattr(sys.modules["transformers"], "pipeline", lambda *_, **__: pipe)
    assert load_recognizer("some/recogniser").name == "some/recogniser@0123456789ab"


def test_a_folder_without_a_recogniser_is_named(tmp_path):
    with pytest.raises((OSError, ValueError), match=re.escape(str(tmp_path))):
        load_recognizer(str(tmp_path))


def test_a_recogniser_cannot_change_the_sound():
    def spoil(sound):
        sound.pop("raw")[:] = 0
        return {"text": "one"}

    (clip,) = score_speech([make_clip(text="one")], recognizer=wrap_recognizer(spoil, "spoiler")).clips
    assert clip.scores["estoi"] == pytest.approx(1)


def test_measures_of_a_system_stand_in_its_column_alone():
    real = make_voice()
    clips = [
        SpeechClip(name, real, {"made": real, "vocoded": real}, measures={"made": {"unit_accuracy": value}})
        for name, value in (("a", 20.0), ("b", 40.0), ("c", None))
    ]
    report = score_speech(clips, max_lag_seconds=0)
    assert report.means["made"]["unit_accuracy"] == {"mean": 30.0, "clips": 2, "undefined": 1}
    assert "unit_accuracy" not in report.means["vocoded"]
    line, note = [line for line in report.describe().splitlines() if line.startswith("units that are right, %")]
    assert line.split()[-1] == "30.0"
    assert note.endswith("undefined for 1 of 3 clips of made, the first is c: not known of this clip")


def test_an_unknown_measure_is_refused():
    with pytest.raises(ValueError, match="a has the unknown measure 'beauty'"):
        score_speech([make_clip(measures={"made": {"beauty": 1.0}})])


def test_a_measure_that_is_nan_is_refused():
    with pytest.raises(ValueError, match="the measure 'mel_l1_coarse' of a is nan"):
        score_speech([make_clip(measures={"made": {"mel_l1_coarse": math.nan}})])


def test_missing_libraries_are_said_and_their_scores_left_out(monkeypatch):
    monkeypatch.setattr(evaluation.importlib.util, "find_spec", lambda name: None)
    report = score_speech([make_clip()])
    assert not {"stoi", "estoi", "estoi_aligned", "pesq_wb"} & report.clips[0].scores.keys()
    assert report.notes[:2] == [
        "pystoi is not installed; its scores are left out.",
        "pesq is not installed; its scores are left out.",
    ]


def test_without_lags_there_is_no_aligned_score():
    report = score_speech([make_clip()], max_lag_seconds=0)
    assert "estoi_aligned" not in report.clips[0].scores
    assert "best lag" not in report.options


def test_no_clips_are_refused():
    with pytest.raises(ValueError, match="`clips` are none"):
        score_speech([])


def test_an_id_that_comes_twice_is_refused():
    with pytest.raises(ValueError, match="`clips` hold 'a' twice"):
        score_speech([make_clip(), make_clip()])


def test_an_empty_sound_is_refused_by_name():
    with pytest.raises(ValueError, match="the sound 'made' of a is empty"):
        score_speech([make_clip(made={"made": np.zeros(0, np.float32)})])


def test_a_sound_with_nan_is_refused_by_name():
    with pytest.raises(ValueError, match="the sound 'made' of a holds NaN"):
        score_speech([make_clip(made={"made": np.full(RATE, np.nan, np.float32)})])


def test_integer_samples_are_refused():
    with pytest.raises(TypeError, match=r"the sound 'made' of a must be \(samples,\) in floating point"):
        score_speech([make_clip(made={"made": np.zeros(RATE, np.int16)})])


def test_a_clip_of_other_systems_is_refused():
    with pytest.raises(ValueError, match="b has the systems other, the first clip made"):
        score_speech([make_clip(), make_clip("b", made={"other": make_voice()})])


def test_a_system_called_real_is_refused():
    with pytest.raises(ValueError, match="none called 'real'"):
        score_speech([make_clip(made={"real": make_voice()})])


def test_the_report_is_plain_json_with_null_where_a_score_is_undefined(tmp_path):
    clips = [make_clip("a", text="one"), SpeechClip("b", make_voice(1), {"made": np.zeros(RATE, np.float32)})]
    report = score_speech(clips, recognizer=listen(n16000="one"))
    report.save(tmp_path / "report.json")
    stored = json.loads((tmp_path / "report.json").read_text())
    assert stored["clips"][1]["scores"]["estoi"] is None
    assert stored["error_rates"]["made"]["word"] == {"percent": 0.0, "errors": 0, "total": 1, "clips": 1}
    assert stored["options"]["recognizer"] == "parrot"
    assert stored["pitch"]["real"]["std"] > 0
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]


def test_the_table_of_clips_has_a_line_for_each_clip_of_each_system(tmp_path):
    real = make_voice()
    silence = np.zeros(RATE, np.float32)
    clips = [SpeechClip("a", real, {"made": silence, "vocoded": real}, 'say "one"')]
    score_speech(clips, recognizer=listen(n16000="one, one")).save_clips(tmp_path / "clips.csv")
    with open(tmp_path / "clips.csv", newline="") as file:
        made, vocoded = csv.DictReader(file)
    assert (made["system"], made["estoi"], made["word_errors"], made["words"]) == ("made", "", "1", "2")
    assert (vocoded["system"], vocoded["estoi"], vocoded["text"]) == ("vocoded", "1", 'say "one"')
    assert vocoded["transcript"] == "one, one"
