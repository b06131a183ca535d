"""A notebook's declarations as one Python module: text in, text out."""

from __future__ import annotations

import ast
import contextlib
import hashlib
import itertools
import json
import keyword
import re
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ematix_nb.declare import cells as flow
from ematix_nb.declare.address import parse_table_name, snake_case, suggested_name
from ematix_nb.errors import DeclarationError, FlowError, UsageError, did_you_mean
from ematix_nb.export import flow_cells
from ematix_nb.export.literals import WIDTH, Group, docstring, layout, width
from ematix_nb.export.python_cells import BUILTINS, NOTEBOOK_ONLY, Line
from ematix_nb.export.units import Notebook, Unit, read_units, refuse_python_secrets

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ematix_nb.export.notebook_file import NotebookCell

_HEADER = '''"""{what} exported from a notebook by ematix_nb (source hash {source}).

Change the notebook and export it again. What is changed here by hand is noticed and
not overwritten (text hash {text}).
"""
'''
_TEXT_HASH = re.compile(r"\(text hash ([0-9a-f]{12})\)\.\n")
_SOURCE_HASH = re.compile(
    r'\A"""(?:Pipelines|Tests) exported from a notebook by ematix_nb \(source hash ([0-9a-f]{12})\)\.\n'
)
_NO_HASH = "0" * 12
_GIVEN = {"os": ("os", None, None), "ematix": ("ematix_nb", "ematix", None)}
"""Imports that every notebook is taken to have."""


@dataclass(frozen=True)
class Exported:
    """A module's text, and what is in it."""

    text: str
    source_hash: str
    pipelines: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    connections: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    """Functions and constants that came along."""
    dropped: tuple[Line, ...] = ()
    """Lines of the used cells that only a notebook understands."""


def export_notebook(cells: Iterable[NotebookCell], *, docs: bool = False) -> Exported:
    """The module of a notebook; nothing is executed or imported.

    The same cells give the same bytes, from the file or from a kernel that ran them from top to bottom. Of two
    definitions of one name the last counts, in the place of the first.

    Args:
        cells: In the order of the notebook.
        docs: Text cells above a pipeline become its docstring; a kernel does not know them.

    Raises:
        FlowError: Nothing is declared, a cell is not understood, holds a secret, or uses what cannot come along.
    """
    listed = list(cells)
    book = read_units(listed)
    chosen = _Selection(book).ordered()
    texts = _texts_above(listed) if docs else {}
    body, imports = _Writer(chosen, texts).write()
    source_hash = _digest(json.dumps([unit.source for unit in chosen]))
    text = _with_hash(
        _HEADER.format(what="Pipelines", source=source_hash, text=_NO_HASH) + _imports(imports, book.future) + body
    )
    _check(text)
    used = {unit.cell.number for unit in chosen}
    named = {kind: tuple(unit.key[1] for unit in chosen if unit.key[:1] == (kind,)) for kind in flow.KINDS}
    others = tuple(name for unit in chosen if not unit.key and unit.imports is None for name in unit.defines)
    dropped = tuple(line for line in book.dropped if line.cell in used)
    return Exported(text, source_hash, named["pipeline"], named["table"], named["connection"], others, dropped)


def tests_module(body: str) -> str:
    """A module of tests under the header of an export."""
    text = _with_hash(_HEADER.format(what="Tests", source=_digest(body), text=_NO_HASH) + body)
    _check(text)
    return text


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]


def _with_hash(text: str) -> str:
    return text.replace(f"(text hash {_NO_HASH}).", f"(text hash {_digest(text)}).", 1)


def is_export(text: str) -> bool:
    """Whether a text is an export of ours, changed or not."""
    return _SOURCE_HASH.match(text.replace("\r\n", "\n")) is not None


def is_untouched(text: str) -> bool:
    """Whether a text is an export that nobody changed since.

    Example:
        >>> is_untouched("print(1)")
        False
    """
    text = text.replace("\r\n", "\n")
    found = _TEXT_HASH.search(text)
    if found is None or not is_export(text):
        return False
    original = f"{text[: found.start(1)]}{_NO_HASH}{text[found.end(1) :]}"
    return _digest(original) == found[1]


