"""Margin tables from a file, in place of the preset's for the markets in it."""

import dataclasses
import hashlib
from dataclasses import dataclass
from typing import Any

from riskengine.app import validate_venue
from riskengine.app.config import Config
from riskengine.app.readers import ccxt, tree
from riskengine.app.sources import Source, opened

FIELD = "venue.margin.path"
KNOWN = "must hold leverage tiers as ccxt (fetch_leverage_tiers) gives them: {symbol: [tiers]}"


@dataclass(frozen=True)
class Tiers:
    """Tables by symbol, and the symbol of every market."""

    tables: dict[str, ccxt.Table]
    markets: dict[str, str]
    inputs: dict[str, str]  # file → SHA-256


def read_tiers(path: str, field: str = FIELD) -> Tiers:
    """Leverage tiers, which keep the rules of tables in `conf/`. `InputError` at the first that does not."""
    source, digest = Source(field, path), hashlib.sha256()
    with opened(source, (".json",)) as file:
        root = tree.load(source, file, digest)
    if not isinstance(root.value, dict) or not root.value:
        raise root.error(KNOWN)
    tables, markets = {}, {}
    for market, symbol, node, rows in ccxt.tiers(root):
        before: list[Any] | None = None
        for place, row in enumerate(rows):
            validate_venue.tier(f"{field} {source.at(f'{node.place}[{place}]')}", row, before)
            before = row
        tables[symbol], markets[market] = rows, symbol
    if not tables:
        raise root.error("must hold the tiers of at least one perpetual")
    return Tiers(tables, markets, {path: digest.hexdigest()})


def applied(config: Config) -> tuple[Config, dict[str, str]]:
    """The configuration with the tables of its file, and the files that were read."""
    margin = config.venue.margin
    if margin.path is None:
        return config, {}
    found = read_tiers(margin.path)
    margin = dataclasses.replace(
        margin, tables=margin.tables | found.tables, markets=margin.markets | found.markets
    )
    venue = dataclasses.replace(config.venue, margin=margin)
    return dataclasses.replace(config, venue=venue), found.inputs
