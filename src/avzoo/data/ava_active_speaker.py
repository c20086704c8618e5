"""AVA-ActiveSpeaker, as people have it on disk: tables of labelled faces, and what TalkNet's scripts cut out by them.

    AVADataPath/csv/val_orig.csv                                              [`ava_tracks`]
                csv/val_loader.csv                                            [`ava_loader_list`]
                csv/val_entity.json, val_ts.json      (LoCoNet's)             [`ava_json_tracks`]
                clips_videos/val/<video>/<entity>/1080.04.jpg                 the face box, nothing around it
                clips_audios/val/<video>/<entity>.wav                         from the first timestamp to the last

A row is one track, that is one face in consecutive frames:

    entity_id    "_mAfwH6i90E_1080_1140:1", unique in the data set
    video_id     its first 11 characters
    timestamps   (frames,) float64, seconds in the movie, rising
    labels       (frames,) int64, 1 for speaking and heard, 0 for all else, speaking inaudibly too
    boxes        (frames, 4) float64, x1, y1, x2, y2 in parts of width and height; None from JSON
    fps          frames per second by the timestamps, None for a single frame; the authors' value is in the loader list
    faces        folder of the pictures, for [`ava_face_path`]; None without a folder to look in
    audio        path of the sound; None likewise

    videos = ava_videos(ava_tracks("csv/val_orig.csv", "clips_videos/val", "clips_audios/val"))
    for video in videos.values():
        for entity_id in video:
            clip = read_ava_clip(video, entity_id)      # faces (3, frames, 112, 112), audio, labels, masks

Boxes stay as they are in the file, since predictions have to repeat them; those of [`TightFace`] are cut to the frame.
Sources: TaoRuijie/TalkNet-ASD@6d68214 (`utils/tools.py`), kaistmm/TalkNCE@8666642 (`dataLoader_multiperson.py`,
`utils/get_multiperson_csv.py`).
"""

import csv
import json
import math
import os
import re
import reprlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from avzoo.audio.reading import read_audio
from avzoo.data.jpeg import read_jpeg
from avzoo.data.lists import PathLike, keep_complete, malformed, read_lines
from avzoo.files import write_atomically
from avzoo.metrics.active_speaker import POSITIVE_LABEL, AVARows, read_ava_csv
from avzoo.rates import SAMPLING_RATE
from avzoo.video.crops import grey_face

Row = dict[str, Any]

_HEADER = ["video_id", "frame_timestamp", *(f"entity_box_{side}" for side in ("x1", "y1", "x2", "y2"))]
_HEADER += ["label", "entity_id", "score"]

# A YouTube id, then letters, digits, _ - . and :. No such name leads out of its folder.
_ENTITY_ID = re.compile(r"[\w-]{11}[\w.:-]*", re.ASCII)
_LABEL_LIST = re.compile(r"\[([012](?:, ?[012])*)\]")
_FARTHEST = 1.0  # how far out of the frame a box may reach, in frames; more are pixels


# ----------------------------------------------------------------------------------------------- tracks

_ADVICE = "cut the track's faces again, or leave it out"


