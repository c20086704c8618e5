import numpy as np
import pytest
import soundfile
import torch

from avzoo.audio import read_audio, resample
from avzoo.audio import segments as audio_segments
from avzoo.data.voiceldm_lists import read_voiceldm_lists
from avzoo.models.voiceldm.speech_in_noise import SpeechInNoise

RATE = 16000
CLIP = 16000  # samples; a second is enough here


def white(num_samples, seed, channels=1):
    samples = np.random.default_rng(seed).uniform(-0.3, 0.3, (num_samples, channels))
    return samples.astype(np.float32)


def write_sound(path, samples, rate=RATE, subtype="FLOAT"):
    soundfile.write(path, samples, rate, subtype=subtype)
    return str(path)


def speech_row(path, data="cv", text="Hello there."):
    return {"path": str(path), "text": text, "data": data}


def decibels(samples):
    return 10 * np.log10(np.mean(np.square(samples, dtype=np.float64)))


@pytest.fixture
def speech(tmp_path):
    """Half a second, so that the clip's second half is zeros."""
    return speech_row(write_sound(tmp_path / "speech.wav", white(CLIP // 2, seed=0)))


@pytest.fixture
def noise(tmp_path):
    return {"path": write_sound(tmp_path / "noise.wav", white(5 * CLIP, seed=1)), "text": None, "data": "demand"}


def clips(rows, noise_rows=(), **options):
    return SpeechInNoise(rows, noise_rows, **{"num_samples": CLIP, "seed": 0, **options})


def samples_of(dataset, index=0):
    return dataset[index]["waveform"].numpy()


def noise_in(row, noise, **options):
    """Clean speech, and what was added to it."""
    clean = samples_of(clips([row]))
    return clean, samples_of(clips([row], [noise], noise_probability=1.0, **options)).astype(np.float64) - clean


def test_a_clip_is_the_first_samples_of_a_long_recording(tmp_path):
    samples = white(3 * CLIP, seed=0)
    item = clips([speech_row(write_sound(tmp_path / "a.wav", samples), text="Ho ho.")])[0]
    assert item["text"] == "Ho ho."
    assert item["waveform"].dtype == torch.float32
    np.testing.assert_array_equal(item["waveform"].numpy(), samples[:CLIP, 0])


def test_a_short_recording_is_padded_with_zeros(tmp_path):
    samples = white(100, seed=0)
    waveform = samples_of(clips([speech_row(write_sound(tmp_path / "a.wav", samples))]))
    assert waveform.shape == (CLIP,)
    np.testing.assert_array_equal(waveform[:100], samples[:, 0])
    assert not waveform[100:].any()


def test_the_default_clip_has_the_authors_length(speech):
    assert SpeechInNoise([speech])[0]["waveform"].shape == (163840,)


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
def test_channels_are_averaged_and_the_rate_changed(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, white(3 * 44100, seed=0, channels=2), 44100)
    stored, rate = read_audio(path, channels="all")
    expected = resample(stored.mean(axis=0), rate, RATE)[:CLIP]
    np.testing.assert_allclose(samples_of(clips([speech_row(path)])), expected, atol=1e-5)


def test_only_the_clip_of_a_speech_recording_is_read(tmp_path):
    samples = white(10 * CLIP, seed=0)
    samples[-1] = np.nan  # reading it would be refused
    assert np.isfinite(samples_of(clips([speech_row(write_sound(tmp_path / "a.wav", samples))]))).all()


@pytest.mark.parametrize("snr_db", [4.0, 20.0, -10.0])
def test_noise_has_the_signal_to_noise_ratio_over_the_whole_clip(speech, noise, snr_db):
    clean, added = noise_in(speech, noise, snr_db=(snr_db, snr_db))
    assert decibels(clean) - decibels(added) == pytest.approx(snr_db, abs=1e-3)


def test_the_added_noise_is_a_segment_of_the_recording(speech, noise):
    added = noise_in(speech, noise)[1][:50]
    whole, _ = read_audio(noise["path"])
    stretches = np.lib.stride_tricks.sliding_window_view(whole.astype(np.float64), len(added))
    similarity = stretches @ added / (np.linalg.norm(stretches, axis=1) * np.linalg.norm(added))
    assert similarity.max() > 1 - 1e-6


def test_signal_to_noise_ratios_cover_the_authors_range(speech, noise):
    rows = [speech] * 60
    clean = samples_of(clips(rows))
    noisy = clips(rows, [noise], noise_probability=1.0)
    ratios = [decibels(clean) - decibels(item["waveform"].numpy() - clean) for item in noisy]
    assert 4 - 1e-3 < min(ratios) < 6
    assert 18 < max(ratios) < 20 + 1e-3


def test_half_of_the_rows_are_mixed(speech, noise):
    rows = [speech] * 200
    clean = samples_of(clips(rows))
    mixed = sum(not np.array_equal(item["waveform"].numpy(), clean) for item in clips(rows, [noise]))
    assert 75 < mixed < 125


def test_every_noise_recording_is_drawn_at_several_positions(tmp_path, speech):
    # Steps of 0.1 s, each with its own level: what was added tells where it is from.
    noises = []
    for sign in (1, -1):
        steps = sign * np.repeat(np.linspace(0.1, 0.9, 50), RATE // 10).astype(np.float32)
        noises.append({"path": write_sound(tmp_path / f"noise{sign}.wav", steps), "text": None, "data": "demand"})
    rows = [speech] * 20
    clean = samples_of(clips(rows))
    added = [item["waveform"].numpy() - clean for item in clips(rows, noises, noise_probability=1.0)]
    slopes = {round(float(noise[-1] / noise[0]), 2) for noise in added}
    assert {float(np.sign(noise[-1])) for noise in added} == {1.0, -1.0}
    assert len(slopes) > 10


def test_noise_shorter_than_the_clip_is_padded_with_zeros(tmp_path, speech):
    path = write_sound(tmp_path / "short.wav", white(CLIP // 4, seed=3))
    clean, added = noise_in(speech, {"path": path, "text": None, "data": "as_b"}, snr_db=(5, 5))
    assert added[: CLIP // 4].any()
    assert not added[CLIP // 4 :].any()
    assert decibels(clean) - decibels(added) == pytest.approx(5, abs=1e-3)


def read_segments(speech, path):
    """Many clips with noise from this file, at rates so low that resampling reaches over a good part of a second."""
    dataset = clips(
        [speech] * 20, [{"path": path}], num_samples=1000, sampling_rate=1000, noise_probability=1.0, snr_db=(0, 0)
    )
    return np.stack([item["waveform"].numpy() for item in dataset])


def test_a_segment_read_alone_equals_that_of_the_whole_recording(tmp_path, speech):
    samples = np.round(32767 * white(7 * 2756, seed=4, channels=2)).astype(np.int16)  # formats round floats differently
    paths = [write_sound(tmp_path / f"noise.{suffix}", samples, 2756, "PCM_16") for suffix in ("wav", "flac", "aiff")]
    read_alone, also_alone, read_whole = (read_segments(speech, path) for path in paths)
    np.testing.assert_allclose(read_alone, read_whole, atol=1e-5)
    np.testing.assert_allclose(also_alone, read_whole, atol=1e-5)


def test_noise_can_be_an_mp3(tmp_path, speech):
    path = tmp_path / "noise.mp3"
    soundfile.write(path, white(7 * 22050, seed=6), 22050)
    decoded = write_sound(tmp_path / "decoded.wav", read_audio(path)[0], 22050)
    np.testing.assert_allclose(read_segments(speech, path), read_segments(speech, decoded), atol=1e-5)


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_only_the_segment_of_a_long_noise_is_decoded(tmp_path, speech, monkeypatch, suffix):
    path = write_sound(tmp_path / f"long.{suffix}", white(60 * 22050, seed=5), 22050, "PCM_16")
    shapes = []

    def read(source, *arguments, **options):
        shapes.append(np.shape(source))
        return read_audio(source, *arguments, **options)

    monkeypatch.setattr(audio_segments, "read_audio", read)
    for _ in clips([speech] * 10, [{"path": path}], noise_probability=1.0):
        pass
    assert len(shapes) == 10
    # At most two seconds hold the clip of one, and there is one on either side; () would be the file itself.
    assert all(0 < samples <= 4 * 22050 for (samples,) in shapes)


def test_only_rows_of_common_voice_are_mixed(speech, noise):
    rows = [{**speech, "data": data} for data in ("cv", "as_b", "voxceleb", "c", "cv2")]
    clean = samples_of(clips(rows))
    dataset = clips(rows, [noise], noise_probability=1.0)
    assert [not np.array_equal(item["waveform"].numpy(), clean) for item in dataset] == [True] + 4 * [False]


@pytest.mark.parametrize("noisy_data", ["voxceleb", ["voxceleb"]])
def test_the_rows_that_get_noise_can_be_chosen(speech, noise, noisy_data):
    rows = [{**speech, "data": data} for data in ("cv", "voxceleb")]
    clean = samples_of(clips(rows))
    dataset = clips(rows, [noise], noise_probability=1.0, noisy_data=noisy_data)
    assert [not np.array_equal(item["waveform"].numpy(), clean) for item in dataset] == [False, True]


def test_without_noise_rows_nothing_is_mixed(speech):
    np.testing.assert_array_equal(samples_of(clips([speech], noise_probability=1.0)), samples_of(clips([speech])))


@pytest.mark.parametrize("silent", ["speech", "noise"])
def test_silence_is_left_unmixed(tmp_path, speech, noise, silent):
    path = write_sound(tmp_path / "silent.wav", np.zeros(2 * CLIP, np.float32))
    row = speech_row(path) if silent == "speech" else speech
    clean, added = noise_in(row, {"path": path} if silent == "noise" else noise)
    assert np.isfinite(clean).all()
    assert not added.any()


def test_a_sum_beyond_full_scale_is_not_clipped(tmp_path, noise):
    loud = speech_row(write_sound(tmp_path / "loud.wav", np.full(CLIP, 0.99, np.float32)))
    assert samples_of(clips([loud], [noise], noise_probability=1.0, snr_db=(4, 4))).max() > 1.2


def test_with_a_seed_an_item_is_the_same_whenever_it_is_read(speech, noise):
    once, again = clips([speech] * 6, [noise]), clips([speech] * 6, [noise])
    torch.manual_seed(1)
    forwards = [samples_of(once, index) for index in range(6)]
    torch.manual_seed(2)
    backwards = [samples_of(again, index) for index in range(-1, -7, -1)]
    np.testing.assert_array_equal(np.stack(forwards), np.stack(backwards[::-1]))


def test_with_a_seed_nothing_is_drawn_from_the_global_generator(speech, noise):
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    samples_of(clips([speech], [noise], noise_probability=1.0))
    assert torch.equal(torch.rand(3), expected)


def test_items_and_seeds_differ_in_their_noise(speech, noise):
    options = {"noise_probability": 1.0}
    drawn = [clips([speech] * 2, [noise], seed=seed, **options)[index] for seed in (0, 1) for index in (0, 1)]
    assert len({item["waveform"].numpy().tobytes() for item in drawn}) == 4


def test_without_a_seed_the_global_generator_decides(speech, noise):
    dataset = clips([speech], [noise], noise_probability=1.0, seed=None)
    torch.manual_seed(1)
    first, second = samples_of(dataset), samples_of(dataset)
    torch.manual_seed(1)
    np.testing.assert_array_equal(samples_of(dataset), first)
    assert not np.array_equal(first, second)


def test_each_row_of_a_list_is_an_item(tmp_path):
    write_sound(tmp_path / "a.wav", white(CLIP, seed=0))
    table = tmp_path / "cv1.csv"
    table.write_text("file_path,text,data\na.wav,Hi.,cv\n", encoding="utf-8")
    dataset = clips(read_voiceldm_lists(table, tmp_path))
    assert (len(dataset), dataset[0]["text"]) == (1, "Hi.")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_samples": 0}, r"`num_samples` must be at least 1, got 0"),
        ({"sampling_rate": 0}, r"`sampling_rate` must be a positive number of Hz, got 0"),
        ({"noise_probability": 1.5}, r"`noise_probability` must be at least 0 and at most 1, got 1\.5"),
        ({"noise_probability": -0.1}, r"`noise_probability` must be at least 0 and at most 1, got -0\.1"),
        ({"noise_probability": float("nan")}, r"`noise_probability` must be at least 0 and at most 1, got nan"),
        ({"snr_db": (20, 4)}, r"`snr_db\[1\]` must be at least 20, got 4"),
        ({"snr_db": (4, float("inf"))}, r"`snr_db\[1\]` must be at least 4, got inf"),
    ],
)
def test_arguments_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        clips([speech_row("a.wav")], **options)


def test_an_empty_list_of_speech_rows_is_refused():
    with pytest.raises(ValueError, match="`speech_rows` is empty"):
        clips([])


def test_noise_rows_in_place_of_speech_are_refused():
    with pytest.raises(ValueError, match=r"`speech_rows\[1\]` \(b\.wav\) has no text"):
        clips([speech_row("a.wav"), speech_row("b.wav", text=None)])


def test_a_missing_recording_is_named(speech, noise, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"gone\.wav"):
        clips([speech_row(tmp_path / "gone.wav")])[0]
    with pytest.raises(FileNotFoundError, match=r"gone\.wav"):
        clips([speech], [{"path": str(tmp_path / "gone.wav")}], noise_probability=1.0)[0]
