"""Pictures and recordings to what the trunks see: which seconds, which channel, which pixels, levels, settings."""

import json
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from avzoo import SSLAlignmentProcessor
from avzoo.audio import log_power_density, read_audio, write_wav

RATE = 16000


@pytest.fixture
def processor() -> SSLAlignmentProcessor:
    return SSLAlignmentProcessor()


def draw_sound(seconds: float, rate: int = RATE, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(int(seconds * rate))).astype(np.float32)


def draw_picture(rows: int = 90, columns: int = 120, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (rows, columns, 3), dtype=np.uint8)


def compute_features(clip: np.ndarray) -> torch.Tensor:
    return (log_power_density(torch.from_numpy(clip).double()) / 12).float()


# --- which samples ----------------------------------------------------------------------------------------------------


def test_of_ten_seconds_and_more_it_sees_from_3_5_to_6_5(processor):
    for seconds in (10, 12.3, 60):
        samples = draw_sound(seconds)
        assert np.array_equal(processor.cut_clip(samples), samples[56000:104000])


def test_of_five_seconds_it_sees_from_1_to_4_where_asked():
    samples = draw_sound(5)
    clip = SSLAlignmentProcessor(base_seconds=5).cut_clip(samples)
    assert np.array_equal(clip, samples[RATE : 4 * RATE])


def test_a_short_sound_is_repeated_to_ten_seconds_first(processor):
    samples = draw_sound(4)
    repeated = np.concatenate([samples, samples, samples])
    assert np.array_equal(processor.cut_clip(samples), repeated[56000:104000])


@pytest.mark.parametrize("count", [1, 100, 47_999, 48_000, 48_001, 159_999, 160_000, 160_001])
def test_a_clip_of_any_recording_has_three_seconds(processor, count):
    samples = np.linspace(-1, 1, count, dtype=np.float32)
    assert processor.cut_clip(samples).shape == (48000,)
    assert SSLAlignmentProcessor(base_seconds=None).cut_clip(samples).shape == (48000,)


def test_without_a_base_the_middle_is_seen_and_only_what_is_shorter_repeated():
    processor = SSLAlignmentProcessor(base_seconds=None)
    samples = draw_sound(7)
    assert np.array_equal(processor.cut_clip(samples), samples[32000:80000])
    short = draw_sound(2)
    repeated = np.tile(short, 2)
    assert np.array_equal(processor.cut_clip(short), repeated[8000:56000])


def test_what_is_beyond_full_scale_is_clipped(processor):
    clip = processor.cut_clip(np.full(RATE, 1.5, np.float32))
    assert (clip == 1).all()


def test_features_are_log_densities_over_12(processor):
    samples = draw_sound(10)
    features = processor(audio=samples, sampling_rate=RATE).input_features
    assert (features.shape, features.dtype) == ((1, 1, 257, 299), torch.float32)
    torch.testing.assert_close(features[0, 0], compute_features(samples[56000:104000]))


def test_silence_is_the_logarithm_of_the_floor(processor):
    features = processor(audio=np.zeros(RATE, np.float32), sampling_rate=RATE).input_features
    torch.testing.assert_close(features, torch.full_like(features, -1.34317), rtol=0, atol=1e-5)  # ln(1e-7) / 12


def test_of_two_channels_the_first_is_heard_and_not_the_mean(processor):
    left, right = draw_sound(10), draw_sound(10, seed=1)
    features = processor(audio=np.stack([left, right]), sampling_rate=RATE).input_features
    torch.testing.assert_close(features, processor(audio=left, sampling_rate=RATE).input_features)


def test_a_first_channel_that_is_silent_beside_another_is_warned_of(processor, tmp_path):
    """Of a recorder with one microphone at its second input nothing would be heard."""
    recording = np.stack([np.zeros(RATE, np.float32), draw_sound(1)])
    write_wav(tmp_path / "siren.wav", recording, RATE)
    with pytest.warns(UserWarning, match=r"`audio\[1\]`: the first of its 2 channels is silent.*channels=\"mean\""):
        processor(audio=[draw_sound(1), tmp_path / "siren.wav"], sampling_rate=RATE)


