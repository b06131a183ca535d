"""Random sequences of changes, runs, crashes and runs at once: the target is what the oracle says, on four backends.

The same examples each day, and others each night for as long as it may take (`EMATIX_TEST_MACHINE_SECONDS`).
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.properties.machine import Loads

if TYPE_CHECKING:
    from tests.properties.places import Place

DAILY: dict[str, tuple[tuple[int, ...], int]] = {
    "sqlite": (tuple(range(30)), 10),
    "duckdb": (tuple(range(10)), 4),
    "postgres": (tuple(range(10)), 4),
    "delta": (tuple(range(10)), 4),
}
"""Seeds of a day, and examples of 30 steps for each: few, so that no test takes minutes on a slow machine."""
SEEDS = [pytest.param(name, number, id=f"{name}-{number}") for name, (seeds, _) in DAILY.items() for number in seeds]
SECONDS = float(os.environ.get("EMATIX_TEST_MACHINE_SECONDS", "600"))
"""Of a night, for all backends together."""
ROUND = 20
"""Examples of one seed."""


def check(place: Place, examples: int, steps: int, number: int, *, shrinks: bool = False) -> Counter[str]:
    """Run the examples of a seed; how often each thing was done.

    A failure is made smaller only where it may: that takes minutes.
    """
    machine: Any = type("Loads", (Loads,), {"place": place, "done": Counter()})
    quiet = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, *([Phase.shrink] if shrinks else [])],
    )
    run_state_machine_as_test(seed(number)(machine), settings=quiet)
    done: Counter[str] = machine.done
    return done


@pytest.mark.timeout(280)
@pytest.mark.parametrize(("place", "number"), SEEDS, indirect=["place"])
def test_the_target_is_what_the_oracle_says(place: Place, number: int) -> None:
    examples = DAILY[place.name][1]
    assert check(place, examples, 30, number)["example"] >= examples


@pytest.mark.nightly
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("place", DAILY, indirect=True)
def test_the_target_is_what_the_oracle_says_all_night(place: Place) -> None:
    end = time.monotonic() + SECONDS / len(DAILY)
    first = random.randrange(2**32)
    done: Counter[str] = Counter()
    seeds = 0
    while not seeds or time.monotonic() < end:
        done += check(place, ROUND, 60, first + seeds, shrinks=True)
        seeds += 1
