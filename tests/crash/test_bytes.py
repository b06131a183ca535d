"""The line to a server is cut at a byte of the whole conversation of a merge; then the same run again.

The bytes are those of both directions, in the order in which they pass. Two runs differ by a few bytes, so that a cut
beside the border of a message may be met a few bytes off; the sample from the whole is what meets all places at last.
"""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING

import pytest

from tests.crash.places import ended

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tests.crash.places import Places
    from tests.support.messages import Line

pytestmark = pytest.mark.integration

KINDS = ("postgres", "mysql")
SEED = int(os.environ.get("EMATIX_TEST_SEED") or random.randrange(10**9))
"""Of the sample; `EMATIX_TEST_SEED` repeats one."""
SAMPLE = 300
PARTS = 8
DRIFT = 200
"""Bytes by which a run may be shorter than the one before."""


def conversation(kind: str, places: Places, line_of: Callable[[str], tuple[Line, str]]) -> tuple[int, list[int]]:
    """How many bytes a run takes without a fault, and where messages end."""
    line, url = line_of(kind)
    place = places.get(kind, "merge", 2, line.url, url)
    line.cut_at_byte(0)
    assert ended(place.spec).status == "success"
    return line.passed, list(line.borders)


def try_bytes(
    kind: str, whole: int, numbers: Iterable[int], places: Places, line_of: Callable[[str], tuple[Line, str]]
) -> list[str]:
    """Cut at each of these bytes in turn; what was not as it must be."""
    wrong = []
    for number in numbers:
        line, url = line_of(kind)
        place = places.get(kind, "merge", 2, line.url, url)
        line.cut_at_byte(number)
        found = ended(place.spec)
        reached = line.fired or number > whole - DRIFT
        line.mend()
        try:
            assert reached, "the line was not cut"
            place.try_again(found)
        except AssertionError as error:
            wrong.append(f"byte {number} (seed {SEED}): {error}")
    return wrong


@pytest.mark.parametrize("kind", KINDS)
def test_a_few_bytes(kind: str, places: Places, line_of: Callable[[str], tuple[Line, str]]) -> None:
    whole, borders = conversation(kind, places, line_of)
    assert borders == sorted(set(borders))
    assert len(borders) > 100
    assert (
        try_bytes(kind, whole, (1, borders[0], whole // 3, borders[len(borders) * 3 // 4] - 1), places, line_of) == []
    )


@pytest.mark.nightly
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("kind", KINDS)
def test_a_sample_of_all_bytes_and_each_border(
    kind: str, part: int, places: Places, line_of: Callable[[str], tuple[Line, str]]
) -> None:
    whole, borders = conversation(kind, places, line_of)
    sample = random.Random(SEED).sample(range(1, whole + 1), min(SAMPLE, whole))
    beside = {border + step for border in borders for step in (-1, 0, 1)}
    numbers = sorted(number for number in {*sample, *beside} if 0 < number <= whole)
    print(f"{kind}: {len(numbers)} of {whole} bytes, {len(borders)} messages, seed {SEED}")  # noqa: T201
    assert try_bytes(kind, whole, numbers[part::PARTS], places, line_of) == []
