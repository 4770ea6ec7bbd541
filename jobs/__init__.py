"""Entry points that `ray job submit` runs, beside the job specs."""
