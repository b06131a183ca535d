"""Declared tables: classes with annotations as text or objects, and cells."""

from __future__ import annotations

import dataclasses
import textwrap
from typing import TYPE_CHECKING, Annotated, Any

import pytest

from ematix_nb import types as t
from ematix_nb.declare import registry
from ematix_nb.declare.data_types import DataType
from ematix_nb.declare.markers import natural_key, nullable, pk
from ematix_nb.declare.spec import Column, Normalizer, TableRef
from ematix_nb.declare.tables import parse_table_cell, table
from ematix_nb.declare.types import data_type_from_text
from ematix_nb.errors import DeclarationError
from ematix_nb.normalize import empty_to_null, lower, parse_timestamp, trim
from ematix_nb.types import BigInt, String, Text, TimestampTZ

if TYPE_CHECKING:
    from pathlib import Path

HEADER = """
from typing import Annotated, Optional, Union
from ematix_nb.declare.markers import pk, natural_key, nullable
from ematix_nb.declare.tables import table
from ematix_nb import types as t
from ematix_nb.normalize import *
from ematix_nb.types import *
"""


def declare(body: str, *, future: bool, before: str = "") -> Any:
    """A class `X` with some lines, declared in a module of its own."""
    text = ("from __future__ import annotations\n" if future else "") + HEADER + before
    text += "\n@table(schema='s')\nclass X:\n" + textwrap.indent(textwrap.dedent(body), "    ")
    names: dict[str, Any] = {"__name__": "users_module"}
    exec(compile(text, "users_module.py", "exec", dont_inherit=True), names)
    return names["X"].__table_spec__


@pytest.mark.parametrize("future", [True, False], ids=["text", "objects"])
def test_the_documented_table(future: bool) -> None:  # noqa: FBT001
    spec = declare(
        """
        customer_id: Annotated[BigInt, pk()]
        email: Annotated[String[256] | None, lower(), trim(), empty_to_null()]
        name: Text | None
        updated_at: Annotated[TimestampTZ, parse_timestamp()]
        amount: "Numeric[10, 2]"
        code: Annotated[t.SmallInt, natural_key("code"), nullable()]
        tags: Optional[Array[Text]]
        either: Union[Text, None]
        """,
        future=future,
    )
    assert spec.ref == TableRef("s", "x")
    assert [(column.name, str(column.type), column.nullable) for column in spec.columns] == [
        ("customer_id", "bigint", False),
        ("email", "string(256)", True),
        ("name", "text", True),
        ("updated_at", "timestamptz", False),
        ("amount", "numeric(10,2)", False),
        ("code", "smallint", True),
        ("tags", "array(text)", True),
        ("either", "text", True),
    ]
    assert spec.primary_key == ("customer_id",)
    assert spec.natural_key() == ("code",)
    assert [step.name for step in spec.columns[1].normalizers] == ["lower", "trim", "empty_to_null"]


def test_names_of_the_function_around_are_seen() -> None:
    Short = String[8]  # type: ignore[type-arg, valid-type]  # noqa: N806
    key = "group"

    @table
    class Thing:
        one: Short | None
        two: Annotated[Text, natural_key(key)]

    columns = Thing.__table_spec__.columns  # type: ignore[attr-defined]
    assert columns == (
        Column("one", DataType("string", length=8)),
        Column("two", DataType("text"), nullable=False, natural_key="group"),
    )


def test_class_name_dunders_and_bases() -> None:
    class Audit:
        created_at: TimestampTZ

    @table(schema="dim", name="people")
    class HTTPPeople(Audit):
        __merge_keys__ = ("email",)
        __unique_constraints__ = (("email", "id"),)
        id: Annotated[BigInt, pk()]
        email: Text

    spec = HTTPPeople.__table_spec__  # type: ignore[attr-defined]
    assert (spec.ref, spec.merge_keys, spec.unique_constraints) == (
        TableRef("dim", "people"),
        ("email",),
        (("email", "id"),),
    )
    assert [column.name for column in spec.columns] == ["created_at", "id", "email"]
    assert registry.get_table("dim.people") is spec


REFUSED = [
    ("x: Strng", "unknown type `Strng`", "did you mean `String`"),
    ("x: t.Strng", "unknown type `Strng`", "did you mean `String`"),
    ("x: str", "`str` is not a type of columns", "write `Text`"),
    ("x: String", "`String` needs a length", r"String\[256\]"),
    ("x: String[0]", r"String\[0\]: the length", "Text"),
    ("x: Numeric[4, 10]", r"Numeric\[4, 10\]: the scale is larger", r"Numeric\[14, 10\]"),
    ("x: Text | BigInt", "more than one type", ""),
    ("x: None", "no type", ""),
    ("x: Annotated[Text, lower]", "`lower` is not called", r"lower\(\)"),
    ("x: Annotated[Text | None, pk()]", "primary key cannot be NULL", ""),
    ("x: Annotated[Text, lower(), derive('y')]", "`derive` is the first step", ""),
    ("X: Text\nx: Text", "differ in case", "rename"),
    ("__merge_keys__ = ('idd',)\nid: Text", "`__merge_keys__` of table `s.x` names `idd`", "did you mean `id`"),
    ("y = 1", "`y` of `X` has no type", "write `y: Text`"),
]


