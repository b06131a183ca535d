"""Declaring a pipeline: a function or a query and keywords become a `PipelineSpec`."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ematix_nb.declare import functions, registry, values
from ematix_nb.declare.address import check_connection_name, check_pipeline_name, is_address, parse_address
from ematix_nb.declare.checks import read_checks
from ematix_nb.declare.fingerprint import connection_name
from ematix_nb.declare.normalizers import PRE_TRANSFORMS, check_timezone
from ematix_nb.declare.parameters import check_parameters, read_parameters
from ematix_nb.declare.spec import PipelineSpec, Policies, PreTransform, Query, TargetSpec
from ematix_nb.declare.targets import LOAD_OPTIONS, Target, check_target, resolve_keys, target, target_spec
from ematix_nb.declare.transforms import Transform, TransformRef
from ematix_nb.errors import DeclarationError, did_you_mean

__all__ = ["OPTIONS", "Target", "build_pipeline", "check_target", "override", "resolve_keys", "target"]

_POLICIES = ("on_drift", "on_duplicate_key", "on_null_key", "empty_source", "on_nul")
_ALIASES = {"incremental_column": "watermark_column", "continue_on_failure": "continue_on_target_failure"}
OPTIONS = (
    "target", "targets", "target_connection", "source_connection", "source_table", "name", "schedule", "timezone",
    "catch_up", *LOAD_OPTIONS, "ttl_seconds", "incremental", "watermark_column", "overlap", "late_rows",
    "transforms_pre", "transforms_post", "continue_on_failure_post", "continue_on_target_failure", *_POLICIES,
    "dedup_by", "allow_lossy", "max_bad_rows", "checks", "params", "partition_column", "partitions",
    "depends_on", "retries", "retry_backoff", "alerts",
    *_ALIASES,
)  # fmt: skip
"""Every keyword of ``@ematix.pipeline``."""
DEFAULT_PARTITIONS = 4
MAX_PARTITIONS = 64
MAX_RETRIES = 20
NO_ALERTS = "none"
"""In place of the channels: nobody is told."""
_INCREMENTAL = ("incremental", "watermark_column", "overlap", "late_rows")
_INNER = ("sql", "origin", "description")


def build_pipeline(function: Callable[..., Any] | None = None, **options: Any) -> PipelineSpec:
    """A checked declaration; nothing is registered and nothing is called.

    Args:
        function: The decorated function; None when ``sql`` or ``source_table`` says it all.
        options: The keywords of `OPTIONS`; and ``sql`` (the body of a cell), ``origin``, ``description``.

    Raises:
        DeclarationError: When a keyword is unknown or the whole does not fit together.

    Example:
        >>> spec = build_pipeline(sql="SELECT 1 AS id", name="ones", target="lake:ones")
        >>> spec.name, spec.targets[0].connection, spec.targets[0].thing, spec.targets[0].mode
        ('ones', 'lake', 'ones', 'append')
    """
    given = _known(options)
    where = place_of(function)
    try:
        return _build(function, given)
    except DeclarationError as error:
        if error.where or not where:
            raise
        raise DeclarationError(error.what, error.hint, where) from None


def _known(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that are given, under their own names."""
    found: dict[str, Any] = {}
    for name, value in options.items():
        if name not in OPTIONS and name not in _INNER:
            hint = did_you_mean(name, OPTIONS) or f"the options are {', '.join(OPTIONS)}"
            raise DeclarationError(f"unknown option `{name}` of a pipeline", hint=hint)
        official = _ALIASES.get(name, name)
        if value is None:
            continue
        if official in found and found[official] != value:
            raise DeclarationError(f"`{official}` is given twice: {found[official]!r} and {value!r}")
        found[official] = value
    if "incremental_column" in options and options["incremental_column"] is not None:
        found.setdefault("incremental", True)
    if "ttl_seconds" in found:
        if "ttl" in found:
            raise DeclarationError("`ttl` and `ttl_seconds` are both given", hint="give one of them")
        found["ttl"] = values.duration("ttl_seconds", found.pop("ttl_seconds"))
    return found


def place_of(function: Any) -> str:
    """File and line of a function, or its line in a cell; empty when it has no code."""
    code = getattr(function, "__code__", None)
    if code is None:
        return ""
    if registry.file_origin(code.co_filename) == registry.NOTEBOOK:
        return f"line {code.co_firstlineno} of the cell"
    return f"{code.co_filename}:{code.co_firstlineno}"


