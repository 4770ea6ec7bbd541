"""Synthesised speech with transcripts."""
