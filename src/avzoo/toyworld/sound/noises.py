"""Everything that is neither speech nor music: alarms, weather, bells, motors, clicks, birds, hum, silence.

Each draws which `kind` of it sounds, or makes the one that is named.
"""

import numpy as np

from . import synthesis as syn


def siren(generator: syn.Generator, num_samples: int, sampling_rate: int) -> np.ndarray:
    """Wail (slow up and down), yelp (fast), two-tone, or a rising whoop; a horn with overtones."""
    time = np.arange(num_samples) / sampling_rate + generator.uniform(0, 10)
    low = generator.uniform(350, 900)
    high = low * generator.uniform(1.4, 2.6)
    kind = generator.choice(["wail", "wail", "yelp", "yelp", "whoop", "whoop", "two_tone"])
    if kind == "two_tone":
        high = low * generator.uniform(1.2, 1.5)
        position = ((time * generator.uniform(0.8, 2.5)) % 1 < 0.5).astype(float)
        width = max(int(0.01 * sampling_rate), 1)
        position = np.convolve(position, np.ones(width) / width, mode="same")
    elif kind == "whoop":
        position = (time * generator.uniform(0.5, 2.0)) % 1
    else:
        rate_hz = generator.uniform(0.25, 0.7) if kind == "wail" else generator.uniform(2, 5)
        position = (1 - np.cos(2 * np.pi * rate_hz * time)) / 2
    frequency = low * (high / low) ** position
    bend = generator.uniform(-0.04, 0.04) * np.linspace(-1, 1, num_samples)  # driving past
    amplitudes = np.arange(1, 25.0) ** -generator.uniform(0.7, 2.5)
    amplitudes[1::2] *= generator.uniform(0, 1)
    table = syn.harmonic_table(amplitudes, float(high * 1.1), sampling_rate)
    wave = syn.read_table(table, syn.accumulate_phase(frequency * (1 + bend), sampling_rate))
    horn = syn.random_equaliser(generator, 6.0, 1)
    return syn.shape_spectrum(wave, sampling_rate, horn)


def rain_noise(generator: syn.Generator, num_samples: int, sampling_rate: int, kind: str | None = None) -> np.ndarray:
    """Rain, wind, waterfall, or the plain noise of a generator: no pitch, no pattern."""
    kind = kind or generator.choice(["rain", "wind", "plain", "plain"])
    if kind == "plain":
        noise = syn.coloured_noise(generator, num_samples, sampling_rate, generator.uniform(-7, 2))
        return syn.shape_spectrum(noise, sampling_rate, syn.random_equaliser(generator, 3.0, 1))
    if kind == "wind":
        gusts = syn.decibels_to_gain(6 * syn.slow_curve(generator, num_samples, sampling_rate, 1.0))
        centre, width = generator.uniform(150, 900), generator.uniform(150, 800)
        howl = syn.coloured_noise(generator, num_samples, sampling_rate, -3)
        howl = syn.shape_spectrum(howl, sampling_rate, lambda f: syn.resonance_gain(f, centre, width))
        rumble = syn.coloured_noise(generator, num_samples, sampling_rate, -7)
        return gusts * (howl / syn.root_mean_square(howl) + generator.uniform(0.1, 1) * rumble)
    hiss = syn.coloured_noise(generator, num_samples, sampling_rate, generator.uniform(-4, 1))
    drops = np.zeros(num_samples)
    count = int(generator.uniform(20, 600) * num_samples / sampling_rate)
    drops[generator.integers(0, num_samples, count)] = generator.standard_normal(count) ** 3
    length = int(0.006 * sampling_rate)
    splash = generator.standard_normal(length) * np.exp(-np.arange(length) / generator.uniform(5, 30))
    drops = syn.convolve(drops, splash)[:num_samples]
    drops /= max(syn.root_mean_square(drops), 1e-9)
    return hiss + drops * syn.decibels_to_gain(generator.uniform(-15, 3))


