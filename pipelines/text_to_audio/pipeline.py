"""VoiceLDM as a diffusers pipeline: a description and a text in, speech in a scene out.

Paper: "VoiceLDM: Text-to-Speech with Environmental Context" (arXiv 2309.13664). Facts about the released weights come
from glory20h/VoiceLDM@16ebc7a (voiceldm/pipeline.py).
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from diffusers import AudioPipelineOutput, AutoencoderKL, DiffusionPipeline, UNet2DConditionModel
from diffusers.pipelines.pipeline_utils import StableDiffusionMixin
from diffusers.schedulers import KarrasDiffusionSchedulers
from diffusers.utils.torch_utils import randn_tensor
from transformers import (
    ClapAudioModelWithProjection,
    ClapFeatureExtractor,
    ClapTextModelWithProjection,
    PreTrainedTokenizerBase,
    SpeechT5HifiGan,
)

from avzoo.checks import check_choice, check_number, check_whole_number
from avzoo.models.layers.griffin_lim_vocoder import GriffinLimVocoder
from avzoo.models.layers.vocoding import vocode, vocoder_hop, vocoder_samples
from avzoo.models.voiceldm import VoiceLDMContentEncoder
from avzoo.models.voiceldm.content_attention import attend_with_bias
from avzoo.models.voiceldm.spectrograms import decode_latents
from avzoo.pipelines.shared.adapters import AdapterMixin
from avzoo.pipelines.shared.interruption import InterruptionMixin

from .checks import (
    Prompt,
    check_content,
    check_content_bias,
    check_embeds,
    check_scales,
    check_scene,
    check_texts,
    count_prompts,
    repeat_prompt,
)
from .conditions import ConditionEncoderMixin
from .guidance import (
    GuidedConditions,
    guidance_rows,
    lay_out_conditions,
    needs_null_content,
    needs_null_description,
)
from .long_text import LongTextMixin
from .loudness import normalize_waveforms
from .presets import DEFAULTS, PRESETS, build_scheduler, find_preset, is_preset

# A clip of L seconds has int(L * 1.024 * frames per second) frames: trained on 10.24 s, called 10 s.
LENGTH_FACTOR = 1.024

_OUTPUT_COMPONENTS = {"np": ("vae", "vocoder"), "pt": ("vae", "vocoder"), "mel": ("vae",), "latent": ()}
# What to do without a component.
_ALTERNATIVES = {
    "vae": 'use output_type="latent"',
    "vocoder": 'use output_type="mel"',
    "description_encoder": "pass `description_embeds`, and `negative_description_embeds` for guidance",
    "description_tokenizer": "pass `description_embeds`, and `negative_description_embeds` for guidance",
    "content_tokenizer": "pass `content_embeds`, and `negative_content_embeds` for guidance",
    "audio_encoder": "describe the scene in words",
    "feature_extractor": "describe the scene in words",
}


class VoiceLDMPipeline(
    ConditionEncoderMixin, LongTextMixin, AdapterMixin, InterruptionMixin, DiffusionPipeline, StableDiffusionMixin
):
    """Speech in an acoustic scene, from a description of the scene and a text to say.

        pipe = VoiceLDMPipeline.from_pretrained("voiceldm-m", torch_dtype=torch.bfloat16).to("cuda")
        audio = pipe("She is talking in a park.", "Good morning! How are you?").audios[0]  # at pipe.sampling_rate

    Args:
        unet, vae, vocoder, scheduler: networks of AudioLDM's architecture.
        content_encoder, content_tokenizer: encode the spoken text as frames.
        description_encoder, description_tokenizer: CLAP's text tower; encode the description.
        audio_encoder, feature_extractor: CLAP's audio tower; only audio prompts need it.
        null_content: null text of the content in guidance. The released weights expect "_".
        presets: name -> scheduler, its settings, steps and scales; see [`VoiceLDMPipeline.use_preset`].
        preset: the one in use. None: the first that the scheduler belongs to.
        avzoo_source: where converted weights came from.

    Every component but `unet`, `content_encoder` and `scheduler` can be left out if its output is passed or not needed.
    The last four settings are no components: `VoiceLDMPipeline.from_pipe(pipe)` takes them into another pipeline,
    `VoiceLDMPipeline(**pipe.components)` has the defaults.

    Raises:
        ValueError: a preset that isn't among the presets.
    """

    model_cpu_offload_seq = "description_encoder->audio_encoder->content_encoder->unet->vae->vocoder"
    _optional_components = [
        "vae",
        "vocoder",
        "description_encoder",
        "description_tokenizer",
        "content_tokenizer",
        "audio_encoder",
        "feature_extractor",
    ]
    _callback_tensor_inputs = ["latents"]
    _lora_loadable_modules = ["unet", "content_encoder"]

    def __init__(
        self,
        unet: UNet2DConditionModel,
        content_encoder: VoiceLDMContentEncoder,
        scheduler: KarrasDiffusionSchedulers,
        vae: AutoencoderKL | None = None,
        vocoder: SpeechT5HifiGan | GriffinLimVocoder | None = None,
        description_encoder: ClapTextModelWithProjection | None = None,
        description_tokenizer: PreTrainedTokenizerBase | None = None,
        content_tokenizer: PreTrainedTokenizerBase | None = None,
        audio_encoder: ClapAudioModelWithProjection | None = None,
        feature_extractor: ClapFeatureExtractor | None = None,
        null_content: str = "_",
        presets: dict | None = None,
        preset: str | None = None,
        avzoo_source: dict | None = None,
    ):
        super().__init__()
        presets = presets or PRESETS
        if preset is not None:
            check_choice("preset", preset, presets)
        self.register_modules(
            unet=unet,
            content_encoder=content_encoder,
            scheduler=scheduler,
            vae=vae,
            vocoder=vocoder,
            description_encoder=description_encoder,
            description_tokenizer=description_tokenizer,
            content_tokenizer=content_tokenizer,
            audio_encoder=audio_encoder,
            feature_extractor=feature_extractor,
        )
        self.register_to_config(null_content=null_content, presets=presets, preset=preset, avzoo_source=avzoo_source)
        if preset is not None and not is_preset(scheduler, presets[preset]) and find_preset(scheduler, presets):
            self.use_preset(preset)  # a scheduler of no preset is the caller's own and stays
        self._decoding_chunk_length: int | None = None  # latent frames; None: all at once

    # ------------------------------------------------------------------------------------------------ settings

    @property
    def sampling_rate(self) -> int:
        """Sampling rate of the audio, Hz."""
        return self._require("vocoder").config.sampling_rate

    def use_preset(self, name: str) -> "VoiceLDMPipeline":
        """Use the scheduler of a preset, and its steps, length and scales as defaults of calls; returns the pipeline.

        Raises:
            ValueError: no preset of that name.
        """
        self.scheduler = build_scheduler(name, self.config.presets, self.scheduler)
        self.register_to_config(preset=name)
        return self

    @property
    def preset(self) -> str | None:
        """Name of the preset that the scheduler belongs to; None for a scheduler of no preset."""
        name = self.config.preset
        if name in self.config.presets and is_preset(self.scheduler, self.config.presets[name]):
            return name
        return find_preset(self.scheduler, self.config.presets)  # another scheduler was set

    def _defaults(self) -> dict[str, Any]:
        """Steps, length and scales of calls that don't give them."""
        return {**DEFAULTS, **self.config.presets.get(self.preset, {})}

    def enable_vae_slicing(self) -> None:
        """Decode one waveform of a batch at a time."""
        self._require("vae").enable_slicing()

    def disable_vae_slicing(self) -> None:
        """Decode a batch at once."""
        self._require("vae").disable_slicing()

    def enable_chunked_decoding(self, seconds: float = 10.24) -> None:
        """Decode latents of long audio in cross-faded chunks, so that memory doesn't grow with the length.

        Args:
            seconds: length of a chunk, at least 1.

        Raises:
            ValueError: `seconds` below 1.
        """
        check_number("seconds", seconds, at_least=1)
        self._decoding_chunk_length = max(int(seconds * self._latent_frames_per_second), 32)

    def disable_chunked_decoding(self) -> None:
        """Decode latents as a whole."""
        self._decoding_chunk_length = None

    # ------------------------------------------------------------------------------------------------ latents

    def prepare_latents(
        self,
        batch_size: int,
        audio_length_in_s: float,
        generator: torch.Generator | list[torch.Generator] | None = None,
        latents: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Draw standard normal noise, (batch, channels, latent frames, latent bands), float32, or check what is passed.

        Each scheduler scales it to its own first noise level. Clips below 1.7 s have a few frames more than in the
        authors' code, whose waveforms are too short; `latents` of the authors' length are taken, too, and give those.

        Raises:
            ValueError: `latents` of another shape or not finite, or a list of generators of another length.
        """
        frames, authors_frames = self._latent_frames(audio_length_in_s), self._authors_latent_frames(audio_length_in_s)
        shapes = [
            (batch_size, self.unet.config.in_channels, number, self._latent_bands)
            for number in dict.fromkeys((frames, authors_frames))
        ]
        if isinstance(generator, list) and len(generator) != batch_size:
            raise ValueError(
                f"`generator` is a list of {len(generator)}, expected one for each of {batch_size} waveforms."
            )
        if latents is None:
            latents = randn_tensor(shapes[0], generator=generator, device=self._execution_device, dtype=torch.float32)
        elif tuple(latents.shape) not in shapes:
            raise ValueError(
                f"`latents` must be {' or '.join(map(str, shapes))} for these prompts and this length, got "
                f"{tuple(latents.shape)}."
            )
        elif not torch.isfinite(latents).all():
            raise ValueError("`latents` holds NaN or infinite values.")
        return latents.to(self._execution_device, torch.float32)

    def prepare_extra_step_kwargs(
        self, generator: torch.Generator | list[torch.Generator] | None, eta: float
    ) -> dict[str, Any]:
        """Return the options among `generator` and `eta` that the scheduler's `step` takes."""
        parameters = inspect.signature(self.scheduler.step).parameters
        return {name: value for name, value in {"eta": eta, "generator": generator}.items() if name in parameters}

    @torch.no_grad()
    def decode_latents(self, latents: torch.Tensor) -> torch.Tensor:
        """Decode latents to natural-log mel spectrograms, (batch, 1, frames, bands)."""
        return decode_latents(self._require("vae"), latents, self._decoding_chunk_length)

    @torch.no_grad()
    def vocode(self, spectrogram: torch.Tensor) -> torch.Tensor:
        """Spectrograms (batch, 1, frames, bands) to waveforms (batch, samples), float32, of the vocoder's own level.

        Raises:
            ValueError: the result is not finite, as when float16 overflows.
        """
        vocoder = self._require("vocoder")
        waveform = vocode(vocoder, spectrogram[:, 0].to(vocoder.dtype)).float()
        if not torch.isfinite(waveform).all():
            raise ValueError(
                f"the waveform is not finite: {vocoder.dtype} may have overflowed, or the guidance scales are far too "
                "large. Try `torch_dtype=torch.bfloat16` or float32, or smaller scales."
            )
        return waveform

    # ------------------------------------------------------------------------------------------------ the method

    @torch.no_grad()
    def __call__(
        self,
        description: Prompt = None,
        content: Prompt = None,
        audio_prompt: Any = None,
        *,
        audio_length_in_s: float | None = None,
        num_inference_steps: int | None = None,
        desc_guidance_scale: float | None = None,
        cont_guidance_scale: float | None = None,
        guidance_scale: float | None = None,
        negative_description: Prompt = "",
        negative_content: Prompt = None,
        num_waveforms_per_prompt: int = 1,
        eta: float = 0.0,
        generator: torch.Generator | list[torch.Generator] | None = None,
        latents: torch.Tensor | None = None,
        description_embeds: torch.Tensor | None = None,
        negative_description_embeds: torch.Tensor | None = None,
        content_embeds: torch.Tensor | None = None,
        content_bias: torch.Tensor | None = None,
        negative_content_embeds: torch.Tensor | None = None,
        negative_content_bias: torch.Tensor | None = None,
        audio_prompt_start_in_s: float = 0.0,
        spell_out: bool = True,
        normalize: bool = True,
        output_type: str = "np",
        return_dict: bool = True,
        callback_on_step_end: Callable[..., Mapping[str, torch.Tensor] | None] | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
    ) -> AudioPipelineOutput | tuple:
        """Speak `content` in the scene of `description`.

        Args:
            description: voice, room and surroundings; "clean speech" for a voice alone. One text or a list; one text
                goes with every item of the other list.
            content: the spoken text, English. "_" for a sound effect without speech.
            audio_prompt: a recording in place of `description`, or a list of them: file, bytes, array, row.
            audio_length_in_s: length of the result, above 0. None: the preset's; the released weights were trained on
                10 s.
            num_inference_steps: None: the preset's, 50 for a scheduler without one.
            desc_guidance_scale, cont_guidance_scale: strength of guidance by each condition, 0 or more. At 0 the
                condition still counts, without emphasis. None: the preset's.
            guidance_scale: one scale for both in place of the two, as common elsewhere; 1 is no emphasis.
            negative_description: the null description of guidance, or a list with one for each prompt.
            negative_content: the null text of guidance, or a list with one for each prompt. None: the pipeline's
                `null_content`.
            num_waveforms_per_prompt: results for each prompt.
            eta: noise added at each step by schedulers that take it (DDIM).
            generator: source of all noise; a list has one for each waveform.
            latents: noise to start from, see [`VoiceLDMPipeline.prepare_latents`].
            description_embeds, negative_description_embeds: results of [`VoiceLDMPipeline.encode_description`], in
                place of the texts.
            content_embeds, content_bias, negative_content_embeds, negative_content_bias: results of
                [`VoiceLDMPipeline.encode_content`], in place of the texts.
            audio_prompt_start_in_s: start of the part of the audio prompt to use.
            spell_out: write numbers as words.
            normalize: remove the mean of each waveform and scale its peak to 1; silence stays silence.
            output_type: "np" or "pt", (batch, samples) float32; "mel", (batch, 1, frames, bands) tensors; "latent".
            return_dict: False: a tuple.
            callback_on_step_end: called as (pipe, step, timestep, tensors) after each step; may return new "latents",
                and set `pipe.interrupt` to stop there.
            callback_on_step_end_tensor_inputs: names of the tensors for the callback; "latents" or none.

        Returns:
            `audios`, prompts in order, the waveforms of each together.

        Raises:
            TypeError, ValueError: arguments that don't fit together; a component that is needed and missing.
        """
        # 1. Check inputs
        defaults = self._defaults()
        audio_length_in_s = defaults["audio_length_in_s"] if audio_length_in_s is None else audio_length_in_s
        num_inference_steps = defaults["num_inference_steps"] if num_inference_steps is None else num_inference_steps
        negative_content = self.config.null_content if negative_content is None else negative_content
        scales = {
            "desc_guidance_scale": desc_guidance_scale,
            "cont_guidance_scale": cont_guidance_scale,
            "guidance_scale": guidance_scale,
        }
        batch_size = self.check_inputs(
            description,
            content,
            audio_prompt,
            description_embeds,
            content_embeds,
            content_bias,
            negatives={
                "negative_description": negative_description,
                "negative_content": negative_content,
                "negative_description_embeds": negative_description_embeds,
                "negative_content_embeds": negative_content_embeds,
            },
            audio_length_in_s=audio_length_in_s,
            num_inference_steps=num_inference_steps,
            scales=scales,
            num_waveforms_per_prompt=num_waveforms_per_prompt,
            output_type=output_type,
        )
        callback_inputs = self._name_callback_tensors(callback_on_step_end, callback_on_step_end_tensor_inputs)
        rows = self._plan_rows(scales, content, negative_content, content_embeds, negative_content_embeds)

        # 2. Encode the description
        if description_embeds is None:
            description_embeds = self._encode_scene(description, audio_prompt, audio_prompt_start_in_s)
        if negative_description_embeds is None and needs_null_description(rows):
            negative_description_embeds = self.encode_description(negative_description or "")

        # 3. Encode the content
        if content_embeds is None:
            is_guided = set(rows) != {(True, True)}
            content_embeds, content_bias, negative_content_embeds, negative_content_bias = self.encode_content(
                repeat_prompt("content", content, batch_size), negative_content if is_guided else None, spell_out
            )

        # 4. Lay out the denoiser's batch
        conditions = lay_out_conditions(
            rows,
            descriptions={True: description_embeds, False: negative_description_embeds},
            contents={True: (content_embeds, content_bias), False: (negative_content_embeds, negative_content_bias)},
            batch_size=batch_size,
            num_waveforms_per_prompt=num_waveforms_per_prompt,
            device=self._execution_device,
            dtype=self.unet.dtype,
        )

        # 5. Prepare the noise and the timesteps
        latents = self.prepare_latents(batch_size * num_waveforms_per_prompt, audio_length_in_s, generator, latents)
        self.scheduler.set_timesteps(num_inference_steps, device=self._execution_device)
        latents = latents * self.scheduler.init_noise_sigma  # known only after the timesteps

        # 6. Denoise
        step_kwargs = self.prepare_extra_step_kwargs(generator, eta)
        latents = self._denoise(latents, conditions, step_kwargs, callback_on_step_end, callback_inputs)

        # 7. Decode
        audio = self._decode(latents, output_type, audio_length_in_s, normalize)
        self.maybe_free_model_hooks()
        return AudioPipelineOutput(audios=audio) if return_dict else (audio,)

    def check_inputs(
        self,
        description: Prompt,
        content: Prompt,
        audio_prompt: Any,
        description_embeds: torch.Tensor | None,
        content_embeds: torch.Tensor | None,
        content_bias: torch.Tensor | None,
        *,
        negatives: Mapping[str, Any],
        audio_length_in_s: float,
        num_inference_steps: int,
        scales: Mapping[str, float | None],
        num_waveforms_per_prompt: int,
        output_type: str,
    ) -> int:
        """Check the arguments of a call and return the number of prompts.

        Raises:
            TypeError, ValueError: arguments that are wrong or don't fit together; a component that the output needs
                and the pipeline lacks.
        """
        check_scene(description, audio_prompt, description_embeds)
        check_content(content, content_embeds)
        check_texts("description", description)
        check_texts("content", content)
        for name in ("negative_description", "negative_content"):
            check_texts(name, negatives[name])
        check_embeds("description_embeds", description_embeds, 2)
        check_embeds("content_embeds", content_embeds, 3)
        check_embeds("negative_description_embeds", negatives["negative_description_embeds"], 2)
        check_embeds("negative_content_embeds", negatives["negative_content_embeds"], 3)
        check_content_bias(content_bias, content_embeds)
        batch_size = count_prompts(
            {
                "description": description,
                "audio_prompt": audio_prompt if isinstance(audio_prompt, list | tuple) else None,
                "description_embeds": description_embeds,
                "content": content,
                "content_embeds": content_embeds,
                **{name: value for name, value in negatives.items() if not isinstance(value, str)},
            }
        )
        check_number("audio_length_in_s", audio_length_in_s, above=0)
        check_whole_number("num_inference_steps", num_inference_steps, at_least=1)
        check_whole_number("num_waveforms_per_prompt", num_waveforms_per_prompt, at_least=1)
        check_scales(scales)
        check_choice("output_type", output_type, _OUTPUT_COMPONENTS)
        for component in _OUTPUT_COMPONENTS[output_type]:
            self._require(component)
        return batch_size

    def _plan_rows(
        self,
        scales: Mapping[str, float | None],
        content: Prompt,
        negative_content: str | Sequence[str],
        content_embeds: torch.Tensor | None,
        negative_content_embeds: torch.Tensor | None,
    ) -> dict[tuple[bool, bool], float]:
        """Rows of guidance and their weights, see [`guidance_rows`]; scales of None are the preset's.

        Raises:
            ValueError: null content is needed and can't be encoded, because `content_embeds` stands for the text.
        """
        given = {name: scale for name, scale in scales.items() if scale is not None}
        texts, nulls = ([prompt] if isinstance(prompt, str) else prompt for prompt in (content, negative_content))
        defaults = {name: self._defaults()[name] for name in ("desc_guidance_scale", "cont_guidance_scale")}
        rows = guidance_rows(
            **defaults | given, content_is_null=texts is not None and set(texts) == set(nulls) and len(set(texts)) == 1
        )
        if content_embeds is not None and negative_content_embeds is None and needs_null_content(rows):
            raise ValueError("`negative_content_embeds` is needed beside `content_embeds`: these scales guide by it.")
        return rows

    def _denoise(
        self,
        latents: torch.Tensor,
        conditions: GuidedConditions,
        step_kwargs: Mapping[str, Any],
        callback_on_step_end: Callable[..., Mapping[str, torch.Tensor] | None] | None,
        callback_on_step_end_tensor_inputs: Sequence[str],
    ) -> torch.Tensor:
        """Denoise latents (waveforms, channels, latent frames, latent bands) over all timesteps of the scheduler."""
        attention = {"content_bias": conditions.content_bias} if conditions.content_bias.any() else None
        num_rows = len(conditions.weights)
        self._begin_walk()
        with (
            attend_with_bias(self.unet) if attention else nullcontext(),
            self.progress_bar(total=self.num_timesteps) as progress_bar,
        ):
            for index, timestep in enumerate(self.scheduler.timesteps):
                if self.interrupt:
                    break
                sample = self.scheduler.scale_model_input(latents, timestep).to(self.unet.dtype)
                noise = self.unet(
                    sample.repeat(num_rows, 1, 1, 1),
                    timestep,
                    encoder_hidden_states=conditions.content_embeds,
                    class_labels=conditions.description_embeds,
                    cross_attention_kwargs=attention,
                    return_dict=False,
                )[0]
                noise = conditions.combine(noise)
                latents = self.scheduler.step(noise, timestep, latents, **step_kwargs, return_dict=False)[0]
                if callback_on_step_end is not None:
                    tensors = {"latents": latents} if callback_on_step_end_tensor_inputs else {}
                    latents = (callback_on_step_end(self, index, timestep, tensors) or {}).get("latents", latents)
                progress_bar.update()
        return latents

    def _decode(
        self, latents: torch.Tensor, output_type: str, audio_length_in_s: float, normalize: bool
    ) -> torch.Tensor | np.ndarray:
        """Decode latents to what `output_type` names."""
        if output_type == "latent":
            return latents
        spectrogram = self.decode_latents(latents)
        if output_type == "mel":
            return spectrogram
        audio = self.vocode(spectrogram)[:, : int(audio_length_in_s * self.sampling_rate)]
        if normalize:
            audio = normalize_waveforms(audio)
        return audio.cpu().numpy() if output_type == "np" else audio

    # ------------------------------------------------------------------------------------------------ sizes

    @property
    def _vae_factor(self) -> int:
        """Frames in a latent frame, and bands in a latent band."""
        return 4 if self.vae is None else 2 ** (len(self.vae.config.block_out_channels) - 1)

    @property
    def _latent_bands(self) -> int:
        return (64 if self.vocoder is None else self.vocoder.config.model_in_dim) // self._vae_factor

    @property
    def _latent_frames_per_second(self) -> float:
        frames = 100.0 if self.vocoder is None else self.vocoder.config.sampling_rate / vocoder_hop(self.vocoder.config)
        return frames / self._vae_factor

    def _authors_latent_frames(self, seconds: float) -> int:
        """Latent frames that the authors' code gives a clip."""
        config = None if self.vocoder is None else self.vocoder.config
        frame_in_s = 0.01 if config is None else vocoder_hop(config) / config.sampling_rate
        return max(int(seconds * LENGTH_FACTOR / frame_in_s) // self._vae_factor, 1)

    def _latent_frames(self, seconds: float) -> int:
        """Latent frames of a clip: the authors' number, or more if its waveform would be too short."""
        config, latent_frames = (
            None if self.vocoder is None else self.vocoder.config,
            self._authors_latent_frames(seconds),
        )
        if config is not None:
            while vocoder_samples(config, latent_frames * self._vae_factor) < int(seconds * config.sampling_rate):
                latent_frames += 1
        return latent_frames

    def _require(self, component: str) -> Any:
        """Return a component.

        Raises:
            ValueError: the pipeline was loaded without it.
        """
        value = getattr(self, component)
        if value is None:
            raise ValueError(
                f"this pipeline was loaded without its `{component}`; pass one to `from_pretrained(..., "
                f"{component}=...)`, or {_ALTERNATIVES[component]}."
            )
        return value


__all__ = ["VoiceLDMPipeline"]
