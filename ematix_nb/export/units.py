"""The pieces of a notebook that can go into a module, found by name."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ematix_nb.connections.base import is_secret_setting
from ematix_nb.declare import cells as flow
from ematix_nb.declare.address import parse_table_name, snake_case
from ematix_nb.errors import FlowError, UsageError
from ematix_nb.export.flow_cells import is_plain_secret, refuse_secrets
from ematix_nb.export.literals import Group, layout, text_literal
from ematix_nb.export.python_cells import Line, Statement, dotted, is_definition, python_statements

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ematix_nb.export.notebook_file import NotebookCell

EXPORT, SCRATCH, PARAMETERS = "flow-export", "flow-scratch", "parameters"
_DIRECTIVE = re.compile(r"\s*#\s*flow:\s*(export|scratch|parameters)\s*(?:\n|$)")
_DECORATORS = ("pipeline", "table", "connection", "transform")
_REGISTERING = ("register_connection", "connect", "check")


@dataclass(frozen=True, eq=False)
class Unit:
    """One definition."""

    cell: NotebookCell
    source: str
    """What the hash of the export covers."""
    defines: tuple[str, ...] = ()
    needs: frozenset[str] = frozenset()
    hints: frozenset[str] = frozenset()
    key: tuple[str, ...] = ()
    """Kind and name of a declaration, empty for what only travels along."""
    flow: flow.Cell | None = None
    table: str = ""
    """Of a declared table: ``schema.table``, quoted where needed."""
    imports: tuple[str, str | None, str | None] | None = None
    """Of an import: module, name, other name."""
    is_root: bool = False
    problem: str = ""
    """Why it cannot travel."""
    notebook_lines: tuple[Line, ...] = ()
    has_docstring: bool = True


@dataclass
class Notebook:
    """All units of a notebook."""

    units: list[Unit] = field(default_factory=list)
    dropped: list[Line] = field(default_factory=list)
    scratch: dict[str, NotebookCell] = field(default_factory=dict)
    """Names that scratch cells define."""
    explored: dict[str, NotebookCell] = field(default_factory=dict)
    """Names of frames that ``%%flow query`` cells read."""
    stars: list[str] = field(default_factory=list)
    """Modules of which everything is imported."""
    future: set[str] = field(default_factory=set)


def tags_of(cell: NotebookCell) -> set[str]:
    """Its tags, and what a first line such as ``# flow: scratch`` says."""
    found = _DIRECTIVE.match(cell.source)
    word = {"export": EXPORT, "scratch": SCRATCH, "parameters": PARAMETERS}[found[1]] if found else ""
    return {*cell.tags, word} - {""}


def read_units(cells: Iterable[NotebookCell]) -> Notebook:
    """Take a notebook apart.

    Raises:
        FlowError: A cell that counts is not understood; names the cell.
    """
    book = Notebook()
    python: list[tuple[NotebookCell, set[str], list[Statement]]] = []
    modules: dict[str, str] = {}
    for cell in cells:
        if cell.kind != "code" or not cell.source.strip():
            continue
        tags = tags_of(cell)
        source = cell.source.lstrip("\n")
        if source.startswith("%%flow"):
            if (name := _queried(source)) is not None:
                book.explored[name] = cell
            elif source.split(maxsplit=2)[1:2] == ["test"]:
                continue  # tests go into a module of their own
            elif SCRATCH not in tags:
                book.units += _flow_unit(cell, source)
                python.append((cell, tags, []))
            continue
        if source.startswith("%%") and not source.startswith(("%%time", "%%capture", "%%prun")):
            continue
        statements = _statements(cell, tags, book)
        modules.update(_modules(statements) if SCRATCH not in tags else {})
        python.append((cell, tags, statements))
    in_order: list[Unit] = []
    flows = {id(unit.cell): unit for unit in book.units}
    for cell, tags, statements in python:
        in_order += [flows[id(cell)]] if id(cell) in flows else _python_units(statements, tags, modules, book)
    book.units = in_order
    return book


def _queried(source: str) -> str | None:
    """The variable of a ``%%flow query`` cell, which looks and declares nothing; None for other cells."""
    words = source.partition("\n")[0].split()
    return (words[2] if len(words) > 2 else "") if words[1:2] == ["query"] else None  # noqa: PLR2004  magic, kind, name


