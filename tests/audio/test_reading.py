import io
import subprocess
import sys
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
import soundfile
import torch

from avzoo.audio import iter_audio, read_audio, resample, write_wav

LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}


def tone(rate: int, channels: int = 1, seconds: float = 1.5) -> np.ndarray:
    """(channels, samples): silence for half a second, then 440 Hz, one level per channel."""
    time = np.arange(round(seconds * rate)) / rate
    levels = 0.4 / np.arange(1, channels + 1)[:, None]
    return (levels * np.sin(2 * np.pi * 440 * time) * (time >= 0.5)).astype(np.float32)


def write_with_av(path: Path, codec: str, samples: np.ndarray, rate: int, video: bool = False, **options) -> Path:
    layout = LAYOUTS[len(samples)]
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        if video:
            picture = container.add_stream("mpeg4", rate=25)
            picture.width = picture.height = 64
            picture.pix_fmt = "yuv420p"
            for _ in range(round(25 * samples.shape[1] / rate)):
                frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
                container.mux(picture.encode(frame))
            container.mux(picture.encode())
        for start in range(0, samples.shape[1], 1024):
            interleaved = np.ascontiguousarray(samples[:, start : start + 1024].T).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(interleaved, format="flt", layout=layout)
            frame.sample_rate, frame.pts = rate, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_with_soundfile(path: Path, samples: np.ndarray, rate: int) -> Path:
    soundfile.write(path, samples.T, rate)
    return path


def cut(path: Path, share: float = 0.6) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: round(share * len(content))])
    return path


def assert_is_the_tone(samples: np.ndarray, expected: np.ndarray, rate: int, error: float):
    """The same content within the codec's error and not shifted; a codec may add one frame at the end."""
    assert samples.dtype == np.float32
    assert 0 <= samples.shape[-1] - expected.shape[-1] < 0.03 * rate
    samples = samples[..., : expected.shape[-1]]
    onset = np.argmax(np.abs(np.atleast_2d(samples)[0]) > 0.1) / rate
    assert onset == pytest.approx(0.5, abs=0.003)
    inside = slice(round(0.6 * rate), round(1.4 * rate))  # codecs smear the onset itself
    difference = samples[..., inside] - expected[..., inside]
    # Shifted by a millisecond the difference would be larger than the tone.
    assert np.linalg.norm(difference) < error * np.linalg.norm(expected[..., inside])


FILES = [
    ("tone.wav", {}, 1e-3),
    ("tone.flac", {}, 1e-3),
    ("tone.ogg", {}, 0.05),
    ("tone.mp3", {}, 0.05),
    ("tone.m4a", {"codec": "aac"}, 0.05),
    ("tone.mp4", {"codec": "aac", "video": True}, 0.05),
    ("tone.mov", {"codec": "pcm_s16le", "video": True}, 1e-3),
    ("alac.m4a", {"codec": "alac"}, 1e-3),
    ("tone.opus", {"codec": "libopus", "rate": 48000}, 0.1),
    ("tone.webm", {"codec": "libopus", "rate": 48000}, 0.1),
    ("tone.mkv", {"codec": "flac", "video": True}, 1e-3),
]


def write_file(folder: Path, file_name: str, codec: str | None = None, rate: int = 44100, channels: int = 1, **options):
    samples = tone(rate, channels)
    if codec is None:
        return write_with_soundfile(folder / file_name, samples, rate), samples, rate
    return write_with_av(folder / file_name, codec, samples, rate, **options), samples, rate


@pytest.mark.parametrize(("file_name", "how", "error"), FILES, ids=[f[0] for f in FILES])
def test_a_file_of_any_codec_gives_its_samples_unshifted(tmp_path, file_name, how, error):
    path, expected, rate = write_file(tmp_path, file_name, **how)
    samples, read_rate = read_audio(path)
    assert read_rate == rate
    assert_is_the_tone(samples, expected[0], rate, error)
    assert_is_the_tone(read_audio(path, 16000)[0], tone(16000)[0], 16000, error)


@pytest.mark.parametrize(("file_name", "how", "error"), FILES, ids=[f[0] for f in FILES])
def test_blocks_put_together_are_the_whole(tmp_path, file_name, how, error):
    path, _, _ = write_file(tmp_path, file_name, channels=2, **how)
    blocks = list(iter_audio(path, 16000, block_seconds=0.3))
    assert {len(block) for block in blocks[:-1]} == {4800}
    assert len(blocks[-1]) <= 4800
    np.testing.assert_array_equal(np.concatenate(blocks), read_audio(path, 16000)[0])


