"""What a mouth does while it says a phoneme: visemes, and curves that blend them.

A viseme is what can be seen of a phoneme. Each has a target for the lips, and a strength with which it holds its target
against its neighbours: the lips must close for a [p], while for a [k] they do whatever the vowels around it ask for.
Targets are blended by dominance functions (Cohen and Massaro 1993, "Modeling coarticulation in synthetic visual
speech"): near a phoneme its own dominance is highest, between phonemes they share.
"""

import itertools
import unicodedata
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np


class MouthShape(NamedTuple):
    """One mouth, or a curve of them: numbers, or arrays (frames,) of each.

    opening: gap between the lips, 0 closed to 1 as wide as this mouth goes.
    width: -1 rounded and narrow, 0 at rest, 1 spread.
    teeth, tongue: how much of each shows in the gap, 0 to 1.
    """

    opening: float | np.ndarray
    width: float | np.ndarray
    teeth: float | np.ndarray
    tongue: float | np.ndarray


class Viseme(NamedTuple):
    """Lip targets of one class of phonemes and their strength against the neighbours'."""

    shape: MouthShape
    strength: float
    phonemes: str  # the IPA letters that look like this


VISEMES: dict[str, Viseme] = {
    "silence": Viseme(MouthShape(0.02, 0.0, 0.0, 0.0), 0.6, ""),
    "lips_together": Viseme(MouthShape(0.0, -0.05, 0.0, 0.0), 3.0, "pbmɓɸβʙ"),
    "lip_on_teeth": Viseme(MouthShape(0.10, 0.1, 1.0, 0.0), 2.0, "fvɱʋⱱ"),
    "tongue_on_teeth": Viseme(MouthShape(0.25, 0.1, 0.7, 1.0), 1.0, "θð"),
    "tongue_up": Viseme(MouthShape(0.25, 0.15, 0.5, 0.6), 0.7, "tdnlɫɬɮɭɳʈɖɗǀǃ"),
    "teeth_together": Viseme(MouthShape(0.15, 0.35, 1.0, 0.0), 1.0, "szɕʑ"),
    "lips_forward": Viseme(MouthShape(0.28, -0.5, 0.8, 0.0), 1.3, "ʃʒʂʐ"),
    "tongue_curled": Viseme(MouthShape(0.28, -0.3, 0.3, 0.2), 0.7, "rɹɻɾʀʁɽɺ"),
    "throat": Viseme(MouthShape(0.30, 0.1, 0.1, 0.1), 0.35, "kɡgŋxɣhɦqɢχħʔʕcɟçɲʎʝɴɧ"),
    "open": Viseme(MouthShape(1.0, 0.15, 0.25, 0.4), 1.0, "aɑæɐʌɶ"),
    "half_open": Viseme(MouthShape(0.60, 0.3, 0.3, 0.3), 0.8, "eɛəɜɝɚɘɞɤ"),
    "spread": Viseme(MouthShape(0.38, 0.7, 0.6, 0.2), 1.0, "iɪɨj"),
    "half_round": Viseme(MouthShape(0.70, -0.55, 0.0, 0.2), 1.2, "oɔɒœɵø"),
    "round": Viseme(MouthShape(0.33, -0.95, 0.0, 0.0), 1.5, "uʊyʏʉɯwʍɥɰ"),
}
VISEME_NAMES: tuple[str, ...] = tuple(VISEMES)
VOWELS = frozenset(VISEMES["open"].phonemes + "eɛəɜɝɚɘɞɤ" + "iɪɨ" + VISEMES["half_round"].phonemes + "uʊyʏʉɯ")

_VISEME_OF = {letter: name for name, viseme in VISEMES.items() for letter in viseme.phonemes}
_BLEND_SECONDS = 0.06  # beyond the middle of a phoneme, its dominance falls within about this time
_CLOSED_SECONDS = 0.04  # for which lips are closed before a [p] is heard
_SHAPES = np.array([viseme.shape for viseme in VISEMES.values()])  # (visemes, 4)
_STRENGTHS = np.array([viseme.strength for viseme in VISEMES.values()])


