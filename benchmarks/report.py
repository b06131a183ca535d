"""The figures as a table for a terminal, as a file by date, and as a page of the documentation."""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

from benchmarks.cases import CASES, Case
from benchmarks.preview import GOALS

KEPT = Path(__file__).parent / "results"
PAGE = Path(__file__).parent.parent / "docs" / "performance.md"
PACKAGES = ("ematix-nb", "pyarrow", "psycopg", "pgpq", "duckdb", "datafusion", "deltalake", "polars", "pymysql")
SIDE_TITLES = {
    "wide": "limit, with the engine's two columns",
    "ours": "ematix_nb",
    "cold": "ematix_nb, in a new process",
}
INTRO = """\
# Performance

What `make bench` gave last on one machine, written by it. Each move is done by hand (the *limit*: no history, no state,
no checks) and by this project, in turn, each time in a new process; the figures are medians. Libraries are loaded
before the clock starts, on every side, and this project has moved one row, so that what is measured is the move. What
a start costs is said by the case of one row, and by the last table. *Memory* is the peak of the client process, from
its start. A limit that is a `psql` process needs next to none.

Of the peers one round was measured, at 1,000,000 rows. *The engine's two columns* are `_loaded_at` and `_batch_id`: a
table with them holds about a third more bytes here. Where both limits are shown, the goal is held against the
one that writes the same columns.
"""
NOTES = """\
## What the figures do not say

* The servers run on the same two cores as the client: a second client thread takes time from the server.
* Rounds of the same side differ by 5 to 15 percent on such a machine; a ratio of 1.05 is a tie.
* A goal is what we want to stay within; one that is missed says so.
"""


def _limit(case: Case, figures: dict[str, Any]) -> float | None:
    found = [figures[side]["seconds"] for side in case.limits if side in figures]
    return min(found) if found else None


def _rows(results: dict[str, Any]) -> list[list[str]]:
    """Case, side, rows, seconds, times the limit, memory, goal."""
    lines: list[list[str]] = []
    for rows in (key for key in results if key.isdigit()):
        for name, figures in results[rows].items():
            case = CASES[name]
            limit = _limit(case, figures)
            for side in (side for side in (*case.sides, *case.peers) if side in figures):
                found = figures[side]
                ratio = f"{found['seconds'] / limit:.2f}" if limit else ""
                goal = _goal(case, figures, found) if side == "ours" else ""
                seconds, memory = f"{found['seconds']:.2f}", f"{found['peak_mb']:.0f}"
                title = SIDE_TITLES.get(side, side.replace("_", "-"))
                lines.append([case.title, f"{int(rows):,}", title, seconds, ratio, memory, goal])
    return lines


def _goal(case: Case, figures: dict[str, Any], found: dict[str, float]) -> str:
    """The goals, and which of them is missed; held against the limit that writes the same columns."""
    parts = []
    fair = figures.get("wide", {}).get("seconds") or _limit(case, figures)
    if case.goal and fair:
        times = found["seconds"] / fair
        beside = f"{times:.2f} x with the two columns, " if "wide" in figures else ""
        parts.append(f"{beside}goal {case.goal:.1f} x" + (" (missed)" if round(times, 2) > case.goal else ""))
    parts.append(f"{case.memory_mb} MB" + (" (missed)" if found["peak_mb"] > case.memory_mb else ""))
    return ", ".join(parts)


def table(results: dict[str, Any]) -> str:
    """The figures for a terminal."""
    lines = []
    before = ("", "")
    for title, rows, side, seconds, ratio, memory, goal in _rows(results):
        if before != (title, rows):
            lines.append(f"{title}, {rows} rows")
        before = (title, rows)
        times = f"{ratio:>5} x limit" if ratio else ""
        lines.append(f"  {side:38}{seconds:>8} s {memory:>6} MB  {times}  {goal}")
    for name, figures in results.get("startup", {}).items():
        lines.append(f"{name:40}{figures['wall_ms']:8.0f} ms wall {figures['cpu_ms']:8.0f} ms CPU")
    if "preview_10m" in results:
        lines.append("preview of a Parquet file of 10,000,000 rows")
        lines += [f"  {name:38}{value:>8} {goal}" for name, value, goal in _preview(results["preview_10m"])]
    return "\n".join(lines)


