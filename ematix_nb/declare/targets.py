"""One target of a pipeline: how it is written, its rules, and where its merge keys come from."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from ematix_nb.declare import registry, values
from ematix_nb.declare.address import is_address, parse_address
from ematix_nb.declare.fingerprint import connection_name
from ematix_nb.declare.spec import META_COLUMNS, SCD2_COLUMNS, TableRef, TableSpec, TargetSpec
from ematix_nb.declare.tables import spec_of
from ematix_nb.errors import DeclarationError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping

_KEYED = ("merge", "scd2")
_PAIR = 2
LOAD_OPTIONS = (
    "mode", "keys", "update_columns", "compare_columns", "event_timestamp_column", "handle_deletes", "ttl",
    "column_map",
)  # fmt: skip
"""Options that a pipeline has for all of its targets and a `Target` for itself."""
WRITE_OPTIONS = (
    "parquet_compression", "csv_delimiter", "csv_header", "csv_quote", "csv_escape", "csv_null_value", "csv_safe",
    "partition_by", "partition_key_prefix", "message_key_column",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Target:
    """One of several targets; what is None here is taken from the pipeline.

    Example:
        >>> Target(table="analytics.orders", connection="warehouse", mode="append").mode
        'append'
    """

    table: Any = None
    """A declared table class, ``schema.table``, ``connection:thing``, or a pair (schema, name)."""
    connection: Any = None
    """A name or a connection; None: the pipeline's target connection."""
    mode: str | None = None
    keys: Any = None
    update_columns: Any = None
    compare_columns: Any = None
    event_timestamp_column: str | None = None
    handle_deletes: str | None = None
    ttl: dt.timedelta | None = None
    column_map: Mapping[str, str] | None = None
    prefix: str | None = None
    """A folder of a file store."""
    topic: str | None = None
    queue: str | None = None
    partition_by: Any = None
    partition_key_prefix: str | None = None
    message_key_column: str | None = None
    primary_key: Any = None
    """Another name of ``keys``."""
    parquet_compression: str | None = None
    csv_delimiter: str | None = None
    csv_header: bool | None = None
    csv_quote: str | None = None
    csv_escape: str | None = None
    csv_null_value: str | None = None
    csv_safe: bool | None = None


def target(table: Any, *, target_connection: Any = None, **options: Any) -> Target:
    """One of several targets, in the form ``ematix.target(Orders, mode="merge", target_connection="warehouse")``.

    Raises:
        DeclarationError: When an option is unknown.
    """
    known = [found.name for found in fields(Target)]
    for name in options:
        if name not in known or name == "table":
            hint = did_you_mean(name, known) or f"the options are {', '.join(known[1:])}"
            raise DeclarationError(f"unknown option `{name}` of a target", hint=hint)
    if target_connection is not None and options.get("connection") is not None:
        raise DeclarationError("a target has one connection", hint="give `target_connection` only")
    chosen = target_connection if target_connection is not None else options.pop("connection", None)
    return Target(table=table, connection=chosen, **options)


def target_spec(given: Any, shared: Mapping[str, Any], *, alone: bool) -> TargetSpec:
    """A checked `TargetSpec`.

    Args:
        given: What stands in ``target=`` or in ``targets=``.
        shared: The pipeline's own options, ``target_connection`` among them.
        alone: Whether it is the only target; then an option that its mode cannot use is an error.

    Raises:
        DeclarationError: When it does not fit together.
    """
    own = given if isinstance(given, Target) else Target(table=given)
    options = {name: getattr(own, name) for name in LOAD_OPTIONS}
    if own.primary_key is not None and options["keys"] is None:
        options["keys"] = own.primary_key
    mode = values.mode(options["mode"] or shared.get("mode") or "append")
    for name in LOAD_OPTIONS:
        if options[name] is None and (alone or _usable(name, mode)):
            options[name] = shared.get(name)
    options["mode"] = mode
    connection, table, thing = _place(own, shared.get("target_connection"))
    write = tuple((name, getattr(own, name)) for name in WRITE_OPTIONS if getattr(own, name) is not None)
    spec = TargetSpec(connection=connection, table=table, thing=thing, write_options=write, **_read(options))
    check_target(spec)
    return spec


