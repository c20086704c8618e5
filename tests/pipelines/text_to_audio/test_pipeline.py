"""VoiceLDM's pipeline, tiny and complete: guidance, batches, lengths, schedulers, folders, prompts, long texts."""

import copy
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import sentencepiece
import soundfile
import torch
from contract.tiny import tiny_model
from contract.tiny.voiceldm import tiny_pipeline_parts
from diffusers import AutoencoderKL, DDIMScheduler
from transformers import (
    BatchEncoding,
    ClapAudioConfig,
    ClapAudioModelWithProjection,
    ClapFeatureExtractor,
    ClapTextConfig,
    ClapTextModelWithProjection,
    RobertaTokenizer,
    SpeechT5HifiGan,
    SpeechT5HifiGanConfig,
    SpeechT5Tokenizer,
)

from avzoo import zoo
from avzoo.audio import write_wav
from avzoo.models.voiceldm import spectrograms
from avzoo.models.voiceldm.content_attention import attend_with_bias, fold_padding
from avzoo.models.voiceldm.spectrograms import decode_latents, vocode, vocoder_context, vocoder_samples
from avzoo.pipelines.text_to_audio.pipeline import PRESETS, VoiceLDMPipeline, guidance_rows, normalized

DESCRIBED, NOT_DESCRIBED, SPOKEN, NOT_SPOKEN = True, False, True, False
ALPHABET = "abcdefghijklmnopqrstuvwxyz"
PROMPTS = ["a hall", "in a park, with birds", "", "rain"]
TEXTS = ["hello", "how are you today?", "a", "_"]


class Characters:
    """A tokenizer of single characters, each of which has a number, that ends and pads texts as the real ones do."""

    def __init__(self, vocab_size: int):
        self.letters = vocab_size - 4

    def __call__(self, texts, padding=False, truncation=False, max_length=None, return_tensors=None) -> BatchEncoding:
        ids = [[4 + ord(character) % self.letters for character in text] for text in texts]
        ids = [[*row[: max_length - 1 if truncation else None], 2] for row in ids]
        if not padding:
            return BatchEncoding({"input_ids": ids})
        longest = max(map(len, ids))
        mask = [[1] * len(row) + [0] * (longest - len(row)) for row in ids]
        padded = [row + [1] * (longest - len(row)) for row in ids]
        return BatchEncoding({"input_ids": torch.tensor(padded), "attention_mask": torch.tensor(mask)})


def tiny_vae() -> AutoencoderKL:
    return AutoencoderKL(
        in_channels=1,
        out_channels=1,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(4, 4, 8),
        latent_channels=4,
        norm_num_groups=4,
        sample_size=64,
        scaling_factor=0.9,
    ).eval()


def tiny_vocoder() -> SpeechT5HifiGan:
    """With the strides of the real one, so with its lengths; its own draws would be inaudible."""
    config = SpeechT5HifiGanConfig(
        model_in_dim=64,
        upsample_initial_channel=32,
        upsample_rates=(5, 4, 2, 2, 2),
        upsample_kernel_sizes=(16, 16, 8, 4, 4),
        resblock_kernel_sizes=(3,),
        resblock_dilation_sizes=((1, 3),),
        normalize_before=False,
    )
    vocoder = SpeechT5HifiGan(config).eval()
    with torch.no_grad():
        for weight in vocoder.parameters():
            if weight.ndim > 1:
                weight.normal_(std=weight[0].numel() ** -0.5)
    return vocoder


@pytest.fixture(scope="module")
def parts() -> dict[str, Any]:
    required = tiny_pipeline_parts()
    row = zoo.find_row("voiceldm")
    torch.manual_seed(1)
    description = ClapTextConfig(
        vocab_size=64,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=40,
        projection_dim=12,
    )
    sound = ClapAudioConfig(
        window_size=4,
        num_mel_bins=16,
        spec_size=64,
        patch_size=4,
        patch_stride=[4, 4],
        hidden_size=64,
        projection_dim=12,
        depths=[1, 1],
        num_attention_heads=[2, 2],
        patch_embeds_hidden_size=32,
    )
    optional = {
        "vae": tiny_vae(),
        "vocoder": tiny_vocoder(),
        "description_encoder": ClapTextModelWithProjection(description).eval(),
        "description_tokenizer": Characters(64),
        "content_tokenizer": Characters(64),
        "audio_encoder": ClapAudioModelWithProjection(sound).eval(),
        "feature_extractor": ClapFeatureExtractor(
            feature_size=16,
            sampling_rate=8000,
            hop_length=80,
            max_length_s=1,
            fft_window_size=256,
            frequency_min=50,
            frequency_max=3500,
            truncation="rand_trunc",
        ),
    }
    encoder = tiny_model(row, hidden_size=16, vocab_size=64, max_text_positions=200)
    # As the released file has it: spacing stated, and not left to what a class of scheduler prefers.
    settings = {name: value for name, value in required["scheduler"].config.items() if name[0] != "_"}
    scheduler = DDIMScheduler(**{**settings, "timestep_spacing": "leading"})
    return {**required, **optional, "content_encoder": encoder, "scheduler": scheduler}


@pytest.fixture
def pipe(parts) -> VoiceLDMPipeline:
    return assembled(parts)


def assembled(parts: dict[str, Any], **changes: Any) -> VoiceLDMPipeline:
    pipe = VoiceLDMPipeline(**{**parts, **changes})
    pipe.set_progress_bar_config(disable=True)
    return pipe


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def spoken(pipe: VoiceLDMPipeline, description: Any = "a hall", content: Any = "hello", **options: Any) -> torch.Tensor:
    """A short result as a tensor."""
    defaults = {"audio_length_in_s": 0.64, "num_inference_steps": 3, "output_type": "pt", "generator": seeded(0)}
    return pipe(description, content, **{**defaults, **options}).audios


