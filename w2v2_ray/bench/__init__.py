"""What `w2v2-ray bench` measures: every figure in a fresh process, beside its peers, repeats interleaved.

Start reading at `rounds.py` (how cells are measured), then `step.py`, `loader.py`, `ingest.py`, `checkpoint.py` and
`inference.py` (what a cell does).
"""
