"""Files that a user names: opened as data on this machine, and pointed at when they are wrong."""

import contextlib
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from riskengine.errors import InputError, printable

MESSAGE = 285  # characters of a message: a few lines of a terminal
PATH = 70  # characters of it for the path
NETWORK = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
READABLE = (".json", ".csv", ".parquet")
PICKLE = "; a pickle can run code"
NUMPY = "; a NumPy file may hold pickled objects"
REFUSED: dict[str, str] = dict.fromkeys((".pkl", ".pickle", ".pt", ".pth", ".joblib"), PICKLE)
REFUSED |= dict.fromkeys((".npy", ".npz"), NUMPY)


@dataclass(frozen=True)
class Source:
    """A file that a setting names, as the user typed it."""

    field: str
    path: str

    @property
    def suffix(self) -> str:
        return Path(self.path).suffix.lower()

    def error(
        self, must: str, got: str | None = None, place: int | str | None = None, column: str = ""
    ) -> InputError:
        """What is wrong at a line of the file (row of Parquet, path in JSON), short enough to read."""
        inside = place if isinstance(place, str) else ""
        place = None if isinstance(place, str) else place
        path = self.at(inside)
        where = [f"{'row' if self.suffix == '.parquet' else 'line'} {place}"] if place else []
        where += [f"column {printable(column, 40)}"] if column else []
        at = (f"{path}:{place}" if place else path) + (f" ({', '.join(where)})" if where else "")
        room = MESSAGE - len(f"{self.field} {at} {must}")
        shown = None if got is None else printable(got, min(max(room, 20), 80))
        return InputError(self.field, f"{at} {must}", shown)

    def at(self, inside: str = "") -> str:
        """The path and a place in a JSON file, each with its end where it is long."""
        parts = (
            part if len(part) <= PATH else f"…{part[1 - PATH :]}" for part in (self.path, inside)
        )
        return printable("".join(parts), 2 * PATH)


@dataclass(frozen=True)
class Header:
    """Names of the columns, the line they stand on, and the types of a Parquet file."""

    names: tuple[str, ...]
    line: int | None = None
    types: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()  # what had to be assumed to fill them


@dataclass(frozen=True)
class Block:
    """Some rows of text, and where each stands: its line in CSV, number in Parquet, path in JSON."""

    places: list[int] | list[str]
    rows: list[Any]  # of sequences of cells; None where a Parquet file has no value


@contextlib.contextmanager
def opened(source: Source, kinds: tuple[str, ...] = READABLE) -> Iterator[BinaryIO]:
    """Open a file for reading and make sure that it stays the same meanwhile.

    Folders, pipes, devices, addresses and other kinds of files raise `InputError` unopened.
    """
    _must_be_a_file(source, kinds)
    try:
        file = open(source.path, "rb")
    except OSError as error:
        raise _unreadable(source, error) from None
    with file:
        before = _identity(os.fstat(file.fileno()))
        yield file
    try:
        after = _identity(os.stat(source.path))
    except OSError:
        after = None
    if before != after:
        raise source.error("must not change while its rows are read")


def _identity(file: os.stat_result) -> tuple[int, ...]:
    return file.st_dev, file.st_ino, file.st_size, file.st_mtime_ns


def _must_be_a_file(source: Source, kinds: tuple[str, ...]) -> None:
    must, path = "", source.path
    mode = 0 if NETWORK.match(path) else _mode(source)
    if NETWORK.match(path):
        must = "must be a file on this machine: addresses are not read"
    elif stat.S_ISDIR(mode):
        must = "must be one file, not a folder (its parts may differ in schema)"
    elif not stat.S_ISREG(mode):
        must = "must be a regular file, not a pipe or a device"
    elif source.suffix not in kinds:
        known = " or ".join(filter(None, (", ".join(kinds[:-1]), kinds[-1])))
        must = f"must be a {known} file{REFUSED.get(source.suffix, '')}"
    if must:
        raise InputError(source.field, must, path)


def _mode(source: Source) -> int:
    try:
        source.path.encode()
        return os.stat(source.path).st_mode
    except FileNotFoundError:
        link = "; this link leads nowhere" if os.path.islink(source.path) else ""
        got = source.path or "an empty path"
        raise InputError(source.field, f"must be a file that exists{link}", got) from None
    except (OSError, ValueError) as error:  # ValueError: NUL or half a surrogate in the path
        raise _unreadable(source, error) from None


def _unreadable(source: Source, error: Exception) -> InputError:
    reason = getattr(error, "strerror", None) or "not a path"
    return InputError(source.field, f"must be a file that can be read ({reason})", source.path)
