from __future__ import annotations

import copy
import dataclasses
import json
import pickle
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from ematix_nb.connections import (
    Connection,
    KafkaConnection,
    KinesisConnection,
    ObjectStoreS3Connection,
    PostgresConnection,
    RabbitMQConnection,
    SchemaRegistryConnection,
    Secret,
    connection_from_url,
    redact,
    redact_url,
)
from ematix_nb.connections.secret import SecretDict, censor, secret_parts
from ematix_nb.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

CANARY = "CANARY-p@ss:/?#-1"
ENCODED = quote(CANARY, safe="")
HOLDERS: dict[str, Connection] = {
    "password": PostgresConnection(name="a", host="h", database="d", password=CANARY),
    "url": PostgresConnection(name="a", url=f"postgres://u:{ENCODED}@h/d"),
    "url query": PostgresConnection(name="a", url=f"postgres://u@h/d?sslpassword={ENCODED}"),
    "url query password": PostgresConnection(name="a", url=f"postgres://u@h/d?password={ENCODED}&sslmode=require"),
    "from url": connection_from_url("a", f"postgresql://u:{ENCODED}@h/d"),
    "default": PostgresConnection(name="a", host="h", database="d", password="${NOT_SET_ANYWHERE:-" + CANARY + "}"),
    "url default": PostgresConnection(name="a", url="postgres://u:${NOT_SET_ANYWHERE:-" + ENCODED + "}@h/d"),
    "amqp_url": RabbitMQConnection(name="a", amqp_url=f"amqps://u:{ENCODED}@h/v"),
    "sasl plain": KafkaConnection(name="a", bootstrap_servers="h:9092", sasl_plain_password=CANARY),
    "sasl scram": KafkaConnection(name="a", bootstrap_servers="h:9092", sasl_scram_password=CANARY),
    "registry url": KafkaConnection(
        name="a", bootstrap_servers="h:9092", schema_registry_url=f"https://u:{ENCODED}@h:8081"
    ),
    "nested": KafkaConnection(
        name="a",
        bootstrap_servers="h:9092",
        schema_registry=SchemaRegistryConnection(name="sr", url="http://h:8081", basic_auth_password=CANARY),
    ),
    "basic auth": SchemaRegistryConnection(name="a", url="http://h:8081", basic_auth_password=CANARY),
    "secret key": ObjectStoreS3Connection(
        name="a", bucket="b", region="r", format="csv", access_key_id="AKIA-CANARY-ID", secret_access_key=CANARY
    ),
    "key id": KinesisConnection(name="a", stream_name="s", access_key_id=CANARY, secret_access_key="other-secret"),
    "session token": ObjectStoreS3Connection(name="a", bucket="b", region="r", format="csv", session_token=CANARY),
    "resolved": PostgresConnection(name="a", url="${U}").resolved({"U": f"postgres://u:{ENCODED}@h/d"}),
}
FORMS: dict[str, Callable[[Any], str]] = {
    "repr": repr,
    "str": str,
    "format": "{}".format,
    "percent": lambda value: "%s %r" % (value, value),  # noqa: UP031 - this form is the test
    "vars": lambda value: repr(vars(value)),
    "dict": lambda value: repr(value.__dict__),
    "asdict": lambda value: repr(dataclasses.asdict(value)),
    "json": lambda value: json.dumps(dataclasses.asdict(value), default=repr),
    "json vars": lambda value: json.dumps(vars(value), default=str),
    "pickle": lambda value: pickle.dumps(value).decode("latin-1"),
    "pickle 0": lambda value: pickle.dumps(value, protocol=0).decode("latin-1"),
    "copy": lambda value: repr(copy.deepcopy(value)) + str(copy.copy(value)),
    "replace": lambda value: repr(dataclasses.replace(value)),
    "html": lambda value: value._repr_html_(),
    "summary": lambda value: value.summary() + repr(value.settings()),
    "concatenated": lambda value: "".join(str(part) + "" for part in vars(value).values()),
    "encoded": lambda value: repr([str(part).encode() for part in vars(value).values()]),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("holder", HOLDERS)
def test_no_form_of_a_connection_shows_a_secret(holder: str, form: str) -> None:
    text = FORMS[form](HOLDERS[holder])
    for leak in (CANARY, ENCODED, CANARY[::-1], "CANARY"):
        assert leak not in text


@pytest.mark.parametrize(
    ("form", "shown"),
    [(repr, "Secret('***')"), (str, "***"), ("{:>5}".format, "  ***"), (json.dumps, '"***"')],
)
def test_a_secret_shows_its_mask(form: Callable[[object], str], shown: str) -> None:
    assert form(Secret("CANARY-2")) == shown


def test_a_secret_has_no_dictionary_and_cannot_be_changed() -> None:
    with pytest.raises(TypeError, match="__dict__"):
        vars(Secret("CANARY-3"))
    with pytest.raises(AttributeError, match="cannot be changed"):
        Secret("CANARY-3")._text = "x"


def test_reveal_gives_the_text() -> None:
    assert Secret("CANARY-4").reveal() == "CANARY-4"
    assert copy.deepcopy(Secret("CANARY-4")).reveal() == "CANARY-4"
    assert HOLDERS["password"].reveal("password") == CANARY
    assert HOLDERS["url"].reveal("url") == f"postgres://u:{ENCODED}@h/d"
    assert HOLDERS["resolved"].reveal("url") == f"postgres://u:{ENCODED}@h/d"


def test_a_secret_out_of_a_pickle_says_that_it_has_no_text() -> None:
    travelled = pickle.loads(pickle.dumps(HOLDERS["url"]))
    assert repr(travelled) == "PostgresConnection(name='a', url='postgres://u:***@h/d')"
    with pytest.raises(ConfigError, match="secrets are not pickled"):
        travelled.reveal("url")


def test_secrets_are_equal_by_their_text() -> None:
    assert Secret("one-text") == Secret("one-text")
    assert Secret("one-text") != Secret("two-text")
    assert Secret("one-text") != "***"
    assert PostgresConnection(name="a", url="postgres://u:eq-one@h/d") != PostgresConnection(
        name="a", url="postgres://u:eq-two@h/d"
    )


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("postgres://u:pw@h/d", "postgres://u:***@h/d"),
        ("postgres://u:p@w@h/d", "postgres://u:***@h/d"),
        ("postgres://u@h/d", "postgres://u@h/d"),
        ("postgres://u:${PW}@h/d", "postgres://u:${PW}@h/d"),
        ("postgres://u:${PW:-x9}@h/d", "postgres://u:***@h/d"),
        ("https://h/x?a=1&access_token=t1&b=2", "https://h/x?a=1&access_token=***&b=2"),
        ("?sig=abc&x=1", "?sig=***&x=1"),
        ("host=h password=pw dbname=d", "host=h password=*** dbname=d"),
        ("host=h password='p w' dbname=d", "host=h password='***' dbname=d"),
        ('{"password": "pw", "user": "u"}', '{"password": "***", "user": "u"}'),
        ("Authorization: Basic dTpwYXNzd29yZA==", "Authorization: Basic ***"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMII\n-----END", "-----BEGIN RSA PRIVATE KEY-----***-----END"),
        ("the password of u is wrong", "the password of u is wrong"),
        ("", ""),
    ],
)
def test_redact_by_place(text: str, masked: str) -> None:
    assert redact_url(text) == masked


