"""What a calibration cannot be asked, before anything is simulated. No jax here."""

import dataclasses
import math

from riskengine.app.config import PATHS_MAX, Config, SearchConfig
from riskengine.calibration.spending import paths_needed, spent
from riskengine.errors import InputError

FACTORS = ("caps", "maintenance", "vault")
EACH = 3  # evaluations that a start of the search takes at least
RARE_LEAST = 32  # weighted crashes
LAWS = ("crash", "concentration")
ALLOWANCE = 3.0  # times the independent paths of an upper limit: books make paths alike
# Weighted crashes for a probability ε are 2/ε at least: with half of the choice by weight alone
# (`importance.CAREFUL`) a crash that the prediction overlooked then counts at most ε.
OVERLOOKED = 2.0
WORK = 1.75  # plain crashes that take as long as a weighted one, its pilot and its survey
OF_A_BOOK = 8  # crashes of each book of a look
BOOKS_LEAST, BOOKS_MOST, ACCOUNTS_MOST = 8, 512, 4_000_000  # of a look
ALL_ACCOUNTS = 40_000_000  # of all looks, some 10 GB


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
    _books(config)
    _search(config)


def _reaches(config: Config) -> None:
    """The paths of a look can carry an upper limit at the last look's level."""
    least, rarest = independent(config), _rarest(config)
    if config.design.verify_paths is None:
        takes = weighted_paths(config) or verify_paths(config)
        if takes > PATHS_MAX:
            name = min(
                ("adl_probability", "depletion_probability"),
                key=lambda n: getattr(config.target, n),
            )
            must = f"must be larger: a look would take {takes:,} crashes, the most is {PATHS_MAX:,}"
            raise InputError(f"target.{name}", must, getattr(config.target, name))
        return
    if config.design.verify_paths < least:
        must = f"must be >= {least} to verify a probability of {rarest:g} in {config.design.looks} looks"
        raise InputError("design.verify_paths", must, config.design.verify_paths)


def _rarest(config: Config) -> float:
    return min(config.target.adl_probability, config.target.depletion_probability)


def independent(config: Config) -> int:
    """Independent paths with which the last look has an upper limit."""
    alpha = 1.0 - config.simulation.confidence
    return paths_needed(_rarest(config), spent(alpha, config.design.looks))


def paths(config: Config) -> int:
    """Crashes that every design beside today's meets: the first of the run's, or all."""
    return min(config.design.paths, config.simulation.paths)


def verify_paths(config: Config) -> int:
    """Plain crashes of a look: as asked, or the run's and at least what the target takes.

    Where weighted crashes verify, as many as any design meets, for what is not rare.
    """
    if weighted_paths(config):
        return paths(config)
    return config.design.verify_paths or _plain(config)


def _plain(config: Config) -> int:
    return max(config.simulation.paths, math.ceil(ALLOWANCE * independent(config)))


def weighted_paths(config: Config) -> int:
    """Weighted crashes of a look; 0 where plain ones verify.

    They do where they are no more than those of the run or less work, where another number is asked
    for, and where a mean is to be verified.
    """
    asked = config.design.verify_paths or config.target.loss_pct or config.target.haircut_pct
    if asked or not config.design.rare_paths:
        return 0
    weighted = max(config.design.rare_paths, math.ceil(OVERLOOKED / _rarest(config)))
    cheaper = _plain(config) > WORK * weighted + paths(config)
    return weighted if cheaper and _plain(config) > config.simulation.paths else 0


def look_books(config: Config) -> int:
    """Synthetic books of a look: of few crashes each, for a few books may rule a venue's risk."""
    crashes = weighted_paths(config) or verify_paths(config)
    many = min(crashes // OF_A_BOOK, BOOKS_MOST, ACCOUNTS_MOST // config.book.accounts)
    return config.design.verify_books or max(config.book.books, many, BOOKS_LEAST)


def _books(config: Config) -> None:
    """Looks can have so many books, and keep them all at once."""
    asked, design = config.design.verify_books, config.design
    if asked is not None and config.book.path is not None:
        must = "must be null where the book is read from a file: it is the same in every look"
        raise InputError("design.verify_books", must, asked)
    crashes = weighted_paths(config) or verify_paths(config)
    if asked is not None and asked > crashes:
        must = f"must be at most the {crashes:,} crashes of a look"
        raise InputError("design.verify_books", must, asked)
    accounts = look_books(config) * config.book.accounts * design.looks
    if config.book.path is None and accounts > ALL_ACCOUNTS:
        kept = (
            f"{design.looks} looks would hold {accounts:,} accounts, the most is {ALL_ACCOUNTS:,}"
        )
        raise InputError("design.verify_books", f"must be smaller: {kept}", look_books(config))


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
