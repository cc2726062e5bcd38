"""CSV and Parquet files as blocks of text cells, in bounded memory, hashed on the way."""

import contextlib
import csv
import glob
import itertools
import os
import re
from collections.abc import Iterator
from typing import Any, BinaryIO

from riskengine.app.parquet import LIMITS
from riskengine.app.sources import Block, Header, Source
from riskengine.errors import InputError

CHUNK = 1 << 20  # bytes read at a time; no line may be longer
ROWS = 1 << 16  # of a Parquet file at a time
BOM = b"\xef\xbb\xbf"
MAGIC = b"PAR1"  # how a Parquet file starts and ends
INSTANT = re.compile(r"TIMESTAMP WITH TIME ZONE|TIMESTAMPTZ_NS")


def read(source: Source, file: BinaryIO, digest: Any) -> tuple[Header, Iterator[Block]]:
    """The header of a file and the rows below it."""
    return (_csv if source.suffix == ".csv" else _parquet)(source, file, digest)


def _csv(source: Source, file: BinaryIO, digest: Any) -> tuple[Header, Iterator[Block]]:
    """The header is the first line that is not blank."""
    blocks = (_split(source, first, text) for first, text in _texts(source, file, digest))
    for block in blocks:
        if block.rows:
            line, names = int(block.places[0]), tuple(cell.strip(" \t") for cell in block.rows[0])
            _must_be_a_header(source, line, names)
            rest = Block(block.places[1:], block.rows[1:])
            return Header(names, line), itertools.chain([rest], blocks)
    raise source.error("must have a header and rows", "an empty file")


def _must_be_a_header(source: Source, line: int, names: tuple[str, ...]) -> None:
    if names[0].startswith("#"):
        raise source.error("must be the header: the names of the columns", repr(names[0]), line)
    if len(names) == 1 and any(mark in names[0] for mark in ";\t|"):
        raise source.error("must be a header with commas between columns", repr(names[0]), line)


def _texts(source: Source, file: BinaryIO, digest: Any) -> Iterator[tuple[int, bytes]]:
    """Pieces of whole lines, each with the number of its first line."""
    line, rest, size = 1, b"", os.fstat(file.fileno()).st_size
    while piece := file.read(CHUNK):
        digest.update(piece)
        if file.tell() > size:
            must = "must not grow while its rows are read; the limit is its size at the start"
            raise source.error(must)
        lines, end, rest = (rest + piece).rpartition(b"\n")
        if end:
            yield line, lines
            line += lines.count(b"\n") + 1
        if len(rest) > CHUNK:
            raise source.error(f"must be shorter than {CHUNK} bytes", "a longer line", line)
    if rest:
        yield line, rest


def _split(source: Source, first: int, text: bytes) -> Block:
    """Lines as rows of cells; a quoted cell ends on its line, and blank lines are left out."""
    lines = decoded(source, first, text).split("\n")
    try:
        rows = list(csv.reader(lines, strict=True))
    except csv.Error:
        rows = []
    if len(rows) != len(lines):
        raise _misquoted(source, first, lines)
    filled = [i for i, row in enumerate(rows) if row]
    return Block([first + i for i in filled], [rows[i] for i in filled])


def decoded(source: Source, line: int, text: bytes) -> str:
    """UTF-8 without NUL; a byte order mark at the start of the file is dropped."""
    text = text.removeprefix(BOM) if line == 1 else text
    wrong = text.find(b"\0")
    try:
        decoded = text.decode()
    except UnicodeDecodeError as error:
        wrong = error.start if wrong < 0 else min(error.start, wrong)
    else:
        if wrong < 0:
            return decoded
    byte = wrong - text.rfind(b"\n", 0, wrong)
    must = f"must be UTF-8 text without NUL; byte {byte} of the line is not"
    raise source.error(must, repr(text[wrong : wrong + 8]), line + text.count(b"\n", 0, wrong))


def _misquoted(source: Source, first: int, lines: list[str]) -> InputError:
    """Names the first line that is not a row by itself."""
    for number, line in enumerate(lines, first):
        try:
            list(csv.reader([line], strict=True))
        except csv.Error:
            must = (
                "must be a row of cells: every quote closed on its line, one line feed at the end"
            )
            return source.error(must, repr(line[:80]), number)
    raise AssertionError("every line is a row")


def _parquet(source: Source, file: BinaryIO, digest: Any) -> tuple[Header, Iterator[Block]]:
    """Columns of the top level, and their rows as text."""
    import duckdb

    _must_look_like_parquet(source, file, digest)
    path = glob.escape(os.path.abspath(source.path))  # a name with * must not match other files
    table = "FROM read_parquet(?, hive_partitioning = false)"
    connection = duckdb.connect(":memory:", config=LIMITS)
    with _parquet_errors(source):
        columns = connection.execute(f"DESCRIBE SELECT * {table}", [path]).fetchall()
        elements = connection.execute(
            "SELECT name, logical_type, num_children FROM parquet_schema(?)", [path]
        ).fetchall()
    texts = ", ".join(_as_text(name, type_) for name, type_, *_ in columns)
    return _parquet_header(columns, elements), _rows(
        source, connection, f"SELECT {texts} {table}", path
    )


def _must_look_like_parquet(source: Source, file: BinaryIO, digest: Any) -> None:
    while piece := file.read(CHUNK):
        digest.update(piece)
    size = file.tell()
    file.seek(0)
    first = file.read(4)
    file.seek(max(size - 4, 0))
    if size < 12 or first != MAGIC or file.read(4) != MAGIC:
        must = "must be a valid Parquet file, whole from PAR1 to PAR1"
        raise source.error(must, f"{size} bytes that start with {first!r}")


@contextlib.contextmanager
def _parquet_errors(source: Source) -> Iterator[None]:
    """What duckdb cannot read is the file's fault; it reads files of every writer we know."""
    import duckdb

    try:
        yield
    except duckdb.Error as error:
        raise source.error("must be a valid Parquet file", str(error).partition("\n")[0]) from None


def _parquet_header(columns: list[tuple], elements: list[tuple]) -> Header:
    """Names as the file has them: duckdb renames duplicates, and hides half precision."""
    names, types = [c[0] for c in columns], [c[1] for c in columns]
    if elements[0][2] == len(elements) - 1:  # no nested columns
        names = [name for name, *_ in elements[1:]]
        half = [str(logical).startswith("Float16") for _, logical, _ in elements[1:]]
        types = ["FLOAT16" if h else t for h, t in zip(half, types, strict=True)]
    return Header(tuple(names), None, tuple(types))


def _as_text(name: str, type_: str) -> str:
    """SQL for a column as text that reads back as the same number."""
    column = '"' + name.replace('"', '""') + '"'
    if type_ == "FLOAT":
        column = f"CAST({column} AS DOUBLE)"
    elif INSTANT.fullmatch(type_):
        column = f"epoch_us(CAST({column} AS TIMESTAMP WITH TIME ZONE)) / 1e6"
    return f"CAST({column} AS VARCHAR)"


def _rows(source: Source, connection: Any, query: str, path: str) -> Iterator[Block]:
    first = 1
    with contextlib.closing(connection), _parquet_errors(source):
        result = connection.execute(query, [path])
        while rows := result.fetchmany(ROWS):
            yield Block(list(range(first, first + len(rows))), rows)
            first += len(rows)
