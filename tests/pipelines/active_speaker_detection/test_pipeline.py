"""`transformers.pipeline("active-speaker-detection")`: which face is heard, and when; and what is written about it."""

import csv
import itertools

import numpy as np
import pytest
import torch
import transformers

import avzoo
from avzoo import ActiveSpeakerProcessor
from avzoo.metrics import match_ava
from avzoo.models.talknce.scenes import FaceTrack, SceneScorer
from avzoo.pipelines.active_speaker_detection import pipeline as active_speaker_detection
from avzoo.pipelines.active_speaker_detection.drawing import (
    SILENT_COLOUR,
    SPEAKING_COLOUR,
    plot_scores,
    speaking_strips,
    write_scored_video,
)
from avzoo.pipelines.active_speaker_detection.files import write_ava_csv
from avzoo.pipelines.active_speaker_detection.pipeline import ActiveSpeakerDetectionPipeline, choose_chunk_frames
from avzoo.pipelines.active_speaker_detection.segments import find_segments, segment_records
from avzoo.pipelines.active_speaker_detection.streaming import LiveScene
from avzoo.records import Records
from avzoo.toyworld.talkers import Talkers
from avzoo.video import FaceTracks, GivenBoxes, Track, Video, VideoReader, crop_track, read_video, write_video
from avzoo.video.sound_chunks import SoundChunks

RATE, PER_FRAME, HEIGHT, WIDTH = 16000, 640, 40, 64
SIZES = {
    "embedding_size": 8,
    "trunk_channels": (4, 4, 6, 8),
    "num_temporal_layers": 1,
    "num_attention_heads": 2,
    "frame_size": 32,
}
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


def saved_model(host: str, folder) -> str:
    """A random network that has no favourite class, and its processor."""
    torch.manual_seed(0)
    if host == "loconet":
        config = avzoo.LoCoNetConfig(
            **SIZES, num_context_layers=1, num_speakers=2, audio_channels=(4, 4, 6, 8), num_mel_bins=16
        )
        model = avzoo.LoCoNetForActiveSpeakerDetection(config)
        processor = ActiveSpeakerProcessor(frame_size=32, num_bins=16, num_speakers=2, durations=(0.6,))
    else:
        config = avzoo.TalkNetConfig(**SIZES, audio_channels=(8, 8, 8, 8), audio_depths=(1, 1, 1, 1))
        model = avzoo.TalkNetForActiveSpeakerDetection(config)
        processor = ActiveSpeakerProcessor(
            "mfcc", crop="lower_face", score="logit", durations=(0.2, 0.4), frame_size=32, num_speakers=1
        )
    torch.nn.init.normal_(model.classifier.weight)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module", params=["loconet", "talknet"])
def either(request, tmp_path_factory):
    folder = saved_model(request.param, tmp_path_factory.mktemp(request.param))
    return transformers.pipeline("active-speaker-detection", model=folder, device="cpu")


@pytest.fixture(scope="module")
def pipe(tmp_path_factory):
    folder = saved_model("loconet", tmp_path_factory.mktemp("loconet"))
    return transformers.pipeline("active-speaker-detection", model=folder, device="cpu")


def noisy_video(num_frames: int, seed: int = 0) -> Video:
    random = np.random.default_rng(seed)
    frames = random.integers(0, 256, (num_frames, HEIGHT, WIDTH, 3), dtype=np.uint8)
    return Video(frames, 25.0, 0.1 * random.standard_normal(num_frames * PER_FRAME).astype(np.float32), RATE)


def saved(video: Video, path, fps: float = 25) -> str:
    sound = None if video.audio is None else video.audio[: round(len(video.frames) / fps * RATE)]
    write_video(path, video.frames, fps, audio=sound, sampling_rate=None if sound is None else RATE)
    return str(path)


def track(track_id: int, first: int, stop: int, left: float = 8.0) -> Track:
    """A face that moves a little to the right."""
    boxes = np.array([left, 4.0, left + 28, 36.0]) + np.arange(stop - first)[:, None] * [0.05, 0, 0.05, 0]
    return Track(track_id, np.arange(first, stop), boxes)


def tracks_of(*tracks: Track, frames: int) -> FaceTracks:
    return FaceTracks(list(tracks), 25.0, WIDTH, HEIGHT, frames)


