"""The watchdog: what it judges, what it advises, and what is done about it."""
