"""JSON as a tree in which every value knows where it stands.

A number stays the text that it was written as, so cells of JSON and of CSV are read by one set of
rules: NaN and Infinity get as far as the field that they stand in, and are refused there.
"""

import collections
import contextlib
import functools
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, BinaryIO

from riskengine.app import cells, columns
from riskengine.app.columns import Kind
from riskengine.app.sources import Source
from riskengine.errors import InputError

SIZE_MAX = 32 << 20  # bytes of a file: it is read whole, into up to thirty times its size
NAME = columns.name()


class Number(str):
    """A number as it was written."""

    __slots__ = ()


class _RepeatedKey(ValueError):
    """An object with two values for a key has no meaning that all readers share."""


@dataclass(frozen=True, slots=True)
class Node:
    """A value of the file at `place`, such as `[3].entryPrice`."""

    source: Source
    value: Any
    place: str = ""

    def error(self, must: str, got: str | None = None) -> InputError:
        return self.source.error(must, self.shown() if got is None else got, self.place)

    def shown(self) -> str:
        """The value for a message."""
        if isinstance(self.value, list | dict):
            kind = "a list" if isinstance(self.value, list) else "an object"
            return f"{kind} of {len(self.value)}"
        plain = isinstance(self.value, Number)
        return str(self.value) if plain else json.dumps(self.value, ensure_ascii=False)

    def __getitem__(self, key: str) -> "Node":
        """The value of a key; null where there is none."""
        part = f".{key}" if key.isidentifier() else f"[{json.dumps(key, ensure_ascii=False)}]"
        return Node(self.source, self.mapping().get(key), self.place + part)

    def mapping(self) -> dict[str, Any]:
        if not isinstance(self.value, dict):
            raise self.error("must be an object, {…}")
        return self.value

    def has(self, key: str) -> bool:
        """Is this an object with something for the key?"""
        return isinstance(self.value, dict) and self.value.get(key) is not None

    def items(self) -> "Iterator[Node]":
        """The values of a list."""
        if not isinstance(self.value, list):
            raise self.error("must be a list, […]")
        for place, value in enumerate(self.value):
            yield Node(self.source, value, f"{self.place}[{place}]")

    def entries(self) -> "Iterator[tuple[str, Node]]":
        """The keys of an object with their values."""
        return ((key, self[key]) for key in self.mapping())

    def text(self, kind: Kind = NAME) -> str:
        """A word or a name of this kind."""
        return str(self._read(kind))

    def number(self, kind: Kind) -> Decimal:
        """A number of this kind, written as one or as text. Sums and products of it are exact."""
        return Decimal(repr(float(self._read(kind))))

    def _read(self, kind: Kind) -> Any:
        if isinstance(self.value, str):
            with contextlib.suppress(ValueError):
                return kind.read((self.value,))[0]
        raise self.error(kind.must)


def load(source: Source, file: BinaryIO, digest: Any) -> Node:
    """The whole file."""
    if os.fstat(file.fileno()).st_size > SIZE_MAX:
        must = (
            f"must have at most {SIZE_MAX} bytes (the limit of JSON; CSV and Parquet may have more)"
        )
        raise source.error(must)
    data = file.read(SIZE_MAX)
    digest.update(data)
    text, number = cells.decoded(source, 1, data), functools.lru_cache(1 << 16)(Number)
    try:
        value = json.loads(
            text,
            parse_float=number,
            parse_int=number,
            parse_constant=number,
            object_pairs_hook=_unique,
        )
    except json.JSONDecodeError as error:
        must = f"must be JSON ({error.msg.lower()} at character {error.colno})"
        line = error.doc[error.pos - error.colno + 1 :][:80].partition("\n")[0]
        raise source.error(
            must, repr(line) if text.strip() else "an empty file", error.lineno
        ) from None
    except RecursionError:
        raise source.error("must not be nested hundreds of levels deep") from None
    except _RepeatedKey as error:
        raise source.error("must have every key of an object once", repr(error.args[0])) from None
    return Node(source, value)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        counts = collections.Counter(key for key, _ in pairs)
        raise _RepeatedKey(counts.most_common(1)[0][0])
    return found
