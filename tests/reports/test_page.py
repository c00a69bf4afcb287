"""Names of others in pages: they show as they are, and do nothing."""

import jinja2
import pytest

from ser_nsl.reports.html import to_html
from ser_nsl.reports.page import Plot, escape_markdown, page_templates
from tests.reports.page import Page

EVIL = "a|b\n# c <script>x()</script> [d](javascript:e) `f` *g* \\| h_i _j_ &lt;k <0.001"


@pytest.fixture
def templates() -> jinja2.Environment:
    macro = "{% macro row(name) %}\n| {{ name }} |\n{% endmacro %}\n"
    text = macro + "{{ row(names[0]) }}{{ names | join(', ') }}\n"
    templates = page_templates()
    templates.loader = jinja2.DictLoader({"page.md.j2": text, "page.html.j2": text})
    return templates


def test_markdown_escapes_names_once(templates):
    page = templates.get_template("page.md.j2").render(names=[EVIL])

    escaped = (
        r"a\|b # c \<script>x()\</script> [d\](javascript:e) \`f\` \*g\* \\\| h_i \_j\_ \&lt;k"
        " <0.001"
    )
    assert page == f"| {escaped} |\n{escaped}\n"


def test_html_is_escaped_as_before(templates):
    page = templates.get_template("page.html.j2").render(names=["<b>|"])

    assert page == "| &lt;b&gt;| |\n&lt;b&gt;|\n"


def test_a_name_shows_in_html_as_it_is():
    name = escape_markdown(EVIL)
    page = Page(to_html(f"# {name}\n\n| {name} |\n|---|\n| {name} |\n\n> {name}\n", []))

    shown = EVIL.replace("\n", " ")
    assert page.text == " ".join([shown] * 5)  # in the title of the window too
    assert page.loads_nothing()


def test_html_says_row_and_column_of_a_cell_and_shows_figures_side_by_side():
    plots = [Plot(name, "", f"<svg>{name}</svg>") for name in ("other", "one", "two")]
    markdown = (
        "# Scores\n\n| Arm | UAR % | Runs |\n|---|---:|---|\n| base | 70 | 3 |\n| nsl | 71 | 4 |\n"
        "\n"
        "![first](figures/one.svg)\n![second](figures/two.svg)\n"
    )
    html = to_html(markdown, plots)

    assert '<th scope="row">nsl</th>' in html
    assert '<td data-label="Runs">4</td>' in html
    figures = "".join(
        f'<img src="{plots[i].uri}" alt="{alt}">' for i, alt in ((1, "first"), (2, "second"))
    )
    assert f'<div class="gallery">{figures}</div>' in html.replace("\n", "")
    with pytest.raises(KeyError, match="two"):
        to_html(markdown, plots[:2])


@pytest.mark.parametrize("name", ["anger", "random_agreeing (a - b)", "61.2 % ± 3", "[−1, 2]"])
def test_plain_names_stay_as_they_are(name):
    assert escape_markdown(name) == name
