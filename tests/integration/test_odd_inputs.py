"""Broken and odd inputs: a slice of what `benchmarks/odd_inputs.py` gives the commands by the thousand."""

from __future__ import annotations

import pytest
from odd.kinds import KINDS
from odd.worker import outcomes

# Addresses take seconds each; tests of their own go with them.
_KINDS = tuple(name for name in KINDS if name != "addresses")


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_odd_inputs_are_refused_with_a_message_or_taken_as_they_are_meant(seed):
    found = list(outcomes(seed, list(range(36)), _KINDS))
    assert {outcome.kind for outcome in found} == set(_KINDS)
    wrong = [
        f"{o.number} [{o.kind} / {o.recipe}] {o.what}: {o.verdict.category}: {o.verdict.why}"
        for o in found
        if o.verdict.is_fault
    ]
    assert wrong == []
