"""Audio-visual separation: a video of several speakers in, one voice for each face out."""
