"""Labelled media made from nothing but a seed: each world is a pure function of its arguments.

`world(name)` is the data set class of a world; `avzoo toyworld NAME --n 4 --out folder` writes clips as files.

- talkers ([`avzoo.toyworld.talkers`]): drawn faces that speak, alone, together, off screen, in time or not.
- spoken_words ([`avzoo.toyworld.spoken_words`]): one word of a drawn face, which some other word may look like.
- sessions ([`avzoo.toyworld.sessions`]): the same voices through rooms, microphones, codecs and noise.
- scenes ([`avzoo.toyworld.scenes`]): pictures of things, one of which makes a sound.
- signs ([`avzoo.toyworld.signs`]): a drawn signer and the glosses signed.
- rapid_signs ([`avzoo.toyworld.rapid_signs`]): shapes that swing too fast for every fourth frame, as glosses.
- captions ([`avzoo.toyworld.captions`]): speech in a surrounding, described and transcribed.
- sound_events ([`avzoo.toyworld.sound_events`]): ten classes of short recordings (speech, music, siren, ...).

Speech is espeak-ng's ([`avzoo.toyworld.sound.espeak`], extra `toy`).
"""

import importlib

_CLASS_OF = {
    "talkers": "Talkers",
    "spoken_words": "SpokenWords",
    "sessions": "Sessions",
    "scenes": "Scenes",
    "signs": "Signs",
    "rapid_signs": "RapidSigns",
    "captions": "Captions",
    "sound_events": "SoundEvents",
}
WORLDS: tuple[str, ...] = tuple(_CLASS_OF)


def world(name: str) -> type:
    """The data set class ([`avzoo.toyworld.worlds.World`]) called `name`.

    Raises:
        ValueError: there is none; the message lists those there are.
    """
    if name not in _CLASS_OF:
        raise ValueError(f"no world is called {name!r}; there are: {', '.join(WORLDS)}.")
    return getattr(importlib.import_module(f"avzoo.toyworld.{name}"), _CLASS_OF[name])
