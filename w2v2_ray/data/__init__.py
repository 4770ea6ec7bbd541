"""Datasets, the batch plan and the loader. Imports neither Ray nor DeepSpeed."""
