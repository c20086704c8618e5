"""Sound in, features out: reading any file or array, resampling, mixing, and the features that models were trained on.

Features take samples in [-1, 1] and give (frames, features); spectrograms are (bins, frames), as `torch.stft` has them.
Reading, resampling and mixing need no torch; names that do are imported when they are first used.
"""

import importlib

from avzoo.audio.mixing import mix_at_equal_level, mix_at_snr
from avzoo.audio.reading import iter_audio, read_audio, write_wav
from avzoo.audio.reading_options import ReadingOptions, read_with
from avzoo.audio.resampling import resample

_MODULE_OF = {
    "MelSettings": "avzoo.audio.mel_settings",
    "align_to_video": "avzoo.audio.alignment",
    "compressed_stft": "avzoo.audio.stft",
    "decimate_pitch": "avzoo.audio.pitch",
    "estimate_pitch": "avzoo.audio.pitch",
    "griffin_lim": "avzoo.audio.griffin_lim",
    "hifigan_log_mel": "avzoo.audio.mel",
    "inverse_compressed_stft": "avzoo.audio.stft",
    "kaldi_fbank": "avzoo.audio.kaldi",
    "kaldi_num_frames": "avzoo.audio.kaldi",
    "log_power_density": "avzoo.audio.power_density",
    "mel_to_magnitude": "avzoo.audio.griffin_lim",
    "normalize_peak": "avzoo.audio.levels",
    "normalize_pitch": "avzoo.audio.pitch",
    "speech_features_mfcc": "avzoo.audio.mfcc",
    "stft_energy": "avzoo.audio.mel",
    "tacotron_log_mel": "avzoo.audio.mel",
    "vggish_log_mel": "avzoo.audio.vggish",
    "wav2lip_log_mel": "avzoo.audio.mel",
}

__all__ = [
    "MelSettings",
    "ReadingOptions",
    "align_to_video",
    "compressed_stft",
    "decimate_pitch",
    "estimate_pitch",
    "griffin_lim",
    "hifigan_log_mel",
    "inverse_compressed_stft",
    "iter_audio",
    "kaldi_fbank",
    "kaldi_num_frames",
    "log_power_density",
    "mel_to_magnitude",
    "mix_at_equal_level",
    "mix_at_snr",
    "normalize_peak",
    "normalize_pitch",
    "read_audio",
    "read_with",
    "resample",
    "speech_features_mfcc",
    "stft_energy",
    "tacotron_log_mel",
    "vggish_log_mel",
    "wav2lip_log_mel",
    "write_wav",
]


def __getattr__(name: str):
    if name in _MODULE_OF:
        value = globals()[name] = getattr(importlib.import_module(_MODULE_OF[name]), name)
        return value
    raise AttributeError(f"module 'avzoo.audio' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULE_OF})
