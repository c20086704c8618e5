"""Ten classes of short recordings, each clip a pure function of its seed.

    clip = sound_event(11)
    clip["audio"], clip["name"]        # float32 (32000,), "music"

A clip is an event (`sound/speech.py`, `sound/music.py`, the others in `sound/noises.py`) seen through a random
recording: onset, a weak other event, room, noise, microphone, codec, level. The recording is drawn from nearly the same
distribution for every class but silence, so that loudness and background tell little about the label.

| class | contains |
| --- | --- |
| speech | espeak-ng: 13 languages, 32 accents, 80 speakers, real and made-up words; roughened, see `sound/speech.py` |
| music | solo, duo or band in 8 scales: plucked, struck, bowed, blown, keyed; bass, drums |
| siren | wail, yelp, two-tone, whoop |
| rain_noise | rain, wind, white to brown noise |
| bell | church bell, hand bell, ringer |
| engine | combustion motors, idling, revving |
| clicks | keyboard, clock, clapping, knocking |
| bird | one to three chirping birds |
| hum | mains hum, fan, steady tone |
| silence | recording noise below -55 dB of full scale, or zeros |
"""

import os
from collections.abc import Callable
from typing import Any

import numpy as np

from .sound import noises
from .sound import synthesis as syn
from .sound.music import music
from .sound.speech import speech
from .worlds import World, check_seed

_GENERATORS: dict[str, Callable[[syn.Generator, int, int], np.ndarray]] = {
    "speech": speech,
    "music": music,
    "siren": noises.siren,
    "rain_noise": noises.rain_noise,
    "bell": noises.bell,
    "engine": noises.engine,
    "clicks": noises.clicks,
    "bird": noises.bird,
    "hum": noises.hum,
    "silence": noises.silence,
}
SOUND_EVENT_CLASSES: tuple[str, ...] = tuple(_GENERATORS)

# Recorded through a telephone, a bird is gone.
_LOWEST_CUTOFF_HZ = {"bird": 6500.0, "bell": 5000.0, "clicks": 4500.0}

_SYNTHESIS_RATE = 16000


def sound_event(
    seed: int, *, label: int | str | None = None, seconds: float = 2.0, sampling_rate: int = 16000
) -> dict[str, Any]:
    """One clip with its truth. The same arguments give the same samples.

    Args:
        seed: any integer from 0 on; see [`clip_seed`] for seeds of disjoint splits.
        label: the class, as an index into `SOUND_EVENT_CLASSES` or a name. None: drawn.
        seconds: length of the clip, at least 0.1.
        sampling_rate: in Hz, 8000 or more. Clips are synthesised at 16 kHz, so above 8 kHz there is nothing.

    Returns:
        dict of `audio` (float32 (num_samples,), within [-1, 1]), `sampling_rate` in Hz, `label` (index), `name`,
        `seed`, `background_name` (a weak other event, mostly None), `onset_seconds` and `offset_seconds` (where the
        event lies in the clip; a room may ring on), `peak_db` (of the clip, relative to full scale; -inf for
        digital silence), `snr_db` (event to background noise; None without noise).

    Raises:
        ImportError: the clip is speech and espeak-ng is not installed (`pip install espeakng-loader`).
        ValueError: an argument out of range.
    """
    check_seed(seed)
    if not 0.1 <= seconds < 3600:
        raise ValueError(f"`seconds` must be from 0.1 to 3600, got {seconds}.")
    if sampling_rate < 8000:
        raise ValueError(f"`sampling_rate` must be 8000 Hz or more, got {sampling_rate}.")
    generator = np.random.default_rng(int(seed))
    drawn = int(generator.integers(len(SOUND_EVENT_CLASSES)))  # drawn in any case: the rest must not depend on it
    label = drawn if label is None else _label_index(label)
    name = SOUND_EVENT_CLASSES[label]

    num_samples = round(seconds * _SYNTHESIS_RATE)
    event, onset, offset = _place_event(name, generator, num_samples)
    background_name = None
    if name != "silence" and generator.random() < 0.15:
        background_name, background = _make_background(name, generator, num_samples)
        event = event + background
    clip = _record(event, name, generator)
    audio = syn.resample(clip.pop("audio"), _SYNTHESIS_RATE, sampling_rate)
    audio = syn.fit_length(np.clip(audio, -1, 1), round(seconds * sampling_rate)).astype(np.float32)
    return {
        "audio": audio,
        "sampling_rate": int(sampling_rate),
        "label": label,
        "name": name,
        "seed": int(seed),
        "background_name": background_name,
        "onset_seconds": onset / _SYNTHESIS_RATE,
        "offset_seconds": offset / _SYNTHESIS_RATE,
        **clip,
    }


