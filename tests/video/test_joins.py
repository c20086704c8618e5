"""Recordings joined byte by byte, stamps that jump, and which track is read: frame numbers and clicks tell when."""

import warnings
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from video.clips import write_clip

from avzoo.audio import read_audio, read_with, write_wav
from avzoo.video import VideoReader, probe_video
from avzoo.video.joins import MOST_GAP

RATE = 48000
KINDS = {
    "ts": {},
    "vob": {"codec": "mpeg2video", "sound_codec": "mp2", "sound_format": "s16"},
    "mkv": {},
    "webm": {"codec": "libvpx", "sound_codec": "libopus", "codec_options": {"deadline": "realtime", "cpu-used": "8"}},
}


def numbered(first: int, count: int = 50) -> np.ndarray:
    """(frames, 64, 160, 3): each frame's number as eight black and white squares."""
    frames = np.full((count, 64, 160, 3), 128, np.uint8)
    for index in range(count):
        for bit in range(8):
            frames[index, 16:48, 20 * bit : 20 * bit + 16] = 230 if (first + index) >> bit & 1 else 20
    return frames


def read_numbers(frames: np.ndarray) -> list[int]:
    bright = frames[:, 24:40].mean(axis=(1, 3)) > 128
    return [sum(1 << bit for bit in range(8) if row[20 * bit + 8]) for row in bright]


def clicks(seconds: float, at: tuple[float, ...]) -> np.ndarray:
    """(1, samples): bursts of 10 ms."""
    sound = np.zeros((1, round(seconds * RATE)), np.float32)
    for time in at:
        begin = round(time * RATE)
        sound[0, begin : begin + 480] = 0.8 * np.sin(2 * np.pi * 1000 * np.arange(480) / RATE)
    return sound


def find_clicks(samples: np.ndarray, rate: int) -> list[float]:
    loud = np.flatnonzero(np.abs(samples) > 0.25) / rate
    return [time for time, before in zip(loud, [-1.0, *loud[:-1]], strict=True) if time - before > 0.1]


def write_part(path: Path, first: int, **how) -> bytes:
    how = {"sound_format": "flt"} | how
    sound = clicks(2, (0.5, 1.5))
    if how["sound_format"] == "s16":
        sound = (sound * 32767).astype(np.int16)
    return write_clip(path, numbered(first), sound=sound, **how).read_bytes()


def write_jump(source: Path, path: Path, at: float, seconds: float) -> Path:
    """The packets of a file; from a time on all stamps are later."""
    with av.open(str(source)) as container, av.open(str(path), "w") as output:
        targets = {stream.index: output.add_stream_from_template(stream) for stream in container.streams}
        for packet in container.demux():
            if packet.dts is None:
                continue
            if packet.pts * packet.time_base >= at:
                steps = round(Fraction(seconds) / packet.time_base)
                packet.pts, packet.dts = packet.pts + steps, packet.dts + steps
            packet.stream = targets[packet.stream_index]
            output.mux(packet)
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_of_recordings_that_were_joined_nothing_is_lost(tmp_path, kind):
    parts = 2 if kind in ("mkv", "webm") else 3  # of more FFmpeg reads two
    content = b"".join(write_part(tmp_path / f"{part}.{kind}", 50 * part, **KINDS[kind]) for part in range(parts))
    (tmp_path / f"all.{kind}").write_bytes(content)
    with pytest.warns(UserWarning, match=r"its time stamps jump at 2\.00 s .*the parts are taken one after") as told:
        reader = VideoReader(tmp_path / f"all.{kind}")
    assert len(told) == 1
    assert read_numbers(reader.read(25)) == list(range(50 * parts))
    assert reader.info.duration == pytest.approx(2 * parts, abs=0.02)
    assert [join.time for join in reader.info.joins] == pytest.approx([2, 4][: parts - 1], abs=0.01)
    heard = find_clicks(*reader.soundtrack())
    assert heard == pytest.approx([0.5, 1.5, 2.5, 3.5, 4.5, 5.5][: 2 * parts], abs=0.03)
    assert read_numbers(reader.read(25, start=3.2, end=3.6)) == list(range(80, 90))
    assert read_numbers(reader.frame_at(2.5)[None]) == [62]
    late, rate = reader.soundtrack(start=2, end=4)
    assert find_clicks(late, rate) == pytest.approx([0.5, 1.5], abs=0.03)


