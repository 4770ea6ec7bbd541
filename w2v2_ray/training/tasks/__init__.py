"""What a run trains on: the micro-batches and losses of each kind of job."""
