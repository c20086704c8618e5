"""VoiceLDM's pipeline, tiny and complete: batches and noise, lengths, results, callbacks, decoding in chunks."""

import math

import numpy as np
import pytest
import torch
from tiny_voiceldm import PROMPTS, TEXTS, assembled, seeded, spoken, watched_unet

from avzoo.models.layers import vocoding
from avzoo.models.layers.vocoding import vocode, vocoder_context, vocoder_samples
from avzoo.models.voiceldm.spectrograms import decode_latents
from avzoo.pipelines.text_to_audio.loudness import normalize_waveforms

# --- batches and noise ------------------------------------------------------------------------------------------------


def test_a_batch_is_its_items(pipe):
    together = spoken(pipe, PROMPTS, TEXTS, generator=[seeded(i) for i in range(4)])
    for index, (description, content) in enumerate(zip(PROMPTS, TEXTS, strict=True)):
        alone = spoken(pipe, description, content, generator=seeded(index))
        torch.testing.assert_close(together[index : index + 1], alone, rtol=1e-4, atol=1e-4)
        assert (together[index - 1] - alone[0]).abs().max() > 0.1


def test_an_unguided_batch_is_its_items(pipe):
    options = {"guidance_scale": 1.0, "output_type": "latent"}
    together = spoken(pipe, PROMPTS[1:3], TEXTS[1:3], generator=[seeded(i) for i in range(2)], **options)
    for index in range(2):
        alone = spoken(pipe, PROMPTS[1 + index], TEXTS[1 + index], generator=seeded(index), **options)
        torch.testing.assert_close(together[index : index + 1], alone, rtol=1e-4, atol=1e-4)


def test_a_single_prompt_is_repeated_for_every_item_of_the_other_list(pipe):
    noise = torch.randn(1, 4, 16, 16, generator=seeded(0))
    options = {"num_inference_steps": 1, "output_type": "latent"}
    for name, single, several in (("description", "rain", TEXTS[:2]), ("content", "hello", PROMPTS[:2])):

        def prompts(one, other, name=name):
            return (one, other) if name == "description" else (other, one)

        alone = torch.cat([spoken(pipe, *prompts(single, other), latents=noise, **options) for other in several])
        for form in (single, [single], (single,)):
            both = spoken(pipe, *prompts(form, several), latents=noise.repeat(2, 1, 1, 1), **options)
            torch.testing.assert_close(both, alone, rtol=1e-4, atol=1e-4, msg=lambda text, f=form: f"{f}: {text}")


def test_waveforms_of_one_prompt_are_adjacent(pipe):
    four = spoken(
        pipe, PROMPTS[:2], TEXTS[:2], num_waveforms_per_prompt=2, generator=[seeded(index) for index in range(4)]
    )
    assert len(four) == 4
    for index in (1, 2):  # the last of the first prompt, the first of the last
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


def test_latents_that_are_passed_replace_the_noise(pipe):
    noise = torch.randn(1, 4, 16, 16, generator=seeded(0))
    assert torch.equal(spoken(pipe, latents=noise, generator=None), spoken(pipe, generator=seeded(0)))


@pytest.mark.parametrize("options", [{}, {"guidance_scale": 3.0}, {"guidance_scale": 1.0}])
def test_embeds_give_the_same_bits_as_their_texts(pipe, options):
    prompts, texts = PROMPTS[1:3], TEXTS[1:3]
    content = pipe.encode_content(texts, None if options.get("guidance_scale") == 1 else "_")
    frames, bias, null_frames, null_bias = content
    embedded = spoken(
        pipe,
        None,
        None,
        description_embeds=pipe.encode_description(prompts),
        negative_description_embeds=pipe.encode_description(""),
        content_embeds=frames,
        content_bias=bias,
        negative_content_embeds=null_frames,
        negative_content_bias=null_bias,
        **options,
    )
    assert torch.equal(embedded, spoken(pipe, prompts, texts, **options))


def test_embeds_need_no_encoders(parts, pipe):
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


def test_negative_prompts_replace_the_null_texts(pipe):
    plain = spoken(pipe)
    assert torch.equal(spoken(pipe, negative_description="", negative_content="_"), plain)
    assert not torch.equal(spoken(pipe, negative_description="rain"), plain)
    assert not torch.equal(spoken(pipe, negative_content="ah"), plain)


def test_each_prompt_may_have_negative_prompts_of_its_own(pipe):
    prompts, texts = PROMPTS[:3], TEXTS[:3]
    negatives = {"negative_description": ["wind", "", "rain"], "negative_content": ["_", "ah", "a"]}
    together = spoken(pipe, prompts, texts, **negatives, generator=[seeded(i) for i in range(3)])
    for index in range(3):
        own = {name: values[index] for name, values in negatives.items()}
        alone = spoken(pipe, prompts[index], texts[index], **own, generator=seeded(index))
        torch.testing.assert_close(together[index : index + 1], alone, rtol=1e-4, atol=1e-4)
    assert torch.equal(spoken(pipe, negative_content=["ah"]), spoken(pipe, negative_content="ah"))
    assert torch.equal(spoken(pipe, negative_description=None, negative_content=None), spoken(pipe))


