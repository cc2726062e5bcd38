"""The file of worked examples: read exactly, and refused in one line where it is malformed."""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from pathlib import Path
from typing import Any

from riskengine.errors import InputError, printable

DIGITS_MAX = 1000  # of an integer or a decimal number
EXPONENT_MAX = 400
DEPTH_MAX = 50
UNITS = (
    "xbt", "btc", "eth", "usd", "usdt", "usdc", "contracts", "conts", "ct", "quote_quantums",
)  # fmt: skip  # with which names of amounts end
SIZE_MAX = 64 * 2**20  # bytes
TEXT = re.compile(r"-?[0-9]+(\.[0-9]+)?")
REQUIRED = {"venue": str, "kind": str, "inputs": dict, "expected": dict}

Number = int | Fraction | float  # what is read is exact; roots are floats


class Written(Fraction):
    """A decimal number, exactly, with the digits it was written with."""

    decimals: int
    digits: int

    def __new__(cls, written: Any = 0, denominator: Any = None) -> Any:
        if denominator is not None or not isinstance(written, str):
            return Fraction(written, denominator)  # what is calculated from it was not written
        given = Decimal(written)
        self = super().__new__(cls, given)
        self.decimals = max(-int(given.as_tuple().exponent), 0)
        self.digits = len(given.as_tuple().digits)
        return self


class Unsupported(Exception):
    """This build has no formula for an example; the words say why."""


class Inconsistent(Exception):
    """An example contradicts itself; the words show the numbers."""


class Refused(Exception):
    """The venue's rule rejects the operation; the words are the name of the error."""


@dataclass(frozen=True)
class Example:
    """One worked example."""

    id: str
    venue: str
    kind: str
    inputs: dict[str, Any]
    expected: dict[str, Any]
    tolerance: int | Fraction | None


