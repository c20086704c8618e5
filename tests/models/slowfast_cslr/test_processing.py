"""The processor: frames of any shape, padding, rates, folders of frames, vocabularies."""

import numpy as np
import pytest
import torch
from PIL import Image

from avzoo import SlowFastSignProcessor
from avzoo.models.slowfast_cslr.processing_slowfast_cslr import cut_to_ratio, shrink
from avzoo.video import write_video
from avzoo.video.resizing import resize_lanczos_as_opencv

GLOSSES = ["MORGEN", "REGEN", "loc-NORD"]


def draw_frames(frames: int, rows: int, columns: int) -> np.ndarray:
    return np.random.default_rng(frames).integers(256, size=(frames, rows, columns, 3), dtype=np.uint8)


def test_a_clip_is_padded_by_its_first_and_last_frames():
    inputs = SlowFastSignProcessor().pad([np.arange(1, 6, dtype=np.uint8).reshape(5, 1, 1, 1)])
    assert inputs["pixel_values"].flatten().tolist() == [1] * 7 + [2, 3, 4] + [5] * 10
    assert "attention_mask" not in inputs


def test_shorter_clips_of_a_batch_are_marked():
    inputs = SlowFastSignProcessor().pad([np.zeros((length, 1, 1, 3), np.uint8) for length in (5, 20)])
    assert inputs["attention_mask"].sum(1).tolist() == [20, 32]


def test_frames_of_the_training_shape_are_squeezed_and_cut():
    frames = draw_frames(2, 260, 210)
    expected = resize_lanczos_as_opencv(frames, 256, 256)[:, 16:240, 16:240]
    for ratio in (None, 210 / 260):
        assert np.array_equal(SlowFastSignProcessor(aspect_ratio=ratio).prepare_frames(frames), expected)


def test_frames_that_are_squares_already_are_only_cut():
    frames = draw_frames(1, 256, 256)
    processor = SlowFastSignProcessor(aspect_ratio=210 / 260)
    assert np.array_equal(processor.prepare_frames(frames), frames[:, 16:240, 16:240])


def test_other_shapes_are_cut_to_that_of_training():
    frames = draw_frames(1, 260, 500)
    middle = cut_to_ratio(frames, 210 / 260)
    assert np.array_equal(middle, frames[:, :, 145:355])
    tall = cut_to_ratio(draw_frames(1, 500, 210), 210 / 260)
    assert tall.shape == (1, 260, 210, 3)


def test_large_frames_are_averaged_before_the_filter():
    """A pattern of single pixels is grey from afar; the filter alone would keep a part of it."""
    frames = np.zeros((1, 1024, 1024, 3), np.uint8)
    frames[:, ::2, ::2] = frames[:, 1::2, 1::2] = 255
    assert shrink(frames, 256).shape == (1, 512, 512, 3)
    prepared = SlowFastSignProcessor().prepare_frames(frames)
    assert prepared.min() >= 127
    assert prepared.max() <= 128


def test_a_half_size_square_is_left_to_the_filter_as_in_the_data_sets():
    frames = draw_frames(1, 512, 512)
    assert shrink(frames, 256) is frames


@pytest.mark.parametrize("fps", [12.5, 25, 50])
def test_a_video_is_brought_to_25_frames_per_second(fps, tmp_path):
    write_video(tmp_path / "clip.mp4", draw_frames(int(2 * fps), 64, 64), fps)
    inputs = SlowFastSignProcessor(resize_size=32, crop_size=28)(videos=str(tmp_path / "clip.mp4"))
    assert inputs.pixel_values.shape == (1, 52 + 12, 3, 28, 28)


@pytest.fixture
def folder(tmp_path):
    """Frames whose names have numbers of several lengths."""
    for number in range(1, 13):
        Image.fromarray(np.full((8, 8, 3), 20 * number, np.uint8)).save(tmp_path / f"frame{number}.png")
    return tmp_path


def test_a_folder_of_frames_is_read_in_the_order_of_its_numbers(folder):
    frames = SlowFastSignProcessor(resize_size=8, crop_size=8).read_frames(folder)
    assert frames[:, 0, 0, 0].tolist() == [20 * number for number in range(1, 13)]


def test_a_folder_of_another_rate_is_brought_to_25_frames_per_second(folder):
    frames = SlowFastSignProcessor(resize_size=8, crop_size=8).read_frames(folder, source_fps=50)
    assert len(frames) == 6


