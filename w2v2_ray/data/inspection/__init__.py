"""Knowing one's data: what a dataset holds, says and repeats."""
