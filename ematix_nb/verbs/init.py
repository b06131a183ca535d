"""A small project to start from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ematix_nb.errors import UsageError
from ematix_nb.verbs.results import TableResult

if TYPE_CHECKING:
    from ematix_nb.verbs.dispatch import Call

_SETTINGS = """\
# Where the connections lead, and which modules hold pipelines.
# Secrets belong into variables: password = "${PGPASSWORD}"
modules = ["pipelines/example.py"]

[connections.lake]
kind = "object_store_local"
path = "data"
format = "csv"

[connections.warehouse]
kind = "duckdb"
path = "warehouse.duckdb"

# On the server: flow --profile prod run-due
# [profiles.prod.connections.warehouse]
# kind = "postgres"
# url = "${WAREHOUSE_URL}"
"""

_MODULE = '''\
"""An example pipeline: a file of readings, merged by their id.

flow preview example      shows what a run would do
flow run example          does it
flow runs                 shows what was done
"""

from __future__ import annotations

from ematix_nb import ematix


@ematix.pipeline(
    target="warehouse:main.readings",
    source_connection="lake",
    mode="merge",
    keys=("reading_id",),
    schedule="0 * * * *",
)
def example(conn):
    return 'SELECT reading_id, sensor, taken_at, value FROM "readings.csv"'
'''

_DATA = """\
reading_id,sensor,taken_at,value
1,north,2026-01-05T08:00:00,3.5
2,south,2026-01-05T08:00:00,4.0
3,north,2026-01-05T09:00:00,3.75
4,south,2026-01-05T09:00:00,4.25
5,north,2026-01-05T10:00:00,4.5
"""

_CELLS = (
    (
        "markdown",
        "# First pipeline\n\nA `SELECT`, a look at what it would change, a run. The file `.ematix-flow.toml`\n\
in the folder above defines the connections `lake` and `warehouse`.",
    ),
    ("code", '%load_ext ematix_nb\nimport os\n\nos.chdir("..") if not os.path.exists(".ematix-flow.toml") else None'),
    (
        "code",
        '%%flow pipeline sensors --from lake --to warehouse:main.sensors --mode merge --keys sensor\n\
SELECT sensor, count(*) AS readings, max(value) AS highest\nFROM "readings.csv"\nGROUP BY sensor',
    ),
    ("code", "%flow preview sensors"),
    ("code", "%flow run sensors"),
    ("code", "%flow runs"),
)


def init(call: Call) -> TableResult:
    """Write settings, a module and a notebook.

    Raises:
        UsageError: One of the files is there already and ``--force`` was not given; nothing was written.
    """
    folder = Path(call.options["dir"])
    files = {
        ".ematix-flow.toml": _SETTINGS,
        "data/readings.csv": _DATA,
        "pipelines/example.py": _MODULE,
        "notebooks/first.ipynb": notebook_text(),
    }
    there = [name for name in files if (folder / name).exists()]
    if there and not call.options["force"]:
        raise UsageError(
            f"{', '.join(there)} would be overwritten in {folder.resolve()}", hint="add --force, or name another folder"
        )
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"`{folder}` is a file, expected a folder")
    try:
        for name, text in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        (folder / ".ematix-flow.toml").chmod(0o600)
    except OSError as error:
        raise UsageError(f"{folder.resolve()} cannot be written: {error.strerror}") from None
    rows = tuple((name, "replaced" if name in there else "written") for name in files)
    step = "" if folder.resolve() == Path.cwd() else f"cd {call.options['dir']} && "
    return TableResult("", ("file", "state"), rows, notes=(f"next: {step}flow preview example",))


def notebook_text() -> str:
    """The starter notebook as JSON, the same on every call."""
    cells: list[dict[str, Any]] = []
    for number, (kind, source) in enumerate(_CELLS, 1):
        cell = {"cell_type": kind, "id": f"cell-{number}", "metadata": {}, "source": source.splitlines(keepends=True)}
        cells.append(cell | ({"execution_count": None, "outputs": []} if kind == "code" else {}))
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    content = {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"
