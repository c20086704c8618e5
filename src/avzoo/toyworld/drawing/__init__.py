"""What the worlds are seen with: a canvas, backgrounds, people and things; functions of a generator."""
