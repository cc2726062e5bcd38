"""Jobs of a sweep with the other plausible values of what a venue's preset assumes."""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from riskengine.app import configure, evidence, validate
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
    now = dataclasses.asdict(config.venue)
    for key, values in config.venue.ranges.items():
        if not _same(_at(now, key), _at(own, key)):
            continue
        if not isinstance(values, list) or not values:
            raise InputError(f"venue.ranges.{key}", "must be a list of other values", values)
        for value in values:
            change = f"{key}={_written(value)}"
            overrides = [*job, f"venue.{change}"]
            try:
                varied = configure.load(overrides)
                validate.check(varied)
            except InputError as error:
                raise InputError(
                    f"venue.ranges.{key}", f"holds {printable(value)}: {error}"
                ) from None
            found.append(Job(overrides, varied, number, change))
    return found


def _at(values: Any, key: str) -> Any:
    """What lies under a dotted name in nested tables; nothing where it leads nowhere."""
    for part in key.split("."):
        values = values.get(part) if isinstance(values, dict) else None
    return values


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