def _preview(figures: dict[str, float]) -> list[tuple[str, str, str]]:
    """Name, figure, goal."""
    return [(name, f"{value:.0f}", _within(name, value)) for name, value in figures.items()]


def _within(name: str, value: float) -> str:
    goal = GOALS.get(name)
    return "" if goal is None else f"goal {goal}" + (" (missed)" if value > goal else "")


def save(results: dict[str, Any], rounds: dict[str, int]) -> Path:
    """Add the figures to those of today, with how often each size was measured, and write the page."""
    KEPT.mkdir(exist_ok=True)
    today = dt.datetime.now(tz=dt.UTC).date().isoformat()
    path = KEPT / f"{today}.json"
    kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for key, found in results.items():
        kept[key] = {**kept.get(key, {}), **found}
    kept |= {"rounds": {**kept.get("rounds", {}), **rounds}, "machine": _machine(), "versions": _versions()}
    path.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    PAGE.write_text(page(kept, today), encoding="utf-8")
    return path


def latest() -> tuple[dict[str, Any], str]:
    """The newest kept figures, and their day."""
    path = max(KEPT.glob("*.json"))
    return json.loads(path.read_text(encoding="utf-8")), path.stem


def page(kept: dict[str, Any], day: str) -> str:
    """The page of the documentation."""
    versions = ", ".join(f"{name} {version}" for name, version in sorted(kept["versions"].items()))
    rounds = ", ".join(f"{count} rounds of {int(rows):,} rows" for rows, count in sorted(kept["rounds"].items()))
    lines = [INTRO, f"{day}, {rounds}, {kept['machine']}; {versions}.\n"]
    lines += [
        "| move | rows | by | seconds | x limit | memory, MB | goal |",
        "| --- | --: | --- | --: | --: | --: | --- |",
    ]
    order = {key: index for index, key in enumerate(CASES)}
    sizes = sorted((key for key in kept if key.isdigit()), key=int)
    ordered = {size: dict(sorted(kept[size].items(), key=lambda item: order[item[0]])) for size in sizes}
    lines += ["| " + " | ".join(row) + " |" for row in _rows(ordered)]
    if "startup" in kept:
        lines += ["", "| start of a process | ms | CPU ms |", "| --- | --: | --: |"]
        for name, found in kept["startup"].items():
            lines.append(f"| `{name}` | {found['wall_ms']:.0f} | {found['cpu_ms']:.0f} |")
    if "preview_10m" in kept:
        lines += ["", "| preview of a Parquet file of 10,000,000 rows | | goal |", "| --- | --: | --- |"]
        lines += ["| " + " | ".join(row) + " |" for row in _preview(kept["preview_10m"])]
    return "\n".join(lines) + "\n\n" + NOTES


def _machine() -> str:
    """Processor, cores, memory, system."""
    cpuinfo = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    model = next((line.partition(":")[2].strip() for line in cpuinfo if line.startswith("model name")), "")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores ({model}), {memory:.0f} GiB, Linux {platform.release().partition('-')[0]}"


def _versions() -> dict[str, str]:
    found = {"Python": platform.python_version()}
    for name in PACKAGES:
        found[name] = importlib.metadata.version(name)
    server = os.environ.get("EMATIX_TEST_PG_URL")
    if server:
        command = ["psql", "-tAd", server, "-c", "SHOW server_version"]
        found["PostgreSQL"] = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[0]
    return found


if __name__ == "__main__":
    PAGE.write_text(page(*latest()), encoding="utf-8")