def test_silence_on_all_channels_is_not_warned_of(processor):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        processor(audio=[np.zeros(RATE, np.float32), np.zeros((2, RATE), np.float32)], sampling_rate=RATE)


def test_the_mean_of_channels_is_heard_where_asked():
    left, right = draw_sound(10), draw_sound(10, seed=1)
    processor = SSLAlignmentProcessor(channels="mean")
    features = processor(audio=np.stack([left, right]), sampling_rate=RATE).input_features
    torch.testing.assert_close(features, processor(audio=(left + right) / 2, sampling_rate=RATE).input_features)


def test_other_rates_are_resampled_so_that_the_same_seconds_are_seen(processor, tmp_path):
    """The authors' code cuts by 16,000 whatever the rate: of 44.1 kHz it would see 1.3 to 2.4 s."""
    seconds = np.arange(10 * 44100) / 44100
    tone = np.where((seconds > 3.5) & (seconds < 6.5), np.sin(2 * np.pi * 1000 * seconds), 0).astype(np.float32)
    write_wav(tmp_path / "tone.wav", tone, 44100)
    features = processor(audio=tmp_path / "tone.wav").input_features[0, 0]
    assert features.shape == (257, 299)
    assert set(features[:, 5:-5].argmax(0).tolist()) == {32}  # 1000 Hz
    resampled, _ = read_audio(tmp_path / "tone.wav", RATE)
    torch.testing.assert_close(features, compute_features(resampled[56000:104000]), rtol=1e-4, atol=1e-4)


def test_a_level_brings_quiet_clips_to_one_loudness():
    processor = SSLAlignmentProcessor(level=0.2)
    samples = draw_sound(10)
    loud, quiet = (processor(audio=scale * samples, sampling_rate=RATE).input_features for scale in (1, 1e-4))
    torch.testing.assert_close(loud, quiet, rtol=0, atol=1e-4)
    plain = SSLAlignmentProcessor()(audio=samples, sampling_rate=RATE).input_features
    power = float(np.sqrt(np.mean(np.square(samples[56000:104000].astype(np.float64)))))
    scaled = SSLAlignmentProcessor()(audio=samples * (0.2 / power), sampling_rate=RATE).input_features
    torch.testing.assert_close(loud, scaled, rtol=0, atol=1e-4)
    assert (loud - plain).abs().max() > 0.05


def test_silence_stays_silence_at_any_level():
    features = SSLAlignmentProcessor(level=0.1)(audio=np.zeros(RATE, np.float32), sampling_rate=RATE).input_features
    torch.testing.assert_close(features, torch.full_like(features, -1.34317), rtol=0, atol=1e-5)


def test_a_single_click_in_silence_has_features_at_any_level():
    """Its root mean square is 0.005: at 0.1 it would reach 22 times full scale."""
    samples = np.zeros(10 * RATE, np.float32)
    samples[5 * RATE] = 1.0
    features = SSLAlignmentProcessor(level=0.1)(audio=samples, sampling_rate=RATE).input_features
    assert features.isfinite().all()
    assert features.max() > -1


def test_a_smaller_spectrogram_averages_densities():
    processor = SSLAlignmentProcessor(spectrogram_size=(64, 50), log_mean=-6.0, log_std=4.0, log_floor=1e-4)
    samples = draw_sound(10)
    features = processor(audio=samples, sampling_rate=RATE).input_features
    clip = torch.from_numpy(samples[56000:104000])
    expected = (log_power_density(clip, size=(64, 50), log_floor=1e-4) + 6) / 4
    assert features.shape == (1, 1, 64, 50)
    torch.testing.assert_close(features[0, 0], expected.float())


