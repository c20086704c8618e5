"""VoiceLDM as a diffusers pipeline: a description and a text in, speech in a scene out.

Paper: "VoiceLDM: Text-to-Speech with Environmental Context" (arXiv 2309.13664). What the released weights expect was
read in glory20h/VoiceLDM@16ebc7a (voiceldm/pipeline.py).
"""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import diffusers
import numpy as np
import torch
from diffusers import AudioPipelineOutput, AutoencoderKL, DiffusionPipeline, UNet2DConditionModel
from diffusers.schedulers import KarrasDiffusionSchedulers, SchedulerMixin
from diffusers.utils import logging
from diffusers.utils.torch_utils import randn_tensor
from transformers import (
    ClapAudioModelWithProjection,
    ClapFeatureExtractor,
    ClapTextModelWithProjection,
    PreTrainedTokenizerBase,
    SpeechT5HifiGan,
)

from avzoo.audio import read_audio
from avzoo.models.voiceldm import VoiceLDMContentEncoder
from avzoo.models.voiceldm.content_attention import attend_with_bias, fold_padding
from avzoo.models.voiceldm.griffin_lim_vocoder import GriffinLimVocoder
from avzoo.models.voiceldm.spectrograms import decode_latents, vocode, vocoder_hop, vocoder_samples

from .spoken_text import join_segments, spell_out_numbers, split_text

logger = logging.get_logger(__name__)

# A clip of L seconds has int(L * 1.024 * frames per second) frames: trained on 10.24 s, called 10 s.
LENGTH_FACTOR = 1.024
QUIETEST_PEAK = 1e-3  # -60 dB; what is quieter counts as silence and is not made louder

_AS_TRAINED = {"audio_length_in_s": 10.0, "desc_guidance_scale": 7.0, "cont_guidance_scale": 7.0}
PRESETS: dict[str, dict[str, Any]] = {
    # Order-2 UniPC on Karras's noise levels: with 20 steps closer to the exact solution than DDIM with 50.
    "fast": {
        "scheduler": "UniPCMultistepScheduler",
        "settings": {"solver_order": 2, "use_karras_sigmas": True},
        "num_inference_steps": 20,
        **_AS_TRAINED,
    },
    # What the authors run. Each class of schedulers has a spacing of its own by default.
    "reference": {
        "scheduler": "DDIMScheduler",
        "settings": {"timestep_spacing": "leading"},
        "num_inference_steps": 50,
        **_AS_TRAINED,
    },
}

Prompt = str | Sequence[str] | None
Row = tuple[bool, bool]  # whether a row of the denoiser's batch has the description, and whether it has the content


def guidance_rows(
    desc_guidance_scale: float,
    cont_guidance_scale: float,
    guidance_scale: float | None = None,
    content_is_null: bool = False,
) -> dict[Row, float]:
    """The rows that the denoiser must compute, and the factor of each in the guided noise.

    Dual: n(d, c) + desc * (n(d, -) - n(-, -)) + cont * (n(-, c) - n(-, -)). The base has both conditions.
    Single: n(-, -) + scale * (n(d, c) - n(-, -)). Rows of factor 0 are left out, and equal rows are one.
    """
    if guidance_scale is not None:
        factors = {(True, True): guidance_scale, (False, False): 1.0 - guidance_scale}
    else:
        factors = {
            (True, True): 1.0,
            (True, False): desc_guidance_scale,
            (False, True): cont_guidance_scale,
            (False, False): -desc_guidance_scale - cont_guidance_scale,
        }
    rows: dict[Row, float] = {}
    for (description, content), factor in factors.items():
        row = (description, content and not content_is_null)
        rows[row] = rows.get(row, 0.0) + factor
    return {row: factor for row, factor in rows.items() if factor}


