"""CSV files: types from a sample or as declared, exact reads, exact writes.

Rules: RFC 4180 quoting; an unquoted empty field (or the text ``csv_null_value``) is NULL, a quoted ``""`` is the
empty text; a byte order mark at the start of a file is dropped; blank lines are no rows, except in files of one
column, where a blank line is a NULL.

With ``csv_safe`` a text that begins with ``=``, ``+``, ``-``, ``@``, a tab or a carriage return has a ``'`` before it
in the file, and one more than it had when there were some already: what is read is what was written.
"""

from __future__ import annotations

import csv
import io
import itertools
import re
from typing import TYPE_CHECKING, Any

from ematix_nb.declare.data_types import TEXT, DataType, to_arrow
from ematix_nb.errors import DataError, DeclarationError

from .capabilities import SAMPLE_ROWS
from .texts import MAX_RECORD_BYTES, from_text, guess, text_type, too_long, unreadable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pyarrow as pa

    from ematix_nb.declare.spec import Column

    from .config import FileConfig
    from .paths import DataFile

BLOCK_BYTES = 1 << 20
_ROW = re.compile(r"Row #(\d+)")
_COLUMN = re.compile(r"CSV column #(\d+)")
_TEXTS = ("text", "string", "json", "jsonb", "bytes")
_FORMULA = r"^('*[=+\-@\t\r])"
"""How a text begins that a spreadsheet would compute, or that was made safe before."""


def _text(file: DataFile) -> io.TextIOWrapper:
    return io.TextIOWrapper(file.stream(), encoding="utf-8-sig", newline="")


def _lines(file: DataFile, stream: io.TextIOWrapper) -> Iterator[str]:
    """The lines of a file; one without an end is not read whole."""
    for number in itertools.count(1):
        line = stream.readline(MAX_RECORD_BYTES)
        if len(line) == MAX_RECORD_BYTES:
            raise too_long(file, number)
        if not line:
            return
        yield line


def _rows(file: DataFile, config: FileConfig) -> Iterator[tuple[int, list[str]]]:
    """The records of a file with the line each starts on, from 1."""
    csv.field_size_limit(MAX_RECORD_BYTES)
    line = 0
    with _text(file) as stream:
        reader = csv.reader(
            _lines(file, stream), delimiter=config.csv_delimiter, quotechar=config.csv_quote, strict=True
        )
        try:
            for row in reader:
                yield line + 1, row
                line = reader.line_num
        except csv.Error as exc:
            what = "a quote is never closed" if "end of data" in str(exc) else str(exc)
            message = f"{file.name}, line {line + 1}: {what}"
            raise DataError(message, "correct the file") from exc
        except UnicodeDecodeError as exc:
            message = f"{file.name}, after line {line}: the text is not UTF-8 ({exc.reason})"
            raise DataError(message, "convert the file to UTF-8") from exc
        except OSError as exc:
            raise unreadable(file, exc) from exc


def header(file: DataFile, config: FileConfig) -> tuple[str, ...]:
    """The column names of a file: its first record, or ``f0``, ``f1``, ... when it has no header.

    Raises:
        DataError: When a name occurs twice or is empty.
    """
    line, row = next(_rows(file, config), (1, []))
    if not config.csv_header:
        return tuple(f"f{index}" for index in range(len(row)))
    double = next((name for name in row if row.count(name) > 1), None)
    if double is not None or "" in row:
        problem = (
            "a column has no name" if double in (None, "") else f"column name `{double}` stands twice in the header"
        )
        message = f"{file.name}, line {line}: {problem}"
        raise DataError(message, "correct the header, or set `csv_header = false` when there is none")
    return tuple(row)


