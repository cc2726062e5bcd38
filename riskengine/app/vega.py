"""Vega-Lite specifications as plain dictionaries, drawn without a browser and without the network.

https://vega.github.io/vega-lite/docs/ says what every key means.
"""

import re
from typing import Any

VERSION = "6.4"  # of Vega-Lite; vl-convert carries it
FONT = "Liberation Sans, Arial, Helvetica, sans-serif"  # vl-convert carries the first
Spec = dict[str, Any]


def quantity(field: str, **more: Any) -> Spec:
    """A channel that shows a number."""
    return {"field": field, "type": "quantitative"} | more


def name(field: str, **more: Any) -> Spec:
    """A channel that shows a name."""
    return {"field": field, "type": "nominal"} | more


def view(
    mark: str, style: Spec, encoding: dict[str, Spec], values: list[Spec] | None = None
) -> Spec:
    """Marks of one kind; without values it shows those of the layer it lies in."""
    given = {} if values is None else {"data": {"values": values}}
    return given | {"mark": {"type": mark} | style, "encoding": encoding}


def rendered(chart: Spec, description: str, config: Spec) -> tuple[str, bytes]:
    """SVG and PNG of a chart."""
    import vl_convert

    schema = f"https://vega.github.io/schema/vega-lite/v{VERSION.partition('.')[0]}.json"
    settings = {"font": FONT, "background": "white", "view": {"stroke": None}} | config
    spec = {"$schema": schema, "description": description, "config": settings} | chart
    svg = _numbered(vl_convert.vegalite_to_svg(spec, VERSION, allowed_base_urls=[]))
    return svg, vl_convert.svg_to_png(svg, scale=2, ppi=72)


def _numbered(svg: str) -> str:
    """The same picture whatever was drawn before it: Vega counts its clips over a process's life."""
    order = {clip: f"clip{i}" for i, clip in enumerate(dict.fromkeys(CLIP.findall(svg)))}
    return CLIP.sub(lambda found: order[found[0]], svg)


CLIP = re.compile(r"\bclip\d+\b")
