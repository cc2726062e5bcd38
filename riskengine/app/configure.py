"""Command line and `conf/` → `Config`: composed by hydra, typed by the schema, checked, explained."""

import contextlib
import difflib
import dataclasses
import logging
import re
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from riskengine.app import config as schema
from riskengine.app.config import Config, nearest
from riskengine.errors import InputError, printable

HERE = Path(__file__).resolve().parent.parent
CONF = HERE / "conf" if (HERE / "conf").is_dir() else HERE.parent / "conf"
GROUPS = ("venue", "book", "scenario", "experiment")
FORBIDDEN = re.compile(r"_target_|_partial_|_recursive_|_convert_")
RESOLVER = re.compile(r"\$\{[^}]*:")


def load(overrides: Sequence[str]) -> Config:
    """The configuration that these overrides ask for; `InputError` where they are wrong."""
    _parse(overrides)
    with _hydra() as compose:
        from hydra.errors import HydraException
        from omegaconf import OmegaConf
        from omegaconf.errors import OmegaConfBaseException

        try:
            composed = compose(config_name="config", overrides=list(overrides))
            for name in sorted(OmegaConf.missing_keys(composed)):
                raise InputError(name, "is required: set it on the command line")
            config = OmegaConf.to_object(composed)
        except (HydraException, OmegaConfBaseException) as error:
            raise _explained(error, overrides) from None
    schema.check(config)
    return typing.cast(Config, config)


def jobs(overrides: Sequence[str]) -> list[list[str]]:
    """Overrides of every job of a sweep, in hydra's order; values that repeat are refused."""
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

    parsed = _parse(overrides)
    count = 1
    for override in parsed:
        count *= _values(override)
        if count > SWEEP_MAX:
            raise InputError("sweep", f"must have at most {SWEEP_MAX} jobs (the limit)", count)
    batches = BasicSweeper.split_arguments(parsed, max_batch_size=None)
    return [list(job) for batch in batches for job in batch]


SWEEP_MAX = 10_000


def _values(override: Any) -> int:
    """How many values an override sweeps over, without listing them."""
    from hydra.core.override_parser.types import RangeSweep

    if not override.is_sweep_override():
        return 1
    sweep = override.value()
    if isinstance(sweep, RangeSweep):
        if not sweep.step:
            raise InputError(override.key_or_group, "must be a range with a step other than 0",
                             override.input_line)  # fmt: skip
        return max(1, round((sweep.stop - sweep.start) / sweep.step))
    return sum(1 for _ in override.sweep_iterator())


