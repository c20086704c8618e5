"""Audio classification: a recording in, what is heard out."""
