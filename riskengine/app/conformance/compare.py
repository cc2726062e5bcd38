"""Calculated against expected: what agrees, what differs, and what cannot be checked."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from riskengine.app.conformance.vectors import UNITS, Written, said

RELATIVE = Fraction(1, 10**9)  # where an example states no tolerance
DIGITS = 3  # a decimal with so many digits is met by a value that rounds to it
ALSO = ("published_", "_published_rounded", "_formula", "_rounded", "_published", "_reported")


@dataclass(frozen=True)
class Difference:
    """A field whose calculated value is not the expected one."""

    field: str
    calculated: str
    expected: str
    tolerance: str


@dataclass(frozen=True)
class Unchecked:
    """A field that a handler does not judge, and why."""

    reason: str


@dataclass(frozen=True)
class Judge:
    """A field that is compared by asking: the answer is None, or what is calculated instead."""

    ask: Callable[[Any], "str | Unchecked | None"]


class Some(dict):
    """A table of which an example may name only some entries."""


@dataclass
class Verdict:
    """All fields of an example."""

    differences: list[Difference]
    unchecked: list[tuple[str, str]]  # field, reason
    checked: int


def compare(
    expected: Mapping[str, Any], found: Mapping[str, Any], tolerance: int | Fraction | None
) -> Verdict:
    """Every expected field against the calculated one of the same name."""
    verdict = Verdict([], [], 0)
    for name, value in expected.items():
        known = _known(name, found)
        if known is None:
            verdict.unchecked.append((name, _not_there(value)))
            continue
        calculated = found[known]
        if isinstance(calculated, Unchecked):
            verdict.unchecked.append((name, calculated.reason))
        elif isinstance(calculated, Judge):
            answer = calculated.ask(value)
            if isinstance(answer, Unchecked):
                verdict.unchecked.append((name, answer.reason))
                continue
            verdict.checked += 1
            if answer is not None:
                verdict.differences.append(Difference(name, answer, said(value), "as stated"))
        else:
            verdict.checked += 1
            verdict.differences += _differences(name, value, calculated, tolerance)
    return verdict


def _known(name: str, found: Mapping[str, Any]) -> str | None:
    """The calculated quantity that a field states, a rounded or published copy of it included."""
    if name in found:
        return name
    for unit in UNITS:
        if name.removesuffix(f"_{unit}") in found:
            return name.removesuffix(f"_{unit}")
    return next((name.replace(part, "") for part in ALSO if name.replace(part, "") in found), None)


def _not_there(value: Any) -> str:
    if isinstance(value, str) and not value.lstrip("-").isdigit():
        return "prose"
    return "not calculated"


def _differences(
    name: str, expected: Any, found: Any, tolerance: int | Fraction | None
) -> Iterator[Difference]:
    if isinstance(expected, dict) and isinstance(found, dict):
        missing = set(expected) - set(found)
        more = set() if isinstance(found, Some) else set(found) - set(expected)
        if missing or more:
            yield Difference(name, said(found), said(expected), "the same entries")
            return
        for key, value in expected.items():
            yield from _differences(f"{name}.{key}", value, found[key], tolerance)
    elif isinstance(expected, list) and isinstance(found, list | tuple):
        if len(expected) != len(found):
            yield Difference(name, said(found), said(expected), "the same length")
            return
        for place, (value, other) in enumerate(zip(expected, found, strict=True)):
            yield from _differences(f"{name}[{place}]", value, other, tolerance)
    elif is_number(expected) or _digits(expected):
        wide = width(expected, found, tolerance)
        number = exact(int(expected) if isinstance(expected, str) else expected)
        if not is_number(found) or abs(exact(found) - number) > wide:
            shown = said(wide) if wide else "exact"
            yield Difference(name, said(found), said(expected), shown)
    elif type(expected) is not type(found) or expected != found:
        yield Difference(name, said(found), said(expected), "exact")


def width(expected: Any, found: Any, tolerance: int | Fraction | None) -> int | Fraction:
    """How far a value may be off: as stated; nothing for integers; else 1e-9, or the digits shown."""
    if tolerance is not None:
        return tolerance
    if not isinstance(expected, Fraction):
        exactly = isinstance(found, int) or not isinstance(found, float)
        return 0 if exactly else RELATIVE * abs(int(expected))
    close = RELATIVE * abs(expected)
    if isinstance(expected, Written) and expected.decimals and expected.digits >= DIGITS:
        return max(close, Fraction(1, 2 * 10**expected.decimals))
    return close


def is_number(value: Any) -> bool:
    if isinstance(value, float):
        return value == value and abs(value) != float("inf")
    return isinstance(value, int | Fraction) and not isinstance(value, bool)


def exact(value: Any) -> Fraction:
    return Fraction(value)


def _digits(value: Any) -> bool:
    return isinstance(value, str) and value.lstrip("-").isdigit()
