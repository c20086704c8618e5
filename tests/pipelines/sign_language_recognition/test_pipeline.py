"""Glosses of videos: what comes in, what comes out, and that long, short, and many are all the same."""

import math

import numpy as np
import pytest
import torch
import transformers
from colour_reader import SMALL, make_frames, make_noise, make_processor, make_random_model, make_reader
from PIL import Image

import avzoo
from avzoo import SignLanguageRecognitionPipeline, SlowFastSignConfig, SlowFastSignForCTC
from avzoo.pipelines.sign_language_recognition import pipeline as pipeline_module
from avzoo.toyworld.signs import sign_sentence
from avzoo.video import Video, write_picture, write_video

SENTENCE = (("", 20), ("RED", 24), ("", 24), ("GREEN", 20), ("", 12))
EXACT = {"rtol": 0, "atol": 1e-5}


@pytest.fixture
def read_colours():
    return SignLanguageRecognitionPipeline(model=make_reader(), processor=make_processor(), device="cpu")


@pytest.fixture(scope="module")
def read_noise():
    return SignLanguageRecognitionPipeline(model=make_random_model(), processor=make_processor(), device="cpu")


def spans(answer) -> list[tuple[str, float, float]]:
    return [(gloss["label"], round(gloss["start"], 3), round(gloss["end"], 3)) for gloss in answer["glosses"]]


def test_the_answer_names_glosses_with_times_and_scores(read_colours):
    answer = read_colours(make_frames(*SENTENCE))
    assert answer["text"] == "RED GREEN"
    # Steps 5 to 10 are red, 17 to 21 green: the frames 14 to 49 and 62 to 93.
    assert spans(answer) == [("RED", 0.56, 2.0), ("GREEN", 2.48, 3.76)]
    assert all(0.99 < gloss["score"] <= 1 for gloss in answer["glosses"])
    assert -0.3 < answer["score"] < 0


def test_neighbours_share_the_time_between_them(read_colours):
    answer = read_colours(make_frames(("RED", 20), ("BLUE", 20)))
    assert spans(answer) == [("RED", 0.0, 0.8), ("BLUE", 0.8, 1.6)]


def test_the_n_best_are_whole_answers_in_order(read_colours):
    answer = read_colours(make_frames(("", 12), ("RED", 4), ("", 12)), n_best=3)
    assert len(answer["n_best"]) == 3
    assert {name: answer[name] for name in ("text", "glosses", "score")} == answer["n_best"][0]
    scores = [one["score"] for one in answer["n_best"]]
    assert scores == sorted(scores, reverse=True)
    assert len({one["text"] for one in answer["n_best"]}) == 3


def test_greedy_decoding_follows_the_most_probable_classes(read_colours):
    answer = read_colours(make_frames(*SENTENCE), num_beams=1)
    assert answer["text"] == "RED GREEN"
    assert len(answer["n_best"]) == 1


def test_a_video_in_which_nothing_is_signed_has_no_gloss(read_colours):
    answer = read_colours(make_frames(("", 40)))
    assert (answer["text"], answer["glosses"]) == ("", [])


@pytest.mark.parametrize("count", [1, 3])
def test_a_few_frames_are_enough_for_an_answer(read_colours, count):
    answer = read_colours(make_frames(("RED", count)))
    assert spans(answer) == [("RED", 0.0, count / 25)]


# What a video is.


@pytest.mark.parametrize("fps", [10, 25, 30, 50])
def test_any_frame_rate_is_brought_to_that_of_the_model(read_colours, tmp_path, fps):
    frames = make_frames(("", fps), ("RED", fps), ("", fps), size=(48, 48))
    write_video(tmp_path / "clip.mp4", frames, fps)
    answer = read_colours(str(tmp_path / "clip.mp4"), return_logits=True)
    assert answer["logits"].shape == (19, 4)  # of 75 frames
    ((label, start, end),) = spans(answer)
    assert (label, start) == ("RED", 0.72)
    assert end == pytest.approx(2.24, abs=0.081)  # the last of its steps is half red


@pytest.mark.parametrize("size", [(64, 40), (40, 64), (33, 35)], ids=["portrait", "landscape", "odd"])
def test_any_shape_is_read(read_colours, size):
    assert read_colours(make_frames(*SENTENCE, size=size))["text"] == "RED GREEN"


def test_grey_frames_are_read(read_colours):
    answer = read_colours(make_frames(("", 20))[..., 0])
    assert answer["text"] == ""