@dataclass
class Inputs(Mapping):
    """Inputs of an example by name; a wrong type names the example and the field."""

    given: Mapping[str, Any]
    where: str
    others: Sequence[Example] = ()  # of the same venue, for `borrowed`
    expected: Mapping[str, Any] = field(default_factory=dict)  # what the example states
    venue: str = ""  # by its preset's name
    used: set[str] = field(default_factory=set)

    def __getitem__(self, name: str) -> Any:
        self.used.add(name)
        return self.given[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.given)

    def __len__(self) -> int:
        return len(self.given)

    def has(self, *names: str) -> bool:
        """Whether all of these are given and not null."""
        return all(self.given.get(name) is not None for name in names)

    def first(self, *names: str) -> str:
        """The first of these names that is given, with its unit or without; else the first one."""
        for name in names:
            for given in (name, *(f"{name}_{unit}" for unit in UNITS)):
                if self.has(given):
                    return given
        return names[0]

    def gives(self, *names: str) -> bool:
        """Whether one of these is given, with its unit or without."""
        return self.has(self.first(*names))

    def need(self, name: str) -> Any:
        """An input that the formula reads; without it there is nothing to evaluate."""
        if self.given.get(name) is None:
            inside = self.where.rpartition(": ")[2]
            raise Unsupported(f"the formula here reads {inside}.{name}, which is not given")
        return self[name]

    def wrong(self, name: str, must: str, got: Any) -> InputError:
        return InputError(f"{self.where}.{name}", f"must be {must}", _short(got))

    def number(self, name: str, default: Number | None = None) -> Number:
        """A number; digits in a string are an integer."""
        if default is not None and not self.has(name):
            return default
        return as_number(self.need(name), f"{self.where}.{name}")

    def integer(self, name: str, default: int | None = None) -> int:
        value = self.number(name, default)
        if isinstance(value, Fraction) and value.denominator != 1:
            raise self.wrong(name, "an integer", self[name])
        return int(value)

    def positive(self, name: str, default: Number | None = None) -> Number:
        """A number that may be divided by."""
        value = self.number(name, default)
        if value <= 0:
            raise self.wrong(name, "a number > 0", self[name])
        return value

    def limit(self, name: str) -> Number | None:
        """A number, or None where null or nothing is given: no limit."""
        return self.number(name) if self.has(name) else None

    def side(self, name: str = "side") -> int:
        """1 for long, −1 for short; a signed size says it too."""
        value = self.need(name)
        known = {"long": 1, "buy": 1, "short": -1, "sell": -1}
        if isinstance(value, str) and value.lower() in known:
            return known[value.lower()]
        if value in (1, -1) and not isinstance(value, bool):
            return int(value)
        raise self.wrong(name, "1, -1, long or short", value)

    def text(self, name: str, default: str | None = None) -> str:
        if default is not None and not self.has(name):
            return default
        value = self.need(name)
        if not isinstance(value, str):
            raise self.wrong(name, "text", value)
        return value

    def flag(self, name: str, default: bool | None = None) -> bool:
        if default is not None and not self.has(name):
            return default
        value = self.need(name)
        if not isinstance(value, bool):
            raise self.wrong(name, "true or false", value)
        return value

    def listed(self, name: str) -> list[Any]:
        """Elements of a list."""
        value = self.need(name)
        if not isinstance(value, list):
            raise self.wrong(name, "a list", value)
        return value

    def numbers(self, name: str) -> list[Number]:
        return [as_number(x, f"{self.where}.{name}[{i}]") for i, x in enumerate(self.listed(name))]

    def group(self, name: str) -> "Inputs":
        """Inputs of an object in the inputs."""
        value = self.need(name)
        if not isinstance(value, dict):
            raise self.wrong(name, "an object", value)
        return Inputs(value, f"{self.where}.{name}", self.others, venue=self.venue)

    def groups(self, name: str) -> list["Inputs"]:
        """Objects of a list."""
        return [
            self._object(x, f"{self.where}.{name}[{i}]") for i, x in enumerate(self.listed(name))
        ]

    def _object(self, value: Any, where: str) -> "Inputs":
        if not isinstance(value, dict):
            raise InputError(where, "must be an object", value)
        return Inputs(value, where, self.others, venue=self.venue)

    def borrowed(self, name: str) -> "Inputs | None":
        """These inputs, or those of another example of the same account that also give `name`.

        The same account: of the same venue, with two inputs or more in common, and all of these equal.
        """
        if self.has(name):
            return self
        for other in self.others:
            if other.inputs is self.given:
                continue
            common = set(other.inputs) & set(self.given)
            same = all(other.inputs[n] == self.given[n] for n in common if n in other.inputs)
            if other.inputs.get(name) is not None and len(common) > 1 and same:
                return Inputs(other.inputs, f"{other.id}: inputs")
        return None


def as_number(value: Any, where: str) -> int | Fraction:
    """A number of a file, maybe written as text; `InputError` names where it stands."""
    if isinstance(value, str) and len(value) <= DIGITS_MAX and TEXT.fullmatch(value):
        return Fraction(value) if "." in value else int(value)
    if isinstance(value, Fraction):
        return Fraction(value.numerator, value.denominator)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise InputError(where, "must be a number", value)


def read(path: str) -> list[Example]:
    """All examples of a file."""
    return _examples(_parsed(_text(path)))


def _text(path: str) -> str:
    place = Path(path)
    try:
        if place.exists() and not place.is_file():
            raise InputError("vectors", "must be a regular file", path)
        if place.stat().st_size > SIZE_MAX:
            raise InputError("vectors", f"must have at most {SIZE_MAX // 2**20} MiB", path)
        return place.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise InputError("vectors", "must be a JSON file in UTF-8", path) from None
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError("vectors", f"must be a file that can be read ({reason})", path) from None


