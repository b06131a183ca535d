"""Where the keys of a store come from, and that nobody shows them."""

from __future__ import annotations

import pickle
import sys
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from ematix_nb.backends.files import BACKEND
from ematix_nb.backends.files.azure import find_credential
from ematix_nb.backends.files.obstores import MACHINE_TIMES, RETRIES, ObstoreStorage
from ematix_nb.backends.files.s3 import Keys, find_keys
from ematix_nb.connections import (
    ObjectStoreAzureConnection,
    ObjectStoreGcsConnection,
    ObjectStoreS3Connection,
    connection_from_url,
    redact,
)
from ematix_nb.errors import ConfigError, ConnectError, MissingDriverError
from ematix_nb.verbs.connections import reach
from tests.support.azure import KEY
from tests.support.postgres import free_port

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.stores import Bucket

CREDENTIALS = """\
[default]
aws_access_key_id = AKIDEFAULT
aws_secret_access_key = secret-of-default
[other]
aws_access_key_id = AKIOTHER
aws_secret_access_key = secret-of-other
aws_session_token = token-of-other
"""
CONFIG = """\
[profile in-config]
aws_access_key_id = AKICONFIG
aws_secret_access_key = secret-of-config
[profile by-role]
role_arn = arn:aws:iam::123456789012:role/x
source_profile = default
"""


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """An environment with the files of the AWS tools."""
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "credentials").write_text(CREDENTIALS)
    (tmp_path / ".aws" / "config").write_text(CONFIG)
    return {"HOME": str(tmp_path)}


def s3(**settings: Any) -> ObjectStoreS3Connection:
    return ObjectStoreS3Connection(name="lake", bucket="b", region="r", format="csv", **settings).resolved()


def test_the_keys_of_the_connection_come_first(home: dict[str, str]) -> None:
    environment = {**home, "AWS_ACCESS_KEY_ID": "AKIENV", "AWS_SECRET_ACCESS_KEY": "x", "AWS_SESSION_TOKEN": "t"}
    given = s3(access_key_id="AKIOWN", secret_access_key="own-secret")
    assert find_keys(given, environment) == Keys("AKIOWN", "own-secret", None)
    given = s3(access_key_id="AKIOWN", secret_access_key="own-secret", session_token="own-token")
    assert find_keys(given, environment) == Keys("AKIOWN", "own-secret", "own-token")


def test_then_those_of_the_environment_then_those_of_a_profile(home: dict[str, str]) -> None:
    environment = {**home, "AWS_ACCESS_KEY_ID": "AKIENV", "AWS_SECRET_ACCESS_KEY": "env-secret"}
    assert find_keys(s3(), environment) == Keys("AKIENV", "env-secret", None)
    assert find_keys(s3(profile="other"), environment) == Keys("AKIOTHER", "secret-of-other", "token-of-other")
    assert find_keys(s3(), home) == Keys("AKIDEFAULT", "secret-of-default")
    assert find_keys(s3(), {**home, "AWS_PROFILE": "in-config"}) == Keys("AKICONFIG", "secret-of-config")
    assert find_keys(s3(), {"HOME": "/nowhere"}) is None
    assert redact("secret-of-other token-of-other env-secret") == "*** *** ***"
    assert "secret" not in repr(find_keys(s3(), home))


def test_profiles_that_do_not_help_are_told(home: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="there is no profile `missing`"):
        find_keys(s3(profile="missing"), home)
    with pytest.raises(ConfigError, match=r"profile `by-role` has no keys of its own(?s:.*)boto3"):
        find_keys(s3(profile="by-role"), home)


def test_the_keys_of_azure() -> None:
    def azure(**settings: Any) -> ObjectStoreAzureConnection:
        return ObjectStoreAzureConnection(name="l", account="a", container="c", format="csv", **settings).resolved()

    environment = {"AZURE_STORAGE_ACCOUNT_KEY": "ZW52", "AZURE_STORAGE_SAS_TOKEN": "?sv=1&sig=x"}
    assert find_credential(azure(account_key="b3du"), environment) == {"access_key": "b3du"}
    assert find_credential(azure(sas_token="?sv=2&sig=own"), environment) == {"sas_token": "sv=2&sig=own"}
    assert find_credential(azure(), environment) == {"access_key": "ZW52"}
    assert find_credential(azure(), {"AZURE_STORAGE_SAS_TOKEN": "?sv=1&sig=x"}) == {"sas_token": "sv=1&sig=x"}
    assert find_credential(azure(), {}) is None


