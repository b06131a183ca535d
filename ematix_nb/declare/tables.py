"""Declared tables: the `table` decorator, and the body of a ``%%flow table`` cell."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
from collections.abc import Callable, Iterable
from typing import Any, TypeVar, overload

from ematix_nb.declare import column_annotations, registry
from ematix_nb.declare.address import parse_table_name, snake_case
from ematix_nb.declare.normalizers import NORMALIZERS
from ematix_nb.declare.spec import Column, Normalizer, TableRef, TableSpec
from ematix_nb.declare.types import parse_type
from ematix_nb.errors import DeclarationError, did_you_mean

ClassT = TypeVar("ClassT", bound=type)
SPEC = "__table_spec__"


@overload
def table(schema: ClassT) -> ClassT: ...
@overload
def table(schema: str | None = None, name: str | None = None) -> Callable[[ClassT], ClassT]: ...
def table(schema: str | ClassT | None = None, name: str | None = None) -> ClassT | Callable[[ClassT], ClassT]:
    """Declare a target table by a class: one annotated name a column.

    The class is returned as it is, with its `TableSpec` in ``__table_spec__``, and registered.

    Args:
        schema: Where the table lies; without it the connection's default.
        name: The table's name; without it the class name in snake case.

    Raises:
        DeclarationError: When the class declares no columns, or one wrongly.

    Example:
        >>> from typing import Annotated
        >>> from ematix_nb.declare.markers import pk
        >>> from ematix_nb.declare.types import BigInt, Text
        >>> with registry.scratch():
        ...
        ...     @table(schema="analytics")
        ...     class CustomerDim:
        ...         customer_id: Annotated[BigInt, pk()]
        ...         name: Text | None
        >>> str(CustomerDim.__table_spec__.ref), CustomerDim.__table_spec__.primary_key
        ('analytics.customer_dim', ('customer_id',))
    """
    if isinstance(schema, type):
        return _declare(schema, None, None)

    def decorate(cls: ClassT) -> ClassT:
        return _declare(cls, schema, name)

    return decorate


def _declare(cls: ClassT, schema: str | None, name: str | None) -> ClassT:
    _check_class(cls)
    _check_attributes(cls)
    spec = make_table(
        TableRef(schema, name or snake_case(cls.__name__)),
        [
            column_annotations.column(found, annotation, column_annotations.visible_names(cls))
            for found, annotation in _annotated(cls)
        ],
        merge_keys=_names(cls, "__merge_keys__"),
        unique_constraints=_constraints(cls),
    )
    setattr(cls, SPEC, spec)
    registry.register_table(spec, origin=registry.caller_origin())
    return cls


def _check_class(cls: Any) -> None:
    if not isinstance(cls, type):
        raise DeclarationError(f"@table decorates a class, got {type(cls).__name__}")
    for made, kind in (
        (dataclasses.is_dataclass(cls), "a dataclass"),
        (hasattr(cls, "__attrs_attrs__"), "an attrs class"),
        (hasattr(cls, "model_fields") or hasattr(cls, "__pydantic_fields__"), "a pydantic model"),
    ):
        if made:
            what = f"@table: `{cls.__name__}` is {kind}; a table is a plain class"
            raise DeclarationError(what, hint="take the other decorator or base class away")


def _check_attributes(cls: type) -> None:
    """Refuse what looks like a column and is none: ``a = Text`` has no type, in ``a: Text = "x"`` the value is lost."""
    annotated = dict(_annotated(cls))
    for name, value in vars(cls).items():
        if name.startswith("_") or hasattr(type(value), "__get__"):
            continue
        if name in annotated:
            what = f"column `{name}` of `{cls.__name__}` has the value {str(value)[:40]!r}, which would never be used"
            raise DeclarationError(what, hint=f"take it away; Annotated[..., default({str(value)[:40]!r})] fills NULLs")
        if name not in inspect.get_annotations(cls):
            what = f"`{name}` of `{cls.__name__}` has no type"
            raise DeclarationError(what, hint=f"write `{name}: Text`; what is no column begins with `_`")


def _annotated(cls: type) -> list[tuple[str, Any]]:
    """Names and annotations of the columns, those of base classes first."""
    found: dict[str, Any] = {}
    for base in reversed(cls.__mro__[:-1]):
        found.update(inspect.get_annotations(base))
    return [
        (name, annotation)
        for name, annotation in found.items()
        if not (name.startswith("__") and name.endswith("__")) and "ClassVar" not in str(annotation)
    ]


def _names(cls: type, attribute: str) -> tuple[str, ...]:
    value = getattr(cls, attribute, ())
    names = (value,) if isinstance(value, str) else tuple(value) if isinstance(value, Iterable) else (value,)
    if not all(isinstance(name, str) for name in names):
        raise DeclarationError(f"`{attribute}` of `{cls.__name__}` is a tuple of column names, got {value!r}")
    return names


def _constraints(cls: type) -> tuple[tuple[str, ...], ...]:
    value = getattr(cls, "__unique_constraints__", ())
    if isinstance(value, (tuple, list)) and value and all(isinstance(name, str) for name in value):
        value = (value,)
    groups = tuple((group,) if isinstance(group, str) else tuple(group) for group in value)
    if not all(group and all(isinstance(name, str) for name in group) for group in groups):
        raise DeclarationError(f"`__unique_constraints__` of `{cls.__name__}` is a tuple of tuples of column names")
    return groups


def make_table(
    ref: TableRef,
    columns: Iterable[Column],
    merge_keys: tuple[str, ...] = (),
    unique_constraints: tuple[tuple[str, ...], ...] = (),
) -> TableSpec:
    """A checked `TableSpec`.

    Raises:
        DeclarationError: When there are no columns, two of one name (but for case), or keys of unknown columns.
    """
    spec = TableSpec(ref, tuple(columns), merge_keys, unique_constraints)
    if not spec.columns:
        raise DeclarationError(f"table `{ref}` has no columns", hint="write one annotated name a column: `id: BigInt`")
    seen: dict[str, str] = {}
    for column in spec.columns:
        other = seen.setdefault(column.name.casefold(), column.name)
        if other is not column.name or sum(column.name == one.name for one in spec.columns) > 1:
            what = f"table `{ref}` has the columns `{other}` and `{column.name}`"
            raise DeclarationError(f"{what}, which differ in case at most", hint="rename one of them")
    known = [column.name for column in spec.columns]
    for kind, names in (
        ("__merge_keys__", merge_keys),
        *(("__unique_constraints__", one) for one in unique_constraints),
    ):
        for name in names:
            if name not in known:
                hint = did_you_mean(name, known) or f"the columns are {', '.join(known)}"
                raise DeclarationError(f"`{kind}` of table `{ref}` names `{name}`, which is no column of it", hint=hint)
    return spec


def spec_of(value: Any) -> TableSpec | None:
    """The `TableSpec` of a declared class, or the spec itself; None for anything else."""
    found = value if isinstance(value, TableSpec) else getattr(value, SPEC, None)
    return found if isinstance(found, TableSpec) else None


_NAME = re.compile(r'\s*(?:"(?P<quoted>(?:[^"]|"")+)"|(?P<plain>[^\W\d][\w$]*))(?=\s)')
_COMMENT = re.compile(r"""(?P<kept>'(?:[^']|'')*'|"(?:[^"]|"")*")|--.*""")


