"""One page per run, for people: `report.html`, with its figures as SVG and PNG beside it.

The page is static: no script, no network, every figure inside it.
"""

import re
from dataclasses import dataclass

import numpy as np

from riskengine.app import charts, hinges, pages, pictures, sentence, store, stress, study, words
from riskengine.app.amounts import counted, ends, percent, usd
from riskengine.app.answers import Answers, above
from riskengine.app.charts import Figure
from riskengine.app.config import Config
from riskengine.app.study import Study
from riskengine.montecarlo import estimators
from riskengine.montecarlo.estimators import Estimate

TEMPLATE = "report.html"
TOP = 10  # accounts that matter most


@dataclass(frozen=True)
class Row:
    """One line of a table of estimates."""

    words: str
    name: str
    value: str
    interval: str
    hits: str
    n: str
    note: str


def page(
    config: Config, found: Study, answered: Answers, facts: dict, checks: list[str],
    notes: list[str], command: str, figures: dict[str, Figure],
) -> str:  # fmt: skip
    """The report as HTML."""
    shown = {name: pages.shown(figure) for name, figure in figures.items()}
    names = {e.name: e for e in answered.estimates}
    return pages.rendered(
        TEMPLATE,
        FILTERS,
        config=config,
        venue=config.venue.title or config.venue.name,
        sentence=answered.sentence,
        key=tiles(config, found, names),
        who_pays=who_pays(found, names),
        not_real=not_real(config),
        hangs_on=hinges.hangs_on(config, found, answered),
        figures=shown,
        captions=pictures.captions(config, found),
        groups={title: rows(names, group) for title, group in words.GROUPS.items()},
        levels=_records(answered.levels),
        cohorts=answered.people.cohorts,
        accounts=matter_most(found, answered),
        reverse=_records(answered.stress.reverse),
        cover=_records(answered.stress.cover),
        ladder=answered.stress.ladder,
        replays=found.replays,
        gap=gap(found),
        owners=study.owners(found.question),
        least=above(found),
        synthetic=config.book.path is None,
        made=store.now().strftime("%Y-%m-%d %H:%M UTC"),
        words=words,
        differ=words.differ(names) if "adl_probability" in names else "",
        rare=estimators.RARE,
        uncertain=estimators.uncertain,
        pct=_pct,
        money=_money,
        counted=counted,
        event_words=charts.EVENT_WORDS,
        capital=found.capital,
        open_interest=found.question.open_interest,
        books=len(found.question.opened.holdings),
        level=f"{100 * config.simulation.confidence:g} %",
        facts=facts,
        checks=checks,
        notes=notes,
        command=command,
    )


def not_real(config: Config) -> str:
    """What a drawn book can say about a venue: nothing about its fund."""
    if config.book.path is not None:
        return ""
    whose = sentence.short_title(config, of=True)
    return f"No figure here is a statement about {whose} real fund: that needs its real book."


def _pct(x: float | None) -> str:
    """A fraction in percent; a dash where it is not known."""
    return "–" if x is None or not np.isfinite(x) else _fixed(f"{100 * x:.3g} %")


def _money(x: float | None) -> str:
    """Dollars; a dash where they are not known."""
    return "–" if x is None or np.isnan(x) else _fixed(usd(x))


def _ends(three: tuple[float, float, float]) -> str:
    """The ends of an interval in percent; nothing where there are none."""
    _, low, high = three
    return f"{_pct(low)} to {_pct(high)}" if np.isfinite(low) else "no interval"


def _fixed(text: str) -> str:
    """Numbers that stay with their unit: a line may break before “to”, around “of”, after “;” only."""
    text = text.replace(" ", "\u00a0")
    for kept, breaks in (("\u00a0to", " to"), (";\u00a0", "; "), ("\u00a0of\u00a0", " of ")):
        text = text.replace(kept, breaks)
    return text


def _units(text: str) -> str:
    """Prose whose numbers stay with their units."""
    return UNIT.sub(lambda found: found[0].replace(" ", "\u00a0"), text)


FILTERS = {"usd": _money, "pct": _pct, "ends": _ends, "fixed": _fixed, "units": _units}


UNIT = re.compile(r"\d (?:%|(?:(?:k|M|bn) )?USD)")


def _records(columns: dict[str, np.ndarray]) -> list[dict]:
    """Columns as rows."""
    return [
        dict(zip(columns, row, strict=True))
        for row in zip(*(x.tolist() for x in columns.values()), strict=True)
    ]


def rows(names: dict[str, Estimate], group: dict[str, str]) -> list[Row]:
    """The estimates of a group that this run has."""
    return [
        Row(
            words=text,
            name=name,
            value=words.value(names[name]),
            interval=words.interval(names[name]),
            hits="" if names[name].hits is None else str(names[name].hits),
            n=str(names[name].n),
            note=names[name].note,
        )
        for name, text in group.items()
        if name in names
    ]