class _Selection:
    """What goes into the module, and in which order."""

    def __init__(self, book: Notebook) -> None:
        self.book = book
        self.units = _latest(book.units)
        self.names: dict[str, Unit] = {}
        for unit in sorted(book.units, key=lambda one: one.flow is None):
            self.names.update(dict.fromkeys(unit.defines, unit))
        self.position = {id(unit): number for number, unit in enumerate(self.units)}

    def ordered(self) -> list[Unit]:
        roots = [unit for unit in self.units if unit.is_root]
        if not any(unit.key for unit in roots):
            what = "there is nothing to export: no cell declares a pipeline, table or connection"
            raise UsageError(what, hint="begin a cell with `%%flow pipeline NAME`, or decorate with @ematix.pipeline")
        needed: dict[int, Unit] = {}
        for root in roots:
            self._collect(root, needed)
        in_place = sorted(needed.values(), key=lambda one: self.position[id(one)])
        done: dict[int, Unit] = {}
        for unit in in_place:
            self._place(unit, needed, done)
        return list(done.values())

    def _collect(self, unit: Unit, needed: dict[int, Unit]) -> None:
        stack = [unit]
        while stack:
            one = stack.pop()
            if id(one) in needed:
                continue
            needed[id(one)] = one
            if one.notebook_lines:
                line = one.notebook_lines[0]
                what = f"{line} stands inside a definition, and only a notebook understands it"
                raise UsageError(what, hint="take it out of the function")
            stack += [self._provider(name, one) for name in sorted(one.needs) if not self._is_known(name)]
            stack += [self.names[name] for name in sorted(one.hints) if name in self.names]

    def _is_known(self, name: str) -> bool:
        return name not in self.names and (name in BUILTINS or name in _GIVEN)

    def _provider(self, name: str, user: Unit) -> Unit:
        found = self.names.get(name)
        if found is not None and not found.problem:
            return found
        where = user.cell.place
        if found is not None:
            hint = f"tag {found.cell.place} with flow-export, or compute it inside a function"
            raise UsageError(f"name `{name}` {found.problem}", hint, where)
        if name in NOTEBOOK_ONLY:
            raise UsageError(f"name `{name}` exists in notebooks only", "take it out of what is exported", where)
        if name in self.book.scratch:
            cell = self.book.scratch[name].place
            raise UsageError(f"name `{name}` is defined in {cell}, which is tagged flow-scratch", "untag it", where)
        if name in self.book.explored:
            what = f"name `{name}` is a frame that a query read in {self.book.explored[name].place}"
            raise UsageError(what, "read it inside the function: get_connection(...).read_df(...)", where)
        if self.book.stars:
            what = f"name `{name}` may come from `from {self.book.stars[0]} import *`"
            raise UsageError(what, "import it by its name", where)
        hint = did_you_mean(name, self.names) or "define or import it in a cell"
        raise UsageError(f"name `{name}` is not defined in the notebook", hint, where)

    def _place(self, unit: Unit, needed: dict[int, Unit], done: dict[int, Unit]) -> None:
        """Put a unit after those that it needs; else in the order of the notebook."""
        pending = [(unit, iter(self._before(unit, needed)))]
        entered = {id(unit)}
        while pending:
            one, rest = pending[-1]
            following = next((item for item in rest if id(item) not in done and id(item) not in entered), None)
            if following is None:
                done.setdefault(id(one), one)
                pending.pop()
            else:
                entered.add(id(following))
                pending.append((following, iter(self._before(following, needed))))

    def _before(self, unit: Unit, needed: dict[int, Unit]) -> list[Unit]:
        found = {id(self.names[name]): self.names[name] for name in unit.needs | unit.hints if name in self.names}
        return sorted((one for key, one in found.items() if key in needed), key=lambda one: self.position[id(one)])


def _latest(units: Sequence[Unit]) -> list[Unit]:
    """Of several definitions of one thing the last, in the place of the first."""
    places: dict[tuple[object, ...], Unit] = {}
    for number, unit in enumerate(units):
        places[unit.key or (("defines", *unit.defines) if unit.defines else ("line", number))] = unit
    return list(places.values())


