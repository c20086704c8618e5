"""`avzoo toyworld` and `avzoo tracks`: clips with labels, and the faces in them."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from refusals import refused

from avzoo.cli import main
from avzoo.files import fill_folder
from avzoo.video import write_video


@pytest.fixture(scope="module")
def talking(tmp_path_factory) -> Path:
    """Two clips of talkers with their labels, written by the command itself."""
    folder = tmp_path_factory.mktemp("talkers") / "made" / "here"
    settings = ("seconds=0.6", "size=[120,200]", "num_faces=2", "situation=conversation")
    assert main(["toyworld", "talkers", "--n", "2", "--out", str(folder), "--seed", "4", "--set", *settings]) == 0
    return folder


def test_toyworld_writes_videos_and_labels(talking):
    assert sorted(path.name for path in talking.iterdir()) == [
        f"talkers-train-000000{index}.{ending}" for index in range(2) for ending in ("json", "mp4")
    ]
    labels = json.loads((talking / "talkers-train-0000000.json").read_text(encoding="utf-8"))
    assert len(labels["faces"]) == 2
    assert np.shape(labels["speaking"]) == (2, 15)


def test_toyworld_names_what_it_wrote_and_writes_the_same_again(talking, avzoo_command, tmp_path):
    settings = ("seconds=0.6", "size=[120,200]", "num_faces=2", "situation=conversation")
    status, out, _ = avzoo_command(
        "toyworld", "talkers", "--n", 2, "--out", tmp_path, "--seed", 4, "--workers", 2, "--set", *settings
    )
    assert status == 0
    assert [Path(line).name for line in out.splitlines()] == [
        path.name for path in sorted(talking.iterdir(), key=lambda path: (path.stem, path.suffix != ".mp4"))
    ]
    for path in talking.iterdir():
        assert (tmp_path / path.name).read_bytes() == path.read_bytes(), path.name


def test_toyworld_refuses_settings_that_do_not_exist(avzoo_command, tmp_path):
    refused(
        avzoo_command("toyworld", "talkers", "--out", tmp_path / "new", "--set", "colour=red"),
        "the world 'talkers' has no setting 'colour'; it has: seconds, size",
    )
    assert not (tmp_path / "new").exists()
    refused(avzoo_command("toyworld", "talkers", "--out", tmp_path, "--n", -1), "`num_clips` must be 0 or more, got -1")
    refused(avzoo_command("toyworld", "talkers", "--out", tmp_path / "new", "--set", "size=2"), "`size` must be")
    assert not (tmp_path / "new").exists()


KILLED_WHILE_RENDERING = """
import os, signal, sys
from avzoo.cli import main
from avzoo.video import VideoWriter
write = VideoWriter.write
def stop(*arguments):
    write(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)
