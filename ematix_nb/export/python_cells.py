"""Python cells taken apart: which statement defines what, and what it needs from elsewhere."""

from __future__ import annotations

import ast
import builtins
import re
import symtable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ematix_nb.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ematix_nb.export.notebook_file import NotebookCell

NOTEBOOK_ONLY = frozenset({"get_ipython", "display", "In", "Out", "exit", "quit"})
"""Names that a kernel adds to Python."""
BUILTINS = frozenset(dir(builtins)) - NOTEBOOK_ONLY | {"__name__", "__file__", "__doc__"}
_PYTHON_MAGICS = ("%%time", "%%timeit", "%%capture", "%%prun")
"""Cell magics whose body is Python."""


@dataclass(frozen=True)
class Line:
    """A line that was left out."""

    cell: int
    number: int
    """In the cell, from 1."""
    text: str

    def __str__(self) -> str:
        return f"cell {self.cell} line {self.number}: {self.text}"


@dataclass(frozen=True)
class Statement:
    """One statement of a cell's top level."""

    cell: NotebookCell
    node: ast.stmt
    text: str
    line: int
    defines: tuple[str, ...]
    needs: frozenset[str]
    """Names from outside that it uses, at import or when called."""
    hints: frozenset[str]
    """Names in annotations written as text: taken along when they are known."""
    notebook_lines: tuple[Line, ...]
    """Lines of it that only a notebook understands."""


def python_statements(cell: NotebookCell) -> tuple[list[Statement], list[Line]]:
    """The statements of a code cell, and the lines of it that no module can hold.

    Raises:
        UsageError: The cell is not valid Python; names cell and line.
    """
    text, dropped = without_magics(cell)
    try:
        tree = ast.parse(text)
        statements = [_statement(cell, text, node, dropped) for node in tree.body]
    except (SyntaxError, ValueError, RecursionError) as error:
        line = f" line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        message = error.msg if isinstance(error, SyntaxError) else str(error)
        raise UsageError(
            f"{cell.place}{line} is not valid Python: {message}", hint="correct it, or tag the cell flow-scratch"
        ) from None
    return [one for one in statements if one is not None], dropped


def _statement(cell: NotebookCell, text: str, node: ast.stmt, dropped: list[Line]) -> Statement | None:
    first = min([node.lineno, *(one.lineno for one in getattr(node, "decorator_list", []))])
    last = node.end_lineno or node.lineno
    inside = tuple(line for line in dropped if first <= line.number <= last)
    if isinstance(node, ast.Pass):
        return None
    source = _source(text, node, first, last)
    defines, needs = names_of(source)
    return Statement(cell, node, source, first, defines, needs, _annotation_names(node), inside)


def _source(text: str, node: ast.stmt, first: int, last: int) -> str:
    """The statement's lines with the comments right above; only its own part when it shares a line."""
    lines = text.splitlines()
    chosen = "\n".join(lines[first - 1 : last])
    try:
        alone = len(ast.parse(chosen).body) == 1
    except SyntaxError:
        alone = False
    if not alone:
        return ast.get_source_segment(text, node) or ast.unparse(node)
    while first > 1 and lines[first - 2].startswith("#") and not lines[first - 2].startswith("# flow:"):
        first -= 1
    return "\n".join(lines[first - 1 : last])


def names_of(source: str) -> tuple[tuple[str, ...], frozenset[str]]:
    """The names that a piece of a module binds, and those that it takes from outside.

    Example:
        >>> names_of("def f(x): return g(x) + LIMIT")
        (('f',), frozenset({...}))
    """
    top = symtable.symtable(source, "cell", "exec")
    bound = {one.get_name() for one in top.get_symbols() if one.is_assigned() or one.is_imported()}
    used = {one.get_name() for one in top.get_symbols() if one.is_referenced()}
    for inner in _inner(top):
        for one in inner.get_symbols():
            if one.is_global() and one.is_referenced():
                used.add(one.get_name())
            if one.is_global() and one.is_declared_global() and one.is_assigned():
                used.add(one.get_name())
    return tuple(sorted(bound)), frozenset(name for name in used - bound if not name.startswith("."))


def _inner(table: symtable.SymbolTable) -> Iterator[symtable.SymbolTable]:
    for child in table.get_children():
        yield child
        yield from _inner(child)


def _annotation_names(node: ast.stmt) -> frozenset[str]:
    found: set[str] = set()
    for one in ast.walk(node):
        annotation = getattr(one, "annotation", None) or getattr(one, "returns", None)
        for text in ast.walk(annotation) if isinstance(annotation, ast.AST) else ():
            if isinstance(text, ast.Constant) and isinstance(text.value, str):
                try:
                    tree = ast.parse(text.value, mode="eval")
                except (SyntaxError, ValueError):
                    continue
                found |= {name.id for name in ast.walk(tree) if isinstance(name, ast.Name)}
    return frozenset(found)


_MAGIC = re.compile(r"\s*(?:[%!?]|[A-Za-z_][\w.]*\?{1,2}\s*$|[A-Za-z_][\w.,\s\[\]'\"]*=\s*(?:!|%{1,2}[A-Za-z_]))")


