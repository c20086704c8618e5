"""Clips of a picture and a sound to learn localization from: VGGSound, Flickr-SoundNet, a table, a folder of videos.

    parser = argparse.ArgumentParser()
    add_clip_options(parser)
    rows = read_clips(parser.parse_args())

| `--dataset` | `--data_dir` holds | `--list` |
|---|---|---|
| vggsound | `frames/NAME/image_050.jpg` or `frames/NAME.jpg`; `audio/NAME.wav` | names, or `vggsound.csv` |
| flickr | `frames/NAME/*.jpg` (the first) or `frames/NAME.jpg`; `audio/NAME.wav` | names |
| csv | the paths of the table (default: its own folder) | columns image and audio, or video; perhaps id |
| folder | videos, in folders as you like | |

`--frames_dir` and `--audio_dir` name other folders; the authors' are `VGGSound_img` and `VGGSound_aud`. A list of names
has one in each line, with or without the suffix; of a line with commas the first field counts. Of `vggsound.csv`, the
owners' table, split train is read. The source of the
layouts: kaistmm/ssl_kccv@7e178e675f1b (`Alignment/datasets/dataloader_vggss.py`, `ACLSSL/VGGSS/README.md`).

A row is {"id", "image", "audio"} or {"id", "video"}, paths as text.
"""

import argparse
import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from avzoo.audio.reading import read_audio
from avzoo.checks import check_number
from avzoo.data.labelled_recordings import parse_whole_number
from avzoo.data.lists import (
    PathLike,
    check_name,
    keep_complete,
    keep_readable,
    malformed,
    read_lines,
    read_records,
    refuse_empty_files,
)
from avzoo.video.pictures import read_picture
from avzoo.video.reading import VideoReader

Row = dict[str, str]
VIDEO_SUFFIXES = (".mp4", ".mkv", ".webm", ".mov", ".avi", ".m4v", ".mpg", ".ts")
PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png")
SOUND_SUFFIXES = (".wav", ".flac", ".mp3", ".m4a", ".ogg", ".opus")
MIDDLE_FRAME = "image_050.jpg"  # of ten a second, in ten seconds
DATASETS = ("vggsound", "flickr", "csv", "folder")
# Names of what `add_clip_options` adds whose meaning for a run is in the rows.
CLIP_PLACES = ("data_dir", "frames_dir", "audio_dir", "list", "skip_missing")


def add_clip_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that [`read_clips`] reads."""
    parser.add_argument("--dataset", choices=DATASETS, help="layout of --data_dir; folder and csv: your own")
    parser.add_argument("--data_dir", type=Path, help="folder of the dataset (csv: default that of --list)")
    parser.add_argument("--list", type=Path, help="clips: names, VGGSound's own table, or with csv a table of paths")
    parser.add_argument("--frames_dir", type=Path, help="vggsound, flickr: folder of pictures (DATA_DIR/frames)")
    parser.add_argument("--audio_dir", type=Path, help="vggsound, flickr: folder of sounds (DATA_DIR/audio)")
    parser.add_argument("--skip_missing", action="store_true", help="leave out clips that lack a file")


def add_training_clip_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that [`read_training_clips`] reads."""
    add_clip_options(parser)
    parser.add_argument("--val_share", type=float, default=0.02, help="part of the clips held out (%(default)s)")
    parser.add_argument("--skip_damaged", action="store_true", help="read all first, leave out what can't be read")


def read_training_clips(options: argparse.Namespace) -> tuple[list[Row], list[Row]]:
    """Rows to train on, and those held out, of files that are not empty.

    Raises:
        OSError, ValueError: what [`read_clips`] and [`hold_out_clips`] raise; a file is empty.
    """
    rows = read_clips(options)
    if options.skip_damaged:
        rows = keep_readable(rows, check_clip, "clips")
    else:
        refuse_empty_files(list_files(rows))
    return hold_out_clips(rows, options.val_share)


def read_clips(options: argparse.Namespace) -> list[Row]:
    """Read the rows that the options name, checked as far as can be without decoding a file.

    Raises:
        ValueError: an option is missing or has no use for the dataset, a list is malformed, a name comes twice.
        OSError: folder, list or files are missing.
    """
    dataset, root = options.dataset, options.data_dir
    if dataset is None:
        raise ValueError(f"`dataset` must be given, one of {', '.join(DATASETS)}.")
    named = dataset in ("vggsound", "flickr")
    for name in ("frames_dir", "audio_dir"):
        if getattr(options, name) is not None and not named:
            raise ValueError(f"`{name}` ({getattr(options, name)}) is for vggsound and flickr, got {dataset}.")
    if dataset == "folder" and options.list is not None:
        raise ValueError(f"`list` ({options.list}) has no use for --dataset folder, which reads all videos.")
    if dataset != "folder" and options.list is None:
        raise ValueError(f"`list` must be given with --dataset {dataset}: it says which clips are for training.")
    if root is None and dataset != "csv":
        raise ValueError(f"`data_dir` must be given with --dataset {dataset}.")
    if root is not None and not root.is_dir():
        raise FileNotFoundError(f"`data_dir` ({root}) is no folder.")
    if dataset == "folder":
        return read_video_folder(root)
    if dataset == "csv":
        return list(read_clip_table(options.list, root, skip_missing=options.skip_missing))
    return list(
        read_named_clips(
            options.list,
            options.frames_dir or root / "frames",
            options.audio_dir or root / "audio",
            frame=MIDDLE_FRAME if dataset == "vggsound" else None,
            skip_missing=options.skip_missing,
        )
    )


