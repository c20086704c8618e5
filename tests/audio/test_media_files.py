"""One file is read, and no other: whatever it holds, and whatever it is called. And every usual format opens."""

import io
import os
import struct
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from video.clips import chirp, noise, numbers, write_clip

from avzoo.audio import iter_audio, read_audio, write_wav
from avzoo.audio.media_files import _FORMATS, open_container
from avzoo.video import VideoReader, iter_video, probe_video, read_video, shift_sound

READERS = {
    "read_audio": read_audio,
    "iter_audio": lambda source: next(iter_audio(source, 16000)),
    "probe_video": probe_video,
    "read_video": read_video,
    "iter_video": lambda source: next(iter_video(source)),
    "VideoReader": VideoReader,
    "shift_sound": lambda source: shift_sound(source, "shifted.mp4", 0.1),
}
SOURCES = {
    "path": Path,
    "bytes": lambda name: Path(name).read_bytes(),
    "file object": lambda name: io.BufferedReader(io.FileIO(name)),
}
WAYS = [(reader, source) for reader in READERS for source in SOURCES if reader != "shift_sound" or source == "path"]

HLS = "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nsecret.ts\n#EXT-X-ENDLIST\n"
CONCAT = "ffconcat version 1.0\nfile 'secret.ts'\n"
PLAYLISTS = {  # file name: what is in it
    "hls.m3u8": HLS,
    "hls.mp4": HLS,
    "variants.m3u8": "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nhls.m3u8\n",
    "key.m3u8": HLS.replace("#EXTINF", '#EXT-X-KEY:METHOD=AES-128,URI="secret.ts"\n#EXTINF'),
    "map.m3u8": HLS.replace("#EXTINF", '#EXT-X-MAP:URI="secret.ts"\n#EXTINF'),
    "range.m3u8": HLS.replace("secret.ts", "#EXT-X-BYTERANGE:18800@0\nsecret.ts"),
    "concat.ffconcat": CONCAT,
    "concat.mp4": CONCAT,
    "concat.wav": CONCAT,
    "subtitles.idx": "# VobSub index file, v7\nid: en, index: 0\ntimestamp: 00:00:01:000, filepos: 000000000\n",
    "dash.mpd": '<?xml version="1.0"?>\n<MPD profiles="urn:mpeg:dash:profile:isoff-main:2011"></MPD>\n',
    "list.xspf": '<?xml version="1.0"?>\n<playlist version="1"></playlist>\n',
    "list.pls": "[playlist]\nFile1=secret.ts\nNumberOfEntries=1\n",
    "list.asx": '<asx version="3.0"><entry><ref href="secret.ts"/></entry></asx>\n',
}


