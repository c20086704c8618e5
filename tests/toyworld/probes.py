"""Probes for worlds: can a label be read off statistics that have nothing to do with it?

A world leaks if a linear classifier tells its labels from how loud or bright a clip is, or from how long. The tests
of the worlds train one on some clips, try it on others, and compare with guessing.
"""

import itertools

import numpy as np


def audio_statistics(audio: np.ndarray) -> np.ndarray:
    """What says nothing about what is heard: length, levels, silence, offset, crossings of zero, edges. (14,) float64.

    Args:
        audio: (num_samples,), within [-1, 1].
    """
    audio = np.asarray(audio, np.float64)
    magnitude = np.abs(audio)
    peak, level = magnitude.max(), np.sqrt(np.mean(audio**2))
    loud = np.flatnonzero(magnitude > 0)
    leading, trailing = (loud[0], len(audio) - 1 - loud[-1]) if len(loud) else (len(audio), len(audio))
    ends = max(len(audio) // 20, 1)
    return np.array(
        [
            len(audio),
            _decibels(level),
            _decibels(peak),
            _decibels(peak) - _decibels(level),
            np.mean(audio),
            np.mean(audio) / (level + 1e-9),
            np.mean(audio == 0),
            np.mean(magnitude >= 0.999),
            np.mean(magnitude >= 0.999 * peak),
            leading,
            trailing,
            np.mean(np.diff(np.signbit(audio))),
            _decibels(np.sqrt(np.mean(audio[:ends] ** 2))) - _decibels(level),
            _decibels(np.sqrt(np.mean(audio[-ends:] ** 2))) - _decibels(level),
        ]
    )


def spectral_statistics(audio: np.ndarray) -> np.ndarray:
    """What does say something about what is heard: 27 log band energies, mean and spread over time. (54,) float64.

    Args:
        audio: (num_samples,) at 16 kHz or so, at least 512 samples.
    """
    frames = np.lib.stride_tricks.sliding_window_view(np.asarray(audio, np.float64), 512)[::200] * np.hanning(512)
    power = np.abs(np.fft.rfft(frames)) ** 2
    edges = np.unique(np.geomspace(3, 257, 28).astype(int))
    bands = np.log(np.stack([power[:, a:b].mean(axis=1) for a, b in itertools.pairwise(edges)], axis=1) + 1e-7)
    return np.concatenate([bands.mean(axis=0), bands.std(axis=0)])


def frame_statistics(frames: np.ndarray) -> np.ndarray:
    """What says nothing about what is seen: number and size of frames, colour, brightness, contrast. (12,) float64.

    Args:
        frames: (num_frames, height, width, 3) uint8, or one picture without the first axis.
    """
    frames = np.asarray(frames)
    frames = frames[None] if frames.ndim == 3 else frames
    brightness = frames.mean(axis=(1, 2, 3))
    return np.array(
        [
            *frames.shape[:3],
            *frames.mean(axis=(0, 1, 2)),
            *frames.std(axis=(0, 1, 2)),
            frames.std(axis=(1, 2, 3)).mean(),
            brightness.std(),
            np.abs(np.diff(brightness)).mean() if len(frames) > 1 else 0.0,
        ]
    )


def linear_probe_accuracy(
    train_features: np.ndarray, train_labels: np.ndarray, test_features: np.ndarray, test_labels: np.ndarray
) -> float:
    """Share of test clips whose label a linear discriminant gets right, in closed form.

    The nearest class mean after whitening by the covariance within classes. Every class counts the same, however often
    it occurs, so that guessing scores one over the number of classes when the test classes are balanced.

    Args:
        train_features, test_features: (clips, features); standardised here by the training clips, constants dropped.
        train_labels, test_labels: (clips,), of any type that compares.
    """
    train_features, test_features = np.asarray(train_features, np.float64), np.asarray(test_features, np.float64)
    classes, indices = np.unique(np.asarray(train_labels), return_inverse=True)
    mean, spread = train_features.mean(axis=0), train_features.std(axis=0)
    kept = spread > 1e-12 * (1 + np.abs(mean))
    train_features = (train_features[:, kept] - mean[kept]) / spread[kept]
    # A statistic that hardly varies among the training clips must not explode on the others.
    test_features = np.clip((test_features[:, kept] - mean[kept]) / spread[kept], -10, 10)
    centroids = np.stack([train_features[indices == index].mean(axis=0) for index in range(len(classes))])
    within = train_features - centroids[indices]
    # The ridge keeps statistics that do not vary within a class (a leak if there ever was one) from dividing by zero.
    covariance = within.T @ within / len(within) + 1e-3 * np.eye(len(within.T))
    weights = np.linalg.solve(covariance, centroids.T)  # (features, classes)
    scores = test_features @ weights - 0.5 * np.sum(centroids.T * weights, axis=0)
    return float(np.mean(classes[scores.argmax(axis=1)] == np.asarray(test_labels)))


def _decibels(amplitude: float) -> float:
    return float(20 * np.log10(max(amplitude, 1e-6)))