def parse_table_cell(name: str, body: str, *, origin: str = "") -> TableSpec:
    r"""Declare a table by text, one column a line, and register it.

    A line is a name (in double quotes when it is an odd one), a type and words:
    ``pk``, ``null``, ``not null``, ``natural_key``, ``natural_key(group)`` or a normalizer,
    with arguments as in Python: ``lower trim replace('a', 'b')``.
    A column is NOT NULL unless it says ``null``. ``--`` begins a comment, a comma may end a line.

    Args:
        name: ``table`` or ``schema.table``.
        body: The lines.
        origin: The file or notebook; found out when empty.

    Raises:
        DeclarationError: With the line, when one is not understood.

    Example:
        >>> with registry.scratch():
        ...     spec = parse_table_cell("analytics.orders", "order_id bigint pk\nemail string(256) null lower trim")
        >>> [column.nullable for column in spec.columns]
        [False, True]
    """
    columns = []
    for number, line in enumerate(body.splitlines(), start=1):
        text = _COMMENT.sub(lambda found: found["kept"] or "", line).strip().removesuffix(",")
        if not text:
            continue
        try:
            columns.append(_cell_column(text))
        except DeclarationError as error:
            raise DeclarationError(error.what, error.hint, f"line {number}") from None
    spec = make_table(parse_table_name(name), columns)
    registry.register_table(spec, origin=origin or registry.caller_origin())
    return spec


