"""A load plan as plain text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ematix_nb.verbs.cells import show
from ematix_nb.verbs.results import TargetPreview
from ematix_nb.verbs.text import table

if TYPE_CHECKING:
    from ematix_nb.load.plan import LoadPlan

_SENTENCE = 400


def plan_text(plan: LoadPlan) -> str:
    """Facts, columns, the SELECT that would be read, and the statements; no control characters."""
    from ematix_nb.verbs.preview_text import target_facts

    head = f"plan of {show(plan.pipeline, 120)}: {show(plan.source, 80)} -> {show(plan.target, 160)}"
    facts = [fact for fact in target_facts(TargetPreview(plan)) if fact[1]]
    width = max(len(name) for name, _ in facts)
    lines = [f"{head} (nothing was read or written)"]
    lines += [f"  {name:<{width}}  {show(text, 300)}" for name, text in facts]
    rows = [
        (column.name, str(column.source_type or ""), str(column.target_type), column.verdict.value, column.reason)
        for column in plan.columns
    ]
    lines += ["", "columns", _indented(table(("column", "from", "to", "verdict", "reason"), rows))]
    lines += ["", "reads", _indented(plan.source_sql)]
    statements = [*(change.sql for change in plan.schema_changes if change.sql), *plan.statements]
    if statements:
        lines += ["", "statements", _indented(";\n".join(statements))]
    lines += [f"warning: {show(text, _SENTENCE)}" for text in plan.warnings]
    lines += [f"note: {show(text, _SENTENCE)}" for text in plan.notes]
    return "\n".join(lines)


def _indented(text: str) -> str:
    from ematix_nb.verbs.text import neutral

    return "\n".join(f"  {line}".rstrip() for line in neutral(text).splitlines())
