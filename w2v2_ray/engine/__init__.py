"""DeepSpeed and what surrounds it: exact sums, fragments, state files, process groups. Knows nothing of Ray or runs."""
