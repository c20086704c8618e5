"""The settings of a log-mel spectrogram as data, so that they can travel with the weights that need them.

A vocoder turns one kind of spectrogram into sound and every other into noise or metal. So vocoders keep their settings
in their config, processors keep theirs, and [`MelSettings.list_differences`] tells them apart before anybody listens.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from avzoo.audio.framing import Features, Waveforms
from avzoo.audio.mel import hifigan_log_mel, tacotron_log_mel
from avzoo.checks import check_choice, check_number, check_whole_number


@dataclass(frozen=True)
class MelSettings:
    """How a natural-log mel spectrogram is made. Defaults: 16 kHz, 100 frames per second, as LTBS takes it.

    Args:
        mel_type: "hifigan", where frame i covers the hop that it fills ([`avzoo.audio.hifigan_log_mel`]), or
            "centered", where it is centred on its first sample ([`avzoo.audio.tacotron_log_mel`]).
        sampling_rate: Hz.
        num_mel_bins: bands between `low_frequency` and `high_frequency`, Hz.
        fft_size, window_size, hop_size: samples.
        log_floor: least value before the logarithm; its logarithm is silence.

    Raises:
        TypeError, ValueError: a setting that can't be, by name.
    """

    mel_type: Literal["hifigan", "centered"] = "hifigan"
    sampling_rate: int = 16000
    num_mel_bins: int = 80
    fft_size: int = 1024
    window_size: int = 640
    hop_size: int = 160
    low_frequency: float = 55.0
    high_frequency: float = 7500.0
    log_floor: float = 1e-5

    def __post_init__(self):
        check_choice("mel_type", self.mel_type, ("hifigan", "centered"))
        for name in ("sampling_rate", "num_mel_bins", "fft_size"):
            check_whole_number(name, getattr(self, name), at_least=1)
        for name in ("window_size", "hop_size"):
            check_whole_number(name, getattr(self, name), at_least=1, at_most=self.fft_size)
        check_number("low_frequency", self.low_frequency, at_least=0, unit="Hz")
        most = self.sampling_rate / 2
        check_number("high_frequency", self.high_frequency, above=self.low_frequency, at_most=most, unit="Hz")
        check_number("log_floor", self.log_floor, above=0)

    @classmethod
    def from_dict(cls, settings: "Mapping[str, Any] | MelSettings", name: str = "mel") -> "MelSettings":
        """Settings from what [`to_dict`] gives; fields that are left out have their defaults.

        Raises:
            TypeError: no mapping. ValueError: an unknown field; `name` is the argument.
        """
        if isinstance(settings, cls):
            return settings
        if not isinstance(settings, Mapping):
            raise TypeError(f"`{name}` must be a dict of mel settings, got {type(settings).__name__}.")
        known = [field.name for field in fields(cls)]
        unknown = sorted(settings.keys() - set(known))
        if unknown:
            raise ValueError(f"`{name}` has no setting {unknown[0]!r}; there are: {', '.join(known)}.")
        return cls(**settings)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and text, for JSON."""
        return asdict(self)

    def compute(self, waveforms: Waveforms) -> Features:
        """Spectrograms of waveforms in [-1, 1] at `sampling_rate`; see [`avzoo.audio.hifigan_log_mel`]."""
        settings = self.to_dict()
        function = hifigan_log_mel if settings.pop("mel_type") == "hifigan" else tacotron_log_mel
        return function(waveforms, **settings)

    def list_differences(self, other: "MelSettings") -> list[str]:
        """Settings in which two differ, each as "name: ours, theirs"."""
        mine, theirs = self.to_dict(), other.to_dict()
        return [f"{name}: {mine[name]}, {theirs[name]}" for name in mine if mine[name] != theirs[name]]


__all__ = ["MelSettings"]
