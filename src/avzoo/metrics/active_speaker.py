"""Who is speaking, frame by frame: the numbers of AVA-ActiveSpeaker, Columbia and ASW, all in per cent.

A row is one face in one frame: a score, higher means more likely the one heard, and a label, 1 for speaking and heard.

| data set | number | function |
|---|---|---|
| AVA-ActiveSpeaker | mAP, which is one average precision of all rows | [`match_ava`], [`ava_average_precision`] |
| Columbia | F1 of each person, and their mean | [`read_columbia_labels`], [`columbia_f1`] |
| ASW | AP, AUROC, EER | [`asw_scores`], [`equal_error_rate`] |

    ava_average_precision(*match_ava("val_orig.csv", "val_res.csv"))      # TalkNCE's README: 95.5

Sources: kaistmm/TalkNCE@8666642 (`utils/get_ava_active_speaker_performance.py`, Google's script), and
TaoRuijie/TalkNet-ASD@6d68214 (`demoTalkNet.py`, Columbia).
"""

import csv
import os
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from avzoo.metrics.classification import average_precision, roc_auc
from avzoo.metrics.verification import check_scores, check_two_classes, equal_error_rate

PathLike = str | os.PathLike

POSITIVE_LABEL = "SPEAKING_AUDIBLE"
AVA_LABELS = ("NOT_SPEAKING", POSITIVE_LABEL, "SPEAKING_NOT_AUDIBLE")  # label_id is the index
COLUMBIA_PEOPLE = ("bell", "boll", "lieb", "long", "sick")  # abbas has labels too, but no part in the mean

_BOX = ("entity_box_x1", "entity_box_y1", "entity_box_x2", "entity_box_y2")
_COLUMNS = ("video_id", "frame_timestamp", *_BOX, "label", "entity_id")
_BOX_TOLERANCE = 1e-9


# -------------------------------------------------------------------------------------------------- AVA


def ava_average_precision(scores: ArrayLike, labels: ArrayLike) -> float:
    """Average precision of AVA-ActiveSpeaker in per cent, which papers print as its mAP.

    All rows of all videos in one pool, the highest score first. Precision after each row is raised to the highest one
    further down; the area below it, over recall. This is not `average_precision`, which raises nothing and so is lower.

    Equal scores stay in the order they are given in. So ties depend on that order, the file's with [`match_ava`]; the
    official script leaves theirs to an unstable sort.

    Args:
        scores: (rows,). labels: (rows,) of 0 and 1.

    Raises:
        ValueError: shapes differ, no rows, NaN or infinite scores, other labels, or no label is 1.
    """
    scores, labels = check_scores(scores, labels)
    if not labels.any():
        raise ValueError(f"`labels`: none of the {len(labels)} rows is 1, average precision is undefined.")
    hits = labels[np.argsort(-scores, kind="stable")]
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    raised = np.maximum.accumulate(precision[::-1])[::-1]
    return float(100 * raised[hits].mean())  # recall rises at every hit, by the same step


def match_ava(groundtruth: PathLike, predictions: PathLike) -> tuple[np.ndarray, np.ndarray]:
    """Scores and labels of two files in AVA's format, joined by frame_timestamp and entity_id.

    Stricter than the official script, which drops what is in one file only as long as both have as many rows.

    Args:
        groundtruth: Google's files, or the `*_orig.csv` made of them; see [`read_ava_csv`].
        predictions: the same columns, label SPEAKING_AUDIBLE throughout, and `score`; rows in any order.

    Returns:
        scores (rows,) float64, and labels (rows,) int64, 1 for SPEAKING_AUDIBLE only. In the order of `groundtruth`.

    Raises:
        ValueError: a malformed line, a frame that appears twice or is in one file only, or boxes that differ by more
            than 1e-9; with file and line number.
    """
    truth, guess = read_ava_csv(groundtruth), read_ava_csv(predictions, with_scores=True)
    truth_rows, guess_rows = _index_rows(truth), _index_rows(guess)
    directions = ((guess, guess_rows, truth, truth_rows), (truth, truth_rows, guess, guess_rows))
    for these, rows, others, other_rows in directions:
        alone = [key for key in rows if key not in other_rows]
        if alone:
            raise _format_error(
                these.path,
                these.lines[rows[alone[0]]],
                f"{_frame_name(alone[0])} is not in {others.path}; {len(alone)} of {len(rows)} aren't",
            )
    order = np.array([guess_rows[key] for key in truth_rows])
    apart = (np.abs(truth.boxes - guess.boxes[order]) > _BOX_TOLERANCE).any(axis=1)
    if apart.any():
        row = int(apart.argmax())
        raise _format_error(
            guess.path,
            guess.lines[order[row]],
            f"the box {guess.boxes[order[row]].tolist()} is not that of {truth.path}, line {truth.lines[row]}, "
            f"{truth.boxes[row].tolist()}; so it is with {np.count_nonzero(apart)} of {len(order)} boxes",
        )
    return guess.scores[order], np.array([label == POSITIVE_LABEL for label in truth.labels], dtype=np.int64)


