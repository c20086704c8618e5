"""Lip to speech: a silent video in, a voice for each face out."""
