"""Who is hit: every account of every book, and accounts that are alike."""

from dataclasses import dataclass

import numpy as np

from riskengine.app.study import Study
from riskengine.montecarlo import estimators
from riskengine.montecarlo.estimators import Estimate, Sample
from riskengine.specs import book
from riskengine.specs.book import MAKER, REST, Holdings

LEVERAGE = (2.0, 5.0, 10.0, 20.0)
NOTIONAL = (1e4, 1e5, 1e6, 1e7)  # USD
ONE_SIDED = 0.5  # net over gross notional from which an account is long or short, not hedged
MARKETS = 6  # of most accounts' notional; the others are one cohort
SIDES = np.asarray(["long", "short", "hedged"], object)
ROLES = {MAKER: "maker", REST: "rest"}
Columns = dict[str, np.ndarray]


@dataclass(frozen=True)
class People:
    """Accounts as columns, and cohorts of them."""

    accounts: Columns
    cohorts: list["Cohort"]


@dataclass(frozen=True)
class Cohort:
    """Accounts that are alike at the start, and what happens to them."""

    dimension: str
    name: str
    accounts: float  # mean number per book
    notional: float  # share of all accounts' gross notional
    deleveraged: Estimate  # probability that one of them is deleveraged in a crash
    haircut: Estimate
    liquidated: Estimate  # probability, without a limit


def people(study: Study, level: float) -> People:
    """All accounts of all books, with what they opened with and what the crashes did to them."""
    opened = opening(study)
    met = outcomes(study, opened["slot"], level)
    return People(opened | met, cohorts(study, opened, level))


# What accounts open with


def opening(study: Study) -> Columns:
    """One row per account of every book; `slot` is its place among all slots of all books."""
    question = study.question
    slots = question.books.layout.number_of_accounts
    parts = []
    for number, (holdings, rows) in enumerate(
        zip(question.opened.holdings, question.account_rows, strict=True)
    ):
        real = np.flatnonzero(rows >= 0)
        mine = {name: column[rows[real]] for name, column in features(holdings).items()}
        place = {"slot": number * slots + real, "book": np.full(len(real), number)}
        name = {"account": question.opened.names[number][rows[real]]}
        parts.append(place | name | mine)
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    names = np.asarray([*question.markets, ""], object)
    return columns | {"market": names[columns["market"]]}


def features(holdings: Holdings) -> Columns:
    """Notional, net notional, equity, leverage, side, largest market and role of each account."""
    notional, net = book.gross(holdings), book.net(holdings)
    largest = np.full(len(holdings.cash), -1)
    order = np.argsort(np.abs(holdings.size), kind="stable")
    largest[holdings.account[order]] = holdings.market[order]  # the last one written stays
    equity = holdings.cash
    leverage = np.where(equity > 0, notional / np.where(equity > 0, equity, 1.0), np.inf)
    sided = np.abs(net) >= ONE_SIDED * notional
    role = np.asarray([ROLES.get(int(r), "trader") for r in holdings.role], object)
    return {
        "role": role,
        "market": largest,
        "side": SIDES[np.where(~sided | (notional == 0), 2, np.where(net > 0, 0, 1))],
        "notional": notional,
        "net_notional": net,
        "equity": equity,
        "leverage": leverage,
    }


# What happens to them


def outcomes(study: Study, slot: np.ndarray, level: float) -> Columns:
    """Counts, probabilities and haircuts with intervals, for the given book of each account.

    ADL is counted on the paths at the venue's fund, liquidations on those without a limit.
    """
    fund, free = study.fund, study.full
    books, accounts = free.liquidated.shape
    met, all_ = (
        np.repeat(np.bincount(r.book, minlength=books), accounts)[slot] for r in (fund, free)
    )
    place = hit_slots(study)
    loss, equity = fund.hits["adl_loss"], fund.hits["equity"]
    hits = np.bincount(place, minlength=books * accounts)[slot]
    liquidated = free.liquidated.ravel()[slot]
    ratio = estimators.ratios(place, loss, equity, books * accounts, level)
    found = {"paths": met, "times_deleveraged": hits}
    found |= _named("deleveraged_probability", estimators.proportions(hits, met, level))
    found |= _named("expected_haircut", tuple(x[slot] for x in ratio))
    for name, values in (("adl_loss", loss), ("equity_when_deleveraged", equity)):
        found[name] = np.bincount(place, values, minlength=books * accounts)[slot]
    found |= {"paths_without_limit": all_, "liquidated_without_limit": liquidated}
    found |= _named("liquidation_probability", estimators.proportions(liquidated, all_, level))
    return found


def _named(name: str, parts: tuple) -> Columns:
    return dict(zip((name, f"{name}_low", f"{name}_high"), parts, strict=True))