@pytest.mark.parametrize(
    ("channels", "loudness"), [((2,), 0.5**0.5), ((0, 1), 1), ((0,), 0.5), ((3,), 0), ((4, 5), 0.5**0.5)]
)
@pytest.mark.parametrize("file_name", ["around.flac", "around.mkv", "around.m4a"])
def test_the_centre_of_sound_around_is_as_loud_as_the_middle_of_stereo(tmp_path, file_name, channels, loudness):
    """5.1: front left and right, centre, low frequencies, back left and right."""
    path, voice = tmp_path / file_name, tone(48000)[:1]
    codec = {"flac": "flac", "mkv": "flac", "m4a": "aac"}[file_name.split(".")[1]]
    sound = np.zeros((6, voice.shape[1]), np.float32)
    sound[list(channels)] = 0.3 * voice
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=48000, layout="5.1")
        kind = "s16" if codec == "flac" else "fltp"
        samples = (sound.T * 32767).astype(np.int16).reshape(1, -1) if kind == "s16" else sound
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format=kind, layout="5.1")
        frame.sample_rate, frame.pts = 48000, 0
        container.mux(stream.encode(frame) + stream.encode(None))
    mixed = read_audio(path)[0][: voice.shape[1]]
    inside = slice(4800, -4800)
    power, expected = np.square(mixed[inside]).mean(), np.square(0.3 * loudness * voice[0][inside]).mean()
    if file_name == "around.m4a" and channels == (3,):
        assert power < 1e-6
    else:
        assert power**0.5 == pytest.approx(expected**0.5, abs=2e-3)


def test_six_microphones_are_no_loudspeakers(tmp_path):
    """A WAV file that does not say where its channels belong, of a ring of microphones, say."""
    sound = np.zeros((6, 4800), np.float32)
    sound[2] = 0.6
    write_wav(tmp_path / "ring.wav", sound, 48000)
    np.testing.assert_allclose(read_audio(tmp_path / "ring.wav")[0], 0.1, atol=1e-6)


@pytest.mark.parametrize("file_name", ["wired.wav", "wired.mkv"])
def test_a_pair_of_channels_that_cancels_is_not_silence(tmp_path, file_name):
    voice = 0.4 * tone(48000)[0]
    path, noise = tmp_path / file_name, 1e-3 * np.random.default_rng(0).standard_normal(len(voice)).astype(np.float32)
    if file_name == "wired.wav":
        write_wav(path, np.stack([voice, noise - voice]), 48000)
    else:
        with av.open(str(path), "w") as container:
            stream = container.add_stream("flac", rate=48000, layout="stereo")
            pair = (np.stack([voice, noise - voice], axis=1) * 32767).astype(np.int16).reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(pair, format="s16", layout="stereo")
            frame.sample_rate, frame.pts = 48000, 0
            container.mux(stream.encode(frame) + stream.encode(None))
    np.testing.assert_allclose(read_audio(path)[0], voice, atol=3e-3)
    assert np.abs(read_audio(path, channels="mean")[0]).max() < 0.01
    np.testing.assert_allclose(np.concatenate(list(iter_audio(path, block_seconds=0.1))), voice, atol=3e-3)


def test_two_voices_of_one_level_are_no_pair_that_cancels(tmp_path):
    draw = np.random.default_rng(0)
    voices = 0.1 * draw.standard_normal((2, 48000)).astype(np.float32)
    write_wav(tmp_path / "two.wav", voices, 48000)
    np.testing.assert_allclose(read_audio(tmp_path / "two.wav")[0], voices.mean(axis=0), atol=1e-6)


