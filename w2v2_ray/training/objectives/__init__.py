"""One folder for each kind of training: its task, its plan, where it begins; `registry.py` finds them by kind."""
