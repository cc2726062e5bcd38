"""Write docs/config.md: every key of the schema, from the schema itself.

python docs/make_config.py
"""

import dataclasses
import re
import typing
from pathlib import Path
from typing import Any

from riskengine.app.config import Config
from riskengine.app.fields import SIGNS, not_null
from riskengine.app.overrides import GROUPS, comment, options

PAGE = Path(__file__).with_name("config.md")
UNITS = {"pct": "%", "usd": "USD", "s": "s", "min": "min", "days": "days"}
HEAD = "| key | unit | default | allowed | meaning |\n| --- | --- | --- | --- | --- |\n"
ENTRY = {"pools": "POOL", "markets": "MARKET", "tables": "TABLE", "market_share_pct": "MARKET"}
INTRO = """\
# Configuration

<!-- Made by docs/make_config.py from the schema; change it there. -->

Everything is set on the command line as KEY=VALUE, or from Python with the same words:

    riskengine venue=binance simulation.paths=512
    riskengine.question("venue=binance", "simulation.paths=512")

`riskengine --cfg` prints the whole configuration of a run and stops. A value that is not allowed
ends with one line that names the key, what it must be and what it was, and exit code 2, before
anything is computed or written.

| write | for |
| --- | --- |
| `KEY=VALUE` | a number (`0.5`, `2.5e8`), a name, `true`, `false`, `null` |
| `KEY=[a,b]` | a list; quote it in the shell: `'venue.stages=[book,fund,adl]'` |
| `KEY='{name: value}'` | several keys of a group or entries of a table |
| `+TABLE.NAME=VALUE` | a new entry of a table: `+venue.margin.markets.PEPE=tiered_10x` |
| `~TABLE.NAME` | an entry less |
| `KEY='${OTHER.KEY}'` | the value of another key |
| `-m KEY=a,b` | a sweep; `KEY=range(0,10,2)` counts; all combinations run, at most 10,000 |
| `-m hydra/launcher=NAME` | where the jobs of a sweep run, if a hydra launcher is installed |

A key may be set once. Units are in the names: `_pct` is percent, `_usd` dollars, `_s` seconds,
`_min` minutes, `_days` days. Defaults hold where the chosen files of `conf/` say nothing else.

## Files

One of each group is chosen: `venue=NAME`, `book=NAME`, `scenario=NAME`, `experiment=NAME`. An
experiment sets keys of all groups; what the command line says goes before it. `~experiment` runs
without one; `simulation.grid` must then be given.

"""


def page() -> str:
    """The whole page."""
    parts = [INTRO, files(), "\n## One run\n\n", HEAD, rows(Config, ""), "\n"]
    for name in (
        "venue",
        "book",
        "scenario",
        "simulation",
        "target",
        "design",
        "assumptions",
        "data",
    ):
        kind = next(f.type for f in dataclasses.fields(Config) if f.name == name)
        parts.append(sections(kind, name, 2))
    return "".join(parts).rstrip() + "\n"


def files() -> str:
    """The choices of every group with the comment that a file begins with."""
    lines = ["| file | what it is |\n| --- | --- |\n"]
    for group in GROUPS:
        for name in options(group):
            lines.append(f"| `{group}={name}` | {escaped(comment(group, name))} |\n")
    return "".join(lines)


def sections(kind: Any, name: str, level: int) -> str:
    """A group with its table of keys, then the groups in it."""
    said = " ".join((kind.__doc__ or "").split())
    found = [f"{'#' * level} {name}\n\n{said}\n\n", HEAD, rows(kind, f"{name}."), "\n"]
    for entry in dataclasses.fields(kind):
        inner, where = below(entry, f"{name}.{entry.name}")
        if inner is not None:
            found.append(sections(inner, where, level + 1))
    return "".join(found)


def below(entry: dataclasses.Field[Any], name: str) -> tuple[Any, str]:
    """The group that a field holds, alone, in a list or in a table."""
    kind = not_null(entry.type)
    inner = (typing.get_args(kind) or (kind,))[-1]
    if not dataclasses.is_dataclass(inner):
        return None, name
    if typing.get_origin(kind) is list:
        return inner, f"{name}[]"
    if typing.get_origin(kind) is dict:
        return inner, f"{name}.{ENTRY[entry.name]}"
    return inner, name


def rows(kind: Any, prefix: str) -> str:
    """One line per key that is not a group of its own."""
    lines = []
    for entry in dataclasses.fields(kind):
        if dataclasses.is_dataclass(entry.type):
            continue
        name = f"`{prefix}{entry.name}`"
        cells = (name, unit(entry.name), default(entry), allowed(entry), meaning(entry))
        lines.append(f"| {' | '.join(cells)} |\n")
    return "".join(lines)


def unit(name: str) -> str:
    return UNITS.get(name.rsplit("_", 1)[-1], "") if "_" in name else ""


def default(entry: dataclasses.Field[Any]) -> str:
    """The default as it is written on the command line."""
    value = entry.default
    if callable(entry.default_factory):
        value = entry.default_factory()
    if value is None or isinstance(value, bool):
        return f"`{str(value).lower().replace('none', 'null')}`"
    return f"`{value:.15g}`" if isinstance(value, float) else f"`{value or repr(value)}`"


def allowed(entry: dataclasses.Field[Any]) -> str:
    """Names or bounds, and whether null is."""
    kind, rules = not_null(entry.type), entry.metadata
    if "names" in rules:
        found = ", ".join(f"`{name}`" for name in rules["names"])
        found = f"each once of {found}" if typing.get_origin(kind) is list else found
    else:
        found = shape(kind) + limits(rules)
    return found + (" or `null`" if kind is not entry.type else "")


def shape(kind: Any) -> str:
    """The type in words."""
    if typing.get_origin(kind) is list:
        return f"list of {shape(typing.get_args(kind)[0])}"
    if typing.get_origin(kind) is dict:
        return f"table of {shape(typing.get_args(kind)[1])}"
    words = {int: "integer", float: "number", bool: "`true` or `false`", str: "text", Any: "lists"}
    return words.get(kind, "groups")


def limits(rules: Any) -> str:
    each = [f"{sign} {rules[name]:.15g}" for name, sign in SIGNS.items() if name in rules]
    signs = {">=": "≥", "<=": "≤"}
    return " " + ", ".join(re.sub("[<>]=", lambda m: signs[m[0]], e) for e in each) if each else ""


def meaning(entry: dataclasses.Field[Any]) -> str:
    """What the key is, and what its names mean."""
    said = entry.metadata["meaning"]
    names = entry.metadata.get("names", {})
    if names:
        said += ": " + "; ".join(f"`{name}` {text}" for name, text in names.items())
    return escaped(said)


def escaped(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
