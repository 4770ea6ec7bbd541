"""Sending our commands to a cluster through Ray's job server, and what they find there."""
