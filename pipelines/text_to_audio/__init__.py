"""Text to audio: a description and a text in, speech in a scene out."""