def infer(file: DataFile, config: FileConfig) -> dict[str, DataType]:
    """Names and types from the first rows of a file.

    A later value that does not fit is an error at its line, never changed.

    Raises:
        DataError: When one of these rows has more or fewer values than the header.
    """
    names = header(file, config)
    rows = itertools.islice(_rows(file, config), int(config.csv_header), SAMPLE_ROWS + int(config.csv_header))
    sample = []
    for line, row in rows:
        if row and len(row) != len(names):
            message = f"{file.name}, line {line}: Expected {len(names)} columns, got {len(row)}"
            raise DataError(message, "correct the file, `csv_delimiter` or `csv_quote`")
        sample += [row] if row else []
    null = {"", config.csv_null_value}
    return {name: guess([row[index] for row in sample if row[index] not in null]) for index, name in enumerate(names)}


def read(
    file: DataFile, wanted: Mapping[str, DataType], names: Sequence[str], config: FileConfig
) -> Iterator[pa.RecordBatch]:
    """The wanted columns of a file in batches; columns that it does not have are NULL.

    Args:
        file: What to read.
        wanted: The columns and their types.
        names: The columns of the file, in its order.
        config: Delimiter, quote, header, the text of NULL.

    Raises:
        DataError: With file, line, column and value.
    """
    import pyarrow as pa

    present = [name for name in names if name in wanted] or list(names[:1])
    types = {name: text_type(wanted.get(name, TEXT)) for name in present}
    done, block = 0, BLOCK_BYTES
    while True:
        try:
            for raw in _open(file, names, types, config, done, block):
                done += raw.num_rows
                yield _shape(file, raw, wanted, config)
        except pa.ArrowInvalid as exc:
            if "straddling" in str(exc) and block < MAX_RECORD_BYTES:
                block *= 8  # a record longer than the block: go on after the rows already given
                continue
            raise _located(file, names, config, str(exc)) from exc
        except OSError as exc:
            raise unreadable(file, exc) from exc
        else:
            return


def _open(
    file: DataFile, names: Sequence[str], types: dict[str, pa.DataType], config: FileConfig, skip: int, block: int
) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa
    import pyarrow.csv as arrow_csv

    reading = arrow_csv.ReadOptions(
        use_threads=False,
        block_size=block,
        column_names=None if config.csv_header else list(names),
        skip_rows_after_names=skip,
    )
    parsing = arrow_csv.ParseOptions(
        delimiter=config.csv_delimiter,
        quote_char=config.csv_quote,
        double_quote=True,
        newlines_in_values=True,
        ignore_empty_lines=len(names) > 1,
    )
    converting = arrow_csv.ConvertOptions(
        column_types=types,
        include_columns=list(types),
        null_values=[config.csv_null_value],
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
        true_values=["true", "True", "TRUE"],
        false_values=["false", "False", "FALSE"],
    )
    try:
        with file.stream() as stream:
            counted = _Quotes(stream, config.csv_quote.encode())
            yield from arrow_csv.open_csv(
                counted, read_options=reading, parse_options=parsing, convert_options=converting
            )
        if counted.found % 2:  # Arrow takes the end of a file for the end of a quote: a cut file, or rows in one value
            for _ in _rows(file, config):  # raises for a quote that is never closed, with its line
                pass
    except pa.ArrowInvalid as exc:
        if "Empty CSV file" not in str(exc):
            raise


class _Quotes(io.RawIOBase):
    """A stream that counts the quotes that were read from it."""

    def __init__(self, stream: Any, quote: bytes) -> None:
        super().__init__()
        self._stream = stream
        self._quote = quote
        self.found = 0

    def readable(self) -> bool:
        """It is for reading alone."""
        return True

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        data = bytes(self._stream.read(size))
        self.found += data.count(self._quote)
        return data


def _shape(file: DataFile, raw: pa.RecordBatch, wanted: Mapping[str, DataType], config: FileConfig) -> pa.RecordBatch:
    import pyarrow as pa

    arrays = []
    for name, kind in wanted.items():
        if name in raw.schema.names:
            found = _as_written(raw.column(name), kind) if config.csv_safe else raw.column(name)
            arrays.append(from_text(found, kind, f"{file.name}, column `{name}`"))
        else:
            arrays.append(pa.nulls(raw.num_rows, to_arrow(kind)))
    if not arrays:
        return raw.select([])
    return pa.RecordBatch.from_arrays(arrays, names=list(wanted))