def test_recordings_that_are_clips_already_are_left_whole(processor):
    samples = draw_sound(1)
    features = processor(audio=[samples, samples], sampling_rate=RATE, cut=False).input_features
    assert features.shape == (2, 1, 257, (16000 - 512) // 159 + 1)
    torch.testing.assert_close(features[0, 0], compute_features(samples))


def test_clips_are_limited_to_full_scale_whether_they_are_cut_or_not(processor):
    samples = 3 * draw_sound(1)  # as decoders of lossy sound give, which overshoot
    assert np.abs(samples).max() > 1
    features = processor(audio=samples, sampling_rate=RATE, cut=False).input_features
    torch.testing.assert_close(features[0, 0], compute_features(samples.clip(-1, 1)))


def test_clips_of_two_lengths_are_refused_where_nothing_is_cut(processor):
    with pytest.raises(ValueError, match=r"`audio` has clips of 16000 to 32000 samples; with `cut=False` all"):
        processor(audio=[draw_sound(1), draw_sound(2)], sampling_rate=RATE, cut=False)


def test_a_clip_shorter_than_a_frame_is_refused_where_nothing_is_cut(processor):
    with pytest.raises(ValueError, match="has 400 samples, one frame needs 512"):
        processor(audio=draw_sound(0.025), sampling_rate=RATE, cut=False)


def test_a_recording_and_a_list_of_it_are_the_same(processor):
    samples = draw_sound(1)
    alone = processor(audio=samples, sampling_rate=RATE).input_features
    for audio in ([samples], samples.tolist(), torch.from_numpy(samples), {"array": samples, "sampling_rate": RATE}):
        torch.testing.assert_close(processor(audio=audio, sampling_rate=RATE).input_features, alone)


# --- which pixels -----------------------------------------------------------------------------------------------------


def resize_plainly(picture: np.ndarray, size: int) -> np.ndarray:
    """Bicubic, a = -0.75, four neighbours a side whatever the scale, edges repeated; values are not cut."""

    def kernel(distance: float) -> float:
        x = abs(distance)
        if x < 1:
            return 1.25 * x**3 - 2.25 * x**2 + 1
        return -0.75 * (x**3 - 5 * x**2 + 8 * x - 4) if x < 2 else 0.0

    def weigh(length: int) -> np.ndarray:
        matrix = np.zeros((size, length))
        for target in range(size):
            centre = (target + 0.5) * length / size - 0.5
            for source in range(int(np.floor(centre)) - 1, int(np.floor(centre)) + 3):
                matrix[target, min(max(source, 0), length - 1)] += kernel(centre - source)
        return matrix

    values = picture / 255
    return np.einsum("ir,rcx,jc->ijx", weigh(picture.shape[0]), values, weigh(picture.shape[1]))


@pytest.mark.parametrize(("rows", "columns"), [(90, 120), (17, 9), (1, 1), (300, 200)])
def test_a_picture_is_squeezed_bicubically_without_antialiasing(rows, columns):
    picture = draw_picture(rows, columns)
    pixels = SSLAlignmentProcessor(image_size=32)(images=picture).pixel_values
    expected = (resize_plainly(picture, 32) - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    assert (pixels.shape, pixels.dtype) == ((1, 3, 32, 32), torch.float32)
    np.testing.assert_allclose(pixels[0].permute(1, 2, 0), expected, rtol=0, atol=2e-5)


def test_antialiasing_is_an_option_that_matters_where_pictures_shrink():
    picture = draw_picture(896, 896)
    plain = SSLAlignmentProcessor()(images=picture).pixel_values
    smooth = SSLAlignmentProcessor(image_resize="bicubic_antialias")(images=picture).pixel_values
    assert smooth.std() < 0.5 * plain.std()
    enlarged = draw_picture(50, 50)
    plain, smooth = (
        SSLAlignmentProcessor(image_resize=how)(images=enlarged).pixel_values
        for how in ("bicubic", "bicubic_antialias")
    )
    assert (plain - smooth).abs().max() < 1.0


def test_pillows_bicubic_is_pillows():
    picture = draw_picture()
    pixels = SSLAlignmentProcessor(image_resize="pil_bicubic").prepare_image(picture)
    resized = np.asarray(Image.fromarray(picture).resize((224, 224), Image.Resampling.BICUBIC)) / 255
    expected = (resized - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(pixels.permute(1, 2, 0), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("rows", "columns", "resized"), [(448, 896, (448, 224)), (900, 300, (224, 672))])
def test_the_older_way_keeps_the_aspect_and_cuts_the_middle(rows, columns, resized):
    picture = draw_picture(rows, columns)
    pixels = SSLAlignmentProcessor(image_resize="pil_short_side").prepare_image(picture)
    whole = np.asarray(Image.fromarray(picture).resize(resized, Image.Resampling.BICUBIC)) / 255
    top, left = (whole.shape[0] - 224) // 2, (whole.shape[1] - 224) // 2
    expected = (whole[top : top + 224, left : left + 224] - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(pixels.permute(1, 2, 0), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("how", ["bicubic", "bicubic_antialias", "pil_bicubic", "pil_short_side"])
@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (1, 500), (500, 1), (225, 224), (223, 640)])
def test_pictures_of_odd_sizes_have_224_by_224_pixels(how, rows, columns):
    pixels = SSLAlignmentProcessor(image_resize=how)(images=draw_picture(rows, columns)).pixel_values
    assert pixels.shape == (1, 3, 224, 224)
    assert pixels.isfinite().all()


def test_values_that_overshoot_are_kept(processor):
    """An edge from black to white: bicubic goes below 0 and above 1 beside it."""
    edge = np.zeros((40, 40, 3), np.uint8)
    edge[:, 20:] = 255
    pixels = processor(images=edge).pixel_values[0, 0] * 0.229 + 0.485
    assert pixels.min() < -0.05
    assert pixels.max() > 1.05


def test_a_list_a_batch_and_one_picture_are_the_same(processor):
    first, second = draw_picture(), draw_picture(seed=1)
    alone = torch.cat([processor(images=picture).pixel_values for picture in (first, second)])
    for images in ([first, second], np.stack([first, second]), [Image.fromarray(first), torch.from_numpy(second)]):
        torch.testing.assert_close(processor(images=images).pixel_values, alone)


# --- both, and what is refused ----------------------------------------------------------------------------------------


def test_both_sides_together_may_differ_in_number(processor):
    inputs = processor(images=[draw_picture()] * 2, audio=[draw_sound(1)] * 3, sampling_rate=RATE)
    assert (inputs.pixel_values.shape[0], inputs.input_features.shape[0]) == (2, 3)
    assert list(processor(images=draw_picture())) == ["pixel_values"]
    assert list(processor(audio=draw_sound(1), sampling_rate=RATE)) == ["input_features"]


def test_arrays_of_numpy_are_an_option(processor):
    inputs = processor(images=draw_picture(), audio=draw_sound(1), sampling_rate=RATE, return_tensors="np")
    assert {type(value) for value in inputs.values()} == {np.ndarray}


@pytest.mark.parametrize(
    ("inputs", "error", "message"),
    [
        ({}, ValueError, "`images` and `audio` are both None"),
        ({"images": []}, ValueError, "`images` is an empty list"),
        ({"audio": []}, ValueError, "`audio` is an empty list"),
        ({"audio": np.zeros(RATE, np.float32)}, ValueError, "`audio`.*sampling_rate"),
        ({"audio": np.zeros(RATE, np.int16), "sampling_rate": RATE}, TypeError, "`audio`.*int16"),
        ({"audio": np.full(RATE, np.nan), "sampling_rate": RATE}, ValueError, "`audio`.*NaN"),
        ({"audio": np.zeros(0, np.float32), "sampling_rate": RATE}, ValueError, "`audio`"),
        ({"images": np.zeros((4, 4, 3))}, TypeError, r"`images` must be uint8 in \[0, 255\], got float64"),
        ({"images": [np.zeros((4, 4, 3), np.uint8), 7]}, TypeError, r"`images\[1\]` must be a path.*got int"),
        ({"images": "missing.jpg"}, FileNotFoundError, r"missing\.jpg"),
        ({"audio": ["missing.wav"]}, FileNotFoundError, r"missing\.wav"),
    ],
)
def test_what_is_no_input_is_named(processor, inputs, error, message):
    with pytest.raises(error, match=message):
        processor(**inputs)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"image_size": 0}, r"`image_size` must be at least 1, got 0"),
        ({"image_size": 224.0}, r"`image_size` must be a whole number, got 224\.0"),
        ({"image_resize": "lanczos"}, r"`image_resize` must be one of bicubic, .*got 'lanczos'"),
        ({"image_mean": (0.5, 0.5)}, r"`image_mean` and `image_std` must have three numbers"),
        ({"image_std": (0.2, 0.0, 0.2)}, r"those of `image_std` above 0"),
        ({"sampling_rate": 0}, r"`sampling_rate` must be at least 1, got 0"),
        ({"clip_seconds": -3}, r"`clip_seconds` must be above 0 seconds, got -3"),
        ({"clip_seconds": 0.01}, r"`clip_seconds` \(0\.01\) is 160 samples, less than one frame of `fft_size` \(512\)"),
        ({"base_seconds": 2.0}, r"`base_seconds` must be at least 3\.0 seconds, got 2\.0"),
        ({"channels": "left"}, r"`channels` must be one of first, mean, got 'left'"),
        ({"level": 0.0}, r"`level` must be above 0, got 0\.0"),
        ({"fft_size": 3}, r"`fft_size` must be at least 4, got 3"),
        ({"hop_size": 0}, r"`hop_size` must be at least 1, got 0"),
        ({"spectrogram_size": (64,)}, r"`spectrogram_size` must be \(bins, frames\) from 1 on, got \[64\]"),
        ({"log_floor": 0.0}, r"`log_floor` must be above 0, got 0\.0"),
        ({"log_std": -12}, r"`log_std` must be above 0, got -12"),
        ({"log_mean": float("nan")}, r"`log_mean` must be finite, got nan"),
    ],
)
def test_a_bad_setting_is_named(setting, message):
    with pytest.raises((ValueError, TypeError), match=message):
        SSLAlignmentProcessor(**setting)