def hit_slots(study: Study) -> np.ndarray:
    """Place among all slots of all books of every deleveraged account and path."""
    fund = study.fund
    accounts = fund.liquidated.shape[1]
    return fund.book[fund.hits["row"]] * accounts + fund.hits["account"].astype(np.int64)


# Cohorts


def dimensions(opened: Columns) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
    """Names of the cohorts of each dimension, and the number of each account's cohort."""
    leverage = np.digitize(opened["leverage"], LEVERAGE)
    size = np.digitize(opened["notional"], NOTIONAL)
    total = {m: opened["notional"][opened["market"] == m].sum() for m in set(opened["market"])}
    names = sorted(total, key=lambda m: (-total[m], str(m)))
    few = tuple(names[:MARKETS]) + (("others",) if len(names) > MARKETS else ())
    number = {m: min(i, len(few) - 1) for i, m in enumerate(names)}
    return {
        "leverage": (_bins(LEVERAGE, "×"), leverage),
        "notional": (_bins(NOTIONAL, ""), size),
        "side": (tuple(SIDES), np.asarray([list(SIDES).index(s) for s in opened["side"]])),
        "largest market": (few, np.asarray([number[m] for m in opened["market"]])),
    }


def _bins(edges: tuple[float, ...], unit: str) -> tuple[str, ...]:
    """Words for what lies below, between and above the edges."""
    words = [_short(edge) + unit for edge in edges]
    between = [f"{a} to {b}" for a, b in zip(words, words[1:], strict=False)]
    return (f"below {words[0]}", *between, f"from {words[-1]}")


def _short(x: float) -> str:
    for size, word in ((1e6, " M"), (1e3, " k")):
        if x >= size:
            return f"{x / size:g}{word}"
    return f"{x:g}"


def cohorts(study: Study, opened: Columns, level: float) -> list[Cohort]:
    """Traders by leverage, size, side and market; makers and `rest` are cohorts of their own."""
    place = np.full(study.fund.liquidated.size, -1)
    place[opened["slot"]] = np.arange(len(opened["slot"]))
    hit_row = place[hit_slots(study)]
    traders = opened["role"] == "trader"
    found = []
    for dimension, (names, number) in dimensions(opened).items():
        for i, name in enumerate(names):
            found.append(
                _cohort(study, opened, dimension, name, traders & (number == i), hit_row, level)
            )
    for role in ("maker", "rest"):
        found.append(_cohort(study, opened, "role", role, opened["role"] == role, hit_row, level))
    return [cohort for cohort in found if cohort.accounts]


def _cohort(study, opened, dimension, name, inside, hit_row, level) -> Cohort:
    """What happens to the accounts that are `inside`."""
    fund, free, books = study.fund, study.full, len(study.question.opened.holdings)
    random = books > 1
    sample = Sample(fund.book, level, random)
    members = np.bincount(opened["book"][inside], minlength=books).astype(float)
    mine = inside[hit_row]
    path = fund.hits["row"][mine]
    count = np.bincount(path, minlength=len(fund))
    loss, equity = (
        np.bincount(path, fund.hits[n][mine], minlength=len(fund)) for n in ("adl_loss", "equity")
    )
    hits = int(mine.sum())
    closed = np.bincount(
        opened["book"][inside], free.liquidated.ravel()[opened["slot"][inside]], minlength=books
    )
    met = members * np.bincount(free.book, minlength=books)
    each_book = Sample(np.arange(books), level, random)
    return Cohort(
        dimension=dimension,
        name=str(name),
        accounts=float(members.mean()),
        notional=float(opened["notional"][inside].sum() / opened["notional"].sum()),
        deleveraged=estimators.share_of(
            "deleveraged_probability", count, members[fund.book], sample
        ),
        haircut=estimators.ratio("expected_haircut", loss, equity, sample, hits=hits),
        liquidated=estimators.share_of("liquidation_probability", closed, met, each_book),
    )


def columns(rows: list[Cohort]) -> Columns:
    """Cohorts as a table."""
    table: Columns = {
        "dimension": np.asarray([r.dimension for r in rows], object),
        "cohort": np.asarray([r.name for r in rows], object),
        "accounts": np.asarray([r.accounts for r in rows]),
        "share_of_notional": np.asarray([r.notional for r in rows]),
    }
    for name in ("deleveraged", "haircut", "liquidated"):
        each = [getattr(r, name) for r in rows]
        for part in ("value", "low", "high"):
            numbers = [getattr(e, part) for e in each]
            label = each[0].name if part == "value" else f"{each[0].name}_{part}"
            table[label] = np.asarray([np.nan if x is None else x for x in numbers])
        table[f"{each[0].name}_hits"] = np.asarray([e.hits for e in each])
    return table