@dataclass(frozen=True)
class Tile:
    """One of the numbers that lead."""

    words: str
    value: str
    interval: str
    more: str = ""


def tiles(config: Config, found: Study, names: dict[str, Estimate]) -> list[Tile]:
    """The six numbers that lead."""
    owners = study.owners(found.question)
    aim = f"fund for P(intervention) ≤ {percent(config.target.adl_probability)}"
    leading = {
        "adl_probability": "P(intervention)",
        "depletion_probability": "P(fund runs dry)",
        "owner_pays_probability": f"P(its {' or '.join(owners)} pays)",
        "deleveraging_probability": "P(somebody is deleveraged)",
        "unfunded_material_probability": f"P(a loss {above(found)}, that nobody can pay)",
        "fund_target": aim,
        "expected_haircut": "expected haircut of deleveraged winners, of equity at the mark",
    }
    if owners:
        del leading["deleveraging_probability"]
    return [
        _tile(names[name], text, found, names) for name, text in leading.items() if name in names
    ]


def _tile(e: Estimate, text: str, found: Study, names: dict[str, Estimate]) -> Tile:
    value, interval, interest = words.value(e), words.interval(e), found.question.open_interest
    if e.name == "fund_target" and e.value is not None:
        value = f"{percent(e.value / interest)} of open interest"
        interval = f"{ends(e.low, e.high, interest)}; {usd(e.value)}"
    more = words.other_prices(names) if e.name == "expected_haircut" else ""
    return Tile(text, value, interval + _sample(e), more)


def _sample(e: Estimate) -> str:
    """What a reader of one number must know: what carries it."""
    few = e.hits is not None and e.hits < estimators.RARE
    vague = e.unit == "fraction" and estimators.uncertain(e)
    said = f", rests on {counted(e.hits or 0, 'hit')}" if few else ""
    return f"; N = {e.n:,}{said}{'; too uncertain' if vague else ''}"


def who_pays(found: Study, names: dict[str, Estimate]) -> str:
    """Mean losses per crash by who bears them, in one sentence."""
    behind = " or ".join(study.owners(found.question))
    parts = (
        ("the first-loss capital", "fund_profit", -1.0, ""),
        (f"its {behind}", "owner_profit", -1.0, ""),
        ("outside providers", "provider_profit", -1.0, ""),
        ("winners", "adl_loss_mark_per_crash", 1.0, " by ADL, at the mark"),
        ("winners", "social_loss", 1.0, " by socialized loss"), ("nobody", "unfunded", 1.0, ""),
    )  # fmt: skip
    said = [
        f"{who} {'gain ' if sign * e.value < 0 else ''}{usd(abs(e.value))}{how}"
        for who, name, sign, how in parts
        if (e := names.get(name)) and e.value
    ]
    return f"Who pays, mean per crash: {', '.join(said)}." if said else ""


@dataclass(frozen=True)
class Matters:
    """One account of the table of those that matter most."""

    name: str
    book: int
    side: str
    market: str
    notional: float
    leverage: float
    debt: float  # in the gap
    adl: tuple[float, float, float]  # probability of being deleveraged
    haircut: tuple[float, float, float]
    liquidated: tuple[float, float, float]
    deleveraged: int
    paths: int


def gap(found: Study) -> float:
    """The size of the crash that one path in a hundred exceeds; no price falls below zero."""
    return min(float(np.quantile(np.abs(stress.crash_size(found.results)), 0.99)), 0.99)


def matter_most(found: Study, answered: Answers) -> list[Matters]:
    """The accounts that would owe most if prices jumped by the 99th percentile of crashes.

    The larger of the debts in a fall and in a rise of that size counts.
    """
    people, move = answered.people.accounts, gap(found)
    debt = np.concatenate(
        [
            np.maximum(stress.gap_debts(h, -move), stress.gap_debts(h, move))[r[r >= 0]]
            for h, r in zip(
                found.question.opened.holdings, found.question.account_rows, strict=True
            )
        ]
    )
    order = np.argsort(-debt, kind="stable")[:TOP]

    def three(name: str, row: int) -> tuple[float, float, float]:
        return tuple(float(people[f"{name}{end}"][row]) for end in ("", "_low", "_high"))  # pyright: ignore[reportReturnType]

    return [
        Matters(
            name=str(people["account"][row]),
            book=int(people["book"][row]),
            side=str(people["side"][row]),
            market=str(people["market"][row]),
            notional=float(people["notional"][row]),
            leverage=float(people["leverage"][row]),
            debt=float(debt[row]),
            adl=three("deleveraged_probability", row),
            haircut=three("expected_haircut", row),
            liquidated=three("liquidation_probability", row),
            deleveraged=int(people["times_deleveraged"][row]),
            paths=int(people["paths"][row]),
        )
        for row in order.tolist()
        if debt[row] > 0
    ]