def _parsed(text: str) -> Any:
    try:
        return json.loads(
            text,
            parse_float=_decimal,
            parse_int=_integer,
            parse_constant=_constant,
            object_pairs_hook=_once,
        )
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise InputError("vectors", f"must be JSON ({error.msg} at {place})") from None
    except RecursionError:
        raise InputError("vectors", f"must not be nested deeper than {DEPTH_MAX}") from None


def _integer(text: str) -> int:
    if len(text) > DIGITS_MAX:
        raise InputError("vectors", f"must have numbers of at most {DIGITS_MAX} digits", text)
    return int(text)


def _decimal(text: str) -> Fraction:
    try:
        given = Decimal(text)
    except InvalidOperation:
        given = Decimal("Infinity")
    far = not given.is_finite() or (given and abs(given.adjusted()) > EXPONENT_MAX)
    exponent = given.as_tuple().exponent
    if far or len(text) > DIGITS_MAX or abs(int(exponent)) > 10 * EXPONENT_MAX:
        must = f"must have numbers of at most {DIGITS_MAX} digits within 1e±{EXPONENT_MAX}"
        raise InputError("vectors", must, text)
    return Written(text)


def _constant(text: str) -> Any:
    raise InputError("vectors", "must have finite numbers", text)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise InputError("vectors", "must name a key once in an object", name)
        found[name] = value
    return found


def _examples(found: Any) -> list[Example]:
    if not isinstance(found, list):
        raise InputError("vectors", "must be a list of examples", _short(found))
    examples, seen = [], set()
    for place, entry in enumerate(found):
        example = _example(entry, f"vectors[{place}]")
        if example.id in seen:
            raise InputError(f"vectors[{place}].id", "must be given once", example.id)
        seen.add(example.id)
        examples.append(example)
    if not examples:
        raise InputError("vectors", "must have at least one example", "[]")
    return examples


def _example(entry: Any, where: str) -> Example:
    if not isinstance(entry, dict):
        raise InputError(where, "must be an object", _short(entry))
    name = entry.get("id")
    if not isinstance(name, str) or not name or not name.isprintable():
        raise InputError(f"{where}.id", "must be printable text", _short(name))
    for key, kind in REQUIRED.items():
        if key not in entry:
            raise InputError(f"{name}: {key}", "is required")
        if not isinstance(entry[key], kind):
            words = "text" if kind is str else "an object"
            raise InputError(f"{name}: {key}", f"must be {words}", _short(entry[key]))
        if kind is str and not entry[key].isprintable():
            raise InputError(f"{name}: {key}", "must be printable text", entry[key])
        _shallow(entry[key], f"{name}: {key}")
    if not entry["expected"]:
        raise InputError(f"{name}: expected", "must have at least one field", "{}")
    tolerance = entry.get("tolerance")
    if tolerance is not None:
        tolerance = as_number(tolerance, f"{name}: tolerance")
        if tolerance < 0:
            raise InputError(f"{name}: tolerance", "must be a number >= 0", tolerance)
    return Example(
        name, entry["venue"], entry["kind"], entry["inputs"], entry["expected"], tolerance
    )


def _shallow(value: Any, where: str, depth: int = 0) -> None:
    if depth > DEPTH_MAX:
        raise InputError(where, f"must not be nested deeper than {DEPTH_MAX}")
    inside = value.values() if isinstance(value, dict) else value
    if isinstance(value, dict | list):
        for item in inside:
            _shallow(item, where, depth + 1)


def _short(value: Any) -> str:
    return printable(said(value))


def said(value: Any) -> str:
    """A value as it would stand in JSON, fractions as decimals; not longer than a message."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    if isinstance(value, float):
        return f"{value:.12g}" if math.isfinite(value) else "no number"
    if isinstance(value, Fraction):
        try:
            close = float(value)
        except OverflowError:
            return "more than 1e308"
        return str(value.numerator) if value.denominator == 1 else f"{close:.12g}"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k}: {said(v)}" for k, v in list(value.items())[:20]) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(said(v) for v in value[:20]) + "]"
    return str(value)
