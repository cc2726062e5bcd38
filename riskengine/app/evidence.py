"""How much of a venue's preset is published, seen in its data, or assumed."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from riskengine.app.config import VenueConfig
from riskengine.app.overrides import CONF

TABLES = ("margin.tables", "margin.markets", "margin.premium_pct")  # each one setting
KINDS = ("published", "observed", "assumption")  # each weaker than those before it
ABOUT = ("name", "title", "evidence", "ranges", "dt_max_s")  # not rules of the venue


@dataclass(frozen=True)
class Grade:
    """Settings of a preset by the evidence for them; all margin tables are one setting."""

    published: int
    observed: int
    assumption: int

    @property
    def settings(self) -> int:
        return self.published + self.observed + self.assumption

    def share(self, kind: str) -> float:
        """Part of the settings with this evidence."""
        return getattr(self, kind) / self.settings if self.settings else 0.0

    def __str__(self) -> str:
        each = (
            f"{100 * self.share(kind):.0f} % {word}"
            for kind, word in (
                ("published", "published by the venue"),
                ("observed", "seen in its data or quoted by others"),
                ("assumption", "assumed"),
            )
        )
        return f"of {self.settings} settings {', '.join(each)}"


def grade(venue: VenueConfig) -> Grade | None:
    """The grade of the preset that the venue began as; None where there is no such file."""
    if not (CONF / "venue" / f"{venue.name}.yaml").is_file():
        return None
    found = [_kind(setting, venue) for setting in settings(preset(venue.name))]
    return Grade(**{kind: found.count(kind) for kind in KINDS})


def preset(name: str) -> dict[str, Any]:
    """What a venue's file sets, over the file that it builds on."""
    import yaml

    own = yaml.safe_load((CONF / "venue" / f"{name}.yaml").read_text(encoding="utf-8"))
    merged: dict[str, Any] = {}
    for parent in own.pop("defaults", []):
        merged |= preset(parent) if parent != "_self_" else {}
    for key, value in own.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = merged[key] | value if both else value
    return merged


def settings(values: dict[str, Any], above: str = "") -> Iterator[str]:
    """Full names of everything that is set, groups and tables taken apart."""
    for key, value in values.items():
        name = f"{above}{key}"
        if name in ABOUT:
            continue
        if isinstance(value, dict) and name not in TABLES:
            yield from settings(value, f"{name}.")
        else:
            yield name


def _kind(setting: str, venue: VenueConfig) -> str:
    """The evidence whose field is nearest to the setting, the weakest of several.

    What nothing is said about is assumed.
    """
    said = [
        (min(len(field), len(setting)), KINDS.index(entry.kind), entry.kind)
        for entry in venue.evidence
        for field in entry.fields
        if setting == field or setting.startswith(f"{field}.") or field.startswith(f"{setting}.")
    ]
    return max(said)[2] if said else "assumption"
