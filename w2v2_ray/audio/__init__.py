"""Files and arrays of sound: what they hold, read as mono samples at 16 kHz, or why they cannot be."""
