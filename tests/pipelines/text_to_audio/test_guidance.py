"""Guidance by two conditions: rows, their weights, folded padding, conditions that are passed."""

import copy
import math

import pytest
import torch
from diffusers import DDIMScheduler
from tiny_voiceldm import (
    TEXTS,
    seeded,
    spoken,
    watched_unet,
)

from avzoo.models.voiceldm.content_attention import attend_with_bias, fold_padding
from avzoo.pipelines.text_to_audio.guidance import guidance_rows
from avzoo.pipelines.text_to_audio.pipeline import VoiceLDMPipeline

# --- guidance ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scales", "is_null", "expected"),
    [
        ((5.0, 7.0, None), False, {(True, True): 1.0, (True, False): 5.0, (False, True): 7.0, (False, False): -12.0}),
        ((0.0, 7.0, None), False, {(True, True): 1.0, (False, True): 7.0, (False, False): -7.0}),
        ((5.0, 0.0, None), False, {(True, True): 1.0, (True, False): 5.0, (False, False): -5.0}),
        ((0.0, 0.0, None), False, {(True, True): 1.0}),
        ((5.0, 7.0, None), True, {(True, False): 6.0, (False, False): -5.0}),
        ((0.0, 7.0, None), True, {(True, False): 1.0}),
        ((7.0, 7.0, 3.0), False, {(True, True): 3.0, (False, False): -2.0}),
        ((7.0, 7.0, 3.0), True, {(True, False): 3.0, (False, False): -2.0}),
        ((7.0, 7.0, 1.0), False, {(True, True): 1.0}),
        ((7.0, 7.0, 0.0), False, {(False, False): 1.0}),
    ],
)
def test_rows_and_weights_of_guidance(scales, is_null, expected):
    rows = guidance_rows(*scales, content_is_null=is_null)
    assert rows == expected
    assert sum(rows.values()) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("options", "rows"),
    [
        ({}, 4),
        ({"desc_guidance_scale": 0.0}, 3),
        ({"cont_guidance_scale": 0.0}, 3),
        ({"desc_guidance_scale": 0.0, "cont_guidance_scale": 0.0}, 1),
        ({"content": "_"}, 2),
        ({"content": "_", "cont_guidance_scale": 0.0}, 2),
        ({"content": "_", "desc_guidance_scale": 0.0}, 1),
        ({"content": "hm", "negative_content": "hm"}, 2),
        ({"guidance_scale": 4.0}, 2),
        ({"guidance_scale": 1.0}, 1),
        ({"guidance_scale": 0.0}, 1),
    ],
)
def test_rows_of_weight_zero_are_not_computed(pipe, options, rows):
    calls = watched_unet(pipe, lambda: spoken(pipe, num_inference_steps=1, output_type="latent", **options))
    assert [len(call["sample"]) for call in calls] == [rows]


@torch.no_grad()
@pytest.mark.parametrize("scales", [{"desc_guidance_scale": 5.0, "cont_guidance_scale": 2.0}, {"guidance_scale": 3.0}])
def test_the_guided_noise_is_that_of_the_paper(pipe, monkeypatch, scales):
    """Each row alone, with the padding of the pair laid out and no bias, and put together by hand."""
    guided, latents, step = [], torch.randn(1, 4, 16, 16, generator=seeded(3)), pipe.scheduler.step
    monkeypatch.setattr(
        pipe.scheduler, "step", lambda noise, *args, **more: guided.append(noise) or step(noise, *args, **more)
    )
    spoken(pipe, content="how are you", latents=latents, num_inference_steps=1, output_type="latent", **scales)
    pair = pipe.content_tokenizer(["how are you", "_"], padding=True)
    frames = pipe.content_encoder(pair.input_ids, pair.attention_mask).frames
    described, nothing = pipe.encode_description("a hall"), pipe.encode_description("")

    def noise(description: torch.Tensor, row: int) -> torch.Tensor:
        timestep = pipe.scheduler.timesteps[0]
        return pipe.unet(latents, timestep, frames[row : row + 1], class_labels=description).sample

    with_both, without = noise(described, 0), noise(nothing, 1)
    if "guidance_scale" in scales:
        expected = without + 3 * (with_both - without)
    else:
        expected = with_both + 5 * (noise(described, 1) - without) + 2 * (noise(nothing, 0) - without)
    assert (with_both - without).norm() > 1e-3 * with_both.norm()  # the conditions are felt
    torch.testing.assert_close(guided[0], expected, rtol=1e-5, atol=1e-5)


def test_scales_of_zero_and_a_single_scale_of_one_are_the_same(pipe):
    plain = spoken(pipe, desc_guidance_scale=0.0, cont_guidance_scale=0.0)
    assert torch.equal(plain, spoken(pipe, guidance_scale=1.0))
    assert not torch.equal(plain, spoken(pipe))