@pytest.mark.parametrize("channels", [1, 2, 6, 8])
@pytest.mark.parametrize(("file_name", "codec"), [("many.wav", None), ("many.m4a", "aac"), ("many.mkv", "pcm_s16le")])
def test_channels_are_kept_averaged_or_picked(tmp_path, channels, file_name, codec):
    path, expected, rate = write_file(tmp_path, file_name, codec, channels=channels)
    every, _ = read_audio(path, channels="all")
    assert every.shape[0] == channels
    if codec != "aac":  # whose order of more than two channels is its own
        assert_is_the_tone(every, expected, rate, 1e-3)
        assert_is_the_tone(read_audio(path)[0], expected.mean(axis=0), rate, 1e-3)
    np.testing.assert_allclose(read_audio(path, channels="mean")[0], every.mean(axis=0), atol=1e-6)
    np.testing.assert_array_equal(read_audio(path, channels="first")[0], every[0])
    blocks = iter_audio(path, 8000, channels="all", block_seconds=0.4)
    np.testing.assert_array_equal(np.concatenate(list(blocks), axis=1), read_audio(path, 8000, channels="all")[0])


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 96000, 192_000])
@pytest.mark.parametrize("target", [8000, 16000, 192_000])
def test_any_rate_becomes_any_other(tmp_path, rate, target):
    path = write_with_soundfile(tmp_path / "tone.wav", tone(rate), rate)
    samples, read_rate = read_audio(path, target)
    assert read_rate == target
    assert len(samples) == pytest.approx(tone(rate).shape[1] * target / rate, abs=1)
    inside = slice(round(0.6 * target), round(1.4 * target))
    np.testing.assert_allclose(samples[inside], tone(target)[0, : len(samples)][inside], atol=2e-3)


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.uint8, np.float32, np.float64])
def test_every_sample_format_has_the_same_full_scale(tmp_path, dtype):
    codec = {np.int16: "pcm_s16le", np.int32: "pcm_s32le", np.uint8: "pcm_u8", np.float32: "pcm_f32le"}
    path = write_with_av(tmp_path / "tone.mkv", codec.get(dtype, "pcm_f64le"), tone(16000), 16000)
    np.testing.assert_allclose(read_audio(path)[0], tone(16000)[0], atol=1 / 64 if dtype is np.uint8 else 1e-4)


def sources_of(path: Path, samples: np.ndarray, rate: int):
    content, array = path.read_bytes(), samples[0]
    decoder = SimpleNamespace(get_all_samples=lambda: SimpleNamespace(data=torch.from_numpy(samples), sample_rate=rate))
    return {
        "str": str(path),
        "bytes": content,
        "bytearray": bytearray(content),
        "memoryview": memoryview(content),
        "file in memory": io.BytesIO(content),
        "row with bytes": {"path": "somewhere/else.wav", "bytes": content},
        "row with path": {"path": str(path), "bytes": None},
        "row with array": {"path": None, "array": array, "sampling_rate": rate},
        "row with list": {"array": array.tolist(), "sampling_rate": rate},
        "pipeline row": {"raw": array, "sampling_rate": np.int64(rate)},
        "row with decoder": {"array": torch.from_numpy(array), "sampling_rate": rate},
        "decoder": decoder,
    }


@pytest.mark.parametrize("kind", sources_of(Path(__file__), np.zeros((1, 1)), 1))
def test_every_kind_of_source_gives_the_same(tmp_path, kind):
    path = write_with_soundfile(tmp_path / "tone.wav", tone(22050), 22050)
    stored, _ = soundfile.read(path, dtype="float32", always_2d=True)
    samples, rate = read_audio(sources_of(path, stored.T, 22050)[kind])
    assert rate == 22050
    np.testing.assert_array_equal(samples, stored[:, 0])


@pytest.mark.parametrize("codec", [None, "aac"])
def test_an_open_file_is_read_and_left_open(tmp_path, codec):
    path, _, _ = write_file(tmp_path, "tone.wav" if codec is None else "tone.m4a", codec)
    with open(path, "rb") as file:
        np.testing.assert_array_equal(read_audio(file)[0], read_audio(path)[0])
        assert not file.closed


@pytest.mark.parametrize(
    "convert", [np.asarray, torch.from_numpy, lambda a: a.tolist(), lambda a: a.astype(np.float64)]
)
def test_arrays_tensors_and_lists_with_their_rate(convert):
    array = tone(8000, channels=2)
    np.testing.assert_allclose(read_audio(convert(array), source_rate=8000)[0], array.mean(axis=0), atol=1e-7)
    np.testing.assert_array_equal(read_audio(convert(array), source_rate=8000, channels="all")[0], array)
    np.testing.assert_array_equal(
        read_audio(convert(array[0]), 16000, source_rate=8000)[0], resample(array[0], 8000, 16000)
    )


def test_half_precision_tensors_are_taken():
    assert read_audio(torch.ones(9, dtype=torch.bfloat16), source_rate=8000)[0].tolist() == [1.0] * 9