def _statements(cell: NotebookCell, tags: set[str], book: Notebook) -> list[Statement]:
    try:
        statements, dropped = python_statements(cell)
    except UsageError:
        if SCRATCH in tags or not (tags & {EXPORT, PARAMETERS} or "@ematix" in cell.source):
            return []
        raise
    if SCRATCH in tags:
        book.scratch.update({name: cell for one in statements for name in one.defines})
        return []
    book.dropped += dropped
    return statements


def _modules(statements: list[Statement]) -> dict[str, str]:
    """First part of the module that each imported name comes from."""
    found: dict[str, str] = {}
    for statement in statements:
        for node in ast.walk(statement.node):
            if isinstance(node, ast.Import):
                found.update(
                    {alias.asname or alias.name.partition(".")[0]: alias.name.partition(".")[0] for alias in node.names}
                )
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.update({alias.asname or alias.name: str(node.module).partition(".")[0] for alias in node.names})
    return found


def _flow_unit(cell: NotebookCell, source: str) -> list[Unit]:
    first, _, body = source.partition("\n")
    line = first.removeprefix("%%flow").strip()
    try:
        parsed = flow.parse_cell(line, body)
    except FlowError as error:
        raise type(error)(error.what, error.hint, error.where.replace("cell", cell.place, 1) or cell.place) from None
    table = flow.quoted_table(flow.table_spec(parsed)) if parsed.kind == "table" else ""
    name = str(parse_table_name(parsed.name)) if parsed.kind == "table" else parsed.name
    defines = (name,) if parsed.kind == "connection" and name.isidentifier() else ()
    text = f"%%flow {line}\n{body.rstrip()}"
    needs = frozenset(parsed.parameters)
    return [Unit(cell, text, defines, needs, key=(parsed.kind, name), flow=parsed, table=table, is_root=True)]


def _python_units(statements: list[Statement], tags: set[str], modules: dict[str, str], book: Notebook) -> list[Unit]:
    found: list[Unit] = []
    for statement in statements:
        if isinstance(statement.node, (ast.Import, ast.ImportFrom)):
            found += _import_units(statement, book)
        elif PARAMETERS in tags and (made := _parameter(statement)) is not None:
            found.append(made)
        else:
            found.append(_python_unit(statement, tags, modules))
    return found


def _import_units(statement: Statement, book: Notebook) -> list[Unit]:
    node = statement.node
    found = []
    if isinstance(node, ast.Import):
        for alias in node.names:
            name = alias.asname or alias.name.partition(".")[0]
            found.append(_import(statement, name, (alias.name, None, alias.asname)))
    elif isinstance(node, ast.ImportFrom):
        module = "." * node.level + (node.module or "")
        for alias in node.names:
            if module == "__future__":
                book.future.add(alias.name)
            elif alias.name == "*":
                book.stars.append(module)
            else:
                found.append(_import(statement, alias.asname or alias.name, (module, alias.name, alias.asname)))
    return found


def _import(statement: Statement, name: str, parts: tuple[str, str | None, str | None]) -> Unit:
    problem = ""
    if parts[0].partition(".")[0] in ("IPython", "ipywidgets", "ipykernel"):
        problem = f"comes from {parts[0]}, which belongs to notebooks"
    if parts[0].startswith("."):
        problem = "is imported relative to a package, and a notebook is in none"
    return Unit(statement.cell, " ".join(map(str, parts)), (name,), imports=parts, problem=problem)


def _python_unit(statement: Statement, tags: set[str], modules: dict[str, str]) -> Unit:
    key, table = _declaration(statement.node, modules)
    marked = EXPORT in tags
    problem = ""
    if not key and not marked and not is_definition(statement.node, modules):
        problem = f"is made by running code in {statement.cell.place}, which is not marked"
    node = statement.node
    documented = not isinstance(node, (ast.FunctionDef, ast.ClassDef)) or ast.get_docstring(node) is not None
    return Unit(
        statement.cell, statement.text, statement.defines, statement.needs, statement.hints, key, None, table,
        is_root=bool(key) or marked, problem=problem, notebook_lines=statement.notebook_lines, has_docstring=documented,
    )  # fmt: skip