def bell(generator: syn.Generator, num_samples: int, sampling_rate: int, kind: str | None = None) -> np.ndarray:
    """One or several strokes on a church bell, a hand bell, a bicycle bell, or an alarm bell."""
    kind = kind or generator.choice(["church", "hand", "ringer"])
    strike = syn.log_uniform(generator, 150, 700) if kind == "church" else syn.log_uniform(generator, 900, 3200)
    ratios = (
        np.array([0.5, 1, 1.19, 1.5, 2, 2.5, 2.66, 3.0, 4.1, 5.3, 6.6])
        if kind == "church"
        else (np.array([1, 1.003, 2.1, 2.75, 3.9, 5.4, 7.2]))
    )
    ratios = ratios * generator.uniform(0.98, 1.02, len(ratios))
    amplitudes = generator.uniform(0.2, 1, len(ratios)) * ratios ** -generator.uniform(0, 1)
    ring = generator.uniform(1.5, 6) if kind == "church" else generator.uniform(0.5, 3)
    decays = ring / ratios ** generator.uniform(0.4, 1)
    stroke = syn.sum_partials(strike * ratios, amplitudes, decays, num_samples, sampling_rate)
    click = int(0.003 * sampling_rate)
    stroke[:click] += generator.uniform(0, 1.5) * generator.standard_normal(click)
    output, start = np.zeros(num_samples), 0.0
    interval = generator.uniform(0.06, 0.12) if kind == "ringer" else generator.uniform(0.5, 3)
    while start < num_samples / sampling_rate:
        syn.add_at(output, stroke * generator.uniform(0.7, 1), int(start * sampling_rate))
        start += interval * generator.uniform(0.95, 1.05)
    return output


def engine(generator: syn.Generator, num_samples: int, sampling_rate: int) -> np.ndarray:
    """A combustion motor: explosions at a wandering rate, through pipe and body, with a rush of air."""
    rate_hz = syn.log_uniform(generator, 18, 140)
    drift = generator.uniform(0.01, 0.15) * syn.slow_curve(generator, num_samples, sampling_rate, 0.5)
    if generator.random() < 0.3:  # revving up or slowing down
        drift = drift + generator.uniform(-0.5, 0.5) * np.linspace(-1, 1, num_samples)
    cycles = syn.accumulate_phase(rate_hz * np.exp(drift), sampling_rate)
    fires = np.flatnonzero(np.diff(np.floor(cycles)) > 0)
    cylinders = generator.uniform(0.5, 1.0, generator.integers(1, 7))
    pulses = np.zeros(num_samples)
    pulses[fires] = np.resize(cylinders, len(fires)) * generator.uniform(0.7, 1.3, len(fires))
    length = int(0.03 * sampling_rate)
    bang = generator.standard_normal(length) * np.exp(-np.arange(length) / generator.uniform(10, 120))
    exhaust = syn.convolve(pulses, bang)[:num_samples]
    peaks = [(syn.log_uniform(generator, 60, 1500), generator.uniform(60, 500)) for _ in range(4)]
    body = syn.shape_spectrum(
        exhaust, sampling_rate, lambda f: 0.05 + sum(syn.resonance_gain(f, centre, width) for centre, width in peaks)
    )
    air = syn.coloured_noise(generator, num_samples, sampling_rate, -4) * (1 + np.cos(2 * np.pi * cycles))
    level = syn.decibels_to_gain(generator.uniform(-25, -6))
    return body / max(syn.root_mean_square(body), 1e-9) + level * air


def clicks(generator: syn.Generator, num_samples: int, sampling_rate: int, kind: str | None = None) -> np.ndarray:
    """Keyboard typing, a ticking clock, clapping hands, knocking: short bursts with nothing between."""
    kind = kind or generator.choice(["keyboard", "clock", "claps", "knock"])
    decay, low, high, rate_hz, jitter = {
        "keyboard": (0.006, 1200, 5000, generator.uniform(3, 10), 0.6),
        "clock": (0.004, 1500, 5500, generator.choice([1.0, 2.0, 4.0]), 0.01),
        "claps": (0.015, 700, 2500, generator.uniform(1.5, 6), 0.15),
        "knock": (0.020, 120, 700, generator.uniform(2, 6), 0.1),
    }[kind]
    centre = syn.log_uniform(generator, low, high)
    width = centre * generator.uniform(0.3, 1.5)
    decay *= generator.uniform(0.5, 2.0)
    output = np.zeros(num_samples)
    length = int(0.12 * sampling_rate)
    start = generator.uniform(0, min(1 / rate_hz, 0.4 * num_samples / sampling_rate))
    while start < num_samples / sampling_rate:
        burst = generator.standard_normal(length) * np.exp(-np.arange(length) / sampling_rate / decay)
        if kind == "keyboard" and generator.random() < 0.6:  # the key comes up again
            release = int(generator.uniform(0.05, 0.1) * sampling_rate)
            burst[release:] += 0.4 * burst[: length - release]
        syn.add_at(output, burst * generator.uniform(0.5, 1), int(start * sampling_rate))
        start += max(1 / rate_hz * (1 + jitter * generator.uniform(-1, 1.5)), 0.03)
    return syn.shape_spectrum(output, sampling_rate, lambda f: 0.03 + syn.resonance_gain(f, centre, width))