def test_a_folder_of_frames_is_read_in_the_order_of_its_names(read_colours, tmp_path):
    frames = make_frames(*SENTENCE)
    for index in np.random.default_rng(0).permutation(len(frames)).tolist():
        write_picture(tmp_path / f"frame{index}.png", frames[index])
    assert read_colours(str(tmp_path)) == read_colours(frames)


def test_bytes_videos_rows_and_lists_of_pictures_are_read(read_colours, tmp_path):
    frames = make_frames(*SENTENCE, size=(48, 48))
    write_video(tmp_path / "clip.mp4", frames, 25)
    content = (tmp_path / "clip.mp4").read_bytes()
    with (tmp_path / "clip.mp4").open("rb") as file:
        answers = [read_colours(video) for video in (content, {"bytes": content}, file, tmp_path / "clip.mp4")]
    answers += [read_colours(Video(frames, 25)), read_colours([Image.fromarray(frame) for frame in frames])]
    assert [answer["text"] for answer in answers] == ["RED GREEN"] * 6


def test_frames_in_memory_have_the_rate_that_is_told(read_colours):
    answer = read_colours(make_frames(("", 10), ("RED", 10), ("", 10)), source_fps=10, return_logits=True)
    assert len(answer["logits"]) == 19
    assert answer["text"] == "RED"


def test_a_list_gives_a_list_and_a_stream_an_iterator(read_colours):
    clips = [make_frames(("RED", 8)), make_frames(("GREEN", 12))]
    assert [answer["text"] for answer in read_colours(clips)] == ["RED", "GREEN"]
    stream = read_colours(clip for clip in clips)
    assert not isinstance(stream, list)
    assert [answer["text"] for answer in stream] == ["RED", "GREEN"]
    assert [answer["text"] for answer in read_colours(np.stack([clips[0], clips[0]]))] == ["RED", "RED"]


def test_the_toy_checkpoint_reads_a_drawn_person_at_any_size_and_rate(tmp_path):
    read_signs = transformers.pipeline(
        "sign-language-recognition", model=avzoo.toy_checkpoint("slowfast_cslr"), device="cpu"
    )
    clip = sign_sentence(7, vocabulary=read_signs.processor.glosses, num_glosses=4)
    write_video(tmp_path / "clip.mp4", clip["frames"].repeat(2, 0).repeat(3, 1).repeat(3, 2), 50)
    answer = read_signs(str(tmp_path / "clip.mp4"))
    assert answer["text"].split() == clip["glosses"]
    for gloss, (first, stop) in zip(answer["glosses"], clip["spans"], strict=True):
        # The way to a sign is a part of its times.
        assert first - 12 <= 25 * gloss["start"] <= first + 2
        assert abs(25 * gloss["end"] - stop) <= 8


# Long, and many.


def test_a_long_video_gives_what_it_gives_whole(read_noise):
    frames = make_noise(150)
    whole = read_noise(frames, max_frames=400, return_logits=True, return_features=True)
    chunks = read_noise(frames, max_frames=60, return_logits=True, return_features=True)
    for name in ("logits", "conv_logits", "frame_features"):
        np.testing.assert_allclose(chunks[name], whole[name], **EXACT)
    assert chunks["text"] == whole["text"]
    assert whole["frame_features"].shape == (150, 192)


@torch.no_grad()
def test_logits_are_those_of_the_model(read_noise):
    frames = make_noise(37)
    answer = read_noise(frames, return_logits=True, return_features=True)
    output = read_noise.model(**read_noise.processor(videos=frames))
    np.testing.assert_allclose(answer["logits"], output.logits[0], **EXACT)
    np.testing.assert_allclose(answer["conv_logits"], output.conv_logits[0], **EXACT)
    np.testing.assert_allclose(answer["frame_features"], output.frame_features[0, 6:43], **EXACT)


def test_a_batch_gives_what_each_video_gives_alone(read_noise):
    clips = [make_noise(count) for count in (37, 150, 21, 4)]
    options = {"max_frames": 60, "return_logits": True, "return_features": True}
    batch = read_noise(clips, batch_size=4, **options)
    for clip, answer in zip(clips, batch, strict=True):
        alone = read_noise(clip, **options)
        assert answer["text"] == alone["text"]
        for name in ("logits", "conv_logits", "frame_features"):
            np.testing.assert_allclose(answer[name], alone[name], **EXACT)


