"""The training step, its state and its records. Knows DeepSpeed and nothing of Ray."""
