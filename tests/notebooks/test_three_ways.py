"""One notebook, three ways to run it: in its kernel, as an exported module by `flow`, as a module in plain Python.

Each way has data, a target and a folder of its own; afterwards the targets and the recorded fingerprints are equal.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import decimal
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from nbclient import NotebookClient

from tests.conformance.matrix import Delta, DuckDB, Parquet, Postgres, SQLite
from tests.support import postgres
from tests.support.invariants import check_rest, history, order_free_hash

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conformance.matrix import System

FORMAT: Any = nbformat  # ships no types
ROOT = Path(__file__).parents[2]
FLOW = str(Path(sys.executable).with_name("flow"))
START = dt.datetime(2013, 1, 1, 8, tzinfo=dt.UTC)
SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("at", pa.timestamp("us", tz="UTC")),
        ("name", pa.string()),
        ("amount", pa.decimal128(38, 9)),
        ("share", pa.float64()),
    ]
)
COLUMNS = ("id", "at", "name", "amount", "share")
TABLES = {
    "events": COLUMNS,
    "snapshot": COLUMNS,
    "latest": COLUMNS,
    "versions": (*COLUMNS, "valid_from", "valid_to", "is_current"),
}
ROWS = {"events": 43, "snapshot": 43, "latest": 42, "versions": 43}
LATER = "import shutil\nshutil.copy('later.parquet', 'data/events/later.parquet')"


def row(number: int, minutes: int, name: str | None) -> dict[str, Any]:
    """A row with values that a careless way would change."""
    amount = (
        None if number % 7 == 0 else decimal.Decimal(number) / 8 + decimal.Decimal("12345678901234567890.000000001")
    )
    at = START + dt.timedelta(minutes=minutes, microseconds=number)
    return {"id": number, "at": at, "name": name, "amount": amount, "share": number / 3}


FIRST = [row(number, number, None if number % 5 == 0 else f"näme {number} 🛫") for number in range(40)]
SECOND = [row(3, 50, "changed"), row(41, 39, ""), row(40, 60, "new, 'quoted'")]
"""A key again, one a minute late, one that is new. The late key is new as well."""


def cells(names: list[str], settings: str) -> list[str]:
    """A notebook that declares, runs, waits for the second file and runs again."""
    where = 'FROM "events/*.parquet"'
    last = f"SELECT * FROM (SELECT *, row_number() OVER (PARTITION BY id ORDER BY at DESC) AS place {where}) AS t"
    chosen = ", ".join(COLUMNS)
    pipelines = {
        "events": f"--mode append --watermark at\nSELECT {chosen} {where}",
        "snapshot": f"--mode truncate\nSELECT {chosen} {where}",
        "latest": f"--mode merge --keys id\nSELECT {chosen} FROM ({last}) AS u WHERE place = 1",
        "versions": f"--mode scd2 --keys id --event-time at\nSELECT {chosen} {where}",
    }
    run = f"%flow run {' '.join(names)}"
    return [
        "%load_ext ematix_nb",
        '%%flow connection lake\nkind = "object_store_local"\npath = "data"\nformat = "parquet"',
        f"%%flow connection place\n{settings}",
        *(f"%%flow pipeline {name} --from lake --to place:{name} {pipelines[name]}" for name in names),
        run,
        LATER,
        run,
    ]


@dataclass
class Way:
    """One folder with the data, and a target that nobody else writes to."""

    folder: Path
    system: System
    environment: dict[str, str]

    def prepare(self) -> None:
        """The first file is there, the second one is still outside."""
        (self.folder / "data" / "events").mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(FIRST, SCHEMA), self.folder / "data" / "events" / "first.parquet")
        pq.write_table(pa.Table.from_pylist(SECOND, SCHEMA), self.folder / "later.parquet")

    def call(self, *command: str) -> None:
        """Run a program in the folder."""
        environment = {**os.environ, **self.environment, "PYTHONPATH": f"{self.folder}"}
        done = subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=100, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def result(self, names: list[str]) -> dict[str, tuple[int, int]]:
        """For each table: its rows, and their hash."""
        rows = {name: self.system.rows(name, TABLES[name]) for name in names}
        return {name: (len(found), order_free_hash(found)) for name, found in rows.items()}

    def fingerprints(self, names: list[str]) -> set[tuple[str, str]]:
        """What the targets recorded of all runs."""
        return {(run.pipeline, run.fingerprint) for name in names for run in history(self.system.connection, name)}


SETTINGS = {
    "duckdb": 'kind = "duckdb"\npath = "${PLACE}"',
    "sqlite": 'kind = "sqlite"\npath = "${PLACE}"',
    "postgres": 'kind = "postgres"\nurl = "${PLACE}"',
    "parquet": 'kind = "object_store_local"\npath = "${PLACE}"\nformat = "parquet"',
    "delta": 'kind = "delta_local"\npath = "${PLACE}"',
}


@contextlib.contextmanager
def way(kind: str, folder: Path, server: str | None) -> Iterator[Way]:
    """A way with an empty target of that kind."""
    folder.mkdir()
    with contextlib.ExitStack() as stack:
        if kind == "postgres":
            assert server is not None
            place = stack.enter_context(postgres.fresh_database(server))
            system: System = Postgres(place)
        else:
            ending = {"duckdb": ".duckdb", "sqlite": ".sqlite", "parquet": "", "delta": ""}[kind]
            place = str(folder / f"place{ending}")
            classes: dict[str, Any] = {"duckdb": DuckDB, "sqlite": SQLite, "parquet": Parquet, "delta": Delta}
            system = classes[kind](Path(place))
        made = Way(folder, system, {"PLACE": place})
        made.prepare()
        yield made


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", ["duckdb", "sqlite", "postgres", "parquet", "delta"])
def test_kernel_command_and_python_agree(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = request.getfixturevalue("pg_server") if kind == "postgres" else None
    names = ["events", "snapshot"] if kind == "parquet" else list(TABLES)
    book = FORMAT.v4.new_notebook(cells=[FORMAT.v4.new_code_cell(source) for source in cells(names, SETTINGS[kind])])
    with (
        way(kind, tmp_path / "kernel", server) as kernel,
        way(kind, tmp_path / "command", server) as command,
        way(kind, tmp_path / "python", server) as python,
    ):
        for name, value in kernel.environment.items():
            monkeypatch.setenv(name, value)
        quiet = ["--IPKernelApp.log_level=ERROR"]
        resources = {"metadata": {"path": str(kernel.folder)}}
        NotebookClient(book, timeout=100, resources=resources, extra_arguments=quiet).execute()
        FORMAT.write(book, tmp_path / "book.ipynb")

        command.call(FLOW, "export", str(tmp_path / "book.ipynb"), "--out", "pipelines/orders.py")
        shutil.copytree(command.folder / "pipelines", python.folder / "pipelines")
        calls = "; ".join(f"orders.{name}.sync()" for name in names)
        for file in (None, "later.parquet"):
            for one in (command, python):
                if file is not None:
                    shutil.copy(one.folder / file, one.folder / "data" / "events")
            command.call(FLOW, "run", *names, "--module", "pipelines/orders.py")
            python.call(sys.executable, "-c", f"from pipelines import orders; {calls}")

        found = kernel.result(names)
        assert {name: rows for name, (rows, _) in found.items()} == {name: ROWS[name] for name in names}
        assert command.result(names) == found
        assert python.result(names) == found

        recorded = kernel.fingerprints(names)
        assert {name for name, _ in recorded} == set(names)
        assert len(recorded) == len(names), "a fingerprint changed between two runs"
        assert command.fingerprints(names) == recorded
        assert python.fingerprints(names) == recorded
        for one in (kernel, command, python):
            for name in names:
                check_rest(one.system, name)
