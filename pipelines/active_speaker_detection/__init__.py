"""Active speaker detection: a video in, when each face speaks out."""
