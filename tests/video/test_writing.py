from fractions import Fraction

import av
import numpy as np
import pytest
import torch
from PIL import Image
from video.clips import HEIGHT, WIDTH, chirp, lag, noise, numbers

from avzoo.video import VideoWriter, iter_video, probe_video, read_video, write_video


def test_a_written_video_reads_back(tmp_path):
    path = tmp_path / "a.mp4"
    write_video(path, noise(), 25, audio=chirp(16000), sampling_rate=16000)
    video = read_video(path)
    assert video.frames.shape == (50, HEIGHT, WIDTH, 3)
    assert (video.fps, video.sampling_rate) == (25, 16000)
    assert numbers(video.frames) == list(range(50))
    assert np.abs(video.frames.astype(int) - noise()).mean() < 2
    np.testing.assert_allclose(video.audio[500:-500], chirp(16000)[500:-500], atol=0.06)
    info = probe_video(path)
    assert (info.codec, info.pixel_format, info.duration) == ("h264", "yuv420p", 2.0)


@pytest.mark.parametrize("shape", [(5, 48, 64, 3), (3, 1, 1, 3), (3, 1, 7, 3), (3, 33, 17, 3)])
def test_lossless_keeps_every_bit_of_a_picture(tmp_path, shape):
    frames = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    write_video(tmp_path / "a.mp4", frames, 25, lossless=True)
    np.testing.assert_array_equal(read_video(tmp_path / "a.mp4").frames, frames)


@pytest.mark.parametrize("rate", [8000, 16000, 22000, 44100, 192_000])
def test_lossless_keeps_24_bits_of_sound(tmp_path, rate):
    sound = np.stack([chirp(rate, 1.0), np.random.default_rng(0).uniform(-1, 1, rate).astype(np.float32)])
    write_video(tmp_path / "a.mp4", noise(25), 25, audio=sound, sampling_rate=rate, lossless=True)
    assert (probe_video(tmp_path / "a.mp4").sampling_rate, probe_video(tmp_path / "a.mp4").channels) == (rate, 2)
    np.testing.assert_allclose(read_video(tmp_path / "a.mp4").audio, sound.mean(axis=0), atol=2**-23)


def test_a_lower_crf_is_closer_to_the_original(tmp_path):
    frames = np.random.default_rng(0).integers(0, 256, (5, 48, 64, 1), dtype=np.uint8).repeat(3, axis=3)
    errors = []
    for crf in (0, 18, 40):
        write_video(tmp_path / "a.mp4", frames, 25, crf=crf)
        errors.append(np.abs(read_video(tmp_path / "a.mp4").frames.astype(int) - frames).mean())
    assert errors[0] < 1 < errors[1] < errors[2]


@pytest.mark.parametrize("shape", [(3, 47, 63, 3), (3, 1, 1, 3), (3, 48, 1, 3)])
def test_odd_sizes_are_padded_by_their_edge(tmp_path, shape):
    height, width = shape[1:3]
    columns = np.linspace(0, 255, width).astype(np.uint8)
    frames = np.broadcast_to(columns[None, None, :, None], shape)
    write_video(tmp_path / "a.mp4", frames, 25, crf=0)
    back = read_video(tmp_path / "a.mp4").frames
    assert back.shape == (3, height + height % 2, width + width % 2, 3)
    np.testing.assert_allclose(back[:, :height, :width], frames, atol=3)
    np.testing.assert_array_equal(back[:, -1], back[:, height - 1])
    np.testing.assert_allclose(back[:, :, -1].astype(int), back[:, :, width - 1], atol=3)


PATCHES = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [0, 0, 0], [90, 160, 30], [200, 80, 220]])


def test_colours_survive_and_are_declared(tmp_path):
    frames = np.broadcast_to(PATCHES.astype(np.uint8)[:, None, None], (7, 48, 64, 3))
    write_video(tmp_path / "a.mp4", frames, 25)
    np.testing.assert_allclose(read_video(tmp_path / "a.mp4").frames, frames, atol=4)
    np.testing.assert_allclose(read_video(tmp_path / "a.mp4", size=(20, 20)).frames, frames[:, :20, :20], atol=4)
    with av.open(str(tmp_path / "a.mp4")) as container:
        frame = next(container.decode(video=0))
        assert (frame.colorspace, frame.color_range) == (6, 1)  # BT.601, limited
        # OpenCV and others look at neither, and take every video for that.
        frame.colorspace = 2
        np.testing.assert_allclose(frame.to_ndarray(format="rgb24"), frames[0], atol=4)


@pytest.mark.parametrize("fps", [25, 30, 12.5, 29.97, Fraction(30000, 1001), 1, 1 / 3, 240, 23.976])
def test_any_rate_is_kept(tmp_path, fps):
    write_video(tmp_path / "a.mp4", noise(20), fps)
    video = read_video(tmp_path / "a.mp4")
    assert video.fps == pytest.approx(float(fps), rel=1e-6)
    assert numbers(video.frames) == list(range(20))


