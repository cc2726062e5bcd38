"""A band over assumptions on paper: a sentence, a table, and a figure."""

from typing import TYPE_CHECKING

import numpy as np

from riskengine.app import charts, vega
from riskengine.app import sentence as sentences
from riskengine.app.amounts import ends, percent
from riskengine.app.canvas import GREY, INK
from riskengine.app.charts import BLUE, RED, Figure
from riskengine.app.vega import Spec
from riskengine.calibration.assumptions import Assumption

if TYPE_CHECKING:
    from riskengine.app.assumptions import Found, Spread

WORDS = {
    "fund_target": "fund target",
    "fund_target_depletion": "fund target for depletion",
    "adl_probability": "P(intervention)",
    "depletion_probability": "P(fund runs dry)",
}
HEAD = (
    "assumption", "lowest", "now", "highest", "fund target at the lowest", "at the highest",
    "share of its variance",
)  # fmt: skip
MOST = 3  # assumptions that the sentence names
ROW, PANEL = 26, 300  # pixels


def unit(found: "Found", one: "Spread") -> float:
    """What a number is divided by before it is shown: funds are shares of open interest."""
    return found.question.open_interest if one.measure.exceed is not None else 1.0


def lead(found: "Found") -> "Spread":
    """The measure that leads: the fund target, or P(intervention) where some sets have none."""
    target = found.spreads[0]
    return target if target.band is not None else found.spreads[2]


def sentence(found: "Found") -> str:
    """Value, simulation error, band, and what matters most."""
    one = lead(found)
    of, base, band = unit(found, one), one.base, one.band
    whose = f"{sentences.short_title(found.config, of=True)} rules"
    kind = "a synthetic book" if found.config.book.path is None else "your book"
    if base.value is None or band is None or band.low is None or band.high is None:
        return f"Under {whose} no {WORDS[one.measure.name]} can be told: {base.note}"
    what = WORDS[one.measure.name]
    if one.measure.exceed is not None:
        what += f" for {percent(one.measure.exceed)} of crashes"
    share = " of open interest" if one.measure.exceed is not None else ""
    return (
        f"Under {whose} {kind} has a {what} of {percent(base.value / of)}{share} "
        f"(simulation error {ends(base.low, base.high, of)}; over law, depth, leverage and book "
        f"{ends(band.low, band.high, of)}). {_most(found, one)}"
    )


def _most(found: "Found", one: "Spread") -> str:
    assert one.shares is not None
    order = np.argsort(-one.shares.first)[:MOST]
    named = ", ".join(f"{found.box[j].name} ({100 * one.shares.first[j]:.0f} %)" for j in order)
    return f"Of what the fit explains of that band most comes from {named}"


def rows(found: "Found") -> list[list[str]]:
    """One line per assumption, those that matter most first."""
    one = lead(found)
    of, shares = unit(found, one), one.shares
    if shares is None:
        return []
    told = []
    for j in np.argsort(-shares.first):
        a = found.box[j]
        told.append(
            [
                a.name, f"{a.low:g}", f"{a.now:g}", f"{a.high:g}",
                percent(one.alone[j, 0] / of), percent(one.alone[j, 1] / of),
                f"{100 * shares.first[j]:.0f} % ({100 * shares.low[j]:.0f} to {100 * shares.high[j]:.0f})",
            ]
        )  # fmt: skip
    return told


def legend(found: "Found") -> list[str]:
    """Every measure with both of its bands, and how to read the table."""
    said = []
    for one in found.spreads:
        of, base, band = unit(found, one), one.base, one.band
        share = " of open interest" if one.measure.exceed is not None else ""
        if base.value is None:
            said.append(f"{WORDS[one.measure.name]}: not known: {base.note}")
            continue
        text = f"{WORDS[one.measure.name]}: {percent(base.value / of)}{share}, simulation error "
        text += ends(base.low, base.high, of)
        if band is None:
            text += "; no band: some sets have no answer, or the event is on no path or on all"
        else:
            text += f"; over assumptions {ends(band.low, band.high, of)} ({band.note})"
        said.append(text)
    said.append(
        "Ends of one assumption are with all others as they are now. What the fit does not explain is in "
        "no share; books differ by chance within the simulation error."
    )
    return said


