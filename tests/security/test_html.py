"""Results of verbs over hostile data: their HTML holds our tags only, their text no control signs (X4, X6, X26)."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import duckdb
import pytest

from ematix_nb import ematix
from ematix_nb.errors import FlowError
from ematix_nb.verbs.dispatch import prepare
from ematix_nb.verbs.grammar import parse
from ematix_nb.verbs.html import escape, preformatted, table_html
from tests.widgets.test_static import PAYLOADS, checked

if TYPE_CHECKING:
    from pathlib import Path

SETTINGS = """\
[connections.warehouse]
kind = "duckdb"
path = "warehouse.duckdb"

[connections."broken"]
kind = "<script>alert(1)</script>"
"""
SAMPLE = [PAYLOADS[0], PAYLOADS[-3]]
OTHERS = [pytest.param(payload, marks=pytest.mark.nightly) for payload in PAYLOADS if payload not in SAMPLE]


@pytest.mark.parametrize("payload", PAYLOADS)
def test_the_helpers_escape(payload: str) -> None:
    found = checked(table_html(payload, (payload, "b"), [(payload, 1), ({payload: [payload]}, b"<b>")], "", (payload,)))
    assert not payload.isprintable() or payload in found
    checked(table_html(payload, (payload,), [], payload, (payload,)))
    checked(preformatted(payload))
    assert "<" not in escape(payload)
    assert '"' not in escape(payload)


def hostile(project: Path, payload: str) -> None:
    """A warehouse and four pipelines whose names of tables and columns, values and messages hold a payload."""
    (project / ".ematix-flow.toml").write_text(SETTINGS)
    word = payload.replace("\x00", "")
    name = '"' + word.replace('"', '""') + '"'
    with duckdb.connect(str(project / "warehouse.duckdb")) as warehouse:
        warehouse.execute(f"CREATE OR REPLACE TABLE {name} (id BIGINT, {name} VARCHAR)")
        warehouse.execute(f"INSERT INTO {name} VALUES (1, ?), (2, ?)", [word, word * 40])

    def declare(number: int, sql: str, **options: Any) -> None:
        target = f'warehouse:main."t{number}{word.replace(chr(34), chr(34) * 2)}"'
        options = {"target": target, "source_connection": "warehouse", "mode": "append"} | options

        def query(conn: Any) -> str:
            if number == 3:
                raise ValueError(payload)
            return sql

        ematix.pipeline(name=f"p{number}", **options)(query)

    declare(1, f"SELECT id, {name} FROM {name}", mode="merge", keys=("id",))
    declare(2, f"SELECT {name} || nowhere AS id FROM {name}")
    declare(3, "")
    declare(4, f"SELECT CAST({name} AS BIGINT) AS id FROM {name}")


LINES = (
    "preview p1", "plan p1", "dry-run p1", "run p1", "run p1", "preview p1", "run p4", "run p1 p4 --continue",
    "validate p1 p2 p3", "runs list --last 20", "connections list", "list", "doctor", "run-due", "run p2", "run p3",
    "preview p3", "watermark show p1", "transform list", "profile", "diff p1", "diff p4", "schema p1",
    "tables warehouse", "connect warehouse", "status", "plan p1 --counts", "run p1 --sandbox",
)  # fmt: skip


@pytest.mark.parametrize("payload", [*SAMPLE, *OTHERS])
def test_every_verb_escapes(payload: str, project: Path) -> None:
    hostile(project, payload)
    shown = 0
    for line in LINES:
        result: Any = None
        told = ""
        try:
            result = prepare(parse(line.split()), registry_ready=True).run()
        except FlowError as error:
            told = str(error)
        checked(preformatted(told))
        if result is None:
            continue
        bundle = result._repr_mimebundle_()
        checked(bundle["text/html"])
        assert len(bundle["text/html"].encode()) <= 61_000
        assert not any(sign in bundle["text/plain"] for sign in "\x00\x1b\u202e\u2066\u200f"), line
        shown += 1
    assert shown >= 12


@pytest.mark.parametrize("payload", PAYLOADS)
def test_progress_is_one_line_whatever_the_data_says(payload: str) -> None:
    """X26: a line of the log cannot be forged by a line end in a name or a message."""
    from ematix_nb.cli.progress import Progress
    from ematix_nb.events import RunFinished, RunStarted, SchemaChanged, Warned

    text = f"{payload}\nforged: success, 5 rows read\r\x1b[1A"
    stream = io.StringIO()
    facts: dict[str, Any] = {"run_id": "r", "pipeline": text}
    progress = Progress(stream)
    for event in (
        RunStarted(**facts, target=text, mode="append"),
        SchemaChanged(**facts, change=text),
        Warned(**facts, message=text),
        RunFinished(**facts, status="failed", error=text),
    ):
        progress.on_event(event)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 4
    assert not any(line.startswith("forged") for line in lines)
    assert "\x1b" not in stream.getvalue()
