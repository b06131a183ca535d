"""The fingerprint of a declaration, and what differs between two.

It covers the name, the query, all options, and the declared columns. It leaves
out where the declaration stands, its description, and every setting of a
connection but the name: cell, module and TOML agree, and so do dev and prod.
"""

from __future__ import annotations

import datetime as dt
import decimal
import difflib
import hashlib
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ematix_nb.declare.spec import Column, PipelineSpec, Policies, Query, TableSpec, TargetSpec

_SHORT = 12
_LABELS = {"schedule": "schedule", "source": "source connection"}


def connection_name(connection: Any) -> str:
    """The name of a connection given by name or as an object."""
    return connection if isinstance(connection, str) else str(getattr(connection, "name", connection))


def fingerprint(spec: PipelineSpec) -> str:
    """The fingerprint of a pipeline: ``sha256:`` and 64 hexadecimal digits."""
    text = json.dumps(_pipeline(spec), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def short(value: str) -> str:
    """A fingerprint as people read it.

    Example:
        >>> short("sha256:0123456789abcdef0123")
        '0123456789ab'
    """
    return value.removeprefix("sha256:")[:_SHORT]


def _plain(value: Any) -> Any:
    """A value as JSON knows it, the same for equal values."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted((_plain(item) for item in value), key=repr)
    return _named(value)


def _named(value: Any) -> Any:
    """A value that JSON lacks, a step, a reference or a callable."""
    from ematix_nb.declare.functions import digest

    if isinstance(value, dt.timedelta):
        return {"microseconds": value // dt.timedelta(microseconds=1)}
    if isinstance(value, (dt.date, dt.time)):
        return {type(value).__name__: value.isoformat()}
    if isinstance(value, (float, decimal.Decimal)):
        return {type(value).__name__: str(value)}
    if hasattr(value, "arguments"):
        return [value.name, _plain(value.arguments)]
    if callable(value) and not hasattr(value, "name"):
        return {"function": digest(value)}
    return {type(value).__name__: str(getattr(value, "name", value))}


def _column(column: Column) -> dict[str, Any]:
    return {
        "name": column.name,
        "type": str(column.type),
        "nullable": column.nullable,
        "primary_key": column.primary_key,
        "natural_key": column.natural_key,
        "normalizers": _plain(column.normalizers),
    }


def _table(table: TableSpec) -> dict[str, Any]:
    return {
        "columns": [_column(column) for column in table.columns],
        "merge_keys": _plain(table.merge_keys),
        "unique_constraints": _plain(table.unique_constraints),
    }


def _target(target: TargetSpec) -> dict[str, Any]:
    return {
        "connection": connection_name(target.connection),
        "thing": str(target.table.ref) if target.table is not None else target.thing,
        "table": _table(target.table) if target.table is not None else None,
        "mode": target.mode,
        "keys": _plain(target.keys),
        "update_columns": _plain(target.update_columns),
        "compare_columns": _plain(target.compare_columns),
        "event_timestamp_column": target.event_timestamp_column,
        "handle_deletes": target.handle_deletes,
        "ttl": _plain(target.ttl),
        "column_map": _plain(sorted(target.column_map)),
        "write_options": _plain(dict(target.write_options)),
    }


def _query(query: Query) -> dict[str, Any]:
    if query.source_table is not None:
        return {"source_table": query.source_table}
    return {"sql": query.sql} if query.sql is not None else {"function": query.function_digest}


def _policies(policies: Policies) -> dict[str, Any]:
    return {
        "on_drift": policies.on_drift,
        "on_duplicate_key": policies.on_duplicate_key,
        "dedup_by": policies.dedup_by,
        "on_null_key": policies.on_null_key,
        "empty_source": policies.empty_source,
        "allow_lossy": sorted(policies.allow_lossy),
        "on_nul": policies.on_nul,
        # as with checks: only what is used
        **({"on_null_key": policies.on_null_key} if policies.on_null_key != "error" else {}),
        **({"max_bad_rows": policies.max_bad_rows} if policies.max_bad_rows is not None else {}),
    }


def _pipeline(spec: PipelineSpec) -> dict[str, Any]:
    found = {
        "name": spec.name,
        "query": _query(spec.query),
        "targets": [_target(target) for target in spec.targets],
        "source": connection_name(spec.source),
        "incremental": spec.incremental,
        "watermark_column": _plain(spec.watermark_column),
        "overlap": _plain(spec.overlap),
        "schedule": spec.schedule,
        "timezone": spec.timezone,
        "catch_up": spec.catch_up,
        "transforms_pre": _plain(spec.transforms_pre),
        "transforms_post": _plain(spec.transforms_post),
        "continue_on_failure_post": spec.continue_on_failure_post,
        "continue_on_target_failure": spec.continue_on_target_failure,
        "policies": _policies(spec.policies),
        # only where it is used: pipelines that wait for nobody keep the fingerprint that they always had
        **({"depends_on": sorted(spec.depends_on)} if spec.depends_on else {}),
        # how rows are read, how often that is tried and who hears of it is no part of what is loaded:
        # `partition_column`, `partitions`, `retries`, `retry_backoff` and `alerts` stay out
    }
    if spec.late_rows != "overlap":  # what was declared before this option came keeps its fingerprint
        found["late_rows"] = spec.late_rows
    if spec.params:
        found["params"] = _plain(dict(spec.params))
    if spec.all_checks:
        found["checks"] = [str(check) for check in spec.all_checks]
    return found


def difference(old: PipelineSpec, new: PipelineSpec) -> list[str]:
    """What changed from one declaration to the next, one line each; empty when the fingerprints are equal."""
    before, after = ({"late_rows": "overlap", **_pipeline(each)} for each in (old, new))
    lines = _query_lines(before.pop("query"), after.pop("query"))
    targets = before.pop("targets"), after.pop("targets")
    policies = before.pop("policies"), after.pop("policies")
    lines += _value_lines(before, after) + _value_lines(*policies)
    for number in range(max(map(len, targets))):
        was, now = (side[number] if number < len(side) else None for side in targets)
        if was is None or now is None:
            chosen, word = (now, "added") if was is None else (was, "removed")
            lines.append(f"target {word}: {chosen['connection']}:{chosen['thing']}" if chosen else "")
            continue
        table = was.pop("table"), now.pop("table")
        lines += _value_lines(was, now)
        if table[0] != table[1]:
            lines += _table_lines(old.targets[number].table, new.targets[number].table)
    return lines


def _value_lines(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    changed = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    return [f"{_LABELS.get(name, name)}: {_shown(before.get(name))} -> {_shown(after.get(name))}" for name in changed]


def _shown(value: Any) -> str:
    if value in (None, [], {}):
        return "none"
    if isinstance(value, dict) and set(value) == {"microseconds"}:
        return str(dt.timedelta(microseconds=value["microseconds"]))
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ", ".join(value)
    return value if isinstance(value, str) else json.dumps(value)


def _query_lines(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    if before == after:
        return []
    if "sql" in before and "sql" in after:
        changes = difflib.ndiff(before["sql"].splitlines(), after["sql"].splitlines())
        return ["SQL:", *(f"  {line.rstrip()}" for line in changes if line[:1] in "+-")]
    if "function" in before and "function" in after:
        return ["function: its code changed"]
    (was, old), (now, new) = next(iter(before.items())), next(iter(after.items()))
    return [f"{was}: {old} -> {new}"] if was == now else [f"query: {was} -> {now}"]


def _table_lines(old: TableSpec | None, new: TableSpec | None) -> list[str]:
    if old is None or new is None:
        return [f"columns: {'inferred' if old is None else 'declared'} -> {'inferred' if new is None else 'declared'}"]
    return table_difference(old, new)


def table_difference(old: TableSpec, new: TableSpec) -> list[str]:
    """What changed between two declarations of a table, one line each."""
    before, after = ({column.name: column for column in table.columns} for table in (old, new))
    lines = [f"column added: {name} {after[name].type}" for name in after if name not in before]
    lines += [f"column removed: {name}" for name in before if name not in after]
    for name in (name for name in after if name in before and before[name] != after[name]):
        lines += [f"column {name}: {line}" for line in _value_lines(_column(before[name]), _column(after[name]))]
    shared = [name for name in after if name in before]
    if shared != [name for name in before if name in after]:
        lines.append(f"columns in another order: {', '.join(after)}")
    for label in ("merge_keys", "unique_constraints"):
        was, now = _plain(getattr(old, label)), _plain(getattr(new, label))
        lines += [f"{label}: {_shown(was)} -> {_shown(now)}"] if was != now else []
    return lines