def label(one: Assumption) -> str:
    """An assumption with its ends."""
    return f"{one.name}, {one.low:g} to {one.high:g}"


def columns(found: "Found") -> dict[str, np.ndarray]:
    """A row per set: its assumptions, and its answers."""
    table = {
        a.name: np.asarray([a.at(float(x)) for x in found.sets[:, j]])
        for j, a in enumerate(found.box)
    }
    return table | {one.measure.name: one.answers for one in found.spreads}


def figure(found: "Found") -> Figure:
    """The leading measure from low to high end of every assumption, and its share of the variance."""
    one = lead(found)
    assert one.shares is not None
    of = unit(found, one)
    order = [label(found.box[j]) for j in np.argsort(-one.shares.first)]
    values = [
        {
            "name": label(a), "from": 100 * one.alone[j, 0] / of, "to": 100 * one.alone[j, 1] / of,
            "share": 100 * one.shares.first[j], "low": 100 * one.shares.low[j],
            "high": 100 * one.shares.high[j],
        }
        for j, a in enumerate(found.box)
    ]  # fmt: skip
    chart = {"hconcat": [_moves(found, one, values, order), _shares(values, order)], "spacing": 20}
    alt = "; ".join(
        f"{row[0]}: {row[4]} to {row[5]}, {row[6]} of the variance" for row in rows(found)
    )
    return charts.drawn("assumptions", chart, f"{WORDS[one.measure.name]} by assumption: {alt}")


def _moves(found: "Found", one: "Spread", values: list[Spec], order: list[str]) -> Spec:
    """What the lowest and the highest value of each assumption make of it; the base as a line."""
    share = ", % of open interest" if one.measure.exceed is not None else ", %"
    title = f"{WORDS[one.measure.name]}{share}"
    each = [v[end] for v in values for end in ("from", "to")]
    scale = {"zero": False, "domain": [0.95 * min(each), 1.05 * max(each)], "nice": False}
    scale |= {"type": "log"} if one.measure.exceed is not None else {}
    y = vega.name("name", sort=order, title=None, axis={"labelLimit": 400})
    line = {"y": y, "x": vega.quantity("from", title=title, scale=scale), "x2": {"field": "to"}}
    ends_ = [
        vega.view(
            "point", {"filled": True, "size": 70, "opacity": 1.0},
            {"y": y, "x": vega.quantity(at, title=title), "color": _end(label)},
        )
        for at, label in (("from", LOWEST), ("to", HIGHEST))
    ]  # fmt: skip
    assert one.base.value is not None
    now = {"datum": 100 * one.base.value / unit(found, one)}
    rule = vega.view("rule", {"color": INK, "strokeDash": [3, 3]}, {"x": now})
    bar = vega.view("rule", {"color": GREY, "strokeWidth": 3}, line)
    size = {"width": PANEL, "height": ROW * len(order)}
    return {"data": {"values": values}, "layer": [rule, bar, *ends_]} | size


LOWEST, HIGHEST = "at its lowest", "at its highest"


def _end(label: str) -> Spec:
    """The colour of an end, which the legend names."""
    colours = {"domain": [LOWEST, HIGHEST], "range": [BLUE, RED]}
    return {
        "datum": label,
        "type": "nominal",
        "scale": colours,
        "legend": {"orient": "top", "title": None},
    }


def _shares(values: list[Spec], order: list[str]) -> Spec:
    y = vega.name("name", sort=order, title=None, axis={"labels": False, "ticks": False})
    title = "share of its variance over the box, %"
    bar = vega.view("bar", {"height": 9, "color": BLUE},
                    {"y": y, "x": vega.quantity("share", title=title)})  # fmt: skip
    ends_ = {"y": y, "x": vega.quantity("low", title=title), "x2": {"field": "high"}}
    whisker = vega.view("rule", {"color": INK}, ends_)
    return {
        "data": {"values": values},
        "layer": [bar, whisker],
        "width": PANEL,
        "height": ROW * len(order),
    }
