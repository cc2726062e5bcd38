"""Fields of the schema: a default, a meaning, and what a value may be."""

import dataclasses
import math
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from typing import Any

from riskengine.errors import InputError, printable

SIGNS = {"least": ">=", "above": ">", "most": "<=", "below": "<"}


def plain(default: Any, meaning: str) -> Any:
    """Text, or true or false."""
    return field(default=default, metadata={"meaning": meaning})


def number(default: Any, meaning: str, **bounds: Any) -> Any:
    """A number with bounds: `least`, `most` (inclusive), `above`, `below` (exclusive)."""
    return field(default=default, metadata={"meaning": meaning, **bounds})


def choice(default: str, meaning: str, **names: str) -> Any:
    """One of a few names, each with what it means."""
    return field(default=default, metadata={"meaning": meaning, "names": names})


def listed(
    meaning: str,
    names: Mapping[str, str] | None = None,
    default: Sequence[str] = (),
    **bounds: Any,
) -> Any:
    """A list of names or of numbers with bounds; empty if nothing else is said."""
    rules = bounds if names is None else {"names": names}
    return field(default_factory=lambda: list(default), metadata={"meaning": meaning, **rules})


def table(meaning: str, **bounds: Any) -> Any:
    """Entries by name; none by default."""
    return field(default_factory=dict, metadata={"meaning": meaning, **bounds})


def group(kind: type) -> Any:
    """Keys of their own."""
    return field(default_factory=kind)


def not_null(kind: Any) -> Any:
    """The type of a field without null: `float` for `float | None`."""
    parts = typing.get_args(kind)
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return next(part for part in parts if part is not type(None))
    return kind


def check(config: Any, path: str = "") -> None:
    """Every number within its bounds, every name known; `InputError` at the first that is not."""
    for entry in dataclasses.fields(config):
        value, where = getattr(config, entry.name), f"{path}{entry.name}"
        _check_value(value, not_null(entry.type), entry.metadata, where)


def _check_value(value: Any, kind: Any, rules: Mapping[str, Any], where: str) -> None:
    inner = (*typing.get_args(kind), Any)
    if dataclasses.is_dataclass(value):
        check(value, f"{where}.")
    elif isinstance(value, dict):
        for name, item in value.items():
            _check_text(name, where)
            _check_value(item, inner[min(1, len(inner) - 1)], rules, f"{where}.{name}")
    elif isinstance(value, list):
        for place, item in enumerate(value):
            _check_value(item, inner[0], rules, f"{where}[{place}]")
        if kind in (str, int, float, bool):
            raise InputError(where, f"must be {expected(kind, rules)}", value)
    elif isinstance(value, str):
        _check_text(value, where)
        if "names" in rules:
            choose(where, rules["names"], value)
    elif isinstance(value, float | int) and not isinstance(value, bool):
        check_number(value, rules, where)


def _check_text(value: Any, where: str) -> None:
    """Names and titles end in messages, tables and file names: no control characters."""
    if not str(value).isprintable():
        raise InputError(where, "must be printable text without control characters", value)


def check_number(value: int | float, rules: Mapping[str, Any], where: str) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(
            where, f"must be finite{',' if bounds(rules) else ''}{bounds(rules)}", value
        )
    too_low = ("least" in rules and value < rules["least"]) or (
        "above" in rules and value <= rules["above"]
    )
    too_high = ("most" in rules and value > rules["most"]) or (
        "below" in rules and value >= rules["below"]
    )
    if too_low or too_high:
        kind = "an integer" if isinstance(value, int) else "a number"
        raise InputError(where, f"must be {kind}{bounds(rules)}", value)


def bounds(rules: Mapping[str, Any]) -> str:
    """The bounds in words: ` >= 1 and <= 10000000 (the limit)`."""
    each = [f"{sign} {rules[name]:.15g}" for name, sign in SIGNS.items() if name in rules]
    limit = " (the limit)" if rules.get("limit") else ""
    return f" {' and '.join(each)}{limit}" if each else ""


def expected(kind: Any, rules: Mapping[str, Any]) -> str:
    """What a field takes, in words."""
    if "names" in rules and kind is str:
        return f"one of {', '.join(rules['names'])}"
    if dataclasses.is_dataclass(kind):
        return f"keys and values {{{', '.join(f.name for f in dataclasses.fields(kind))[:80]}}}"
    words = {
        int: f"an integer{bounds(rules)}",
        float: f"a number{bounds(rules)}, written like 2.5e8",
        bool: "true or false",
        str: "text",
        list: "a list, [a, b]",
        dict: "a table, {name: value}",
    }
    return words.get(typing.get_origin(kind) or kind, "a value of another type")


def choose(where: str, known: Iterable[str], name: Any) -> str:
    """`name` if it is known; otherwise an error that lists what is, with the nearest name."""
    names = list(known)
    if name in names:
        return name
    near = nearest(name, names)
    hint = f" (did you mean {near}?)" if near else ""
    raise InputError(
        where, f"must be one of {printable(', '.join(names), 140) or 'none'}{hint}", name
    )


def once(where: str, names: list[str]) -> None:
    """No name stands twice in a list."""
    for place, name in enumerate(names):
        if name in names[:place]:
            raise InputError(where, f"must name {printable(name)} once", names)


def nearest(name: Any, known: Iterable[str]) -> str | None:
    """The known name that is most like this one."""
    import difflib

    found = difflib.get_close_matches(str(name), list(known), n=1, cutoff=0.6)
    return found[0] if found else None
