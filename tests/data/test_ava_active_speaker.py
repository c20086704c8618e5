import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from avzoo.audio import write_wav
from avzoo.data.ava_active_speaker import (
    ava_context,
    ava_face_path,
    ava_json_tracks,
    ava_loader_list,
    ava_tracks,
    ava_videos,
    read_ava_clip,
    write_ava_predictions,
)
from avzoo.metrics import match_ava

VIDEO = "_madeUpVid1"
ONE, TWO, THREE = (f"{VIDEO}_0900_0960:{number}" for number in (1, 2, 3))
HEADER = "video_id,frame_timestamp,entity_box_x1,entity_box_y1,entity_box_x2,entity_box_y2,label,entity_id,"
LABELS = ["NOT_SPEAKING", "SPEAKING_AUDIBLE", "SPEAKING_NOT_AUDIBLE"]


def line(timestamp, entity=ONE, label=0, box="0.1,0.2,0.3,0.4"):
    return f"{entity[:11]},{timestamp},{box},{LABELS[label]},{entity}"


def write_table(path, lines):
    path.write_text("\n".join(lines) + "\n")
    return path


def seconds(first, count):
    return [round(900 + 0.04 * number, 2) for number in range(first, first + count)]


# The tracks of one video, in frames: ONE 0-7, TWO 2-9, THREE 3-4; TWO speaks in frames 4 and 5, inaudibly in 6.
TRACKS = {ONE: (0, 8), TWO: (2, 8), THREE: (3, 2)}


def label_of(entity, timestamp):
    return {900.16: 1, 900.2: 1, 900.24: 2}.get(timestamp, 0) if entity == TWO else 0


def level(entity, timestamp):
    """The grey level of a face tells whose and when it is."""
    return 40 * int(entity[-1]) + 8 * round((timestamp - 900) / 0.04) // 2


@pytest.fixture
def table(tmp_path):
    rows = sorted((t, entity) for entity, span in TRACKS.items() for t in seconds(*span))  # tracks alternate
    return write_table(tmp_path / "val.csv", [line(t, entity, label_of(entity, t)) for t, entity in rows])


@pytest.fixture
def files(tmp_path):
    """{"faces": folder, "audio": folder} with all pictures and sounds."""
    faces, audio = tmp_path / "clips_videos", tmp_path / "clips_audios"
    (audio / VIDEO).mkdir(parents=True)
    for entity, span in TRACKS.items():
        folder = faces / VIDEO / entity
        folder.mkdir(parents=True)
        for t in seconds(*span):
            picture = np.full((20, 16, 3), level(entity, t), np.uint8)
            Image.fromarray(picture).save(folder / f"{t:.2f}.jpg", quality=95)
        samples = np.linspace(-0.5, 0.5, 640 * (span[1] - 1), dtype=np.float32)  # one frame less, as files are cut
        write_wav(audio / VIDEO / f"{entity}.wav", samples, 16000)
    return {"faces": faces, "audio": audio}


@pytest.fixture
def video(table, files):
    return ava_videos(ava_tracks(table, **files))[VIDEO]


# The tables.


def test_rows_are_gathered_by_track(table):
    rows = list(ava_tracks(table))
    assert [row["entity_id"] for row in rows] == [ONE, TWO, THREE]
    row = rows[1]
    assert row["video_id"] == VIDEO
    assert row["timestamps"].tolist() == seconds(2, 8)
    assert row["labels"].tolist() == [0, 0, 1, 1, 0, 0, 0, 0]  # speaking inaudibly is 0 too
    assert row["boxes"].shape == (8, 4)
    assert row["fps"] == pytest.approx(25)
    assert (row["faces"], row["audio"]) == (None, None)


def test_a_table_with_header_says_the_same(table, tmp_path):
    lines = [f"{text},0,x:0" for text in table.read_text().splitlines()]
    with_header = write_table(tmp_path / "val_orig.csv", [f"{HEADER}label_id,instance_id", *lines])
    for row, other in zip(ava_tracks(table), ava_tracks(with_header), strict=True):
        np.testing.assert_equal(row, other)


