"""Jobs of a sweep with the other plausible values of what a venue's preset assumes."""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from riskengine.app import configure, evidence, overrides, schema, validate
from riskengine.app.config import Config
from riskengine.errors import InputError, printable


@dataclass(frozen=True)
class Job:
    """Overrides of one run, what they make, and which run they vary."""

    overrides: list[str]
    config: Config
    of: int  # number of the job without the other value
    change: str = ""  # KEY=VALUE within the venue; nothing: as the preset has it


def expanded(jobs: Sequence[list[str]], configs: Sequence[Config]) -> list[Job]:
    """Every job, each followed by one for every other value, if it asks for ranges."""
    found = []
    for number, (job, config) in enumerate(zip(jobs, configs, strict=True)):
        found.append(Job(list(job), config, number))
        if config.ranges:
            found += _others(job, config, number)
    return found


def _others(job: list[str], config: Config, number: int) -> list[Job]:
    """One job for every other value of a key that still has the preset's: what was set stays so."""
    found, own = [], evidence.preset(config.venue.name)
    now, given = dataclasses.asdict(config.venue), _set_here(job)
    if config.venue.fund_usd is not None:
        given.append("fund_pct")
    for key, values in config.venue.ranges.items():
        if any(key == g or key.startswith(f"{g}.") or g.startswith(f"{key}.") for g in given):
            continue
        if not _same(schema.at(now, key), schema.at(own, key)):
            continue
        if not isinstance(values, list) or not values:
            raise InputError(f"venue.ranges.{key}", "must be a list of other values", values)
        for value in values:
            change = f"{key}={_written(value)}"
            asked = [*job, f"venue.{change}"]
            try:
                varied = configure.load(asked)
                validate.check(varied)
            except InputError as error:
                raise InputError(
                    f"venue.ranges.{key}", f"holds {printable(value)}: {error}"
                ) from None
            found.append(Job(asked, varied, number, change))
    return found


def _set_here(job: list[str]) -> list[str]:
    """Keys of the venue that the command line or its experiment sets."""
    import yaml

    found = []
    for override in job:
        name, _, value = override.lstrip("+~").partition("=")
        if name.startswith("venue."):
            found.append(name.removeprefix("venue."))
        if name == schema.EXPERIMENT:
            file = overrides.CONF / schema.EXPERIMENT / f"{value}.yaml"
            said = yaml.safe_load(file.read_text(encoding="utf-8")).get("venue") or {}
            found += list(evidence.settings(said))
    return found


def _same(now: Any, own: Any) -> bool:
    """Whether a value is the preset's; keys of a group that it does not set do not count."""
    if isinstance(now, dict) and isinstance(own, dict):
        return all(_same(now.get(key), value) for key, value in own.items())
    return own is None or now == own


def _written(value: Any) -> str:
    """A value as it stands on the command line; keys that go together stand in one table."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{k}: {_written(v)}' for k, v in value.items())}}}"
    return value if isinstance(value, str) else json.dumps(value)
