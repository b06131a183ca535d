"""What the targets are given: words of each language among arbitrary text."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

ODD = (
    "", " ", "\n", "\t", "\r\n", "\\", "\0", "'", '"', "`", "$", "${", "$${", "}", "{", "%", "%s", "%%", "#", "--",
    "/*", "*/", ";", ":", ",", ".", "..", "/", "//", "://", "=", "==", "(", ")", "[", "]", "<", ">", "&", "@", "|",
    "!", "?", "*", "-", "+", "~", "^", "é", "日本", "🦆", "\u202e", "\ufeff", "\x1b[2J", "\x85", "\u2028", "0", "1",
    "-1", "1e9", "9" * 40,
)  # fmt: skip
LINE = (
    "run", "run-due", "preview", "dry-run", "plan", "list", "runs", "show", "connections", "set", "check", "export",
    "watermark", "reset", "transform", "schedule", "profile", "init", "doctor", "help", "pipeline", "table",
    "connection", "query", "orders", "lake:orders/*.csv", "wh:main.t", "--to", "--from", "--mode", "merge",
    "--keys", "id,name", "--watermark", "--schedule", "'*/5 * * * *'", "--limit", "--module", "--format", "json",
    "--into", "polars", "--bg", "--overlap", "10m", "--post", "--table", "--column-map", "a=b", "--help", "--yes",
    "--full-refresh", "--last", " ", " ",
)  # fmt: skip
SQL = (
    "SELECT", "FROM", "WHERE", "WITH", "AS", "INSERT", "UPDATE", "DELETE", "DROP", "TABLE", "INTO", "UNION", "ALL",
    "VALUES", "id", "v", "x", "NULL", "1", "'a'", '"b"', "`c`", "[d]", "$$", "$a$", "E'", "U&", "pg_read_file",
    "load_file", "read_text", "LATERAL", "JOIN", "ON", "USING", "ORDER BY", "LIMIT", "CASE", "WHEN", "END", "OVER",
    "PARTITION BY", "::", "->>", " ", " ",
)  # fmt: skip
TOML = (
    "[connections.a]\n", "[connections]\n", "[profiles.dev.connections.a]\n", "modules = [", '"shop.py"', "]\n",
    "kind", "=", '"duckdb"', '"postgres"', '"object_store_local"', '"kafka"', "\n", "path", "url", "password",
    '"x"', '"${X}"', "port", "1", "true", "format", '"csv"', "attach", '["a=b"]', "[[connections.a]]\n", "a.b.c",
    "'''", '"""', "2026-01-01", "{a = 1}", "inf",
)  # fmt: skip
URL = (
    "postgres://", "postgresql://", "mysql://", "sqlite:///", "duckdb:///", "duckdb://:memory:", "file:///",
    "s3://", "az://", "gs://", "delta:///", "amqp://", "u", "p", "@", ":", "5432", "99999", "h", "[::1]", "[", "/d",
    "?", "&", "=", "sslmode=require", "password=", "format=csv", "region=r", "%40", "%zz", "#", "${A}", "${B:-x}",
)  # fmt: skip
CRON = (
    "*", "*/5", "0", "59", "60", "1-5", "5-1", "1,2", "L", "W", "#", "MON", "mon-fri", "JAN", "@daily", "@hourly",
    "@reboot", "?", "31", "2", "29", " ", " ", " ", "/", "-", ",", "10-20/3", "*/0", "99999999999",
)  # fmt: skip
PYTHON = (
    "%%flow pipeline p --from lake --to lake:out\nSELECT 1 AS id\n",
    '%%flow connection lake\nkind = "duckdb"\npath = "x"\n', "%%flow table a.b\nid bigint pk\n", "%flow run p\n",
    "!ls\n", "from ematix_nb import ematix\n", "x = 1\n", "def p(conn):\n", '@ematix.pipeline(target="lake:t")\n',
    "    return 'SELECT 1'\n", "import os\n", "class T:\n", "    id: BigInt\n", "\n", "(", "# flow: export\n",
    "# flow: scratch\n", "%%flow\n", "%%bash\nls\n", "lambda: 1\n", "x ?\n", "async def f(): pass\n",
)  # fmt: skip


def mixed(*words: str, most: int = 14) -> st.SearchStrategy[str]:
    """Words, odd signs and arbitrary text, one after the other."""
    piece = st.one_of(st.sampled_from(words), st.sampled_from(words), st.sampled_from(ODD), st.text(max_size=6))
    return st.lists(piece, max_size=most).map("".join)


def spaced(*words: str) -> st.SearchStrategy[str]:
    """Words with blanks between them, and now and then an odd sign."""
    piece = st.one_of(st.sampled_from(words), st.sampled_from(words), st.sampled_from(words), st.sampled_from(ODD))
    return st.lists(piece, max_size=14).map(" ".join)


def values() -> st.SearchStrategy[Any]:
    """Any JSON."""
    leaf = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
    return st.recursive(
        leaf, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    )


def notebooks() -> st.SearchStrategy[bytes]:
    """Notebook files: of ours, with parts of other types, and bytes of any kind."""
    source = mixed(*PYTHON, most=8)
    cell = st.fixed_dictionaries(
        {
            "cell_type": st.sampled_from(["code", "code", "markdown", "raw", "x"]),
            "source": source | st.lists(source, max_size=3),
        },
        optional={"metadata": values(), "outputs": values(), "id": values()},
    )
    content = st.fixed_dictionaries(
        {"nbformat": st.just(4) | values(), "cells": st.lists(cell, min_size=1, max_size=4) | values()},
        optional={"metadata": values(), "nbformat_minor": values()},
    )
    written = content.map(lambda data: json.dumps(data).encode())
    return st.one_of(written, written, st.binary(max_size=60), values().map(lambda data: json.dumps(data).encode()))
