"""One page per run, for people: `report.html`, with its figures as SVG and PNG beside it.

The page is static: no script, no network, every figure inside it.
"""

import base64
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from riskengine.app import charts, pictures, store, stress, study, words
from riskengine.app.answers import Answers, usd
from riskengine.app.charts import Figure
from riskengine.app.config import Config
from riskengine.app.study import Study
from riskengine.montecarlo import estimators
from riskengine.montecarlo.estimators import Estimate
from riskengine.specs.book import traded

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
        key=_key_numbers(config, names),
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
        gap=gap(found),
        owners=_owners(found),
        made=store.now().strftime("%Y-%m-%d %H:%M UTC"),
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
    return Shown(source, figure.alt)


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


def _key_numbers(config: Config, names: dict[str, Estimate]) -> list[tuple[str, str, str]]:
    """The numbers that lead: words, value, interval."""
    aim = f"fund for P(intervention) ≤ {100 * config.target.adl_probability:g} %"
    leading = {
        "adl_probability": "P(first intervention)",
        "deleveraging_probability": "P(somebody is deleveraged)",
        "depletion_probability": "P(fund runs dry)",
        "unfunded_material_probability": "P(a material loss nobody can pay)",
        "fund_target": aim,
        "expected_haircut": "expected haircut of winners",
    }
    return [
        (text, words.value(names[name]), words.interval(names[name]) + _sample(names[name]))
        for name, text in leading.items()
        if name in names
    ]


def _sample(e: Estimate) -> str:
    """What a reader of one number must know: how many paths carry it."""
    few = e.hits is not None and e.hits < estimators.RARE
    return f"; N = {e.n}" + (f", rests on {e.hits} hits" if few else "")


def _owners(found: Study) -> str:
    """Capital outside F that an owner of a vault has."""
    pools = found.question.venue.pools
    named = zip(pools.names, np.asarray(pools.fixed), np.asarray(pools.share), strict=True)
    return ", ".join(
        f"{name} has {usd(float(fixed))}"
        for name, fixed, share in named
        if share == 0 and fixed > 0
    )


def hangs_on(config: Config, found: Study, answered: Answers) -> list[str]:
    """What the answer depends on most, in the order of what it would change."""
    law = config.scenario.law
    said = [f"The scenario: {ASSUMED[law]}. Every probability is conditional on it."]
    if not answered.stress.ladder:
        said += _direction(found, answered)
    said.append(_largest(found))
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
    if without is not None and without.value is not None and found.safe is not None:
        exceed = study.seldom(len(found.safe))
        rows = found.results.rows(found.safe.path)
        base = estimators.upper(found.results["adl_required_fund"][rows], exceed)
        said.append(
            f"The ten largest accounts: if they could not fail, the fund that {100 * exceed:.3g} % of "
            f"{len(rows)} crashes exceed, {usd(base)}, would change by {usd(without.value)} "
            f"({words.interval(without)})."
        )
    return said


def _direction(found: Study, answered: Answers) -> list[str]:
    """How many crashes go up, and how many of those that need most."""
    size, need = stress.crash_size(found.results), found.results["adl_required_fund"]
    names = {e.name: e for e in answered.estimates}
    falls, rises = names.get("adl_probability_falls"), names.get("adl_probability_rises")
    if falls is None or rises is None:
        return []
    most = np.argsort(-need, kind="stable")[: max(len(need) // 100, 1)]
    return [
        f"Crashes that go up: {100 * np.mean(size > 0):.3g} % rise more than they fall and squeeze "
        f"shorts. P(intervention) is {words.value(falls)} in falls ({words.interval(falls)}) and "
        f"{words.value(rises)} in rises ({words.interval(rises)}); of the {len(most)} crashes that "
        f"need most capital {int(np.sum(size[most] > 0))} are rises."
    ]


def _largest(found: Study) -> str:
    """How much of the book the largest accounts hold."""
    each = []
    for h in found.question.opened.holdings:
        size = np.sort(traded(h))[::-1]
        total = 0.5 * np.abs(h.size).sum()
        each.append((size[0] / total, size[:10].sum() / total))
    one, ten = np.mean(each, axis=0)
    return (
        f"Concentration: the largest trader's positions are {100 * one:.3g} % of open interest (one "
        f"side), those of the ten largest {100 * ten:.3g} %, on average over books."
    )


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
            adl=three("adl_probability", row),
            haircut=three("expected_haircut", row),
            liquidated=three("liquidation_probability", row),
            deleveraged=int(people["deleveraged"][row]),
            paths=int(people["paths"][row]),
        )
        for row in order.tolist()
        if debt[row] > 0
    ]