@pytest.mark.parametrize(("kind", "parts"), [("flv", 2), ("mkv", 4)])
def test_what_ffmpeg_does_not_read_of_joined_recordings_is_told(tmp_path, kind, parts):
    content = b"".join(write_part(tmp_path / f"{part}.{kind}", 50 * part) for part in range(parts))
    (tmp_path / f"all.{kind}").write_bytes(content)
    with pytest.warns(UserWarning, match=r"reads nothing of its last \d+ bytes \((4|5)\d%\), as where recordings are"):
        VideoReader(tmp_path / f"all.{kind}")


@pytest.mark.parametrize(
    ("kind", "seconds"), [("mp4", 3600), ("mkv", 3600), ("mkv", 86400), ("ts", 3600), ("ts", 90000), ("flv", 86400)]
)
def test_a_jump_of_the_clock_leaves_no_gap(tmp_path, kind, seconds):
    write_part(tmp_path / "whole.mp4", 0, codec_options={"bf": "0"})
    path = write_jump(tmp_path / "whole.mp4", tmp_path / f"jump.{kind}", 1, seconds)
    with pytest.warns(UserWarning, match=r"time stamps jump at 1\.\d\d s \(by \+"):
        reader = VideoReader(path)
    assert read_numbers(reader.read(25)) == list(range(50))
    assert find_clicks(*reader.soundtrack()) == pytest.approx([0.5, 1.5], abs=0.03)
    assert float(reader.fps) == pytest.approx(25)


def test_a_gap_that_is_believed_is_filled(tmp_path):
    write_part(tmp_path / "whole.mp4", 0, codec_options={"bf": "0"})
    path = write_jump(tmp_path / "whole.mp4", tmp_path / "gap.mkv", 1, MOST_GAP / 20)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        reader = VideoReader(path)
        numbers = read_numbers(reader.read(25))
    assert numbers == [*range(25), *[24] * (25 * MOST_GAP // 20), *range(25, 50)]
    assert find_clicks(*reader.soundtrack()) == pytest.approx([0.5, 1.5 + MOST_GAP / 20], abs=0.03)
    assert reader.info.joins == ()


def test_while_pictures_go_on_a_long_silence_is_no_jump(tmp_path):
    """A call whose microphone sends nothing for longer than any believed gap."""
    path, seconds = tmp_path / "muted.mkv", MOST_GAP + 20
    with av.open(str(path), "w") as container:
        pictures, sound = (
            container.add_stream("mpeg4", rate=1),
            container.add_stream("pcm_s16le", rate=8000, layout="mono"),
        )
        pictures.width = pictures.height = 32
        pictures.pix_fmt = "yuv420p"
        for index in range(seconds):
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 50, np.uint8), format="rgb24")
            container.mux(pictures.encode(frame))
            if index in (0, seconds - 1):
                heard = av.AudioFrame.from_ndarray(np.full((1, 8000), 9000, np.int16), format="s16", layout="mono")
                heard.sample_rate, heard.pts, heard.time_base = 8000, index * 8000, Fraction(1, 8000)
                container.mux(sound.encode(heard))
        container.mux(pictures.encode(None))
    reader = VideoReader(path)
    samples, rate = reader.soundtrack()
    assert reader.info.joins == ()
    assert len(samples) == seconds * rate
    assert (samples[rate : (seconds - 1) * rate] == 0).all()


# AVI keeps no stamps: pictures that were dropped are empty places.


