"""What holds for all notebooks as they are committed; that they run, nbmake tests."""

import copy
import re
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
MOST_BYTES = 1_000_000


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def path(request) -> Path:
    return request.param


@pytest.fixture
def notebook(path) -> NotebookNode:
    return nbformat.read(path, as_version=4)


def code(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def outputs(notebook: NotebookNode) -> list[NotebookNode]:
    return [output for cell in code(notebook) for output in cell.outputs]


def texts(notebook: NotebookNode) -> Iterator[str]:
    """Sources, and outputs but for what is encoded, such as pictures and sounds."""
    for cell in notebook.cells:
        yield cell.source
    for output in outputs(notebook):
        yield output.get("text", "")
        for kind, value in output.get("data", {}).items():
            if not kind.startswith("image/png"):
                yield re.sub(r"base64,[\w+/=]+", "", str(value))


def test_first_cell_says_what_to_expect(notebook):
    first = notebook.cells[0]

    assert first.cell_type == "markdown"
    assert re.match(r"# \S", first.source)
    bold = " ".join(re.findall(r"\*\*(.+?)\*\*", first.source)).lower()
    assert all(re.search(word, bold) for word in ("goal", "data", "minutes|time", "outcome"))


def test_outputs_are_those_of_one_execution_from_top_to_bottom(notebook):
    counts = [cell.execution_count for cell in code(notebook)]

    assert counts == list(range(1, len(counts) + 1))
    assert outputs(notebook)


def test_nothing_failed_or_warned(notebook):
    kinds = [output.output_type for output in outputs(notebook)]
    streams = {output.name for output in outputs(notebook) if output.output_type == "stream"}

    assert "error" not in kinds
    assert streams <= {"stdout"}


def test_no_place_of_a_machine_is_told(notebook):
    places = r"(?<![\w.])/(?:tmp|home|root|work|usr|opt|Users|private|var)/\S*|\b[A-Z]:\\\S*"

    assert [each for text in texts(notebook) for each in re.findall(places, text)] == []


def test_nothing_of_a_terminal_is_left(notebook):
    bars = [text for text in texts(notebook) if re.search(r"\x1b\[|\d%\|", text)]

    assert bars == []


def test_files_are_small_and_without_times(path, notebook):
    assert path.stat().st_size < MOST_BYTES
    assert [cell.id for cell in notebook.cells if "execution" in cell.metadata] == []


def test_links_lead_somewhere(path, notebook):
    prose = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", "\n".join(prose))

    assert [link for link in links if not (path.parent / link).exists()] == []


def test_the_package_is_imported_not_defined_again(notebook):
    everything = "\n".join(cell.source for cell in code(notebook))

    assert "from ser_nsl" in everything
    assert re.findall(r"\b(?:import|from) (?:tools|tests)\b|sys\.path|%pip|!pip", everything) == []


def test_readme_tells_of_it(path):
    assert f"notebooks/{path.name}" in (ROOT / "README.md").read_text()


def tables(notebook: NotebookNode) -> list[str]:
    return [
        output.data["text/plain"]
        for output in outputs(notebook)
        if output.output_type == "execute_result"
    ]


@pytest.mark.slow
def test_the_paper_s_tables_are_those_of_the_committed_results():
    committed = nbformat.read(ROOT / "notebooks" / "06_reproducing_the_paper.ipynb", as_version=4)
    notebook = copy.deepcopy(committed)

    place = {"metadata": {"path": ROOT / "notebooks"}}
    NotebookClient(notebook, kernel_name="python3", resources=place).execute()

    assert tables(notebook) == tables(committed) != []
