import io
import itertools
import os
import threading
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
import torch
from PIL import Image
from video.clips import HEIGHT, WIDTH, chirp, lag, noise, numbers, selected_by_ffmpeg, write_clip

from avzoo.audio import read_with
from avzoo.video import Video, VideoReader, iter_video, probe_video, read_video

OPEN_GOP = {"x264-params": "open-gop=1:keyint=10:min-keyint=10:bframes=3:scenecut=0"}
KINDS = {
    "mp4": {},
    "mov": {"codec": "mpeg4"},
    "mkv": {"codec_options": OPEN_GOP},
    "ts": {"codec_options": OPEN_GOP},
    "webm": {"codec": "libvpx-vp9", "codec_options": {"deadline": "realtime", "cpu-used": "8"}},
    "avi": {"codec": "mpeg4"},
    "flv": {},
    "wmv": {"codec": "wmv2"},
    "gif": {"codec": "gif", "pixel_format": "gray"},
    "h264": {},  # bare: no time stamps at all
}


@pytest.fixture(scope="module", params=KINDS)
def clip(request, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("clips") / f"clip.{request.param}"
    return write_clip(path, noise(), **KINDS[request.param])


@pytest.fixture(scope="module")
def mp4(tmp_path_factory) -> Path:
    sound = np.stack([chirp(48000), np.zeros(96000, np.float32)])
    path = tmp_path_factory.mktemp("mp4") / "clip.mp4"
    return write_clip(path, noise(), sound=sound, codec_options=OPEN_GOP, movflags="faststart")


# Frames on the clock.


def test_a_file_of_any_kind_gives_each_frame_once(clip):
    video = read_video(clip)
    assert video.frames.shape == (50, HEIGHT, WIDTH, 3)
    assert video.frames.dtype == np.uint8
    assert video.fps == 25
    assert (video.audio, video.sampling_rate) == (None, None)
    assert numbers(video.frames) == list(range(50))


def test_random_access_equals_reading_from_the_beginning(clip):
    reader = VideoReader(clip)
    frames = reader.read()
    for first in [0, 1, 24, 41, 49]:
        np.testing.assert_array_equal(reader.read(start=first / 25), frames[first:])
        np.testing.assert_array_equal(reader.read(start=first / 25, end=(first + 2) / 25), frames[first : first + 2])
        np.testing.assert_array_equal(reader.frame_at(first / 25), frames[first])
        np.testing.assert_array_equal(reader.frame_at((first + 0.99) / 25), frames[first])


@pytest.mark.parametrize("fps", [None, 60, 10])
def test_blocks_put_together_are_the_whole(mp4, fps):
    whole = read_video(mp4, fps, (24, 32), start=0.2, end=1.6).frames
    every = np.concatenate(list(VideoReader(mp4).frames(fps, (24, 32))))
    np.testing.assert_array_equal(whole, every[round(0.2 * (fps or 25)) : round(1.6 * (fps or 25))])
    for block_frames in (1, 7, 50, 1000):
        blocks = list(iter_video(mp4, fps, (24, 32), block_frames=block_frames, start=0.2, end=1.6))
        assert {len(block) for block in blocks[:-1]} <= {block_frames}
        assert 0 < len(blocks[-1]) <= block_frames
        np.testing.assert_array_equal(np.concatenate(blocks), whole, err_msg=f"blocks of {block_frames}")


def test_a_block_is_the_callers_own(mp4):
    expected = read_video(mp4, 100).frames
    kept = []
    for block in iter_video(mp4, 100, block_frames=3):  # every frame four times: across the ends of blocks
        kept.append(block.copy())
        block[:] = 0
    np.testing.assert_array_equal(np.concatenate(kept), expected)


RATES = [(25, 30), (30, 25), (Fraction(30000, 1001), 25), (25, Fraction(25, 2)), (50, 25), (24, Fraction(30000, 1001))]


@pytest.mark.parametrize(("source_rate", "fps"), RATES)
def test_frames_are_chosen_as_by_ffmpegs_fps_filter(tmp_path, source_rate, fps):
    path = write_clip(tmp_path / "a.mp4", noise(), source_rate)
    expected = selected_by_ffmpeg(path, Fraction(fps))
    frames = read_video(path, fps).frames
    assert len(frames) == round(50 / source_rate * fps)
    np.testing.assert_array_equal(frames, expected)
    np.testing.assert_array_equal(read_video(path, float(fps)).frames, expected)


def test_a_variable_rate_comes_out_right_by_its_time_stamps(tmp_path):
    stamps = np.cumsum(np.random.default_rng(0).integers(5, 200, 50)).tolist()  # milliseconds
    path = write_clip(tmp_path / "a.mkv", noise(), stamps=stamps, time_base=Fraction(1, 1000))
    for fps in (25, 10, 100):
        frames = read_video(path, fps).frames
        np.testing.assert_array_equal(frames, selected_by_ffmpeg(path, Fraction(fps)))
        begins = [int((stamp - stamps[0]) * fps / 1000 + 0.5) for stamp in stamps]
        shown = [max(i for i, begin in enumerate(begins) if begin <= frame) for frame in range(len(frames))]
        assert numbers(frames) == shown
        np.testing.assert_array_equal(read_video(path, fps, start=1.2).frames, frames[round(1.2 * fps) :])
    reader = VideoReader(path)
    for index in (0, 20, 48):
        during = (stamps[index] + stamps[index + 1]) / 2 - stamps[0]
        assert numbers(reader.frame_at(during / 1000)[None]) == [index]


def test_without_a_rate_a_variable_one_becomes_its_average(tmp_path):
    stamps = [0, 1, 2, 10, 11, 12, 30, 31, 32, 39]  # of 60 per second, and the last is shown for one
    path = write_clip(tmp_path / "a.mp4", noise(10), 60, "mpeg4", stamps=stamps)
    video = read_video(path)
    assert video.fps == 15
    assert numbers(video.frames) == [1, 2, 2, 5, 5, 5, 5, 5, 8, 8]  # at 0, 1, 2, 10 ... quarters of a frame, rounded


def test_frames_in_memory_are_resampled_like_a_file(mp4):
    whole = read_video(mp4)
    for fps in (30, 12.5, Fraction(60000, 1001)):
        np.testing.assert_array_equal(
            read_video(whole.frames, fps, source_fps=25, start=0.4).frames, read_video(mp4, fps, start=0.4).frames
        )


def test_the_clock_begins_at_the_first_frame(tmp_path):
    sound = chirp(48000)[None]
    stamps = 4800 + 1024 * np.arange(len(range(0, 96000, 1024)))
    late = write_clip(
        tmp_path / "a.mkv", noise(), stamps=list(range(25, 75)), sound=sound, sound_stamps=(48000 + stamps).tolist()
    )
    video = read_video(late, sampling_rate=16000)
    assert numbers(video.frames) == list(range(50))
    assert abs(lag(video.audio, np.pad(chirp(16000), (1600, 0)))) <= 16
    assert numbers(read_video(late, start=1.0).frames) == list(range(25, 50))


def test_a_start_and_an_end_snap_to_frames_and_ranges_tile(mp4):
    frames = read_video(mp4, 30).frames
    edges = [0, 0.31, 0.777, 1.5, 1.9]
    parts = [read_video(mp4, 30, start=a, end=b).frames for a, b in itertools.pairwise(edges)]
    assert [len(part) for part in parts] == [9, 14, 22, 12]
    np.testing.assert_array_equal(np.concatenate(parts), frames[:57])
    assert len(read_video(mp4, 30, start=1.9, end=1000).frames) == 3


def test_a_video_shorter_than_half_a_frame_still_has_one():
    assert len(read_video(noise(1), 1, source_fps=25).frames) == 1
    assert len(read_video(noise(2), Fraction(1, 100), source_fps=25).frames) == 1


def test_more_than_the_machine_has_is_refused_before_it_is_tried(mp4, monkeypatch):
    monkeypatch.setattr(os, "sysconf", {"SC_PAGE_SIZE": 1000, "SC_PHYS_PAGES": 400}.__getitem__)
    with pytest.raises(MemoryError, match=r"\(clip.mp4\): 51 frames of 48x64 take 0.0 GB.*`iter_video`"):
        read_video(mp4)
    assert len(read_video(mp4, size=(24, 32)).frames) == 50
    assert sum(len(block) for block in iter_video(mp4)) == 50


# Sources.


def sources_of(path: Path) -> dict:
    content = path.read_bytes()
    return {
        "str": str(path),
        "path": path,
        "bytes": content,
        "bytearray": bytearray(content),
        "memoryview": memoryview(content),
        "file in memory": io.BytesIO(content),
        "file from its middle": SimpleNamespace(read=io.BytesIO(content).read),
        "row with bytes": {"path": "somewhere/else.mp4", "bytes": content},
        "row with path": {"path": str(path), "bytes": None},
        "decoder of datasets": SimpleNamespace(_hf_encoded={"path": None, "bytes": content}),
    }


def test_every_kind_of_file_gives_the_same(mp4):
    expected = read_video(mp4, 30, start=0.5)
    for kind, source in sources_of(mp4).items():
        video = read_video(source, 30, start=0.5)
        np.testing.assert_array_equal(video.frames, expected.frames, err_msg=kind)
        np.testing.assert_array_equal(video.audio, expected.audio, err_msg=kind)
        assert (video.fps, video.sampling_rate) == (30, 48000), kind


def decoder_of(frames: np.ndarray, times: np.ndarray) -> SimpleNamespace:
    """Shaped like torchcodec's VideoDecoder."""

    class Decoder:
        metadata = SimpleNamespace(average_fps=25.0)

        def __len__(self):
            return len(frames)

        def get_frame_at(self, index):
            data = torch.from_numpy(frames[index]).permute(2, 0, 1)
            return SimpleNamespace(data=data, pts_seconds=float(times[index]), duration_seconds=0.04)

    return Decoder()


def test_every_kind_of_frames_gives_the_same():
    frames = noise(10)
    kinds = [
        frames,
        torch.from_numpy(frames),
        torch.from_numpy(frames).permute(0, 3, 1, 2),
        list(frames),
        tuple(torch.from_numpy(frame) for frame in frames),
        [Image.fromarray(frame) for frame in frames],
        [Image.fromarray(frame[..., 0]) for frame in frames],
        frames[..., 0],
        list(frames[..., 0]),
        decoder_of(frames, 3 + np.arange(10) / 25),
        Video(frames, 25.0),
    ]
    for source in kinds:
        video = read_video(source, 50, source_fps=None if hasattr(source, "fps") else 25)
        np.testing.assert_array_equal(video.frames, frames.repeat(2, axis=0))
        assert (video.fps, video.audio) == (50, None)


def test_a_decoders_own_times_are_followed():
    times = np.array([0, 0.04, 0.2, 0.24])
    frames = read_video(decoder_of(noise(4), times + 0.08), 25).frames
    assert numbers(frames) == [0, 1, 1, 1, 1, 2, 3]


def test_a_video_in_memory_keeps_its_sound():
    video = Video(noise(50), 25.0, chirp(16000), 16000)
    again = read_video(video, 50, start=0.4, end=1.2, sampling_rate=8000)
    assert (len(again.frames), again.fps, again.sampling_rate) == (40, 50, 8000)
    assert again.audio.shape == (6400,)
    np.testing.assert_allclose(again.audio[500:-500], chirp(8000)[3200:9600][500:-500], atol=1e-3)
    assert VideoReader(video).info.sampling_rate == 16000
    assert video.duration == 2


def test_an_open_file_is_left_open_and_where_it_stood(mp4):
    with open(mp4, "rb") as file:
        first, second = read_video(file).frames, read_video(file).frames
        assert not file.closed
        assert file.tell() == 0
    np.testing.assert_array_equal(first, second)


def test_readings_of_one_file_object_do_not_disturb_each_other(mp4):
    with open(mp4, "rb") as file:
        reader = VideoReader(file)
        expected = reader.read()
        for one, other in zip(reader.frames(block_frames=1), reader.frames(block_frames=1, start=0.4), strict=False):
            np.testing.assert_array_equal(numbers(other)[0] - numbers(one)[0], 10)
        results = [None] * 4

        def work(index):
            results[index] = reader.read()

        threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for result in results:
        np.testing.assert_array_equal(result, expected)


def test_files_are_closed_also_when_an_iterator_is_left_early(mp4):
    read_video(mp4)  # whatever is opened once only
    before = len(os.listdir("/dev/fd"))
    blocks = iter_video(mp4, block_frames=1)
    next(blocks)
    assert len(os.listdir("/dev/fd")) > before
    blocks.close()
    VideoReader(mp4).frame_at(0.5)
    read_video(mp4, end=0.5)
    assert len(os.listdir("/dev/fd")) == before


def test_probing_says_what_reading_will_give(mp4):
    info = probe_video(mp4)
    assert (info.height, info.width, info.fps, info.codec, info.pixel_format) == (48, 64, 25.0, "h264", "yuv420p")
    assert info.duration == pytest.approx(2.0)
    assert (info.rotation, info.sampling_rate, info.channels) == (0, 48000, 2)


def test_stills_and_animations_are_videos(tmp_path):
    pictures = [Image.fromarray(frame) for frame in noise(3)]
    for name in ("still.png", "50% of a still.png", "still: 1.bmp"):
        pictures[0].save(tmp_path / name)
        np.testing.assert_array_equal(read_video(tmp_path / name).frames, noise(1))
    pictures[0].save(tmp_path / "a.gif", save_all=True, append_images=pictures[1:], duration=100)
    assert numbers(read_video(tmp_path / "a.gif", 20).frames) == [0, 0, 1, 1, 2, 2]


# What can't be read.


def cut(path: Path, share: float) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: round(share * len(content))])
    return path


