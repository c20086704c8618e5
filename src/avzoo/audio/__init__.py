"""Sound in, features out: reading any file or array, resampling, and Kaldi's log-mel filter bank.

Reading and resampling need no torch; names that do are imported when they are first used.
"""

import importlib

from avzoo.audio.reading import iter_audio, read_audio, write_wav
from avzoo.audio.resampling import resample

_MODULE_OF = {"kaldi_fbank": "avzoo.audio.kaldi", "kaldi_num_frames": "avzoo.audio.kaldi"}

__all__ = ["iter_audio", "kaldi_fbank", "kaldi_num_frames", "read_audio", "resample", "write_wav"]


def __getattr__(name: str):
    if name in _MODULE_OF:
        value = globals()[name] = getattr(importlib.import_module(_MODULE_OF[name]), name)
        return value
    raise AttributeError(f"module 'avzoo.audio' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULE_OF})