def test_the_result_is_the_callers_own():
    array = tone(8000)[0]
    samples, _ = read_audio(array, source_rate=8000)
    samples[:] = 7
    assert array.max() < 1


def test_a_stream_that_changes_rate_and_channels_goes_on(tmp_path):
    first = write_with_av(tmp_path / "first.aac", "aac", tone(44100), 44100).read_bytes()
    second = write_with_av(tmp_path / "second.aac", "aac", tone(22050, channels=2), 22050).read_bytes()
    samples, rate = read_audio(first + second)
    assert rate == 44100
    assert len(samples) / rate == pytest.approx(3.0, abs=0.2)  # bare aac keeps its padding
    with pytest.raises(ValueError, match=r'changes from 1 to 2 channels midway, which channels="all" cannot hold'):
        read_audio(first + second, channels="all")


def test_a_name_that_looks_like_a_protocol_or_raw_is_only_a_name(tmp_path):
    for name, codec in [("talk: part 1.m4a", "aac"), ("tone.raw", None)]:
        path = write_with_av(tmp_path / "a.m4a", "aac", tone(8000), 8000)
        if codec is None:
            path = write_with_soundfile(tmp_path / "a.wav", tone(8000), 8000)
        path = path.rename(tmp_path / name)
        assert read_audio(path)[1] == 8000


@pytest.mark.parametrize("file_name", ["a.mp3", "a.ogg", "a.flac", "a.wav"])
def test_reading_in_pieces_makes_no_glitches(tmp_path, file_name):
    path = write_with_soundfile(tmp_path / file_name, tone(44100, seconds=4.0), 44100)
    at_once, _ = soundfile.read(path, dtype="float32")
    np.testing.assert_array_equal(read_audio(path)[0], at_once)


def test_memory_is_bounded_by_the_block(tmp_path):
    path = tmp_path / "long.wav"
    soundfile.write(path, np.zeros(8000 * 60 * 10, np.float32), 8000)  # 10 minutes, 77 MB at 32 kHz in float32
    count = 0
    tracemalloc.start()
    for block in iter_audio(path, 32000, block_seconds=5.0):
        count += len(block)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 32000 * 600
    assert peak < 8e6


def test_an_mp3_without_its_length_is_not_taken_for_cut_short(tmp_path):
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (1, 44100)).astype(np.float32)
    noise = np.concatenate([np.zeros_like(noise), np.zeros_like(noise), noise], axis=1)
    path = write_with_av(tmp_path / "a.mp3", "libmp3lame", noise, 44100, write_xing="0")
    assert len(read_audio(path)[0]) / 44100 == pytest.approx(3.0, abs=0.1)


@pytest.mark.parametrize(
    ("file_name", "how"),
    [
        ("cut.wav", {}),
        ("cut.flac", {}),
        ("cut.mp3", {}),
        ("cut.m4a", {"codec": "aac", "movflags": "faststart"}),
        ("cut.aac", {"codec": "aac"}),
    ],
)
def test_a_file_cut_short_is_refused_with_what_could_be_decoded(tmp_path, file_name, how):
    path, _, _ = write_file(tmp_path, file_name, **how)
    cut(path)
    with pytest.raises(ValueError, match=rf"`clip` \({file_name}\) breaks off: [01]\.\d+ s could be decoded"):
        read_audio(path, name="clip")
    with pytest.raises(ValueError, match="breaks off"):
        list(iter_audio(path, 16000))


def test_a_wav_written_to_a_pipe_is_whole(tmp_path):
    path = write_with_soundfile(tmp_path / "a.wav", tone(8000), 8000)
    content = path.read_bytes()
    at = content.index(b"data") + 4
    path.write_bytes(content[:at] + b"\xff" * 4 + content[at + 4 :])  # the length was not known in advance
    assert len(read_audio(path)[0]) == 12000


def test_an_mp4_without_its_index_is_no_audio(tmp_path):
    path = cut(write_file(tmp_path, "cut.mp4", "aac")[0])
    with pytest.raises(ValueError, match=r"\(cut.mp4\) is no audio or video file that .* can read \(Invalid data"):
        read_audio(path)


