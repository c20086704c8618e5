"""Two strangers in one room sound alike, one person in two rooms less so; the session score tells which is which."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from transformers import pipeline

import avzoo
from avzoo.metrics import equal_error_rate
from avzoo.metrics.verification import calibrate
from avzoo.pipelines.speaker_verification.drawing import plot_scores
from avzoo.toyworld.sessions import session_clip

# Whom and where the toy checkpoint has never heard.
SPEAKERS, SESSIONS = range(84, 96), range(9000, 9008)
SECONDS = 1.0  # as in its training
PEOPLE, ROOMS = "one person, two rooms", "two people, one room"


def demo(files: Sequence[Path] = (), output: Path = Path("demo_output"), seed: int | None = None) -> list[Path]:
    """Compare recordings with and without the session score, and draw where both scores lie.

    Args:
        files: recordings, of which the first is compared with each other one. None: synthetic voices in synthetic
            sessions, as the toy checkpoint knows them; it knows no others.
        output: folder for the picture.
        seed: of the clips. None: drawn afresh, and printed.

    Returns:
        Path of the picture; nothing for files.

    Raises:
        ValueError: one file only. ImportError: espeak-ng, which speaks, is not installed (the extra `toy`).
    """
    verify = pipeline("speaker-verification", model=avzoo.toy_checkpoint("session_embedding"), device="cpu")
    if files:
        if len(files) < 2:
            raise ValueError("`files` must be two recordings or more: the first is compared with the others.")
        for other in files[1:]:
            show(f"{files[0].name}, {other.name}", verify(str(files[0]), str(other)))
        return []
    seed = int(np.random.SeedSequence().generate_state(1)[0]) if seed is None else seed
    print(f"seed {seed}; {len(SPEAKERS)} synthetic voices in {len(SESSIONS)} sessions, all new to the model")
    return [compare_all(verify, seed, output / "speaker_verification.png")]


def show(title: str, answer: dict[str, Any]) -> None:
    """Print one answer."""
    session = "none" if answer["session_similarity"] is None else f"{answer['session_similarity']:.2f}"
    print(
        f"  {title}: speaker {answer['speaker_similarity']:.2f}, session {session}, score {answer['score']:.2f}: "
        f"{answer['meaning']}"
    )


def compare_all(verify: Any, seed: int, picture: Path) -> Path:
    """Compare each voice with itself in other rooms, and with all others in the same room."""
    places = list(itertools.product(SPEAKERS, SESSIONS))
    clips = [
        session_clip(seed + number, speaker=speaker, session=session, seconds=SECONDS)
        for number, (speaker, session) in enumerate(places)
    ]
    recordings = list(verify.embed(clip["audio"] for clip in clips))
    # One of the two is the same in each pair: the hard trials.
    pairs = [
        (first, second)
        for first, second in itertools.combinations(range(len(places)), 2)
        if (places[first][0] == places[second][0]) != (places[first][1] == places[second][1])
    ]
    is_target = np.array([places[first][0] == places[second][0] for first, second in pairs])
    answers = verify([(recordings[first], recordings[second]) for first, second in pairs])
    for title, wanted in ((PEOPLE, True), (ROOMS, False)):
        show(title, answers[int(np.flatnonzero(is_target == wanted)[0])])
    panels, thresholds = {}, {}
    print(f"  {is_target.sum()} pairs of {PEOPLE}, {(~is_target).sum()} of {ROOMS}; equal error rate, interpolated:")
    for title, name in (("without the session", "speaker_similarity"), ("with the session", "score")):
        scores = np.array([answer[name] for answer in answers])
        rate = equal_error_rate(scores, is_target.astype(int))
        print(f"    {title}: {rate:.1f} %")
        panels[f"{title}: {rate:.1f} % equal error rate"] = {PEOPLE: scores[is_target], ROOMS: scores[~is_target]}
        thresholds[list(panels)[-1]] = calibrate(scores, is_target.astype(int)).threshold
    print(f"  picture: {plot_scores(panels, picture, thresholds)}")
    return picture
