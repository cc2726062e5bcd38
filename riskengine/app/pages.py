"""Pages for people: one file each, no script, no network, every figure inside it."""

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import riskengine
from riskengine.app.charts import Figure

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Shown:
    """A figure in a page."""

    source: str  # data URI
    alt: str


def shown(figure: Figure) -> Shown:
    """A figure as part of a page."""
    source = "data:image/svg+xml;base64," + base64.b64encode(figure.svg.encode()).decode()
    return Shown(source, figure.alt)


def rendered(template: str, filters: Mapping[str, Callable[..., Any]], **said: Any) -> str:
    """A template of this folder with what it says, in the frame and style that all pages share."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= filters
    style = (HERE / "page.css").read_text(encoding="utf-8")
    version = riskengine.__version__
    return environment.get_template(template).render(style=style, version=version, **said)