def _label_index(label: int | str) -> int:
    if isinstance(label, str):
        if label not in SOUND_EVENT_CLASSES:
            raise ValueError(f"`label` must be one of {', '.join(SOUND_EVENT_CLASSES)}; got {label!r}.")
        return SOUND_EVENT_CLASSES.index(label)
    if not 0 <= label < len(SOUND_EVENT_CLASSES):
        raise ValueError(f"`label` must be from 0 to {len(SOUND_EVENT_CLASSES) - 1}, got {label}.")
    return int(label)


def _place_event(name: str, generator: syn.Generator, num_samples: int) -> tuple[np.ndarray, int, int]:
    """(event on a silent track at unit loudness, its first sample, the sample after its last)."""
    onset = 0
    duration = num_samples
    if name != "silence" and generator.random() < 0.45:  # otherwise it fills the clip
        duration = int(num_samples * generator.uniform(0.45, 1.0))
        onset = int(generator.integers(0, num_samples - duration + 1))
    event = _GENERATORS[name](generator, duration, _SYNTHESIS_RATE)[:duration]
    if len(event) < duration and onset == 0:  # shorter than its place (a short phrase)
        onset = int(generator.integers(0, duration - len(event) + 1) * generator.random())
    event = syn.fade_edges(event, _SYNTHESIS_RATE, syn.log_uniform(generator, 0.002, 0.05))
    event = event / max(syn.root_mean_square(event), 1e-9)
    track = np.zeros(num_samples)
    syn.add_at(track, event, onset)
    return track, onset, onset + len(event)


def _make_background(name: str, generator: syn.Generator, num_samples: int) -> tuple[str, np.ndarray]:
    """(name, signal) of another event in the background, 8 to 30 dB weaker: films have music under speech."""
    others = [other for other in SOUND_EVENT_CLASSES if other not in (name, "silence", "speech")]
    other = "music" if name == "speech" and generator.random() < 0.5 else str(generator.choice(others))
    background = syn.fit_length(_GENERATORS[other](generator, num_samples, _SYNTHESIS_RATE), num_samples)
    level = syn.decibels_to_gain(-generator.uniform(8, 30))
    return other, background * level / max(syn.root_mean_square(background), 1e-9)


