"""Checks of the arguments of VoiceLDM's pipeline, before anything is encoded or read."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from avzoo.checks import check_number

Prompt = str | Sequence[str] | None

# Arguments of a call that reading a long text sets itself, or that have no meaning for it.
_SEGMENT_ARGUMENTS = (
    "audio_length_in_s",
    "content_bias",
    "content_embeds",
    "latents",
    "negative_content_bias",
    "negative_content_embeds",
    "normalize",
    "num_waveforms_per_prompt",
    "return_dict",
)


def check_scene(description: Prompt, audio_prompt: Any, description_embeds: torch.Tensor | None) -> None:
    """Raise a ValueError unless the scene is given in exactly one way."""
    scenes = {"description": description, "audio_prompt": audio_prompt, "description_embeds": description_embeds}
    given = [f"`{name}`" for name, value in scenes.items() if value is not None]
    if len(given) != 1:
        raise ValueError(
            "give one of `description`, `audio_prompt` and `description_embeds`, got "
            f"{' and '.join(given) or 'none of them'}."
        )


def check_content(content: Prompt, content_embeds: torch.Tensor | None) -> None:
    """Raise a ValueError unless the content is given in exactly one way."""
    if (content is None) == (content_embeds is None):
        raise ValueError(
            f"give one of `content` and `content_embeds`, got {'none' if content is None else 'both'}; "
            '"_" is the content without speech.'
        )


def check_texts(name: str, prompt: Prompt) -> None:
    """Raise a TypeError unless a prompt is None, a text or a list of texts."""
    texts = [] if prompt is None else [prompt] if isinstance(prompt, str) else prompt
    if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
        raise TypeError(f"`{name}` must be a text or a list of texts, got {prompt!r}.")


def check_embeds(name: str, embeds: torch.Tensor | None, num_axes: int) -> None:
    """Raise a ValueError unless embeddings are None, or finite with so many axes."""
    if embeds is None:
        return
    if embeds.ndim != num_axes:
        raise ValueError(f"`{name}` must have {num_axes} axes, batch first, got {tuple(embeds.shape)}.")
    if not torch.isfinite(embeds).all():
        raise ValueError(f"`{name}` holds NaN or infinite values.")


def check_content_bias(content_bias: torch.Tensor | None, content_embeds: torch.Tensor | None) -> None:
    """Raise a ValueError unless the bias is None, or has a number for each frame of `content_embeds`."""
    if content_bias is None:
        return
    if content_embeds is None:
        raise ValueError(f"`content_bias` must be None without `content_embeds`, got {tuple(content_bias.shape)}.")
    if content_bias.shape != content_embeds.shape[:2]:
        raise ValueError(f"`content_bias` must be {tuple(content_embeds.shape[:2])}, got {tuple(content_bias.shape)}.")


def count_prompts(prompts: Mapping[str, Any]) -> int:
    """Return the batch size of prompts that are lists of one length or single items; None counts as not given.

    Raises:
        ValueError: an empty list, or lists of several lengths.
    """
    lengths = {
        name: 1 if isinstance(value, str) else len(value) for name, value in prompts.items() if value is not None
    }
    batch_size = max(lengths.values())
    if min(lengths.values()) < 1 or any(length not in (1, batch_size) for length in lengths.values()):
        listed = " and ".join(f"`{name}` of {length}" for name, length in lengths.items())
        raise ValueError(f"lists must be of one length, or have a single item; got {listed}.")
    return batch_size


def repeat_prompt(name: str, prompt: str | Sequence[str], batch_size: int) -> list[str]:
    """Return a list of `batch_size` texts: a single one is repeated.

    Raises:
        ValueError: several texts, and another number of them.
    """
    prompts = [prompt] if isinstance(prompt, str) else list(prompt)
    if len(prompts) not in (1, batch_size):
        raise ValueError(f"`{name}` must be one text or {batch_size}, got {len(prompts)}.")
    return prompts * batch_size if len(prompts) == 1 else prompts


def check_scales(scales: Mapping[str, float | None]) -> None:
    """Raise unless each guidance scale is None or at least 0, and the single scale is given alone."""
    for name, scale in scales.items():
        if scale is not None:
            check_number(name, scale, at_least=0)
    if scales["guidance_scale"] is not None and sum(scale is not None for scale in scales.values()) > 1:
        raise ValueError(
            "`guidance_scale` is one scale for both conditions; leave it out where `desc_guidance_scale` or "
            "`cont_guidance_scale` is given."
        )


def check_long_text(
    description: str | None,
    audio_prompt: Any,
    options: Mapping[str, Any],
    *,
    segment_length_in_s: float,
    characters_per_second: float,
    pause_in_s: float,
    crossfade_in_s: float,
) -> int:
    """Check the arguments of `read_long_text`.

    Returns:
        The most characters that a segment has time for.

    Raises:
        TypeError, ValueError: a length out of range, segments too short for any word, an option of `__call__` that
            has no meaning for segments, or not exactly one scene.
    """
    lengths = {
        "segment_length_in_s": segment_length_in_s,
        "characters_per_second": characters_per_second,
        "pause_in_s": pause_in_s,
        "crossfade_in_s": crossfade_in_s,
    }
    for name, value in lengths.items():
        check_number(name, value, above=0)
    max_characters = int((segment_length_in_s - pause_in_s - crossfade_in_s) * characters_per_second)
    if max_characters < 1 or pause_in_s < crossfade_in_s:
        raise ValueError(
            f"`segment_length_in_s` ({segment_length_in_s}) must have room for words beside `pause_in_s` "
            f"({pause_in_s}) and `crossfade_in_s` ({crossfade_in_s}), and the pause must not be shorter than the "
            "cross-fade."
        )
    for name in _SEGMENT_ARGUMENTS:
        if name in options:
            raise ValueError(f"`{name}` has no meaning for a text that is cut into segments.")
    scenes = {
        "description": description,
        "audio_prompt": audio_prompt,
        "description_embeds": options.get("description_embeds"),
    }
    check_scene(*scenes.values())
    scenes |= {name: options.get(name) for name in ("negative_description", "negative_content")}
    for name, scene in scenes.items():
        if isinstance(scene, list | tuple) or (isinstance(scene, torch.Tensor) and len(scene) != 1):
            raise ValueError(f"`{name}` must be a single one: a text is read in one scene.")
    return max_characters


__all__ = [
    "Prompt",
    "check_content",
    "check_content_bias",
    "check_embeds",
    "check_long_text",
    "check_scales",
    "check_scene",
    "check_texts",
    "count_prompts",
    "repeat_prompt",
]
