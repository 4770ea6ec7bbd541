"""Training states on disk: fragments without a world size, their files, what is kept, who may write."""