def watched_unet(pipe: VoiceLDMPipeline, call: Callable[[], Any]) -> list[dict[str, Any]]:
    """Arguments of every call of the denoiser."""
    seen: list[dict[str, Any]] = []

    def note(module, args, kwargs):
        seen.append({"sample": args[0], "timestep": args[1], **kwargs})

    hook = pipe.unet.register_forward_pre_hook(note, with_kwargs=True)
    try:
        call()
    finally:
        hook.remove()
    return seen


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
def test_rows_and_their_factors_by_hand(scales, is_null, expected):
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
def test_the_denoiser_gets_no_row_that_is_not_needed(pipe, options, rows):
    calls = watched_unet(pipe, lambda: spoken(pipe, output_type="latent", **options))
    assert [len(call["sample"]) for call in calls] == [rows] * 3


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


def test_scales_that_are_not_named_are_the_presets(pipe):
    assert torch.equal(spoken(pipe), spoken(pipe, desc_guidance_scale=7.0, cont_guidance_scale=7.0))
    assert torch.equal(
        spoken(pipe, desc_guidance_scale=2.0), spoken(pipe, desc_guidance_scale=2, cont_guidance_scale=7)
    )


# --- folded padding ---------------------------------------------------------------------------------------------------


def test_the_bias_of_a_folded_frame_by_hand():
    bias = fold_padding(torch.tensor([2, 3, 1]), torch.tensor([5, 3, 2]), num_frames=4)
    none = -math.inf
    expected = [[0, 0, math.log(3), none], [0, 0, 0, none], [0, 0, none, none]]
    torch.testing.assert_close(bias, torch.tensor(expected))


@torch.no_grad()
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-7)])
def test_one_biased_frame_does_what_all_the_padding_does(parts, dtype, tolerance):
    """What lies beyond it is masked, whatever it is."""
    unet = copy.deepcopy(parts["unet"]).to(dtype)
    attend_with_bias(unet)
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
        return unet(sample, 500, folded, **options).sample

    torch.testing.assert_close(with_bias(bias), full, rtol=tolerance, atol=tolerance)
    unweighted = bias.clamp(max=0)
    assert (with_bias(unweighted) - full).abs().max() > 100 * tolerance


@torch.no_grad()
def test_folded_pairs_of_a_batch_are_the_padded_pairs_of_each_text(pipe):
    frames, bias, null_frames, null_bias = pipe.encode_content(TEXTS, "_")
    sample, label = torch.randn(1, 4, 16, 16, generator=seeded(0)), torch.zeros(1, 12)
    for index, text in enumerate(TEXTS):
        pair = pipe.content_tokenizer([text, "_"], padding=True)
        official = pipe.content_encoder(pair.input_ids, pair.attention_mask)
        for row, (ours, our_bias) in enumerate(((frames, bias), (null_frames, null_bias))):
            expected = pipe.unet(sample, 300, official.frames[row : row + 1], class_labels=label).sample
            options = {"class_labels": label, "cross_attention_kwargs": {"content_bias": our_bias[index : index + 1]}}
            actual = pipe.unet(sample, 300, ours[index : index + 1], **options).sample
            torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)


def test_without_a_null_text_there_is_no_padding(pipe):
    frames, bias, *nothing = pipe.encode_content("hello")
    assert nothing == [None, None]
    assert frames.shape[1] == bias.shape[1]
    assert not bias.any()


# --- batches and noise ------------------------------------------------------------------------------------------------


def test_a_batch_is_its_items(pipe):
    together = spoken(pipe, PROMPTS, TEXTS, generator=[seeded(i) for i in range(4)])
    for index, (description, content) in enumerate(zip(PROMPTS, TEXTS, strict=True)):
        alone = spoken(pipe, description, content, generator=seeded(index))
        torch.testing.assert_close(together[index : index + 1], alone, rtol=1e-4, atol=1e-4)
        assert (together[index - 1] - alone[0]).abs().max() > 0.1


def test_an_unguided_batch_is_its_items(pipe):
    together = spoken(pipe, PROMPTS, TEXTS, generator=[seeded(i) for i in range(4)], guidance_scale=1.0)
    for index, (description, content) in enumerate(zip(PROMPTS, TEXTS, strict=True)):
        alone = spoken(pipe, description, content, generator=seeded(index), guidance_scale=1.0)
        torch.testing.assert_close(together[index : index + 1], alone, rtol=1e-4, atol=1e-4)


def test_one_description_goes_with_every_text_and_one_text_with_every_description(pipe):
    noise = torch.randn(1, 4, 16, 16, generator=seeded(0))
    for prompts in (("rain", TEXTS[:2]), (["rain"], TEXTS[:2]), (PROMPTS[:2], "hello"), (PROMPTS[:2], ("hello",))):
        both = spoken(pipe, *prompts, latents=noise.repeat(2, 1, 1, 1))
        for index in range(2):
            alone = spoken(pipe, *((p if isinstance(p, str) else p[index % len(p)]) for p in prompts), latents=noise)
            torch.testing.assert_close(both[index], alone[0], rtol=1e-4, atol=1e-4)


