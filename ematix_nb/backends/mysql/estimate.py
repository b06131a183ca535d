"""How many rows a query gives, about: from the server's own plan of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

NO_ROWS = ("Impossible WHERE", "no matching row", "Zero limit")


def expected_rows(plan: Sequence[Mapping[str, Any]]) -> int | None:
    """The rows of the outermost query of a plan: those of its tables multiplied.

    Args:
        plan: The rows of EXPLAIN, by the names of its columns.

    Returns:
        None when the plan does not tell.

    Example:
        >>> expected_rows([{"id": 1, "rows": "10", "filtered": 50.0, "Extra": ""}])
        5
    """
    rows = 1.0
    for step in plan:
        if step["id"] != 1:
            continue
        extra = str(step["Extra"] or "")
        if any(word in extra for word in NO_ROWS):
            return 0
        if step["rows"] is None:
            return 1 if "No tables used" in extra else None
        rows *= int(step["rows"]) * float(step["filtered"] or 100) / 100
    return round(rows)
