"""Task pipelines: a file in, an answer out."""