def without_magics(cell: NotebookCell) -> tuple[str, list[Line]]:
    """A cell as plain Python: lines of IPython replaced by ``pass``, and a list of them."""
    source = cell.source.replace("\r\n", "\n")
    dropped: list[Line] = []
    lines = source.split("\n")
    start = next((n for n, line in enumerate(lines) if line.strip()), 0)
    if lines[start].startswith(_PYTHON_MAGICS):
        dropped.append(Line(cell.number, start + 1, lines[start].strip()))
        lines[start] = ""
    elif _parses(source):
        return source, dropped
    state = _Scan()
    position = start
    while position < len(lines):
        line = lines[position]
        if not (state.at_start and _MAGIC.match(line)):
            state.feed(line)
            position += 1
            continue
        dropped.append(Line(cell.number, position + 1, line.strip()))
        lines[position] = line[: len(line) - len(line.lstrip())] + "pass"
        while line.endswith("\\") and position + 1 < len(lines):
            position += 1
            line, lines[position] = lines[position], ""
        position += 1
    return "\n".join(lines), dropped


def _parses(source: str) -> bool:
    try:
        ast.parse(source)
    except (SyntaxError, ValueError, RecursionError):
        return False
    return True


class _Scan:
    """Whether a line begins a statement: not inside brackets, a long text or a continued line."""

    def __init__(self) -> None:
        self._quote = ""
        self._depth = 0
        self._continued = False

    @property
    def at_start(self) -> bool:
        return not self._quote and self._depth <= 0 and not self._continued

    _TOKEN = re.compile(r"\"\"\"|'''|\"|'|#|[()\[\]{}]|\\.", re.DOTALL)

    def feed(self, line: str) -> None:
        position = 0
        self._continued = False
        while found := self._TOKEN.search(line, position):
            piece, position = found[0], found.end()
            if self._quote:
                self._quote = "" if piece == self._quote else self._quote
            elif piece == "#":
                break
            elif piece[0] in "\"'":
                self._quote = piece
            elif piece in "([{":
                self._depth += 1
            elif piece in ")]}":
                self._depth -= 1
        if len(self._quote) == 1:
            self._quote = ""
        self._continued = line.endswith("\\") and not self._quote


_SAFE_CALLS = frozenset(
    [
        "abs",
        "bool",
        "bytes",
        "dict",
        "enumerate",
        "float",
        "frozenset",
        "int",
        "len",
        "list",
        "max",
        "min",
        "range",
        "repr",
        "reversed",
        "round",
        "set",
        "sorted",
        "str",
        "sum",
        "tuple",
        "zip",
    ]
)
_SAFE_METHODS = frozenset(
    [
        "format",
        "join",
        "lower",
        "upper",
        "strip",
        "lstrip",
        "rstrip",
        "replace",
        "split",
        "splitlines",
        "title",
        "isoformat",
        "strftime",
        "get",
        "keys",
        "values",
        "items",
        "copy",
    ]
)
_ENVIRONMENT = ("os.environ.get", "os.getenv", "os.path.join")
_VERBS = frozenset(["run", "run_pipeline", "run_due", "sync", "preview", "dry_run", "validate", "export"])
_SAFE_MODULES = frozenset(
    [
        "collections",
        "dataclasses",
        "datetime",
        "decimal",
        "enum",
        "fractions",
        "functools",
        "itertools",
        "math",
        "operator",
        "pathlib",
        "re",
        "string",
        "textwrap",
        "typing",
        "uuid",
        "zoneinfo",
        "ematix_nb",
    ]
)


def is_definition(node: ast.stmt, modules: Mapping[str, str]) -> bool:
    """Whether a statement only defines: imports, functions, classes, and values that are plain or made by safe calls.

    Args:
        node: The statement.
        modules: The first part of the module that each imported name comes from.
    """
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef() | ast.Import() | ast.ImportFrom() | ast.Pass():
            return True
        case ast.Assign(value=value) | ast.AnnAssign(value=ast.expr() as value):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            return all(isinstance(one, (ast.Name, ast.Tuple)) for one in targets) and is_plain(value, modules)
        case ast.If(test=test, body=body, orelse=other):
            return is_plain(test, modules) and all(is_definition(one, modules) for one in (*body, *other))
        case ast.Try(body=body, handlers=handlers, orelse=other, finalbody=final):
            parts = [*body, *(one for handler in handlers for one in handler.body), *other, *final]
            return all(is_definition(one, modules) for one in parts)
    return False


def is_plain(node: ast.expr, modules: Mapping[str, str]) -> bool:
    """Whether an expression can be computed at import without effect."""
    for one in ast.walk(node):
        if isinstance(one, (ast.Await, ast.Yield, ast.YieldFrom, ast.NamedExpr)):
            return False
        if isinstance(one, ast.Call) and not _is_safe_call(one.func, modules):
            return False
    return True


def _is_safe_call(function: ast.expr, modules: Mapping[str, str]) -> bool:
    path = dotted(function)
    root, last = path.partition(".")[0], path.rpartition(".")[2]
    if modules.get(root) in _SAFE_MODULES or (root == "ematix" and root not in modules):
        return last not in _VERBS
    if root in modules:
        return path in _ENVIRONMENT
    if isinstance(function, ast.Name):
        return function.id in _SAFE_CALLS
    return isinstance(function, ast.Attribute) and function.attr in _SAFE_METHODS


def dotted(node: ast.AST) -> str:
    """``a.b.c`` of a name or attribute, the called one for a call; empty for anything else."""
    if isinstance(node, ast.Call):
        return dotted(node.func)
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        head = dotted(node.value)
        return f"{head}.{node.attr}" if head else ""
    return ""