def test_paths_follow_the_layout(video, files):
    assert video[ONE]["audio"] == str(files["audio"] / VIDEO / f"{ONE}.wav")
    assert ava_face_path(video[ONE], 0) == str(files["faces"] / VIDEO / ONE / "900.00.jpg")  # always two decimals
    with pytest.raises(ValueError, match="read without pictures; pass `faces`"):
        ava_face_path({**video[ONE], "faces": None}, 0)


def test_boxes_a_little_outside_stay_as_they_are(tmp_path):
    path = write_table(tmp_path / "t.csv", [line(1, box="-0.01,0.2,1.05,0.4")])
    (row,) = ava_tracks(path)
    assert row["boxes"].tolist() == [[-0.01, 0.2, 1.05, 0.4]]
    assert row["fps"] is None  # a single frame doesn't tell


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (line(0.5), r"t\.csv, line 2: .*:1 must have rising timestamps, got 0\.5 after 1\.0 in line 1"),
        (line(1.0), "line 2: .* rising timestamps, got 1.0 after 1.0"),
        (line(2, box="0.3,0.2,0.1,0.4"), r"line 2: the box \[0\.3, .* must have x1 <= x2 and y1 <= y2"),
        (line(2, box="100,200,300,400"), r"line 2: the box \[100\.0, .* must have parts of width and height, not pix"),
        (line(2, box="0.1,0.2,nan,0.4"), "line 2: NaN or infinite"),
        (line(2).replace("NOT_SPEAKING", "TALKING"), "line 2: `label` must be .*, got 'TALKING'"),
        (line(2, "../../../../etc/passwd"), r"line 2: '\.\./.*passwd' must be the 11 characters of a video"),
        (line(2, f"{VIDEO}/../x"), "line 2: .* must be the 11 characters"),
        (line(2, "short:1"), "line 2: .* must be the 11 characters"),
        (line(2, TWO).replace(f"{VIDEO},", "otherVideo_,", 1), "line 2: '_madeUp.* is no entity of 'otherVideo_'"),
        ("a,b", "line 2: expected 8 fields, got 2"),
    ],
)
def test_a_malformed_line_is_named_by_file_and_line(tmp_path, bad, message):
    with pytest.raises(ValueError, match=message):
        next(ava_tracks(write_table(tmp_path / "t.csv", [line(1), bad])))


@pytest.mark.parametrize("name", [f"clips_videos/{VIDEO}/{TWO}/900.20.jpg", f"clips_audios/{VIDEO}/{TWO}.wav"])
def test_tracks_without_files_are_counted_before_anything_is_yielded(table, files, tmp_path, name):
    (tmp_path / name).unlink()
    with pytest.raises(FileNotFoundError, match=rf"1 of the 3 tracks of val\.csv lack files, .*{name}.*skip_missing"):
        next(ava_tracks(table, **files))
    assert [row["entity_id"] for row in ava_tracks(table, **files, skip_missing=True)] == [ONE, THREE]


def test_one_entity_twice_is_no_video(table):
    row = next(ava_tracks(table))
    with pytest.raises(ValueError, match=r"holds .*:1 twice"):
        ava_videos([row, dict(row)])


# TalkNet's list.