def ava_tracks(
    table: PathLike,
    faces: PathLike | None = None,
    audio: PathLike | None = None,
    *,
    skip_missing: bool = False,
) -> Iterator[Row]:
    """The tracks of a table of labels, by their first row; rows of different tracks may alternate.

        _mAfwH6i90E,1080.0,0.39375,0.0277778,0.679167,0.469444,NOT_SPEAKING,_mAfwH6i90E_1080_1140:1

    Args:
        table: one of Google's files, without a header, or TalkNet's `*_orig.csv`; see [`read_ava_csv`].
        faces: folder of the videos' folders of pictures, `clips_videos/val`. None: don't look for pictures.
        audio: folder of the videos' folders of sounds, `clips_audios/val`. None: don't look for sounds.
        skip_missing: leave out tracks without all of their files instead of refusing.

    Yields: rows as described above.

    Raises:
        ValueError: what [`read_ava_csv`] refuses; names of other characters, a video_id that isn't the beginning of
            entity_id, timestamps of a track that don't rise, or boxes with x2 < x1 or y2 < y1 or that reach further
            than the frame's size out of it. With file and line number, before anything is yielded.
        FileNotFoundError: tracks lack files: how many, and the first. Before anything is yielded.
    """
    rows = read_ava_csv(table)
    places: dict[str, list[int]] = {}
    for place, entity_id in enumerate(rows.entity_ids):
        places.setdefault(entity_id, []).append(place)
    _check_rows(rows, places)
    spoken = np.array([label == POSITIVE_LABEL for label in rows.labels], dtype=np.int64)
    tracks = []
    for entity_id, of_track in places.items():
        timestamps = rows.timestamps[of_track]
        tracks.append(_row(entity_id, timestamps, spoken[of_track], rows.boxes[of_track], faces, audio))
    yield from keep_complete(tracks, _find_missing_file, f"tracks of {Path(rows.path).name} lack files", skip_missing)


def ava_json_tracks(
    entities: PathLike,
    timestamps: PathLike | None = None,
    faces: PathLike | None = None,
    audio: PathLike | None = None,
    *,
    skip_missing: bool = False,
) -> Iterator[Row]:
    """The tracks of LoCoNet's JSON files, in their order; as [`ava_tracks`], but with `boxes` None.

        {"_mAfwH6i90E": {"_mAfwH6i90E_1080_1140:1": {"1080.0": 0, "1080.04": 0, ...}, ...}, ...}       (val_entity.json)
        {"_mAfwH6i90E": {"1080.0": ["_mAfwH6i90E_1080_1140:1", ...], ...}, ...}                        (val_ts.json)

    Args:
        entities: `*_entity.json`.
        timestamps: `*_ts.json`. It says the same once more, which is checked. None: it isn't looked at.
        faces, audio, skip_missing: as for [`ava_tracks`].

    Raises:
        ValueError: no such JSON, names of other characters or under another video, timestamps that are no numbers or
            don't rise, labels other than 0, 1 and 2, or the files disagree; with the file and the entity.
        FileNotFoundError: as [`ava_tracks`].
    """
    path, tracks = Path(entities), []
    for video_id, video in read_json_object(path).items():
        for entity_id, frames in _members(video, path, video_id):
            if not _ENTITY_ID.fullmatch(entity_id) or entity_id[:11] != video_id:
                raise ValueError(
                    f"{path}: {entity_id!r} is no entity of the video {video_id!r}, whose id it begins with."
                )
            frames = dict(_members(frames, path, entity_id))
            seconds = np.array([_timestamp(text, path, entity_id) for text in frames])
            falls = np.flatnonzero(np.diff(seconds) <= 0)
            if falls.size:
                raise ValueError(f"{path}: {entity_id} has the timestamp {seconds[falls[0] + 1]} after a later one.")
            for text, label in frames.items():
                if type(label) is not int or label not in (0, 1, 2):
                    raise ValueError(f"{path}: {entity_id} at {text} s: expected the label 0, 1 or 2, got {label!r}.")
            labels = np.array([label == 1 for label in frames.values()], dtype=np.int64)
            tracks.append(_row(entity_id, seconds, labels, None, faces, audio))
    if timestamps is not None:
        _check_agreement(tracks, path, Path(timestamps))
    yield from keep_complete(tracks, _find_missing_file, f"tracks of {Path(path).name} lack files", skip_missing)