def test_pictures_dropped_from_an_avi_with_b_frames_keep_their_places(tmp_path):
    stamps = [*range(20), *range(25, 55)]
    path = write_clip(tmp_path / "dropped.avi", numbered(0), stamps=stamps, codec_options={"bf": "2"})
    shown = read_numbers(VideoReader(path).read(25))
    assert len(shown) == 55
    assert shown[:18] == list(range(18))
    assert shown[28:] == list(range(23, 50))


# Tracks.


def write_tracks(path: Path, tracks: list[dict], stills: int = 0) -> Path:
    """Sound tracks with a click each, at 0.2 s, 0.4 s, ...; and a still before the pictures."""
    with av.open(str(path), "w") as container:
        still = [container.add_stream("mjpeg", rate=25) for _ in range(stills)]
        pictures = container.add_stream("libx264", rate=25, options={"preset": "superfast"})
        for stream in (*still, pictures):
            stream.width, stream.height = 160, 64
            stream.pix_fmt = "yuvj420p" if stream in still else "yuv420p"
        sounds = []
        for track in tracks:
            stream = container.add_stream(track.get("codec", "aac"), rate=RATE, layout="mono")
            stream.disposition = av.stream.Disposition.default if track.get("default") else av.stream.Disposition(0)
            if "language" in track:
                stream.metadata["language"] = track["language"]
            sounds.append(stream)
        packets = []
        for stream in still:
            frame = av.VideoFrame.from_ndarray(np.zeros((64, 160, 3), np.uint8), format="rgb24")
            packets += stream.encode(frame.reformat(format="yuvj420p")) + stream.encode(None)
        for index, image in enumerate(numbered(0)):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            packets += pictures.encode(frame)
        packets += pictures.encode(None)
        for index, stream in enumerate(sounds):
            level = 0 if tracks[index].get("silent") else 1
            samples = level * clicks(2, (0.2 * (index + 1),))
            for begin in range(0, samples.shape[1], 1024):
                frame = av.AudioFrame.from_ndarray(samples[:, begin : begin + 1024], format="fltp", layout="mono")
                frame.sample_rate, frame.pts, frame.time_base = RATE, begin, Fraction(1, RATE)
                packets += stream.encode(frame)
            packets += stream.encode(None)
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            container.mux(packet)
    return path


@pytest.fixture(scope="module")
def film(tmp_path_factory) -> Path:
    tracks = [{"language": "eng"}, {"language": "fra", "default": True}, {"language": "deu"}]
    return write_tracks(tmp_path_factory.mktemp("tracks") / "film.mkv", tracks)


@pytest.mark.parametrize(
    ("track", "time", "number"), [(None, 0.4, 2), (1, 0.2, 1), (3, 0.6, 3), ("deu", 0.6, 3), ("ENG", 0.2, 1)]
)
def test_the_track_that_players_choose_or_the_one_asked_for_is_heard(film, track, time, number):
    with read_with(audio_track=track):
        reader = VideoReader(film)
        samples, rate = read_audio(film)
    assert find_clicks(*reader.soundtrack()) == pytest.approx([time], abs=0.03)
    assert find_clicks(samples, rate) == pytest.approx([time], abs=0.03)
    assert (reader.info.audio_track, reader.info.audio_tracks) == (number, 3)


@pytest.mark.parametrize("track", [4, "ita"])
def test_a_track_that_is_not_there_is_named_with_those_that_are(film, track):
    message = rf"no sound track {track!r} .* it has 1 \(eng, aac\), 2 \(fra, aac, default\), 3 \(deu, aac\)\."
    with read_with(audio_track=track), pytest.raises(ValueError, match=message):
        probe_video(film)


@pytest.mark.parametrize(("track", "error"), [(0, ValueError), (1.5, TypeError), (True, TypeError)])
def test_tracks_are_numbers_from_one_on_or_languages(track, error):
    with pytest.raises(error, match="`audio_track`"), read_with(audio_track=track):
        pass