def test_the_videos_of_a_batch_go_through_the_network_together(read_colours):
    read_colours.model.seen.clear()
    read_colours([make_frames(("RED", 8)), make_frames(("RED", 20)), make_frames(("RED", 20))], batch_size=2)
    assert read_colours.model.seen == [32, 32]


def test_a_stream_is_read_no_further_than_its_batch(read_colours):
    taken = []

    def make_clips():
        for index in range(10):
            taken.append(index)
            yield make_frames(("RED", 4))

    next(read_colours(make_clips(), batch_size=2))
    assert taken == [0, 1]


# Language models.


def test_a_language_model_has_its_share(read_colours):
    blue_and_green = (0.55 * make_frames(("BLUE", 8)) + 0.5 * make_frames(("GREEN", 8))).astype(np.uint8)
    frames = np.concatenate([make_frames(("RED", 8), ("", 8)), blue_and_green, make_frames(("", 8))])
    asked = []

    def score_gloss(previous, gloss):
        asked.append((previous, gloss))
        return math.log(0.9 if gloss == "GREEN" and previous[-1:] == ("RED",) else 0.01)

    assert read_colours(frames)["text"] == "RED BLUE"
    answer = read_colours(frames, language_model=score_gloss, lm_weight=1.0, insertion_bonus=4.0)
    assert answer["text"] == "RED GREEN"
    assert ((), "RED") in asked


# Folders and refusals.


def test_a_saved_folder_is_found_by_the_task_and_saves_itself(tmp_path):
    make_random_model().save_pretrained(tmp_path / "model")
    make_processor().save_pretrained(tmp_path / "model")
    loaded = transformers.pipeline("sign-language-recognition", model=str(tmp_path / "model"), device="cpu")
    assert type(loaded) is avzoo.SignLanguageRecognitionPipeline
    assert type(transformers.pipeline(model=str(tmp_path / "model"), device="cpu")) is type(loaded)
    loaded.save_pretrained(tmp_path / "again")
    again = transformers.pipeline("sign-language-recognition", model=str(tmp_path / "again"), device="cpu")
    frames = make_noise(20)
    assert again(frames) == loaded(frames)


def test_settings_of_the_construction_hold_for_every_call(read_noise):
    pipe = SignLanguageRecognitionPipeline(
        model=read_noise.model, processor=read_noise.processor, device="cpu", n_best=2
    )
    assert len(pipe(make_noise(20))["n_best"]) == 2
    with pytest.raises(ValueError, match=r"`n_best` \(2\) must be at most `num_beams` \(1\)"):
        pipe(make_noise(20), num_beams=1)


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"beams": 3}, TypeError, "sign-language-recognition has no parameter 'beams'"),
        ({"num_beams": 0}, ValueError, "`num_beams` must be at least 1, got 0"),
        ({"n_best": 2.0}, TypeError, "`n_best` must be a whole number, got 2.0"),
        ({"n_best": 11}, ValueError, r"`n_best` \(11\) must be at most `num_beams` \(10\)"),
        ({"max_frames": 8}, ValueError, "`max_frames` must be at least 44, got 8"),
        ({"source_fps": 0}, ValueError, "`source_fps` must be above 0 frames per second, got 0"),
        ({"lm_weight": -1}, ValueError, "`lm_weight` must be at least 0, got -1"),
        ({"insertion_bonus": math.nan}, ValueError, "`insertion_bonus` must be finite, got nan"),
        ({"language_model": "file.arpa"}, TypeError, "`language_model` must be a function"),
        ({"language_model": max, "num_beams": 1}, ValueError, "`language_model` needs a beam search"),
        ({"batch_size": 0}, ValueError, "`batch_size` must be at least 1, got 0"),
    ],
    ids=str,
)
def test_a_parameter_out_of_range_is_refused(read_noise, parameters, error, message):
    with pytest.raises(error, match=message):
        read_noise(make_noise(4), **parameters)


@pytest.mark.parametrize(
    ("video", "error", "message"),
    [
        ("missing.mp4", FileNotFoundError, "missing.mp4"),
        (np.zeros((0, 32, 32, 3), np.uint8), ValueError, "`video` holds no frames"),
        (np.zeros((4, 32, 32, 3), np.float32), TypeError, "`video` must be uint8"),
        (b"no video", ValueError, "`video`"),
        ([], ValueError, "`videos` is an empty list"),
    ],
    ids=["missing", "empty", "floats", "bytes", "no videos"],
)
def test_what_is_no_video_is_refused(read_noise, video, error, message):
    with pytest.raises(error, match=message):
        read_noise(video)


