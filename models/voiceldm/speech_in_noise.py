"""Training clips of VoiceLDM: speech with transcripts, some with noise added.

    speech = read_voiceldm_lists(["cv1.csv", "cv2.csv"], "cv-corpus-13/en")
    noise = read_voiceldm_lists("noise_demand.csv", "DEMAND")
    SpeechInNoise(speech, noise)[0]      # {"waveform": (163840,) at 16 000 Hz, "text": "..."}

The recordings have no descriptions: a clip's description is the CLAP embedding of its audio, and so covers the noise.
Source: glory20h/VoiceLDM@16ebc7a (`voiceldm/data.py`, `configs/`).
"""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from avzoo.audio.reading import iter_audio, read_audio
from avzoo.audio.resampling import check_rate
from avzoo.audio.segments import read_rate_and_length, read_segment
from avzoo.checks import check_number, check_whole_number
from avzoo.data.draws import draw_uniform, draw_whole_number
from avzoo.data.lists import PathLike

COMMON_VOICE = "cv"  # value of the column `data` in the authors' lists
NUM_SAMPLES = 163840  # 1024 frames of 160 samples: 10.24 s
SAMPLING_RATE = 16000


class SpeechInNoise(torch.utils.data.Dataset):
    """Data set of clips of one length with their transcripts, some with noise, as VoiceLDM was trained.

    A recording of any format and rate is resampled, its channels are averaged, and its first `num_samples` samples
    taken; a shorter one is padded with zeros. Rows of CommonVoice, which are clean, get noise half of the time: a
    random segment of a random noise recording, at a signal-to-noise ratio drawn uniformly from `snr_db`. The speech
    keeps its level; the noise is multiplied by 10^((speech dB - noise dB - SNR) / 20), with mean powers over the clip,
    its zeros included. Sums may leave [-1, 1] and are not clipped. Silent speech or noise is not mixed.

    Training replaces one text in ten by the empty text; that is left to the training loop.
    Of more than two channels the authors' code takes the first; here all are averaged.

    Args:
        speech_rows: {"path", "text", "data"}, see [`avzoo.data.voiceldm_lists.read_voiceldm_lists`].
        noise_rows: {"path", ...}. Empty: no noise.
        num_samples: length of a clip.
        sampling_rate: Hz.
        noise_probability: probability of noise for a row that may get it.
        snr_db: lowest and highest ratio, dB.
        noisy_data: values of `data` whose rows may get noise.
        seed: makes item i the same at every reading, as cached latents need it; it then depends on the seed, i, and
            the rows. None: drawn anew each time from torch's global generator, which the training loop seeds.

    Raises:
        TypeError, ValueError: no speech rows, one without text, or an argument out of its range. On reading an item:
            the errors of [`avzoo.audio.read_audio`].
    """

    def __init__(
        self,
        speech_rows: Sequence[Mapping[str, Any]],
        noise_rows: Sequence[Mapping[str, Any]] = (),
        *,
        num_samples: int = NUM_SAMPLES,
        sampling_rate: int = SAMPLING_RATE,
        noise_probability: float = 0.5,
        snr_db: tuple[float, float] = (4.0, 20.0),
        noisy_data: Collection[str] = (COMMON_VOICE,),
        seed: int | None = None,
    ):
        if not len(speech_rows):
            raise ValueError("`speech_rows` is empty: no recording of the lists was found.")
        for index, row in enumerate(speech_rows):
            if not isinstance(row.get("text"), str):
                raise ValueError(
                    f"`speech_rows[{index}]` ({row['path']}) has no text; a list without the column `text` is a "
                    "list of noises, pass its rows as `noise_rows`."
                )
        check_whole_number("num_samples", num_samples, at_least=1)
        check_number("noise_probability", noise_probability, at_least=0, at_most=1)
        lowest, highest = snr_db
        check_number("snr_db[0]", lowest)
        check_number("snr_db[1]", highest, at_least=lowest)
        self.speech_rows, self.noise_rows = speech_rows, noise_rows
        self.num_samples, self.sampling_rate = num_samples, check_rate(sampling_rate, "sampling_rate")
        self.noise_probability, self.snr_db = noise_probability, (lowest, highest)
        self.noisy_data = {noisy_data} if isinstance(noisy_data, str) else set(noisy_data)
        self.seed = seed

    def __len__(self) -> int:
        return len(self.speech_rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        row = self.speech_rows[index]
        seed = int(torch.randint(2**62, ())) if self.seed is None else self.seed * len(self) + index % len(self)
        generator = torch.Generator().manual_seed(seed)
        waveform = self._read_start(row["path"])
        if (
            len(self.noise_rows)
            and row["data"] in self.noisy_data
            and draw_uniform(0, 1, generator) < self.noise_probability
        ):
            noise_row = self.noise_rows[draw_whole_number(len(self.noise_rows), generator)]
            noise = self._read_random_segment(noise_row["path"], generator)
            waveform = _add_noise(waveform, noise, draw_uniform(*self.snr_db, generator))
        return {"waveform": torch.from_numpy(waveform), "text": row["text"]}

    def _read_start(self, path: PathLike) -> np.ndarray:
        seconds = self.num_samples / self.sampling_rate
        return self._fit_length(next(iter_audio(path, self.sampling_rate, block_seconds=seconds)))

    def _read_random_segment(self, path: PathLike, generator: torch.Generator) -> np.ndarray:
        """Read a random segment of a recording, without decoding the rest where the format allows."""
        rate, found = self.sampling_rate, read_rate_and_length(path)
        if found is None:
            samples, _ = read_audio(path, rate)
            start = draw_whole_number(max(0, len(samples) - self.num_samples) + 1, generator)
            return self._fit_length(samples[start:])
        source_rate, length = found
        start = draw_whole_number(max(0, round(length * rate / source_rate) - self.num_samples) + 1, generator)
        return self._fit_length(read_segment(path, start, self.num_samples, rate))

    def _fit_length(self, samples: np.ndarray) -> np.ndarray:
        clip = np.zeros(self.num_samples, np.float32)
        clip[: len(samples)] = samples[: self.num_samples]
        return clip


def _add_noise(speech: np.ndarray, noise: np.ndarray, snr_db: float) -> np.ndarray:
    """Add noise at a signal-to-noise ratio; silent speech or noise leaves the speech as it is."""
    powers = [float(np.square(samples, dtype=np.float64).mean()) for samples in (speech, noise)]
    if not all(powers):
        return speech
    speech_db, noise_db = (10 * math.log10(power) for power in powers)
    return (speech + 10 ** ((speech_db - noise_db - snr_db) / 20) * noise.astype(np.float64)).astype(np.float32)


__all__ = ["NUM_SAMPLES", "SAMPLING_RATE", "SpeechInNoise"]
