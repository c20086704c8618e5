"""Long texts: cut into segments that one call can speak, and the segments' waveforms joined."""

import re
from collections.abc import Sequence
from typing import Any

import torch
from diffusers import AudioPipelineOutput

from avzoo.checks import check_choice, check_whole_number

from .checks import check_long_text
from .loudness import normalize_waveforms
from .number_words import spell_out_numbers

_SENTENCE_END = re.compile(r"([.!?…][\"'”’)\]]*)\s+")
_CLAUSE_END = re.compile(r"(?<=[,;:–—])\s+")


class LongTextMixin:
    """Reading of texts of any length for [`VoiceLDMPipeline`]."""

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
        """Read a text of any length in one scene: cut it at sentences, speak each segment, cross-fade the segments.

        All segments share the description's embedding and the first noise, which keeps voice and surroundings alike.

        Args:
            text: a text of any length.
            segment_length_in_s: longest segment. None: the preset's length, 10 s.
            characters_per_second: reading speed; sets how much text a segment holds, and how long it is.
            pause_in_s: pause before and after the words of a segment, together.
            crossfade_in_s: overlap of two segments.
            options: of `__call__`: scales, steps, ...

        Returns:
            `audios`, (1, samples).

        Raises:
            TypeError, ValueError: an empty text, a length that isn't positive, or an option that has no meaning here.
        """
        # 1. Check inputs
        if segment_length_in_s is None:
            segment_length_in_s = self._defaults()["audio_length_in_s"]
        max_characters = check_long_text(
            description,
            audio_prompt,
            options,
            segment_length_in_s=segment_length_in_s,
            characters_per_second=characters_per_second,
            pause_in_s=pause_in_s,
            crossfade_in_s=crossfade_in_s,
        )
        check_choice("output_type", output_type, ("np", "pt"))

        # 2. Cut the text
        segments = split_text(spell_out_numbers(text) if options.get("spell_out", True) else text, max_characters)

        # 3. Prepare what the segments share
        if options.get("description_embeds") is None:
            start_in_s = options.pop("audio_prompt_start_in_s", 0.0)
            options["description_embeds"] = self._encode_scene(description, audio_prompt, start_in_s)
        noise = self.prepare_latents(1, segment_length_in_s, generator)

        # 4. Speak each segment
        waveforms = []
        for segment in segments:
            length = min(len(segment) / characters_per_second + pause_in_s + crossfade_in_s, segment_length_in_s)
            audio = self(
                content=segment,
                audio_length_in_s=length,
                latents=noise[:, :, : self._latent_frames(length)],
                generator=generator,
                output_type="pt",
                normalize=False,
                **options,
            ).audios
            waveforms.append(audio[0].cpu())

        # 5. Join the segments
        audio = normalize_waveforms(join_segments(waveforms, int(crossfade_in_s * self.sampling_rate))[None])
        return AudioPipelineOutput(audios=audio if output_type == "pt" else audio.numpy())


def split_text(text: str, max_characters: int) -> list[str]:
    """Cut a text into segments of at most `max_characters`, in order; nothing but white space is lost.

    Sentences stay whole and are joined up to the limit. A longer sentence is cut at commas and the like, then at
    spaces, and a word longer than the limit anywhere.

    Raises:
        ValueError: a text without any character but white space, or a limit below 1.
    """
    check_whole_number("max_characters", max_characters, at_least=1)
    paragraphs = re.split(r"\n\s*\n", _SENTENCE_END.sub(r"\1\n\n", text))
    parts = [part for part in (" ".join(paragraph.split()) for paragraph in paragraphs) if part]
    if not parts:
        raise ValueError("`text` holds nothing to say.")
    for pattern in (_CLAUSE_END, re.compile(r"\s+")):
        parts = [shorter for part in parts for shorter in _split_part(part, pattern, max_characters)]
    return _join_neighbours(
        [part[start : start + max_characters] for part in parts for start in range(0, len(part), max_characters)],
        max_characters,
    )


def _split_part(part: str, pattern: re.Pattern, max_characters: int) -> list[str]:
    """Cut a part that is too long where the pattern matches."""
    return [part] if len(part) <= max_characters else _join_neighbours(pattern.split(part), max_characters)


def _join_neighbours(parts: Sequence[str], max_characters: int) -> list[str]:
    """Join neighbouring parts by a space as long as they fit."""
    segments: list[str] = []
    for part in filter(None, parts):
        if segments and len(segments[-1]) + 1 + len(part) <= max_characters:
            segments[-1] += f" {part}"
        else:
            segments.append(part)
    return segments


def join_segments(waveforms: Sequence[torch.Tensor], overlap: int) -> torch.Tensor:
    """Join segments (samples,) in order, each cross-faded with the next over `overlap` samples.

    The gain of a fade follows the correlation of the two ends, so that the level stays the same for equal and for
    unrelated noises.

    Raises:
        ValueError: a segment shorter than two overlaps.
    """
    shortest = min(map(len, waveforms))
    if len(waveforms) > 1 and shortest < 2 * overlap:
        raise ValueError(f"`overlap` ({overlap} samples) must be at most half of the shortest segment ({shortest}).")
    joined = waveforms[0]
    ramp = (torch.arange(overlap) + 0.5) / max(overlap, 1)
    for waveform in waveforms[1:]:
        ending, beginning = joined[len(joined) - overlap :], waveform[:overlap]
        power = torch.linalg.vector_norm(ending) * torch.linalg.vector_norm(beginning)
        correlation = (ending @ beginning / power).clamp(0, 1) if power > 0 else torch.tensor(1.0)
        gain = (ramp**2 + (1 - ramp) ** 2 + 2 * correlation * ramp * (1 - ramp)).rsqrt()
        faded = gain * ((1 - ramp) * ending + ramp * beginning)
        joined = torch.cat([joined[: len(joined) - overlap], faded, waveform[overlap:]])
    return joined


__all__ = ["LongTextMixin", "join_segments", "split_text"]