def test_a_machine_that_gives_no_keys_is_told_soon() -> None:
    from obstore.store import S3Store

    nobody = f"http://127.0.0.1:{free_port()}"
    config: Any = {"region": "r", "metadata_endpoint": nobody, "endpoint": nobody}
    options: Any = {**MACHINE_TIMES, "allow_http": True}
    retries: Any = RETRIES
    storage = ObstoreStorage(S3Store("b", config=config, client_options=options, retry_config=retries), "s3://b", "c")
    started = time.monotonic()
    with pytest.raises(ConnectError, match="there are no keys for s3://b"):
        storage.probe()
    assert time.monotonic() - started < 20


@pytest.mark.parametrize(
    ("connection", "package", "extra"),
    [
        (s3(), "obstore", "s3"),
        (ObjectStoreAzureConnection(name="l", account="a", container="c", format="csv"), "obstore", "azure"),
        (ObjectStoreGcsConnection(name="l", bucket="b", format="csv"), "google.cloud", "gcs"),
    ],
)
def test_a_missing_package_is_told(connection: Any, package: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDriverError, match=rf"is not installed\n.*ematix-nb\[{extra}\]"):
        BACKEND.open(connection)


def test_nothing_shows_a_key() -> None:
    connections = [
        s3(access_key_id="AKI-hunter22", secret_access_key="hunter22", session_token="hunter22"),
        connection_from_url("l", "az://c/p?account=a&format=csv&account_key=hunter22"),
        connection_from_url("l", "az://c/p?account=a&format=csv&sas_token=sv%3D1%26sig%3Dhunter22"),
        ObjectStoreGcsConnection(name="l", bucket="b", format="csv", service_account="key.json"),
    ]
    for connection in connections:
        shown = (repr(connection), connection.summary(), str(pickle.loads(pickle.dumps(connection))))
        assert not any("hunter22" in text for text in shown)


def test_the_environment_is_enough(
    fresh_bucket: Callable[[str], Bucket], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bucket: Any = fresh_bucket("azure")
    bucket.put("t.csv", b"id\n1\n")
    settings = {"account": "devstoreaccount1", "container": bucket.name, "endpoint": bucket.endpoint}
    connection = ObjectStoreAzureConnection(name="l", format="csv", **settings)
    with pytest.raises(ConnectError, match="the store refuses to list"):
        BACKEND.open(connection)  # an endpoint of one's own and no key: nobody else is asked
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", bucket.connection("csv").reveal("account_key"))
    assert BACKEND.open(connection).tables() == ["t.csv"]
    bucket = fresh_bucket("s3")
    bucket.put("t.csv", b"id\n1\n")
    (tmp_path / "keys").write_text("[mine]\naws_access_key_id = tester\naws_secret_access_key = tester-secret\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "keys"))
    found = ObjectStoreS3Connection(
        name="l", bucket=bucket.name, region="us-east-1", endpoint=bucket.endpoint, profile="mine", format="csv"
    )
    assert BACKEND.open(found).tables() == ["t.csv"]


@pytest.mark.parametrize(
    ("name", "url"),
    [
        (
            "s3",
            "s3://{bucket}/p?format=csv&region=us-east-1&endpoint={endpoint}&access_key_id=t&secret_access_key=hunter22",
        ),
        ("azure", "az://{bucket}/p?format=csv&account=devstoreaccount1&endpoint={endpoint}&account_key={key}"),
        ("gs", "gs://{bucket}/p?format=csv&endpoint={endpoint}&anonymous=true"),
    ],
)
def test_a_url_can_be_checked(
    name: str, url: str, fresh_bucket: Callable[[str], Bucket], monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket: Any = fresh_bucket({"gs": "gcs"}.get(name, name))
    bucket.put("p/t.csv", b"id\n1\n")
    filled = url.format(bucket=bucket.name, endpoint=quote(bucket.endpoint, safe=""), key=quote(KEY, safe=""))
    monkeypatch.setenv("EMATIX_FLOW_DSN_LAKE", filled)
    assert "1 readable thing" in str(reach("lake"))
    monkeypatch.setenv("EMATIX_FLOW_DSN_LAKE", filled.replace(bucket.name, "missing-one"))
    with pytest.raises(ConnectError, match="there is no bucket") as caught:
        reach("lake")
    assert "hunter22" not in str(caught.value)
    assert KEY not in str(caught.value)