def test_settings_are_saved_and_loaded(tmp_path):
    settings = {
        "image_size": 64,
        "image_resize": "pil_bicubic",
        "base_seconds": None,
        "channels": "mean",
        "level": 0.1,
        "hop_size": 238,
        "spectrogram_size": [32, 40],
        "log_mean": -5.0,
    }
    SSLAlignmentProcessor(**settings).save_pretrained(tmp_path)
    loaded = SSLAlignmentProcessor.from_pretrained(tmp_path)
    assert {name: getattr(loaded, name) for name in settings} == settings
    samples, picture = draw_sound(4), draw_picture()
    original = SSLAlignmentProcessor(**settings)(images=picture, audio=samples, sampling_rate=RATE)
    again = loaded(images=picture, audio=samples, sampling_rate=RATE)
    for name in original:
        assert torch.equal(original[name], again[name])


def test_a_bad_setting_in_a_saved_file_is_named(processor, tmp_path):
    processor.save_pretrained(tmp_path)
    (path,) = [file for file in tmp_path.iterdir() if "clip_seconds" in file.read_text()]
    path.write_text(json.dumps(json.loads(path.read_text()) | {"hop_size": 0}))
    with pytest.raises(ValueError, match="`hop_size` must be at least 1"):
        SSLAlignmentProcessor.from_pretrained(tmp_path)
