"""Writes `docs/matrix.md`: what the suite shows of each backend."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.support.collected import Collected

LABELS = {
    "postgres": "PostgreSQL",
    "mysql": "MariaDB",
    "sqlite": "SQLite",
    "duckdb": "DuckDB",
    "delta": "Delta, local",
    "delta-s3": "Delta in S3",
    "delta-azure": "Delta in Azure",
    "parquet": "Parquet files",
    "csv": "CSV files",
    "jsonl": "JSON lines files",
    "orc": "ORC files",
    "s3": "Parquet in S3",
    "s3-csv": "CSV in S3",
    "azure": "Parquet in Azure",
    "azure-jsonl": "JSON lines in Azure",
    "gcs": "Parquet in Google Cloud",
    "gcs-orc": "ORC in Google Cloud",
}
HEAD = """\
# Backends, modes and promises

Generated from the tests of the suite (`EMATIX_WRITE_PAGES=1 pytest tests/conformance/test_matrix.py`); do not edit.

- **yes**: tests of this suite show it on a real server, file or emulator.
- **nightly**: the same, by tests that only `make test-nightly` runs.
- **refused**: tests that are strictly expected to fail show that the load is refused; the number leads to the reason.
- **-**: the suite has no test of it.

Each row is a target; where nothing else is said, it is loaded from its own system or from another one. MySQL is built
by its manual and not tested; Delta in Google Cloud Storage is not tested either.
"""


@dataclass(frozen=True)
class Promise:
    """One column of the page: its words, and the tests that show it."""

    title: str
    tests: Sequence[str]
    only: Mapping[str, str] = field(default_factory=dict)
    """Parameters that a test must have, as in ``{"mode": "merge"}``; tests without such a parameter count."""
    system: str = ""
    """The backend of tests that do not name one in a parameter."""


def system_of(found: Collected, promise: Promise) -> str:
    """The backend that a test is about, by the parameters that the suites use for it."""
    given, test = found.parameters, found.test
    if "bench" in given:
        bench = given["bench"]
        return str(bench if isinstance(bench, str) else bench[0])
    if "place" in given:
        return f"delta-{given['place']}" if "delta" in test else str(given["place"])
    for name in ("target", "kind", "bucket", "name"):
        if name in given:
            return str({"files": "parquet"}.get(given[name], given[name]))
    return promise.system


def render(sections: Mapping[str, Sequence[Promise]], tests: Sequence[Collected]) -> str:
    """The page.

    Raises:
        AssertionError: A promise names a test that is not there.
    """
    by_name: dict[str, list[Collected]] = {}
    for each in tests:
        by_name.setdefault(each.test, []).append(each)
    reasons: dict[str, int] = {}
    lines = [HEAD]
    for title, promises in sections.items():
        lines += [f"## {title}", "", f"| | {' | '.join(promise.title for promise in promises)} |"]
        lines.append(f"| --- |{' --- |' * len(promises)}")
        columns = [_column(promise, by_name) for promise in promises]
        for system, label in LABELS.items():
            cells = [_cell(column.get(system), reasons) for column in columns]
            if set(cells) != {"-"}:
                lines.append(f"| {label} | {' | '.join(cells)} |")
        lines.append("")
    lines += ["## Why a load is refused", "", *(f"{number}. {reason}" for reason, number in reasons.items())]
    return "\n".join(lines) + "\n"


def _column(promise: Promise, by_name: Mapping[str, list[Collected]]) -> dict[str, list[Collected]]:
    """Backend -> the tests that show a promise of it."""
    found: dict[str, list[Collected]] = {}
    for name in promise.tests:
        assert name in by_name, f"docs/matrix.md needs {name}, which is not there"
        for each in by_name[name]:
            if all(each.parameters.get(key, value) == value for key, value in promise.only.items()):
                found.setdefault(system_of(each, promise), []).append(each)
    assert set(found) <= set(LABELS), f"{promise.title}: unknown backends {set(found) - set(LABELS)}"
    return found


def _cell(tests: list[Collected] | None, reasons: dict[str, int]) -> str:
    if not tests:
        return "-"
    refused = sorted({each.refused for each in tests} - {""})
    if refused:
        return f"refused ({', '.join(str(reasons.setdefault(each, len(reasons) + 1)) for each in refused)})"
    return "nightly" if all(each.nightly for each in tests) else "yes"
