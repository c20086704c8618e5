"""Files with sound or pictures, before anything in them is decoded: given as a path, as bytes or as a file object."""

import io
import os
import re
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from typing import Any

import av

# The formats that FFmpeg may open. Those that make it open further files are left out: playlists (hls, concat, dash,
# imf), session descriptions (sdp), subtitles and recordings in several files (vobsub, mlv), drawings (svg_pipe).
_FORMATS = """
    mov matroska avi mpegts mpeg mpegvideo flv live_flv kux asf asf_o ogg mxf gxf rm ivr dv nut nsv nuv wtv ty pva dhav
    swf h261 h263 h264 hevc vvc m4v vc1 vc1test av1 obu ivf dirac cavsvideo avs2 avs3 evc apv dnxhd mjpeg mjpeg_2000
    mpjpeg smjpeg yuv4mpegpipe flic cine ser
    wav w64 aiff au caf flac mp3 aac loas ac3 ac4 eac3 dts dtshd truehd mlp amr amrnb amrwb ape wv tta tak mpc mpc8 shn
    dsf iff iamf voc oma aea qoa osq bonk wavarc wady vqf xwma gsm ilbc lc3 qcp g722 g723_1 g726 g726le g729 sbc aptx
    aptx_hd codec2 act dss sln alaw mulaw spdif daud mmf ircam nistsphere sds sox pvf paf epaf avr hcom rso
    image2 gif apng ico jpegxl_anim bmp_pipe cri_pipe dds_pipe dpx_pipe exr_pipe gem_pipe hdr_pipe j2k_pipe jpeg_pipe
    jpegls_pipe jpegxl_pipe jpegxs_pipe pam_pipe pbm_pipe pcx_pipe pfm_pipe pgm_pipe pgmyuv_pipe pgx_pipe phm_pipe
    photocd_pipe pictor_pipe png_pipe ppm_pipe psd_pipe qdraw_pipe qoi_pipe sgi_pipe sunrast_pipe tiff_pipe vbn_pipe
    webp_pipe xbm_pipe xpm_pipe xwd_pipe
    ass srt
"""  # the last two: subtitles inside an AVI file
_OPTIONS = {
    "protocol_whitelist": "file",  # no network
    "pattern_type": "none",  # or image2 reads x001.png, x002.png, ... for a file called x%03d.png
}
_PLAYLIST = re.compile(
    rb"(\xef\xbb\xbf)?\s*(#EXTM3U|ffconcat version|\[playlist\]|# VobSub index|"
    rb"(<\?xml[^>]*>\s*)?<(MPD|playlist|asx|smil|SmoothStreamingMedia)\b)",
    re.IGNORECASE,
)


def locate(source: Any, label: str) -> tuple[str, str | io.IOBase] | None:
    """The label of a file for messages, and a path or file object for a decoder; None if `source` is no file.

    Args:
        source: a path, the `bytes` of a file, or a binary file object, which is read from where it stands.
        label: what messages call the source; the file's name is added where there is one.

    Raises:
        OSError: the path is not there or can't be opened.
        TypeError: a file object in text mode.
        ValueError: a URL, or no bytes at all.
    """
    if isinstance(source, str | os.PathLike):
        path = os.fsdecode(source)
        if re.match(r"https?://", path):
            raise ValueError(f"{label} is a URL ({path}); download it first and pass the file.")
        with open(path, "rb") as file:  # says at once, as an OSError with the path, what can't be opened
            empty = not file.read(1)
        # Joined, since libsndfile takes the name "-" alone for standard input.
        label, opened = f"{label} ({os.path.basename(path)})", os.path.join(os.curdir, path)
    elif isinstance(source, bytes | bytearray | memoryview):
        opened, empty = io.BytesIO(source), not len(source)
    elif hasattr(source, "read"):
        if isinstance(source, io.TextIOBase):
            raise TypeError(f'{label} is a text file object; open it in binary mode ("rb").')
        name = getattr(source, "name", None)
        if isinstance(name, str):
            label = f"{label} ({os.path.basename(name)})"
        # Decoders seek, and count from the file's first byte.
        opened = source
        if not (hasattr(opened, "seekable") and opened.seekable() and opened.tell() == 0):
            opened = io.BytesIO(opened.read())
        empty = not opened.read(1)
        opened.seek(0)
    else:
        return None
    if empty:
        raise ValueError(f"{label} is empty: 0 bytes (of a file object: from where it stands).")
    return label, opened


