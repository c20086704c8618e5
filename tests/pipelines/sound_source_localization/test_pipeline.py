"""Pictures with sounds, by a model whose maps are done by hand; then by a tiny random one."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from avzoo import SSLAlignmentConfig, SSLAlignmentForSoundLocalization, SSLAlignmentProcessor
from avzoo.audio import write_wav
from avzoo.video import Video, write_video

sys.path.insert(0, str(Path(__file__).parent))  # colour_model.py lies beside this file
import colour_model
from colour_model import RATE, ReadingModel, green_sound, make_picture, make_pipeline, red_sound


def test_the_answer_points_at_what_is_heard():
    answer = make_pipeline()({"image": make_picture(), "audio": red_sound()}, return_boxes=True)
    expected = np.zeros((4, 4))
    expected[0, 0] = 1
    np.testing.assert_allclose(answer["similarity"], expected, atol=1e-6)
    assert answer["confidence"] == pytest.approx(1)
    assert (answer["boxes"], answer["box"], answer["peak"]) == ([(0, 0, 16, 16)], (0, 0, 16, 16), (8, 8))
    assert answer["heatmap"].shape == answer["mask"].shape == (64, 64)
    assert answer["mask"][8, 8]
    assert (answer["heatmap"][:8, :8] == 1).all()
    assert answer["seconds"] == 3


def test_without_return_boxes_there_are_none():
    answer = make_pipeline()({"image": make_picture(), "audio": red_sound()})
    assert not {"mask", "boxes", "box"} & answer.keys()


def test_several_sounds_are_asked_of_a_picture_that_is_encoded_once():
    pipe = make_pipeline()
    answers = pipe({"image": make_picture(), "audio": [red_sound(), green_sound(), red_sound(1.0)]}, batch_size=2)
    assert [answer["peak"] for answer in answers] == [(8, 8), (56, 40), (8, 8)]
    assert pipe.model.batches == {"image": [1], "audio": [2, 1]}
    assert [answer["seconds"] for answer in answers] == [3, 3, 1]


def test_a_list_of_one_sound_gives_a_list():
    (answer,) = make_pipeline()({"image": make_picture(), "audio": [green_sound()]})
    assert answer["peak"] == (56, 40)


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_a_list_of_pairs_gives_an_answer_for_each(batch_size):
    pairs = [
        {"image": make_picture(red=[(row, 1)]), "audio": [red_sound()] * row if row else red_sound()}
        for row in range(3)
    ]
    pipe = make_pipeline()
    first, second, third = pipe(pairs, batch_size=batch_size)
    assert [first["peak"], second[0]["peak"], third[0]["peak"], third[1]["peak"]] == [
        (24, 8),
        (24, 24),
        (24, 40),
        (24, 40),
    ]
    assert sum(pipe.model.batches["image"]) == 3
    assert sum(pipe.model.batches["audio"]) == 4


def test_a_stream_of_pairs_gives_an_iterator_that_reads_a_batch_at_a_time():
    taken = []

    def iterate():
        for row in range(5):
            taken.append(row)
            yield {"image": make_picture(red=[(row % 4, 0)]), "audio": red_sound()}

    answers = make_pipeline()(iterate(), batch_size=2)
    assert taken == []
    assert next(answers)["peak"] == (8, 8)
    assert taken == [0, 1]
    assert [answer["peak"][1] for answer in answers] == [24, 40, 56, 8]


def test_without_a_threshold_nothing_is_decided_and_the_answer_says_so():
    answer = make_pipeline()({"image": make_picture(), "audio": red_sound()}, return_boxes=True)
    assert (answer["sounds"], answer["threshold"], answer["label"]) == (None, None, "not decided")
    assert "the model has no confidence_threshold" in answer["meaning"]
    assert answer["boxes"]


@pytest.mark.parametrize(("picture", "sounds"), [(make_picture(), True), (make_picture(red=()), False)])
def test_the_threshold_of_the_checkpoint_decides(picture, sounds):
    pipe = make_pipeline(confidence_threshold=0.6)
    answer = pipe({"image": picture, "audio": red_sound()}, return_boxes=True)
    assert (answer["sounds"], answer["threshold"]) == (sounds, 0.6)
    assert answer["label"] == ("sounding" if sounds else "not sounding")
    assert answer["meaning"] == (
        "heard in the picture: confidence 1.000 reaches 0.600"
        if sounds
        else "nothing here sounds like it: confidence 0.000, needs 0.600"
    )


def test_of_what_does_not_sound_nothing_is_marked():
    answer = make_pipeline(confidence_threshold=1.5)({"image": make_picture(), "audio": red_sound()}, return_boxes=True)
    assert (answer["boxes"], answer["box"], answer["mask"].any()) == ([], None, False)
    assert answer["heatmap"].max() == 1


def test_a_confidence_that_equals_the_threshold_reaches_it():
    pipe = make_pipeline(confidence_threshold=0.0)
    assert pipe({"image": make_picture(red=()), "audio": red_sound()})["sounds"] is True


def test_a_threshold_of_the_call_stands_for_the_models():
    pipe = make_pipeline(confidence_threshold=0.5)
    assert pipe({"image": make_picture(), "audio": red_sound()}, threshold=2)["sounds"] is False
    assert pipe({"image": make_picture(), "audio": red_sound()})["sounds"] is True


def test_digital_silence_never_sounds():
    pipe = make_pipeline(confidence_threshold=-1.0)
    answer = pipe({"image": make_picture(), "audio": np.zeros(3000, np.float32)}, return_boxes=True)
    assert (answer["sounds"], answer["label"], answer["boxes"]) == (False, "silent", [])
    assert answer["meaning"] == "nothing is heard: what the model takes of the sound is digital silence"


def test_a_sound_of_a_tenth_of_a_second_is_heard_and_a_shorter_one_refused():
    pipe = make_pipeline()
    assert pipe({"image": make_picture(), "audio": red_sound(0.1)})["seconds"] == 0.1
    with pytest.raises(ValueError, match=r"`audio` is too short: 0\.098 s, at least 0\.1 s are needed"):
        pipe({"image": make_picture(), "audio": red_sound(0.098)})


def test_objectness_is_mixed_into_the_heat_and_not_into_the_confidence():
    picture = make_picture(green=())
    picture[48:, 48:, 2] = 255  # a thing that makes no sound
    pipe = make_pipeline(use_objectness=True)
    plain, guided = (pipe({"image": picture, "audio": red_sound()}, objectness=guide) for guide in (False, True))
    assert plain["heatmap"][56, 56] == 0
    assert guided["heatmap"][56, 56] == 1
    assert guided["heatmap"][7, 7] == pytest.approx(2 / 3, abs=1e-6)
    assert guided["confidence"] == plain["confidence"]
    assert guided["peak"][0] >= 48


def test_objectness_of_a_model_without_is_refused():
    with pytest.raises(ValueError, match="`objectness` needs a model with an objectness network"):
        make_pipeline()({"image": make_picture(), "audio": red_sound()}, objectness=True)


def test_text_stands_for_the_sound_where_the_model_reads():
    pair = {"image": make_picture(), "text": ["green", "red"]}
    assert [answer["peak"] for answer in make_pipeline(ReadingModel)(pair)] == [(56, 40), (8, 8)]
    assert make_pipeline(ReadingModel)({**pair, "text": "green"})["seconds"] is None
    with pytest.raises(ValueError, match=r"`text`: a ColourModel takes no text"):
        make_pipeline()(pair)


def test_files_are_read_upright_and_answered_in_their_own_pixels(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by a quarter
    Image.fromarray(make_picture()[:, ::-1]).resize((128, 64)).save(tmp_path / "turned.png", exif=exif)
    write_wav(tmp_path / "red.wav", red_sound(), RATE)
    answer = make_pipeline()({"image": str(tmp_path / "turned.png"), "audio": str(tmp_path / "red.wav")})
    assert answer["heatmap"].shape == (128, 64)
    row, column = np.unravel_index(answer["heatmap"].argmax(), answer["heatmap"].shape)
    assert row > 96  # the red corner was on the right, and is below
    assert column > 48


def test_a_recording_is_read_no_further_than_the_model_hears(monkeypatch):
    pipe, blocks = make_pipeline(), iter([red_sound(1.5), red_sound(1.5), red_sound(1.5)])
    monkeypatch.setattr(type(pipe.processor), "base_seconds", 2.0)
    monkeypatch.setattr("avzoo.pipelines.shared.image_sound.iter_audio", lambda *arguments, **options: blocks)
    assert pipe({"image": make_picture(), "audio": "hours.wav"})["seconds"] == 2
    assert len(list(blocks)) == 1


@pytest.mark.parametrize(
    ("inputs", "error", "message"),
    [
        ({"image": make_picture()}, ValueError, r"got a dict with the keys image"),
        ({"audio": red_sound()}, ValueError, r"got a dict with the keys audio"),
        ({"image": make_picture(), "audio": red_sound(), "text": "red"}, ValueError, "the keys image, audio, text"),
        ({"image": make_picture(), "audio": red_sound(), "top": 1}, ValueError, "`inputs` has the key 'top'"),
        ({"image": make_picture(), "audio": []}, ValueError, "`audio` is an empty list"),
        ({"image": make_picture(), "audio": [red_sound(), red_sound(0.01)]}, ValueError, r"`audio\[1\]` is too short"),
        ([], ValueError, "`inputs` is an empty list"),
        ([{"image": "missing.png", "audio": red_sound()}], FileNotFoundError, "missing.png"),
        ([{"image": make_picture(), "audio": red_sound()}, {"image": b"x", "audio": 1}], ValueError, r"inputs\[1\]: "),
        ({"path": "missing.mp4", "bytes": None}, FileNotFoundError, "missing.mp4"),
    ],
)  # fmt: skip
def test_inputs_that_cannot_be_answered_are_named(inputs, error, message):
    with pytest.raises(error, match=message):
        make_pipeline()(inputs)


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"mask_threshold": 0}, ValueError, "`mask_threshold` must be above 0 and at most 1, got 0"),
        ({"area": 1.5}, ValueError, "`area` must be above 0 and at most 1"),
        ({"threshold": "high"}, TypeError, "`threshold` must be a number"),
        ({"frames_per_second": 0}, ValueError, "`frames_per_second` must be above 0"),
        ({"smoothing": 4}, ValueError, "`smoothing` must be an odd number of frames, got 4"),
        ({"return_boxes": 1}, TypeError, "`return_boxes` must be True or False, got 1"),
        ({"render": "heat.gif"}, ValueError, r"`path` must end in \.mp4"),
        ({"boxes": True}, TypeError, "sound-source-localization has no parameter 'boxes'"),
        ({"batch_size": 0}, ValueError, "`batch_size` must be at least 1"),
    ],
)
def test_a_parameter_that_cannot_work_is_named(parameters, error, message):
    with pytest.raises(error, match=message):
        make_pipeline()({"image": make_picture(), "audio": red_sound()}, **parameters)


def test_render_is_refused_for_a_picture(tmp_path):
    with pytest.raises(ValueError, match="`render` is for videos"):
        make_pipeline()({"image": make_picture(), "audio": red_sound()}, render=tmp_path / "x.mp4")


def test_maps_that_are_not_finite_are_refused(monkeypatch):
    pipe = make_pipeline()
    monkeypatch.setattr(pipe.model, "compute_similarity_maps", lambda *features: torch.full((1, 1, 2, 2), torch.nan))
    with pytest.raises(ValueError, match="`model`: its maps are NaN or infinite; its weights are"):
        pipe({"image": make_picture(), "audio": red_sound()})


def test_a_video_without_sound_or_without_picture_is_refused(tmp_path):
    frames = np.zeros((5, 16, 16, 3), np.uint8)
    write_video(tmp_path / "mute.mp4", frames, 25)
    write_wav(tmp_path / "tone.wav", red_sound(), RATE)
    pipe = make_pipeline()
    with pytest.raises(ValueError, match=r"`video` \(mute\.mp4\) has no sound track, so nothing in it can be heard"):
        pipe(str(tmp_path / "mute.mp4"))
    with pytest.raises(ValueError, match="`video` has no sound track"):
        pipe(Video(frames, 25))
    with pytest.raises(ValueError, match=r"`video` \(tone\.wav\) has no video stream"):
        pipe(str(tmp_path / "tone.wav"))


# A tiny network.


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "tiny"
    torch.manual_seed(0)
    sizes = {"hidden_sizes": (4, 6, 8, 12), "depths": (1, 1, 1, 1), "projection_dim": 10}
    SSLAlignmentForSoundLocalization(SSLAlignmentConfig(**sizes, use_objectness=True)).save_pretrained(folder)
    SSLAlignmentProcessor().save_pretrained(folder)
    return folder


@pytest.fixture
def locate(folder):
    return transformers.pipeline("sound-source-localization", model=str(folder), device="cpu")


@pytest.fixture(scope="module")
def noise():
    return (0.1 * np.random.default_rng(0).standard_normal(48000)).astype(np.float32)


@torch.no_grad()
def test_the_map_is_the_models_own(locate, noise):
    picture = np.random.default_rng(1).integers(0, 256, (70, 90, 3), dtype=np.uint8)
    answer = locate({"image": picture, "audio": noise})
    inputs = locate.processor(images=picture, audio=noise, sampling_rate=16000)
    expected = locate.model(**inputs).similarity_map[0].numpy()
    np.testing.assert_allclose(answer["similarity"], expected, atol=1e-6)
    assert answer["confidence"] == pytest.approx(float(expected.max()), abs=1e-6)
    guided = locate({"image": picture, "audio": noise}, objectness=True)
    assert np.abs(guided["heatmap"] - answer["heatmap"]).max() > 0.1


def test_a_model_in_training_mode_answers_as_in_evaluation(folder, noise):
    model = SSLAlignmentForSoundLocalization.from_pretrained(folder).train()
    pipe = transformers.pipeline(
        "sound-source-localization", model=model, processor=SSLAlignmentProcessor(), device="cpu"
    )
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    pipe({"image": make_picture(), "audio": noise})
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_gives_nearly_the_same_map(folder, locate, noise, dtype):
    half = transformers.pipeline("sound-source-localization", model=str(folder), device="cpu", dtype=dtype)
    pair = {"image": make_picture(), "audio": noise}
    answer = half(pair, objectness=True)
    assert answer["similarity"].dtype == answer["heatmap"].dtype == np.float32
    np.testing.assert_allclose(answer["similarity"], locate(pair)["similarity"], atol=0.05)


def test_the_same_call_gives_the_same_bits(locate, noise):
    first, second = (locate({"image": make_picture(), "audio": [noise, noise[:9000]]}) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        assert one["similarity"].tobytes() == other["similarity"].tobytes()
        assert one["heatmap"].tobytes() == other["heatmap"].tobytes()


def test_a_saved_pipeline_has_its_processor(locate, noise, tmp_path):
    locate.save_pretrained(tmp_path / "saved")
    again = transformers.pipeline("sound-source-localization", model=str(tmp_path / "saved"), device="cpu")
    pair = {"image": make_picture(), "audio": noise}
    assert again(pair)["similarity"].tobytes() == locate(pair)["similarity"].tobytes()


def test_a_model_of_another_kind_is_refused():
    config = transformers.ASTConfig(num_hidden_layers=1, hidden_size=12, num_attention_heads=2, intermediate_size=12)
    model = transformers.ASTModel(config)
    with pytest.raises(ValueError, match="a ASTModel cannot serve sound-source-localization; it has no get_image"):
        transformers.pipeline("sound-source-localization", model=model, processor=SSLAlignmentProcessor(), device="cpu")


def test_a_silent_first_channel_beside_another_is_warned_of(locate, noise):
    stereo = np.stack([np.zeros_like(noise), noise])
    with pytest.warns(UserWarning, match="the first of its 2 channels is silent there, and it alone is heard"):
        answer = locate({"image": make_picture(), "audio": stereo})
    assert answer["label"] == "silent"


def test_a_map_of_the_middle_is_laid_over_the_middle(monkeypatch):
    pipe = make_pipeline()
    picture = np.zeros((64, 100, 3), np.uint8)
    picture[:, 18:82] = make_picture()
    monkeypatch.setattr(type(pipe.processor), "image_resize", "pil_short_side", raising=False)
    monkeypatch.setattr(colour_model, "_shrink", lambda picture, shrink=colour_model._shrink: shrink(picture[:, 18:82]))
    answer = pipe({"image": picture, "audio": green_sound()}, return_boxes=True)
    assert (answer["peak"], answer["boxes"]) == ((18 + 56, 40), [(18 + 48, 32, 18 + 64, 48)])
    assert not answer["heatmap"][:, :18].any()
    assert not answer["heatmap"][:, 82:].any()
    record = next(pipe.stream(Video(np.stack([picture] * 4), 4, green_sound(1.0), RATE)))
    assert (record["peak"], record["box"], record["middle_only"]) == ((74, 40), (66, 32, 82, 48), True)
