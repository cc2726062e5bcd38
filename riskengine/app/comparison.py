"""A comparison of venues on paper: a table, a figure and a page beside the runs."""

import itertools
from collections.abc import Sequence
from pathlib import Path

from riskengine.app import charts, compare, pages, store, vega
from riskengine.app.charts import BLUE, RED, Figure
from riskengine.app.compare import PAYERS, PROBABILITIES, QUANTITIES, Venue
from riskengine.app.vega import Spec

ROW = 26  # pixels of a venue
COLOURS = {
    "fund": "#0072B2",
    "owners": "#56B4E9",
    "providers": "#009E73",
    "winners": "#D55E00",
    "social": "#B07D00",
    "nobody": "#1a1a1a",
}


def write(found: Sequence[Venue], folder: Path) -> Path:
    """Table, figure and page into the folder that holds the runs; the path of the page."""
    table = store.write_beside(folder, "venues", compare.columns(found))
    drawn = figure(found)
    for suffix, content in (("svg", drawn.svg), ("png", drawn.png), ("html", page(found, drawn))):
        store.write_whole(table.with_suffix(f".{suffix}"), content)
    return table.with_suffix(".html")


def figure(found: Sequence[Venue]) -> Figure:
    """Probabilities with their ranges, and who pays, one line per venue in alphabetical order."""
    titles = [venue.title for venue in found]
    panels = [
        _probability(found, titles, name, first=not n) for n, name in enumerate(PROBABILITIES)
    ]
    panels.append(_payers(found, titles))
    chart = {"hconcat": panels, "spacing": 14, "resolve": {"scale": {"color": "independent"}}}
    alt = "; ".join(
        f"{v.title}: "
        + ", ".join(f"{QUANTITIES[n]} {compare.cell(v.ranges[n])}" for n in PROBABILITIES)
        for v in found
    )
    return charts.drawn("venues", chart, alt)


def _probability(found: Sequence[Venue], titles: list[str], name: str, first: bool) -> Spec:
    """Dots with the interval of the simulation, over bars for the range of assumptions."""
    colour = RED if name == "adl_probability" else BLUE
    values = [
        {"name": v.title, "value": 100 * r.value, "low": 100 * (r.low or 0.0),
         "high": 100 * (1.0 if r.high is None else r.high), "least": 100 * r.least, "most": 100 * r.most}
        for v in found
        if (r := v.ranges[name]).value is not None and r.least is not None and r.most is not None
    ]  # fmt: skip
    labels = {"labelLimit": 320} if first else None
    y = vega.name("name", sort=titles, title=None, axis=labels, scale={"domain": titles})
    title = f"{QUANTITIES[name]}, %"
    scale = {"domain": [0, 100]}

    def across(low: str, high: str) -> Spec:
        return {"y": y, "x": vega.quantity(low, title=title, scale=scale), "x2": {"field": high}}

    layers = [
        vega.view("bar", {"color": colour, "opacity": 0.25, "height": 14}, across("least", "most")),
        vega.view("rule", {"color": colour, "strokeWidth": 1.5}, across("low", "high")),
        vega.view(
            "point", {"filled": True, "size": 60, "color": colour, "opacity": 1},
            {"y": y, "x": vega.quantity("value", title=title, scale=scale)},
        ),
    ]  # fmt: skip
    return {"data": {"values": values}, "layer": layers, "width": 230, "height": ROW * len(found)}


def _payers(found: Sequence[Venue], titles: list[str]) -> Spec:
    """Mean losses per crash by who bears them, as a share of open interest; gains to the left."""
    values = [
        {"name": v.title, "payer": PAYERS[payer], "value": 100 * v.payers[payer]}
        for v, payer in itertools.product(found, PAYERS)
    ]
    colour = vega.name(
        "payer", sort=list(PAYERS.values()), legend={"orient": "right", "title": "who pays"},
        scale={"domain": list(PAYERS.values()), "range": list(COLOURS.values())},
    )  # fmt: skip
    y = vega.name("name", sort=titles, title=None, axis=None, scale={"domain": titles})
    x = vega.quantity("value", title="mean loss per crash, % of open interest")
    bar = vega.view("bar", {"height": 14}, {"y": y, "x": x, "color": colour}, values)
    return bar | {"width": 260, "height": ROW * len(found)}


def page(found: Sequence[Venue], drawn: Figure) -> str:
    """The comparison as one page: no script, no network."""
    return pages.rendered(
        "comparison.html",
        {},
        found=found,
        sentence=compare.sentence(found),
        note=compare.NOTE,
        head=compare.HEAD,
        rows=compare.rows(found),
        figure=pages.shown(drawn),
        order=[(QUANTITIES[name], _below(found, name)) for name in PROBABILITIES],
        explained=[(v.title, v.grade, compare.explained(v, found)) for v in found],
        folders=[str(v.folder) for v in found],
    )


def _below(found: Sequence[Venue], name: str) -> list[tuple[str, str]]:
    """Each venue with all those that it is surely below."""
    pairs = compare.order(found, name)
    grouped = itertools.groupby(sorted(pairs), key=lambda pair: pair[0])
    return [(low, ", ".join(high for _, high in group)) for low, group in grouped]