def test_a_video_without_sound_is_refused(tmp_path):
    path = tmp_path / "silent.mp4"
    with av.open(str(path), "w") as container:
        picture = container.add_stream("mpeg4", rate=25)
        picture.width = picture.height = 64
        picture.pix_fmt = "yuv420p"
        container.mux(picture.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")))
        container.mux(picture.encode())
    with pytest.raises(ValueError, match=r"`audio` \(silent.mp4\) has no audio stream \(streams: video\)"):
        read_audio(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"\(bad.wav\) is empty: 0 bytes"),
        (b"these are only words\n" * 50, r"\(bad.wav\) is no audio or video file"),
        (b"RIFF", r"\(bad.wav\) is no audio or video file"),
        (b"#EXTM3U\n#EXTINF:3,\nhttp://example.com/a.ts\n", r"\(bad.wav\) is no audio or video file"),
    ],
)
def test_files_that_are_no_audio_are_refused(tmp_path, content, message):
    path = tmp_path / "bad.wav"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_audio(path)


def test_a_file_without_samples_is_refused(tmp_path):
    soundfile.write(tmp_path / "none.wav", np.zeros(0, np.float32), 8000)
    with pytest.raises(ValueError, match=r"\(none.wav\) holds no samples"):
        read_audio(tmp_path / "none.wav")


@pytest.mark.parametrize("function", [read_audio, iter_audio])
def test_an_unreadable_path_is_an_os_error_with_that_path(tmp_path, function):
    with pytest.raises(FileNotFoundError, match=r"missing\.wav"):
        function(tmp_path / "missing.wav", 16000)
    with pytest.raises(OSError, match=tmp_path.name):
        function(tmp_path, 16000)


def test_nan_and_infinite_samples_are_counted_and_placed(tmp_path):
    array = np.zeros(100_000, np.float32)
    array[[80_000, 80_001, 90_000]] = np.nan, np.inf, -np.inf
    soundfile.write(tmp_path / "nan.wav", array, 16000, subtype="FLOAT")
    for source in (array, tmp_path / "nan.wav"):
        with pytest.raises(ValueError, match=r"3 samples are NaN or infinite, the first at sample 80000 \(5.000 s\)"):
            read_audio(source, source_rate=16000)


BAD_INPUTS = [
    ("https://example.com/a.wav", {}, ValueError, r"`audio` is a URL \(https://example.com/a.wav\); download it"),
    (b"", {}, ValueError, r"`audio` is empty: 0 bytes"),
    (b"words, words, words", {"name": "reply"}, ValueError, r"`reply` is no audio or video file"),
    (io.StringIO("text"), {}, TypeError, r'text file object; open it in binary mode \("rb"\)'),
    (None, {}, TypeError, r"`audio` must be a path, .* got NoneType"),
    (3.0, {}, TypeError, r"`audio` must be a path, .* got float"),
    (np.zeros(8), {}, ValueError, r"`audio` is an array, .* pass it as `source_rate`"),
    ([0.0, 0.5], {}, ValueError, r"pass it as `source_rate`"),
    (np.zeros(8), {"source_rate": 0}, ValueError, r"`source_rate` must be a positive number of Hz, got 0"),
    (np.zeros(8), {"source_rate": 44100.5}, TypeError, r"`source_rate` must be a whole number of Hz, got 44100.5"),
    (np.zeros(8), {"source_rate": "16k"}, TypeError, r"`source_rate` must be a whole number of Hz, got '16k'"),
    (np.zeros(8), {"source_rate": 8000, "sampling_rate": -1}, ValueError, r"`sampling_rate` must be a positive"),
    (np.zeros(8), {"source_rate": 8000, "channels": "left"}, ValueError, r"`channels` must be .* got 'left'"),
    (np.zeros(8, np.int16), {"source_rate": 8000}, TypeError, r"holds integers \(int16\); scale PCM .* / 32768"),
    (torch.zeros(8, dtype=torch.int16), {"source_rate": 8000}, TypeError, r"holds integers \(int16\)"),
    ([0, 1, 0], {"source_rate": 8000}, TypeError, r"holds integers"),
    (np.zeros(8, np.complex64), {"source_rate": 8000}, TypeError, r"real floating-point samples, got complex64"),
    (np.zeros(8, bool), {"source_rate": 8000}, TypeError, r"real floating-point samples, got bool"),
    (["a", "b"], {"source_rate": 8000}, TypeError, r"real floating-point samples, got <U1"),
    (np.zeros(8, object), {"source_rate": 8000}, TypeError, r"real floating-point samples, got object"),
    ([[0.0, 1.0], [0.0]], {"source_rate": 8000}, ValueError, r"parts differ in length"),
    (np.zeros((2, 3, 4)), {"source_rate": 8000}, ValueError, r"\(channels, samples\), got \(2, 3, 4\)"),
    (np.zeros((800, 2)), {"source_rate": 8000}, ValueError, r"800 channels of 2 samples; .* pass its transpose"),
    (np.zeros(0), {"source_rate": 8000}, ValueError, r"`audio` holds no samples"),
    (np.full(8, 1e300), {"source_rate": 8000}, ValueError, r"8 samples are NaN or infinite"),
    ({"array": np.zeros(8)}, {}, ValueError, r"pass it as `source_rate`"),
    ({"array": np.zeros(8), "sampling_rate": 8000}, {"source_rate": 16000}, ValueError, r"says 8000 Hz, .* 16000 Hz"),
    ({"waveform": [0.0]}, {}, ValueError, r"a dict with the keys \['waveform'\]; expected \"array\" or \"raw\""),
    ({"path": None, "bytes": None}, {}, ValueError, r"expected \"array\" or \"raw\""),
]


