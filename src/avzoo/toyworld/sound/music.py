"""Music clips: a small random band plays a random tune.

A key, a scale, a tempo and a chord per bar are drawn; a melody, chords, a bass line and drums follow them, each on
a random instrument and each present or not - from a lone wind player to a full band.
"""

from dataclasses import dataclass

import numpy as np

from . import synthesis as syn

SCALES = (
    (0, 2, 4, 5, 7, 9, 11),  # major
    (0, 2, 3, 5, 7, 8, 10),  # natural minor
    (0, 2, 3, 5, 7, 8, 11),  # harmonic minor
    (0, 2, 3, 5, 7, 9, 10),  # dorian
    (0, 2, 4, 5, 7, 9, 10),  # mixolydian
    (0, 1, 4, 5, 7, 8, 10),  # phrygian dominant
    (0, 2, 4, 7, 9),  # major pentatonic
    (0, 3, 5, 6, 7, 10),  # blues
)


@dataclass(frozen=True)
class Note:
    """`pitch`: semitones, 69 = A4 = 440 Hz."""

    start_seconds: float
    duration_seconds: float
    pitch: float
    loudness: float


def pitch_to_hz(pitch: float | np.ndarray) -> float | np.ndarray:
    return 440.0 * 2.0 ** ((np.asarray(pitch) - 69) / 12)


# ------------------------------------------------------------------------------------------ instruments


def play_struck(
    notes: list[Note], generator: syn.Generator, num_samples: int, sampling_rate: int, kind: str
) -> np.ndarray:
    """Strings and bars that ring on their own: piano, guitar, harp, marimba, electric piano."""
    output = np.zeros(num_samples)
    brightness = generator.uniform(0.7, 2.0)
    ring = syn.log_uniform(generator, 0.4, 3.0)
    damping = generator.uniform(0.02, 0.15)
    pluck_position = generator.uniform(0.08, 0.45)
    inharmonicity = {"piano": 4e-4, "pluck": 5e-5}.get(kind, 0.0)
    hammer = generator.uniform(0, 0.06)
    for note in notes:
        frequency = float(pitch_to_hz(note.pitch))
        length = int((note.duration_seconds + damping) * sampling_rate)
        if kind == "bar":  # a wooden or metal bar: few, stretched overtones
            order = np.array([1.0, 3.93, 9.2])
            amplitudes = np.array([1, generator.uniform(0.05, 0.4), generator.uniform(0, 0.15)])
            decays = ring * np.array([1, 0.35, 0.15])
        else:
            order = np.arange(1, int(min(24, 0.45 * sampling_rate / frequency)) + 1).astype(float)
            amplitudes = np.abs(np.sin(np.pi * order * pluck_position)) / order**brightness
            decays = ring * (220 / frequency) ** 0.4 / (1 + 0.25 * (order - 1) / brightness)
            order = order * np.sqrt(1 + inharmonicity * order**2)
        wave = syn.sum_partials(frequency * order, amplitudes, np.minimum(decays, 6.0), length, sampling_rate)
        if hammer:
            knock = generator.standard_normal(min(length, int(0.02 * sampling_rate)))
            wave[: len(knock)] += hammer * knock * np.linspace(1, 0, len(knock)) ** 2
        wave[: int(0.002 * sampling_rate)] *= np.linspace(0, 1, int(0.002 * sampling_rate))
        tail = min(int(damping * sampling_rate), length)
        wave[length - tail :] *= np.linspace(1, 0, tail)
        syn.add_at(output, note.loudness * wave, int(note.start_seconds * sampling_rate))
    return output


