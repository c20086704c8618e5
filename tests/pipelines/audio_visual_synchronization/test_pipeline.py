"""`transformers.pipeline("audio-visual-synchronization")`: the offset between voice and lips."""

import numpy as np
import pytest
import torch
import transformers

import avzoo
from avzoo import MTDVocaLiSTConfig, MTDVocaLiSTForSequenceClassification, OffsetScorer, VocaLiSTProcessor
from avzoo.pipelines.audio_visual_synchronization.drawing import plot_offsets
from avzoo.pipelines.audio_visual_synchronization.pipeline import AudioVisualSynchronizationPipeline, iter_audio_windows
from avzoo.pipelines.audio_visual_synchronization.records import (
    describe_offset,
    describe_windows,
    select_most_confident,
)
from avzoo.toyworld.talkers import Talkers
from avzoo.video import FaceTracks, GivenBoxes, Track, Video, write_video
from avzoo.video.reading import VideoReader

RATE, PER_FRAME, SIDE = 16000, 640, 16
NONE = -np.inf


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A random network and its processor."""
    torch.manual_seed(0)
    config = MTDVocaLiSTConfig(
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        conv_channels=(4, 8),
        image_size=(SIDE // 2, SIDE),
        visual_stages=((3, 4, 4, 1, 0), (3, 2, 4, 1, 0)),
        audio_stages=((3, 9, 1, 0), (3, 9, 1, 0)),
    )
    path = tmp_path_factory.mktemp("sync")
    MTDVocaLiSTForSequenceClassification(config).save_pretrained(path)
    VocaLiSTProcessor(face_size=SIDE).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def pipe(folder):
    return transformers.pipeline("audio-visual-synchronization", model=str(folder), device="cpu")


def noisy_video(num_frames: int, seed: int = 0, side: int = SIDE) -> Video:
    random = np.random.default_rng(seed)
    frames = random.integers(0, 256, (num_frames, side, side, 3), dtype=np.uint8)
    return Video(frames, 25.0, 0.1 * random.standard_normal(num_frames * PER_FRAME).astype(np.float32), RATE)


def whole_frames(first: int, stop: int, track_id: int = 0, side: int = SIDE) -> Track:
    return Track(track_id, np.arange(first, stop), np.tile(np.array([0.0, 0.0, side, side]), (stop - first, 1)))


def test_transformers_builds_our_pipeline_and_processor(pipe):
    assert isinstance(pipe, AudioVisualSynchronizationPipeline)
    assert isinstance(pipe.processor, VocaLiSTProcessor)


def test_a_face_gets_offset_confidence_and_windows(pipe):
    (record,) = pipe(noisy_video(40), faces="frame", max_shift=4)
    assert (record["track_id"], record["start"], record["end"]) == (0, 0.0, 1.6)
    assert record["offset_seconds"] == record["offset_frames"] / 25
    assert record["score"] == record["confidence"] > 0
    assert list(record["curve"]) == list(range(-4, 5))
    assert max(record["curve"], key=record["curve"].get) == record["offset_frames"]
    assert len(record["windows"]) == 36
    assert record["windows"][3].keys() == {"start", "end", "offset_frames", "confidence", "logit"}
    assert (record["windows"][3]["start"], record["windows"][3]["end"]) == (0.12, 0.32)


def test_a_video_of_one_face_is_scored_like_its_windows(pipe):
    video = noisy_video(80)  # several blocks of frames
    inputs = pipe.processor(video)
    expected = pipe.model.score_offsets(inputs.pixel_values, inputs.input_features)
    (record,) = pipe(video, faces="frame")
    logits = [window["logit"] for window in record["windows"]]
    np.testing.assert_allclose(logits, expected[:, 15].numpy(), rtol=1e-4, atol=1e-6)
    curve = np.where(expected.isfinite().numpy(), expected.numpy(), np.nan)
    np.testing.assert_allclose(list(record["curve"].values()), np.nanmean(curve, 0)[::-1], rtol=1e-4, atol=1e-6)


def test_a_face_that_comes_later_is_compared_with_the_sound_before_it(pipe):
    video = noisy_video(70)
    tracks = FaceTracks([whole_frames(30, 50)], 25.0, SIDE, SIDE, 70)
    (record,) = pipe(video, faces=tracks, max_shift=10)
    inputs = pipe.processor(video)
    whole = pipe.model.score_offsets(inputs.pixel_values, inputs.input_features, max_shift=10)
    # All that the whole clip has for these windows; for a clip cut out of it, most would be impossible.
    assert whole[30:46].isfinite().all()
    np.testing.assert_allclose(
        list(record["curve"].values()), whole[30:46].mean(0).flip(0).numpy(), rtol=1e-4, atol=1e-6
    )


def test_each_face_gets_its_own_record(pipe):
    video = noisy_video(60, side=2 * SIDE)
    left, right = np.array([0.0, 0, SIDE, SIDE]), np.array([SIDE, SIDE, 2 * SIDE, 2 * SIDE])
    tracks = [Track(4, np.arange(40), np.tile(left, (40, 1))), Track(7, np.arange(20, 60), np.tile(right, (40, 1)))]
    records = pipe(video, faces=FaceTracks(tracks, 25.0, 2 * SIDE, 2 * SIDE, 60))
    assert [(record["track_id"], record["start"], record["end"]) for record in records] == [(4, 0, 1.6), (7, 0.8, 2.4)]
    assert records[0]["curve"] != records[1]["curve"]


def test_scores_do_not_depend_on_batch_size_and_progress(pipe):
    video = noisy_video(45)
    (expected,) = pipe(video, faces="frame")
    for options in ({"batch_size": 1}, {"batch_size": 3}, {"progress": True}):
        curve = list(pipe(video, faces="frame", **options)[0]["curve"].values())
        np.testing.assert_allclose(curve, list(expected["curve"].values()), rtol=1e-4, atol=1e-6, err_msg=str(options))


def test_a_stride_scores_every_nth_window(pipe):
    (every,), (third,) = (pipe(noisy_video(45), faces="frame", stride=stride) for stride in (1, 3))
    assert [window["start"] for window in third["windows"]] == [window["start"] for window in every["windows"][::3]]
    np.testing.assert_allclose(
        [window["logit"] for window in third["windows"]],
        [window["logit"] for window in every["windows"][::3]],
        rtol=1e-4,
        atol=1e-6,
    )


def test_a_list_of_videos_gives_a_list_of_results(pipe, tmp_path):
    paths = [tmp_path / "a.mkv", tmp_path / "b.mkv"]
    for path, count in zip(paths, (20, 30), strict=True):
        video = noisy_video(count)
        write_video(path.with_suffix(".mp4"), video.frames, 25, audio=video.audio, sampling_rate=RATE)
    answers = pipe([str(path.with_suffix(".mp4")) for path in paths], faces="frame", batch_size=4, return_windows=False)
    assert [answer[0]["end"] for answer in answers] == [0.8, 1.2]
    assert "windows" not in answers[0][0]


def test_bytes_and_open_files_are_videos_too(pipe, tmp_path):
    path, video = tmp_path / "clip.mp4", noisy_video(30)
    write_video(path, video.frames, 25, audio=video.audio, sampling_rate=RATE)
    expected = pipe(path, faces="frame")
    assert pipe(path.read_bytes(), faces="frame") == expected
    with path.open("rb") as file:
        assert pipe(file, faces="frame") == expected


@pytest.mark.parametrize("fps", [24, 29.97, 60])
def test_any_frame_rate_is_resampled_to_25(pipe, tmp_path, fps):
    path = tmp_path / "clip.mp4"
    video = noisy_video(30)
    write_video(path, video.frames, fps, audio=video.audio[: round(30 / fps * RATE)], sampling_rate=RATE)
    (record,) = pipe(str(path), faces="frame")
    assert record["end"] == pytest.approx(30 / fps, abs=0.021)


# Faces that can't be compared


def test_a_silent_video_has_no_offset(pipe):
    video = noisy_video(30)
    (record,) = pipe(Video(video.frames, 25.0, np.zeros_like(video.audio), RATE), faces="frame")
    assert (record["label"], record["in_sync"], record["offset_frames"]) == ("unknown", None, None)
    assert record["meaning"] == "no offset: the sound is silent"


def test_a_track_shorter_than_a_window_has_no_offset(pipe):
    tracks = FaceTracks([whole_frames(3, 6), whole_frames(10, 30, 1)], 25.0, SIDE, SIDE, 30)
    short, long = pipe(noisy_video(30), faces=tracks)
    assert short["meaning"] == "no offset: 3 frames, a window needs 5"
    assert long["offset_frames"] is not None


def test_sound_that_ends_early_is_padded_with_silence(pipe):
    video = noisy_video(40)
    cut = Video(video.frames, 25.0, video.audio[: 20 * PER_FRAME], RATE)
    padded = Video(video.frames, 25.0, np.pad(cut.audio, (0, 20 * PER_FRAME)), RATE)
    (first,), (second,) = pipe(cut, faces="frame"), pipe(padded, faces="frame")
    assert first["curve"] == second["curve"]


def test_a_video_without_faces_gives_no_records(pipe):
    boxes = GivenBoxes(np.zeros(0), np.zeros((0, 4)))
    assert pipe(noisy_video(20), faces=boxes) == []


def test_a_video_without_sound_is_refused(pipe, tmp_path):
    write_video(tmp_path / "mute.mp4", noisy_video(20).frames, 25)
    with pytest.raises(ValueError, match=r"`video` \(mute.mp4\) has no sound track"):
        pipe(str(tmp_path / "mute.mp4"), faces="frame")


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"max_shift": 0}, ValueError, r"`max_shift` must be at least 1, got 0"),
        ({"stride": 1.5}, TypeError, r"`stride` must be a whole number, got 1.5"),
        ({"batch_size": 0}, ValueError, r"`batch_size` must be at least 1, got 0"),
        ({"context": None}, TypeError, r"`context` must be a whole number, got None"),
        ({"tolerance": -1}, ValueError, r"`tolerance` must be at least 0"),
        ({"max_faces": True}, TypeError, r"`max_faces` must be a whole number"),
        ({"shift": 3}, TypeError, r"audio-visual-synchronization has no parameter 'shift'"),
        ({"faces": "everybody"}, ValueError, r"`faces` must be one of drawn, yunet, s3fd, .*got 'everybody'"),
        ({"faces": "s3fd"}, ValueError, r"s3fd needs a model"),
    ],
)
def test_an_invalid_parameter_is_refused(pipe, parameters, error, message):
    with pytest.raises(error, match=message):
        pipe(noisy_video(10), **{"faces": "frame", **parameters})


# Sound, block by block


@pytest.mark.parametrize(("first", "stop"), [(0, 60), (7, 60), (11, 43)])
@pytest.mark.parametrize("block_frames", [7, 16, 1000])
def test_audio_windows_read_in_blocks_equal_those_of_the_whole_sound(pipe, first, stop, block_frames):
    video, processor = noisy_video(60), pipe.processor
    whole = processor.audio_windows(processor.log_mel(torch.from_numpy(video.audio)), 56)
    blocks = list(iter_audio_windows(VideoReader(video), processor, first, stop, 60, block_frames))
    windows = torch.cat([block for block, _ in blocks])
    torch.testing.assert_close(windows, whole[first : stop - 4], rtol=1e-4, atol=1e-4)
    assert max(loudest for _, loudest in blocks) <= np.abs(video.audio).max()


def test_a_scorer_keeps_features_of_a_few_windows_only(pipe):
    scorer = OffsetScorer(pipe.model, 3)
    inputs = pipe.processor(noisy_video(100))
    for start in range(0, 96, 8):
        scorer.add(inputs.pixel_values[start : start + 8], inputs.input_features[start : start + 8])
        assert len(scorer._audio) <= 16
        assert len(scorer._video) <= 8


# From scores to records


def scores_with_peak(offset: int, max_shift: int = 3, windows: int = 9, height: float = 2.0) -> np.ndarray:
    scores = np.zeros((windows, 2 * max_shift + 1))
    scores[:, max_shift - offset] = height
    audio = np.arange(windows)[:, None] + np.arange(-max_shift, max_shift + 1)
    return np.where((audio >= 0) & (audio < windows), scores, NONE)


@pytest.mark.parametrize(
    ("offset", "label", "in_sync", "meaning"),
    [
        (0, "in sync", True, "the sound is in time (confidence 2.00, needed 0.00)"),
        (
            1,
            "in sync",
            True,
            "the sound comes 1 frame (0.04 s) early; delay it by 0.04 s to repair (confidence 2.00, needed 0.00)",
        ),
        (
            3,
            "sound early",
            False,
            "the sound comes 3 frames (0.12 s) early; delay it by 0.12 s to repair; the best offset lies at the edge "
            "of the 3 frames that were tried, so it may be a larger one: try a wider shift (`max_shift`) (confidence "
            "2.00, needed 0.00)",
        ),
        (
            -2,
            "sound late",
            False,
            "the sound comes 2 frames (0.08 s) late; advance it by 0.08 s to repair (confidence 2.00, needed 0.00)",
        ),
    ],
)
def test_the_sign_of_the_offset_is_described_in_words(offset, label, in_sync, meaning):
    record = describe_offset(scores_with_peak(offset), tolerance=1, min_confidence=0.0)
    assert (record["label"], record["in_sync"], record["meaning"]) == (label, in_sync, meaning)
    assert (record["offset_frames"], record["confidence"]) == (offset, 2.0)
    assert record["curve"][offset] == 2.0


def test_an_offset_below_min_confidence_is_none():
    record = describe_offset(scores_with_peak(2), tolerance=1, min_confidence=2.5)
    assert (record["label"], record["in_sync"], record["offset_frames"]) == ("unknown", None, None)
    assert record["meaning"] == "offset not reliable: confidence 2.00, needs 2.50"
    assert record["curve"][2] == 2.0


def changing_scores(offsets: list[int], max_shift: int = 15, height: float = 4.0) -> np.ndarray:
    """Windows with an offset each, and noise."""
    scores = np.random.default_rng(0).normal(size=(len(offsets), 2 * max_shift + 1))
    scores[np.arange(len(offsets)), max_shift - np.array(offsets)] += height
    return scores


def test_an_offset_that_jumps_gives_two_segments():
    scores = changing_scores([2] * 250 + [-5] * 250)
    record = describe_offset(scores, tolerance=1, min_confidence=1.0, first_frame=50)
    assert (record["label"], record["in_sync"], record["offset_frames"]) == ("changing", False, None)
    assert [segment["offset_frames"] for segment in record["segments"]] == [2, -5]
    assert [segment["start"] for segment in record["segments"]] == pytest.approx([2, 12], abs=0.1)
    assert [segment["end"] for segment in record["segments"]] == pytest.approx([12, 22], abs=0.1)
    assert record["drift"] is None
    assert record["meaning"].startswith(
        "the offset changes: 2 frames (0.08 s) early from 2.0 s, 5 frames (0.20 s) late from 12.0 s; no one offset"
    )


@pytest.mark.parametrize(("stride", "rate"), [(1, 0.03), (1, -0.02), (3, 0.03)])
def test_a_sound_that_drifts_is_told_by_how_much(stride, rate):
    """The sound gets later by `rate` seconds each second."""
    offsets = [round(6 * np.sign(rate) - rate * stride * index) for index in range(400 // stride)]
    record = describe_offset(changing_scores(offsets), tolerance=1, min_confidence=1.0, stride=stride)
    assert record["drift"] == pytest.approx(rate, rel=0.1)
    slower = "slow" if rate > 0 else "fast"
    assert f"too {slower} by {100 * record['drift'] * np.sign(rate):.1f} %" in record["meaning"]


@pytest.mark.parametrize("height", [4.0, 0.3, 0.0])
def test_an_offset_that_stays_is_one_segment_however_clear_it_is(height):
    record = describe_offset(changing_scores([3] * 400, height=height), tolerance=1, min_confidence=1.0)
    assert record["segments"] == []
    assert record["label"] == ("sound early" if height == 4 else "unknown")


def test_an_unclear_offset_at_the_edge_asks_for_a_wider_shift():
    scores = changing_scores([15] * 100, height=0.5)
    record = describe_offset(scores, tolerance=1, min_confidence=1.0)
    assert record["label"] == "unknown"
    assert "try a wider shift (`max_shift`)" in record["meaning"]


def test_windows_are_averaged_over_their_context():
    scores = scores_with_peak(1, windows=20)
    scores[10] = scores_with_peak(-2, windows=20)[10]  # one that strays
    alone = describe_windows(scores, first_frame=5, stride=1, context=5, window_frames=5)
    averaged = describe_windows(scores, first_frame=5, stride=1, context=15, window_frames=5)
    assert [alone[10]["offset_frames"], averaged[10]["offset_frames"]] == [-2, 1]
    assert (alone[10]["start"], alone[10]["end"]) == (0.6, 0.8)


def test_the_most_confident_record_with_an_offset_is_selected():
    faces = [
        {"offset_frames": 1, "confidence": 0.5},
        {"offset_frames": 3, "confidence": 2.0},
        {"offset_frames": None, "confidence": 9.0},
    ]
    assert select_most_confident(faces) is faces[1]
    assert select_most_confident(faces[2:]) is None


def test_offsets_of_all_faces_are_plotted(pipe, tmp_path):
    tracks = FaceTracks([whole_frames(0, 30), whole_frames(5, 35, 1), whole_frames(0, 3, 2)], 25.0, SIDE, SIDE, 40)
    records = pipe(noisy_video(40), faces=tracks)
    path = plot_offsets(records, tmp_path / "offsets.png")
    assert path.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="`records` has no curve to plot"):
        plot_offsets(records[2:], tmp_path / "nothing.png")
    assert not (tmp_path / "nothing.png").exists()


# The toy checkpoint, on unseen talkers


@pytest.fixture(scope="module")
def sync():
    return transformers.pipeline(
        "audio-visual-synchronization", model=avzoo.toy_checkpoint("mtdvocalist"), device="cpu"
    )


@pytest.mark.parametrize("offset", [-12, 0, 14])
def test_the_toy_checkpoint_finds_a_known_offset(sync, offset):
    clips = Talkers(1, 5, split=f"offset {offset}", seconds=2.0, identities=[72, 96], offset_frames=offset)
    clip = clips[0]
    track = Track(0, np.arange(len(clip["frames"])), clip["boxes"][0])
    height, width = clip["frames"].shape[1:3]
    video = Video(clip["frames"], clip["fps"], clip["audio"], clip["sampling_rate"])
    (record,) = sync(video, faces=FaceTracks([track], 25.0, width, height, len(clip["frames"])), min_confidence=0)
    assert abs(record["offset_frames"] - offset) <= 1
    assert record["in_sync"] == (abs(record["offset_frames"]) <= 1)


@pytest.fixture(scope="module")
def long_talk() -> dict:
    return Talkers(1, 5, split="changes", seconds=20.0, identities=[72, 96])[0]


@pytest.mark.slow
@pytest.mark.parametrize("change", ["none", "jump", "drift"])
def test_the_toy_checkpoint_tells_when_an_offset_jumps_and_when_it_drifts(sync, long_talk, change):
    audio, rate = long_talk["audio"], long_talk["sampling_rate"]
    if change == "jump":  # by 6 frames, in the middle
        audio = np.concatenate([audio[: len(audio) // 2], np.roll(audio, round(0.24 * rate))[len(audio) // 2 :]])
    elif change == "drift":  # played 2 % too slowly
        audio = np.interp(np.arange(len(audio)) / 1.02, np.arange(len(audio)), audio).astype(np.float32)
    height, width = long_talk["frames"].shape[1:3]
    track = Track(0, np.arange(len(long_talk["frames"])), long_talk["boxes"][0])
    faces = FaceTracks([track], 25.0, width, height, len(track))
    (record,) = sync(Video(long_talk["frames"], 25.0, audio, rate), faces=faces)
    if change == "none":
        assert (record["offset_frames"], record["segments"], record["drift"]) == (0, [], None)
    elif change == "jump":
        assert [segment["offset_frames"] for segment in record["segments"]] == [0, -6]
        assert record["segments"][1]["start"] == pytest.approx(10, abs=0.6)
    else:
        assert record["drift"] == pytest.approx(0.02, abs=0.003)
