"""Names of others in pages: they show as they are, and do nothing."""

import jinja2
import pytest

from ser_nsl.reports.page import escape_markdown, page_templates

EVIL = "a|b\n# c <script>x()</script> [d](javascript:e) `f` *g* \\| h_i <0.001"


@pytest.fixture
def templates() -> jinja2.Environment:
    macro = "{% macro row(name) %}\n| {{ name }} |\n{% endmacro %}\n"
    text = macro + "{{ row(names[0]) }}{{ names | join(', ') }}\n"
    templates = page_templates()
    templates.loader = jinja2.DictLoader({"page.md.j2": text, "page.html.j2": text})
    return templates


def test_markdown_escapes_names_once(templates):
    page = templates.get_template("page.md.j2").render(names=[EVIL])

    escaped = r"a\|b # c \<script>x()\</script> [d\](javascript:e) \`f\` \*g\* \\\| h_i <0.001"
    assert page == f"| {escaped} |\n{escaped}\n"


def test_html_is_escaped_as_before(templates):
    page = templates.get_template("page.html.j2").render(names=["<b>|"])

    assert page == "| &lt;b&gt;| |\n&lt;b&gt;|\n"


@pytest.mark.parametrize("name", ["anger", "random_agreeing (a - b)", "61.2 % ± 3", "[−1, 2]"])
def test_plain_names_stay_as_they_are(name):
    assert escape_markdown(name) == name
