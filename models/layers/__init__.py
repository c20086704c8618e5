"""Layers that two methods define identically."""
