"""Labelled media made from nothing but a seed: each world is a pure function of its arguments.

- [`avzoo.data.toyworld.sound_events`]: ten classes of short recordings (speech, music, siren, ...).
- [`avzoo.data.toyworld.espeak`]: speech with phoneme timings by espeak-ng (extra `toy`).
"""
