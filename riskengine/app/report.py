"""One page per run, for people: `report.html`, with its figures as SVG and PNG beside it.

The page is static: no script, no network, every figure inside it.
"""

import base64
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from riskengine.app import charts, pictures, stress, words
from riskengine.app.answers import Answers, usd
from riskengine.app.charts import Figure
from riskengine.app.config import Config
from riskengine.app.study import Study
from riskengine.montecarlo.estimators import Estimate

TEMPLATE = "report.html"
TOP = 10  # accounts that matter most
ASSUMED = {
    "crash": "how violent crashes are: a law set by hand after the crashes of 2019 to 2025",
    "ladder": "shocks that are chosen, not drawn: shares of them are not probabilities",
    "concentration": "one account and one market, chosen to be hard",
    "replay": "one recorded crash: paths differ by what the record leaves open",
}


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


@dataclass(frozen=True)
class Shown:
    """A figure in the page."""

    source: str  # data URI
    alt: str
    name: str
    caption: str


def page(
    config: Config, found: Study, answered: Answers, facts: dict, checks: list[str],
    notes: list[str], command: str, figures: dict[str, Figure],
) -> str:  # fmt: skip
    """The report as HTML."""
    import jinja2

    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {
        "usd": lambda x: _fixed(usd(x)),
        "pct": _pct,
        "ends": _ends,
        "fixed": _fixed,
    }
    shown = {name: _shown(figure) for name, figure in figures.items()}
    names = {e.name: e for e in answered.estimates}
    return environment.get_template(TEMPLATE).render(
        config=config,
        venue=config.venue.title or config.venue.name,
        sentence=answered.sentence,
        key=_key_numbers(answered, names),
        hangs_on=hangs_on(config, found, answered),
        figures=shown,
        captions=pictures.CAPTIONS,
        groups={title: rows(names, group) for title, group in words.GROUPS.items()},
        levels=_records(answered.levels),
        cohorts=answered.people.cohorts,
        accounts=matter_most(found, answered),
        reverse=_records(answered.stress.reverse),
        cover=_records(answered.stress.cover),
        ladder=answered.stress.ladder,
        replays=found.replays,
        estimate=names,
        words=words,
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


def _pct(x: float | None) -> str:
    """A fraction in percent; a dash where it is not known."""
    return "–" if x is None or not np.isfinite(x) else _fixed(f"{100 * x:.3g} %")


def _ends(three: tuple[float, float, float]) -> str:
    """The ends of an interval in percent; nothing where there are none."""
    _, low, high = three
    return f"{_pct(low)} to {_pct(high)}" if np.isfinite(low) else "no interval"


def _fixed(text: str) -> str:
    """Numbers that stay with their unit: a line may break before and after “to” only."""
    return text.replace(" ", "\u00a0").replace("\u00a0to\u00a0", " to ")


def _shown(figure: Figure) -> Shown:
    source = "data:image/svg+xml;base64," + base64.b64encode(figure.svg.encode()).decode()
    return Shown(source, figure.alt, figure.name, pictures.CAPTIONS.get(figure.name, ""))


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


def _key_numbers(answered: Answers, names: dict[str, Estimate]) -> list[tuple[str, str, str]]:
    """The numbers that lead: words, value, interval."""
    leading = {
        "adl_probability": "P(ADL or another intervention)",
        "depletion_probability": "P(fund runs dry)",
        "unfunded_probability": "P(a loss nobody can pay)",
        "fund_target": "fund for the target",
        "expected_haircut": "expected haircut of winners",
    }
    return [
        (text, words.value(names[name]), words.interval(names[name]))
        for name, text in leading.items()
        if name in names
    ]


def hangs_on(config: Config, found: Study, answered: Answers) -> list[str]:
    """What the answer depends on most, in the order of what it would change."""
    law = "replay" if config.scenario.law == "replay" else config.scenario.law
    said = [f"The scenario: {ASSUMED.get(law, law)}. Every probability is conditional on it."]
    if config.book.path is None:
        said.append(
            f"The book: {len(found.question.opened.holdings)} synthetic books; the leverage of accounts "
            "that get liquidated is not public and is the largest assumption in them."
        )
    elif not found.question.opened.complete:
        said.append(
            "The book: read from a file and partial; who holds the other side is assumed, and there "
            "is no fund target."
        )
    else:
        said.append("The book: read from a file, as complete as the file is.")
    said.append(
        f"The order book: depth that thins as in the presets, with exponent "
        f"{config.scenario.order_book.exponent:g} beyond 1 % of mid; measured on few days."
    )
    without = next((e for e in answered.estimates if e.name == "fund_target_without_largest"), None)
    if without is not None and without.value is not None:
        said.append(
            f"The largest accounts: if the ten largest could not fail the target changed by "
            f"{usd(without.value)} ({words.interval(without)}; {without.note})."
        )
    return said


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
    adl: tuple[float, float, float]
    haircut: tuple[float, float, float]
    liquidated: tuple[float, float, float]
    deleveraged: int
    paths: int


def gap(found: Study) -> float:
    """The size of the crash that one path in a hundred exceeds."""
    return float(np.quantile(np.abs(stress.crash_size(found.results)), 0.99))


def matter_most(found: Study, answered: Answers) -> list[Matters]:
    """The accounts that would owe most if prices jumped by the 99th percentile of crashes.

    The larger of the debts in a fall and in a rise of that size counts.
    """
    people, move = answered.people.accounts, min(gap(found), 0.99)
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
            adl=three("adl_probability", row),
            haircut=three("expected_haircut", row),
            liquidated=three("liquidation_probability", row),
            deleveraged=int(people["deleveraged"][row]),
            paths=int(people["paths"][row]),
        )
        for row in order.tolist()
        if debt[row] > 0
    ]
