"""Runs on an object store: a working folder on each node, and what goes between it and the store."""