class _Writer:
    """Writes the chosen units, each under its marker."""

    def __init__(self, units: list[Unit], texts: dict[int, str]) -> None:
        self.units = units
        self.texts = texts
        self.imports: set[tuple[str, str | None, str | None]] = set()
        self.tables = {unit.key[1]: unit.table for unit in units if unit.key[:1] == ("table",)}
        classes = {unit.defines[0]: unit.table for unit in units if unit.table and unit.defines}
        self.classes = classes
        self.taken = set(BUILTINS) | {
            name for unit in units for name in (*unit.defines, *unit.needs) if unit.flow is None
        }
        self.taken |= {"ematix", "Annotated", "normalize", "pk", "natural_key", "os", "parse_table_cell"}
        self.taken |= set(flow_cells._CLASSES.values())  # noqa: SLF001 - one table of names for both

    def write(self) -> tuple[str, set[tuple[str, str | None, str | None]]]:
        """The module below its imports, and what it imports."""
        parts: list[str] = []
        previous: Unit | None = None
        for unit in self.units:
            if unit.imports is not None:
                self.imports.add(unit.imports)
                continue
            try:
                text = self._flow(unit) if unit.flow is not None else self._python(unit)
            except FlowError as error:
                raise type(error)(error.what, error.hint, error.where or unit.cell.place) from None
            parts.append(self._gap(previous, unit, text) + text)
            previous = unit
        return "".join(parts) + "\n", self.imports

    def _gap(self, previous: Unit | None, unit: Unit, text: str) -> str:
        if previous is not None and previous.cell is unit.cell:
            plain = not (_is_block(previous.source) or _is_block(text))
            return "\n" if plain else "\n\n\n"
        lines = 1 if previous is None and not _begins_with_block(text) else 2
        return "\n" * (lines + 1) + f"# %% {_label(unit)}\n"

    def _python(self, unit: Unit) -> str:
        self.imports |= {_GIVEN[name] for name in unit.needs if name in _GIVEN and not self._defined(name)}
        refuse_python_secrets(unit)
        text = unit.source
        doc = self.texts.get(unit.cell.number, "")
        if doc and not unit.has_docstring and unit.key[:1] == ("pipeline",):
            text = _with_docstring(text, doc)
        return text

    def _defined(self, name: str) -> bool:
        return any(name in unit.defines for unit in self.units)

    def _flow(self, unit: Unit) -> str:
        cell = unit.flow
        if cell is None:  # never: only units of flow cells come here
            raise TypeError(unit)
        doc = self.texts.get(unit.cell.number, "")
        self.imports.add(_GIVEN["ematix"])
        if cell.kind == "connection":
            return flow_cells.connection_code(
                cell, self._identifier(cell.name, "connection", own=True), unit.cell.place
            )
        if cell.kind == "pipeline":
            table = self._table_of(cell)
            flow.pipeline_keywords(cell, table)
            return flow_cells.pipeline_code(cell, self._identifier(cell.name, "pipeline"), table, doc)
        if cell.kind == "check":
            return self._checks(cell)
        spec = flow.table_spec(cell)
        if flow_cells.has_class_form(spec):
            identifier = self._identifier(flow_cells.class_name(spec.ref.name), "table")
            text, used = flow_cells.table_code(spec, identifier, doc)
        else:
            text, used = flow_cells.table_text(cell)
        self.imports |= {(module, name, None) for module, name in used}
        return text

    def _checks(self, cell: flow.Cell) -> str:
        if not any(unit.key == ("pipeline", cell.name) for unit in self.units):
            hint = "export the cell that declares it, or tag this one with flow-scratch"
            raise UsageError(f"the checks are those of pipeline `{cell.name}`, which no exported cell declares", hint)
        return flow_cells.checks_code(cell)

    def _table_of(self, cell: flow.Cell) -> str | None:
        """What ``--table`` of a cell means."""
        named = cell.options.get("table")
        if named is None:
            return None
        last = named.rpartition(".")[2]
        with contextlib.suppress(DeclarationError):
            named = str(parse_table_name(named))
        if found := self.classes.get(named) or self.tables.get(named):
            return found
        near = [table for name, table in self.tables.items() if name.rpartition(".")[2] in (last, snake_case(last))]
        if len(near) == 1:
            return near[0]
        hint = did_you_mean(named, [*self.tables, *self.classes]) or "declare it with %%flow table"
        raise UsageError(f"table `{named}` of pipeline `{cell.name}` is declared in no exported cell", hint)

    def _identifier(self, name: str, kind: str, *, own: bool = False) -> str:
        """A free Python name for a declaration; ``own`` when code may mean it by its own name."""
        wished = suggested_name(name)
        free = wished
        number = 2
        while (free in self.taken and not (own and free == name and free not in BUILTINS)) or keyword.iskeyword(free):
            free = f"{wished}_{kind}" if free == wished else f"{wished}_{kind}_{number}"
            number += free != f"{wished}_{kind}"
        self.taken.add(free)
        return free


