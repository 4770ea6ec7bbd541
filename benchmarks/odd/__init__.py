"""Broken and odd inputs, what the commands answer to each, and whether that answer is right."""
