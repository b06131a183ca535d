"""Runs a target with generated input: rounds of Hypothesis until the time is over, each with a seed of its own."""

from __future__ import annotations

import os
import random
import time
import traceback
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

ROUND = 150
"""Inputs a round."""
SECONDS = float(os.environ.get("EMATIX_TEST_FUZZ_SECONDS", "120"))
"""Of one target in a night."""
SLOWEST_S = 2.0
"""Of the processor's time for one input."""
Target = Callable[[Any], None]


def fuzz(strategy: st.SearchStrategy[Any], target: Target, *, seconds: float) -> int:
    """Give inputs to a target, one round at least; how many there were.

    Args:
        strategy: Makes the inputs.
        target: Raises AssertionError, or whatever it should not raise, when something is wrong.
        seconds: How long; 0 for one round of the same inputs each time.

    Raises:
        BaseException: What the target raised, for the smallest input that does it; the seed is printed.
    """
    count = 0

    def one(value: Any) -> None:
        nonlocal count
        count += 1
        if _took(target, value) > SLOWEST_S and _took(target, value) > SLOWEST_S:
            message = f"slower than {SLOWEST_S} s: {value!r:.300}"
            raise AssertionError(message)

    end = time.monotonic() + seconds
    number = 0
    first = random.randrange(2**32) if seconds else 0
    while number == 0 or time.monotonic() < end:
        chosen = first + number
        run = given(strategy)(one)
        run = settings(
            max_examples=ROUND,
            deadline=None,
            database=None,
            derandomize=not seconds,
            suppress_health_check=list(HealthCheck),
        )(run)
        try:
            (seed(chosen)(run) if seconds else run)()
        except BaseException:
            print(f"seed {chosen}\n{traceback.format_exc()[-2000:]}")  # noqa: T201 - read when it failed
            raise
        number += 1
    print(f"{count} inputs in {number} rounds from seed {first}")  # noqa: T201 - the count of a night
    return count


def _took(target: Target, value: Any) -> float:
    start = time.thread_time()
    target(value)
    return time.thread_time() - start