@pytest.fixture(scope="module")
def secret(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("secret") / "secret.ts"
    return write_clip(
        path, noise(10), codec="mpeg2video", sound=chirp(48000, 0.4)[None], sound_codec="mp2"
    ).read_bytes()


@pytest.fixture
def folder(tmp_path, monkeypatch, secret) -> Path:
    """The working directory, with a file that nobody asks for."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret.ts").write_bytes(secret)
    return tmp_path


# Files that name others.


@pytest.mark.parametrize(("reader", "source"), WAYS)
def test_a_playlist_is_refused(folder, reader, source):
    for name, content in PLAYLISTS.items():
        (folder / name).write_text(content)
    answers = {}
    for name in PLAYLISTS:
        try:
            answers[name] = READERS[reader](SOURCES[source](name))
        except ValueError as error:
            answers[name] = str(error)
    refusal = "is no audio or video file but a playlist: it names other files"
    assert not {name: answer for name, answer in answers.items() if refusal not in str(answer)}
    assert not (folder / "shifted.mp4").exists()


@pytest.mark.parametrize(("reader", "source"), WAYS)
def test_the_file_that_they_name_could_be_read(folder, reader, source):
    READERS[reader](SOURCES[source]("secret.ts"))


@pytest.mark.parametrize("name", ["words.m3u8", "words.sdp"])
@pytest.mark.parametrize("reader", READERS)
def test_a_list_that_cannot_be_told_from_text_is_no_media_file(folder, reader, name):
    text = "secret.ts\n" if name == "words.m3u8" else "v=0\no=- 0 0 IN IP4 127.0.0.1\nm=audio 5004 RTP/AVP 0\n"
    (folder / name).write_text(text)
    with pytest.raises(ValueError, match="is no audio or video file that libsndfile or FFmpeg can read"):
        READERS[reader](name)


def magic_lantern(level: int | None) -> bytes:
    """An MLV file that announces one picture of 8 x 16 grey pixels, and holds it unless `level` is None."""
    raw = struct.pack("<HHI20xI48xI80x", 16, 8, 1, 16, 0x2010100)
    header = struct.pack("<4sI8sQHHI", b"MLVI", 52, b"v2.0", 7, 0, 1, 0) + struct.pack("<HHIIII", 1, 0, 1, 0, 25, 1)
    content = header + struct.pack("<4sIQ", b"RAWI", 16 + len(raw), 0) + raw
    if level is not None:
        content += struct.pack("<4sIQ16x", b"VIDF", 32 + 256, 0) + struct.pack("<H", level) * 128
    return content


@pytest.mark.parametrize("reader", READERS)
def test_a_recording_in_several_files_is_refused(folder, reader):
    (folder / "a.MLV").write_bytes(magic_lantern(None))
    (folder / "a.M00").write_bytes(magic_lantern(40000))
    with pytest.raises(ValueError, match=r"\(a.MLV\) is no audio or video file"):
        READERS[reader]("a.MLV")


@pytest.mark.parametrize("source", [str, SOURCES["file object"]])
def test_one_plane_of_three_is_refused(folder, source):
    for name in ("a.y", "a.u", "a.v"):
        (folder / name).write_bytes(bytes(352 * 288))
    with pytest.raises(ValueError, match="is no audio or video file"):
        open_container(source("a.y"), "`video`")


def external_track(movie: bytes, path: str) -> bytes:
    """A QuickTime movie of one track whose samples lie in another file, named by an alias."""
    entry = struct.pack(">HH", 2, len(path)) + path.encode() + bytes(len(path) % 2) + struct.pack(">Hxx", 0xFFFF)
    name = os.path.basename(path).encode()
    alias = bytes(10) + bytes([0]) + bytes(27 + 12) + bytes([len(name)]) + name.ljust(63, b"\0")
    alias += bytes(16) + struct.pack(">hh", 0, 1) + bytes(16) + entry
    old = struct.pack(">I4sI", 12, b"url ", 1)
    new = struct.pack(">I4sI", 12 + len(alias), b"alis", 0) + alias
    at = movie.index(old)
    grown = movie[:at] + new + movie[at + len(old) :]
    for parent in (b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref"):
        size_at = movie[:at].rindex(parent) - 4
        size = struct.unpack_from(">I", movie, size_at)[0] + len(new) - len(old)
        grown = grown[:size_at] + struct.pack(">I", size) + grown[size_at + 4 :]
    return grown


def test_a_track_in_another_file_is_not_read(folder):
    write_wav("silence.wav", np.zeros(16000, np.float32), 16000)
    write_wav("other.wav", np.full(16000, 0.5, np.float32), 16000)
    with av.open("silence.wav") as source, av.open("own.mov", "w") as movie:
        stream = movie.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux():
            if packet.size:
                packet.stream = stream
                movie.mux(packet)
    movie = external_track((folder / "own.mov").read_bytes(), "other.wav")
    (folder / "external.mov").write_bytes(movie)
    allowed = {"enable_drefs": "1", "use_absolute_path": "1"}
    with av.open("external.mov", options=allowed) as container:  # the reference leads to the other file
        assert all(frame.to_ndarray().any() for frame in container.decode(audio=0))
    with pytest.raises(ValueError, match=r"\(external.mov\).*nothing in it could be decoded"):
        read_audio("external.mov")


def with_subtitles(path: Path, text: str) -> None:
    """An AVI file whose second stream holds a text file: written as PCM, which passes any bytes, and then renamed."""
    packet = b"GAB2\0" + struct.pack("<HI2sHI", 2, 2, b"x\0", 4, len(text)) + text.encode()
    samples = np.frombuffer(packet.ljust(2048, b"\n"), np.int16)
    write_clip(path, noise(3), codec="mpeg4", sound=samples[None], sound_codec="pcm_s16le", sound_format="s16")
    content = path.read_bytes().replace(b"auds", b"txts").replace(b"01wb", b"01tx")
    path.write_bytes(content)


@pytest.mark.parametrize("text", ["1\n00:00:00,000 --> 00:00:01,000\nhello\n", HLS, CONCAT])
def test_subtitles_inside_a_video_are_no_way_out(folder, text):
    with_subtitles(folder / "a.avi", text)
    with open_container("a.avi", "`video`") as container:
        packets = [bytes(packet) for packet in container.demux(container.streams[1]) if packet.size]
    assert packets[0] == b"hello" if "hello" in text else packets[0].startswith(b"GAB2")
    assert len(read_video("a.avi").frames) == 3


# Names that are read as something else.


@pytest.mark.parametrize("ending", [".png", ".jpg"])
@pytest.mark.parametrize("name", ["x%03d", "x%d", "x%*", "x*", "x?", "x[0-9]", "x{1,2}"])
def test_a_pattern_of_names_is_only_a_name(folder, name, ending):
    for stem, picture in zip(["x001", "x002", "x1", "x2", name], noise(5), strict=True):
        Image.fromarray(picture).save(f"{stem}{ending}")
    assert numbers(read_video(name + ending).frames) == [4]
    assert numbers(next(iter_video(name + ending))) == [4]
    assert numbers(VideoReader(name + ending).frame_at(0)[None]) == [4]


@pytest.mark.parametrize("reader", READERS)
def test_a_pattern_of_names_that_holds_nothing_is_refused(folder, reader):
    for name in ("x000.png", "x001.png"):
        Image.fromarray(noise(1)[0]).save(folder / name)
    (folder / "x%03d.png").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"\(x%03d.png\)"):
        READERS[reader]("x%03d.png")


@pytest.mark.parametrize("name", ["take%03d.mp4", "take*.mp4", "concat:take001.mp4|take002.mp4", "data:,.mp4"])
def test_a_video_of_any_name_is_itself(folder, name):
    for path, start in (("take001.mp4", 0), ("take002.mp4", 10), (name, 20)):
        write_clip(folder / path, noise(25)[start : start + 5], sound=chirp(48000, 0.2)[None])
    assert numbers(read_video(name).frames) == [20, 21, 22, 23, 24]
    assert numbers(read_video(shift_sound(name, "shifted.mp4", 0.01)).frames) == [20, 21, 22, 23, 24]


def test_a_file_called_like_standard_input_is_itself(folder):
    write_wav("own.wav", np.full(800, 0.1, np.float32), 16000)
    write_wav("other.wav", np.full(900, 0.2, np.float32), 16000)
    (folder / "own.wav").rename("-")
    before = os.dup(0)
    try:
        with open("other.wav", "rb") as other:
            os.dup2(other.fileno(), 0)
        assert len(read_audio("-")[0]) == 800
    finally:
        os.dup2(before, 0)
        os.close(before)


# What opens.


def test_ffmpeg_knows_every_format_that_may_be_opened():
    for name in _FORMATS.split():
        assert av.format.ContainerFormat(name, "r").is_input
    assert len(set(_FORMATS.split())) == len(_FORMATS.split())


VIDEOS = {  # file name: (codec of the pictures, of the sound or None)
    "a.mp4": ("libx264", "aac"),
    "a.mov": ("libx264", "aac"),
    "a.m4v": ("libx264", "aac"),
    "a.3gp": ("libx264", "aac"),
    "a.3g2": ("libx264", "aac"),
    "a.f4v": ("libx264", "aac"),
    "a.mkv": ("libx264", "aac"),
    "a.webm": ("libvpx", "libopus"),
    "a.avi": ("mpeg4", "libmp3lame"),
    "a.ts": ("libx264", "aac"),
    "a.m2ts": ("libx264", "aac"),
    "a.mpg": ("mpeg1video", "mp2"),
    "a.vob": ("mpeg2video", "ac3"),
    "a.flv": ("libx264", "libmp3lame"),
    "a.wmv": ("wmv2", "libmp3lame"),
    "a.asf": ("msmpeg4", "libmp3lame"),
    "a.ogv": ("libvpx", "libopus"),
    "a.mxf": ("mpeg2video", "pcm_s16le"),
    "a.nut": ("mpeg4", "libmp3lame"),
    "a.rm": ("rv10", None),
    "a.swf": ("flv1", None),
    "a.h264": ("libx264", None),
    "a.hevc": ("libx265", None),
    "a.m1v": ("mpeg1video", None),
    "a.m2v": ("mpeg2video", None),
    "a.mjpeg": ("mjpeg", None),
    "a.ivf": ("libvpx", None),
    "a.y4m": ("rawvideo", None),
    "a.gif": ("gif", None),
    "a.apng": ("apng", None),
}
SOUNDS = {  # file name: codec
    "a.wav": "pcm_s16le",
    "a.w64": "pcm_s16le",
    "a.aiff": "pcm_s16be",
    "a.au": "pcm_s16be",
    "a.caf": "pcm_s16be",
    "a.voc": "pcm_u8",
    "a.flac": "flac",
    "a.mp3": "libmp3lame",
    "a.mp2": "mp2",
    "a.aac": "aac",
    "a.m4a": "aac",
    "a.ac3": "ac3",
    "a.eac3": "eac3",
    "a.ogg": "libopus",
    "a.amr": "libopencore_amrnb",
    "a.opus": "libopus",
    "a.mka": "aac",
    "a.wma": "wmav2",
    "a.tta": "tta",
    "a.wv": "wavpack",
    "a.g722": "g722",
}


@pytest.mark.parametrize("name", VIDEOS)
def test_usual_videos_open(tmp_path, name):
    codec, sound_codec = VIDEOS[name]
    pixel_format = {"mjpeg": "yuvj420p", "gif": "rgb8", "apng": "rgb24"}.get(codec, "yuv420p")
    sound = None if sound_codec is None else chirp(48000, 0.2)[None]
    path = write_clip(tmp_path / name, noise(5), 25, codec, pixel_format, sound=sound, sound_codec=sound_codec)
    for source in (path, path.read_bytes()):
        assert probe_video(source).channels == (sound is not None)
        assert len(read_video(source).frames) in (4, 5, 6)  # some formats keep no times
        if sound is not None:
            assert read_audio(source)[0].any()


@pytest.mark.parametrize("name", SOUNDS)
def test_usual_sounds_open(tmp_path, name):
    rate = {"a.amr": 8000, "a.g722": 16000}.get(name, 48000)
    samples = chirp(rate, 0.5)
    with av.open(str(tmp_path / name), "w") as container:
        stream = container.add_stream(SOUNDS[name], rate=rate, layout="mono")
        stream.bit_rate = 64000 if name != "a.amr" else 12200
        frame = av.AudioFrame.from_ndarray(samples[None], format="flt", layout="mono")
        frame.sample_rate = rate
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert read_audio(tmp_path / name)[0].any()
    with open_container(str(tmp_path / name), "`audio`") as container:  # what libsndfile opens, too
        assert sum(frame.samples for frame in container.decode(audio=0)) == pytest.approx(len(samples), rel=0.2)


@pytest.mark.parametrize("ending", ["png", "jpg", "bmp", "gif", "tif", "webp", "tga", "ppm", "jp2", "avif"])
def test_usual_pictures_open(tmp_path, ending):
    path = tmp_path / f"a.{ending}"
    Image.fromarray(noise(1)[0]).save(path)
    assert np.abs(read_video(path).frames[0] - noise(1)[0].astype(float)).mean() < 8
