"""Long texts: cutting them into segments, joining the segments, reading them in one scene."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from tiny_voiceldm import (
    assembled,
    noise_of,
    row_of,
    seeded,
    watched_unet,
)

from avzoo.pipelines.text_to_audio.long_text import join_segments, split_text
from avzoo.pipelines.text_to_audio.pipeline import VoiceLDMPipeline

# --- segments ---------------------------------------------------------------------------------------------------------


STORY = (
    "It was a cold night; the wind howled, and nobody dared to leave the house. “Who is there?” she asked. Silence!\n\n"
    "Then, out of the dark, came a voice that she had not heard for years – or so it seemed… It said “Good evening.” "
    "And that was all."
)


@pytest.mark.parametrize("limit", [1, 2, 5, 9, 17, 40, 75, 120, 1000])
def test_no_segment_is_longer_than_the_limit_and_nothing_is_lost_or_moved(limit):
    segments = split_text(STORY, limit)
    assert max(map(len, segments)) <= limit
    assert all(segment == segment.strip() != "" for segment in segments)
    assert "".join("".join(segments).split()) == "".join(STORY.split())


@pytest.mark.parametrize("limit", [9, 17, 40, 75, 120])
def test_words_stay_whole_where_they_fit(limit):
    assert " ".join(split_text(STORY, limit)).split() == STORY.split()


@pytest.mark.parametrize(
    ("text", "limit", "segments"),
    [
        ("One. Two. Three.", 9, ["One. Two.", "Three."]),
        ("One. Two. Three.", 100, ["One. Two. Three."]),
        ("One.   Two.\n\nThree", 5, ["One.", "Two.", "Three"]),
        ("Is it? It is! Well", 7, ["Is it?", "It is!", "Well"]),
        ("Hello, world. Yes", 8, ["Hello,", "world.", "Yes"]),
        ("first part, second part", 16, ["first part,", "second part"]),
        ("one two three four", 7, ["one two", "three", "four"]),
        ("abcdefghij", 4, ["abcd", "efgh", "ij"]),
        ("a abcdefghij k", 4, ["a", "abcd", "efgh", "ij k"]),
        ("3.5 is more. Than 2.", 12, ["3.5 is more.", "Than 2."]),
        ("He said “Stop.” Then he left.", 18, ["He said “Stop.”", "Then he left."]),
        ('He said "Stop!" Then he left.', 18, ['He said "Stop!"', "Then he left."]),
        ("(It rains.) We stay.", 12, ["(It rains.)", "We stay."]),
    ],
)
def test_segments_by_hand(text, limit, segments):
    assert split_text(text, limit) == segments


@pytest.mark.parametrize("text", ["", " ", "\n\n", " \t \n "])
def test_a_text_of_spaces_says_nothing(text):
    with pytest.raises(ValueError, match=r"`text` holds nothing to say"):
        split_text(text, 10)


@pytest.mark.parametrize("limit", [0, -3])
def test_a_limit_below_one_is_named(limit):
    with pytest.raises(ValueError, match=rf"`max_characters` must be at least 1, got {limit}"):
        split_text("Hello.", limit)


# --- joining ----------------------------------------------------------------------------------------------------------


def noise(samples: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(samples, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def second_differences(signal: torch.Tensor) -> torch.Tensor:
    return signal.diff(n=2).abs()


def test_segments_of_one_signal_are_that_signal_again():
    """Two ends that are alike get neither louder nor softer."""
    tone = torch.sin(2 * math.pi * 440 / 16000 * torch.arange(9000, dtype=torch.float64))
    pieces = [tone[:4000], tone[3000:7000], tone[6000:]]
    torch.testing.assert_close(join_segments(pieces, 1000), tone, rtol=1e-6, atol=1e-6)


def test_unrelated_noises_keep_their_level_where_they_meet():
    joined = join_segments([noise(60000, 1), noise(60000, 2)], 20000)
    assert len(joined) == 100000
    for part in joined.split(4000):
        assert part.std().item() == pytest.approx(1.0, abs=0.06)


@pytest.mark.parametrize("signals", ["tones", "noises"])
def test_no_click_where_segments_meet(signals):
    if signals == "tones":
        time = torch.arange(8000, dtype=torch.float64) / 16000
        segments = [torch.sin(2 * math.pi * (300 * time + phase)) for phase in (0.0, 0.3, 0.5)]
    else:  # smooth ones
        window = torch.hann_window(33, periodic=False, dtype=torch.float64)[None, None]
        segments = [
            torch.nn.functional.conv1d(noise(8032, seed)[None, None], window / window.norm())[0, 0] for seed in range(3)
        ]
    jumps = second_differences(join_segments(segments, 2000))
    fades = torch.zeros(len(jumps), dtype=torch.bool)
    for start in (6000, 12000):
        fades[start - 4 : start + 2004] = True
    assert jumps[fades].max() <= 1.05 * jumps[~fades].max()
    cut = second_differences(torch.cat([segments[0][:-2000], segments[1]]))
    assert cut.max() > 1.5 * jumps.max()  # a plain cut clicks


def test_outside_the_fades_segments_are_as_they_were():
    first, second = noise(500, 1), noise(700, 2)
    joined = join_segments([first, second], 100)
    assert len(joined) == 500 + 700 - 100
    assert torch.equal(joined[:400], first[:400])
    assert torch.equal(joined[500:], second[100:])


def test_silences_join_to_silence_and_no_overlap_means_one_after_the_other():
    assert not join_segments([torch.zeros(50), torch.zeros(60)], 20).any()
    first, second = noise(50, 1), noise(60, 2)
    assert torch.equal(join_segments([first, second], 0), torch.cat([first, second]))


def test_opposite_ends_do_not_blow_up():
    tone = torch.sin(torch.arange(1000) * 0.1)
    joined = join_segments([tone, -tone[-200:].repeat(3)], 200)
    assert joined.abs().max() <= math.sqrt(2)


def test_a_single_segment_stays_as_it_is():
    segment = noise(50)
    assert torch.equal(join_segments([segment], 20), segment)
    assert torch.equal(join_segments([segment], 30), segment)  # nothing overlaps


def test_an_overlap_of_more_than_half_a_segment_is_named():
    with pytest.raises(
        ValueError, match=r"`overlap` \(30 samples\) must be at most half of the shortest segment \(50\)"
    ):
        join_segments([noise(80), noise(50)], 30)


# --- reading ----------------------------------------------------------------------------------------------------------


LONG = "It rains today. We stay at home, and read. Nobody minds! 3 cats sleep on the bed. That is all there is to say."
SHORT_SEGMENTS = {"segment_length_in_s": 3.0, "num_inference_steps": 2, "generator": seeded(0)}


def read(pipe: VoiceLDMPipeline, text: str = LONG, **options: Any) -> np.ndarray:
    return pipe.read_long_text("a hall", text, **{**SHORT_SEGMENTS, "generator": seeded(0), **options}).audios


def segments_of(pipe: VoiceLDMPipeline, call: Callable[[], Any]) -> list[str]:
    encode, seen = pipe.encode_content, []

    def watched(content, *args, **kwargs):
        seen.extend(content)
        return encode(content, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipe, "encode_content", watched)
        call()
    return seen


@dataclasses.dataclass(frozen=True)
class Reading:
    """A long text, read once for several tests."""

    audio: np.ndarray
    segments: list[str]
    calls: list[dict[str, Any]]  # of the denoiser


@pytest.fixture(scope="module")
def reading(parts) -> Reading:
    pipe, audio, segments = assembled(parts), [], []

    def call():
        segments.extend(segments_of(pipe, lambda: audio.append(read(pipe, guidance_scale=1.0))))

    calls = watched_unet(pipe, call)
    return Reading(audio[0], segments, calls)


def test_a_long_text_is_read_in_order_and_completely(reading):
    assert len(reading.segments) > 3
    assert " ".join(reading.segments) == LONG.replace("3 cats", "three cats")
    assert max(map(len, reading.segments)) <= int((3.0 - 1.25) * 14)


def test_segments_share_description_and_first_noise(reading):
    starts = reading.calls[::2]  # two steps each
    assert len(starts) > 3
    shortest = min(call["sample"].shape[2] for call in starts)
    for call in starts:
        assert torch.equal(call["class_labels"], starts[0]["class_labels"])
        assert torch.equal(call["sample"][:1, :, :shortest], starts[0]["sample"][:1, :, :shortest])
    assert (starts[0]["sample"] != reading.calls[1]["sample"]).any()


def test_a_long_text_has_the_length_of_its_segments_minus_the_fades(reading):
    samples = [int(min(len(segment) / 14 + 1.25, 3.0) * 16000) for segment in reading.segments]
    assert reading.audio.shape == (1, sum(samples) - (len(samples) - 1) * 4000)
    assert reading.audio.dtype == np.float32
    assert np.abs(reading.audio).max() == pytest.approx(1.0, abs=1e-3)


def test_a_long_text_does_not_click_where_segments_meet(reading):
    """A click is a large second difference; in the fades there is none larger than within the segments."""
    audio = reading.audio[0]
    jumps, position, fades = np.abs(np.diff(audio, n=2)), 0, np.zeros(len(audio) - 2, bool)
    for segment in reading.segments[:-1]:
        position += int(min(len(segment) / 14 + 1.25, 3.0) * 16000) - 4000
        fades[position - 4 : position + 4004] = True
    assert jumps[fades].max() <= 1.2 * jumps[~fades].max()


def test_a_thousand_characters_are_read_to_the_end(pipe, caplog):
    text = "There is more to say about the weather. " * 25
    options = {"characters_per_second": 100, "num_inference_steps": 1, "guidance_scale": 1.0}
    segments = segments_of(pipe, lambda: read(pipe, text, **options))
    assert len(segments) > 5
    assert " ".join(segments) == text.strip()
    assert "cut off" not in caplog.text


def test_a_text_of_one_segment_is_read(pipe):
    assert read(pipe, "Hello.").shape == (1, int((6 / 14 + 1.25) * 16000))


def test_segments_have_room_for_long_cross_fades(pipe):
    """However little a segment has to say."""
    options = {"segment_length_in_s": 6.0, "pause_in_s": 2.0, "crossfade_in_s": 2.0}
    options |= {"num_inference_steps": 1, "guidance_scale": 1.0}
    assert read(pipe, "Yes. And this is another sentence, somewhat longer.", **options).ndim == 2
    assert read(pipe, "Yes.", **options).ndim == 2


def test_a_long_text_is_read_in_the_scene_of_an_audio_prompt(pipe):
    recording = row_of(noise_of(2.0))
    text, options = "It rains today. We stay at home.", {**SHORT_SEGMENTS, "num_inference_steps": 1}
    given = {"generator": seeded(0), "audio_prompt_start_in_s": 0.5}
    heard = pipe.read_long_text(None, text, recording, **{**options, **given}).audios
    embeds = pipe.encode_audio_prompt(recording, 0.5)
    given = {"generator": seeded(0), "description_embeds": embeds}
    assert np.array_equal(heard, pipe.read_long_text(None, text, **{**options, **given}).audios)


def test_a_long_text_can_be_a_tensor(pipe):
    assert np.array_equal(read(pipe, "Hello.", output_type="pt").numpy(), read(pipe, "Hello."))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"text": ""}, r"`text` holds nothing to say"),
        ({"text": " \n "}, r"`text` holds nothing to say"),
        ({"segment_length_in_s": 0.0}, r"`segment_length_in_s` must be above 0, got 0\.0"),
        ({"segment_length_in_s": math.nan}, r"`segment_length_in_s` must be above 0, got nan"),
        ({"characters_per_second": -1}, r"`characters_per_second` must be above 0, got -1"),
        ({"crossfade_in_s": 0}, r"`crossfade_in_s` must be above 0, got 0"),
        ({"pause_in_s": 0.0}, r"`pause_in_s` must be above 0, got 0\.0"),
        ({"segment_length_in_s": 1.3}, r"`segment_length_in_s` \(1\.3\) must have room for words beside `pause_in_s`"),
        ({"crossfade_in_s": 1.1}, r"`crossfade_in_s` \(1\.1\), and the pause must not be shorter than the cross-fade"),
        ({"output_type": "mel"}, r"`output_type` must be one of np, pt, got 'mel'"),
        ({"latents": torch.zeros(1)}, r"`latents` has no meaning for a text that is cut into segments"),
        ({"negative_content": ["_", "a"]}, r"`negative_content` must be a single one: a text is read in one scene"),
        ({"audio_length_in_s": 5.0}, r"`audio_length_in_s` has no meaning"),
        ({"num_waveforms_per_prompt": 2}, r"`num_waveforms_per_prompt` has no meaning"),
        ({"content_embeds": torch.zeros(1)}, r"`content_embeds` has no meaning"),
        ({"return_dict": False}, r"`return_dict` has no meaning"),
        ({"description": None}, r"give one of `description`, `audio_prompt`"),
        ({"audio_prompt": "a.wav"}, r"give one of `description`, `audio_prompt`"),
        ({"description": ["a", "b"]}, r"`description` must be"),
    ],
)  # fmt: skip
def test_arguments_of_a_long_text_are_refused_before_the_denoiser_runs(pipe, wrong, message):
    arguments = {"description": "a hall", "text": LONG, **SHORT_SEGMENTS, **wrong}

    def call():
        with pytest.raises((ValueError, TypeError), match=message):
            pipe.read_long_text(**arguments)

    assert not watched_unet(pipe, call)
