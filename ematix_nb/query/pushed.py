"""What a planned query asks of its tables, for tables that DataFusion reads as a stream and hands no filter to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ematix_nb.backends.files.conditions import Condition, Missing, compared, joined
from ematix_nb.backends.files.streams import NO_LIMIT

if TYPE_CHECKING:
    from collections.abc import Iterator

BARRIER = f"Limit: skip=0, fetch={NO_LIMIT}"
"""The limit of a stream's view: what filters stand right above it were pushed down as far as they go."""
_TURNED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "=": "="}


def conditions(frame: Any) -> dict[str, Condition]:
    """For each streamed table of a query, what every row meets that the query looks at.

    A table of which nothing is known, or that one of its readings wants as a whole, is not there.
    """
    plan = frame.optimized_logical_plan()
    found: dict[str, list[Condition | None]] = {}
    scans = 0
    for name, condition in _scans(plan, None, None):
        scans += 1
        found.setdefault(name, []).append(condition)
    if plan.display_indent().count("TableScan: ") != scans:  # some are inside of expressions, where nobody gets to
        return {}
    known = {name: joined("OR", tuple(parts)) for name, parts in found.items()}
    return {name: condition for name, condition in known.items() if condition is not None}


def _scans(plan: Any, parent: Any, above: Any) -> Iterator[tuple[str, Condition | None]]:
    """Tables with the filter above their barrier; ``above`` is what stands over ``parent``."""
    node = plan.to_variant()
    if type(node).__name__ == "TableScan":
        yield node.table_name(), _filter(above) if parent is not None and parent.display() == BARRIER else None
    for inner in plan.inputs():
        yield from _scans(inner, plan, parent)


def _filter(plan: Any) -> Condition | None:
    node = plan.to_variant() if plan is not None else None
    return _condition(node.predicate()) if node is not None and type(node).__name__ == "Filter" else None


def _condition(expression: Any) -> Condition | None:
    kind = expression.variant_name()
    if kind in ("IsNull", "IsNotNull"):
        (column,) = expression.rex_call_operands()
        name = _column(column)
        return None if name is None else Missing(name, is_null=kind == "IsNull")
    if kind != "BinaryExpr":
        return None
    left, right = expression.rex_call_operands()
    word = expression.rex_call_operator()
    if word in ("AND", "OR"):
        return joined(word, (_condition(left), _condition(right)))
    if _column(left) is None:
        left, right, word = right, left, _TURNED.get(word, "")
    name = _column(left)
    if name is None or right.variant_name() != "Literal":
        return None
    return compared(name, word, right.python_value())


def _column(expression: Any) -> str | None:
    return expression.to_variant().name() if expression.variant_name() == "Column" else None
