"""How `make docs` builds the site, from the pages where they lie in the repository."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.pycode import ModuleAnalyzer
from sphinx.util import inspect

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from ser_nsl import __version__  # noqa: E402 (of this checkout)

project = "ser_nsl"
release = __version__
author = "the ser_nsl developers"
html_title = f"ser_nsl {release}"
html_theme = "furo"
html_static_path = html_css_files = ["site.css"]
html_show_sphinx = False
html_copy_source = False
html_show_sourcelink = False
html_additional_pages = {"index": "to_start.html"}
templates_path = ["templates"]
root_doc = "docs/index"
include_patterns = ["*.md", "docs/**.md", "models/**.md", "notebooks/*.ipynb", "results/**.md"]
exclude_patterns = [".*", "build", "benchmarks", "corpora", "node_modules", "run*", "ser_nsl"]
suppress_warnings = ["myst.header", "toc.not_included"]  # of reports

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
source_suffix = {".md": "myst-nb", ".ipynb": "myst-nb"}
nb_execution_mode = "off"  # `make test` executes the notebooks
myst_heading_anchors = 3
default_role = "code"  # single backticks, as everywhere in this project

add_module_names = False
autoclass_content = "both"
autodoc_default_options = {"members": True, "member-order": "groupwise"}
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
napoleon_use_ivar = True
napoleon_use_rtype = False
python_maximum_signature_line_length = 80
toc_object_entries_show_parents = "hide"


def link_to_pages(app: Sphinx, page: str, source: list[str]) -> None:
    """Turns links to folders into links to their README, or into text where there is none."""
    here = (ROOT / page).parent

    def to_readme(link: re.Match) -> str:
        text, target = link.groups()
        if not (here / target).is_dir():
            return link[0]
        readme = here / target / "README.md"
        return f"[{text}]({target.rstrip('/')}/README.md)" if readme.is_file() else text

    if page.split("/")[0] != "notebooks":
        source[0] = re.sub(r"(?<!!)\[([^]\n]+)\]\(([^)#:\s]+)\)", to_readme, source[0])


def leave_out_missing_notebooks(app: Sphinx, page: str, source: list[str]) -> None:
    """Leaves notebooks out of the contents if there are none."""
    if page == root_doc and not any((ROOT / "notebooks").glob("*.ipynb")):
        source[0] = source[0].replace("../notebooks/*\n", "")


def tables_in_rst(app: Sphinx, what: str, name: str, _: Any, __: Any, lines: list[str]) -> None:
    """Turns Markdown tables in docstrings into list tables."""
    lines[:] = _converted(lines)


def _converted(lines: list[str]) -> Iterator[str]:
    rows: list[list[str]] = []
    for line in [*lines, ""]:
        if line.lstrip().startswith("|"):
            rows.append([cell.strip() for cell in line.strip().strip("|").split("|")])
            continue
        if rows:
            yield from (".. list-table::", "   :header-rows: 1", "")
            for row in [rows[0], *rows[2:]]:
                yield from (f"   {'  -' if i else '* -'} {cell}" for i, cell in enumerate(row))
            rows = []
        yield line


def describe_constants(
    app: Sphinx, what: str, name: str, item: Any, _: Any, lines: list[str]
) -> None:
    """Takes the text on a constant from the module that defines it."""
    if what != "data":
        return
    package, _, short = name.rpartition(".")
    for module in [name for name in sys.modules if name.startswith(f"{package}.")]:
        found = ModuleAnalyzer.for_module(module).find_attr_docs().get(("", short))
        if found:
            lines[:] = found
            return


def signature_of_keras(
    app: Sphinx, what: str, name: str, item: Any, _: Any, signature: str | None, returns: str | None
) -> tuple[str, None] | None:
    """Shows the arguments of `__init__` for Keras classes, whose `__new__` accepts any."""
    if what != "class" or signature != "(*args, **kwargs)":
        return None
    signature_of_init = inspect.signature(item.__init__, bound_method=True)
    text = inspect.stringify_signature(
        signature_of_init, unqualified_typehints=True, show_return_annotation=False
    )
    return text, None


def setup(app: Sphinx) -> None:
    """Connects the functions of this file."""
    app.connect("source-read", link_to_pages)
    app.connect("source-read", leave_out_missing_notebooks)
    app.connect("autodoc-process-docstring", tables_in_rst, priority=400)  # before napoleon
    app.connect("autodoc-process-docstring", describe_constants, priority=300)
    app.connect("autodoc-process-signature", signature_of_keras)
