"""Audio of any length as it is given to a model: what a user names, in overlapping windows, several at a time."""
