"""Pictures, recordings and texts as ACL-SSL sees them."""

import numpy as np
import pytest
import torch
from clip_tokenizer import DOG, END, OF, START, A, make_tokenizer
from PIL import Image

from avzoo import ACLProcessor, BEATsFeatureExtractor
from avzoo.audio import write_wav

RATE = 16000


def make_sound(samples: int, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


def make_picture(rows: int = 60, columns: int = 90, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (rows, columns, 3), dtype=np.uint8)


@pytest.fixture
def tokenizer(tmp_path):
    return make_tokenizer(tmp_path / "tokenizer")


# --- pictures ---------------------------------------------------------------------------------------------------------


def test_pictures_are_squeezed_by_pillows_bicubic_filter_and_normalized_as_clip():
    picture = make_picture()
    pixels = ACLProcessor(image_size=32)(images=picture).pixel_values
    resized = np.asarray(Image.fromarray(picture).resize((32, 32), Image.Resampling.BICUBIC), np.float64) / 255
    mean, deviation = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    expected = ((resized - mean) / deviation).transpose(2, 0, 1)
    assert pixels.shape == (1, 3, 32, 32)
    np.testing.assert_allclose(pixels[0], expected, atol=1e-5)


def test_the_released_side_is_352():
    assert ACLProcessor()(images=make_picture()).pixel_values.shape == (1, 3, 352, 352)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P"])
def test_pictures_of_other_modes_become_three_colours(mode, tmp_path):
    """The authors' loaders fail on them."""
    Image.fromarray(make_picture()).convert(mode).save(tmp_path / "picture.png")
    assert ACLProcessor(image_size=32)(images=tmp_path / "picture.png").pixel_values.shape == (1, 3, 32, 32)


def test_several_pictures_are_a_list_or_an_array():
    processor, first, second = ACLProcessor(image_size=32), make_picture(), make_picture(seed=1)
    listed = processor(images=[first, second]).pixel_values
    assert torch.equal(processor(images=np.stack([first, second])).pixel_values, listed)
    assert torch.equal(processor(images=second).pixel_values[0], listed[1])


# --- sounds -----------------------------------------------------------------------------------------------------------


def test_ten_seconds_are_998_frames_of_beats():
    sound = make_sound(10 * RATE)
    features = ACLProcessor()(audio=sound, sampling_rate=RATE).input_features
    assert features.shape == (1, 998, 128)
    expected = BEATsFeatureExtractor()(sound, sampling_rate=RATE).input_values
    torch.testing.assert_close(features, expected, rtol=0, atol=0)


def test_the_statistics_of_features_can_be_chosen():
    released = ACLProcessor()(audio=make_sound(RATE), sampling_rate=RATE).input_features
    log_mel = released * (2 * 6.55582) + 15.41663
    features = ACLProcessor(feature_mean=10.0, feature_std=2.0)(
        audio=make_sound(RATE), sampling_rate=RATE
    ).input_features
    torch.testing.assert_close(features, (log_mel - 10) / 4, rtol=0, atol=1e-4)


def test_longer_recordings_are_cut_behind_and_shorter_ones_filled_with_silence():
    processor, sound = ACLProcessor(clip_seconds=0.5), make_sound(RATE)
    assert np.array_equal(processor.prepare_audio(sound, RATE), sound[: RATE // 2])
    short = processor.prepare_audio(sound[:3000], RATE)
    assert np.array_equal(short[:3000], sound[:3000])
    assert not short[3000:].any()
    assert len(short) == processor.clip_samples == RATE // 2


@pytest.mark.parametrize("channels", ["concatenate", "mean", "first"])
def test_two_channels_become_one(channels):
    left, right = make_sound(2000, 1), make_sound(2000, 2)
    expected = {
        "concatenate": np.concatenate([left, right]),
        "mean": (left + right) / 2,
        "first": left,
    }[channels]
    clip = ACLProcessor(clip_seconds=0.5, channels=channels).prepare_audio(np.stack([left, right]), RATE)
    np.testing.assert_allclose(clip[: len(expected)], expected, atol=1e-7)
    assert not clip[len(expected) :].any()


def test_a_long_first_channel_leaves_no_room_for_the_second():
    left, right = make_sound(RATE, 1), make_sound(RATE, 2)
    clip = ACLProcessor(clip_seconds=0.5).prepare_audio(np.stack([left, right]), RATE)
    assert np.array_equal(clip, left[: RATE // 2])


def test_clips_that_are_not_cut_keep_their_length():
    processor = ACLProcessor()
    features = processor(audio=[make_sound(5 * RATE), make_sound(5 * RATE, 1)], sampling_rate=RATE, cut=False)
    assert features.input_features.shape == (2, 498, 128)


def test_clips_of_several_lengths_that_are_not_cut_are_refused():
    with pytest.raises(ValueError, match="`audio` has clips of 16000 to 32000 samples; with `cut=False` all"):
        ACLProcessor()(audio=[make_sound(RATE), make_sound(2 * RATE)], sampling_rate=RATE, cut=False)


def test_a_clip_under_16_frames_is_refused():
    with pytest.raises(ValueError, match="`audio` is too short: 2799 samples at 16 kHz, 16 frames need 2800"):
        ACLProcessor()(audio=make_sound(2799), sampling_rate=RATE, cut=False)


def test_other_rates_are_resampled(tmp_path):
    write_wav(tmp_path / "sound.wav", make_sound(44100), 44100)
    assert len(ACLProcessor().prepare_audio(tmp_path / "sound.wav", cut=False)) == RATE


def test_a_side_alone_and_both_together():
    processor = ACLProcessor(image_size=32, clip_seconds=0.5)
    picture, sound = make_picture(), make_sound(RATE)
    assert set(processor(images=picture)) == {"pixel_values"}
    assert set(processor(audio=sound, sampling_rate=RATE)) == {"input_features"}
    both = processor(images=[picture] * 2, audio=[sound] * 3, sampling_rate=RATE)
    assert (both.pixel_values.shape[0], both.input_features.shape[0]) == (2, 3)
    assert isinstance(processor(images=picture, return_tensors="np")["pixel_values"], np.ndarray)


def test_nothing_and_empty_lists_are_refused():
    with pytest.raises(ValueError, match="`images`, `audio` and `text` are all None"):
        ACLProcessor()()
    for name in ("images", "audio"):
        with pytest.raises(ValueError, match=f"`{name}` is an empty list"):
            ACLProcessor()(**{name: []})


# --- texts ------------------------------------------------------------------------------------------------------------


def test_texts_are_tokens_padded_behind_the_end(tokenizer):
    processor = ACLProcessor(tokenizer=tokenizer)
    inputs = processor(text=["a dog", "dog"])
    assert inputs.input_ids[0].tolist() == [START, A, DOG, END]
    assert inputs.input_ids[1, :3].tolist() == [START, DOG, END]
    assert inputs.attention_mask.tolist() == [[1, 1, 1, 1], [1, 1, 1, 0]]
    assert processor(text="dog").input_ids.tolist() == [[START, DOG, END]]


def test_a_text_longer_than_clip_reads_is_refused_by_name(tokenizer):
    tokenizer.model_max_length = 5
    processor = ACLProcessor(tokenizer=tokenizer)
    assert processor(text="a dog a").input_ids.shape == (1, 5)
    message = r"`text\[1\]` has 6 tokens, start and end included; CLIP reads at most 5. Use fewer words"
    with pytest.raises(ValueError, match=message):
        processor(text=["a dog", "a dog a dog"])


def test_what_is_no_text_is_refused_by_name(tokenizer):
    with pytest.raises(TypeError, match=r"`text\[1\]` must be a text, such as 'a dog barking', got int"):
        ACLProcessor(tokenizer=tokenizer)(text=["a dog", 3])


def test_a_text_without_a_tokenizer_is_refused():
    message = "this processor has no tokenizer, so it can't read texts; convert the model again with --part clipseg"
    for ask in (lambda processor: processor(text="a dog"), lambda processor: processor.encode_prompt("a {}")):
        with pytest.raises(ValueError, match=message):
            ask(ACLProcessor())


def test_a_prompt_counts_tokens_not_words(tokenizer):
    """ "of" is two tokens here, so the sound stands behind four, where the authors' rule would count three words."""
    ids, position = ACLProcessor(tokenizer=tokenizer).encode_prompt("a dog of {}")
    assert ids == [START, A, DOG, *OF, END]
    assert position == 5


@pytest.mark.parametrize(
    ("template", "ids", "position"),
    [("{}", [START, END], 1), ("{} dog", [START, DOG, END], 1), ("a {} dog", [START, A, DOG, END], 2)],
)
def test_a_sound_can_stand_anywhere_in_a_prompt(template, ids, position, tokenizer):
    assert ACLProcessor(tokenizer=tokenizer).encode_prompt(template) == (ids, position)


@pytest.mark.parametrize("template", ["a dog", "{} and {}"])
def test_a_prompt_without_one_place_for_the_sound_is_refused(template, tokenizer):
    with pytest.raises(ValueError, match=r"`template` must hold \{\} once, where the sound goes; got"):
        ACLProcessor(tokenizer=tokenizer).encode_prompt(template)


# --- saved ------------------------------------------------------------------------------------------------------------


def test_a_saved_processor_is_the_same_with_its_tokenizer(tokenizer, tmp_path):
    processor = ACLProcessor(image_size=64, clip_seconds=2.0, channels="mean", tokenizer=tokenizer)
    processor.save_pretrained(tmp_path / "saved")
    loaded = ACLProcessor.from_pretrained(tmp_path / "saved")
    assert (loaded.image_size, loaded.clip_seconds, loaded.channels) == (64, 2.0, "mean")
    assert loaded(text="a dog").input_ids.tolist() == [[START, A, DOG, END]]
    assert loaded.encode_prompt("a {}") == processor.encode_prompt("a {}")


def test_a_tokenizer_is_looked_up_where_its_processor_is(tokenizer, tmp_path):
    ACLProcessor(tokenizer=tokenizer).save_pretrained(tmp_path / "saved" / "part")
    loaded = ACLProcessor.from_pretrained(tmp_path / "saved", subfolder="part")
    assert loaded(text="a dog").input_ids.tolist() == [[START, A, DOG, END]]


def test_a_processor_without_a_tokenizer_is_saved_without(tmp_path):
    ACLProcessor(image_size=64).save_pretrained(tmp_path / "saved")
    assert [path.name for path in (tmp_path / "saved").iterdir()] == ["processor_config.json"]
    loaded = ACLProcessor.from_pretrained(tmp_path / "saved")
    assert (loaded.tokenizer, loaded.image_size) == (None, 64)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"image_size": 0}, "`image_size` must be at least 1, got 0"),
        ({"clip_seconds": 0.1}, "`clip_seconds` must be at least 0.2 seconds, got 0.1"),
        ({"channels": "all"}, "`channels` must be one of concatenate, mean, first, got 'all'"),
        ({"image_std": (1, 1, 0)}, "those of `image_std` above 0"),
    ],
)
def test_impossible_settings_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        ACLProcessor(**arguments)
