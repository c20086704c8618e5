"""Cut the faces of your own videos into what the examples with faces train on.

    python examples/cut_faces.py videos.csv --layout clips --output_dir clips      # train_avdiffuss.py --dataset folder
    python examples/cut_faces.py videos.csv --layout faces --output_dir faces      # train_mtdvocalist.py
    python examples/cut_faces.py videos.csv --layout tracks --output_dir tracks    # train_talknce.py

`videos.csv` names the videos; its paths begin from its own folder, and all columns but `path` may be left out:

    path,split,speaker,boxes,speaking
    talk.mp4,train,anna,talk.json,talk_speaking.csv
    news.mp4,val,ben,,

| column | meaning |
|---|---|
| path | a video with sound, in which the one who is seen is the one who is heard (but see `speaking`) |
| split | train or val; train, if it is left out. `clips` knows no splits |
| speaker | for `clips`: voices of one speaker are never mixed; the video's name, if it is left out |
| boxes | the faces, as `avzoo tracks talk.mp4 -o talk.json` writes them; they are found here, if it is left out |
| speaking | needed for `tracks`: a table `track_id,start,end` of when which face speaks and is heard, in seconds |

To see which face has which `track_id`: `avzoo tracks talk.mp4 -o talk.json --render talk_tracks.mp4`.
"""

import argparse
import csv
import hashlib
import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from avzoo.audio import write_wav
from avzoo.data.lists import malformed, read_records
from avzoo.pipelines.shared.face_detectors import DETECTORS, faces_from
from avzoo.rates import FRAMES_PER_SECOND, SAMPLES_PER_FRAME, SAMPLING_RATE
from avzoo.training import report_errors
from avzoo.video import Track, VideoReader, WholeFace, find_face_tracks, probe_video, resize_as_opencv, write_video
from avzoo.video.crops import cut_box

COLUMNS = ("path", "split", "speaker", "boxes", "speaking")
AVA_HEADER = "video_id,frame_timestamp,entity_box_x1,entity_box_y1,entity_box_x2,entity_box_y2,label,entity_id"
CLIP_SIDE = 224  # pixels, as VoxCeleb2's


@report_errors
def main() -> None:
    options = parse_arguments()
    videos = read_videos(options.videos, options.layout)
    if options.output_dir.is_dir() and any(options.output_dir.iterdir()):
        raise ValueError(f"`output_dir` ({options.output_dir}) is not empty; choose another folder.")
    layout = {"clips": Clips, "faces": Faces, "tracks": Tracks}[options.layout](options.output_dir)
    for video in videos:
        reader = VideoReader(video["path"], name=str(video["path"]))
        faces = faces_from(video["boxes"] or options.detector, options.detector_model, reader.info.metadata)
        tracks = find_face_tracks(video["path"], faces, fps=FRAMES_PER_SECOND, name=str(video["path"])).tracks
        speaking = read_speaking(video["speaking"], tracks) if options.layout == "tracks" else {}
        count = 0
        for piece in iter_pieces(tracks, options.min_seconds, options.max_seconds):
            written = layout.write(video, reader, piece, speaking.get(piece.track_id, []))
            count += written
        print(f"{video['path']}: {len(tracks)} faces, {count} pieces of {options.min_seconds:g} s or more")
    layout.finish()


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", type=Path, help="table of the videos")
    parser.add_argument("--layout", choices=["clips", "faces", "tracks"], required=True)
    parser.add_argument("--output_dir", type=Path, required=True, help="new folder")
    parser.add_argument("--detector", choices=DETECTORS, help="of faces without boxes (default: yunet, needs OpenCV)")
    parser.add_argument("--detector_model", type=Path, help="YuNet's ONNX file, or folder of a converted S3FD")
    parser.add_argument("--min_seconds", type=float, default=1.2, help="leave out shorter pieces (default: 1.2)")
    parser.add_argument("--max_seconds", type=float, default=10.0, help="cut longer tracks into pieces (default: 10)")
    return parser.parse_args()


def digest(text: str) -> str:
    """A few letters that are others for another text."""
    return hashlib.sha256(text.encode()).hexdigest()[:6]