def _bright_and_dark_amplitudes(kind: str, generator: syn.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Partial amplitudes of an instrument played hard, and played softly."""
    order = np.arange(1, 41).astype(float)
    if kind == "reed":  # saxophone, oboe, clarinet (weak even partials)
        bright = order ** -generator.uniform(0.6, 2.0)
        bright[1::2] *= generator.choice([1.0, 1.0, 0.25])
        bright *= syn.resonance_gain(order, generator.uniform(1, 5), generator.uniform(4, 14))
    elif kind == "brass":
        bright = order ** -generator.uniform(0.3, 0.9) * np.exp(-order / generator.uniform(6, 16))
    elif kind == "bowed":
        bright = order ** -generator.uniform(0.8, 1.3) * syn.decibels_to_gain(generator.normal(0, 4, len(order)))
    elif kind == "flute":
        bright = np.exp(-(order - 1) * generator.uniform(0.8, 1.8))
    elif kind == "organ":
        bright = np.zeros(len(order))
        bright[[0, 1, 2, 3, 5, 7, 9, 11, 15]] = generator.uniform(0, 1, 9) ** 2
        bright[generator.integers(0, 2)] = 1.0
    else:  # synthesiser: saw, square or something between
        bright = order ** -generator.uniform(0.8, 1.6)
        bright[1::2] *= generator.uniform(0, 1)
    return bright, bright * np.exp(-(order - 1) * generator.uniform(0.15, 0.8))


def play_sustained(
    notes: list[Note], generator: syn.Generator, num_samples: int, sampling_rate: int, kind: str
) -> np.ndarray:
    """One voice held by breath, bow or key: reed, brass, bowed, flute, organ, synth. Notes must not overlap."""
    if not notes:
        return np.zeros(num_samples)
    bright, dark = _bright_and_dark_amplitudes(kind, generator)
    keyed = kind in ("organ", "synth")
    time = np.arange(num_samples) / sampling_rate

    # 1. One pitch contour for the whole line: steps with short glides, and vibrato that sets in late.
    pitch = np.full(num_samples, notes[0].pitch, float)
    loudness = np.zeros(num_samples)
    vibrato_depth = np.zeros(num_samples)
    gap = 0.0 if generator.random() < 0.4 else generator.uniform(0.01, 0.12)
    attack = syn.log_uniform(generator, 0.004, 0.02) if keyed else syn.log_uniform(generator, 0.01, 0.12)
    scoop, glide_seconds = (0.0 if keyed else generator.uniform(0, 1.2)), generator.uniform(0.01, 0.06)
    for note in notes:
        start, stop = (
            int(note.start_seconds * sampling_rate),
            int((note.start_seconds + note.duration_seconds) * sampling_rate),
        )
        start, stop = max(start, 0), min(stop, num_samples)
        if stop <= start:
            continue
        since = time[start:stop] - time[start]
        pitch[start:] = note.pitch
        pitch[start:stop] -= scoop * np.exp(-since / glide_seconds)
        vibrato_depth[start:stop] = np.clip((since - 0.15) / 0.2, 0, 1)
        left = note.duration_seconds - gap - since
        loudness[start:stop] = note.loudness * np.minimum(since / attack, 1) * np.clip(left / 0.03, 0, 1)
    smoothing = max(int(generator.uniform(0.002, 0.03) * sampling_rate), 1)
    kernel = np.hanning(smoothing + 2)[1:-1]
    pitch = syn.convolve(np.pad(pitch, smoothing, mode="edge"), kernel / kernel.sum())[smoothing + smoothing // 2 :][
        :num_samples
    ]
    rate_hz, depth = generator.uniform(4, 7), 0.0 if keyed else generator.uniform(0, 0.5) * (kind != "flute")
    wobble = np.sin(2 * np.pi * rate_hz * time + generator.uniform(0, 6))
    pitch = pitch + depth * vibrato_depth * wobble
    if not keyed:
        pitch += 0.04 * syn.slow_curve(generator, num_samples, sampling_rate, 8.0)
        dynamics = generator.uniform(0, 3) * syn.slow_curve(generator, num_samples, sampling_rate, 2.0)
        loudness = loudness * syn.decibels_to_gain(dynamics + 1.5 * depth * vibrato_depth * wobble)

    # 2. The louder, the brighter: blend two wave tables.
    highest = float(pitch_to_hz(pitch.max() + 0.1))
    cycles = syn.accumulate_phase(pitch_to_hz(pitch), sampling_rate)
    loud = syn.read_table(syn.harmonic_table(bright, highest, sampling_rate), cycles)
    soft = syn.read_table(syn.harmonic_table(dark, highest, sampling_rate), cycles)
    drive = np.clip(loudness, 0, 1) ** 1.5
    wave = drive * loud + (1 - drive) * soft
    if generator.random() < (0.7 if keyed else 0.25):  # a second player or oscillator, slightly out of tune
        detuned = cycles * (1 + generator.uniform(0.001, 0.008)) + 0.5
        wave = wave + syn.read_table(syn.harmonic_table(bright, highest, sampling_rate), detuned)
    if not keyed:
        breath = syn.coloured_noise(generator, num_samples, sampling_rate, -4)
        wave = wave + breath * syn.decibels_to_gain(generator.uniform(-45, -20)) * syn.root_mean_square(wave)
    return wave * loudness


STRUCK = ("piano", "pluck", "pluck", "bar", "piano")
SUSTAINED = ("reed", "reed", "reed", "brass", "bowed", "bowed", "flute", "organ", "synth")


def play(notes: list[Note], generator: syn.Generator, num_samples: int, sampling_rate: int) -> np.ndarray:
    """One line of notes on a random instrument, at unit loudness."""
    if generator.random() < 0.35:
        line = play_struck(notes, generator, num_samples, sampling_rate, str(generator.choice(STRUCK)))
    else:
        line = play_sustained(notes, generator, num_samples, sampling_rate, str(generator.choice(SUSTAINED)))
    body, tilt = syn.random_equaliser(generator, 4.0, 1), generator.uniform(-1.0, 0.2)
    line = syn.shape_spectrum(line, sampling_rate, lambda f: body(f) * (np.maximum(f, 100) / 500) ** tilt)
    return line / max(syn.root_mean_square(line), 1e-9)


# ------------------------------------------------------------------------------------------------- drums


def _drum(kind: str, generator: syn.Generator, sampling_rate: int) -> np.ndarray:
    if kind == "kick":
        length = int(0.25 * sampling_rate)
        time = np.arange(length) / sampling_rate
        sweep = generator.uniform(40, 70) + generator.uniform(60, 250) * np.exp(-time / 0.02)
        return np.sin(2 * np.pi * syn.accumulate_phase(sweep, sampling_rate)) * np.exp(
            -time / generator.uniform(0.04, 0.12)
        )
    if kind == "snare":
        length = int(0.2 * sampling_rate)
        time = np.arange(length) / sampling_rate
        rattle = generator.standard_normal(length) * np.exp(-time / generator.uniform(0.03, 0.08))
        body = np.sin(2 * np.pi * generator.uniform(150, 250) * time) * np.exp(-time / 0.05)
        return 0.6 * rattle + 0.6 * body
    length = int(0.15 * sampling_rate)
    time = np.arange(length) / sampling_rate
    hiss = generator.standard_normal(length) * np.exp(-time / generator.uniform(0.01, 0.06))
    return 0.5 * syn.shape_spectrum(hiss, sampling_rate, lambda f: syn.high_pass_gain(f, 4500, 3))


def drums(generator: syn.Generator, beat: float, first: float, num_samples: int, sampling_rate: int) -> np.ndarray:
    """A kit that plays one pattern of eight half beats over and over, at unit loudness. Times in seconds."""
    output = np.zeros(num_samples)
    sounds = {kind: _drum(kind, generator, sampling_rate) for kind in ("kick", "snare", "hat")}
    chances = {
        "kick": np.where(np.arange(8) % 4 == 0, 0.95, generator.uniform(0, 0.3, 8)),
        "snare": np.where(np.arange(8) % 4 == 2, 0.9, generator.uniform(0, 0.15, 8)),
        "hat": np.full(8, generator.choice([0.95, 0.5, 0.2])),
    }
    pattern = {kind: generator.random(8) < chance for kind, chance in chances.items()}
    for step in range(int((num_samples / sampling_rate - first) / (beat / 2)) + 1):
        for kind, sound in sounds.items():
            if pattern[kind][step % 8]:
                start = int((first + step * beat / 2) * sampling_rate)
                syn.add_at(output, sound * generator.uniform(0.6, 1.0), start)
    return output / max(syn.root_mean_square(output), 1e-9)


# -------------------------------------------------------------------------------------------------- tune


def _degree_to_pitch(degree: int, scale: tuple[int, ...], key: float) -> float:
    octave, step = divmod(degree, len(scale))
    return key + 12 * octave + scale[step]


def melody(
    generator: syn.Generator, scale: tuple[int, ...], key: float, beat: float, first: float, seconds: float
) -> list[Note]:
    """A walk over the scale in a rhythm of its own; at least two different pitches, or it would be a tone."""
    rhythm = generator.choice([0.25, 0.5, 0.5, 1.0, 1.0, 1.5, 2.0], 4) * generator.choice([0.5, 1.0, 1.0])
    rest, leap, turn = generator.choice([0.0, 0.05, 0.2]), generator.uniform(0, 0.4), generator.uniform(0.1, 0.6)
    degree, start, notes = int(generator.integers(0, len(scale))), first, []
    direction = int(generator.choice([-1, 1]))
    while start < seconds:
        duration = float(min(generator.choice(rhythm) * beat, 0.6 * seconds))
        if generator.random() >= rest or not notes:
            loudness = generator.uniform(0.5, 1.0)
            notes.append(Note(start, duration, _degree_to_pitch(degree, scale, key), loudness))
        start += duration
        if abs(degree - 3) >= 8:
            direction = 1 if degree < 3 else -1
        elif generator.random() < turn:  # seldom: runs up and down the scale; often: a zigzag
            direction = -direction
        step = generator.integers(2, 6) if generator.random() < leap else generator.integers(1, 3)
        degree += int(step) * direction
    return notes


def _chords(
    generator: syn.Generator, scale: tuple[int, ...], key: float, beat: float, first: float, seconds: float
) -> tuple[list[list[Note]], list[int]]:
    """(three or four lines of held notes, root degree of each chord): one chord per 2 or 4 beats."""
    length = beat * int(generator.choice([1, 2, 2, 4]))
    repeats = int(generator.choice([1, 1, 2, 4]))  # held, or struck again and again
    lines: list[list[Note]] = [[] for _ in range(int(generator.integers(3, 5)))]
    roots, start = [], first - generator.uniform(0, length)
    while start < seconds:
        root = int(generator.choice([0, 0, 3, 4, 5, 1]))
        roots.append(root)
        for repeat in range(repeats):
            for voice, line in enumerate(lines):
                pitch = _degree_to_pitch(root + 2 * voice, scale, key)
                line.append(Note(start + repeat * length / repeats, length / repeats, pitch, 0.8))
        start += length
    return lines, roots


def music(generator: syn.Generator, num_samples: int, sampling_rate: int) -> np.ndarray:
    """`num_samples` of a tune that is already under way, or starts after a moment."""
    seconds = num_samples / sampling_rate
    beat = 60 / syn.log_uniform(generator, 60, 190)
    first = 0.0 if generator.random() < 0.5 else generator.uniform(0, min(beat, 0.3 * seconds))
    scale = SCALES[generator.integers(len(SCALES))]
    key = float(generator.uniform(55, 67))  # not on the 440 Hz raster: recordings are out of tune
    size = generator.choice(["solo", "duo", "band"], p=[0.45, 0.2, 0.35])

    octave = float(generator.choice([-12, 0, 0, 0, 12]))
    mix = play(melody(generator, scale, key + octave, beat, first, seconds), generator, num_samples, sampling_rate)
    if size != "solo" or generator.random() < 0.2:
        lines, roots = _chords(generator, scale, key - 12, beat, first, seconds)
        struck, kind = (
            (True, str(generator.choice(STRUCK)))
            if generator.random() < 0.5
            else (False, str(generator.choice(("organ", "synth", "bowed", "brass"))))
        )
        instrument = play_struck if struck else play_sustained
        chords = sum(instrument(line, generator, num_samples, sampling_rate, kind) for line in lines)
        chords = chords / max(syn.root_mean_square(chords), 1e-9)
        mix = mix + chords * syn.decibels_to_gain(generator.uniform(-14, 6))
    if size == "band":
        walk = generator.random() < 0.5
        bass = []
        for step in range(int((seconds - first) / beat) + 1):
            degree = roots[min(step // 2, len(roots) - 1)] + (int(generator.choice([0, 2, 4])) if walk else 0)
            bass.append(Note(first + step * beat, beat, _degree_to_pitch(degree, scale, key - 24), 0.9))
        low = play(bass, generator, num_samples, sampling_rate)
        mix = mix + low * syn.decibels_to_gain(generator.uniform(-14, 3))
        if generator.random() < 0.75:
            beats = drums(generator, beat, first, num_samples, sampling_rate)
            mix = mix + beats * syn.decibels_to_gain(generator.uniform(-14, 3))
    return mix