def by_hand(pipe, video: Video, tracks: list[Track], durations) -> list[np.ndarray]:
    """All of the video at once: whole tracks, each with the sound of its own time."""
    faces = []
    for one in tracks:
        crops = crop_track(video.frames, one, pipe.processor.convention)
        sound = video.audio[one.start_frame * PER_FRAME : one.stop_frame * PER_FRAME]
        rows = pipe.processor.audio_rows(torch.from_numpy(sound), len(one))
        faces.append(FaceTrack(one.start_frame, torch.from_numpy(crops), rows))
    scorer, results = SceneScorer(pipe.model, faces), []
    for index in range(len(faces)):
        logits = scorer.logits(index, durations)
        probable = pipe.processor.score == "probability"
        scores = logits.softmax(-1)[..., 1] if probable else scorer.scores(index, durations)
        results.append(scores.mean(0).numpy())
    return results


def scores_of(records) -> list[np.ndarray]:
    return [np.array(record["scores"]) for record in records]


def all_close(actual, expected) -> None:
    assert [len(scores) for scores in actual] == [len(scores) for scores in expected]
    np.testing.assert_allclose(np.concatenate(actual), np.concatenate(expected), **CLOSE)


# --- scores -----------------------------------------------------------------------------------------------------------


def test_the_pipeline_is_ours(either):
    assert isinstance(either, ActiveSpeakerDetectionPipeline)
    assert isinstance(either.processor, ActiveSpeakerProcessor)


def test_a_scene_is_scored_as_by_hand(either):
    video = noisy_video(70)
    tracks = [track(3, 0, 40), track(5, 30, 70, 30.0), track(9, 33, 34, 2.0)]  # the last for a single frame
    records = either(video, faces=tracks_of(*tracks, frames=70))
    expected = by_hand(either, video, tracks, either.processor.durations)
    all_close(scores_of(records), expected)
    assert np.ptp(expected[0]) > 0.01  # what is compared differs from frame to frame
    assert [record["track_id"] for record in records] == [3, 5, 9]
    for record, one in zip(records, tracks, strict=True):
        assert (record["start"], record["end"]) == (one.start_frame / 25, one.stop_frame / 25)
        assert record["score"] == pytest.approx(np.mean(record["scores"]))
        np.testing.assert_array_equal(record["boxes"], one.boxes)
        assert len(record["speaking"]) == len(one)
        assert record["label"] == ("speaking" if record["segments"] else "not speaking")


def test_long_tracks_are_scored_in_chunks_as_in_one_piece(either, monkeypatch):
    """Chunks of 20 or 15 frames, and sound read in chunks of 32."""
    video = noisy_video(70)
    tracks = [track(0, 4, 70), track(1, 0, 25, 30.0), track(2, 31, 60, 20.0), track(3, 50, 54, 2.0)]
    expected = by_hand(either, video, tracks, either.processor.durations)
    monkeypatch.setattr(active_speaker_detection, "_CHUNK_FRAMES", 20)
    monkeypatch.setattr(SoundChunks, "chunk_frames", 32)
    for batch_size in (3, 50):
        records = either(video, faces=tracks_of(*tracks, frames=70), batch_size=batch_size)
        all_close(scores_of(records), expected)


def test_memory_does_not_grow_with_the_video(pipe, monkeypatch):
    monkeypatch.setattr(active_speaker_detection, "_CHUNK_FRAMES", 15)
    monkeypatch.setattr(SoundChunks, "chunk_frames", 25)
    held, sounds, forget, chunk = [], [], LiveScene.forget, SoundChunks.chunk

    def watched(scene, frame):
        held.append(sum(len(piece) for face in scene.faces for piece in face.pixels.pieces))
        forget(scene, frame)

    def heard(sound, number):
        samples = chunk(sound, number)
        sounds.append(len(sound.chunks))
        return samples

    monkeypatch.setattr(LiveScene, "forget", watched)
    monkeypatch.setattr(SoundChunks, "chunk", heard)
    faces = tracks_of(track(0, 0, 160), track(1, 0, 160, 30.0), frames=160)
    pipe(noisy_video(160), faces=faces)
    # Two faces, a chunk and two blocks of 32 frames each, of which none is cut
    assert max(held) <= 2 * (15 + 2 * 32)
    assert max(sounds) <= 3


