"""Rates that the methods of talking faces, and the data sets they were trained on, have in common."""

FRAMES_PER_SECOND = 25  # of video
SAMPLING_RATE = 16000  # of sound, Hz
SAMPLES_PER_FRAME = SAMPLING_RATE // FRAMES_PER_SECOND
