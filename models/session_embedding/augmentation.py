"""Augmentation that makes sessions: all utterances of one get the same room or noise, other sessions their own.

    augment = SessionAugmentation(musan("musan"), simulated_rooms("RIRS_NOISES/simulated_rirs"))
    first, second = augment([first, second], generator)          # two utterances of one session, (samples,) each

| kind | what is added | signal-to-noise ratio of each |
|---|---|---|
| "none" | nothing | |
| "room" | convolution with one room response of unit energy, cut to the utterance's length | |
| "music" | one recording | 5 to 15 dB |
| "babble" | 3 to 7 recordings of speech | 13 to 20 dB |
| "noise" | one recording | 0 to 15 dB |

Each kind is as likely as the others. Noise is scaled to the first utterance and added as it is: the voice keeps its
level, unlike in [`avzoo.audio.mix_at_snr`]. Source: kaistmm/voxceleb-disentangler@2707e14 (`DatasetLoader.py`).
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from avzoo.audio.reading import read_audio
from avzoo.audio.segments import read_rate_and_length, read_segment
from avzoo.checks import check_choice
from avzoo.data.draws import draw_uniform, draw_whole_number
from avzoo.data.lists import PathLike

KINDS = ("none", "room", "music", "babble", "noise")
SAMPLING_RATE = 16000

# Category of MUSAN, lowest and highest number of recordings, lowest and highest ratio in dB.
_NOISES = {
    "music": ("music", 1, 1, 5.0, 15.0),
    "babble": ("speech", 3, 7, 13.0, 20.0),
    "noise": ("noise", 1, 1, 0.0, 15.0),
}
_POWER_FLOOR = (
    1e-4  # added to powers before their ratio is taken, as the authors do: it spares silence from infinite gain
)


class SessionAugmentation:
    """One draw for all utterances of a session; see above.

    Args:
        noises: {"music", "speech", "noise": paths}, see [`avzoo.data.musan.musan`].
        rooms: paths of room responses, see [`avzoo.data.musan.simulated_rooms`].
        kinds: which of `KINDS`, each as likely as the next.

    Raises:
        ValueError: no kinds or an unknown one, or too few recordings for one (babble needs 7).
    """

    def __init__(
        self,
        noises: Mapping[str, Sequence[PathLike]],
        rooms: Sequence[PathLike] = (),
        kinds: Sequence[str] = KINDS,
    ):
        if not kinds:
            raise ValueError("`kinds` is empty; name at least one.")
        for kind in kinds:
            check_choice("kinds", kind, KINDS)
            if kind == "room" and not len(rooms):
                raise ValueError("`rooms` is empty, but `kinds` has 'room'.")
            if kind in _NOISES:
                category, _, most, _, _ = _NOISES[kind]
                if len(noises.get(category, ())) < most:
                    raise ValueError(
                        f"`noises` needs at least {most} recordings of {category!r} for {kind!r}, got "
                        f"{len(noises.get(category, ()))}."
                    )
        self.noises, self.rooms, self.kinds = noises, rooms, tuple(kinds)

    def __call__(self, utterances: Sequence[np.ndarray], generator: torch.Generator) -> list[np.ndarray]:
        """The utterances of one session with one draw.

        Args:
            utterances: (samples,) each, of one length, at 16 kHz in [-1, 1].

        Raises:
            ValueError: no utterances, or lengths that differ; what reading a recording raises.
        """
        lengths = {np.shape(utterance) for utterance in utterances}
        if len(lengths) != 1 or len(next(iter(lengths))) != 1 or lengths == {(0,)}:
            raise ValueError(f"`utterances` must be (samples,) each and of one length, got {sorted(lengths)}.")
        utterances = [np.asarray(utterance, dtype=np.float32) for utterance in utterances]
        kind = self.kinds[draw_whole_number(len(self.kinds), generator)]
        if kind == "none":
            return utterances
        if kind == "room":
            room, _ = read_audio(self.rooms[draw_whole_number(len(self.rooms), generator)], SAMPLING_RATE)
            return [reverberate(utterance, room) for utterance in utterances]
        noise = self._draw_noise(kind, utterances[0], generator)
        return [utterance + noise for utterance in utterances]

    def _draw_noise(self, kind: str, utterance: np.ndarray, generator: torch.Generator) -> np.ndarray:
        """(samples,) float32, scaled to the utterance."""
        category, fewest, most, lowest, highest = _NOISES[kind]
        paths = self.noises[category]
        count = fewest + draw_whole_number(most - fewest + 1, generator)
        total = np.zeros(len(utterance))
        for index in torch.randperm(len(paths), generator=generator)[:count].tolist():
            noise = read_random_segment(paths[index], len(utterance), generator)
            ratio = 10 ** (-draw_uniform(lowest, highest, generator) / 10)
            total += np.sqrt(ratio * _power(utterance) / _power(noise)) * noise
        return total.astype(np.float32)


def reverberate(utterance: np.ndarray, room: np.ndarray) -> np.ndarray:
    """The utterance in a room: convolved with its response of unit energy, cut to the utterance's length; float32.

    Raises:
        ValueError: a silent response.
    """
    energy = float(np.sum(np.square(room, dtype=np.float64)))
    if energy == 0:
        raise ValueError("`room` is silent: it has no response.")
    size = 2 ** (len(utterance) + len(room) - 2).bit_length()  # at least the length of the whole convolution
    spectrum = np.fft.rfft(utterance, size) * np.fft.rfft(room / np.sqrt(energy), size)
    return np.fft.irfft(spectrum, size)[: len(utterance)].astype(np.float32)


def _power(samples: np.ndarray) -> float:
    return float(np.mean(np.square(samples, dtype=np.float64))) + _POWER_FLOOR


def read_random_segment(path: PathLike, num_samples: int, generator: torch.Generator) -> np.ndarray:
    """Read (num_samples,) of a recording from anywhere on, at 16 kHz; a shorter one is repeated from its beginning."""
    found = read_rate_and_length(path)
    if found is None:
        samples, _ = read_audio(path, SAMPLING_RATE)
        start = draw_whole_number(max(0, len(samples) - num_samples) + 1, generator)
        samples = samples[start : start + num_samples]
    else:
        rate, length = found
        start = draw_whole_number(max(0, length * SAMPLING_RATE // rate - num_samples) + 1, generator)
        samples = read_segment(path, start, num_samples, SAMPLING_RATE)
    return np.resize(samples, num_samples)


__all__ = ["KINDS", "SessionAugmentation", "read_random_segment", "reverberate"]
