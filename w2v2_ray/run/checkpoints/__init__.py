"""Committed states of a run: their files and manifests, what is kept, who may write."""