@pytest.mark.parametrize(("source", "arguments", "error", "message"), BAD_INPUTS)
def test_a_bad_source_or_argument_is_refused(source, arguments, error, message):
    with pytest.raises(error, match=message):
        read_audio(source, **arguments)


@pytest.mark.parametrize("seconds", [0, -1.0, float("nan"), float("inf")])
def test_an_impossible_block_length_is_refused(seconds):
    with pytest.raises(ValueError, match="`block_seconds` must be a positive number of seconds"):
        iter_audio(np.zeros(8), 8000, source_rate=8000, block_seconds=seconds)


def test_resampling_keeps_leading_axes_and_equal_rates():
    signals = np.stack([tone(48000, 3), tone(48000, 3)])  # (2, 3, samples)
    assert resample(signals, 48000, 16000).shape == (2, 3, 24000)
    np.testing.assert_array_equal(resample(signals, 48000, 16000)[1, 2], resample(signals[1, 2], 48000, 16000))
    np.testing.assert_array_equal(resample(signals, 48000, 48000), signals)
    assert resample(signals.astype(np.float64), 48000, 8000).dtype == np.float32
    with pytest.raises(TypeError, match=r"`samples` must be floating point, got int16"):
        resample(np.zeros(8, np.int16), 8000, 16000)


def test_resampling_removes_what_the_new_rate_cannot_hold():
    time = np.arange(48000) / 48000
    too_high = np.sin(2 * np.pi * 10_000 * time).astype(np.float32)
    assert np.abs(resample(too_high, 48000, 16000)[1000:-1000]).max() < 1e-4


@pytest.mark.parametrize(("encoding", "error"), [("float32", 0), ("pcm16", 1 / 32768)])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_a_written_wav_reads_back(tmp_path, encoding, error, channels):
    samples = tone(16000, channels)
    write_wav(tmp_path / "a.wav", samples, 16000, encoding=encoding)
    back, rate = read_audio(tmp_path / "a.wav", channels="all")
    assert rate == 16000
    np.testing.assert_allclose(back, samples, rtol=0, atol=error)
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "a.wav"
    path.write_bytes(b"old")

    def fail(*arguments, **options):
        raise OSError("disk full")

    monkeypatch.setattr(soundfile, "write", fail)
    with pytest.raises(OSError, match="disk full"):
        write_wav(path, np.zeros(8), 8000)
    assert [p.name for p in tmp_path.iterdir()] == ["a.wav"]
    assert path.read_bytes() == b"old"


def test_bad_samples_or_encodings_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"`samples`: 1 NaN or infinite"):
        write_wav(tmp_path / "a.wav", np.array([0.0, np.nan]), 8000)
    with pytest.raises(ValueError, match="`encoding` must be float32 or pcm16, got 'mp3'"):
        write_wav(tmp_path / "a.wav", np.zeros(8), 8000, encoding="mp3")
    with pytest.raises(TypeError, match=r"`samples` holds integers"):
        write_wav(tmp_path / "a.wav", np.zeros(8, np.int16), 8000)
    assert not list(tmp_path.iterdir())


def test_reading_does_not_import_torch():
    program = "import sys, avzoo.audio; avzoo.audio.read_audio([0.0], source_rate=8000); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout.strip() == "False"