def read_named_clips(
    names: PathLike, frames: PathLike, audio: PathLike, *, frame: str | None = None, skip_missing: bool = False
) -> Iterator[Row]:
    """Yield the clips of a list of names: a picture in `frames`, a sound in `audio`.

        ---g-f_I2yQ_1000_11000     ->     frames/---g-f_I2yQ_1000_11000/image_050.jpg
                                          audio/---g-f_I2yQ_1000_11000.wav

    Args:
        names: a list, or VGGSound's own table (four fields: id, start, label, split).
        frames: folder of a folder of pictures for each clip, or of pictures.
        frame: name of the picture in a clip's folder. None: the first jpg.
        skip_missing: leave out clips that lack a file, and say how many.

    Raises:
        ValueError: a name that is none, or comes twice; with file and line.
        FileNotFoundError: a folder, or files, are missing: how many, and the first.
    """
    names, frames, audio = Path(names), Path(frames), Path(audio)
    for argument, folder in (("frames_dir", frames), ("audio_dir", audio)):
        if not folder.is_dir():
            raise FileNotFoundError(f"`{argument}` ({folder}) is no folder.")
    clips = [
        {"id": name, "image": _find_picture(frames, name, frame), "audio": _find(audio, name, SOUND_SUFFIXES)}
        for name in _read_names(names)
    ]
    yield from keep_complete(clips, _find_missing, f"clips of {names.name} lack a file", skip_missing)


def _read_names(path: Path) -> Iterator[str]:
    lines: dict[str, int] = {}
    for line, text in read_lines(path):
        fields = [field.strip() for field in text.split(",")]
        if len(fields) >= 4 and fields[-1] in ("train", "test"):  # VGGSound's own table; labels may hold commas
            if fields[-1] == "test":
                continue
            name = f"{fields[0]}_{parse_whole_number(fields[1], 'start seconds', path, line):06d}"
        else:
            stem, suffix = os.path.splitext(fields[0])
            known = (*PICTURE_SUFFIXES, *SOUND_SUFFIXES, *VIDEO_SUFFIXES, ".npy")
            name = stem if suffix.lower() in known else fields[0]
        check_name(name, path, line)
        if lines.setdefault(name, line) != line:
            raise malformed(path, line, f"{name!r} is also in line {lines[name]}")
        yield name
    if not lines:
        raise ValueError(f"`list` ({path}) names no clip to train on.")


def _find_picture(frames: Path, name: str, frame: str | None) -> str:
    folder = frames / name
    if not folder.is_dir():
        return _find(frames, name, PICTURE_SUFFIXES)
    if frame is not None:
        return str(folder / frame)
    pictures = sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURE_SUFFIXES)
    return str(pictures[0] if pictures else folder / "*.jpg")


def _find(folder: Path, name: str, suffixes: Sequence[str]) -> str:
    """The file of this name with the first suffix that there is; else where it would be with the first."""
    found = (path for suffix in suffixes if (path := folder / f"{name}{suffix}").is_file())
    return str(next(found, folder / f"{name}{suffixes[0]}"))


def read_clip_table(table: PathLike, root: PathLike | None = None, *, skip_missing: bool = False) -> Iterator[Row]:
    """Yield the clips of a comma-separated table with a header.

        image,audio,id                       video
        street/1.jpg,street/1.wav,street1    kitchen/knife.mp4

    Columns: image and audio, or video; perhaps id (default: the path of the sound or the video). Others are ignored.

    Args:
        root: folder that the paths start from and may not leave. None: the table's.
        skip_missing: leave out clips that lack a file.

    Raises:
        ValueError: missing columns, a row of another length, a path that leaves `root`, an id that comes twice.
        FileNotFoundError: files are missing: how many, and the first.
    """
    table = Path(table)
    root = os.path.abspath(table.parent if root is None else root)
    records = read_records(table)
    line, header = next(records, (1, []))
    header = [name.strip().lower() for name in header]
    kinds = next((kinds for kinds in (("image", "audio"), ("video",)) if set(kinds) <= set(header)), None)
    if kinds is None or len(set(header)) < len(header):
        expected = "a header with the columns image and audio, or video, each once"
        raise malformed(table, line, f"expected {expected}, got {','.join(header)!r}")
    clips, lines = [], {}
    for line, fields in records:
        if len(fields) != len(header):
            raise malformed(table, line, f"expected {len(header)} fields, got {len(fields)}")
        named = {name: field.strip() for name, field in zip(header, fields, strict=True)}
        row = {"id": named.get("id") or named[kinds[-1]]}
        for kind in kinds:
            path = os.path.normpath(os.path.join(root, named[kind]))
            if not named[kind] or os.path.commonpath([root, path]) != root:
                raise malformed(
                    table, line, f"{named[kind]!r} is no path below {root}, the folder that paths start from"
                )
            row[kind] = path
        if lines.setdefault(row["id"], line) != line:
            raise malformed(table, line, f"the id {row['id']!r} is also in line {lines[row['id']]}")
        clips.append(row)
    if not clips:
        raise ValueError(f"{table} holds a header and no clip.")
    yield from keep_complete(clips, _find_missing, f"clips of {table.name} lack a file", skip_missing)