def test_a_bad_video_of_a_list_is_named(read_noise):
    with pytest.raises(ValueError, match=r"`videos\[1\]` holds no frames"):
        read_noise([make_noise(4), np.zeros((0, 32, 32, 3), np.uint8)])


def test_a_folder_without_frames_is_refused(read_noise, tmp_path):
    with pytest.raises(ValueError, match="holds no frames; known types are"):
        read_noise(str(tmp_path))


def test_a_processor_of_another_vocabulary_is_refused():
    with pytest.raises(ValueError, match="`processor` has 2 glosses, the model reads 3: they do not belong together"):
        SignLanguageRecognitionPipeline(
            model=make_random_model(), processor=make_processor(glosses=["RED", "GREEN"]), device="cpu"
        )


def test_a_model_without_its_processor_is_refused():
    with pytest.raises(ValueError, match="`processor`: sign-language-recognition needs the model's own"):
        SignLanguageRecognitionPipeline(model=make_random_model(), processor=None, device="cpu")


def test_glosses_are_numbers_without_a_vocabulary():
    pipe = SignLanguageRecognitionPipeline(model=make_reader(), processor=make_processor(glosses=None), device="cpu")
    assert pipe(make_frames(("RED", 8), ("BLUE", 8)))["text"] == "1 3"


def test_weights_that_overflow_are_named():
    model = SlowFastSignForCTC(SlowFastSignConfig(**SMALL)).eval()
    with torch.no_grad():
        model.classifier.weight.fill_(torch.nan)
    pipe = SignLanguageRecognitionPipeline(model=model, processor=make_processor(), device="cpu")
    with pytest.raises(ValueError, match=r"its logits are NaN or infinite; its weights are torch\.float32"):
        pipe(make_noise(4))


def test_the_default_number_of_frames_holds_the_longest_clip_of_phoenix14():
    assert make_processor().count_padded(299) <= pipeline_module.MAX_FRAMES


def test_a_processor_that_pads_for_another_network_is_refused():
    with pytest.raises(
        ValueError, match="`processor` has edge_frames 5, the model needs 6: they do not belong together"
    ):
        SignLanguageRecognitionPipeline(
            model=make_random_model(), processor=make_processor(edge_frames=5), device="cpu"
        )


@pytest.mark.parametrize("options", [{}, {"source_fps": 10}], ids=str)
def test_a_folder_with_frames_of_two_sizes_is_refused(read_noise, tmp_path, options):
    for index, size in enumerate([(40, 40)] * 40 + [(44, 40)]):
        write_picture(tmp_path / f"{index}.png", np.zeros((*size, 3), np.uint8))
    with pytest.raises(ValueError, match=r"40\.png` has 40 x 44 pixels, the first frame of its folder 40 x 40"):
        read_noise(str(tmp_path), **options)


def test_a_folder_at_another_rate_is_read_frame_by_frame(read_noise, tmp_path, monkeypatch):
    for index in range(6):
        write_picture(tmp_path / f"{index}.png", np.zeros((40, 40, 3), np.uint8))
    (tmp_path / "5.png").write_bytes(b"damaged")
    blocks = read_noise.processor.iter_frames(tmp_path, 25.5, block_frames=2)
    assert len(next(blocks)) == 2  # before the last is opened
    with pytest.raises(ValueError, match=r"5\.png"):
        list(blocks)


@pytest.mark.parametrize(
    ("video", "options", "error", "message"),
    [
        (iter([np.zeros((4, 32, 32, 3))]), {}, ValueError, r"`frames` must be \(frames, height, width, 3\) uint8"),
        (iter([np.zeros((32, 32, 3), np.uint8)]), {}, ValueError, r"`frames` must be .* got \(32, 32, 3\)"),
        (make_noise(4), {"hop": 6}, ValueError, "`hop` must be a multiple of 4 frames, got 6"),
        (make_noise(4), {"hop": "8"}, TypeError, "`hop` must be a whole number, got '8'"),
        (make_noise(4), {"hop": 8.0}, TypeError, r"`hop` must be a whole number, got 8\.0"),
        (make_noise(4), {"source_fps": 0}, ValueError, "`source_fps` must be above 0 frames per second, got 0"),
    ],
    ids=["floats", "one frame", "hop", "text", "float", "rate"],
)
def test_what_cannot_be_streamed_is_refused(read_noise, video, options, error, message):
    with pytest.raises(error, match=message):
        list(read_noise.stream(video, **options))
