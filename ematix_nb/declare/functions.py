"""What a pipeline's function says before it is called: its arity, a constant query, and a stable digest."""

from __future__ import annotations

import ast
import dis
import hashlib
import inspect
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ematix_nb.errors import DeclarationError
from ematix_nb.words import counted

if TYPE_CHECKING:
    from collections.abc import Callable

_MAX_ARITY = 2
_FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


@dataclass(frozen=True)
class Body:
    """What is known of a function's result from its source."""

    kind: str
    """``constant``, ``empty`` (nothing is returned), ``open`` (the body is ``...``), ``dynamic`` or ``unknown``."""
    sql: str = ""
    """The text, when it is constant."""


def dedent_sql(text: str) -> str:
    r"""A query without its common margin and the empty lines around it; line ends are ``\n``.

    Example:
        >>> dedent_sql("\n    SELECT a\n      FROM t\n    ")
        'SELECT a\n  FROM t'
    """
    return textwrap.dedent(text.replace("\r\n", "\n")).strip("\n").rstrip()


def check_function(function: Any) -> None:
    """Refuse what cannot be a pipeline's function: a class, a generator, a method, three arguments.

    Raises:
        DeclarationError: Saying what it is.
    """
    name = getattr(function, "__name__", repr(function))
    if isinstance(function, type):
        raise DeclarationError(f"`{name}` is a class", hint="decorate a function that returns SQL")
    if isinstance(function, (staticmethod, classmethod)) or not inspect.isroutine(function):
        raise DeclarationError(
            f"{type(function).__name__} is not a function", hint="decorate a function that returns SQL"
        )
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        hint = "return SQL text, a frame or a record-batch reader instead of yielding"
        raise DeclarationError(f"`{name}` is a generator", hint=hint)
    parameters = list(inspect.signature(function).parameters.values())
    if parameters and parameters[0].name in ("self", "cls") and not inspect.ismethod(function):
        raise DeclarationError(f"`{name}` is a method", hint="declare pipelines as functions of a module or a cell")
    arity(function)


def arity(function: Callable[..., Any]) -> int:
    """How many connections a function is called with: 0, 1 (source) or 2 (source, target).

    Raises:
        DeclarationError: When it is none of these.

    Example:
        >>> arity(lambda conn: "SELECT 1")
        1
    """
    name = getattr(function, "__name__", repr(function))
    parameters = list(inspect.signature(function).parameters.values())
    positional = [one for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    required = [one for one in positional if one.default is one.empty]
    hint = "a pipeline's function takes 0, 1 (source) or 2 (source, target) connections"
    if any(one.kind is one.KEYWORD_ONLY and one.default is one.empty for one in parameters):
        raise DeclarationError(f"`{name}` has an argument that only a keyword can give", hint=hint)
    if any(one.kind is one.VAR_POSITIONAL for one in parameters) and not required:
        raise DeclarationError(f"`{name}` takes any number of arguments", hint=hint)
    if len(required) > _MAX_ARITY:
        raise DeclarationError(f"`{name}` takes {counted(len(required), 'argument')}", hint=hint)
    return len(required)


def body_of(function: Callable[..., Any]) -> Body:
    """What a function's source says of its result; ``unknown`` when there is no source."""
    constant = _constant_result(function)
    if constant is not None:
        return Body("constant", dedent_sql(constant))
    node = _node(function)
    if node is None:
        return Body("unknown")
    if isinstance(node, ast.Lambda):
        return _returned(node.body)
    statements = _without_docstring(node.body)
    if len(statements) == 1 and _is_ellipsis(statements[0]):
        return Body("open")
    statements = [one for one in statements if not isinstance(one, ast.Pass)]
    if not statements:
        return Body("empty")
    if len(statements) == 1 and isinstance(statements[0], ast.Return):
        return _returned(statements[0].value)
    return Body("dynamic")


def _constant_result(function: Callable[..., Any]) -> str | None:
    """The text that a function returns whatever happens, read from its code: a hundred times faster than its source."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    if code is None or code.co_flags & (inspect.CO_COROUTINE | inspect.CO_GENERATOR):
        return None
    steps = [step for step in dis.get_instructions(code) if step.opname not in ("RESUME", "NOP", "CACHE")]
    names = [step.opname for step in steps]
    if names in (["LOAD_CONST", "RETURN_VALUE"], ["RETURN_CONST"]) and isinstance(steps[0].argval, str):
        return str(steps[0].argval)
    return None


def _is_ellipsis(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant) and statement.value.value is ...
    )


def _returned(value: ast.expr | None) -> Body:
    if value is None or (isinstance(value, ast.Constant) and value.value is None):
        return Body("empty")
    if isinstance(value, ast.Constant) and isinstance(value.value, str):
        return Body("constant", dedent_sql(value.value))
    return Body("dynamic")


def digest(function: Callable[..., Any]) -> str:
    """A hash of what a function does: its syntax tree without name, decorators, annotations and docstring.

    The same text in a cell and in a module has the same digest. Without source, the compiled code is hashed.
    """
    node = _node(function)
    if node is None:
        code = getattr(function, "__code__", None)
        seed = repr((code.co_code, code.co_names, _constants(code))) if code is not None else repr(function)
        return hashlib.sha256(seed.encode()).hexdigest()
    arguments = [one.arg for one in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
    defaults = [_canonical(one) for one in (*node.args.defaults, *node.args.kw_defaults)]
    body = [node.body] if isinstance(node, ast.Lambda) else _without_docstring(node.body)
    seed = repr((arguments, defaults, [_canonical(one) for one in body]))
    return hashlib.sha256(seed.encode()).hexdigest()


def _constants(code: Any) -> list[Any]:
    return [_constants(one) if inspect.iscode(one) else repr(one) for one in code.co_consts]


def _without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    first = body[0] if body else None
    has_docstring = (
        isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
    )
    return body[1:] if has_docstring else body


def _canonical(node: Any) -> Any:
    """A syntax tree as nested tuples, without places and without what differs between versions of Python."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return ("text", node.value)
    if isinstance(node, ast.AST):
        fields = [
            (name, _canonical(value))
            for name, value in ast.iter_fields(node)
            if name not in ("ctx", "kind", "type_comment", "annotation", "returns") and value not in (None, [])
        ]
        return (type(node).__name__, *fields)
    return tuple(_canonical(one) for one in node) if isinstance(node, list) else repr(node)


def _node(function: Callable[..., Any]) -> _FunctionNode | None:
    """The syntax tree of a function, when its source can be had."""
    function = inspect.unwrap(function)
    try:
        source = textwrap.dedent(inspect.getsource(function))
    except (OSError, TypeError):
        return None
    name = getattr(function, "__name__", "")
    tree = _parse(source)
    if tree is None:
        return None
    if name == "<lambda>":
        found = [node for node in ast.walk(tree) if isinstance(node, ast.Lambda)]
        return found[0] if len(found) == 1 else None
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name == name:
            return node
    return None


def _parse(source: str) -> ast.Module | None:
    """The tree of a piece of source; a lambda's lines may be only part of a statement."""
    for text in (source, source.strip().rstrip(",")):
        try:
            return ast.parse(text)
        except SyntaxError:
            continue
    return None