@dataclass(frozen=True, eq=False)  # arrays have no single truth value to compare by
class AVARows:
    """A file in AVA's format, in its order.

    Args:
        path: of the file.
        lines: (rows,), line numbers from 1.
        video_ids, labels, entity_ids: (rows,) of strings; labels are from `AVA_LABELS`.
        timestamps: (rows,), seconds.
        boxes: (rows, 4), x1, y1, x2, y2 in parts of width and height.
        scores: (rows,), None of a file without.
    """

    path: Path
    lines: np.ndarray
    video_ids: list[str]
    timestamps: np.ndarray
    boxes: np.ndarray
    labels: list[str]
    entity_ids: list[str]
    scores: np.ndarray | None

    def __len__(self) -> int:
        return len(self.lines)


def read_ava_csv(path: PathLike, *, with_scores: bool = False) -> AVARows:
    """One file in AVA's format.

        _mAfwH6i90E,1080.0,0.39375,0.0277778,0.679167,0.469444,NOT_SPEAKING,_mAfwH6i90E_1080_1140:1

    With a header the columns may be in any order and others between them. Without one they are as above; ground truth
    may go on with label_id and instance_id, and predictions with score.

    Args:
        path: of the file.
        with_scores: predictions, whose label is SPEAKING_AUDIBLE throughout.

    Raises:
        ValueError: no rows, a column is missing, or a line has another number of fields, an unknown label, or no
            finite number where one is due; with file and line number.
    """
    path, columns = Path(path), (*_COLUMNS, "score") if with_scores else _COLUMNS
    known_labels = (POSITIVE_LABEL,) if with_scores else AVA_LABELS
    lines, numbers, texts, known = array("q"), array("d"), ([], [], []), {}
    for line, (video_id, timestamp, x1, y1, x2, y2, label, entity_id, *score) in _read_csv_rows(path, columns):
        if label not in known_labels:
            raise _format_error(path, line, f"`label` must be {' or '.join(known_labels)}, got {label!r}")
        values = (timestamp, x1, y1, x2, y2, *score)
        try:
            numbers.extend([float(value) for value in values])
        except ValueError:
            raise _format_error(path, line, f"expected numbers, got {','.join(values)!r}") from None
        lines.append(line)
        for column, text in zip(texts, (video_id, label, entity_id), strict=True):
            column.append(known.setdefault(text, text))  # millions of rows, and few different names
    if not lines:
        raise ValueError(f"{path} holds no rows.")
    table = np.frombuffer(numbers).reshape(len(lines), -1)
    finite = np.isfinite(table).all(axis=1)
    if not finite.all():
        row = int(finite.argmin())
        raise _format_error(path, lines[row], f"NaN or infinite numbers, {table[row].tolist()}")
    video_ids, labels, entity_ids = texts
    scores = table[:, 5] if with_scores else None
    return AVARows(path, np.array(lines), video_ids, table[:, 0], table[:, 1:5], labels, entity_ids, scores)


def _read_csv_rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """(line number, the fields of `columns`)."""
    with open(path, encoding="utf-8-sig", newline="") as file:  # -sig: spreadsheets put a mark in front
        reader, width, places = csv.reader(file, strict=True), 0, []
        try:
            for fields in reader:
                if not fields:
                    continue
                if not places:
                    width, places = len(fields), _find_columns(path, reader.line_num, fields, columns)
                    if fields[0] in columns:
                        continue
                if len(fields) != width:
                    raise _format_error(path, reader.line_num, f"expected {width} fields, got {len(fields)}")
                yield reader.line_num, [fields[place] for place in places]
        except UnicodeDecodeError as error:  # read ahead, so the exact line isn't known
            raise ValueError(f"{path}, after line {reader.line_num}: not UTF-8 text ({error.reason}).") from error
        except csv.Error as error:
            raise _format_error(path, reader.line_num, str(error)) from error