def test_qkv_projections_are_fused_and_parted(pipe):
    options = {"content": ["hello", "how are you today?"], "output_type": "latent"}
    expected = spoken(pipe, **options)
    pipe.fuse_qkv_projections(vae=False)
    assert {type(one).__name__ for one in pipe.unet.attn_processors.values()} == {"FusedAttnProcessor2_0"}
    torch.testing.assert_close(spoken(pipe, **options), expected, rtol=1e-4, atol=1e-4)
    pipe.unfuse_qkv_projections(vae=False)
    torch.testing.assert_close(spoken(pipe, **options), expected, rtol=1e-4, atol=1e-4)


def test_numbers_are_spelled_out_by_default(pipe):
    spelled = spoken(pipe, content="three dogs")
    assert torch.equal(spoken(pipe, content="3 dogs"), spelled)
    assert not torch.equal(spoken(pipe, content="3 dogs", spell_out=False), spelled)


# --- lengths ----------------------------------------------------------------------------------------------------------


def test_the_waveform_has_exactly_the_requested_samples(pipe):
    wrong = []
    for seconds in (0.01, 0.3, 0.41, 0.5, 1.7, 2.345, 5):
        audio = spoken(pipe, audio_length_in_s=seconds, num_inference_steps=1, guidance_scale=1.0)
        peak = float(audio.abs().max())
        if audio.shape != (1, int(seconds * 16000)) or abs(peak - 1) > 1e-3:
            wrong.append(f"{seconds} s: shape {tuple(audio.shape)}, peak {peak}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("seconds", [1.7, 2.345, 5, 7, 10, 12.5, 60])
def test_latents_from_1_7_s_on_have_the_authors_length(pipe, seconds):
    assert pipe.prepare_latents(1, seconds).shape == (1, 4, int(seconds * 1.024 / 0.01) // 4, 16)


@pytest.mark.parametrize("seconds", [0.3, 0.41, 0.5])
def test_short_latents_are_as_long_as_the_waveform_needs(pipe, seconds):
    latents, config = pipe.prepare_latents(1, seconds).shape[2], pipe.vocoder.config
    assert latents > int(seconds * 1.024 / 0.01) // 4
    assert vocoder_samples(config, 4 * latents) >= seconds * 16000 > vocoder_samples(config, 4 * latents - 4)


@pytest.mark.parametrize("seconds", [0.3, 0.5])
def test_short_latents_of_the_authors_length_give_the_authors_waveforms(pipe, seconds):
    frames = int(seconds * 1.024 / 0.01) // 4
    latents = torch.randn(1, 4, frames, 16, generator=seeded(0))
    options = {"audio_length_in_s": seconds, "normalize": False, "latents": latents}
    audio = spoken(pipe, **options)
    assert audio.shape == (1, vocoder_samples(pipe.vocoder.config, 4 * frames))
    assert audio.shape[1] < int(seconds * 16000)
    assert torch.equal(audio, pipe.vocode(pipe.decode_latents(spoken(pipe, **options, output_type="latent"))))
    with pytest.raises(
        ValueError, match=rf"`latents` must be .* or \(1, 4, {frames}, 16\).*got \(1, 4, {frames - 1}, 1"
    ):
        pipe.prepare_latents(1, seconds, latents=latents[:, :, 1:])


@torch.no_grad()
@pytest.mark.parametrize("frames", [1, 2, 7, 64])
def test_vocoder_samples_is_the_length_of_the_vocoder_output(parts, frames):
    vocoder = parts["vocoder"]
    assert vocoder(torch.zeros(1, frames, 64)).shape[1] == vocoder_samples(vocoder.config, frames)


# --- results ----------------------------------------------------------------------------------------------------------


def test_each_output_type_is_computed_from_the_one_before(pipe):
    results = {kind: spoken(pipe, output_type=kind, normalize=False) for kind in ("latent", "mel", "pt", "np")}
    assert results["latent"].shape == (1, 4, 16, 16)
    assert results["mel"].shape == (1, 1, 64, 64)
    assert torch.equal(results["mel"], pipe.decode_latents(results["latent"]))
    assert torch.equal(results["pt"], pipe.vocode(results["mel"])[:, : int(0.64 * 16000)])
    assert isinstance(results["np"], np.ndarray)
    assert results["np"].dtype == np.float32
    assert np.array_equal(results["np"], results["pt"].numpy())
    assert torch.equal(spoken(pipe), normalize_waveforms(results["pt"]))


def test_return_dict_false_returns_the_same_as_a_tuple(pipe):
    (audio,) = pipe(
        "a hall", "hello", audio_length_in_s=0.64, num_inference_steps=2, generator=seeded(0), return_dict=False
    )
    assert torch.equal(torch.from_numpy(audio), spoken(pipe))


def test_latents_and_spectrograms_need_no_vae_or_vocoder(parts, pipe):
    bare = assembled(parts, vae=None, vocoder=None)
    assert torch.equal(spoken(bare, output_type="latent"), spoken(pipe, output_type="latent"))
    half = assembled(parts, vocoder=None)
    assert torch.equal(spoken(half, output_type="mel"), spoken(pipe, output_type="mel"))


def test_normalized_waveforms_have_mean_zero_and_peak_one():
    waveforms = torch.tensor([[1.0, 3.0, 2.0, 2.0], [0.1, 0.5, 0.3, 0.3]])
    expected = torch.tensor([[-1.0, 1.0, 0.0, 0.0], [-1.0, 1.0, 0.0, 0.0]])
    torch.testing.assert_close(normalize_waveforms(waveforms), expected)


def test_silence_in_a_batch_is_not_amplified():
    loud = torch.tensor([0.25, -0.25, 0.0, 0.0])
    quiet, nothing = loud * 1e-3, torch.full((4,), 0.2)
    audio = normalize_waveforms(torch.stack([loud, quiet, nothing]))
    torch.testing.assert_close(audio[0], 4 * loud)
    torch.testing.assert_close(audio[1], quiet)
    assert audio[2].abs().max() < 1e-6


def test_vocode_refuses_a_waveform_that_is_not_finite(pipe):
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

    options = {"num_inference_steps": 3, "output_type": "latent", "callback_on_step_end": callback}
    assert not spoken(pipe, **options).any()
    assert seen == [(True, 0, 667, (1, 4, 16, 16)), (True, 1, 334, (1, 4, 16, 16)), (True, 2, 1, (1, 4, 16, 16))]


def test_a_callback_without_tensor_inputs_gets_none(pipe):
    given = []
    options = {"callback_on_step_end": lambda pipe, index, timestep, tensors: given.append(tensors)}
    spoken(pipe, callback_on_step_end_tensor_inputs=(), **options)
    assert given == [{}, {}]


def test_a_callback_can_interrupt(pipe):
    def callback(pipe, index, timestep, tensors):
        pipe.interrupt = True

    calls = watched_unet(pipe, lambda: spoken(pipe, callback_on_step_end=callback))
    assert len(calls) == 1
    assert len(watched_unet(pipe, lambda: spoken(pipe))) == 2  # the next call isn't interrupted


def test_interrupt_is_false_before_the_first_call(pipe):
    assert pipe.interrupt is False


# --- decoding in chunks -----------------------------------------------------------------------------------------------


@torch.no_grad()
def test_a_spectrogram_vocoded_in_chunks_equals_the_whole(parts, monkeypatch):
    vocoder, spectrogram = parts["vocoder"], torch.randn(1, 30, 64, generator=seeded(0))
    whole = vocoder(spectrogram)
    for size in (1, 13, 29, 30, 500):
        torch.testing.assert_close(vocode(vocoder, spectrogram, size), whole, rtol=1e-6, atol=1e-6)
    context = vocoder_context(vocoder.config)
    monkeypatch.setattr(vocoding, "vocoder_context", lambda config: context // 2)
    assert (vocode(vocoder, spectrogram, 20) - whole).abs().max() > 1e-4


@torch.no_grad()
def test_chunked_decoding_has_the_length_of_the_whole_and_nearly_its_values(pipe):
    latents = torch.randn(1, 4, 130, 16, generator=seeded(0))
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
def test_every_frame_is_decoded_for_any_number_of_chunks(parts, latent_frames):
    latents = torch.randn(1, 4, latent_frames, 4, generator=seeded(0))
    whole, chunks = decode_latents(parts["vae"], latents), decode_latents(parts["vae"], latents, 32, overlap=16)
    assert chunks.shape == whole.shape == (1, 1, 4 * latent_frames, 16)


@torch.no_grad()
def test_chunks_without_overlap_are_concatenated(parts):
    latents = torch.randn(1, 4, 64, 4, generator=seeded(0))
    chunks = decode_latents(parts["vae"], latents, 32, overlap=0)
    expected = torch.cat([decode_latents(parts["vae"], half) for half in latents.split(32, dim=2)], dim=2)
    torch.testing.assert_close(chunks, expected)


def test_a_chunk_of_less_than_a_second_is_refused(pipe):
    for seconds in (0.5, -1, math.nan):
        with pytest.raises(ValueError, match=r"`seconds` must be at least 1, got"):
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
