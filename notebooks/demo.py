"""The worked example without a browser: `make demo`.

Executes the first notebook, exports it, and calls `flow run-due` as cron would on the days that follow. Everything is
kept in `demo/`; called again, it shows that a slot never fires twice.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
FOLDER = HERE.parent / "demo"
NOTEBOOK = HERE / "01_first_pipeline.ipynb"
MODULE = "pipelines/flights.py"
DAYS = (5, 6, 7)
"""The days of January 2013 whose flights arrive after the notebook was left, each on the next morning."""
DONE = FOLDER / "demo-is-complete"
LONGEST_S = 120
FLOW = Path(sys.executable).parent / "flow"


def main() -> int:
    """Run the demo, or show that it has nothing left to do."""
    sys.path.insert(0, str(HERE))
    os.environ["EMATIX_DEMO_FOLDER"] = str(FOLDER)
    os.environ["XDG_CACHE_HOME"] = str(FOLDER / ".cache")  # what is remembered goes when demo/ goes
    return again() if DONE.exists() else first()


def first() -> int:
    """From an empty folder to a warehouse that a scheduler keeps up to date."""
    headline("1. The notebook, executed without a browser")
    execute()
    os.chdir(FOLDER)

    headline("2. The notebook as a module")
    flow("export", str(NOTEBOOK), "--out", MODULE)
    flow("list", "--module", MODULE, "--now", morning(DAYS[0]))

    headline("3. Three mornings: a file arrives, cron calls run-due")
    import data

    for day in DAYS:
        data.write_days(day)
        run_due(morning(day))
        say()
    say("and once more on the last morning:")
    run_due(morning(DAYS[-1]))

    headline("4. What happened, and what is there now")
    flow("runs", "--module", MODULE, "--last", "6")
    say()
    show_target()
    DONE.write_text("make demo has nothing left to do; remove demo/ to start over\n", encoding="utf-8")
    next_steps()
    return 0


def again() -> int:
    """Everything was done before: nothing may change."""
    os.chdir(FOLDER)
    say("demo/ holds the finished demo of an earlier call. cron calls again on the last of its mornings:\n")
    before = state_of_target()
    run_due(morning(DAYS[-1]))
    after = state_of_target()
    say()
    for name, (rows, digest) in after.items():
        say(f"analytics.{name}: {rows:,} rows, hash {digest}")
    if before != after:
        say(f"\nThis should not be: the rows were {before}.")
        return 1
    say("The same rows as before the call; nothing was changed.")
    next_steps(more=("rm -r demo      then `make demo` starts from nothing",))
    return 0


def execute() -> None:
    """Execute the notebook in a kernel of its own, with `demo/` as its working folder."""
    import nbformat
    from nbclient import NotebookClient

    started = time.monotonic()
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(
        notebook,
        timeout=LONGEST_S,
        resources={"metadata": {"path": str(HERE)}},
        extra_arguments=["--IPKernelApp.log_level=ERROR"],
    ).execute()
    nbformat.write(notebook, FOLDER / NOTEBOOK.name)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    runs = [line for cell in cells if "%flow run " in cell.source for line in answers(cell)]
    for line in runs:
        say(f"  {line}")
    say(f"{len(cells)} cells in {time.monotonic() - started:.0f} s; the executed notebook is demo/{NOTEBOOK.name}")


def answers(cell: dict[str, object]) -> list[str]:
    """The first line of each result that a cell shows."""
    outputs = json.loads(json.dumps(cell["outputs"]))
    return [output["data"]["text/plain"].splitlines()[0] for output in outputs if "data" in output]


def morning(day: int) -> str:
    """When cron calls after that day: on the next one, soon after both schedules."""
    return f"2013-01-{day + 1:02}T06:15Z"


def run_due(now: str) -> None:
    """Call `flow run-due` as if it were that time."""
    flow("run-due", "--module", MODULE, "--interval", "3600", "--now", now)


def flow(*words: str) -> None:
    """Call the command as a shell would, and show the line and its answer.

    Raises:
        SystemExit: The command failed; with its exit code.
    """
    say("$ flow " + " ".join(os.path.relpath(word) if Path(word).is_absolute() else word for word in words))
    done = subprocess.run([FLOW, *words], check=False, capture_output=True, text=True, timeout=LONGEST_S)
    for line in done.stdout.splitlines():
        say(f"  {line}")
    if done.returncode:
        say(done.stderr)
        raise SystemExit(done.returncode)


def state_of_target() -> dict[str, tuple[int, str]]:
    """For each table: its rows, and a hash that does not depend on their order."""
    import duckdb

    found = {}
    with duckdb.connect("warehouse.duckdb", read_only=True) as warehouse:
        for name in ("flights", "airlines"):
            rows = warehouse.execute(f"SELECT CAST(t AS VARCHAR) FROM analytics.{name} AS t").fetchall()  # noqa: S608 - our own two names
            digests = sorted(hashlib.sha256(row[0].encode()).hexdigest() for row in rows)
            found[name] = (len(rows), hashlib.sha256("".join(digests).encode()).hexdigest()[:16])
    return found


def show_target() -> None:
    """Print the table of airlines, and how many flights there are."""
    import duckdb

    from ematix_nb.verbs.text import table

    columns = ("carrier", "flights", "cancelled", "worst_delay", "last_departure")
    query = """
        SELECT carrier, flights, cancelled, worst_delay, strftime(timezone('UTC', last_departure), '%Y-%m-%d %H:%M UTC')
        FROM analytics.airlines ORDER BY carrier
    """
    with duckdb.connect("warehouse.duckdb", read_only=True) as warehouse:
        rows = warehouse.execute(query).fetchall()
    say("warehouse.duckdb, analytics.airlines:")
    say("\n".join(f"  {line}" for line in table(columns, rows).splitlines()))
    say()
    for name, (count, digest) in state_of_target().items():
        say(f"analytics.{name}: {count:,} rows, hash {digest}")


def next_steps(more: tuple[str, ...] = ()) -> None:
    """What a reader may want to do now."""
    headline("Next")
    for line in ("make lab        opens the notebook in JupyterLab", "make demo       again: nothing is due", *more):
        say(f"  {line}")
    say(f"  demo/{MODULE} is the module that cron ran; `flow schedule --module {MODULE}` prints its crontab line")


def headline(text: str) -> None:
    """A line that stands out."""
    say(f"\n\033[1m{text}\033[0m\n" if sys.stdout.isatty() else f"\n{text}\n{'-' * len(text)}")


def say(text: str = "") -> None:
    """Print at once, also into a pipe."""
    print(text, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
