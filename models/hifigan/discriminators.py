"""Networks that tell recordings from made sound, so that a vocoder learns to make what they can't tell.

Facts: arXiv 2010.05646, jik876/hifi-gan@4769534 (`models.py`).

Shapes: clips; samples.
"""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

from avzoo.checks import check_whole_number

SLOPE = 0.1  # of leaky ReLU
PERIODS = (2, 3, 5, 7, 11)
NUM_SCALES = 3
# (channels, kernel, stride, groups) of each convolution but the last
_OF_PERIOD = ((32, 5, 3, 1), (128, 5, 3, 1), (512, 5, 3, 1), (1024, 5, 3, 1), (1024, 5, 1, 1))
_OF_SCALE = (
    (128, 15, 1, 1),
    (128, 41, 2, 4),
    (256, 41, 2, 16),
    (512, 41, 4, 16),
    (1024, 41, 4, 16),
    (1024, 41, 1, 16),
    (1024, 5, 1, 1),
)

# What a discriminator finds: the outputs of all its convolutions. The last one is its verdict, 1 for a recording.
FeatureMaps = list[torch.Tensor]


class PeriodDiscriminator(nn.Module):
    """Looks at every `period`-th sample, in as many rows side by side.

    Args:
        period: samples from one place of a row to the next.
        divisor: of the published numbers of channels.
    """

    def __init__(self, period: int, divisor: int = 1):
        super().__init__()
        check_whole_number("period", period, at_least=1)
        self.period, channels, layers = period, 1, []
        for width, kernel, stride, _ in _OF_PERIOD:
            width = max(1, width // divisor)
            sizes = {"stride": (stride, 1), "padding": (kernel // 2, 0)}
            layers.append(weight_norm(nn.Conv2d(channels, width, (kernel, 1), **sizes)))
            channels = width
        self.layers = nn.ModuleList(layers)
        self.verdict = weight_norm(nn.Conv2d(channels, 1, (3, 1), padding=(1, 0)))

    def forward(self, waveform: torch.Tensor) -> FeatureMaps:
        """(clips, samples) to (clips, channels, places, period) each; a last row that is not full is reflected."""
        missing = -waveform.shape[1] % self.period
        waveform = nn.functional.pad(waveform[:, None], (0, missing), "reflect")
        return _apply_layers(waveform.unflatten(2, (-1, self.period)), self.layers, self.verdict)


class ScaleDiscriminator(nn.Module):
    """Looks at the samples as they are, far along.

    Args:
        is_smooth: spectral norms in place of weight norms.
        divisor: of the published numbers of channels; groups become fewer, too.
    """

    def __init__(self, is_smooth: bool = False, divisor: int = 1):
        super().__init__()
        norm, channels, layers = spectral_norm if is_smooth else weight_norm, 1, []
        for width, kernel, stride, groups in _OF_SCALE:
            width, groups = max(1, width // divisor), max(1, groups // divisor)
            sizes = {"stride": stride, "padding": kernel // 2, "groups": groups}
            layers.append(norm(nn.Conv1d(channels, width, kernel, **sizes)))
            channels = width
        self.layers = nn.ModuleList(layers)
        self.verdict = norm(nn.Conv1d(channels, 1, 3, padding=1))

    def forward(self, waveform: torch.Tensor) -> FeatureMaps:
        """(clips, samples) to (clips, channels, places) each."""
        return _apply_layers(waveform[:, None], self.layers, self.verdict)


class Discriminators(nn.Module):
    """All of HiFi-GAN: one for each period, and one for each scale, which is half the rate of the scale before.

    Args:
        periods: of the first kind.
        num_scales: of the second kind; the first has spectral norms.
        divisor: of the published numbers of channels, which have 70.7 million parameters.
    """

    def __init__(self, periods: Sequence[int] = PERIODS, num_scales: int = NUM_SCALES, divisor: int = 1):
        super().__init__()
        check_whole_number("divisor", divisor, at_least=1)
        check_whole_number("num_scales", num_scales, at_least=0)
        self.of_periods = nn.ModuleList(PeriodDiscriminator(period, divisor) for period in periods)
        self.of_scales = nn.ModuleList(ScaleDiscriminator(scale == 0, divisor) for scale in range(num_scales))
        self.halve = nn.AvgPool1d(4, 2, padding=2)

    def forward(self, waveform: torch.Tensor) -> list[FeatureMaps]:
        """(clips, samples) to what each of them finds."""
        found = [discriminator(waveform) for discriminator in self.of_periods]
        for place, discriminator in enumerate(self.of_scales):
            if place:
                waveform = self.halve(waveform[:, None])[:, 0]
            found.append(discriminator(waveform))
        return found


def _apply_layers(hidden_states: torch.Tensor, layers: nn.ModuleList, verdict: nn.Module) -> FeatureMaps:
    maps = []
    for layer in layers:
        hidden_states = nn.functional.leaky_relu(layer(hidden_states), SLOPE)
        maps.append(hidden_states)
    return [*maps, verdict(hidden_states)]


__all__ = ["Discriminators", "FeatureMaps", "PeriodDiscriminator", "ScaleDiscriminator"]
