"""Videos whose frames tell their number and whose sound tells its time, by a model whose maps are done by hand."""

import itertools
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from avzoo.pipelines.sound_source_localization.drawing import draw_answer, draw_answers, write_heat_video
from avzoo.pipelines.sound_source_localization.windows import WindowedVideo
from avzoo.video import Video, VideoReader, read_video, write_video

sys.path.insert(0, str(Path(__file__).parent))  # colour_model.py lies beside this file
from colour_model import RATE, green_sound, make_picture, make_pipeline, red_sound

CLIP = 3 * RATE


def make_video(seconds: float, fps: float = 10, audio: np.ndarray | None = None, side: int = 16) -> Video:
    """Frame i has red and green of the value i in its first cell; the sound is red unless it is given."""
    frames = np.zeros((round(seconds * fps), side, side, 3), np.uint8)
    frames[:, : side // 4, : side // 4, :2] = np.arange(len(frames))[:, None, None, None]
    return Video(frames, fps, red_sound(seconds) if audio is None else audio, RATE)


def frame_numbers(records) -> list[int]:
    """The frame that each record is of, by its confidence under red sound."""
    return [round(record["score"] * 255) for record in records]


def find_windows(video: Video, **options) -> list[tuple[int, np.ndarray]]:
    """(first sample, sound) of each frame that is looked at."""
    windowed = WindowedVideo(VideoReader(video), options.get("frames_per_second", 10), RATE, CLIP)
    return [
        (frame.first_sample, windowed.read_window(frame.first_sample)) for frame in windowed.iterate(lambda frame: None)
    ]


def test_every_kth_frame_is_looked_at_and_its_times_are_those_of_the_video():
    records = make_pipeline()(make_video(5.0), frames_per_second=2, smoothing=1)
    assert frame_numbers(records) == list(range(0, 50, 5))
    assert [record["start"] for record in records] == [0.5 * number for number in range(10)]
    assert [record["end"] for record in records] == [0.5 * number for number in range(1, 11)]


@pytest.mark.parametrize(("wanted", "step"), [(10, 1), (25, 1), (4, 3), (3.4, 3), (0.1, 100)])
def test_k_is_the_nearest_whole_number(wanted, step):
    records = make_pipeline()(make_video(4.0), frames_per_second=wanted, smoothing=1)
    assert frame_numbers(records) == list(range(0, 40, step))
    assert records[-1]["end"] == 4.0


def test_frames_are_looked_at_across_the_blocks_they_are_read_in():
    records = make_pipeline()(make_video(13.0), frames_per_second=1, smoothing=1)  # blocks of 32 frames
    assert frame_numbers(records) == list(range(0, 130, 10))


def test_a_window_has_its_frame_in_the_middle():
    clicks = np.zeros(8 * RATE, np.float32)
    clicks[::100] = np.arange(80) / 100  # one at each frame
    for number, (_, sound) in enumerate(find_windows(make_video(8.0, audio=clicks))):
        if 15 <= number <= 65:
            assert sound[CLIP // 2] == np.float32(number / 100)


def test_windows_at_the_ends_are_moved_into_the_video():
    video = make_video(8.0, audio=np.linspace(-0.5, 0.5, 8 * RATE, dtype=np.float32))
    found = find_windows(video)
    firsts = [first for first, _ in found]
    assert firsts[:17] == [0] * 16 + [100]
    assert firsts[-16:] == [4900] + [5000] * 15
    for first, sound in found:
        np.testing.assert_array_equal(sound, video.audio[first : first + CLIP])


def test_in_a_short_video_the_sound_is_repeated():
    video = make_video(0.5, audio=np.linspace(0, 0.5, 500, dtype=np.float32))
    found = find_windows(video)
    assert [first for first, _ in found] == [0] * 5
    np.testing.assert_array_equal(found[0][1], np.tile(video.audio, 6))


def test_sound_after_the_last_frame_is_not_heard_and_missing_sound_is_zero():
    video = make_video(4.0, audio=red_sound(9.0))
    assert [first for first, _ in find_windows(video)][-1] == 1000
    video = make_video(8.0, audio=red_sound(2.0))
    sounds = [sound for _, sound in find_windows(video)]
    assert not sounds[40].any()  # 2.5 to 5.5 s
    np.testing.assert_array_equal(sounds[25][:1000], red_sound(1.0))  # 1 to 4 s
    assert not sounds[25][1000:].any()


def test_windows_beyond_a_chunk_of_sound_are_the_same_samples():
    draw = np.random.default_rng(0).uniform(-0.5, 0.5, 130 * RATE).astype(np.float32)
    video = make_video(130.0, fps=1, audio=draw)
    for first, sound in find_windows(video, frames_per_second=1):
        np.testing.assert_array_equal(sound, draw[first : first + CLIP])


def test_each_window_is_encoded_once():
    pipe = make_pipeline()
    records = pipe(make_video(6.0), batch_size=4)
    assert len(records) == 20  # each third frame
    assert sum(pipe.model.batches["image"]) == 20
    # Frames 0 to 15 share the first window, those from 45 on the last.
    assert sum(pipe.model.batches["audio"]) == len({max(0, min(30, 3 * number - 15)) for number in range(20)})


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_the_batch_size_changes_nothing(batch_size):
    video = make_video(6.0, audio=np.concatenate([red_sound(2.0), green_sound(4.0)]))
    assert make_pipeline()(video, batch_size=batch_size) == make_pipeline()(video)


def test_the_place_follows_the_sound():
    audio = np.concatenate([red_sound(6.0), green_sound(6.0)])
    video = Video(np.stack([make_picture()] * 48), 4, audio, RATE)
    records = make_pipeline(confidence_threshold=0.6)(video, smoothing=1)
    # Red is three quarters of what is heard at 5.25 s, and half of it at 6 s.
    for record in records:
        share = np.clip((7.5 - record["start"]) / 3, 0, 1)
        assert record["score"] == pytest.approx(max(share, 1 - share), abs=1e-6)
        assert record["sounds"] == (max(share, 1 - share) >= 0.6)
        if share != 0.5:
            assert record["peak"] == ((8, 8) if share > 0.5 else (56, 40))
        assert record["label"] == ("sounding" if record["sounds"] else "not sounding")
        assert (record["box"] is not None) == record["sounds"]


def test_smoothing_averages_maps_and_confidences_of_neighbours():
    plain = make_pipeline()(make_video(6.0), frames_per_second=10, smoothing=1, return_maps=True)
    smooth = make_pipeline()(make_video(6.0), frames_per_second=10, smoothing=5, return_maps=True)
    for number, record in enumerate(smooth):
        near = plain[max(0, number - 2) : number + 3]
        assert record["score"] == pytest.approx(np.mean([one["score"] for one in near]), abs=1e-6)
        expected = np.mean([one["similarity"] for one in near], axis=0)
        np.testing.assert_allclose(record["similarity"], expected, atol=1e-6)


def test_smoothing_over_more_frames_than_there_are_averages_all():
    records = make_pipeline()(make_video(1.0), frames_per_second=10, smoothing=99)
    assert {round(record["score"] * 255, 3) for record in records} == {4.5}


def test_silence_is_told_and_not_mixed_into_its_neighbours():
    audio = np.concatenate([red_sound(3.0), np.zeros(6 * RATE, np.float32)])
    video = Video(np.stack([make_picture()] * 36), 4, audio, RATE)
    smooth = make_pipeline(confidence_threshold=0.0)(video, smoothing=3)
    plain = make_pipeline(confidence_threshold=0.0)(video, smoothing=1)
    labels = [record["label"] for record in smooth]
    assert labels == ["sounding"] * 18 + ["silent"] * 18  # from 4.5 s on the window begins after the sound
    assert smooth[17]["score"] == pytest.approx((plain[16]["score"] + plain[17]["score"]) / 2)
    assert [record["sounds"] for record in smooth[18:]] == [False] * 18
    assert {record["box"] for record in smooth[18:]} == {None}


def test_objectness_is_mixed_into_the_place_of_a_video():
    frames = np.stack([make_picture()] * 8)
    frames[:, 48:, :16, 2] = 255
    video = Video(frames, 4, red_sound(2.0), RATE)
    record = make_pipeline(use_objectness=True)(video, objectness=True)[0]
    assert record["peak"][1] >= 48
    assert record["score"] == pytest.approx(1)
    assert "objectness" not in record


def test_records_come_while_the_video_is_read():
    pipe = make_pipeline()
    records = pipe.stream(make_video(200.0, fps=1), frames_per_second=1, batch_size=2)
    first = list(itertools.islice(records, 3))
    assert [record["start"] for record in first] == [0, 1, 2]
    assert pipe.processor.pictures <= 32 + 1
    assert "similarity" in first[0]


def test_memory_does_not_grow_with_the_length():
    def measure(seconds: int) -> int:
        frame, sound = np.zeros((64, 64, 3), np.uint8), red_sound(seconds)
        video = Video([frame] * (4 * seconds), 4, sound, RATE)
        pipe = make_pipeline()
        pipe(video)
        tracemalloc.start()
        for _ in pipe.stream(video):
            pass
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    assert measure(240) < measure(60) + 2_000_000


def test_a_video_shorter_than_a_tenth_of_a_second_is_refused():
    with pytest.raises(ValueError, match=r"`video` is too short: 0\.080 s, at least 0\.1 s of sound"):
        make_pipeline()(make_video(0.08, fps=25))


def test_a_list_of_videos_gives_a_list_of_lists():
    first, second = make_pipeline()([make_video(1.0), make_video(2.0)], frames_per_second=10, smoothing=1)
    assert (len(first), len(second)) == (10, 20)


def test_several_videos_are_not_rendered_into_one(tmp_path):
    with pytest.raises(ValueError, match="`render` is for one video, got a list of 2"):
        make_pipeline()([make_video(1.0), make_video(2.0)], render=tmp_path / "x.mp4")


def test_what_streams_is_not_rendered_too(tmp_path):
    with pytest.raises(ValueError, match="`render` belongs to a call of the pipeline"):
        make_pipeline().stream(make_video(1.0), render=tmp_path / "x.mp4")


# Drawing.


def test_the_heat_is_drawn_over_every_frame_and_the_sound_stays(tmp_path):
    audio = np.concatenate([red_sound(3.0), np.zeros(5 * RATE, np.float32)])
    video = Video(np.full((80, 96, 96, 3), 90, np.uint8), 10, np.repeat(audio, 16), 16 * RATE)
    video.frames[:, 72:, 72:, 0] = 150
    write_video(tmp_path / "in.mp4", video.frames, 10, audio=video.audio, sampling_rate=16 * RATE)
    pipe = make_pipeline(confidence_threshold=0.05)
    records = pipe(str(tmp_path / "in.mp4"), render=tmp_path / "out.mp4")
    assert "similarity" not in records[0]
    drawn = read_video(tmp_path / "out.mp4")
    assert drawn.frames.shape == video.frames.shape
    assert drawn.audio is not None
    before = read_video(tmp_path / "in.mp4").frames.astype(int)
    changed = np.abs(drawn.frames.astype(int) - before)[:, 80:94, 80:94].mean((1, 2, 3))
    heard = np.array([record["sounds"] for record in records])
    shown = np.repeat(heard, 3)[:80]  # each record is of three frames
    assert heard.any()
    assert not heard.all()
    assert (changed[shown] > 10).all()
    assert (changed[~shown] < 3).all()


def test_records_of_a_stream_are_drawn_as_they_come(tmp_path):
    video, pipe = make_video(2.0, side=64), make_pipeline()
    write_heat_video(video, pipe.stream(video), tmp_path / "a.mp4")
    write_heat_video(video, pipe(video, return_maps=True), tmp_path / "b.mp4")
    pipe(video, render=tmp_path / "c.mp4")
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes() == (tmp_path / "c.mp4").read_bytes()


def test_records_without_maps_are_refused(tmp_path):
    video = make_video(1.0, side=64)
    with pytest.raises(ValueError, match="`records` have no maps; pass return_maps=True"):
        write_heat_video(video, make_pipeline()(video), tmp_path / "x.mp4")
    assert list(tmp_path.iterdir()) == []


def test_an_answer_is_drawn_with_heat_unless_nothing_sounds():
    picture = make_picture(side=128)
    for threshold, is_hot in ((0.5, True), (2.0, False)):
        answer = make_pipeline(confidence_threshold=threshold)(
            {"image": picture, "audio": green_sound()}, return_boxes=True
        )
        drawn = draw_answer(picture, answer, "frog")
        assert drawn.shape == picture.shape
        assert (drawn[70:90, 100:120] != picture[70:90, 100:120]).any() == is_hot


def test_several_answers_lie_side_by_side():
    picture = make_picture()
    answers = make_pipeline()({"image": picture, "audio": [red_sound(), green_sound()]})
    assert draw_answers(picture, answers, ["a", "b"]).shape == (72, 140, 3)


def test_the_video_itself_is_not_rendered_over(tmp_path):
    write_video(tmp_path / "in.mp4", make_video(1.0, side=64).frames, 10, audio=red_sound(1.0), sampling_rate=RATE)
    before = (tmp_path / "in.mp4").read_bytes()
    with pytest.raises(ValueError, match=r"`render` \(.*in\.mp4\) is the video itself; name another file"):
        make_pipeline()(str(tmp_path / "in.mp4"), render=str(tmp_path / "in.mp4"))
    assert (tmp_path / "in.mp4").read_bytes() == before