def _find_columns(path: Path, line: int, first: list[str], columns: Sequence[str]) -> list[int]:
    """Where the columns are, by the first line."""
    if first[0] in columns:
        missing = [name for name in columns if first.count(name) != 1]
        if missing:
            raise _format_error(path, line, f"the header must have {missing[0]} once, got {','.join(first)}")
        return [first.index(name) for name in columns]
    widths = (9,) if "score" in columns else (8, 10)
    if len(first) not in widths:
        wanted = " or ".join(map(str, widths))
        raise _format_error(
            path, line, f"expected {wanted} fields ({', '.join(columns)}) or a header, got {len(first)}"
        )
    return list(range(len(columns)))


def _index_rows(rows: AVARows) -> dict[tuple[float, str], int]:
    index: dict[tuple[float, str], int] = {}
    for row, key in enumerate(zip(rows.timestamps.tolist(), rows.entity_ids, strict=True)):
        first = index.setdefault(key, row)
        if first != row:
            raise _format_error(
                rows.path, rows.lines[row], f"{_frame_name(key)} appears twice, first in line {rows.lines[first]}"
            )
    return index


def _frame_name(key: tuple[float, str]) -> str:
    timestamp, entity_id = key
    return f"the frame at {timestamp} s of {entity_id}"


def _format_error(path: Path, line: int, reason: str) -> ValueError:
    return ValueError(f"{path}, line {line}: {reason}.")


# --------------------------------------------------------------------------------------------- Columbia


def read_columbia_labels(folder: PathLike) -> dict[str, np.ndarray]:
    """Columbia's labels, {person: (rows, 5) int64}, of the files `<person>.txt` in a folder.

        2502    267    97    94    0        (with tabs: frame at 29.97 per second, left, top, side of the square, label)

    Pixels are those of the video at half its size. What follows on a line is ignored.

    Raises:
        FileNotFoundError: the folder has no such files.
        ValueError: a line without five whole numbers, a negative frame, a side below 1, or a label other than 0 and 1;
            with file and line number.
    """
    paths = sorted(Path(folder).glob("*.txt"))
    if not paths:
        raise FileNotFoundError(f"There are no label files in {folder}, one <person>.txt for each person.")
    return {path.stem: _read_columbia_rows(path) for path in paths}


def _read_columbia_rows(path: Path) -> np.ndarray:
    rows = []
    for line, text in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), 1):
        if not text.strip():
            continue
        try:
            frame, x, y, side, label = map(int, text.split("\t")[:5])
        except ValueError:
            raise _format_error(path, line, f"expected frame, x, y, side and label, got {text!r}") from None
        if frame < 0 or side < 1 or label not in (0, 1):
            raise _format_error(
                path, line, f"expected a frame from 0, a side from 1 and the label 0 or 1, got {text!r}"
            )
        rows.append((frame, x, y, side, label))
    return np.array(rows, dtype=np.int64).reshape(-1, 5)


