"""What the cells of a column may be, and columns of a whole file.

A number is written as in a program: an optional sign, digits with at most one point, perhaps an
exponent. `float` reads it to the nearest double; what else `float` would take (nan, inf, 1_000,
digits of other scripts) is refused, and so is what spreadsheets write (1,000 or 5 %).
"""

import difflib
import functools
import hashlib
import operator
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, BinaryIO, cast

import numpy as np

from riskengine.app import cells
from riskengine.app.sources import Block, Header, Source, opened
from riskengine.errors import InputError, printable

Cells = Sequence[str | None]
MARKS = frozenset("0123456789+-.eE \t")  # of a number; float itself checks their order
NUMBER = re.compile(r"U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|FLOAT|DOUBLE|DECIMAL\(.*\)")
TEXT = re.compile(r"VARCHAR")
NAME = re.compile(rf"{TEXT.pattern}|U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?")
TIME = re.compile(rf"{TEXT.pattern}|{NUMBER.pattern}|{cells.INSTANT.pattern}")
ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z", re.ASCII)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TIME_MAX = 1e11  # s; the year 5138, and milliseconds since 1973
TRIM = operator.methodcaller("strip", " \t")
NAME_MAX = 200  # characters
PRICE_MIN, PRICE_MAX = 1e-15, 1e15  # USD per coin; products with sizes stay finite


@dataclass(frozen=True)
class Kind:
    """What a cell must be. `read` turns cells into an array; ValueError if any of them is wrong."""

    must: str
    read: Callable[[Cells], np.ndarray]
    types: re.Pattern[str]  # of a Parquet column
    type_name: str

    def reads(self, cell: str | None) -> bool:
        try:
            return len(self.read((cell,))) == 1
        except ValueError:
            return False


def number(must: str, holds: Callable[[np.ndarray], np.ndarray], optional: bool = False) -> Kind:
    """A finite number for which `holds`; where it may be missing, that reads as NaN."""
    read = functools.partial(_optional if optional else _numbers, holds)
    return Kind(must, read, NUMBER, "a number type")


def _present(texts: Cells) -> Sequence[str]:
    """The cells, none of which may be missing."""
    if None in texts:
        raise ValueError
    return cast(Sequence[str], texts)


def _numbers(holds: Callable[[np.ndarray], np.ndarray], texts: Cells) -> np.ndarray:
    given = _present(texts)
    if not MARKS.issuperset("".join(given)):
        raise ValueError
    values = np.fromiter(map(float, given), float, len(given))
    if not (np.isfinite(values) & holds(values)).all():
        raise ValueError
    return values


def price(optional: bool = False) -> Kind:
    """USD per coin."""
    where = "or missing" if optional else "in every row"
    must = f"must be a finite price > 0 ({PRICE_MIN:g} to {PRICE_MAX:g}) {where}"
    return number(must, lambda p: (p >= PRICE_MIN) & (p <= PRICE_MAX), optional)


def _optional(holds: Callable[[np.ndarray], np.ndarray], texts: Cells) -> np.ndarray:
    known = [i for i, text in enumerate(texts) if text is not None and text.strip(" \t")]
    values = np.full(len(texts), np.nan)
    values[known] = _numbers(holds, [texts[i] for i in known])
    return values


def _names(texts: Cells) -> np.ndarray:
    """Text as it is, without spaces around it; equal names share one object."""
    listed = list(map(sys.intern, map(TRIM, _present(texts))))
    lengths = set(map(len, listed))
    if min(lengths) < 1 or max(lengths) > NAME_MAX or not "".join(listed).isprintable():
        raise ValueError
    names = np.empty(len(listed), object)
    names[:] = listed
    return names


def codes(names: np.ndarray) -> np.ndarray:
    """Equal names as equal integers, numbered as they come."""
    listed = names.tolist()
    number = {name: place for place, name in enumerate(dict.fromkeys(listed))}
    return np.fromiter(map(number.__getitem__, listed), np.int64, len(listed))


def name() -> Kind:
    """An identifier: any text that can be printed; digits stay text, so no id is rounded."""
    must = f"must be a name of 1 to {NAME_MAX} printable characters"
    return Kind(must, _names, NAME, "a text or integer type")


def choice(*known: str) -> Kind:
    """One of a few words, exactly."""

    def read(texts: Cells) -> np.ndarray:
        found = _names(texts)
        if not set(known).issuperset(found):
            raise ValueError
        return found

    return Kind(f"must be {' or '.join(known)}", read, TEXT, "a text type")


def time() -> Kind:
    """Unix seconds, or a time in UTC as ISO 8601 writes it."""
    must = "must be Unix seconds (not milliseconds) or ISO-8601 UTC ending in Z"
    return Kind(must, _times, TIME, "a number, text or UTC timestamp type")


def _times(texts: Cells) -> np.ndarray:
    try:
        return _numbers(lambda t: (t >= 0.0) & (t < TIME_MAX), texts)
    except ValueError:
        return np.fromiter(map(instant, texts), float, len(texts))


