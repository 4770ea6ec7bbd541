"""Where a run lives: its folder, notes, logs and states, locally or on an object store."""