def _parse(overrides: Sequence[str]) -> list[Any]:
    """Overrides one by one, so that an error names the one it belongs to."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    parser, seen, parsed = OverridesParser.create(), {}, []
    for override in overrides:
        _refuse(override)
        name = override.lstrip("+~").partition("=")[0]
        if name in seen:
            raise InputError(name, f"must be set once: {seen[name]} is in conflict", override)
        seen[name] = override
        try:
            parsed += parser.parse_overrides([override])
        except HydraException as error:
            detail = (str(error).splitlines() or [""])[0]
            raise InputError(
                name or "override", f"must be KEY=VALUE ({printable(detail)})", override
            ) from None
    return parsed


@contextlib.contextmanager
def _hydra():
    """hydra's compose function with our `conf/` and schema; hydra's state is left as it was."""
    from hydra import compose, initialize_config_dir
    from hydra.core.config_store import ConfigStore
    from hydra.core.global_hydra import GlobalHydra

    if not (CONF / "config.yaml").is_file():
        raise InputError("conf", "must hold config.yaml; the installation is not complete", CONF)
    logging.getLogger("hydra").setLevel(logging.WARNING)
    ConfigStore.instance().store(name="schema", node=Config)
    GlobalHydra.instance().clear()
    with initialize_config_dir(config_dir=str(CONF), version_base="1.3"):
        yield compose


def _refuse(override: str) -> None:
    """What an override may never do: reach into hydra, name code, resolve functions."""
    try:
        override.encode("utf-8")
    except UnicodeEncodeError:
        raise InputError("override", "must be UTF-8", override.encode("utf-8", "replace").decode()) from None
    name = override.lstrip("+~").partition("=")[0]
    if name.split(".")[0].split("/")[0].split("@")[0] == "hydra" and not name.startswith("hydra/launcher"):
        raise InputError(name, "must not be set: of hydra only hydra/launcher may be chosen")
    if FORBIDDEN.search(override):
        found = FORBIDDEN.search(override)
        raise InputError(found.group() if found else name, "is not a key of the schema", override)
    if RESOLVER.search(override):
        raise InputError(name, "must not call a resolver", override)
    if override.startswith("+") and not name.startswith("experiment"):
        tables = [key for key, kind in _keys(Config) if typing.get_origin(kind) is dict]
        if not any(name.startswith(table + ".") for table in tables):
            raise _no_such_key(name, override.partition("=")[2])


def _explained(error: Exception, overrides: Sequence[str]) -> InputError:
    """hydra's and omegaconf's words as one line of ours."""
    text = str(error)
    cause = error.__cause__ or error.__context__
    if cause is not None and "full_key" in str(cause):
        text = str(cause)
    first = text.splitlines()[0] if text else type(error).__name__
    for rule in (_unknown_key, _unknown_option, _wrong_type, _missing, _interpolation):
        found = rule(text, first, overrides)
        if found:
            return found
    return InputError("config", f"cannot be composed: {printable(first, 160)}")


def _unknown_key(text: str, first: str, overrides: Sequence[str]) -> InputError | None:
    found = re.search(r"Key '([^']*)' (?:is )?not in '([^']*)'", text)
    if not found:
        found = re.search(r"Could not (?:override|append to) '([^']*)'", text)
    if not found:
        return None
    full = re.search(r"full_key: (\S+)", text)
    asked = (o.lstrip("+~").partition("=")[0] for o in overrides)
    name = full.group(1) if full else next((o for o in asked if found.group(1) in o), found.group(1))
    return _no_such_key(name, next((o.partition("=")[2] for o in overrides if name in o), None))


def _no_such_key(name: str, value: str | None) -> InputError:
    """Names the keys that look most like the one that does not exist."""
    known = [key for key, _ in _keys(Config)]
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.75)
    last = name.rsplit(".", 1)[-1]
    like = difflib.get_close_matches(last, {k.rsplit(".", 1)[-1] for k in known}, n=2, cutoff=0.6)
    near += [k for word in like for k in known if k.rsplit(".", 1)[-1] == word and k not in near]
    hint = f"; did you mean {' or '.join(near[:4])}?" if near else ""
    return InputError(name, f"is not a key of the schema{hint}", value)


def _unknown_option(text: str, first: str, overrides: Sequence[str]) -> InputError | None:
    found = re.search(r"Could not (?:find|load) '(?:([\w./-]*)/)?([^/']*)'", text)
    if not found:
        return None
    group, name = found.group(1) or "config", found.group(2)
    options = sorted(p.stem for p in (CONF / group).glob("*.yaml")) if group in GROUPS else GROUPS
    near = nearest(name, options)
    hint = f" (did you mean {near}?)" if near else ""
    return InputError(group, f"must be one of {', '.join(options)}{hint}", name)


def _wrong_type(text: str, first: str, overrides: Sequence[str]) -> InputError | None:
    key = re.search(r"full_key: (\S+)", text)
    name = key.group(1) if key else "config"
    value = re.search(r"[Vv]alue '([^']*)'", first)
    kinds = {"Integer": "an integer", "Float": "a number such as 2.5e8", "Boolean": "true or false"}
    for kind, words in kinds.items():
        if f"to {kind}" in first or f"'{kind.lower()}'" in first:
            return InputError(name, f"must be {words}{limits(name)}", value and value.group(1))
    if "not Optional" in first or "Non optional field" in first:
        return InputError(name, f"is required and must not be null{limits(name)}")
    if "is not a" in first or "could not be converted" in first or "Cannot convert" in first:
        return InputError(name, f"has the wrong type: {printable(first, 120)}")
    return None


def _missing(text: str, first: str, overrides: Sequence[str]) -> InputError | None:
    if "Missing mandatory value" not in text:
        return None
    found = re.search(r"(?:full_key|Missing mandatory value): (\S+)", text)
    return InputError(found.group(1) if found else "config", "is required: set it on the command line")


def _interpolation(text: str, first: str, overrides: Sequence[str]) -> InputError | None:
    if "nterpolation" not in text and "resolver" not in text:
        return None
    key = re.search(r"full_key: (\S+)", text)
    return InputError(key.group(1) if key else "config", f"cannot be resolved: {printable(first, 120)}")


def limits(name: str) -> str:
    """The bounds of a key, in words."""
    kind: Any = Config
    rules: Any = {}
    for part in re.sub(r"\[\d+\]", "", name).split("."):
        entries = {f.name: f for f in dataclasses.fields(kind)} if dataclasses.is_dataclass(kind) else {}
        if part not in entries:
            return ""
        rules, kind = entries[part].metadata, entries[part].type
    return schema.bounds(rules)


def _keys(kind: Any, prefix: str = "") -> list[tuple[str, Any]]:
    """Every key of the schema with its full path, and its type."""
    found = []
    for entry in dataclasses.fields(kind):
        found.append((prefix + entry.name, entry.type))
        if dataclasses.is_dataclass(entry.type):
            found += _keys(entry.type, f"{prefix}{entry.name}.")
    return found