def test_scales_that_are_not_passed_are_the_presets(pipe):
    both = {"desc_guidance_scale": 7.0, "cont_guidance_scale": 7.0}
    assert torch.equal(spoken(pipe), spoken(pipe, **both))
    expected = spoken(pipe, desc_guidance_scale=2, cont_guidance_scale=7)
    assert torch.equal(spoken(pipe, desc_guidance_scale=2.0), expected)


# --- folded padding ---------------------------------------------------------------------------------------------------


def test_bias_of_a_folded_frame():
    bias = fold_padding(torch.tensor([2, 3, 1]), torch.tensor([5, 3, 2]), num_frames=4)
    none = -math.inf
    expected = [[0, 0, math.log(3), none], [0, 0, 0, none], [0, 0, none, none]]
    torch.testing.assert_close(bias, torch.tensor(expected))


@torch.no_grad()
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-7)])
def test_one_biased_frame_equals_all_the_padding(parts, dtype, tolerance):
    """What lies beyond it is masked, whatever it is."""
    unet = copy.deepcopy(parts["unet"]).to(dtype)
    generator = seeded(0)
    sample = torch.randn(1, 4, 16, 16, generator=generator).to(dtype)
    own = torch.randn(1, 5, 16, generator=generator).to(dtype)
    padding = torch.randn(1, 1, 16, generator=generator).to(dtype) * 2
    label = torch.randn(1, 12, generator=generator).to(dtype)
    full = unet(sample, 500, torch.cat([own, padding.expand(1, 37, 16)], dim=1), class_labels=label).sample
    folded = torch.cat([own, padding, torch.full((1, 3, 16), 9.0, dtype=dtype)], dim=1)
    bias = fold_padding(torch.tensor([5]), torch.tensor([42]), num_frames=9)

    def with_bias(bias: torch.Tensor) -> torch.Tensor:
        options = {"class_labels": label, "cross_attention_kwargs": {"content_bias": bias}}
        with attend_with_bias(unet):
            return unet(sample, 500, folded, **options).sample

    torch.testing.assert_close(with_bias(bias), full, rtol=tolerance, atol=tolerance)
    unweighted = bias.clamp(max=0)
    assert (with_bias(unweighted) - full).abs().max() > 100 * tolerance


@torch.no_grad()
def test_folded_pairs_of_a_batch_equal_the_padded_pair_of_each_text(pipe):
    frames, bias, null_frames, null_bias = pipe.encode_content(TEXTS, "_")
    sample, label = torch.randn(1, 4, 16, 16, generator=seeded(0)), torch.zeros(1, 12)
    for index, text in enumerate(TEXTS):
        pair = pipe.content_tokenizer([text, "_"], padding=True)
        official = pipe.content_encoder(pair.input_ids, pair.attention_mask)
        for row, (ours, our_bias) in enumerate(((frames, bias), (null_frames, null_bias))):
            expected = pipe.unet(sample, 300, official.frames[row : row + 1], class_labels=label).sample
            options = {"class_labels": label, "cross_attention_kwargs": {"content_bias": our_bias[index : index + 1]}}
            with attend_with_bias(pipe.unet):
                actual = pipe.unet(sample, 300, ours[index : index + 1], **options).sample
            torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)


def test_without_a_null_text_there_is_no_padding(pipe):
    frames, bias, *nothing = pipe.encode_content("hello")
    assert nothing == [None, None]
    assert frames.shape[1] == bias.shape[1]
    assert not bias.any()


# --- conditions that are passed ---------------------------------------------------------------------------------------


def test_shorter_null_content_is_padded_with_masked_frames(pipe):
    content, bias, null, null_bias = pipe.encode_content("hello", "_")
    keep = int((null_bias[0] > -math.inf).sum())
    assert keep < null.shape[1]
    embeds = {"content_embeds": content, "content_bias": bias}
    whole = spoken(pipe, content=None, negative_content_embeds=null, negative_content_bias=null_bias, **embeds)
    cut = {"negative_content_embeds": null[:, :keep], "negative_content_bias": null_bias[:, :keep]}
    torch.testing.assert_close(spoken(pipe, content=None, **cut, **embeds), whole, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["description_embeds", "content_embeds"])
def test_embeds_that_are_not_finite_are_refused(pipe, name):
    values = {"description_embeds": torch.zeros(1, 12), "content_embeds": torch.zeros(1, 5, 16)}
    values[name][0, 0] = math.nan
    with pytest.raises(ValueError, match=f"`{name}` holds NaN or infinite values"):
        pipe(**values)


def test_a_folder_saved_with_the_fast_sampler_comes_back_to_the_authors(pipe, tmp_path):
    pipe.use_preset("reference")
    before = {name: value for name, value in pipe.scheduler.config.items() if name[0] != "_"}
    pipe.use_preset("fast").register_modules(content_tokenizer=None, description_tokenizer=None)
    pipe.save_pretrained(tmp_path)
    after = VoiceLDMPipeline.from_pretrained(tmp_path).use_preset("reference").scheduler
    assert isinstance(after, DDIMScheduler)
    assert {name: value for name, value in after.config.items() if name in before} == before
