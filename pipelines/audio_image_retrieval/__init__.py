"""Retrieval between pictures and sounds: those of one kind that fit one of the other, out of a stored index."""
