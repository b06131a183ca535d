"""Fixtures for every test: PostgreSQL, a browser, a clean environment, and no way out of this machine."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import shutil
import signal
import sys
from typing import TYPE_CHECKING, NoReturn

import pytest

from ematix_nb.connections import secret
from tests.support import azure, gcs, mariadb, postgres, programs, s3

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.stores import Bucket, Store

STORES: dict[str, Callable[[], contextlib.AbstractContextManager[Store]]] = {
    "s3": s3.server,
    "azure": azure.server,
    "gcs": gcs.server,
}
_foreign_addresses: list[str] = []
_config: list[pytest.Config] = []


def missing(what: str) -> NoReturn:
    """Skips the test, naming what it lacks; where `CI` is set, that is an error instead."""
    if os.environ.get("CI"):
        pytest.fail(f"missing in CI: {what}", pytrace=False)
    pytest.skip(f"missing: {what}")


def _is_loopback(host: str) -> bool:
    if host in {"", "localhost"}:
        return True
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False  # a name that would have to be looked up
    return address.is_loopback or address.is_unspecified


def _guard(event: str, arguments: tuple[object, ...]) -> None:
    """Stops a connection of Python code that would leave this machine."""
    if event != "socket.connect":
        return
    address = arguments[1]
    if not isinstance(address, tuple) or _is_loopback(str(address[0])):
        return  # sockets of the file system have an address that is no tuple
    _foreign_addresses.append(str(address))
    pytest.fail(f"a test tried to connect to {address}; tests talk to 127.0.0.1 only", pytrace=True)


def pytest_configure(config: pytest.Config) -> None:
    """Installs the guard for the whole session, doctests included; an audit hook cannot be taken off again."""
    sys.addaudithook(_guard)
    _config[:] = [config]
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in what a shell started in the background
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(trylast=True)
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Shows a failure when it happens: the summary is lost where somebody ends the whole."""
    reporter = _config[0].pluginmanager.get_plugin("terminalreporter")
    if report.failed and reporter is not None and os.environ.get("CI"):
        reporter.write_line(f"\n{report.nodeid} ({report.when})\n{report.longreprtext}")


@pytest.fixture(autouse=True)
def _no_foreign_connections() -> Iterator[None]:
    """Fails a test whose code swallowed the guard's error, as a thread or a retry loop may."""
    _foreign_addresses.clear()
    yield
    assert not _foreign_addresses, f"connected to {_foreign_addresses}; tests talk to 127.0.0.1 only"


@pytest.fixture(autouse=True)
def _named_main() -> None:
    """Gives the main module a `__spec__`: a shell in the process replaces it by one without, and forked servers ask."""
    main = sys.modules["__main__"]
    if not hasattr(main, "__spec__"):
        main.__spec__ = None


@pytest.fixture(autouse=True)
def _own_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Masks the secrets of a test in that test alone: a password `t` would mask the name of the next table."""
    monkeypatch.setattr(secret, "_known", set(secret._known))
    monkeypatch.setattr(secret, "_compiled", (0, None))


@pytest.fixture(scope="session")
def _home(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("home"))


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, _home: str) -> None:
    """Hides the developer's own connections: their variables and their home folder."""
    for name in [name for name in os.environ if name.startswith("EMATIX_FLOW_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", _home)


@pytest.fixture(scope="session")
def pg_server() -> Iterator[str]:
    """The URL of a PostgreSQL server on which databases may be created; started for this session if need be."""
    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(postgres.server())
        except postgres.ServerUnavailableError as error:
            missing(str(error))
        yield server.url


@pytest.fixture
def pg_url(pg_server: str) -> Iterator[str]:
    """The URL of an empty database of this test's own."""
    with postgres.fresh_database(pg_server) as url:
        yield url


@pytest.fixture
def pg_url2(pg_server: str) -> Iterator[str]:
    """The URL of a second empty database on the same server."""
    with postgres.fresh_database(pg_server) as url:
        yield url


@pytest.fixture(scope="session")
def mysql_server() -> Iterator[str]:
    """The URL of a MariaDB server on which databases may be created; started for this session if need be."""
    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(mariadb.server())
        except postgres.ServerUnavailableError as error:
            missing(str(error))
        yield server.url


@pytest.fixture
def mysql_url(mysql_server: str) -> Iterator[str]:
    """The URL of an empty database of this test's own."""
    with mariadb.fresh_database(mysql_server) as url:
        yield url


@pytest.fixture
def mysql_url2(mysql_server: str) -> Iterator[str]:
    """The URL of a second empty database on the same server."""
    with mariadb.fresh_database(mysql_server) as url:
        yield url


@pytest.fixture(scope="session")
def store_servers() -> Iterator[Callable[[str], Store]]:
    """Gives the object store `s3`, `azure` or `gcs`; each is started when the first test asks for it."""
    found: dict[str, Store] = {}
    with contextlib.ExitStack() as stack:

        def started(name: str) -> Store:
            if name not in found:
                try:
                    found[name] = stack.enter_context(STORES[name]())
                except programs.ProgramMissingError as error:
                    missing(str(error))
            return found[name]

        yield started


@pytest.fixture
def fresh_bucket(store_servers: Callable[[str], Store]) -> Callable[[str], Bucket]:
    """Gives an empty bucket of the object store that is named."""
    return lambda name: store_servers(name).fresh()


@pytest.fixture(scope="session")
def delta_bucket(store_servers: Callable[[str], Store]) -> Iterator[Callable[[str], Bucket]]:
    """Gives an empty bucket of the object store that is named, with all that the Delta library asks of it."""
    with contextlib.ExitStack() as stack:
        found: dict[str, Store] = {}

        def fresh(name: str) -> Bucket:
            if name not in found:
                server = store_servers(name)
                starts = isinstance(server, azure.AzureStore)
                found[name] = stack.enter_context(azure.with_starts(server.endpoint)) if starts else server
            return found[name].fresh()

        yield fresh


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a Chromium to drive, as Debian installs it."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if path := shutil.which(name):
            return path
    missing("Chromium (Debian: `apt-get install chromium`)")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks each test that asks for a server, so that `-m 'not integration'` needs none."""
    for item in items:
        names = getattr(item, "fixturenames", ())
        if {"pg_server", "mysql_server", "store_servers"} & set(names):
            item.add_marker(pytest.mark.integration)
        if "chromium" in names:
            item.add_marker(pytest.mark.browser)