def test_a_silent_track_beside_others_is_told(tmp_path):
    path = write_tracks(tmp_path / "film.mkv", [{"silent": True, "codec": "flac"}, {"codec": "flac"}])
    with pytest.warns(
        UserWarning, match=r"sound track 1 is silent; there are 1 \(flac.*\), 2 \(flac.*\)\. Choose another"
    ):
        VideoReader(path).soundtrack()


@pytest.mark.parametrize("kind", ["mkv", "mp4"])
def test_a_still_is_not_taken_for_the_video(tmp_path, kind):
    path = write_tracks(tmp_path / f"film.{kind}", [], stills=1)
    reader = VideoReader(path)
    assert read_numbers(reader.read(25)) == list(range(50))
    assert reader.info.video_track == 2
    with read_with(video_track=1):
        assert len(VideoReader(path).read(25)) <= 2
    with read_with(video_track=3), pytest.raises(ValueError, match=r"`video_track` is 3, but .* has 2 video tracks"):
        VideoReader(path)


def test_where_sound_begins_before_the_pictures_is_told(tmp_path):
    path = write_clip(
        tmp_path / "late.mkv", numbered(0), stamps=[50 + index for index in range(50)], sound=clicks(4, (0.5, 2.5))
    )
    reader = VideoReader(path)
    assert reader.info.origin == pytest.approx(2, abs=0.03)
    assert find_clicks(*reader.soundtrack()) == pytest.approx([0.5], abs=0.03)


