"""Presets of VoiceLDM's sampler: a scheduler with its settings, steps, length and guidance scales."""

from collections.abc import Mapping
from typing import Any

import diffusers
from diffusers.schedulers import SchedulerMixin

from avzoo.checks import check_choice

DEFAULTS: dict[str, Any] = {  # of a scheduler without a preset: length and scales that the weights were released for
    "num_inference_steps": 50,
    "audio_length_in_s": 10.0,
    "desc_guidance_scale": 7.0,
    "cont_guidance_scale": 7.0,
}
PRESETS: dict[str, dict[str, Any]] = {
    # Order-2 UniPC on Karras's noise levels: with 20 steps closer to the exact solution than DDIM with 50.
    "fast": {
        **DEFAULTS,
        "scheduler": "UniPCMultistepScheduler",
        "settings": {"solver_order": 2, "use_karras_sigmas": True},
        "num_inference_steps": 20,
    },
    # The authors' sampler. The spacing is stated because each scheduler class has another default.
    "reference": {
        **DEFAULTS,
        "scheduler": "DDIMScheduler",
        "settings": {"timestep_spacing": "leading"},
        "num_inference_steps": 50,
    },
}


def build_scheduler(name: str, presets: Mapping[str, Any], current: SchedulerMixin) -> SchedulerMixin:
    """Build the scheduler of a preset with the noise schedule of the current scheduler.

    Raises:
        ValueError: no preset of that name, or a preset whose scheduler diffusers doesn't have.
    """
    check_choice("name", name, presets)
    preset = presets[name]
    scheduler_class = getattr(diffusers, preset["scheduler"], None)
    if not isinstance(scheduler_class, type) or not issubclass(scheduler_class, SchedulerMixin):
        raise ValueError(f"preset {name!r} names {preset['scheduler']!r}, which is no scheduler of diffusers.")
    return scheduler_class.from_config({**_remove_preset_settings(current.config, presets), **preset["settings"]})


def is_preset(scheduler: SchedulerMixin, preset: Mapping[str, Any]) -> bool:
    """Whether a scheduler is of the preset's class and has its settings."""
    settings = {key: scheduler.config.get(key) for key in preset["settings"]}
    return type(scheduler).__name__ == preset["scheduler"] and settings == preset["settings"]


def find_preset(scheduler: SchedulerMixin, presets: Mapping[str, Any]) -> str | None:
    """Return the name of the first preset that has this scheduler class and these settings; None if there is none."""
    return next((name for name, preset in presets.items() if is_preset(scheduler, preset)), None)


def _remove_preset_settings(config: Mapping[str, Any], presets: Mapping[str, Any]) -> dict[str, Any]:
    """Remove from a scheduler's config what any preset sets, so that the next preset starts from the weights' own."""
    preset_settings = {name for preset in presets.values() for name in preset["settings"]}
    settings = {name: value for name, value in config.items() if name not in preset_settings}
    # diffusers ignores settings that this list names as unchosen, also those of the next preset.
    unchosen = [name for name in config.get("_use_default_values", ()) if name not in preset_settings]
    return settings | {"_use_default_values": unchosen}


__all__ = ["DEFAULTS", "PRESETS", "build_scheduler", "find_preset", "is_preset"]
