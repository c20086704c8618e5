"""The threshold of the confidence, fitted on pairs whose confidences are known."""

import sys
from pathlib import Path

import numpy as np
import pytest

from avzoo.audio import write_wav
from avzoo.pipelines.sound_source_localization.calibration import (
    Confidences,
    balanced_accuracy,
    calibrate_threshold,
    find_other_pairs,
    fit_threshold,
    make_noise,
    measure_confidences,
    read_pairs,
)
from avzoo.video import write_picture

sys.path.insert(0, str(Path(__file__).parent))  # colour_model.py lies beside this file
from colour_model import RATE, green_sound, make_picture, make_pipeline, red_sound

RED, GREEN = make_picture(green=()), make_picture(red=())


def make_pairs(**first) -> list[dict]:
    pairs = [{"image": RED, "audio": red_sound()}, {"image": GREEN, "audio": 0.5 * green_sound()}]
    return [{**pairs[0], **first}, pairs[1]]


def test_each_picture_meets_its_own_sound_silence_noise_and_anothers():
    pipe = make_pipeline()
    found = measure_confidences(pipe, make_pairs())
    np.testing.assert_allclose(found.matching, [1, 0.5], atol=1e-6)
    np.testing.assert_allclose(found.silence, [0, 0])
    np.testing.assert_allclose(found.off_screen, [0, 0], atol=1e-6)
    # Half of noise's mean size, times 4; its root mean square is that of the own sound.
    expected = [2 * np.sqrt(2 / np.pi) * rms for rms in (np.sqrt(0.125), np.sqrt(0.125) / 2)]
    np.testing.assert_allclose(found.noise, expected, rtol=0.05)
    assert pipe.model.batches["image"] == [2]
    assert sum(pipe.model.batches["audio"]) == 2 + 1 + 2


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_the_batch_size_changes_no_confidence(batch_size):
    for found, expected in zip(
        measure_confidences(make_pipeline(), make_pairs(), batch_size=batch_size),
        measure_confidences(make_pipeline(), make_pairs()),
        strict=True,
    ):
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_the_noise_is_drawn_from_the_seed():
    first, again, other = (
        measure_confidences(make_pipeline(), make_pairs(), seed=seed).noise.tolist() for seed in (0, 0, 5)
    )
    assert first == again
    assert first != other


def test_noise_is_as_loud_as_the_clip():
    clip = 0.3 * np.sin(np.arange(30000) / 7)
    assert np.sqrt(np.mean(make_noise(clip, 0) ** 2)) == pytest.approx(np.sqrt(np.mean(clip**2)), rel=0.02)


def test_of_equally_good_thresholds_the_one_with_the_most_room_is_taken():
    others = np.array([0.1, 0.35])
    report = fit_threshold(Confidences(np.array([0.3, 0.9]), others, others, others))
    # 0.2 accepts all of the own sounds and half of the others, 0.625 half of the own ones and none of the others.
    assert (report.threshold, report.balanced_accuracy) == (pytest.approx(0.625), 0.75)


def test_the_threshold_tells_all_apart_where_one_can():
    report = fit_threshold(
        Confidences(np.array([0.9, 0.6]), np.array([0.1, 0.1]), np.array([0.3, 0.2]), np.array([0.2, 0.25])), 0.95
    )
    assert report.threshold == pytest.approx(0.45)
    assert report.balanced_accuracy == 1
    assert report.accepted == {"matching": 1, "silence": 0, "noise": 0, "off_screen": 0}
    assert report.previous_balanced_accuracy == 0.5
    assert report.fields["confidence_threshold"] == report.threshold


def test_each_kind_of_negative_counts_alike():
    confidences = Confidences(np.array([0.5, 0.7]), np.array([0.6, 0.6]), np.array([0.1, 0.1]), np.array([0.1, 0.9]))
    # Half of the own sounds reach 0.65; two thirds of a half and a whole are rejected: (0 + 2 + 1 + ...) / 3.
    assert balanced_accuracy(confidences, 0.65) == pytest.approx((0.5 + (1 + 1 + 0.5) / 3) / 2)


def test_the_report_says_what_was_fitted_and_on_what():
    text = str(fit_threshold(Confidences(*np.array([[0.9], [0.1], [0.2], [0.3]]))))
    assert "1 pairs, each picture with its own sound, silence, noise and the sound of another pair" in text
    assert "threshold before: none\nthreshold now: 0.6000, balanced accuracy 1.000" in text
    assert "matching: 100.0 % reach it" in text


def test_equal_confidences_cannot_be_told_apart():
    with pytest.raises(ValueError, match="all confidences are equal"):
        fit_threshold(Confidences(*np.full((4, 2), 0.5)))


def test_calibrating_sets_the_threshold_of_the_model():
    pipe = make_pipeline()
    report = calibrate_threshold(pipe, make_pairs())
    assert pipe.model.config.confidence_threshold == report.threshold
    assert pipe({"image": RED, "audio": red_sound()})["sounds"] is True
    assert pipe({"image": RED, "audio": green_sound()})["sounds"] is False


def test_the_other_sound_is_of_another_label():
    labels = ["a", "a", "a", "b", "a", "b"]
    others = find_other_pairs([{"label": label} for label in labels])
    assert [labels[other] for other in others] == ["b", "b", "b", "a", "b", "a"]
    assert find_other_pairs([{}] * 5) == [2, 3, 4, 0, 1]


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (make_pairs()[:1], "`pairs` must be two or more, got 1"),
        (make_pairs(label="a"), r"`pairs\[1\]` has no label, others have one"),
        ([{**pair, "label": "a"} for pair in make_pairs()], "all have the label 'a'; two kinds of sounds are needed"),
        (make_pairs(audio=np.zeros(3000, np.float32)), r"`pairs\[0\]: audio` is digital silence"),
    ],
)
def test_pairs_that_nothing_can_be_fitted_on_are_refused(pairs, message):
    with pytest.raises(ValueError, match=message):
        measure_confidences(make_pipeline(), pairs)


@pytest.fixture
def table(tmp_path):
    write_picture(tmp_path / "a.png", RED)
    write_wav(tmp_path / "a.wav", red_sound(), RATE)
    (tmp_path / "pairs.csv").write_text("Audio,label,image,remark\na.wav,red,a.png,none\n")
    return tmp_path / "pairs.csv"


def test_pairs_are_read_from_a_table(table):
    folder = table.parent
    assert read_pairs(table) == [{"image": str(folder / "a.png"), "audio": str(folder / "a.wav"), "label": "red"}]


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("image,sound\na.png,a.wav\n", ValueError, "line 1: expected a header with the columns image and audio"),
        ("image,audio\na.png\n", ValueError, "line 2: expected 2 fields, got 1"),
        ("image,audio\n../a.png,a.wav\n", ValueError, "line 2: '../a.png' leads out of the root"),
        ("image,audio\na.png,b.wav\n", FileNotFoundError, r"line 2: `.*b\.wav` does not exist"),
    ],
)
def test_a_malformed_table_is_refused_with_its_line(table, text, error, message):
    table.write_text(text)
    with pytest.raises(error, match=message):
        read_pairs(table)
