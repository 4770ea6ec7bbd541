"""The Python interface: what `import w2v2_ray` offers, and what the commands call."""
