"""The ``%%flow test`` cells of a notebook as a module of pytest."""

from __future__ import annotations

import posixpath
import re
import textwrap
from typing import TYPE_CHECKING

from ematix_nb.declare import cells as flow
from ematix_nb.declare.address import suggested_name
from ematix_nb.errors import FlowError, UsageError
from ematix_nb.export.literals import INDENT, sql_literal, text_literal
from ematix_nb.export.units import SCRATCH, tags_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ematix_nb.export.notebook_file import NotebookCell

_TEST = re.compile(r"%%flow\s+test\b")


def test_cells(cells: Iterable[NotebookCell]) -> list[tuple[NotebookCell, flow.Cell]]:
    """The tests of a notebook; of two of one pipeline and name the last counts, in the place of the first.

    Raises:
        FlowError: A cell is not understood; names it.
    """
    found: dict[tuple[str, str], tuple[NotebookCell, flow.Cell]] = {}
    for cell in cells:
        source = cell.source.lstrip("\n")
        if cell.kind != "code" or not _TEST.match(source) or SCRATCH in tags_of(cell):
            continue
        first, _, body = source.partition("\n")
        try:
            parsed = flow.parse_cell(first.removeprefix("%%flow").strip(), body)
        except FlowError as error:
            where = error.where.replace("cell", cell.place, 1) or cell.place
            raise type(error)(error.what, error.hint, where) from None
        found[parsed.name, str(parsed.options.get("name", ""))] = (cell, parsed)
    return list(found.values())


test_cells.__test__ = False  # type: ignore[attr-defined]  # no test itself, whatever its name


def tests_text(cells: Iterable[NotebookCell], pipelines: Iterable[str], *, module: str, place: str) -> str:
    """The module of tests, without its header.

    Args:
        cells: Of the notebook.
        pipelines: Those of the exported module.
        module: The exported module, from the working directory.
        place: Where the tests are going to be, from there too.

    Raises:
        FlowError: There are no tests, or one is of a pipeline that the module does not have.
    """
    found = test_cells(cells)
    if not found:
        raise UsageError("the notebook has no tests to export", hint="%%flow test NAME declares one")
    known = set(pipelines)
    for cell, parsed in found:
        if parsed.name not in known:
            what = f"the test is one of pipeline `{parsed.name}`, which no exported cell declares"
            raise UsageError(
                what, hint="export the cell that declares it, or tag this one with flow-scratch", where=cell.place
            )
    way = posixpath.relpath(module.replace("\\", "/"), posixpath.dirname(place.replace("\\", "/")) or ".")
    head = (
        "\nfrom pathlib import Path\n\nfrom ematix_nb.testing import check_case\n\n"
        f"MODULE = Path(__file__).parent / {text_literal(way)}\n"
    )
    return head + "".join(_functions([parsed for _, parsed in found]))


def _functions(tests: list[flow.Cell]) -> Iterator[str]:
    taken: set[str] = set()
    for test in tests:
        words = suggested_name(f"test_{test.name}_{test.options.get('name', '')}").lower().strip("_")
        name, number = words, 2
        while name in taken:
            name, number = f"{words}_{number}", number + 1
        taken.add(name)
        body = sql_literal(textwrap.dedent(test.body).strip("\n"), INDENT * 2)
        lines = [f"{INDENT * 2}MODULE,", f"{INDENT * 2}{text_literal(test.name)},", f"{INDENT * 2}{body},"]
        if test.options.get("name"):
            lines.append(f"{INDENT * 2}name={text_literal(str(test.options['name']))},")
        yield f"\n\ndef {name}():\n{INDENT}check_case(\n" + "\n".join(lines) + f"\n{INDENT})\n"