def ava_loader_list(path: PathLike) -> Iterator[Row]:
    """TalkNet's list of tracks, in its order: `train_loader.csv` or `val_loader.csv`, which has tabs and no header.

        _mAfwH6i90E_1080_1140:1    123    25    [0, 0, 1, ...]    4

    That is entity, frames, frames per second, labels, and a number to sort by.

    Yields: `entity_id`, `video_id`, `num_frames`, `fps`, and `labels`, (num_frames,) int64, where 2 has become 0.

    Raises:
        ValueError: a line of another form, an entity that appears twice, or another number of labels than of frames;
            with file and line number.
    """
    table, seen = Path(path), {}
    for line, text in read_lines(table):
        fields = text.split("\t")
        if len(fields) != 5:
            raise malformed(table, line, f"expected 5 fields with tabs between, got {len(fields)}")
        entity_id, num_frames, fps, labels, _ = fields
        _check_entity_id(entity_id, table, line)
        first = seen.setdefault(entity_id, line)
        if first != line:
            raise malformed(table, line, f"{entity_id} appears twice, first in line {first}")
        if not (num_frames.isascii() and num_frames.isdigit() and int(num_frames)):
            raise malformed(table, line, f"the number of frames must be a whole number from 1, got {num_frames!r}")
        rate = _number(fps)
        if rate is None or not rate > 0:
            raise malformed(table, line, f"the frames per second must be a positive number, got {fps!r}")
        match = _LABEL_LIST.fullmatch(labels.strip())
        if match is None:
            raise malformed(table, line, f"expected labels as in [0, 1, 0], got {reprlib.repr(labels)}")
        spoken = np.array([label.strip() == "1" for label in match[1].split(",")], dtype=np.int64)
        if len(spoken) != int(num_frames):
            raise malformed(table, line, f"{num_frames} frames, but {len(spoken)} labels")
        yield {
            "entity_id": entity_id,
            "video_id": entity_id[:11],
            "num_frames": int(num_frames),
            "fps": rate,
            "labels": spoken,
        }


def ava_videos(rows: Iterable[Row]) -> dict[str, dict[str, Row]]:
    """{video_id: {entity_id: row}}: the tracks that may be seen together.

    Raises:
        ValueError: an entity appears twice.
    """
    videos: dict[str, dict[str, Row]] = {}
    for row in rows:
        video = videos.setdefault(row["video_id"], {})
        if video.setdefault(row["entity_id"], row) is not row:
            raise ValueError(f"`rows` holds {row['entity_id']} twice.")
    return videos


# ------------------------------------------------------------------------------------------------ clips


