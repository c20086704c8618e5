"""Audio-visual synchronization: a video in, the offset of its sound for each face out."""
