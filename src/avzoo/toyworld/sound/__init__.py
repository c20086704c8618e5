"""What the worlds are heard with: voices, noises, music, rooms; functions of a generator."""
