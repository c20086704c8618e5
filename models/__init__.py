"""Models, one folder per method."""