def make_file_name(text: str) -> str:
    """Letters, digits and hyphens of ASCII; a text that has others gets its digest, so that no two become one."""
    name = re.sub(r"[^\w-]", "_", text, flags=re.ASCII)
    return name if name == text else f"{name}-{digest(text)}"


def read_videos(table: Path, layout: str) -> list[dict[str, Any]]:
    """The rows of the table, after a look at each file that they name."""
    records = read_records(table)
    line, header = next(records, (1, []))
    if "path" not in header or not set(header) <= set(COLUMNS):
        raise malformed(table, line, f"expected path and perhaps {', '.join(COLUMNS[1:])}, got {','.join(header)!r}")
    videos = []
    for line, fields in records:
        if len(fields) != len(header):
            raise malformed(table, line, f"expected {len(header)} fields, got {len(fields)}")
        named = dict.fromkeys(COLUMNS, "") | dict(zip(header, map(str.strip, fields), strict=True))
        video = {name: table.parent / named[name] if named[name] else None for name in ("path", "boxes", "speaking")}
        for name, path in video.items():
            if path is not None and not path.is_file():
                raise FileNotFoundError(f"{table}, line {line}: `{name}`: there is no file {path}.")
        if video["path"] is None or (layout == "tracks" and video["speaking"] is None):
            raise malformed(table, line, f"`{'path' if video['path'] is None else 'speaking'}` is empty")
        if named["split"] not in ("", "train", "val"):
            raise malformed(table, line, f"`split` must be train or val, got {named['split']!r}")
        if probe_video(video["path"]).sampling_rate is None:
            raise ValueError(f"{table}, line {line}: {video['path']} has no sound.")
        name = make_file_name(video["path"].stem)
        speaker = make_file_name(named["speaker"]) or name
        # Two videos of one name are kept apart by their paths.
        video |= {"split": named["split"] or "train", "speaker": speaker, "name": f"{name}-{digest(named['path'])}"}
        videos.append(video)
    if not videos:
        raise ValueError(f"{table} names no video.")
    return videos


def read_speaking(table: Path, tracks: list[Track]) -> dict[int, list[tuple[float, float]]]:
    """{track_id: (start, end) of each stretch of speech, seconds}."""
    speaking: dict[int, list[tuple[float, float]]] = {}
    known = {track.track_id for track in tracks}
    for line, fields in read_records(table):
        if line == 1 and fields[:1] == ["track_id"]:
            continue
        try:
            track_id, start, end = int(fields[0]), float(fields[1]), float(fields[2])
        except (ValueError, IndexError):
            raise malformed(table, line, f"expected track_id,start,end, got {','.join(fields)!r}") from None
        if track_id not in known or not start < end:
            raise malformed(table, line, f"expected a track of {sorted(known)} and start < end, got {','.join(fields)}")
        speaking.setdefault(track_id, []).append((start, end))
    return speaking


