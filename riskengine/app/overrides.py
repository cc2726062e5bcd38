"""Overrides of the command line, one by one: read, and refused where they say what they may not."""

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from riskengine.app import schema
from riskengine.app.fields import choose
from riskengine.errors import InputError, printable

HERE = Path(__file__).resolve().parent.parent
CONF = HERE / "conf" if (HERE / "conf").is_dir() else HERE.parent / "conf"
GROUPS = ("venue", "book", "scenario", schema.EXPERIMENT)
USAGE = "usage: riskengine [-m] [KEY=VALUE ...]"
LENGTH_MAX, DEPTH_MAX, SWEEP_MAX = 100_000, 20, 10_000
TABLES = ("book.ranges", "scenario.ranges")  # that may be left out as a whole
FORBIDDEN = re.compile(r"_target_|_partial_|_recursive_|_convert_|_args_")
LAUNCHER = re.compile(r"hydra/launcher=|hydra\.launcher\.\w+=")
UNDERFLOW = re.compile(r"[+-]?[0-9_.]*[1-9][0-9_.]*[eE]-[0-9]+")


def options(group: str) -> list[str]:
    """The files of a group."""
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def comment(group: str, name: str) -> str:
    """The comment at the top of a file of `conf/`, in one line."""
    lines = []
    for line in (CONF / group / f"{name}.yaml").read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        if "@package" not in line:
            lines.append(line.lstrip("# "))
    return " ".join(lines)


def is_choice(override: Any) -> bool:
    """Whether an override chooses a file of a group, rather than the value of a key."""
    return override.key_or_group in GROUPS


def is_launcher(text: str) -> bool:
    """Whether an override says where the jobs of a sweep run."""
    return bool(LAUNCHER.match(text.lstrip("+")))


def parse(overrides: Sequence[str], sweep: bool = False) -> list[Any]:
    """Overrides as hydra reads them; `InputError` names the first one that is wrong."""
    seen, parsed = {}, []
    for text in overrides:
        _refuse(text)
        override = _read(text)
        name = override.key_or_group
        if name in seen:
            both = f"{printable(seen[name], 60)} and {printable(text, 60)}"
            raise InputError(name, "must be set once", both)
        seen[name] = text
        _known(override)
        if override.is_sweep_override():
            if not sweep:
                raise InputError(
                    name, "must be one value (a number has no commas); several need -m", text
                )
        elif is_choice(override) and not override.is_delete():
            choose(name, options(name), override.value())
        parsed.append(override)
    return parsed


def _refuse(text: str) -> None:
    """What is not looked at any further: other encodings, code, calls, hydra, endless text."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        readable = text.encode("utf-8", "replace").decode()
        raise InputError("override", "must be UTF-8", readable) from None
    name = printable(text.lstrip("+~").partition("=")[0], 60) or "override"
    if re.match(r"[+~]*hydra\b", text):
        raise InputError(name, "must not be set: of hydra only hydra/launcher may be, with -m")
    if len(text) > LENGTH_MAX:
        raise InputError(name, f"must have at most {LENGTH_MAX} characters (the limit)", text)
    if _depth(text) > DEPTH_MAX:
        raise InputError(name, f"must not be nested deeper than {DEPTH_MAX} in the config", text)
    found = FORBIDDEN.search(text)
    if found:
        raise InputError(found.group(), "is not a key of the schema", text)
    if _calls(text):
        raise InputError(name, "must not call a resolver", text)
    if "???" in text:
        raise InputError(name, "is required: ??? is no value", text)
    if "=" not in text and not text.startswith("~"):
        raise InputError(name, f"must be KEY=VALUE; {USAGE}", text)


def _depth(text: str) -> int:
    """How deep brackets are nested."""
    depth = deepest = 0
    for c in text:
        depth += (c in "[{(") - (c in "]})")
        deepest = max(deepest, depth)
    return deepest


def _calls(text: str) -> bool:
    """Whether a colon stands right inside of ${…}: that calls a function, it names no key."""
    inside: list[str] = []
    for before, c in zip(f" {text}", text, strict=False):
        if c == "{":
            inside.append(before)
        elif c == "}" and inside:
            inside.pop()
        elif c == ":" and inside and inside[-1] == "$":
            return True
    return False


def _read(text: str) -> Any:
    """One override, by hydra's grammar."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    name = printable(text.lstrip("+~").partition("=")[0], 60) or "override"
    try:
        override = OverridesParser.create().parse_override(text)
    except HydraException as error:
        detail = printable((str(error).splitlines() or [""])[0], 60)
        raise InputError(name, f"must be KEY=VALUE ({detail})", text) from None
    if override.package is not None:
        raise InputError(name, "must not name a package (@)", text)
    if not override.key_or_group:
        raise InputError("override", f"must be KEY=VALUE; {USAGE}", text)
    value = None if override.is_sweep_override() else override.value()
    if value == 0 and UNDERFLOW.fullmatch(text.partition("=")[2].strip()):
        raise InputError(
            name, "must be 0 or a number that float64 can hold", text.partition("=")[2]
        )
    return override


def _known(override: Any) -> None:
    """A key of the schema. Entries of tables can be added and removed, the experiment and ranges removed."""
    name, adds = override.key_or_group, override.is_add() or override.is_force_add()
    key = schema.find(name)
    if key is None and name != schema.EXPERIMENT:
        raise schema.no_such_key(name, (override.input_line or "").partition("=")[2])
    if adds and not (key and key.entry):
        raise InputError(name, "is there already: set it without +", override.input_line)
    whole = name in TABLES
    if override.is_delete() and not (
        whole or name == schema.EXPERIMENT or key and key.entry == name
    ):
        raise InputError(name, "cannot be removed", override.input_line)


def count(override: Any) -> int:
    """How many values an override sweeps over, without listing a range."""
    from hydra.core.override_parser.types import ChoiceSweep, RangeSweep

    if not override.is_sweep_override():
        return 1
    name, sweep = override.key_or_group, override.value()
    if isinstance(sweep, RangeSweep):
        ends = [float(x) for x in (sweep.start, sweep.stop, sweep.step) if x is not None]
        if len(ends) < 3 or not all(map(math.isfinite, ends)) or not ends[2]:
            must = "must be a range with finite ends and a step other than 0"
            raise InputError(name, must, override.input_line)
        values = max(0.0, math.ceil((ends[1] - ends[0]) / ends[2]))
    elif isinstance(sweep, ChoiceSweep):
        listed = list(override.sweep_string_iterator())
        if len(set(listed)) < len(listed):
            raise InputError(name, "must not repeat a value of the sweep", override.input_line)
        values = len(listed)
    else:
        raise InputError(name, "must be several values, or a range", override.input_line)
    if not values:
        raise InputError(name, "must have at least one value to sweep over", override.input_line)
    return int(values) if values < SWEEP_MAX else SWEEP_MAX + 1
