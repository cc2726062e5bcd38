"""What a calibration cannot be asked, before anything is simulated. No jax here."""

import dataclasses
import math

from riskengine.app.config import PATHS_MAX, Config, SearchConfig
from riskengine.errors import InputError

FACTORS = ("caps", "maintenance", "vault")
EACH = 3  # evaluations that a start of the search takes at least
RARE_LEAST = 32  # weighted crashes
LAWS = ("crash", "concentration")
ALLOWANCE = 3.0  # times the independent paths of an upper limit: books make paths alike


def check(config: Config) -> None:
    """Raise `InputError` at the first thing that cannot be asked."""
    if config.ranges:
        raise InputError("ranges", "must be false for task=calibrate", True)
    if config.book.path is not None and not config.book.complete:
        must = "must be true for task=calibrate: a partial book carries no fund target"
        raise InputError("book.complete", must, False)
    if config.scenario.law not in LAWS:
        must = f"must be {' or '.join(LAWS)} for task=calibrate: a target is a probability"
        raise InputError("scenario.law", must, config.scenario.law)
    if config.simulation.fidelity == "grouped":
        must = "must be full or auto for task=calibrate, which runs every account"
        raise InputError("simulation.fidelity", must, "grouped")
    if 0 < config.design.rare_paths < RARE_LEAST:
        must = f"must be 0 or >= {RARE_LEAST}: fewer cannot carry a probability"
        raise InputError("design.rare_paths", must, config.design.rare_paths)
    _reaches(config)
    _search(config)


def _reaches(config: Config) -> None:
    """The paths of a look can carry an upper limit at the last look's level."""
    needed = _least(config)
    if config.design.verify_paths is None:
        if verify_paths(config) > PATHS_MAX:
            name = min(
                ("adl_probability", "depletion_probability"),
                key=lambda n: getattr(config.target, n),
            )
            takes = f"a look would take {verify_paths(config):,} crashes"
            must = f"must be larger: {takes}, the most is {PATHS_MAX:,}"
            raise InputError(f"target.{name}", must, getattr(config.target, name))
        return
    if config.design.verify_paths < needed:
        rarest = min(config.target.adl_probability, config.target.depletion_probability)
        must = f"must be >= {needed} to verify a probability of {rarest:g} in {config.design.looks} looks"
        raise InputError("design.verify_paths", must, config.design.verify_paths)


def _least(config: Config) -> int:
    """Independent paths with which the last look has an upper limit: (1 − ε)ⁿ ≤ α/2^k."""
    rarest = min(config.target.adl_probability, config.target.depletion_probability)
    tail = (1.0 - config.simulation.confidence) / 2.0**config.design.looks
    return math.ceil(math.log(tail) / math.log1p(-rarest))


def paths(config: Config) -> int:
    """Crashes that every design beside today's meets: the first of the run's, or all."""
    return min(config.design.paths, config.simulation.paths)


def verify_paths(config: Config) -> int:
    """Crashes of a look: as asked, or the run's and at least what the target takes."""
    asked = config.design.verify_paths
    return asked or max(config.simulation.paths, math.ceil(ALLOWANCE * _least(config)))


def _search(config: Config) -> None:
    """Weights and what is searched with them belong together."""
    design = config.design
    _bounds(design.search)
    weights = dataclasses.asdict(design.weights)
    given = {name: x for name, x in weights.items() if x is not None}
    if not given:
        if design.search.free:
            must = "must be empty without design.weights: no single optimum is named then"
            raise InputError("design.search.free", must, design.search.free)
        return
    if not any(given.values()):
        raise InputError("design.weights", "must have one above 0", given)
    if design.search.budget < EACH * design.search.starts:
        takes = f"each start takes at least {EACH} of design.search.budget"
        must = f"must be <= {design.search.budget // EACH}: {takes}"
        raise InputError("design.search.starts", must, design.search.starts)
    if not design.search.free:
        raise InputError("design.search.free", "must name a lever where weights are given", [])
    if "caps" in design.search.free and design.response is None:
        must = "must be given where caps are searched: how far accounts follow decides what they do"
        raise InputError("design.response", must, "null")
    if "vault" in design.search.free and not any(
        pool.fixed_pct > 0 and not pool.share_pct for pool in config.venue.pools.values()
    ):
        must = f"must not hold vault: {config.venue.name} has no capital outside the first-loss capital"
        raise InputError("design.search.free", must, design.search.free)


def _bounds(search: SearchConfig) -> None:
    """Of every lever the least is not above the most, whether it is searched or not."""
    for name in (*FACTORS, "fee", "fee_to_pool"):
        unit = "" if name in FACTORS else "_pct"
        low, high = (getattr(search, f"{name}_{end}{unit}") for end in ("least", "most"))
        if low > high:
            field = f"design.search.{name}_least{unit}"
            raise InputError(field, f"must be <= design.search.{name}_most{unit} ({high:g})", low)
