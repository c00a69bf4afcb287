"""A report as one HTML file, rendered from the same report in Markdown."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

from ser_nsl.reports.page import Plot, page_templates

_MARKDOWN = MarkdownIt("commonmark", {"html": False, "xhtmlOut": False}).enable("table")
_TEMPLATES = page_templates()


def to_html(markdown: str, plots: Iterable[Plot]) -> str:
    r"""Renders a report with its figures inside.

    Args:
        markdown: The report; its first line is the title.
        plots: The figures; `![...](figures/NAME.svg)` shows the one of that name.

    Returns:
        A page that loads nothing from elsewhere.

    Raises:
        KeyError: If the report shows a figure that is not among them.

    Example:
        >>> page = to_html("# Scores\n\n| Arm | UAR % |\n|---|---:|\n| base | 70 |\n", [])
        >>> "<title>Scores</title>" in page
        True
        >>> '<td style="text-align:right" data-label="UAR %">70</td>' in page
        True
    """
    tokens = _MARKDOWN.parse(markdown)
    _name_cells(tokens)
    _show_figures(tokens, {plot.name: plot for plot in plots})
    title, body = tokens[1].children, _MARKDOWN.renderer.render(tokens, _MARKDOWN.options, {})
    return _TEMPLATES.get_template("report.html.j2").render(
        title="".join(token.content for token in title or ()), body=Markup(body)
    )


def _name_cells(tokens: Sequence[Token]) -> None:
    """Makes the first cell of a row its name, and says above which column each other one is."""
    columns: list[str] = []
    column = 0
    for cell, text, end in zip(tokens, tokens[1:], tokens[2:], strict=False):
        if cell.type == "table_open":
            columns = []
            cell.attrSet("class", "cards")
        elif cell.type == "tr_open":
            column = 0
        elif cell.type == "th_open":
            columns.append(text.content)
        elif cell.type == "td_open":
            if column == 0:
                cell.tag = end.tag = "th"
                cell.attrSet("scope", "row")
            else:
                cell.attrSet("data-label", columns[column])
            column += 1


def _show_figures(tokens: Sequence[Token], plots: Mapping[str, Plot]) -> None:
    """Puts figures into the page, those of one paragraph side by side."""
    for start, text, end in zip(tokens, tokens[1:], tokens[2:], strict=False):
        images = [token for token in text.children or () if token.type == "image"]
        for image in images:
            image.attrSet("src", plots[PurePosixPath(str(image.attrGet("src"))).stem].uri)
        if images and start.type == "paragraph_open":
            start.tag = end.tag = "div"
            start.attrSet("class", "gallery")