def split_into_visemes(ipa: str) -> list[str]:
    """The visemes of one phoneme, in order: two for a diphthong, `["silence"]` for a pause.

    Stress, length and other marks are passed over; of an affricate ("tʃ") the release is what shows.
    """
    letters = [letter for letter in unicodedata.normalize("NFD", ipa) if letter in _VISEME_OF]
    if not letters:
        return ["half_open"] if ipa.strip("ˈˌ") else ["silence"]  # an unknown sound is still a sound
    vowels = [letter for letter in letters if letter in VOWELS]
    names = [_VISEME_OF[letter] for letter in vowels or letters[-1:]]
    return [name for place, name in enumerate(names) if place == 0 or name != names[place - 1]]


def viseme_segments(phonemes: Sequence[Mapping]) -> list[tuple[int, float, float]]:
    """[(index into `VISEME_NAMES`, start, end)] of phonemes {ipa, start, end}, seconds; diphthongs are halved.

    A [p] is heard when the lips part, so it is seen before.
    """
    edges = [[phoneme["start"], phoneme["end"]] for phoneme in phonemes]
    for index, phoneme in enumerate(phonemes):
        if "p" in phoneme["ipa"]:
            before, own, after = edges[index - 1] if index else None, edges[index], edges[index + 1 : index + 2]
            early = _CLOSED_SECONDS if before is None else min(_CLOSED_SECONDS, 0.6 * (before[1] - before[0]))
            for neighbour in after:
                neighbour[0] = min(neighbour[0], own[1]) - early
            own[0], own[1] = own[0] - early, own[1] - early
            if before is not None:
                before[1] = min(before[1], own[0])
    segments = []
    for phoneme, (start, end) in zip(phonemes, edges, strict=True):
        names = split_into_visemes(phoneme["ipa"])
        parts = np.linspace(start, end, len(names) + 1).tolist()
        segments += [
            (VISEME_NAMES.index(name), *part) for name, part in zip(names, itertools.pairwise(parts), strict=True)
        ]
    return segments


def mouth_curve(segments: Sequence[tuple[int, float, float]], times: np.ndarray) -> MouthShape:
    """Lip targets blended over time; before, between and after the segments the mouth rests.

    Args:
        segments: see [`viseme_segments`].
        times: (frames,), seconds.

    Returns:
        Curves (frames,) of float64.
    """
    rest = VISEMES["silence"]
    weighted = np.zeros((len(times), len(MouthShape._fields)))
    total = np.zeros(len(times))
    for index, start, end in segments:
        # Full dominance in the middle half, a bell around it; far away it is zero and costs nothing.
        centre, half = (start + end) / 2, (end - start) / 4
        first, stop = np.searchsorted(times, [start - 4 * _BLEND_SECONDS, end + 4 * _BLEND_SECONDS])
        distance = np.maximum(np.abs(times[first:stop] - centre) - half, 0)
        dominance = _STRENGTHS[index] * np.exp(-((distance / _BLEND_SECONDS) ** 2))
        weighted[first:stop] += dominance[:, None] * _SHAPES[index]
        total[first:stop] += dominance
    resting = np.maximum(rest.strength / 10 - total, 1e-9)[:, None]  # only where nothing is said
    blended = (weighted + resting * np.array(rest.shape)) / (total[:, None] + resting)
    return MouthShape(*blended.T)


def viseme_per_frame(segments: Sequence[tuple[int, float, float]], times: np.ndarray) -> np.ndarray:
    """(frames,) uint8: which viseme's segment each time lies in, 0 ("silence") outside of all."""
    visemes = np.zeros(len(times), np.uint8)
    for index, start, end in segments:
        visemes[(times >= start) & (times < end)] = index
    return visemes
