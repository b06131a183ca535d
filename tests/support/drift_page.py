"""The results that `docs/schema-drift.md` states: what a changed source means under each policy."""

from __future__ import annotations

from tests.conformance.drift_cases import CHANGES, ELSEWHERE, POLICIES, stated

NAMES = {"sqlite": "SQLite", "delta": "Delta"}
BEGIN, END = "<!-- stated results -->\n", "<!-- end of the stated results -->\n"


def render(page: str) -> str:
    """The page with the results as they are stated now."""
    before, _, rest = page.partition(BEGIN)
    return f"{before}{BEGIN}\n{_tables()}\n{END}{rest.partition(END)[2]}"


def _tables() -> str:
    lines = [f"| the source | {' | '.join(f'`{policy}`' for policy in POLICIES)} |", "| --- | --- | --- | --- |"]
    for kind, change in CHANGES.items():
        results = (stated(kind, policy, "postgres").words for policy in POLICIES)
        lines.append(f"| **{kind}**: {change.words} | {' | '.join(results)} |")
    lines += ["", "Some targets cannot do what the others do:", ""]
    lines += ["| target | the source | policy | result |", "| --- | --- | --- | --- |"]
    for (kind, policy, target), result in ELSEWHERE.items():
        lines.append(f"| {NAMES[target]} | {kind} | `{policy}` | {result.words} |")
    return "\n".join(lines) + "\n"
