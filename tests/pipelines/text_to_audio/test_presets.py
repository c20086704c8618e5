"""Schedulers and presets."""

import diffusers
import pytest
import torch
from diffusers import DDIMScheduler
from tiny_voiceldm import assembled, seeded, spoken, watched_unet

from avzoo.pipelines.text_to_audio.presets import PRESETS

SCHEDULERS = ["DDIM", "UniPCMultistep", "DEISMultistep", "LMSDiscrete", "PNDM", "DPMSolverMultistep", "EulerDiscrete",
              "EulerAncestralDiscrete", "HeunDiscrete"]  # fmt: skip


@pytest.mark.parametrize("name", SCHEDULERS)
def test_other_schedulers_run_and_no_call_depends_on_the_call_before_it(pipe, name):
    """The level of the first noise belongs to the timesteps of this call, not to those of the last one."""
    pipe.scheduler = getattr(diffusers, f"{name}Scheduler").from_config(pipe.scheduler.config)
    options = {"guidance_scale": 1.0, "num_inference_steps": 4}
    first = spoken(pipe, **options)
    assert first.isfinite().all()
    assert first.abs().max() == pytest.approx(1.0, abs=1e-3)
    spoken(pipe, **{**options, "num_inference_steps": 5, "output_type": "latent"})
    assert torch.equal(spoken(pipe, **options), first)


def test_the_first_noise_has_the_level_of_the_scheduler(pipe):
    pipe.scheduler = diffusers.EulerDiscreteScheduler.from_config(pipe.scheduler.config)
    noise = torch.randn(1, 4, 16, 16, generator=seeded(0))
    call = watched_unet(pipe, lambda: spoken(pipe, latents=noise, num_inference_steps=4, guidance_scale=1.0))[0]
    pipe.scheduler.set_timesteps(4)
    expected = pipe.scheduler.scale_model_input(noise * pipe.scheduler.init_noise_sigma, pipe.scheduler.timesteps[0])
    torch.testing.assert_close(call["sample"], expected)


def default_steps(pipe) -> int:
    """Steps of a call that names none; only the first of them is computed."""

    def interrupt(pipe, index, timestep, tensors):
        pipe.interrupt = True

    options = {"num_inference_steps": None, "output_type": "latent", "callback_on_step_end": interrupt}
    assert len(watched_unet(pipe, lambda: spoken(pipe, **options))) == 1
    return len(pipe.scheduler.timesteps)


def test_a_preset_sets_scheduler_and_steps(pipe):
    pipe.use_preset("fast")
    assert type(pipe.scheduler) is diffusers.UniPCMultistepScheduler
    assert pipe.scheduler.config.use_karras_sigmas
    assert pipe.preset == "fast"
    assert default_steps(pipe) == 20
    assert pipe.use_preset("reference") is pipe
    assert default_steps(pipe) == 50


def test_changing_the_preset_and_back_restores_the_scheduler_config(pipe):
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


def test_a_scheduler_of_no_preset_has_default_steps(pipe):
    pipe.scheduler = diffusers.LMSDiscreteScheduler.from_config(pipe.scheduler.config)
    assert pipe.preset is None
    assert default_steps(pipe) == 50


def test_two_presets_of_one_scheduler_are_told_apart(parts):
    quick = {**PRESETS["reference"], "num_inference_steps": 2, "settings": {"timestep_spacing": "trailing"}}
    pipe = assembled(parts, presets={**PRESETS, "quick": quick}).use_preset("quick")
    assert pipe.preset == "quick"
    assert len(watched_unet(pipe, lambda: spoken(pipe, num_inference_steps=None, output_type="latent"))) == 2


def test_a_pipeline_is_made_with_the_preset_asked_for_unless_the_scheduler_is_ones_own(parts):
    fast = assembled(parts, preset="fast")
    assert fast.preset == "fast"
    assert type(fast.scheduler).__name__ == PRESETS["fast"]["scheduler"]
    own = diffusers.LMSDiscreteScheduler.from_config(parts["scheduler"].config)
    assert assembled({**parts, "scheduler": own}, preset="fast").scheduler is own


def test_a_preset_that_is_not_among_the_presets_is_refused(parts):
    with pytest.raises(ValueError, match=r"`preset` must be one of fast, reference, got 'slow'"):
        assembled(parts, preset="slow")


@pytest.mark.parametrize("scheduler", ["NoScheduler", "AutoencoderKL", "utils"])
def test_unknown_presets_and_schedulers_are_refused(parts, scheduler):
    pipe = assembled(parts, presets={"mine": {**PRESETS["fast"], "scheduler": scheduler}})
    with pytest.raises(ValueError, match=r"`name` must be one of mine, got 'fast'"):
        pipe.use_preset("fast")
    before = pipe.scheduler
    with pytest.raises(ValueError, match=rf"preset 'mine' names '{scheduler}', which is no scheduler of diffusers"):
        pipe.use_preset("mine")
    assert pipe.scheduler is before
