"""The benchmarks fit together, and the page shows the newest figures; how fast things are is never tested."""

from __future__ import annotations

import importlib

import pytest

from benchmarks.cases import CASES, Case
from benchmarks.report import PAGE, latest, page
from benchmarks.sides import SIDES


@pytest.fixture(scope="module", autouse=True)
def _sides() -> None:
    for module in ("ours", "limits", "peers"):
        importlib.import_module(f"benchmarks.sides.{module}")


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_each_side_of_a_case_exists(case: Case) -> None:
    wanted = {*case.sides, *case.peers}
    assert wanted <= {name for found, name in SIDES if found == case.name}


def test_the_page_shows_the_newest_figures() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(*latest()), "run: python -m benchmarks.report"