def ava_context(
    video: Mapping[str, Row],
    target: str,
    timestamps: ArrayLike,
    *,
    num_speakers: int = 3,
    min_overlap: float = 0.5,
    fill: Literal["target", "others"] = "others",
) -> list[str]:
    """Which faces LoCoNet sees in a clip: the target, then those that share most of its frames, then the smallest id.

    A face takes part if it is visible in the middle frame, number len(timestamps) // 2, and in more than `min_overlap`
    of the clip. The authors draw among these at random, also when they validate, so that a clip's score varies from
    run to run; here the choice is always the same.

    Args:
        video: {entity_id: row} of one video, see [`ava_videos`].
        target: entity_id.
        timestamps: (frames,), the clip's.
        num_speakers: how many, the target included.
        min_overlap: in parts of the clip. The authors take 0.5 for training and 0 for validation.
        fill: what comes again if there are too few: "target", or "others" in turn as the authors have it (at random
            there; the target if it is alone).

    Returns:
        `num_speakers` entity ids, the target first.

    Raises:
        ValueError: the video has no such entity, the clip has no frames or others than the target, or an argument is
            out of its range.
    """
    if target not in video:
        raise ValueError(f"`target`: the video has no {target!r}, but {reprlib.repr(sorted(video))}.")
    timestamps = np.asarray(timestamps, dtype=np.float64)
    if timestamps.ndim != 1 or not timestamps.size:
        raise ValueError(f"`timestamps` must be (frames,) and not empty, got {timestamps.shape}.")
    if not np.isin(timestamps, video[target]["timestamps"]).all():
        raise ValueError(f"`timestamps` must be some of {target}; at others it is not visible.")
    if num_speakers < 1:
        raise ValueError(f"`num_speakers` must be at least 1, got {num_speakers}.")
    if not 0 <= min_overlap <= 1:
        raise ValueError(f"`min_overlap` must be from 0 to 1, got {min_overlap}.")
    if fill not in ("target", "others"):
        raise ValueError(f"`fill` must be 'target' or 'others', got {fill!r}.")
    candidates = []
    for entity_id, row in video.items():
        shared = np.isin(timestamps, row["timestamps"])
        if entity_id != target and shared[len(shared) // 2] and shared.sum() > min_overlap * len(shared):
            candidates.append((-int(shared.sum()), entity_id))
    others = [entity_id for _, entity_id in sorted(candidates)][: num_speakers - 1]
    again = others if fill == "others" and others else [target]
    missing = num_speakers - 1 - len(others)
    return [target, *others, *(again[number % len(again)] for number in range(missing))]


def read_ava_clip(
    video: Mapping[str, Row],
    target: str,
    *,
    start: int = 0,
    num_frames: int | None = None,
    num_speakers: int = 3,
    min_overlap: float = 0.5,
    fill: Literal["target", "others"] = "others",
    size: int = 112,
) -> Row:
    """Pictures, sound and labels of a stretch of one track, and of the faces beside it: what LoCoNet is given.

    Pictures and sound are read now, each picture once.

    Args:
        video: {entity_id: row} of one video, see [`ava_videos`].
        target: entity_id.
        start: first frame of the track.
        num_frames: from there. None: all. The authors train on the first 200 at most.
        num_speakers, min_overlap, fill: as for [`ava_context`]; with `num_speakers` 1 it is a clip for TalkNet.
        size: side of the pictures, pixels.

    Returns:
        entity_ids: `num_speakers` of them, the target first.
        faces: (num_speakers, frames, size, size) uint8, grey, 0 where a face is not visible.
        masks, labels: (num_speakers, frames) int64, 1 where visible, and 1 where speaking and heard.
        audio: (samples,) float32 at 16 000 Hz, from the clip's first frame to the end of the track's file. That file
            lasts one frame less than its track, and the features' 4 rows per frame are what cuts longer ones.
        timestamps: (frames,). fps: as in the row.

    Raises:
        ValueError: what [`ava_context`] refuses, frames that the track doesn't have, rows without files, or damaged
            files. FileNotFoundError: a file is missing.
    """
    if target not in video:
        raise ValueError(f"`target`: the video has no {target!r}, but {reprlib.repr(sorted(video))}.")
    row = video[target]
    available = len(row["timestamps"])
    end = available if num_frames is None else start + num_frames
    if not 0 <= start < end <= available:
        raise ValueError(f"`start` {start} and `num_frames` {num_frames}: {target} has {available} frames.")
    timestamps = row["timestamps"][start:end]
    entity_ids = ava_context(video, target, timestamps, num_speakers=num_speakers, min_overlap=min_overlap, fill=fill)
    views = {entity_id: _view(video[entity_id], timestamps, size) for entity_id in dict.fromkeys(entity_ids)}
    faces, masks, labels = (np.stack(parts) for parts in zip(*(views[name] for name in entity_ids), strict=True))
    return {
        "entity_ids": entity_ids,
        "faces": faces,
        "masks": masks,
        "labels": labels,
        "audio": _sound(row, start),
        "timestamps": timestamps,
        "fps": row["fps"],
    }


def ava_face_path(row: Row, index: int) -> str:
    """Where the picture of frame `index` is: the timestamp with two decimals.

    Raises:
        ValueError: the row was read without a folder of faces.
    """
    if row["faces"] is None:
        raise ValueError(f"{row['entity_id']} was read without pictures; pass `faces` to the reader.")
    return os.path.join(row["faces"], _face_name(row["timestamps"][index]))


def _view(row: Row, timestamps: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pictures, mask and labels of one face at these times."""
    pictures = np.zeros((len(timestamps), size, size), np.uint8)
    mask, labels = np.zeros((2, len(timestamps)), np.int64)
    places = np.searchsorted(row["timestamps"], timestamps)
    for frame in np.flatnonzero(np.isin(timestamps, row["timestamps"])):
        pictures[frame] = grey_face(read_jpeg(ava_face_path(row, places[frame]), _ADVICE), size)
        mask[frame], labels[frame] = 1, row["labels"][places[frame]]
    return pictures, mask, labels


def _sound(row: Row, start: int) -> np.ndarray:
    if row["audio"] is None:
        raise ValueError(f"{row['entity_id']} was read without sound; pass `audio` to the reader.")
    samples, _ = read_audio(row["audio"], SAMPLING_RATE, name=row["entity_id"])
    first = round((row["timestamps"][start] - row["timestamps"][0]) * SAMPLING_RATE)
    if first >= len(samples):
        seconds = len(samples) / SAMPLING_RATE
        raise ValueError(f"{row['audio']} ends after {seconds:.3f} s, before frame {start} of its track.")
    return samples[first:]


# ------------------------------------------------------------------------------------------ predictions


def write_ava_predictions(path: PathLike, predictions: Iterable[tuple[Row, ArrayLike]]) -> None:
    """A file of predictions in AVA's format, for [`match_ava`] or the official script. Written atomically.

        write_ava_predictions("val_res.csv", ((row, scores_of(row)) for row in ava_tracks("val_orig.csv")))

    Args:
        path: where to; an existing file is replaced.
        predictions: rows of [`ava_tracks`], and (frames,) scores of each. The label is always SPEAKING_AUDIBLE.

    Raises:
        ValueError: no predictions, a row without boxes, scores of another shape, NaN or infinite.
        OSError: the folder is missing or can't be written.
    """
    with write_atomically(path) as unfinished, open(unfinished, "w", encoding="utf-8", newline="") as file:
        writer, count = csv.writer(file, lineterminator="\n"), 0
        writer.writerow(_HEADER)
        for row, scores in predictions:
            entity_id, timestamps = row["entity_id"], row["timestamps"]
            scores = np.asarray(scores, dtype=np.float64)
            if row["boxes"] is None:
                raise ValueError(f"{entity_id} has no boxes, which the format needs; read it with `ava_tracks`.")
            if scores.shape != timestamps.shape:
                raise ValueError(f"{entity_id} needs scores of the shape {timestamps.shape}, got {scores.shape}.")
            if not np.isfinite(scores).all():
                raise ValueError(f"{entity_id}: {np.count_nonzero(~np.isfinite(scores))} scores are NaN or infinite.")
            for timestamp, box, score in zip(timestamps.tolist(), row["boxes"].tolist(), scores.tolist(), strict=True):
                writer.writerow([row["video_id"], timestamp, *box, POSITIVE_LABEL, entity_id, score])
                count += 1
        if not count:
            raise ValueError("`predictions` is empty, there is nothing to write.")


# ---------------------------------------------------------------------------------------------- helpers


def read_json_object(path: Path) -> dict[str, Any]:
    """A JSON file that holds an object, in which no key appears twice.

    Raises:
        ValueError: it holds something else, or is damaged; with the file.
    """
    try:
        content = json.loads(path.read_bytes(), object_pairs_hook=_without_repetition)
    except RecursionError:
        raise ValueError(f"{path} is nested too deeply.") from None
    except ValueError as error:  # not JSON, not UTF-8, or a repetition
        raise ValueError(f"{path} is damaged: {error}.") from error
    if not isinstance(content, dict) or not content:
        raise ValueError(f"{path}: expected an object with at least one member, got {reprlib.repr(content)}.")
    return content


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        ((repeated, _),) = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"{repeated!r} appears twice in one object")
    return members


def _members(value: Any, path: Path, name: str) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, dict) or not value:
        raise ValueError(f"{path}: {name!r} must be an object with at least one member, got {reprlib.repr(value)}.")
    yield from value.items()


def _row(
    entity_id: str,
    timestamps: np.ndarray,
    labels: np.ndarray,
    boxes: np.ndarray | None,
    faces: PathLike | None,
    audio: PathLike | None,
) -> Row:
    video_id, steps = entity_id[:11], len(timestamps) - 1
    return {
        "entity_id": entity_id,
        "video_id": video_id,
        "timestamps": timestamps,
        "labels": labels,
        "boxes": boxes,
        "fps": steps / float(timestamps[-1] - timestamps[0]) if steps else None,
        "faces": None if faces is None else os.path.join(faces, video_id, entity_id),
        "audio": None if audio is None else os.path.join(audio, video_id, f"{entity_id}.wav"),
    }


def _find_missing_file(row: Row) -> str | None:
    if row["faces"] is not None:
        # One listing, not a look for each of 3.6 million files.
        there = set(os.listdir(row["faces"])) if os.path.isdir(row["faces"]) else set()
        for timestamp in row["timestamps"]:
            if _face_name(timestamp) not in there:
                return os.path.join(row["faces"], _face_name(timestamp))
    return row["audio"] if row["audio"] is not None and not os.path.isfile(row["audio"]) else None


def _face_name(timestamp: float) -> str:
    return f"{timestamp:.2f}.jpg"


def _check_rows(rows: AVARows, places: Mapping[str, list[int]]) -> None:
    for entity_id, of_track in places.items():
        _check_entity_id(entity_id, rows.path, rows.lines[of_track[0]])
        falls = np.flatnonzero(np.diff(rows.timestamps[of_track]) <= 0)
        if falls.size:
            before, place = of_track[falls[0]], of_track[falls[0] + 1]
            raise malformed(
                rows.path,
                rows.lines[place],
                f"{entity_id} must have rising timestamps, got {rows.timestamps[place]} after "
                f"{rows.timestamps[before]} in line {rows.lines[before]}",
            )
    for line, video_id, entity_id in zip(rows.lines, rows.video_ids, rows.entity_ids, strict=True):
        if entity_id[:11] != video_id:
            raise malformed(rows.path, line, f"{entity_id!r} is no entity of {video_id!r}, whose id it begins with")
    inverted = (rows.boxes[:, 2:] < rows.boxes[:, :2]).any(axis=1)
    outside = ((rows.boxes < -_FARTHEST) | (rows.boxes > 1 + _FARTHEST)).any(axis=1)
    for wrong, expected in ((inverted, "x1 <= x2 and y1 <= y2"), (outside, "parts of width and height, not pixels")):
        if wrong.any():
            place = int(wrong.argmax())
            raise malformed(rows.path, rows.lines[place], f"the box {rows.boxes[place].tolist()} must have {expected}")


def _check_entity_id(entity_id: str, table: Path, line: int) -> None:
    if not _ENTITY_ID.fullmatch(entity_id):
        raise malformed(
            table, line, f"{entity_id!r} must be the 11 characters of a video and then letters, digits, _ - . or :"
        )


def _check_agreement(rows: list[Row], path: Path, other: Path) -> None:
    """`*_ts.json` names the faces of each frame; they must be those of `*_entity.json`."""
    expected = {(row["entity_id"], timestamp) for row in rows for timestamp in row["timestamps"].tolist()}
    found = set()
    for video_id, video in read_json_object(other).items():
        for text, names in _members(video, other, video_id):
            if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
                raise ValueError(f"{other}: {video_id} at {text} s: expected a list of ids, got {reprlib.repr(names)}.")
            found.update((name, _timestamp(text, other, video_id)) for name in names)
    if found != expected:
        entity_id, timestamp = min(found ^ expected)
        holds, lacks = (path, other) if (entity_id, timestamp) in expected else (other, path)
        raise ValueError(
            f"{holds} has {entity_id} at {timestamp} s, {lacks} hasn't; make both of one table, or leave one out."
        )


def _timestamp(text: str, path: Path, name: str) -> float:
    value = _number(text)
    if value is None:
        raise ValueError(f"{path}: {name} has a timestamp that is no number, {text!r}.")
    return value


def _number(text: str) -> float | None:
    """A finite number, or None."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