def test_how_it_is_computed_changes_nothing(pipe):
    video, faces = noisy_video(45), tracks_of(track(0, 0, 45), track(1, 10, 30, 30.0), frames=45)
    expected = scores_of(pipe(video, faces=faces))
    for options in ({"batch_size": 1}, {"progress": True}, {"durations": (0.6,)}):
        all_close(scores_of(pipe(video, faces=faces, **options)), expected)


def test_the_other_face_is_context(pipe):
    video, one = noisy_video(30), track(0, 0, 30)
    (alone,) = pipe(video, faces=tracks_of(one, frames=30))
    together = pipe(video, faces=tracks_of(one, track(1, 0, 30, 30.0), frames=30))[0]
    assert np.abs(np.subtract(alone["scores"], together["scores"])).max() > 1e-3


def test_twelve_faces_and_one_that_comes_back(pipe):
    video = noisy_video(26)
    tracks = [track(index, index, 8 + index, 3.0 * index) for index in range(12)]
    tracks += [track(12, 0, 5, 20.0), track(13, 17, 26, 20.0)]
    records = pipe(video, faces=tracks_of(*tracks, frames=26))
    all_close(scores_of(records), by_hand(pipe, video, tracks, pipe.processor.durations))


def test_a_frame_that_is_a_face_is_one_track(either, tmp_path):
    path = saved(noisy_video(20), tmp_path / "face.mp4")
    (record,) = either(path, faces="frame")
    assert (record["start"], record["end"]) == (0.0, 0.8)
    assert record["boxes"][7] == [0.0, 0.0, WIDTH, HEIGHT]


def test_boxes_of_a_file_are_faces(pipe, tmp_path):
    lines = [f"{frame},8,4,36,36,{person}" for person in (2, 5) for frame in range(person, person + 12)]
    (tmp_path / "boxes.csv").write_text("\n".join(["frame,x1,y1,x2,y2,track_id", *lines]) + "\n")
    records = pipe(noisy_video(20), faces=tmp_path / "boxes.csv")
    assert [(record["track_id"], record["start"]) for record in records] == [(2, 0.08), (5, 0.2)]


@pytest.fixture(scope="module")
def talkers(tmp_path_factory):
    world = Talkers(1, 3, seconds=0.8, size=[120, 220], situation="conversation", num_faces=2)
    clip = world[0]
    return clip, str(world.write(clip, tmp_path_factory.mktemp("talkers"))[0])


def test_drawn_people_are_found_by_themselves(pipe, talkers):
    clip, path = talkers
    for every in (1, 3):
        records = pipe(path, every=every)
        assert len(records) == 2, every
        for record in records:
            first = round(record["start"] * 25)
            there = clip["boxes"][:, first : first + len(record["boxes"])]
            assert np.abs(there - np.array(record["boxes"])).mean((1, 2)).min() < 8, every
    assert len(pipe(path, every=3, max_faces=1)) == 1


@pytest.mark.parametrize("fps", [24, 29.97, 60])
def test_any_frame_rate_is_brought_to_25(pipe, tmp_path, fps):
    (record,) = pipe(saved(noisy_video(30), tmp_path / "clip.mp4", fps), faces="frame")
    assert record["end"] == pytest.approx(30 / fps, abs=0.021)
    assert len(record["scores"]) == round(record["end"] * 25)


def test_lists_bytes_and_open_files_are_videos_too(pipe, tmp_path):
    paths = [saved(noisy_video(count), tmp_path / f"{count}.mp4") for count in (12, 20)]
    answers = pipe(paths, faces="frame", batch_size=4, return_scores=False)
    assert [answer[0]["end"] for answer in answers] == [0.48, 0.8]
    assert not {"boxes", "scores", "speaking"} & answers[0][0].keys()
    with open(paths[0], "rb") as file:
        expected, of_bytes, of_file = (
            pipe(one, faces="frame") for one in (paths[0], (tmp_path / "12.mp4").read_bytes(), file)
        )
    assert of_bytes == of_file == expected


# --- what can't be heard or seen --------------------------------------------------------------------------------------


def test_silence_is_scored_as_it_is(either):
    video, one = noisy_video(30), track(0, 0, 30)
    silent = Video(video.frames, 25.0, np.zeros_like(video.audio), RATE)
    (record,) = either(silent, faces=tracks_of(one, frames=30))
    assert np.isfinite(record["scores"]).all()
    all_close([np.array(record["scores"])], by_hand(either, silent, [one], either.processor.durations))


