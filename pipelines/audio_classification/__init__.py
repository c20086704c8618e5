"""Audio classification: recordings to labels with scores."""
