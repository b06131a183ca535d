"""`make peers`: each case of `docs/comparison.md` asked of the other tools; a table, and the page with what came out.

Needs a PostgreSQL server in ``EMATIX_TEST_PG_URL`` on which databases may be created.
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import subprocess
import sys

import psycopg

from tests.peers.ask import Peer
from tests.peers.elsewhere import CASES, measure
from tests.peers.page import PAGE, Found, read, render, renewed, tables, write
from tests.peers.rows import ROWS, SECTIONS

HISTORY = "SELECT count(*) FROM ematix_flow.run_history WHERE status = 'running'"
DLT_VERSIONS = "note, _dlt_valid_to IS NULL, _dlt_valid_from"


def peers(python: str) -> list[Peer]:
    """The other tools, in the order of the page."""
    return [
        Peer("ematix_flow", "ematix-flow", python, wants_key=True, unfinished=HISTORY),
        Peer("dlt", "dlt", python, DLT_VERSIONS, has_folder=True),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.peers", description=__doc__)
    parser.add_argument("python", help="a Python with benchmarks/peers.txt installed")
    parser.add_argument("--only", choices=CASES, action="append", help="this case; nothing is written")
    parser.add_argument("--peer", action="append", help="this tool; nothing is written")
    parser.add_argument("--renew", action="store_true", help="write what is measured over that of the last run")
    arguments = parser.parse_args()
    server = os.environ.get("EMATIX_TEST_PG_URL", "postgresql://postgres@127.0.0.1/postgres")
    names = arguments.only or list(CASES)
    found = Found(**setting(arguments.python, server), peers={})
    for peer in peers(arguments.python):
        if arguments.peer and peer.distribution not in arguments.peer:
            continue
        version = peer.version()
        if version is None:
            print(f"{peer.distribution} is not installed for {arguments.python}", file=sys.stderr)
        label = f"{peer.distribution} {version or '(not installed)'}"
        found.peers[label] = {}
        for name in names if version else ():
            found.peers[label][name] = measure(peer, name, server)
            print(f"{label}  {name}  {found.peers[label][name]}", file=sys.stderr, flush=True)
    asked = {title: {name: row for name, row in rows.items() if name in names} for title, rows in SECTIONS.items()}
    print(tables({title: rows for title, rows in asked.items() if rows}, found))
    partial = arguments.only or arguments.peer
    if arguments.renew or not partial:
        write(renewed(read(), found) if partial else found)
        PAGE.write_text(render(SECTIONS, read()), encoding="utf-8")
    return 0


def setting(python: str, server: str) -> dict[str, str]:
    """When and where this is measured."""
    query = "import platform; print(platform.python_version())"
    version = subprocess.run([python, "-c", query], capture_output=True, text=True, check=True).stdout.strip()
    with psycopg.connect(server) as session:
        number = session.info.parameter_status("server_version") or ""
    return {
        "date": f"{dt.datetime.now(dt.UTC):%Y-%m-%d}",
        "python": version,
        "postgresql": number.split()[0],
    }


if __name__ == "__main__":
    assert set(CASES) == set(ROWS)
    raise SystemExit(main())
