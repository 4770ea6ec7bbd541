"""Other projects' names and formats for the same network."""