def columbia_f1(
    labels: Mapping[str, ArrayLike],
    frames: ArrayLike,
    boxes: ArrayLike,
    scores: ArrayLike,
    *,
    num_frames: int | None = None,
    people: Sequence[str] = COLUMBIA_PEOPLE,
) -> dict[str, float]:
    """F1 of each person and their mean in per cent, as TalkNet's demo counts it: {"bell": ..., "mean": ...}.

    A labelled face takes the score of the found face in its frame that overlaps it most; of equals, the highest. A
    found face counts from an overlap above 0.5, which is the intersection in parts of the found box, not of the union.
    Speaking is a score above 0 after rounding to two decimals; without a face it is not speaking.

    Args:
        labels: as [`read_columbia_labels`] gives them. Frame f at 29.97 per second is frame int(f / 29.97 * 25) here.
        frames: (faces,), the frame each found face is in, from 0, at 25 per second.
        boxes: (faces, 4), x1, y1, x2, y2, pixels of the whole video: centre plus and minus the half size that the track
            was cut with. Cut to whole pixels and halved here, to be those of the labels.
        scores: (faces,), logits, averaged over five frames as the demo does.
        num_frames: of the video, at 25 per second; labels from there on don't count. None: all count.
        people: whose F1.

    Raises:
        ValueError: shapes differ, frames that aren't whole numbers from 0, NaN or infinite values, a person without
            labels, or who never speaks.
    """
    faces = _group_faces(frames, boxes, scores)
    missing = [person for person in people if person not in labels]
    if missing or not people:
        raise ValueError(f"`labels` lacks {', '.join(missing) or 'people'}; there are: {', '.join(sorted(labels))}.")
    results = {}
    for person in people:
        hits = wrong = positives = 0
        for frame, x, y, side, label in np.asarray(labels[person], dtype=np.int64).reshape(-1, 5).tolist():
            frame = int(frame / 29.97 * 25)
            if num_frames is not None and frame >= num_frames:
                continue
            speaking = _find_score(faces.get(frame, []), (x, y, x + side, y + side)) > 0
            positives += label
            hits += speaking and label == 1
            wrong += speaking and label == 0
        if not positives:
            raise ValueError(f"`labels`: {person} speaks in no frame of the video, F1 is undefined.")
        results[person] = 100 * 2 * hits / (hits + wrong + positives)  # the same as 2PR / (P + R)
    return results | {"mean": sum(results.values()) / len(results)}


def _group_faces(frames: ArrayLike, boxes: ArrayLike, scores: ArrayLike) -> dict[int, list[tuple[list[int], float]]]:
    """{frame: [(box in pixels of half the size, score), ...]}."""
    frames, boxes, scores = (np.asarray(values, dtype=np.float64) for values in (frames, boxes, scores))
    boxes = boxes.reshape(-1, 4) if not boxes.size else boxes
    if frames.ndim != 1 or boxes.shape != (len(frames), 4) or scores.shape != frames.shape:
        raise ValueError(
            "`frames` must be (faces,), `boxes` (faces, 4) and `scores` (faces,), "
            f"got {frames.shape}, {boxes.shape} and {scores.shape}."
        )
    for name, values in (("frames", frames), ("boxes", boxes), ("scores", scores)):
        if not np.isfinite(values).all():
            raise ValueError(f"`{name}` holds {np.count_nonzero(~np.isfinite(values))} NaN or infinite values.")
    if (frames < 0).any() or (frames != np.trunc(frames)).any():
        raise ValueError("`frames` must be whole numbers from 0 on.")
    halves = np.trunc(boxes).astype(np.int64) // 2  # towards 0, then down: the demo's int(x) // 2
    faces: dict[int, list[tuple[list[int], float]]] = {}
    for frame, box, score in zip(frames.tolist(), halves.tolist(), scores.tolist(), strict=True):
        faces.setdefault(int(frame), []).append((box, round(score, 2)))
    return faces


def _find_score(faces: list[tuple[list[int], float]], labelled: tuple[int, int, int, int]) -> float:
    """Score of the found face that lies on the labelled one; 0 where none does."""
    x1, y1, x2, y2 = labelled
    found = []
    for (left, top, right, bottom), score in faces:
        area = (right - left) * (bottom - top)
        common = max(0, min(x2, right) - max(x1, left)) * max(0, min(y2, bottom) - max(y1, top))
        if area > 0 and common / area > 0.5:
            found.append((common / area, score))
    return max(found)[1] if found else 0.0


# -------------------------------------------------------------------------------------------------- ASW


def asw_scores(scores: ArrayLike, labels: ArrayLike) -> dict[str, float]:
    """AP, AUROC and EER of ASW in per cent; the first two are better when higher, EER when lower.

    One pool of all frames whose `evaluated` is true. The owners publish no script. AP is taken to be the usual
    [`average_precision`]; AVA's, which is higher, is [`ava_average_precision`]. AUROC is [`roc_auc`], EER
    [`equal_error_rate`].

    Args:
        scores: (frames,). labels: (frames,) of 0 and 1, both there.

    Raises:
        ValueError: shapes differ, no frames, NaN or infinite scores, other labels, or only one kind of label.
    """
    scores, labels = check_two_classes(scores, labels)
    return {
        "AP": 100 * float(average_precision(scores[:, None], labels[:, None])[0]),
        "AUROC": 100 * float(roc_auc(scores[:, None], labels[:, None])[0]),
        "EER": equal_error_rate(scores, labels),
    }
