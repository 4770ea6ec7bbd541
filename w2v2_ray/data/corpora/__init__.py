"""Readers of corpora: audio files and what was said in them, in the layouts people keep them in."""
