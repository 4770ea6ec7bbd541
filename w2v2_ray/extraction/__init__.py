"""Features and codes: what a model knows of speech, for other programs."""
