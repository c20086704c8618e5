"""`avzoo run` with videos of faces: synchronization and active speakers."""

import csv
import json

import numpy as np
import pytest
from contract.tiny import TINY, tiny_model
from refusals import refused

from avzoo import zoo
from avzoo.video import read_video, write_video

# run audio-visual-synchronization


@pytest.fixture(scope="module")
def sync_folder(tmp_path_factory):
    row = zoo.find_row("mtdvocalist")
    folder = tmp_path_factory.mktemp("sync")
    tiny_model(row, distillation=None).save_pretrained(folder)
    config = TINY["MTDVocaLiSTForSequenceClassification"].config
    row.load(row.processor_class)(
        face_size=config["image_size"][1], num_mel_bins=config["num_mel_bins"]
    ).save_pretrained(folder)
    return folder


@pytest.fixture
def face_video(tmp_path):
    path, random = tmp_path / "face.mp4", np.random.default_rng(0)
    sound = 0.1 * random.standard_normal(30 * 640).astype(np.float32)
    frames = random.integers(0, 256, (30, 32, 32, 3), dtype=np.uint8)
    write_video(path, frames, 25, audio=sound, sampling_rate=16000)
    return path


@pytest.fixture
def synchronize(avzoo_command, sync_folder, face_video):
    task = ("run", "audio-visual-synchronization", face_video, "--model", sync_folder)
    return lambda *options: avzoo_command(*task, *options)


def test_synchronization_prints_a_record_for_each_face(synchronize):
    status, out, _ = synchronize("--face-video", "--max-shift", "4", "--stride", "2")
    assert status == 0
    answer = json.loads(out)
    assert (answer["task"], answer["score"]) == ("audio-visual-synchronization", "logit")
    (record,) = answer["records"]
    assert sorted(map(int, record["curve"])) == list(range(-4, 5))
    assert len(record["windows"]) == 13


def test_synchronization_as_a_table_leaves_out_what_is_no_single_value(synchronize, tmp_path):
    assert synchronize("--face-video", "-o", tmp_path / "out.csv")[0] == 0
    (row,) = csv.DictReader((tmp_path / "out.csv").read_text().splitlines())
    assert {"track_id", "start", "end", "label", "offset_frames", "in_sync", "meaning"} <= row.keys()
    assert not {"curve", "windows"} & row.keys()


def test_what_is_out_of_time_is_repaired_and_drawn(synchronize, face_video, tmp_path):
    fixed, curve = tmp_path / "fixed.mp4", tmp_path / "curve.png"
    status, out, err = synchronize("--face-video", "-o", fixed, "--fix", "--render", curve)
    assert status == 0, err
    (record,) = json.loads(out)["records"]  # the file goes to --output, the records to stdout
    assert record["meaning"] in err
    before, after = (read_video(path, sampling_rate=16000) for path in (face_video, fixed))
    assert np.array_equal(before.frames, after.frames)
    shift = round(record["offset_seconds"] * 16000)
    moved = np.roll(before.audio, shift)[max(0, shift) : len(before.audio) + min(0, shift)]
    there = after.audio[max(0, shift) : len(before.audio) + min(0, shift)]
    inside = slice(2000, -2000)  # codecs fade in where a cut begins
    np.testing.assert_allclose(there[inside], moved[inside], atol=0.01)
    assert curve.read_bytes().startswith(b"\x89PNG")


def test_boxes_say_who_to_look_at(synchronize, tmp_path):
    boxes = tmp_path / "boxes.csv"
    rows = [f"{frame},0,0,32,32,5" for frame in range(4, 24)]
    boxes.write_text("\n".join(["frame,x1,y1,x2,y2,track_id", *rows]) + "\n")
    (record,) = json.loads(synchronize("--boxes", boxes)[1])["records"]
    assert (record["track_id"], record["start"], record["end"]) == (5, 0.16, 0.96)


def test_bad_requests_to_synchronization_say_why(synchronize, face_video, tmp_path):
    refused(synchronize("--face-video", "--fix"), "--fix needs --output")
    refused(synchronize("--face-video", "--fix", "-o", tmp_path / "fixed.avi"), "must end in .mp4", "fixed.avi")
    refused(synchronize("--face-video", "--render", tmp_path / "nowhere" / "curve.png"), "nowhere")
    refused(synchronize("--face-video", "--max-shift", "0"), "`max_shift` must be at least 1, got 0")
    refused(synchronize("--detector", "s3fd"), "--detector s3fd needs --detector-model")
    write_video(face_video, np.zeros((20, 32, 32, 3), np.uint8), 25)
    refused(synchronize("--face-video"), "face.mp4", "has no sound")