@pytest.mark.parametrize(("body", "what", "hint"), REFUSED)
def test_refused(body: str, what: str, hint: str) -> None:
    with pytest.raises(DeclarationError, match=what) as caught:
        declare(body, future=True)
    assert caught.match(f"{what}[^§]*{hint}")


@pytest.mark.parametrize(
    "annotation",
    [
        "__import__('os').system('touch ran')",
        "open('ran', 'w')",
        "(lambda: Text)()",
        "Text if True else BigInt",
        "[Text for _ in range(3)][0]",
        "Annotated[Text, replace(open('ran', 'w'), '')]",
        "Text.__class__.__base__",
        "table.__globals__['os']",
        "{}",
        "Boom[1]",
    ],
)
def test_code_in_an_annotation_is_not_run(annotation: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = """
class Boom:
    def __class_getitem__(cls, item):
        raise RuntimeError("was run")
"""
    with pytest.raises(DeclarationError, match=r"not allowed and was not run|unknown type"):
        declare(f"x: {annotation}", future=True, before=before)
    assert list(tmp_path.iterdir()) == []


def test_other_kinds_of_classes() -> None:
    @dataclasses.dataclass
    class Made:
        x: int

    with pytest.raises(DeclarationError, match="`Made` is a dataclass"):
        table(Made)
    with pytest.raises(DeclarationError, match="is a type of columns, not something to call"):
        Text()


def test_cell() -> None:
    spec = parse_table_cell(
        '"My Schema".orders',
        """
        -- the orders
        order_id  bigint pk,
        "odd ""name" varchar(20) null lower trim   -- cleaned
        amount    numeric(10, 2) not null round(1)
        seen      timestamp with time zone null parse_timestamp(formats=['YYYY-MM-DD', 'MM/DD/YYYY'])
        tags      integer[] natural_key(tags)
        note      string(3) null replace('--', ')')
        """,
    )
    assert spec.ref == TableRef("My Schema", "orders")
    assert [(column.name, str(column.type), column.nullable) for column in spec.columns] == [
        ("order_id", "bigint", False),
        ('odd "name', "string(20)", True),
        ("amount", "numeric(10,2)", False),
        ("seen", "timestamptz", True),
        ("tags", "array(integer)", False),
        ("note", "string(3)", True),
    ]
    assert spec.primary_key == ("order_id",)
    assert spec.columns[1].normalizers == (Normalizer("lower"), Normalizer("trim"))
    assert spec.columns[3].normalizers == (parse_timestamp(formats=["YYYY-MM-DD", "MM/DD/YYYY"]),)
    assert spec.columns[4].natural_key == "tags"
    assert spec.columns[5].normalizers == (Normalizer("replace", ("--", ")")),)


def test_cell_and_class_are_equal() -> None:
    @table(schema="s")
    class Orders:
        order_id: Annotated[BigInt, pk()]
        email: Annotated[String[256] | None, lower(), trim(), empty_to_null()]  # type: ignore[type-arg, valid-type]
        note: Annotated[t.Text, nullable()]

    written = Orders.__table_spec__  # type: ignore[attr-defined]
    assert (
        parse_table_cell(
            "s.orders", "order_id bigint pk\nemail string(256) null lower trim empty_to_null\nnote text null"
        )
        == written
    )


@pytest.mark.parametrize(
    ("body", "what"),
    [
        ("", "has no columns"),
        ("id", "column `id` has no type"),
        ("id bigin", r"unknown type `bigin`.*\(line 1\)\nhint: did you mean `bigint`"),
        ("id bigint\nx text pkk", r"column `x`: `pkk` is not understood \(line 2\)\nhint: did you mean `pk`"),
        ("id bigint pk null", "a primary key cannot be NULL"),
        ("x string(0)", r"String\[0\]"),
        ("x numeric(4,10)", "the scale is larger"),
        ("x numeric(4", "bracket is not closed"),
        ("x text replace('a'", "arguments are not understood"),
        ("x text replace('a')", "`replace`"),
        ("x text replace(__import__('os'), 'b')", "`replace`: malformed"),
        ("1x text", "does not begin with the name of a column"),
    ],
)
def test_cell_refused(body: str, what: str) -> None:
    with pytest.raises(DeclarationError, match=what):
        parse_table_cell("s.t", body)


@pytest.mark.parametrize(
    "text",
    ["bigint", "string(5)", "numeric", "numeric(38,10)", "array(array(text))", "map(text, integer)", "timestamp(9)",
     "struct(a integer, b array(text))", "ubigint", "interval", "bytes"],
)  # fmt: skip
def test_types_as_text_and_back(text: str) -> None:
    assert str(data_type_from_text(text)) == text


@pytest.mark.parametrize("text", ["", "textt", "bigint(3)", "text x", "array", "numeric(a)", "string(1,2)", "null"])
def test_no_types(text: str) -> None:
    with pytest.raises(DeclarationError):
        data_type_from_text(text)


def test_every_type_is_public_and_has_its_kind() -> None:
    kinds = {name: getattr(t, name).data_type.kind for name in t.__all__}
    assert kinds["TimestampTZ"] == "timestamptz"
    assert kinds["Bytes"] == "bytes"
    assert len(set(kinds.values())) == len(kinds) == 24


def test_steps_are_functions_of_the_face() -> None:
    assert (trim(), lower(), empty_to_null()) == (Normalizer("trim"), Normalizer("lower"), Normalizer("empty_to_null"))
