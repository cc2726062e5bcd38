"""Where a dotted name leads in the schema, and what is said where it leads nowhere."""

import dataclasses
import difflib
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from riskengine.app.config import Config
from riskengine.app.fields import expected, not_null
from riskengine.errors import InputError, printable


@dataclass(frozen=True)
class Key:
    """A field of the schema, or an entry of one of its tables or something below it."""

    kind: Any  # type, without null
    rules: Mapping[str, Any]  # meaning, bounds, names
    entry: str = ""  # the table entry that it is or lies below

    @property
    def takes(self) -> str:
        """What it may be, in words."""
        return expected(self.kind, self.rules)


def find(name: str) -> Key | None:
    """The key that a name leads to through groups, tables and lists; None where there is none."""
    found, table = Key(Config, {}), ""
    for part in name.replace("[", ".[").split("."):
        kind = found.kind
        if typing.get_origin(kind) is list:
            kind = typing.get_args(kind)[0]
            if part.startswith("["):
                found = Key(kind, found.rules, found.entry)
                continue
        if dataclasses.is_dataclass(kind):
            entry = {f.name: f for f in dataclasses.fields(kind)}.get(part)
            if entry is None:
                return None
            found = Key(not_null(entry.type), entry.metadata, found.entry)
        elif typing.get_origin(kind) is dict and part:
            found = Key(typing.get_args(kind)[1], found.rules, found.entry or f"{table}{part}")
        else:
            return None
        table += f"{part}."
    return found


def at(values: Any, name: str) -> Any:
    """What lies under a name in records and tables; nothing where it leads nowhere."""
    for part in name.split("."):
        values = vars(values) if dataclasses.is_dataclass(values) else values
        values = values.get(part) if isinstance(values, dict) else None
    return values


EXPERIMENT = "experiment"  # a group of files that sets keys of others, and no key itself


def keys(kind: Any = Config, prefix: str = "") -> Iterator[tuple[str, dataclasses.Field[Any]]]:
    """Every field of the schema with its full name; entries of tables are not in the schema."""
    for entry in dataclasses.fields(kind):
        yield prefix + entry.name, entry
        if dataclasses.is_dataclass(entry.type):
            yield from keys(entry.type, f"{prefix}{entry.name}.")


def no_such_key(name: str, value: str = "") -> InputError:
    """Names the keys that look most like the one that does not exist."""
    near = (_siblings(name) or list(dict.fromkeys(_alike(name))))[:2]
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    got = None if near else value or None  # a question is the end of a message
    return InputError(printable(name, 60), f"is not a key of the schema{hint}", got)


def _siblings(name: str) -> list[str]:
    """The key with another spelling of the first part that leads nowhere."""
    parts = name.split(".")
    wrong = next(n for n in range(len(parts)) if find(".".join(parts[: n + 1])) is None)
    above = find(".".join(parts[:wrong])) if wrong else Key(Config, {})
    kind = above.kind if above else None
    if typing.get_origin(kind) is list:
        kind = typing.get_args(kind)[0]
    if not dataclasses.is_dataclass(kind):
        return []
    there = [f.name for f in dataclasses.fields(kind)] + ([] if wrong else [EXPERIMENT])
    near = difflib.get_close_matches(parts[wrong], there, n=1, cutoff=0.6)
    tried = (".".join([*parts[:wrong], word, *parts[wrong + 1 :]]) for word in near)
    return [key for key in tried if find(key) or key == EXPERIMENT]


def _alike(name: str) -> list[str]:
    """Keys anywhere with a name like the last part of this one."""
    known = [key for key, _ in keys()]
    last = name.rsplit(".", 1)[-1]
    like = difflib.get_close_matches(last, {k.rsplit(".", 1)[-1] for k in known}, n=2, cutoff=0.6)
    return [key for word in like for key in known if key.rsplit(".", 1)[-1] == word]