def test_the_loader_list_is_read(tmp_path):
    path = write_table(tmp_path / "l.csv", [f"{ONE}\t3\t25.0\t[0, 1, 2]\t7", "", f"{TWO}\t1\t29.97\t[1]\t8"])
    first, second = ava_loader_list(path)
    assert (first["entity_id"], first["video_id"], first["num_frames"], first["fps"]) == (ONE, VIDEO, 3, 25.0)
    assert first["labels"].tolist() == [0, 1, 0]
    assert second["fps"] == 29.97


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (f"{TWO} 1 25 [1] 7", r"l\.csv, line 2: expected 5 fields with tabs between, got 1"),
        (f"{TWO}\t2\t25\t[1]\t7", "line 2: 2 frames, but 1 labels"),
        (f"{TWO}\t1\t25\t[3]\t7", r"line 2: expected labels as in \[0, 1, 0\], got '\[3\]'"),
        (f"{TWO}\t1\t25\t[__import__('os')]\t7", "line 2: expected labels"),
        (f"{TWO}\t0\t25\t[]\t7", "line 2: the number of frames must be a whole number from 1, got '0'"),
        (f"{TWO}\t1\tnan\t[1]\t7", "line 2: the frames per second must be a positive number, got 'nan'"),
        (f"{TWO}\t1\t0\t[1]\t7", "line 2: the frames per second"),
        (f"{ONE}\t1\t25\t[1]\t7", "line 2: .* appears twice, first in line 1"),
        ("../../../../x\t1\t25\t[1]\t7", "line 2: .* must be the 11 characters"),
    ],
)
def test_a_malformed_line_of_the_loader_list_is_named(tmp_path, bad, message):
    with pytest.raises(ValueError, match=message):
        list(ava_loader_list(write_table(tmp_path / "l.csv", [f"{ONE}\t1\t25\t[1]\t7", bad])))


# LoCoNet's JSON.


def write_json(path, content):
    path.write_text(json.dumps(content))
    return path


def entities_of(table):
    entities, times = {}, {}
    for row in ava_tracks(table):
        frames = dict(zip(map(str, row["timestamps"].tolist()), row["labels"].tolist(), strict=True))
        entities.setdefault(row["video_id"], {})[row["entity_id"]] = frames
        for text in frames:
            times.setdefault(row["video_id"], {}).setdefault(text, []).append(row["entity_id"])
    return entities, times


def test_json_gives_the_tracks_of_the_table_without_boxes(table, files, tmp_path):
    entities, times = (write_json(tmp_path / f"{n}.json", c) for n, c in enumerate(entities_of(table)))
    for row, other in zip(ava_json_tracks(entities, times, **files), ava_tracks(table, **files), strict=True):
        np.testing.assert_equal(row, {**other, "boxes": None})