def test_nobody_to_look_at_is_said_and_nothing_repaired(synchronize, tmp_path):
    boxes, fixed = tmp_path / "boxes.csv", tmp_path / "fixed.mp4"
    boxes.write_text("frame,x1,y1,x2,y2\n")
    status, out, err = synchronize("--boxes", boxes)
    assert (status, json.loads(out)["records"]) == (0, [])
    assert "no face was found in face.mp4" in err
    status, _, err = synchronize("--boxes", boxes, "-o", fixed, "--fix")
    assert (status, fixed.exists()) == (1, False)
    assert "face.mp4 was not repaired" in err


def test_a_task_takes_its_own_options_only(synchronize, capfd):
    with pytest.raises(SystemExit):
        synchronize("--patch-size", "8")
    assert "unrecognized arguments: --patch-size" in capfd.readouterr().err


# run active-speaker-detection


@pytest.fixture(scope="module")
def speaker_folder(tmp_path_factory):
    row = zoo.find_row("talknce")
    folder = tmp_path_factory.mktemp("speakers")
    tiny_model(row).save_pretrained(folder)
    config = TINY["LoCoNetForActiveSpeakerDetection"].config
    processor = row.load(row.processor_class)(
        frame_size=config["frame_size"], num_bins=config["num_mel_bins"], num_speakers=config["num_speakers"]
    )
    processor.save_pretrained(folder)
    return folder


@pytest.fixture
def speakers(avzoo_command, speaker_folder, face_video):
    task = ("run", "active-speaker-detection", face_video, "--model", speaker_folder)
    return lambda *options: avzoo_command(*task, *options)


def test_speakers_are_printed_with_the_score_of_every_frame(speakers):
    status, out, _ = speakers("--face-video", "--durations", "0.4", "0.8")
    assert status == 0
    answer = json.loads(out)
    assert (answer["task"], answer["score"]) == ("active-speaker-detection", "probability")
    (record,) = answer["records"]
    assert (record["start"], record["end"], len(record["scores"])) == (0.0, 1.2, 30)
    assert np.shape(record["boxes"]) == (30, 4)


def test_speakers_are_drawn_and_written_as_tables(speakers, tmp_path):
    video, table, segments = tmp_path / "scored.mp4", tmp_path / "scores.csv", tmp_path / "scores.rttm"
    status, out, err = speakers("--face-video", "-o", video, "--threshold", "0")
    assert (status, err.split()[-1]) == (0, str(video)), err
    (record,) = json.loads(out)["records"]  # the video goes to --output, the records to stdout
    assert read_video(video, sampling_rate=16000).frames.shape == (30, 36, 32, 3)
    for path in (table, segments):
        status, out, err = speakers("--face-video", "-o", path, "--threshold", "0")
        assert (status, out, err.split()[-1]) == (0, "", str(path)), err
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert [float(row["score"]) for row in rows] == pytest.approx(record["scores"])
    assert (rows[2]["frame_timestamp"], rows[2]["entity_id"], rows[2]["entity_box_x2"]) == ("0.08", "face:0", "1.0")
    assert segments.read_text().startswith("SPEAKER face 1 0.000 1.200 <NA> <NA> 0 ")


def test_bad_requests_for_speakers_say_why_and_write_nothing(speakers, face_video, tmp_path):
    there = sorted(tmp_path.iterdir())
    refused(speakers("--face-video", "--format", "csv"), "--format csv needs --output")
    refused(speakers("--face-video", "--smoothing", "4"), "`smoothing` must be an odd number of frames, got 4")
    refused(speakers("--face-video", "-o", tmp_path / "scored.avi"), "--format must be one of", "avi")
    refused(speakers("--face-video", "-o", tmp_path / "nowhere" / "scored.mp4"), "nowhere")
    refused(speakers("--detector", "s3fd"), "--detector s3fd needs --detector-model")
    boxes = face_video.with_suffix(".csv")
    boxes.write_text("frame,x1,y1,x2,y2\n")
    status, out, err = speakers("--boxes", boxes)
    assert (status, json.loads(out)["records"]) == (0, [])
    assert "no face was found in face.mp4" in err
    status, out, err = speakers("--boxes", boxes, "-o", tmp_path / "scores.csv")
    assert (status, out) == (1, "")
    assert "no face was found in face.mp4, so there is nothing to write" in err
    boxes.unlink()
    assert sorted(tmp_path.iterdir()) == there
    write_video(face_video, np.zeros((20, 32, 32, 3), np.uint8), 25)
    refused(speakers("--face-video"), "face.mp4", "has no sound track")
