"""Own videos, cut by the example into what the readers of the training examples take."""

import json
import runpy
from pathlib import Path

import numpy as np
import pytest

from avzoo.data.ava_active_speaker import ava_face_path, ava_tracks, ava_videos, read_ava_clip
from avzoo.data.lrs2 import lrs2, read_lrs2_faces
from avzoo.data.speaker_folders import read_speaker_folders
from avzoo.models.avdiffuss.mixtures_avdiffuss import AVDiffuSSMixtures
from avzoo.video import read_video, write_video

EXAMPLES = Path(__file__).parents[2] / "examples"
SCRIPT = "cut_faces.py"
FRAMES = 60  # 2.4 s


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Two videos of a grey frame with a bright square for a face in each half, their tracks, and a table."""
    root = tmp_path_factory.mktemp("videos")
    boxes = np.array([[8, 10, 40, 50], [80, 10, 112, 50]], float)
    for name in ("talk", "news"):
        frames = np.full((FRAMES, 64, 128, 3), 60, np.uint8)
        frames[:, 10:50, 8:40] = 200
        frames[:, 10:50, 80:112] = 120
        sound = np.sin(np.arange(FRAMES * 640) / 10).astype(np.float32) * np.linspace(0.1, 0.5, FRAMES * 640)
        write_video(root / f"{name}.mp4", frames, 25, audio=sound.astype(np.float32), sampling_rate=16000)
        tracks = [
            {"track_id": track, "start_frame": 0, "boxes": [box.tolist()] * FRAMES, "scores": [None] * FRAMES}
            for track, box in enumerate(boxes)
        ]
        header = {"schema_version": 1, "source": f"{name}.mp4", "fps": 25.0, "width": 128, "height": 64}
        (root / f"{name}.json").write_text(json.dumps({**header, "num_frames": FRAMES, "tracks": tracks}))
        (root / f"{name}.csv").write_text("track_id,start,end\n1,0.4,1.0\n1,1.2,1.6\n")
    table = "path,split,speaker,boxes,speaking\n"
    table += "talk.mp4,train,anna,talk.json,talk.csv\nnews.mp4,val,ben b.,news.json,news.csv\n"
    (root / "videos.csv").write_text(table)
    return root


def cut(run_main, videos, layout, output, *options):
    status, stdout, stderr = run_main(
        SCRIPT, videos / "videos.csv", "--layout", layout, "--output_dir", output, *options
    )
    assert status == 0, stderr
    assert f"{videos / 'talk.mp4'}: 2 faces, " in stdout


def test_clips_are_face_videos_with_their_sound(videos, run_main, tmp_path):
    cut(run_main, videos, "clips", tmp_path / "clips")
    rows = read_speaker_folders(tmp_path / "clips")
    assert [row["speaker"] for row in rows] == ["anna", "anna", "ben_b_-6443d2", "ben_b_-6443d2"]
    video = read_video(rows[0]["video"])
    assert video.frames.shape == (FRAMES, 224, 224, 3)
    assert abs(float(video.frames[:, 60:100, 90:130].mean()) - 200) < 3  # the face is in the middle
    assert len(video.audio) == pytest.approx(FRAMES * 640, abs=640)
    assert AVDiffuSSMixtures(rows, seconds=1.2)[0]["video"].shape == (30, 112, 112)


def test_speakers_whose_names_have_no_letter_of_ascii_stay_apart(videos):
    table = videos / "speakers.csv"
    table.write_text("path,speaker\ntalk.mp4,王伟\nnews.mp4,李娜\ntalk.mp4,王伟\n", encoding="utf-8")
    read_videos = runpy.run_path(str(EXAMPLES / SCRIPT))["read_videos"]
    first, second, third = (row["speaker"] for row in read_videos(table, "clips"))
    assert first == third != second
    assert first.isascii()


def test_faces_are_numbered_pictures_with_their_sound(videos, run_main, tmp_path):
    cut(run_main, videos, "faces", tmp_path / "faces", "--max_seconds", 1.2)
    rows = list(lrs2(tmp_path / "faces", tmp_path / "faces" / "train.txt"))
    assert [row["id"].split("/")[1] for row in rows] == ["0-000000", "0-000030", "1-000000", "1-000030"]
    assert len(list(lrs2(tmp_path / "faces", tmp_path / "faces" / "val.txt"))) == 4
    faces, sound = read_lrs2_faces(rows[3]["path"])
    assert (len(faces), len(sound), faces[0].shape) == (30, 30 * 640, (40, 32, 3))
    assert abs(float(faces[7].mean()) - 120) < 3
    whole = read_video(videos / "talk.mp4").audio
    assert np.abs(sound - whole[30 * 640 : 60 * 640]).max() < 0.01


def test_tracks_have_labels_of_who_speaks_when(videos, run_main, tmp_path):
    cut(run_main, videos, "tracks", tmp_path / "ava")
    places = [tmp_path / "ava" / folder / "train" for folder in ("clips_videos", "clips_audios")]
    rows = list(ava_tracks(tmp_path / "ava" / "csv" / "train_orig.csv", *places))
    assert [int(row["labels"].sum()) for row in rows] == [0, 25]
    assert rows[1]["timestamps"][rows[1]["labels"] == 1].tolist() == [
        pytest.approx(frame / 25) for frame in (*range(10, 25), *range(30, 40))
    ]
    assert rows[1]["boxes"][0].tolist() == [80 / 128, 10 / 64, 112 / 128, 50 / 64]
    assert ava_face_path(rows[1], 3).endswith("0.12.jpg")
    (video,) = ava_videos(rows).values()
    clip = read_ava_clip(video, rows[1]["entity_id"], num_speakers=2)
    assert clip["faces"].shape == (2, FRAMES, 112, 112)
    assert [round(float(face.mean()) / 40) for face in clip["faces"]] == [3, 5]  # the face itself, then the other


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("file\ntalk.mp4\n", "line 1: expected path and perhaps split, speaker, boxes, speaking, got 'file'"),
        ("path\nnowhere.mp4\n", "line 2: `path`: there is no file "),
        ("path,split,speaking\ntalk.mp4,test,talk.csv\n", "line 2: `split` must be train or val, got 'test'"),
        ("path\ntalk.mp4\n", "line 2: `speaking` is empty"),
        ("path,boxes,speaking\ntalk.mp4,talk.json,other.csv\n", "other.csv, line 1: expected a track of [0, 1]"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(table, message, videos, run_main, tmp_path):
    for path in videos.iterdir():
        (tmp_path / path.name).symlink_to(path)
    (tmp_path / "other.csv").write_text("7,0,1\n")
    (tmp_path / "own.csv").write_text(table)
    status, _, stderr = run_main(SCRIPT, tmp_path / "own.csv", "--layout", "tracks", "--output_dir", tmp_path / "out")
    assert status == 1
    (line,) = stderr.splitlines()
    assert line.startswith(f"{SCRIPT}: ")
    assert message in line