def test_json_files_that_disagree_are_refused(table, tmp_path):
    entities, times = entities_of(table)
    times[VIDEO]["900.12"].remove(THREE)
    paths = write_json(tmp_path / "e.json", entities), write_json(tmp_path / "ts.json", times)
    with pytest.raises(ValueError, match=r"e\.json has .*:3 at 900\.12 s, .*ts\.json hasn't"):
        next(ava_json_tracks(*paths))
    times[VIDEO]["900.12"] += [THREE, f"{VIDEO}:9"]
    write_json(paths[1], times)
    with pytest.raises(ValueError, match=r"ts\.json has _madeUpVid1:9 at 900\.12 s, .*e\.json hasn't"):
        next(ava_json_tracks(*paths))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({VIDEO: {ONE: {"1.0": 0, "0.5": 0}}}, r"e\.json: .*:1 has the timestamp 0\.5 after a later one"),
        ({VIDEO: {ONE: {"1.0": 3}}}, r"e\.json: .*:1 at 1\.0 s: expected the label 0, 1 or 2, got 3"),
        ({VIDEO: {ONE: {"1.0": True}}}, "expected the label 0, 1 or 2, got True"),
        ({VIDEO: {ONE: {"soon": 0}}}, "a timestamp that is no number, 'soon'"),
        ({VIDEO: {ONE: {"inf": 0}}}, "a timestamp that is no number, 'inf'"),
        ({VIDEO: {ONE: {}}}, "must be an object with at least one member, got {}"),
        ({VIDEO: [ONE]}, "must be an object"),
        ({"../elsewhere": {"../elsewhere:1": {"1.0": 0}}}, "is no entity of the video"),
        ({"otherVideo_": {ONE: {"1.0": 0}}}, "is no entity of the video 'otherVideo_'"),
    ],
)
def test_malformed_json_is_named_by_file_and_entity(tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        next(ava_json_tracks(write_json(tmp_path / "e.json", content)))


# Clips.


@pytest.mark.parametrize(
    ("target", "frames", "options", "expected"),
    [
        # Of ONE's 8 frames TWO shares 6, THREE 2; all three are visible in the middle, frame 4.
        (ONE, (0, 8), {}, [ONE, TWO, ONE]),
        (ONE, (0, 8), {"fill": "others"}, [ONE, TWO, TWO]),
        (ONE, (0, 8), {"min_overlap": 0}, [ONE, TWO, THREE]),
        (ONE, (0, 8), {"min_overlap": 0, "num_speakers": 2}, [ONE, TWO]),
        (ONE, (0, 8), {"min_overlap": 0, "num_speakers": 5, "fill": "others"}, [ONE, TWO, THREE, TWO, THREE]),
        (ONE, (0, 8), {"num_speakers": 1}, [ONE]),
        # Frames 3 and 4, where all are: equal overlap goes by id.
        (THREE, (3, 2), {}, [THREE, ONE, TWO]),
        # Frames 0 to 3, TWO in 2 and 3: half is not more than half. In frames 0 to 4 it is.
        (ONE, (0, 4), {}, [ONE, ONE, ONE]),
        (ONE, (0, 4), {"fill": "others"}, [ONE, ONE, ONE]),
        (ONE, (0, 5), {}, [ONE, TWO, ONE]),
        # Frames 5 to 7: THREE has gone, and shares nothing.
        (ONE, (5, 3), {"min_overlap": 0}, [ONE, TWO, ONE]),
        # Frames 0 to 2, middle 1: TWO comes too late.
        (ONE, (0, 3), {"min_overlap": 0}, [ONE, ONE, ONE]),
    ],
)
def test_context_is_the_faces_of_most_overlap(video, target, frames, options, expected):
    options = {"fill": "target"} | options
    assert ava_context(video, target, seconds(*frames), **options) == expected
    assert ava_context(dict(reversed(video.items())), target, seconds(*frames), **options) == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"target": "nobody"}, "the video has no 'nobody'"),
        ({"timestamps": []}, r"must be \(frames,\) and not empty"),
        ({"timestamps": seconds(7, 3)}, "`timestamps` must be some of .*:1"),
        ({"num_speakers": 0}, "`num_speakers` must be at least 1, got 0"),
        ({"min_overlap": 1.5}, r"`min_overlap` must be from 0 to 1, got 1\.5"),
        ({"fill": "noise"}, "`fill` must be 'target' or 'others', got 'noise'"),
    ],
)
def test_impossible_context_is_refused(video, arguments, message):
    with pytest.raises(ValueError, match=message):
        ava_context(video, **{"target": ONE, "timestamps": seconds(0, 8), **arguments})


def test_the_other_faces_come_again_unless_the_target_shall(video):
    assert read_ava_clip(video, ONE, size=8)["entity_ids"] == [ONE, TWO, TWO]


def test_a_clip_holds_the_faces_of_its_frames(video):
    clip = read_ava_clip(video, ONE, size=8, fill="target")
    assert clip["entity_ids"] == [ONE, TWO, ONE]
    assert clip["faces"].shape == (3, 8, 8, 8)
    assert clip["faces"].dtype == np.uint8
    assert clip["masks"].tolist() == [[1] * 8, [0, 0, 1, 1, 1, 1, 1, 1], [1] * 8]
    assert clip["labels"].tolist() == [[0] * 8, [0, 0, 0, 0, 1, 1, 0, 0], [0] * 8]
    expected = [[level(entity, t) for t in seconds(0, 8)] for entity in clip["entity_ids"]]
    np.testing.assert_allclose(clip["faces"].mean(axis=(2, 3)), np.array(expected) * clip["masks"], atol=2)  # JPEG
    assert clip["audio"].shape == (7 * 640,)  # the file lacks the last frame
    assert clip["audio"].dtype == np.float32
    assert clip["fps"] == pytest.approx(25)


