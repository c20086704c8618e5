"""Live glosses: any blocks give the greedy answer of the head before the LSTM, no later than is said."""

import numpy as np
import pytest
from colour_reader import make_frames, make_noise, make_processor, make_random_model, make_reader

from avzoo import SignLanguageRecognitionPipeline, SlowFastSignConfig, SlowFastSignForCTC, StreamingSignRecognizer
from avzoo.models.slowfast_cslr.decoding_slowfast_cslr import decode_greedily, merge_adjacent

SENTENCE = (("", 20), ("RED", 24), ("", 24), ("GREEN", 20), ("", 8), ("GREEN", 12), ("BLUE", 20), ("", 40))


def run(recognizer: StreamingSignRecognizer, frames: np.ndarray, block: int) -> list:
    glosses = []
    for start in range(0, len(frames), block):
        glosses += recognizer.add(frames[start : start + block])
    return glosses + recognizer.finish()


@pytest.mark.parametrize("hop", [4, 32])
@pytest.mark.parametrize("block", [1, 10, 500])
def test_any_blocks_give_the_same_glosses(block, hop):
    frames = make_frames(*SENTENCE)
    glosses = run(StreamingSignRecognizer(make_reader(), make_processor(), hop), frames, block)
    assert [gloss.label for gloss in glosses] == ["RED", "GREEN", "BLUE"]
    assert [(round(gloss.start, 3), round(gloss.end, 3)) for gloss in glosses] == [
        (0.56, 2.0),
        (2.48, 3.76),
        (4.32, 5.36),
    ]
    assert all(0.9 < gloss.score <= 1 for gloss in glosses)


def test_the_glosses_are_the_greedy_answer_of_the_head_before_the_lstm():
    model, processor, frames = make_random_model(), make_processor(), make_noise(120)
    answer = SignLanguageRecognitionPipeline(model=model, processor=processor, device="cpu")(frames, return_logits=True)
    expected = merge_adjacent(decode_greedily(answer["conv_logits"]))
    glosses = run(StreamingSignRecognizer(model, processor, 16), frames, 7)
    assert [gloss.label for gloss in glosses] == [processor.name_gloss(number) for number in expected.ids]
    assert glosses


def test_the_delay_of_the_released_network_is_53_frames():
    config = SlowFastSignConfig(width=2, beta_inverse=2, hidden_size=4, vocab_size=4, auxiliary_branches=False)
    recognizer = StreamingSignRecognizer(SlowFastSignForCTC(config).eval(), make_processor(), hop=4)
    assert recognizer.delay == 53
    assert recognizer.latency == pytest.approx(57 / 25)


@pytest.mark.parametrize("hop", [4, 16])
def test_a_gloss_is_told_by_the_delay_that_is_stated(hop):
    recognizer = StreamingSignRecognizer(make_reader(), make_processor(), hop)
    frames = make_frames(("", 40), ("RED", 20), ("", 140))
    told = [index for index in range(200) if recognizer.add(frames[index : index + 1])]
    # Step 14 is the last red one, and the one behind it ends it, whose own frames are 60 to 63.
    assert told[0] <= 63 + recognizer.delay + hop - 1
    if hop == 4:
        assert told[0] == 63 + recognizer.delay
    assert told[0] < 63 + 25 * recognizer.latency


def test_equal_glosses_that_only_a_pause_parts_are_told_once():
    frames = make_frames(("RED", 20), ("", 20), ("RED", 20), ("BLUE", 20))
    glosses = run(StreamingSignRecognizer(make_reader(), make_processor()), frames, 8)
    assert [gloss.label for gloss in glosses] == ["RED", "BLUE"]
    assert glosses[1].start == pytest.approx(60 / 25)  # half way from the second of them


def test_what_is_held_does_not_grow_with_the_stream():
    recognizer = StreamingSignRecognizer(make_reader(), make_processor())
    held = []
    for _ in range(100):
        recognizer.add(make_frames(("RED", 8), ("", 8)))
        held.append((len(recognizer._features._held), len(recognizer._steps._features), len(recognizer._run)))
    assert np.max(held, axis=0).tolist() <= [100, 20, 4]


def test_the_pipeline_streams_files_and_cameras():
    pipe = SignLanguageRecognitionPipeline(model=make_reader(), processor=make_processor(), device="cpu")
    frames = make_frames(*SENTENCE)
    expected = [gloss[:4] for gloss in run(StreamingSignRecognizer(pipe.model, pipe.processor), frames, 10)]
    camera = (frames[start : start + 5] for start in range(0, len(frames), 5))
    assert [gloss[:4] for gloss in pipe.stream(frames)] == expected
    assert [gloss[:4] for gloss in pipe.stream(camera)] == expected


def test_a_camera_is_read_no_further_than_a_gloss_needs():
    pipe = SignLanguageRecognitionPipeline(model=make_reader(), processor=make_processor(), device="cpu")
    taken = []

    def camera():
        frames = make_frames(("RED", 20), ("", 180))
        for index in range(200):
            taken.append(index)
            yield frames[index : index + 1]

    assert next(pipe.stream(camera(), hop=4)).label == "RED"
    assert len(taken) < 100


def test_a_stream_without_frames_has_no_gloss():
    assert StreamingSignRecognizer(make_reader(), make_processor()).finish() == []


@pytest.mark.parametrize("frames", [np.zeros((32, 32, 3), np.uint8), np.zeros((2, 32, 32, 3))], ids=["one", "floats"])
def test_frames_of_another_shape_or_type_are_refused(frames):
    with pytest.raises(ValueError, match=r"`frames` must be \(frames, height, width, 3\) uint8, got"):
        StreamingSignRecognizer(make_reader(), make_processor()).add(frames)


def test_frames_after_the_end_are_refused():
    recognizer = StreamingSignRecognizer(make_reader(), make_processor())
    recognizer.add(make_noise(8))
    recognizer.finish()
    assert recognizer.finish() == []
    with pytest.raises(ValueError, match="the clip was finished after 8 frames; make another stream"):
        recognizer.add(make_noise(8))


def test_a_hop_is_needed():
    with pytest.raises(TypeError, match="`hop` must be a whole number, got None"):
        StreamingSignRecognizer(make_reader(), make_processor(), hop=None)


def test_the_score_of_a_gloss_is_the_largest_of_its_steps():
    dim = (0.6 * make_frames(("RED", 8))).astype(np.uint8)
    frames = np.concatenate([make_frames(("", 8)), dim, make_frames(("RED", 8), ("", 8))])
    (gloss,) = run(StreamingSignRecognizer(make_reader(), make_processor()), frames, 10)
    assert gloss.label == "RED"
    assert gloss.score > 0.99  # its first step is less sure
