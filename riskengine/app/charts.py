"""Charts of the report: each a specification that is drawn as SVG and PNG, and a sentence."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from riskengine.app import vega
from riskengine.app.canvas import AXIS, GREY, INK
from riskengine.app.vega import Spec, name, quantity, view

BLUE, RED, GREEN, YELLOW, VIOLET = "#0072B2", "#D55E00", "#007A5A", "#B07D00", "#AA4488"
EVENT = {"intervention": RED, "dry": BLUE, "unfunded": INK}
EVENT_WORDS = {
    "intervention": "first intervention", "dry": "fund dry", "unfunded": "material unfunded loss",
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
    knee: float = 0.0  # where a scale that is logarithmic away from zero begins to be; 0: linear


@dataclass(frozen=True)
class Line:
    """A named series in its colour: a level as a line, an amount per stretch of time as an area."""

    name: str
    values: np.ndarray
    colour: str
    amount: bool = False


def fan(
    panel: Panel, time: np.ndarray, fans: dict[str, np.ndarray], colour: str, key: bool
) -> Spec:
    """Median, the middle half and nine tenths of the paths, against minutes."""
    names = list(BANDS)
    scale = {"domain": names, "range": [_pale(colour, share) for *_, share in BANDS.values()]}
    layers = []
    for words, (low, high, _) in BANDS.items():
        shade = {
            "datum": words,
            "scale": scale,
            "legend": {"symbolType": "square"} if key else None,
        }
        encoding = {"x": MINUTES, "y": quantity(low, title=panel.axis), "color": shade}
        if low == high:
            layers.append(view("line", {"strokeWidth": 2}, encoding))
        else:
            layers.append(view("area", {"opacity": 1}, encoding | {"y2": {"field": high}}))
    values = rows({"min": time / 60.0} | fans)
    return {
        "data": {"values": values}, "layer": layers, "width": WIDTH, "height": panel.height,
        "title": panel.title,
    }  # fmt: skip


BANDS = {
    "nine tenths of the paths": ("p05", "p95", 0.2), "the middle half": ("p25", "p75", 0.45),
    "median": ("p50", "p50", 1.0),
}  # fmt: skip


def _pale(colour: str, share: float) -> str:
    """A colour mixed with white."""
    parts = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{round(255 - share * (255 - part)):02x}" for part in parts)


def lines(panel: Panel, time: np.ndarray, series: list[Line]) -> Spec:
    """Named series against minutes; a legend says which is which."""
    names, colours = [line.name for line in series], [line.colour for line in series]
    legend = {"orient": "right", "title": None} if len(names) > 1 else None
    colour = name("name", scale={"domain": names, "range": colours}, sort=names, legend=legend)
    y = quantity("value", title=panel.axis, stack=None, **_bent(panel, series))
    encoding = {"x": MINUTES, "y": y, "color": colour}
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


def _bent(panel: Panel, series: list[Line]) -> Spec:
    """A scale that is logarithmic away from zero, with ticks where it bends and at powers of ten."""
    if not panel.knee:
        return {}
    values = np.concatenate([line.values[np.isfinite(line.values)] for line in series])
    reach = max(float(np.abs(values).max(initial=0.0)), panel.knee)
    powers = 10.0 ** np.arange(np.ceil(np.log10(2.0 * panel.knee)), np.floor(np.log10(reach)) + 1)
    marks = [panel.knee, *powers, *-powers]
    ticks = [0.0, *(t for t in marks if values.min() <= t <= values.max())]
    return {
        "scale": {"type": "symlog", "constant": panel.knee},
        "axis": {"values": ticks, "format": ".2~g"},
    }


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
    """Values with intervals by group and name: cohorts, one panel per dimension.

    Intervals that are not `sure` do not rule the axis: what reaches out of it ends in an arrow.
    """
    sure = [row[end] for row in cohorts for end in ("low", "high") if row["sure"]]
    known = [0.0, *sure, *(row["value"] for row in cohorts)]
    low, high = min(known), 1.04 * max(known)
    scale = {"domain": [low, high], "nice": False}
    panels = []
    for dimension in dict.fromkeys(row["dimension"] for row in cohorts):
        mine = [
            row | {"low": max(row["low"], low), "high": min(row["high"], high)}
            for row in cohorts if row["dimension"] == dimension
        ]  # fmt: skip
        beyond = [row for row in cohorts if row["dimension"] == dimension]
        order = [row["name"] for row in mine]
        y = name("name", sort=order, title=None, axis={"labelLimit": 300, "minExtent": 150})
        title = axis if dimension == cohorts[-1]["dimension"] else None
        x = quantity("value", title=title, scale=scale)
        ends = {"y": y, "x": quantity("low", title=title), "x2": {"field": "high"}}
        dot = {"filled": True, "size": 60, "color": colour, "opacity": 1}
        layers = [
            view("rule", {"color": colour, "strokeWidth": 2}, ends),
            view("point", dot, {"y": y, "x": x}),
            view("text", COUNT, {"y": y, "x": x, "text": {"field": "count"}}),
        ]
        for shape, end, out in (
            ("triangle-left", low, [row for row in beyond if row["low"] < low]),
            ("triangle-right", high, [row for row in beyond if row["high"] > high]),
        ):
            if out:
                where = {"y": y, "x": {"datum": end, "type": "quantitative"}}
                layers.append(view("point", dot | {"shape": shape, "size": 90}, where, out))
        size = {"width": WIDTH - 160, "height": 30 * len(mine), "title": f"by {dimension}"}
        panels.append({"data": {"values": mine}, "layer": layers} | size)
    return {"vconcat": panels, "spacing": 10, "resolve": {"scale": {"x": "shared"}}}


COUNT = {"align": "left", "dx": 8, "dy": -8, "color": GREY, "fontSize": 10.5}


def by_size(table: dict[str, np.ndarray]) -> Spec:
    """P(event | size of the crash) with intervals, falls above rises, and what each rests on."""
    ends = sorted(set(zip(table["from"].tolist(), table["to"].tolist(), strict=True)))
    bins = {pair: _bin(*pair) for pair in ends}
    panels = []
    for side in [s for s in ("fall", "rise") if (table["side"] == s).any()]:
        mine = [row for row in _table(table) if row["side"] == side]
        title = f"size of the {side}, % of all markets' value"
        values = [
            {
                "event": EVENT_WORDS[row["event"]], "bin": bins[row["from"], row["to"]],
                "p": 100 * row["probability"], "enough": row["paths"] >= ENOUGH,
                "line": 100 * row["probability"] if row["paths"] >= ENOUGH else None,
                "count": f"{row['hits']}/{row['paths']}",
                "low": _plain(100 * row["low"]), "high": _plain(100 * row["high"]),
            }
            for row in mine
        ]  # fmt: skip
        panels += [_chances(values, list(bins.values()), f"{side}s"), _counts(values, title)]
    return {"vconcat": panels, "spacing": 8, "resolve": {"scale": {"color": "shared"}}}


ENOUGH = 10  # paths of a bin from which on a line leads through it


def _table(columns: dict[str, np.ndarray]) -> list[Spec]:
    lists = (column.tolist() for column in columns.values())
    return [dict(zip(columns, row, strict=True)) for row in zip(*lists, strict=True)]


def _bin(low: float, high: float) -> str:
    return f"{100 * low:g} to {100 * high:g}" if np.isfinite(high) else f"from {100 * low:g}"


def _chances(values: list[Spec], bins: list[str], title: str) -> Spec:
    """The probabilities of one side, event beside event in every bin."""
    events = list(EVENT_WORDS.values())
    scale = {"domain": events, "range": list(EVENT.values())}
    shared = {
        "x": name("bin", sort=bins, title=None, scale={"domain": bins, "type": "band"},
                  axis={"labels": False, "ticks": False, "grid": False}),
        "xOffset": name("event", sort=events, scale={"domain": events}),
        "color": name("event", scale=scale, title=None),
    }  # fmt: skip
    axis = {"title": "probability, %", "scale": {"domain": [0, 100]}}
    at = shared | {"y": quantity("p", **axis)}
    full, hollow = ([row for row in values if row["enough"] == enough] for enough in (True, False))
    known = [row for row in values if row["low"] is not None and row["high"] is not None]
    dot = {"size": 45, "opacity": 1}
    layers = [
        view("line", {"strokeWidth": 1.5}, shared | {"y": quantity("line", **axis)}, values),
        view("rule", {}, shared | {"y": quantity("low", **axis), "y2": {"field": "high"}}, known),
        view("point", dot | {"filled": True}, at, full),
        view("point", dot | {"fill": "white"}, at, hollow),
    ]
    return {"layer": layers, "width": WIDTH, "height": 190, "title": title}


def _counts(values: list[Spec], title: str) -> Spec:
    """Hits of paths in every bin, below the probabilities."""
    events = list(EVENT_WORDS.values())
    bins = list(dict.fromkeys(row["bin"] for row in values))
    scale = {"domain": events, "range": list(EVENT.values())}
    bare = {"grid": False, "ticks": False, "domain": False}
    below = {"labelAngle": 0, "grid": False}
    encoding = {
        "x": name("bin", title=title, scale={"type": "band"}, sort=bins, axis=below),
        "y": name("event", sort=events, title=None, axis=bare),
        "color": name("event", scale=scale, title=None),
        "text": {"field": "count"},
    }
    size = {"width": WIDTH, "height": 54}
    return view("text", {"fontSize": 11}, encoding, values) | size