def _label(unit: Unit) -> str:
    name = unit.key[1] if unit.key and unit.key[0] != "python" else (unit.defines or ("code",))[0]
    return "".join(letter if letter.isprintable() else " " for letter in name)


def _is_block(text: str) -> bool:
    return any(line.startswith(("def ", "class ", "async def ", "@")) for line in text.splitlines())


def _begins_with_block(text: str) -> bool:
    lines = (line for line in text.splitlines() if not line.startswith("#"))
    return next(lines, "").startswith(("def ", "class ", "async def ", "@"))


def _with_docstring(text: str, doc: str) -> str:
    """A function with a docstring; as it was when its body stands on the line of ``def``."""
    node = ast.parse(text).body[0]
    if not isinstance(node, ast.FunctionDef):
        return text
    first = node.body[0]
    lines = text.split("\n")
    margin = lines[first.lineno - 1][: first.col_offset]
    if margin.strip():
        return text
    return "\n".join([*lines[: first.lineno - 1], margin + docstring(doc, margin), *lines[first.lineno - 1 :]])


def _texts_above(cells: list[NotebookCell]) -> dict[int, str]:
    """By number of a code cell: the text cell right above it."""
    found = {}
    for above, cell in itertools.pairwise(cells):
        if above.kind == "markdown" and cell.kind == "code":
            lines = [re.sub(r"^#+\s*", "", line) for line in above.source.splitlines()]
            found[cell.number] = "\n".join(lines)
    return found


def _imports(wanted: set[tuple[str, str | None, str | None]], future: set[str]) -> str:
    """The import block: the future, the standard library, everything else."""
    blocks = [_import_lines({("__future__", name, None) for name in future})] if future else []
    known = sys.stdlib_module_names
    standard = {one for one in wanted if one[0].partition(".")[0] in known}
    blocks += [_import_lines(part) for part in (standard, wanted - standard) if part]
    return "".join(f"\n{block}" for block in blocks).rstrip("\n")


def _import_lines(wanted: set[tuple[str, str | None, str | None]]) -> str:
    plain = sorted(
        ((module, alias or "") for module, name, alias in wanted if name is None),
        key=lambda one: (*_natural(one[0]), one[1]),
    )
    lines = [f"import {module} as {alias}" if alias else f"import {module}" for module, alias in plain]
    for module in sorted({module for module, name, _ in wanted if name is not None}, key=_natural):
        names = sorted(
            {name for one, name, alias in wanted if one == module and name and alias in (None, name)}, key=_rank
        )
        line = f"from {module} import {', '.join(names)}"
        fits = width(line) <= WIDTH
        if names:
            lines.append(line if fits else layout(Group(f"from {module} import (", tuple(names), ")"), explode=True))
        renamed = [(name, alias) for one, name, alias in wanted if one == module and name and alias not in (None, name)]
        renamed.sort(key=lambda one: (_rank(one[0]), str(one[1])))
        lines += [f"from {module} import {name} as {alias}" for name, alias in renamed]
    return "".join(f"{line}\n" for line in lines)


def _rank(name: str) -> tuple[int, str, str]:
    """CONSTANTS, then Classes, then functions."""
    return (0 if name.isupper() and len(name) > 1 else 1 if name[:1].isupper() else 2, *_natural(name))


def _natural(name: str) -> tuple[str, str]:
    """Without regard to case, numbers by their value: x2 before x10."""
    return re.sub(r"[0-9]+", lambda number: number[0].zfill(20), name.lower()), name


def _check(text: str) -> None:
    """The last look: valid Python, valid UTF-8, no notebook in it."""
    try:
        tree = ast.parse(text)
        compile(text, "<export>", "exec", dont_inherit=True)
        text.encode("utf-8")
    except (SyntaxError, ValueError) as error:
        message = getattr(error, "msg", None) or str(error)
        raise UsageError(
            f"the exported text is not valid Python: {message}", "look at the cells tagged flow-export"
        ) from None
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
        for name in names:
            if name.partition(".")[0] in ("IPython", "ipywidgets", "ipykernel"):
                raise UsageError(f"`{name}` belongs to notebooks", "take its import out of what is exported")
