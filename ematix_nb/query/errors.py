"""DataFusion's errors as ours: what is wrong with the SQL, and what with the data."""

from __future__ import annotations

import re

from ematix_nb.connections.secret import censor, redact
from ematix_nb.errors import DataError, FlowError, RunError, SqlError, did_you_mean

_PLANNING = (
    "SQL error",
    "Error during planning",
    "Schema error",
    "This feature is not implemented",
    "Invalid function",
)
_FIELD = re.compile(r"No field named (?P<name>.+?)\. ?(?:Did you mean|Valid fields|$)", re.DOTALL)
_VALID = re.compile(r"Valid fields are (?P<names>.+?)\.?$", re.DOTALL)
_PLACE = re.compile(r"at Line: (\d+), Column: (\d+)")
_NOISE = re.compile(r"^(?:DataFusion error: )?(?:Optimizer rule '\w+' failed\s*caused by\s*)?(?:Arrow error: )?")


def translated(exc: BaseException, sql: str) -> FlowError:
    """The error of ours that an error of DataFusion stands for.

    Args:
        exc: What DataFusion raised.
        sql: The query, for the caret of a syntax error.
    """
    if isinstance(exc, FlowError):
        return exc
    text = redact(exc) if "No field named" in str(exc) else redact(exc).replace("\n", " ")
    censor(exc)
    text = text.removeprefix("DataFusion error: ")
    if "No field named" in text:
        return _unknown_column(text)
    if text.startswith(_PLANNING) or isinstance(exc, ValueError):
        return _planning(text, sql)
    if "Resources exhausted" in text:
        message = f"the query needs more memory than it may use: {text[:160]}"
        return RunError(message, "sort and join less at once, or load into DuckDB first")
    message = _NOISE.sub("", text)[:300]
    return DataError(
        f"the query failed on the data: {message}", "correct the value, or use TRY_CAST or NULLIF in the query"
    )


def _unknown_column(text: str) -> SqlError:
    found, valid = _FIELD.search(text), _VALID.search(text.replace("\n", " "))
    name = (found["name"] if found else "").strip()
    known = [part.strip() for part in valid["names"].split(", ")] if valid else []
    bare = {part.rsplit(".", 1)[-1].strip('"'): part for part in known}
    plain = name.rsplit(".", 1)[-1].strip('"')
    folded = next((each for each in bare if each.lower() == plain.lower() and each != plain), None)
    if folded is not None:
        hint = f'did you mean `"{folded}"`? unquoted names are folded to lower case: quote it'
    else:
        columns = ", ".join(bare)[:400]
        hint = did_you_mean(plain, bare) or (f"columns: {columns}" if bare else "")
    return SqlError(f"there is no column `{name}`", hint)


def _planning(text: str, sql: str) -> SqlError:
    from ematix_nb.sql.check import located

    place = _PLACE.search(text)
    body = re.sub(r"^(SQL error: |Error during planning: |Schema error: |This feature is not implemented: )", "", text)
    body = re.sub(r'^ParserError\("(.*)"\)$', r"\1", body)
    if place:
        what = _PLACE.sub("", body).strip()
        return located(f"syntax error: {what[:200]},", sql, int(place[1]), int(place[2]))
    twice = "unique expression names" in body or "Schema contains" in body
    hint = "give one of them a name of its own with AS" if twice else ""
    return SqlError(body[:400], hint)
