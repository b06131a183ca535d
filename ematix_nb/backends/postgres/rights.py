"""Which grant a statement lacked: the server names the table and not the right."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ematix_nb.sql.dialect import Dialect

    Ask = Callable[[str, Sequence[object]], list[tuple[Any, ...]]]

_DENIED = re.compile(r"permission denied for (?:[a-z]+ )?(?P<kind>table|view|schema|database) (?P<name>.+)")
_NO_TEMPORARY = re.compile(r'permission denied to create temporary tables in database "(?P<name>.+)"')
_OWNER = re.compile(r"must be owner of (?P<kind>[a-z ]+?) (?P<name>\S+)")
_WORDS = re.compile(r"\b(TRUNCATE|DELETE|UPDATE|INSERT|SELECT|COPY)\b", re.IGNORECASE)
_LACKING = """
SELECT n.nspname::text, p.name
FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace,
     unnest($2::text[]) WITH ORDINALITY AS p(name, place)
WHERE c.relname = $1::text AND NOT has_table_privilege(c.oid, p.name) ORDER BY p.place LIMIT 1"""


def missing_grant(message: str, sql: str, dialect: Dialect, ask: Ask) -> str:
    """The GRANT that would let a refused statement through; empty when that cannot be told.

    Args:
        message: The server's.
        sql: The statement.
        dialect: Quotes names.
        ask: Runs a query in another session of the same user.
    """
    if found := _OWNER.search(message):
        return f"ask the owner of {found['kind']} {found['name']} to change it, or to make this user its owner"
    user = dialect.quote(str(ask("SELECT current_user::text", [])[0][0]))
    if found := _NO_TEMPORARY.search(message):
        return f"GRANT TEMPORARY ON DATABASE {dialect.quote(found['name'])} TO {user}"
    found = _DENIED.search(message)
    if found is None:
        return ""
    name = found["name"].strip('"')
    if found["kind"] in ("schema", "database"):
        makes = re.match(r"\s*CREATE\b", sql, re.IGNORECASE)
        right = "CREATE" if makes else "USAGE" if found["kind"] == "schema" else "CONNECT"
        return f"GRANT {right} ON {found['kind'].upper()} {dialect.quote(name)} TO {user}"
    rows = ask(_LACKING, [name, _rights(sql)])
    if not rows:
        return ""
    schema, right = rows[0]
    return f"GRANT {right} ON {dialect.quote(str(schema))}.{dialect.quote(name)} TO {user}"


def _rights(sql: str) -> list[str]:
    """What a statement needs, by its words, in their order; COPY reads or writes.

    Example:
        >>> _rights("WITH x AS (INSERT INTO a SELECT 1) UPDATE b SET c = 1"), _rights("COPY a FROM STDIN")
        (['INSERT', 'SELECT', 'UPDATE'], ['INSERT', 'SELECT'])
    """
    words = dict.fromkeys(found.upper() for found in _WORDS.findall(sql))
    rights = [word for word in words if word != "COPY"]
    return [*rights, *(word for word in ("INSERT", "SELECT") if "COPY" in words and word not in rights)]
