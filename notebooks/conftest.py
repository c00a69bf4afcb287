"""Notebooks that `make notebooks` has executed change only where their outputs do."""

from pathlib import Path

import nbformat
import pytest


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.suffix == ".ipynb":
            item.add_marker(pytest.mark.slow)


def pytest_runtest_teardown(item):
    if item.config.getoption("overwrite") and item.path.suffix == ".ipynb":
        drop_times(item.path)


def drop_times(path: Path) -> None:
    """Takes out when each cell ran."""
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
    nbformat.write(notebook, path)
