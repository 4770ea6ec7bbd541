"""The network and its losses: plain torch modules that take numbers and submodules, never specs.

Start reading at `backbone.py` (waveform to context), then `pretraining.py` and `ctc.py` (what is trained on top).
`factory.py` builds them from specs.
"""