def test_where_the_sound_ends_early_silence_follows(either):
    video, faces = noisy_video(40), tracks_of(track(0, 0, 15), track(1, 10, 40), track(2, 30, 40), frames=40)
    cut = Video(video.frames, 25.0, video.audio[: 20 * PER_FRAME], RATE)
    padded = Video(video.frames, 25.0, np.pad(cut.audio, (0, 20 * PER_FRAME)), RATE)
    assert either(cut, faces=faces) == either(padded, faces=faces)


def test_a_video_without_sound_is_refused(pipe, tmp_path):
    path = saved(Video(noisy_video(10).frames, 25.0), tmp_path / "mute.mp4")
    with pytest.raises(ValueError, match=r"`video` \(mute.mp4\) has no sound track, so nobody in it can be heard"):
        pipe(path, faces="frame")


def test_nobody_seen_is_an_empty_answer(pipe):
    assert pipe(noisy_video(20), faces=GivenBoxes(np.zeros(0), np.zeros((0, 4)))) == []


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"every": 0}, ValueError, r"`every` must be at least 1, got 0"),
        ({"batch_size": 2.0}, TypeError, r"`batch_size` must be a whole number, got 2.0"),
        ({"smoothing": 4}, ValueError, r"`smoothing` must be an odd number of frames, got 4"),
        ({"smoothing": None}, TypeError, r"`smoothing` must be a whole number, got None"),
        ({"max_faces": True}, TypeError, r"`max_faces` must be a whole number"),
        ({"threshold": "high"}, TypeError, r"`threshold` must be a number, got 'high'"),
        ({"threshold": float("nan")}, ValueError, r"`threshold` must be finite, got nan"),
        ({"max_gap": -1}, ValueError, r"`max_gap` must be at least 0 seconds, got -1"),
        ({"min_segment": "long"}, TypeError, r"`min_segment` must be a number"),
        ({"durations": 6}, TypeError, r"`durations` must be a list of seconds, got 6"),
        ({"durations": ()}, ValueError, r"`durations` must hold at least one number of seconds, got \(\)"),
        ({"durations": (1, 0.01)}, ValueError, r"`durations` must be at least 0.04 seconds, got 0.01"),
        ({"windows": 3}, TypeError, r"active-speaker-detection has no parameter 'windows'"),
        ({"faces": "everybody"}, ValueError, r"`faces` must be one of drawn, yunet, s3fd, .*got 'everybody'"),
        ({"faces": "s3fd"}, ValueError, r"s3fd needs a model"),
    ],
)
def test_a_parameter_that_cannot_work_is_named(pipe, parameters, error, message):
    with pytest.raises(error, match=message):
        pipe(noisy_video(5), **{"faces": "frame", **parameters})


# --- chunks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("durations", "frames"),
    [
        ((1, 2, 3, 4, 5, 6), 1500),
        ((6,), 1500),
        ((7,), 1400),
        ((0.04,), 1500),
        ((7, 11), 1925),  # the first time at which windows of 7 and of 11 seconds both end
        ((120,), 3000),
        ((1.48, 2.36, 3.16), 18 * 79),  # no common end within ten minutes
    ],
)
def test_windows_end_with_the_chunk(durations, frames):
    assert choose_chunk_frames(durations) == frames


@pytest.mark.parametrize(("first", "stop"), [(0, 30), (7, 8), (9, 21), (29, 30)])
def test_sound_in_chunks_is_that_of_the_whole(monkeypatch, first, stop):
    monkeypatch.setattr(SoundChunks, "chunk_frames", 10)
    video = noisy_video(30)
    sound = SoundChunks(VideoReader(video), RATE, 25, keep=1)
    np.testing.assert_array_equal(sound.between(first, stop), video.audio[first * PER_FRAME : stop * PER_FRAME])
    np.testing.assert_array_equal(sound.between(25, 35)[: 5 * PER_FRAME], video.audio[25 * PER_FRAME :])
    assert not sound.between(25, 35)[5 * PER_FRAME :].any()


# --- segments ---------------------------------------------------------------------------------------------------------

HEARD = np.array([0, 0, 1, 1, 1, 0, 0, 1, 0, 1, 1, 1], float)


def spans(**options) -> list[tuple[float, float]]:
    found = find_segments(HEARD, 0.5, smoothing=1, first_frame=10, **options)
    return [(segment["start"], segment["end"]) for segment in found]


