"""What the things of `objects.py` sound like: a family of sounds per category.

    OBJECT_SOUNDS["dog"](generator, num_samples, sampling_rate)   # float64 (num_samples,), any level

Every family goes on for the whole clip, as a thing does that sounds before and after somebody records it.
"""

import functools
from collections.abc import Callable

import numpy as np

from . import noises
from . import synthesis as syn
from .music import SCALES, Note, drums, melody, play_struck

Sound = Callable[[syn.Generator, int, int], np.ndarray]


def _voice(
    generator: syn.Generator,
    pitch_hz: np.ndarray,
    formants: list[tuple[float, float]],
    rough: float,
    sampling_rate: int,
) -> np.ndarray:
    """A throat: harmonics and breath through resonances (centre, bandwidth) in Hz. `rough`: share of breath, 0 to 1."""
    brightness = generator.uniform(0.6, 1.3)
    table = syn.harmonic_table(np.arange(1, 60.0) ** -brightness, float(pitch_hz.max()), sampling_rate)
    tone = syn.read_table(table, syn.accumulate_phase(pitch_hz, sampling_rate))
    breath = generator.standard_normal(len(pitch_hz))
    source = (1 - rough) * tone / max(syn.root_mean_square(tone), 1e-9) + rough * breath
    return syn.shape_spectrum(
        source,
        sampling_rate,
        lambda f: 0.04 + sum(syn.resonance_gain(f, centre, width) for centre, width in formants),
    )


def _repeat(
    generator: syn.Generator,
    call: np.ndarray,
    num_samples: int,
    sampling_rate: int,
    gaps_seconds: tuple[float, float],
    pauses_seconds: tuple[float, float],
    largest_group: int,
) -> np.ndarray:
    """Calls in groups: short gaps within, longer pauses between. The clip begins anywhere in it."""
    output = np.zeros(num_samples)
    start = -generator.uniform(0, pauses_seconds[1]) - len(call) / sampling_rate
    gap = generator.uniform(*gaps_seconds)
    while start < num_samples / sampling_rate:
        for _ in range(generator.integers(1, largest_group + 1)):
            # Sung a little faster or slower each time.
            said = syn.resample(call, sampling_rate * generator.uniform(0.95, 1.05), sampling_rate)
            syn.add_at(output, said * generator.uniform(0.7, 1.0), int(start * sampling_rate))
            start += len(call) / sampling_rate + gap * generator.uniform(0.8, 1.3)
        start += generator.uniform(*pauses_seconds)
    return output


def bark(generator: syn.Generator, num_samples: int, sampling_rate: int) -> np.ndarray:
    """A large or small dog: short rough calls whose pitch falls."""
    length = int(generator.uniform(0.09, 0.26) * sampling_rate)
    phase = np.linspace(0, 1, length)
    size = syn.log_uniform(generator, 0.6, 1.7)
    pitch = 420 / size * np.exp(generator.uniform(0.1, 0.35) * np.sin(np.pi * np.sqrt(phase)) - 0.5 * phase)
    pitch = pitch * np.exp(0.06 * syn.slow_curve(generator, length, sampling_rate, 70))
    formants = [(650 / size, 350), (1250 / size, 500), (2600 / size, 900)]
    call = _voice(generator, pitch, formants, generator.uniform(0.15, 0.4), sampling_rate)
    call = call * np.minimum(phase / 0.08, 1) * (1 - phase) ** generator.uniform(0.6, 1.5)
    return _repeat(generator, call, num_samples, sampling_rate, (0.05, 0.3), (0.2, 0.9), 4)


def meow(generator: syn.Generator, num_samples: int, sampling_rate: int) -> np.ndarray:
    """A pitch that rises and falls slowly, from "ee" through "a" to "u"."""
    length = int(generator.uniform(0.4, 1.0) * sampling_rate)
    phase = np.linspace(0, 1, length)
    base, bend = syn.log_uniform(generator, 380, 850), generator.uniform(0.15, 0.4)
    pitch = base * np.exp(bend * np.sin(np.pi * phase ** generator.uniform(0.6, 1.2)))
    pitch = pitch * (1 + generator.uniform(0, 0.02) * np.sin(2 * np.pi * 9 * phase * length / sampling_rate))
    vowels = ([(500, 200), (2800, 500)], [(1100, 350), (1900, 500)], [(500, 200), (1000, 250)])
    shares = [np.clip(1 - np.abs(phase - centre) / 0.4, 0, 1) for centre in (0.05, 0.45, 0.9)]
    rough, seed = generator.uniform(0.01, 0.08), int(generator.integers(1 << 32))
    # One throat in three shapes: the same seed, so that their waves add up in phase.
    parts = [_voice(np.random.default_rng(seed), pitch, vowel, rough, sampling_rate) for vowel in vowels]
    call = sum(part * share for part, share in zip(parts, shares, strict=True))
    call = call * np.sin(np.pi * phase) ** 0.6
    return _repeat(generator, call, num_samples, sampling_rate, (0.1, 0.4), (0.2, 0.8), 2)


