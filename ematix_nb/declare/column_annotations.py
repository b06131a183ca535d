"""The meaning of a column's annotation, read without running any code of it.

With ``from __future__ import annotations`` every annotation is a text. It is
parsed, its names are looked up in the user's module and functions, and the few
forms that an annotation of a table needs are put together here; nothing is
evaluated, so a text that calls something is refused.
"""

from __future__ import annotations

import ast
import datetime as dt
import decimal
import sys
import types
import typing
from dataclasses import dataclass
from typing import Any

from ematix_nb.declare import markers, normalizers
from ematix_nb.declare.spec import Column, Normalizer
from ematix_nb.declare.types import TYPES, ColumnType, complete, unknown_type
from ematix_nb.errors import DeclarationError

if typing.TYPE_CHECKING:
    from collections.abc import Mapping

_MARKERS = {"pk": markers.pk, "natural_key": markers.natural_key, "nullable": markers.nullable}
_CALLABLE: tuple[Any, ...] = (
    *_MARKERS.values(),
    *normalizers.NORMALIZERS.values(),
    dt.date,
    dt.datetime,
    dt.time,
    decimal.Decimal,
)
"""All that an annotation given as text may call."""
_PLAIN = (str, int, float, bool, bytes, type(None), decimal.Decimal, dt.date, dt.time, tuple)
_OURS: dict[str, Any] = {
    **TYPES,
    **{name: step for name, step in normalizers.NORMALIZERS.items() if name != "round"},
    **_MARKERS,
    "Annotated": typing.Annotated,
    "Optional": typing.Optional,
    "Union": typing.Union,
}
_PACKAGE = __name__.partition(".")[0]


def visible_names(cls: type) -> dict[str, Any]:
    """What a class body could see: our types, its module, and the functions around it, innermost last."""
    names = dict(_OURS)
    module = sys.modules.get(cls.__module__)
    names.update(vars(module) if module is not None else {})
    frame = sys._getframe(1)  # noqa: SLF001 - the only way to the names of the calling function
    while frame.f_globals.get("__name__", "").partition(".")[0] == _PACKAGE:
        if frame.f_back is None:
            return names
        frame = frame.f_back
    outer = []
    caller: types.FrameType | None = frame
    while caller is not None and caller.f_globals is frame.f_globals:
        outer.append(caller.f_locals)
        caller = caller.f_back
    names.update(frame.f_globals)
    for found in reversed(outer):
        names.update(found)
    return names


@dataclass(frozen=True)
class _Resolver:
    """Turns the syntax tree of one annotation into the object that it describes."""

    names: Mapping[str, Any]
    text: str

    def refuse(self, node: ast.AST) -> DeclarationError:
        piece = ast.unparse(node)
        hint = "an annotation is a type, `| None`, and Annotated[type, marker(), ...]"
        return DeclarationError(f"annotation `{self.text}`: `{piece}` is not allowed and was not run", hint=hint)

    def resolve(self, node: ast.expr) -> Any:
        match node:
            case ast.Constant(value=value):
                return value
            case ast.Name(id=name):
                return self._name(name)
            case ast.Attribute():
                return self._attribute(node)
            case ast.Tuple(elts=items) | ast.List(elts=items):
                return tuple(self.resolve(item) for item in items)
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
                return -number
            case ast.BinOp(left=left, op=ast.BitOr(), right=right):
                return _Union((self._side(left), self._side(right)))
            case ast.Subscript():
                return self._subscript(node)
            case ast.Call():
                return self._call(node)
        raise self.refuse(node)

    def _name(self, name: str) -> Any:
        if name in self.names:
            return self.names[name]
        raise unknown_type(name)

    def _attribute(self, node: ast.Attribute) -> Any:
        owner = self.resolve(node.value)
        if isinstance(owner, types.ModuleType) and node.attr in vars(owner):
            return vars(owner)[node.attr]
        if isinstance(owner, types.ModuleType):
            raise unknown_type(node.attr)
        raise self.refuse(node)

    def _side(self, node: ast.expr) -> Any:
        value = self.resolve(node)
        return self.resolve(ast.parse(value, mode="eval").body) if isinstance(value, str) else value

    def _subscript(self, node: ast.Subscript) -> Any:
        owner = self.resolve(node.value)
        if owner is typing.Annotated:
            if not isinstance(node.slice, ast.Tuple) or len(node.slice.elts) < 2:  # noqa: PLR2004 - the type and its metadata
                raise self.refuse(node)
            first, *rest = node.slice.elts
            return _Annotated(self._side(first), tuple(self.resolve(item) for item in rest))
        if owner is typing.Optional:
            return _Union((self._side(node.slice), None))
        if owner is typing.Union:
            items = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
            return _Union(tuple(self._side(item) for item in items))
        if isinstance(owner, type) and issubclass(owner, ColumnType) and hasattr(owner, "__class_getitem__"):
            return owner[self.resolve(node.slice)]  # type: ignore[index]
        raise self.refuse(node)

    def _call(self, node: ast.Call) -> Any:
        function = self.resolve(node.func)
        if not any(function is known for known in _CALLABLE):
            raise self.refuse(node)
        arguments = [self._plain(item) for item in node.args]
        keywords = {item.arg: self._plain(item.value) for item in node.keywords if item.arg is not None}
        if len(keywords) != len(node.keywords):
            raise self.refuse(node)
        try:
            return function(*arguments, **keywords)
        except (TypeError, ArithmeticError) as error:
            raise DeclarationError(f"annotation `{self.text}`: {error}") from None

    def _plain(self, node: ast.expr) -> Any:
        value = self.resolve(node)
        if not isinstance(value, _PLAIN):
            raise self.refuse(node)
        return value