def _cell_column(line: str) -> Column:
    match = _NAME.match(line + " ")
    if match is None:
        raise DeclarationError(f"`{line}` does not begin with the name of a column", hint="order_id bigint pk")
    name = match["plain"] or match["quoted"].replace('""', '"')
    if not line[match.end() :].strip():
        raise DeclarationError(f"column `{name}` has no type", hint=f"{name} bigint")
    kind, rest = parse_type(line[match.end() :])
    options: dict[str, Any] = {"nullable": False}
    steps: list[Normalizer] = []
    try:
        for word, arguments in _words(rest):
            _apply_word(word, arguments, options, steps)
    except DeclarationError as error:
        raise DeclarationError(f"column `{name}`: {error.what}", error.hint) from None
    if options["nullable"] and options.get("primary_key"):
        raise DeclarationError(f"column `{name}`: a primary key cannot be NULL", hint="take `null` or `pk` away")
    if any(step.name == "derive" for step in steps[1:]):
        raise DeclarationError(f"column `{name}`: `derive` is the first step, before every other")
    return Column(name, kind, normalizers=tuple(steps), **options)


def _words(rest: str) -> list[tuple[str, ast.Call | None]]:
    """The words behind a type, each with its call when it has brackets."""
    found: list[tuple[str, ast.Call | None]] = []
    rest = re.sub(r"\bnot\s+null\b", "not_null", rest, count=1, flags=re.IGNORECASE)
    rest = re.sub(r"\bprimary\s+key\b", "pk", rest, count=1, flags=re.IGNORECASE)
    while rest := rest.strip():
        match = re.match(r"[A-Za-z_]+", rest)
        if match is None:
            raise DeclarationError(f"`{rest}` is not understood", hint=f"words are {', '.join(_KNOWN)}")
        if not rest[match.end() :].startswith("("):
            found.append((match[0], None))
            rest = rest[match.end() :]
            continue
        call, rest = _call(rest)
        found.append((match[0], call))
    return found


def _call(text: str) -> tuple[ast.Call, str]:
    """The shortest beginning of a text that is a call, and what follows it."""
    for end in (found.end() for found in re.finditer(r"\)", text)):
        try:
            node = ast.parse(text[:end], mode="eval").body
        except SyntaxError:
            continue
        if isinstance(node, ast.Call):
            return node, text[end:]
    raise DeclarationError(
        f"`{text}`: the arguments are not understood", hint="write them as in Python: replace('a', 'b')"
    )


_KNOWN = ("pk", "null", "not null", "natural_key", *NORMALIZERS)


def _apply_word(word: str, call: ast.Call | None, options: dict[str, Any], steps: list[Normalizer]) -> None:
    lowered = word.lower()
    if lowered in ("null", "nullable"):
        options["nullable"] = True
    elif lowered == "not_null":
        options["nullable"] = False
    elif lowered == "pk":
        options["primary_key"] = True
    elif lowered == "natural_key":
        options["natural_key"] = _group(call)
    elif lowered in NORMALIZERS:
        steps.append(_step(lowered, call))
    else:
        hint = did_you_mean(lowered, _KNOWN) or f"words are {', '.join(_KNOWN)}"
        raise DeclarationError(f"`{word}` is not understood", hint=hint)


def _group(call: ast.Call | None) -> str:
    if call is None or not call.args:
        return ""
    first = call.args[0]
    return first.id if isinstance(first, ast.Name) else str(getattr(first, "value", ""))


def _step(name: str, call: ast.Call | None) -> Normalizer:
    try:
        arguments = [ast.literal_eval(item) for item in call.args] if call else []
        keywords = {str(item.arg): ast.literal_eval(item.value) for item in call.keywords} if call else {}
        return NORMALIZERS[name](*arguments, **keywords)
    except (ValueError, TypeError) as error:
        if isinstance(error, DeclarationError):
            raise
        raise DeclarationError(f"`{name}`: {error}", hint="arguments are plain values, as in Python") from None
