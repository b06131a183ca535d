"""A MariaDB server for tests: named in the environment or started, and fresh databases on it.

Run as a program it wraps a command, as `tests.support.postgres` does: `python -m tests.support.mariadb pytest ...`
names the server in `EMATIX_TEST_MYSQL_URL` for everything that the command starts.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.support.postgres import PORT_ATTEMPTS, Server, ServerUnavailableError, _last_lines, _stop, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

URL_VARIABLE = "EMATIX_TEST_MYSQL_URL"
START_TIMEOUT_S = 60.0

# As in tests.support.postgres: the server ends when this process does, and then its folder goes too. Nothing in it is
# worth an orderly end.
SUPERVISOR = """\
folder="$1"; shift
"$@" </dev/null & server=$!
read -r told
kill -KILL "$server" 2>/dev/null; wait "$server"
[ -n "$told" ] || rm -rf "$folder"
"""

# Durability protects from a power cut only. The character set is not the one that the engine wants, on purpose.
SETTINGS = (
    "--bind-address=127.0.0.1",
    "--local-infile=1",
    "--character-set-server=latin1",
    "--innodb-flush-log-at-trx-commit=0",
    "--innodb-flush-method=nosync",
    "--innodb-buffer-pool-size=256M",
    "--innodb-log-file-size=256M",
    "--skip-innodb-doublewrite",
    "--skip-log-bin",
    "--max-connections=200",
    "--max-allowed-packet=64M",
    "--skip-name-resolve",
)


@contextlib.contextmanager
def server() -> Iterator[Server]:
    """Gives a server: the one named in the environment, or an own one.

    Raises:
        ServerUnavailableError: nothing worked; the message says what to install.
    """
    named = os.environ.get(URL_VARIABLE)
    if named:
        if problem := _unusable(named):
            message = f"{URL_VARIABLE} is set, but {problem}"
            raise ServerUnavailableError(message)
        yield Server(url=named, origin=URL_VARIABLE)
        return
    programs = _programs()
    if programs is None:
        message = f"no MariaDB is installed; install Debian's `mariadb-server`, or set {URL_VARIABLE}"
        raise ServerUnavailableError(message)
    with own_server(*programs) as url:
        yield Server(url=url, origin=f"own server, {programs[0]}")


def _programs() -> tuple[str, str] | None:
    """The server and the program that makes a data folder, or None."""
    path = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"))
    found = shutil.which("mariadbd", path=path), shutil.which("mariadb-install-db", path=path)
    return (found[0], found[1]) if found[0] and found[1] else None


@contextlib.contextmanager
def own_server(program: str, installer: str) -> Iterator[str]:
    """Starts a throw-away server with its own data folder on a free port of 127.0.0.1; gives its URL.

    Raises:
        ServerUnavailableError: the data folder or the server failed; the message ends with what they wrote last.
    """
    folder = Path(tempfile.mkdtemp(prefix="ematix-mysql-"))
    try:
        user = _unprivileged_user()
        if user is not None:
            os.chown(folder, user.pw_uid, user.pw_gid)
        identity: dict[str, Any] = (
            {} if user is None else {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        )
        made = subprocess.run(
            [installer, "--no-defaults", f"--datadir={folder / 'data'}", "--skip-test-db",
             "--auth-root-authentication-method=normal"],
            **identity, cwd=folder, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if made.returncode:
            message = f"`{Path(installer).name}` failed: {_last_lines(made.stderr or made.stdout)}"
            raise ServerUnavailableError(message)
        with _running(program, folder, identity) as url:
            yield url
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _unprivileged_user() -> pwd.struct_passwd | None:
    """The account to run the server as when we are root; else None."""
    if os.geteuid() != 0:
        return None
    for name in ("mysql", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    message = "running as root and there is neither a user `mysql` nor `nobody` to run the server as"
    raise ServerUnavailableError(message)


@contextlib.contextmanager
def _running(program: str, folder: Path, identity: dict[str, Any]) -> Iterator[str]:
    log = folder / "server.log"
    for _ in range(PORT_ATTEMPTS):
        port = free_port()
        # its own `tmpdir`: a server that starts removes the temporary tables that it finds there, those of others too
        command = [program, "--no-defaults", f"--datadir={folder / 'data'}", f"--port={port}",
                   f"--socket={folder / 'socket'}", f"--pid-file={folder / 'pid'}", f"--tmpdir={folder}",
                   *SETTINGS]  # fmt: skip
        with log.open("wb") as output:
            process = subprocess.Popen(
                ["/bin/sh", "-c", SUPERVISOR, "sh", str(folder), *command],
                **identity, cwd=folder, stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip
        url = f"mysql://root@127.0.0.1:{port}/mysql"
        try:
            if _wait_until_ready(process, url):
                yield url
                return
        finally:
            _stop(process)
        if "already in use" not in log.read_text(errors="replace"):
            break
    message = f"the server did not start: {_last_lines(log.read_text(errors='replace'))}"
    raise ServerUnavailableError(message)


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


def arguments(url: str) -> dict[str, Any]:
    """What `pymysql.connect` takes, from a URL."""
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    return {
        "host": parts.hostname,
        "port": parts.port or 3306,
        "user": parts.username or "root",
        "password": parts.password or "",
        "database": parts.path.removeprefix("/") or None,
        "charset": "utf8mb4",
    }


def _unusable(url: str) -> str | None:
    """Why no databases can be created at `url`, or None when they can."""
    import pymysql

    try:
        with pymysql.connect(**arguments(url), connect_timeout=3) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM mysql.user WHERE Create_priv = 'Y' LIMIT 1")
            row = cursor.fetchone()
    except (pymysql.err.Error, OSError, RuntimeError) as error:
        return f"no connection: {_last_lines(str(error))}"
    return None if row else "its user may not create databases"


def with_database(url: str, name: str) -> str:
    """The URL with another database.

    >>> with_database("mysql://root@127.0.0.1:3306/mysql", "orders")
    'mysql://root@127.0.0.1:3306/orders'
    """
    return f"{url.rpartition('/')[0]}/{name}"


@contextlib.contextmanager
def fresh_database(url: str) -> Iterator[str]:
    """Creates an empty database, gives its URL, and drops it after ending every session that is still in it."""
    import pymysql

    name = f"ematix_test_{secrets.token_hex(6)}"
    with pymysql.connect(**arguments(url), autocommit=True) as admin:
        admin.query(f"CREATE DATABASE {name}")
    try:
        yield with_database(url, name)
    finally:
        with pymysql.connect(**arguments(url), autocommit=True) as admin, admin.cursor() as cursor:
            cursor.execute(f"SELECT id FROM information_schema.processlist WHERE db = '{name}'")
            for (session,) in cursor.fetchall():
                with contextlib.suppress(pymysql.err.Error):  # it ended by itself
                    cursor.execute(f"KILL {session}")
            cursor.execute(f"DROP DATABASE IF EXISTS {name}")


def main(command: Sequence[str]) -> int:
    """Runs `command` with a server, or without one when there is none; returns the command's exit code."""
    with contextlib.ExitStack() as stack:
        environment = dict(os.environ)
        try:
            found = stack.enter_context(server())
        except ServerUnavailableError as error:
            print(f"MariaDB: {error}", file=sys.stderr)
            if os.environ.get("CI"):
                return 1
        else:
            print(f"MariaDB: {found.origin}", file=sys.stderr)
            environment[URL_VARIABLE] = found.url
        return subprocess.run(command, env=environment, check=False).returncode


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