def _declaration(node: ast.stmt, modules: dict[str, str]) -> tuple[tuple[str, ...], str]:
    """Kind and name when a statement declares something, and the table's name when it is one."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        for one in node.decorator_list:
            kind = _ours(one, modules)
            if kind in _DECORATORS:
                return _named(kind, node.name, one)
    elif isinstance(node, (ast.Assign, ast.Expr)) and isinstance(node.value, ast.Call):
        call = node.value
        kind = _ours(call.func, modules)
        if kind in _DECORATORS and isinstance(call.func, ast.Call):
            return ("python", ast.unparse(node)), ""
        if kind in _REGISTERING:
            return ("python", ast.unparse(node)), ""
    return (), ""


def _ours(node: ast.expr, modules: dict[str, str]) -> str:
    """The last part of a dotted name of ours: ``pipeline`` of ``ematix.pipeline``."""
    root, _, rest = dotted(node).partition(".")
    if modules.get(root) == "ematix_nb" or (root == "ematix" and root not in modules):
        return rest.rpartition(".")[2] or root
    return ""


def _named(kind: str, name: str, decorator: ast.expr) -> tuple[tuple[str, ...], str]:
    given = _arguments(decorator)
    if kind != "table":
        return (
            kind,
            given.get("name") or given.get(0) or name if kind == "transform" else given.get("name") or name,
        ), ""
    from ematix_nb.declare.spec import TableRef, TableSpec

    ref = TableRef(given.get("schema") or given.get(0), given.get("name") or given.get(1) or snake_case(name))
    return (kind, str(ref)), flow.quoted_table(TableSpec(ref, ()))


def _arguments(decorator: ast.expr) -> dict[Any, str]:
    """The arguments of a decorator that are plain texts, by name and position."""
    if not isinstance(decorator, ast.Call):
        return {}
    pairs = [*enumerate(decorator.args), *((one.arg, one.value) for one in decorator.keywords)]
    return {key: one.value for key, one in pairs if isinstance(one, ast.Constant) and isinstance(one.value, str)}


def refuse_python_secrets(unit: Unit) -> None:
    """Stop when a piece of Python gives a secret in plain: to a setting, a keyword or a name that says so.

    Raises:
        UsageError: Names the cell and the setting, never the value.
    """
    for node in ast.walk(ast.parse(unit.source)):
        named: list[str] = []
        value: ast.expr | None = None
        if isinstance(node, ast.keyword):
            named, value = [node.arg or ""], node.value
        elif isinstance(node, ast.Assign):
            named, value = [one.id for one in node.targets if isinstance(one, ast.Name)], node.value
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            named, value = [node.target.id], node.value
        if not isinstance(value, ast.Constant) or not isinstance(text := value.value, str):
            continue
        for setting in named:
            if not (is_secret_setting(setting.lower()) or "://" in text) or not is_plain_secret(setting.lower(), text):
                continue
            if unit.key[:1] == ("connection",):
                refuse_secrets(unit.key[1], {setting: text}, unit.cell.place)
            what = f"`{setting}` holds a secret in plain text, which no export writes"
            hint = f'in a connection write "${{{setting.upper()}}}", elsewhere os.environ["{setting.upper()}"]'
            raise UsageError(what, hint=hint, where=unit.cell.place)


def _parameter(statement: Statement) -> Unit | None:
    """A constant of a parameters cell, which a variable of the environment can replace."""
    node = statement.node
    if isinstance(node, ast.Assign) and len(node.targets) == 1:
        target, value = node.targets[0], node.value
    elif isinstance(node, ast.AnnAssign) and node.value is not None:
        target, value = node.target, node.value
    else:
        return None
    if not isinstance(target, ast.Name) or not isinstance(value, ast.Constant):
        return None
    text = _with_environment(target.id, value.value)
    if text is None:
        return None
    return Unit(statement.cell, text, (target.id,), frozenset({"os"}))


def _with_environment(name: str, value: object) -> str | None:
    variable = text_literal(name.upper())
    if isinstance(value, bool):
        asked = f'os.environ.get({variable}, "{str(value).lower()}").lower()'
        return layout(Group(f"{name} = {asked} in (", ('"1"', '"true"', '"yes"', '"on"'), ")"))
    if isinstance(value, (int, float)):
        inner = f"os.environ.get({variable}, {text_literal(repr(value))})"
        return layout(Group(f"{name} = {type(value).__name__}(", (inner,), ")"))
    if isinstance(value, str):
        return layout(Group(f"{name} = os.environ.get(", (variable, text_literal(value)), ")"))
    return None