@pytest.mark.parametrize("rate", [7350, 8000, 16000, 22050, 22000, 44100, 48000, 192_000])
@pytest.mark.parametrize("lossless", [False, True])
def test_sound_and_frames_stay_in_step(tmp_path, rate, lossless):
    sound = chirp(rate, 1.0)
    sound[rate // 2 : rate // 2 + rate // 100] += 0.9  # 10 ms of a click, half a second after the first frame
    frames = np.zeros((20, HEIGHT, WIDTH, 3), np.uint8)
    frames[10] = 255
    write_video(tmp_path / "a.mp4", frames, 20, audio=sound, sampling_rate=rate, lossless=lossless)
    video = read_video(tmp_path / "a.mp4", sampling_rate=rate)
    assert abs(lag(video.audio, sound)) <= rate / 1000
    assert np.argmax(video.frames.mean(axis=(1, 2, 3))) == 10
    window = np.convolve(np.abs(video.audio), np.ones(rate // 100), "valid")
    assert np.argmax(window) / rate == pytest.approx(0.5, abs=0.002)


def test_samples_beyond_full_scale_are_clipped(tmp_path):
    sound = np.linspace(-3, 3, 48000, dtype=np.float32)
    write_video(tmp_path / "a.mp4", noise(25), 25, audio=sound, sampling_rate=48000, lossless=True)
    np.testing.assert_allclose(read_video(tmp_path / "a.mp4").audio, np.clip(sound, -1, 1), atol=2**-22)


@pytest.mark.parametrize("lossless", [False, True])
def test_equal_input_gives_equal_bytes_however_it_comes(tmp_path, lossless):
    sound = chirp(22000, 1.0)

    def written(write) -> bytes:
        with VideoWriter(tmp_path / "a.mp4", 25, 22000, lossless=lossless) as writer:
            write(writer)
        return (tmp_path / "a.mp4").read_bytes()

    def whole(writer):
        writer.write_audio(sound)
        writer.write(noise(25))

    def in_blocks(writer):
        writer.write_audio(sound[:5])
        writer.write_audio(sound[5:15_000])
        writer.write(noise(25)[:1])
        writer.write(noise(25)[1:])
        writer.write_audio(sound[15_000:])

    first = written(whole)
    assert written(whole) == first
    video = read_video(first)
    again = read_video(written(in_blocks))
    np.testing.assert_array_equal(again.frames, video.frames)
    np.testing.assert_array_equal(again.audio, video.audio)
    write_video(tmp_path / "b.mp4", noise(25), 25, audio=sound, sampling_rate=22000, lossless=lossless)
    assert (tmp_path / "b.mp4").read_bytes() == first


def test_arrays_tensors_and_pictures_are_accepted(tmp_path):
    expected = noise(6)
    kinds = [
        torch.from_numpy(expected),
        torch.from_numpy(expected).permute(0, 3, 1, 2),
        list(expected),
        [Image.fromarray(frame) for frame in expected],
        iter(expected),
        (Image.fromarray(frame) for frame in expected),
        iter([expected[:4], expected[4:]]),
    ]
    for frames in kinds:
        write_video(tmp_path / "a.mp4", frames, 25, lossless=True)
        np.testing.assert_array_equal(read_video(tmp_path / "a.mp4").frames, expected)
    write_video(tmp_path / "b.mp4", iter_video(tmp_path / "a.mp4", block_frames=4), 25, lossless=True)
    np.testing.assert_array_equal(read_video(tmp_path / "b.mp4").frames, expected)
    sound = torch.from_numpy(chirp(16000, 0.24))
    write_video(tmp_path / "a.mp4", expected, 25, audio=sound, sampling_rate=16000, lossless=True)
    np.testing.assert_allclose(read_video(tmp_path / "a.mp4").audio, sound.numpy(), atol=2**-23)


def test_tags_are_kept(tmp_path):
    tags = {"title": "Two talkers", "comment": "seed 7; größer"}
    write_video(tmp_path / "a.mp4", noise(2), 25, metadata=tags)
    metadata = probe_video(tmp_path / "a.mp4").metadata
    assert {tag: metadata[tag] for tag in tags} == tags


def test_the_index_comes_first_so_that_players_can_begin(tmp_path):
    write_video(tmp_path / "a.mp4", noise(), 25)
    content = (tmp_path / "a.mp4").read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")


def test_sound_lies_beside_its_frames_in_the_file(tmp_path):
    write_video(tmp_path / "a.mp4", noise(30), 1, audio=chirp(8000, 30), sampling_rate=8000)
    with av.open(str(tmp_path / "a.mp4")) as container:
        packets = container.demux()
        order = sorted(
            (packet.pos, packet.stream.type, packet.dts * packet.time_base) for packet in packets if packet.size
        )
    latest = {"video": 0, "audio": 0}
    for _, kind, time in order:
        latest[kind] = time
        assert abs(latest["video"] - latest["audio"]) < 3  # not all of one, then all of the other


def test_a_colon_in_the_name_is_only_a_name(tmp_path):
    write_video(tmp_path / "talk: part 1.mp4", noise(2), 25)
    assert len(read_video(tmp_path / "talk: part 1.mp4").frames) == 2


def interrupted():
    yield noise(30)
    raise RuntimeError("interrupted")


def test_an_interruption_leaves_what_was_there(tmp_path):
    path = tmp_path / "a.mp4"
    for before in (None, b"as it was"):
        if before is not None:
            path.write_bytes(before)
        with pytest.raises(RuntimeError, match="interrupted"):
            write_video(path, interrupted(), 25, audio=chirp(16000), sampling_rate=16000)
        assert [file.read_bytes() for file in tmp_path.iterdir()] == ([] if before is None else [before])


FRAMES = np.zeros((3, 4, 6, 3), np.uint8)
SOUND = np.zeros(100, np.float32)
BAD_INPUTS = [
    (FRAMES[:0], {}, ValueError, r"`path` \(.*a.mp4\): no frames were written, and a video needs at least one"),
    (iter([]), {}, ValueError, r"no frames were written"),
    (FRAMES / 255, {}, TypeError, r"`frames` must be uint8 in \[0, 255\], got float64"),
    (FRAMES[0, 0, 0], {}, ValueError, r"`frames` must be \(frames, height, width, 3\), .* got \(3,\)"),
    ([FRAMES[0], FRAMES[0, :2]], {}, ValueError, r"picture 1 is \(2, 6\), the first \(4, 6\)"),
    (iter([FRAMES, FRAMES[:, :2]]), {}, ValueError, r"frame 3 is \(2, 6\), the first \(4, 6\); all must have one size"),
    (7, {}, TypeError, r"`frames` must be frames or an iterator of them, got int"),
    (FRAMES, {"fps": 0}, ValueError, r"`fps` must be a positive number of frames per second, got 0"),
    (FRAMES, {"fps": 100_000}, ValueError, r"`fps` must be at most 1000"),
    (FRAMES, {"fps": None}, TypeError, r"`fps` must be a number of frames per second, got None"),
    (FRAMES, {"crf": 52}, ValueError, r"`crf` must be a number from 0 \(best\) to 51, got 52"),
    (FRAMES, {"crf": "best"}, ValueError, r"`crf` must be a number from 0"),
    (FRAMES, {"audio": SOUND}, ValueError, r"`audio` and `sampling_rate` \(Hz\) belong together"),
    (FRAMES, {"sampling_rate": 8000}, ValueError, r"`audio` and `sampling_rate` \(Hz\) belong together"),
    (FRAMES, {"audio": SOUND, "sampling_rate": 0}, ValueError, r"`sampling_rate` must be a positive"),
    (FRAMES, {"audio": SOUND * np.nan, "sampling_rate": 8000}, ValueError, r"`samples`: 100 are NaN or infinite"),
    (FRAMES, {"audio": SOUND.astype(np.int16), "sampling_rate": 8000}, TypeError, r"floating point .* got int16"),
    (FRAMES, {"audio": np.zeros((6, 100)), "sampling_rate": 8000}, ValueError, r"`channels` must be 1 or 2, got 6"),
    (FRAMES, {"audio": np.zeros((100, 2)), "sampling_rate": 8000}, ValueError, r"`channels` must be 1 or 2, got 100"),
    (FRAMES, {"metadata": {"mood": "blue"}}, ValueError, r"`metadata` has the tag 'mood', which mp4 doesn't keep; it"),
    (FRAMES, {"metadata": {"title": 7}}, TypeError, r"`metadata` must hold text, got int for 'title'"),
]


@pytest.mark.parametrize(("frames", "arguments", "error", "message"), BAD_INPUTS)
def test_bad_frames_or_arguments_are_refused_and_leave_no_file(tmp_path, frames, arguments, error, message):
    with pytest.raises(error, match=message):
        write_video(tmp_path / "a.mp4", frames, **{"fps": 25, **arguments})
    assert not list(tmp_path.iterdir())


def test_unwritable_paths_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"`path` must end in .mp4, .m4v or .mov, got '.*a.avi'"):
        write_video(tmp_path / "a.avi", FRAMES, 25)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        write_video(tmp_path / "nowhere" / "a.mp4", FRAMES, 25)
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(IsADirectoryError, match=r"folder.mp4\) is a folder; name a file in it"):
        write_video(tmp_path / "folder.mp4", FRAMES, 25)


def test_a_writer_that_is_not_open_or_has_no_sound_says_so(tmp_path):
    with pytest.raises(ValueError, match="The writer isn't open; use it in a `with` statement"):
        VideoWriter(tmp_path / "a.mp4", 25).write(FRAMES)
    with VideoWriter(tmp_path / "a.mp4", 25) as writer:
        writer.write(FRAMES)
        with pytest.raises(ValueError, match="`samples` have no track to go to; make the writer with"):
            writer.write_audio(SOUND)
    with pytest.raises(ValueError, match="The writer isn't open"):
        writer.write(FRAMES)
    with VideoWriter(tmp_path / "a.mp4", 25, 8000, channels=2) as writer:
        writer.write(FRAMES)
        with pytest.raises(ValueError, match=r"`samples` must be \(2, samples\) for 2 channels, got \(1, 100\)"):
            writer.write_audio(SOUND)
