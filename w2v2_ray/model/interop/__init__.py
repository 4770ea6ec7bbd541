"""Other projects' names and formats for the same network, and our own."""
