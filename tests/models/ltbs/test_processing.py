"""LTBS's processor: mouths of videos, targets of sounds, and what neither can be."""

import math

import numpy as np
import pytest
import torch

from avzoo.audio import hifigan_log_mel, stft_energy, tacotron_log_mel, write_wav
from avzoo.models.ltbs import LTBSConfig, LTBSProcessor
from avzoo.video import MouthSquare, Track, Video, crop_track, to_grey, write_video

PER_FRAME = 640


def colours(frames: int, rows: int = 120, columns: int = 160, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (frames, rows, columns, 3), dtype=np.uint8)


def mouths(frames: int, side: int = 96) -> np.ndarray:
    return colours(frames, side, side)[..., 0]


def voice(frames: int, hertz: float = 150.0) -> np.ndarray:
    time = np.arange(frames * PER_FRAME) / 16000
    return sum(0.1 / k * np.sin(2 * np.pi * hertz * k * time) for k in range(1, 8)).astype(np.float32)


def track(first: int, stop: int) -> Track:
    frames = np.arange(first, stop)
    return Track(0, frames, np.tile([40.0, 20.0, 100.0, 110.0], (len(frames), 1)))


# --- mouths -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("crop_size", "first"), [(88, 4), (89, 3), (96, 0)])
def test_the_middle_of_a_mouth_is_taken(crop_size, first):
    pictures = mouths(3)
    inputs = LTBSProcessor(crop_size=crop_size)(pictures)
    assert (inputs.pixel_values.shape, inputs.pixel_values.dtype) == ((1, 3, crop_size, crop_size), torch.uint8)
    expected = pictures[:, first : first + crop_size, first : first + crop_size]
    assert np.array_equal(inputs.pixel_values[0].numpy(), expected)


def test_mouths_of_the_networks_size_stay_as_they_are():
    pictures = mouths(2, 88)
    assert np.array_equal(LTBSProcessor()(pictures).pixel_values[0].numpy(), pictures)


def test_mouths_of_other_sizes_are_resized_first():
    assert LTBSProcessor()(mouths(2, 50)).pixel_values.shape == (1, 2, 88, 88)


def test_the_mouth_of_a_track_is_cut_from_its_frames():
    video, face = Video(colours(10), 25.0, None, None), track(2, 7)
    expected = crop_track(video.frames[2:7], face, MouthSquare(), first_frame=2)
    assert np.array_equal(LTBSProcessor().read_mouths(video, face), expected)


def test_without_a_track_the_lower_half_of_the_frames_is_taken():
    frames = colours(3, 192, 160)
    expected = to_grey(frames[:, 96:, 32:128])  # 96 x 96 already
    assert np.array_equal(LTBSProcessor().read_mouths(Video(frames, 25.0, None, None)), expected)


@pytest.mark.parametrize(("fps", "frames", "expected"), [(60.0, 60, 25), (12.5, 10, 20), (25.0, 1, 1)])
def test_any_rate_becomes_25_frames_per_second(fps, frames, expected):
    assert LTBSProcessor()(Video(colours(frames, 40, 40), fps, None, None)).pixel_values.shape[1] == expected


def test_clips_of_unequal_length_are_padded_and_masked():
    inputs = LTBSProcessor()([mouths(2), mouths(5)])
    assert inputs.attention_mask.tolist() == [[1, 1, 0, 0, 0], [1] * 5]
    assert not inputs.pixel_values[0, 2:].any()
    assert "attention_mask" not in LTBSProcessor()([mouths(3), mouths(3)])


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"videos": mouths(2).astype(np.float32)}, ValueError, "`videos` must be uint8 pictures .*, got float32"),
        ({"videos": mouths(0)}, ValueError, r"`videos` holds no picture, its shape is \(0, 96, 96\)"),
        ({"videos": mouths(2), "tracks": track(0, 2)}, ValueError, "grey pictures of a mouth .* needs no track"),
        ({"videos": []}, ValueError, "`videos` is an empty list"),
        ({"videos": [mouths(2)] * 2, "audio": voice(2)}, ValueError, "`audio` has 1 entries for 2 `videos`"),
        ({"videos": colours(3), "tracks": track(1, 4)}, ValueError, "`frames` end before track 0"),
        ({"videos": colours(3), "tracks": [np.zeros(4)]}, TypeError, "`tracks` must hold a Track .*, got ndarray"),
        ({"videos": mouths(2), "units": [1, 200]}, ValueError, "from 0 to 199.*frame 1 has 200"),
        ({"videos": mouths(2), "return_tensors": "tf"}, ValueError, "`return_tensors` must be one of pt, np"),
    ],
)
def test_what_cannot_be_prepared_is_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        LTBSProcessor()(**arguments)


# --- targets ----------------------------------------------------------------------------------------------------------