def test_redact_by_value_and_its_encoded_forms() -> None:
    Secret("CANARY ö/5")
    assert redact("a CANARY ö/5 b CANARY%20%C3%B6%2F5 c CANARY+%C3%B6%2F5 d") == "a *** b *** c *** d"
    PostgresConnection(name="a", url="postgres://u:CAN%2FARY6@h/d")
    assert redact(ValueError("login with CAN/ARY6 or CAN%2FARY6 failed")) == "login with *** or *** failed"


def test_redact_masks_short_secrets_as_words_only_and_leaves_ordinary_words() -> None:
    Secret("q7")
    Secret("postgres")
    assert redact('q7 aq7b role "postgres" does not exist') == '*** aq7b role "postgres" does not exist'
    assert redact("postgres://postgres:postgres@h/d") == "postgres://postgres:***@h/d"


def test_literal_secrets_and_variables_are_named() -> None:
    literal = PostgresConnection(name="a", host="${H}", database="d", user="${U}", password="literal-1")
    assert (literal.literal_secrets(), literal.variables()) == (("password",), ("H", "U"))
    clean = PostgresConnection(name="a", url="postgres://u:${PW}@h/d")
    assert (clean.literal_secrets(), clean.variables()) == ((), ("PW",))


def test_a_secret_is_one_value() -> None:
    secret = Secret("CANARY-7")
    assert copy.copy(secret) is secret
    assert copy.deepcopy(secret) is secret
    assert Secret(secret).reveal() == "CANARY-7"
    assert len({secret, Secret("CANARY-7")}) == 1
    assert hash(secret) == hash("***")
    assert not secret != Secret("CANARY-7")  # noqa: SIM202 - the other operator
    assert Secret("x", shown="a <b>")._repr_html_() == "a &lt;b&gt;"