@pytest.mark.parametrize(
    ("file_name", "how"),
    [
        ("cut.mp4", {"movflags": "faststart"}),
        ("cut.mp4", {"movflags": "frag_keyframe+empty_moov", "codec_options": {"g": "10"}}),
        ("cut.mkv", {}),
        ("cut.avi", {"codec": "mpeg4"}),
        ("cut.flv", {}),
    ],
)
def test_a_file_cut_short_is_read_with_a_warning_or_refused(tmp_path, file_name, how):
    path = write_clip(tmp_path / file_name, noise(100) // 2, **how)
    content = path.read_bytes()
    for share in (0.4, 0.7, 0.9):
        path.write_bytes(content[: round(share * len(content))])
        message = rf"`clip` \({file_name}\) breaks off: \d\.\d+ s could be decoded \(.+\)\. The"
        with read_with(strict=True), pytest.raises(ValueError, match=message):
            read_video(path, name="clip")
        assert len(read_video(path, end=0.4).frames) == 10, share
        with pytest.warns(UserWarning, match=rf"`clip` \({file_name}\): picture is damaged or missing at \d\.\d+ s"):
            frames = read_video(path, name="clip").frames
        whole = len(frames) - 3  # the last may be built on what is missing
        assert whole >= 100 * (share - 0.15)
        levels = (noise(100) // 2)[:whole].mean(axis=(1, 2, 3))
        np.testing.assert_allclose(frames[:whole].mean(axis=(1, 2, 3)), levels, atol=1)


def test_a_last_packet_that_is_not_whole_is_not_lost_in_silence(tmp_path):
    path = write_clip(tmp_path / "cut.mp4", noise(), movflags="faststart")
    path.write_bytes(path.read_bytes()[:-9])
    with read_with(strict=True), pytest.raises(ValueError, match=r"`video` \(cut.mp4\) breaks off: 1\.\d+ s could"):
        read_video(path)
    with pytest.warns(UserWarning, match=r"`video` \(cut.mp4\): picture is damaged or missing at 1\.\d+ s"):
        assert numbers(read_video(path).frames[:45]) == list(range(45))


def test_a_reader_can_be_strict_by_itself(tmp_path):
    path = write_clip(tmp_path / "cut.mp4", noise(), movflags="faststart")
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ValueError, match=r"`video` \(cut.mp4\) breaks off"):
        VideoReader(path, strict=True).read()
    with read_with(strict=True), pytest.warns(UserWarning, match="picture is damaged or missing"):
        VideoReader(path, strict=False).read()


def test_a_file_without_its_index_is_no_video(tmp_path):
    path = cut(write_clip(tmp_path / "cut.mp4", noise()), 0.6)
    with pytest.raises(ValueError, match=r"\(cut.mp4\) is no audio or video file that .* can read \(Invalid data"):
        read_video(path)


def test_strictly_damage_in_the_middle_is_refused_where_it_is_reached(tmp_path):
    path = write_clip(tmp_path / "a.mp4", noise(), movflags="faststart", codec_options={"g": "10"})
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 2000] = np.random.default_rng(0).bytes(2000)
    with read_with(strict=True):
        blocks = iter_video(bytes(content), block_frames=5)
    np.testing.assert_array_equal(numbers(next(blocks)), range(5))
    with pytest.raises(ValueError, match=r"`video` breaks off: 0\.\d+ s could be decoded"):
        list(blocks)
    assert numbers(read_video(bytes(content), start=1.6).frames) == list(range(40, 50))  # a seek passes it