def _build(function: Any, given: dict[str, Any]) -> PipelineSpec:
    if function is not None:
        functions.check_function(function)
    name = _name(function, given)
    query, source = _query(function, given)
    description = given.get("description") or (inspect.getdoc(function) if function is not None else "") or ""
    spec = PipelineSpec(
        name=name,
        query=query,
        targets=_targets(given),
        params=_params(query, given),
        source_connection=source,
        policies=_policies(given),
        checks=read_checks(given.get("checks", ())),
        origin=given.get("origin") or _origin(function),
        line=_line(function),
        description=description,
        **_watermark(given),
        **_schedule(given),
        **_partitions(given),
        **_steps(given),
        **_dependencies(name, given),
        **_retries(given),
        **_alerts(given),
    )
    check_pipeline(spec)
    return spec


def _origin(function: Any) -> str:
    code = getattr(function, "__code__", None)
    return registry.caller_origin() if code is None else registry.code_origin(code)


def _line(function: Any) -> int:
    code = getattr(function, "__code__", None)
    if code is None or registry.file_origin(code.co_filename) == registry.NOTEBOOK:
        return 0
    return int(code.co_firstlineno)


def declared_at(spec: PipelineSpec) -> str:
    """A pipeline as the place of an error: its name, and file and line of its declaration where they are known.

    Example:
        >>> spec = build_pipeline(sql="SELECT 1 AS id", name="ones", target="lake:ones", origin="/etl/ones.py")
        >>> declared_at(spec)
        'pipeline `ones`, /etl/ones.py'
    """
    known = spec.origin and not spec.origin.startswith("<") and spec.origin != registry.NOTEBOOK
    line = f":{spec.line}" if spec.line else ""
    return f"pipeline `{spec.name}`, {spec.origin}{line}" if known else f"pipeline `{spec.name}`"


def _name(function: Any, given: Mapping[str, Any]) -> str:
    name = given.get("name") or getattr(function, "__name__", "")
    if not name:
        raise DeclarationError("a pipeline needs a name", hint='name="orders"')
    if name == "<lambda>":
        raise DeclarationError("a lambda has no name", hint='give the pipeline one: name="orders"')
    return check_pipeline_name(name)


def _query(function: Any, given: Mapping[str, Any]) -> tuple[Query, Any]:
    """Where the rows come from, and the source connection (None: the target's)."""
    source = (
        values.connection("source_connection", given["source_connection"]) if "source_connection" in given else None
    )
    sql, table = given.get("sql"), given.get("source_table")
    body = functions.body_of(function) if function is not None else functions.Body("empty")
    if table is not None and (sql is not None or body.kind in ("constant", "dynamic")):
        what = "both source_table and SQL are given"
        raise DeclarationError(what, hint="with source_table the function's body is `pass`; or take source_table away")
    if table is not None:
        return _table_query(values.text("source_table", table), source)
    if sql is not None:
        return Query(sql=_sql(sql)), source
    if body.kind == "constant":
        return Query(sql=_sql(body.sql)), source
    if body.kind == "empty":
        what = f"function `{function.__name__}` returns None" if function is not None else "the pipeline has no query"
        raise DeclarationError(what, hint='return SQL text or a frame, or give source_table="schema.table"')
    return Query(function=function, function_digest=functions.digest(function)), source


