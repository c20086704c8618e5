import functools
import itertools
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition
from PIL import Image
from video.clips import HEIGHT, WIDTH, chirp, lag, noise, write_clip

from avzoo.video import Video, VideoReader, probe_video, read_video, shift_sound, shifting

NTSC = Fraction(30000, 1001)
WITH_B_FRAMES = {"x264-params": "keyint=10:bframes=3:b-adapt=0:scenecut=0"}
VP9 = {"codec": "libvpx-vp9", "codec_options": {"deadline": "realtime", "cpu-used": "8"}, "sound_codec": "libopus"}
SOURCES = {  # file name: (frames per second, samples per second, how it is written)
    "aac.mp4": (25, 48000, {}),
    "aac16.mp4": (NTSC, 16000, {}),
    "aac.mkv": (NTSC, 48000, {}),
    "aac.ts": (NTSC, 48000, {}),
    "mp3.mp4": (25, 48000, {"sound_codec": "libmp3lame"}),
    "mp3.mkv": (25, 48000, {"sound_codec": "libmp3lame"}),
    "mp3.avi": (25, 48000, {"sound_codec": "libmp3lame", "codec": "mpeg4"}),
    "opus.mp4": (25, 48000, {"sound_codec": "libopus"}),
    "opus.mkv": (NTSC, 48000, {"sound_codec": "libopus"}),
    "opus.webm": (NTSC, 48000, VP9),
    "pcm.mov": (25, 16000, {"sound_codec": "pcm_s16le"}),
    "pcm.mkv": (NTSC, 48000, {"sound_codec": "pcm_s16le"}),
}
EDIT_LISTS = (".mp4", ".m4v", ".mov")


@pytest.fixture(scope="module", params=SOURCES)
def source(request, tmp_path_factory) -> Path:
    fps, rate, how = SOURCES[request.param]
    path = tmp_path_factory.mktemp("source") / request.param
    how = {"codec_options": WITH_B_FRAMES if "codec" not in how else {}, **how}
    return write_clip(path, noise(25), fps, sound=np.stack([chirp(rate, 1.0)] * 2), sound_rate=rate, **how)


