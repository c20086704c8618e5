"""From a video to tracks and to a video that shows them; faces are bright squares here, found by their brightness."""

import numpy as np
import pytest

from avzoo.video import (
    Detections,
    GivenBoxes,
    find_face_tracks,
    load_tracks,
    probe_video,
    read_video,
    render_face_tracks,
    save_tracks,
    write_video,
)

HEIGHT, WIDTH = 72, 128


def bright_square(frames):
    """A detector: the box around what is brighter than 200."""
    found = []
    for frame in frames:
        rows, columns = np.nonzero(frame.min(-1) > 200)
        found.append(
            Detections([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]], [0.9])
            if len(rows)
            else Detections.none()
        )
    return found


def square_at(x, y, background=30, side=20):
    frame = np.full((HEIGHT, WIDTH, 3), background, np.uint8)
    frame[y : y + side, x : x + side] = 255
    return frame


@pytest.fixture(scope="module")
def moving():
    """40 frames: a square moves right, is hidden for four frames, goes on."""
    frames = [square_at(10 + index, 20) for index in range(40)]
    frames[20:24] = [np.full((HEIGHT, WIDTH, 3), 30, np.uint8)] * 4
    return np.stack(frames)


@pytest.fixture(scope="module")
def film(moving, tmp_path_factory):
    path = tmp_path_factory.mktemp("film") / "square.mp4"
    tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(25600) / 16000).astype(np.float32)
    write_video(path, moving, 25, audio=tone, sampling_rate=16000, lossless=True)
    return path


def test_a_face_is_followed_through_a_gap(film):
    tracks = find_face_tracks(film, bright_square)
    (track,) = tracks.tracks
    assert (tracks.num_frames, tracks.width, tracks.height, tracks.fps) == (40, WIDTH, HEIGHT, 25.0)
    assert tracks.source == "square.mp4"
    assert track.frames.tolist() == list(range(40))
    np.testing.assert_allclose(track.boxes[:, 0], 10 + np.arange(40), atol=0.01)
    assert np.isnan(track.scores[20:24]).all()
    assert (track.scores[:20] == 0.9).all()


def test_every_fifth_frame_is_enough_and_costs_a_fifth():
    frames, looked_at = np.stack([square_at(10 + index, 20) for index in range(40)]), []

    def counting(block):
        looked_at.append(len(block))
        return bright_square(block)

    (track,) = find_face_tracks(frames, counting, every=5, source_fps=25).tracks
    assert sum(looked_at) == 8
    np.testing.assert_allclose(track.boxes[:, 0], 10 + track.frames, atol=0.01)
    assert len(track) >= 35


def test_a_cut_ends_a_track():
    frames = np.stack([square_at(10, 20, 30)] * 30 + [square_at(12, 20, 190)] * 30)
    tracks = find_face_tracks(frames, bright_square, source_fps=25).tracks
    assert [(track.start_frame, track.stop_frame) for track in tracks] == [(0, 30), (30, 60)]


def test_a_video_is_looked_at_at_25_frames_per_second(tmp_path):
    path = tmp_path / "fast.mp4"
    write_video(path, np.stack([square_at(10 + index // 2, 20) for index in range(100)]), 50)
    tracks = find_face_tracks(path, bright_square)
    assert tracks.num_frames == 50
    assert len(tracks.tracks[0]) == 50


def test_a_video_without_faces_has_no_tracks():
    frames = np.full((30, HEIGHT, WIDTH, 3), 30, np.uint8)
    tracks = find_face_tracks(frames, bright_square, source_fps=25)
    assert tracks.tracks == []
    assert tracks.num_frames == 30


def test_given_boxes_need_no_detector(moving):
    boxes = GivenBoxes(np.arange(15), np.tile([5.0, 5, 30, 30], (15, 1)))
    (track,) = find_face_tracks(moving, boxes, source_fps=25).tracks
    assert track.frames.tolist() == list(range(15))
    late = GivenBoxes(np.array([99]), np.array([[5.0, 5, 30, 30]]))
    with pytest.raises(ValueError, match="given boxes reach to frame 99, but the video has 40 frames"):
        find_face_tracks(moving, late, source_fps=25)


def test_of_more_faces_than_asked_the_largest_stay():
    def two(frames):
        return [Detections([[0, 0, 10, 10], [40, 20, 90, 70]], [0.5, 0.6]) for _ in frames]

    frames = np.zeros((20, HEIGHT, WIDTH, 3), np.uint8)
    (track,) = find_face_tracks(frames, two, max_faces=1, source_fps=25).tracks
    assert track.boxes[0].tolist() == [40, 20, 90, 70]


@pytest.mark.parametrize(
    ("options", "message"),
    [({"every": 0}, "`every` must be at least 1, got 0"), ({"max_faces": 0}, "`max_faces` must be at least 1, got 0")],
)
def test_a_wrong_number_is_refused(moving, options, message):
    with pytest.raises(ValueError, match=message):
        find_face_tracks(moving, bright_square, source_fps=25, **options)


def test_a_rendered_video_shows_the_boxes_and_keeps_the_sound(film, tmp_path):
    tracks = find_face_tracks(film, bright_square)
    save_tracks(tmp_path / "tracks.json", tracks)
    path = render_face_tracks(film, load_tracks(tmp_path / "tracks.json"), tmp_path / "out.mp4")
    video, original = read_video(path), read_video(film)
    assert len(video.frames) == 40
    assert video.frames.shape[1] > HEIGHT  # timeline and waveform below
    assert video.frames.shape[2] == WIDTH
    changed = np.abs(video.frames[5, :HEIGHT].astype(int) - original.frames[5]).max(-1)
    assert changed[20:40, 14:16].max() > 60  # the left edge of the box
    common = min(len(video.audio), len(original.audio))
    assert np.corrcoef(video.audio[:common], original.audio[:common])[0, 1] > 0.99
    assert probe_video(path).sampling_rate == 16000


def test_a_video_without_sound_and_without_faces_is_rendered_too(tmp_path):
    write_video(tmp_path / "mute.mp4", np.full((5, HEIGHT, WIDTH, 3), 90, np.uint8), 25)
    tracks = find_face_tracks(tmp_path / "mute.mp4", bright_square)
    video = read_video(render_face_tracks(tmp_path / "mute.mp4", tracks, tmp_path / "out.mp4"))
    assert video.frames.shape == (5, HEIGHT, WIDTH, 3)
    assert video.audio is None


def test_tracks_of_another_video_are_refused(film, tmp_path):
    tracks = find_face_tracks(np.zeros((5, 10, 10, 3), np.uint8), bright_square, source_fps=25)
    with pytest.raises(ValueError, match="`tracks` are of a video of 10 x 10 pixels, this one has 128 x 72"):
        render_face_tracks(film, tracks, tmp_path / "out.mp4")
    assert not list(tmp_path.iterdir())


def test_a_still_gives_its_face(moving):
    (track,) = find_face_tracks(moving[:1], bright_square, source_fps=25).tracks
    assert (track.start_frame, track.stop_frame) == (0, 1)


def test_faces_seen_too_briefly_are_told(moving):
    shown = moving.copy()
    shown[5:] = 30
    with pytest.warns(
        UserWarning, match="faces were seen 5 times in 40 frames, but none for long enough: a track needs"
    ):
        tracks = find_face_tracks(shown, bright_square, source_fps=25)
    assert tracks.tracks == []
