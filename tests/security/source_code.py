"""The package's own source, to be looked through."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
MODULES = sorted(
    path
    for folder in ("ematix_nb", "magics", "widgets")
    for path in (ROOT / folder).rglob("*.py")
    if folder != "ematix_nb" or not {"magics", "widgets"} & set(path.relative_to(ROOT / "ematix_nb").parts)
)
"""Every module once: the links to `magics` and `widgets` are not followed."""


def called_names(tree: ast.AST) -> list[tuple[str, int]]:
    """What is called, with its line: `eval`, `os.system`, `pickle.loads`."""
    return [(ast.unparse(node.func), node.lineno) for node in ast.walk(tree) if isinstance(node, ast.Call)]


def imported_names(tree: ast.AST) -> set[str]:
    """The packages that a module imports, their first part."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found