def iter_pieces(tracks: list[Track], min_seconds: float, max_seconds: float) -> Iterator[Track]:
    """Tracks in pieces of nearly equal length; each piece is a track of the same number."""
    for track in tracks:
        parts = max(1, -(-len(track) // int(max_seconds * FRAMES_PER_SECOND)))
        for places in np.array_split(np.arange(len(track)), parts):
            if len(places) >= min_seconds * FRAMES_PER_SECOND:
                yield Track(track.track_id, track.frames[places], track.boxes[places])


def iter_frames(reader: VideoReader, piece: Track) -> Iterator[np.ndarray]:
    """The frames of a piece, one by one."""
    start, end = (Fraction(frame, FRAMES_PER_SECOND) for frame in (piece.start_frame, piece.stop_frame))
    for block in reader.frames(FRAMES_PER_SECOND, start=start, end=end):
        yield from block


def read_sound(reader: VideoReader, piece: Track) -> np.ndarray:
    start, end = (frame / FRAMES_PER_SECOND for frame in (piece.start_frame, piece.stop_frame))
    samples, _ = reader.soundtrack(SAMPLING_RATE, start=start, end=end)
    return samples[: len(piece) * SAMPLES_PER_FRAME]


def cut_boxes(reader: VideoReader, piece: Track) -> list[np.ndarray] | None:
    """The pixels in each box; None if a box shows nothing."""
    pictures = [cut_box(frame, box) for frame, box in zip(iter_frames(reader, piece), piece.boxes, strict=True)]
    return pictures if all(picture.size for picture in pictures) else None


def save_jpeg(path: Path, picture: np.ndarray) -> None:
    Image.fromarray(picture).save(path, quality=95)


class Clips:
    """speaker/video-track-frame.mp4: a square around one face, as in VoxCeleb2, with its voice."""

    def __init__(self, root: Path):
        self.root = root

    def write(self, video: dict[str, Any], reader: VideoReader, piece: Track, speaking: list) -> bool:
        folder, square = self.root / video["speaker"], WholeFace()
        folder.mkdir(parents=True, exist_ok=True)
        frames = [
            resize_as_opencv(square.cut_square(frame, region), CLIP_SIDE, CLIP_SIDE)
            for frame, region in zip(iter_frames(reader, piece), square.regions(piece.boxes), strict=True)
        ]
        path = folder / f"{video['name']}-{piece.track_id}-{piece.start_frame:06d}.mp4"
        sound = read_sound(reader, piece)
        write_video(path, np.stack(frames), FRAMES_PER_SECOND, audio=sound, sampling_rate=SAMPLING_RATE)
        return True

    def finish(self) -> None:
        """Nothing is left to write."""


class Faces:
    """video/track-frame/0.jpg, 1.jpg, ... and audio.wav, as Wav2Lip's script leaves LRS2; train.txt and val.txt."""

    def __init__(self, root: Path):
        self.root = root
        self.names: dict[str, list[str]] = {"train": [], "val": []}

    def write(self, video: dict[str, Any], reader: VideoReader, piece: Track, speaking: list) -> bool:
        pictures = cut_boxes(reader, piece)
        if pictures is None:
            return False
        name = f"{video['name']}/{piece.track_id}-{piece.start_frame:06d}"
        (self.root / name).mkdir(parents=True)
        for number, picture in enumerate(pictures):
            save_jpeg(self.root / name / f"{number}.jpg", picture)
        write_wav(self.root / name / "audio.wav", read_sound(reader, piece), SAMPLING_RATE)
        self.names[video["split"]].append(name)
        return True

    def finish(self) -> None:
        for split, names in self.names.items():
            (self.root / f"{split}.txt").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")


class Tracks:
    """AVA-ActiveSpeaker's layout: pictures, sounds, and a table of boxes and labels for each split."""

    def __init__(self, root: Path):
        self.root = root
        self.rows: dict[str, list[list[Any]]] = {"train": [], "val": []}

    def write(self, video: dict[str, Any], reader: VideoReader, piece: Track, speaking: list) -> bool:
        pictures = cut_boxes(reader, piece)
        if pictures is None:
            return False
        split, video_id = video["split"], hashlib.sha256(video["name"].encode()).hexdigest()[:11]  # AVA's have 11
        entity = f"{video_id}_{video['name']}_{piece.track_id}_{piece.start_frame:06d}"
        faces = self.root / "clips_videos" / split / video_id / entity
        sounds = self.root / "clips_audios" / split / video_id
        faces.mkdir(parents=True)
        sounds.mkdir(parents=True, exist_ok=True)
        write_wav(sounds / f"{entity}.wav", read_sound(reader, piece), SAMPLING_RATE)
        size = np.tile([reader.info.width, reader.info.height], 2)
        for frame, box, picture in zip(piece.frames.tolist(), piece.boxes, pictures, strict=True):
            seconds = frame / FRAMES_PER_SECOND
            speaks = any(start <= seconds < end for start, end in speaking)
            save_jpeg(faces / f"{seconds:.2f}.jpg", picture)
            label = "SPEAKING_AUDIBLE" if speaks else "NOT_SPEAKING"
            self.rows[split].append([video_id, f"{seconds:.2f}", *(box / size).round(6), label, entity])
        return True

    def finish(self) -> None:
        (self.root / "csv").mkdir(parents=True, exist_ok=True)
        for split, rows in self.rows.items():
            with (self.root / "csv" / f"{split}_orig.csv").open("w", newline="", encoding="utf-8") as file:
                csv.writer(file).writerows([AVA_HEADER.split(","), *rows])


if __name__ == "__main__":
    main()