def croak(generator: syn.Generator, num_samples: int, sampling_rate: int) -> np.ndarray:
    """A rattle: pulses at 25 to 80 per second that ring at one or two pitches, low or high."""
    length = int(generator.uniform(0.15, 0.5) * sampling_rate)
    phase = np.linspace(0, 1, length)
    rate_hz = syn.log_uniform(generator, 25, 80) * (1 + generator.uniform(-0.3, 0.5) * phase)
    cycles = syn.accumulate_phase(rate_hz, sampling_rate)
    pulses = np.append((np.diff(np.floor(cycles)) > 0).astype(float), 0.0)
    centre = syn.log_uniform(generator, 350, 1600)
    time = np.arange(int(0.04 * sampling_rate)) / sampling_rate
    ring = np.exp(-time / generator.uniform(0.003, 0.008)) * (
        np.sin(2 * np.pi * centre * time)
        + generator.uniform(0.2, 0.8) * np.sin(2 * np.pi * centre * generator.uniform(1.8, 2.6) * time)
    )
    call = syn.convolve(pulses, ring) * syn.fit_length(np.sin(np.pi * phase) ** 0.5, length + len(ring) - 1)
    return _repeat(generator, call, num_samples, sampling_rate, (0.05, 0.3), (0.15, 0.7), 3)


def ringing(generator: syn.Generator, num_samples: int, sampling_rate: int) -> np.ndarray:
    """A telephone: two tones in quick turns, or a struck bell, in bursts with pauses."""
    time = np.arange(num_samples) / sampling_rate + generator.uniform(0, 4)
    if generator.random() < 0.5:
        low = syn.log_uniform(generator, 600, 1500)
        high, turns_hz = low * generator.uniform(1.15, 1.45), generator.uniform(12, 28)
        frequency = np.where((time * turns_hz) % 1 < 0.5, low, high)
        table = syn.harmonic_table(np.arange(1, 12.0) ** -generator.uniform(0.8, 2.5), high, sampling_rate)
        wave = syn.read_table(table, syn.accumulate_phase(frequency, sampling_rate))
    else:
        wave = noises.bell(generator, num_samples, sampling_rate, kind="ringer")
    ring, pause = generator.uniform(0.4, 1.0), generator.uniform(0.2, 0.7)
    position = time % (ring + pause)
    gate = np.clip(np.minimum(position, ring - position) / 0.006, 0, 1)
    tail = syn.attack_decay(int(0.3 * sampling_rate), sampling_rate, 0, generator.uniform(0.05, 0.4))
    gate = np.minimum(syn.convolve(gate, tail / tail.sum())[:num_samples] + gate, 1)
    return wave * gate