def _record(track: np.ndarray, name: str, generator: syn.Generator) -> dict[str, Any]:
    """The event through room, background, microphone, converter and codec."""
    rate, num_samples = _SYNTHESIS_RATE, len(track)
    # 1. Room
    if generator.random() < 0.55:
        room = syn.room_response(generator, rate, syn.log_uniform(generator, 0.08, 1.5), generator.uniform(0, 1))
        track = syn.convolve(track, room)[:num_samples]
        track = track / max(syn.root_mean_square(track), 1e-9)
    # 2. Background
    snr_db = None
    if name != "silence" and generator.random() < 0.75:
        snr_db = float(generator.uniform(6, 50))
        noise = syn.coloured_noise(generator, num_samples, rate, generator.uniform(-8, 1))
        if generator.random() < 0.3:  # uneven
            noise = noise * syn.decibels_to_gain(3 * syn.slow_curve(generator, num_samples, rate, 2.0))
        track = track + noise * syn.decibels_to_gain(-snr_db)
    # 3. Microphone, loudspeaker, bandwidth
    colour = syn.random_equaliser(generator, generator.uniform(0, 4), 1)
    low_cut = syn.log_uniform(generator, 20, 300)
    high_cut = 8000.0
    if generator.random() < 0.5:
        high_cut = generator.uniform(max(3400.0, _LOWEST_CUTOFF_HZ.get(name, 0)), 8000.0)
    order = float(generator.choice([2, 4, 30]))  # 30: the brick wall of a resampler or codec
    track = syn.shape_spectrum(
        track,
        rate,
        lambda f: (
            colour(f)
            * syn.high_pass_gain(f, low_cut, 2)
            * (syn.low_pass_gain(f, high_cut, order) if high_cut < 8000 else 1.0)
        ),
    )
    # 4. Overdrive
    peak = float(np.max(np.abs(track), initial=0.0))
    if peak > 0:
        track = track / peak
        if name != "silence" and generator.random() < 0.15:
            track = np.tanh(track * generator.uniform(1, 6))
            track = track / np.max(np.abs(track))
    # 5. Level: silence is what the others never are
    peak_db = float(generator.uniform(-90, -55) if name == "silence" else -40 * generator.beta(1.0, 1.6))
    track = track * syn.decibels_to_gain(peak_db)
    # 6. Converter and codec
    kind = generator.random()
    if kind < 0.08:
        track = syn.mu_law(track)
    elif kind < 0.25:
        bits = int(generator.choice([12, 16])) if name != "silence" else 16
        track = np.round(track * 2 ** (bits - 1)) / 2 ** (bits - 1)
    elif kind < 0.45:
        track = syn.drop_weak_bands(track, float(generator.uniform(25, 60)))
    peak = float(np.max(np.abs(track), initial=0.0))
    return {
        "audio": track,
        "peak_db": float(20 * np.log10(peak)) if peak > 0 else float("-inf"),
        "snr_db": snr_db,
    }


# ---------------------------------------------------------------------------------------------- data sets


class SoundEvents(World):
    """Data set of [`sound_event`] clips with their labels.

    Every run of ten consecutive clips holds each class once, in an order of its own: any contiguous part is balanced.

    Args:
        num_clips, seed, split, cache_dir: see [`World`].
        seconds, sampling_rate: of each clip, see [`sound_event`].
    """

    name = "sound_events"
    version = 2
    make = staticmethod(sound_event)

    def __init__(
        self,
        num_clips: int,
        seed: int = 0,
        seconds: float = 2.0,
        sampling_rate: int = 16000,
        *,
        split: str = "train",
        cache_dir: str | os.PathLike | None = None,
    ) -> None:
        super().__init__(
            num_clips, seed, split=split, cache_dir=cache_dir, seconds=seconds, sampling_rate=sampling_rate
        )

    def label(self, index: int) -> int:
        """Class of clip `index`, without rendering it."""
        return self.draw_balanced(index, len(SOUND_EVENT_CLASSES))

    def render(self, index: int) -> dict[str, Any]:
        """`audio` (float32 (num_samples,)), `sampling_rate`, `label` and `name` of one clip."""
        clip = sound_event(self.derive_seed(index), label=self.label(index), **self.settings)
        return {name: clip[name] for name in ("audio", "sampling_rate", "label", "name")}

    def features(self):
        from datasets import ClassLabel, Features, Sequence, Value

        return Features(
            {
                "id": Value("string"),
                "audio": Sequence(Value("float32")),
                "sampling_rate": Value("int32"),
                "label": ClassLabel(names=list(SOUND_EVENT_CLASSES)),
                "name": Value("string"),
            }
        )


def render_sound_events(
    count: int,
    seed: int = 0,
    seconds: float = 2.0,
    num_workers: int | None = None,
    *,
    sampling_rate: int = 16000,
    split: str = "train",
    cache_dir: str | os.PathLike | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """A whole balanced set at once, rendered by several processes. The result does not depend on their number.

    The processes are spawned, so a script calls this below `if __name__ == "__main__":`.

    Args:
        count: number of clips, at least 1.
        num_workers: processes; 0 or 1 renders in this one, None takes one per CPU of this process.

    Returns:
        (audio float32 (count, num_samples), labels int64 (count,)).
    """
    if count < 1:
        raise ValueError(f"`count` must be 1 or more, got {count}.")
    data = SoundEvents(count, seed, seconds, sampling_rate, split=split, cache_dir=cache_dir)
    clips = list(data.iterate(num_workers, clips_at_once=20))
    return np.stack([clip["audio"] for clip in clips]), np.array([clip["label"] for clip in clips], np.int64)