def test_segments_lie_where_scores_reach_the_threshold():
    assert spans() == [(0.48, 0.6), (0.68, 0.72), (0.76, 0.88)]
    assert find_segments(HEARD, 0.5, smoothing=1)[0] == {"start": 0.08, "end": 0.2, "score": 1.0}
    assert find_segments(np.full(4, 0.5), 0.5, smoothing=1) == [{"start": 0.0, "end": 0.16, "score": 0.5}]


def test_short_pauses_are_bridged_and_then_short_segments_dropped():
    assert spans(max_gap=0.04) == [(0.48, 0.6), (0.68, 0.88)]
    assert spans(max_gap=0.08) == [(0.48, 0.88)]
    assert spans(min_duration=0.12) == [(0.48, 0.6), (0.76, 0.88)]
    assert spans(min_duration=0.13) == []
    assert spans(max_gap=0.04, min_duration=0.2) == [(0.68, 0.88)]


def test_the_score_of_a_segment_is_the_mean_of_all_its_frames():
    (segment,) = find_segments(HEARD[2:], 0.5, smoothing=1, max_gap=1.0)
    assert segment["score"] == pytest.approx(0.7)


def test_scores_are_smoothed_before_they_are_compared():
    blink = np.array([1, 1, 1, 0, 1, 1, 1, 1.0])
    assert len(find_segments(blink, 0.5, smoothing=1)) == 2
    assert len(find_segments(blink, 0.5, smoothing=5)) == 1


def test_one_score_or_none_is_a_track_too():
    assert find_segments(np.array([1.0]), 0.5) == [{"start": 0.0, "end": 0.04, "score": 1.0}]
    assert find_segments(np.zeros(0), 0.5) == []


def test_the_threshold_decides(either):
    video = noisy_video(20)
    (record,) = either(video, faces=tracks_of(track(0, 0, 20), frames=20), threshold=-100)
    assert (record["label"], record["speaking"]) == ("speaking", [True] * 20)
    assert record["segments"] == [{"start": 0.0, "end": 0.8, "score": pytest.approx(record["score"])}]
    (record,) = either(video, faces=tracks_of(track(0, 0, 20), frames=20), threshold=100)
    assert (record["label"], record["segments"]) == ("not speaking", [])


# --- what is written --------------------------------------------------------------------------------------------------


def record(track_id: int, start: float, scores: list[float], threshold: float = 0.5) -> dict:
    scores = np.array(scores)
    first = round(start * 25)
    return {
        "track_id": track_id,
        "start": start,
        "end": start + len(scores) / 25,
        "label": "speaking",
        "score": float(scores.mean()),
        "segments": find_segments(scores, threshold, smoothing=1, first_frame=first),
        "boxes": [[8.0, 10.0, 40.0, 36.0]] * len(scores),
        "scores": scores.tolist(),
        "speaking": (scores >= threshold).tolist(),
    }


FACES = [record(4, 0.2, [0.9] * 5 + [0.1] * 5 + [0.7] * 5), record(7, 0.0, [0.2] * 5 + [0.6] * 10)]


def test_segments_become_rttm():
    segments = segment_records(FACES)
    assert [(one["track_id"], one["start"]) for one in segments] == [(4, 0.2), (7, 0.2), (4, 0.6)]
    text = Records("active-speaker-detection", "m", "talk.mp4", "probability", "cpu", "float32", segments).to_rttm()
    assert text.splitlines() == [
        "SPEAKER talk 1 0.200 0.200 <NA> <NA> 4 0.9000 <NA>",
        "SPEAKER talk 1 0.200 0.400 <NA> <NA> 7 0.6000 <NA>",
        "SPEAKER talk 1 0.600 0.200 <NA> <NA> 4 0.7000 <NA>",
    ]


def test_ava_predictions_are_matched_by_the_metric(tmp_path):
    path = write_ava_csv(tmp_path / "scores.csv", FACES, width=80, height=40, video_id="talk")
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert len(rows) == 30
    assert {name: rows[3][name] for name in ("video_id", "frame_timestamp", "entity_id", "score")} == {
        "video_id": "talk",
        "frame_timestamp": "0.32",
        "entity_id": "talk:4",
        "score": "0.9",
    }
    assert [float(rows[0][f"entity_box_{side}"]) for side in ("x1", "y1", "x2", "y2")] == [0.1, 0.25, 0.5, 0.9]
    truth = tmp_path / "truth.csv"
    with truth.open("w", newline="") as file:
        writer = csv.writer(file)
        for number, row in enumerate(rows):
            label = "SPEAKING_AUDIBLE" if number % 2 else "NOT_SPEAKING"
            box = [row[f"entity_box_{side}"] for side in ("x1", "y1", "x2", "y2")]
            writer.writerow([row["video_id"], row["frame_timestamp"], *box, label, row["entity_id"]])
    scores, labels = match_ava(truth, path)
    np.testing.assert_array_equal(scores, [*FACES[0]["scores"], *FACES[1]["scores"]])
    assert labels.tolist() == [0, 1] * 15