VideoWriter.write = stop
main(["toyworld", "talkers", "--n", "1", "--out", sys.argv[1], "--set", "seconds=0.4", "size=[60,100]"])
"""


@pytest.mark.slow
def test_a_killed_rendering_is_swept_by_the_next(avzoo_command, tmp_path):
    killed = subprocess.run([sys.executable, "-c", KILLED_WHILE_RENDERING, tmp_path], check=False)
    assert killed.returncode == -9
    half = [path.name for path in tmp_path.iterdir() if ".part." in path.name]
    assert len(half) == 1
    assert avzoo_command("toyworld", "sound_events", "--n", "1", "--out", tmp_path, "--set", "seconds=1")[0] == 0
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["sound_events-train-0000000.json", "sound_events-train-0000000.wav"]


def test_a_second_rendering_into_one_folder_is_told(avzoo_command, tmp_path):
    command = ["toyworld", "sound_events", "--n", "1", "--out", tmp_path, "--set", "seconds=1"]
    with fill_folder(tmp_path):
        refused(avzoo_command(*command), f"another process is writing `{tmp_path}`; wait until it has ended")
        assert not list(tmp_path.glob("*.wav"))
    assert avzoo_command(*command)[0] == 0


@pytest.mark.slow
def test_a_rendering_on_a_full_disk_is_one_line_and_leaves_nothing_half_written(tmp_path):
    program = "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    program += "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
    program += "from avzoo.cli import main; sys.exit(main(sys.argv[1:]))"
    command = ["toyworld", "sound_events", "--n", "2", "--out", tmp_path / "out", "--set", "seconds=1"]
    ended = subprocess.run([sys.executable, "-c", program, *command], capture_output=True, text=True, check=False)
    refused(
        (ended.returncode, ended.stdout, ended.stderr), "sound_events-train-0000000.wav` cannot be written: File too"
    )
    assert not any((tmp_path / "out").iterdir())


def test_tracks_finds_the_faces_of_a_talkers_clip_and_draws_them(talking, avzoo_command, tmp_path):
    video, output, render = talking / "talkers-train-0000000.mp4", tmp_path / "tracks.json", tmp_path / "out.mp4"
    status, out, err = avzoo_command("tracks", video, "-o", output, "--render", render)
    assert (status, out) == (0, "")
    assert err.split() == [str(output), str(render)]
    answer = json.loads(output.read_text(encoding="utf-8"))
    assert answer["source"] == "talkers-train-0000000.mp4"
    assert len(answer["tracks"]) == 2
    truth = json.loads((talking / "talkers-train-0000000.json").read_text(encoding="utf-8"))["boxes"]
    for track in answer["tracks"]:
        centre = np.mean(track["boxes"][0][0::2])
        assert min(abs(centre - np.mean(boxes[0][0::2])) for boxes in truth) < 8
    assert render.stat().st_size > 10_000


def test_tracks_takes_boxes_and_answers_on_stdout(talking, avzoo_command, tmp_path):
    table = tmp_path / "boxes.csv"
    rows = [f"{frame},10,10,60,70,3" for frame in range(2, 12)]
    table.write_text("\n".join(["frame,x1,y1,x2,y2,track_id", *rows]))
    status, out, err = avzoo_command("tracks", talking / "talkers-train-0000001.mp4", "--boxes", table)
    assert (status, err) == (0, "")
    (track,) = json.loads(out)["tracks"]
    assert (track["track_id"], track["start_frame"], len(track["boxes"])) == (3, 2, 10)


def test_tracks_says_when_nobody_is_there(avzoo_command, tmp_path):

    video = tmp_path / "wall.mp4"
    write_video(video, np.full((15, 64, 64, 3), 90, np.uint8), 25)
    status, out, err = avzoo_command("tracks", video, "--detector", "drawn")
    assert status == 0
    assert json.loads(out)["tracks"] == []
    assert "no face was found in the 15 frames of wall.mp4" in err


def test_tracks_names_what_is_wrong(talking, avzoo_command, tmp_path):
    video = talking / "talkers-train-0000000.mp4"
    refused(avzoo_command("tracks", tmp_path / "none.mp4"), "none.mp4")
    refused(avzoo_command("tracks", video, "-o", tmp_path / "no" / "tracks.json"), "cannot be written")
    refused(avzoo_command("tracks", video, "--render", tmp_path / "out.avi", "--boxes", "none.csv"), "must end in .mp4")
    refused(avzoo_command("tracks", video, "--detector", "s3fd"), "--detector s3fd needs --detector-model")
    refused(avzoo_command("tracks", video, "--boxes", tmp_path / "boxes.txt"), "boxes are read from .json or .csv")
    text = tmp_path / "text.mp4"
    text.write_text("no video")
    refused(avzoo_command("tracks", text), "text.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["text.mp4"]


def test_tracks_of_a_real_video_need_a_detector_that_is_there(avzoo_command, tmp_path, monkeypatch):

    video = tmp_path / "real.mp4"
    write_video(video, np.zeros((3, 16, 16, 3), np.uint8), 25)
    refused(avzoo_command("tracks", video, "--detector-model", tmp_path / "yunet.onnx"), "yunet.onnx is no file")
    monkeypatch.setitem(sys.modules, "cv2", None)
    refused(avzoo_command("tracks", video), "pip install opencv-python-headless")