def open_container(opened: str | io.IOBase, label: str) -> av.container.InputContainer:
    """Open a file with FFmpeg. No other file is read, whatever this one or its name refers to.

    Raises:
        ValueError: a playlist, or FFmpeg doesn't know what it is.
    """
    # "file:" keeps a colon in a name from being read as a protocol.
    url, name = (f"file:{opened}", opened) if isinstance(opened, str) else (opened, str(getattr(opened, "name", "")))
    formats = set(_FORMATS.split())
    if name.lower().endswith(".y"):
        formats.discard("image2")  # it takes x.y for one plane of three, and reads x.u and x.v
    try:
        return av.open(url, metadata_errors="ignore", options=_OPTIONS | {"format_whitelist": ",".join(formats)})
    except (av.error.FFmpegError, ValueError) as error:
        if _PLAYLIST.match(_read_head(opened)):
            raise ValueError(
                f"{label} is no audio or video file but a playlist: it names other files, which are not read. "
                "Pass the file that holds the sound or the pictures."
            ) from error
        reason = getattr(error, "strerror", None) or error
        raise ValueError(
            f"{label} is no audio or video file that libsndfile or FFmpeg can read ({reason}); check that it is whole."
        ) from error


def _read_head(opened: str | io.IOBase) -> bytes:
    if isinstance(opened, str):
        with open(opened, "rb") as file:
            return file.read(1024)
    opened.seek(0)
    return opened.read(1024)


def describe_streams(container: av.container.InputContainer) -> str:
    """The kinds of stream in a file, for messages: "audio, video"."""
    return ", ".join(sorted({stream.type for stream in container.streams})) or "none"


def decode_frames(
    container: av.container.InputContainer,
    stream: av.AudioStream | av.VideoStream,
    label: str,
    *,
    whole: bool = True,
    late_start: bool = False,
    packets: Iterable[av.Packet] | None = None,
    on_damage: Callable[[Fraction, str], None] | None = None,
) -> Iterator[av.AudioFrame | av.VideoFrame]:
    """Decode every frame of one stream, from the container's position to its end.

    Args:
        packets: of the container, in its order, those of other streams among them. None: as the container has them.
        on_damage: takes the time stamp, seconds, and the reason of what is damaged, which is left out. None: that is an
            error.
        whole: the container stands at its beginning, so that missing packets can be told at the end.
        late_start: what can't be decoded before the first frame is skipped, since a recording of a broadcast, or a
            reading after a seek, begins anywhere, and pictures can only be decoded from one that is stored whole.

    Raises:
        ValueError: no decoder, nothing that can be decoded; without `on_damage` what is damaged in the middle, or fewer
            packets than the file announces.
    """
    if stream.codec_context is None:
        raise ValueError(f"{label}: FFmpeg has no decoder for its {stream.type} stream; convert the file first.")
    announced = len(stream.index_entries)  # mp4 lists all its packets up front; others list fewer
    count, seconds, skipped = 0, 0.0, None
    stamp = None  # where the last frame ends

    def tell(reason: str) -> None:
        error = damage_error(label, seconds, reason)
        if on_damage is None:
            raise error
        on_damage(Fraction(seconds) if stamp is None else stamp, reason)

    for packet in container.demux(stream) if packets is None else packets:
        if packet.stream.index != stream.index:
            continue
        count += packet.size > 0
        has_begun = bool(seconds) or not late_start
        # Where recordings are joined the packets' own count breaks; whether a picture is whole the decoder tells there.
        if packet.is_corrupt and packets is None and stream.type == "video" and has_begun:
            tell("the next packet is damaged")
        try:
            frames = packet.decode()
        except av.error.FFmpegError as error:
            skipped = error.strerror or str(error)
            if skipped.startswith("Error number"):  # one that FFmpeg has no words for
                skipped = "the decoder can't read a packet"
            if has_begun:
                tell(skipped)
            continue
        for frame in frames:
            if stream.type == "video" and frame.is_corrupt:
                skipped = "no whole picture"
                if seconds or not late_start:
                    tell("the next picture is damaged")
                continue
            if stream.type == "audio":
                duration = Fraction(frame.samples, frame.sample_rate)
            else:
                duration = (frame.duration or 0) * frame.time_base or 1 / Fraction(stream.guessed_rate or 25)
            seconds += float(duration)
            if frame.pts is not None:
                stamp = frame.pts * frame.time_base + duration
            yield frame
    if whole and count < announced and seconds:
        tell(f"{count} of {announced} packets are there")
    if not seconds and (skipped or (whole and count < announced)):
        raise damage_error(label, 0, skipped or f"{count} of {announced} packets are there")


def damage_error(label: str, seconds: float, reason: str) -> ValueError:
    """The error for a file that ends too early; `seconds` of it could be decoded."""
    reason = reason.strip(" .") or "the decoder gave no reason"
    if not seconds:
        return ValueError(f"{label}: nothing in it could be decoded ({reason}); the file is damaged or cut short.")
    return ValueError(
        f"{label} breaks off: {seconds:.2f} s could be decoded ({reason}). The file is damaged or cut short; get it "
        "again, or cut it to what is whole."
    )