def test_a_stretch_of_a_track_begins_with_its_own_sound(video):
    whole, clip = read_ava_clip(video, TWO, size=8), read_ava_clip(video, TWO, start=2, num_frames=3, size=8)
    assert clip["timestamps"].tolist() == seconds(4, 3)
    np.testing.assert_array_equal(clip["faces"][0], whole["faces"][0, 2:5])
    np.testing.assert_array_equal(clip["audio"], whole["audio"][2 * 640 :])
    assert clip["labels"][0].tolist() == [1, 1, 0]


@pytest.mark.parametrize(("start", "num_frames"), [(0, 9), (8, None), (-1, 2), (0, 0), (7, 2)])
def test_frames_that_a_track_does_not_have_are_refused(video, start, num_frames):
    with pytest.raises(ValueError, match=r"`start` .* has 8 frames"):
        read_ava_clip(video, ONE, start=start, num_frames=num_frames)


def test_damaged_and_vanished_files_are_named(video, files):
    face, sound = files["faces"] / VIDEO / ONE / "900.04.jpg", files["audio"] / VIDEO / f"{ONE}.wav"
    write_wav(sound, np.zeros(640, np.float32), 16000)
    with pytest.raises(ValueError, match=r":1\.wav ends after 0\.040 s, before frame 4"):
        read_ava_clip(video, ONE, start=4)
    sound.write_bytes(b"no sound")
    with pytest.raises(ValueError, match=":1"):
        read_ava_clip(video, ONE)
    face.write_bytes(face.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"900\.04\.jpg can't be decoded"):
        read_ava_clip(video, ONE)
    face.unlink()
    with pytest.raises(FileNotFoundError, match=r"900\.04\.jpg"):
        read_ava_clip(video, ONE)
    with pytest.raises(ValueError, match="read without sound; pass `audio`"):
        read_ava_clip({TWO: {**video[TWO], "audio": None}}, TWO)


# Predictions.


def test_predictions_are_matched_with_the_table_they_are_of(table, tmp_path):
    rows = list(ava_tracks(table))
    scores = {row["entity_id"]: np.random.default_rng(0).standard_normal(len(row["labels"])) for row in rows}
    path = tmp_path / "res.csv"
    write_ava_predictions(path, ((row, scores[row["entity_id"]]) for row in rows))
    assert path.read_text().splitlines()[:2] == [
        f"{HEADER}score",
        f"{line('900.0', label=1)},{scores[ONE][0]!r}".replace("np.float64(", "").replace(")", ""),
    ]
    matched, labels = match_ava(table, path)
    assert sorted(matched) == sorted(np.concatenate(list(scores.values())))  # to the last bit
    assert labels.sum() == 2


@pytest.mark.parametrize(
    ("scores", "boxes", "message"),
    [
        ([0.5], True, r":1 needs scores of the shape \(8,\), got \(1,\)"),
        ([0.5] * 7 + [np.nan], True, ":1: 1 scores are NaN or infinite"),
        ([0.5] * 8, False, ":1 has no boxes"),
    ],
)
def test_incomplete_predictions_leave_no_file(table, tmp_path, scores, boxes, message):
    row = next(ava_tracks(table))
    with pytest.raises(ValueError, match=message):
        write_ava_predictions(tmp_path / "res.csv", [(row if boxes else {**row, "boxes": None}, scores)])
    with pytest.raises(ValueError, match="`predictions` is empty"):
        write_ava_predictions(tmp_path / "res.csv", [])
    assert [path.name for path in tmp_path.iterdir()] == ["val.csv"]


def test_the_reader_loads_no_torch():
    code = "import sys, avzoo.data.ava_active_speaker; sys.exit('torch' in sys.modules or 'datasets' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
