"""Read the examples, evaluate each with the engine's formulas, and say which hold."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from riskengine.app.conformance import registry, vectors
from riskengine.app.conformance.compare import Difference, Verdict, compare
from riskengine.app.conformance.vectors import Example, Inconsistent, Inputs, Refused, Unsupported
from riskengine.app.fields import nearest
from riskengine.errors import InputError, printable

DONE, BROKEN = 0, 4
OUTCOMES = ("passed", "failed", "not supported")


@dataclass
class Result:
    """What came of one example."""

    example: Example
    outcome: str
    reason: str = ""
    differences: list[Difference] = field(default_factory=list)
    unchecked: list[tuple[str, str]] = field(default_factory=list)


def run(path: str | None, say) -> int:
    """Say what every example comes to; the exit code is 0 only where all of them pass."""
    if path is None:
        raise InputError("vectors", "is required for task=conformance: a file of examples", "null")
    examples = vectors.read(path)
    of_venue: dict[str, list[Example]] = {}
    for example in examples:
        of_venue.setdefault(example.venue, []).append(example)
    results = [evaluate(example, of_venue[example.venue]) for example in examples]
    for line in report(results):
        say(line)
    return DONE if all(r.outcome == "passed" for r in results) else BROKEN


def evaluate(example: Example, others: Sequence[Example]) -> Result:
    """One example by its handler, among others of its venue."""
    handler = registry.find(example.venue, example.kind)
    if handler is None:
        return Result(example, "not supported", _unknown(example))
    inputs = Inputs(
        example.inputs,
        f"{example.id}: inputs",
        others,
        expected=example.expected,
        venue=registry.short(example.venue),
    )
    try:
        found = handler(inputs)
    except Refused as error:
        found = registry.refused(str(error))
    except Unsupported as error:
        return Result(example, "not supported", str(error))
    except Inconsistent as error:
        return Result(example, "failed", f"the example contradicts itself: {error}")
    except InputError:
        raise
    except (TypeError, KeyError, IndexError, ValueError, AttributeError):
        must = f"must be what the kind {printable(example.kind)} takes (docs/conformance.md)"
        raise InputError(f"{example.id}: inputs", must, vectors.said(example.inputs)) from None
    except ZeroDivisionError:
        return Result(example, "failed", "a divisor of the formula is zero with these inputs")
    except OverflowError:
        return Result(example, "failed", "the numbers are too large for this formula")
    return _judged(example, compare(example.expected, found, example.tolerance), inputs)


def _judged(example: Example, verdict: Verdict, inputs: Inputs) -> Result:
    if verdict.differences:
        left = sorted(set(inputs) - inputs.used - registry.WORDS)
        reason = f"inputs not used: {', '.join(left)}" if left else ""
        return Result(example, "failed", reason, verdict.differences, verdict.unchecked)
    unknown = [name for name, reason in verdict.unchecked if reason == "not calculated"]
    if unknown:
        reason = f"no formula here gives {', '.join(unknown)}"
        return Result(example, "not supported", reason, unchecked=verdict.unchecked)
    if not verdict.checked:
        reason = "; ".join(f"{name}: {reason}" for name, reason in verdict.unchecked)
        return Result(example, "not supported", f"nothing can be checked ({reason})")
    return Result(example, "passed", unchecked=verdict.unchecked)


def _unknown(example: Example) -> str:
    """Why no handler is there, with the nearest name."""
    why = registry.REASONS.get(example.kind.lower())
    if why:
        return why
    known = registry.kinds(example.venue)
    if known:
        near = nearest(example.kind.lower(), known)
        hint = f"; did you mean {near}?" if near else ""
        return f"{example.venue} has no kind {printable(example.kind)} here{hint}"
    near = nearest(example.venue.lower(), registry.venues())
    hint = f"; did you mean {near}?" if near else ""
    return f"no venue {printable(example.venue)} here{hint}"


def report(results: Sequence[Result]) -> list[str]:
    """The table, a line per failure and per example without a formula, and the totals."""
    lines = _table(results)
    for result in results:
        if result.outcome == "failed":
            lines += _failure(result)
    for result in results:
        if result.outcome == "not supported":
            lines.append(f"not supported  {result.example.id}: {printable(result.reason, 300)}")
    for result in results:
        for name, reason in result.unchecked if result.outcome == "passed" else ():
            lines.append(f"not checked  {result.example.id}  {name}: {reason}")
    counted = Counter(result.outcome for result in results)
    totals = ", ".join(f"{counted[name]} {name}" for name in OUTCOMES)
    fields = sum(len(r.unchecked) for r in results if r.outcome == "passed")
    open_ = f"; {fields} of their fields cannot be checked" if fields else ""
    return [*lines, "", f"{len(results)} examples: {totals}{open_}"]


def _failure(result: Result) -> list[str]:
    tail = f"  ({result.reason})" if result.reason and result.differences else ""
    if not result.differences:
        return [f"failed  {result.example.id}  {printable(result.reason, 300)}"]
    return [
        f"failed  {result.example.id}  {d.field}: calculated {printable(d.calculated, 200)}, "
        f"expected {printable(d.expected, 200)}, tolerance {d.tolerance}{tail}"
        for d in result.differences
    ]


def _table(results: Sequence[Result]) -> list[str]:
    groups: dict[tuple[str, str], Counter[str]] = {}
    for result in results:
        key = (result.example.venue, result.example.kind)
        groups.setdefault(key, Counter())[result.outcome] += 1
    rows = [
        (*(printable(name, 48) for name in key), *(str(counted[name]) for name in OUTCOMES))
        for key, counted in sorted(groups.items())
    ]
    rows.insert(0, ("venue", "kind", *OUTCOMES))
    wide = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        words = [cell.ljust(w) for cell, w in zip(row[:2], wide[:2], strict=True)]
        numbers = [cell.rjust(w) for cell, w in zip(row[2:], wide[2:], strict=True)]
        lines.append("  ".join([*words, *numbers]).rstrip())
    return [*lines, ""]