def test_a_clip_has_four_mel_frames_for_each_of_the_video():
    inputs = LTBSProcessor()(mouths(5), audio=voice(5), units=[3, 1, 4, 1, 5])
    shapes = {name: tuple(value.shape) for name, value in inputs.items() if name != "pixel_values"}
    assert shapes == {"mel_labels": (1, 20, 80), "pitch_labels": (1, 5), "energy_labels": (1, 5), "unit_labels": (1, 5)}


@pytest.mark.parametrize(("mel_type", "function"), [("hifigan", hifigan_log_mel), ("centered", tacotron_log_mel)])
def test_the_mel_is_that_of_the_sound_at_its_peak(mel_type, function):
    processor = LTBSProcessor(mel_type=mel_type)
    sound = torch.from_numpy(voice(5))
    labels = processor(mouths(5), audio=sound).mel_labels[0]
    scaled = sound / 1.1 / sound.abs().max()
    bounds = {"window_size": 640, "low_frequency": 55.0, "high_frequency": 7500.0}
    # Between harmonics there is rounding alone.
    torch.testing.assert_close(labels, function(scaled, **bounds)[:20], rtol=0, atol=0.01)


def test_shorter_sounds_end_in_silence_and_longer_ones_are_cut():
    processor = LTBSProcessor()
    short = processor(mouths(8), audio=voice(4)).mel_labels[0]
    torch.testing.assert_close(short[20:], torch.full((12, 80), math.log(1e-5)))
    whole = processor(mouths(8), audio=voice(12)).mel_labels[0]
    torch.testing.assert_close(whole[:28], processor(mouths(12), audio=voice(12)).mel_labels[0, :28])


def test_padding_is_silence_no_unit_and_zero():
    inputs = LTBSProcessor()([mouths(2), mouths(4)], audio=[voice(2), voice(4)], units=[[1, 2], [1, 2, 3, 4]])
    assert inputs.unit_labels.tolist() == [[1, 2, -100, -100], [1, 2, 3, 4]]
    assert (inputs.mel_labels[0, 8:] == math.log(1e-5)).all()
    assert not inputs.pitch_labels[0, 2:].any()
    assert not inputs.energy_labels[0, 2:].any()


def test_units_are_cut_and_filled_to_the_frames():
    prepare = LTBSProcessor().prepare_units
    assert prepare(np.array([5, 6, 7]), 2).tolist() == [5, 6]
    assert prepare(torch.tensor([5]), 3).tolist() == [5, -100, -100]


def test_silence_stays_silence_and_is_finite():
    inputs = LTBSProcessor()(mouths(3), audio=np.zeros(3 * PER_FRAME, np.float32))
    torch.testing.assert_close(inputs.mel_labels, torch.full((1, 12, 80), math.log(1e-5)))
    assert not inputs.pitch_labels.any()
    torch.testing.assert_close(inputs.energy_labels, torch.full((1, 3), math.log(0.01)))


def test_pitch_is_normalised_after_every_fourth_frame_is_taken():
    sound = np.concatenate([voice(25, 100.0), voice(25, 200.0)])
    pitch = LTBSProcessor()(mouths(50), audio=sound).pitch_labels[0]
    voiced = pitch[pitch != 0]
    assert abs(float(voiced.mean())) < 1e-5
    assert float(voiced.std(correction=0)) == pytest.approx(1, abs=1e-5)
    torch.testing.assert_close(pitch[3:22], torch.full((19,), -1.0), atol=0.2, rtol=0)
    torch.testing.assert_close(pitch[28:47], torch.full((19,), 1.0), atol=0.2, rtol=0)


def test_energy_is_the_logarithm_over_the_corpus_or_the_norm_of_the_log_mel():
    sound = torch.from_numpy(voice(5))
    scaled = sound / 1.1 / sound.abs().max()
    expected = stft_energy(scaled, window_size=640)[:20:4].log()
    energy = LTBSProcessor(energy_mean=2.0, energy_std=4.0)(mouths(5), audio=sound).energy_labels[0]
    torch.testing.assert_close(energy, (expected - 2) / 4)
    inputs = LTBSProcessor(energy_type="log_mel")(mouths(5), audio=sound)
    torch.testing.assert_close(inputs.energy_labels[0], inputs.mel_labels[0, ::4].norm(dim=-1))


def test_energy_of_a_corpus_has_mean_0_and_deviation_1():
    processor = LTBSProcessor()
    corpus = [processor.measure_targets(torch.from_numpy(voice(4, hertz)), 6) for hertz in (90.0, 200.0)]
    processor.fit_energy([clip["energy"] for clip in corpus])
    normalized = torch.cat([processor.normalize_targets(clip)["energy_labels"] for clip in corpus])
    assert (float(normalized.mean()), float(normalized.std(correction=0))) == pytest.approx((0, 1), abs=1e-4)
    with pytest.raises(ValueError, match="`energies` hold 0 frames of energy that does not vary"):
        processor.fit_energy([])