def test_a_secret_out_of_a_pickle_shows_what_it_showed() -> None:
    travelled = pickle.loads(pickle.dumps(Secret("CANARY-8", shown="u:***")))
    assert (str(travelled), repr(travelled)) == ("u:***", "Secret('u:***')")
    wanted = "a secret was asked for in a process that it never reached: secrets are not pickled"
    with pytest.raises(ConfigError, match=wanted) as caught:
        travelled.reveal()
    assert "`${VARIABLE}`" in caught.value.hint


def test_of_a_text_that_shows_the_rest_only_the_secret_part_is_masked() -> None:
    Secret("postgres://canary-host:pw-of-canary@h/d", shown="postgres://canary-host:***@h/d")
    assert redact("canary-host pw-of-canary") == "canary-host ***"


def test_the_longest_secret_is_masked_first() -> None:
    for text in ("can1", "can1long", "c7q"):
        Secret(text)
    assert redact("can1long can1 xcan1x xc7qx c7q") == "*** *** x***x xc7qx ***"


@pytest.mark.parametrize("text", ["", "${CANARY_REF}", "admin", "guest", "true"])
def test_what_is_no_secret_is_not_masked(text: str) -> None:
    Secret(text)
    assert redact(f"a {text} b") == f"a {text} b"


def test_a_driver_sees_the_text_and_a_printer_the_keys() -> None:
    settings = SecretDict(user="ann", password="CANARY-10")
    assert settings["password"] == "CANARY-10"
    assert (repr(settings), str(SecretDict())) == ("SecretDict(user=***, password=***)", "SecretDict()")


def failed(text: object, *more: object, cause: BaseException | None = None) -> ValueError:
    """An error that was raised, with what led to it."""
    try:
        raise ValueError(text, *more) from cause  # noqa: TRY301 - for its traceback
    except ValueError as error:
        return error


def test_errors_lose_their_secrets() -> None:
    Secret("CANARY-11")
    first = failed("login CANARY-11 failed", 7)
    last = failed("no connection", cause=failed("between", cause=first))
    before = last.args
    censor(last)
    assert first.args == ("login *** failed", 7)
    assert last.args is before
    assert all(error.__traceback__ for error in (first, last))
    censor(last, frames=False)
    assert not any(error.__traceback__ for error in (first, last))


def test_errors_lose_the_secrets_of_what_they_came_upon() -> None:
    Secret("CANARY-12")
    first, last = failed("CANARY-12"), failed("later")
    last.__context__ = first
    first.__cause__ = last  # a circle
    censor(last)
    assert first.args == ("***",)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("postgres://u:p%40w@h/d?sslpassword=x1", ["p%40w", "x1"]),
        ("password='p w' token=***", ["p w"]),
        ("postgres://u:${PW}@h", []),
        ("Bearer abcdefgh12", ["abcdefgh12"]),
    ],
)
def test_the_secret_parts_of_a_text(text: str, parts: list[str]) -> None:
    assert list(secret_parts(text)) == parts
