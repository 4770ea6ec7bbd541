"""The `w2v2-ray` command; no logic of its own."""
