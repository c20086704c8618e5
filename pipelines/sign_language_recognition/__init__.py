"""Sign language recognition: a video of signing in, its glosses out."""