def test_the_waveforms_of_a_prompt_lie_together(pipe):
    four = spoken(
        pipe, PROMPTS[:2], TEXTS[:2], num_waveforms_per_prompt=2, generator=[seeded(index) for index in range(4)]
    )
    assert len(four) == 4
    for index in range(4):
        alone = spoken(pipe, PROMPTS[index // 2], TEXTS[index // 2], generator=seeded(index))
        torch.testing.assert_close(four[index], alone[0], rtol=1e-4, atol=1e-4)


def test_seed_zero_is_a_seed(pipe):
    first = spoken(pipe, generator=seeded(0))
    assert torch.equal(first, spoken(pipe, generator=seeded(0)))
    assert not torch.equal(first, spoken(pipe, generator=seeded(1)))
    assert not torch.equal(first, spoken(pipe, generator=None))


def test_all_noise_comes_from_the_generator(pipe):
    """Also what `eta` adds at each step; and nothing is drawn from torch's global generator."""
    torch.manual_seed(0)
    state = torch.get_rng_state()
    first = spoken(pipe, eta=1.0, generator=seeded(5))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, spoken(pipe, eta=1.0, generator=seeded(5)))
    assert not torch.equal(first, spoken(pipe, eta=0.0, generator=seeded(5)))


def test_noise_that_is_passed_is_the_noise(pipe):
    noise = torch.randn(1, 4, 16, 16, generator=seeded(0))
    assert torch.equal(spoken(pipe, latents=noise, generator=None), spoken(pipe, generator=seeded(0)))


@pytest.mark.parametrize("options", [{}, {"guidance_scale": 3.0}, {"guidance_scale": 1.0}])
def test_embeddings_give_the_same_bits_as_their_texts(pipe, options):
    content = pipe.encode_content(TEXTS, None if options.get("guidance_scale") == 1 else "_")
    frames, bias, null_frames, null_bias = content
    embedded = spoken(
        pipe,
        None,
        None,
        description_embeds=pipe.encode_description(PROMPTS),
        negative_description_embeds=pipe.encode_description(""),
        content_embeds=frames,
        content_bias=bias,
        negative_content_embeds=null_frames,
        negative_content_bias=null_bias,
        **options,
    )
    assert torch.equal(embedded, spoken(pipe, PROMPTS, TEXTS, **options))


def test_embeddings_do_without_the_encoders(parts, pipe):
    bare = assembled(parts, description_encoder=None, description_tokenizer=None, content_tokenizer=None)
    frames, bias, null_frames, null_bias = pipe.encode_content("hello", "_")
    audio = spoken(
        bare,
        None,
        None,
        description_embeds=pipe.encode_description("a hall"),
        negative_description_embeds=pipe.encode_description(""),
        content_embeds=frames,
        content_bias=bias,
        negative_content_embeds=null_frames,
        negative_content_bias=null_bias,
    )
    assert torch.equal(audio, spoken(pipe))


def test_negative_prompts_are_what_guidance_leads_away_from(pipe):
    assert torch.equal(spoken(pipe, negative_description="", negative_content="_"), spoken(pipe))
    assert not torch.equal(spoken(pipe, negative_description="rain"), spoken(pipe))
    assert not torch.equal(spoken(pipe, negative_content="ah"), spoken(pipe))


def test_numbers_are_spelled_out_unless_told_otherwise(pipe):
    assert torch.equal(spoken(pipe, content="3 dogs"), spoken(pipe, content="three dogs"))
    assert not torch.equal(spoken(pipe, content="3 dogs", spell_out=False), spoken(pipe, content="three dogs"))


# --- lengths ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [0.01, 0.3, 0.41, 0.5, 1.0, 1.7, 2.345, 5, 10.0, 60])
def test_the_waveform_has_exactly_the_samples_asked_for(pipe, seconds):
    audio = spoken(pipe, audio_length_in_s=seconds, num_inference_steps=1, guidance_scale=1.0)
    assert audio.shape == (1, int(seconds * 16000))
    assert audio.abs().max() == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("seconds", [1.7, 2.345, 5, 7, 10, 12.5, 60])
def test_from_a_second_and_a_half_on_latents_are_as_long_as_the_authors(pipe, seconds):
    assert pipe.prepare_latents(1, seconds).shape == (1, 4, int(seconds * 1.024 / 0.01) // 4, 16)


@pytest.mark.parametrize("seconds", [0.3, 0.41, 0.5])
def test_shorter_ones_are_as_much_longer_as_they_must_be(pipe, seconds):
    latents, config = pipe.prepare_latents(1, seconds).shape[2], pipe.vocoder.config
    assert latents > int(seconds * 1.024 / 0.01) // 4
    assert vocoder_samples(config, 4 * latents) >= seconds * 16000 > vocoder_samples(config, 4 * latents - 4)


@torch.no_grad()
@pytest.mark.parametrize("frames", [1, 2, 7, 64])
def test_the_samples_of_the_vocoder_are_foretold(parts, frames):
    vocoder = parts["vocoder"]
    assert vocoder(torch.zeros(1, frames, 64)).shape[1] == vocoder_samples(vocoder.config, frames)


# --- results ----------------------------------------------------------------------------------------------------------


def test_every_kind_of_result_follows_from_the_one_before(pipe):
    results = {kind: spoken(pipe, output_type=kind, normalize=False) for kind in ("latent", "mel", "pt", "np")}
    assert results["latent"].shape == (1, 4, 16, 16)
    assert results["mel"].shape == (1, 1, 64, 64)
    assert torch.equal(results["mel"], pipe.decode_latents(results["latent"]))
    assert torch.equal(results["pt"], pipe.vocode(results["mel"])[:, : int(0.64 * 16000)])
    assert isinstance(results["np"], np.ndarray)
    assert results["np"].dtype == np.float32
    assert np.array_equal(results["np"], results["pt"].numpy())
    assert torch.equal(spoken(pipe), normalized(results["pt"]))


def test_a_tuple_holds_the_same(pipe):
    (audio,) = pipe(
        "a hall", "hello", audio_length_in_s=0.64, num_inference_steps=3, generator=seeded(0), return_dict=False
    )
    assert torch.equal(torch.from_numpy(audio), spoken(pipe))


def test_latents_and_spectrograms_need_no_vae_or_vocoder(parts, pipe):
    bare = assembled(parts, vae=None, vocoder=None)
    assert torch.equal(spoken(bare, output_type="latent"), spoken(pipe, output_type="latent"))
    half = assembled(parts, vocoder=None)
    assert torch.equal(spoken(half, output_type="mel"), spoken(pipe, output_type="mel"))


def test_each_waveform_has_no_mean_and_a_peak_of_one():
    waveforms = torch.tensor([[1.0, 3.0, 2.0, 2.0], [0.1, 0.5, 0.3, 0.3]])
    expected = torch.tensor([[-1.0, 1.0, 0.0, 0.0], [-1.0, 1.0, 0.0, 0.0]])
    torch.testing.assert_close(normalized(waveforms), expected)


def test_silence_stays_silence_and_leaves_its_neighbour_alone():
    loud = torch.tensor([0.25, -0.25, 0.0, 0.0])
    quiet, nothing = loud * 1e-3, torch.full((4,), 0.2)
    audio = normalized(torch.stack([loud, quiet, nothing]))
    torch.testing.assert_close(audio[0], 4 * loud)
    torch.testing.assert_close(audio[1], quiet)
    assert audio[2].abs().max() < 1e-6


def test_a_waveform_that_is_not_finite_is_refused(pipe):
    spectrogram = torch.zeros(2, 1, 8, 64)
    spectrogram[1, 0, 3, 3] = math.nan
    with pytest.raises(
        ValueError, match=r"the waveform is not finite: torch\.float32 may have overflowed.*smaller scal"
    ):
        pipe.vocode(spectrogram)


# --- callbacks --------------------------------------------------------------------------------------------------------


def test_a_callback_sees_every_step_and_may_change_the_latents(pipe):
    seen = []

    def callback(given, index, timestep, tensors):
        seen.append((given is pipe, index, int(timestep), tuple(tensors["latents"].shape)))
        return {"latents": torch.zeros_like(tensors["latents"])} if index == 2 else None

    assert not spoken(pipe, output_type="latent", callback_on_step_end=callback).any()
    assert seen == [(True, 0, 667, (1, 4, 16, 16)), (True, 1, 334, (1, 4, 16, 16)), (True, 2, 1, (1, 4, 16, 16))]


def test_a_callback_that_wants_no_tensors_gets_none(pipe):
    given = []
    options = {"callback_on_step_end": lambda pipe, index, timestep, tensors: given.append(tensors)}
    spoken(pipe, callback_on_step_end_tensor_inputs=(), **options)
    assert given == [{}, {}, {}]


def test_a_callback_can_interrupt(pipe):
    def callback(pipe, index, timestep, tensors):
        pipe.interrupt = True

    calls = watched_unet(pipe, lambda: spoken(pipe, callback_on_step_end=callback))
    assert len(calls) == 1
    assert len(watched_unet(pipe, lambda: spoken(pipe))) == 3  # the next call isn't interrupted


def test_nothing_is_interrupted_before_the_first_call(pipe):
    assert pipe.interrupt is False


# --- schedulers and presets -------------------------------------------------------------------------------------------

SCHEDULERS = ["DDIM", "UniPCMultistep", "DEISMultistep", "LMSDiscrete", "PNDM", "DPMSolverMultistep", "EulerDiscrete",
              "EulerAncestralDiscrete", "HeunDiscrete"]  # fmt: skip


@pytest.mark.parametrize("name", SCHEDULERS)
def test_other_schedulers_run(pipe, name):
    pipe.scheduler = getattr(diffusers, f"{name}Scheduler").from_config(pipe.scheduler.config)
    audio = spoken(pipe, num_inference_steps=5)
    assert audio.isfinite().all()
    assert audio.abs().max() == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_call_does_not_depend_on_the_call_before_it(pipe, name):
    """The level of the first noise belongs to the timesteps of this call, not to those of the last one."""
    pipe.scheduler = getattr(diffusers, f"{name}Scheduler").from_config(pipe.scheduler.config)
    first = spoken(pipe, num_inference_steps=5, output_type="latent")
    spoken(pipe, num_inference_steps=4, output_type="latent")
    assert torch.equal(spoken(pipe, num_inference_steps=5, output_type="latent"), first)


def test_the_first_noise_is_as_strong_as_the_scheduler_says(pipe):
    pipe.scheduler = diffusers.EulerDiscreteScheduler.from_config(pipe.scheduler.config)
    noise = torch.randn(1, 4, 16, 16, generator=seeded(0))
    call = watched_unet(pipe, lambda: spoken(pipe, latents=noise, num_inference_steps=4, guidance_scale=1.0))[0]
    pipe.scheduler.set_timesteps(4)
    expected = pipe.scheduler.scale_model_input(noise * pipe.scheduler.init_noise_sigma, pipe.scheduler.timesteps[0])
    torch.testing.assert_close(call["sample"], expected)


def test_a_preset_names_scheduler_steps_and_scales(pipe):
    pipe.use_preset("fast")
    assert type(pipe.scheduler) is diffusers.UniPCMultistepScheduler
    assert pipe.scheduler.config.use_karras_sigmas
    assert pipe.preset == "fast"
    assert len(watched_unet(pipe, lambda: spoken(pipe, num_inference_steps=None, output_type="latent"))) == 20
    assert pipe.use_preset("reference") is pipe
    assert len(watched_unet(pipe, lambda: spoken(pipe, num_inference_steps=None, output_type="latent"))) == 50


def test_going_to_another_preset_and_back_leaves_no_trace(pipe):
    before = dict(pipe.scheduler.config)
    after = dict(pipe.use_preset("fast").use_preset("reference").scheduler.config)
    unordered = "_use_default_values"
    assert sorted(after.pop(unordered, [])) == sorted(before.pop(unordered, []))
    assert after == before
    timesteps = DDIMScheduler.from_config(before)
    timesteps.set_timesteps(50)
    pipe.scheduler.set_timesteps(50)
    assert torch.equal(pipe.scheduler.timesteps, timesteps.timesteps)
    assert pipe.scheduler.timesteps[[0, 1, -1]].tolist() == [981, 961, 1]


def test_a_scheduler_of_no_preset_has_steps_and_scales_all_the_same(pipe):
    pipe.scheduler = diffusers.LMSDiscreteScheduler.from_config(pipe.scheduler.config)
    assert pipe.preset is None
    assert len(watched_unet(pipe, lambda: spoken(pipe, num_inference_steps=None, output_type="latent"))) == 50


def test_two_presets_of_one_scheduler_are_told_apart(parts):
    quick = {**PRESETS["reference"], "num_inference_steps": 2, "settings": {"timestep_spacing": "trailing"}}
    pipe = assembled(parts, presets={**PRESETS, "quick": quick}).use_preset("quick")
    assert pipe.preset == "quick"
    assert len(watched_unet(pipe, lambda: spoken(pipe, num_inference_steps=None, output_type="latent"))) == 2


@pytest.mark.parametrize("scheduler", ["NoScheduler", "AutoencoderKL", "utils"])
def test_unknown_presets_and_schedulers_are_named(parts, scheduler):
    pipe = assembled(parts, presets={"mine": {**PRESETS["fast"], "scheduler": scheduler}})
    with pytest.raises(ValueError, match=r"`name` must be one of mine, got 'fast'"):
        pipe.use_preset("fast")
    before = pipe.scheduler
    with pytest.raises(ValueError, match=rf"preset 'mine' names '{scheduler}', which is no scheduler of diffusers"):
        pipe.use_preset("mine")
    assert pipe.scheduler is before


# --- decoding in pieces -----------------------------------------------------------------------------------------------


@torch.no_grad()
def test_a_spectrogram_in_pieces_sounds_as_the_whole(parts, monkeypatch):
    vocoder, spectrogram = parts["vocoder"], torch.randn(2, 100, 64, generator=seeded(0))
    whole = vocoder(spectrogram)
    for size in (1, 20, 33, 99, 100, 500):
        torch.testing.assert_close(vocode(vocoder, spectrogram, size), whole, rtol=1e-6, atol=1e-6)
    context = vocoder_context(vocoder.config)
    monkeypatch.setattr(spectrograms, "vocoder_context", lambda config: context // 2)
    assert (vocode(vocoder, spectrogram, 20) - whole).abs().max() > 1e-4


@torch.no_grad()
def test_chunked_decoding_has_the_length_of_the_whole_and_nearly_its_values(pipe):
    latents = torch.randn(2, 4, 200, 16, generator=seeded(0))
    whole = pipe.decode_latents(latents)
    pipe.enable_chunked_decoding(2.56)
    widths = []
    hook = pipe.vae.decoder.register_forward_pre_hook(lambda module, args: widths.append(args[0].shape[2]))
    chunked = pipe.decode_latents(latents)
    hook.remove()
    assert max(widths) == 64
    assert chunked.shape == whole.shape
    assert (chunked - whole).norm() < 0.2 * whole.norm()  # norms and attention span all they get
    pipe.disable_chunked_decoding()
    assert torch.equal(pipe.decode_latents(latents), whole)


@torch.no_grad()
@pytest.mark.parametrize("latent_frames", [33, 48, 49, 50, 63, 64, 65, 80, 81])
def test_every_frame_is_decoded_whatever_the_number_of_pieces(parts, latent_frames):
    latents = torch.randn(1, 4, latent_frames, 4, generator=seeded(0))
    whole, pieces = decode_latents(parts["vae"], latents), decode_latents(parts["vae"], latents, 32, overlap=16)
    assert pieces.shape == whole.shape == (1, 1, 4 * latent_frames, 16)


@torch.no_grad()
def test_pieces_may_simply_follow_one_another(parts):
    latents = torch.randn(1, 4, 64, 4, generator=seeded(0))
    pieces = decode_latents(parts["vae"], latents, 32, overlap=0)
    expected = torch.cat([decode_latents(parts["vae"], half) for half in latents.split(32, dim=2)], dim=2)
    torch.testing.assert_close(pieces, expected)


def test_the_seconds_of_a_piece_are_checked(pipe):
    for seconds in (0.5, -1, math.nan):
        with pytest.raises(ValueError, match=r"`seconds` must be at least 1 and finite, got"):
            pipe.enable_chunked_decoding(seconds)


def test_slicing_changes_nothing_but_memory(pipe):
    whole, widths = spoken(pipe, PROMPTS[:2], TEXTS[:2]), []
    hook = pipe.vae.decoder.register_forward_pre_hook(lambda module, args: widths.append(len(args[0])))
    pipe.enable_vae_slicing()
    sliced = spoken(pipe, PROMPTS[:2], TEXTS[:2])
    pipe.disable_vae_slicing()
    hook.remove()
    assert widths == [1, 1]
    torch.testing.assert_close(sliced, whole, rtol=1e-4, atol=1e-4)


# --- folders ----------------------------------------------------------------------------------------------------------


def real_tokenizers(folder: Path) -> dict[str, Any]:
    lines = ["the quick brown fox jumps over the lazy dog", "how are you today?", "hello, world!"]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_prefix=str(folder / "characters"), model_type="char", vocab_size=50,
        hard_vocab_limit=False, bos_id=0, pad_id=1, eos_id=2, unk_id=3, minloglevel=2,
    )  # fmt: skip
    pieces = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "Ġ", *ALPHABET, ",", "."]
    return {
        "content_tokenizer": SpeechT5Tokenizer(str(folder / "characters.model")),
        "description_tokenizer": RobertaTokenizer(vocab={piece: i for i, piece in enumerate(pieces)}, merges=[]),
    }


@pytest.fixture(scope="module")
def whole_pipe(parts, tmp_path_factory) -> VoiceLDMPipeline:
    """With tokenizers of the kind that the real ones are."""
    return assembled(parts, **real_tokenizers(tmp_path_factory.mktemp("tokenizers")), null_content="hm", presets=None)


@pytest.fixture(scope="module")
def folder(whole_pipe, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pipeline")
    assembled(whole_pipe.components, null_content="hm").use_preset("fast").save_pretrained(folder)
    return folder


def test_the_tokenizers_number_texts_as_the_released_ones_do(whole_pipe):
    content, null = whole_pipe.content_tokenizer(["a fox 7", "_"]).input_ids
    assert (content[0], content[-2:]) == (4, [3, 2])
    assert null == [4, 3, 2]
    assert whole_pipe.description_tokenizer([""]).input_ids == [[0, 2]]


def test_real_tokenizers_make_a_batch_of_its_items(whole_pipe):
    together = spoken(whole_pipe, PROMPTS, TEXTS, generator=[seeded(i) for i in range(4)])
    for index, (description, content) in enumerate(zip(PROMPTS, TEXTS, strict=True)):
        alone = spoken(whole_pipe, description, content, generator=seeded(index))
        torch.testing.assert_close(together[index : index + 1], alone, rtol=1e-4, atol=1e-4)


LOAD = """
import sys, torch
import avzoo
from diffusers import DiffusionPipeline
folder, bare, out = sys.argv[1:]
def spoken(pipe, **options):
    pipe.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(0)
    return pipe(content="hello", audio_length_in_s=0.64, num_inference_steps=3, generator=generator, output_type="pt",
                **options).audios
anyone = DiffusionPipeline.from_pretrained(folder)
assert type(anyone) is avzoo.VoiceLDMPipeline
ours = avzoo.VoiceLDMPipeline.from_pretrained(folder)
assert (ours.preset, ours.config.null_content) == ("fast", "hm"), (ours.preset, ours.config.null_content)
less = DiffusionPipeline.from_pretrained(bare)
assert less.audio_encoder is None and less.vae is None
recording = {"array": torch.linspace(-1, 1, 9000).sin().numpy(), "sampling_rate": 16000}
torch.save({"anyone": spoken(anyone, description="a hall"), "ours": spoken(ours, description="a hall"),
            "prompted": spoken(ours, audio_prompt=recording)}, out)
"""


def test_a_folder_loads_in_another_process_and_computes_the_same(folder, whole_pipe, parts, tmp_path):
    assembled({name: parts[name] for name in ("unet", "content_encoder", "scheduler")}).save_pretrained(
        tmp_path / "bare"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    command = [sys.executable, "-c", LOAD, folder, tmp_path / "bare", tmp_path / "out.pt"]
    answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert answer.returncode == 0, answer.stderr
    there = torch.load(tmp_path / "out.pt")
    here = VoiceLDMPipeline.from_pretrained(folder)
    here.set_progress_bar_config(disable=True)
    pipe = assembled(whole_pipe.components, null_content="hm").use_preset("fast")
    expected = spoken(pipe)
    assert expected.abs().max() == pytest.approx(1.0, abs=1e-3)
    recording = {"array": torch.linspace(-1, 1, 9000).sin().numpy(), "sampling_rate": 16000}
    close = {"rtol": 1e-4, "atol": 1e-5}  # weights lie at other addresses, which the last bits of a product can show
    torch.testing.assert_close(spoken(here), expected, **close)
    torch.testing.assert_close(there["anyone"], expected, **close)
    torch.testing.assert_close(there["ours"], expected, **close)
    torch.testing.assert_close(there["prompted"], spoken(pipe, None, audio_prompt=recording), **close)
    for name in ("unet", "content_encoder", "vae", "vocoder", "description_encoder", "audio_encoder"):
        written, loaded = getattr(pipe, name).state_dict(), getattr(here, name).state_dict()
        assert written.keys() == loaded.keys()
        assert all(torch.equal(written[key], loaded[key]) for key in written)


def test_parts_can_be_left_out_when_loading_and_when_saving(folder, whole_pipe, tmp_path):
    loaded = VoiceLDMPipeline.from_pretrained(folder, audio_encoder=None, feature_extractor=None)
    assert loaded.audio_encoder is None
    loaded.save_pretrained(tmp_path)
    assert not (tmp_path / "audio_encoder").exists()
    again = VoiceLDMPipeline.from_pretrained(tmp_path)
    again.set_progress_bar_config(disable=True)
    pipe = assembled(whole_pipe.components, null_content="hm").use_preset("fast")
    torch.testing.assert_close(spoken(again), spoken(pipe), rtol=1e-4, atol=1e-5)


def test_a_folder_loads_in_half_precision(folder):
    pipe = VoiceLDMPipeline.from_pretrained(folder, torch_dtype=torch.bfloat16)
    pipe.set_progress_bar_config(disable=True)
    assert {part.dtype for part in (pipe.unet, pipe.content_encoder, pipe.vae, pipe.vocoder)} == {torch.bfloat16}
    audio = spoken(pipe, PROMPTS, TEXTS, num_inference_steps=5)
    assert audio.dtype == torch.float32
    assert audio.isfinite().all()
    assert audio.abs().amax(1).tolist() == pytest.approx([1.0] * 4, abs=1e-3)
    recording = {"array": torch.linspace(-1, 1, 9000).sin().numpy(), "sampling_rate": 16000}
    assert spoken(pipe, None, audio_prompt=recording, output_type="np").dtype == np.float32


# --- audio prompts ----------------------------------------------------------------------------------------------------


def noise_of(seconds: float, rate: int = 8000, channels: int = 1, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal((channels, int(seconds * rate))).astype(np.float32) * 0.1
    return noise[0] if channels == 1 else noise


def row_of(samples: np.ndarray, rate: int = 8000) -> dict[str, Any]:
    return {"array": samples, "sampling_rate": rate}


def test_files_of_every_kind_are_heard_alike(pipe, tmp_path):
    samples = np.round(noise_of(0.8) * 32768) / 32768  # both kinds hold these values exactly
    write_wav(tmp_path / "prompt.wav", samples, 8000)
    soundfile.write(tmp_path / "prompt.flac", samples, 8000)
    expected = pipe.encode_audio_prompt(row_of(samples))
    assert expected.shape == (1, 12)
    for name in ("prompt.wav", "prompt.flac"):
        assert torch.equal(pipe.encode_audio_prompt(tmp_path / name), expected)
    assert torch.equal(pipe.encode_audio_prompt((tmp_path / "prompt.wav").read_bytes()), expected)


def test_the_first_channel_is_heard(pipe):
    stereo = noise_of(0.8, channels=2)
    heard = pipe.encode_audio_prompt(row_of(stereo))
    assert torch.equal(heard, pipe.encode_audio_prompt(row_of(stereo[0])))
    assert not torch.equal(heard, pipe.encode_audio_prompt(row_of(stereo[1])))


def test_another_rate_is_heard_as_the_same_sound(pipe):
    def tone(rate: int) -> dict[str, Any]:
        return row_of((0.3 * np.sin(2 * np.pi * 440 * np.arange(int(0.9 * rate)) / rate)).astype(np.float32), rate)

    expected = pipe.encode_audio_prompt(tone(8000))
    distance = (pipe.encode_audio_prompt(tone(22050)) - expected).norm()
    assert distance < 0.2 * (pipe.encode_audio_prompt(row_of(noise_of(0.9))) - expected).norm()


def test_recordings_of_a_list_are_heard_each_by_itself(pipe):
    recordings = [row_of(noise_of(seconds, seed=i)) for i, seconds in enumerate((0.3, 1.4, 1.0))]
    together = pipe.encode_audio_prompt(recordings)
    assert together.shape == (3, 12)
    for index, recording in enumerate(recordings):
        torch.testing.assert_close(together[index : index + 1], pipe.encode_audio_prompt(recording))


def test_of_a_long_recording_one_stretch_is_heard_always_the_same(pipe):
    """Not a random one, as the extractor would choose."""
    samples = noise_of(3.0)
    first = pipe.encode_audio_prompt(row_of(samples))
    assert torch.equal(first, pipe.encode_audio_prompt(row_of(samples)))
    assert torch.equal(first, pipe.encode_audio_prompt(row_of(samples[:8000])))
    assert torch.equal(
        pipe.encode_audio_prompt(row_of(samples), 1.25), pipe.encode_audio_prompt(row_of(samples[10000:18000]))
    )


def test_a_short_recording_is_padded_with_silence(pipe):
    samples = noise_of(0.4)
    padded = np.concatenate([samples, np.zeros(8000 - len(samples), np.float32)])
    assert torch.equal(pipe.encode_audio_prompt(row_of(samples)), pipe.encode_audio_prompt(row_of(padded)))


def test_a_silent_recording_is_one_too(pipe):
    audio = spoken(pipe, None, audio_prompt=row_of(np.zeros(4000, np.float32)))
    assert audio.isfinite().all()


def test_an_audio_prompt_takes_the_place_of_the_description(pipe):
    recordings = [row_of(noise_of(0.5)), row_of(noise_of(2.0, seed=1))]
    audio = spoken(pipe, None, TEXTS[:2], audio_prompt=recordings, audio_prompt_start_in_s=0.25)
    embeds = pipe.encode_audio_prompt(recordings, 0.25)
    assert torch.equal(audio, spoken(pipe, None, TEXTS[:2], description_embeds=embeds))


@pytest.mark.parametrize("start", [0.5, 7.0])
def test_a_start_beyond_the_end_is_named(pipe, start):
    recordings = [row_of(noise_of(2.0 * start)), row_of(noise_of(0.5))]
    message = rf"`audio_prompt_start_in_s` \({start}\) is beyond the end of audio_prompt\[1\], which has 0\.50 s"
    with pytest.raises(ValueError, match=message):
        spoken(pipe, None, ["a", "b"], audio_prompt=recordings, audio_prompt_start_in_s=start)


@pytest.mark.parametrize("start", [-0.1, math.nan, -math.inf, math.inf])
def test_a_start_that_is_none_is_named(pipe, start):
    with pytest.raises(ValueError, match=r"`audio_prompt_start_in_s` must be 0 or more and finite, got"):
        spoken(pipe, None, audio_prompt=row_of(noise_of(0.5)), audio_prompt_start_in_s=start)


def test_a_recording_that_cannot_be_read_is_named(pipe, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"missing\.wav"):
        spoken(pipe, None, audio_prompt=[row_of(noise_of(0.5)), tmp_path / "missing.wav"])


# --- what is refused --------------------------------------------------------------------------------------------------

WRONG = {
    "no description": ({"description": None}, r"give one of `description`, .* got none of them"),
    "two descriptions": ({"audio_prompt": "a.wav"}, r"give one of .*, got `description` and `audio_prompt`"),
    "no content": ({"content": None}, r'give one of `content` and `content_embeds`, got none; "_" says nothing'),
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
    "no steps": ({"num_inference_steps": 0}, r"`num_inference_steps` must be a whole number of at least 1, got 0"),
    "half a step": ({"num_inference_steps": 2.5}, r"`num_inference_steps` must be a whole number .* got 2\.5"),
    "no waveforms": ({"num_waveforms_per_prompt": 0}, r"`num_waveforms_per_prompt` must be a whole number .* got 0"),
    "unknown output": ({"output_type": "wav"}, r"`output_type` must be np, pt, mel or latent, got 'wav'"),
    "negative scale": ({"desc_guidance_scale": -1.0}, r"`desc_guidance_scale` must be 0 or more, got -1\.0"),
    "scale that is no number": ({"cont_guidance_scale": math.nan}, r"`cont_guidance_scale` must be 0 or more, got nan"),
    "endless scale": ({"guidance_scale": math.inf}, r"`guidance_scale` must be 0 or more, got inf"),
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
        r"`callback_on_step_end_tensor_inputs` may name \['latents'\], got \['noise'\]",
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
        r"`content_bias` must be nothing without `content_embeds`, got \(1, 4\)",
    ),
    "frames without null frames": (
        {"content": None, "content_embeds": torch.zeros(1, 5, 16)},
        r"`negative_content_embeds` is needed beside `content_embeds`",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_work_is_refused_by_name(pipe, name):
    wrong, message = WRONG[name]

    def call():
        with pytest.raises(ValueError, match=message):
            spoken(pipe, **wrong)

    assert not watched_unet(pipe, call)


@pytest.mark.parametrize("name", ["description", "content"])
@pytest.mark.parametrize("value", [3, ["a", 3], {"a": 1}, [None], ["a", None]])
def test_prompts_that_are_no_texts_are_named(pipe, name, value):
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
        ("vae", {}, 'ask for output_type="latent"'),
        ("vocoder", {}, 'ask for output_type="mel"'),
    ],
)
def test_a_part_that_is_missing_is_named_with_a_way_out(parts, missing, options, message):
    pipe = assembled(parts, **{missing: None})
    beginning = (
        rf"this pipeline was loaded without its `{missing}`; pass one to `from_pretrained\(\.\.\., {missing}=\.\.\."
    )
    with pytest.raises(ValueError, match=f"{beginning}.*{message}"):
        spoken(pipe, **options)


def test_a_text_that_is_too_long_is_cut_with_a_warning(pipe, caplog):
    text = "word " * 1000
    audio = spoken(pipe, content=text)
    assert "`content` has 5001 tokens and is cut off after 200; read it with `read_long_text`" in caplog.text
    caplog.clear()
    assert torch.equal(audio, spoken(pipe, content=text[:199]))
    assert not caplog.text


def test_a_long_description_is_cut(pipe):
    assert torch.equal(pipe.encode_description("rain " * 100), pipe.encode_description(("rain " * 100)[:37]))


def test_empty_prompts_work(pipe):
    assert spoken(pipe, "", "").isfinite().all()
    assert spoken(pipe, ["", ""], ["", "hello"]).isfinite().all()


# --- long texts -------------------------------------------------------------------------------------------------------

LONG = "It rains today. We stay at home, and read. Nobody minds! 3 cats sleep on the bed. That is all there is to say."
SHORT_SEGMENTS = {"segment_length_in_s": 3.0, "num_inference_steps": 2, "generator": seeded(0)}


def read(pipe: VoiceLDMPipeline, text: str = LONG, **options: Any) -> np.ndarray:
    return pipe.read_long_text("a hall", text, **{**SHORT_SEGMENTS, "generator": seeded(0), **options}).audios


def segments_of(pipe: VoiceLDMPipeline, monkeypatch, call: Callable[[], Any]) -> list[str]:
    encode, seen = pipe.encode_content, []

    def watched(content, *args, **kwargs):
        seen.extend(content)
        return encode(content, *args, **kwargs)

    monkeypatch.setattr(pipe, "encode_content", watched)
    call()
    return seen


def test_a_long_text_is_read_in_order_and_whole(pipe, monkeypatch):
    segments = segments_of(pipe, monkeypatch, lambda: read(pipe))
    assert len(segments) > 3
    assert " ".join(segments) == LONG.replace("3 cats", "three cats")
    assert max(map(len, segments)) <= int((3.0 - 1.25) * 14)


def test_segments_share_description_and_first_noise(pipe):
    calls = watched_unet(pipe, lambda: read(pipe))
    starts = calls[::2]  # two steps each
    assert len(starts) > 3
    shortest = min(call["sample"].shape[2] for call in starts)
    for call in starts:
        assert torch.equal(call["class_labels"], starts[0]["class_labels"])
        assert torch.equal(call["sample"][:1, :, :shortest], starts[0]["sample"][:1, :, :shortest])
    assert (starts[0]["sample"] != calls[1]["sample"]).any()


def test_a_read_text_has_the_length_of_its_segments_less_the_fades(pipe, monkeypatch):
    audio = []
    segments = segments_of(pipe, monkeypatch, lambda: audio.append(read(pipe)))
    samples = [int(min(len(segment) / 14 + 1.25, 3.0) * 16000) for segment in segments]
    assert audio[0].shape == (1, sum(samples) - (len(segments) - 1) * 4000)
    assert audio[0].dtype == np.float32
    assert np.abs(audio[0]).max() == pytest.approx(1.0, abs=1e-3)


def test_a_read_text_does_not_click_where_segments_meet(pipe, monkeypatch):
    """A click is a large second difference; in the fades there is none larger than within the segments."""
    audio = []
    segments = segments_of(pipe, monkeypatch, lambda: audio.append(read(pipe)[0]))
    jumps, position, fades = np.abs(np.diff(audio[0], n=2)), 0, np.zeros(len(audio[0]) - 2, bool)
    for segment in segments[:-1]:
        position += int(min(len(segment) / 14 + 1.25, 3.0) * 16000) - 4000
        fades[position - 4 : position + 4004] = True
    assert jumps[fades].max() <= 1.2 * jumps[~fades].max()


def test_five_thousand_characters_are_read_to_the_end(pipe, monkeypatch, caplog):
    text = "There is more to say about the weather. " * 125
    options = {"characters_per_second": 100, "num_inference_steps": 1, "guidance_scale": 1.0}
    segments = segments_of(pipe, monkeypatch, lambda: read(pipe, text, **options))
    assert " ".join(segments) == text.strip()
    assert "cut off" not in caplog.text


def test_a_text_of_one_segment_is_read_too(pipe):
    assert read(pipe, "Hello.").shape == (1, int((6 / 14 + 1.25) * 16000))


def test_segments_have_room_for_long_cross_fades(pipe):
    """However little a segment has to say."""
    options = {"segment_length_in_s": 6.0, "pause_in_s": 2.0, "crossfade_in_s": 2.0}
    assert read(pipe, "Yes. And this is another sentence, somewhat longer.", **options).ndim == 2
    assert read(pipe, "Yes.", **options).ndim == 2


def test_a_long_text_is_read_in_the_scene_of_a_recording(pipe):
    recording = row_of(noise_of(2.0))
    options = {**SHORT_SEGMENTS, "audio_prompt_start_in_s": 0.5}
    text = "It rains today. We stay at home."
    heard = pipe.read_long_text(None, text, recording, **{**options, "generator": seeded(0)}).audios
    embeds = pipe.encode_audio_prompt(recording, 0.5)
    options = {**SHORT_SEGMENTS, "generator": seeded(0)}
    assert np.array_equal(heard, pipe.read_long_text(None, text, description_embeds=embeds, **options).audios)


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
        ({"crossfade_in_s": 1.1}, r"`crossfade_in_s` \(1\.1\), of which the pause must be the longer"),
        ({"output_type": "mel"}, r"`output_type` must be np or pt, got 'mel'"),
        ({"latents": torch.zeros(1)}, r"`latents` has no meaning for a text that is cut into segments"),
        ({"audio_length_in_s": 5.0}, r"`audio_length_in_s` has no meaning"),
        ({"num_waveforms_per_prompt": 2}, r"`num_waveforms_per_prompt` has no meaning"),
        ({"content_embeds": torch.zeros(1)}, r"`content_embeds` has no meaning"),
        ({"return_dict": False}, r"`return_dict` has no meaning"),
        ({"description": None}, r"give one of `description`, `audio_prompt`"),
        ({"audio_prompt": "a.wav"}, r"give one of `description`, `audio_prompt`"),
        ({"description": ["a", "b"]}, r"`description` must be"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_by_name(pipe, wrong, message):
    arguments = {"description": "a hall", "text": LONG, **SHORT_SEGMENTS, **wrong}

    def call():
        with pytest.raises((ValueError, TypeError), match=message):
            pipe.read_long_text(**arguments)

    assert not watched_unet(pipe, call)


# --- conditions that were computed elsewhere --------------------------------------------------------------------------


def test_null_content_of_another_length_is_filled_up_with_frames_nobody_sees(pipe):
    content, bias, null, null_bias = pipe.encode_content("hello", "_")
    keep = int((null_bias[0] > -math.inf).sum())
    assert keep < null.shape[1]
    embeds = {"content_embeds": content, "content_bias": bias}
    whole = spoken(pipe, content=None, negative_content_embeds=null, negative_content_bias=null_bias, **embeds)
    cut = {"negative_content_embeds": null[:, :keep], "negative_content_bias": null_bias[:, :keep]}
    torch.testing.assert_close(spoken(pipe, content=None, **cut, **embeds), whole, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["description_embeds", "content_embeds"])
def test_conditions_that_are_not_finite_are_named(pipe, name):
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