@pytest.fixture(scope="module")
def mp4(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("mp4") / "talk.mp4"
    return write_clip(path, noise(), sound=chirp(48000)[None], codec_options=WITH_B_FRAMES)


def sound_of(source: Path, seconds: float, samples: int) -> np.ndarray:
    """So many samples of the sound of `source`, `seconds` later."""
    sound, rate = soundtrack(source)
    count = round(seconds * rate)
    sound = np.pad(sound, (count, 0)) if count >= 0 else sound[-count:]
    return np.pad(sound, (0, max(0, samples - len(sound))))[:samples]


@functools.lru_cache
def original(source: Path) -> Video:
    return read_video(source)


@functools.lru_cache
def soundtrack(source: Path) -> tuple[np.ndarray, int]:
    return VideoReader(source).soundtrack()


def assert_moved(path: Path, source: Path, seconds: float, within: float = 0.0) -> None:
    """The pictures are the same; the sound is `seconds` later, within so many seconds."""
    video, before = read_video(path), original(source)
    np.testing.assert_array_equal(video.frames, before.frames)
    assert (video.fps, video.sampling_rate) == (before.fps, before.sampling_rate)
    expected = sound_of(source, seconds, len(video.audio))
    assert abs(lag(video.audio, expected)) <= within * before.sampling_rate
    if not within:
        np.testing.assert_allclose(video.audio, expected, atol=0.03)  # decoders begin elsewhere


# Where the sound lands.


@pytest.mark.parametrize("frames", [7.3, -7.3])
@pytest.mark.parametrize("ending", [".mp4", ".mkv"])
def test_sound_moves_and_pictures_stay(source, tmp_path, ending, frames):
    seconds = frames / probe_video(source).fps
    path = shift_sound(source, tmp_path / f"b{ending}", seconds)
    assert path == tmp_path / f"b{ending}"
    if ending == ".mkv":
        within = 0.0007  # it counts in milliseconds
    elif source.name == "pcm.mkv":
        within = 0.0005  # the packets don't tell their length, and their times are rounded to milliseconds
    else:
        within = 0.0
    assert_moved(path, source, seconds, within)


@pytest.mark.parametrize("ending", [".m4v", ".mov", ".MOV"])
def test_the_ending_chooses_the_container(mp4, tmp_path, ending):
    path = shift_sound(mp4, str(tmp_path / f"b{ending}"), 0.2)
    assert_moved(path, mp4, 0.2)
    assert (b"ftypqt" in path.read_bytes()[:16]) == (ending != ".m4v")


def test_webm_stays_webm(tmp_path):
    source = write_clip(tmp_path / "a.webm", noise(10), sound=chirp(48000, 0.4)[None], **VP9)
    path = shift_sound(source, tmp_path / "b.webm", 0.1)
    assert_moved(path, source, 0.1, within=0.001)
    assert b"webm" in path.read_bytes()[:64]


def test_there_and_back_again_is_the_original(mp4, tmp_path):
    path = shift_sound(mp4, tmp_path / "b.mp4", 0.2)
    np.testing.assert_array_equal(read_video(shift_sound(path, path, -0.2)).audio, original(mp4).audio)


def test_a_shift_of_zero_changes_nothing(source, tmp_path):
    video = read_video(shift_sound(source, tmp_path / "b.mp4", 0))
    np.testing.assert_array_equal(video.frames, original(source).frames)
    np.testing.assert_array_equal(video.audio, original(source).audio)


@pytest.mark.parametrize("ending", [".mp4", ".mkv"])
def test_sound_from_before_the_first_picture_appears_with_a_delay(tmp_path, ending):
    sound = chirp(48000, 2.5)
    source = write_clip(tmp_path / "a.ts", noise(), stamps=range(12, 62), sound=sound[None])  # pictures from 0.48 s on
    for seconds in (0.2, 0, -0.2):
        video = read_video(shift_sound(source, tmp_path / f"b{ending}", seconds))
        first = round((0.48 - seconds) * 48000)
        assert abs(lag(video.audio, sound[first : first + 96000])) <= 48


@pytest.mark.parametrize("ending", [".mp4", ".mkv"])
def test_late_sound_moves_too(tmp_path, ending):
    stamps = 19200 + 1024 * np.arange(94)  # from 0.4 s on
    source = write_clip(tmp_path / "a.mov", noise(), sound=chirp(48000)[None], sound_stamps=stamps.tolist())
    for seconds in (0.2, -0.2, -0.5):
        assert_moved(shift_sound(source, tmp_path / f"b{ending}", seconds), source, seconds, within=0.001)


@pytest.mark.parametrize("name", ["aac.mp4", "pcm.mov"])
def test_matroska_begins_within_a_packet_of_its_first_picture(tmp_path, name):
    fps, rate, how = SOURCES[name]
    source = write_clip(tmp_path / name, noise(25), fps, sound=chirp(rate, 1.0)[None], sound_rate=rate, **how)
    with av.open(str(shift_sound(source, tmp_path / "b.mkv", -7.3 / fps))) as container:
        (first,) = itertools.islice(container.decode(video=0), 1)
        assert 0 < first.pts * first.time_base < Fraction(1024, rate) + Fraction(1, 1000)


@pytest.fixture(scope="module")
def variable(tmp_path_factory) -> Path:
    """An mkv that states 25 frames per second, with pictures whose times are drawn."""
    stamps = np.cumsum(np.random.default_rng(0).integers(20, 60, 50)).tolist()  # milliseconds
    path = tmp_path_factory.mktemp("variable") / "a.mkv"
    return write_clip(
        path, noise(), codec="mpeg4", stamps=stamps, time_base=Fraction(1, 1000), sound=chirp(48000)[None]
    )


def test_pictures_of_a_variable_rate_keep_their_times(variable, tmp_path):
    path = shift_sound(variable, tmp_path / "b.mp4", 0.2)
    np.testing.assert_array_equal(read_video(path, 100).frames, read_video(variable, 100).frames)


def test_matroska_states_the_rate_that_its_source_stated(variable, tmp_path):
    assert_moved(shift_sound(variable, tmp_path / "b.mkv", 0.2), variable, 0.2, within=0.001)


@pytest.mark.parametrize("frames", [1, 2, 50])
def test_decoding_times_that_matroska_lacks_are_filled_in(tmp_path, frames):
    source = write_clip(
        tmp_path / "a.mkv", noise(frames), sound=chirp(48000, frames / 25)[None], codec_options=WITH_B_FRAMES
    )
    path = shift_sound(source, tmp_path / "b.mp4", 0.02)
    np.testing.assert_array_equal(read_video(path).frames, read_video(source).frames)
    with av.open(str(path)) as container:
        times = [packet.dts * packet.time_base for packet in container.demux(video=0) if packet.size]
    np.testing.assert_allclose(np.diff(times).astype(float), 1 / 25, atol=0.001)


def test_decoding_times_that_stand_still_are_mended(tmp_path):
    source = write_clip(tmp_path / "a.mpg", noise(), codec="mpeg2video", sound=chirp(48000)[None], sound_codec="mp2")
    with av.open(str(source)) as container:
        times = [packet.dts for packet in container.demux(video=0) if packet.size]
    assert not np.diff(times).all()
    assert_moved(shift_sound(source, tmp_path / "b.mp4", 0.2), source, 0.2)


# What else is in the file.


@pytest.fixture(scope="module")
def rich(tmp_path_factory) -> Path:
    """An mp4 with two sound tracks, subtitles, a cover, chapters and tags."""
    folder = tmp_path_factory.mktemp("rich")
    late = (9600 + 1024 * np.arange(94)).tolist()  # the first sound begins 0.2 s after the second
    write_clip(folder / "first.mp4", noise(), sound=chirp(48000)[None], sound_stamps=late)
    write_clip(folder / "second.mp4", noise(1), sound=chirp(44100)[None], sound_rate=44100, sound_codec="libmp3lame")
    Image.new("RGB", (32, 32), (200, 0, 0)).save(folder / "cover.jpg")
    packets = []
    with av.open(str(folder / "rich.mp4"), "w") as output:
        output.metadata.update({"title": "Deux voix", "comment": "à côté", "artist": "nobody"})
        chapter = {"id": 1, "start": 0, "end": 900, "time_base": Fraction(1, 1000), "metadata": {"title": "one"}}
        output.set_chapters([chapter])
        for name, kinds in (("first.mp4", ("video", "audio")), ("second.mp4", ("audio",)), ("cover.jpg", ("video",))):
            with av.open(str(folder / name)) as container:
                streams = [stream for stream in container.streams if stream.type in kinds]
                targets = {stream.index: output.add_stream_from_template(stream, opaque=True) for stream in streams}
                for packet in container.demux(streams):
                    if packet.size:
                        packet.stream = targets[packet.stream.index]
                        packets.append(packet)
        for sound in output.streams.audio:
            sound.metadata["language"] = "fra"
        output.streams.video[1].disposition = Disposition.attached_pic
        packets[-1].pts = packets[-1].dts = 0
        subtitle = av.Packet(b"\x00\x05Hello")
        subtitle.stream = output.add_mux_stream("mov_text")
        subtitle.stream.time_base = subtitle.time_base = Fraction(1, 1000)
        subtitle.pts = subtitle.dts = 500
        subtitle.duration = 700
        for packet in sorted([*packets, subtitle], key=lambda packet: packet.dts * packet.time_base):
            output.mux(packet)
    return folder / "rich.mp4"


@pytest.mark.parametrize("ending", [".mp4", ".mkv"])
def test_every_sound_track_moves(rich, tmp_path, ending):
    path = shift_sound(rich, tmp_path / f"b{ending}", 0.2)
    for index, (rate, begin) in enumerate(((48000, 0.4), (44100, 0.2))):
        with av.open(str(path)) as container:
            frames = list(container.decode(audio=index))
        first = float(frames[0].pts * frames[0].time_base)
        assert first <= begin
        samples = np.concatenate([frame.to_ndarray()[0] for frame in frames])
        assert first + lag(samples, chirp(rate)) / rate == pytest.approx(begin, abs=0.001)


@pytest.mark.parametrize("ending", [".mp4", ".m4v", ".mov", ".mkv"])
def test_tags_chapters_and_languages_are_kept(rich, tmp_path, ending):
    path = shift_sound(rich, tmp_path / f"b{ending}", 0.2)
    tags = {tag.lower(): text for tag, text in probe_video(path).metadata.items()}
    expected = {"title": "Deux voix", "comment": "à côté", "artist": "nobody"}
    assert {tag: tags.get(tag) for tag in expected} == expected
    assert tags.get("compatible_brands") != probe_video(rich).metadata["compatible_brands"] or ending in (
        ".mp4",
        ".m4v",
    )
    with av.open(str(path)) as container:
        (chapter,) = container.chapters()
        assert (chapter["end"] * chapter["time_base"], chapter["metadata"]["title"]) == (Fraction(9, 10), "one")
        assert [stream.language for stream in container.streams.audio] == ["fra", "fra"]


@pytest.mark.parametrize("ending", [".mp4", ".mov"])
def test_subtitles_stay_with_the_pictures(rich, tmp_path, ending):
    for seconds in (0.2, -0.2):
        with av.open(str(shift_sound(rich, tmp_path / f"b{ending}", seconds))) as container:
            packets = [packet for packet in container.demux(subtitles=0) if packet.size > 2]
            assert [(packet.pts * packet.time_base, bytes(packet)[2:7]) for packet in packets] == [(0.5, b"Hello")]


def test_a_cover_is_kept_where_there_is_a_place_for_it(rich, tmp_path):
    for ending, covers in ((".mp4", 1), (".mkv", 0)):
        path = shift_sound(rich, tmp_path / f"b{ending}", 0.2)
        with av.open(str(path)) as container:
            assert len(container.streams.video) == 1 + covers
            attached = [bool(stream.disposition & Disposition.attached_pic) for stream in container.streams.video]
            assert attached == [False, True][: 1 + covers]
        np.testing.assert_array_equal(read_video(path).frames, read_video(rich).frames)


MATRICES = {  # (a, b, c, d) of the track header
    "turned": (0, 1, -1, 0),
    "mirrored": (-1, 0, 0, 1),
}


@pytest.mark.parametrize("ending", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize("matrix", MATRICES)
def test_the_orientation_is_kept(tmp_path, matrix, ending):
    frames = noise(5)
    frames[:, : HEIGHT // 2, : WIDTH // 2] = 200
    source = write_clip(tmp_path / "a.mp4", frames, sound=chirp(48000, 0.2)[None])
    content = source.read_bytes()
    at = content.index(b"tkhd") + 44
    a, b, c, d = (value << 16 for value in MATRICES[matrix])
    source.write_bytes(content[:at] + struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30) + content[at + 36 :])
    path = shift_sound(source, tmp_path / f"b{ending}", 0.1)
    np.testing.assert_array_equal(read_video(path).frames, read_video(source).frames)
    assert probe_video(path).rotation == probe_video(source).rotation


@pytest.mark.parametrize("ending", [".mp4", ".mkv"])
def test_pixels_keep_their_shape(tmp_path, ending):
    source = write_clip(tmp_path / "a.mp4", noise(5), sound=chirp(48000, 0.2)[None], codec_options={"aspect": "3:2"})
    assert probe_video(source).width == 96
    assert probe_video(shift_sound(source, tmp_path / f"b{ending}", 0.1)).width == 96


def test_hevc_keeps_the_name_that_apple_knows(tmp_path):
    source = write_clip(
        tmp_path / "a.mp4",
        noise(5),
        codec="libx265",
        sound=chirp(48000, 0.2)[None],
        codec_options={"x265-params": "log-level=none"},
    )
    renamed = source.read_bytes().replace(b"hev1", b"hvc1")
    source.write_bytes(renamed)
    assert b"hvc1" in shift_sound(source, tmp_path / "b.mp4", 0.1).read_bytes()


@pytest.mark.parametrize("seconds", [20, -20])
def test_sound_lies_beside_its_pictures_in_the_file(tmp_path, seconds):
    source = write_clip(tmp_path / "a.mp4", noise(30), 1, sound=chirp(8000, 30)[None], sound_rate=8000)
    with av.open(str(shift_sound(source, tmp_path / "b.mp4", seconds))) as container:
        order = sorted((packet.pos, packet.dts * packet.time_base) for packet in container.demux() if packet.size)
    times = np.array([float(time) for _, time in order])
    assert (np.maximum.accumulate(times) - times).max() < 1  # though they were 20 s apart in the source


def test_the_index_comes_first_and_no_date_or_version_is_written(mp4, tmp_path):
    content = shift_sound(mp4, tmp_path / "b.mp4", 0.2).read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")
    assert b"Lavf" not in content  # FFmpeg, with its version
    assert shift_sound(mp4, tmp_path / "c.mp4", 0.2).read_bytes() == content


# Edit lists of the source.


def trimmed(path: Path, start: float, duration: float, b_frames: int = 0) -> Path:
    """A clip of which an edit list shows a part only; times in seconds."""
    options = {"x264-params": f"keyint=10:bframes={b_frames}:b-adapt=0:scenecut=0"}
    content = bytearray(write_clip(path, noise(), sound=chirp(48000)[None], codec_options=options).read_bytes())
    at = 0
    for ticks in (12800, 48000):  # of the pictures, of the sound
        at = content.index(b"elst", at) + 12
        (before,) = struct.unpack_from(">i", content, at + 4)
        struct.pack_into(">Ii", content, at, round(duration * 1000), before + round(start * ticks))
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("b_frames", [0, 3])
def test_pictures_hidden_at_the_beginning_stay_hidden(tmp_path, b_frames):
    source = trimmed(tmp_path / "a.mp4", 0.52, 1.48, b_frames)
    for seconds in (0.2, -0.2):
        video = read_video(shift_sound(source, tmp_path / "b.mp4", seconds))
        assert len(video.frames) == 37
        np.testing.assert_array_equal(video.frames, original(source).frames)
        first = max(0, round(seconds * 48000))
        expected = sound_of(source, seconds, len(video.audio))
        np.testing.assert_allclose(video.audio[first:], expected[first:], atol=0.03)
        assert not video.audio[: max(0, first - 2 * 1024)].any()  # packets that held hidden sound: at most two show


def test_pictures_hidden_at_the_end_stay_hidden(tmp_path):
    source = trimmed(tmp_path / "a.mp4", 0, 1)
    for ending in (".mp4", ".mkv"):
        assert_moved(shift_sound(source, tmp_path / f"b{ending}", 0.2), source, 0.2, within=0.001)


def test_edit_lists_that_a_copy_would_lose_are_refused(tmp_path):
    source = trimmed(tmp_path / "a.mp4", 0.52, 1.48)
    with pytest.raises(
        ValueError, match=r"\(a.mp4\) hides 3 pictures before its first by an edit list, and .mkv has none"
    ):
        shift_sound(source, tmp_path / "b.mkv", 0.2)
    source = trimmed(tmp_path / "a.mp4", 0.52, 1, b_frames=3)
    with pytest.raises(
        ValueError, match=r"\(a.mp4\): an edit list hides video between video that is shown, and a copy"
    ):
        shift_sound(source, tmp_path / "b.mp4", 0.2)


# Files that appear whole.


def test_a_file_may_take_the_place_of_its_source(mp4, tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(mp4.read_bytes())
    shift_sound(path, path, 0.2)
    assert_moved(path, mp4, 0.2)
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_leaves_what_was_there(mp4, tmp_path, monkeypatch):
    path = tmp_path / "b.mp4"
    path.write_bytes(b"as it was")

    packets = shifting._packets

    def interrupted(*arguments):
        yield from itertools.islice(packets(*arguments), 5)
        raise KeyboardInterrupt

    monkeypatch.setattr(shifting, "_packets", interrupted)
    with pytest.raises(KeyboardInterrupt):
        shift_sound(mp4, path, 0.2)
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [b"as it was"]


def test_a_colon_in_the_name_is_only_a_name(mp4, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = shift_sound(mp4, "talk: part 1.mkv", 0.2)
    assert path == Path("talk: part 1.mkv")
    assert len(read_video(path).frames) == 50
    assert len(read_video(shift_sound(path, "talk: part 2.mp4", 0.2)).frames) == 50


# What is refused.

BAD_SECONDS = [
    ("0.1", TypeError, r"`seconds` must be a number of seconds, got '0.1'"),
    (True, TypeError, r"`seconds` must be a number of seconds, got True"),
    (None, TypeError, r"`seconds` must be a number of seconds, got None"),
    (float("nan"), ValueError, r"`seconds` must be a finite number of seconds, got nan"),
    (float("-inf"), ValueError, r"`seconds` must be a finite number of seconds, got -inf"),
    (
        2,
        ValueError,
        r"`seconds` \(2\) leaves no sound beside the pictures: in `source` \(talk.mp4\) there is sound from 0",
    ),
    (-2, ValueError, r"`seconds` \(-2\) leaves no .* from 0.00 to 2.00 s, and pictures until 2.00 s"),
    (1e300, ValueError, r"`seconds` \(1e\+300\) leaves no sound"),
]


@pytest.mark.parametrize(("seconds", "error", "message"), BAD_SECONDS)
def test_an_impossible_shift_is_refused_and_leaves_no_file(mp4, tmp_path, seconds, error, message):
    with pytest.raises(error, match=message):
        shift_sound(mp4, tmp_path / "b.mp4", seconds)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("seconds", [1, Fraction(1, 25), np.float32(0.5), np.float64(-0.5), np.int64(1)])
def test_every_kind_of_number_is_taken(mp4, tmp_path, seconds):
    assert_moved(shift_sound(mp4, tmp_path / "b.mp4", seconds), mp4, float(seconds))


def test_unwritable_paths_are_refused(mp4, tmp_path):
    with pytest.raises(ValueError, match=r"`path` must end in .mp4, .m4v, .mov, .mkv, .webm, got '.*b.avi'"):
        shift_sound(mp4, tmp_path / "b.avi", 0.1)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        shift_sound(mp4, tmp_path / "nowhere" / "b.mp4", 0.1)
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(IsADirectoryError, match=r"folder.mp4\) is a folder; name a file in it"):
        shift_sound(mp4, tmp_path / "folder.mp4", 0.1)


def test_codecs_the_container_does_not_support_are_refused_with_an_alternative(mp4, tmp_path):
    with pytest.raises(
        ValueError, match=r"\(talk.mp4\): its video \(h264\) can't be stored in .webm; let `path` end in .mkv"
    ):
        shift_sound(mp4, tmp_path / "b.webm", 0.1)
    opus = write_clip(tmp_path / "opus.mp4", noise(5), sound=chirp(48000, 0.2)[None], sound_codec="libopus")
    with pytest.raises(
        ValueError, match=r"its streams can't be stored in .mov \(Invalid argument\); let `path` end in .mkv"
    ):
        shift_sound(opus, tmp_path / "b.mov", 0.1)
    wmv = write_clip(
        tmp_path / "a.wmv", noise(5), codec="wmv2", sound=chirp(48000, 0.2)[None], sound_codec="libmp3lame"
    )
    with pytest.raises(
        ValueError, match=r"its video \(wmv2\) can't be stored in .mkv; encode it again, with `write_video`"
    ):
        shift_sound(wmv, tmp_path / "b.mkv", 0.1)


def test_sources_that_are_missing_unreadable_or_silent_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.mp4"):
        shift_sound(tmp_path / "nowhere.mp4", tmp_path / "b.mp4", 0.1)
    with pytest.raises(TypeError, match=r"`source` must be the path of a video file, got bytes"):
        shift_sound(b"...", tmp_path / "b.mp4", 0.1)
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(ValueError, match=r"`source` \(text.mp4\) is no audio or video file"):
        shift_sound(tmp_path / "text.mp4", tmp_path / "b.mp4", 0.1)
    silent = write_clip(tmp_path / "silent.mp4", noise(5))
    with pytest.raises(ValueError, match=r"`source` \(silent.mp4\) has no sound to shift: no audio stream"):
        shift_sound(silent, tmp_path / "b.mp4", 0.1)
    empty = write_clip(tmp_path / "empty.mkv", noise(5), sound=np.zeros((1, 0), np.float32), sound_codec="pcm_s16le")
    with pytest.raises(ValueError, match=r"\(empty.mkv\) has no sound to shift: its sound track is empty"):
        shift_sound(empty, tmp_path / "b.mp4", 0.1)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi"])
def test_a_truncated_source_is_refused(tmp_path, name):
    options = {"movflags": "faststart"} if name == "a.mp4" else {}
    source = write_clip(
        tmp_path / name, noise(), codec="mpeg4", sound=chirp(48000)[None], sound_codec="libmp3lame", **options
    )
    content = source.read_bytes()
    source.write_bytes(content[: len(content) * 6 // 10])
    with pytest.raises(ValueError, match=r"`source` \(a.\w+\) breaks off: 1.\d\d s could be decoded"):
        shift_sound(source, tmp_path / "b.mp4", 0.1)
    assert list(tmp_path.iterdir()) == [source]


def test_a_source_whose_last_packets_are_missing_is_refused(tmp_path):
    source = write_clip(tmp_path / "a.mp4", noise(), sound=chirp(48000)[None], movflags="faststart")
    with av.open(str(source)) as container:
        packets = sorted((packet.pos, packet.size) for packet in container.demux() if packet.size)
    source.write_bytes(source.read_bytes()[: sum(packets[-10])])
    with pytest.raises(ValueError, match=r"\(a.mp4\) breaks off: .* \(\d+ of \d+ packets of \w+ are there\)"):
        shift_sound(source, tmp_path / "b.mp4", 0.1)


def test_avi_with_b_frames_is_refused(tmp_path):
    source = write_clip(
        tmp_path / "a.avi", noise(), sound=chirp(48000)[None], sound_codec="libmp3lame", codec_options=WITH_B_FRAMES
    )
    with pytest.raises(
        ValueError, match=r"\(a.avi\): AVI keeps no times, and these pictures aren't stored in the order"
    ):
        shift_sound(source, tmp_path / "b.mp4", 0.1)
