"""A scene scored with kept features against the plain way: each window as a clip of its own, through the model."""

import pytest
import torch
from contract.tiny import tiny_model
from contract.tiny.entry import fill_weights

from avzoo import LoCoNetForActiveSpeakerDetection, TalkNetForActiveSpeakerDetection, zoo
from avzoo.models.talknce.scenes import FaceTrack, SceneScorer

ROW = zoo.find_row("talknce")
CLOSE = {"rtol": 1e-4, "atol": 1e-4}
DURATIONS = (0.12, 0.4, 4)  # of 3, 10 and 100 frames, the last longer than every track

# First frame and length of each face: one from the start, one that comes and goes, a short one, a single frame, and
# one that is there to the end.
SPANS = ((0, 13), (4, 5), (11, 2), (6, 1), (3, 13))


def network(model_class=LoCoNetForActiveSpeakerDetection, **fields):
    model = tiny_model(ROW, model_class, **fields)
    fill_weights(model)
    return model


def scene(model, spans=SPANS) -> list[FaceTrack]:
    draw = torch.Generator().manual_seed(0)
    return [
        FaceTrack(
            start,
            torch.randint(1, 256, (frames, 32, 32), dtype=torch.uint8, generator=draw),
            torch.randn(4 * frames, model.num_bins, generator=draw),
        )
        for start, frames in spans
    ]


@torch.no_grad()
def plainly(model, tracks: list[FaceTrack], order, target: int, start: int, stop: int) -> torch.Tensor:
    """One window of the scene as a clip: faces that are missing in a frame are black there."""
    track = tracks[target]
    faces = torch.zeros(len(order), stop - start, 32, 32, dtype=torch.uint8)
    for row, index in enumerate(order):
        for frame in range(start, stop):
            if tracks[index].start <= frame < tracks[index].stop:
                faces[row, frame - start] = tracks[index].pixel_values[frame - tracks[index].start]
    rows = track.input_features[4 * (start - track.start) : 4 * (stop - track.start)]
    return model(pixel_values=faces[None], input_features=rows[None]).logits[0, 0, :, 1]


def check(model, tracks: list[FaceTrack], targets, durations=DURATIONS, **options) -> None:
    scorer = SceneScorer(model, tracks, **options)
    for target in targets:
        track = tracks[target]
        scores = scorer.scores(target, durations)
        assert scores.shape == (len(durations), len(track.pixel_values))
        for row, duration in zip(scores, durations, strict=True):
            length = round(duration * 25)
            for start in range(track.start, track.stop, length):
                stop = min(start + length, track.stop)
                order = scorer.context(target, start, stop)
                expected = plainly(model, tracks, order, target, start, stop)
                torch.testing.assert_close(row[start - track.start : stop - track.start], expected, **CLOSE)


@pytest.mark.parametrize("join", [False, True])
def test_talknet_scores_each_window_as_a_clip(join):
    model = network(TalkNetForActiveSpeakerDetection, join_tracks=join)
    check(model, scene(model), range(5))


@pytest.mark.parametrize(
    ("num_speakers", "num_faces", "join"),
    [(1, 2, False), (2, 1, True), (2, 5, False), (2, 5, True), (3, 1, False), (3, 2, True), (3, 5, False)],
)
def test_loconet_scores_each_window_as_a_clip(num_speakers, num_faces, join):
    model = network(num_speakers=num_speakers, join_tracks=join)
    check(model, scene(model, SPANS[:num_faces]), range(num_faces))


@pytest.mark.parametrize("batch_size", [1, 7])
def test_memory_may_be_bounded(batch_size):
    """Tracks in pieces, windows in several batches."""
    model = network(num_speakers=2)
    check(model, scene(model), (0, 3), durations=(0.12, 4), batch_size=batch_size)


@pytest.mark.parametrize("model_class", [LoCoNetForActiveSpeakerDetection, TalkNetForActiveSpeakerDetection])
def test_windows_may_be_one_or_two_frames_long(model_class):
    model = network(model_class, num_speakers=3)
    check(model, scene(model), (1,), durations=(0.04, 0.08))


