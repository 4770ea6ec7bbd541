"""Sending jobs to a cluster through Ray's job server."""
