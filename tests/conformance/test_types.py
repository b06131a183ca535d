"""Odd values between all pairs of systems: equal after the trip, or refused by name before it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conformance.matrix import SQL_SYSTEMS, SqlSystem, open_system, url_of
from tests.conformance.round_trip import PairResult, send_all, send_natives
from tests.conformance.run import declare
from tests.conformance.type_cases import EVERYWHERE, cases_of
from tests.support.types_page import render

if TYPE_CHECKING:
    from tests.conformance.matrix import System

PAGE = Path(__file__).parents[2] / "docs" / "types.md"
MOST_REFUSED = 0.05
PAIRS = [(source, target) for source in EVERYWHERE for target in EVERYWHERE]
RESULTS: dict[tuple[str, str], PairResult] = {}


def _open(name: str, folder: Path, request: pytest.FixtureRequest, *, second: bool = False) -> System:
    return open_system(name, folder, url_of(name, request, second=second), label=folder.name)


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_odd_values_arrive_as_they_are(
    source: str, target: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    from_place = _open(source, tmp_path / "from_place", request)
    to_place = _open(target, tmp_path / "to_place", request, second=True) if target != source else from_place
    result = PairResult()
    send_all(from_place, to_place, cases_of(source), result)
    if source != target and isinstance(from_place, SqlSystem):
        send_natives(from_place, to_place, result)
    assert result.wrong == []
    if source == target:
        assert result.refused == []
    RESULTS[source, target] = result


def test_few_values_are_refused_and_the_page_names_them() -> None:
    if len(RESULTS) < len(PAIRS):
        pytest.skip("needs the results of all pairs")
    across = [result for (source, target), result in RESULTS.items() if source != target]
    refused = sum(len(result.refused) for result in across)
    values = sum(result.values for result in across)
    assert refused <= MOST_REFUSED * values
    page = render(RESULTS)
    if os.environ.get("EMATIX_WRITE_PAGES"):
        PAGE.write_text(page, encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == page, "docs/types.md is old: run this file with EMATIX_WRITE_PAGES=1"


@pytest.mark.parametrize("name", SQL_SYSTEMS)
def test_types_that_only_one_system_has_stay_as_they_are_at_home(
    name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    place = _open(name, tmp_path / "place", request)
    assert isinstance(place, SqlSystem)
    wrong = []
    for number, (kind, literal) in enumerate(place.natives()):
        place.execute(f"CREATE TABLE s{number} (id INTEGER, v {kind})")
        value = literal if name in ("sqlite", "mysql") else f"CAST({literal} AS {kind})"
        place.execute(f"INSERT INTO s{number} VALUES (1, {value}), (2, NULL)")
        declare(place, place, f"SELECT * FROM s{number}", f"t{number}", mode="truncate").sync()
        text = {
            "sqlite": "quote(v + 0)" if kind.startswith(("NUMERIC", "DECIMAL")) else "quote(v)",
            "postgres": "v::text",
            "mysql": "CONCAT(v)",
            "duckdb": "CAST(v AS VARCHAR)",
        }[name]
        before, after = (place.execute(f"SELECT id, {text} FROM {table}{number} ORDER BY id") for table in "st")
        if before != after:
            wrong.append((kind, literal, before, after))
    assert wrong == []