def test_every_frame_of_a_face_is_looked_at_once(monkeypatch):
    model = network(num_speakers=3)
    tracks, looked = scene(model, ((0, 25), (8, 9), (22, 3), (12, 1), (5, 26))), []
    trunk = model.visual.run_trunk

    def counted(hidden_states):
        looked.append(hidden_states.shape[0] * hidden_states.shape[2])
        return trunk(hidden_states)

    monkeypatch.setattr(model.visual, "run_trunk", counted)
    scorer = SceneScorer(model, tracks)
    assert sum(looked) == sum(len(track.pixel_values) + 4 for track in tracks)
    looked.clear()
    durations = (0.4, 1.2)
    for target in range(5):
        scorer.scores(target, durations)
    windows = sum(-(-len(track.pixel_values) // length) for track in tracks for length in (10, 30))
    assert sum(looked) <= 4 * 3 * windows + 1  # two frames at each end of three faces; and one missing face


@torch.no_grad()
def test_scores_stay_near_in_half_precision():
    model = network(num_speakers=2)
    exact = SceneScorer(model, scene(model)).scores(0, (0.4, 4))
    half = SceneScorer(model.to(torch.bfloat16), scene(model)).scores(0, (0.4, 4))
    assert half.dtype == torch.float32
    assert torch.linalg.vector_norm(half - exact) < 0.1 * torch.linalg.vector_norm(exact)


# --- who is whose context ---------------------------------------------------------------------------------------------


def context(spans, start: int, stop: int, num_speakers: int = 3, target: int = 0) -> list[int]:
    model = network(num_speakers=num_speakers)
    return SceneScorer(model, scene(model, spans)).context(target, start, stop)


def test_those_who_are_there_longest_are_the_context():
    spans = ((0, 20), (8, 6), (2, 16), (5, 10))  # 6, 16 and 10 frames of the clip
    assert context(spans, 0, 20) == [0, 2, 3]
    assert context(spans, 0, 20, num_speakers=4) == [0, 2, 3, 1]
    assert context(spans, 0, 20, num_speakers=2) == [0, 2]
    assert context(spans, 0, 20, num_speakers=1) == [0]
    assert context(spans, 0, 20, target=1) == [1, 0, 2]


def test_only_the_frames_of_the_clip_count():
    spans = ((0, 40), (8, 4), (11, 29))  # of frames 8 to 15: 4 and 4, and the lower index goes first
    assert context(spans, 8, 15) == [0, 1, 2]
    assert context(spans, 8, 16) == [0, 2, 2]  # frame 12 is the middle, and the first of them has left
    spans = ((0, 40), (11, 29), (8, 4))
    assert context(spans, 8, 15) == [0, 1, 2]


def test_a_context_must_be_there_in_the_middle_frame():
    spans = ((0, 20), (0, 10), (10, 10), (11, 9))
    assert context(spans, 0, 20) == [0, 2, 2]  # the middle of 20 frames is frame 10
    assert context(spans, 0, 19) == [0, 1, 1]  # and of 19 frame 9


def test_too_few_are_repeated_in_turn():
    spans = ((0, 10), (0, 9), (0, 8))
    assert context(spans, 0, 10, num_speakers=5) == [0, 1, 2, 1, 2]
    assert context(spans[:1], 0, 10) == [0, 0, 0]
    assert context(((0, 10), (12, 5)), 0, 10) == [0, 0, 0]  # the other one is not there


# --- what is refused --------------------------------------------------------------------------------------------------


def test_a_duration_of_no_frame_is_named():
    model = network()
    with pytest.raises(ValueError, match=r"`durations` must be at least a frame long, 0\.04 s, got 0\.01"):
        SceneScorer(model, scene(model)).scores(0, (1, 0.01))


@pytest.mark.parametrize(
    ("pixels", "rows", "message"),
    [
        ((0, 32, 32), (0, 16), r"`tracks\[1\]`: `pixel_values` must be .* at least one frame, got \(0, 32, 32\)"),
        ((4, 3, 32, 32), (16, 16), r"`tracks\[1\]`: `pixel_values` must be \(frames, rows, columns\)"),
        ((4, 32, 32), (15, 16), r"`tracks\[1\]`: `input_features` must be \(16, 16\) for 4 frames, got \(15, 16\)"),
        ((4, 32, 32), (16, 13), r"`tracks\[1\]`: `input_features` must be \(16, 16\) for 4 frames, got \(16, 13\)"),
    ],
)
def test_a_track_that_does_not_fit_is_named(pixels, rows, message):
    model = network()
    broken = FaceTrack(0, torch.zeros(pixels, dtype=torch.uint8), torch.zeros(rows))
    with pytest.raises(ValueError, match=message):
        SceneScorer(model, [*scene(model, SPANS[:1]), broken])
