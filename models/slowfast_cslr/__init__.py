"""SlowFastSign (arXiv 2309.12304): glosses from a video of signing, by two pathways of different frame rates."""