def _usable(option: str, mode: str) -> bool:
    """Whether a mode has a use for an option of the whole pipeline."""
    return {
        "keys": mode in _KEYED,
        "compare_columns": mode in _KEYED,
        "handle_deletes": mode in _KEYED,
        "update_columns": mode == "merge",
        "event_timestamp_column": mode == "scd2",
        "ttl": mode == "scd2",
    }.get(option, True)


def _read(options: Mapping[str, Any]) -> dict[str, Any]:
    read: dict[str, Any] = {"mode": options["mode"]}
    for name in ("keys", "update_columns", "compare_columns"):
        value = options[name]
        read[name] = () if value is None or value == () else values.names(name, value)
    if options["event_timestamp_column"] is not None:
        read["event_timestamp_column"] = values.text("event_timestamp_column", options["event_timestamp_column"])
    if options["handle_deletes"] is not None:
        read["handle_deletes"] = values.choice("handle_deletes", options["handle_deletes"])
    if options["ttl"] is not None:
        read["ttl"] = values.duration("ttl", options["ttl"])
    if options["column_map"] is not None:
        read["column_map"] = values.pairs(options["column_map"])
    return read


def _place(own: Target, shared_connection: Any) -> tuple[Any, TableSpec | None, str]:
    """Connection, declared table and text of a target."""
    given = own.connection if own.connection is not None else shared_connection
    connection = values.connection("target_connection", given) if given is not None else None
    table, thing = own.table, own.prefix or own.topic or own.queue or ""
    if table is not None and thing:
        raise DeclarationError(f"a target has a table or `{thing}`, not both")
    if isinstance(table, tuple) and len(table) == _PAIR and all(isinstance(part, str) for part in table):
        ref = TableRef(*table)
        thing = ".".join('"' + part.replace('"', '""') + '"' if not part.isidentifier() else part for part in table)
        return connection or "default", registry.find_table(str(ref)), thing
    if isinstance(table, str):
        return _text_place(table, connection)
    if (spec := spec_of(table)) is not None:
        return connection or "default", spec, ""
    if thing:
        return connection or "default", None, thing
    what = f"`{table.__name__}` is not a declared table" if isinstance(table, type) else f"a target is not {table!r}"
    hint = 'give a class with @ematix.table, or text: "warehouse:analytics.orders"'
    raise DeclarationError(what, hint=hint)


def _text_place(text: str, connection: Any) -> tuple[Any, TableSpec | None, str]:
    thing = text.strip()
    if is_address(thing):
        address = parse_address(thing)
        if connection is not None and connection_name(connection) != address.connection:
            other = connection_name(connection)
            what = f"target `{thing}` names the connection `{address.connection}`, target_connection `{other}`"
            raise DeclarationError(what, hint="give it once")
        connection, thing = connection or address.connection, address.thing
    if not thing:
        raise DeclarationError("the target is empty", hint='write "warehouse:analytics.orders"')
    return connection or "default", registry.find_table(thing), thing


def check_target(spec: TargetSpec) -> None:
    """Refuse options that do not fit the mode or the declared columns.

    Raises:
        DeclarationError: Naming the option and what to write.
    """
    _check_mode(spec)
    if spec.table is not None:
        _check_columns(spec, spec.table)
    keys, _, _ = resolve_keys(spec)
    if spec.mode in _KEYED and not keys:
        hint = 'keys=("id",)' + (", or mark the column with pk()" if spec.table is not None else "")
        raise DeclarationError(f"{spec.mode} needs keys", hint=hint)
    for name in keys if spec.mode in _KEYED else ():
        for option in ("compare_columns", "update_columns"):
            if name in getattr(spec, option):
                raise DeclarationError(f"{option} holds the key `{name}`", hint="a key never changes: take it out")


