"""Encoding of VoiceLDM's two conditions: the scene, from words or a recording, and the spoken text."""

from collections.abc import Sequence
from typing import Any

import torch
from diffusers.utils import logging

from avzoo.audio import read_audio
from avzoo.checks import check_number
from avzoo.models.voiceldm.content_attention import fold_padding

from .checks import Prompt, repeat_prompt
from .number_words import spell_out_numbers

logger = logging.get_logger(__name__)


class ConditionEncoderMixin:
    """The encoders of [`VoiceLDMPipeline`]: descriptions, audio prompts and content."""

    @torch.no_grad()
    def encode_description(self, description: str | Sequence[str]) -> torch.Tensor:
        """Encode descriptions as CLAP's projected text embeddings, (batch, size), not normalized to length 1."""
        prompts = [description] if isinstance(description, str) else list(description)
        encoder = self._require("description_encoder")
        tokens = self._require("description_tokenizer")(
            prompts,
            padding=True,
            truncation=True,
            max_length=encoder.config.max_position_embeddings - 2,  # RoBERTa counts from 2
            return_tensors="pt",
        ).to(self._execution_device)
        return encoder(input_ids=tokens.input_ids, attention_mask=tokens.attention_mask).text_embeds

    @torch.no_grad()
    def encode_audio_prompt(self, audio_prompt: Any, start_in_s: float = 0.0) -> torch.Tensor:
        """Encode the first channel of recordings as CLAP's projected audio embeddings, (batch, size).

        CLAP takes 10 s: longer recordings are cut, shorter ones padded with silence.

        Args:
            audio_prompt: a recording, or a list of them: whatever `avzoo.audio.read_audio` takes, samples as
                {"array": ..., "sampling_rate": ...}.
            start_in_s: start of the part to encode.

        Raises:
            TypeError, ValueError: a start that is negative or beyond the end of a recording; what `read_audio` raises.
        """
        recordings = list(audio_prompt) if isinstance(audio_prompt, list | tuple) else [audio_prompt]
        extractor, encoder = self._require("feature_extractor"), self._require("audio_encoder")
        rate = extractor.sampling_rate
        check_number("audio_prompt_start_in_s", start_in_s, at_least=0)
        start, waveforms = int(start_in_s * rate), []
        for index, recording in enumerate(recordings):
            recorded = read_audio(recording, rate, channels="first", name=f"audio_prompt[{index}]")[0]
            waveform = recorded[start : start + extractor.nb_max_samples]
            if not len(waveform):
                raise ValueError(
                    f"`audio_prompt_start_in_s` ({start_in_s}) is beyond the end of audio_prompt[{index}], which has "
                    f"{len(recorded) / rate:.2f} s."
                )
            waveforms.append(waveform)
        # Any name but "repeat" and "repeatpad" pads with zeros. Cut above, no waveform is cropped at random.
        features = extractor(waveforms, sampling_rate=rate, padding="pad", return_tensors="pt")
        return encoder(
            input_features=features["input_features"].to(self._execution_device, encoder.dtype),
            is_longer=features["is_longer"].to(self._execution_device),
        ).audio_embeds

    @torch.no_grad()
    def encode_content(
        self, content: str | Sequence[str], negative_content: Prompt = None, spell_out: bool = True
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        """Encode texts and their null text as frames for the denoiser.

        The released weights expect a text and its null text to be padded to one length, so each pair is encoded with
        the padding of the pair alone; a batch then equals its items.

        Args:
            negative_content: the null text, or one for each text. None: without guidance, the texts are encoded alone.
            spell_out: write numbers as words first; the tokenizer has no digits.

        Raises:
            ValueError: a list of null texts of another length.

        Returns:
            `content_embeds` (batch, frames, size), `content_bias` (batch, frames), and the same of the null texts, or
            None twice. A bias is added to attention logits, see [`fold_padding`].
        """
        texts = [content] if isinstance(content, str) else list(content)
        if spell_out:
            texts = [spell_out_numbers(text) for text in texts]
        batch_size = len(texts)
        if negative_content is not None:
            texts += repeat_prompt("negative_content", negative_content, batch_size)
        encoder, tokenizer = self.content_encoder, self._require("content_tokenizer")
        max_length = encoder.config.max_text_positions
        longest = max(map(len, tokenizer(texts).input_ids))
        if longest > max_length:
            logger.warning(
                f"`content` has {longest} tokens and is cut off after {max_length}; read it with `read_long_text`, "
                "which cuts it into segments."
            )
        tokens = tokenizer(texts, padding=True, truncation=True, max_length=max_length, return_tensors="pt")
        tokens = tokens.to(self._execution_device)

        def pair_maximum(lengths: torch.Tensor) -> torch.Tensor:
            """The longer length of each text and its null text, for both of them."""
            return lengths.view(-1, batch_size).amax(0).repeat(len(texts) // batch_size)

        padded_lengths = pair_maximum(tokens.attention_mask.sum(1))
        output = encoder(tokens.input_ids, tokens.attention_mask, padded_lengths=padded_lengths, return_dict=True)
        bias = fold_padding(output.frame_lengths, pair_maximum(output.frame_lengths), output.frames.shape[1])
        if negative_content is None:
            return output.frames, bias, None, None
        return output.frames[:batch_size], bias[:batch_size], output.frames[batch_size:], bias[batch_size:]

    def _encode_scene(self, description: Prompt, audio_prompt: Any, audio_prompt_start_in_s: float) -> torch.Tensor:
        """Encode the description, or the audio prompt in its place, (batch, size)."""
        if audio_prompt is None:
            return self.encode_description(description)
        return self.encode_audio_prompt(audio_prompt, audio_prompt_start_in_s)


__all__ = ["ConditionEncoderMixin"]
