"""Sweeps: search spaces through Ray Tune, and the report on what was measured."""