def _safe(array: pa.Array, kind: DataType) -> pa.Array:
    """The texts of a column with a quote before those that begin like a formula.

    Example:
        >>> import pyarrow as pa
        >>> _safe(pa.array(["=1+1", "'-x", "it's", None]), TEXT).to_pylist()
        ["'=1+1", "''-x", "it's", None]
    """
    import pyarrow.compute as pc

    return pc.replace_substring_regex(array, _FORMULA, r"'\1") if kind.kind in _TEXTS else array


def _as_written(array: pa.Array, kind: DataType) -> pa.Array:
    """What was made safe, as it was.

    Example:
        >>> import pyarrow as pa
        >>> _as_written(_safe(pa.array(["=1+1", "'-x", "it's", None]), TEXT), TEXT).to_pylist()
        ['=1+1', "'-x", "it's", None]
    """
    import pyarrow.compute as pc

    return pc.replace_substring_regex(array, f"^'{_FORMULA[1:]}", r"\1") if kind.kind in _TEXTS else array


def _located(file: DataFile, names: Sequence[str], config: FileConfig, text: str) -> DataError:
    """The error with its line: the parser tells records, people count lines."""
    row, column = _ROW.search(text), _COLUMN.search(text)
    line = None
    if row is not None:
        record = int(row[1])
        found = next(itertools.islice(_rows(file, config), record - 1, record), None)
        line = found[0] if found else None
    else:
        for _ in _rows(file, config):  # an unclosed quote or broken text raises here, with its line
            pass
    place = file.name if line is None else f"{file.name}, line {line}"
    if column is not None:
        place += f", column `{names[int(column[1])]}`"
        what = text.rsplit("CSV conversion error ", 1)[-1]
        message = f"{place}: {what[:160]}"
        return DataError(
            message, f"the types come from the first {SAMPLE_ROWS} rows: declare the column, or correct the file"
        )
    what = _ROW.sub("", text.rsplit("CSV parse error: ", 1)[-1]).lstrip(": ")
    message = f"{place}: {what[:160]}"
    return DataError(message, "correct the file, `csv_delimiter` or `csv_quote`")


class Writer:
    """Writes batches to one CSV file: texts quoted, NULL as the unquoted ``csv_null_value``."""

    def __init__(self, sink: Any, columns: Sequence[Column], config: FileConfig) -> None:
        import pyarrow as pa
        import pyarrow.csv as arrow_csv

        if config.csv_quote != '"':
            message = f'CSV files are written with the quote `"`, not `{config.csv_quote}`'
            raise DeclarationError(message, "leave `csv_quote` out for a target")
        if '"' in config.csv_null_value:
            message = "`csv_null_value` cannot hold a quote"
            raise DeclarationError(message, 'choose a text without `"`')
        odd = next((column.name for column in columns if config.csv_safe and re.match(_FORMULA, column.name)), None)
        if odd is not None:
            message = f"column `{odd}` begins like a formula, and `csv_safe` is set"
            raise DeclarationError(message, "give it another name with AS")
        self._columns = columns
        self._make_safe = config.csv_safe
        from .texts import spelled_type

        self._schema = pa.schema([(column.name, spelled_type(column.type, "csv")) for column in columns])
        options = arrow_csv.WriteOptions(
            include_header=config.csv_header,
            delimiter=config.csv_delimiter,
            null_string=config.csv_null_value,
            quoting_style="needed",
        )
        self._writer = arrow_csv.CSVWriter(sink, self._schema, write_options=options)

    def write(self, batch: pa.RecordBatch) -> None:
        """Append a batch."""
        import pyarrow as pa

        from .texts import spelled

        arrays = [spelled(batch.column(i), column.type, "csv") for i, column in enumerate(self._columns)]
        if self._make_safe:
            arrays = [_safe(array, column.type) for array, column in zip(arrays, self._columns, strict=True)]
        self._writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=self._schema))

    def close(self) -> None:
        """Flush what is buffered; the sink stays open."""
        self._writer.close()
