"""The line to a server is cut at each request in turn: before, in or after it, or for good; then the same run again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.crash.places import ended
from tests.crash.spread import SLACK, spread
from tests.crash.world import MODES
from tests.support.messages import CUTS, DOWN

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.crash.places import Places
    from tests.support.messages import Line

pytestmark = pytest.mark.integration

REQUESTS = {
    ("postgres", "append", 1): 53,
    ("postgres", "append", 2): 72,
    ("postgres", "truncate", 1): 55,
    ("postgres", "truncate", 2): 56,
    ("postgres", "merge", 1): 71,
    ("postgres", "merge", 2): 72,
    ("postgres", "scd2", 1): 74,
    ("postgres", "scd2", 2): 72,
    ("mysql", "append", 1): 62,
    ("mysql", "append", 2): 67,
    ("mysql", "truncate", 1): 52,
    ("mysql", "truncate", 2): 55,
    ("mysql", "merge", 1): 62,
    ("mysql", "merge", 2): 65,
    ("mysql", "scd2", 1): 62,
    ("mysql", "scd2", 2): 65,
}
"""The requests of a run without a fault; `test_each_request_has_a_case` keeps them right."""
SHARE = {"postgres": (31, 4), "mysql": (31, 4)}


def cases() -> list[Any]:
    """(kind, mode, load, cut, number of the request)."""
    return spread(
        ((*place, cut, number), SHARE[place[0]])
        for place, requests in REQUESTS.items()
        for cut in CUTS
        for number in range(1, requests + 1)
    )


@pytest.mark.parametrize(("kind", "mode", "load", "cut", "number"), cases())
def test_a_line_that_is_cut(
    kind: str, mode: str, load: int, cut: str, number: int, places: Places, line_of: Callable[[str], tuple[Line, str]]
) -> None:
    line, url = line_of(kind)
    place = places.get(kind, mode, load, line.url, url)
    line.cut_at(number, cut)
    found = ended(place.spec)
    line.mend()
    assert line.fired, "the line was not cut"
    place.try_again(found, deaf=cut == DOWN)


@pytest.mark.parametrize("load", [1, 2])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", SHARE)
def test_each_request_has_a_case(
    kind: str, mode: str, load: int, places: Places, line_of: Callable[[str], tuple[Line, str]]
) -> None:
    line, url = line_of(kind)
    place = places.get(kind, mode, load, line.url, url)
    line.cut_at(0, "")
    assert ended(place.spec).status == "success"
    known = REQUESTS.get((kind, mode, load), 0)
    assert known <= line.requests <= known + SLACK, f"correct the number in REQUESTS: {line.requests}"
