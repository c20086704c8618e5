"""Diffusion that wanders off from one spectrogram to the noise around another, and the way back.

The OUVE process of SGMSE+ (arXiv 2208.05830) and StoRM (arXiv 2212.11851), on which AVDiffuSS (arXiv 2310.19581) runs:

    dx = theta (y - x) dt + g(t) dw,    g(t) = sigma_min (sigma_max / sigma_min)^t sqrt(2 log(sigma_max / sigma_min))

with t from 0 to 1: x begins as the clean voice and is drawn to y, the mixture or a first estimate. Facts:
kaistmm/AVDiffuSS@86d8203 (sgmse/sdes.py, sgmse/sampling).
"""

import math
from dataclasses import dataclass

import torch
from diffusers import ConfigMixin, SchedulerMixin
from diffusers.configuration_utils import register_to_config
from diffusers.utils import BaseOutput
from diffusers.utils.torch_utils import randn_tensor

Generators = torch.Generator | list[torch.Generator] | None


@dataclass
class OUVESchedulerOutput(BaseOutput):
    """A step.

    Args:
        prev_sample: the state after it, of the sample's shape.
        mean: the same without the noise of the step.
    """

    prev_sample: torch.Tensor
    mean: torch.Tensor


class OUVEScheduler(SchedulerMixin, ConfigMixin):
    """Predictor, corrector and probability flow of the OUVE process; the network's score is all that it asks for.

        scheduler.set_timesteps(30)
        x = scheduler.init_sample(y, noise)
        for t in scheduler.timesteps:
            x, _ = scheduler.step_correct(score(x, t), t, x, snr=0.5, return_dict=False)
            x, mean = scheduler.step(score(x, t), t, x, y, return_dict=False)
        # `mean` of the last step is the result

    Samples are complex, or real with the noise to match; noise has a variance of 1 in all (0.5 in each part of a
    complex number). Times may be one for all, or one for each item of the batch.

    Args:
        theta: how strongly the state is drawn to y.
        sigma_min, sigma_max: noise at either end.
        min_timestep: where the way back ends; the score has no limit at 0.
    """

    order = 1

    @register_to_config
    def __init__(self, theta: float = 1.5, sigma_min: float = 0.05, sigma_max: float = 0.5, min_timestep: float = 0.03):
        if theta <= 0:
            raise ValueError(f"`theta` must be above 0, got {theta}.")
        if not 0 < sigma_min < sigma_max:
            raise ValueError(f"`sigma_min` ({sigma_min}) must be above 0 and below `sigma_max` ({sigma_max}).")
        if not 0 < min_timestep < 1:
            raise ValueError(f"`min_timestep` must lie between 0 and 1, got {min_timestep}.")
        self.log_ratio = math.log(sigma_max / sigma_min)
        self.init_noise_sigma = float(self.std(torch.ones((), dtype=torch.float64)))
        self.num_inference_steps: int | None = None
        self.timesteps = torch.empty(0)

    # --------------------------------------------------------------------------------------------- the process

    def std(self, timestep: torch.Tensor) -> torch.Tensor:
        """Of the noise in the state, given where it began; of the times' shape."""
        theta, ratio = self.config.theta, self.log_ratio
        growth = torch.exp(2 * (theta + ratio) * timestep) - 1
        variance = self.config.sigma_min**2 * torch.exp(-2 * theta * timestep) * growth * ratio / (theta + ratio)
        return variance.sqrt()

    def mean(self, original_samples: torch.Tensor, prior_mean: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        """Of the state: `original_samples` at time 0, nearer to `prior_mean` later on."""
        remains = self._broadcast(torch.exp(-self.config.theta * timestep), original_samples)
        return remains * original_samples + (1 - remains) * prior_mean

    def drift(self, sample: torch.Tensor, prior_mean: torch.Tensor) -> torch.Tensor:
        """theta (y - x)."""
        return self.config.theta * (prior_mean - sample)

    def diffusion(self, timestep: torch.Tensor) -> torch.Tensor:
        """g(t), of the times' shape."""
        ratio = self.config.sigma_max / self.config.sigma_min
        return self.config.sigma_min * ratio**timestep * math.sqrt(2 * self.log_ratio)

    def add_noise(
        self,
        original_samples: torch.Tensor,
        prior_mean: torch.Tensor,
        noise: torch.Tensor,
        timestep: torch.Tensor,
    ) -> torch.Tensor:
        """States at given times: x_t = mean + std * noise. The score to be learned is -noise / std.

        Args:
            original_samples, prior_mean, noise: (batch, ...).
            timestep: (batch,), above 0 and at most 1.
        """
        std = self._broadcast(self.std(timestep), original_samples)
        return self.mean(original_samples, prior_mean, timestep) + std * noise

    # --------------------------------------------------------------------------------------------- the way back

    def set_timesteps(self, num_inference_steps: int, device: str | torch.device | None = None) -> None:
        """Times from 1 down to `min_timestep`, both among them, evenly spaced.

        Raises:
            ValueError: no step.
        """
        if num_inference_steps < 1:
            raise ValueError(f"`num_inference_steps` must be at least 1, got {num_inference_steps}.")
        self.num_inference_steps = num_inference_steps
        self.timesteps = torch.linspace(1.0, self.config.min_timestep, num_inference_steps, device=device)

    def scale_model_input(self, sample: torch.Tensor, timestep: torch.Tensor | None = None) -> torch.Tensor:
        """The sample as it is."""
        return sample

    def init_sample(self, prior_mean: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """The state at time 1: y + std(1) * noise."""
        return prior_mean + self.init_noise_sigma * noise

    def step(
        self,
        model_output: torch.Tensor,
        timestep: torch.Tensor,
        sample: torch.Tensor,
        prior_mean: torch.Tensor,
        generator: Generators = None,
        noise: torch.Tensor | None = None,
        return_dict: bool = True,
    ) -> OUVESchedulerOutput | tuple[torch.Tensor, torch.Tensor]:
        """The predictor: one step of reverse diffusion (Song et al., arXiv 2011.13456, appendix E).

        Its length is 1 / number of steps. That is a little more than the times are apart, and what the weights were
        tuned with.

        Args:
            model_output: the score at `sample` and `timestep`.
            prior_mean: y.
            generator: of the noise, where none is given.
        """
        self._check_set()
        length = 1 / self.num_inference_steps
        diffusion = self._broadcast(self.diffusion(self._times(timestep, sample)), sample) * math.sqrt(length)
        mean = sample - self.drift(sample, prior_mean) * length + diffusion.square() * model_output
        noise = self._noise(sample, generator) if noise is None else noise
        return self._output(mean + diffusion * noise, mean, return_dict)

    def step_correct(
        self,
        model_output: torch.Tensor,
        timestep: torch.Tensor,
        sample: torch.Tensor,
        snr: float = 0.5,
        generator: Generators = None,
        noise: torch.Tensor | None = None,
        return_dict: bool = True,
    ) -> OUVESchedulerOutput | tuple[torch.Tensor, torch.Tensor]:
        """The corrector: one step of annealed Langevin dynamics at the same time (arXiv 1907.05600).

        Args:
            model_output: the score at `sample` and `timestep`.
            snr: length of the step, in units of the noise's deviation.
        """
        length = 2 * self._broadcast((snr * self.std(self._times(timestep, sample))) ** 2, sample)
        mean = sample + length * model_output
        noise = self._noise(sample, generator) if noise is None else noise
        return self._output(mean + (2 * length).sqrt() * noise, mean, return_dict)

    def flow(
        self, model_output: torch.Tensor, timestep: torch.Tensor, sample: torch.Tensor, prior_mean: torch.Tensor
    ) -> torch.Tensor:
        """dx / dt of the process without noise that has the same states at every time (arXiv 2011.13456, eq. 13).

        A solver of its own steps along it, from `init_sample` down to `min_timestep`; see [`denoised`] for the rest.
        """
        squared = self._broadcast(self.diffusion(self._times(timestep, sample)) ** 2, sample)
        return self.drift(sample, prior_mean) - 0.5 * squared * model_output

    def remove_noise(
        self, model_output: torch.Tensor, timestep: torch.Tensor, sample: torch.Tensor, prior_mean: torch.Tensor
    ) -> torch.Tensor:
        """The clean sample to be expected (Tweedie): the mean of the state is x + std^2 * score."""
        times = self._times(timestep, sample)
        remains = self._broadcast(torch.exp(-self.config.theta * times), sample)
        mean = sample + self._broadcast(self.std(times) ** 2, sample) * model_output
        return (mean - (1 - remains) * prior_mean) / remains

    def _check_set(self) -> None:
        if self.num_inference_steps is None:
            raise ValueError("call `set_timesteps` before `step`.")

    def _output(self, prev_sample: torch.Tensor, mean: torch.Tensor, return_dict: bool):
        return OUVESchedulerOutput(prev_sample=prev_sample, mean=mean) if return_dict else (prev_sample, mean)

    @staticmethod
    def _times(timestep: torch.Tensor | float, sample: torch.Tensor) -> torch.Tensor:
        return torch.as_tensor(timestep, dtype=torch.float32, device=sample.device)

    @staticmethod
    def _broadcast(values: torch.Tensor, sample: torch.Tensor) -> torch.Tensor:
        """() or (batch,) beside (batch, ...)."""
        return values.reshape(values.shape + (1,) * (sample.ndim - values.ndim)) if values.ndim else values

    @staticmethod
    def _noise(sample: torch.Tensor, generator: Generators) -> torch.Tensor:
        return randn_tensor(sample.shape, generator=generator, device=sample.device, dtype=sample.dtype)


__all__ = ["OUVEScheduler", "OUVESchedulerOutput"]
