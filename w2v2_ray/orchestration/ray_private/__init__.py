"""Everything of Ray that has no public name, with the reason why it is used.

`tests/unit/orchestration/test_ray_private.py` calls or looks up each, so that a new version of Ray that moves one is
noticed there; `tests/unit/test_layering.py` sees that no other module reaches past Ray's public names.
"""
