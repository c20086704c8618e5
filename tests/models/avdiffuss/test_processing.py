"""AVDiffuSS's processor: any recording and any video to what the networks read, and spectrograms back to sound."""

import json
import logging

import numpy as np
import pytest
import torch

from avzoo import AVDiffuSSProcessor
from avzoo.audio import read_audio, write_wav
from avzoo.video import Track, Video, WholeFace, crop_track, grey_face, read_video, write_video

RATE, PER_FRAME, SIDE = 16000, 640, 32


@pytest.fixture
def processor() -> AVDiffuSSProcessor:
    return AVDiffuSSProcessor(frame_size=SIDE)


@pytest.fixture
def told(caplog):
    """What the processor warns of; transformers' loggers hand nothing on."""
    logger = logging.getLogger("avzoo.models.avdiffuss.processing_avdiffuss")
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)


def sound(samples: int, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


def colours(frames: int, rows: int = SIDE, columns: int = SIDE, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (frames, rows, columns, 3), dtype=np.uint8)


def written(path, frames: int, fps: float = 25, seconds: float | None = None, rate: int = RATE, **options):
    audio = sound(round((frames / fps if seconds is None else seconds) * rate))
    write_video(path, colours(frames, **options), fps, audio=audio, sampling_rate=rate)
    return path


# --- sound and pictures -----------------------------------------------------------------------------------------------


def test_a_video_file_gives_sound_and_grey_pictures(processor, tmp_path):
    path = written(tmp_path / "clip.mp4", 12, rows=48, columns=64)
    inputs = processor(path)
    assert set(inputs) == {"waveform", "pixel_values"}
    assert inputs.pixel_values.dtype == torch.uint8
    expected = grey_face(read_video(path, fps=25).frames, SIDE)
    np.testing.assert_array_equal(inputs.pixel_values, expected)
    np.testing.assert_array_equal(inputs.waveform, read_audio(path, RATE)[0])


def test_sound_of_its_own_takes_the_place_of_the_videos(processor, tmp_path):
    path = written(tmp_path / "clip.mp4", 12)
    own = sound(12 * PER_FRAME, seed=1)
    np.testing.assert_array_equal(processor(path, own).waveform, own)
    half = own[::2]
    np.testing.assert_array_equal(processor(path, half, 8000).waveform, read_audio(half, RATE, source_rate=8000)[0])


@pytest.mark.parametrize("fps", [24, 29.97, 30, 60])
def test_any_frame_rate_is_brought_to_25(processor, tmp_path, fps):
    path = written(tmp_path / "clip.mp4", 30, fps)
    np.testing.assert_array_equal(processor.video(path), grey_face(read_video(path, fps=25).frames, SIDE))
    assert len(processor.video(path)) == int(30 / fps * 25 + 0.5)


def test_any_sampling_rate_and_channels_are_brought_to_one(processor, tmp_path):
    channels = np.stack([sound(1600, 1), sound(1600, 2)])
    write_wav(tmp_path / "stereo.wav", channels, 8000)
    waveform = processor.audio(tmp_path / "stereo.wav")
    assert waveform.shape == (3200,)
    torch.testing.assert_close(waveform, processor.audio(channels.mean(0), 8000), rtol=0, atol=1e-6)
    assert torch.equal(waveform, processor.audio(channels, 8000))


def test_bytes_and_open_files_are_read_too(processor, tmp_path):
    path = written(tmp_path / "clip.mp4", 12)
    expected = processor(path)
    with path.open("rb") as file:
        for source in (path.read_bytes(), file):
            inputs = processor(source)
            assert torch.equal(inputs.pixel_values, expected.pixel_values)
            assert torch.equal(inputs.waveform, expected.waveform)


def test_frames_in_memory_have_the_networks_rate_unless_told(processor):
    frames = colours(10, 40, 48)
    expected = torch.from_numpy(grey_face(frames, SIDE))
    for video in (frames, torch.from_numpy(frames), list(frames), Video(frames, 25.0)):
        assert torch.equal(processor.video(video), expected)
    assert torch.equal(processor.video(frames, source_fps=25), expected)
    assert len(processor.video(frames, source_fps=50)) == 5


@pytest.mark.parametrize("side", [SIDE, 48])
def test_grey_pictures_stay_grey(processor, side):
    grey = colours(10, side, side)[..., 0]
    expected = processor.video(np.repeat(grey[..., None], 3, -1))
    assert torch.equal(processor.video(grey), expected)
    assert torch.equal(processor.video(torch.from_numpy(grey)), expected)
    assert torch.equal(processor.video(grey, source_fps=25), expected)
    assert len(processor.video(grey, source_fps=50)) == 5
    if side == SIDE:
        np.testing.assert_array_equal(expected, grey)


def test_a_row_of_datasets_is_taken(processor, tmp_path):
    path = written(tmp_path / "clip.mp4", 12)
    row = {"path": None, "bytes": path.read_bytes()}
    assert torch.equal(processor.video(row), processor.video(path))
    waveform = sound(4000)
    assert torch.equal(processor.audio({"array": waveform, "sampling_rate": RATE}), torch.from_numpy(waveform))


# --- tracks -----------------------------------------------------------------------------------------------------------


def track(first: int, stop: int) -> Track:
    frames = np.arange(first, stop)
    boxes = np.stack([10.0 + frames, 12.0 + 0 * frames, 34.0 + frames, 40.0 + 0 * frames], axis=1)
    return Track(0, frames, boxes)


@pytest.mark.parametrize("fps", [25, 30])
def test_a_track_cuts_sound_and_pictures(processor, tmp_path, fps):
    path = written(tmp_path / "clip.mp4", 48, fps, rows=64, columns=96)
    one = track(9, 24)
    inputs = processor(path, track=one)
    whole = read_video(path, fps=25)
    expected = crop_track(whole.frames, one, WholeFace(size=SIDE))
    np.testing.assert_array_equal(inputs.pixel_values, expected)
    np.testing.assert_array_equal(inputs.waveform, processor.audio(path)[9 * PER_FRAME : 24 * PER_FRAME])


def test_a_track_of_frames_in_memory_is_cut_the_same(processor):
    frames, one = colours(30, 64, 96), track(4, 20)
    expected = torch.from_numpy(crop_track(frames, one, WholeFace(size=SIDE)))
    assert torch.equal(processor.video(frames, track=one), expected)
    assert processor.convention == WholeFace(size=SIDE)


def test_a_track_beyond_the_video_is_refused(processor):
    with pytest.raises(ValueError, match=r"end before track 0"):
        processor.video(colours(15, 64, 96), track=track(4, 20))


def test_a_track_after_the_end_of_the_sound_is_refused(processor):
    """There is nothing to be heard while it is seen."""
    with pytest.raises(ValueError, match=r"`audio`"):
        processor(colours(30, 64, 96), sound(10 * PER_FRAME), track=track(12, 28))


# --- lengths ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("frames", [20, 25, 30])
def test_a_little_difference_of_lengths_stays(processor, told, frames):
    pictures = torch.from_numpy(colours(frames)[..., 0])
    assert processor.align_to_audio(pictures, 25 * PER_FRAME) is pictures
    assert told.text == ""


def test_a_longer_video_is_cut_and_told(processor, told):
    pictures = torch.from_numpy(colours(40)[..., 0])
    assert torch.equal(processor.align_to_audio(pictures, 25 * PER_FRAME), pictures[:25])
    assert torch.equal(processor.align_to_audio(pictures, 25 * PER_FRAME + 1), pictures[:26])
    assert "`video` lasts 1.60 s and `audio` 1.00 s: what is seen after the sound's end is left out." in told.text


def test_the_last_picture_of_a_shorter_video_is_held_and_told(processor, told):
    pictures = torch.from_numpy(colours(10)[..., 0])
    held = processor.align_to_audio(pictures, 25 * PER_FRAME)
    assert torch.equal(held, pictures[[*range(10), *[9] * 15]])
    assert "`video` lasts 0.40 s and `audio` 1.00 s: its last picture is held." in told.text


def test_lengths_are_compared_in_the_call(processor):
    assert processor(colours(40), sound(25 * PER_FRAME)).pixel_values.shape == (25, SIDE, SIDE)


# --- spectrograms -----------------------------------------------------------------------------------------------------


def test_a_window_of_the_authors_is_256_by_256():
    assert AVDiffuSSProcessor().spectrogram(torch.zeros(32640)).shape == (256, 256)
    assert AVDiffuSSProcessor().samples_per_frame == PER_FRAME


@pytest.mark.parametrize("settings", [{}, {"window": "sqrthann", "spec_abs_exponent": 0.7, "spec_factor": 0.15}])
@pytest.mark.parametrize("samples", [3000, 8191, 8192])
def test_a_spectrogram_and_back_is_the_sound(settings, samples):
    processor = AVDiffuSSProcessor(**settings)
    waveform = torch.from_numpy(np.clip(5 * sound(samples), -1, 1))
    spectrogram = processor.spectrogram(waveform)
    frames = 1 + samples // 128
    assert spectrogram.shape == (256, -(-frames // 64) * 64)
    assert not spectrogram[:, frames:].any()
    back = processor.inverse_spectrogram(spectrogram, samples)
    torch.testing.assert_close(back[:-255], waveform[:-255], rtol=1e-4, atol=1e-4)


def test_settings_of_the_spectrogram_are_felt():
    """Magnitudes to a power, times a factor."""
    waveform = torch.from_numpy(sound(4000))
    plain = AVDiffuSSProcessor(spec_abs_exponent=1.0, spec_factor=1.0).spectrogram(waveform)
    compressed = AVDiffuSSProcessor(spec_abs_exponent=0.5, spec_factor=0.33).spectrogram(waveform)
    torch.testing.assert_close(compressed.abs(), 0.33 * plain.abs().sqrt(), rtol=1e-3, atol=1e-5)
    loud = plain.abs() > 0.01
    torch.testing.assert_close(compressed.angle()[loud], plain.angle()[loud], rtol=1e-3, atol=1e-3)
    assert AVDiffuSSProcessor(frame_multiple=8).spectrogram(waveform).shape == (256, 32)


# --- settings ---------------------------------------------------------------------------------------------------------


def test_settings_are_saved(tmp_path):
    settings = {
        "sampling_rate": 8000,
        "frames_per_second": 20,
        "frame_size": 96,
        "n_fft": 254,
        "hop_length": 64,
        "window": "sqrthann",
        "spec_abs_exponent": 0.6,
        "spec_factor": 0.15,
        "frame_multiple": 16,
    }
    AVDiffuSSProcessor(**settings).save_pretrained(tmp_path)
    stored = json.loads((tmp_path / "processor_config.json").read_text())
    loaded = AVDiffuSSProcessor.from_pretrained(tmp_path)
    for name, value in settings.items():
        assert stored[name] == getattr(loaded, name) == value
    assert loaded.samples_per_frame == 400


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        *(
            ({name: 0}, rf"`{name}` must be a whole number of at least 1, got 0")
            for name in ("sampling_rate", "frames_per_second", "frame_size", "n_fft", "hop_length", "frame_multiple")
        ),
        ({"hop_length": 128.0}, r"`hop_length` must be a whole number of at least 1, got 128.0"),
        ({"sampling_rate": 16010}, r"`sampling_rate` \(16010\) must be a multiple of `frames_per_second` \(25\)"),
        ({"window": "hamming"}, r'`window` must be "hann" or "sqrthann", got \'hamming\''),
        ({"spec_factor": 0.0}, r"`spec_factor` must be above 0, got 0.0"),
        ({"spec_abs_exponent": -1.0}, r"`spec_abs_exponent` must be above 0, got -1.0"),
        ({"n_fft": 511}, r"`n_fft` \(511\) must be even"),
        ({"face_margin": -0.1}, "`face_margin` must be 0 or more"),
        ({"hop_length": 510}, r"`n_fft` \(510\) must be even and larger than `hop_length` \(510\)"),
    ],
)
def test_settings_that_cannot_work_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        AVDiffuSSProcessor(**settings)


# --- what cannot be read ----------------------------------------------------------------------------------------------


def test_too_little_sound_is_named(processor):
    with pytest.raises(ValueError, match=r"`audio` has 255 samples at 16000 Hz; at least 256 are needed"):
        processor.audio(sound(255))
    assert len(processor.audio(sound(256))) == 256
    assert processor.spectrogram(processor.audio(sound(256))).shape == (256, 64)


def test_sound_that_is_no_number_is_refused(processor):
    broken = sound(1000)
    broken[10] = np.nan
    with pytest.raises(ValueError, match=r"`audio`"):
        processor.audio(broken)


@pytest.mark.parametrize(
    ("video", "message"),
    [
        (np.zeros((5, 8, 8), np.float32), r"`video` must be uint8 pictures of 0..255, got float32"),
        (np.zeros((0, 8, 8), np.uint8), r"`video` holds no picture, its shape is \(0, 8, 8\)"),
        (np.zeros((5, 0, 8), np.uint8), r"`video` holds no picture, its shape is \(5, 0, 8\)"),
        ([], r"`video` holds no picture"),
        (np.zeros((8, 8), np.uint8), r"`video`"),
    ],
)
def test_pictures_that_cannot_be_read_are_named(processor, video, message):
    with pytest.raises(ValueError, match=message):
        processor.video(video)


def test_a_video_without_sound_needs_some(processor, tmp_path):
    write_video(tmp_path / "mute.mp4", colours(5), 25)
    with pytest.raises(ValueError, match=r"`audio` \(mute.mp4\) has no audio stream"):
        processor(tmp_path / "mute.mp4")
    assert len(processor(tmp_path / "mute.mp4", sound(5 * PER_FRAME)).waveform) == 5 * PER_FRAME


def test_frames_in_memory_without_sound_say_that_it_is_missing(processor):
    """Not that pictures are no sound."""
    with pytest.raises((TypeError, ValueError), match=r"`audio`"):
        processor(colours(5))
