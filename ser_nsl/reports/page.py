"""What all pages share: reports of runs, graphs and sweeps, and cards of models."""

import base64
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jinja2
from markupsafe import Markup

# A column, code, emphasis, the address of a link, HTML, an entity, and a backslash before such a
# character.
_MARKS = re.compile(
    r"[|`*]|(?<![^\W_])_|_(?![^\W_])|\](?=[(\[])|<(?=[A-Za-z/!?])|&(?=#?\w+;)|\\(?=[^\w\s])"
)


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
    """Returns the templates of `ser_nsl/reports/templates`, which escape what is put in.

    Args:
        **filters: Filters of the templates by name.
    """
    templates = jinja2.Environment(
        loader=jinja2.PackageLoader("ser_nsl.reports"),
        autoescape=True,
        finalize=_escaped,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    templates.filters |= filters
    return templates


@jinja2.pass_context
def _escaped(context: jinja2.runtime.Context, value: Any) -> Any:
    """Escapes a text that goes into a page of Markdown; Jinja itself escapes those of HTML."""
    is_text = isinstance(value, str) and not hasattr(value, "__html__")  # not what macros return
    if is_text and str(context.name).endswith(".md.j2"):
        return Markup(escape_markdown(value))
    return value


def percent(share: float | None) -> str:
    """Returns a share in percent, and a dash where it is unknown."""
    return "–" if share is None else f"{share:.1%}"


def probability(value: float | None) -> str:
    """Returns a p; empty where it is unknown."""
    if value is None:
        return ""
    return "<0.001" if value < 0.0005 else f"{value:.3f}"


def escape_markdown(text: str) -> str:
    r"""Makes a name harmless in a line of Markdown, so that it shows as it is.

    Args:
        text: The name, or any other text.

    Returns:
        The text in one line, with backslashes before what Markdown would take for its own.

    Example:
        >>> print(escape_markdown("joy|<img src=x>"), escape_markdown("p <0.001, random_agreeing"))
        joy\|\<img src=x> p <0.001, random_agreeing
    """
    return _MARKS.sub(r"\\\g<0>", " ".join(text.splitlines()))
