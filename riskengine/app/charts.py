"""Charts of the report: each a specification that is drawn as SVG and PNG, and a sentence."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from riskengine.app import vega
from riskengine.app.canvas import AXIS, GREY, INK
from riskengine.app.vega import Spec, name, quantity, view

BLUE, RED, GREEN, YELLOW, VIOLET = "#0072B2", "#D55E00", "#007A5A", "#B07D00", "#AA4488"
EVENT = {"adl": RED, "depleted": BLUE, "unfunded": INK}
EVENT_WORDS = {
    "adl": "first intervention", "depleted": "fund dry", "unfunded": "material unfunded loss",
}  # fmt: skip
WIDTH = 600
TITLE = {"anchor": "start", "fontSize": 14, "fontWeight": "bold", "offset": 8, "subtitleFontSize": 12,
         "subtitleColor": GREY, "frame": "group"}  # fmt: skip
LEGEND = {"labelFontSize": 12, "orient": "top", "title": None, "labelLimit": 400, "symbolSize": 150}
POINTS = 240  # of a line over time


@dataclass(frozen=True)
class Figure:
    """A picture in two formats, and what it says to somebody who cannot see it."""

    name: str
    alt: str
    svg: str
    png: bytes


def drawn(name: str, chart: Spec, alt: str) -> Figure:
    """A chart as SVG and PNG, without a browser and without the network."""
    config = {"padding": 10, "axis": AXIS | {"grid": True}, "title": TITLE, "legend": LEGEND}
    return Figure(name, alt, *vega.rendered(chart, alt, config))


def rows(columns: dict[str, np.ndarray]) -> list[Spec]:
    """Columns as rows; what is not a finite number is left out."""
    found = [
        {k: _plain(v) for k, v in zip(columns, row, strict=True)}
        for row in zip(*columns.values(), strict=True)
    ]
    return [row for row in found if all(v is not None for v in row.values())]


def _plain(x: Any) -> Any:
    if isinstance(x, str):
        return x
    return float(f"{x:.5g}") if np.isfinite(x) else None


def stretches(time: np.ndarray, until: float) -> np.ndarray:
    """Steps that are drawn: the last one of each of at most `POINTS` equal stretches of time."""
    inside = np.flatnonzero(time <= until * (1 + 1e-9))
    stretch = np.ceil(time[inside] / (until / POINTS)).astype(int)
    return inside[np.append(np.flatnonzero(np.diff(stretch)), len(inside) - 1)]


# Over time


@dataclass(frozen=True)
class Panel:
    """One of several charts over the same time: its title and the axis at its side."""

    title: str
    axis: str
    height: int = 110


@dataclass(frozen=True)
class Line:
    """A named series in its colour: a level as a line, an amount per stretch of time as an area."""

    name: str
    values: np.ndarray
    colour: str
    amount: bool = False


def fan(panel: Panel, time: np.ndarray, fans: dict[str, np.ndarray], colour: str) -> Spec:
    """Median, the middle half and nine tenths of the paths, against minutes."""
    layers = [
        view(
            "area", {"color": colour, "opacity": opacity},
            {"x": MINUTES, "y": quantity(low, title=panel.axis), "y2": {"field": high}},
        )
        for low, high, opacity in (("p05", "p95", 0.18), ("p25", "p75", 0.3))
    ]  # fmt: skip
    median = {"x": MINUTES, "y": quantity("p50")}
    layers.append(view("line", {"color": colour, "strokeWidth": 2}, median))
    values = rows({"min": time / 60.0} | fans)
    return {
        "data": {"values": values}, "layer": layers, "width": WIDTH, "height": panel.height,
        "title": panel.title,
    }  # fmt: skip


def lines(panel: Panel, time: np.ndarray, series: list[Line]) -> Spec:
    """Named series against minutes; a legend says which is which."""
    names, colours = [line.name for line in series], [line.colour for line in series]
    legend = {"orient": "right", "title": None} if len(names) > 1 else None
    colour = name("name", scale={"domain": names, "range": colours}, sort=names, legend=legend)
    encoding = {"x": MINUTES, "y": quantity("value", title=panel.axis, stack=None), "color": colour}
    layers = []
    for line in series:
        values = rows({"min": time / 60.0, "value": line.values})
        if values:  # the first stretch begins at the start
            values = [values[0] | {"min": 0.0}, *values]
        style = AMOUNT if line.amount else {"strokeWidth": 1.6}
        named = [row | {"name": line.name} for row in values]
        layers.append(view("area" if line.amount else "line", style, encoding, named))
    size = {"width": WIDTH - 90, "height": panel.height}
    return {"layer": layers, "title": panel.title} | size


AMOUNT = {"opacity": 0.8, "interpolate": "step-before"}
MINUTES = quantity(
    "min", title="minutes since the start", scale={"nice": False},
    axis={"tickCount": 8, "format": "d"},
)  # fmt: skip


def stacked(panels: list[Spec]) -> Spec:
    """Panels over one axis of time, each with its own colours."""
    return {"vconcat": panels, "spacing": 8, "resolve": {"scale": {"color": "independent"}}}


# Amounts and shares with intervals


def bars(
    named: list[tuple[str, float, float | None, float | None]], axis: str, colour: str = BLUE
) -> Spec:
    """Horizontal bars in the given order, with intervals where they are known."""
    order = [words for words, *_ in named]
    values = [
        {"name": n, "value": v, "low": v if a is None else a, "high": v if b is None else b}
        for n, v, a, b in named
    ]
    y = name("name", sort=order, title=None, axis={"labelLimit": 320})
    bar = view("bar", {"color": colour, "height": 16}, {"y": y, "x": quantity("value", title=axis)})
    ends = {"y": y, "x": quantity("low"), "x2": {"field": "high"}}
    whisker = view("rule", {"color": INK, "strokeWidth": 1.5}, ends)
    size = {"width": WIDTH - 160, "height": 26 * len(named) + 10}
    return {"data": {"values": values}, "layer": [bar, whisker]} | size


def points(cohorts: list[Spec], axis: str, colour: str) -> Spec:
    """Values with intervals by group and name: cohorts, one panel per dimension."""
    panels = []
    for dimension in dict.fromkeys(row["dimension"] for row in cohorts):
        mine = [row for row in cohorts if row["dimension"] == dimension]
        order = [row["name"] for row in mine]
        y = name("name", sort=order, title=None, axis={"labelLimit": 300, "minExtent": 150})
        title = axis if dimension == cohorts[-1]["dimension"] else None
        x = quantity("value", title=title)
        ends = {"y": y, "x": quantity("low", title=title), "x2": {"field": "high"}}
        dot = {"filled": True, "size": 60, "color": colour, "opacity": 1}
        layers = [
            view("rule", {"color": colour, "strokeWidth": 2}, ends),
            view("point", dot, {"y": y, "x": x}),
            view("text", COUNT, {"y": y, "x": x, "text": {"field": "count"}}),
        ]
        size = {"width": WIDTH - 160, "height": 30 * len(mine), "title": f"by {dimension}"}
        panels.append({"data": {"values": mine}, "layer": layers} | size)
    return {"vconcat": panels, "spacing": 10, "resolve": {"scale": {"x": "shared"}}}


COUNT = {"align": "left", "dx": 8, "dy": -8, "color": GREY, "fontSize": 10.5}


def by_size(table: dict[str, np.ndarray]) -> Spec:
    """P(event | size of the crash) with intervals, falls above rises."""
    events = list(EVENT_WORDS)
    aside = np.asarray([events.index(e) - 1 for e in table["event"]])
    columns: dict[str, np.ndarray] = {
        "event": np.asarray([EVENT_WORDS[e] for e in table["event"]], object),
        **{n: 100 * table[n] for n in ("middle", "probability", "low", "high")},
    }
    columns["middle"] = columns["middle"] * (1 + 0.012 * aside)  # so that no interval hides another
    scale = {"domain": list(EVENT_WORDS.values()), "range": list(EVENT.values())}
    title = "probability, %"
    panels = []
    for side in [s for s in ("fall", "rise") if (table["side"] == s).any()]:
        mine = table["side"] == side
        shared = {
            "x": quantity("middle", title=f"size of the {side}, % of all markets' value"),
            "color": name("event", scale=scale, title=None),
        }
        y = quantity("probability", title=title, scale={"domain": [0, 100]})
        ends = {"y": quantity("low", title=title), "y2": {"field": "high"}}
        layers = [
            view("line", {"strokeWidth": 1.5}, shared | {"y": y}),
            view("rule", {}, shared | ends),
            view("point", {"filled": True, "size": 40, "opacity": 1}, shared | {"y": y}),
        ]
        values = rows({k: v[mine] for k, v in columns.items()})
        size = {"width": WIDTH, "height": 190, "title": f"{side}s"}
        panels.append({"data": {"values": values}, "layer": layers} | size)
    return {"vconcat": panels, "spacing": 14}