def read_video_folder(root: PathLike) -> list[Row]:
    """The videos of a folder and of those below it, sorted; hidden ones are passed over.

    Raises:
        FileNotFoundError: there is none.
    """
    root, rows = Path(root), []
    for path in sorted(root.rglob("*")):
        place = path.relative_to(root)
        if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file() and not any(part[0] == "." for part in place.parts):
            rows.append({"id": place.as_posix(), "video": str(path)})
    if not rows:
        raise FileNotFoundError(f"`{root}` holds no video; known types are {' '.join(VIDEO_SUFFIXES)}.")
    return rows


def hold_out_clips(rows: Sequence[Row], share: float) -> tuple[list[Row], list[Row]]:
    """Divide rows into those for training and those for validation, in their order.

    Clips are chosen by a digest of their ids: the same ones in every run. Two rows at least are held out.

    Raises:
        ValueError: `share` is not between 0 and 1, or fewer than two clips are left for training.
    """
    check_number("val_share", share, above=0, below=1)
    count = max(2, round(share * len(rows)))
    if len(rows) - count < 2:
        raise ValueError(f"`val_share` ({share}) leaves {max(0, len(rows) - count)} of {len(rows)} clips to train on.")
    ids = sorted((row["id"] for row in rows), key=lambda name: hashlib.sha256(os.fsencode(name)).digest())
    chosen = set(ids[:count])
    return [row for row in rows if row["id"] not in chosen], [row for row in rows if row["id"] in chosen]


def list_files(rows: Iterable[Row]) -> list[str]:
    """All files of some rows."""
    return [row[kind] for row in rows for kind in ("image", "audio", "video") if kind in row]


def read_clip_picture(row: Row) -> np.ndarray:
    """The picture of a clip, or the frame in the middle of a video: (height, width, 3) uint8.

    Raises:
        OSError, ValueError: the file is missing or damaged.
    """
    if "video" not in row:
        return read_picture(row["image"], name=row["image"])
    reader = VideoReader(row["video"], name=row["video"], strict=True)
    number = int(_find_duration(reader) / 2 * reader.fps)  # of the frame shown then; `start` would be rounded up
    return next(reader.frames(start=number / reader.fps, block_frames=1))[0]


def read_middle_sound(row: Row, sampling_rate: int, num_samples: int) -> np.ndarray:
    """The sound around the middle of a clip's video, mono: (num_samples,), or fewer where the video is shorter.

    Raises:
        OSError, ValueError: the file is missing or damaged, or has no sound.
    """
    reader = VideoReader(row["video"], name=row["video"], strict=True)
    duration = _find_duration(reader)
    first = max(0.0, (duration - num_samples / sampling_rate) / 2)
    last = max(duration - first, first + 1 / sampling_rate)
    return reader.soundtrack(sampling_rate, start=first, end=last)[0]


def check_clip(row: Row) -> None:
    """Decode all of a clip that training reads; for [`keep_readable`].

    Raises:
        OSError, ValueError: a file is missing or damaged.
    """
    read_clip_picture(row)
    if "video" in row:
        VideoReader(row["video"], name=row["video"], strict=True).soundtrack()
    else:
        read_audio(row["audio"], name=row["audio"])


def _find_duration(reader: VideoReader) -> float:
    """Seconds; of a video that doesn't state them (some browsers' recordings), by counting its frames."""
    if reader.info.duration is not None:
        return reader.info.duration
    return sum(len(block) for block in reader.frames()) / float(reader.fps)


def _find_missing(row: Row) -> str | None:
    return next((path for path in list_files([row]) if not os.path.isfile(path)), None)


__all__ = [
    "CLIP_PLACES",
    "DATASETS",
    "add_clip_options",
    "add_training_clip_options",
    "check_clip",
    "hold_out_clips",
    "list_files",
    "read_clip_picture",
    "read_clip_table",
    "read_clips",
    "read_middle_sound",
    "read_named_clips",
    "read_training_clips",
    "read_video_folder",
]
