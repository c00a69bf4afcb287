"""What all pages share: reports of runs, graphs and sweeps, and cards of models."""

import base64
from collections.abc import Callable
from dataclasses import dataclass

import jinja2


@dataclass(frozen=True)
class Plot:
    """A figure of a page.

    Attributes:
        name: Name of its file, without suffix.
        alt: What it shows, for those who cannot see it.
        svg: The figure as text.
    """

    name: str
    alt: str
    svg: str

    @property
    def uri(self) -> str:
        """The figure as a `data:` address, so that it lies within the page."""
        return f"data:image/svg+xml;base64,{base64.b64encode(self.svg.encode()).decode()}"


def page_templates(**filters: Callable) -> jinja2.Environment:
    """Returns the templates of `ser_nsl/reports/templates`; those of HTML escape what is put in.

    Args:
        **filters: Filters of the templates by name.
    """
    templates = jinja2.Environment(
        loader=jinja2.PackageLoader("ser_nsl.reports"),
        autoescape=lambda name: name is not None and name.endswith(".html.j2"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    templates.filters |= filters
    return templates