class VoiceLDMPipeline(DiffusionPipeline):
    """Speech in an acoustic scene, from a description of the scene and a text to say.

        pipe = VoiceLDMPipeline.from_pretrained("voiceldm-m", torch_dtype=torch.bfloat16).to("cuda")
        audio = pipe("She is talking in a park.", "Good morning! How are you?").audios[0]  # at pipe.sampling_rate

    Args:
        unet, vae, vocoder, scheduler: stock networks of AudioLDM's shape.
        content_encoder, content_tokenizer: what is said: characters to frames.
        description_encoder, description_tokenizer: CLAP's text tower. How it sounds.
        audio_encoder, feature_extractor: CLAP's audio tower; only audio prompts need it.
        null_content: the text that stands for nothing being said, in guidance. The released weights want "_".
        presets: name -> scheduler, its settings, steps and scales; see [`VoiceLDMPipeline.use_preset`].
        avzoo_source: where converted weights came from.

    Every part but `unet`, `content_encoder` and `scheduler` can be left out by whoever passes what it would compute.
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
        avzoo_source: dict | None = None,
    ):
        super().__init__()
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
        self.register_to_config(null_content=null_content, presets=presets or PRESETS, avzoo_source=avzoo_source)
        self._latents_per_piece: int | None = None
        self._preset: tuple[str, Any] | None = None  # the one in use, and the scheduler that it made
        self.interrupt = False
        attend_with_bias(unet)

    # ------------------------------------------------------------------------------------------------ settings

    @property
    def sampling_rate(self) -> int:
        """Of the audio, in Hz."""
        return self._needed("vocoder").config.sampling_rate

    def use_preset(self, name: str) -> "VoiceLDMPipeline":
        """Take the scheduler of a preset, and its steps and scales for calls that name none; returns the pipeline.

        Raises:
            ValueError: no preset of that name.
        """
        if name not in self.config.presets:
            raise ValueError(f"`name` must be one of {', '.join(self.config.presets)}, got {name!r}.")
        preset = self.config.presets[name]
        scheduler_class = getattr(diffusers, preset["scheduler"], None)
        if not isinstance(scheduler_class, type) or not issubclass(scheduler_class, SchedulerMixin):
            raise ValueError(f"preset {name!r} names {preset['scheduler']!r}, which is no scheduler of diffusers.")
        settings = {**_settings_of_no_preset(self.scheduler.config, self.config.presets), **preset["settings"]}
        self.scheduler = scheduler_class.from_config(settings)
        self._preset = (name, self.scheduler)
        return self

    @property
    def preset(self) -> str | None:
        """The preset whose scheduler this is; None if it is no preset's."""
        if self._preset is not None and self._preset[1] is self.scheduler:
            return self._preset[0]
        for name, preset in self.config.presets.items():  # as after loading
            settings = {key: self.scheduler.config.get(key) for key in preset["settings"]}
            if type(self.scheduler).__name__ == preset["scheduler"] and settings == preset["settings"]:
                return name
        return None

    def _defaults(self) -> dict[str, Any]:
        """Steps, length and scales for calls that name none."""
        return {**_AS_TRAINED, "num_inference_steps": 50, **self.config.presets.get(self.preset, {})}

    def enable_vae_slicing(self) -> None:
        """Decode one waveform of a batch at a time."""
        self._needed("vae").enable_slicing()

    def disable_vae_slicing(self) -> None:
        """Decode a batch at once."""
        self._needed("vae").disable_slicing()

    def enable_chunked_decoding(self, seconds: float = 10.24) -> None:
        """Decode latents of long audio in cross-faded pieces of so many seconds; it then fits into bounded memory.

        Raises:
            ValueError: `seconds` below 1.
        """
        if not 1 <= seconds < math.inf:
            raise ValueError(f"`seconds` must be at least 1 and finite, got {seconds}.")
        self._latents_per_piece = max(int(seconds * self._latents_per_second), 32)

    def disable_chunked_decoding(self) -> None:
        """Decode latents as a whole."""
        self._latents_per_piece = None

    # ------------------------------------------------------------------------------------------------ conditions

    @torch.no_grad()
    def encode_description(self, description: str | Sequence[str]) -> torch.Tensor:
        """(batch, size): CLAP's projected text embeddings, not normalised to length 1."""
        prompts = [description] if isinstance(description, str) else list(description)
        encoder = self._needed("description_encoder")
        tokens = self._needed("description_tokenizer")(
            prompts,
            padding=True,
            truncation=True,
            max_length=encoder.config.max_position_embeddings - 2,  # RoBERTa counts from 2
            return_tensors="pt",
        ).to(self._execution_device)
        return encoder(input_ids=tokens.input_ids, attention_mask=tokens.attention_mask).text_embeds

    @torch.no_grad()
    def encode_audio_prompt(self, audio_prompt: Any, start_in_s: float = 0.0) -> torch.Tensor:
        """(batch, size): CLAP's projected audio embeddings; the first channel is heard, padded with silence.

        Args:
            audio_prompt: a recording, or a list of them: whatever `avzoo.audio.read_audio` takes, samples as
                {"array": ..., "sampling_rate": ...}.
            start_in_s: from where on a longer one is heard, for as long as CLAP hears (10 s).
        """
        recordings = list(audio_prompt) if isinstance(audio_prompt, list | tuple) else [audio_prompt]
        extractor, encoder = self._needed("feature_extractor"), self._needed("audio_encoder")
        rate = extractor.sampling_rate
        if not 0 <= start_in_s < math.inf:
            raise ValueError(f"`audio_prompt_start_in_s` must be 0 or more and finite, got {start_in_s}.")
        start, waveforms = int(start_in_s * rate), []
        for index, recording in enumerate(recordings):
            waveform = read_audio(recording, rate, channels="first", name=f"audio_prompt[{index}]")[0]
            heard = waveform[start : start + extractor.nb_max_samples]
            if not len(heard):
                raise ValueError(
                    f"`audio_prompt_start_in_s` ({start_in_s}) is beyond the end of audio_prompt[{index}], which has "
                    f"{len(waveform) / rate:.2f} s."
                )
            waveforms.append(heard)
        # Any name but "repeat" and "repeatpad" means zeros. Cut above, nothing is left to be cropped at random.
        features = extractor(waveforms, sampling_rate=rate, padding="pad", return_tensors="pt")
        return encoder(
            input_features=features["input_features"].to(self._execution_device, encoder.dtype),
            is_longer=features["is_longer"].to(self._execution_device),
        ).audio_embeds

    @torch.no_grad()
    def encode_content(
        self, content: str | Sequence[str], negative_content: str | None = None, spell_out: bool = True
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        """Texts as frames for the denoiser, each with its null text.

        Text and null text are encoded as one padded pair, which the released weights notice, and each pair by itself,
        so that a batch gives what its items give.

        Args:
            negative_content: the null text. None: no guidance is wanted, and the texts are encoded alone.
            spell_out: write numbers as words first; the tokenizer knows no digits.

        Returns:
            `content_embeds` (batch, frames, size), `content_bias` (batch, frames), and the same of the null texts, or
            None twice. A bias is added to attention logits, see [`fold_padding`].
        """
        texts = [content] if isinstance(content, str) else list(content)
        if spell_out:
            texts = [spell_out_numbers(text) for text in texts]
        count = len(texts)
        if negative_content is not None:
            texts += [negative_content] * count
        device = self._execution_device
        encoder, tokenizer = self.content_encoder, self._needed("content_tokenizer")
        limit = encoder.config.max_text_positions
        longest = max(map(len, tokenizer(texts).input_ids))
        if longest > limit:
            logger.warning(
                f"`content` has {longest} tokens and is cut off after {limit}; read it with `read_long_text`, which "
                "makes segments of it."
            )
        tokens = tokenizer(texts, padding=True, truncation=True, max_length=limit, return_tensors="pt").to(device)
        pairs = tokens.attention_mask.sum(1).view(-1, count).amax(0).repeat(len(texts) // count)
        output = encoder(tokens.input_ids, tokens.attention_mask, padded_lengths=pairs)
        padded = output.frame_lengths.view(-1, count).amax(0).repeat(len(texts) // count)
        bias = fold_padding(output.frame_lengths, padded, output.frames.shape[1])
        if negative_content is None:
            return output.frames, bias, None, None
        return output.frames[:count], bias[:count], output.frames[count:], bias[count:]

    # ------------------------------------------------------------------------------------------------ latents

    def prepare_latents(
        self,
        batch_size: int,
        audio_length_in_s: float,
        generator: torch.Generator | list[torch.Generator] | None = None,
        latents: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Standard normal noise to start from, (batch, channels, latent frames, latent bands), float32; each scheduler
        scales it to its own first noise level.

        Raises:
            ValueError: `latents` of another shape or not finite, or a list of generators of another length.
        """
        shape = (batch_size, self.unet.config.in_channels, self._latent_frames(audio_length_in_s), self._latent_bands)
        if isinstance(generator, list) and len(generator) != batch_size:
            raise ValueError(
                f"`generator` is a list of {len(generator)}, expected one for each of {batch_size} waveforms."
            )
        if latents is None:
            latents = randn_tensor(shape, generator=generator, device=self._execution_device, dtype=torch.float32)
        elif tuple(latents.shape) != shape:
            raise ValueError(
                f"`latents` must be {shape} for these prompts and this length, got {tuple(latents.shape)}."
            )
        elif not torch.isfinite(latents).all():
            raise ValueError("`latents` holds NaN or infinite values.")
        return latents.to(self._execution_device, torch.float32)

    @torch.no_grad()
    def decode_latents(self, latents: torch.Tensor) -> torch.Tensor:
        """Latents to natural-log mel spectrograms, (batch, 1, frames, bands)."""
        return decode_latents(self._needed("vae"), latents, self._latents_per_piece)

    @torch.no_grad()
    def vocode(self, spectrogram: torch.Tensor) -> torch.Tensor:
        """Spectrograms (batch, 1, frames, bands) to waveforms, (batch, samples), float32, as loud as they come.

        Raises:
            ValueError: the result is not finite, as when float16 overflows.
        """
        vocoder = self._needed("vocoder")
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
        negative_description: str = "",
        negative_content: str | None = None,
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
            description: voice, room and surroundings; "clean speech" for nothing but a voice. One text or a list; one
                text goes with every item of the other list.
            content: what is said, English. "_" for nothing: sound effects.
            audio_prompt: a recording in place of `description`, or a list of them: file, bytes, array, row.
            audio_length_in_s: length of the result, above 0. None: as the preset says; the released weights were
                trained on 10 s.
            num_inference_steps: None: what the scheduler's preset says, 50 if it has none.
            desc_guidance_scale, cont_guidance_scale: how strongly each condition is followed, 0 or more. 0 leaves
                the condition in, without emphasis. None: as the preset says.
            guidance_scale: one scale for both in place of the two, as common elsewhere; 1 is no emphasis.
            negative_description: what guidance leads away from.
            negative_content: the null text of guidance. None: the pipeline's `null_content`.
            num_waveforms_per_prompt: results for each prompt.
            eta: noise added at each step by schedulers that take it (DDIM).
            generator: source of all noise; a list has one for each waveform.
            latents: noise to start from, see [`VoiceLDMPipeline.prepare_latents`].
            description_embeds, negative_description_embeds: what [`VoiceLDMPipeline.encode_description`] gives, in
                place of the texts.
            content_embeds, content_bias, negative_content_embeds, negative_content_bias: what
                [`VoiceLDMPipeline.encode_content`] gives, in place of the texts.
            audio_prompt_start_in_s: from where on a longer audio prompt is heard.
            spell_out: write numbers as words.
            normalize: take the mean off each waveform and scale its peak to 1; silence stays silence.
            output_type: "np" or "pt", (batch, samples) float32; "mel", (batch, 1, frames, bands) tensors; "latent".
            return_dict: False: a tuple.
            callback_on_step_end: called as (pipe, step, timestep, tensors) after each step; may return new "latents".

        Returns:
            `audios`, prompts in order, the waveforms of each together.

        Raises:
            ValueError: arguments that don't fit one another; a part that is needed and missing.
        """
        # 1. Check inputs
        preset = self._defaults()
        if num_inference_steps is None:
            num_inference_steps = preset["num_inference_steps"]
        if audio_length_in_s is None:
            audio_length_in_s = preset["audio_length_in_s"]
        batch_size = self.check_inputs(
            description,
            content,
            audio_prompt,
            description_embeds,
            content_embeds,
            content_bias,
            audio_length_in_s=audio_length_in_s,
            num_inference_steps=num_inference_steps,
            scales={
                "desc_guidance_scale": desc_guidance_scale,
                "cont_guidance_scale": cont_guidance_scale,
                "guidance_scale": guidance_scale,
            },
            num_waveforms_per_prompt=num_waveforms_per_prompt,
            output_type=output_type,
            callback_on_step_end_tensor_inputs=callback_on_step_end_tensor_inputs,
        )
        if desc_guidance_scale is None:
            desc_guidance_scale = preset["desc_guidance_scale"]
        if cont_guidance_scale is None:
            cont_guidance_scale = preset["cont_guidance_scale"]
        negative_content = self.config.null_content if negative_content is None else negative_content
        content = None if content is None else _listed(content, batch_size)
        rows = guidance_rows(
            desc_guidance_scale,
            cont_guidance_scale,
            guidance_scale,
            content_is_null=content is not None and set(content) == {negative_content},
        )

        # 2. Encode the description
        if description_embeds is None:
            if audio_prompt is not None:
                description_embeds = self.encode_audio_prompt(audio_prompt, audio_prompt_start_in_s)
            else:
                description_embeds = self.encode_description(description)
        if negative_description_embeds is None and any(not described for described, _ in rows):
            negative_description_embeds = self.encode_description(negative_description)

        # 3. Encode the content
        if content_embeds is None:
            is_guided = len(rows) > 1 or (True, True) not in rows
            content_embeds, content_bias, negative_content_embeds, negative_content_bias = self.encode_content(
                content, negative_content if is_guided else None, spell_out
            )
        if any(not spoken for _, spoken in rows) and negative_content_embeds is None:
            raise ValueError("`negative_content_embeds` is needed beside `content_embeds`: these scales guide by it.")

        # 4. Lay out the denoiser's batch
        def waveforms_of(values: torch.Tensor) -> torch.Tensor:
            values = values.to(self._execution_device)
            values = values.expand(batch_size, *values.shape[1:]) if len(values) == 1 else values
            return values.repeat_interleave(num_waveforms_per_prompt, dim=0)

        dtype = self.unet.dtype
        descriptions = {True: description_embeds, False: negative_description_embeds}
        contents = {True: (content_embeds, content_bias), False: (negative_content_embeds, negative_content_bias)}
        num_frames = max(contents[spoken][0].shape[1] for _, spoken in rows)
        contents = {spoken: _of_length(*contents[spoken], num_frames) for _, spoken in rows}
        described = torch.cat([waveforms_of(descriptions[row[0]]) for row in rows]).to(dtype)
        spoken = torch.cat([waveforms_of(contents[row[1]][0]) for row in rows]).to(dtype)
        bias = torch.cat([waveforms_of(contents[row[1]][1]) for row in rows])
        attention = {"content_bias": bias} if bias.any() else None
        factors = torch.tensor(list(rows.values()), device=spoken.device).view(-1, 1, 1, 1, 1)
        attend_with_bias(self.unet)

        # 5. Prepare the noise and the timesteps
        latents = self.prepare_latents(batch_size * num_waveforms_per_prompt, audio_length_in_s, generator, latents)
        self.scheduler.set_timesteps(num_inference_steps, device=self._execution_device)
        latents = latents * self.scheduler.init_noise_sigma  # known only now
        step_options = {"eta": eta, "generator": generator}
        takes = inspect.signature(self.scheduler.step).parameters
        step_options = {name: value for name, value in step_options.items() if name in takes}

        # 6. Denoise
        self.interrupt = False  # a callback may set it to stop after its step
        with self.progress_bar(total=len(self.scheduler.timesteps)) as progress_bar:
            for index, timestep in enumerate(self.scheduler.timesteps):
                if self.interrupt:
                    break
                sample = self.scheduler.scale_model_input(latents, timestep).to(dtype).repeat(len(rows), 1, 1, 1)
                noise = self.unet(
                    sample,
                    timestep,
                    encoder_hidden_states=spoken,
                    class_labels=described,
                    cross_attention_kwargs=attention,
                    return_dict=False,
                )[0]
                noise = (noise.float().unflatten(0, (len(rows), -1)) * factors).sum(0)
                latents = self.scheduler.step(noise, timestep, latents, **step_options, return_dict=False)[0]
                if callback_on_step_end is not None:
                    tensors = {"latents": latents} if callback_on_step_end_tensor_inputs else {}
                    latents = (callback_on_step_end(self, index, timestep, tensors) or {}).get("latents", latents)
                progress_bar.update()

        # 7. Decode
        audio = latents
        if output_type != "latent":
            audio = self.decode_latents(latents)
        if output_type in ("np", "pt"):
            audio = self.vocode(audio)[:, : int(audio_length_in_s * self.sampling_rate)]
            audio = normalized(audio) if normalize else audio
        if output_type == "np":
            audio = audio.cpu().numpy()
        self.maybe_free_model_hooks()
        return AudioPipelineOutput(audios=audio) if return_dict else (audio,)

    @torch.no_grad()
    def read_long_text(
        self,
        description: str | None,
        text: str,
        audio_prompt: Any = None,
        *,
        segment_length_in_s: float | None = None,
        characters_per_second: float = 14.0,
        pause_in_s: float = 1.0,
        crossfade_in_s: float = 0.25,
        generator: torch.Generator | None = None,
        output_type: str = "np",
        **options: Any,
    ) -> AudioPipelineOutput:
        """Read a text of any length in one scene: cut at sentences, spoken segment by segment, cross-faded.

        All segments share the description's embedding and the noise they start from, which keeps voice and
        surroundings alike.

        Args:
            text: as long as it is.
            segment_length_in_s: longest segment. None: the length that the preset names, 10 s.
            characters_per_second: how fast it is read; decides how much text a segment gets, and how long it is.
            pause_in_s: before and after the words of a segment, together.
            crossfade_in_s: how long two segments sound together.
            options: of `__call__`: scales, steps, ...

        Returns:
            `audios`, (1, samples).

        Raises:
            ValueError: an empty text, a length that isn't positive, or an option that has no meaning here.
        """
        if segment_length_in_s is None:
            segment_length_in_s = self._defaults()["audio_length_in_s"]
        lengths = {"segment_length_in_s": segment_length_in_s, "characters_per_second": characters_per_second}
        for name, value in {**lengths, "pause_in_s": pause_in_s, "crossfade_in_s": crossfade_in_s}.items():
            if not 0 < value < math.inf:
                raise ValueError(f"`{name}` must be above 0, got {value}.")
        characters = int((segment_length_in_s - pause_in_s - crossfade_in_s) * characters_per_second)
        if characters < 1 or pause_in_s < crossfade_in_s:
            raise ValueError(
                f"`segment_length_in_s` ({segment_length_in_s}) must have room for words beside `pause_in_s` "
                f"({pause_in_s}) and `crossfade_in_s` ({crossfade_in_s}), of which the pause must be the longer."
            )
        if output_type not in ("np", "pt"):
            raise ValueError(f"`output_type` must be np or pt, got {output_type!r}.")
        meaningless = {"content_embeds", "content_bias", "negative_content_embeds", "negative_content_bias", "latents"}
        meaningless |= {"num_waveforms_per_prompt", "audio_length_in_s", "normalize", "return_dict"}
        for name in sorted(meaningless & options.keys()):
            raise ValueError(f"`{name}` has no meaning for a text that is cut into segments.")
        embeds = options.get("description_embeds")
        _check_scene(description, audio_prompt, embeds)
        for name, scene in (
            ("description", description),
            ("audio_prompt", audio_prompt),
            ("description_embeds", embeds),
        ):
            if isinstance(scene, list | tuple) or (isinstance(scene, torch.Tensor) and len(scene) != 1):
                raise ValueError(f"`{name}` must be a single one: a text is read in one scene.")
        spoken = spell_out_numbers(text) if options.get("spell_out", True) else text
        segments = split_text(spoken, characters)
        if "description_embeds" not in options:
            options["description_embeds"] = (
                self.encode_description(description)
                if audio_prompt is None
                else self.encode_audio_prompt(audio_prompt, options.pop("audio_prompt_start_in_s", 0.0))
            )
        noise = self.prepare_latents(1, segment_length_in_s, generator)
        waveforms = []
        for segment in segments:
            length = min(len(segment) / characters_per_second + pause_in_s + crossfade_in_s, segment_length_in_s)
            waveform = self(
                None,
                segment,
                audio_length_in_s=length,
                latents=noise[:, :, : self._latent_frames(length)],
                generator=generator,
                output_type="pt",
                normalize=False,
                **options,
            ).audios
            waveforms.append(waveform[0].cpu())
        audio = normalized(join_segments(waveforms, int(crossfade_in_s * self.sampling_rate))[None])
        return AudioPipelineOutput(audios=audio if output_type == "pt" else audio.numpy())

    def check_inputs(
        self,
        description: Prompt,
        content: Prompt,
        audio_prompt: Any,
        description_embeds: torch.Tensor | None,
        content_embeds: torch.Tensor | None,
        content_bias: torch.Tensor | None,
        *,
        audio_length_in_s: float,
        num_inference_steps: int,
        scales: Mapping[str, float | None],
        num_waveforms_per_prompt: int,
        output_type: str,
        callback_on_step_end_tensor_inputs: Sequence[str],
    ) -> int:
        """The number of prompts.

        Raises:
            TypeError, ValueError: what can't work, before anything is computed.
        """
        _check_scene(description, audio_prompt, description_embeds)
        if (content is None) == (content_embeds is None):
            raise ValueError(
                f'give one of `content` and `content_embeds`, got {"none" if content is None else "both"}; "_" says '
                "nothing."
            )
        for name, prompt in (("description", description), ("content", content)):
            parts = [] if prompt is None else [prompt] if isinstance(prompt, str) else prompt
            if not isinstance(parts, list | tuple) or not all(isinstance(part, str) for part in parts):
                raise TypeError(f"`{name}` must be a text or a list of texts, got {prompt!r}.")
        for name, embeds, axes in (
            ("description_embeds", description_embeds, 2),
            ("content_embeds", content_embeds, 3),
        ):
            if embeds is not None and embeds.ndim != axes:
                raise ValueError(f"`{name}` must have {axes} axes, batch first, got {tuple(embeds.shape)}.")
            if embeds is not None and not torch.isfinite(embeds).all():
                raise ValueError(f"`{name}` holds NaN or infinite values.")
        if content_bias is not None and (
            content_embeds is None or tuple(content_bias.shape) != tuple(content_embeds.shape[:2])
        ):
            expected = "nothing without `content_embeds`" if content_embeds is None else tuple(content_embeds.shape[:2])
            raise ValueError(f"`content_bias` must be {expected}, got {tuple(content_bias.shape)}.")
        prompts = {
            "description": description,
            "audio_prompt": audio_prompt if isinstance(audio_prompt, list | tuple) else None,
            "description_embeds": description_embeds,
            "content": content,
            "content_embeds": content_embeds,
        }
        counts = {
            name: 1 if isinstance(value, str) else len(value) for name, value in prompts.items() if value is not None
        }
        batch_size = max(counts.values())
        if min(counts.values()) < 1 or any(count not in (1, batch_size) for count in counts.values()):
            listed = " and ".join(f"`{name}` of {count}" for name, count in counts.items())
            raise ValueError(f"lists must be of one length, or have a single item; got {listed}.")
        if not 0 < audio_length_in_s < math.inf:
            raise ValueError(f"`audio_length_in_s` must be above 0, got {audio_length_in_s}.")
        for name, value in (
            ("num_inference_steps", num_inference_steps),
            ("num_waveforms_per_prompt", num_waveforms_per_prompt),
        ):
            if not isinstance(value, int | np.integer) or value < 1:
                raise ValueError(f"`{name}` must be a whole number of at least 1, got {value!r}.")
        for name, value in scales.items():
            if value is not None and not 0 <= value < math.inf:
                raise ValueError(f"`{name}` must be 0 or more, got {value}.")
        if scales["guidance_scale"] is not None and any(v is not None for n, v in scales.items() if n[0] != "g"):
            raise ValueError(
                "`guidance_scale` is one scale for both conditions; leave it out where `desc_guidance_scale` or "
                "`cont_guidance_scale` is given."
            )
        if output_type not in ("np", "pt", "mel", "latent"):
            raise ValueError(f"`output_type` must be np, pt, mel or latent, got {output_type!r}.")
        unknown = set(callback_on_step_end_tensor_inputs) - set(self._callback_tensor_inputs)
        if unknown:
            raise ValueError(
                f"`callback_on_step_end_tensor_inputs` may name {self._callback_tensor_inputs}, got {sorted(unknown)}."
            )
        for part in {"np": ("vae", "vocoder"), "pt": ("vae", "vocoder"), "mel": ("vae",)}.get(output_type, ()):
            self._needed(part)
        return batch_size

    # ------------------------------------------------------------------------------------------------ sizes

    @property
    def _vae_factor(self) -> int:
        """Frames of a latent frame, and bands of a latent band."""
        return 4 if self.vae is None else 2 ** (len(self.vae.config.block_out_channels) - 1)

    @property
    def _latent_bands(self) -> int:
        return (64 if self.vocoder is None else self.vocoder.config.model_in_dim) // self._vae_factor

    @property
    def _latents_per_second(self) -> float:
        frames = 100.0 if self.vocoder is None else self.vocoder.config.sampling_rate / vocoder_hop(self.vocoder.config)
        return frames / self._vae_factor

    def _latent_frames(self, seconds: float) -> int:
        """Latent frames of a clip: the authors' number, or more where its waveform would come out short."""
        config = None if self.vocoder is None else self.vocoder.config
        frame_in_s = 0.01 if config is None else vocoder_hop(config) / config.sampling_rate
        latents = int(seconds * LENGTH_FACTOR / frame_in_s) // self._vae_factor
        if config is None:
            return max(latents, 1)
        latents = max(latents, 1)
        while vocoder_samples(config, latents * self._vae_factor) < int(seconds * config.sampling_rate):
            latents += 1
        return latents

    def _needed(self, part: str) -> Any:
        value = getattr(self, part)
        if value is None:
            instead = {
                "vae": 'ask for output_type="latent"',
                "vocoder": 'ask for output_type="mel"',
                "description_encoder": "pass `description_embeds`, and `negative_description_embeds` for guidance",
                "description_tokenizer": "pass `description_embeds`, and `negative_description_embeds` for guidance",
                "content_tokenizer": "pass `content_embeds`, and `negative_content_embeds` for guidance",
                "audio_encoder": "describe the scene in words",
                "feature_extractor": "describe the scene in words",
            }[part]
            raise ValueError(
                f"this pipeline was loaded without its `{part}`; pass one to `from_pretrained(..., {part}=...)`, or "
                f"{instead}."
            )
        return value


def normalized(waveforms: torch.Tensor) -> torch.Tensor:
    """Each of (batch, samples) without its mean and with a peak of 1; what is quieter than -60 dB keeps its level.

    Source: glory20h/VoiceLDM@16ebc7a (voiceldm/pipeline.py), which takes mean and peak over the whole batch.
    """
    centred = waveforms - waveforms.mean(dim=-1, keepdim=True)
    peak = centred.abs().amax(dim=-1, keepdim=True)
    return centred / torch.where(peak < QUIETEST_PEAK, 1.0, peak + 1e-8)


def _check_scene(description: Prompt, audio_prompt: Any, description_embeds: torch.Tensor | None) -> None:
    given = {"description": description, "audio_prompt": audio_prompt, "description_embeds": description_embeds}
    given = [name for name, value in given.items() if value is not None]
    if len(given) != 1:
        raise ValueError(
            "give one of `description`, `audio_prompt` and `description_embeds`, got "
            f"{' and '.join(f'`{name}`' for name in given) or 'none of them'}."
        )


def _listed(prompts: str | Sequence[str], count: int) -> list[str]:
    prompts = [prompts] if isinstance(prompts, str) else list(prompts)
    return prompts * count if len(prompts) == 1 else prompts


def _of_length(embeds: torch.Tensor, bias: torch.Tensor | None, num_frames: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Frames and their bias with frames behind them that nobody attends to."""
    bias = embeds.new_zeros(embeds.shape[:2], dtype=torch.float32) if bias is None else bias.float()
    missing = num_frames - embeds.shape[1]
    pad = torch.nn.functional.pad
    return pad(embeds, (0, 0, 0, missing)), pad(bias, (0, missing), value=-math.inf)


def _settings_of_no_preset(config: Mapping[str, Any], presets: Mapping[str, Any]) -> dict[str, Any]:
    """A scheduler's settings without what a preset set, so that the next preset starts from what the weights say."""
    of_presets = {name for preset in presets.values() for name in preset["settings"]}
    settings = {name: value for name, value in config.items() if name not in of_presets}
    # diffusers' list of what nobody chose: it would throw away what the next preset chooses.
    unchosen = [name for name in config.get("_use_default_values", ()) if name not in of_presets]
    return settings | {"_use_default_values": unchosen}


__all__ = ["PRESETS", "VoiceLDMPipeline", "guidance_rows", "normalized"]