def _check_mode(spec: TargetSpec) -> None:
    mode, deletes = spec.mode, spec.handle_deletes
    for option, modes in (
        ("compare_columns", _KEYED),
        ("update_columns", ("merge",)),
        ("event_timestamp_column", ("scd2",)),
        ("ttl", ("scd2",)),
        ("handle_deletes", _KEYED),
    ):
        if getattr(spec, option) and mode not in modes:
            raise DeclarationError(f"{option} is an option of {' and '.join(modes)}, the mode is {mode}")
    if deletes == "soft" and mode == "merge":
        raise DeclarationError("merge cannot delete softly", hint='handle_deletes="hard", or mode="scd2"')
    if deletes == "hard" and mode == "scd2":
        raise DeclarationError("scd2 keeps history and never deletes", hint='handle_deletes="soft" closes the rows')
    if spec.ttl is not None and spec.ttl <= dt.timedelta(0):
        raise DeclarationError("ttl is longer than nothing", hint="ttl=timedelta(days=30)")
    if spec.update_columns and spec.compare_columns and (extra := set(spec.compare_columns) - set(spec.update_columns)):
        what = f"compare_columns holds `{min(extra)}`, which update_columns does not update"
        raise DeclarationError(what, hint="a difference in it could never be settled: add it or take it out")


def _check_columns(spec: TargetSpec, table: TableSpec) -> None:
    known = {column.name: column for column in table.columns}
    singular = {"keys": "key", "compare_columns": "compare column", "update_columns": "update column"}
    mapped = ("column_map", tuple(name for name, _ in spec.column_map), "column_map column")
    named = [(option, getattr(spec, option), word) for option, word in singular.items()]
    for option, chosen, word in [*named, mapped]:
        for name in chosen:
            if name not in known and name not in META_COLUMNS:
                hint = did_you_mean(name, known) or f"correct {option}"
                raise DeclarationError(f'{word} "{name}" is not among {", ".join(known)}', hint=hint)
    if spec.mode in _KEYED:
        for name in resolve_keys(spec)[0]:
            if name in known and known[name].nullable:
                what = f"key `{name}` of table `{table.ref}` may be NULL; keys must be NOT NULL"
                raise DeclarationError(what, hint="take `| None` away, or choose another key")
    if spec.mode == "scd2":
        reserved = {name.casefold() for name in (*SCD2_COLUMNS, *META_COLUMNS)}
        for name in known:
            if name.casefold() in reserved:
                hint = f'rename the column and map it: column_map={{"source_{name.lstrip("_")}": "{name}"}}'
                raise DeclarationError(f"column `{name}` of table `{table.ref}` is reserved in scd2", hint=hint)


def resolve_keys(spec: TargetSpec) -> tuple[tuple[str, ...], str, str | None]:
    """The merge keys of a target, where they come from, and a warning when that may surprise.

    In order: ``keys=``, ``__merge_keys__``, the first natural key, the columns marked ``pk()``. The warning is for the
    second and third when they differ from the primary key; the caller gives it as a ``UserWarning``.

    Example:
        >>> resolve_keys(TargetSpec(thing="s.t", mode="merge", keys=("id",)))
        (('id',), 'as declared', None)
    """
    if spec.keys:
        return spec.keys, "as declared", None
    if spec.table is None:
        return (), "none", None
    primary = spec.table.primary_key
    for keys, reason in ((spec.table.merge_keys, "__merge_keys__"), (spec.table.natural_key(), "natural_key()")):
        if keys:
            return keys, reason, _surprise(spec.table, keys, reason) if primary and set(keys) != set(primary) else None
    return (primary, "pk()", None) if primary else ((), "none", None)


def _surprise(table: TableSpec, keys: tuple[str, ...], reason: str) -> str:
    return (
        f"table `{table.ref}` merges on ({', '.join(keys)}) from {reason}, "
        f"which differs from its primary key ({', '.join(table.primary_key)}); give keys= to choose"
    )