def _params(query: Query, given: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    """The values of the parameters; those of SQL that a function works out are looked for when it is called."""
    found = read_parameters(given.get("params", {}))
    if query.sql is not None:
        check_parameters(query.sql, [name for name, _ in found])
    elif found and query.source_table is not None:
        raise DeclarationError("params are values of a SELECT, and source_table reads a whole table")
    return found


def _table_query(table: str, source: Any) -> tuple[Query, Any]:
    if is_address(table):
        address = parse_address(table)
        if source is not None and connection_name(source) != address.connection:
            raise DeclarationError(f"source_table `{table}` names another connection than source_connection")
        table, source = address.thing, source or address.connection
    return Query(source_table=table), source


def _sql(text: object) -> str:
    if not isinstance(text, str):
        raise DeclarationError(f"the query is SQL text, got {type(text).__name__}")
    sql = functions.dedent_sql(text)
    if not sql.strip():
        raise DeclarationError("the query is empty", hint="write a SELECT")
    return sql


def _targets(given: Mapping[str, Any]) -> tuple[TargetSpec, ...]:
    one, several = given.get("target"), given.get("targets")
    if (one is None) == (several is None):
        what = "a pipeline has target= or targets=; " + ("neither is given" if one is None else "both are given")
        hint = 'write target="warehouse:analytics.orders"' if one is None else "take one of them away"
        raise DeclarationError(what, hint=hint)
    if several is None:
        return (target_spec(one, given, alone=True),)
    if isinstance(several, (str, type)) or not isinstance(several, Iterable) or not (listed := list(several)):
        raise DeclarationError("targets= is a list of at least one target", hint="targets=[Target(table=Orders), ...]")
    found = tuple(target_spec(item, given, alone=len(listed) == 1) for item in listed)
    places = [(connection_name(item.connection), _thing(item)) for item in found]
    for place in places:
        if places.count(place) > 1:
            raise DeclarationError(f"the target {place[0]}:{place[1]} is given twice")
    return found


def _thing(spec: TargetSpec) -> str:
    return spec.thing or str(spec.table.ref if spec.table is not None else "")


def _policies(given: Mapping[str, Any]) -> Policies:
    chosen: dict[str, Any] = {name: values.choice(name, given[name]) for name in _POLICIES if name in given}
    if "dedup_by" in given:
        chosen["dedup_by"] = values.text("dedup_by", given["dedup_by"])
    if "max_bad_rows" in given:
        chosen["max_bad_rows"] = values.count("max_bad_rows", given["max_bad_rows"])
    if given.get("allow_lossy"):
        chosen["allow_lossy"] = values.names("allow_lossy", given["allow_lossy"])
    return Policies(**chosen)


def _watermark_column(value: object) -> str | tuple[str, ...]:
    """One column as its name, whether it came alone or in a list; several as a tuple."""
    if isinstance(value, str):
        return values.text("watermark_column", value)
    if not isinstance(value, (list, tuple)):  # a set has no order
        message = f"watermark_column is a column, or a list of columns in their order, got {value!r}"
        raise DeclarationError(message, hint='watermark_column=["day", "seq"]')
    names = values.names("watermark_column", [name.strip() if isinstance(name, str) else name for name in value])
    return names if len(names) > 1 else names[0]


def _watermark(given: Mapping[str, Any]) -> dict[str, Any]:
    column = _watermark_column(given["watermark_column"]) if "watermark_column" in given else None
    incremental = values.flag("incremental", given.get("incremental", column is not None))
    if incremental and column is None:
        hint = 'watermark_column="updated_at": the column that grows with each change'
        raise DeclarationError("incremental=True needs watermark_column", hint=hint)
    overlap = values.overlap(given["overlap"]) if "overlap" in given else None
    if overlap is not None and not incremental:
        raise DeclarationError(
            "overlap is an option of incremental loads", hint="add incremental=True and watermark_column"
        )
    found = {"incremental": incremental, "watermark_column": column, "overlap": overlap}
    if "late_rows" in given:
        found["late_rows"] = values.choice("late_rows", given["late_rows"])
        if not incremental and found["late_rows"] != "overlap":
            what = "late_rows is an option of incremental loads"
            raise DeclarationError(what, hint="add incremental=True and watermark_column")
    return found


def _schedule(given: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if "schedule" in given:
        found["schedule"] = values.text("schedule", given["schedule"])
    if "timezone" in given:
        found["timezone"] = check_timezone(given["timezone"])
    if "catch_up" in given:
        found["catch_up"] = values.choice("catch_up", given["catch_up"])
    return found


def _partitions(given: Mapping[str, Any]) -> dict[str, Any]:
    if "partition_column" not in given:
        if "partitions" in given:
            raise DeclarationError("partitions needs partition_column", hint='partition_column="id"')
        return {}
    column = values.text("partition_column", given["partition_column"])
    count = given.get("partitions", DEFAULT_PARTITIONS)
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= MAX_PARTITIONS:
        raise DeclarationError(f"partitions is a whole number from 1 to {MAX_PARTITIONS}, got {count!r}")
    return {"partition_column": column, "partitions": count}


def _dependencies(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    if not given.get("depends_on"):
        return {}
    parents = values.names("depends_on", given["depends_on"], what="pipelines")
    for parent in parents:
        check_pipeline_name(parent)
    if name in parents:
        what = f"pipeline `{name}` depends on itself"
        raise DeclarationError(what, "depends_on names the pipelines that have to succeed before")
    return {"depends_on": parents}


def _retries(given: Mapping[str, Any]) -> dict[str, Any]:
    count = given.get("retries", 0)
    if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= MAX_RETRIES:
        raise DeclarationError(f"retries is a whole number from 0 to {MAX_RETRIES}, got {count!r}")
    if "retry_backoff" not in given:
        return {"retries": count}
    if "retries" not in given:
        raise DeclarationError("retry_backoff needs retries", hint="retries=3")
    return {"retries": count, "retry_backoff": values.duration("retry_backoff", given["retry_backoff"])}


def _alerts(given: Mapping[str, Any]) -> dict[str, Any]:
    if not given.get("alerts"):
        return {}
    channels = values.names("alerts", given["alerts"], what="channels")
    for channel in channels:
        check_connection_name(channel)
    if NO_ALERTS in channels and len(channels) > 1:
        raise DeclarationError(f"alerts names `{NO_ALERTS}` beside others", hint=f'alerts="{NO_ALERTS}" stands alone')
    return {"alerts": channels}


def _steps(given: Mapping[str, Any]) -> dict[str, Any]:
    flags = ("continue_on_failure_post", "continue_on_target_failure")
    found: dict[str, Any] = {name: values.flag(name, given[name]) for name in flags if name in given}
    found["transforms_pre"] = tuple(_pre(step) for step in _listed("transforms_pre", given))
    found["transforms_post"] = tuple(_post(step) for step in _listed("transforms_post", given))
    return found


def _listed(option: str, given: Mapping[str, Any]) -> list[Any]:
    value = given.get(option, ())
    if isinstance(value, (str, PreTransform, TransformRef)) or callable(value):
        return [value]
    if not isinstance(value, Iterable):
        raise DeclarationError(f"{option} is a list, got {type(value).__name__}")
    return list(value)


def _pre(step: Any) -> PreTransform:
    if isinstance(step, PreTransform):
        return step
    known = ", ".join(PRE_TRANSFORMS)
    hint = f'filter_where("{step}")' if isinstance(step, str) else f"it is made by one of {known}"
    raise DeclarationError(f"transforms_pre holds {step!r}, which is not a step before a load", hint=hint)


def _post(step: Any) -> Any:
    if isinstance(step, str):
        return functions.dedent_sql(values.text("transforms_post", step))
    if isinstance(step, TransformRef):
        return step
    if isinstance(step, Transform):
        return TransformRef(step.name)
    if callable(step) and not isinstance(step, type):
        return step
    hint = 'give SQL text, a function, or ematix.transform_ref("name")'
    raise DeclarationError(f"transforms_post holds {step!r}", hint=hint)


def check_pipeline(spec: PipelineSpec) -> None:
    """Refuse what does not fit between the pipeline and its targets.

    Raises:
        DeclarationError: Naming the option and what to write.
    """
    for item in spec.targets:
        check_target(item)
        if spec.incremental and item.mode == "truncate":
            what = "truncate empties the target, so an incremental read would lose the older rows"
            raise DeclarationError(what, hint='mode="merge" or "append", or take incremental away')
        if spec.incremental and item.handle_deletes:
            what = "handle_deletes needs all rows of the source, an incremental read has only the new ones"
            raise DeclarationError(what, hint="take incremental or handle_deletes away")


def override(spec: PipelineSpec, **options: Any) -> PipelineSpec:
    """A pipeline with some options replaced, checked like a new one; for ``.sync(keys=..., mode=...)``.

    Options of targets apply to every target.

    Raises:
        DeclarationError: When an option is unknown, or the whole does not fit together.
    """
    given = _known(options)
    for name in given:
        if name in ("target", "targets", "name", "source_table", "sql", "origin", "depends_on"):
            raise DeclarationError(f"`{name}` cannot be changed for one run", hint="declare another pipeline")
    changes: dict[str, Any] = {"targets": tuple(_override_target(item, given) for item in spec.targets)}
    if "source_connection" in given:
        changes["source_connection"] = values.connection("source_connection", given["source_connection"])
    if any(name in given for name in _INCREMENTAL):
        present = {name: getattr(spec, name) for name in _INCREMENTAL}
        if "watermark_column" in given and "incremental" not in given:
            present["incremental"] = True
        merged = {**present, **{name: given[name] for name in present if name in given}}
        changes |= _watermark({name: value for name, value in merged.items() if value is not None})
    policies = {found.name: getattr(spec.policies, found.name) for found in dataclasses.fields(Policies)}
    changes["policies"] = _policies({**{k: v for k, v in policies.items() if v not in (None, ())}, **given})
    changes |= _schedule(given)
    if "retries" in given or "retry_backoff" in given:
        present = {"retries": spec.retries, "retry_backoff": spec.retry_backoff}
        changes |= _retries({name: value for name, value in {**present, **given}.items() if value is not None})
    if "params" in given:
        changes["params"] = _params(
            spec.query, {"params": {**dict(spec.params), **dict(read_parameters(given["params"]))}}
        )
    if "checks" in given:
        changes["checks"] = read_checks(given["checks"])
    changes |= {name: value for name, value in _steps(given).items() if name in given}
    changed = dataclasses.replace(spec, **changes)
    check_pipeline(changed)
    return changed


def _override_target(item: TargetSpec, given: Mapping[str, Any]) -> TargetSpec:
    options = {name: getattr(item, name) for name in LOAD_OPTIONS}
    options["column_map"] = dict(item.column_map) or None
    changed = {**options, **{name: given[name] for name in LOAD_OPTIONS if name in given}}
    again = target_spec(
        Target(table=item.table if item.table is not None else item.thing, connection=item.connection, **changed),
        {},
        alone=True,
    )
    connection = (
        values.connection("target_connection", given["target_connection"]) if "target_connection" in given else None
    )
    return dataclasses.replace(
        again, thing=item.thing, write_options=item.write_options, connection=connection or item.connection
    )