def test_damage_in_the_middle_is_left_out_and_told_once(tmp_path):
    path = write_clip(tmp_path / "a.mp4", noise(), movflags="faststart", codec_options={"g": "10"})
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 2000] = np.random.default_rng(0).bytes(2000)
    with pytest.warns(UserWarning, match=r"`video`: picture is damaged or missing at 0\.\d+ s") as told:
        shown = numbers(read_video(bytes(content)).frames)
    assert len(told) == 1
    assert len(shown) == 50  # each at its time, whatever is missing
    assert shown[:20] == list(range(20))
    assert shown[-10:] == list(range(40, 50))


def test_a_recording_that_begins_between_whole_pictures_begins_with_the_first(tmp_path):
    content = write_clip(tmp_path / "a.ts", noise(), codec_options={"g": "10"}).read_bytes()
    shown = numbers(read_video(content[len(content) // 188 // 3 * 188 :]).frames)
    assert shown[0] > 10
    assert shown == list(range(shown[0], 50))


def test_sound_that_breaks_off_is_silence_from_there_with_a_warning_or_refused(tmp_path):
    path = write_clip(tmp_path / "a.mp4", noise(5), sound=chirp(48000, 4)[None], movflags="faststart")
    cut(path, 0.8)
    with (
        read_with(strict=True),
        pytest.raises(ValueError, match=r"\(a.mp4\) breaks off: [123]\.\d+ s could be decoded"),
    ):
        VideoReader(path).soundtrack()
    with pytest.warns(UserWarning, match=r"\(a.mp4\): sound is damaged or missing at [123]\.\d+ s"):
        samples, rate = VideoReader(path).soundtrack(end=4)
    assert len(samples) == 4 * rate
    assert lag(samples[:96000], chirp(48000, 2)) == 0


def test_a_cover_picture_is_no_video(tmp_path):
    path = tmp_path / "song.mp3"
    with av.open(str(path), "w") as container:
        track = container.add_stream("libmp3lame", rate=48000, layout="mono")
        cover = container.add_stream("png", rate=1)
        cover.height, cover.width, cover.pix_fmt = HEIGHT, WIDTH, "rgb24"
        cover.disposition = av.stream.Disposition.attached_pic
        picture = cover.encode(av.VideoFrame.from_ndarray(noise(1)[0], format="rgb24")) + cover.encode(None)
        container.mux(picture)
        frame = av.AudioFrame.from_ndarray(chirp(48000)[None], format="flt", layout="mono")
        frame.sample_rate, frame.pts = 48000, 0
        container.mux(track.encode(frame) + track.encode(None))
    with pytest.raises(ValueError, match=r"`video` \(song.mp3\) has no video stream, only a cover picture"):
        read_video(path)


def test_sound_alone_is_no_video(tmp_path):
    path = tmp_path / "a.wav"
    with av.open(str(path), "w") as container:
        track = container.add_stream("pcm_s16le", rate=48000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.int16), format="s16", layout="mono")
        frame.sample_rate = 48000
        container.mux(track.encode(frame))
    with pytest.raises(ValueError, match=r"`clip` \(a.wav\) has no video stream \(streams: audio\)"):
        iter_video(path, name="clip")


@pytest.mark.parametrize("function", [read_video, iter_video, probe_video, VideoReader])
def test_an_unreadable_path_is_an_os_error_with_that_path(tmp_path, function):
    with pytest.raises(FileNotFoundError, match=r"missing\.mp4"):
        function(tmp_path / "missing.mp4")
    with pytest.raises(OSError, match=tmp_path.name):
        function(tmp_path)


FRAMES = np.zeros((3, 4, 5, 3), np.uint8)
BAD_INPUTS = [
    ("https://example.com/a.mp4", {}, ValueError, r"`video` is a URL \(https://example.com/a.mp4\); download it"),
    (b"", {}, ValueError, r"`video` is empty: 0 bytes"),
    (b"words, words, words", {"name": "reply"}, ValueError, r"`reply` is no audio or video file"),
    (io.StringIO("text"), {}, TypeError, r'text file object; open it in binary mode \("rb"\)'),
    (None, {}, TypeError, r"`video` must be a path, .* got NoneType"),
    (3.0, {}, TypeError, r"`video` must be a path, .* got float"),
    ({"frames": FRAMES}, {}, ValueError, r"dict with the keys \['frames'\]; expected \"bytes\" or \"path\""),
    ({"path": None, "bytes": None}, {}, ValueError, r"expected \"bytes\" or \"path\""),
    (FRAMES, {"source_fps": None}, ValueError, r"don't tell their rate; pass it as `source_fps`"),
    (FRAMES[:0], {}, ValueError, r"`video` holds no frames"),
    ([], {}, ValueError, r"`video` holds no frames"),
    (FRAMES[..., :2], {}, ValueError, r"`video` must be \(frames, height, width, 3\), .* got \(3, 4, 5, 2\)"),
    (FRAMES[0], {}, ValueError, r"`video` has the shape \(4, 5, 3\) of one picture in colour; .* `frames\[None\]`"),
    (FRAMES[0, 0], {}, ValueError, r"`video` must be \(frames, height, width, 3\), .* got \(5, 3\)"),
    (FRAMES[:, :0], {}, ValueError, r"`video` must be \(frames, height, width, 3\), .* got \(3, 0, 5, 3\)"),
    (FRAMES / 255, {}, TypeError, r"`video` must be uint8 in \[0, 255\], got float64; scale floats"),
    (torch.zeros(3, 4, 5, 3), {}, TypeError, r"`video` must be uint8 in \[0, 255\], got float32"),
    ([FRAMES[0], FRAMES[0, :2]], {}, ValueError, r"picture 1 is \(2, 5\), the first \(4, 5\); all must have one size"),
    (["a.png"], {}, TypeError, r"picture 0 must be an array, a tensor or a PIL image, got str"),
    ([FRAMES[0] / 1.0], {}, TypeError, r"picture 0 must be uint8"),
    ([FRAMES[0, 0, 0]], {}, ValueError, r"picture 0 must be \(height, width, 3\) or \(height, width\), got \(3,\)"),
    (FRAMES, {"source_fps": 0}, ValueError, r"`source_fps` must be a positive number of frames per second, got 0"),
    (FRAMES, {"fps": -25}, ValueError, r"`fps` must be a positive number of frames per second, got -25"),
    (FRAMES, {"fps": float("nan")}, ValueError, r"`fps` must be a positive number"),
    (FRAMES, {"fps": 1e-9}, ValueError, r"`fps`"),
    (FRAMES, {"fps": 1e6}, ValueError, r"`fps` must be at most 1000 frames per second, got 1000000.0"),
    (FRAMES, {"fps": "25"}, TypeError, r"`fps` must be a number of frames per second, got '25'"),
    (FRAMES, {"fps": True}, TypeError, r"`fps` must be a number"),
    (FRAMES, {"size": 224}, TypeError, r"`size` must be \(height, width\), two whole numbers of pixels, got 224"),
    (FRAMES, {"size": (1.5, 2)}, TypeError, r"`size` must be \(height, width\), two whole numbers"),
    (FRAMES, {"size": (0, 5)}, ValueError, r"`size` must be \(height, width\), each from 1 to 16384 pixels"),
    (FRAMES, {"size": (5, 100_000)}, ValueError, r"each from 1 to 16384 pixels, got \(5, 100000\)"),
    (FRAMES, {"start": -1}, ValueError, r"`start` must be a number of seconds from the first frame on, got -1"),
    (FRAMES, {"start": "1"}, TypeError, r"`start` must be a number of seconds, got '1'"),
    (FRAMES, {"end": float("inf")}, ValueError, r"`end` must be a number of seconds .*, got inf"),
    (FRAMES, {"start": 0.1, "end": 0.1}, ValueError, r"`end` \(0.1\) must come after `start` \(0.1\)"),
    (FRAMES, {"start": 0.041, "end": 0.042}, ValueError, r"`start` \(0.041\) and `end` \(0.042\) hold no frame at 25 "),
    (FRAMES, {"start": 5}, ValueError, r"`start` \(5 s\) is not before the end of `video`, 0.12 s"),
    (FRAMES, {"sampling_rate": 0}, ValueError, r"`sampling_rate` must be a positive"),
]


@pytest.mark.parametrize(("source", "arguments", "error", "message"), BAD_INPUTS)
def test_a_bad_source_or_argument_is_refused(source, arguments, error, message):
    with pytest.raises(error, match=message):
        read_video(source, **{"source_fps": 25, **arguments})


def test_a_start_after_the_end_is_refused(clip):
    for start in (2.0, 100.0):
        with pytest.raises(ValueError, match=rf"`start` \({start:g} s\) is not before the end of `video` .*, 2 s"):
            read_video(clip, start=start)


def test_a_time_outside_the_video_is_refused(mp4):
    reader = VideoReader(mp4)
    with pytest.raises(ValueError, match=r"`seconds` \(2\) is not before the end of `video` \(clip.mp4\), 2 s"):
        reader.frame_at(2.0)
    with pytest.raises(ValueError, match=r"`seconds` must be a number of seconds from the first frame on, got -0.1"):
        reader.frame_at(-0.1)
    with pytest.raises(ValueError, match=r"`block_frames` must be a positive whole number, got 0"):
        reader.frames(block_frames=0)