def steam(generator: syn.Generator, num_samples: int, sampling_rate: int) -> np.ndarray:
    """Puffs in fours, the first the strongest, and a whistle of several pipes now and then."""
    cycles = syn.accumulate_phase(
        generator.uniform(3, 9) * np.exp(generator.uniform(-0.3, 0.3) * np.linspace(0, 1, num_samples)), sampling_rate
    )
    cycles += generator.uniform(0, 4)
    puff = np.exp(-(cycles % 1) * generator.uniform(2, 5)) * np.minimum((cycles % 1) / 0.08, 1)
    accents = np.array([1, *generator.uniform(0.4, 0.9, 3)])
    centre, width = generator.uniform(300, 1200), generator.uniform(500, 1500)
    hiss = syn.coloured_noise(generator, num_samples, sampling_rate, -2)
    hiss = syn.shape_spectrum(hiss, sampling_rate, lambda f: 0.15 + syn.resonance_gain(f, centre, width))
    output = hiss * (0.05 + puff * accents[np.floor(cycles).astype(int) % 4])
    if generator.random() < 0.7:
        length = int(generator.uniform(0.4, 1.2) * sampling_rate)
        base = syn.log_uniform(generator, 350, 800)
        pitch = base * (1 - 0.08 * np.exp(-np.arange(length) / (0.06 * sampling_rate)))
        table = syn.harmonic_table(np.array([1, 0.3, 0.15, 0.05]), 3 * base, sampling_rate)
        whistle = sum(
            syn.read_table(table, syn.accumulate_phase(pitch * ratio, sampling_rate)) for ratio in (1, 1.19, 1.5, 1.78)
        )
        whistle = syn.fade_edges(whistle + 0.3 * generator.standard_normal(length), sampling_rate, 0.06)
        whistle *= generator.uniform(0.3, 1.0) * syn.root_mean_square(output) / syn.root_mean_square(whistle) * 2
        syn.add_at(output, whistle, int(generator.uniform(-0.3, 0.8) * num_samples))
    return output


def _strings(
    generator: syn.Generator, num_samples: int, sampling_rate: int, kind: str, key: float, spread_seconds: float
) -> np.ndarray:
    """A tune, or chords whose notes come `spread_seconds` one after the other."""
    seconds, beat = num_samples / sampling_rate, 60 / syn.log_uniform(generator, 70, 170)
    scale = SCALES[generator.integers(len(SCALES))]
    first = -generator.uniform(0, 2 * beat)
    notes = []
    style = generator.choice(["tune", "chords", "both"])
    if style != "chords":
        notes += [note for note in melody(generator, scale, key, beat, first, seconds) if note.start_seconds > -0.5]
    if style != "tune":
        start = first
        while start < seconds:
            root = int(generator.integers(len(scale)))
            for order, step in enumerate((0, 2, 4, 7) if generator.random() < 0.5 else (0, 4, 7, 9)):
                octave, degree = divmod(root + step, len(scale))
                pitch = key - 12 + 12 * octave + scale[degree]
                notes.append(Note(start + order * spread_seconds, 2 * beat, pitch, generator.uniform(0.6, 1)))
            start += beat * float(generator.choice([1, 2]))
    early = min(note.start_seconds for note in notes)
    shift = max(-early, 0)  # notes that began before the clip are played and cut off
    notes = [Note(note.start_seconds + shift, note.duration_seconds, note.pitch, note.loudness) for note in notes]
    skipped = int(shift * sampling_rate)
    return play_struck(notes, generator, num_samples + skipped, sampling_rate, kind)[skipped:]


def guitar(generator: syn.Generator, num_samples: int, sampling_rate: int) -> np.ndarray:
    """Plucked strings; chords are strummed."""
    key, spread = generator.uniform(48, 60), generator.uniform(0.012, 0.045)
    return _strings(generator, num_samples, sampling_rate, "pluck", key, spread)


def piano(generator: syn.Generator, num_samples: int, sampling_rate: int) -> np.ndarray:
    """Struck strings; chords are struck together."""
    return _strings(generator, num_samples, sampling_rate, "piano", generator.uniform(55, 76), 0.0)


def drum(generator: syn.Generator, num_samples: int, sampling_rate: int) -> np.ndarray:
    beat = 60 / syn.log_uniform(generator, 80, 190)
    return drums(generator, beat, -generator.uniform(0, 2 * beat), num_samples, sampling_rate)


def church_or_hand_bell(generator: syn.Generator, num_samples: int, sampling_rate: int) -> np.ndarray:
    """Strokes that ring out; not the quick ringer that telephones have."""
    return noises.bell(generator, num_samples, sampling_rate, kind=str(generator.choice(["church", "hand"])))


OBJECT_SOUNDS: dict[str, Sound] = {
    "bell": church_or_hand_bell,
    "bird": noises.bird,
    "car": noises.engine,
    "cat": meow,
    "clock": functools.partial(noises.clicks, kind="clock"),
    "computer": functools.partial(noises.clicks, kind="keyboard"),
    "dog": bark,
    "drum": drum,
    "fan": functools.partial(noises.hum, kind="fan"),
    "frog": croak,
    "guitar": guitar,
    "piano": piano,
    "rain_cloud": functools.partial(noises.rain_noise, kind="rain"),
    "siren": noises.siren,
    "telephone": ringing,
    "train": steam,
}