def test_a_grey_picture_is_a_video_of_one_frame(tmp_path):
    Image.fromarray(np.full((40, 30), 99, np.uint8)).save(tmp_path / "one.png")
    inputs = SlowFastSignProcessor(resize_size=32, crop_size=32)(videos=tmp_path / "one.png")
    assert inputs.pixel_values.shape == (1, 16, 3, 32, 32)
    assert inputs.pixel_values.unique().tolist() == [99]


def test_several_videos_and_their_sentences_make_a_batch():
    processor = SlowFastSignProcessor(glosses=GLOSSES, resize_size=32, crop_size=32)
    inputs = processor(videos=[draw_frames(5, 32, 32), draw_frames(9, 32, 32)], text=["REGEN", "MORGEN  loc-NORD"])
    assert inputs.pixel_values.shape == (2, 24, 3, 32, 32)
    assert inputs.labels.tolist() == [[2, -100], [1, 3]]


def test_settings_and_vocabulary_come_back_from_a_folder(tmp_path):
    SlowFastSignProcessor(glosses=GLOSSES, crop_size=200, top_rows=40).save_pretrained(tmp_path)
    loaded = SlowFastSignProcessor.from_pretrained(tmp_path)
    assert (loaded.glosses, loaded.crop_size, loaded.top_rows) == (GLOSSES, 200, 40)
    assert loaded.encode_glosses("loc-NORD") == [3]


def test_a_gloss_that_is_not_known_is_named_with_similar_ones():
    processor = SlowFastSignProcessor(glosses=GLOSSES)
    with pytest.raises(ValueError, match="`text` hold 'REGNE', which the vocabulary of 3 glosses lacks; similar are "):
        processor(text="MORGEN REGNE")
    assert processor.encode_glosses("MORGEN REGNE", unknown="drop") == [1]


def test_logits_of_another_vocabulary_are_refused():
    with pytest.raises(ValueError, match="of 9 classes, the vocabulary has 3 glosses and the blank"):
        SlowFastSignProcessor(glosses=GLOSSES).decode(torch.zeros(3, 9))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"crop_size": 300}, r"`crop_size` \(300\) must be at most `resize_size` \(256\)"),
        ({"glosses": ["A", "A"]}, "`glosses` hold 'A' twice"),
        ({"glosses": ["A B"]}, "`glosses` must be words without blanks"),
        ({"frame_rate": 0}, "frame_rate"),
        ({"aspect_ratio": -1}, "aspect_ratio"),
    ],
)
def test_settings_that_cannot_work_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        SlowFastSignProcessor(**options)


def test_nothing_and_empty_lists_are_refused():
    with pytest.raises(ValueError, match="`videos` and `text` are both None"):
        SlowFastSignProcessor()()
    with pytest.raises(ValueError, match="`videos` is an empty list"):
        SlowFastSignProcessor()(videos=[])


def test_logits_may_be_a_list():
    assert SlowFastSignProcessor(["A", "B"]).decode([[0.0, 9.0, 1.0], [9.0, 0.0, 1.0]])[0].ids == (1,)


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        ([3], r"`lengths` must be a number of steps for each of 2 clips, got 1"),
        ([3, 4], r"`lengths\[1\]` must be at least 0 and at most 3, got 4"),
        (torch.tensor([-1, 3]), r"`lengths\[0\]` must be at least 0 and at most 3, got -1"),
    ],
)
def test_lengths_that_are_not_those_of_the_logits_are_refused(lengths, message):
    with pytest.raises(ValueError, match=message):
        SlowFastSignProcessor().batch_decode(torch.zeros(2, 3, 5), lengths)


def test_a_rate_of_zero_is_refused():
    with pytest.raises(ValueError, match="`source_fps` must be above 0 frames per second, got 0"):
        SlowFastSignProcessor()(videos=draw_frames(2, 32, 32), source_fps=0)


def test_frames_in_memory_have_the_rate_of_the_network():
    processor = SlowFastSignProcessor(frame_rate=10)
    assert len(processor.read_frames(draw_frames(20, 32, 32))) == 20
    assert len(processor.read_frames(draw_frames(20, 32, 32), source_fps=20)) == 10


def test_the_cut_is_rounded_to_the_nearest_pixel():
    assert cut_to_ratio(draw_frames(1, 100, 100), 2 / 3).shape == (1, 100, 67, 3)
    assert cut_to_ratio(draw_frames(1, 100, 100), 3 / 2).shape == (1, 67, 100, 3)


def test_a_vocabulary_that_is_one_text_is_refused():
    with pytest.raises(TypeError, match="`glosses` must be a list of glosses, got the text 'MORGEN'"):
        SlowFastSignProcessor("MORGEN")