def test_a_picture_of_another_shape_is_not_squeezed(tmp_path):
    """A phone that is turned while it records: 160 x 64 first, then 64 x 160, a bright square in the middle of each."""
    parts = []
    for index, (height, width) in enumerate(((64, 160), (160, 64))):
        frames = np.full((25, height, width, 3), 90, np.uint8)
        frames[:, height // 2 - 16 : height // 2 + 16, width // 2 - 16 : width // 2 + 16] = 250
        parts.append(write_clip(tmp_path / f"{index}.ts", frames).read_bytes())
    (tmp_path / "turned.ts").write_bytes(b"".join(parts))
    with pytest.warns(
        UserWarning, match="160 x 64 pixels at first and 64 x 160 later; those of another shape get black"
    ):
        frames = VideoReader(tmp_path / "turned.ts").read(25)
    assert frames.shape == (50, 64, 160, 3)
    last = frames[-1, ..., 0]
    bright, shown = last > 170, last > 45
    assert abs(bright.any(axis=0).sum() - bright.any(axis=1).sum()) <= 2  # still a square, two fifths as large
    assert bright.any(axis=1).sum() == pytest.approx(12.8, abs=2)
    assert shown.any(axis=0).sum() == pytest.approx(25.6, abs=2)
    assert shown[:, 67:93].all()


# A part of a file.


@pytest.mark.parametrize("kind", ["mp4", "mkv", "ts", "avi"])
def test_a_part_of_a_file_is_read_as_if_the_rest_was_not_there(tmp_path, kind):
    how = {"codec": "mpeg4", "sound_codec": "pcm_s16le", "sound_format": "s16"} if kind == "avi" else {}
    write_part(tmp_path / f"whole.{kind}", 0, **how)
    with read_with(start=0.6, end=1.8):
        reader = VideoReader(tmp_path / f"whole.{kind}")
    assert read_numbers(reader.read(25)) == list(range(15, 45))
    assert (reader.info.origin, reader.info.duration) == pytest.approx((0.6, 1.2), abs=0.03)
    assert find_clicks(*reader.soundtrack()) == pytest.approx([0.9], abs=0.03)
    assert read_numbers(reader.read(25, start=0.4, end=0.8)) == list(range(25, 35))
    assert read_numbers(reader.frame_at(1.0)[None]) == [40]
    samples, rate = reader.soundtrack(start=0.8, end=2)
    assert len(samples) == round(1.2 * rate)
    assert find_clicks(samples, rate) == pytest.approx([0.1], abs=0.03)
    assert not samples[round(0.4 * rate) :].any()


def test_a_part_of_a_recording_is_heard(tmp_path):
    write_wav(tmp_path / "voice.wav", clicks(2, (0.5, 1.5)), RATE)
    with read_with(start=1.25, end=1.75):
        samples, rate = read_audio(tmp_path / "voice.wav")
    assert len(samples) == rate // 2
    assert find_clicks(samples, rate) == pytest.approx([0.25], abs=0.001)


def test_options_for_one_file_leave_others_whole(tmp_path):
    for name in ("one.wav", "other.wav"):
        write_wav(tmp_path / name, clicks(2, (0.5, 1.5)), RATE)
    with read_with(start=1.25, end=1.75, audio_track=2, only=tmp_path / "one.wav"):
        assert len(read_audio(tmp_path / "one.wav")[0]) == RATE // 2
        assert len(read_audio(tmp_path / "other.wav")[0]) == 2 * RATE


@pytest.mark.parametrize(
    ("part", "message"), [({"start": 3}, r"ends at 2\.00 s, before `start` \(3 s\)"), ({"start": 1, "end": 1}, "`end`")]
)
def test_a_part_that_is_not_there_is_refused(tmp_path, part, message):
    write_part(tmp_path / "whole.mp4", 0)
    with pytest.raises(ValueError, match=message), read_with(**part):
        VideoReader(tmp_path / "whole.mp4")


@pytest.mark.parametrize("kind", ["mp4", "mkv"])
def test_sound_that_is_stamped_an_hour_after_the_pictures_follows_them(tmp_path, kind):
    path = tmp_path / f"apart.{kind}"
    with av.open(str(path), "w") as container:
        pictures = container.add_stream("libx264", rate=25, options={"preset": "superfast", "bf": "0"})
        pictures.width, pictures.height, pictures.pix_fmt = 160, 64, "yuv420p"
        sound = container.add_stream("aac", rate=RATE, layout="mono")
        for index, image in enumerate(numbered(0)):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(pictures.encode(frame))
        container.mux(pictures.encode(None))
        samples = clicks(1, (0.5,))
        for begin in range(0, RATE, 1024):
            frame = av.AudioFrame.from_ndarray(samples[:, begin : begin + 1024], format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = RATE, 3600 * RATE + begin, Fraction(1, RATE)
            container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    with pytest.warns(UserWarning, match="time stamps jump"):
        reader = VideoReader(path)
    assert read_numbers(reader.read(25)) == list(range(50))
    heard, rate = reader.soundtrack()
    assert len(heard) < 4 * rate
    assert find_clicks(heard, rate) == pytest.approx([2.5], abs=0.05)


def test_the_joins_of_a_part_are_on_its_clock(tmp_path):
    content = b"".join(write_part(tmp_path / f"{part}.ts", 50 * part) for part in range(3))
    (tmp_path / "all.ts").write_bytes(content)
    with read_with(start=1, end=3), pytest.warns(UserWarning, match="jump"):
        reader = VideoReader(tmp_path / "all.ts")
    assert [join.time for join in reader.info.joins] == pytest.approx([1], abs=0.01)


def test_sound_behind_the_end_of_a_part_is_silence(tmp_path):
    write_part(tmp_path / "whole.mp4", 0)
    with read_with(start=0.5, end=1):
        reader = VideoReader(tmp_path / "whole.mp4")
    samples, rate = reader.soundtrack(start=0.75, end=1)
    assert (len(samples), rate) == (RATE // 4, RATE)
    assert not samples.any()


def test_a_part_behind_the_last_picture_is_refused(tmp_path):
    """Sound lasts longer than the pictures, and the file's length is that of the sound."""
    path = write_clip(tmp_path / "short.mkv", numbered(0, 10), sound=clicks(3, (0.5,)))
    with read_with(start=1), pytest.raises(ValueError, match=r"not before the end|ends at"):
        VideoReader(path).read(25)