@dataclass(frozen=True)
class _Union:
    members: tuple[Any, ...]


@dataclass(frozen=True)
class _Annotated:
    base: Any
    metadata: tuple[Any, ...]


@dataclass
class _Found:
    """What an annotation says."""

    types: list[Any]
    nullable: bool = False
    metadata: tuple[Any, ...] = ()


def from_text(text: str, names: Mapping[str, Any]) -> Any:
    """The object that an annotation given as text describes; no code of it is run.

    Raises:
        DeclarationError: When it holds more than types, unions, ``Annotated`` and our markers.
    """
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except SyntaxError as error:
        raise DeclarationError(f"annotation `{text}` is not valid Python: {error.msg}") from None
    return _Resolver(names, text).resolve(tree.body)


def _walk(annotation: Any, names: Mapping[str, Any], found: _Found) -> None:
    if isinstance(annotation, typing.ForwardRef):
        annotation = annotation.__forward_arg__
    while isinstance(annotation, str):  # a text in quotes of its own is resolved twice
        annotation = from_text(annotation, names)
    if annotation is None or annotation is type(None):
        found.nullable = True
    elif isinstance(annotation, (_Union, types.UnionType)) or typing.get_origin(annotation) is typing.Union:
        members = annotation.members if isinstance(annotation, _Union) else typing.get_args(annotation)
        for member in members:
            _walk(member, names, found)
    elif isinstance(annotation, _Annotated):
        _walk(annotation.base, names, found)
        found.metadata += annotation.metadata
    elif typing.get_origin(annotation) is typing.Annotated:
        _walk(annotation.__origin__, names, found)
        found.metadata += tuple(annotation.__metadata__)
    else:
        found.types.append(annotation)


def column(name: str, annotation: Any, names: Mapping[str, Any]) -> Column:
    """The column that an annotation declares.

    Raises:
        DeclarationError: Naming the column, when the annotation is not one of a table.
    """
    try:
        return _walked(name, annotation, names)
    except DeclarationError as error:
        raise DeclarationError(f"column `{name}`: {error.what}", error.hint, error.where) from None


def _walked(name: str, annotation: Any, names: Mapping[str, Any]) -> Column:
    found = _Found([])
    _walk(annotation, names, found)
    if len(found.types) != 1:
        what = "no type" if not found.types else "more than one type"
        raise DeclarationError(f"the annotation has {what}", hint="a column is one type, or `type | None`")
    return _column(name, complete(found.types[0]), found)


def _refuse_uncalled(mark: Any) -> None:
    raise DeclarationError(f"`{mark.__name__}` is not called", hint=f"write `{mark.__name__}()`")


def _column(name: str, kind: Any, found: _Found) -> Column:
    nullable, primary, natural, steps = found.nullable, False, None, []
    for mark in found.metadata:
        match mark:
            case markers.PrimaryKey():
                primary = True
            case markers.NaturalKey(group=group):
                natural = group
            case markers.Nullable():
                nullable = True
            case Normalizer():
                steps.append(mark)
            case _ if any(mark is known for known in _CALLABLE):
                _refuse_uncalled(mark)
            case _:
                pass  # metadata of another library: PEP 593 says to leave it alone
    if primary and nullable:
        raise DeclarationError("a primary key cannot be NULL", hint="take `| None` or `pk()` away")
    if any(step.name == "derive" for step in steps[1:]):
        raise DeclarationError("`derive` is the first step, before every other")
    return Column(name, kind, nullable, primary, natural, tuple(steps))
