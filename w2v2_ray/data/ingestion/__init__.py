"""From a source to a dataset: what is listed, which shard it goes into, what is left out."""
