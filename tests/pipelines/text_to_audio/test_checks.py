"""Arguments of a call that are refused, and missing components."""

import math

import pytest
import torch
from tiny_voiceldm import (
    assembled,
    noise_of,
    row_of,
    seeded,
    spoken,
    watched_unet,
)

WRONG = {
    "no description": ({"description": None}, r"give one of `description`, .* got none of them"),
    "two descriptions": ({"audio_prompt": "a.wav"}, r"give one of .*, got `description` and `audio_prompt`"),
    "no content": (
        {"content": None},
        r'give one of `content` and `content_embeds`, got none; "_" is the content without speech',
    ),
    "two contents": ({"content_embeds": torch.zeros(1, 2, 16)}, r"give one of `content` and .*, got both"),
    "unequal lists": (
        {"description": ["a", "b"], "content": ["a", "b", "c"]},
        r"lists must be of one length, or have a single item; got `description` of 2 and `content` of 3",
    ),
    "no descriptions": ({"description": []}, r"lists must be of one length.* got `description` of 0 and"),
    "no contents": ({"content": []}, r"lists must be of one length.* `content` of 0"),
    "no recordings": ({"description": None, "audio_prompt": []}, r"lists must be of one length.*`audio_prompt` of 0"),
    "negative length": ({"audio_length_in_s": -1.0}, r"`audio_length_in_s` must be above 0, got -1\.0"),
    "no length": ({"audio_length_in_s": 0}, r"`audio_length_in_s` must be above 0, got 0"),
    "length that is no number": ({"audio_length_in_s": math.nan}, r"`audio_length_in_s` must be above 0, got nan"),
    "endless": ({"audio_length_in_s": math.inf}, r"`audio_length_in_s` must be above 0, got inf"),
    "no steps": ({"num_inference_steps": 0}, r"`num_inference_steps` must be at least 1, got 0"),
    "no waveforms": ({"num_waveforms_per_prompt": 0}, r"`num_waveforms_per_prompt` must be at least 1, got 0"),
    "unknown output": ({"output_type": "wav"}, r"`output_type` must be one of np, pt, mel, latent, got 'wav'"),
    "negative scale": ({"desc_guidance_scale": -1.0}, r"`desc_guidance_scale` must be at least 0, got -1\.0"),
    "scale that is no number": ({"cont_guidance_scale": math.nan}, r"`cont_guidance_scale` must be at least 0, got n"),
    "endless scale": ({"guidance_scale": math.inf}, r"`guidance_scale` must be at least 0, got inf"),
    "three scales": ({"guidance_scale": 3.0, "cont_guidance_scale": 2.0}, r"`guidance_scale` is one scale for both"),
    "too many generators": (
        {"generator": [seeded(0), seeded(1)]},
        r"`generator` is a list of 2, expected one for each of 1 waveforms",
    ),
    "latents of a wrong shape": (
        {"latents": torch.zeros(1, 4, 16, 15)},
        r"`latents` must be \(1, 4, 16, 16\) for these prompts and this length, got \(1, 4, 16, 15\)",
    ),
    "latents of two": ({"latents": torch.zeros(2, 4, 16, 16)}, r"`latents` must be \(1, 4, 16, 16\) .* got \(2, 4,"),
    "latents that are no numbers": (
        {"latents": torch.full((1, 4, 16, 16), math.nan)},
        r"`latents` holds NaN or infinite values",
    ),
    "unknown tensors": (
        {"callback_on_step_end_tensor_inputs": ["noise"]},
        r"`callback_on_step_end_tensor_inputs` must be one of latents, got 'noise'",
    ),
    "a flat description": (
        {"description": None, "description_embeds": torch.zeros(12)},
        r"`description_embeds` must have 2 axes, batch first, got \(12,\)",
    ),
    "flat frames": (
        {"content": None, "content_embeds": torch.zeros(5, 16)},
        r"`content_embeds` must have 3 axes, batch first, got \(5, 16\)",
    ),
    "a bias of another length": (
        {"content": None, "content_embeds": torch.zeros(1, 5, 16), "content_bias": torch.zeros(1, 4)},
        r"`content_bias` must be \(1, 5\), got \(1, 4\)",
    ),
    "a bias of nothing": (
        {"content_bias": torch.zeros(1, 4)},
        r"`content_bias` must be None without `content_embeds`, got \(1, 4\)",
    ),
    "two null texts for three": (
        {"content": ["a", "b", "c"], "negative_content": ["_", "a"]},
        r"lists must be of one length.*`content` of 3 and `negative_content` of 2",
    ),
    "two null descriptions for three": (
        {"content": ["a", "b", "c"], "negative_description": ["rain", "wind"]},
        r"lists must be of one length.*`negative_description` of 2",
    ),
    "a flat null description": (
        {"negative_description_embeds": torch.zeros(12)},
        r"`negative_description_embeds` must have 2 axes, batch first, got \(12,\)",
    ),
    "null frames of another batch": (
        {"content": ["a", "b", "c"], "negative_content_embeds": torch.zeros(2, 5, 16)},
        r"lists must be of one length.*`negative_content_embeds` of 2",
    ),
    "frames without null frames": (
        {"content": None, "content_embeds": torch.zeros(1, 5, 16)},
        r"`negative_content_embeds` is needed beside `content_embeds`",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_arguments_out_of_range_are_refused_before_the_denoiser_runs(pipe, name):
    wrong, message = WRONG[name]

    def call():
        with pytest.raises(ValueError, match=message):
            spoken(pipe, **wrong)

    assert not watched_unet(pipe, call)


def test_half_a_step_is_refused(pipe):
    with pytest.raises(TypeError, match=r"`num_inference_steps` must be a whole number, got 2\.5"):
        spoken(pipe, num_inference_steps=2.5)


@pytest.mark.parametrize("name", ["description", "content", "negative_description", "negative_content"])
@pytest.mark.parametrize("value", [3, ["a", 3], {"a": 1}, [None], ["a", None]])
def test_prompts_that_are_no_texts_are_refused(pipe, name, value):
    with pytest.raises(TypeError, match=rf"`{name}` must be a text or a list of texts, got"):
        spoken(pipe, **{name: value})


@pytest.mark.parametrize(
    ("missing", "options", "message"),
    [
        ("audio_encoder", {"description": None, "audio_prompt": row_of(noise_of(0.5))}, "describe the scene in words"),
        ("feature_extractor", {"description": None, "audio_prompt": row_of(noise_of(0.5))}, "describe the scene in wo"),
        ("description_encoder", {}, "pass `description_embeds`, and `negative_description_embeds` for guidance"),
        ("description_tokenizer", {}, "pass `description_embeds`"),
        ("content_tokenizer", {}, "pass `content_embeds`, and `negative_content_embeds` for guidance"),
        ("vae", {}, 'use output_type="latent"'),
        ("vocoder", {}, 'use output_type="mel"'),
    ],
)
def test_a_missing_component_is_named_with_an_alternative(parts, missing, options, message):
    pipe = assembled(parts, **{missing: None})
    beginning = (
        rf"this pipeline was loaded without its `{missing}`; pass one to `from_pretrained\(\.\.\., {missing}=\.\.\."
    )
    with pytest.raises(ValueError, match=f"{beginning}.*{message}"):
        spoken(pipe, **options)


def test_content_over_the_token_limit_is_cut_with_a_warning(pipe, caplog):
    text = "word " * 1000
    audio = spoken(pipe, content=text)
    assert "`content` has 5001 tokens and is cut off after 200; read it with `read_long_text`" in caplog.text
    caplog.clear()
    assert torch.equal(audio, spoken(pipe, content=text[:199]))
    assert not caplog.text


def test_a_description_over_the_token_limit_is_cut(pipe):
    assert torch.equal(pipe.encode_description("rain " * 100), pipe.encode_description(("rain " * 100)[:37]))


def test_empty_prompts_are_accepted(pipe):
    assert spoken(pipe, "", "").isfinite().all()
    assert spoken(pipe, ["", ""], ["", "hello"]).isfinite().all()
