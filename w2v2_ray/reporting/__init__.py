"""Pages and charts of a run."""
