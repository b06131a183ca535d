"""Which of many cases are tried daily, and which at night."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable


SLACK = 8
"""Calls that a run may make beyond those that have a case; then the numbers want to be written anew."""


def spread(cases: Iterable[tuple[tuple[Any, ...], tuple[int, int]]]) -> list[Any]:
    """The cases as parameters: of those that differ in their last value alone, some are daily, some nightly.

    Neighbours take turns, so that each call, step or message is met by some fault in some mode each day.

    Args:
        cases: Each with the number of cases of which one is daily, and of which one is tried at night.
    """
    found, turns = [], dict[tuple[Any, ...], int]()
    for case, (daily, nightly) in cases:
        turn = turns.setdefault(case[:-1], len(turns)) + case[-1]
        if turn % daily == 0:
            found.append(pytest.param(*case))
        elif turn % nightly == 0:
            found.append(pytest.param(*case, marks=pytest.mark.nightly))
    return found
