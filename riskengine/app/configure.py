"""Command line and `conf/` → `Config`: hydra chooses files, the schema types what they say."""

import contextlib
import copy
import functools
import logging
import typing
from collections.abc import Iterator, Sequence
from typing import Any

from riskengine.app import fields, overrides, schema
from riskengine.app.config import Config
from riskengine.app.overrides import CONF, GROUPS, SWEEP_MAX
from riskengine.errors import InputError, printable

IN_ROOT = (("book", "path"), ("scenario", "path"))  # keys that presets place in data.root


def load(asked: Sequence[str]) -> Config:
    """The configuration that these overrides ask for; `InputError` where they are wrong."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    parsed = overrides.parse(asked)
    chosen = tuple(str(o.input_line) for o in parsed if overrides.is_choice(o))
    composed = copy.deepcopy(_composed(chosen))
    for override in parsed:
        if not overrides.is_choice(override):
            _set(composed, override)
    _has_root(composed)
    try:
        config = OmegaConf.to_object(composed)
    except OmegaConfBaseException as error:
        raise _explained(error) from None
    fields.check(config)
    return typing.cast(Config, config)


def jobs(asked: Sequence[str]) -> list[list[str]]:
    """Overrides of every job of a sweep, in hydra's order; values that repeat are refused."""
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper

    parsed, total = overrides.parse(asked, sweep=True), 1
    for override in parsed:
        total *= overrides.count(override)
        if total > SWEEP_MAX:
            raise InputError("sweep", f"must have at most {SWEEP_MAX} jobs (the limit)", asked)
    batches = BasicSweeper.split_arguments(parsed, max_batch_size=None)
    return [list(job) for batch in batches for job in batch]


def launchers() -> list[str]:
    """Where hydra can run the jobs of a sweep, with the plugins that are installed."""
    from hydra.core.global_hydra import GlobalHydra

    with _hydra():
        return GlobalHydra.instance().config_loader().get_group_options("hydra/launcher")


@functools.lru_cache(maxsize=64)
def _composed(chosen: tuple[str, ...]) -> Any:
    """The files of `conf/` for these choices, one over the other, in the types of the schema."""
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    with _hydra() as compose:
        try:
            composed = compose(config_name="config", overrides=list(chosen))
        except (HydraException, OmegaConfBaseException) as error:
            first = (str(error).splitlines() or [type(error).__name__])[0]
            must = f"cannot be composed: {printable(first, 160)}"
            raise InputError("config", must, " ".join(chosen)) from None
    OmegaConf.set_struct(composed, False)  # tables take new entries; groups do not, by their type
    return composed


@contextlib.contextmanager
def _hydra() -> Iterator[Any]:
    """hydra's compose function with our `conf/` and schema; hydra's state is left as it was."""
    from hydra import compose, initialize_config_dir
    from hydra.core.config_store import ConfigStore
    from hydra.core.global_hydra import GlobalHydra

    if not (CONF / "config.yaml").is_file():
        raise InputError("conf", "must hold config.yaml; the installation is not complete", CONF)
    logging.getLogger("hydra").setLevel(logging.WARNING)
    ConfigStore.instance().store(name="schema", node=Config)
    of_caller, GlobalHydra.instance().hydra = GlobalHydra.instance().hydra, None
    try:
        with initialize_config_dir(config_dir=str(CONF), version_base="1.3"):
            yield compose
    finally:
        GlobalHydra.instance().hydra = of_caller


def _set(config: Any, override: Any) -> None:
    """Let an override change the configuration; entries of tables are added only where asked."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    name, adds = override.key_or_group, override.is_add() or override.is_force_add()
    entry = (schema.find(name) or schema.Key(None, {})).entry
    there = bool(entry) and OmegaConf.select(config, entry) is not None
    if entry and not there and not adds:
        must = (
            f"is not there; +{name}=VALUE adds it" if not override.is_delete() else "is not there"
        )
        raise InputError(entry, must, override.input_line)
    if there and override.is_add() and name == entry:
        raise InputError(name, "is there already: set it without +", override.input_line)
    if override.is_delete() or (name in overrides.TABLES and override.value() == {}):
        table, _, last = name.rpartition(".")
        if name in overrides.TABLES:
            OmegaConf.update(config, name, {}, merge=False)
        else:
            OmegaConf.select(config, table).pop(last)
        return
    tree = override.value()
    for part in reversed(name.split(".")):
        tree = {part: tree}
    try:
        config.merge_with(tree)
    except OmegaConfBaseException as error:
        raise _explained(error, name, str(override.input_line).partition("=")[2]) from None


def _has_root(config: Any) -> None:
    """A preset that reads a data set says where it lies by data.root."""
    from omegaconf import OmegaConf

    if config.data.root is None:
        written = OmegaConf.to_container(config, resolve=False)
        for group, key in IN_ROOT:
            text = typing.cast(Any, written)[group][key]
            if "${data.root}" in str(text):
                must = f"is required: {group}.{key} lies in this folder of data sets"
                raise InputError("data.root", must, "null")


def _explained(error: Exception, name: str = "", text: str = "") -> InputError:
    """omegaconf's words as one line of ours; `text` is what the key `name` was being set to."""
    from omegaconf import errors

    where = str(getattr(error, "full_key", "") or "")
    if not where.startswith(name):
        where = ".".join(filter(None, (name, where)))
    key, got = schema.find(where), text if where == name else str(getattr(error, "value", ""))
    if isinstance(error, errors.ConfigKeyError | errors.ConfigAttributeError) or key is None:
        return schema.no_such_key(where, text)
    if isinstance(error, errors.InterpolationResolutionError | errors.GrammarParseError):
        line = printable(str(error).splitlines()[0], 120)
        return InputError(where, f"has a reference that cannot be resolved: {line}")
    if got in ("null", "None"):
        return InputError(where, f"is required and must be {key.takes}", "null")
    return InputError(where, f"must be {key.takes}", got)


__all__ = ["CONF", "GROUPS", "jobs", "load"]