def test_the_video_shows_who_speaks_and_keeps_its_sound(tmp_path):
    random = np.random.default_rng(0)
    source = Video(
        np.full((25, 120, 160, 3), 90, np.uint8), 25.0, 0.1 * random.standard_normal(16000).astype("f"), RATE
    )
    face = record(1, 0.2, [0.9] * 10 + [0.1] * 5) | {"boxes": [[20.0, 40.0, 80.0, 100.0]] * 15}
    path = write_scored_video(source, [face], tmp_path / "scored.mp4")
    shown = read_video(path)
    assert shown.frames.shape == (25, 124, 160, 3)  # a line of time of four pixels
    before, speaks, silent = shown.frames[[2, 10, 17], 60:90, 20].mean(1)  # a side of the box
    np.testing.assert_allclose(before, [90, 90, 90], atol=8)
    for colour, wanted, other in ((speaks, SPEAKING_COLOUR, SILENT_COLOUR), (silent, SILENT_COLOUR, SPEAKING_COLOUR)):
        assert np.abs(colour - wanted).sum() < 0.6 * np.abs(colour - other).sum()  # thin lines are half as bright
    assert np.corrcoef(shown.audio[2000:14000], source.audio[2000:14000])[0, 1] > 0.9


def test_faces_that_are_never_there_together_share_a_line():
    faces = [record(0, 0.0, [0.9] * 4), record(1, 0.08, [0.1] * 4), record(2, 0.16, [0.1] * 2 + [0.9] * 2)]
    strips = speaking_strips(faces, 10, 20, 3)
    assert len(strips) == 2
    colours = [tuple(strips[0][1, 2 * frame].tolist()) for frame in range(10)]
    green, red = SPEAKING_COLOUR, SILENT_COLOUR
    assert colours[:8] == [green] * 4 + [red] * 2 + [green] * 2
    assert colours[8] not in (green, red)


def test_the_picture_shows_every_face(tmp_path):
    path = plot_scores(FACES, tmp_path / "scores.png", threshold=0.5, truth=[np.arange(15) < 5, None])
    assert path.read_bytes().startswith(b"\x89PNG")


def test_a_video_of_nobody_is_written_as_it_is(tmp_path):
    video = noisy_video(5)
    shown = read_video(write_scored_video(Video(video.frames, 25.0), [], tmp_path / "scored.mp4"))
    assert shown.frames.shape == video.frames.shape
    assert shown.audio is None


def test_what_cannot_be_written_leaves_nothing(tmp_path):
    bare = [{name: FACES[0][name] for name in ("track_id", "start", "end", "segments")}]
    size = {"width": 80, "height": 40, "video_id": "talk"}
    for write, message in (
        (lambda: write_ava_csv(tmp_path / "a.csv", bare, **size), r"record of face 4 has no scores of frames"),
        (lambda: write_ava_csv(tmp_path / "a.csv", [], **size), r"`predictions` is empty"),
        (lambda: write_scored_video(noisy_video(5), bare, tmp_path / "a.mp4"), r"has no scores of frames"),
        (lambda: write_scored_video(noisy_video(5), FACES, tmp_path / "a.avi"), r"must end in .mp4"),
        (lambda: write_scored_video(noisy_video(5), FACES, tmp_path / "a.mp4"), r"the video has 5 frames"),
        (lambda: plot_scores([], tmp_path / "a.png"), r"there is nothing to draw"),
    ):
        with pytest.raises(ValueError, match=message):
            write()
    broken = [FACES[0] | {"boxes": list(itertools.repeat([1.0, 2.0], 15))}]
    with pytest.raises(ValueError, match=r"`boxes`"):
        write_scored_video(noisy_video(25), broken, tmp_path / "a.mp4")
    assert not list(tmp_path.iterdir())