def instant(text: str | None) -> float:
    """Unix seconds of one time; ValueError if it is none."""
    if text is None or not ISO.fullmatch(text := text.strip(" \t")):
        return float(_numbers(lambda t: (t >= 0.0) & (t < TIME_MAX), (text,))[0])
    moment = (datetime.fromisoformat(text) - EPOCH) // timedelta(microseconds=1)
    if moment < 0:
        raise ValueError
    return moment / 1e6


# Columns of a file

Column = tuple[str, Kind]
Schema = Callable[[Source, Header], list[Column]]
Reader = Callable[[Source, BinaryIO, Any], tuple[Header, Iterator[Block]]]


@dataclass(frozen=True, eq=False)
class Table:
    """All columns of a file by name, and the line (row of Parquet, path in JSON) of each entry."""

    source: Source
    columns: dict[str, np.ndarray]
    places: np.ndarray
    sha256: str
    notes: tuple[str, ...] = ()

    def error(self, row: int, column: str, must: str, got: object = None) -> InputError:
        shown = None if got is None else repr(got)
        place = self.places[row]
        return self.source.error(
            must, shown, place if isinstance(place, str) else int(place), column
        )

    def at(self, row: int) -> str:
        place = self.places[row]
        kind = {".csv": "line ", ".parquet": "row "}.get(self.source.suffix, "")
        return f"{kind}{printable(place, 60) if isinstance(place, str) else place}"


def table(source: Source, schema: Schema, limit: int, json: Reader) -> Table:
    """Read a file of at most `limit` rows; `schema` gives names and kinds for its header.

    `json` makes the rows of what a JSON file holds.
    """
    digest = hashlib.sha256()
    with opened(source) as file:
        read = json if source.suffix == ".json" else cells.read
        header, blocks = read(source, file, digest)
        columns = schema(source, header)
        _must_have_types(source, header, columns)
        parts = list(_converted(source, columns, blocks, limit))
    if not parts:
        raise source.error("must have rows below its header")
    places, *arrays = (np.concatenate(part) for part in zip(*parts, strict=True))
    named = dict(zip([name for name, _ in columns], arrays, strict=True))
    return Table(source, named, places, digest.hexdigest(), header.notes)


def known(
    source: Source,
    header: Header,
    kinds: dict[str, Kind],
    required: tuple[str, ...],
    other: dict[str, str] | None = None,
) -> list[Column]:
    """Columns of a header: each known by its own or an `other` name, once, and none missing."""
    other, found = other or {}, []
    for given in header.names:
        own = other.get(given, given)
        if own not in kinds:
            near = difflib.get_close_matches(given.lower(), [*kinds, *other], 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise misnamed(source, header, f"must have known columns only{hint}", repr(given))
        if own in found:
            raise misnamed(source, header, f"must have one column {own}, not two", repr(given))
        found.append(own)
    for own in required:
        if own not in found:
            got = f"columns {', '.join(header.names)}"
            raise misnamed(source, header, f"must have a column {own}", got)
    return [(own, kinds[own]) for own in found]


def misnamed(source: Source, header: Header, must: str, got: str | None = None) -> InputError:
    """The header is wrong."""
    return source.error(f"header {must}", got, header.line)


def _must_have_types(source: Source, header: Header, columns: list[Column]) -> None:
    for (name, kind), type_ in zip(columns, header.types, strict=False):  # CSV: no types
        if not kind.types.fullmatch(type_):
            raise source.error(f"must have {kind.type_name}", f"type {type_}", None, name)


def _converted(
    source: Source, columns: list[Column], blocks: Iterable[Block], limit: int
) -> Iterator[list[np.ndarray]]:
    """Places and columns, block by block."""
    count = 0
    for block in blocks:
        count += len(block.rows)
        if count > limit:
            raise source.error(f"must have at most {limit} rows (the limit of a file)")
        _must_be_rectangular(source, columns, block)
        if block.rows:
            texts = zip(columns, zip(*block.rows, strict=True), strict=True)
            arrays = [_array(source, column, text, block.places) for column, text in texts]
            kind = object if source.suffix == ".json" else int
            yield [np.asarray(block.places, kind), *arrays]


def _must_be_rectangular(source: Source, columns: list[Column], block: Block) -> None:
    if not set(map(len, block.rows)) <= {len(columns)}:
        row = next(i for i, row in enumerate(block.rows) if len(row) != len(columns))
        must = f"must have {len(columns)} cells, one for each column"
        raise source.error(must, str(len(block.rows[row])), block.places[row])


def _array(
    source: Source, column: Column, texts: Cells, places: list[int] | list[str]
) -> np.ndarray:
    """The cells as an array; the first that is wrong is an error, with a count of the others."""
    name, kind = column
    try:
        return kind.read(texts)
    except ValueError:
        wrong = [i for i, text in enumerate(texts) if not kind.reads(text)]
    text = texts[wrong[0]]
    got = "null" if text is None else repr(text) if text.strip() else "an empty cell"
    more = f" (and at least {len(wrong) - 1} more)" if len(wrong) > 1 else ""
    got = got if len(got) + len(more) <= 80 else got[: 79 - len(more)] + "…"
    raise source.error(kind.must, got + more, places[wrong[0]], name)
