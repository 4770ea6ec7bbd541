"""Runs whose workers come and go: one Ray Train run a worker, started and replaced by the driver."""