def test_16_bit_samples_and_files_of_other_rates_are_taken(tmp_path):
    sound = voice(10)
    processor = LTBSProcessor()
    expected = processor(mouths(10), audio=sound).mel_labels
    whole = np.round(sound * 32768).astype(np.int16)
    same = (whole / 32768).astype(np.float32)
    torch.testing.assert_close(
        processor(mouths(10), audio=whole).mel_labels, processor(mouths(10), audio=same).mel_labels
    )
    time = np.arange(48000 * 4 // 10) / 48000
    fast = sum(0.1 / k * np.sin(2 * np.pi * 150 * k * time) for k in range(1, 8)).astype(np.float32)
    write_wav(tmp_path / "fast.wav", fast, 48000)
    labels = processor(mouths(10), audio=str(tmp_path / "fast.wav")).mel_labels
    assert (labels - expected)[:, 4:-4, :40].abs().mean() < 0.1


def test_a_track_takes_the_sound_from_its_first_frame_on():
    processor, video = LTBSProcessor(), Video(colours(10), 25.0, None, None)
    sound = voice(10) * np.linspace(0, 1, 10 * PER_FRAME, dtype=np.float32)
    labels = processor(video, audio=sound, tracks=track(4, 9)).mel_labels
    torch.testing.assert_close(labels, processor(mouths(5), audio=sound[4 * PER_FRAME : 9 * PER_FRAME]).mel_labels)
    with pytest.raises(ValueError, match="`audio` has 1280 samples at 16000 Hz and ends before video frame 4"):
        processor(video, audio=sound[: 2 * PER_FRAME], tracks=track(4, 9))


def test_the_path_of_the_video_gives_its_own_sound(tmp_path):
    path = tmp_path / "talk.mp4"
    write_video(path, colours(10, 64, 64), 25, audio=voice(10), sampling_rate=16000)
    processor = LTBSProcessor()
    inputs = processor(str(path), audio=str(path))
    assert inputs.mel_labels.shape == (1, 40, 80)
    assert (inputs.mel_labels - processor(mouths(10), audio=voice(10)).mel_labels)[:, 4:-4, :20].abs().mean() < 0.5


# --- settings ---------------------------------------------------------------------------------------------------------


def test_settings_survive_their_folder(tmp_path):
    processor = LTBSProcessor(mel_type="centered", energy_mean=1.5, energy_std=2.5, num_units=50)
    processor.save_pretrained(tmp_path)
    loaded = LTBSProcessor.from_pretrained(tmp_path)
    assert loaded.to_dict() == processor.to_dict()
    assert loaded.mel_settings == processor.mel_settings


def test_the_defaults_are_those_of_the_networks_config():
    LTBSProcessor().check_model(LTBSConfig())
    assert LTBSProcessor().samples_per_frame == LTBSConfig().samples_per_frame


def test_a_network_of_other_settings_is_refused():
    message = r"do not belong together \(num_units: 50, 200; hop_size: 80, 160; upsample_factor: 8, 4; the processor's"
    with pytest.raises(ValueError, match=message):
        LTBSProcessor(num_units=50, hop_size=80, upsample_factor=8).check_model(LTBSConfig())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"crop_size": 97}, "`mouth_size` must be at least 97, got 96"),
        ({"hop_size": 200}, r"`hop_size` \(200\) times `upsample_factor` \(4\) times `frame_rate` \(25\) must be"),
        ({"energy_std": 0}, "`energy_std` must be above 0, got 0"),
        ({"energy_type": "raw"}, "`energy_type` must be one of linear, log_mel, got 'raw'"),
        ({"mel_type": "slaney"}, "`mel_type` must be one of hifigan, centered"),
        ({"pitch_high": 60}, "`pitch_high` must be above 65"),
        ({"peak": 1.5}, "`peak` must be above 0 and at most 1, got 1.5"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        LTBSProcessor(**settings)


def test_a_frame_too_short_for_the_lowest_pitch_is_refused_at_once():
    with pytest.raises(ValueError, match=r"`pitch_frame` \(200\) longer than a period of `pitch_low` \(65\.0 Hz\)"):
        LTBSProcessor(pitch_frame=200)
    with pytest.raises(ValueError, match=r"`pitch_high` \(8001\.0\) must be at most half of `sampling_rate`"):
        LTBSProcessor(pitch_high=8001.0)


def test_rates_of_nothing_are_refused():
    pictures = np.zeros((1, 96, 96), np.uint8)
    with pytest.raises(ValueError, match="must be a positive number of Hz, got 0"):
        LTBSProcessor()(pictures, audio=np.zeros(640, np.float32), sampling_rate=0)
    with pytest.raises(ValueError, match=r"`source_fps` must be .*, got 0"):
        LTBSProcessor()(np.zeros((2, 64, 64, 3), np.uint8), source_fps=0)