def bird(generator: syn.Generator, num_samples: int, sampling_rate: int) -> np.ndarray:
    """One to three birds: syllables that sweep or trill between 1.8 and 7.5 kHz, repeated with pauses."""
    output = np.zeros(num_samples)
    for _ in range(generator.integers(1, 4)):
        centre = syn.log_uniform(generator, 2200, 5500)
        length = int(generator.uniform(0.03, 0.25) * sampling_rate)
        phase = np.linspace(0, 1, length)
        contour = generator.normal(0, 0.35) * (phase - 0.5) + generator.normal(0, 0.2) * np.cos(2 * np.pi * phase)
        trill = generator.uniform(0, 0.12) * np.sin(2 * np.pi * phase * generator.uniform(2, 12))
        frequency = np.clip(centre * np.exp(contour + trill), 1500, 0.47 * sampling_rate)
        syllable = np.sin(2 * np.pi * syn.accumulate_phase(frequency, sampling_rate)) * np.sin(np.pi * phase) ** 0.7
        loudness = generator.uniform(0.2, 1)
        interval = length / sampling_rate * generator.uniform(1.05, 2.5)
        start = generator.uniform(0, 0.3 * num_samples / sampling_rate)
        while start < num_samples / sampling_rate:
            for _ in range(generator.integers(1, 9)):
                syn.add_at(output, syllable * loudness * generator.uniform(0.8, 1), int(start * sampling_rate))
                start += interval
            start += generator.uniform(0.1, 0.9)
    return output


def hum(generator: syn.Generator, num_samples: int, sampling_rate: int, kind: str | None = None) -> np.ndarray:
    """Mains hum, a fan or transformer, or a steady test tone: nothing changes."""
    time = np.arange(num_samples) / sampling_rate
    kind = kind or generator.choice(["mains", "fan", "tone"])
    if kind == "tone":
        frequency = syn.log_uniform(generator, 120, 3000)
        amplitudes = np.zeros(12)
        amplitudes[0] = 1
        if generator.random() < 0.5:
            amplitudes[1:] = np.arange(2, 13.0) ** -generator.uniform(1, 3)
        table = syn.harmonic_table(amplitudes, frequency, sampling_rate)
        return syn.read_table(table, frequency * time)
    if kind == "mains":
        base = float(generator.choice([50.0, 60.0])) * generator.uniform(0.998, 1.002)
        amplitudes = generator.uniform(0, 1, 20) * np.arange(1, 21.0) ** -generator.uniform(0.2, 1.5)
        amplitudes[generator.integers(0, 4)] = 1.0
        return syn.read_table(syn.harmonic_table(amplitudes, base, sampling_rate), base * time)
    blades = generator.uniform(60, 400)
    wave = syn.read_table(syn.harmonic_table(generator.uniform(0, 1, 6) ** 2, blades, sampling_rate), blades * time)
    rush = syn.coloured_noise(generator, num_samples, sampling_rate, -6)
    return wave / max(syn.root_mean_square(wave), 1e-9) + rush * syn.decibels_to_gain(generator.uniform(-20, -4))


def silence(generator: syn.Generator, num_samples: int, sampling_rate: int) -> np.ndarray:
    """The noise a microphone and its converter make when nothing happens; now and then nothing at all."""
    if generator.random() < 0.1:
        return np.zeros(num_samples)
    return syn.coloured_noise(generator, num_samples, sampling_rate, generator.uniform(-6, 1))
